//! Cut and corrupted files: what was acknowledged and is not hit itself is
//! delivered, what is damaged never is, and no number gets a second record.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests fail by panic"
)]

use crate::common;

use std::ops::Range;
use std::path::{Path, PathBuf};

use common::{block_on, copy_dir, quick_dir, segments, small_segments};
use palisade_spool::{Reader, Spool};
use proptest::prelude::*;

/// An acknowledged append and where its bytes are.
#[derive(Clone, Debug)]
struct Stored {
    first: u64,
    records: Vec<Vec<u8>>,
    segment: usize,
    bytes: Range<u64>,
}

/// A spool of several segments, half a frame of it committed.
struct Sample {
    dir: tempfile::TempDir,
    appends: Vec<Stored>,
    end: u64,
}

const COMMITTED: u64 = 2;

/// Far longer than any read takes.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(20);

fn sample() -> Sample {
    let dir = quick_dir();
    let mut appends = Vec::new();
    let mut end = 0;
    block_on(async {
        let (spool, mut reader) = Spool::open(dir.path(), small_segments()).unwrap();
        for (at, lengths) in [
            &[3, 0, 5][..],
            &[20],
            &[1, 1],
            &[40, 30],
            &[9],
            &[0],
            &[60, 2],
            &[7],
            &[8],
            &[150],
            &[4, 5],
        ]
        .into_iter()
        .cycle()
        .take(17)
        .enumerate()
        {
            let records: Vec<Vec<u8>> =
                lengths.iter().map(|length| vec![at as u8; *length]).collect();
            let first = spool.append(records.clone()).await.unwrap().0;
            end = first + records.len() as u64;
            let segment = segments(dir.path()).len() - 1;
            let to = segments(dir.path())[segment].metadata().unwrap().len();
            let from = to - 28 - records.iter().map(|record| 4 + record.len() as u64).sum::<u64>();
            appends.push(Stored { first, records, segment, bytes: from..to });
            // Early, so that the checkpoint knows nothing of the last numbers.
            if at == 2 {
                reader.commit(COMMITTED).await.unwrap();
            }
        }
    });
    let count = segments(dir.path()).len();
    assert!(count >= 3, "{count} segments");
    let last = appends.iter().filter(|append| append.segment == count - 1).count();
    assert!(last >= 2, "{last} frames in the last segment");
    Sample { dir, appends, end }
}

impl Sample {
    /// The numbered records of these appends that are not committed.
    fn records(&self, keep: impl Fn(&Stored) -> bool) -> Vec<(u64, Vec<u8>)> {
        self.numbered(keep).into_iter().filter(|(at, _)| *at >= COMMITTED).collect()
    }

    fn numbered(&self, keep: impl Fn(&Stored) -> bool) -> Vec<(u64, Vec<u8>)> {
        let kept = self.appends.iter().filter(|append| keep(append));
        kept.flat_map(|append| (append.first..).zip(append.records.clone())).collect()
    }

    fn copy(&self) -> (tempfile::TempDir, Vec<PathBuf>) {
        let copy = quick_dir();
        copy_dir(self.dir.path(), copy.path());
        let paths = segments(copy.path());
        (copy, paths)
    }
}

async fn read(reader: &mut Reader, count: usize) -> Vec<(u64, Vec<u8>)> {
    let mut all = Vec::new();
    while all.len() < count {
        // What is lost against expectation would be waited for, for ever.
        let next = tokio::time::timeout(PATIENCE, reader.next(5, 100)).await;
        let chunk = next.expect("records are missing").unwrap();
        let first = chunk.end - chunk.records.len() as u64;
        all.extend((first..).zip(chunk.records));
    }
    all
}

