//! What happens when the process has no file descriptor left for the next
//! connection. In a process of its own, as the bound is a process's.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "test code outside of test functions"
)]

use crate::support;

use std::process::Command;

use support::{PATIENCE, Zone, config, read_until};
use tokio::net::TcpStream;

/// File descriptors of the inner process.
const DESCRIPTORS: usize = 60;

#[test]
fn running_out_of_descriptors_only_delays_connections() {
    let this = std::env::current_exe().unwrap();
    let script = format!("ulimit -n {DESCRIPTORS} && exec \"$0\" \"$@\"");
    let inner = Command::new("sh")
        .args(["-c", &script])
        .arg(this)
        .args(["--exact", "descriptors::inside_of_the_bound", "--ignored", "--nocapture"])
        .output()
        .unwrap();
    let shown = String::from_utf8_lossy(&[inner.stdout, inner.stderr].concat()).into_owned();
    assert!(inner.status.success() && shown.contains("1 passed"), "{shown}");
}

#[tokio::test]
#[ignore = "run by the test above, with few file descriptors"]
async fn inside_of_the_bound() {
    let mut zone = Zone::start(&config()).await;
    // Clients take descriptors too. One is kept back: with it a last client
    // connects that the zone has no descriptor to accept.
    let kept_back = std::fs::File::open("/dev/null").unwrap();
    let mut clients = Vec::new();
    while let Ok(client) = TcpStream::connect(zone.telnet).await {
        clients.push(client);
        assert!(clients.len() < DESCRIPTORS);
    }
    errors_exceed(&zone, 0).await;
    drop(kept_back);
    let last = std::net::TcpStream::connect(zone.telnet).unwrap();
    last.set_nonblocking(true).unwrap();
    let mut last = TcpStream::from_std(last).unwrap();
    let before = zone.stats.accept_errors.get();
    errors_exceed(&zone, before).await;
    drop(clients);
    read_until(&mut last, b"login: ").await;
    assert_eq!(zone.next().await.kind.as_str(), "connection.opened");
}

/// Waits until accept(2) has failed more than `count` times.
async fn errors_exceed(zone: &Zone, count: u64) {
    let failing = async {
        while zone.stats.accept_errors.get() <= count {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, failing).await.expect("accept fails for want of descriptors");
}
