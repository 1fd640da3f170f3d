//! To DShield (SANS ISC): reports of connections, as its own sensors send those
//! of their firewalls: a JSON object of type `firewall`, signed with the user's
//! API key (HMAC-SHA256 over a nonce). Names, passwords and payloads are not part
//! of such a report and stay here.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use palisade_event::{CountryCode, Endpoint, Event, Transport as Protocol};
use palisade_hub::{OutboundConfig, SendError, Sent, Transport};
use ring::hmac;
use serde::Serialize;

use super::http::Post;
use crate::serve::ClientTls;

/// Most events of one delivery.
const MOST_EVENTS: usize = 500;
/// Bytes of the nonce.
const NONCE_BYTES: usize = 8;

/// Reports to DShield.
pub struct Dshield {
    config: OutboundConfig,
    post: Post,
}

/// One connection in a report.
#[derive(Serialize)]
struct Log {
    /// Seconds since 1970.
    time: i64,
    /// TCP flags that were seen: the connection's first packet has SYN.
    flags: &'static str,
    sip: IpAddr,
    dip: IpAddr,
    /// Number of the protocol.
    proto: u8,
    sport: u16,
    dport: u16,
    version: u8,
}

#[derive(Serialize)]
struct Report<'a> {
    r#type: &'static str,
    logs: Vec<Log>,
    authheader: &'a str,
}

impl Dshield {
    /// Reports as the settings have it.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn new(config: &OutboundConfig, tls: &ClientTls) -> Result<Self, String> {
        Ok(Self { config: config.clone(), post: Post::new(config, "/submitapi/", tls)? })
    }
}

/// The line of an event, where it is a connection from the internet.
fn log(event: &Event, external: Option<IpAddr>) -> Option<Log> {
    let source = event.source.filter(|source| is_foreign(source.address))?;
    if event.source_geo.as_ref().is_some_and(|geo| geo.country == Some(CountryCode::PRIVATE)) {
        return None;
    }
    let (dip, dport) = match event.target {
        Some(Endpoint { address, port: Some(port), .. }) => {
            let public = Some(address).filter(|address| is_foreign(*address)).or(external);
            (public?, port)
        }
        _ => return None,
    };
    let transport = source.transport.or(event.target.and_then(|target| target.transport));
    let (proto, flags) = match transport {
        Some(Protocol::Udp) => (17, ""),
        Some(Protocol::Icmp) => return None,
        Some(Protocol::Tcp) | None => (6, "S"),
    };
    // One report is of one version of the protocol.
    let version = match (source.address, dip) {
        (IpAddr::V4(_), IpAddr::V4(_)) => 4,
        (IpAddr::V6(_), IpAddr::V6(_)) => 6,
        _ => return None,
    };
    let time = event.observed_at.as_millis().div_euclid(1000);
    let (sip, sport) = (source.address, source.port.unwrap_or(0));
    Some(Log { time, flags, sip, dip, proto, sport, dport, version })
}

/// Whether an address is of the internet, as far as its form tells.
fn is_foreign(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            !(v4.is_private()
                || v4.is_loopback()
                || v4.is_link_local()
                || v4.is_unspecified()
                || v4.is_multicast()
                || v4.is_broadcast())
        }
        IpAddr::V6(v6) => {
            let first = v6.segments().first().copied().unwrap_or(0);
            !(v6.is_loopback()
                || v6.is_unspecified()
                || v6.is_multicast()
                || first & 0xfe00 == 0xfc00
                || first & 0xffc0 == 0xfe80)
        }
    }
}

/// The authorisation: `Credentials` is the HMAC of the API key with nonce and
/// user id as its key.
fn authorisation(user: &str, key: &str, nonce: [u8; NONCE_BYTES]) -> String {
    let nonce = BASE64.encode(nonce);
    let with = hmac::Key::new(hmac::HMAC_SHA256, format!("{nonce}{user}").as_bytes());
    let hash = BASE64.encode(hmac::sign(&with, key.as_bytes()));
    format!("ISC-HMAC-SHA256 Credentials={hash} Userid={user} Nonce={nonce}")
}

