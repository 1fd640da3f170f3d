//! What protocol a client speaks, by its first bytes. A guess for the record,
//! and for the choice of a service behind a catch-all; nothing else depends on
//! it. Pure, and looks at no more than [`MAX_LOOKED_AT`] bytes.

/// Most bytes that are looked at.
pub const MAX_LOOKED_AT: usize = 1_024;

/// A test of first bytes.
type Test = fn(&[u8]) -> bool;

/// Protocols over TCP, the most certain first.
const STREAMS: &[(&str, Test)] = &[
    ("tls", |b| matches!(b, [0x16, 0x03, 0..=4, ..])),
    ("ssh", |b| b.starts_with(b"SSH-")),
    ("proxy", |b| b.starts_with(b"\r\n\r\n\0\r\nQUIT\n") || b.starts_with(b"PROXY ")),
    ("rtsp", |b| line_has(b, b" RTSP/")),
    ("sip", |b| line_has(b, b" SIP/2.0")),
    ("http-proxy", |b| is_http(b) && (b.starts_with(b"CONNECT ") || line_has(b, b" http://"))),
    ("http2", |b| b.starts_with(b"PRI * HTTP/2.0")),
    ("http", is_http),
    ("smb", |b| matches!(b, [0x00, _, _, _, 0xff | 0xfe, b'S', b'M', b'B', ..])),
    ("rdp", |b| cotp(b) && (has(b, b"mstshash=") || matches!(b.get(11..13), Some([0x01, 0x00])))),
    ("s7", |b| cotp(b) || matches!(b, [0x03, 0x00, _, _, 0x02, 0xf0, 0x80, 0x32, ..])),
    ("vnc", |b| b.starts_with(b"RFB ")),
    ("adb", |b| b.starts_with(b"CNXN\0\0\0\x01") || b.starts_with(b"CNXN\x01\0\0\x01")),
    ("bittorrent", |b| b.starts_with(b"\x13BitTorrent protocol")),
    ("jdwp", |b| b.starts_with(b"JDWP-Handshake")),
    ("java-rmi", |b| b.starts_with(b"JRMI")),
    ("java-objects", |b| b.starts_with(b"\xac\xed\0\x05")),
    ("ajp", |b| matches!(b, [0x12, 0x34, _, _, 0x02 | 0x0a, ..])),
    ("mqtt", |b| {
        matches!(b.first(), Some(0x10))
            && (has_near(b, b"\0\x04MQTT") || has_near(b, b"\0\x06MQIsdp"))
    }),
    ("amqp", |b| b.starts_with(b"AMQP")),
    ("postgresql", |b| {
        matches!(b, [0, 0, _, _, 0, 3, 0, 0, ..] | [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2e..=0x30, ..])
    }),
    ("mongodb", |b| {
        matches!(b.get(12..16), Some([0xd4 | 0xda | 0xdd | 0xdc, 0x07, 0, 0])) && length_le(b)
    }),
    ("mysql", |b| matches!(b, [_, 0, 0, 1, _, _, _, _, _, _, _, 0 | 1, ..]) && length_24(b)),
    ("mssql", |b| matches!(b, [0x12 | 0x10, 0x01, _, _, 0, 0, _, 0, ..])),
    ("oracle", |b| matches!(b, [_, _, 0, 0, 1, 0, 0, 0, 0x01, ..]) && has(b, b"(CONNECT_DATA=")),
    ("redis", |b| {
        matches!(b, [b'*', b'1'..=b'9', b'\r', b'\n', b'$', ..])
            || word(
                b,
                &[b"PING\r\n", b"INFO\r\n", b"KEYS *", b"CONFIG GET", b"CONFIG SET", b"FLUSHALL"],
            )
    }),
    ("memcached", |b| {
        let commands: [&[u8]; 7] =
            [b"stats", b"version\r\n", b"gets ", b"get ", b"set ", b"flush_all", b"verbosity "];
        commands.iter().any(|command| b.starts_with(command)) && !line_has(b, b" HTTP/")
    }),
    ("zookeeper", |b| word(b, &[b"ruok", b"envi", b"srvr", b"mntr"])),
    ("stratum", |b| {
        has(b, b"mining.subscribe")
            || has(b, b"mining.authorize")
            || b.starts_with(b"{") && has(b, b"\"method\":\"login\"")
    }),
    ("minecraft", minecraft),
    ("dns", |b| {
        matches!(b, [0, _, _, _, flags, _, 0, 1, 0, 0, ..] if flags & 0xf8 == 0) && length_16(b)
    }),
    ("rpc", |b| matches!(b, [0x80, 0, _, _, _, _, _, _, 0, 0, 0, 0, 0, 0, 0, 2, ..])),
    ("ldap", |b| {
        matches!(
            b,
            [0x30, _, 0x02, 0x01, _, 0x60 | 0x63 | 0x77, ..]
                | [0x30, 0x84, _, _, _, _, 0x02, 0x01, _, 0x60 | 0x63, ..]
        )
    }),
    ("kerberos", |b| matches!(b, [0, 0, _, _, 0x6a | 0x6c, ..])),
    ("modbus", |b| {
        matches!(b, [_, _, 0, 0, 0, 2..=250, _, 1..=127, ..])
            && usize::from(b.get(5).copied().unwrap_or(0)) + 6 >= b.len()
    }),
    ("dnp3", |b| b.starts_with(b"\x05\x64")),
    ("enip", |b| matches!(b, [0x63 | 0x65, 0, _, _, 0, 0, 0, 0, ..]) && b.len() >= 24),
    ("x11", |b| matches!(b, [b'l', 0, 11, 0, ..] | [b'B', 0, 0, 11, ..])),
    ("socks4", |b| matches!(b, [0x04, 0x01 | 0x02, _, _, _, _, _, _, ..])),
    (
        "socks5",
        |b| matches!(b, [0x05, methods @ 1..=8, rest @ ..] if rest.len() == usize::from(*methods)),
    ),
    ("telnet", |b| matches!(b, [0xff, 0xfb..=0xfe, ..])),
    ("smtp", |b| word(b, &[b"EHLO", b"HELO", b"MAIL FROM:", b"RCPT TO:", b"LHLO"])),
    ("irc", |b| word(b, &[b"NICK ", b"CAP LS", b"PASS "]) && has(b, b"USER ")),
    ("pop3", |b| word(b, &[b"APOP ", b"STLS\r\n", b"CAPA\r\n", b"UIDL"])),
    ("imap", imap),
    ("ftp", |b| {
        word(b, &[b"USER ", b"FEAT\r\n", b"SYST\r\n", b"AUTH TLS", b"PASV\r\n", b"EPSV\r\n"])
    }),
    ("finger", |b| b.starts_with(b"/W ") && b.ends_with(b"\r\n")),
    (
        "lpd",
        |b| matches!(b, [0x01..=0x05, rest @ ..] if rest.len() > 1 && rest.ends_with(b"\n") && rest.iter().all(|byte| byte.is_ascii_graphic() || *byte == b'\n')),
    ),
];

