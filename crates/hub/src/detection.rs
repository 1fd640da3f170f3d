//! Detection as the hub knows it: the scenarios in use, how often they have hit,
//! which of them are simulated, and what a line would lead to.
//!
//! Most is counted by agents, and what they find comes as events; what the hub
//! counts itself is in [`crate::correlation`].
//! A switch is kept in the state; the detector of this process follows it by
//! [`Hub::switches`](crate::Hub::switches), agents elsewhere by the change feed.

use std::sync::OnceLock;
use std::time::Duration;

use palisade_event::{Domain, EventKind, ScenarioName, SensorId, Timestamp};
use palisade_rules::scenario::{GroupBy, Runs};
use palisade_rules::{
    Allowlist, Detector, ExplainedLine, Explainer, LineContext, LogFormat, Scenario, Shown,
    Switches,
};
use palisade_store::query::{Aggregation, Field, Filter, Interval, Query};
use palisade_store::state::{State, StateError as Broken};
use palisade_store::{Aggregated, Bucket, Key};
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, watch};

use crate::auth::{Permission, Principal};
use crate::decisions::HUB;
use crate::error::{AdminError, QueryError, StateError};
use crate::query::Queries;

/// Lines that are explained at once.
pub const MAX_EXPLAINED_LINES: usize = 20;
/// Bytes of these lines together.
pub const MAX_EXPLAINED_BYTES: usize = 64 * 1024;
/// Explanations that are worked on at once; the others wait.
const MAX_EXPLANATIONS: usize = 1;
/// Names of the allowlist that are resolved for one explanation.
const MAX_NAMES: usize = 16;
/// Longest wait for these names; what is not resolved by then is unknown.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(2);
/// Scenarios whose hits are counted: those in use, and as many that agents
/// elsewhere have.
const MAX_COUNTED: usize = 2 * palisade_rules::scenario::MAX_SCENARIOS;
/// Addresses that are named of each.
const MAX_ADDRESSES: usize = 5;
/// Detectors that are named.
const MAX_DETECTORS: usize = 100;
/// What switches are called in the state.
pub(crate) const SWITCHES: &str = "simulate/";

/// What the composition root knows of detection.
#[derive(Clone, Debug)]
pub struct DetectionSetup {
    /// A detector that has seen nothing, with scenarios, allowlist and policy
    /// of the settings.
    pub detector: Detector,
    /// The same with the scenarios that the hub itself counts; `None` where it
    /// counts nothing.
    pub hub: Option<Detector>,
    /// Scenarios that the settings do not use.
    pub disabled: Vec<String>,
    /// The sensor whose log lines are looked at in this process, where that is so.
    pub here: Option<SensorId>,
}

/// Who turned simulation of a scenario on or off, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SimulationSwitch {
    /// Whether its decisions are only recorded.
    pub simulated: bool,
    /// The account or key.
    pub changed_by: String,
    /// When.
    pub changed_at: Timestamp,
}

/// The scenarios, and who detects.
#[derive(Clone, Debug, PartialEq)]
pub struct ScenarioList {
    /// Those in use here in their order, then those that only agents elsewhere
    /// have, as far as they have hit.
    pub scenarios: Vec<ScenarioInfo>,
    /// Scenarios that the settings here do not use.
    pub disabled: Vec<String>,
    /// Who has told of hits, and the detector of this process.
    pub detectors: Vec<DetectorInfo>,
    /// Parsers that lines can be explained with.
    pub parsers: Vec<String>,
}

/// Somebody who detects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DetectorInfo {
    /// The sensor.
    pub sensor: String,
    /// Its hits in the range.
    pub hits: u64,
    /// Whether switches reach it: it is here, or an agent that goes by them.
    pub reached: bool,
    /// Whether it is in this process.
    pub here: bool,
}

/// A scenario and what it has found.
#[derive(Clone, Debug, PartialEq)]
pub struct ScenarioInfo {
    /// Its name.
    pub name: String,
    /// What is known of it; `None` where only agents elsewhere have it.
    pub rule: Option<ScenarioRule>,
    /// Whether its decisions are only recorded.
    pub simulated: bool,
    /// Who said so, where it was not the settings.
    pub switch: Option<SimulationSwitch>,
    /// Its alerts in the range.
    pub hits: u64,
    /// The newest of them: when, and the id of its event.
    pub last: Option<(Timestamp, palisade_event::EventId)>,
    /// From where, the most frequent first.
    pub addresses: Vec<(String, u64)>,
    /// Its alerts by time.
    pub timeline: Vec<(String, u64)>,
}

