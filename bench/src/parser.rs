//! Lines a second through the parser of sshd, beside the least that any
//! reader must do: find the line ends.

use std::time::Instant;

use palisade_rules::{LineContext, Parsed, parse_sshd};

use crate::generate;
use crate::table::{number, print};

const LINES: usize = 1_000_000;

pub(crate) fn run() {
    let log = generate::auth_log(LINES);
    let context = LineContext {
        now: palisade_event::Timestamp::from(std::time::SystemTime::now()),
        zone: jiff::tz::TimeZone::UTC,
    };
    let mut rows = Vec::new();
    let begin = Instant::now();
    let ends = log.iter().filter(|byte| **byte == b'\n').count();
    rows.push(row("find line ends", ends, begin, ""));
    let begin = Instant::now();
    let (mut events, mut irrelevant, mut unknown) = (0usize, 0usize, 0usize);
    for line in log.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        match parse_sshd(line, &context) {
            Parsed::Observation(_) => events += 1,
            Parsed::Irrelevant => irrelevant += 1,
            Parsed::Unparsed => unknown += 1,
        }
    }
    let found = format!("{events} events, {irrelevant} irrelevant, {unknown} of others");
    rows.push(row("parse sshd", LINES, begin, &found));
    print("Parser, one core, auth.log of 1 M lines", &["what", "lines/s", "found"], &rows);
}

fn row(what: &str, lines: usize, begin: Instant, found: &str) -> Vec<String> {
    vec![what.to_owned(), number(lines as f64 / begin.elapsed().as_secs_f64()), found.to_owned()]
}
