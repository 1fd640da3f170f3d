//! Knocking: who sends SYNs to the right closed ports in the right order is let
//! in and spared for a while, also where they are banned.
//!
//! ```text
//! SYN ─► sets of nftables (rules) ─► read each second ─► allowed until … ─► allowlist, lift
//!                                                    └─► knock.accepted
//! ```
//!
//! A sequence of the settings can be heard by whoever listens on the way and
//! knocked again; one that follows from a secret counts once.

mod ports;
mod rules;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use palisade_event::{Endpoint, Event, EventId, EventKind, SensorId, Timestamp, Untrusted};
use palisade_rules::scenario::Span;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::durable;
use crate::enforce::{run, words};
use crate::source::Outlet;
use rules::Sequence;

pub use ports::{KnockSecret, knock_step};

/// How often it is looked who has knocked.
const LOOK: Duration = Duration::from_secs(1);
/// Most addresses that are spared at once; beyond them those whose time ends first go.
const MOST_OPEN: usize = 1_000;
/// Most addresses that can have knocked since the last look.
const MOST_DONE: u32 = 64;

/// Settings of knocking (`[agent.knock]`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KnockConfig {
    /// Ports in the order in which they are to be knocked at. Whoever overhears
    /// them can knock too.
    pub sequence: Vec<u16>,
    /// Instead of `sequence`: a file with a secret from which other ports follow
    /// each 30 s; each sequence counts once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_file: Option<PathBuf>,
    /// Within which time all of them. Default 15 s.
    pub within: Span,
    /// How long who has knocked is spared. Default 1 h.
    pub allow_for: Span,
    /// The name of our table of nftables. Default `palisade_knock`.
    pub table: String,
}

impl Default for KnockConfig {
    fn default() -> Self {
        Self {
            sequence: Vec::new(),
            secret_file: None,
            within: Span::secs(15),
            allow_for: Span::secs(3600),
            table: "palisade_knock".to_owned(),
        }
    }
}

impl KnockConfig {
    pub(crate) fn validate(&self) -> Vec<String> {
        let mut mistakes = Vec::new();
        let different: BTreeSet<u16> = self.sequence.iter().copied().collect();
        match &self.secret_file {
            Some(_) if !self.sequence.is_empty() => {
                mistakes.push("knock: give either sequence or secret_file".to_owned());
            }
            Some(path) if !path.is_absolute() => {
                mistakes.push("knock: secret_file must be an absolute path".to_owned());
            }
            Some(_) => {}
            None if !(3..=16).contains(&self.sequence.len())
                || different.len() != self.sequence.len()
                || different.contains(&0) =>
            {
                mistakes.push(
                    "knock: sequence must have 3 to 16 different ports, such as [7102, 18820, 9431]; or give secret_file"
                        .to_owned(),
                );
            }
            None => {}
        }
        if !(1..=300).contains(&self.within.as_secs()) {
            mistakes.push("knock: within must be 1s to 5m".to_owned());
        }
        if self.allow_for.as_millis() > 30 * 86_400_000 {
            mistakes.push("knock: allow_for must be at most 30d".to_owned());
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let begins = self.table.starts_with(|c: char| c.is_ascii_alphabetic());
        if !begins || self.table.len() > 24 || !self.table.chars().all(plain) {
            mistakes.push("knock: table must be 1 to 24 letters, digits or '_'".to_owned());
        }
        mistakes
    }
}

/// Somebody who is spared as they have knocked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Knocked {
    pub(crate) address: IpAddr,
    pub(crate) until: Timestamp,
}

/// What outlives a restart.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Kept {
    /// Steps whose sequence was accepted.
    used: BTreeSet<i64>,
    open: Vec<Knocked>,
}

/// The task.
pub(crate) struct Knock {
    config: KnockConfig,
    secret: Option<KnockSecret>,
    sensor: SensorId,
    file: PathBuf,
    kept: Kept,
    live: Vec<Sequence>,
    tell: watch::Sender<Vec<Knocked>>,
}

impl Knock {
    /// Reads the secret, and who is spared still. `folder` is the agent's.
    ///
    /// # Errors
    /// One sentence.
    pub(crate) fn open(
        config: &KnockConfig,
        sensor: SensorId,
        folder: &Path,
    ) -> Result<(Self, watch::Receiver<Vec<Knocked>>), String> {
        let secret = config.secret_file.as_deref().map(KnockSecret::read).transpose();
        let secret = secret.map_err(|mistake| format!("knock: secret_file: {mistake}"))?;
        let file = folder.join("knock.json");
        let kept: Kept = durable::read(&file)
            .map_err(|error| format!("knock: cannot read {}: {error}", file.display()))?
            .unwrap_or_default();
        let (tell, told) = watch::channel(kept.open.clone());
        let live = Vec::new();
        Ok((Self { config: config.clone(), secret, sensor, file, kept, live, tell }, told))
    }

    /// Runs until cancelled; then the table goes.
    pub(crate) async fn run(mut self, outlet: Outlet, cancel: CancellationToken) {
        let mut backoff = Backoff::default();
        let mut failing = false;
        let mut wait = Duration::ZERO;
        loop {
            tokio::select! {
                () = cancel.cancelled() => break,
                () = tokio::time::sleep(wait) => {}
            }
            match self.look(&outlet).await {
                Ok(()) => {
                    if std::mem::take(&mut failing) {
                        tracing::info!("knocking works again");
                    }
                    backoff = Backoff::default();
                    wait = LOOK;
                }
                Err(reason) => {
                    if !std::mem::replace(&mut failing, true) {
                        tracing::error!(%reason, "knocking does not work; it is tried again");
                    }
                    // Whoever flushed our table has to be assumed: it is made anew.
                    self.live.clear();
                    wait = backoff.next();
                }
            }
        }
        drop(outlet);
        let _ = script(&rules::end(&self.config.table)).await;
    }