/// Protocols over UDP.
const DATAGRAMS: &[(&str, Test)] = &[
    ("sip", |b| line_has(b, b" SIP/2.0")),
    ("ssdp", |b| b.starts_with(b"M-SEARCH ") || b.starts_with(b"NOTIFY * HTTP/")),
    (
        "quic",
        |b| matches!(b, [first, 0, 0, 0, 1 | 2, ..] | [first, 0x6b, 0x33, 0x43, 0xcf, ..] if first & 0xc0 == 0xc0),
    ),
    ("dtls", |b| matches!(b, [0x14..=0x17, 0xfe, 0xff | 0xfd, ..])),
    ("stun", |b| {
        matches!(b.get(4..8), Some([0x21, 0x12, 0xa4, 0x42])) && matches!(b.first(), Some(0 | 1))
    }),
    (
        "ntp",
        |b| matches!(b, [first, ..] if (b.len() == 48 || b.len() == 8 || b.len() == 192 || b.len() == 12) && matches!(first & 0x07, 3 | 6 | 7)),
    ),
    ("dns", |b| {
        matches!(b, [_, _, flags, _, 0, 1, 0, 0, ..] if flags & 0xf8 == 0) && b.len() >= 17
    }),
    ("mdns", |b| matches!(b, [0, 0, 0, 0, 0, 1..=9, 0, 0, ..]) && has(b, b"\x05local")),
    ("netbios-ns", |b| {
        matches!(b.get(2..8), Some([_, _, 0, 1, 0, 0])) && matches!(b.get(12), Some(0x20))
    }),
    ("snmp", |b| {
        matches!(
            b,
            [0x30, _, 0x02, 0x01, 0 | 1 | 3, ..] | [0x30, 0x82, _, _, 0x02, 0x01, 0 | 1 | 3, ..]
        )
    }),
    ("cldap", |b| {
        matches!(
            b,
            [0x30, _, 0x02, 0x01, _, 0x63, ..] | [0x30, 0x84, _, _, _, _, 0x02, 0x01, _, 0x63, ..]
        )
    }),
    ("ipmi", |b| matches!(b, [0x06, 0x00, 0xff, 0x07, ..])),
    (
        "memcached",
        |b| matches!(b, [_, _, 0, 0, 0, 1, 0, 0, rest @ ..] if word(rest, &[b"stats", b"get ", b"gets ", b"set "])),
    ),
    ("coap", |b| matches!(b, [0x40..=0x48, 0x01..=0x04, _, _, ..]) && b.len() >= 4),
    ("tftp", |b| matches!(b, [0, 1 | 2, ..]) && (has(b, b"\0octet\0") || has(b, b"\0netascii\0"))),
    ("rpc", |b| matches!(b.get(4..12), Some([0, 0, 0, 0, 0, 0, 0, 2]))),
    ("ike", |b| {
        b.len() >= 28 && matches!(b.get(16..19), Some([0 | 1 | 0x21, 0x10 | 0x20, 2 | 4 | 0x22]))
    }),
    ("wireguard", |b| b.len() == 148 && b.starts_with(&[1, 0, 0, 0])),
    ("openvpn", |b| matches!(b.first(), Some(0x38)) && matches!(b.len(), 14 | 42 | 54)),
    ("bacnet", |b| matches!(b, [0x81, 0x0a | 0x0b, ..])),
    ("l2tp", |b| matches!(b, [0xc8, 0x02, ..])),
    ("bittorrent-dht", |b| b.starts_with(b"d1:") && has(b, b"1:y1:q")),
    ("dhcp", |b| matches!(b, [1, 1, 6, ..]) && b.len() >= 240),
    ("ubiquiti", |b| b == [1, 0, 0, 0]),
    ("dvr-ip", |b| b.starts_with(&[0xff, 0, 0, 0]) && b.len() >= 20),
    ("source-engine", |b| b.starts_with(b"\xff\xff\xff\xff")),
    ("chargen", |b| b.len() == 1),
];

