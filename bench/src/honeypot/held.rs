//! Connections that are held: how many stay, and what one costs.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use super::subject::{Memory, Protocol, Subject};
use super::{AT_ONCE, PATIENCE, Row, dial, request, ssh, until};

/// How long memory is left to settle.
const SETTLED: Duration = Duration::from_secs(3);

/// A connection that is held; whatever keeps it open.
enum Held {
    Ssh(Box<ssh::Ssh>),
    Plain(TcpStream),
}

impl Held {
    async fn open(protocol: Protocol, target: SocketAddr, from: usize) -> anyhow::Result<Self> {
        let mut stream = dial(target, from).await?;
        let mut read = Vec::new();
        Ok(match protocol {
            Protocol::Ssh => {
                let mut ssh = ssh::Ssh::connect(stream).await?;
                // Another honeypot may let nobody in; it is held either way.
                ssh.login("root", "admin").await?;
                Self::Ssh(Box::new(ssh))
            }
            Protocol::Telnet | Protocol::Plugin => {
                until(&mut stream, &mut read, &[b"ogin: ", b"sername: "]).await?;
                Self::Plain(stream)
            }
            Protocol::Http => {
                request(&mut stream, &mut read).await?;
                Self::Plain(stream)
            }
        })
    }

    /// Whether the other side has not hung up.
    fn is_open(&self) -> bool {
        let stream = match self {
            Self::Ssh(ssh) => &ssh.stream,
            Self::Plain(stream) => stream,
        };
        let mut byte = [0];
        match stream.try_read(&mut byte) {
            Ok(count) => count > 0,
            Err(error) => error.kind() == std::io::ErrorKind::WouldBlock,
        }
    }
}

/// What a task has opened, and why others were not.
#[derive(Default)]
struct Opened {
    all: Vec<(Protocol, Held)>,
    lost: BTreeMap<String, usize>,
}

/// Opens connections up to each of some counts, holds them for a moment, and
/// looks at the memory. Says below its row why some were lost.
pub(super) async fn rows(
    subject: &Subject,
    protocols: &[Protocol],
    counts: &[usize],
) -> anyhow::Result<Vec<Row>> {
    let name = protocols.iter().map(|one| one.name()).collect::<Vec<_>>().join(", ");
    tokio::time::sleep(SETTLED).await;
    let idle = subject.zone.map(Memory::of).transpose()?;
    let mut held: Vec<(Protocol, Held)> = Vec::new();
    let (mut rows, mut lost) = (Vec::new(), BTreeMap::new());
    let mut begun_with = 0;
    for count in counts {
        let begun = Instant::now();
        let opened = open(subject, protocols, begun_with, *count).await;
        begun_with = *count;
        let took = begun.elapsed();
        held.extend(opened.all);
        for (why, how_often) in opened.lost {
            *lost.entry(why).or_insert(0) += how_often;
        }
        tokio::time::sleep(SETTLED).await;
        let with = subject.zone.map(Memory::of).transpose()?;
        held.retain(|(protocol, one)| {
            let open = one.is_open();
            if !open {
                *lost.entry(format!("{}: closed while held", protocol.name())).or_insert(0) += 1;
            }
            open
        });
        let each = idle.zip(with).map(|(idle, with)| {
            with.anonymous.saturating_sub(idle.anonymous) as f64 / 1e3 / held.len().max(1) as f64
        });
        let why = lost.iter().map(|(why, count)| format!("{count} {why}"));
        rows.push(Row {
            what: format!("held: {name}, {count} opened in {:.1} s", took.as_secs_f64()),
            lost: Some(count - held.len()),
            memory: with,
            kilobytes_each: each,
            aim: match (protocols, *count) {
                ([Protocol::Ssh], _) => "12 kB",
                ([_], _) => "5 kB",
                _ => "10,000: 200 MB",
            },
            notes: why.collect::<Vec<_>>().join("; "),
            ..Row::default()
        });
    }
    Ok(rows)
}

/// Opens those from number `from` to number `to`.
async fn open(subject: &Subject, protocols: &[Protocol], from: usize, to: usize) -> Opened {
    let next = Arc::new(AtomicUsize::new(from));
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..AT_ONCE {
        let (next, protocols) = (Arc::clone(&next), protocols.to_vec());
        let targets = subject.targets.clone();
        clients.spawn(async move {
            let mut opened = Opened::default();
            loop {
                let place = next.fetch_add(1, Ordering::Relaxed);
                if place >= to {
                    return opened;
                }
                let Some(protocol) = protocols.get(place % protocols.len()) else { return opened };
                let Some(target) = targets.get(protocol) else { return opened };
                let one = Held::open(*protocol, *target, place);
                let why = match tokio::time::timeout(PATIENCE, one).await {
                    Ok(Ok(one)) => {
                        opened.all.push((*protocol, one));
                        continue;
                    }
                    Ok(Err(error)) => format!("{error:#}"),
                    Err(_) => "no answer in time".to_owned(),
                };
                *opened.lost.entry(format!("{}: {why}", protocol.name())).or_insert(0) += 1;
            }
        });
    }
    let mut all = Opened::default();
    for opened in clients.join_all().await {
        all.all.extend(opened.all);
        for (why, count) in opened.lost {
            *all.lost.entry(why).or_insert(0) += count;
        }
    }
    all
}
