//! Webhooks on decisions: targets that are told who is banned and who no
//! longer. Their queue, repetition and account are those of forwarding; what is
//! said to them is the transport's business.

use std::path::PathBuf;

use palisade_event::{
    AttributeValue, Decision, DecisionTarget, Domain, Event, EventKind, Lift, MadeDecision,
    SensorId,
};
use palisade_store::query::Query;
use palisade_store::state::{Noting, State, StateError};
use serde::{Deserialize, Serialize};

use super::config::{MIN_BYTES, OutboundConfig, OutboundKind};
use crate::blocklist::describe;
use crate::decisions::{BY, noting};

/// Most webhooks.
const MAX_HOOKS: usize = 16;
/// Longest address, in bytes.
const MAX_URL_BYTES: usize = 2048;

/// Who is told of decisions (`[[hub.webhooks]]`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DecisionWebhook {
    /// Its name; its queue is the folder of that name.
    pub name: SensorId,
    /// Where to send to: `https://HOST/PATH`; `http://` on this machine alone.
    pub url: String,
    /// What is sent. Default: generic.
    #[serde(default)]
    pub kind: DecisionWebhookKind,
    /// Which decisions, in the query language, without times. Default: all.
    #[serde(default)]
    pub query: String,
    /// Of what it is told. Default: made and lifted.
    #[serde(default = "both")]
    pub on: Vec<Occasion>,
    /// File with the secret that messages are signed with. Default: not signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_file: Option<PathBuf>,
    /// Whether `http://` may lead to other machines, where everybody on the way
    /// reads along. Default: false.
    #[serde(default)]
    pub allow_http: bool,
    /// SHA-256 of its certificate, where no authority is to be asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pin: Option<String>,
    /// PEM file of the authorities to trust. Default: the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// Bytes on disk that wait for it at most; beyond them the oldest go, and
    /// are counted. Default: 64 MiB.
    #[serde(default = "max_bytes")]
    pub max_bytes: u64,
}

/// What a webhook on decisions takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DecisionWebhookKind {
    /// All that is known as JSON, a message a decision.
    #[default]
    Generic,
    /// `{"text": …}`, as Slack, Mattermost and Rocket.Chat take it; at most one
    /// a second, with all that has come.
    Slack,
}

/// Of what a webhook is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Occasion {
    /// Somebody is banned.
    Made,
    /// A ban is over before its time.
    Lifted,
}

fn both() -> Vec<Occasion> {
    vec![Occasion::Made, Occasion::Lifted]
}

fn max_bytes() -> u64 {
    64 * 1024 * 1024
}

impl DecisionWebhook {
    /// The same as a target of forwarding.
    pub(crate) fn target(&self) -> OutboundConfig {
        OutboundConfig {
            name: self.name.clone(),
            kind: match self.kind {
                DecisionWebhookKind::Generic => OutboundKind::Webhook,
                DecisionWebhookKind::Slack => OutboundKind::Slack,
            },
            query: self.query.clone(),
            max_bytes: self.max_bytes,
            except_sensors: Vec::new(),
            url: Some(self.url.clone()),
            address: None,
            tls: None,
            pin: self.pin.clone(),
            ca_file: self.ca_file.clone(),
            key_file: None,
            user: None,
            secret_file: self.secret_file.clone(),
            secret_env: None,
            channel: None,
            external_ip: None,
            webhook: Some(Box::new(self.clone())),
        }
    }

    /// Whether it is told of an event.
    pub(super) fn is_for(&self, query: &Query, event: &Event) -> bool {
        let occasion = match event.kind {
            EventKind::DecisionMade => Occasion::Made,
            EventKind::DecisionLifted => Occasion::Lifted,
            _ => return false,
        };
        // Those of the community are carried out by nobody.
        if !self.on.contains(&occasion) || event.domain != Domain::Private {
            return false;
        }
        *query == Query::ALL || query.matches(&as_asked(event))
    }

    fn mistakes(&self, number: usize) -> Vec<String> {
        let mut mistakes = Vec::new();
        let mut wrong = |what: String| mistakes.push(format!("webhooks[{number}].{what}"));
        let plain = if self.allow_http { "" } else { "; http:// needs allow_http = true" };
        if !is_fit(&self.url, self.allow_http) {
            wrong(format!(
                "url: expected https://HOST/PATH without a user, or http:// on this machine{plain}"
            ));
        }
        match Query::parse(&self.query, palisade_event::Timestamp::from_millis(0)) {
            Ok(query) if query.range != Query::ALL.range => {
                wrong("query: leave times out; decisions are told as they come".to_owned());
            }
            Ok(_) => {}
            Err(error) => wrong(format!("query: {error}")),
        }
        if self.on.is_empty() {
            wrong("on: expected made, lifted or both".to_owned());
        }
        if self.max_bytes < MIN_BYTES {
            wrong(format!("max_bytes: expected at least {MIN_BYTES}, found {}", self.max_bytes));
        }
        mistakes
    }
}

/// Mistakes of all webhooks.
pub(crate) fn hook_mistakes(hooks: &[DecisionWebhook], targets: &[OutboundConfig]) -> Vec<String> {
    let mut mistakes = Vec::new();
    if hooks.len() > MAX_HOOKS {
        mistakes.push(format!("webhooks: at most {MAX_HOOKS} of them, found {}", hooks.len()));
    }
    for (number, hook) in hooks.iter().enumerate() {
        mistakes.extend(hook.mistakes(number));
        let others = hooks.iter().take(number).map(|other| &other.name);
        if others.chain(targets.iter().map(|target| &target.name)).any(|name| *name == hook.name) {
            mistakes
                .push(format!("webhooks[{number}].name: another target is named '{}'", hook.name));
        }
    }
    mistakes
}

