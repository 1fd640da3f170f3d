//! Arithmetic in settings: `10m`, `1d 12h`, `1year-6mo`, and the formulas of
//! `bantime.formula`.
//!
//! fail2ban hands these to Python; this reads the part of Python they are
//! written in and nothing else.

/// Longest expression, in bytes.
const MAX_BYTES: usize = 1024;
/// Nesting of parentheses.
const MAX_DEPTH: u32 = 50;

/// Seconds of an hour, a day, and the mean month and year as fail2ban has them.
const HOUR: f64 = 3600.0;
const DAY: f64 = 86_400.0;
const YEAR: f64 = (365.0 * 3.0 + 366.0) * DAY / 4.0;

const UNITS: &[(&[&str], f64)] = &[
    (&["days", "day", "da", "dd", "d"], DAY),
    (&["weeks", "week", "wee", "we", "ww", "w"], 7.0 * DAY),
    (&["months", "month", "mon", "mo"], YEAR / 12.0),
    (&["years", "year", "yea", "ye", "yy", "y"], YEAR),
    (&["seconds", "second", "sec", "se", "ss", "s"], 1.0),
    (&["minutes", "minute", "min", "mi", "mm", "m"], 60.0),
    (&["hours", "hour", "hou", "ho", "hh", "h"], HOUR),
];

/// What names in a formula stand for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Names {
    /// `ban.Time`, in seconds.
    pub(crate) time: f64,
    /// `ban.Count`: earlier bans.
    pub(crate) count: f64,
    /// `banFactor`.
    pub(crate) factor: f64,
}

/// Seconds of a duration such as `10m`, `1d 12h`, `3600`, `-1`.
///
/// # Errors
/// What cannot be read.
pub fn seconds(text: &str) -> Result<f64, String> {
    evaluate(text, &Names::default(), Units::Allowed)
}

