//! Line editing at a terminal, as BusyBox's and readline's: cursor keys,
//! history, control keys, completion. Keys go in, echo and lines come out; it
//! knows no commands. Telnet and SSH share it.

/// Longest line kept, in bytes; what follows is dropped up to the line's end,
/// and the line is marked.
pub const MAX_LINE_BYTES: usize = 4_096;
/// Most lines that the up key finds.
const MAX_HISTORY: usize = 100;
/// Longest escape sequence.
const MAX_SEQUENCE: usize = 16;

/// What a key completed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A line, without its end.
    Line {
        /// What was typed; any bytes.
        bytes: Vec<u8>,
        /// Whether more was typed than is kept.
        truncated: bool,
    },
    /// Control-C.
    Interrupt,
    /// Control-D on an empty line.
    EndOfFile,
    /// Tab: the caller may [`Editor::insert`] what is missing.
    Complete,
}

/// The line being typed.
#[derive(Debug, Default)]
pub struct Editor {
    line: Vec<u8>,
    cursor: usize,
    truncated: bool,
    after_cr: bool,
    sequence: Option<Vec<u8>>,
    history: Vec<Vec<u8>>,
    /// Which line of the history is shown; its length for none.
    place: usize,
    kept: Vec<u8>,
    hidden: bool,
}

impl Editor {
    /// Whether what is typed is shown; a password is not.
    pub fn set_hidden(&mut self, hidden: bool) {
        self.hidden = hidden;
    }

    /// What has been typed of the present line; leaves nothing.
    pub fn take(&mut self) -> Vec<u8> {
        self.cursor = 0;
        std::mem::take(&mut self.line)
    }

    /// What has been typed of the present line up to the cursor.
    #[must_use]
    pub fn before_cursor(&self) -> &[u8] {
        self.line.get(..self.cursor).unwrap_or_default()
    }

    /// Takes a key, appends its echo to `out`, and returns what it completed.
    /// CR LF, CR NUL, CR and LF each end a line.
    pub fn push(&mut self, byte: u8, out: &mut Vec<u8>) -> Option<Input> {
        if std::mem::take(&mut self.after_cr) && matches!(byte, b'\n' | 0) {
            return None;
        }
        if self.sequence.is_some() && !matches!(byte, b'\r' | b'\n') {
            self.escape(byte, out);
            return None;
        }
        self.sequence = None;
        match byte {
            b'\r' | b'\n' => {
                self.after_cr = byte == b'\r';
                out.extend_from_slice(b"\r\n");
                return Some(self.end_line());
            }
            0x03 => return Some(self.interrupt(out)),
            0x04 if self.line.is_empty() => return Some(Input::EndOfFile),
            0x04 => self.erase_under(out),
            0x01 => self.move_to(0, out),
            0x05 => self.move_to(self.line.len(), out),
            0x02 => self.move_to(self.cursor.saturating_sub(1), out),
            0x06 => self.move_to(self.cursor + 1, out),
            0x08 | 0x7f => {
                if self.cursor > 0 {
                    self.erase(self.cursor - 1, self.cursor, out);
                }
            }
            0x15 => self.erase(0, self.cursor, out),
            0x0b => self.erase(self.cursor, self.line.len(), out),
            0x17 => {
                let head = self.before_cursor();
                let end = head.iter().rposition(|b| *b != b' ').map_or(0, |at| at + 1);
                let start = head
                    .get(..end)
                    .unwrap_or_default()
                    .iter()
                    .rposition(|b| *b == b' ')
                    .map_or(0, |at| at + 1);
                self.erase(start, self.cursor, out);
            }
            0x0e => self.walk(1, out),
            0x10 => self.walk(-1, out),
            b'\t' if !self.hidden => return Some(Input::Complete),
            0x1b => self.sequence = Some(Vec::new()),
            0..0x20 => {}
            _ => self.insert(&[byte], out),
        }
        None
    }

    /// Puts text in at the cursor.
    pub fn insert(&mut self, text: &[u8], out: &mut Vec<u8>) {
        for byte in text {
            if self.line.len() >= MAX_LINE_BYTES {
                self.truncated = true;
                return;
            }
            self.line.insert(self.cursor.min(self.line.len()), *byte);
            self.cursor += 1;
            if !self.hidden {
                out.push(*byte);
            }
        }
        self.redraw(0, out);
    }

    /// Drops the line, as control-C does.
    pub fn interrupt(&mut self, out: &mut Vec<u8>) -> Input {
        out.extend_from_slice(b"^C\r\n");
        self.take();
        self.truncated = false;
        self.place = self.history.len();
        Input::Interrupt
    }

    fn end_line(&mut self) -> Input {
        let truncated = std::mem::take(&mut self.truncated);
        let bytes = self.take();
        if !bytes.is_empty() && !self.hidden && self.history.last() != Some(&bytes) {
            if self.history.len() >= MAX_HISTORY {
                self.history.remove(0);
            }
            self.history.push(bytes.clone());
        }
        self.place = self.history.len();
        self.kept.clear();
        Input::Line { bytes, truncated }
    }

    /// Shows again what is right of the cursor, and `blank` erased places.
    fn redraw(&self, blank: usize, out: &mut Vec<u8>) {
        if self.hidden {
            return;
        }
        let tail = self.line.get(self.cursor..).unwrap_or_default();
        if tail.is_empty() && blank == 0 {
            return;
        }
        out.extend_from_slice(tail);
        out.extend(std::iter::repeat_n(b' ', blank));
        out.extend(std::iter::repeat_n(0x08, tail.len() + blank));
    }

