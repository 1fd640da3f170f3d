//! Small files that are replaced as a whole and survive a power cut.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Longest file that is read back, in bytes; ours are far smaller.
const MAX_FILE_BYTES: u64 = 256 * 1024;

/// Replaces `path` by `value` as JSON: temporary file, fsync, rename, fsync of
/// the directory. Blocks.
pub(crate) fn write(path: &Path, value: &impl Serialize) -> io::Result<()> {
    replace(path, &[&serde_json::to_vec(value)?, b"\n"])
}

/// Replaces `path` by these parts, one behind the other, in the same way. Blocks.
pub(crate) fn replace(path: &Path, parts: &[&[u8]]) -> io::Result<()> {
    replace_by(path, |file| parts.iter().try_for_each(|part| file.write_all(part)))
}

/// Replaces `path` by what is written to the file that it hands over, in the
/// same way. Blocks.
pub(crate) fn replace_by(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    let mut file = BufWriter::new(File::create(&temporary)?);
    write(&mut file)?;
    file.into_inner()?.sync_all()?;
    fs::rename(&temporary, path)?;
    if let Some(folder) = path.parent() {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

/// Reads what [`write`] wrote; `None` where there is no such file. Blocks.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    let size = match fs::metadata(path) {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if size > MAX_FILE_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "too long to be ours"));
    }
    Ok(Some(serde_json::from_slice(&fs::read(path)?)?))
}
