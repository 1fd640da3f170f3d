//! Reads the first packet of a TCP connection, as the kernel keeps it: what in
//! its headers tells one system from another. Pure and bounded; bytes of
//! strangers in, an observation out, whose text form is p0f's raw signature.

use std::fmt;

/// Most hops that are believed; a lower TTL means another initial one.
pub(super) const MAX_DISTANCE: u8 = 35;
/// Headers without options: IPv4 and TCP.
const IPV4_TCP_BYTES: u16 = 40;
/// Headers without options: IPv6 and TCP.
const IPV6_TCP_BYTES: u16 = 60;
/// What a timestamp takes of each segment.
const TIMESTAMP_BYTES: u16 = 12;
/// IPv6 extension headers that are skipped at most.
const MAX_EXTENSIONS: usize = 8;

/// The version of IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// RFC 791.
    V4,
    /// RFC 8200.
    V6,
}

/// An option of TCP, in the order as sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TcpOption {
    /// The end, with so many bytes after it.
    End(u8),
    /// Padding.
    Nop,
    /// Maximum segment size.
    Mss,
    /// Window scale.
    Scale,
    /// Selective acknowledgements are understood.
    SackPermitted,
    /// Selective acknowledgement.
    Sack,
    /// Timestamps.
    Timestamps,
    /// Any other, by its number.
    Unknown(u8),
}

impl fmt::Display for TcpOption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::End(bytes) => write!(f, "eol+{bytes}"),
            Self::Nop => f.write_str("nop"),
            Self::Mss => f.write_str("mss"),
            Self::Scale => f.write_str("ws"),
            Self::SackPermitted => f.write_str("sok"),
            Self::Sack => f.write_str("sack"),
            Self::Timestamps => f.write_str("ts"),
            Self::Unknown(kind) => write!(f, "?{kind}"),
        }
    }
}

/// What is unusual about a packet, as a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quirks(u32);

impl Quirks {
    /// "Don't fragment" (IPv4).
    pub const DF: Self = Self(1);
    /// DF and an identification all the same (IPv4).
    pub const ID_WITH_DF: Self = Self(1 << 1);
    /// Neither DF nor an identification (IPv4).
    pub const NO_ID: Self = Self(1 << 2);
    /// Explicit congestion notification.
    pub const ECN: Self = Self(1 << 3);
    /// The bit that must be zero is not (IPv4).
    pub const RESERVED_BIT: Self = Self(1 << 4);
    /// A flow label (IPv6).
    pub const FLOW: Self = Self(1 << 5);
    /// The sequence number is zero.
    pub const ZERO_SEQUENCE: Self = Self(1 << 6);
    /// An acknowledged number without the flag.
    pub const ACK_WITHOUT_FLAG: Self = Self(1 << 7);
    /// The flag without an acknowledged number.
    pub const FLAG_WITHOUT_ACK: Self = Self(1 << 8);
    /// An urgent pointer without the flag.
    pub const URGENT_POINTER: Self = Self(1 << 9);
    /// The urgent flag.
    pub const URGENT_FLAG: Self = Self(1 << 10);
    /// The push flag.
    pub const PUSH_FLAG: Self = Self(1 << 11);
    /// The own timestamp is zero.
    pub const ZERO_TIMESTAMP: Self = Self(1 << 12);
    /// A timestamp of the peer, which has not sent one yet.
    pub const PEER_TIMESTAMP: Self = Self(1 << 13);
    /// Bytes that are not zero after the end of the options.
    pub const AFTER_END: Self = Self(1 << 14);
    /// A window scale above 14.
    pub const LARGE_SCALE: Self = Self(1 << 15);
    /// Options that cannot be read.
    pub const BAD_OPTIONS: Self = Self(1 << 16);

