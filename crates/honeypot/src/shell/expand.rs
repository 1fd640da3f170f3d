//! From words to fields: braces, tilde, parameters, command output,
//! arithmetic, splitting, file names. The order is POSIX's.

use super::arithmetic::{self, Variables};
use super::ast::{Part, Word};
use super::pattern;
use super::{Flavor, Flow, Shell};

/// Most fields that one word or pattern becomes.
const MAX_FIELDS: usize = 4_096;
/// Longest field, in bytes.
pub(super) const MAX_FIELD_BYTES: usize = 1024 * 1024;

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
