//! Honeypots under load: logins and requests a second with the processor time of
//! each, and the memory of thousands of held connections. The same for another
//! honeypot, where one is named. One that does not answer is told of and left.
//!
//! Clients and honeypot share the machine, so a rate is of both.

mod bots;
mod cipher;
mod held;
mod plugin;
mod rate;
mod reload;
mod row;
mod session;
mod ssh;
mod subject;
mod talk;
mod telnet;
mod tries;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use self::rate::Load;
use self::row::{Row, Rows};
use self::subject::{Memory, Plugins, Protocol, Subject};
use self::talk::dial;

/// Clients at the same time.
const AT_ONCE: usize = 64;
/// The same where a visit has time in which one side does nothing: a client of SSH
/// computes for as long as its server does, and telnetd takes two milliseconds to
/// start login. So many that the machine always has something to do.
const WAITING_AT_ONCE: usize = 256;
/// Clients that come all at the same moment in the rows about that.
const PARALLEL: usize = 2_000;
/// Telnet sessions of bots, all at the same time: a device makes them wait for
/// servers that do not answer.
const SESSIONS: usize = 200;
/// How long a session of many commands may take.
const SESSION_PATIENCE: Duration = Duration::from_secs(300);
/// How long a honeypot is left alone before its memory at rest is looked at.
const REST: Duration = Duration::from_secs(15);

/// What is measured.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// Another honeypot in the place of ours, such as ssh=127.0.0.1:2222; again for telnet, http, ftp, plugin (a login like telnet's)
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
    /// Rates alone, or held connections alone; rows of ours alone are in neither
    #[arg(long, value_enum, default_value = "all")]
    part: Part,
    /// Hold connections that did nothing: ssh has exchanged keys, http has asked for nothing
    #[arg(long)]
    idle: bool,
    /// The page that http is asked for
    #[arg(long, default_value = "/")]
    path: String,
    /// Seconds after which a row begins nothing more
    #[arg(long, default_value_t = 120)]
    row_seconds: u64,
    /// A file that gets a line for each row: name of the honeypot, row, value, with tabs between
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// The name of the honeypot in that file
    #[arg(long, default_value = "Palisade")]
    peer: String,
}

/// Which rows are measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    All,
    Rates,
    Held,
}

impl Default for Args {
    fn default() -> Self {
        Self {
            target: Vec::new(),
            pid: None,
            logins: 20_000,
            held: 10_000,
            part: Part::All,
            idle: false,
            path: "/".to_owned(),
            row_seconds: 120,
            record: None,
            peer: "Palisade".to_owned(),
        }
    }
}

/// Runs everything.
///
/// # Errors
/// The honeypot does not start, or is gone.
pub(crate) async fn run(args: &Args) -> anyhow::Result<()> {
    raise_files()?;
    let mut rows = Rows::new(args)?;
    if args.part != Part::Held {
        rates(args, &mut rows).await?;
    }
    if args.part == Part::All && args.target.is_empty() {
        rows.push(reload::row(args).await?)?;
        rows.push(sessions(&Subject::open(args, "always")?).await?)?;
    }
    if args.part != Part::Rates {
        held(args, &mut rows).await?;
    }
    let state = if args.idle { "ssh after its keys" } else { "ssh logged in" };
    let page = if args.idle { "http connected" } else { "http after a request" };
    rows.print(&format!(
        "Honeypots, clients on the same machine. Memory is that of the honeypots' process; kB each of what is its own (anonymous). Held: {state}, telnet and plug-in at their login, {page}"
    ));
    Ok(())
}

/// At rest, and under visits.
async fn rates(args: &Args, rows: &mut Rows) -> anyhow::Result<()> {
    at_rest(args, rows).await?;
    let subject = Subject::open(args, "never")?;
    for (protocol, target) in subject.targets.clone() {
        for kept in [false, true] {
            if !kept || protocol == Protocol::Http {
                let waits = matches!(protocol, Protocol::Ssh | Protocol::Telnet);
                let at_once = if waits { WAITING_AT_ONCE } else { AT_ONCE };
                let load = Load { count: args.logins, at_once, kept };
                rows.push(rate::row(args, &subject, protocol, target, load).await?)?;
            }
        }
    }
    for (protocol, target) in subject.targets.clone() {
        let load = Load { count: PARALLEL, at_once: PARALLEL, kept: false };
        rows.push(rate::row(args, &subject, protocol, target, load).await?)?;
    }
    Ok(())
}

/// Connections that stay.
async fn held(args: &Args, rows: &mut Rows) -> anyhow::Result<()> {
    let all: Vec<Protocol> = Subject::open(args, "always")?.targets.into_keys().collect();
    let counts = [args.held / 10, args.held / 2, args.held];
    for protocol in &all {
        // Each kind of its own: memory that was used once is not given back at once.
        let subject = Subject::open(args, "always")?;
        held::rows(args, &subject, &[*protocol], &counts, rows).await?;
    }
    if all.len() > 1 && args.part == Part::All {
        let subject = Subject::open(args, "always")?;
        held::rows(args, &subject, &all, &[args.held], rows).await?;
    }
    Ok(())
}

/// Memory of honeypots that do nothing, and of the agent above them.
async fn at_rest(args: &Args, rows: &mut Rows) -> anyhow::Result<()> {
    if !args.target.is_empty() {
        tokio::time::sleep(REST).await;
        let memory = args.pid.map(Memory::of).transpose()?;
        return rows.push(Row { what: "idle".to_owned(), memory, ..Row::default() });
    }
    let mut without = None;
    for count in [0, plugin::AT_REST] {
        let subject = Subject::ours("never", args.held, Plugins { count, ftp: false })?;
        // Until what only the start needed is given back.
        tokio::time::sleep(REST).await;
        let memory = subject.zone.map(Memory::of).transpose()?;
        let own = memory.map_or(0, |memory| memory.anonymous);
        let more = without.map(|before: u64| own.saturating_sub(before));
        without.get_or_insert(own);
        rows.push(Row {
            what: if count == 0 { "idle".to_owned() } else { format!("idle, {count} plug-ins") },
            how: if count == 0 { ": ssh, telnet, http" } else { "" }.to_owned(),
            memory,
            kilobytes_each: more.map(|more| more as f64 / 1e3 / count as f64),
            aim: if count == 0 { "10 MB" } else { "20 of them: 20 MB" },
            ..Row::default()
        })?;
        if count == 0 {
            let memory = subject.agent.map(Memory::of).transpose()?;
            rows.push(Row { what: "idle, the agent".to_owned(), memory, ..Row::default() })?;
        }
    }
    Ok(())
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
            match tokio::time::timeout(SESSION_PATIENCE, one).await {
                Ok(done) => done.map_err(|error| format!("{error:#}")),
                Err(_) => Err(format!("not done within {} s", SESSION_PATIENCE.as_secs())),
            }
        });
    }
    let mut why = tries::Lost::new();
    for reason in clients.join_all().await.into_iter().filter_map(Result::err) {
        tries::count(&mut why, reason, 1);
    }
    let took = begun.elapsed();
    let lost: usize = why.values().sum();
    let done = SESSIONS - lost;
    Ok(Row {
        what: format!("telnet: session of {} commands", session::commands()),
        a_second: Some(done as f64 / took.as_secs_f64()),
        cpu: cpu_each(subject, before, done)?,
        lost: Some(lost),
        aim: "5 ms",
        why,
        ..Row::default()
    })
}
