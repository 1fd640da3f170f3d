//! Signing in, and the sessions of browsers.

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use palisade_event::{Timestamp, Untrusted};
use palisade_store::state::{self, Account, State};

use super::account::{HashError, Hasher};
use super::principal::{Identity, Permission, Principal};
use super::remembered::Remembered;
use super::secret;
use super::throttle::Throttle;
use crate::error::{AdminError, SignInError, StateError};
use crate::{Session, SessionInfo, SignedIn};

/// A session that is not used for so long ends: 12 hours.
pub(crate) const IDLE_MILLIS: i64 = 12 * 60 * 60 * 1000;
/// A session ends at the latest after so long: 7 days.
const LIFE_MILLIS: i64 = 7 * 24 * 60 * 60 * 1000;
/// The last use is written down at most this often: once a minute.
const TOUCH_MILLIS: i64 = 60 * 1000;
/// Longest user agent that is kept, in characters after escaping.
const MAX_USER_AGENT_CHARS: usize = 200;
/// Characters of a token's hash that name the session in listings.
const SESSION_ID_CHARS: usize = 32;
/// Seconds after which to try again where too many sign in at once.
const BUSY_RETRY_SECS: u32 = 2;

/// The door for people.
pub(crate) struct Sessions {
    state: State,
    hasher: Hasher,
    throttle: Mutex<Throttle>,
    /// By the hash of the token; of use only while the database is away, as
    /// every request asks it.
    remembered: Remembered<(state::Session, Account)>,
}

impl Sessions {
    pub(crate) fn new(state: State, hasher: Hasher, outage: Duration) -> Self {
        let remembered = Remembered::new(Duration::ZERO, outage);
        Self { state, hasher, throttle: Mutex::default(), remembered }
    }

    pub(crate) async fn sign_in(
        &self,
        name: &str,
        password: &str,
        from: Option<IpAddr>,
        user_agent: Option<&[u8]>,
        now: Timestamp,
    ) -> Result<SignedIn, SignInError> {
        // What cannot be a name is not worth the hash of its guess.
        if super::account::check_name(name).is_err() || password.len() > 1024 {
            self.throttle("", from, now)?;
            return Err(SignInError::Wrong);
        }
        self.throttle(name, from, now)?;
        let failed = |error: state::StateError| SignInError::from(StateError::from(error));
        let found = self.state.account(name).await.map_err(failed)?;
        let (account, hash) = found.unzip();
        let right = self.hasher.verify(password, hash).await.map_err(|error| match error {
            HashError::Busy => SignInError::Throttled { retry_after_secs: BUSY_RETRY_SECS },
            HashError::Failed(reason) => SignInError::Failed(reason),
        })?;
        let Some(account) = account.filter(|account| right && !account.disabled) else {
            return Err(SignInError::Wrong);
        };
        self.throttle.lock().unwrap_or_else(PoisonError::into_inner).succeeded(name, from);
        let token = secret::secret();
        let expires_at = now.plus_millis(LIFE_MILLIS);
        let session = state::Session {
            token_hash: secret::digest(&token),
            account: account.name.clone(),
            created_at: now,
            last_seen: now,
            expires_at,
            address: from,
            user_agent: user_agent.map(shown),
        };
        self.state.add_session(&session).await.map_err(failed)?;
        let principal = Principal(Identity::Account { name: account.name, role: account.role });
        Ok(SignedIn { token, principal, expires_at })
    }

    fn throttle(
        &self,
        name: &str,
        from: Option<IpAddr>,
        now: Timestamp,
    ) -> Result<(), SignInError> {
        let mut throttle = self.throttle.lock().unwrap_or_else(PoisonError::into_inner);
        throttle
            .begin(name, from, now)
            .map_err(|retry_after_secs| SignInError::Throttled { retry_after_secs })
    }

