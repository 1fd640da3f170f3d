//! One process at a time on a data directory.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::error::OpenError;

/// Permissions of the lock file.
const FILE_MODE: u32 = 0o600;

/// The lock on a data directory, held until it is dropped (or the process
/// ends, however it ends).
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Makes the directory where it is not there, and locks it.
    ///
    /// # Errors
    /// [`OpenError`] naming the process that has it, or why it cannot be used.
    pub(crate) fn take(data_dir: &Path) -> Result<Self, OpenError> {
        make_dir(data_dir)?;
        let path = data_dir.join("lock");
        let refuse = |error: io::Error| {
            OpenError(format!("cannot write to the data directory {}: {error}", data_dir.display()))
        };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(FILE_MODE)
            .open(&path)
            .map_err(refuse)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                let mut holder = String::new();
                // The number is for people; without it the sentence is still true.
                let _ = (&mut file).take(32).read_to_string(&mut holder);
                let holder = match holder.trim() {
                    "" => "another process".to_owned(),
                    pid => format!("process {}", pid.escape_debug()),
                };
                return Err(OpenError(format!(
                    "the data directory {} is in use by {holder}; stop it, or choose another \
                     directory with --data",
                    data_dir.display()
                )));
            }
            Err(error) => return Err(refuse(error.into())),
        }
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(refuse)?;
        Ok(Self { _file: file })
    }
}

/// Keeps hubs away from a data directory while a command works on its files.
#[derive(Debug)]
pub struct DataLock {
    _lock: Lock,
}

impl DataLock {
    /// Takes the lock that a running hub holds.
    ///
    /// # Errors
    /// [`OpenError`]: a hub runs there, or the directory cannot be used.
    pub fn take(data_dir: &Path) -> Result<Self, OpenError> {
        Lock::take(data_dir).map(|lock| Self { _lock: lock })
    }
}

/// What may only be used under the lock. Whoever still works on it, on
/// whatever thread, keeps the lock.
#[derive(Debug)]
pub(crate) struct Locked<T> {
    // Dropped in this order.
    inner: T,
    _lock: Lock,
}

impl<T> Locked<T> {
    pub(crate) fn new(inner: T, lock: Lock) -> Self {
        Self { inner, _lock: lock }
    }
}

impl<T> std::ops::Deref for Locked<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.inner
    }
}

/// Makes a directory that the owner alone can enter, and those above it.
pub(crate) fn make_dir(path: &Path) -> Result<(), OpenError> {
    palisade_spool::make_dir(path).map_err(|error| {
        OpenError(format!(
            "cannot make the directory {}: {error}; choose another with --data, or let this user \
             write there",
            path.display()
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_directory_is_locked_once_and_free_again_afterwards() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("a/b");
        let lock = Lock::take(&data).unwrap();
        let error = Lock::take(&data).unwrap_err().to_string();
        assert!(error.contains(&format!("in use by process {}", std::process::id())), "{error}");
        drop(lock);
        Lock::take(&data).unwrap();
        let mode = std::fs::metadata(&data).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        let error = Lock::take(&file.join("data")).unwrap_err().to_string();
        assert!(error.contains("file/data"), "{error}");
    }
}
