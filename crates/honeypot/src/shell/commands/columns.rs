//! `cut`, `tr`, `paste`.

use super::{Options, chomp, lines};
use crate::shell::{Shell, escape};

pub(super) fn cut(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    let options = Options::new(words, "dfcb");
    let list = options.value('f').or_else(|| options.value('c')).or_else(|| options.value('b'));
    let Some(list) = list else {
        return shell.fails("cut", "you must specify a list of bytes, characters, or fields\nTry 'cut --help' for more information.");
    };
    let ranges: Vec<(usize, usize)> = list
        .split(',')
        .filter_map(|part| match part.split_once('-') {
            Some((from, to)) => Some((from.parse().unwrap_or(1), to.parse().unwrap_or(usize::MAX))),
            None => part.parse().ok().map(|at| (at, at)),
        })
        .collect();
    let wanted = |at: usize| ranges.iter().any(|(from, to)| (*from..=*to).contains(&at));
    let by_field = options.has('f');
    let separator = options.value('d').and_then(|d| d.bytes().next()).unwrap_or(b'\t');
    let only = options.has('s');
    let (all, status) = shell.inputs("cut", &options.rest);
    for (_, bytes) in all {
        let mut text = Vec::new();
        for line in lines(&bytes) {
            let line = chomp(line);
            if by_field {
                if !line.contains(&separator) {
                    if !only {
                        text.extend_from_slice(line);
                        text.push(b'\n');
                    }
                    continue;
                }
                let fields: Vec<&[u8]> = line
                    .split(|b| *b == separator)
                    .enumerate()
                    .filter(|(at, _)| wanted(at + 1))
                    .map(|(_, field)| field)
                    .collect();
                text.extend(fields.join(&separator));
            } else {
                text.extend(
                    line.iter().enumerate().filter(|(at, _)| wanted(at + 1)).map(|(_, b)| *b),
                );
            }
            text.push(b'\n');
        }
        shell.put(&text);
    }
    status
}

/// The bytes a set of `tr` stands for.
fn set_of(text: &str) -> Vec<u8> {
    let bytes = escape::unescape(text.as_bytes(), false).0;
    let mut out = Vec::new();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        if *byte == b'[' && bytes.get(at + 1) == Some(&b':') {
            let rest = bytes.get(at + 2..).unwrap_or_default();
            if let Some(end) = rest.windows(2).position(|pair| pair == b":]") {
                let name = rest.get(..end).unwrap_or_default();
                out.extend((0..=255u8).filter(|b| match name {
                    b"lower" => b.is_ascii_lowercase(),
                    b"upper" => b.is_ascii_uppercase(),
                    b"digit" => b.is_ascii_digit(),
                    b"alpha" => b.is_ascii_alphabetic(),
                    b"alnum" => b.is_ascii_alphanumeric(),
                    b"space" => b.is_ascii_whitespace(),
                    b"punct" => b.is_ascii_punctuation(),
                    b"print" => b.is_ascii_graphic() || *b == b' ',
                    b"cntrl" => b.is_ascii_control(),
                    _ => false,
                }));
                at += end + 4;
                continue;
            }
        }
        match (bytes.get(at + 1), bytes.get(at + 2)) {
            (Some(b'-'), Some(to)) if byte <= to => {
                out.extend(*byte..=*to);
                at += 3;
            }
            _ => {
                out.push(*byte);
                at += 1;
            }
        }
    }
    out
}

pub(super) fn tr(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    let options = Options::new(words, "");
    let mut from = set_of(options.rest.first().map_or("", String::as_str));
    if options.any("cC") {
        from = (0..=255).filter(|b| !from.contains(b)).collect();
    }
    let to = options.rest.get(1).map(|text| set_of(text)).unwrap_or_default();
    let input = shell.read_all();
    let mut out: Vec<u8> = Vec::with_capacity(input.len());
    let delete = options.has('d');
    for byte in input {
        let place = from.iter().position(|b| *b == byte);
        let new = match (place, delete) {
            (Some(_), true) => continue,
            (Some(at), false) => to.get(at).or(to.last()).copied().unwrap_or(byte),
            (None, _) => byte,
        };
        let squeezed = options.has('s') && place.is_some() && out.last() == Some(&new);
        if !squeezed {
            out.push(new);
        }
    }
    shell.put(&out);
    0
}

pub(super) fn paste(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    let options = Options::new(words, "d");
    let separator = options.value('d').unwrap_or("\t").to_owned();
    let (all, status) = shell.inputs("paste", &options.rest);
    if options.has('s') {
        for (_, bytes) in &all {
            let joined: Vec<&[u8]> = lines(bytes).map(chomp).collect();
            shell.put(&[joined.join(separator.as_bytes()).as_slice(), b"\n"].concat());
        }
        return status;
    }
    let columns: Vec<Vec<&[u8]>> = all.iter().map(|(_, b)| lines(b).map(chomp).collect()).collect();
    for row in 0..columns.iter().map(Vec::len).max().unwrap_or(0) {
        let fields: Vec<&[u8]> =
            columns.iter().map(|c| c.get(row).copied().unwrap_or_default()).collect();
        shell.put(&[fields.join(separator.as_bytes()).as_slice(), b"\n"].concat());
    }
    status
}
