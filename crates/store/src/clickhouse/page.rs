//! Pages of events, newest first. Old servers do not read in the order of the
//! table, so a page is looked for in growing windows of time, and the events
//! themselves are read only once their keys are known.

use std::fmt::Write as _;

use palisade_event::{Event, EventId, Timestamp};

use super::filter;
use super::http::Fault;
use super::lookup::{Key, is_odd};
use super::row::{self, READ_COLUMNS};
use super::server::Server;
use super::snapshot::Snapshot;
use super::sql;
use crate::Page;
use crate::query::{Cursor, Field, Query};

/// Most events of one page.
const MAX_PAGE_EVENTS: usize = 10_000;
/// The first window of time that is searched, in milliseconds: an hour.
const FIRST_WINDOW_MILLIS: i64 = 3_600_000;
/// How much longer each further window is.
const WINDOW_GROWTH: i64 = 6;

/// One page of matching events behind a cursor.
pub(super) fn search(
    server: &Server,
    query: &Query,
    limit: usize,
    after: Option<Cursor>,
    now: Timestamp,
) -> Result<Page, Fault> {
    let limit = limit.clamp(1, MAX_PAGE_EVENTS);
    let snapshot = Snapshot::take(server)?;
    let mut condition = format!("{} AND {}", snapshot.condition(server), filter::query(query));
    if let Some(after) = after {
        let at = after.observed_at.as_millis();
        let _ = write!(condition, " AND (observed_at < {at} OR (observed_at = {at} AND id < ");
        sql::bytes16(&mut condition, after.id.as_u128());
        condition.push_str("))");
    }
    // The first window has no upper end of its own: events may lie ahead of the clock.
    let mut high: Option<i64> = None;
    let newest = [after.map(|after| after.observed_at), query.range.to, Some(now)];
    let newest = newest.into_iter().flatten().min().unwrap_or(now).as_millis();
    let oldest = query.range.from.map(Timestamp::as_millis);
    let mut width = FIRST_WINDOW_MILLIS;
    let mut keys: Vec<(i64, u128)> = Vec::new();
    loop {
        let low = newest.saturating_sub(width);
        let last = low <= -super::schema::EPOCH_MILLIS || oldest.is_some_and(|from| low <= from);
        let mut window = String::new();
        if !last {
            let _ = write!(window, " AND observed_at >= {low}");
        }
        if let Some(high) = high {
            let _ = write!(window, " AND observed_at < {high}");
        }
        let sql = format!(
            "SELECT observed_at, id FROM {} WHERE {condition}{window} \
             ORDER BY observed_at DESC, id DESC LIMIT {} FORMAT RowBinary",
            server.table("events"),
            limit + 1 - keys.len()
        );
        keys.extend(server.rows(&sql, |row| Ok((row.i64()?, row.bytes16()?)))?);
        if last || keys.len() > limit {
            break;
        }
        high = Some(low);
        width = width.saturating_mul(WINDOW_GROWTH);
    }
    let more = keys.len() > limit;
    keys.truncate(limit);
    let events = fetch(server, &snapshot, &keys)?;
    let cursor = |event: &Event| Cursor { observed_at: event.observed_at, id: event.id };
    let next = if more { events.last().map(cursor) } else { None };
    Ok(Page { events, next })
}

/// The events of these keys, newest first.
fn fetch(server: &Server, snapshot: &Snapshot, keys: &[(i64, u128)]) -> Result<Vec<Event>, Fault> {
    let (Some(newest), Some(oldest)) = (keys.first(), keys.last()) else { return Ok(Vec::new()) };
    let fields = Field::ALL.iter().map(|field| field.name());
    let columns: Vec<String> =
        fields.chain(READ_COLUMNS).map(|column| format!("`{column}`")).collect();
    let mut sql = format!(
        "SELECT {} FROM {} PREWHERE observed_at >= {} AND observed_at <= {} AND id IN (SELECT \
         toFixedString(substring(unhex('",
        columns.join(", "),
        server.table("events"),
        oldest.0,
        newest.0
    );
    for (_, id) in keys {
        let _ = write!(sql, "{id:032x}");
    }
    let _ = write!(
        sql,
        "'), number * 16 + 1, 16), 16) FROM system.numbers LIMIT {}) WHERE {} \
         ORDER BY observed_at DESC, id DESC FORMAT RowBinary",
        keys.len(),
        snapshot.condition(server)
    );
    let mut events = server.rows(&sql, row::decode)?;
    // The same id may be there at another time as well.
    let wanted: std::collections::HashSet<&(i64, u128)> = keys.iter().collect();
    events.retain(|event| wanted.contains(&(event.observed_at.as_millis(), event.id.as_u128())));
    Ok(events)
}

/// One event by id; of several days that nearest to the id's own.
pub(super) fn by_id(server: &Server, id: EventId) -> Result<Option<Event>, Fault> {
    let snapshot = Snapshot::take(server)?;
    let mut literal = String::new();
    sql::bytes16(&mut literal, id.as_u128());
    let made = id.timestamp();
    let seen = snapshot.condition(server);
    let sql = format!(
        "SELECT observed_at FROM {} WHERE observed_at = {} AND id = {literal} AND {seen} \
         UNION ALL SELECT observed_at FROM {} WHERE id = {literal} AND {seen} FORMAT RowBinary",
        server.table("events"),
        made.as_millis(),
        server.table("odd")
    );
    let times = server.rows(&sql, |row| row.i64())?;
    let day = |at: &i64| Key::new(Timestamp::from_millis(*at), id).day;
    let distance = |at: &i64| (day(at).number().abs_diff(made.day().number()), day(at));
    let Some(at) = times.into_iter().min_by_key(distance) else { return Ok(None) };
    debug_assert!(at == made.as_millis() || is_odd(Timestamp::from_millis(at), id));
    Ok(fetch(server, &snapshot, &[(at, id.as_u128())])?.into_iter().next())
}
