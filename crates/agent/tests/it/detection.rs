//! Detection behind the spool: alerts and decisions as events, each once, over
//! restarts and crashes.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests: a failure is a panic")]

use crate::support;

use std::path::Path;

use palisade_agent::{Agent, Config, DetectConfig};
use palisade_event::{
    AttributeValue, Decision, Endpoint, Event, EventId, EventKind, SensorId, Timestamp,
};
use palisade_rules::Switches;
use support::{MemoryHub, Mood, Running, append_text, config, file_source, until};

fn detecting(log: &Path) -> Config {
    Config { detect: DetectConfig::default(), ..config(vec![file_source(log)]) }
}

/// Failed logins of an address, one a second from `from` on.
fn failures(address: &str, seconds: std::ops::Range<u32>) -> String {
    seconds
        .map(|second| {
            format!(
                "2026-11-20T20:{:02}:{:02}Z web01 sshd[{}]: Failed password for root from {address} port 4711 ssh2\n",
                second / 60,
                second % 60,
                second + 1000
            )
        })
        .collect()
}

fn verdicts(hub: &MemoryHub) -> Vec<String> {
    let text = |event: &Event, name: &str| match &event.attributes[name] {
        AttributeValue::Text(text) => text.to_string(),
        other => panic!("{other:?}"),
    };
    hub.of(EventKind::ScenarioTriggered)
        .iter()
        .map(|event| format!("{}: {}", text(event, "scenario"), text(event, "verdict")))
        .collect()
}

