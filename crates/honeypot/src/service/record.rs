//! From what was done in a shell to events. Telnet and SSH share it.

use palisade_event::{Event, EventKind, MAX_TEXT_BYTES, Untrusted};

use crate::shell::Act;
use crate::{Closed, Session};

/// Emits the events of acts, in their order.
pub(crate) async fn acts(session: &mut Session, acts: Vec<Act>) -> Result<(), Closed> {
    for act in acts {
        if let Some(event) = event(session, act) {
            session.emit(event).await?;
        }
    }
    Ok(())
}

fn event(session: &mut Session, act: Act) -> Option<Event> {
    Some(match act {
        Act::FetchAttempted { tool, url, outcome } => {
            let event = session.event(EventKind::DownloadAttempted);
            let mut event = event.with("tool", tool.as_str()).with("outcome", outcome);
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
