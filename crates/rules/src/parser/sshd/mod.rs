//! OpenSSH's server: what its log lines say, from version 3 to 10.
//!
//! Programs `sshd`, `sshd-session` and `sshd-auth` (split since 9.8). One thing
//! that happened is often written several times, by sshd's processes and by
//! PAM; each attempt must count once. So one line counts and the others are
//! irrelevant:
//!
//! | what happened | counts | irrelevant beside it |
//! |---|---|---|
//! | a login request was answered | `Accepted …`, `Failed …` | `pam_unix…`, `PAM N more …`, `Postponed …`, `Partial …` |
//! | … by keyboard-interactive with PAM, the user exists | `error: PAM: … for X from …` (sshd keeps its own line to itself for the first failures) | `Failed keyboard-interactive/pam for X` |
//! | … the user does not exist | `Failed keyboard-interactive/pam for invalid user X` | `error: PAM: … for illegal user X` |
//! | a name was tried that may not log in | `Invalid user …`, `User … not allowed …`, `ROOT LOGIN REFUSED …` | `input_userauth_request: invalid user …` |
//! | the attempts of a connection are used up | `maximum authentication attempts exceeded …`, before 6.7 `Disconnecting: Too many … for X` | `Disconnecting: Too many authentication failures` |
//! | the client left before login | `Disconnected from …`, before 7.0 `Received disconnect from HOST: …` | `Received disconnect from HOST port N:…` (always followed by `Disconnected from`) |
//! | the client left before key exchange, or spoke another protocol | `Connection closed by HOST port N` without `[preauth]`, `Bad protocol version …`, `banner exchange: …`, `Did not receive identification …` | `kex_exchange_identification: …` (has no address) |
//!
//! What happens after a login is irrelevant. `message repeated N times` counts
//! N times ([`Observation::repeat`]); `last message repeated` of BSD syslog does
//! not say which message and is irrelevant.
//!
//! Login names are attacker text. sshd puts the address after the name, so the
//! last one is taken ([`super::peer`]). Only with public keys does attacker text
//! follow too (the name inside a certificate that nobody has signed): where
//! two different addresses could be meant, the source is `None` and the
//! attribute `ambiguous` is set. Names stay as sshd writes them, with its
//! escapes (`\303\244`).

mod known;
mod leaving;
mod login;
mod sight;
#[cfg(test)]
mod tests;

use palisade_event::{
    AttributeValue, Attributes, Category, Credentials, EventKind, HostName, Outcome, Timestamp,
    Untrusted,
};

use super::peer::{self, Peer};
use super::search;
use super::syslog::{self, number};
use super::{LineContext, Observation, Parsed};
use crate::Sighting;
use known::housekeeping;
use leaving::*;
use login::*;
pub(super) use sight::sight_head;
pub use sight::sight_sshd;

/// The category of what happens at a real SSH server.
const CATEGORY: &str = "SSH/login(sshd)";
/// Most repetitions one line may stand for; a larger number is no syslog daemon's.
const MAX_REPEAT: u32 = 100_000;
/// Longest text that is kept of a reason, an offer or a key, in bytes.
const MAX_DETAIL_BYTES: usize = 1024;

/// Parses a line of a syslog file (RFC 3164 or ISO head, see [`super::syslog`]).
/// Lines of other programs are irrelevant. Never fails and never panics.
#[must_use]
pub fn parse_sshd(line: &[u8], cx: &LineContext) -> Parsed {
    let line = line.trim_ascii_end();
    let Some(head) = syslog::split(line) else {
        // journalctl's own remarks ("-- Boot … --") and empty lines.
        let remark = line.is_empty() || line.starts_with(b"-- ");
        return if remark { Parsed::Irrelevant } else { Parsed::Unparsed };
    };
    if !matches!(head.tag, b"sshd" | b"sshd-session" | b"sshd-auth") {
        return Parsed::Irrelevant;
    }
    let fact = match classify(head.message) {
        Class::Fact(fact) => fact,
        Class::Irrelevant => return Parsed::Irrelevant,
        Class::Unparsed => return Parsed::Unparsed,
    };
    let Some(observed_at) = head.time.resolve(cx) else { return Parsed::Unparsed };
    let host = std::str::from_utf8(head.host).ok().and_then(|name| HostName::new(name).ok());
    Parsed::Observation(Box::new(fact.observe(observed_at, host, head.pid)))
}

