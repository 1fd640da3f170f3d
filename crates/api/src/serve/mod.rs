//! Listening: addresses are bound, connections taken, and all of them ended in
//! order. What is said on a connection is the router's business.

mod connection;
mod hpfeeds;
mod prefixed;
pub(crate) mod proxy;

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use palisade_hub::Hub;
use tokio::net::{TcpListener, TcpSocket, UnixListener};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::announce::{self, Announcer};
use crate::auth;
use crate::config::{Config, Listener};
use crate::limits::ConnectionLimit;
use crate::router::{self, App};
use crate::tls::{Tls, TlsError};

/// Connections the kernel holds while all permits are taken.
const BACKLOG: u32 = 1024;
/// Pause after the system refused a connection for lack of files or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Open connections of the local socket; local commands are short.
const UNIX_CONNECTIONS: usize = 64;

/// Cannot listen; the operator must act.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The address or socket cannot be used.
    #[error("cannot listen on {place}: {advice}")]
    Address {
        /// The address or path.
        place: String,
        /// Why not, and what to do.
        advice: String,
    },
    /// The certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A receiver of announcements cannot be used.
    #[error("{0}")]
    Webhook(String),
    /// The system failed.
    #[error("cannot start the listeners: {0}")]
    System(#[from] io::Error),
}

impl BindError {
    fn new(place: impl ToString, advice: impl Into<String>) -> Self {
        Self::Address { place: place.to_string(), advice: advice.into() }
    }

    fn tcp(address: SocketAddr, error: &io::Error) -> Self {
        let advice = match error.kind() {
            io::ErrorKind::AddrInUse => {
                "another program listens there already; stop it, or choose another address with \
                 --listen ADDRESS:PORT"
                    .to_owned()
            }
            io::ErrorKind::PermissionDenied => {
                "ports below 1024 are for privileged processes; choose a higher one, or grant \
                 CAP_NET_BIND_SERVICE"
                    .to_owned()
            }
            io::ErrorKind::AddrNotAvailable => {
                "this machine does not have that address; 'ip address' lists those it has"
                    .to_owned()
            }
            _ => error.to_string(),
        };
        Self::new(address, advice)
    }

    fn unix(path: &Path, error: &io::Error) -> Self {
        Self::new(path.display(), error.to_string())
    }
}

/// An address that is listened on; shown as people type it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// IP address and port.
    pub socket: SocketAddr,
    /// Whether it speaks TLS.
    pub tls: bool,
    /// Path below which everything is served.
    pub base_path: String,
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}{}/", self.socket, self.base_path)
    }
}

/// One bound address.
struct Bound {
    listener: TcpListener,
    address: SocketAddr,
    settings: Listener,
}

/// Makes TLS settings for connections to the outside: a pin, or a file of
/// authorities, or neither, which is the system's.
pub type ClientTls =
    dyn Fn(Option<&str>, Option<&Path>) -> Result<Arc<rustls::ClientConfig>, String>;

/// The bound doors of the hub, not open yet.
pub struct Server {
    app: App,
    tls: Option<Tls>,
    bound: Vec<Bound>,
    hpfeeds: hpfeeds::Doors,
    unix: Option<(UnixListener, PathBuf)>,
    announcers: Vec<Announcer>,
}

/// What the accept loops share.
struct Shared {
    app: App,
    tls: Option<Tls>,
    permits: Arc<Semaphore>,
    per_address: Arc<ConnectionLimit>,
    tasks: TaskTracker,
    /// Connections end at once, finished or not.
    abort: CancellationToken,
}

impl Server {
    /// Loads the certificate, or makes one in `data_dir`, where a listener
    /// speaks TLS, and binds every listener of `config`.
    ///
    /// # Errors
    /// [`BindError`], one sentence with the address or file and what to do.
    pub async fn bind(config: &Config, hub: Hub, data_dir: &Path) -> Result<Self, BindError> {
        if let Some(warning) = config.glimpse.warning() {
            tracing::warn!("{warning}");
        }
        let mut tls = None;
        let speaks_tls = config.listeners.iter().any(|listener| listener.tls)
            || config.hpfeeds.listeners.iter().any(|listener| listener.tls);
        if speaks_tls {
            let (settings, dir) = (config.tls.clone(), data_dir.to_owned());
            let load = move || Tls::load(&settings, &dir, auth::now());
            tls = Some(tokio::task::spawn_blocking(load).await.map_err(io::Error::other)??);
        }
        let mut bound = Vec::new();
        for settings in &config.listeners {
            let failed = |error| BindError::tcp(settings.address, &error);
            let listener = listen(settings.address).map_err(failed)?;
            let address = listener.local_addr().map_err(failed)?;
            bound.push(Bound { listener, address, settings: settings.clone() });
        }
        let app = App::new(hub, config.clone());
        let hpfeeds = hpfeeds::Doors::bind(&app).await?;
        let announcers = announce::announcers(&app.hub, config).map_err(BindError::Webhook)?;
        Ok(Self { app, tls, bound, hpfeeds, unix: None, announcers })
    }

