//! A plug-in that is changed again and again under load: its code, and every second
//! time what it listens on, so that its sockets go from hand to hand.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use tokio::io::AsyncReadExt as _;

use super::row::Row;
use super::subject::{Plugins, Protocol, Subject};
use super::talk::dial;
use super::tries::{self, Lost, PATIENCE, STEP, step};
use super::{Args, plugin, rate};

/// How often it is changed.
const RELOADS: usize = 20;
/// Clients that come all the while.
const CLIENTS: usize = 8;

/// Measures how many of the connections meanwhile are lost.
///
/// # Errors
/// The honeypots do not start, or a change is not used.
pub(super) async fn row(args: &Args) -> anyhow::Result<Row> {
    let subject = Subject::ours("never", args.held, Plugins { count: 1, ftp: false })?;
    let target = *subject.targets.get(&Protocol::Plugin).context("no plug-in serves")?;
    let home = subject.home().context("not ours")?.to_owned();
    let done = Arc::new(AtomicUsize::new(0));
    let end = Arc::new(AtomicBool::new(false));
    let mut clients = tokio::task::JoinSet::new();
    for client in 0..CLIENTS {
        let (done, end) = (Arc::clone(&done), Arc::clone(&end));
        clients.spawn(async move {
            let (mut visit, mut lost) = (client, Lost::new());
            while !end.load(Ordering::Relaxed) {
                visit += CLIENTS;
                match tries::visit(PATIENCE, rate::once(Protocol::Plugin, target, visit, "", 1))
                    .await
                {
                    Ok(()) => {
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                    Err(why) => tries::count(&mut lost, why, 1),
                }
            }
            lost
        });
    }
    let begun = Instant::now();
    for round in 1..=RELOADS {
        change(&home, target, round).await?;
    }
    let took = begun.elapsed() / u32::try_from(RELOADS).unwrap_or(1);
    end.store(true, Ordering::Relaxed);
    let mut why = Lost::new();
    for (reason, how_often) in clients.join_all().await.into_iter().flatten() {
        tries::count(&mut why, reason, how_often);
    }
    Ok(Row {
        what: format!("plug-in changed {RELOADS} times under load"),
        how: format!(
            ", {} connections, each used after {} ms",
            done.load(Ordering::Relaxed),
            took.as_millis()
        ),
        lost: Some(why.values().sum()),
        aim: "nobody lost",
        why,
        ..Row::default()
    })
}

/// Changes the plug-in and waits until it serves so.
async fn change(home: &Path, target: SocketAddr, round: usize) -> anyhow::Result<()> {
    plugin::change(home, round)?;
    let begun = Instant::now();
    loop {
        let mut stream = dial(target, round).await?;
        let mut said = Vec::new();
        step("a greeting", STEP, async {
            while !said.ends_with(b"login: ") {
                ensure!(stream.read_buf(&mut said).await? > 0, "it hung up");
            }
            Ok(())
        })
        .await?;
        if said.starts_with(format!("host{round} ").as_bytes()) {
            return Ok(());
        }
        ensure!(begun.elapsed() < PATIENCE, "a changed plug-in is not used");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