fn decisions(hub: &MemoryHub) -> Vec<Decision> {
    let events = hub.of(EventKind::DecisionMade);
    events.iter().map(|event| Decision::from_event(event).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attack_in_a_log_becomes_a_decision_with_its_evidence() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("auth.log");
    let hub = MemoryHub::new(Mood::Takes);
    append_text(&log, failures("198.51.100.7", 0..8).as_bytes());
    let running = Running::start(&detecting(&log), &folder.path().join("data"), hub.clone()).await;
    until(|| decisions(&hub).len() == 1, || format!("{:?}", verdicts(&hub))).await;
    let decision = decisions(&hub).remove(0);
    assert_eq!(decision.target.to_string(), "198.51.100.7");
    assert_eq!(decision.scenario.as_str(), "ssh-bruteforce");
    assert!(!decision.simulated);
    let logins: Vec<EventId> =
        hub.of(EventKind::AuthAttempted).iter().map(|event| event.id).collect();
    assert_eq!(decision.evidence.len(), 6);
    assert!(decision.evidence.iter().all(|id| logins.contains(id)), "evidence can be looked up");
    let metrics = running.agent.metrics();
    assert_eq!((metrics.alerts.get(), metrics.decisions.get()), (1, 1));
    running.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn simulation_that_is_switched_reaches_a_detector_that_runs() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("auth.log");
    let hub = MemoryHub::new(Mood::Takes);
    append_text(&log, failures("198.51.100.7", 0..6).as_bytes());
    let name = palisade_event::ScenarioName::new("ssh-bruteforce").unwrap();
    let (switch, switches) = tokio::sync::watch::channel(Switches::from([(name, true)]));
    let (events, receiver) = tokio::sync::mpsc::channel(16);
    let cancel = tokio_util::sync::CancellationToken::new();
    let (config, data) = (detecting(&log), folder.path().join("data"));
    let sensor = SensorId::new("test").unwrap();
    let guidance = palisade_agent::Guidance {
        switches: Some(switches),
        decisions: None::<palisade_agent::HttpUplink>,
        effect: None,
    };
    let agent =
        Agent::guided(&config, &data, sensor, hub.clone(), receiver, guidance, cancel.clone())
            .unwrap();
    until(|| decisions(&hub).len() == 1, || format!("{:?}", verdicts(&hub))).await;
    assert!(decisions(&hub)[0].simulated, "switched before the start");
    switch.send(Switches::new()).unwrap();
    append_text(&log, failures("198.51.100.8", 60..66).as_bytes());
    until(|| decisions(&hub).len() == 2, || format!("{:?}", verdicts(&hub))).await;
    let real: Vec<String> = decisions(&hub)
        .iter()
        .filter(|decision| !decision.simulated)
        .map(|decision| decision.target.to_string())
        .collect();
    assert_eq!(real, ["198.51.100.8"], "switched while it ran");
    cancel.cancel();
    drop(events);
    agent.join().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counting_goes_on_after_an_orderly_end_and_after_a_crash() {
    for crash in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let (log, data) = (folder.path().join("auth.log"), folder.path().join("data"));
        let hub = MemoryHub::new(Mood::Takes);
        append_text(&log, failures("198.51.100.7", 0..5).as_bytes());
        let running = Running::start(&detecting(&log), &data, hub.clone()).await;
        until(|| hub.of(EventKind::AuthAttempted).len() == 5, || "five logins".into()).await;
        if crash {
            running.crash();
        } else {
            running.end().await;
        }
        assert_eq!(decisions(&hub), [], "five are not enough");
        append_text(&log, failures("198.51.100.7", 5..6).as_bytes());
        let running = Running::start(&detecting(&log), &data, hub.clone()).await;
        until(|| decisions(&hub).len() == 1, || format!("crash: {crash}")).await;
        running.end().await;
        assert_eq!(hub.of(EventKind::AuthAttempted).len(), 6);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ban_is_still_in_force_after_a_restart() {
    for crash in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let (log, data) = (folder.path().join("auth.log"), folder.path().join("data"));
        let hub = MemoryHub::new(Mood::Takes);
        append_text(&log, failures("198.51.100.7", 0..6).as_bytes());
        let running = Running::start(&detecting(&log), &data, hub.clone()).await;
        until(|| decisions(&hub).len() == 1, || "a decision".into()).await;
        if crash {
            running.crash();
        } else {
            running.end().await;
        }
        // After the blackhole, within the ban.
        append_text(&log, failures("198.51.100.7", 300..306).as_bytes());
        let running = Running::start(&detecting(&log), &data, hub.clone()).await;
        until(
            || verdicts(&hub).iter().any(|verdict| verdict.contains("in force until")),
            || format!("{:?}", verdicts(&hub)),
        )
        .await;
        running.end().await;
        assert_eq!(decisions(&hub).len(), 1, "crash: {crash}: {:?}", verdicts(&hub));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crashes_at_any_moment_neither_lose_nor_double_a_count() {
    // Twenty attackers with six failures each make twenty decisions; five
    // failures more of twenty others make none.
    let mut lines = String::new();
    for n in 0..20 {
        lines.push_str(&failures(&format!("198.51.100.{}", n + 1), n * 10..n * 10 + 6));
        lines.push_str(&failures(&format!("203.0.113.{}", n + 1), n * 10..n * 10 + 5));
    }
    let folder = tempfile::tempdir().unwrap();
    let (log, data) = (folder.path().join("auth.log"), folder.path().join("data"));
    let hub = MemoryHub::new(Mood::Takes);
    let lines: Vec<&str> = lines.split_inclusive('\n').collect();
    for part in lines.chunks(13) {
        append_text(&log, part.concat().as_bytes());
        let running = Running::start(&detecting(&log), &data, hub.clone()).await;
        let before = hub.of(EventKind::AuthAttempted).len();
        until(
            || hub.of(EventKind::AuthAttempted).len() > before || before == lines.len(),
            || "some lines".into(),
        )
        .await;
        running.crash();
    }
    let running = Running::start(&detecting(&log), &data, hub.clone()).await;
    until(
        || hub.of(EventKind::AuthAttempted).len() == lines.len() && decisions(&hub).len() >= 20,
        || {
            format!(
                "{} logins, {} decisions",
                hub.of(EventKind::AuthAttempted).len(),
                decisions(&hub).len()
            )
        },
    )
    .await;
    running.end().await;
    let mut targets: Vec<String> =
        decisions(&hub).iter().map(|decision| decision.target.to_string()).collect();
    targets.sort();
    targets.dedup();
    assert_eq!(targets.len(), 20, "{targets:?}");
    assert_eq!(decisions(&hub).len(), 20);
    assert!(targets.iter().all(|target| target.starts_with("198.51.100.")), "{targets:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_allowed_is_spared_and_simulated_scenarios_say_so() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("auth.log");
    let hub = MemoryHub::new(Mood::Takes);
    append_text(&log, failures("198.51.100.7", 0..6).as_bytes());
    append_text(&log, failures("203.0.113.9", 0..6).as_bytes());
    let mut config = detecting(&log);
    config.detect.allow =
        toml::from_str::<DetectConfig>("allow = [\"198.51.100.0/24\"]").unwrap().allow;
    config.detect.simulate = vec!["ssh-bruteforce".into()];
    let running = Running::start(&config, &folder.path().join("data"), hub.clone()).await;
    until(|| verdicts(&hub).len() == 2, || format!("{:?}", verdicts(&hub))).await;
    let mut verdicts = verdicts(&hub);
    verdicts.sort();
    assert!(verdicts[0].contains("allowed by 198.51.100.0/24"), "{verdicts:?}");
    assert!(verdicts[1].contains("simulated"), "{verdicts:?}");
    until(|| decisions(&hub).len() == 1, || "the simulated decision".into()).await;
    assert!(decisions(&hub)[0].simulated);
    running.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_touch_of_a_honeypot_is_enough() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("auth.log");
    let hub = MemoryHub::new(Mood::Takes);
    let running = Running::start(&detecting(&log), &folder.path().join("data"), hub.clone()).await;
    let at = Timestamp::from_millis(1_795_000_000_000);
    let sensor = SensorId::new("test").unwrap();
    let mut event = Event::new(EventId::new(at, 7), EventKind::ConnectionOpened, at, sensor);
    event.source = Some(Endpoint::tcp("198.51.100.7:4711".parse().unwrap()));
    event.target = Some(Endpoint::tcp("192.0.2.1:23".parse().unwrap()));
    running.events.send(event.clone()).await.unwrap();
    until(|| decisions(&hub).len() == 1, || "a decision".into()).await;
    assert_eq!(decisions(&hub)[0].evidence, [event.id]);
    running.end().await;
}

#[tokio::test]
async fn scenarios_with_mistakes_keep_the_agent_from_starting() {
    let folder = tempfile::tempdir().unwrap();
    let scenarios = folder.path().join("scenarios");
    std::fs::create_dir(&scenarios).unwrap();
    std::fs::write(
        scenarios.join("bad.toml"),
        "name = \"bad\"\ndescription = \"\"\nkind = \"trigger\"\nfilter = \"statsu:404\"\n",
    )
    .unwrap();
    let mut config = config(Vec::new());
    config.detect = DetectConfig { scenarios: Some(scenarios), ..DetectConfig::default() };
    let (_events, receiver) = tokio::sync::mpsc::channel(1);
    let started = palisade_agent::Agent::start(
        &config,
        &folder.path().join("data"),
        SensorId::new("test").unwrap(),
        MemoryHub::new(Mood::Takes),
        receiver,
        tokio_util::sync::CancellationToken::new(),
    );
    let error = started.err().unwrap().to_string();
    assert!(error.contains("bad.toml") && error.contains("did you mean 'status'?"), "{error}");
}
