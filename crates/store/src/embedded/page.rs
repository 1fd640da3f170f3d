//! One page of events, newest first.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use palisade_event::{Event, EventId, Timestamp};
use tantivy::TantivyError;

use super::filter::Ready;
use super::scan::CHUNK_DOCS;
use super::segment::{Segment, span};
use crate::query::{Cursor, Query};

/// Finds the newest `limit` events of one day that match and stand behind
/// `after`, newest first.
pub(super) fn newest(
    segments: &[Arc<Segment>],
    query: &Query,
    limit: usize,
    after: Option<Cursor>,
) -> Result<Vec<Event>, TantivyError> {
    let after = after.map(|cursor| (cursor.observed_at.as_millis(), cursor.id.as_u128()));
    // The oldest of the best stands on top: (time, id, segment, document).
    let mut best: BinaryHeap<Reverse<(i64, u128, usize, u32)>> = BinaryHeap::new();
    let mut order: Vec<(usize, &Arc<Segment>)> = segments.iter().enumerate().collect();
    order.sort_by_key(|(_, segment)| Reverse(span(segment).1));
    for (number, segment) in order {
        let full = |best: &BinaryHeap<Reverse<(i64, u128, usize, u32)>>| {
            best.peek().filter(|_| best.len() >= limit).map(|Reverse(worst)| worst.0)
        };
        if full(&best).is_some_and(|worst| span(segment).1.as_millis() < worst) {
            break;
        }
        let ready = Ready::query(query, segment)?;
        let mut end = ready.end(segment.docs());
        let mut docs = Vec::with_capacity(CHUNK_DOCS as usize);
        while end > 0 {
            // Documents lie in the order they came, so the newest are at the end.
            let start = end.saturating_sub(CHUNK_DOCS);
            let worst = full(&best).unwrap_or(i64::MIN);
            let last = after.map_or(i64::MAX, |after| after.0);
            docs.clear();
            if segment.may_lie_in(start..end, worst, last) {
                ready.scan(start..end, &mut docs);
                docs.retain(|doc| (worst..=last).contains(&segment.at(*doc)));
            }
            for doc in docs.iter().rev() {
                let key = (segment.at(*doc), segment.id(*doc));
                if after.is_some_and(|after| key >= after) {
                    continue;
                }
                best.push(Reverse((key.0, key.1, number, *doc)));
                if best.len() > limit {
                    best.pop();
                }
            }
            end = ready.end(start);
        }
    }
    let mut best: Vec<_> = best.into_iter().map(|Reverse(found)| found).collect();
    best.sort_unstable_by(|a, b| b.cmp(a));
    let segment = |number: usize| segments.get(number);
    best.into_iter()
        .filter_map(|(_, _, number, doc)| segment(number).map(|segment| segment.event(doc)))
        .collect()
}

/// Where the page ends.
pub(super) fn cursor(event: &Event) -> Cursor {
    Cursor { observed_at: event.observed_at, id: event.id }
}

/// Finds one event by id.
pub(super) fn by_id(segments: &[Arc<Segment>], id: EventId) -> Result<Option<Event>, TantivyError> {
    let (high, low) = ((id.as_u128() >> 64) as u64, id.as_u128() as u64);
    for segment in segments {
        if high < segment.id_high.min_value() || high > segment.id_high.max_value() {
            continue;
        }
        let mut docs = Vec::new();
        segment.id_high.get_docids_for_value_range(high..=high, 0..segment.docs(), &mut docs);
        for doc in docs {
            if segment.id_low.first(doc) == Some(low) {
                return segment.event(doc).map(Some);
            }
        }
    }
    Ok(None)
}

/// The day an id was probably observed in.
pub(super) fn probable_day(id: EventId) -> palisade_event::Day {
    Timestamp::day(id.timestamp())
}