/// Opens, expects exactly these records, appends one more behind `floor`,
/// reads the rest and opens again. Returns the count of damaged places.
fn check(dir: &Path, expected: &[(u64, Vec<u8>)], floor: u64, context: &str) -> u64 {
    block_on(async {
        let (spool, mut reader) = Spool::open(dir, small_segments()).unwrap();
        let mut expected = expected.to_vec();
        assert_eq!(read(&mut reader, expected.len()).await, expected, "{context}");
        let position = spool.append(vec![b"new".to_vec()]).await.unwrap().0;
        assert!(position >= floor, "{context}: number {position} may have been used before");
        expected.push((position, b"new".to_vec()));
        reader.rewind();
        assert_eq!(read(&mut reader, expected.len()).await, expected, "{context}, with one more");
        let corrupt = spool.stats().corrupt_frames;
        drop((spool, reader));

        let (spool, mut reader) = Spool::open(dir, small_segments()).unwrap();
        assert_eq!(read(&mut reader, expected.len()).await, expected, "{context}, again");
        reader.commit(position + 1).await.unwrap();
        assert_eq!(spool.stats().pending_records, 0, "{context}");
        drop((spool, reader));

        let (spool, reader) = Spool::open(dir, small_segments()).unwrap();
        assert_eq!(reader.committed(), position + 1, "{context}");
        assert_eq!(spool.stats().pending_records, 0, "{context}");
        assert_eq!(spool.stats().corrupt_frames, corrupt, "{context}: counted once");
        corrupt
    })
}

#[test]
fn cut_at_every_byte_of_the_last_segment_loses_only_what_is_behind_it() {
    let sample = sample();
    let last = segments(sample.dir.path()).len() - 1;
    let length = segments(sample.dir.path())[last].metadata().unwrap().len();
    for cut in 0..=length {
        let (copy, paths) = sample.copy();
        std::fs::File::options().write(true).open(&paths[last]).unwrap().set_len(cut).unwrap();
        let whole = |append: &Stored| append.segment < last || append.bytes.end <= cut;
        let expected = sample.records(whole);
        let floor = expected.last().map_or(0, |(at, _)| at + 1);
        let corrupt = check(copy.path(), &expected, floor, &format!("cut at {cut}"));
        assert_eq!(corrupt, 0, "a torn tail is no damage");
    }
}

#[test]
fn damage_at_every_byte_of_every_segment_loses_only_the_append_it_hits() {
    let sample = sample();
    let paths = segments(sample.dir.path());
    for (segment, path) in paths.iter().enumerate() {
        let length = path.metadata().unwrap().len();
        for at in 0..length {
            for mask in [0x01, 0xff] {
                let (copy, paths) = sample.copy();
                let mut bytes = std::fs::read(&paths[segment]).unwrap();
                bytes[at as usize] ^= mask;
                std::fs::write(&paths[segment], &bytes).unwrap();
                let hit = |append: &Stored| append.segment == segment && append.bytes.contains(&at);
                let expected = sample.records(|append| !hit(append));
                let context = format!("byte {at} of segment {segment} with {mask:#x}");
                let corrupt = check(copy.path(), &expected, sample.end, &context);
                // Damage of the very last frame looks like a torn write.
                let seen = sample.appends.iter().any(|append| {
                    hit(append) && append.first + append.records.len() as u64 != sample.end
                });
                assert_eq!(corrupt, u64::from(seen), "{context}");
            }
        }
    }
}

#[test]
fn damage_at_every_byte_of_the_checkpoint_only_delivers_again() {
    let sample = sample();
    let length = std::fs::read(sample.dir.path().join("checkpoint")).unwrap().len();
    let all = sample.numbered(|_| true);
    for at in 0..length {
        let (copy, _) = sample.copy();
        let path = copy.path().join("checkpoint");
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[at] ^= 0x01;
        std::fs::write(&path, &bytes).unwrap();
        check(copy.path(), &all, sample.end, &format!("byte {at} of the checkpoint"));
    }
}

#[test]
fn lost_segment_in_the_middle_is_counted_and_stepped_over() {
    let sample = sample();
    let (copy, paths) = sample.copy();
    let expected = sample.records(|append| append.segment != 1);
    std::fs::write(&paths[1], b"").unwrap();
    assert_eq!(check(copy.path(), &expected, sample.end, "emptied"), 1);
    let (copy, paths) = sample.copy();
    std::fs::remove_file(&paths[1]).unwrap();
    assert_eq!(check(copy.path(), &expected, sample.end, "removed"), 1);
}

/// The first segment holds nothing but damage and the last one's header is
/// damaged, so that the next append begins a segment and frees the first.
#[test]
fn damage_at_the_committed_place_is_counted_though_its_segment_is_freed() {
    let sample = sample();
    let paths = segments(sample.dir.path());
    let last = paths.len() - 1;
    for (segment, from) in [(0, 24), (last, 0)] {
        let mut bytes = std::fs::read(&paths[segment]).unwrap();
        let to = if segment == last { 9 } else { bytes.len() };
        bytes[from..to].iter_mut().for_each(|byte| *byte ^= 0xff);
        std::fs::write(&paths[segment], bytes).unwrap();
    }
    let expected = sample.records(|append| append.segment != 0);
    let corrupt = check(sample.dir.path(), &expected, sample.end, "nothing left of the first");
    assert_eq!(corrupt, 1);
}