/// Whether what is told may go there.
fn is_fit(url: &str, allow_http: bool) -> bool {
    let (tls, rest) = match (url.strip_prefix("https://"), url.strip_prefix("http://")) {
        (Some(rest), _) => (true, rest),
        (None, Some(rest)) => (false, rest),
        (None, None) => return false,
    };
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let plain = !url.chars().any(|c| c.is_whitespace() || c.is_control() || c == '#');
    if authority.is_empty() || authority.contains('@') || !plain || url.len() > MAX_URL_BYTES {
        return false;
    }
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    let here = host == "localhost"
        || host.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback());
    !host.is_empty() && (tls || allow_http || here)
}

/// The event with the fields that queries know.
fn as_asked(event: &Event) -> Event {
    let text = |name: &str| match event.attributes.get(name) {
        Some(AttributeValue::Text(text)) => text.as_utf8(),
        _ => None,
    };
    let mut asked = event.clone();
    let scenario = Decision::from_event(event).map(|decision| decision.scenario);
    if let Some(target) = text("value").and_then(|value| value.parse::<DecisionTarget>().ok()) {
        let reason = text("reason").unwrap_or_default();
        describe(&mut asked, target, scenario.as_ref(), reason, text(BY));
    }
    asked
}

/// What there is to tell of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// Somebody is banned.
    Made(Box<MadeDecision>),
    /// A ban is over before its time.
    Lifted(Lift),
    /// Nothing: it is simulated, withheld or not accepted, so nobody acts on it.
    Nothing,
    /// It is not noted yet.
    Unknown,
}

/// Looks up what became of the decision that an event tells of.
pub(crate) async fn news(state: &State, event: &Event) -> Result<News, StateError> {
    match noting(event) {
        None | Some(Err(_)) => Ok(News::Nothing),
        Some(Ok(Noting::Lifted(_, lift))) => Ok(News::Lifted(lift)),
        Some(Ok(Noting::Made(made))) => Ok(match state.decision(made.decision.id).await? {
            Some(record) if record.seq.is_some() => News::Made(Box::new(record.made)),
            Some(_) => News::Nothing,
            None => News::Unknown,
        }),
    }
}

#[cfg(test)]
mod tests {
    use palisade_event::{DecisionType, EventId, ScenarioName, Timestamp};

    use super::*;

    fn hook(json: &str) -> DecisionWebhook {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn mistakes_are_named_at_once() {
        let good = hook(r#"{"name":"soc","url":"https://chat.example/x"}"#);
        assert_eq!(hook_mistakes(std::slice::from_ref(&good), &[]), Vec::<String>::new());
        let target = good.target();
        let wrong = hook(
            r#"{"name":"soc","url":"http://chat.example/","query":"colour:red","on":[],"max_bytes":1}"#,
        );
        let found = hook_mistakes(&[wrong], &[target]);
        assert_eq!(found.len(), 5, "{found:#?}");
        for word in ["allow_http", "colour", "made, lifted", "max_bytes", "'soc'"] {
            assert!(found.iter().any(|mistake| mistake.contains(word)), "{word}: {found:#?}");
        }
        for (url, allowed) in [
            ("http://127.0.0.1:8065/x", false),
            ("http://[::1]/", false),
            ("http://chat.example/x?a=b", true),
        ] {
            assert!(is_fit(url, allowed), "{url}");
        }
        for url in ["http://10.1.2.3/", "https://a@b/", "https://", "ftp://127.0.0.1/", ""] {
            assert!(!is_fit(url, false), "{url}");
        }
        // A kind of forwarding that only webhooks have.
        let json = r#"{"name":"a","kind":"slack","query":""}"#;
        assert!(serde_json::from_str::<OutboundConfig>(json).is_err());
    }

    #[test]
    fn it_is_told_of_what_its_query_and_occasion_say() {
        let from = Timestamp::from_millis(1_795_201_634_000);
        let decision = Decision {
            id: EventId::new(from, 1),
            kind: DecisionType::new("ban").unwrap(),
            target: "198.51.100.0/24".parse().unwrap(),
            from,
            duration_secs: 60,
            scenario: ScenarioName::new("ssh-bruteforce").unwrap(),
            reason: "6 failed logins".into(),
            alert: EventId::new(from, 2),
            evidence: Vec::new(),
            simulated: false,
        };
        let made = decision.to_event(SensorId::new("web-1").unwrap());
        let is_for = |query: &str, event: &Event| {
            let hook = hook(&format!(
                r#"{{"name":"web-1","url":"https://x/","on":["made"],"query":"{query}"}}"#
            ));
            hook.is_for(&Query::parse(query, from).unwrap(), event)
        };
        for query in ["", "ip:198.51.100.0", "analyzer:ssh-* failed", "sensor:web-1 -user:*"] {
            assert!(is_for(query, &made), "{query}");
        }
        assert!(!is_for("user:anna", &made) && is_for("user:anna", &made.clone().with(BY, "anna")));
        let mut other = made.clone();
        other.domain = Domain::Community;
        assert!(!is_for("", &other));
        other.domain = Domain::Private;
        other.kind = EventKind::DecisionLifted;
        assert!(!is_for("", &other), "it asked for bans alone");
    }
}
