//! Key exchange methods: from the client's public part to ours and the secret
//! that both then have, and from that to keys (RFC 4253, sections 7 and 8;
//! RFC 5656; RFC 8731; RFC 8268; RFC 4419; sntrup761x25519). Not the order of
//! messages; the transport knows it.

pub(super) mod dh;

use std::fmt::Write as _;
use std::sync::Arc;

use p521::elliptic_curve::Generate as _;
use p521::elliptic_curve::sec1::ToSec1Point as _;
use ring::agreement::{self, EphemeralPrivateKey, UnparsedPublicKey};
use ring::digest;
use ring::rand::SystemRandom;

use self::dh::Group;
use super::wire::{Put as _, Reader};

/// Bytes of a key of sntrup761 and of what is encapsulated for it.
const SNTRUP_PUBLIC: usize = 1_158;
/// Bytes of a key of X25519.
const X25519_PUBLIC: usize = 32;

/// A method by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Sntrup761X25519,
    Curve25519,
    NistP256,
    NistP384,
    NistP521,
    Group14,
    Group16,
    Group18,
    GroupExchange,
}

impl Method {
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "sntrup761x25519-sha512" | "sntrup761x25519-sha512@openssh.com" => {
                Self::Sntrup761X25519
            }
            "curve25519-sha256" | "curve25519-sha256@libssh.org" => Self::Curve25519,
            "ecdh-sha2-nistp256" => Self::NistP256,
            "ecdh-sha2-nistp384" => Self::NistP384,
            "ecdh-sha2-nistp521" => Self::NistP521,
            "diffie-hellman-group14-sha256" => Self::Group14,
            "diffie-hellman-group16-sha512" => Self::Group16,
            "diffie-hellman-group18-sha512" => Self::Group18,
            "diffie-hellman-group-exchange-sha256" => Self::GroupExchange,
            _ => return None,
        })
    }

    pub(super) fn hash(self) -> &'static digest::Algorithm {
        match self {
            Self::Sntrup761X25519 | Self::Group16 | Self::Group18 | Self::NistP521 => {
                &digest::SHA512
            }
            Self::NistP384 => &digest::SHA384,
            Self::Curve25519 | Self::NistP256 | Self::Group14 | Self::GroupExchange => {
                &digest::SHA256
            }
        }
    }

    /// Whether public parts are numbers (`mpint`) and not strings.
    pub(super) fn is_numeric(self) -> bool {
        matches!(self, Self::Group14 | Self::Group16 | Self::Group18 | Self::GroupExchange)
    }

    /// The group of a method that has a fixed one.
    pub(super) fn group(self) -> Option<Arc<Group>> {
        match self {
            Self::Group14 => Group::named("group14"),
            Self::Group16 => Group::named("group16"),
            Self::Group18 => Group::named("group18"),
            _ => None,
        }
    }

    /// Answers a client's public part. `None` where it is not valid.
    pub(super) fn agree(self, group: Option<&Group>, theirs: &[u8]) -> Option<Agreed> {
        let number = |(public, shared): (Vec<u8>, Vec<u8>)| Agreed::number(public, &shared);
        match self {
            Self::Curve25519 => ring_agree(&agreement::X25519, theirs).map(number),
            Self::NistP256 => ring_agree(&agreement::ECDH_P256, theirs).map(number),
            Self::NistP384 => ring_agree(&agreement::ECDH_P384, theirs).map(number),
            Self::NistP521 => p521_agree(theirs).map(number),
            Self::Sntrup761X25519 => sntrup_agree(theirs),
            Self::Group14 | Self::Group16 | Self::Group18 | Self::GroupExchange => {
                group?.agree(theirs).map(number)
            }
        }
    }
}

/// What both sides have after an exchange.
pub(super) struct Agreed {
    /// Our public part.
    pub(super) public: Vec<u8>,
    /// The shared secret as it is hashed, with its length in front.
    pub(super) secret: Vec<u8>,
}

impl Agreed {
    fn number(public: Vec<u8>, shared: &[u8]) -> Self {
        let mut secret = Vec::with_capacity(shared.len() + 5);
        secret.put_mpint(shared);
        Self { public, secret }
    }
}

fn ring_agree(curve: &'static agreement::Algorithm, theirs: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let ours = EphemeralPrivateKey::generate(curve, &SystemRandom::new()).ok()?;
    let public = ours.compute_public_key().ok()?.as_ref().to_vec();
    let theirs = UnparsedPublicKey::new(curve, theirs);
    let shared = agreement::agree_ephemeral(ours, &theirs, <[u8]>::to_vec).ok()?;
    Some((public, shared))
}

fn p521_agree(theirs: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let theirs = p521::PublicKey::from_sec1_bytes(theirs).ok()?;
    let ours = p521::ecdh::EphemeralSecret::generate_from_rng(&mut rand::rng());
    let shared = ours.diffie_hellman(&theirs).raw_secret_bytes().to_vec();
    Some((ours.public_key().to_sec1_point(false).as_bytes().to_vec(), shared))
}

