//! What a watched file is: content by hash, rights, owner, size; and the baseline of
//! all of them, kept in a file.
//!
//! The hash is SHA-256: it is what `sha256sum`, packages and threat feeds give, so
//! that a value can be looked up, and processors of the last ten years compute it
//! at more than 1 GB/s.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::durable;

/// Bytes that are read and hashed at once.
const CHUNK_BYTES: usize = 256 * 1024;
/// Largest baseline that is read back, and its longest line, in bytes.
const MAX_BASELINE_BYTES: u64 = 512 * 1024 * 1024;
const MAX_LINE_BYTES: u64 = 64 * 1024;

/// A file, as it was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    /// SHA-256 of the content, or of where a link points to; none where it is larger
    /// than is hashed, or could not be read.
    #[serde(with = "as_hex")]
    pub(crate) hash: Option<[u8; 32]>,
    /// Type and rights.
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) size: u64,
    /// Last change of the content and of the inode, nanoseconds: where these and the
    /// size are as they were, a quick look reads nothing.
    mtime: i64,
    ctime: i64,
    inode: u64,
}

/// How a file changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Created,
    Modified,
    Deleted,
    Attributes,
}

impl Change {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Modified => "modified",
            Self::Deleted => "deleted",
            Self::Attributes => "attributes",
        }
    }
}

impl State {
    /// Looks at a file. With `before` its content is read only where something else
    /// says that it may have changed. `pace` is told how many bytes were read.
    ///
    /// # Errors
    /// It is not there, or is no file and no link.
    pub(crate) fn of(
        path: &Path,
        before: Option<&Self>,
        max_bytes: u64,
        pace: &mut dyn FnMut(usize),
    ) -> io::Result<Self> {
        let meta = path.symlink_metadata()?;
        if !meta.is_file() && !meta.is_symlink() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "no file"));
        }
        let nanos =
            |seconds: i64, nanos: i64| seconds.saturating_mul(1_000_000_000).saturating_add(nanos);
        let mut state = Self {
            hash: None,
            mode: meta.mode(),
            uid: meta.uid(),
            gid: meta.gid(),
            size: meta.size(),
            mtime: nanos(meta.mtime(), meta.mtime_nsec()),
            ctime: nanos(meta.ctime(), meta.ctime_nsec()),
            inode: meta.ino(),
        };
        if let Some(before) = before
            && (before.size, before.mtime, before.ctime, before.inode)
                == (state.size, state.mtime, state.ctime, state.inode)
        {
            state.hash = before.hash;
            return Ok(state);
        }
        state.hash = if meta.is_symlink() {
            let target = std::fs::read_link(path)?;
            Some(Sha256::digest(target.as_os_str().as_encoded_bytes()).into())
        } else if meta.size() <= max_bytes {
            // Not a pipe that somebody has put there meanwhile, nor through a link.
            let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY).bits();
            let opened = File::options().read(true).custom_flags(flags.cast_signed()).open(path);
            opened.and_then(|file| hash(file.take(max_bytes), pace)).ok()
        } else {
            None
        };
        Ok(state)
    }

    /// How it differs from an earlier look, if it does.
    pub(crate) fn differs(&self, before: &Self) -> Option<Change> {
        let content = match (self.hash, before.hash) {
            (Some(now), Some(before)) => now != before,
            // Not hashed at one of the looks.
            _ => self.size != before.size || self.mtime != before.mtime,
        };
        let kind = |state: &Self| state.mode & 0o170_000;
        if content || kind(self) != kind(before) {
            Some(Change::Modified)
        } else if (self.mode, self.uid, self.gid) != (before.mode, before.uid, before.gid) {
            Some(Change::Attributes)
        } else {
            None
        }
    }
}