impl Transport for Dshield {
    fn most_events(&self) -> usize {
        MOST_EVENTS
    }

    async fn send(&mut self, events: &[Event]) -> Result<Sent, SendError> {
        let logs: Vec<Log> =
            events.iter().filter_map(|event| log(event, self.config.external_ip)).collect();
        let sent = Sent { taken: logs.len(), left_out: events.len() - logs.len() };
        if logs.is_empty() {
            return Ok(sent);
        }
        let key = self.config.secret().map_err(SendError::Unauthorised)?;
        let user = self.config.user.as_deref().unwrap_or_default();
        let auth = authorisation(user, &key, rand::random());
        let report = Report { r#type: "firewall", logs, authheader: &auth };
        let body = serde_json::to_vec(&report).map_err(|e| SendError::Refused(e.to_string()))?;
        let mut headers = HeaderMap::new();
        for (name, value) in [("x-isc-authorization", auth.as_str()), ("x-isc-logtype", "firewall")]
        {
            let mut value = HeaderValue::from_str(value)
                .map_err(|_| SendError::Unauthorised("the user id is malformed".to_owned()))?;
            value.set_sensitive(true);
            headers.insert(HeaderName::from_static(name), value);
        }
        let (status, _) = self.post.send("application/json", headers, Bytes::from(body)).await?;
        match status {
            StatusCode::OK => Ok(sent),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Err(SendError::Unauthorised(format!("it answers {status}; check user and API key")))
            }
            StatusCode::PAYLOAD_TOO_LARGE => {
                Err(SendError::Refused(format!("it answers {status}")))
            }
            status => Err(SendError::later(format!("it answers {status}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use palisade_event::{EventId, EventKind, SensorId, Timestamp};

    use super::*;

    fn event(source: &str, target: Option<&str>) -> Event {
        let at = Timestamp::from_millis(1_795_208_400_999);
        let sensor = SensorId::new("unit").unwrap();
        let mut event = Event::new(EventId::new(at, 1), EventKind::AuthAttempted, at, sensor);
        event.source = Some(Endpoint::tcp(source.parse().unwrap()));
        event.target = target.map(|target| Endpoint::tcp(target.parse().unwrap()));
        event
    }

    #[test]
    fn a_connection_is_reported_and_what_is_none_is_left_out() {
        let external = Some("203.0.113.5".parse().unwrap());
        let line = log(&event("198.51.100.7:4711", Some("10.0.0.2:22")), external).unwrap();
        assert_eq!(
            serde_json::to_string(&line).unwrap(),
            r#"{"time":1795208400,"flags":"S","sip":"198.51.100.7","dip":"203.0.113.5","proto":6,"sport":4711,"dport":22,"version":4}"#
        );
        assert!(log(&event("198.51.100.7:4711", Some("10.0.0.2:22")), None).is_none());
        assert!(log(&event("198.51.100.7:4711", None), external).is_none());
        for source in ["10.1.2.3:1", "127.0.0.1:1", "[fe80::1]:1", "[fd00::1]:1", "[2001:db8::1]:1"]
        {
            assert!(log(&event(source, Some("203.0.113.5:22")), external).is_none(), "{source}");
        }
    }

    /// Computed with Python's hmac.
    #[test]
    fn the_key_signs_and_is_not_sent() {
        let header = authorisation("123456", "c2VjcmV0", *b"\x01\x02\x03\x04\x05\x06\x07\x08");
        assert_eq!(
            header,
            "ISC-HMAC-SHA256 Credentials=CMYhcljwcTt0FQboW5H6BWnxRwm1zi/k5lnQklALcL8= Userid=123456 Nonce=AQIDBAUGBwg="
        );
    }
}
