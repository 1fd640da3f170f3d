//! `$((…))`: 64-bit arithmetic with C's operators. Bounded in depth; overflow
//! wraps, division by zero is a mistake.

/// A place for the values of variables.
pub(super) trait Variables {
    fn get(&mut self, name: &[u8]) -> Vec<u8>;
    fn set(&mut self, name: &[u8], value: i64);
}

/// Most brackets and operators inside each other.
const MAX_DEPTH: u32 = 48;
/// Binary operators with their precedence.
const BINARY: [(&[u8], u8); 19] = [
    (b"||", 1),
    (b"&&", 2),
    (b"==", 6),
    (b"!=", 6),
    (b"<=", 7),
    (b">=", 7),
    (b"<<", 8),
    (b">>", 8),
    (b"**", 11),
    (b"|", 3),
    (b"^", 4),
    (b"&", 5),
    (b"<", 7),
    (b">", 7),
    (b"+", 9),
    (b"-", 9),
    (b"*", 10),
    (b"/", 10),
    (b"%", 10),
];

/// The value of an expression.
///
/// # Errors
/// What bash says about it.
pub(super) fn evaluate(text: &[u8], variables: &mut dyn Variables) -> Result<i64, &'static str> {
    let mut reader = Reader { text, at: 0, depth: 0, variables };
    let mut value = reader.assignment()?;
    reader.blanks();
    while reader.takes(b",") {
        value = reader.assignment()?;
        reader.blanks();
    }
    if reader.at < text.len() {
        return Err("syntax error in expression");
    }
    Ok(value)
}

struct Reader<'a, 'b> {
    text: &'a [u8],
    at: usize,
    depth: u32,
    variables: &'b mut dyn Variables,
}

impl Reader<'_, '_> {
    fn blanks(&mut self) {
        while self.text.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
    }

    fn rest(&self) -> &[u8] {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn takes(&mut self, text: &[u8]) -> bool {
        let there = self.rest().starts_with(text);
        if there {
            self.at += text.len();
        }
        there
    }

    fn name(&mut self) -> Option<Vec<u8>> {
        let rest = self.rest();
        if !rest.first().is_some_and(|b| b.is_ascii_alphabetic() || *b == b'_') {
            return None;
        }
        let length = rest.iter().take_while(|b| b.is_ascii_alphanumeric() || **b == b'_').count();
        let name = rest.get(..length).map(<[u8]>::to_vec);
        self.at += length;
        name
    }

    fn assignment(&mut self) -> Result<i64, &'static str> {
        if self.depth >= MAX_DEPTH {
            return Err("expression recursion level exceeded");
        }
        self.depth += 1;
        let value = self.assignment_inside();
        self.depth -= 1;
        value
    }

    fn assignment_inside(&mut self) -> Result<i64, &'static str> {
        self.blanks();
        let before = self.at;
        if let Some(name) = self.name() {
            self.blanks();
            let rest = self.rest();
            let operators: [&[u8]; 11] =
                [b"<<=", b">>=", b"+=", b"-=", b"*=", b"/=", b"%=", b"&=", b"|=", b"^=", b"="];
            let operator = operators.into_iter().find(|text| rest.starts_with(text));
            if let Some(operator) = operator.filter(|_| !rest.starts_with(b"==")) {
                self.at += operator.len();
                let right = self.assignment()?;
                let kind = operator.strip_suffix(b"=").unwrap_or_default();
                let value = if kind.is_empty() {
                    right
                } else {
                    let left = self.value(&name)?;
                    apply(kind, left, right)?
                };
                self.variables.set(&name, value);
                return Ok(value);
            }
            self.at = before;
        }
        let condition = self.binary(1)?;
        self.blanks();
        if self.rest().starts_with(b"?") {
            self.at += 1;
            let yes = self.assignment()?;
            self.blanks();
            if !self.takes(b":") {
                return Err("`:' expected for conditional expression");
            }
            let no = self.assignment()?;
            return Ok(if condition != 0 { yes } else { no });
        }
        Ok(condition)
    }

    fn binary(&mut self, least: u8) -> Result<i64, &'static str> {
        let mut left = self.unary()?;
        loop {
            self.blanks();
            let rest = self.rest();
            let Some((operator, level)) =
                BINARY.into_iter().find(|(text, _)| rest.starts_with(text))
            else {
                return Ok(left);
            };
            if level < least {
                return Ok(left);
            }
            self.at += operator.len();
            if self.depth >= MAX_DEPTH {
                return Err("expression recursion level exceeded");
            }
            self.depth += 1;
            let right = self.binary(level + 1);
            self.depth -= 1;
            left = apply(operator, left, right?)?;
        }
    }

    fn unary(&mut self) -> Result<i64, &'static str> {
        self.blanks();
        if self.depth >= MAX_DEPTH {
            return Err("expression recursion level exceeded");
        }
        for (operator, by) in [(&b"++"[..], 1), (b"--", -1)] {
            if self.rest().starts_with(operator) {
                let before = self.at;
                self.at += 2;
                self.blanks();
                if let Some(name) = self.name() {
                    let value = self.value(&name)?.wrapping_add(by);
                    self.variables.set(&name, value);
                    return Ok(value);
                }
                self.at = before;
            }
        }
        let Some(byte) = self.rest().first().copied() else {
            // An empty expression is zero.
            return if self.at == 0 || self.text.iter().all(u8::is_ascii_whitespace) {
                Ok(0)
            } else {
                Err("syntax error: operand expected")
            };
        };
        if matches!(byte, b'-' | b'+' | b'!' | b'~') {
            self.at += 1;
            self.depth += 1;
            let value = self.unary();
            self.depth -= 1;
            let value = value?;
            return Ok(match byte {
                b'-' => value.wrapping_neg(),
                b'!' => i64::from(value == 0),
                b'~' => !value,
                _ => value,
            });
        }
        if byte == b'(' {
            self.at += 1;
            let value = self.assignment()?;
            self.blanks();
            return if self.takes(b")") { Ok(value) } else { Err("missing `)'") };
        }
        if let Some(name) = self.name() {
            let value = self.value(&name)?;
            for (operator, by) in [(&b"++"[..], 1), (b"--", -1)] {
                if self.takes(operator) {
                    self.variables.set(&name, value.wrapping_add(by));
                }
            }
            return Ok(value);
        }
        let length =
            self.rest().iter().take_while(|b| b.is_ascii_alphanumeric() || **b == b'#').count();
        let digits = self.rest().get(..length).unwrap_or_default().to_vec();
        self.at += length;
        number(&digits).ok_or("syntax error: operand expected")
    }

    fn value(&mut self, name: &[u8]) -> Result<i64, &'static str> {
        let text = self.variables.get(name);
        let text = text.trim_ascii();
        if text.is_empty() {
            return Ok(0);
        }
        let (sign, digits) = match text.strip_prefix(b"-") {
            Some(digits) => (-1, digits),
            None => (1, text),
        };
        if let Some(value) = number(digits) {
            return Ok(value.wrapping_mul(sign));
        }
        // A variable may hold an expression.
        if self.depth >= MAX_DEPTH || text.len() > 256 {
            return Err("expression recursion level exceeded");
        }
        let text = text.to_vec();
        let mut inner =
            Reader { text: &text, at: 0, depth: self.depth + 8, variables: &mut *self.variables };
        let value = inner.assignment()?;
        inner.blanks();
        if inner.at < text.len() { Err("syntax error in expression") } else { Ok(value) }
    }
}

