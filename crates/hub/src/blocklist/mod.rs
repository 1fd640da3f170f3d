//! Block lists: who is banned now, for consumers that take a list and follow no
//! feed. Not how a list is written; a dialect does that.
//!
//! The bans are read from the state once for all who ask, and again when
//! something has changed, at most a tenth of the time. While nobody asks
//! nothing is held.

mod link;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use palisade_event::{
    CountryCode, Credentials, Decision, DecisionOrigin, DecisionTarget, Domain, Endpoint, Event,
    EventId, EventKind, ScenarioName, SensorId, Timestamp, Untrusted,
};
use palisade_store::query::{Filter, Query};
use palisade_store::state::{DecisionRecord, State, StateError};
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

use crate::auth::{Permission, Principal};
use crate::decisions::Decisions;
use crate::enrich::Enricher;
use crate::error::QueryError;
pub use link::{MAX_LINKS, NewLink, SignedLink};

/// Decisions of one question to the state.
const PAGE: u32 = 2_000;
/// What took longer to read than this is not read again at once.
const CHEAP: Duration = Duration::from_millis(50);
/// What is dear is read again after so many times as long.
const REST: u32 = 10;
/// Nobody has asked for so long: what is held goes.
const IDLE: Duration = Duration::from_secs(10 * 60);
/// How often that is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// Somebody who is banned. Of several bans of one target the longest is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Banned {
    /// The decision.
    pub id: EventId,
    /// Who is banned.
    pub target: DecisionTarget,
    /// Since when.
    pub from: Timestamp,
    /// Until when.
    pub until: Timestamp,
    /// Which scenario asked for it.
    pub scenario: Arc<str>,
    /// Why.
    pub reason: Arc<str>,
    /// Who made it.
    pub origin: Arc<DecisionOrigin>,
    /// The country of the address, or of the network's first one, where it is known.
    pub country: Option<CountryCode>,
}

/// All bans in force at one moment.
#[derive(Debug)]
struct Snapshot {
    /// The number of the last change that is in it.
    head: u64,
    /// By target.
    bans: Vec<Banned>,
    taken: Instant,
    cost: Duration,
}

/// Bans that match a query. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Blocklist {
    snapshot: Arc<Snapshot>,
    /// Places in the snapshot; all without.
    picked: Option<Arc<[u32]>>,
}

impl Blocklist {
    /// The bans that are not over at `now`, by target: IPv4 first.
    pub fn bans(&self, now: Timestamp) -> impl Iterator<Item = &Banned> {
        let all = &self.snapshot.bans;
        let whole = self.picked.is_none().then(|| all.iter());
        let some = self.picked.iter().flat_map(|picked| picked.iter());
        let some = some.filter_map(|place| all.get(*place as usize));
        whole.into_iter().flatten().chain(some).filter(move |ban| ban.until > now)
    }

    /// The number of the last change that it knows of.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.snapshot.head
    }
}

/// Says that somebody may have block lists: made from a credential or a link.
#[derive(Clone, Copy, Debug)]
pub struct BlocklistPass(());

/// See the module.
pub(crate) struct Blocklists {
    state: State,
    decisions: Arc<Decisions>,
    enricher: Arc<Enricher>,
    held: Mutex<Option<Held>>,
    /// One reads, the others wait for it.
    turn: tokio::sync::Mutex<()>,
    secret: OnceCell<Box<[u8]>>,
}

struct Held {
    snapshot: Arc<Snapshot>,
    asked: Instant,
}

impl Blocklists {
    pub(crate) fn new(state: &State, decisions: Arc<Decisions>, enricher: Arc<Enricher>) -> Self {
        Self {
            state: state.clone(),
            decisions,
            enricher,
            held: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
            secret: OnceCell::new(),
        }
    }

    /// Whether a credential may have block lists: who may see decisions, or
    /// carries them out.
    pub(crate) fn pass(who: &Principal) -> Result<BlocklistPass, QueryError> {
        let may = [Permission::Read, Permission::Decisions, Permission::Bouncer]
            .into_iter()
            .any(|permission| who.may(permission));
        if may && who.sees(Domain::Private) {
            Ok(BlocklistPass(()))
        } else {
            Err(QueryError::Forbidden)
        }
    }

    /// The number of the last change.
    pub(crate) fn version(&self) -> u64 {
        self.decisions.told_so_far()
    }

    /// The bans that match.
    pub(crate) async fn list(self: &Arc<Self>, query: &Query) -> Result<Blocklist, QueryError> {
        let snapshot = self.snapshot().await?;
        if *query == Query::ALL {
            return Ok(Blocklist { snapshot, picked: None });
        }
        let (this, query) = (Arc::clone(self), query.clone());
        let picked = tokio::task::spawn_blocking(move || {
            this.pick(&snapshot, &query)
                .map(|picked| Blocklist { snapshot: Arc::clone(&snapshot), picked: Some(picked) })
        });
        picked.await.map_err(|error| QueryError::Failed(error.to_string()))?
    }