/// What a scenario counts, in words of its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScenarioRule {
    /// What it finds, in one sentence.
    pub description: String,
    /// Who counts: `agent` or `hub`.
    pub runs: &'static str,
    /// The way of counting.
    pub kind: &'static str,
    /// Which sightings count.
    pub filter: String,
    /// Of a sequence, what makes the alert.
    pub then: Option<String>,
    /// When there are too many, in words.
    pub threshold: String,
    /// Whose are counted together.
    pub group_by: &'static str,
    /// How long after an alert nothing is counted.
    pub blackhole_secs: Option<u32>,
    /// What is asked for.
    pub decision: Option<String>,
    /// For how long at first, where the policy does not say.
    pub ban_secs: Option<u32>,
    /// Whether its alerts mean that somebody got in.
    pub is_break_in: bool,
    /// The file; `None` where it is shipped.
    pub file: Option<String>,
    /// Whether the settings have it simulated.
    pub simulated_by_settings: bool,
}

impl From<&Scenario> for ScenarioRule {
    fn from(scenario: &Scenario) -> Self {
        Self {
            description: scenario.description.to_string(),
            runs: scenario.runs.as_str(),
            kind: scenario.rule.name(),
            filter: scenario.filter.text().to_owned(),
            then: scenario.rule.then().map(|filter| filter.text().to_owned()),
            threshold: scenario.rule.threshold(),
            group_by: match scenario.group_by {
                GroupBy::Address => "address",
                GroupBy::Network(..) => "network",
                GroupBy::User => "user",
                GroupBy::Asn => "asn",
            },
            blackhole_secs: scenario.blackhole.map(|span| span.as_secs()),
            decision: scenario.decision.as_ref().map(ToString::to_string),
            ban_secs: scenario.ban.map(|span| span.as_secs()),
            is_break_in: scenario.rule.then().is_some(),
            file: scenario.file.as_deref().map(str::to_owned),
            simulated_by_settings: scenario.simulation,
        }
    }
}

/// See the head of this file.
pub(crate) struct Detection {
    setup: OnceLock<DetectionSetup>,
    state: State,
    switches: watch::Sender<Switches>,
    turns: Semaphore,
}

impl Detection {
    /// Reads the switches.
    pub(crate) async fn open(state: &State) -> Result<Self, Broken> {
        let opened = Self {
            setup: OnceLock::new(),
            state: state.clone(),
            switches: watch::channel(Switches::new()).0,
            turns: Semaphore::new(MAX_EXPLANATIONS),
        };
        opened.refresh().await?;
        Ok(opened)
    }

    /// Says what the settings have. Only the first call counts.
    pub(crate) fn set_up(&self, setup: DetectionSetup) {
        if self.setup.set(setup).is_err() {
            tracing::error!("detection was set up before; the second time is left out");
        }
    }

    pub(crate) fn switches(&self) -> watch::Receiver<Switches> {
        self.switches.subscribe()
    }

    /// Takes over what other hubs have switched.
    pub(crate) async fn refresh(&self) -> Result<(), Broken> {
        let stored = self.stored().await?;
        let new: Switches =
            stored.into_iter().map(|(name, switch)| (name, switch.simulated)).collect();
        self.switches.send_if_modified(|known| {
            let changed = *known != new;
            *known = new;
            changed
        });
        Ok(())
    }

    async fn stored(&self) -> Result<Vec<(ScenarioName, SimulationSwitch)>, Broken> {
        let stored = self.state.meta_below(SWITCHES).await?;
        // What was written here can be read; a later version may write more.
        let read = stored.into_iter().filter_map(|(name, value)| {
            let name = ScenarioName::new(name.strip_prefix(SWITCHES)?).ok()?;
            Some((name, serde_json::from_str(&value).ok()?))
        });
        Ok(read.collect())
    }

    /// The scenarios in use here, then those of the hub itself; none before
    /// [`Self::set_up`].
    fn scenarios(&self) -> impl Iterator<Item = &Scenario> {
        self.setup.get().into_iter().flat_map(|setup| {
            let hub = setup.hub.iter().flat_map(|hub| hub.engine().scenarios());
            setup.detector.engine().scenarios().iter().chain(hub)
        })
    }

