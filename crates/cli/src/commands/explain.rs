//! `palisade explain`: each step from a line to a decision.

use std::io::{self, BufRead as _, Read as _};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use palisade_agent::LogFormat;
use palisade_event::{Timestamp, Untrusted};
use palisade_rules::{Detector, Finding, LineContext, Sighting, Trace};
use serde_json::{Value, json};

use super::scan::{LineReader, detector, formats, zone};
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
    parser: Option<LogFormat>,
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
    let mut explainer = Explainer {
        detector: detector(settings)?,
        cx: LineContext {
            now: args.now.unwrap_or_else(|| std::time::SystemTime::now().into()),
            zone: zone(args.zone.as_deref())?,
        },
        parser: args.parser.clone(),
        all: args.all,
    };
    let mut show = |line: &[u8]| {
        let steps = explainer.line(line);
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

struct Explainer {
    detector: Detector,
    cx: LineContext,
    parser: Option<LogFormat>,
    all: bool,
}

impl Explainer {
    /// The steps of one line.
    fn line(&mut self, line: &[u8]) -> Value {
        let mut tried = Vec::new();
        let candidates: Vec<LogFormat> = match &self.parser {
            Some(format) => vec![format.clone()],
            None => formats().collect(),
        };
        let mut understood = None;
        for format in candidates {
            let mut sightings = Vec::new();
            let mut reader = LineReader::new(format.clone(), self.cx.clone());
            let detector = &mut self.detector;
            let all = self.all;
            let known = reader.look(line, |sighting| {
                sightings.push(explain(detector, sighting, all));
            });
            tried.push(format.to_string());
            if !sightings.is_empty() {
                return json!({
                    "line": Untrusted::from(line), "parser": format.to_string(),
                    "understood": true, "sightings": sightings,
                });
            }
            if known && understood.is_none() {
                understood = Some(format);
            }
        }
        json!({
            "line": Untrusted::from(line),
            "parser": understood.as_ref().map(ToString::to_string),
            "understood": understood.is_some(),
            "tried": tried,
            "sightings": [],
        })
    }
}

fn explain(detector: &mut Detector, sighting: &Sighting<'_>, all: bool) -> Value {
    let (traces, findings) = detector.explain(sighting);
    let name = |place: usize| {
        let scenario = detector.engine().scenarios().get(place);
        scenario.map_or_else(String::new, |scenario| scenario.name.to_string())
    };
    let scenarios = traces.iter().filter_map(|trace| {
        Some(match trace {
            Trace::Unmatched { scenario, unmet } if all => {
                json!({"scenario": name(*scenario), "matched": false, "unmet": unmet})
            }
            Trace::Unmatched { .. } => return None,
            Trace::NoGroup { scenario } => json!({
                "scenario": name(*scenario), "matched": true,
                "note": "there is nothing to count it by, such as an address",
            }),
            Trace::NoValue { scenario } => json!({
                "scenario": name(*scenario), "matched": true,
                "note": "it does not have the value that is told apart",
            }),
            Trace::Counted { scenario, count, of } => {
                json!({"scenario": name(*scenario), "matched": true, "count": count, "of": of})
            }
            Trace::Silent { scenario } => json!({
                "scenario": name(*scenario), "matched": true,
                "note": "not counted: its last alert is within the blackhole",
            }),
            Trace::Triggered { scenario, count } => {
                json!({"scenario": name(*scenario), "matched": true, "count": count, "alert": true})
            }
        })
    });
    let scenarios: Vec<Value> = scenarios.collect();
    let decided = |finding: &Finding| {
        json!({
            "scenario": name(finding.alert.scenario),
            "group": finding.alert.group.to_string(),
            "reason": finding.reason,
            "verdict": finding.verdict.text(),
        })
    };
    json!({
        "sighting": fields(sighting),
        "scenarios": scenarios,
        "alerts": findings.iter().map(decided).collect::<Vec<Value>>(),
    })
}

/// The fields of a sighting that are known.
fn fields(sighting: &Sighting<'_>) -> Value {
    let text = |bytes: Option<&[u8]>| bytes.map(Untrusted::from);
    let service = (!sighting.service.is_empty()).then_some(sighting.service);
    let mut fields = json!({
        "kind": sighting.kind,
        "at": sighting.at,
        "service": service,
        "host": text(sighting.host),
        "ip": sighting.source,
        "port": sighting.target_port,
        "user": text(sighting.user),
        "outcome": sighting.outcome,
        "request": text(sighting.request),
        "path": text(sighting.path()),
        "method": text(sighting.method),
        "status": sighting.status,
        "client": text(sighting.client),
        "reason": text(sighting.reason),
        "asn": sighting.asn,
        "repeat": (sighting.repeat > 1).then_some(sighting.repeat),
    });
    if let Some(map) = fields.as_object_mut() {
        map.retain(|_, value| !value.is_null());
    }
    fields
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