    /// Blocks.
    fn pick(&self, snapshot: &Snapshot, query: &Query) -> Result<Arc<[u32]>, QueryError> {
        let sensor = SensorId::new("hub").map_err(|error| QueryError::Failed(error.to_string()))?;
        let wants_place = query.filter != Filter::All;
        let places = snapshot.bans.iter().zip(0..).filter(|(ban, _)| {
            let mut event = as_event(ban, &sensor);
            if wants_place {
                self.enricher.enrich(&mut event);
            }
            query.matches(&event)
        });
        Ok(places.map(|(_, place)| place).collect())
    }

    async fn snapshot(&self) -> Result<Arc<Snapshot>, QueryError> {
        if let Some(fresh) = self.fresh() {
            return Ok(fresh);
        }
        let _turn = self.turn.lock().await;
        if let Some(fresh) = self.fresh() {
            return Ok(fresh);
        }
        let began = Instant::now();
        let head = self.version();
        let records = self.read(head).await?;
        let (enricher, taken) = (Arc::clone(&self.enricher), Instant::now());
        let made = tokio::task::spawn_blocking(move || sorted(records, &enricher)).await;
        let bans = made.map_err(|error| QueryError::Failed(error.to_string()))?;
        let snapshot = Arc::new(Snapshot { head, bans, taken, cost: began.elapsed() });
        *self.held() = Some(Held { snapshot: Arc::clone(&snapshot), asked: Instant::now() });
        Ok(snapshot)
    }

    fn fresh(&self) -> Option<Arc<Snapshot>> {
        let mut held = self.held();
        let held = held.as_mut()?;
        let snapshot = &held.snapshot;
        let is_fresh = snapshot.head == self.version()
            || (snapshot.cost > CHEAP && snapshot.taken.elapsed() < snapshot.cost * REST);
        is_fresh.then(|| {
            held.asked = Instant::now();
            Arc::clone(&held.snapshot)
        })
    }

    fn held(&self) -> MutexGuard<'_, Option<Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All that is in force, page by page, in the short form.
    async fn read(&self, until: u64) -> Result<Vec<Banned>, StateError> {
        let now = Timestamp::from(std::time::SystemTime::now());
        let mut shared = Shared::default();
        let (mut bans, mut after) = (Vec::new(), 0);
        loop {
            let page = self.state.decisions_between(after, until, PAGE, now).await?;
            let full = page.len() >= PAGE as usize;
            after = page.last().and_then(|last| last.seq).unwrap_or(until);
            bans.extend(page.into_iter().filter_map(|record| shared.short(record)));
            if !full {
                return Ok(bans);
            }
        }
    }

    /// Lets go of what nobody has asked for, until it is to stop.
    pub(crate) async fn run(self: Arc<Self>, stop: CancellationToken) {
        let mut looks = tokio::time::interval(LOOK_EVERY);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = looks.tick() => {}
            }
            let mut held = self.held();
            if held.as_ref().is_some_and(|held| held.asked.elapsed() > IDLE) {
                *held = None;
            }
        }
    }
}

/// Texts that many bans have, kept once.
#[derive(Default)]
struct Shared {
    texts: HashSet<Arc<str>>,
    origins: HashMap<String, Arc<DecisionOrigin>>,
}

impl Shared {
    fn text(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.texts.get(text) {
            return Arc::clone(known);
        }
        let new: Arc<str> = text.into();
        self.texts.insert(Arc::clone(&new));
        new
    }

    fn origin(&mut self, origin: DecisionOrigin) -> Arc<DecisionOrigin> {
        let key = format!("{origin:?}");
        Arc::clone(self.origins.entry(key).or_insert_with(|| Arc::new(origin)))
    }

    /// `None` for what is no ban.
    fn short(&mut self, record: DecisionRecord) -> Option<Banned> {
        let Decision { id, target, from, scenario, reason, .. } =
            record.made.decision.is_ban().then_some(record.made.decision)?;
        Some(Banned {
            id,
            target,
            from,
            until: record.ended_at,
            scenario: self.text(scenario.as_str()),
            reason: self.text(&reason),
            origin: self.origin(record.made.origin),
            country: None,
        })
    }
}

/// One a target, by target, with countries. Blocks.
fn sorted(mut bans: Vec<Banned>, enricher: &Enricher) -> Vec<Banned> {
    // The longest first; of equal ones the older, on every hub.
    bans.sort_unstable_by(|a, b| {
        let place = |ban: &Banned| (ban.target.bounds(), std::cmp::Reverse(ban.until), ban.id);
        place(a).cmp(&place(b))
    });
    bans.dedup_by(|later, first| later.target == first.target);
    bans.shrink_to_fit();
    for ban in &mut bans {
        let country = enricher.locate(first_address(ban.target)).and_then(|geo| geo.country);
        // The mark of private addresses is no country.
        ban.country = country.filter(|country| *country != CountryCode::PRIVATE);
    }
    bans
}

