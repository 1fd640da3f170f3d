//! From words to fields: braces, tilde, parameters, command output,
//! arithmetic, splitting, file names. The order is POSIX's.

use super::arithmetic::{self, Variables};
use super::ast::{Change, Part, Word};
use super::pattern;
use super::{Flavor, Flow, Shell};

/// Most fields that one word or pattern becomes.
const MAX_FIELDS: usize = 4_096;
/// Longest field, in bytes.
const MAX_FIELD_BYTES: usize = 1024 * 1024;

/// A field being built: a pattern whose quoted bytes are escaped.
#[derive(Default)]
struct Field {
    text: Vec<u8>,
    begun: bool,
}

impl Field {
    fn quoted(&mut self, bytes: &[u8]) {
        self.begun = true;
        for byte in bytes {
            if matches!(byte, b'*' | b'?' | b'[' | b'\\' | b']') {
                self.text.push(b'\\');
            }
            self.text.push(*byte);
        }
    }

    fn plain(&mut self, bytes: &[u8]) {
        self.begun |= !bytes.is_empty();
        self.text.extend_from_slice(bytes);
    }
}

impl Variables for Shell {
    fn get(&mut self, name: &[u8]) -> Vec<u8> {
        self.variable(name).unwrap_or_default()
    }

    fn set(&mut self, name: &[u8], value: i64) {
        self.assign(name, value.to_string().into_bytes());
    }
}

impl Shell {
    /// Words as the arguments of a command.
    pub(super) fn fields(&mut self, words: &[Word]) -> Result<Vec<Vec<u8>>, Flow> {
        let mut out = Vec::with_capacity(words.len());
        for word in words {
            if let [Part::Plain(bytes)] = word.0.as_slice()
                && !bytes.iter().any(|b| matches!(b, b'*' | b'?' | b'[' | b'{' | b'~' | b'\\'))
            {
                out.push(bytes.clone());
                continue;
            }
            for word in self.braces(word)? {
                for field in self.split(&word)? {
                    self.spread(field, &mut out)?;
                }
            }
            if out.len() > MAX_FIELDS {
                self.budget.spend();
                return Err(Flow::Stop);
            }
        }
        Ok(out)
    }

    /// A word as one text, as in assignments and redirections.
    pub(super) fn one(&mut self, word: &Word) -> Result<Vec<u8>, Flow> {
        Ok(pattern::plain(&self.pattern(word)?))
    }

    /// A word as a pattern.
    pub(super) fn pattern(&mut self, word: &Word) -> Result<Vec<u8>, Flow> {
        let mut field = Field::default();
        for (index, part) in word.0.iter().enumerate() {
            match part {
                Part::Plain(bytes) => {
                    let bytes = if index == 0 { self.tilde(bytes) } else { bytes.clone() };
                    field.plain(&bytes);
                }
                Part::Quoted(bytes) => field.quoted(bytes),
                other => {
                    let quoted = is_quoted(other);
                    let value = self.value(other)?.join(&b' ');
                    if quoted {
                        field.quoted(&value)
                    } else {
                        field.plain(&escape_backslash(&value))
                    }
                }
            }
            self.fits(&field)?;
        }
        Ok(field.text)
    }

    fn fits(&mut self, field: &Field) -> Result<(), Flow> {
        if field.text.len() > MAX_FIELD_BYTES || !self.budget.take(1) {
            self.budget.spend();
            return Err(Flow::Stop);
        }
        Ok(())
    }

