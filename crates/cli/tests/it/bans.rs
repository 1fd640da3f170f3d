//! `palisade ban`, `unban`, `bans` and `allow`, through the socket of a running
//! hub, over the network with a key, and on the files of a stopped one.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test that fails says where"
)]

use crate::support;

use serde_json::Value;
use support::{Palisade, cli};

/// What a command that works prints.
fn said(home: &std::path::Path, args: &[&str]) -> String {
    let output = cli(home, args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// What one that is refused prints.
fn refused(home: &std::path::Path, args: &[&str]) -> String {
    let output = cli(home, args);
    assert!(!output.status.success(), "{args:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn bans_are_made_listed_and_lifted_by_hand() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path();
    let hub = Palisade::up(home);
    let made = said(home, &["ban", "198.51.100.7", "--for", "4h", "--reason", "scans us"]);
    assert!(made.starts_with("banned 198.51.100.7 until 20"), "{made}");
    let key = home.join("admin.key");
    std::fs::write(&key, said(home, &["key", "add", "boss", "--scope", "admin"])).unwrap();
    let url = format!("https://{}", hub.https_api());
    let (pin, key) = (hub.fingerprint(), key.to_str().unwrap().to_owned());
    let there = ["--hub", &url, "--key-file", &key, "--pin", &pin];
    said(home, &[&["ban", "192.0.2.0/24", "--note", "ticket 42"][..], &there].concat());
    let list: Value = serde_json::from_str(&said(home, &["bans", "--format", "json"])).unwrap();
    assert_eq!(list["decisions"][0]["origin"]["name"], "boss");
    assert_eq!(list["decisions"][1]["reason"], "scans us");
    let table = said(home, &[&["bans", "198.51.100.0/24"][..], &there].concat());
    assert!(table.contains("198.51.100.7") && !table.contains("192.0.2.0"), "{table}");
    assert!(said(home, &["allow", "192.0.2.9", "--reason", "office"]).contains("bans of 1 lifted"));
    assert!(said(home, &["allow", "--list"]).contains("office"));
    assert!(refused(home, &["ban", "192.0.2.0/24"]).contains("192.0.2.9"));
    said(home, &["allow", "--remove", "192.0.2.9"]);
    let lifted = said(home, &["unban", "198.51.100.7", "--reason", "our own & only"]);
    assert_eq!(lifted, "lifted the ban of 198.51.100.7\n");
    assert!(said(home, &["unban", "198.51.100.7"]).contains("was not banned"));
    assert_eq!(said(home, &["bans"]), "nobody is banned\n");
    assert!(said(home, &["bans", "--all"]).contains("lifted by local"));
    hub.wait_count("kind:decision.lifted", 3);
    hub.wait_count("kind:decision.made", 2);
    hub.kill();
    // On the files of a stopped hub; another one finds it.
    said(home, &["ban", "203.0.113.9"]);
    assert!(said(home, &["bans"]).contains("203.0.113.9"));
}

#[test]
fn what_cannot_be_banned_is_refused_in_one_sentence() {
    let dir = tempfile::tempdir().unwrap();
    for (args, word) in [
        (&["ban", "127.0.0.1"][..], "loopback"),
        (&["ban", "10.0.0.0/8"], "/16"),
        (&["ban", "example.net"], "neither an address"),
        (&["ban", "192.0.2.1", "--for", "soon"], "span of time"),
        (&["allow"], "required"),
        (&["allow", "0.0.0.0/0"], "whole Internet"),
        (&["allow", "--remove", "192.0.2.1"], "192.0.2.1"),
    ] {
        let text = refused(dir.path(), args);
        assert!(text.contains(word), "{args:?}: {text}");
    }
}
