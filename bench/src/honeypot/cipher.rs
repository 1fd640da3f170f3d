//! The two ciphers of the client: AES-GCM (RFC 5647), which costs least, and
//! AES-CTR with HMAC (RFC 4344, RFC 6668) for honeypots that know nothing newer.

use aes::Aes128Enc;
use anyhow::{Context as _, ensure};
use ctr::Ctr128BE;
use ctr::cipher::{KeyIvInit as _, StreamCipher as _};
use ring::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::hmac;

use super::ssh::padded;

const GCM_TAG: usize = 16;
const MAC_BYTES: usize = 32;
/// Bytes that CTR decrypts to know how long a packet is.
const BLOCK: usize = 16;
/// Longest packet that is taken.
const MAX_PACKET: usize = 64 * 1024;

/// What is agreed on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Algorithm {
    Gcm,
    Ctr,
}

/// One direction of a connection.
pub(super) enum Cipher {
    Plain,
    Gcm { key: Box<LessSafeKey>, nonce: [u8; 12] },
    Ctr { cipher: Box<Ctr128BE<Aes128Enc>>, mac: Box<hmac::Key>, head: Option<[u8; BLOCK]> },
}

impl Cipher {
    /// With keys that were derived from the exchange, each of 32 bytes.
    pub(super) fn new(
        algorithm: Algorithm,
        iv: &[u8],
        key: &[u8],
        mac: &[u8],
    ) -> anyhow::Result<Self> {
        let key = key.get(..16).context("short key")?;
        Ok(match algorithm {
            Algorithm::Gcm => {
                let failed = |_| anyhow::anyhow!("a key of another length");
                let key = UnboundKey::new(&AES_128_GCM, key).map_err(failed)?;
                let nonce = iv.get(..12).context("short iv")?.try_into()?;
                Self::Gcm { key: Box::new(LessSafeKey::new(key)), nonce }
            }
            Algorithm::Ctr => {
                let iv = iv.get(..BLOCK).context("short iv")?;
                let cipher = Ctr128BE::new_from_slices(key, iv)
                    .map_err(|_| anyhow::anyhow!("a key of another length"))?;
                let mac = Box::new(hmac::Key::new(hmac::HMAC_SHA256, mac));
                Self::Ctr { cipher: Box::new(cipher), mac, head: None }
            }
        })
    }

    /// A payload as a packet, the `number`th that is sent.
    pub(super) fn seal(&mut self, payload: &[u8], number: u32) -> anyhow::Result<Vec<u8>> {
        let counted = if matches!(self, Self::Gcm { .. }) { 0 } else { 4 };
        let body = padded(payload, counted);
        let mut bytes = (body.len() as u32).to_be_bytes().to_vec();
        let length = bytes.clone();
        bytes.extend_from_slice(&body);
        match self {
            Self::Plain => {}
            Self::Gcm { key, nonce } => {
                let sealed = bytes.get_mut(4..).unwrap_or_default();
                let tag = key.seal_in_place_separate_tag(next(nonce), Aad::from(&length), sealed);
                bytes.extend_from_slice(tag.map_err(|_| anyhow::anyhow!("seal"))?.as_ref());
            }
            Self::Ctr { cipher, mac, .. } => {
                let mut text = number.to_be_bytes().to_vec();
                text.extend_from_slice(&bytes);
                cipher.apply_keystream(&mut bytes);
                bytes.extend_from_slice(hmac::sign(mac, &text).as_ref());
            }
        }
        Ok(bytes)
    }

    /// The payload of the first packet in `buffer`, the `number`th that came;
    /// `None` until it is there.
    pub(super) fn open(
        &mut self,
        buffer: &mut Vec<u8>,
        number: u32,
    ) -> anyhow::Result<Option<Vec<u8>>> {
        let length = match self {
            Self::Ctr { cipher, head, .. } => {
                let Some(first) = buffer.first_chunk::<BLOCK>() else { return Ok(None) };
                let first = head.get_or_insert_with(|| {
                    let mut block = *first;
                    cipher.apply_keystream(&mut block);
                    block
                });
                first.first_chunk::<4>().copied()
            }
            _ => buffer.first_chunk::<4>().copied(),
        };
        let Some(length) = length else { return Ok(None) };
        let body = u32::from_be_bytes(length) as usize;
        ensure!((2..MAX_PACKET).contains(&body), "a packet of {body} bytes");
        let behind = match self {
            Self::Plain => 0,
            Self::Gcm { .. } => GCM_TAG,
            Self::Ctr { .. } => MAC_BYTES,
        };
        if buffer.len() < 4 + body + behind {
            return Ok(None);
        }
        let mut packet: Vec<u8> = buffer.drain(..4 + body + behind).collect();
        match self {
            Self::Plain => {}
            Self::Gcm { key, nonce } => {
                let sealed = packet.get_mut(4..).unwrap_or_default();
                let opened = key.open_in_place(next(nonce), Aad::from(length), sealed);
                opened.map_err(|_| anyhow::anyhow!("a packet with a wrong tag"))?;
            }
            Self::Ctr { cipher, mac, head } => {
                let tag = packet.split_off(4 + body);
                let head = head.take().context("no head")?;
                let (first, rest) = packet.split_at_mut_checked(BLOCK).context("a short packet")?;
                first.copy_from_slice(&head);
                cipher.apply_keystream(rest);
                let text = [&number.to_be_bytes()[..], &packet].concat();
                let right = hmac::verify(mac, &text, &tag);
                right.map_err(|_| anyhow::anyhow!("a packet with a wrong MAC"))?;
            }
        }
        packet.truncate(4 + body);
        let padding = usize::from(*packet.get(4).context("an empty packet")?);
        let end = packet.len().checked_sub(padding).context("more padding than packet")?;
        Ok(Some(packet.get(5..end).context("more padding than packet")?.to_vec()))
    }
}

/// The present nonce; the counter in it goes on.
fn next(nonce: &mut [u8; 12]) -> Nonce {
    let now = Nonce::assume_unique_for_key(*nonce);
    for byte in nonce.iter_mut().skip(4).rev() {
        *byte = byte.wrapping_add(1);
        if *byte != 0 {
            break;
        }
    }
    now
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_is_opened_again_piece_by_piece() {
        for algorithm in [Algorithm::Gcm, Algorithm::Ctr] {
            let made = || Cipher::new(algorithm, &[1; 32], &[2; 32], &[3; 32]).unwrap();
            let (mut out, mut into) = (made(), made());
            let mut buffer = Vec::new();
            for number in 3..9 {
                let payload = vec![7; number as usize * 11];
                for byte in out.seal(&payload, number).unwrap() {
                    assert_eq!(into.open(&mut buffer, number).unwrap(), None);
                    buffer.push(byte);
                }
                assert_eq!(into.open(&mut buffer, number).unwrap(), Some(payload));
            }
            let mut wrong = out.seal(b"payload", 9).unwrap();
            *wrong.last_mut().unwrap() ^= 1;
            assert!(into.open(&mut wrong, 9).is_err());
        }
    }
}
