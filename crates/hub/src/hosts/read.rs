//! What events tell of machines. A pure function: events in, updates out; nothing
//! here knows a clock or a database.
//!
//! A machine is known by the sensor of its events, which is that of the
//! credential: whatever it says of itself changes only what is said about it. Those
//! that share a credential (Glimpse's) are told apart by their address, below it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use palisade_event::{AttributeValue, Event, EventKind, SensorId, Timestamp};
use palisade_store::state::{Audit, Finding, FindingChange, HostSection, HostSource, HostUpdate};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

/// The attribute that says by which dialect an event came, and its values.
pub(crate) const VIA: &str = "via";
pub(crate) const GLIMPSE: &str = "glimpse";
/// The rule of the hub's own alert: it is about a machine, not from it.
pub(crate) const SILENT: &str = "silent";
/// The rule of the hub's alert about a clock.
pub(crate) const SKEW: &str = "skew";
/// Between a sensor and an address; no sensor's name has it.
pub(crate) const BELOW: char = '~';

/// Most parts of a section, sections of a machine and findings of an update.
const MAX_PARTS: i64 = 64;
const MAX_SECTIONS: usize = 64;
const MAX_FINDINGS: usize = 2_000;
const MAX_ALERTS: usize = 200;
/// Longest name of a section, check or alert, in bytes.
const MAX_NAME_BYTES: usize = 64;
/// Longest name of an alert, in bytes.
const MAX_ALERT_BYTES: usize = 256;
/// Longest text beside data, in bytes.
const MAX_TEXT_BYTES: usize = 8 * 1024;

/// Updates by machine.
pub(crate) type Updates = BTreeMap<String, HostUpdate>;

/// Whether an event tells of a machine.
pub(crate) fn tells(kind: EventKind) -> bool {
    matches!(
        kind,
        EventKind::HostReported
            | EventKind::HostSampled
            | EventKind::HostAlerted
            | EventKind::HostRecovered
            | EventKind::AuditCompleted
            | EventKind::FindingOpened
            | EventKind::FindingClosed
    )
}

/// The machine of an event: what it is known by, how it tells of itself, and its
/// address where it is known by that too.
pub(crate) fn identity(event: &Event) -> (String, HostSource, Option<IpAddr>) {
    let glimpse = text(event, VIA, MAX_NAME_BYTES).is_some_and(|via| via == GLIMPSE);
    match event.target.map(|end| end.address).filter(|_| glimpse) {
        Some(address) => {
            (below(&event.sensor, address), HostSource::Glimpse, Some(address.to_canonical()))
        }
        None => (event.sensor.to_string(), HostSource::Agent, None),
    }
}

/// What a machine is known by that shares its credential with others.
pub(crate) fn below(sensor: &SensorId, address: IpAddr) -> String {
    format!("{sensor}{BELOW}{}", address.to_canonical())
}

/// Adds what an event tells. What makes no sense is left out: it is in the event.
pub(crate) fn read(updates: &mut Updates, event: &Event) {
    if !tells(event.kind) {
        return;
    }
    let (id, source, address) = identity(event);
    let at = event.received_at.unwrap_or(event.observed_at);
    let update = updates
        .entry(id.clone())
        .or_insert_with(|| HostUpdate::new(id, event.sensor.clone(), source));
    update.address = address.or(update.address);
    if text(event, "rule", MAX_NAME_BYTES).is_none_or(|rule| rule != SILENT) {
        update.seen = update.seen.max(Some(at));
        if let Some(name) = &event.host {
            update.name = Some(name.to_string());
        }
    }
    match event.kind {
        EventKind::HostReported => {
            if let Some(part) = section(event, at) {
                if part.section == "system" {
                    update.os = os(&part.data).or(update.os.take());
                    update.address = update.address.or_else(|| first_address(&part.data));
                }
                add_section(update, part);
            }
        }
        EventKind::HostSampled => update.sample = Some((at, sample(event))),
        EventKind::HostAlerted | EventKind::HostRecovered => alert(update, event, at),
        EventKind::AuditCompleted => update.audit = audit(event, at).or(update.audit.take()),
        EventKind::FindingOpened => {
            if let Some(finding) = finding(event, at) {
                add_finding(update, FindingChange::Opened(finding));
            }
        }
        EventKind::FindingClosed => {
            if let Some(check) = text(event, "check", MAX_NAME_BYTES) {
                let reason = text(event, "reason", MAX_TEXT_BYTES);
                add_finding(update, FindingChange::Closed { check, at, reason });
            }
        }
        _ => {}
    }
}

