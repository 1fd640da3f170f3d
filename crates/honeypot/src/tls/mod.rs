//! TLS in front of a service: the client's first message is read and recorded
//! ([`client_hello`], [`ja4`]), then rustls speaks with the certificate of a
//! device or a server. Versions 1.2 and 1.3.

mod certificate;
pub mod client_hello;
pub mod ja4;

use std::sync::Arc;

use palisade_event::{Event, EventKind, Fingerprints, Untrusted};
use rustls::ServerConfig;
use rustls::crypto::ring;

pub(crate) use self::certificate::{Certificate, Made};
use self::client_hello::ClientHello;
use crate::stream::Greeting;
use crate::{Closed, Session};

/// Most bytes that a client may send before the handshake is done.
pub(crate) const MAX_HANDSHAKE_BYTES: u64 = 64 * 1024;
/// Longest handshake, in seconds, from the connection on.
pub(crate) const HANDSHAKE_SECS: u64 = 20;
/// Most bytes that wait to be encrypted; more are taken when these are sent.
pub(crate) const MAX_WAITING_BYTES: usize = 16 * 1024;
/// Most protocols of a client that are recorded.
const MAX_PROTOCOLS: usize = 8;

/// A certificate with what is spoken.
#[derive(Clone, Debug)]
pub(crate) struct Tls {
    plain: Arc<ServerConfig>,
    /// For clients that want the service's protocol by name.
    named: Arc<ServerConfig>,
    protocol: &'static [u8],
}

impl Tls {
    /// TLS with a certificate; `protocol` is the name that is agreed on with
    /// clients that offer it (ALPN).
    ///
    /// # Errors
    /// A sentence, where key and certificate do not fit.
    pub(crate) fn new(certificate: Certificate, protocol: &'static [u8]) -> Result<Self, String> {
        let provider = Arc::new(ring::default_provider());
        let versions = &[&rustls::version::TLS13, &rustls::version::TLS12];
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .map_err(|error| error.to_string())?
            .with_no_client_auth()
            .with_single_cert(certificate.chain, certificate.key)
            .map_err(|error| error.to_string())?;
        // Nothing is kept of sessions: tickets carry their own state.
        config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        config.ticketer = ring::Ticketer::new().map_err(|error| error.to_string())?;
        let mut named = config.clone();
        named.alpn_protocols = vec![protocol.to_vec()];
        Ok(Self { plain: Arc::new(config), named: Arc::new(named), protocol })
    }

    /// What is spoken with a client. One that offers other protocols alone is
    /// answered without any, as real servers do, and not refused.
    pub(crate) fn config(&self, hello: Option<&ClientHello>) -> Arc<ServerConfig> {
        let offered = hello.map(|hello| hello.protocols.as_slice()).unwrap_or_default();
        let named = offered.iter().any(|protocol| protocol == self.protocol);
        Arc::clone(if named { &self.named } else { &self.plain })
    }
}

/// Records what a client offers; whether it can be served.
///
/// # Errors
/// [`Closed`]: the session must end.
pub(crate) async fn told(greeting: Greeting, session: &mut Session) -> Result<bool, Closed> {
    let (hello, failure) = match greeting {
        Greeting::Plain => return Ok(true),
        Greeting::Tls(hello) => (Some(hello), None),
        Greeting::Failed(hello, why) => (hello, Some(why)),
    };
    let mut event = session.event(EventKind::ClientIdentified);
    if let Some(hello) = &hello {
        session.set_ja4(ja4::ja4(hello));
        event = record(event, hello);
    }
    if let Some(why) = &failure {
        event = event.with("failure", why.as_str());
    }
    session.emit(event).await?;
    Ok(failure.is_none())
}

/// Says in an event what a client offered.
pub(crate) fn record(mut event: Event, hello: &ClientHello) -> Event {
    let fingerprint = Some(ja4::ja4(hello).into());
    event.fingerprints =
        Some(Box::new(Fingerprints { ja4: fingerprint, ..Fingerprints::default() }));
    if let Some(name) = &hello.server_name {
        event = event.with("sni", Untrusted::new(name.clone()));
    }
    if !hello.protocols.is_empty() {
        let protocols: Vec<&[u8]> =
            hello.protocols.iter().take(MAX_PROTOCOLS).map(Vec::as_slice).collect();
        event = event.with("alpn", Untrusted::new(protocols.join(&b',')));
    }
    event
}
