//! `palisade import strongmonitor`: its `config.json` as settings and scenarios
//! of ours, in new files.

use std::fs::OpenOptions;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use palisade_rules::read_strongmonitor;
use palisade_rules::scenario::Span;

use crate::out;

/// Longest configuration that is read, in bytes.
const MAX_BYTES: u64 = 2 * 1024 * 1024;

/// Reads `file` and writes `palisade.toml` and `scenarios/` below `folder`, or
/// says alone what would be written.
///
/// # Errors
/// The configuration has a mistake, or a file is there already; then nothing is
/// written.
pub(crate) fn run(
    file: &Path,
    folder: Option<&Path>,
    within: Option<Span>,
) -> anyhow::Result<ExitCode> {
    let mut text = String::new();
    let opened =
        std::fs::File::open(file).with_context(|| format!("reading {}", file.display()))?;
    opened
        .take(MAX_BYTES)
        .read_to_string(&mut text)
        .with_context(|| format!("reading {}", file.display()))?;
    let made = read_strongmonitor(&text, within)
        .map_err(|mistake| anyhow::anyhow!("{}: {mistake}", file.display()))?;
    for note in &made.notes {
        out::line(&format!("- {note}"));
    }
    let Some(folder) = folder else {
        out::line("\nwith --output DIR these files are written:");
        out::line(&format!("\n# palisade.toml\n{}", made.settings.trim_end()));
        for (name, text) in &made.scenarios {
            out::line(&format!("\n# scenarios/{name}.toml\n{}", text.trim_end()));
        }
        return Ok(ExitCode::SUCCESS);
    };
    let scenarios = folder.join("scenarios");
    std::fs::create_dir_all(&scenarios)
        .with_context(|| format!("making {}", scenarios.display()))?;
    let place =
        scenarios.canonicalize().with_context(|| format!("looking at {}", scenarios.display()))?;
    let place = toml::Value::String(place.display().to_string()).to_string();
    let settings = made.settings.replace("\"SCENARIOS\"", &place);
    let mut files: Vec<(PathBuf, &str)> = vec![(folder.join("palisade.toml"), &settings)];
    files.extend(
        made.scenarios
            .iter()
            .map(|(name, text)| (scenarios.join(format!("{name}.toml")), text.as_str())),
    );
    if let Some((path, _)) = files.iter().find(|(path, _)| path.exists()) {
        bail!("{} is there already; choose another folder or move it away", path.display());
    }
    out::line("");
    for (path, text) in files {
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .with_context(|| format!("writing {}", path.display()))?;
        out::line(&format!("written: {}", path.display()));
    }
    out::line(&format!(
        "\ncheck:   palisade config check --config {0}/palisade.toml\nstart:   palisade up --config {0}/palisade.toml",
        folder.display()
    ));
    Ok(ExitCode::SUCCESS)
}
