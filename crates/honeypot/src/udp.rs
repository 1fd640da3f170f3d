//! Datagrams: recorded with the protocol they begin in, within budgets, and
//! never answered by more than came. Whoever sends them may be anybody: their
//! source address proves nothing, and the events say so.

use std::collections::HashMap;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd as _;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg};
use palisade_event::{Category, Event, EventKind};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::UdpConfig;
use crate::permits::network;
use crate::plugin;
use crate::service::guess;
use crate::session::Zone;

/// Longest datagram.
const MAX_DATAGRAM_BYTES: usize = 64 * 1024;
/// Addresses that are counted in one minute; more share a budget of one address.
const MAX_COUNTED: usize = 16_384;
/// The time that budgets are for.
const WINDOW: Duration = Duration::from_secs(60);
/// Most datagrams that are still taken from the kernel when the zone ends.
const MAX_DRAINED: usize = 4_096;

/// A bound UDP service.
#[derive(Debug)]
pub(crate) struct UdpListener {
    pub(crate) address: SocketAddr,
    pub(crate) config: UdpConfig,
    pub(crate) category: Option<Category>,
    pub(crate) zone: Arc<Zone>,
    /// Another one takes its place.
    pub(crate) retire: CancellationToken,
}

/// Who takes datagrams in the place of the recorder.
pub(crate) trait Taker {
    /// Takes one, and says what is answered; `None`: it is recorded as it is.
    fn take(
        &self,
        zone: &Arc<Zone>,
        category: &Option<Category>,
        ends: (SocketAddr, SocketAddr),
        bytes: &[u8],
    ) -> impl Future<Output = Option<Option<Vec<u8>>>>;
}

/// Nobody does.
#[derive(Debug)]
pub(crate) struct Nobody;

impl Taker for Nobody {
    async fn take(
        &self,
        _: &Arc<Zone>,
        _: &Option<Category>,
        _: (SocketAddr, SocketAddr),
        _: &[u8],
    ) -> Option<Option<Vec<u8>>> {
        None
    }
}

impl Taker for Rc<plugin::Local> {
    async fn take(
        &self,
        zone: &Arc<Zone>,
        category: &Option<Category>,
        (from, to): (SocketAddr, SocketAddr),
        bytes: &[u8],
    ) -> Option<Option<Vec<u8>>> {
        // Without a VM it is recorded.
        let vm = self.vm().ok()?;
        let mut session = plugin::datagram_session(zone, category.clone(), from, to);
        self.plugin.sign(&mut session);
        // Its fault is told already.
        Some(plugin::answer_datagram(&vm, session, bytes).await.unwrap_or(None))
    }
}

/// A datagram that came.
struct Datagram {
    length: usize,
    from: SocketAddr,
    /// The address it was sent to, where the kernel tells.
    to: Option<IpAddr>,
}

impl UdpListener {
    /// Records until `end` or until nobody takes events; then what the kernel
    /// still holds, which ends at `shutdown` at the latest.
    pub(crate) async fn run(
        self,
        socket: std::net::UdpSocket,
        end: CancellationToken,
        shutdown: Duration,
        taker: impl Taker,
    ) {
        let socket = match UdpSocket::from_std(socket) {
            Ok(socket) => socket,
            Err(error) => {
                tracing::error!(%error, address = %self.address, "cannot receive datagrams");
                return;
            }
        };
        let mut buffer = vec![0; MAX_DATAGRAM_BYTES];
        let mut budget = Budget::new(&self.config);
        loop {
            let datagram = tokio::select! {
                biased;
                () = end.cancelled() => break,
                () = self.zone.out.closed() => break,
                // What the socket holds is for the next one.
                () = self.retire.cancelled() => return,
                received = receive(&socket, &mut buffer) => received,
            };
            self.took(&socket, datagram, &buffer, (&mut budget, &taker)).await;
        }
        let drained = tokio::time::timeout(shutdown, async {
            for _ in 0..MAX_DRAINED {
                match receive_now(&socket, &mut buffer) {
                    Ok(datagram) => {
                        self.took(&socket, Ok(datagram), &buffer, (&mut budget, &taker)).await;
                    }
                    Err(_) => break,
                }
            }
        });
        if drained.await.is_err() {
            tracing::error!(address = %self.address, "datagrams were left when the zone ended");
        }
    }

    async fn took(
        &self,
        socket: &UdpSocket,
        received: io::Result<Datagram>,
        buffer: &[u8],
        (budget, taker): (&mut Budget, &impl Taker),
    ) {
        let datagram = match received {
            Ok(datagram) => datagram,
            Err(error) => {
                // Such as a port that nobody listens on, told by ICMP after an echo.
                self.zone.stats.accept_errors.increase();
                tracing::debug!(%error, "cannot receive a datagram");
                return;
            }
        };
        self.zone.stats.datagrams.increase();
        if !budget.allows(datagram.from.ip(), Instant::now()) {
            return self.zone.stats.datagrams_unrecorded.increase();
        }
        let bytes = buffer.get(..datagram.length).unwrap_or_default();
        let ends = (datagram.from, self.meant(&datagram));
        if let Some(answer) = taker.take(&self.zone, &self.category, ends, bytes).await {
            // Lost like any datagram where there is no room.
            if let Some(answer) = answer.filter(|answer| answer.len() <= bytes.len()) {
                let _ = socket.try_send_to(&answer, datagram.from);
            }
            return;
        }
        let event = self.event(bytes, &datagram);
        self.zone.scans.notice(&event);
        if self.zone.out.send(event).await.is_ok() {
            self.zone.stats.events.increase();
        } else {
            self.zone.stats.events_lost.increase();
        }
        if self.config.echo {
            // Lost like any datagram where there is no room.
            let _ = socket.try_send_to(bytes, datagram.from);
        }
    }

