//! Checks of updates.

use super::super::probe::UpdateRule;
use super::{Facts, Judged, Verdict, none_of};
use crate::inventory::packages::Manager;
use crate::inventory::root::Unseen;
use crate::inventory::updates;
use crate::inventory::version;

/// Oldest lists of packages that are called fresh, in days.
const FRESH_DAYS: i64 = 7;
/// Most processes whose libraries are looked at.
const MAX_PROCESSES: usize = 10_000;

impl Facts<'_> {
    /// A rule about updates.
    pub(super) fn update_rule(&self, rule: UpdateRule) -> Judged {
        match rule {
            UpdateRule::NoneForSecurity => {
                let pending = updates::pending(self.root, self.packages()?)?;
                if !pending.knows_security {
                    return Err(Unseen::Other(
                        "none of the lists is of an archive of security updates".to_owned(),
                    ));
                }
                let pending = pending.list.iter().filter(|update| update.security);
                let named: Vec<String> = pending
                    .map(|update| {
                        format!("{} {} → {}", update.name, update.installed, update.available)
                    })
                    .collect();
                Ok(none_of(&named, "no security update is pending, as the lists say"))
            }
            UpdateRule::ListsFresh => self.lists_fresh(),
            UpdateRule::NewestKernelRuns => self.newest_kernel(),
            UpdateRule::NoRestartNeeded => self.restart_needed(),
        }
    }

    fn lists_fresh(&self) -> Judged {
        let places: &[&str] = match self.packages()?.manager {
            Manager::Dpkg => {
                &["/var/lib/apt/periodic/update-success-stamp", "/var/lib/apt/lists/*Release"]
            }
            Manager::Rpm => &[
                "/var/cache/dnf/*/repodata/repomd.xml",
                "/var/cache/libdnf5/*/repodata/repomd.xml",
                "/var/cache/yum/*/*/repomd.xml",
            ],
            Manager::Apk => &["/var/cache/apk/APKINDEX*", "/lib/apk/db/installed"],
        };
        let mut newest = None;
        for pattern in places {
            let (paths, hidden) = self.root.glob(pattern);
            if let Some(reason) = hidden {
                return Err(reason);
            }
            let times = paths.iter().filter_map(|path| self.root.meta(path).ok());
            newest = newest.max(times.map(|meta| meta.modified).max());
        }
        let Some(newest) = newest else {
            return Ok(Verdict::Fail("there are no lists of packages".to_owned()));
        };
        // A clock that is off by years makes them as old, not younger than new.
        let days = (self.now.as_millis() / 1000 - newest).max(0) / 86_400;
        let seen = format!("the lists of packages are {days} days old");
        Ok(if days > FRESH_DAYS { Verdict::Fail(seen) } else { Verdict::Pass(seen) })
    }

    fn newest_kernel(&self) -> Judged {
        let running = self.root.read_value("/proc/sys/kernel/osrelease")?;
        let (images, hidden) = self.root.glob("/boot/vmlinuz-*");
        if let Some(reason) = hidden {
            return Err(reason);
        }
        let names = images.iter().filter_map(|path| path.strip_prefix("/boot/vmlinuz-"));
        let newest = names
            .filter(|name| !name.contains("rescue"))
            .max_by(|one, other| version::compare(one, other));
        Ok(match newest {
            None => Verdict::NotApplicable("no kernel is installed here".to_owned()),
            Some(newest) if version::compare(newest, &running).is_gt() => {
                Verdict::Fail(format!("{running} runs and {newest} is installed"))
            }
            Some(_) => Verdict::Pass(format!("{running} is the newest kernel here")),
        })
    }

    fn restart_needed(&self) -> Judged {
        if !self.root.is_running() {
            return Err(Unseen::NotRunning);
        }
        if self.root.exists("/run/reboot-required") {
            let packages = self.root.read("/run/reboot-required.pkgs").unwrap_or_default();
            let packages: Vec<&str> = packages.lines().take(8).collect();
            return Ok(Verdict::Fail(format!(
                "a restart was asked for by {}",
                packages.join(", ")
            )));
        }
        let (processes, _) = self.root.list("/proc")?;
        let (mut old, mut hidden) = (Vec::new(), false);
        let pids = processes.iter().filter(|(name, _)| name.bytes().all(|b| b.is_ascii_digit()));
        for (pid, _) in pids.take(MAX_PROCESSES) {
            let maps = match self.root.read(&format!("/proc/{pid}/maps")) {
                Ok(maps) => maps,
                Err(Unseen::Denied(_)) => {
                    hidden = true;
                    continue;
                }
                Err(_) => continue,
            };
            let replaced = maps.lines().find(|line| {
                line.ends_with(" (deleted)") && line.contains("/lib") && line.contains(".so")
            });
            if let Some(line) = replaced {
                let name = self.root.read_value(&format!("/proc/{pid}/comm")).unwrap_or_default();
                let path = line.split_whitespace().rev().nth(1).unwrap_or_default();
                let file = path.rsplit('/').next().unwrap_or_default();
                old.push(format!("{name} ({pid}) uses the replaced {file}"));
            }
        }
        if old.is_empty() && hidden {
            return Err(Unseen::Denied("what processes use".to_owned()));
        }
        Ok(none_of(&old, "no process uses a library that was replaced"))
    }
}
