//! The file that says how far the reader has come and what was lost.
//!
//! Two lines: the figures as JSON, and the CRC-32C of the first line in hex.
//! Replaced as a whole (new file, fsync, rename, fsync of the directory). The
//! spool works without it: then everything in the segments is delivered again.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::error::OpenError;
use crate::limits::MAX_CHECKPOINT_BYTES;
use crate::segment::FORMAT;

const NAME: &str = "checkpoint";
const NEW: &str = "checkpoint.new";
const DAMAGED: &str = "checkpoint.corrupt";

/// What is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Checkpoint {
    pub(crate) format: u32,
    /// The mark of new segments, in hex: JSON numbers lose bits elsewhere.
    pub(crate) mark: String,
    /// Records before this number are done with.
    pub(crate) committed: u64,
    /// Numbers below it have been given out.
    pub(crate) next: u64,
    /// Numbers below `next` that no acknowledged record has.
    pub(crate) unused: u64,
    pub(crate) dropped_records: u64,
    pub(crate) dropped_bytes: u64,
    pub(crate) corrupt_frames: u64,
    pub(crate) corrupt_records: u64,
    /// Damage before this number has been counted.
    pub(crate) corrupt_counted_to: u64,
}

/// Only the format, which every later version keeps.
#[derive(serde::Deserialize)]
struct Version {
    format: u32,
}

impl Checkpoint {
    fn encode(&self) -> io::Result<String> {
        let line = serde_json::to_string(self)?;
        let crc = crc32c::crc32c(line.as_bytes());
        Ok(format!("{line}\n{crc:08x}\n"))
    }

    /// `Err` with a reason where the text is not a whole checkpoint; `Ok` with
    /// the format where it is of a later one.
    fn decode(text: &str) -> Result<Result<Self, u32>, &'static str> {
        let (line, crc) = text.split_once('\n').ok_or("it is cut off")?;
        if crc != format!("{:08x}\n", crc32c::crc32c(line.as_bytes())) {
            return Err("its checksum does not agree");
        }
        let Version { format } = serde_json::from_str(line).map_err(|_| "it has no format")?;
        if format > FORMAT {
            return Ok(Err(format));
        }
        serde_json::from_str(line).map(Ok).map_err(|_| "a field is missing")
    }

    /// Replaces the checkpoint; durable on return.
    pub(crate) fn write(&self, dir: &Path) -> io::Result<()> {
        let (new, path) = (dir.join(NEW), dir.join(NAME));
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(self.encode()?.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&new, &path)?;
        sync_dir(dir)
    }

    /// `None` where there is none, or only a damaged one, which is put aside.
    pub(crate) fn read(dir: &Path) -> Result<Option<Self>, OpenError> {
        let path = dir.join(NAME);
        let io = |source| OpenError::Io { path: path.clone(), source };
        let mut bytes = Vec::new();
        match File::open(&path) {
            Ok(file) => file.take(MAX_CHECKPOINT_BYTES).read_to_end(&mut bytes).map_err(io)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io(error)),
        };
        let text = std::str::from_utf8(&bytes).map_err(|_| "it is no text");
        let reason = match text.and_then(Self::decode) {
            Ok(Ok(checkpoint)) => return Ok(Some(checkpoint)),
            Ok(Err(found)) => return Err(OpenError::Format { path, found, known: FORMAT }),
            Err(reason) => reason,
        };
        tracing::error!(
            path = %path.display(), reason,
            "the spool's checkpoint is damaged; records are delivered again from the oldest on"
        );
        if let Err(error) = std::fs::rename(&path, dir.join(DAMAGED)) {
            tracing::warn!(%error, "cannot put the damaged checkpoint aside");
        }
        Ok(None)
    }
}

/// Makes created, renamed and removed names in `dir` durable.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Checkpoint {
        Checkpoint {
            format: FORMAT,
            mark: "00ff".into(),
            committed: 7,
            next: 9,
            ..Default::default()
        }
    }

    #[test]
    fn what_was_written_is_read() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Checkpoint::read(dir.path()).unwrap(), None);
        sample().write(dir.path()).unwrap();
        assert_eq!(Checkpoint::read(dir.path()).unwrap(), Some(sample()));
    }

    #[test]
    fn no_damaged_byte_and_no_cut_passes() {
        let text = sample().encode().unwrap();
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            assert!(Checkpoint::decode(std::str::from_utf8(&bytes).unwrap()).is_err(), "byte {at}");
            assert!(Checkpoint::decode(&text[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn damaged_checkpoint_is_put_aside() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(NAME), [0xff; 9]).unwrap();
        assert_eq!(Checkpoint::read(dir.path()).unwrap(), None);
        assert!(dir.path().join(DAMAGED).exists());
    }

    #[test]
    fn later_format_is_refused_even_with_unknown_fields() {
        let dir = tempfile::tempdir().unwrap();
        let line = "{\"format\":2,\"new\":1}";
        let text = format!("{line}\n{:08x}\n", crc32c::crc32c(line.as_bytes()));
        std::fs::write(dir.path().join(NAME), text).unwrap();
        assert!(matches!(
            Checkpoint::read(dir.path()),
            Err(OpenError::Format { found: 2, known: 1, .. })
        ));
    }
}
