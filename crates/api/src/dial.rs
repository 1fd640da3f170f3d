//! Connections to the outside: to brokers, backends and feeds that the settings
//! name. Whom to believe in TLS is decided by whoever makes the [`Dialer`].

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Longest wait for a connection, and again for its TLS handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A silent peer is asked after so long whether it is there.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// Host and port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Place {
    /// Reads `HOST:PORT` or `[ADDRESS]:PORT`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        let host = match host.strip_prefix('[') {
            Some(inner) => inner.strip_suffix(']')?,
            None if host.contains(':') => return None,
            None => host,
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
        if host.is_empty() || !host.chars().all(plain) {
            return None;
        }
        let port = port.parse().ok().filter(|port| *port > 0)?;
        Some(Self { host: host.to_owned(), port })
    }
}

/// A stream in both directions.
pub(crate) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// Connects to one place.
#[derive(Clone)]
pub struct Dialer {
    pub(crate) place: Place,
    tls: Option<Arc<rustls::ClientConfig>>,
}

impl Dialer {
    /// Connects to `address` (`HOST:PORT`), with these settings of TLS or without.
    ///
    /// # Errors
    /// The address is none.
    pub fn new(address: &str, tls: Option<Arc<rustls::ClientConfig>>) -> Result<Self, String> {
        let place = Place::parse(address)
            .ok_or_else(|| format!("'{}' is no HOST:PORT", address.escape_debug()))?;
        Ok(Self { place, tls })
    }

    pub(crate) async fn connect(&self) -> io::Result<Box<dyn Duplex>> {
        let address = (self.place.host.as_str(), self.place.port);
        let tcp = within(TcpStream::connect(address)).await?;
        tcp.set_nodelay(true)?;
        let keepalive = socket2::TcpKeepalive::new().with_time(KEEPALIVE);
        socket2::SockRef::from(&tcp).set_tcp_keepalive(&keepalive)?;
        let Some(tls) = &self.tls else { return Ok(Box::new(tcp)) };
        let name = ServerName::try_from(self.place.host.clone())
            .map_err(|_| io::Error::other("its name cannot be in a certificate"))?;
        let stream = within(TlsConnector::from(Arc::clone(tls)).connect(name, tcp)).await?;
        Ok(Box::new(stream))
    }
}

async fn within<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(CONNECT_TIMEOUT, work)
        .await
        .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "no connection within 10 s"))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_have_a_host_and_a_port() {
        let place = |text: &str| Place::parse(text).map(|place| (place.host, place.port));
        assert_eq!(place("hp.example:10000"), Some(("hp.example".into(), 10000)));
        assert_eq!(place("[::1]:80"), Some(("::1".into(), 80)));
        for text in ["", "a", ":1", "a:0", "a:x", "::1:80", "[::1]", "a b:1", "a/b:1", "u@h:1"] {
            assert_eq!(place(text), None, "{text}");
        }
    }
}
