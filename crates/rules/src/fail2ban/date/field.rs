//! The fields of a date pattern: `%d`, `%ExY` and their kind.

use super::Now;

/// Fields, the expression each stands for, and its name in reports. `{c}` is
/// the part of the year before its last digit.
const FIELDS: &[(&str, &str, &str)] = &[
    ("%", "%", "%"),
    ("A", "(?P<A>wednesday|thursday|saturday|tuesday|monday|friday|sunday)", "DAYNAME"),
    (
        "B",
        "(?P<B>september|february|november|december|january|october|august|march|april|june|july|may)",
        "MONTH",
    ),
    ("ExH", r"(?P<H>[0-1]\d|2[0-3])", "Ex24hour"),
    ("ExM", r"(?P<M>[0-5]\d)", "ExMinute"),
    ("ExS", r"(?P<S>[0-5]\d|6[0-1])", "ExSecond"),
    ("ExY", r"(?P<Y>{c}\d)", "ExYear"),
    ("ExZ", r"(?P<Z>[A-Z](?:[A-Z]{2,4})?)", "ExZone name"),
    ("Exd", r"(?P<d>[1-2]\d|0[1-9]|3[0-1])", "ExDay"),
    ("Exk", r" ?(?P<H>[0-1]?\d|2[0-3])", "%Exk"),
    ("Exl", r" ?(?P<I>1[0-2]|\d)", "%Exl"),
    ("Exm", r"(?P<m>0[1-9]|1[0-2])", "ExMonth"),
    ("Exy", r"(?P<y>\d{2})", "ExYear2"),
    (
        "Exz",
        r"(?P<z>(?:[A-Z](?:[A-Z]{2,4})?)?[+-][01]\d(?::?\d{2})?|[A-Z](?:[A-Z]{2,4})?)",
        "ExZone offset",
    ),
    ("G", r"(?P<G>\d\d\d\d)", "%G"),
    ("H", r"(?P<H>[0-1]?\d|2[0-3])", "24hour"),
    ("I", "(?P<I>1[0-2]|0[1-9]|[1-9])", "12hour"),
    ("M", r"(?P<M>[0-5]?\d)", "Minute"),
    ("S", r"(?P<S>[0-5]?\d|6[0-1])", "Second"),
    ("U", r"(?P<U>5[0-3]|[0-4]\d|\d)", "Yearweek"),
    ("V", r"(?P<V>5[0-3]|0[1-9]|[1-4]\d|\d)", "%V"),
    ("W", r"(?P<W>5[0-3]|[0-4]\d|\d)", "Yearweek"),
    ("X", r"(?P<H>2[0-3]|[0-1]\d|\d):(?P<M>[0-5]\d|\d):(?P<S>6[0-1]|[0-5]\d|\d)", "%X"),
    ("Y", r"(?P<Y>\d{4})", "Year"),
    ("Z", "(?P<Z>Z|[A-Z]{3,5})", "Zone name"),
    ("a", "(?P<a>mon|tue|wed|thu|fri|sat|sun)", "DAY"),
    ("b", "(?P<b>jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)", "MON"),
    (
        "c",
        r"(?P<a>mon|tue|wed|thu|fri|sat|sun)\s+(?P<b>jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)\s+(?P<d>3[0-1]|[1-2]\d|0[1-9]|[1-9]| [1-9])\s+(?P<H>2[0-3]|[0-1]\d|\d):(?P<M>[0-5]\d|\d):(?P<S>6[0-1]|[0-5]\d|\d)\s+(?P<Y>\d\d\d\d)",
        "%c",
    ),
    ("d", r"(?P<d>[1-2]\d|[0 ]?[1-9]|3[0-1])", "Day"),
    ("f", "(?P<f>[0-9]{1,6})", "Microseconds"),
    ("j", r"(?P<j>36[0-6]|3[0-5]\d|[1-2]\d\d|0[1-9]\d|00[1-9]|[1-9]\d|0[1-9]|[1-9])", "Yearday"),
    ("k", r" ?(?P<H>[0-2]?\d)", "%k"),
    ("l", r" ?(?P<I>1?\d)", "%l"),
    ("m", "(?P<m>0?[1-9]|1[0-2])", "Month"),
    ("p", "(?P<p>am|pm)", "AMPM"),
    ("u", "(?P<u>[1-7])", "%u"),
    ("w", "(?P<w>[0-6])", "Weekday"),
    (
        "x",
        r"(?P<m>1[0-2]|0[1-9]|[1-9])/(?P<d>3[0-1]|[1-2]\d|0[1-9]|[1-9]| [1-9])/(?P<y>\d\d)",
        "%x",
    ),
    ("y", r"(?P<y>\d\d)", "Year2"),
    ("z", r"(?P<z>Z|UTC|GMT|[+-][01]\d(?::?\d{2})?)", "Zone offset"),
];

/// A pattern with its fields put in.
pub(super) struct Expanded {
    /// The expression in Python's syntax.
    pub(super) regex: String,
    /// The pattern as reports show it.
    pub(super) name: String,
    /// Whether it has names of days or months, or am and pm.
    pub(super) letters: bool,
}

/// Puts the fields into a pattern.
///
/// # Errors
/// The first `%` that begins no field.
pub(super) fn expand(pattern: &str, now: &Now) -> Result<Expanded, String> {
    let mut out = Expanded { regex: String::new(), name: String::new(), letters: false };
    let century = centuries(now);
    let mut rest = pattern;
    while let Some(at) = rest.find('%') {
        let (before, from) = rest.split_at(at);
        out.regex.push_str(before);
        out.name.push_str(before);
        let body = from.get(1..).unwrap_or_default();
        let field = FIELDS
            .iter()
            .filter(|(letter, _, _)| body.starts_with(letter))
            .max_by_key(|(letter, _, _)| letter.len())
            .ok_or_else(|| {
                let shown: String = from.chars().take(4).collect();
                format!("'{shown}' is no field of a date pattern (write %% for a percent sign)")
            })?;
        let (letter, regex, name) = *field;
        out.letters |= matches!(letter, "a" | "A" | "b" | "B" | "p" | "c");
        out.regex.push_str(&regex.replace("{c}", &century));
        out.name.push_str(name);
        rest = body.get(letter.len()..).unwrap_or_default();
    }
    out.regex.push_str(rest);
    out.name.push_str(rest);
    Ok(out)
}

/// Years of `%ExY` without their last digit: from 2000 to three years after
/// now, and at least to 2029.
fn centuries(now: &Now) -> String {
    let last = (i32::from(now.local().year()) + 3).clamp(2029, 2099) / 10 % 10;
    let digits: String = (0..=last).map(|digit| digit.to_string()).collect();
    format!("20[{digits}]")
}
