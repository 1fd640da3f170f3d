//! A STIX 2.1 bundle: an indicator for each ban, with a pattern and its time.

use palisade_event::{DecisionTarget, Timestamp};
use palisade_hub::Banned;
use serde::Serialize;

use super::uuid::uuid;
use super::{Frame, one_line};

/// When the identity object was written, as the standard wants it.
const WRITTEN: &str = "2026-11-01T00:00:00.000Z";

#[derive(Serialize)]
struct Identity {
    r#type: &'static str,
    spec_version: &'static str,
    id: String,
    created: &'static str,
    modified: &'static str,
    name: &'static str,
    identity_class: &'static str,
}

#[derive(Serialize)]
struct Indicator<'a> {
    r#type: &'static str,
    spec_version: &'static str,
    id: String,
    created_by_ref: &'a str,
    created: Timestamp,
    modified: Timestamp,
    name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    description: String,
    indicator_types: [&'static str; 1],
    pattern: String,
    pattern_type: &'static str,
    valid_from: Timestamp,
    valid_until: Timestamp,
    labels: [&'a str; 1],
}

/// Writes the bundle, an object a line.
pub(super) fn bundle<'b>(
    out: &mut Vec<u8>,
    bans: impl Iterator<Item = &'b Banned>,
    frame: &Frame<'_>,
) {
    let id = uuid(&format!("bundle\n{}\n{}", frame.query, frame.tag));
    out.extend(format!("{{\"type\":\"bundle\",\"id\":\"bundle--{id}\",\"objects\":[\n").bytes());
    let identity = Identity {
        r#type: "identity",
        spec_version: "2.1",
        id: format!("identity--{}", uuid("identity")),
        created: WRITTEN,
        modified: WRITTEN,
        name: "Palisade",
        identity_class: "system",
    };
    // Plain data always serializes.
    let _ = serde_json::to_writer(&mut *out, &identity);
    for ban in bans {
        out.extend(b",\n");
        let _ = serde_json::to_writer(&mut *out, &indicator(ban, &identity.id));
    }
    out.extend(b"\n]}\n");
}

fn indicator<'a>(ban: &'a Banned, author: &'a str) -> Indicator<'a> {
    Indicator {
        r#type: "indicator",
        spec_version: "2.1",
        id: format!("indicator--{}", uuid(&format!("indicator\n{}", ban.id))),
        created_by_ref: author,
        created: ban.from,
        modified: ban.from,
        name: ban.target.to_string(),
        description: one_line(&ban.reason),
        indicator_types: ["malicious-activity"],
        pattern: pattern(ban.target),
        pattern_type: "stix",
        valid_from: ban.from,
        valid_until: ban.until,
        labels: [&ban.scenario],
    }
}

/// An address or a network has no character that a pattern gives a meaning to.
fn pattern(target: DecisionTarget) -> String {
    let four = target.bounds().0.to_ipv4_mapped().is_some();
    let object = if four { "ipv4-addr" } else { "ipv6-addr" };
    match target {
        DecisionTarget::Ip(address) => format!("[{object}:value = '{address}']"),
        DecisionTarget::Range(range) => format!("[{object}:value ISSUBSET '{range}']"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::Format;
    use super::super::tests::{ban, frame};
    use super::*;

    #[test]
    fn an_indicator_is_as_the_standard_has_it_and_always_the_same() {
        let bans =
            [ban(1, "192.0.2.1", 60, "6 \"failed\" logins"), ban(2, "2001:db8::/48", 60, "")];
        let text = Format::Stix.write(bans.iter(), &frame());
        let bundle: Value = serde_json::from_slice(&text).unwrap();
        let objects = bundle["objects"].as_array().unwrap();
        assert_eq!(objects.len(), 3);
        assert_eq!(
            objects[1],
            json!({
                "type": "indicator",
                "spec_version": "2.1",
                "id": format!("indicator--{}", uuid(&format!("indicator\n{}", bans[0].id))),
                "created_by_ref": objects[0]["id"],
                "created": "2026-11-20T19:07:14.000Z",
                "modified": "2026-11-20T19:07:14.000Z",
                "name": "192.0.2.1",
                "description": "6 \"failed\" logins",
                "indicator_types": ["malicious-activity"],
                "pattern": "[ipv4-addr:value = '192.0.2.1']",
                "pattern_type": "stix",
                "valid_from": "2026-11-20T19:07:14.000Z",
                "valid_until": "2026-11-20T19:08:14.000Z",
                "labels": ["ssh-bruteforce"],
            })
        );
        assert_eq!(objects[2]["pattern"], "[ipv6-addr:value ISSUBSET '2001:db8::/48']");
        assert!(objects[2].get("description").is_none());
    }
}
