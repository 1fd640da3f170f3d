//! The syslog source, with real senders: `logger` of util-linux, `openssl
//! s_client`, rsyslogd where it is installed, and raw sockets.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that fails says where")]

use crate::support;

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use palisade_agent::{LogFormat, SourceConfig, SyslogSource, SyslogTransport};
use palisade_event::{AttributeValue, EventKind};
use support::*;

/// An address that was free a moment ago.
fn free() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn source(listen: SocketAddr, transport: SyslogTransport) -> SyslogSource {
    SyslogSource {
        listen,
        transport,
        parser: LogFormat::Syslog,
        zone: Some("UTC".into()),
        allow: Vec::new(),
        cert_file: None,
        key_file: None,
        client_ca_file: None,
        max_connections: 4,
        idle_secs: 60,
    }
}

fn message(number: usize) -> String {
    format!("Failed password for invalid user u{number} from 203.0.113.9 port 4711 ssh2")
}

async fn start(folder: &Path, source: SyslogSource) -> (Running, MemoryHub) {
    let hub = MemoryHub::new(Mood::Takes);
    let (listen, transport) = (source.listen, source.transport);
    let config = config(vec![SourceConfig::Syslog(source)]);
    let running = Running::start(&config, folder, hub.clone()).await;
    if transport != SyslogTransport::Udp {
        until(|| TcpStream::connect(listen).is_ok(), || "nobody listens".into()).await;
    } else {
        // Bound when the address is taken.
        until(|| UdpSocket::bind(listen).is_err(), || "nobody listens".into()).await;
    }
    (running, hub)
}

