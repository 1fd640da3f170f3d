//! Format 1 as it was first written. These files never change; a later format
//! gets a directory of its own.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests fail by panic"
)]

use crate::common;

use std::path::{Path, PathBuf};

use common::{block_on, config, copy_dir, drain, segments, texts};
use palisade_spool::{Config, Spool, WhenFull, fuzzing};

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/format/v1/spool")
}

fn settings() -> Config {
    config(128, 1 << 20, WhenFull::Refuse)
}

/// What was appended; the first two records are committed.
fn appends() -> Vec<Vec<Vec<u8>>> {
    vec![
        texts(&["{\"kind\":\"auth.attempted\"}", "", "third"]),
        vec![(0..=255).collect()],
        texts(&["a", "b", "c"]),
        vec![b"\xff\x00\n".to_vec()],
    ]
}

#[test]
fn frozen_spool_is_read_exactly() {
    let copy = tempfile::tempdir().unwrap();
    copy_dir(&fixture(), copy.path());
    block_on(async {
        let (spool, mut reader) = Spool::open(copy.path(), settings()).unwrap();
        let stats = spool.stats();
        assert_eq!(reader.committed(), 2);
        assert_eq!((stats.appended_records, stats.pending_records), (8, 6));
        assert_eq!(stats.corrupt_frames, 0);
        assert_eq!(spool.append(texts(&["more"])).await.unwrap().0, 8);
        let mut expected: Vec<_> = (0..).zip(appends().concat()).skip(2).collect();
        expected.push((8, b"more".to_vec()));
        assert_eq!(drain(&spool, &mut reader).await, expected);
    });
}

#[test]
fn what_is_written_today_is_the_frozen_form_byte_for_byte() {
    let mut next = 0;
    let mut appends = appends();
    for path in segments(&fixture()) {
        let frozen = std::fs::read(&path).unwrap();
        let mark = u64::from_le_bytes(frozen[16..24].try_into().unwrap());
        let records = fuzzing::records_of(&frozen);
        assert_eq!(path.file_stem().unwrap().to_str().unwrap(), format!("{next:020}"));
        let mut written = Vec::new();
        let (first, mut count) = (next, 0);
        while count < records.len() {
            let append = appends.remove(0);
            count += append.len();
            written.push(append);
        }
        assert_eq!(fuzzing::segment_of(mark, first, &written), frozen, "{}", path.display());
        next += count as u64;
    }
    assert_eq!(next, 8);
}

/// How the fixture came to be. Fails rather than change one that is there.
#[test]
#[ignore = "writes the fixture of a new format"]
fn write_the_fixture() {
    std::fs::create_dir(fixture()).unwrap();
    block_on(async {
        let (spool, mut reader) = Spool::open(&fixture(), settings()).unwrap();
        for append in appends() {
            spool.append(append).await.unwrap();
        }
        reader.commit(2).await.unwrap();
    });
    std::fs::remove_file(fixture().join("lock")).unwrap();
}
