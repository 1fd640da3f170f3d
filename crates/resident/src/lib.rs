//! Gives back memory that holds code which is not needed any more.
//!
//! A start runs much code once: arguments, settings, certificates, the first
//! looks at everything. The kernel maps it in pieces of 64 KiB, whatever of them is
//! used, and leaves them mapped while nobody needs the memory. On a small machine
//! that is most of what an idle process has resident. What is given back stays in
//! the page cache, and a page that is needed again is mapped again in about a
//! microsecond (`madvise(2)`, `MADV_DONTNEED`).

use std::io;
use std::ops::Range;

/// Where the code of this process is mapped: the program's and that of its
/// libraries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Code(Vec<Range<usize>>);

impl Code {
    /// Looks for it. Reads `/proc/self/maps`, so before a process is confined.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn find() -> io::Result<Self> {
        Ok(Self::of(&std::fs::read_to_string("/proc/self/maps")?))
    }

    /// The mappings of `proc_pid_maps(5)` that hold code of files.
    fn of(maps: &str) -> Self {
        let code = maps.lines().filter_map(|line| {
            let mut fields = line.split_ascii_whitespace();
            let (range, rights) = (fields.next()?, fields.next()?);
            // Not what the kernel maps by itself: that has no file.
            let inode = fields.nth(2)?;
            if rights != "r-xp" || inode == "0" {
                return None;
            }
            let (from, to) = range.split_once('-')?;
            let address = |text| usize::from_str_radix(text, 16).ok();
            Some(address(from)?..address(to)?)
        });
        Self(code.collect())
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

#[allow(unsafe_code, reason = "there is no safe way to say this to the kernel")]
fn forget(range: &Range<usize>) -> io::Result<()> {
    let start = std::ptr::with_exposed_provenance_mut(range.start);
    // SAFETY: the range is a private mapping of a file without the right to write
    // (`r-xp`), so its pages are what the file holds: code has no relocations, and
    // nobody patches it. Dropping them loses nothing; the next access reads the same
    // bytes. It stays that mapping, as this program unloads no library.
    let done = unsafe { libc::madvise(start, range.len(), libc::MADV_DONTNEED) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests: a failure is a panic")]

    use super::*;

    #[test]
    fn only_code_of_files_is_taken() {
        let maps = "\
55d0c0000000-55d0c0100000 r--p 00000000 fe:00 42                         /usr/bin/palisade
55d0c0100000-55d0c0200000 r-xp 00100000 fe:00 42                         /usr/bin/pali sade
55d0c0200000-55d0c0210000 rw-p 00200000 fe:00 42                         /usr/bin/palisade
55d0c1000000-55d0c1100000 rwxp 00000000 fe:00 43                         /tmp/patched
7f0000000000-7f0000001000 r-xp 00000000 00:00 0
7ffd00000000-7ffd00002000 r-xp 00000000 00:00 0                          [vdso]
7f0000100000-7f0000200000 r-xp 00026000 fe:00 44                         /lib/libc.so.6
nonsense
";
        let found = Code::of(maps);
        let wanted = [0x55d0_c010_0000..0x55d0_c020_0000, 0x7f00_0010_0000..0x7f00_0020_0000];
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
