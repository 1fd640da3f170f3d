//! What was found in a line, borrowed from it: a sighting, and what only an
//! event has room for.

use palisade_event::{
    AnalyzerName, AttributeValue, Category, Credentials, Endpoint, EventKind, Fingerprints,
    HostName, Outcome, Timestamp, Transport, Untrusted,
};

use super::field::Field;
use crate::Sighting;
use crate::parser::Observation;
use crate::parser::peer;
use crate::parser::syslog::number;

/// Most attributes that are found in one line; more are left out.
pub(super) const MAX_EXTRAS: usize = 16;
/// Longest attribute, in bytes.
const MAX_EXTRA_BYTES: usize = 1024;
/// Longest name, reason or banner that is kept, in bytes.
const MAX_BRIEF_BYTES: usize = 4096;
/// Longest request that is kept, in bytes.
const MAX_REQUEST_BYTES: usize = palisade_event::MAX_TEXT_BYTES;
/// Most repetitions one line may stand for.
const MAX_REPEAT: u32 = 100_000;

/// The value of an attribute.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Extra<'a> {
    /// As it stands in the line.
    Text(&'a [u8]),
    /// A number of a JSON line.
    Integer(i64),
}

/// What was found.
#[derive(Clone, Debug)]
pub(in crate::parser) struct Found<'a> {
    /// What scenarios look at.
    pub(in crate::parser) sighting: Sighting<'a>,
    /// The client's port.
    pub(super) port: Option<u16>,
    /// Where there is a name instead of an address. It is what the owner of the
    /// address says, and never banned.
    pub(super) source_name: Option<&'a [u8]>,
    /// A client may have written the address that was found, so there is none.
    pub(super) ambiguous: bool,
    /// The process.
    pub(super) pid: Option<u32>,
    extras: [Option<(&'a str, Extra<'a>)>; MAX_EXTRAS],
    count: usize,
}

impl<'a> Found<'a> {
    pub(super) fn new(kind: EventKind, at: Timestamp, service: &'a str) -> Self {
        Self {
            sighting: Sighting::new(kind, at, service),
            port: None,
            source_name: None,
            ambiguous: false,
            pid: None,
            extras: [None; MAX_EXTRAS],
            count: 0,
        }
    }

    /// Notes an attribute.
    pub(super) fn note(&mut self, name: &'a str, value: Extra<'a>) {
        if let Some(place) = self.extras.get_mut(self.count) {
            *place = Some((name, value));
            self.count += 1;
        }
    }

    /// Puts a text where it belongs. An empty one, and the dash that stands for
    /// nothing, is unknown. The time is the caller's to read.
    pub(super) fn put(&mut self, field: &'a Field, text: &'a [u8]) {
        if matches!(text, b"" | b"-") {
            return;
        }
        let seen = &mut self.sighting;
        match field {
            Field::Client => seen.client = Some(text),
            Field::Host => seen.host = Some(text),
            Field::Method => seen.method = Some(text),
            Field::Pid => self.pid = number(text),
            Field::Port => self.port = number16(text).filter(|port| *port > 0),
            Field::Reason => seen.reason = Some(text),
            Field::Repeat => {
                seen.repeat = number(text).map_or(1, |times| times.clamp(1, MAX_REPEAT));
            }
            Field::Request => seen.request = Some(text),
            Field::Source => self.source(text),
            Field::Status => seen.status = number16(text),
            Field::TargetPort => seen.target_port = number16(text).filter(|port| *port > 0),
            Field::User => seen.user = Some(text),
            Field::Attribute(name) => self.note(name, Extra::Text(text)),
            Field::Time | Field::Message => {}
        }
    }

    /// An address, in brackets or not, with a port or not, or a name.
    pub(super) fn source(&mut self, text: &'a [u8]) {
        let (host, port) = ends(text);
        if let Some(peer) = peer::host(host) {
            self.sighting.source = peer.source.map(|end| end.address);
            self.source_name = peer.name;
            self.port = port.and_then(number16).filter(|port| *port > 0).or(self.port);
        }
    }

