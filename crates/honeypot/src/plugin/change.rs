//! A plug-in that begins to serve, or serves elsewhere, while the zone runs.
//!
//! The zone has no rights and reads no files, so all of it comes from outside: the
//! files, what it listens on, the sockets, and the certificate. Listeners that were
//! there let nobody in any more, and their sessions go on until they end by
//! themselves; a socket that stays is served by the new listener too, so that
//! nobody who connects meanwhile is lost.

use std::collections::HashSet;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Weak};

use palisade_event::Category;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::manifest::Manifest;
use super::pool::Pool;
use super::rehearse;
use super::shared::Plugin;
use super::source::{PluginName, Source};
use crate::config::plugin_services;
use crate::honeypot::BindError;
use crate::listener::Listener;
use crate::permits::Permits;
use crate::service::Service;
use crate::session::Zone;
use crate::sockets::{Bound, BoundSocket, Sockets};
use crate::tls::{Certificate, Tls};
use crate::udp::UdpListener;
use crate::{Config, Limits, PluginConfig, ServiceConfig, ServiceKind};

/// A plug-in as it is to serve from now on. Its sockets come beside it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// What the operator has set of it, with its name and what is wrong with it.
    pub plugin: PluginConfig,
    /// Its files; none where they cannot be read or loaded.
    pub source: Option<Source>,
    /// What it listens on.
    pub services: Vec<ServiceConfig>,
    /// For each socket, which of `services` it belongs to.
    pub sockets: Vec<usize>,
    /// The operator's certificate and its key, as the text of their files.
    pub certificate: Option<(String, String)>,
}

/// What is to change in a running zone.
#[derive(Debug)]
pub enum Change {
    /// The files of a plug-in that serves.
    Code(Source),
    /// What a plug-in listens on, or that there is one more.
    Serve(Box<Order>, Vec<OwnedFd>),
}

/// What runs one plug-in, as far as it is known outside of the zone.
#[derive(Debug)]
struct Known {
    services: Vec<ServiceConfig>,
    /// Which of the services each belongs to.
    sockets: Vec<(usize, OwnedFd)>,
    /// Whether it begins TLS in connections.
    certificate: bool,
}

/// What all plug-ins of a configuration listen on, kept where sockets may be
/// bound. It says what has to change.
#[derive(Debug)]
pub struct Served {
    config: Config,
    known: Vec<(PluginName, Known)>,
}

impl Served {
    /// As at the start: `sockets` are those of `config`, whose plug-ins were added.
    ///
    /// # Errors
    /// A socket cannot be kept.
    pub fn new(config: &Config, sockets: &Sockets) -> std::io::Result<Self> {
        let mut known: Vec<(PluginName, Known)> = Vec::new();
        for plugin in config.plugin.iter().filter(|plugin| plugin.enabled) {
            let (Some(name), Ok(manifest)) =
                (&plugin.name, plugin.source().and_then(|source| rehearse::check(&source)))
            else {
                continue;
            };
            let mut one = Known {
                services: Vec::new(),
                sockets: Vec::new(),
                certificate: manifest.certificate,
            };
            for (index, service) in config.services.iter().enumerate() {
                if service.plugin.as_ref() != Some(name) {
                    continue;
                }
                for (_, socket) in sockets.descriptors().filter(|(of, _)| *of == index) {
                    one.sockets.push((one.services.len(), socket.try_clone_to_owned()?));
                }
                one.services.push(service.clone());
            }
            known.push((name.clone(), one));
        }
        Ok(Self { config: config.clone(), known })
    }

