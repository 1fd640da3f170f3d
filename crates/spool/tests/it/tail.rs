//! The tail: it sees what is durable, committed or not, and what is kept for it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panic")]

use crate::common;

use common::{block_on, quick_dir, segment_bytes, small_segments};
use palisade_spool::{AppendError, Config, Position, ReadError, Spool};

async fn append(spool: &Spool, from: u64, to: u64) {
    for at in from..to {
        spool.append(vec![at.to_le_bytes().to_vec()]).await.unwrap();
    }
}

/// The numbers up to the last durable record; each must be that of its record.
async fn numbers(tail: &mut palisade_spool::Tail, until: u64) -> Vec<u64> {
    let mut seen = Vec::new();
    while tail.position() < until {
        for (at, record) in tail.next(7, 1 << 20).await.unwrap() {
            assert_eq!(record, at.to_le_bytes());
            seen.push(at);
        }
    }
    seen
}

#[test]
fn a_tail_sees_what_is_durable_and_frees_nothing() {
    block_on(async {
        let dir = quick_dir();
        let (spool, mut reader) = Spool::open(dir.path(), small_segments()).unwrap();
        append(&spool, 0, 50).await;
        let mut tail = spool.tail(Position(0));
        assert_eq!(numbers(&mut tail, 50).await, (0..50).collect::<Vec<_>>());
        assert_eq!(spool.stats().pending_records, 50);
        let waiting = tokio::spawn(async move {
            let found = tail.next(10, 1000).await.unwrap();
            (tail, found)
        });
        tokio::task::yield_now().await;
        append(&spool, 50, 51).await;
        let (mut tail, found) = waiting.await.unwrap();
        assert_eq!(found[0].0, 50);
        assert_eq!(reader.next(100, 1 << 20).await.unwrap().end, 51, "the reader has its own way");
        spool.close().await;
        assert!(matches!(tail.next(1, 1).await, Err(ReadError::Closed)));
    });
}

#[test]
fn what_is_kept_outlives_commits_and_restarts_and_nothing_else_does() {
    block_on(async {
        let dir = quick_dir();
        let (spool, mut reader) = Spool::open(dir.path(), small_segments()).unwrap();
        spool.keep(Some(Position(20)));
        append(&spool, 0, 50).await;
        reader.commit(50).await.unwrap();
        assert!(spool.oldest() > Position(0) && spool.oldest() <= Position(20));
        let mut tail = spool.tail(Position(20));
        assert_eq!(numbers(&mut tail, 50).await, (20..50).collect::<Vec<_>>());
        drop((tail, reader));
        spool.close().await;
        drop(spool);
        let keep = Some(Position(20));
        let (spool, mut reader) = Spool::open_keeping(dir.path(), small_segments(), keep).unwrap();
        append(&spool, 50, 51).await;
        assert_eq!(reader.next(100, 1 << 20).await.unwrap().records.len(), 1, "committed is done");
        assert_eq!(numbers(&mut spool.tail(Position(20)), 51).await.len(), 31);
        spool.keep(None);
        reader.commit(51).await.unwrap();
        assert!(spool.oldest() > Position(40), "{:?}", spool.oldest());
        let mut late = spool.tail(Position(0));
        assert_eq!(numbers(&mut late, 51).await.first(), Some(&spool.oldest().0));
    });
}

#[test]
fn keeping_never_keeps_others_out() {
    block_on(async {
        let dir = quick_dir();
        let config = Config { max_bytes: 4096, ..small_segments() };
        let (spool, mut reader) = Spool::open(dir.path(), config).unwrap();
        spool.keep(Some(Position(0)));
        for at in 0..500_u64 {
            spool.append(vec![at.to_le_bytes().to_vec()]).await.unwrap();
            reader.commit(at + 1).await.unwrap();
        }
        assert!(segment_bytes(dir.path()) <= 4096);
        let seen = numbers(&mut spool.tail(Position(0)), 500).await;
        assert!(seen[0] > 0 && seen.last() == Some(&499), "the oldest have gone");
        assert!(seen.is_sorted() && seen.len() > 20, "{}", seen.len());
        // What is not committed is refused as before.
        let full = async {
            loop {
                if let Err(error) = spool.append(vec![vec![0; 100]]).await {
                    return error;
                }
            }
        };
        assert!(matches!(full.await, AppendError::Full { .. }));
    });
}