/// About how many bytes an update takes.
pub(crate) fn bytes_of(event: &Event) -> usize {
    let texts = event.attributes.values().map(|value| match value {
        AttributeValue::Text(text) => text.len(),
        _ => 8,
    });
    texts.sum::<usize>() + 256
}

/// A text without NUL, which the database does not keep, cut to a length.
pub(crate) fn text(event: &Event, name: &str, most: usize) -> Option<String> {
    let Some(AttributeValue::Text(text)) = event.attributes.get(name) else { return None };
    let mut text: String = text.to_lossy().chars().filter(|c| *c != '\0').collect();
    if text.len() > most {
        let end = (0..=most).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
    }
    Some(text)
}

fn number(event: &Event, name: &str) -> Option<i64> {
    match event.attributes.get(name) {
        Some(AttributeValue::Integer(number)) => Some(*number),
        Some(AttributeValue::Real(number)) => Some(*number as i64),
        _ => None,
    }
}

/// A text that is a name in a database key and in addresses.
fn is_name(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b':');
    !text.is_empty() && text.len() <= MAX_NAME_BYTES && text.bytes().all(plain)
}

fn section(event: &Event, at: Timestamp) -> Option<HostSection> {
    let section = text(event, "section", MAX_NAME_BYTES).filter(|name| is_name(name))?;
    let data = text(event, "data", palisade_event::MAX_TEXT_BYTES)?;
    let _: &RawValue = serde_json::from_str(&data).ok()?;
    let parts = number(event, "parts").unwrap_or(1);
    let part = number(event, "part").unwrap_or(0);
    if !(1..=MAX_PARTS).contains(&parts) || !(0..parts).contains(&part) {
        return None;
    }
    let unseen = text(event, "unseen", MAX_TEXT_BYTES);
    Some(HostSection {
        section,
        snapshot: text(event, "snapshot", MAX_NAME_BYTES)
            .unwrap_or_else(|| at.as_millis().to_string()),
        part,
        parts,
        entries: number(event, "count").unwrap_or(0).max(0),
        left_out: number(event, "left_out").unwrap_or(0).max(0),
        unseen: unseen.filter(|list| serde_json::from_str::<Vec<String>>(list).is_ok()),
        data,
        at,
    })
}

fn add_section(update: &mut HostUpdate, part: HostSection) {
    let same = |known: &HostSection| known.section == part.section && known.part == part.part;
    let parts = &mut update.sections;
    parts.retain(|known| !same(known));
    let names = parts.iter().filter(|known| known.part == 0).count();
    if names < MAX_SECTIONS && parts.len() < MAX_SECTIONS * 16 {
        parts.push(part);
    }
}

/// The operating system in a few words.
pub(crate) fn os(system: &str) -> Option<String> {
    let system: Value = serde_json::from_str(system).ok()?;
    let word = |path: &str| system.pointer(path).and_then(Value::as_str);
    let name = word("/os/name").map(str::to_owned).or_else(|| {
        let (system, release) = (word("/specs/system")?, word("/specs/release"));
        Some(release.map_or_else(|| system.to_owned(), |release| format!("{system} {release}")))
    })?;
    let name: String = name.chars().filter(|c| !c.is_control()).take(128).collect();
    (!name.is_empty()).then_some(name)
}

/// The first address that a machine names as its own and others may reach.
fn first_address(system: &str) -> Option<IpAddr> {
    let system: Value = serde_json::from_str(system).ok()?;
    let addresses = system.get("addresses")?.as_array()?.iter().filter_map(Value::as_str);
    let mut addresses = addresses.take(64).filter_map(|text| text.parse::<IpAddr>().ok());
    let address = addresses.find(|address| !address.is_loopback() && !address.is_unspecified())?;
    Some(address.to_canonical())
}

/// Attributes as a JSON object; texts of machines are text.
fn object(event: &Event, without: &[&str]) -> Map<String, Value> {
    let wanted = event.attributes.iter().filter(|(name, _)| !without.contains(&&***name));
    wanted
        .map(|(name, value)| {
            let value = match value {
                AttributeValue::Text(_) => json!(text(event, name, MAX_TEXT_BYTES)),
                other => json!(other),
            };
            (name.to_string(), value)
        })
        .collect()
}

/// The numbers of a sample, a JSON object.
pub(super) fn sample(event: &Event) -> String {
    Value::Object(object(event, &[VIA])).to_string()
}

