//! Lines about a login: accepted, failed, refused, used up.

use super::*;

/// `Authentication failure for X from HOST`, by keyboard-interactive.
pub(super) fn pam_error(message: &[u8]) -> Class<'_> {
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
pub(super) fn accepted(message: &[u8]) -> Class<'_> {
    let Some(rest) = message.strip_prefix(b"Accepted ") else { return authentication(message) };
    if after_any(rest, &[b"key ", b"certificate "]).is_some() {
        return Class::Irrelevant;
    }
    attempt(rest, Outcome::Accepted).into()
}

/// `Failed METHOD for [invalid user ]X from HOST port N ssh2[: KEYTYPE …]`.
pub(super) fn failed(message: &[u8]) -> Class<'_> {
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
pub(super) fn attempt(text: &[u8], outcome: Outcome) -> Option<Fact<'_>> {
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
pub(super) fn protocol_version(text: &[u8]) -> Option<&[u8]> {
    let text = after_any(text, &[b" ssh2", b" ssh1"]).unwrap_or(text);
    match text {
        b"" => Some(b""),
        text => text.strip_prefix(b": "),
    }
}

/// `X from HOST port N ssh2: INFO` where both X and INFO may be the attacker's.
pub(super) fn attempt_with_info(text: &[u8]) -> Option<Fact<'_>> {
    let candidate = |at: usize| {
        let (peer, rest) = peer::leading(text.get(at + 6..)?)?;
        Some((text.get(..at)?, peer, protocol_version(rest)?))
    };
    let mut found = search::places(text, b" from ").filter_map(candidate);
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
pub(super) fn is_plain_key(info: &[u8]) -> bool {
    info.iter().filter(|b| **b == b' ').count() == 1 && !info.contains(&b'"')
}

/// `Authentication tried for X with correct key but not from a permitted host
/// (host=…, ip=HOST[, required=…])`, and other words with A.
pub(super) fn authentication(message: &[u8]) -> Class<'_> {
    let Some(rest) = message.strip_prefix(b"Authentication tried for ") else {
        return housekeeping(message);
    };
    let Some((user, _)) = cut(rest, b" with correct ") else { return Class::Unparsed };
    let ip = search::rfind(rest, b", ip=").and_then(|at| rest.get(at + 5..));
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
pub(super) fn probed_user(message: &[u8]) -> Class<'_> {
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
pub(super) fn user_or_negotiation(message: &[u8]) -> Class<'_> {
    if let Some(rest) = message.strip_prefix(b"Unable to negotiate with ") {
        return negotiation(rest);
    }
    let Some(rest) = message.strip_prefix(b"User ") else { return housekeeping(message) };
    let Some(at) = search::rfind(rest, b" not allowed because ") else {
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

pub(super) fn root_refused(rest: &[u8]) -> Class<'_> {
    let (rest, _) = preauth(rest);
    peer::exact(rest)
        .map(|peer| {
            let reason = b"root may not log in";
            Fact::new(EventKind::UserProbed).user(b"root").from(peer).because(reason)
        })
        .into()
}

/// `maximum authentication attempts exceeded for [invalid user ]X from HOST
/// port N ssh2 [preauth]`.
pub(super) fn exhausted(message: &[u8]) -> Class<'_> {
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