    /// What has to change so that the plug-in in a folder serves as its files say
    /// now. Runs its `init.luau`, reads its certificate and binds its ports.
    /// `anew`: also where nothing of that seems to have changed.
    ///
    /// # Errors
    /// A sentence about what cannot be read; then all goes on as before.
    pub fn change(&mut self, folder: &Path, anew: bool) -> Result<Change, String> {
        let named = folder.file_name().unwrap_or_default().to_string_lossy();
        let of_folder = |plugin: &PluginConfig| plugin.path.as_deref() == Some(folder);
        let meant = |plugin: &PluginConfig| {
            plugin.path.is_none()
                && plugin.name.as_ref().is_some_and(|name| *name.as_str() == *named)
        };
        let set = self.config.plugin.iter().find(|plugin| of_folder(plugin));
        let set = set.or_else(|| self.config.plugin.iter().find(|plugin| meant(plugin)));
        let mut plugin = match set {
            Some(plugin) => plugin.clone(),
            None => PluginConfig::new(None, None),
        };
        plugin.path = Some(folder.to_owned());
        plugin.problems.clear();
        let source = Source::read(folder)?;
        let certificate = read_certificate(&plugin)?;
        let name = source.name.clone();
        let place = self.known.iter().position(|(known, _)| *known == name);
        let manifest = match rehearse::check(&source) {
            Ok(manifest) => manifest,
            // It says itself what is wrong, and goes on with the code before.
            Err(_) if place.is_some() => return Ok(Change::Code(source)),
            Err(why) => {
                plugin.name = Some(name);
                plugin.problems = vec![why];
                return Ok(self.order(plugin, None, Vec::new(), Vec::new(), None));
            }
        };
        plugin.name = Some(name.clone());
        let mut before = match place {
            Some(place) => self.known.swap_remove(place).1,
            None => Known { services: Vec::new(), sockets: Vec::new(), certificate: false },
        };
        let same = !anew && place.is_some() && self.is_as(&before, &plugin, &manifest);
        if same {
            self.known.push((name, before));
            return Ok(Change::Code(source));
        }
        self.config.services.retain(|service| service.plugin.as_ref() != Some(&name));
        let (mut services, mut sockets) = (Vec::new(), Vec::new());
        let mut left: Vec<usize> = (0..before.services.len()).collect();
        for service in plugin_services(&plugin, &manifest) {
            let is_there = |index: &usize| {
                before.services.get(*index).is_some_and(|have| is_at(have, &service))
            };
            let number = services.len();
            if let Some(place) = left.iter().position(is_there) {
                let index = left.swap_remove(place);
                let (kept, rest) = before.sockets.into_iter().partition(|(of, _)| *of == index);
                before.sockets = rest;
                let kept: Vec<(usize, OwnedFd)> = kept;
                sockets.extend(kept.into_iter().map(|(_, socket)| (number, socket)));
            } else if let Some(address) = self.config.taken_by(&service) {
                plugin.problems.push(format!("{address} is taken by another service"));
                continue;
            } else {
                match Sockets::bind_one(&service) {
                    Ok(bound) => sockets.extend(bound.into_iter().map(|one| (number, one.into()))),
                    Err(why) => {
                        plugin.problems.push(why.to_string());
                        continue;
                    }
                }
            }
            services.push(service.clone());
            self.config.services.push(service);
        }
        let handed = sockets_of(&sockets);
        let begins = manifest.certificate;
        self.known.push((name, Known { services: services.clone(), sockets, certificate: begins }));
        Ok(self.order(plugin, Some(source), services, handed?, certificate))
    }

    /// Whether a plug-in listens where it wants to already.
    fn is_as(&self, before: &Known, plugin: &PluginConfig, manifest: &Manifest) -> bool {
        let wanted = plugin_services(plugin, manifest);
        before.certificate == manifest.certificate
            && wanted.len() == before.services.len()
            && wanted.iter().zip(&before.services).all(|(a, b)| is_at(a, b))
    }

    fn order(
        &mut self,
        plugin: PluginConfig,
        source: Option<Source>,
        services: Vec<ServiceConfig>,
        sockets: Vec<(usize, OwnedFd)>,
        certificate: Option<(String, String)>,
    ) -> Change {
        self.config.plugin.retain(|have| {
            have.name != plugin.name && (have.path.is_none() || have.path != plugin.path)
        });
        self.config.plugin.push(plugin.clone());
        let (indices, sockets) = sockets.into_iter().unzip();
        let order = Order { plugin, source, services, sockets: indices, certificate };
        Change::Serve(Box::new(order), sockets)
    }

