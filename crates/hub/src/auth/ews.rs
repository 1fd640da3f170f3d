//! Users of the EWS dialect: a name and a token in every message.
//!
//! A token is checked against its hash once; then the process remembers that
//! it was right, or wrong, for as long as the hash in the database is the
//! same, so that a message costs no hash. Imported hashes (SHA-512, MD5) are
//! replaced by argon2id on first use.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use md5::Md5;
use palisade_event::{Domain, SensorId, Timestamp};
use palisade_store::state::{self, EwsUser, State};
use sha2::{Digest as _, Sha256, Sha512};
use subtle::ConstantTimeEq as _;
use tokio::sync::{Mutex as AsyncMutex, MutexGuard as AsyncGuard};

use super::account::{HashError, Hasher};
use super::guesses::Guesses;
use super::principal::{Identity, Principal};
use super::remembered::Remembered;
use super::secret;
use crate::error::{AdminError, StateError};
use crate::{EwsSecret, EwsUserInfo, NewEwsUser};

/// The user that the first start makes.
pub(crate) const COMMUNITY_USER: &str = "community-01-user";
/// Setting that says the first start is over.
const COMMUNITY_MADE: &str = "ews.community_user_made";
/// The last use is written down at most this often: once a minute.
const TOUCH_MILLIS: i64 = 60 * 1000;
/// A user that was looked up is not looked up again for so long.
const FRESH: Duration = Duration::from_secs(2);
/// Longest token, in bytes.
const MAX_TOKEN_BYTES: usize = 1024;
/// Shortest token of a new user, in characters.
const MIN_TOKEN_CHARS: usize = 8;
/// Longest e-mail address, in bytes (RFC 5321, section 4.5.3.1).
const MAX_EMAIL_BYTES: usize = 254;
/// Tokens that are known to be right or wrong; beyond, all are forgotten and
/// checked again.
const MAX_VERDICTS: usize = 10_000;
/// Tokens that are checked at once; one name always has the same turn.
const TURNS: usize = 16;
/// How long a check waits for its turn.
const TURN_WAIT: Duration = Duration::from_secs(10);
/// Marks of imported hashes.
const SHA512_MARK: &str = "sha512:";
const MD5_MARK: &str = "md5:";

/// The door for the EWS dialect.
pub(crate) struct EwsUsers {
    state: State,
    hasher: Hasher,
    remembered: Remembered<EwsUser>,
    verdicts: Mutex<HashMap<[u8; 32], Verdict>>,
    guesses: Guesses,
    turns: [AsyncMutex<()>; TURNS],
    shuffle: RandomState,
    /// Keeps what is remembered of tokens from being of use elsewhere.
    pepper: [u8; 32],
}

/// What is known of a token.
#[derive(Clone, Debug)]
struct Verdict {
    /// The hash it was checked against; empty where there was no such user.
    hash: String,
    right: bool,
}

impl EwsUsers {
    pub(crate) fn new(state: State, hasher: Hasher, outage: Duration) -> Self {
        Self {
            state,
            hasher,
            remembered: Remembered::new(FRESH, outage),
            verdicts: Mutex::default(),
            guesses: Guesses::default(),
            turns: std::array::from_fn(|_| AsyncMutex::new(())),
            shuffle: RandomState::new(),
            pepper: rand::random(),
        }
    }

    /// Who a name and a token belong to; `None` where they belong to nobody,
    /// or where too many were tried from there.
    pub(crate) async fn check(
        &self,
        name: &str,
        token: &str,
        from: Option<IpAddr>,
        now: Timestamp,
    ) -> Result<Option<Principal>, StateError> {
        if SensorId::new(name).is_err() || token.is_empty() || token.len() > MAX_TOKEN_BYTES {
            return Ok(None);
        }
        let mut found = self.look_up(name).await?;
        let digest = self.digest(name, token);
        let right = match self.verdict(&digest, found.as_ref()) {
            Some(right) => right,
            None => {
                let _turn = self.turn(name).await?;
                // Another request may have changed both meanwhile.
                found = self.look_up(name).await?;
                match self.verdict(&digest, found.as_ref()) {
                    Some(right) => right,
                    None => self.prove(digest, token, found.as_mut(), from).await?,
                }
            }
        };
        let Some(user) = found.filter(|_| right) else { return Ok(None) };
        let user = self.touched(user, now).await;
        Ok(Some(Principal(Identity::Ews {
            name: user.name,
            domain: user.domain,
            read_only: user.read_only,
            community_only: user.community_only,
        })))
    }

