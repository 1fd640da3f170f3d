//! Checks of what is in the homes of people's accounts.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::super::probe::AccountRule;
use super::{Facts, Judged, none_of};
use crate::inventory::accounts::{Account, Accounts};
use crate::inventory::root::Unseen;

/// Most homes that are looked at.
const MAX_HOMES: usize = 2_000;
/// Most keys of one file.
const MAX_KEYS: usize = 10_000;
/// Shortest RSA key that is not called weak, in bits.
const MIN_RSA_BITS: usize = 2_048;
/// Files that let others in without a password, or hold one.
const TRUST_FILES: [&str; 4] = [".rhosts", ".shosts", ".netrc", ".forward"];

impl Facts<'_> {
    /// Accounts that somebody works with: root and those of people.
    fn people<'a>(&self, accounts: &'a Accounts) -> Vec<&'a Account> {
        let first = Accounts::first_user_id(self.root);
        let person = |account: &&Account| {
            (account.uid >= first || account.uid == 0)
                && account.uid < 65_534
                && account.has_shell()
                && account.home.starts_with('/')
        };
        accounts.accounts.iter().filter(person).take(MAX_HOMES).collect()
    }

    /// A rule about homes.
    pub(super) fn home_rule(&self, rule: AccountRule, accounts: &Accounts) -> Judged {
        let (mut bad, mut hidden) = (Vec::new(), None);
        for account in self.people(accounts) {
            // Where homes are hidden from us, a home that is not seen may be there.
            let top = account.home.split('/').nth(1).unwrap_or_default();
            if let Err(reason @ (Unseen::Other(_) | Unseen::Denied(_))) =
                self.root.meta(&format!("/{top}"))
            {
                hidden = Some(reason);
                continue;
            }
            let looked = match rule {
                AccountRule::HomesExist => self.home_exists(account, &mut bad),
                AccountRule::HomesOwned => self.home_owned(account, &mut bad),
                AccountRule::HomesPrivate => self.home_private(account, &mut bad),
                AccountRule::DotFilesOwnAlone => self.dot_files(account, &mut bad),
                AccountRule::NoTrustFiles => {
                    self.trust_files(account, &mut bad);
                    Ok(())
                }
                AccountRule::SshFilesPrivate => self.ssh_files(account, &mut bad),
                _ => self.keys(account, &mut bad),
            };
            match looked {
                Ok(()) | Err(Unseen::Missing) => {}
                Err(reason) => hidden = Some(reason),
            }
        }
        match hidden {
            Some(reason) if bad.is_empty() => Err(reason),
            _ => Ok(none_of(&bad, "all homes are so")),
        }
    }

    fn home_exists(&self, account: &Account, bad: &mut Vec<String>) -> Result<(), Unseen> {
        match self.root.meta(&account.home) {
            Ok(meta) if meta.is_dir() => {}
            Ok(_) | Err(Unseen::Missing) => {
                bad.push(format!("{} has no {}", account.name, account.home))
            }
            Err(reason) => return Err(reason),
        }
        Ok(())
    }

    fn home_owned(&self, account: &Account, bad: &mut Vec<String>) -> Result<(), Unseen> {
        let meta = self.root.meta(&account.home)?;
        if meta.uid != account.uid {
            bad.push(format!("{} is of {}", account.home, self.user_name(meta.uid)));
        }
        Ok(())
    }

    fn home_private(&self, account: &Account, bad: &mut Vec<String>) -> Result<(), Unseen> {
        let meta = self.root.meta(&account.home)?;
        if meta.mode & 0o027 != 0 {
            bad.push(format!("{} is {:04o}", account.home, meta.mode));
        }
        Ok(())
    }

    fn dot_files(&self, account: &Account, bad: &mut Vec<String>) -> Result<(), Unseen> {
        let (names, _) = self.root.list(&account.home)?;
        for (name, _) in names.iter().filter(|(name, _)| name.starts_with('.')) {
            let path = format!("{}/{name}", account.home.trim_end_matches('/'));
            let Ok(meta) = self.root.meta(&path) else { continue };
            if meta.is_file()
                && (meta.mode & 0o022 != 0 || meta.uid != 0 && meta.uid != account.uid)
            {
                bad.push(format!("{path} is {:04o} of {}", meta.mode, self.user_name(meta.uid)));
            }
        }
        Ok(())
    }

    fn trust_files(&self, account: &Account, bad: &mut Vec<String>) {
        for name in TRUST_FILES {
            let path = format!("{}/{name}", account.home.trim_end_matches('/'));
            if self.root.meta(&path).is_ok() {
                bad.push(path);
            }
        }
    }

    fn ssh_files(&self, account: &Account, bad: &mut Vec<String>) -> Result<(), Unseen> {
        let folder = format!("{}/.ssh", account.home.trim_end_matches('/'));
        if self.root.meta(&folder)?.mode & 0o022 != 0 {
            bad.push(format!("{folder} may be written by others"));
        }
        let (names, _) = self.root.list(&folder)?;
        for (name, _) in names {
            let path = format!("{folder}/{name}");
            let Ok(meta) = self.root.meta(&path) else { continue };
            let private = name.starts_with("id_") && !name.ends_with(".pub");
            let most = if private { 0o077 } else { 0o022 };
            if meta.is_file() && meta.mode & most != 0 {
                bad.push(format!("{path} is {:04o}", meta.mode));
            }
        }
        Ok(())
    }

    fn keys(&self, account: &Account, bad: &mut Vec<String>) -> Result<(), Unseen> {
        let folder = format!("{}/.ssh", account.home.trim_end_matches('/'));
        for name in ["authorized_keys", "authorized_keys2"] {
            let path = format!("{folder}/{name}");
            let text = match self.root.read(&path) {
                Ok(text) => text,
                Err(Unseen::Missing) => continue,
                Err(reason) => return Err(reason),
            };
            for (number, line) in (1..).zip(text.lines().take(MAX_KEYS)) {
                if let Some(weakness) = weakness(line) {
                    bad.push(format!("{path}:{number}: {weakness}"));
                }
            }
        }
        Ok(())
    }
}

