//! Captured packets: the beginnings of connections, also of those that never
//! become one, and what scanners alone send. The sockets are opened with a right
//! (`CAP_NET_RAW`) that the zone does not have; a filter in the kernel lets
//! nothing else through, and the zone may not take it off.

use std::collections::HashSet;
use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram as BlockingDatagram;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::libc;
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{getsockopt, setsockopt, sockopt};
use nix::{getsockopt_impl, sockopt_impl};
use socket2::{Domain, Protocol, SockFilter, Socket, Type};
use tokio::net::UnixDatagram;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::packet::{Kind, Probe};
use super::table::{How, Touch};
use crate::CaptureConfig;
use crate::fingerprint::Syn;
use crate::session::Zone;

/// Bytes that are kept of a packet: the longest headers of IPv4 and TCP.
const KEPT_BYTES: u32 = 128;
/// Room of the kernel for packets that wait; beyond, they are lost.
const RECEIVE_BYTES: usize = 4 * 1024 * 1024;
/// Most of our own addresses that are learnt.
const MAX_OWN: usize = 256;
/// Packets that are taken before others have their turn.
const BATCH: usize = 64;
/// How often the kernel is asked how many it has dropped.
const ASK_EVERY: Duration = Duration::from_secs(2);

sockopt_impl!(
    /// What came of the packets since it was asked last (packet(7)).
    Statistics,
    GetOnly,
    libc::SOL_PACKET,
    libc::PACKET_STATISTICS,
    libc::tpacket_stats
);

/// Types of Ethernet frames.
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;

/// Packets cannot be captured.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The right is missing.
    #[error(
        "[honeypot.capture] needs the right CAP_NET_RAW: start as root, or give the program that right (AmbientCapabilities=CAP_NET_RAW in its unit), or leave interface out"
    )]
    Denied,
    /// There is no such interface.
    #[error("[honeypot.capture] interface '{0}': this machine has none of that name")]
    NoInterface(String),
    /// Anything else.
    #[error("[honeypot.capture] cannot capture packets: {0}")]
    Other(#[from] io::Error),
}

/// Opens the sockets of a configuration, one for each version of IP; none where
/// it asks for none.
///
/// # Errors
/// [`CaptureError`].
pub fn open(config: &CaptureConfig) -> Result<Vec<OwnedFd>, CaptureError> {
    let Some(name) = &config.interface else { return Ok(Vec::new()) };
    let index = |name: &str| if_nametoindex(name);
    let rule = match name.as_str() {
        // What this machine says to itself is no scan.
        "any" => Interface::AllBut(index("lo").unwrap_or(0)),
        name => Interface::This(
            index(name)
                .map_err(|_| CaptureError::NoInterface(name.escape_default().to_string()))?,
        ),
    };
    let open = |ethertype: u16, filter: &[SockFilter]| -> io::Result<OwnedFd> {
        let protocol = Protocol::from(i32::from(ethertype.to_be()));
        let socket = Socket::new(Domain::PACKET, Type::DGRAM, Some(protocol))?;
        socket.attach_filter(filter)?;
        socket.set_nonblocking(true)?;
        // Beyond what others may have; a smaller one does too.
        if setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BYTES).is_err() {
            let _ = socket.set_recv_buffer_size(RECEIVE_BYTES);
        }
        // What came before there was a filter.
        let mut unfiltered = [std::mem::MaybeUninit::uninit(); 1];
        while socket.recv(&mut unfiltered).is_ok() {}
        Ok(OwnedFd::from(socket))
    };
    let opened = open(IPV4, &compiled(&program_v4(rule)))
        .and_then(|four| Ok(vec![four, open(IPV6, &compiled(&program_v6(rule)))?]));
    opened.map_err(|error: io::Error| match error.kind() {
        io::ErrorKind::PermissionDenied => CaptureError::Denied,
        _ => CaptureError::Other(error),
    })
}

