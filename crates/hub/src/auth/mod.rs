//! Who asks, and what they may do. Credentials are checked here and nowhere
//! else; what comes out is a [`Principal`].

mod account;
mod ews;
mod guesses;
mod key;
mod principal;
mod remembered;
pub(crate) mod secret;
mod session;
mod throttle;

use std::time::Duration;

use palisade_event::Timestamp;
use palisade_store::state::{Account, Role, State, StateError};

pub(crate) use ews::{COMMUNITY_USER, EwsUsers};
pub(crate) use key::Keys;
pub(crate) use principal::Identity;
pub use principal::{Permission, Principal};
pub(crate) use session::Sessions;

use crate::ADMIN;
use crate::error::AdminError;
use account::{HashError, Hasher};

/// Accounts and their doors.
pub(crate) struct Auth {
    state: State,
    hasher: Hasher,
    pub(crate) sessions: Sessions,
    pub(crate) keys: Keys,
    pub(crate) ews: EwsUsers,
}

impl Auth {
    /// Credentials checked before stay good for `outage` while the state
    /// database does not answer.
    pub(crate) fn new(state: &State, outage: Duration) -> Self {
        let hasher = Hasher::new();
        Self {
            sessions: Sessions::new(state.clone(), hasher.clone(), outage),
            keys: Keys::new(state.clone(), outage),
            ews: EwsUsers::new(state.clone(), hasher.clone(), outage),
            state: state.clone(),
            hasher,
        }
    }

    pub(crate) async fn bootstrap_admin(
        &self,
        now: Timestamp,
    ) -> Result<Option<String>, AdminError> {
        if self.state.account(ADMIN).await?.is_some() {
            return Ok(None);
        }
        let password = account::one_time_password();
        match self.add(ADMIN, &password, Role::Admin, now).await {
            Ok(()) => Ok(Some(password)),
            Err(AdminError::Exists(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(crate) async fn list(&self) -> Result<Vec<Account>, AdminError> {
        Ok(self.state.accounts().await?)
    }

    pub(crate) async fn add(
        &self,
        name: &str,
        password: &str,
        role: Role,
        now: Timestamp,
    ) -> Result<(), AdminError> {
        account::check_name(name)?;
        account::check_password(password)?;
        let hash = self.hasher.hash(password).await?;
        let account = Account { name: name.to_owned(), role, created_at: now, disabled: false };
        match self.state.add_account(&account, &hash).await {
            Err(StateError::Exists) => Err(AdminError::Exists(format!("an account '{name}'"))),
            other => Ok(other?),
        }
    }

    pub(crate) async fn remove(&self, name: &str) -> Result<(), AdminError> {
        if name == ADMIN {
            let rule = format!("the account '{ADMIN}' cannot be removed");
            return Err(AdminError::Invalid(rule));
        }
        let removed = self.state.remove_account(name).await;
        self.sessions.forget_all();
        if removed? { Ok(()) } else { Err(no_account(name)) }
    }

    /// Sessions that go on have the new role from their next request on.
    pub(crate) async fn set_role(&self, name: &str, role: Role) -> Result<(), AdminError> {
        if name == ADMIN && role != Role::Admin {
            let rule = format!("the account '{ADMIN}' keeps its role");
            return Err(AdminError::Invalid(rule));
        }
        let changed = self.state.set_account_role(name, role).await;
        self.sessions.forget_all();
        if changed? { Ok(()) } else { Err(no_account(name)) }
    }

    pub(crate) async fn set_password(&self, name: &str, password: &str) -> Result<(), AdminError> {
        account::check_password(password)?;
        if self.state.account(name).await?.is_none() {
            return Err(no_account(name));
        }
        let hash = self.hasher.hash(password).await?;
        let changed = self.state.set_password_hash(name, &hash).await;
        self.sessions.forget_all();
        if changed? { Ok(()) } else { Err(no_account(name)) }
    }
}

fn no_account(name: &str) -> AdminError {
    let name: String = name.chars().take(64).flat_map(char::escape_debug).collect();
    AdminError::NotFound(format!("account '{name}'"))
}

impl From<StateError> for AdminError {
    fn from(error: StateError) -> Self {
        match error {
            StateError::Unavailable(_) => Self::Unavailable(error.to_string()),
            StateError::Nul => Self::Invalid(error.to_string()),
            _ => Self::Failed(error.to_string()),
        }
    }
}

impl From<HashError> for AdminError {
    fn from(error: HashError) -> Self {
        match error {
            HashError::Busy => Self::Failed("too many passwords are checked at once".into()),
            HashError::Failed(reason) => Self::Failed(reason),
        }
    }
}
