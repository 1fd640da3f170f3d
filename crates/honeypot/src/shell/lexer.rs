//! Words: quotes, `$…`, backticks. Half of the [`Parser`]; the grammar is the
//! other half.

use std::sync::Arc;

use super::ast::{Change, Part, Script, Word};

/// Longest script that is read, in bytes.
pub(super) const MAX_SCRIPT_BYTES: usize = 256 * 1024;
/// Most constructs inside each other.
pub(super) const MAX_NESTING: u32 = 40;

/// Why there is no tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SyntaxError {
    /// More must be typed.
    Incomplete,
    /// This does not belong here.
    Unexpected(Vec<u8>, u32),
    /// Nested deeper than [`MAX_NESTING`].
    TooDeep,
    /// `${…}` makes no sense.
    BadSubstitution(Vec<u8>),
}

pub(super) type Parsed<T> = Result<T, SyntaxError>;

/// Reads a script.
#[derive(Debug)]
pub(super) struct Parser<'a> {
    pub(super) source: &'a [u8],
    pub(super) at: usize,
    pub(super) line: u32,
    pub(super) depth: u32,
    pub(super) heredocs: Vec<super::redirects::HereDoc>,
}

/// Whether a byte ends an unquoted word.
pub(super) fn is_meta(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b';' | b'&' | b'|' | b'<' | b'>' | b'(' | b')')
}

pub(super) fn is_name_start(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_'
}

pub(super) fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

impl<'a> Parser<'a> {
    pub(super) fn new(source: &'a [u8]) -> Self {
        let source = source.get(..MAX_SCRIPT_BYTES).unwrap_or(source);
        Self { source, at: 0, line: 1, depth: 0, heredocs: Vec::new() }
    }

