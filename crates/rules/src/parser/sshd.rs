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

use memchr::memmem;
use palisade_event::{
    AttributeValue, Attributes, Category, Credentials, EventKind, HostName, Outcome, Timestamp,
    Untrusted,
};

use super::peer::{self, Peer};
use super::syslog::{self, number};
use super::{LineContext, Observation, Parsed};

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
) -> Parsed {
    match classify(message.trim_ascii()) {
        Class::Fact(fact) => Parsed::Observation(Box::new(fact.observe(observed_at, host, None))),
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
            kind: self.kind,
            observed_at: at,
            host,
            source: self.peer.and_then(|peer| peer.source),
            credentials,
            client: self.client.map(Untrusted::from),
            request: self.request.map(Untrusted::from),
            session: None,
            attributes,
            category: Category::new(CATEGORY).ok(),
            repeat: self.repeat,
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
    let at = memmem::find(text, separator)?;
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

/// `Authentication failure for X from HOST`, by keyboard-interactive.
fn pam_error(message: &[u8]) -> Class<'_> {
    let (message, _) = preauth(message);
    let Some((before, host)) = peer::last_from(message) else { return Class::Irrelevant };
    let Some((_, user)) = cut(before, b" for ") else { return Class::Irrelevant };
    if user.starts_with(b"illegal user ") {
        return Class::Irrelevant;
    }
    peer::exact(host)
        .map(|peer| Fact {
            outcome: Some(Outcome::Failed),
            method: Some(b"keyboard-interactive/pam"),
            ..Fact::new(EventKind::AuthAttempted).from(peer).user(user)
        })
        .into()
}

/// `Accepted METHOD for X from HOST port N ssh2[: KEYTYPE FINGERPRINT]`.
fn accepted(message: &[u8]) -> Class<'_> {
    let Some(rest) = message.strip_prefix(b"Accepted ") else { return authentication(message) };
    if after_any(rest, &[b"key ", b"certificate "]).is_some() {
        return Class::Irrelevant;
    }
    attempt(rest, Outcome::Accepted).into()
}

/// `Failed METHOD for [invalid user ]X from HOST port N ssh2[: KEYTYPE …]`.
fn failed(message: &[u8]) -> Class<'_> {
    let Some(rest) = message.strip_prefix(b"Failed ") else { return housekeeping(message) };
    if rest.starts_with(b"to ") {
        return Class::Irrelevant;
    }
    if let Some(rest) = rest.strip_prefix(b"keyboard-interactive/pam for ")
        && !rest.starts_with(b"invalid user ")
    {
        return Class::Irrelevant;
    }
    attempt(rest, Outcome::Failed).into()
}

/// The common part of `Accepted` and `Failed`.
fn attempt(text: &[u8], outcome: Outcome) -> Option<Fact<'_>> {
    let (text, _) = preauth(text);
    let (method, rest) = cut(text, b" for ")?;
    if method.is_empty() || method.contains(&b' ') {
        return None;
    }
    let (user, tail) = peer::last_from(rest)?;
    let mut fact = match matches!(method, b"password" | b"none") {
        true => {
            let (peer, rest) = peer::leading(tail)?;
            protocol_version(rest).filter(|info| info.is_empty())?;
            Fact::new(EventKind::AuthAttempted).marked_user(user).from(peer)
        }
        false => attempt_with_info(rest)?,
    };
    fact.outcome = Some(outcome);
    fact.method = Some(method);
    Some(fact)
}

/// ` ssh2: INFO`, ` ssh2` or nothing: the information, maybe empty.
fn protocol_version(text: &[u8]) -> Option<&[u8]> {
    let text = after_any(text, &[b" ssh2", b" ssh1"]).unwrap_or(text);
    match text {
        b"" => Some(b""),
        text => text.strip_prefix(b": "),
    }
}

