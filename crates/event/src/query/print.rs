//! Canonical form: the simplest tree that means the same, and its text.

use std::fmt;
use std::ops::Bound;

use crate::Timestamp;

use super::field::FieldType;
use super::pattern::{Pattern, Shape};
use super::{AttributeName, AttributeTest, Filter, FilterField, Query, Wanted, compared, tokens};

fn nothing<F>() -> Filter<F> {
    Filter::Not(Box::new(Filter::All))
}

impl Query {
    /// The same query in canonical form; what `Display` prints and `parse`
    /// gives back.
    #[must_use]
    pub fn simplified(&self) -> Self {
        Self { range: self.range, filter: self.filter.simplified() }
    }
}

impl<F: FilterField> Filter<F> {
    /// The simplest filter that matches the same events.
    #[must_use]
    pub fn simplified(&self) -> Self {
        match self {
            Self::All => Self::All,
            Self::And(parts) => {
                let mut flat = Vec::new();
                for part in parts.iter().map(Self::simplified) {
                    match part {
                        Self::All => {}
                        Self::And(inner) => flat.extend(inner),
                        other => flat.push(other),
                    }
                }
                one_or(flat, Self::And, Self::All)
            }
            Self::Or(parts) => {
                let mut flat = Vec::new();
                for part in parts.iter().map(Self::simplified) {
                    match part {
                        Self::Or(inner) => flat.extend(inner),
                        other => flat.push(other),
                    }
                }
                one_or(flat, Self::Or, nothing())
            }
            Self::Not(inner) => Self::Not(Box::new(inner.simplified())),
            Self::Exists(field) => Self::Exists(*field),
            Self::In(field, values) => simplified_in(*field, values),
            Self::Prefix(field, prefix) if field.is_text() => {
                let prefix = field.fold(prefix);
                if prefix.is_empty() {
                    Self::Exists(*field)
                } else {
                    Self::Prefix(*field, compared(&prefix).to_owned())
                }
            }
            Self::Wildcard(field, pattern) if field.is_text() => {
                match Pattern::new(&field.fold(pattern)).shape() {
                    Shape::Everything => Self::Exists(*field),
                    Shape::Wild(pattern) => Self::Wildcard(*field, pattern),
                    // A longer one than is compared never matches; kept as a pattern it stays so.
                    Shape::Prefix(head) if head.len() <= super::MAX_COMPARED_BYTES => {
                        Self::Prefix(*field, head)
                    }
                    Shape::Literal(text) if text.len() <= super::MAX_COMPARED_BYTES => {
                        Self::In(*field, vec![text])
                    }
                    Shape::Prefix(_) | Shape::Literal(_) => nothing(),
                }
            }
            Self::Network(field, address, bits) if field.field_type() == FieldType::Ip => {
                match ipnet::IpNet::new(*address, *bits) {
                    Ok(network) => Self::Network(*field, network.network(), *bits),
                    Err(_) => nothing(),
                }
            }
            Self::Between(field, low, high) if field.is_ordered() => {
                simplified_between(*field, *low, *high)
            }
            Self::Prefix(..) | Self::Wildcard(..) | Self::Network(..) | Self::Between(..) => {
                nothing()
            }
            Self::Attribute(name, test) => simplified_attribute(name, test),
            Self::Text(text) if tokens::wanted(text).is_empty() => Self::All,
            Self::Text(text) => Self::Text(text.clone()),
        }
    }
}

fn one_or<F>(
    mut parts: Vec<Filter<F>>,
    many: fn(Vec<Filter<F>>) -> Filter<F>,
    none: Filter<F>,
) -> Filter<F> {
    match parts.len() {
        0 => none,
        1 => parts.pop().unwrap_or(none),
        _ => many(parts),
    }
}