/// Parses the message alone, as the journal has it: time and host come from
/// the journal's own fields.
#[must_use]
pub fn parse_sshd_message(
    message: &[u8],
    observed_at: Timestamp,
    host: Option<HostName>,
    pid: Option<u32>,
) -> Parsed {
    match classify(message.trim_ascii()) {
        Class::Fact(fact) => Parsed::Observation(Box::new(fact.observe(observed_at, host, pid))),
        Class::Irrelevant => Parsed::Irrelevant,
        Class::Unparsed => Parsed::Unparsed,
    }
}

/// What a message says, borrowed.
enum Class<'a> {
    Fact(Fact<'a>),
    Irrelevant,
    Unparsed,
}

/// What is known of one fact before anything is copied.
#[derive(Clone, Copy)]
struct Fact<'a> {
    kind: EventKind,
    peer: Option<Peer<'a>>,
    user: Option<&'a [u8]>,
    invalid_user: bool,
    outcome: Option<Outcome>,
    method: Option<&'a [u8]>,
    key_type: Option<&'a [u8]>,
    key_fingerprint: Option<&'a [u8]>,
    reason: Option<&'a [u8]>,
    offer: Option<&'a [u8]>,
    request: Option<&'a [u8]>,
    client: Option<&'a [u8]>,
    ambiguous: bool,
    repeat: u32,
}

impl<'a> Fact<'a> {
    fn new(kind: EventKind) -> Self {
        Self {
            kind,
            peer: None,
            user: None,
            invalid_user: false,
            outcome: None,
            method: None,
            key_type: None,
            key_fingerprint: None,
            reason: None,
            offer: None,
            request: None,
            client: None,
            ambiguous: false,
            repeat: 1,
        }
    }

    fn from(self, peer: Peer<'a>) -> Self {
        Self { peer: Some(peer), ..self }
    }

    /// A login name. An empty one is no name.
    fn user(self, user: &'a [u8]) -> Self {
        Self { user: (!user.is_empty()).then_some(user), ..self }
    }

    /// `invalid user X`, `illegal user X` (before 3.9) or `X`.
    fn marked_user(self, text: &'a [u8]) -> Self {
        match after_any(text, &[b"invalid user ", b"illegal user "]) {
            Some(user) => Self { invalid_user: true, ..self.user(user) },
            None => self.user(text),
        }
    }

    fn because(self, reason: &'a [u8]) -> Self {
        Self { reason: (!reason.is_empty()).then_some(reason), ..self }
    }

    /// What scenarios look at.
    fn sighting(&self, at: Timestamp) -> Sighting<'a> {
        Sighting {
            source: self.peer.and_then(|peer| peer.source).map(|end| end.address),
            user: self.user,
            outcome: self.outcome,
            request: self.request,
            method: self.method,
            client: self.client,
            reason: self.reason,
            repeat: self.repeat,
            ..Sighting::new(self.kind, at, "sshd")
        }
    }

    fn observe(self, at: Timestamp, host: Option<HostName>, pid: Option<u32>) -> Observation {
        let mut attributes = Attributes::new();
        let text = |bytes: &[u8]| {
            let kept = bytes.get(..MAX_DETAIL_BYTES).unwrap_or(bytes);
            AttributeValue::Text(Untrusted::from(kept))
        };
        let name = self.peer.and_then(|peer| peer.name);
        for (key, value) in [
            ("method", self.method),
            ("key_type", self.key_type),
            ("key_fingerprint", self.key_fingerprint),
            ("reason", self.reason),
            ("offer", self.offer),
            ("source_name", name),
        ] {
            if let Some(value) = value {
                attributes.insert(key.into(), text(value));
            }
        }
        for (key, flag) in [("invalid_user", self.invalid_user), ("ambiguous", self.ambiguous)] {
            if flag {
                attributes.insert(key.into(), AttributeValue::Flag(true));
            }
        }
        if let Some(pid) = pid {
            attributes.insert("pid".into(), AttributeValue::Integer(i64::from(pid)));
        }
        let credentials = (self.user.is_some() || self.outcome.is_some()).then(|| Credentials {
            username: self.user.map(Untrusted::from),
            password: None,
            outcome: self.outcome,
        });
        Observation {
            host,
            source: self.peer.and_then(|peer| peer.source),
            credentials,
            client: self.client.map(Untrusted::from),
            request: self.request.map(Untrusted::from),
            attributes,
            category: Category::new(CATEGORY).ok(),
            repeat: self.repeat,
            ..Observation::new(self.kind, at)
        }
    }
}

impl<'a> From<Option<Fact<'a>>> for Class<'a> {
    fn from(fact: Option<Fact<'a>>) -> Self {
        fact.map_or(Self::Unparsed, Self::Fact)
    }
}

