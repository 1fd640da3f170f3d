//! Accounts and groups, as `passwd`, `shadow` and `group` have them.

use std::collections::BTreeMap;

use super::root::{Root, Unseen};

/// Most accounts that are read.
pub(crate) const MAX_ACCOUNTS: usize = 20_000;

/// How an account may be signed in to with a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Password {
    /// Only with the right one.
    Set,
    /// Not at all.
    Locked,
    /// With none.
    Empty,
    /// `shadow` may be read by root alone.
    Unknown,
}

impl Password {
    /// Its name in events.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Set => "set",
            Self::Locked => "locked",
            Self::Empty => "empty",
            Self::Unknown => "unknown",
        }
    }
}

/// An account.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    pub(crate) name: String,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) home: String,
    pub(crate) shell: String,
    /// The second field of `passwd`: `x` where the password is in `shadow`.
    pub(crate) inline: String,
    pub(crate) shadow: Option<Shadow>,
}

/// The line of an account in `shadow`. Of the password only its form is kept.
#[derive(Clone, Debug)]
pub(crate) struct Shadow {
    pub(crate) password: Password,
    /// The scheme of its hash: `6` for SHA-512, `y` for yescrypt; empty for DES.
    pub(crate) scheme: String,
    /// Day of the last change, days since 1970.
    pub(crate) changed: Option<i64>,
    /// Days until a change is allowed, until it is needed, of warning before.
    pub(crate) min: Option<i64>,
    pub(crate) max: Option<i64>,
    pub(crate) warn: Option<i64>,
    /// Days after the password's end until the account is locked.
    pub(crate) inactive: Option<i64>,
    /// Day on which the account ends.
    pub(crate) expires: Option<i64>,
}

/// A group.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub(crate) name: String,
    pub(crate) gid: u32,
    pub(crate) members: Vec<String>,
}

impl Account {
    /// How it may be signed in to.
    pub(crate) fn password(&self) -> Password {
        match self.inline.as_str() {
            "" => Password::Empty,
            "x" => self.shadow.as_ref().map_or(Password::Unknown, |shadow| shadow.password),
            text => form(text).0,
        }
    }

    /// Whether its shell lets somebody work.
    pub(crate) fn has_shell(&self) -> bool {
        let name = self.shell.rsplit('/').next().unwrap_or_default();
        !matches!(name, "nologin" | "false" | "sync" | "shutdown" | "halt" | "true")
    }
}

/// Accounts, groups, and what is wrong with their files' lines.
#[derive(Clone, Debug, Default)]
pub(crate) struct Accounts {
    pub(crate) accounts: Vec<Account>,
    pub(crate) groups: Vec<Group>,
    /// Accounts beyond [`MAX_ACCOUNTS`].
    pub(crate) left_out: usize,
    /// Lines that are none, by file, the name alone.
    pub(crate) malformed: Vec<(String, String)>,
    /// Why `shadow` was not read.
    pub(crate) shadow_unseen: Option<Unseen>,
}

impl Accounts {
    /// Reads them.
    ///
    /// # Errors
    /// `passwd` cannot be read; without it nothing is known.
    pub(crate) fn read(root: &Root) -> Result<Self, Unseen> {
        let passwd = root.read("/etc/passwd")?;
        let mut found = Self::default();
        let mut shadows = BTreeMap::new();
        match root.read("/etc/shadow") {
            Ok(text) => shadows.extend(text.lines().filter_map(shadow)),
            Err(reason) => found.shadow_unseen = Some(reason),
        }
        for line in lines(&passwd) {
            match account(line) {
                Some(_) if found.accounts.len() >= MAX_ACCOUNTS => found.left_out += 1,
                Some(mut account) => {
                    account.shadow = shadows.get(&account.name).cloned();
                    found.accounts.push(account);
                }
                None => found.malformed("/etc/passwd", line),
            }
        }
        // A machine without groups is no reason to know nothing.
        for line in lines(&root.read("/etc/group").unwrap_or_default()) {
            match group(line) {
                Some(group) if found.groups.len() < MAX_ACCOUNTS => found.groups.push(group),
                Some(_) => {}
                None => found.malformed("/etc/group", line),
            }
        }
        Ok(found)
    }

    fn malformed(&mut self, file: &str, line: &str) {
        if self.malformed.len() < 100 {
            let name = line.split(':').next().unwrap_or_default().chars().take(64).collect();
            self.malformed.push((file.to_owned(), name));
        }
    }

    /// The groups of an account by name, its own first.
    pub(crate) fn groups_of(&self, account: &Account) -> Vec<&str> {
        let own = self.groups.iter().filter(|group| group.gid == account.gid);
        let member =
            |group: &&Group| group.gid != account.gid && group.members.contains(&account.name);
        own.chain(self.groups.iter().filter(member)).map(|group| group.name.as_str()).collect()
    }

