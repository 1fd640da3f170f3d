//! Reads the text form: recursive descent, bounded in bytes, depth and terms.

use std::net::IpAddr;

use crate::{Day, EventId, Timestamp};

use super::field::FieldType;
use super::pattern::{Pattern, Shape};
use super::{
    AttributeName, AttributeTest, Filter, FilterField, ParseError, Query, TimeRange, tokens,
};

/// Longest query, in bytes.
pub const MAX_QUERY_BYTES: usize = 4096;
/// Deepest nesting of brackets and negations.
pub const MAX_DEPTH: usize = 32;
/// Most words, values and conditions of one query.
pub const MAX_TERMS: usize = 256;

const MS_PER_DAY: i64 = 86_400_000;

pub(super) fn parse(text: &str, now: Timestamp) -> Result<Query, ParseError> {
    let (range, filter) = read(text, now, Ranges::Allowed)?;
    Ok(Query { range, filter }.simplified())
}

/// Conditions alone.
pub(super) fn parse_filter<F: FilterField>(text: &str) -> Result<Filter<F>, ParseError> {
    let (_, filter) = read(text, Timestamp::from_millis(0), Ranges::Refused)?;
    Ok(filter.simplified())
}

/// Whether a text may say of which time it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ranges {
    Allowed,
    Refused,
}

fn read<F: FilterField>(
    text: &str,
    now: Timestamp,
    ranges: Ranges,
) -> Result<(TimeRange, Filter<F>), ParseError> {
    if text.len() > MAX_QUERY_BYTES {
        let message = format!("a query has at most {MAX_QUERY_BYTES} bytes");
        return Err(ParseError { at: MAX_QUERY_BYTES.min(text.chars().count()), message });
    }
    let mut parser = Parser {
        chars: text.chars().collect(),
        at: 0,
        now,
        depth: 0,
        terms: 0,
        ranges,
        range: TimeRange::default(),
        range_at: None,
    };
    parser.space();
    if parser.peek().is_none() {
        return Ok((TimeRange::default(), Filter::All));
    }
    let filter = parser.any_of()?;
    if parser.peek().is_some() {
        return Err(parser.error("there is a closing bracket too many"));
    }
    Ok((parser.range, filter))
}

/// Reads `90s`, `30m`, `24h`, `7d`, `2w` as milliseconds.
#[must_use]
pub fn duration(text: &str) -> Option<i64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let unit = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => MS_PER_DAY,
        "w" => 7 * MS_PER_DAY,
        _ => return None,
    };
    number.parse::<i64>().ok()?.checked_mul(unit)
}

struct Parser {
    chars: Vec<char>,
    at: usize,
    now: Timestamp,
    depth: usize,
    terms: usize,
    ranges: Ranges,
    range: TimeRange,
    /// Where a range term stood.
    range_at: Option<usize>,
}

/// A value as it was typed.
struct Typed {
    at: usize,
    quoted: bool,
    /// The text without escapes.
    plain: String,
    /// The text as a pattern, where it has an unescaped `*` or `?`.
    pattern: Option<String>,
}

type Parsed<F> = Result<Filter<F>, ParseError>;

impl Parser {
    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn space(&mut self) {
        while self.peek().is_some_and(char::is_whitespace) {
            self.at += 1;
        }
    }

    fn error(&self, message: impl Into<String>) -> ParseError {
        error_at(self.at, message)
    }

    fn term(&mut self) -> Result<(), ParseError> {
        self.terms += 1;
        if self.terms > MAX_TERMS {
            return Err(self.error(format!("a query has at most {MAX_TERMS} terms")));
        }
        Ok(())
    }

    /// Takes a word such as `or` where it stands alone.
    fn keyword(&mut self, word: &str) -> bool {
        let end = self.at + word.len();
        let here = self.chars.get(self.at..end).unwrap_or_default();
        let same = here.len() == word.len()
            && here.iter().zip(word.chars()).all(|(a, b)| a.to_ascii_lowercase() == b);
        let ends =
            self.chars.get(end).is_none_or(|c| c.is_whitespace() || matches!(c, '(' | ')' | '"'));
        if same && ends {
            self.at = end;
            self.space();
        }
        same && ends
    }

