//! Honeypots under load: logins and requests a second with the processor time of
//! each, and the memory of thousands of held connections. The same for another
//! honeypot, where one is named.
//!
//! Clients and honeypot share the machine, so a rate is of both.

mod cipher;
mod plugin;
mod ssh;

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use crate::process;
use crate::table::{number, print};

/// Clients at the same time.
const AT_ONCE: usize = 64;
/// Own addresses they come from, so that bounds of one address do not matter.
const ADDRESSES: usize = 200;
/// How long one visit may take.
const PATIENCE: Duration = Duration::from_secs(30);
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
    /// Connections that are held at once
    #[arg(long, default_value_t = 10_000)]
    held: usize,
}

impl Default for Args {
    fn default() -> Self {
        Self { target: Vec::new(), pid: None, logins: 20_000, held: 10_000 }
    }
}

/// A protocol of a honeypot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Protocol {
    Ssh,
    Telnet,
    Http,
    Plugin,
}

impl Protocol {
    const ALL: [(&'static str, Self); 4] = [
        ("ssh", Self::Ssh),
        ("telnet", Self::Telnet),
        ("http", Self::Http),
        ("plugin", Self::Plugin),
    ];
}

type Targets = BTreeMap<Protocol, SocketAddr>;

/// A honeypot that is measured.
struct Subject {
    targets: Targets,
    pid: Option<u32>,
    /// Ours, with its home; ended with it.
    _ours: Option<(Ours, tempfile::TempDir)>,
}

struct Ours(std::process::Child);

impl Drop for Ours {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.0);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.0.wait();
    }
}

/// Runs everything.
///
/// # Errors
/// The honeypot does not start or does not answer.
pub(crate) async fn run(args: &Args) -> anyhow::Result<()> {
    raise_files()?;
    let rates = Subject::open(args, "never")?;
    let mut rows = Vec::new();
    for (protocol, target) in rates.targets.clone() {
        for kept in [false, true] {
            if kept && protocol != Protocol::Http {
                continue;
            }
            rows.push(rate(&rates, protocol, target, args.logins, kept).await?);
        }
    }
    print(
        "Honeypots under load, clients on the same machine (aims: ssh 4,000, telnet 15,000, plugin 12,000, http kept open 40,000 a second)",
        &["what", "a second", "CPU ms each", "failed"],
        &rows,
    );
    drop(rates);
    let mut rows = Vec::new();
    let names = |protocols: &[Protocol]| -> String {
        let named = Protocol::ALL.iter().filter(|(_, one)| protocols.contains(one));
        named.map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
    };
    let all: Vec<Protocol> = Subject::open(args, "always")?.targets.into_keys().collect();
    let mut kinds: Vec<Vec<Protocol>> = all.iter().map(|one| vec![*one]).collect();
    if all.len() > 1 {
        kinds.push(all);
    }
    for protocols in kinds {
        // Each kind of its own: memory that was used once is not given back at once.
        let subject = Subject::open(args, "always")?;
        rows.push(held(&subject, &protocols, &names(&protocols), args.held).await?);
    }
    print(
        "Held connections: ssh logged in, telnet and plug-in at their login, http after a request (aims: idle 10 MB, ssh 12 kB, others 5 kB, 10,000 mixed 200 MB)",
        &["kind", "held", "lost", "idle MB", "with them MB", "kB each"],
        &rows,
    );
    if args.target.is_empty() {
        at_rest(args).await?;
    }
    Ok(())
}

/// Memory of the honeypots that do nothing, without plug-ins and with some.
async fn at_rest(args: &Args) -> anyhow::Result<()> {
    let mut rows = Vec::new();
    let mut without = None;
    for count in [0, plugin::AT_REST] {
        let subject = Subject::ours("never", args.held, count)?;
        tokio::time::sleep(Duration::from_secs(3)).await;
        let Some((_, resident)) = subject.usage()? else { continue };
        let more = without.map(|before: u64| resident.saturating_sub(before));
        without.get_or_insert(resident);
        let megabytes = |bytes: u64| format!("{:.1}", bytes as f64 / 1e6);
        let more = more.map(megabytes).unwrap_or_default();
        rows.push(vec![count.to_string(), megabytes(resident), more]);
    }
    print("Plug-ins at rest (aim: 20 of them 20 MB)", &["plug-ins", "MB", "more MB"], &rows);
    Ok(())
}

