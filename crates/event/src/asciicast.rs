//! Recordings of terminals, as lines of [asciicast v2][v2]: written where a
//! session is observed, read where it is shown.
//!
//! A line is `[seconds, code, text]`. Text in JSON is Unicode, what goes over a
//! terminal is bytes: a byte that is no UTF-8 stands in a recording as a
//! character of U+EF80 to U+EFFF, `0x80` as the first of them. Those characters
//! themselves stand there byte by byte, so that nothing is ambiguous and
//! [`to_bytes`] gives back what came.
//!
//! [v2]: https://docs.asciinema.org/manual/asciicast/v2/

use std::borrow::Cow;
use std::fmt::Write as _;

/// What lies this close together in time is one line, in milliseconds: keys of
/// a paste, the echo of each.
const TOGETHER_MS: u64 = 1;
/// Most bytes that are kept for one line. As JSON they take six times as many at
/// most.
const MAX_OPEN_BYTES: usize = 4 * 1024;
/// Latest time of a line that is read, in milliseconds: a month.
const MAX_AT_MS: f64 = 31.0 * 86_400_000.0;
/// Longest line that is read, in bytes.
pub const MAX_LINE_BYTES: usize = 64 * 1024;

/// Characters that stand for bytes: of 0x80, and of 0xff.
const FIRST_RAW: u32 = 0xef80;
const LAST_RAW: u32 = 0xefff;

/// What a line tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// What the terminal was sent.
    Output,
    /// What was typed.
    Input,
    /// A point of interest, here a command that the terminal does not show.
    Marker,
    /// Its size from now on, as `80x24`.
    Resize,
}

impl Code {
    /// Its letter.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Output => "o",
            Self::Input => "i",
            Self::Marker => "m",
            Self::Resize => "r",
        }
    }

    fn parse(letter: &str) -> Option<Self> {
        [Self::Output, Self::Input, Self::Marker, Self::Resize]
            .into_iter()
            .find(|code| code.as_str() == letter)
    }
}

/// One line, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Milliseconds after the recording's beginning.
    pub at_ms: u64,
    /// What it tells.
    pub code: Code,
    /// The text; see [`to_bytes`].
    pub text: String,
}

