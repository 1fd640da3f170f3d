//! The questions that the readers of a honeypot network ask: how many alerts,
//! of which type, from where, against what. Answered by the store, exactly; no
//! wire format here, and no clock: `now` comes from the caller.
//!
//! An alert is an event of an attack kind. How many there are goes by when the
//! hub received them, so that a number that was once said stays; per-day series,
//! places and honeypots go by when they happened.

mod calendar;

use std::net::IpAddr;

use palisade_event::{Day, Event, Timestamp};
use palisade_store::query::{Field, Filter, Query, TimeRange};
use palisade_store::{
    AlertField, AlertGroup, AlertKey, AlertQuestion, Clock, Domains, HoneypotDay, Place,
    QueryError, Store,
};

use self::calendar::{month_before, month_span};
use crate::config::Home;
use crate::enrich::is_global;

const MINUTE_MILLIS: i64 = 60_000;
const HOUR_MILLIS: i64 = 60 * MINUTE_MILLIS;
const DAY_MILLIS: i64 = 24 * HOUR_MILLIS;

/// Alerts of one value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    /// The value; `None` where it is not known.
    pub name: Option<String>,
    /// How many.
    pub count: u64,
}

/// Until now, from when?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// So many minutes ago.
    Minutes(u32),
    /// The beginning of this UTC day.
    Today,
}

/// Alerts received in the last minute, and so on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recent {
    /// In 24 hours.
    pub day: u64,
    /// In an hour.
    pub hour: u64,
    /// In 5 minutes.
    pub five_minutes: u64,
    /// In a minute.
    pub minute: u64,
}

/// Alerts received in one calendar month, by country.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Month {
    /// `2026-11`.
    pub name: String,
    /// Countries that attacked.
    pub sources: Vec<Counted>,
    /// Countries that were attacked.
    pub targets: Vec<Counted>,
}

/// Which end of an attack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Where it came from.
    Source,
    /// Where it went.
    Target,
}

/// What was attacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aim {
    /// Requests to web pages.
    WebRequests,
    /// Ports.
    Ports,
}

/// How long ago what was attacked most is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// A day, by the hour.
    Day,
    /// A week, by six hours.
    Week,
    /// Four weeks, by the day.
    FourWeeks,
}

impl Span {
    fn days(self) -> i64 {
        match self {
            Self::Day => 1,
            Self::Week => 7,
            Self::FourWeeks => 28,
        }
    }

    fn bucket_millis(self) -> i64 {
        match self {
            Self::Day => HOUR_MILLIS,
            Self::Week => 6 * HOUR_MILLIS,
            Self::FourWeeks => DAY_MILLIS,
        }
    }
}

/// What was attacked most, over time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tops {
    /// First instants of the buckets of time, which are aligned to UTC; the last
    /// one holds the present.
    pub starts: Vec<Timestamp>,
    /// A request or a port each, the most frequent first, with its count in each
    /// bucket.
    pub tops: Vec<(String, Vec<u64>)>,
}

/// Asks the store about the alerts of some domains. Every method blocks.
pub struct Alerts<'a> {
    store: &'a Store,
    domains: Domains,
    home: Option<Home>,
}

impl<'a> Alerts<'a> {
    /// The alerts of these domains. Whoever makes it has checked that the asker
    /// may see them; [`crate::Hub::alerts`] does. `home` is where private
    /// addresses are shown.
    #[must_use]
    pub fn new(store: &'a Store, domains: Domains, home: Option<Home>) -> Self {
        Self { store, domains, home }
    }

    fn question(&self, clock: Clock, from: Timestamp, to: Timestamp) -> AlertQuestion {
        let by = AlertField::Category;
        AlertQuestion { domains: self.domains, clock, from, to, by, bucket_ms: None, most: None }
    }

    fn received(&self, window: Window, now: Timestamp) -> AlertQuestion {
        let from = match window {
            Window::Minutes(minutes) => now.plus_millis(-i64::from(minutes) * MINUTE_MILLIS),
            Window::Today => now.day().start(),
        };
        self.question(Clock::Received, from, now.plus_millis(1))
    }

    /// Alerts received in a window, by category.
    ///
    /// # Errors
    /// [`QueryError`]
    pub fn categories(&self, window: Window, now: Timestamp) -> Result<Vec<Counted>, QueryError> {
        let groups = self.store.count_alerts(&self.received(window, now))?;
        Ok(groups.into_iter().map(counted).collect())
    }