#[test]
fn segment_in_the_middle_cut_at_every_byte_is_counted_and_stepped_over() {
    let sample = sample();
    let length = segments(sample.dir.path())[1].metadata().unwrap().len();
    for cut in 0..length {
        let (copy, paths) = sample.copy();
        std::fs::File::options().write(true).open(&paths[1]).unwrap().set_len(cut).unwrap();
        let whole = |append: &Stored| append.segment != 1 || append.bytes.end <= cut;
        let context = format!("cut at {cut}");
        assert_eq!(check(copy.path(), &sample.records(whole), sample.end, &context), 1);
    }
}

#[test]
fn numbers_that_the_checkpoint_knows_are_not_given_out_again_after_a_lost_tail() {
    let dir = quick_dir();
    block_on(async {
        let (spool, mut reader) = Spool::open(dir.path(), small_segments()).unwrap();
        spool.append(vec![b"a".to_vec(); 5]).await.unwrap();
        reader.commit(3).await.unwrap();
        drop((spool, reader));
        let path = segments(dir.path()).remove(0);
        std::fs::File::options().write(true).open(&path).unwrap().set_len(40).unwrap();
        let (spool, mut reader) = Spool::open(dir.path(), small_segments()).unwrap();
        assert_eq!(spool.append(vec![b"b".to_vec()]).await.unwrap().0, 5);
        assert_eq!(read(&mut reader, 1).await, [(5, b"b".to_vec())]);
    });
}

#[test]
fn segment_taken_away_while_open_is_counted_and_stepped_over() {
    let sample = sample();
    block_on(async {
        let (spool, mut reader) = Spool::open(sample.dir.path(), small_segments()).unwrap();
        std::fs::remove_file(&segments(sample.dir.path())[1]).unwrap();
        let expected = sample.records(|append| append.segment != 1);
        assert_eq!(read(&mut reader, expected.len()).await, expected);
        assert_eq!(spool.stats().corrupt_frames, 1);
    });
}

/// A record that is itself a whole segment, marks and checksums and all.
#[test]
fn frame_inside_a_record_is_never_taken_for_one() {
    block_on(async {
        let dir = quick_dir();
        let (spool, reader) = Spool::open(dir.path(), small_segments()).unwrap();
        let inner = palisade_spool::fuzzing::segment_of(7, 0, &[vec![b"forged".to_vec(); 5]]);
        spool.append(vec![inner]).await.unwrap();
        spool.append(vec![b"good".to_vec()]).await.unwrap();
        drop((spool, reader));
        let path = segments(dir.path()).remove(0);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[80] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let (_spool, mut reader) = Spool::open(dir.path(), small_segments()).unwrap();
        assert_eq!(read(&mut reader, 1).await, [(1, b"good".to_vec())]);
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn overwritten_places_lose_only_the_appends_they_hit(
        places in prop::collection::vec(
            (any::<prop::sample::Index>(), any::<prop::sample::Index>(), 1_usize..60, any::<u8>()),
            1..5,
        ),
    ) {
        let sample = sample();
        let paths = segments(sample.dir.path());
        let originals: Vec<_> = paths.iter().map(|path| std::fs::read(path).unwrap()).collect();
        let mut damaged = originals.clone();
        for (segment, at, length, value) in places {
            let bytes = &mut damaged[segment.index(paths.len())];
            let at = at.index(bytes.len());
            for at in at..(at + length).min(bytes.len()) {
                bytes[at] = value ^ (at as u8).wrapping_mul(37);
            }
        }
        for (path, bytes) in paths.iter().zip(&damaged) {
            std::fs::write(path, bytes).unwrap();
        }
        // What was overwritten with the byte it was is not hit.
        let hit: Vec<bool> = sample.appends.iter().map(|append| {
            let place = append.bytes.start as usize..append.bytes.end as usize;
            originals[append.segment][place.clone()] != damaged[append.segment][place]
        }).collect();
        let hit = |append: &Stored| {
            hit[sample.appends.iter().position(|other| other.first == append.first).unwrap()]
        };
        check(sample.dir.path(), &sample.records(|append| !hit(append)), sample.end, "overwritten");
    }
}
