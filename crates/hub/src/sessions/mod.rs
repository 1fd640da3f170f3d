//! Sessions of attackers: what belongs together under one session id of one
//! sensor. There is no store of sessions; they are found in the events, so a
//! session matches a query where one of its events does.
//!
//! A list is ordered by the newest matching event of each session. It is found
//! by walking events from the newest on; at its cursor a later page asks which of
//! its sessions had a matching event before, and leaves those out.

mod recording;
mod report;

use std::collections::{BTreeMap, HashMap, HashSet};

use palisade_event::{
    AttributeValue, Category, Domain, Endpoint, Event, EventKind, Geo, Outcome, SensorId,
    SessionId, Timestamp, Untrusted,
};
use palisade_store::query::{Aggregation, Cursor, Field, Filter, Query, TimeRange};
use palisade_store::{Aggregated, Bucket, Key};

use self::recording::MAX_PARTS;
pub use self::recording::Recording;
pub use self::report::{ReportedSession, SessionReport};
use crate::auth::Principal;
use crate::error::QueryError;
use crate::query::Queries;

/// Most sessions of a page.
pub const MAX_PAGE_SESSIONS: usize = 200;
/// Events of one step of the walk that finds sessions.
const STEP_EVENTS: usize = 400;
/// Most steps for a page. Each leaves out the sessions that are found, so it
/// ends early where few sessions have many events.
const MAX_STEPS: usize = 8;
/// How far the other events of a session may be from one that is known, in
/// milliseconds: honeypots hold nobody for longer.
const REACH_MILLIS: i64 = 24 * 60 * 60 * 1000;
/// Most events of one instant that are looked at on both sides of a cursor.
const MAX_TIES: usize = 1_000;
/// What sessions are counted by.
const COUNTED: [EventKind; 5] = [
    EventKind::AuthAttempted,
    EventKind::CommandEntered,
    EventKind::DownloadAttempted,
    EventKind::PayloadCaptured,
    EventKind::SessionRecorded,
];

/// Whose session: an id means nothing without the sensor that gave it.
type Name = (SessionId, SensorId);

/// A session, summed up.
#[derive(Clone, Debug, PartialEq)]
pub struct AttackSession {
    /// Its id.
    pub id: SessionId,
    /// The sensor that saw it.
    pub sensor: SensorId,
    /// Who may see it.
    pub domain: Domain,
    /// The type of service.
    pub category: Option<Category>,
    /// Where it came from.
    pub source: Option<Endpoint>,
    /// Where that is.
    pub source_geo: Option<Box<Geo>>,
    /// Where it went.
    pub target: Option<Endpoint>,
    /// The user it was let in as.
    pub user: Option<Untrusted>,
    /// When it began; `None` where nothing tells.
    pub started_at: Option<Timestamp>,
    /// When it ended, else its newest event that is known here.
    pub last_at: Timestamp,
    /// How long it took, in milliseconds, once it is over.
    pub duration_ms: Option<u64>,
    /// Why it ended; `None` while it lasts, or where that is not known.
    pub reason: Option<Untrusted>,
    /// Logins that were refused.
    pub logins_failed: u64,
    /// Logins that were let in.
    pub logins_accepted: u64,
    /// Command lines.
    pub commands: u64,
    /// Files asked for from elsewhere.
    pub downloads: u64,
    /// Files captured.
    pub payloads: u64,
    /// Whether there is a recording.
    pub recorded: bool,
}

/// One page of sessions.
#[derive(Clone, Debug, Default)]
pub struct AttackSessionPage {
    /// The sessions, the one with the newest matching event first.
    pub sessions: Vec<AttackSession>,
    /// Give this to get the next page; `None` where this was the last.
    pub next: Option<Cursor>,
}

/// One session with its events.
#[derive(Clone, Debug)]
pub struct AttackSessionEvents {
    /// The session.
    pub session: AttackSession,
    /// Its newest events, or those before the cursor, in the order in which they
    /// happened; without the parts of its recording.
    pub events: Vec<Event>,
    /// Give this to get the events before; `None` where there are none.
    pub next: Option<Cursor>,
}

