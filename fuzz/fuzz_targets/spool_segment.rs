//! Arbitrary bytes as a segment file of the spool, and arbitrary edits of a
//! well-formed one: no panic, numbers go up, nothing is read that was not written.
#![no_main]

use libfuzzer_sys::fuzz_target;
use palisade_spool::fuzzing::{records_of, segment_of};

fuzz_target!(|data: &[u8]| {
    let read = records_of(data);
    assert!(read.is_sorted_by(|(a, _), (b, _)| a < b));

    // The first half are records, cut where a byte is below 8; the second half
    // are edits of the segment they make: two bytes of place, one of value.
    let (records, edits) = data.split_at(data.len() / 2);
    let appends: Vec<Vec<Vec<u8>>> = records
        .chunks(64)
        .map(|append| append.split(|b| *b < 8).map(<[u8]>::to_vec).collect())
        .collect();
    let mut segment = segment_of(0x005e_ed0f_a115_e65a, 7, &appends);
    let written: Vec<_> = (7..).zip(appends.concat()).collect();
    assert_eq!(records_of(&segment), written);
    for edit in edits.chunks_exact(3) {
        let at = usize::from(u16::from_le_bytes([edit[0], edit[1]])) % segment.len();
        segment[at] = edit[2];
    }
    let read = records_of(&segment);
    assert!(read.is_sorted_by(|(a, _), (b, _)| a < b));
    for record in &read {
        assert!(written.contains(record));
    }
});