/// What is weak about the key of a line, if something is.
fn weakness(line: &str) -> Option<String> {
    let mut words = line.split_whitespace().skip_while(|word| !word.starts_with("ssh-"));
    let (kind, key) = (words.next()?, words.next()?);
    match kind {
        _ if line.trim_start().starts_with('#') => None,
        "ssh-dss" => Some("a key of DSA".to_owned()),
        "ssh-rsa" => {
            let bits = rsa_bits(&BASE64.decode(key).ok()?)?;
            (bits < MIN_RSA_BITS).then(|| format!("an RSA key of {bits} bits"))
        }
        _ => None,
    }
}

/// Bits of the modulus: the third string of the blob (RFC 4253, 6.6).
fn rsa_bits(blob: &[u8]) -> Option<usize> {
    let mut rest = blob;
    let mut number: &[u8] = &[];
    for _ in 0..3 {
        let (length, after) = rest.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        number = after.get(..length)?;
        rest = after.get(length..)?;
    }
    let first = number.iter().position(|byte| *byte != 0)?;
    let number = number.get(first..)?;
    let top = number.first()?.leading_zeros() as usize;
    Some(number.len() * 8 - top)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rsa(bits: usize) -> String {
        let mut blob = Vec::new();
        let mut modulus = vec![0u8];
        modulus.push(0x80);
        modulus.extend(vec![1; bits / 8 - 1]);
        for part in [b"ssh-rsa".as_slice(), &[1, 0, 1], &modulus] {
            blob.extend((part.len() as u32).to_be_bytes());
            blob.extend(part);
        }
        BASE64.encode(blob)
    }

    #[test]
    fn short_and_old_keys_are_weak_and_broken_ones_no_reason_to_stop() {
        assert_eq!(
            weakness(&format!("ssh-rsa {} x", rsa(1024))).unwrap(),
            "an RSA key of 1024 bits"
        );
        assert_eq!(weakness(&format!("from=\"a\" ssh-rsa {} x", rsa(3072))), None);
        assert!(weakness("ssh-dss AAAA").is_some());
        assert_eq!(weakness("# ssh-dss AAAA"), None);
        assert_eq!(weakness("ssh-rsa !!!"), None);
        assert_eq!(weakness("ssh-rsa AAAAB3"), None);
        assert_eq!(weakness("ssh-ed25519 AAAA"), None);
    }
}
