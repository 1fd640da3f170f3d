//! Block lists as their consumers take them: nft and ipset in a network
//! namespace, nginx, STIX and MISP by their own libraries, curl. The tests run
//! themselves again inside of a namespace.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "tests: a failure is a panic"
)]

use crate::support;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use support::Palisade;
use support::namespace::inside;

const PORT: u16 = 18_444;
/// What is banned: networks in each other, both families, a hostile reason.
const BANS: [(&str, &str, &str); 6] = [
    ("192.0.2.0/24", "1h", "a network"),
    ("192.0.2.7", "4h", "=cmd|'/C calc'!A0\"; } flush ruleset # <script>"),
    ("198.51.100.7", "4h", "scans"),
    ("8.8.8.8", "30d", "long"),
    ("2001:db8::/48", "1h", "a network"),
    ("2001:db8::7", "4h", "longer than its network"),
];

fn sh(line: &str) -> Output {
    Command::new("sh").args(["-c", line]).stdin(Stdio::null()).output().unwrap()
}

fn good(output: Output, what: &str) -> String {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{what}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

/// Runs a program with a text as its input.
fn pipe(program: &str, args: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap()
}

/// A hub with bans.
struct Host {
    home: tempfile::TempDir,
    _hub: Palisade,
}

impl Host {
    fn new(port: u16) -> Self {
        let home = tempfile::tempdir().unwrap();
        let config = format!(
            "data = \"{}/data\"\n[[api.listeners]]\naddress = \"127.0.0.1:{port}\"\ntls = false\n\
             [api]\npublic_url = \"http://127.0.0.1:{port}\"\n",
            home.path().display()
        );
        fs::write(home.path().join("palisade.toml"), config).unwrap();
        let config = home.path().join("palisade.toml");
        let args = ["hub", "--config", config.to_str().unwrap()];
        let hub = Palisade::start(home.path(), &args);
        let host = Self { home, _hub: hub };
        for (target, span, reason) in BANS {
            host.palisade(&["ban", target, "--for", span, "--reason", reason]);
        }
        host
    }

    fn palisade(&self, args: &[&str]) -> String {
        good(support::cli(self.home.path(), args), &format!("{args:?}"))
    }

    fn list(&self, args: &[&str]) -> Vec<u8> {
        let args = [&["blocklist", "show"], args].concat();
        self.palisade(&args).into_bytes()
    }
}

fn elements(set: &str) -> Vec<(String, u64)> {
    let text = good(sh(&format!("nft -j list set inet palisade_blocklist {set}")), "nft list");
    let json: Value = serde_json::from_str(&text).unwrap();
    let set = json["nftables"].as_array().unwrap().iter().find(|one| one["set"].is_object());
    let found = set.unwrap()["set"]["elem"].as_array().cloned().unwrap_or_default();
    let mut found: Vec<(String, u64)> = found
        .iter()
        .map(|one| {
            let value = &one["elem"]["val"];
            let text = match (&value["range"], &value["prefix"]) {
                (Value::Array(ends), _) => {
                    format!("{}-{}", ends[0].as_str().unwrap(), ends[1].as_str().unwrap())
                }
                (_, Value::Object(prefix)) => {
                    format!("{}/{}", prefix["addr"].as_str().unwrap(), prefix["len"])
                }
                _ => value.as_str().unwrap().to_owned(),
            };
            (text, one["elem"]["timeout"].as_u64().unwrap())
        })
        .collect();
    found.sort();
    found
}

fn near(found: &[(String, u64)], expected: &[(&str, u64)]) {
    assert_eq!(found.len(), expected.len(), "{found:?}");
    for ((target, secs), (wanted, within)) in found.iter().zip(expected) {
        assert_eq!(target, wanted, "{found:?}");
        assert!(*secs <= *within && *secs + 120 > *within, "{target}: {secs} s");
    }
}

#[test]
fn nft_takes_the_file_as_one_transaction() {
    if !inside("blocklists::nft_takes_the_file_as_one_transaction", &["nft"]) {
        return;
    }
    let host = Host::new(PORT);
    let load = |file: &[u8]| {
        good(pipe("nft", &["-f", "-"], file), "nft -f");
    };
    load(&host.list(&["nft"]));
    let hour = 3600;
    near(
        &elements("banned4"),
        &[
            ("192.0.2.0-192.0.2.6", hour),
            ("192.0.2.7", 4 * hour),
            ("192.0.2.8-192.0.2.255", hour),
            ("198.51.100.7", 4 * hour),
            ("8.8.8.8", 30 * 24 * hour),
        ],
    );
    let six = elements("banned6");
    assert_eq!(six.len(), 3, "{six:?}");
    let rules = good(sh("nft list table inet palisade_blocklist"), "nft list");
    assert!(rules.contains("ip saddr @banned4 counter") && rules.contains("drop"), "{rules}");
    // Again, after an unban and beside a chain of somebody else: nothing is twice, nothing stays.
    assert!(sh("nft add chain inet palisade_blocklist mine").status.success());
    host.palisade(&["unban", "192.0.2.0/24"]);
    load(&host.list(&["nft", "ip:192.0.2.0/24"]));
    near(&elements("banned4"), &[("192.0.2.7", 4 * hour)]);
    assert!(elements("banned6").is_empty());
    let rules = good(sh("nft list table inet palisade_blocklist"), "nft list");
    assert_eq!(rules.matches("@banned4").count(), 1, "{rules}");
    assert!(rules.contains("chain mine"), "{rules}");
    load(&host.list(&["nft", "ip:203.0.113.1"]));
    assert!(elements("banned4").is_empty());
}

#[test]
fn ipset_restores_the_file_and_swaps() {
    if !inside("blocklists::ipset_restores_the_file_and_swaps", &["ipset"]) {
        return;
    }
    let host = Host::new(PORT);
    let load = |file: &[u8]| {
        good(pipe("ipset", &["restore"], file), "ipset restore");
    };
    let is_in =
        |address: &str, set: &str| sh(&format!("ipset test {set} {address}")).status.success();
    load(&host.list(&["ipset"]));
    let saved = good(sh("ipset save"), "ipset save");
    assert!(saved.contains("add palisade-list4 192.0.2.0/24 timeout 3"), "{saved}");
    assert!(saved.contains("add palisade-list4 8.8.8.8 timeout 21474"), "{saved}");
    assert!(is_in("192.0.2.200", "palisade-list4") && is_in("2001:db8::9", "palisade-list6"));
    assert!(!is_in("192.0.3.1", "palisade-list4"));
    // A rule that uses the set keeps using it: it is swapped, not made anew.
    let rule = "iptables-legacy -A INPUT -m set --match-set palisade-list4 src -j DROP";
    let ruled = sh(rule).status.success();
    host.palisade(&["unban", "192.0.2.0/24"]);
    load(&host.list(&["ipset"]));
    assert!(!is_in("192.0.2.200", "palisade-list4") && is_in("192.0.2.7", "palisade-list4"));
    let listed = good(sh("ipset list -n"), "ipset list");
    assert_eq!(listed.lines().count(), 2, "{listed}");
    if ruled {
        assert!(good(sh("ipset list palisade-list4 -t"), "list").contains("References: 1"));
    }
}

#[test]
fn nginx_denies_with_the_file() {
    if !inside("blocklists::nginx_denies_with_the_file", &["nginx"]) {
        return;
    }
    let host = Host::new(PORT);
    let home = host.home.path();
    let at = |name: &str| home.join(name).display().to_string();
    host.palisade(&["ban", "198.51.100.0/24"]);
    fs::write(at("bans.conf"), host.list(&["nginx"])).unwrap();
    let config = format!(
        "daemon off; user root root; pid {0}; error_log {1};\nevents {{}}\nhttp {{ access_log off;\n\
         client_body_temp_path {2}; proxy_temp_path {2}; fastcgi_temp_path {2};\n\
         uwsgi_temp_path {2}; scgi_temp_path {2};\n\
         server {{ listen 127.0.0.1:18480; set_real_ip_from 127.0.0.0/8; real_ip_header X-From;\n\
         include {3}; root {4}; }} }}\n",
        at("nginx.pid"),
        at("nginx.log"),
        at("tmp"),
        at("bans.conf"),
        at(".")
    );
    fs::write(at("nginx.conf"), config).unwrap();
    fs::write(at("index.html"), "hello").unwrap();
    let conf = at("nginx.conf");
    good(Command::new("nginx").args(["-t", "-c", &conf]).output().unwrap(), "nginx -t");
    let mut nginx = Command::new("nginx").args(["-c", &conf]).spawn().unwrap();
    let status = |from: &str| {
        let line = format!(
            "curl -s -o /dev/null -w '%{{http_code}}' --retry 20 --retry-connrefused \
             --retry-delay 1 -H 'X-From: {from}' http://127.0.0.1:18480/index.html"
        );
        good(sh(&line), "curl")
    };
    assert_eq!(status("203.0.113.1"), "200");
    for from in ["192.0.2.200", "8.8.8.8", "198.51.100.9"] {
        assert_eq!(status(from), "403", "{from}");
    }
    let log = fs::read_to_string(at("nginx.log")).unwrap_or_default();
    assert_eq!(log.matches("access forbidden by rule").count(), 3, "{log}");
    let _ = sh(&format!("kill {}", nginx.id()));
    let _ = nginx.wait();
}

#[test]
fn curl_polls_with_a_link_and_a_tag() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("palisade.toml"), support::settings(home.path())).unwrap();
    fs::write(home.path().join("auth.log"), "").unwrap();
    let hub = Palisade::up(home.path());
    let cli = |args: &[&str]| good(support::cli(home.path(), args), &format!("{args:?}"));
    cli(&["ban", "198.51.100.7"]);
    let path =
        cli(&["blocklist", "share", "txt", "ip:198.51.100.0/24", "--for", "1h", "--note", "x"]);
    let base = format!("http://{}", hub.http_api());
    let (list, tag) = (home.path().join("list"), home.path().join("tag"));
    let url = format!("{base}{}", path.trim());
    let poll = || {
        let output = Command::new("curl")
            .args(["-sS", "--compressed", "-w", "%{http_code}", "--etag-save"])
            .arg(&tag)
            .arg("--etag-compare")
            .arg(&tag)
            .arg("-o")
            .arg(&list)
            .arg(&url)
            .output();
        good(output.unwrap(), "curl")
    };
    assert_eq!(poll(), "200");
    assert_eq!(fs::read_to_string(&list).unwrap(), "198.51.100.7\n");
    assert_eq!(poll(), "304");
    cli(&["ban", "198.51.100.8"]);
    assert_eq!(poll(), "200");
    assert_eq!(fs::read_to_string(&list).unwrap(), "198.51.100.7\n198.51.100.8\n");
    let links = cli(&["blocklist", "links", "--format", "json"]);
    let links: Value = serde_json::from_str(&links).unwrap();
    cli(&["blocklist", "revoke", links["links"][0]["id"].as_str().unwrap()]);
    assert_eq!(poll(), "403");
    // Nothing of it is in the log.
    let signature = path.trim().rsplit('=').next().unwrap();
    assert!(signature.len() == 64 && !hub.errors().contains(signature));
}

