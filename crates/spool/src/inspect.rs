//! Reads the files of a spool without opening it, also while it is open.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use crate::scan::{Scanner, Step, fill};
use crate::segment::{self, HEADER_BYTES, Header};

/// What the files of a spool hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inspection {
    /// Segment files.
    pub segments: u64,
    /// Records in frames whose checksums agree, done with or not.
    pub records: u64,
    /// Bytes of the files.
    pub bytes: u64,
    /// Files with damage before their last whole frame, and where it begins.
    /// Bytes after the last frame are none: they are still being written, or
    /// never were acknowledged.
    pub damaged: Vec<(PathBuf, u64)>,
}

/// Reads every frame of every segment. A segment that goes meanwhile is left
/// out.
///
/// # Errors
/// A file cannot be read.
pub fn inspect(dir: &Path) -> io::Result<Inspection> {
    let mut found = Inspection::default();
    for first in segment::firsts(dir)? {
        let path = segment::path(dir, first);
        match one(&path, first, &mut found) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => other?,
        }
    }
    Ok(found)
}

fn one(path: &Path, first: u64, found: &mut Inspection) -> io::Result<()> {
    let file = File::open(path)?;
    let bytes = file.metadata()?.len();
    found.segments += 1;
    found.bytes += bytes;
    let mut header = [0; HEADER_BYTES];
    let read = fill(&file, &mut header, 0)?;
    let Some(header) = header.get(..read).and_then(Header::decode) else {
        if bytes > HEADER_BYTES as u64 {
            found.damaged.push((path.to_owned(), 0));
        }
        return Ok(());
    };
    let mut scanner = Scanner::new(file, header.mark, first);
    loop {
        match scanner.step(bytes, u64::MAX)? {
            Step::Frame { first, end, .. } => found.records += end - first,
            Step::Damage { offset, frame_follows: true } => {
                found.damaged.push((path.to_owned(), offset));
            }
            Step::Damage { frame_follows: false, .. } | Step::End => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_between_frames_is_found_and_a_torn_tail_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let append = |text: &str| vec![text.as_bytes().to_vec()];
        let whole = crate::fuzzing::segment_of(7, 0, &[append("one"), append("two"), append("3")]);
        let path = segment::path(dir.path(), 0);
        std::fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        let found = inspect(dir.path()).unwrap();
        assert_eq!((found.segments, found.records, found.damaged.len()), (1, 2, 0));
        let mut bad = whole.clone();
        bad[HEADER_BYTES + 30] ^= 1;
        std::fs::write(&path, &bad).unwrap();
        let found = inspect(dir.path()).unwrap();
        assert_eq!((found.records, found.damaged), (2, vec![(path, HEADER_BYTES as u64)]));
        assert_eq!(inspect(&dir.path().join("none")).unwrap(), Inspection::default());
    }
}
