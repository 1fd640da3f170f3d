//! `palisade session list|show|play|export`: what attackers did, session by
//! session, and replays of their terminals.

mod play;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use http::Method;
use palisade_event::Timestamp;
use serde_json::{Value, json};

use super::list;
use super::query::encoded;
use crate::args::{FormatArgs, OutputFormat, ReachArgs};
use crate::out::{self, shown};
use crate::reach::Reach;
use crate::settings::Settings;

/// Sessions of one request.
const PAGE: usize = 200;
/// Most requests for one list; a page may be empty and not the last.
const MAX_PAGES: usize = 10_000;
/// Events of one request, and most requests for one session.
const PAGE_EVENTS: usize = 1_000;
const MAX_EVENT_PAGES: usize = 100;
/// Columns of the list.
const HEADER: [&str; 11] = [
    "when",
    "session",
    "source",
    "country",
    "service",
    "length",
    "logins",
    "commands",
    "downloads",
    "files",
    "recorded",
];

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum SessionCommand {
    /// List sessions, the newest first
    List(ListArgs),
    /// Show what happened in a session
    Show(ShowArgs),
    /// Replay a session's terminal in this one; what could do harm to it is left out
    Play(play::PlayArgs),
    /// Write a session's recording to a file, as asciicast v2
    Export(ExportArgs),
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ListArgs {
    /// Only sessions with an event that matches, such as kind:session.recorded
    #[arg(long, value_name = "QUERY", default_value = "")]
    pub(crate) q: String,
    /// Most sessions
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub(crate) limit: usize,
    #[command(flatten)]
    pub(crate) reach: ReachArgs,
    #[command(flatten)]
    pub(crate) format: FormatArgs,
}

/// Which session.
#[derive(Clone, Debug, Args)]
pub(crate) struct Which {
    /// Its id, as `palisade session list` prints it
    pub(crate) id: String,
    /// The sensor that saw it; needed where two sensors gave the same id
    #[arg(long, value_name = "NAME")]
    pub(crate) sensor: Option<String>,
    #[command(flatten)]
    pub(crate) reach: ReachArgs,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ShowArgs {
    #[command(flatten)]
    pub(crate) which: Which,
    #[command(flatten)]
    pub(crate) format: FormatArgs,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    pub(crate) which: Which,
    /// The file, which must not be there yet; - is standard output
    pub(crate) file: PathBuf,
}

impl Which {
    fn path(&self, rest: &str, parameters: &[(&str, &str)]) -> String {
        let mut path = format!("/api/v1/sessions/{}{rest}", encoded(&self.id));
        let sensor = self.sensor.as_deref().map(|name| ("sensor", name));
        for (number, (name, value)) in parameters.iter().copied().chain(sensor).enumerate() {
            path.push(if number == 0 { '?' } else { '&' });
            path.push_str(&format!("{name}={}", encoded(value)));
        }
        path
    }

    /// Its recording.
    async fn recording(&self, hub: &Reach) -> anyhow::Result<String> {
        let bytes = hub.text(&self.path("/recording", &[])).await?;
        String::from_utf8(bytes.to_vec()).context("the hub sent something else than a recording")
    }
}

/// Runs the command.
///
/// # Errors
/// The hub cannot be reached or refuses, or there is no such session.
pub(crate) async fn run(settings: &Settings, command: SessionCommand) -> anyhow::Result<ExitCode> {
    let reach = match &command {
        SessionCommand::List(args) => &args.reach,
        SessionCommand::Show(args) => &args.which.reach,
        SessionCommand::Play(args) => &args.which.reach,
        SessionCommand::Export(args) => &args.which.reach,
    };
    let hub = Reach::find(settings, reach).await?;
    hub.settle().await;
    let done = match &command {
        SessionCommand::List(args) => print_list(&hub, args).await,
        SessionCommand::Show(args) => show(&hub, args).await,
        SessionCommand::Play(args) => play::play(&hub, args).await,
        SessionCommand::Export(args) => export(&hub, args).await,
    };
    hub.close().await;
    done?;
    Ok(ExitCode::SUCCESS)
}

async fn print_list(hub: &Reach, args: &ListArgs) -> anyhow::Result<()> {
    let mut sessions: Vec<Value> = Vec::new();
    let mut cursor = String::new();
    for _ in 0..MAX_PAGES {
        let left = args.limit.saturating_sub(sessions.len());
        if left == 0 {
            break;
        }
        let mut path = format!("/api/v1/sessions?limit={}&q={}", left.min(PAGE), encoded(&args.q));
        if !cursor.is_empty() {
            path.push_str(&format!("&cursor={}", encoded(&cursor)));
        }
        let page = hub.call(Method::GET, &path, None).await?;
        sessions.extend(list(&page, "sessions").iter().cloned());
        match page.get("next").and_then(Value::as_str) {
            Some(next) => next.clone_into(&mut cursor),
            None => break,
        }
    }
    match args.format.format {
        OutputFormat::Json => out::json(&json!({ "sessions": sessions })),
        OutputFormat::Table => {
            let rows = sessions.iter().map(row).collect();
            let empty =
                "no session has such an event; `palisade up` starts honeypots that make some";
            out::table(&HEADER, rows, empty);
        }
    }
    Ok(())
}

fn row(session: &Value) -> Vec<String> {
    let number = |name: &str| session.get(name).and_then(Value::as_u64).unwrap_or(0);
    let count = |name: &str| match number(name) {
        0 => "-".to_owned(),
        count => count.to_string(),
    };
    let logins = match (number("logins_accepted"), number("logins_failed")) {
        (0, 0) => "-".to_owned(),
        (0, failed) => format!("{failed} failed"),
        (_, failed) => {
            let user = session.get("user").filter(|user| !user.is_null());
            let user = user.map_or_else(|| "accepted".to_owned(), |user| shown(Some(user)));
            if failed == 0 { user } else { format!("{user} after {failed}") }
        }
    };
    let began = session.get("started_at").filter(|at| !at.is_null());
    vec![
        shown(began.or_else(|| session.get("last_at"))),
        shown(session.get("id")),
        shown(session.pointer("/source/address")),
        shown(session.pointer("/source_geo/country")),
        shown(session.get("category")),
        session.get("duration_ms").and_then(Value::as_u64).map_or_else(|| "-".to_owned(), span),
        logins,
        count("commands"),
        count("downloads"),
        count("payloads"),
        if session.get("recorded") == Some(&Value::Bool(true)) { "yes" } else { "-" }.to_owned(),
    ]
}

/// A span of time in milliseconds, as minutes and seconds.
fn span(millis: u64) -> String {
    match (millis / 60_000, millis % 60_000) {
        (0, rest) => format!("{}.{} s", rest / 1_000, rest % 1_000 / 100),
        (minutes, rest) => format!("{minutes}:{:02} min", rest / 1_000),
    }
}

async fn show(hub: &Reach, args: &ShowArgs) -> anyhow::Result<()> {
    let limit = PAGE_EVENTS.to_string();
    let path = args.which.path("", &[("limit", &limit)]);
    let answer = hub.call(Method::GET, &path, None).await?;
    let mut events = list(&answer, "events").to_vec();
    let mut next = answer.get("next").cloned().unwrap_or_default();
    for _ in 0..MAX_EVENT_PAGES {
        let Some(cursor) = next.as_str() else { break };
        let path = args.which.path("", &[("limit", &limit), ("cursor", cursor)]);
        let page = hub.call(Method::GET, &path, None).await?;
        events = [list(&page, "events"), &events].concat();
        next = page.get("next").cloned().unwrap_or_default();
    }
    if args.format.format == OutputFormat::Json {
        let of = |name: &str| answer.get(name).cloned().unwrap_or_default();
        let (session, recording) = (of("session"), of("recording"));
        out::json(&json!({
            "session": session, "recording": recording, "events": events, "next": next,
        }));
        return Ok(());
    }
    let session = answer.get("session").cloned().unwrap_or_default();
    for (name, value) in HEADER.iter().zip(row(&session)) {
        out::line(&format!("{name:<10} {value}"));
    }
    out::line(&format!("{:<10} {}", "sensor", shown(session.get("sensor"))));
    if let Some(recording) = answer.get("recording").filter(|recording| !recording.is_null()) {
        let length =
            recording.get("length_ms").and_then(Value::as_u64).map_or_else(String::new, span);
        let says = |name: &str, yes, no| match recording.get(name) {
            Some(Value::Bool(true)) => yes,
            _ => no,
        };
        let (open, cut) =
            (says("complete", "", ", not at its end"), says("truncated", ", cut", ""));
        out::line(&format!(
            "{:<10} {length}{open}{cut}; palisade session play {}",
            "replay", args.which.id
        ));
    }
    out::line("");
    let first = events.first().and_then(at).unwrap_or_default();
    let rows = events.iter().map(|event| event_row(event, first)).collect();
    out::table(&["after", "kind", "what"], rows, "no event");
    Ok(())
}

fn at(event: &Value) -> Option<i64> {
    let at: Timestamp = event.get("observed_at")?.as_str()?.parse().ok()?;
    Some(at.as_millis())
}

fn event_row(event: &Value, first: i64) -> Vec<String> {
    let millis = at(event).unwrap_or(first) - first;
    let user = event.pointer("/credentials/username");
    let what = match (event.get("request").or_else(|| event.get("payload_name")), user) {
        (Some(text), _) => shown(Some(text)),
        (None, Some(user)) => {
            let password = event.pointer("/credentials/password");
            let outcome = event.pointer("/credentials/outcome");
            format!("{} / {} {}", shown(Some(user)), shown(password), shown(outcome))
        }
        (None, None) => match event.pointer("/attributes/reason") {
            Some(reason) => shown(Some(reason)),
            None => event.get("client").map_or_else(String::new, |text| shown(Some(text))),
        },
    };
    vec![
        span(u64::try_from(millis).unwrap_or(0)),
        shown(event.get("kind")),
        what.chars().take(200).collect(),
    ]
}

async fn export(hub: &Reach, args: &ExportArgs) -> anyhow::Result<()> {
    let recording = args.which.recording(hub).await?;
    if args.file.as_os_str() == "-" {
        std::io::stdout().lock().write_all(recording.as_bytes())?;
        return Ok(());
    }
    let name = args.file.display();
    let file = std::fs::File::create_new(&args.file);
    let mut file = file.with_context(|| format!("cannot write {name}"))?;
    file.write_all(recording.as_bytes()).with_context(|| format!("cannot write {name}"))?;
    out::line(&format!("wrote {name}, {} bytes", recording.len()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_short() {
        assert_eq!(
            [0, 1_250, 59_999, 61_000, 754_000].map(span),
            ["0.0 s", "1.2 s", "59.9 s", "1:01 min", "12:34 min"]
        );
    }

    #[test]
    fn ids_and_sensors_are_escaped_in_the_address() {
        let which = Which {
            id: "a/../b?".to_owned(),
            sensor: Some("x&y".to_owned()),
            reach: ReachArgs::default(),
        };
        assert_eq!(
            which.path("/recording", &[]),
            "/api/v1/sessions/a%2F..%2Fb%3F/recording?sensor=x%26y"
        );
    }
}
