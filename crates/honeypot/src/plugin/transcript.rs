//! The text of a transcript: what a client sends, what the service has to
//! answer, and what has to be told. docs/PLUGINS.md describes the form.

use std::fmt;

use palisade_event::EventKind;

/// Longest transcript.
pub const MAX_TRANSCRIPT_BYTES: usize = 1024 * 1024;
/// Most lines of one.
pub const MAX_TRANSCRIPT_LINES: usize = 10_000;

/// What is spoken over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transport {
    /// A connection.
    #[default]
    Tcp,
    /// A connection that begins with TLS; the transcript shows what is in it.
    Tls,
    /// Datagrams.
    Udp,
}

/// Bytes in which a place may stand for any bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pattern(Vec<Option<u8>>);

/// One line of a transcript.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its number, from 1.
    pub line: usize,
    /// What it says.
    pub what: What,
}

/// What a line of a transcript says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// The client sends.
    Send(Vec<u8>),
    /// The service answers.
    Expect(Pattern),
    /// An event is told, with these fields.
    Told(EventKind, Vec<(String, Pattern)>),
    /// The client leaves.
    Close,
    /// A read of the service runs out.
    Timeout,
    /// The service has ended the session.
    Closed,
}

/// A transcript.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transcript {
    /// What is spoken over.
    pub transport: Transport,
    /// Our port, where the transcript names one.
    pub port: Option<u16>,
    /// The system of the made-up machine, where the transcript names one.
    pub system: Option<&'static str>,
    /// Its lines, in order.
    pub steps: Vec<Step>,
}

/// A transcript cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct Unreadable {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong.
    pub what: String,
}

/// Systems that the made-up machine may have, as `persona.system` names them.
const SYSTEMS: &[&str] = &["debian12", "ubuntu2204"];

/// Words of `=` lines with their kinds of events.
const KINDS: &[(&str, EventKind)] = &[
    ("row", EventKind::PluginRecorded),
    ("credentials", EventKind::AuthAttempted),
    ("command", EventKind::CommandEntered),
    ("request", EventKind::RequestReceived),
    ("http", EventKind::HttpRequested),
    ("client", EventKind::ClientIdentified),
    ("data", EventKind::DataReceived),
    ("download", EventKind::DownloadAttempted),
    ("artifact", EventKind::PayloadCaptured),
    ("failed", EventKind::PluginFailed),
];

impl Transcript {
    /// Reads a transcript.
    ///
    /// # Errors
    /// The first line that is wrong, and why.
    pub fn parse(text: &str) -> Result<Self, Unreadable> {
        let mut transcript = Self::default();
        if text.len() > MAX_TRANSCRIPT_BYTES {
            let what = format!("a transcript has at most {MAX_TRANSCRIPT_BYTES} bytes");
            return Err(Unreadable { line: 1, what });
        }
        for (index, raw) in text.lines().enumerate() {
            let line = index + 1;
            let wrong = |what: String| Unreadable { line, what };
            if line > MAX_TRANSCRIPT_LINES {
                return Err(wrong(format!("more than {MAX_TRANSCRIPT_LINES} lines")));
            }
            let Some(sign) = raw.chars().next() else { continue };
            // One blank after the sign belongs to the form, more to the text.
            let rest = raw.get(sign.len_utf8()..).unwrap_or_default();
            let rest = rest.strip_prefix(' ').unwrap_or(rest);
            let what = match sign {
                '#' => continue,
                '@' => {
                    if !transcript.steps.is_empty() {
                        return Err(wrong("@ stands before everything else".to_owned()));
                    }
                    transcript.head(rest).map_err(wrong)?;
                    continue;
                }
                '<' => {
                    let bytes = pattern(rest, false).map_err(wrong)?.0;
                    What::Send(bytes.into_iter().flatten().collect())
                }
                '>' => What::Expect(pattern(rest, true).map_err(wrong)?),
                '=' => told(rest).map_err(wrong)?,
                '!' => match rest.trim() {
                    "close" => What::Close,
                    "timeout" => What::Timeout,
                    "closed" => What::Closed,
                    _ => return Err(wrong("! is followed by close, closed or timeout".to_owned())),
                },
                _ => {
                    return Err(wrong(
                        "a line begins with < (sent), > (expected), = (told), ! (happens), @ (how) or # (comment)"
                            .to_owned(),
                    ));
                }
            };
            transcript.steps.push(Step { line, what });
        }
        Ok(transcript)
    }

