//! hpfeeds with the `hpfeeds` package of PyPI: its client with our broker, ours
//! with its broker.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that fails says where")]

use crate::support;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use support::{Palisade, settings, wait};

fn program(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/hpfeeds/bin").join(name);
    assert!(path.exists(), "{}: `make test` installs it", path.display());
    path
}

/// Settings with a broker and two idents.
fn with_broker(home: &Path, tls: bool) -> String {
    fs::write(home.join("pot.secret"), "s3cret\n").unwrap();
    fs::write(home.join("reader.secret"), "r3ader\n").unwrap();
    let home_text = home.display();
    settings(home)
        + &format!(
            r#"
[api.hpfeeds]
name = "@palisade"
[[api.hpfeeds.listeners]]
address = "127.0.0.1:0"
tls = {tls}
[[api.hpfeeds.idents]]
ident = "pot-1"
secret_file = "{home_text}/pot.secret"
publish = ["cowrie.*", "ews.*", "misc"]
domain = "community"
[[api.hpfeeds.idents]]
ident = "reader"
secret_file = "{home_text}/reader.secret"
subscribe = ["misc", "palisade.*"]
"#
        )
}

fn broker_of(palisade: &Palisade) -> SocketAddr {
    palisade.wait_printed("hpfeeds broker").rsplit(' ').next().unwrap().parse().unwrap()
}

fn client(at: SocketAddr, ident: &str, secret: &str) -> Command {
    let mut command = Command::new(program("hpfeeds"));
    let (host, port) = (at.ip().to_string(), at.port().to_string());
    command.args(["--host", &host, "-p", &port, "-i", ident, "-s", secret]);
    command
}

/// A subscriber and what it has printed.
struct Listening {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Listening {
    fn start(mut command: Command) -> Self {
        let mut child = command
            .env("PYTHONUNBUFFERED", "1")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (kept, out) = (Arc::clone(&lines), BufReader::new(child.stdout.take().unwrap()));
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                kept.lock().unwrap().push(line);
            }
        });
        Self { child, lines }
    }

    fn wait_for(&self, word: &str) -> String {
        wait(&format!("the subscriber prints '{word}': {:?}", self.lines.lock().unwrap()), || {
            self.lines.lock().unwrap().iter().find(|line| line.contains(word)).cloned()
        })
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const LOGIN: &str = r#"{"eventid":"cowrie.login.failed","username":"root","password":"hpfeeds-1","timestamp":"TIME","src_ip":"198.51.100.23","src_port":4022,"session":"5a1f0c3e9b77"}"#;

fn login() -> String {
    let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string();
    LOGIN.replace("TIME", &now)
}

/// An alert of now as XML and as JSON.
fn alert() -> (String, String) {
    let now = jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M:%S");
    let xml = format!(
        "<Alert><Analyzer id=\"cowrie-1\"/><CreateTime tz=\"+0000\">{now}</CreateTime>\
         <Source category=\"ipv4\" port=\"4022\" protocol=\"tcp\">198.51.100.23</Source>\
         <Target category=\"ipv4\" port=\"22\" protocol=\"tcp\">203.0.113.5</Target>\
         <AdditionalData type=\"string\" meaning=\"username\">root</AdditionalData>\
         <AdditionalData type=\"string\" meaning=\"password\">hpfeeds-3</AdditionalData></Alert>"
    );
    // Keys stand in the order of the document, as xmltodict has them.
    let end = |address: &str, port: &str| {
        format!(
            r##"{{"@category":"ipv4","@port":"{port}","@protocol":"tcp","#text":"{address}"}}"##
        )
    };
    let data = |meaning: &str, text: &str| {
        format!(r##"{{"@type":"string","@meaning":"{meaning}","#text":"{text}"}}"##)
    };
    let json = format!(
        r##"{{"Alert":{{"Analyzer":{{"@id":"cowrie-1"}},"CreateTime":{{"@tz":"+0000","#text":"{now}"}},"Source":{},"Target":{},"AdditionalData":[{},{}]}}}}"##,
        end("198.51.100.23", "4022"),
        end("203.0.113.5", "22"),
        data("username", "root"),
        data("password", "hpfeeds-3")
    );
    (xml, json)
}

#[test]
fn the_client_of_pypi_publishes_and_subscribes_at_our_broker() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("palisade.toml"), with_broker(home.path(), false)).unwrap();
    let palisade = Palisade::up(home.path());
    let at = broker_of(&palisade);

    let mut subscriber = client(at, "reader", "r3ader");
    subscriber.args(["-c", "misc", "-c", "palisade.*", "subscribe"]);
    let subscriber = Listening::start(subscriber);
    subscriber.wait_for("connected to @palisade");

    // The same event twice counts once; other bytes are kept as they are.
    let login = login();
    for _ in 0..2 {
        let output = client(at, "pot-1", "s3cret")
            .args(["-c", "cowrie.sessions", "publish", &login])
            .output();
        let output = output.unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && !text.contains("error"), "{text}");
    }
    let output =
        client(at, "pot-1", "s3cret").args(["-c", "misc", "publish", "hello world"]).output();
    assert!(output.unwrap().status.success());

    // Alerts as ewsposter publishes them, in both of its forms: one event.
    let (xml, json) = alert();
    for payload in [&xml, &json] {
        let output =
            client(at, "pot-1", "s3cret").args(["-c", "ews.alerts", "publish", payload]).output();
        assert!(output.unwrap().status.success());
    }

    palisade.wait_count("kind:auth.attempted password:hpfeeds-1", 1);
    palisade.wait_count("type:\"SSH/console(cowrie)\" password:hpfeeds-3 sensor:pot-1", 1);
    palisade.wait_count("kind:data.received sensor:pot-1 domain:community", 1);
    let kept = palisade.first("kind:data.received");
    assert_eq!(kept["request"], "hello world");
    assert_eq!(kept["attributes"]["channel"], "misc");
    assert_eq!(kept["attributes"]["ident"], "pot-1");

    // The event that we make of it has the same words, and may come first.
    let relayed = subscriber.wait_for("publish to misc by pot-1");
    assert!(relayed.contains("hello world"), "{relayed}");
    let ours = subscriber.wait_for("palisade.auth.attempted");
    assert!(ours.contains("by @palisade") && ours.contains("hpfeeds-1"), "{ours}");

    // What is not allowed is refused, and says so.
    for (ident, secret, channel, word) in [
        ("pot-1", "s3cret", "other", "not allowed to publish"),
        ("pot-1", "wrong", "misc", "authentication failed"),
        ("nobody", "s3cret", "misc", "authentication failed"),
    ] {
        let output = client(at, ident, secret).args(["-c", channel, "publish", "x"]).output();
        let text = String::from_utf8_lossy(&output.unwrap().stdout).into_owned();
        assert!(text.contains("got error from server") && text.contains(word), "{text}");
    }
    palisade.wait_count("kind:data.received", 1);
    palisade.wait_count("password:hpfeeds-3", 1);
    drop(subscriber);
    assert_eq!(palisade.terminate(), Some(0));
}

