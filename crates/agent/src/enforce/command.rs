//! Bans by commands of the administrator, or of ufw: one to keep somebody out,
//! one to let them in again. What a firewall that is reached this way holds
//! cannot be asked, so a file beside the spool says what was done.

use std::collections::BTreeMap;
use std::path::PathBuf;

use futures_util::StreamExt as _;
use palisade_event::{DecisionTarget, Timestamp};

use super::nftables::secs_until;
use super::run::run;
use super::{Change, Held, Take};
use crate::durable;

/// Commands that run at once.
const AT_ONCE: usize = 4;

/// The enforcer.
#[derive(Debug)]
pub(super) struct Commands {
    pub(super) ban: Vec<String>,
    /// Without one nobody is let in again by us.
    pub(super) unban: Vec<String>,
    /// What was done and not undone.
    pub(super) record: PathBuf,
}

impl Commands {
    pub(super) fn ufw(record: PathBuf) -> Self {
        let words = |line: &str| line.split(' ').map(str::to_owned).collect();
        Self {
            ban: words("ufw prepend deny from {ip}"),
            unban: words("ufw --force delete deny from {ip}"),
            record,
        }
    }

    /// Runs the commands; every one is tried. A ban that fails is tried again
    /// with the next look, and so is a lift.
    pub(super) async fn apply(&self, changes: &[Change], now: Timestamp) -> Result<(), String> {
        let argv = |change: &Change| match change.until {
            Some(until) => filled(&self.ban, &change.target, secs_until(until, now)),
            None => filled(&self.unban, &change.target, 0),
        };
        let all: Vec<(Change, Vec<String>)> =
            changes.iter().map(|change| (*change, argv(change))).collect();
        let runs = futures_util::stream::iter(all)
            .map(|(change, argv)| async move {
                let done = if argv.is_empty() { Ok(Vec::new()) } else { run(&argv, b"").await };
                (change, done)
            })
            .buffered(AT_ONCE)
            .collect::<Vec<_>>()
            .await;
        let mut record = self.read();
        let mut failed = None;
        for (change, done) in runs {
            match (done, change.until) {
                (Ok(_), Some(until)) => {
                    record.insert(change.target, until);
                }
                (Ok(_), None) => {
                    record.remove(&change.target);
                }
                (Err(reason), _) => failed = Some(reason),
            }
        }
        let text = serde_json::to_vec(&record).map_err(|error| error.to_string())?;
        let path = self.record.clone();
        let written = tokio::task::spawn_blocking(move || durable::replace(&path, &[&text])).await;
        match written {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                failed = Some(format!("cannot write {}: {error}", self.record.display()));
            }
            Err(error) => failed = Some(error.to_string()),
        }
        failed.map_or(Ok(()), Err)
    }

    /// Gives what was done and not undone.
    pub(super) fn list(&self, take: Take<'_>) -> Result<(), String> {
        for (target, until) in self.read() {
            take(target, Held { until: Some(until), dropped: 0 });
        }
        Ok(())
    }

    fn read(&self) -> BTreeMap<DecisionTarget, Timestamp> {
        let text = std::fs::read(&self.record).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    pub(super) async fn flush(&self, now: Timestamp) -> Result<(), String> {
        let change = |target| Change { target, until: None, replaces: true };
        let all: Vec<Change> = self.read().into_keys().map(change).collect();
        self.apply(&all, now).await
    }
}

/// `%s` and `{ip}` are the address or network, `{secs}` for how long.
fn filled(words: &[String], target: &DecisionTarget, secs: u64) -> Vec<String> {
    let (target, secs) = (target.to_string(), secs.to_string());
    let fill = |word: &String| {
        word.replace("%s", &target).replace("{ip}", &target).replace("{secs}", &secs)
    };
    words.iter().map(fill).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_part_of_one_argument() {
        let words = ["ban", "%s", "--for={secs}", "from {ip}"].map(str::to_owned);
        let target = "2001:db8::7".parse().unwrap();
        let filled = filled(&words, &target, 60);
        assert_eq!(filled, ["ban", "2001:db8::7", "--for=60", "from 2001:db8::7"]);
    }

    #[tokio::test]
    async fn what_was_done_is_known_after_a_restart_and_undone() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let line = |verb: &str| {
            let script =
                format!("echo {verb} \"$1\" >> '{}'; [ \"$1\" != 192.0.2.3 ]", log.display());
            ["sh", "-c", &script, "sh", "{ip}"].map(str::to_owned).to_vec()
        };
        let commands = || Commands {
            ban: line("ban"),
            unban: line("unban"),
            record: folder.path().join("record"),
        };
        let (now, until) = (Timestamp::from_millis(0), Timestamp::from_millis(60_000));
        let ban = |target: &str| Change {
            target: target.parse().unwrap(),
            until: Some(until),
            replaces: false,
        };
        let all = [ban("192.0.2.1"), ban("192.0.2.3"), ban("192.0.2.2")];
        let done = commands().apply(&all, now).await;
        assert!(done.unwrap_err().contains("exit status: 1"));
        let known = || {
            let mut all = Vec::new();
            commands().list(&mut |target, _| all.push(target.to_string())).unwrap();
            all
        };
        assert_eq!(known(), ["192.0.2.1", "192.0.2.2"], "not the one that failed");
        commands().flush(now).await.unwrap();
        assert_eq!(known(), [""; 0]);
        let text = std::fs::read_to_string(&log).unwrap();
        assert_eq!(text.lines().filter(|line| line.starts_with("unban")).count(), 2, "{text}");
    }
}
