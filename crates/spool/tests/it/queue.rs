//! The spool as a queue: order, positions, commits, waiting, closing.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests fail by panic"
)]

use crate::common;

use std::task::Poll;

use common::{block_on, drain, quick_dir, segment_bytes, segments, small_segments, texts};
use palisade_spool::{AppendError, OpenError, Position, ReadError, Spool};

#[test]
fn records_come_back_in_order_with_their_positions() {
    block_on(async {
        let dir = quick_dir();
        let (spool, mut reader) = Spool::open(dir.path(), small_segments()).unwrap();
        assert_eq!(spool.append(texts(&["a", "b"])).await.unwrap(), Position(0));
        assert_eq!(spool.append(texts(&[""])).await.unwrap(), Position(2));
        assert_eq!(spool.append(texts(&["c"])).await.unwrap(), Position(3));
        let chunk = reader.next(10, 1000).await.unwrap();
        assert_eq!((chunk.records, chunk.end), (texts(&["a", "b", "", "c"]), 4));
        let stats = spool.stats();
        assert_eq!((stats.pending_records, stats.appended_records), (4, 4));
        reader.commit(4).await.unwrap();
        assert_eq!(spool.stats().pending_records, 0);
    });
}

#[test]
fn empty_append_writes_nothing() {
    block_on(async {
        let dir = quick_dir();
        let (spool, _reader) = Spool::open(dir.path(), small_segments()).unwrap();
        spool.append(texts(&["a"])).await.unwrap();
        let bytes = segment_bytes(dir.path());
        assert_eq!(spool.append(Vec::new()).await.unwrap(), Position(1));
        assert_eq!(segment_bytes(dir.path()), bytes);
    });
}

#[test]
fn chunks_keep_both_bounds_but_hold_at_least_one_record() {
    block_on(async {
        let dir = quick_dir();
        let (spool, mut reader) = Spool::open(dir.path(), small_segments()).unwrap();
        spool.append(texts(&["12345", "12345", "12345", "12345"])).await.unwrap();
        assert_eq!(reader.next(3, 10).await.unwrap().end, 2);
        assert_eq!(reader.next(1, 1000).await.unwrap().end, 3);
        assert_eq!(reader.next(0, 0).await.unwrap().end, 4);
    });
}

#[test]
fn chunk_fills_up_from_many_appends_and_segments() {
    block_on(async {
        let dir = quick_dir();
        let (spool, mut reader) = Spool::open(dir.path(), small_segments()).unwrap();
        for at in 0..100_u64 {
            spool.append(vec![at.to_le_bytes().to_vec()]).await.unwrap();
        }
        assert!(segments(dir.path()).len() > 10);
        let chunk = reader.next(90, 1 << 20).await.unwrap();
        assert_eq!((chunk.records.len(), chunk.end), (90, 90));
    });
}

#[test]
fn reader_waits_for_the_next_append() {
    block_on(async {
        let dir = quick_dir();
        let (spool, mut reader) = Spool::open(dir.path(), small_segments()).unwrap();
        let reading = tokio::spawn(async move { reader.next(10, 1000).await.unwrap() });
        tokio::task::yield_now().await;
        assert!(!reading.is_finished());
        spool.append(texts(&["a"])).await.unwrap();
        assert_eq!(reading.await.unwrap().records, texts(&["a"]));
    });
}

#[test]
fn abandoned_read_loses_nothing() {
    block_on(async {
        let dir = quick_dir();
        let (spool, mut reader) = Spool::open(dir.path(), small_segments()).unwrap();
        for at in 0..200_u64 {
            spool.append(vec![at.to_le_bytes().to_vec(), vec![1]]).await.unwrap();
        }
        let mut all = Vec::new();
        while all.len() < 400 {
            // Poll once, drop the call, and only then read for good.
            let mut polled = Box::pin(reader.next(3, 1000));
            let ready = std::future::poll_fn(|context| Poll::Ready(polled.as_mut().poll(context)));
            let ready = ready.await;
            drop(polled);
            let chunk = match ready {
                Poll::Ready(chunk) => chunk.unwrap(),
                Poll::Pending => reader.next(2, 1000).await.unwrap(),
            };
            assert_eq!(chunk.end as usize, all.len() + chunk.records.len());
            all.extend(chunk.records);
        }
        let wanted: Vec<_> =
            (0..200_u64).flat_map(|at| [at.to_le_bytes().to_vec(), vec![1]]).collect();
        assert_eq!(all, wanted);
    });
}

