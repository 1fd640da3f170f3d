//! The real binary on logs that are there: `scan`, `explain` and `import
//! strongmonitor`.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test: a failure is a panic")]

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

fn palisade(folder: &Path, args: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_palisade"))
        .current_dir(folder)
        .args(args)
        .env("TZ", "UTC0")
        .env_remove("PALISADE_CONFIG")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A program that does not read its input may have ended.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

fn json(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!("{error}: {text} {}", String::from_utf8_lossy(&output.stderr))
    })
}

/// A log with one attacker, one break-in and one person who mistypes.
fn log() -> String {
    let mut log = String::new();
    let mut line = |second: u32, message: &str| {
        let (h, m, s) = (10 + second / 3600, second / 60 % 60, second % 60);
        writeln!(log, "Nov 20 {h:02}:{m:02}:{s:02} web-1 sshd[{}]: {message}", second + 100)
            .unwrap();
    };
    for n in 0..40u32 {
        let user = ["root", "admin", "<b>x</b>", "oracle"][n as usize % 4];
        line(n, &format!("Failed password for {user} from 198.51.100.7 port {} ssh2", 4000 + n));
    }
    for n in 0..6 {
        line(
            600 + 100 * n,
            &format!("Failed password for deploy from 203.0.113.5 port {} ssh2", 5000 + n),
        );
    }
    line(1300, "Accepted password for deploy from 203.0.113.5 port 5100 ssh2");
    line(1400, "Failed password for alice from 192.0.2.9 port 6000 ssh2");
    line(1405, "Accepted publickey for alice from 192.0.2.9 port 6001 ssh2: ED25519 SHA256:abc");
    log
}

const NOW: &[&str] = &["--now", "2026-11-20T23:00:00Z"];

fn scan(folder: &Path, more: &[&str]) -> Output {
    palisade(folder, &[&["scan", "--quiet"], NOW, more].concat(), b"")
}

#[test]
fn a_report_names_attackers_break_ins_and_what_would_be_banned() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("auth.log"), log()).unwrap();
    let output = scan(folder.path(), &["--format", "json", "auth.log"]);
    assert_eq!(output.status.code(), Some(0));
    let report = json(&output);
    let attackers = report["attackers"].as_array().unwrap();
    assert_eq!(attackers.len(), 3);
    let first = &attackers[0];
    assert_eq!(first["address"], "198.51.100.7");
    assert_eq!(first["attempts"], 40);
    assert_eq!(first["users_tried"], 4);
    assert_eq!(first["first_seen"], "2026-11-20T10:00:00.000Z");
    assert_eq!(first["last_seen"], "2026-11-20T10:00:39.000Z");
    assert_eq!(first["banned"], true);
    let person = attackers.iter().find(|one| one["address"] == "192.0.2.9").unwrap();
    assert_eq!((person["attempts"].as_u64(), person["banned"].as_bool()), (Some(1), Some(false)));
    let break_ins = report["break_ins"].as_array().unwrap();
    assert_eq!(break_ins.len(), 1);
    assert_eq!(break_ins[0]["address"], "203.0.113.5");
    assert_eq!(break_ins[0]["user"], "deploy");
    assert_eq!(break_ins[0]["failures"], 6);
    let decisions = report["decisions"].as_array().unwrap();
    assert_eq!(decisions[0]["value"], "198.51.100.7");
    assert_eq!(decisions[0]["scenario"], "ssh-bruteforce");

    let table = String::from_utf8(scan(folder.path(), &["auth.log"]).stdout).unwrap();
    for word in ["198.51.100.7", "BREAK-INS", "deploy", "ssh-bruteforce"] {
        assert!(table.contains(word), "{word} in\n{table}");
    }
    let page =
        String::from_utf8(scan(folder.path(), &["--format", "html", "auth.log"]).stdout).unwrap();
    assert!(
        page.contains("&lt;b&gt;x&lt;/b&gt;") && !page.contains("<b>x"),
        "attacker text is no markup"
    );
}

