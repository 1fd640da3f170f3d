//! Records a second into the spool, answered after fsync.

use std::sync::Arc;
use std::time::Instant;

use palisade_spool::{Config, Spool, WhenFull};

use crate::table::{number, print};

/// Bytes of a typical event as JSON.
const RECORD_BYTES: usize = 430;

pub(crate) async fn run() -> anyhow::Result<()> {
    let mut rows = Vec::new();
    for (appenders, records) in [(1, 1), (1, 100), (1, 1_000), (16, 1), (16, 100)] {
        let dir = tempfile::tempdir_in(".")?;
        let config =
            Config { segment_bytes: 64 << 20, max_bytes: 8 << 30, when_full: WhenFull::Refuse };
        let (spool, _reader) = Spool::open(dir.path(), config)?;
        let record: Arc<Vec<u8>> = Arc::new(vec![b'x'; RECORD_BYTES]);
        let total: usize = (200_000 * records / 100).clamp(5_000, 1_000_000);
        let begin = Instant::now();
        let mut tasks = Vec::new();
        for _ in 0..appenders {
            let (spool, record) = (spool.clone(), Arc::clone(&record));
            tasks.push(tokio::spawn(async move {
                for _ in 0..total / appenders / records {
                    spool.append(vec![record.as_ref().clone(); records]).await?;
                }
                Ok::<_, palisade_spool::AppendError>(())
            }));
        }
        for task in tasks {
            task.await??;
        }
        let seconds = begin.elapsed().as_secs_f64();
        let stats = spool.stats();
        rows.push(vec![
            appenders.to_string(),
            records.to_string(),
            number(stats.appended_records as f64 / seconds),
            number(stats.syncs as f64 / seconds),
        ]);
        spool.close().await;
    }
    print(
        "Spool, records of 430 bytes, answered after fsync",
        &["appenders", "records/append", "records/s", "fsyncs/s"],
        &rows,
    );
    Ok(())
}
