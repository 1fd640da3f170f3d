//! From what was done in a shell to events. Telnet and SSH share it.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use palisade_event::{Event, EventKind, MAX_TEXT_BYTES, PayloadHash, Untrusted};

use crate::shell::{Act, sha256};
use crate::{Closed, Session};

/// Largest file that is handed on whole, in bytes; of a larger one the first
/// 64 KiB are.
const MAX_PAYLOAD_BYTES: usize = 5 * 1024 * 1024;
/// Files whose pieces were handed on and that need not be again.
const MAX_HANDED_ON: usize = 256;
/// So long they need not: the hub may have removed them after.
const HANDED_ON_FOR: Duration = Duration::from_secs(3_600);

/// Which large files were handed on lately. Bots bring the same one each time.
#[derive(Debug, Default)]
pub(crate) struct HandedOn(Mutex<VecDeque<(PayloadHash, Instant)>>);

impl HandedOn {
    /// Whether its pieces have to be told; from now on they were.
    fn is_new(&self, hash: PayloadHash, now: Instant) -> bool {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|(_, since)| now.duration_since(*since) < HANDED_ON_FOR);
        if known.iter().any(|(other, _)| *other == hash) {
            return false;
        }
        if known.len() >= MAX_HANDED_ON {
            known.pop_front();
        }
        known.push_back((hash, now));
        true
    }
}

/// Emits the events of acts, in their order.
pub(crate) async fn acts(session: &mut Session, acts: Vec<Act>) -> Result<(), Closed> {
    for act in acts {
        let mut parts = None;
        if let Act::FileDropped { bytes, hash, .. } = &act {
            parts = hand_on(session, bytes, *hash).await?;
        }
        if let Some(mut event) = event(session, act) {
            if let Some(parts) = parts {
                event = event.with("parts", Untrusted::from(parts));
            }
            session.emit(event).await?;
        }
    }
    Ok(())
}

/// Tells the pieces of a file that is too large for one event, before the event
/// of the file itself; says their hashes, one after the other, in hexadecimal.
async fn hand_on(
    session: &mut Session,
    bytes: &[u8],
    hash: PayloadHash,
) -> Result<Option<String>, Closed> {
    let sizes = MAX_TEXT_BYTES + 1..=MAX_PAYLOAD_BYTES;
    if !sizes.contains(&bytes.len()) || !session.handed_on().is_new(hash, Instant::now()) {
        return Ok(None);
    }
    let mut parts = String::new();
    for piece in bytes.chunks(MAX_TEXT_BYTES) {
        let _ = write!(parts, "{}", sha256(piece));
        let event = session.event(EventKind::PayloadPart);
        let mut event = event.with("contents", Untrusted::new(piece.to_vec()));
        event.payload = Some(hash);
        session.emit(event).await?;
    }
    Ok(Some(parts))
}

fn event(session: &mut Session, act: Act) -> Option<Event> {
    Some(match act {
        Act::FetchAttempted { tool, url, outcome, got, status } => {
            let event = session.event(EventKind::DownloadAttempted);
            let mut event = event.with("tool", tool.as_str()).with("outcome", outcome);
            if let Some((bytes, hash)) = got {
                event = event.with("bytes", bytes);
                event.payload = Some(hash);
            }
            if let Some(status) = status {
                event = event.with("status", u64::from(status));
            }
            event.request = Some(Untrusted::new(url.into_bytes()));
            event
        }
        Act::FileDropped { path, bytes, hash } => {
            let kept = bytes.get(..MAX_TEXT_BYTES).unwrap_or(&bytes);
            let mut event = session
                .event(EventKind::PayloadCaptured)
                .with("size", bytes.len() as u64)
                .with("contents", Untrusted::new(kept.to_vec()));
            if kept.len() < bytes.len() {
                event = event.with("truncated", true);
            }
            event.payload = Some(hash);
            event.payload_name = Some(Untrusted::new(path.into_bytes()));
            event
        }
        Act::FileExecuted { path, hash, arguments } => {
            let event = session.event(EventKind::PayloadExecuted);
            let mut event = event.with("arguments", Untrusted::new(arguments));
            event.payload = Some(hash);
            event.payload_name = Some(Untrusted::new(path.into_bytes()));
            event
        }
        Act::KeyPlanted { path, key, fingerprint } => {
            let mut event = session.event(EventKind::KeyPlanted).with("path", path.as_str());
            if let Some(fingerprint) = fingerprint {
                event = event.with("fingerprint", fingerprint.as_str());
            }
            event.request = Some(Untrusted::new(key));
            event
        }
        Act::PasswordChanged { user, password } => {
            let mut event = session.event(EventKind::PasswordChanged);
            event.credentials = Some(palisade_event::Credentials {
                username: Some(Untrusted::new(user.into_bytes())),
                password: Some(Untrusted::new(password)),
                outcome: None,
            });
            event
        }
        Act::UserAdded { user } => {
            let mut event = session.event(EventKind::UserAdded);
            event.credentials = Some(palisade_event::Credentials {
                username: Some(Untrusted::new(user.into_bytes())),
                ..palisade_event::Credentials::default()
            });
            event
        }
        Act::StartupChanged { path, line } => {
            let mut event = session.event(EventKind::StartupChanged).with("path", path.as_str());
            event.request = Some(Untrusted::new(line));
            event
        }
        // The command line tells it.
        Act::ProcessKilled { .. } => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_told_once_an_hour_and_few_are_remembered() {
        let (known, now) = (HandedOn::default(), Instant::now());
        let hash = |n: u16| sha256(&n.to_be_bytes());
        assert!(known.is_new(hash(0), now));
        assert!(!known.is_new(hash(0), now + Duration::from_secs(3_599)));
        assert!(known.is_new(hash(0), now + HANDED_ON_FOR));
        for n in 1..=MAX_HANDED_ON as u16 {
            assert!(known.is_new(hash(n), now + HANDED_ON_FOR));
        }
        assert!(known.is_new(hash(0), now + HANDED_ON_FOR), "it was pushed out");
        assert_eq!(known.0.lock().unwrap().len(), MAX_HANDED_ON);
    }
}
