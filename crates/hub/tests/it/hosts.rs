//! Machines that tell of themselves: what becomes of their events.

use crate::common;

use std::time::Duration;

use common::{DEADLINE, deliver, encoded, key, local, now, reopen, settled};
use palisade_event::{
    AttributeValue, Domain, Event, EventId, EventKind, HostName, SensorId, Timestamp,
};
use palisade_hub::{
    AdminError, Config, FindingsQuestion, HostInfo, Hub, NewSuppression, Principal, QueryError,
    Role, Scope,
};

/// An event of a machine that calls itself `name`.
fn event(number: u128, kind: EventKind, name: &str) -> Event {
    let at = now();
    let sensor = SensorId::new("whoever").unwrap();
    let mut event = Event::new(EventId::new(at, number), kind, at, sensor);
    event.host = HostName::new(name).ok();
    event
}

fn sample(number: u128, name: &str, cpu: f64) -> Event {
    event(number, EventKind::HostSampled, name)
        .with("cpu_pct", AttributeValue::Real(cpu))
        .with("load1", AttributeValue::Real(0.5))
}

fn section(number: u128, name: &str, snapshot: &str, section: &str, data: &str) -> Event {
    event(number, EventKind::HostReported, name)
        .with("section", section)
        .with("snapshot", snapshot)
        .with("part", 0_i64)
        .with("parts", 1_i64)
        .with("count", 1_i64)
        .with("data", data)
}

fn opened(number: u128, check: &str, severity: &str) -> Event {
    event(number, EventKind::FindingOpened, "web-1")
        .with("check", check)
        .with("title", "Root may log in")
        .with("severity", severity)
        .with("area", "ssh")
        .with("evidence", "PermitRootLogin yes")
}

async fn tell(hub: &Hub, who: &Principal, events: &[Event]) {
    let receipt = deliver(hub, who, &encoded(events)).await;
    assert_eq!(receipt.accepted as usize, events.len());
    settle(hub).await;
}