/// Bytes that only scanners send.
const PROBES: &[(&str, Test)] = &[
    ("nmap", |b| has(b, b"/nice%20ports%2C/Tri%6Eity.txt%2ebak")),
    ("nmap", |b| has(b, b"mstshash=nmap")),
    ("nmap", |b| has(b, b"sip:nm@nm") || has(b, b"sip:nm SIP/2.0")),
    ("nmap", |b| b.starts_with(b"\x80\0\0\x28\x72\xfe\x1d\x13")),
    ("nmap", |b| b == b"\0\x1e\0\x06\x01\0\0\x01\0\0\0\0\0\0\x07version\x04bind\0\0\x10\0\x03"),
    ("nmap", |b| b == b"\x01default\n"),
    ("nmap", |b| b.starts_with(b"OPTIONS / RTSP/1.0\r\n\r\n")),
    ("nmap", |b| b.starts_with(b"TNMP\x04\0\0\0TNME\0\0\x04\0")),
    ("nmap", |b| b.starts_with(b"DmdT\0\0\0\x17")),
    ("nmap", |b| b.starts_with(b":\0\0\0/\0\0\0\x02\0\0@\x02\x0f\0\x01\0=")),
    ("zgrab", |b| has(b, b"zgrab/")),
    ("masscan", |b| has(b, b"masscan/")),
    ("shodan", |b| has(b, b"Shodan")),
    ("censys", |b| has(b, b"CensysInspect")),
];