/// `X from HOST port N ssh2: INFO` where both X and INFO may be the attacker's.
fn attempt_with_info(text: &[u8]) -> Option<Fact<'_>> {
    let candidate = |at: usize| {
        let (peer, rest) = peer::leading(text.get(at + 6..)?)?;
        Some((text.get(..at)?, peer, protocol_version(rest)?))
    };
    let mut found = memmem::find_iter(text, b" from ").filter_map(candidate);
    let (user, peer, info) = found.next()?;
    let fact = Fact::new(EventKind::AuthAttempted);
    let Some((last_user, last_peer, last_info)) = found.last() else {
        return Some(fact.marked_user(user).from(peer).info(info));
    };
    // Attacker text in the information is never the end of a line: a
    // certificate's name is followed by its serial number and signer, a client
    // host by a quote. So a plain end belongs to the last address.
    if last_info.is_empty() || is_plain_key(last_info) {
        return Some(fact.marked_user(last_user).from(last_peer).info(last_info));
    }
    Some(Fact { ambiguous: true, ..fact.marked_user(user) })
}

/// A key's type and fingerprint and nothing else.
fn is_plain_key(info: &[u8]) -> bool {
    info.iter().filter(|b| **b == b' ').count() == 1 && !info.contains(&b'"')
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

/// `Authentication tried for X with correct key but not from a permitted host
/// (host=…, ip=HOST[, required=…])`, and other words with A.
fn authentication(message: &[u8]) -> Class<'_> {
    let Some(rest) = message.strip_prefix(b"Authentication tried for ") else {
        return housekeeping(message);
    };
    let Some((user, _)) = cut(rest, b" with correct ") else { return Class::Unparsed };
    let ip = memmem::rfind(rest, b", ip=").and_then(|at| rest.get(at + 5..));
    let end = |text: &[u8]| text.iter().position(|b| matches!(b, b',' | b')'));
    ip.and_then(|ip| ip.get(..end(ip)?))
        .and_then(peer::host)
        .map(|peer| {
            let reason = b"right key from an address that is not permitted";
            Fact::new(EventKind::UserProbed).user(user).from(peer).because(reason)
        })
        .into()
}

/// `Invalid user X from HOST[ port N]`, `Illegal user …` (before 3.9).
fn probed_user(message: &[u8]) -> Class<'_> {
    let (message, _) = preauth(message);
    let Some(rest) = after_any(message, &[b"Invalid user ", b"Illegal user "]) else {
        return housekeeping(message);
    };
    // An empty name: "Invalid user  from …" and "Invalid user from …".
    let fact = match peer::last_from(rest) {
        Some((user, tail)) => peer::exact(tail).map(|peer| (user, peer)),
        None => rest.strip_prefix(b"from ").and_then(peer::exact).map(|peer| (&b""[..], peer)),
    };
    fact.map(|(user, peer)| Fact {
        invalid_user: true,
        ..Fact::new(EventKind::UserProbed).user(user).from(peer)
    })
    .into()
}

/// `User X from HOST not allowed because REASON`, `User X not allowed because
/// REASON`, `Unable to negotiate with …`.
fn user_or_negotiation(message: &[u8]) -> Class<'_> {
    if let Some(rest) = message.strip_prefix(b"Unable to negotiate with ") {
        return negotiation(rest);
    }
    let Some(rest) = message.strip_prefix(b"User ") else { return housekeeping(message) };
    let Some(at) = memmem::rfind(rest, b" not allowed because ") else {
        return housekeeping(message);
    };
    let not_allowed = || {
        let (who, reason) = (rest.get(..at)?, rest.get(at + 21..)?);
        let (reason, _) = preauth(reason);
        let fact = Fact::new(EventKind::UserProbed).because(reason);
        let found = peer::last_from(who).and_then(|(user, tail)| Some((user, peer::exact(tail)?)));
        Some(match found {
            Some((user, peer)) => fact.user(user).from(peer),
            None => fact.user(who),
        })
    };
    not_allowed().into()
}

/// `HOST port N: no matching key exchange method found. Their offer: LIST`.
fn negotiation(text: &[u8]) -> Class<'_> {
    let (text, _) = preauth(text);
    let closed = || {
        let (peer, rest) = peer::leading(text)?;
        let rest = rest.strip_prefix(b": ")?;
        let (reason, offer) = match cut(rest, b". Their offer: ") {
            Some((reason, offer)) => (reason, Some(offer)),
            None => (rest, None),
        };
        Some(Fact { offer, ..Fact::new(EventKind::ConnectionClosed).from(peer).because(reason) })
    };
    closed().into()
}

