//! The services: each speaks one protocol with a stranger and records what was
//! said. A service sees a [`Stream`] and a [`Session`], never a socket.

pub(crate) mod catch_all;
pub mod guess;
pub mod http;
pub(crate) mod record;
pub mod ssh;
mod tarpit;
mod tcp;
pub mod telnet;

use std::sync::Arc;
use std::time::Duration;

use self::catch_all::Other;
use self::tarpit::Tarpit;
use crate::honeypot::BindError;
use crate::session::Zone;
use crate::{Closed, ServiceConfig, ServiceKind, Session, Stream};

/// A configured service; cheap to clone, one clone a connection.
#[derive(Clone, Debug)]
pub(crate) enum Service {
    Ssh(Arc<ssh::Ssh>),
    Telnet(Arc<telnet::Telnet>),
    Http(Arc<http::Http>),
    Tcp(Arc<tcp::Tcp>),
    CatchAll(Arc<catch_all::CatchAll>),
    Tarpit(Arc<tarpit::Tarpit>),
    /// A defect, to show that the session still ends in order.
    #[cfg(test)]
    Panics,
}

impl Service {
    /// May make keys, which takes a moment. `seed` is the installation's.
    pub(crate) fn new(
        config: &ServiceConfig,
        seed: Option<u64>,
        zone: &Zone,
    ) -> Result<Self, BindError> {
        if config.tarpit {
            let every = Duration::from_secs(config.tarpit_secs);
            let (longest, places) = zone.tarpits();
            return Ok(Self::Tarpit(Arc::new(Tarpit::new(config.kind, every, longest, places))));
        }
        Ok(match config.kind {
            ServiceKind::Tcp | ServiceKind::Udp | ServiceKind::CatchAll | ServiceKind::Plugin => {
                let config = config.tcp.clone().unwrap_or_default();
                Self::Tcp(Arc::new(tcp::Tcp::new(config)))
            }
            ServiceKind::Ssh => {
                let config = config.ssh.clone().unwrap_or_default();
                Self::Ssh(Arc::new(ssh::Ssh::new(config, seed, zone.server.system())?))
            }
            ServiceKind::Telnet => Self::Telnet(Arc::new(telnet::Telnet::new(
                config.telnet.clone().unwrap_or_default(),
            ))),
            ServiceKind::Http => {
                let config = config.http.clone().unwrap_or_default();
                let wrong = |mistake| BindError::Config(vec![mistake]);
                let rules = zone.exploits().map_err(wrong)?;
                let http = http::Http::new(config, &zone.persona, &zone.server, rules);
                Self::Http(Arc::new(http.map_err(wrong)?))
            }
        })
    }

    /// One that records what comes and answers nothing.
    pub(crate) fn recorder() -> Self {
        Self::Tcp(Arc::new(tcp::Tcp::new(crate::TcpConfig::default())))
    }

    /// What takes the place of `config`'s own service where it is a catch-all.
    pub(crate) fn catching(config: &ServiceConfig, others: Vec<Other>) -> Self {
        let config = config.tcp.clone().unwrap_or_default();
        Self::CatchAll(Arc::new(catch_all::CatchAll::new(config, others)))
    }

    /// Credentials that the service gives away, by their names.
    pub(crate) fn secrets(&self) -> impl Iterator<Item = (&String, &String)> {
        let http = match self {
            Self::Http(http) => Some(http.secrets()),
            _ => None,
        };
        http.into_iter().flatten()
    }

    /// Speaks with the client until one side has enough. `Ok` means that the
    /// service ended it.
    pub(crate) async fn serve(
        &self,
        session: &mut Session,
        stream: &mut Stream,
    ) -> Result<(), Closed> {
        match self {
            Self::CatchAll(catch_all) => Box::pin(catch_all.serve(session, stream)).await,
            _ => self.serve_own(session, stream).await,
        }
    }

    /// As [`Self::serve`], by a service that hands nobody over.
    pub(crate) async fn serve_own(
        &self,
        session: &mut Session,
        stream: &mut Stream,
    ) -> Result<(), Closed> {
        if stream.is_misplaced() && !matches!(self, Self::Http(_)) {
            // No server of these answers without TLS.
            let tcp = tcp::Tcp::new(crate::TcpConfig::default());
            return Box::pin(tcp.serve(session, stream)).await;
        }
        // In boxes, so that a session has the size of its own service.
        match self {
            Self::Ssh(ssh) => Box::pin(ssh.serve(session, stream)).await,
            Self::Telnet(telnet) => Box::pin(telnet.serve(session, stream)).await,
            Self::Http(http) => Box::pin(http.serve(session, stream)).await,
            Self::Tcp(tcp) => Box::pin(tcp.serve(session, stream)).await,
            Self::Tarpit(tarpit) => Box::pin(tarpit.serve(session, stream)).await,
            // Is in serve(), and never among those that are handed to.
            Self::CatchAll(_) => Ok(()),
            #[cfg(test)]
            Self::Panics => panic!("a defect"),
        }
    }
}
