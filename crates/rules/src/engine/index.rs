//! Where the entries of a table are, by hashes of their keys.

use super::memory::Memory;

/// Fewest places.
const MIN_PLACES: usize = 64;

/// From hashes to the numbers of entries that are kept elsewhere, where their keys
/// are: open addressing with linear probing. A place has 32 bits: the number, and
/// above it as many bits of the hash as it leaves, so that nearly always only the
/// right entry is looked at. Larger than the processor's caches it lies on large
/// pages, and can be asked for before it is needed ([`Index::ask`]).
///
/// Numbers begin with 0 and are dense: below three quarters of the places.
#[derive(Clone, Debug, Default)]
pub struct Index {
    /// Low bits, as many as the places need: the number plus one; above them bits of
    /// the hash; 0 is free. As many as a power of two.
    places: Memory,
    len: usize,
}

impl Index {
    /// Entries in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes that it holds.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.places.bytes(self.places.len())
    }

    /// Asks for the memory where a hash would be, and does not wait for it.
    #[inline]
    pub fn ask(&self, hash: u64) {
        self.places.ask(hash as usize & self.mask());
    }

    /// The number of the first entry whose hash may be this one: nearly always the
    /// right one, where it is there.
    #[inline]
    #[must_use]
    pub fn guess(&self, hash: u64) -> Option<u32> {
        self.find(hash, |_| true)
    }

    /// The number of the entry of a hash that is the right one.
    #[inline]
    #[must_use]
    pub fn find(&self, hash: u64, is_right: impl Fn(u32) -> bool) -> Option<u32> {
        let mask = self.mask();
        let bits = self.bits(hash);
        let mut place = hash as usize & mask;
        loop {
            let found = *self.places.at(place)?;
            if found == 0 {
                return None;
            }
            if found & !(mask as u32) == bits {
                let number = (found & mask as u32).wrapping_sub(1);
                if is_right(number) {
                    return Some(number);
                }
            }
            place = (place + 1) & mask;
        }
    }

    /// Whether an entry of this number can be put in; else it has to grow.
    #[must_use]
    pub fn has_room(&self, number: u32) -> bool {
        let most = self.places.len() / 4 * 3;
        self.len < most && (number as usize) < most
    }

    /// Makes it twice as large. Takes the hashes and numbers of all entries.
    pub fn grow(&mut self, entries: impl Iterator<Item = (u64, u32)>) {
        let places = (self.places.len() * 2).max(MIN_PLACES);
        (self.places, self.len) = (Memory::new(places), 0);
        entries.for_each(|(hash, number)| self.insert(hash, number));
    }

    /// Puts in an entry that is not there. There must be room ([`Index::has_room`]),
    /// else nothing happens.
    pub fn insert(&mut self, hash: u64, number: u32) {
        if !self.has_room(number) {
            return;
        }
        let mask = self.mask();
        let bits = self.bits(hash);
        let mut place = hash as usize & mask;
        while let Some(found) = self.places.at_mut(place) {
            if *found == 0 {
                *found = bits | (number + 1);
                self.len += 1;
                return;
            }
            place = (place + 1) & mask;
        }
    }

    /// Takes an entry out and closes the gap; `hash_of` gives the hashes of others.
    /// Whether it was there.
    pub fn remove(&mut self, hash: u64, number: u32, hash_of: impl Fn(u32) -> Option<u64>) -> bool {
        let mask = self.mask();
        let mut place = hash as usize & mask;
        loop {
            match self.places.at(place) {
                None | Some(0) => return false,
                Some(found) if found & mask as u32 == number.wrapping_add(1) => break,
                Some(_) => place = (place + 1) & mask,
            }
        }
        let mut gap = place;
        let mut next = (place + 1) & mask;
        while let Some(found) = self.places.at(next).copied().filter(|found| *found != 0) {
            let home = hash_of((found & mask as u32).wrapping_sub(1));
            let home = home.map_or(next, |hash| hash as usize & mask);
            // Whether `home` lies cyclically at or before the gap.
            if (next.wrapping_sub(home) & mask) >= (next.wrapping_sub(gap) & mask) {
                if let Some(to) = self.places.at_mut(gap) {
                    *to = found;
                }
                gap = next;
            }
            next = (next + 1) & mask;
        }
        if let Some(found) = self.places.at_mut(gap) {
            *found = 0;
        }
        self.len -= 1;
        true
    }

    #[inline]
    fn mask(&self) -> usize {
        self.places.len().wrapping_sub(1)
    }

    /// Bits of a hash that are kept: others than those that say where.
    #[inline]
    fn bits(&self, hash: u64) -> u32 {
        (hash >> 32) as u32 & !(self.mask() as u32)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_finds_what_a_map_finds(
            steps in proptest::collection::vec((0u64..90, any::<bool>()), 0..600),
            // Hashes that differ in few bits meet at the same places.
            (low, high) in (1u64..40, 0u64..3),
        ) {
            let hash_of = |key: u64| (key % low) | ((key & high) << 40);
            let mut index = Index::default();
            let (mut keys, mut free) = (Vec::new(), Vec::new());
            let mut model: HashMap<u64, u32> = HashMap::new();
            for (key, is_new) in steps {
                let hash = hash_of(key);
                let found = index.find(hash, |number| keys.get(number as usize) == Some(&key));
                prop_assert_eq!(found, model.get(&key).copied());
                if let Some(number) = found.filter(|_| !is_new) {
                    let of = |number: u32| keys.get(number as usize).map(|key| hash_of(*key));
                    prop_assert!(index.remove(hash, number, of));
                    prop_assert!(!index.remove(hash, number, of));
                    model.remove(&key);
                    free.push(number);
                } else if found.is_none() && is_new {
                    let number = free.pop().unwrap_or(keys.len() as u32);
                    if !index.has_room(number) {
                        index.grow(model.iter().map(|(key, number)| (hash_of(*key), *number)));
                    }
                    match keys.get_mut(number as usize) {
                        Some(known) => *known = key,
                        None => keys.push(key),
                    }
                    index.ask(hash);
                    index.insert(hash, number);
                    model.insert(key, number);
                    prop_assert!(index.guess(hash).is_some());
                }
                prop_assert_eq!(index.len(), model.len());
            }
        }
    }

    #[test]
    fn without_room_nothing_is_put_in() {
        let mut index = Index::default();
        index.insert(7, 0);
        assert!(index.is_empty() && index.find(7, |_| true).is_none() && !index.has_room(0));
        index.grow(std::iter::empty());
        assert!(index.has_room(47) && !index.has_room(48));
        (0..60).for_each(|number| index.insert(u64::from(number), number));
        assert_eq!(index.len(), 48);
        assert!(index.bytes() >= 64 * 4);
    }
}
