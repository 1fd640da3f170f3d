//! Units of systemd, as the files say: which are there, which are started at boot.

use super::root::{Root, Unseen};

/// Folders with units, those that count more first.
pub(crate) const FOLDERS: [&str; 5] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];

/// What is known of a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// There is no such unit.
    Absent,
    /// It can never be started: a link to `/dev/null`.
    Masked,
    /// It is there and nothing starts it at boot.
    Disabled,
    /// It is started at boot, or when somebody connects.
    Enabled,
}

/// What the files say of a unit, such as `ssh.service`.
pub(crate) fn state(root: &Root, unit: &str) -> Result<State, Unseen> {
    let there = FOLDERS.iter().find(|folder| root.exists(&format!("{folder}/{unit}")));
    // A script of the old form, that systemd makes a unit of.
    let script = unit.strip_suffix(".service").map(|name| format!("/etc/init.d/{name}"));
    let script = script.filter(|path| root.exists(path));
    let Some(folder) = there else {
        return match &script {
            None => Ok(State::Absent),
            Some(path) => {
                let name = path.rsplit('/').next().unwrap_or_default();
                let (started, _) = root.glob(&format!("/etc/rc[2345].d/S[0-9][0-9]{name}"));
                Ok(if started.is_empty() { State::Disabled } else { State::Enabled })
            }
        };
    };
    let path = format!("{folder}/{unit}");
    if root.link_target(&path).is_ok_and(|target| target == "/dev/null") {
        return Ok(State::Masked);
    }
    for top in ["/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"] {
        for kind in ["wants", "requires", "upholds"] {
            let (links, hidden) = root.glob(&format!("{top}/*.{kind}/{unit}"));
            if !links.is_empty() {
                return Ok(State::Enabled);
            }
            if let Some(reason) = hidden {
                return Err(reason);
            }
        }
    }
    // Enabled under another name: `dbus-org.freedesktop.timesync1.service`.
    let (entries, _) = root.list("/etc/systemd/system").unwrap_or_default();
    let alias = entries.iter().filter(|(name, _)| name != unit).any(|(name, _)| {
        let target = root.link_target(&format!("/etc/systemd/system/{name}"));
        target.is_ok_and(|target| target.rsplit('/').next() == Some(unit))
    });
    Ok(if alias { State::Enabled } else { State::Disabled })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_unit_is_absent_disabled_enabled_or_masked() {
        let folder = tempfile::tempdir().unwrap();
        let at = |path: &str| folder.path().join(path);
        std::fs::create_dir_all(at("lib/systemd/system")).unwrap();
        std::fs::create_dir_all(at("etc/systemd/system/multi-user.target.wants")).unwrap();
        std::fs::create_dir_all(at("etc/init.d")).unwrap();
        std::fs::create_dir_all(at("etc/rc3.d")).unwrap();
        for unit in ["a.service", "b.service", "c.service", "d.service"] {
            std::fs::write(at("lib/systemd/system").join(unit), "").unwrap();
        }
        let wants = at("etc/systemd/system/multi-user.target.wants/b.service");
        symlink("/lib/systemd/system/b.service", wants).unwrap();
        symlink("/dev/null", at("etc/systemd/system/c.service")).unwrap();
        symlink("/lib/systemd/system/d.service", at("etc/systemd/system/alias.service")).unwrap();
        std::fs::write(at("etc/init.d/old"), "").unwrap();
        std::fs::write(at("etc/rc3.d/S01old"), "").unwrap();
        let root = Root::folder(folder.path()).unwrap();
        let state = |unit| state(&root, unit).unwrap();
        assert_eq!(state("none.service"), State::Absent);
        assert_eq!(state("a.service"), State::Disabled);
        assert_eq!(state("b.service"), State::Enabled);
        assert_eq!(state("c.service"), State::Masked);
        assert_eq!(state("d.service"), State::Enabled);
        assert_eq!(state("old.service"), State::Enabled);
    }
}
