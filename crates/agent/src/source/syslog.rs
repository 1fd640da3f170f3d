//! The syslog source: messages of other machines by UDP (RFC 5426), TCP (RFC
//! 6587) and TLS (RFC 5425).
//!
//! The protocol has no receipts. TCP and TLS wait while the pipeline does; what
//! a sender had on its way when a connection or the agent ends is lost, and so
//! are datagrams that the kernel has no room for, which are counted. Whoever may
//! send may write anything, so each event says who sent it.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use palisade_event::Timestamp;
use palisade_rules::SyslogFrames;
use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::{Ended, Health, MAX_LINE_BYTES, Outlet, Place, Source, Stop};
use crate::backoff::Backoff;
use crate::config::{SyslogSource, SyslogTransport};

/// Bytes of one read from a connection.
const READ_BYTES: usize = 16 * 1024;
/// Room for datagrams that is asked of the kernel, in bytes.
const DATAGRAM_BUFFER_BYTES: usize = 4 * 1024 * 1024;
/// How long a client may take to set up TLS.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How often the kernel is asked how many datagrams it dropped.
const DROPS_INTERVAL: Duration = Duration::from_secs(5);
/// How long open connections may take to end with the agent.
const END_TIMEOUT: Duration = Duration::from_secs(2);

/// One listener, as a task.
pub(crate) struct SyslogTask {
    source: Arc<Source>,
    config: SyslogSource,
    outlet: Outlet,
    health: Health,
}

impl SyslogTask {
    pub(crate) fn new(source: Arc<Source>, config: &SyslogSource, outlet: Outlet) -> Self {
        let health = Health::new(source.name.clone());
        Self { source, config: config.clone(), outlet, health }
    }

    /// Takes messages until the agent ends.
    pub(crate) async fn run(mut self) {
        let cancel = self.outlet.cancel().clone();
        let mut backoff = Backoff::default();
        loop {
            let stop = match self.config.transport {
                SyslogTransport::Udp => self.datagrams(&mut backoff).await,
                SyslogTransport::Tcp | SyslogTransport::Tls => self.streams(&mut backoff).await,
            };
            let Err(Stop::Failed(reason)) = stop else { return };
            let remedy = "check that the address is one of this machine and free, that ports below 1024 may be used, and for TLS the files of certificate and key";
            if self.health.failed(&self.outlet, &reason, remedy).await.is_err() {
                return;
            }
            tokio::select! {
                biased;
                () = cancel.cancelled() => return,
                () = tokio::time::sleep(backoff.next()) => {}
            }
        }
    }

    async fn works(&mut self, backoff: &mut Backoff, at: SocketAddr) -> Result<(), Ended> {
        backoff.reset();
        tracing::info!(source = %self.source.name, %at, "taking messages of syslog");
        self.health.works(&self.outlet).await
    }

    fn may_send(&self, sender: IpAddr) -> bool {
        let sender = sender.to_canonical();
        self.config.allow.is_empty() || self.config.allow.iter().any(|net| net.contains(&sender))
    }

    async fn datagrams(&mut self, backoff: &mut Backoff) -> Result<(), Stop> {
        let socket = UdpSocket::bind(self.config.listen).await?;
        // The kernel gives what it may; the default is enough to work.
        let _ = rustix::net::sockopt::set_socket_recv_buffer_size(&socket, DATAGRAM_BUFFER_BYTES);
        self.works(backoff, socket.local_addr()?).await?;
        let cancel = self.outlet.cancel().clone();
        let mut drops = Drops::of(&socket, self.config.listen.is_ipv6());
        let mut look = tokio::time::interval(DROPS_INTERVAL);
        let mut buffer = vec![0; MAX_LINE_BYTES];
        loop {
            let (length, sender) = tokio::select! {
                biased;
                () = cancel.cancelled() => return Err(Stop::Ended),
                _ = look.tick() => {
                    self.count(&mut drops).await;
                    continue;
                }
                received = socket.recv_from(&mut buffer) => received?,
            };
            if !self.may_send(sender.ip()) {
                self.outlet.metrics.syslog_refused.one();
                continue;
            }
            let bytes = buffer.get(..length).unwrap_or_default().to_vec();
            let place = network(sender);
            self.outlet.line(&self.source, bytes, false, place).await?;
        }
    }

