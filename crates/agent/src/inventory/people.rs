//! Who may use the machine and who does: accounts, sudo, keys, people signed in.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::accounts::{Account, Accounts};
use super::root::{Root, Unseen};
use super::section::Section;

/// Most lines of sudo, keys, and people signed in.
const MAX_SUDOERS: usize = 2_000;
const MAX_KEYS: usize = 5_000;
const MAX_SESSIONS: usize = 1_000;
/// Bytes of a record of utmp (utmp(5)).
const UTMP_RECORD: usize = if cfg!(target_arch = "aarch64") { 400 } else { 384 };
/// Types of records: somebody is signed in.
const USER_PROCESS: u16 = 7;

/// The section `accounts`.
pub(crate) fn accounts(root: &Root) -> Section {
    let mut section = Section::default();
    let found = match Accounts::read(root) {
        Ok(found) => found,
        Err(reason) => return Section::hidden("accounts", &reason),
    };
    section.left_out = found.left_out;
    if let Some(reason) = &found.shadow_unseen {
        section.could_not("passwords", reason);
    }
    for account in &found.accounts {
        let shadow = account.shadow.as_ref();
        let value = json!({
            "name": account.name,
            "uid": account.uid,
            "gid": account.gid,
            "home": account.home,
            "shell": account.shell,
            "groups": found.groups_of(account),
            "password": account.password().as_str(),
            "last_change": shadow.and_then(|shadow| shadow.changed),
            "min_days": shadow.and_then(|shadow| shadow.min),
            "max_days": shadow.and_then(|shadow| shadow.max),
            "warn_days": shadow.and_then(|shadow| shadow.warn),
            "expires": shadow.and_then(|shadow| shadow.expires),
        });
        section.add(account.name.clone(), value);
    }
    section
}

/// The section `sudoers`: the lines that give rights.
pub(crate) fn sudoers(root: &Root) -> Section {
    let mut section = Section::default();
    let (mut files, hidden) = root.glob("/etc/sudoers.d/*");
    if let Some(reason) = hidden {
        section.could_not("/etc/sudoers.d", &reason);
    }
    files.insert(0, "/etc/sudoers".to_owned());
    for file in files {
        let text = match root.read(&file) {
            Ok(text) => text,
            Err(Unseen::Missing) => continue,
            Err(reason) => {
                section.could_not(&file, &reason);
                continue;
            }
        };
        for (number, line) in (1u64..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') && !line.starts_with("#include") {
                continue;
            }
            let value = json!({ "file": file, "line": number, "text": line });
            section.add_up_to(MAX_SUDOERS, format!("{file}: {line}"), value);
        }
    }
    section
}

/// The section `keys`: who may sign in by SSH with which key. The keys are public.
pub(crate) fn keys(root: &Root) -> Section {
    let mut section = Section::default();
    let found = match Accounts::read(root) {
        Ok(found) => found,
        Err(reason) => return Section::hidden("accounts", &reason),
    };
    let mut homes: Vec<&Account> = found.accounts.iter().collect();
    homes.sort_by(|one, other| one.home.cmp(&other.home));
    homes.dedup_by(|one, other| one.home == other.home);
    for account in homes.into_iter().filter(|account| account.home.starts_with('/')) {
        for name in ["authorized_keys", "authorized_keys2"] {
            let file = format!("{}/.ssh/{name}", account.home.trim_end_matches('/'));
            let text = match root.read(&file) {
                Ok(text) => text,
                Err(Unseen::Missing) => continue,
                Err(reason) => {
                    section.could_not(&file, &reason);
                    continue;
                }
            };
            for line in text.lines() {
                let Some(key) = Key::parse(line) else { continue };
                let value = json!({
                    "user": account.name,
                    "file": file,
                    "type": key.kind,
                    "fingerprint": key.fingerprint,
                    "comment": key.comment,
                    "options": key.options,
                });
                section.add_up_to(MAX_KEYS, format!("{file} {}", key.fingerprint), value);
            }
        }
    }
    section
}

/// A line of `authorized_keys`.
#[derive(Debug, PartialEq, Eq)]
struct Key {
    kind: String,
    fingerprint: String,
    comment: String,
    options: String,
}

impl Key {
    fn parse(line: &str) -> Option<Self> {
        let line = line.trim();
        if line.starts_with('#') {
            return None;
        }
        // Options stand before the type, and may have spaces between quotes.
        let (mut quoted, mut start) = (false, 0);
        let mut words = Vec::new();
        for (at, c) in line.char_indices() {
            if c == '"' {
                quoted = !quoted;
            } else if c.is_whitespace() && !quoted {
                words.push(line.get(start..at)?);
                start = at + c.len_utf8();
            }
        }
        words.push(line.get(start..)?);
        words.retain(|word| !word.is_empty());
        let is_kind =
            |word: &&str| ["ssh-", "ecdsa-", "sk-"].iter().any(|prefix| word.starts_with(prefix));
        let place = words.iter().take(2).position(is_kind)?;
        let blob = BASE64.decode(words.get(place + 1)?.trim_end_matches('=')).ok()?;
        Some(Self {
            kind: (*words.get(place)?).to_owned(),
            fingerprint: format!("SHA256:{}", BASE64.encode(Sha256::digest(blob))),
            comment: words.get(place + 2..)?.join(" "),
            options: words.get(..place)?.join(" "),
        })
    }
}

