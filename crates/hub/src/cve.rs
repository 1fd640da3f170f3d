//! First-seen vulnerabilities: events of the writer, after their commit →
//! counted here → written down in the state database every few seconds, with
//! an announcement of each that is new ([`crate::notify`] sends those).
//!
//! Nothing here can cost an event: what cannot be written down waits, within a
//! bound, and what a crash takes with it is found again in the store at the
//! next start.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use palisade_event::{Domain, Event, EventId, SensorId, Timestamp};
use palisade_store::query::{Aggregation, Field, Filter, Interval, Query, TimeRange};
use palisade_store::state::{CveLimits, SeenCve, State};
use palisade_store::{Aggregated, Key};
use serde::Serialize;

use crate::auth::Principal;
use crate::config::NotifyConfig;
use crate::error::{QueryError, StateError};
use crate::metrics::{Metrics, Reason};
use crate::notify::Notify;
use crate::query::{Queries, readable};

/// Vulnerabilities that are remembered, each domain by itself.
const MAX_CVES: u64 = 50_000;
/// Vulnerabilities that wait to be written down.
const MAX_PENDING_CVES: usize = 4_096;
/// Announcements that wait for their receivers.
const MAX_ANNOUNCEMENTS: u64 = 10_000;
/// Vulnerabilities of one transaction.
const NOTED_AT_ONCE: usize = 200;
/// Vulnerabilities that are listed, and looked for in the store at the start.
const MAX_LISTED: usize = palisade_store::query::MAX_TOP;
/// How long counts are used, in milliseconds.
const COUNTS_MILLIS: u128 = 10_000;
/// Rounds of narrowing down the time of a first event.
const MAX_ROUNDS: usize = 8;
/// Events that are read to find the first one.
const FIRST_PAGE: usize = 200;
/// A day, in milliseconds.
const DAY_MILLIS: i64 = 24 * 60 * 60 * 1000;
/// The file that says that a hub ended with nothing left to be noted.
const ENDED_FILE: &str = "cves-noted";
/// Where it is written down that the store was looked through once.
const FOUND_BEFORE: &str = "cves_found_before";

/// Events that aimed at a vulnerability, in the order of domain and id.
pub(crate) type Sightings = BTreeMap<(Domain, Box<str>), SeenCve>;

/// A vulnerability and who aimed at it first, as far as the reader may know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CveInfo {
    /// Its id, such as `CVE-2026-24061`.
    pub cve: String,
    /// When it was first aimed at.
    pub first_seen: Timestamp,
    /// When it was last aimed at; up to a few seconds old.
    pub last_seen: Timestamp,
    /// The first event.
    pub first_event: EventId,
    /// Where that came from.
    pub first_source: Option<IpAddr>,
    /// Who observed it.
    pub first_sensor: SensorId,
    /// The type of service it went for.
    pub category: Option<String>,
    /// Domain of the first event.
    pub domain: Domain,
    /// Events in the store that aim at it; unknown for those beyond the
    /// thousand most frequent.
    pub count: Option<u64>,
}

/// What is known of vulnerabilities.
pub(crate) struct Cves {
    state: State,
    metrics: Arc<Metrics>,
    notify: Arc<Notify>,
    hooks: Vec<String>,
    /// A file that is there while a hub that has ended left nothing to be noted.
    ended: PathBuf,
    /// Whether nothing is left of an earlier hub.
    caught_up: AtomicBool,
    /// Whether some were left out, for the next start to find in the store.
    missed: AtomicBool,
    pending: Mutex<Sightings>,
    /// Counts of those who see everything, and of those who see the community.
    counts: [tokio::sync::Mutex<Option<Counts>>; 2],
}

struct Counts {
    at: Instant,
    by_cve: Arc<HashMap<String, u64>>,
}

/// Whether a text is the id of a vulnerability: `CVE-`, a year, and four or
/// more digits (cve.org's rule since 2014).
pub(crate) fn is_cve(text: &str) -> bool {
    let digits = |part: &str, most: usize| {
        (4..=most).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit())
    };
    text.strip_prefix("CVE-")
        .and_then(|rest| rest.split_once('-'))
        .is_some_and(|(year, number)| digits(year, 4) && digits(number, 19))
}

