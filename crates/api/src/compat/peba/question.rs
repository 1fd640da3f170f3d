//! Questions of the dialect: read from a request's parameters, answered from
//! the alerts. Free of HTTP, so that an answer is a function of parameters,
//! alerts and `now`.

use std::net::IpAddr;

use palisade_event::{Day, Timestamp};
use palisade_hub::Home;
use palisade_hub::alerts::{Aim, Alerts, End, Span, Window};
use palisade_store::QueryError;

use super::params::Params;
use super::{counts, newest, series, sources, tops};
use crate::config::EwsConfig;

/// Most minutes of a window: ten years.
const MAX_MINUTES: u32 = 10 * 366 * 24 * 60;
/// Most days of a series, and before today.
pub(super) const MAX_DAYS: u32 = 3_660;
/// Most months before this one.
const MAX_MONTHS: u32 = 1_200;
/// Most countries or places.
const MAX_TOPX: u32 = 1_000;
/// Most requests or ports.
const MAX_TOPS: u32 = 30;
/// Minutes of the short list of addresses.
const SHORT_MINUTES: u32 = 15;
/// Alerts of the ticker.
pub(super) const TICKER_ALERTS: usize = 35;

/// An address of the dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Endpoint {
    RetrieveAlertsCount,
    RetrieveAlertsCountWithType,
    RetrieveAlertStats,
    RetrieveAlertsJson,
    DatasetAlertsPerMonth,
    DatasetAlertTypesPerMonth,
    TopCountriesAttacks,
    RetrieveLatLonAttacks,
    TpotStats,
    GetStats,
    Tops,
    RetrieveIps,
    RetrieveIps15m,
    RetrieveAlertsCyber,
    QuerySingleIp,
}

/// What is asked; the same question has the same answer at the same time.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Question {
    Count {
        window: Minutes,
        json: bool,
    },
    CountWithType {
        window: Minutes,
    },
    Recent,
    Ticker,
    PerDay {
        before: Option<u16>,
    },
    TypesPerDay {
        before: Option<u16>,
    },
    /// With the offset as it was given, which is part of the answer.
    Countries {
        months_ago: u16,
        given: String,
        most: usize,
    },
    Places {
        days_ago: Option<u16>,
        target: bool,
        most: usize,
    },
    Honeypots {
        day: i32,
    },
    Ratios {
        first: i32,
        last: i32,
        types: Vec<String>,
    },
    Tops {
        ports: bool,
        days: u8,
        most: usize,
    },
    Addresses {
        minutes: u32,
        json: bool,
    },
    Cyber {
        most: usize,
    },
    OfAddress {
        address: Option<IpAddr>,
        most: usize,
    },
}

/// A window: minutes, or today.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Minutes {
    Last(u32),
    Today,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(super) media_type: &'static str,
    pub(super) body: bytes::Bytes,
}

impl Answer {
    pub(super) fn json(value: &impl serde::Serialize) -> Self {
        Self { media_type: "application/json", body: super::json::write(value).into() }
    }

    pub(super) fn xml(root: &super::xml::Element<'_>) -> Self {
        Self { media_type: "text/xml; charset=utf-8", body: super::xml::document(root).into() }
    }
}

