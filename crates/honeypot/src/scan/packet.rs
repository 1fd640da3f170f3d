//! A captured packet, read as far as it shows a scan: packets that begin a
//! connection, and those that no honest system sends. Pure and bounded; a
//! packet may be cut off anywhere.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP: u8 = 1;
const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const PSH: u8 = 0x08;
const ACK: u8 = 0x10;
const URG: u8 = 0x20;
/// Of the flags of congestion none counts here.
const FLAGS: u8 = 0x3f;
/// The identification and the payload of nmap's datagram to a closed port.
const NMAP_UDP_ID: u16 = 0x1042;
const NMAP_UDP_BYTE: u8 = b'C';
const ECHO_REQUEST: u8 = 8;
/// IPv6 extension headers that are skipped at most.
const MAX_EXTENSIONS: usize = 8;

/// What a packet is to a scanner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It begins a connection.
    Syn,
    /// No flag at all (nmap -sN).
    Null,
    /// FIN alone (nmap -sF).
    Fin,
    /// FIN, PSH and URG (nmap -sX).
    Xmas,
    /// Looks how odd packets are answered, to tell the system (nmap -O).
    Os,
}

/// A packet of a scanner, or the beginning of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Who sends it, if that is true: nobody has answered yet.
    pub source: IpAddr,
    /// To whom.
    pub target: IpAddr,
    /// To which port; without one for ICMP.
    pub port: Option<u16>,
    /// What it is.
    pub kind: Kind,
    /// Whether its sequence number is the address it goes to, as Mirai's
    /// scanner and its kind have it.
    pub mirai: bool,
}

impl Probe {
    /// Reads a packet from its IP header on.
    #[must_use]
    pub fn parse(packet: &[u8]) -> Option<Self> {
        match packet.first()? >> 4 {
            4 => v4(packet),
            6 => v6(packet),
            _ => None,
        }
    }
}

fn v4(packet: &[u8]) -> Option<Probe> {
    let header = packet.first_chunk::<20>()?;
    let [first, _, l0, l1, i0, i1, f0, f1, _, protocol, _, _, s0, s1, s2, s3, t0, t1, t2, t3] =
        *header;
    let (source, target) = (Ipv4Addr::new(s0, s1, s2, s3), Ipv4Addr::new(t0, t1, t2, t3));
    let length = usize::from(first & 0x0f) * 4;
    if length < 20 || u16::from_be_bytes([f0, f1]) & 0x1fff != 0 {
        return None;
    }
    let rest = packet.get(length..)?;
    let (port, kind, sequence) = match protocol {
        TCP => tcp(rest)?,
        UDP => {
            // Told by the packet's length, since it may be cut off here.
            let [_, _, p0, p1, _, _, _, _, data @ ..] = rest else { return None };
            let whole = usize::from(u16::from_be_bytes([l0, l1])) == length + 8 + 300;
            let same = !data.is_empty() && data.iter().all(|byte| *byte == NMAP_UDP_BYTE);
            let ours = u16::from_be_bytes([i0, i1]) == NMAP_UDP_ID && whole && same;
            (ours.then(|| u16::from_be_bytes([*p0, *p1])), ours.then_some(Kind::Os)?, 0)
        }
        ICMP => match rest {
            [ECHO_REQUEST, code, ..] if *code != 0 => (None, Kind::Os, 0),
            _ => return None,
        },
        _ => return None,
    };
    // One that is its own sequence number by chance: one in four thousand million.
    let mirai = kind == Kind::Syn && sequence == target.to_bits();
    Some(Probe { source: source.into(), target: target.into(), port, kind, mirai })
}

fn v6(packet: &[u8]) -> Option<Probe> {
    let (header, mut rest) = packet.split_first_chunk::<40>()?;
    let address = |at: usize| {
        let bytes: [u8; 16] = header.get(at..at + 16)?.try_into().ok()?;
        Some(IpAddr::from(Ipv6Addr::from(bytes)))
    };
    let (source, target) = (address(8)?, address(24)?);
    let mut next = *header.get(6)?;
    for _ in 0..MAX_EXTENSIONS {
        match next {
            TCP => {
                let (port, kind, _) = tcp(rest)?;
                return Some(Probe { source, target, port, kind, mirai: false });
            }
            // Hop-by-hop, routing, destination options.
            0 | 43 | 60 => {
                next = *rest.first()?;
                let length = (usize::from(*rest.get(1)?) + 1) * 8;
                rest = rest.get(length..)?;
            }
            _ => return None,
        }
    }
    None
}

