//! The zone as a whole: binds every service, runs them, ends them in order.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use palisade_event::{Category, Event, HostName, SensorId, Untrusted};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::fingerprint::Signatures;
use crate::listener::{Anywhere, Listener};
use crate::permits::Permits;
use crate::plugin::{self, Facts, Plugin, Plugins, Pool, Room};
use crate::scan::{self, Scans};
use crate::service::Service;
use crate::service::catch_all::Other;
use crate::session::Zone;
use crate::shell::fetch::Fetch;
use crate::sockets::{Bound, BoundSocket, Sockets};
use crate::tls::{Certificate, Made, Tls};
use crate::udp::{Nobody, UdpListener};
use crate::{Config, PluginConfig, ServiceConfig, ServiceKind, Stats};

/// Shorter made-up texts might be anybody's password.
const MIN_SECRET_BYTES: usize = 10;

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
    datagrams: Vec<(UdpSocket, UdpListener)>,
    pool: Pool,
    /// What plug-ins listen on later.
    more: Option<mpsc::Receiver<Pool>>,
    plugins: Plugins,
    zone: Arc<Zone>,
    stats: Arc<Stats>,
    /// What captures packets, where something does.
    captures: Vec<OwnedFd>,
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
            let (config, sockets) = Self::prepare(config)?;
            Self::new(&config, sockets, sensor, host, out)
        });
        made.await.map_err(|error| BindError::Config(vec![error.to_string()]))?
    }

    /// Adds what plug-ins listen on, and binds all of it. What is wrong with a
    /// plug-in is logged and noted in the configuration, and keeps nobody else
    /// from serving. Reads files and runs their `init.luau`.
    ///
    /// # Errors
    /// [`BindError`] of the first service that cannot listen and is no plug-in.
    pub fn prepare(mut config: Config) -> Result<(Config, Sockets), BindError> {
        let say = |why: &str| {
            let why = Untrusted::from(why);
            tracing::error!(%why, "a plug-in does not serve");
        };
        config.add_plugins().iter().for_each(|why| say(why));
        let sockets = Sockets::bind(&config)?;
        for (service, error) in sockets.refused() {
            let why = error.to_string();
            say(&why);
            config.note_plugin_problem(service, &why);
        }
        Ok((config, sockets))
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
        let zone = Zone::new(&config.persona(), sensor, host, out, Arc::clone(&stats));
        let mut zone =
            zone.map_err(|mistake| BindError::Config(vec![format!("persona: {mistake}")]))?;
        let signatures = Signatures::open(&config.p0f_signatures);
        zone.signatures = signatures.map_err(|mistake| BindError::Config(vec![mistake]))?;
        let tarpits = config.limits.tarpits.min(Semaphore::MAX_PERMITS);
        let longest = Duration::from_secs(config.limits.tarpit_secs);
        zone.tarpits = (longest, Arc::new(Semaphore::new(tarpits)));
        let served = sockets.addresses(config).into_iter().map(|(_, address)| address.port());
        zone.scans = Scans::new(&config.scans, served);
        zone.exploits_folder.clone_from(&config.exploits);
        let zone = Arc::new(zone);
        let limits = Arc::new(config.limits.clone());
        let permits = Permits::new(limits.connections, limits.connections_per_address);
        let services = serving(config, &zone)?;
        let mut plugins = open_plugins(config, &sockets, &zone);
        let mut more = None;
        if config.plugins.is_some() || !plugins.is_empty() {
            let (pool, pools) = mpsc::channel(plugin::MAX_WAITING);
            more = Some(pools);
            let own = ServiceConfig {
                tls: true,
                ..ServiceConfig::new(ServiceKind::Plugin, ([127, 0, 0, 1], 0).into())
            };
            let wrong = |mistake| BindError::Config(vec![format!("tls: {mistake}")]);
            // Later it could not be kept any more. Making it takes a moment.
            let keys = config.tls_keys.as_deref().filter(|_| config.plugins.is_some());
            let made = keys.map(|keys| certificate_of(&own, Some(keys), &zone));
            plugins = plugins.with_room(Room {
                zone: Arc::downgrade(&zone),
                permits: Arc::clone(&permits),
                limits: Arc::clone(&limits),
                facts: Arc::new(Facts::of(&zone)),
                made: made.transpose().map_err(wrong)?,
                pool,
            });
        }
        let certificates = certificates(config, &plugins, &zone)?;
        let (mut listeners, mut datagrams) = (Vec::new(), Vec::new());
        let mut pool = Pool::default();
        for BoundSocket { service: index, socket } in sockets.into_bound() {
            let (Some(service), Some(ready)) = (config.services.get(index), services.get(index))
            else {
                return Err(BindError::Config(vec!["a socket belongs to no service".to_owned()]));
            };
            let address =
                socket.local_addr().map_err(|error| match service.listen.addresses().next() {
                    Some(address) => BindError::new(service.kind, address, error),
                    None => BindError::Config(vec![error.to_string()]),
                })?;
            let category = Category::new(service.kind.category()).ok();
            match socket {
                Bound::Tcp(socket) => {
                    let listener = Listener {
                        address,
                        kind: service.kind,
                        service: ready.service.clone(),
                        tls: ready.tls.clone(),
                        certificate: certificates.get(&index).cloned(),
                        category,
                        proxy_protocol: service.proxy_protocol,
                        trusted_proxies: service.trusted_proxies.clone().into(),
                        zone: Arc::clone(&zone),
                        permits: Arc::clone(&permits),
                        limits: Arc::clone(&limits),
                        retire: CancellationToken::new(),
                    };
                    match plugin_of(service, &plugins) {
                        Some(plugin) => {
                            let listener = Listener { retire: plugin.retire(), ..listener };
                            pool.listeners.push((socket, listener, plugin));
                        }
                        None if service.plugin.is_some() => {
                            tracing::error!(%address, "no such plug-in is loaded, so nobody is served here");
                        }
                        None => listeners.push((socket, listener)),
                    }
                }
                Bound::Udp(socket) => {
                    let config = service.udp.clone().unwrap_or_default();
                    let (zone, retire) = (Arc::clone(&zone), CancellationToken::new());
                    let listener = UdpListener { address, config, category, zone, retire };
                    match plugin_of(service, &plugins) {
                        Some(plugin) => {
                            let listener = UdpListener { retire: plugin.retire(), ..listener };
                            pool.datagrams.push((socket, listener, plugin));
                        }
                        None => datagrams.push((socket, listener)),
                    }
                }
            }
        }
        let shutdown = Duration::from_secs(limits.shutdown_secs);
        let captures = Vec::new();
        Ok(Self { listeners, datagrams, pool, more, plugins, zone, stats, captures, shutdown })
    }

    /// Has files that shells ask for fetched by `fetcher`. Without one, which
    /// is the default, all such tries fail as if the network did not answer.
    pub fn set_fetcher(&self, fetcher: Arc<dyn Fetch>) {
        // The first one stays.
        let _ = self.zone.fetcher.set(fetcher);
    }

    /// Has packets looked at that come from `captures`, which are those of
    /// [`scan::capture::open`], and go to an address of `own`.
    pub fn set_capture(&mut self, captures: Vec<OwnedFd>, own: &[IpAddr]) {
        self.captures = captures;
        own.iter().for_each(|address| self.zone.scans.own.learn(*address));
    }

    /// What listens where, with the ports the system chose for port 0.
    #[must_use]
    pub fn addresses(&self) -> Vec<(ServiceKind, SocketAddr)> {
        let streams = self.listeners.iter().map(|(_, listener)| (listener.kind, listener.address));
        let datagrams =
            self.datagrams.iter().map(|(_, listener)| (ServiceKind::Udp, listener.address));
        let plugged = self.pool.addresses();
        streams.chain(datagrams).chain(plugged).collect()
    }

    /// The plug-ins, which may be changed while they run.
    #[must_use]
    pub fn plugins(&self) -> Plugins {
        self.plugins.clone()
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
        let mut looking = JoinSet::new();
        let all_ended = CancellationToken::new();
        looking.spawn(scan::tell(Arc::clone(&self.zone), all_ended.clone()));
        for socket in self.captures {
            let (zone, stop) = (Arc::clone(&self.zone), all_ended.clone());
            looking.spawn(scan::capture::run(zone, socket, stop));
        }
        for (socket, listener) in self.listeners {
            loops.spawn(listener.run(socket, cancel.child_token(), self.shutdown, Anywhere));
        }
        for (socket, listener) in self.datagrams {
            loops.spawn(listener.run(socket, cancel.child_token(), self.shutdown, Nobody));
        }
        let may_grow = self.plugins.may_grow();
        let without_services = loops.is_empty() && self.plugins.is_empty() && !may_grow;
        // Told until all that there is to count is counted.
        let counted = CancellationToken::new();
        let mut reports = JoinSet::new();
        let zone = Arc::clone(&self.zone);
        if may_grow {
            reports.spawn(self.plugins.report(Arc::clone(&self.zone), counted.clone()));
        }
        if let Err(error) =
            self.pool.run(self.more, zone, cancel.child_token(), self.shutdown).await
        {
            tracing::error!(%error, "plug-ins cannot be served");
        }
        while let Some(ended) = loops.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "a honeypot listener failed");
            }
        }
        if without_services {
            // There is nothing but the end to wait for.
            cancel.cancelled().await;
        }
        // What sessions did at their end is a part of scans.
        all_ended.cancel();
        while let Some(ended) = looking.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "looking for scans failed");
            }
        }
        counted.cancel();
        while reports.join_next().await.is_some() {}
    }
}

