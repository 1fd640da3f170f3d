//! Conditions on attributes as SQL. They lie in the JSON of `rest` as
//! `["name",{"t":"text"}]`, `{"i":5}`, `{"r":bits}` or `{"f":true}`. What is
//! written is always written alike, and a quote inside of a text has a `\`
//! before it, so a part of that JSON is found where it is meant and nowhere else.

use std::fmt::Write as _;
use std::ops::Bound;

use super::sql;
use crate::query::{AttributeName, AttributeTest, Pattern, WrittenNumber};

// Writing to memory does not fail, so its results are left alone.

/// That the attribute is as asked for.
pub(super) fn condition(sql: &mut String, name: &AttributeName, test: &AttributeTest) {
    let head = format!("[\"{name}\",{{\"");
    match test {
        AttributeTest::In(values) => one_of(sql, &head, values),
        AttributeTest::Prefix(prefix) if !prefix.is_empty() => {
            contains(sql, &format!("{head}t\":\"{}", inside(prefix)));
        }
        AttributeTest::Exists | AttributeTest::Prefix(_) => {
            sql.push('(');
            for kind in ['t', 'i', 'r', 'f'] {
                contains(sql, &format!("{head}{kind}\":"));
                sql.push_str(" OR ");
            }
            sql.push_str("0)");
        }
        AttributeTest::Wildcard(pattern) => {
            let mut regex = String::new();
            literal(&mut regex, &format!("{head}t\":\""));
            steps(&mut regex, &Pattern::new(pattern).text());
            literal(&mut regex, "\"}]");
            sql.push_str("match(rest, ");
            sql::text(sql, &regex);
            sql.push(')');
        }
        AttributeTest::Range(low, high) => range(sql, &head, *low, *high),
    }
}

fn contains(sql: &mut String, part: &str) {
    sql.push_str("position(rest, ");
    sql::text(sql, part);
    sql.push_str(") > 0");
}

fn one_of(sql: &mut String, head: &str, values: &[String]) {
    sql.push_str("(0");
    let mut or = |part: String| {
        sql.push_str(" OR ");
        contains(sql, &format!("{head}{part}}}]"));
    };
    for wanted in values {
        or(format!("t\":\"{}\"", inside(wanted)));
        if matches!(wanted.as_str(), "true" | "false") {
            or(format!("f\":{wanted}"));
        }
        let Some(number) = WrittenNumber::of(wanted) else { continue };
        if let Some(whole) = number.whole {
            or(format!("i\":{whole}"));
        }
        or(format!("r\":{}", number.real.to_bits()));
        if number.real == 0.0 {
            // The other zero.
            or(format!("r\":{}", (-number.real).to_bits()));
        }
    }
    sql.push(')');
}

fn range(sql: &mut String, head: &str, low: Bound<f64>, high: Bound<f64>) {
    // Bounds as bits: not every version reads every way to write a number.
    let of_bits =
        |bits: &str| format!("reinterpretAsFloat64(reinterpretAsString(toUInt64({bits})))");
    let bound = |value: &str, bound: Bound<f64>, sign: &str| match bound {
        Bound::Unbounded => String::new(),
        Bound::Included(at) => {
            format!(" AND {value} {sign}= {}", of_bits(&format!("'{}'", at.to_bits())))
        }
        Bound::Excluded(at) => {
            format!(" AND {value} {sign} {}", of_bits(&format!("'{}'", at.to_bits())))
        }
    };
    let finite = |bound: Bound<f64>| match bound {
        Bound::Included(at) | Bound::Excluded(at) => at.is_finite(),
        Bound::Unbounded => true,
    };
    if !finite(low) || !finite(high) {
        sql.push('0');
        return;
    }
    sql.push_str("(0");
    for (kind, digits, value) in
        [('i', "([-]?[0-9]+)", "toFloat64(toInt64(x))".to_owned()), ('r', "([0-9]+)", of_bits("x"))]
    {
        let mut regex = String::new();
        literal(&mut regex, &format!("{head}{kind}\":"));
        regex.push_str(digits);
        let (low, high) = (bound(&value, low, ">"), bound(&value, high, "<"));
        // What is no number is neither smaller nor larger than any.
        let _ =
            write!(sql, " OR arrayExists(x -> ({value} = {value}{low}{high}), extractAll(rest, ");
        sql::text(sql, &regex);
        sql.push_str("))");
    }
    sql.push(')');
}

/// A text as it stands between the quotes of JSON.
fn inside(text: &str) -> String {
    // A text is always written.
    let quoted = serde_json::to_string(text).unwrap_or_default();
    let text = quoted.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    text.unwrap_or_default().to_owned()
}

fn literal(regex: &mut String, text: &str) {
    text.chars().for_each(|c| sql::regex_char(regex, c));
}

/// A pattern over the text inside of the quotes: one character may be written
/// with several.
fn steps(regex: &mut String, pattern: &str) {
    const ONE: &str = r#"([^"\\]|[\\]u[0-9a-f][0-9a-f][0-9a-f][0-9a-f]|[\\][^u])"#;
    let mut chars = pattern.chars();
    let mut buffer = [0; 4];
    while let Some(c) = chars.next() {
        match c {
            '*' => {
                regex.push_str(ONE);
                regex.push('*');
            }
            '?' => regex.push_str(ONE),
            '\\' => literal(regex, &inside(chars.next().unwrap_or('\\').encode_utf8(&mut buffer))),
            c => literal(regex, &inside(c.encode_utf8(&mut buffer))),
        }
    }
}