    fn any_of<F: FilterField>(&mut self) -> Parsed<F> {
        let mut any = vec![self.all_of()?];
        while self.keyword("or") {
            any.push(self.all_of()?);
        }
        match (self.range_at, any.len()) {
            (Some(at), 2..) if self.depth == 0 => Err(error_at(at, OUTSIDE)),
            (_, 1) => Ok(any.pop().unwrap_or(Filter::All)),
            _ => Ok(Filter::Or(any)),
        }
    }

    fn all_of<F: FilterField>(&mut self) -> Parsed<F> {
        let mut all = vec![self.unary()?];
        loop {
            self.space();
            let start = self.at;
            match self.peek() {
                None | Some(')') => break,
                Some(_) if self.keyword("or") => {
                    self.at = start;
                    break;
                }
                Some(_) => {
                    self.keyword("and");
                    all.push(self.unary()?);
                }
            }
        }
        Ok(Filter::And(all))
    }

    fn nested<F: FilterField>(&mut self, inner: impl FnOnce(&mut Self) -> Parsed<F>) -> Parsed<F> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.error(format!("brackets and 'not' nest {MAX_DEPTH} deep at most")));
        }
        let filter = inner(self)?;
        self.depth -= 1;
        Ok(filter)
    }

    fn unary<F: FilterField>(&mut self) -> Parsed<F> {
        self.space();
        let filter = match self.peek() {
            Some('-') => {
                self.at += 1;
                self.nested(Self::unary).map(|inner| Filter::Not(Box::new(inner)))
            }
            Some('(') => {
                let open = self.at;
                self.at += 1;
                self.nested(|parser| {
                    let inner = parser.any_of()?;
                    if parser.peek() != Some(')') {
                        return Err(error_at(open, "this bracket is not closed; expected ')'"));
                    }
                    parser.at += 1;
                    Ok(inner)
                })
            }
            Some(')') | None => Err(self.error("expected a word, field:value or '('")),
            Some('"') => {
                self.term()?;
                let typed = self.quoted()?;
                Ok(Filter::Text(typed.plain))
            }
            Some(_) if self.keyword("not") => {
                self.nested(Self::unary).map(|inner| Filter::Not(Box::new(inner)))
            }
            Some(_) => {
                let start = self.at;
                if self.keyword("or") || self.keyword("and") {
                    let message = "expected a word or field:value here; quote \"or\" and \"and\" to search for them";
                    return Err(error_at(start, message));
                }
                self.word_or_field()
            }
        }?;
        self.space();
        Ok(filter)
    }

    fn word_or_field<F: FilterField>(&mut self) -> Parsed<F> {
        self.term()?;
        let start = self.at;
        let name: String = self
            .chars
            .iter()
            .skip(start)
            .take_while(|c| c.is_ascii_alphanumeric() || **c == '_')
            .collect();
        if !name.is_empty() && self.chars.get(start + name.len()) == Some(&':') {
            self.at = start + name.len() + 1;
            return self.condition(&name, start);
        }
        if F::HAS_ATTRIBUTES
            && name.eq_ignore_ascii_case("attr")
            && self.chars.get(start + name.len()) == Some(&'.')
        {
            let of_name = |c: &&char| c.is_ascii_alphanumeric() || **c == '_';
            let from = start + name.len() + 1;
            let attribute: String = self.chars.iter().skip(from).take_while(of_name).collect();
            if self.chars.get(from + attribute.len()) == Some(&':') {
                self.at = from + attribute.len() + 1;
                return self.attribute(&attribute, start);
            }
        }
        let typed = self.unquoted(false)?;
        match typed.pattern.as_deref() {
            Some("*") => Ok(Filter::All),
            Some(_) => {
                let message = "a pattern needs a field, such as request:wget*; \
                               or quote the text to search for its words";
                Err(error_at(start, message))
            }
            None if tokens::wanted(&typed.plain).is_empty() => {
                Err(error_at(start, "expected a word: letters or digits"))
            }
            None => Ok(Filter::Text(typed.plain)),
        }
    }

    fn condition<F: FilterField>(&mut self, name: &str, start: usize) -> Parsed<F> {
        let folded = name.to_ascii_lowercase();
        if matches!(folded.as_str(), "since" | "until" | "day" | "month")
            && self.ranges == Ranges::Allowed
        {
            if self.depth > 0 {
                return Err(error_at(start, OUTSIDE));
            }
            self.range_at = Some(start);
            let typed = self.value(false)?;
            return self.range_term(&folded, &typed).map(|()| Filter::All);
        }
        let field = F::named(name).map_err(|unknown| {
            error_at(start, format!("{unknown}; put the text in \"quotes\" to search for it"))
        })?;
        if self.peek() != Some('(') {
            let typed = self.value(false)?;
            return self.condition_on(field, &typed);
        }
        let mut literals = Vec::new();
        let mut others = Vec::new();
        self.list(|parser, typed| {
            match parser.condition_on(field, typed)? {
                Filter::In(_, values) => literals.extend(values),
                other => others.push(other),
            }
            Ok(())
        })?;
        if !literals.is_empty() {
            others.insert(0, Filter::In(field, literals));
        }
        Ok(Filter::Or(others))
    }

    /// Reads `(a,b)` and gives each value to `each`.
    fn list(
        &mut self,
        mut each: impl FnMut(&Self, &Typed) -> Result<(), ParseError>,
    ) -> Result<(), ParseError> {
        let open = self.at;
        self.at += 1;
        loop {
            self.space();
            self.term()?;
            let typed = self.value(true)?;
            each(self, &typed)?;
            self.space();
            match self.peek() {
                Some(',') => self.at += 1,
                Some(')') => {
                    self.at += 1;
                    return Ok(());
                }
                None => {
                    let message = "this list is not closed; expected ',' or ')'";
                    return Err(error_at(open, message));
                }
                Some(_) => return Err(self.error("expected ',' or ')'")),
            }
        }
    }

    /// A condition on an attribute, whose values have no fixed type.
    fn attribute<F: FilterField>(&mut self, name: &str, start: usize) -> Parsed<F> {
        let name: AttributeName = name
            .to_ascii_lowercase()
            .parse()
            .map_err(|why| error_at(start, format!("'attr.' is followed by a name: {why}")))?;
        if self.peek() != Some('(') {
            let typed = self.value(false)?;
            return Ok(Filter::Attribute(name, asked_of_attribute(&typed)));
        }
        let mut literals = Vec::new();
        let mut others = Vec::new();
        self.list(|_, typed| {
            match asked_of_attribute(typed) {
                AttributeTest::In(values) => literals.extend(values),
                other => others.push(Filter::Attribute(name.clone(), other)),
            }
            Ok(())
        })?;
        if !literals.is_empty() {
            others.insert(0, Filter::Attribute(name, AttributeTest::In(literals)));
        }
        Ok(Filter::Or(others))
    }

    fn value(&mut self, in_list: bool) -> Result<Typed, ParseError> {
        if self.peek() == Some('"') { self.quoted() } else { self.unquoted(in_list) }
    }

    fn quoted(&mut self) -> Result<Typed, ParseError> {
        let start = self.at;
        self.at += 1;
        let mut plain = String::new();
        loop {
            let Some(c) = self.peek() else {
                return Err(error_at(start, "this quote is not closed; expected '\"'"));
            };
            self.at += 1;
            match c {
                '"' => return Ok(Typed { at: start, quoted: true, plain, pattern: None }),
                '\\' => match self.peek() {
                    Some(c @ ('"' | '\\')) => {
                        plain.push(c);
                        self.at += 1;
                    }
                    _ => return Err(self.error("after '\\' expected '\"' or '\\'")),
                },
                c => plain.push(c),
            }
        }
    }

    fn unquoted(&mut self, in_list: bool) -> Result<Typed, ParseError> {
        let start = self.at;
        let (mut plain, mut pattern, mut wild) = (String::new(), String::new(), false);
        while let Some(c) = self.peek() {
            match c {
                ')' => break,
                ',' if in_list => break,
                c if c.is_whitespace() => break,
                '(' | '"' => {
                    return Err(self.error("quote a value that has brackets or quotes in it"));
                }
                '\\' => {
                    self.at += 1;
                    let Some(next) = self.peek() else {
                        return Err(self.error("after '\\' expected a character"));
                    };
                    if matches!(next, '*' | '?' | '\\') {
                        pattern.push('\\');
                    }
                    pattern.push(next);
                    plain.push(next);
                }
                c => {
                    wild |= matches!(c, '*' | '?');
                    pattern.push(c);
                    plain.push(c);
                }
            }
            self.at += 1;
        }
        if plain.is_empty() {
            return Err(self.error("expected a value"));
        }
        Ok(Typed { at: start, quoted: false, plain, pattern: wild.then_some(pattern) })
    }

    fn condition_on<F: FilterField>(&self, field: F, typed: &Typed) -> Parsed<F> {
        let text = typed.plain.as_str();
        let wrong = |expected: &str| {
            let shown: String = text.chars().take(40).flat_map(char::escape_debug).collect();
            error_at(typed.at, format!("'{shown}' is no value of {field}; expected {expected}"))
        };
        if typed.pattern.as_deref() == Some("*") {
            return Ok(Filter::Exists(field));
        }
        match field.field_type() {
            FieldType::Ip => {
                let expected =
                    "an address such as 198.51.100.7 or a network such as 198.51.100.0/24";
                if let Ok(address) = text.parse::<IpAddr>() {
                    return Ok(Filter::In(field, vec![address.to_string()]));
                }
                let network: ipnet::IpNet = text.parse().map_err(|_| wrong(expected))?;
                Ok(Filter::Network(field, network.network(), network.prefix_len()))
            }
            FieldType::Integer => {
                let expected = "a number such as 22, a range such as 5..9, or >5";
                let number = |text: &str| text.parse::<i64>().ok();
                if let Some(number) = number(text) {
                    return Ok(Filter::In(field, vec![number.to_string()]));
                }
                let bounds = (!typed.quoted).then(|| bounds(text, |t| number(t).map(|n| (n, n))));
                let (low, high) = bounds.flatten().ok_or_else(|| wrong(expected))?;
                Ok(Filter::Between(field, low, high))
            }
            FieldType::Time => {
                let expected = "a time such as 2026-11-20T19:00:00Z, a day such as 2026-11-20, \
                                >1h, or a range a..b";
                if !typed.quoted
                    && let Some((low, high)) = bounds(text, |t| self.instants(t))
                {
                    return Ok(Filter::Between(field, low, high));
                }
                let (first, last) = self.instants(text).ok_or_else(|| wrong(expected))?;
                Ok(Filter::Between(field, Some(first), Some(last)))
            }
            FieldType::Keyword if field.is_id() => match text.parse::<EventId>() {
                Ok(id) => Ok(Filter::In(field, vec![id.to_string()])),
                Err(_) => Err(wrong("an event id of 26 characters")),
            },
            FieldType::Keyword | FieldType::Text => Ok(match &typed.pattern {
                Some(pattern) => match Pattern::new(pattern).shape() {
                    Shape::Everything => Filter::Exists(field),
                    Shape::Prefix(head) => Filter::Prefix(field, head),
                    Shape::Literal(text) => Filter::In(field, vec![text]),
                    Shape::Wild(pattern) => Filter::Wildcard(field, pattern),
                },
                None => Filter::In(field, vec![typed.plain.clone()]),
            }),
        }
    }

    /// The first and the last millisecond of a day, an instant, or a time ago.
    fn instants(&self, text: &str) -> Option<(i64, i64)> {
        if let Some(ago) = duration(text) {
            let at = self.now.plus_millis(-ago).as_millis();
            return Some((at, at));
        }
        if let Some(day) = calendar_day(text) {
            return Some((day.start().as_millis(), day.end().as_millis() - 1));
        }
        let at = text.parse::<Timestamp>().ok()?.as_millis();
        Some((at, at))
    }

    fn range_term(&mut self, name: &str, typed: &Typed) -> Result<(), ParseError> {
        let wrong = |expected: &str| {
            let shown: String = typed.plain.chars().take(40).flat_map(char::escape_debug).collect();
            error_at(typed.at, format!("'{shown}' is no time; expected {expected}"))
        };
        let (from, to) = match name {
            "day" => {
                let day =
                    calendar_day(&typed.plain).ok_or_else(|| wrong("a day such as 2026-11-20"))?;
                (Some(day.start()), Some(day.end()))
            }
            "month" => {
                let (from, to) =
                    month(&typed.plain).ok_or_else(|| wrong("a month such as 2026-11"))?;
                (Some(from), Some(to))
            }
            _ => {
                let expected = "7d, 24h, 30m, a day such as 2026-11-20, or 2026-11-20T19:00:00Z";
                let (at, _) = self.instants(&typed.plain).ok_or_else(|| wrong(expected))?;
                let at = Timestamp::from_millis(at);
                if name == "since" { (Some(at), None) } else { (None, Some(at)) }
            }
        };
        if let Some(from) = from {
            self.range.from = Some(self.range.from.map_or(from, |have| have.max(from)));
        }
        if let Some(to) = to {
            self.range.to = Some(self.range.to.map_or(to, |have| have.min(to)));
        }
        Ok(())
    }
}

