//! To a PEBA or EWS backend: the XML messages that T-Pot's ewsposter sends, up
//! to 100 alerts each. Only 200 with the status code OK counts as taken.

use std::fmt::Write as _;
use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use palisade_event::{AttributeValue, Endpoint, Event, EventKind, Outcome, Untrusted};
use palisade_hub::{OutboundConfig, SendError, Sent, Transport};

use super::http::Post;
use crate::serve::ClientTls;

/// The door of EWS messages.
const DEFAULT_PATH: &str = "/ews-0.1/alert/postSimpleMessage";
/// Most alerts of one message, as ewsposter has it.
const MOST_ALERTS: usize = 100;
/// Longest answer of which an error message is made, in characters.
const MAX_SAID_CHARS: usize = 120;

/// Sends EWS messages.
pub struct Ews {
    config: OutboundConfig,
    post: Post,
}

impl Ews {
    /// A backend as the settings have it.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn new(config: &OutboundConfig, tls: &ClientTls) -> Result<Self, String> {
        Ok(Self { config: config.clone(), post: Post::new(config, DEFAULT_PATH, tls)? })
    }
}

impl Transport for Ews {
    fn most_events(&self) -> usize {
        MOST_ALERTS
    }

    async fn send(&mut self, events: &[Event]) -> Result<Sent, SendError> {
        let mut alerts = String::new();
        let mut sent = Sent::default();
        for event in events {
            match alert(event, self.config.external_ip) {
                Some(alert) => {
                    alerts.push_str(&alert);
                    sent.taken += 1;
                }
                None => sent.left_out += 1,
            }
        }
        if sent.taken == 0 {
            return Ok(sent);
        }
        let token = self.config.secret().map_err(SendError::Unauthorised)?;
        let user = self.config.user.as_deref().unwrap_or_default();
        let body = format!(
            "<EWS-SimpleMessage version=\"3.0\"><Authentication><username>{}</username>\
             <token>{}</token></Authentication>{alerts}</EWS-SimpleMessage>",
            Xml(user),
            Xml(&token)
        );
        let (status, answer) =
            self.post.send("text/xml", HeaderMap::new(), Bytes::from(body)).await?;
        let said = String::from_utf8_lossy(&answer);
        match status {
            StatusCode::OK if said.contains("<StatusCode>OK</StatusCode>") => Ok(sent),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Err(SendError::Unauthorised(format!("it answers {status}; check user and token")))
            }
            StatusCode::PAYLOAD_TOO_LARGE => {
                Err(SendError::Refused(format!("it answers {status}")))
            }
            status => {
                let said: String = said.chars().take(MAX_SAID_CHARS).collect();
                Err(SendError::later(format!("it answers {status} and no OK: {said}")))
            }
        }
    }
}

