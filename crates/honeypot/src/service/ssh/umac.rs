//! UMAC with 64 and 128 bits (RFC 4418), which OpenSSH prefers and no kept
//! library has. Messages are packets, below 2^24 bytes, so that the part of
//! the standard for longer ones is left out.

use aes::Aes128Enc;
use aes::cipher::{BlockCipherEncrypt as _, KeyInit as _};

/// Bytes of a message that are hashed at once in the first layer.
const L1_BYTES: usize = 1_024;
/// 2^64 - 59.
const PRIME64: u64 = 0xffff_ffff_ffff_ffc5;
/// 2^36 - 5.
const PRIME36: u64 = 0x000f_ffff_fffb;

/// A key, ready for any number of messages.
pub(super) struct Umac {
    pad: Aes128Enc,
    // Key material of the first layer; each iteration starts four words on.
    l1: Vec<u32>,
    lanes: Vec<Lane>,
}

/// Keys of the second and third layer of one iteration, which makes 32 bits.
struct Lane {
    poly: u64,
    inner: [u64; 8],
    mask: u32,
}

impl Umac {
    /// `tag_bytes` is 8 or 16.
    pub(super) fn new(key: &[u8; 16], tag_bytes: usize) -> Self {
        let cipher = Aes128Enc::new(key.into());
        let iterations = tag_bytes / 4;
        let l1 = derive(&cipher, 1, L1_BYTES + (iterations - 1) * 16);
        let l2 = derive(&cipher, 2, iterations * 24);
        let l3 = derive(&cipher, 3, iterations * 64);
        let masks = derive(&cipher, 4, iterations * 4);
        let lanes = l2
            .chunks_exact(24)
            .zip(l3.chunks_exact(64))
            .zip(masks.chunks_exact(4))
            .map(|((l2, l3), mask)| {
                let mut inner = [0; 8];
                for (key, bytes) in inner.iter_mut().zip(l3.chunks_exact(8)) {
                    *key = be64(bytes) % PRIME36;
                }
                Lane { poly: be64(l2) & 0x01ff_ffff_01ff_ffff, inner, mask: be32(mask) }
            })
            .collect();
        let pad_key: [u8; 16] = derive(&cipher, 0, 16).try_into().unwrap_or_default();
        let l1 = l1.chunks_exact(4).map(be32).collect();
        Self { pad: Aes128Enc::new(&pad_key.into()), l1, lanes }
    }

    /// The tag of a message and its number.
    pub(super) fn tag(&self, number: u64, message: &[u8]) -> Vec<u8> {
        let mut tag = Vec::with_capacity(16);
        for (index, lane) in self.lanes.iter().enumerate() {
            let key = self.l1.get(index * 4..index * 4 + L1_BYTES / 4).unwrap_or_default();
            tag.extend_from_slice(&lane.hash(key, message).to_be_bytes());
        }
        // A 64-bit tag takes the half of the pad that the nonce's last bit names.
        let short = self.lanes.len() == 2;
        let mut block = [0u8; 16];
        let nonce = if short { number & !1 } else { number };
        block.iter_mut().zip(nonce.to_be_bytes()).for_each(|(to, from)| *to = from);
        let mut block = block.into();
        self.pad.encrypt_block(&mut block);
        let skip = if short && number & 1 == 1 { 8 } else { 0 };
        tag.iter_mut().zip(block.iter().skip(skip)).for_each(|(byte, pad)| *byte ^= pad);
        tag
    }
}

impl Lane {
    fn hash(&self, key: &[u32], message: &[u8]) -> u32 {
        let mut hashed = 0u64;
        if message.len() <= L1_BYTES {
            hashed = nh(key, message);
        } else {
            let mut y = 1u64;
            for chunk in message.chunks(L1_BYTES) {
                y = self.poly_step(y, nh(key, chunk));
            }
            hashed = hashed.wrapping_add(y);
        }
        // The upper half of the 128 bits is always zero here.
        let words = hashed.to_be_bytes();
        let mut y = 0u64;
        for (pair, key) in words.chunks_exact(2).zip(self.inner.iter().skip(4)) {
            let word = pair.iter().fold(0u64, |word, byte| (word << 8) | u64::from(*byte));
            // 16 + 36 bits, four times: no overflow.
            y += word * key;
        }
        let low = (y % PRIME36) & 0xffff_ffff;
        u32::try_from(low).unwrap_or(0) ^ self.mask
    }