/// Port, kind and sequence number of a TCP header.
fn tcp(header: &[u8]) -> Option<(Option<u16>, Kind, u32)> {
    let [_, _, p0, p1, s0, s1, s2, s3, _, _, _, _, _, flags, ..] = header else { return None };
    let kind = match flags & FLAGS {
        SYN => Kind::Syn,
        0 => Kind::Null,
        FIN => Kind::Fin,
        flags if flags == FIN | PSH | URG => Kind::Xmas,
        flags if flags & (ACK | RST) == 0 && flags & (SYN | FIN) == SYN | FIN => Kind::Os,
        _ => return None,
    };
    let port = u16::from_be_bytes([*p0, *p1]);
    Some((Some(port), kind, u32::from_be_bytes([*s0, *s1, *s2, *s3])))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A TCP packet over IPv4 to 192.0.2.1:23.
    fn packet(flags: u8, sequence: u32) -> Vec<u8> {
        let mut bytes = vec![0x45, 0, 0, 40, 0, 0, 0, 0, 64, TCP, 0, 0];
        bytes.extend([198, 51, 100, 7, 192, 0, 2, 1]);
        bytes.extend([0xc0, 0, 0, 23]);
        bytes.extend(sequence.to_be_bytes());
        bytes.extend([0, 0, 0, 0, 0x50, flags, 4, 0, 0, 0, 0, 0]);
        bytes
    }

    fn kind(bytes: &[u8]) -> Option<Kind> {
        Probe::parse(bytes).map(|probe| probe.kind)
    }

    #[test]
    fn packets_of_scanners_are_told_by_their_flags() {
        assert_eq!(kind(&packet(SYN, 1)), Some(Kind::Syn));
        assert_eq!(kind(&packet(SYN | 0xc0, 1)), Some(Kind::Syn), "congestion does not count");
        assert_eq!(kind(&packet(0, 1)), Some(Kind::Null));
        assert_eq!(kind(&packet(FIN, 1)), Some(Kind::Fin));
        assert_eq!(kind(&packet(FIN | PSH | URG, 1)), Some(Kind::Xmas));
        assert_eq!(kind(&packet(SYN | FIN | PSH | URG, 1)), Some(Kind::Os));
        for daily in [ACK, SYN | ACK, RST, RST | ACK, FIN | ACK, PSH | ACK] {
            assert_eq!(kind(&packet(daily, 1)), None, "{daily:#x}");
        }
        let probe = Probe::parse(&packet(SYN, 0xc000_0201)).unwrap();
        assert!(probe.mirai && probe.port == Some(23));
        assert_eq!(probe.source, IpAddr::from([198, 51, 100, 7]));
        assert!(!Probe::parse(&packet(SYN, 0xc000_0202)).unwrap().mirai);
        assert!(!Probe::parse(&packet(FIN, 0xc000_0201)).unwrap().mirai);
    }

    #[test]
    fn a_later_fragment_has_no_ports() {
        let mut bytes = packet(SYN, 1);
        bytes[7] = 1;
        assert_eq!(kind(&bytes), None);
    }

    #[test]
    fn nmaps_questions_about_the_system_are_known() {
        let ip = |protocol, length: u16, id: u16| {
            let mut bytes = packet(0, 0)[..20].to_vec();
            bytes[2..4].copy_from_slice(&length.to_be_bytes());
            bytes[4..6].copy_from_slice(&id.to_be_bytes());
            bytes[9] = protocol;
            bytes
        };
        let udp = |id, length| {
            let mut bytes = ip(UDP, length, id);
            bytes.extend([0x80, 0, 0x9c, 0x40, 1, 0x34, 0, 0]);
            // Cut off, as a capture is.
            bytes.extend([b'C'; 60]);
            bytes
        };
        assert_eq!(Probe::parse(&udp(0x1042, 328)).unwrap().port, Some(40_000));
        assert_eq!(kind(&udp(0x1041, 328)), None);
        assert_eq!(kind(&udp(0x1042, 300)), None);
        let icmp = |code| [ip(ICMP, 28, 0), vec![ECHO_REQUEST, code, 0, 0, 0, 0, 0, 0]].concat();
        assert_eq!(kind(&icmp(9)), Some(Kind::Os));
        assert_eq!(kind(&icmp(0)), None, "ping(8)");
    }

    #[test]
    fn ipv6_is_read_behind_its_extensions() {
        let mut bytes = vec![0x60, 0, 0, 0, 0, 28, 60, 64];
        bytes.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7]);
        bytes.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        bytes.extend([TCP, 0, 1, 4, 0, 0, 0, 0]);
        bytes.extend(&packet(SYN, 5)[20..]);
        let probe = Probe::parse(&bytes).unwrap();
        assert_eq!((probe.port, probe.kind, probe.mirai), (Some(23), Kind::Syn, false));
        assert_eq!(probe.source, "2001:db8::7".parse::<IpAddr>().unwrap());
    }

    proptest! {
        #[test]
        fn no_bytes_panic(
            mut bytes in proptest::collection::vec(any::<u8>(), 0..100), version in 0usize..3
        ) {
            if let Some(first) = bytes.first_mut() {
                *first = [0x45, 0x4f, 0x60][version];
            }
            let _ = Probe::parse(&bytes);
        }
    }
}