impl Endpoint {
    /// Reads the parameters; `None` where one is missing or cannot be meant so.
    pub(super) fn question(
        self,
        params: &Params,
        settings: &EwsConfig,
        now: Timestamp,
    ) -> Option<Question> {
        let json = params.wants_json();
        let window = || match params.text("time")? {
            "day" => Some(Minutes::Today),
            _ => params.number("time", 1, MAX_MINUTES).map(Minutes::Last),
        };
        let optional_days = |name: &str, least: u32| {
            if !params.has(name) {
                return Some(None);
            }
            params.number(name, least, MAX_DAYS).map(|days| Some(days as u16))
        };
        let topx = |most: u32| params.number_or("topx", 10, 1, most).map(|topx| topx as usize);
        Some(match self {
            Self::RetrieveAlertsCount => Question::Count { window: window()?, json },
            Self::RetrieveAlertsCountWithType => Question::CountWithType { window: window()? },
            Self::RetrieveAlertStats => Question::Recent,
            Self::RetrieveAlertsJson => Question::Ticker,
            Self::DatasetAlertsPerMonth => Question::PerDay { before: optional_days("days", 1)? },
            Self::DatasetAlertTypesPerMonth => {
                Question::TypesPerDay { before: optional_days("days", 1)? }
            }
            Self::TopCountriesAttacks => {
                let name = if params.has("monthOffset") { "monthOffset" } else { "offset" };
                let months = params.number_or(name, 0, 0, MAX_MONTHS)?;
                let given = params.text(name).unwrap_or("0").to_owned();
                let most = topx(MAX_TOPX)?;
                Question::Countries { months_ago: months as u16, given, most }
            }
            Self::RetrieveLatLonAttacks => {
                let target = match params.text("direction") {
                    None | Some("src") => false,
                    Some("dst") => true,
                    Some(_) => return None,
                };
                let days_ago = optional_days("offset", 0)?.filter(|days| *days > 0);
                Question::Places { days_ago, target, most: topx(MAX_TOPX)? }
            }
            Self::TpotStats => Question::Honeypots { day: params.day("day")?.number() },
            Self::GetStats => {
                let instant = |name: &str, default: Timestamp| {
                    if params.has(name) { params.instant(name) } else { Some(default) }
                };
                let from = instant("gte", now.plus_millis(-24 * 60 * 60 * 1000))?;
                let to = instant("lt", now)?;
                // The last instant that counts; an empty range has no day.
                let first = from.day().number();
                let last = to.plus_millis(-1).day().number();
                if to <= from || last - first >= MAX_DAYS as i32 {
                    return None;
                }
                let types = params.text("values").or_else(|| params.text("value"));
                Question::Ratios { first, last, types: series::types(types.unwrap_or_default()) }
            }
            Self::Tops => {
                let ports = match params.text("type")? {
                    "urls" => false,
                    "destports" => true,
                    _ => return None,
                };
                let days = match params.text("days")? {
                    "1" => 1,
                    "7" => 7,
                    "28" => 28,
                    _ => return None,
                };
                Question::Tops { ports, days, most: topx(MAX_TOPS)? }
            }
            Self::RetrieveIps => {
                Question::Addresses { minutes: settings.retrieve_ips_minutes, json }
            }
            Self::RetrieveIps15m => Question::Addresses { minutes: SHORT_MINUTES, json },
            Self::RetrieveAlertsCyber => {
                let most = settings.max_alerts;
                // Anything that is no number of alerts leaves it at that.
                let topx = params.number("topx", 1, most).unwrap_or(most);
                Question::Cyber { most: topx as usize }
            }
            Self::QuerySingleIp => {
                let address = params.text("ip").and_then(|ip| ip.parse().ok());
                Question::OfAddress { address, most: settings.max_alerts as usize }
            }
        })
    }
}

impl Question {
    /// Answers it. Blocks.
    pub(super) fn answer(
        &self,
        alerts: &Alerts<'_>,
        home: Option<Home>,
        now: Timestamp,
    ) -> Result<Answer, QueryError> {
        let window = |minutes: &Minutes| match minutes {
            Minutes::Last(minutes) => Window::Minutes(*minutes),
            Minutes::Today => Window::Today,
        };
        Ok(match self {
            Self::Count { window: minutes, json } => {
                counts::count(alerts.count(window(minutes), now)?, *json)
            }
            Self::CountWithType { window: minutes } => {
                counts::by_type(&alerts.categories(window(minutes), now)?)
            }
            Self::Recent => counts::recent(&alerts.recent(now)?),
            Self::Ticker => newest::ticker(&alerts.newest(TICKER_ALERTS)?, home),
            Self::PerDay { before } => series::per_day(&alerts.days(*before, now)?),
            Self::TypesPerDay { before } => series::types_per_day(&alerts.days(*before, now)?),
            Self::Countries { months_ago, given, most } => {
                sources::countries(&alerts.countries(*months_ago, *most, now)?, *months_ago, given)
            }
            Self::Places { days_ago, target, most } => {
                let end = if *target { End::Target } else { End::Source };
                let since = match days_ago {
                    Some(days) => Day::from_number(now.day().number() - i32::from(*days)),
                    None => Day::from_number(now.day().number() - 1),
                };
                sources::places(&alerts.places(*days_ago, end, *most, now)?, since)
            }
            Self::Honeypots { day } => {
                let day = Day::from_number(*day);
                series::honeypots(day, &alerts.honeypots(day)?)
            }
            Self::Ratios { first, last, types } => {
                let days = (*first..=*last).map(Day::from_number);
                let days = days.map(|day| Ok::<_, QueryError>((day, alerts.honeypots(day)?)));
                series::ratios(&days.collect::<Result<Vec<_>, QueryError>>()?, types)
            }
            Self::Tops { ports, days, most } => {
                let aim = if *ports { Aim::Ports } else { Aim::WebRequests };
                let span = match days {
                    1 => Span::Day,
                    7 => Span::Week,
                    _ => Span::FourWeeks,
                };
                tops::tops(&alerts.tops(aim, span, *most, now)?)
            }
            Self::Addresses { minutes, json } => {
                sources::addresses(&alerts.addresses(*minutes, now)?, *json)
            }
            Self::Cyber { most } => newest::cyber(&alerts.newest(*most)?, home),
            Self::OfAddress { address, most } => {
                let events = match address {
                    Some(address) => alerts.newest_of(*address, *most)?,
                    None => Vec::new(),
                };
                newest::of_address(&events)
            }
        })
    }
}