/// Reads a line; `None` where it is none, or tells something unknown.
#[must_use]
pub fn parse_line(line: &str) -> Option<Line> {
    if line.len() > MAX_LINE_BYTES {
        return None;
    }
    let (seconds, letter, text): (f64, Cow<'_, str>, String) = serde_json::from_str(line).ok()?;
    let at_ms = (seconds * 1_000.0).round();
    if !(0.0..=MAX_AT_MS).contains(&at_ms) {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked above")]
    let at_ms = at_ms as u64;
    Some(Line { at_ms, code: Code::parse(&letter)?, text })
}

/// The size in the text of a resize: columns and rows.
#[must_use]
pub fn parse_size(text: &str) -> Option<(u16, u16)> {
    let (columns, rows) = text.split_once('x')?;
    Some(clamp_size(columns.parse().ok()?, rows.parse().ok()?))
}

/// A terminal's size as it is recorded: what clients say may be nonsense.
#[must_use]
pub fn clamp_size(columns: u32, rows: u32) -> (u16, u16) {
    let size = |asked: u32, default, most| match u16::try_from(asked) {
        Ok(0) => default,
        Ok(size) if size <= most => size,
        _ => most,
    };
    (size(columns, 80, 500), size(rows, 24, 200))
}

/// The first line of a recording.
#[must_use]
pub fn header(size: (u16, u16), started_secs: i64, title: &str, term: Option<&str>) -> String {
    let (width, height) = size;
    let title = serde_json::Value::from(title);
    // In the order of the format's description.
    let mut header = format!(
        "{{\"version\":2,\"width\":{width},\"height\":{height},\"timestamp\":{started_secs},\"title\":{title}"
    );
    if let Some(term) = term {
        // To a string nothing fails.
        let _ = write!(header, ",\"env\":{{\"TERM\":{}}}", serde_json::Value::from(term));
    }
    header.push('}');
    header
}

/// The bytes that the text of a line stands for.
#[must_use]
pub fn to_bytes(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    for c in text.chars() {
        match u32::from(c) {
            raw @ FIRST_RAW..=LAST_RAW => bytes.extend(u8::try_from(raw - FIRST_RAW + 0x80)),
            _ => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    bytes
}

/// Whether a character stands for a byte that is no UTF-8.
#[must_use]
pub fn is_raw(c: char) -> bool {
    (FIRST_RAW..=LAST_RAW).contains(&u32::from(c))
}

/// The text of bytes, and how many at their end are the beginning of a
/// character that is not all there yet.
fn to_text(bytes: &[u8]) -> (String, usize) {
    let mut text = String::with_capacity(bytes.len());
    let raw = |text: &mut String, bytes: &[u8]| {
        let of = |byte: u8| char::from_u32(FIRST_RAW + u32::from(byte.saturating_sub(0x80)));
        text.extend(bytes.iter().filter_map(|byte| of(*byte)));
    };
    let mut chunks = bytes.utf8_chunks().peekable();
    while let Some(chunk) = chunks.next() {
        for c in chunk.valid().chars() {
            if is_raw(c) {
                raw(&mut text, c.encode_utf8(&mut [0; 4]).as_bytes());
            } else {
                text.push(c);
            }
        }
        let unfinished = chunks.peek().is_none()
            && std::str::from_utf8(chunk.invalid()).is_err_and(|error| error.error_len().is_none());
        if unfinished {
            return (text, chunk.invalid().len());
        }
        raw(&mut text, chunk.invalid());
    }
    (text, 0)
}

/// Writes lines. Takes bytes as they come and puts together what belongs
/// together: characters that come in pieces, and what was typed or shown within
/// a millisecond; then what was typed stands before what was shown.
#[derive(Debug, Default)]
pub struct Encoder {
    at_ms: u64,
    input: Vec<u8>,
    output: Vec<u8>,
    lines: String,
}

impl Encoder {
    /// What the terminal was sent, `at_ms` after the beginning.
    pub fn output(&mut self, at_ms: u64, bytes: &[u8]) {
        for bytes in bytes.chunks(MAX_OPEN_BYTES) {
            self.make_room(at_ms, self.output.len() + bytes.len());
            self.output.extend_from_slice(bytes);
        }
    }

    /// What was typed.
    pub fn input(&mut self, at_ms: u64, bytes: &[u8]) {
        for bytes in bytes.chunks(MAX_OPEN_BYTES) {
            self.make_room(at_ms, self.input.len() + bytes.len());
            self.input.extend_from_slice(bytes);
        }
    }

    /// A point of interest.
    pub fn marker(&mut self, at_ms: u64, label: &[u8]) {
        self.close(false);
        self.at_ms = at_ms;
        let label = label.get(..MAX_OPEN_BYTES).unwrap_or(label);
        let (mut text, cut) = to_text(label);
        if cut > 0 {
            text.push(char::REPLACEMENT_CHARACTER);
        }
        self.line(at_ms, Code::Marker, &text);
    }

    /// The terminal has another size.
    pub fn resize(&mut self, at_ms: u64, (columns, rows): (u16, u16)) {
        self.close(false);
        self.at_ms = at_ms;
        self.line(at_ms, Code::Resize, &format!("{columns}x{rows}"));
    }

    /// Bytes of the lines that are there, without what is still being put together.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether nothing was recorded since the last [`Self::take`].
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.input.is_empty() && self.output.is_empty()
    }

    /// The lines, each ending in LF. With `last` also what is the beginning of a
    /// character; else that waits for its end.
    pub fn take(&mut self, last: bool) -> String {
        self.close(last);
        std::mem::take(&mut self.lines)
    }

    fn make_room(&mut self, at_ms: u64, bytes: usize) {
        let empty = self.input.is_empty() && self.output.is_empty();
        if at_ms > self.at_ms + TOGETHER_MS || bytes > MAX_OPEN_BYTES {
            self.close(false);
            self.at_ms = at_ms;
        } else if empty {
            self.at_ms = at_ms;
        }
    }

    fn close(&mut self, last: bool) {
        for code in [Code::Input, Code::Output] {
            let bytes = if code == Code::Input { &mut self.input } else { &mut self.output };
            if bytes.is_empty() {
                continue;
            }
            let bytes = std::mem::take(bytes);
            let (mut text, unfinished) = to_text(&bytes);
            let rest = bytes.get(bytes.len() - unfinished..).unwrap_or_default();
            if last {
                text.extend(rest.iter().filter_map(|byte| {
                    char::from_u32(FIRST_RAW + u32::from(byte.saturating_sub(0x80)))
                }));
            } else if code == Code::Input {
                self.input = rest.to_vec();
            } else {
                self.output = rest.to_vec();
            }
            if !text.is_empty() {
                self.line(self.at_ms, code, &text);
            }
        }
    }

    fn line(&mut self, at_ms: u64, code: Code, text: &str) {
        let json = serde_json::Value::from(text);
        // To a string nothing fails.
        let _ = writeln!(
            self.lines,
            "[{}.{:03},\"{}\",{json}]",
            at_ms / 1_000,
            at_ms % 1_000,
            code.as_str()
        );
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(lines: &str) -> Vec<(u64, &'static str, String)> {
        let all: Vec<Line> = lines.lines().map(|line| parse_line(line).unwrap()).collect();
        all.into_iter().map(|line| (line.at_ms, line.code.as_str(), line.text)).collect()
    }

    #[test]
    fn keys_of_a_paste_and_their_echo_are_two_lines() {
        let mut encoder = Encoder::default();
        assert!(encoder.is_empty());
        for byte in b"ls\r" {
            encoder.input(1_000, &[*byte]);
            encoder.output(1_001, &[*byte]);
        }
        encoder.output(1_200, b"\x1b[31ma\"b\r\n");
        encoder.resize(1_201, (100, 30));
        encoder.marker(2_000, b"uname -a");
        let lines = encoder.take(true);
        assert_eq!(lines.lines().next(), Some(r#"[1.000,"i","ls\r"]"#));
        assert_eq!(lines.lines().nth(2), Some(r#"[1.200,"o","\u001b[31ma\"b\r\n"]"#));
        let codes: Vec<&str> = read(&lines).iter().map(|line| line.1).collect();
        assert_eq!(codes, ["i", "o", "o", "r", "m"]);
        assert!(encoder.is_empty() && encoder.take(true).is_empty());
    }

    #[test]
    fn a_character_that_comes_in_pieces_is_whole() {
        let mut encoder = Encoder::default();
        encoder.output(0, b"\xe2\x82");
        assert_eq!(encoder.take(false), "", "it waits for its end, over a part's end too");
        assert!(!encoder.is_empty());
        encoder.output(900, b"\xac!");
        assert_eq!(read(&encoder.take(true)), [(900, "o", "€!".to_owned())]);
    }

    #[test]
    fn bytes_that_are_no_text_come_back() {
        let mut encoder = Encoder::default();
        encoder.output(0, b"\xff\xfe\x00A\xc3");
        let read = read(&encoder.take(true));
        assert_eq!(read[0].2, "\u{efff}\u{effe}\0A\u{efc3}");
        assert_eq!(to_bytes(&read[0].2), b"\xff\xfe\x00A\xc3");
        assert_eq!(to_bytes("\u{ef80}").len(), 1);
    }

    #[test]
    fn lines_of_others_are_read_or_left_out() {
        let read = parse_line(r#"[1, "o", "a"]"#).unwrap();
        assert_eq!((read.at_ms, read.text.as_str()), (1_000, "a"));
        for line in [
            "",
            "{}",
            "[1,\"o\"]",
            "[-1,\"o\",\"\"]",
            "[1e99,\"o\",\"\"]",
            "[1,\"x\",\"\"]",
            "[1,\"o\",\"\",2]",
            "[\"1\",\"o\",\"\"]",
        ] {
            assert_eq!(parse_line(line), None, "{line}");
        }
        assert_eq!(parse_line(&format!("[1,\"o\",\"{}\"]", "a".repeat(MAX_LINE_BYTES))), None);
        assert_eq!(parse_size("100x30"), Some((100, 30)));
        assert_eq!(parse_size("0x99999"), Some((80, 200)));
        assert_eq!(parse_size("80"), None);
    }

    #[test]
    fn the_header_is_one_of_version_2() {
        let header: serde_json::Value =
            serde_json::from_str(&header((80, 24), 1_700_000_000, "a\"b", Some("xterm"))).unwrap();
        assert_eq!(header["version"], 2);
        assert_eq!((&header["width"], &header["height"]), (&80.into(), &24.into()));
        assert_eq!((&header["title"], &header["env"]["TERM"]), (&"a\"b".into(), &"xterm".into()));
    }

    proptest! {
        #[test]
        fn any_bytes_in_any_pieces_come_back(
            pieces in proptest::collection::vec(
                (0u64..40, proptest::collection::vec(any::<u8>(), 0..20), any::<bool>()), 0..40)
        ) {
            let mut encoder = Encoder::default();
            let (mut at, mut sent, mut lines) = (0, Vec::new(), String::new());
            for (wait, bytes, part) in &pieces {
                at += wait;
                encoder.output(at, bytes);
                sent.extend_from_slice(bytes);
                if *part {
                    lines.push_str(&encoder.take(false));
                }
            }
            lines.push_str(&encoder.take(true));
            let lines = read(&lines);
            prop_assert!(lines.is_sorted_by_key(|line| line.0));
            let back: Vec<u8> = lines.iter().flat_map(|line| to_bytes(&line.2)).collect();
            prop_assert_eq!(back, sent);
        }

        #[test]
        fn any_text_is_read_without_panic(text in ".{0,200}") {
            let _ = parse_line(&text);
            let _ = parse_size(&text);
        }
    }
}
