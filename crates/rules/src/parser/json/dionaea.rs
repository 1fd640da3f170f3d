//! Dionaea: `dionaea.json` of its `log_json` handler, one connection a line,
//! written when it ends. Credentials and FTP commands are lists of objects, or
//! (with `flat_data`) objects of lists.

use palisade_event::{Credentials, EventKind, Outcome};
use serde_json::{Map, Value};

use super::fields::{Fields, brief, keep, transport};
use super::{Line, category, kept, object};
use crate::parser::{Observation, Parsed};

/// The type of attack, as honeypot networks call it.
const CATEGORY: &str = "Network(Dionaea)";
/// Most logins of one connection that become events.
const MAX_LOGINS: usize = 256;
/// Most FTP commands of one connection that are kept.
const MAX_COMMANDS: usize = 256;

/// Parses a line.
pub(crate) fn parse(line: &[u8]) -> Parsed {
    match object(line) {
        Line::Object(object) => connection(&object).unwrap_or(Parsed::Unparsed),
        Line::Empty => Parsed::Irrelevant,
        Line::Other => Parsed::Unparsed,
    }
}

fn connection(object: &Map<String, Value>) -> Option<Parsed> {
    let fields = Fields(object);
    let about = fields.object("connection")?;
    if about.text("type") == Some("listen") {
        return Some(Parsed::Irrelevant);
    }
    let at = fields.time("timestamp")?;
    let transport = about.text("transport").and_then(transport);
    let new = |kind| {
        let mut seen = Observation::new(kind, at);
        seen.category = category(CATEGORY);
        seen.source = fields.endpoint("src_ip", "src_port", transport);
        seen.target = fields.endpoint("dst_ip", "dst_port", transport);
        seen
    };
    let mut opened = new(EventKind::ConnectionOpened);
    let commands: Vec<String> = rows(fields.object("ftp").and_then(|ftp| ftp.0.get("commands")))
        .into_iter()
        .take(MAX_COMMANDS)
        .map(|row| {
            let arguments = match row("arguments") {
                Some(Value::Array(list)) => {
                    list.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" ")
                }
                Some(Value::String(text)) => text.clone(),
                _ => String::new(),
            };
            let command = row("command").and_then(Value::as_str).unwrap_or_default().to_owned();
            format!("{command} {arguments}").trim_end().to_owned()
        })
        .collect();
    if !commands.is_empty() {
        opened.kind = EventKind::DataReceived;
        opened.request = Some(kept(commands.join("\n").as_bytes()).0);
    }
    if let Some(protocol) = about.text("protocol") {
        opened.note("protocol", brief(protocol));
    }
    if let Some(how) = about.text("type") {
        opened.note("type", brief(how));
    }
    let used = [
        "connection",
        "timestamp",
        "src_ip",
        "src_port",
        "dst_ip",
        "dst_port",
        "credentials",
        "ftp",
    ];
    keep(object, &used, &mut opened.attributes);
    let mut seen = vec![opened];
    for row in rows(object.get("credentials")).into_iter().take(MAX_LOGINS) {
        let text = |key| row(key).and_then(Value::as_str).map(brief);
        let (username, password) = (text("username"), text("password"));
        if username.is_none() && password.is_none() {
            continue;
        }
        let mut login = new(EventKind::AuthAttempted);
        // Dionaea does not say; its services let nobody in but on FTP, where
        // everybody is welcome.
        let outcome = (about.text("protocol") != Some("ftpd")).then_some(Outcome::Failed);
        login.credentials = Some(Credentials { username, password, outcome });
        if let Some(protocol) = about.text("protocol") {
            login.note("protocol", brief(protocol));
        }
        seen.push(login);
    }
    Some(Parsed::Several(seen))
}

/// A row's value by its key.
type Row<'a> = Box<dyn Fn(&str) -> Option<&'a Value> + 'a>;

/// The rows of a list of objects, or of an object of lists.
fn rows(value: Option<&Value>) -> Vec<Row<'_>> {
    match value {
        Some(Value::Array(list)) => list
            .iter()
            .filter_map(Value::as_object)
            .map(|object| -> Row<'_> { Box::new(move |key| object.get(key)) })
            .collect(),
        Some(Value::Object(columns)) => {
            let longest = columns.values().filter_map(Value::as_array).map(Vec::len).max();
            (0..longest.unwrap_or(0))
                .map(|at| -> Row<'_> { Box::new(move |key| columns.get(key)?.as_array()?.get(at)) })
                .collect()
        }
        _ => Vec::new(),
    }
}
