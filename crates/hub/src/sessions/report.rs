//! Sessions together with what happened in them, for reports that show both.
//! Two questions a page, however many sessions it has; events beyond a bound are
//! left out, the oldest first, and the report says so.

use std::collections::HashMap;

use palisade_event::{AttributeValue, Event, EventKind, SensorId, SessionId, Untrusted};
use palisade_store::query::{Cursor, Filter, Query};

use super::{MAX_PAGE_SESSIONS, Name, around, belongs, kinds, name};
use crate::auth::Principal;
use crate::error::QueryError;
use crate::query::Queries;

/// Most events of a report.
const MAX_EVENTS: usize = 5_000;
/// Events that are read at once.
const STEP_EVENTS: usize = 500;
/// Bytes of text after which no more events are read.
const MAX_BYTES: usize = 8 * 1024 * 1024;

/// A session with its events.
#[derive(Clone, Debug)]
pub struct ReportedSession {
    /// Its id.
    pub id: SessionId,
    /// The sensor that saw it.
    pub sensor: SensorId,
    /// Its events in the order in which they happened, without the parts of its
    /// recording and of files.
    pub events: Vec<Event>,
}

/// Sessions with their events.
#[derive(Clone, Debug, Default)]
pub struct SessionReport {
    /// The sessions, the one with the newest matching event first.
    pub sessions: Vec<ReportedSession>,
    /// Whether events were left out: the oldest ones of all.
    pub truncated: bool,
    /// Give this to get more sessions; `None` where there are none.
    pub next: Option<Cursor>,
}

impl Queries {
    /// A page of sessions of which an event matches, with their events.
    pub(crate) async fn reported_sessions(
        &self,
        who: &Principal,
        query: Query,
        limit: usize,
        after: Option<Cursor>,
    ) -> Result<SessionReport, QueryError> {
        let limit = limit.clamp(1, MAX_PAGE_SESSIONS);
        let (found, next) = self.walk(who, &query, limit, after).await?;
        let mut report = SessionReport { next, ..SessionReport::default() };
        let names: Vec<Name> = found.iter().filter_map(name).collect();
        if names.is_empty() {
            return Ok(report);
        }
        let range = around(found.iter().map(|event| event.observed_at));
        let parts = kinds([EventKind::SessionRecorded, EventKind::PayloadPart]);
        let filter = Filter::And(vec![belongs(&names), Filter::Not(Box::new(parts))]);
        let places: HashMap<Name, usize> =
            names.iter().cloned().enumerate().map(|(place, name)| (name, place)).collect();
        report.sessions = names
            .into_iter()
            .map(|(id, sensor)| ReportedSession { id, sensor, events: Vec::new() })
            .collect();
        let (mut count, mut bytes, mut at) = (0, 0, None);
        loop {
            let asked = Query { range, filter: filter.clone() };
            let page = self.search(who, asked, STEP_EVENTS, at).await?;
            count += page.events.len();
            for event in page.events {
                bytes += text_bytes(&event);
                let place = name(&event).and_then(|name| places.get(&name).copied());
                if let Some(session) = place.and_then(|place| report.sessions.get_mut(place)) {
                    session.events.push(event);
                }
            }
            at = page.next;
            report.truncated = at.is_some() && (count >= MAX_EVENTS || bytes >= MAX_BYTES);
            if at.is_none() || report.truncated {
                break;
            }
        }
        for session in &mut report.sessions {
            session.events.reverse();
        }
        Ok(report)
    }
}

/// About how much text of an attacker an event holds, in bytes.
fn text_bytes(event: &Event) -> usize {
    let attributes = event.attributes.values().map(|value| match value {
        AttributeValue::Text(text) => text.len(),
        _ => 0,
    });
    event.request.as_ref().map_or(0, Untrusted::len) + attributes.sum::<usize>()
}