    /// The detectors that switches reach: that of this process, and the hub's own.
    fn reached(&self) -> Vec<String> {
        let hub = self.setup.get().and_then(|setup| setup.hub.as_ref()).map(|_| HUB.to_owned());
        self.here().map(ToString::to_string).into_iter().chain(hub).collect()
    }

    fn here(&self) -> Option<&SensorId> {
        self.setup.get().and_then(|setup| setup.here.as_ref())
    }

    /// Turns simulation of a scenario on or off. Gives the detector of this process.
    pub(crate) async fn simulate(
        &self,
        who: &Principal,
        name: &str,
        simulated: bool,
        now: Timestamp,
    ) -> Result<Option<SensorId>, AdminError> {
        if !who.may(Permission::Administer) {
            return Err(AdminError::Forbidden);
        }
        let scenario = self.scenarios().find(|one| one.name.as_str() == name);
        let Some(scenario) = scenario else {
            let known: String = name.chars().take(64).flat_map(char::escape_debug).collect();
            return Err(AdminError::NotFound(format!("scenario '{known}' in use here")));
        };
        let key = format!("{SWITCHES}{}", scenario.name);
        if simulated == scenario.simulation {
            self.state.remove_meta(&key).await?;
        } else {
            let changed_by = who.name().to_owned();
            let switch = SimulationSwitch { simulated, changed_by, changed_at: now };
            let text = serde_json::to_string(&switch)
                .map_err(|error| AdminError::Failed(error.to_string()))?;
            self.state.set_meta(&key, &text).await?;
        }
        tracing::warn!(
            scenario = scenario.name.as_str(),
            simulated,
            by = %who.name().escape_debug(),
            "simulation of a scenario was switched"
        );
        self.refresh().await?;
        match scenario.runs {
            Runs::Agent => Ok(self.here().cloned()),
            Runs::Hub => Ok(SensorId::new(HUB).ok()),
        }
    }

    /// The scenarios with their alerts among the events that `query` finds.
    pub(crate) async fn list(
        &self,
        queries: &Queries,
        who: &Principal,
        query: Query,
        followers: &[SensorId],
    ) -> Result<ScenarioList, QueryError> {
        private(who)?;
        let stored = self.stored().await.map_err(StateError::from)?;
        let switches = self.switches.borrow().clone();
        let triggered = narrowed(&query, Field::Kind, EventKind::ScenarioTriggered.as_str());
        let ask = async |top, sub: Option<Aggregation>, k| {
            let top = Aggregation::Top(vec![top], k, sub.map(Box::new));
            queries.aggregate(who, triggered.clone(), top).await.map(groups)
        };
        let by_time = Some(Aggregation::Histogram(Interval::Auto, None));
        let by_time = ask(Field::Analyzer, by_time, MAX_COUNTED).await?;
        let by_address = Some(Aggregation::Top(vec![Field::Ip], MAX_ADDRESSES, None));
        let by_address = ask(Field::Analyzer, by_address, MAX_COUNTED).await?;
        let by_sensor = ask(Field::Sensor, None, MAX_DETECTORS).await?;

        let mut scenarios: Vec<ScenarioInfo> = self
            .scenarios()
            .map(|scenario| ScenarioInfo {
                rule: Some(scenario.into()),
                simulated: switches.get(&scenario.name).copied().unwrap_or(scenario.simulation),
                switch: stored
                    .iter()
                    .find(|(name, _)| *name == scenario.name)
                    .map(|(_, switch)| switch.clone()),
                ..ScenarioInfo::named(scenario.name.as_str())
            })
            .collect();
        for group in &by_time {
            let name = name(group);
            let known = scenarios.iter_mut().find(|scenario| scenario.name == name);
            let scenario = match known {
                Some(known) => known,
                None => {
                    scenarios.push(ScenarioInfo::named(&name));
                    let Some(new) = scenarios.last_mut() else { continue };
                    new
                }
            };
            scenario.hits = group.count;
            scenario.timeline = inner(group);
        }
        for scenario in &mut scenarios {
            if let Some(group) = by_address.iter().find(|group| name(group) == scenario.name) {
                scenario.addresses = inner(group);
            }
            if scenario.hits > 0 {
                let its = narrowed(&triggered, Field::Analyzer, &scenario.name);
                let page = queries.search(who, its, 1, None).await?;
                scenario.last = page.events.first().map(|event| (event.observed_at, event.id));
            }
        }
        Ok(ScenarioList {
            scenarios,
            disabled: self.setup.get().map(|setup| setup.disabled.clone()).unwrap_or_default(),
            detectors: detectors(&by_sensor, &self.reached(), followers),
            parsers: LogFormat::all().map(|format| format.to_string()).collect(),
        })
    }

