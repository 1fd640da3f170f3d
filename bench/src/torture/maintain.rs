//! The housekeeping of a stopped store (merging days that are over, ready
//! aggregates), in a process of its own that can be ended in the middle.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use palisade_event::Timestamp;
use palisade_store::{Config, Store};

/// Which store.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The data directory of a hub that does not run
    data: PathBuf,
}

/// Does all there is to do.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let store = Store::open(&args.data.join("store"), &Config::default())?;
    let now = Timestamp::from(std::time::SystemTime::now());
    // Once more, so that writers that were idle are closed too.
    for _ in 0..2 {
        while store.maintain(now)? {}
    }
    Ok(())
}

/// Starts this binary as such a process.
pub(super) fn start(home: &Path, data: &Path) -> anyhow::Result<Child> {
    let log = std::fs::File::options().create(true).append(true).open(home.join("log"))?;
    let child = Command::new(std::env::current_exe()?)
        .arg("maintain")
        .arg(data)
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()?;
    Ok(child)
}
