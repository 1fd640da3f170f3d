//! One message that a program writes: how it is recognised and what is in it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use palisade_event::{EventKind, Outcome};
use regex::bytes::{CaptureLocations, Regex, RegexBuilder};
use regex_syntax::hir::{Hir, HirKind};

use super::field::{self, Field};
use super::file::PatternFile;
use super::found::{Extra, Found, MAX_EXTRAS};
use super::guard::{self, Place};
use super::walk::{Places, Walk};
use crate::parser::peer;

/// Longest expression, in bytes.
const MAX_EXPRESSION_BYTES: usize = 4096;
/// Most memory of one compiled expression, in bytes.
const MAX_COMPILED_BYTES: usize = 1024 * 1024;
/// Shortest text that is worth looking for before an expression is tried.
const MIN_NEEDLE_BYTES: usize = 3;
/// Most other addresses of a message that are tried; more are a forgery.
const MAX_OTHERS: usize = 32;
/// Longest stretch of a message that can be one address, with what is around it;
/// a longer one is a forgery.
const MAX_RUN_BYTES: usize = 128;
/// Most stretches that are read for an address; more are a forgery.
const MAX_READ: usize = 4096;
/// Expressions whose buffers are kept between lines.
const KEPT_BUFFERS: usize = 256;

/// Gives every expression a number of its own.
static NUMBERS: AtomicU64 = AtomicU64::new(0);

/// A pattern, ready.
#[derive(Debug)]
pub(super) struct Pattern {
    /// Answers first; the expression is asked where it does not.
    walk: Option<Walk>,
    regex: Expression,
    number: u64,
    /// What stands before and behind an address that a client may have written.
    doubt: Option<(Expression, Expression)>,
    /// The group of the address.
    source: Option<usize>,
    /// The groups that are fields.
    groups: Vec<(usize, Field)>,
    /// The group that has the time.
    pub(super) time: Option<usize>,
    /// A text that every such message contains.
    pub(super) needle: Option<Vec<u8>>,
    /// Only of these programs: a name, or with a `*` at its end how it begins.
    pub(super) program: Option<Box<str>>,
    /// What happened; nothing where the message says nothing.
    pub(super) kind: Option<EventKind>,
    outcome: Option<Outcome>,
    reason: Option<Box<str>>,
    attributes: Constants,
}

/// An expression that is compiled when it is first needed, which of most parsers
/// is never. Those of users' files are compiled when they are read.
#[derive(Debug)]
struct Expression {
    text: Box<str>,
    compiled: OnceLock<Option<Regex>>,
}

impl Expression {
    fn new(text: impl Into<Box<str>>) -> Self {
        Self { text: text.into(), compiled: OnceLock::new() }
    }

    /// `None` where it is none, which a check has told before.
    fn get(&self) -> Option<&Regex> {
        self.compiled.get_or_init(|| compile(&self.text).ok()).as_ref()
    }

    fn is_match(&self, text: &[u8]) -> bool {
        self.get().is_some_and(|regex| regex.is_match(text))
    }

    /// Compiles it, and says what is wrong.
    fn check(&self) -> Result<(), String> {
        match self.compiled.get() {
            Some(Some(_)) => Ok(()),
            _ => {
                let _ = self.compiled.set(Some(compile(&self.text)?));
                Ok(())
            }
        }
    }
}

/// Buffers that are used again from line to line: where the groups of the last
/// match are, and for each expression one place where its own can be.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    places: Places,
    kept: Vec<Option<(u64, CaptureLocations)>>,
}

impl Buffers {
    /// Takes the buffer of an expression, for it alone.
    fn of(&mut self, number: u64, regex: &Regex) -> &mut CaptureLocations {
        if self.kept.is_empty() {
            self.kept.resize_with(KEPT_BUFFERS, || None);
        }
        let place = number as usize % KEPT_BUFFERS;
        match self.kept.get_mut(place) {
            Some(kept) => {
                if kept.as_ref().is_some_and(|(other, _)| *other != number) {
                    *kept = None;
                }
                &mut kept.get_or_insert_with(|| (number, regex.capture_locations())).1
            }
            None => unreachable!("there are so many places"),
        }
    }
}

