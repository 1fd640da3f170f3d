//! Every address of the dialect, asked about a fixed set of alerts at a fixed
//! time, against what is kept in `fixtures/peba`.

#[path = "../../../../store/tests/it/common/engine.rs"]
#[allow(dead_code, unreachable_pub, unused_macros, clippy::missing_docs_in_private_items)]
mod engine;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use engine::{Engine, Place};
use palisade_event::{Event, Timestamp};
use palisade_hub::Home;
use palisade_hub::alerts::Alerts;
use palisade_store::{Domains, Store};

use super::params::Params;
use super::question::Endpoint;
use crate::config::EwsConfig;

const NOW: &str = "2026-11-26T12:30:00Z";
const HOME: Home = Home { lat: 50.7, lon: 7.1 };

/// Name of the file and parameters.
type Case = (&'static str, &'static str);

/// Name of the folder, endpoint, and the cases.
const CASES: &[(&str, Endpoint, &[Case])] = &[
    (
        "retrieveAlertsCount",
        Endpoint::RetrieveAlertsCount,
        &[
            ("hour.xml", "time=60"),
            ("hour.json", "time=60&out=json"),
            ("day.json", "time=day&out=json"),
            ("private.json", "time=60&out=json&ci=0"),
            ("both.json", "time=60&out=json&ci=-1"),
        ],
    ),
    (
        "retrieveAlertsCountWithType",
        Endpoint::RetrieveAlertsCountWithType,
        &[("hour.json", "time=60"), ("day.json", "time=day")],
    ),
    (
        "retrieveAlertStats",
        Endpoint::RetrieveAlertStats,
        &[("community.json", ""), ("both.json", "ci=-1")],
    ),
    (
        "retrieveAlertsJson",
        Endpoint::RetrieveAlertsJson,
        &[("community.json", ""), ("private.json", "ci=0")],
    ),
    (
        "datasetAlertsPerMonth",
        Endpoint::DatasetAlertsPerMonth,
        &[("month.json", ""), ("days.json", "days=3")],
    ),
    ("datasetAlertTypesPerMonth", Endpoint::DatasetAlertTypesPerMonth, &[("days.json", "days=3")]),
    (
        "topCountriesAttacks",
        Endpoint::TopCountriesAttacks,
        &[
            ("month.json", ""),
            ("before.json", "monthOffset=1"),
            ("offset.json", "offset=1&topx=1&ci=-1"),
        ],
    ),
    (
        "retrieveLatLonAttacks",
        Endpoint::RetrieveLatLonAttacks,
        &[
            ("sources.json", ""),
            ("targets.json", "direction=dst&topx=2"),
            ("yesterday.json", "offset=1&direction=src"),
        ],
    ),
    (
        "TpotStats",
        Endpoint::TpotStats,
        &[("today.json", "day=20261126"), ("none.json", "day=20200101")],
    ),
    (
        "getStats",
        Endpoint::GetStats,
        &[
            (
                "days.json",
                "gte=2026-11-24+00%3A00%3A00&lt=2026-11-27+00%3A00%3A00&values=SSH%2Fconsole(cowrie),Webpage,VNC(vnclowpot),Nothing",
            ),
            ("default.json", "value=Unclassified"),
        ],
    ),
    (
        "tops",
        Endpoint::Tops,
        &[
            ("urls-1.json", "type=urls&days=1"),
            ("destports-7.json", "type=destports&days=7&topx=2"),
            ("destports-28.json", "type=destports&days=28&topx=1"),
        ],
    ),
    (
        "retrieveIPs",
        Endpoint::RetrieveIps,
        &[("community.xml", ""), ("both.json", "out=json&ci=-1")],
    ),
    (
        "retrieveIPs15m",
        Endpoint::RetrieveIps15m,
        &[("community.json", "out=json"), ("community.xml", "")],
    ),
    (
        "retrieveAlertsCyber",
        Endpoint::RetrieveAlertsCyber,
        &[("newest.xml", "topx=12"), ("private.xml", "ci=0")],
    ),
    (
        "querySingleIP",
        Endpoint::QuerySingleIp,
        &[
            ("one.xml", "ip=8.8.8.8"),
            ("private.xml", "ip=10.0.0.7"),
            ("fragment.xml", "ip=8.8.8.8%22%7D%7D%2C%7B%22match_all%22%3A%7B%7D"),
            ("missing.xml", ""),
        ],
    ),
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/peba")
}

