//! What a terminal driver does with keys at a login: line ends, erasing, echo.
//! A shell edits its lines itself ([`crate::shell::editor`]).

use crate::shell::editor::{Input, MAX_LINE_BYTES};

const INTERRUPT: u8 = 0x03;
const END_OF_FILE: u8 = 0x04;
const BACKSPACE: u8 = 0x08;
const KILL_LINE: u8 = 0x15;
const DELETE: u8 = 0x7f;

/// How keys are echoed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Echo {
    /// Not at all, as at a password.
    Off,
    /// By the terminal driver, as at a login name.
    Cooked,
}

/// The line being typed.
#[derive(Debug, Default)]
pub struct LineEditor {
    line: Vec<u8>,
    truncated: bool,
    after_cr: bool,
}

impl LineEditor {
    /// Takes a key, appends its echo to `out`, and returns what it completed.
    /// CR LF, CR NUL, CR and LF each end a line.
    pub fn push(&mut self, byte: u8, echo: Echo, out: &mut Vec<u8>) -> Option<Input> {
        if self.ends_line(byte) {
            return None;
        }
        match byte {
            b'\r' | b'\n' => {
                self.after_cr = byte == b'\r';
                return Some(self.line_done(out));
            }
            // login(1) goes on asking for a name, and takes it for the password's end.
            INTERRUPT if echo == Echo::Cooked => {
                out.extend_from_slice(b"^C");
                self.take();
                self.truncated = false;
            }
            END_OF_FILE if self.line.is_empty() && echo == Echo::Cooked => {
                return Some(Input::EndOfFile);
            }
            INTERRUPT => return Some(self.line_done(out)),
            END_OF_FILE if self.line.is_empty() => return Some(self.line_done(out)),
            END_OF_FILE => {}
            BACKSPACE | DELETE => {
                if self.line.pop().is_some() && echo != Echo::Off {
                    out.extend_from_slice(b"\x08 \x08");
                }
            }
            KILL_LINE => {
                let shown = if echo == Echo::Off { 0 } else { self.line.len() };
                out.extend(b"\x08 \x08".iter().copied().cycle().take(shown * 3));
                self.line.clear();
            }
            _ if self.line.len() >= MAX_LINE_BYTES => self.truncated = true,
            _ => {
                self.line.push(byte);
                match (echo, byte) {
                    (Echo::Off, _) => {}
                    (_, 0..b' ') if byte != b'\t' => out.extend([b'^', byte ^ 0x40]),
                    _ => out.push(byte),
                }
            }
        }
        None
    }

    /// Whether a byte is the second half of the last line's end, whoever edits
    /// the next line.
    pub fn ends_line(&mut self, byte: u8) -> bool {
        std::mem::take(&mut self.after_cr) && matches!(byte, b'\n' | 0)
    }

    fn line_done(&mut self, out: &mut Vec<u8>) -> Input {
        out.extend_from_slice(b"\r\n");
        let truncated = std::mem::take(&mut self.truncated);
        Input::Line { bytes: self.take(), truncated }
    }

    /// What has been typed of the present line; leaves nothing.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(keys: &[u8], echo: Echo) -> (Vec<Input>, Vec<u8>) {
        let (mut editor, mut out) = (LineEditor::default(), Vec::new());
        let inputs = keys.iter().filter_map(|key| editor.push(*key, echo, &mut out)).collect();
        (inputs, out)
    }

    fn line(text: &[u8]) -> Input {
        Input::Line { bytes: text.to_vec(), truncated: false }
    }

    #[test]
    fn every_line_end_ends_one_line() {
        let (inputs, _) = typed(b"a\r\nb\r\0c\nd\re\r\n\r\n", Echo::Off);
        let lines = [&b"a"[..], b"b", b"c", b"d", b"e", b""].map(line);
        assert_eq!(inputs, lines);
    }

    #[test]
    fn keys_erase_and_are_echoed() {
        let (inputs, out) = typed(b"lx\x7fs\r", Echo::Cooked);
        assert_eq!((inputs, out), (vec![line(b"ls")], b"lx\x08 \x08s\r\n".to_vec()));
        assert_eq!(typed(b"ab\x15c\r", Echo::Off).0, [line(b"c")]);
        let (inputs, out) = typed(b"x\x03y\r\x04", Echo::Cooked);
        assert_eq!((inputs, out), (vec![line(b"y"), Input::EndOfFile], b"x^Cy\r\n".to_vec()));
    }

    #[test]
    fn a_password_is_kept_as_it_is_and_not_shown() {
        let (inputs, out) = typed(b"\xff\x1b[\tp\xc3\r", Echo::Off);
        assert_eq!((inputs, out), (vec![line(b"\xff\x1b[\tp\xc3")], b"\r\n".to_vec()));
    }

    #[test]
    fn interrupt_and_end_of_file_end_a_password() {
        for (keys, password) in [(&b"ab\x03"[..], &b"ab"[..]), (b"\x04", b"")] {
            assert_eq!(typed(keys, Echo::Off), (vec![line(password)], b"\r\n".to_vec()));
        }
    }

    #[test]
    fn a_line_without_end_is_bounded_and_marked() {
        let keys = [vec![b'x'; 100_000], vec![b'\n']].concat();
        let (inputs, _) = typed(&keys, Echo::Off);
        let bytes = vec![b'x'; MAX_LINE_BYTES];
        assert_eq!(inputs, [Input::Line { bytes, truncated: true }]);
    }
}