/// What scripts of scanners call themselves.
const SCRIPTS: &[(&str, Test)] = &[
    ("nmap", |b| has(b, b"Nmap Scripting Engine") || has(b, b"Nmap-SSH")),
    ("nmap", |b| has(b, b"NmapNSE")),
    ("masscan", |b| b.starts_with(b"masscan/")),
    ("zgrab", |b| has(b, b"zgrab/")),
    ("nuclei", |b| has(b, b"Nuclei - ")),
];

/// The protocol `bytes` begin in, or `None`.
#[must_use]
pub fn protocol(bytes: &[u8]) -> Option<&'static str> {
    first(STREAMS, bytes)
}

/// The protocol of a datagram, or `None`.
#[must_use]
pub fn datagram(bytes: &[u8]) -> Option<&'static str> {
    first(DATAGRAMS, bytes)
}

/// The scanner whose script calls itself so, or `None`.
#[must_use]
pub fn script(client: &[u8]) -> Option<&'static str> {
    first(SCRIPTS, client)
}

/// The scanner that alone sends such bytes, or `None`.
#[must_use]
pub fn scanner(bytes: &[u8]) -> Option<&'static str> {
    first(PROBES, bytes)
}

fn first(table: &[(&'static str, Test)], bytes: &[u8]) -> Option<&'static str> {
    let bytes = bytes.get(..MAX_LOOKED_AT).unwrap_or(bytes);
    table.iter().find(|(_, test)| test(bytes)).map(|(name, _)| *name)
}

/// Whether the first line is `METHOD target HTTP/…`.
fn is_http(bytes: &[u8]) -> bool {
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let method = line.iter().take_while(|byte| byte.is_ascii_uppercase()).count();
    (3..=16).contains(&method)
        && line.get(method) == Some(&b' ')
        && line.windows(6).any(|part| part == b" HTTP/")
}

fn has(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// Within the first 16 bytes.
fn has_near(bytes: &[u8], part: &[u8]) -> bool {
    has(bytes.get(..16).unwrap_or(bytes), part)
}

fn line_has(bytes: &[u8], part: &[u8]) -> bool {
    has(bytes.split(|byte| *byte == b'\n').next().unwrap_or_default(), part)
}

/// Whether they begin with one of these words, in any case.
fn word(bytes: &[u8], words: &[&[u8]]) -> bool {
    words
        .iter()
        .any(|word| bytes.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word)))
}

/// A connection request of ISO 8073 in a packet of RFC 1006.
fn cotp(bytes: &[u8]) -> bool {
    matches!(bytes, [0x03, 0x00, _, _, _, 0xe0, ..])
}

fn length_le(bytes: &[u8]) -> bool {
    let length = bytes.first_chunk::<4>().map(|four| u32::from_le_bytes(*four));
    length.is_some_and(|length| (16..=48_000_000).contains(&length))
}

fn length_24(bytes: &[u8]) -> bool {
    matches!(bytes, [length, ..] if usize::from(*length) + 4 == bytes.len())
}

fn length_16(bytes: &[u8]) -> bool {
    let length = bytes.first_chunk::<2>().map(|two| usize::from(u16::from_be_bytes(*two)));
    length.is_some_and(|length| length >= 17 && length + 2 >= bytes.len())
}

/// A tag, a blank, a command of IMAP.
fn imap(bytes: &[u8]) -> bool {
    let tag = bytes.iter().take(12).take_while(|byte| byte.is_ascii_alphanumeric()).count();
    tag > 0
        && bytes.get(tag) == Some(&b' ')
        && bytes.get(tag + 1..).is_some_and(|rest| {
            word(
                rest,
                &[b"LOGIN ", b"CAPABILITY", b"AUTHENTICATE ", b"STARTTLS", b"LOGOUT", b"NOOP"],
            )
        })
}

/// A handshake: length, packet 0, version, host, port, next state.
fn minecraft(bytes: &[u8]) -> bool {
    let [length, 0, rest @ ..] = bytes else { return bytes.starts_with(b"\xfe\x01\xfa") };
    let version = rest.iter().take_while(|byte| **byte & 0x80 != 0).count() + 1;
    let host = rest.get(version).map_or(0, |length| usize::from(*length));
    let next = rest.get(version + 1 + host + 2);
    host > 0 && version <= 5 && matches!(next, Some(1 | 2)) && usize::from(*length) < bytes.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn first_bytes_name_their_protocol() {
        let samples: &[(&[u8], &str)] = &[
            (b"\x16\x03\x01\x02\x00\x01", "tls"),
            (b"SSH-2.0-Go\r\n", "ssh"),
            (b"GET / HTTP/1.1\r\nHost: a\r\n", "http"),
            (b"CONNECT a.example:443 HTTP/1.1\r\n", "http-proxy"),
            (b"GET http://a.example/ HTTP/1.1\r\n", "http-proxy"),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "http2"),
            (b"\xff\xfd\x01", "telnet"),
            (b"\x05\x01\x00", "socks5"),
            (b"\x04\x01\x00\x50\x01\x02\x03\x04\0", "socks4"),
            (b"\0\0\0\x85\xffSMBr", "smb"),
            (b"\x03\0\0\x2b\x26\xe0\0\0\0\0\0Cookie: mstshash=hello\r\n", "rdp"),
            (b"\x03\0\0\x13\x0e\xe0\0\0\0\0\0\x01\0\x08\0\x0b\0\0\0", "rdp"),
            (b"\x03\0\0\x16\x11\xe0\0\0\0\x01\0\xc0\x01\x0a\xc1\x02\x01\0\xc2\x02\x01\x02", "s7"),
            (b"RFB 003.008\n", "vnc"),
            (b"*1\r\n$4\r\nPING\r\n", "redis"),
            (b"INFO\r\n", "redis"),
            (b"\x20\0\0\x01\x85\xa6\xff\x01\0\0\0\x01\x21\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", "mysql"),
            (b"\0\0\0\x08\x04\xd2\x16\x2f", "postgresql"),
            (b"\0\0\0\x28\0\x03\0\0user\0postgres\0", "postgresql"),
            (b"\x3a\0\0\0\x01\0\0\0\0\0\0\0\xd4\x07\0\0\0\0\0\0admin.$cmd\0", "mongodb"),
            (b"CNXN\0\0\0\x01\0\x10\0\0", "adb"),
            (b"OPTIONS sip:100@1.2.3.4 SIP/2.0\r\n", "sip"),
            (b"OPTIONS / RTSP/1.0\r\n", "rtsp"),
            (b"DESCRIBE rtsp://1.2.3.4/ RTSP/1.0\r\n", "rtsp"),
            (b"\x10\x0f\0\x04MQTT\x04\x02\0\x3c\0\x01a", "mqtt"),
            (b"EHLO a\r\n", "smtp"),
            (b"USER anonymous\r\n", "ftp"),
            (b"a001 LOGIN a b\r\n", "imap"),
            (b"CAPA\r\n", "pop3"),
            (b"\x30\x0c\x02\x01\x01\x60\x07\x02\x01\x03\x04\0\x80\0", "ldap"),
            (b"\0\x1e\0\x06\x01\0\0\x01\0\0\0\0\0\0\x07version\x04bind\0\0\x10\0\x03", "dns"),
            (b"stats\r\n", "memcached"),
            (b"l\0\x0b\0\0\0\0\0\0\0\0\0", "x11"),
            (b"\0\x01\0\0\0\x05\x01\x2b\x0e\x01\0", "modbus"),
            (b"\x13BitTorrent protocol\0\0", "bittorrent"),
            (b"\x0f\0\x2f\x09127.0.0.1\x63\xdd\x01", "minecraft"),
            (b"{\"id\":1,\"method\":\"mining.subscribe\"}\n", "stratum"),
            (b"JDWP-Handshake", "jdwp"),
            (b"JRMI\0\x02K", "java-rmi"),
            (b"NICK a\r\nUSER a 0 * :a\r\n", "irc"),
            (b"ruok", "zookeeper"),
            (b"\x80\0\0\x28\x72\xfe\x1d\x13\0\0\0\0\0\0\0\x02\0\x01\x86\xa0", "rpc"),
            (b"\x12\x01\0\x2f\0\0\x01\0\0\0\x1a", "mssql"),
            (b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\n", "proxy"),
        ];
        for (bytes, name) in samples {
            assert_eq!(protocol(bytes), Some(*name), "{}", bytes.escape_ascii());
        }
        let names: std::collections::HashSet<&str> =
            samples.iter().map(|(_, name)| *name).collect();
        assert!(names.len() >= 25, "{}", names.len());
        for none in [
            &b""[..],
            b"root\r\n",
            b"GET me out\r\n",
            b"get / HTTP/1.1\r\n",
            b"\r\n\r\n",
            b"\0",
            b"hello\n",
        ] {
            assert_eq!(protocol(none), None, "{}", none.escape_ascii());
        }
    }

    #[test]
    fn datagrams_name_their_protocol() {
        let dns = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x07example\x03com\0\0\x01\0\x01";
        let ntp = [&[0x1b][..], &[0; 47]].concat();
        let samples: &[(&[u8], &str)] = &[
            (dns, "dns"),
            (&ntp, "ntp"),
            (b"\x17\0\x03\x2a\0\0\0\0", "ntp"),
            (b"M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\n", "ssdp"),
            (b"OPTIONS sip:100@1.2.3.4 SIP/2.0\r\n", "sip"),
            (b"\x30\x26\x02\x01\x01\x04\x06public\xa0\x19", "snmp"),
            (b"\x06\0\xff\x07\0\0\0\0\0\0\0\0\0\x09\x20\x18\xc8\x81\0\x38\x8e\x04\xb5", "ipmi"),
            (b"\0\0\0\0\0\x01\0\0stats\r\n", "memcached"),
            (b"\0\x01boot\0octet\0", "tftp"),
            (b"\xc3\0\0\0\x01\x08abcdefgh\0", "quic"),
            (b"\0\x01\0\0\x21\x12\xa4\x42aaaaaaaaaaaa", "stun"),
            (b"\x40\x01\x7d\x70\xbb.well-known\x04core", "coap"),
            (b"d1:ad2:id20:aaaaaaaaaaaaaaaaaaaae1:q4:ping1:t2:aa1:y1:qe", "bittorrent-dht"),
        ];
        for (bytes, name) in samples {
            assert_eq!(datagram(bytes), Some(*name), "{}", bytes.escape_ascii());
        }
        assert_eq!(datagram(b""), None);
    }

    #[test]
    fn scanners_are_named_by_bytes_of_their_own() {
        assert_eq!(
            scanner(b"GET /nice%20ports%2C/Tri%6Eity.txt%2ebak HTTP/1.0\r\n\r\n"),
            Some("nmap")
        );
        assert_eq!(
            scanner(b"GET / HTTP/1.1\r\nUser-Agent: Mozilla/5.0 zgrab/0.x\r\n"),
            Some("zgrab")
        );
        assert_eq!(scanner(b"GET / HTTP/1.1\r\n"), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_looked_at(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = (protocol(&bytes), datagram(&bytes), scanner(&bytes));
        }
    }
}
