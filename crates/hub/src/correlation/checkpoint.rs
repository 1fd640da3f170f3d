//! The counts on disk, beside the spool that they are of.
//!
//! Written from time to time and at the end; what came after it the spool still
//! has. A file that is damaged is not used; where scenarios have changed, counts
//! begin anew and bans stay.

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};

use palisade_event::Timestamp;
use palisade_rules::{Detector, OffenceList};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// The form of the file.
const FORMAT: u32 = 1;
/// Largest file that is read back, in bytes.
const MAX_BYTES: u64 = 1024 * 1024 * 1024;

/// What is in front of the engine's own bytes: two lines, so that the first can
/// be read alone.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    format: u32,
    /// Number of the first record of the spool that is not in it.
    position: u64,
    newest: Option<Timestamp>,
    bytes: u64,
    sha256: String,
}

/// A state to be written.
pub(super) struct Snapshot {
    header: Vec<u8>,
    body: Vec<u8>,
}

impl Snapshot {
    /// Takes the state; `position` is the first record that is not in it.
    pub(super) fn take(
        detector: &mut Detector,
        position: u64,
        newest: Option<Timestamp>,
    ) -> io::Result<Self> {
        let mut body = serde_json::to_vec(&detector.policy.save())?;
        body.push(b'\n');
        body.extend(detector.engine_mut().counter().save());
        let (bytes, sha256) = (body.len() as u64, hex(&body));
        let header = Header { format: FORMAT, position, newest, bytes, sha256 };
        let mut header = serde_json::to_vec(&header)?;
        header.push(b'\n');
        Ok(Self { header, body })
    }

    pub(super) fn bytes(&self) -> u64 {
        (self.header.len() + self.body.len()) as u64
    }

    /// Replaces the file. Blocks.
    pub(super) fn write(&self, path: &Path) -> io::Result<()> {
        let new = path.with_extension("new");
        let mut file = File::create(&new)?;
        file.write_all(&self.header)?;
        file.write_all(&self.body)?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        match path.parent() {
            Some(folder) => File::open(folder)?.sync_all(),
            None => Ok(()),
        }
    }
}

/// What a state on disk says beside what a detector takes back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Loaded {
    /// From where the spool is to be counted.
    pub(super) position: Option<u64>,
    pub(super) newest: Option<Timestamp>,
}

/// Where the file is.
pub(super) fn path(folder: &Path) -> PathBuf {
    folder.join("correlation.state")
}

/// Up to where the state on disk goes, without reading all of it. Blocks.
pub(crate) fn position(folder: &Path) -> Option<u64> {
    let mut line = Vec::new();
    let file = File::open(path(folder)).ok()?;
    BufReader::new(file).take(64 * 1024).read_until(b'\n', &mut line).ok()?;
    let header: Header = serde_json::from_slice(&line).ok()?;
    (header.format == FORMAT).then_some(header.position)
}

/// Reads the state back into a detector. Blocks.
pub(super) fn load(path: &Path, detector: &mut Detector) -> Loaded {
    let bytes = match read(path) {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Loaded::default(),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "the counts of correlation cannot be read; they begin with what the spool has");
            return Loaded::default();
        }
    };
    parse(&bytes, detector).unwrap_or_else(|| {
        tracing::warn!(path = %path.display(), "the counts of correlation are damaged; they begin with what the spool has");
        Loaded::default()
    })
}

fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    match File::open(path) {
        Ok(file) => file.take(MAX_BYTES).read_to_end(&mut bytes).map(|_| Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn parse(bytes: &[u8], detector: &mut Detector) -> Option<Loaded> {
    let (header, body) = line(bytes)?;
    let header: Header = serde_json::from_slice(header).ok()?;
    let whole = header.format == FORMAT && header.bytes == body.len() as u64;
    if !whole || header.sha256 != hex(body) {
        return None;
    }
    let (remembered, engine) = line(body)?;
    let remembered: OffenceList = serde_json::from_slice(remembered).ok()?;
    detector.policy.load(&remembered);
    if !detector.engine_mut().counter().restore(engine) {
        tracing::info!("the hub's scenarios have changed; counting begins anew");
    }
    Some(Loaded { position: Some(header.position), newest: header.newest })
}

fn line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    Some((bytes.get(..end)?, bytes.get(end + 1..)?))
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
