//! The log of a confined process on its way to ours. It may be in the hands of an
//! intruder: its lines are bounded in length and number, hold no control
//! characters, and always show where they come from.

use std::io::Write as _;
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, BufReader};
use tokio::time::Instant;

use crate::args::LogFormat;

/// Longest line; the rest of it is the next.
const MAX_LINE_BYTES: u64 = 8_192;
/// Most lines of [`EVERY`]; more are counted.
const MAX_LINES: u32 = 500;
const EVERY: Duration = Duration::from_secs(10);

/// Copies lines to standard error, marked with the name of `process`, until it has
/// closed its end.
pub(super) async fn copy(from: impl AsyncRead + Unpin, format: LogFormat, process: &'static str) {
    let mut from = BufReader::new(from);
    let (mut since, mut lines, mut left_out) = (Instant::now(), 0, 0u64);
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut from).take(MAX_LINE_BYTES).read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
        if since.elapsed() >= EVERY {
            (since, lines) = (Instant::now(), 0);
            report(&mut left_out, process);
        }
        lines += 1;
        if lines > MAX_LINES {
            left_out += 1;
            continue;
        }
        let text = marked(line.trim_ascii_end(), format, process);
        // Nobody to read it: nothing to do about that.
        let _ = writeln!(std::io::stderr(), "{text}");
    }
    report(&mut left_out, process);
}

fn report(left_out: &mut u64, process: &str) {
    if *left_out > 0 {
        tracing::warn!(
            lines = left_out,
            process,
            "a confined process logs too much; lines were left out"
        );
        *left_out = 0;
    }
}

/// The line with a mark of whose it is.
fn marked(line: &[u8], format: LogFormat, process: &str) -> String {
    match format {
        LogFormat::Text => {
            let text = String::from_utf8_lossy(line);
            let mut plain = format!("{process}: ");
            for c in text.chars() {
                match c.is_control() {
                    true => plain.extend(c.escape_default()),
                    false => plain.push(c),
                }
            }
            plain
        }
        LogFormat::Json => {
            let mut object = match serde_json::from_slice(line) {
                Ok(Value::Object(object)) => object,
                _ => Map::from_iter([("message".into(), json!(String::from_utf8_lossy(line)))]),
            };
            object.insert("process".into(), json!(process));
            Value::Object(object).to_string()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_shows_that_it_is_the_zones_and_cannot_move_the_cursor() {
        let line = marked(b"\x1b[2J INFO palisade: all is well\r", LogFormat::Text, "zone");
        assert_eq!(line, "zone: \\u{1b}[2J INFO palisade: all is well\\r");
        let json = marked(br#"{"level":"INFO","process":"hub"}"#, LogFormat::Json, "zone");
        assert_eq!(json, r#"{"level":"INFO","process":"zone"}"#);
        assert_eq!(
            marked(b"thread panicked\n\x07", LogFormat::Json, "zone"),
            r#"{"message":"thread panicked\n\u0007","process":"zone"}"#
        );
    }
}
