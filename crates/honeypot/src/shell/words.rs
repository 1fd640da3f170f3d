//! Takes a command line apart: words, quotes, variables, redirections and what
//! joins commands (POSIX shell command language, the part that attacks use).

use palisade_event::Untrusted;

/// How the next command depends on this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// `;`, `&`, line end: it does not.
    Always,
    /// `&&`.
    And,
    /// `||`.
    Or,
    /// `|`: it reads what this one prints.
    Pipe,
}

/// What a redirection does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RedirectTo {
    Read,
    Write,
    Append,
    /// Another descriptor, as in `2>&1`.
    Descriptor,
}

#[derive(Debug)]
pub(super) struct Redirect {
    pub(super) to: RedirectTo,
    pub(super) fd: u8,
    pub(super) target: Vec<u8>,
}

impl Redirect {
    /// The target as the shell repeats it; lossy, for error messages.
    pub(super) fn shown(&self) -> String {
        Untrusted::from(self.target.as_slice()).to_lossy().into_owned()
    }
}

/// One simple command.
#[derive(Debug)]
pub(super) struct Command {
    pub(super) words: Vec<Vec<u8>>,
    pub(super) redirects: Vec<Redirect>,
    pub(super) then: Then,
}

/// Reads commands one by one, so that each sees the variables of its time.
pub(super) struct Parser<'a> {
    rest: &'a [u8],
}

impl<'a> Parser<'a> {
    pub(super) fn new(line: &'a [u8]) -> Self {
        Self { rest: line }
    }

    /// The next command, or `None` at the end. Where quotes are not closed
    /// the end of the line closes them.
    pub(super) fn next(&mut self, variable: impl Fn(&[u8]) -> Vec<u8>) -> Option<Command> {
        let mut command = Command { words: Vec::new(), redirects: Vec::new(), then: Then::Always };
        let mut any = false;
        while let Some(byte) = self.peek() {
            any = true;
            match byte {
                b' ' | b'\t' | b'\r' | b'(' => self.skip(1),
                b'#' if command.words.is_empty() => self.rest = &[],
                b'>' | b'<' => self.redirect(&mut command, None, &variable),
                b'0'..=b'9' if matches!(self.rest.get(1), Some(b'>' | b'<')) => {
                    self.skip(1);
                    self.redirect(&mut command, Some(byte - b'0'), &variable);
                }
                b';' | b'\n' | b'&' | b'|' | b')' => {
                    if let Some(then) = self.joint() {
                        command.then = then;
                        break;
                    }
                }
                _ => {
                    let word = self.word(&variable);
                    command.words.push(word);
                }
            }
        }
        any.then_some(command)
    }

    fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    fn skip(&mut self, count: usize) {
        self.rest = self.rest.get(count..).unwrap_or_default();
    }

    /// What joins this command to the next. `None` for a closing bracket,
    /// after which the joint comes.
    fn joint(&mut self) -> Option<Then> {
        let (length, then) = match self.rest {
            [b'&', b'&', ..] => (2, Then::And),
            [b'|', b'|', ..] => (2, Then::Or),
            [b'|', ..] => (1, Then::Pipe),
            [b')', ..] => {
                self.skip(1);
                return None;
            }
            _ => (1, Then::Always),
        };
        self.skip(length);
        Some(then)
    }

    fn redirect(
        &mut self,
        command: &mut Command,
        fd: Option<u8>,
        variable: &impl Fn(&[u8]) -> Vec<u8>,
    ) {
        let (length, to) = match self.rest {
            [b'>', b'>', ..] => (2, RedirectTo::Append),
            [b'>', b'&', ..] => (2, RedirectTo::Descriptor),
            [b'>', b'|', ..] => (2, RedirectTo::Write),
            [b'>', ..] => (1, RedirectTo::Write),
            _ => (1, RedirectTo::Read),
        };
        self.skip(length);
        while matches!(self.peek(), Some(b' ' | b'\t')) {
            self.skip(1);
        }
        let target = self.word(variable);
        let default = u8::from(to != RedirectTo::Read);
        command.redirects.push(Redirect { to, fd: fd.unwrap_or(default), target });
    }

    fn word(&mut self, variable: &impl Fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
        let mut word = Vec::new();
        while let Some(byte) = self.peek() {
            match byte {
                b' ' | b'\t' | b'\r' | b'\n' | b';' | b'&' | b'|' | b'>' | b'<' | b'(' | b')' => {
                    break;
                }
                b'\'' => {
                    self.skip(1);
                    let end = self.rest.iter().position(|b| *b == b'\'');
                    let quoted = end.unwrap_or(self.rest.len());
                    word.extend_from_slice(self.rest.get(..quoted).unwrap_or_default());
                    self.skip(quoted + 1);
                }
                b'"' => self.double_quoted(&mut word, variable),
                b'\\' => {
                    word.extend(self.rest.get(1));
                    self.skip(2);
                }
                b'$' => self.expand(&mut word, variable),
                _ => {
                    word.push(byte);
                    self.skip(1);
                }
            }
        }
        word
    }

    fn double_quoted(&mut self, word: &mut Vec<u8>, variable: &impl Fn(&[u8]) -> Vec<u8>) {
        self.skip(1);
        while let Some(byte) = self.peek() {
            match (byte, self.rest.get(1)) {
                (b'"', _) => return self.skip(1),
                (b'\\', Some(next @ (b'"' | b'\\' | b'$' | b'`'))) => {
                    word.push(*next);
                    self.skip(2);
                }
                (b'$', _) => self.expand(word, variable),
                _ => {
                    word.push(byte);
                    self.skip(1);
                }
            }
        }
    }

    /// `$NAME`, `${NAME}`, `$?`, `$$`; any other `$` is itself.
    fn expand(&mut self, word: &mut Vec<u8>, variable: &impl Fn(&[u8]) -> Vec<u8>) {
        let rest = self.rest.get(1..).unwrap_or_default();
        let (name, length) = match rest {
            [b'{', inner @ ..] => {
                let end = inner.iter().position(|b| *b == b'}').unwrap_or(inner.len());
                (inner.get(..end).unwrap_or_default(), end + 3)
            }
            [b'?' | b'$' | b'0'..=b'9', ..] => (rest.get(..1).unwrap_or_default(), 2),
            _ => {
                let is_name = |b: &&u8| b.is_ascii_alphanumeric() || **b == b'_';
                let end = rest.iter().take_while(is_name).count();
                (rest.get(..end).unwrap_or_default(), end + 1)
            }
        };
        if name.is_empty() && length == 1 {
            word.push(b'$');
        } else {
            word.extend(variable(name));
        }
        self.skip(length);
    }
}
