//! What the hub has been told of each section, so that only changes are told; kept
//! in a file, so that changes while the agent was away are told too.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::section::{Section, steady};
use crate::durable;

/// Largest file that is read back, in bytes.
const MAX_FILE_BYTES: u64 = 64 * 1024 * 1024;

/// One thing that changed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Change {
    pub(crate) action: &'static str,
    pub(crate) item: String,
    pub(crate) before: Option<String>,
    pub(crate) after: Option<String>,
}

/// A section as it was last told.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Told {
    digest: String,
    #[serde(default)]
    unseen: Vec<String>,
    /// Entries without what moves, as JSON, by key.
    entries: BTreeMap<String, Box<str>>,
}

/// What was told.
#[derive(Debug)]
pub(crate) struct Known {
    path: PathBuf,
    sections: BTreeMap<String, Told>,
    /// Sections told since this start.
    fresh: Vec<String>,
    changed: bool,
}

impl Known {
    /// Reads what an earlier run has told. A file that cannot be read is as none:
    /// then all is told anew, and no changes.
    pub(crate) fn open(path: PathBuf) -> Self {
        let sections = match read(&path) {
            Ok(sections) => sections,
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    tracing::warn!(path = %path.display(), %error, "what was told of this machine cannot be read; it is told anew");
                }
                BTreeMap::new()
            }
        };
        Self { path, sections, fresh: Vec::new(), changed: false }
    }

    /// Whether a section must be told, and what changed in it since it was last
    /// told. Nothing is said to have changed where nothing was known.
    pub(crate) fn see(&mut self, name: &str, section: &Section) -> (bool, Vec<Change>) {
        let digest = section.digest();
        let first = !self.fresh.iter().any(|known| known == name);
        if first {
            self.fresh.push(name.to_owned());
        }
        let before = self.sections.get(name);
        if before.is_some_and(|told| told.digest == digest) {
            return (first, Vec::new());
        }
        let entries: BTreeMap<String, Box<str>> = section
            .entries
            .iter()
            .map(|entry| (entry.key.clone(), steady(&entry.value).to_string().into()))
            .collect();
        let changes = match before {
            // What can be seen no more has not gone, nor come what is seen at last.
            Some(told) if told.unseen == section.unseen => changes(&told.entries, &entries),
            _ => Vec::new(),
        };
        self.sections
            .insert(name.to_owned(), Told { digest, unseen: section.unseen.clone(), entries });
        self.changed = true;
        (true, changes)
    }

    /// Writes it down where it has changed. Blocks.
    pub(crate) fn save(&mut self) {
        if !self.changed {
            return;
        }
        let written = durable::replace_by(&self.path, |file| {
            serde_json::to_writer(&mut *file, &self.sections)?;
            file.write_all(b"\n")
        });
        match written {
            Ok(()) => self.changed = false,
            // Tried again at the next change: a full disk must not end the samples.
            Err(error) => {
                tracing::warn!(path = %self.path.display(), %error, "cannot write down what was told of this machine");
            }
        }
    }
}

fn read(path: &Path) -> io::Result<BTreeMap<String, Told>> {
    let file = File::open(path)?;
    if file.metadata()?.len() > MAX_FILE_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "too long to be ours"));
    }
    Ok(serde_json::from_reader(BufReader::new(file.take(MAX_FILE_BYTES)))?)
}

fn changes(before: &BTreeMap<String, Box<str>>, after: &BTreeMap<String, Box<str>>) -> Vec<Change> {
    let mut changes = Vec::new();
    for (item, old) in before {
        match after.get(item) {
            None => changes.push(Change {
                action: "removed",
                item: item.clone(),
                before: Some(old.to_string()),
                after: None,
            }),
            Some(new) if new != old => changes.push(Change {
                action: "changed",
                item: item.clone(),
                before: Some(old.to_string()),
                after: Some(new.to_string()),
            }),
            Some(_) => {}
        }
    }
    let added = after.iter().filter(|(item, _)| !before.contains_key(*item));
    changes.extend(added.map(|(item, new)| Change {
        action: "added",
        item: item.clone(),
        before: None,
        after: Some(new.to_string()),
    }));
    changes
}

/// Parts of a section's entries, each the text of a JSON array of at most
/// `most` bytes; at least one.
pub(crate) fn parts(section: &Section, most: usize) -> Vec<String> {
    let mut parts = vec![String::from("[")];
    for entry in &section.entries {
        let text = entry.value.to_string();
        let Some(part) = parts.last_mut() else { break };
        if part.len() > 1 && part.len() + text.len() + 2 > most {
            part.push(']');
            parts.push(format!("[{text}"));
        } else {
            if part.len() > 1 {
                part.push(',');
            }
            part.push_str(&text);
        }
    }
    if let Some(part) = parts.last_mut() {
        part.push(']');
    }
    parts
}

/// The text of the only entry, for sections that are one object.
pub(crate) fn object(section: &Section) -> String {
    section.entries.first().map_or_else(|| "{}".to_owned(), |entry| Value::to_string(&entry.value))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::inventory::root::Unseen;

    fn section(entries: &[(&str, &str)]) -> Section {
        let mut section = Section::default();
        for (key, value) in entries {
            section.add(*key, json!({ "name": key, "version": value }));
        }
        section
    }

    #[test]
    fn a_section_is_told_at_the_start_and_when_it_changes_also_over_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("inventory.json");
        let mut known = Known::open(path.clone());
        assert_eq!(known.see("packages", &section(&[("a", "1"), ("b", "1")])), (true, vec![]));
        assert_eq!(known.see("packages", &section(&[("a", "1"), ("b", "1")])), (false, vec![]));
        known.save();
        let mut known = Known::open(path.clone());
        let (told, changes) = known.see("packages", &section(&[("b", "2"), ("c", "1")]));
        let what: Vec<(&str, &str)> = changes.iter().map(|c| (c.action, c.item.as_str())).collect();
        assert!(told);
        assert_eq!(what, [("removed", "a"), ("changed", "b"), ("added", "c")]);
        std::fs::write(&path, "{broken").unwrap();
        assert_eq!(Known::open(path).see("packages", &section(&[("x", "1")])), (true, vec![]));
    }

    #[test]
    fn what_can_be_seen_no_more_is_not_told_as_removed() {
        let folder = tempfile::tempdir().unwrap();
        let mut known = Known::open(folder.path().join("inventory.json"));
        known.see("keys", &section(&[("a", "1")]));
        let hidden = Section::hidden("keys", &Unseen::Denied("/root".into()));
        assert_eq!(known.see("keys", &hidden), (true, vec![]));
    }

    #[test]
    fn a_long_section_is_told_in_parts_that_are_arrays_and_none_is_lost() {
        let mut long = Section::default();
        for number in 0..5_000 {
            long.add(number.to_string(), json!({ "name": format!("package-{number}") }));
        }
        let parts = parts(&long, 1_000);
        assert!(parts.len() > 10 && parts.iter().all(|part| part.len() <= 1_000));
        let count: usize =
            parts.iter().map(|part| serde_json::from_str::<Vec<Value>>(part).unwrap().len()).sum();
        assert_eq!(count, 5_000);
        assert_eq!(super::parts(&Section::default(), 1_000), ["[]"]);
    }
}
