//! What is done from time to time: days past the retention go, rows that no
//! reader sees are removed, figures are read.

use palisade_event::{Day, Timestamp};

use super::http::{Fault, Setting};
use super::schema::{Dialect, EPOCH_DAYS};
use super::server::Server;
use super::snapshot::Snapshot;
use super::sql;
use crate::{Config, KeepRule, Stats};

const MS_PER_DAY: i64 = 86_400_000;
/// Batches and doubles are left alone so long: their writer may be at work.
const SETTLED_SECS: i64 = 3600;
/// Most batches and doubles that are removed at once.
const MAX_REMOVED: u64 = 10_000;

/// One day of the table of events.
struct Partition {
    number: i64,
    rows: u64,
    bytes: u64,
}

impl Partition {
    fn day(&self) -> Option<Day> {
        i32::try_from(self.number - EPOCH_DAYS).ok().map(Day::from_number)
    }
}

/// The days of a table, oldest first, over all shards. Replicas count once, as
/// the cluster's reader asks one of each shard.
fn partitions(server: &Server, table: &str) -> Result<Vec<Partition>, Fault> {
    let config = &server.config;
    let (from, table) = match &config.cluster {
        Some(cluster) => {
            (format!("cluster({}, system, parts)", sql::name(cluster)), format!("{table}_local"))
        }
        None => ("system.parts".to_owned(), table.to_owned()),
    };
    let bytes = match server.dialect {
        Dialect::Old => "bytes",
        Dialect::Current => "bytes_on_disk",
    };
    let sql = format!(
        "SELECT toInt64(partition) AS day, toUInt64(sum(rows)), toUInt64(sum({bytes})) FROM {from} \
         WHERE active AND database = '{}' AND table = '{table}' GROUP BY day ORDER BY day \
         FORMAT RowBinary",
        config.database
    );
    server
        .rows(&sql, |row| Ok(Partition { number: row.i64()?, rows: row.u64()?, bytes: row.u64()? }))
}

/// Removes what is past its time. What is to go is decided by what is there, so a
/// day that came back (old servers do that after a hard kill) goes again.
pub(super) fn retain(server: &Server, config: &Config, now: Timestamp) -> Result<u32, Fault> {
    let kept_ms = i64::from(config.retention_days).saturating_mul(MS_PER_DAY);
    let limit = now.plus_millis(-kept_ms);
    let mut days = partitions(server, "events")?;
    let expired = |partition: &Partition| partition.day().is_some_and(|day| day.end() <= limit);
    let mut gone: Vec<i64> = days.iter().filter(|day| expired(day)).map(|day| day.number).collect();
    days.retain(|day| !expired(day));
    if let Some(most) = config.max_bytes {
        let mut total: u64 = days.iter().map(|day| day.bytes).sum();
        // The day that is being written stays.
        let newest = days.len().saturating_sub(1);
        for day in days.iter().take(newest) {
            if total <= most {
                break;
            }
            total -= day.bytes;
            gone.push(day.number);
        }
    }
    for number in &gone {
        for table in ["events", "odd"] {
            let table = server.local_table(table);
            server.everywhere(&format!("ALTER TABLE {table} DROP PARTITION {number}"), &[])?;
        }
    }
    for rule in &config.keep {
        expire(server, rule, now)?;
    }
    Ok(u32::try_from(gone.len()).unwrap_or(u32::MAX))
}

/// Removes the events of one rule from whole days past its time.
fn expire(server: &Server, rule: &KeepRule, now: Timestamp) -> Result<(), Fault> {
    let limit = now.plus_millis(-i64::from(rule.days).saturating_mul(MS_PER_DAY)).day().start();
    let mut condition = format!("observed_at < {}", limit.as_millis());
    if let Some(domain) = rule.domain {
        condition.push_str(" AND `domain` = ");
        sql::text(&mut condition, domain.as_str());
    }
    if let Some(kind) = rule.kind {
        condition.push_str(" AND `kind` = ");
        sql::text(&mut condition, kind.as_str());
    }
    let sql = format!(
        "SELECT toUInt64(count()) FROM {} WHERE {condition} FORMAT RowBinary",
        server.table("events")
    );
    if server.one(&sql, |row| row.u64())? == 0 {
        return Ok(());
    }
    delete(server, "events", &condition)
}

