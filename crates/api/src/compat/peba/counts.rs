//! Answers that are numbers: how many alerts, of which type.

use palisade_hub::alerts::{Counted, Recent};
use palisade_store::UNCLASSIFIED;
use serde::Serialize;

use super::json::Object;
use super::question::Answer;
use super::xml;

/// `retrieveAlertsCount`
pub(super) fn count(count: u64, json: bool) -> Answer {
    if json {
        return Answer::json(&Object(vec![("AlertCount", count)]));
    }
    Answer::xml(&xml::parent("EWSSimpleIPInfo", vec![xml::number("AlertCount", count)]))
}

/// Types and counts; alerts without a type are unclassified.
pub(super) fn types(counted: &[Counted]) -> Object<&str, u64> {
    let mut types: Vec<(&str, u64)> = Vec::with_capacity(counted.len());
    for Counted { name, count } in counted {
        let name = name.as_deref().unwrap_or(UNCLASSIFIED);
        match types.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) => *known += count,
            None => types.push((name, *count)),
        }
    }
    types.sort_unstable();
    Object(types)
}

/// `retrieveAlertsCountWithType`
pub(super) fn by_type(counted: &[Counted]) -> Answer {
    #[derive(Serialize)]
    struct ByType<'a> {
        #[serde(rename = "AlertCountTotal")]
        total: u64,
        #[serde(rename = "AlertCountPerType")]
        per_type: Object<&'a str, u64>,
    }
    let total = counted.iter().map(|counted| counted.count).sum();
    Answer::json(&ByType { total, per_type: types(counted) })
}

/// `retrieveAlertStats`
pub(super) fn recent(recent: &Recent) -> Answer {
    Answer::json(&Object(vec![
        ("AlertsLast24Hours", recent.day),
        ("AlertsLastHour", recent.hour),
        ("AlertsLast5Minutes", recent.five_minutes),
        ("AlertsLastMinute", recent.minute),
    ]))
}
