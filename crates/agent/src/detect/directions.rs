//! What the hub directs beside its decisions, kept on disk so that it holds
//! while the hub is away: whom it spares, and which scenarios it has switched.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use palisade_event::{DirectedEntry, Directions};
use palisade_rules::{HubAllowed, Switches};

use crate::durable;

/// Longest file that is read back, in bytes; a full one has some 3 MiB.
const MAX_BYTES: u64 = 16 * 1024 * 1024;

/// See the module.
pub(super) struct Directed {
    path: PathBuf,
    version: Option<u64>,
    switches: Switches,
}

/// Whom the hub spares, as far as that is known.
pub(super) type Spares = Option<Vec<HubAllowed>>;

impl Directed {
    /// What was kept, and whom to spare because of it. Blocks.
    pub(super) fn open(folder: &Path) -> (Self, Spares) {
        let mut opened = Self { path: path(folder), version: None, switches: Switches::new() };
        let spares = match read(&opened.path) {
            Ok(None) => Some(Vec::new()),
            Ok(Some(kept)) => {
                opened.version = Some(kept.version);
                opened.switches = kept.simulate;
                Some(spares(kept.allow))
            }
            Err(error) => {
                tracing::error!(%error, path = %opened.path.display(), "whom the hub spares cannot be read; nobody is banned until the hub says it again. To go on without, remove the file");
                None
            }
        };
        (opened, spares)
    }

    /// Which one is kept.
    pub(super) fn version(&self) -> Option<u64> {
        self.version
    }

    /// Scenarios that the hub has switched.
    pub(super) fn switches(&self) -> &Switches {
        &self.switches
    }

    /// Takes directions over; whom to spare from now on.
    pub(super) fn take(&mut self, new: &Directions) -> Vec<HubAllowed> {
        self.version = Some(new.version);
        self.switches.clone_from(&new.simulate);
        spares(new.allow.clone())
    }

    /// Writes them down. Where that fails they hold until the next start, and
    /// the hub says them again then.
    pub(super) async fn keep(&self, new: Directions) {
        let path = self.path.clone();
        let kept = tokio::task::spawn_blocking(move || durable::write(&path, &new));
        let kept = kept.await.map_err(io::Error::other);
        if let Err(error) = kept.and_then(|kept| kept) {
            tracing::error!(%error, path = %self.path.display(), "whom the hub spares cannot be written down");
        }
    }
}

fn path(folder: &Path) -> PathBuf {
    folder.join("directions.json")
}

fn spares(allow: Vec<DirectedEntry>) -> Vec<HubAllowed> {
    let entry = |entry: DirectedEntry| HubAllowed {
        target: entry.target,
        reason: entry.reason.unwrap_or_default(),
        until: entry.until,
    };
    allow.into_iter().map(entry).collect()
}

fn read(path: &Path) -> io::Result<Option<Directions>> {
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(MAX_BYTES).read_to_end(&mut bytes)?;
    let kept: Directions = serde_json::from_slice(&bytes)?;
    kept.check().map_err(|rule| io::Error::new(io::ErrorKind::InvalidData, rule))?;
    Ok(Some(kept))
}

#[cfg(test)]
mod tests {
    use palisade_event::ScenarioName;

    use super::*;

    #[tokio::test]
    async fn directions_are_kept_and_a_damaged_file_is_not_taken_for_none() {
        let folder = tempfile::tempdir().unwrap();
        let (mut directed, spares) = Directed::open(folder.path());
        assert_eq!((directed.version(), spares), (None, Some(Vec::new())));
        let entry = DirectedEntry {
            target: "192.0.2.0/24".parse().unwrap(),
            reason: Some("office".into()),
            until: None,
        };
        let new = Directions {
            version: 7,
            allow: vec![entry],
            simulate: [(ScenarioName::new("port-scan").unwrap(), true)].into(),
        };
        assert_eq!(directed.take(&new).len(), 1);
        directed.keep(new.clone()).await;
        let (again, spares) = Directed::open(folder.path());
        assert_eq!((again.version(), again.switches()), (Some(7), &new.simulate));
        assert_eq!(spares.unwrap()[0].reason, "office".into());
        fs::write(path(folder.path()), "{\"version\":7,").unwrap();
        let (damaged, spares) = Directed::open(folder.path());
        assert_eq!((damaged.version(), spares), (None, None));
    }
}
