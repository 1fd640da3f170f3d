//! Dumps, digests and encodings.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256, Sha512};

use super::{Options, Run};
use crate::shell::Shell;

pub(super) fn find(name: &str) -> Option<Run> {
    Some(match name {
        "od" => od,
        "hexdump" | "hd" => hexdump,
        "xxd" => xxd,
        "base64" => base64,
        "md5sum" => |shell, words| digest(shell, words, "md5sum"),
        "sha1sum" => |shell, words| digest(shell, words, "sha1sum"),
        "sha256sum" => |shell, words| digest(shell, words, "sha256sum"),
        "sha512sum" => |shell, words| digest(shell, words, "sha512sum"),
        "cksum" | "sum" => |shell, words| digest(shell, words, "sha1sum"),
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

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, b| {
        let _ = write!(text, "{b:02x}");
        text
    })
}

fn digest(shell: &mut Shell, words: &[Vec<u8>], name: &str) -> u8 {
    let options = Options::new(words, "");
    let (all, status) = shell.inputs(name, &options.rest);
    for (file, bytes) in all {
        shell.budget.work(bytes.len() * 4);
        let sum = match name {
            "md5sum" => hex(&md5(&bytes)),
            "sha1sum" => hex(&sha1(&bytes)),
            "sha512sum" => hex(&Sha512::digest(&bytes)),
            _ => hex(&Sha256::digest(&bytes)),
        };
        let file = if file.is_empty() { "-" } else { &file };
        shell.say(&format!("{sum}  {file}"));
    }
    status
}

/// The message with its padding and length, as MD5 and SHA-1 have it.
fn padded(bytes: &[u8], length: [u8; 8]) -> Vec<u8> {
    let mut out = bytes.to_vec();
    out.push(0x80);
    while out.len() % 64 != 56 {
        out.push(0);
    }
    out.extend(length);
    out
}

/// MD5 (RFC 1321); nothing depends on its strength.
fn md5(bytes: &[u8]) -> [u8; 16] {
    const SHIFTS: [[u32; 4]; 4] =
        [[7, 12, 17, 22], [5, 9, 14, 20], [4, 11, 16, 23], [6, 10, 15, 21]];
    let mut state = [0x6745_2301u32, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];
    let length = (bytes.len() as u64).wrapping_mul(8).to_le_bytes();
    for block in padded(bytes, length).chunks(64) {
        let word = |index: usize| {
            let at = index * 4;
            block
                .get(at..at + 4)
                .map_or(0, |b| b.iter().rev().fold(0u32, |w, b| (w << 8) | u32::from(*b)))
        };
        let [mut a, mut b, mut c, mut d] = state;
        for round in 0..64usize {
            let (mix, index) = match round / 16 {
                0 => ((b & c) | (!b & d), round),
                1 => ((d & b) | (!d & c), (5 * round + 1) % 16),
                2 => (b ^ c ^ d, (3 * round + 5) % 16),
                _ => (c ^ (b | !d), (7 * round) % 16),
            };
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                clippy::cast_precision_loss,
                reason = "the sine table of RFC 1321"
            )]
            let sine = (((round + 1) as f64).sin().abs() * 4_294_967_296.0) as u32;
            let sum = a.wrapping_add(mix).wrapping_add(sine).wrapping_add(word(index));
            let shift = SHIFTS.get(round / 16).and_then(|s| s.get(round % 4)).copied().unwrap_or(0);
            (a, d, c, b) = (d, c, b, b.wrapping_add(sum.rotate_left(shift)));
        }
        for (old, new) in state.iter_mut().zip([a, b, c, d]) {
            *old = old.wrapping_add(new);
        }
    }
    let mut out = [0; 16];
    for (place, word) in out.chunks_mut(4).zip(state) {
        place.copy_from_slice(&word.to_le_bytes());
    }
    out
}

/// SHA-1 (RFC 3174); nothing depends on its strength.
fn sha1(bytes: &[u8]) -> [u8; 20] {
    let mut state = [0x6745_2301u32, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];
    let length = (bytes.len() as u64).wrapping_mul(8).to_be_bytes();
    for block in padded(bytes, length).chunks(64) {
        let mut words: Vec<u32> =
            block.chunks(4).map(|b| b.iter().fold(0u32, |w, b| (w << 8) | u32::from(*b))).collect();
        for at in 16..80usize {
            let old = |back: usize| words.get(at - back).copied().unwrap_or(0);
            let word = (old(3) ^ old(8) ^ old(14) ^ old(16)).rotate_left(1);
            words.push(word);
        }
        let [mut a, mut b, mut c, mut d, mut e] = state;
        for (round, word) in words.iter().enumerate() {
            let (mix, add) = match round / 20 {
                0 => ((b & c) | (!b & d), 0x5a82_7999),
                1 => (b ^ c ^ d, 0x6ed9_eba1),
                2 => ((b & c) | (b & d) | (c & d), 0x8f1b_bcdc),
                _ => (b ^ c ^ d, 0xca62_c1d6u32),
            };
            let next = a
                .rotate_left(5)
                .wrapping_add(mix)
                .wrapping_add(e)
                .wrapping_add(add)
                .wrapping_add(*word);
            (e, d, c, b, a) = (d, c, b.rotate_left(30), a, next);
        }
        for (old, new) in state.iter_mut().zip([a, b, c, d, e]) {
            *old = old.wrapping_add(new);
        }
    }
    let mut out = [0; 20];
    for (place, word) in out.chunks_mut(4).zip(state) {
        place.copy_from_slice(&word.to_be_bytes());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_those_of_the_standards() {
        assert_eq!(hex(&md5(b"")), "d41d8cd98f00b204e9800998ecf8427e");
        assert_eq!(hex(&md5(b"message digest")), "f96b697d7cb7938d525a2f31aaf161d0");
        assert_eq!(hex(&sha1(b"abc")), "a9993e364706816aba3e25717850c26c9cd0d89d");
        assert_eq!(hex(&sha1(&[b'a'; 1000])), "291e9a6c66994949b57ba5e650361e98fc36b1ba");
    }
}