#[test]
fn the_report_is_the_same_on_any_number_of_threads_and_however_it_is_packed() {
    let folder = tempfile::tempdir().unwrap();
    let mut text = String::new();
    for n in 0..60_000u32 {
        let mixed = n.wrapping_mul(2_654_435_761);
        let ip = std::net::Ipv4Addr::from(0xc633_6400 + mixed % 500);
        let second = n / 20;
        let (h, m, s) = (second / 3600, second / 60 % 60, second % 60);
        writeln!(text, "Nov 20 {h:02}:{m:02}:{s:02} web-1 sshd[{n}]: Failed password for u{} from {ip} port 22 ssh2", mixed >> 24).unwrap();
    }
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("auth.log"), &text).unwrap();
    let report = |args: &[&str]| {
        let mut report = json(&scan(folder.path(), &[&["--format", "json"], args].concat()));
        report["files"] = Value::Null;
        report
    };
    let one = report(&["--threads", "1", "auth.log"]);
    assert!(one["decisions"].as_array().unwrap().len() > 100);
    assert_eq!(one["lines"], 60_000);
    for threads in ["2", "3", "8"] {
        assert_eq!(report(&["--threads", threads, "auth.log"]), one, "{threads} threads");
    }
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gz.write_all(text.as_bytes()).unwrap();
    std::fs::write(path("a.gz"), gz.finish().unwrap()).unwrap();
    std::fs::write(path("a.zst"), zstd::encode_all(text.as_bytes(), 1).unwrap()).unwrap();
    for name in ["a.gz", "a.zst"] {
        assert_eq!(report(&[name]), one, "{name}");
    }
    for (tool, name) in [("xz", "b.xz"), ("bzip2", "b.bz2")] {
        std::fs::write(path("b"), &text).unwrap();
        match Command::new(tool).arg("b").current_dir(folder.path()).status() {
            Ok(done) => {
                assert!(done.success());
                assert_eq!(report(&[name]), one, "{name}");
            }
            // The tool is not everywhere; the packing is tested beside the code too.
            Err(_) => std::fs::remove_file(path("b")).unwrap(),
        }
    }
    let stdin = palisade(
        folder.path(),
        &[&["scan", "--format", "json", "-"], NOW].concat(),
        text.as_bytes(),
    );
    let mut stdin = json(&stdin);
    stdin["files"] = Value::Null;
    assert_eq!(stdin, one);
}

/// Decisions of a report, sorted: of two in the same second either may be first.
fn decided(report: &Value) -> Vec<String> {
    let decisions = report["decisions"].as_array().unwrap();
    let mut all: Vec<String> = decisions.iter().map(Value::to_string).collect();
    all.sort();
    all
}

#[test]
fn logs_of_the_same_time_are_one_history() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    // 16 addresses in turn, each with a line every eight seconds: in one of the
    // logs alone there are never enough at once.
    let mut logs = vec![String::new(); 4];
    let mut whole = String::new();
    for n in 0..60_000usize {
        let (ip, second) = (format!("198.51.100.{}", n % 16), n / 2);
        let (h, m, s) = (second / 3600, second / 60 % 60, second % 60);
        let line = format!(
            "Nov 20 {h:02}:{m:02}:{s:02} web-1 sshd[{n}]: Failed password for u{n} from {ip} port 22 ssh2\n"
        );
        whole.push_str(&line);
        // The first part was rotated away, the rest is spread.
        let place = if n < 20_000 { 3 } else { n / 16 % 3 };
        logs[place].push_str(&line);
    }
    std::fs::write(path("whole.log"), &whole).unwrap();
    for (name, text) in ["b.log", "c.log", "a.log", "z.log.1"].iter().zip(&logs) {
        std::fs::write(path(name), text).unwrap();
    }
    let report = |threads: &str, names: &[&str]| {
        let args = [&["--format", "json", "--threads", threads], names].concat();
        json(&scan(folder.path(), &args))
    };
    let one = report("1", &["whole.log"]);
    assert!(decided(&one).len() >= 16, "{}", decided(&one).len());
    let names = ["b.log", "c.log", "a.log", "z.log.1"];
    let spread = report("1", &names);
    assert_eq!(decided(&spread), decided(&one));
    assert_eq!(spread["attackers"], one["attackers"]);
    for threads in ["2", "4"] {
        assert_eq!(report(threads, &names), spread, "{threads} threads");
    }
    let alone = report("1", &["b.log"]);
    assert!(one["scenarios"]["ssh-bruteforce"].as_u64() >= Some(16));
    assert_eq!(alone["scenarios"]["ssh-bruteforce"], Value::Null, "each log alone says less");
}

#[test]
fn more_logs_than_are_read_at_once_are_one_history_too() {
    let folder = tempfile::tempdir().unwrap();
    // 300 days, a log each, and one beside them that lasts from the first to the last.
    let mut long = String::new();
    for day in 0..300u32 {
        let date = format!("2026-{:02}-{:02}", 1 + day / 28, 1 + day % 28);
        let mut text = String::new();
        for second in 0..4 {
            writeln!(text, "{date}T10:00:0{second}Z web-1 sshd[7]: Failed password for root from 198.51.100.7 port 22 ssh2").unwrap();
            writeln!(long, "{date}T10:00:0{second}Z web-1 sshd[7]: Failed password for root from 198.51.100.7 port 22 ssh2").unwrap();
        }
        std::fs::write(folder.path().join(format!("{:03}.log", 299 - day)), text).unwrap();
    }
    std::fs::write(folder.path().join("long.log"), long).unwrap();
    let report = |threads: &str| {
        json(&scan(folder.path(), &["--format", "json", "--threads", threads, "."]))
    };
    let one = report("1");
    assert_eq!(one["lines"], 2400);
    assert_eq!(one["scenarios"]["ssh-bruteforce"], 300, "four a day are too few, eight are not");
    for threads in ["2", "4"] {
        assert_eq!(report(threads), one, "{threads} threads");
    }
}

