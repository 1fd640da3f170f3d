//! What an attacker did beside typing: what a service turns into events.

use std::sync::Arc;

use base64::Engine as _;
use palisade_event::PayloadHash;
use sha2::{Digest as _, Sha256};

/// One thing an attacker did in a shell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// A file was asked for from elsewhere.
    FetchAttempted {
        /// `wget`, `curl`, `tftp`, …
        tool: String,
        /// From where.
        url: String,
        /// How it ended: `refused`, `unresolved`, `timeout`, `fetched`, …
        outcome: &'static str,
        /// Size in bytes and SHA-256 of the file, where one came.
        got: Option<(u64, PayloadHash)>,
        /// The status of HTTP, where it is neither 200 nor 404.
        status: Option<u16>,
    },
    /// A file that was made here, as it was when it was run, removed, or when
    /// the session ended.
    FileDropped {
        /// Where it was.
        path: String,
        /// What was in it.
        bytes: Arc<Vec<u8>>,
        /// Its SHA-256.
        hash: PayloadHash,
    },
    /// A file that was made here was started.
    FileExecuted {
        /// Where it is.
        path: String,
        /// Its SHA-256.
        hash: PayloadHash,
        /// Arguments.
        arguments: Vec<u8>,
    },
    /// A public key was put where SSH looks for it.
    KeyPlanted {
        /// The file.
        path: String,
        /// The line.
        key: Vec<u8>,
        /// `SHA256:…`, where the line is a key.
        fingerprint: Option<String>,
    },
    /// A password was changed.
    PasswordChanged {
        /// Whose.
        user: String,
        /// The new one.
        password: Vec<u8>,
    },
    /// A user was made.
    UserAdded {
        /// Its name.
        user: String,
    },
    /// Something was set up to start by itself: cron, a unit, rc.local.
    StartupChanged {
        /// Where.
        path: String,
        /// The line that is new.
        line: Vec<u8>,
    },
    /// Processes were ended.
    ProcessKilled {
        /// Which, as it was named.
        target: String,
    },
}

/// The SHA-256 of some bytes.
#[must_use]
pub fn sha256(bytes: &[u8]) -> PayloadHash {
    PayloadHash(Sha256::digest(bytes).into())
}

/// The fingerprint of a line of `authorized_keys`, as OpenSSH shows it.
#[must_use]
pub fn fingerprint(line: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(line).ok()?;
    let mut words = text.split_ascii_whitespace();
    words.find(|word| {
        word.starts_with("ssh-") || word.starts_with("ecdsa-") || word.starts_with("sk-")
    })?;
    let blob = base64::engine::general_purpose::STANDARD.decode(words.next()?).ok()?;
    let digest = Sha256::digest(&blob);
    Some(format!("SHA256:{}", base64::engine::general_purpose::STANDARD_NO_PAD.encode(digest)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_the_fingerprint_that_openssh_shows() {
        // ssh-keygen -lf of this key.
        let line =
            b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f me";
        let shown = fingerprint(line).unwrap();
        assert!(shown.starts_with("SHA256:") && shown.len() == 50, "{shown}");
        assert_eq!(fingerprint(b"hello"), None);
        assert_eq!(fingerprint(b"ssh-rsa !!"), None);
    }
}