    /// Alerts received in a window, by country of the source.
    ///
    /// # Errors
    /// [`QueryError`]
    pub fn source_countries(
        &self,
        window: Window,
        now: Timestamp,
    ) -> Result<Vec<Counted>, QueryError> {
        let question = AlertQuestion { by: AlertField::Country, ..self.received(window, now) };
        Ok(self.store.count_alerts(&question)?.into_iter().map(counted).collect())
    }

    /// Alerts received in a window.
    ///
    /// # Errors
    /// [`QueryError`]
    pub fn count(&self, window: Window, now: Timestamp) -> Result<u64, QueryError> {
        Ok(self.categories(window, now)?.iter().map(|counted| counted.count).sum())
    }

    /// Alerts received in the last minute, 5 minutes, hour and 24 hours.
    ///
    /// # Errors
    /// [`QueryError`]
    pub fn recent(&self, now: Timestamp) -> Result<Recent, QueryError> {
        Ok(Recent {
            day: self.count(Window::Minutes(24 * 60), now)?,
            hour: self.count(Window::Minutes(60), now)?,
            five_minutes: self.count(Window::Minutes(5), now)?,
            minute: self.count(Window::Minutes(1), now)?,
        })
    }

    /// Alerts by category of each day, by when they happened: of today and of so
    /// many days before it, without a number of the days since this day of the
    /// month before.
    ///
    /// # Errors
    /// [`QueryError`]
    pub fn days(
        &self,
        before: Option<u16>,
        now: Timestamp,
    ) -> Result<Vec<(Day, Vec<Counted>)>, QueryError> {
        let today = now.day();
        let first = match before {
            Some(days) => Day::from_number(today.number() - i32::from(days)),
            None => month_before(today),
        };
        let question = AlertQuestion {
            bucket_ms: Some(DAY_MILLIS),
            ..self.question(Clock::Observed, first.start(), today.end())
        };
        let groups = self.store.count_alerts(&question)?;
        let day = |number: i32| {
            let bucket = usize::try_from(number - first.number()).unwrap_or(usize::MAX);
            let of_day = groups.iter().filter_map(|group| {
                let count = group.buckets.get(bucket).copied().filter(|count| *count > 0)?;
                Some(Counted { name: name(&group.key), count })
            });
            (Day::from_number(number), of_day.collect())
        };
        Ok((first.number()..=today.number()).map(day).collect())
    }

    /// The countries that attacked most and were attacked most in the calendar
    /// month that was so many months ago.
    ///
    /// # Errors
    /// [`QueryError`]
    pub fn countries(
        &self,
        months_ago: u16,
        most: usize,
        now: Timestamp,
    ) -> Result<Month, QueryError> {
        let (month, from, to) = month_span(now.day(), months_ago);
        let ask = |by: AlertField| {
            let question =
                AlertQuestion { by, most: Some(most), ..self.question(Clock::Received, from, to) };
            let groups = self.store.count_alerts(&question)?;
            Ok::<Vec<Counted>, QueryError>(groups.into_iter().map(counted).collect())
        };
        let sources = ask(AlertField::Country)?;
        Ok(Month { name: month, sources, targets: ask(AlertField::TargetCountry)? })
    }

    /// The places with most alerts of a day, by when they happened: the UTC day
    /// so many days ago, or the last 24 hours. Alerts without a place are left
    /// out, but those of private addresses are at home where that is known.
    ///
    /// # Errors
    /// [`QueryError`]
    pub fn places(
        &self,
        days_ago: Option<u16>,
        end: End,
        most: usize,
        now: Timestamp,
    ) -> Result<Vec<(Place, u64)>, QueryError> {
        let (from, to) = match days_ago {
            Some(days) => {
                let day = Day::from_number(now.day().number() - i32::from(days));
                (day.start(), day.end())
            }
            None => (now.plus_millis(-DAY_MILLIS), now.plus_millis(1)),
        };
        self.places_between(from, to, end, most)
    }

