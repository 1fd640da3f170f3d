//! The process of the fetcher, from its first line to its last. Its standard
//! input is the socket pair to its parent; over another it hears wishes.

use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::{UnixDatagram as BlockingDatagram, UnixStream as BlockingStream};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use palisade_honeypot::fetch::wire::{Answer, MAX_MESSAGE_BYTES, Wish};
use palisade_honeypot::shell::fetch::{Outcome, Withheld};
use palisade_honeypot::zone_stream::{Confinement, FromZone};
use tokio::io::AsyncReadExt as _;
use tokio::net::{UnixDatagram, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::Start;
use super::net::Getter;
use crate::zone::child::{ignore_signals, read_start};
use crate::zone::descriptors;
use crate::zone::sandbox::{self, Reach};

/// Files that are on their way at a time; the others wait.
const PARALLEL: usize = 4;
/// How long the honeypots may take to hear an answer.
const TELL_DEADLINE: Duration = Duration::from_secs(10);

/// `palisade fetch`: started by `up` and `sensor` alone.
///
/// # Errors
/// It was started by somebody else.
pub(crate) fn run() -> anyhow::Result<ExitCode> {
    let input = io::stdin().as_fd().try_clone_to_owned()?;
    let usage = "this command is started by `palisade up` and `palisade sensor` alone";
    rustix::net::sockopt::socket_type(&input).context(usage)?;
    let mut parent = BlockingStream::from(input);
    let start: Start = read_start(&mut parent).context(usage)?;
    crate::logging::start(&start.log)?;
    let code = crate::code::find();
    let (getter, pair, confinement) = match prepare(&parent, &start) {
        Ok(prepared) => prepared,
        Err(error) => {
            parent.write_all(&FromZone::Failed(format!("{error:#}")).encode())?;
            return Ok(ExitCode::FAILURE);
        }
    };
    parent.write_all(&FromZone::Ready(confinement).encode())?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(async {
        drop(tokio::spawn(crate::code::give_back(code)));
        serve(parent, pair, getter).await
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Everything that takes rights or files, and then gives them up.
fn prepare(
    parent: &BlockingStream,
    start: &Start,
) -> anyhow::Result<(Getter, OwnedFd, Confinement)> {
    let pair = descriptors::receive(parent, 1)?.pop().context("nothing was handed over")?;
    let getter = Getter::new(start)?;
    let confinement =
        sandbox::enter(&start.user, Reach::Outward).context("the fetcher cannot be confined")?;
    Ok((getter, pair, confinement))
}

/// Hears wishes until the parent is gone.
async fn serve(parent: BlockingStream, pair: OwnedFd, getter: Getter) -> anyhow::Result<()> {
    ignore_signals()?;
    parent.set_nonblocking(true)?;
    let mut parent = UnixStream::from_std(parent)?;
    let pair = BlockingDatagram::from(pair);
    pair.set_nonblocking(true)?;
    let pair = Arc::new(UnixDatagram::from_std(pair)?);
    let (getter, places) = (Arc::new(getter), Arc::new(Semaphore::new(PARALLEL)));
    let mut tasks = JoinSet::new();
    let mut buffer = vec![0; MAX_MESSAGE_BYTES + 1];
    loop {
        let mut last = [0];
        tokio::select! {
            _ = parent.read(&mut last) => return Ok(()),
            Some(_) = tasks.join_next() => {}
            heard = pair.recv(&mut buffer) => {
                let length = heard.context("cannot hear the honeypots")?;
                let message = buffer.get(..length).unwrap_or_default();
                let Ok(Wish { number, request }) = Wish::decode(message) else {
                    tracing::warn!("the honeypots do not speak as agreed");
                    continue;
                };
                let full = tasks.len() >= getter.config.queue + PARALLEL;
                let (getter, places) = (Arc::clone(&getter), Arc::clone(&places));
                let pair = Arc::clone(&pair);
                tasks.spawn(async move {
                    let outcome = match places.acquire().await {
                        Ok(_place) if !full => getter.get(&request).await,
                        _ => Outcome::Withheld(Withheld::QueueFull),
                    };
                    tracing::debug!(outcome = outcome.name(), tool = request.tool, "a file was asked for");
                    // Who wished may be gone; its successor knows no such number.
                    let _ = tokio::time::timeout(TELL_DEADLINE, tell(&pair, number, &outcome)).await;
                });
                if full {
                    // No more are heard before one has ended.
                    let _ = tasks.join_next().await;
                }
            }
        }
    }
}

async fn tell(pair: &UnixDatagram, number: u64, outcome: &Outcome) -> io::Result<()> {
    for message in Answer::messages(number, outcome) {
        pair.send(&message).await?;
    }
    Ok(())
}
