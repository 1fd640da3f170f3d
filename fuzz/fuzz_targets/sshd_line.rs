//! Any bytes as a line of an sshd log: no panic, and no made-up address.
#![no_main]

use libfuzzer_sys::fuzz_target;
use palisade_event::Timestamp;
use palisade_rules::{LineContext, Parsed, parse_sshd, parse_sshd_message};

fuzz_target!(|line: &[u8]| {
    let now = Timestamp::from_millis(1_795_208_400_000);
    let cx = LineContext { now, zone: jiff::tz::TimeZone::UTC };
    for parsed in [parse_sshd(line, &cx), parse_sshd_message(line, now, None)] {
        if let Parsed::Observation(observation) = parsed {
            assert!(observation.repeat >= 1);
            assert!(observation.source.is_none_or(|end| end.port != Some(0)));
        }
    }
});
