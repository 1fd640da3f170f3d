//! Any bytes as a line of any log format: no panic, no made-up port, and every
//! event keeps the limits of events and its id.
#![no_main]

use libfuzzer_sys::fuzz_target;
use palisade_event::{SensorId, Timestamp};
use palisade_rules::{LineContext, LogFormat, LogReader, ReadLine};

fuzz_target!(|input: (u8, &[u8])| {
    let (format, line) = input;
    let format = LogFormat::BUILT_IN[usize::from(format) % LogFormat::BUILT_IN.len()].clone();
    let now = Timestamp::from_millis(1_795_208_400_000);
    let cx = LineContext { now, zone: jiff::tz::TimeZone::UTC };
    let Ok(sensor) = SensorId::new("fuzz") else { return };
    let read = || LogReader::new(format.clone(), sensor.clone(), cx.clone()).read(line);
    let ReadLine::Events(events) = read() else { return };
    assert!(!events.is_empty());
    for event in &events {
        assert!(event.source.is_none_or(|end| end.port != Some(0)));
        assert_eq!(event.validate(), Ok(()), "{event:?}");
    }
    assert_eq!(read(), ReadLine::Events(events));
});
