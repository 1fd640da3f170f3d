//! The settings that OpenSSH's server really uses: as it says itself, else as its
//! files say (sshd_config(5)), where the first value of a key counts.

use std::collections::BTreeMap;

use super::{Facts, Judged, Verdict, Want, compare};
use crate::inventory::root::{Root, Unseen};
use crate::inventory::tool::Tool;

/// The server's settings.
const CONFIG: &str = "/etc/ssh/sshd_config";
/// How deep files may include others, and how many there may be.
const MAX_DEPTH: usize = 16;
const MAX_FILES: usize = 256;

/// Settings by key in lower case.
#[derive(Debug)]
pub(super) struct Effective {
    values: BTreeMap<String, String>,
    /// Whether the server itself said so, so that also defaults are there.
    complete: bool,
}

impl Effective {
    fn read(root: &Root) -> Result<Self, Unseen> {
        match root.ask(Tool::Sshd) {
            Ok(text) => {
                let mut values = BTreeMap::new();
                for line in text.lines() {
                    let (key, value) = line.split_once(' ').unwrap_or((line, ""));
                    values.entry(key.to_lowercase()).or_insert_with(|| value.trim().to_owned());
                }
                Ok(Self { values, complete: true })
            }
            Err(reason) => {
                let mut files = Files { root, values: BTreeMap::new(), read: 0 };
                match files.read(CONFIG, 0) {
                    Ok(()) => Ok(Self { values: files.values, complete: false }),
                    // What the server itself was asked for says more.
                    Err(_) if root.is_running() => Err(reason),
                    Err(why) => Err(why),
                }
            }
        }
    }
}

struct Files<'a> {
    root: &'a Root,
    values: BTreeMap<String, String>,
    read: usize,
}

impl Files<'_> {
    fn read(&mut self, path: &str, depth: usize) -> Result<(), Unseen> {
        self.read += 1;
        if depth > MAX_DEPTH || self.read > MAX_FILES {
            return Err(Unseen::Other(format!("{CONFIG} includes too many files")));
        }
        let text = self.root.read(path)?;
        for line in text.lines() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let end = line.find(|c: char| c.is_whitespace() || c == '=').unwrap_or(line.len());
            let (key, rest) = line.split_at(end);
            let value = rest.trim_start_matches(|c: char| c.is_whitespace() || c == '=').trim();
            match key.to_lowercase().as_str() {
                // What follows is for some clients alone.
                "match" => break,
                "include" => {
                    for pattern in value.split_whitespace() {
                        let pattern = match pattern.starts_with('/') {
                            true => pattern.to_owned(),
                            false => format!("/etc/ssh/{pattern}"),
                        };
                        let (paths, hidden) = self.root.glob(&pattern);
                        if let Some(reason) = hidden {
                            return Err(reason);
                        }
                        for path in paths {
                            self.read(&path, depth + 1)?;
                        }
                    }
                }
                key => {
                    let value = value.trim_matches('"').to_owned();
                    self.values.entry(key.to_owned()).or_insert(value);
                }
            }
        }
        Ok(())
    }
}

impl Facts<'_> {
    /// A value of the server's settings.
    pub(super) fn sshd(&self, key: &str, want: &Want, default: Option<&str>) -> Judged {
        let effective = self.sshd.get_or_init(|| Effective::read(self.root));
        let effective = effective.as_ref().map_err(Clone::clone)?;
        match (effective.values.get(key), default) {
            (Some(value), _) => compare(key, &plain(key, value), want),
            // Lists that are empty are not printed.
            (None, Some(default)) => compare(&format!("{key} (OpenSSH's default)"), default, want),
            (None, _) if effective.complete => {
                Ok(Verdict::NotApplicable(format!("this server does not know {key}")))
            }
            (None, _) => Err(Unseen::Other(format!(
                "{key} is not set, and only the running server tells its default"
            ))),
        }
    }
}

/// Times in seconds and other names of one value, as the server prints them.
fn plain(key: &str, value: &str) -> String {
    match (key, value) {
        ("permitrootlogin", "without-password") => "prohibit-password".to_owned(),
        ("logingracetime" | "clientaliveinterval", text) => {
            let seconds = seconds(text);
            seconds.map_or_else(|| text.to_owned(), |seconds| seconds.to_string())
        }
        (_, text) => text.to_owned(),
    }
}

/// `90`, `2m`, `1h30m` in seconds.
fn seconds(text: &str) -> Option<u64> {
    let (mut total, mut number) = (0u64, String::new());
    for c in text.chars() {
        if c.is_ascii_digit() {
            number.push(c);
            continue;
        }
        let unit = match c.to_ascii_lowercase() {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 86_400,
            'w' => 604_800,
            _ => return None,
        };
        total = total.checked_add(number.parse::<u64>().ok()?.checked_mul(unit)?)?;
        number.clear();
    }
    if number.is_empty() { Some(total) } else { total.checked_add(number.parse().ok()?) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_value_counts_also_of_included_files_and_matches_do_not() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("etc/ssh/sshd_config.d")).unwrap();
        let write = |name: &str, text: &str| {
            std::fs::write(folder.path().join("etc/ssh").join(name), text).unwrap();
        };
        write(
            "sshd_config",
            "Include sshd_config.d/*.conf\nPermitRootLogin yes\nLoginGraceTime=1m30s\n# X\nMatch User a\nX11Forwarding yes\n",
        );
        write("sshd_config.d/10.conf", "permitrootlogin no\n");
        let found = Effective::read(&Root::folder(folder.path()).unwrap()).unwrap();
        assert_eq!(found.values["permitrootlogin"], "no");
        assert_eq!(plain("logingracetime", &found.values["logingracetime"]), "90");
        assert!(!found.values.contains_key("x11forwarding") && !found.complete);
        write("sshd_config.d/20.conf", "Include /etc/ssh/sshd_config\n");
        assert!(Effective::read(&Root::folder(folder.path()).unwrap()).is_err());
    }
}