    /// A parser for a part of this one's source, one level deeper.
    fn inner<'b>(&self, source: &'b [u8]) -> Parsed<Parser<'b>> {
        if self.depth >= MAX_NESTING {
            return Err(SyntaxError::TooDeep);
        }
        Ok(Parser { source, at: 0, line: self.line, depth: self.depth + 1, heredocs: Vec::new() })
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.source.get(self.at).copied()
    }

    pub(super) fn ahead(&self, by: usize) -> Option<u8> {
        self.source.get(self.at + by).copied()
    }

    pub(super) fn looks_at(&self, text: &[u8]) -> bool {
        self.rest().starts_with(text)
    }

    pub(super) fn rest(&self) -> &'a [u8] {
        self.source.get(self.at..).unwrap_or_default()
    }

    pub(super) fn bump(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        if byte == b'\n' {
            self.line += 1;
        }
        Some(byte)
    }

    /// A word at the present place; `None` where none begins.
    pub(super) fn word(&mut self) -> Parsed<Option<Word>> {
        let before = self.at;
        let parts = self.parts(&|_, byte| is_meta(byte), false)?;
        Ok((self.at > before).then_some(Word(parts)))
    }

    /// Parts up to a byte that `ends`; quoted as between double quotes where
    /// `quoted`.
    fn parts(&mut self, ends: &dyn Fn(&Self, u8) -> bool, quoted: bool) -> Parsed<Vec<Part>> {
        let (mut parts, mut plain) = (Vec::new(), Vec::new());
        let flush = |plain: &mut Vec<u8>, parts: &mut Vec<Part>| {
            if !plain.is_empty() {
                let bytes = std::mem::take(plain);
                parts.push(if quoted { Part::Quoted(bytes) } else { Part::Plain(bytes) });
            }
        };
        while let Some(byte) = self.peek() {
            if ends(self, byte) {
                break;
            }
            match byte {
                b'\\' => {
                    self.bump();
                    match self.peek() {
                        None => return Err(SyntaxError::Incomplete),
                        Some(b'\n') => {
                            self.bump();
                        }
                        Some(next) if quoted && !matches!(next, b'$' | b'`' | b'"' | b'\\') => {
                            plain.push(b'\\');
                        }
                        Some(next) => {
                            self.bump();
                            flush(&mut plain, &mut parts);
                            parts.push(Part::Quoted(vec![next]));
                        }
                    }
                }
                b'\'' if !quoted => {
                    self.bump();
                    flush(&mut plain, &mut parts);
                    parts.push(Part::Quoted(self.until(b'\'')?));
                }
                b'"' if !quoted => {
                    self.bump();
                    flush(&mut plain, &mut parts);
                    // An empty pair of quotes makes a word, too.
                    parts.push(Part::Quoted(Vec::new()));
                    parts.append(&mut self.parts(&|_, byte| byte == b'"', true)?);
                    if self.bump().is_none() {
                        return Err(SyntaxError::Incomplete);
                    }
                }
                b'`' => {
                    self.bump();
                    flush(&mut plain, &mut parts);
                    let text = self.backticks(quoted)?;
                    let script = Arc::new(self.inner(&text)?.whole()?);
                    parts.push(Part::Output { script, quoted });
                }
                b'$' => {
                    if let Some(part) = self.dollar(quoted)? {
                        flush(&mut plain, &mut parts);
                        parts.push(part);
                    } else {
                        self.bump();
                        plain.push(b'$');
                    }
                }
                _ => {
                    self.bump();
                    plain.push(byte);
                }
            }
        }
        flush(&mut plain, &mut parts);
        Ok(parts)
    }

    /// The text of a here-document as a word.
    pub(super) fn document(&self, text: &[u8]) -> Parsed<Word> {
        let mut inner = self.inner(text)?;
        Ok(Word(inner.parts(&|_, _| false, true)?))
    }

    fn until(&mut self, end: u8) -> Parsed<Vec<u8>> {
        let mut text = Vec::new();
        loop {
            match self.bump() {
                None => return Err(SyntaxError::Incomplete),
                Some(byte) if byte == end => return Ok(text),
                Some(byte) => text.push(byte),
            }
        }
    }

    fn backticks(&mut self, quoted: bool) -> Parsed<Vec<u8>> {
        let mut text = Vec::new();
        loop {
            match self.bump() {
                None => return Err(SyntaxError::Incomplete),
                Some(b'`') => return Ok(text),
                Some(b'\\') => match self.peek() {
                    Some(next) if matches!(next, b'`' | b'\\' | b'$') || quoted && next == b'"' => {
                        self.bump();
                        text.push(next);
                    }
                    _ => text.push(b'\\'),
                },
                Some(byte) => text.push(byte),
            }
        }
    }

    /// What a `$` at the present place begins; `None` where it stands alone.
    fn dollar(&mut self, quoted: bool) -> Parsed<Option<Part>> {
        let Some(next) = self.ahead(1) else { return Ok(None) };
        Ok(Some(match next {
            b'(' => {
                if self.ahead(2) == Some(b'(')
                    && let Some(text) = self.arithmetic(3)
                {
                    let expression = self.inner(text)?.expression()?;
                    return Ok(Some(Part::Number { expression, quoted }));
                }
                self.at += 2;
                let script = Arc::new(self.until_paren()?);
                Part::Output { script, quoted }
            }
            b'{' => {
                self.at += 2;
                return self.braces(quoted).map(Some);
            }
            b'\'' if !quoted => {
                self.at += 2;
                Part::Quoted(self.ansi_c()?)
            }
            b'"' if !quoted => {
                self.bump();
                return Ok(Some(Part::Quoted(Vec::new())));
            }
            _ if is_name_start(next) => {
                self.at += 1;
                let length = self.rest().iter().take_while(|byte| is_name(**byte)).count();
                let name = self.rest().get(..length).unwrap_or_default().to_vec();
                self.at += length;
                Part::Parameter { name, index: None, change: Change::None, quoted }
            }
            b'0'..=b'9' | b'?' | b'$' | b'!' | b'#' | b'@' | b'*' | b'-' => {
                self.at += 2;
                let name = vec![next];
                Part::Parameter { name, index: None, change: Change::None, quoted }
            }
            _ => return Ok(None),
        }))
    }

    /// The script up to the closing bracket of `$(`.
    pub(super) fn until_paren(&mut self) -> Parsed<Script> {
        if self.depth >= MAX_NESTING {
            return Err(SyntaxError::TooDeep);
        }
        self.depth += 1;
        let script = self.script();
        self.depth -= 1;
        let script = script?;
        match self.bump() {
            Some(b')') => Ok(script),
            None => Err(SyntaxError::Incomplete),
            Some(byte) => Err(SyntaxError::Unexpected(vec![byte], self.line)),
        }
    }

    /// The text between `((` and `))`, `skip` bytes ahead, stepping over it.
    pub(super) fn arithmetic(&mut self, skip: usize) -> Option<&'a [u8]> {
        let text = self.source.get(self.at + skip..)?;
        let mut depth = 0u32;
        for (index, byte) in text.iter().enumerate() {
            match byte {
                b'(' => depth += 1,
                b')' if depth > 0 => depth -= 1,
                b')' => {
                    if text.get(index + 1) != Some(&b')') {
                        return None;
                    }
                    self.at += skip + index + 2;
                    return text.get(..index);
                }
                _ => {}
            }
        }
        None
    }

    /// The whole source as an arithmetic expression with its expansions.
    pub(super) fn expression(mut self) -> Parsed<Word> {
        Ok(Word(self.parts(&|_, _| false, true)?))
    }

    /// An expression that is part of this source, one level deeper.
    pub(super) fn inner_expression(&self, text: &[u8]) -> Parsed<Word> {
        self.inner(text)?.expression()
    }

    fn ansi_c(&mut self) -> Parsed<Vec<u8>> {
        let mut text = Vec::new();
        loop {
            match self.bump() {
                None => return Err(SyntaxError::Incomplete),
                Some(b'\'') => return Ok(super::escape::unescape(&text, false).0),
                Some(b'\\') => {
                    let next = self.bump().ok_or(SyntaxError::Incomplete)?;
                    match next {
                        b'\'' | b'"' => text.push(next),
                        _ => text.extend([b'\\', next]),
                    }
                }
                Some(byte) => text.push(byte),
            }
        }
    }

    /// What follows `${`.
    fn braces(&mut self, quoted: bool) -> Parsed<Part> {
        if self.depth >= MAX_NESTING {
            return Err(SyntaxError::TooDeep);
        }
        self.depth += 1;
        let part = self.parameter(quoted);
        self.depth -= 1;
        part
    }

    fn parameter(&mut self, quoted: bool) -> Parsed<Part> {
        let start = self.at;
        let length = match (self.peek(), self.ahead(1)) {
            (Some(b'#'), Some(next)) if next != b'}' => true,
            (None, _) => return Err(SyntaxError::Incomplete),
            _ => false,
        };
        let indirect = self.peek() == Some(b'!') && self.ahead(1).is_some_and(is_name_start);
        if length || indirect {
            self.bump();
        }
        let name = match self.peek() {
            None => return Err(SyntaxError::Incomplete),
            Some(byte) if is_name(byte) => {
                let count = self.rest().iter().take_while(|byte| is_name(**byte)).count();
                let name = self.rest().get(..count).unwrap_or_default().to_vec();
                self.at += count;
                name
            }
            Some(byte @ (b'?' | b'$' | b'!' | b'#' | b'@' | b'*' | b'-')) => {
                self.bump();
                vec![byte]
            }
            Some(_) => return self.bad(start),
        };
        let mut index = None;
        if self.peek() == Some(b'[') {
            self.bump();
            index = Some(Box::new(Word(self.parts(&|_, byte| byte == b']', true)?)));
            self.bump();
        }
        let change = if length {
            Change::Length
        } else if indirect {
            Change::Indirect
        } else {
            self.change(start, quoted)?
        };
        match self.bump() {
            Some(b'}') => Ok(Part::Parameter { name, index, change, quoted }),
            None => Err(SyntaxError::Incomplete),
            Some(_) => self.bad(start),
        }
    }

    fn bad<T>(&self, start: usize) -> Parsed<T> {
        let text = self.source.get(start..).unwrap_or_default();
        let length = text.iter().position(|byte| *byte == b'}').unwrap_or(text.len()).min(80);
        let shown = [b"${", text.get(..length).unwrap_or_default(), b"}"].concat();
        Err(SyntaxError::BadSubstitution(shown))
    }

    fn change(&mut self, start: usize, quoted: bool) -> Parsed<Change> {
        let colon = self.peek() == Some(b':');
        let byte = if colon { self.ahead(1) } else { self.peek() };
        if let Some(kind @ (b'-' | b'=' | b'+' | b'?')) = byte {
            self.at += 1 + usize::from(colon);
            let word = Box::new(self.until_brace(b"}", quoted)?);
            return Ok(match kind {
                b'-' => Change::Default(word, colon),
                b'=' => Change::Assign(word, colon),
                b'+' => Change::Other(word, colon),
                _ => Change::Complain(word, colon),
            });
        }
        if colon {
            self.bump();
            let from = Box::new(self.until_brace(b":}", true)?);
            let length = if self.peek() == Some(b':') {
                self.bump();
                Some(Box::new(self.until_brace(b"}", true)?))
            } else {
                None
            };
            return Ok(Change::Slice { from, length });
        }
        let Some(kind) = byte else { return Err(SyntaxError::Incomplete) };
        if kind == b'}' {
            return Ok(Change::None);
        }
        self.bump();
        let twice = self.peek() == Some(kind);
        if twice {
            self.bump();
        }
        Ok(match kind {
            b'#' => Change::TrimStart(Box::new(self.until_brace(b"}", false)?), twice),
            b'%' => Change::TrimEnd(Box::new(self.until_brace(b"}", false)?), twice),
            b'/' => {
                let pattern = Box::new(self.until_brace(b"/}", false)?);
                let with = if self.peek() == Some(b'/') {
                    self.bump();
                    Box::new(self.until_brace(b"}", quoted)?)
                } else {
                    Box::default()
                };
                Change::Replace { pattern, with, all: twice }
            }
            b'^' => Change::Upper(twice),
            b',' => Change::Lower(twice),
            _ => return self.bad(start),
        })
    }

    fn until_brace(&mut self, ends: &'static [u8], quoted: bool) -> Parsed<Word> {
        Ok(Word(self.parts(&|_, byte| ends.contains(&byte), quoted)?))
    }
}
