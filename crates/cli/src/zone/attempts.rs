//! What an intruder in the zone would try, tried here after the very same
//! confinement: one attempt a process, since some end it. The tests and
//! `palisade doctor` see that each is refused, and the tests that each works
//! where nothing is confined.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::Context as _;
use clap::ValueEnum as _;
use palisade_honeypot::zone_stream::Confinement;
use rustix::process::{Pid, Uid};
use socket2::{SockFilter, Socket};

use super::sandbox::{self, Reach};

/// Exit code of an attempt that was refused.
pub(crate) const REFUSED: u8 = 10;

/// One thing that a zone must not be able to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Attempt {
    /// Nothing at all: says how it is confined
    Nothing,
    ReadFile,
    ListFolder,
    WriteFile,
    Execute,
    BecomeRoot,
    Trace,
    Signal,
    Connect,
    Bind,
    SendUdp,
    LocalSocket,
    NewProcess,
    ChangeFilter,
}

impl Attempt {
    /// Every attempt at something.
    pub(crate) const ALL: [Self; 13] = [
        Self::ReadFile,
        Self::ListFolder,
        Self::WriteFile,
        Self::Execute,
        Self::BecomeRoot,
        Self::Trace,
        Self::Signal,
        Self::Connect,
        Self::Bind,
        Self::SendUdp,
        Self::LocalSocket,
        Self::NewProcess,
        Self::ChangeFilter,
    ];
}

/// A program that is everywhere, ends at once and says with 0 that it ran.
const PROGRAM: &str = "/bin/true";
/// A filter of a socket that lets everything through.
const RETURN_ALL: SockFilter = SockFilter::new(0x06, 0, 0, u32::MAX);
/// A process that is stuck is no answer.
const DEADLINE: Duration = Duration::from_secs(30);

/// `palisade zone --try WHAT`, confined as a process with this `reach` is, or not at
/// all. Ends with 0 where it worked, [`REFUSED`] where it
/// was refused, or by the signal that stopped it.
///
/// # Errors
/// The process could not be confined.
pub(crate) fn run(attempt: Attempt, user: &str, reach: Option<Reach>) -> anyhow::Result<ExitCode> {
    // Somebody to talk to, from before.
    let listener = TcpListener::bind("127.0.0.1:0").context("no free port")?;
    let there = listener.local_addr()?;
    let captured = UdpSocket::bind("127.0.0.1:0").context("no free port")?;
    let captured = Socket::from(captured);
    captured.attach_filter(&[RETURN_ALL])?;
    let parent = rustix::process::getppid().context("no parent")?;
    let confinement = match reach {
        None => Confinement::default(),
        Some(reach) => sandbox::enter(user, reach)?,
    };
    if attempt == Attempt::Nothing {
        crate::out::line(&serde_json::to_string(&confinement)?);
    }
    let tried = match attempt {
        // A thread that is traced cannot end without its tracer.
        Attempt::Trace => attempt.run(there, parent, &captured),
        // In a thread, as a service would be.
        _ => {
            let tried = std::thread::spawn(move || attempt.run(there, parent, &captured)).join();
            tried.unwrap_or(Err(io::ErrorKind::Other.into()))
        }
    };
    Ok(match tried {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(REFUSED)
        }
    })
}

impl Attempt {
    fn run(self, there: SocketAddr, parent: Pid, captured: &Socket) -> io::Result<()> {
        match self {
            Self::Nothing => Ok(()),
            Self::ReadFile => std::fs::read("/etc/passwd").map(drop),
            Self::ListFolder => std::fs::read_dir("/").map(drop),
            Self::WriteFile => {
                let path =
                    std::env::temp_dir().join(format!("palisade-try-{}", std::process::id()));
                std::fs::write(&path, "x").and_then(|()| std::fs::remove_file(path))
            }
            // Comes back only where it was refused.
            Self::Execute => Err(Command::new(PROGRAM).exec()),
            Self::BecomeRoot => {
                let root = Uid::ROOT;
                Ok(rustix::thread::set_thread_res_uid(root, root, root)?)
            }
            Self::Trace => Ok(nix::sys::ptrace::traceme()?),
            Self::Signal => Ok(rustix::process::test_kill_process(parent)?),
            Self::Connect => TcpStream::connect(there).map(drop),
            Self::Bind => TcpListener::bind("127.0.0.1:0").map(drop),
            Self::SendUdp => UdpSocket::bind("127.0.0.1:0")?.send_to(b"x", there).map(drop),
            Self::LocalSocket => UnixDatagram::unbound().map(drop),
            Self::ChangeFilter => captured.detach_filter(),
            Self::NewProcess => Command::new(PROGRAM).status().map(drop),
        }
    }

    /// Its name on the command line.
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

/// How a process is confined on this machine, and which attempts work in spite
/// of it. Starts a process for each.
///
/// # Errors
/// None can be confined here; says why.
pub(crate) async fn all(user: &str) -> anyhow::Result<(Confinement, Vec<String>)> {
    let output = attempt(Attempt::Nothing, user).await?;
    if !output.status.success() {
        anyhow::bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let confinement = serde_json::from_slice(&output.stdout)?;
    let mut worked = Vec::new();
    for tried in Attempt::ALL {
        if attempt(tried, user).await?.status.success() {
            worked.push(tried.name());
        }
    }
    Ok((confinement, worked))
}

async fn attempt(attempt: Attempt, user: &str) -> anyhow::Result<std::process::Output> {
    let mut command = super::process::command("zone");
    let stdio = std::process::Stdio::piped;
    command
        .args(["--try", &attempt.name(), "--user", user])
        .stdin(std::process::Stdio::null())
        .stdout(stdio());
    let output = tokio::time::timeout(DEADLINE, command.output()).await;
    Ok(output.context("no answer")??)
}
