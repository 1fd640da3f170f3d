//! The process of the honeypots, from its first line to its last. Its standard
//! input is the socket pair to its parent.

use std::collections::VecDeque;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream as BlockingStream;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail};
use palisade_event::Event;
use palisade_honeypot::fetch::client::Fetcher;
use palisade_honeypot::plugin::{Order, Plugins, Source};
use palisade_honeypot::zone_stream::{FromZone, MAX_FRAME_BYTES, MAX_UNCONFIRMED_EVENTS, ToZone};
use palisade_honeypot::{Honeypot, Sockets, Stats};
use serde::de::DeserializeOwned;
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, watch};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::sandbox::{self, Reach};
use super::{Start, descriptors};

/// Events that wait for the stream to the parent. Few: they are lost with the
/// process, those in the stream are not. They are what comes in twice
/// [`TELL_BUSY`] under the greatest load, else sessions would wait for it.
pub(super) const OUTGOING_EVENTS: usize = 512;
/// After some events were told, more are gathered for so long: a write and a
/// wake of the parent for each event cost more than the event.
const TELL_EVERY: Duration = Duration::from_millis(1);
/// The same where they are so many that the parent's next fsync has more to do.
const TELL_BUSY: Duration = Duration::from_millis(3);
/// From how many events in [`TELL_EVERY`] on that is so.
const BUSY_EVENTS: usize = 16;
/// Room for frames that is kept from one write to the next, in bytes.
const KEPT_BYTES: usize = 64 * 1024;
/// How often the counters are told.
const COUNTERS_EVERY: Duration = Duration::from_secs(2);
/// How long the end waits for the parent to say that all events are safe.
const LAST_CONFIRMATION: Duration = Duration::from_secs(10);
/// Most threads that serve; there are no more than processors.
const MAX_WORKERS: usize = 4;
/// Most threads for shells and key exchanges.
const MAX_BLOCKING_THREADS: usize = 32;
/// Exit code after the parent has gone.
const ORPHANED_EXIT: u8 = 3;

/// `palisade zone`: started by `up` and `sensor` alone.
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
    let (out, events) = mpsc::channel(OUTGOING_EVENTS);
    let prepared = prepare(&parent, &start, out);
    let (honeypot, fetch, confinement) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => {
            parent.write_all(&FromZone::Failed(format!("{error:#}")).encode())?;
            return Ok(ExitCode::FAILURE);
        }
    };
    parent.write_all(&FromZone::Ready(confinement).encode())?;
    let workers = std::thread::available_parallelism().map_or(1, usize::from).min(MAX_WORKERS);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .max_blocking_threads(MAX_BLOCKING_THREADS)
        .thread_keep_alive(Duration::from_secs(5))
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let code = runtime.block_on(async {
        drop(tokio::spawn(crate::code::give_back(code)));
        if let Some(end) = fetch {
            let fetcher = Fetcher::new(end, &start.honeypot.fetch);
            honeypot.set_fetcher(Arc::new(fetcher.context("cannot reach the fetcher")?));
        }
        serve(parent, honeypot, events).await
    })?;
    runtime.shutdown_timeout(Duration::from_secs(2));
    Ok(code)
}

/// Reads how to start; not one byte more, since the sockets ride on the next.
pub(super) fn read_start<T: DeserializeOwned>(parent: &mut BlockingStream) -> anyhow::Result<T> {
    let mut frame = vec![0; 4];
    parent.read_exact(&mut frame)?;
    let length = frame.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
    if length > MAX_FRAME_BYTES {
        bail!("too long");
    }
    frame.resize(4 + length, 0);
    parent.read_exact(frame.get_mut(4..).unwrap_or_default())?;
    match ToZone::decode(&frame)? {
        Some((ToZone::Start(how), _)) => Ok(serde_json::from_slice(&how)?),
        _ => bail!("something else was said"),
    }
}

/// Everything that takes rights, and then gives them up.
fn prepare(
    parent: &BlockingStream,
    start: &Start,
    out: mpsc::Sender<Event>,
) -> anyhow::Result<(Honeypot, Option<OwnedFd>, palisade_honeypot::zone_stream::Confinement)> {
    let fixed = start.sockets.len() + usize::from(start.fetch);
    let mut handed = descriptors::receive(parent, fixed + start.captures)?;
    let captures = handed.split_off(fixed);
    let fetch = if start.fetch { handed.pop() } else { None };
    let sockets = Sockets::adopt(start.sockets.iter().copied().zip(handed))?;
    let (sensor, host) = (start.sensor.clone(), start.host.clone());
    let mut honeypot = Honeypot::new(&start.honeypot, sockets, sensor, host, out)?;
    honeypot.set_capture(captures, &start.own);
    let confinement = sandbox::enter(&start.honeypot.user, Reach::Inward)
        .context("the honeypots cannot be confined")?;
    Ok((honeypot, fetch, confinement))
}

