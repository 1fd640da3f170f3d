//! First packets: of systems, made by hand; of a real client; of nobody sane.
//! p0f itself is asked where it is installed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "test code outside of test functions"
)]

use crate::support;

use std::fmt::Write as _;
use std::process::Command;

use palisade_event::Event;
use palisade_honeypot::fingerprint::signature::File;
use palisade_honeypot::fingerprint::{Quality, Signatures, Syn, matcher};
use palisade_honeypot::{Config, Honeypot, ProxyMode};
use proptest::prelude::*;
use support::{Zone, config, connect, number, send, text};

/// A SYN that can be changed before it becomes bytes.
#[derive(Clone, Debug)]
struct Packet {
    six: bool,
    ttl: u8,
    tos: u8,
    flags_off: u16,
    id: u16,
    flow: u32,
    seq: u32,
    ack: u32,
    flags: u8,
    urgent: u16,
    window: u16,
    options: Vec<u8>,
    payload: u16,
}

impl Packet {
    fn new(ttl: u8, window: u16, options: &[&[u8]]) -> Self {
        Self {
            six: false,
            ttl,
            tos: 0,
            flags_off: 0x4000,
            id: 0x1234,
            flow: 0,
            seq: 0x0102_0304,
            ack: 0,
            flags: 2,
            urgent: 0,
            window,
            options: options.concat(),
            payload: 0,
        }
    }

    /// Neither DF nor anything else, as raw sockets make them.
    fn plain(self) -> Self {
        Self { flags_off: 0, ..self }
    }

    fn no_id(self) -> Self {
        Self { id: 0, ..self }
    }

    fn six(self) -> Self {
        Self { six: true, flow: 0x1_2345, ..self }
    }

    fn bytes(&self, port: u16) -> Vec<u8> {
        let length = u16::try_from(20 + self.options.len()).unwrap();
        let mut bytes = Vec::new();
        if self.six {
            bytes.extend((0x6000_0000 | (u32::from(self.tos) << 20) | self.flow).to_be_bytes());
            bytes.extend((length + self.payload).to_be_bytes());
            bytes.extend([6, self.ttl]);
            bytes.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
            bytes.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
        } else {
            bytes.extend([0x45, self.tos]);
            bytes.extend((20 + length + self.payload).to_be_bytes());
            bytes.extend(self.id.to_be_bytes());
            bytes.extend(self.flags_off.to_be_bytes());
            bytes.extend([self.ttl, 6, 0, 0, 192, 0, 2, 7, 198, 51, 100, 9]);
        }
        bytes.extend(port.to_be_bytes());
        bytes.extend(23u16.to_be_bytes());
        bytes.extend(self.seq.to_be_bytes());
        bytes.extend(self.ack.to_be_bytes());
        bytes.extend([u8::try_from(length / 4).unwrap() << 4, self.flags]);
        bytes.extend(self.window.to_be_bytes());
        bytes.extend([0, 0]);
        bytes.extend(self.urgent.to_be_bytes());
        bytes.extend(&self.options);
        bytes
    }
}

const NOP: &[u8] = &[1];
const END: &[u8] = &[0];
const SOK: &[u8] = &[4, 2];
const TS: &[u8] = &[8, 10, 1, 2, 3, 4, 0, 0, 0, 0];
const MSS_1460: &[u8] = &[2, 4, 5, 0xb4];
const MSS_1452: &[u8] = &[2, 4, 5, 0xac];
const MSS_1440: &[u8] = &[2, 4, 5, 0xa0];
const MSS_1400: &[u8] = &[2, 4, 5, 0x78];

fn ws(scale: u8) -> [u8; 3] {
    [3, 3, scale]
}

