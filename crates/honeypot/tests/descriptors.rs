//! What happens when the process has no file descriptor left for the next
//! connection. In a process of its own, as the bound is a process's.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "test code outside of test functions"
)]

mod support;

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
        .args(["--exact", "inside_of_the_bound", "--ignored", "--nocapture"])
        .output()
        .unwrap();
    let shown = String::from_utf8_lossy(&[inner.stdout, inner.stderr].concat()).into_owned();
    assert!(inner.status.success() && shown.contains("1 passed"), "{shown}");
}

#[tokio::test]
#[ignore = "run by the test above, with few file descriptors"]
async fn inside_of_the_bound() {
    let mut zone = Zone::start(&config()).await;
    // Clients take descriptors too: in the end one is connected (by the
    // kernel) and cannot be accepted.
    let mut clients = Vec::new();
    while let Ok(client) = TcpStream::connect(zone.telnet).await {
        clients.push(client);
        assert!(clients.len() < DESCRIPTORS);
    }
    let starved = async {
        while zone.stats.accept_errors.get() == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, starved).await.expect("accept fails for want of descriptors");
    let mut last = clients.split_off(clients.len() - 3);
    drop(clients);
    for client in &mut last {
        read_until(client, b"login: ").await;
    }
    assert_eq!(zone.next().await.kind.as_str(), "connection.opened");
}
