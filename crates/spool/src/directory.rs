//! Directories that a power cut leaves in place.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

/// Makes a directory (mode 0700) and those above it where they are missing;
/// they are all durable on return. Directories that were there are synced too:
/// who made them may have been killed before it came to that.
///
/// # Errors
/// Where a directory cannot be made or synced.
pub fn make_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    let path = path.canonicalize()?;
    for above in path.ancestors().skip(1) {
        match File::open(above).and_then(|directory| directory.sync_all()) {
            Ok(()) => {}
            // We cannot have made anything in a directory that we may not even list.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => break,
            // Some file systems (read-only, special) take no sync; nothing was made there either.
            Err(error) if above.parent().is_none() || is_refusal(&error) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Whether the file system does not know how to sync a directory.
fn is_refusal(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::InvalidInput
            | io::ErrorKind::Unsupported
            | io::ErrorKind::ReadOnlyFilesystem
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_directory_is_made_with_those_above_it_and_may_be_there_already() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        make_dir(&path).unwrap();
        make_dir(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        std::fs::write(dir.path().join("file"), "").unwrap();
        assert!(make_dir(&dir.path().join("file")).is_err());
    }
}