/// As many files as the system lets us have; the honeypot inherits it.
fn raise_files() -> anyhow::Result<()> {
    let resource = rustix::process::Resource::Nofile;
    let mut limit = rustix::process::getrlimit(resource);
    limit.current = limit.maximum;
    rustix::process::setrlimit(resource, limit).context("cannot raise the limit of open files")
}

impl Subject {
    /// Ours, freshly started, or the one that is named. `accept` is whom it lets in.
    fn open(args: &Args, accept: &str) -> anyhow::Result<Self> {
        if args.target.is_empty() {
            return Self::ours(accept, args.held, 1);
        }
        let mut targets = Targets::new();
        for text in &args.target {
            let (name, address) =
                text.split_once('=').context("a target is PROTOCOL=ADDRESS:PORT")?;
            let known = Protocol::ALL.iter().find(|(known, _)| *known == name);
            let (_, protocol) = known.context("protocols are ssh, telnet, http and plugin")?;
            targets.insert(*protocol, address.parse()?);
        }
        Ok(Self { targets, pid: args.pid, _ours: None })
    }

    fn ours(accept: &str, held: usize, plugins: usize) -> anyhow::Result<Self> {
        let home = tempfile::tempdir_in(".")?;
        let plugin = plugin::write(home.path(), plugins)?;
        let connections = held + 1_000;
        let text = format!(
            r#"
data = "{}/data"
sensor = "bench"
[log]
filter = "warn"
[[api.listeners]]
address = "127.0.0.1:0"
tls = false
[honeypot.limits]
connections = {connections}
[[honeypot.services]]
type = "ssh"
listen = "127.0.0.1:0"
ssh = {{ accept = "{accept}", fail_delay_ms = 0, fail_jitter_ms = 0 }}
[[honeypot.services]]
type = "telnet"
listen = "127.0.0.1:0"
telnet = {{ accept = "{accept}", weak_credentials = false, fail_delay_ms = 0 }}
[[honeypot.services]]
type = "http"
listen = "127.0.0.1:0"
http = {{ requests = 1000 }}
{plugin}
"#,
            home.path().display()
        );
        std::fs::write(home.path().join("palisade.toml"), text)?;
        let log = std::fs::File::create(home.path().join("log"))?;
        let mut child = std::process::Command::new(process::binary()?)
            .args(["up", "--config", "palisade.toml"])
            .current_dir(home.path())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()?;
        let out = child.stdout.take().context("no output")?;
        let ours = Ours(child);
        let mut targets = Targets::new();
        for line in BufReader::new(out).lines() {
            let line = line?;
            if line == "ready" {
                break;
            }
            for (name, protocol) in Protocol::ALL {
                if let Some(address) = line.strip_prefix(&format!("honeypot {name} on ")) {
                    // Of many plug-ins any is as good as another; runs of ports are not asked.
                    if let Ok(address) = address.parse() {
                        targets.insert(protocol, address);
                    }
                }
            }
        }
        ensure!(targets.len() + 1 >= Protocol::ALL.len(), "palisade did not start its honeypots");
        let pid = child_of(ours.0.id()).unwrap_or(ours.0.id());
        Ok(Self { targets, pid: Some(pid), _ours: Some((ours, home)) })
    }

    /// CPU seconds and resident bytes, where the process is known.
    fn usage(&self) -> anyhow::Result<Option<(f64, u64)>> {
        let Some(pid) = self.pid else { return Ok(None) };
        let (cpu, rss, _) = process::usage(pid)?;
        Ok(Some((cpu, rss)))
    }
}

/// The first process that another has started: that of the honeypots.
fn child_of(parent: u32) -> Option<u32> {
    let processes = std::fs::read_dir("/proc").ok()?;
    processes.filter_map(Result::ok).find_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let stat = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat"));
        let stat = stat.ok()?;
        let fields = stat.rsplit(") ").next()?;
        (fields.split(' ').nth(1)?.parse() == Ok(parent)).then_some(pid)
    })
}

/// Connects from one of our addresses.
async fn dial(target: SocketAddr, from: usize) -> anyhow::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    let address = Ipv4Addr::new(127, 1, 1, (1 + from % ADDRESSES) as u8);
    socket.bind(SocketAddr::new(IpAddr::V4(address), 0))?;
    let stream = socket.connect(target).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Many visits, some at a time.