fn filled(store: Store) -> Store {
    let text = std::fs::read_to_string(folder().join("events.jsonl")).unwrap();
    let events: Vec<Arc<Event>> =
        text.lines().map(|line| Arc::new(serde_json::from_str(line).unwrap())).collect();
    for part in events.chunks(20) {
        assert!(store.append(part).unwrap().iter().all(|new| *new));
        store.commit().unwrap();
        // Sent again: counts once.
        assert!(!store.append(part).unwrap().iter().any(|new| *new));
    }
    store
}

fn params(query: &str) -> Params {
    Params::of(&format!("/alert/x?{query}").parse().unwrap())
}

fn answers(store: &Store) -> Vec<(PathBuf, Vec<u8>)> {
    let now: Timestamp = NOW.parse().unwrap();
    let settings = EwsConfig::default();
    let mut answers = Vec::new();
    for (folder_name, endpoint, cases) in CASES {
        for (file, query) in *cases {
            let params = params(query);
            let domains = match endpoint {
                Endpoint::TpotStats | Endpoint::GetStats => Domains::Community,
                _ => params.domains(),
            };
            let question = endpoint.question(&params, &settings, now);
            let question = question.unwrap_or_else(|| panic!("{folder_name} {query}"));
            let alerts = Alerts::new(store, domains, Some(HOME));
            let answer = question.answer(&alerts, Some(HOME), now).unwrap();
            let is_json = answer.media_type == "application/json";
            assert_eq!(is_json, file.ends_with(".json"), "{folder_name}/{file}");
            answers.push((folder().join(folder_name).join(file), answer.body.to_vec()));
        }
    }
    answers
}

#[test]
fn answers_are_those_of_the_fixtures() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), &palisade_store::Config::default()).unwrap();
    let store = filled(store);
    let bless = std::env::var_os("UPDATE_GOLDEN").is_some();
    for (path, answer) in answers(&store) {
        if bless {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, &answer).unwrap();
        }
        assert_kept(&path, &answer);
    }
}

#[test]
fn answers_are_the_same_where_events_are_in_clickhouse() {
    for engine in [Engine::Debian, Engine::Current] {
        let Some(place) = Place::new(engine) else { continue };
        let store = filled(place.open());
        for (path, answer) in answers(&store) {
            assert_kept(&path, &answer);
        }
    }
}

fn assert_kept(path: &Path, answer: &[u8]) {
    let expected = std::fs::read(path).unwrap_or_default();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert_eq!(text(answer), text(&expected), "{}", path.display());
}

#[test]
fn what_is_missing_or_makes_no_sense_is_no_question() {
    let now: Timestamp = NOW.parse().unwrap();
    let settings = EwsConfig::default();
    for (endpoint, queries) in [
        (
            Endpoint::RetrieveAlertsCount,
            &["", "time=", "time=0", "time=-5", "time=now", "time=1e3", "time=99999999999"][..],
        ),
        (Endpoint::RetrieveAlertsCountWithType, &["", "time=week"][..]),
        (Endpoint::DatasetAlertsPerMonth, &["days=0", "days=x", "days=4000"][..]),
        (Endpoint::TopCountriesAttacks, &["monthOffset=-1", "offset=x", "topx=0", "topx=x"][..]),
        (Endpoint::RetrieveLatLonAttacks, &["offset=x", "direction=both", "topx=0"][..]),
        (Endpoint::TpotStats, &["", "day=2026-11-26", "day=20261301", "day=today"][..]),
        (
            Endpoint::GetStats,
            &["gte=yesterday", "gte=2026-11-26", "gte=2026-11-26+00:00:00&lt=2026-11-25+00:00:00"]
                [..],
        ),
        (
            Endpoint::Tops,
            &[
                "",
                "type=urls",
                "days=7",
                "type=x&days=7",
                "type=urls&days=2",
                "type=urls&days=1&topx=31",
            ][..],
        ),
    ] {
        for query in queries {
            assert_eq!(
                endpoint.question(&params(query), &settings, now),
                None,
                "{endpoint:?} {query}"
            );
        }
    }
}