/// Adds an event to what was sighted, where it names a vulnerability.
pub(crate) fn sight(sightings: &mut Sightings, event: &Event) {
    let Some(cve) = event.cve.as_deref().filter(|cve| is_cve(cve)) else { return };
    let key = (event.domain, Box::from(cve));
    if sightings.len() >= MAX_PENDING_CVES && !sightings.contains_key(&key) {
        return;
    }
    merge(sightings, key, seen(cve, event));
}

fn seen(cve: &str, event: &Event) -> SeenCve {
    SeenCve {
        cve: cve.to_owned(),
        domain: event.domain,
        first_seen: event.observed_at,
        last_seen: event.observed_at,
        first_event: event.id,
        first_source: event.source.as_ref().map(|source| source.address),
        first_sensor: event.sensor.clone(),
        category: event.category.as_ref().map(|category| category.to_string()),
    }
}

/// Adds sightings to others, within the bound.
pub(crate) fn merge_all(sightings: &mut Sightings, more: Sightings) {
    for (key, one) in more {
        if sightings.len() < MAX_PENDING_CVES || sightings.contains_key(&key) {
            merge(sightings, key, one);
        }
    }
}

/// Two sightings of the same become one.
fn merge(sightings: &mut Sightings, key: (Domain, Box<str>), new: SeenCve) {
    let Some(old) = sightings.get_mut(&key) else {
        sightings.insert(key, new);
        return;
    };
    let last_seen = old.last_seen.max(new.last_seen);
    if new.first_seen < old.first_seen {
        *old = new;
    }
    old.last_seen = last_seen;
}

impl Cves {
    pub(crate) fn new(
        state: &State,
        config: &NotifyConfig,
        notify: Arc<Notify>,
        metrics: Arc<Metrics>,
        hub_dir: &Path,
    ) -> Self {
        Self {
            state: state.clone(),
            metrics,
            notify,
            ended: hub_dir.join(ENDED_FILE),
            caught_up: AtomicBool::new(false),
            missed: AtomicBool::new(false),
            hooks: config.webhooks.iter().map(|hook| hook.name.clone()).collect(),
            pending: Mutex::default(),
            counts: Default::default(),
        }
    }

    fn pending(&self) -> MutexGuard<'_, Sightings> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what a commit has made durable.
    pub(crate) fn saw(&self, sightings: Sightings) {
        if sightings.is_empty() {
            return;
        }
        // One commit may have had more than fit ([`sight`]).
        if sightings.len() >= MAX_PENDING_CVES {
            self.missed.store(true, Ordering::Relaxed);
        }
        let mut pending = self.pending();
        for (key, one) in sightings {
            if pending.len() >= MAX_PENDING_CVES && !pending.contains_key(&key) {
                self.missed.store(true, Ordering::Relaxed);
                self.left_out("waiting", 1);
                continue;
            }
            merge(&mut pending, key, one);
        }
    }

    fn left_out(&self, reason: &'static str, count: u64) {
        if count > 0 {
            self.metrics.cves_left_out.get_or_create_owned(&Reason { reason }).inc_by(count);
        }
    }

    /// Writes down what waits; what fails waits on.
    pub(crate) async fn flush(&self, now: Timestamp) -> Result<(), StateError> {
        loop {
            let batch: Sightings = {
                let mut pending = self.pending();
                let rest = pending.keys().nth(NOTED_AT_ONCE).cloned();
                let later = rest.map(|key| pending.split_off(&key)).unwrap_or_default();
                std::mem::replace(&mut *pending, later)
            };
            if batch.is_empty() {
                return Ok(());
            }
            let hooks: Vec<&str> = self.hooks.iter().map(String::as_str).collect();
            if let Err(error) = self.note(batch.values(), &hooks, now).await {
                self.saw(batch);
                return Err(error);
            }
        }
    }

