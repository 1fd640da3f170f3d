//! `palisade audit`: other roots, forms of the report, exit codes for CI.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use serde_json::Value;

use crate::support::cli;

/// The root folder of a small Debian whose SSH server lets root in.
fn machine(root: &Path) {
    for (path, text) in [
        ("etc/os-release", "ID=debian\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n"),
        ("etc/hostname", "web-1<script>\n"),
        ("etc/passwd", "root:x:0:0:root:/root:/bin/bash\ntoor:x:0:0::/root:/bin/sh\n"),
        ("etc/group", "root:x:0:\n"),
        ("etc/ssh/sshd_config", "Include /etc/ssh/sshd_config.d/*.conf\nPermitRootLogin no\n"),
        ("etc/ssh/sshd_config.d/10.conf", "PermitRootLogin yes\n"),
        (
            "var/lib/dpkg/status",
            "Package: telnetd\nStatus: install ok installed\nVersion: 0.17\n\n",
        ),
    ] {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    // A trap: of another root nothing is executed, and links do not lead out of it.
    fs::create_dir_all(root.join("usr/sbin")).unwrap();
    let program = root.join("usr/sbin/sshd");
    fs::write(&program, format!("#!/bin/sh\ntouch {}/executed\n", root.display())).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    symlink("/etc/shadow", root.join("etc/shadow")).unwrap();
}

fn verdict<'a>(report: &'a Value, id: &str) -> &'a str {
    let findings = report["findings"].as_array().unwrap();
    let finding = findings.iter().find(|one| one["id"] == id).unwrap();
    finding["verdict"].as_str().unwrap()
}

#[test]
fn a_folder_is_audited_without_running_anything_of_it() {
    let home = tempfile::tempdir().unwrap();
    let root = home.path().join("root");
    machine(&root);
    let root = root.to_str().unwrap();
    let output = cli(home.path(), &["audit", "--root", root, "--format", "json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["system"], "Debian GNU/Linux 12 (bookworm)");
    assert_eq!(report["running"], false);
    assert_eq!(verdict(&report, "ssh-root-login"), "fail");
    assert_eq!(verdict(&report, "account-root-id"), "fail");
    assert_eq!(verdict(&report, "package-telnet-server"), "fail");
    assert_eq!(verdict(&report, "ssh-empty-passwords"), "pass");
    // What only a running system knows, and what leads out of the folder.
    assert_eq!(verdict(&report, "port-telnet"), "not-judged");
    assert_eq!(verdict(&report, "password-old-hashes"), "not-judged");
    assert_eq!(verdict(&report, "updates-dnf-signatures"), "not-applicable");
    assert!(!Path::new(root).join("executed").exists());
    let counts = ["passed", "failed", "not_judged", "not_applicable"];
    let all: u64 = counts.iter().map(|name| report[name].as_u64().unwrap()).sum();
    assert_eq!(all, report["findings"].as_array().unwrap().len() as u64);
}

#[test]
fn ci_is_told_by_the_exit_code_whether_a_machine_is_good_enough() {
    let home = tempfile::tempdir().unwrap();
    let root = home.path().join("root");
    machine(&root);
    let root = root.to_str().unwrap();
    let code = |more: &[&str]| {
        let arguments: Vec<&str> = ["audit", "--root", root].iter().chain(more).copied().collect();
        cli(home.path(), &arguments).status.code()
    };
    assert_eq!(code(&["--fail-below", "1"]), Some(0));
    assert_eq!(code(&["--fail-below", "100"]), Some(3));
    assert_eq!(code(&["--fail-on", "critical"]), Some(3));
    assert_eq!(code(&["--fail-below", "101"]), Some(2));
    assert_eq!(code(&["--output", "/nowhere/report"]), Some(1));
    let none = cli(home.path(), &["audit", "--root", "/nowhere"]);
    assert_eq!(none.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&none.stderr).contains("cannot look into /nowhere"));
}

#[test]
fn a_report_is_a_page_that_stands_alone_and_shows_text_of_the_machine_as_text() {
    let home = tempfile::tempdir().unwrap();
    let root = home.path().join("root");
    machine(&root);
    let page = home.path().join("report.html");
    let (root, file) = (root.to_str().unwrap(), page.to_str().unwrap());
    let output = cli(home.path(), &["audit", "--root", root, "--format", "html", "--output", file]);
    assert!(output.status.success() && output.stdout.is_empty());
    let page = fs::read_to_string(page).unwrap();
    assert!(page.contains("web-1&lt;script&gt;") && !page.contains("<script"));
    assert!(page.contains("default-src &#39;none&#39;") || page.contains("default-src 'none'"));
    assert!(!page.contains("src=") && !page.contains("href=") && !page.contains("url("));
    let table = cli(home.path(), &["audit", "--root", root]);
    let table = String::from_utf8(table.stdout).unwrap();
    assert!(table.contains("Do these first") && table.contains("account-root-id"), "{table}");
    assert!(!table.contains('\x1b'), "no colours into a pipe");
}

#[test]
fn checks_are_listed_and_explained() {
    let home = tempfile::tempdir().unwrap();
    let list = cli(home.path(), &["audit", "--list", "--format", "json"]);
    let list: Value = serde_json::from_slice(&list.stdout).unwrap();
    assert!(list["checks"].as_array().unwrap().len() >= 120);
    let one = cli(home.path(), &["audit", "--explain", "ssh-root-login"]);
    let one = String::from_utf8(one.stdout).unwrap();
    assert!(one.contains("why ") && one.contains("what to do ") && one.contains("CIS"), "{one}");
    let none = cli(home.path(), &["audit", "--explain", "ssh-root"]);
    assert_eq!(none.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&none.stderr).contains("did you mean ssh-root-"));
}
