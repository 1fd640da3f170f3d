//! Parameters with what is done to their values: `${name:-…}` and its like.

use super::ast::{Change, Word};
use super::expand::MAX_FIELD_BYTES;
use super::{Flow, Shell, pattern};

impl Shell {
    pub(super) fn parameter(
        &mut self,
        name: &[u8],
        index: Option<&Word>,
        change: &Change,
    ) -> Result<Vec<Vec<u8>>, Flow> {
        let index = match index {
            Some(word) => Some(self.one(word)?),
            None => None,
        };
        let all = matches!(index.as_deref(), Some(b"@" | b"*"))
            || (index.is_none() && matches!(name, b"@" | b"*"));
        let mut values = if all {
            if matches!(name, b"@" | b"*") { self.parameters.clone() } else { self.array(name) }
        } else {
            let value = match &index {
                Some(text) => {
                    let place = self.calculate(text)?;
                    usize::try_from(place)
                        .ok()
                        .and_then(|place| self.array(name).get(place).cloned())
                }
                None => self.variable(name),
            };
            value.into_iter().collect()
        };
        let lacks = |values: &[Vec<u8>], also_empty: bool| {
            values.is_empty() || also_empty && values.iter().all(Vec::is_empty)
        };
        match change {
            Change::None => {}
            Change::Length if all => return Ok(vec![values.len().to_string().into_bytes()]),
            Change::Length => {
                let length = values.first().map_or(0, Vec::len);
                return Ok(vec![length.to_string().into_bytes()]);
            }
            Change::Indirect => {
                let name = values.pop().unwrap_or_default();
                return Ok(self.variable(&name).into_iter().collect());
            }
            Change::Default(word, colon) => {
                if lacks(&values, *colon) {
                    return Ok(vec![self.one(word)?]);
                }
            }
            Change::Assign(word, colon) => {
                if lacks(&values, *colon) {
                    let value = self.one(word)?;
                    self.assign(name, value.clone());
                    return Ok(vec![value]);
                }
            }
            Change::Other(word, colon) => {
                return if lacks(&values, *colon) {
                    Ok(Vec::new())
                } else {
                    Ok(vec![self.one(word)?])
                };
            }
            Change::Complain(word, colon) => {
                if lacks(&values, *colon) {
                    let mut message = name.to_vec();
                    message.extend_from_slice(b": ");
                    message.extend(self.one(word)?);
                    self.complain(&message);
                    self.status = 1;
                    return Err(Flow::Abort);
                }
            }
            Change::Slice { from, length } => {
                let text = self.one(from)?;
                let from = self.calculate(&text)?;
                let length = match length {
                    Some(word) => {
                        let text = self.one(word)?;
                        Some(self.calculate(&text)?)
                    }
                    None => None,
                };
                if all {
                    values = slice(&values, from, length).to_vec();
                } else {
                    values =
                        values.iter().map(|value| slice(value, from, length).to_vec()).collect();
                }
            }
            Change::TrimStart(word, longest) | Change::TrimEnd(word, longest) => {
                let pattern = self.pattern(word)?;
                let end = matches!(change, Change::TrimEnd(..));
                for value in &mut values {
                    let work = value.len().saturating_mul(value.len().min(pattern.len() + 1)) / 16;
                    if !self.budget.work(work) {
                        return Err(Flow::Stop);
                    }
                    trim(value, &pattern, end, *longest);
                }
            }
            Change::Replace { pattern, with, all } => {
                let (pattern, with) = (self.pattern(pattern)?, self.one(with)?);
                for value in &mut values {
                    if !self.budget.work(value.len().saturating_mul(value.len().min(4_096)) / 64) {
                        return Err(Flow::Stop);
                    }
                    *value = replace(value, &pattern, &with, *all);
                    if value.len() > MAX_FIELD_BYTES {
                        return Err(Flow::Stop);
                    }
                }
            }
            Change::Upper(every) => {
                for value in &mut values {
                    let count = if *every { value.len() } else { 1.min(value.len()) };
                    value.iter_mut().take(count).for_each(|byte| *byte = byte.to_ascii_uppercase());
                }
            }
            Change::Lower(every) => {
                for value in &mut values {
                    let count = if *every { value.len() } else { 1.min(value.len()) };
                    value.iter_mut().take(count).for_each(|byte| *byte = byte.to_ascii_lowercase());
                }
            }
        }
        Ok(values)
    }
}

fn slice<T>(items: &[T], from: i64, length: Option<i64>) -> &[T] {
    let count = i64::try_from(items.len()).unwrap_or(i64::MAX);
    let from = if from < 0 { (count + from).max(0) } else { from.min(count) };
    let to = match length {
        Some(length) if length < 0 => (count + length).max(from),
        Some(length) => from.saturating_add(length).min(count),
        None => count,
    };
    let place = |at: i64| usize::try_from(at).unwrap_or(0);
    items.get(place(from)..place(to)).unwrap_or_default()
}

fn trim(value: &mut Vec<u8>, pattern: &[u8], end: bool, longest: bool) {
    let count = value.len();
    let cuts: Box<dyn Iterator<Item = usize>> = match (end, longest) {
        (false, false) | (true, true) => Box::new(0..=count),
        _ => Box::new((0..=count).rev()),
    };
    for cut in cuts {
        let (head, tail) = value.split_at(cut);
        let part = if end { tail } else { head };
        if pattern::matches(pattern, part) {
            if end {
                value.truncate(cut);
            } else {
                value.drain(..cut);
            }
            return;
        }
    }
}

fn replace(value: &[u8], pattern: &[u8], with: &[u8], all: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len());
    let mut at = 0;
    let literal = !pattern::is_pattern(pattern);
    let plain = pattern::plain(pattern);
    while at < value.len() {
        let rest = value.get(at..).unwrap_or_default();
        let length = if literal {
            (!plain.is_empty() && rest.starts_with(&plain)).then_some(plain.len())
        } else {
            (1..=rest.len())
                .rev()
                .find(|n| pattern::matches(pattern, rest.get(..*n).unwrap_or_default()))
        };
        match length {
            Some(length) => {
                out.extend_from_slice(with);
                at += length;
                if !all || out.len() > MAX_FIELD_BYTES {
                    out.extend_from_slice(value.get(at..).unwrap_or_default());
                    return out;
                }
            }
            None => {
                out.extend(rest.first());
                at += 1;
            }
        }
    }
    out
}