    async fn note(
        &self,
        seen: impl Iterator<Item = &SeenCve>,
        hooks: &[&str],
        now: Timestamp,
    ) -> Result<(), StateError> {
        let limits = CveLimits { cves: MAX_CVES, announcements: MAX_ANNOUNCEMENTS };
        let seen: Vec<SeenCve> = seen.cloned().collect();
        let noted = self.state.note_cves(&seen, hooks, limits, now).await?;
        for cve in &noted.new {
            tracing::info!(%cve, "a vulnerability was aimed at for the first time");
        }
        self.left_out("table", noted.left_out);
        self.metrics.announcements_dropped("queue", noted.not_announced);
        if !noted.new.is_empty() {
            self.notify.wake();
        }
        Ok(())
    }

    /// Whether the hub before ended with nothing left to be noted. The file goes
    /// for good before this one notes anything: after a crash it must not be there.
    fn ended_well(&self) -> bool {
        let removed = std::fs::remove_file(&self.ended).and_then(|()| match self.ended.parent() {
            Some(dir) => std::fs::File::open(dir)?.sync_all(),
            None => Ok(()),
        });
        removed.is_ok()
    }

    /// Says at the end of a hub that all it saw is written down, so that its next
    /// start need not look through the store.
    pub(crate) fn ended(&self) {
        if self.caught_up.load(Ordering::Relaxed) && !self.missed.load(Ordering::Relaxed) {
            // Without the file the next start looks through the store.
            let _ = std::fs::write(&self.ended, "");
        }
    }

