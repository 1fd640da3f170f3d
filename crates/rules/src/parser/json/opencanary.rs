//! OpenCanary: one JSON object a line; `logtype` says by number which service
//! saw what, `logdata` has the rest. Times are UTC.

use palisade_event::{Credentials, EventKind, Fingerprints, Outcome, Transport};
use serde_json::{Map, Value};

use super::fields::{Fields, brief, keep};
use super::{Line, category, kept, object};
use crate::parser::{Observation, Parsed};

/// The type of attack, as honeypot networks call it.
const CATEGORY: &str = "Network(opencanary)";

/// Parses a line.
pub(crate) fn parse(line: &[u8]) -> Parsed {
    match object(line) {
        Line::Object(object) => event(&object).unwrap_or(Parsed::Unparsed),
        Line::Empty => Parsed::Irrelevant,
        Line::Other => Parsed::Unparsed,
    }
}

fn event(object: &Map<String, Value>) -> Option<Parsed> {
    let fields = Fields(object);
    let code = fields.number("logtype")?;
    // Its own start, stop, settings and pings.
    if (1000..2000).contains(&code) {
        return Some(Parsed::Irrelevant);
    }
    let at = fields.time("utc_time").or_else(|| fields.time("local_time"))?;
    let empty = Map::new();
    let data = fields.object("logdata").unwrap_or(Fields(&empty));
    let has_login = data.0.contains_key("USERNAME") || data.0.contains_key("PASSWORD");
    let kind = match code {
        _ if has_login => EventKind::AuthAttempted,
        3000..=3003 => EventKind::HttpRequested,
        4000 | 6002 | 9003 | 18001 | 18002 => EventKind::ConnectionOpened,
        4001 => EventKind::ClientIdentified,
        5001..=5005 => EventKind::ConnectionProbed,
        17001 => EventKind::CommandEntered,
        _ => EventKind::DataReceived,
    };
    // TFTP, NTP, SNMP and LLMNR are UDP; SIP is mostly.
    let transport = match code {
        10001 | 11001 | 13001 | 15001 | 19001 => Transport::Udp,
        _ => Transport::Tcp,
    };
    let mut seen = Observation::new(kind, at);
    seen.category = category(CATEGORY);
    seen.host = fields.host("node_id");
    seen.source = fields.endpoint("src_host", "src_port", Some(transport));
    seen.target = fields.endpoint("dst_host", "dst_port", Some(transport));
    seen.note("logtype", code);
    let mut used = vec!["USERNAME", "PASSWORD"];
    if has_login {
        seen.credentials = Some(Credentials {
            username: data.any_text("USERNAME"),
            password: data.any_text("PASSWORD"),
            outcome: Some(Outcome::Failed),
        });
    }
    if let Some(path) = data.text("PATH").filter(|_| (3000..4000).contains(&code)) {
        used.push("PATH");
        let method = match code {
            3001 => "POST",
            _ => data.text("REQUEST_TYPE").unwrap_or("GET"),
        };
        seen.request = Some(kept(format!("{method} {path}").as_bytes()).0);
    }
    if let Some(command) = data.text("CMD") {
        used.extend(["CMD", "ARGS"]);
        let line = format!("{command} {}", data.text("ARGS").unwrap_or_default());
        seen.request = Some(kept(line.trim_end().as_bytes()).0);
    }
    if let Some(version) = data.text("REMOTEVERSION") {
        used.push("REMOTEVERSION");
        seen.client = Some(brief(version));
    }
    if let Some(agent) = data.text("USERAGENT") {
        used.push("USERAGENT");
        let user_agent = Some(brief(agent));
        seen.fingerprints = Some(Box::new(Fingerprints { user_agent, ..Fingerprints::default() }));
    }
    keep(data.0, &used, &mut seen.attributes);
    Some(Parsed::Observation(Box::new(seen)))
}