#[test]
fn rewind_goes_back_to_the_committed_position() {
    block_on(async {
        let dir = quick_dir();
        let (spool, mut reader) = Spool::open(dir.path(), small_segments()).unwrap();
        for at in 0..60_u8 {
            spool.append(vec![vec![at]]).await.unwrap();
        }
        let chunk = reader.next(20, 1000).await.unwrap();
        reader.commit(chunk.end).await.unwrap();
        reader.next(20, 1000).await.unwrap();
        reader.rewind();
        assert_eq!(reader.next(2, 1000).await.unwrap().records, [[20], [21]]);
        assert_eq!(reader.committed(), 20);
    });
}

#[test]
fn commit_inside_an_append_is_kept_over_reopening() {
    block_on(async {
        let dir = quick_dir();
        let (spool, mut reader) = Spool::open(dir.path(), small_segments()).unwrap();
        spool.append(texts(&["a", "b", "c"])).await.unwrap();
        reader.commit(2).await.unwrap();
        spool.close().await;
        drop((spool, reader));
        let (spool, mut reader) = Spool::open(dir.path(), small_segments()).unwrap();
        assert_eq!(spool.stats().pending_records, 1);
        assert_eq!(spool.stats().appended_records, 3);
        assert_eq!(drain(&spool, &mut reader).await, [(2, b"c".to_vec())]);
    });
}

#[test]
fn commit_ahead_of_reading_skips() {
    block_on(async {
        let dir = quick_dir();
        let (spool, mut reader) = Spool::open(dir.path(), small_segments()).unwrap();
        spool.append(texts(&["a", "b", "c", "d"])).await.unwrap();
        assert_eq!(reader.next(1, 100).await.unwrap().records, texts(&["a"]));
        reader.commit(3).await.unwrap();
        assert_eq!(reader.next(9, 100).await.unwrap().records, texts(&["d"]));
        // Beyond the end there is nothing to commit.
        reader.commit(1000).await.unwrap();
        assert_eq!(reader.committed(), 4);
        assert_eq!(spool.append(texts(&["e"])).await.unwrap(), Position(4));
        assert_eq!(reader.next(9, 100).await.unwrap().records, texts(&["e"]));
    });
}

#[test]
fn commit_frees_whole_segments_and_numbers_go_on() {
    block_on(async {
        let dir = quick_dir();
        let (spool, mut reader) = Spool::open(dir.path(), small_segments()).unwrap();
        for at in 0..100_u64 {
            spool.append(vec![at.to_le_bytes().to_vec()]).await.unwrap();
        }
        let before = segments(dir.path()).len();
        reader.commit(50).await.unwrap();
        let half = segments(dir.path()).len();
        assert!(half < before && half > 1, "{before} {half}");
        reader.commit(100).await.unwrap();
        assert_eq!(segments(dir.path()).len(), 1);
        assert_eq!(spool.stats().bytes, segment_bytes(dir.path()));
        drop((spool, reader));
        let (spool, reader) = Spool::open(dir.path(), small_segments()).unwrap();
        assert_eq!(reader.committed(), 100);
        assert_eq!(spool.append(texts(&["x"])).await.unwrap(), Position(100));
    });
}

#[test]
fn without_a_checkpoint_everything_is_delivered_again() {
    block_on(async {
        let dir = quick_dir();
        let (spool, mut reader) = Spool::open(dir.path(), small_segments()).unwrap();
        spool.append(texts(&["a", "b"])).await.unwrap();
        reader.commit(2).await.unwrap();
        drop((spool, reader));
        std::fs::remove_file(dir.path().join("checkpoint")).unwrap();
        let (spool, mut reader) = Spool::open(dir.path(), small_segments()).unwrap();
        assert_eq!(drain(&spool, &mut reader).await.len(), 2);
    });
}