    async fn count(&self, drops: &mut Drops) {
        let (inode, is_ipv6) = (drops.inode, drops.is_ipv6);
        let now = tokio::task::spawn_blocking(move || dropped(inode, is_ipv6)).await;
        let Some(now) = now.ok().flatten() else { return };
        let more = now.saturating_sub(drops.seen);
        drops.seen = now;
        if more > 0 {
            self.outlet.metrics.syslog_dropped.add(more);
            tracing::warn!(
                source = %self.source.name, datagrams = more,
                "the kernel dropped messages of syslog: they came faster than they could be stored; senders by TCP wait instead"
            );
        }
    }

    async fn streams(&mut self, backoff: &mut Backoff) -> Result<(), Stop> {
        let acceptor = match self.config.transport {
            SyslogTransport::Tls => Some(self.acceptor().await?),
            SyslogTransport::Udp | SyslogTransport::Tcp => None,
        };
        let listener = TcpListener::bind(self.config.listen).await?;
        self.works(backoff, listener.local_addr()?).await?;
        let cancel = self.outlet.cancel().clone();
        let mut connections = JoinSet::new();
        let mut full = false;
        let stop = loop {
            let (stream, sender) = tokio::select! {
                biased;
                () = cancel.cancelled() => break Stop::Ended,
                Some(_) = connections.join_next(), if !connections.is_empty() => continue,
                accepted = listener.accept() => match accepted {
                    Ok(accepted) => accepted,
                    // A client that was gone again, or no descriptor left.
                    Err(error) if is_passing(&error) => {
                        tokio::time::sleep(Duration::from_millis(50)).await;
                        continue;
                    }
                    Err(error) => break error.into(),
                },
            };
            if !self.may_send(sender.ip()) {
                self.outlet.metrics.syslog_refused.one();
                continue;
            }
            if connections.len() >= self.config.max_connections {
                self.outlet.metrics.syslog_refused.one();
                if !std::mem::replace(&mut full, true) {
                    tracing::warn!(
                        source = %self.source.name, most = self.config.max_connections,
                        "more senders of syslog than max_connections; others are turned away"
                    );
                }
                continue;
            }
            full = false;
            let connection = Connection {
                source: Arc::clone(&self.source),
                outlet: self.outlet.clone(),
                sender,
                idle: Duration::from_secs(self.config.idle_secs),
            };
            connections.spawn(connection.run(stream, acceptor.clone()));
        };
        // Each sees the end by itself and hands over what it has.
        let end = async { while connections.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(END_TIMEOUT, end).await;
        Err(stop)
    }

    async fn acceptor(&self) -> Result<TlsAcceptor, Stop> {
        let config = self.config.clone();
        let tls = tokio::task::spawn_blocking(move || tls(&config)).await;
        let tls = tls.map_err(io::Error::other)?.map_err(Stop::Failed)?;
        Ok(TlsAcceptor::from(Arc::new(tls)))
    }
}

/// One sender.
struct Connection {
    source: Arc<Source>,
    outlet: Outlet,
    sender: SocketAddr,
    idle: Duration,
}

impl Connection {
    async fn run(self, stream: TcpStream, acceptor: Option<TlsAcceptor>) {
        // How it ends is told, or is the end of the agent.
        let _ = match acceptor {
            None => self.read(stream).await,
            Some(acceptor) => {
                let cancel = self.outlet.cancel();
                let accepted = tokio::select! {
                    biased;
                    () = cancel.cancelled() => return,
                    accepted = tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)) => accepted,
                };
                let reason = match accepted {
                    Ok(Ok(stream)) => return drop(self.read(stream).await),
                    Ok(Err(error)) => error.to_string(),
                    Err(_) => "it took too long".to_owned(),
                };
                self.outlet.metrics.syslog_refused.one();
                tracing::info!(sender = %self.sender, reason, "a sender of syslog did not set up TLS");
                Ok(())
            }
        };
    }

    async fn read(&self, mut stream: impl AsyncRead + Unpin) -> Result<(), Ended> {
        let cancel = self.outlet.cancel().clone();
        let mut frames = SyslogFrames::new(self.source.max_line_bytes());
        let mut buffer = vec![0; READ_BYTES];
        let mut messages = Vec::new();
        let reason = loop {
            let read = tokio::select! {
                biased;
                () = cancel.cancelled() => return Err(Ended),
                read = tokio::time::timeout(self.idle, stream.read(&mut buffer)) => read,
            };
            let count = match read {
                Ok(Ok(0)) => break None,
                Ok(Ok(count)) => count,
                // Many clients end TLS without saying so.
                Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => break None,
                Ok(Err(error)) => break Some(error.to_string()),
                Err(_) => break Some("it was silent for too long".to_owned()),
            };
            let broken = frames.push(buffer.get(..count).unwrap_or_default(), &mut messages);
            for (bytes, truncated) in messages.drain(..) {
                self.outlet.line(&self.source, bytes, truncated, network(self.sender)).await?;
            }
            if let Err(error) = broken {
                break Some(error.to_string());
            }
        };
        if frames.is_within() {
            self.outlet.metrics.syslog_incomplete.one();
        }
        if let Some(reason) = reason {
            tracing::info!(sender = %self.sender, reason, "a sender of syslog was disconnected");
        }
        Ok(())
    }
}

