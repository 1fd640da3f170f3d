//! What is recorded of shells, over real sockets and with OpenSSH's client.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "test code outside of test functions"
)]

use crate::support;

use palisade_event::asciicast::{Code, Line, parse_line, to_bytes};
use palisade_event::{AttributeValue, Event, EventKind};
use palisade_honeypot::SshAccept;
use support::openssh::{self, Client, ssh_config};
use support::{Zone, config, connect, kinds, number, read_until, send, text};
use tokio::io::AsyncWriteExt as _;

fn parts(events: &[Event]) -> Vec<&Event> {
    events.iter().filter(|event| event.kind == EventKind::SessionRecorded).collect()
}

fn lines(events: &[Event]) -> Vec<Line> {
    let all = parts(events).into_iter().flat_map(|part| {
        let lines = String::from_utf8(text(part, "asciicast").to_vec()).unwrap();
        lines.lines().map(|line| parse_line(line).unwrap()).collect::<Vec<_>>()
    });
    all.collect()
}

/// All that was shown, typed or marked.
fn bytes(events: &[Event], code: Code) -> Vec<u8> {
    let of_code = |line: &Line| line.code == code;
    lines(events).into_iter().filter(of_code).flat_map(|line| to_bytes(&line.text)).collect()
}

fn shown(events: &[Event]) -> String {
    String::from_utf8_lossy(&bytes(events, Code::Output)).into_owned()
}

#[tokio::test]
async fn a_telnet_session_is_recorded_as_its_client_saw_it() {
    let mut zone = Zone::start(&config()).await;
    let mut client = connect(zone.telnet).await;
    read_until(&mut client, b"login: ").await;
    // A terminal of 100 columns and 30 rows.
    send(&mut client, b"\xff\xfb\x1f\xff\xfa\x1f\x00\x64\x00\x1e\xff\xf0root\r\nbad\r\n").await;
    read_until(&mut client, b"Login incorrect\r\n").await;
    send(&mut client, b"root\r\nvizxv\r\n").await;
    let mut heard = read_until(&mut client, b"~ # ").await;
    // UTF-8, and bytes that are none; the last one is doubled on the wire.
    send(&mut client, "echo 'grüße'\r\n".as_bytes()).await;
    heard.extend(read_until(&mut client, "\ngrüße\r\n~ # ".as_bytes()).await);
    send(&mut client, b"echo -e '\\xfe\\xff'\r\n").await;
    heard.extend(read_until(&mut client, b"\n\xfe\xff\xff\r\n~ # ").await);
    send(&mut client, b"wget http://127.0.0.1:8/x\r\n").await;
    heard.extend(read_until(&mut client, b"~ # ").await);
    drop(client);

    let events = zone.session().await;
    let told = parts(&events);
    assert_eq!(told.len(), 1, "{:?}", kinds(&events));
    assert_eq!((number(told[0], "part"), number(told[0], "width")), (0, 100));
    assert_eq!(number(told[0], "height"), 30);
    assert_eq!(told[0].attributes["last"], AttributeValue::Flag(true));
    assert!(!told[0].attributes.contains_key("truncated"));
    let recorded = bytes(&events, Code::Output);
    let unescaped: Vec<u8> = {
        let mut after_iac = false;
        heard.retain(|byte| {
            after_iac = *byte == 0xff && !after_iac;
            !after_iac
        });
        heard
    };
    // The password is not echoed, the line end after it is; recording begins behind.
    let from = unescaped.windows(4).position(|part| part == b"\r\n\r\n").unwrap();
    let want = &unescaped[from..];
    assert!(
        recorded.ends_with(&want[want.len() - 200..]) && recorded.len() >= want.len() - 4,
        "{}\n{}",
        recorded.escape_ascii(),
        want.escape_ascii()
    );
    let typed = bytes(&events, Code::Input);
    let want = "echo 'grüße'\r\necho -e '\\xfe\\xff'\r\nwget http://127.0.0.1:8/x\r\n";
    assert_eq!(String::from_utf8_lossy(&typed), want, "no login, nor what ended its last line");
    assert_eq!(shown(&events).matches("~ # ").count(), 4, "a prompt each");
    assert!(lines(&events).is_sorted_by_key(|line| line.at_ms));

    let closed = events.last().unwrap();
    assert_eq!((number(closed, "commands"), number(closed, "downloads")), (3, 1));
    assert_eq!((number(closed, "logins_failed"), number(closed, "logins_accepted")), (1, 1));
    assert!(!closed.attributes.contains_key("payloads"), "what there was none of is left out");
    assert_eq!(closed.attributes["recorded"], AttributeValue::Flag(true));
    for event in &events {
        assert_eq!(event.validate(), Ok(()));
    }
}

#[tokio::test]
async fn a_login_that_fails_is_not_recorded() {
    let mut zone = Zone::start(&config()).await;
    let mut client = connect(zone.telnet).await;
    send(&mut client, b"root\nwrong\n").await;
    read_until(&mut client, b"Login incorrect\r\n").await;
    drop(client);
    let events = zone.session().await;
    assert_eq!(kinds(&events), ["connection.opened", "auth.attempted", "session.closed"]);
    assert!(!events[2].attributes.contains_key("recorded"));
}