/// Rewrites the parts of a table without some rows. Current servers are waited
/// for; old ones do it in the background.
fn delete(server: &Server, table: &str, condition: &str) -> Result<(), Fault> {
    let settings: &[Setting] = match server.dialect {
        Dialect::Old => &[],
        Dialect::Current => &[("mutations_sync", "1".to_owned())],
    };
    let sql = format!("ALTER TABLE {} DELETE WHERE {condition}", server.local_table(table));
    server.everywhere(&sql, settings)
}

/// Removes rows that no reader sees: those of batches that were given up, and
/// the copies that do not count of events that two hubs wrote. First the rows go;
/// once they are gone, what hides them. `true` where there may be more to do.
pub(super) fn maintain(server: &Server, now: Timestamp) -> Result<bool, Fault> {
    let settled = now.as_millis().div_euclid(1000).saturating_sub(SETTLED_SECS).max(0);
    let sql = format!(
        "SELECT batch FROM {} GROUP BY batch HAVING max(cleared) = 0 AND max(toUInt32(at)) < \
         {settled} ORDER BY batch LIMIT {MAX_REMOVED} FORMAT RowBinary",
        server.table("aborted")
    );
    let batches = server.rows(&sql, |row| row.u64())?;
    if !batches.is_empty() {
        let list: Vec<String> = batches.iter().map(u64::to_string).collect();
        let condition = format!("batch IN ({})", list.join(", "));
        if !remove(server, &condition)? {
            return Ok(false);
        }
        let mut rows = Vec::new();
        for batch in &batches {
            rows.extend_from_slice(&batch.to_le_bytes());
            rows.push(1);
            rows.extend_from_slice(&u32::try_from(settled).unwrap_or(0).to_le_bytes());
        }
        server.insert("aborted", "batch, cleared, at", &rows)?;
    }
    let snapshot = Snapshot::take(server)?;
    if snapshot.doubles == 0 {
        return Ok(false);
    }
    let sql = format!(
        "SELECT id, loser, winner FROM {} WHERE toUInt32(at) < {settled} LIMIT {MAX_REMOVED} \
         FORMAT RowBinary",
        server.table("doubles")
    );
    let doubles = server.rows(&sql, |row| Ok((row.bytes16()?, row.u64()?, row.u64()?)))?;
    let mut lost = Vec::new();
    let mut all = Vec::new();
    for (id, loser, winner) in &doubles {
        let mut literal = String::new();
        sql::bytes16(&mut literal, *id);
        all.push(format!("({literal}, {loser}, {winner})"));
        if snapshot.sees(*winner) {
            lost.push(format!("({literal}, {loser})"));
        }
    }
    if all.is_empty() {
        return Ok(false);
    }
    if !lost.is_empty() && !remove(server, &format!("(id, batch) IN ({})", lost.join(", ")))? {
        return Ok(false);
    }
    delete(server, "doubles", &format!("(id, loser, winner) IN ({})", all.join(", ")))?;
    Ok(false)
}

/// Removes rows of events; whether all of them are gone.
fn remove(server: &Server, condition: &str) -> Result<bool, Fault> {
    for table in ["odd", "events"] {
        let count = format!(
            "SELECT toUInt64(count()) FROM {} WHERE {condition} FORMAT RowBinary",
            server.table(table)
        );
        if server.one(&count, |row| row.u64())? == 0 {
            continue;
        }
        delete(server, table, condition)?;
        if server.one(&count, |row| row.u64())? > 0 {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Figures of the table of events.
pub(super) fn stats(server: &Server) -> Result<Stats, Fault> {
    let snapshot = Snapshot::take(server)?;
    let days = partitions(server, "events")?;
    let mut events = days.iter().map(|day| day.rows).sum();
    if snapshot.hides() {
        let sql = format!(
            "SELECT toUInt64(count()) FROM {} WHERE {} FORMAT RowBinary",
            server.table("events"),
            snapshot.condition(server)
        );
        events = server.one(&sql, |row| row.u64())?;
    }
    Ok(Stats {
        events,
        bytes: days.iter().map(|day| day.bytes).sum(),
        days: u32::try_from(days.len()).unwrap_or(u32::MAX),
        ..Stats::default()
    })
}