impl Pattern {
    /// Checks and compiles. The mistake is a sentence without its subject.
    pub(super) fn new(file: PatternFile) -> Result<Self, String> {
        let expression = &file.expression;
        if expression.is_empty() || expression.len() > MAX_EXPRESSION_BYTES {
            return Err(format!("has no expression, or one above {MAX_EXPRESSION_BYTES} bytes"));
        }
        let hir = parse(expression)?;
        let place = guard::examine(&hir, file.last)?;
        let (regex, whole) = match file.last {
            true => {
                let text = format!("^.*(?:{expression})");
                let whole = parse(&text)?;
                (Expression::new(text), whole)
            }
            false => (Expression::new(expression.as_str()), hir.clone()),
        };
        let doubt = match place {
            Place::Sure => None,
            Place::Doubtful { before, after } => {
                // Printed, an expression says by itself what it is of: bytes.
                let (before, after) = (format!("{before}$"), format!("^{after}"));
                Some((Expression::new(before), Expression::new(after)))
            }
        };
        let mut groups = Vec::new();
        let (mut time, mut source) = (None, None);
        let mut named = Vec::new();
        names(&whole, &mut named);
        for (index, name) in named {
            match Field::named(name)? {
                Field::Time => time = Some(index),
                Field::Source => source = Some(index),
                Field::Message => return Err("has a group 'message'; only JSON has that".into()),
                field => groups.push((index, field)),
            }
        }
        let attributes = constants(&file.attributes)?;
        let extras = groups.iter().filter(|(_, field)| matches!(field, Field::Attribute(_)));
        if extras.count() + attributes.len() > MAX_EXTRAS {
            return Err(format!("has more than {MAX_EXTRAS} attributes"));
        }
        match (file.kind, file.ignore) {
            (None, false) => return Err("has neither 'kind' nor 'ignore = true'".into()),
            (Some(_), true) => return Err("has both 'kind' and 'ignore = true'".into()),
            _ => {}
        }
        let needle = match file.needs {
            Some(text) if text.is_empty() => return Err("has an empty 'needs'".into()),
            Some(text) => Some(text.into_bytes()),
            None => needle(&hir),
        };
        Ok(Self {
            walk: Walk::new(&whole),
            number: NUMBERS.fetch_add(1, Ordering::Relaxed),
            regex,
            doubt,
            source,
            groups,
            time,
            needle,
            program: file.program.map(String::into_boxed_str),
            kind: file.kind,
            outcome: file.outcome,
            reason: file.reason.map(String::into_boxed_str),
            attributes,
        })
    }

    /// Whether it is about messages of this program.
    pub(super) fn is_of(&self, program: &[u8]) -> bool {
        match self.program.as_deref().map(str::as_bytes) {
            None => true,
            Some(name) => match name.strip_suffix(b"*") {
                Some(beginning) => program.starts_with(beginning),
                None => program == name,
            },
        }
    }

    /// Compiles what would be compiled when it is needed. The mistake is a
    /// sentence without its subject.
    pub(super) fn check(&self) -> Result<(), String> {
        self.regex.check()?;
        if let Some((before, after)) = &self.doubt {
            before.check()?;
            after.check()?;
        }
        Ok(())
    }

    /// Looks at a message. The places of its groups stay in `buffers`.
    #[inline]
    pub(super) fn matches(&self, message: &[u8], buffers: &mut Buffers) -> bool {
        let walk = self.walk.as_ref();
        match walk.and_then(|walk| walk.matches(message, &mut buffers.places)) {
            Some(matches) => matches,
            None => self.search(message, buffers),
        }
    }

    /// The same by the regular expression.
    fn search(&self, message: &[u8], buffers: &mut Buffers) -> bool {
        let Some(regex) = self.regex.get() else { return false };
        if self.kind.is_none() {
            // Where its groups are matters to nobody.
            return regex.is_match(message);
        }
        let found = buffers.of(self.number, regex);
        if regex.captures_read(found, message).is_none() {
            return false;
        }
        let groups: Vec<_> = (0..found.len()).map(|group| found.get(group)).collect();
        buffers.places.set(groups.into_iter());
        true
    }

