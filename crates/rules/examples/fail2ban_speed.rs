//! Lines a second of one filter on one log, by hand:
//!
//! ```text
//! cargo run --release -p palisade-rules --example fail2ban_speed -- CONFIG FILTER LOG
//! ```

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a tool for developers"
)]

use std::path::Path;
use std::time::Instant;

use palisade_rules::fail2ban::{
    Backend, Failures, Files, Filter, FilterDefinition, FilterOptions, Now,
};

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let mut files = Files::new();
    for folder in ["filter.d"] {
        for entry in std::fs::read_dir(Path::new(&args[0]).join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                let name = path.file_name().unwrap().to_string_lossy().into_owned();
                files
                    .insert(format!("{folder}/{name}"), std::fs::read_to_string(&path).unwrap())
                    .unwrap();
            }
        }
    }
    let text = std::fs::read_to_string(&args[2]).unwrap();
    let now =
        Now { epoch: jiff::Timestamp::now().as_second() as f64, zone: jiff::tz::TimeZone::UTC };
    let definition = FilterDefinition::read(&files, &args[1], Backend::File).unwrap();
    let mut filter = Filter::new(&definition, FilterOptions::default(), &now).unwrap();
    let mut failures = Failures::new(5, 600.0);
    let (mut found, mut bans) = (0u64, 0u64);
    let start = Instant::now();
    for line in text.lines() {
        for one in filter.line(line, &now).found {
            found += 1;
            if let (Some(id), Some(at)) = (one.id, one.at) {
                bans += u64::from(failures.add(&id, at, 1));
            }
        }
    }
    let secs = start.elapsed().as_secs_f64();
    let counts = filter.counts();
    println!(
        "{} lines, {found} failures, {bans} bans, {:.0} lines/s, {} of {} expressions backtrack, gave up {}",
        counts.lines,
        counts.lines as f64 / secs,
        filter.backtracking(),
        filter.expressions().count(),
        counts.gave_up
    );
}
