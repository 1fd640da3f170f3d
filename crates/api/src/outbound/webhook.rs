//! To webhooks on decisions: JSON, a message a decision, or Slack's form, a
//! message a second at most. What was simulated, withheld or not accepted is
//! told nobody.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use palisade_event::{DecisionOrigin, Event, EventId, Lift, MadeDecision, Timestamp};
use palisade_hub::{Hub, News, OutboundConfig, SendError, Sent, Transport};
use serde::Serialize;
use tokio::time::Instant;

use super::http::Post;
use crate::announce::message::escaped;
use crate::announce::post::sign;
use crate::auth::now;
use crate::serve::ClientTls;

/// Most events of one delivery of single messages.
const MOST_EVENTS: usize = 64;
/// Most events of one message to Slack.
const MOST_OF_MESSAGE: usize = 1_000;
/// Decisions that such a message names; of the others it says how many.
const MAX_LINES: usize = 20;
/// Shortest time between two messages to Slack.
const SLACK_PAUSE: Duration = Duration::from_secs(1);
/// A decision is mostly noted so soon after it is in the queue.
const NOTED_SOON: Duration = Duration::from_secs(2);
/// How often that is looked for meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// A decision that is not noted after so long never is: there were too many, or
/// it was forgotten.
const NOTED_WITHIN: Duration = Duration::from_secs(60);

/// What both forms share.
struct Teller {
    hub: Hub,
    config: OutboundConfig,
    post: Post,
    /// The first decision that is not noted, and since when that is known.
    unknown: Option<(EventId, Instant)>,
}

/// JSON, a message a decision.
pub struct Webhook {
    teller: Teller,
    /// Those of a delivery that are told already, if it is repeated.
    told: HashSet<EventId>,
}

/// Slack's form.
pub struct Slack {
    teller: Teller,
    last: Option<Instant>,
}

/// A message.
#[derive(Serialize)]
struct Message<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    /// The same however often it is sent.
    id: EventId,
    sent_at: Timestamp,
    #[serde(flatten)]
    content: Content<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Content<'a> {
    Decision(Box<Made<'a>>),
    Lift(&'a Lift),
}

#[derive(Serialize)]
struct Made<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    target: String,
    scope: &'static str,
    from: Timestamp,
    until: Timestamp,
    duration_secs: u64,
    scenario: &'a str,
    reason: &'a str,
    origin: &'a DecisionOrigin,
    note: Option<&'a str>,
    country: Option<String>,
    evidence: Vec<String>,
}

impl Teller {
    fn new(hub: Hub, config: &OutboundConfig, tls: &ClientTls) -> Result<Self, String> {
        if config.secret_file.is_some() {
            config.secret()?;
        }
        let post = Post::new(config, "/", tls)?;
        Ok(Self { hub, config: config.clone(), post, unknown: None })
    }

    /// What there is to tell; `None` for what nobody acts on.
    async fn news(&mut self, event: &Event) -> Result<Option<News>, SendError> {
        let until = Instant::now() + NOTED_SOON;
        loop {
            let news = self.hub.decision_news(event).await;
            match news.map_err(|error| SendError::later(error.to_string()))? {
                News::Unknown if Instant::now() < until && !self.is_given_up(event.id) => {
                    tokio::time::sleep(LOOK_EVERY).await;
                }
                News::Unknown if self.is_given_up(event.id) => {
                    tracing::warn!(outbound = %self.config.name, id = %event.id,
                        "a decision was never noted, so nobody is told of it");
                    return Ok(None);
                }
                News::Unknown => return Err(SendError::later("a decision is not noted yet")),
                News::Nothing => return Ok(None),
                news @ (News::Made(_) | News::Lifted(_)) => return Ok(Some(news)),
            }
        }
    }

    /// Whether a decision has been unknown for too long.
    fn is_given_up(&mut self, id: EventId) -> bool {
        let since = match self.unknown {
            Some((known, since)) if known == id => since,
            _ => Instant::now(),
        };
        self.unknown = Some((id, since));
        since.elapsed() >= NOTED_WITHIN
    }

    /// Sends a message and says what the answer means.
    async fn tell(&mut self, id: EventId, body: Vec<u8>) -> Result<(), SendError> {
        let at = now().as_millis().div_euclid(1000).to_string();
        let mut headers = HeaderMap::new();
        let mut put = |name: &'static str, value: &str| {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(HeaderName::from_static(name), value);
            }
        };
        put("x-palisade-id", &id.to_string());
        put("x-palisade-timestamp", &at);
        if self.config.secret_file.is_some() {
            // Read now, so that a new one needs no restart.
            let secret = self.config.secret().map_err(SendError::Unauthorised)?;
            let signature = sign(secret.as_bytes(), &at, &body);
            put("x-palisade-signature", &format!("t={at},sha256={signature}"));
        }
        let (status, answer) = self.post.tell("application/json", headers, body.into()).await?;
        verdict(status, &answer)
    }
}

