//! Pages of 2 MiB under large tables.
//!
//! A processor keeps the places of some thousand pages at hand. A table of 100 MiB
//! has 25,000 pages of 4 KiB, so nearly every look at a random place of it first
//! has to find out where the page is, in a virtual machine over two levels; of
//! pages of 2 MiB it has 50. Kernels give them to those who ask (`madvise(2)`,
//! `MADV_HUGEPAGE`), and not at all where the machine's owner forbids it.

/// Bytes of such a page, on x86-64 and on most of arm64.
pub const HUGE_PAGE_BYTES: usize = 2 * 1024 * 1024;

/// Asks for large pages under memory that is about to be used, as many as fit in
/// it whole. Changes nothing of what it holds, and nothing at all where the kernel
/// has none. Gives for how many bytes it was asked.
pub fn prefer_huge_pages<T>(memory: &mut [T]) -> usize {
    let range = memory.as_mut_ptr_range();
    let Some(from) = range.start.addr().checked_next_multiple_of(HUGE_PAGE_BYTES) else { return 0 };
    let to = range.end.addr() / HUGE_PAGE_BYTES * HUGE_PAGE_BYTES;
    let Some(bytes) = to.checked_sub(from).filter(|bytes| *bytes > 0) else { return 0 };
    if ask(range.start.map_addr(|_| from), bytes) { bytes } else { 0 }
}

#[allow(unsafe_code, reason = "there is no safe way to say this to the kernel")]
fn ask<T>(start: *mut T, bytes: usize) -> bool {
    // SAFETY: whole pages in memory that the caller borrows for writing. The advice
    // changes neither what they hold nor the rights on them (`madvise(2)`).
    unsafe { libc::madvise(start.cast(), bytes, libc::MADV_HUGEPAGE) == 0 }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests: a failure is a panic")]

    use super::*;

    /// `VmFlags` of the mapping that an address lies in.
    fn flags_at(address: usize) -> String {
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut inside = false;
        for line in maps.lines() {
            let range = line.split(' ').next().and_then(|range| range.split_once('-'));
            let number = |text| usize::from_str_radix(text, 16).ok();
            if let Some((from, to)) = range.and_then(|(from, to)| number(from).zip(number(to))) {
                inside = (from..to).contains(&address);
            }
            if let Some(flags) = line.strip_prefix("VmFlags:").filter(|_| inside) {
                return format!("{flags} ");
            }
        }
        panic!("no mapping at {address:x}");
    }

    #[test]
    fn what_is_asked_for_is_whole_pages_inside_and_keeps_what_it_holds() {
        let mut memory: Vec<u64> = (0..1_500_000).collect();
        let bytes = prefer_huge_pages(&mut memory);
        let inside = memory.as_ptr().addr() + HUGE_PAGE_BYTES;
        if std::path::Path::new("/sys/kernel/mm/transparent_hugepage").exists() {
            assert!((4..=5).contains(&(bytes / HUGE_PAGE_BYTES)), "{bytes}");
            assert!(flags_at(inside).contains(" hg "), "{}", flags_at(inside));
        } else {
            assert_eq!(bytes, 0);
        }
        assert!(memory.iter().copied().eq(0..1_500_000));
    }

    #[test]
    fn memory_without_a_whole_page_is_left_alone() {
        assert_eq!(prefer_huge_pages::<u8>(&mut []), 0);
        assert_eq!(prefer_huge_pages(&mut [0u8; 100]), 0);
        let mut memory = vec![0u32; HUGE_PAGE_BYTES / 4 - 1];
        assert_eq!(prefer_huge_pages(&mut memory), 0);
    }
}
