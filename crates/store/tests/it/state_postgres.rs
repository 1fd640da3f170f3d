//! What only PostgreSQL can do to the state: refuse, be away, be shared, be
//! moved to.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that fails says where")]

use crate::postgres;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use palisade_event::{
    Decision, DecisionOrigin, DecisionType, Domain, EventId, Lift, MadeDecision, ScenarioName,
    SensorId, Timestamp,
};
use palisade_store::state::{
    Account, AllowEntry, ApiKey, BlocklistLink, Bouncer, BouncerUsage, CveLimits, EwsUser,
    KnockLink, MoveError, NewQuarantined, Noting, Payload, PayloadQuery, PostgresUrl, Ranges, Role,
    SavedQuery, Scope, SeenCve, Sensor, SensorBatch, SensorKind, Session, Sharing, State,
    StateConfig, StateError, StateOpenError, move_all,
};
use palisade_store::state::{
    Finding, FindingChange, HostSection, HostSource, HostUpdate, Suppression,
};
use postgres::Server;

/// Longest wait for something that must happen.
const PATIENCE: Duration = Duration::from_secs(60);

/// Not used: PostgreSQL is named.
const NO_FILE: &str = "/nonexistent/state.db";

fn config(url: &str) -> StateConfig {
    StateConfig { postgres: Some(PostgresUrl::new(url)), ..StateConfig::default() }
}

