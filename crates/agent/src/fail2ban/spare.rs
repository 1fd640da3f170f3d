//! `ignorecommand`: a command of the administrator that says whether an address
//! is ignored. It is run once for an address, before its failures become events,
//! so that what is ignored is never counted, also not after a restart.

use std::collections::HashMap;
use std::net::IpAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use palisade_rules::fail2ban::RunningJail;
use tokio::process::Command;
use tokio::time::Instant;

/// How long an answer counts.
const KEPT: Duration = Duration::from_secs(300);
/// Most answers that are kept; of more all are forgotten.
const MAX_KEPT: usize = 10_000;
/// How long a command may take, and all of those of one batch of lines.
const PATIENCE: Duration = Duration::from_secs(5);
const PATIENCE_OF_ALL: Duration = Duration::from_secs(10);
/// Commands that run at once.
const AT_ONCE: usize = 8;

/// A failure whose address is to be asked about.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) jail: Arc<RunningJail>,
    pub(crate) address: IpAddr,
    /// The place of its event in the batch.
    pub(crate) record: usize,
    /// Its place among what detection looks at, where it is there.
    pub(crate) noticed: Option<usize>,
}

type Key = (String, IpAddr);

/// The answers.
#[derive(Debug, Default)]
pub(crate) struct Spare {
    known: HashMap<Key, (bool, Instant)>,
}

impl Spare {
    /// Which of the failures are ignored. Where a command cannot be run or takes
    /// too long the address is ignored: unknown is no reason to ban.
    pub(crate) async fn ignored<'a>(&mut self, asked: &'a [Asked]) -> Vec<&'a Asked> {
        let now = Instant::now();
        let mut missing: HashMap<Key, Vec<String>> = HashMap::new();
        for Asked { jail, address, .. } in asked {
            let key = (jail.name().to_owned(), *address);
            let is_known = |(_, at): &(bool, Instant)| now.duration_since(*at) < KEPT;
            if !self.known.get(&key).is_some_and(is_known)
                && let Some(argv) = jail.ignore_command(*address)
            {
                self.known.remove(&key);
                missing.insert(key, argv);
            }
        }
        if self.known.len() + missing.len() > MAX_KEPT {
            self.known.clear();
        }
        let answers = futures_util::stream::iter(missing)
            .map(|(key, argv)| async move { (key, run(argv).await) })
            .buffer_unordered(AT_ONCE);
        tokio::pin!(answers);
        let deadline = tokio::time::sleep(PATIENCE_OF_ALL);
        tokio::pin!(deadline);
        let mut fresh = HashMap::new();
        loop {
            let answer = tokio::select! {
                answer = answers.next() => answer,
                () = &mut deadline => {
                    tracing::warn!("the ignorecommand of a jail is too slow; addresses it was not asked about are not counted");
                    break;
                }
            };
            match answer {
                Some((key, Some(is_ignored))) => {
                    fresh.insert(key, (is_ignored, now));
                }
                Some((_, None)) => {}
                None => break,
            }
        }
        self.known.extend(fresh);
        let is_ignored = |asked: &&Asked| {
            let key = (asked.jail.name().to_owned(), asked.address);
            self.known.get(&key).is_none_or(|(is_ignored, _)| *is_ignored)
        };
        asked.iter().filter(is_ignored).collect()
    }
}

/// Whether the command says yes; `None` where it said nothing.
async fn run(argv: Vec<String>) -> Option<bool> {
    let (program, arguments) = argv.split_first()?;
    let status = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .status();
    match tokio::time::timeout(PATIENCE, status).await {
        Ok(Ok(status)) => Some(status.success()),
        Ok(Err(error)) => {
            tracing::warn!(program, %error, "an ignorecommand cannot be run; the address is not counted");
            None
        }
        Err(_) => {
            tracing::warn!(
                program,
                "an ignorecommand did not end in time; the address is not counted"
            );
            None
        }
    }
}
