//! What checks read, and whether it changed since: what somebody changes is judged
//! again within a minute, not at the next day's audit.
//!
//! Files are compared by their times, rights and sizes, those of the kernel by what
//! they say. What stands in no file (packet filter, open ports) waits for the daily
//! audit, and so do looks at all files of the disks.

use std::collections::BTreeSet;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};

use palisade_event::Timestamp;

use super::catalogue::{Catalogue, Check};
use super::judge::Facts;
use super::probe::{AccountRule, Probe, UpdateRule};
use super::report::{Finding, Verdict};
use crate::inventory::root::{Root, Unseen};

/// Longest content of a file of the kernel that is compared.
const MAX_VALUE_BYTES: usize = 64 * 1024;
/// Where packages are written down, by dpkg, apk and RPM.
const PACKAGES: [&str; 5] = [
    "/var/lib/dpkg/status",
    "/lib/apk/db/installed",
    "/var/lib/rpm/rpmdb.sqlite*",
    "/usr/lib/sysimage/rpm/rpmdb.sqlite*",
    "/var/lib/rpm/Packages*",
];
/// Where units come and go.
const UNITS: [&str; 6] = [
    "/etc/systemd/system",
    "/etc/systemd/system/*.wants",
    "/etc/systemd/system/*.requires",
    "/usr/lib/systemd/system",
    "/etc/init.d",
    "/etc/rc[2345].d",
];
const ACCOUNTS: [&str; 4] = ["/etc/passwd", "/etc/shadow", "/etc/group", "/etc/gshadow"];

/// The patterns of what a check reads.
fn reads(check: &Check) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for probe in check.when.iter().chain([&check.test]) {
        add(probe, &mut found);
    }
    found
}

fn add(probe: &Probe, found: &mut BTreeSet<String>) {
    let mut these = |paths: &[&str]| found.extend(paths.iter().map(|&path| path.to_owned()));
    match probe {
        Probe::Sshd { .. } => these(&["/etc/ssh/sshd_config", "/etc/ssh/sshd_config.d/*.conf"]),
        Probe::Sysctl { keys, .. } => {
            found.extend(keys.iter().map(|key| format!("/proc/sys/{}", key.replace('.', "/"))));
        }
        Probe::Setting { files: paths, .. }
        | Probe::Line { files: paths, .. }
        | Probe::File { paths, .. }
        | Probe::Exists { paths, .. } => found.extend(paths.iter().cloned()),
        Probe::Mount { .. } => these(&["/proc/self/mountinfo"]),
        Probe::Package { .. } => these(&PACKAGES),
        Probe::Unit { .. } => these(&UNITS),
        Probe::Accounts { rule, .. } => {
            these(&ACCOUNTS);
            match rule {
                AccountRule::SshFilesPrivate | AccountRule::NoWeakKeys => {
                    these(&["/root/.ssh", "/root/.ssh/*", "/home/*/.ssh", "/home/*/.ssh/*"]);
                }
                AccountRule::HomesExist
                | AccountRule::HomesOwned
                | AccountRule::HomesPrivate
                | AccountRule::DotFilesOwnAlone
                | AccountRule::NoTrustFiles => these(&["/root", "/home", "/home/*"]),
                _ => {}
            }
        }
        Probe::ModuleOff { names } => {
            these(&["/etc/modprobe.d/*.conf"]);
            found
                .extend(names.iter().map(|name| format!("/sys/module/{}", name.replace('-', "_"))));
        }
        Probe::Updates { rule } => match rule {
            UpdateRule::NoneForSecurity => {
                these(&PACKAGES);
                these(&["/var/lib/apt/lists"]);
            }
            UpdateRule::ListsFresh => these(&["/var/lib/apt/lists"]),
            UpdateRule::NewestKernelRuns => these(&["/boot"]),
            UpdateRule::NoRestartNeeded => these(&["/run/reboot-required"]),
        },
        Probe::All { of } | Probe::Any { of } => of.iter().for_each(|probe| add(probe, found)),
        Probe::PortsClosed { .. }
        | Probe::Tree { .. }
        | Probe::Boot { .. }
        | Probe::Firewall { .. } => {}
    }
}

/// What the checks of a catalogue read, as it was at the last look.
#[derive(Debug)]
pub(super) struct Watched {
    patterns: Vec<(String, u64)>,
}

impl Watched {
    /// Takes it as it is now. To be called before the audit, so that what changes
    /// during it is seen at the next look.
    pub(super) fn new(catalogue: &Catalogue, root: &Root) -> Self {
        let patterns: BTreeSet<String> = catalogue.checks().iter().flat_map(reads).collect();
        let marked = patterns.into_iter().map(|pattern| {
            let mark = mark(root, &pattern);
            (pattern, mark)
        });
        Self { patterns: marked.collect() }
    }

    /// The patterns of what changed since the last look.
    pub(super) fn look(&mut self, root: &Root) -> BTreeSet<String> {
        let mut changed = BTreeSet::new();
        for (pattern, before) in &mut self.patterns {
            let now = mark(root, pattern);
            if now != *before {
                *before = now;
                changed.insert(pattern.clone());
            }
        }
        changed
    }
}

