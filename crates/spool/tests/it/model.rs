//! Random use of the spool against a list in memory.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests fail by panic"
)]

use crate::common;

use common::{block_on, config, quick_dir, segment_bytes};
use palisade_spool::{AppendError, Config, Reader, Spool, WhenFull};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    Append(Vec<usize>),
    Read {
        max_records: usize,
        max_bytes: usize,
    },
    /// Commits this many of the records handed out and not committed.
    Commit(usize),
    Rewind,
    /// With or without closing first.
    Reopen(bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => prop::collection::vec(0_usize..120, 0..6).prop_map(Step::Append),
        3 => (0_usize..9, 0_usize..300)
            .prop_map(|(max_records, max_bytes)| Step::Read { max_records, max_bytes }),
        2 => (0_usize..20).prop_map(Step::Commit),
        1 => Just(Step::Rewind),
        1 => any::<bool>().prop_map(Step::Reopen),
    ]
}

/// What the spool ought to hold.
#[derive(Default)]
struct Model {
    records: Vec<Vec<u8>>,
    committed: usize,
    cursor: usize,
    dropped: usize,
    dropped_bytes: usize,
}

async fn run(settings: Config, steps: Vec<Step>) {
    let dir = quick_dir();
    let mut model = Model::default();
    let (mut spool, mut reader) = Spool::open(dir.path(), settings.clone()).unwrap();
    for step in steps {
        match step {
            Step::Append(lengths) => append(&settings, &spool, &reader, &mut model, lengths).await,
            Step::Read { max_records, max_bytes } => {
                if model.cursor < model.records.len() {
                    let chunk = reader.next(max_records, max_bytes).await.unwrap();
                    let end = model.cursor + chunk.records.len();
                    assert_eq!(chunk.end as usize, end);
                    assert_eq!(chunk.records, model.records[model.cursor..end]);
                    let bytes: usize = chunk.records.iter().map(Vec::len).sum();
                    assert!(chunk.records.len() <= max_records.max(1));
                    assert!(bytes <= max_bytes || chunk.records.len() == 1);
                    model.cursor = end;
                }
            }
            Step::Commit(count) => {
                let end = (model.committed + count).min(model.cursor);
                reader.commit(end as u64).await.unwrap();
                model.committed = end;
            }
            Step::Rewind => {
                reader.rewind();
                model.cursor = model.committed;
            }
            Step::Reopen(close) => {
                if close {
                    spool.close().await;
                }
                drop((spool, reader));
                (spool, reader) = Spool::open(dir.path(), settings.clone()).unwrap();
                model.cursor = model.committed;
            }
        }
        let stats = spool.stats();
        assert_eq!(reader.committed() as usize, model.committed);
        assert_eq!(stats.appended_records as usize, model.records.len());
        assert_eq!(stats.pending_records as usize, model.records.len() - model.committed);
        assert_eq!(stats.dropped_records as usize, model.dropped);
        assert_eq!(stats.dropped_bytes as usize, model.dropped_bytes);
        assert_eq!(stats.corrupt_frames, 0);
        assert_eq!(stats.bytes, segment_bytes(dir.path()));
        assert!(stats.bytes <= settings.max_bytes);
    }
}

async fn append(
    settings: &Config,
    spool: &Spool,
    reader: &Reader,
    model: &mut Model,
    lengths: Vec<usize>,
) {
    let records: Vec<Vec<u8>> = (model.records.len()..)
        .zip(lengths)
        .map(|(at, length)| vec![(at % 251) as u8; length])
        .collect();
    match spool.append(records.clone()).await {
        Ok(position) => {
            assert_eq!(position.0 as usize, model.records.len());
            model.records.extend(records);
        }
        Err(AppendError::Full { .. }) => {
            assert_eq!(settings.when_full, WhenFull::Refuse);
            // It refuses only where little space is left.
            let bytes: u64 = records.iter().map(|record| 4 + record.len() as u64).sum();
            assert!(spool.stats().bytes + bytes + 4 * 40 > settings.max_bytes);
        }
        Err(error) => panic!("{error}"),
    }
    let dropped = model.committed..reader.committed() as usize;
    if !dropped.is_empty() {
        assert_eq!(settings.when_full, WhenFull::DropOldest);
        model.dropped += dropped.len();
        model.dropped_bytes += model.records[dropped.clone()].iter().map(Vec::len).sum::<usize>();
        model.committed = dropped.end;
        model.cursor = model.cursor.max(dropped.end);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn refusing_spool_is_a_list(steps in prop::collection::vec(step(), 1..80)) {
        block_on(run(config(300, 4000, WhenFull::Refuse), steps));
    }

    #[test]
    fn dropping_spool_is_a_list_that_counts_what_it_drops(
        steps in prop::collection::vec(step(), 1..80),
    ) {
        block_on(run(config(300, 2000, WhenFull::DropOldest), steps));
    }
}
