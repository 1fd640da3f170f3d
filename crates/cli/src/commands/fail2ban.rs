//! `palisade fail2ban-regex` and `palisade import fail2ban`: fail2ban's
//! configuration tried on lines, and what of it can be taken over.

use std::fs;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::ToSocketAddrs as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use jiff::tz::TimeZone;
use palisade_rules::fail2ban::{
    Backend, Detail, ExamineOptions, Examiner, Files, FilterDefinition, Jail, MAX_LINE_BYTES,
    MAX_REQUEST_BYTES, Now, Prober, Show, Takeover, Tries, UseDns, jails, offset_minutes,
};
use serde_json::json;

use crate::args::{FormatArgs, OutputFormat};
use crate::out;

/// Where fail2ban's configuration is unless something else is said.
const DEFAULT_FOLDER: &str = "/etc/fail2ban";

/// Tries a filter on lines, as fail2ban's own tool does.
#[derive(Clone, Debug, Args)]
pub(crate) struct RegexArgs {
    /// A log file, one line as text, or - for standard input
    #[arg(required_unless_present = "ndjson", value_name = "LOG")]
    log: Option<String>,
    /// A failregex, the name of a filter with or without options (sshd[mode=aggressive]), or a
    /// filter file
    #[arg(required_unless_present = "ndjson", value_name = "REGEX")]
    regex: Option<String>,
    /// An ignoreregex
    #[arg(value_name = "IGNOREREGEX")]
    ignoreregex: Option<String>,
    /// Answer questions from standard input instead: {"filter": …, "options": {…}, "line": …} each
    /// on a line; answers are {"match", "host", "time_epoch", "attrs"} in the same order
    #[arg(long, conflicts_with_all = ["log", "regex", "ignoreregex"])]
    ndjson: bool,
    /// fail2ban's configuration folder, as --config [default: /etc/fail2ban]
    #[arg(short = 'c', value_name = "DIR")]
    folder: Option<PathBuf>,
    /// Take times of this form only
    #[arg(short, long, value_name = "PATTERN")]
    datepattern: Option<String>,
    /// The zone of times that name none, such as UTC+0200
    #[arg(long, visible_alias = "TZ", value_name = "ZONE")]
    timezone: Option<String>,
    /// Take this as the present, in seconds since 1970
    #[arg(long, value_name = "SECONDS")]
    now: Option<f64>,
    /// Take names of hosts as they are
    #[arg(short, long)]
    raw: bool,
    /// What to do with names of hosts: yes and warn resolve them, no does not match them
    #[arg(long, value_enum)]
    usedns: Option<Names>,
    /// Look at so many lines together
    #[arg(short = 'L', long, value_name = "LINES")]
    maxlines: Option<u32>,
    /// Stop at the first expression that matches a line, as a running jail does
    #[arg(long)]
    no_check_all: bool,
    /// Print only this of each failure: id, ip, msg, row, a tag's name, or a text with <tags>
    #[arg(short, long, value_name = "FORM")]
    out: Option<String>,
    /// Show expressions without hits and the addresses found too
    #[arg(short, long)]
    verbose: bool,
    /// Show no missed lines
    #[arg(long, conflicts_with = "print_all_missed")]
    print_no_missed: bool,
    /// Show no ignored lines
    #[arg(long, conflicts_with = "print_all_ignored")]
    print_no_ignored: bool,
    /// Show all matched lines
    #[arg(long)]
    print_all_matched: bool,
    /// Show all missed lines, however many
    #[arg(long)]
    print_all_missed: bool,
    /// Show all ignored lines, however many
    #[arg(long)]
    print_all_ignored: bool,
}

/// What is done with names of hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Names {
    Yes,
    Warn,
    No,
    Raw,
}

