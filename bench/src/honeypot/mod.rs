//! Honeypots under load: logins and requests a second with the processor time of
//! each, and the memory of thousands of held connections. The same for another
//! honeypot, where one is named.
//!
//! Clients and honeypot share the machine, so a rate is of both.

mod bots;
mod cipher;
mod held;
mod plugin;
mod reload;
mod session;
mod ssh;
mod subject;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use self::subject::{Memory, Protocol, Subject};
use crate::table::{number, print};

/// Clients at the same time.
const AT_ONCE: usize = 64;
/// The same for SSH, where one client computes for as long as its server does: so
/// many that neither waits for the other.
const SSH_AT_ONCE: usize = 256;
/// Clients that come all at the same moment in the rows about that.
const PARALLEL: usize = 2_000;
/// Telnet sessions of bots, all at the same time: a device makes them wait for
/// servers that do not answer.
const SESSIONS: usize = 200;
/// Own addresses they come from, so that bounds of one address do not matter.
const ADDRESSES: usize = 200;
/// How long one visit may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a session of many commands may take.
const SESSION_PATIENCE: Duration = Duration::from_secs(300);
/// Requests of a connection that is kept open.
const KEPT_REQUESTS: usize = 100;

/// What is measured.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// Another honeypot in the place of ours, such as ssh=127.0.0.1:2222; again for telnet, http, plugin (a login like telnet's)
    #[arg(long, value_name = "PROTOCOL=ADDRESS:PORT")]
    target: Vec<String>,
    /// The process of that honeypot
    #[arg(long, requires = "target")]
    pid: Option<u32>,
    /// Logins of a row
    #[arg(long, default_value_t = 20_000)]
    logins: usize,
    /// Connections that are held at once; a tenth and half of them are rows too
    #[arg(long, default_value_t = 10_000)]
    held: usize,
}

impl Default for Args {
    fn default() -> Self {
        Self { target: Vec::new(), pid: None, logins: 20_000, held: 10_000 }
    }
}

/// A row of the table; what does not apply stays empty.
#[derive(Default)]
struct Row {
    what: String,
    a_second: Option<f64>,
    /// Milliseconds of processor time each, of the honeypots and of the agent.
    cpu: Option<(f64, Option<f64>)>,
    /// What failed, or did not stay.
    lost: Option<usize>,
    memory: Option<Memory>,
    kilobytes_each: Option<f64>,
    aim: &'static str,
    /// Said below the table.
    notes: String,
}

impl Row {
    const HEADER: [&str; 11] = [
        "what",
        "a second",
        "CPU ms each",
        "agent's",
        "lost",
        "RSS MB",
        "PSS MB",
        "anonymous",
        "of files",
        "kB each",
        "aim",
    ];

    fn cells(&self) -> Vec<String> {
        let megabytes = |bytes: u64| format!("{:.1}", bytes as f64 / 1e6);
        let of = |part: fn(&Memory) -> u64| {
            self.memory.as_ref().map(|memory| megabytes(part(memory))).unwrap_or_default()
        };
        let shared = self.memory.and_then(|memory| memory.proportional);
        let cpu = |millis: f64| format!("{millis:.3}");
        vec![
            self.what.clone(),
            self.a_second.map(number).unwrap_or_default(),
            self.cpu.map(|(zone, _)| cpu(zone)).unwrap_or_default(),
            self.cpu.and_then(|(_, agent)| agent).map(cpu).unwrap_or_default(),
            self.lost.map(|count| count.to_string()).unwrap_or_default(),
            of(|memory| memory.resident),
            shared.map(megabytes).unwrap_or_default(),
            of(|memory| memory.anonymous),
            of(|memory| memory.file),
            self.kilobytes_each.map(|each| format!("{each:.1}")).unwrap_or_default(),
            self.aim.to_owned(),
        ]
    }
}

