//! One confined process, of the honeypots or the fetcher, as its parent holds it:
//! started with what it gets and nothing else, and why it ended.

use std::io::Write as _;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream as BlockingStream;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::{Buf as _, BytesMut};
use palisade_honeypot::zone_stream::{Confinement, FromZone};
use tokio::io::AsyncReadExt as _;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::process::{Child, Command};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::{descriptors, log};
use crate::args::LogFormat;

/// How long a process may take from its start until it serves: the zone makes keys.
const START_DEADLINE: Duration = Duration::from_secs(120);
/// Room for one read of the stream.
const READ_BYTES: usize = 16 * 1024;

/// One process.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) child: Child,
    pub(super) reader: Frames,
    pub(super) writer: OwnedWriteHalf,
    /// Copies its log; ends with it.
    pub(super) log: AbortOnDropHandle<()>,
    pub(super) since: Instant,
}

/// Which of the confined processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    Zone,
    Fetcher,
}

impl Who {
    /// The hidden command that it is, which also marks its log.
    fn command(self) -> &'static str {
        match self {
            Self::Zone => "zone",
            Self::Fetcher => "fetch",
        }
    }

    /// Its name in sentences.
    fn name(self) -> &'static str {
        match self {
            Self::Zone => "the process of the honeypots",
            Self::Fetcher => "the fetcher",
        }
    }
}

impl Running {
    /// Starts a process with what it has to know (a frame) and the sockets that
    /// it gets, and waits until it serves.
    pub(super) async fn launch(
        who: Who,
        how: &[u8],
        handed: &[BorrowedFd<'_>],
        format: LogFormat,
    ) -> anyhow::Result<(Self, Confinement)> {
        let name = who.name();
        let (ours, theirs) = BlockingStream::pair().context("no socket pair")?;
        let mut child = command(who.command())
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        let log = child.stderr.take().map(|stderr| log::copy(stderr, format, who.command()));
        let log = AbortOnDropHandle::new(tokio::spawn(async move {
            if let Some(log) = log {
                log.await;
            }
        }));
        // Some kilobytes and a few messages, which the kernel takes at once.
        ours.set_write_timeout(Some(START_DEADLINE))?;
        let sent = (&ours).write_all(how).and_then(|()| descriptors::send(&ours, handed));
        if let Err(error) = sent {
            let status = child.wait().await.ok();
            bail!("{name} ended at its start: {} ({error})", cause(status));
        }
        ours.set_nonblocking(true)?;
        let (reader, writer) = UnixStream::from_std(ours)?.into_split();
        let mut reader = Frames::new(reader);
        let first = tokio::time::timeout(START_DEADLINE, reader.next()).await;
        match first.with_context(|| format!("{name} did not start in time"))? {
            Ok(Some((FromZone::Ready(confinement), _))) => {
                let running = Self { child, reader, writer, log, since: Instant::now() };
                Ok((running, confinement))
            }
            Ok(Some((FromZone::Failed(why), _))) => bail!("{}", plain(&why)),
            Ok(Some(_)) | Err(_) => bail!("{name} did not start as agreed"),
            Ok(None) => {
                let status = child.wait().await.ok();
                bail!("{name} ended at its start: {}", cause(status))
            }
        }
    }
}

/// This program, as another process that inherits nothing.
pub(super) fn command(subcommand: &str) -> Command {
    // The very file that runs, also where it was replaced on disk meanwhile.
    let own = Path::new("/proc/self/exe");
    let program = match own.exists() {
        true => own.to_owned(),
        false => std::env::current_exe().unwrap_or_else(|_| "palisade".into()),
    };
    let mut command = Command::new(program);
    command
        .arg0(format!("palisade-{subcommand}"))
        .arg(subcommand)
        .env_clear()
        .current_dir("/")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        // Ctrl-C in a terminal is for us; we tell it.
        .process_group(0)
        .kill_on_drop(true);
    command
}

/// Frames off the stream; may be dropped between two of them.
#[derive(Debug)]
pub(super) struct Frames {
    reader: OwnedReadHalf,
    buffer: BytesMut,
}

impl Frames {
    pub(super) fn new(reader: OwnedReadHalf) -> Self {
        Self { reader, buffer: BytesMut::new() }
    }

    /// The next frame and its length; `None` where the stream ended.
    pub(super) async fn next(&mut self) -> Result<Option<(FromZone, usize)>, String> {
        loop {
            let decoded = FromZone::decode(&self.buffer).map_err(|error| error.to_string())?;
            if let Some((frame, length)) = decoded {
                self.buffer.advance(length);
                return Ok(Some((frame, length)));
            }
            self.buffer.reserve(READ_BYTES);
            match self.reader.read_buf(&mut self.buffer).await {
                Ok(0) => return Ok(None),
                Ok(_) => {}
                // As when it was killed with something unread.
                Err(_) => return Ok(None),
            }
        }
    }
}

/// Why a process ended, in words.
pub(super) fn cause(status: Option<ExitStatus>) -> String {
    const SIGSYS: i32 = 31;
    match status.map(|status| (status.signal(), status.code())) {
        Some((Some(SIGSYS), _)) => {
            "it tried what only an intruder would, and was stopped (signal 31): treat what it sent last with care".to_owned()
        }
        Some((Some(signal), _)) => format!("it was ended by signal {signal}"),
        Some((_, Some(code))) => format!("it ended with exit code {code}"),
        _ => "it did not end in time and was killed".to_owned(),
    }
}

/// Text of the zone, harmless in a log.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// What the zone may not do any more, and what it still may.
pub(super) fn say(confinement: &Confinement, pid: Option<u32>) {
    let Confinement { uid, landlock, seccomp, missing } = confinement;
    tracing::info!(pid, uid, landlock, seccomp, "the honeypots run confined");
    for what in missing {
        tracing::warn!(what = plain(what), "the confinement of the honeypots is not complete");
    }
}
