//! Installed packages, from the files of dpkg, RPM and apk.

mod apk;
mod dpkg;
mod rpm;
mod sqlite;

use std::io::{self, BufRead, BufReader, Read};

use super::root::{Root, Unseen};
use super::tool::Tool;

/// Most packages that are kept.
pub(crate) const MAX_PACKAGES: usize = 20_000;
/// Longest name or version, in bytes; longer ones are cut.
const MAX_WORD_BYTES: usize = 256;
/// Longest line that is looked at; more of it is skipped.
const MAX_LINE_BYTES: u64 = 64 * 1024;

/// A package.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) arch: String,
    /// The source package where it has another name.
    pub(crate) source: Option<String>,
}

/// What manages the packages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manager {
    Dpkg,
    Rpm,
    Apk,
}

/// Packages by name, and how many were left out.
#[derive(Clone, Debug)]
pub(crate) struct Packages {
    pub(crate) manager: Manager,
    pub(crate) list: Vec<Package>,
    pub(crate) left_out: usize,
}

impl Packages {
    /// Reads them.
    ///
    /// # Errors
    /// No database of packages is there, or it cannot be read.
    pub(crate) fn read(root: &Root) -> Result<Self, Unseen> {
        let mut found = match root.open(dpkg::STATUS) {
            Ok(file) => dpkg::read(file)?,
            Err(Unseen::Missing) => match root.open(apk::INSTALLED) {
                Ok(file) => apk::read(file)?,
                Err(Unseen::Missing) => Self::read_rpm(root)?,
                Err(reason) => return Err(reason),
            },
            Err(reason) => return Err(reason),
        };
        found.list.sort();
        Ok(found)
    }

    fn read_rpm(root: &Root) -> Result<Self, Unseen> {
        for path in rpm::SQLITE {
            match root.open(path) {
                Ok(file) => {
                    return rpm::read(file).map_err(|why| Unseen::Other(format!("{path}: {why}")));
                }
                Err(Unseen::Missing) => {}
                Err(reason) => return Err(reason),
            }
        }
        if rpm::OLD.iter().any(|path| root.exists(path)) {
            let text = root.ask(Tool::Rpm).map_err(|reason| match reason {
                Unseen::NotRunning => {
                    Unseen::Other("the RPM database has an old form that only rpm reads".to_owned())
                }
                other => other,
            })?;
            return Ok(rpm::parse_list(&text));
        }
        Err(Unseen::Other("there is no database of dpkg, RPM or apk".to_owned()))
    }

    /// Looks a package up by its name.
    pub(crate) fn get(&self, name: &str) -> Option<&Package> {
        let at = self.list.partition_point(|package| package.name.as_str() < name);
        self.list.get(at).filter(|package| package.name == name)
    }
}

/// Collects packages up to their bound.
struct Collected {
    list: Vec<Package>,
    left_out: usize,
}

impl Collected {
    fn new() -> Self {
        Self { list: Vec::new(), left_out: 0 }
    }

    fn add(&mut self, package: Package) {
        if self.list.len() < MAX_PACKAGES {
            self.list.push(package);
        } else {
            self.left_out += 1;
        }
    }

    fn done(self, manager: Manager) -> Packages {
        Packages { manager, list: self.list, left_out: self.left_out }
    }
}

/// The lines of a large file, one at a time, each cut at its bound.
pub(crate) fn each_line(file: impl Read, mut take: impl FnMut(&str)) -> Result<(), Unseen> {
    let mut reader = BufReader::with_capacity(64 * 1024, file);
    let mut line = Vec::new();
    let failed = |error: io::Error| Unseen::Other(format!("the packages cannot be read: {error}"));
    loop {
        line.clear();
        let read =
            reader.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut line).map_err(failed)?;
        if read == 0 {
            return Ok(());
        }
        if line.last() != Some(&b'\n') && read as u64 == MAX_LINE_BYTES {
            reader.skip_until(b'\n').map_err(failed)?;
        }
        take(String::from_utf8_lossy(&line).trim_end());
    }
}

fn word(text: &str) -> String {
    let text = text.trim();
    let end = (0..=MAX_WORD_BYTES.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
    text.get(..end.unwrap_or(0)).unwrap_or_default().to_owned()
}
