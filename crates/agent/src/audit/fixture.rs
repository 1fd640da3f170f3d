//! Every check of the catalogue passes on a machine that is as it should be and
//! fails on one that is not. The machines stand in `ruleset/audit/*.fixtures`, a
//! line a fact, and are built as folders.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use palisade_event::Timestamp;
use tempfile::TempDir;

use super::judge::Facts;
use super::{Catalogue, Verdict};
use crate::inventory::root::{Pretended, Root};

/// The time on all machines: 2026-11-27, day 20784.
const NOW: i64 = 1_795_737_600_000;

/// A machine, and what a check must say of it.
struct Fixture {
    check: String,
    expected: String,
    facts: Vec<String>,
}

fn fixtures() -> Vec<Fixture> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../ruleset/audit");
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|end| end != "fixtures") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        for part in text.split("### ").skip(1) {
            let mut lines = part.lines();
            let (check, expected) = lines.next().unwrap().split_once(' ').unwrap();
            let facts = lines.filter(|line| !line.is_empty()).map(str::to_owned).collect();
            found.push(Fixture { check: check.into(), expected: expected.trim().into(), facts });
        }
    }
    found
}

/// A folder in memory where there is one: some hundred machines are built of some
/// twenty files each.
fn quick_dir() -> TempDir {
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    folder.unwrap()
}

/// A machine that is being built.
struct Builder {
    folder: TempDir,
    pretended: Pretended,
    outputs: BTreeMap<String, String>,
    running: bool,
    /// Where lines with `|` go.
    open: Option<Open>,
    inode: u32,
}

enum Open {
    File(PathBuf),
    Output(String),
}

impl Builder {
    fn new() -> Self {
        let mut new = Self {
            folder: quick_dir(),
            pretended: Pretended::new(),
            outputs: BTreeMap::new(),
            running: true,
            open: None,
            inode: 1,
        };
        new.append("/etc/os-release", "ID=debian\nPRETTY_NAME=\"Debian GNU/Linux 12\"\n");
        new.append("/etc/passwd", "root:x:0:0:root:/root:/bin/bash\n");
        new.append("/etc/shadow", "root:!:19000:0:99999:7:::\n");
        new.append("/etc/group", "root:x:0:\nadm:x:4:\nshadow:x:42:\n");
        new.append(
            "/var/lib/dpkg/status",
            "Package: base-files\nStatus: install ok installed\nVersion: 12\n\n",
        );
        new.append("/proc/self/mountinfo", "1 0 8:1 / / rw,relatime - ext4 /dev/sda1 rw\n");
        new.append("/proc/modules", "");
        new.append("/proc/cmdline", "ro quiet\n");
        for name in ["tcp", "tcp6", "udp", "udp6"] {
            new.append(&format!("/proc/net/{name}"), "  sl  local_address\n");
        }
        new.fact("dir /root 0700");
        new.fact("dir /lib/systemd/system");
        new.fact("dir /etc/systemd/system");
        new
    }

    fn at(&self, path: &str) -> PathBuf {
        self.folder.path().join(path.trim_start_matches('/'))
    }

