//! Knocking, with real packets: who is banned sends SYNs to closed ports. The
//! tests run themselves again in a network namespace.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests: a failure is a panic")]

use crate::support;

use std::path::Path;
use std::time::{Duration, SystemTime};

use palisade_agent::{Config, KnockConfig, KnockSecret, Method, flush_knock, knock_step};
use palisade_event::{EventKind, Timestamp};
use support::namespace::{Attacker, OURS, THEIRS, THEIRS_6, attack, enforcing, inside, serve, sh};
use support::{MemoryHub, Mood, Running, append_text};

fn knocking(log: &Path, knock: KnockConfig) -> Config {
    Config { knock: Some(knock), ..enforcing(log, Method::Nftables, "1h") }
}

/// The agent with an attacker who is banned, and its log.
async fn banned(folder: &Path, knock: KnockConfig) -> (Attacker, MemoryHub, Running, Config) {
    serve();
    let attacker = Attacker::new();
    let log = folder.join("auth.log");
    append_text(&log, b"");
    let hub = MemoryHub::new(Mood::Takes);
    let config = knocking(&log, knock);
    let running = Running::start(&config, &folder.join("data"), hub.clone()).await;
    attack(&log, THEIRS);
    attack(&log, THEIRS_6);
    assert!(
        attacker.reaches_within(OURS, 10, false) && attacker.reaches_within("[fd77::1]", 10, false)
    );
    (attacker, hub, running, config)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_knocks_in_the_right_order_is_let_in_though_banned() {
    if !inside("knock::who_knocks_in_the_right_order_is_let_in_though_banned") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let knock = KnockConfig { sequence: vec![7102, 18_820, 9431], ..KnockConfig::default() };
    let (attacker, hub, running, config) = banned(folder.path(), knock).await;
    for wrong in [
        &[18_820, 7102, 9431][..],
        &[7102, 18_820, 5555, 9431],
        &[7102, 9431, 18_820],
        &[7102, 18_820],
    ] {
        attacker.knock(OURS, wrong);
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        assert!(!attacker.reaches(OURS), "{wrong:?}");
    }
    // The last one was a beginning: a wrong port ends it.
    attacker.knock(OURS, &[5555, 9431]);
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert!(!attacker.reaches(OURS));
    attacker.knock(OURS, &[7102, 7102, 18_820, 9431]);
    assert!(attacker.reaches_within(OURS, 10, true), "a SYN that is sent twice is no wrong one");
    assert!(!attacker.reaches("[fd77::1]"), "the other address has not knocked");
    attacker.knock("fd77::1", &[7102, 18_820, 9431]);
    assert!(attacker.reaches_within("[fd77::1]", 10, true));
    // Spared now, and after a restart.
    let log = folder.path().join("auth.log");
    attack(&log, THEIRS);
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert!(attacker.reaches(OURS));
    running.end().await;
    let running = Running::start(&config, &folder.path().join("data"), hub.clone()).await;
    tokio::time::sleep(Duration::from_millis(2_000)).await;
    attack(&log, THEIRS);
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert!(attacker.reaches(OURS), "a restart forgets nobody");
    running.end().await;
    assert_eq!(hub.of(EventKind::KnockAccepted).len(), 2);
    assert!(!sh("nft list table inet palisade_knock 2>/dev/null"), "our table goes with us");
    // What a killed agent leaves is taken out by hand.
    assert!(sh("nft add table inet palisade_knock && nft add table inet other"));
    let knock = config.knock.unwrap();
    flush_knock(&knock).await.unwrap();
    assert!(!sh("nft list table inet palisade_knock 2>/dev/null"));
    assert!(sh("nft list table inet other >/dev/null"), "and nothing else");
    flush_knock(&knock).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_one_time_sequence_opens_once() {
    if !inside("knock::a_one_time_sequence_opens_once") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    std::fs::write(&file, KnockSecret::generate()).unwrap();
    let secret = KnockSecret::read(&file).unwrap();
    let knock = KnockConfig { secret_file: Some(file), ..KnockConfig::default() };
    let (attacker, hub, running, config) = banned(folder.path(), knock).await;
    let now = || knock_step(Timestamp::from(SystemTime::now()));
    attacker.knock(OURS, &secret.ports(now() - 5));
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert!(!attacker.reaches(OURS), "its time is over");
    let step = now();
    let heard = secret.ports(step);
    attacker.knock(OURS, &heard);
    assert!(attacker.reaches_within(OURS, 10, true));
    // Whoever heard it knocks the same from another address.
    attacker.knock("fd77::1", &heard);
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert!(!attacker.reaches("[fd77::1]"), "each sequence counts once");
    running.end().await;
    let running = Running::start(&config, &folder.path().join("data"), hub.clone()).await;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    attacker.knock("fd77::1", &heard);
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert!(!attacker.reaches("[fd77::1]"), "also after a restart");
    // The next one is another.
    attacker.knock("fd77::1", &secret.ports(step + 1));
    if now() <= step + 2 {
        assert!(attacker.reaches_within("[fd77::1]", 10, true));
    }
    running.end().await;
    let told = hub.of(EventKind::KnockAccepted);
    assert!(
        told.iter().all(|event| format!("{:?}", event.attributes["method"]).contains("one-time"))
    );
    assert!(!told.is_empty());
}