/// The section `sessions`: who is signed in.
pub(crate) fn sessions(root: &Root) -> Section {
    let mut section = Section::default();
    match root.list("/run/systemd/sessions") {
        Ok((names, _)) => {
            for (name, _) in names.iter().filter(|(name, _)| !name.ends_with(".ref")) {
                let Ok(text) = root.read(&format!("/run/systemd/sessions/{name}")) else {
                    continue;
                };
                let field = |key: &str| {
                    let mut lines = text.lines().filter_map(|line| line.split_once('='));
                    lines.find(|(own, _)| *own == key).map(|(_, value)| value.to_owned())
                };
                // Not those of services and of the sign-in screen.
                if field("CLASS").is_some_and(|class| class != "user") {
                    continue;
                }
                let since = field("REALTIME").and_then(|text| text.parse::<i64>().ok());
                let value = json!({
                    "user": field("USER"),
                    "line": field("TTY"),
                    "from": field("REMOTE_HOST"),
                    "since": since.map(|micros| micros / 1000),
                });
                section.add_up_to(MAX_SESSIONS, name.clone(), value);
            }
            if !section.entries.is_empty() {
                return section;
            }
        }
        Err(Unseen::Missing) => {}
        Err(reason) => section.could_not("systemd's sessions", &reason),
    }
    match root.read_bytes("/run/utmp") {
        Ok(bytes) => {
            for record in bytes.chunks_exact(UTMP_RECORD) {
                let Some(login) = Login::parse(record) else { continue };
                let value = json!({
                    "user": login.user,
                    "line": login.line,
                    "from": login.from,
                    "since": login.since_ms,
                });
                section.add_up_to(MAX_SESSIONS, format!("{} {}", login.line, login.pid), value);
            }
        }
        Err(Unseen::Missing) => {}
        Err(reason) => section.could_not("who is signed in", &reason),
    }
    section
}

/// A record of utmp of somebody who is signed in.
#[derive(Debug, PartialEq, Eq)]
struct Login {
    user: String,
    line: String,
    from: Option<String>,
    pid: i32,
    since_ms: i64,
}

impl Login {
    fn parse(record: &[u8]) -> Option<Self> {
        let number = |at: usize| -> Option<i32> {
            record.get(at..at + 4)?.try_into().ok().map(i32::from_ne_bytes)
        };
        let text = |from: usize, length: usize| -> Option<String> {
            let bytes = record.get(from..from + length)?;
            let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(length);
            Some(String::from_utf8_lossy(bytes.get(..end)?).into_owned())
        };
        let kind = u16::from_ne_bytes(record.get(..2)?.try_into().ok()?);
        // The time has 32 bits where it shares its form with machines of 32 bits.
        let seconds = match UTMP_RECORD {
            400 => i64::from_ne_bytes(record.get(344..352)?.try_into().ok()?),
            _ => i64::from(number(340)?),
        };
        let user = text(44, 32)?;
        (kind == USER_PROCESS && !user.is_empty()).then_some(())?;
        Some(Self {
            user,
            line: text(8, 32)?,
            from: text(76, 256).filter(|host| !host.is_empty()),
            pid: number(4)?,
            since_ms: seconds.checked_mul(1000)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_the_fingerprint_that_ssh_keygen_prints() {
        // From `ssh-keygen -lf`, of a key that was made for this test.
        let line = "from=\"10.0.0.0/8\",command=\"echo a b\" ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIPaxL8pxNRZ1LVRw2sG3h7PDq2OEZx/YmOfIQy3y0AA anna at home";
        let key = Key::parse(line).unwrap();
        assert_eq!(key.kind, "ssh-ed25519");
        assert_eq!(key.comment, "anna at home");
        assert_eq!(key.options, "from=\"10.0.0.0/8\",command=\"echo a b\"");
        assert!(key.fingerprint.starts_with("SHA256:") && key.fingerprint.len() == 50);
        for none in ["", "# ssh-rsa AAAA", "ssh-rsa", "ssh-rsa !!", "hello world"] {
            assert_eq!(Key::parse(none), None, "{none}");
        }
    }

    #[test]
    fn records_of_utmp_are_read_and_short_ones_are_not() {
        let mut record = vec![0u8; UTMP_RECORD];
        record[..2].copy_from_slice(&USER_PROCESS.to_ne_bytes());
        record[4..8].copy_from_slice(&77i32.to_ne_bytes());
        record[8..13].copy_from_slice(b"pts/0");
        record[44..48].copy_from_slice(b"anna");
        record[76..87].copy_from_slice(b"192.0.2.100");
        match UTMP_RECORD {
            400 => record[344..352].copy_from_slice(&1_700_000_000i64.to_ne_bytes()),
            _ => record[340..344].copy_from_slice(&1_700_000_000i32.to_ne_bytes()),
        }
        let login = Login::parse(&record).unwrap();
        assert_eq!((login.user.as_str(), login.line.as_str(), login.pid), ("anna", "pts/0", 77));
        assert_eq!(
            (login.from.as_deref(), login.since_ms),
            (Some("192.0.2.100"), 1_700_000_000_000)
        );
        assert_eq!(Login::parse(&record[..100]), None);
        record[0] = 8;
        assert_eq!(Login::parse(&record), None);
    }
}
