//! Counting alerts: events of attack kinds, as a honeypot network counts them.
//!
//! A closed set of questions beside the query language, because they go by the
//! time of receipt as well as by that of observation, and because each of them
//! must be answered in milliseconds at any size. Not a second truth: what an
//! engine keeps in advance is derived from its events, and [`count_alerts`] is
//! the meaning that tests hold both engines to.
//!
//! [`count_alerts`]: Store::count_alerts

use std::collections::BTreeMap;
use std::net::IpAddr;

use palisade_event::{CountryCode, Day, Domain, Event, EventKind, Timestamp};

use crate::query::{Field, Filter};
use crate::{QueryError, Store};

/// The category whose requests are addresses of web pages.
pub const WEB_CATEGORY: &str = "Webpage";
/// The category of honeypots whose alerts have none.
pub const UNCLASSIFIED: &str = "Unclassified";
/// Most buckets of one question.
const MAX_ALERT_BUCKETS: i64 = 4_000;

/// Whose alerts count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Domains {
    /// The community's.
    Community,
    /// Private ones.
    Private,
    /// All.
    Both,
}

impl Domains {
    /// Whether alerts of a domain count.
    #[must_use]
    pub fn has(self, domain: Domain) -> bool {
        match self {
            Self::Community => domain == Domain::Community,
            Self::Private => domain == Domain::Private,
            Self::Both => true,
        }
    }

    /// The condition that an event is an alert of these domains.
    #[must_use]
    pub fn filter(self) -> Filter {
        let attacks = EventKind::ALL.iter().filter(|kind| kind.is_attack());
        let kinds = attacks.map(|kind| kind.as_str().to_owned()).collect();
        let mut parts = vec![Filter::In(Field::Kind, kinds)];
        let only = match self {
            Self::Community => Some(Domain::Community),
            Self::Private => Some(Domain::Private),
            Self::Both => None,
        };
        parts.extend(only.map(|only| Filter::In(Field::Domain, vec![only.as_str().to_owned()])));
        Filter::And(parts)
    }
}

/// Which of an event's two times counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Clock {
    /// When it happened, by the sensor's clock.
    Observed,
    /// When the hub took it.
    Received,
}

impl Clock {
    /// The time of an event; none is without a time of receipt once it is stored.
    #[must_use]
    pub fn of(self, event: &Event) -> Option<Timestamp> {
        match self {
            Self::Observed => Some(event.observed_at),
            Self::Received => event.received_at,
        }
    }

    pub(crate) fn field(self) -> Field {
        match self {
            Self::Observed => Field::ObservedAt,
            Self::Received => Field::ReceivedAt,
        }
    }
}

/// What alerts are grouped by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AlertField {
    /// The type of service attacked.
    Category,
    /// The country of the source.
    Country,
    /// The country of the target.
    TargetCountry,
    /// Where the source is.
    Place,
    /// Where the target is.
    TargetPlace,
    /// The port attacked; alerts without one do not count.
    Port,
    /// The request, of alerts of [`WEB_CATEGORY`] that have one.
    WebRequest,
    /// The address of the source; alerts without one do not count.
    Source,
}

/// The value of a group.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Place {
    /// Degrees north.
    pub lat: f64,
    /// Degrees east.
    pub lon: f64,
}

/// The value that the alerts of a group share.
#[derive(Clone, Debug, PartialEq)]
pub enum AlertKey {
    /// It is not known.
    Unknown,
    /// A place, of an address of a private range.
    Private,
    /// A category, a country, a request.
    Text(String),
    /// A port.
    Port(u16),
    /// An address.
    Address(IpAddr),
    /// A place on earth.
    Place(Place),
}

/// Alerts with the same value.
#[derive(Clone, Debug, PartialEq)]
pub struct AlertGroup {
    /// The value.
    pub key: AlertKey,
    /// How many alerts.
    pub count: u64,
    /// How many in each bucket of time, where these were asked for.
    pub buckets: Vec<u64>,
}

/// How many alerts of each value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AlertQuestion {
    /// Whose alerts.
    pub domains: Domains,
    /// Which time the range is of.
    pub clock: Clock,
    /// First instant of the range.
    pub from: Timestamp,
    /// First instant after it.
    pub to: Timestamp,
    /// What they are grouped by.
    pub by: AlertField,
    /// Width of the buckets of time, in milliseconds; a divisor of a day that
    /// both ends of the range are multiples of.
    pub bucket_ms: Option<i64>,
    /// Only so many of the largest groups.
    pub most: Option<usize>,
}