/// An event as an alert; `None` where it has no source, or no target and
/// nothing stands for it.
fn alert(event: &Event, external: Option<IpAddr>) -> Option<String> {
    let source = event.source?;
    let target = event.target.or_else(|| external.map(Endpoint::address))?;
    let at = event.observed_at.to_string();
    let (date, clock) = (at.get(..10)?, at.get(11..19)?);
    let mut xml = String::with_capacity(1024);
    let _ = write!(
        xml,
        "<Alert><Analyzer id=\"{}\"/><CreateTime tz=\"+0000\">{date} {clock}</CreateTime>",
        Xml(&analyzer(event))
    );
    end(&mut xml, "Source", source);
    end(&mut xml, "Target", target);
    let _ = write!(xml, "<Request type=\"description\">{}</Request>", event.kind);
    let typed = event.kind == EventKind::CommandEntered;
    if let Some(request) = event.request.as_ref().filter(|request| !request.is_empty()) {
        if typed {
            data(&mut xml, "input", "string", &percent(request.as_bytes()));
        } else {
            let encoded = BASE64.encode(request.as_bytes());
            let _ = write!(xml, "<Request type=\"raw\">{encoded}</Request>");
        }
    }
    if let Some(credentials) = &event.credentials {
        let fields = [("username", &credentials.username), ("password", &credentials.password)];
        for (name, value) in fields {
            if let Some(value) = value.as_ref().filter(|value| !value.is_empty()) {
                data(&mut xml, name, "string", &value.to_lossy());
            }
        }
        if let Some(outcome) = credentials.outcome {
            let login = match outcome {
                Outcome::Accepted => "Success",
                Outcome::Failed => "Fail",
            };
            data(&mut xml, "login", "string", login);
        }
    }
    let mut text = |name: &str, value: Option<&str>| {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            data(&mut xml, name, "string", value);
        }
    };
    text("version", event.client.as_ref().map(Untrusted::to_lossy).as_deref());
    text("sessionid", event.session.as_ref().map(|session| session.as_str()));
    text("hostname", event.host.as_ref().map(|host| host.as_str()));
    text("cve_id", event.cve.as_deref());
    text("payload_sha256", event.payload.map(|hash| hash.to_string()).as_deref());
    text("payload_name", event.payload_name.as_ref().map(Untrusted::to_lossy).as_deref());
    // Times of EWS end at the second; these keep two alerts of one apart.
    text("observed_at", Some(&at));
    text("event_id", Some(&event.id.to_string()));
    for (name, value) in &event.attributes {
        if RESERVED.contains(&&**name) {
            continue;
        }
        let (kind, value) = match value {
            AttributeValue::Flag(value) => ("boolean", value.to_string()),
            AttributeValue::Integer(value) => ("integer", value.to_string()),
            AttributeValue::Real(value) => ("real", value.to_string()),
            AttributeValue::Text(value) => ("string", value.to_lossy().into_owned()),
        };
        if !value.is_empty() {
            data(&mut xml, name, kind, &value);
        }
    }
    xml.push_str("</Alert>");
    Some(xml)
}

/// Meanings that come from fields of the event, or that a backend reads as more
/// than text.
const RESERVED: [&str; 14] = [
    "username",
    "password",
    "login",
    "version",
    "sessionid",
    "hostname",
    "cve_id",
    "input",
    "payload_sha256",
    "payload_name",
    "observed_at",
    "event_id",
    "binary",
    "payload",
];

/// What the backend tells the type of attack by: a daemon's name in the words of
/// its table.
fn analyzer(event: &Event) -> String {
    if let Some(name) = &event.analyzer {
        return name.as_str().to_owned();
    }
    let category = event.category.as_ref().map_or("", |category| category.as_str());
    let inner = category.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
    let daemon = match (category, inner) {
        ("Webpage", _) => "tanner".to_owned(),
        (_, Some(daemon)) => daemon.to_ascii_lowercase(),
        _ => "palisade".to_owned(),
    };
    format!("{daemon}-{}", event.sensor)
}

fn end(xml: &mut String, element: &str, end: Endpoint) {
    let version = if end.address.is_ipv4() { "ipv4" } else { "ipv6" };
    let port = end.port.map(|port| port.to_string()).unwrap_or_default();
    let protocol = end.transport.map_or("", |transport| transport.as_str());
    let _ = write!(
        xml,
        "<{element} category=\"{version}\" port=\"{port}\" protocol=\"{protocol}\">{}</{element}>",
        end.address
    );
}

fn data(xml: &mut String, meaning: &str, kind: &str, value: &str) {
    let _ = write!(
        xml,
        "<AdditionalData type=\"{kind}\" meaning=\"{}\">{}</AdditionalData>",
        Xml(meaning),
        Xml(value)
    );
}

/// Everything but letters, digits and a few marks as `%XX`.
fn percent(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) {
            text.push(char::from(*byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
        text
    })
}

/// Text in XML 1.0: escaped, and without the characters that it cannot have.
struct Xml<'a>(&'a str);

