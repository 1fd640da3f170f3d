//! Figures of speed and memory, printed as tables: `palisade-bench all`.
//!
//! Nothing here is a test and nothing fails for being slow, except `kill9` and
//! `powercut`, which count what must never be lost.

#![allow(clippy::print_stdout, reason = "the tables are the product")]

mod across;
mod detect;
mod enforce;
mod ews;
mod fleet;
mod flood;
mod generate;
mod honeypot;
mod host;
mod idle;
mod ingest;
mod parser;
mod parsers;
mod peba;
mod process;
mod rows;
mod spool;
mod store;
mod table;
mod torture;
mod tracked;
mod wire;

use clap::Parser;

#[derive(Parser)]
enum Bench {
    /// Everything but kill9 and powercut
    All {
        /// Events in the store for the start row
        #[arg(long, default_value_t = 10_000_000)]
        events: u64,
    },
    /// Records a second into the spool
    Spool,
    /// Lines a second through the parser of sshd
    Parser,
    /// Lines a second through each of the parsers, and through all at once
    Parsers,
    /// Lines a second through scenarios, counting and decisions
    Detect(detect::Args),
    /// A log that gets a million lines a second and is rotated meanwhile
    Flood(flood::Args),
    /// Bans from an event to the kernel's set of nftables, in a namespace of its own
    Enforce,
    /// From a log line on one host to the first packet dropped on another, in namespaces
    Across(across::Args),
    /// Decisions from one agent to a hundred others, over HTTP
    Fleet(fleet::Args),
    /// Logins, requests and held connections of honeypots, ours or others
    Honeypot(honeypot::Args),
    /// What the agent costs its machine: inventory, audit, hashing, memory and CPU at rest
    Host(host::Args),
    /// Bytes and CPU of an event in wire forms
    Wire,
    /// The event store at full size, each figure beside its aim
    Store(store::Args),
    /// Writes made-up events as files that other databases load
    Rows(rows::Args),
    /// Questions of the PEBA query API over HTTP while events arrive
    Peba(peba::Args),
    /// Events a second through HTTP with fsync
    Ingest,
    /// EWS alerts a second through HTTP with fsync
    Ews,
    /// Memory and start of an idle `palisade up`
    Idle {
        /// Events in the store for the second row
        #[arg(long, default_value_t = 10_000_000)]
        events: u64,
    },
    /// Kill `palisade up` at random moments under load and count
    Kill9 {
        /// How often
        #[arg(long, default_value_t = 200)]
        rounds: u32,
        /// Under the load of honeypots that post EWS messages
        #[arg(long)]
        ews: bool,
    },
    /// Cut the power at random moments under load and count (needs /dev/fuse and root)
    Powercut(torture::powercut::Args),
    /// A file system in memory that is as slow as it is told; for tests of the page
    #[command(hide = true)]
    Slowdisk(torture::slow::Args),
    /// Housekeeping of a stopped store; what kill9 and powercut end in the middle
    #[command(hide = true)]
    Maintain(torture::maintain::Args),
}

fn main() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    match Bench::parse() {
        Bench::All { events } => {
            parser::run();
            parsers::run();
            detect::run(&detect::Args::default())?;
            runtime.block_on(flood::run(&flood::Args::default()))?;
            wire::run()?;
            runtime.block_on(spool::run())?;
            runtime.block_on(ingest::run())?;
            runtime.block_on(enforce::run())?;
            ews::run()?;
            runtime.block_on(idle::run(events))?;
            runtime.block_on(honeypot::run(&honeypot::Args::default()))?;
            runtime.block_on(host::run(&host::Args::default()))?;
            runtime.block_on(store::run(store::Args::small()))
        }
        Bench::Spool => runtime.block_on(spool::run()),
        Bench::Parser => {
            parser::run();
            Ok(())
        }
        Bench::Parsers => {
            parsers::run();
            Ok(())
        }
        Bench::Detect(args) => detect::run(&args),
        Bench::Flood(args) => runtime.block_on(flood::run(&args)),
        Bench::Enforce => runtime.block_on(enforce::run()),
        Bench::Across(args) => across::run(&args),
        Bench::Fleet(args) => runtime.block_on(fleet::run(&args)),
        Bench::Honeypot(args) => runtime.block_on(honeypot::run(&args)),
        Bench::Host(args) => runtime.block_on(host::run(&args)),
        Bench::Wire => wire::run(),
        Bench::Store(args) => runtime.block_on(store::run(args)),
        Bench::Rows(args) => rows::run(&args),
        Bench::Peba(args) => runtime.block_on(peba::run(args)),
        Bench::Ingest => runtime.block_on(ingest::run()),
        Bench::Idle { events } => runtime.block_on(idle::run(events)),
        Bench::Ews => ews::run(),
        Bench::Kill9 { rounds, ews: true } => runtime.block_on(torture::ews::run(rounds)),
        Bench::Kill9 { rounds, ews: false } => runtime.block_on(torture::kill9::run(rounds)),
        Bench::Powercut(args) => runtime.block_on(torture::powercut::run(&args)),
        Bench::Slowdisk(args) => torture::slow::run(&args),
        Bench::Maintain(args) => torture::maintain::run(&args),
    }
}
