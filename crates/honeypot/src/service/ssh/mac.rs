//! Message authentication codes of OpenSSH's default list (RFC 6668, RFC 4418,
//! and the forms that are made after encryption).

use ring::hmac;

use super::umac::Umac;

/// Longest tag.
pub(super) const MAX_TAG_BYTES: usize = 64;

/// A MAC by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Algorithm {
    kind: Kind,
    /// Whether it is made of the encrypted packet.
    pub(super) after: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Umac64,
    Umac128,
    Sha1,
    Sha256,
    Sha512,
}

impl Algorithm {
    pub(super) fn named(name: &str) -> Option<Self> {
        let (base, after) = match name.strip_suffix("-etm@openssh.com") {
            Some(base) => (base, true),
            None => (name.strip_suffix("@openssh.com").unwrap_or(name), false),
        };
        let kind = match base {
            "umac-64" => Kind::Umac64,
            "umac-128" => Kind::Umac128,
            "hmac-sha1" => Kind::Sha1,
            "hmac-sha2-256" => Kind::Sha256,
            "hmac-sha2-512" => Kind::Sha512,
            _ => return None,
        };
        Some(Self { kind, after })
    }

    pub(super) fn key_bytes(self) -> usize {
        match self.kind {
            Kind::Umac64 | Kind::Umac128 => 16,
            Kind::Sha1 => 20,
            Kind::Sha256 => 32,
            Kind::Sha512 => 64,
        }
    }
}

enum State {
    Umac(Box<Umac>),
    Hmac(Box<hmac::Key>),
}

/// A keyed MAC.
pub(super) struct Mac {
    state: State,
    /// Bytes of its tags.
    pub(super) tag_bytes: usize,
    /// Whether it is made of the encrypted packet.
    pub(super) after: bool,
}

impl Mac {
    /// `None` where the key has the wrong length.
    pub(super) fn new(algorithm: Algorithm, key: &[u8]) -> Option<Self> {
        let hmac = |kind| State::Hmac(Box::new(hmac::Key::new(kind, key)));
        let umac = |bytes| Some(State::Umac(Box::new(Umac::new(key.try_into().ok()?, bytes))));
        let (state, tag_bytes) = match algorithm.kind {
            Kind::Umac64 => (umac(8)?, 8),
            Kind::Umac128 => (umac(16)?, 16),
            Kind::Sha1 => (hmac(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY), 20),
            Kind::Sha256 => (hmac(hmac::HMAC_SHA256), 32),
            Kind::Sha512 => (hmac(hmac::HMAC_SHA512), 64),
        };
        Some(Self { state, tag_bytes, after: algorithm.after })
    }

    /// Writes the tag of a packet to the front of `tag`.
    pub(super) fn tag(&self, number: u32, packet: &[u8], tag: &mut [u8; MAX_TAG_BYTES]) {
        match &self.state {
            State::Umac(umac) => copy(tag, &umac.tag(u64::from(number), packet)),
            State::Hmac(key) => {
                let mut context = hmac::Context::with_key(key);
                context.update(&number.to_be_bytes());
                context.update(packet);
                copy(tag, context.sign().as_ref());
            }
        }
    }

    /// Whether `tag` is that of the packet.
    pub(super) fn verify(&self, number: u32, packet: &[u8], tag: &[u8]) -> bool {
        let mut right = [0; MAX_TAG_BYTES];
        self.tag(number, packet, &mut right);
        right.get(..self.tag_bytes).is_some_and(|right| right == tag)
    }
}

fn copy(to: &mut [u8; MAX_TAG_BYTES], from: &[u8]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
}