fn asked_of_attribute(typed: &Typed) -> AttributeTest {
    if let Some(pattern) = &typed.pattern {
        return AttributeTest::pattern(pattern);
    }
    let range = if typed.quoted { None } else { AttributeTest::range(&typed.plain) };
    range.unwrap_or_else(|| AttributeTest::In(vec![typed.plain.clone()]))
}

const OUTSIDE: &str =
    "since, until, day and month stand outside of brackets, 'or' and 'not'; use observed_at there";

fn error_at(at: usize, message: impl Into<String>) -> ParseError {
    ParseError { at, message: message.into() }
}

type Bounds = (Option<i64>, Option<i64>);

/// Reads `>5`, `>=5`, `<5`, `<=5`, `5..9`, `5..`, `..9`; `read` gives the first
/// and last value that a text stands for.
fn bounds(text: &str, read: impl Fn(&str) -> Option<(i64, i64)>) -> Option<Bounds> {
    if let Some(rest) = text.strip_prefix(">=") {
        return Some((Some(read(rest)?.0), None));
    }
    if let Some(rest) = text.strip_prefix("<=") {
        return Some((None, Some(read(rest)?.1)));
    }
    if let Some(rest) = text.strip_prefix('>') {
        return Some((Some(read(rest)?.1.saturating_add(1)), None));
    }
    if let Some(rest) = text.strip_prefix('<') {
        return Some((None, Some(read(rest)?.0.saturating_sub(1))));
    }
    let (low, high) = text.split_once("..")?;
    let low = if low.is_empty() { None } else { Some(read(low)?.0) };
    let high = if high.is_empty() { None } else { Some(read(high)?.1) };
    (low.is_some() || high.is_some()).then_some((low, high))
}

