//! Judges checks: what a probe asks, answered from the files of a machine. What
//! several checks need is read once.

mod accounts;
mod files;
mod firewall;
mod homes;
mod sshd;
mod sysctl;
mod system;
mod tree;
mod updates;

use std::cell::OnceCell;

use palisade_event::Timestamp;

use super::catalogue::{Check, System};
use super::probe::{Probe, Want};
use super::report::Verdict;
use crate::inventory::accounts::Accounts;
use crate::inventory::mounts::{self, Mount};
use crate::inventory::packages::Packages;
use crate::inventory::root::{Root, Unseen};
use crate::inventory::sockets::{self, Sockets};

/// Longest evidence, in characters.
const MAX_EVIDENCE_CHARS: usize = 600;
/// Most things that evidence names.
const MAX_NAMED: usize = 8;

/// What is known of the machine; each part is read when it is first asked for.
#[derive(Debug)]
pub(super) struct Facts<'a> {
    root: &'a Root,
    now: Timestamp,
    release: OnceCell<Vec<(String, String)>>,
    accounts: OnceCell<Result<Accounts, Unseen>>,
    mounts: OnceCell<Result<Vec<Mount>, Unseen>>,
    packages: OnceCell<Result<Packages, Unseen>>,
    sockets: OnceCell<Result<Sockets, Unseen>>,
    sshd: OnceCell<Result<sshd::Effective, Unseen>>,
    sysctl: OnceCell<sysctl::Files>,
    tree: OnceCell<tree::Seen>,
}

impl<'a> Facts<'a> {
    pub(super) fn new(root: &'a Root, now: Timestamp) -> Self {
        Self {
            root,
            now,
            release: OnceCell::new(),
            accounts: OnceCell::new(),
            mounts: OnceCell::new(),
            packages: OnceCell::new(),
            sockets: OnceCell::new(),
            sshd: OnceCell::new(),
            sysctl: OnceCell::new(),
            tree: OnceCell::new(),
        }
    }

