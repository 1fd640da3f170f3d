//! What is sent to a webhook. Everything an attacker could have written is
//! left out: ids, times, addresses and our own names are in it.

use palisade_event::Timestamp;
use palisade_hub::{Announcement, CveInfo, WebhookKind};
use serde::Serialize;

/// One announcement as it is sent.
pub(crate) struct Message {
    /// Names it; the same each time it is sent.
    pub(crate) id: String,
    pub(crate) attempt: u32,
    /// Seconds since 1970.
    pub(crate) sent_at: i64,
    pub(crate) body: Vec<u8>,
}

/// The JSON form.
#[derive(Serialize)]
struct Json<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    id: &'a str,
    attempt: u32,
    /// Whether it may have been heard before.
    repeated: bool,
    sent_at: Timestamp,
    #[serde(flatten)]
    cve: Seen<'a>,
    url: Option<String>,
}

#[derive(Serialize)]
struct Seen<'a> {
    cve: &'a str,
    first_seen: Timestamp,
    first_event: String,
    first_source: Option<std::net::IpAddr>,
    first_sensor: &'a str,
    category: Option<&'a str>,
    domain: palisade_event::Domain,
}

/// What Slack and its like take.
#[derive(Serialize)]
struct Slack {
    text: String,
}

impl Message {
    pub(crate) fn new(
        announcement: &Announcement,
        kind: WebhookKind,
        page: Option<&str>,
        now: Timestamp,
    ) -> Self {
        let Announcement { id, attempt, cve } = announcement;
        let url = page.map(|page| format!("{page}/cves?cve={}", cve.cve));
        let body = match kind {
            WebhookKind::Json => serde_json::to_vec(&Json {
                kind: "cve.first_seen",
                id,
                attempt: *attempt,
                repeated: *attempt > 1,
                sent_at: now,
                cve: seen(cve),
                url,
            }),
            WebhookKind::Slack => serde_json::to_vec(&Slack { text: text(cve, *attempt, url) }),
        };
        Self {
            id: id.clone(),
            attempt: *attempt,
            sent_at: now.as_millis().div_euclid(1000),
            // Plain data always serializes.
            body: body.unwrap_or_default(),
        }
    }
}

fn seen(cve: &CveInfo) -> Seen<'_> {
    Seen {
        cve: &cve.cve,
        first_seen: cve.first_seen,
        first_event: cve.first_event.to_string(),
        first_source: cve.first_source,
        first_sensor: cve.first_sensor.as_str(),
        category: cve.category.as_deref(),
        domain: cve.domain,
    }
}

fn text(cve: &CveInfo, attempt: u32, url: Option<String>) -> String {
    let mut text = format!("First seen: *{}* at {}", cve.cve, escaped(cve.first_sensor.as_str()));
    if let Some(category) = &cve.category {
        text.push_str(&format!(" ({})", escaped(category)));
    }
    if let Some(source) = cve.first_source {
        text.push_str(&format!(" from {source}"));
    }
    text.push_str(&format!(", {}", cve.first_seen));
    if let Some(url) = url {
        text.push_str(&format!(" <{url}|events>"));
    }
    if attempt > 1 {
        text.push_str(&format!(" (attempt {attempt}: you may know it already)"));
    }
    text
}

/// As Slack's text wants it, and without its marks.
pub(crate) fn escaped(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_control() && !"*_`~@|".contains(*c))
        .flat_map(|c| match c {
            '&' => "&amp;".chars().collect::<Vec<_>>(),
            '<' => "&lt;".chars().collect(),
            '>' => "&gt;".chars().collect(),
            other => vec![other],
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use palisade_event::{Domain, EventId, SensorId};
    use serde_json::{Value, json};

    fn announcement(attempt: u32) -> Announcement {
        let at = Timestamp::from_millis(0);
        Announcement {
            id: "soc/CVE-2026-24061".into(),
            attempt,
            cve: CveInfo {
                cve: "CVE-2026-24061".into(),
                first_seen: at,
                last_seen: at,
                first_event: EventId::new(at, 1),
                first_source: Some("203.0.113.9".parse().unwrap()),
                first_sensor: SensorId::new("edge-1").unwrap(),
                category: Some("Telnet<!channel>".into()),
                domain: Domain::Community,
                count: None,
            },
        }
    }

    #[test]
    fn json_says_all_and_that_it_is_repeated() {
        let now = Timestamp::from_millis(5_000);
        let page = Some("https://hub.example/p");
        let message = Message::new(&announcement(2), WebhookKind::Json, page, now);
        let body: Value = serde_json::from_slice(&message.body).unwrap();
        assert_eq!(message.sent_at, 5);
        assert_eq!(body["type"], "cve.first_seen");
        assert_eq!((&body["attempt"], &body["repeated"]), (&json!(2), &json!(true)));
        assert_eq!(body["first_source"], "203.0.113.9");
        assert_eq!(body["url"], "https://hub.example/p/cves?cve=CVE-2026-24061");
    }

    #[test]
    fn a_category_cannot_call_a_channel() {
        let message =
            Message::new(&announcement(1), WebhookKind::Slack, None, Timestamp::from_millis(0));
        let body: Value = serde_json::from_slice(&message.body).unwrap();
        let text = body["text"].as_str().unwrap();
        assert!(text.contains("Telnet&lt;!channel&gt;") && !text.contains("attempt"), "{text}");
    }
}