impl std::fmt::Display for Xml<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '<' => f.write_str("&lt;"),
            '>' => f.write_str("&gt;"),
            '&' => f.write_str("&amp;"),
            '"' => f.write_str("&quot;"),
            '\r' => f.write_str("&#13;"),
            '\n' => f.write_str("&#10;"),
            '\t' => f.write_str("&#9;"),
            c if c < ' ' || matches!(c, '\u{fffe}' | '\u{ffff}') => f.write_str("\u{fffd}"),
            c => std::fmt::Write::write_char(f, c),
        })
    }
}

#[cfg(test)]
mod tests {
    use palisade_event::{Category, Credentials, EventId, SensorId, Timestamp};

    use super::*;

    fn event(kind: EventKind) -> Event {
        let at = Timestamp::from_millis(1_795_208_400_123);
        let mut event = Event::new(EventId::new(at, 1), kind, at, SensorId::new("pot-1").unwrap());
        event.source = Some(Endpoint::tcp("198.51.100.7:4711".parse().unwrap()));
        event.target = Some(Endpoint::tcp("203.0.113.5:22".parse().unwrap()));
        event.category = Category::new("SSH/console(cowrie)").ok();
        event
    }

    #[test]
    fn a_login_is_an_alert_of_its_daemon() {
        let mut event = event(EventKind::AuthAttempted);
        event.credentials = Some(Credentials {
            username: Some("ro<o>t".into()),
            password: Some("\u{1}&\"x".into()),
            outcome: Some(Outcome::Failed),
        });
        let event = event.with("protocol", "ssh").with("port", 22i64);
        assert_eq!(
            alert(&event, None).unwrap(),
            "<Alert><Analyzer id=\"cowrie-pot-1\"/>\
             <CreateTime tz=\"+0000\">2026-11-20 21:00:00</CreateTime>\
             <Source category=\"ipv4\" port=\"4711\" protocol=\"tcp\">198.51.100.7</Source>\
             <Target category=\"ipv4\" port=\"22\" protocol=\"tcp\">203.0.113.5</Target>\
             <Request type=\"description\">auth.attempted</Request>\
             <AdditionalData type=\"string\" meaning=\"username\">ro&lt;o&gt;t</AdditionalData>\
             <AdditionalData type=\"string\" meaning=\"password\">\u{fffd}&amp;&quot;x</AdditionalData>\
             <AdditionalData type=\"string\" meaning=\"login\">Fail</AdditionalData>\
             <AdditionalData type=\"string\" meaning=\"observed_at\">2026-11-20T21:00:00.123Z</AdditionalData>\
             <AdditionalData type=\"string\" meaning=\"event_id\">01KAHQVEEV0000000000000001</AdditionalData>\
             <AdditionalData type=\"integer\" meaning=\"port\">22</AdditionalData>\
             <AdditionalData type=\"string\" meaning=\"protocol\">ssh</AdditionalData></Alert>"
                .replace("01KAHQVEEV0000000000000001", &event.id.to_string())
        );
    }

    #[test]
    fn typed_lines_are_percent_encoded_and_bytes_are_base64() {
        let mut typed = event(EventKind::CommandEntered);
        typed.request = Some("id; ü".into());
        assert!(alert(&typed, None).unwrap().contains("meaning=\"input\">id%3B%20%C3%BC<"));
        let mut bytes = event(EventKind::DataReceived);
        bytes.request = Some(Untrusted::new(vec![0, 255]));
        assert!(alert(&bytes, None).unwrap().contains("<Request type=\"raw\">AP8=</Request>"));
    }

    #[test]
    fn what_has_no_ends_cannot_be_an_alert() {
        let mut event = event(EventKind::ConnectionOpened);
        event.target = None;
        assert!(alert(&event, None).is_none());
        let external = "203.0.113.9".parse().ok();
        assert!(alert(&event, external).unwrap().contains(">203.0.113.9</Target>"));
        event.source = None;
        assert!(alert(&event, external).is_none());
    }
}