    pub(super) fn root(&self) -> &'a Root {
        self.root
    }

    fn accounts(&self) -> Result<&Accounts, Unseen> {
        self.accounts.get_or_init(|| Accounts::read(self.root)).as_ref().map_err(Clone::clone)
    }

    fn mounts(&self) -> Result<&[Mount], Unseen> {
        let mounts = self.mounts.get_or_init(|| mounts::read(self.root));
        mounts.as_deref().map_err(Clone::clone)
    }

    fn packages(&self) -> Result<&Packages, Unseen> {
        self.packages.get_or_init(|| Packages::read(self.root)).as_ref().map_err(Clone::clone)
    }

    fn sockets(&self) -> Result<&Sockets, Unseen> {
        self.sockets.get_or_init(|| sockets::read(self.root)).as_ref().map_err(Clone::clone)
    }

    /// What the system says it is (os-release(5)).
    fn release(&self, key: &str) -> &str {
        let lines = self.release.get_or_init(|| {
            let text = self.root.read("/etc/os-release");
            let text = text.or_else(|_| self.root.read("/usr/lib/os-release")).unwrap_or_default();
            let pairs = text.lines().filter_map(|line| line.split_once('='));
            pairs
                .map(|(k, v)| (k.trim().to_owned(), v.trim().trim_matches(['"', '\'']).to_owned()))
                .collect()
        });
        lines.iter().find(|(own, _)| own == key).map_or("", |(_, value)| value.as_str())
    }

    /// The system, as it names itself.
    pub(super) fn system_name(&self) -> String {
        let name = self.release("PRETTY_NAME");
        if name.is_empty() { "an unknown Linux".to_owned() } else { name.to_owned() }
    }

    /// The machine's own name.
    pub(super) fn host_name(&self) -> String {
        let name = self.root.read_value("/proc/sys/kernel/hostname");
        let name = name.or_else(|_| self.root.read_value("/etc/hostname")).unwrap_or_default();
        if name.is_empty() { "unknown".to_owned() } else { name }
    }

    /// The kind of the system, where checks are written for it.
    fn system(&self) -> Option<System> {
        let names = format!("{} {}", self.release("ID"), self.release("ID_LIKE"));
        let mut names = names.split_whitespace();
        names.find_map(|name| match name {
            "debian" | "ubuntu" => Some(System::Debian),
            "rhel" | "fedora" | "centos" | "rocky" | "almalinux" | "ol" | "amzn" => {
                Some(System::Rhel)
            }
            _ => None,
        })
    }

    /// What becomes of a check.
    pub(super) fn verdict(&self, check: &Check) -> Verdict {
        if !check.systems.is_empty()
            && !self.system().is_some_and(|own| check.systems.contains(&own))
        {
            return Verdict::NotApplicable(format!("not for {}", self.system_name()));
        }
        let condition = check.when.as_ref().map(|when| self.judge(when));
        let verdict = match condition {
            Some(Verdict::Fail(why) | Verdict::NotApplicable(why)) => Verdict::NotApplicable(why),
            Some(Verdict::NotJudged(why)) => Verdict::NotJudged(why),
            Some(Verdict::Pass(_)) | None => self.judge(&check.test),
        };
        match verdict {
            Verdict::Pass(text) => Verdict::Pass(short(&text)),
            Verdict::Fail(text) => Verdict::Fail(short(&text)),
            Verdict::NotJudged(text) => Verdict::NotJudged(short(&text)),
            Verdict::NotApplicable(text) => Verdict::NotApplicable(short(&text)),
        }
    }

    fn judge(&self, probe: &Probe) -> Verdict {
        let judged = match probe {
            Probe::Sshd { key, want, default } => self.sshd(key, want, default.as_deref()),
            Probe::Sysctl { keys, want } => self.sysctl(keys, want),
            Probe::Setting { .. } => self.setting(probe),
            Probe::Line { .. } => self.line(probe),
            Probe::File { .. } => self.file(probe),
            Probe::Exists { paths, there } => Ok(self.exists(paths, *there)),
            Probe::Mount { path, option } => self.mount(path, option.as_deref()),
            Probe::Package { names, installed } => self.package(names, *installed),
            Probe::Unit { names, enabled } => self.unit(names, *enabled),
            Probe::Accounts { rule, limit } => self.account_rule(*rule, *limit),
            Probe::ModuleOff { names } => self.module_off(names),
            Probe::PortsClosed { protocol, ports } => self.ports_closed(*protocol, ports),
            Probe::Tree { rule, known } => Ok(self.tree_rule(*rule, known)),
            Probe::Boot { parameter, want } => self.boot(parameter, want),
            Probe::Firewall { rule } => self.firewall(*rule),
            Probe::Updates { rule } => self.update_rule(*rule),
            Probe::All { of } => Ok(self.all(of)),
            Probe::Any { of } => Ok(self.any(of)),
        };
        judged.unwrap_or_else(|reason| Verdict::NotJudged(reason.to_string()))
    }

    /// Every part must pass; what does not apply is no part.
    fn all(&self, parts: &[Probe]) -> Verdict {
        let (mut passed, mut unjudged, mut idle) = (Vec::new(), None, None);
        for part in parts {
            match self.judge(part) {
                Verdict::Fail(why) => return Verdict::Fail(why),
                Verdict::Pass(seen) => passed.push(seen),
                Verdict::NotJudged(why) => unjudged = unjudged.or(Some(why)),
                Verdict::NotApplicable(why) => idle = idle.or(Some(why)),
            }
        }
        match (unjudged, idle) {
            (Some(why), _) => Verdict::NotJudged(why),
            (None, Some(why)) if passed.is_empty() => Verdict::NotApplicable(why),
            _ => Verdict::Pass(passed.join("; ")),
        }
    }

    /// One part must pass.
    fn any(&self, parts: &[Probe]) -> Verdict {
        let (mut failed, mut unjudged, mut idle) = (Vec::new(), None, None);
        for part in parts {
            match self.judge(part) {
                Verdict::Pass(seen) => return Verdict::Pass(seen),
                Verdict::Fail(why) => failed.push(why),
                Verdict::NotJudged(why) => unjudged = unjudged.or(Some(why)),
                Verdict::NotApplicable(why) => idle = idle.or(Some(why)),
            }
        }
        match (unjudged, idle) {
            (Some(why), _) => Verdict::NotJudged(why),
            (None, Some(why)) if failed.is_empty() => Verdict::NotApplicable(why),
            _ => Verdict::Fail(failed.join("; ")),
        }
    }
}

/// What a judge says, or why it could not look.
type Judged = Result<Verdict, Unseen>;

/// A value against what is wanted.
fn compare(what: &str, value: &str, want: &Want) -> Judged {
    match want.holds(value) {
        Ok(true) => Ok(Verdict::Pass(format!("{what} is {}", shown(value)))),
        Ok(false) => {
            Ok(Verdict::Fail(format!("{what} is {}, wanted: {}", shown(value), want.words())))
        }
        Err(mistake) => Err(Unseen::Other(mistake)),
    }
}

fn shown(value: &str) -> &str {
    if value.is_empty() { "empty" } else { value }
}

/// Pass where nothing bad is named, else fail with the first of it.
fn none_of(bad: &[String], good: &str) -> Verdict {
    if bad.is_empty() {
        return Verdict::Pass(good.to_owned());
    }
    Verdict::Fail(several(bad))
}

/// The first of several things, and how many more there are.
fn several(things: &[String]) -> String {
    let named = things.iter().take(MAX_NAMED).cloned().collect::<Vec<_>>().join(", ");
    match things.len().saturating_sub(MAX_NAMED) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

fn short(text: &str) -> String {
    if text.chars().count() <= MAX_EVIDENCE_CHARS {
        return text.to_owned();
    }
    text.chars().take(MAX_EVIDENCE_CHARS - 1).chain(['…']).collect()
}
