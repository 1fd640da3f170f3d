//! What the state database promises, held by SQLite and PostgreSQL alike.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that fails says where")]

use crate::postgres;

use std::path::PathBuf;
use std::sync::Arc;

use palisade_event::{Domain, EventId, PayloadHash, SensorId, Timestamp};
use palisade_store::state::{
    Account, Added, ApiKey, CveLimits, Engine, EwsUser, NewQuarantined, NotedCves, Payload,
    PayloadQuery, PayloadSightings, PayloadTotals, PostgresUrl, Role, SavedQuery, Scope, SeenCve,
    Sensor, SensorBatch, SensorKind, Session, Sharing, State, StateConfig, StateError,
};
use palisade_store::state::{
    Audit, Finding, FindingChange, HostSection, HostSource, HostUpdate, Suppression,
};

/// An empty state, and how to open it again.
struct Place {
    state: State,
    config: StateConfig,
    file: PathBuf,
    _dir: tempfile::TempDir,
    server: Option<Arc<postgres::Server>>,
}

impl Place {
    async fn new(engine: Engine) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("state.db");
        let mut config = StateConfig::default();
        let mut server = None;
        if engine == Engine::Postgres {
            let (started, database) = tokio::task::spawn_blocking(|| {
                let server = postgres::shared();
                let database = server.database();
                (server, database)
            })
            .await
            .unwrap();
            config.postgres = Some(PostgresUrl::new(started.url(&database)));
            server = Some(started);
        }
        let state = State::open(&file, &config).await.unwrap();
        assert_eq!(state.engine(), engine);
        Self { state, config, file, _dir: dir, server }
    }

    /// As another hub, or the same one after a restart, would.
    async fn again(&self) -> State {
        State::open(&self.file, &self.config).await.unwrap()
    }
}

/// What a machine told at an instant: a sample, and a section of one part.
fn machine(id: &str, millis: i64, name: &str, text: &str) -> HostUpdate {
    let mut update = HostUpdate::new(id.into(), SensorId::new(id).unwrap(), HostSource::Agent);
    update.name = Some(name.into());
    update.seen = Some(at(millis));
    update.sample = Some((at(millis), text.into()));
    update.sections.push(HostSection {
        section: "system".into(),
        snapshot: text.into(),
        part: 0,
        parts: 1,
        entries: 1,
        left_out: 0,
        unseen: None,
        data: format!("{text:?}"),
        at: at(millis),
    });
    update
}

fn found(millis: i64) -> Finding {
    Finding {
        host: String::new(),
        check: "x".into(),
        title: "X".into(),
        severity: "low".into(),
        area: "ssh".into(),
        detail: "{}".into(),
        opened_at: at(millis),
        closed_at: None,
        reason: None,
    }
}

/// Each body runs on both engines.
macro_rules! on_both {
    ($(async fn $name:ident($place:ident: &Place) $body:block)*) => {
        mod bodies {
            use super::*;
            $(pub(super) async fn $name($place: &Place) $body)*
        }
        mod sqlite {
            use super::*;
            $(#[tokio::test]
            async fn $name() {
                bodies::$name(&Place::new(Engine::Sqlite).await).await;
            })*
        }
        mod postgresql {
            use super::*;
            $(#[tokio::test]
            async fn $name() {
                bodies::$name(&Place::new(Engine::Postgres).await).await;
            })*
        }
    };
}

fn at(secs: i64) -> Timestamp {
    Timestamp::from_millis(secs * 1000)
}

const MANY: CveLimits = CveLimits { cves: 1_000, announcements: 1_000 };

fn cve(cve: &str, domain: Domain, secs: i64) -> SeenCve {
    SeenCve {
        cve: cve.into(),
        domain,
        first_seen: at(secs),
        last_seen: at(secs),
        first_event: EventId::new(at(secs), 7),
        first_source: Some("203.0.113.9".parse().unwrap()),
        first_sensor: SensorId::new("edge-1").unwrap(),
        category: Some("Telnet(cowrie)".into()),
    }
}

fn account(name: &str) -> Account {
    Account { name: name.into(), role: Role::Operator, created_at: at(1), disabled: false }
}

fn session(account: &str, hash: &str) -> Session {
    Session {
        token_hash: hash.into(),
        account: account.into(),
        created_at: at(10),
        last_seen: at(10),
        expires_at: at(100),
        address: Some("2001:db8::1".parse().unwrap()),
        user_agent: Some("Firefox ü \u{1f980}".into()),
    }
}

fn key() -> ApiKey {
    ApiKey {
        id: "0a".into(),
        name: SensorId::new("web-1").unwrap(),
        secret_hash: "ff".into(),
        scopes: vec![Scope::Ingest, Scope::Read],
        domain: Domain::Community,
        created_at: at(3),
        last_used_at: None,
        ranges: None,
    }
}

