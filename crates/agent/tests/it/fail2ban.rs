//! fail2ban's jails run from its own folder: lines become decisions, and what
//! the jails ignore becomes nothing.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests: a failure is a panic")]

use crate::support;

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use palisade_agent::{Config, DetectConfig, Fail2banConfig};
use palisade_event::{Decision, EventKind};
use support::{MemoryHub, Mood, Running, append_text, config, until};

/// A folder as administrators have it: the defaults, and their own file.
fn fail2ban(folder: &Path, local: &str) {
    std::fs::create_dir_all(folder.join("filter.d")).unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
    write(
        "jail.conf",
        "[DEFAULT]\nbantime = 10m\nfindtime = 10m\nmaxretry = 5\nbackend = auto\nfilter = %(__name__)s\nlogtimezone = UTC\n[app]\n[web]\n[broken]\n",
    );
    write("jail.local", local);
    write(
        "filter.d/app.conf",
        "[Definition]\nfailregex = ^\\s*app: login of <F-USER>\\S+</F-USER> failed from <HOST>$\n",
    );
    write("filter.d/web.conf", "[Definition]\nfailregex = ^\\s*web: <HOST> asked for /wp-login$\n");
    write("filter.d/broken.conf", "[Definition]\nfailregex = ^(\\s* <HOST>$\n");
}

fn jailed(folder: &Path) -> Config {
    let fail2ban = Fail2banConfig { folder: folder.into(), jails: Vec::new() };
    let detect = DetectConfig::default();
    Config { fail2ban: Some(fail2ban), detect, ..config(Vec::new()) }
}

fn lines(what: impl Fn(u64) -> String, count: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    (0..count).map(|n| format!("{} {}\n", now - count + n, what(n))).collect()
}

fn decisions(hub: &MemoryHub) -> Vec<String> {
    let events = hub.of(EventKind::DecisionMade);
    let mut all: Vec<String> = events
        .iter()
        .map(|event| Decision::from_event(event).unwrap())
        .map(|made| format!("{} {} {}", made.scenario, made.target, made.duration_secs))
        .collect();
    all.sort();
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jails_decide_from_one_log_and_others_and_go_on_after_a_crash() {
    let folder = tempfile::tempdir().unwrap();
    let (etc, log) = (folder.path().join("fail2ban"), folder.path().join("app.log"));
    fail2ban(
        &etc,
        &format!(
            "[app]\nenabled = true\nlogpath = {log}\nmaxretry = 3\n[web]\nenabled = true\nlogpath = {log}\nbantime = 1h\n[broken]\nenabled = true\nlogpath = {log}\n",
            log = log.display()
        ),
    );
    let loaded = jailed(&etc).fail2ban.unwrap().load().unwrap();
    assert_eq!(loaded.names().collect::<Vec<_>>(), ["fail2ban.app", "fail2ban.web"]);
    let told = loaded.problems.iter().find(|text| text.starts_with("jail broken: "));
    assert!(told.is_some_and(|text| text.contains("does not run")), "{:?}", loaded.problems);

    let hub = MemoryHub::new(Mood::Takes);
    let login = |address: &str| format!("app: login of root failed from {address}");
    append_text(&log, lines(|_| login("198.51.100.7"), 2).as_bytes());
    append_text(&log, lines(|_| "web: 203.0.113.9 asked for /wp-login".into(), 5).as_bytes());
    append_text(&log, lines(|_| login("host.example"), 9).as_bytes());
    let data = folder.path().join("data");
    let running = Running::start(&jailed(&etc), &data, hub.clone()).await;
    until(|| hub.of(EventKind::LineMatched).len() == 16, || "sixteen failures".into()).await;
    until(|| decisions(&hub).len() == 1, || format!("{:?}", decisions(&hub))).await;
    running.crash();
    append_text(&log, lines(|_| login("198.51.100.7"), 1).as_bytes());
    let running = Running::start(&jailed(&etc), &data, hub.clone()).await;
    until(|| decisions(&hub).len() == 2, || format!("{:?}", decisions(&hub))).await;
    running.end().await;
    assert_eq!(decisions(&hub), ["fail2ban.app 198.51.100.7 600", "fail2ban.web 203.0.113.9 3600"]);
    assert_eq!(hub.of(EventKind::LineMatched).len(), 17);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whom_a_jail_ignores_by_network_file_or_command_is_not_counted() {
    let folder = tempfile::tempdir().unwrap();
    let (etc, log) = (folder.path().join("fail2ban"), folder.path().join("app.log"));
    let (list, command) = (folder.path().join("list"), folder.path().join("ignore"));
    std::fs::write(&list, "# ours\n203.0.113.64/26\n").unwrap();
    let script = "#!/bin/sh\necho \"$1\" >> \"$0.asked\"\n[ \"$1\" = 198.51.100.8 ]\n";
    std::fs::write(&command, script).unwrap();
    std::fs::set_permissions(&command, std::fs::Permissions::from_mode(0o755)).unwrap();
    fail2ban(
        &etc,
        &format!(
            "[app]\nenabled = true\nlogpath = {}\nmaxretry = 2\nignoreip = 192.0.2.0/24 file:{}\nignorecommand = {} <ip>\n",
            log.display(),
            list.display(),
            command.display()
        ),
    );
    let hub = MemoryHub::new(Mood::Takes);
    let running = Running::start(&jailed(&etc), &folder.path().join("data"), hub.clone()).await;
    // The list is known a moment after the start; nobody is counted before.
    let login = |address: &str| {
        lines(|_| format!("app: login of root failed from {address}"), 2).into_bytes()
    };
    let mut others = 1;
    while decisions(&hub).is_empty() {
        append_text(&log, &login(&format!("100.64.0.{others}")));
        others += 1;
        assert!(others < 250, "nobody is ever counted");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    for ignored in ["192.0.2.7", "203.0.113.70", "198.51.100.8"] {
        append_text(&log, &login(ignored));
    }
    append_text(&log, &login("198.51.100.9"));
    let last = "fail2ban.app 198.51.100.9 600".to_owned();
    until(|| decisions(&hub).contains(&last), || format!("{:?}", decisions(&hub))).await;
    running.end().await;
    let ignored =
        |made: &String| ["192.0.2.", "203.0.113.", "100.8 "].iter().any(|part| made.contains(part));
    assert!(!decisions(&hub).iter().any(ignored), "{:?}", decisions(&hub));
    let asked = std::fs::read_to_string(command.with_extension("asked")).unwrap();
    let times = asked.lines().filter(|line| *line == "198.51.100.8").count();
    assert_eq!(times, 1, "asked once for two failures: {asked}");
}
