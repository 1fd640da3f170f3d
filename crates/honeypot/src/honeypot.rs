//! The zone as a whole: binds every service, runs them, ends them in order.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use palisade_event::{Category, Event, HostName, SensorId};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::fingerprint::Signatures;
use crate::listener::Listener;
use crate::permits::Permits;
use crate::service::Service;
use crate::session::Zone;
use crate::shell::fetch::Fetch;
use crate::sockets::{BoundSocket, Sockets};
use crate::{Config, ServiceKind, Stats};

/// A service cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another program has the port.
    #[error("cannot start the {kind} honeypot on {address}: the port is in use by another program")]
    InUse {
        /// The service.
        kind: ServiceKind,
        /// Its configured address.
        address: SocketAddr,
    },
    /// Ports below 1024 need a right that the process does not have.
    #[error(
        "cannot start the {kind} honeypot on {address}: not allowed to use this port; give the program CAP_NET_BIND_SERVICE or choose one above 1023"
    )]
    Denied {
        /// The service.
        kind: ServiceKind,
        /// Its configured address.
        address: SocketAddr,
    },
    /// Anything else, such as an address this machine does not have.
    #[error("cannot start the {kind} honeypot on {address}: {source}")]
    Other {
        /// The service.
        kind: ServiceKind,
        /// Its configured address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The keys of the SSH service cannot be used.
    #[error(transparent)]
    HostKey(#[from] crate::service::ssh::hostkey::KeyError),
    /// The configuration is wrong.
    #[error("honeypot configuration: {}", .0.join("; "))]
    Config(Vec<String>),
}

impl BindError {
    pub(crate) fn new(kind: ServiceKind, address: SocketAddr, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::AddrInUse => Self::InUse { kind, address },
            io::ErrorKind::PermissionDenied => Self::Denied { kind, address },
            _ => Self::Other { kind, address, source },
        }
    }
}

/// All honeypot services of one installation, bound and ready to run.
#[derive(Debug)]
pub struct Honeypot {
    listeners: Vec<(TcpListener, Listener)>,
    zone: Arc<Zone>,
    stats: Arc<Stats>,
    shutdown: Duration,
}

impl Honeypot {
    /// Binds every service of `config`; none accepts before [`Self::run`].
    /// Events go to `out`, which should hold 1,024: while it is full, the
    /// attackers wait.
    ///
    /// # Errors
    /// [`BindError`] of the first service that cannot listen; then none does.
    pub async fn bind(
        config: &Config,
        sensor: SensorId,
        host: Option<HostName>,
        out: mpsc::Sender<Event>,
    ) -> Result<Self, BindError> {
        let config = config.clone();
        let made = tokio::task::spawn_blocking(move || {
            let sockets = Sockets::bind(&config)?;
            Self::new(&config, sockets, sensor, host, out)
        });
        made.await.map_err(|error| BindError::Config(vec![error.to_string()]))?
    }

    /// Makes all that serves on `sockets`, which are those of `config`. Reads
    /// every file the zone is ever going to read and makes host keys at the
    /// first start, so it takes a moment; starts no thread and needs no
    /// runtime, so that the process may give up its rights between this and
    /// [`Self::run`].
    ///
    /// # Errors
    /// [`BindError`] says what of the configuration cannot be used.
    pub fn new(
        config: &Config,
        sockets: Sockets,
        sensor: SensorId,
        host: Option<HostName>,
        out: mpsc::Sender<Event>,
    ) -> Result<Self, BindError> {
        config.validate().map_err(BindError::Config)?;
        let stats = Arc::new(Stats::default());
        let zone = Zone::new(&config.persona, sensor, host, out, Arc::clone(&stats));
        let mut zone =
            zone.map_err(|mistake| BindError::Config(vec![format!("persona: {mistake}")]))?;
        let signatures = Signatures::open(&config.p0f_signatures);
        zone.signatures = signatures.map_err(|mistake| BindError::Config(vec![mistake]))?;
        let zone = Arc::new(zone);
        let limits = Arc::new(config.limits.clone());
        let permits = Permits::new(limits.connections, limits.connections_per_address);
        let system = zone.server.system();
        let services: Vec<Service> = config
            .services
            .iter()
            .map(|service| Service::new(service, config.persona.seed, system))
            .collect::<Result<_, _>>()?;
        let mut listeners = Vec::with_capacity(config.services.len());
        for BoundSocket { service: index, socket } in sockets.into_bound() {
            let (Some(service), Some(ready)) = (config.services.get(index), services.get(index))
            else {
                return Err(BindError::Config(vec!["a socket belongs to no service".to_owned()]));
            };
            let address = socket
                .local_addr()
                .map_err(|error| BindError::new(service.kind, service.listen, error))?;
            let listener = Listener {
                address,
                kind: service.kind,
                service: ready.clone(),
                category: Category::new(service.kind.category()).ok(),
                proxy_protocol: service.proxy_protocol,
                trusted_proxies: service.trusted_proxies.clone().into(),
                zone: Arc::clone(&zone),
                permits: Arc::clone(&permits),
                limits: Arc::clone(&limits),
            };
            listeners.push((socket, listener));
        }
        let shutdown = Duration::from_secs(limits.shutdown_secs);
        Ok(Self { listeners, zone, stats, shutdown })
    }

    /// Has files that shells ask for fetched by `fetcher`. Without one, which
    /// is the default, all such tries fail as if the network did not answer.
    pub fn set_fetcher(&self, fetcher: Arc<dyn Fetch>) {
        // The first one stays.
        let _ = self.zone.fetcher.set(fetcher);
    }

    /// What listens where, with the ports the system chose for port 0.
    #[must_use]
    pub fn addresses(&self) -> Vec<(ServiceKind, SocketAddr)> {
        self.listeners.iter().map(|(_, listener)| (listener.kind, listener.address)).collect()
    }

    /// The counters; they stay readable while the zone runs and after.
    #[must_use]
    pub fn stats(&self) -> Arc<Stats> {
        Arc::clone(&self.stats)
    }

    /// Serves until `cancel`, or until nobody takes events any more. Then the
    /// sockets close, sessions end, and the future is ready when their last
    /// events are handed over, or `shutdown_secs` later: sessions that have
    /// not ended by then are cut off and counted.
    pub async fn run(self, cancel: CancellationToken) {
        let mut loops = JoinSet::new();
        for (socket, listener) in self.listeners {
            loops.spawn(listener.run(socket, cancel.child_token(), self.shutdown));
        }
        while let Some(ended) = loops.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "a honeypot listener failed");
            }
        }
    }
}