#[tokio::test]
async fn parts_are_told_while_the_session_lasts_and_end_at_the_bound() {
    let mut zone = Zone::start(&config()).await;
    let mut client = connect(zone.telnet).await;
    send(&mut client, b"root\nvizxv\n").await;
    read_until(&mut client, b"~ # ").await;
    let line =
        b"yes aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa | head -n 4000; echo done\n";
    let mut events: Vec<Event> = Vec::new();
    for _ in 0..20 {
        send(&mut client, line).await;
        read_until(&mut client, b"\ndone\r\n~ # ").await;
    }
    while parts(&events).len() < 10 {
        events.push(zone.next().await);
    }
    // Whatever becomes of the rest, what was told is there.
    let last = |part: &&Event| part.attributes.contains_key("last");
    assert!(!parts(&events).iter().any(last));
    // Not even a good-bye.
    socket2::SockRef::from(&client).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    drop(client);
    events.extend(zone.session().await);
    let told = parts(&events);
    assert!(told.iter().enumerate().all(|(n, part)| number(part, "part") == n as i64));
    assert_eq!(told.iter().filter(|part| last(part)).count(), 1);
    assert!(last(told.last().unwrap()));
    let sizes: Vec<usize> = told.iter().map(|part| text(part, "asciicast").len()).collect();
    assert!(sizes.iter().all(|size| *size <= 48 * 1024), "{sizes:?}");
    let whole: usize = sizes.iter().sum();
    assert!((1024 * 1024..1200 * 1024).contains(&whole), "{whole}");
    assert_eq!(told.last().unwrap().attributes["truncated"], AttributeValue::Flag(true));
    assert_eq!(bytes(&events, Code::Marker), b"the recording was cut here");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openssh_with_and_without_a_terminal() {
    let ssh = palisade_honeypot::SshConfig { accept: SshAccept::Always, ..ssh_config() };
    let mut zone = Zone::start(&openssh::config(ssh)).await;
    let client = Client::new(zone.ssh);

    // A command: no terminal shows what was run.
    let Some(output) =
        client.run("ssh", "x", &[], &["root@127.0.0.1", "uname -n; nosuchthing"]).await
    else {
        return;
    };
    assert_eq!(output.stdout, b"web3\n");
    let events = zone.session().await;
    assert_eq!(bytes(&events, Code::Marker), b"uname -n; nosuchthing");
    let recorded = shown(&events);
    assert!(
        recorded.starts_with("web3\r\n") && recorded.contains("nosuchthing: command not found")
    );
    assert_eq!(number(events.last().unwrap(), "commands"), 1);

    // A shell at a terminal.
    let input = b"whoami\nexit\n";
    let args = ["-tt", "root@127.0.0.1"];
    let output = client.feed("ssh", "x", &[], &args, input).await.unwrap();
    let events = zone.session().await;
    let recorded = shown(&events);
    let heard = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(recorded.contains("whoami\r\nroot\r\n"), "{recorded}");
    assert!(heard.ends_with(&recorded), "{heard}\n---\n{recorded}");
    assert_eq!(bytes(&events, Code::Input), input);
    assert!(bytes(&events, Code::Marker).is_empty());
    assert!(text(parts(&events)[0], "term").len() > 1);

    // A shell without one: lines are read and nothing is echoed.
    let args = ["-T", "root@127.0.0.1"];
    client.feed("ssh", "x", &[], &args, b"id -u\n\xff\xfe\n").await.unwrap();
    let events = zone.session().await;
    assert!(shown(&events).starts_with("0\r\n"), "{}", shown(&events));
    assert_eq!(bytes(&events, Code::Input), b"id -u\n\xff\xfe\n");
    let markers: Vec<String> = lines(&events)
        .into_iter()
        .filter(|line| line.code == Code::Marker)
        .map(|line| line.text)
        .collect();
    assert_eq!(markers, ["id -u", "\u{efff}\u{effe}"]);

    // Files that go through are none of a terminal's matter.
    let file = client.folder.0.join("file");
    std::fs::write(&file, b"x").unwrap();
    let to = "root@127.0.0.1:/tmp/file".to_owned();
    for way in ["-O", "-s"] {
        let file = file.to_str().unwrap();
        client.run("scp", "x", &[way, "-q"], &[file, &to]).await.unwrap();
        let events = zone.session().await;
        assert!(parts(&events).is_empty(), "{way}: {:?}", kinds(&events));
        assert_eq!(number(events.last().unwrap(), "payloads"), 1);
    }
}

#[tokio::test]
async fn control_c_and_a_hidden_password_are_recorded_as_they_were_typed() {
    let mut zone = Zone::start(&config()).await;
    let mut client = connect(zone.telnet).await;
    send(&mut client, b"root\nvizxv\n").await;
    read_until(&mut client, b"~ # ").await;
    send(&mut client, b"passwd\n").await;
    read_until(&mut client, b"assword: ").await;
    send(&mut client, b"s3cret\n").await;
    read_until(&mut client, b"assword: ").await;
    // BusyBox takes IAC IP for nothing; clients that are typed in send the key.
    send(&mut client, b"\xff\xf4\x03").await;
    read_until(&mut client, b"^C\r\n").await;
    client.shutdown().await.unwrap();
    let events = zone.session().await;
    assert_eq!(bytes(&events, Code::Input), b"passwd\ns3cret\n\x03");
    assert!(!shown(&events).contains("s3cret"), "what was not shown is not shown");
}
