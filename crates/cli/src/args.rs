//! What can be typed: the command line as clap sees it. What it means is
//! decided in [`crate::settings`].

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Guards a fleet of Linux servers: watches logs, lures attackers into
/// honeypots, collects and shows it all.
#[derive(Debug, Parser)]
#[command(
    name = "palisade",
    version,
    max_term_width = 100,
    after_help = "\
Examples:
  palisade up                         everything on this machine, on safe defaults
  palisade up --demo                  the same, with recorded attacks to look at
  palisade query 'kind:auth.attempted user:root since:1h'
  palisade user add alice --role operator --password-stdin
  palisade export 'since:7d' --format parquet --output week.parquet
  palisade store backup --to /backup/palisade
  palisade doctor                     what works here and what does not, and why"
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Global {
    /// Read settings from this TOML file; without it defaults apply
    #[arg(long, global = true, value_name = "FILE", env = "PALISADE_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Keep all data here [default: /var/lib/palisade as root, else ./palisade-data]
    #[arg(long, global = true, value_name = "DIR", env = "PALISADE_DATA")]
    pub(crate) data: Option<PathBuf>,
    /// What to log: error, warn, info, debug, trace, or a filter such as palisade_hub=debug
    #[arg(long, global = true, value_name = "FILTER", env = "PALISADE_LOG")]
    pub(crate) log: Option<String>,
    /// How to write the log
    #[arg(long, global = true, value_name = "FORM", env = "PALISADE_LOG_FORMAT")]
    pub(crate) log_format: Option<LogFormat>,
}

/// How the log is written.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// Lines for people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// The process of the honeypots.
#[derive(Clone, Debug, Args)]
pub(crate) struct ZoneArgs {
    /// Confine this process as the honeypots are, try one thing that they may not, and say
    /// whether it worked; `palisade doctor` does all of it
    #[arg(long = "try", value_name = "WHAT")]
    pub(crate) attempt: Option<crate::zone::attempts::Attempt>,
    /// Who it becomes where root starts it
    #[arg(long, requires = "attempt", default_value = "nobody")]
    pub(crate) user: String,
    /// The same without confinement
    #[arg(long, requires = "attempt")]
    pub(crate) unconfined: bool,
    /// Confine it as the fetcher is, which may connect to others
    #[arg(long, requires = "attempt", conflicts_with = "unconfined")]
    pub(crate) outward: bool,
}