#[test]
fn closing_ends_appends_and_lets_the_reader_finish() {
    block_on(async {
        let dir = quick_dir();
        let (spool, mut reader) = Spool::open(dir.path(), small_segments()).unwrap();
        spool.append(texts(&["a"])).await.unwrap();
        let other = spool.clone();
        spool.close().await;
        other.close().await;
        assert!(matches!(other.append(texts(&["b"])).await, Err(AppendError::Closed)));
        assert_eq!(reader.next(9, 100).await.unwrap().records, texts(&["a"]));
        assert!(matches!(reader.next(9, 100).await, Err(ReadError::Closed)));
        assert!(matches!(reader.commit(1).await, Err(ReadError::Closed)));
        // Closed means that the directory is free.
        Spool::open(dir.path(), small_segments()).unwrap();
    });
}

#[test]
fn reader_ends_when_nobody_can_append_any_more() {
    block_on(async {
        let dir = quick_dir();
        let (spool, mut reader) = Spool::open(dir.path(), small_segments()).unwrap();
        spool.append(texts(&["a"])).await.unwrap();
        let reading = tokio::spawn(async move {
            let chunk = reader.next(9, 100).await.unwrap();
            // Committing still works: the thread is there for the reader.
            let end = reader.next(9, 100).await;
            reader.commit(chunk.end).await.unwrap();
            (chunk.end, matches!(end, Err(ReadError::Closed)))
        });
        tokio::task::yield_now().await;
        drop(spool);
        assert_eq!(reading.await.unwrap(), (1, true));
    });
}

#[test]
fn directory_is_locked_while_in_use() {
    let dir = quick_dir();
    let open = Spool::open(dir.path(), small_segments()).unwrap();
    let error = Spool::open(dir.path(), small_segments()).unwrap_err();
    assert!(matches!(error, OpenError::InUse { .. }));
    assert!(error.to_string().contains("in use by another process"), "{error}");
    drop(open);
    Spool::open(dir.path(), small_segments()).unwrap();
}

#[test]
fn unusable_directory_is_one_clear_sentence() {
    let dir = quick_dir();
    let file = dir.path().join("file");
    std::fs::write(&file, b"x").unwrap();
    let error = Spool::open(&file, small_segments()).unwrap_err();
    assert!(error.to_string().starts_with("cannot use the spool at "), "{error}");
}

#[test]
fn segment_of_a_later_format_is_refused_and_left_alone() {
    let dir = quick_dir();
    drop(Spool::open(dir.path(), small_segments()).unwrap());
    let path = segments(dir.path()).remove(0);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[8] = 2;
    let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes[..12]), &bytes[16..]);
    bytes[12..16].copy_from_slice(&crc.to_le_bytes());
    std::fs::write(&path, &bytes).unwrap();
    let error = Spool::open(dir.path(), small_segments()).unwrap_err();
    assert!(matches!(error, OpenError::Format { found: 2, known: 1, .. }), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
}

#[test]
fn appends_that_wait_share_a_sync() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    runtime.block_on(async {
        // On a real disk: in memory a sync is too short to gather anything.
        let dir = tempfile::tempdir().unwrap();
        let config = common::config(1 << 20, 1 << 24, palisade_spool::WhenFull::Refuse);
        let (spool, mut reader) = Spool::open(dir.path(), config).unwrap();
        let appends: Vec<_> = (0..2000_u32)
            .map(|at| {
                let spool = spool.clone();
                tokio::spawn(async move {
                    let position = spool.append(vec![at.to_le_bytes().to_vec()]).await.unwrap();
                    (position.0, at)
                })
            })
            .collect();
        let mut acknowledged = Vec::new();
        for append in appends {
            acknowledged.push(append.await.unwrap());
        }
        acknowledged.sort_unstable();
        let syncs = spool.stats().syncs;
        assert!(syncs < 2000, "{syncs} syncs for 2000 appends");
        let read = drain(&spool, &mut reader).await;
        let read: Vec<_> = read
            .into_iter()
            .map(|(at, record)| (at, u32::from_le_bytes(record.try_into().unwrap())))
            .collect();
        assert_eq!(read, acknowledged);
    });
}
