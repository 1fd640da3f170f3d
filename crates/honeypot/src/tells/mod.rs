//! Which known tell of a honeypot an installation shows: what scanners, bots and
//! people look at to tell one from a real machine, tried on ourselves.
//!
//! Nothing is assumed: the configured services are spoken to over socket pairs
//! in memory (no port, no connection), lines are typed into the persona's
//! shells, and what comes back is compared with what a real machine says. Events
//! of it go nowhere.

mod settings;
mod shell;
mod ssh;
mod web;
mod wire;

use std::sync::Arc;

use palisade_event::{SensorId, Timestamp};
use serde::Serialize;
use tokio::sync::mpsc;

use crate::service::Service;
use crate::session::Zone;
use crate::{BindError, Config, ServiceConfig, ServiceKind, Stats};

/// Longest excerpt of what was seen, in characters.
const MAX_SEEN: usize = 160;
/// Names that honeypots are known by; zhtrap's scanner looks for some of them.
const KNOWN_NAMES: [&str; 12] = [
    "phil",
    "richard",
    "svr04",
    "nas3",
    "jun22",
    "jun23",
    "cowrie",
    "kippo",
    "dionaea",
    "honeypot",
    "emblylinux",
    "palisade",
];

/// What became of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// A detector that looks at this sees a real machine.
    Hidden,
    /// It sees a honeypot.
    Shown,
    /// There is nothing here that it could look at.
    NotApplicable,
}

/// One thing that detectors look at, tried on this installation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Tell {
    /// Its lasting name, such as `ssh-kexinit`.
    pub id: &'static str,
    /// Where: a service with its address, a shell, or `installation`.
    pub place: String,
    /// What a detector looks at.
    pub looks_at: &'static str,
    /// Who does: a tool, or the honeypot that is known by it.
    pub known_from: &'static str,
    /// What it finds here.
    pub verdict: Verdict,
    /// What was seen: our own answer, shortened and with control characters escaped.
    pub seen: String,
    /// What to do about it where it shows.
    pub advice: &'static str,
}

/// What a check looks at, whatever it finds.
#[derive(Clone, Copy)]
struct Subject {
    id: &'static str,
    looks_at: &'static str,
    known_from: &'static str,
    advice: &'static str,
}

/// What was found.
struct Finding {
    verdict: Verdict,
    seen: String,
}

impl Finding {
    fn hidden(seen: impl Into<String>) -> Self {
        Self { verdict: Verdict::Hidden, seen: seen.into() }
    }

    fn shown(seen: impl Into<String>) -> Self {
        Self { verdict: Verdict::Shown, seen: seen.into() }
    }

    fn skipped(seen: impl Into<String>) -> Self {
        Self { verdict: Verdict::NotApplicable, seen: seen.into() }
    }

    /// Shown where `telling`.
    fn of(telling: bool, seen: impl Into<String>) -> Self {
        if telling { Self::shown(seen) } else { Self::hidden(seen) }
    }
}

impl Subject {
    fn tell(self, place: &str, found: Finding) -> Tell {
        let Self { id, looks_at, known_from, advice } = self;
        let seen = excerpt(found.seen.as_bytes());
        let place = place.to_owned();
        Tell { id, place, looks_at, known_from, verdict: found.verdict, seen, advice }
    }
}

/// What the settings do not say of an installation.
#[derive(Clone, Debug)]
pub struct Installation {
    /// Its name.
    pub sensor: SensorId,
    /// The seed that was drawn for it, where it has one.
    pub seed: Option<u64>,
    /// The time, as its machines believe it to be.
    pub now: Timestamp,
}

/// Tries everything that is known on the zone of `config`, as it stands in the
/// settings. What does not answer within some seconds counts as shown. Runs for
/// about a second; keys that SSH services do not have yet are made and
/// forgotten.
///
/// # Errors
/// A sentence for each mistake in the configuration or the persona.
pub async fn check(config: &Config, here: &Installation) -> Result<Vec<Tell>, Vec<String>> {
    config.validate()?;
    let (written, now) = (config.persona.seed, here.now);
    let mut config = config.clone();
    config.persona.seed = written.or(here.seed);
    let (out, events) = mpsc::channel(1_024);
    let stats = Arc::new(Stats::default());
    let zone = Zone::new(&config.persona(), here.sensor.clone(), None, out, stats);
    let zone = Arc::new(zone.map_err(|mistake| vec![format!("persona: {mistake}")])?);
    let drained = tokio::spawn(drain(events));
    let mut tells = Vec::new();
    for service in &config.services {
        let place = format!("{} on {}", service.kind, service.listen);
        let tried = match ready(service, config.persona.seed, &zone).await {
            Ok(tried) => tried,
            Err(error) => return Err(vec![format!("{place}: {error}")]),
        };
        let line = wire::Line { service: tried, zone: &zone, limits: &config.limits };
        match service.kind {
            ServiceKind::Ssh => ssh::try_on(&line, service, &place, &mut tells).await,
            ServiceKind::Telnet => wire::try_telnet(&line, service, &place, &mut tells).await,
            ServiceKind::Http => web::try_on(&line, &place, now, &mut tells).await,
            // They pretend to be nothing.
            ServiceKind::Tcp | ServiceKind::Udp | ServiceKind::CatchAll | ServiceKind::Plugin => {}
        }
    }
    let has = |kind| config.services.iter().any(|service| service.kind == kind);
    if has(ServiceKind::Telnet) {
        shell::try_on(&zone.device, "shell of the device", now, &mut tells);
    }
    if has(ServiceKind::Ssh) {
        shell::try_on(&zone.server, "shell of the server", now, &mut tells);
    }
    settings::look_at(&config, written, &zone, &mut tells);
    drop(zone);
    drained.abort();
    Ok(tells)
}

/// Takes the events of the tries and forgets them, so that no service waits.
async fn drain(mut events: mpsc::Receiver<palisade_event::Event>) {
    while events.recv().await.is_some() {}
}

/// The service as it is configured, without writing anything: keys that are not
/// kept yet are made for this once.
async fn ready(
    service: &ServiceConfig,
    seed: Option<u64>,
    zone: &Arc<Zone>,
) -> Result<Service, BindError> {
    let mut service = service.clone();
    if let Some(ssh) = &mut service.ssh {
        let kept = |folder: &std::path::PathBuf| crate::service::ssh::hostkey::are_kept(folder);
        ssh.host_keys = ssh.host_keys.take().filter(kept);
    }
    let zone = Arc::clone(zone);
    let made = tokio::task::spawn_blocking(move || Service::new(&service, seed, &zone)).await;
    made.unwrap_or_else(|error| Err(BindError::Config(vec![error.to_string()])))
}

/// Bytes as a short line of printable characters.
fn excerpt(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut out = String::new();
    for letter in text.trim().chars() {
        if out.chars().count() >= MAX_SEEN {
            out.push('…');
            break;
        }
        match letter {
            '\n' => out.push_str(" ⏎ "),
            '\r' => {}
            '\t' => out.push(' '),
            other if other.is_control() || other == '\u{fffd}' => out.push('·'),
            other => out.push(other),
        }
    }
    out
}

/// The first name that honeypots are known by in a text.
fn known_name(text: &str) -> Option<&'static str> {
    let text = text.to_ascii_lowercase();
    KNOWN_NAMES.into_iter().find(|name| text.contains(name))
}

#[cfg(test)]
mod tests;