impl ZoneArgs {
    /// How the attempt is confined.
    pub(crate) fn confinement(&self) -> Option<crate::zone::Reach> {
        use crate::zone::Reach;
        match (self.unconfined, self.outward) {
            (true, _) => None,
            (false, true) => Some(Reach::Outward),
            (false, false) => Some(Reach::Inward),
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run everything on this machine: hub, page, agent and honeypots
    #[command(after_help = "\
Examples:
  palisade up
  palisade up --demo --listen 127.0.0.1:9443
  palisade up --config /etc/palisade/palisade.toml --data /srv/palisade")]
    Up(UpArgs),
    /// Run the hub alone: it takes events from agents, keeps and shows them
    Hub(HubArgs),
    /// Run the agent alone: it watches this machine's logs and sends events to a hub
    #[command(after_help = "\
Example:
  palisade agent --hub https://hub.example:8443 --key-file /etc/palisade/key --pin SHA256")]
    Agent(AgentArgs),
    /// Run the honeypots alone and send what they see to a hub
    Sensor(AgentArgs),
    /// The process of the honeypots; `up` and `sensor` start it
    #[command(hide = true)]
    Zone(ZoneArgs),
    /// The process that fetches what honeypot shells ask for; `up` and `sensor` start it
    #[command(hide = true)]
    Fetch,
    /// Replay a small recorded set of attacks into a hub, marked as demo data
    #[command(after_help = "\
Examples:
  palisade demo                        one event a second for a minute
  palisade demo --rate 20 --count 2000")]
    Demo(DemoArgs),
    /// Ask the hub for events
    #[command(after_help = "\
Examples:
  palisade query 'country:CN password:admin* since:7d'
  palisade query --count 'kind:http.requested since:24h'
  palisade query --top user,password 'since:7d'
  palisade query --format json 'ip:198.51.100.0/24' | jq .request")]
    Query(QueryArgs),
    /// Write all events of a query to a file, newest first
    #[command(after_help = "\
Without a bound on their number. A file is complete or not there: until the end it is FILE.part,
and --resume goes on with one that broke off. docs/STORE.md describes the formats.

Examples:
  palisade export --output all.ndjson
  palisade export 'country:CN since:30d' --format csv --output cn.csv
  palisade export 'month:2026-11' --output november.parquet --resume
  palisade export 'kind:auth.attempted' --output - | zstd > logins.ndjson.zst")]
    Export(ExportArgs),
    /// Bring events of an export back, from NDJSON (also .gz, .zst), CSV or Parquet
    #[command(after_help = "\
Each event counts once, however often it is imported. A second run goes on where the first ended.
Bad rows are named and left out; then the exit code is 1.

`palisade import logs` reads logs of honeypots and sshd: docs/LOGS.md.

Examples:
  palisade import all.ndjson
  palisade import november.parquet cn.csv
  zstdcat logins.ndjson.zst | palisade import -
  palisade import events.ndjson --hub https://hub.example:8443 --key-file key --as-sensor")]
    Import(ImportArgs),
    /// Look for attacks in logs that are there: who, how often, break-ins, what would be banned
    #[command(after_help = "\
Folders are searched for files; packed ones (.gz, .xz, .zst, .bz2) are unpacked. docs/DETECT.md
describes scenarios and the report.

Examples:
  palisade scan /var/log/auth.log
  palisade scan /var/log --format html > report.html
  palisade scan auth.log access.log --format json | jq '.attackers[0]'
  journalctl -o short -u ssh | palisade scan - --parser sshd")]
    Scan(Box<crate::commands::scan::ScanArgs>),
    /// Say what becomes of a line: parser, scenarios and their counts, allowlist, decision
    #[command(after_help = "\
Examples:
  palisade explain 'Nov 20 10:00:00 web-1 sshd[7]: Failed password for root from 192.0.2.1 port 5 ssh2'
  tail /var/log/auth.log | palisade explain --all")]
    Explain(Box<crate::commands::explain::ExplainArgs>),
    /// Audit the security settings of this machine, or of one whose files are in a folder
    #[command(after_help = "\
It only reads. What cannot be seen is not judged, never passed; docs/AUDIT.md says how the score is made.
Exit codes: 0 done, 1 failed, 2 wrong usage, 3 below --fail-below or --fail-on.

Examples:
  palisade audit
  palisade audit --format html --output report.html
  palisade audit --root /srv/image --fail-on high
  palisade audit --explain ssh-root-login")]
    Audit(Box<crate::commands::audit::AuditArgs>),
    /// Look at our rules in this machine's firewall, or take them out
    #[command(
        subcommand,
        after_help = "\
Examples:
  palisade enforce list --config palisade.toml
  palisade enforce flush --config palisade.toml"
    )]
    Enforce(crate::commands::enforce::EnforceCommand),
    /// Try a fail2ban filter or expression on a log, as fail2ban-regex does
    #[command(after_help = "\
With --ndjson, --config names fail2ban's folder. docs/FAIL2BAN.md says what is read and what differs.

Examples:
  palisade fail2ban-regex /var/log/auth.log sshd
  palisade fail2ban-regex /var/log/auth.log 'sshd[mode=aggressive]' --print-all-matched
  palisade fail2ban-regex 'Nov 20 10:00:00 x: failed from 192.0.2.1' 'failed from <HOST>$'
  journalctl -o short -u ssh | palisade fail2ban-regex - sshd --out ip
  palisade fail2ban-regex --ndjson --config /etc/fail2ban < questions.ndjson")]
    Fail2banRegex(Box<crate::commands::fail2ban::RegexArgs>),
    /// Ban an address or a network on all machines
    #[command(after_help = "\
Examples:
  palisade ban 198.51.100.7
  palisade ban 198.51.100.0/24 --for 7d --reason 'scans us' --note 'ticket 42'
  palisade ban 2001:db8::7 --hub https://hub.example:8443 --key-file admin.key")]
    Ban(crate::commands::bans::BanArgs),
    /// Lift what was decided about an address or a network, on all machines
    #[command(after_help = "\
Also what an agent that was away delivers later.

Examples:
  palisade unban 198.51.100.7
  palisade unban 198.51.100.0/24 --reason 'our own scanner'")]
    Unban(crate::commands::bans::UnbanArgs),
    /// List who is banned, by whom and why
    #[command(after_help = "\
Examples:
  palisade bans
  palisade bans 198.51.100.7 --all
  palisade bans --format json | jq '.decisions[].target'")]
    Bans(crate::commands::bans::BansArgs),
    /// Spare an address or a network on all machines, and lift its bans
    #[command(after_help = "\
Examples:
  palisade allow 192.0.2.0/24 --reason office
  palisade allow 198.51.100.7 --for 8h --reason 'pen test'
  palisade allow --list
  palisade allow --remove 192.0.2.0/24")]
    Allow(crate::commands::bans::AllowArgs),
    /// Knock at a machine that has banned you, or make a link that lets somebody in once
    #[command(after_help = "\
Examples:
  palisade knock secret /etc/palisade/knock.secret
  palisade knock web-1.example --secret-file knock.secret
  palisade knock web-1.example --ports 7102,18820,9431
  palisade knock link --for 1h --allow 8h --note 'hotel of Anna'")]
    Knock(crate::commands::knock::KnockArgs),
    /// Write who is banned as a list for firewalls, web servers and threat platforms; share it
    #[command(
        subcommand,
        after_help = "\
A link needs no key: whoever has it gets the list until it ends or is revoked. docs/BLOCKLISTS.md
says how each consumer takes it.

Examples:
  palisade blocklist show nft | nft -f -
  palisade blocklist show csv 'country:CN analyzer:ssh-*' > bans.csv
  palisade blocklist share pfsense --for 365d --note 'firewall of the office'
  palisade blocklist links
  palisade blocklist revoke 4f0c2a9be1d35a77"
    )]
    Blocklist(crate::commands::blocklist::BlocklistCommand),
    /// Look after the files of the event store: count, check, repair, back up, move
    #[command(
        subcommand,
        after_help = "\
Examples:
  palisade store stats
  palisade store check && echo sound
  palisade store repair
  palisade store backup --to /backup/palisade
  palisade store move --to clickhouse --config palisade.toml"
    )]
    Store(StoreCommand),
    /// Add, list and remove accounts
    #[command(subcommand)]
    User(UserCommand),
    /// Add, list and remove API keys
    #[command(subcommand)]
    Key(KeyCommand),
    /// Look after the database of accounts, keys and sensors
    #[command(subcommand)]
    State(crate::commands::state::StateCommand),
    /// List the sensors that have delivered events
    #[command(subcommand)]
    Sensors(SensorsCommand),
    /// List what attackers did, session by session, and replay what they saw
    #[command(
        subcommand,
        after_help = "\
docs/SESSIONS.md says what is recorded.