    /// The name of a user id, where there is one.
    pub(crate) fn user(&self, uid: u32) -> Option<&str> {
        self.accounts.iter().find(|a| a.uid == uid).map(|a| a.name.as_str())
    }

    /// The name of a group id, where there is one.
    pub(crate) fn group(&self, gid: u32) -> Option<&str> {
        self.groups.iter().find(|g| g.gid == gid).map(|g| g.name.as_str())
    }

    /// The smallest id of people's accounts, as `login.defs` says.
    pub(crate) fn first_user_id(root: &Root) -> u32 {
        let defs = root.read("/etc/login.defs").unwrap_or_default();
        let mut words = defs.lines().map(str::split_whitespace);
        let id = words.find_map(|mut words| {
            (words.next() == Some("UID_MIN")).then(|| words.next()?.parse().ok())
        });
        id.flatten().unwrap_or(1000)
    }
}

fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
}

fn account(line: &str) -> Option<Account> {
    let mut fields = line.split(':');
    let (name, inline) = (fields.next()?, fields.next()?);
    let (uid, gid) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    let _full_name = fields.next()?;
    let (home, shell) = (fields.next()?, fields.next().unwrap_or_default());
    (!name.is_empty() && fields.next().is_none()).then(|| Account {
        name: name.to_owned(),
        uid,
        gid,
        home: home.to_owned(),
        shell: shell.to_owned(),
        inline: inline.to_owned(),
        shadow: None,
    })
}

/// How a password's field lets somebody in, and the scheme of its hash.
fn form(field: &str) -> (Password, String) {
    match field {
        "" => (Password::Empty, String::new()),
        _ if field.starts_with(['!', '*']) => (Password::Locked, String::new()),
        _ => match field.strip_prefix('$') {
            Some(rest) => (
                Password::Set,
                rest.split('$').next().unwrap_or_default().chars().take(16).collect(),
            ),
            // Thirteen characters of DES; anything else matches no password.
            None if field.len() == 13 => (Password::Set, String::new()),
            None => (Password::Locked, String::new()),
        },
    }
}

fn shadow(line: &str) -> Option<(String, Shadow)> {
    let mut fields = line.trim().split(':');
    let (name, field) = (fields.next()?, fields.next()?);
    let (password, scheme) = form(field);
    let mut day = || fields.next().and_then(|text| text.parse::<i64>().ok());
    let (changed, min, max, warn, inactive, expires) = (day(), day(), day(), day(), day(), day());
    Some((name.to_owned(), Shadow { password, scheme, changed, min, max, warn, inactive, expires }))
}

fn group(line: &str) -> Option<Group> {
    let mut fields = line.split(':');
    let (name, _) = (fields.next()?, fields.next()?);
    let gid = fields.next()?.parse().ok()?;
    let members = fields.next().unwrap_or_default().split(',');
    let members = members.map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned);
    (!name.is_empty()).then(|| Group { name: name.to_owned(), gid, members: members.collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_of_a_password_is_known_and_its_hash_is_not_kept() {
        let (name, seen) = shadow("root:$y$j9T$abc$def:19000:0:99999:7:30::").unwrap();
        assert_eq!(
            (name.as_str(), seen.password, seen.scheme.as_str()),
            ("root", Password::Set, "y")
        );
        assert_eq!(
            (seen.changed, seen.max, seen.inactive, seen.expires),
            (Some(19000), Some(99999), Some(30), None)
        );
        assert!(!format!("{seen:?}").contains("abc"));
        assert_eq!(shadow("a::1:::::").unwrap().1.password, Password::Empty);
        assert_eq!(shadow("a:!$6$x$y:1:::::").unwrap().1.password, Password::Locked);
        assert_eq!(shadow("a:*:1").unwrap().1.password, Password::Locked);
    }

    #[test]
    fn broken_lines_are_named_and_cost_no_others() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("etc")).unwrap();
        let passwd = "root:x:0:0::/root:/bin/bash\nbroken\nbig:x:99999999999:0::/:/x\nu:x:1000:7::/home/u:/bin/sh\n";
        std::fs::write(folder.path().join("etc/passwd"), passwd).unwrap();
        std::fs::write(
            folder.path().join("etc/group"),
            "root:x:0:\nown:x:7:\nadm:x:4:u,root\n::\n",
        )
        .unwrap();
        let found = Accounts::read(&Root::folder(folder.path()).unwrap()).unwrap();
        assert_eq!(found.accounts.len(), 2);
        let wrong: Vec<&str> = found.malformed.iter().map(|(_, name)| name.as_str()).collect();
        assert_eq!(wrong, ["broken", "big", ""]);
        assert_eq!(found.groups_of(&found.accounts[1]), ["own", "adm"]);
        assert_eq!(found.accounts[0].password(), Password::Unknown);
        assert_eq!(found.shadow_unseen, Some(Unseen::Missing));
    }
}
