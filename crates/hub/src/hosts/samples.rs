//! The numbers of a machine over time, thinned for charts. They are events; where
//! there are too many to read all, a few of each interval stand for it.

use std::collections::BTreeMap;

use palisade_event::{AttributeValue, Event, EventKind, Timestamp};
use palisade_store::query::{Aggregation, Field, Filter, Query, TimeRange};
use palisade_store::state::{Host, HostSource};
use palisade_store::{Aggregated, Store};

use super::{Hosts, readable};
use crate::auth::Principal;
use crate::error::{QueryError, StateError};
use crate::query::Queries;

/// Most intervals.
pub(crate) const MAX_POINTS: u32 = 1_000;
/// Events that are all read.
const MAX_READ: u64 = 6_000;
/// Events of a page, and those that stand for an interval where there are more.
const PAGE_EVENTS: usize = 1_000;
const PICKED_EVENTS: usize = 4;
/// Most different numbers of an answer.
const MAX_NAMES: usize = 64;

/// The numbers of an interval: their means. Those that only grow, such as bytes
/// sent, are meant over it too.
#[derive(Clone, Debug, PartialEq)]
pub struct HostSample {
    /// The middle of the samples that it was made of.
    pub at: Timestamp,
    /// How many were read for it.
    pub samples: u32,
    /// Means by name.
    pub values: BTreeMap<String, f64>,
}

/// Numbers over time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HostSamples {
    /// Samples of the time that was asked for.
    pub total: u64,
    /// Whether not all of them were read.
    pub picked: bool,
    /// Intervals in which there were some, the oldest first.
    pub points: Vec<HostSample>,
}

impl Hosts {
    /// The numbers of a machine between two instants, in at most so many
    /// intervals; `None` where there is no such machine.
    pub(crate) async fn samples(
        &self,
        who: &Principal,
        queries: &Queries,
        id: &str,
        range: (Timestamp, Timestamp),
        points: u32,
    ) -> Result<Option<HostSamples>, QueryError> {
        readable(who)?;
        let Some(host) = self.state.host(id).await.map_err(StateError::from)? else {
            return Ok(None);
        };
        let filter = of_host(&host, EventKind::HostSampled);
        let points = points.clamp(1, MAX_POINTS);
        queries.run(move |store| read(store, &filter, range, points)).await.map(Some)
    }
}

/// The events of a kind that a machine has delivered.
pub(super) fn of_host(host: &Host, kind: EventKind) -> Filter {
    Filter::And(vec![Filter::In(Field::Kind, vec![kind.as_str().to_owned()]), of(host)])
}

/// The events that a machine has delivered.
pub(super) fn of(host: &Host) -> Filter {
    let mut all = vec![Filter::In(Field::Sensor, vec![host.sensor.to_string()])];
    if let (HostSource::Glimpse, Some(address)) = (host.source, host.address) {
        all.push(Filter::In(Field::Target, vec![address.to_string()]));
    }
    Filter::And(all)
}

fn read(
    store: &Store,
    filter: &Filter,
    (from, to): (Timestamp, Timestamp),
    points: u32,
) -> Result<HostSamples, palisade_store::QueryError> {
    let query = |from, to| Query {
        range: TimeRange { from: Some(from), to: Some(to) },
        filter: filter.clone(),
    };
    let total = match store.aggregate(&query(from, to), &Aggregation::Count)? {
        Aggregated::Count { count } => count,
        _ => 0,
    };
    let mut samples = HostSamples { total, picked: total > MAX_READ, points: Vec::new() };
    let width = ((to.as_millis() - from.as_millis()) / i64::from(points)).max(1);
    if samples.picked {
        for number in 0..i64::from(points) {
            let begin = from.plus_millis(number * width);
            let asked = query(begin, begin.plus_millis(width));
            let page = store.search(&asked, PICKED_EVENTS, None)?;
            samples.points.extend(mean(&page.events));
        }
        return Ok(samples);
    }
    let (mut events, mut at) = (Vec::new(), None);
    loop {
        let page = store.search(&query(from, to), PAGE_EVENTS, at)?;
        events.extend(page.events);
        at = page.next;
        if at.is_none() || events.len() as u64 > MAX_READ {
            break;
        }
    }
    events.reverse();
    let number = |event: &Event| (event.observed_at.as_millis() - from.as_millis()) / width;
    samples.points = events.chunk_by(|a, b| number(a) == number(b)).filter_map(mean).collect();
    Ok(samples)
}

/// The means of some samples.
fn mean(events: &[Event]) -> Option<HostSample> {
    let first = events.first()?.observed_at.as_millis();
    let offsets = events.iter().map(|event| event.observed_at.as_millis() - first);
    let count = i64::try_from(events.len()).ok()?;
    let mut sums: BTreeMap<String, (f64, u32)> = BTreeMap::new();
    for (name, value) in events.iter().flat_map(|event| &event.attributes) {
        let number = match value {
            AttributeValue::Integer(number) => *number as f64,
            AttributeValue::Real(number) if number.is_finite() => *number,
            _ => continue,
        };
        if sums.len() >= MAX_NAMES && !sums.contains_key(&**name) {
            continue;
        }
        let sum = sums.entry(name.to_string()).or_default();
        *sum = (sum.0 + number, sum.1 + 1);
    }
    Some(HostSample {
        at: Timestamp::from_millis(first + offsets.sum::<i64>() / count),
        samples: u32::try_from(count).unwrap_or(u32::MAX),
        values: sums.into_iter().map(|(name, (sum, n))| (name, sum / f64::from(n))).collect(),
    })
}

#[cfg(test)]
mod tests {
    use palisade_event::{EventId, SensorId};

    use super::*;

    #[test]
    fn an_interval_has_the_means_of_what_was_measured_in_it() {
        let sample = |millis: i64| {
            let at = Timestamp::from_millis(1_790_000_000_000 + millis);
            let id = EventId::new(at, 1);
            Event::new(id, EventKind::HostSampled, at, SensorId::new("a").unwrap())
        };
        let events = [
            sample(0).with("cpu_pct", AttributeValue::Real(10.0)).with("mem_used", 4_i64),
            sample(1_000).with("cpu_pct", AttributeValue::Real(f64::NAN)).with("disk_worst", "/"),
            sample(2_000).with("cpu_pct", AttributeValue::Real(30.0)),
        ];
        let mean = mean(&events).unwrap();
        assert_eq!(mean.at, events[1].observed_at);
        assert_eq!(mean.samples, 3);
        let values: Vec<(&str, f64)> = mean.values.iter().map(|(k, v)| (k.as_str(), *v)).collect();
        assert_eq!(values, [("cpu_pct", 20.0), ("mem_used", 4.0)]);
    }

    #[test]
    fn no_sample_is_no_point() {
        assert_eq!(mean(&[]), None);
    }
}