fn logger(arguments: &[&str], listen: SocketAddr, number: usize) {
    let port = listen.port().to_string();
    let status = Command::new("logger")
        .args(["--server", "127.0.0.1", "--port", &port, "--tag", "sshd", "--id=77"])
        .args(arguments)
        .arg(message(number))
        .status()
        .unwrap();
    assert!(status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn logger_is_understood_by_udp_and_tcp_in_both_forms() {
    let folder = tempfile::tempdir().unwrap();
    for (transport, flag) in [(SyslogTransport::Udp, "--udp"), (SyslogTransport::Tcp, "--tcp")] {
        let listen = free();
        let (running, hub) = start(&folder.path().join(flag), source(listen, transport)).await;
        logger(&[flag, "--rfc3164"], listen, 0);
        logger(&[flag, "--rfc5424"], listen, 1);
        logger(&[flag, "--rfc5424=notime,nohost"], listen, 2);
        let mut count = 3;
        if transport == SyslogTransport::Tcp {
            logger(&[flag, "--rfc5424", "--octet-count"], listen, 3);
            logger(&[flag, "--rfc3164", "--octet-count"], listen, 4);
            count = 5;
        }
        hub.has_each_once(count).await;
        for event in hub.of(EventKind::AuthAttempted) {
            assert_eq!(event.source.unwrap().address.to_string(), "203.0.113.9");
            let sender = event.attributes.get("syslog_sender");
            assert_eq!(sender, Some(&AttributeValue::from("127.0.0.1")), "{flag}");
            assert!(event.host.is_some());
        }
        running.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_program_has_its_parser_and_nothing_foreign_stops_a_stream() {
    let folder = tempfile::tempdir().unwrap();
    let listen = free();
    let (running, hub) = start(folder.path(), source(listen, SyslogTransport::Tcp)).await;
    let mut stream = TcpStream::connect(listen).unwrap();
    let mut text = Vec::new();
    text.extend(b"<22>Nov 20 20:07:15 mail postfix/smtpd[7]: warning: unknown[203.0.113.9]: SASL LOGIN authentication failed: x, sasl_username=u0\n");
    text.extend([b'x'; 70_000]);
    text.extend(b"\n\0\xff\xfe\n\n");
    let counted = format!("<38>1 2026-11-20T20:07:14Z web01 sshd 7 - - {}", message(1));
    text.extend(format!("{} {counted}", counted.len()).bytes());
    text.extend(format!("<38>Nov 20 20:07:14 web01 sshd[7]: {}\n", message(2)).bytes());
    // In small pieces, as networks do.
    for piece in text.chunks(700) {
        stream.write_all(piece).unwrap();
    }
    // Not whole: never taken.
    stream
        .write_all(format!("<38>Nov 20 20:07:14 web01 sshd[7]: {}", message(3)).as_bytes())
        .unwrap();
    drop(stream);
    hub.has_each_once(3).await;
    let metrics = running.agent.metrics();
    until(|| metrics.syslog_incomplete.get() == 1, || "the last message".into()).await;
    assert_eq!(metrics.lines_truncated.get(), 1);
    running.end().await;
    hub.has_each_once(3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn senders_that_are_not_allowed_or_too_many_are_turned_away() {
    let folder = tempfile::tempdir().unwrap();
    let listen = free();
    let mut settings = source(listen, SyslogTransport::Tcp);
    settings.max_connections = 1;
    settings.idle_secs = 1;
    let (running, hub) = start(folder.path(), settings).await;
    let metrics = running.agent.metrics();
    // The connection of the start is gone at last; then one is enough.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let first = TcpStream::connect(listen).unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let before = metrics.syslog_refused.get();
    let mut second = TcpStream::connect(listen).unwrap();
    until(|| metrics.syslog_refused.get() > before, || "a second connection".into()).await;
    // Closed by the other side: nothing to read.
    second.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    assert!(matches!(std::io::Read::read(&mut second, &mut [0]), Ok(0) | Err(_)));
    // The first is silent for too long, and makes room.
    let took = async {
        loop {
            let mut stream = TcpStream::connect(listen).unwrap();
            let line = format!("<38>Nov 20 20:07:14 web01 sshd[7]: {}\n", message(0));
            let _ = stream.write_all(line.as_bytes());
            if !hub.of(EventKind::AuthAttempted).is_empty() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(DEADLINE, took).await.unwrap();
    drop(first);
    running.end().await;

    let listen = free();
    let mut settings = source(listen, SyslogTransport::Udp);
    settings.allow = vec!["198.51.100.0/24".parse().unwrap()];
    let (running, hub) = start(&folder.path().join("udp"), settings).await;
    let metrics = running.agent.metrics();
    logger(&["--udp"], listen, 0);
    until(|| metrics.syslog_refused.get() == 1, || "a foreign sender".into()).await;
    assert!(hub.users().is_empty());
    running.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_takes_those_with_a_certificate_where_one_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    let name = || vec!["127.0.0.1".to_owned()];
    let server = rcgen::generate_simple_self_signed(name()).unwrap();
    std::fs::write(file("cert"), server.cert.pem()).unwrap();
    std::fs::write(file("key"), server.signing_key.serialize_pem()).unwrap();
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let mut parameters = rcgen::CertificateParams::new(Vec::new()).unwrap();
    parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = parameters.self_signed(&authority_key).unwrap();
    let issuer = rcgen::Issuer::new(parameters, authority_key);
    let client_key = rcgen::KeyPair::generate().unwrap();
    let client = rcgen::CertificateParams::new(name()).unwrap();
    let client = client.signed_by(&client_key, &issuer).unwrap();
    std::fs::write(file("ca"), authority.pem()).unwrap();
    std::fs::write(file("client"), client.pem()).unwrap();
    std::fs::write(file("client-key"), client_key.serialize_pem()).unwrap();

    let listen = free();
    let mut settings = source(listen, SyslogTransport::Tls);
    settings.cert_file = Some(file("cert"));
    settings.key_file = Some(file("key"));
    settings.client_ca_file = Some(file("ca"));
    let (running, hub) = start(&folder.path().join("data"), settings).await;
    let send = async |arguments: &[&str], number: usize| {
        let line = format!("<38>1 2026-11-20T20:07:14Z web01 sshd 7 - - {}", message(number));
        let mut child = Command::new("openssl")
            .args(["s_client", "-quiet", "-connect", &listen.to_string()])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // RFC 5425 counts.
        let text = format!("{} {line}", line.len());
        let mut input = child.stdin.take().unwrap();
        let _ = input.write_all(text.as_bytes());
        let _ = input.flush();
        // It ends with its input, perhaps before all was sent.
        tokio::time::sleep(Duration::from_millis(500)).await;
        let _ = child.kill();
        let _ = child.wait();
    };
    let (cert, key) = (file("client"), file("client-key"));
    let own = ["-cert", cert.to_str().unwrap(), "-key", key.to_str().unwrap()];
    send(&own, 0).await;
    hub.has_each_once(1).await;
    let metrics = running.agent.metrics();
    let before = metrics.syslog_refused.get();
    send(&[], 1).await;
    until(|| metrics.syslog_refused.get() > before, || "a client without certificate".into()).await;
    // A sender without TLS.
    let mut stream = TcpStream::connect(listen).unwrap();
    let line = format!("<38>Nov 20 20:07:14 web01 sshd[7]: {}\n", message(2));
    let _ = stream.write_all(line.as_bytes());
    until(|| metrics.syslog_refused.get() > before + 1, || "a client without TLS".into()).await;
    send(&own, 1).await;
    hub.has_each_once(2).await;
    running.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_taken_is_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = taken.local_addr().unwrap();
    let hub = MemoryHub::new(Mood::Takes);
    let config = config(vec![SourceConfig::Syslog(source(listen, SyslogTransport::Tcp))]);
    let running = Running::start(&config, folder.path(), hub.clone()).await;
    until(|| hub.of(EventKind::SourceFailed).len() == 1, || "a failure".into()).await;
    drop(taken);
    until(|| hub.of(EventKind::SourceRecovered).len() == 1, || "a recovery".into()).await;
    logger(&["--tcp"], listen, 0);
    hub.has_each_once(1).await;
    running.end().await;
}

/// rsyslogd (`scripts/test-packages.sh` installs it) forwards a file by TCP, counted.
#[tokio::test(flavor = "multi_thread")]
async fn rsyslogd_is_understood() {
    let folder = tempfile::tempdir().unwrap();
    let listen = free();
    let (running, hub) =
        start(&folder.path().join("data"), source(listen, SyslogTransport::Tcp)).await;
    let log = folder.path().join("in.log");
    let lines: String = (0..200).map(|number| message(number) + "\n").collect();
    std::fs::write(&log, lines).unwrap();
    let settings = folder.path().join("rsyslog.conf");
    std::fs::write(
        &settings,
        format!(
            "global(workDirectory=\"{work}\")\nmodule(load=\"imfile\")\n\
             input(type=\"imfile\" file=\"{log}\" tag=\"sshd:\" facility=\"auth\")\n\
             action(type=\"omfwd\" target=\"127.0.0.1\" port=\"{port}\" protocol=\"tcp\" TCP_Framing=\"octet-counted\" template=\"RSYSLOG_SyslogProtocol23Format\")\n",
            work = folder.path().display(),
            log = log.display(),
            port = listen.port()
        ),
    )
    .unwrap();
    let mut child = Command::new("/usr/sbin/rsyslogd")
        .args(["-n", "-f", settings.to_str().unwrap(), "-i"])
        .arg(folder.path().join("pid"))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    hub.has_each_once(200).await;
    let _ = child.kill();
    let _ = child.wait();
    running.end().await;
}