async fn serve(
    parent: BlockingStream,
    honeypot: Honeypot,
    events: mpsc::Receiver<Event>,
) -> anyhow::Result<ExitCode> {
    ignore_signals()?;
    parent.set_nonblocking(true)?;
    let (reader, writer) = UnixStream::from_std(parent)?.into_split();
    let stop = CancellationToken::new();
    let (confirmed, heard) = watch::channel(0);
    let sent = Arc::new(AtomicU64::new(0));
    let tell = Tell { writer, sent: Arc::clone(&sent), confirmed: heard, stats: honeypot.stats() };
    // Tasks of their own: what a session tells is sent by the thread that served
    // it, and none is woken for that.
    let telling = tokio::spawn(tell.run(events));
    let (end, plugins) = (stop.clone(), honeypot.plugins());
    let listening = tokio::spawn(async move {
        listen(reader, &confirmed, end, &plugins).await;
        sent.load(Ordering::Relaxed).saturating_sub(*confirmed.borrow())
    });
    let serving = async {
        // The last sender of events goes with the honeypots.
        let (told, ()) = tokio::join!(telling, honeypot.run(stop));
        told.map_err(io::Error::other).flatten()
    };
    let code = tokio::select! {
        told = serving => match told {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                tracing::error!(%error, "the stream to the parent broke");
                ExitCode::from(ORPHANED_EXIT)
            }
        },
        unconfirmed = listening => {
            let unconfirmed = unconfirmed.unwrap_or_default();
            tracing::error!(
                unconfirmed,
                "the parent has gone without a word, so the honeypots end; so many of the newest events may be lost"
            );
            ExitCode::from(ORPHANED_EXIT)
        }
    };
    Ok(code)
}

/// The parent says when to end; a signal to the whole group or unit does not.
pub(super) fn ignore_signals() -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
        // Its handler stays when it is dropped.
        drop(signal(kind).context("cannot watch signals")?);
    }
    Ok(())
}

/// Hears the parent until it is gone.
async fn listen(
    reader: OwnedReadHalf,
    confirmed: &watch::Sender<u64>,
    stop: CancellationToken,
    plugins: &Plugins,
) {
    let mut buffer = Vec::new();
    let mut sockets = VecDeque::new();
    loop {
        match ToZone::decode(&buffer) {
            Ok(Some((said, length))) => {
                buffer.drain(..length);
                match said {
                    ToZone::Confirmed(number) => {
                        confirmed.send_replace(number);
                    }
                    ToZone::End => stop.cancel(),
                    ToZone::Plugin(source) => match serde_json::from_slice::<Source>(&source) {
                        Ok(source) => {
                            let plugins = plugins.clone();
                            // Its script runs for a moment; not where connections wait.
                            tokio::task::spawn_blocking(move || plugins.replace(source));
                        }
                        Err(error) => tracing::error!(%error, "a changed plug-in cannot be read"),
                    },
                    ToZone::Serve(order) => match serde_json::from_slice::<Order>(&order) {
                        Ok(order) => {
                            // They came with the first bytes of the frame.
                            let count = order.sockets.len().min(sockets.len());
                            let handed = sockets.drain(..count).collect();
                            let plugins = plugins.clone();
                            tokio::task::spawn_blocking(move || plugins.serve(&order, handed));
                        }
                        Err(error) => tracing::error!(%error, "a new plug-in cannot be read"),
                    },
                    ToZone::Start(_) => {}
                }
                continue;
            }
            Ok(None) => {}
            Err(error) => {
                tracing::error!(%error, "the parent does not speak as agreed");
                return;
            }
        }
        let read = descriptors::receive_with(reader.as_ref(), &mut buffer, &mut sockets).await;
        if read.unwrap_or(0) == 0 {
            return;
        }
    }
}

/// The writing side.
struct Tell {
    writer: OwnedWriteHalf,
    /// How many events were told; nobody else writes it.
    sent: Arc<AtomicU64>,
    confirmed: watch::Receiver<u64>,
    stats: Arc<Stats>,
}

impl Tell {
    /// Tells everything, until there is nobody to make events any more and the
    /// parent has confirmed the last.
    async fn run(mut self, mut events: mpsc::Receiver<Event>) -> io::Result<()> {
        let mut ticks = tokio::time::interval(COUNTERS_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut some, mut frames) = (Vec::new(), Vec::new());
        loop {
            let room = self.room().await;
            tokio::select! {
                count = events.recv_many(&mut some, room) => {
                    if count == 0 {
                        break;
                    }
                    frames.clear();
                    frames.shrink_to(KEPT_BYTES);
                    for event in some.drain(..) {
                        let number = self.sent.fetch_add(1, Ordering::Relaxed) + 1;
                        FromZone::encode_event_into(&mut frames, number, &event);
                    }
                    self.writer.write_all(&frames).await?;
                    let busy = count >= BUSY_EVENTS;
                    tokio::time::sleep(if busy { TELL_BUSY } else { TELL_EVERY }).await;
                }
                _ = ticks.tick() => self.tell_counters().await?,
            }
        }
        let sent = self.sent.load(Ordering::Relaxed);
        let all = self.confirmed.wait_for(|confirmed| *confirmed >= sent);
        if tokio::time::timeout(LAST_CONFIRMATION, all).await.is_err() {
            let unconfirmed = sent.saturating_sub(*self.confirmed.borrow());
            tracing::error!(unconfirmed, "not all events were confirmed in time");
        }
        self.tell_counters().await?;
        self.writer.write_all(&FromZone::Ended.encode()).await
    }

    /// For how many events there is room; waits until there is some.
    async fn room(&mut self) -> usize {
        let sent = self.sent.load(Ordering::Relaxed);
        let free =
            |confirmed: u64| MAX_UNCONFIRMED_EVENTS.saturating_sub(sent.saturating_sub(confirmed));
        let confirmed = self.confirmed.wait_for(|confirmed| free(*confirmed) > 0).await;
        // The other end is gone: the parent is, and the process ends.
        let free = confirmed.map_or(1, |confirmed| free(*confirmed));
        usize::try_from(free).unwrap_or(1).min(OUTGOING_EVENTS)
    }

    async fn tell_counters(&mut self) -> io::Result<()> {
        let counters = FromZone::Counters(self.stats.report());
        self.writer.write_all(&counters.encode()).await
    }
}
