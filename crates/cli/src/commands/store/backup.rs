//! `palisade store backup --to DIR`: a copy of the data directory, also while
//! the hub runs.
//!
//! What an event passes through is copied in the order it passes it: agent,
//! spool, state, store. So each event that was acknowledged before is in one
//! of the copies; one that is in two counts once.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::{Context as _, bail};
use palisade_event::Timestamp;
use palisade_store::life;
use palisade_store::state::State;
use serde_json::json;

use super::{bar, show, store_dir, without_panic_messages};
use crate::args::QuietArgs;
use crate::out;
use crate::settings::Settings;

/// Files and folders of the data directory that never come into a copy.
const LEFT_OUT: &[&str] = &["lock", "palisade.sock"];

pub(super) async fn run(
    settings: &Settings,
    to: &Path,
    quiet: &QuietArgs,
) -> anyhow::Result<ExitCode> {
    let data = settings.data_dir();
    if !data.join("hub").is_dir() {
        bail!("there is no hub's data in {}", data.display());
    }
    let began = Timestamp::from(SystemTime::now());
    let name = began.to_string().replace(':', "-");
    let target = to.join(&name);
    let part = to.join(format!("{name}.part"));
    make_private(&part).with_context(|| format!("cannot make {}", part.display()))?;
    let before = latest(to);
    let mut notes = Vec::new();

    let said = |what: &'static str| move || format!("cannot copy {what}");
    tree(&data.join("agent/cursors"), &part.join("agent/cursors")).with_context(said("agent"))?;
    tree(&data.join("agent"), &part.join("agent")).with_context(said("agent"))?;
    tree(&data.join("hub/spool"), &part.join("hub/spool")).with_context(said("hub/spool"))?;
    state(settings, &part, &mut notes).await?;
    let waiting = "hub/sensors.json";
    tree(&data.join(waiting), &part.join(waiting)).with_context(said("sensors"))?;
    let mut copied = life::Copied::default();
    let has_store = store_dir(settings).is_dir();
    if has_store {
        let earlier = before.as_ref().map(|before| before.join("store"));
        copied = life::copy(&store_dir(settings), &part.join("store"), earlier.as_deref())
            .with_context(said("store"))?;
    }
    if settings.hub.store.clickhouse.is_some() {
        notes.push("events are in ClickHouse, which has backups of its own".to_owned());
    }
    for name in ["persona.seed", "ssh-host-keys", "tls", "tls-keys"] {
        tree(&data.join(name), &part.join(name)).with_context(said("keys"))?;
    }

    let checked = if has_store {
        let store = part.join("store");
        let progress = bar(quiet, "verifying", super::events(&store));
        let checked = without_panic_messages(|| {
            life::check(&store, &mut |step| show(&progress, "verifying", step))
        });
        progress.end();
        checked?
    } else {
        life::Checked::default()
    };
    let spool = palisade_spool::inspect(&part.join("hub/spool"))?;
    let manifest = json!({
        "palisade": env!("CARGO_PKG_VERSION"),
        "began": began.to_string(),
        "events": checked.events,
        "days": checked.days,
        "spooled_records": spool.records,
        "files": copied.files,
        "linked_files": copied.linked,
        "written_bytes": copied.bytes,
        "findings": checked.findings,
        "notes": notes,
    });
    std::fs::write(part.join("manifest.json"), format!("{manifest:#}\n"))?;
    sync(&part)?;
    std::fs::rename(&part, &target).with_context(|| format!("cannot make {}", target.display()))?;
    File::open(to)?.sync_all()?;
    for note in &notes {
        out::line(note);
    }
    for finding in &checked.findings {
        out::line(&finding.to_string());
    }
    out::line(&format!(
        "{}: {} events, {} of {} files shared, {} bytes written",
        target.display(),
        checked.events,
        copied.linked,
        copied.files,
        copied.bytes
    ));
    Ok(if checked.findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Accounts, keys, sensors, quarantine.
async fn state(settings: &Settings, part: &Path, notes: &mut Vec<String>) -> anyhow::Result<()> {
    let file = settings.data_dir().join("hub/state.db");
    if settings.hub.state.postgres.is_some() {
        notes.push("accounts, keys and sensors are in PostgreSQL; use pg_dump".to_owned());
        return Ok(());
    }
    if !file.exists() {
        return Ok(());
    }
    let state = State::open(&file, &settings.hub.state).await?;
    let copied = state.backup(&part.join("hub/state.db")).await;
    state.close().await;
    copied.context("cannot copy the state database")
}

/// The newest finished backup in a folder.
fn latest(to: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(to).ok()?.flatten().map(|entry| entry.path());
    entries.filter(|path| path.join("manifest.json").exists() && !is_part(path)).max()
}

fn is_part(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == "part")
}

fn make_private(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// Copies a file or folder as it is; what is there already stays, what goes
/// meanwhile is left out.
fn tree(from: &Path, to: &Path) -> io::Result<()> {
    let gone = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    let kind = match from.symlink_metadata() {
        Ok(metadata) => metadata.file_type(),
        Err(error) if gone(&error) => return Ok(()),
        Err(error) => return Err(error),
    };
    if kind.is_file() {
        if to.exists() {
            return Ok(());
        }
        return match std::fs::copy(from, to) {
            Err(error) if gone(&error) && !from.exists() => Ok(()),
            other => other.map(drop),
        };
    }
    if !kind.is_dir() {
        return Ok(());
    }
    make_private(to)?;
    for entry in std::fs::read_dir(from)? {
        let name = entry?.file_name();
        if LEFT_OUT.iter().any(|left_out| name == *left_out) {
            continue;
        }
        tree(&from.join(&name), &to.join(&name))?;
    }
    Ok(())
}

fn sync(dir: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() { sync(&path)? } else { File::open(&path)?.sync_all()? }
    }
    File::open(dir)?.sync_all()
}
