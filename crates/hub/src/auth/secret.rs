//! Random secrets, session tokens and keys: how they are made, written and hashed.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// How every key begins, so that scanners find a leaked one.
const KEY_PREFIX: &str = "pal";
/// Longest token or key that is looked at, in bytes.
const MAX_SECRET_BYTES: usize = 256;

/// 256 random bits in hex.
pub(crate) fn secret() -> String {
    hex(&rand::random::<[u8; 32]>())
}

/// The public part of a key: 64 random bits in hex.
pub(crate) fn key_id() -> String {
    hex(&rand::random::<[u8; 8]>())
}

/// SHA-256 in hex. Secrets have 256 random bits, so a fast hash is enough.
pub(crate) fn digest(secret: &str) -> String {
    hex(&Sha256::digest(secret.as_bytes()))
}

/// Whether the secret has this digest, in constant time.
pub(crate) fn matches(secret: &str, expected: &str) -> bool {
    digest(secret).as_bytes().ct_eq(expected.as_bytes()).into()
}

/// A key as its owner sees it.
pub(super) fn write_key(id: &str, secret: &str) -> String {
    format!("{KEY_PREFIX}_{id}_{secret}")
}

/// The public and the secret part of a key.
pub(super) fn read_key(key: &str) -> Option<(&str, &str)> {
    let (id, secret) = key.strip_prefix(KEY_PREFIX)?.strip_prefix('_')?.split_once('_')?;
    (is_plausible(key) && !id.is_empty() && !secret.is_empty()).then_some((id, secret))
}

/// Whether it is worth a look into the database.
pub(crate) fn is_plausible(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= MAX_SECRET_BYTES
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

pub(super) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_comes_apart_as_it_was_put_together() {
        let (id, secret) = (key_id(), secret());
        let key = write_key(&id, &secret);
        assert_eq!(read_key(&key), Some((id.as_str(), secret.as_str())));
        for bad in
            ["", "pal", "pal_", "pal_a", "pal_a_", "pal__b", "lap_a_b", "pal_a_b c", "pal_a_ä"]
        {
            assert_eq!(read_key(bad), None, "{bad}");
        }
    }

    #[test]
    fn only_the_secret_itself_matches() {
        let secret = secret();
        assert_eq!(secret.len(), 64);
        assert!(matches(&secret, &digest(&secret)));
        assert!(!matches(&secret, &digest("other")));
        assert!(!matches(&secret, ""));
        assert_eq!(
            digest("abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
