//! Where ids are: in which batches, whoever wrote them, published or not.
//!
//! The table of events is sorted by time, and an id begins with the time it was
//! made at, which is that of its event. So ids are looked for at their own time;
//! the few events of another time are listed in `odd` as well. An id counts once
//! a UTC day, as in the embedded engine.

use std::fmt::Write as _;

use palisade_event::{Day, EventId, Timestamp};

use super::http::Fault;
use super::server::Server;
use super::sql;

/// Ids of one statement.
const MAX_IDS: usize = 20_000;
/// Ids whose times are nearer than this are looked for together, in milliseconds.
const NEAR_MILLIS: i64 = 60_000;
/// Most ranges of time in one statement.
const MAX_RANGES: usize = 32;
/// Marks the row that counts `odd`.
const MARK: i64 = -i64::MAX;

/// An event as far as it is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) day: Day,
    pub(super) id: EventId,
}

impl Key {
    pub(super) fn new(at: Timestamp, id: EventId) -> Self {
        Self { day: at.day(), id }
    }
}

/// Whether an event has another time than its id says.
pub(super) fn is_odd(at: Timestamp, id: EventId) -> bool {
    id.timestamp() != at
}

/// The keys that are stored, each with its batch; those in several come several times.
pub(super) fn stored(server: &Server, keys: &[Key]) -> Result<Vec<(Key, u64)>, Fault> {
    let mut found = Vec::new();
    for part in keys.chunks(MAX_IDS) {
        let mut sql = String::new();
        let _ = write!(
            sql,
            "SELECT observed_at, id, batch FROM {} WHERE {} AND id IN ",
            server.table("events"),
            ranges(part)
        );
        push_ids(&mut sql, part);
        let mut zero = String::new();
        sql::bytes16(&mut zero, 0);
        let _ = write!(
            sql,
            " UNION ALL SELECT toInt64({MARK}), {zero}, toUInt64(count()) FROM {} FORMAT RowBinary",
            server.table("odd")
        );
        let mut odd = 0;
        for (at, id, batch) in
            server.rows(&sql, |row| Ok((row.i64()?, row.bytes16()?, row.u64()?)))?
        {
            if at == MARK {
                odd = batch;
            } else {
                found.push((at, id, batch));
            }
        }
        if odd > 0 {
            let mut sql =
                format!("SELECT observed_at, id, batch FROM {} WHERE id IN ", server.table("odd"));
            push_ids(&mut sql, part);
            sql.push_str(" FORMAT RowBinary");
            found.extend(server.rows(&sql, |row| Ok((row.i64()?, row.bytes16()?, row.u64()?)))?);
        }
    }
    let key =
        |(at, id, batch)| (Key::new(Timestamp::from_millis(at), EventId::from_u128(id)), batch);
    Ok(found.into_iter().map(key).collect())
}

fn push_ids(sql: &mut String, keys: &[Key]) {
    sql.push_str("(SELECT toFixedString(substring(unhex('");
    for key in keys {
        let _ = write!(sql, "{:032x}", key.id.as_u128());
    }
    let _ = write!(sql, "'), number * 16 + 1, 16), 16) FROM system.numbers LIMIT {})", keys.len());
}

/// The times at which these ids were made.
fn ranges(keys: &[Key]) -> String {
    let mut times: Vec<i64> = keys.iter().map(|key| key.id.timestamp().as_millis()).collect();
    times.sort_unstable();
    let mut near = NEAR_MILLIS;
    let ranges = loop {
        let mut ranges: Vec<(i64, i64)> = Vec::new();
        for at in &times {
            match ranges.last_mut() {
                Some((_, high)) if *at - *high <= near => *high = *at,
                _ => ranges.push((*at, *at)),
            }
        }
        if ranges.len() <= MAX_RANGES {
            break ranges;
        }
        near = near.saturating_mul(4);
    };
    let mut sql = String::from("(0");
    for (low, high) in ranges {
        let _ = write!(sql, " OR (observed_at >= {low} AND observed_at <= {high})");
    }
    sql.push(')');
    sql
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_times_are_one_range_and_there_are_not_too_many() {
        let key = |at: i64| {
            let at = Timestamp::from_millis(at);
            Key::new(at, EventId::new(at, 1))
        };
        assert_eq!(ranges(&[key(50), key(10)]), "(0 OR (observed_at >= 10 AND observed_at <= 50))");
        let far: Vec<Key> = (0..1000).map(|n| key(n * 86_400_000)).collect();
        assert!(ranges(&far).matches("OR").count() <= MAX_RANGES);
    }
}