/// Takes what was captured from `socket` until `stop`. What goes to others, as
/// through a router, is none of ours.
pub(crate) async fn run(zone: Arc<Zone>, socket: OwnedFd, stop: CancellationToken) {
    // Any socket that keeps packets apart is read like one of unix(7).
    let socket = BlockingDatagram::from(socket);
    let socket = match socket.set_nonblocking(true).and_then(|()| UnixDatagram::from_std(socket)) {
        Ok(socket) => socket,
        Err(error) => {
            tracing::error!(%error, "cannot capture packets");
            return;
        }
    };
    let mut buffer = [0; KEPT_BYTES as usize];
    let mut asking = tokio::time::interval(ASK_EVERY);
    asking.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let mut received = tokio::select! {
            () = stop.cancelled() => {
                count_dropped(&zone, &socket);
                return;
            }
            _ = asking.tick() => {
                count_dropped(&zone, &socket);
                continue;
            }
            received = socket.recv(&mut buffer) => received,
        };
        for _ in 0..BATCH {
            match received {
                Ok(length) => take(&zone, buffer.get(..length).unwrap_or_default()),
                Err(error) => {
                    // Nothing more for now, or an interface that went down.
                    tracing::trace!(%error, "no packet");
                    break;
                }
            }
            received = socket.try_recv(&mut buffer);
        }
        tokio::task::yield_now().await;
    }
}

/// Counts the packets for which the socket had no room since it was asked last.
fn count_dropped(zone: &Zone, socket: &UnixDatagram) {
    match getsockopt(socket, Statistics) {
        Ok(statistics) => zone.stats.packets_dropped.add(statistics.tp_drops.into()),
        // An old kernel, or a socket of another kind; there is nothing to count.
        Err(error) => tracing::trace!(%error, "the kernel does not say how many it dropped"),
    }
}

fn take(zone: &Zone, packet: &[u8]) {
    let Some(probe) = Probe::parse(packet) else { return };
    if probe.source.to_canonical().is_loopback() || !zone.scans.own.has(probe.target) {
        return;
    }
    zone.stats.packets_captured.increase();
    let known = match probe.kind {
        Kind::Syn => Syn::parse(packet).and_then(|syn| zone.signatures.identify(&syn).tool),
        _ => None,
    };
    let tool = if probe.mirai { Some("Mirai") } else { known.as_deref() };
    let how = match probe.kind {
        Kind::Syn => How::Syn,
        Kind::Null => How::Null,
        Kind::Fin => How::Fin,
        Kind::Xmas => How::Xmas,
        Kind::Os => How::Os,
    };
    let Probe { source, target, port, .. } = probe;
    zone.scans.touch(&Touch { source, target, port, how, tool });
}

/// The addresses of this machine: those it had at the start, and those that
/// somebody has connected to.
#[derive(Debug, Default)]
pub(crate) struct Own(Mutex<HashSet<IpAddr>>);

impl Own {
    fn has(&self, address: IpAddr) -> bool {
        let own = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        own.contains(&address.to_canonical())
    }

    pub(crate) fn learn(&self, address: IpAddr) {
        let mut own = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if own.len() < MAX_OWN {
            own.insert(address.to_canonical());
        }
    }
}

/// Which interfaces are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Interface {
    /// All but the one with this index.
    AllBut(u32),
    /// The one with this index.
    This(u32),
}

// Instructions of the kernel's filters (Linux, networking/filter), which
// socket2 hands over.
const LOAD_WORD: u16 = 0x20;
const LOAD_HALF: u16 = 0x28;
const LOAD_BYTE: u16 = 0x30;
/// At an offset from the transport header.
const LOAD_BYTE_THERE: u16 = 0x50;
/// Where the transport header of IPv4 begins.
const FIND_TRANSPORT: u16 = 0xb1;
const IF_EQUAL: u16 = 0x15;
const IF_SET: u16 = 0x45;
const RETURN: u16 = 0x06;
/// Where the kernel shows the index of the interface.
const INTERFACE: u32 = 0xffff_f000 + 8;
/// Flags of an answer or of a connection that is there: ACK and RST.
const DAILY_FLAGS: u32 = 0x14;