Examples:
  palisade session list --q 'kind:session.recorded since:24h'
  palisade session show 4f0c2a9be1d35a77c0de
  palisade session play 4f0c2a9be1d35a77c0de --speed 4
  palisade session export 4f0c2a9be1d35a77c0de attack.cast"
    )]
    Session(crate::commands::session::SessionCommand),
    /// Write, test and list plug-ins: honeypot services in Luau
    #[command(
        subcommand,
        after_help = "\
docs/PLUGINS.md begins with your first plug-in.

Examples:
  palisade plugin new mine
  palisade plugin test mine
  palisade plugin check mine
  palisade plugin list --format json"
    )]
    Plugin(crate::commands::plugin::PluginCommand),
    /// Check or show the settings
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Check this machine: what works, what does not, and what to do
    Doctor(DoctorArgs),
    /// Print a completion script for a shell
    #[command(after_help = "\
Example:
  palisade completions bash > /etc/bash_completion.d/palisade")]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

#[derive(Clone, Debug, Default, Args)]
pub(crate) struct UpArgs {
    #[command(flatten)]
    pub(crate) hub: HubArgs,
    /// Replay recorded attacks too, marked as demo data
    #[arg(long)]
    pub(crate) demo: bool,
}

#[derive(Clone, Debug, Default, Args)]
pub(crate) struct HubArgs {
    /// Serve the page and the API here [default: 127.0.0.1:8443]
    #[arg(long, value_name = "ADDR", env = "PALISADE_LISTEN")]
    pub(crate) listen: Option<SocketAddr>,
}