/// `Connection closed by …`, `Connection reset by …`.
fn connection(message: &[u8]) -> Class<'_> {
    let (rest, reason): (_, &[u8]) =
        if let Some(rest) = message.strip_prefix(b"Connection closed by ") {
            (rest, b"closed by client")
        } else if let Some(rest) = message.strip_prefix(b"Connection reset by ") {
            (rest, b"reset by client")
        } else {
            return housekeeping(message);
        };
    left(rest, reason, BareLine::BeforeExchange)
}

/// What a line without `[preauth]` and without a name means.
#[derive(Clone, Copy, PartialEq, Eq)]
enum BareLine {
    /// A client that left before key exchange (no child process, no mark).
    BeforeExchange,
    /// The end of a connection that had not logged in.
    BeforeLogin,
    /// A client that left after login.
    AfterLogin,
}

/// `[authenticating user |invalid user |user ]X HOST port N [preauth]`.
fn left<'a>(text: &'a [u8], reason: &'a [u8], bare: BareLine) -> Class<'a> {
    let (text, early) = preauth(text);
    let Some((who, peer)) = peer::trailing(text) else { return Class::Unparsed };
    let fact = Fact::new(EventKind::ConnectionClosed).from(peer).because(reason);
    // An empty name leaves "invalid user" and its space is the peer's.
    let fact = match who {
        b"" => fact,
        b"invalid user" | b"invalid user " => Fact { invalid_user: true, ..fact },
        b"authenticating user" | b"authenticating user " => fact,
        who => match who.strip_prefix(b"authenticating user ") {
            Some(user) => fact.user(user),
            None if who.starts_with(b"invalid user ") => fact.marked_user(who),
            // "user X" is how a client is named once it has logged in.
            None if who.starts_with(b"user ") => return Class::Irrelevant,
            None => return Class::Unparsed,
        },
    };
    if early || !who.is_empty() {
        return Class::Fact(fact);
    }
    match (bare, peer.source.and_then(|end| end.port)) {
        (BareLine::AfterLogin, _) => Class::Irrelevant,
        // Since 7.0, when ports came, nothing but a port scan ends like this.
        (BareLine::BeforeExchange, Some(_)) => {
            Class::Fact(Fact { kind: EventKind::ConnectionProbed, ..fact })
        }
        (BareLine::BeforeExchange, None) | (BareLine::BeforeLogin, _) => Class::Fact(fact),
    }
}

/// `Disconnected from …`, `Disconnecting …`, `Did not receive identification
/// string from HOST[ port N]`.
fn departure(message: &[u8]) -> Class<'_> {
    if let Some(rest) = message.strip_prefix(b"Disconnected from ") {
        return left(rest, b"disconnected by client", BareLine::AfterLogin);
    }
    if let Some(rest) = message.strip_prefix(b"Did not receive identification string from ") {
        let (rest, _) = preauth(rest);
        return peer::exact(rest)
            .map(|peer| {
                Fact::new(EventKind::ConnectionProbed).from(peer).because(b"no identification")
            })
            .into();
    }
    let Some(rest) = message.strip_prefix(b"Disconnecting") else { return housekeeping(message) };
    let (rest, _) = preauth(rest);
    if let Some(reason) = rest.strip_prefix(b": ") {
        // Without an address. Before 6.7 this is the only line that names the
        // user who had too many failures.
        return match reason.strip_prefix(b"Too many authentication failures for ") {
            Some(user) => Class::Fact(Fact::new(EventKind::AuthExhausted).marked_user(user)),
            None => Class::Irrelevant,
        };
    }
    let Some(rest) = rest.strip_prefix(b" ") else { return Class::Unparsed };
    disconnecting(rest)
}

