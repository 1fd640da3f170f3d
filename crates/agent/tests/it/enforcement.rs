//! Bans in the kernel, with real packets: this host and an attacker, each in a
//! network namespace of its own. The tests run themselves again inside of one.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests: a failure is a panic")]

use crate::support;

use palisade_agent::{Method, flush_enforced};
use support::namespace::{Attacker, OURS, THEIRS, THEIRS_6, attack, enforcing, inside, serve, sh};
use support::{MemoryHub, Mood, Running, append_text, until};

async fn packets_stop_and_come_back(method: Method, wipe: &str) {
    serve();
    let attacker = Attacker::new();
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("auth.log");
    append_text(&log, b"");
    assert!(attacker.reaches(OURS) && attacker.reaches("[fd77::1]"), "nobody is banned yet");

    // A short ban ends by itself.
    let hub = MemoryHub::new(Mood::Takes);
    let data = folder.path().join("short");
    let running = Running::start(&enforcing(&log, method, "4s"), &data, hub.clone()).await;
    attack(&log, THEIRS);
    assert!(attacker.reaches_within(OURS, 10, false), "packets of the banned address stop");
    assert!(attacker.reaches_within("[fd77::1]", 10, true), "other addresses are not touched");
    assert!(attacker.reaches_within(OURS, 20, true), "and come back when the ban is over");
    running.end().await;

    // A long one outlives what others do to the firewall, and a crash.
    let config = enforcing(&log, method, "1h");
    let data = folder.path().join("long");
    let running = Running::start(&config, &data, hub.clone()).await;
    attack(&log, THEIRS);
    attack(&log, THEIRS_6);
    assert!(attacker.reaches_within(OURS, 10, false));
    assert!(attacker.reaches_within("[fd77::1]", 10, false), "IPv6 as well");
    let metrics = running.agent.metrics();
    assert!(sh(wipe));
    until(|| metrics.enforce_mended.get() > 0, || "somebody has flushed the firewall".into()).await;
    assert!(attacker.reaches_within(OURS, 20, false), "it is mended");
    assert_eq!(metrics.enforce_held.get(), 2);

    // A second agent does not meddle.
    let other = Running::start(&config, &folder.path().join("other"), hub.clone()).await;
    let refused = other.agent.metrics();
    until(|| refused.enforce_failures.get() > 0, || "the second is refused".into()).await;
    other.end().await;
    assert!(!attacker.reaches(OURS));

    running.crash();
    assert!(!attacker.reaches(OURS), "a crash lets nobody in");
    assert!(sh(wipe));
    assert!(attacker.reaches(OURS));
    let running = Running::start(&config, &data, hub.clone()).await;
    assert!(attacker.reaches_within(OURS, 10, false), "what is in force comes back at the start");
    running.end().await;

    flush_enforced(&config.enforce, &data).await.unwrap();
    assert!(attacker.reaches(OURS) && attacker.reaches("[fd77::1]"), "our rules are gone");
    flush_enforced(&config.enforce, &data).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nftables_keeps_packets_out() {
    if inside("enforcement::nftables_keeps_packets_out") {
        packets_stop_and_come_back(Method::Nftables, "nft flush ruleset").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ipset_keeps_packets_out() {
    if inside("enforcement::ipset_keeps_packets_out") {
        packets_stop_and_come_back(
            Method::Ipset,
            "iptables -F && ip6tables -F && ipset destroy palisade4 && ipset destroy palisade6",
        )
        .await;
    }
}

/// Ubuntu's firewall, whose files are the namespace's own copies.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ufw_keeps_packets_out() {
    if !inside("enforcement::ufw_keeps_packets_out") {
        return;
    }
    assert!(sh("command -v ufw"), "ufw is missing; `make test` installs it");
    let folder = tempfile::tempdir().unwrap();
    let copies = folder.path().display();
    for path in ["/etc/ufw", "/etc/default"] {
        assert!(sh(&format!(
            "mkdir -p {copies}{path} && cp -a {path}/. {copies}{path}/ && mount --bind {copies}{path} {path}"
        )));
    }
    assert!(sh("mount -t tmpfs none /run"));
    assert!(sh("(ufw --force enable && ufw default allow incoming) > /dev/null"));
    serve();
    let attacker = Attacker::new();
    let log = folder.path().join("auth.log");
    append_text(&log, b"");
    assert!(attacker.reaches(OURS) && attacker.reaches("[fd77::1]"), "nobody is banned yet");
    let hub = MemoryHub::new(Mood::Takes);
    let data = folder.path().join("data");
    let running = Running::start(&enforcing(&log, Method::Ufw, "5s"), &data, hub.clone()).await;
    attack(&log, THEIRS);
    assert!(attacker.reaches_within(OURS, 10, false), "packets of the banned address stop");
    assert!(attacker.reaches_within("[fd77::1]", 10, true), "other addresses are not touched");
    assert!(attacker.reaches_within(OURS, 20, true), "the rule goes when the ban is over");
    running.end().await;

    let config = enforcing(&log, Method::Ufw, "1h");
    let data = folder.path().join("long");
    let running = Running::start(&config, &data, hub.clone()).await;
    attack(&log, THEIRS);
    attack(&log, THEIRS_6);
    assert!(attacker.reaches_within(OURS, 10, false));
    assert!(attacker.reaches_within("[fd77::1]", 10, false), "IPv6 as well");
    running.crash();
    let running = Running::start(&config, &data, hub.clone()).await;
    let metrics = running.agent.metrics();
    until(|| metrics.enforce_held.get() == 2, || "both are known after a crash".into()).await;
    running.end().await;
    assert!(!attacker.reaches(OURS), "and still kept out");
    flush_enforced(&config.enforce, &data).await.unwrap();
    assert!(attacker.reaches(OURS) && attacker.reaches("[fd77::1]"), "our rules are gone");
}