/// Python with what reads STIX and MISP; `make test` makes it.
fn python() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/feeds/bin/python");
    if path.exists() {
        return Some(path);
    }
    eprintln!("not tested here: target/feeds is missing; `make test` makes it");
    None
}

#[test]
fn the_libraries_of_stix_and_misp_read_their_files() {
    let Some(python) = python() else { return };
    let host = Host::new(0);
    let read = |script: &str, file: &[u8]| {
        good(pipe(python.to_str().unwrap(), &["-c", script], file), script)
    };
    let said = read(
        "import sys, stix2\n\
         from stix2patterns.validator import run_validator\n\
         bundle = stix2.parse(sys.stdin.read(), version='2.1')\n\
         assert bundle.serialize()\n\
         found = [o for o in bundle.objects if o.type == 'indicator']\n\
         for o in found:\n\
        \x20   assert not run_validator(o.pattern, stix_version='2.1'), o.pattern\n\
        \x20   assert o.valid_until > o.valid_from\n\
         print(len(bundle.objects), sorted(o.name for o in found)[0], len({o.id for o in found}))\n",
        &host.list(&["stix"]),
    );
    assert_eq!(said.trim(), "7 192.0.2.0/24 6");
    let said = read(
        "import sys, json\n\
         from pymisp import MISPEvent\n\
         event = MISPEvent()\n\
         event.load(sys.stdin.read(), validate=True)\n\
         assert not event.edited or event.to_json()\n\
         print(len(event.attributes), event.attributes[0].type, event.published, event.Orgc.name)\n",
        &host.list(&["misp"]),
    );
    assert_eq!(said.trim(), "6 ip-src True Palisade");
}