    fn append(&mut self, path: &str, text: &str) {
        let path = self.at(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let before = fs::read_to_string(&path).unwrap_or_default();
        fs::write(&path, before + text).unwrap();
    }

    /// The rights and owner of a path, as the rest of a line says.
    fn pretend(&mut self, path: &str, rest: Option<&str>) {
        let mut words = rest.unwrap_or_default().split_whitespace();
        let Some(mode) = words.next() else { return };
        let mode = u32::from_str_radix(mode, 8).unwrap();
        let (uid, gid) = words.next().unwrap_or("0:0").split_once(':').unwrap();
        self.pretended.insert(path.into(), (mode, uid.parse().unwrap(), gid.parse().unwrap()));
    }

    fn fact(&mut self, line: &str) {
        if let Some(content) = line.strip_prefix('|') {
            let content = format!("{}\n", content.strip_prefix(' ').unwrap_or(content));
            match self.open.as_ref().unwrap() {
                Open::File(path) => {
                    let before = fs::read_to_string(path).unwrap();
                    fs::write(path, before + &content).unwrap();
                }
                Open::Output(name) => self.outputs.get_mut(name).unwrap().push_str(&content),
            }
            return;
        }
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let (first, second) = match rest.split_once(' ') {
            Some((first, second)) => (first, Some(second)),
            None => (rest, None),
        };
        match word {
            "stopped" => self.running = false,
            "os" => {
                let _ = fs::remove_file(self.at("/etc/os-release"));
                self.append("/etc/os-release", &format!("ID={first}\nPRETTY_NAME=\"{first}\"\n"));
            }
            "sshd" => {
                self.append("/etc/ssh/sshd_config", "");
                let value = second.unwrap_or_default();
                *self.outputs.entry("sshd -T".into()).or_default() += &format!("{first} {value}\n");
            }
            "sysctl" => {
                let (key, value) = rest.split_once('=').unwrap();
                let path = format!("/proc/sys/{}", key.trim().replace('.', "/"));
                self.append(&path, &format!("{}\n", value.trim()));
            }
            "package" => {
                let version = second.unwrap_or("1.0-1");
                let text = format!(
                    "Package: {first}\nStatus: install ok installed\nArchitecture: amd64\nVersion: {version}\n\n"
                );
                self.append("/var/lib/dpkg/status", &text);
            }
            "enabled" | "disabled" => {
                self.append(&format!("/lib/systemd/system/{first}"), "");
                if word == "enabled" {
                    let wants = self.at("/etc/systemd/system/multi-user.target.wants");
                    fs::create_dir_all(&wants).unwrap();
                    symlink(format!("/lib/systemd/system/{first}"), wants.join(first)).unwrap();
                }
            }
            "mount" => {
                let (kind, options) = second.unwrap().split_once(' ').unwrap();
                let text = format!("2 1 8:2 / {first} {options} - {kind} /dev/sdb1 rw\n");
                self.append("/proc/self/mountinfo", &text);
            }
            "passwd" | "shadow" | "group" => {
                self.append(&format!("/etc/{word}"), &format!("{rest}\n"));
            }
            "fstab" => self.append("/etc/fstab", &format!("{rest}\n")),
            "module" => self.append("/proc/modules", &format!("{first} 16384 0 - Live 0x0\n")),
            "kmod" => {
                let text = format!("kernel/x/{first}.ko.xz: kernel/y.ko\n");
                self.append("/lib/modules/6.1.0-1-amd64/modules.dep", &text);
            }
            "listen" => {
                let (address, port) = second.unwrap().rsplit_once(':').unwrap();
                let address: std::net::Ipv4Addr = address.parse().unwrap();
                let address = u32::from_ne_bytes(address.octets());
                let port: u16 = port.parse().unwrap();
                let state = if first == "tcp" { "0A" } else { "07" };
                self.inode += 1;
                let text = format!(
                    " 0: {address:08X}:{port:04X} 00000000:0000 {state} 0:0 00:0 0 0 0 {}\n",
                    self.inode
                );
                self.append(&format!("/proc/net/{first}"), &text);
            }
            "cmdline" => fs::write(self.at("/proc/cmdline"), format!("{rest}\n")).unwrap(),
            "dir" => {
                fs::create_dir_all(self.at(first)).unwrap();
                self.pretend(first, second);
            }
            "link" => {
                let path = self.at(first);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                symlink(second.unwrap(), path).unwrap();
            }
            "file" => {
                self.append(first, "");
                self.pretend(first, second);
                self.open = Some(Open::File(self.at(first)));
            }
            "replace" => {
                fs::write(self.at(first), "").unwrap();
                self.open = Some(Open::File(self.at(first)));
            }
            "output" => {
                self.outputs.insert(rest.into(), String::new());
                self.open = Some(Open::Output(rest.into()));
            }
            "days-old" => {
                self.append(first, "");
                let days: u64 = second.unwrap().parse().unwrap();
                let now = UNIX_EPOCH + Duration::from_millis(NOW as u64);
                let file = fs::File::options().write(true).open(self.at(first)).unwrap();
                file.set_modified(now - Duration::from_secs(days * 86_400)).unwrap();
            }
            other => panic!("no such fact: {other}"),
        }
    }
}

#[test]
fn every_check_passes_where_it_should_and_fails_where_it_should() {
    let catalogue = Catalogue::shipped().unwrap();
    let mut tried: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let mut wrong = Vec::new();
    for fixture in fixtures() {
        let Some(check) = catalogue.get(&fixture.check) else {
            wrong.push(format!("there is no check {}", fixture.check));
            continue;
        };
        let mut machine = Builder::new();
        for fact in &fixture.facts {
            machine.fact(fact);
        }
        let path = machine.folder.path();
        let root =
            Root::pretend(path, machine.running, machine.outputs, machine.pretended).unwrap();
        let verdict = Facts::new(&root, Timestamp::from_millis(NOW)).verdict(check);
        if verdict.as_str() != fixture.expected {
            wrong.push(format!("{} must be {}: {verdict:?}", fixture.check, fixture.expected));
        }
        tried.entry(&check.id).or_default().push(fixture.expected);
    }
    for check in catalogue.checks() {
        for needed in ["pass", "fail"] {
            let tried = tried.get(check.id.as_str());
            if !tried.is_some_and(|tried| tried.iter().any(|one| one == needed)) {
                wrong.push(format!("{} has no machine on which it is {needed}", check.id));
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn the_catalogue_is_whole() {
    let catalogue = Catalogue::shipped().unwrap();
    assert!(catalogue.checks().len() >= 120, "{}", catalogue.checks().len());
    for check in catalogue.checks() {
        let id = &check.id;
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        assert!(id.chars().all(plain) && id.len() <= 48, "{id}");
        for text in [&check.title, &check.why, &check.fix] {
            assert!(text.len() >= 10 && !text.contains('\n'), "{id}: {text}");
        }
        assert!(check.title.len() <= 90 && !check.title.ends_with('.'), "{id}: {}", check.title);
        let mistakes = check.test.mistakes();
        assert!(mistakes.is_empty(), "{id}: {mistakes:?}");
    }
}

#[test]
fn nothing_is_passed_where_nothing_can_be_seen() {
    // An empty folder: what stands in no file is not judged or does not apply.
    let folder = tempfile::tempdir().unwrap();
    let root = Root::folder(folder.path()).unwrap();
    let facts = Facts::new(&root, Timestamp::from_millis(NOW));
    let catalogue = Catalogue::shipped().unwrap();
    for check in catalogue.checks().iter().filter(|check| check.area == "kernel") {
        let verdict = facts.verdict(check);
        assert!(!matches!(verdict, Verdict::Pass(_)), "{}: {verdict:?}", check.id);
    }
}

#[test]
fn what_systemd_hides_from_a_service_is_not_judged() {
    let catalogue = Catalogue::shipped().unwrap();
    let mut machine = Builder::new();
    for fact in [
        "passwd anna:x:1000:1000::/home/anna:/bin/bash",
        "dir /home 0000 0:0",
        "dir /root 0000 0:0",
    ] {
        machine.fact(fact);
    }
    let path = machine.folder.path();
    let root = Root::pretend(path, true, machine.outputs, machine.pretended).unwrap();
    let facts = Facts::new(&root, Timestamp::from_millis(NOW));
    for id in
        ["file-root-home", "account-homes-exist", "account-homes-private", "account-dot-files"]
    {
        let verdict = facts.verdict(catalogue.get(id).unwrap());
        assert!(matches!(verdict, Verdict::NotJudged(_)), "{id}: {verdict:?}");
    }
}

#[test]
fn files_that_are_no_text_and_links_in_circles_are_judged_without_harm() {
    let mut machine = Builder::new();
    for path in
        ["/etc/ssh/sshd_config", "/etc/login.defs", "/etc/sudoers", "/etc/fstab", "/etc/passwd"]
    {
        machine.append(path, "");
        let noise: Vec<u8> =
            (0..20_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        fs::write(machine.at(path), noise).unwrap();
    }
    machine.fact("link /etc/pam.d/x /etc/pam.d/x");
    machine.fact("link /etc/cron.d ../etc/cron.d");
    for running in [true, false] {
        let path = machine.folder.path();
        let root = Root::pretend(path, running, BTreeMap::new(), Pretended::new()).unwrap();
        let facts = Facts::new(&root, Timestamp::from_millis(NOW));
        for check in Catalogue::shipped().unwrap().checks() {
            let _ = facts.verdict(check);
        }
    }
}