fn payload(n: u8, secs: i64, text_hash: Option<&str>) -> Payload {
    Payload {
        sha256: PayloadHash([n; 32]),
        md5: format!("{:02x}", 255 - n).repeat(16),
        text_hash: text_hash.map(str::to_owned),
        mime: if n.is_multiple_of(2) { "text/plain" } else { "application/zip" }.into(),
        first_source: Some("2001:db8::1".parse().unwrap()),
        bytes: u64::from(n),
        first_seen: at(secs),
        last_seen: at(secs),
        seen: 0,
        first_port: Some(445),
        kept: true,
    }
}

fn sensor(name: &str, secs: i64, events: u64) -> Sensor {
    Sensor {
        sensor: SensorId::new(name).unwrap(),
        kind: SensorKind::Agent,
        domain: Domain::Private,
        first_seen: at(secs),
        last_seen: at(secs),
        last_address: Some("192.0.2.7".parse().unwrap()),
        key_id: Some("0a".into()),
        version: None,
        events_total: events,
    }
}

fn batch(writer: &str, number: u64, sensors: Vec<Sensor>) -> SensorBatch {
    SensorBatch { writer: writer.into(), number, sensors }
}

fn record<'a>(digest: &'a str, bytes: &'a [u8]) -> NewQuarantined<'a> {
    let bytes_long = bytes.len() as u64;
    NewQuarantined { digest, sensor: digest, reason: "no JSON", bytes: bytes_long, record: bytes }
}

fn saved(account: &str, id: &str, name: &str) -> SavedQuery {
    SavedQuery {
        id: id.into(),
        account: account.into(),
        name: name.into(),
        query: "country:CN".into(),
        options: r#"{"columns":["ip"]}"#.into(),
        shared: Sharing::Private,
        created_at: at(1),
        updated_at: at(2),
    }
}