/// What an answer means for the message.
fn verdict(status: StatusCode, answer: &HeaderMap) -> Result<(), SendError> {
    let said = format!("it answered {status}");
    match status.as_u16() {
        200..=299 => Ok(()),
        // Another address is not where the operator sent us.
        300..=399 => Err(SendError::Unauthorised(format!("{said}; redirects are not followed"))),
        401 | 403 | 404 | 405 | 410 => Err(SendError::Unauthorised(said)),
        400 | 413 | 415 | 422 => Err(SendError::Refused(said)),
        _ => {
            let secs = answer.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
            let secs = secs.and_then(|secs| secs.trim().parse().ok());
            let retry_after = secs.map(Duration::from_secs);
            Err(SendError::Later { reason: said, retry_after })
        }
    }
}

impl Webhook {
    /// A webhook as the settings have it.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn new(hub: Hub, config: &OutboundConfig, tls: &ClientTls) -> Result<Self, String> {
        Ok(Self { teller: Teller::new(hub, config, tls)?, told: HashSet::new() })
    }
}

impl Transport for Webhook {
    fn most_events(&self) -> usize {
        MOST_EVENTS
    }

    async fn send(&mut self, events: &[Event]) -> Result<Sent, SendError> {
        let mut sent = Sent::default();
        for event in events {
            if self.told.contains(&event.id) {
                sent.taken += 1;
                continue;
            }
            let Some(news) = self.teller.news(event).await? else {
                sent.left_out += 1;
                continue;
            };
            self.teller.tell(event.id, message(event, &news)).await?;
            self.told.insert(event.id);
            sent.taken += 1;
        }
        for event in events {
            self.told.remove(&event.id);
        }
        Ok(sent)
    }
}

fn message(event: &Event, news: &News) -> Vec<u8> {
    let (kind, content) = match news {
        News::Made(made) => ("decision.made", Content::Decision(Box::new(made_of(event, made)))),
        News::Lifted(lift) => ("decision.lifted", Content::Lift(lift)),
        News::Nothing | News::Unknown => return Vec::new(),
    };
    let message = Message { kind, id: event.id, sent_at: now(), content };
    // Plain data always serializes.
    serde_json::to_vec(&message).unwrap_or_default()
}

fn made_of<'a>(event: &Event, made: &'a MadeDecision) -> Made<'a> {
    let decision = &made.decision;
    let country = event.source_geo.as_ref().and_then(|geo| geo.country);
    Made {
        kind: decision.kind.as_str(),
        target: decision.target.to_string(),
        scope: decision.target.scope(),
        from: decision.from,
        until: decision.until(),
        duration_secs: decision.duration_secs,
        scenario: decision.scenario.as_str(),
        reason: &decision.reason,
        origin: &made.origin,
        note: made.note.as_deref(),
        country: country.map(|country| country.to_string()),
        evidence: decision.evidence.iter().map(ToString::to_string).collect(),
    }
}

impl Slack {
    /// A webhook as the settings have it.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn new(hub: Hub, config: &OutboundConfig, tls: &ClientTls) -> Result<Self, String> {
        Ok(Self { teller: Teller::new(hub, config, tls)?, last: None })
    }
}

impl Transport for Slack {
    fn most_events(&self) -> usize {
        MOST_OF_MESSAGE
    }

    async fn send(&mut self, events: &[Event]) -> Result<Sent, SendError> {
        let mut told = Vec::new();
        for event in events {
            told.extend(self.teller.news(event).await?);
        }
        let sent = Sent { taken: told.len(), left_out: events.len() - told.len() };
        let Some(first) = events.first().filter(|_| !told.is_empty()) else { return Ok(sent) };
        if let Some(last) = self.last {
            tokio::time::sleep_until(last + SLACK_PAUSE).await;
        }
        self.last = Some(Instant::now());
        let body = serde_json::json!({ "text": text(&told) });
        self.teller.tell(first.id, body.to_string().into_bytes()).await?;
        Ok(sent)
    }
}

/// What a message says of all of them.
fn text(told: &[News]) -> String {
    let mut text = String::new();
    if told.len() > 1 {
        let made = told.iter().filter(|news| matches!(news, News::Made(_))).count();
        // Writing to memory cannot fail.
        let _ = write!(text, "*{made} banned, {} lifted*", told.len() - made);
    }
    for news in told.iter().take(MAX_LINES) {
        if !text.is_empty() {
            text.push('\n');
        }
        let _ = match news {
            News::Made(made) => {
                let decision = &made.decision;
                let reason = escaped(&decision.reason);
                write!(
                    text,
                    "Banned `{}` until {}: {}, {reason} ({})",
                    decision.target,
                    decision.until(),
                    escaped(decision.scenario.as_str()),
                    escaped(by(&made.origin)),
                )
            }
            News::Lifted(lift) => {
                let reason = lift.reason.as_deref().map(escaped).unwrap_or_default();
                let colon = if reason.is_empty() { "" } else { ": " };
                write!(text, "Lifted `{}` by {}{colon}{reason}", lift.target, escaped(&lift.by))
            }
            News::Nothing | News::Unknown => Ok(()),
        };
    }
    if told.len() > MAX_LINES {
        let _ = write!(text, "\nand {} more", told.len() - MAX_LINES);
    }
    text
}

