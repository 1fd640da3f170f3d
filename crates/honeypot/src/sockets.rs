//! The listening sockets of a configuration, apart from what serves them: they
//! are bound where the right to do so is (low ports), and may be handed to
//! another process that has no rights at all. Whoever keeps them open keeps
//! the ports: while nobody serves, clients wait in the kernel's queue.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use crate::honeypot::BindError;
use crate::listener::listen;
use crate::{Config, ServiceKind};

/// The sockets of all services, bound and listening; nobody accepts yet.
#[derive(Debug)]
pub struct Sockets(Vec<BoundSocket>);

/// One of them.
#[derive(Debug)]
pub(crate) struct BoundSocket {
    /// Which of the configured services it belongs to.
    pub(crate) service: usize,
    pub(crate) socket: TcpListener,
}

impl Sockets {
    /// Binds every service of `config`. Needs no runtime.
    ///
    /// # Errors
    /// [`BindError`] of the first service that cannot listen; then none does.
    pub fn bind(config: &Config) -> Result<Self, BindError> {
        config.validate().map_err(BindError::Config)?;
        let bound = config.services.iter().enumerate().map(|(index, service)| {
            let socket = listen(service.listen)
                .map_err(|error| BindError::new(service.kind, service.listen, error))?;
            Ok(BoundSocket { service: index, socket })
        });
        bound.collect::<Result<_, _>>().map(Self)
    }

    /// What listens where, with the ports the system chose for port 0.
    #[must_use]
    pub fn addresses(&self, config: &Config) -> Vec<(ServiceKind, SocketAddr)> {
        let place = |bound: &BoundSocket| {
            let kind = config.services.get(bound.service)?.kind;
            Some((kind, bound.socket.local_addr().ok()?))
        };
        self.0.iter().filter_map(place).collect()
    }

    /// The sockets for another process, each with the index of its service.
    pub fn descriptors(&self) -> impl ExactSizeIterator<Item = (usize, BorrowedFd<'_>)> {
        self.0.iter().map(|bound| (bound.service, bound.socket.as_fd()))
    }

    /// Sockets that another process has bound for the same configuration and
    /// handed over, as [`Self::descriptors`] tells them.
    ///
    /// # Errors
    /// One is no socket that listens.
    pub fn adopt(handed: impl IntoIterator<Item = (usize, OwnedFd)>) -> io::Result<Self> {
        let adopt = |(service, descriptor)| {
            let socket = TcpListener::from(descriptor);
            socket.local_addr()?;
            socket.set_nonblocking(true)?;
            Ok(BoundSocket { service, socket })
        };
        handed.into_iter().map(adopt).collect::<io::Result<_>>().map(Self)
    }

    pub(crate) fn into_bound(self) -> Vec<BoundSocket> {
        self.0
    }
}
