//! One form of a time: an expression, and how its groups name a moment.

use std::sync::Arc;

use super::super::pattern::{Groups, Pattern, Search};
use super::super::python_regex::Anchors;
use super::Now;
use super::field::expand;
use super::moment::{Part, moment};

/// Where a template may stand in a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) line_begin: bool,
    pub(super) line_end: bool,
}

impl Bounds {
    /// Whether a match cannot be somewhere in the middle of a message.
    pub(super) fn anchored(self) -> bool {
        self.line_begin || self.line_end
    }
}

#[derive(Clone, Debug)]
enum Kind {
    Fields(Vec<(Part, usize)>),
    Epoch { group: usize, long: bool },
    Tai64n,
}

/// One form of a time.
#[derive(Clone, Debug)]
pub(super) struct Template {
    pub(super) name: String,
    /// The pattern as written, where it was one.
    pub(super) pattern: Option<String>,
    pub(super) bounds: Bounds,
    /// How much more a hit of this one counts than one of another.
    pub(super) weight: f64,
    regex: Arc<Pattern>,
    kind: Kind,
}

/// Which words of a line a time must stand between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Begin {
    Unbound,
    Word,
    /// At most two characters that are no letters before it.
    Start,
}

impl Template {
    /// A template from a pattern as `datepattern` has them.
    ///
    /// # Errors
    /// What is wrong with the pattern.
    pub(super) fn new(pattern: &str, now: &Now) -> Result<Self, String> {
        let key = if pattern.contains('%') { pattern.to_owned() } else { pattern.to_uppercase() };
        if key.contains("EPOCH") {
            let long = key.contains("LEPOCH");
            if let Some(inner) = replace_epoch(pattern, long) {
                return Self::epoch(
                    pattern.to_owned(),
                    &format!("({inner})"),
                    2,
                    long,
                    Begin::Word,
                );
            }
            let digits = epoch_digits(long);
            let name = if long { "LongEpoch" } else { "Epoch" };
            match key.as_str() {
                "EPOCH" | "LEPOCH" => {
                    let regex = epoch_regex(&digits);
                    return Self::epoch(name.to_owned(), &regex, 1, long, Begin::Unbound);
                }
                "{^LN-BEG}EPOCH" | "^EPOCH" | "{^LN-BEG}LEPOCH" | "^LEPOCH" => {
                    let regex = format!(r"((?P<square>(?<=^\[))?{digits})(?(square)(?=\]))");
                    return Self::epoch(name.to_owned(), &regex, 1, long, Begin::Start);
                }
                _ => {}
            }
        }
        if matches!(key.as_str(), "TAI64N" | "{^LN-BEG}TAI64N" | "^TAI64N") {
            let begin = if key == "TAI64N" { Begin::Unbound } else { Begin::Start };
            let (regex, bounds) = bound("@[0-9a-f]{24}", begin, true);
            return Ok(Self {
                name: named("TAI64N", begin),
                pattern: None,
                bounds,
                weight: 1.0,
                regex: compile(&regex)?,
                kind: Kind::Tai64n,
            });
        }
        Self::fields(pattern, now)
    }

    fn epoch(
        name: String,
        regex: &str,
        group: usize,
        long: bool,
        begin: Begin,
    ) -> Result<Self, String> {
        let (regex, bounds) = bound(regex, begin, true);
        Ok(Self {
            pattern: None,
            bounds,
            weight: 1.0,
            regex: compile(&regex)?,
            kind: Kind::Epoch { group, long },
            name: named(&name, begin),
        })
    }