    fn move_to(&mut self, to: usize, out: &mut Vec<u8>) {
        let to = to.min(self.line.len());
        if !self.hidden {
            if to < self.cursor {
                out.extend(std::iter::repeat_n(0x08, self.cursor - to));
            } else {
                out.extend_from_slice(self.line.get(self.cursor..to).unwrap_or_default());
            }
        }
        self.cursor = to;
    }

    fn erase(&mut self, from: usize, to: usize, out: &mut Vec<u8>) {
        if from >= to || to > self.line.len() {
            return;
        }
        self.move_to(from, out);
        self.line.drain(from..to);
        self.redraw(to - from, out);
    }

    fn erase_under(&mut self, out: &mut Vec<u8>) {
        self.erase(self.cursor, self.cursor + 1, out);
    }

    /// Shows an older (-1) or newer (1) line.
    fn walk(&mut self, by: isize, out: &mut Vec<u8>) {
        let Some(to) = self.place.checked_add_signed(by).filter(|to| *to <= self.history.len())
        else {
            return;
        };
        if self.hidden {
            return;
        }
        if self.place == self.history.len() {
            self.kept = self.line.clone();
        }
        let new = self.history.get(to).cloned().unwrap_or_else(|| self.kept.clone());
        self.place = to;
        self.move_to(self.line.len(), out);
        self.erase(0, self.line.len(), out);
        self.insert(&new, out);
    }

    /// A byte of an escape sequence (ECMA-48), such as an arrow key.
    fn escape(&mut self, byte: u8, out: &mut Vec<u8>) {
        let Some(sequence) = &mut self.sequence else { return };
        sequence.push(byte);
        let begun = matches!(sequence.as_slice(), [b'[' | b'O']);
        let inside = sequence.len() > 1
            && (byte.is_ascii_digit() || byte == b';')
            && sequence.len() < MAX_SEQUENCE;
        if begun || inside {
            return;
        }
        let sequence = self.sequence.take().unwrap_or_default();
        match sequence.as_slice() {
            [_, b'A'] => self.walk(-1, out),
            [_, b'B'] => self.walk(1, out),
            [_, b'C'] => self.move_to(self.cursor + 1, out),
            [_, b'D'] => self.move_to(self.cursor.saturating_sub(1), out),
            [_, b'H'] | [_, b'1', b'~'] => self.move_to(0, out),
            [_, b'F'] | [_, b'4', b'~'] => self.move_to(self.line.len(), out),
            [_, b'3', b'~'] => self.erase_under(out),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(keys: &[u8]) -> (Vec<Input>, Vec<u8>) {
        let (mut editor, mut out) = (Editor::default(), Vec::new());
        let inputs = keys.iter().filter_map(|key| editor.push(*key, &mut out)).collect();
        (inputs, out)
    }

    fn line(text: &[u8]) -> Input {
        Input::Line { bytes: text.to_vec(), truncated: false }
    }

    #[test]
    fn every_line_end_ends_one_line() {
        let (inputs, _) = typed(b"a\r\nb\r\0c\nd\re\r\n\r\n");
        assert_eq!(inputs, [&b"a"[..], b"b", b"c", b"d", b"e", b""].map(line));
    }

    #[test]
    fn keys_move_and_erase() {
        assert_eq!(typed(b"lx\x7fs\r"), (vec![line(b"ls")], b"lx\x08 \x08s\r\n".to_vec()));
        assert_eq!(typed(b"ab\x15c\r").0, [line(b"c")]);
        assert_eq!(typed(b"one two\x17x\r").0, [line(b"one x")]);
        assert_eq!(typed(b"bc\x1b[D\x1b[Da\x05d\r").0, [line(b"abcd")]);
        assert_eq!(typed(b"abc\x01\x04\x1b[3~\r").0, [line(b"c")]);
        assert_eq!(typed(b"ab\x01\x0bc\r").0, [line(b"c")]);
        assert_eq!(typed(b"x\x03\x04").0, [Input::Interrupt, Input::EndOfFile]);
        assert_eq!(typed(b"l\t").0, [Input::Complete]);
    }

    #[test]
    fn the_history_comes_back() {
        assert_eq!(typed(b"one\rtwo\r\x1b[A\x1b[A\r").0.last(), Some(&line(b"one")));
        assert_eq!(typed(b"one\rtw\x1b[A\x1b[Bo\r").0.last(), Some(&line(b"two")));
        assert_eq!(typed(b"\x1b[A\x1b[Bx\r").0, [line(b"x")]);
    }

    #[test]
    fn a_password_is_not_shown() {
        let (mut editor, mut out) = (Editor::default(), Vec::new());
        editor.set_hidden(true);
        let inputs: Vec<Input> =
            b"s3\x7fcret\r".iter().filter_map(|key| editor.push(*key, &mut out)).collect();
        assert_eq!((inputs, out), (vec![line(b"scret")], b"\r\n".to_vec()));
    }

    #[test]
    fn a_line_without_end_is_bounded_and_marked() {
        let (inputs, _) = typed(&[vec![b'x'; 100_000], vec![b'\n']].concat());
        assert_eq!(inputs, [Input::Line { bytes: vec![b'x'; MAX_LINE_BYTES], truncated: true }]);
    }
}
