//! Memory of tables: zeros, where they lie in it, and what of it is used.
//!
//! Small memory begins with a line of the processor's cache. Large memory begins
//! with a page of 2 MiB and asks for such pages: looks at random places of it would
//! otherwise wait for the place of the page more often than for what is on it. The
//! kernel gives memory when it is first written, so what is not used yet costs
//! nothing.

use palisade_resident::{HUGE_PAGE_BYTES, prefer_huge_pages};
use prefetch_index::prefetch_index;

/// Bytes of a line of the processor's cache.
const LINE_BYTES: usize = 64;
/// Memory from this size on lies on large pages.
const LARGE_BYTES: usize = 2 * HUGE_PAGE_BYTES;
/// Bytes that the kernel gives at least.
const PAGE_BYTES: usize = 4096;

/// A fixed number of numbers, zero at first.
#[derive(Debug, Default)]
pub(super) struct Memory {
    cells: Box<[u32]>,
    /// Cells before the first one that is used.
    skip: usize,
    length: usize,
}

impl Memory {
    pub(super) fn new(length: usize) -> Self {
        let bytes = length * size_of::<u32>();
        let begin = if is_large(bytes) { HUGE_PAGE_BYTES } else { LINE_BYTES };
        let mut cells = vec![0; length + begin / size_of::<u32>()].into_boxed_slice();
        let skip = cells.as_ptr().addr().wrapping_neg() % begin / size_of::<u32>();
        if is_large(bytes)
            && let Some(used) = cells.get_mut(skip..skip + length)
        {
            // Where the kernel has none it is the same, but slower.
            prefer_huge_pages(used);
        }
        Self { cells, skip, length }
    }

    pub(super) fn len(&self) -> usize {
        self.length
    }

    /// One of them.
    #[inline]
    pub(super) fn at(&self, place: usize) -> Option<&u32> {
        self.cells.get(self.skip + place)
    }

    #[inline]
    pub(super) fn at_mut(&mut self, place: usize) -> Option<&mut u32> {
        self.cells.get_mut(self.skip + place)
    }

    /// Asks for one of them, which need not be there, without waiting for it.
    #[inline]
    pub(super) fn ask(&self, place: usize) {
        prefetch_index(&*self.cells, self.skip.wrapping_add(place));
    }

    /// Some of them, one after the other.
    #[inline]
    pub(super) fn some(&self, from: usize, length: usize) -> Option<&[u32]> {
        let from = self.skip + from;
        self.cells.get(from..from + length)
    }

    #[inline]
    pub(super) fn some_mut(&mut self, from: usize, length: usize) -> Option<&mut [u32]> {
        let from = self.skip + from;
        self.cells.get_mut(from..from + length)
    }

    /// Bytes that the kernel gives where so many of the first are used.
    pub(super) fn bytes(&self, used: usize) -> usize {
        let all = self.length * size_of::<u32>();
        let page = if is_large(all) { HUGE_PAGE_BYTES } else { PAGE_BYTES };
        (used * size_of::<u32>()).next_multiple_of(page).min(all + LINE_BYTES)
    }
}

impl Clone for Memory {
    fn clone(&self) -> Self {
        let mut made = Self::new(self.length);
        let (from, to) = (self.some(0, self.length), made.some_mut(0, self.length));
        if let (Some(from), Some(to)) = (from, to) {
            // What is zero stays unwritten, and so costs nothing.
            let differ = to.iter_mut().zip(from).filter(|(to, from)| to != from);
            differ.for_each(|(to, from)| *to = *from);
        }
        made
    }
}

const fn is_large(bytes: usize) -> bool {
    bytes >= LARGE_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_begins_where_lines_and_large_pages_do() {
        for length in [1, 100, LARGE_BYTES / 4 - 1] {
            let memory = Memory::new(length);
            assert_eq!(std::ptr::from_ref(memory.at(0).unwrap()).addr() % LINE_BYTES, 0);
            assert_eq!(memory.some(0, length).unwrap().len(), length);
        }
        let mut memory = Memory::new(LARGE_BYTES / 4);
        assert_eq!(std::ptr::from_ref(memory.at(0).unwrap()).addr() % HUGE_PAGE_BYTES, 0);
        *memory.at_mut(LARGE_BYTES / 4 - 1).unwrap() = 7;
        let copy = memory.clone();
        assert_eq!(copy.some(LARGE_BYTES / 4 - 2, 2).unwrap(), [0, 7]);
    }

    #[test]
    fn what_is_not_used_counts_for_nothing() {
        let memory = Memory::new(LARGE_BYTES);
        assert_eq!(memory.bytes(1), HUGE_PAGE_BYTES);
        assert_eq!(memory.bytes(HUGE_PAGE_BYTES / 4 + 1), 2 * HUGE_PAGE_BYTES);
        let memory = Memory::new(10_000);
        assert_eq!((memory.bytes(1), memory.bytes(10_000)), (4096, 40_064));
    }
}
