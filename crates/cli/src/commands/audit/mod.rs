//! `palisade audit`: are the security settings of a machine as they should be? It
//! needs no hub and changes nothing.

mod html;
mod text;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use palisade_agent::audit::{Catalogue, Check, Machine, Report, Severity, Verdict, audit};
use palisade_event::Untrusted;
use serde_json::{Value, json};

use crate::args::QuietArgs;
use crate::out;
use crate::progress::{Progress, Show};

/// What the program ends with where the machine is not as good as was asked for:
/// neither "it failed" (1) nor "wrong usage" (2).
const BELOW: u8 = 3;

#[derive(Clone, Debug, Args)]
pub(crate) struct AuditArgs {
    /// Audit the machine whose files are in this folder; nothing of it is executed
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// How to write the report
    #[arg(long, value_enum, default_value_t)]
    format: Form,
    /// Write the report into this file
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Exit with 3 where the score is lower (0 to 100)
    #[arg(long, value_name = "SCORE", value_parser = clap::value_parser!(u32).range(0..=100))]
    fail_below: Option<u32>,
    /// Exit with 3 where a check of this severity, or a worse one, fails
    #[arg(long, value_enum, value_name = "SEVERITY")]
    fail_on: Option<Level>,
    /// Show what passes, what does not apply and what cannot be judged too
    #[arg(long)]
    all: bool,
    /// List the checks and audit nothing
    #[arg(long, conflicts_with_all = ["root", "output", "fail_below", "fail_on", "explain"])]
    list: bool,
    /// Explain a check: what it looks at, why, and how to mend it
    #[arg(long, value_name = "ID", conflicts_with_all = ["root", "output", "fail_below", "fail_on"])]
    explain: Option<String>,
    #[command(flatten)]
    quiet: QuietArgs,
}

/// How a report is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Form {
    /// For people at a terminal.
    #[default]
    Table,
    /// JSON for programs.
    Json,
    /// A page that stands alone.
    Html,
}

/// A severity, on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Level {
    Low,
    Medium,
    High,
    Critical,
}

impl From<Level> for Severity {
    fn from(level: Level) -> Self {
        match level {
            Level::Low => Self::Low,
            Level::Medium => Self::Medium,
            Level::High => Self::High,
            Level::Critical => Self::Critical,
        }
    }
}