impl Queries {
    /// A page of sessions of which an event matches.
    pub(crate) async fn sessions(
        &self,
        who: &Principal,
        query: Query,
        limit: usize,
        after: Option<Cursor>,
    ) -> Result<AttackSessionPage, QueryError> {
        let limit = limit.clamp(1, MAX_PAGE_SESSIONS);
        let (found, next) = self.walk(who, &query, limit, after).await?;
        Ok(AttackSessionPage { sessions: self.summarise(who, found).await?, next })
    }

    /// One session; of the sensor that saw it last where none is named.
    pub(crate) async fn session(
        &self,
        who: &Principal,
        id: &SessionId,
        sensor: Option<&SensorId>,
        limit: usize,
        after: Option<Cursor>,
    ) -> Result<Option<AttackSessionEvents>, QueryError> {
        let Some(newest) = self.newest(who, id, sensor).await? else { return Ok(None) };
        let Some(name) = name(&newest) else { return Ok(None) };
        let range = around([newest.observed_at]);
        let Some(session) = self.summarise(who, vec![newest]).await?.pop() else {
            return Ok(None);
        };
        let parts = kinds([EventKind::SessionRecorded]);
        let filter = Filter::And(vec![belongs([&name]), Filter::Not(Box::new(parts))]);
        let page = self.search(who, Query { range, filter }, limit, after).await?;
        let mut events = page.events;
        events.reverse();
        Ok(Some(AttackSessionEvents { session, events, next: page.next }))
    }

    /// The recording of a session, as far as it has come.
    pub(crate) async fn recording(
        &self,
        who: &Principal,
        id: &SessionId,
        sensor: Option<&SensorId>,
    ) -> Result<Option<Recording>, QueryError> {
        let Some(newest) = self.newest(who, id, sensor).await? else { return Ok(None) };
        let Some(name) = name(&newest) else { return Ok(None) };
        let filter = Filter::And(vec![belongs([&name]), kinds([EventKind::SessionRecorded])]);
        let query = Query { range: around([newest.observed_at]), filter };
        let page = self.search(who, query, MAX_PARTS, None).await?;
        Ok(Recording::assemble(page.events))
    }

    async fn newest(
        &self,
        who: &Principal,
        id: &SessionId,
        sensor: Option<&SensorId>,
    ) -> Result<Option<Event>, QueryError> {
        let mut filter = vec![Filter::In(Field::Session, vec![id.as_str().to_owned()])];
        filter.extend(sensor.map(|name| Filter::In(Field::Sensor, vec![name.as_str().to_owned()])));
        let query = Query { filter: Filter::And(filter), ..Query::ALL };
        Ok(self.search(who, query, 1, None).await?.events.pop())
    }

    /// The newest matching event of each session, from the cursor on, without
    /// those that an earlier page has.
    async fn walk(
        &self,
        who: &Principal,
        query: &Query,
        limit: usize,
        after: Option<Cursor>,
    ) -> Result<(Vec<Event>, Option<Cursor>), QueryError> {
        let mut found: Vec<Event> = Vec::new();
        let mut known: HashSet<Name> = HashSet::new();
        let mut at = after;
        for _ in 0..MAX_STEPS {
            let mut all = vec![Filter::Exists(Field::Session), query.filter.clone()];
            if !known.is_empty() {
                all.push(Filter::Not(Box::new(belongs(&known))));
            }
            let asked = Query { range: query.range, filter: Filter::And(all) };
            let page = self.search(who, asked, STEP_EVENTS, at).await?;
            let last = page.events.last().map(place);
            let mut fresh = page.events;
            fresh.retain(|event| name(event).is_some_and(|name| known.insert(name)));
            if let Some(after) = after
                && !fresh.is_empty()
            {
                let before = self.listed_before(who, query, &fresh, after).await?;
                fresh.retain(|event| name(event).is_some_and(|name| !before.contains(&name)));
            }
            for event in fresh {
                found.push(event);
                if found.len() == limit {
                    let at = found.last().map(place);
                    return Ok((found, at));
                }
            }
            at = last.or(at);
            if page.next.is_none() {
                return Ok((found, None));
            }
        }
        Ok((found, at))
    }

