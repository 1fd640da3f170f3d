//! What a persona is made of: a TOML file with pools to draw from (names,
//! processors, sizes) and templates of files. Shipped manifests are embedded;
//! an operator's folder may replace one and add files.

use std::collections::BTreeMap;

use serde::Deserialize;

/// A manifest. `@name@` in texts stands for a fact of the machine.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Manifest {
    /// The shipped manifest that this one changes.
    pub(crate) extends: Option<String>,
    /// `PRETTY_NAME` of os-release.
    pub(crate) pretty: String,
    /// `uname -r` and `-v` of kernels of this system.
    pub(crate) kernels: Vec<(String, String)>,
    /// Host names; `#` stands for a digit.
    pub(crate) hostnames: Vec<String>,
    /// Domains the host may be in.
    pub(crate) domains: Vec<String>,
    /// Names of people and services with a home.
    pub(crate) users: Vec<String>,
    /// Processors.
    pub(crate) cpus: Vec<CpuModel>,
    /// Numbers of processors.
    pub(crate) cores: Vec<u32>,
    /// Memory sizes in MiB.
    pub(crate) memory_mib: Vec<u32>,
    /// Sizes of the root disk in GiB.
    pub(crate) disk_gib: Vec<u32>,
    /// First halves of hardware addresses.
    pub(crate) makers: Vec<String>,
    /// Directories that hold nothing of their own.
    pub(crate) directories: Vec<String>,
    /// Programs by directory, separated by blanks.
    pub(crate) programs: BTreeMap<String, String>,
    /// Files.
    pub(crate) files: Vec<FileEntry>,
    /// Symbolic links.
    pub(crate) links: BTreeMap<String, String>,
    /// Kernel threads, separated by blanks.
    pub(crate) threads: String,
    /// Processes in the order they start.
    pub(crate) processes: Vec<ProcessEntry>,
}

/// A processor.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct CpuModel {
    pub(crate) vendor: String,
    pub(crate) name: String,
    pub(crate) family: u32,
    pub(crate) model: u32,
    pub(crate) stepping: u32,
    pub(crate) mhz: u32,
    pub(crate) cache_kb: u32,
    pub(crate) flags: String,
}

/// A file with its text.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FileEntry {
    pub(crate) path: String,
    #[serde(default)]
    pub(crate) text: String,
    /// Permissions in octal.
    #[serde(default = "plain_mode")]
    pub(crate) mode: String,
    /// Owner.
    #[serde(default)]
    pub(crate) owner: String,
    /// Bytes of noise in place of a text.
    #[serde(default)]
    pub(crate) noise: u64,
}

fn plain_mode() -> String {
    "644".to_owned()
}

/// A process that runs.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProcessEntry {
    pub(crate) user: String,
    pub(crate) command: String,
    /// Virtual and resident size in KiB.
    pub(crate) size: (u32, u32),
    #[serde(default)]
    pub(crate) tty: Option<String>,
    /// Seconds of processor time a day.
    #[serde(default)]
    pub(crate) busy: u32,
    #[serde(default)]
    pub(crate) state: Option<String>,
}

/// The shipped manifests by name.
const SHIPPED: [(&str, &str); 3] = [
    ("debian12", include_str!("../../personas/debian12.toml")),
    ("ubuntu2204", include_str!("../../personas/ubuntu2204.toml")),
    ("busybox", include_str!("../../personas/busybox.toml")),
];

impl Manifest {
    /// A shipped manifest.
    ///
    /// # Errors
    /// A sentence, where there is none of this name.
    pub(crate) fn shipped(name: &str) -> Result<Self, String> {
        let Some((_, text)) = SHIPPED.iter().find(|(known, _)| *known == name) else {
            let names: Vec<&str> = SHIPPED.iter().map(|(name, _)| *name).collect();
            return Err(format!(
                "there is no persona '{}'; the known ones are {}",
                name.escape_default(),
                names.join(", ")
            ));
        };
        Self::parse(text)
    }

    /// Reads a manifest and what it extends.
    ///
    /// # Errors
    /// A sentence with the mistake.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut own: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        let Some(base) = own.extends.take() else { return Ok(own) };
        let mut base = Self::shipped(&base)?;
        let take = |own: String, base: &mut String| {
            if !own.is_empty() {
                *base = own;
            }
        };
        take(own.pretty, &mut base.pretty);
        take(own.threads, &mut base.threads);
        replace(own.kernels, &mut base.kernels);
        replace(own.hostnames, &mut base.hostnames);
        replace(own.domains, &mut base.domains);
        replace(own.users, &mut base.users);
        replace(own.cpus, &mut base.cpus);
        replace(own.cores, &mut base.cores);
        replace(own.memory_mib, &mut base.memory_mib);
        replace(own.disk_gib, &mut base.disk_gib);
        replace(own.makers, &mut base.makers);
        replace(own.processes, &mut base.processes);
        base.directories.extend(own.directories);
        base.links.extend(own.links);
        for (directory, names) in own.programs {
            let all = base.programs.entry(directory).or_default();
            all.push(' ');
            all.push_str(&names);
        }
        for file in own.files {
            base.files.retain(|other| other.path != file.path);
            base.files.push(file);
        }
        Ok(base)
    }
}

fn replace<T>(own: Vec<T>, base: &mut Vec<T>) {
    if !own.is_empty() {
        *base = own;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_manifests_are_complete() {
        for (name, _) in SHIPPED {
            let manifest = Manifest::shipped(name).unwrap();
            assert!(manifest.extends.is_none(), "{name}");
            assert!(!manifest.programs.is_empty() && !manifest.processes.is_empty(), "{name}");
            assert!(!manifest.kernels.is_empty() && !manifest.files.is_empty(), "{name}");
        }
    }

    #[test]
    fn mistakes_are_told() {
        assert!(Manifest::shipped("phil").unwrap_err().contains("debian12"));
        assert!(Manifest::parse("hostname = []").is_err());
        assert!(Manifest::parse("extends = \"nothing\"").is_err());
    }
}