    /// The same for alerts that happened from one instant until before another.
    ///
    /// # Errors
    /// [`QueryError`]
    pub fn places_between(
        &self,
        from: Timestamp,
        to: Timestamp,
        end: End,
        most: usize,
    ) -> Result<Vec<(Place, u64)>, QueryError> {
        let by = match end {
            End::Source => AlertField::Place,
            End::Target => AlertField::TargetPlace,
        };
        // Two groups go, unknown and private ones, unless the private ones are
        // added to those at home: then any of the others may be among the largest.
        let most_asked = most.checked_add(2).filter(|_| self.home.is_none());
        let question =
            AlertQuestion { by, most: most_asked, ..self.question(Clock::Observed, from, to) };
        let mut places: Vec<(Place, u64)> = Vec::new();
        for group in self.store.count_alerts(&question)? {
            let place = match group.key {
                AlertKey::Place(place) => Some(place),
                AlertKey::Private => self.home.map(|home| Place { lat: home.lat, lon: home.lon }),
                _ => None,
            };
            let Some(place) = place else { continue };
            match places.iter_mut().find(|(known, _)| *known == place) {
                Some((_, count)) => *count += group.count,
                None => places.push((place, group.count)),
            }
        }
        // Stable: among equals the order stays.
        places.sort_by_key(|place| std::cmp::Reverse(place.1));
        places.truncate(most);
        Ok(places)
    }

    /// What was attacked most, by receipt.
    ///
    /// # Errors
    /// [`QueryError`]
    pub fn tops(
        &self,
        aim: Aim,
        span: Span,
        most: usize,
        now: Timestamp,
    ) -> Result<Tops, QueryError> {
        let width = span.bucket_millis();
        let end = (now.as_millis().div_euclid(width) + 1) * width;
        let first = end - span.days() * DAY_MILLIS;
        let by = match aim {
            Aim::WebRequests => AlertField::WebRequest,
            Aim::Ports => AlertField::Port,
        };
        let at = Timestamp::from_millis;
        let question = AlertQuestion {
            by,
            bucket_ms: Some(width),
            most: Some(most),
            ..self.question(Clock::Received, at(first), at(end))
        };
        let groups = self.store.count_alerts(&question)?.into_iter();
        let starts = (0..(end - first) / width).map(|number| at(first + number * width));
        let top = |group: AlertGroup| (name(&group.key).unwrap_or_default(), group.buckets);
        Ok(Tops { starts: starts.collect(), tops: groups.map(top).collect() })
    }

    /// The honeypots that were attacked on a UTC day.
    ///
    /// # Errors
    /// [`QueryError`]
    pub fn honeypots(&self, day: Day) -> Result<HoneypotDay, QueryError> {
        self.store.count_honeypots(day, self.domains)
    }

    /// The different public addresses that attacked in the last minutes, by
    /// receipt, the most active first.
    ///
    /// # Errors
    /// [`QueryError`]
    pub fn addresses(
        &self,
        minutes: u32,
        now: Timestamp,
    ) -> Result<Vec<(IpAddr, u64)>, QueryError> {
        let question = AlertQuestion {
            by: AlertField::Source,
            ..self.received(Window::Minutes(minutes), now)
        };
        let groups = self.store.count_alerts(&question)?.into_iter();
        let public = groups.filter_map(|group| match group.key {
            AlertKey::Address(address) if is_global(address) => Some((address, group.count)),
            _ => None,
        });
        Ok(public.collect())
    }

    /// The newest alerts, the newest first.
    ///
    /// # Errors
    /// [`QueryError`]
    pub fn newest(&self, most: usize) -> Result<Vec<Event>, QueryError> {
        self.search(self.domains.filter(), most)
    }

    /// The newest alerts of one address; none of one that is not public.
    ///
    /// # Errors
    /// [`QueryError`]
    pub fn newest_of(&self, address: IpAddr, most: usize) -> Result<Vec<Event>, QueryError> {
        if !is_global(address) {
            return Ok(Vec::new());
        }
        let of_address = Filter::In(Field::Ip, vec![address.to_canonical().to_string()]);
        self.search(Filter::And(vec![of_address, self.domains.filter()]), most)
    }

    fn search(&self, filter: Filter, most: usize) -> Result<Vec<Event>, QueryError> {
        let query = Query { range: TimeRange::default(), filter };
        Ok(self.store.search(&query, most, None)?.events)
    }
}

fn name(key: &AlertKey) -> Option<String> {
    match key {
        AlertKey::Text(text) => Some(text.clone()),
        AlertKey::Port(port) => Some(port.to_string()),
        AlertKey::Address(address) => Some(address.to_string()),
        AlertKey::Unknown | AlertKey::Private | AlertKey::Place(_) => None,
    }
}

fn counted(group: AlertGroup) -> Counted {
    let name = match group.key {
        AlertKey::Text(text) => Some(text),
        _ => None,
    };
    Counted { name, count: group.count }
}