fn simplified_in<F: FilterField>(field: F, values: &[String]) -> Filter<F> {
    let wanted = values.iter().filter_map(|value| Wanted::new(field, value));
    if field.field_type() == FieldType::Time {
        let instants = wanted.filter_map(|value| match value {
            Wanted::Number(at) => Some(Filter::Between(field, Some(at), Some(at))),
            _ => None,
        });
        return one_or(instants.collect(), Filter::Or, nothing());
    }
    let values: Vec<String> = wanted
        .map(|value| match value {
            Wanted::Text(text) => text,
            Wanted::Address(address) => address.to_string(),
            Wanted::Number(number) => number.to_string(),
            Wanted::Id(id) => crate::EventId::from_u128(id).to_string(),
        })
        .collect();
    if values.is_empty() { nothing() } else { Filter::In(field, values) }
}

fn simplified_attribute<F>(name: &AttributeName, test: &AttributeTest) -> Filter<F> {
    let part = |test| Filter::Attribute(name.clone(), test);
    match test {
        AttributeTest::In(values) if values.is_empty() => nothing(),
        AttributeTest::Prefix(prefix) if prefix.is_empty() => part(AttributeTest::Exists),
        AttributeTest::Wildcard(pattern) => part(AttributeTest::pattern(pattern)),
        test if !test.is_sound() => nothing(),
        // What cannot be written as one range.
        AttributeTest::Range(low @ Bound::Excluded(_), high @ Bound::Excluded(_))
        | AttributeTest::Range(low @ Bound::Included(_), high @ Bound::Excluded(_))
        | AttributeTest::Range(low @ Bound::Excluded(_), high @ Bound::Included(_)) => {
            let low = part(AttributeTest::Range(*low, Bound::Unbounded));
            Filter::And(vec![low, part(AttributeTest::Range(Bound::Unbounded, *high))])
        }
        AttributeTest::Range(Bound::Unbounded, Bound::Unbounded) => {
            let low = part(AttributeTest::Range(Bound::Unbounded, Bound::Included(0.0)));
            let high = part(AttributeTest::Range(Bound::Excluded(0.0), Bound::Unbounded));
            Filter::Or(vec![low, high])
        }
        simple => part(simple.clone()),
    }
}

fn simplified_between<F: FilterField>(field: F, low: Option<i64>, high: Option<i64>) -> Filter<F> {
    if low.is_none() && high.is_none() {
        return Filter::Exists(field);
    }
    if field.field_type() != FieldType::Time {
        return Filter::Between(field, low, high);
    }
    let in_calendar = |at: i64| Timestamp::from_millis(at).as_millis();
    // Beyond the calendar there is no event, so only the near side is cut.
    if low.is_some_and(|low| in_calendar(low) < low)
        || high.is_some_and(|high| in_calendar(high) > high)
    {
        return nothing();
    }
    Filter::Between(field, low.map(in_calendar), high.map(in_calendar))
}

impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if let Some(from) = self.range.from {
            parts.push(format!("since:{from}"));
        }
        if let Some(to) = self.range.to {
            parts.push(format!("until:{to}"));
        }
        let filter = self.filter.simplified();
        if parts.is_empty() {
            return write_filter(f, &filter, Inside::Nothing);
        }
        if filter != Filter::All {
            let mut text = String::new();
            write_filter(&mut text, &filter, Inside::And)?;
            parts.push(text);
        }
        f.write_str(&parts.join(" "))
    }
}

impl<F: FilterField> fmt::Display for Filter<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_filter(f, &self.simplified(), Inside::Nothing)
    }
}

/// What the part to be written stands in, which decides on brackets.
#[derive(Clone, Copy, PartialEq)]
enum Inside {
    Nothing,
    Or,
    And,
    Not,
}