/// The address itself, or the first one of the network.
pub(crate) fn first_address(target: DecisionTarget) -> std::net::IpAddr {
    match target {
        DecisionTarget::Ip(address) => address,
        DecisionTarget::Range(range) => range.network(),
    }
}

/// A ban as the event that queries look at.
fn as_event(ban: &Banned, hub: &SensorId) -> Event {
    let (sensor, host, by) = match &*ban.origin {
        DecisionOrigin::Sensor { name, host } => (name, host.as_ref(), None),
        DecisionOrigin::Operator { name } => (hub, None, Some(&**name)),
        DecisionOrigin::Hub => (hub, None, None),
    };
    let mut event = Event::new(ban.id, EventKind::DecisionMade, ban.from, sensor.clone());
    event.host = host.cloned();
    event.received_at = Some(ban.from);
    let scenario = ScenarioName::new(&ban.scenario).ok();
    describe(&mut event, ban.target, scenario.as_ref(), &ban.reason, by);
    event
}

/// Gives the fields of queries to an event that tells of a decision, where it
/// has them as attributes alone: the reason as `request`, the operator as
/// `user`, the first address of a network as `ip`.
pub(crate) fn describe(
    event: &mut Event,
    target: DecisionTarget,
    scenario: Option<&ScenarioName>,
    reason: &str,
    by: Option<&str>,
) {
    event.source = Some(Endpoint::address(first_address(target)));
    if let Some(scenario) = scenario {
        event.analyzer = palisade_event::AnalyzerName::new(scenario.as_str()).ok();
    }
    if !reason.is_empty() {
        event.request = Some(Untrusted::from(reason));
    }
    if let Some(by) = by {
        let username = Some(Untrusted::from(by));
        event.credentials = Some(Credentials { username, password: None, outcome: None });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::GeoConfig;

    fn ban(id: u128, target: &str, until: i64) -> Banned {
        Banned {
            id: EventId::new(Timestamp::from_millis(1), id),
            target: target.parse().unwrap(),
            from: Timestamp::from_millis(1),
            until: Timestamp::from_millis(until),
            scenario: "ssh-bruteforce".into(),
            reason: "6 failed logins".into(),
            origin: Arc::new(DecisionOrigin::Sensor {
                name: SensorId::new("web-1").unwrap(),
                host: None,
            }),
            country: None,
        }
    }

    fn list(bans: Vec<Banned>) -> Blocklist {
        let enricher = Enricher::open(&GeoConfig::default()).unwrap();
        let bans = sorted(bans, &enricher);
        let snapshot = Snapshot { head: 1, bans, taken: Instant::now(), cost: Duration::ZERO };
        Blocklist { snapshot: Arc::new(snapshot), picked: None }
    }

    #[test]
    fn each_target_is_told_once_for_as_long_as_the_longest_ban() {
        let bans = [
            ban(1, "198.51.100.7", 20),
            ban(2, "192.0.2.0/24", 30),
            ban(3, "198.51.100.7", 50),
            ban(4, "8.8.8.8", 30),
            ban(5, "2001:db8::/48", 30),
        ];
        let list = list(bans.to_vec());
        let told = |now| -> Vec<(String, i64)> {
            let bans = list.bans(Timestamp::from_millis(now));
            bans.map(|ban| (ban.target.to_string(), ban.until.as_millis())).collect()
        };
        let expected =
            [("8.8.8.8", 30), ("192.0.2.0/24", 30), ("198.51.100.7", 50), ("2001:db8::/48", 30)];
        assert_eq!(told(10), expected.map(|(target, until)| (target.to_owned(), until)));
        assert_eq!(told(30), [("198.51.100.7".to_owned(), 50)], "what is over is not told");
        let us = list.bans(Timestamp::from_millis(1)).next().unwrap();
        assert_eq!(us.country, CountryCode::new("US").ok());
    }

    #[test]
    fn a_query_sees_address_scenario_sensor_operator_and_reason() {
        let hub = SensorId::new("hub").unwrap();
        let mut by_hand = ban(1, "198.51.100.0/24", 20);
        by_hand.origin = Arc::new(DecisionOrigin::Operator { name: "anna".into() });
        let matches = |ban: &Banned, text: &str| {
            let query = Query::parse(text, Timestamp::from_millis(5)).unwrap();
            query.matches(&as_event(ban, &hub))
        };
        for text in
            ["ip:198.51.0.0/16", "sensor:hub", "user:anna", "\"failed\"", "kind:decision.made"]
        {
            assert!(matches(&by_hand, text), "{text}");
        }
        let other = ban(2, "192.0.2.1", 20);
        for text in ["sensor:web-1", "analyzer:ssh-*", "ip:192.0.2.1", "-user:*"] {
            assert!(matches(&other, text), "{text}");
        }
        assert!(!matches(&other, "sensor:hub") && !matches(&other, "request:none"));
    }
}