    /// Also listens to the hpfeeds brokers elsewhere that the settings name.
    ///
    /// # Errors
    /// [`BindError`]: the TLS settings of one cannot be used.
    pub fn listen_to_brokers(&mut self, tls: &ClientTls) -> Result<(), BindError> {
        self.hpfeeds.listen_to_brokers(&self.app.config.hpfeeds, tls)
    }

    /// The addresses of our hpfeeds broker, with the ports the system chose,
    /// and whether each speaks TLS.
    #[must_use]
    pub fn hpfeeds_addresses(&self) -> Vec<(SocketAddr, bool)> {
        self.hpfeeds.addresses()
    }

    /// Also serves the local management socket at `path`. Its file belongs to
    /// this user alone (mode 0600); whoever can open it may do all.
    ///
    /// # Errors
    /// [`BindError`], also where another process serves that path.
    pub fn serve_unix(&mut self, path: &Path) -> Result<(), BindError> {
        let failed = |error| BindError::unix(path, &error);
        remove_stale(path)?;
        // Bound under another name, made private and only then put in place,
        // so that there is no moment in which others can connect.
        let new = path.with_extension("new");
        let _ = fs::remove_file(&new);
        let listener = UnixListener::bind(&new).map_err(failed)?;
        fs::set_permissions(&new, fs::Permissions::from_mode(0o600)).map_err(failed)?;
        fs::rename(&new, path).map_err(failed)?;
        self.unix = Some((listener, path.to_owned()));
        Ok(())
    }

    /// Shows the metric families that `text` writes (OpenMetrics text format,
    /// no end mark) at `/metrics` too: those of parts beside the hub. Only the
    /// first call has an effect.
    pub fn show_metrics(&self, text: impl Fn() -> String + Send + Sync + 'static) {
        let _ = self.app.beside.set(Box::new(text));
    }

    /// Where honeypots of this process listen: reports name these ports, attacked
    /// or not. Only the first call has an effect.
    pub fn show_honeypot_ports(&self, ports: Vec<u16>) {
        let _ = self.app.honeypot_ports.set(ports);
    }

