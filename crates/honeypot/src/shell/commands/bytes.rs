//! Dumps and encodings.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{Options, Run};
use crate::shell::Shell;

pub(super) fn find(name: &str) -> Option<Run> {
    Some(match name {
        "od" => od,
        "hexdump" | "hd" => hexdump,
        "xxd" => xxd,
        "base64" => base64,
        _ => return None,
    })
}

fn take(shell: &mut Shell, name: &str, options: &Options, most: Option<usize>) -> (Vec<u8>, u8) {
    let (all, status) = match (options.rest.first(), most) {
        (Some(file), Some(most)) if file != "-" => {
            match shell.files.read(&shell.path(file), 0, most) {
                Ok(bytes) => (vec![(file.clone(), bytes)], 0),
                Err(why) => {
                    let status = shell.cannot_open(name, file, why);
                    (Vec::new(), status)
                }
            }
        }
        _ => shell.inputs(name, &options.rest),
    };
    let mut bytes: Vec<u8> = all.into_iter().flat_map(|(_, bytes)| bytes).collect();
    if let Some(most) = most {
        bytes.truncate(most);
    }
    shell.budget.work(bytes.len() * 4);
    (bytes, status)
}

fn od(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    let options = Options::new(words, "AtNjw");
    let most =
        options.value('N').and_then(super::dd::bytes_of).and_then(|n| usize::try_from(n).ok());
    let (bytes, status) = take(shell, "od", &options, most);
    if status != 0 {
        return status;
    }
    let kind = options.value('t').map_or(
        if options.has('c') {
            "c"
        } else if options.has('x') {
            "x2"
        } else if options.has('b') {
            "o1"
        } else {
            "o2"
        },
        |kind| kind,
    );
    let address = options.value('A').unwrap_or("o");
    let shown = |at: usize| match address {
        "n" => String::new(),
        "x" => format!("{at:06x}"),
        "d" => format!("{at:07}"),
        _ => format!("{at:07o}"),
    };
    let mut text = String::new();
    for (row, chunk) in bytes.chunks(16).enumerate() {
        text.push_str(&shown(row * 16));
        let pairs = chunk.chunks(2).map(|p| {
            u16::from_le_bytes([p.first().copied().unwrap_or(0), p.get(1).copied().unwrap_or(0)])
        });
        match kind {
            "x1" => chunk.iter().for_each(|b| {
                let _ = write!(text, " {b:02x}");
            }),
            "o1" => chunk.iter().for_each(|b| {
                let _ = write!(text, " {b:03o}");
            }),
            "d1" | "u1" => chunk.iter().for_each(|b| {
                let _ = write!(text, " {b:3}");
            }),
            "c" | "a" => chunk.iter().for_each(|b| match b {
                0 => text.push_str("  \\0"),
                b'\n' => text.push_str("  \\n"),
                b'\t' => text.push_str("  \\t"),
                b'\r' => text.push_str("  \\r"),
                32..127 => {
                    let _ = write!(text, "   {}", char::from(*b));
                }
                _ => {
                    let _ = write!(text, " {b:03o}");
                }
            }),
            "x2" | "x" => pairs.for_each(|p| {
                let _ = write!(text, " {p:04x}");
            }),
            "x4" => chunk.chunks(4).for_each(|p| {
                let word = p.iter().rev().fold(0u32, |w, b| (w << 8) | u32::from(*b));
                let _ = write!(text, " {word:08x}");
            }),
            _ => pairs.for_each(|p| {
                let _ = write!(text, " {p:06o}");
            }),
        }
        text.push('\n');
    }
    if address != "n" {
        let _ = writeln!(text, "{}", shown(bytes.len()));
    }
    shell.put(text.as_bytes());
    0
}

fn ascii(chunk: &[u8]) -> String {
    chunk.iter().map(|b| if (32..127).contains(b) { char::from(*b) } else { '.' }).collect()
}