#[test]
fn rotated_logs_of_a_folder_are_read_from_the_oldest_on() {
    let folder = tempfile::tempdir().unwrap();
    let logs = folder.path().join("logs");
    std::fs::create_dir(&logs).unwrap();
    let line = |minute: u32| {
        format!(
            "Nov 20 10:{minute:02}:00 web-1 sshd[1]: Failed password for root from 198.51.100.7 port 22 ssh2\n"
        )
    };
    // Ten failures over ten minutes in two files; together they are slow brute force.
    let part = |range: std::ops::Range<u32>| range.map(|n| line(n).repeat(2)).collect::<String>();
    std::fs::write(logs.join("auth.log"), part(5..12)).unwrap();
    std::fs::write(logs.join("auth.log.1"), part(0..5)).unwrap();
    std::fs::write(logs.join("wtmp"), b"\x00\x01binary\xff\n\x00\x02".repeat(50)).unwrap();
    let output = scan(folder.path(), &["--format", "json", "logs"]);
    assert_eq!(output.status.code(), Some(0), "a folder may have files that are no logs");
    let report = json(&output);
    let files: Vec<&str> =
        report["files"].as_array().unwrap().iter().map(|f| f["path"].as_str().unwrap()).collect();
    assert_eq!(files, ["logs/auth.log.1", "logs/auth.log"]);
    assert_eq!(report["skipped"], serde_json::json!(["logs/wtmp"]));
    assert_eq!(report["attackers"][0]["attempts"], 24);
    assert!(report["scenarios"].get("ssh-bruteforce-slow").is_some(), "{}", report["scenarios"]);
}

#[test]
fn junk_and_endless_lines_end_in_a_report_and_forged_lines_blame_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let mut text = log().into_bytes();
    text.extend((0..3_000_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8));
    text.extend(std::iter::repeat_n(b'y', 3_000_000));
    text.push(b'\n');
    // Names that look like lines about somebody else.
    for n in 0..30 {
        let name = "x from 192.0.2.200 port 22 ssh2";
        let line = format!(
            "Nov 20 12:00:{n:02} web-1 sshd[9]: Failed password for invalid user {name} from 198.51.100.99 port 7 ssh2\n"
        );
        text.extend_from_slice(line.as_bytes());
    }
    std::fs::write(folder.path().join("auth.log"), text).unwrap();
    let output = scan(folder.path(), &["--format", "json", "--parser", "sshd", "auth.log"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let report = json(&output);
    assert_eq!(report["attackers"][0]["attempts"], 40);
    let decided: Vec<&str> = report["decisions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|decision| decision["value"].as_str().unwrap())
        .collect();
    assert!(decided.contains(&"198.51.100.99"), "{decided:?}");
    assert!(!decided.contains(&"192.0.2.200"), "{decided:?}");
}

#[test]
fn settings_spare_simulate_and_add_scenarios() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("auth.log"), log()).unwrap();
    let scenarios = folder.path().join("scenarios");
    std::fs::create_dir(&scenarios).unwrap();
    std::fs::write(
        scenarios.join("oracle.toml"),
        "name = \"oracle\"\ndescription = \"Somebody wants the database\"\nkind = \"trigger\"\nfilter = \"user:oracle\"\nblackhole = \"1d\"\n",
    )
    .unwrap();
    let settings = format!(
        "[agent.detect]\nscenarios = \"{}\"\ndisable = [\"ssh-bruteforce-slow\"]\nallow = [{{ value = \"203.0.113.0/24\", reason = \"us\" }}]\nsimulate = [\"ssh-bruteforce\"]\n",
        scenarios.display()
    );
    std::fs::write(folder.path().join("palisade.toml"), settings).unwrap();
    let args = ["--config", "palisade.toml", "scan", "--quiet", "--format", "json", "auth.log"];
    let report = json(&palisade(folder.path(), &[&args[..], NOW].concat(), b""));
    assert!(report["scenarios"].get("ssh-bruteforce-slow").is_none());
    assert_eq!(report["scenarios"]["oracle"], 1);
    let break_in =
        report["alerts"].as_array().unwrap().iter().find(|a| a["scenario"] == "ssh-break-in");
    assert_eq!(break_in.unwrap()["verdict"], "allowed by 203.0.113.0/24: us");
    let simulated: Vec<&Value> =
        report["decisions"].as_array().unwrap().iter().filter(|d| d["simulated"] == true).collect();
    assert_eq!(simulated.len(), 1);
    std::fs::write(
        scenarios.join("bad.toml"),
        "name = \"bad\"\ndescription = \"\"\nkind = \"trigger\"\nfilter = \"usr:x\"\n",
    )
    .unwrap();
    let output = palisade(folder.path(), &args, b"");
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1));
    assert!(error.contains("bad.toml") && error.contains("did you mean 'user'?"), "{error}");
}