async fn rate(
    subject: &Subject,
    protocol: Protocol,
    target: SocketAddr,
    count: usize,
    kept: bool,
) -> anyhow::Result<Vec<String>> {
    let visits = if kept { count * 10 / KEPT_REQUESTS } else { count };
    let (next, failed) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let before = subject.usage()?;
    let begun = Instant::now();
    let mut clients = tokio::task::JoinSet::new();
    for client in 0..AT_ONCE {
        let (next, failed) = (Arc::clone(&next), Arc::clone(&failed));
        clients.spawn(async move {
            loop {
                let visit = next.fetch_add(1, Ordering::Relaxed);
                if visit >= visits {
                    return;
                }
                let one = visit_once(protocol, target, client + visit, kept);
                if !matches!(tokio::time::timeout(PATIENCE, one).await, Ok(Ok(()))) {
                    failed.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
    }
    clients.join_all().await;
    let took = begun.elapsed();
    let each = if kept { KEPT_REQUESTS } else { 1 };
    let done = (visits - failed.load(Ordering::Relaxed)) * each;
    let cpu = match (before, subject.usage()?) {
        (Some((before, _)), Some((after, _))) if done > 0 => {
            format!("{:.3}", (after - before) * 1e3 / done as f64)
        }
        _ => String::new(),
    };
    let what = match (protocol, kept) {
        (Protocol::Ssh, _) => "ssh: connection, keys, wrong password",
        (Protocol::Telnet, _) => "telnet: connection, wrong password",
        (Protocol::Plugin, _) => "plug-in: connection, wrong password, a row",
        (Protocol::Http, false) => "http: connection, request",
        (Protocol::Http, true) => "http: request on a connection kept open",
    };
    // Such as SSH without AES-GCM, which is all that this client has.
    let speed = match done {
        0 => "not understood".to_owned(),
        done => number(done as f64 / took.as_secs_f64()),
    };
    Ok(vec![what.to_owned(), speed, cpu, failed.load(Ordering::Relaxed).to_string()])
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
        Protocol::Telnet | Protocol::Plugin => {
            let mut read = Vec::new();
            until(&mut stream, &mut read, &[b"ogin: ", b"sername: "]).await?;
            stream.write_all(b"root\r\n").await?;
            until(&mut stream, &mut read, &[b"assword: "]).await?;
            stream.write_all(format!("password-{visit}\r\n").as_bytes()).await?;
            until(&mut stream, &mut read, &[b"ncorrect", b"ailed", b"nvalid", b"denied"]).await?;
        }
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

/// Opens connections, holds them for a moment, and looks at the memory.
async fn held(
    subject: &Subject,
    protocols: &[Protocol],
    name: &str,
    count: usize,
) -> anyhow::Result<Vec<String>> {
    tokio::time::sleep(Duration::from_secs(2)).await;
    let idle = subject.usage()?;
    let next = Arc::new(AtomicUsize::new(0));
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..AT_ONCE {
        let (next, protocols) = (Arc::clone(&next), protocols.to_vec());
        let targets = subject.targets.clone();
        clients.spawn(async move {
            let mut all = Vec::new();
            loop {
                let place = next.fetch_add(1, Ordering::Relaxed);
                if place >= count {
                    return all;
                }
                let Some(protocol) = protocols.get(place % protocols.len()) else { return all };
                let Some(target) = targets.get(protocol) else { return all };
                let one = Held::open(*protocol, *target, place);
                if let Ok(Ok(one)) = tokio::time::timeout(PATIENCE, one).await {
                    all.push(one);
                }
            }
        });
    }
    let all: Vec<Held> = clients.join_all().await.into_iter().flatten().collect();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let with = subject.usage()?;
    let open = all.iter().filter(|one| one.is_open()).count();
    let megabytes = |bytes: u64| format!("{:.1}", bytes as f64 / 1e6);
    let (idle_mb, with_mb, each) = match (idle, with) {
        (Some((_, idle)), Some((_, with))) => (
            megabytes(idle),
            megabytes(with),
            format!("{:.1}", with.saturating_sub(idle) as f64 / 1e3 / open.max(1) as f64),
        ),
        _ => Default::default(),
    };
    Ok(vec![name.to_owned(), open.to_string(), (count - open).to_string(), idle_mb, with_mb, each])
}
