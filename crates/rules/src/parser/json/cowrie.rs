//! Cowrie: `cowrie.json`, one event a line, and the summary of a session that
//! its hpfeeds output publishes.
//!
//! One thing that happened is often written more than once; one line counts:
//!
//! | what happened | counts | irrelevant beside it |
//! |---|---|---|
//! | a client came, left | `session.connect`, `session.closed` | `log.closed` |
//! | a login | `login.success`, `login.failed` | |
//! | a typed line | `command.input` | `command.success`, `command.failed` |
//! | a file came | `session.file_download`, `session.file_upload` | `virustotal.*` |
//! | the client named itself | `client.version`, `client.kex`, `client.fingerprint` | `client.size`, `client.var`, `session.params` |
//! | the honeypot as a proxy | `direct-tcpip.request`, `direct-tcpip.data` | |

use palisade_event::{
    Credentials, EventKind, Fingerprints, Outcome, PayloadHash, Timestamp, Transport, Untrusted,
};
use serde_json::{Map, Value};

use super::fields::{Fields, brief, keep};
use super::{Line, category, kept, object};
use crate::parser::{Observation, Parsed};

/// The type of attack, as honeypot networks call it.
const CATEGORY: &str = "SSH/console(cowrie)";
/// Most logins and commands of a session's summary that become events.
const MAX_SUMMARY_EVENTS: usize = 256;

/// Fields that every event has and that have a place.
const COMMON: [&str; 9] = [
    "eventid",
    "timestamp",
    "src_ip",
    "src_port",
    "dst_ip",
    "dst_port",
    "session",
    "sensor",
    "message",
];

/// Parses a line.
pub(crate) fn parse(line: &[u8]) -> Parsed {
    let object = match object(line) {
        Line::Object(object) => object,
        Line::Empty => return Parsed::Irrelevant,
        Line::Other => return Parsed::Unparsed,
    };
    let fields = Fields(&object);
    match fields.text("eventid") {
        Some(id) => match id.strip_prefix("cowrie.") {
            Some(name) => event(name, &object).unwrap_or(Parsed::Unparsed),
            None => Parsed::Unparsed,
        },
        None if object.contains_key("peerIP") => summary(&object).unwrap_or(Parsed::Unparsed),
        None => Parsed::Unparsed,
    }
}

fn event(name: &str, object: &Map<String, Value>) -> Option<Parsed> {
    let fields = Fields(object);
    let kind = match name {
        "session.connect" => EventKind::ConnectionOpened,
        "session.closed" => EventKind::SessionClosed,
        "login.success" | "login.failed" => EventKind::AuthAttempted,
        "command.input" => EventKind::CommandEntered,
        "client.version" | "client.kex" | "client.fingerprint" => EventKind::ClientIdentified,
        "session.file_download" | "session.file_upload" => EventKind::PayloadCaptured,
        "session.file_download.failed" | "direct-tcpip.request" | "direct-tcpip.data" => {
            EventKind::DataReceived
        }
        _ => return Some(Parsed::Irrelevant),
    };
    let mut seen = Observation::new(kind, fields.time("timestamp")?);
    seen.category = category(CATEGORY);
    seen.host = fields.host("sensor");
    seen.source = fields.endpoint("src_ip", "src_port", Some(Transport::Tcp));
    seen.session = fields.session("session");
    let mut used = COMMON.to_vec();
    // Of a proxy request it is where the attacker wants to go.
    if name.starts_with("direct-tcpip") {
        used.retain(|field| !field.starts_with("dst_"));
    } else {
        seen.target = fields.endpoint("dst_ip", "dst_port", Some(Transport::Tcp));
    }
    match name {
        "login.success" | "login.failed" | "client.fingerprint" => {
            used.extend(["username", "password"]);
            let outcome = match name {
                "login.success" => Some(Outcome::Accepted),
                "login.failed" => Some(Outcome::Failed),
                _ => None,
            };
            let (username, password) = (fields.any_text("username"), fields.any_text("password"));
            seen.credentials = Some(Credentials { username, password, outcome });
        }
        "command.input" | "direct-tcpip.data" => {
            let key = if name == "command.input" { "input" } else { "data" };
            used.push(key);
            let (request, whole) = kept(fields.any_text(key).unwrap_or_default().as_bytes());
            seen.request = Some(request);
            if !whole {
                seen.note("truncated", true);
            }
        }
        "client.version" => {
            used.push("version");
            seen.client = Some(version(fields.text("version")?));
        }
        "client.kex" => {
            used.push("hassh");
            let hassh = fields.text("hassh").filter(|hassh| is_md5(hassh)).map(Into::into);
            seen.fingerprints = Some(Box::new(Fingerprints { hassh, ..Fingerprints::default() }));
        }
        "session.file_download" | "session.file_upload" => {
            used.extend(["shasum", "url"]);
            seen.payload = fields.text("shasum").and_then(|sum| sum.parse::<PayloadHash>().ok());
            seen.payload_name = fields.any_text("url").or_else(|| fields.any_text("filename"));
        }
        "session.closed" => {
            used.push("duration");
            let seconds = object.get("duration").and_then(|value| match value {
                Value::String(text) => text.parse().ok(),
                other => other.as_f64(),
            });
            if let Some(seconds) = seconds.filter(|seconds: &f64| (0.0..1e9).contains(seconds)) {
                seen.note("duration_ms", (seconds * 1000.0) as i64);
            }
        }
        _ => {}
    }
    if name.contains('.') && kind == EventKind::DataReceived {
        seen.note("eventid", name);
    }
    keep(object, &used, &mut seen.attributes);
    Some(Parsed::Observation(Box::new(seen)))
}