    /// Notes what is in the store and was not noted: after a crash, or where
    /// the store is older than this table. Then nothing is announced: it is no
    /// news, and may be a lot.
    pub(crate) async fn catch_up(
        &self,
        queries: &Queries,
        now: Timestamp,
    ) -> Result<(), QueryError> {
        let state = |error: palisade_store::state::StateError| StateError::from(error);
        let is_first = self.state.meta(FOUND_BEFORE).await.map_err(state)?.is_none();
        if !is_first && self.ended_well() {
            self.caught_up.store(true, Ordering::Relaxed);
            return Ok(());
        }
        let who = Principal::local(None);
        let hooks: Vec<&str> = match is_first {
            true => Vec::new(),
            false => self.hooks.iter().map(String::as_str).collect(),
        };
        for domain in [Domain::Community, Domain::Private] {
            let mut wanted = vec![
                Filter::In(Field::Domain, vec![domain.as_str().to_owned()]),
                Filter::Exists(Field::Cve),
            ];
            if is_first {
                // What comes from now on is news.
                let before = Some(now.as_millis() - 1);
                wanted.push(Filter::Between(Field::ReceivedAt, None, before));
            }
            let filter = Filter::And(wanted);
            // Day by day, so that a first event is looked for in its day alone.
            for range in days(queries, &who, &filter).await? {
                for cve in top(queries, &who, range, filter.clone()).await?.into_keys() {
                    if self.pending().contains_key(&(domain, Box::from(cve.as_str()))) {
                        continue;
                    }
                    let known = self.state.cve(&cve).await.map_err(state)?;
                    if known.iter().any(|known| known.domain == domain) || !is_cve(&cve) {
                        continue;
                    }
                    let first = first_event(queries, &who, &cve, domain, range).await?;
                    if let Some(first) = first {
                        self.note([seen(&cve, &first)].iter(), &hooks, now).await?;
                    }
                }
            }
        }
        if is_first {
            self.state.set_meta(FOUND_BEFORE, &now.to_string()).await.map_err(state)?;
        }
        self.caught_up.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Vulnerabilities, the newest first, as far as `who` may know of them.
    pub(crate) async fn list(
        &self,
        who: &Principal,
        queries: &Queries,
        now: Timestamp,
    ) -> Result<Vec<CveInfo>, QueryError> {
        readable(who)?;
        // Those of the last moment too. A database that fails says so below.
        let _ = self.flush(now).await;
        let counts = self.counted(who, queries).await?;
        let most = u32::try_from(2 * MAX_LISTED).unwrap_or(u32::MAX);
        let rows = self.state.cves(most).await.map_err(StateError::from)?;
        let mut listed: Vec<CveInfo> = Vec::new();
        let mut places: HashMap<String, usize> = HashMap::new();
        for row in rows.into_iter().filter(|row| who.sees(row.domain)) {
            match places.get(&row.cve).and_then(|&place| listed.get_mut(place)) {
                // The older of two domains follows the newer.
                Some(listed) => {
                    let last_seen = listed.last_seen.max(row.last_seen);
                    *listed = CveInfo { last_seen, ..info(row, &counts) };
                }
                None => {
                    places.insert(row.cve.clone(), listed.len());
                    listed.push(info(row, &counts));
                }
            }
        }
        listed.sort_by(|a, b| b.first_seen.cmp(&a.first_seen).then_with(|| a.cve.cmp(&b.cve)));
        listed.truncate(MAX_LISTED);
        Ok(listed)
    }

    /// What is known of one, for its announcement.
    pub(crate) async fn one(&self, cve: &str) -> Result<Option<CveInfo>, StateError> {
        let rows = self.state.cve(cve).await?;
        Ok(rows.into_iter().next().map(|row| info(row, &HashMap::new())))
    }

    async fn counted(
        &self,
        who: &Principal,
        queries: &Queries,
    ) -> Result<Arc<HashMap<String, u64>>, QueryError> {
        let [all, community] = &self.counts;
        let counts = if who.sees(Domain::Private) { all } else { community };
        // Held while the store counts: who comes meanwhile wants the same.
        let mut counts = counts.lock().await;
        if let Some(counts) = counts.as_ref()
            && counts.at.elapsed().as_millis() < COUNTS_MILLIS
        {
            return Ok(Arc::clone(&counts.by_cve));
        }
        let by_cve = Arc::new(top(queries, who, TimeRange::default(), Filter::All).await?);
        *counts = Some(Counts { at: Instant::now(), by_cve: Arc::clone(&by_cve) });
        Ok(by_cve)
    }
}

fn info(row: SeenCve, counts: &HashMap<String, u64>) -> CveInfo {
    let SeenCve { cve, domain, first_seen, last_seen, first_event, .. } = row;
    CveInfo {
        count: match counts.get(&cve) {
            Some(count) => Some(*count),
            // All there are were counted: it is past its retention.
            None if counts.len() < MAX_LISTED => Some(0),
            None => None,
        },
        first_source: row.first_source,
        first_sensor: row.first_sensor,
        category: row.category,
        cve,
        domain,
        first_seen,
        last_seen,
        first_event,
    }
}

/// The most frequent values of the field `cve`.
async fn top(
    queries: &Queries,
    who: &Principal,
    range: TimeRange,
    filter: Filter,
) -> Result<HashMap<String, u64>, QueryError> {
    let top = Aggregation::Top(vec![Field::Cve], MAX_LISTED, None);
    let answer = queries.aggregate(who, Query { range, filter }, top).await?;
    let Aggregated::Buckets { buckets, .. } = answer else { return Ok(HashMap::new()) };
    let text = |key: Vec<Key>| match key.into_iter().next() {
        Some(Key::Text(text)) => Some(text),
        _ => None,
    };
    Ok(buckets.into_iter().filter_map(|one| Some((text(one.key)?, one.count))).collect())
}

/// The days that have such events, the first one first.
async fn days(
    queries: &Queries,
    who: &Principal,
    filter: &Filter,
) -> Result<Vec<TimeRange>, QueryError> {
    let query = Query { range: TimeRange::default(), filter: filter.clone() };
    let counted = Aggregation::Histogram(Interval::Millis(DAY_MILLIS), None);
    let answer = queries.aggregate(who, query, counted).await?;
    let Aggregated::Buckets { buckets, .. } = answer else { return Ok(Vec::new()) };
    let range =
        |from: Timestamp| TimeRange { from: Some(from), to: Some(from.plus_millis(DAY_MILLIS)) };
    let some = buckets.iter().filter(|bucket| bucket.count > 0);
    Ok(some.filter_map(|bucket| instant(bucket.key.first()).map(range)).collect())
}

/// The first event in a range that aimed at it: narrows the time down by histograms.
async fn first_event(
    queries: &Queries,
    who: &Principal,
    cve: &str,
    domain: Domain,
    mut range: TimeRange,
) -> Result<Option<Event>, QueryError> {
    let filter = Filter::And(vec![
        Filter::In(Field::Domain, vec![domain.as_str().to_owned()]),
        Filter::In(Field::Cve, vec![cve.to_owned()]),
    ]);
    for _ in 0..MAX_ROUNDS {
        let query = Query { range, filter: filter.clone() };
        let counted = Aggregation::Histogram(Interval::Auto, None);
        let answer = queries.aggregate(who, query, counted).await?;
        let Aggregated::Buckets { buckets, .. } = answer else { break };
        let place = buckets.iter().position(|bucket| bucket.count > 0);
        let Some(first) = place.and_then(|place| buckets.get(place)) else { break };
        let start = instant(first.key.first());
        let end =
            place.and_then(|place| buckets.get(place + 1)).map(|next| instant(next.key.first()));
        let narrowed = TimeRange {
            from: start.into_iter().chain(range.from).max(),
            to: end.flatten().into_iter().chain(range.to).min(),
        };
        let done = first.count <= FIRST_PAGE as u64 || narrowed == range;
        range = narrowed;
        if done {
            break;
        }
    }
    let page = queries.search(who, Query { range, filter }, FIRST_PAGE, None).await?;
    Ok(page.events.into_iter().next_back())
}

fn instant(key: Option<&Key>) -> Option<Timestamp> {
    match key {
        Some(Key::Text(text)) => text.parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use palisade_event::EventKind;

    fn event(cve: &str, at: i64, domain: Domain) -> Event {
        let at = Timestamp::from_millis(at);
        let sensor = SensorId::new("unit").unwrap();
        let id = EventId::new(at, 1);
        let mut event = Event::new(id, EventKind::HttpRequested, at, sensor);
        event.cve = Some(cve.into());
        event.domain = domain;
        event
    }

    #[test]
    fn an_id_has_a_year_and_at_least_four_digits() {
        for good in ["CVE-1999-0001", "CVE-2024-123456"] {
            assert!(is_cve(good), "{good}");
        }
        for bad in ["", "CVE-2024", "CVE-2024-123", "cve-2024-1234", "CVE-24-1234", "CVE-2024-12a4"]
        {
            assert!(!is_cve(bad), "{bad}");
        }
    }

    #[tokio::test]
    async fn a_hub_that_left_some_out_did_not_end_with_all_noted() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("state.db");
        let settings = palisade_store::state::StateConfig::default();
        let state = State::open(&file, &settings).await.unwrap();
        let (config, metrics) = (NotifyConfig::default(), Arc::new(Metrics::new()));
        let cves = Cves::new(&state, &config, Arc::default(), metrics, dir.path());
        let marker = dir.path().join(ENDED_FILE);
        let of = |numbers: std::ops::Range<usize>| {
            let mut seen = Sightings::new();
            for n in numbers {
                sight(&mut seen, &event(&format!("CVE-2024-{n:05}"), 1, Domain::Private));
            }
            seen
        };
        cves.ended();
        assert!(!marker.exists(), "the store was not looked through yet");
        cves.caught_up.store(true, Ordering::Relaxed);
        cves.saw(of(0..MAX_PENDING_CVES - 1));
        cves.ended();
        assert!(cves.ended_well() && !marker.exists());
        cves.saw(of(50_000..50_002));
        cves.ended();
        assert!(!marker.exists(), "one was left out");
    }

    #[test]
    fn the_earliest_event_is_the_first_and_domains_are_apart() {
        let mut seen = Sightings::new();
        for (at, domain) in [(50, Domain::Private), (10, Domain::Private), (30, Domain::Community)]
        {
            sight(&mut seen, &event("CVE-2024-0001", at, domain));
        }
        sight(&mut seen, &event("no id", 1, Domain::Private));
        let of = |domain| {
            let one = seen.get(&(domain, "CVE-2024-0001".into())).unwrap();
            (one.first_seen.as_millis(), one.last_seen.as_millis())
        };
        assert_eq!(
            (seen.len(), of(Domain::Private), of(Domain::Community)),
            (2, (10, 50), (30, 30))
        );
    }
}