#[derive(Clone, Debug, Default, Args)]
pub(crate) struct AgentArgs {
    /// The hub's address, such as https://hub.example:8443
    #[arg(long, value_name = "URL", env = "PALISADE_HUB")]
    pub(crate) hub: Option<String>,
    /// A file with the API key (scope ingest)
    #[arg(long, value_name = "FILE", env = "PALISADE_KEY_FILE")]
    pub(crate) key_file: Option<PathBuf>,
    /// SHA-256 fingerprint of the hub's certificate, as the hub prints it at start
    #[arg(long, value_name = "HEX")]
    pub(crate) pin: Option<String>,
}

/// How a management command reaches the hub.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct ReachArgs {
    /// Talk to this hub instead of the one on this machine
    #[arg(long, value_name = "URL", env = "PALISADE_HUB", requires = "key_file")]
    pub(crate) hub: Option<String>,
    /// A file with an API key for it
    #[arg(long, value_name = "FILE", env = "PALISADE_KEY_FILE")]
    pub(crate) key_file: Option<PathBuf>,
    /// SHA-256 fingerprint of that hub's certificate
    #[arg(long, value_name = "HEX")]
    pub(crate) pin: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputFormat {
    /// Columns for people.
    #[default]
    Table,
    /// JSON for programs.
    Json,
}

#[derive(Clone, Debug, Default, Args)]
pub(crate) struct FormatArgs {
    /// How to print the answer
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: OutputFormat,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Try what honeypots are known by on those of the settings: what a detector would see
    #[arg(long)]
    pub(crate) honeypots: bool,
    #[command(flatten)]
    pub(crate) format: FormatArgs,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct DemoArgs {
    /// Events a second
    #[arg(long, default_value_t = 1.0, value_name = "N")]
    pub(crate) rate: f64,
    /// Stop after this many events
    #[arg(long, default_value_t = 60, value_name = "N")]
    pub(crate) count: u64,
    #[command(flatten)]
    pub(crate) reach: ReachArgs,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct QueryArgs {
    /// The query; empty means all events. docs/QUERY.md explains the syntax
    #[arg(default_value = "", allow_hyphen_values = true)]
    pub(crate) query: String,
    /// Print at most so many events
    #[arg(long, default_value_t = 50, value_name = "N")]
    pub(crate) limit: u32,
    /// Print only how many events match
    #[arg(long, conflicts_with = "top")]
    pub(crate) count: bool,
    /// Print the most frequent values of one or two fields, such as country or user,password
    #[arg(long, value_name = "FIELDS")]
    pub(crate) top: Option<String>,
    #[command(flatten)]
    pub(crate) reach: ReachArgs,
    #[command(flatten)]
    pub(crate) format: FormatArgs,
}

/// How rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum RowFormat {
    /// One JSON event a line.
    Ndjson,
    /// Comma-separated values with a header, for spreadsheets.
    Csv,
    /// Typed columns, packed with zstd.
    Parquet,
}

impl RowFormat {
    /// What the name of a file says; NDJSON where it says nothing.
    pub(crate) fn of_path(path: &std::path::Path) -> Self {
        match path.extension().and_then(|end| end.to_str()) {
            Some("parquet") => Self::Parquet,
            Some("csv") => Self::Csv,
            Some("gz" | "zst")
                if path.with_extension("").extension().is_some_and(|e| e == "csv") =>
            {
                Self::Csv
            }
            _ => Self::Ndjson,
        }
    }
}

impl std::fmt::Display for RowFormat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Ndjson => "ndjson",
            Self::Csv => "csv",
            Self::Parquet => "parquet",
        })
    }
}

