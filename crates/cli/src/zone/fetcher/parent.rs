//! The parent's side of the fetcher: starts the process, and starts it again
//! where it ends by itself. What it fetches does not pass here.

use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Context as _;
use palisade_event::{Event, HostName, SensorId};
use palisade_honeypot::fetch::names;
use palisade_honeypot::zone_stream::{Confinement, ToZone};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Start;
use crate::settings::{Settings, host_name};
use crate::zone::own_addresses;
use crate::zone::parent::{ZoneCounters, failed};
use crate::zone::process::{Running, Who, cause};

/// First pause before it is started again; doubled up to [`MAX_BACKOFF`].
const MIN_BACKOFF: Duration = Duration::from_secs(1);
/// Longest such pause.
const MAX_BACKOFF: Duration = Duration::from_secs(60);
/// How long looking up the hub may take.
const LOOK_UP_DEADLINE: Duration = Duration::from_secs(5);
/// Where the system's name servers are named.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// A fetcher that runs, and its parent.
#[derive(Debug)]
pub(crate) struct FetcherProcess {
    start: Start,
    hub: Option<(String, u16)>,
    running: Running,
    /// Its end of the pair, for its successor.
    end: OwnedFd,
    sensor: SensorId,
    host: Option<HostName>,
}

impl FetcherProcess {
    /// Starts it. The other end of the pair is for the honeypots.
    ///
    /// # Errors
    /// It cannot; says why.
    pub(crate) async fn start(settings: &Settings) -> anyhow::Result<(Self, OwnedFd)> {
        let config = settings.honeypot.fetch.clone();
        let mut servers = config.name_servers.clone();
        if servers.is_empty() {
            servers = names::servers(&std::fs::read_to_string(RESOLV_CONF).unwrap_or_default());
        }
        if servers.is_empty() {
            tracing::warn!(
                "{RESOLV_CONF} names no name server, so files are fetched from addresses alone; [honeypot.fetch] name_servers names one"
            );
        }
        let (own, hub_addresses) = (Vec::new(), Vec::new());
        let (user, log) = (settings.honeypot.user.clone(), settings.log.clone());
        let mut start = Start { config, user, log, servers, own, hub: hub_addresses };
        let hub = settings.agent.hub.as_ref().and_then(|hub| place_of(&hub.url));
        let (ours, theirs) = UnixDatagram::pair().context("no socket pair for the fetcher")?;
        let end = OwnedFd::from(theirs);
        let (running, confinement) = launch(&mut start, hub.as_ref(), &end).await?;
        say(&confinement, running.child.id());
        let (sensor, host) = (settings.sensor(), HostName::new(&host_name()).ok());
        Ok((Self { start, hub, running, end, sensor, host }, ours.into()))
    }

    /// Keeps it running until `stop`; each end by itself is an event of `failures`.
    pub(crate) async fn run(
        mut self,
        stop: CancellationToken,
        counters: Arc<ZoneCounters>,
        failures: mpsc::Sender<Event>,
    ) {
        let mut backoff = MIN_BACKOFF;
        loop {
            let lived = self.running.since;
            let ended = tokio::select! {
                // Killed as the handle is dropped: it holds nothing that is not lost anyway.
                () = stop.cancelled() => return,
                ended = self.running.child.wait() => ended.ok(),
            };
            if lived.elapsed() > MAX_BACKOFF {
                backoff = MIN_BACKOFF;
            }
            let (mut reason, mut status) = (cause(ended), ended);
            loop {
                tell(&counters, &reason, status, backoff);
                let whose = (&self.sensor, self.host.as_ref());
                let event =
                    failed(whose, "fetcher", &reason, status).with("wait_secs", backoff.as_secs());
                tokio::select! {
                    () = stop.cancelled() => return,
                    // Who takes it ends with the honeypots, as this does.
                    _ = failures.send(event) => {}
                }
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(backoff) => {}
                }
                backoff = (backoff * 2).min(MAX_BACKOFF);
                match launch(&mut self.start, self.hub.as_ref(), &self.end).await {
                    Ok((running, confinement)) => {
                        say(&confinement, running.child.id());
                        self.running = running;
                        break;
                    }
                    Err(error) => (reason, status) = (format!("{error:#}"), None),
                }
            }
        }
    }
}

fn tell(counters: &ZoneCounters, reason: &str, status: Option<ExitStatus>, wait: Duration) {
    counters.fetcher_failures.fetch_add(1, Ordering::Relaxed);
    let (wait_secs, status) = (wait.as_secs(), status.map(|status| status.to_string()));
    tracing::error!(
        reason,
        status,
        wait_secs,
        "the fetcher ended by itself and is started again; until then nothing is fetched"
    );
}

fn say(confinement: &Confinement, pid: Option<u32>) {
    let Confinement { uid, landlock, seccomp, .. } = confinement;
    tracing::info!(pid, uid, landlock, seccomp, "the fetcher runs confined; it alone connects out");
}

/// Starts a process, with the addresses that this machine and the hub have now.
async fn launch(
    start: &mut Start,
    hub: Option<&(String, u16)>,
    end: &OwnedFd,
) -> anyhow::Result<(Running, Confinement)> {
    start.own = own_addresses()?;
    if let Some((host, port)) = hub {
        let look_up = tokio::net::lookup_host((host.as_str(), *port));
        let found = tokio::time::timeout(LOOK_UP_DEADLINE, look_up).await;
        match found.map_err(Into::into).and_then(|found| found) {
            Ok(found) => start.hub = found.map(|place| place.ip()).collect(),
            // Those of before stay.
            Err(error) => {
                tracing::warn!(%error, "the address of the hub is not known to the fetcher")
            }
        }
    }
    let how = ToZone::Start(serde_json::to_vec(start)?).encode();
    Running::launch(Who::Fetcher, &how, &[end.as_fd()], start.log.format).await
}

/// Host and port of the hub.
fn place_of(url: &str) -> Option<(String, u16)> {
    let url: http::Uri = url.parse().ok()?;
    let host = url.host()?.trim_start_matches('[').trim_end_matches(']').to_owned();
    Some((host, url.port_u16().unwrap_or(443)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hub_and_the_addresses_of_this_machine_are_known() {
        assert_eq!(place_of("https://hub.example:8443/x"), Some(("hub.example".into(), 8_443)));
        assert_eq!(place_of("https://[2001:db8::1]"), Some(("2001:db8::1".into(), 443)));
        let own = own_addresses().unwrap();
        assert!(own.contains(&std::net::Ipv4Addr::LOCALHOST.into()), "{own:?}");
    }
}