fn sntrup_agree(theirs: &[u8]) -> Option<Agreed> {
    let (lattice, curve) = theirs.split_at_checked(SNTRUP_PUBLIC)?;
    if curve.len() != X25519_PUBLIC {
        return None;
    }
    let key = sntrup761::EncapsulationKey::try_from(lattice).ok()?;
    let (cipher_text, kem) = key.encapsulate(rand::rng());
    let (curve_public, shared) = ring_agree(&agreement::X25519, curve)?;
    let mut hash = digest::Context::new(&digest::SHA512);
    hash.update(kem.as_ref());
    hash.update(&shared);
    let mut secret = Vec::with_capacity(68);
    secret.put_string(hash.finish().as_ref());
    let mut public = cipher_text.as_ref().to_vec();
    public.extend_from_slice(&curve_public);
    Some(Agreed { public, secret })
}

/// Makes `bytes` of key material for the purpose that `letter` names.
pub(super) fn derive(
    hash: &'static digest::Algorithm,
    secret: &[u8],
    exchange: &[u8],
    session: &[u8],
    letter: u8,
    bytes: usize,
) -> Vec<u8> {
    let mut first = digest::Context::new(hash);
    for part in [secret, exchange, &[letter], session] {
        first.update(part);
    }
    let mut key = first.finish().as_ref().to_vec();
    while key.len() < bytes {
        let mut next = digest::Context::new(hash);
        for part in [secret, exchange, &key] {
            next.update(part);
        }
        key.extend_from_slice(next.finish().as_ref());
    }
    key.truncate(bytes);
    key
}

/// The ten lists of a `KEXINIT`, as they came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    lists: [Vec<u8>; 10],
    /// Whether a guessed first message follows at once.
    pub(super) follows: bool,
}

/// Places of the lists.
pub(super) mod list {
    pub(in super::super) const KEX: usize = 0;
    pub(in super::super) const HOST_KEY: usize = 1;
    pub(in super::super) const CIPHER_IN: usize = 2;
    pub(in super::super) const CIPHER_OUT: usize = 3;
    pub(in super::super) const MAC_IN: usize = 4;
    pub(in super::super) const MAC_OUT: usize = 5;
    pub(in super::super) const COMPRESSION_IN: usize = 6;
    pub(in super::super) const COMPRESSION_OUT: usize = 7;
}

impl Offer {
    /// Reads a whole `KEXINIT` message.
    #[must_use]
    pub fn parse(message: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(message);
        reader.bytes(17)?;
        let mut lists: [Vec<u8>; 10] = Default::default();
        for list in &mut lists {
            *list = reader.string()?.to_vec();
        }
        let follows = reader.bool()?;
        reader.u32()?;
        Some(Self { lists, follows })
    }

    /// One list, commas between the names.
    pub(super) fn list(&self, index: usize) -> &[u8] {
        self.lists.get(index).map_or(&[], Vec::as_slice)
    }

    /// Whether a list has a name.
    pub(super) fn has(&self, index: usize, name: &str) -> bool {
        names(self.list(index)).any(|known| known == name.as_bytes())
    }

    /// HASSH: what tells SSH clients apart (MD5 of four of the lists).
    #[must_use]
    pub fn hassh(&self) -> String {
        self.digest([list::KEX, list::CIPHER_IN, list::MAC_IN, list::COMPRESSION_IN])
    }

    /// The same of a server: of the lists for what it sends.
    #[must_use]
    pub fn hassh_server(&self) -> String {
        self.digest([list::KEX, list::CIPHER_OUT, list::MAC_OUT, list::COMPRESSION_OUT])
    }

    fn digest(&self, parts: [usize; 4]) -> String {
        use md5::Digest as _;
        let text = parts.map(|index| self.list(index)).join(&b';');
        let mut hex = String::with_capacity(32);
        for byte in md5::Md5::digest(&text) {
            let _ = write!(hex, "{byte:02x}");
        }
        hex
    }

    /// The lists with their names, for the record.
    pub(super) fn named_lists(&self) -> impl Iterator<Item = (&'static str, &[u8])> {
        [
            ("kex_algorithms", list::KEX),
            ("host_key_algorithms", list::HOST_KEY),
            ("ciphers", list::CIPHER_IN),
            ("macs", list::MAC_IN),
            ("compression", list::COMPRESSION_IN),
            ("languages", 8),
        ]
        .into_iter()
        .map(|(name, index)| (name, self.list(index)))
        .filter(|(_, list)| !list.is_empty())
    }
}

/// The names of a list.
pub(super) fn names(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|byte| *byte == b',').filter(|name| !name.is_empty())
}

/// The first of the client's names that is among ours.
pub(super) fn choose<'a>(theirs: &[u8], ours: &'a str) -> Option<&'a str> {
    names(theirs).find_map(|name| ours.split(',').find(|known| known.as_bytes() == name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_chooses_among_our_names() {
        assert_eq!(choose(b"x,b,a", "a,b"), Some("b"));
        assert_eq!(choose(b"", "a,b"), None);
        assert_eq!(choose(b",,", ""), None);
    }

    #[test]
    fn a_hassh_is_the_one_that_others_compute() {
        let mut message = vec![0; 17];
        for list in [&b"a,b"[..], b"k", b"c1,c2", b"d", b"m", b"n", b"none", b"zlib", b"", b""] {
            message.put_string(list);
        }
        message.extend_from_slice(&[0; 5]);
        let offer = Offer::parse(&message).unwrap();
        // printf 'a,b;c1,c2;m;none' | md5sum
        assert_eq!(offer.hassh(), "bf9f945657158820e133f09d33de79b5");
        assert!(!offer.follows && offer.has(list::CIPHER_IN, "c2"));
        assert_eq!(Offer::parse(&message[..message.len() - 1]), None);
    }
}
