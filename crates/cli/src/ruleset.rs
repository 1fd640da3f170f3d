//! The folder of own parsers (`ruleset` in the settings), read once at start.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use palisade_rules::Ruleset;
use palisade_rules::parser::ruleset::MAX_PARSER_BYTES;
use serde::Deserialize;

/// The one setting that all others are read with.
#[derive(Deserialize)]
struct Named {
    ruleset: Option<PathBuf>,
}

/// Uses the parsers of the folder that the settings name, if they name one.
///
/// # Errors
/// The folder cannot be read, or every mistake in its files, a line each.
pub(crate) fn install_named(settings: &str) -> anyhow::Result<()> {
    // What else is wrong with the settings is told when all of them are read.
    let Ok(Named { ruleset: Some(folder) }) = toml::from_str(settings) else { return Ok(()) };
    let files = read(&folder)
        .with_context(|| format!("cannot read the ruleset in {}", folder.display()))?;
    let files = files.iter().map(|(name, text)| (name.as_str(), text.as_str()));
    match Ruleset::with(files) {
        Ok(ruleset) => Ok(ruleset.install()?),
        Err(mistakes) => {
            let lines: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
            bail!("the ruleset has {} mistake(s):\n  {}", lines.len(), lines.join("\n  "))
        }
    }
}

/// Name and text of each `parsers/*.toml`, by name.
fn read(folder: &Path) -> anyhow::Result<Vec<(String, String)>> {
    let parsers = folder.join("parsers");
    if folder.is_dir() && !parsers.exists() {
        return Ok(Vec::new());
    }
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(&parsers).with_context(|| parsers.display().to_string())? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            paths.push(path);
        }
    }
    paths.sort();
    let mut files = Vec::new();
    for path in paths {
        let name = path.display().to_string();
        let mut text = String::new();
        // One byte more than a file may have, so that it is seen to be too long.
        File::open(&path)
            .and_then(|file| file.take(MAX_PARSER_BYTES as u64 + 1).read_to_string(&mut text))
            .with_context(|| name.clone())?;
        files.push((name, text));
    }
    Ok(files)
}