    fn head(&mut self, rest: &str) -> Result<(), String> {
        let mut words = rest.split_whitespace();
        self.transport = match words.next() {
            Some("tcp") => Transport::Tcp,
            Some("tls") => Transport::Tls,
            Some("udp") => Transport::Udp,
            _ => {
                return Err(
                    "@ is followed by tcp, tls or udp, and a port and a system if you like"
                        .to_owned(),
                );
            }
        };
        for word in words {
            if let Some(system) = SYSTEMS.iter().find(|system| **system == word) {
                self.system = Some(system);
                continue;
            }
            let port = word.parse().ok().filter(|port| *port > 0);
            let what = "a port is a number from 1 to 65535, a system debian12 or ubuntu2204";
            self.port = Some(port.ok_or(what)?);
        }
        Ok(())
    }
}

/// Reads bytes with escapes; `*` is any bytes where `wild`.
fn pattern(text: &str, wild: bool) -> Result<Pattern, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '*' if wild => bytes.push(None),
            '\\' => bytes.push(Some(escape(&mut letters)?)),
            other => bytes.extend(other.encode_utf8(&mut [0; 4]).bytes().map(Some)),
        }
    }
    Ok(Pattern(bytes))
}

/// What follows a backslash.
fn escape(letters: &mut std::str::Chars<'_>) -> Result<u8, String> {
    Ok(match letters.next() {
        Some('r') => b'\r',
        Some('n') => b'\n',
        Some('t') => b'\t',
        Some('0') => 0,
        Some('\\') => b'\\',
        Some('*') => b'*',
        Some('"') => b'"',
        Some('x') => {
            let mut digit = || letters.next().and_then(|digit| digit.to_digit(16));
            let (high, low) = (digit(), digit());
            let byte = high.zip(low).and_then(|(high, low)| u8::try_from(high << 4 | low).ok());
            byte.ok_or("\\x is followed by two hexadecimal digits")?
        }
        _ => return Err("\\ is followed by r, n, t, 0, \\, *, \" or xNN".to_owned()),
    })
}

/// Reads `row user="root" tries=3`.
fn told(rest: &str) -> Result<What, String> {
    let (word, mut rest) = rest.split_once(' ').unwrap_or((rest, ""));
    let Some((_, kind)) = KINDS.iter().find(|(known, _)| *known == word) else {
        let known: Vec<&str> = KINDS.iter().map(|(known, _)| *known).collect();
        return Err(format!("= is followed by one of {}", known.join(", ")));
    };
    let mut fields = Vec::new();
    loop {
        rest = rest.trim_start();
        if rest.is_empty() {
            return Ok(What::Told(*kind, fields));
        }
        // A text without a name is what the function was given.
        let name = match rest.find(['=', '"']) {
            Some(at) if rest.get(at..=at) == Some("=") => {
                let name = rest.get(..at).unwrap_or_default();
                rest = rest.get(at + 1..).unwrap_or_default();
                name
            }
            Some(0) => "text",
            _ => return Err("fields are written as name=\"value\"".to_owned()),
        };
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        if name.is_empty() || !name.bytes().all(plain) {
            return Err("fields are written as name=\"value\"".to_owned());
        }
        let value = match rest.strip_prefix('"') {
            Some(quoted) => {
                let end = closing(quoted).ok_or("a \" is missing at the end of a value")?;
                rest = quoted.get(end + 1..).unwrap_or_default();
                quoted.get(..end).unwrap_or_default()
            }
            None => {
                let (word, after) = rest.split_once(' ').unwrap_or((rest, ""));
                rest = after;
                word
            }
        };
        fields.push((name.to_owned(), pattern(value, true)?));
    }
}