fn by(origin: &DecisionOrigin) -> &str {
    match origin {
        DecisionOrigin::Sensor { name, .. } => name.as_str(),
        DecisionOrigin::Operator { name } => name,
        DecisionOrigin::Hub => "hub",
    }
}

#[cfg(test)]
mod tests {
    use palisade_event::{Decision, DecisionType, ScenarioName, SensorId};
    use serde_json::{Value, json};

    use super::*;

    fn made(place: u128, reason: &str) -> (Event, News) {
        let from = Timestamp::from_millis(1_795_201_634_000);
        let decision = Decision {
            id: EventId::new(from, place),
            kind: DecisionType::new("ban").unwrap(),
            target: "198.51.100.7".parse().unwrap(),
            from,
            duration_secs: 60,
            scenario: ScenarioName::new("ssh-bruteforce").unwrap(),
            reason: reason.into(),
            alert: EventId::new(from, 99),
            evidence: vec![EventId::new(from, 98)],
            simulated: false,
        };
        let event = decision.to_event(SensorId::new("web-1").unwrap());
        let origin = DecisionOrigin::Operator { name: "anna".into() };
        let made = MadeDecision { decision, origin, note: Some("call me".into()) };
        (event, News::Made(Box::new(made)))
    }

    #[test]
    fn a_message_has_all_that_is_known() {
        let (event, news) = made(1, "6 failed \"logins\"");
        let said: Value = serde_json::from_slice(&message(&event, &news)).unwrap();
        assert_eq!((&said["type"], &said["id"]), (&json!("decision.made"), &json!(event.id)));
        let decision = &said["decision"];
        assert_eq!(decision["target"], "198.51.100.7");
        assert_eq!(decision["until"], "2026-11-20T19:08:14.000Z");
        assert_eq!(decision["reason"], "6 failed \"logins\"");
        assert_eq!(decision["origin"], json!({"operator": {"name": "anna"}}));
        assert_eq!(decision["note"], "call me");
        let lift = Lift {
            target: "198.51.100.7".parse().unwrap(),
            by: "anna".into(),
            at: event.observed_at,
            reason: None,
        };
        let said = message(&event, &News::Lifted(lift));
        let said: Value = serde_json::from_slice(&said).unwrap();
        assert_eq!(
            (&said["type"], &said["lift"]["by"]),
            (&json!("decision.lifted"), &json!("anna"))
        );
    }

    #[test]
    fn a_reason_cannot_call_a_channel_or_make_a_line() {
        let (_, news) = made(1, "<!channel> & *x*\n<https://evil.example|click>");
        let said = text(&[news]);
        assert!(
            said.contains("&lt;!channel&gt; &amp; x&lt;https://evil.exampleclick&gt;"),
            "{said}"
        );
        assert_eq!(said.lines().count(), 1);
    }

    #[test]
    fn many_decisions_are_one_message_with_a_count() {
        let told: Vec<News> = (1..=500).map(|place| made(place, "x").1).collect();
        let said = text(&told);
        assert!(said.starts_with("*500 banned, 0 lifted*\n") && said.ends_with("\nand 480 more"));
        assert_eq!(said.lines().count(), 22);
        assert!(said.len() < 4_000, "{}", said.len());
    }

    #[test]
    fn an_answer_says_whether_to_send_it_again() {
        let none = HeaderMap::new();
        let after = HeaderMap::from_iter([(header::RETRY_AFTER, "7".parse().unwrap())]);
        let verdict =
            |code: u16, headers: &HeaderMap| verdict(StatusCode::from_u16(code).unwrap(), headers);
        assert_eq!(verdict(204, &none), Ok(()));
        for code in [301, 401, 403, 404, 410] {
            assert!(matches!(verdict(code, &none), Err(SendError::Unauthorised(_))), "{code}");
        }
        assert!(matches!(verdict(400, &none), Err(SendError::Refused(_))));
        let Err(SendError::Later { retry_after, .. }) = verdict(429, &after) else { panic!() };
        assert_eq!(retry_after, Some(Duration::from_secs(7)));
        assert!(matches!(verdict(500, &none), Err(SendError::Later { retry_after: None, .. })));
    }
}