/// The SHA-256 of what is read.
pub(crate) fn hash(mut from: impl Read, pace: &mut dyn FnMut(usize)) -> io::Result<[u8; 32]> {
    let mut hash = Sha256::new();
    let mut chunk = vec![0u8; CHUNK_BYTES];
    loop {
        match from.read(&mut chunk) {
            Ok(0) => return Ok(hash.finalize().into()),
            Ok(length) => {
                hash.update(chunk.get(..length).unwrap_or_default());
                pace(length);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Hexadecimal digits of a hash.
pub(crate) fn hex(hash: &[u8; 32]) -> String {
    palisade_event::PayloadHash(*hash).to_string()
}

/// A hash in the baseline: the digits that `sha256sum` prints.
mod as_hex {
    use palisade_event::PayloadHash;
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    pub(super) fn serialize<S: Serializer>(
        hash: &Option<[u8; 32]>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        hash.map(PayloadHash).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<[u8; 32]>, D::Error> {
        Ok(Option::<PayloadHash>::deserialize(deserializer)?.map(|hash| hash.0))
    }
}

/// The baseline: every watched file as it was last seen.
pub(crate) type Baseline = BTreeMap<Box<str>, State>;

/// Reads the baseline of an earlier run, and the paths that it was made for. `None`
/// where there is none.
///
/// # Errors
/// It cannot be read, or is damaged.
pub(crate) fn load(path: &Path) -> io::Result<Option<(Vec<PathBuf>, Baseline)>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let damaged = || io::Error::new(io::ErrorKind::InvalidData, "it is damaged");
    if file.metadata()?.len() > MAX_BASELINE_BYTES {
        return Err(damaged());
    }
    let mut reader = BufReader::new(file);
    let (mut baseline, mut line, mut paths) = (Baseline::new(), Vec::new(), None);
    loop {
        line.clear();
        if reader.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut line)? == 0 {
            return paths.map(|paths| Some((paths, baseline))).ok_or_else(damaged);
        }
        if paths.is_none() {
            paths = Some(serde_json::from_slice(&line).map_err(|_| damaged())?);
            continue;
        }
        let (path, state) = serde_json::from_slice(&line).map_err(|_| damaged())?;
        baseline.insert(path, state);
    }
}

/// Writes the baseline: a line with the paths, then a line a file. Blocks.
///
/// # Errors
/// The disk is full, or may not be written.
pub(crate) fn save(path: &Path, paths: &[PathBuf], baseline: &Baseline) -> io::Result<()> {
    durable::replace_by(path, |file| {
        serde_json::to_writer(&mut *file, paths)?;
        file.write_all(b"\n")?;
        for entry in baseline {
            serde_json::to_writer(&mut *file, &entry)?;
            file.write_all(b"\n")?;
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn look(path: &Path, before: Option<&State>) -> io::Result<State> {
        State::of(path, before, 1024 * 1024, &mut |_| {})
    }

    #[test]
    fn content_rights_and_kind_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, "abc").unwrap();
        let first = look(&path, None).unwrap();
        // The digest of FIPS 180-2, appendix B.1.
        assert_eq!(
            hex(&first.hash.unwrap()),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(look(&path, Some(&first)).unwrap().differs(&first), None);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        let second = look(&path, Some(&first)).unwrap();
        assert_eq!(second.differs(&first), Some(Change::Attributes));
        std::fs::write(&path, "abd").unwrap();
        assert_eq!(look(&path, Some(&second)).unwrap().differs(&second), Some(Change::Modified));
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
        assert_eq!(look(&path, Some(&second)).unwrap().differs(&second), Some(Change::Modified));
        rustix::fs::mknodat(
            rustix::fs::CWD,
            folder.path().join("pipe"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        )
        .unwrap();
        assert!(look(&folder.path().join("pipe"), None).is_err());
    }

    #[test]
    fn a_change_that_sets_its_time_back_is_seen_by_a_look_without_the_baseline() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, "abc").unwrap();
        let first = look(&path, None).unwrap();
        let time = std::fs::metadata(&path).unwrap().modified().unwrap();
        std::fs::write(&path, "xyz").unwrap();
        File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
        assert_eq!(look(&path, None).unwrap().differs(&first), Some(Change::Modified));
    }

    #[test]
    fn a_baseline_survives_and_a_damaged_one_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("baseline");
        assert!(load(&file).unwrap().is_none());
        let mut baseline = Baseline::new();
        baseline.insert(
            "/etc/a\n\u{fffd}".into(),
            look(folder.path().join("..").as_path(), None).unwrap_or(State {
                hash: Some([7; 32]),
                mode: 0o100644,
                uid: 0,
                gid: 5,
                size: 3,
                mtime: -1,
                ctime: 2,
                inode: 9,
            }),
        );
        let paths = vec![PathBuf::from("/etc")];
        save(&file, &paths, &baseline).unwrap();
        assert_eq!(load(&file).unwrap().unwrap(), (paths, baseline));
        std::fs::write(&file, "[\"/a\",{\"hash\":").unwrap();
        assert!(load(&file).is_err());
    }
}
