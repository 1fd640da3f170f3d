//! Checks of all files of the local disks. They are walked once, for all checks.

use std::collections::BTreeSet;

use rustix::fs::FileType;

use super::super::probe::TreeRule;
use super::{Facts, Verdict, none_of};
use crate::inventory::mounts;
use crate::inventory::root::{Meta, Unseen};

/// Most files and folders that are looked at.
const MAX_FILES: u64 = 5_000_000;
/// Most folders that wait to be looked into.
const MAX_WAITING: usize = 1_000_000;
/// Most findings that are kept of each kind.
const MAX_FOUND: usize = 1_000;
/// What is no part of the machine itself: the kernel's, and files of containers.
const SKIPPED: [&str; 9] = [
    "/proc",
    "/sys",
    "/dev",
    "/var/lib/docker",
    "/var/lib/containerd",
    "/var/lib/containers",
    "/var/lib/lxc",
    "/var/lib/lxd",
    "/var/lib/machines",
];

/// What a walk has seen.
#[derive(Debug, Default)]
pub(super) struct Seen {
    world_writable: Vec<String>,
    not_sticky: Vec<String>,
    not_owned: Vec<String>,
    /// Programs with the rights of their owner or group.
    setuid: Vec<(String, Meta)>,
    /// Folders that we may not look into.
    hidden: u64,
    /// Why the walk did not see all.
    cut: Option<String>,
}

impl Facts<'_> {
    /// A rule about all files.
    pub(super) fn tree_rule(&self, rule: TreeRule, known: &[String]) -> Verdict {
        let seen = self.tree.get_or_init(|| self.walk());
        let programs = |wanted: &dyn Fn(&str, &Meta) -> bool| -> Vec<String> {
            let bad = seen.setuid.iter().filter(|(path, meta)| wanted(path, meta));
            bad.map(|(path, meta)| {
                format!("{path} ({:04o} {})", meta.mode, self.user_name(meta.uid))
            })
            .collect()
        };
        let bad = match rule {
            TreeRule::NoWorldWritable => seen.world_writable.clone(),
            TreeRule::StickyFolders => seen.not_sticky.clone(),
            TreeRule::Owned => match self.accounts() {
                Ok(_) => seen.not_owned.clone(),
                Err(reason) => return Verdict::NotJudged(reason.to_string()),
            },
            TreeRule::KnownSetuid => programs(&|path, _| {
                let name = path.rsplit('/').next().unwrap_or_default();
                !known.iter().any(|known| match known.starts_with('/') {
                    true => known == path,
                    false => known == name,
                })
            }),
            TreeRule::SetuidProtected => programs(&|_, meta| meta.mode & 0o022 != 0),
        };
        let verdict = none_of(&bad, "none was found");
        match (&verdict, &seen.cut) {
            (Verdict::Pass(_), Some(why)) => Verdict::NotJudged(why.clone()),
            (Verdict::Pass(_), None) if seen.hidden > 0 => Verdict::NotJudged(format!(
                "{} folders may be looked into by root alone",
                seen.hidden
            )),
            _ => verdict,
        }
    }

    /// Walks the local disks.
    fn walk(&self) -> Seen {
        let mut seen = Seen::default();
        let Ok(top) = self.root.meta("/") else {
            seen.cut = Some("the root folder cannot be opened".to_owned());
            return seen;
        };
        let mut devices = BTreeSet::from([top.device]);
        if self.root.is_running() {
            for mount in self.mounts().unwrap_or_default() {
                if mounts::is_local_disk(mount)
                    && let Ok(meta) = self.root.meta(&mount.path)
                {
                    devices.insert(meta.device);
                }
            }
        }
        let (users, groups) = match self.accounts() {
            Ok(accounts) => (
                accounts.accounts.iter().map(|account| account.uid).collect::<BTreeSet<u32>>(),
                accounts.groups.iter().map(|group| group.gid).collect::<BTreeSet<u32>>(),
            ),
            Err(_) => Default::default(),
        };
        let mut waiting = vec![String::new()];
        let mut count = 0u64;
        while let Some(folder) = waiting.pop() {
            let path = if folder.is_empty() { "/" } else { folder.as_str() };
            let looked = self.root.each(path, |name, meta| {
                count += 1;
                let path = || format!("{folder}/{name}");
                if meta.is_dir() {
                    let inner = path();
                    let enter = devices.contains(&meta.device)
                        && !SKIPPED.contains(&inner.as_str())
                        && waiting.len() < MAX_WAITING;
                    if meta.mode & 0o1002 == 0o002 {
                        keep(&mut seen.not_sticky, inner.clone());
                    }
                    if enter {
                        waiting.push(inner);
                    }
                }
                if meta.is_file() && meta.mode & 0o002 != 0 {
                    keep(&mut seen.world_writable, path());
                }
                if meta.is_file() && meta.mode & 0o6000 != 0 && seen.setuid.len() < MAX_FOUND {
                    seen.setuid.push((path(), meta));
                }
                let owned = users.contains(&meta.uid) && groups.contains(&meta.gid);
                let by_root = meta.uid == 0 && meta.gid == 0;
                if !owned && !by_root && meta.kind != FileType::Symlink {
                    keep(&mut seen.not_owned, format!("{} ({}:{})", path(), meta.uid, meta.gid));
                }
            });
            match looked {
                Ok(()) | Err(Unseen::Missing | Unseen::NotRunning) => {}
                Err(_) => seen.hidden += 1,
            }
            if count > MAX_FILES {
                seen.cut = Some(format!("there are more than {MAX_FILES} files"));
                break;
            }
        }
        for list in [&mut seen.world_writable, &mut seen.not_sticky, &mut seen.not_owned] {
            list.sort();
        }
        seen.setuid.sort_by(|one, other| one.0.cmp(&other.0));
        seen
    }
}

fn keep(list: &mut Vec<String>, path: String) {
    if list.len() < MAX_FOUND {
        list.push(path);
    }
}