/// The value of a formula.
pub(crate) fn formula(text: &str, names: &Names) -> Result<f64, String> {
    evaluate(text, names, Units::None)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Units {
    Allowed,
    None,
}

fn evaluate(text: &str, names: &Names, units: Units) -> Result<f64, String> {
    if text.len() > MAX_BYTES {
        return Err("the expression is too long".into());
    }
    let mut reader = Reader { text, at: 0, names, units };
    let value = reader.choice(0)?;
    reader.space();
    if reader.rest().is_empty() && value.is_finite() {
        Ok(value)
    } else {
        Err(format!("cannot be read: {text}"))
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    names: &'a Names,
    units: Units,
}

impl Reader<'_> {
    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn space(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start().len();
    }

    fn eat(&mut self, token: &str) -> bool {
        self.space();
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    /// A word, such as `if`, that no letter follows.
    fn word(&mut self, word: &str) -> bool {
        self.space();
        let rest = self.rest();
        let found = rest.strip_prefix(word).is_some_and(|after| {
            !after.starts_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | '.'))
        });
        if found {
            self.at += word.len();
        }
        found
    }

    fn choice(&mut self, depth: u32) -> Result<f64, String> {
        if depth > MAX_DEPTH {
            return Err("too many parentheses".into());
        }
        let yes = self.comparison(depth)?;
        if !self.word("if") {
            return Ok(yes);
        }
        let condition = self.comparison(depth)?;
        if !self.word("else") {
            return Err("if without else".into());
        }
        let no = self.choice(depth + 1)?;
        Ok(if condition == 0.0 { no } else { yes })
    }

    fn comparison(&mut self, depth: u32) -> Result<f64, String> {
        let left = self.shift(depth)?;
        for sign in ["<=", ">=", "==", "!=", "<", ">"] {
            if self.eat(sign) {
                let right = self.shift(depth)?;
                let holds = match sign {
                    "<=" => left <= right,
                    ">=" => left >= right,
                    "==" => left == right,
                    "!=" => left != right,
                    "<" => left < right,
                    _ => left > right,
                };
                return Ok(f64::from(u8::from(holds)));
            }
        }
        Ok(left)
    }

    fn shift(&mut self, depth: u32) -> Result<f64, String> {
        let mut value = self.sum(depth)?;
        loop {
            if self.eat("<<") {
                value *= self.sum(depth)?.exp2();
            } else if self.eat(">>") {
                value = (value / self.sum(depth)?.exp2()).floor();
            } else {
                return Ok(value);
            }
        }
    }

    fn sum(&mut self, depth: u32) -> Result<f64, String> {
        let mut value = self.product(depth)?;
        loop {
            if self.eat("+") {
                value += self.product(depth)?;
            } else if self.eat("-") {
                value -= self.product(depth)?;
            } else {
                // `1h 30m` is a sum.
                self.space();
                let digit = self.rest().starts_with(|c: char| c.is_ascii_digit());
                if self.units == Units::None || !digit {
                    return Ok(value);
                }
                value += self.product(depth)?;
            }
        }
    }

    fn product(&mut self, depth: u32) -> Result<f64, String> {
        let mut value = self.power(depth)?;
        loop {
            if self.eat("//") {
                value = (value / self.power(depth)?).floor();
            } else if self.eat("/") {
                value /= self.power(depth)?;
            } else if self.eat("%") {
                value = value.rem_euclid(self.power(depth)?);
            } else if self.eat("*") {
                value *= self.power(depth)?;
            } else {
                return Ok(value);
            }
        }
    }

    fn power(&mut self, depth: u32) -> Result<f64, String> {
        if depth > MAX_DEPTH {
            return Err("too many parentheses".into());
        }
        if self.eat("-") {
            return Ok(-self.power(depth + 1)?);
        }
        if self.eat("+") {
            return self.power(depth + 1);
        }
        let value = self.atom(depth)?;
        if self.eat("**") { Ok(value.powf(self.power(depth + 1)?)) } else { Ok(value) }
    }

    fn atom(&mut self, depth: u32) -> Result<f64, String> {
        self.space();
        if self.eat("(") {
            let value = self.choice(depth + 1)?;
            return if self.eat(")") { Ok(value) } else { Err("missing )".into()) };
        }
        let rest = self.rest();
        if rest.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
            let end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(rest.len());
            let value: f64 = rest
                .get(..end)
                .and_then(|digits| digits.parse().ok())
                .ok_or_else(|| "a number was expected".to_owned())?;
            self.at += end;
            return Ok(value * self.unit());
        }
        let end = rest
            .find(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '.')))
            .unwrap_or(rest.len());
        let name = rest.get(..end).unwrap_or_default().to_owned();
        self.at += end;
        if self.units == Units::Allowed {
            return Err(format!("a number was expected: {}", self.text));
        }
        match name.as_str() {
            "ban.Time" => return Ok(self.names.time),
            "ban.Count" => return Ok(self.names.count),
            "banFactor" => return Ok(self.names.factor),
            _ => {}
        }
        if !self.eat("(") {
            return Err(format!("{name} is not known"));
        }
        let mut values = vec![self.choice(depth + 1)?];
        while self.eat(",") {
            values.push(self.choice(depth + 1)?);
        }
        if !self.eat(")") {
            return Err("missing )".into());
        }
        let first = values.first().copied().unwrap_or_default();
        Ok(match (name.as_str(), values.as_slice()) {
            ("math.exp", [x]) => x.exp(),
            ("math.log", [x]) => x.ln(),
            ("math.log", [x, base]) => x.log(*base),
            ("math.log2", [x]) => x.log2(),
            ("math.log10", [x]) => x.log10(),
            ("math.sqrt", [x]) => x.sqrt(),
            ("math.pow" | "pow", [x, y]) => x.powf(*y),
            ("math.floor", [x]) => x.floor(),
            ("math.ceil", [x]) => x.ceil(),
            ("float", [x]) => *x,
            ("int", [x]) => x.trunc(),
            ("round", [x]) => x.round_ties_even(),
            ("abs", [x]) => x.abs(),
            ("min", _) => values.iter().copied().fold(first, f64::min),
            ("max", _) => values.iter().copied().fold(first, f64::max),
            _ => return Err(format!("{name}() is not known")),
        })
    }

    /// The unit behind a number.
    fn unit(&mut self) -> f64 {
        if self.units == Units::None {
            return 1.0;
        }
        let rest = self.rest();
        let trimmed = rest.trim_start();
        let end = trimmed.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(trimmed.len());
        let name = trimmed.get(..end).unwrap_or_default().to_ascii_lowercase();
        let unit = UNITS.iter().find(|(names, _)| names.contains(&name.as_str()));
        match unit {
            Some((_, factor)) => {
                self.at += rest.len() - trimmed.len() + end;
                *factor
            }
            None => 1.0,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests: a failure is a panic")]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_fail2ban_reads_them() {
        for (text, expected) in [
            ("600", 600.0),
            ("10m", 600.0),
            ("1hour+30min", 5400.0),
            ("0d 1h 30m", 5400.0),
            ("1d12h", 129_600.0),
            ("1year-6mo", 15_778_800.0),
            ("6 months", 15_778_800.0),
            ("-1", -1.0),
            ("1w", 604_800.0),
            ("5*60", 300.0),
            ("1H 2M 3S", 3723.0),
        ] {
            assert_eq!(seconds(text), Ok(expected), "{text}");
        }
        for text in ["", "ten", "10 x", "1 +", "import os", "1e400", "((((1"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }

    #[test]
    fn formulas_know_pythons_operators() {
        let names = Names { time: 600.0, count: 3.0, factor: 2.0 };
        let value = |text| formula(text, &names).unwrap();
        assert_eq!(
            value("ban.Time * (1<<(ban.Count if ban.Count<20 else 20)) * banFactor"),
            9600.0
        );
        let exp = value("ban.Time * math.exp(float(ban.Count+1)*banFactor)/math.exp(1*banFactor)");
        assert!((exp - 600.0 * (6.0f64).exp()).abs() < 1e-6);
        assert_eq!(value("max(1, 2**3, 10//3) - -1 + 7 % 4"), 12.0);
        assert!(formula("__import__('os')", &names).is_err());
        assert!(formula(&"(".repeat(500), &names).is_err());
    }
}
