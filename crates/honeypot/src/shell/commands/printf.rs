//! `printf`, and its formats for awk.

use crate::shell::{Shell, escape};

/// Longest field of `printf`, in bytes.
const MAX_WIDTH: usize = 4_096;

pub(super) fn printf(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    let Some((format, mut rest)) = words.split_first() else {
        shell.complain(b"printf: usage: printf [-v var] format [arguments]");
        return 2;
    };
    loop {
        let before = rest.len();
        let (out, left) = format_once(format, rest);
        shell.put(&out);
        rest = left;
        if rest.is_empty() || rest.len() == before || !shell.budget.take(1) {
            return 0;
        }
    }
}

/// A format with its arguments; what is left of them.
pub(super) fn format_once<'a>(format: &[u8], words: &'a [Vec<u8>]) -> (Vec<u8>, &'a [Vec<u8>]) {
    let (mut out, mut rest) = (Vec::new(), words);
    let mut at = 0;
    let mut plain = 0;
    let flush = |out: &mut Vec<u8>, from: usize, to: usize| {
        out.extend(escape::unescape(format.get(from..to).unwrap_or_default(), false).0);
    };
    while let Some(byte) = format.get(at) {
        if *byte == b'\\' {
            at += 2;
            continue;
        }
        if *byte != b'%' {
            at += 1;
            continue;
        }
        flush(&mut out, plain, at);
        at += 1;
        let mut spec = Spec::default();
        while let Some(flag @ (b'-' | b'0' | b'+' | b' ' | b'#')) = format.get(at) {
            spec.left |= *flag == b'-';
            spec.zero |= *flag == b'0';
            spec.plus |= *flag == b'+';
            at += 1;
        }
        let mut number = |at: &mut usize| {
            if format.get(*at) == Some(&b'*') {
                *at += 1;
                let (first, after) = rest.split_first().map_or((0, rest), |(f, a)| (integer(f), a));
                rest = after;
                return usize::try_from(first).ok();
            }
            let digits: Vec<u8> = format
                .get(*at..)
                .unwrap_or_default()
                .iter()
                .copied()
                .take_while(u8::is_ascii_digit)
                .collect();
            *at += digits.len();
            std::str::from_utf8(&digits).ok()?.parse::<usize>().ok()
        };
        spec.width = number(&mut at).unwrap_or(0).min(MAX_WIDTH);
        if format.get(at) == Some(&b'.') {
            at += 1;
            spec.precision = Some(number(&mut at).unwrap_or(0).min(MAX_WIDTH));
        }
        while matches!(format.get(at), Some(b'l' | b'h' | b'L' | b'q'))
            && format.get(at + 1).is_some_and(u8::is_ascii_alphabetic)
        {
            at += 1;
        }
        let kind = format.get(at).copied().unwrap_or(b'%');
        at += 1;
        plain = at;
        if kind == b'%' {
            out.push(b'%');
            continue;
        }
        let empty = Vec::new();
        let (word, after) = rest.split_first().unwrap_or((&empty, rest));
        rest = after;
        let text = match kind {
            b'd' | b'i' | b'u' => {
                let value = integer(word);
                if spec.plus && value >= 0 { format!("+{value}") } else { value.to_string() }
                    .into_bytes()
            }
            b'x' => format!("{:x}", integer(word)).into_bytes(),
            b'X' => format!("{:X}", integer(word)).into_bytes(),
            b'o' => format!("{:o}", integer(word)).into_bytes(),
            b'c' => word.get(..1).unwrap_or_default().to_vec(),
            b'f' | b'F' | b'g' | b'e' => {
                let value: f64 = std::str::from_utf8(word)
                    .ok()
                    .and_then(|t| t.trim().parse().ok())
                    .unwrap_or(0.0);
                let digits = spec.precision.unwrap_or(6);
                if kind == b'g' { format!("{value}") } else { format!("{value:.digits$}") }
                    .into_bytes()
            }
            b'b' => escape::unescape(word, true).0,
            _ => {
                let most = spec.precision.unwrap_or(word.len());
                word.get(..most).unwrap_or(word).to_vec()
            }
        };
        let fill = spec.width.saturating_sub(text.len());
        let numeric = matches!(kind, b'd' | b'i' | b'u' | b'x' | b'X' | b'o' | b'f');
        if spec.left {
            out.extend_from_slice(&text);
            out.extend(std::iter::repeat_n(b' ', fill));
        } else {
            out.extend(std::iter::repeat_n(if spec.zero && numeric { b'0' } else { b' ' }, fill));
            out.extend_from_slice(&text);
        }
    }
    flush(&mut out, plain, format.len());
    (out, rest)
}

#[derive(Default)]
struct Spec {
    left: bool,
    zero: bool,
    plus: bool,
    width: usize,
    precision: Option<usize>,
}

pub(super) fn integer(word: &[u8]) -> i64 {
    let text = String::from_utf8_lossy(word);
    let text = text.trim();
    if let Some(letter) = text.strip_prefix(['\'', '"']) {
        return letter.chars().next().map_or(0, |letter| i64::from(u32::from(letter)));
    }
    if let Some(hex) = text.strip_prefix("0x") {
        return i64::from_str_radix(hex, 16).unwrap_or(0);
    }
    if text.len() > 1 && text.starts_with('0') {
        return i64::from_str_radix(text, 8).unwrap_or(0);
    }
    let digits: String = text
        .chars()
        .enumerate()
        .take_while(|(i, c)| c.is_ascii_digit() || *i == 0 && *c == '-')
        .map(|(_, c)| c)
        .collect();
    digits.parse().unwrap_or(0)
}