/// The services of a configuration, in its order, ready to serve.
fn serving(config: &Config, zone: &Zone) -> Result<Vec<Other>, BindError> {
    let mut ready = Vec::with_capacity(config.services.len());
    let mut secrets = BTreeMap::new();
    for service in &config.services {
        let wrong = |mistake| BindError::Config(vec![format!("tls: {mistake}")]);
        // Makes keys at the first start.
        let tls = tls_of(service, config.tls_keys.as_deref(), zone).transpose().map_err(wrong)?;
        let made = Service::new(service, config.persona.seed, zone)?;
        let given = made.secrets().filter(|(_, secret)| secret.len() >= MIN_SECRET_BYTES);
        secrets.extend(given.map(|(name, secret)| (secret.clone(), name.clone())));
        ready.push(Other { kind: service.kind, service: made, tls });
    }
    // A catch-all hands over to the others.
    let others = ready.clone();
    for (service, place) in config.services.iter().zip(&mut ready) {
        if service.kind == ServiceKind::CatchAll {
            place.service = Service::catching(service, others.clone());
        }
    }
    // The zone is new: nothing was set before.
    let _ = zone.secrets.set(secrets);
    Ok(ready)
}

/// Loads the plug-ins; one that is wrong is reported, and serves nobody.
fn open_plugins(config: &Config, sockets: &Sockets, zone: &Zone) -> Plugins {
    let enabled = config.plugin.iter().filter(|plugin| plugin.enabled);
    if enabled.clone().next().is_none() {
        return Plugins::default();
    }
    let facts = Arc::new(Facts::of(zone));
    let open = |plugin: &PluginConfig| {
        let ports = match &plugin.name {
            Some(name) => sockets.of_plugin(config, name),
            None => Vec::new(),
        };
        Plugin::open(plugin, &facts, ports).map(Arc::new)
    };
    Plugins::new(enabled.filter_map(open).collect())
}