    /// The fields of a word, as patterns.
    fn split(&mut self, word: &Word) -> Result<Vec<Field>, Flow> {
        let mut done = Vec::new();
        let mut field = Field::default();
        for (index, part) in word.0.iter().enumerate() {
            match part {
                Part::Plain(bytes) => {
                    let bytes = if index == 0 { self.tilde(bytes) } else { bytes.clone() };
                    field.plain(&bytes);
                }
                Part::Quoted(bytes) => field.quoted(bytes),
                other if is_quoted(other) => {
                    // "$@" makes a field of each; nothing where there are none.
                    let values = self.value(other)?;
                    let list = matches!(other, Part::Parameter { name, index, .. }
                        if name == b"@" || index.as_ref().is_some_and(|i| i.0.first().is_some_and(|p| matches!(p, Part::Quoted(b) if b == b"@"))));
                    if !list {
                        field.quoted(&values.join(&b' '));
                        self.fits(&field)?;
                        continue;
                    }
                    for (index, value) in values.iter().enumerate() {
                        if index > 0 {
                            done.push(std::mem::take(&mut field));
                        }
                        field.quoted(value);
                    }
                    if values.is_empty() && word.0.len() <= 2 {
                        field.begun = false;
                    }
                }
                other => {
                    let separators = self.variable(b"IFS").unwrap_or_else(|| b" \t\n".to_vec());
                    for (index, value) in self.value(other)?.iter().enumerate() {
                        if index > 0 && field.begun {
                            done.push(std::mem::take(&mut field));
                        }
                        self.separate(value, &separators, &mut field, &mut done)?;
                    }
                }
            }
            self.fits(&field)?;
        }
        if field.begun {
            done.push(field);
        }
        Ok(done)
    }

    fn separate(
        &mut self,
        value: &[u8],
        separators: &[u8],
        field: &mut Field,
        done: &mut Vec<Field>,
    ) -> Result<(), Flow> {
        if !self.budget.work(value.len()) {
            return Err(Flow::Stop);
        }
        for (index, piece) in value.split(|byte| separators.contains(byte)).enumerate() {
            if index > 0 && field.begun {
                done.push(std::mem::take(field));
                if done.len() > MAX_FIELDS {
                    self.budget.spend();
                    return Err(Flow::Stop);
                }
            }
            field.plain(&escape_backslash(piece));
        }
        Ok(())
    }

    /// A field as it is, or the names it matches.
    fn spread(&mut self, field: Field, out: &mut Vec<Vec<u8>>) -> Result<(), Flow> {
        if !pattern::is_pattern(&field.text) {
            out.push(pattern::plain(&field.text));
            return Ok(());
        }
        let names = self.names_like(&field.text)?;
        if names.is_empty() {
            out.push(pattern::plain(&field.text));
        }
        out.extend(names);
        Ok(())
    }

    /// The paths that match a pattern, sorted.
    fn names_like(&mut self, text: &[u8]) -> Result<Vec<Vec<u8>>, Flow> {
        let absolute = text.starts_with(b"/");
        let mut found: Vec<String> = vec![String::new()];
        let parts: Vec<&[u8]> = text.split(|b| *b == b'/').filter(|p| !p.is_empty()).collect();
        for (depth, part) in parts.iter().enumerate() {
            let mut next = Vec::new();
            for before in &found {
                let shown = match (depth, absolute) {
                    (0, true) => "/".to_owned(),
                    (0, false) => String::new(),
                    _ => format!("{before}/"),
                };
                let path = self.path(if shown.is_empty() { "." } else { &shown });
                if !pattern::is_pattern(part) {
                    let name = String::from_utf8_lossy(&pattern::plain(part)).into_owned();
                    let whole = format!("{shown}{name}");
                    if self.files.stat(&self.path(&whole), false).is_ok() {
                        next.push(whole);
                    }
                    continue;
                }
                let names = self.files.list(&path).unwrap_or_default();
                if !self.budget.take(1 + u32::try_from(names.len() / 4).unwrap_or(u32::MAX)) {
                    return Err(Flow::Stop);
                }
                for name in names {
                    let hidden = name.starts_with('.') && !part.starts_with(b".");
                    if !hidden && pattern::matches(part, name.as_bytes()) {
                        next.push(format!("{shown}{name}"));
                    }
                    if next.len() > MAX_FIELDS {
                        self.budget.spend();
                        return Err(Flow::Stop);
                    }
                }
            }
            found = next;
        }
        Ok(found.into_iter().map(String::into_bytes).collect())
    }

