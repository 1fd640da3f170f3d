//! Any bytes as a line of any shipped parser: no panic, every event keeps the
//! limits of events, and reading again says the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use palisade_event::{SensorId, Timestamp};
use palisade_rules::{Glance, LineContext, LineState, LogFormat, LogReader, ReadLine, Ruleset};

fuzz_target!(|input: (u8, &[u8])| {
    let (which, line) = input;
    let ruleset = Ruleset::current();
    let count = ruleset.parsers().count();
    let Some(parser) = ruleset.parsers().nth(usize::from(which) % count) else { return };
    let format = LogFormat::from(parser.clone());
    let now = Timestamp::from_millis(1_795_208_400_000);
    let cx = LineContext { now, zone: jiff::tz::TimeZone::UTC };
    let mut state = LineState::new(cx.clone());
    let mut seen = 0;
    let glance = format.glance(line, &mut state, &mut |_| seen += 1);
    assert_eq!(glance == Glance::Seen, seen == 1);
    let Ok(sensor) = SensorId::new("fuzz") else { return };
    let read = || LogReader::new(format.clone(), sensor.clone(), cx.clone()).read(line);
    let ReadLine::Events(events) = read() else { return };
    assert_eq!(glance, Glance::Seen);
    for event in &events {
        assert_eq!(event.validate(), Ok(()), "{event:?}");
    }
    assert_eq!(read(), ReadLine::Events(events));
});