/// Whether a long command says how far it is.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct QuietArgs {
    /// Show no progress
    #[arg(long)]
    pub(crate) quiet: bool,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ExportArgs {
    /// The query; empty means all events. docs/QUERY.md explains the syntax
    #[arg(default_value = "", allow_hyphen_values = true)]
    pub(crate) query: String,
    /// How to write rows [default: by the name of the file, else ndjson]
    #[arg(long, value_enum)]
    pub(crate) format: Option<RowFormat>,
    /// The file to write, which must not be there yet, or - for standard output
    #[arg(long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// Go on with an export to this file that broke off
    #[arg(long)]
    pub(crate) resume: bool,
    #[command(flatten)]
    pub(crate) quiet: QuietArgs,
    #[command(flatten)]
    pub(crate) reach: ReachArgs,
}

#[derive(Clone, Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct ImportArgs {
    #[command(subcommand)]
    pub(crate) from: Option<ImportFrom>,
    /// Files to read, or - for standard input
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// What is in them [default: by their names, else ndjson]
    #[arg(long, value_enum)]
    pub(crate) format: Option<RowFormat>,
    /// Stop at the first bad row
    #[arg(long)]
    pub(crate) strict: bool,
    /// Deliver as the sensor of the key (scope ingest): sensor, domain and time of receipt are
    /// new. Without it events stay as they are, which needs the scope admin
    #[arg(long, requires = "key_file")]
    pub(crate) as_sensor: bool,
    /// Begin anew instead of after what an earlier run has done
    #[arg(long)]
    pub(crate) restart: bool,
    #[command(flatten)]
    pub(crate) quiet: QuietArgs,
    #[command(flatten)]
    pub(crate) reach: ReachArgs,
}

/// Lines of logs.
#[derive(Clone, Debug, Args)]
pub(crate) struct ImportLogsArgs {
    /// Files to read (also .gz, .zst), or - for standard input
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// What wrote them: a parser of docs/LOGS.md, such as sshd, cowrie, nginx or postfix
    #[arg(long, value_name = "NAME")]
    pub(crate) parser: String,
    /// The sensor of the events, where the hub is on this machine [default: this installation]
    #[arg(long, value_name = "NAME")]
    pub(crate) sensor: Option<palisade_event::SensorId>,
    /// Zone of times without one: UTC or an offset such as +01:00 [default: UTC]
    #[arg(long, value_name = "ZONE", allow_hyphen_values = true)]
    pub(crate) zone: Option<String>,
    #[command(flatten)]
    pub(crate) quiet: QuietArgs,
    #[command(flatten)]
    pub(crate) reach: ReachArgs,
}

/// What else than events can be imported.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum ImportFrom {
    /// Read logs of servers and honeypots; each line counts once, however often it is read
    #[command(after_help = "\
Examples:
  palisade import logs --parser cowrie /data/cowrie/log/cowrie.json
  zstdcat eve.json.zst | palisade import logs --parser suricata -
  palisade import logs --parser sshd --zone +01:00 /var/log/auth.log.1")]
    Logs(ImportLogsArgs),
    /// Say of each jail of a fail2ban configuration what is taken over and what is not, and why;
    /// changes nothing
    Fail2ban {
        /// The configuration folder
        #[arg(default_value = "/etc/fail2ban", value_name = "DIR")]
        folder: PathBuf,
        /// Show jails that are not enabled too
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        format: FormatArgs,
    },
    /// Make settings and scenarios of a StrongMonitor configuration; says what it takes over
    #[command(after_help = "\
Examples:
  palisade import strongmonitor config.json
  palisade import strongmonitor config.json --output /etc/palisade --within 1h")]
    Strongmonitor {
        /// Its config.json
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Write palisade.toml and scenarios/ into this folder; without it they are printed
        #[arg(long, value_name = "DIR")]
        output: Option<PathBuf>,
        /// Count within this span instead of for ever, where a rule has no window
        #[arg(long, value_name = "SPAN")]
        within: Option<palisade_rules::scenario::Span>,
    },
    /// Add the EWS users of a PEBA backend, from JSON lines or CSV; docs/EWS.md says how they look
    #[command(after_help = "\
Example:
  palisade import peba-users users.jsonl")]
    PebaUsers {
        /// The export, or - for standard input
        #[arg(value_name = "FILE")]
        file: PathBuf,
        #[command(flatten)]
        reach: ReachArgs,
    },
}