    /// Which of these sessions have a matching event before the cursor, so that
    /// an earlier page has them.
    async fn listed_before(
        &self,
        who: &Principal,
        query: &Query,
        found: &[Event],
        after: Cursor,
    ) -> Result<HashSet<Name>, QueryError> {
        let names: Vec<Name> = found.iter().filter_map(name).collect();
        let filter = Filter::And(vec![belongs(&names), query.filter.clone()]);
        let later = after.observed_at.plus_millis(1);
        let newer =
            Query { range: TimeRange { from: Some(later), ..query.range }, filter: filter.clone() };
        let top = Aggregation::Top(vec![Field::Session, Field::Sensor], STEP_EVENTS, None);
        let buckets = groups(self.aggregate(who, newer, top).await?);
        let mut before: HashSet<Name> = buckets.iter().filter_map(named).collect();
        // Of the instant of the cursor itself.
        let range = TimeRange { from: Some(after.observed_at), to: Some(later) };
        let ties = self.search(who, Query { range, filter }, MAX_TIES, None).await?;
        let ahead = ties.events.iter().filter(|event| event.id >= after.id);
        before.extend(ahead.filter_map(name));
        Ok(before)
    }

    /// Sums up the sessions of these events, in their order.
    async fn summarise(
        &self,
        who: &Principal,
        found: Vec<Event>,
    ) -> Result<Vec<AttackSession>, QueryError> {
        let names: Vec<Name> = found.iter().filter_map(name).collect();
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let range = around(found.iter().map(|event| event.observed_at));
        let all = |more| Query { range, filter: Filter::And(vec![belongs(&names), more]) };
        let of_each = |field| {
            let each = Aggregation::Top(vec![field], COUNTED.len(), None);
            let by = vec![Field::Session, Field::Sensor];
            Aggregation::Top(by, MAX_PAGE_SESSIONS, Some(Box::new(each)))
        };
        let counted = self.aggregate(who, all(kinds(COUNTED)), of_each(Field::Kind)).await?;
        let tried = all(kinds([EventKind::AuthAttempted]));
        let outcomes = self.aggregate(who, tried, of_each(Field::Outcome)).await?;
        let accepted = Filter::In(Field::Outcome, vec![Outcome::Accepted.as_str().to_owned()]);
        let ends = kinds([EventKind::ConnectionOpened, EventKind::SessionClosed]);
        let telling = all(Filter::Or(vec![ends, accepted]));
        let telling = self.search(who, telling, MAX_PAGE_SESSIONS * 5, None).await?.events;

        let mut sessions: Vec<AttackSession> =
            found.into_iter().filter_map(AttackSession::begin).collect();
        let places: HashMap<Name, usize> = sessions
            .iter()
            .enumerate()
            .map(|(place, session)| ((session.id.clone(), session.sensor.clone()), place))
            .collect();
        for bucket in groups(counted).iter().chain(&groups(outcomes)) {
            let place = named(bucket).and_then(|name| places.get(&name).copied());
            if let Some(session) = place.and_then(|place| sessions.get_mut(place)) {
                session.count(bucket);
            }
        }
        for event in telling {
            let place = name(&event).and_then(|name| places.get(&name).copied());
            if let Some(session) = place.and_then(|place| sessions.get_mut(place)) {
                session.learn(event);
            }
        }
        Ok(sessions)
    }
}

