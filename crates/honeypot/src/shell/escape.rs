//! Backslash escapes, as `echo -e`, `printf` and `$'…'` have them: loaders send
//! their files through these, byte by byte.

/// The text with its escapes resolved; whether `\c` ended it. `zero` as in
/// `echo -e`: octal needs a leading zero.
pub(super) fn unescape(text: &[u8], zero: bool) -> (Vec<u8>, bool) {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte != b'\\' {
            out.push(*byte);
            continue;
        }
        let Some((kind, after)) = rest.split_first() else {
            out.push(b'\\');
            break;
        };
        let whole = rest;
        rest = after;
        match kind {
            b'n' => out.push(b'\n'),
            b't' => out.push(b'\t'),
            b'r' => out.push(b'\r'),
            b'a' => out.push(7),
            b'b' => out.push(8),
            b'f' => out.push(12),
            b'v' => out.push(11),
            b'e' | b'E' => out.push(27),
            b'\\' => out.push(b'\\'),
            b'c' => return (out, true),
            b'x' => match digits(rest, 16, 2) {
                (_, 0) => out.extend_from_slice(b"\\x"),
                (value, length) => {
                    out.push(value);
                    rest = rest.get(length..).unwrap_or_default();
                }
            },
            b'0' if zero => {
                let (value, length) = digits(rest, 8, 3);
                out.push(value);
                rest = rest.get(length..).unwrap_or_default();
            }
            b'0'..=b'7' if !zero => {
                let (value, length) = digits(whole, 8, 3);
                out.push(value);
                rest = whole.get(length..).unwrap_or_default();
            }
            other => out.extend([b'\\', *other]),
        }
    }
    (out, false)
}

/// The value of up to `most` digits at the start, and how many there are.
fn digits(text: &[u8], base: u32, most: usize) -> (u8, usize) {
    let values = text.iter().take(most).map_while(|byte| char::from(*byte).to_digit(base));
    let (value, count) =
        values.fold((0u32, 0), |(value, count), digit| (value * base + digit, count + 1));
    // Three octal digits can exceed a byte; the low bits count.
    (u8::try_from(value & 0xff).unwrap_or(0), count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_bytes() {
        assert_eq!(unescape(br"\x7f\x45L\0106\n\\", true), (b"\x7fELF\n\\".to_vec(), false));
        assert_eq!(unescape(br"a\cb", true), (b"a".to_vec(), true));
        assert_eq!(unescape(br"\x\q\xg\", true).0, b"\\x\\q\\xg\\");
        assert_eq!(unescape(br"\177\105", false).0, b"\x7fE");
    }
}
