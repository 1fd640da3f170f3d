//! What the operator may set for the SSH service.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{MAX_DELAY_MS, MAX_SECS};
use crate::service::ssh::profile;

/// Longest version line that may be set, as RFC 4253 has it.
const MAX_VERSION_BYTES: usize = 253;
/// Most entries of a list of passwords.
const MAX_ENTRIES: usize = 10_000;

/// Which passwords the SSH service lets in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SshAccept {
    /// None.
    Never,
    /// Any.
    Always,
    /// The `n`-th try of an address and all after it.
    After(u32),
    /// Those that are named, as `user:password`; `*` is any.
    List(Vec<String>),
    /// Each password by chance, from 0 to 1, for each user; `*` is any other.
    /// The same password always gets the same answer.
    Probability(BTreeMap<String, f64>),
}

/// Which public keys the SSH service lets in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SshKeys {
    /// None.
    #[default]
    Never,
    /// Any, once the client has shown that it owns the key.
    Always,
}

/// What becomes of connections that clients want to have made for them. None
/// is ever made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SshTunnels {
    /// They seem to be made; what is sent is recorded, nothing comes back.
    #[default]
    Silent,
    /// They seem to be refused by the other side.
    Refused,
}

/// Settings of the SSH service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SshConfig {
    /// The real server it looks like: `debian12` or `ubuntu2204`. Default: as
    /// `persona.server`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// Another version line, such as of a newer package of the same release.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Where host keys are kept. The binary sets it to a folder of its data;
    /// without one they are made anew at each start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_keys: Option<PathBuf>,
    /// Which passwords are let in. Default: [`WEAK_LOGINS`], the list of those
    /// that bots try first; to random ones nobody gets in.
    pub accept: SshAccept,
    /// Which public keys are let in. Default: none.
    pub keys: SshKeys,
    /// Whether `keyboard-interactive` is offered too. Default: no, as Debian
    /// has it.
    pub keyboard_interactive: bool,
    /// What becomes of connections to elsewhere (`ssh -L`, `-D`). Default:
    /// they seem to be made.
    pub tunnels: SshTunnels,
    /// Failed tries of a connection before it is cut off. Default 6
    /// (`MaxAuthTries`).
    pub attempts: u32,
    /// Seconds a client has to log in. Default 120 (`LoginGraceTime`).
    pub grace_secs: u64,
    /// Milliseconds before a wrong password is answered. Default 1,500.
    pub fail_delay_ms: u64,
    /// Milliseconds added to that by chance, at most. Default 1,000.
    pub fail_jitter_ms: u64,
}

/// Logins that machines really have and bots try first, as the SSH service lets
/// them in where nothing else is set.
pub const WEAK_LOGINS: [&str; 56] = [
    "root:root",
    "root:123456",
    "root:password",
    "root:admin",
    "root:12345",
    "root:1234",
    "root:12345678",
    "root:123456789",
    "root:111111",
    "root:123123",
    "root:000000",
    "root:qwerty",
    "root:toor",
    "root:abc123",
    "root:test",
    "root:changeme",
    "root:default",
    "root:admin123",
    "root:root123",
    "root:password123",
    "root:passw0rd",
    "root:P@ssw0rd",
    "root:Passw0rd",
    "root:1q2w3e4r",
    "root:1qaz2wsx",
    "root:qwe123",
    "root:server",
    "root:linux",
    "root:ubuntu",
    "root:debian",
    "root:centos",
    "root:vps123",
    "admin:admin",
    "admin:123456",
    "admin:password",
    "admin:1234",
    "admin:admin123",
    "ubuntu:ubuntu",
    "ubuntu:123456",
    "debian:debian",
    "user:user",
    "user:123456",
    "test:test",
    "test:123456",
    "guest:guest",
    "oracle:oracle",
    "postgres:postgres",
    "mysql:mysql",
    "git:git",
    "deploy:deploy",
    "hadoop:hadoop",
    "ftpuser:ftpuser",
    "nagios:nagios",
    "pi:raspberry",
    "support:support",
    "steam:steam",
];

