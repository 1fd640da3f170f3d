//! The honeypots of `up` and `sensor`: in a process of their own, or, to look
//! for faults, in this one.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use palisade_agent::Intake;
use palisade_event::{Event, HostName};
use palisade_honeypot::fetch::client::Fetcher;
use palisade_honeypot::plugin::{Change, Plugins};
use palisade_honeypot::{Honeypot, Process, ServiceKind, Stats};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::plugins::{MAX_CHANGES, Watched};
use crate::commands::tells;
use crate::out;
use crate::settings::{Settings, host_name};
use crate::zone::fetcher::parent::FetcherProcess;
use crate::zone::own_addresses;
use crate::zone::parent::{Extras, Outlet, Zone, ZoneCounters};

/// Events between honeypot sessions and the pipeline; full: the attacker waits.
const SESSION_QUEUE_EVENTS: usize = 1_024;

/// Failures of the fetcher that wait while the honeypots are started again.
const FAILURE_QUEUE_EVENTS: usize = 16;

/// Most ports that reports name where nobody came.
const MAX_REPORTED_PORTS: usize = 256;

/// Honeypots that are ready, and who fetches for them.
pub(super) struct Honeypots {
    serving: Serving,
    fetcher: Option<Box<FetcherProcess>>,
    /// Where the fetcher tells that it failed.
    failures: mpsc::Sender<Event>,
    counters: Arc<ZoneCounters>,
    /// Where they listen, for reports.
    ports: Vec<u16>,
    /// Of a sensor without a hub of its own: what its honeypots are known by is
    /// tried with these settings, and told.
    told: Option<Box<Settings>>,
}

/// Those in a process of their own serve already.
enum Serving {
    Own(Box<Zone>),
    Same(Honeypot),
}

impl Honeypots {
    /// Binds the ports, prints what listens where, and starts the process.
    /// The other end is for the agent.
    ///
    /// # Errors
    /// A port or a file of the honeypots cannot be used.
    pub(super) async fn open(settings: &Settings) -> anyhow::Result<(Self, Intake)> {
        let mut config = settings.honeypot.clone();
        if config.persona.seed.is_none() {
            config.persona.seed = Some(persona_seed(&settings.data_dir())?);
        }
        let tls_keys = || settings.data_dir().join("tls-keys");
        config.tls_keys.get_or_insert_with(tls_keys);
        for service in &mut config.services {
            if service.kind == ServiceKind::Ssh {
                let folder = || settings.data_dir().join("ssh-host-keys");
                service.ssh.get_or_insert_default().host_keys.get_or_insert_with(folder);
            }
        }
        let (events, safe, intake) = Intake::channel(SESSION_QUEUE_EVENTS);
        // The zone has another working directory.
        absolute_paths(&mut config)?;
        let (config, sockets) =
            tokio::task::spawn_blocking(move || Honeypot::prepare(config)).await??;
        let addresses = sockets.addresses(&config);
        let (change, changes) = mpsc::channel(MAX_CHANGES);
        let watching = Watched::new(&config, &sockets)?.watch(change);
        let (fetcher, fetch) = match config.fetch.enabled {
            true => {
                let (fetcher, end) = FetcherProcess::start(settings).await?;
                (Some(Box::new(fetcher)), Some(end))
            }
            false => (None, None),
        };
        // With the right to do so, which the zone does not have.
        let captures = palisade_honeypot::scan::capture::open(&config.capture)?;
        let failures;
        let serving = match config.process {
            Process::Own => {
                let (fails, others) = mpsc::channel(FAILURE_QUEUE_EVENTS);
                failures = fails;
                let outlet = Outlet { events, safe };
                let extras = Extras { fetch, captures };
                let zone = Zone::start(settings, config, sockets, extras, outlet, changes, others);
                Serving::Own(Box::new(zone.await?))
            }
            Process::Same => {
                failures = events.clone();
                let host = HostName::new(&host_name()).ok();
                let sensor = settings.sensor();
                tracing::warn!("the honeypots run in this process and are not confined");
                let rules = config.fetch.clone();
                let made = move || Honeypot::new(&config, sockets, sensor, host, events);
                let mut honeypot = tokio::task::spawn_blocking(made).await??;
                honeypot.set_capture(captures, &own_addresses()?);
                if let Some(end) = fetch {
                    let fetcher = Fetcher::new(end, &rules).context("cannot reach the fetcher")?;
                    honeypot.set_fetcher(Arc::new(fetcher));
                }
                tokio::spawn(take_changes(changes, honeypot.plugins()));
                Serving::Same(honeypot)
            }
        };
        // Ends when nobody takes changes any more.
        tokio::spawn(watching);
        for line in told(&addresses) {
            out::line(&line);
        }
        let counters = match &serving {
            Serving::Own(zone) => zone.counters(),
            Serving::Same(_) => Arc::default(),
        };
        let own = addresses.iter().filter(|(kind, _)| *kind != ServiceKind::CatchAll);
        let ports = own.map(|(_, address)| address.port()).take(MAX_REPORTED_PORTS).collect();
        Ok((Self { serving, fetcher, failures, counters, ports, told: None }, intake))
    }

    /// Where they listen, without those of a whole range of ports.
    pub(super) fn ports(&self) -> Vec<u16> {
        self.ports.clone()
    }

    pub(super) fn stats(&self) -> Arc<Stats> {
        match &self.serving {
            Serving::Own(zone) => zone.stats(),
            Serving::Same(honeypot) => honeypot.stats(),
        }
    }

