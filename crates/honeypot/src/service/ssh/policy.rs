//! Who is let in, as the operator says. The same name and password always get
//! the same answer where chance decides, as on a machine with one password.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};

use sha2::{Digest as _, Sha256};

use crate::SshAccept;

/// Most addresses whose tries are counted; all are forgotten when there are
/// more, and begin anew.
const MAX_ADDRESSES: usize = 16_384;

/// Decides about passwords.
#[derive(Debug)]
pub(super) struct Policy {
    accept: SshAccept,
    seed: u64,
    tries: Mutex<HashMap<IpAddr, u32>>,
}

impl Policy {
    /// `seed` makes one installation's chances differ from another's.
    pub(super) fn new(accept: SshAccept, seed: Option<u64>) -> Self {
        let seed = seed.unwrap_or_else(|| RandomState::new().hash_one(0));
        Self { accept, seed, tries: Mutex::default() }
    }

    /// Whether this try is let in.
    pub(super) fn lets_in(&self, user: &[u8], password: &[u8], address: IpAddr) -> bool {
        match &self.accept {
            SshAccept::Never => false,
            SshAccept::Always => true,
            SshAccept::After(count) => self.count(address) >= *count,
            SshAccept::List(entries) => entries.iter().any(|entry| {
                let (name, word) = entry.split_once(':').unwrap_or((entry, ""));
                (name == "*" || name.as_bytes() == user)
                    && (word == "*" || word.as_bytes() == password)
            }),
            SshAccept::Probability(chances) => {
                let chance = std::str::from_utf8(user).ok().and_then(|user| chances.get(user));
                let chance = chance.or_else(|| chances.get("*")).copied().unwrap_or(0.0);
                self.draw(user, password) < chance
            }
        }
    }

    fn count(&self, address: IpAddr) -> u32 {
        let address = match address.to_canonical() {
            IpAddr::V6(six) => Ipv6Addr::from_bits(six.to_bits() & !u128::from(u64::MAX)).into(),
            four => four,
        };
        let mut tries = self.tries.lock().unwrap_or_else(PoisonError::into_inner);
        if tries.len() >= MAX_ADDRESSES && !tries.contains_key(&address) {
            tries.clear();
        }
        let count = tries.entry(address).or_default();
        *count = count.saturating_add(1);
        *count
    }

    /// A number from 0 to 1 that belongs to this name and password.
    fn draw(&self, user: &[u8], password: &[u8]) -> f64 {
        let mut hash = Sha256::new();
        hash.update(self.seed.to_be_bytes());
        hash.update((user.len() as u64).to_be_bytes());
        hash.update(user);
        hash.update(password);
        let digest: [u8; 32] = hash.finalize().into();
        let four = digest.first_chunk().map_or(0, |four| u32::from_be_bytes(*four));
        f64::from(four) / (f64::from(u32::MAX) + 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(accept: SshAccept) -> Policy {
        Policy::new(accept, Some(7))
    }

    fn from(host: u8) -> IpAddr {
        [192, 0, 2, host].into()
    }

    #[test]
    fn tries_are_counted_for_each_address() {
        let policy = policy(SshAccept::After(3));
        for (host, expected) in [(1, false), (1, false), (2, false), (1, true), (1, true)] {
            assert_eq!(policy.lets_in(b"root", b"x", from(host)), expected);
        }
    }

    #[test]
    fn a_list_names_users_and_passwords() {
        let entries = ["root:toor", "admin:*", "*:123456", "a:b:c"];
        let policy = policy(SshAccept::List(entries.map(str::to_owned).to_vec()));
        for (user, password, expected) in [
            ("root", "toor", true),
            ("root", "root", false),
            ("admin", "anything", true),
            ("x", "123456", true),
            ("a", "b:c", true),
        ] {
            let lets_in = policy.lets_in(user.as_bytes(), password.as_bytes(), from(1));
            assert_eq!(lets_in, expected, "{user}:{password}");
        }
    }

    #[test]
    fn chance_gives_a_pair_the_same_answer_each_time() {
        let chances = [("root".to_owned(), 0.2), ("*".to_owned(), 0.0)].into();
        let policy = policy(SshAccept::Probability(chances));
        let lets_in =
            |user: &str, n: u32| policy.lets_in(user.as_bytes(), n.to_string().as_bytes(), from(1));
        let accepted = (0..2_000).filter(|n| lets_in("root", *n)).count();
        assert!((300..500).contains(&accepted), "{accepted}");
        assert!((0..200).all(|n| lets_in("root", n) == lets_in("root", n)));
        assert!(!(0..2_000).any(|n| lets_in("admin", n)));
    }
}
