//! The log samples of `fixtures/logs/FORMAT`: each `NAME.log` has lines as the
//! program writes them, `NAME.expected` one line of outcome for each.
//!
//! After a wanted change, `PALISADE_BLESS=1 cargo test -p palisade-rules`
//! rewrites the expectations; read the difference before committing it.

#![allow(clippy::unwrap_used, reason = "a test: a failure is a panic")]

use crate::support;

use std::path::PathBuf;

use palisade_rules::{LineState, LogFormat};
use support::{context, outcome};

fn check(format: &LogFormat) {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/logs"));
    let folder = folder.join(format.as_str());
    let mut logs: Vec<PathBuf> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .collect();
    logs.sort();
    let mut state = LineState::new(context());
    let mut lines = 0;
    for log in logs {
        let bytes = std::fs::read(&log).unwrap();
        let got: String = bytes
            .strip_suffix(b"\n")
            .unwrap_or(&bytes)
            .split(|b| *b == b'\n')
            .map(|line| outcome(format, line, &mut state) + "\n")
            .collect();
        let file = log.with_extension("expected");
        if std::env::var_os("PALISADE_BLESS").is_some() {
            std::fs::write(&file, &got).unwrap();
        }
        let expected = std::fs::read_to_string(&file).unwrap_or_default();
        for (number, (got, expected)) in got.lines().zip(expected.lines()).enumerate() {
            assert_eq!(got, expected, "{}:{}", log.display(), number + 1);
        }
        assert_eq!(got.lines().count(), expected.lines().count(), "{}", log.display());
        lines += got.lines().count();
    }
    assert!(lines >= 5, "the samples are missing in {}", folder.display());
}

#[test]
fn every_sample_line_has_its_expected_outcome() {
    LogFormat::BUILT_IN.iter().for_each(check);
}