    /// All of them with their names, in the order of the text form.
    pub(super) const NAMES: [(Self, &'static str); 17] = [
        (Self::DF, "df"),
        (Self::ID_WITH_DF, "id+"),
        (Self::NO_ID, "id-"),
        (Self::ECN, "ecn"),
        (Self::RESERVED_BIT, "0+"),
        (Self::FLOW, "flow"),
        (Self::ZERO_SEQUENCE, "seq-"),
        (Self::ACK_WITHOUT_FLAG, "ack+"),
        (Self::FLAG_WITHOUT_ACK, "ack-"),
        (Self::URGENT_POINTER, "uptr+"),
        (Self::URGENT_FLAG, "urgf+"),
        (Self::PUSH_FLAG, "pushf+"),
        (Self::ZERO_TIMESTAMP, "ts1-"),
        (Self::PEER_TIMESTAMP, "ts2+"),
        (Self::AFTER_END, "opt+"),
        (Self::LARGE_SCALE, "exws"),
        (Self::BAD_OPTIONS, "bad"),
    ];

    /// These and `other`.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// These without `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    fn set(&mut self, quirk: Self, present: bool) {
        if present {
            *self = self.with(quirk);
        }
    }
}

impl fmt::Display for Quirks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut between = "";
        for (quirk, name) in Self::NAMES {
            if self.0 & quirk.0 != 0 {
                write!(f, "{between}{name}")?;
                between = ",";
            }
        }
        Ok(())
    }
}

/// A window in terms of what a segment holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Multiple {
    /// So many segments.
    Mss(u16),
    /// So many packets.
    Mtu(u16),
}

/// A SYN, as far as it tells systems apart. Its text form is p0f's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Syn {
    /// The version of IP.
    pub version: Version,
    /// The time to live when it came.
    pub ttl: u8,
    /// Length of the IPv4 options or IPv6 extension headers.
    pub ip_options: u8,
    /// The maximum segment size; 0 without the option.
    pub mss: u16,
    /// The window, not scaled.
    pub window: u16,
    /// The window in terms of the segment size, where it is a multiple.
    pub multiple: Option<Multiple>,
    /// The window scale; 0 without the option.
    pub scale: u8,
    /// The options; at most 40.
    pub options: Vec<TcpOption>,
    /// What is unusual.
    pub quirks: Quirks,
    /// Whether it carries data.
    pub payload: bool,
}

impl Syn {
    /// Reads the IP and TCP headers of a SYN. `None` where they are not
    /// complete, or are of another packet.
    #[must_use]
    pub fn parse(packet: &[u8]) -> Option<Self> {
        match packet.first()? >> 4 {
            4 => Self::parse_v4(packet),
            6 => Self::parse_v6(packet),
            _ => None,
        }
    }

    fn parse_v4(packet: &[u8]) -> Option<Self> {
        let [first, tos, l1, l2, id1, id2, f1, f2, ttl, protocol, ..] = *packet else {
            return None;
        };
        let header = usize::from(first & 0x0f) * 4;
        // A later fragment has no TCP header.
        let offset = u16::from_be_bytes([f1 & 0x1f, f2]);
        if header < 20 || protocol != 6 || offset != 0 {
            return None;
        }
        let mut quirks = Quirks::default();
        let (df, id) = (f1 & 0x40 != 0, u16::from_be_bytes([id1, id2]));
        quirks.set(Quirks::ECN, tos & 3 != 0);
        quirks.set(Quirks::RESERVED_BIT, f1 & 0x80 != 0);
        quirks.set(Quirks::DF, df);
        quirks.set(Quirks::ID_WITH_DF, df && id != 0);
        quirks.set(Quirks::NO_ID, !df && id == 0);
        let tcp = packet.get(header..)?;
        let length = usize::from(u16::from_be_bytes([l1, l2])).checked_sub(header)?;
        Self::parse_tcp(Version::V4, ttl, header - 20, quirks, tcp, length)
    }