fn calendar_day(text: &str) -> Option<Day> {
    (text.len() == 10 && text.bytes().all(|b| b.is_ascii_digit() || b == b'-'))
        .then(|| text.parse().ok())
        .flatten()
}

fn month(text: &str) -> Option<(Timestamp, Timestamp)> {
    let first = calendar_day(&format!("{text}-01"))?;
    let (year, month) = text.split_once('-')?;
    let (year, month): (i32, u32) = (year.parse().ok()?, month.parse().ok()?);
    let next = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
    let end = calendar_day(&format!("{:04}-{:02}-01", next.0, next.1)).map(Day::start);
    Some((first.start(), end.unwrap_or(Timestamp::from_millis(i64::MAX))))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn now() -> Timestamp {
        "2026-11-20T12:00:00Z".parse().unwrap()
    }

    fn read(text: &str) -> Query {
        parse(text, now()).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn the_documented_example_is_understood() {
        let query = read(
            r#"country:cn kind:auth.attempted user:root password:admin* since:7d ip:198.51.100.7/24 -sensor:demo (port:22 or port:2222) "free text""#,
        );
        assert_eq!(query.range.from, Some("2026-11-13T12:00:00Z".parse().unwrap()));
        assert_eq!(
            query.to_string(),
            r#"since:2026-11-13T12:00:00.000Z country:CN kind:auth.attempted user:root password:admin* ip:198.51.100.0/24 -sensor:demo (port:22 or port:2222) "free text""#
        );
    }

    #[test]
    fn lists_ranges_and_times_are_understood() {
        let shown = |text: &str| read(text).to_string();
        assert_eq!(shown("port:(22,2222)"), "port:(22,2222)");
        assert_eq!(shown("port:>5"), "port:6..");
        assert_eq!(shown("port:(22, 5..9)"), "port:22 or port:5..9");
        assert_eq!(shown("user:a\\*b"), "user:\"a*b\"");
        assert_eq!(shown("user:a?\\ b*"), "user:a?\\ b*");
        assert_eq!(shown("city:*"), "city:*");
        assert_eq!(
            shown("day:2026-11-20"),
            "since:2026-11-20T00:00:00.000Z until:2026-11-21T00:00:00.000Z"
        );
        assert_eq!(
            shown("month:2026-12"),
            "since:2026-12-01T00:00:00.000Z until:2027-01-01T00:00:00.000Z"
        );
        assert_eq!(shown("received:>1h"), "received_at:2026-11-20T11:00:00.001Z..");
        assert_eq!(shown(""), "*");
        assert_eq!(shown("a and not b OR c"), "\"a\" -\"b\" or \"c\"");
    }

    #[test]
    fn attributes_are_asked_for_by_name() {
        let shown = |text: &str| read(text).to_string();
        for same in [
            "attr.user:root",
            "attr.user:ro*t",
            "attr.user:ro*",
            "attr.user:*",
            "attr.try:>1",
            "attr.try:1..3",
            "attr.try:0.5..",
            "attr.try:..-2",
            "attr.try:(1,a,\"b c\")",
            "-attr.user:root port:22",
        ] {
            assert_eq!(shown(same), same);
        }
        assert_eq!(shown("ATTR.User:(root,1..2)"), "attr.user:root or attr.user:1..2");
        assert_eq!(shown("attr.x:\"1..2\""), "attr.x:\"1..2\"");
        assert_eq!(shown("attr.x:a..b"), "attr.x:\"a..b\"");
        assert_eq!(shown("attr.txt"), "\"attr.txt\"", "a file's name is a word");
        let error = |text: &str| parse(text, now()).unwrap_err().message;
        assert!(error("attr.:x").contains("1 to 64 of a-z"));
        assert!(error(&format!("attr.{}:x", "a".repeat(65))).contains("1 to 64 of a-z"));
        assert!(error("attr:x").contains("there is no field 'attr'"));
        assert!(error("attr.x:").contains("expected a value"));
        assert!(error("attr.x:(a").contains("not closed"));
    }

    #[test]
    fn errors_point_at_the_character_and_say_what_was_expected() {
        let error = |text: &str| {
            let error = parse(text, now()).unwrap_err();
            (error.at, error.message)
        };
        let (at, message) = error("ää contry:CN");
        assert_eq!(at, 3, "characters, not bytes");
        assert!(message.contains("did you mean 'country'?"), "{message}");
        assert!(error("port:ssh").1.contains("expected a number"));
        assert!(error("ip:1.2.3.*").1.contains("a network such as"));
        assert_eq!(error("(a b").0, 0);
        assert_eq!(error("a b)").0, 3);
        assert_eq!(error("user:\"abc").0, 5);
        assert_eq!(error("user:").0, 5);
        assert_eq!(error("a or since:7d").0, 5);
        assert_eq!(error("-since:7d").0, 1);
        assert_eq!(error("a or").0, 4);
        assert!(error("category:SSH/login(sshd)").1.contains("quote"));
        assert!(error("wget*").1.contains("request:wget*"));
    }

    #[test]
    fn size_depth_and_terms_are_bounded() {
        assert!(parse(&"x".repeat(MAX_QUERY_BYTES + 1), now()).is_err());
        assert!(parse(&"(".repeat(MAX_QUERY_BYTES), now()).is_err());
        assert!(parse(&"-".repeat(MAX_QUERY_BYTES), now()).is_err());
        assert!(parse(&"a ".repeat(MAX_TERMS + 1), now()).is_err());
        assert!(parse(&"a ".repeat(MAX_TERMS), now()).is_ok());
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_and_what_is_read_prints_the_same(
            text in r#"(user|port|ip|received|since|zz|attr.a|a|or|not|[a-z:"()*?\\,.<>/ 0-9é-]|-){0,24}"#
        ) {
            match parse(&text, now()) {
                Ok(query) => {
                    let printed = query.to_string();
                    prop_assert_eq!(parse(&printed, now()), Ok(query), "{}", printed);
                }
                Err(error) => prop_assert!(error.at <= text.chars().count()),
            }
        }
    }
}