fn alert(update: &mut HostUpdate, event: &Event, at: Timestamp) {
    // One without a name has no end: it is in the log alone.
    // Its name may hold what it is about, such as a mount.
    let is_plain = |name: &String| !name.is_empty() && !name.chars().any(char::is_control);
    let Some(name) = text(event, "alert", MAX_ALERT_BYTES).filter(is_plain) else { return };
    update.alerts.retain(|(known, _)| *known != name);
    if update.alerts.len() >= MAX_ALERTS {
        return;
    }
    let begun = (event.kind == EventKind::HostAlerted).then(|| {
        let since = number(event, "since").map_or(at, Timestamp::from_millis);
        (since, Value::Object(object(event, &[VIA, "alert", "since"])).to_string())
    });
    update.alerts.push((name, begun));
}

fn audit(event: &Event, at: Timestamp) -> Option<Audit> {
    let most = palisade_event::MAX_TEXT_BYTES;
    let failed = text(event, "failed_checks", most)
        .and_then(|list| serde_json::from_str::<Vec<String>>(&list).ok());
    let unjudged = match text(event, "unjudged", most) {
        Some(object) => serde_json::from_str::<BTreeMap<String, String>>(&object).ok(),
        None => Some(BTreeMap::new()),
    };
    let open = failed.zip(unjudged).map(|(mut failed, unjudged)| {
        failed.extend(unjudged.into_keys());
        failed
    });
    let counts = object(event, &["failed_checks", "score"]);
    let score = number(event, "score")?.clamp(0, 100);
    Some(Audit { at, score, detail: Value::Object(counts).to_string(), open })
}

fn finding(event: &Event, at: Timestamp) -> Option<Finding> {
    let check = text(event, "check", MAX_NAME_BYTES).filter(|name| is_name(name))?;
    let word = |name: &str| text(event, name, 256);
    let title = word("title").unwrap_or_else(|| check.clone());
    let severity = word("severity").filter(|severity| SEVERITIES.contains(&severity.as_str()));
    Some(Finding {
        host: String::new(),
        title,
        severity: severity.unwrap_or_else(|| "medium".to_owned()),
        area: word("area").unwrap_or_default(),
        detail: Value::Object(object(event, &["check", "title", "severity", "area"])).to_string(),
        check,
        opened_at: at,
        closed_at: None,
        reason: None,
    })
}

/// How bad a finding may be, the worst last.
pub(crate) const SEVERITIES: [&str; 4] = ["low", "medium", "high", "critical"];

fn add_finding(update: &mut HostUpdate, change: FindingChange) {
    let name = |change: &FindingChange| match change {
        FindingChange::Opened(finding) => finding.check.clone(),
        FindingChange::Closed { check, .. } => check.clone(),
    };
    let check = name(&change);
    update.findings.retain(|known| name(known) != check);
    if update.findings.len() < MAX_FINDINGS {
        update.findings.push(change);
    }
}

