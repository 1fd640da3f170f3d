//! How fast a log goes through parser, scenarios, counting and decisions:
//! `detect_speed auth.log [PARSER]`. One thread, one buffer.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a tool for developers")]

use std::io::Read as _;
use std::time::Instant;

use palisade_rules::scenario::shipped_scenarios;
use palisade_rules::{
    Allowlist, Detector, Engine, EngineOptions, LineContext, LineReader, LogFormat, Policy,
    PolicyConfig,
};

const CHUNK_BYTES: usize = 1024 * 1024;

fn main() {
    let path = std::env::args().nth(1).unwrap_or_else(|| "auth.log".to_owned());
    let begin = Instant::now();
    let format: LogFormat =
        std::env::args().nth(2).map_or(LogFormat::Sshd, |name| name.parse().unwrap());
    println!("start: {:.2} ms", begin.elapsed().as_secs_f64() * 1e3);
    let now = "2026-11-20T00:00:00Z".parse().unwrap();
    for stage in ["split", "parse", "match", "detect"] {
        let mut file = std::fs::File::open(&path).unwrap();
        let cx = LineContext { now, zone: jiff::tz::TimeZone::UTC };
        let mut reader = LineReader::new(format.clone(), cx);
        let engine = Engine::new(shipped_scenarios().unwrap(), EngineOptions::default()).unwrap();
        let matcher = engine.matcher();
        let mut detector =
            Detector::new(engine, Allowlist::default(), Policy::new(PolicyConfig::default()));
        let (mut lines, mut sightings, mut hits, mut alerts, mut decided) =
            (0u64, 0u64, 0u64, 0, 0);
        let begin = Instant::now();
        let mut buffer = Vec::with_capacity(2 * CHUNK_BYTES);
        loop {
            let read = file.by_ref().take(CHUNK_BYTES as u64).read_to_end(&mut buffer).unwrap();
            let end = memchr::memrchr(b'\n', &buffer).map_or(buffer.len(), |end| end + 1);
            let mut from = 0;
            for to in memchr::memchr_iter(b'\n', buffer.get(..end).unwrap()) {
                let line = buffer.get(from..to).unwrap();
                from = to + 1;
                lines += 1;
                if stage == "split" {
                    continue;
                }
                reader.look(line, |sighting| {
                    sightings += 1;
                    if stage == "parse" {
                        return;
                    }
                    if stage == "match" {
                        hits += u64::from(matcher.look(sighting).is_some());
                        return;
                    }
                    for finding in detector.see(sighting, None) {
                        alerts += 1;
                        decided += u64::from(matches!(
                            finding.verdict,
                            palisade_rules::Verdict::Decided(_)
                        ));
                    }
                });
            }
            buffer.drain(..end);
            if read == 0 {
                break;
            }
        }
        let secs = begin.elapsed().as_secs_f64();
        let stats = detector.engine().stats();
        println!(
            "{stage}: {:.2} M lines/s, {:.0} ns a line; {sightings} sightings, {hits} hits, {alerts} alerts, {decided} decisions, {} tracked, {} kB",
            lines as f64 / secs / 1e6,
            secs * 1e9 / lines as f64,
            stats.tracked,
            stats.bytes / 1024
        );
    }
}
