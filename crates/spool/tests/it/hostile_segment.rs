//! The decoder of segment files on bytes that nobody wrote, as the fuzz target
//! `spool_segment` does it, but few and always the same.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests fail by panic"
)]

use palisade_spool::fuzzing::{records_of, segment_of};

/// xorshift64*, for repeatable bytes.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn bytes(&mut self, bound: usize) -> Vec<u8> {
        (0..self.below(bound)).map(|_| self.next() as u8).collect()
    }
}

#[test]
fn random_bytes_are_no_records() {
    let mut random = Random(1);
    for _ in 0..2000 {
        let mut bytes = random.bytes(600);
        assert_eq!(records_of(&bytes), []);
        // With a good header in front the frames are still none.
        let mut segment = segment_of(random.next(), random.next(), &[]);
        segment.append(&mut bytes);
        assert_eq!(records_of(&segment), []);
    }
}

#[test]
fn only_what_was_written_is_ever_read_from_a_damaged_segment() {
    let mut random = Random(2);
    let mut lost = 0;
    for _ in 0..3000 {
        let appends: Vec<Vec<Vec<u8>>> = (0..random.below(6))
            .map(|_| (0..=random.below(3)).map(|_| random.bytes(50)).collect())
            .collect();
        let first = random.next() >> 1;
        let mut segment = segment_of(random.next(), first, &appends);
        let written: Vec<_> = (first..).zip(appends.concat()).collect();
        assert_eq!(records_of(&segment), written);
        for _ in 0..random.below(4) {
            let at = random.below(segment.len());
            match random.below(4) {
                0 => segment[at] = random.next() as u8,
                1 => segment.truncate(at.max(1)),
                2 => drop(segment.drain(at..segment.len().min(at + random.below(40)).max(at))),
                _ => {
                    let again = segment[at..].to_vec();
                    segment.extend(again);
                }
            }
            if segment.is_empty() {
                break;
            }
        }
        let read = records_of(&segment);
        assert!(read.is_sorted_by(|(a, _), (b, _)| a < b), "numbers go up");
        assert!(read.iter().all(|record| written.contains(record)));
        lost += usize::from(read.len() < written.len());
    }
    assert!(lost > 500, "{lost} segments lost records");
}

#[test]
fn next_frame_is_found_wherever_the_damaged_one_ends() {
    // Reading goes in windows of 64 KiB; the mark may lie across their border.
    for length in (1 << 16) - 80..(1 << 16) + 20 {
        let appends = [vec![vec![1; length]], vec![vec![2; 200_000]], vec![vec![3; 9]]];
        let mut segment = segment_of(0x0102_0304_0506_0708, 0, &appends);
        segment[45] ^= 1;
        let read = records_of(&segment);
        assert!(read == [(1, vec![2; 200_000]), (2, vec![3; 9])], "{length}");
    }
}
