//! The grammar of assignments, redirections and here-documents.

use std::sync::{Arc, OnceLock};

use super::ast::{Assign, Part, Redirect, RedirectTo, Value, Word};
use super::lexer::{Parsed, Parser, SyntaxError, is_name, is_name_start};

/// A here-document whose text is still to come.
#[derive(Debug)]
pub(super) struct HereDoc {
    end: Vec<u8>,
    strip_tabs: bool,
    literal: bool,
    slot: Arc<OnceLock<Word>>,
}

impl Parser<'_> {
    pub(super) fn assign(&mut self) -> Parsed<Option<Assign>> {
        let rest = self.rest();
        if !rest.first().copied().is_some_and(is_name_start) {
            return Ok(None);
        }
        let length = rest.iter().take_while(|byte| is_name(**byte)).count();
        let after = rest.get(length..).unwrap_or_default();
        let (append, skip) = match after {
            [b'=', ..] => (false, 1),
            [b'+', b'=', ..] => (true, 2),
            _ => return Ok(None),
        };
        let name = rest.get(..length).unwrap_or_default().to_vec();
        self.at += length + skip;
        let value = if self.peek() == Some(b'(') {
            self.at += 1;
            let mut items = Vec::new();
            loop {
                self.lines()?;
                match self.word()? {
                    Some(word) => items.push(word),
                    None if self.peek() == Some(b')') => break,
                    None => return Err(self.unexpected()),
                }
            }
            self.at += 1;
            Value::Many(items)
        } else {
            Value::One(self.word()?.unwrap_or_default())
        };
        Ok(Some(Assign { name, append, value }))
    }

    pub(super) fn redirect(&mut self) -> Parsed<Option<Redirect>> {
        self.blanks();
        let rest = self.rest();
        if rest.starts_with(b"&>") {
            let append = rest.starts_with(b"&>>");
            self.at += 2 + usize::from(append);
            let to = RedirectTo::Both(self.target()?, append);
            return Ok(Some(Redirect { fd: None, to }));
        }
        let (fd, skip) = match rest {
            [digit @ b'0'..=b'9', b'<' | b'>', ..] => (Some(digit - b'0'), 1),
            [b'<' | b'>', ..] => (None, 0),
            _ => return Ok(None),
        };
        let rest = rest.get(skip..).unwrap_or_default();
        let operators: [&[u8]; 10] =
            [b"<<<", b"<<-", b"<<", b"<>", b"<&", b"<", b">>", b">&", b">|", b">"];
        let Some(operator) = operators.into_iter().find(|text| rest.starts_with(text)) else {
            return Ok(None);
        };
        // `<(…)` is no file here; the word after it is what it is about.
        self.at += skip + operator.len();
        let to = match operator {
            b"<<" | b"<<-" => RedirectTo::Here(self.announce(operator == b"<<-")?),
            b"<<<" => RedirectTo::HereString(self.target()?),
            b"<>" => RedirectTo::ReadWrite(self.target()?),
            b"<&" | b">&" => RedirectTo::Duplicate(self.target()?),
            b"<" => RedirectTo::Read(self.target()?),
            b">>" => RedirectTo::Append(self.target()?),
            _ => RedirectTo::Write(self.target()?),
        };
        let fd = fd.or_else(|| (operator.first() == Some(&b'<')).then_some(0));
        Ok(Some(Redirect { fd, to }))
    }

    fn target(&mut self) -> Parsed<Word> {
        self.blanks();
        match self.word()? {
            Some(word) => Ok(word),
            None if self.peek().is_none() => {
                Err(SyntaxError::Unexpected(b"newline".to_vec(), self.line))
            }
            None => Err(self.unexpected()),
        }
    }

    fn announce(&mut self, strip_tabs: bool) -> Parsed<Arc<OnceLock<Word>>> {
        let word = self.target()?;
        let literal = !matches!(word.0.as_slice(), [Part::Plain(_)]);
        let end = word.0.into_iter().fold(Vec::new(), |mut text, part| {
            if let Part::Plain(mut bytes) | Part::Quoted(mut bytes) = part {
                text.append(&mut bytes);
            }
            text
        });
        let slot = Arc::new(OnceLock::new());
        self.heredocs.push(HereDoc { end, strip_tabs, literal, slot: Arc::clone(&slot) });
        Ok(slot)
    }

    pub(super) fn read_heredocs(&mut self) -> Parsed<()> {
        for document in std::mem::take(&mut self.heredocs) {
            let mut text = Vec::new();
            loop {
                if self.peek().is_none() {
                    return Err(SyntaxError::Incomplete);
                }
                let rest = self.rest();
                let length = rest.iter().position(|b| *b == b'\n');
                let line = rest.get(..length.unwrap_or(rest.len())).unwrap_or_default();
                self.at += line.len() + usize::from(length.is_some());
                self.line += 1;
                let tabs = line.iter().take_while(|b| document.strip_tabs && **b == b'\t').count();
                let line = line.get(tabs..).unwrap_or_default();
                if line.strip_suffix(b"\r").unwrap_or(line) == document.end {
                    break;
                }
                text.extend_from_slice(line);
                text.push(b'\n');
            }
            let word = if document.literal {
                Word(vec![Part::Quoted(text)])
            } else {
                self.document(&text)?
            };
            // Each document has a slot of its own.
            let _ = document.slot.set(word);
        }
        Ok(())
    }
}