/// How a pattern's files are, in a number.
fn mark(root: &Root, pattern: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    let (paths, hidden) = root.glob(pattern);
    hidden.is_some().hash(&mut hasher);
    for path in paths {
        path.hash(&mut hasher);
        let of_kernel = path.starts_with("/proc/") || path.starts_with("/sys/");
        match root.meta(&path) {
            Ok(meta) if of_kernel && meta.is_file() => match root.read_bytes(&path) {
                Ok(bytes) => bytes.get(..MAX_VALUE_BYTES.min(bytes.len())).hash(&mut hasher),
                Err(_) => 1.hash(&mut hasher),
            },
            Ok(_) if of_kernel => 2.hash(&mut hasher),
            Ok(meta) => {
                (meta.mode, meta.uid, meta.gid, meta.size, meta.device).hash(&mut hasher);
                (meta.inode, meta.modified, meta.touched_ns).hash(&mut hasher);
            }
            Err(Unseen::Missing) => 3.hash(&mut hasher),
            Err(_) => 4.hash(&mut hasher),
        }
    }
    hasher.finish()
}

/// Judges those checks again that read what changed: how many, and whether one of
/// them has another verdict now.
pub(super) fn judge_again(
    root: &Root,
    findings: &mut [Finding],
    changed: &BTreeSet<String>,
    now: Timestamp,
) -> (usize, bool) {
    let facts = Facts::new(root, now);
    let (mut judged, mut other) = (0, false);
    for finding in findings {
        if reads(&finding.check).is_disjoint(changed) {
            continue;
        }
        let verdict: Verdict = facts.verdict(&finding.check);
        other |= verdict.as_str() != finding.verdict.as_str();
        finding.verdict = verdict;
        judged += 1;
    }
    (judged, other)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn audit(root: &Root) -> (Watched, Vec<Finding>) {
        let catalogue = Catalogue::shipped().unwrap();
        let watched = Watched::new(&catalogue, root);
        let facts = Facts::new(root, NOW);
        let findings = catalogue.checks().iter();
        let findings =
            findings.map(|c| Finding { check: c.clone(), verdict: facts.verdict(c) }).collect();
        (watched, findings)
    }

    fn verdict(findings: &[Finding], id: &str) -> &'static str {
        findings.iter().find(|f| f.check.id == id).unwrap().verdict.as_str()
    }

    #[test]
    fn what_is_changed_is_judged_again_and_nothing_else_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["etc/ssh/sshd_config.d", "etc/sudoers.d", "usr/sbin", "proc/sys/kernel"] {
            fs::create_dir_all(path(name)).unwrap();
        }
        fs::write(path("etc/ssh/sshd_config"), "PermitRootLogin no\n").unwrap();
        fs::write(path("etc/passwd"), "root:x:0:0:root:/root:/bin/bash\n").unwrap();
        fs::write(path("etc/sudoers"), "Defaults use_pty\n").unwrap();
        fs::write(path("proc/sys/kernel/randomize_va_space"), "2\n").unwrap();
        let running = Root::pretend(folder.path(), true, Default::default(), Default::default());
        let root = running.unwrap();
        let (mut watched, mut findings) = audit(&root);
        assert!(watched.look(&root).is_empty());

        // Each of them by what somebody would do: a line, a new file, another account,
        // a value of the kernel, rights alone.
        fs::write(path("etc/ssh/sshd_config"), "PermitRootLogin ye\n").unwrap();
        fs::write(path("etc/sudoers.d/anna"), "anna ALL=(ALL) NOPASSWD: ALL\n").unwrap();
        fs::write(path("etc/passwd"), "root:x:0:0::/:/bin/sh\ntoor:x:0:0::/:/bin/sh\n").unwrap();
        fs::write(path("proc/sys/kernel/randomize_va_space"), "0\n").unwrap();
        let expected = [
            ("ssh-root-login", "pass", "fail"),
            ("sudo-nopasswd", "pass", "fail"),
            ("account-root-id", "pass", "fail"),
            ("kernel-aslr", "pass", "fail"),
        ];
        for (id, before, _) in expected {
            assert_eq!(verdict(&findings, id), before, "{id}");
        }
        let changed = watched.look(&root);
        let (judged, other) = judge_again(&root, &mut findings, &changed, NOW);
        assert!(other && judged > 4 && judged < findings.len() / 2, "{judged}: {changed:?}");
        for (id, _, after) in expected {
            assert_eq!(verdict(&findings, id), after, "{id}");
        }
        // Nothing changed since, and what changes without another verdict tells nothing.
        assert!(watched.look(&root).is_empty());
        fs::write(path("etc/sudoers"), "Defaults use_pty\n# a word\n").unwrap();
        let changed = watched.look(&root);
        assert_eq!(changed.iter().collect::<Vec<_>>(), ["/etc/sudoers"]);
        assert!(!judge_again(&root, &mut findings, &changed, NOW).1);
    }

    #[test]
    fn every_check_reads_something_or_waits_for_the_daily_audit() {
        for check in Catalogue::shipped().unwrap().checks() {
            let waits = |probe: &Probe| {
                let of_no_file = ["PortsClosed", "Tree", "Boot", "Firewall"];
                let kind = format!("{probe:?}").trim_start_matches("All { of: [").to_owned();
                of_no_file.iter().any(|own| kind.starts_with(own))
            };
            assert!(!reads(check).is_empty() || waits(&check.test), "{}", check.id);
        }
    }
}
