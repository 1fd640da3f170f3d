//! Settings of file integrity (`[agent.integrity]`).

use serde::{Deserialize, Serialize};

/// Most paths that may be set.
const MAX_PATHS: usize = 256;

/// Which files are watched, and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IntegrityConfig {
    /// Whether files are watched.
    pub enabled: bool,
    /// Absolute paths of files and folders; of folders all that is in them.
    pub paths: Vec<String>,
    /// Patterns of paths that are left out (`*` also over folders).
    pub exclude: Vec<String>,
    /// Most files; what is beyond is counted and not watched. Default 50,000.
    pub max_files: usize,
    /// Most folders that are watched for immediate changes; the others are seen by
    /// the sweep. Default 4,096.
    pub max_watches: usize,
    /// Larger files are watched by size, time, rights and owner alone, in bytes.
    /// Default 64 MiB.
    pub max_file_bytes: u64,
    /// Hours between two sweeps over the content of all files. Default 24.
    pub sweep_hours: u64,
    /// Megabytes a second that a sweep reads at most. Default 32.
    pub sweep_mb_per_sec: u64,
}

impl Default for IntegrityConfig {
    fn default() -> Self {
        let owned = |paths: &[&str]| paths.iter().map(|path| (*path).to_owned()).collect();
        Self {
            enabled: true,
            paths: owned(&[
                "/etc",
                "/bin",
                "/sbin",
                "/usr/bin",
                "/usr/sbin",
                "/usr/local/bin",
                "/usr/local/sbin",
                "/usr/lib/systemd/system",
                "/lib/systemd/system",
                "/boot",
                "/root/.ssh",
                "/root/.bashrc",
                "/root/.profile",
                "/var/spool/cron",
            ]),
            exclude: owned(&[
                // What programs rewrite in their daily work.
                "/etc/mtab",
                "/etc/adjtime",
                "/etc/resolv.conf",
                "/etc/ld.so.cache",
                "/etc/cups/subscriptions.conf*",
                "/etc/lvm/*",
                "*.swp",
                "*~",
                "*.dpkg-new",
                "*.dpkg-tmp",
            ]),
            max_files: 50_000,
            max_watches: 4_096,
            max_file_bytes: 64 * 1024 * 1024,
            sweep_hours: 24,
            sweep_mb_per_sec: 32,
        }
    }
}

impl IntegrityConfig {
    /// Mistakes, one sentence each.
    pub(crate) fn mistakes(&self) -> Vec<String> {
        let mut mistakes = Vec::new();
        if self.paths.len() > MAX_PATHS || self.exclude.len() > MAX_PATHS {
            mistakes.push(format!("integrity: at most {MAX_PATHS} paths and patterns"));
        }
        let wrong = |path: &&String| !path.starts_with('/') || path.split('/').any(|p| p == "..");
        for path in self.paths.iter().filter(wrong) {
            mistakes.push(format!("integrity: path '{}' must be absolute", path.escape_debug()));
        }
        for pattern in &self.exclude {
            if let Err(error) = glob::Pattern::new(pattern) {
                let pattern = pattern.escape_debug();
                mistakes.push(format!("integrity: exclude '{pattern}' is no pattern: {error}"));
            }
        }
        for (name, value, most) in [
            ("max_files", self.max_files as u64, 1_000_000),
            ("max_watches", self.max_watches as u64, 100_000),
            ("sweep_hours", self.sweep_hours, 8_760),
            ("sweep_mb_per_sec", self.sweep_mb_per_sec, 100_000),
        ] {
            if !(1..=most).contains(&value) {
                mistakes.push(format!("integrity: {name} must be between 1 and {most}"));
            }
        }
        mistakes
    }
}