fn write_filter<F: FilterField>(
    out: &mut impl fmt::Write,
    filter: &Filter<F>,
    inside: Inside,
) -> fmt::Result {
    match filter {
        Filter::All => out.write_char('*'),
        Filter::And(parts) => write_parts(out, parts, " ", Inside::And, inside == Inside::Not),
        Filter::Or(parts) => {
            let brackets = matches!(inside, Inside::Not | Inside::And);
            write_parts(out, parts, " or ", Inside::Or, brackets)
        }
        Filter::Not(inner) => {
            out.write_char('-')?;
            write_filter(out, inner, Inside::Not)
        }
        Filter::Exists(field) => write!(out, "{field}:*"),
        Filter::In(field, values) => {
            write!(out, "{field}:")?;
            write_values(out, values, write_value)
        }
        Filter::Prefix(field, prefix) => {
            write!(out, "{field}:")?;
            write_prefix(out, prefix)
        }
        Filter::Wildcard(field, pattern) => {
            write!(out, "{field}:")?;
            write_pattern(out, pattern)
        }
        Filter::Attribute(name, test) => {
            write!(out, "attr.{name}:")?;
            match test {
                AttributeTest::Exists => out.write_char('*'),
                // Quoted, it is no range.
                AttributeTest::In(values) => write_values(out, values, |out, value| {
                    if value.contains("..") {
                        write_quoted(out, value)
                    } else {
                        write_value(out, value)
                    }
                }),
                AttributeTest::Prefix(prefix) => write_prefix(out, prefix),
                AttributeTest::Wildcard(pattern) => write_pattern(out, pattern),
                AttributeTest::Range(Bound::Excluded(low), _) => write!(out, ">{low}"),
                AttributeTest::Range(_, Bound::Excluded(high)) => write!(out, "<{high}"),
                AttributeTest::Range(low, high) => {
                    let shown = |bound: &Bound<f64>| match bound {
                        Bound::Included(at) => at.to_string(),
                        _ => String::new(),
                    };
                    write!(out, "{}..{}", shown(low), shown(high))
                }
            }
        }
        Filter::Network(field, address, bits) => write!(out, "{field}:{address}/{bits}"),
        Filter::Between(field, low, high) => {
            let shown = |value: &Option<i64>| match (value, field.field_type()) {
                (None, _) => String::new(),
                (Some(at), FieldType::Time) => Timestamp::from_millis(*at).to_string(),
                (Some(number), _) => number.to_string(),
            };
            write!(out, "{field}:{}..{}", shown(low), shown(high))
        }
        Filter::Text(text) => write_quoted(out, text),
    }
}

fn write_values<W: fmt::Write>(
    out: &mut W,
    values: &[String],
    write: impl Fn(&mut W, &str) -> fmt::Result,
) -> fmt::Result {
    if let [value] = values {
        return write(out, value);
    }
    out.write_char('(')?;
    for (index, value) in values.iter().enumerate() {
        if index > 0 {
            out.write_char(',')?;
        }
        write(out, value)?;
    }
    out.write_char(')')
}

fn write_prefix(out: &mut impl fmt::Write, prefix: &str) -> fmt::Result {
    prefix.chars().try_for_each(|c| write_escaped(out, c, c == '*' || c == '?'))?;
    out.write_char('*')
}

fn write_pattern(out: &mut impl fmt::Write, pattern: &str) -> fmt::Result {
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        match c {
            '*' | '?' => out.write_char(c)?,
            '\\' => write_escaped(out, chars.next().unwrap_or('\\'), true)?,
            c => write_escaped(out, c, false)?,
        }
    }
    Ok(())
}

fn write_parts<F: FilterField>(
    out: &mut impl fmt::Write,
    parts: &[Filter<F>],
    between: &str,
    inside: Inside,
    brackets: bool,
) -> fmt::Result {
    if brackets {
        out.write_char('(')?;
    }
    for (index, part) in parts.iter().enumerate() {
        if index > 0 {
            out.write_str(between)?;
        }
        let mut text = String::new();
        write_filter(&mut text, part, inside)?;
        out.write_str(&text)?;
    }
    if brackets {
        out.write_char(')')?;
    }
    Ok(())
}

fn write_escaped(out: &mut impl fmt::Write, c: char, always: bool) -> fmt::Result {
    if always || c.is_whitespace() || matches!(c, '(' | ')' | '"' | ',' | '\\') {
        out.write_char('\\')?;
    }
    out.write_char(c)
}

