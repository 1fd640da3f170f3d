//! Recordings of terminals: any output survives being written down and read
//! back, any line is read or left out, and what is shown of it is harmless.
#![no_main]

use libfuzzer_sys::fuzz_target;
use palisade_event::asciicast::{Encoder, parse_line, to_bytes};
use palisade_event::terminal::Filter;

fuzz_target!(|bytes: &[u8]| {
    let mut encoder = Encoder::default();
    let mut lines = String::new();
    for (number, piece) in bytes.chunks(7).enumerate() {
        encoder.output(number as u64 * 3, piece);
        if number % 5 == 4 {
            lines.push_str(&encoder.take(false));
        }
    }
    lines.push_str(&encoder.take(true));
    let (mut filter, mut shown, mut back) = (Filter::default(), String::new(), Vec::new());
    for line in lines.lines() {
        let line = parse_line(line).expect("what was written is read");
        back.extend(to_bytes(&line.text));
        filter.push(&line.text, &mut shown);
    }
    assert_eq!(back, bytes);
    let allowed = |c: char| !c.is_control() || matches!(c, '\u{8}' | '\t' | '\n' | '\r' | '\u{1b}');
    assert!(shown.chars().all(allowed));
    for (at, _) in shown.match_indices('\u{1b}') {
        let rest = &shown[at + 1..];
        match rest.chars().next() {
            Some('7' | '8' | 'D' | 'E' | 'M') => {}
            Some('[') => {
                let last = rest[1..].chars().find(|c| !c.is_ascii_digit() && !";:".contains(*c));
                let last = last.expect("sequences are whole");
                assert!("@ABCDEFGHIJKLMPSTXZ`adefmsu".contains(last), "{last}");
            }
            other => panic!("{other:?} after ESC"),
        }
    }
    // Filtering what is filtered changes nothing.
    let (mut again, mut twice) = (Filter::default(), String::new());
    again.push(&shown, &mut twice);
    assert_eq!(twice, shown);
    if let Ok(text) = std::str::from_utf8(bytes) {
        for line in text.lines() {
            let _ = parse_line(line);
        }
    }
});