/// Where a quoted text ends.
fn closing(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.bytes().position(|byte| {
        let end = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        end
    })
}

impl Pattern {
    /// Adds what follows.
    pub fn append(&mut self, more: &Self) {
        self.0.extend_from_slice(&more.0);
    }

    /// Whether `bytes` are what is described.
    #[must_use]
    pub fn matches(&self, bytes: &[u8]) -> bool {
        // The last place that stood for any bytes is tried with one byte more.
        let (mut at, mut byte) = (0, 0);
        let mut again = None;
        while byte < bytes.len() {
            match self.0.get(at) {
                Some(None) => {
                    again = Some((at, byte));
                    at += 1;
                }
                Some(Some(wanted)) if bytes.get(byte) == Some(wanted) => {
                    at += 1;
                    byte += 1;
                }
                _ => match again {
                    Some((star, from)) => {
                        again = Some((star, from + 1));
                        (at, byte) = (star + 1, from + 1);
                    }
                    None => return false,
                },
            }
        }
        self.0.iter().skip(at).all(Option::is_none)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|place| match place {
            None => f.write_str("*"),
            Some(b'*') => f.write_str("\\*"),
            Some(byte) => byte.escape_ascii().fmt(f),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_transcript_is_read_line_by_line() {
        let text = "# x\n@udp 5060\n< A\\x00\\*\\r\\n\n> 200 *\\r\\n\n= row verb=\"a \\\"b\" n=3\n= command \"ls\"\n\n! close\n";
        let read = Transcript::parse(text).unwrap();
        assert_eq!((read.transport, read.port), (Transport::Udp, Some(5060)));
        let steps: Vec<&What> = read.steps.iter().map(|step| &step.what).collect();
        assert_eq!(steps[0], &What::Send(b"A\0*\r\n".to_vec()));
        let What::Expect(expected) = steps[1] else { panic!() };
        assert!(expected.matches(b"200 OK\r\n") && !expected.matches(b"200 OK\n"));
        let What::Told(EventKind::PluginRecorded, fields) = steps[2] else { panic!() };
        assert_eq!(fields[0].0, "verb");
        assert!(fields[0].1.matches(b"a \"b") && fields[1].1.matches(b"3"));
        let What::Told(EventKind::CommandEntered, fields) = steps[3] else { panic!() };
        assert_eq!(fields[0].0, "text");
        assert_eq!(steps[4], &What::Close);
    }

    #[test]
    fn mistakes_are_named_with_their_line() {
        for (text, why) in [
            ("< a\nx", "line 2: a line begins with"),
            ("< \\q", "line 1: \\ is followed by"),
            ("< \\x1", "two hexadecimal digits"),
            ("! now", "close, closed or timeout"),
            ("@icmp", "tcp, tls or udp"),
            ("@tcp 0", "from 1 to 65535"),
            ("< a\n@tcp", "line 2: @ stands before"),
            ("= nothing", "= is followed by one of row, credentials"),
            ("= row a", "fields are written as"),
            ("= row a=\"b", "a \" is missing"),
        ] {
            let said = Transcript::parse(text).unwrap_err().to_string();
            assert!(said.contains(why), "{text}: {said}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[<>=!@#\\\\*\"a-z0-9 \n]{0,80}") {
            let _ = Transcript::parse(&text);
        }

        #[test]
        fn a_pattern_without_a_star_is_itself(bytes in proptest::collection::vec(any::<u8>(), 0..20)) {
            let exact = Pattern(bytes.iter().copied().map(Some).collect());
            prop_assert!(exact.matches(&bytes));
            let mut longer = bytes.clone();
            longer.push(0);
            prop_assert!(!exact.matches(&longer));
        }
    }
}
