//! Packages that have a newer version, as the lists say that apt has fetched.

use std::collections::HashMap;

use super::packages::{Manager, Packages, each_line};
use super::root::{Root, Unseen};
use super::version;

/// Most updates that are kept.
pub(crate) const MAX_UPDATES: usize = 5_000;
const LISTS: &str = "/var/lib/apt/lists";

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
}

/// What has a newer version. Reads lists of many megabytes, line by line.
///
/// # Errors
/// There are no lists, or they are in a form that is not read.
pub(crate) fn pending(root: &Root, packages: &Packages) -> Result<Updates, Unseen> {
    if packages.manager != Manager::Dpkg {
        return Err(Unseen::Other("of updates only apt's lists are read".to_owned()));
    }
    let (lists, _) = root.glob(&format!("{LISTS}/*_Packages"));
    if lists.is_empty() {
        let (packed, _) = root.glob(&format!("{LISTS}/*_Packages.*"));
        return Err(Unseen::Other(match packed.is_empty() {
            true => "apt has fetched no lists of packages".to_owned(),
            false => "apt's lists of packages are kept packed".to_owned(),
        }));
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
        each_line(root.open(path)?, |line| {
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
    let mut found = Updates::default();
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
