//! Any bytes as a stream of syslog messages, in any pieces: the pieces do not
//! matter, messages are bounded, and each is taken apart without a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use palisade_event::Timestamp;
use palisade_rules::{LineContext, LineState, LogFormat, SyslogFrames, received};

const MAX_BYTES: usize = 512;

fn cut(bytes: &[u8], size: usize) -> (Vec<(Vec<u8>, bool)>, bool) {
    let mut frames = SyslogFrames::new(MAX_BYTES);
    let mut out = Vec::new();
    let whole = bytes.chunks(size).try_for_each(|piece| frames.push(piece, &mut out)).is_ok();
    (out, whole)
}

fuzz_target!(|input: (u8, &[u8])| {
    let (size, bytes) = input;
    let (messages, whole) = cut(bytes, bytes.len().max(1));
    assert_eq!((&messages, whole), (&cut(bytes, usize::from(size).max(1)).0, whole));
    let now = Timestamp::from_millis(1_795_208_400_000);
    let mut state = LineState::new(LineContext { now, zone: jiff::tz::TimeZone::UTC });
    for (message, _) in messages {
        assert!(message.len() <= MAX_BYTES);
        let taken = received(&message, &mut state, now);
        let _ = LogFormat::Syslog.parse_message(&taken, &mut state);
    }
});