    pub(super) fn counters(&self) -> Arc<ZoneCounters> {
        Arc::clone(&self.counters)
    }

    /// Has the hub told what the honeypots of these settings are known by.
    pub(super) fn tell_tells(&mut self, settings: &Settings) {
        self.told = Some(Box::new(settings.clone()));
    }

    /// Until `stop`, and until all events are handed over.
    pub(super) async fn run(self, stop: CancellationToken) {
        let Self { serving, fetcher, failures, counters, told, ports: _ } = self;
        // It goes on while sessions end.
        let stop_fetching = CancellationToken::new();
        let fetching = async {
            // Without one, nobody else holds the end of what is told.
            if let Some(fetcher) = fetcher {
                fetcher.run(stop_fetching.clone(), counters, failures).await;
            } else {
                drop(failures);
            }
        };
        let serving = async {
            match serving {
                Serving::Own(mut zone) => {
                    // It serves meanwhile; its events wait for a second.
                    if let Some(event) = tells::event(told.as_deref()).await {
                        zone.tell(event).await;
                    }
                    zone.run(stop).await;
                }
                Serving::Same(honeypot) => honeypot.run(stop).await,
            }
            stop_fetching.cancel();
        };
        tokio::join!(serving, fetching);
    }
}

/// Has plug-ins of this process changed.
async fn take_changes(mut changes: mpsc::Receiver<Change>, plugins: Plugins) {
    while let Some(change) = changes.recv().await {
        let plugins = plugins.clone();
        // Its script runs for a moment; not where connections wait.
        let taken = tokio::task::spawn_blocking(move || match change {
            Change::Code(source) => plugins.replace(source),
            Change::Serve(order, sockets) => plugins.serve(&order, sockets),
        });
        let _ = taken.await;
    }
}

/// The zone has another working directory.
fn absolute_paths(config: &mut palisade_honeypot::Config) -> anyhow::Result<()> {
    let mut keys: Vec<&mut PathBuf> = Vec::new();
    for service in &mut config.services {
        keys.extend(service.ssh.as_mut().and_then(|ssh| ssh.host_keys.as_mut()));
        keys.extend(service.certificate.as_mut());
        keys.extend(service.key.as_mut());
        // A site with a slash in its name is a folder.
        let site = service.http.as_mut().and_then(|http| http.site.as_mut());
        if let Some(site) = site.filter(|site| site.contains('/')) {
            let path = std::path::absolute(&*site)
                .with_context(|| format!("cannot use the path {site}"))?;
            *site = path.to_string_lossy().into_owned();
        }
    }
    keys.extend(config.tls_keys.as_mut());
    keys.extend(config.exploits.as_mut());
    keys.extend(config.plugins.as_mut());
    for plugin in &mut config.plugin {
        keys.extend(plugin.path.as_mut());
        keys.extend(plugin.certificate.as_mut());
        keys.extend(plugin.key.as_mut());
    }
    let signatures = Some(&mut config.p0f_signatures).filter(|path| !path.as_os_str().is_empty());
    for path in keys.into_iter().chain(config.persona.folder.as_mut()).chain(signatures) {
        *path = std::path::absolute(&*path)
            .with_context(|| format!("cannot use the path {}", path.display()))?;
    }
    Ok(())
}

/// What listens where, a line for each run of ports.
fn told(addresses: &[(ServiceKind, SocketAddr)]) -> Vec<String> {
    let runs = addresses.chunk_by(|(kind, address), (next_kind, next)| {
        kind == next_kind
            && address.ip() == next.ip()
            && address.port().checked_add(1) == Some(next.port())
    });
    runs.filter_map(|run| match run {
        [(kind, address)] => Some(format!("honeypot {kind} on {address}")),
        [(kind, first), .., (_, last)] => {
            Some(format!("honeypot {kind} on {first}-{}", last.port()))
        }
        [] => None,
    })
    .collect()
}

/// What makes this installation look unlike any other and like itself after a
/// restart: drawn once, kept in the data directory.
fn persona_seed(data: &Path) -> anyhow::Result<u64> {
    let path = data.join("persona.seed");
    if let Some(seed) =
        std::fs::read_to_string(&path).ok().and_then(|text| text.trim().parse().ok())
    {
        return Ok(seed);
    }
    let seed = rand::random();
    std::fs::create_dir_all(data)
        .and_then(|()| std::fs::write(&path, format!("{seed}\n")))
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(seed)
}

#[cfg(test)]
mod tests {
    use palisade_honeypot::ServiceKind;

    #[test]
    fn ports_in_a_row_are_one_line() {
        let listening = |kind, address: &str| (kind, address.parse().unwrap());
        let lines = super::told(&[
            listening(ServiceKind::Ssh, "127.0.0.1:22"),
            listening(ServiceKind::Telnet, "127.0.0.1:23"),
            listening(ServiceKind::Http, "[::]:80"),
            listening(ServiceKind::Http, "[::]:81"),
            listening(ServiceKind::Http, "[::]:82"),
            listening(ServiceKind::Http, "127.0.0.1:83"),
        ]);
        let wanted = [
            "honeypot ssh on 127.0.0.1:22",
            "honeypot telnet on 127.0.0.1:23",
            "honeypot http on [::]:80-82",
            "honeypot http on 127.0.0.1:83",
        ];
        assert_eq!(lines, wanted);
    }
}
