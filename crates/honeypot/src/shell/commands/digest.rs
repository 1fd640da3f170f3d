//! Digests and checksums: files are read piece by piece, so that the sum of a
//! large one is that of the whole.

use std::fmt::Write as _;

use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};

use super::{Options, Run};
use crate::shell::Shell;

/// The polynomial of `cksum`.
const CKSUM: u32 = 0x04c1_1db7;

pub(super) fn find(name: &str) -> Option<Run> {
    Some(match name {
        "md5sum" => |shell, words| digest::<Md5>(shell, words, "md5sum"),
        "sha1sum" => |shell, words| digest::<Sha1>(shell, words, "sha1sum"),
        "sha256sum" => |shell, words| digest::<Sha256>(shell, words, "sha256sum"),
        "sha512sum" => |shell, words| digest::<Sha512>(shell, words, "sha512sum"),
        "cksum" => cksum,
        "sum" => sum,
        _ => return None,
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, b| {
        let _ = write!(text, "{b:02x}");
        text
    })
}

fn digest<D: Digest>(shell: &mut Shell, words: &[Vec<u8>], name: &str) -> u8 {
    each(shell, words, |shell, file| {
        let mut sum = D::new();
        let whole = shell.pieces(name, file, &mut |piece| sum.update(piece));
        let file = if file.is_empty() { "-" } else { file };
        whole.map(|()| format!("{}  {file}", hex(&sum.finalize())))
    })
}

/// Shows the sum of each file, or of standard input; no sum where a line was
/// used up before the end of a file.
fn each(
    shell: &mut Shell,
    words: &[Vec<u8>],
    mut sum: impl FnMut(&mut Shell, &str) -> Result<String, u8>,
) -> u8 {
    let mut files = Options::new(words, "").rest;
    if files.is_empty() {
        files.push(String::new());
    }
    let mut status = 0;
    for file in files {
        match sum(shell, &file) {
            Ok(shown) => shell.say(&shown),
            Err(failed) => status = failed,
        }
        if shell.budget.is_spent() {
            break;
        }
    }
    status
}

/// The checksum of POSIX: over the bytes, then over their number.
#[derive(Default)]
struct Crc {
    state: u32,
    length: u64,
}

impl Crc {
    fn push(&mut self, byte: u8) {
        self.state ^= u32::from(byte) << 24;
        for _ in 0..8 {
            let high = self.state & 0x8000_0000 != 0;
            self.state = (self.state << 1) ^ if high { CKSUM } else { 0 };
        }
    }

    fn take(&mut self, piece: &[u8]) {
        self.length += piece.len() as u64;
        piece.iter().for_each(|byte| self.push(*byte));
    }

    fn finish(mut self) -> u32 {
        let mut length = self.length;
        while length > 0 {
            self.push((length & 0xff) as u8);
            length >>= 8;
        }
        !self.state
    }
}

fn named(text: String, file: &str) -> String {
    if file.is_empty() { text } else { format!("{text} {file}") }
}

fn cksum(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    each(shell, words, |shell, file| {
        let mut sum = Crc::default();
        shell.pieces("cksum", file, &mut |piece| sum.take(piece))?;
        let length = sum.length;
        Ok(named(format!("{} {length}", sum.finish()), file))
    })
}

/// That of BSD, with the number of blocks of 1,024 bytes.
fn sum(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    each(shell, words, |shell, file| {
        let (mut sum, mut length) = (0u16, 0u64);
        shell.pieces("sum", file, &mut |piece| {
            length += piece.len() as u64;
            for byte in piece {
                sum = sum.rotate_right(1).wrapping_add(u16::from(*byte));
            }
        })?;
        Ok(named(format!("{sum:05} {:5}", length.div_ceil(1_024)), file))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_of_posix_is_that_of_the_real_one() {
        // printf 123456789 | cksum; cksum < /dev/null
        let mut sum = Crc::default();
        sum.take(b"1234");
        sum.take(b"56789");
        assert_eq!((sum.length, sum.finish()), (9, 930_766_865));
        assert_eq!(Crc::default().finish(), 4_294_967_295);
    }
}