impl AttackSession {
    fn begin(event: Event) -> Option<Self> {
        Some(Self {
            id: event.session?,
            sensor: event.sensor,
            domain: event.domain,
            category: event.category,
            source: event.source,
            source_geo: event.source_geo,
            target: event.target,
            user: None,
            started_at: None,
            last_at: event.observed_at,
            duration_ms: None,
            reason: None,
            logins_failed: 0,
            logins_accepted: 0,
            commands: 0,
            downloads: 0,
            payloads: 0,
            recorded: false,
        })
    }

    /// Takes the counts of its kinds or outcomes.
    fn count(&mut self, bucket: &Bucket) {
        let Some(Aggregated::Buckets { buckets, .. }) = bucket.sub.as_deref() else { return };
        for Bucket { key, count, .. } in buckets {
            let Some(Key::Text(value)) = key.first() else { continue };
            match value.as_str() {
                "accepted" => self.logins_accepted = *count,
                // Where an outcome is not known, nobody was seen to be let in.
                "failed" => self.logins_failed = *count,
                value => match value.parse() {
                    Ok(EventKind::CommandEntered) => self.commands = *count,
                    Ok(EventKind::DownloadAttempted) => self.downloads = *count,
                    Ok(EventKind::PayloadCaptured) => self.payloads = *count,
                    Ok(EventKind::SessionRecorded) => self.recorded = true,
                    _ => {}
                },
            }
        }
    }

    /// Takes what its beginning, end or login tells; newest first.
    fn learn(&mut self, event: Event) {
        self.last_at = self.last_at.max(event.observed_at);
        match event.kind {
            EventKind::ConnectionOpened => self.started_at = Some(event.observed_at),
            EventKind::SessionClosed => {
                if let Some(AttributeValue::Integer(millis)) = event.attributes.get("duration_ms") {
                    let millis = (*millis).max(0);
                    self.duration_ms = u64::try_from(millis).ok();
                    self.started_at = Some(event.observed_at.plus_millis(-millis));
                }
                let reason = match event.attributes.get("reason") {
                    Some(AttributeValue::Text(reason)) => reason.clone(),
                    _ => Untrusted::from("closed"),
                };
                self.reason = Some(reason);
            }
            _ => {
                if let Some(user) = event.credentials.and_then(|tried| tried.username) {
                    self.user = Some(user);
                }
            }
        }
    }
}

fn place(event: &Event) -> Cursor {
    Cursor { observed_at: event.observed_at, id: event.id }
}

fn name(event: &Event) -> Option<Name> {
    Some((event.session.clone()?, event.sensor.clone()))
}

/// Events of these sessions.
fn belongs<'a>(names: impl IntoIterator<Item = &'a Name>) -> Filter {
    let mut by_sensor: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (session, sensor) in names {
        by_sensor.entry(sensor.as_str()).or_default().push(session.as_str().to_owned());
    }
    let of = |(sensor, sessions): (&str, Vec<String>)| {
        Filter::And(vec![
            Filter::In(Field::Sensor, vec![sensor.to_owned()]),
            Filter::In(Field::Session, sessions),
        ])
    };
    Filter::Or(by_sensor.into_iter().map(of).collect())
}

fn kinds(kinds: impl IntoIterator<Item = EventKind>) -> Filter {
    Filter::In(Field::Kind, kinds.into_iter().map(|kind| kind.as_str().to_owned()).collect())
}

/// The times in which all of sessions lies of which these are known.
fn around(times: impl IntoIterator<Item = Timestamp> + Clone) -> TimeRange {
    let from = times.clone().into_iter().min().map(|at| at.plus_millis(-REACH_MILLIS));
    let to = times.into_iter().max().map(|at| at.plus_millis(REACH_MILLIS));
    TimeRange { from, to }
}

fn groups(answer: Aggregated) -> Vec<Bucket> {
    match answer {
        Aggregated::Buckets { buckets, .. } => buckets,
        _ => Vec::new(),
    }
}

fn named(bucket: &Bucket) -> Option<Name> {
    let [Key::Text(session), Key::Text(sensor)] = bucket.key.as_slice() else { return None };
    Some((SessionId::new(session).ok()?, SensorId::new(sensor).ok()?))
}
