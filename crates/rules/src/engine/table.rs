//! A table from groups to a few words of state each.
//!
//! Entries lie one after the other in pages, each twice as large as the one
//! before, so that growing copies nothing and any number of them is found by a few sums;
//! each entry fills lines of the processor's cache of its own, as few as it can. An
//! [`Index`] finds them: a look-up touches one line of it and the entry.
//! It has steps ([`Table::aim`], [`Table::seek`], [`Table::entry`]), each of which asks
//! for the memory of the next one and does not wait for it (prefetching): those who
//! have many groups to look up take the next step of one after the steps of some
//! others. Each new entry makes room of some that hold nothing any more: memory
//! follows what is live, and no call takes long.

use super::EngineOptions;
use super::index::Index;
use super::memory::Memory;
use super::state::When;
use palisade_event::Timestamp;

/// How much older than the newest sighting of its group one may be and still
/// count, in seconds.
pub const MAX_DISORDER_SECS: u32 = 300;

/// Entries of the first page, a power of two.
const FIRST_ENTRIES: u32 = 256;
/// Words of an entry before its state: the key, and when it was last seen.
const HEAD_WORDS: usize = 5;
/// Place of the second when an entry was last seen; in a free entry, 0.
const LAST: usize = 4;
/// Entries that are looked at for each new one.
const SWEEP: usize = 4;
/// Entries that are compared when one has to go.
const EVICT_AMONG: usize = 16;
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
    index: Index,
    /// The first has [`FIRST_ENTRIES`], each of the others twice as many as the one before.
    pages: Vec<Memory>,
    /// Words from one entry to the next.
    stride: usize,
    /// Entries that were ever used.
    used: usize,
    free: Vec<u32>,
    hand: usize,
    evicted: u64,
    resets: u64,
}

/// Where a group's entry may be.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sought {
    key: u128,
    hash: u64,
    /// The number of the entry, plus one, whose bits of the hash are the same; 0
    /// where there is none or it was not sought.
    guess: u32,
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
            index: Index::default(),
            pages: Vec::new(),
            stride: stride(words),
            used: 0,
            free: Vec::new(),
            hand: 0,
            evicted: 0,
            resets: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    pub(super) fn evicted(&self) -> u64 {
        self.evicted
    }

    pub(super) fn resets(&self) -> u64 {
        self.resets
    }

    /// Bytes that it holds.
    pub(super) fn bytes(&self) -> usize {
        let mut left = self.used * self.stride;
        let pages = self.pages.iter().map(|page| {
            let used = left.min(page.len());
            left -= used;
            page.bytes(used)
        });
        pages.sum::<usize>() + self.index.bytes() + self.free.capacity() * 4
    }

    /// The first step of a look-up: asks for the group's place in the index.
    #[inline]
    pub(super) fn aim(&self, key: u128) -> Sought {
        let hash = self.hash(key);
        self.index.ask(hash);
        Sought { key, hash, guess: 0 }
    }

    /// The second step, which may be left out: looks up in the index where the
    /// group may be, and asks for that.
    #[inline]
    pub(super) fn seek(&self, sought: &mut Sought) {
        if let Some(number) = self.index.guess(sought.hash) {
            sought.guess = number + 1;
            self.ask(number);
        }
    }

    /// Asks for the lines of the cache that an entry lies in.
    #[inline]
    fn ask(&self, number: u32) {
        let (page, within) = locate(number);
        if let Some(page) = self.pages.get(page) {
            let words = (0..HEAD_WORDS + self.words).step_by(LINE_WORDS);
            words.for_each(|word| page.ask(within * self.stride + word));
        }
    }

    /// The state of a group, zeros where it is new, and when a sighting at `at`
    /// counts.
    #[inline]
    pub(super) fn entry(&mut self, sought: &Sought, at: Timestamp) -> (&mut [u32], When) {
        let millis = at.as_millis();
        let secs = u32::try_from(millis.div_euclid(1000).max(1)).unwrap_or(u32::MAX);
        let mut when = When { millis, secs };
        let Sought { key, hash, guess } = *sought;
        // Entries may have gone since they were sought: the key decides.
        let guess = guess.wrapping_sub(1);
        let number = match self.key_of(guess) == Some(key) {
            true => guess,
            false => match self.find(key, hash) {
                Some(number) => number,
                None => self.insert(key, hash, secs),
            },
        };
        let entry = place(&mut self.pages, (self.stride, self.words), number);
        let Some((head, state)) = entry.and_then(<[u32]>::split_first_chunk_mut::<HEAD_WORDS>)
        else {
            return (&mut [], when);
        };
        let [.., last] = head;
        if *last > secs.saturating_add(MAX_DISORDER_SECS) {
            state.fill(0);
            self.resets += 1;
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
        self.index.find(hash, |number| self.key_of(number) == Some(key))
    }

    fn insert(&mut self, key: u128, hash: u64, secs: u32) -> u32 {
        self.sweep(secs);
        if self.len() >= self.max {
            self.evict();
        }
        let number = match self.free.pop() {
            Some(number) => number,
            None => {
                let number = self.used as u32;
                if locate(number).0 >= self.pages.len() {
                    let entries = (number + FIRST_ENTRIES) as usize;
                    self.pages.push(Memory::new(entries * self.stride));
                }
                self.used += 1;
                number
            }
        };
        if !self.index.has_room(number) {
            let all = 0..self.used as u32;
            let mut index = std::mem::take(&mut self.index);
            index.grow(all.filter_map(|one| Some((self.hash(self.key_of(one)?), one))));
            self.index = index;
        }
        self.index.insert(hash, number);
        if let Some(entry) = self.words_of_mut(number) {
            entry.fill(0);
            for (place, word) in entry.iter_mut().take(4).enumerate() {
                *word = (key >> (32 * place)) as u32;
            }
            if let Some(last) = entry.get_mut(LAST) {
                *last = secs.max(1);
            }
        }
        number
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
        let mut index = std::mem::take(&mut self.index);
        let was_there =
            index.remove(self.hash(key), number, |one| Some(self.hash(self.key_of(one)?)));
        self.index = index;
        if !was_there {
            return;
        }
        if let Some(last) = self.words_of_mut(number).and_then(|entry| entry.get_mut(LAST)) {
            *last = 0;
        }
        self.free.push(number);
    }

    #[inline]
    fn words_of(&self, number: u32) -> Option<&[u32]> {
        let (page, within) = locate(number);
        self.pages.get(page)?.some(within * self.stride, HEAD_WORDS + self.words)
    }

    #[inline]
    fn words_of_mut(&mut self, number: u32) -> Option<&mut [u32]> {
        place(&mut self.pages, (self.stride, self.words), number)
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
        bytes.extend_from_slice(&(self.len() as u64).to_le_bytes());
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

/// The page of an entry, and its place there.
#[inline]
fn locate(number: u32) -> (usize, usize) {
    // Of the number that no entry has no page has that many.
    let number = number.saturating_add(FIRST_ENTRIES);
    let size = number.ilog2();
    ((size - FIRST_ENTRIES.ilog2()) as usize, (number - (1 << size)) as usize)
}

/// The words of an entry.
#[inline]
fn place(pages: &mut [Memory], (stride, words): (usize, usize), number: u32) -> Option<&mut [u32]> {
    let (page, within) = locate(number);
    pages.get_mut(page)?.some_mut(within * stride, HEAD_WORDS + words)
}

#[cfg(test)]
mod tests;