fn number(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?;
    let (base, digits) = match text.split_once('#') {
        Some((base, digits)) => (base.parse().ok().filter(|base| (2..=36).contains(base))?, digits),
        None => match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
            Some(digits) => (16, digits),
            None if text.len() > 1 && text.starts_with('0') => (8, text),
            None => (10, text),
        },
    };
    i64::from_str_radix(digits, base).ok()
}

fn apply(operator: &[u8], left: i64, right: i64) -> Result<i64, &'static str> {
    let shift = |by: i64| u32::try_from(by & 63).unwrap_or(0);
    Ok(match operator {
        b"||" => i64::from(left != 0 || right != 0),
        b"&&" => i64::from(left != 0 && right != 0),
        b"==" => i64::from(left == right),
        b"!=" => i64::from(left != right),
        b"<=" => i64::from(left <= right),
        b">=" => i64::from(left >= right),
        b"<" => i64::from(left < right),
        b">" => i64::from(left > right),
        b"<<" => left.wrapping_shl(shift(right)),
        b">>" => left.wrapping_shr(shift(right)),
        b"|" => left | right,
        b"^" => left ^ right,
        b"&" => left & right,
        b"+" => left.wrapping_add(right),
        b"-" => left.wrapping_sub(right),
        b"*" => left.wrapping_mul(right),
        b"**" => left.wrapping_pow(u32::try_from(right).map_err(|_| "exponent less than 0")?),
        b"/" | b"%" if right == 0 => return Err("division by 0"),
        b"/" => left.wrapping_div(right),
        _ => left.wrapping_rem(right),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    struct Names(HashMap<Vec<u8>, Vec<u8>>);

    impl Variables for Names {
        fn get(&mut self, name: &[u8]) -> Vec<u8> {
            self.0.get(name).cloned().unwrap_or_default()
        }
        fn set(&mut self, name: &[u8], value: i64) {
            self.0.insert(name.to_vec(), value.to_string().into_bytes());
        }
    }

    #[test]
    fn numbers_come_out_as_in_bash() {
        let mut names = Names(HashMap::from([(b"a".to_vec(), b"5".to_vec())]));
        for (text, expected) in [
            ("7*6", Ok(42)),
            ("1+2*3", Ok(7)),
            ("(1+2)*3", Ok(9)),
            ("2**10", Ok(1024)),
            ("a+1", Ok(6)),
            ("a++ + a", Ok(11)),
            ("0x10", Ok(16)),
            ("010", Ok(8)),
            ("16#ff", Ok(255)),
            ("1?2:3", Ok(2)),
            ("-3%2", Ok(-1)),
            ("!0", Ok(1)),
            ("b=4, b*2", Ok(8)),
            ("", Ok(0)),
            ("1/0", Err("division by 0")),
            ("10-3-2", Ok(5)),
            ("1<2&&3>=3", Ok(1)),
        ] {
            assert_eq!(evaluate(text.as_bytes(), &mut names), expected, "{text}");
        }
        for text in ["(".repeat(5_000), "-".repeat(5_000), "1+".repeat(5_000), "a=".repeat(5_000)] {
            assert!(evaluate(text.as_bytes(), &mut names).is_err());
        }
        names.0.insert(b"x".to_vec(), b"x".to_vec());
        assert!(evaluate(b"x", &mut names).is_err());
    }
}
