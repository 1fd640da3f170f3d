//! Shell patterns: `*`, `?`, `[…]`; a backslash makes the next byte plain.
//! Matching takes at most length of text times length of pattern steps.

/// Whether all of `text` matches.
pub(super) fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut back: Option<(usize, usize)> = None;
    loop {
        let step = match pattern.get(p) {
            Some(b'*') => {
                back = Some((p + 1, t));
                p += 1;
                continue;
            }
            None if t == text.len() => return true,
            None => None,
            Some(_) => text.get(t).and_then(|byte| one(pattern, p, *byte)),
        };
        match (step, back) {
            (Some(next), _) => (p, t) = (next, t + 1),
            (None, Some((after, from))) if from < text.len() => {
                back = Some((after, from + 1));
                (p, t) = (after, from + 1);
            }
            _ => return false,
        }
    }
}

/// Whether `byte` matches the element at `at`; where the next one is.
fn one(pattern: &[u8], at: usize, byte: u8) -> Option<usize> {
    match pattern.get(at)? {
        b'?' => Some(at + 1),
        b'\\' => match pattern.get(at + 1) {
            Some(next) => (*next == byte).then_some(at + 2),
            None => (byte == b'\\').then_some(at + 1),
        },
        b'[' => match set(pattern, at + 1, byte) {
            Some((inside, next)) => inside.then_some(next),
            None => (byte == b'[').then_some(at + 1),
        },
        plain => (*plain == byte).then_some(at + 1),
    }
}

/// Whether `byte` is in the set that begins at `at`, and what follows it;
/// `None` where it does not end.
fn set(pattern: &[u8], mut at: usize, byte: u8) -> Option<(bool, usize)> {
    let negate = matches!(pattern.get(at), Some(b'!' | b'^'));
    at += usize::from(negate);
    let (mut inside, first) = (false, at);
    loop {
        let from = *pattern.get(at)?;
        if from == b']' && at > first {
            return Some((inside != negate, at + 1));
        }
        if from == b'[' && pattern.get(at + 1) == Some(&b':') {
            let rest = pattern.get(at + 2..)?;
            let end = rest.windows(2).position(|pair| pair == b":]")?;
            inside |= class(rest.get(..end)?, byte);
            at += end + 4;
            continue;
        }
        let from = if from == b'\\' {
            at += 1;
            *pattern.get(at)?
        } else {
            from
        };
        match (pattern.get(at + 1), pattern.get(at + 2)) {
            (Some(b'-'), Some(to)) if *to != b']' => {
                inside |= (from..=*to).contains(&byte);
                at += 3;
            }
            _ => {
                inside |= from == byte;
                at += 1;
            }
        }
    }
}

fn class(name: &[u8], byte: u8) -> bool {
    match name {
        b"alpha" => byte.is_ascii_alphabetic(),
        b"digit" => byte.is_ascii_digit(),
        b"alnum" => byte.is_ascii_alphanumeric(),
        b"upper" => byte.is_ascii_uppercase(),
        b"lower" => byte.is_ascii_lowercase(),
        b"space" => byte.is_ascii_whitespace(),
        b"punct" => byte.is_ascii_punctuation(),
        b"xdigit" => byte.is_ascii_hexdigit(),
        _ => false,
    }
}

/// Whether there is anything to match in it.
pub(super) fn is_pattern(text: &[u8]) -> bool {
    let mut escaped = false;
    text.iter().any(|byte| {
        let special = !escaped && matches!(byte, b'*' | b'?' | b'[');
        escaped = !escaped && *byte == b'\\';
        special
    })
}

/// The text of a pattern without its escapes.
pub(super) fn plain(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => out.extend(bytes.next().or(Some(byte))),
            _ => out.push(*byte),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_a_shell() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("*.sh", "a.sh", true),
            ("a*b*c", "axxbxxbc", true),
            ("a?c", "ac", false),
            ("[0-9]*", "7x", true),
            ("[!0-9]*", "7x", false),
            ("[[:alpha:]]", "q", true),
            (r"\*", "*", true),
            (r"\*", "x", false),
            ("[", "[", true),
            ("[]a]", "]", true),
        ] {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn a_hostile_pattern_is_quick() {
        let pattern = b"*a".repeat(500);
        assert!(!matches(&pattern, &vec![b'b'; 10_000]));
    }
}
