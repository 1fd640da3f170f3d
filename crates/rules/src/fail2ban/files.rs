//! The texts of a configuration folder, as the caller read them.
//!
//! This crate opens no files: whoever calls collects `*.conf` and `*.local`
//! below the folder and hands them over by their path relative to it.

use std::collections::{BTreeMap, BTreeSet};

/// Largest configuration file that is looked at, in bytes; fail2ban's own
/// largest has 60 KiB.
pub const MAX_FILE_BYTES: usize = 1024 * 1024;

/// Configuration texts by path relative to the folder, such as
/// `filter.d/sshd.conf`.
#[derive(Clone, Debug, Default)]
pub struct Files {
    texts: BTreeMap<String, String>,
}

impl Files {
    /// No files.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a file; a later one of the same path replaces it. What is longer
    /// than [`MAX_FILE_BYTES`] is refused.
    pub fn insert(&mut self, path: impl Into<String>, text: impl Into<String>) -> Result<(), u64> {
        let text = text.into();
        if text.len() > MAX_FILE_BYTES {
            return Err(text.len() as u64);
        }
        self.texts.insert(normalise(&path.into()), text);
        Ok(())
    }

    /// The text of a file.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<&str> {
        self.texts.get(path).map(String::as_str)
    }

    /// All paths, in order.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.texts.keys().map(String::as_str)
    }

    /// Files that `[INCLUDES]` name and that are not here: some are outside of
    /// the folder, and optional ones do not exist at all.
    #[must_use]
    pub fn wanted(&self) -> Vec<String> {
        let mut wanted = BTreeSet::new();
        for (path, text) in &self.texts {
            let ini = super::ini::read(path, text);
            let Some(section) = ini.section("INCLUDES") else { continue };
            for value in ["before", "after"].iter().filter_map(|option| section.get(option)) {
                for name in value.text.split('\n').filter(|name| !name.is_empty()) {
                    let full = include_path(path, name);
                    if !self.texts.contains_key(&full) {
                        wanted.insert(full);
                    }
                }
            }
        }
        wanted.into_iter().collect()
    }

    /// The files right in a folder whose names end in `suffix`, in order.
    pub(super) fn in_folder<'a>(
        &'a self,
        folder: &'a str,
        suffix: &'a str,
    ) -> impl Iterator<Item = &'a str> {
        self.paths().filter(move |path| {
            path.strip_prefix(folder).and_then(|rest| rest.strip_prefix('/')).is_some_and(|name| {
                !name.contains('/') && !name.starts_with('.') && name.ends_with(suffix)
            })
        })
    }
}

/// The path of a file that another one includes.
pub(super) fn include_path(from: &str, name: &str) -> String {
    match from.rsplit_once('/') {
        Some((folder, _)) if !name.starts_with('/') => normalise(&format!("{folder}/{name}")),
        _ => normalise(name),
    }
}

/// Takes `.` and `..` out of a path; a path that leads out of the folder keeps
/// its leading `..` and is then simply not found.
pub(super) fn normalise(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    let joined = parts.join("/");
    if path.starts_with('/') { format!("/{joined}") } else { joined }
}
