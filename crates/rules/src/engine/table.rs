//! A table from groups to a few words of state each.
//!
//! Entries lie one after the other in pages, so that growing copies nothing and
//! leaves no half-empty tail; each fills lines of the processor's cache of its
//! own, as few as it can. An index of open addressing with linear probing has 32
//! bits of the hash and the entry's number, so that a look-up touches one line
//! of the index and the entry. It has two steps, [`Table::seek`] and
//! [`Table::entry`]: those who have many groups to look up seek all of them
//! first, and memory answers them at the same time. Each new entry makes room of
//! some that hold nothing any more: memory follows what is live, and no call
//! takes long.

use super::EngineOptions;
use super::state::When;
use palisade_event::Timestamp;

/// How much older than the newest sighting of its group one may be and still
/// count, in seconds.
pub const MAX_DISORDER_SECS: u32 = 300;

/// Entries of a page.
const PAGE_ENTRIES: usize = 256;
/// Words of an entry before its state: the key, and when it was last seen.
const HEAD_WORDS: usize = 5;
/// Place of the second when an entry was last seen; in a free entry, 0.
const LAST: usize = 4;
/// Entries that are looked at for each new one.
const SWEEP: usize = 4;
/// Entries that are compared when one has to go.
const EVICT_AMONG: usize = 16;
/// Smallest index.
const MIN_SLOTS: usize = 64;
/// Words of a line of the processor's cache (64 bytes).
const LINE_WORDS: usize = 16;

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Table {
    /// Words of state of an entry.
    words: usize,
    life_secs: Option<u32>,
    max: usize,
    seed: u64,
    /// High half: bits of the hash; low half: number of the entry plus one; 0 is
    /// free. Its length is a power of two.
    index: Vec<u64>,
    pages: Vec<Page>,
    /// Entries that were ever used.
    used: usize,
    free: Vec<u32>,
    len: usize,
    hand: usize,
    evicted: u64,
    resets: u64,
}

/// Where a group's entry may be.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sought {
    key: u128,
    hash: u64,
    /// What its place in the index holds.
    slot: u64,
}

/// Some entries, the first at the beginning of a cache line.
#[derive(Debug)]
struct Page {
    words: Box<[u32]>,
    /// Words before the first entry.
    skip: usize,
}

impl Page {
    fn new(words: usize) -> Self {
        let words = vec![0; words + LINE_WORDS].into_boxed_slice();
        let skip = words.as_ptr().addr() / 4 % LINE_WORDS;
        let skip = (LINE_WORDS - skip) % LINE_WORDS;
        Self { words, skip }
    }
}

impl Clone for Page {
    fn clone(&self) -> Self {
        let mut page = Self::new(self.words.len() - LINE_WORDS);
        let (from, to) = (self.words.get(self.skip..), page.words.get_mut(page.skip..));
        if let (Some(from), Some(to)) = (from, to) {
            to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
        }
        page
    }
}

/// Words from one entry to the next: a part of a line that divides it, or whole
/// lines.
const fn stride(words: usize) -> usize {
    let words = HEAD_WORDS + words;
    if words <= LINE_WORDS { words.next_power_of_two() } else { words.next_multiple_of(LINE_WORDS) }
}

