//! Bytes in files, `ab/abcdef…` by hash. A file is written beside its place,
//! made durable, and renamed; then the folder is made durable.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use palisade_event::PayloadHash;

/// A folder of files.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    /// Names files that are being written.
    writing: AtomicU64,
}

impl Folder {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        fs::create_dir_all(path)?;
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            File::open(parent)?.sync_all()?;
        }
        // What a crash has left half written was never promised.
        for entry in fs::read_dir(path)? {
            let path = entry?.path();
            if path.extension().is_some_and(|end| end == "part") {
                fs::remove_file(path)?;
            }
        }
        Ok(Self { path: path.to_owned(), writing: AtomicU64::new(0) })
    }

    fn place(&self, name: PayloadHash) -> (PathBuf, PathBuf) {
        let text = name.to_string();
        let shelf = self.path.join(text.get(..2).unwrap_or_default());
        let file = shelf.join(text);
        (shelf, file)
    }

    pub(super) fn put(&self, name: PayloadHash, bytes: &[u8]) -> io::Result<()> {
        let (shelf, file) = self.place(name);
        let number = self.writing.fetch_add(1, Ordering::Relaxed);
        let part = self.path.join(format!("{}-{number}.part", std::process::id()));
        let written = File::create(&part).and_then(|mut open| {
            open.write_all(bytes)?;
            open.sync_all()
        });
        if let Err(error) = written {
            let _ = fs::remove_file(&part);
            return Err(error);
        }
        if !shelf.is_dir() {
            match fs::create_dir(&shelf) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => File::open(&self.path)?.sync_all()?,
            }
        }
        fs::rename(&part, &file)?;
        File::open(&shelf)?.sync_all()
    }

    pub(super) fn get(&self, name: PayloadHash) -> io::Result<Option<Vec<u8>>> {
        match fs::read(self.place(name).1) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) fn remove(&self, name: PayloadHash) -> io::Result<()> {
        match fs::remove_file(self.place(name).1) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back_until_they_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("payloads");
        let name = PayloadHash([0xab; 32]);
        let folder = Folder::open(&path).unwrap();
        assert_eq!(folder.get(name).unwrap(), None);
        folder.put(name, b"one").unwrap();
        folder.put(name, b"one").unwrap();
        fs::write(path.join("1-2.part"), b"half").unwrap();
        let folder = Folder::open(&path).unwrap();
        assert!(!path.join("1-2.part").exists());
        assert_eq!(folder.get(name).unwrap().as_deref(), Some(&b"one"[..]));
        folder.remove(name).unwrap();
        folder.remove(name).unwrap();
        assert_eq!(folder.get(name).unwrap(), None);
    }
}