/// `[authenticating |invalid ]user X HOST port N: REASON`, where the reason may
/// quote the names that the client used.
fn disconnecting(text: &[u8]) -> Class<'_> {
    const CHANGED: &[u8] = b": Change of username or service not allowed: ";
    let split = |at: usize| Some((text.get(..at)?, text.get(at + 2..)?));
    let found = match (memmem::find(text, CHANGED), memmem::rfind(text, CHANGED)) {
        // The new name is part of this reason, so the reason begins at the
        // first of them, unless the old name contains the words too.
        (Some(first), Some(last)) if first == last => split(first),
        (Some(_), _) => {
            let fact = Fact::new(EventKind::ConnectionClosed);
            return Class::Fact(Fact { ambiguous: true, ..fact });
        }
        // No other reason quotes the client: the last "port N: " is the real one.
        _ => memmem::rfind_iter(text, b": ").filter_map(split).find(|(who, _)| ends_with_port(who)),
    };
    let Some((who, reason)) = found else { return Class::Unparsed };
    left(who, reason, BareLine::BeforeLogin)
}

/// ` port N` and nothing after it.
fn ends_with_port(text: &[u8]) -> bool {
    memmem::rfind(text, b" port ").and_then(|at| text.get(at + 6..)).and_then(number).is_some()
}

/// `Received disconnect from HOST[ port N]: CODE: TEXT [preauth]`.
fn received(message: &[u8]) -> Class<'_> {
    let Some(rest) = message.strip_prefix(b"Received disconnect from ") else {
        return match message.strip_prefix(b"ROOT LOGIN REFUSED FROM ") {
            Some(rest) => root_refused(rest),
            None => housekeeping(message),
        };
    };
    let (rest, early) = preauth(rest);
    let Some((peer, text)) = peer::leading(rest) else { return Class::Unparsed };
    // With a port there is no space after the colon.
    let Some(text) = text.strip_prefix(b": ").filter(|_| early) else { return Class::Irrelevant };
    let reason = cut(text, b": ").map_or(text, |(_, reason)| reason);
    Class::Fact(Fact::new(EventKind::ConnectionClosed).from(peer).because(reason))
}

fn root_refused(rest: &[u8]) -> Class<'_> {
    let (rest, _) = preauth(rest);
    peer::exact(rest)
        .map(|peer| {
            let reason = b"root may not log in";
            Fact::new(EventKind::UserProbed).user(b"root").from(peer).because(reason)
        })
        .into()
}

/// `Timeout before authentication for HOST[ port N]`; since 9.8 `… for
/// connection from HOST to HOST, pid = N`.
fn timeout(message: &[u8]) -> Class<'_> {
    let Some(rest) = message.strip_prefix(b"Timeout before authentication for ") else {
        return housekeeping(message);
    };
    let (rest, _) = preauth(rest);
    let rest = rest.strip_prefix(b"connection from ").unwrap_or(rest);
    let end = memmem::find(rest, b" to ").unwrap_or(rest.len());
    rest.get(..end)
        .and_then(|text| peer::exact(text.strip_suffix(b".").unwrap_or(text)))
        .map(|peer| Fact::new(EventKind::ConnectionClosed).from(peer).because(b"timeout"))
        .into()
}

/// `maximum authentication attempts exceeded for [invalid user ]X from HOST
/// port N ssh2 [preauth]`.
fn exhausted(message: &[u8]) -> Class<'_> {
    let prefixes: &[&[u8]] = &[
        b"maximum authentication attempts exceeded for ",
        b"Maximum authentication attempts exceeded for ",
    ];
    let Some(rest) = after_any(message, prefixes) else { return housekeeping(message) };
    let (rest, _) = preauth(rest);
    let fact = || {
        let (user, tail) = peer::last_from(rest)?;
        let (peer, end) = peer::leading(tail)?;
        protocol_version(end)?;
        Some(Fact::new(EventKind::AuthExhausted).marked_user(user).from(peer))
    };
    fact().into()
}