    pub(crate) async fn session(
        &self,
        token: &str,
        now: Timestamp,
    ) -> Result<Option<Session>, StateError> {
        if !secret::is_plausible(token) {
            return Ok(None);
        }
        let hash = secret::digest(token);
        let Some((session, account)) = self.look_up(&hash).await? else { return Ok(None) };
        if account.disabled || !is_valid(&session, now) {
            return Ok(None);
        }
        if now.as_millis() - session.last_seen.as_millis() >= TOUCH_MILLIS {
            // A full disk must not sign everybody out.
            if let Err(error) = self.state.touch_session(&hash, now).await {
                tracing::debug!(%error, "the last use of a session was not written down");
            }
        }
        let principal = Principal(Identity::Account { name: account.name, role: account.role });
        Ok(Some(Session { principal, expires_at: session.expires_at }))
    }

    /// The session as the database has it; as it had it, where it does not answer.
    async fn look_up(&self, hash: &str) -> Result<Option<(state::Session, Account)>, StateError> {
        let question = self.remembered.question();
        match self.state.session(hash).await {
            Ok(Some(found)) => {
                self.remembered.keep(question, hash, found.clone(), Instant::now());
                Ok(Some(found))
            }
            Ok(None) => {
                self.remembered.unknown(hash);
                Ok(None)
            }
            Err(state::StateError::Unavailable(reason)) => {
                let before = self.remembered.in_outage(hash, Instant::now());
                before.map(Some).ok_or(StateError::Unavailable(reason))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Any session may have ended.
    pub(super) fn forget_all(&self) {
        self.remembered.forget_all();
    }

    pub(crate) async fn sign_out(&self, token: &str) -> Result<(), StateError> {
        let hash = secret::digest(token);
        let removed = self.state.remove_session(&hash).await;
        self.remembered.forget(&hash);
        removed?;
        Ok(())
    }

    pub(crate) async fn list(
        &self,
        who: &Principal,
        now: Timestamp,
    ) -> Result<Vec<SessionInfo>, AdminError> {
        Ok(self
            .mine(who)
            .await?
            .into_iter()
            .filter(|session| is_valid(session, now))
            .map(|session| SessionInfo {
                id: id_of(&session).to_owned(),
                account: session.account,
                created_at: session.created_at,
                last_seen: session.last_seen,
                expires_at: session.expires_at,
                address: session.address,
                user_agent: session.user_agent,
            })
            .collect())
    }

    /// What names the session of a token in listings.
    pub(crate) fn id(token: &str) -> String {
        let mut hash = secret::digest(token);
        hash.truncate(SESSION_ID_CHARS);
        hash
    }

    pub(crate) async fn revoke(&self, who: &Principal, id: &str) -> Result<(), AdminError> {
        let sessions = self.mine(who).await?;
        let Some(session) = sessions.iter().find(|session| id_of(session) == id) else {
            return Err(AdminError::NotFound("such session".into()));
        };
        let removed = self.state.remove_session(&session.token_hash).await;
        self.remembered.forget(&session.token_hash);
        removed?;
        Ok(())
    }

    /// Sessions that the principal may see and end.
    async fn mine(&self, who: &Principal) -> Result<Vec<state::Session>, AdminError> {
        let all = who.may(Permission::Administer);
        if !all && who.role().is_none() {
            return Err(AdminError::Forbidden);
        }
        let mut sessions = self.state.sessions().await?;
        sessions.retain(|session| all || session.account == who.name());
        Ok(sessions)
    }

    /// Removes sessions that can never be valid again.
    pub(crate) async fn sweep(&self, now: Timestamp) -> Result<u64, StateError> {
        Ok(self.state.remove_expired_sessions(now, now.plus_millis(-IDLE_MILLIS)).await?)
    }
}

fn is_valid(session: &state::Session, now: Timestamp) -> bool {
    now < session.expires_at && now < session.last_seen.plus_millis(IDLE_MILLIS)
}

fn id_of(session: &state::Session) -> &str {
    session.token_hash.get(..SESSION_ID_CHARS).unwrap_or(&session.token_hash)
}

/// The client's own words, escaped and cut.
fn shown(text: &[u8]) -> String {
    let head = text.get(..MAX_USER_AGENT_CHARS).unwrap_or(text);
    Untrusted::new(head).to_string().chars().take(MAX_USER_AGENT_CHARS).collect()
}
