//! Suricata: alerts of `eve.json`. Its other records (flows, protocol logs,
//! statistics) describe traffic and not attacks; they are irrelevant here.

use palisade_event::{EventKind, Fingerprints};
use serde_json::{Map, Value};

use super::fields::{Fields, brief, keep, transport};
use super::{Line, category, kept, object};
use crate::parser::{LineContext, Observation, Parsed};

/// The type of attack, as honeypot networks call it.
const CATEGORY: &str = "Network(suricata)";

/// Parses a line.
pub(crate) fn parse(line: &[u8], _cx: &LineContext) -> Parsed {
    match object(line) {
        Line::Object(object) => match Fields(&object).text("event_type") {
            Some("alert") => alert(&object).unwrap_or(Parsed::Unparsed),
            Some(_) => Parsed::Irrelevant,
            None => Parsed::Unparsed,
        },
        Line::Empty => Parsed::Irrelevant,
        Line::Other => Parsed::Unparsed,
    }
}

fn alert(object: &Map<String, Value>) -> Option<Parsed> {
    let fields = Fields(object);
    let alert = fields.object("alert")?;
    let mut seen = Observation::new(EventKind::ConnectionOpened, fields.time("timestamp")?);
    seen.category = category(CATEGORY);
    let transport = fields.text("proto").and_then(transport);
    seen.source = fields.endpoint("src_ip", "src_port", transport);
    seen.target = fields.endpoint("dest_ip", "dest_port", transport);
    seen.host = fields.host("host");
    let mut used = vec![
        "event_type",
        "timestamp",
        "proto",
        "src_ip",
        "src_port",
        "dest_ip",
        "dest_port",
        "host",
        "payload",
        "payload_printable",
        "packet",
        "packet_info",
        "http",
        "flow",
        "metadata",
    ];
    if let Some(http) = fields.object("http") {
        seen.kind = EventKind::HttpRequested;
        let method = http.text("http_method").unwrap_or("GET");
        let path = http.text("url").unwrap_or("/");
        seen.request = Some(kept(format!("{method} {path}").as_bytes()).0);
        let agent = http.text("http_user_agent").map(brief);
        seen.fingerprints = agent
            .map(|a| Box::new(Fingerprints { user_agent: Some(a), ..Fingerprints::default() }));
        if let Some(name) = http.text("hostname") {
            seen.note("http_hostname", brief(name));
        }
    } else if let Some(text) = fields.text("payload_printable") {
        seen.kind = EventKind::DataReceived;
        seen.request = Some(kept(text.as_bytes()).0);
    }
    if let Some(ssh) = fields.object("ssh").and_then(|ssh| ssh.object("client")) {
        used.push("ssh");
        let version = ssh.text("software_version").map(|name| format!("SSH-2.0-{name}"));
        seen.client = version.map(|name| brief(&name));
        if let Some(hassh) = ssh.object("hassh").and_then(|hassh| hassh.text("hash")) {
            let prints = seen.fingerprints.get_or_insert_default();
            prints.hassh = Some(hassh.chars().take(64).collect::<String>().into());
        }
    }
    seen.cve = cve(alert);
    keep(object, &used, &mut seen.attributes);
    Some(Parsed::Observation(Box::new(seen)))
}

/// The vulnerability of a rule: its metadata (`CVE_2021_44228`), else a number
/// in its text.
fn cve(alert: Fields<'_>) -> Option<Box<str>> {
    let listed = alert.object("metadata").map(|metadata| metadata.array("cve")).unwrap_or_default();
    let listed = listed.iter().filter_map(Value::as_str).find_map(number);
    listed.or_else(|| number(alert.text("signature")?))
}

/// The first `CVE-2021-44228` in a text, also with underscores.
fn number(text: &str) -> Option<Box<str>> {
    let upper = text.to_ascii_uppercase().replace('_', "-");
    let (_, rest) = upper.split_once("CVE-")?;
    let plain = |c: char| c.is_ascii_digit() || c == '-';
    let number: String = rest.chars().take_while(|c| plain(*c)).take(24).collect();
    let number = number.trim_end_matches('-');
    let (year, index) = number.split_once('-')?;
    (year.len() == 4 && index.len() >= 4).then(|| format!("CVE-{number}").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_a_vulnerability_is_found_in_every_form() {
        for (text, expected) in [
            ("CVE_2021_44228", Some("CVE-2021-44228")),
            (
                "ET EXPLOIT Apache log4j RCE Attempt (CVE-2021-44228) (Outbound)",
                Some("CVE-2021-44228"),
            ),
            ("possible cve-2019-0708 scan", Some("CVE-2019-0708")),
            ("CVE-", None),
            ("CVE-20", None),
            ("nothing", None),
        ] {
            assert_eq!(number(text).as_deref(), expected, "{text}");
        }
    }
}