/// `Bad protocol version identification 'TEXT' from HOST[ port N]`, `banner
/// exchange: Connection from HOST port N: REASON`.
fn bad(message: &[u8]) -> Class<'_> {
    let (message, _) = preauth(message);
    if let Some(rest) = message.strip_prefix(b"banner exchange: Connection from ") {
        let probed = || {
            let (peer, rest) = peer::leading(rest)?;
            let reason = rest.strip_prefix(b": ")?;
            Some(Fact::new(EventKind::ConnectionProbed).from(peer).because(reason))
        };
        return probed().into();
    }
    let Some(rest) = message.strip_prefix(b"Bad protocol version identification ") else {
        return housekeeping(message);
    };
    let probed = || {
        let (sent, tail) = peer::last_from(rest)?;
        let sent = sent.strip_prefix(b"'").and_then(|sent| sent.strip_suffix(b"'")).unwrap_or(sent);
        let request = (!sent.is_empty()).then_some(sent);
        let fact = Fact::new(EventKind::ConnectionProbed).from(peer::exact(tail)?);
        Some(Fact { request, ..fact.because(b"bad protocol version identification") })
    };
    probed().into()
}

/// `Protocol major versions differ for HOST port N: OURS vs. THEIRS`.
fn protocol(message: &[u8]) -> Class<'_> {
    let Some(rest) = message.strip_prefix(b"Protocol major versions differ for ") else {
        return housekeeping(message);
    };
    let (rest, _) = preauth(rest);
    let probed = || {
        let (peer, rest) = peer::leading(rest)?;
        let (_, theirs) = cut(rest.strip_prefix(b": ")?, b" vs. ")?;
        let client = (!theirs.is_empty()).then_some(theirs);
        let fact = Fact::new(EventKind::ConnectionProbed).from(peer);
        Some(Fact { client, ..fact.because(b"protocol versions differ") })
    };
    probed().into()
}

/// `scanned from HOST with BANNER.  Don't panic.`
fn scanned(message: &[u8]) -> Class<'_> {
    let Some(rest) = message.strip_prefix(b"scanned from ") else {
        return match message.strip_prefix(b"ssh_dispatch_run_fatal: ") {
            Some(rest) => dispatch(rest),
            None => housekeeping(message),
        };
    };
    let (rest, _) = preauth(rest);
    let probed = || {
        let (peer, rest) = peer::leading(rest)?;
        let banner = rest.strip_prefix(b" with ")?;
        let end = memmem::rfind(banner, b".  Don't panic").unwrap_or(banner.len());
        let client = banner.get(..end);
        Some(Fact {
            client,
            ..Fact::new(EventKind::ConnectionProbed).from(peer).because(b"scanned")
        })
    };
    probed().into()
}

/// `Connection from [authenticating |invalid ]user X HOST port N: REASON`.
fn dispatch(text: &[u8]) -> Class<'_> {
    let (text, _) = preauth(text);
    match text.strip_prefix(b"Connection from ") {
        Some(rest) => disconnecting(rest),
        None => Class::Irrelevant,
    }
}

/// `drop connection #N from [HOST]:N on [HOST]:N past MaxStartups` (8.5), `…
/// penalty: REASON` (9.8).
fn dropped(message: &[u8]) -> Class<'_> {
    let Some(rest) = message.strip_prefix(b"drop connection #") else {
        return housekeeping(message);
    };
    let closed = || {
        let (_, rest) = cut(rest, b" from ")?;
        let (peer, rest) = peer::bracketed(rest)?;
        let reason = match rest.strip_prefix(b" on ") {
            Some(rest) => peer::bracketed(rest)?.1,
            None => rest,
        };
        Some(Fact::new(EventKind::ConnectionClosed).from(peer).because(reason.trim_ascii()))
    };
    closed().into()
}

/// `refused connect from NAME (HOST)`, by TCP wrappers.
fn refused(message: &[u8]) -> Class<'_> {
    let Some(rest) = message.strip_prefix(b"refused connect from ") else {
        return housekeeping(message);
    };
    let (rest, _) = preauth(rest);
    let inside = cut(rest, b" (").and_then(|(_, inside)| inside.strip_suffix(b")"));
    peer::host(inside.unwrap_or(rest))
        .map(|peer| {
            Fact::new(EventKind::ConnectionClosed).from(peer).because(b"refused by TCP wrappers")
        })
        .into()
}