/// Packet, raw signature, system, program, distance.
type Row = (Packet, &'static str, Option<&'static str>, Option<&'static str>, Option<u8>);

fn linux(window: u16, scale: u8) -> Packet {
    Packet::new(64, window, &[MSS_1460, SOK, TS, NOP, &ws(scale)])
}

fn windows(window: u16, scale: u8) -> Packet {
    Packet::new(128, window, &[MSS_1460, NOP, &ws(scale), NOP, NOP, SOK])
}

fn apple(scale: u8) -> Packet {
    Packet::new(64, 65535, &[MSS_1460, NOP, &ws(scale), NOP, NOP, TS, SOK, END, END])
}

#[rustfmt::skip]
fn stacks() -> Vec<Row> {
    let six = |packet: Packet, mss: &[u8]| {
        let mut packet = packet.six();
        packet.options[..4].copy_from_slice(mss);
        packet
    };
    let from = |packet: Packet, ttl| Packet { ttl, ..packet };
    vec![
        (linux(64240, 7), "4:64+0:0:1460:mss*44,7:mss,sok,ts,nop,ws:df,id+:0", Some("Linux 4.20 and newer"), None, Some(0)),
        (linux(64240, 10), "4:64+0:0:1460:mss*44,10:mss,sok,ts,nop,ws:df,id+:0", Some("Linux 4.20 and newer"), None, Some(0)),
        (from(linux(64240, 7), 51), "4:51+13:0:1460:mss*44,7:mss,sok,ts,nop,ws:df,id+:0", Some("Linux 4.20 and newer"), None, Some(13)),
        (six(linux(64800, 10), MSS_1440), "6:64+0:0:1440:mss*45,10:mss,sok,ts,nop,ws:flow:0", Some("Linux 4.20 and newer"), None, Some(0)),
        (Packet::new(57, 64240, &[MSS_1460, NOP, NOP, SOK, NOP, &ws(10)]), "4:57+7:0:1460:mss*44,10:mss,nop,nop,sok,nop,ws:df,id+:0", Some("Linux 4.20 and newer"), None, Some(7)),
        (linux(29200, 7), "4:64+0:0:1460:mss*20,7:mss,sok,ts,nop,ws:df,id+:0", Some("Linux 3.11 to 4.19"), None, Some(0)),
        (linux(14600, 6), "4:64+0:0:1460:mss*10,6:mss,sok,ts,nop,ws:df,id+:0", Some("Linux 2.6.39 to 3.10"), None, Some(0)),
        (linux(5840, 7), "4:64+0:0:1460:mss*4,7:mss,sok,ts,nop,ws:df,id+:0", Some("Linux 2.6 up to 2.6.38"), None, Some(0)),
        (Packet::new(50, 5808, &[MSS_1452, SOK, TS, NOP, &ws(0)]), "4:50+14:0:1452:mss*4,0:mss,sok,ts,nop,ws:df,id+:0", Some("Linux 2.4"), None, Some(14)),
        (linux(65535, 9), "4:64+0:0:1460:65535,9:mss,sok,ts,nop,ws:df,id+:0", Some("Linux (Android)"), None, Some(0)),
        (linux(12345, 3), "4:64+0:0:1460:12345,3:mss,sok,ts,nop,ws:df,id+:0", Some("Linux"), None, Some(0)),
        (Packet::new(128, 65535, &[MSS_1460, NOP, NOP, SOK]), "4:128+0:0:1460:65535,0:mss,nop,nop,sok:df,id+:0", Some("Windows XP or 2003"), None, Some(0)),
        (windows(8192, 8), "4:128+0:0:1460:8192,8:mss,nop,ws,nop,nop,sok:df,id+:0", Some("Windows Vista, 7 or 8"), None, Some(0)),
        (from(windows(64240, 8), 113), "4:113+15:0:1460:mss*44,8:mss,nop,ws,nop,nop,sok:df,id+:0", Some("Windows 10 or 11"), None, Some(15)),
        (windows(65535, 8), "4:128+0:0:1460:65535,8:mss,nop,ws,nop,nop,sok:df,id+:0", Some("Windows 10 or 11"), None, Some(0)),
        (windows(62000, 4), "4:128+0:0:1460:62000,4:mss,nop,ws,nop,nop,sok:df,id+:0", Some("Windows"), None, Some(0)),
        (apple(6).no_id(), "4:64+0:0:1460:65535,6:mss,nop,ws,nop,nop,ts,sok,eol+1:df:0", Some("macOS 10.14 and newer, or iOS"), None, Some(0)),
        (Packet { flags: 0xc2, ..apple(6).no_id() }, "4:64+0:0:1460:65535,6:mss,nop,ws,nop,nop,ts,sok,eol+1:df,ecn:0", Some("macOS 10.14 and newer, or iOS"), None, Some(0)),
        (apple(3), "4:64+0:0:1460:65535,3:mss,nop,ws,nop,nop,ts,sok,eol+1:df,id+:0", Some("Mac OS X up to 10.8"), None, Some(0)),
        (Packet::new(64, 65535, &[MSS_1460, NOP, &ws(6), SOK, TS]), "4:64+0:0:1460:65535,6:mss,nop,ws,sok,ts:df,id+:0", Some("FreeBSD 8 to 11"), None, Some(0)),
        (Packet::new(64, 65535, &[MSS_1460, NOP, &ws(6), SOK, TS]).no_id(), "4:64+0:0:1460:65535,6:mss,nop,ws,sok,ts:df:0", Some("FreeBSD 12 and newer"), None, Some(0)),
        (Packet::new(64, 16384, &[MSS_1460, NOP, NOP, SOK, NOP, &ws(3), NOP, NOP, TS]), "4:64+0:0:1460:16384,3:mss,nop,nop,sok,nop,ws,nop,nop,ts:df,id+:0", Some("OpenBSD 4.9 to 6.0"), None, Some(0)),
        (Packet::new(64, 16384, &[MSS_1460, NOP, NOP, SOK, NOP, &ws(6), NOP, NOP, TS]), "4:64+0:0:1460:16384,6:mss,nop,nop,sok,nop,ws,nop,nop,ts:df,id+:0", Some("OpenBSD 6.1 and newer"), None, Some(0)),
        (Packet::new(46, 1024, &[MSS_1460]).plain(), "4:46+18:0:1460:1024,0:mss::0", None, Some("nmap SYN scan"), None),
        (Packet::new(42, 1, &[&ws(10), NOP, MSS_1460, TS, SOK]).plain(), "4:42+22:0:1460:1,10:ws,nop,mss,ts,sok::0", None, Some("nmap OS detection"), None),
        (Packet::new(42, 63, &[MSS_1400, &ws(0), SOK, TS, END]).plain(), "4:42+22:0:1400:63,0:mss,ws,sok,ts,eol+0::0", None, Some("nmap OS detection"), None),
        (Packet::new(240, 65535, &[MSS_1460]).plain(), "4:240+15:0:1460:65535,0:mss::0", None, Some("ZMap"), Some(15)),
        (Packet::new(244, 1024, &[MSS_1460]).plain(), "4:244+11:0:1460:1024,0:mss::0", None, Some("masscan"), Some(11)),
        (Packet::new(53, 48123, &[]).plain(), "4:53+11:0:0:48123,0:::0", None, Some("Mirai-like scanner (no options)"), Some(11)),
        // Nobody's; and one whose DF and identification a router took.
        (Packet::new(60, 777, &[MSS_1460, TS, NOP, NOP]), "4:60+4:0:1460:777,0:mss,ts,nop,nop:df,id+:0", None, None, Some(4)),
        (linux(29200, 7).plain(), "4:64+0:0:1460:mss*20,7:mss,sok,ts,nop,ws::0", Some("Linux 3.11 to 4.19"), None, Some(0)),
    ]
}

#[test]
fn systems_and_tools_are_told_by_their_first_packet() {
    let signatures = Signatures::own();
    for (packet, raw, os, tool, distance) in stacks() {
        let syn = Syn::parse(&packet.bytes(1)).unwrap();
        let found = signatures.identify(&syn);
        assert_eq!(found.raw, raw);
        assert_eq!((found.os.as_deref(), found.tool.as_deref()), (os, tool), "{raw}");
        assert_eq!(found.distance, distance, "{raw}");
    }
}

#[test]
fn a_packet_says_how_large_its_link_is() {
    let of = |packet: Packet| {
        let found = Signatures::own().identify(&Syn::parse(&packet.bytes(1)).unwrap());
        (found.mtu, found.link.map(String::from))
    };
    let link = |mtu, name: &str| (Some(mtu), Some(name.to_owned()));
    // Whatever the length of the header: 28, 32, 40 and 44 bytes of TCP.
    let solitary = Packet::new(128, 65535, &[MSS_1460, NOP, NOP, SOK]);
    assert_eq!(of(solitary), link(1500, "Ethernet"));
    assert_eq!(of(windows(8192, 8)), link(1500, "Ethernet"));
    assert_eq!(of(linux(64240, 7)), link(1500, "Ethernet"));
    assert_eq!(of(apple(6)), link(1500, "Ethernet"));
    let dsl = Packet::new(64, 5808, &[MSS_1452, SOK, TS, NOP, &ws(0)]);
    assert_eq!(of(dsl), link(1492, "PPPoE (DSL)"));
    let six = Packet::new(64, 64800, &[MSS_1440, SOK, TS, NOP, &ws(7)]).six();
    assert_eq!(of(six), link(1500, "Ethernet"));
    assert_eq!(of(Packet::new(64, 1, &[])), (None, None));
    assert_eq!(of(Packet::new(64, 1, &[&[2, 4, 4, 0x1d]])), (Some(1093), None));
}

#[test]
fn generic_and_fuzzy_matches_say_so() {
    let quality =
        |packet: Packet| Signatures::own().identify(&Syn::parse(&packet.bytes(1)).unwrap()).quality;
    assert_eq!(quality(linux(29200, 7)), Some(Quality::Exact));
    assert_eq!(quality(linux(12345, 7)), Some(Quality::Generic));
    assert_eq!(quality(linux(29200, 7).plain()), Some(Quality::Fuzzy));
    assert_eq!(quality(Packet { tos: 1, ..linux(29200, 7) }), Some(Quality::Fuzzy));
    assert_eq!(quality(Packet { ttl: 200, ..linux(29200, 7) }), Some(Quality::Fuzzy));
    assert_eq!(quality(Packet { seq: 0, ..linux(29200, 7) }), None);
    // Nearly a tool's packet is not a tool's.
    assert_eq!(quality(Packet { tos: 1, ..Packet::new(244, 1024, &[MSS_1460]) }.plain()), None);
}

#[test]
fn what_is_no_first_packet_is_refused() {
    let syn = linux(64240, 7);
    let refused = |bytes: &[u8]| assert_eq!(Syn::parse(bytes), None, "{}", bytes.escape_ascii());
    for flags in [0, 0x12, 0x03, 0x06, 0x10] {
        refused(&Packet { flags, ..syn.clone() }.bytes(1));
    }
    refused(&Packet { flags_off: 7, ..syn.clone() }.bytes(1));
    let bytes = syn.bytes(1);
    (0..bytes.len()).for_each(|end| refused(&bytes[..end]));
    let six = syn.six().bytes(1);
    (0..six.len()).for_each(|end| refused(&six[..end]));
    let udp = |at: usize, mut bytes: Vec<u8>| {
        bytes[at] = 17;
        bytes
    };
    refused(&udp(9, bytes));
    refused(&udp(6, six));
}

/// What p0f prints for each source port: raw signature, and system or program.
fn p0f(packets: &[Vec<u8>]) -> Option<Vec<Option<(String, String)>>> {
    let program =
        ["/usr/sbin/p0f", "/usr/bin/p0f"].into_iter().find(|p| std::fs::exists(p).unwrap());
    let Some(program) = program else {
        println!("skipped: p0f is not installed");
        return None;
    };
    let mut file = Vec::new();
    // pcap, version 2.4, raw IP.
    file.extend(0xa1b2_c3d4_u32.to_le_bytes());
    file.extend([2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 101, 0, 0, 0]);
    for (index, packet) in packets.iter().enumerate() {
        let (at, length) = (u32::try_from(index).unwrap(), u32::try_from(packet.len()).unwrap());
        for word in [1_700_000_000 + at, 0, length, length] {
            file.extend(word.to_le_bytes());
        }
        file.extend(packet);
    }
    let path = std::env::temp_dir().join(format!("palisade-p0f-{}.pcap", std::process::id()));
    std::fs::write(&path, file).unwrap();
    let output = Command::new(program).arg("-r").arg(&path).output().unwrap();
    std::fs::remove_file(&path).unwrap();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut found = vec![None; packets.len()];
    for block in printed.split(".-[ ").skip(1) {
        let field = |name: &str| {
            block.lines().find_map(|line| {
                line.strip_prefix("| ")?
                    .split_once('=')
                    .filter(|(key, _)| key.trim() == name)
                    .map(|(_, value)| value.trim().to_owned())
            })
        };
        let port: usize = block.split(['/', ' ']).nth(1).unwrap().parse().unwrap();
        if let (Some(raw), true) = (field("raw_sig"), block.contains("(syn) ]-")) {
            found[port - 1] = Some((raw, field("os").or_else(|| field("app")).unwrap_or_default()));
        }
    }
    Some(found)
}

#[test]
fn p0f_sees_the_same() {
    let base = linux(64240, 7);
    let odd = |change: fn(&mut Packet)| {
        let mut packet = base.clone();
        change(&mut packet);
        packet
    };
    let mut packets: Vec<Packet> = stacks().into_iter().map(|row| row.0).collect();
    packets.extend([
        odd(|p| p.tos = 1),
        odd(|p| p.flags = 0xc2),
        odd(|p| p.flags = 0x2a),
        odd(|p| p.urgent = 9),
        odd(|p| p.seq = 0),
        // p0f sees this one only where the number's first byte is odd.
        odd(|p| p.ack = 0x0100_0005),
        odd(|p| p.flags_off = 0xc000),
        odd(|p| (p.flags_off, p.id) = (0, 0)),
        odd(|p| p.ttl = 200),
        odd(|p| p.ttl = 20),
        odd(|p| {
            p.options = [MSS_1460, SOK, &[8, 10, 0, 0, 0, 0, 0, 0, 0, 7], NOP, &ws(15)].concat()
        }),
        odd(|p| p.options = [MSS_1460, END, &[0, 9, 0]].concat()),
        odd(|p| p.options = [MSS_1460, &[77, 4, 1, 2]].concat()),
        odd(|p| p.options = [MSS_1460, &[5, 10, 1, 2, 3, 4, 5, 6, 7, 8], NOP, NOP].concat()),
        odd(|p| p.options = [MSS_1460, &[8, 10, 1, 1]].concat()),
        odd(|p| p.window = 3000),
        odd(|p| p.window = 2896),
    ]);
    let bytes: Vec<_> = packets.iter().zip(1u16..).map(|(p, port)| p.bytes(port)).collect();
    let Some(theirs) = p0f(&bytes) else { return };
    let debian = [File::parse(&std::fs::read_to_string("/etc/p0f/p0f.fp").unwrap())];
    let mut wrong = String::new();
    for (bytes, theirs) in bytes.iter().zip(theirs) {
        let syn = Syn::parse(bytes).unwrap();
        let found = matcher::find(&debian, &syn);
        let label = found.map_or("???", |found| &found.label.name).to_owned();
        let ours = (syn.to_string(), label);
        let theirs = theirs.unwrap_or_default();
        if ours != theirs {
            writeln!(wrong, "ours {ours:?}\np0f  {theirs:?}").unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn debians_signatures_are_read_whole() {
    let Ok(text) = std::fs::read_to_string("/etc/p0f/p0f.fp") else {
        println!("skipped: p0f is not installed");
        return;
    };
    let file = File::parse(&text);
    assert_eq!(file.mistakes, []);
    // As many as grep counts between the heads of the sections.
    let lines = |head: &str| {
        let section = text.split(&format!("\n[{head}]")).nth(1).unwrap();
        let section = section.split("\n[").next().unwrap();
        section.lines().filter(|line| line.starts_with("sig ")).count()
    };
    assert_eq!(file.signatures.len(), lines("tcp:request"));
    assert_eq!(file.links.len(), lines("mtu"));
    assert!(file.signatures.len() > 50 && file.links.len() > 5);
    // What we do not know, it tells: a system of the nineties.
    let mut signatures = Signatures::own();
    let own = signatures.count();
    assert_eq!(signatures.add(&text), []);
    assert_eq!(signatures.count(), own + file.signatures.len());
}

#[test]
fn mistakes_of_a_signature_file_are_named_by_line() {
    assert_eq!(File::parse(include_str!("../../signatures/syn.fp")).mistakes, []);
    let text = "classes = win\n[tcp:request]\nsig = 4:64:0:*:*,*:mss::0\nlabel = s:unix:A:b\n\
        sig = 4:64:0:*:*,*:mss::0\nsig = 4:0:0:*:*,*:mss::0\nsig = 4:64:0:*:%0,*:mss::0\nsig = 4:64:0:*:*,*:mss:x:0\n\
        sig = 4:64:0:*:*,*:moss::0\nsig = 1\nlabel = x\nnonsense\n[mtu]\nsig = 1500\nlabel = E\nsig = x\nsig = 7\n\
        [http:request]\nanything at all";
    let file = File::parse(text);
    let lines: Vec<usize> = file.mistakes.iter().map(|(line, _)| *line).collect();
    assert_eq!(lines, [3, 6, 7, 8, 9, 10, 11, 12, 14, 16]);
    assert_eq!((file.signatures.len(), file.links.len()), (1, 1));
}

/// The first event of the next session of a client that runs until it answers.
async fn opened(zone: &mut Zone) -> Event {
    zone.session().await.swap_remove(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_curl_is_linux_and_no_hop_away() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let mut config = config();
        config.services.iter_mut().for_each(|s| s.listen = address.parse().unwrap());
        let mut zone = Zone::start(&config).await;
        let url = format!("http://{}/", zone.http);
        let mut curl = tokio::process::Command::new("curl");
        match curl.args(["-s", "-o", "/dev/null", &url]).status().await {
            Ok(status) => assert!(status.success()),
            Err(_) => return println!("skipped: curl is not installed"),
        }
        let event = opened(&mut zone).await;
        let prints = event.fingerprints.as_deref().expect("a fingerprint");
        assert!(prints.os.as_deref().unwrap().starts_with("Linux"), "{event:?}");
        assert_eq!(prints.distance, Some(0));
        assert_eq!(prints.uptime_secs, None);
        assert_eq!(prints.link.as_deref(), Some("Loopback"));
        assert!(number(&event, "mtu") >= 65_535);
        assert_eq!(text(&event, "syn_source"), b"saved");
        let raw = String::from_utf8(text(&event, "syn_signature").to_vec()).unwrap();
        assert!(raw[1..].starts_with(":64+0:0:65"), "{raw}");
        assert_eq!(event.validate(), Ok(()));
        zone.end().await;
    }
}

#[tokio::test]
#[ignore = "run by the test below, where the kernel uses SYN cookies"]
async fn nothing_was_saved() {
    let mut zone = Zone::start(&config()).await;
    drop(connect(zone.http).await);
    let event = opened(&mut zone).await;
    assert_eq!((text(&event, "syn_source"), event.fingerprints.clone()), (&b"none"[..], None));
    assert_eq!(zone.stats.panics.get(), 0);
    zone.end().await;
}

#[test]
fn with_syn_cookies_the_source_is_none() {
    let script = "ip link set lo up && echo 2 > /proc/sys/net/ipv4/tcp_syncookies || exit 77
        exec \"$0\" --exact fingerprints::nothing_was_saved --ignored";
    let tests = std::env::current_exe().unwrap();
    let unshared = Command::new("unshare")
        .args(["--map-root-user", "--net", "sh", "-c", script])
        .arg(tests)
        .output();
    match unshared {
        Ok(output) if output.status.success() => {
            let printed = String::from_utf8_lossy(&output.stdout);
            assert!(printed.contains("1 passed"), "{printed}");
        }
        Ok(output) if output.status.code() != Some(101) => println!("skipped: {output:?}"),
        failed => panic!("{failed:?}"),
    }
}

#[tokio::test]
async fn the_packet_of_a_proxy_is_not_the_clients() {
    let mut config = config();
    config.services[1].proxy_protocol = ProxyMode::Required;
    config.services[1].trusted_proxies = vec!["127.0.0.1".parse().unwrap()];
    let mut zone = Zone::start(&config).await;
    let mut client = connect(zone.http).await;
    send(&mut client, b"PROXY TCP4 192.0.2.7 192.0.2.1 4000 80\r\n").await;
    drop(client);
    let event = opened(&mut zone).await;
    assert_eq!(text(&event, "syn_source"), b"none");
    assert_eq!(event.fingerprints, None);
    zone.end().await;
}

#[tokio::test]
async fn a_signature_file_that_is_named_must_be_there() {
    let bind = async |path: &str| {
        let config = Config { p0f_signatures: path.into(), ..config() };
        let (out, _events) = tokio::sync::mpsc::channel(8);
        let sensor = palisade_event::SensorId::new("a").unwrap();
        Honeypot::bind(&config, sensor, None, out).await.map(|zone| zone.addresses().len())
    };
    assert_eq!(bind("").await.unwrap(), 2);
    let error = bind("/nowhere/p0f.fp").await.unwrap_err().to_string();
    assert!(error.contains("p0f_signatures: cannot read '/nowhere/p0f.fp'"), "{error}");
}

proptest! {
    #[test]
    fn hostile_packets_do_no_harm(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..200),
        like in 0u8..4,
    ) {
        // Half of them are much like a SYN.
        let frame = if like == 1 { linux(1, 1).bytes(1) } else { linux(1, 1).six().bytes(1) };
        if like != 0 {
            let head = if like == 1 { 20 } else { 40 };
            let tail = bytes.split_off(bytes.len().min(2));
            bytes = frame[..head + 12].to_vec();
            bytes.extend([0xf0, 2]);
            bytes.extend(tail);
        }
        if let Some(syn) = Syn::parse(&bytes) {
            prop_assert!(syn.options.len() <= 40);
            let found = Signatures::own().identify(&syn);
            prop_assert!(found.raw.len() < 400 && found.raw.is_ascii());
            prop_assert_eq!(found.raw.split(':').count(), 8);
        }
    }

    #[test]
    fn hostile_signature_files_do_no_harm(text in "(\\[(mtu|tcp:request)\\]\n)?((sig|label) ?= ?[0-9*:,+%msut!-]{0,40}\n){0,8}\\PC{0,40}") {
        let file = File::parse(&text);
        prop_assert!(file.mistakes.len() <= 20);
    }

    #[test]
    fn a_raw_signature_is_a_signature_that_fits(window: u16, mss in 1u16..9_000, scale in 0u8..15, ttl in 33u8..=64) {
        let mut options = [MSS_1460, SOK, TS, NOP, &ws(scale)].concat();
        options[2..4].copy_from_slice(&mss.to_be_bytes());
        let packet = Packet { options, ttl, ..linux(window, scale) };
        let syn = Syn::parse(&packet.bytes(1)).unwrap();
        let text = format!("[tcp:request]\nlabel = s:unix:This:one\nsig = {syn}");
        let file = File::parse(&text);
        prop_assert_eq!(&file.mistakes, &[]);
        let files = [file];
        let found = matcher::find(&files, &syn).unwrap();
        prop_assert_eq!((found.quality, found.distance), (Quality::Exact, Some(64 - ttl)));
    }
}
