//! Which hub this is, for the others: a number drawn once and kept beside the
//! spool, so that an event which comes back is known.

use std::io::Write as _;
use std::path::Path;

use palisade_event::{AttributeValue, Event, MAX_ATTRIBUTES, Untrusted};

use crate::error::OpenError;

/// The attribute that names the hubs an event has passed, with commas between.
pub const VIA: &str = "via";
/// Most hubs that are named; an event that has passed more goes no further.
const MAX_HOPS: usize = 8;
/// Characters of a hub's number.
const ID_CHARS: usize = 16;

/// The number of this hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin(Box<str>);

impl Origin {
    /// Reads the number in `dir`, or draws it. Blocks.
    pub(crate) fn open(dir: &Path) -> Result<Self, OpenError> {
        let path = dir.join("id");
        let failed =
            |error: std::io::Error| OpenError(format!("cannot use {}: {error}", path.display()));
        match std::fs::read_to_string(&path) {
            Ok(text) if is_id(text.trim()) => return Ok(Self(text.trim().into())),
            Ok(_) => {
                tracing::warn!(path = %path.display(), "the hub's number is damaged; a new one is drawn")
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        let id = format!("{:016x}", rand::random::<u64>());
        let write = || -> std::io::Result<()> {
            let new = path.with_extension("new");
            let mut file = std::fs::File::create(&new)?;
            writeln!(file, "{id}")?;
            file.sync_all()?;
            std::fs::rename(&new, &path)?;
            std::fs::File::open(dir)?.sync_all()
        };
        write().map_err(failed)?;
        Ok(Self(id.into()))
    }

    /// Whether an event has been here before.
    pub(crate) fn has_seen(&self, event: &Event) -> bool {
        passed(event)
            .is_some_and(|hubs| hubs.split(|b| *b == b',').any(|id| id == self.0.as_bytes()))
    }

    /// Whether an event has passed as many hubs as it may.
    pub(crate) fn is_tired(event: &Event) -> bool {
        passed(event).is_some_and(|hubs| hubs.split(|b| *b == b',').count() >= MAX_HOPS)
    }

    /// Notes in an event that it has passed here. One that has no room for the
    /// note goes without: hubs know it by its id.
    pub(crate) fn stamp(&self, event: &mut Event) {
        let mut hubs = passed(event).map(<[u8]>::to_vec).unwrap_or_default();
        if !hubs.is_empty() {
            hubs.push(b',');
        }
        hubs.extend_from_slice(self.0.as_bytes());
        if event.attributes.len() < MAX_ATTRIBUTES || event.attributes.contains_key(VIA) {
            event.attributes.insert(VIA.into(), AttributeValue::Text(Untrusted::new(hubs)));
        }
    }
}

fn is_id(text: &str) -> bool {
    text.len() == ID_CHARS && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn passed(event: &Event) -> Option<&[u8]> {
    match event.attributes.get(VIA)? {
        AttributeValue::Text(hubs) if !hubs.is_empty() => Some(hubs.as_bytes()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use palisade_event::{EventId, EventKind, SensorId, Timestamp};

    #[test]
    fn an_event_that_comes_back_is_known_and_one_that_wanders_tires() {
        let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let a = Origin::open(here.path()).unwrap();
        let b = Origin::open(there.path()).unwrap();
        assert_eq!(Origin::open(here.path()).unwrap(), a);
        let at = Timestamp::from_millis(1);
        let sensor = SensorId::new("unit").unwrap();
        let mut event = Event::new(EventId::new(at, 1), EventKind::ConnectionOpened, at, sensor);
        assert!(!a.has_seen(&event));
        a.stamp(&mut event);
        assert!(a.has_seen(&event) && !b.has_seen(&event) && !Origin::is_tired(&event));
        for _ in 1..MAX_HOPS {
            b.stamp(&mut event);
        }
        assert!(a.has_seen(&event) && b.has_seen(&event) && Origin::is_tired(&event));
        assert_eq!(event.validate(), Ok(()));
    }
}
