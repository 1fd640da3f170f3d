//! The text of a plug-in: its Luau files, from a folder or shipped with the
//! program. Nothing of it has run yet.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Most bytes of all Luau files of one plug-in.
pub const MAX_SOURCE_BYTES: usize = 256 * 1024;
/// Most Luau files of one plug-in.
pub const MAX_FILES: usize = 64;
/// Longest name of a plug-in.
pub const MAX_NAME_BYTES: usize = 32;
/// The file that a plug-in begins with.
pub const INIT: &str = "init.luau";

/// Shipped plug-ins with their files.
type Shipped = &'static [(&'static str, &'static [(&'static str, &'static str)])];
const SHIPPED: Shipped = include!(concat!(env!("OUT_DIR"), "/plugins.rs"));

/// The name of a plug-in: `[a-z][a-z0-9-]*`, at most 32 characters.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PluginName(Box<str>);

impl PluginName {
    /// Checks a name.
    ///
    /// # Errors
    /// A sentence that says what names are.
    pub fn new(text: &str) -> Result<Self, String> {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let first = text.bytes().next().is_some_and(|b| b.is_ascii_lowercase());
        if !first || text.len() > MAX_NAME_BYTES || !text.bytes().all(plain) {
            let shown: String = text.chars().take(40).collect();
            return Err(format!(
                "'{}' is no name of a plug-in: use a letter, then letters, digits and '-', all small, at most {MAX_NAME_BYTES}",
                shown.escape_default()
            ));
        }
        Ok(Self(text.into()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PluginName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for PluginName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for PluginName {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        Self::new(&text)
    }
}

impl From<PluginName> for String {
    fn from(name: PluginName) -> Self {
        name.0.into()
    }
}

/// Where a plug-in comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// It is part of the program.
    Shipped,
    /// It was read from a folder.
    Folder,
}

impl Origin {
    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Shipped => "shipped",
            Self::Folder => "folder",
        }
    }
}

/// The files of one plug-in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Its name, which is that of its folder.
    pub name: PluginName,
    /// Where it comes from.
    pub origin: Origin,
    /// Luau files by name, `init.luau` among them.
    pub files: BTreeMap<String, String>,
}

impl Source {
    /// A plug-in of one file, as tests and fuzzing make them.
    ///
    /// # Errors
    /// As [`Source::check`].
    pub fn of_text(name: &str, init: impl Into<String>) -> Result<Self, String> {
        let files = BTreeMap::from([(INIT.to_owned(), init.into())]);
        let source = Self { name: PluginName::new(name)?, origin: Origin::Folder, files };
        source.check()?;
        Ok(source)
    }

    /// Reads the Luau files of a folder; those of folders in it are not read.
    ///
    /// # Errors
    /// One sentence that names the folder or file.
    pub fn read(folder: &Path) -> Result<Self, String> {
        let at = |path: &Path, why: &dyn fmt::Display| format!("{}: {why}", path.display());
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        let name = PluginName::new(&name).map_err(|why| at(folder, &why))?;
        let mut files = BTreeMap::new();
        let mut left = MAX_SOURCE_BYTES;
        for entry in std::fs::read_dir(folder).map_err(|error| at(folder, &error))? {
            let path = entry.map_err(|error| at(folder, &error))?.path();
            if path.extension().is_none_or(|ending| ending != "luau") {
                continue;
            }
            let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let text = read_at_most(&path, left).map_err(|why| at(&path, &why))?;
            left = left.saturating_sub(text.len());
            if files.len() == MAX_FILES {
                return Err(at(folder, &format!("more than {MAX_FILES} Luau files")));
            }
            files.insert(file, text);
        }
        let source = Self { name, origin: Origin::Folder, files };
        source.check().map_err(|why| at(folder, &why))?;
        Ok(source)
    }

    /// Checks what the types do not: an `init.luau` that is there, not too much of all.
    ///
    /// # Errors
    /// A sentence.
    pub fn check(&self) -> Result<(), String> {
        if !self.files.contains_key(INIT) {
            return Err(format!("there is no {INIT}"));
        }
        let bytes: usize = self.files.values().map(String::len).sum();
        if bytes > MAX_SOURCE_BYTES || self.files.len() > MAX_FILES {
            return Err(format!(
                "more than {MAX_SOURCE_BYTES} bytes or {MAX_FILES} files of Luau in all"
            ));
        }
        Ok(())
    }