    fn parse_v6(packet: &[u8]) -> Option<Self> {
        let [b0, b1, b2, b3, l1, l2, next, ttl, ..] = *packet else { return None };
        let class = (b0 << 4) | (b1 >> 4);
        let mut quirks = Quirks::default();
        quirks.set(Quirks::ECN, class & 3 != 0);
        quirks.set(Quirks::FLOW, b1 & 0x0f != 0 || b2 != 0 || b3 != 0);
        let (mut next, mut at) = (next, 40usize);
        for _ in 0..MAX_EXTENSIONS {
            // Hop-by-hop options, routing, destination options. A fragment is no SYN.
            if !matches!(next, 0 | 43 | 60) {
                break;
            }
            let [following, units] = *packet.get(at..at + 2)? else { return None };
            (next, at) = (following, at + (usize::from(units) + 1) * 8);
        }
        if next != 6 {
            return None;
        }
        let tcp = packet.get(at..)?;
        let length = usize::from(u16::from_be_bytes([l1, l2])).checked_sub(at - 40)?;
        Self::parse_tcp(Version::V6, ttl, at - 40, quirks, tcp, length)
    }

    /// `length` is what the IP header says that TCP has; the kernel keeps the
    /// headers alone.
    fn parse_tcp(
        version: Version,
        ttl: u8,
        ip_options: usize,
        mut quirks: Quirks,
        tcp: &[u8],
        length: usize,
    ) -> Option<Self> {
        let [_, _, _, _, s1, s2, s3, s4, a1, a2, a3, a4, offset, flags, w1, w2, _, _, u1, u2, ..] =
            *tcp
        else {
            return None;
        };
        // SYN without ACK, RST and FIN.
        if flags & 0x17 != 0x02 {
            return None;
        }
        let header = usize::from(offset >> 4) * 4;
        let options = tcp.get(20..header)?;
        quirks.set(Quirks::ZERO_SEQUENCE, [s1, s2, s3, s4] == [0; 4]);
        quirks.set(Quirks::ACK_WITHOUT_FLAG, [a1, a2, a3, a4] != [0; 4]);
        quirks.set(Quirks::ECN, flags & 0xc0 != 0);
        let urgent = flags & 0x20 != 0;
        quirks.set(Quirks::URGENT_FLAG, urgent);
        quirks.set(Quirks::URGENT_POINTER, !urgent && [u1, u2] != [0; 2]);
        quirks.set(Quirks::PUSH_FLAG, flags & 0x08 != 0);
        let mut syn = Self {
            version,
            ttl,
            ip_options: u8::try_from(ip_options).ok()?,
            mss: 0,
            window: u16::from_be_bytes([w1, w2]),
            multiple: None,
            scale: 0,
            options: Vec::new(),
            quirks,
            payload: length > header,
        };
        let stamped = syn.read_options(options);
        syn.multiple = syn.multiple(stamped, ip_options + header);
        Some(syn)
    }

    /// Reads the options as far as they can be read; whether there is a
    /// timestamp that is not zero.
    fn read_options(&mut self, mut rest: &[u8]) -> bool {
        let mut stamped = false;
        while let [kind, after @ ..] = rest {
            match kind {
                0 => {
                    self.options.push(TcpOption::End(u8::try_from(after.len()).unwrap_or(u8::MAX)));
                    self.quirks.set(Quirks::AFTER_END, after.iter().any(|byte| *byte != 0));
                    break;
                }
                1 => {
                    self.options.push(TcpOption::Nop);
                    rest = after;
                    continue;
                }
                _ => {}
            }
            let option = match kind {
                2 => TcpOption::Mss,
                3 => TcpOption::Scale,
                4 => TcpOption::SackPermitted,
                5 => TcpOption::Sack,
                8 => TcpOption::Timestamps,
                other => TcpOption::Unknown(*other),
            };
            self.options.push(option);
            let length = after.first().map_or(0, |length| usize::from(*length));
            let Some(value) = rest.get(2..length) else {
                self.quirks.set(Quirks::BAD_OPTIONS, true);
                break;
            };
            let readable = match (option, value) {
                (TcpOption::Mss, &[high, low]) => {
                    self.mss = u16::from_be_bytes([high, low]);
                    true
                }
                (TcpOption::Scale, &[scale]) => {
                    self.scale = scale;
                    self.quirks.set(Quirks::LARGE_SCALE, scale > 14);
                    true
                }
                (TcpOption::Timestamps, &[o1, o2, o3, o4, p1, p2, p3, p4]) => {
                    stamped = [o1, o2, o3, o4] != [0; 4];
                    self.quirks.set(Quirks::ZERO_TIMESTAMP, !stamped);
                    self.quirks.set(Quirks::PEER_TIMESTAMP, [p1, p2, p3, p4] != [0; 4]);
                    true
                }
                (TcpOption::SackPermitted, []) | (TcpOption::Unknown(_), _) => true,
                (TcpOption::Sack, blocks) => (8..=32).contains(&blocks.len()),
                _ => false,
            };
            if !readable {
                self.quirks.set(Quirks::BAD_OPTIONS, true);
                break;
            }
            rest = rest.get(length..).unwrap_or_default();
        }
        stamped
    }