impl Table {
    pub(super) fn new(words: usize, life_secs: Option<u32>, options: EngineOptions) -> Self {
        Self {
            words,
            life_secs,
            max: options.max_tracked.clamp(1, u32::MAX as usize / 2),
            seed: options.seed,
            index: Vec::new(),
            pages: Vec::new(),
            used: 0,
            free: Vec::new(),
            len: 0,
            hand: 0,
            evicted: 0,
            resets: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn evicted(&self) -> u64 {
        self.evicted
    }

    pub(super) fn resets(&self) -> u64 {
        self.resets
    }

    /// Bytes that it holds.
    pub(super) fn bytes(&self) -> usize {
        let page = PAGE_ENTRIES * stride(self.words) + LINE_WORDS;
        self.index.capacity() * 8 + self.pages.len() * page * 4 + self.free.capacity() * 4
    }

    /// Looks up where a group may be.
    #[inline]
    pub(super) fn seek(&self, key: u128) -> Sought {
        let hash = self.hash(key);
        let mask = self.index.len().wrapping_sub(1);
        let slot = self.index.get(hash as usize & mask).copied().unwrap_or(0);
        Sought { key, hash, slot }
    }

    /// Reads from each cache line of the entry that was found, so that it is
    /// there when it is needed. What it gives means nothing.
    #[inline]
    pub(super) fn touch(&self, sought: &Sought) -> u32 {
        let words = self.words_of((sought.slot as u32).wrapping_sub(1)).unwrap_or_default();
        words.iter().step_by(LINE_WORDS).fold(0, |seen, word| seen ^ word)
    }

    /// The state of a group, zeros where it is new, and when a sighting at `at`
    /// counts.
    #[inline]
    pub(super) fn entry(&mut self, sought: &Sought, at: Timestamp) -> (&mut [u32], When) {
        let millis = at.as_millis();
        let secs = u32::try_from(millis.div_euclid(1000).max(1)).unwrap_or(u32::MAX);
        let mut when = When { millis, secs };
        let Sought { key, hash, slot } = *sought;
        // Entries may have moved since they were sought: the key decides.
        let guess = (slot as u32).wrapping_sub(1);
        let number = match slot >> 32 == hash >> 32 && self.key_of(guess) == Some(key) {
            true => guess,
            false => match self.find(key, hash) {
                Some(number) => number,
                None => self.insert(key, hash, secs),
            },
        };
        let Self { pages, words, resets, .. } = self;
        let entry = place(pages, *words, number);
        let Some((head, state)) = entry.and_then(<[u32]>::split_first_chunk_mut::<HEAD_WORDS>)
        else {
            return (&mut [], when);
        };
        let [.., last] = head;
        if *last > secs.saturating_add(MAX_DISORDER_SECS) {
            state.fill(0);
            *resets += 1;
        } else if *last > secs {
            when = When { millis: i64::from(*last) * 1000, secs: *last };
        }
        *last = when.secs;
        (state, when)
    }

    /// Mixes a key with the seed (two multiplications of 64 bits, folded).
    #[inline]
    fn hash(&self, key: u128) -> u64 {
        let fold = |a: u64, b: u64| {
            let wide = u128::from(a) * u128::from(b);
            (wide as u64) ^ (wide >> 64) as u64
        };
        let (low, high) = (key as u64, (key >> 64) as u64);
        let mixed = fold(low ^ self.seed, high ^ 0xe703_7ed1_a0b4_28db);
        fold(mixed ^ 0x8ebc_6af0_9c88_c6e3, self.seed ^ low | 1)
    }

    #[inline]
    fn find(&self, key: u128, hash: u64) -> Option<u32> {
        let mask = self.index.len().checked_sub(1)?;
        let tag = hash >> 32;
        let mut place = hash as usize & mask;
        loop {
            let slot = *self.index.get(place)?;
            if slot == 0 {
                return None;
            }
            if slot >> 32 == tag {
                let number = slot as u32 - 1;
                if self.key_of(number) == Some(key) {
                    return Some(number);
                }
            }
            place = (place + 1) & mask;
        }
    }

    fn insert(&mut self, key: u128, hash: u64, secs: u32) -> u32 {
        self.sweep(secs);
        if self.len >= self.max {
            self.evict();
        }
        if (self.len + 1) * 4 > self.index.len() * 3 {
            self.grow();
        }
        let number = match self.free.pop() {
            Some(number) => number,
            None => {
                let number = self.used as u32;
                if self.used / PAGE_ENTRIES >= self.pages.len() {
                    self.pages.push(Page::new(PAGE_ENTRIES * stride(self.words)));
                }
                self.used += 1;
                number
            }
        };
        if let Some(entry) = self.words_of_mut(number) {
            entry.fill(0);
            for (place, word) in entry.iter_mut().take(4).enumerate() {
                *word = (key >> (32 * place)) as u32;
            }
            if let Some(last) = entry.get_mut(LAST) {
                *last = secs.max(1);
            }
        }
        self.place(hash, number);
        self.len += 1;
        number
    }

    /// Puts a number into the index, which has room.
    fn place(&mut self, hash: u64, number: u32) {
        let mask = self.index.len().saturating_sub(1);
        let mut place = hash as usize & mask;
        while let Some(slot) = self.index.get_mut(place) {
            if *slot == 0 {
                *slot = hash >> 32 << 32 | u64::from(number + 1);
                return;
            }
            place = (place + 1) & mask;
        }
    }

    fn grow(&mut self) {
        let slots = (self.index.len() * 2).max(MIN_SLOTS);
        self.index = vec![0; slots];
        for number in 0..self.used as u32 {
            if let Some(key) = self.key_of(number) {
                let hash = self.hash(key);
                self.place(hash, number);
            }
        }
    }

    /// Looks at the next few entries and gives up those that hold nothing.
    fn sweep(&mut self, now: u32) {
        let Some(life) = self.life_secs else { return };
        for _ in 0..SWEEP.min(self.used) {
            self.hand = if self.hand + 1 < self.used { self.hand + 1 } else { 0 };
            let number = self.hand as u32;
            let over = self.last_of(number).is_some_and(|last| {
                u64::from(last) + u64::from(life) + u64::from(MAX_DISORDER_SECS) < u64::from(now)
            });
            if over {
                self.remove(number);
            }
        }
    }

    /// Gives up the longest unseen of the next entries.
    fn evict(&mut self) {
        let mut oldest: Option<(u32, u32)> = None;
        for _ in 0..EVICT_AMONG.min(self.used) {
            self.hand = if self.hand + 1 < self.used { self.hand + 1 } else { 0 };
            let number = self.hand as u32;
            if let Some(last) = self.last_of(number)
                && oldest.is_none_or(|(then, _)| last < then)
            {
                oldest = Some((last, number));
            }
        }
        if let Some((_, number)) = oldest {
            self.remove(number);
            self.evicted += 1;
        }
    }

    /// Takes an entry out and closes the gap in the index.
    fn remove(&mut self, number: u32) {
        let Some(key) = self.key_of(number) else { return };
        let mask = self.index.len().saturating_sub(1);
        let mut place = self.hash(key) as usize & mask;
        while let Some(slot) = self.index.get(place) {
            if *slot == 0 {
                return;
            }
            if *slot as u32 == number + 1 {
                break;
            }
            place = (place + 1) & mask;
        }
        let mut gap = place;
        let mut next = (place + 1) & mask;
        while let Some(slot) = self.index.get(next).copied().filter(|slot| *slot != 0) {
            let home = self
                .key_of((slot as u32).wrapping_sub(1))
                .map_or(next, |key| self.hash(key) as usize & mask);
            // Whether `home` lies cyclically at or before the gap.
            if (next.wrapping_sub(home) & mask) >= (next.wrapping_sub(gap) & mask) {
                if let Some(to) = self.index.get_mut(gap) {
                    *to = slot;
                }
                gap = next;
            }
            next = (next + 1) & mask;
        }
        if let Some(slot) = self.index.get_mut(gap) {
            *slot = 0;
        }
        if let Some(last) = self.words_of_mut(number).and_then(|entry| entry.get_mut(LAST)) {
            *last = 0;
        }
        self.free.push(number);
        self.len -= 1;
    }

    #[inline]
    fn words_of(&self, number: u32) -> Option<&[u32]> {
        let page = self.pages.get(number as usize / PAGE_ENTRIES)?;
        let from = page.skip + number as usize % PAGE_ENTRIES * stride(self.words);
        page.words.get(from..from + HEAD_WORDS + self.words)
    }

    #[inline]
    fn words_of_mut(&mut self, number: u32) -> Option<&mut [u32]> {
        place(&mut self.pages, self.words, number)
    }

    /// The key of an entry that is in use.
    #[inline]
    fn key_of(&self, number: u32) -> Option<u128> {
        match self.words_of(number)? {
            [a, b, c, d, last, ..] if *last != 0 => Some(
                u128::from(*a) | u128::from(*b) << 32 | u128::from(*c) << 64 | u128::from(*d) << 96,
            ),
            _ => None,
        }
    }

    fn last_of(&self, number: u32) -> Option<u32> {
        self.words_of(number)?.get(LAST).copied().filter(|last| *last != 0)
    }

    /// Appends what it holds: how many entries, then their words.
    pub(super) fn save(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&(self.len as u64).to_le_bytes());
        for number in 0..self.used as u32 {
            if self.last_of(number).is_none() {
                continue;
            }
            for word in self.words_of(number).unwrap_or_default() {
                bytes.extend_from_slice(&word.to_le_bytes());
            }
        }
    }

    /// A table like this one that holds what [`Self::save`] wrote, which is
    /// taken off the bytes. `None` where they are too short or say nonsense.
    pub(super) fn restored(&self, bytes: &mut &[u8]) -> Option<Self> {
        let (count, rest) = bytes.split_first_chunk::<8>()?;
        let count = usize::try_from(u64::from_le_bytes(*count)).ok()?;
        let size = (HEAD_WORDS + self.words) * 4;
        let (entries, rest) = rest.split_at_checked(count.checked_mul(size)?)?;
        let options = EngineOptions { max_tracked: self.max, seed: self.seed };
        let mut table = Self::new(self.words, self.life_secs, options);
        for entry in entries.chunks_exact(size) {
            let words: Vec<u32> = entry
                .chunks_exact(4)
                .filter_map(|word| Some(u32::from_le_bytes(word.try_into().ok()?)))
                .collect();
            let [a, b, c, d, last, state @ ..] = words.as_slice() else { return None };
            let key =
                u128::from(*a) | u128::from(*b) << 32 | u128::from(*c) << 64 | u128::from(*d) << 96;
            let hash = table.hash(key);
            if *last == 0 || table.find(key, hash).is_some() {
                return None;
            }
            // The sweep of an old entry may not take the ones before it.
            let number = table.insert(key, hash, 1);
            let entry = table.words_of_mut(number)?;
            *entry.get_mut(LAST)? = *last;
            entry.get_mut(HEAD_WORDS..)?.copy_from_slice(state);
        }
        *bytes = rest;
        Some(table)
    }
}

/// The words of an entry.
#[inline]
fn place(pages: &mut [Page], words: usize, number: u32) -> Option<&mut [u32]> {
    let page = pages.get_mut(number as usize / PAGE_ENTRIES)?;
    let from = page.skip + number as usize % PAGE_ENTRIES * stride(words);
    page.words.get_mut(from..from + HEAD_WORDS + words)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn table(max: usize, life_secs: Option<u32>) -> Table {
        Table::new(1, life_secs, EngineOptions { max_tracked: max, ..EngineOptions::default() })
    }

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_millis(secs * 1000)
    }