    /// The folders of plug-ins that serve, or cannot.
    pub fn folders(&self) -> impl Iterator<Item = &PluginConfig> {
        self.config.plugin.iter().filter(|plugin| plugin.enabled && plugin.path.is_some())
    }

    /// Whether a folder is of a plug-in that the operator has switched off.
    #[must_use]
    pub fn is_off(&self, folder: &Path) -> bool {
        let named = folder.file_name().unwrap_or_default().to_string_lossy();
        self.config.plugin.iter().any(|plugin| {
            !plugin.enabled && plugin.name.as_ref().is_some_and(|name| *name.as_str() == *named)
        })
    }
}

/// The text of the operator's certificate and key, which are one.
fn read_certificate(plugin: &PluginConfig) -> Result<Option<(String, String)>, String> {
    let (Some(certificate), Some(key)) = (&plugin.certificate, &plugin.key) else {
        return Ok(None);
    };
    // Wrong ones are named here, where their files are known.
    Certificate::read(certificate, key)?;
    let text = |path: &Path| {
        std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
    };
    Ok(Some((text(certificate)?, text(key)?)))
}

fn sockets_of(sockets: &[(usize, OwnedFd)]) -> Result<Vec<(usize, OwnedFd)>, String> {
    let cannot = |error| format!("its sockets cannot be handed on: {error}");
    sockets.iter().map(|(of, socket)| Ok((*of, socket.try_clone().map_err(cannot)?))).collect()
}

/// Whether two services listen in the same place in the same way.
fn is_at(a: &ServiceConfig, b: &ServiceConfig) -> bool {
    a.kind == b.kind && a.tls == b.tls && a.listen == b.listen
}

impl Order {
    /// Makes it a part of the configuration and the sockets that the next zone
    /// gets.
    ///
    /// # Errors
    /// A socket is none.
    pub fn enter(
        self,
        config: &mut Config,
        sockets: &mut Sockets,
        handed: Vec<OwnedFd>,
    ) -> std::io::Result<()> {
        let name = self.plugin.name.clone();
        let mut kept = Vec::with_capacity(config.services.len());
        let mut places = Vec::with_capacity(config.services.len());
        for service in std::mem::take(&mut config.services) {
            let is_old = name.is_some() && service.plugin == name;
            places.push((!is_old).then_some(kept.len()));
            if !is_old {
                kept.push(service);
            }
        }
        sockets.renumber(|service| places.get(service).copied().flatten());
        let first = kept.len();
        let of = self.sockets.iter().map(|index| first + index);
        sockets.extend(Sockets::adopt(of.zip(handed))?);
        kept.extend(self.services);
        config.services = kept;
        let path = self.plugin.path.clone();
        config
            .plugin
            .retain(|have| have.name != name && (have.path.is_none() || have.path != path));
        config.plugin.push(self.plugin);
        Ok(())
    }
}

/// What new listeners of a running zone are made of.
#[derive(Debug)]
pub(crate) struct Room {
    /// Not kept alive: its end is the end of all events.
    pub(crate) zone: Weak<Zone>,
    pub(crate) permits: Arc<Permits>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) facts: Arc<super::Facts>,
    /// The certificate that the machine has made for itself.
    pub(crate) made: Option<Certificate>,
    /// To the threads of plug-ins.
    pub(crate) pool: mpsc::Sender<Pool>,
}

