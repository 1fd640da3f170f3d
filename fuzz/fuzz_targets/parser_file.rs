//! Any text as the file of a parser: no panic, and a mistake is one sentence of
//! bounded length.
#![no_main]

use libfuzzer_sys::fuzz_target;
use palisade_event::Timestamp;
use palisade_rules::{LineContext, LineState, LogFormat, Ruleset};

fuzz_target!(|input: (&str, &[u8])| {
    let (text, line) = input;
    let ruleset = match Ruleset::only([("own.toml", text)]) {
        Ok(ruleset) => ruleset,
        Err(mistakes) => {
            assert_eq!(mistakes.len(), 1);
            return;
        }
    };
    let now = Timestamp::from_millis(1_795_208_400_000);
    let mut state = LineState::new(LineContext { now, zone: jiff::tz::TimeZone::UTC });
    for parser in ruleset.parsers() {
        let _ = LogFormat::from(parser.clone()).parse(line, &mut state);
    }
});
