//! Sessions by the real binary: OpenSSH's and a Telnet client are recorded, and
//! what they saw is listed, shown, exported and replayed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test that fails says where"
)]

use crate::support;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use palisade_event::asciicast::{Code, parse_line, to_bytes};
use serde_json::Value;
use support::{PATIENCE, Palisade};

/// Reads until `wanted` has come.
fn read_until(client: &mut TcpStream, wanted: &[u8]) -> Vec<u8> {
    let (mut got, mut piece) = (Vec::new(), [0; 4096]);
    while !got.windows(wanted.len()).any(|part| part == wanted) {
        let count = client.read(&mut piece).unwrap();
        assert_ne!(count, 0, "closed after {}", got.escape_ascii());
        got.extend_from_slice(&piece[..count]);
    }
    got
}

fn telnet(address: SocketAddr) -> TcpStream {
    let mut client = TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.write_all(b"root\nvizxv\n").unwrap();
    read_until(&mut client, b"built-in commands.");
    client.write_all(b"PS1='@@ '\n").unwrap();
    read_until(&mut client, b"\r\n@@ ");
    client
}

/// OpenSSH's client; `None` where it is not installed.
fn ssh(home: &Path, address: SocketAddr, arguments: &[&str]) -> Option<Output> {
    let ask = home.join("ask");
    fs::write(&ask, "#!/bin/sh\necho secret\n").unwrap();
    fs::set_permissions(&ask, fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = Command::new("ssh");
    command.args(["-F", "none", "-p", &address.port().to_string()]);
    for option in ["UserKnownHostsFile=/dev/null", "StrictHostKeyChecking=no", "LogLevel=ERROR"] {
        command.args(["-o", option]);
    }
    command.args(arguments).env("SSH_ASKPASS", ask).env("SSH_ASKPASS_REQUIRE", "force");
    command.env_remove("SSH_AUTH_SOCK").env("HOME", home).stdin(std::process::Stdio::null());
    match command.output() {
        Ok(output) => Some(output),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            println!("skipped: ssh is not installed");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

fn stdout(palisade: &Palisade, arguments: &[&str]) -> String {
    let output = palisade.cli(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn sessions(palisade: &Palisade, query: &str) -> Vec<Value> {
    let text = stdout(palisade, &["session", "list", "--q", query, "--format", "json"]);
    let answer: Value = serde_json::from_str(&text).unwrap();
    answer["sessions"].as_array().unwrap().clone()
}

#[test]
fn what_clients_saw_is_listed_and_replayed_and_survives_kill_9() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let more = "\n[[honeypot.services]]\ntype = \"ssh\"\nlisten = \"127.0.0.1:0\"\n[honeypot.services.ssh]\naccept = \"always\"\n";
    fs::write(home.join("palisade.toml"), support::settings(home) + more).unwrap();
    let palisade = Palisade::up(home);
    let ssh_line = palisade.wait_printed("honeypot ssh on");
    let ssh_address = ssh_line.rsplit(' ').next().unwrap().parse().unwrap();

    // A terminal's worth of harm, UTF-8, and bytes that are none.
    let mut client = telnet(palisade.telnet());
    let line =
        "echo -e 'grüße \\033[31mred\\033[0m \\033]52;c;cm0=\\007\\033[?1049h\\033[6n\\xff end'\n";
    client.write_all(line.as_bytes()).unwrap();
    read_until(&mut client, b" end\r\n@@ ");
    client.write_all(b"exit\n").unwrap();
    client.read_to_end(&mut Vec::new()).unwrap();
    let with_ssh = ssh(home, ssh_address, &["root@127.0.0.1", "id; uname -s"]);
    if let Some(output) = &with_ssh {
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.starts_with("uid=0(root)") && said.ends_with("Linux\n"), "{output:?}");
    }
    // One that is held, with more than a part to tell.
    let mut held = telnet(palisade.telnet());
    held.write_all(b"yes 0123456789012345678901234567890123456789 | head -n 2000; echo held\n")
        .unwrap();
    read_until(&mut held, b"\nheld\r\n@@ ");
    let all = if with_ssh.is_some() { 3 } else { 2 };
    support::wait("the recordings to be stored", || {
        (sessions(&palisade, "kind:session.recorded").len() == all).then_some(())
    });

    let found = sessions(&palisade, "grüße");
    assert_eq!(found.len(), 1, "by a word of a command: {found:?}");
    let (id, session) = (found[0]["id"].as_str().unwrap().to_owned(), &found[0]);
    assert_eq!((&session["user"], &session["commands"]), (&"root".into(), &3.into()));
    assert_eq!((&session["recorded"], &session["reason"]), (&true.into(), &"completed".into()));
    let table = stdout(&palisade, &["session", "list", "--q", "kind:session.recorded"]);
    assert!(table.contains("SESSION") && table.contains(&id), "{table}");

    // Replayed: text and colours, and nothing that steers this terminal.
    let played = stdout(&palisade, &["session", "play", &id, "--speed", "1000"]);
    assert!(played.contains("\r\ngrüße \u{1b}[31mred\u{1b}[0m \u{fffd} end\r\n@@ "), "{played:?}");
    for steering in ["\u{1b}]", "\u{1b}[?", "\u{1b}[6n"] {
        assert!(!played.contains(steering), "{played:?}");
    }
    assert!(played.ends_with("\u{1b}[0m\r\n"), "{played:?}");
    let shown = stdout(&palisade, &["session", "show", &id]);
    assert!(shown.contains("command.entered") && shown.contains("replay"), "{shown}");
    assert!(!shown.contains('\u{1b}'), "{shown:?}");

    // Exported: as it was, byte for byte.
    let file = home.join("attack.cast");
    stdout(&palisade, &["session", "export", &id, file.to_str().unwrap()]);
    let cast = fs::read_to_string(&file).unwrap();
    let header: Value = serde_json::from_str(cast.lines().next().unwrap()).unwrap();
    assert_eq!((&header["version"], &header["width"]), (&2.into(), &80.into()));
    let bytes: Vec<u8> = cast
        .lines()
        .skip(1)
        .map(|line| parse_line(line).unwrap())
        .filter(|line| line.code == Code::Output)
        .flat_map(|line| to_bytes(&line.text))
        .collect();
    let want = b"\x1b]52;c;cm0=\x07\x1b[?1049h\x1b[6n\xff end\r\n@@ ";
    assert!(bytes.windows(want.len()).any(|part| part == want), "{}", bytes.escape_ascii());
    let again = palisade.cli(&["session", "export", &id, file.to_str().unwrap()]);
    assert!(!again.status.success(), "a file that is there stays");

    if with_ssh.is_some() {
        let found = sessions(&palisade, "category:\"SSH/console(palisade)\"");
        let id = found[0]["id"].as_str().unwrap();
        let played = stdout(&palisade, &["session", "play", id, "--speed", "1000"]);
        assert!(played.contains("$ id; uname -s") && played.contains("Linux\r\n"), "{played:?}");
    }
    for wrong in [["session", "show", "nobody"], ["session", "play", "nobody"]] {
        let output = palisade.cli(&wrong);
        assert_eq!(output.status.code(), Some(1), "{wrong:?}: {output:?}");
    }

    // What was told of the one that is held outlives us; the session did not end.
    palisade.kill();
    let palisade = Palisade::up(home);
    let found = sessions(&palisade, "request:*0123456789*");
    assert_eq!((found.len(), &found[0]["reason"]), (1, &Value::Null));
    let id = found[0]["id"].as_str().unwrap();
    let played = stdout(&palisade, &["session", "play", id, "--speed", "1000"]);
    assert!(played.matches("\r\n0123456789012345").count() > 400, "{}", played.len());
    let shown = stdout(&palisade, &["session", "show", id]);
    assert!(shown.contains("not at its end"), "{shown}");
}