    fn count(table: &mut Table, key: u128, secs: i64) -> u32 {
        let (state, _) = table.entry(&table.seek(key), at(secs));
        state[0] += 1;
        state[0]
    }

    proptest! {
        #[test]
        fn it_counts_like_a_map_until_entries_expire(
            steps in proptest::collection::vec((0u128..40, 0i64..30), 0..400)
        ) {
            let mut table = table(1000, Some(60));
            let mut model: HashMap<u128, (u32, i64)> = HashMap::new();
            let mut now = 1_000_000;
            for (key, pause) in steps {
                now += pause;
                let have = count(&mut table, key << 70 | key, now);
                let (counted, last) = model.entry(key).or_insert((0, now));
                // An entry that holds nothing any more may be gone or not.
                if now - *last <= 60 {
                    prop_assert!(have == *counted + 1, "{have} is not {counted} + 1");
                }
                (*counted, *last) = (have, now);
            }
            prop_assert!(table.len() <= 40);
        }

        #[test]
        fn entries_stay_findable_while_others_go(keys in proptest::collection::vec(any::<u128>(), 1..300)) {
            let mut table = table(64, None);
            for (turn, key) in keys.iter().enumerate() {
                count(&mut table, *key, turn as i64 + 1);
                prop_assert!(table.len() <= 64);
                let hash = table.hash(*key);
                prop_assert!(table.find(*key, hash).is_some());
            }
            for number in 0..table.used as u32 {
                if let Some(key) = table.key_of(number) {
                    prop_assert_eq!(table.find(key, table.hash(key)), Some(number));
                }
            }
        }
    }

