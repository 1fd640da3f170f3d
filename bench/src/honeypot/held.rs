//! Connections that are held: how many stay, and what one costs.

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use super::row::{Row, Rows};
use super::ssh::Ssh;
use super::subject::{Memory, Protocol, Subject};
use super::talk::{Talk, dial, request};
use super::tries::{self, Lost, Tries};
use super::{AT_ONCE, Args};

/// How long memory is left to settle.
const SETTLED: Duration = Duration::from_secs(3);

/// How long one may take to open: less than the half minute after which some hang
/// up, so that those before are still held when no more are taken.
const PATIENCE: Duration = Duration::from_secs(15);
/// Most of what is read of a held connection at once.
const MAX_READ: usize = 64 * 1024;

/// A connection that is held; whatever keeps it open.
enum Held {
    Ssh(Box<Ssh>),
    Text(Talk),
    Plain(TcpStream),
}

impl Held {
    async fn open(
        args: &Args,
        protocol: Protocol,
        target: SocketAddr,
        from: usize,
    ) -> anyhow::Result<Self> {
        let mut stream = dial(target, from).await?;
        Ok(match protocol {
            Protocol::Ssh => {
                let mut ssh = Ssh::connect(stream).await?;
                if !args.idle {
                    // Another honeypot may let nobody in; it is held either way.
                    ssh.login("root", "admin").await?;
                }
                Self::Ssh(Box::new(ssh))
            }
            Protocol::Telnet | Protocol::Plugin => {
                let telnet = protocol == Protocol::Telnet;
                let mut talk = if telnet { Talk::telnet(stream) } else { Talk::plain(stream) };
                talk.until("asking for a name", &[b"ogin: ", b"sername: "]).await?;
                Self::Text(talk)
            }
            Protocol::Ftp => {
                let mut talk = Talk::plain(stream);
                talk.until("a greeting", &[b"220 "]).await?;
                Self::Text(talk)
            }
            Protocol::Http => {
                if !args.idle {
                    request(&mut stream, &mut Vec::new(), &args.path).await?;
                }
                Self::Plain(stream)
            }
        })
    }

    /// Whether the other side has not hung up.
    fn is_open(&self) -> bool {
        let stream = match self {
            Self::Ssh(ssh) => &ssh.stream,
            Self::Text(talk) => &talk.stream,
            Self::Plain(stream) => stream,
        };
        // What it said before it hung up is in the way.
        let mut bytes = [0; 1024];
        for _ in 0..MAX_READ / bytes.len() {
            match stream.try_read(&mut bytes) {
                Ok(0) => return false,
                Ok(_) => {}
                Err(error) => return error.kind() == std::io::ErrorKind::WouldBlock,
            }
        }
        true
    }
}

/// Opens connections up to each of some counts, holds them for a moment, and
/// looks at the memory. Goes no further once nothing more is taken.
///
/// # Errors
/// The honeypot is gone.
pub(super) async fn rows(
    args: &Args,
    subject: &Subject,
    protocols: &[Protocol],
    counts: &[usize],
    rows: &mut Rows,
) -> anyhow::Result<()> {
    let name = protocols.iter().map(|one| one.name()).collect::<Vec<_>>().join(", ");
    tokio::time::sleep(SETTLED).await;
    let idle = subject.zone.map(Memory::of).transpose()?;
    let mut held: Vec<(Protocol, Held)> = Vec::new();
    let mut why = Lost::new();
    let mut begun_with = 0;
    for count in counts {
        let begun = Instant::now();
        let (opened, tries) = open(args, subject, protocols, begun_with..*count).await;
        begun_with = *count;
        let took = begun.elapsed();
        held.extend(opened);
        for (reason, how_often) in tries.lost().into_iter().chain(tries.left()) {
            tries::count(&mut why, reason, how_often);
        }
        tokio::time::sleep(SETTLED).await;
        let with = subject.zone.map(Memory::of).transpose()?;
        held.retain(|(protocol, one)| {
            let open = one.is_open();
            if !open {
                tries::count(&mut why, format!("{}: closed while held", protocol.name()), 1);
            }
            open
        });
        let each = idle.zip(with).filter(|_| !held.is_empty()).map(|(idle, with)| {
            with.anonymous.saturating_sub(idle.anonymous) as f64 / 1e3 / held.len() as f64
        });
        rows.push(Row {
            what: format!("held: {name}, {count}"),
            how: format!(" opened in {:.1} s", took.as_secs_f64()),
            lost: Some(count - held.len()),
            memory: with,
            kilobytes_each: each,
            aim: match (protocols, *count) {
                ([Protocol::Ssh], _) => "12 kB",
                ([_], _) => "5 kB",
                _ => "10,000: 200 MB",
            },
            why: why.clone(),
            ..Row::default()
        })?;
        if tries.gave_up() {
            break;
        }
    }
    Ok(())
}

/// Opens those with some numbers.
async fn open(
    args: &Args,
    subject: &Subject,
    protocols: &[Protocol],
    numbers: Range<usize>,
) -> (Vec<(Protocol, Held)>, Arc<Tries>) {
    let limit = Duration::from_secs(args.row_seconds);
    let tries = Arc::new(Tries::new(numbers, limit, AT_ONCE));
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..AT_ONCE {
        let (tries, protocols, args) = (Arc::clone(&tries), protocols.to_vec(), args.clone());
        let targets = subject.targets.clone();
        clients.spawn(async move {
            let mut opened = Vec::new();
            while let Some(place) = tries.next() {
                let protocol = protocols.get(place % protocols.len().max(1));
                let Some(protocol) = protocol.copied() else { break };
                let Some(target) = targets.get(&protocol) else { break };
                match tries::visit(PATIENCE, Held::open(&args, protocol, *target, place)).await {
                    Ok(one) => {
                        tries.succeeded();
                        opened.push((protocol, one));
                    }
                    Err(why) => tries.failed(format!("{}: {why}", protocol.name())),
                }
            }
            opened
        });
    }
    (clients.join_all().await.into_iter().flatten().collect(), tries)
}