/// Runs everything.
///
/// # Errors
/// The honeypot does not start or does not answer.
pub(crate) async fn run(args: &Args) -> anyhow::Result<()> {
    raise_files()?;
    let mut rows = at_rest(args).await?;
    let subject = Subject::open(args, "never")?;
    for (protocol, target) in subject.targets.clone() {
        for kept in [false, true] {
            if !kept || protocol == Protocol::Http {
                let at_once = if protocol == Protocol::Ssh { SSH_AT_ONCE } else { AT_ONCE };
                let load = Load { count: args.logins, at_once, kept };
                rows.push(rate(&subject, protocol, target, load).await?);
            }
        }
    }
    for (protocol, target) in subject.targets.clone() {
        let load = Load { count: PARALLEL, at_once: PARALLEL, kept: false };
        rows.push(rate(&subject, protocol, target, load).await?);
    }
    drop(subject);
    if args.target.is_empty() {
        rows.push(reload::row(args).await?);
    }
    let all: Vec<Protocol> = Subject::open(args, "always")?.targets.into_keys().collect();
    if args.target.is_empty() {
        rows.push(sessions(&Subject::open(args, "always")?).await?);
    }
    let counts = [args.held / 10, args.held / 2, args.held];
    for protocol in &all {
        // Each kind of its own: memory that was used once is not given back at once.
        let subject = Subject::open(args, "always")?;
        rows.extend(held::rows(&subject, &[*protocol], &counts).await?);
    }
    if all.len() > 1 {
        let subject = Subject::open(args, "always")?;
        rows.extend(held::rows(&subject, &all, &[args.held]).await?);
    }
    let cells: Vec<Vec<String>> = rows.iter().map(Row::cells).collect();
    print(
        "Honeypots, clients on the same machine. Memory is that of the honeypots' process; kB each of what is its own (anonymous). Held: ssh logged in, telnet and plug-in at their login, http after a request",
        &Row::HEADER,
        &cells,
    );
    for row in rows.iter().filter(|row| !row.notes.is_empty()) {
        println!("lost of \"{}\": {}", row.what, row.notes);
    }
    Ok(())
}

/// Memory of honeypots that do nothing, and of the agent above them.
async fn at_rest(args: &Args) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    if !args.target.is_empty() {
        let memory = args.pid.map(Memory::of).transpose()?;
        return Ok(vec![Row { what: "idle".to_owned(), memory, ..Row::default() }]);
    }
    let mut without = None;
    for count in [0, plugin::AT_REST] {
        let subject = Subject::ours("never", args.held, count)?;
        // Until what only the start needed is given back.
        tokio::time::sleep(Duration::from_secs(15)).await;
        let memory = subject.zone.map(Memory::of).transpose()?;
        let own = memory.map_or(0, |memory| memory.anonymous);
        let more = without.map(|before: u64| own.saturating_sub(before));
        without.get_or_insert(own);
        rows.push(Row {
            what: match count {
                0 => "idle: ssh, telnet, http".to_owned(),
                _ => format!("idle with {count} plug-ins"),
            },
            memory,
            kilobytes_each: more.map(|more| more as f64 / 1e3 / count as f64),
            aim: if count == 0 { "10 MB" } else { "20 of them: 20 MB" },
            ..Row::default()
        });
        if count == 0 {
            let memory = subject.agent.map(Memory::of).transpose()?;
            rows.push(Row { what: "idle: the agent".to_owned(), memory, ..Row::default() });
        }
    }
    Ok(rows)
}

/// As many files as the system lets us have; the honeypot inherits it.
pub(crate) fn raise_files() -> anyhow::Result<()> {
    let resource = rustix::process::Resource::Nofile;
    let mut limit = rustix::process::getrlimit(resource);
    limit.current = limit.maximum;
    rustix::process::setrlimit(resource, limit).context("cannot raise the limit of open files")
}

/// Milliseconds each of `done`, where the processes are known.
fn cpu_each(
    subject: &Subject,
    before: subject::Cpu,
    done: usize,
) -> anyhow::Result<Option<(f64, Option<f64>)>> {
    let after = subject.cpu()?;
    let each = |before: f64, after: f64| (after - before) * 1e3 / done.max(1) as f64;
    let agent = subject.agent.map(|_| each(before.agent, after.agent));
    Ok(subject.zone.filter(|_| done > 0).map(|_| (each(before.zone, after.zone), agent)))
}

/// Bots that type what they always type.
async fn sessions(subject: &Subject) -> anyhow::Result<Row> {
    let target = *subject.targets.get(&Protocol::Telnet).context("no telnet")?;
    let (before, begun) = (subject.cpu()?, Instant::now());
    let mut clients = tokio::task::JoinSet::new();
    for client in 0..SESSIONS {
        clients.spawn(async move {
            let one = async { session::run(dial(target, client).await?).await };
            matches!(tokio::time::timeout(SESSION_PATIENCE, one).await, Ok(Ok(())))
        });
    }
    let done = clients.join_all().await.into_iter().filter(|done| *done).count();
    let took = begun.elapsed();
    Ok(Row {
        what: format!("telnet: session of {} commands", session::commands()),
        a_second: Some(done as f64 / took.as_secs_f64()),
        cpu: cpu_each(subject, before, done)?,
        lost: Some(SESSIONS - done),
        aim: "5 ms",
        ..Row::default()
    })
}