    fn fields(pattern: &str, now: &Now) -> Result<Self, String> {
        let mut begin = Begin::Word;
        let mut end = true;
        let mut text = pattern;
        if let Some(rest) = text.strip_prefix("{UNB}") {
            (text, begin, end) = (rest, Begin::Unbound, false);
        } else if let Some(rest) = text.strip_prefix("{^LN-BEG}") {
            (text, begin) = (rest, Begin::Start);
        }
        let expanded = expand(text, now)?;
        let flags = if expanded.letters { "(?iu)" } else { "" };
        let (regex, bounds) = bound(&format!("{flags}{}", expanded.regex), begin, end);
        let regex = compile(&regex)?;
        let parts = regex
            .names()
            .iter()
            .filter_map(|(name, number)| Some((Part::named(name)?, *number)))
            .collect();
        let name = if bounds.line_begin { named(&expanded.name, begin) } else { expanded.name };
        Ok(Self {
            name,
            pattern: Some(pattern.to_owned()),
            bounds,
            weight: 1.0,
            regex,
            kind: Kind::Fields(parts),
        })
    }

    /// The same form, but at the beginning of a line only.
    pub(super) fn at_line_begin(&self, now: &Now) -> Result<Self, String> {
        let own = self.pattern.as_deref().unwrap_or(&self.name);
        Self::new(&format!("{{^LN-BEG}}{own}"), now)
    }

    /// The same form within another pattern that says `{DATE}`.
    pub(super) fn within(&self, outer: &str, now: &Now) -> Result<Self, String> {
        let own = unbound(self.pattern.as_deref().unwrap_or(&self.name));
        Self::new(&replace_date(outer, own), now)
    }

    pub(super) fn search(&self, line: &str, from: usize) -> Option<Groups> {
        match self.regex.search(line, from) {
            Search::Found(groups) => Some(groups),
            Search::Nothing | Search::GaveUp => None,
        }
    }

    /// The moment that a match names, in seconds since 1970.
    pub(super) fn moment(
        &self,
        line: &str,
        groups: &Groups,
        now: &Now,
        default_offset: Option<i32>,
    ) -> Option<f64> {
        match &self.kind {
            Kind::Fields(parts) => {
                let parts = parts
                    .iter()
                    .filter_map(|(part, number)| Some((*part, groups.text(*number, line)?)));
                moment(parts, now, default_offset).map(|seconds| seconds as f64)
            }
            Kind::Epoch { group, long } => {
                let text = groups.text(*group, line)?;
                let value: f64 = text.parse().ok()?;
                Some(match (*long, text.len()) {
                    (true, 16..) if !text.contains('.') => value / 1_000_000.0,
                    (true, 13..) => value / 1000.0,
                    _ => value,
                })
            }
            Kind::Tai64n => {
                let text = groups.text(1, line)?;
                i64::from_str_radix(text.get(2..17)?, 16).ok().map(|seconds| seconds as f64)
            }
        }
    }
}

fn compile(regex: &str) -> Result<Arc<Pattern>, String> {
    Pattern::new(regex, Anchors::Bare).map(Arc::new)
}

fn named(name: &str, begin: Begin) -> String {
    if begin == Begin::Start && !name.starts_with("{^LN-BEG}") {
        format!("{{^LN-BEG}}{name}")
    } else {
        name.to_owned()
    }
}

fn epoch_digits(long: bool) -> String {
    if long { r"\d{10,11}(?:\d{3}(?:\.\d{1,6}|\d{3})?)?" } else { r"\d{10,11}\b(?:\.\d{3,6})?" }
        .to_owned()
}

/// Seconds since 1970 at the start of a line, in `[…]` there, or as the kernel
/// audit writes them.
fn epoch_regex(digits: &str) -> String {
    let before = r"((?:^|(?P<square>(?<=^\[))|(?P<selinux>(?<=\baudit\()))";
    let after = r")(?:(?(selinux)(?=:\d+\)))|(?(square)(?=\])))";
    format!("{before}{digits}{after}")
}

/// Replaces `{EPOCH}` and `{LEPOCH}` that are not escaped; `None` where there is
/// none.
fn replace_epoch(pattern: &str, long: bool) -> Option<String> {
    let digits = format!("({})", epoch_digits(long));
    let out = replace_word(pattern, &["{EPOCH}", "{LEPOCH}"], &digits);
    (out != pattern).then_some(out)
}

