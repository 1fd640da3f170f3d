//! Lines a second through the parser of sshd, beside the least that any
//! reader must do (find the line ends) and, where it is installed, beside
//! fail2ban's own matcher on the same log.

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
            Parsed::Several(observations) => events += observations.len(),
            Parsed::Irrelevant => irrelevant += 1,
            Parsed::Unparsed => unknown += 1,
        }
    }
    let found = format!("{events} events, {irrelevant} irrelevant, {unknown} of others");
    rows.push(row("parse sshd", LINES, begin, &found));
    if let Some(row) = fail2ban(&log) {
        rows.push(row);
    }
    print("Parser, one core, auth.log of 1 M lines", &["what", "lines/s", "found"], &rows);
}

/// `fail2ban-regex` with its stock filter on the first lines of the log; its
/// start is subtracted by a run on one line.
fn fail2ban(log: &[u8]) -> Option<Vec<String>> {
    const SAMPLE: usize = 50_000;
    let path = std::env::temp_dir().join(format!("palisade-bench-{}.log", std::process::id()));
    let time = |lines: usize| -> Option<f64> {
        let end = log.iter().enumerate().filter(|(_, byte)| **byte == b'\n').nth(lines - 1)?.0;
        std::fs::write(&path, log.get(..=end)?).ok()?;
        let begin = Instant::now();
        let output = std::process::Command::new("fail2ban-regex")
            .args(["--no-check-all", "--usedns", "no"])
            .arg(&path)
            .arg("sshd")
            .output()
            .ok()?;
        output.status.success().then(|| begin.elapsed().as_secs_f64())
    };
    let seconds = time(1).zip(time(SAMPLE)).map(|(start, all)| all - start);
    let _ = std::fs::remove_file(&path);
    let rate = number(SAMPLE as f64 / seconds?);
    Some(vec!["fail2ban-regex, stock sshd".to_owned(), rate, format!("first {SAMPLE} lines")])
}

fn row(what: &str, lines: usize, begin: Instant, found: &str) -> Vec<String> {
    vec![what.to_owned(), number(lines as f64 / begin.elapsed().as_secs_f64()), found.to_owned()]
}
