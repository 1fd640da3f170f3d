//! The ciphers of OpenSSH's default list (RFC 4344, RFC 5647,
//! `PROTOCOL.chacha20poly1305`). Old ones with CBC are left out: no server of
//! the last ten years offers them.

use aes::{Aes128Enc, Aes192Enc, Aes256Enc};
use ctr::Ctr128BE;
use ctr::cipher::{KeyIvInit as _, StreamCipher as _};
use ring::aead::chacha20_poly1305_openssh::{KEY_LEN, OpeningKey, SealingKey};
use ring::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

/// Bytes of the tag of a cipher that has its own.
pub(super) const TAG_BYTES: usize = 16;

/// A cipher by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    ChaCha,
    Ctr128,
    Ctr192,
    Ctr256,
    Gcm128,
    Gcm256,
}

impl Algorithm {
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "chacha20-poly1305@openssh.com" => Self::ChaCha,
            "aes128-ctr" => Self::Ctr128,
            "aes192-ctr" => Self::Ctr192,
            "aes256-ctr" => Self::Ctr256,
            "aes128-gcm@openssh.com" => Self::Gcm128,
            "aes256-gcm@openssh.com" => Self::Gcm256,
            _ => return None,
        })
    }

    /// Whether it needs no MAC.
    pub(super) fn authenticates(self) -> bool {
        matches!(self, Self::ChaCha | Self::Gcm128 | Self::Gcm256)
    }

    pub(super) fn key_bytes(self) -> usize {
        match self {
            Self::ChaCha => KEY_LEN,
            Self::Ctr128 | Self::Gcm128 => 16,
            Self::Ctr192 => 24,
            Self::Ctr256 | Self::Gcm256 => 32,
        }
    }

    pub(super) fn iv_bytes(self) -> usize {
        match self {
            Self::ChaCha => 0,
            Self::Gcm128 | Self::Gcm256 => 12,
            _ => 16,
        }
    }

    pub(super) fn block_bytes(self) -> usize {
        if self == Self::ChaCha { 8 } else { 16 }
    }
}

/// A key stream of AES in counter mode.
pub(super) enum Stream {
    Aes128(Box<Ctr128BE<Aes128Enc>>),
    Aes192(Box<Ctr128BE<Aes192Enc>>),
    Aes256(Box<Ctr128BE<Aes256Enc>>),
}

impl Stream {
    fn new(algorithm: Algorithm, key: &[u8], iv: &[u8]) -> Option<Self> {
        Some(match algorithm {
            Algorithm::Ctr128 => Self::Aes128(Box::new(Ctr128BE::new_from_slices(key, iv).ok()?)),
            Algorithm::Ctr192 => Self::Aes192(Box::new(Ctr128BE::new_from_slices(key, iv).ok()?)),
            _ => Self::Aes256(Box::new(Ctr128BE::new_from_slices(key, iv).ok()?)),
        })
    }

    pub(super) fn apply(&mut self, bytes: &mut [u8]) {
        match self {
            Self::Aes128(stream) => stream.apply_keystream(bytes),
            Self::Aes192(stream) => stream.apply_keystream(bytes),
            Self::Aes256(stream) => stream.apply_keystream(bytes),
        }
    }
}

/// AES-GCM with its counting nonce.
pub(super) struct Gcm {
    key: LessSafeKey,
    nonce: [u8; 12],
}

impl Gcm {
    fn new(algorithm: Algorithm, key: &[u8], iv: &[u8]) -> Option<Self> {
        let kind = if algorithm == Algorithm::Gcm128 { &AES_128_GCM } else { &AES_256_GCM };
        let key = LessSafeKey::new(UnboundKey::new(kind, key).ok()?);
        Some(Self { key, nonce: iv.try_into().ok()? })
    }

    fn next(&mut self) -> Nonce {
        let nonce = Nonce::assume_unique_for_key(self.nonce);
        let [fixed @ .., a, b, c, d, e, f, g, h] = self.nonce;
        let counter = u64::from_be_bytes([a, b, c, d, e, f, g, h]).wrapping_add(1);
        let [w, x, y, z] = fixed;
        let [a, b, c, d, e, f, g, h] = counter.to_be_bytes();
        self.nonce = [w, x, y, z, a, b, c, d, e, f, g, h];
        nonce
    }

    /// Encrypts behind the four bytes of length; appends the tag.
    pub(super) fn seal(&mut self, packet: &mut Vec<u8>, start: usize) {
        let nonce = self.next();
        let Some((length, body)) = packet.get_mut(start..).and_then(|p| p.split_at_mut_checked(4))
        else {
            return;
        };
        if let Ok(tag) = self.key.seal_in_place_separate_tag(nonce, Aad::from(length), body) {
            packet.extend_from_slice(tag.as_ref());
        }
    }

    /// Decrypts length, body and tag in place; whether the tag is right.
    pub(super) fn open(&mut self, packet: &mut [u8]) -> bool {
        let nonce = self.next();
        packet.split_at_mut_checked(4).is_some_and(|(length, body)| {
            self.key.open_in_place(nonce, Aad::from(length), body).is_ok()
        })
    }
}

/// A cipher keyed for one direction.
pub(super) enum Cipher {
    None,
    Stream(Stream),
    Gcm(Box<Gcm>),
    ChaChaSeal(Box<SealingKey>),
    ChaChaOpen(Box<OpeningKey>),
}

/// Which way a keyed cipher works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Seal,
    Open,
}

impl Cipher {
    /// `None` where key or IV have the wrong length.
    pub(super) fn new(algorithm: Algorithm, way: Way, key: &[u8], iv: &[u8]) -> Option<Self> {
        Some(match algorithm {
            Algorithm::ChaCha => {
                let key = key.try_into().ok()?;
                match way {
                    Way::Seal => Self::ChaChaSeal(Box::new(SealingKey::new(key))),
                    Way::Open => Self::ChaChaOpen(Box::new(OpeningKey::new(key))),
                }
            }
            Algorithm::Gcm128 | Algorithm::Gcm256 => {
                Self::Gcm(Box::new(Gcm::new(algorithm, key, iv)?))
            }
            _ => Self::Stream(Stream::new(algorithm, key, iv)?),
        })
    }
}
