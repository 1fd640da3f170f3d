//! `test`, `[` and `[[`: conditions on files, texts and numbers.

use super::vfs::FileKind;
use super::{Shell, pattern};

/// Most operators inside each other.
const MAX_DEPTH: usize = 40;

/// `[[ … ]]`; the right side of `==` is a pattern.
pub(super) fn double(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    let mut reader = Reader { shell, words, at: 0, double: true };
    match reader.either(0) {
        Some(true) if reader.at == words.len() => 0,
        Some(_) => 1,
        None => 2,
    }
}

/// `test …`; `[` takes the bracket away first.
pub(super) fn single(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    if words.is_empty() {
        return 1;
    }
    let mut reader = Reader { shell, words, at: 0, double: false };
    match reader.either(0) {
        Some(yes) if reader.at == words.len() => u8::from(!yes),
        _ => {
            shell.complain(b"[: too many arguments");
            2
        }
    }
}

struct Reader<'a> {
    shell: &'a mut Shell,
    words: &'a [Vec<u8>],
    at: usize,
    double: bool,
}

impl Reader<'_> {
    fn peek(&self, ahead: usize) -> Option<&[u8]> {
        self.words.get(self.at + ahead).map(Vec::as_slice)
    }

    fn either(&mut self, depth: usize) -> Option<bool> {
        let mut value = self.both(depth)?;
        while matches!(self.peek(0), Some(b"||" | b"-o")) {
            self.at += 1;
            value |= self.both(depth)?;
        }
        Some(value)
    }

    fn both(&mut self, depth: usize) -> Option<bool> {
        let mut value = self.primary(depth)?;
        while matches!(self.peek(0), Some(b"&&" | b"-a")) {
            self.at += 1;
            value &= self.primary(depth)?;
        }
        Some(value)
    }

    fn primary(&mut self, depth: usize) -> Option<bool> {
        if depth > MAX_DEPTH {
            return None;
        }
        let first = self.peek(0)?.to_vec();
        let binary = self.peek(1).is_some_and(|word| {
            matches!(
                word,
                b"=" | b"=="
                    | b"!="
                    | b"=~"
                    | b"<"
                    | b">"
                    | b"-eq"
                    | b"-ne"
                    | b"-lt"
                    | b"-le"
                    | b"-gt"
                    | b"-ge"
                    | b"-nt"
                    | b"-ot"
                    | b"-ef"
            )
        });
        if binary && self.peek(2).is_some() {
            let operator = self.peek(1)?.to_vec();
            let right = self.peek(2)?.to_vec();
            self.at += 3;
            return self.compare(&first, &operator, &right);
        }
        if first == b"!" {
            self.at += 1;
            return self.primary(depth + 1).map(|value| !value);
        }
        if first == b"(" {
            self.at += 1;
            let value = self.either(depth + 1)?;
            if self.peek(0) != Some(b")") {
                return None;
            }
            self.at += 1;
            return Some(value);
        }
        if let ([b'-', kind], Some(operand)) = (first.as_slice(), self.peek(1))
            && !matches!(operand, b"&&" | b"||" | b"-a" | b"-o")
        {
            let (kind, operand) = (*kind, operand.to_vec());
            self.at += 2;
            return self.about(kind, &operand);
        }
        self.at += 1;
        Some(!first.is_empty())
    }

    fn about(&mut self, kind: u8, operand: &[u8]) -> Option<bool> {
        let name = String::from_utf8_lossy(operand).into_owned();
        let files = &self.shell.files;
        let path = self.shell.path(&name);
        let stat = || files.stat(&path, true).ok().filter(|_| !name.is_empty());
        Some(match kind {
            b'z' => operand.is_empty(),
            b'n' => !operand.is_empty(),
            b'e' | b'a' => stat().is_some(),
            b'f' => stat().is_some_and(|s| s.kind == FileKind::File),
            b'd' => stat().is_some_and(|s| s.is_directory()),
            b'L' | b'h' => {
                files.stat(&path, false).is_ok_and(|s| matches!(s.kind, FileKind::Link(_)))
            }
            b's' => stat().is_some_and(|s| s.size > 0),
            b'r' => stat().is_some_and(|s| files.uid == 0 || s.mode & 0o444 != 0),
            b'w' => stat().is_some_and(|s| {
                if files.uid == 0 {
                    !path.starts_with("/proc/")
                } else {
                    s.uid == files.uid || s.mode & 0o002 != 0
                }
            }),
            b'x' => stat().is_some_and(|s| s.mode & 0o111 != 0),
            b'c' => stat().is_some_and(|s| matches!(s.kind, FileKind::Device(false, ..))),
            b'b' => stat().is_some_and(|s| matches!(s.kind, FileKind::Device(true, ..))),
            b'p' => stat().is_some_and(|s| s.kind == FileKind::Pipe),
            b't' => self.shell.tty,
            b'v' => self.shell.variable(operand).is_some(),
            b'O' | b'G' => stat().is_some_and(|s| s.uid == files.uid),
            b'S' | b'u' | b'g' | b'k' => false,
            _ => return None,
        })
    }

    fn compare(&mut self, left: &[u8], operator: &[u8], right: &[u8]) -> Option<bool> {
        if let [b'-', ..] = operator
            && !matches!(operator, b"-nt" | b"-ot" | b"-ef")
        {
            let (a, b) = (self.number(left)?, self.number(right)?);
            return Some(match operator {
                b"-eq" => a == b,
                b"-ne" => a != b,
                b"-lt" => a < b,
                b"-le" => a <= b,
                b"-gt" => a > b,
                _ => a >= b,
            });
        }
        let same = |shell: &mut Shell, double: bool| {
            if double {
                let _ = shell.charge(left.len() + right.len());
                pattern::matches(right, left)
            } else {
                left == right
            }
        };
        Some(match operator {
            b"=" | b"==" => same(self.shell, self.double),
            b"!=" => !same(self.shell, self.double),
            b"<" => left < right,
            b">" => left > right,
            b"=~" => super::commands::regex(&pattern::plain(right), false, true)
                .is_some_and(|regex| regex.is_match(left)),
            _ => {
                let date = |name: &[u8]| {
                    let path = self.shell.path(&String::from_utf8_lossy(name));
                    self.shell.files.stat(&path, true).map_or(0, |s| s.modified)
                };
                match operator {
                    b"-nt" => date(left) > date(right),
                    b"-ot" => date(left) < date(right),
                    _ => left == right,
                }
            }
        })
    }

    fn number(&mut self, text: &[u8]) -> Option<i64> {
        let trimmed = std::str::from_utf8(text).ok().map(str::trim);
        if let Some(value) = trimmed.and_then(|text| text.parse().ok()) {
            return Some(value);
        }
        if self.double {
            return self.shell.calculate(text).ok();
        }
        let message = [b"[: ", text, b": integer expression expected"].concat();
        self.shell.complain(&message);
        Some(i64::MIN)
    }
}
