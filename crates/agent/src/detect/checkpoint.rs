//! The state of detection on disk, beside the spool.
//!
//! Written from time to time and at the end; what came after it is rebuilt from
//! the spool. A file that is damaged or of other scenarios is not used: then
//! counting begins with what the spool still has.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};

use palisade_rules::{Detector, OffenceList};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::durable;

/// The form of the file.
const FORMAT: u32 = 1;
/// Largest file that is read back, in bytes.
const MAX_BYTES: u64 = 1024 * 1024 * 1024;
/// About what one remembered target takes in the file.
const REMEMBERED_BYTES: usize = 150;

/// What is in front of the engine's own bytes.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    format: u32,
    /// Number of the first record of the spool that is not in it.
    position: u64,
    remembered: OffenceList,
    /// How far the hub's feed of decisions is in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    feed: Option<u64>,
    engine_bytes: u64,
    engine_sha256: String,
}

/// A state to be written.
pub(super) struct Snapshot {
    header: Header,
    engine: Vec<u8>,
}

impl Snapshot {
    /// Takes the state; `position` is the first record of the spool that is not
    /// in it.
    pub(super) fn take(detector: &mut Detector, position: u64, feed: Option<u64>) -> Self {
        let engine = detector.engine_mut().counter().save();
        let header = Header {
            format: FORMAT,
            position,
            remembered: detector.policy.save(),
            feed,
            engine_bytes: engine.len() as u64,
            engine_sha256: hex(&engine),
        };
        Self { header, engine }
    }

    /// About how many bytes it has.
    pub(super) fn bytes(&self) -> usize {
        self.header.remembered.len() * REMEMBERED_BYTES + self.engine.len()
    }

    /// Replaces the file, without its whole text in memory. Blocks.
    pub(super) fn write(&self, path: &Path) -> io::Result<()> {
        durable::replace_by(path, |file| {
            serde_json::to_writer(&mut *file, &self.header)?;
            file.write_all(b"\n")?;
            file.write_all(&self.engine)
        })
    }
}

/// What a state on disk says beside what a detector takes back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Loaded {
    /// From where the spool must be replayed; `None` where the counts are not
    /// known, and then from its beginning.
    pub(super) position: Option<u64>,
    /// How far the hub's feed of decisions is in it.
    pub(super) feed: Option<u64>,
}

/// Where the file is.
pub(super) fn path(folder: &Path) -> PathBuf {
    folder.join("detect.state")
}

/// Reads the state back into a detector. Blocks.
pub(super) fn load(path: &Path, detector: &mut Detector) -> Loaded {
    let loaded = match open(path) {
        Ok(Some(file)) => parse(file, detector),
        Ok(None) => return Loaded::default(),
        Err(error) => Err(error),
    };
    match loaded {
        Ok(loaded) => {
            if loaded.position.is_none() {
                tracing::warn!(path = %path.display(), "the state of detection is of other scenarios or damaged; it is rebuilt from the spool");
            }
            loaded
        }
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "the state of detection cannot be read; it is rebuilt from the spool");
            Loaded::default()
        }
    }
}

fn open(path: &Path) -> io::Result<Option<BufReader<File>>> {
    match File::open(path) {
        Ok(file) if file.metadata()?.len() > MAX_BYTES => {
            Err(io::Error::new(io::ErrorKind::InvalidData, "too long to be ours"))
        }
        Ok(file) => Ok(Some(BufReader::new(file))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Nothing is taken over from a file that is damaged.
fn parse(mut file: impl BufRead, detector: &mut Detector) -> io::Result<Loaded> {
    let mut json = serde_json::Deserializer::from_reader(&mut file);
    let Ok(header) = Header::deserialize(&mut json) else { return Ok(Loaded::default()) };
    let mut engine = Vec::new();
    file.read_to_end(&mut engine)?;
    let Some((b'\n', engine)) = engine.split_first() else { return Ok(Loaded::default()) };
    if header.format != FORMAT
        || header.engine_bytes != engine.len() as u64
        || header.engine_sha256 != hex(engine)
    {
        return Ok(Loaded::default());
    }
    // Bans outlive a change of scenarios; counts do not.
    detector.policy.load(&header.remembered);
    let is_counted = detector.engine_mut().counter().restore(engine);
    Ok(Loaded { position: is_counted.then_some(header.position), feed: header.feed })
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use palisade_event::{EventKind, Timestamp};
    use palisade_rules::Sighting;

    use super::*;
    use crate::detect::DetectConfig;

    fn detector() -> Detector {
        DetectConfig::default().detector(1).unwrap()
    }

    fn touched() -> Detector {
        let mut detector = detector();
        let at = Timestamp::from_millis(1_795_000_000_000);
        let sighting = Sighting {
            source: "198.51.100.7".parse().ok(),
            target_port: Some(23),
            ..Sighting::new(EventKind::ConnectionOpened, at, "")
        };
        assert_eq!(detector.see(&sighting, None).len(), 1);
        detector
    }

    #[test]
    fn a_written_state_is_read_back_and_a_damaged_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = path(folder.path());
        assert_eq!(load(&path, &mut detector()).position, None);
        let mut before = touched();
        Snapshot::take(&mut before, 42, Some(7)).write(&path).unwrap();
        let mut after = detector();
        assert_eq!(load(&path, &mut after).position, Some(42));
        assert_eq!(after.policy.remembered(), 1);
        assert_eq!(after.engine().stats().tracked, before.engine().stats().tracked);
        let good = fs::read(&path).unwrap();
        for at in [0, good.len() / 2, good.len() - 1] {
            let mut bad = good.clone();
            bad[at] ^= 0x55;
            fs::write(&path, &bad).unwrap();
            assert_eq!(load(&path, &mut detector()).position, None, "{at}");
        }
        fs::write(&path, &good[..good.len() - 1]).unwrap();
        assert_eq!(load(&path, &mut detector()).position, None);
    }

    #[test]
    fn bans_outlive_a_change_of_scenarios() {
        let folder = tempfile::tempdir().unwrap();
        let path = path(folder.path());
        Snapshot::take(&mut touched(), 42, Some(7)).write(&path).unwrap();
        let config = DetectConfig { disable: vec!["port-scan".into()], ..DetectConfig::default() };
        let mut other = config.detector(1).unwrap();
        assert_eq!(load(&path, &mut other).position, None);
        assert_eq!(other.policy.remembered(), 1);
    }
}