fn after_any<'a>(text: &'a [u8], prefixes: &[&[u8]]) -> Option<&'a [u8]> {
    prefixes.iter().find_map(|prefix| text.strip_prefix(*prefix))
}

/// Splits at the first `separator`.
fn cut<'a>(text: &'a [u8], separator: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = search::find(text, separator)?;
    Some((text.get(..at)?, text.get(at + separator.len()..)?))
}

fn classify(message: &[u8]) -> Class<'_> {
    let Some(rest) = message.strip_prefix(b"message repeated ") else { return once(message) };
    let repeated = || {
        let (times, rest) = cut(rest, b" times: [")?;
        let times = number(times).filter(|times| (1..=MAX_REPEAT).contains(times))?;
        let inner = rest.strip_suffix(b"]")?.trim_ascii();
        match once(inner) {
            Class::Fact(fact) => Some(Class::Fact(Fact { repeat: times, ..fact })),
            class => Some(class),
        }
    };
    repeated().unwrap_or(Class::Unparsed)
}

/// One message. The first byte sorts out most candidates: this is the path
/// that every line of a busy server takes.
fn once(message: &[u8]) -> Class<'_> {
    let message = skip_solaris_id(message);
    let Some(first) = message.first() else { return Class::Irrelevant };
    match first {
        b'A' => accepted(message),
        b'B' => bad(message),
        b'C' => connection(message),
        b'D' => departure(message),
        b'F' => failed(message),
        b'I' => probed_user(message),
        b'M' => exhausted(message),
        b'P' => protocol(message),
        b'R' => received(message),
        b'T' => timeout(message),
        b'U' => user_or_negotiation(message),
        b'b' => bad(message),
        b'd' => dropped(message),
        b'm' => exhausted(message),
        b'r' => refused(message),
        b's' => scanned(message),
        b'e' | b'f' => match after_any(message, &[b"error: ", b"fatal: "]) {
            Some(rest) => error(rest),
            None => housekeeping(message),
        },
        _ => housekeeping(message),
    }
}

/// `[ID 800047 auth.info] ` of Solaris' syslog.
fn skip_solaris_id(message: &[u8]) -> &[u8] {
    if !message.starts_with(b"[ID ") {
        return message;
    }
    cut(message, b"] ").map_or(message, |(_, rest)| rest)
}

/// Removes ` [preauth]`, with which the process that has not yet
/// authenticated its client marks its messages (since 5.9).
fn preauth(message: &[u8]) -> (&[u8], bool) {
    let message = message.trim_ascii_end();
    match message.strip_suffix(b"[preauth]") {
        Some(rest) => (rest.trim_ascii_end(), true),
        None => (message, false),
    }
}

/// `error: …` and `fatal: …`: mostly what other messages are without it.
fn error(message: &[u8]) -> Class<'_> {
    if let Some(rest) = message.strip_prefix(b"PAM: ") {
        return pam_error(rest);
    }
    if let Some(rest) = message.strip_prefix(b"ssh_dispatch_run_fatal: ") {
        return dispatch(rest);
    }
    if let Some(rest) = message.strip_prefix(b"Access denied for user ") {
        // The credentials were right, PAM's account stage said no, and sshd
        // ends without a line of its own.
        let (rest, _) = preauth(rest);
        return rest
            .strip_suffix(b" by PAM account configuration")
            .map(|user| Fact {
                outcome: Some(Outcome::Failed),
                ..Fact::new(EventKind::AuthAttempted).user(user).because(b"PAM account")
            })
            .into();
    }
    if after_any(message, &[b"error: ", b"fatal: "]).is_some() {
        return Class::Irrelevant;
    }
    match once(message) {
        // The vocabulary of errors is open (files, keys, sockets): those that
        // are not about a client are not worth a warning each.
        Class::Unparsed => Class::Irrelevant,
        class => class,
    }
}

impl<'a> Fact<'a> {
    /// `ED25519 SHA256:…`, with certificates `ED25519-CERT SHA256:… ID … CA …`;
    /// before 6.8 `RSA 00:11:…`.
    fn info(mut self, info: &'a [u8]) -> Self {
        let mut words = info.split(|b| *b == b' ');
        if let (Some(kind), Some(print)) = (words.next(), words.next())
            && kind.iter().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || *b == b'-')
            && !kind.is_empty()
            && memchr::memchr(b':', print).is_some()
        {
            self.key_type = Some(kind);
            self.key_fingerprint = Some(print);
        }
        self
    }
}
