//! Messages of syslog out of a stream of bytes (RFC 6587): counted (`LENGTH SP
//! MESSAGE`), or each ended by a newline or a zero byte. Senders choose, message
//! by message: a message begins with `<`, a count with a digit.
//!
//! What is longer than a message may be is cut and marked. A count that nobody
//! could mean ends the stream: behind it there is no telling what is what.

/// Most digits of a count.
const MAX_DIGITS: usize = 8;

/// Cuts a stream into messages, piece by piece.
#[derive(Debug)]
pub struct SyslogFrames {
    max_bytes: usize,
    state: State,
    /// The message so far, at most `max_bytes` of it.
    message: Vec<u8>,
    /// It is longer than that.
    truncated: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Before a message.
    Between,
    /// In the digits of a count.
    Count { value: usize, digits: usize },
    /// In a counted message with so many bytes to come.
    Counted { left: usize },
    /// In a message that ends with its line.
    Line,
}

/// The stream cannot be cut any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the length before a message is none")]
pub struct BrokenStream;

impl SyslogFrames {
    /// For messages of at most so many bytes.
    #[must_use]
    pub fn new(max_bytes: usize) -> Self {
        Self { max_bytes, state: State::Between, message: Vec::new(), truncated: false }
    }

    /// Takes the next bytes of the stream; `out` gets each whole message and
    /// whether it was cut.
    ///
    /// # Errors
    /// [`BrokenStream`]: to be closed. The messages before it are whole.
    pub fn push(
        &mut self,
        mut bytes: &[u8],
        out: &mut Vec<(Vec<u8>, bool)>,
    ) -> Result<(), BrokenStream> {
        while let Some(byte) = bytes.first() {
            match self.state {
                State::Between => match byte {
                    // Some end counted messages with a newline as well.
                    b'\n' | b'\r' | b'\0' | b' ' => bytes = bytes.get(1..).unwrap_or_default(),
                    b'1'..=b'9' => self.state = State::Count { value: 0, digits: 0 },
                    _ => self.state = State::Line,
                },
                State::Count { value, digits } => {
                    bytes = bytes.get(1..).unwrap_or_default();
                    match byte {
                        b'0'..=b'9' if digits < MAX_DIGITS => {
                            let value = value * 10 + usize::from(byte - b'0');
                            self.state = State::Count { value, digits: digits + 1 };
                        }
                        b' ' => self.state = State::Counted { left: value },
                        _ => return Err(BrokenStream),
                    }
                }
                State::Counted { left } => {
                    let (part, rest) = bytes.split_at_checked(left).unwrap_or((bytes, b""));
                    bytes = rest;
                    self.add(part);
                    match left - part.len() {
                        0 => self.end(out),
                        left => self.state = State::Counted { left },
                    }
                }
                State::Line => match memchr::memchr2(b'\n', b'\0', bytes) {
                    Some(end) => {
                        self.add(bytes.get(..end).unwrap_or_default());
                        bytes = bytes.get(end + 1..).unwrap_or_default();
                        self.end(out);
                    }
                    None => {
                        self.add(bytes);
                        bytes = b"";
                    }
                },
            }
        }
        Ok(())
    }

    /// Whether the stream is within a message. One that ends so is not whole:
    /// half an address is another address.
    #[must_use]
    pub fn is_within(&self) -> bool {
        self.state != State::Between
    }

    fn add(&mut self, part: &[u8]) {
        let room = self.max_bytes.saturating_sub(self.message.len());
        self.truncated |= part.len() > room;
        self.message.extend(part.iter().take(room));
    }

    fn end(&mut self, out: &mut Vec<(Vec<u8>, bool)>) {
        self.state = State::Between;
        let message = std::mem::take(&mut self.message);
        let truncated = std::mem::take(&mut self.truncated);
        if !message.is_empty() {
            out.push((message, truncated));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cut(max: usize, pieces: &[&[u8]]) -> (Vec<(String, bool)>, bool) {
        let mut frames = SyslogFrames::new(max);
        let mut out = Vec::new();
        let whole = pieces.iter().try_for_each(|piece| frames.push(piece, &mut out)).is_ok();
        let out = out.into_iter().map(|(m, cut)| (String::from_utf8(m).unwrap(), cut)).collect();
        (out, whole && !frames.is_within())
    }

    #[test]
    fn counted_messages_and_lines_may_be_mixed() {
        let (out, whole) = cut(64, &[b"5 <1>ab<2>cd\n7 <3>e\nfg\n<4>h\0\n\n6 <5>ijk"]);
        let out: Vec<&str> = out.iter().map(|(message, _)| message.as_str()).collect();
        assert_eq!(out, ["<1>ab", "<2>cd", "<3>e\nfg", "<4>h", "<5>ijk"]);
        assert!(whole);
    }

    #[test]
    fn what_is_too_long_is_cut_and_the_next_is_whole() {
        let (out, whole) = cut(4, &[b"<1>abc\n10 <2>abcdefg<3>\n"]);
        assert_eq!(out, [("<1>a".into(), true), ("<2>a".into(), true), ("<3>".into(), false)]);
        assert!(whole);
    }

    #[test]
    fn a_count_that_is_none_ends_the_stream() {
        assert!(!cut(64, &[b"12x <1>"]).1);
        assert!(!cut(64, &[b"999999999999 <1>"]).1);
        let (out, whole) = cut(64, &[b"<1>a\n12x"]);
        assert_eq!((out.len(), whole), (1, false));
    }

    #[test]
    fn the_end_within_a_message_gives_no_message() {
        assert_eq!(cut(64, &[b"<1>Failed password from 203.0.113.1"]), (vec![], false));
        assert_eq!(cut(64, &[b"50 <1>Failed"]), (vec![], false));
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(
            messages in proptest::collection::vec(("<[a-z 0-9]{1,40}", any::<bool>()), 0..8),
            size in 1usize..20,
        ) {
            let mut stream = Vec::new();
            for (message, counted) in &messages {
                match counted {
                    true => stream.extend(format!("{} {message}", message.len()).bytes()),
                    false => stream.extend(format!("{message}\n").bytes()),
                }
            }
            let pieces: Vec<&[u8]> = stream.chunks(size).collect();
            let (out, whole) = cut(64, &pieces);
            let expected: Vec<(String, bool)> =
                messages.into_iter().map(|(message, _)| (message, false)).collect();
            prop_assert_eq!(out, expected);
            prop_assert!(whole);
        }

        #[test]
        fn any_bytes_are_survived_within_bounds(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let mut frames = SyslogFrames::new(16);
            let mut out = Vec::new();
            let _ = frames.push(&bytes, &mut out);
            prop_assert!(out.iter().all(|(message, _)| message.len() <= 16));
        }
    }
}
