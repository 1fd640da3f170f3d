//! Any bytes as a captured packet, and as packets of many sources: no panic, and
//! what is told of them is bounded.
#![no_main]

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use palisade_honeypot::ScansConfig;
use palisade_honeypot::scan::packet::{Kind, Probe};
use palisade_honeypot::scan::table::{How, Table, Touch};

fuzz_target!(|bytes: &[u8]| {
    if let Some(probe) = Probe::parse(bytes) {
        assert!(!probe.mirai || probe.kind == Kind::Syn);
    }
    let (mut table, now) = (Table::new(ScansConfig::default(), [22, 80]), Instant::now());
    let mut touches = 0;
    for part in bytes.chunks_exact(4) {
        let [who, high, low, _] = part else { return };
        let how = [How::Syn, How::Connect, How::Datagram, How::Null, How::Version];
        let how = how[usize::from(part[3]) % how.len()];
        let touch = Touch {
            source: IpAddr::V4(Ipv4Addr::new(192, 0, 2, *who)),
            target: IpAddr::V4(Ipv4Addr::new(198, 51, 100, *high)),
            port: Some(u16::from_be_bytes([*high, *low])),
            how,
            tool: None,
        };
        table.touch(&touch, now + Duration::from_secs(touches));
        touches += 1;
    }
    loop {
        let told = table.rest(now + Duration::from_secs(touches));
        if told.is_empty() {
            break;
        }
        for scan in told {
            assert!(scan.ports.len() <= 1_024 && u64::from(scan.port_count) <= touches);
        }
    }
});