async fn server() -> (Arc<Server>, String) {
    blocking(|| {
        let server = postgres::shared();
        let database = server.database();
        (server, database)
    })
    .await
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

async fn open(config: &StateConfig) -> Result<State, StateOpenError> {
    State::open(Path::new(NO_FILE), config).await
}

fn at(secs: i64) -> Timestamp {
    Timestamp::from_millis(secs * 1000)
}

fn account(name: &str) -> Account {
    Account { name: name.into(), role: Role::Admin, created_at: at(1), disabled: false }
}

/// The sentence of a refusal; both ways of looking must agree.
async fn refusal(config: &StateConfig) -> String {
    let opened = open(config).await.unwrap_err();
    let examined = State::examine(config).await.unwrap_err();
    assert_eq!(opened.to_string(), examined.to_string());
    assert!(!opened.to_string().contains('\n'), "one sentence: {opened}");
    match opened {
        StateOpenError::Refused(sentence) => sentence,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_is_wrong_is_said_in_one_sentence() {
    let (server, database) = server().await;
    let dir = tempfile::tempdir().unwrap();
    let password = dir.path().join("password");
    std::fs::write(&password, "right-one\n").unwrap();
    let role = format!("anna_{database}");
    let make = format!("CREATE ROLE {role} LOGIN PASSWORD 'right-one'");
    let (at_work, name) = (Arc::clone(&server), database.clone());
    blocking(move || at_work.sql(&name, &make)).await;
    let url = server.tcp_url(&role, &database);
    let mut config = StateConfig { password_file: Some(password.clone()), ..config(&url) };

    std::fs::write(&password, "wrong-one\n").unwrap();
    let said = refusal(&config).await;
    assert!(said.contains("wrong password for the user 'anna_"), "{said}");
    assert!(!said.contains("wrong-one"), "{said}");

    std::fs::write(&password, "right-one\n").unwrap();
    let said = State::examine(&config).await.unwrap_err().to_string();
    assert!(said.contains("may not make tables") && said.contains("GRANT CREATE"), "{said}");
    let said = open(&config).await.unwrap_err().to_string();
    assert!(said.contains("lacks a right"), "{said}");

    let grant = format!("ALTER DATABASE {database} OWNER TO {role}");
    let (at_work, name) = (Arc::clone(&server), database.clone());
    blocking(move || at_work.sql(&name, &grant)).await;
    let facts = State::examine(&config).await.unwrap().unwrap();
    assert!(facts.version.starts_with(|c: char| c.is_ascii_digit()), "{facts:?}");
    assert!(!facts.syncs, "the tests' server does not, and it is told");
    open(&config).await.unwrap().set_meta("a", "b").await.unwrap();

    config.postgres = Some(PostgresUrl::new(server.tcp_url(&role, "none_such")));
    let said = refusal(&config).await;
    assert!(said.contains("no database 'none_such'") && said.contains("createdb"), "{said}");

    config.password_file = Some(dir.path().join("missing"));
    let said = refusal(&config).await;
    assert!(said.contains("cannot read the password file"), "{said}");
}

#[tokio::test]
async fn a_server_that_is_not_there_may_come_yet() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("postgres://anna@127.0.0.1:{port}/p");
    let refused = open(&config(&url)).await.unwrap_err();
    assert!(matches!(refused, StateOpenError::Unreachable(_)), "{refused:?}");
    assert!(refused.to_string().contains("cannot reach PostgreSQL at 127.0.0.1"), "{refused}");
}

#[tokio::test]
async fn a_database_in_another_encoding_is_refused() {
    let (server, _) = server().await;
    let name = blocking({
        let server = Arc::clone(&server);
        move || {
            let name = server.database();
            server.sql("postgres", &format!("DROP DATABASE {name}"));
            let how = "ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0";
            server.sql("postgres", &format!("CREATE DATABASE {name} {how}"));
            name
        }
    })
    .await;
    let said = refusal(&config(&server.url(&name))).await;
    assert!(said.contains("SQL_ASCII") && said.contains("UTF8"), "{said}");
}

#[tokio::test]
async fn hubs_that_start_at_once_make_the_tables_once() {
    let (server, database) = server().await;
    let config = config(&server.url(&database));
    let mut starts = tokio::task::JoinSet::new();
    for n in 0..6 {
        let config = config.clone();
        starts.spawn(async move {
            let state = open(&config).await.unwrap();
            state.set_meta(&n.to_string(), "here").await.unwrap();
            state.add_account(&account("admin"), "$hash").await.is_ok()
        });
    }
    let made = starts.join_all().await;
    assert_eq!(made.iter().filter(|made| **made).count(), 1, "one admin");
    let state = open(&config).await.unwrap();
    for n in 0..6 {
        assert_eq!(state.meta(&n.to_string()).await.unwrap().as_deref(), Some("here"));
    }
}

#[tokio::test]
async fn what_is_written_is_durable_also_where_the_database_thinks_otherwise() {
    let (server, database) = server().await;
    let lazy = format!("ALTER DATABASE {database} SET synchronous_commit = off");
    let (at_work, name) = (Arc::clone(&server), database.clone());
    blocking(move || at_work.sql(&name, &lazy)).await;
    let state = open(&config(&server.url(&database))).await.unwrap();
    state.set_meta("a", "b").await.unwrap();
    // The connection itself is asked, through a function that writes it down.
    let watch = "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
                 'BEGIN NEW.value = current_setting(''synchronous_commit''); RETURN NEW; END';
                 CREATE TRIGGER note BEFORE INSERT ON meta FOR EACH ROW EXECUTE FUNCTION note()";
    let at_work = Arc::clone(&server);
    blocking(move || at_work.sql(&database, watch)).await;
    state.set_meta("how", "").await.unwrap();
    assert_eq!(state.meta("how").await.unwrap().as_deref(), Some("on"));
}

#[tokio::test]
async fn a_lost_server_is_told_at_once_and_found_again() {
    let server = Arc::new(blocking(|| Server::start(&[])).await);
    let database = blocking({
        let server = Arc::clone(&server);
        move || server.database()
    })
    .await;
    let state = open(&config(&server.url(&database))).await.unwrap();
    state.set_meta("a", "before").await.unwrap();
    assert_eq!(state.lost(), None);

    let at_work = Arc::clone(&server);
    blocking(move || at_work.stop()).await;
    let lost = state.meta("a").await;
    assert!(matches!(lost, Err(StateError::Unavailable(_))), "{lost:?}");
    assert!(state.lost().is_some());
    // Nobody waits for a connection from here on, but for one a second: if all
    // did, this would take a quarter of an hour.
    let began = Instant::now();
    for _ in 0..200 {
        assert!(matches!(state.meta("a").await, Err(StateError::Unavailable(_))));
        assert!(began.elapsed() < PATIENCE, "they wait");
    }

    let at_work = Arc::clone(&server);
    blocking(move || at_work.run()).await;
    let began = Instant::now();
    while state.meta("a").await.unwrap_or(None).as_deref() != Some("before") {
        assert!(began.elapsed() < PATIENCE, "{:?}", state.lost());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(state.lost(), None);
    state.set_meta("a", "after").await.unwrap();
}

#[tokio::test]
async fn tls_is_verified_against_the_named_root() {
    let server = blocking(|| {
        let server = Server::start(&[]);
        server.stop();
        certificate(&server.data(), "server");
        let conf = server.data().join("postgresql.conf");
        let text = std::fs::read_to_string(&conf).unwrap();
        std::fs::write(&conf, text + "ssl = on\n").unwrap();
        server.run();
        server.sql("postgres", "CREATE ROLE anna LOGIN SUPERUSER PASSWORD 'right-one'");
        server
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("password"), "right-one").unwrap();
    certificate(dir.path(), "other");
    let with = |parameters: &str| StateConfig {
        password_file: Some(dir.path().join("password")),
        ..config(&format!("{}?{parameters}", server.tcp_url("anna", "postgres")))
    };
    let root = server.data().join("server.crt");
    let good = with(&format!("sslmode=verify-full&sslrootcert={}", root.display()));
    let state = open(&good).await.unwrap();
    state.set_meta("a", "b").await.unwrap();
    let other = dir.path().join("other.crt");
    let bad = with(&format!("sslmode=verify-full&sslrootcert={}", other.display()));
    let said = refusal(&bad).await;
    assert!(said.contains("TLS fails") && said.contains("sslrootcert"), "{said}");
    let unknown = refusal(&with("sslmode=verify-full")).await;
    assert!(unknown.contains("TLS fails"), "{unknown}");
    blocking(move || drop(server)).await;
}

/// A certificate for 127.0.0.1 and its key, as PostgreSQL wants them.
fn certificate(dir: &Path, name: &str) {
    let (key, crt) = (dir.join(format!("{name}.key")), dir.join(format!("{name}.crt")));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"])
        .args(["-nodes", "-days", "2", "-subj", "/CN=palisade-test"])
        .args(["-addext", "subjectAltName=IP:127.0.0.1"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout"])
        .arg(&key)
        .arg("-out")
        .arg(&crt)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    // Its owner alone reads the key; that is who owns the directory.
    Command::new("chmod").arg("600").arg(&key).status().unwrap();
    Command::new("chown").arg("--reference").arg(dir).args([&key, &crt]).status().unwrap();
}

/// Something in every table.
async fn fill(state: &State) {
    state.add_account(&account("anna"), "$hash").await.unwrap();
    state
        .add_session(&Session {
            token_hash: "aa".into(),
            account: "anna".into(),
            created_at: at(10),
            last_seen: at(10),
            expires_at: at(100),
            address: None,
            user_agent: Some("ü".into()),
        })
        .await
        .unwrap();
    let key = ApiKey {
        id: "0a".into(),
        name: SensorId::new("web-1").unwrap(),
        secret_hash: "ff".into(),
        scopes: vec![Scope::Ingest],
        domain: Domain::Private,
        created_at: at(3),
        last_used_at: None,
        ranges: Some(Ranges::Withhold),
    };
    state.add_api_key(&key).await.unwrap();
    let user = EwsUser {
        name: SensorId::new("tpot-1").unwrap(),
        token_hash: "$hash".into(),
        domain: Domain::Private,
        email: None,
        read_only: false,
        community_only: true,
        created_at: at(4),
        last_used_at: None,
    };
    state.add_ews_user(&user).await.unwrap();
    let payload = Payload {
        sha256: palisade_event::PayloadHash([7; 32]),
        md5: "00".into(),
        text_hash: Some("ff".into()),
        mime: "text/plain".into(),
        first_source: Some("2001:db8::1".parse().unwrap()),
        bytes: 3,
        first_seen: at(5),
        last_seen: at(6),
        seen: 2,
        first_port: None,
        kept: true,
    };
    state.add_payload(&payload).await.unwrap();
    let sensors = (0..120)
        .map(|n| Sensor {
            sensor: SensorId::new(&format!("web-{n}")).unwrap(),
            kind: SensorKind::Agent,
            domain: Domain::Private,
            first_seen: at(1),
            last_seen: at(2),
            last_address: None,
            key_id: Some("0a".into()),
            version: None,
            events_total: n,
        })
        .collect();
    let batch = SensorBatch { writer: "hub-1".into(), number: 7, sensors };
    state.add_sensors(&batch, at(9)).await.unwrap();
    let digests: Vec<String> = (0..130).map(|n| format!("{n:03}")).collect();
    let records: Vec<_> = digests
        .iter()
        .map(|digest| NewQuarantined {
            digest,
            sensor: "web-1",
            reason: "no JSON",
            bytes: 3,
            record: &[0, 0xff, 7],
        })
        .collect();
    state.add_quarantined(&records, at(5), 3 * 120).await.unwrap();
    let saved = SavedQuery {
        id: "1".into(),
        account: "anna".into(),
        name: "mine".into(),
        query: "country:CN".into(),
        options: "{}".into(),
        shared: Sharing::Shared,
        created_at: at(1),
        updated_at: at(2),
    };
    state.add_saved_query(&saved, 9).await.unwrap();
    let cve = SeenCve {
        cve: "CVE-2026-24061".into(),
        domain: Domain::Community,
        first_seen: at(3),
        last_seen: at(4),
        first_event: EventId::new(at(3), 7),
        first_source: Some("203.0.113.9".parse().unwrap()),
        first_sensor: SensorId::new("edge-1").unwrap(),
        category: Some("Telnet(cowrie)".into()),
    };
    let limits = CveLimits { cves: 9, announcements: 9 };
    state.note_cves(&[cve], &["soc"], limits, at(4)).await.unwrap();
    state.set_meta("a", "b").await.unwrap();
    fill_decisions(state).await;
}

async fn fill_decisions(state: &State) {
    let decision = Decision {
        id: EventId::new(at(6), 1),
        kind: DecisionType::new("ban").unwrap(),
        target: "198.51.100.7".parse().unwrap(),
        from: at(6),
        duration_secs: 3600,
        scenario: ScenarioName::new("ssh-bruteforce").unwrap(),
        reason: "6 failed logins".into(),
        alert: EventId::new(at(6), 2),
        evidence: vec![EventId::new(at(6), 3)],
        simulated: false,
    };
    let made = MadeDecision { decision, origin: DecisionOrigin::Hub, note: Some("seen".into()) };
    let lift = Lift {
        target: "198.51.100.8".parse().unwrap(),
        by: "anna".into(),
        at: at(7),
        reason: Some("our own".into()),
    };
    let notings = [Noting::Made(Box::new(made)), Noting::Lifted(EventId::new(at(7), 4), lift)];
    state.note_decisions(&notings, 10, at(7)).await.unwrap();
    let allowed = AllowEntry {
        target: "192.0.2.0/24".parse().unwrap(),
        reason: Some("office".into()),
        until: Some(at(1_000_000)),
        by: "anna".into(),
        created_at: at(8),
    };
    state.add_allow_entry(&allowed, 10).await.unwrap();
    let bouncer = Bouncer {
        id: "k1/192.0.2.1".into(),
        name: "fw".into(),
        address: "192.0.2.1".into(),
        agent: "crowdsec-firewall-bouncer/-".into(),
        last_seq: 7,
        last_pull: at(10),
        usage: Some(BouncerUsage { version: "v1".into(), ..BouncerUsage::default() }),
    };
    state.set_bouncer(&bouncer).await.unwrap();
    state.set_bouncer_usage(&bouncer).await.unwrap();
    let link = KnockLink {
        id: "k".into(),
        hash: "ff".into(),
        made_by: "anna".into(),
        account: None,
        note: Some("ü".into()),
        created_at: at(8),
        expires_at: at(90),
        allow_secs: 60,
        spent: None,
    };
    state.add_knock_link(&link, 10).await.unwrap();
    assert!(state.spend_knock_link("k", "192.0.2.1", at(9)).await.unwrap());
    let link = BlocklistLink {
        id: "4f0c".into(),
        format: "nft".into(),
        query: "country:CN".into(),
        note: Some("edge".into()),
        by: "anna".into(),
        created_at: at(8),
        expires_at: at(1_000_000),
    };
    state.add_link(&link, 10).await.unwrap();
    let mut host =
        HostUpdate::new("web-1".into(), SensorId::new("web-1").unwrap(), HostSource::Agent);
    host.name = Some("ü".into());
    (host.seen, host.sample) = (Some(at(9)), Some((at(9), "{}".into())));
    host.sections.push(HostSection {
        section: "system".into(),
        snapshot: "s".into(),
        part: 0,
        parts: 1,
        entries: 1,
        left_out: 0,
        unseen: None,
        data: r#"{"a":"ü"}"#.into(),
        at: at(9),
    });
    host.alerts.push(("disk".into(), Some((at(9), "{}".into()))));
    host.findings.push(FindingChange::Opened(Finding {
        host: String::new(),
        check: "x".into(),
        title: "X".into(),
        severity: "low".into(),
        area: "ssh".into(),
        detail: "{}".into(),
        opened_at: at(9),
        closed_at: None,
        reason: None,
    }));
    state.note_hosts(&[host]).await.unwrap();
    let suppression = Suppression {
        id: "1".into(),
        check: "x".into(),
        host: None,
        reason: "known".into(),
        made_by: "anna".into(),
        created_at: at(9),
        until: at(1_000_000),
    };
    state.add_suppression(&suppression, 9).await.unwrap();
}

/// All that can be read from a state.
async fn content(state: &State) -> String {
    let key = state.api_key("0a").await.unwrap();
    format!(
        "{:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?}",
        state.account("anna").await.unwrap(),
        state.session("aa").await.unwrap(),
        key,
        state.sensors().await.unwrap(),
        state.quarantined(1000, 1000).await.unwrap(),
        state.quarantine_counts().await.unwrap(),
        state.saved_queries(None, 10).await.unwrap(),
        state.meta("a").await.unwrap(),
        state.accounts().await.unwrap(),
        state.ews_users().await.unwrap(),
        state.payloads(&PayloadQuery::default(), 10).await.unwrap(),
        state.cves(10).await.unwrap(),
        state.waiting_announcements().await.unwrap(),
        state.changes_after(0, 10, at(8)).await.unwrap(),
        state.allow_entries(at(8)).await.unwrap(),
        state.bouncers(10).await.unwrap(),
        state.links(at(8)).await.unwrap(),
    )
}

#[tokio::test]
async fn state_moves_to_postgresql_and_back_as_it_was() {
    let (server, database) = server().await;
    let dir = tempfile::tempdir().unwrap();
    let file = StateConfig::default();
    let there = config(&server.url(&database));
    let from = State::open(&dir.path().join("a.db"), &file).await.unwrap();
    fill(&from).await;
    let expected = content(&from).await;
    let to = State::open_to_move(Path::new(NO_FILE), &there).await.unwrap();
    let moved = move_all(&from, &to).await.unwrap();
    let rows: Vec<_> = moved.iter().map(|moved| (moved.table, moved.rows)).collect();
    assert_eq!(
        rows,
        [
            ("account", 1),
            ("session", 1),
            ("api_key", 1),
            ("sensor", 120),
            ("sensor_batch", 1),
            ("quarantine", 120),
            ("saved_query", 1),
            ("ews_user", 1),
            ("cve", 1),
            ("announcement", 1),
            ("payload", 1),
            ("decision", 1),
            ("decision_lift", 1),
            ("allow_entry", 1),
            ("bouncer", 1),
            ("blocklist_link", 1),
            ("knock_link", 1),
            ("host", 1),
            ("host_section", 1),
            ("host_alert", 1),
            ("finding", 1),
            ("suppression", 1),
            ("meta", 3),
        ]
    );
    assert_eq!(content(&to).await, expected);
    assert_eq!(content(&from).await, expected, "the source is only read");

    let again = move_all(&from, &to).await;
    assert!(matches!(again, Err(MoveError::NotEmpty { table: "account", rows: 1 })), "{again:?}");

    let back = State::open(&dir.path().join("b.db"), &file).await.unwrap();
    move_all(&to, &back).await.unwrap();
    assert_eq!(content(&back).await, expected);
    // Ids go on where they were, on both.
    for state in [&to, &back] {
        let one = NewQuarantined { digest: "x", sensor: "x", reason: "x", bytes: 1, record: b"x" };
        state.add_quarantined(&[one], at(9), 1 << 20).await.unwrap();
        let newest = state.quarantined(2, 9).await.unwrap();
        assert_eq!((newest[0].sensor.as_str(), newest[0].id), ("x", newest[1].id + 1));
        let repeated = SensorBatch { writer: "hub-1".into(), number: 7, sensors: Vec::new() };
        let added = state.add_sensors(&repeated, at(9)).await.unwrap();
        assert_eq!(added, palisade_store::state::Added::Before);
    }
}

#[tokio::test]
async fn nothing_is_moved_while_a_hub_is_connected() {
    let (server, database) = server().await;
    let dir = tempfile::tempdir().unwrap();
    let there = config(&server.url(&database));
    let hub = open(&there).await.unwrap();
    hub.ping().await.unwrap();
    let from = State::open(&dir.path().join("a.db"), &StateConfig::default()).await.unwrap();
    fill(&from).await;
    let to = State::open_to_move(Path::new(NO_FILE), &there).await.unwrap();
    let refused = move_all(&from, &to).await;
    assert!(matches!(refused, Err(MoveError::InUse(1))), "{refused:?}");
    assert_eq!(hub.accounts().await.unwrap(), []);
}

#[tokio::test]
async fn pg_dump_is_a_backup() {
    let (server, database) = server().await;
    let state = open(&config(&server.url(&database))).await.unwrap();
    fill(&state).await;
    let expected = content(&state).await;
    let restored = blocking(move || {
        let dump = server.tool("pg_dump", &["--no-owner", &database]);
        assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
        let restored = server.database();
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("state.sql");
        std::fs::write(&file, dump.stdout).unwrap();
        let done = server.tool(
            "psql",
            &["-q", "-v", "ON_ERROR_STOP=1", "-d", &restored, "-f", file.to_str().unwrap()],
        );
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        (server.url(&restored), server)
    })
    .await;
    let again = open(&config(&restored.0)).await.unwrap();
    assert_eq!(content(&again).await, expected);
}