    /// Where it was sent to.
    fn meant(&self, datagram: &Datagram) -> SocketAddr {
        SocketAddr::new(datagram.to.unwrap_or(self.address.ip()), self.address.port())
    }

    fn event(&self, bytes: &[u8], datagram: &Datagram) -> Event {
        let (category, to) = (self.category.clone(), self.meant(datagram));
        let mut session = plugin::datagram_session(&self.zone, category, datagram.from, to);
        let mut event = session.event(EventKind::DataReceived);
        if let Some(protocol) = guess::datagram(bytes) {
            event = event.with("protocol", protocol);
        }
        if let Some(scanner) = guess::scanner(bytes) {
            event = event.with("scanner", scanner);
        }
        let kept = bytes.get(..self.config.bytes);
        if kept.is_some_and(|kept| kept.len() < bytes.len()) {
            event = event.with("truncated", true).with("size", bytes.len() as u64);
        }
        event.request = Some(kept.unwrap_or(bytes).into());
        event
    }
}

/// Waits for a datagram.
async fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<Datagram> {
    socket.async_io(Interest::READABLE, || receive_now(socket, buffer)).await
}

/// Takes a datagram that is there, with the address it was sent to.
fn receive_now(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<Datagram> {
    let mut slices = [IoSliceMut::new(buffer)];
    let mut control = nix::cmsg_space!(nix::libc::in_pktinfo, nix::libc::in6_pktinfo);
    let flags = MsgFlags::MSG_DONTWAIT;
    let message =
        recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut slices, Some(&mut control), flags)?;
    let mut to = None;
    for part in message.cmsgs()? {
        match part {
            ControlMessageOwned::Ipv4PacketInfo(info) => {
                to = Some(IpAddr::from(info.ipi_addr.s_addr.to_ne_bytes()));
            }
            ControlMessageOwned::Ipv6PacketInfo(info) => {
                to = Some(IpAddr::from(info.ipi6_addr.s6_addr));
            }
            _ => {}
        }
    }
    let from = message.address.as_ref().and_then(address);
    let from = from.ok_or_else(|| io::Error::other("a datagram without a sender"))?;
    Ok(Datagram { length: message.bytes, from, to })
}

fn address(storage: &SockaddrStorage) -> Option<SocketAddr> {
    let four = storage.as_sockaddr_in().map(|four| SocketAddr::from((four.ip(), four.port())));
    four.or_else(|| storage.as_sockaddr_in6().map(|six| SocketAddr::from((six.ip(), six.port()))))
}

/// What may be recorded in a minute.
#[derive(Debug)]
struct Budget {
    per_address: u32,
    per_minute: u32,
    begun: Instant,
    all: u32,
    each: HashMap<IpAddr, u32>,
    /// Of those that are not counted by themselves.
    others: u32,
}

impl Budget {
    fn new(config: &UdpConfig) -> Self {
        Self {
            per_address: config.per_address,
            per_minute: config.per_minute,
            begun: Instant::now(),
            all: 0,
            each: HashMap::new(),
            others: 0,
        }
    }

    fn allows(&mut self, address: IpAddr, now: Instant) -> bool {
        if now.duration_since(self.begun) >= WINDOW {
            (self.begun, self.all, self.others) = (now, 0, 0);
            self.each.clear();
        }
        let key = network(address);
        let room = self.each.len() < MAX_COUNTED || self.each.contains_key(&key);
        let count = if room { self.each.entry(key).or_default() } else { &mut self.others };
        if *count >= self.per_address || self.all >= self.per_minute {
            return false;
        }
        *count += 1;
        self.all += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn budgets_hold_for_one_address_for_all_and_for_a_minute() {
        let config = UdpConfig { per_address: 2, per_minute: 3, ..UdpConfig::default() };
        let mut budget = Budget::new(&config);
        let now = Instant::now();
        let (one, two) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let allowed: Vec<bool> = [one, one, one, two, two]
            .into_iter()
            .map(|address| budget.allows(address, now))
            .collect();
        assert_eq!(allowed, [true, true, false, true, false]);
        assert!(budget.allows(one, now + WINDOW));
        assert_eq!(budget.each.len(), 1);
    }

    #[tokio::test]
    async fn more_addresses_than_are_counted_share_a_budget() {
        let config = UdpConfig { per_address: 1, per_minute: u32::MAX, ..UdpConfig::default() };
        let mut budget = Budget::new(&config);
        let now = Instant::now();
        let many = (0..MAX_COUNTED as u32 + 10).map(|n| IpAddr::from(n.to_be_bytes()));
        let allowed = many.filter(|address| budget.allows(*address, now)).count();
        assert_eq!((allowed, budget.each.len()), (MAX_COUNTED + 1, MAX_COUNTED));
    }
}
