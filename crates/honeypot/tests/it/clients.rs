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