/// Audits, or tells of the checks.
///
/// # Errors
/// The folder cannot be looked into, there is no such check, or the report cannot be
/// written.
pub(crate) fn run(args: &AuditArgs) -> anyhow::Result<ExitCode> {
    let catalogue = Catalogue::shipped().map_err(|mistake| anyhow::anyhow!("{mistake}"))?;
    if args.list {
        list(&catalogue, args.format)?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(id) = &args.explain {
        explain(&catalogue, id, args.format)?;
        return Ok(ExitCode::SUCCESS);
    }
    let machine = match &args.root {
        None => Machine::here(),
        Some(path) => {
            Machine::folder(path).with_context(|| format!("cannot look into {}", path.display()))?
        }
    };
    let total = catalogue.checks().len() as u64;
    let bar = Progress::new(Show::from(&args.quiet), Some(total), "checks");
    let report = audit(&machine, &catalogue, SystemTime::now().into(), |done, check| {
        bar.on(check.area);
        bar.at(done as u64);
    });
    bar.end();
    let to_terminal = args.output.is_none() && std::io::IsTerminal::is_terminal(&std::io::stdout());
    let text = match args.format {
        Form::Table => text::table(&report, args.all, to_terminal && colours()),
        Form::Json => serde_json::to_string_pretty(&to_json(&report))?,
        Form::Html => html::page(&report),
    };
    match &args.output {
        None => out::line(text.trim_end()),
        Some(path) => write(path, &text)?,
    }
    Ok(match is_below(&report, args) {
        Some(why) => {
            eprintln!("palisade: {why}");
            ExitCode::from(BELOW)
        }
        None => ExitCode::SUCCESS,
    })
}

/// Whether colours are wanted (no-color.org).
fn colours() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Why the machine is not as good as was asked for, if it is not.
fn is_below(report: &Report, args: &AuditArgs) -> Option<String> {
    if let (Some(bound), Some(score)) = (args.fail_below, report.score())
        && score < bound
    {
        return Some(format!("the score is {score}, below {bound}"));
    }
    if args.fail_below.is_some() && report.score().is_none() {
        return Some("nothing could be judged, so there is no score".to_owned());
    }
    let bound = Severity::from(args.fail_on?);
    let failed = report.failures().into_iter().filter(|one| one.check.severity >= bound).count();
    (failed > 0).then(|| format!("{failed} checks of severity {} or worse fail", bound.as_str()))
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let failed = || format!("cannot write {}", path.display());
    let mut file = std::fs::File::create(path).with_context(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).with_context(failed)
}

fn about(check: &Check) -> Value {
    json!({
        "id": check.id,
        "title": check.title,
        "area": check.area,
        "severity": check.severity,
        "why": check.why,
        "fix": check.fix,
        "references": check.references,
        "systems": check.systems,
    })
}

fn list(catalogue: &Catalogue, format: Form) -> anyhow::Result<()> {
    match format {
        Form::Json => {
            let checks: Vec<Value> = catalogue.checks().iter().map(about).collect();
            out::json(&json!({ "version": Catalogue::VERSION, "checks": checks }));
        }
        Form::Table => {
            let row = |check: &Check| {
                let severity = check.severity.as_str().to_owned();
                vec![check.area.to_owned(), severity, check.id.clone(), check.title.clone()]
            };
            let rows = catalogue.checks().iter().map(row).collect();
            out::table(&["area", "severity", "check", "what should be so"], rows, "");
        }
        Form::Html => bail!("--list is written as table or json"),
    }
    Ok(())
}

fn explain(catalogue: &Catalogue, id: &str, format: Form) -> anyhow::Result<()> {
    let Some(check) = catalogue.get(id) else {
        let near = catalogue.checks().iter().map(|check| check.id.as_str());
        let near: Vec<&str> =
            near.filter(|own| own.contains(id) || id.contains(own)).take(5).collect();
        let hint = match near.is_empty() {
            true => "`palisade audit --list` names all".to_owned(),
            false => format!("did you mean {}?", near.join(", ")),
        };
        bail!("there is no check '{}'; {hint}", Untrusted::from(id));
    };
    if format == Form::Json {
        out::json(&about(check));
        return Ok(());
    }
    out::line(&format!("{} ({}, {})", check.id, check.area, check.severity.as_str()));
    out::line(&check.title);
    out::line("");
    out::line(&format!("why         {}", check.why));
    out::line(&format!("what to do  {}", check.fix));
    if !check.references.is_empty() {
        out::line(&format!("asked by    {}", check.references.join("; ")));
    }
    Ok(())
}

/// The report for programs; docs/AUDIT.md describes it.
fn to_json(report: &Report) -> Value {
    let findings = report.findings.iter().map(|finding| {
        let mut one = about(&finding.check);
        if let Some(fields) = one.as_object_mut() {
            fields.insert("verdict".into(), finding.verdict.as_str().into());
            fields.insert("evidence".into(), finding.verdict.evidence().into());
        }
        one
    });
    json!({
        "host": report.host,
        "system": report.system,
        "root": report.root,
        "running": report.running,
        "as_root": report.as_root,
        "at": report.at,
        "took_ms": u64::try_from(report.took.as_millis()).unwrap_or(u64::MAX),
        "catalogue": Catalogue::VERSION,
        "score": report.score(),
        "passed": report.passed(),
        "failed": report.failed(),
        "not_judged": report.not_judged(),
        "not_applicable": report.not_applicable(),
        "findings": findings.collect::<Vec<Value>>(),
    })
}

/// Text from files of the machine, for a terminal or a page.
fn shown(text: &str) -> String {
    Untrusted::from(text).to_string()
}

/// How much could be judged, in a sentence.
fn coverage(report: &Report) -> String {
    let judged = report.passed() + report.failed();
    let mut text = format!(
        "{judged} checks judged: {} pass, {} fail. {} cannot be judged, {} do not apply.",
        report.passed(),
        report.failed(),
        report.not_judged(),
        report.not_applicable()
    );
    if !report.running {
        text += " A folder was looked at: what only a running system knows is not judged.";
    } else if !report.as_root {
        text += " Run as root to see all.";
    }
    text
}

fn is_open(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Fail(_))
}