    /// The text of the group with the time, after [`Self::matches`].
    pub(super) fn time<'a>(&self, message: &'a [u8], buffers: &Buffers) -> Option<&'a [u8]> {
        let (start, end) = buffers.places.get(self.time?)?;
        message.get(start..end)
    }

    /// Fills in what the message says, after [`Self::matches`].
    pub(super) fn fill<'a>(&'a self, message: &'a [u8], buffers: &Buffers, found: &mut Found<'a>) {
        found.sighting.outcome = self.outcome.or(found.sighting.outcome);
        if let Some(reason) = &self.reason {
            found.sighting.reason = Some(reason.as_bytes());
        }
        for (name, value) in &self.attributes {
            found.note(name, Extra::Text(value.as_bytes()));
        }
        let text = |group: usize| {
            let (start, end) = buffers.places.get(group)?;
            message.get(start..end)
        };
        for (group, field) in &self.groups {
            if let Some(text) = text(*group) {
                found.put(field, text);
            }
        }
        let Some(group) = self.source else { return };
        let Some(source) = text(group) else { return };
        let forged =
            |(before, after): &(Expression, Expression)| is_forged(message, source, before, after);
        match self.doubt.as_ref().is_some_and(forged) {
            true => found.doubt(),
            false => found.source(source),
        }
    }
}

/// Whether the message fits as well with another address in it as that of the
/// client.
fn is_forged(message: &[u8], source: &[u8], before: &Expression, after: &Expression) -> bool {
    let real = address(source);
    let (mut tried, mut read) = (0, 0);
    for run in runs(message) {
        let text = message.get(run.clone()).unwrap_or_default();
        // Where in it an address could begin and end: at its marks.
        let marks = |text: &[u8]| text.iter().filter(|b| matches!(b, b'.' | b':')).count();
        if marks(text) < 2 {
            continue;
        }
        if text.len() > MAX_RUN_BYTES {
            return true;
        }
        for from in starts(text) {
            for to in ends(text).filter(|to| *to > from + 2) {
                read += 1;
                if read > MAX_READ {
                    return true;
                }
                let other = text.get(from..to).and_then(address);
                if other.is_none() || other == real {
                    continue;
                }
                tried += 1;
                if tried > MAX_OTHERS {
                    return true;
                }
                let (left, right) = (run.start + from, run.start + to);
                let bracketed = message.get(left.wrapping_sub(1)) == Some(&b'[')
                    && message.get(right) == Some(&b']');
                let fits = |left: usize, right: usize| {
                    let parts = message.get(..left).zip(message.get(right..));
                    parts.is_some_and(|(head, tail)| before.is_match(head) && after.is_match(tail))
                };
                if fits(left, right) || (bracketed && fits(left - 1, right + 1)) {
                    return true;
                }
            }
        }
    }
    false
}

/// Stretches of bytes that addresses are made of.
fn runs(message: &[u8]) -> impl Iterator<Item = Range<usize>> {
    let is_part = |byte: &u8| byte.is_ascii_hexdigit() || matches!(byte, b'.' | b':');
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = at + message.get(at..)?.iter().position(is_part)?;
        let length = message.get(start..)?.iter().take_while(|byte| is_part(byte)).count();
        at = start + length;
        Some(start..at)
    })
}

/// The beginning of a run, and behind each colon.
fn starts(run: &[u8]) -> impl Iterator<Item = usize> {
    let behind = run.iter().enumerate().filter(|(_, b)| **b == b':').map(|(at, _)| at + 1);
    std::iter::once(0).chain(behind)
}

/// The end of a run, and before each of its marks.
fn ends(run: &[u8]) -> impl Iterator<Item = usize> {
    let marks = run.iter().enumerate().filter(|(_, b)| matches!(b, b'.' | b':')).map(|(at, _)| at);
    std::iter::once(run.len()).chain(marks)
}

fn address(text: &[u8]) -> Option<IpAddr> {
    let text = text.strip_prefix(b"[").and_then(|text| text.strip_suffix(b"]")).unwrap_or(text);
    peer::host(text)?.source.map(|end| end.address)
}

/// Names and values of attributes.
type Constants = Vec<(Box<str>, Box<str>)>;

fn constants(given: &BTreeMap<String, String>) -> Result<Constants, String> {
    let named = |(name, value): (&String, &String)| {
        Ok((field::attribute(name)?, value.clone().into_boxed_str()))
    };
    given.iter().map(named).collect()
}

