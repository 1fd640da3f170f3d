//! The services: each speaks one protocol with a stranger and records what was
//! said. A service sees a [`Stream`] and a [`Session`], never a socket.

pub mod guess;
pub mod http;
pub(crate) mod record;
pub mod ssh;
pub mod telnet;

use std::sync::Arc;

use crate::{Closed, ServiceConfig, ServiceKind, Session, Stream, System};

/// A configured service; cheap to clone, one clone a connection.
#[derive(Clone, Debug)]
pub(crate) enum Service {
    Ssh(Arc<ssh::Ssh>),
    Telnet(Arc<telnet::Telnet>),
    Http(Arc<http::Http>),
    /// A defect, to show that the session still ends in order.
    #[cfg(test)]
    Panics,
}

impl Service {
    /// May make keys, which takes a moment. `seed` is the installation's,
    /// `system` what its server runs.
    pub(crate) fn new(
        config: &ServiceConfig,
        seed: Option<u64>,
        system: System,
    ) -> Result<Self, ssh::hostkey::KeyError> {
        Ok(match config.kind {
            ServiceKind::Ssh => {
                let config = config.ssh.clone().unwrap_or_default();
                Self::Ssh(Arc::new(ssh::Ssh::new(config, seed, system)?))
            }
            ServiceKind::Telnet => Self::Telnet(Arc::new(telnet::Telnet::new(
                config.telnet.clone().unwrap_or_default(),
            ))),
            ServiceKind::Http => {
                Self::Http(Arc::new(http::Http::new(config.http.clone().unwrap_or_default())))
            }
        })
    }

    /// Speaks with the client until one side has enough. `Ok` means that the
    /// service ended it.
    pub(crate) async fn serve(
        &self,
        session: &mut Session,
        stream: &mut Stream,
    ) -> Result<(), Closed> {
        // In boxes, so that a session has the size of its own service.
        match self {
            Self::Ssh(ssh) => Box::pin(ssh.serve(session, stream)).await,
            Self::Telnet(telnet) => Box::pin(telnet.serve(session, stream)).await,
            Self::Http(http) => Box::pin(http.serve(session, stream)).await,
            #[cfg(test)]
            Self::Panics => panic!("a defect"),
        }
    }
}
