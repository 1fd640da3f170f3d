//! Which login names each address tried: how many different ones, and some of them.

use std::collections::HashMap;
use std::hash::BuildHasher as _;

use foldhash::fast::FixedState;

use super::pieces::Pieces;

/// Login names of an address that are counted exactly; beyond them their number
/// is estimated from the smallest hashes (the k-minimum-values sketch).
const EXACT_USERS: usize = 64;
/// Login names of an address that are kept as text.
pub(super) const KEPT_USERS: usize = 8;

/// What a login name is told by: two that share it count as one. Never 0.
#[inline]
pub(super) fn hash(user: &[u8]) -> u32 {
    ((FixedState::default().hash_one(user) >> 32) as u32).max(1)
}

/// Login names by their hash: those that some address shows. `None` where two
/// share it: neither is shown, whichever came first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Names(HashMap<u32, Option<Box<[u8]>>, FixedState>);

impl Names {
    fn keep(&mut self, hash: u32, kept: &[u8]) {
        let known = self.0.entry(hash).or_insert_with(|| Some(kept.into()));
        known.take_if(|known| **known != *kept);
    }

    fn merge(&mut self, other: Self) {
        if self.0.is_empty() {
            *self = other;
            return;
        }
        for (hash, name) in other.0 {
            let known = self.0.entry(hash).or_insert_with(|| name.clone());
            known.take_if(|known| name.as_ref() != Some(known));
        }
    }
}

/// Different login names of one address, in [`Lists`]: those with the smallest
/// hashes, so that the same names give the same answer in whatever order they come.
#[derive(Clone, Debug)]
pub(super) struct Users {
    /// The name before this one, many try the same one again; 0 where there was none.
    last: u32,
    /// Hashes from here on are not kept: there are enough smaller ones.
    bound: u32,
    /// The number of the list among those of its size.
    list: u32,
    /// Hashes in the list.
    len: u8,
}

impl Default for Users {
    fn default() -> Self {
        Self { last: 0, bound: u32::MAX, list: 0, len: 0 }
    }
}

impl Users {
    /// Whether a name changes nothing, seen without a look at the list.
    #[inline]
    fn is_known(&self, hash: u32) -> bool {
        self.last == hash || hash >= self.bound
    }
}

/// The lists of all addresses, in the order of their hashes. They lie side by side,
/// as long as they need: each by itself would have a place and a page of its own.
#[derive(Debug, Default)]
pub(super) struct Lists {
    eight: Pieces<[u32; 8]>,
    sixteen: Pieces<[u32; 16]>,
    thirty_two: Pieces<[u32; 32]>,
    whole: Pieces<[u32; EXACT_USERS]>,
    /// Those that are not used any more, of each size.
    free: [Vec<u32>; 4],
    pub(super) names: Names,
}

/// The size of the list that so many hashes are in.
#[inline]
fn size(len: usize) -> usize {
    match len {
        0..=8 => 0,
        9..=16 => 1,
        17..=32 => 2,
        _ => 3,
    }
}

impl Lists {
    /// Asks for the memory where a name would be noted, and does not wait for it.
    #[inline]
    pub(super) fn ask(&self, users: &Users, hash: u32) {
        if users.is_known(hash) {
            return;
        }
        let list = users.list as usize;
        match size(usize::from(users.len)) {
            0 => self.eight.ask(list),
            1 => self.sixteen.ask(list),
            2 => self.thirty_two.ask(list),
            // It has several lines, of which a search reads three.
            _ => self.whole.ask(list),
        }
    }

    /// Notes a name by its hash; `kept` is the part of it that would be kept.
    #[inline]
    pub(super) fn note(&mut self, users: &mut Users, hash: u32, kept: &[u8]) {
        if users.is_known(hash) {
            return;
        }
        users.last = hash;
        if self.insert(users, hash).is_some_and(|place| place < KEPT_USERS) {
            self.names.keep(hash, kept);
        }
    }

