//! Plug-ins of honeypots as their sensors report them, and the rows that they
//! have recorded. Both are events; the newest report of each is what counts.

use std::collections::{BTreeMap, HashSet};

use palisade_event::{AnalyzerName, Event, EventKind, SensorId, Timestamp};
use palisade_store::query::{Aggregation, Cursor, Field, Filter, Query, TimeRange};
use palisade_store::{Aggregated, Key};

use crate::auth::Principal;
use crate::error::QueryError;
use crate::query::Queries;

/// Newest reports that are looked at together.
const RECENT_REPORTS: usize = 1_000;
/// Most plug-ins of all sensors that are listed.
const MAX_PLUGINS: usize = 2_000;
/// Most of them whose report is not among the newest and is asked for alone.
const MAX_ALONE: usize = 500;
/// How long a plug-in is listed after its last report, in milliseconds: 30 days.
const LISTED_MILLIS: i64 = 30 * 24 * 60 * 60 * 1000;
/// Most rows of a page.
pub const MAX_PAGE_ROWS: usize = 1_000;

/// Whose report it is.
type Name = (SensorId, AnalyzerName);

/// Rows of a plug-in, the newest first.
#[derive(Clone, Debug, Default)]
pub struct PluginRows {
    /// The rows, as events.
    pub rows: Vec<Event>,
    /// Give this to get the next page; `None` where this was the last.
    pub next: Option<Cursor>,
}

impl Queries {
    /// The newest report of each plug-in of each sensor, by sensor and name.
    pub(crate) async fn plugin_reports(
        &self,
        who: &Principal,
        now: Timestamp,
    ) -> Result<Vec<Event>, QueryError> {
        let range = TimeRange { from: Some(now.plus_millis(-LISTED_MILLIS)), to: None };
        let reports = Query { range, filter: kind(EventKind::PluginReported) };
        let mut found = BTreeMap::new();
        let page = self.search(who, reports.clone(), RECENT_REPORTS, None).await?;
        let all = page.next.is_none();
        for event in page.events {
            if let Some(name) = name(&event) {
                // The newest come first.
                found.entry(name).or_insert(event);
            }
        }
        if !all {
            let known: HashSet<Name> = found.keys().cloned().collect();
            let fields = vec![Field::Sensor, Field::Analyzer];
            let top = Aggregation::Top(fields, palisade_store::query::MAX_TOP, None);
            let answer = self.aggregate(who, reports.clone(), top).await?;
            let missing = names(answer).into_iter().filter(|name| !known.contains(name));
            for name in missing.take(MAX_ALONE) {
                let filter = Filter::And(vec![reports.filter.clone(), of(&name.1, Some(&name.0))]);
                let page = self.search(who, Query { range, filter }, 1, None).await?;
                if let Some(event) = page.events.into_iter().next() {
                    found.insert(name, event);
                }
            }
        }
        Ok(found.into_values().take(MAX_PLUGINS).collect())
    }

    /// A page of rows of a plug-in, of one sensor or of all.
    pub(crate) async fn plugin_rows(
        &self,
        who: &Principal,
        plugin: &AnalyzerName,
        sensor: Option<&SensorId>,
        limit: usize,
        after: Option<Cursor>,
    ) -> Result<PluginRows, QueryError> {
        let filter = Filter::And(vec![kind(EventKind::PluginRecorded), of(plugin, sensor)]);
        let query = Query { filter, ..Query::ALL };
        let page = self.search(who, query, limit.clamp(1, MAX_PAGE_ROWS), after).await?;
        Ok(PluginRows { rows: page.events, next: page.next })
    }
}

fn kind(kind: EventKind) -> Filter {
    Filter::In(Field::Kind, vec![kind.as_str().to_owned()])
}

fn of(plugin: &AnalyzerName, sensor: Option<&SensorId>) -> Filter {
    let mut all = vec![Filter::In(Field::Analyzer, vec![plugin.as_str().to_owned()])];
    all.extend(sensor.map(|name| Filter::In(Field::Sensor, vec![name.as_str().to_owned()])));
    Filter::And(all)
}

fn name(event: &Event) -> Option<Name> {
    Some((event.sensor.clone(), event.analyzer.clone()?))
}

fn names(answer: Aggregated) -> Vec<Name> {
    let Aggregated::Buckets { buckets, .. } = answer else { return Vec::new() };
    let name = |keys: Vec<Key>| match keys.as_slice() {
        [Key::Text(sensor), Key::Text(plugin)] => {
            Some((SensorId::new(sensor).ok()?, AnalyzerName::new(plugin).ok()?))
        }
        _ => None,
    };
    buckets.into_iter().filter_map(|bucket| name(bucket.key)).collect()
}
