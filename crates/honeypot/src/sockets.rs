//! The listening sockets of a configuration, apart from what serves them: they
//! are bound where the right to do so is (low ports), and may be handed to
//! another process that has no rights at all. Whoever keeps them open keeps
//! the ports: while nobody serves, clients wait in the kernel's queue.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};

use crate::honeypot::BindError;
use crate::plugin::{self, PluginName};
use crate::{Config, ServiceKind};

/// Connections the kernel holds until we accept them; it may use less
/// (`net.core.somaxconn`).
const BACKLOG: i32 = 4_096;

/// The sockets of all services, bound and listening; nobody accepts yet.
#[derive(Debug)]
pub struct Sockets {
    bound: Vec<BoundSocket>,
    /// Services of plug-ins that have no socket, and why.
    refused: Vec<(usize, BindError)>,
}

/// One of them.
#[derive(Debug)]
pub(crate) struct BoundSocket {
    /// Which of the configured services it belongs to.
    pub(crate) service: usize,
    pub(crate) socket: Bound,
}

/// A bound socket that never blocks.
#[derive(Debug)]
pub(crate) enum Bound {
    Tcp(TcpListener),
    Udp(UdpSocket),
}

impl Bound {
    /// Binds a socket for a service of this kind.
    ///
    /// # Errors
    /// It cannot be bound.
    pub(crate) fn new(kind: ServiceKind, address: SocketAddr) -> Result<Self, BindError> {
        let socket = match kind {
            ServiceKind::Udp => receive(address).map(Self::Udp),
            _ => listen(address).map(Self::Tcp),
        };
        socket.map_err(|error| BindError::new(kind, address, error))
    }

    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Tcp(socket) => socket.local_addr(),
            Self::Udp(socket) => socket.local_addr(),
        }
    }
}

impl Sockets {
    /// Binds every service of `config`. Needs no runtime. A plug-in that cannot
    /// listen is left out ([`Self::refused`]).
    ///
    /// # Errors
    /// [`BindError`] of the first other service that cannot listen; then none does.
    pub fn bind(config: &Config) -> Result<Self, BindError> {
        config.validate().map_err(BindError::Config)?;
        let (mut bound, mut refused) = (Vec::new(), Vec::new());
        for (index, service) in config.services.iter().enumerate() {
            for address in service.listen.addresses() {
                match Bound::new(service.kind, address) {
                    Ok(socket) => bound.push(BoundSocket { service: index, socket }),
                    Err(error) if service.plugin.is_some() => refused.push((index, error)),
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(Self { bound, refused })
    }

    /// Services of plug-ins that cannot listen, by their index, and why.
    pub fn refused(&self) -> impl Iterator<Item = (usize, &BindError)> {
        self.refused.iter().map(|(service, error)| (*service, error))
    }

    /// What listens where, with the ports the system chose for port 0.
    #[must_use]
    pub fn addresses(&self, config: &Config) -> Vec<(ServiceKind, SocketAddr)> {
        let place = |bound: &BoundSocket| {
            let kind = config.services.get(bound.service)?.kind;
            Some((kind, bound.socket.local_addr().ok()?))
        };
        self.bound.iter().filter_map(place).collect()
    }

    /// What a plug-in listens on, as `tcp 127.0.0.1:21`.
    pub(crate) fn of_plugin(&self, config: &Config, plugin: &PluginName) -> Vec<String> {
        let place = |bound: &BoundSocket| {
            let service = config.services.get(bound.service)?;
            (service.plugin.as_ref() == Some(plugin)).then_some(())?;
            Some(plugin::place(&bound.socket, service, bound.socket.local_addr().ok()?))
        };
        self.bound.iter().filter_map(place).collect()
    }

    /// The sockets for another process, each with the index of its service.
    pub fn descriptors(&self) -> impl ExactSizeIterator<Item = (usize, BorrowedFd<'_>)> {
        self.bound.iter().map(|bound| {
            let descriptor = match &bound.socket {
                Bound::Tcp(socket) => socket.as_fd(),
                Bound::Udp(socket) => socket.as_fd(),
            };
            (bound.service, descriptor)
        })
    }

    /// Sockets that another process has bound for the same configuration and
    /// handed over, as [`Self::descriptors`] tells them.
    ///
    /// # Errors
    /// One is no socket that listens.
    pub fn adopt(handed: impl IntoIterator<Item = (usize, OwnedFd)>) -> io::Result<Self> {
        let adopt = |(service, descriptor)| {
            let socket = Socket::from(descriptor);
            socket.set_nonblocking(true)?;
            let socket = match socket.r#type()? {
                Type::DGRAM => Bound::Udp(socket.into()),
                _ => Bound::Tcp(socket.into()),
            };
            socket.local_addr()?;
            Ok(BoundSocket { service, socket })
        };
        handed
            .into_iter()
            .map(adopt)
            .collect::<io::Result<_>>()
            .map(|bound| Self { bound, refused: Vec::new() })
    }

    /// Gives each socket the new number of its service; without one it is closed.
    pub(crate) fn renumber(&mut self, number: impl Fn(usize) -> Option<usize>) {
        let all = std::mem::take(&mut self.bound);
        let renumbered = |bound: BoundSocket| {
            Some(BoundSocket { service: number(bound.service)?, socket: bound.socket })
        };
        self.bound = all.into_iter().filter_map(renumbered).collect();
    }

    /// Adds those of other services.
    pub(crate) fn extend(&mut self, more: Self) {
        self.bound.extend(more.bound);
    }

    pub(crate) fn into_bound(self) -> Vec<BoundSocket> {
        self.bound
    }
}

/// Binds a listening socket that never blocks. `[::]` takes IPv4 too.
pub(crate) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if let IpAddr::V6(six) = address.ip() {
        socket.set_only_v6(!six.is_unspecified())?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    // Each connection has it from here, without a call of its own.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    // What most machines have. One that paces (BBR) sets a timer for each answer, and
    // answers here are single packets. Who may not have it keeps what there is.
    if socket.set_tcp_congestion(b"cubic").is_err() {
        let _ = socket.set_tcp_congestion(b"reno");
    }
    if let Err(error) = palisade_savedsyn::keep(&socket) {
        tracing::warn!(%error, %address, "the kernel keeps no first packets; systems stay unknown");
    }
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Binds a UDP socket that never blocks and tells where datagrams were sent to.
fn receive(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if let IpAddr::V6(six) = address.ip() {
        socket.set_only_v6(!six.is_unspecified())?;
        setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
    } else {
        setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use std::net::{Shutdown, TcpStream};

    use super::*;

    #[test]
    fn short_answers_of_a_connection_are_sent_at_once() {
        let listening = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        listening.set_nonblocking(false).unwrap();
        let client = TcpStream::connect(listening.local_addr().unwrap()).unwrap();
        let (served, _) = listening.accept().unwrap();
        assert!(served.nodelay().unwrap());
        client.shutdown(Shutdown::Both).unwrap();
    }
}