/// Cowrie writes the banner of old versions with Python's quotes around it.
fn version(text: &str) -> Untrusted {
    let text = text.strip_prefix("b'").and_then(|text| text.strip_suffix('\'')).unwrap_or(text);
    brief(text.trim_matches('"'))
}

fn is_md5(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// A whole session in one object: `peerIP`, `credentials` as pairs, `commands`.
fn summary(object: &Map<String, Value>) -> Option<Parsed> {
    let fields = Fields(object);
    let begun = fields.time("startTime")?;
    let new = |kind: EventKind, at: Timestamp| {
        let mut seen = Observation::new(kind, at);
        seen.category = category(CATEGORY);
        seen.source = fields.endpoint("peerIP", "peerPort", Some(Transport::Tcp));
        seen.target = fields.endpoint("hostIP", "hostPort", Some(Transport::Tcp));
        seen.session = fields.session("session");
        seen
    };
    let mut opened = new(EventKind::ConnectionOpened, begun);
    opened.client = fields.text("version").map(version);
    keep(
        object,
        &[
            "startTime",
            "peerIP",
            "peerPort",
            "hostIP",
            "hostPort",
            "session",
            "version",
            "credentials",
            "loggedin",
            "commands",
            "unknownCommands",
        ],
        &mut opened.attributes,
    );
    let mut seen = vec![opened];
    let accepted = pair(object.get("loggedin"));
    let failed = fields.array("credentials").iter().filter_map(|value| pair(Some(value)));
    let failed = failed.filter(|login| Some(login) != accepted.as_ref());
    let logins = failed.map(|login| (login, Outcome::Failed));
    let logins = logins.chain(accepted.clone().map(|login| (login, Outcome::Accepted)));
    for ((username, password), outcome) in logins.take(MAX_SUMMARY_EVENTS) {
        let mut login = new(EventKind::AuthAttempted, begun);
        login.credentials = Some(Credentials {
            username: Some(username),
            password: Some(password),
            outcome: Some(outcome),
        });
        seen.push(login);
    }
    let commands = fields.array("commands").iter().filter_map(Value::as_str);
    for command in commands.take(MAX_SUMMARY_EVENTS) {
        let mut typed = new(EventKind::CommandEntered, begun);
        typed.request = Some(kept(command.as_bytes()).0);
        seen.push(typed);
    }
    Some(Parsed::Several(seen))
}

/// A login name and a password.
fn pair(value: Option<&Value>) -> Option<(Untrusted, Untrusted)> {
    match value?.as_array()?.as_slice() {
        [Value::String(user), Value::String(password)] => Some((brief(user), brief(password))),
        _ => None,
    }
}