/// Where a filter goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum To {
    Next,
    Accept,
    Refuse,
    /// The instruction with this number.
    At(usize),
}

/// An instruction: code, operand, and where to go on if a test holds, or not.
type Instruction = (u16, u32, To, To);

fn load(code: u16, at: u32) -> Instruction {
    (code, at, To::Next, To::Next)
}

fn of_interface(rule: Interface) -> Instruction {
    match rule {
        Interface::AllBut(index) => (IF_EQUAL, index, To::Refuse, To::Next),
        Interface::This(index) => (IF_EQUAL, index, To::Next, To::Refuse),
    }
}

/// Which packets of IPv4 are of interest. The parser looks again.
fn program_v4(rule: Interface) -> Vec<Instruction> {
    let (tcp, icmp) = (To::At(8), To::At(13));
    vec![
        load(LOAD_WORD, INTERFACE),
        of_interface(rule),
        load(LOAD_BYTE, 9),
        (IF_EQUAL, 6, tcp, To::Next),
        (IF_EQUAL, 1, icmp, To::Next),
        // UDP with the identification of nmap's probe.
        (IF_EQUAL, 17, To::Next, To::Refuse),
        load(LOAD_HALF, 4),
        (IF_EQUAL, 0x1042, To::Accept, To::Refuse),
        // TCP that is no later fragment, with neither ACK nor RST.
        load(LOAD_HALF, 6),
        (IF_SET, 0x1fff, To::Refuse, To::Next),
        load(FIND_TRANSPORT, 0),
        load(LOAD_BYTE_THERE, 13),
        (IF_SET, DAILY_FLAGS, To::Refuse, To::Accept),
        // Echo requests with a code.
        load(LOAD_HALF, 6),
        (IF_SET, 0x1fff, To::Refuse, To::Next),
        load(FIND_TRANSPORT, 0),
        load(LOAD_BYTE_THERE, 0),
        (IF_EQUAL, 8, To::Next, To::Refuse),
        load(LOAD_BYTE_THERE, 1),
        (IF_EQUAL, 0, To::Refuse, To::Accept),
    ]
}

/// Which packets of IPv6 are: TCP without extensions, neither ACK nor RST.
fn program_v6(rule: Interface) -> Vec<Instruction> {
    vec![
        load(LOAD_WORD, INTERFACE),
        of_interface(rule),
        load(LOAD_BYTE, 6),
        (IF_EQUAL, 6, To::Next, To::Refuse),
        load(LOAD_BYTE, 40 + 13),
        (IF_SET, DAILY_FLAGS, To::Refuse, To::Accept),
    ]
}