#[test]
fn the_broker_speaks_tls() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("palisade.toml"), with_broker(home.path(), true)).unwrap();
    let palisade = Palisade::up(home.path());
    let at = broker_of(&palisade);
    let certificate = home.path().join("data/tls/cert.pem");
    let output = client(at, "pot-1", "s3cret")
        .args(["--tlscert", certificate.to_str().unwrap(), "-c", "misc", "publish", "by", "tls"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    palisade.wait_count("kind:data.received request:\"by tls\"", 1);
}

/// A port that is free now; the broker of PyPI cannot choose one.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

struct Broker(Child);

impl Broker {
    fn start(home: &Path, port: u16) -> Self {
        let users = home.join("users.json");
        fs::write(
            &users,
            r#"{"pot": {"owner": "o", "secret": "p", "pubchans": ["c", "palisade"], "subchans": []},
                "palisade": {"owner": "o", "secret": "q", "pubchans": ["palisade"], "subchans": ["c"]},
                "watcher": {"owner": "o", "secret": "w", "pubchans": [], "subchans": ["palisade"]}}"#,
        )
        .unwrap();
        let child = Command::new(program("hpfeeds-broker"))
            .args(["--bind", &format!("127.0.0.1:{port}"), "--auth", users.to_str().unwrap()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let broker = Self(child);
        wait("the broker of PyPI listens", || {
            std::net::TcpStream::connect(("127.0.0.1", port)).ok()
        });
        broker
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn our_client_listens_to_the_broker_of_pypi_and_publishes_there() {
    let home = tempfile::tempdir().unwrap();
    let port = free_port();
    fs::write(home.path().join("q.secret"), "q").unwrap();
    let home_text = home.path().display();
    let config = settings(home.path())
        + &format!(
            r#"
[[api.hpfeeds.subscriptions]]
name = "honeynet"
address = "127.0.0.1:{port}"
tls = false
ident = "palisade"
secret_file = "{home_text}/q.secret"
channels = ["c"]
[[hub.outbound]]
name = "feed"
kind = "hpfeeds"
query = "sensor:honeynet"
address = "127.0.0.1:{port}"
tls = false
user = "palisade"
secret_file = "{home_text}/q.secret"
channel = "palisade"
"#
        );
    fs::write(home.path().join("palisade.toml"), config).unwrap();
    // Our start comes first: the client connects once the broker is there.
    let palisade = Palisade::up(home.path());
    let broker = Broker::start(home.path(), port);
    let at = SocketAddr::from(([127, 0, 0, 1], port));
    let mut watcher = client(at, "watcher", "w");
    watcher.args(["-c", "palisade", "subscribe"]);
    let watcher = Listening::start(watcher);
    watcher.wait_for("connected to");

    // Until we are subscribed nobody is there to get it.
    let login = login();
    wait("a payload becomes an event", || {
        let output = client(at, "pot", "p").args(["-c", "c", "publish", &login]).output().unwrap();
        assert!(output.status.success());
        (palisade.count("sensor:honeynet password:hpfeeds-1") == 1).then_some(())
    });
    let line = watcher.wait_for("hpfeeds-1");
    assert!(line.contains("by palisade") && line.contains("auth.attempted"), "{line}");

    // The broker goes and comes back; so do we.
    drop(broker);
    let _broker = Broker::start(home.path(), port);
    let again = login.replace("hpfeeds-1", "hpfeeds-2");
    wait("a payload becomes an event again", || {
        let output = client(at, "pot", "p").args(["-c", "c", "publish", &again]).output().unwrap();
        assert!(output.status.success());
        (palisade.count("password:hpfeeds-2") == 1).then_some(())
    });
    assert_eq!(palisade.terminate(), Some(0));
}
