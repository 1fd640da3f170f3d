//! Single characters: escapes, classes, and how each is written for both crates.

use super::{Kind, Out, Reader};

impl Reader {
    pub(super) fn escape(&mut self) -> Result<(Out, Kind), String> {
        let Some(c) = self.next() else { return Err("bad escape (end of pattern)".into()) };
        let out = match c {
            'A' => return Ok((Out::place("\\A", "\\A"), Kind::Anchor)),
            'Z' => return Ok((Out::place("\\z", "\\z"), Kind::Anchor)),
            'b' | 'B' => return Ok((Out::place(format!("\\{c}"), format!("\\{c}")), Kind::Anchor)),
            'd' | 'D' | 's' | 'S' | 'w' | 'W' => Out::same(format!("\\{c}")),
            '1'..='9' => {
                let mut digits = c.to_string();
                if let Some(second) = self.peek().filter(char::is_ascii_digit) {
                    digits.push(second);
                    self.at += 1;
                }
                let number = self.number(&digits)?;
                self.back_reference(number)
            }
            c => Out::same(literal(self.escaped_char(c)?)),
        };
        Ok((out, Kind::Atom))
    }

    /// The character that `\c` stands for.
    fn escaped_char(&mut self, c: char) -> Result<char, String> {
        let length = match c {
            'n' => return Ok('\n'),
            't' => return Ok('\t'),
            'r' => return Ok('\r'),
            'f' => return Ok('\x0c'),
            'v' => return Ok('\x0b'),
            'a' => return Ok('\x07'),
            '0' => {
                let mut value = 0;
                for _ in 0..2 {
                    let Some(digit) = self.peek().and_then(|c| c.to_digit(8)) else { break };
                    value = value * 8 + digit;
                    self.at += 1;
                }
                return char::from_u32(value).ok_or_else(|| "bad octal escape".to_owned());
            }
            'x' => 2,
            'u' => 4,
            'U' => 8,
            c if c.is_ascii_alphanumeric() => return Err(format!("bad escape \\{c}")),
            c => return Ok(c),
        };
        let mut value = 0u32;
        for _ in 0..length {
            let digit = self.peek().and_then(|c| c.to_digit(16));
            let digit = digit.ok_or_else(|| format!("incomplete escape \\{c}"))?;
            value = value.wrapping_mul(16).wrapping_add(digit);
            self.at += 1;
        }
        char::from_u32(value).ok_or_else(|| format!("bad escape \\{c}"))
    }

    pub(super) fn class(&mut self) -> Result<String, String> {
        let mut out = String::from("[");
        if self.eat("^") {
            out.push('^');
        }
        let mut first = true;
        loop {
            let Some(c) = self.next() else { return Err("unterminated character set".into()) };
            if c == ']' && !first {
                break;
            }
            first = false;
            let low = self.class_item(c)?;
            let range = self.peek() == Some('-') && self.chars.get(self.at + 1) != Some(&']');
            let (Ok(low), true) = (&low, range) else {
                out.push_str(&low.map_or_else(|set| set, class_literal));
                continue;
            };
            self.at += 1;
            let Some(c) = self.next() else { return Err("unterminated character set".into()) };
            match self.class_item(c)? {
                Ok(high) if high >= *low => {
                    out.push_str(&format!("{}-{}", class_literal(*low), class_literal(high)));
                }
                _ => return Err("bad character range".into()),
            }
        }
        out.push(']');
        Ok(out)
    }

    /// One character of a class, or `\d` and its kind.
    fn class_item(&mut self, c: char) -> Result<Result<char, String>, String> {
        if c != '\\' {
            return Ok(Ok(c));
        }
        let Some(c) = self.next() else { return Err("unterminated character set".into()) };
        Ok(match c {
            'd' | 'D' | 's' | 'S' | 'w' | 'W' => Err(format!("\\{c}")),
            'b' => Ok('\x08'),
            c @ '1'..='7' => {
                let mut value = c.to_digit(8).unwrap_or_default();
                for _ in 0..2 {
                    let Some(digit) = self.peek().and_then(|c| c.to_digit(8)) else { break };
                    value = value * 8 + digit;
                    self.at += 1;
                }
                Ok(char::from_u32(value).unwrap_or_default())
            }
            c => Ok(self.escaped_char(c)?),
        })
    }
}

/// Whether a group's body is one class, such as `[-/.]`.
pub(super) fn single_class(body: &str) -> bool {
    let Some(inner) = body.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) else {
        return false;
    };
    !inner.is_empty() && !inner.contains(['[', ']', '\\', '^'])
}

/// A character outside of a class, for both crates.
pub(super) fn literal(c: char) -> String {
    match c {
        '\n' => "\\n".into(),
        '\\' | '.' | '+' | '*' | '?' | '(' | ')' | '|' | '[' | ']' | '{' | '}' | '^' | '$' => {
            format!("\\{c}")
        }
        c if c.is_control() => format!("\\x{{{:x}}}", u32::from(c)),
        c => c.to_string(),
    }
}

/// A character within a class, for both crates.
fn class_literal(c: char) -> String {
    match c {
        '\\' | '[' | ']' | '^' | '-' | '&' | '~' => format!("\\{c}"),
        c if c.is_control() => format!("\\x{{{:x}}}", u32::from(c)),
        c => c.to_string(),
    }
}