    /// The place of a hash that was not there.
    fn insert(&mut self, users: &mut Users, hash: u32) -> Option<usize> {
        let mut len = usize::from(users.len);
        let place = self.hashes(users).binary_search(&hash).err()?;
        if place >= EXACT_USERS {
            return None;
        }
        if len == EXACT_USERS {
            // The largest goes.
            len -= 1;
        } else if len == 0 || size(len) != size(len + 1) {
            self.move_to_larger(users);
        }
        let hashes = self.list_mut(size(len + 1), users.list)?;
        hashes.copy_within(place..len, place + 1);
        *hashes.get_mut(place)? = hash;
        users.len = len as u8 + 1;
        if len + 1 == EXACT_USERS {
            users.bound = hashes.last().copied().unwrap_or(u32::MAX);
        }
        Some(place)
    }

    /// Gives users a list for one hash more.
    fn move_to_larger(&mut self, users: &mut Users) {
        let len = usize::from(users.len);
        let mut hashes = [0; EXACT_USERS];
        for (to, from) in hashes.iter_mut().zip(self.hashes(users)) {
            *to = *from;
        }
        if len > 0
            && let Some(free) = self.free.get_mut(size(len))
        {
            free.push(users.list);
        }
        let larger = size(len + 1);
        users.list = match self.free.get_mut(larger).and_then(Vec::pop) {
            Some(list) => list,
            None => self.push(larger),
        };
        if let Some(list) = self.list_mut(larger, users.list) {
            list.iter_mut().zip(hashes).for_each(|(to, from)| *to = from);
        }
    }

    /// A new list, by its number; there are at most as many as addresses.
    fn push(&mut self, size: usize) -> u32 {
        fn push<const N: usize>(lists: &mut Pieces<[u32; N]>) -> u32 {
            lists.push([0; N]);
            lists.len() as u32 - 1
        }
        match size {
            0 => push(&mut self.eight),
            1 => push(&mut self.sixteen),
            2 => push(&mut self.thirty_two),
            _ => push(&mut self.whole),
        }
    }

    #[inline]
    fn list_mut(&mut self, size: usize, list: u32) -> Option<&mut [u32]> {
        let list = list as usize;
        match size {
            0 => self.eight.get_mut(list).map(<[u32; 8]>::as_mut_slice),
            1 => self.sixteen.get_mut(list).map(<[u32; 16]>::as_mut_slice),
            2 => self.thirty_two.get_mut(list).map(<[u32; 32]>::as_mut_slice),
            _ => self.whole.get_mut(list).map(<[u32; EXACT_USERS]>::as_mut_slice),
        }
    }

    /// The hashes of users.
    #[inline]
    fn hashes(&self, users: &Users) -> &[u32] {
        let (list, len) = (users.list as usize, usize::from(users.len));
        let hashes = match size(len) {
            0 => self.eight.get(list).map(<[u32; 8]>::as_slice),
            1 => self.sixteen.get(list).map(<[u32; 16]>::as_slice),
            2 => self.thirty_two.get(list).map(<[u32; 32]>::as_slice),
            _ => self.whole.get(list).map(<[u32; EXACT_USERS]>::as_slice),
        };
        hashes.and_then(|hashes| hashes.get(..len)).unwrap_or_default()
    }

    /// Adds users that are in other lists, whose names are merged by themselves.
    pub(super) fn merge(&mut self, users: &mut Users, other: (&Self, &Users)) {
        for hash in other.0.hashes(other.1) {
            self.insert(users, *hash);
        }
    }

    /// Adds the names of other lists.
    pub(super) fn merge_names(&mut self, other: Names) {
        self.names.merge(other);
    }

    /// How many; exact up to [`EXACT_USERS`], about right beyond.
    pub(super) fn count(&self, users: &Users) -> u64 {
        let hashes = self.hashes(users);
        match hashes.last() {
            Some(largest) if hashes.len() >= EXACT_USERS => {
                let part = (f64::from(*largest) + 1.0) / f64::from(u32::MAX);
                ((EXACT_USERS - 1) as f64 / part).round() as u64
            }
            _ => hashes.len() as u64,
        }
    }

