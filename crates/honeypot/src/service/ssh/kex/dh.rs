//! Diffie-Hellman over numbers: fixed groups (RFC 8268) and groups that the
//! client asks for by size (RFC 4419). Exponents are short, as OpenSSH's are;
//! nothing of ours is kept secret by them.

use std::sync::{Arc, LazyLock};

use num_bigint::BigUint;

/// Smallest and largest group, in bits, as OpenSSH has it.
const BITS: std::ops::RangeInclusive<u32> = 2_048..=8_192;
/// Bytes of our exponent: twice the strength of the strongest cipher.
const EXPONENT_BYTES: usize = 64;

static GROUPS: LazyLock<Vec<(&str, Arc<Group>)>> = LazyLock::new(|| {
    let lines = include_str!("groups.txt").lines().filter(|line| !line.starts_with('#'));
    let group = |line: &'static str| {
        let mut words = line.split(' ');
        let (name, generator, prime) = (words.next()?, words.next()?, words.next()?);
        let prime = BigUint::parse_bytes(prime.as_bytes(), 16)?;
        let generator = BigUint::parse_bytes(generator.as_bytes(), 16)?;
        Some((name, Arc::new(Group { prime, generator })))
    };
    lines.filter_map(group).collect()
});

/// A prime and its generator.
#[derive(Debug)]
pub(in super::super) struct Group {
    prime: BigUint,
    generator: BigUint,
}

impl Group {
    /// `group14`, `group16`, `group18`.
    pub(super) fn named(name: &str) -> Option<Arc<Self>> {
        GROUPS.iter().find(|(known, _)| *known == name).map(|(_, group)| Arc::clone(group))
    }

    /// A group for a client that wants `want` bits and takes `min` to `max`;
    /// `None` where OpenSSH hangs up.
    pub(in super::super) fn sized(min: u32, want: u32, max: u32) -> Option<Arc<Self>> {
        if max < min || want < min || max < want {
            return None;
        }
        let (least, most) = (min.max(*BITS.start()), max.min(*BITS.end()));
        let want = want.clamp(*BITS.start(), *BITS.end());
        let sizes = GROUPS.iter().filter_map(|(name, group)| Some((name.parse().ok()?, group)));
        let usable: Vec<(u32, _)> =
            sizes.filter(|(bits, _)| (least..=most).contains(bits)).collect();
        // The smallest that is large enough, else the largest.
        let bits = usable.iter().map(|(bits, _)| *bits).filter(|bits| *bits >= want).min();
        let bits = bits.or_else(|| usable.iter().map(|(bits, _)| *bits).max())?;
        let of_size: Vec<_> = usable.iter().filter(|(have, _)| *have == bits).collect();
        let random = usize::from(rand::random::<u16>()) % of_size.len().max(1);
        of_size.get(random).map(|(_, group)| Arc::clone(group))
    }

    /// Prime and generator, big-endian.
    pub(in super::super) fn parameters(&self) -> (Vec<u8>, Vec<u8>) {
        (self.prime.to_bytes_be(), self.generator.to_bytes_be())
    }

    /// Our public number and the shared one; `None` for a number that no
    /// client sends.
    pub(super) fn agree(&self, theirs: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
        let one = BigUint::from(1u8);
        let theirs = BigUint::from_bytes_be(theirs);
        // OpenSSH also wants four bits to be set.
        if theirs <= one || theirs >= &self.prime - &one || theirs.count_ones() < 4 {
            return None;
        }
        let exponent = BigUint::from_bytes_be(&rand::random::<[u8; EXPONENT_BYTES]>()) + one;
        let ours = self.generator.modpow(&exponent, &self.prime);
        let shared = theirs.modpow(&exponent, &self.prime);
        Some((ours.to_bytes_be(), shared.to_bytes_be()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_groups_are_there_with_their_sizes() {
        for (name, bits) in [("group14", 2_048), ("group16", 4_096), ("group18", 8_192)] {
            assert_eq!(Group::named(name).unwrap().prime.bits(), bits);
        }
        for (asked, bits) in [
            ((2_048, 3_072, 8_192), 3_072),
            ((1_024, 1_024, 8_192), 2_048),
            ((2_048, 8_192, 8_192), 8_192),
            ((2_048, 5_000, 8_192), 6_144),
            ((2_048, 4_000, 4_000), 3_072),
        ] {
            assert_eq!(Group::sized(asked.0, asked.1, asked.2).unwrap().prime.bits(), bits);
        }
        assert!(Group::sized(4_096, 2_048, 8_192).is_none());
        assert!(Group::sized(9_000, 9_000, 9_000).is_none());
    }

    #[test]
    fn a_number_out_of_range_is_refused() {
        let group = Group::named("group14").unwrap();
        let prime = group.parameters().0;
        for bad in [&[][..], &[0], &[1], &[2], &prime] {
            assert!(group.agree(bad).is_none());
        }
        assert!(group.agree(&[0x55; 200]).is_some());
    }
}