/// Where events live.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Engine {
    /// The files in the data directory.
    Embedded,
    /// The ClickHouse of the settings.
    Clickhouse,
}

#[derive(Debug, Subcommand)]
pub(crate) enum StoreCommand {
    /// Count what is there, by day, domain and kind
    Stats {
        #[command(flatten)]
        reach: ReachArgs,
        #[command(flatten)]
        format: FormatArgs,
    },
    /// Read every file and every event and say what is wrong; changes nothing
    Check {
        #[command(flatten)]
        quiet: QuietArgs,
        #[command(flatten)]
        format: FormatArgs,
    },
    /// Make damaged days whole from what can be read of them; needs a stopped hub
    Repair {
        #[command(flatten)]
        quiet: QuietArgs,
        #[command(flatten)]
        format: FormatArgs,
    },
    /// Copy all data into a new folder in DIR, also while the hub runs, and verify the copy
    Backup {
        /// Where backups are kept; each is a folder named by its time
        #[arg(long, value_name = "DIR")]
        to: PathBuf,
        #[command(flatten)]
        quiet: QuietArgs,
    },
    /// Bring all events into the other engine; needs a stopped hub
    Move {
        /// The engine that gets them
        #[arg(long, value_enum)]
        to: Engine,
        #[command(flatten)]
        quiet: QuietArgs,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum UserCommand {
    /// Add an account, or with --ews a user of the EWS dialect; the secret is read from standard
    /// input
    #[command(after_help = "\
Examples:
  printf %s 'correct horse battery' | palisade user add alice --role operator --password-stdin
  printf %s \"$TOKEN\" | palisade user add tpot-1 --ews --token-stdin
  printf %s \"$TOKEN\" | palisade user add reader --ews --token-stdin --read-only --community-only")]
    Add(AddUserArgs),
    /// Set a new password, read from standard input
    Password {
        /// The account
        name: String,
        /// Read the password from standard input
        #[arg(long, required = true)]
        password_stdin: bool,
        #[command(flatten)]
        reach: ReachArgs,
    },
    /// Change what an account may do; its sessions go on with the new role
    Role {
        /// The account; "admin" keeps its role
        name: String,
        /// What it may do: viewer sees, operator acts, admin manages
        #[arg(value_enum)]
        role: Role,
        #[command(flatten)]
        reach: ReachArgs,
    },
    /// List accounts and EWS users
    List {
        #[command(flatten)]
        reach: ReachArgs,
        #[command(flatten)]
        format: FormatArgs,
    },
    /// Remove an account and end its sessions, or remove an EWS user
    Remove {
        /// Its name
        name: String,
        /// Remove the EWS user where an account has the same name
        #[arg(long)]
        ews: bool,
        #[command(flatten)]
        reach: ReachArgs,
    },
}