fn write_value(out: &mut impl fmt::Write, value: &str) -> fmt::Result {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/' | ':');
    let is_plain = !value.is_empty() && value.chars().all(plain);
    if is_plain { out.write_str(value) } else { write_quoted(out, value) }
}

fn write_quoted(out: &mut impl fmt::Write, text: &str) -> fmt::Result {
    out.write_char('"')?;
    for c in text.chars() {
        if matches!(c, '"' | '\\') {
            out.write_char('\\')?;
        }
        out.write_char(c)?;
    }
    out.write_char('"')
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use proptest::prelude::*;

    use super::*;
    use crate::query::{Field, TimeRange};

    fn field() -> impl Strategy<Value = Field> {
        proptest::sample::select(Field::ALL)
    }

    fn attribute_test(
        text: impl Strategy<Value = String> + Clone + 'static,
    ) -> impl Strategy<Value = AttributeTest> {
        let bound = || {
            prop_oneof![
                Just(Bound::Unbounded),
                any::<f64>().prop_map(Bound::Included),
                any::<f64>().prop_map(Bound::Excluded),
                any::<i8>().prop_map(|at| Bound::Included(at.into())),
            ]
        };
        prop_oneof![
            Just(AttributeTest::Exists),
            proptest::collection::vec(
                prop_oneof![text.clone(), Just("1..2".to_owned()), Just(">5".to_owned())],
                0..3
            )
            .prop_map(AttributeTest::In),
            text.clone().prop_map(AttributeTest::Prefix),
            text.prop_map(AttributeTest::Wildcard),
            (bound(), bound()).prop_map(|(low, high)| AttributeTest::Range(low, high)),
        ]
    }

    fn filter() -> impl Strategy<Value = Filter> {
        let text = prop_oneof![
            r#"[a-zA-Z0-9é"\\*?(), .:\n-]{0,6}"#,
            Just("198.51.100.7".to_owned()),
            Just("22".to_owned()),
            Just("2026-11-20T00:00:00Z".to_owned()),
        ];
        let leaf = prop_oneof![
            Just(Filter::All),
            field().prop_map(Filter::Exists),
            (field(), proptest::collection::vec(text.clone(), 0..3))
                .prop_map(|(f, v)| Filter::In(f, v)),
            (field(), text.clone()).prop_map(|(f, v)| Filter::Prefix(f, v)),
            (field(), text.clone()).prop_map(|(f, v)| Filter::Wildcard(f, v)),
            (field(), any::<IpAddr>(), 0u8..130).prop_map(|(f, a, b)| Filter::Network(f, a, b)),
            (field(), any::<Option<i64>>(), any::<Option<i64>>())
                .prop_map(|(f, a, b)| Filter::Between(f, a, b)),
            (attribute_test(text.clone()), 0..2u8).prop_map(|(test, name)| {
                Filter::Attribute(format!("a{name}").parse().unwrap(), test)
            }),
            text.prop_map(Filter::Text),
        ];
        leaf.prop_recursive(4, 16, 3, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..3).prop_map(Filter::And),
                proptest::collection::vec(inner.clone(), 0..3).prop_map(Filter::Or),
                inner.prop_map(|f| Filter::Not(Box::new(f))),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_back_the_same(
            filter in filter(), from in any::<Option<i64>>(), to in any::<Option<i64>>()
        ) {
            let instant = |at: Option<i64>| at.map(Timestamp::from_millis);
            let range = TimeRange { from: instant(from), to: instant(to) };
            let query = Query { range, filter };
            let printed = query.to_string();
            prop_assume!(printed.len() <= crate::query::MAX_QUERY_BYTES);
            let now = Timestamp::from_millis(0);
            let simple = query.simplified();
            prop_assert_eq!(Query::parse(&printed, now), Ok(simple.clone()), "{}", printed);
            prop_assert_eq!(simple.simplified(), simple);
        }
    }
}