    fn tilde(&self, bytes: &[u8]) -> Vec<u8> {
        let Some(rest) = bytes.strip_prefix(b"~") else { return bytes.to_vec() };
        let length = rest.iter().position(|b| *b == b'/').unwrap_or(rest.len());
        let (name, after) = rest.split_at(length);
        let name = String::from_utf8_lossy(name);
        let home = if name.is_empty() {
            self.variable(b"HOME")
        } else {
            let users = &self.world.machine.users;
            users.iter().find(|user| user.name == name).map(|user| user.home.clone().into_bytes())
        };
        home.map_or_else(|| bytes.to_vec(), |home| [&home, after].concat())
    }

    /// The values a part stands for; more than one for `$@` and arrays.
    fn value(&mut self, part: &Part) -> Result<Vec<Vec<u8>>, Flow> {
        match part {
            Part::Plain(bytes) | Part::Quoted(bytes) => Ok(vec![bytes.clone()]),
            Part::Output { script, .. } => Ok(vec![self.output_of(script)?]),
            Part::Number { expression, .. } => {
                let text = self.one(expression)?;
                let value = self.calculate(&text)?;
                Ok(vec![value.to_string().into_bytes()])
            }
            Part::Parameter { name, index, change, .. } => {
                self.parameter(name, index.as_deref(), change)
            }
        }
    }

    /// The value of an arithmetic expression; a mistake ends the line.
    pub(super) fn calculate(&mut self, text: &[u8]) -> Result<i64, Flow> {
        if !self.budget.work(text.len()) {
            return Err(Flow::Stop);
        }
        match arithmetic::evaluate(text, self) {
            Ok(value) => Ok(value),
            Err(why) => {
                let shown = String::from_utf8_lossy(text).into_owned();
                let message = if self.flavor == Flavor::Bash {
                    format!(
                        "{shown}: {why} (error token is \"{}\")",
                        shown.split(['/', '%', ' ']).next_back().unwrap_or("")
                    )
                } else {
                    format!("arithmetic expression: {why}: \"{shown}\"")
                };
                self.complain(message.as_bytes());
                self.status = 1;
                Err(Flow::Abort)
            }
        }
    }

    fn parameter(
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

    /// `{a,b}` and `{1..9}`, where the shell knows them.
    fn braces(&mut self, word: &Word) -> Result<Vec<Word>, Flow> {
        let has = |part: &Part| matches!(part, Part::Plain(bytes) if bytes.contains(&b'{'));
        if self.flavor != Flavor::Bash || !word.0.iter().any(has) {
            return Ok(vec![word.clone()]);
        }
        let mut words: Vec<Vec<Part>> = vec![Vec::new()];
        for part in &word.0 {
            let choices = match part {
                Part::Plain(bytes) => super::braces::expand(bytes, MAX_FIELDS),
                _ => Vec::new(),
            };
            if choices.len() < 2 {
                words.iter_mut().for_each(|word| word.push(part.clone()));
                continue;
            }
            if words.len() * choices.len() > MAX_FIELDS
                || !self.budget.take(u32::try_from(choices.len()).unwrap_or(u32::MAX))
            {
                self.budget.spend();
                return Err(Flow::Stop);
            }
            let with = |word: &Vec<Part>, choice: &Vec<u8>| {
                let mut word = word.clone();
                word.push(Part::Plain(choice.clone()));
                word
            };
            words = words
                .iter()
                .flat_map(|word| choices.iter().map(move |choice| with(word, choice)))
                .collect();
        }
        Ok(words.into_iter().map(Word).collect())
    }
}

fn is_quoted(part: &Part) -> bool {
    match part {
        Part::Plain(_) => false,
        Part::Quoted(_) => true,
        Part::Parameter { quoted, .. }
        | Part::Output { quoted, .. }
        | Part::Number { quoted, .. } => *quoted,
    }
}

/// A value's backslashes are no escapes.
fn escape_backslash(value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len());
    for byte in value {
        if *byte == b'\\' {
            out.push(b'\\');
        }
        out.push(*byte);
    }
    out
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
