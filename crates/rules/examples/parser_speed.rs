//! Lines a second through parsers: `parser_speed PARSER FILE…`, or without
//! arguments through each shipped parser on its own samples.
//!
//! Twice: what scenarios see (nothing is copied), and what becomes events.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a measurement on the command line"
)]

use std::time::{Duration, Instant};

use palisade_event::Timestamp;
use palisade_rules::{Glance, LineContext, LineState, LogFormat, Parsed, Ruleset, SHIPPED_PARSERS};

/// Lines of samples.
const LINES: usize = 300_000;

fn main() {
    let mut arguments = std::env::args().skip(1);
    println!("{:<16}{:>14}{:>14}{:>8}{:>8}", "parser", "seen/s", "events/s", "seen", "kept");
    match arguments.next() {
        Some(name) => {
            let format: LogFormat = name.parse().unwrap();
            for file in arguments {
                measure(&format, &std::fs::read(file).unwrap());
            }
        }
        None => {
            for parser in Ruleset::current().parsers() {
                let format = LogFormat::from(parser.clone());
                measure(&format, &samples(parser.name()));
            }
        }
    }
}

fn samples(name: &str) -> Vec<u8> {
    let file = format!("ruleset/parsers/{name}.toml");
    let (.., samples) = SHIPPED_PARSERS.iter().find(|(known, ..)| *known == file).unwrap();
    let lines: Vec<&str> =
        samples.lines().filter(|line| !line.starts_with("=> ") && !line.starts_with('#')).collect();
    let mut log = Vec::new();
    for line in lines.iter().cycle().take(LINES) {
        log.extend(line.bytes());
        log.push(b'\n');
    }
    log
}

fn measure(format: &LogFormat, log: &[u8]) {
    let now = Timestamp::from(std::time::SystemTime::now());
    let mut state = LineState::new(LineContext { now, zone: jiff::tz::TimeZone::UTC });
    let count = memchr::memchr_iter(b'\n', log).count();
    let mut times = [Duration::MAX; 2];
    let (mut seen, mut kept) = (0, 0);
    for _ in 0..3 {
        (seen, kept) = (0, 0);
        let begin = Instant::now();
        for line in lines(log) {
            let glance = format.glance(line, &mut state, &mut |sighting| {
                std::hint::black_box(sighting);
            });
            seen += usize::from(glance == Glance::Seen);
        }
        times[0] = times[0].min(begin.elapsed());
        let begin = Instant::now();
        for line in lines(log) {
            kept += usize::from(matches!(format.parse(line, &mut state), Parsed::Observation(_)));
        }
        times[1] = times[1].min(begin.elapsed());
    }
    let rate = |time: Duration| (count as f64 / time.as_secs_f64()) as u64;
    println!(
        "{:<16}{:>14}{:>14}{:>7}%{:>7}%",
        format.to_string(),
        rate(times[0]),
        rate(times[1]),
        seen * 100 / count.max(1),
        kept * 100 / count.max(1)
    );
}

/// Line by line.
fn lines(log: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut from = 0;
    memchr::memchr_iter(b'\n', log).map(move |end| {
        let line = log.get(from..end).unwrap_or_default();
        from = end + 1;
        line
    })
}
