//! The bound in bytes: refusing, dropping, and what is counted.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests fail by panic"
)]

use crate::common;

use common::{block_on, config, drain, quick_dir, segment_bytes, segments, texts};
use palisade_spool::{AppendError, Position, Spool, WhenFull};

const MAX: u64 = 2000;

#[test]
fn full_spool_refuses_and_takes_again_after_a_commit() {
    block_on(async {
        let dir = quick_dir();
        let (spool, mut reader) =
            Spool::open(dir.path(), config(400, MAX, WhenFull::Refuse)).unwrap();
        let mut taken = 0_u64;
        let refused = loop {
            match spool.append(vec![vec![7; 50]]).await {
                Ok(position) => assert_eq!(position, Position(taken)),
                Err(error) => break error,
            }
            taken += 1;
            assert!(segment_bytes(dir.path()) <= MAX);
        };
        assert!(matches!(refused, AppendError::Full { max_bytes: MAX }), "{refused}");
        assert!(segment_bytes(dir.path()) > MAX / 2);
        // Refusing costs nothing: a smaller one may fit, none gets lost.
        assert_eq!(spool.stats().pending_records, taken);
        reader.commit(taken / 2).await.unwrap();
        assert_eq!(spool.append(vec![vec![8; 50]]).await.unwrap(), Position(taken));
        reader.commit(taken + 1).await.unwrap();
        // Even what is left in the last segment makes room when all is read.
        for at in 0..taken - 2 {
            assert_eq!(spool.append(vec![vec![9; 50]]).await.unwrap(), Position(taken + 1 + at));
        }
        assert!(segment_bytes(dir.path()) <= MAX);
        assert_eq!(drain(&spool, &mut reader).await.len() as u64, taken - 2);
        assert_eq!(spool.stats().dropped_records, 0);
    });
}

#[test]
fn read_spool_takes_an_append_as_large_as_itself() {
    block_on(async {
        let dir = quick_dir();
        let (spool, mut reader) =
            Spool::open(dir.path(), config(400, MAX, WhenFull::Refuse)).unwrap();
        let longest = MAX as usize - 3 * 40 - 28 - 4;
        for _ in 0..3 {
            spool.append(texts(&["a"])).await.unwrap();
            let chunk = reader.next(9, 9).await.unwrap();
            reader.commit(chunk.end).await.unwrap();
            spool.append(vec![vec![1; longest]]).await.unwrap();
            assert!(segment_bytes(dir.path()) <= MAX);
            let chunk = reader.next(9, 9).await.unwrap();
            assert_eq!(chunk.records, [vec![1; longest]]);
            reader.commit(chunk.end).await.unwrap();
        }
    });
}

#[test]
fn append_that_never_fits_is_told_so_at_once() {
    block_on(async {
        for when_full in [WhenFull::Refuse, WhenFull::DropOldest] {
            let dir = quick_dir();
            let (spool, mut reader) = Spool::open(dir.path(), config(400, MAX, when_full)).unwrap();
            spool.append(texts(&["a"])).await.unwrap();
            let error = spool.append(vec![vec![0; MAX as usize]]).await.unwrap_err();
            assert!(matches!(error, AppendError::TooLarge { max_bytes: 1880, .. }), "{error}");
            assert_eq!(drain(&spool, &mut reader).await, [(0, b"a".to_vec())]);
        }
    });
}

#[test]
fn full_spool_drops_its_oldest_segment_and_counts_it() {
    block_on(async {
        let dir = quick_dir();
        let settings = || config(400, MAX, WhenFull::DropOldest);
        let (spool, mut reader) = Spool::open(dir.path(), settings()).unwrap();
        for at in 0..1000_u64 {
            assert_eq!(spool.append(vec![at.to_be_bytes().to_vec(); 3]).await.unwrap().0, at * 3);
            assert!(segment_bytes(dir.path()) <= MAX);
        }
        let stats = spool.stats();
        assert_eq!(stats.pending_records + stats.dropped_records, 3000);
        assert_eq!(stats.dropped_bytes, stats.dropped_records * 8);
        assert!(stats.bytes > MAX / 2, "{stats:?}");
        // The counts are durable, without a word from the reader.
        spool.close().await;
        drop((spool, reader));
        (_, reader) = {
            let (spool, reader) = Spool::open(dir.path(), settings()).unwrap();
            let reopened = spool.stats();
            assert_eq!(reopened.dropped_records, stats.dropped_records);
            assert_eq!(reopened.dropped_bytes, stats.dropped_bytes);
            assert_eq!(reopened.pending_records, stats.pending_records);
            (spool, reader)
        };
        let mut next = stats.dropped_records;
        while next < 3000 {
            let chunk = reader.next(10, 1000).await.unwrap();
            for record in &chunk.records {
                assert_eq!(*record, (next / 3).to_be_bytes());
                next += 1;
            }
        }
    });
}

#[test]
fn committed_records_are_not_counted_as_dropped() {
    block_on(async {
        let dir = quick_dir();
        let (spool, mut reader) =
            Spool::open(dir.path(), config(1 << 20, MAX, WhenFull::DropOldest)).unwrap();
        // Ten fill most of the first segment; six are done with.
        spool.append(vec![vec![1; 10]; 10]).await.unwrap();
        reader.commit(6).await.unwrap();
        while segments(dir.path())[0].ends_with("00000000000000000000.segment") {
            spool.append(vec![vec![2; 100]]).await.unwrap();
        }
        let stats = spool.stats();
        let others = stats.dropped_records - 4;
        assert_eq!(stats.dropped_bytes, 40 + others * 100);
        assert_eq!(reader.next(1, 1).await.unwrap().end, 10 + others + 1);
    });
}

#[test]
fn one_large_append_may_drop_even_the_segment_being_written() {
    block_on(async {
        let dir = quick_dir();
        let (spool, mut reader) =
            Spool::open(dir.path(), config(1 << 20, MAX, WhenFull::DropOldest)).unwrap();
        spool.append(texts(&["small"])).await.unwrap();
        // Read and in memory, but not handed out: dropped all the same.
        spool.append(texts(&["other"])).await.unwrap();
        assert_eq!(reader.next(1, 1000).await.unwrap().records, texts(&["small"]));
        spool.append(vec![vec![3; 1800]]).await.unwrap();
        assert!(segment_bytes(dir.path()) <= MAX);
        assert_eq!(spool.stats().dropped_records, 2);
        assert_eq!(spool.stats().dropped_bytes, 10);
        let chunk = reader.next(9, 9).await.unwrap();
        assert_eq!((chunk.records, chunk.end), (vec![vec![3; 1800]], 3));
    });
}

#[test]
fn smaller_bound_after_reopening_is_kept_from_the_next_append_on() {
    block_on(async {
        let dir = quick_dir();
        let (spool, reader) =
            Spool::open(dir.path(), config(400, 4 * MAX, WhenFull::DropOldest)).unwrap();
        for _ in 0..60 {
            spool.append(vec![vec![1; 80]]).await.unwrap();
        }
        drop((spool, reader));
        let (spool, _reader) =
            Spool::open(dir.path(), config(400, MAX, WhenFull::DropOldest)).unwrap();
        assert_eq!(spool.stats().pending_records, 60);
        spool.append(vec![vec![1; 80]]).await.unwrap();
        assert!(segment_bytes(dir.path()) <= MAX);
        let stats = spool.stats();
        assert_eq!(stats.pending_records + stats.dropped_records, 61);
    });
}
