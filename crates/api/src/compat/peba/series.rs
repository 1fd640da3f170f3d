//! Answers about days: alerts of each, and the honeypots that saw them.

use palisade_event::Day;
use palisade_hub::alerts::Counted;
use palisade_store::{HoneypotCount, HoneypotDay, UNCLASSIFIED};
use serde::Serialize;

use super::counts;
use super::json::Object;
use super::question::Answer;

/// Most types of one question.
const MAX_TYPES: usize = 64;

fn begin(day: Day) -> String {
    format!("{day} 00:00:00")
}

/// `datasetAlertsPerMonth`
pub(super) fn per_day(days: &[(Day, Vec<Counted>)]) -> Answer {
    let sum = |counted: &[Counted]| counted.iter().map(|counted| counted.count).sum::<u64>();
    dataset(days.iter().map(|(day, counted)| (begin(*day), sum(counted))).collect())
}

/// `datasetAlertTypesPerMonth`
pub(super) fn types_per_day(days: &[(Day, Vec<Counted>)]) -> Answer {
    dataset(days.iter().map(|(day, counted)| (begin(*day), counts::types(counted))).collect())
}

fn dataset<T: Serialize>(days: Vec<(String, T)>) -> Answer {
    Answer::json(&[Object(vec![("datasetAlertsPerMonth", Object(days))])])
}

/// `TpotStats`
pub(super) fn honeypots(day: Day, found: &HoneypotDay) -> Answer {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Honeypots<'a> {
        total_number_alerts: u64,
        total_number_honeypots: u64,
        total_number_daemons: u64,
        number_alerts_per_type: Object<&'a str, u64>,
        number_honeypots_per_type: Object<&'a str, u64>,
    }
    #[derive(Serialize)]
    struct Stats<'a> {
        #[serde(rename = "communityHoneypots")]
        community: Honeypots<'a>,
        #[serde(rename = "UTCtimeFrom")]
        from: String,
        #[serde(rename = "UTCtimeTo")]
        to: String,
    }
    let each = |count: fn(&HoneypotCount) -> u64| {
        Object(found.by_category.iter().map(|(name, of)| (name.as_str(), count(of))).collect())
    };
    Answer::json(&Stats {
        community: Honeypots {
            total_number_alerts: found.alerts,
            total_number_honeypots: found.honeypots,
            total_number_daemons: found.daemons,
            number_alerts_per_type: each(|of| of.alerts),
            number_honeypots_per_type: each(|of| of.honeypots),
        },
        from: begin(day),
        to: format!("{day} 23:59:59"),
    })
}

/// The types of a list, each once.
pub(super) fn types(list: &str) -> Vec<String> {
    let mut types: Vec<String> = Vec::new();
    for name in list.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        if types.len() < MAX_TYPES && !types.iter().any(|known| known == name) {
            types.push(name.to_owned());
        }
    }
    types
}

/// A number of the answer: whole where it is 0.
#[derive(Serialize)]
#[serde(untagged)]
enum Value {
    Text(String),
    Ratio(f64),
    Nothing(u8),
}

fn ratio(of: HoneypotCount) -> Value {
    if of.honeypots == 0 {
        return Value::Nothing(0);
    }
    Value::Ratio(of.alerts as f64 / of.honeypots as f64)
}

/// `getStats`: types that no day has are left out.
pub(super) fn ratios(days: &[(Day, HoneypotDay)], types: &[String]) -> Answer {
    let is_known = |name: &&String| {
        KNOWN_TYPES.contains(&name.as_str())
            || days.iter().any(|(_, day)| day.by_category.contains_key(*name))
    };
    let types: Vec<&String> = types.iter().filter(is_known).collect();
    let one = |(day, found): &(Day, HoneypotDay)| {
        let total = HoneypotCount { alerts: found.alerts, honeypots: found.honeypots };
        let mut values = vec![
            ("UTCtimeFrom".to_owned(), Value::Text(begin(*day))),
            ("UTCtimeTo".to_owned(), Value::Text(format!("{day} 23:59:59"))),
            ("comm_totalRatio".to_owned(), ratio(total)),
        ];
        for name in &types {
            let count = found.by_category.get(*name).copied().unwrap_or_default();
            values.push((format!("comm_ratio_{name}"), ratio(count)));
        }
        (begin(*day), Object(values))
    };
    Answer::json(&Object(days.iter().map(one).collect()))
}

/// Types that may be asked for on days that have none of them.
const KNOWN_TYPES: [&str; 15] = [
    "E-Mail(mailoney)",
    "Industrial(conpot)",
    "Network(cisco-asa)",
    "Network(Dionaea)",
    "Network(honeytrap)",
    "Network(suricata)",
    "Passwords(heralding)",
    "RDP(rdpy)",
    "SSH/console(cowrie)",
    "Service(ES)",
    "Service(emobility)",
    "Service(Medicine)",
    "VNC(vnclowpot)",
    "Webpage",
    UNCLASSIFIED,
];