fn replace_date(outer: &str, inner: &str) -> String {
    replace_word(outer, &["{DATE}"], inner)
}

/// Replaces words in braces, whatever their case, unless a backslash is before
/// them.
fn replace_word(text: &str, words: &[&str], with: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    'text: while let Some(at) = rest.find('{') {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        if !out.ends_with('\\') {
            for word in words {
                if from.get(..word.len()).is_some_and(|head| head.eq_ignore_ascii_case(word)) {
                    out.push_str(with);
                    rest = from.get(word.len()..).unwrap_or_default();
                    continue 'text;
                }
            }
        }
        out.push('{');
        rest = from.get(1..).unwrap_or_default();
    }
    out.push_str(rest);
    out
}

/// A pattern without what says where it stands.
fn unbound(pattern: &str) -> &str {
    let text = pattern.strip_prefix("{UNB}").unwrap_or(pattern);
    let text = text.strip_prefix("{^LN-BEG}").unwrap_or(text);
    let text = [r"(?:^|\b|\W)", r"(^|\b|\W)"]
        .iter()
        .find_map(|head| text.strip_prefix(head))
        .unwrap_or(text);
    text.strip_suffix(r"(?=\b|\W|$)").unwrap_or(text)
}

/// Adds a group where there is none and the boundaries of words or lines.
fn bound(regex: &str, begin: Begin, word_end: bool) -> (String, Bounds) {
    let mut text = regex.trim().to_owned();
    let flags = cut_flags(&mut text);
    let bound_begin = begin != Begin::Unbound && !begins_bound(&text);
    let bound_end = word_end && !ends_bound(&text);
    if !has_group(&text) {
        let (head, body) = match text.strip_prefix('^') {
            Some(body) => ("^", body),
            None => ("", text.as_str()),
        };
        let (body, tail) = match body.strip_suffix('$') {
            Some(body) => (body, "$"),
            None => (body, ""),
        };
        text = format!("{head}({body}){tail}");
    }
    let mut bounds = Bounds::default();
    if bound_begin {
        if begin == Begin::Start {
            bounds.line_begin = true;
            text.insert_str(0, r"^(?:\W{0,2})?");
        } else {
            text.insert_str(0, r"(?=^|\b|\W)");
        }
    }
    if bound_end {
        text.push_str(r"(?=\b|\W|$)");
    }
    bounds.line_begin |= begins_line(&text);
    bounds.line_end |= ends_line(&text);
    without_stars(&mut text);
    text.insert_str(0, &flags);
    (text, bounds)
}

/// Takes the first `(?iu)` out.
fn cut_flags(text: &mut String) -> String {
    let mut from = 0;
    while let Some(start) = text.get(from..).and_then(|rest| rest.find("(?")).map(|at| at + from) {
        let body = text.get(start + 2..).unwrap_or_default();
        let letters = body.find(|c: char| !c.is_ascii_lowercase()).unwrap_or(body.len());
        if letters > 0 && body.as_bytes().get(letters) == Some(&b')') {
            let end = start + 2 + letters + 1;
            let flags = text.get(start..end).unwrap_or_default().to_owned();
            text.replace_range(start..end, "");
            return flags;
        }
        from = start + 2;
    }
    String::new()
}

fn without_flags(text: &str) -> &str {
    text.strip_prefix("(?")
        .and_then(|rest| rest.split_once(')'))
        .filter(|(letters, _)| {
            !letters.is_empty() && letters.chars().all(|c| c.is_alphanumeric() || c == '_')
        })
        .map_or(text, |(_, rest)| rest)
}

fn begins_bound(text: &str) -> bool {
    let inner = without_flags(text.trim_start_matches('('));
    let stars = inner.trim_start_matches('(').starts_with("**");
    let group = inner.strip_prefix("(?:").or_else(|| inner.strip_prefix('('));
    let opened = text.starts_with("(?:^") || text.starts_with("(^");
    stars || inner.starts_with('^') || group.is_some_and(|g| g.starts_with('^')) || opened
}