    /// Of what the window is a multiple. Systems choose it so; some of them
    /// count the timestamp, some take the size of another interface.
    fn multiple(&self, stamped: bool, headers: usize) -> Option<Multiple> {
        if self.window == 0 || self.mss < 100 {
            return None;
        }
        let six = self.version == Version::V6;
        let times = |size: Option<u16>| {
            size.filter(|size| *size != 0 && self.window.is_multiple_of(*size))
                .map(|size| self.window / size)
        };
        let base = if six { 40 } else { 20 };
        let all = u16::try_from(headers + base).ok();
        let segments = [
            Some(self.mss),
            stamped.then(|| self.mss - TIMESTAMP_BYTES),
            Some(1500 - IPV4_TCP_BYTES),
            Some(1500 - IPV4_TCP_BYTES - TIMESTAMP_BYTES),
            six.then_some(1500 - IPV6_TCP_BYTES),
            six.then_some(1500 - IPV6_TCP_BYTES - TIMESTAMP_BYTES),
        ];
        let packets = [
            self.mss.checked_add(IPV4_TCP_BYTES),
            all.and_then(|all| self.mss.checked_add(all)),
            self.mss.checked_add(IPV6_TCP_BYTES).filter(|_| six),
            Some(1500),
        ];
        let segments = segments.into_iter().find_map(times).map(Multiple::Mss);
        segments.or_else(|| packets.into_iter().find_map(times).map(Multiple::Mtu))
    }

    /// Hops from the sender, taking the next usual initial TTL. `None` where
    /// that is hardly right.
    #[must_use]
    pub fn distance(&self) -> Option<u8> {
        let initial: u8 = match self.ttl {
            0..=32 => 32,
            33..=64 => 64,
            65..=128 => 128,
            129.. => 255,
        };
        initial.checked_sub(self.ttl).filter(|hops| *hops <= MAX_DISTANCE)
    }

    /// The largest packet of the sender's link; unknown without a segment size.
    #[must_use]
    pub fn mtu(&self) -> Option<u32> {
        let headers = match self.version {
            Version::V4 => IPV4_TCP_BYTES,
            Version::V6 => IPV6_TCP_BYTES,
        };
        (self.mss != 0).then(|| u32::from(self.mss) + u32::from(headers))
    }
}

impl fmt::Display for Syn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = if self.version == Version::V4 { 4 } else { 6 };
        write!(f, "{version}:{}+", self.ttl)?;
        match self.distance() {
            Some(hops) => write!(f, "{hops}")?,
            None => f.write_str("?")?,
        }
        write!(f, ":{}:{}:", self.ip_options, self.mss)?;
        match self.multiple {
            Some(Multiple::Mss(times)) => write!(f, "mss*{times}")?,
            Some(Multiple::Mtu(times)) => write!(f, "mtu*{times}")?,
            None => write!(f, "{}", self.window)?,
        }
        write!(f, ",{}:", self.scale)?;
        for (index, option) in self.options.iter().enumerate() {
            let between = if index == 0 { "" } else { "," };
            write!(f, "{between}{option}")?;
        }
        write!(f, ":{}:{}", self.quirks, if self.payload { '+' } else { '0' })
    }
}
