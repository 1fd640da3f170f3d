//! `echo` with its escapes: loaders send their files through it, byte by byte.

/// What `echo` prints.
pub(super) fn echo(arguments: &[Vec<u8>]) -> Vec<u8> {
    let is_flag = |word: &Vec<u8>| {
        word.len() > 1 && word.starts_with(b"-") && word.iter().skip(1).all(|b| b"neE".contains(b))
    };
    let count = arguments.iter().take_while(|word| is_flag(word)).count();
    let (flags, words) = arguments.split_at(count);
    let has = |wanted: u8| flags.iter().any(|flag| flag.contains(&wanted));
    let text = words.join(&b' ');
    let (mut out, stopped) = if has(b'e') { unescape(&text) } else { (text, false) };
    if !has(b'n') && !stopped {
        out.push(b'\n');
    }
    out
}

/// The escapes of `echo -e`; whether `\c` ended the output.
fn unescape(text: &[u8]) -> (Vec<u8>, bool) {
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
        rest = after;
        match kind {
            b'n' => out.push(b'\n'),
            b't' => out.push(b'\t'),
            b'r' => out.push(b'\r'),
            b'a' => out.push(7),
            b'b' => out.push(8),
            b'f' => out.push(12),
            b'v' => out.push(11),
            b'\\' => out.push(b'\\'),
            b'c' => return (out, true),
            b'x' => match digits(rest, 16, 2) {
                (_, 0) => out.extend_from_slice(b"\\x"),
                (value, length) => {
                    out.push(value);
                    rest = rest.get(length..).unwrap_or_default();
                }
            },
            b'0' => {
                let (value, length) = digits(rest, 8, 3);
                out.push(value);
                rest = rest.get(length..).unwrap_or_default();
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

    fn printed(arguments: &[&str]) -> Vec<u8> {
        echo(&arguments.iter().map(|word| word.as_bytes().to_vec()).collect::<Vec<_>>())
    }

    #[test]
    fn escapes_are_bytes() {
        assert_eq!(printed(&["-ne", r"\x7f\x45L\0106\n\\"]), b"\x7fELF\n\\");
        assert_eq!(printed(&["-e", r"a\cb"]), b"a");
        assert_eq!(printed(&["-e", r"\x\q\xg\"]), b"\\x\\q\\xg\\\n");
        assert_eq!(printed(&["-n", r"\x41", "-e"]), br"\x41 -e");
        assert_eq!(printed(&["-x"]), b"-x\n");
    }
}