fn hexdump(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    let options = Options::new(words, "nsev");
    let most =
        options.value('n').and_then(super::dd::bytes_of).and_then(|n| usize::try_from(n).ok());
    if let Some(format) = options.value('e').map(str::to_owned) {
        let (bytes, status) = take(shell, "hexdump", &options, most);
        let wide = format.contains("%02x") || format.contains("%.2x");
        let text = bytes.iter().fold(String::new(), |mut text, b| {
            let _ = if wide { write!(text, "{b:02x}") } else { write!(text, "{b}") };
            text
        });
        shell.put(text.as_bytes());
        return status;
    }
    let (bytes, status) = take(shell, "hexdump", &options, most);
    let mut text = String::new();
    for (row, chunk) in bytes.chunks(16).enumerate() {
        let at = row * 16;
        if options.has('C') {
            let _ = write!(text, "{at:08x}  ");
            for index in 0..16 {
                match chunk.get(index) {
                    Some(byte) => {
                        let _ = write!(text, "{byte:02x} ");
                    }
                    None => text.push_str("   "),
                }
                if index == 7 {
                    text.push(' ');
                }
            }
            let _ = writeln!(text, " |{}|", ascii(chunk));
        } else {
            let _ = write!(text, "{at:07x}");
            for pair in chunk.chunks(2) {
                let word = u16::from_le_bytes([
                    pair.first().copied().unwrap_or(0),
                    pair.get(1).copied().unwrap_or(0),
                ]);
                let _ = write!(text, " {word:04x}");
            }
            text.push('\n');
        }
    }
    if !bytes.is_empty() {
        let _ = if options.has('C') {
            writeln!(text, "{:08x}", bytes.len())
        } else {
            writeln!(text, "{:07x}", bytes.len())
        };
    }
    shell.put(text.as_bytes());
    status
}

fn xxd(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    let options = Options::new(words, "lcsg");
    if options.has('r') {
        let (bytes, status) = take(shell, "xxd", &options, None);
        let digits: Vec<u8> = bytes.iter().copied().filter(u8::is_ascii_hexdigit).collect();
        let out: Vec<u8> = digits
            .chunks(2)
            .filter_map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
            .collect();
        shell.put(&out);
        return status;
    }
    let most =
        options.value('l').and_then(super::dd::bytes_of).and_then(|n| usize::try_from(n).ok());
    let (bytes, status) = take(shell, "xxd", &options, most);
    let mut text = String::new();
    if options.has('p') {
        for chunk in bytes.chunks(30) {
            chunk.iter().for_each(|b| {
                let _ = write!(text, "{b:02x}");
            });
            text.push('\n');
        }
    } else {
        for (row, chunk) in bytes.chunks(16).enumerate() {
            let mut hex = String::new();
            for pair in chunk.chunks(2) {
                pair.iter().for_each(|b| {
                    let _ = write!(hex, "{b:02x}");
                });
                hex.push(' ');
            }
            let _ = writeln!(text, "{:08x}: {hex:<40} {}", row * 16, ascii(chunk));
        }
    }
    shell.put(text.as_bytes());
    status
}

fn base64(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    let options = Options::new(words, "w");
    let (bytes, status) = take(shell, "base64", &options, None);
    if options.any("dD") || options.long("decode").is_some() {
        let clean: Vec<u8> = bytes.into_iter().filter(|b| !b.is_ascii_whitespace()).collect();
        // What is right before a mistake comes out, as with the real one.
        let good = clean.len() - clean.len() % 4;
        return match STANDARD.decode(&clean) {
            Ok(out) => {
                shell.put(&out);
                status
            }
            Err(_) => {
                let out =
                    STANDARD.decode(clean.get(..good).unwrap_or_default()).unwrap_or_default();
                shell.put(&out);
                shell.fails("base64", if shell.gnu() { "invalid input" } else { "truncated input" })
            }
        };
    }
    let text = STANDARD.encode(bytes);
    let width = options.number('w').and_then(|w| usize::try_from(w).ok()).unwrap_or(76);
    if width == 0 {
        shell.put(text.as_bytes());
    } else {
        let lines: Vec<&[u8]> = text.as_bytes().chunks(width).collect();
        shell.put(&lines.join(&b'\n'));
        shell.put(b"\n");
    }
    status
}