/// Beginnings of messages that say nothing about an attempt, or nothing that
/// another line does not say. Sorted, and none begins with another: a test
/// holds both, the search relies on it.
const HOUSEKEEPING: &[&[u8]] = &[
    b"Account ",
    b"Address ",
    b"Allowed ",
    b"Attempt to write login records",
    b"Authentication refused",
    b"Authorized to ",
    b"AuthorizedKeysCommand",
    b"Bad packet length",
    b"Bind to port ",
    b"Cannot ",
    b"Certificate ",
    b"Changing root directory",
    b"Close session",
    b"Closing connection",
    b"Connection from ",
    b"Connection to ",
    b"Corrupted MAC",
    b"Could not ",
    b"Deprecated option",
    b"Exiting on signal",
    b"Found matching ",
    b"Generating ",
    b"Invalid public DH value",
    b"Login name ",
    b"Missing privilege separation",
    b"Nasty PTR record ",
    b"No supported ",
    b"PAM ",
    b"PAM: ",
    b"Partial ",
    b"Postponed ",
    b"Privilege separation",
    b"Read error from remote host",
    b"Read from socket failed",
    b"Received SIGHUP",
    b"Received signal",
    b"Refusing ",
    b"Server listening on ",
    b"Set ",
    b"Starting session",
    b"Transferred",
    b"Unable to ",
    b"Unsupported ",
    b"User ",
    b"WARNING",
    b"Warning",
    b"Write failed",
    b"auth_",
    b"beginning MaxStartups",
    b"bind ",
    b"channel ",
    b"chroot",
    b"connect_to ",
    b"debug",
    b"dispatch_protocol_error",
    b"exited MaxStartups",
    b"input_userauth_",
    b"kex",
    b"last message repeated",
    b"lastlog_",
    b"mm_",
    b"monitor_",
    b"no matching ",
    b"padding error",
    b"pam_",
    b"rekey",
    b"reprocess config",
    b"reverse mapping checking ",
    b"rexec",
    b"sent ",
    b"server_",
    b"session ",
    b"session_",
    b"setsockopt",
    b"sftp-server",
    b"srclimit_",
    b"ssh_",
    b"sshd version",
    b"sshpam_",
    b"sshpkt_",
    b"subsystem request",
    b"syslogin_",
    b"userauth_",
    b"warning",
];

