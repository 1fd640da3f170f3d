//! Visits: how many a second, and the processor time of each.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::ensure;

use super::row::Row;
use super::ssh::Ssh;
use super::subject::{Protocol, Subject};
use super::talk::{Talk, dial, request};
use super::tries::{self, PATIENCE, Tries};
use super::{AT_ONCE, Args, PARALLEL, bots, cpu_each};

/// Requests of a connection that is kept open.
const KEPT_REQUESTS: usize = 100;
/// Failures in a row after which a row ends.
const MOST_FAILURES: usize = 4 * AT_ONCE;

/// How many come, and how.
#[derive(Clone, Copy)]
pub(super) struct Load {
    pub(super) count: usize,
    pub(super) at_once: usize,
    /// Whether connections are kept for many requests.
    pub(super) kept: bool,
}

/// Many visits, some at a time.
///
/// # Errors
/// The kernel does not say what the honeypot has used.
pub(super) async fn row(
    args: &Args,
    subject: &Subject,
    protocol: Protocol,
    target: SocketAddr,
    Load { count, at_once, kept }: Load,
) -> anyhow::Result<Row> {
    let visits = if kept { count * 10 / KEPT_REQUESTS } else { count };
    let limit = Duration::from_secs(args.row_seconds);
    let tries = Arc::new(Tries::new(0..visits, limit, at_once.max(MOST_FAILURES)));
    let path: Arc<str> = args.path.as_str().into();
    let before = subject.cpu()?;
    let begun = Instant::now();
    let load = Load { count: visits, at_once, kept };
    match protocol {
        Protocol::Telnet | Protocol::Ftp | Protocol::Plugin => {
            let tries = Arc::clone(&tries);
            tokio::task::spawn_blocking(move || bots::run(protocol, target, load, &tries))
                .await??;
        }
        Protocol::Ssh | Protocol::Http => crowd(protocol, target, load, &tries, &path).await,
    }
    let took = begun.elapsed();
    let each = if kept { KEPT_REQUESTS } else { 1 };
    let mut why = tries.lost();
    let lost: usize = why.values().sum();
    let left = tries.left();
    let left_count = left.as_ref().map_or(0, |(_, count)| *count);
    let done = visits.saturating_sub(lost + left_count) * each;
    why.extend(left);
    let (what, aim) = match (protocol, kept) {
        (Protocol::Ssh, _) => ("ssh: connection, keys, wrong password", "4,000/s"),
        (Protocol::Telnet, _) => ("telnet: connection, wrong password", "15,000/s"),
        (Protocol::Plugin, _) => ("plug-in: connection, wrong password, a row", "12,000/s"),
        (Protocol::Ftp, _) => ("ftp: connection, wrong password", ""),
        (Protocol::Http, false) => ("http: connection, request", ""),
        (Protocol::Http, true) => ("http: request on a connection kept open", "40,000/s"),
    };
    let together = at_once >= PARALLEL;
    Ok(Row {
        what: format!("{what}, {at_once} at once"),
        // None is done where a client and a server have no cipher in common.
        a_second: (done > 0).then(|| done as f64 / took.as_secs_f64()),
        cpu: cpu_each(subject, before, done)?,
        lost: Some(lost),
        left: left_count,
        aim: if together { "0 lost" } else { aim },
        why,
        ..Row::default()
    })
}

/// Clients that are tasks.
async fn crowd(
    protocol: Protocol,
    target: SocketAddr,
    load: Load,
    tries: &Arc<Tries>,
    path: &Arc<str>,
) {
    let mut clients = tokio::task::JoinSet::new();
    for client in 0..load.at_once {
        let (tries, path) = (Arc::clone(tries), Arc::clone(path));
        clients.spawn(async move {
            while let Some(visit) = tries.next() {
                let requests = if load.kept { KEPT_REQUESTS } else { 1 };
                match tries::visit(
                    PATIENCE,
                    once(protocol, target, client + visit, &path, requests),
                )
                .await
                {
                    Ok(()) => tries.succeeded(),
                    Err(why) => tries.failed(why),
                }
            }
        });
    }
    clients.join_all().await;
}

/// What a terminal is waited for, one after the other: what it is, and any of its texts.
pub(super) fn prompts(protocol: Protocol) -> &'static [(&'static str, &'static [&'static [u8]])] {
    // Heralding says nothing about a wrong password and asks for a name again.
    const TERMINAL: &[(&str, &[&[u8]])] = &[
        ("asking for a name", &[b"ogin: ", b"sername: "]),
        ("asking for a password", &[b"assword: "]),
        (
            "an answer to the password",
            &[b"ncorrect", b"ailed", b"nvalid", b"denied", b"ogin: ", b"sername: "],
        ),
    ];
    const FTP: &[(&str, &[&[u8]])] = &[
        ("a greeting", &[b"220 "]),
        ("asking for a password", &[b"331 "]),
        ("an answer to the password", &[b"530 "]),
    ];
    if protocol == Protocol::Ftp { FTP } else { TERMINAL }
}

/// One visit from its connection to its end.
///
/// # Errors
/// Why it is lost: the other side does not answer as it should, or not in time.
pub(super) async fn once(
    protocol: Protocol,
    target: SocketAddr,
    visit: usize,
    path: &str,
    requests: usize,
) -> anyhow::Result<()> {
    let mut stream = dial(target, visit).await?;
    match protocol {
        Protocol::Ssh => {
            let mut ssh = Ssh::connect(stream).await?;
            let let_in = ssh.login("root", &format!("password-{visit}")).await?;
            ensure!(!let_in, "let in");
        }
        Protocol::Telnet | Protocol::Plugin | Protocol::Ftp => {
            let telnet = protocol == Protocol::Telnet;
            let mut talk = if telnet { Talk::telnet(stream) } else { Talk::plain(stream) };
            let said = match protocol {
                Protocol::Ftp => ["USER root\r\n".to_owned(), format!("PASS password-{visit}\r\n")],
                _ => ["root\r\n".to_owned(), format!("password-{visit}\r\n")],
            };
            let mut said = said.iter();
            for (what, texts) in prompts(protocol) {
                talk.until(what, texts).await?;
                if let Some(text) = said.next() {
                    talk.say(text).await?;
                }
            }
        }
        Protocol::Http => {
            let mut read = Vec::new();
            for left in (0..requests).rev() {
                let keeps = request(&mut stream, &mut read, path).await?;
                ensure!(keeps || left == 0, "it keeps no connection open");
            }
        }
    }
    Ok(())
}