/// Tries a filter on a log, a line or questions.
///
/// # Errors
/// The configuration, the filter or the log cannot be read.
pub(crate) fn regex(args: &RegexArgs, config: Option<&Path>) -> anyhow::Result<ExitCode> {
    // PALISADE_CONFIG may name our own settings, which are a file.
    let folder = args
        .folder
        .clone()
        .or_else(|| config.filter(|path| path.is_dir()).map(Path::to_owned))
        .unwrap_or_else(|| DEFAULT_FOLDER.into());
    if args.ndjson {
        return questions(args, read_folder(&folder)?);
    }
    let (Some(log), Some(regex)) = (&args.log, &args.regex) else { bail!("nothing to look at") };
    let quiet = args.out.is_some();
    let say = |text: &str| {
        if !quiet {
            out::line(text);
        }
    };
    say("\nRunning tests\n=============\n");
    let now = now(args);
    let mut definition = definition(&folder, regex, &say)?;
    if let Some(ignore) = &args.ignoreregex {
        say(&format!("Use ignoreregex line : {}", short(ignore)));
        definition.ignoreregex = vec![ignore.clone()];
    }
    if let Some(lines) = args.maxlines {
        definition.maxlines = Some(lines.to_string());
    }
    if let Some(lines) = &definition.maxlines {
        say(&format!("Use         maxlines : {lines}"));
    }
    if let Some(pattern) = &args.datepattern {
        definition.datepattern = Some(pattern.clone());
        say(&format!("Use      datepattern : {}", short(pattern)));
    }
    let resolve = matches!(args.usedns, Some(Names::Yes | Names::Warn)) && !args.raw;
    let mut examiner = Examiner::new(definition, options(args), &now).map_err(|problems| {
        let list: Vec<String> = problems.iter().map(ToString::to_string).collect();
        anyhow::anyhow!("{}", list.join("\n"))
    })?;
    if resolve {
        examiner.resolve_with(resolved);
    }
    if let Some(zone) = &args.timezone {
        let minutes = offset_minutes(zone).with_context(|| format!("unknown zone {zone}"))?;
        examiner.set_offset(minutes);
    }
    let mut each = |line: &str| {
        for text in examiner.line(line, &now) {
            out::line(&text);
        }
    };
    let path = Path::new(log);
    if log == "-" {
        say("Use   standard input\n");
        lines(io::stdin().lock(), &mut each)?;
    } else if log.starts_with("systemd-journal") {
        bail!(
            "the journal is not read here: journalctl -o short … | palisade fail2ban-regex - FILTER"
        );
    } else if path.is_file() {
        say(&format!("Use         log file : {log}\nUse         encoding : UTF-8\n"));
        let file = fs::File::open(path).with_context(|| format!("reading {log}"))?;
        lines(file, &mut each)?;
    } else {
        say(&format!("Use      single line : {}\n", short(&log.replace('\n', "\\n"))));
        log.split('\n').for_each(&mut each);
    }
    say(examiner.report(&now).trim_end_matches('\n'));
    say("");
    Ok(ExitCode::SUCCESS)
}

fn options(args: &RegexArgs) -> ExamineOptions {
    let show = |none: bool, all: bool| match (none, all) {
        (true, _) => Show::None,
        (_, true) => Show::All,
        _ => Show::Few,
    };
    ExamineOptions {
        tries: if args.no_check_all { Tries::First } else { Tries::All },
        use_dns: match args.usedns {
            _ if args.raw => UseDns::Raw,
            None | Some(Names::Warn) => UseDns::Warn,
            Some(Names::Yes) => UseDns::Yes,
            Some(Names::No) => UseDns::No,
            Some(Names::Raw) => UseDns::Raw,
        },
        detail: if args.verbose { Detail::Everything } else { Detail::Hits },
        matched: show(!args.print_all_matched, args.print_all_matched),
        missed: show(args.print_no_missed, args.print_all_missed),
        ignored: show(args.print_no_ignored, args.print_all_ignored),
        out: args.out.clone(),
    }
}

/// Whether a name has an address; asked for only with `--usedns`.
fn resolved(name: &str) -> Option<std::net::IpAddr> {
    (name, 0).to_socket_addrs().ok()?.map(|address| address.ip()).next()
}

/// The filter that `REGEX` names, or one of that expression alone.
fn definition(folder: &Path, regex: &str, say: &dyn Fn(&str)) -> anyhow::Result<FilterDefinition> {
    let name = regex.split('[').next().unwrap_or_default();
    let like_a_name = !name.is_empty()
        && name.chars().all(|c| c.is_alphanumeric() || matches!(c, '/' | '_' | '-' | '.'))
        && (name.len() == regex.len() || regex.trim_end().ends_with(']'));
    if like_a_name && let Some(found) = find_filter(folder, name) {
        let options = regex.get(name.len()..).unwrap_or_default();
        let (base, call, kind) = match &found {
            Found::Known { base, name } => {
                (base.clone(), format!("{name}{options}"), "filter file")
            }
            Found::Foreign { base, file } => (base.clone(), format!("{file}{options}"), "file"),
        };
        say(&format!(
            "Use   failregex {kind} : {}, basedir: {}",
            call.split('[').next().unwrap_or_default(),
            base.display()
        ));
        if !options.is_empty() {
            say(&format!("Use   filter options : {options}"));
        }
        let files = read_folder(&base)?;
        let read = match found {
            Found::Known { .. } => FilterDefinition::read(&files, &call, Backend::File),
            Found::Foreign { file, .. } => {
                FilterDefinition::read_file(&files, &file, options, Backend::File)
            }
        };
        let definition = read.map_err(|problem| anyhow::anyhow!("{problem}"))?;
        for problem in &definition.problems {
            say(&format!("Note: {problem}"));
        }
        return Ok(definition);
    }
    say(&format!("Use   failregex line : {}", short(regex)));
    Ok(FilterDefinition {
        name: "REGEX".into(),
        failregex: vec![regex.to_owned()],
        ..FilterDefinition::default()
    })
}

