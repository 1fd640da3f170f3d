//! The programs people really use. A program that is not installed skips its
//! test and says so.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "test code outside of test functions"
)]

use crate::support;

use std::process::Stdio;

use support::{PATIENCE, Zone, config, kinds, request, text};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// Runs a program with `input` on its stdin and returns what it printed;
/// `None` where it is not installed.
async fn run(program: &str, arguments: &[&str], input: &[u8]) -> Option<String> {
    let spawned = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn();
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            println!("skipped: {program} is not installed");
            return None;
        }
        Err(error) => panic!("{program}: {error}"),
    };
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input).await.unwrap();
    if !input.is_empty() {
        // telnet leaves at the end of its input; the service ends the session.
        let waiting = tokio::time::timeout(PATIENCE, child.wait()).await;
        waiting.expect("ends").unwrap();
    }
    drop(stdin);
    let output = tokio::time::timeout(PATIENCE, child.wait_with_output()).await;
    let output = output.expect("ends in time").unwrap();
    Some(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn telnet_logs_in_and_types() {
    let mut zone = Zone::start(&config()).await;
    let port = zone.telnet.port().to_string();
    let input = b"root\nvizxv\nuname -a\nexit\n";
    let Some(shown) = run("telnet", &["127.0.0.1", &port], input).await else { return };
    assert!(shown.contains("cam1 login: ") && shown.contains("Linux cam1 "), "{shown}");
    let events = zone.session().await;
    assert_eq!(
        kinds(&events),
        [
            "connection.opened",
            "auth.attempted",
            "command.entered",
            "command.entered",
            "session.recorded",
            "session.closed"
        ]
    );
    assert_eq!(request(&events[2]), b"uname -a");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_posts_a_login() {
    let mut zone = Zone::start(&config()).await;
    let url = format!("http://127.0.0.1:{}/login.cgi", zone.http.port());
    let form = ["-s", "-i", "-A", "agent/1", "-d", "username=admin&password=p%40ss", &url];
    let Some(shown) = run("curl", &form, b"").await else { return };
    assert!(shown.starts_with("HTTP/1.1 200 OK") && shown.contains("incorrect"), "{shown}");
    let events = zone.session().await;
    assert_eq!(
        kinds(&events),
        ["connection.opened", "http.requested", "auth.attempted", "session.closed"]
    );
    let password = events[2].credentials.as_ref().unwrap().password.as_ref().unwrap();
    assert_eq!(password.as_bytes(), b"p@ss");

    // More than a body may have, announced with Expect: 100-continue.
    let long = format!("{{\"x\":\"{}\"}}", "a".repeat(100_000));
    let file = ["-s", "-i", "-H", "Expect: 100-continue", "-d", &long, &url];
    let shown = run("curl", &file, b"").await.unwrap();
    assert!(shown.contains("HTTP/1.1 413 "), "{shown}");
    assert_eq!(text(&zone.session().await[1], "body").len(), 64 * 1024);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nmap_takes_the_services_for_real_ones() {
    let mut zone = Zone::start(&config()).await;
    let ports = format!("{},{}", zone.telnet.port(), zone.http.port());
    let drain = async { while zone.events.recv().await.is_some() {} };
    let arguments = ["-sT", "-Pn", "-n", "-sV", "-p", &ports, "127.0.0.1"];
    let scan = run("nmap", &arguments, b"");
    let shown = tokio::select! { () = drain => unreachable!(), shown = scan => shown };
    let Some(shown) = shown else { return };
    let lower = shown.to_lowercase();
    assert!(!lower.contains("honeypot") && !lower.contains("cowrie"), "{shown}");
    assert!(shown.contains("BusyBox telnetd") && shown.contains("lighttpd"), "{shown}");
}

/// What hydra(1) says of some passwords for `user`, tried at `place` (a protocol
/// and what it needs to know).
async fn hydra(port: u16, user: &str, passwords: &[&str], place: &[&str]) -> Option<String> {
    let folder = tempfile::tempdir().unwrap();
    let list = folder.path().join("list");
    std::fs::write(&list, passwords.join("\n")).unwrap();
    let port = port.to_string();
    let mut all = vec!["-I", "-t", "1", "-w", "10", "-l", user, "-P", list.to_str().unwrap()];
    all.extend(["-s", &port, "127.0.0.1"]);
    all.extend(place);
    // It leaves files where it runs.
    let command = format!("cd {} && exec hydra \"$@\"", folder.path().display());
    run("hydra", &["-h"], b"").await?;
    let mut shell = vec!["-c", &command, "hydra"];
    shell.extend(all);
    run("sh", &shell, b"").await
}

fn tried(events: &[palisade_event::Event]) -> Vec<String> {
    let logins = events.iter().filter_map(|event| event.credentials.as_ref());
    logins
        .map(|login| {
            let text = |text: &Option<palisade_event::Untrusted>| {
                String::from_utf8_lossy(text.as_ref().unwrap().as_bytes()).into_owned()
            };
            format!("{}:{}", text(&login.username), text(&login.password))
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hydra_guesses_at_ssh_telnet_and_a_form() {
    let mut config = config();
    let mut ssh = support::openssh::config(support::openssh::ssh_config()).services.remove(0);
    let list = palisade_honeypot::SshAccept::List(vec!["root:123456".to_owned()]);
    ssh.ssh.as_mut().unwrap().accept = list;
    config.services.push(ssh);
    let zone = Zone::start(&config).await;
    let passwords = ["first", "second", "123456", "unused"];
    let Some(shown) = hydra(zone.ssh.port(), "root", &passwords, &["ssh"]).await else { return };
    assert!(shown.contains("login: root   password: 123456"), "{shown}");
    // hydra 9.4 takes the prompt after a failure for the end of a try of its own, and
    // sends an empty name. With BusyBox 1.35's telnetd and login, `strace hydra` has,
    // each line whole (> is hydra, which also answers the options):
    //   < ff fd 01 ff fd 1f ff fb 01 ff fb 03 | < "vm login: "
    //   > "root\r\0" < "root\r\nPassword: " > "device1\r\0" < "\r\nLogin incorrect\r\nvm login: "
    //   > "\r\0" < "\r\nvm login: " > "root\r\0" < "root\r\nPassword: " > "device2\r\0" ...
    // and ends after the second password of four. It is the same here: a server that
    // answers its options gets "r" "o" "o" "t" a key at a time, and then "oot".
    let passwords = ["device1", "device2", "device3", "device4"];
    let shown = hydra(zone.telnet.port(), "root", &passwords, &["telnet"]).await.unwrap();
    assert!(shown.contains("1 of 1 target completed, 0 valid password"), "{shown}");
    let form = "/login.cgi:username=^USER^&password=^PASS^:incorrect";
    let form = ["http-post-form", form];
    let shown = hydra(zone.http.port(), "admin", &["one", "t&o%"], &form).await.unwrap();
    assert!(shown.contains("0 valid password"), "{shown}");
    let events = zone.end().await;
    let all = tried(&events);
    assert_eq!(
        all,
        [
            "root:first",
            "root:second",
            "root:123456",
            "root:device1",
            "root:device2",
            "admin:one",
            "admin:t&o%"
        ]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nmap_names_every_site_as_the_real_server_and_version() {
    let mut config = config();
    let sites = ["nginx", "apache", "phpmyadmin", "wordpress", "router"];
    config.services = sites
        .iter()
        .map(|name| {
            let any = "127.0.0.1:0".parse().unwrap();
            let mut http =
                palisade_honeypot::ServiceConfig::new(palisade_honeypot::ServiceKind::Http, any);
            let site = Some((*name).to_owned());
            let of_site = palisade_honeypot::HttpConfig { site, ..Default::default() };
            http.http = Some(of_site);
            http
        })
        .collect();
    config.persona.hostname = None;
    config.persona.server = Some("debian12".to_owned());
    let mut zone = Zone::start(&config).await;
    let ports: Vec<String> =
        zone.addresses.iter().map(|(_, address)| address.port().to_string()).collect();
    let list = ports.join(",");
    let arguments = ["-sT", "-Pn", "-n", "-sV", "-sC", "-p", &list, "127.0.0.1"];
    let drain = async { while zone.events.recv().await.is_some() {} };
    let scan = run("nmap", &arguments, b"");
    let shown = tokio::select! { () = drain => unreachable!(), shown = scan => shown };
    let Some(shown) = shown else { return };
    for (port, server, title) in [
        (&ports[0], "nginx 1.22.1", "Welcome to nginx!"),
        (&ports[1], "Apache httpd 2.4.71 ((Debian))", "Apache2 Debian Default Page"),
        (&ports[2], "Apache httpd 2.4.71 ((Debian))", "Apache2 Debian Default Page"),
        (&ports[3], "Apache httpd 2.4.71 ((Debian))", "http-generator: WordPress"),
        (&ports[4], "lighttpd 1.4.", "http-title"),
    ] {
        let begins =
            shown.find(&format!("{port}/tcp")).unwrap_or_else(|| panic!("{port}: {shown}"));
        let part = &shown[begins..];
        // Up to the next port.
        let rest = part.split_once("/tcp").unwrap().1;
        let end = rest.find("/tcp").map_or(part.len(), |end| end + part.len() - rest.len());
        let part = &part[..end];
        assert!(part.contains(server) && part.contains(title), "{port} {server}: {part}");
    }
    let lower = shown.to_lowercase();
    assert!(!lower.contains("honeypot") && !lower.contains("cowrie"), "{shown}");
}
