//! What follows a failure of the disk at each step.

use proptest::prelude::*;
use tempfile::TempDir;

use crate::faults::{Faults, Operation};
use crate::{AppendError, Config, Position, ReadError, Reader, Spool, WhenFull};

fn settings() -> Config {
    Config { segment_bytes: 300, max_bytes: 1 << 20, when_full: WhenFull::Refuse }
}

fn quick_dir() -> TempDir {
    let memory = std::path::Path::new("/dev/shm");
    let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    dir.unwrap()
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// Reads until `count` records are there.
async fn read(reader: &mut Reader, count: usize) -> Vec<(u64, Vec<u8>)> {
    let mut all = Vec::new();
    while all.len() < count {
        let chunk = reader.next(9, 1000).await.unwrap();
        all.extend((chunk.end - chunk.records.len() as u64..).zip(chunk.records));
    }
    all
}

/// All that a newly opened spool holds.
async fn all(dir: &TempDir) -> Vec<(u64, Vec<u8>)> {
    let (spool, mut reader) = Spool::open(dir.path(), settings()).unwrap();
    spool.close().await;
    let mut all = Vec::new();
    while let Ok(chunk) = reader.next(9, 1000).await {
        all.extend((chunk.end - chunk.records.len() as u64..).zip(chunk.records));
    }
    all
}

/// Appends "a", fails at these steps with "failed", appends "b". Returns the
/// number of "b", what the running reader saw, and what is there afterwards.
#[expect(clippy::type_complexity, reason = "two lists of numbered records")]
fn failing(operations: &[Operation]) -> (u64, Vec<(u64, Vec<u8>)>, Vec<(u64, Vec<u8>)>) {
    block_on(async {
        let dir = quick_dir();
        let faults = Faults::default();
        let (spool, mut reader) =
            Spool::open_with(dir.path(), settings(), faults.clone(), None).unwrap();
        assert_eq!(spool.append(vec![b"a".to_vec()]).await.unwrap(), Position(0));
        operations.iter().for_each(|operation| faults.plan(*operation));
        let error = spool.append(vec![b"failed".to_vec(); 2]).await.unwrap_err();
        assert!(matches!(error, AppendError::Io(_)), "{error}");
        assert!(faults.all_happened());
        assert_eq!(spool.stats().pending_records, 1);
        let Position(b) = spool.append(vec![b"b".to_vec()]).await.unwrap();
        let stats = spool.stats();
        assert_eq!((stats.pending_records, stats.appended_records), (2, 2));
        let seen = read(&mut reader, 2).await;
        // Nothing else is there to be seen.
        spool.close().await;
        assert!(matches!(reader.next(9, 1000).await, Err(ReadError::Closed)));
        assert_eq!(spool.stats().corrupt_frames, 0);
        drop((spool, reader));
        (b, seen, all(&dir).await)
    })
}

#[test]
fn failed_write_is_taken_back_and_its_numbers_are_used_by_the_next() {
    let (b, seen, kept) = failing(&[Operation::Write]);
    assert_eq!(b, 1);
    assert_eq!(seen, [(0, b"a".to_vec()), (1, b"b".to_vec())]);
    assert_eq!(kept, seen);
}

#[test]
fn failed_sync_abandons_the_segment_and_the_numbers() {
    let (b, seen, kept) = failing(&[Operation::Sync]);
    assert_eq!(b, 3);
    assert_eq!(seen, [(0, b"a".to_vec()), (3, b"b".to_vec())]);
    assert_eq!(kept, seen);
}

#[test]
fn failed_sync_that_cannot_be_taken_back_is_never_read() {
    let (b, seen, kept) = failing(&[Operation::Sync, Operation::Truncate]);
    assert_eq!(b, 3);
    assert_eq!(seen, [(0, b"a".to_vec()), (3, b"b".to_vec())]);
    // The next segment says where this one ends.
    assert_eq!(kept, seen);
}

#[test]
fn torn_write_that_cannot_be_taken_back_is_stepped_over_for_ever() {
    let (_, seen, kept) = failing(&[Operation::Write, Operation::Truncate]);
    assert_eq!(seen, [(0, b"a".to_vec()), (3, b"b".to_vec())]);
    assert_eq!(kept, seen);
}

#[test]
fn segment_that_cannot_be_created_fails_the_append_until_it_can() {
    block_on(async {
        let dir = quick_dir();
        let faults = Faults::default();
        let (spool, mut reader) =
            Spool::open_with(dir.path(), settings(), faults.clone(), None).unwrap();
        spool.append(vec![vec![1; 250]]).await.unwrap();
        for _ in 0..3 {
            faults.plan(Operation::Create);
            assert!(matches!(spool.append(vec![vec![2; 250]]).await, Err(AppendError::Io(_))));
        }
        assert_eq!(spool.append(vec![vec![3; 250]]).await.unwrap(), Position(1));
        assert_eq!(read(&mut reader, 2).await, [(0, vec![1; 250]), (1, vec![3; 250])]);
    });
}

#[test]
fn disk_whose_syncs_fail_for_long_leaves_no_heap_of_files() {
    block_on(async {
        let dir = quick_dir();
        let faults = Faults::default();
        let (spool, reader) =
            Spool::open_with(dir.path(), settings(), faults.clone(), None).unwrap();
        spool.append(vec![b"a".to_vec()]).await.unwrap();
        for _ in 0..50 {
            faults.plan(Operation::Sync);
            faults.plan(Operation::Truncate);
            assert!(spool.append(vec![b"failed".to_vec()]).await.is_err());
        }
        assert!(std::fs::read_dir(dir.path()).unwrap().count() <= 5);
        spool.append(vec![b"b".to_vec()]).await.unwrap();
        drop((spool, reader));
        let kept = all(&dir).await;
        assert_eq!(kept.first(), Some(&(0, b"a".to_vec())));
        assert_eq!(kept.last().map(|(_, record)| record.as_slice()), Some(&b"b"[..]));
        assert!(kept.is_sorted_by(|(a, _), (b, _)| a < b));
    });
}

#[test]
fn everyone_in_a_failed_group_is_told() {
    block_on(async {
        let dir = quick_dir();
        let faults = Faults::default();
        let (spool, mut reader) =
            Spool::open_with(dir.path(), settings(), faults.clone(), None).unwrap();
        faults.plan(Operation::Sync);
        let appends: Vec<_> = (0..20_u8)
            .map(|at| {
                let spool = spool.clone();
                tokio::spawn(async move { (at, spool.append(vec![vec![at]]).await) })
            })
            .collect();
        let mut kept = Vec::new();
        for append in appends {
            if let (at, Ok(position)) = append.await.unwrap() {
                kept.push((position.0, vec![at]));
            }
        }
        assert!(kept.len() < 20);
        kept.sort();
        assert_eq!(read(&mut reader, kept.len()).await, kept);
        assert_eq!(spool.stats().pending_records, kept.len() as u64);
    });
}

#[test]
fn commit_frees_segments_even_where_the_checkpoint_cannot_be_written() {
    block_on(async {
        let dir = quick_dir();
        let faults = Faults::default();
        let (spool, mut reader) =
            Spool::open_with(dir.path(), settings(), faults.clone(), None).unwrap();
        for at in 0..20_u8 {
            spool.append(vec![vec![at; 100]]).await.unwrap();
        }
        let before = spool.stats().bytes;
        faults.plan(Operation::Checkpoint);
        faults.plan(Operation::Checkpoint);
        assert!(matches!(reader.commit(10).await, Err(ReadError::Io { .. })));
        assert!(spool.stats().bytes < before);
        // Once more, and it is durable although nothing moved.
        reader.commit(10).await.unwrap();
        drop((spool, reader));
        assert_eq!(all(&dir).await.first(), Some(&(10, vec![10; 100])));
    });
}

#[test]
fn drop_is_counted_even_where_the_checkpoint_can_only_be_written_after_it() {
    block_on(async {
        let dir = quick_dir();
        let faults = Faults::default();
        let settings = Config { max_bytes: 1200, when_full: WhenFull::DropOldest, ..settings() };
        let (spool, reader) =
            Spool::open_with(dir.path(), settings.clone(), faults.clone(), None).unwrap();
        faults.plan(Operation::Checkpoint);
        for at in 0..20_u8 {
            spool.append(vec![vec![at; 100]]).await.unwrap();
        }
        assert!(faults.all_happened());
        let stats = spool.stats();
        assert!(stats.dropped_records > 0);
        drop((spool, reader));
        let (spool, _reader) = Spool::open(dir.path(), settings).unwrap();
        assert_eq!(spool.stats().dropped_records, stats.dropped_records);
    });
}

#[derive(Clone, Debug)]
enum Step {
    Append(Vec<u8>),
    Fail(Operation),
    Commit(u64),
    Read,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let operation = prop::sample::select(vec![
        Operation::Create,
        Operation::Write,
        Operation::Sync,
        Operation::Truncate,
        Operation::Checkpoint,
    ]);
    prop_oneof![
        5 => prop::collection::vec(any::<u8>(), 1..90).prop_map(Step::Append),
        2 => operation.prop_map(Step::Fail),
        1 => (0_u64..4).prop_map(Step::Commit),
        1 => Just(Step::Read),
        1 => Just(Step::Reopen),
    ]
}

/// Acknowledged records are delivered in order; a failed one never while the
/// process lives, and afterwards only whole and under a number of its own.
async fn run(steps: Vec<Step>) {
    let dir = quick_dir();
    let (mut kept, mut failed) = (Vec::new(), Vec::new());
    let mut faults = Faults::default();
    let (mut spool, mut reader) =
        Spool::open_with(dir.path(), settings(), faults.clone(), None).unwrap();
    for step in steps {
        match step {
            Step::Append(record) => match spool.append(vec![record.clone(); 2]).await {
                Ok(Position(first)) => {
                    assert!(kept.last().is_none_or(|(at, _)| *at < first), "numbers go up");
                    kept.extend((first..).zip([record.clone(), record]));
                }
                Err(AppendError::Io(_)) => failed.push(record),
                Err(error) => panic!("{error}"),
            },
            Step::Fail(operation) => faults.plan(operation),
            Step::Commit(count) => {
                // May fail to be durable; the running spool goes by it all the same.
                let end = reader.committed() + count;
                let _ = reader.commit(end).await;
            }
            Step::Read => {
                reader.rewind();
                let committed = reader.committed();
                kept.retain(|(at, _)| *at >= committed);
                assert_eq!(read(&mut reader, kept.len()).await, kept);
            }
            Step::Reopen => {
                let committed = reader.committed();
                kept.retain(|(at, _)| *at >= committed);
                drop((spool, reader));
                faults = Faults::default();
                let known = kept.clone();
                kept = all(&dir).await;
                for (at, record) in &known {
                    assert!(kept.contains(&(*at, record.clone())), "number {at} is missing");
                }
                for (at, record) in &kept {
                    let known = known.iter().any(|(known, _)| known == at);
                    assert!(known || *at < committed || failed.contains(record), "number {at}");
                }
                assert!(kept.is_sorted_by(|(a, _), (b, _)| a < b));
                (spool, reader) =
                    Spool::open_with(dir.path(), settings(), faults.clone(), None).unwrap();
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_sequence_of_failures_loses_an_acknowledged_record(
        steps in prop::collection::vec(step(), 1..60),
    ) {
        block_on(run(steps));
    }
}