    /// Has the honeypots of this process tried by `trying` when the page asks
    /// for it first. Only the first call has an effect.
    pub fn try_honeypots<F>(&self, trying: impl Fn() -> F + Send + Sync + 'static)
    where
        F: Future<Output = Result<crate::TellReport, String>> + Send + 'static,
    {
        self.app.tells.try_with(trying);
    }

    /// The addresses that are listened on, with the ports the system chose.
    #[must_use]
    pub fn addresses(&self) -> Vec<Address> {
        let base_path = &self.app.config.base_path;
        let address = |bound: &Bound| Address {
            socket: bound.address,
            tls: bound.settings.tls,
            base_path: base_path.clone(),
        };
        self.bound.iter().map(address).collect()
    }

    /// SHA-256 of the certificate (64 hex digits) where a listener speaks TLS.
    #[must_use]
    pub fn certificate_fingerprint(&self) -> Option<&str> {
        self.tls.as_ref().map(Tls::fingerprint)
    }

    /// Serves until `cancel`. Then: stop accepting, end live streams, let open
    /// requests finish within the configured time, cut off the rest.
    pub async fn run(self, cancel: CancellationToken) {
        let limits = &self.app.config.limits;
        let grace = Duration::from_secs(limits.shutdown_secs);
        let shared = Arc::new(Shared {
            permits: Arc::new(Semaphore::new(limits.connections)),
            per_address: ConnectionLimit::new(limits.connections_per_address),
            tasks: TaskTracker::new(),
            abort: CancellationToken::new(),
            app: self.app.clone(),
            tls: self.tls,
        });
        let acceptors = TaskTracker::new();
        self.hpfeeds.open(&acceptors, &shared, &cancel);
        for bound in self.bound {
            let router = router::build(&self.app, &bound.settings.dialects);
            let shared = Arc::clone(&shared);
            acceptors.spawn(accept(bound, router, shared, cancel.clone()));
        }
        let path = self.unix.map(|(listener, path)| {
            let (shared, router) = (Arc::clone(&shared), router::build_local(&self.app));
            acceptors.spawn(accept_unix(listener, router, shared, cancel.clone()));
            path
        });
        for announcer in self.announcers {
            acceptors.spawn(announcer.run(cancel.clone()));
        }
        acceptors.close();
        cancel.cancelled().await;
        self.app.shutdown.cancel();
        acceptors.wait().await;
        if let Some(path) = path {
            let _ = fs::remove_file(path);
        }
        shared.tasks.close();
        if tokio::time::timeout(grace, shared.tasks.wait()).await.is_err() {
            tracing::warn!(open = shared.tasks.len(), "requests cut off at the end of the grace");
            shared.abort.cancel();
            shared.tasks.wait().await;
        }
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A restart must not wait for old connections of the same address.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Removes the socket file of a process that has died.
fn remove_stale(path: &Path) -> Result<(), BindError> {
    let Ok(metadata) = fs::symlink_metadata(path) else { return Ok(()) };
    let taken = if !metadata.file_type().is_socket() {
        "there is a file of that name that is no socket; move it away"
    } else if std::os::unix::net::UnixStream::connect(path).is_ok() {
        "another process serves this socket; stop it first"
    } else {
        return fs::remove_file(path).map_err(|error| BindError::unix(path, &error));
    };
    Err(BindError::new(path.display(), taken))
}

async fn accept(
    bound: Bound,
    router: axum::Router,
    shared: Arc<Shared>,
    cancel: CancellationToken,
) {
    let door = Arc::new(connection::Door { settings: bound.settings, router });
    loop {
        let next = async {
            let permit = Arc::clone(&shared.permits).acquire_owned().await.ok()?;
            Some((permit, bound.listener.accept().await))
        };
        let (permit, accepted) = tokio::select! {
            biased;
            () = cancel.cancelled() => return,
            next = next => match next { Some(next) => next, None => return },
        };
        match accepted {
            Ok((stream, peer)) => {
                let (door, shared, cancel) =
                    (Arc::clone(&door), Arc::clone(&shared), cancel.clone());
                let tasks = shared.tasks.clone();
                tasks.spawn(async move {
                    connection::serve_tcp(stream, peer.ip(), &door, &shared, cancel).await;
                    drop(permit);
                });
            }
            Err(error) => accept_failed(&error, &cancel).await,
        }
    }
}

async fn accept_unix(
    listener: UnixListener,
    router: axum::Router,
    shared: Arc<Shared>,
    cancel: CancellationToken,
) {
    let permits = Arc::new(Semaphore::new(UNIX_CONNECTIONS));
    loop {
        let next = async {
            let permit = Arc::clone(&permits).acquire_owned().await.ok()?;
            Some((permit, listener.accept().await))
        };
        let (permit, accepted) = tokio::select! {
            biased;
            () = cancel.cancelled() => return,
            next = next => match next { Some(next) => next, None => return },
        };
        match accepted {
            Ok((stream, _)) => {
                let (router, shared, cancel) =
                    (router.clone(), Arc::clone(&shared), cancel.clone());
                let tasks = shared.tasks.clone();
                tasks.spawn(async move {
                    connection::serve_unix(stream, router, &shared, cancel).await;
                    drop(permit);
                });
            }
            Err(error) => accept_failed(&error, &cancel).await,
        }
    }
}

/// A client that left in the queue is nothing; lack of files or memory needs a
/// pause, or the loop would spin.
async fn accept_failed(error: &io::Error, cancel: &CancellationToken) {
    let gone = [io::ErrorKind::ConnectionAborted, io::ErrorKind::ConnectionReset];
    if gone.contains(&error.kind()) {
        return;
    }
    tracing::warn!(%error, "connection not accepted");
    let _ = tokio::time::timeout(ACCEPT_PAUSE, cancel.cancelled()).await;
}