impl Room {
    /// What `order` has serve on its sockets, for `plugin`.
    pub(crate) fn pool(
        &self,
        order: &Order,
        sockets: Vec<OwnedFd>,
        plugin: &Arc<Plugin>,
        retire: &CancellationToken,
    ) -> Result<(Pool, Vec<String>), String> {
        let all = self.zone.upgrade().ok_or("the honeypots end")?;
        let manifest = plugin.loaded().map(|loaded| Arc::clone(&loaded.manifest));
        let begins = manifest.is_some_and(|manifest| manifest.certificate);
        let tls = match begins || order.services.iter().any(|service| service.tls) {
            true => Some(self.tls(order)?),
            false => None,
        };
        let mut ports = Vec::new();
        let mut pool = Pool::default();
        let adopted = Sockets::adopt(order.sockets.iter().copied().zip(sockets));
        let adopted = adopted.map_err(|error| format!("its sockets cannot be used: {error}"))?;
        let mut served = HashSet::new();
        // Of a kind that is never asked: the plug-in serves.
        let none = ServiceConfig::new(ServiceKind::Plugin, ([127, 0, 0, 1], 0).into());
        let served_by = Service::new(&none, None, &all).map_err(|why| why.to_string())?;
        for BoundSocket { service: index, socket } in adopted.into_bound() {
            let Some(service) = order.services.get(index) else {
                return Err("a socket belongs to no service".to_owned());
            };
            let address = socket.local_addr().map_err(|error| error.to_string())?;
            served.insert(address.port());
            let category = Category::new(service.kind.category()).ok();
            let zone = Arc::clone(&all);
            let plugin = Arc::clone(plugin);
            ports.push(place(&socket, service, address));
            match socket {
                Bound::Tcp(socket) => {
                    let listener = Listener {
                        address,
                        kind: service.kind,
                        service: served_by.clone(),
                        tls: tls.clone().filter(|_| service.tls),
                        certificate: tls.clone().filter(|_| begins && !service.tls),
                        category,
                        proxy_protocol: service.proxy_protocol,
                        trusted_proxies: service.trusted_proxies.clone().into(),
                        zone,
                        permits: Arc::clone(&self.permits),
                        limits: Arc::clone(&self.limits),
                        retire: retire.clone(),
                    };
                    pool.listeners.push((socket, listener, plugin));
                }
                Bound::Udp(socket) => {
                    let config = service.udp.clone().unwrap_or_default();
                    let retire = retire.clone();
                    let listener = UdpListener { address, config, category, zone, retire };
                    pool.datagrams.push((socket, listener, plugin));
                }
            }
        }
        all.scans.serve(served);
        Ok((pool, ports))
    }

    fn tls(&self, order: &Order) -> Result<Tls, String> {
        let certificate = match &order.certificate {
            Some((certificate, key)) => Certificate::of_text(certificate, key)?,
            None => self
                .made
                .as_ref()
                .map(Certificate::copy)
                .ok_or_else(|| "its certificate is made at the next start".to_owned())?,
        };
        Tls::new(certificate, b"").map_err(|why| format!("tls: {why}"))
    }
}

/// Where a socket of a plug-in listens, as `tcp 127.0.0.1:21`.
pub(crate) fn place(
    socket: &Bound,
    service: &ServiceConfig,
    address: std::net::SocketAddr,
) -> String {
    let transport = match (socket, service.tls) {
        (Bound::Udp(_), _) => "udp",
        (Bound::Tcp(_), true) => "tls",
        (Bound::Tcp(_), false) => "tcp",
    };
    format!("{transport} {address}")
}

impl Sockets {
    /// Binds one service of a plug-in.
    fn bind_one(service: &ServiceConfig) -> Result<Vec<Bound>, BindError> {
        service.listen.addresses().map(|address| Bound::new(service.kind, address)).collect()
    }
}

impl From<Bound> for OwnedFd {
    fn from(bound: Bound) -> Self {
        match bound {
            Bound::Tcp(socket) => socket.into(),
            Bound::Udp(socket) => socket.into(),
        }
    }
}

impl Change {
    /// The plug-in's name, for messages.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Code(source) => source.name.to_string(),
            Self::Serve(order, _) => {
                order.plugin.name.as_ref().map_or_else(String::new, ToString::to_string)
            }
        }
    }

    /// The sockets that go along.
    pub fn sockets(&self) -> Vec<BorrowedFd<'_>> {
        match self {
            Self::Code(_) => Vec::new(),
            Self::Serve(_, sockets) => sockets.iter().map(|socket| socket.as_fd()).collect(),
        }
    }
}

impl Config {
    /// The first address of a service that another one listens on.
    fn taken_by(&self, service: &ServiceConfig) -> Option<std::net::SocketAddr> {
        let udp = service.kind == ServiceKind::Udp;
        service.listen.addresses().find(|address| self.has(udp, address))
    }
}