    /// Some of them, in the order of the alphabet.
    pub(super) fn names(&self, users: &Users) -> Vec<&[u8]> {
        let kept = self.hashes(users).iter().take(KEPT_USERS);
        let mut names: Vec<&[u8]> =
            kept.filter_map(|hash| self.names.0.get(hash)?.as_deref()).collect();
        names.sort_unstable();
        names
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panic")]

    use proptest::prelude::*;

    use super::*;

    fn users(range: impl Iterator<Item = u32>) -> (Users, Lists) {
        let (mut users, mut lists) = (Users::default(), Lists::default());
        range.for_each(|n| {
            let name = format!("user{n}");
            lists.note(&mut users, hash(name.as_bytes()), name.as_bytes());
        });
        (users, lists)
    }

    #[test]
    fn the_same_names_give_the_same_answer_in_any_order() {
        let (whole, known) = users(0..500);
        let (backwards, other) = users((0..500).rev());
        assert_eq!(other.hashes(&backwards), known.hashes(&whole));
        assert_eq!(other.names(&backwards), known.names(&whole));
        let (mut parts, mut lists) = users(300..500);
        let (more, others) = users(0..301);
        lists.merge(&mut parts, (&others, &more));
        lists.merge_names(others.names);
        assert_eq!(lists.hashes(&parts), known.hashes(&whole));
        assert_eq!(lists.names(&parts), known.names(&whole));
        assert_eq!(known.names(&whole).len(), KEPT_USERS);
    }

    #[test]
    fn of_two_names_that_cannot_be_told_apart_neither_is_shown() {
        let keep = |all: &[(u32, &[u8])]| {
            let (mut users, mut lists) = (Users::default(), Lists::default());
            for (hash, name) in all {
                let _ = lists.insert(&mut users, *hash);
                lists.names.keep(*hash, name);
            }
            (users, lists)
        };
        let (users, mut one) = keep(&[(7, b"root"), (3, b"admin"), (7, b"root")]);
        assert_eq!(one.names(&users), [&b"admin"[..], b"root"]);
        let (users, both) = keep(&[(7, b"root"), (7, b"git"), (7, b"root"), (3, b"admin")]);
        assert_eq!(both.names(&users), [b"admin"]);
        one.merge_names(keep(&[(7, b"git")]).1.names);
        assert_eq!(one.names, both.names);
        one.merge_names(keep(&[(7, b"git"), (3, b"admin")]).1.names);
        assert_eq!(one.names, both.names);
    }

    #[test]
    fn few_names_are_counted_exactly_and_many_about() {
        let count = |(users, lists): (Users, Lists)| lists.count(&users);
        assert_eq!(count(users(0..0)), 0);
        assert_eq!(count(users((0..63).chain(0..63))), 63);
        let many = count(users(0..10_000));
        assert!((6_000..15_000).contains(&many), "{many}");
    }

    proptest! {
        #[test]
        fn each_address_has_the_smallest_hashes_of_its_own(
            steps in proptest::collection::vec((0usize..5, 1u32..120), 0..900)
        ) {
            let mut lists = Lists::default();
            let mut all = vec![Users::default(); 5];
            let mut model = vec![std::collections::BTreeSet::new(); 5];
            for (who, hash) in steps {
                lists.ask(&all[who], hash);
                lists.note(&mut all[who], hash, &hash.to_le_bytes());
                model[who].insert(hash);
            }
            for (users, model) in all.iter().zip(model) {
                let smallest: Vec<u32> = model.iter().copied().take(EXACT_USERS).collect();
                prop_assert_eq!(lists.hashes(users), smallest);
                prop_assert_eq!(lists.names(users).len(), model.len().min(KEPT_USERS));
            }
        }
    }
}
