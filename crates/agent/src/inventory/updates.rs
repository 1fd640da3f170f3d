//! Packages that have a newer version, as the lists say that apt has fetched.

use std::collections::HashMap;

use super::packages::{Manager, Packages, each_line};
use super::root::{Root, Unseen};
use super::unpack::unpacked;
use super::version;

/// Most updates that are kept.
pub(crate) const MAX_UPDATES: usize = 5_000;
/// Lists, plain and in the forms that apt packs them.
const LISTS: [&str; 5] = [
    "/var/lib/apt/lists/*_Packages",
    "/var/lib/apt/lists/*_Packages.lz4",
    "/var/lib/apt/lists/*_Packages.gz",
    "/var/lib/apt/lists/*_Packages.xz",
    "/var/lib/apt/lists/*_Packages.zst",
];

/// A package that has a newer version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Update {
    pub(crate) name: String,
    pub(crate) installed: String,
    pub(crate) available: String,
    /// Whether the newest version comes from an archive of security updates.
    pub(crate) security: bool,
}

/// Updates by name, and how many were left out.
#[derive(Clone, Debug, Default)]
pub(crate) struct Updates {
    pub(crate) list: Vec<Update>,
    pub(crate) left_out: usize,
    /// Whether one of the lists is of an archive of security updates.
    pub(crate) knows_security: bool,
}

/// What has a newer version. Reads lists of many megabytes, line by line.
///
/// # Errors
/// There are no lists, or one cannot be read or unpacked.
pub(crate) fn pending(root: &Root, packages: &Packages) -> Result<Updates, Unseen> {
    if packages.manager != Manager::Dpkg {
        return Err(Unseen::Other("of updates only apt's lists are read".to_owned()));
    }
    let lists: Vec<String> = LISTS.iter().flat_map(|pattern| root.glob(pattern).0).collect();
    if lists.is_empty() {
        return Err(Unseen::Other("apt has fetched no lists of packages".to_owned()));
    }
    let mut newest: HashMap<String, (String, bool)> =
        packages.list.iter().map(|p| (key(&p.name, &p.arch), (p.version.clone(), false))).collect();
    for path in &lists {
        let security = path.contains("security");
        let (mut name, mut arch, mut available) = (String::new(), String::new(), String::new());
        let mut take = |name: &str, arch: &str, available: &str| {
            if let Some((known, from_security)) = newest.get_mut(&key(name, arch)) {
                match version::compare(available, known) {
                    std::cmp::Ordering::Greater => {
                        available.clone_into(known);
                        *from_security = security;
                    }
                    std::cmp::Ordering::Equal => *from_security |= security,
                    std::cmp::Ordering::Less => {}
                }
            }
        };
        let list = unpacked(root.open(path)?)
            .map_err(|error| Unseen::Other(format!("{path} cannot be read: {error}")))?;
        each_line(list, |line| {
            if line.is_empty() {
                take(&name, &arch, &available);
            } else if let Some(value) = line.strip_prefix("Package: ") {
                value.clone_into(&mut name);
            } else if let Some(value) = line.strip_prefix("Architecture: ") {
                value.clone_into(&mut arch);
            } else if let Some(value) = line.strip_prefix("Version: ") {
                value.clone_into(&mut available);
            }
        })?;
        take(&name, &arch, &available);
    }
    let knows_security = lists.iter().any(|path| path.contains("security"));
    let mut found = Updates { knows_security, ..Updates::default() };
    for package in &packages.list {
        let Some((available, security)) = newest.get(&key(&package.name, &package.arch)) else {
            continue;
        };
        if version::compare(available, &package.version).is_gt() {
            if found.list.len() >= MAX_UPDATES {
                found.left_out += 1;
                continue;
            }
            found.list.push(Update {
                name: package.name.clone(),
                installed: package.version.clone(),
                available: available.clone(),
                security: *security,
            });
        }
    }
    Ok(found)
}

fn key(name: &str, arch: &str) -> String {
    format!("{name}:{arch}")
}

#[cfg(test)]
mod tests {
    use super::super::unpack::tests::forms;
    use super::*;

    #[test]
    fn lists_are_read_however_apt_keeps_them() {
        let status = "Package: openssl\nStatus: install ok installed\nArchitecture: amd64\nVersion: 3.0.11-1\n\n";
        let list = "Package: openssl\nArchitecture: amd64\nVersion: 3.0.15-1\n\n";
        for (end, packed) in forms(list.as_bytes()) {
            let folder = tempfile::tempdir().unwrap();
            let lists = folder.path().join("var/lib/apt/lists");
            std::fs::create_dir_all(&lists).unwrap();
            std::fs::create_dir_all(folder.path().join("var/lib/dpkg")).unwrap();
            std::fs::write(folder.path().join("var/lib/dpkg/status"), status).unwrap();
            let name = format!("deb.debian.org_debian-security_dists_x_main_Packages{end}");
            std::fs::write(lists.join(&name), &packed).unwrap();
            let root = Root::folder(folder.path()).unwrap();
            let packages = Packages::read(&root).unwrap();
            let found = pending(&root, &packages).unwrap();
            let expected = Update {
                name: "openssl".into(),
                installed: "3.0.11-1".into(),
                available: "3.0.15-1".into(),
                security: true,
            };
            assert_eq!((&found.list[..], found.left_out), (&[expected][..], 0), "{end}");
            // Half of a list would hide updates, so it is no answer.
            if !end.is_empty() {
                std::fs::write(lists.join(&name), &packed[..packed.len() / 2]).unwrap();
                assert!(pending(&root, &packages).is_err(), "{end}");
            }
        }
    }
}