    /// Checks a token against its hash, where the address has a guess left.
    async fn prove(
        &self,
        digest: [u8; 32],
        token: &str,
        user: Option<&mut EwsUser>,
        from: Option<IpAddr>,
    ) -> Result<bool, StateError> {
        if !self.guesses.take(from, Instant::now()) {
            tracing::warn!(from = ?from, "too many wrong tokens from there; none is checked now");
            return Ok(false);
        }
        let right = match user.as_ref().map(|user| user.token_hash.as_str()) {
            Some(hash) if hash.starts_with(SHA512_MARK) => {
                same(&format!("{SHA512_MARK}{}", secret::hex(&Sha512::digest(token))), hash)
            }
            Some(hash) if hash.starts_with(MD5_MARK) => {
                same(&format!("{MD5_MARK}{}", secret::hex(&Md5::digest(token))), hash)
            }
            // Nobody's token takes as long as somebody's.
            hash => self.hasher.verify(token, hash.map(str::to_owned)).await?,
        };
        if right {
            self.guesses.give_back(from);
        }
        let mut hash = String::new();
        if let Some(user) = user {
            if right && !user.token_hash.starts_with("$argon2") {
                self.improve(user, token).await;
            }
            hash.clone_from(&user.token_hash);
        }
        let mut verdicts = self.verdicts();
        if verdicts.len() >= MAX_VERDICTS {
            verdicts.clear();
        }
        verdicts.insert(digest, Verdict { hash, right });
        Ok(right)
    }

    /// Replaces an imported hash. What fails is tried at the next start.
    async fn improve(&self, user: &mut EwsUser, token: &str) {
        let Ok(better) = self.hasher.hash(token).await else { return };
        let question = self.remembered.question();
        match self.state.rehash_ews_user(user.name.as_str(), &user.token_hash, &better).await {
            Ok(true) => {
                user.token_hash = better;
                let name = user.name.as_str();
                self.remembered.keep(question, name, user.clone(), Instant::now());
            }
            Ok(false) => {}
            Err(error) => tracing::debug!(%error, "an imported hash was not replaced"),
        }
    }

    /// Notes the use once a minute.
    async fn touched(&self, mut user: EwsUser, now: Timestamp) -> EwsUser {
        let unused =
            user.last_used_at.is_none_or(|last| now.as_millis() - last.as_millis() >= TOUCH_MILLIS);
        if unused {
            let question = self.remembered.question();
            // A full disk must not shut out who would be told to wait.
            match self.state.touch_ews_user(user.name.as_str(), now).await {
                Ok(()) => {
                    user.last_used_at = Some(now);
                    let name = user.name.as_str();
                    self.remembered.keep(question, name, user.clone(), Instant::now());
                }
                Err(error) => {
                    tracing::debug!(%error, "the last use of an EWS user was not written down");
                }
            }
        }
        user
    }

    async fn look_up(&self, name: &str) -> Result<Option<EwsUser>, StateError> {
        match self.remembered.fresh(name, Instant::now()) {
            Some(found) => Ok(Some(found)),
            None => self.remembered.look_up(name, self.state.ews_user(name)).await,
        }
    }