/// Bytes, not text: a client's text need not be UTF-8, and `.` must match it.
fn parse(expression: &str) -> Result<Hir, String> {
    regex_syntax::ParserBuilder::new()
        .unicode(false)
        .utf8(false)
        .dot_matches_new_line(true)
        .build()
        .parse(expression)
        .map_err(|error| format!("is no regular expression: {}", reason(&error.to_string())))
}

fn compile(expression: &str) -> Result<Regex, String> {
    RegexBuilder::new(expression)
        .unicode(false)
        .dot_matches_new_line(true)
        .size_limit(MAX_COMPILED_BYTES)
        .build()
        .map_err(|error| format!("is no regular expression: {}", reason(&error.to_string())))
}

/// The last line of a message that also draws the place.
fn reason(text: &str) -> &str {
    let line = text.lines().last().unwrap_or(text);
    line.strip_prefix("error: ").unwrap_or(line)
}

/// The groups that have names.
fn names<'h>(hir: &'h Hir, into: &mut Vec<(usize, &'h str)>) {
    match hir.kind() {
        HirKind::Capture(capture) => {
            if let Some(name) = &capture.name {
                into.push((capture.index as usize, name));
            }
            names(&capture.sub, into);
        }
        HirKind::Repetition(repetition) => names(&repetition.sub, into),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => {
            parts.iter().for_each(|part| names(part, into));
        }
        _ => {}
    }
}

/// The longest text that everything that matches must contain.
fn needle(hir: &Hir) -> Option<Vec<u8>> {
    let mut longest: &[u8] = b"";
    collect(hir, &mut longest);
    (longest.len() >= MIN_NEEDLE_BYTES).then(|| longest.to_vec())
}

fn collect<'a>(hir: &'a Hir, longest: &mut &'a [u8]) {
    match hir.kind() {
        HirKind::Literal(literal) if literal.0.len() > longest.len() => *longest = &literal.0,
        HirKind::Concat(parts) => parts.iter().for_each(|part| collect(part, longest)),
        HirKind::Capture(capture) => collect(&capture.sub, longest),
        HirKind::Repetition(repetition) if repetition.min > 0 => collect(&repetition.sub, longest),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parser::ruleset::file::ParserFile;
    use crate::parser::ruleset::shipped::SHIPPED_PARSERS;

    /// What may be a message in a sample line, and the same with a byte less.
    fn messages(samples: &str) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        for line in samples.lines().filter(|line| !line.starts_with("=> ")) {
            let line = line.as_bytes();
            let spaces = memchr::memchr_iter(b' ', line).take(8).map(|space| space + 1);
            for start in std::iter::once(0).chain(spaces) {
                let message = line[start..].to_vec();
                for gone in (0..message.len()).step_by(7) {
                    let mut less = message.clone();
                    less.remove(gone);
                    all.push(less);
                }
                all.push(message);
            }
        }
        all
    }

    #[test]
    fn every_shipped_pattern_is_walked_and_says_what_its_expression_says() {
        let mut matched = 0;
        for (file, text, samples) in SHIPPED_PARSERS {
            let parser: ParserFile = toml::from_str(text).unwrap();
            let messages = messages(samples);
            let mut patterns = Vec::new();
            for pattern in parser.patterns {
                let pattern = Pattern::new(pattern).unwrap();
                pattern.check().unwrap();
                assert!(pattern.walk.is_some(), "{file}: {}", pattern.regex.text);
                patterns.push(pattern);
            }
            let mut places = Places::default();
            for pattern in patterns {
                let regex = pattern.regex.get().unwrap();
                for message in &messages {
                    let walk = pattern.walk.as_ref().unwrap();
                    let walked = walk.matches(message, &mut places).map(|is_match| {
                        is_match.then(|| {
                            (1..regex.captures_len()).map(|group| places.get(group)).collect()
                        })
                    });
                    let searched: Option<Vec<_>> = regex.captures(message).map(|found| {
                        let place = |group| found.get(group).map(|part| (part.start(), part.end()));
                        (1..regex.captures_len()).map(place).collect()
                    });
                    matched += usize::from(searched.is_some());
                    let shown = String::from_utf8_lossy(message);
                    assert_eq!(walked, Some(searched), "{} on {shown}", pattern.regex.text);
                }
            }
        }
        assert!(matched > 500, "{matched}");
    }
}
