//! OpenSSH's programs against a zone with the SSH service alone.
#![allow(clippy::print_stdout, reason = "a test that is skipped says so")]

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use palisade_honeypot::{Config, ServiceConfig, ServiceKind, SshAccept, SshConfig};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::PATIENCE;

/// A folder of one test, gone after it.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        let path =
            std::env::temp_dir().join(format!("palisade-ssh-{:032x}", rand::random::<u128>()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub(crate) fn keys() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/host-keys")
}

pub(crate) fn ssh_config() -> SshConfig {
    SshConfig {
        host_keys: Some(keys()),
        accept: SshAccept::Never,
        fail_delay_ms: 0,
        fail_jitter_ms: 0,
        ..SshConfig::default()
    }
}

pub(crate) fn config(ssh: SshConfig) -> Config {
    let mut config = super::config();
    let mut service = ServiceConfig::new(ServiceKind::Ssh, "127.0.0.1:0".parse().unwrap());
    service.ssh = Some(ssh);
    config.services = vec![service];
    config.persona.seed = Some(7);
    config.persona.hostname = Some("web3".to_owned());
    config.persona.server = Some("debian12".to_owned());
    config
}

/// The client with everything that could make it ask or remember turned off.
pub(crate) struct Client {
    pub(crate) folder: Folder,
    pub(crate) address: SocketAddr,
}

impl Client {
    pub(crate) fn new(address: SocketAddr) -> Self {
        let folder = Folder::new();
        let ask = folder.0.join("ask");
        std::fs::write(&ask, "#!/bin/sh\nprintf '%b\\n' \"$PASSWORD\"\n").unwrap();
        std::fs::set_permissions(&ask, std::fs::Permissions::from_mode(0o755)).unwrap();
        Self { folder, address }
    }

    /// Runs a program of OpenSSH; `None` where it is not installed.
    pub(crate) async fn run(
        &self,
        program: &str,
        password: &str,
        options: &[&str],
        rest: &[&str],
    ) -> Option<Output> {
        self.feed(program, password, options, rest, b"").await
    }

    pub(crate) async fn feed(
        &self,
        program: &str,
        password: &str,
        options: &[&str],
        rest: &[&str],
        input: &[u8],
    ) -> Option<Output> {
        let port = format!("Port={}", self.address.port());
        let mut command = Command::new(program);
        command.args(["-F", "none", "-o", &port]);
        for option in [
            "UserKnownHostsFile=/dev/null",
            "StrictHostKeyChecking=no",
            "GlobalKnownHostsFile=/dev/null",
            "IdentitiesOnly=yes",
            "NumberOfPasswordPrompts=1",
        ] {
            command.args(["-o", option]);
        }
        command.args(options).args(rest);
        command.env("SSH_ASKPASS", self.folder.0.join("ask"));
        command.env("SSH_ASKPASS_REQUIRE", "force").env("PASSWORD", password);
        command.env_remove("SSH_AUTH_SOCK").env("HOME", &self.folder.0);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = match command.kill_on_drop(true).spawn() {
            Ok(child) => child,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                println!("skipped: {program} is not installed");
                return None;
            }
            Err(error) => panic!("{program}: {error}"),
        };
        let mut stdin = child.stdin.take().unwrap();
        // It may leave before it has read all.
        let _ = stdin.write_all(input).await;
        drop(stdin);
        let output = tokio::time::timeout(PATIENCE, child.wait_with_output()).await;
        Some(output.expect("ends in time").unwrap())
    }
}