fn plugin_of(service: &ServiceConfig, plugins: &Plugins) -> Option<Arc<Plugin>> {
    plugins.get(service.plugin.as_ref()?)
}

/// What plug-ins begin TLS with in a connection, by their services.
fn certificates(
    config: &Config,
    plugins: &Plugins,
    zone: &Zone,
) -> Result<BTreeMap<usize, Tls>, BindError> {
    let mut made = BTreeMap::new();
    for (index, service) in config.services.iter().enumerate() {
        let wants = plugin_of(service, plugins)
            .and_then(|plugin| plugin.loaded())
            .is_some_and(|loaded| loaded.manifest.certificate);
        if wants && service.kind == ServiceKind::Plugin {
            let service = ServiceConfig { tls: true, ..service.clone() };
            let wrong = |mistake| BindError::Config(vec![format!("tls: {mistake}")]);
            let tls = tls_of(&service, config.tls_keys.as_deref(), zone).transpose();
            made.extend(tls.map_err(wrong)?.map(|tls| (index, tls)));
        }
    }
    Ok(made)
}

/// The certificate of a service with what is spoken, where it speaks TLS.
fn tls_of(
    service: &ServiceConfig,
    keys: Option<&Path>,
    zone: &Zone,
) -> Option<Result<Tls, String>> {
    if !service.tls {
        return None;
    }
    let protocol: &[u8] = if service.kind == ServiceKind::Http { b"http/1.1" } else { b"" };
    let certificate = certificate_of(service, keys, zone);
    Some(certificate.and_then(|certificate| Tls::new(certificate, protocol)))
}

/// The operator's certificate of a service, or that of its machine.
fn certificate_of(
    service: &ServiceConfig,
    keys: Option<&Path>,
    zone: &Zone,
) -> Result<Certificate, String> {
    match (&service.certificate, &service.key) {
        (Some(certificate), Some(key)) => Certificate::read(certificate, key),
        _ => {
            let machine = &zone.server.machine;
            let device = service.shows_device();
            let made = Made {
                file: if device { "device" } else { "server" },
                common_name: if device {
                    zone.persona.model.clone()
                } else {
                    machine.hostname.clone()
                },
                organisation: device.then(|| zone.persona.product.to_owned()),
                since: machine.installed,
            };
            Certificate::load_or_make(keys, &made)
        }
    }
}