    /// Each step from lines to decisions; the lines are counted together.
    pub(crate) async fn explain(
        &self,
        who: &Principal,
        lines: Vec<Vec<u8>>,
        (parser, shown): (Option<LogFormat>, Shown),
        now: Timestamp,
    ) -> Result<Vec<ExplainedLine>, QueryError> {
        private(who)?;
        let stopped = |error: String| QueryError::Failed(error);
        let _turn = self.turns.acquire().await.map_err(|error| stopped(error.to_string()))?;
        let Some(setup) = self.setup.get() else {
            return Err(QueryError::Unsupported("there are no scenarios here".to_owned()));
        };
        let mut detector = setup.detector.clone();
        detector.simulate(&self.switches.borrow());
        resolve(&mut detector.allowlist).await;
        let cx = LineContext { now, zone: jiff::tz::TimeZone::system() };
        let work = move || {
            let mut explainer = Explainer::new(detector, cx, parser, shown);
            lines.iter().map(|line| explainer.line(line)).collect()
        };
        tokio::task::spawn_blocking(work).await.map_err(|error| stopped(error.to_string()))
    }
}

impl ScenarioInfo {
    fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            rule: None,
            simulated: false,
            switch: None,
            hits: 0,
            last: None,
            addresses: Vec::new(),
            timeline: Vec::new(),
        }
    }
}

/// Refuses who may not read, or not all: files and allowlist are not for the
/// community.
fn private(who: &Principal) -> Result<(), QueryError> {
    let may = who.may(Permission::Read) && who.sees(Domain::Private);
    if may { Ok(()) } else { Err(QueryError::Forbidden) }
}

/// The events of a query whose field has this value.
fn narrowed(query: &Query, field: Field, value: &str) -> Query {
    let is = Filter::In(field, vec![value.to_owned()]);
    Query { range: query.range, filter: Filter::And(vec![is, query.filter.clone()]) }
}

fn groups(answer: Aggregated) -> Vec<Bucket> {
    match answer {
        Aggregated::Buckets { buckets, .. } => buckets,
        _ => Vec::new(),
    }
}

/// The value of a group of one field.
fn name(group: &Bucket) -> String {
    match group.key.first() {
        Some(Key::Text(text)) => text.clone(),
        Some(Key::Integer(number)) => number.to_string(),
        None => String::new(),
    }
}

/// The groups in a group.
fn inner(group: &Bucket) -> Vec<(String, u64)> {
    let inner = group.sub.as_deref().cloned().map(groups).unwrap_or_default();
    inner.iter().map(|group| (name(group), group.count)).collect()
}

fn detectors(
    by_sensor: &[Bucket],
    reached: &[String],
    followers: &[SensorId],
) -> Vec<DetectorInfo> {
    let follows = |sensor: &str| followers.iter().any(|one| one.as_str() == sensor);
    let detector = |sensor: String, hits| DetectorInfo {
        reached: reached.contains(&sensor) || follows(&sensor),
        here: reached.contains(&sensor),
        hits,
        sensor,
    };
    // Behind the events of the demonstration there is nobody.
    let mut all: Vec<DetectorInfo> = by_sensor
        .iter()
        .map(|group| (name(group), group.count))
        .filter(|(sensor, _)| sensor != crate::DEMO_SENSOR)
        .map(|(sensor, hits)| detector(sensor, hits))
        .collect();
    let followers = followers.iter().map(ToString::to_string);
    for sensor in reached.iter().cloned().chain(followers) {
        if !all.iter().any(|known| known.sensor == sensor) {
            all.push(detector(sensor, 0));
        }
    }
    all.sort_by_key(|detector| (!detector.here, !detector.reached));
    all
}

/// Resolves names of the allowlist, as the agent does.
pub(crate) async fn resolve(list: &mut Allowlist) {
    let names: Vec<String> = list.names().into_iter().take(MAX_NAMES).map(str::to_owned).collect();
    let all = async {
        for name in names {
            if let Ok(found) = tokio::net::lookup_host((name.as_str(), 0)).await {
                let addresses: Vec<_> = found.map(|end| end.ip()).collect();
                list.resolve(&name, &addresses);
            }
        }
    };
    if tokio::time::timeout(RESOLVE_TIMEOUT, all).await.is_err() {
        tracing::warn!("not all names of the allowlist were resolved in time");
    }
}
