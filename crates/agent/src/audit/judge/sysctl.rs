//! Settings of the kernel: those in force where it runs, else those that files set
//! at boot (sysctl.d(5)).

use std::collections::BTreeMap;

use super::{Facts, Judged, Verdict, Want, compare, several};
use crate::inventory::root::{Root, Unseen};

/// Folders, those that count more last.
const FOLDERS: [&str; 4] =
    ["/usr/lib/sysctl.d", "/lib/sysctl.d", "/usr/local/lib/sysctl.d", "/etc/sysctl.d"];

/// What files set: keys with dots, patterns among them, in the order of reading.
#[derive(Debug, Default)]
pub(super) struct Files {
    set: Vec<(String, String, String)>,
}

impl Files {
    fn read(root: &Root) -> Self {
        // Of files of one name only that of the last folder is read.
        let mut by_name = BTreeMap::new();
        for folder in FOLDERS {
            let (paths, _) = root.glob(&format!("{folder}/*.conf"));
            for path in paths {
                let name = path.rsplit('/').next().unwrap_or_default().to_owned();
                by_name.insert(name, path);
            }
        }
        let mut files = Self::default();
        for path in by_name.into_values().chain(["/etc/sysctl.conf".to_owned()]) {
            for line in root.read(&path).unwrap_or_default().lines() {
                let line = line.trim();
                if line.starts_with(['#', ';']) {
                    continue;
                }
                if let Some((key, value)) = line.split_once('=') {
                    let key = key.trim().trim_start_matches('-').replace('/', ".");
                    files.set.push((key, words(value), path.clone()));
                }
            }
        }
        files
    }

    /// The value that holds after boot, and the file it is from.
    fn get(&self, key: &str) -> Option<(&str, &str)> {
        let exact = self.set.iter().rev().find(|(own, ..)| own == key);
        let matching = |(own, ..): &&(String, String, String)| {
            own.contains('*') && glob::Pattern::new(own).is_ok_and(|pattern| pattern.matches(key))
        };
        let found = exact.or_else(|| self.set.iter().rev().find(matching));
        found.map(|(_, value, path)| (value.as_str(), path.as_str()))
    }
}

fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

impl Facts<'_> {
    /// Settings of the kernel, all of them; one that this kernel does not have is none.
    pub(super) fn sysctl(&self, keys: &[String], want: &Want) -> Judged {
        let (mut passed, mut failed, mut absent) = (Vec::new(), Vec::new(), Vec::new());
        for key in keys {
            let judged = if self.root.is_running() {
                match self.root.read(&format!("/proc/sys/{}", key.replace('.', "/"))) {
                    Ok(text) => compare(key, &words(&text), want)?,
                    Err(Unseen::Missing) => {
                        absent.push(key.clone());
                        continue;
                    }
                    Err(reason) => return Err(reason),
                }
            } else {
                let files = self.sysctl.get_or_init(|| Files::read(self.root));
                let (value, path) = files.get(key).ok_or_else(|| {
                    Unseen::Other(format!("no file sets {key}, and only the running system knows"))
                })?;
                compare(&format!("{key} in {path}"), value, want)?
            };
            match judged {
                Verdict::Fail(why) => failed.push(why),
                Verdict::Pass(seen) => passed.push(seen),
                other => return Ok(other),
            }
        }
        Ok(if !failed.is_empty() {
            Verdict::Fail(several(&failed))
        } else if passed.is_empty() {
            Verdict::NotApplicable(format!("this kernel has no {}", several(&absent)))
        } else {
            Verdict::Pass(several(&passed))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_files_count_more_and_a_file_hides_one_of_its_name() {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in [
            ("usr/lib/sysctl.d/50-x.conf", "kernel.a = 1\nnet.ipv4.conf.*.rp_filter = 2\n"),
            ("usr/lib/sysctl.d/60-y.conf", "kernel.a = 2\nkernel.hidden=1\n"),
            ("etc/sysctl.d/60-y.conf", "# none\n-kernel/b = 1 \t 2\n"),
            ("etc/sysctl.conf", ";x\nkernel.c=3\n"),
        ] {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let files = Files::read(&Root::folder(folder.path()).unwrap());
        assert_eq!(files.get("kernel.a").unwrap().0, "1");
        assert_eq!(files.get("kernel.b").unwrap().0, "1 2");
        assert_eq!(files.get("kernel.hidden"), None);
        assert_eq!(files.get("net.ipv4.conf.all.rp_filter").unwrap().0, "2");
        assert_eq!(files.get("kernel.c").unwrap(), ("3", "/etc/sysctl.conf"));
    }
}
