//! One listener for thousands of ports: the firewall redirects to it, the
//! kernel tells which port was meant, and who speaks a protocol that another
//! service here speaks is handed to that one.

use std::net::SocketAddr;
use std::time::Duration;

use palisade_event::Category;
use tokio::net::TcpStream;

use super::tcp::Tcp;
use super::{Service, guess};
use crate::stream::Greeting;
use crate::tls::Tls;
use crate::{Closed, ServiceKind, Session, Stream, TcpConfig};

/// Most first bytes that a choice is made by.
const MAX_LOOKED_AT: usize = 4_096;
/// How long first bytes are waited for before a client is taken for one that
/// waits itself.
const WAIT: Duration = Duration::from_secs(10);
/// Ports of services whose clients wait.
const SSH_PORTS: [u16; 3] = [22, 2222, 22222];
const TELNET_PORTS: [u16; 4] = [23, 2323, 26, 2332];

/// The service.
#[derive(Debug)]
pub(crate) struct CatchAll {
    others: Vec<Other>,
    rest: Tcp,
}

/// A service that connections may be handed to.
#[derive(Clone, Debug)]
pub(crate) struct Other {
    pub(crate) kind: ServiceKind,
    pub(crate) service: Service,
    pub(crate) tls: Option<Tls>,
}

impl CatchAll {
    /// `others` are the services of the zone.
    pub(crate) fn new(config: TcpConfig, others: Vec<Other>) -> Self {
        Self { others, rest: Tcp::new(config) }
    }

    pub(crate) async fn serve(
        &self,
        session: &mut Session,
        stream: &mut Stream,
    ) -> Result<(), Closed> {
        let port = session.local().port.unwrap_or_default();
        let by_port = if SSH_PORTS.contains(&port) {
            self.other(ServiceKind::Ssh, false)
        } else if TELNET_PORTS.contains(&port) {
            self.other(ServiceKind::Telnet, false)
        } else {
            None
        };
        if let Some(other) = by_port {
            return hand_over(other, session, stream).await;
        }
        let mut bytes = Vec::new();
        stream.set_step(Some(WAIT));
        let first = stream.read(&mut bytes, MAX_LOOKED_AT).await;
        stream.set_step(None);
        let other = match guess::protocol(&bytes) {
            Some("http" | "http-proxy") => self.other(ServiceKind::Http, false),
            Some("ssh") => self.other(ServiceKind::Ssh, false),
            Some("telnet") => self.other(ServiceKind::Telnet, false),
            Some("tls") => self.other(ServiceKind::Http, true),
            _ => None,
        };
        stream.unread(bytes);
        match (first, other) {
            (Ok(_), Some(other)) => hand_over(other, session, stream).await,
            (Ok(_) | Err(Closed::Idle), _) => Box::pin(self.rest.serve(session, stream)).await,
            (Err(why), _) => Err(why),
        }
    }

    fn other(&self, kind: ServiceKind, tls: bool) -> Option<&Other> {
        self.others.iter().find(|other| other.kind == kind && other.tls.is_some() == tls)
    }
}

async fn hand_over(
    other: &Other,
    session: &mut Session,
    stream: &mut Stream,
) -> Result<(), Closed> {
    session.set_category(Category::new(other.kind.category()).ok());
    if let Some(tls) = &other.tls {
        match Box::pin(stream.start_tls(tls)).await? {
            Greeting::Plain => {}
            greeting => {
                if !crate::tls::told(greeting, session).await? {
                    return Ok(());
                }
            }
        }
    }
    Box::pin(other.service.serve_own(session, stream)).await
}

/// Where a redirected connection was meant to go (`SO_ORIGINAL_DST`).
pub(crate) fn meant(socket: &TcpStream, local: SocketAddr) -> Option<SocketAddr> {
    let socket = socket2::SockRef::from(socket);
    let four = local.ip().to_canonical().is_ipv4();
    let meant = if four { socket.original_dst_v4() } else { socket.original_dst_v6() };
    meant.ok()?.as_socket()
}
