//! Reads what is still on disk of a spool, done with or not, before it is
//! opened: the recent past for whoever rebuilds something from it.

use std::fs::File;
use std::io;
use std::path::Path;

use crate::scan::{Scanner, Step, fill};
use crate::segment::{self, HEADER_BYTES, Header};

/// Calls `each` with every whole record on disk and its number, in order. Also
/// records that the reader has committed, as far as their segment is still
/// there. Damage is stepped over. The spool must not be open.
///
/// # Errors
/// A file cannot be read.
pub fn replay(dir: &Path, mut each: impl FnMut(u64, &[u8])) -> io::Result<()> {
    for first in segment::firsts(dir)? {
        let path = segment::path(dir, first);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let bytes = file.metadata()?.len();
        let mut header = [0; HEADER_BYTES];
        let read = fill(&file, &mut header, 0)?;
        let Some(header) = header.get(..read).and_then(Header::decode) else { continue };
        let mut scanner = Scanner::new(file, header.mark, first);
        loop {
            match scanner.step(bytes, u64::MAX)? {
                Step::Frame { first, records, .. } => {
                    for (at, record) in (first..).zip(records) {
                        each(at, record);
                    }
                }
                Step::Damage { frame_follows: true, .. } => {}
                Step::Damage { frame_follows: false, .. } | Step::End => break,
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_records_come_in_order_past_damage() {
        let dir = tempfile::tempdir().unwrap();
        let append = |text: &str| vec![text.as_bytes().to_vec()];
        let appends = [append("one"), append("two"), append("three")];
        let mut bytes = crate::fuzzing::segment_of(7, 4, &appends);
        let path = segment::path(dir.path(), 4);
        std::fs::write(&path, &bytes).unwrap();
        let seen = || {
            let mut seen = Vec::new();
            replay(dir.path(), |at, record| {
                seen.push((at, String::from_utf8(record.to_vec()).unwrap()));
            })
            .unwrap();
            seen
        };
        assert_eq!(seen(), [(4, "one".into()), (5, "two".into()), (6, "three".into())]);
        bytes[HEADER_BYTES + 30] ^= 1;
        bytes.truncate(bytes.len() - 1);
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(seen(), [(5, "two".into())]);
        assert_eq!(replay(&dir.path().join("none"), |_, _| panic!()).ok(), Some(()));
    }
}
