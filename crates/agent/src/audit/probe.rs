//! What a check looks at, as it stands in the catalogue: data, no code.
//! docs/AUDIT.md describes each kind.

use regex::bytes::{Regex, RegexBuilder};
use serde::Deserialize;

/// Most bytes of a compiled expression.
const MAX_EXPRESSION_BYTES: usize = 1024 * 1024;

/// Something that holds on a machine or does not.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum Probe {
    /// A value of the SSH server's effective settings.
    Sshd {
        /// In lower case, as `sshd -T` prints it.
        key: String,
        want: Want,
        /// OpenSSH's own, where it was the same in all its versions since 7.4.
        default: Option<String>,
    },
    /// Settings of the kernel, all of them.
    Sysctl { keys: Vec<String>, want: Want },
    /// A key with a value in files.
    Setting {
        /// Patterns of files, read in this order.
        files: Vec<String>,
        key: String,
        section: Option<String>,
        #[serde(default)]
        style: Style,
        #[serde(default)]
        wins: Wins,
        /// What holds where it is not set.
        default: Option<String>,
        want: Want,
    },
    /// A line that an expression finds, comments left out.
    Line {
        files: Vec<String>,
        pattern: String,
        #[serde(default = "yes")]
        present: bool,
        /// Also lines that begin with `#`.
        #[serde(default)]
        comments: bool,
        /// What it means that none of the files is there.
        #[serde(default)]
        missing: Missing,
        /// Every one of the files needs the line.
        #[serde(default)]
        every: bool,
    },
    /// Rights and owner of files.
    File {
        paths: Vec<String>,
        /// The most rights they may have, in octal.
        mode: Option<String>,
        #[serde(default)]
        owner: Vec<String>,
        #[serde(default)]
        group: Vec<String>,
        #[serde(default)]
        missing: Missing,
    },
    /// Whether one of the paths is there.
    Exists {
        paths: Vec<String>,
        #[serde(default = "yes")]
        there: bool,
    },
    /// A mounted file system, or one of its options.
    Mount { path: String, option: Option<String> },
    /// Whether one of the packages is installed.
    Package {
        names: Vec<String>,
        #[serde(default = "yes")]
        installed: bool,
    },
    /// Whether one of the units is started at boot.
    Unit {
        names: Vec<String>,
        #[serde(default = "yes")]
        enabled: bool,
    },
    /// A rule about accounts.
    Accounts {
        rule: AccountRule,
        /// Days or ids, where the rule has a bound.
        limit: Option<i64>,
    },
    /// A module of the kernel that is not there or cannot be loaded.
    ModuleOff { names: Vec<String> },
    /// Nobody elsewhere can connect to these ports.
    PortsClosed { protocol: Protocol, ports: Vec<u16> },
    /// A rule about all files of the local disks.
    Tree {
        rule: TreeRule,
        /// Programs that may be so.
        #[serde(default)]
        known: Vec<String>,
    },
    /// A parameter of the kernel's command line.
    Boot { parameter: String, want: Want },
    /// A rule about the packet filter.
    Firewall { rule: FirewallRule },
    /// A rule about updates.
    Updates { rule: UpdateRule },
    /// All of them hold.
    All { of: Vec<Self> },
    /// One of them holds.
    Any { of: Vec<Self> },
}

fn yes() -> bool {
    true
}

/// What a value must be: everything that is said here.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Want {
    /// One of these, whatever the case.
    pub(super) is: Vec<String>,
    /// None of these.
    pub(super) not: Vec<String>,
    pub(super) min: Option<i64>,
    pub(super) max: Option<i64>,
    /// An expression that finds something in it.
    pub(super) matches: Option<String>,
    /// An expression that finds nothing in it.
    pub(super) lacks: Option<String>,
}

impl Want {
    /// Whether a value is so.
    ///
    /// # Errors
    /// An expression that cannot be compiled.
    pub(super) fn holds(&self, value: &str) -> Result<bool, String> {
        let same = |other: &String| other.eq_ignore_ascii_case(value);
        let number = value.parse::<i64>().ok();
        let bounded = |bound: Option<i64>, within: fn(i64, i64) -> bool| {
            bound.is_none_or(|bound| number.is_some_and(|number| within(number, bound)))
        };
        let found = |pattern: &Option<String>| {
            pattern
                .as_deref()
                .map(|p| expression(p).map(|e| e.is_match(value.as_bytes())))
                .transpose()
        };
        Ok((self.is.is_empty() || self.is.iter().any(same))
            && !self.not.iter().any(same)
            && bounded(self.min, |number, bound| number >= bound)
            && bounded(self.max, |number, bound| number <= bound)
            && found(&self.matches)?.unwrap_or(true)
            && !found(&self.lacks)?.unwrap_or(false))
    }