/// The program as the kernel takes it, with its two ends.
fn compiled(program: &[Instruction]) -> Vec<SockFilter> {
    let instructions =
        program.iter().enumerate().map(|(here, (code, operand, then, otherwise))| {
            let skip = |to: &To| {
                let there = match to {
                    To::Next => here + 1,
                    To::Accept => program.len(),
                    To::Refuse => program.len() + 1,
                    To::At(there) => *there,
                };
                // Programs are short, and go forward.
                u8::try_from(there.saturating_sub(here + 1)).unwrap_or(0)
            };
            SockFilter::new(*code, skip(then), skip(otherwise), *operand)
        });
    let ends = [KEPT_BYTES, 0].map(|bytes| SockFilter::new(RETURN, 0, 0, bytes));
    instructions.chain(ends).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What the kernel does with such a program.
    fn accepts(program: &[Instruction], interface: u32, packet: &[u8]) -> bool {
        let (mut at, mut value, mut transport) = (0, 0u32, 0usize);
        let byte = |at: usize| packet.get(at).map(|byte| u32::from(*byte));
        loop {
            let (code, operand, then, otherwise) = program[at];
            let place = operand as usize;
            let loaded = match code {
                LOAD_WORD => Some(interface),
                LOAD_HALF => byte(place).zip(byte(place + 1)).map(|(high, low)| high << 8 | low),
                LOAD_BYTE => byte(place),
                LOAD_BYTE_THERE => byte(transport + place),
                FIND_TRANSPORT => {
                    let Some(first) = byte(0) else { return false };
                    transport = (first & 0x0f) as usize * 4;
                    Some(value)
                }
                _ => Some(value),
            };
            // Beyond the end of the packet a filter refuses.
            let Some(loaded) = loaded else { return false };
            value = loaded;
            let holds = match code {
                IF_EQUAL => value == operand,
                IF_SET => value & operand != 0,
                _ => true,
            };
            match if holds { then } else { otherwise } {
                To::Next => at += 1,
                To::At(there) => at = there,
                To::Accept => return true,
                To::Refuse => return false,
            }
        }
    }

    fn tcp(flags: u8) -> Vec<u8> {
        let mut bytes = vec![0x46, 0, 0, 44, 0, 0, 0, 0, 64, 6, 0, 0];
        bytes.extend([198, 51, 100, 7, 192, 0, 2, 1, 1, 1, 1, 1]);
        bytes.extend([0xc0, 0, 0, 23, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, flags, 4, 0, 0, 0, 0, 0]);
        bytes
    }

    #[test]
    fn the_filter_lets_scans_through_and_nothing_of_daily_traffic() {
        let program = program_v4(Interface::AllBut(1));
        for flags in [0x02, 0, 0x01, 0x29, 0x2b, 0xc2] {
            assert!(accepts(&program, 2, &tcp(flags)), "{flags:#x}");
            assert!(!accepts(&program, 1, &tcp(flags)), "of the loopback interface");
            assert!(!accepts(&program_v4(Interface::This(3)), 2, &tcp(flags)));
            assert!(accepts(&program_v4(Interface::This(3)), 3, &tcp(flags)));
        }
        for flags in [0x10, 0x12, 0x18, 0x11, 0x04, 0x14] {
            assert!(!accepts(&program, 2, &tcp(flags)), "{flags:#x}");
        }
        let mut fragment = tcp(0x02);
        fragment[7] = 1;
        assert!(!accepts(&program, 2, &fragment));
        let mut dns = tcp(0);
        dns[9] = 17;
        assert!(!accepts(&program, 2, &dns));
        assert_eq!(compiled(&program).len(), program.len() + 2);
    }

    proptest! {
        #[test]
        fn what_the_parser_takes_is_let_through(
            mut bytes in proptest::collection::vec(any::<u8>(), 60..100), six in any::<bool>(),
            next in prop::sample::select(vec![1u8, 6, 17]), flags in 0u8..64, odd in any::<bool>()
        ) {
            bytes[0] = if six { 0x60 } else { 0x45 };
            bytes[if six { 6 } else { 9 }] = next;
            if odd {
                bytes[6] = 0;
                bytes[7] = 0;
            }
            bytes[if six { 53 } else { 33 }] = flags;
            let rule = Interface::AllBut(1);
            let program = if six { program_v6(rule) } else { program_v4(rule) };
            // IPv6 with extensions is not let through; the parser could read it.
            let readable = Probe::parse(&bytes).is_some() && (!six || bytes[6] == 6);
            prop_assert!(!readable || accepts(&program, 2, &bytes));
        }

        #[test]
        fn programs_go_forward_and_end(index in any::<u32>()) {
            for program in [program_v4(Interface::This(index)), program_v6(Interface::This(index))] {
                for (here, (_, _, then, otherwise)) in program.iter().enumerate() {
                    for to in [then, otherwise] {
                        prop_assert!(!matches!(to, To::At(there) if *there <= here || *there >= program.len()));
                    }
                }
                let (.., then, otherwise) = program[program.len() - 1];
                prop_assert!(then != To::Next && otherwise != To::Next);
            }
        }
    }
}
