//! Brace expansion: `a{b,c}d`, `{1..9}`, `{a..e}`.

/// What a text without quotes becomes; at most `most` texts, none where there
/// is nothing to expand or too much.
pub(super) fn expand(text: &[u8], most: usize) -> Vec<Vec<u8>> {
    let mut left = vec![text.to_vec()];
    let mut done = Vec::new();
    let mut steps = 0;
    // The last one first, so that the order comes out right.
    while let Some(text) = left.pop() {
        steps += 1;
        if steps > most * 2 || left.len() + done.len() > most {
            return Vec::new();
        }
        match first(&text, most) {
            Some(choices) => left.extend(choices.into_iter().rev()),
            None => done.push(text),
        }
    }
    done
}

/// The texts that the first braces of `text` make.
fn first(text: &[u8], most: usize) -> Option<Vec<Vec<u8>>> {
    for (open, byte) in text.iter().enumerate() {
        if *byte != b'{' {
            continue;
        }
        let mut depth = 0u32;
        let mut cuts = vec![open];
        for (at, byte) in text.iter().enumerate().skip(open) {
            match byte {
                b'{' => depth += 1,
                b',' if depth == 1 => cuts.push(at),
                b'}' => {
                    depth -= 1;
                    if depth == 0 {
                        cuts.push(at);
                        break;
                    }
                }
                _ => {}
            }
        }
        if depth > 0 {
            continue;
        }
        let close = cuts.last().copied()?;
        let (before, after) = (text.get(..open)?, text.get(close + 1..)?);
        let wrap = |middle: &[u8]| [before, middle, after].concat();
        if cuts.len() > 2 {
            let pieces = cuts.windows(2).filter_map(|pair| match pair {
                [from, to] => text.get(from + 1..*to),
                _ => None,
            });
            return Some(pieces.map(wrap).collect());
        }
        let inside = text.get(open + 1..close)?;
        if let Some(range) = range(inside, most) {
            return Some(range.iter().map(|middle| wrap(middle)).collect());
        }
    }
    None
}

fn range(inside: &[u8], most: usize) -> Option<Vec<Vec<u8>>> {
    let text = std::str::from_utf8(inside).ok()?;
    let mut fields = text.split("..");
    let (from, to) = (fields.next()?, fields.next()?);
    let step =
        fields.next().map_or(Some(1), |step| step.parse::<i64>().ok())?.unsigned_abs().max(1);
    let letter = |text: &str| match text.as_bytes() {
        [byte] if byte.is_ascii_alphabetic() => Some(*byte),
        _ => None,
    };
    let (low, high, letters) = match (letter(from), letter(to)) {
        (Some(from), Some(to)) => (i64::from(from), i64::from(to), true),
        _ => (from.parse::<i64>().ok()?, to.parse::<i64>().ok()?, false),
    };
    let count = low.abs_diff(high) / step;
    if count >= most as u64 {
        return None;
    }
    let width = if from.starts_with('0') && from.len() > 1 { from.len() } else { 0 };
    let sign = if low <= high { 1 } else { -1 };
    let values = (0..=count).map(|index| {
        let by = i64::try_from(index * step).unwrap_or(0) * sign;
        let value = low.wrapping_add(by);
        if letters {
            vec![u8::try_from(value).unwrap_or(b'?')]
        } else {
            format!("{value:0width$}").into_bytes()
        }
    });
    Some(values.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        let all = expand(text.as_bytes(), 1_000);
        all.iter().map(|t| String::from_utf8_lossy(t).into_owned()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn braces_expand_as_in_bash() {
        assert_eq!(shown("a{b,c{1,2}}d"), "abd ac1d ac2d");
        assert_eq!(shown("{1..4}"), "1 2 3 4");
        assert_eq!(shown("{08..10}{a..b}"), "08a 08b 09a 09b 10a 10b");
        assert_eq!(shown("{}"), "{}");
        assert_eq!(shown("{1..99999999}"), "{1..99999999}");
        assert_eq!(shown("{a,b}".repeat(40).as_str()), "");
    }
}