/// Until the store has all that waits, and machines are written down.
async fn settle(hub: &Hub) {
    let began = std::time::Instant::now();
    while hub.status().spool.pending_records > 0 {
        assert!(began.elapsed() < DEADLINE);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    hub.look_at_hosts(now()).await.unwrap();
}

async fn hosts(hub: &Hub) -> Vec<HostInfo> {
    hub.hosts(&local(), now()).await.unwrap()
}

async fn open(silent_secs: u32) -> (tempfile::TempDir, Hub) {
    let dir = tempfile::tempdir().unwrap();
    let mut config = Config::default();
    config.hosts.silent_secs = silent_secs;
    let hub = Hub::open(dir.path(), &config).await.unwrap();
    (dir, hub)
}

#[tokio::test]
async fn a_machine_is_known_by_its_key_whatever_it_calls_itself() {
    let (_dir, hub) = open(0).await;
    let one = key(&hub, "edge-1", &[Scope::Ingest], Domain::Private).await;
    let two = key(&hub, "edge-2", &[Scope::Ingest], Domain::Community).await;
    tell(&hub, &one, &[sample(1, "web", 1.0)]).await;
    // Another one lies about its name, and about its sensor in the event.
    tell(&hub, &two, &[sample(2, "web", 2.0), section(3, "web", "s", "system", "{}")]).await;
    let found = hosts(&hub).await;
    let ids: Vec<(&str, bool)> =
        found.iter().map(|host| (host.id.as_str(), host.name_shared)).collect();
    assert_eq!(ids, [("edge-1", true), ("edge-2", true)]);
    assert_eq!(found[0].sample.as_ref().unwrap()["cpu_pct"], 1.0);
    assert_eq!(found[0].state, "ok");
    // It is renamed, and stays the same machine.
    tell(&hub, &one, &[sample(4, "web-1", 3.0)]).await;
    let found = hosts(&hub).await;
    let renamed = found.iter().find(|host| host.id == "edge-1").unwrap();
    assert_eq!(renamed.name.as_deref(), Some("web-1"));
    assert_eq!(renamed.former_name.as_ref().unwrap().0, "web");
    assert!(found.iter().all(|host| !host.name_shared));
    hub.close().await;
}

#[tokio::test]
async fn what_machines_tell_is_private_though_their_key_is_of_the_community() {
    let (_dir, hub) = open(0).await;
    let shared = key(&hub, "pot", &[Scope::Ingest, Scope::Read], Domain::Community).await;
    tell(&hub, &shared, &[sample(1, "pot", 1.0)]).await;
    assert_eq!(settled(&hub, 1).await[0].domain, Domain::Private);
    for stranger in [shared, Principal::public()] {
        assert!(matches!(hub.hosts(&stranger, now()).await, Err(QueryError::Forbidden)));
        let changes = hub.host_changes(&stranger, None, 10, None).await;
        assert!(matches!(changes, Err(QueryError::Forbidden)));
    }
    hub.close().await;
}

#[tokio::test]
async fn the_newest_inventory_counts_and_its_parts_are_put_together() {
    let (_dir, hub) = open(0).await;
    let who = key(&hub, "edge-1", &[Scope::Ingest], Domain::Private).await;
    let part = |number, snapshot: &str, part: i64, data: &str| {
        let mut event = section(number, "web", snapshot, "packages", data).with("part", part);
        event = event.with("parts", 2_i64).with("left_out", 5_i64);
        event.with("unseen", r#"["no dpkg"]"#)
    };
    let old = [part(1, "a", 0, "[1]"), part(2, "a", 1, "[2]")];
    tell(&hub, &who, &old).await;
    tell(&hub, &who, &[part(3, "b", 0, r#"[{"name":"<b>"}]"#)]).await;
    let shown = hub.host(&local(), "edge-1", now()).await.unwrap().unwrap();
    let packages = &shown.sections["packages"];
    assert_eq!((packages.data.get(), packages.incomplete), (r#"[{"name":"<b>"}]"#, true));
    assert_eq!((packages.left_out, &packages.unseen[..]), (5, &["no dpkg".to_owned()][..]));
    tell(&hub, &who, &[part(4, "b", 1, "[3]")]).await;
    let shown = hub.host(&local(), "edge-1", now()).await.unwrap().unwrap();
    assert_eq!(shown.sections["packages"].data.get(), r#"[{"name":"<b>"},3]"#);
    assert!(!shown.sections["packages"].incomplete);
    assert!(hub.host(&local(), "edge-2", now()).await.unwrap().is_none());
    hub.close().await;
}

#[tokio::test]
async fn a_silent_machine_raises_one_alert_and_being_heard_ends_it() {
    let (dir, hub) = open(60).await;
    let who = key(&hub, "edge-1", &[Scope::Ingest], Domain::Private).await;
    tell(&hub, &who, &[sample(1, "web", 1.0)]).await;
    let later = |secs: i64| now().plus_millis(secs * 1000);
    hub.look_at_hosts(later(50)).await.unwrap();
    assert_eq!(hosts(&hub).await[0].state, "ok");
    for _ in 0..3 {
        hub.look_at_hosts(later(70)).await.unwrap();
        settle(&hub).await;
    }
    let silent = &hosts(&hub).await[0];
    assert_eq!((silent.state, silent.alerts), ("silent", 1));
    // The hub's word is no sign of life of the machine, nor of its sensor.
    assert_eq!(silent.silent_since, Some(silent.last_seen));
    let sensors = hub.sensors(&local(), now()).await.unwrap();
    assert_eq!(sensors[0].kind, palisade_hub::SensorKind::Agent);
    tell(&hub, &who, &[sample(2, "web", 1.0)]).await;
    settle(&hub).await;
    let heard = &hosts(&hub).await[0];
    assert_eq!((heard.state, heard.alerts, heard.silent_since), ("ok", 0, None));
    let kinds: Vec<EventKind> = settled(&hub, 4).await.iter().map(|event| event.kind).collect();
    let count = |kind| kinds.iter().filter(|known| **known == kind).count();
    assert_eq!((count(EventKind::HostAlerted), count(EventKind::HostRecovered)), (1, 1));
    hub.close().await;
    drop(dir);
}

#[tokio::test]
async fn a_clock_that_is_off_by_years_shows_the_machine_though_nothing_of_it_is_taken() {
    let (dir, hub) = open(0).await;
    let one = key(&hub, "edge-1", &[Scope::Ingest], Domain::Private).await;
    let years = |years: i64| now().plus_millis(years * 365 * 86_400_000);
    for (number, off) in [(1, 10), (2, -10)] {
        // What it tells lies beyond what is kept, or in the future.
        let mut wrong = sample(number, "web", 1.0);
        wrong.observed_at = years(off);
        let receipt = deliver(&hub, &one, &encoded(&[wrong])).await;
        assert_eq!((receipt.accepted, receipt.quarantined.len()), (0, 1));
        hub.note_clock(&one, years(off), now());
        settle(&hub).await;
        settle(&hub).await;
        let found = hosts(&hub).await;
        assert_eq!((found[0].id.as_str(), found[0].state, found[0].alerts), ("edge-1", "alert", 1));
        let shown = hub.host(&local(), "edge-1", now()).await.unwrap().unwrap();
        let said = shown.alerts[0].detail["message"].as_str().unwrap().to_owned();
        let way = if off > 0 { "ahead of" } else { "behind" };
        assert!(said.starts_with("its clock is 36") && said.contains(way), "{said}");
        hub.note_clock(&one, now(), now());
        settle(&hub).await;
        settle(&hub).await;
        assert_eq!((hosts(&hub).await[0].state, hosts(&hub).await[0].alerts), ("ok", 0));
    }
    // What was said before a restart ends after it.
    hub.note_clock(&one, years(1), now());
    settle(&hub).await;
    settle(&hub).await;
    hub.close().await;
    drop(hub);
    let hub = reopen(dir.path()).await;
    hub.note_clock(&one, now(), now());
    settle(&hub).await;
    settle(&hub).await;
    assert_eq!(hosts(&hub).await[0].state, "ok");
    hub.close().await;
}

#[tokio::test]
async fn findings_are_counted_by_check_and_suppressed_with_a_reason_and_an_end() {
    let (_dir, hub) = open(0).await;
    let who = key(&hub, "edge-1", &[Scope::Ingest], Domain::Private).await;
    let other = key(&hub, "edge-2", &[Scope::Ingest], Domain::Private).await;
    let audit = |number, failed: &str| {
        event(number, EventKind::AuditCompleted, "web-1")
            .with("score", 60_i64)
            .with("failed", 2_i64)
            .with("failed_checks", failed)
    };
    let found = [opened(1, "ssh-root", "high"), opened(2, "umask", "low")];
    tell(&hub, &who, &found).await;
    tell(&hub, &who, &[audit(3, r#"["ssh-root","umask"]"#)]).await;
    tell(&hub, &other, &[opened(4, "ssh-root", "high")]).await;
    let question = FindingsQuestion::default();
    let all = hub.findings(&local(), &question, now()).await.unwrap();
    assert_eq!((all.score, all.audited), (Some(60.0), 1));
    let ssh = &all.by_check["ssh-root"];
    assert_eq!((ssh.hosts, ssh.new, ssh.suppressed), (2, 2, 0));
    assert_eq!(all.findings[0].severity, "high");
    assert_eq!(all.findings[0].detail["evidence"], "PermitRootLogin yes");

    let me = local();
    let until = now().plus_millis(3_600_000);
    let new = |host: Option<&str>, reason: &str, until: Timestamp| NewSuppression {
        check: "ssh-root".into(),
        host: host.map(Into::into),
        reason: reason.into(),
        until,
    };
    for bad in [new(None, " ", until), new(None, "x", now().plus_millis(-1))] {
        let refused = hub.suppress(&me, bad, now()).await;
        assert!(matches!(refused, Err(AdminError::Invalid(_))), "{refused:?}");
    }
    let nobody = hub.suppress(&me, new(Some("edge-9"), "x", until), now()).await;
    assert!(matches!(nobody, Err(AdminError::NotFound(_))));
    let viewer = "viewer";
    hub.add_account(&me, viewer, "correct horse battery", Role::Viewer, now()).await.unwrap();
    let begun = hub.sign_in(viewer, "correct horse battery", None, None, now()).await.unwrap();
    let denied = hub.suppress(&begun.principal, new(None, "x", until), now()).await;
    assert!(matches!(denied, Err(AdminError::Denied(_))));
    let made =
        hub.suppress(&me, new(Some("edge-2"), "a test machine", until), now()).await.unwrap();
    let ssh = hub.findings(&me, &question, now()).await.unwrap().by_check["ssh-root"].clone();
    assert_eq!((ssh.hosts, ssh.suppressed), (1, 1));
    // It ends by itself.
    let after = hub.findings(&me, &question, until.plus_millis(1)).await.unwrap();
    assert_eq!(after.by_check["ssh-root"].hosts, 2);
    hub.count_again(&me, &made.id).await.unwrap();
    assert!(matches!(hub.count_again(&me, &made.id).await, Err(AdminError::NotFound(_))));

    // One is closed by its event, the other because an audit does not name it.
    let closed = event(5, EventKind::FindingClosed, "web-1").with("check", "umask");
    tell(&hub, &who, &[closed]).await;
    tell(&hub, &who, &[audit(6, "[]")]).await;
    let left = hub.findings(&me, &question, now()).await.unwrap();
    let open: Vec<&str> = left.findings.iter().map(|one| one.host.as_str()).collect();
    assert_eq!(open, ["edge-2"]);
    let closed = FindingsQuestion { closed_days: 1, ..question };
    assert_eq!(hub.findings(&me, &closed, now()).await.unwrap().findings.len(), 3);
    hub.close().await;
}

#[tokio::test]
async fn numbers_over_time_are_means_and_changes_are_paged() {
    let (_dir, hub) = open(0).await;
    let who = key(&hub, "edge-1", &[Scope::Ingest], Domain::Private).await;
    let end = now();
    let mut events: Vec<Event> = (0..60_u32)
        .map(|n| {
            let at = end.plus_millis(-i64::from(n) * 60_000 - 500);
            let mut event = sample(u128::from(n) + 1, "web", f64::from(n));
            (event.id, event.observed_at) = (EventId::new(at, u128::from(n)), at);
            event
        })
        .collect();
    events.push(event(100, EventKind::HostChanged, "web").with("section", "devices"));
    events.push(event(101, EventKind::FileChanged, "web").with("path", "/etc/passwd"));
    tell(&hub, &who, &events).await;
    let range = (end.plus_millis(-3_600_000), end);
    let me = local();
    let found = hub.host_samples(&me, "edge-1", range, 6).await.unwrap().unwrap();
    assert_eq!((found.total, found.picked, found.points.len()), (60, false, 6));
    let last = found.points.last().unwrap();
    assert_eq!((last.samples, last.values["cpu_pct"]), (10, 4.5));
    assert!(hub.host_samples(&me, "edge-2", range, 6).await.unwrap().is_none());
    let first = hub.host_changes(&me, Some("edge-1"), 1, None).await.unwrap().unwrap();
    let rest = hub.host_changes(&me, None, 10, first.next).await.unwrap().unwrap();
    let kinds = [&first, &rest].map(|page| page.changes[0].1.kind);
    assert!(kinds.contains(&EventKind::HostChanged) && kinds.contains(&EventKind::FileChanged));
    assert_eq!(rest.changes[0].0, "edge-1");
    assert!(hub.host_changes(&me, Some("nobody"), 1, None).await.unwrap().is_none());
    hub.close().await;
}

#[tokio::test]
async fn a_crash_before_machines_are_written_down_costs_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let hub = Hub::open(dir.path(), &Config::default()).await.unwrap();
    let who = key(&hub, "edge-1", &[Scope::Ingest], Domain::Private).await;
    deliver(&hub, &who, &encoded(&[section(1, "web", "s", "system", r#"{"a":1}"#)])).await;
    settled(&hub, 1).await;
    // As after a crash: nothing of it is in the state.
    hub.look_at_hosts(now()).await.unwrap();
    hub.forget_host(&local(), "edge-1").await.unwrap();
    std::fs::remove_file(dir.path().join("hub/hosts-noted")).unwrap();
    drop(hub);
    let hub = reopen(dir.path()).await;
    let began = std::time::Instant::now();
    while hosts(&hub).await.is_empty() {
        assert!(began.elapsed() < DEADLINE);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let shown = hub.host(&local(), "edge-1", now()).await.unwrap().unwrap();
    assert_eq!(shown.sections["system"].data.get(), r#"{"a":1}"#);
    hub.close().await;
}

#[tokio::test]
async fn a_machine_that_is_forgotten_is_there_again_when_it_is_heard() {
    let (_dir, hub) = open(0).await;
    let who = key(&hub, "edge-1", &[Scope::Ingest], Domain::Private).await;
    tell(&hub, &who, &[sample(1, "web", 1.0), opened(2, "x", "low")]).await;
    hub.forget_host(&local(), "edge-1").await.unwrap();
    assert!(hosts(&hub).await.is_empty());
    let question = FindingsQuestion::default();
    assert!(hub.findings(&local(), &question, now()).await.unwrap().findings.is_empty());
    let gone = hub.forget_host(&local(), "edge-1").await;
    assert!(matches!(gone, Err(AdminError::NotFound(_))));
    tell(&hub, &who, &[sample(3, "web", 1.0)]).await;
    assert_eq!(hosts(&hub).await.len(), 1);
    hub.close().await;
}