    /// A shipped plug-in.
    #[must_use]
    pub fn shipped(name: &str) -> Option<Self> {
        let (name, files) = SHIPPED.iter().find(|(shipped, _)| *shipped == name)?;
        Some(Self {
            name: PluginName::new(name).ok()?,
            origin: Origin::Shipped,
            files: files.iter().map(|(file, text)| ((*file).into(), (*text).into())).collect(),
        })
    }

    /// All shipped plug-ins, by name.
    pub fn all_shipped() -> impl Iterator<Item = Self> {
        SHIPPED.iter().filter_map(|(name, _)| Self::shipped(name))
    }

    /// The first 16 hexadecimal digits of the SHA-256 of all files: tells
    /// whether something has changed.
    #[must_use]
    pub fn digest(&self) -> String {
        let mut hash = Sha256::new();
        for (name, text) in &self.files {
            for part in [name, text] {
                hash.update((part.len() as u64).to_be_bytes());
                hash.update(part);
            }
        }
        hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }
}

/// A folder of a plug-in, and what is in it or wrong with it.
pub type Found = (PathBuf, Result<Source, String>);

/// The folders of plug-ins in a folder.
///
/// # Errors
/// The folder cannot be read.
pub fn folders(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let cannot = |error| format!("{}: {error}", folder.display());
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(cannot)? {
        let path = entry.map_err(cannot)?.path();
        // Other folders and files may lie there, such as of an editor.
        if path.join(INIT).is_file() {
            all.push(path);
        }
    }
    all.sort();
    Ok(all)
}

/// The plug-ins in a folder, each read or with what is wrong with it.
///
/// # Errors
/// The folder cannot be read.
pub fn read_all(folder: &Path) -> Result<Vec<Found>, String> {
    let all = folders(folder)?;
    Ok(all.into_iter().map(|path| (path.clone(), Source::read(&path))).collect())
}

fn read_at_most(path: &Path, most: usize) -> Result<String, String> {
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    let mut text = String::new();
    let read = file.take(most as u64 + 1).read_to_string(&mut text);
    read.map_err(|error| error.to_string())?;
    if text.len() > most {
        return Err(format!("more than {MAX_SOURCE_BYTES} bytes of Luau in this folder"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_folders_without_surprises() {
        assert!(PluginName::new("ftp").is_ok() && PluginName::new("my-2nd").is_ok());
        for bad in ["", "Ftp", "2", "-a", "a_b", "a/b", "..", "a b", &"a".repeat(33)] {
            let why = PluginName::new(bad).unwrap_err();
            assert!(why.contains("is no name of a plug-in"), "{why}");
        }
    }

    #[test]
    fn a_folder_is_read_with_its_modules_and_refused_where_it_is_too_large_or_without_a_beginning()
    {
        let folder = tempfile::tempdir().unwrap();
        let plugin = folder.path().join("mine");
        std::fs::create_dir(&plugin).unwrap();
        std::fs::write(plugin.join("codec.luau"), "return 1").unwrap();
        assert!(Source::read(&plugin).unwrap_err().ends_with("there is no init.luau"));
        std::fs::write(plugin.join(INIT), "return {}").unwrap();
        std::fs::write(plugin.join("README.md"), "x").unwrap();
        let source = Source::read(&plugin).unwrap();
        assert_eq!(source.files.len(), 2);
        let before = source.digest();
        std::fs::write(plugin.join("codec.luau"), "return 2").unwrap();
        assert_ne!(Source::read(&plugin).unwrap().digest(), before);
        std::fs::write(plugin.join("big.luau"), "-".repeat(MAX_SOURCE_BYTES)).unwrap();
        assert!(Source::read(&plugin).unwrap_err().contains("more than 262144 bytes"));
        assert_eq!(read_all(folder.path()).unwrap().len(), 1);
    }

    #[test]
    fn every_shipped_plug_in_is_one() {
        let names: Vec<String> = Source::all_shipped().map(|one| one.name.into()).collect();
        assert_eq!(names.len(), SHIPPED.len());
        assert!(names.iter().any(|name| name == "ftp"), "{names:?}");
    }
}
