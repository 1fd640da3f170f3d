//! The files a session sees: the device's own, made up when read, and what the
//! session has changed, in memory and bounded.

use std::collections::BTreeMap;

use super::device;
use crate::Persona;

/// Most bytes a session can store in files.
const MAX_STORED_BYTES: usize = 64 * 1024;
/// Most files and directories a session can make or remove.
const MAX_ENTRIES: usize = 256;
/// Longest path, as Linux has it for one name.
const MAX_PATH_BYTES: usize = 255;

pub(super) const NO_SUCH_FILE: &str = "No such file or directory";

/// What a session has changed.
#[derive(Debug, Default)]
pub(super) struct Files {
    changed: BTreeMap<String, Change>,
    stored: usize,
}

#[derive(Debug)]
enum Change {
    File { data: Vec<u8>, executable: bool },
    Directory,
    Removed,
}

impl Files {
    /// `path` from `cwd`, without `.` and `..`. Bytes that are no UTF-8 are
    /// replaced: names are for the session alone.
    pub(super) fn absolute(&self, cwd: &str, path: &[u8]) -> String {
        let path = String::from_utf8_lossy(path);
        let path = match path.strip_prefix('~') {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => format!("/root{rest}"),
            _ => path.into_owned(),
        };
        let mut parts: Vec<&str> = Vec::new();
        let base = if path.starts_with('/') { "" } else { cwd };
        for part in base.split('/').chain(path.split('/')) {
            match part {
                "" | "." => {}
                ".." => {
                    parts.pop();
                }
                _ => parts.push(part),
            }
        }
        format!("/{}", parts.join("/"))
    }

    pub(super) fn read(&self, persona: &Persona, path: &str) -> Result<Vec<u8>, &'static str> {
        match self.changed.get(path) {
            Some(Change::File { data, .. }) => Ok(data.clone()),
            Some(Change::Removed) => Err(NO_SUCH_FILE),
            Some(Change::Directory) => Err("Is a directory"),
            None if device::entries(path).is_some() => Err("Is a directory"),
            None => device::file(persona, path).ok_or(NO_SUCH_FILE),
        }
    }

    pub(super) fn is_directory(&self, path: &str) -> bool {
        match self.changed.get(path) {
            Some(Change::Directory) => true,
            Some(_) => false,
            None => device::entries(path).is_some(),
        }
    }

    pub(super) fn exists(&self, persona: &Persona, path: &str) -> bool {
        self.is_directory(path) || self.read(persona, path).is_ok()
    }

    /// Whether a file the session made may be run; `None` where it made none.
    pub(super) fn executable(&self, path: &str) -> Option<bool> {
        match self.changed.get(path) {
            Some(Change::File { executable, .. }) => Some(*executable),
            _ => None,
        }
    }

    pub(super) fn write(
        &mut self,
        path: &str,
        data: &[u8],
        append: bool,
    ) -> Result<(), &'static str> {
        self.may_change(path)?;
        if self.is_directory(path) {
            return Err("Is a directory");
        }
        let devices = device::entries("/dev").unwrap_or_default();
        if path.strip_prefix("/dev/").is_some_and(|name| devices.contains(&name)) {
            return Ok(());
        }
        let before = match self.changed.get(path) {
            Some(Change::File { data, .. }) => data.len(),
            _ => 0,
        };
        let after = data.len() + if append { before } else { 0 };
        if self.stored - before + after > MAX_STORED_BYTES {
            return Err("No space left on device");
        }
        self.stored = self.stored - before + after;
        match self.changed.get_mut(path) {
            Some(Change::File { data: old, .. }) => {
                if !append {
                    old.clear();
                }
                old.extend_from_slice(data);
            }
            _ => {
                let file = Change::File { data: data.to_vec(), executable: false };
                self.changed.insert(path.to_owned(), file);
            }
        }
        Ok(())
    }

    pub(super) fn make_directory(
        &mut self,
        persona: &Persona,
        path: &str,
    ) -> Result<(), &'static str> {
        self.may_change(path)?;
        if self.exists(persona, path) {
            return Err("File exists");
        }
        self.changed.insert(path.to_owned(), Change::Directory);
        Ok(())
    }

    pub(super) fn remove(&mut self, persona: &Persona, path: &str) -> Result<(), &'static str> {
        if !self.exists(persona, path) {
            return Err(NO_SUCH_FILE);
        }
        self.may_change(path)?;
        if let Some(Change::File { data, .. }) = self.changed.remove(path) {
            self.stored -= data.len();
        }
        // Only what the device has needs a mark that it is gone.
        if device::entries(path).is_some() || device::file(persona, path).is_some() {
            self.changed.insert(path.to_owned(), Change::Removed);
        }
        Ok(())
    }

    pub(super) fn make_executable(&mut self, path: &str) {
        if let Some(Change::File { executable, .. }) = self.changed.get_mut(path) {
            *executable = true;
        }
    }

    /// The names in a directory, sorted.
    pub(super) fn list(&self, path: &str) -> Vec<String> {
        let mut names: BTreeMap<String, bool> = device::entries(path)
            .unwrap_or_default()
            .iter()
            .map(|name| ((*name).to_owned(), true))
            .collect();
        let prefix = if path == "/" { "/".to_owned() } else { format!("{path}/") };
        for (changed, change) in self.changed.range(prefix.clone()..) {
            let Some(name) = changed.strip_prefix(&prefix) else { break };
            if !name.contains('/') {
                names.insert(name.to_owned(), !matches!(change, Change::Removed));
            }
        }
        names.into_iter().filter(|(_, there)| *there).map(|(name, _)| name).collect()
    }

    fn may_change(&self, path: &str) -> Result<(), &'static str> {
        let under = |root: &str| {
            path == root || path.strip_prefix(root).is_some_and(|r| r.starts_with('/'))
        };
        if ["/proc", "/sys", "/dev/pts"].into_iter().any(under) {
            return Err("Permission denied");
        }
        if path.len() > MAX_PATH_BYTES {
            return Err("File name too long");
        }
        if self.changed.len() >= MAX_ENTRIES && !self.changed.contains_key(path) {
            return Err("No space left on device");
        }
        let parent = path.rsplit_once('/').map_or("/", |(parent, _)| parent);
        let parent = if parent.is_empty() { "/" } else { parent };
        if self.is_directory(parent) { Ok(()) } else { Err("nonexistent directory") }
    }
}