fn ends_bound(text: &str) -> bool {
    let stars = text.trim_end_matches(')').strip_suffix("**");
    [
        text.strip_suffix('$'),
        text.strip_suffix("$)"),
        text.strip_suffix(r"\b"),
        text.strip_suffix(r"\s"),
        stars,
    ]
    .into_iter()
    .flatten()
    .any(|before| !before.ends_with('\\'))
}

/// Whether there is a capturing group without a name.
fn has_group(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.iter().enumerate().any(|(at, byte)| {
        *byte == b'('
            && bytes.get(at + 1) != Some(&b'?')
            && !text.get(..at).unwrap_or_default().ends_with('\\')
            && !text.get(..at).unwrap_or_default().ends_with("(?")
    })
}

fn begins_line(text: &str) -> bool {
    let inner = without_flags(text);
    inner.starts_with('^')
        || inner
            .strip_prefix("(?:^")
            .or_else(|| inner.strip_prefix("(^"))
            .is_some_and(|rest| !rest.starts_with('|'))
}

fn ends_line(text: &str) -> bool {
    [text.strip_suffix('$'), text.strip_suffix("$)")]
        .into_iter()
        .flatten()
        .any(|before| !before.ends_with(['\\', '|']))
}

/// Removes the `**` that say "no boundary here".
fn without_stars(text: &mut String) {
    let inner = without_flags(text.trim_start_matches('(')).trim_start_matches('(');
    if inner.starts_with("**") {
        let at = text.len() - inner.len();
        text.replace_range(at..at + 2, "");
    }
    let before = text.trim_end_matches(')');
    if before.ends_with("**") && !before.ends_with("\\**") {
        let at = before.len();
        text.replace_range(at - 2..at, "");
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests: a failure is a panic")]
mod tests {
    use super::*;

    fn now() -> Now {
        Now { epoch: 1_124_013_600.0, zone: jiff::tz::TimeZone::UTC }
    }

    #[test]
    fn boundaries_are_added_as_fail2ban_adds_them() {
        for (pattern, begin, regex) in [
            ("a", Begin::Word, r"(?=^|\b|\W)(a)(?=\b|\W|$)"),
            ("a", Begin::Start, r"^(?:\W{0,2})?(a)(?=\b|\W|$)"),
            ("^a$", Begin::Word, "^(a)$"),
            ("^WARNING:()**", Begin::Word, "^WARNING:()"),
            ("**a**", Begin::Word, "(a)"),
            (r"^\[a\]", Begin::Word, r"^(\[a\])(?=\b|\W|$)"),
            ("(?iu)a", Begin::Word, r"(?iu)(?=^|\b|\W)(a)(?=\b|\W|$)"),
        ] {
            assert_eq!(bound(pattern, begin, true).0, regex, "{pattern}");
        }
    }

    #[test]
    fn epochs_are_found_at_the_start_in_brackets_and_in_audit_lines() {
        let template = Template::new("EPOCH", &now()).unwrap();
        for (line, expected) in [
            ("1124013600 x", Some(1_124_013_600.0)),
            ("[1124013600] x", Some(1_124_013_600.0)),
            ("type=A msg=audit(1124013600.123:55): x", Some(1_124_013_600.123)),
            ("x 1124013600 y", None),
        ] {
            let found = template
                .search(line, 0)
                .and_then(|groups| template.moment(line, &groups, &now(), None));
            assert_eq!(found, expected, "{line}");
        }
    }

    #[test]
    fn a_pattern_may_hold_a_date_within() {
        let date = Template::new("%ExY-%m-%dT%H:%M:%S", &now()).unwrap();
        let outer = date.within(r"^<\d+>\d+\s+{DATE}", &now()).unwrap();
        let line = "<38>1 2005-08-14T10:00:01 host";
        let groups = outer.search(line, 0).unwrap();
        assert_eq!(outer.moment(line, &groups, &now(), None), Some(1_124_013_601.0));
        assert!(outer.bounds.line_begin);
    }
}
