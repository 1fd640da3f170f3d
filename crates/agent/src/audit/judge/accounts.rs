//! Checks of accounts and groups.

use std::collections::BTreeMap;

use super::super::probe::AccountRule;
use super::{Facts, Judged, Verdict, none_of};
use crate::inventory::accounts::{Account, Accounts, Password, Shadow};
use crate::inventory::root::Unseen;

/// Schemes of hashes that take long to guess (crypt(5)).
const STRONG_SCHEMES: [&str; 9] = ["6", "y", "gy", "7", "2a", "2b", "2y", "argon2id", "argon2i"];
/// System accounts that distributions give a shell of their own.
const SHELLS_ALLOWED: [&str; 4] = ["root", "sync", "shutdown", "halt"];

impl Facts<'_> {
    /// A rule about accounts.
    pub(super) fn account_rule(&self, rule: AccountRule, limit: Option<i64>) -> Judged {
        use AccountRule as Rule;
        let accounts = self.accounts()?;
        let all = || accounts.accounts.iter();
        let names = |wanted: &dyn Fn(&&Account) -> bool| -> Vec<String> {
            all().filter(wanted).map(|account| account.name.clone()).collect()
        };
        Ok(match rule {
            Rule::OnlyRootIsZero => none_of(
                &names(&|account| account.uid == 0 && account.name != "root"),
                "only root has the id 0",
            ),
            Rule::RootGroupIsZero => {
                let mut root = all().filter(|account| account.name == "root");
                match root.next() {
                    Some(root) if root.gid == 0 => Verdict::Pass("root's group is 0".to_owned()),
                    Some(root) => Verdict::Fail(format!("root's group is {}", root.gid)),
                    None => Verdict::Fail("there is no account root".to_owned()),
                }
            }
            Rule::PasswordsInShadow => none_of(
                &names(&|account| !matches!(account.inline.as_str(), "x" | "*" | "!" | "!!")),
                "passwords are in shadow",
            ),
            Rule::NoEmptyPasswords => {
                let open = names(&|account| account.password() == Password::Empty);
                if open.is_empty() {
                    shadow(accounts)?;
                }
                none_of(&open, "every account has a password or is locked")
            }
            Rule::StrongHashes => {
                let weak = |shadow: &Shadow| {
                    shadow.password == Password::Set
                        && !STRONG_SCHEMES.contains(&shadow.scheme.as_str())
                };
                with_password(accounts, weak, "all hashes are slow ones")?
            }
            Rule::PasswordsEnd => {
                let bound = limit.unwrap_or(365);
                let late = |shadow: &Shadow| {
                    shadow.password == Password::Set
                        && shadow.max.is_none_or(|days| days > bound || days < 0)
                };
                with_password(accounts, late, "all passwords end")?
            }
            Rule::InactiveLocked => {
                let bound = limit.unwrap_or(45);
                let late = |shadow: &Shadow| {
                    shadow.password == Password::Set
                        && shadow.inactive.is_none_or(|days| days > bound || days < 0)
                };
                with_password(accounts, late, "all accounts are locked after their password's end")?
            }
            Rule::ChangedInThePast => {
                let today = self.now.as_millis() / 86_400_000;
                let future = |shadow: &Shadow| {
                    shadow.password == Password::Set
                        && shadow.changed.is_some_and(|day| day > today)
                };
                with_password(accounts, future, "no password was changed in the future")?
            }
            Rule::UniqueIds => none_of(
                &twice(all().map(|account| (account.uid.to_string(), account.name.clone()))),
                "every id is there once",
            ),
            Rule::UniqueNames => none_of(
                &twice(all().map(|account| (account.name.clone(), account.uid.to_string()))),
                "every name is there once",
            ),
            Rule::UniqueGroupIds => {
                let groups = accounts.groups.iter();
                let pairs = groups.map(|group| (group.gid.to_string(), group.name.clone()));
                none_of(&twice(pairs), "every id is there once")
            }
            Rule::UniqueGroupNames => {
                let groups = accounts.groups.iter();
                let pairs = groups.map(|group| (group.name.clone(), group.gid.to_string()));
                none_of(&twice(pairs), "every name is there once")
            }
            Rule::GroupsExist => {
                let alone = all().filter(|account| accounts.group(account.gid).is_none());
                let alone: Vec<String> =
                    alone.map(|account| format!("{} ({})", account.name, account.gid)).collect();
                none_of(&alone, "every account's group is there")
            }
            Rule::ShadowGroupEmpty => {
                let mut groups = accounts.groups.iter().filter(|group| group.name == "shadow");
                let Some(group) = groups.next() else {
                    return Ok(Verdict::NotApplicable("there is no group shadow".to_owned()));
                };
                let mut inside = group.members.clone();
                inside.extend(names(&|account| account.gid == group.gid));
                none_of(&inside, "nobody is in the group shadow")
            }
            Rule::SystemAccountsNoShell => {
                let first = Accounts::first_user_id(self.root);
                let shells = names(&|account| {
                    account.uid < first
                        && account.has_shell()
                        && !SHELLS_ALLOWED.contains(&account.name.as_str())
                });
                none_of(&shells, "no system account has a shell")
            }
            Rule::SystemAccountsLocked => {
                let first = Accounts::first_user_id(self.root);
                shadow(accounts)?;
                let open = names(&|account| {
                    account.uid < first
                        && account.name != "root"
                        && matches!(account.password(), Password::Set | Password::Empty)
                });
                none_of(&open, "no system account has a password")
            }
            Rule::HomesExist
            | Rule::HomesOwned
            | Rule::HomesPrivate
            | Rule::DotFilesOwnAlone
            | Rule::NoTrustFiles
            | Rule::SshFilesPrivate
            | Rule::NoWeakKeys => return self.home_rule(rule, accounts),
        })
    }
}

/// Passwords cannot be judged where `shadow` was not read.
fn shadow(accounts: &Accounts) -> Result<(), Unseen> {
    match &accounts.shadow_unseen {
        Some(Unseen::Missing) => Err(Unseen::Other("there is no /etc/shadow".to_owned())),
        Some(reason) => Err(reason.clone()),
        None => Ok(()),
    }
}

/// Accounts of whose line in `shadow` something is true.
fn with_password(accounts: &Accounts, bad: impl Fn(&Shadow) -> bool, good: &str) -> Judged {
    shadow(accounts)?;
    let known = accounts.accounts.iter().filter_map(|a| a.shadow.as_ref().map(|s| (a, s)));
    let named: Vec<String> =
        known.filter(|(_, shadow)| bad(shadow)).map(|(account, _)| account.name.clone()).collect();
    Ok(none_of(&named, good))
}

/// Keys that are there more than once, with those who have them.
fn twice(pairs: impl Iterator<Item = (String, String)>) -> Vec<String> {
    let mut by_key: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (key, holder) in pairs {
        by_key.entry(key).or_default().push(holder);
    }
    let several = by_key.into_iter().filter(|(_, holders)| holders.len() > 1);
    several.map(|(key, holders)| format!("{key}: {}", holders.join(" and "))).collect()
}