    /// The sequences that open at a moment.
    fn sequences(&self, now: Timestamp) -> Vec<Sequence> {
        let Some(secret) = &self.secret else {
            let ports = self.config.sequence.clone();
            return vec![Sequence { tag: "f".to_owned(), ports, most: MOST_DONE }];
        };
        // One to either side: clocks are not exact.
        let step = knock_step(now);
        (step - 1..=step + 1)
            .filter(|step| !self.kept.used.contains(step))
            .map(|step| Sequence { tag: format!("s{step}"), ports: secret.ports(step), most: 1 })
            .collect()
    }

    async fn look(&mut self, outlet: &Outlet) -> Result<(), String> {
        let now = Timestamp::from(std::time::SystemTime::now());
        self.forget(now)?;
        self.turn(now).await?;
        let argv = words(&["nft", "-j", "list", "table", "inet", &self.config.table]);
        let text = run(&argv, b"").await?;
        let done = rules::done(&text).map_err(|error| format!("nft -j list table: {error}"))?;
        for (tag, address) in done.iter().take(MOST_DONE as usize) {
            let others = done.iter().filter(|(other, _)| other == tag).count();
            match tag.strip_prefix('s').and_then(|step| step.parse::<i64>().ok()) {
                Some(step) => {
                    // It counts once; of two at the same time nobody knows who overheard it.
                    if !self.kept.used.insert(step) {
                        continue;
                    }
                    if others > 1 {
                        tracing::warn!(%address, "two have knocked the same; neither is let in");
                        self.keep()?;
                        continue;
                    }
                    self.accept(*address, "one-time", now, outlet).await?;
                }
                None => {
                    script(&rules::read_out(&self.config.table, tag, *address)).await?;
                    self.accept(*address, "sequence", now, outlet).await?;
                }
            }
        }
        if done.is_empty() { Ok(()) } else { self.turn(now).await }
    }

    /// Makes the rules those of this moment.
    async fn turn(&mut self, now: Timestamp) -> Result<(), String> {
        let wanted = self.sequences(now);
        if wanted == self.live {
            return Ok(());
        }
        let table = &self.config.table;
        let gone: Vec<Sequence> =
            self.live.iter().filter(|one| !wanted.contains(one)).cloned().collect();
        let mut text = String::new();
        if self.live.is_empty() {
            text.push_str(&rules::begin(table));
        }
        let stages = wanted.first().map_or(1, |one| one.ports.len().saturating_sub(1));
        let secs = self.config.within.as_secs().div_ceil(u32::try_from(stages).unwrap_or(1).max(1));
        text.push_str(&rules::turn(table, &wanted, &gone, secs.max(1)));
        script(&text).await?;
        self.live = wanted;
        Ok(())
    }

    /// Spares somebody; durable before it is so.
    async fn accept(
        &mut self,
        address: IpAddr,
        method: &'static str,
        now: Timestamp,
        outlet: &Outlet,
    ) -> Result<(), String> {
        let address = address.to_canonical();
        let until = now.plus_millis(self.config.allow_for.as_millis());
        self.kept.open.retain(|one| one.address != address);
        self.kept.open.push(Knocked { address, until });
        self.kept.open.sort_by_key(|one| one.until);
        let too_many = self.kept.open.len().saturating_sub(MOST_OPEN);
        self.kept.open.drain(..too_many);
        self.keep()?;
        self.tell.send_replace(self.kept.open.clone());
        tracing::warn!(%address, %until, method, "somebody has knocked and is let in");
        let id = EventId::new(now, rand::random());
        let mut event = Event::new(id, EventKind::KnockAccepted, now, self.sensor.clone())
            .with("method", method)
            .with("until", Untrusted::from(until.to_string()));
        event.source = Some(Endpoint::address(address));
        // The end is near where nobody takes it.
        let _ = outlet.event(event).await;
        Ok(())
    }

    /// Ends what is over.
    fn forget(&mut self, now: Timestamp) -> Result<(), String> {
        let oldest = knock_step(now) - 2;
        let before = (self.kept.open.len(), self.kept.used.len());
        self.kept.open.retain(|one| one.until > now);
        self.kept.used.retain(|step| *step >= oldest);
        if before.0 != self.kept.open.len() {
            self.tell.send_replace(self.kept.open.clone());
        }
        if before == (self.kept.open.len(), self.kept.used.len()) { Ok(()) } else { self.keep() }
    }

    fn keep(&self) -> Result<(), String> {
        durable::write(&self.file, &self.kept)
            .map_err(|error| format!("cannot write {}: {error}", self.file.display()))
    }
}

/// Takes our table out of the kernel, such as what a killed agent has left.
/// A running agent makes it anew.
///
/// # Errors
/// One sentence: `nft` is missing or refuses.
pub async fn flush_knock(config: &KnockConfig) -> Result<(), String> {
    script(&rules::end(&config.table)).await
}

async fn script(text: &str) -> Result<(), String> {
    run(&words(&["nft", "-f", "-"]), text.as_bytes()).await.map(drop)
}