#[derive(Clone, Debug, Args)]
pub(crate) struct AddUserArgs {
    /// Its name; of an EWS user also the name of the sensor
    pub(crate) name: String,
    /// What it may do: viewer sees, operator acts, admin manages
    #[arg(long, value_enum, required_unless_present = "ews", conflicts_with = "ews")]
    pub(crate) role: Option<Role>,
    /// Read the password from standard input
    #[arg(long, required_unless_present = "ews", conflicts_with = "ews")]
    pub(crate) password_stdin: bool,
    /// Add a user of the EWS dialect: honeypots that post with a name and a token
    #[arg(long, requires = "token_stdin")]
    pub(crate) ews: bool,
    /// Read the token from standard input
    #[arg(long, requires = "ews")]
    pub(crate) token_stdin: bool,
    /// It may ask, not deliver
    #[arg(long, requires = "ews")]
    pub(crate) read_only: bool,
    /// It sees the events of the community alone
    #[arg(long, requires = "ews")]
    pub(crate) community_only: bool,
    /// Domain of the events that it delivers
    #[arg(long, value_enum, default_value = "private", requires = "ews")]
    pub(crate) domain: KeyDomain,
    /// Whom to write to about it
    #[arg(long, value_name = "ADDRESS", requires = "ews")]
    pub(crate) email: Option<String>,
    #[command(flatten)]
    pub(crate) reach: ReachArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    Viewer,
    Operator,
    Admin,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scope {
    Ingest,
    Read,
    Decisions,
    Bouncer,
    Glimpse,
    Admin,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum KeyDomain {
    Private,
    Community,
}

impl KeyDomain {
    /// Its name in the API.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Private => "private",
            Self::Community => "community",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Ranges {
    /// Those up to 256 addresses address by address, larger ones not at all
    Expand,
    /// Nothing: addresses alone
    Withhold,
    /// Networks as they are
    Pass,
}

impl Ranges {
    /// Its name in the API.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Expand => "expand",
            Self::Withhold => "withhold",
            Self::Pass => "pass",
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Add an API key; it is printed once and never again
    #[command(after_help = "\
Example:
  palisade key add web-1 --scope ingest --format json > key.json
  palisade key add pfsense-1 --scope bouncer --ranges withhold")]
    Add {
        /// Its name; for scope ingest also the name of the sensor
        name: String,
        /// What it may do; may be given more than once
        #[arg(long, value_enum, required = true)]
        scope: Vec<Scope>,
        /// Which domain its events belong to, or it may read
        #[arg(long, value_enum, default_value = "private")]
        domain: KeyDomain,
        /// What bouncers with it are told of networks; without it that depends on
        /// what the bouncer calls itself
        #[arg(long, value_enum)]
        ranges: Option<Ranges>,
        #[command(flatten)]
        reach: ReachArgs,
        #[command(flatten)]
        format: FormatArgs,
    },
    /// List API keys, without their secrets
    List {
        #[command(flatten)]
        reach: ReachArgs,
        #[command(flatten)]
        format: FormatArgs,
    },
    /// Revoke an API key
    Remove {
        /// Its id, as `palisade key list` shows it
        id: String,
        #[command(flatten)]
        reach: ReachArgs,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum SensorsCommand {
    /// List sensors with their last sign of life
    List {
        #[command(flatten)]
        reach: ReachArgs,
        #[command(flatten)]
        format: FormatArgs,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Check the settings and list every mistake
    Check,
    /// Print the settings in force, secrets hidden
    Show,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::string_slice, reason = "tests fail by panic")]

    use clap::{CommandFactory as _, Parser as _};

    /// Words of a line, single quotes taken away, up to a pipe.
    fn words(line: &str) -> Vec<String> {
        let mut words = vec![String::new()];
        let mut quoted = false;
        for c in line.chars() {
            match c {
                '\'' => quoted = !quoted,
                ' ' if !quoted => words.push(String::new()),
                c => words.last_mut().unwrap().push(c),
            }
        }
        words.retain(|word| !word.is_empty());
        let end = words.iter().position(|word| ["|", "&&", ">"].contains(&word.as_str()));
        words.truncate(end.unwrap_or(words.len()));
        words
    }

    #[test]
    fn examples_of_the_documentation_can_be_typed() {
        let pages = [
            include_str!("../../../docs/STORE.md"),
            include_str!("../../../docs/LOGS.md"),
            include_str!("../../../docs/FEEDS.md"),
            include_str!("../../../docs/DETECT.md"),
            include_str!("../../../docs/BANS.md"),
        ];
        let mut help = Vec::new();
        let command = super::Cli::command();
        for name in [
            "export", "import", "scan", "explain", "store", "ban", "unban", "bans", "allow",
            "plugin",
        ] {
            let found = command.get_subcommands().find(|command| command.get_name() == name);
            help.push(found.unwrap().get_after_help().unwrap().to_string());
        }
        let lines =
            pages.iter().flat_map(|page| page.lines()).filter(|line| line.starts_with("    "));
        let lines = lines.chain(help.iter().flat_map(|text| text.lines()));
        let mut examples = 0;
        for line in lines.filter(|line| line.starts_with(' ')) {
            let Some(at) = line.find("palisade ").filter(|at| !line[..*at].contains('/')) else {
                continue;
            };
            let words = words(&line[at..]);
            let parsed = super::Cli::try_parse_from(&words);
            assert!(parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
            examples += 1;
        }
        assert!(examples > 20, "{examples}");
    }

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
