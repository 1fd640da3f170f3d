//! What readers may see: the commits that were published when they looked.
//!
//! A hub writes its events under a batch number of its own, `writer << 32 | seq`,
//! that nobody reads before the hub publishes it. Published are all batches of a
//! writer up to its largest published `seq`, but for those in `aborted`. Where
//! two hubs wrote the same event at the same time, `doubles` names the batch
//! whose copy does not count once the other's is published. All of that is one
//! condition on rows, so that every statement of one question sees the same.
//!
//! Order matters: `aborted` and `doubles` are written before the batch that needs
//! them is published, so a reader that looks at `published` first misses none.

use std::fmt::Write as _;
use std::sync::Arc;

use super::http::Fault;
use super::lock;
use super::server::Server;

/// A batch number: which writer, and its how-manieth batch.
pub(super) fn batch(writer: u32, seq: u32) -> u64 {
    u64::from(writer) << 32 | u64::from(seq)
}

/// The commits that a question sees.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Snapshot {
    /// The last published batch of each writer.
    published: Vec<u64>,
    /// Batches up to those that were given up.
    aborted: Vec<u64>,
    /// How many ids were written twice.
    pub(super) doubles: u64,
}

impl Snapshot {
    /// Looks at what is published now.
    pub(super) fn take(server: &Server) -> Result<Arc<Self>, Fault> {
        let sql = format!(
            "SELECT writer, max(seq) FROM {} GROUP BY writer ORDER BY writer FORMAT RowBinary",
            server.table("published")
        );
        let published = server.quick_rows(&sql, |row| Ok(batch(row.u32()?, row.u32()?)))?;
        // What was published before these did not change; nor did what belongs to it.
        if let Some(known) = lock(&server.snapshot).as_ref()
            && known.published == published
        {
            return Ok(Arc::clone(known));
        }
        let sql = format!(
            "SELECT batch FROM {} GROUP BY batch HAVING max(cleared) = 0 ORDER BY batch \
             FORMAT RowBinary",
            server.table("aborted")
        );
        let aborted = server.rows(&sql, |row| row.u64())?;
        let sql = format!("SELECT count() FROM {} FORMAT RowBinary", server.table("doubles"));
        let doubles = server.one(&sql, |row| row.u64())?;
        let taken = Arc::new(Self { published, aborted, doubles });
        *lock(&server.snapshot) = Some(Arc::clone(&taken));
        Ok(taken)
    }

    /// Whether rows of a batch are seen (but for doubles).
    pub(super) fn sees(&self, batch: u64) -> bool {
        let last = self.published.iter().find(|last| **last >> 32 == batch >> 32);
        last.is_some_and(|last| batch <= *last) && !self.aborted.contains(&batch)
    }

    /// Whether there may be rows that are not seen for good.
    pub(super) fn hides(&self) -> bool {
        self.doubles > 0 || !self.aborted.is_empty()
    }

    /// The condition that a row of events (or of `odd`) is seen.
    pub(super) fn condition(&self, server: &Server) -> String {
        let mut sql = self.published("batch");
        if self.doubles > 0 {
            // Small: hubs rarely write the same event, and copies are removed later.
            let _ = write!(
                sql,
                " AND (id, batch) GLOBAL NOT IN (SELECT id, loser FROM {} WHERE {})",
                server.table("doubles"),
                self.published("winner")
            );
        }
        sql
    }

    fn published(&self, column: &str) -> String {
        let mut sql = String::from("(0");
        for last in &self.published {
            let first = last >> 32 << 32;
            let _ = write!(sql, " OR ({column} >= {first} AND {column} <= {last})");
        }
        sql.push(')');
        if !self.aborted.is_empty() {
            let list: Vec<String> = self.aborted.iter().map(u64::to_string).collect();
            let _ = write!(sql, " AND {column} NOT IN ({})", list.join(", "));
        }
        sql
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_seen_once_published_and_not_given_up() {
        let snapshot = Snapshot {
            published: vec![batch(1, 5), batch(7, 2)],
            aborted: vec![batch(1, 3)],
            doubles: 0,
        };
        for (writer, seq, seen) in
            [(1, 1, true), (1, 3, false), (1, 5, true), (1, 6, false), (2, 1, false), (7, 2, true)]
        {
            assert_eq!(snapshot.sees(batch(writer, seq)), seen, "{writer} {seq}");
        }
    }
}