impl AlertQuestion {
    /// Checks what every engine refuses; how many buckets there are.
    pub(crate) fn buckets(&self) -> Result<usize, QueryError> {
        let (from, to) = (self.from.as_millis(), self.to.as_millis());
        let Some(width) = self.bucket_ms else { return Ok(0) };
        let is_whole = width > 0
            && MS_PER_DAY % width == 0
            && from % width == 0
            && to % width == 0
            && self.by != AlertField::Source;
        let count = if is_whole { (to - from).max(0) / width } else { i64::MAX };
        if count > MAX_ALERT_BUCKETS {
            let reason = "buckets divide a day, the range is made of whole ones, and there are \
                          at most 4000";
            return Err(QueryError::Unsupported(reason.to_owned()));
        }
        Ok(usize::try_from(count).unwrap_or(0))
    }

    /// Sorts groups: the largest first, among equals by value, and leaves the
    /// largest.
    pub(crate) fn sorted(&self, mut groups: Vec<AlertGroup>) -> Vec<AlertGroup> {
        groups.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.key.order(&b.key)));
        if let Some(most) = self.most {
            groups.truncate(most);
        }
        groups
    }
}

impl AlertKey {
    fn order(&self, other: &Self) -> std::cmp::Ordering {
        let rank = |key: &Self| match key {
            Self::Unknown => 0,
            Self::Private => 1,
            Self::Text(_) => 2,
            Self::Port(_) => 3,
            Self::Address(_) => 4,
            Self::Place(_) => 5,
        };
        match (self, other) {
            (Self::Text(a), Self::Text(b)) => a.cmp(b),
            (Self::Port(a), Self::Port(b)) => a.cmp(b),
            (Self::Address(a), Self::Address(b)) => a.cmp(b),
            (Self::Place(a), Self::Place(b)) => {
                a.lat.total_cmp(&b.lat).then_with(|| a.lon.total_cmp(&b.lon))
            }
            _ => rank(self).cmp(&rank(other)),
        }
    }

    /// A place by what the columns of an event say.
    pub(crate) fn place(place: Option<(f64, f64)>, country: Option<&str>) -> Self {
        match place {
            Some((lat, lon)) => Self::Place(Place { lat, lon }),
            None if country == Some(CountryCode::PRIVATE.as_str()) => Self::Private,
            None => Self::Unknown,
        }
    }
}

/// What is known of the honeypots of one UTC day, by observation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HoneypotDay {
    /// Alerts.
    pub alerts: u64,
    /// Different honeypots: hosts, or targets where no host is known, or sensors.
    pub honeypots: u64,
    /// Different daemons: honeypots and what the daemon calls itself.
    pub daemons: u64,
    /// Alerts and honeypots of each category; of [`UNCLASSIFIED`] where there is none.
    pub by_category: BTreeMap<String, HoneypotCount>,
}

/// Alerts and honeypots of one category.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HoneypotCount {
    /// Alerts.
    pub alerts: u64,
    /// Different honeypots.
    pub honeypots: u64,
}

/// When the embedded engine counts alerts in a table; smaller numbers for tests.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AlertOptions {
    /// Up to so many events of a segment that a range cuts are counted one by one.
    pub few_events: u32,
    /// So many events of one unit of time, where a range is cut at no even time.
    pub unit_events: i64,
}

impl Default for AlertOptions {
    fn default() -> Self {
        Self { few_events: 65_536, unit_events: 131_072 }
    }
}

/// Milliseconds of a day.
pub(crate) const MS_PER_DAY: i64 = 86_400_000;

impl Store {
    /// Counts alerts, exactly; the largest group first, among equals by value.
    ///
    /// # Errors
    /// [`QueryError`]
    pub fn count_alerts(&self, question: &AlertQuestion) -> Result<Vec<AlertGroup>, QueryError> {
        match self {
            Self::Embedded(engine) => engine.count_alerts(question),
            Self::ClickHouse(engine) => engine.count_alerts(question),
        }
    }

    /// Counts the honeypots that observed something on a day, exactly.
    ///
    /// # Errors
    /// [`QueryError`]
    pub fn count_honeypots(&self, day: Day, domains: Domains) -> Result<HoneypotDay, QueryError> {
        match self {
            Self::Embedded(engine) => engine.count_honeypots(day, domains),
            Self::ClickHouse(engine) => engine.count_honeypots(day, domains),
        }
    }
}
