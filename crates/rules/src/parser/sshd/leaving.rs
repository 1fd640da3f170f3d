//! Lines about a client that left, was cut off or never spoke SSH.

use super::*;

/// `HOST port N: no matching key exchange method found. Their offer: LIST`.
pub(super) fn negotiation(text: &[u8]) -> Class<'_> {
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

/// Why a connection ended, where the line begins so.
pub(super) const CLOSED: &[u8] = b"closed by client";
pub(super) const DISCONNECTED: &[u8] = b"disconnected by client";

/// `Connection closed by …`, `Connection reset by …`.
pub(super) fn connection(message: &[u8]) -> Class<'_> {
    let (rest, reason): (_, &[u8]) =
        if let Some(rest) = message.strip_prefix(b"Connection closed by ") {
            (rest, CLOSED)
        } else if let Some(rest) = message.strip_prefix(b"Connection reset by ") {
            (rest, b"reset by client")
        } else {
            return housekeeping(message);
        };
    left(rest, reason, BareLine::BeforeExchange)
}

/// What a line without `[preauth]` and without a name means.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum BareLine {
    /// A client that left before key exchange (no child process, no mark).
    BeforeExchange,
    /// The end of a connection that had not logged in.
    BeforeLogin,
    /// A client that left after login.
    AfterLogin,
}

/// `[authenticating user |invalid user |user ]X HOST port N [preauth]`.
pub(super) fn left<'a>(text: &'a [u8], reason: &'a [u8], bare: BareLine) -> Class<'a> {
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
pub(super) fn departure(message: &[u8]) -> Class<'_> {
    if let Some(rest) = message.strip_prefix(b"Disconnected from ") {
        return left(rest, DISCONNECTED, BareLine::AfterLogin);
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
pub(super) fn disconnecting(text: &[u8]) -> Class<'_> {
    const CHANGED: &[u8] = b": Change of username or service not allowed: ";
    let split = |at: usize| Some((text.get(..at)?, text.get(at + 2..)?));
    let found = match (search::find(text, CHANGED), search::rfind(text, CHANGED)) {
        // The new name is part of this reason, so the reason begins at the
        // first of them, unless the old name contains the words too.
        (Some(first), Some(last)) if first == last => split(first),
        (Some(_), _) => {
            let fact = Fact::new(EventKind::ConnectionClosed);
            return Class::Fact(Fact { ambiguous: true, ..fact });
        }
        // No other reason quotes the client: the last "port N: " is the real one.
        _ => {
            search::last_places(text, b": ").filter_map(split).find(|(who, _)| ends_with_port(who))
        }
    };
    let Some((who, reason)) = found else { return Class::Unparsed };
    left(who, reason, BareLine::BeforeLogin)
}

/// ` port N` and nothing after it.
pub(super) fn ends_with_port(text: &[u8]) -> bool {
    search::rfind(text, b" port ").and_then(|at| text.get(at + 6..)).and_then(number).is_some()
}

/// `Received disconnect from HOST[ port N]: CODE: TEXT [preauth]`.
pub(super) fn received(message: &[u8]) -> Class<'_> {
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

/// `Timeout before authentication for HOST[ port N]`; since 9.8 `… for
/// connection from HOST to HOST, pid = N`.
pub(super) fn timeout(message: &[u8]) -> Class<'_> {
    let Some(rest) = message.strip_prefix(b"Timeout before authentication for ") else {
        return housekeeping(message);
    };
    let (rest, _) = preauth(rest);
    let rest = rest.strip_prefix(b"connection from ").unwrap_or(rest);
    let end = search::find(rest, b" to ").unwrap_or(rest.len());
    rest.get(..end)
        .and_then(|text| peer::exact(text.strip_suffix(b".").unwrap_or(text)))
        .map(|peer| Fact::new(EventKind::ConnectionClosed).from(peer).because(b"timeout"))
        .into()
}

/// `Bad protocol version identification 'TEXT' from HOST[ port N]`, `banner
/// exchange: Connection from HOST port N: REASON`.
pub(super) fn bad(message: &[u8]) -> Class<'_> {
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
pub(super) fn protocol(message: &[u8]) -> Class<'_> {
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
pub(super) fn scanned(message: &[u8]) -> Class<'_> {
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
        let end = search::rfind(banner, b".  Don't panic").unwrap_or(banner.len());
        let client = banner.get(..end);
        Some(Fact {
            client,
            ..Fact::new(EventKind::ConnectionProbed).from(peer).because(b"scanned")
        })
    };
    probed().into()
}

/// `Connection from [authenticating |invalid ]user X HOST port N: REASON`.
pub(super) fn dispatch(text: &[u8]) -> Class<'_> {
    let (text, _) = preauth(text);
    match text.strip_prefix(b"Connection from ") {
        Some(rest) => disconnecting(rest),
        None => Class::Irrelevant,
    }
}

/// `drop connection #N from [HOST]:N on [HOST]:N past MaxStartups` (8.5), `…
/// penalty: REASON` (9.8).
pub(super) fn dropped(message: &[u8]) -> Class<'_> {
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
pub(super) fn refused(message: &[u8]) -> Class<'_> {
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