impl Default for SshConfig {
    fn default() -> Self {
        Self {
            server: None,
            version: None,
            host_keys: None,
            accept: SshAccept::List(WEAK_LOGINS.map(str::to_owned).to_vec()),
            keys: SshKeys::default(),
            keyboard_interactive: false,
            tunnels: SshTunnels::default(),
            attempts: 6,
            grace_secs: 120,
            fail_delay_ms: 1_500,
            fail_jitter_ms: 1_000,
        }
    }
}

impl SshConfig {
    pub(crate) fn check(&self, wrong: &mut dyn FnMut(String)) {
        if let Some(server) = &self.server
            && !profile::exists(server)
        {
            let (server, names) = (server.escape_default(), profile::names());
            wrong(format!("ssh.server '{server}' is not known; use one of {names}"));
        }
        if let Some(version) = &self.version {
            let plain = version.bytes().all(|byte| matches!(byte, b' '..=b'~'));
            if !version.starts_with("SSH-2.0-") || !plain || version.len() > MAX_VERSION_BYTES {
                wrong(format!(
                    "ssh.version must be one line that begins with SSH-2.0-, not '{}'",
                    version.escape_default()
                ));
            }
        }
        match &self.accept {
            SshAccept::After(0) => {
                wrong("ssh.accept = { after = 0 } means nothing; use \"always\"".to_owned());
            }
            SshAccept::List(entries) => {
                if let Some(bad) = entries.iter().find(|entry| !entry.contains(':')) {
                    let bad = bad.escape_default();
                    wrong(format!("ssh.accept: '{bad}' is not of the form user:password"));
                }
                if entries.len() > MAX_ENTRIES {
                    wrong(format!("ssh.accept has more than {MAX_ENTRIES} entries"));
                }
            }
            SshAccept::Probability(chances) => {
                for (user, _) in chances.iter().filter(|(_, c)| !(0.0..=1.0).contains(*c)) {
                    let user = user.escape_default();
                    wrong(format!("ssh.accept: the probability of '{user}' must be 0 to 1"));
                }
            }
            SshAccept::Never | SshAccept::Always | SshAccept::After(_) => {}
        }
        if self.attempts == 0 {
            wrong("ssh.attempts must be at least 1".to_owned());
        }
        if self.grace_secs == 0 || self.grace_secs > MAX_SECS {
            wrong(format!("ssh.grace_secs must be 1 to {MAX_SECS}"));
        }
        for (name, value) in
            [("fail_delay_ms", self.fail_delay_ms), ("fail_jitter_ms", self.fail_jitter_ms)]
        {
            if value > MAX_DELAY_MS {
                wrong(format!("ssh.{name} is more than {MAX_DELAY_MS}"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{Config, SshAccept};

    #[test]
    fn every_policy_can_be_written() {
        for (text, expected) in [
            ("\"never\"", SshAccept::Never),
            ("\"always\"", SshAccept::Always),
            ("{ after = 2 }", SshAccept::After(2)),
            ("{ list = [\"root:a\"] }", SshAccept::List(vec!["root:a".to_owned()])),
            (
                "{ probability = { root = 0.5 } }",
                SshAccept::Probability([("root".to_owned(), 0.5)].into()),
            ),
        ] {
            let text = format!(
                "[[services]]\ntype = \"ssh\"\nlisten = \"[::]:22\"\nssh = {{ accept = {text} }}"
            );
            let config: Config = toml::from_str(&text).unwrap();
            assert_eq!(config.services[0].ssh.as_ref().unwrap().accept, expected);
            assert_eq!(config.validate(), Ok(()));
            let written = toml::to_string(&config).unwrap();
            assert_eq!(toml::from_str::<Config>(&written).unwrap(), config);
        }
    }

    #[test]
    fn all_mistakes_are_named() {
        let text = r#"
            [[services]]
            type = "ssh"
            listen = "127.0.0.1:22"
            [services.ssh]
            server = "amiga"
            version = "SSH-1.0"
            accept = { probability = { root = 2.0 } }
            attempts = 0
            grace_secs = 0
            fail_delay_ms = 99999999
        "#;
        let config: Config = toml::from_str(text).unwrap();
        let mistakes = config.validate().unwrap_err();
        assert_eq!(mistakes.len(), 6, "{mistakes:#?}");
        assert!(mistakes[0].contains("debian12"), "{mistakes:?}");
    }
}