fn network(sender: SocketAddr) -> Place {
    Place::Network { sender: sender.ip(), at: Timestamp::from(SystemTime::now()) }
}

/// Whether accepting may work the next time.
fn is_passing(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let passing = [
        Errno::CONNABORTED,
        Errno::CONNRESET,
        Errno::INTR,
        Errno::MFILE,
        Errno::NFILE,
        Errno::NOBUFS,
        Errno::NOMEM,
    ];
    error
        .raw_os_error()
        .is_some_and(|code| passing.iter().any(|errno| errno.raw_os_error() == code))
}

/// What the kernel dropped at a socket.
struct Drops {
    inode: u64,
    is_ipv6: bool,
    seen: u64,
}

impl Drops {
    fn of(socket: &impl AsFd, is_ipv6: bool) -> Self {
        let inode = rustix::fs::fstat(socket).map_or(0, |stat| stat.st_ino);
        Self { inode, is_ipv6, seen: 0 }
    }
}

/// How many datagrams the kernel had no room for. Blocks.
fn dropped(inode: u64, is_ipv6: bool) -> Option<u64> {
    let table = if is_ipv6 { "/proc/self/net/udp6" } else { "/proc/self/net/udp" };
    count_of(&std::fs::read_to_string(table).ok()?, inode)
}

/// The last column of the socket's row: `sl local remote st queues timer
/// retransmits uid timeout inode references pointer drops`.
fn count_of(table: &str, inode: u64) -> Option<u64> {
    let wanted = inode.to_string();
    let row = table.lines().find(|row| row.split_whitespace().nth(9) == Some(&wanted))?;
    row.split_whitespace().last()?.parse().ok()
}

/// TLS settings of the listener. Blocks.
fn tls(config: &SyslogSource) -> Result<ServerConfig, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let builder = match &config.client_ca_file {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = rustls::RootCertStore::empty();
            for authority in certificates(path)? {
                roots.add(authority).map_err(|error| format!("{}: {error}", path.display()))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .build()
                .map_err(|error| format!("{}: {error}", path.display()))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    // Settings are checked: both are there.
    let cert = config.cert_file.as_deref().ok_or("cert_file is missing")?;
    let key = config.key_file.as_deref().ok_or("key_file is missing")?;
    let key_der =
        PrivateKeyDer::from_pem_file(key).map_err(|error| format!("{}: {error}", key.display()))?;
    builder
        .with_single_cert(certificates(cert)?, key_der)
        .map_err(|error| format!("{}: {error}", cert.display()))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let named = |error| format!("{}: {error}", path.display());
    let found = CertificateDer::pem_file_iter(path)
        .map_err(named)?
        .collect::<Result<Vec<_>, _>>()
        .map_err(named)?;
    match found.is_empty() {
        true => Err(format!("{}: there is no certificate in it", path.display())),
        false => Ok(found),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_are_read_from_the_kernels_table() {
        let table = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops             \n  123: 0100007F:1589 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4242 2 0000000000000000 17        \n";
        assert_eq!(count_of(table, 4242), Some(17));
        assert_eq!(count_of(table, 1), None);
        assert_eq!(count_of("", 0), None);
    }

    #[tokio::test]
    async fn a_datagram_too_many_is_counted() {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        rustix::net::sockopt::set_socket_recv_buffer_size(&socket, 2048).unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        for _ in 0..500 {
            sender.send_to(&[b'x'; 512], socket.local_addr().unwrap()).await.unwrap();
        }
        let drops = Drops::of(&socket, false);
        assert!(dropped(drops.inode, false).unwrap() > 100);
    }
}
