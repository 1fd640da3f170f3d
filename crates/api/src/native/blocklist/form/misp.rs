//! A MISP feed: a manifest that names one event, and that event with an
//! attribute for each ban. MISP fetches the event again when the manifest has a
//! later time.

use palisade_event::Timestamp;
use palisade_hub::Banned;
use serde::Serialize;
use serde_json::json;

use super::uuid::uuid;
use super::{Frame, one_line};

#[derive(Serialize)]
struct Attribute<'a> {
    uuid: String,
    r#type: &'static str,
    category: &'static str,
    value: String,
    to_ids: bool,
    disable_correlation: bool,
    timestamp: String,
    first_seen: Timestamp,
    comment: &'a str,
}

/// The event of the bans that a query matches.
pub(in super::super) fn event_uuid(query: &str) -> String {
    uuid(&format!("event\n{query}"))
}

fn seconds(at: Timestamp) -> String {
    at.as_millis().div_euclid(1000).to_string()
}

/// What the manifest and the event say alike.
fn head(query: &str, changed_at: Timestamp) -> serde_json::Value {
    let info = match query.trim() {
        "" => "Palisade: banned addresses".to_owned(),
        query => format!("Palisade: banned addresses ({})", one_line(query)),
    };
    let date: String = changed_at.to_string().chars().take(10).collect();
    json!({
        "info": info,
        "date": date,
        "timestamp": seconds(changed_at),
        "analysis": "2",
        "threat_level_id": "3",
        "Orgc": {"name": "Palisade", "uuid": uuid("organisation")},
        "Tag": [],
    })
}

/// `manifest.json`.
pub(in super::super) fn manifest(query: &str, changed_at: Timestamp) -> Vec<u8> {
    let manifest = json!({ event_uuid(query): head(query, changed_at) });
    // Plain data always serializes.
    serde_json::to_vec(&manifest).unwrap_or_default()
}

/// `UUID.json`.
pub(super) fn event<'b>(
    out: &mut Vec<u8>,
    bans: impl Iterator<Item = &'b Banned>,
    frame: &Frame<'_>,
) {
    let id = event_uuid(frame.query);
    let mut event = head(frame.query, frame.changed_at);
    if let Some(fields) = event.as_object_mut() {
        fields.insert("uuid".to_owned(), json!(id));
        fields.insert("published".to_owned(), json!(true));
        fields.insert("publish_timestamp".to_owned(), json!(seconds(frame.changed_at)));
        fields.insert("distribution".to_owned(), json!("0"));
    }
    // The object is left open for its last field, which may be long.
    let mut text = event.to_string();
    text.pop();
    out.extend(format!("{{\"Event\":{text},\"Attribute\":[").bytes());
    for (place, ban) in bans.enumerate() {
        out.extend(if place == 0 { &b"\n"[..] } else { b",\n" });
        let comment = one_line(&format!("{}: {}", ban.scenario, ban.reason));
        let attribute = Attribute {
            // The same ban in two feeds is two attributes.
            uuid: uuid(&format!("attribute\n{id}\n{}", ban.id)),
            r#type: "ip-src",
            category: "Network activity",
            value: ban.target.to_string(),
            to_ids: true,
            disable_correlation: false,
            timestamp: seconds(ban.from),
            first_seen: ban.from,
            comment: comment.trim_end_matches([':', ' ']),
        };
        let _ = serde_json::to_writer(&mut *out, &attribute);
    }
    out.extend(b"\n]}}\n");
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::Format;
    use super::super::tests::{ban, frame};
    use super::*;

    #[test]
    fn the_manifest_names_the_event_and_the_event_has_the_bans() {
        let frame = frame();
        let bans = [ban(1, "192.0.2.1", 60, "scan"), ban(2, "2001:db8::/48", 60, "")];
        let event: Value =
            serde_json::from_slice(&Format::Misp.write(bans.iter(), &frame)).unwrap();
        let event = &event["Event"];
        let manifest: Value =
            serde_json::from_slice(&manifest(frame.query, frame.changed_at)).unwrap();
        let named = &manifest[event["uuid"].as_str().unwrap()];
        for field in ["info", "date", "timestamp", "analysis", "threat_level_id", "Orgc"] {
            assert_eq!(named[field], event[field], "{field}");
        }
        let attributes = event["Attribute"].as_array().unwrap();
        assert_eq!(attributes.len(), 2);
        assert_eq!(attributes[0]["value"], "192.0.2.1");
        assert_eq!(attributes[0]["comment"], "ssh-bruteforce: scan");
        assert_eq!(attributes[1]["comment"], "ssh-bruteforce");
        assert_eq!(attributes[1]["value"], "2001:db8::/48");
        assert_ne!(attributes[0]["uuid"], attributes[1]["uuid"]);
    }
}