    async fn turn(&self, name: &str) -> Result<AsyncGuard<'_, ()>, StateError> {
        let busy = || StateError::Unavailable("too many tokens are checked at once".into());
        let place = usize::try_from(self.shuffle.hash_one(name)).unwrap_or_default() % TURNS;
        let turn = self.turns.get(place).ok_or_else(busy)?;
        tokio::time::timeout(TURN_WAIT, turn.lock()).await.map_err(|_| busy())
    }

    fn verdict(&self, digest: &[u8; 32], user: Option<&EwsUser>) -> Option<bool> {
        let verdicts = self.verdicts();
        let verdict = verdicts.get(digest)?;
        let hash = user.map_or("", |user| user.token_hash.as_str());
        (verdict.hash == hash).then_some(verdict.right)
    }

    fn verdicts(&self) -> MutexGuard<'_, HashMap<[u8; 32], Verdict>> {
        self.verdicts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Name and token, in a form that is of no use outside of this process.
    fn digest(&self, name: &str, token: &str) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(self.pepper);
        hash.update((name.len() as u64).to_be_bytes());
        hash.update(name);
        hash.update(token);
        hash.finalize().into()
    }

    pub(crate) async fn list(&self) -> Result<Vec<EwsUserInfo>, AdminError> {
        let users = self.state.ews_users().await?;
        Ok(users
            .into_iter()
            .map(|user| EwsUserInfo {
                name: user.name,
                domain: user.domain,
                email: user.email,
                read_only: user.read_only,
                community_only: user.community_only,
                created_at: user.created_at,
                last_used_at: user.last_used_at,
            })
            .collect())
    }

    pub(crate) async fn add(&self, new: NewEwsUser, now: Timestamp) -> Result<(), AdminError> {
        if let Some(email) = &new.email {
            check_email(email)?;
        }
        let token_hash = match &new.secret {
            EwsSecret::Token(token) => {
                check_token(token)?;
                self.hasher.hash(token).await?
            }
            EwsSecret::Sha512(digits) => format!("{SHA512_MARK}{}", hex_digits(digits, 128)?),
            EwsSecret::Md5(digits) => format!("{MD5_MARK}{}", hex_digits(digits, 32)?),
        };
        let user = EwsUser {
            name: new.name,
            token_hash,
            domain: new.domain,
            email: new.email,
            read_only: new.read_only,
            community_only: new.community_only,
            created_at: now,
            last_used_at: None,
        };
        match self.state.add_ews_user(&user).await {
            Err(state::StateError::Exists) => {
                Err(AdminError::Exists(format!("an EWS user '{}'", user.name)))
            }
            other => Ok(other?),
        }
    }

    pub(crate) async fn remove(&self, name: &str) -> Result<(), AdminError> {
        let removed = self.state.remove_ews_user(name).await;
        self.remembered.forget(name);
        if removed? {
            return Ok(());
        }
        let name: String = name.chars().take(64).flat_map(char::escape_debug).collect();
        Err(AdminError::NotFound(format!("EWS user '{name}'")))
    }

    /// Makes [`COMMUNITY_USER`] once in the life of the state, and returns its
    /// token: the only time it can be seen.
    pub(crate) async fn bootstrap(&self, now: Timestamp) -> Result<Option<String>, AdminError> {
        if self.state.meta(COMMUNITY_MADE).await?.is_some() {
            return Ok(None);
        }
        let token = secret::secret();
        let name =
            SensorId::new(COMMUNITY_USER).map_err(|error| AdminError::Failed(error.to_string()))?;
        let new = NewEwsUser {
            name,
            secret: EwsSecret::Token(token.clone()),
            domain: Domain::Community,
            email: None,
            read_only: false,
            community_only: true,
        };
        let added = match self.add(new, now).await {
            Ok(()) => Some(token),
            // Another hub, or the operator, was faster.
            Err(AdminError::Exists(_)) => None,
            Err(error) => return Err(error),
        };
        self.state.set_meta(COMMUNITY_MADE, "1").await?;
        Ok(added)
    }
}

fn same(a: &str, b: &str) -> bool {
    a.as_bytes().ct_eq(b.as_bytes()).into()
}

fn check_token(token: &str) -> Result<(), AdminError> {
    if token.chars().count() < MIN_TOKEN_CHARS || token.len() > MAX_TOKEN_BYTES {
        return Err(AdminError::Invalid(format!(
            "a token has at least {MIN_TOKEN_CHARS} characters and at most {MAX_TOKEN_BYTES} bytes"
        )));
    }
    // It travels as text of an XML element.
    if token.trim() != token || token.chars().any(char::is_control) {
        let rule = "a token has no space at its ends and no control characters";
        return Err(AdminError::Invalid(rule.into()));
    }
    Ok(())
}

fn check_email(email: &str) -> Result<(), AdminError> {
    let bad = |c: char| c.is_control() || c.is_whitespace();
    let parts = email.rsplit_once('@').is_some_and(|(a, b)| !a.is_empty() && !b.is_empty());
    if email.len() > MAX_EMAIL_BYTES || email.chars().any(bad) || !parts {
        let rule = "an e-mail address looks like name@example.org and has at most 254 bytes";
        return Err(AdminError::Invalid(rule.into()));
    }
    Ok(())
}

/// The digits in lower case.
fn hex_digits(digits: &str, expected: usize) -> Result<String, AdminError> {
    if digits.len() == expected && digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Ok(digits.to_ascii_lowercase());
    }
    Err(AdminError::Invalid(format!("a hash of this kind has {expected} hex digits")))
}

impl From<HashError> for StateError {
    fn from(error: HashError) -> Self {
        match error {
            HashError::Busy => Self::Unavailable("too many tokens are checked at once".into()),
            HashError::Failed(reason) => Self::Failed(reason),
        }
    }
}