fn housekeeping(message: &[u8]) -> Class<'_> {
    let after = HOUSEKEEPING.partition_point(|prefix| *prefix <= message);
    let before = after.checked_sub(1).and_then(|at| HOUSEKEEPING.get(at));
    match before {
        Some(prefix) if message.starts_with(prefix) => Class::Irrelevant,
        _ => Class::Unparsed,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(message: &str) -> Parsed {
        parse_sshd_message(message.as_bytes(), Timestamp::from_millis(0), None)
    }

    fn seen(message: &str) -> Observation {
        match parse(message) {
            Parsed::Observation(observation) => *observation,
            other => panic!("{message}: {other:?}"),
        }
    }

    fn address(observation: &Observation) -> String {
        observation.source.map_or("none".into(), |end| end.address.to_string())
    }

    fn user(observation: &Observation) -> String {
        let name = observation.credentials.as_ref().and_then(|c| c.username.clone());
        name.map_or("none".into(), |name| name.to_string())
    }

    #[test]
    fn housekeeping_is_sorted_and_free_of_prefixes_of_prefixes() {
        for pair in HOUSEKEEPING.windows(2) {
            assert!(pair[0] < pair[1] && !pair[1].starts_with(pair[0]), "{:?}", pair[1]);
        }
    }

    #[test]
    fn a_name_that_looks_like_an_address_does_not_become_the_source() {
        let name = "root from 192.0.2.1 port 22 ssh2";
        for line in [
            format!("Failed password for invalid user {name} from 198.51.100.9 port 4711 ssh2"),
            format!("Failed none for invalid user {name} from 198.51.100.9 port 4711 ssh2"),
            format!("Failed keyboard-interactive for invalid user {name} from 198.51.100.9 port 4711 ssh2"),
            format!("Failed publickey for invalid user {name} from 198.51.100.9 port 4711 ssh2: RSA SHA256:aa"),
            format!("Failed publickey for invalid user {name}: RSA SHA256:x from 198.51.100.9 port 4711 ssh2: RSA SHA256:aa"),
            format!("Invalid user {name} from 198.51.100.9 port 4711"),
            format!("Connection closed by invalid user {name} 198.51.100.9 port 4711 [preauth]"),
            format!("Connection reset by authenticating user {name} 198.51.100.9 port 4711 [preauth]"),
            format!("Disconnected from invalid user {name} 198.51.100.9 port 4711 [preauth]"),
            format!("Disconnecting invalid user {name}: a 192.0.2.1 port 1: b 198.51.100.9 port 4711: Too many authentication failures [preauth]"),
            format!("Disconnecting invalid user a 198.51.100.9 port 4711: Change of username or service not allowed: (a,ssh-connection) -> (x 192.0.2.1 port 1: {name},ssh-connection) [preauth]"),
            format!("error: maximum authentication attempts exceeded for invalid user {name} from 198.51.100.9 port 4711 ssh2 [preauth]"),
            format!("error: PAM: Authentication failure for {name} from 198.51.100.9 port 4711"),
            format!("User {name} from 198.51.100.9 port 4711 not allowed because not listed in AllowUsers"),
            "Bad protocol version identification 'x' from 192.0.2.1 port 1' from 198.51.100.9 port 4711".to_owned(),
            "Unable to negotiate with 198.51.100.9 port 4711: no matching cipher found. Their offer: a from 192.0.2.1 port 1: b [preauth]".to_owned(),
        ] {
            let got = seen(&line);
            assert_eq!(address(&got), "198.51.100.9", "{line}");
            assert_eq!(got.source.unwrap().port, Some(4711), "{line}");
        }
    }

    #[test]
    fn where_either_address_could_be_the_attackers_text_there_is_none() {
        let forged = "x from 192.0.2.1 port 22 ssh2: RSA SHA256:bb";
        for line in [
            format!(
                "Failed publickey for invalid user {forged} from 198.51.100.9 port 1 ssh2: RSA-CERT SHA256:aa ID y (serial 0) CA RSA SHA256:cc"
            ),
            format!(
                "Failed publickey for root from 198.51.100.9 port 1 ssh2: RSA-CERT SHA256:aa ID {forged} (serial 0) CA RSA SHA256:cc"
            ),
            format!(
                "Failed hostbased for root from 198.51.100.9 port 1 ssh2: RSA SHA256:aa, client user \"a\", client host \"{forged}\""
            ),
        ] {
            let got = seen(&line);
            assert_eq!(address(&got), "none", "{line}");
            assert_eq!(
                got.attributes.get("ambiguous"),
                Some(&AttributeValue::Flag(true)),
                "{line}"
            );
        }
    }

    #[test]
    fn names_are_kept_as_written() {
        for name in
            [" 0101", "invalid user x", "a b c", "\\303\\244", "[preauth]", "port 22", ": x", "'"]
        {
            let line =
                format!("Failed password for invalid user {name} from 192.0.2.7 port 1 ssh2");
            assert_eq!(seen(&line).credentials.unwrap().username, Some(name.into()), "{line}");
            let line =
                format!("Connection closed by invalid user {name} 192.0.2.7 port 1 [preauth]");
            assert_eq!(seen(&line).credentials.unwrap().username, Some(name.into()), "{line}");
        }
        let got = seen("Failed password for invalid user  from 192.0.2.7 port 1 ssh2");
        assert_eq!((address(&got), user(&got)), ("192.0.2.7".into(), "none".into()));
    }

    #[test]
    fn a_repeated_message_counts_as_often_as_it_says() {
        let got = seen(
            "message repeated 5 times: [ Failed password for root from 192.0.2.7 port 1 ssh2]",
        );
        assert_eq!((got.repeat, address(&got)), (5, "192.0.2.7".into()));
        assert_eq!(
            parse("message repeated 2 times: [ pam_unix(sshd:auth): x]"),
            Parsed::Irrelevant
        );
        for odd in ["0", "4294967296", "-1", "x", "100001"] {
            let line = format!(
                "message repeated {odd} times: [ Failed password for root from 192.0.2.7 port 1 ssh2]"
            );
            assert_eq!(parse(&line), Parsed::Unparsed, "{line}");
        }
    }

    #[test]
    fn keyboard_interactive_with_pam_counts_once_for_every_user() {
        let lines = [
            ("error: PAM: Authentication failure for root from 192.0.2.7", true),
            ("Failed keyboard-interactive/pam for root from 192.0.2.7 port 1 ssh2", false),
            ("error: PAM: Authentication failure for illegal user bob from 192.0.2.7", false),
            (
                "Failed keyboard-interactive/pam for invalid user bob from 192.0.2.7 port 1 ssh2",
                true,
            ),
        ];
        for (line, counts) in lines {
            assert_eq!(matches!(parse(line), Parsed::Observation(_)), counts, "{line}");
        }
    }

    #[test]
    fn a_new_message_is_reported_as_not_understood() {
        assert_eq!(parse("Teleported root from 192.0.2.7"), Parsed::Unparsed);
        assert_eq!(parse("Failed password for root from nowhere! port 1 ssh2"), Parsed::Unparsed);
    }

    #[test]
    fn other_programs_are_irrelevant() {
        let cx = LineContext { now: Timestamp::from_millis(0), zone: jiff::tz::TimeZone::UTC };
        let line = b"Nov 20 20:07:14 h evil: Failed password for root from 192.0.2.7 port 1 ssh2";
        assert_eq!(parse_sshd(line, &cx), Parsed::Irrelevant);
        let line =
            b"Nov 20 20:07:14 h sshd[1]: Failed password for root from 192.0.2.7 port 1 ssh2\r\n";
        assert!(matches!(parse_sshd(line, &cx), Parsed::Observation(_)));
        assert_eq!(parse_sshd(b"", &cx), Parsed::Irrelevant);
        assert_eq!(parse_sshd(b"\0\0\0", &cx), Parsed::Unparsed);
    }

    proptest! {
        #[test]
        fn no_name_moves_the_source(name in "[ -~]{1,60}") {
            for line in [
                format!("Failed password for invalid user {name} from 198.51.100.9 port 4711 ssh2"),
                format!("Invalid user {name} from 198.51.100.9 port 4711"),
                format!("Disconnected from invalid user {name} 198.51.100.9 port 4711 [preauth]"),
                format!("Failed publickey for invalid user {name} from 198.51.100.9 port 4711 ssh2: RSA SHA256:aa"),
            ] {
                let got = seen(&line);
                prop_assert_eq!(address(&got), "198.51.100.9");
            }
        }

        #[test]
        fn any_bytes_are_survived(line in proptest::collection::vec(any::<u8>(), 0..300)) {
            let cx = LineContext { now: Timestamp::from_millis(0), zone: jiff::tz::TimeZone::UTC };
            let _ = parse_sshd(&line, &cx);
            let _ = parse_sshd_message(&line, cx.now, None);
        }

        #[test]
        fn any_mixture_of_its_own_words_is_survived(words in proptest::collection::vec(
            prop::sample::select(vec![
                "Failed ", "Accepted ", "password", "publickey", " for ", "invalid user ", "root", " from ",
                "192.0.2.7", " port ", "22", " ssh2", ": ", "[preauth]", "message repeated 2 times: [ ", "]",
                "Disconnecting ", "Connection closed by ", "authenticating user ", "[", "]:", "error: ",
                "Unable to negotiate with ", "drop connection #", " on ", "User ", " not allowed because ",
                "Received disconnect from ", "Bad protocol version identification ", "'", " ",
            ]), 0..14)) {
            let _ = parse(&words.concat());
        }
    }
}
