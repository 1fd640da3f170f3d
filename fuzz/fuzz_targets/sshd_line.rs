//! Any bytes as a line of an sshd log: no panic, no made-up address, and the
//! short way to a sighting says what the long one says.
#![no_main]

use libfuzzer_sys::fuzz_target;
use palisade_event::Timestamp;
use palisade_rules::{
    LineContext, Parsed, Sight, Sighting, SyslogClock, parse_sshd, parse_sshd_message, sight_sshd,
};

fuzz_target!(|line: &[u8]| {
    let now = Timestamp::from_millis(1_795_208_400_000);
    let cx = LineContext { now, zone: jiff::tz::TimeZone::UTC };
    let parsed = parse_sshd(line, &cx);
    let mut clock = SyslogClock::new(cx);
    // Twice: the second time its minute is known.
    for _ in 0..2 {
        let mut seen = None;
        let mut see = |one: &Sighting<'_>| seen = Some((one.kind, one.at, one.source, one.repeat));
        let sight = sight_sshd(line, &mut clock, &mut see);
        match (sight, &parsed) {
            (Sight::Seen, Parsed::Observation(long)) => {
                let source = long.source.map(|end| end.address);
                assert_eq!(seen, Some((long.kind, long.observed_at, source, long.repeat)));
            }
            (Sight::Irrelevant | Sight::Foreign, Parsed::Irrelevant) => {}
            (Sight::Unparsed, Parsed::Unparsed) => {}
            (short, long) => panic!("{short:?} is not {long:?}"),
        }
    }
    for parsed in [parsed, parse_sshd_message(line, now, None, None)] {
        if let Parsed::Observation(observation) = parsed {
            assert!(observation.repeat >= 1);
            assert!(observation.source.is_none_or(|end| end.port != Some(0)));
        }
    }
});