    fn poly_step(&self, y: u64, word: u64) -> u64 {
        if word >= 0xffff_ffff_0000_0000 {
            let marked = mul_add(self.poly, y, PRIME64 - 1);
            mul_add(self.poly, marked, word - 59)
        } else {
            mul_add(self.poly, y, word)
        }
    }
}

/// `(k * y + m) mod (2^64 - 59)`.
fn mul_add(k: u64, y: u64, m: u64) -> u64 {
    let sum = u128::from(k) * u128::from(y) + u128::from(m);
    u64::try_from(sum % u128::from(PRIME64)).unwrap_or(0)
}

/// The hash NH of at most [`L1_BYTES`] bytes, with their length in bits.
fn nh(key: &[u32], chunk: &[u8]) -> u64 {
    let mut sum = (chunk.len() as u64) * 8;
    for (bytes, keys) in chunk.chunks(32).zip(key.chunks_exact(8)) {
        let mut words = [0u32; 8];
        for (word, four) in words.iter_mut().zip(bytes.chunks(4)) {
            let mut padded = [0u8; 4];
            padded.iter_mut().zip(four).for_each(|(to, from)| *to = *from);
            *word = u32::from_le_bytes(padded);
        }
        let mut keyed = [0u32; 8];
        for ((out, word), key) in keyed.iter_mut().zip(words).zip(keys) {
            *out = word.wrapping_add(*key);
        }
        let [a, b, c, d, e, f, g, h] = keyed;
        for (left, right) in [(a, e), (b, f), (c, g), (d, h)] {
            sum = sum.wrapping_add(u64::from(left) * u64::from(right));
        }
    }
    if chunk.is_empty() {
        // An empty message is padded to one block of zeros.
        if let Some([a, b, c, d, e, f, g, h]) = key.first_chunk() {
            for (left, right) in [(a, e), (b, f), (c, g), (d, h)] {
                sum = sum.wrapping_add(u64::from(*left) * u64::from(*right));
            }
        }
    }
    sum
}

/// The key derivation of the standard: counter mode.
fn derive(cipher: &Aes128Enc, index: u64, bytes: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes + 16);
    let mut counter = 1u64;
    while out.len() < bytes {
        let mut block = [0u8; 16];
        let input = index.to_be_bytes().into_iter().chain(counter.to_be_bytes());
        block.iter_mut().zip(input).for_each(|(to, from)| *to = from);
        let mut block = block.into();
        cipher.encrypt_block(&mut block);
        out.extend_from_slice(&block);
        counter += 1;
    }
    out.truncate(bytes);
    out
}

fn be32(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes))
}

fn be64(bytes: &[u8]) -> u64 {
    bytes.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tags_are_those_of_the_standard() {
        // RFC 4418, appendix.
        let umac = Umac::new(b"abcdefghijklmnop", 8);
        let number = u64::from_be_bytes(*b"bcdefghi");
        for (message, tag) in [
            (Vec::new(), 0x6E15_5FAD_2690_0BE1_u64),
            (b"aaa".to_vec(), 0x44B5_CB54_2F22_0104),
            (vec![b'a'; 1 << 10], 0x26BF_2F5D_6011_8BD9),
            (vec![b'a'; 1 << 15], 0x27F8_EF64_3B0D_118D),
            (vec![b'a'; 1 << 20], 0xA447_7E87_E9F5_5853),
            (b"abc".to_vec(), 0xD4D7_B9F6_BD4F_BFCF),
            (b"abc".repeat(500), 0xD4CF_26DD_EFD5_C01A),
        ] {
            assert_eq!(umac.tag(number, &message), tag.to_be_bytes(), "{}", message.len());
        }
    }
}