    /// The address is one that a client may have written.
    pub(super) fn doubt(&mut self) {
        self.sighting.source = None;
        self.source_name = None;
        self.port = None;
        self.ambiguous = true;
    }

    /// What becomes an event.
    pub(super) fn observe(&self, category: Option<&Category>) -> Observation {
        let seen = &self.sighting;
        let mut out = Observation::new(seen.kind, seen.at);
        out.analyzer = AnalyzerName::new(seen.service).ok();
        out.category = category.cloned();
        out.host = seen
            .host
            .and_then(|name| std::str::from_utf8(name).ok())
            .and_then(|name| HostName::new(name).ok());
        out.source = seen.source.map(|address| Endpoint {
            port: self.port,
            transport: Some(Transport::Tcp),
            ..Endpoint::address(address)
        });
        let outcome: Option<Outcome> = seen.outcome;
        if seen.user.is_some() || outcome.is_some() {
            let username = seen.user.map(|name| cut(name, MAX_BRIEF_BYTES));
            out.credentials = Some(Credentials { username, password: None, outcome });
        }
        if let Some(request) = seen.request {
            out.request = Some(cut(request, MAX_REQUEST_BYTES));
        }
        if let Some(client) = seen.client.map(|client| cut(client, MAX_BRIEF_BYTES)) {
            match seen.kind {
                // A client of HTTP names itself in a header.
                EventKind::RequestAnswered => {
                    let prints =
                        Fingerprints { user_agent: Some(client), ..Fingerprints::default() };
                    out.fingerprints = Some(Box::new(prints));
                }
                _ => out.client = Some(client),
            }
        }
        for (name, value) in
            [("method", seen.method), ("reason", seen.reason), ("source_name", self.source_name)]
        {
            if let Some(value) = value {
                out.note(name, AttributeValue::Text(cut(value, MAX_EXTRA_BYTES)));
            }
        }
        for (name, value) in [
            ("status", seen.status.map(i64::from)),
            ("target_port", seen.target_port.map(i64::from)),
            ("pid", self.pid.map(i64::from)),
        ] {
            if let Some(value) = value {
                out.note(name, AttributeValue::Integer(value));
            }
        }
        if self.ambiguous {
            out.note("ambiguous", AttributeValue::Flag(true));
        }
        for (name, value) in self.extras.iter().flatten() {
            let value = match value {
                Extra::Text(text) => AttributeValue::Text(cut(text, MAX_EXTRA_BYTES)),
                Extra::Integer(value) => AttributeValue::Integer(*value),
            };
            out.note(name, value);
        }
        out.repeat = seen.repeat;
        out
    }

    /// Where the client is, for tests that forge it.
    #[cfg(test)]
    pub(super) fn address(&self) -> Option<std::net::IpAddr> {
        self.sighting.source
    }
}

fn number16(text: &[u8]) -> Option<u16> {
    u16::try_from(number(text)?).ok()
}

/// `ADDRESS`, `[ADDRESS]`, `[ADDRESS]:PORT` or `IPV4:PORT`: both parts.
fn ends(text: &[u8]) -> (&[u8], Option<&[u8]>) {
    if let Some(inner) = text.strip_prefix(b"[")
        && let Some(close) = memchr::memchr(b']', inner)
    {
        let port = inner.get(close + 1..).and_then(|rest| rest.strip_prefix(b":"));
        return (inner.get(..close).unwrap_or_default(), port);
    }
    // An IPv6 address has more colons, and no dot before the first of them.
    match memchr::memchr(b':', text) {
        Some(colon) if memchr::memchr(b'.', text).is_some_and(|dot| dot < colon) => {
            (text.get(..colon).unwrap_or_default(), text.get(colon + 1..))
        }
        _ => (text, None),
    }
}

fn cut(text: &[u8], most: usize) -> Untrusted {
    Untrusted::from(text.get(..most).unwrap_or(text))
}
