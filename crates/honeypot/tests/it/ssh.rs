//! The SSH service with OpenSSH's client and with hand-made bytes. A client
//! that is not installed skips its test and says so.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "test code outside of test functions"
)]

use crate::support;

use std::os::unix::fs::PermissionsExt as _;
use std::process::Output;
use std::time::Duration;

use palisade_event::{Event, EventKind, Outcome};
use palisade_honeypot::{SshAccept, SshConfig, SshKeys};
use support::openssh::{Client, Folder, config, keys, ssh_config};
use support::{PATIENCE, Zone, connect, kinds, read_all, read_until, reason, send, text};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

fn shown(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

/// User, password and outcome.
type Try<'a> = (&'a [u8], Option<&'a [u8]>, Outcome);

fn attempts(events: &[Event]) -> Vec<Try<'_>> {
    let tries = events.iter().filter(|event| event.kind == EventKind::AuthAttempted);
    tries
        .map(|event| {
            let credentials = event.credentials.as_ref().expect("credentials");
            let password = credentials.password.as_ref().map(|word| word.as_bytes());
            let user = credentials.username.as_ref().unwrap().as_bytes();
            (user, password, credentials.outcome.unwrap())
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openssh_is_refused_and_its_password_is_kept_as_bytes() {
    let mut zone = Zone::start(&config(ssh_config())).await;
    let client = Client::new(zone.ssh);
    let options = ["-o", "PreferredAuthentications=password"];
    let Some(output) =
        client.run("ssh", "p\\0377ss\\0303w\\0366rd", &options, &["root@127.0.0.1", "id"]).await
    else {
        return;
    };
    let said = shown(&output);
    assert!(said.contains("Permission denied (publickey,password)."), "{said}");
    let events = zone.session().await;
    assert_eq!(
        kinds(&events),
        ["connection.opened", "client.identified", "auth.attempted", "session.closed"]
    );
    let password = &b"p\xffss\xc3w\xf6rd"[..];
    assert_eq!(attempts(&events), [(&b"root"[..], Some(password), Outcome::Failed)]);
    let identified = &events[1];
    assert!(identified.client.as_ref().unwrap().as_bytes().starts_with(b"SSH-2.0-OpenSSH_"));
    let hassh = |event: &Event| event.fingerprints.as_ref().unwrap().hassh.clone().unwrap();
    assert_eq!(hassh(identified).len(), 32);
    assert_eq!(hassh(identified), hassh(&events[2]));
    let lists = text(identified, "kex_algorithms");
    assert!(lists.windows(17).any(|part| part == b"curve25519-sha256"));
    assert_eq!(text(&events[2], "method"), b"password");
    for event in &events {
        assert_eq!(event.validate(), Ok(()));
        assert_eq!(event.category.as_ref().unwrap().as_str(), "SSH/console(palisade)");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openssh_speaks_every_algorithm_that_is_offered() {
    let zone = Zone::start(&config(ssh_config())).await;
    let client = Client::new(zone.ssh);
    let kex = [
        "sntrup761x25519-sha512@openssh.com",
        "curve25519-sha256",
        "curve25519-sha256@libssh.org",
        "ecdh-sha2-nistp256",
        "ecdh-sha2-nistp384",
        "ecdh-sha2-nistp521",
        "diffie-hellman-group-exchange-sha256",
        "diffie-hellman-group16-sha512",
        "diffie-hellman-group18-sha512",
        "diffie-hellman-group14-sha256",
    ];
    let ciphers =
        ["chacha20-poly1305@openssh.com", "aes128-gcm@openssh.com", "aes256-gcm@openssh.com"];
    let macs = [
        "umac-64-etm@openssh.com",
        "umac-128-etm@openssh.com",
        "hmac-sha2-256-etm@openssh.com",
        "hmac-sha2-512-etm@openssh.com",
        "hmac-sha1-etm@openssh.com",
        "umac-64@openssh.com",
        "umac-128@openssh.com",
        "hmac-sha2-256",
        "hmac-sha2-512",
        "hmac-sha1",
    ];
    let counters = ["aes128-ctr", "aes192-ctr", "aes256-ctr"];
    let host_keys = ["rsa-sha2-512", "rsa-sha2-256", "ecdsa-sha2-nistp256", "ssh-ed25519"];
    let mut all: Vec<Vec<String>> = Vec::new();
    all.extend(kex.iter().map(|name| vec![format!("KexAlgorithms={name}")]));
    all.extend(ciphers.iter().map(|name| vec![format!("Ciphers={name}")]));
    all.extend(host_keys.iter().map(|name| vec![format!("HostKeyAlgorithms={name}")]));
    for (index, mac) in macs.iter().enumerate() {
        let cipher = counters[index % counters.len()];
        all.push(vec![format!("Ciphers={cipher}"), format!("MACs={mac}")]);
    }
    all.push(vec!["Compression=yes".to_owned()]);
    for names in &all {
        let mut options = vec!["-o", "PreferredAuthentications=password"];
        options.extend(names.iter().flat_map(|name| ["-o", name.as_str()]));
        let Some(output) = client.run("ssh", "x", &options, &["root@127.0.0.1"]).await else {
            return;
        };
        let said = shown(&output);
        assert!(said.contains("Permission denied (publickey,password)."), "{names:?}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn public_keys_are_recorded_by_their_fingerprint() {
    for (policy, kind) in [
        (SshKeys::Never, "ed25519"),
        (SshKeys::Always, "ed25519"),
        (SshKeys::Always, "rsa"),
        (SshKeys::Always, "ecdsa"),
    ] {
        let mut zone = Zone::start(&config(SshConfig { keys: policy, ..ssh_config() })).await;
        let client = Client::new(zone.ssh);
        let key = client.folder.0.join("key");
        let path = key.to_str().unwrap();
        let made =
            Command::new("ssh-keygen").args(["-q", "-t", kind, "-N", "", "-f", path]).output();
        let Ok(made) = made.await else {
            println!("skipped: ssh-keygen is not installed");
            return;
        };
        assert!(made.status.success());
        let shown = Command::new("ssh-keygen").args(["-lf", path]).output().await.unwrap();
        let fingerprint = String::from_utf8(shown.stdout).unwrap();
        let fingerprint = fingerprint.split(' ').nth(1).unwrap();
        let options = ["-i", path, "-o", "PreferredAuthentications=publickey"];
        client.run("ssh", "x", &options, &["root@127.0.0.1", "true"]).await.unwrap();
        let events = zone.session().await;
        let outcome = if policy == SshKeys::Never { Outcome::Failed } else { Outcome::Accepted };
        assert_eq!(attempts(&events), [(&b"root"[..], None, outcome)], "{kind}");
        let tried = events.iter().find(|event| event.kind == EventKind::AuthAttempted).unwrap();
        assert_eq!(text(tried, "key_fingerprint"), fingerprint.as_bytes());
        assert_eq!(text(tried, "method"), b"publickey");
        let expected =
            if kind == "ecdsa" { "ecdsa-sha2-nistp256".into() } else { format!("ssh-{kind}") };
        assert_eq!(text(tried, "key_type"), expected.as_bytes());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn questions_are_asked_where_that_is_set() {
    let ssh = SshConfig { keyboard_interactive: true, ..ssh_config() };
    let mut zone = Zone::start(&config(ssh)).await;
    let client = Client::new(zone.ssh);
    let options = ["-o", "PreferredAuthentications=keyboard-interactive"];
    let Some(output) = client.run("ssh", "secret", &options, &["admin@127.0.0.1"]).await else {
        return;
    };
    assert!(shown(&output).contains("(publickey,password,keyboard-interactive)"));
    let events = zone.session().await;
    assert_eq!(attempts(&events)[0], (&b"admin"[..], Some(&b"secret"[..]), Outcome::Failed));
    assert_eq!(text(&events[2], "method"), b"keyboard-interactive");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nmap_names_the_server_of_the_persona() {
    let mut zone = Zone::start(&config(ssh_config())).await;
    let port = zone.ssh.port().to_string();
    let scan = Command::new("nmap")
        .args([
            "-sT",
            "-Pn",
            "-n",
            "-sV",
            "-sC",
            "--script",
            "default,ssh2-enum-algos",
            "-p",
            &port,
        ])
        .arg("127.0.0.1")
        .output();
    let drain = async { while zone.events.recv().await.is_some() {} };
    let output = tokio::select! { () = drain => unreachable!(), output = scan => output };
    let Ok(output) = output else {
        println!("skipped: nmap is not installed");
        return;
    };
    let said = shown(&output);
    assert!(said.contains("OpenSSH 9.2p1 Debian 2+deb12u10 (protocol 2.0)"), "{said}");
    for name in
        ["sntrup761x25519-sha512@openssh.com", "umac-64-etm@openssh.com", "(ECDSA)", "(ED25519)"]
    {
        assert!(said.contains(name), "{name}: {said}");
    }
    assert!(!said.to_lowercase().contains("honeypot") && !said.contains("cowrie"), "{said}");
}

fn open_config() -> SshConfig {
    SshConfig { accept: SshAccept::Always, ..ssh_config() }
}

fn of(kind: EventKind, events: &[Event]) -> Vec<&Event> {
    events.iter().filter(|event| event.kind == kind).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_runs_in_the_server_of_the_persona() {
    let mut zone = Zone::start(&config(open_config())).await;
    let client = Client::new(zone.ssh);
    let command = "uname -n; id -un; ls /nowhere; exit 3";
    let Some(output) = client.run("ssh", "x", &[], &["root@127.0.0.1", command]).await else {
        return;
    };
    assert_eq!(output.stdout, b"web3\nroot\n", "{}", shown(&output));
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(errors.contains("ls: cannot access '/nowhere': No such file or directory"), "{errors}");
    assert_eq!(output.status.code(), Some(3));
    let events = zone.session().await;
    assert_eq!(attempts(&events), [(&b"root"[..], Some(&b"x"[..]), Outcome::Accepted)]);
    let commands = of(EventKind::CommandEntered, &events);
    assert_eq!(commands.len(), 1);
    assert_eq!(commands[0].request.as_ref().unwrap().as_bytes(), command.as_bytes());
    assert_eq!(reason(&events), "client-closed");
    assert!(text(events.last().unwrap(), "kex").starts_with(b"sntrup761x25519-sha512"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_terminal_has_a_prompt_and_an_echo() {
    let mut zone = Zone::start(&config(open_config())).await;
    let client = Client::new(zone.ssh);
    let keys = b"ecko\x7f\x7fho one\r\x1b[A\x1b[D\x1b[D\x1b[D\x15echo two; #\rexit\r";
    let rest = ["-tt", "root@127.0.0.1"];
    let Some(output) = client.feed("ssh", "x", &[], &rest, keys).await else { return };
    let said = shown(&output);
    assert!(said.contains("root@web3:~# ") && said.contains("\r\none\r\n"), "{said}");
    assert!(said.contains("Debian GNU/Linux") || said.contains("Linux web3 "), "{said}");
    let events = zone.session().await;
    let lines: Vec<&[u8]> = of(EventKind::CommandEntered, &events)
        .iter()
        .map(|event| support::request(event))
        .collect();
    assert_eq!(lines, [&b"echo one"[..], b"echo two; #one", b"exit"]);
    let closed = events.last().unwrap();
    assert!(closed.attributes.contains_key("terminal_type"), "{closed:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_piped_in_is_kept() {
    let mut zone = Zone::start(&config(open_config())).await;
    let client = Client::new(zone.ssh);
    let data: Vec<u8> = (0..300_000u32).map(|n| (n % 251) as u8).collect();
    let rest = ["root@127.0.0.1", "cat > /tmp/.x; chmod 777 /tmp/.x; wc -c < /tmp/.x"];
    let Some(output) = client.feed("ssh", "x", &["-C"], &rest, &data).await else { return };
    assert_eq!(output.stdout, b"300000\n", "{}", shown(&output));
    let events = zone.session().await;
    let captured = of(EventKind::PayloadCaptured, &events);
    assert_eq!(captured.len(), 1, "{:?}", kinds(&events));
    assert_eq!(support::number(captured[0], "size"), 300_000);
    // A script without a terminal.
    let rest = ["root@127.0.0.1"];
    let script = b"cd /tmp\nls -a\nwhoami\n";
    let output = client.feed("ssh", "x", &["-T"], &rest, script).await.unwrap();
    let said = shown(&output);
    assert!(said.contains(".x\n") && said.contains("root\n") && !said.contains('#'), "{said}");
    assert_eq!(of(EventKind::CommandEntered, &zone.session().await).len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_go_both_ways_by_sftp_and_scp() {
    for legacy in [&[][..], &["-O"]] {
        let mut zone = Zone::start(&config(open_config())).await;
        let client = Client::new(zone.ssh);
        let dropped = client.folder.0.join("dropped");
        let data: Vec<u8> = (0..400_000u32).map(|n| (n % 253) as u8).collect();
        std::fs::write(&dropped, &data).unwrap();
        let from = dropped.to_str().unwrap();
        let put = [from, "root@127.0.0.1:/tmp/up"];
        let Some(output) = client.run("scp", "x", legacy, &put).await else { return };
        assert!(output.status.success(), "{}", shown(&output));
        let events = zone.session().await;
        let captured = of(EventKind::PayloadCaptured, &events);
        assert_eq!(captured.len(), 1, "{:?}", kinds(&events));
        assert_eq!(captured[0].payload, Some(palisade_honeypot::shell::sha256(&data)));
        assert_eq!(captured[0].payload_name.as_ref().unwrap().as_bytes(), b"/tmp/up");
        // What was put there is there.
        let back = client.folder.0.join("back");
        let get = ["root@127.0.0.1:/tmp/up", back.to_str().unwrap()];
        let output = client.run("scp", "x", legacy, &get).await.unwrap();
        assert!(output.status.success(), "{}", shown(&output));
        assert_eq!(std::fs::read(&back).unwrap(), data);
        let get = ["root@127.0.0.1:/nowhere", back.to_str().unwrap()];
        let output = client.run("scp", "x", legacy, &get).await.unwrap();
        assert!(shown(&output).contains("No such file"), "{}", shown(&output));
        // A folder.
        let tree = client.folder.0.join("tree");
        std::fs::create_dir_all(tree.join("in")).unwrap();
        std::fs::write(tree.join("in/a"), b"1").unwrap();
        std::fs::write(tree.join("empty"), b"").unwrap();
        let put = ["-r", tree.to_str().unwrap(), "root@127.0.0.1:/tmp"];
        let output = client.run("scp", "x", legacy, &put).await.unwrap();
        assert!(output.status.success(), "{}", shown(&output));
        let look = ["root@127.0.0.1", "cat /tmp/tree/in/a; ls /tmp/tree"];
        let output = client.run("ssh", "x", &[], &look).await.unwrap();
        assert_eq!(output.stdout, b"1empty\nin\n", "{}", shown(&output));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sftp_lists_changes_and_plants() {
    let mut zone = Zone::start(&config(open_config())).await;
    let client = Client::new(zone.ssh);
    let key = client.folder.0.join("planted");
    std::fs::write(
        &key,
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f x\n",
    )
    .unwrap();
    let batch = client.folder.0.join("batch");
    let script = format!(
        "pwd\nls -l /etc\nmkdir .ssh2\nput {0} .ssh/authorized_keys\nput {0} a\n\
         chmod 700 a\nrename a b\nsymlink b c\nls -l c\nrm b\nget /etc/passwd {1}\ndf /\nrmdir .ssh2\n",
        key.display(),
        client.folder.0.join("passwd").display()
    );
    std::fs::write(&batch, script.replace("put", "-mkdir .ssh\nput")).unwrap();
    let rest = ["-b", batch.to_str().unwrap(), "root@127.0.0.1"];
    // `-b` turns questions off; asking by program is none.
    let options = ["-o", "BatchMode=no"];
    let Some(output) = client.run("sftp", "x", &options, &rest).await else { return };
    let said = shown(&output);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("Remote working directory: /root"), "{said}");
    assert!(said.contains("root     root"), "{said}");
    let passwd = std::fs::read(client.folder.0.join("passwd")).unwrap();
    assert!(passwd.starts_with(b"root:x:0:0:"));
    let events = zone.session().await;
    let planted = of(EventKind::KeyPlanted, &events);
    assert_eq!(planted.len(), 1, "{:?}", kinds(&events));
    assert_eq!(text(planted[0], "path"), b"/root/.ssh/authorized_keys");
    let lines: Vec<&[u8]> = of(EventKind::CommandEntered, &events)
        .iter()
        .map(|event| support::request(event))
        .collect();
    for line in [&b"get /etc/passwd"[..], b"put /root/a", b"rename /root/a /root/b", b"rm /root/b"]
    {
        assert!(lines.contains(&line), "{lines:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tunnels_are_recorded_and_never_opened() {
    let mut zone = Zone::start(&config(open_config())).await;
    let client = Client::new(zone.ssh);
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let forward = format!("{}:192.0.2.80:80", free.port());
    let rest = ["-N", "-L", &forward, "-R", "8022:127.0.0.1:22", "root@127.0.0.1"];
    let running = client.run("ssh", "x", &["-o", "ExitOnForwardFailure=yes"], &rest);
    let using = async {
        let mut stream = loop {
            match tokio::net::TcpStream::connect(free).await {
                Ok(stream) => break stream,
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        };
        send(&mut stream, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let mut seen = Vec::new();
        while seen.last() != Some(&EventKind::DataReceived) {
            let event = zone.next().await;
            seen.push(event.kind);
            match event.kind {
                EventKind::TunnelRequested if text(&event, "direction") == b"reverse" => {
                    assert_eq!(support::number(&event, "port"), 8_022);
                }
                EventKind::TunnelRequested => {
                    assert_eq!(text(&event, "host"), b"192.0.2.80");
                    assert_eq!(support::number(&event, "port"), 80);
                }
                EventKind::DataReceived => {
                    assert_eq!(text(&event, "protocol"), b"http");
                    assert!(support::request(&event).starts_with(b"GET / "));
                }
                _ => {}
            }
        }
        seen
    };
    let seen = tokio::select! {
        output = running => match output {
            None => return,
            Some(output) => panic!("{}", shown(&output)),
        },
        seen = using => seen,
    };
    assert_eq!(seen.iter().filter(|kind| **kind == EventKind::TunnelRequested).count(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_tunnel_says_so() {
    let ssh = SshConfig { tunnels: palisade_honeypot::SshTunnels::Refused, ..open_config() };
    let zone = Zone::start(&config(ssh)).await;
    let client = Client::new(zone.ssh);
    let rest = ["-W", "192.0.2.1:25", "root@127.0.0.1"];
    let Some(output) = client.run("ssh", "x", &[], &rest).await else { return };
    let said = shown(&output);
    assert!(said.contains("open failed: connect failed: Connection refused"), "{said}");
}

#[tokio::test]
async fn what_is_no_ssh_is_answered_as_openssh_does() {
    let mut zone = Zone::start(&config(ssh_config())).await;
    let banner = b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u10\r\n".to_vec();
    for (sent, answer) in [
        (&b"GET / HTTP/1.0\r\n\r\n"[..], &b"Invalid SSH identification string.\r\n"[..]),
        (b"SSH-1.5-old\r\n", b"Protocol major versions differ.\r\n"),
        (b"\x16\x03\x01\x00\x05\n", b"Invalid SSH identification string.\r\n"),
    ] {
        let mut client = connect(zone.ssh).await;
        send(&mut client, sent).await;
        let all = read_all(&mut client).await;
        assert_eq!(all, [banner.clone(), answer.to_vec()].concat());
        let events = zone.session().await;
        assert_eq!(reason(&events), "completed");
        assert!(!text(events.last().unwrap(), "fault").is_empty());
    }
    // After the KEXINIT of 1,136 bytes, as recorded from the real server.
    let padding =
        b"\0\0\0\x34\x0a\x01\0\0\0\x02\0\0\0\x1cCorrupted padlen 1 on input.\0\0\0\0".to_vec();
    let padding = [padding, vec![0; 10]].concat();
    for (sent, answer) in [
        (&[b'A'; 100][..], &b""[..]),
        (b"\0\0\0\x01\0\0\0\0", b""),
        (&[0; 64], b""),
        (b"\0\0\0\x0d\x04\x04\x04\x04\x04\x04\x04\x04\x04\x04\x04\x04\x04", b""),
        (b"\0\0\0\x0c\x0a\x32\0\0\0\0\0\0\0\0\0\0", b""),
        (b"\0\0\0\x0c\x01\x02\0\0\0\0\0\0\0\0\0\0", &padding),
    ] {
        let mut client = connect(zone.ssh).await;
        send(&mut client, b"SSH-2.0-x\r\n").await;
        send(&mut client, sent).await;
        let all = read_all(&mut client).await;
        let rest = &all[banner.len() + 1_136..];
        assert_eq!(rest.escape_ascii().to_string(), answer.escape_ascii().to_string());
        assert!(!text(zone.session().await.last().unwrap(), "fault").is_empty());
    }
}

#[tokio::test]
async fn a_client_that_does_not_log_in_is_cut_off() {
    let mut zone = Zone::start(&config(SshConfig { grace_secs: 1, ..ssh_config() })).await;
    let mut client = connect(zone.ssh).await;
    read_until(&mut client, b"\r\n").await;
    let drip = async {
        for byte in b"SSH-2.0-slow".iter().cycle() {
            if client.write_all(&[*byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(PATIENCE, drip).await.unwrap();
    assert_eq!(reason(&zone.session().await), "idle");
}

#[tokio::test]
async fn host_keys_are_made_once_and_kept() {
    let folder = Folder::new();
    let ssh = SshConfig { host_keys: Some(folder.0.clone()), ..ssh_config() };
    // The slow one comes from the fixtures.
    let rsa = "ssh_host_rsa_key";
    std::fs::copy(keys().join(rsa), folder.0.join(rsa)).unwrap();
    let mut seen = Vec::new();
    for _ in 0..2 {
        let zone = Zone::start(&config(ssh.clone())).await;
        zone.end().await;
        let read = |name: &str| std::fs::read(folder.0.join(name)).unwrap();
        seen.push(["ssh_host_ecdsa_key", "ssh_host_ed25519_key", rsa].map(read));
        let mode = std::fs::metadata(folder.0.join("ssh_host_ed25519_key")).unwrap().permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);
    }
    assert_eq!(seen[0], seen[1]);
    std::fs::write(folder.0.join("ssh_host_ecdsa_key"), b"no key").unwrap();
    let (out, _events) = tokio::sync::mpsc::channel(8);
    let sensor = palisade_event::SensorId::new("test").unwrap();
    let bound = palisade_honeypot::Honeypot::bind(&config(ssh), sensor, None, out).await;
    let error = bound.unwrap_err().to_string();
    assert!(error.contains("ssh_host_ecdsa_key is no SSH host key"), "{error}");
}