enum Found {
    /// `filter.d/NAME.conf` of a configuration folder.
    Known { base: PathBuf, name: String },
    /// A file anywhere.
    Foreign { base: PathBuf, file: String },
}

fn find_filter(folder: &Path, name: &str) -> Option<Found> {
    let tail: String = name.chars().rev().take(6).collect();
    let endings: &[&str] = if tail.contains('.') { &[""] } else { &["", ".conf", ".local"] };
    let in_filters = folder.file_name().is_some_and(|own| own == "filter.d");
    for ending in endings {
        let file = format!("{name}{ending}");
        let path = match (name.contains('/'), in_filters) {
            (true, _) => PathBuf::from(&file),
            (false, true) => folder.join(&file),
            (false, false) => folder.join("filter.d").join(&file),
        };
        if !path.is_file() {
            continue;
        }
        let parent = path.parent().map_or_else(PathBuf::new, Path::to_owned);
        let stem = path.file_stem()?.to_string_lossy().into_owned();
        let standard = parent.file_name().is_some_and(|own| own == "filter.d");
        return Some(if standard {
            let base = parent.parent().filter(|base| !base.as_os_str().is_empty());
            Found::Known { base: base.map_or_else(|| ".".into(), Path::to_owned), name: stem }
        } else {
            let base = if parent.as_os_str().is_empty() { ".".into() } else { parent };
            Found::Foreign { base, file: path.file_name()?.to_string_lossy().into_owned() }
        });
    }
    None
}

fn read_folder(folder: &Path) -> anyhow::Result<Files> {
    palisade_agent::read_fail2ban(folder).map_err(|reason| anyhow::anyhow!("{reason}"))
}

/// Calls `each` for every line; of longer ones only the part that a filter
/// looks at is kept in memory.
fn lines(source: impl io::Read, each: &mut dyn FnMut(&str)) -> anyhow::Result<()> {
    let mut source = BufReader::with_capacity(256 * 1024, source);
    let mut line = Vec::new();
    loop {
        line.clear();
        let limit = MAX_LINE_BYTES as u64 + 2;
        if source.by_ref().take(limit).read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        if !line.ends_with(b"\n") && line.len() as u64 == limit {
            skip_line(&mut source)?;
        }
        each(&String::from_utf8_lossy(&line));
    }
}

/// Reads on behind the next line break.
fn skip_line(source: &mut impl io::BufRead) -> io::Result<()> {
    loop {
        let held = source.fill_buf()?;
        let (end, used) = match held.iter().position(|byte| *byte == b'\n') {
            Some(at) => (true, at + 1),
            None => (held.is_empty(), held.len()),
        };
        source.consume(used);
        if end {
            return Ok(());
        }
    }
}