/// One of our addresses.
fn address(from: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, 1, 1, (1 + from % ADDRESSES) as u8)
}

/// Connects from one of our addresses.
async fn dial(target: SocketAddr, from: usize) -> anyhow::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(IpAddr::V4(address(from)), 0))?;
    let stream = socket.connect(target).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// How many come, and how.
#[derive(Clone, Copy)]
struct Load {
    count: usize,
    at_once: usize,
    /// Whether connections are kept for many requests.
    kept: bool,
}

/// Many visits, some at a time.
async fn rate(
    subject: &Subject,
    protocol: Protocol,
    target: SocketAddr,
    Load { count, at_once, kept }: Load,
) -> anyhow::Result<Row> {
    let visits = if kept { count * 10 / KEPT_REQUESTS } else { count };
    let load = Load { count: visits, at_once, kept };
    let before = subject.cpu()?;
    let begun = Instant::now();
    let lost = match protocol {
        Protocol::Telnet | Protocol::Plugin => {
            tokio::task::spawn_blocking(move || bots::run(target, load)).await??
        }
        Protocol::Ssh | Protocol::Http => crowd(protocol, target, load).await,
    };
    let took = begun.elapsed();
    let each = if kept { KEPT_REQUESTS } else { 1 };
    let done = (visits - lost) * each;
    let (what, aim) = match (protocol, kept) {
        (Protocol::Ssh, _) => ("ssh: connection, keys, wrong password", "4,000/s"),
        (Protocol::Telnet, _) => ("telnet: connection, wrong password", "15,000/s"),
        (Protocol::Plugin, _) => ("plug-in: connection, wrong password, a row", "12,000/s"),
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
        aim: if together { "0 lost" } else { aim },
        ..Row::default()
    })
}

/// Clients that are tasks; says how many failed.
async fn crowd(protocol: Protocol, target: SocketAddr, load: Load) -> usize {
    let (next, failed) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut clients = tokio::task::JoinSet::new();
    for client in 0..load.at_once {
        let (next, failed) = (Arc::clone(&next), Arc::clone(&failed));
        clients.spawn(async move {
            loop {
                let visit = next.fetch_add(1, Ordering::Relaxed);
                if visit >= load.count {
                    return;
                }
                let one = visit_once(protocol, target, client + visit, load.kept);
                if !matches!(tokio::time::timeout(PATIENCE, one).await, Ok(Ok(()))) {
                    failed.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
    }
    clients.join_all().await;
    failed.load(Ordering::Relaxed)
}

/// One visit from its connection to its end.
async fn visit_once(
    protocol: Protocol,
    target: SocketAddr,
    visit: usize,
    kept: bool,
) -> anyhow::Result<()> {
    let mut stream = dial(target, visit).await?;
    match protocol {
        Protocol::Ssh => {
            let mut ssh = ssh::Ssh::connect(stream).await?;
            let let_in = ssh.login("root", &format!("password-{visit}")).await?;
            ensure!(!let_in, "let in");
        }
        Protocol::Telnet | Protocol::Plugin => bail!("terminals are tried by bots"),
        Protocol::Http => {
            let mut read = Vec::new();
            for _ in 0..if kept { KEPT_REQUESTS } else { 1 } {
                request(&mut stream, &mut read).await?;
            }
        }
    }
    Ok(())
}

/// Reads until one of some texts has come, and forgets it.
async fn until(stream: &mut TcpStream, read: &mut Vec<u8>, texts: &[&[u8]]) -> anyhow::Result<()> {
    loop {
        let found = texts.iter().any(|text| read.windows(text.len()).any(|part| part == *text));
        if found {
            read.clear();
            return Ok(());
        }
        ensure!(read.len() < 64 * 1024 && stream.read_buf(read).await? > 0, "it hung up");
    }
}

/// One request and its answer.
async fn request(stream: &mut TcpStream, read: &mut Vec<u8>) -> anyhow::Result<()> {
    stream.write_all(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").await?;
    loop {
        if let Some(head) = read.windows(4).position(|part| part == b"\r\n\r\n") {
            let text = String::from_utf8_lossy(read.get(..head).unwrap_or_default());
            let length = text.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
            });
            let length: usize = length.context("an answer without a length")?;
            if read.len() >= head + 4 + length {
                read.drain(..head + 4 + length);
                return Ok(());
            }
        }
        ensure!(read.len() < 1024 * 1024 && stream.read_buf(read).await? > 0, "it hung up");
    }
}