#[test]
fn an_explanation_goes_from_the_line_to_the_decision() {
    let folder = tempfile::tempdir().unwrap();
    let line =
        "Nov 20 10:00:00 web-1 sshd[7]: Failed password for root from 198.51.100.7 port 22 ssh2";
    let output = palisade(folder.path(), &[&["explain", line], NOW].concat(), b"");
    let text = String::from_utf8(output.stdout).unwrap();
    for word in [
        "parser     s",
        "kind=auth.attempted",
        "ip=198.51.100.7",
        "ssh-bruteforce: matches; 1 of 6",
    ] {
        assert!(text.contains(word), "{word} in\n{text}");
    }
    let lines = format!("{line}\n").repeat(6);
    let output = palisade(
        folder.path(),
        &[&["explain", "--format", "json"], NOW].concat(),
        lines.as_bytes(),
    );
    let last: Value =
        serde_json::from_str(String::from_utf8(output.stdout).unwrap().lines().last().unwrap())
            .unwrap();
    let alert = &last["sightings"][0]["alerts"][0];
    assert_eq!(alert["scenario"], "ssh-bruteforce");
    assert!(alert["verdict"].as_str().unwrap().starts_with("ban for "), "{alert}");
    let output =
        palisade(folder.path(), &[&["explain", "no such \u{1b}[31mline"], NOW].concat(), b"");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("none understands it") && !text.contains('\u{1b}'), "{text}");
}

#[test]
fn what_cannot_be_read_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let error = |args: &[&str]| {
        let output = palisade(folder.path(), args, b"");
        assert_ne!(output.status.code(), Some(0));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    assert!(error(&["scan", "gone.log"]).contains("gone.log"));
    assert!(error(&["scan", "--zone", "Nowhere/X", "gone.log"]).contains("there is no zone"));
    assert!(error(&["scan", "--parser", "kippo", "gone.log"]).contains("unknown log format"));
    std::fs::write(folder.path().join("text"), "hello\nworld\n".repeat(50)).unwrap();
    assert!(error(&["scan", "text"]).contains("--parser"));
}

#[test]
fn a_strongmonitor_configuration_becomes_settings_that_work() {
    let folder = tempfile::tempdir().unwrap();
    let config = r#"{
        "DB": {"host": "localhost", "user": "strong", "database": "strongmonitor"},
        "ban_command": "sudo /opt/banIP.sh %s",
        "modules": {"SSHD": {"no_log": ["Disconnect from"], "rules": [
            {"name": "Invalid user", "mode": "start", "str": "Invalid user", "limit": 2},
            {"name": "PAM", "mode": "anywhere", "str": "authentication failure", "limit": 1}
        ]}}
    }"#;
    std::fs::write(folder.path().join("config.json"), config).unwrap();
    let args = ["import", "strongmonitor", "config.json", "--output", "out"];
    let output = palisade(folder.path(), &args, b"");
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    for word in ["ban_command is [agent.enforce]", "sshd-invalid-user", "out/palisade.toml"] {
        assert!(text.contains(word), "{word} in\n{text}");
    }
    let check = palisade(folder.path(), &["--config", "out/palisade.toml", "config", "check"], b"");
    assert_eq!(check.status.code(), Some(0), "{}", String::from_utf8_lossy(&check.stderr));
    // The third line exceeds the limit of two; the last address counts.
    let line = "Nov 20 10:00:00 web-1 sshd[7]: Invalid user 192.0.2.1 from 198.51.100.7 port 22\n";
    let explain =
        ["--config", "out/palisade.toml", "explain", "--parser", "lines", "--format", "json"];
    let output = palisade(folder.path(), &[&explain[..], NOW].concat(), line.repeat(3).as_bytes());
    let text = String::from_utf8(output.stdout).unwrap();
    let steps: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let alerts = |step: &Value| step["sightings"][0]["alerts"].as_array().unwrap().clone();
    assert!(alerts(&steps[0]).is_empty() && alerts(&steps[1]).is_empty());
    assert_eq!(alerts(&steps[2])[0]["group"], "198.51.100.7");
    // A second run writes over nothing.
    let again = palisade(folder.path(), &args, b"");
    assert_eq!(again.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&again.stderr).contains("is there already"));
    std::fs::write(folder.path().join("config.json"), config.replace("anywhere", "end")).unwrap();
    let wrong = palisade(folder.path(), &["import", "strongmonitor", "config.json"], b"");
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("rules[1].mode: 'end'"));
}
