//! Lines a second through every parser, one core: what scenarios see (a glance,
//! nothing copied), and what becomes of lines that are all made into events.
//!
//! The lines of each parser are its own samples, so they are what it exists for:
//! in a real log most lines are of other programs and cost less. The mixed log
//! has every program's lines in one file, and lines of programs nobody reads.

use std::time::Instant;

use palisade_rules::{Glance, LineContext, LineState, LogFormat, Ruleset, SHIPPED_PARSERS};

use crate::generate;
use crate::table::{number, print};

/// Lines of one parser's log.
const LINES: usize = 500_000;
/// Lines of the access log and of the mixed log.
const LARGE: usize = 2_000_000;

pub(crate) fn run() {
    let mut rows = Vec::new();
    let access = generate::access_log(LARGE);
    for name in ["nginx", "wordpress"] {
        rows.push(row(&format!("{name}, generated access log"), name, &access));
    }
    let mut mixed = Vec::new();
    // Writing into memory does not fail.
    if generate::mixed_log(LARGE, &mut mixed).is_ok() {
        rows.push(row("all by program, generated mixed log", "syslog", &mixed));
    }
    for parser in Ruleset::current().parsers() {
        let name = parser.name();
        rows.push(row(&format!("{name}, its samples"), name, &samples(name)));
    }
    let columns = ["what", "lines/s seen", "lines/s to events", "seen", "kept"];
    print("Parsers, one core", &columns, &rows);
}

/// The samples of a parser, again and again.
fn samples(name: &str) -> Vec<u8> {
    let file = format!("ruleset/parsers/{name}.toml");
    let Some((.., samples)) = SHIPPED_PARSERS.iter().find(|(known, ..)| *known == file) else {
        return Vec::new();
    };
    let lines: Vec<&str> =
        samples.lines().filter(|line| !line.starts_with("=> ") && !line.starts_with('#')).collect();
    let mut log = Vec::new();
    for line in lines.iter().cycle().take(LINES) {
        log.extend(line.bytes());
        log.push(b'\n');
    }
    log
}

fn row(what: &str, name: &str, log: &[u8]) -> Vec<String> {
    let Ok(format) = name.parse::<LogFormat>() else { return vec![what.to_owned()] };
    let now = palisade_event::Timestamp::from(std::time::SystemTime::now());
    let mut state = LineState::new(LineContext { now, zone: jiff::tz::TimeZone::UTC });
    let lines = || log.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let count = lines().count();
    let begin = Instant::now();
    let mut seen = 0usize;
    for line in lines() {
        let glance = format.glance(line, &mut state, &mut |sighting| {
            std::hint::black_box(sighting);
        });
        seen += usize::from(glance == Glance::Seen);
    }
    let glanced = begin.elapsed();
    let begin = Instant::now();
    let mut kept = 0usize;
    for line in lines() {
        let parsed = format.parse(line, &mut state);
        kept += usize::from(matches!(parsed, palisade_rules::Parsed::Observation(_)));
    }
    let parsed = begin.elapsed();
    let rate = |time: std::time::Duration| number(count as f64 / time.as_secs_f64());
    let share = |part: usize| format!("{} %", part * 100 / count.max(1));
    vec![what.to_owned(), rate(glanced), rate(parsed), share(seen), share(kept)]
}