fn questions(args: &RegexArgs, files: Files) -> anyhow::Result<ExitCode> {
    let mut prober = Prober::new(files);
    let mut source = BufReader::new(io::stdin().lock());
    let mut answers = io::stdout().lock();
    let mut line = Vec::new();
    let mut present = now(args);
    loop {
        line.clear();
        let limit = MAX_REQUEST_BYTES as u64 + 2;
        if source.by_ref().take(limit).read_until(b'\n', &mut line)? == 0 {
            return Ok(ExitCode::SUCCESS);
        }
        if !line.ends_with(b"\n") && line.len() as u64 == limit {
            skip_line(&mut source)?;
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        if args.now.is_none() {
            present.epoch = clock();
        }
        let answer = prober.answer(&String::from_utf8_lossy(&line), &present);
        let written = writeln!(answers, "{answer}").and_then(|()| answers.flush());
        if written.is_err() {
            return Ok(ExitCode::SUCCESS);
        }
    }
}

fn clock() -> f64 {
    jiff::Timestamp::now().as_millisecond() as f64 / 1000.0
}

fn now(args: &RegexArgs) -> Now {
    Now { epoch: args.now.unwrap_or_else(clock), zone: zone() }
}

/// The local zone: `TZ` where it is set, else the system's.
fn zone() -> TimeZone {
    let Some(name) = std::env::var("TZ").ok().filter(|name| !name.is_empty()) else {
        return TimeZone::system();
    };
    let name = name.trim_start_matches(':');
    let path = if name.starts_with('/') {
        PathBuf::from(name)
    } else {
        Path::new("/usr/share/zoneinfo").join(name)
    };
    fs::read(path)
        .ok()
        .and_then(|bytes| TimeZone::tzif(name, &bytes).ok())
        .or_else(|| TimeZone::posix(name).ok())
        .unwrap_or_else(TimeZone::system)
}

fn short(text: &str) -> String {
    if text.chars().count() <= 53 {
        return text.to_owned();
    }
    let head: String = text.chars().take(50).collect();
    format!("{head}...")
}

/// Says of each jail what can be taken over from a fail2ban configuration.
///
/// # Errors
/// The folder cannot be read or has no `jail.conf`. The exit code is 1 where an
/// enabled jail has errors.
pub(crate) fn import(folder: &Path, all: bool, format: &FormatArgs) -> anyhow::Result<ExitCode> {
    let files = read_folder(folder)?;
    let (mut jails, problems) = jails(&files).map_err(|problem| anyhow::anyhow!("{problem}"))?;
    if !all {
        jails.retain(|jail| jail.enabled);
    }
    let present = Now { epoch: clock(), zone: zone() };
    for jail in &mut jails {
        jail.try_filter(&present);
    }
    match format.format {
        OutputFormat::Json => out::json(&json!({
            "problems": problems.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "jails": jails.iter().map(described).collect::<Vec<_>>(),
        })),
        OutputFormat::Table => {
            for problem in &problems {
                out::line(&problem.to_string());
            }
            if jails.is_empty() {
                out::line("no jail is enabled; --all shows the others");
            }
            for jail in &jails {
                told(jail);
            }
        }
    }
    let broken = jails.iter().any(|jail| jail.enabled && !jail.errors.is_empty());
    Ok(if broken { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn sources(jail: &Jail) -> Vec<String> {
    if jail.logs.is_empty() && jail.backend.starts_with("systemd") {
        let matches = jail.filter.as_ref().map(|filter| filter.journalmatch.as_slice());
        return matches
            .unwrap_or_default()
            .iter()
            .map(|list| format!("journal {}", list.join(" ")))
            .collect();
    }
    jail.logs.iter().map(|log| log.path.clone()).collect()
}

fn duration(secs: f64) -> String {
    if secs < 0.0 { "for ever".into() } else { format!("{secs} s") }
}

fn told(jail: &Jail) {
    let state = match (jail.enabled, jail.errors.is_empty()) {
        (_, false) => "not taken over",
        (true, true) => "enabled",
        (false, true) => "disabled",
    };
    out::line(&format!("[{}] {state}, {}", jail.name, jail.place));
    if let Some(filter) = &jail.filter {
        out::line(&format!(
            "  filter {}: {} failregex, {} ignoreregex",
            filter.name,
            filter.failregex.len(),
            filter.ignoreregex.len()
        ));
    }
    for source in sources(jail) {
        out::line(&format!("  reads {source}"));
    }
    out::line(&format!(
        "  bans at {} failures in {} s, {}{}",
        jail.max_retry,
        jail.find_secs,
        duration(jail.ban_time.secs),
        if jail.ban_time.increment.is_some() { ", longer each time" } else { "" }
    ));
    for action in &jail.actions {
        let how = match action.takeover {
            Takeover::Firewall => "the firewall that is set in our settings does it",
            Takeover::Commands => "its commands can be run as argument lists",
            Takeover::Partly => "in part, see below",
        };
        out::line(&format!("  action {}: {how}", action.name));
    }
    for problem in &jail.problems {
        out::line(&format!("  note {problem}"));
    }
    for error in &jail.errors {
        out::line(&format!("  error {error}"));
    }
}

fn described(jail: &Jail) -> serde_json::Value {
    json!({
        "name": jail.name,
        "enabled": jail.enabled,
        "taken_over": jail.errors.is_empty(),
        "place": jail.place.to_string(),
        "filter": jail.filter.as_ref().map(|filter| filter.name.clone()),
        "sources": sources(jail),
        "max_retry": jail.max_retry,
        "find_secs": jail.find_secs,
        "ban_secs": (jail.ban_time.secs >= 0.0).then_some(jail.ban_time.secs),
        "ban_grows": jail.ban_time.increment.is_some(),
        "ignore": jail.ignore.nets.iter().map(ToString::to_string)
            .chain(jail.ignore.names.iter().cloned()).collect::<Vec<_>>(),
        "actions": jail.actions.iter().map(|action| json!({
            "name": action.name,
            "taken_over": match action.takeover {
                Takeover::Firewall => "firewall",
                Takeover::Commands => "commands",
                Takeover::Partly => "partly",
            },
        })).collect::<Vec<_>>(),
        "notes": jail.problems.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "errors": jail.errors.iter().map(ToString::to_string).collect::<Vec<_>>(),
    })
}
