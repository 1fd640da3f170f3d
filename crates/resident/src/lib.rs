//! What is said to the kernel about memory: which code and constants are not needed
//! any more, and which tables ([`prefer_huge_pages`]) are large.
//!
//! A start runs much code once: arguments, settings, certificates, the first
//! looks at everything. The kernel maps it in pieces of 64 KiB, whatever of them is
//! used, and leaves them mapped while nobody needs the memory. On a small machine
//! that is most of what an idle process has resident. What is given back stays in
//! the page cache, and a page that is needed again is mapped again in about a
//! microsecond (`madvise(2)`, `MADV_DONTNEED`).

mod huge;

use std::io;
use std::ops::Range;

pub use huge::{HUGE_PAGE_BYTES, prefer_huge_pages};

/// Where the code and the constants of this process are mapped: the program's and
/// those of its libraries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Code(Vec<Range<usize>>);

impl Code {
    /// Looks for them. Reads `/proc/self/smaps`, so before a process is confined.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn find() -> io::Result<Self> {
        Ok(Self::of(&std::fs::read_to_string("/proc/self/smaps")?))
    }

    /// The mappings of `proc_pid_smaps(5)` that hold what their files hold.
    fn of(smaps: &str) -> Self {
        let mut found: Vec<Mapping<'_>> = Vec::new();
        let mut last = None;
        for line in smaps.lines() {
            if let Some(anonymous) = line.strip_prefix("Anonymous:") {
                // Constants with pointers were mended when the program was loaded
                // and are not what the file holds.
                let is_file = anonymous.trim() == "0 kB";
                found.extend(last.take().filter(|_| is_file));
            } else if let Some(mapping) = Mapping::of(line) {
                last = Some(mapping).filter(|it| it.inode != "0" && it.is_constant());
            }
        }
        // A file that is only read may be unmapped, and something else be there then.
        let is_program = |one: &&Mapping<'_>| {
            found
                .iter()
                .any(|it| it.rights == CODE && it.device == one.device && it.inode == one.inode)
        };
        Self(found.iter().filter(is_program).map(|one| one.range.clone()).collect())
    }

    /// Gives back what of it is in memory; gives how many bytes are mapped in all.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn give_back(&self) -> io::Result<usize> {
        let mut bytes = 0;
        for range in &self.0 {
            forget(range)?;
            bytes += range.len();
        }
        Ok(bytes)
    }
}

/// Code may be read and run, not written.
const CODE: &str = "r-xp";

/// A line that begins a mapping.
struct Mapping<'a> {
    range: Range<usize>,
    rights: &'a str,
    device: &'a str,
    inode: &'a str,
}

impl<'a> Mapping<'a> {
    fn of(line: &'a str) -> Option<Self> {
        let mut fields = line.split_ascii_whitespace();
        let (range, rights) = (fields.next()?, fields.next()?);
        let (device, inode) = (fields.nth(1)?, fields.next()?);
        let (from, to) = range.split_once('-')?;
        let address = |text| usize::from_str_radix(text, 16).ok();
        Some(Self { range: address(from)?..address(to)?, rights, device, inode })
    }

    fn is_constant(&self) -> bool {
        matches!(self.rights, CODE | "r--p")
    }
}

#[allow(unsafe_code, reason = "there is no safe way to say this to the kernel")]
fn forget(range: &Range<usize>) -> io::Result<()> {
    let start = std::ptr::with_exposed_provenance_mut(range.start);
    // SAFETY: the range is a private mapping of a file without the right to write
    // (`r-xp`, `r--p`), and none of its pages was changed (`Anonymous: 0 kB`) when
    // all relocations were done, before `main`. So its pages are what the file holds,
    // and nobody can change them since. Dropping them loses nothing; the next access
    // reads the same bytes. It stays that mapping: it belongs to a program or library
    // with code, and this program unloads no library.
    let done = unsafe { libc::madvise(start, range.len(), libc::MADV_DONTNEED) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests: a failure is a panic")]

    use super::*;

    #[test]
    fn only_what_is_as_its_file_says_is_taken() {
        let smaps = "\
55d0c0000000-55d0c0100000 r--p 00000000 fe:00 42                         /usr/bin/palisade
Rss:                 100 kB
Anonymous:             0 kB
VmFlags: rd mr mw me
55d0c0100000-55d0c0200000 r-xp 00100000 fe:00 42                         /usr/bin/pali sade
Anonymous:             0 kB
55d0c0200000-55d0c0210000 rw-p 00200000 fe:00 42                         /usr/bin/palisade
Anonymous:             0 kB
55d0c0210000-55d0c0220000 r--p 00210000 fe:00 42                         /usr/bin/palisade
Anonymous:            64 kB
55d0c1000000-55d0c1100000 rwxp 00000000 fe:00 43                         /tmp/patched
Anonymous:             0 kB
55d0c1100000-55d0c1200000 r-xp 00100000 fe:00 43                         /tmp/patched
Anonymous:             4 kB
7f0000000000-7f0000001000 r-xp 00000000 00:00 0
Anonymous:             0 kB
7ffd00000000-7ffd00002000 r-xp 00000000 00:00 0                          [vdso]
Anonymous:             0 kB
7f0000100000-7f0000200000 r-xp 00026000 fe:00 44                         /lib/libc.so.6
Rss:                 100 kB
7f0000180000-7f0000190000 r--p 00000000 fe:00 46                         /usr/share/words
Anonymous:             0 kB
7f0000200000-7f0000300000 r-xp 00026000 fe:00 45                         /lib/libm.so.6
Anonymous:             0 kB
nonsense
";
        let found = Code::of(smaps);
        let wanted = [
            0x55d0_c000_0000..0x55d0_c010_0000,
            0x55d0_c010_0000..0x55d0_c020_0000,
            0x7f00_0020_0000..0x7f00_0030_0000,
        ];
        assert_eq!(found.0, wanted);
    }

    /// KiB of files in memory.
    fn of_files() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("RssFile:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    #[test]
    fn what_is_given_back_is_there_again_when_it_is_needed() {
        let code = Code::find().unwrap();
        for _ in 0..100 {
            let before = of_files();
            assert!(code.give_back().unwrap() > 64 * 1024);
            let after = of_files();
            assert!(after < before, "{before} KiB, then {after} KiB");
            // All of this is code that was given back.
            let mut words: Vec<String> = (0..1000).map(|n| format!("{:x}", n * 7919)).collect();
            words.sort();
            assert_eq!(words.first().map(String::as_str), Some("0"));
            let threads: Vec<_> =
                (0..4).map(|n| std::thread::spawn(move || n.to_string())).collect();
            let said: Vec<String> = threads.into_iter().map(|one| one.join().unwrap()).collect();
            assert_eq!(said.concat(), "0123");
        }
    }
}
