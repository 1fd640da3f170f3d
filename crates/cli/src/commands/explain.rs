//! `palisade explain`: each step from a line to a decision, as the explainer of the rules
//! tells it.

use std::io::{self, BufRead as _, Read as _};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use palisade_agent::LogFormat;
use palisade_event::Timestamp;
use palisade_rules::{Explainer, LineContext, Shown};
use serde_json::Value;

use super::scan::{detector, zone};
use crate::args::{FormatArgs, OutputFormat};
use crate::out;
use crate::settings::Settings;

/// Longest line, in bytes.
const MAX_LINE_BYTES: u64 = 1024 * 1024;

/// Says what becomes of lines of a log.
#[derive(Clone, Debug, Args)]
pub(crate) struct ExplainArgs {
    /// The line; without it lines are read from standard input and counted together
    line: Option<String>,
    /// What wrote it [default: the first parser that understands it]
    #[arg(long, value_name = "NAME")]
    parser: Option<String>,
    /// Zone of times without one [default: the system's]
    #[arg(long, value_name = "ZONE", allow_hyphen_values = true)]
    zone: Option<String>,
    /// The present, for dates without a year [default: now]
    #[arg(long, value_name = "TIME")]
    now: Option<Timestamp>,
    /// Show scenarios that do not match too
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    format: FormatArgs,
}

/// Explains.
///
/// # Errors
/// The settings or scenarios are wrong, or standard input cannot be read.
pub(crate) fn run(settings: &Settings, args: &ExplainArgs) -> anyhow::Result<ExitCode> {
    let cx = LineContext {
        now: args.now.unwrap_or_else(|| std::time::SystemTime::now().into()),
        zone: zone(args.zone.as_deref())?,
    };
    let shown = if args.all { Shown::All } else { Shown::Matched };
    // Not while arguments are read: the settings name parsers too.
    let parser: Option<LogFormat> = args.parser.as_deref().map(str::parse).transpose()?;
    let mut explainer = Explainer::new(detector(settings)?, cx, parser, shown);
    let mut show = |line: &[u8]| {
        // Plain data always serializes.
        let steps = serde_json::to_value(explainer.line(line)).unwrap_or_default();
        match args.format.format {
            OutputFormat::Json => out::line(&steps.to_string()),
            OutputFormat::Table => print(&steps),
        }
    };
    if let Some(line) = &args.line {
        line.split('\n').for_each(|line| show(line.as_bytes()));
        return Ok(ExitCode::SUCCESS);
    }
    let mut input = io::stdin().lock();
    loop {
        let mut line = Vec::new();
        let read = input.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut line);
        if read.context("cannot read standard input")? == 0 {
            return Ok(ExitCode::SUCCESS);
        }
        let line = line.strip_suffix(b"\n").unwrap_or(&line);
        if !line.is_empty() {
            show(line);
        }
    }
}

/// The steps as text.
fn print(steps: &Value) {
    let list = |value: Option<&Value>| value.and_then(Value::as_array).cloned().unwrap_or_default();
    out::line(&format!("line       {}", out::shown(steps.get("line"))));
    match steps.get("parser").and_then(Value::as_str) {
        Some(parser) => out::line(&format!("parser     {parser}")),
        None => {
            let tried: Vec<String> =
                list(steps.get("tried")).iter().map(|name| out::shown(Some(name))).collect();
            out::line(&format!("parser     none understands it (tried {})", tried.join(", ")));
        }
    }
    let sightings = list(steps.get("sightings"));
    if sightings.is_empty() && steps.get("understood") == Some(&Value::Bool(true)) {
        out::line("sighting   none: the line says nothing that is counted");
    }
    for one in &sightings {
        let fields = one.get("sighting").and_then(Value::as_object).cloned().unwrap_or_default();
        let fields: Vec<String> = fields
            .iter()
            .map(|(name, value)| format!("{name}={}", out::shown(Some(value))))
            .collect();
        out::line(&format!("sighting   {}", fields.join("  ")));
        let scenarios = list(one.get("scenarios"));
        if scenarios.is_empty() {
            out::line("scenario   none looks at it (--all says why)");
        }
        for scenario in &scenarios {
            let text = |name: &str| out::shown(scenario.get(name));
            let says = match (scenario.get("unmet"), scenario.get("note"), scenario.get("alert")) {
                (Some(_), ..) => format!("does not match: {}", text("unmet")),
                (_, Some(_), _) => format!("matches; {}", text("note")),
                (.., Some(_)) => format!("matches and alerts at {}", text("count")),
                _ => format!("matches; {} of {}", text("count"), text("of")),
            };
            out::line(&format!("scenario   {}: {says}", text("scenario")));
        }
        for alert in list(one.get("alerts")) {
            let text = |name: &str| out::shown(alert.get(name));
            out::line(&format!(
                "alert      {} about {}: {}",
                text("scenario"),
                text("group"),
                text("reason")
            ));
            out::line(&format!("decision   {}", text("verdict")));
        }
    }
    out::line("");
}