on_both! {
    async fn an_account_reads_back_as_written_and_exists_once(place: &Place) {
        let state = &place.state;
        state.add_account(&account("anna"), "$hash").await.unwrap();
        assert_eq!(state.account("anna").await.unwrap(), Some((account("anna"), "$hash".into())));
        let again = state.add_account(&account("anna"), "$x").await;
        assert!(matches!(again, Err(StateError::Exists)), "{again:?}");
        assert_eq!(state.account("Anna").await.unwrap(), None);
        let shut = Account { disabled: true, ..account("Zoe") };
        state.add_account(&shut, "$hash").await.unwrap();
        // By bytes, whatever the locale of the server is.
        assert_eq!(state.accounts().await.unwrap(), [shut, account("anna")]);
        assert_eq!(place.again().await.accounts().await.unwrap().len(), 2);
    }

    async fn sessions_end_with_their_account_and_with_a_new_password(place: &Place) {
        let state = &place.state;
        state.add_account(&account("anna"), "$hash").await.unwrap();
        state.add_session(&session("anna", "aa")).await.unwrap();
        let found = state.session("aa").await.unwrap().unwrap();
        assert_eq!(found, (session("anna", "aa"), account("anna")));
        assert!(state.set_password_hash("anna", "$new").await.unwrap());
        assert_eq!(state.session("aa").await.unwrap(), None);
        assert_eq!(state.account("anna").await.unwrap().unwrap().1, "$new");
        state.add_session(&session("anna", "bb")).await.unwrap();
        assert!(state.remove_account("anna").await.unwrap());
        assert_eq!(state.sessions().await.unwrap(), []);
        assert!(!state.remove_account("anna").await.unwrap());
        assert!(!state.set_password_hash("anna", "$new").await.unwrap());
    }

    async fn what_belongs_to_nobody_is_refused(place: &Place) {
        let orphan = place.state.add_session(&session("nobody", "aa")).await;
        assert!(matches!(orphan, Err(StateError::NotFound)), "{orphan:?}");
        let orphan = place.state.add_saved_query(&saved("nobody", "1", "a"), 9).await;
        assert!(matches!(orphan, Err(StateError::NotFound)), "{orphan:?}");
    }

    async fn a_text_with_nul_is_refused(place: &Place) {
        let refused = place.state.set_meta("a", "b\0c").await;
        assert!(matches!(refused, Err(StateError::Nul)), "{refused:?}");
        assert!(matches!(place.state.account("\0").await, Err(StateError::Nul)));
    }

    async fn settings_are_listed_by_the_beginning_of_their_name_and_removed(place: &Place) {
        let state = &place.state;
        for (name, value) in [("simulate/b", "1"), ("simulate/a", "2"), ("simulated", "3")] {
            state.set_meta(name, value).await.unwrap();
        }
        let of = async || place.again().await.meta_below("simulate/").await.unwrap();
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(of().await, [pair("simulate/a", "2"), pair("simulate/b", "1")]);
        state.remove_meta("simulate/a").await.unwrap();
        state.remove_meta("simulate/a").await.unwrap();
        assert_eq!(of().await, [pair("simulate/b", "1")]);
    }

    async fn only_sessions_past_their_time_are_removed(place: &Place) {
        let state = &place.state;
        state.add_account(&account("anna"), "$hash").await.unwrap();
        for (hash, last_seen, expires) in [("a", 50, 100), ("b", 5, 100), ("c", 50, 60)] {
            let mut one = session("anna", hash);
            (one.last_seen, one.expires_at) = (at(last_seen), at(expires));
            state.add_session(&one).await.unwrap();
        }
        assert_eq!(state.remove_expired_sessions(at(60), at(5)).await.unwrap(), 2);
        state.touch_session("a", at(70)).await.unwrap();
        state.touch_session("a", at(60)).await.unwrap();
        let left = state.sessions().await.unwrap();
        assert_eq!((left.len(), left[0].last_seen), (1, at(70)));
        assert!(state.remove_session("a").await.unwrap());
        assert!(!state.remove_session("a").await.unwrap());
    }

    async fn a_key_reads_back_as_written(place: &Place) {
        let (state, mut key) = (&place.state, key());
        state.add_api_key(&key).await.unwrap();
        for same in [ApiKey { id: "0b".into(), ..key.clone() }, ApiKey { name: SensorId::new("b").unwrap(), ..key.clone() }] {
            let again = state.add_api_key(&same).await;
            assert!(matches!(again, Err(StateError::Exists)), "{again:?}");
        }
        state.touch_api_key("0a", at(9)).await.unwrap();
        key.last_used_at = Some(at(9));
        assert_eq!(place.again().await.api_key("0a").await.unwrap(), Some(key.clone()));
        assert_eq!(state.api_keys().await.unwrap(), [key]);
        assert!(state.remove_api_key("0a").await.unwrap());
        assert_eq!(state.api_key("0a").await.unwrap(), None);
    }

    async fn an_ews_user_reads_back_as_written_and_its_hash_is_replaced_once(place: &Place) {
        let state = &place.state;
        let mut user = EwsUser {
            name: SensorId::new("tpot-1").unwrap(),
            token_hash: "md5:00".into(),
            domain: Domain::Community,
            email: Some("a@example.org".into()),
            read_only: true,
            community_only: false,
            created_at: at(3),
            last_used_at: None,
        };
        state.add_ews_user(&user).await.unwrap();
        let again = state.add_ews_user(&user).await;
        assert!(matches!(again, Err(StateError::Exists)), "{again:?}");
        assert!(state.rehash_ews_user("tpot-1", "md5:00", "$new").await.unwrap());
        assert!(!state.rehash_ews_user("tpot-1", "md5:00", "$other").await.unwrap());
        state.touch_ews_user("tpot-1", at(9)).await.unwrap();
        (user.token_hash, user.last_used_at) = ("$new".into(), Some(at(9)));
        assert_eq!(place.again().await.ews_user("tpot-1").await.unwrap(), Some(user.clone()));
        assert_eq!(state.ews_user("Tpot-1").await.unwrap(), None);
        assert_eq!(state.ews_users().await.unwrap(), [user]);
        assert!(state.remove_ews_user("tpot-1").await.unwrap());
        assert!(!state.remove_ews_user("tpot-1").await.unwrap());
    }

    async fn a_payload_is_known_once_by_its_bytes_and_by_its_text(place: &Place) {
        let state = &place.state;
        let first = payload(1, 10, Some("aa"));
        assert_eq!(state.add_payload(&first).await.unwrap(), first);
        assert_eq!(state.add_payload(&payload(1, 99, None)).await.unwrap(), first);
        assert_eq!(state.add_payload(&payload(2, 99, Some("aa"))).await.unwrap(), first);
        let other = payload(2, 20, Some("bb"));
        assert_eq!(state.add_payload(&other).await.unwrap(), other);
        assert_eq!(state.payload_like(PayloadHash([9; 32]), Some("bb")).await.unwrap(), Some(other));
        assert_eq!(state.payload_like(PayloadHash([9; 32]), None).await.unwrap(), None);
        let totals = PayloadTotals { known: 2, kept: 2, bytes: 3 };
        assert_eq!(state.payload_totals().await.unwrap(), totals);
        assert!(!state.drop_payload(first.sha256, at(9)).await.unwrap(), "it was seen since");
        assert!(state.drop_payload(first.sha256, at(10)).await.unwrap());
        assert!(!state.drop_payload(first.sha256, at(10)).await.unwrap(), "it is gone already");
        assert!(!place.again().await.payload(first.sha256).await.unwrap().unwrap().kept);
        let totals = PayloadTotals { known: 2, kept: 1, bytes: 2 };
        assert_eq!(state.payload_totals().await.unwrap(), totals);
        let later = payload(1, 30, Some("aa"));
        let back = state.add_payload(&later).await.unwrap();
        assert_eq!((back.kept, back.first_seen, back.last_seen), (true, at(10), at(30)));
        // Once its bytes are gone, others of the same text are kept for it.
        assert!(state.drop_payload(first.sha256, at(30)).await.unwrap());
        let variant = payload(3, 40, Some("aa"));
        assert_eq!(state.add_payload(&variant).await.unwrap(), variant);
        let found = state.payload_like(first.sha256, Some("aa")).await.unwrap();
        assert_eq!(found, Some(variant));
    }

    async fn payloads_are_listed_by_their_last_sighting(place: &Place) {
        let state = &place.state;
        for n in 1..=6u8 {
            state.add_payload(&payload(n, i64::from(n), None)).await.unwrap();
        }
        let seen = |n: u8, events, secs| PayloadSightings {
            sha256: PayloadHash([n; 32]), events, last_seen: at(secs),
        };
        state.see_payloads(&[seen(1, 3, 50), seen(2, 1, 1), seen(99, 1, 1)]).await.unwrap();
        let list = async |query: PayloadQuery, limit| {
            let found = state.payloads(&query, limit).await.unwrap();
            found.iter().map(|payload| payload.sha256.0[0]).collect::<Vec<_>>()
        };
        let all = PayloadQuery::default();
        assert_eq!(list(all.clone(), 9).await, [1, 6, 5, 4, 3, 2]);
        let after = Some((at(6), PayloadHash([6; 32])));
        assert_eq!(list(PayloadQuery { after, ..all.clone() }, 2).await, [5, 4]);
        let hash = |text: &str| PayloadQuery {
            hashes: text.split(' ').map(str::to_owned).collect(), ..PayloadQuery::default()
        };
        assert_eq!(list(hash("03"), 9).await, [3]);
        assert_eq!(list(hash("fbfb"), 9).await, [4], "by MD5");
        assert_eq!(list(hash("%"), 9).await, [0u8; 0]);
        assert_eq!(list(hash("06 03 99"), 9).await, [6, 3]);
        let mime = PayloadQuery { mime: Some("text/".into()), ..all };
        assert_eq!(list(mime, 9).await, [6, 4, 2]);
        let first = state.payload(PayloadHash([1; 32])).await.unwrap().unwrap();
        assert_eq!((first.seen, first.last_seen, first.first_seen), (3, at(50), at(1)));
        let stale = state.stale_payloads(2).await.unwrap();
        assert_eq!(stale.iter().map(|payload| payload.sha256.0[0]).collect::<Vec<_>>(), [2, 3]);
    }

    async fn counts_of_sensors_add_up_and_the_latest_sighting_says_the_rest(place: &Place) {
        let state = &place.state;
        let add = async |batch: SensorBatch| state.add_sensors(&batch, at(0)).await.unwrap();
        add(batch("hub-1", 1, vec![sensor("web-1", 100, 3), sensor("web-2", 5, 1)])).await;
        let later = Sensor {
            last_address: None,
            version: Some("0.2.0".into()),
            domain: Domain::Community,
            ..sensor("web-1", 200, 4)
        };
        add(batch("hub-2", 1, vec![later.clone()])).await;
        let late = Sensor { key_id: None, version: Some("0.1.0".into()), ..sensor("web-1", 50, 5) };
        add(batch("hub-1", 2, vec![late])).await;
        let expected = Sensor {
            first_seen: at(50),
            last_address: sensor("web-1", 0, 0).last_address,
            events_total: 12,
            ..later
        };
        assert_eq!(place.again().await.sensors().await.unwrap(), [expected, sensor("web-2", 5, 1)]);
    }

    async fn a_batch_of_sensors_that_is_sent_twice_counts_once(place: &Place) {
        let state = &place.state;
        let first = batch("hub-1", 1, (0..250).map(|n| sensor(&format!("s{n}"), 1, 2)).collect());
        assert_eq!(state.add_sensors(&first, at(1)).await.unwrap(), Added::Now);
        assert_eq!(state.add_sensors(&first, at(1)).await.unwrap(), Added::Before);
        let second = batch("hub-1", 2, vec![sensor("s0", 1, 1)]);
        assert_eq!(state.add_sensors(&second, at(1)).await.unwrap(), Added::Now);
        assert_eq!(state.add_sensors(&first, at(1)).await.unwrap(), Added::Before);
        let total: u64 = state.sensors().await.unwrap().iter().map(|s| s.events_total).sum();
        assert_eq!(total, 501);
        assert_eq!(state.forget_writers(at(1)).await.unwrap(), 0);
        assert_eq!(state.forget_writers(at(2)).await.unwrap(), 1);
    }

    async fn hubs_that_write_the_same_sensors_at_once_lose_nothing(place: &Place) {
        let mut writers = tokio::task::JoinSet::new();
        for writer in 0..4 {
            let state = place.again().await;
            writers.spawn(async move {
                for number in 1..=10 {
                    // Each in another order.
                    let mut sensors: Vec<_> = (0..20).map(|n| sensor(&format!("s{n}"), 1, 1)).collect();
                    sensors.rotate_left((writer * 5) as usize);
                    let batch = batch(&writer.to_string(), number, sensors);
                    // SQLite lets one write at a time and tells the others to come again.
                    while state.add_sensors(&batch, at(1)).await.is_err() {}
                }
            });
        }
        writers.join_all().await;
        let totals: Vec<u64> =
            place.state.sensors().await.unwrap().iter().map(|s| s.events_total).collect();
        assert_eq!(totals, vec![40; 20]);
    }

    async fn the_oldest_of_the_quarantine_go_at_the_bound_and_are_counted(place: &Place) {
        let state = &place.state;
        let mut last = "";
        for digest in ["a", "b", "c", "d", "d"] {
            let record = record(digest, &[0xff; 400]);
            let added = state.add_quarantined(&[record], at(5), 1000).await.unwrap();
            let resent = state.add_quarantined(&[record], at(5), 1000).await.unwrap();
            assert_eq!((added, resent), (u64::from(digest != last), 0));
            last = digest;
        }
        assert_eq!(state.quarantine_counts().await.unwrap(), (2, 2));
        let listed = state.quarantined(10, 3).await.unwrap();
        let senders: Vec<_> = listed.iter().map(|record| record.sensor.as_str()).collect();
        assert_eq!(senders, ["d", "c"]);
        assert_eq!(listed[0].head, [0xff; 3]);
        assert_eq!((listed[0].bytes, listed[0].reason.as_str()), (400, "no JSON"));
        assert_eq!(state.quarantined(1, 3).await.unwrap().len(), 1);
    }

    async fn a_large_batch_goes_to_quarantine_whole_and_a_larger_one_stays_within_the_bound(place: &Place) {
        let digests: Vec<String> = (0..1500).map(|n| format!("{n:05}")).collect();
        let records: Vec<_> = digests.iter().map(|digest| record(digest, b"0123456789")).collect();
        // The same one twice in a batch.
        let twice: Vec<_> = records.iter().chain(&records[..3]).copied().collect();
        let state = &place.state;
        assert_eq!(state.add_quarantined(&twice, at(5), 1 << 20).await.unwrap(), 1500);
        assert_eq!(state.quarantine_counts().await.unwrap(), (1500, 0));
        state.add_quarantined(&[record("x", b"0123456789")], at(5), 105).await.unwrap();
        assert_eq!(state.quarantine_counts().await.unwrap(), (10, 1491));
        assert_eq!(state.quarantined(1, 3).await.unwrap()[0].sensor, "x");
    }

    async fn hubs_together_keep_the_bound_of_the_quarantine(place: &Place) {
        let mut writers = tokio::task::JoinSet::new();
        for writer in 0..4 {
            let state = place.again().await;
            writers.spawn(async move {
                for n in 0..10 {
                    let digest = format!("{writer}-{n}");
                    let record = record(&digest, &[7; 100]);
                    while state.add_quarantined(&[record], at(5), 1000).await.is_err() {}
                    let (kept, _) = state.quarantine_counts().await.unwrap();
                    assert!(kept <= 10, "{kept}");
                }
            });
        }
        writers.join_all().await;
        assert_eq!(place.state.quarantine_counts().await.unwrap(), (10, 30));
    }

    async fn one_sees_ones_own_queries_and_the_shared_ones(place: &Place) {
        let state = &place.state;
        for name in ["anna", "bert"] {
            state.add_account(&account(name), "$hash").await.unwrap();
        }
        let own = saved("anna", "1", "b");
        let shared = SavedQuery { shared: Sharing::Shared, ..saved("bert", "2", "a") };
        let hidden = saved("bert", "3", "c");
        for query in [&own, &shared, &hidden] {
            state.add_saved_query(query, 10).await.unwrap();
        }
        let of = async |who| state.saved_queries(who, 10).await.unwrap();
        assert_eq!(of(Some("anna")).await, [shared.clone(), own.clone()]);
        assert_eq!(of(None).await, std::slice::from_ref(&shared));
        assert_eq!(state.saved_query("1").await.unwrap(), Some(own));
        assert!(state.remove_account("bert").await.unwrap());
        assert_eq!(of(None).await, [], "they go with their account");
        assert!(state.remove_saved_query("1").await.unwrap());
        assert!(!state.remove_saved_query("1").await.unwrap());
    }

    async fn a_saved_query_has_a_name_of_its_own_and_their_number_is_bounded(place: &Place) {
        let state = &place.state;
        for name in ["anna", "bert"] {
            state.add_account(&account(name), "$hash").await.unwrap();
        }
        state.add_saved_query(&saved("anna", "1", "a"), 2).await.unwrap();
        let again = state.add_saved_query(&saved("anna", "2", "a"), 2).await;
        assert!(matches!(again, Err(StateError::Exists)), "{again:?}");
        state.add_saved_query(&saved("bert", "2", "a"), 2).await.unwrap();
        state.add_saved_query(&saved("anna", "3", "b"), 2).await.unwrap();
        let third = state.add_saved_query(&saved("anna", "4", "c"), 2).await;
        assert!(matches!(third, Err(StateError::Full)), "{third:?}");
    }

    async fn a_vulnerability_is_new_once_and_announced_to_each_hook(place: &Place) {
        let (state, hooks) = (&place.state, ["soc", "chat"]);
        let first = cve("CVE-2026-24061", Domain::Private, 100);
        let noted = state.note_cves(std::slice::from_ref(&first), &hooks, MANY, at(100)).await.unwrap();
        assert_eq!(noted.new, ["CVE-2026-24061"]);
        // Later, again after a restart, and in the other domain: no news.
        let later = [cve("CVE-2026-24061", Domain::Private, 300)];
        let noted = place.again().await.note_cves(&later, &hooks, MANY, at(300)).await.unwrap();
        assert_eq!(noted, NotedCves::default());
        let other = [cve("CVE-2026-24061", Domain::Community, 200)];
        let noted = state.note_cves(&other, &hooks, MANY, at(300)).await.unwrap();
        assert_eq!(noted, NotedCves::default());
        let rows = state.cve("CVE-2026-24061").await.unwrap();
        assert_eq!(rows, [SeenCve { last_seen: at(300), ..first }, other[0].clone()]);
        assert_eq!(state.cves(9).await.unwrap().len(), 2);
        assert_eq!(state.waiting_announcements().await.unwrap(), 2);
    }

    async fn an_announcement_is_taken_by_one_until_its_lease_ends(place: &Place) {
        let (one, two) = (&place.state, place.again().await);
        let seen = [cve("CVE-2026-0001", Domain::Private, 1), cve("CVE-2026-0002", Domain::Private, 1)];
        one.note_cves(&seen, &["soc"], MANY, at(100)).await.unwrap();
        let first = one.take_announcement("soc", at(100), at(160)).await.unwrap().unwrap();
        let second = two.take_announcement("soc", at(100), at(160)).await.unwrap().unwrap();
        assert_eq!((first.attempt, second.attempt), (1, 1));
        assert_ne!(first.id, second.id);
        assert_eq!(two.take_announcement("soc", at(159), at(200)).await.unwrap(), None);
        assert_eq!(two.take_announcement("chat", at(159), at(200)).await.unwrap(), None);
        one.end_announcement(&first.id).await.unwrap();
        // The other has died: it is made once more, and says so.
        let again = one.take_announcement("soc", at(160), at(220)).await.unwrap().unwrap();
        assert_eq!((&again.id, again.attempt), (&second.id, 2));
        one.put_off_announcement(&again.id, at(900)).await.unwrap();
        assert_eq!(one.take_announcement("soc", at(899), at(999)).await.unwrap(), None);
        assert!(one.take_announcement("soc", at(900), at(999)).await.unwrap().is_some());
        assert_eq!(one.give_up_announcements(at(101)).await.unwrap(), 1);
        assert_eq!(one.waiting_announcements().await.unwrap(), 0);
    }

    async fn vulnerabilities_and_announcements_are_bounded(place: &Place) {
        let limits = CveLimits { cves: 2, announcements: 1 };
        let names = ["CVE-2026-0001", "CVE-2026-0002", "CVE-2026-0003"];
        let seen = names.map(|name| cve(name, Domain::Community, 1));
        let noted = place.state.note_cves(&seen, &["soc"], limits, at(1)).await.unwrap();
        assert_eq!(noted, NotedCves { new: names[..2].iter().map(ToString::to_string).collect(), left_out: 1, not_announced: 1 });
        assert_eq!(place.state.cves(9).await.unwrap().len(), 2);
    }

    async fn only_its_owner_changes_a_query_and_not_when_it_was_made(place: &Place) {
        let state = &place.state;
        state.add_account(&account("anna"), "$hash").await.unwrap();
        state.add_saved_query(&saved("anna", "1", "a"), 9).await.unwrap();
        state.add_saved_query(&saved("anna", "2", "b"), 9).await.unwrap();
        let changed = SavedQuery {
            query: "country:DE".into(),
            created_at: at(7),
            updated_at: at(8),
            ..saved("anna", "1", "c")
        };
        assert!(state.change_saved_query(&changed).await.unwrap());
        let expected = SavedQuery { created_at: at(1), ..changed.clone() };
        assert_eq!(state.saved_query("1").await.unwrap(), Some(expected));
        let of_bert = SavedQuery { account: "bert".into(), ..changed.clone() };
        assert!(!state.change_saved_query(&of_bert).await.unwrap());
        let taken = state.change_saved_query(&SavedQuery { name: "b".into(), ..changed }).await;
        assert!(matches!(taken, Err(StateError::Exists)), "{taken:?}");
    }

    async fn of_a_machine_the_newest_counts_whatever_comes_late_or_twice(place: &Place) {
        let state = &place.state;
        let note = async |updates: &[HostUpdate]| state.note_hosts(updates).await.unwrap();
        let new = machine("web-1", 100, "new", "b");
        note(&[new.clone(), machine("web-2", 5, "two", "b")]).await;
        let old = machine("web-1", 50, "old", "a");
        note(std::slice::from_ref(&old)).await;
        note(&[new.clone(), old]).await;
        let host = place.again().await.host("web-1").await.unwrap().unwrap();
        assert_eq!(host.name.as_deref(), Some("new"));
        assert_eq!((host.first_seen, host.last_seen), (at(50), at(100)));
        assert_eq!((host.sample_at, host.sample.as_deref()), (Some(at(100)), Some("b")));
        let sections = state.host_sections("web-1").await.unwrap();
        assert_eq!(sections, new.sections);
        note(&[machine("web-1", 130, "newer", "c")]).await;
        let host = state.host("web-1").await.unwrap().unwrap();
        assert_eq!((host.former_name.as_deref(), host.renamed_at), (Some("new"), Some(at(130))));
        assert_eq!(host.sample_gap, Some(30_000));
        assert!(state.remove_host("web-1").await.unwrap());
        assert!(!state.remove_host("web-1").await.unwrap());
        assert!(state.host_sections("web-1").await.unwrap().is_empty());
        assert_eq!(state.hosts().await.unwrap().len(), 1);
    }

    async fn silence_is_noted_once_and_only_of_a_machine_as_it_was_read(place: &Place) {
        let state = &place.state;
        state.note_hosts(&[machine("a", 100, "a", "a")]).await.unwrap();
        assert!(state.silent_hosts(at(100)).await.unwrap().is_empty());
        let silent = state.silent_hosts(at(101)).await.unwrap();
        // It is heard between the look and the note.
        state.note_hosts(&[machine("a", 105, "a", "a")]).await.unwrap();
        state.set_silent(&silent[0], Some(at(100))).await.unwrap();
        assert_eq!(state.host("a").await.unwrap().unwrap().silent_since, None);
        let silent = state.silent_hosts(at(200)).await.unwrap();
        state.set_silent(&silent[0], Some(at(105))).await.unwrap();
        assert!(state.silent_hosts(at(200)).await.unwrap().is_empty());
        assert!(state.heard_hosts().await.unwrap().is_empty());
        state.note_hosts(&[machine("a", 210, "a", "a")]).await.unwrap();
        let heard = state.heard_hosts().await.unwrap();
        state.set_silent(&heard[0], None).await.unwrap();
        assert!(state.heard_hosts().await.unwrap().is_empty());
        assert_eq!(state.host("a").await.unwrap().unwrap().silent_since, None);
    }

    async fn a_finding_keeps_its_beginning_until_it_was_closed(place: &Place) {
        let state = &place.state;
        let tell = async |millis: i64, change: FindingChange| {
            let mut update = machine("a", millis, "a", "a");
            update.findings.push(change);
            state.note_hosts(&[update]).await.unwrap();
        };
        let opened = |millis| FindingChange::Opened(found(millis));
        let closed = |millis| FindingChange::Closed {
            check: "x".into(),
            at: at(millis),
            reason: Some("passes".into()),
        };
        let one = async || state.findings(Some("a"), at(0)).await.unwrap().pop().unwrap();
        tell(10, opened(10)).await;
        tell(20, opened(20)).await;
        assert_eq!((one().await.opened_at, one().await.closed_at), (at(10), None));
        tell(15, closed(15)).await;
        assert_eq!(one().await.closed_at, None, "it was said again after that");
        tell(30, closed(30)).await;
        assert_eq!((one().await.closed_at, one().await.reason.as_deref()), (Some(at(30)), Some("passes")));
        assert!(state.findings(Some("a"), at(31)).await.unwrap().is_empty());
        tell(40, opened(40)).await;
        assert_eq!((one().await.opened_at, one().await.closed_at), (at(40), None));
        let mut update = machine("a", 50, "a", "a");
        update.audit = Some(Audit { at: at(50), score: 77, detail: "{}".into(), open: Some(vec![]) });
        state.note_hosts(&[update]).await.unwrap();
        assert_eq!(one().await.closed_at, Some(at(50)), "the audit does not name it");
        assert_eq!(state.host("a").await.unwrap().unwrap().score, Some(77));
        assert_eq!(state.forget_findings(at(51)).await.unwrap(), 1);
    }

    async fn suppressions_end_and_are_bounded(place: &Place) {
        let state = &place.state;
        let one = |id: &str, until| Suppression {
            id: id.into(),
            check: "x".into(),
            host: None,
            reason: "known".into(),
            made_by: "anna".into(),
            created_at: at(0),
            until: at(until),
        };
        state.add_suppression(&one("1", 10), 2).await.unwrap();
        state.add_suppression(&one("2", 20), 2).await.unwrap();
        let full = state.add_suppression(&one("3", 20), 2).await;
        assert!(matches!(full, Err(StateError::Full)));
        assert_eq!(state.suppressions(at(10)).await.unwrap(), [one("2", 20)]);
        assert!(state.remove_suppression("2").await.unwrap());
        assert!(!state.remove_suppression("2").await.unwrap());
    }

    async fn settings_survive_reopening(place: &Place) {
        let state = &place.state;
        assert_eq!(state.meta("a").await.unwrap(), None);
        state.set_meta("a", "1").await.unwrap();
        state.set_meta("a", "2").await.unwrap();
        assert_eq!(place.again().await.meta("a").await.unwrap().as_deref(), Some("2"));
        state.close().await;
        assert!(matches!(state.meta("a").await, Err(StateError::Failed(_))));
    }

    async fn a_database_of_a_newer_version_is_refused(place: &Place) {
        let insert = "INSERT INTO _sqlx_migrations
                      (version, description, success, checksum, execution_time)
                      VALUES (9999, 'later', true, '', 0)";
        match &place.server {
            Some(server) => {
                let database = place.config.postgres.as_ref().unwrap().to_string();
                let database = database.split(['/', '?']).nth(3).unwrap().to_owned();
                server.sql(&database, insert);
            }
            None => {
                let pool = sqlx::SqlitePool::connect(place.file.to_str().unwrap()).await.unwrap();
                sqlx::query(insert).execute(&pool).await.unwrap();
                pool.close().await;
            }
        }
        let refused = State::open(&place.file, &place.config).await.unwrap_err().to_string();
        assert!(refused.contains("newer version"), "{refused}");
    }
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.db");
    std::fs::write(&path, vec![b'x'; 4096]).unwrap();
    let error = State::open(&path, &StateConfig::default()).await.unwrap_err().to_string();
    assert!(error.contains("state.db"), "{error}");
}

#[tokio::test]
async fn a_backup_is_taken_while_others_write_and_opens_as_it_was() {
    let place = Place::new(Engine::Sqlite).await;
    place.state.add_account(&account("anna"), "$hash").await.unwrap();
    let writer = tokio::spawn({
        let state = place.state.clone();
        async move {
            for n in 0..200 {
                state.set_meta(&format!("n{n:03}"), "x").await.unwrap();
            }
        }
    });
    let copy = place.file.with_file_name("copy.db");
    place.state.backup(&copy).await.unwrap();
    writer.await.unwrap();
    let state = State::open(&copy, &StateConfig::default()).await.unwrap();
    assert_eq!(state.accounts().await.unwrap(), [account("anna")]);
    state.set_meta("a", "b").await.unwrap();
    let over = place.state.backup(&copy).await;
    assert!(matches!(over, Err(StateError::Backup(..))), "an old backup stays: {over:?}");
    let on_server = Place::new(Engine::Postgres).await;
    let refused = on_server.state.backup(&copy).await;
    assert!(matches!(refused, Err(StateError::NotAFile)), "{refused:?}");
}