#[cfg(test)]
mod tests {
    use palisade_event::{Endpoint, EventId, HostName};

    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(1_790_000_000_000 + millis)
    }

    fn event(sensor: &str, kind: EventKind, millis: i64) -> Event {
        let sensor = SensorId::new(sensor).unwrap();
        let id = EventId::new(at(millis), u128::from(millis.unsigned_abs()));
        let mut event = Event::new(id, kind, at(millis), sensor);
        event.received_at = Some(at(millis));
        event.host = HostName::new("web-1").ok();
        event
    }

    fn read_all(events: &[Event]) -> Updates {
        let mut updates = Updates::new();
        events.iter().for_each(|event| read(&mut updates, event));
        updates
    }

    #[test]
    fn two_machines_of_one_name_are_two_and_a_lie_about_it_changes_nobody_else() {
        let one = event("edge-1", EventKind::HostSampled, 1);
        let two = event("edge-2", EventKind::HostSampled, 2).with("host", "edge-1");
        let updates = read_all(&[one, two]);
        assert_eq!(updates.keys().collect::<Vec<_>>(), ["edge-1", "edge-2"]);
        assert_eq!(updates["edge-2"].name.as_deref(), Some("web-1"));
    }

    #[test]
    fn machines_that_share_a_credential_are_told_apart_by_address_below_it() {
        let mut pushed = event("glimpse", EventKind::HostSampled, 1).with(VIA, GLIMPSE);
        pushed.target = Some(Endpoint::address("::ffff:192.0.2.7".parse().unwrap()));
        // Without an address it can only be the one of the credential.
        let nowhere = event("glimpse", EventKind::HostSampled, 2).with(VIA, GLIMPSE);
        let updates = read_all(&[pushed, nowhere]);
        assert_eq!(updates.keys().collect::<Vec<_>>(), ["glimpse", "glimpse~192.0.2.7"]);
        assert_eq!(updates["glimpse~192.0.2.7"].source, HostSource::Glimpse);
    }

    #[test]
    fn a_section_needs_json_and_a_place_among_its_parts() {
        let report = |data: &str, part: i64, parts: i64| {
            event("a", EventKind::HostReported, 1)
                .with("section", "packages")
                .with("snapshot", "s1")
                .with("data", data)
                .with("part", part)
                .with("parts", parts)
        };
        let good = [report("[1]", 0, 2), report("[2]", 1, 2), report("[3]", 1, 2)];
        let parts = &read_all(&good)["a"].sections;
        let data: Vec<&str> = parts.iter().map(|part| part.data.as_str()).collect();
        assert_eq!(data, ["[1]", "[3]"]);
        for bad in [
            report("[1", 0, 1),
            report("[]", 1, 1),
            report("[]", -1, 1),
            report("[]", 0, 65),
            report("[]", 0, 0),
            report("[]", 0, 1).with("section", "a/b"),
        ] {
            assert!(read_all(&[bad])["a"].sections.is_empty());
        }
    }

    #[test]
    fn the_system_is_said_in_a_few_words() {
        assert_eq!(os(r#"{"os":{"name":"Debian 12"}}"#).as_deref(), Some("Debian 12"));
        let glimpse = r#"{"specs":{"system":"Linux","release":"6.1.0"}}"#;
        assert_eq!(os(glimpse).as_deref(), Some("Linux 6.1.0"));
        assert_eq!(os(r#"{"os":{"name":"\u0000\u001b"}}"#), None);
        assert_eq!(os("[]"), None);
    }

    #[test]
    fn an_alert_lasts_until_it_is_said_to_be_over_and_what_the_hub_says_is_no_sign_of_life() {
        let begun = |name: &str, millis| {
            event("a", EventKind::HostAlerted, millis).with("alert", name).with("rule", "disk")
        };
        let over = event("a", EventKind::HostRecovered, 3).with("alert", "disk:/");
        let silent = begun("silent", 9).with("rule", SILENT);
        let update = &read_all(&[begun("disk:/", 1), begun("load", 2), over, silent])["a"];
        let alerts: Vec<(&str, bool)> =
            update.alerts.iter().map(|(name, begun)| (name.as_str(), begun.is_some())).collect();
        assert_eq!(alerts, [("load", true), ("disk:/", false), ("silent", true)]);
        assert_eq!(update.seen, Some(at(3)));
    }

    #[test]
    fn an_audit_says_which_findings_may_be_open() {
        let done = event("a", EventKind::AuditCompleted, 1)
            .with("score", 400_i64)
            .with("failed_checks", r#"["x","y"]"#)
            .with("unjudged", r#"{"z":"no root"}"#);
        let audit = read_all(&[done])["a"].audit.clone().unwrap();
        assert_eq!(audit.score, 100);
        assert_eq!(audit.open, Some(vec!["x".to_owned(), "y".to_owned(), "z".to_owned()]));
        let vague = event("a", EventKind::AuditCompleted, 1).with("score", 7_i64);
        assert_eq!(read_all(&[vague])["a"].audit.clone().unwrap().open, None);
    }

    #[test]
    fn of_a_check_the_last_word_counts() {
        let opened = event("a", EventKind::FindingOpened, 1)
            .with("check", "ssh-root-login")
            .with("severity", "terrible")
            .with("evidence", "a\0b");
        let closed = event("a", EventKind::FindingClosed, 2).with("check", "ssh-root-login");
        let one = read_all(std::slice::from_ref(&opened));
        let FindingChange::Opened(finding) = &one["a"].findings[0] else { panic!("opened") };
        assert_eq!(
            (finding.severity.as_str(), finding.title.as_str()),
            ("medium", "ssh-root-login")
        );
        assert!(finding.detail.contains(r#""evidence":"ab""#), "{}", finding.detail);
        let both = read_all(&[opened, closed]);
        assert!(matches!(both["a"].findings[..], [FindingChange::Closed { .. }]));
    }
}