    #[test]
    fn a_million_groups_cost_little_more_than_their_words() {
        let mut table = table(2_000_000, Some(60));
        for key in 0..1_000_000u128 {
            count(&mut table, key, 1000);
        }
        assert_eq!((table.len(), table.evicted()), (1_000_000, 0));
        let each = table.bytes() as f64 / 1e6;
        assert!(each < stride(1) as f64 * 4.0 + 24.0, "{each} bytes");
    }

    #[test]
    fn what_has_expired_makes_room() {
        let mut table = table(1_000_000, Some(60));
        for round in 0..20 {
            for key in 0..1000u128 {
                count(&mut table, round * 1000 + key, 10_000 * (round as i64 + 1));
            }
        }
        assert!(table.len() < 3000, "{} of 20000", table.len());
        assert_eq!(table.evicted(), 0);
    }

    #[test]
    fn old_lines_count_as_new_ones_and_a_clock_set_back_begins_anew() {
        let mut table = table(10, Some(3600));
        count(&mut table, 1, 10_000);
        let (_, when) = table.entry(&table.seek(1), at(9_800));
        assert_eq!(when, When { millis: 10_000_000, secs: 10_000 });
        assert_eq!(count(&mut table, 1, 9_700), 2);
        assert_eq!(count(&mut table, 1, 9_000), 1, "more than five minutes back");
        assert_eq!(table.resets(), 1);
        assert_eq!(count(&mut table, 1, 9_001), 2);
    }

    #[test]
    fn saved_state_comes_back_and_damaged_state_does_not() {
        let mut table = table(100, Some(3600));
        for key in 0..50 {
            count(&mut table, key, 10_000 + key as i64);
        }
        let mut bytes = Vec::new();
        table.save(&mut bytes);
        let mut rest = bytes.as_slice();
        let mut back = table.restored(&mut rest).unwrap();
        assert!(rest.is_empty());
        assert_eq!(back.len(), 50);
        assert_eq!(count(&mut back, 7, 10_100), 2);
        for cut in 0..bytes.len() {
            assert!(table.restored(&mut &bytes[..cut]).is_none(), "{cut}");
        }
        bytes[0] = 0xff;
        assert!(table.restored(&mut bytes.as_slice()).is_none());
    }
}
