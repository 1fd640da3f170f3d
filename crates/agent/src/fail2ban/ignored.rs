//! What names and files of `ignoreip` stand for, looked up again and again.

use std::collections::HashMap;
use std::io::Read as _;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use palisade_rules::fail2ban::{MAX_FILE_BYTES, RunningJail};

/// Time between two looks.
const INTERVAL: Duration = Duration::from_secs(60);

/// Tells a jail what its names and files stand for, until it is dropped.
pub(crate) async fn keep_resolved(jail: Arc<RunningJail>) {
    if jail.ignored_names().is_empty() && jail.ignored_files().is_empty() {
        return;
    }
    let mut unknown_before = Vec::new();
    loop {
        let (mut names, mut unknown) = (HashMap::new(), Vec::new());
        for name in jail.ignored_names() {
            match tokio::net::lookup_host((name.as_str(), 0)).await {
                Ok(found) => {
                    let addresses: Vec<IpAddr> =
                        found.take(palisade_rules::MAX_RESOLVED).map(|end| end.ip()).collect();
                    names.insert(name.clone(), addresses);
                }
                Err(error) => unknown.push(format!("{name}: {error}")),
            }
        }
        let paths = jail.ignored_files().to_vec();
        let read = tokio::task::spawn_blocking(move || listed(&paths)).await;
        let listed = match read {
            Ok(Ok(text)) => Some(text),
            Ok(Err(reason)) => {
                unknown.push(reason);
                None
            }
            Err(error) => {
                unknown.push(error.to_string());
                None
            }
        };
        jail.set_resolved(names, listed.as_deref());
        // Once, not every minute.
        if unknown != unknown_before {
            for reason in &unknown {
                tracing::warn!(
                    scenario = jail.name(),
                    reason,
                    "a part of the jail's ignoreip is not known; nobody is counted until it is"
                );
            }
            unknown_before = unknown;
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

/// The texts of files, one behind the other.
fn listed(paths: &[String]) -> Result<String, String> {
    let mut text = String::new();
    for path in paths {
        let read = std::fs::File::open(path)
            .and_then(|file| file.take(MAX_FILE_BYTES as u64).read_to_string(&mut text));
        read.map_err(|error| format!("cannot read {path}: {error}"))?;
        text.push('\n');
    }
    Ok(text)
}