    /// In words, for evidence: "no", "at most 4".
    pub(super) fn words(&self) -> String {
        let mut parts = Vec::new();
        if !self.is.is_empty() {
            parts.push(self.is.join(" or "));
        }
        if !self.not.is_empty() {
            let not = self.not.iter().map(|value| if value.is_empty() { "empty" } else { value });
            parts.push(format!("not {}", not.collect::<Vec<_>>().join(" or ")));
        }
        match (self.min, self.max) {
            (Some(min), Some(max)) => parts.push(format!("{min} to {max}")),
            (Some(min), None) => parts.push(format!("at least {min}")),
            (None, Some(max)) => parts.push(format!("at most {max}")),
            (None, None) => {}
        }
        parts.extend(self.matches.iter().map(|pattern| match pattern.as_str() {
            "." => "anything".to_owned(),
            pattern => format!("what matches {pattern}"),
        }));
        parts.extend(self.lacks.iter().map(|pattern| format!("nothing that matches {pattern}")));
        parts.join(", ")
    }

    #[cfg(test)]
    fn is_empty(&self) -> bool {
        self.is.is_empty()
            && self.not.is_empty()
            && self.min.is_none()
            && self.max.is_none()
            && self.matches.is_none()
            && self.lacks.is_none()
    }
}

/// How a file writes keys and values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Style {
    /// `key = value`.
    #[default]
    Equals,
    /// `key value`.
    Words,
    /// `key` or `key = value`, the key alone for yes.
    Flag,
}

/// Which one counts where a key is set several times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Wins {
    #[default]
    Last,
    First,
}

/// What it means that a file is not there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Missing {
    #[default]
    NotApplicable,
    Pass,
    Fail,
}

/// Protocols of ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Protocol {
    Tcp,
    Udp,
}

/// Rules about accounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum AccountRule {
    /// The id 0 is root's alone.
    OnlyRootIsZero,
    /// Root's group is 0.
    RootGroupIsZero,
    /// No account lets somebody in without a password.
    NoEmptyPasswords,
    /// Passwords are in `shadow`, not in `passwd`.
    PasswordsInShadow,
    /// Hashes are of SHA-512, yescrypt or another slow scheme.
    StrongHashes,
    /// Passwords end after `limit` days at most.
    PasswordsEnd,
    /// Accounts are locked `limit` days after their password's end at most.
    InactiveLocked,
    /// No password was changed in the future.
    ChangedInThePast,
    UniqueIds,
    UniqueGroupIds,
    UniqueNames,
    UniqueGroupNames,
    /// The group of each account is there.
    GroupsExist,
    /// Nobody is in the group `shadow`.
    ShadowGroupEmpty,
    /// System accounts have no shell to work in.
    SystemAccountsNoShell,
    /// System accounts have no password.
    SystemAccountsLocked,
    HomesExist,
    HomesOwned,
    /// No others may look into homes.
    HomesPrivate,
    /// Nobody else may write what a shell runs at its start.
    DotFilesOwnAlone,
    /// No `.rhosts`, `.netrc`, `.forward`.
    NoTrustFiles,
    /// Nobody else may write `authorized_keys` or read private keys.
    SshFilesPrivate,
    /// No keys of DSA, no short RSA keys.
    NoWeakKeys,
}

/// Rules about all files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum TreeRule {
    /// Nobody may write files of everybody.
    NoWorldWritable,
    /// In folders of everybody nobody may remove files of others.
    StickyFolders,
    /// Every file has an owner and a group that are there.
    Owned,
    /// Programs with the rights of their owner or group are known ones.
    KnownSetuid,
    /// Nobody but root may write them.
    SetuidProtected,
}

/// Rules about the packet filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum FirewallRule {
    /// Something looks at packets that come in.
    Filters,
    /// What no rule lets in is refused.
    Refuses,
}

/// Rules about updates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum UpdateRule {
    /// No security update is pending.
    NoneForSecurity,
    /// The lists of packages are not older than a week.
    ListsFresh,
    /// The newest kernel runs.
    NewestKernelRuns,
    /// No package asks for a restart.
    NoRestartNeeded,
}

#[cfg(test)]
impl Probe {
    /// Mistakes of the catalogue that the form alone does not show, one sentence each.
    pub(super) fn mistakes(&self) -> Vec<String> {
        let wanted = |want: &Want| {
            let mut mistakes = Vec::new();
            if want.is_empty() {
                mistakes.push("a value is wanted and nothing is said of it".to_owned());
            }
            for pattern in want.matches.iter().chain(&want.lacks) {
                mistakes.extend(expression(pattern).err());
            }
            mistakes
        };
        match self {
            Self::Sshd { want, .. }
            | Self::Sysctl { want, .. }
            | Self::Setting { want, .. }
            | Self::Boot { want, .. } => wanted(want),
            Self::Line { pattern, .. } => expression(pattern).err().into_iter().collect(),
            Self::File { mode, .. } => {
                let wrong = |mode: &&String| u32::from_str_radix(mode, 8).is_err();
                mode.iter().filter(wrong).map(|mode| format!("'{mode}' is no octal mode")).collect()
            }
            Self::All { of } | Self::Any { of } if of.is_empty() => {
                vec!["'of' is empty".to_owned()]
            }
            Self::All { of } | Self::Any { of } => of.iter().flat_map(Self::mistakes).collect(),
            _ => Vec::new(),
        }
    }
}

/// Compiles an expression of the catalogue: lines are short, and so is what it takes.
pub(super) fn expression(pattern: &str) -> Result<Regex, String> {
    RegexBuilder::new(pattern)
        .size_limit(MAX_EXPRESSION_BYTES)
        .unicode(false)
        .build()
        .map_err(|error| format!("'{pattern}' is no expression: {error}"))
}
