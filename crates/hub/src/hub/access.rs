//! The façade's part for people and keys: sessions, accounts, keys, saved
//! queries. Who may do what is decided here or in [`crate::auth`].

use std::net::IpAddr;

use palisade_event::{Domain, SensorId, Timestamp};
use palisade_store::state::{Account, Ranges, Role, Scope};

use super::Hub;
use crate::auth::{Permission, Principal};
use crate::error::{AdminError, SignInError, StateError};
use crate::listing::{EwsUserInfo, KeyInfo, NewEwsUser, NewKey, Session, SessionInfo, SignedIn};
use crate::metrics::Outcome;
use crate::saved_query::{self, NewSavedQuery, SavedQuery};

impl Hub {
    /// Begins a session. `from` and `user_agent` are for the listing, `from`
    /// also bounds how often a client may try.
    ///
    /// # Errors
    /// [`SignInError`]
    pub async fn sign_in(
        &self,
        name: &str,
        password: &str,
        from: Option<IpAddr>,
        user_agent: Option<&[u8]>,
        now: Timestamp,
    ) -> Result<SignedIn, SignInError> {
        let auth = &self.inner.auth;
        let signed_in = auth.sessions.sign_in(name, password, from, user_agent, now).await;
        let outcome = match &signed_in {
            Ok(_) => "ok",
            Err(SignInError::Wrong) => "wrong",
            Err(SignInError::Throttled { .. }) => "throttled",
            Err(SignInError::Unavailable(_)) => "unavailable",
            Err(SignInError::Failed(_)) => "failed",
        };
        self.inner.metrics.sign_ins.get_or_create(&Outcome { outcome }).inc();
        signed_in
    }

    /// The session of a token; `None` where it is unknown or has expired.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn session(
        &self,
        token: &str,
        now: Timestamp,
    ) -> Result<Option<Session>, StateError> {
        self.inner.auth.sessions.session(token, now).await
    }

    /// Ends the session of a token, if there is one.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn sign_out(&self, token: &str) -> Result<(), StateError> {
        self.inner.auth.sessions.sign_out(token).await
    }

    /// Valid sessions: all of them for who may administer, else one's own.
    ///
    /// # Errors
    /// [`AdminError`]
    pub async fn sessions(
        &self,
        who: &Principal,
        now: Timestamp,
    ) -> Result<Vec<SessionInfo>, AdminError> {
        self.inner.auth.sessions.list(who, now).await
    }

    /// The name that a token's session has in [`Self::sessions`].
    #[must_use]
    pub fn session_id(&self, token: &str) -> String {
        crate::auth::Sessions::id(token)
    }

    /// Ends a session: any for who may administer, else one's own.
    ///
    /// # Errors
    /// [`AdminError`]
    pub async fn revoke_session(&self, who: &Principal, id: &str) -> Result<(), AdminError> {
        self.inner.auth.sessions.revoke(who, id).await
    }

    /// Checks a key (`pal_<id>_<secret>`); `None` where it is not valid.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn key(&self, key: &str, now: Timestamp) -> Result<Option<Principal>, StateError> {
        self.inner.auth.keys.check(key, now).await
    }

    /// Checks name and token of an EWS user; `None` where they are wrong, or
    /// where too many wrong ones came from that address. Right ones that were
    /// seen before cost no hash and are never held up by wrong ones.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn ews_user(
        &self,
        name: &str,
        token: &str,
        from: Option<IpAddr>,
        now: Timestamp,
    ) -> Result<Option<Principal>, StateError> {
        self.inner.auth.ews.check(name, token, from, now).await
    }

    /// EWS users by name.
    ///
    /// # Errors
    /// [`AdminError`]
    pub async fn ews_users(&self, who: &Principal) -> Result<Vec<EwsUserInfo>, AdminError> {
        administers(who)?;
        self.inner.auth.ews.list().await
    }

    /// Makes an EWS user.
    ///
    /// # Errors
    /// [`AdminError`]; the rules of tokens and addresses are in the message.
    pub async fn add_ews_user(
        &self,
        who: &Principal,
        new: NewEwsUser,
        now: Timestamp,
    ) -> Result<(), AdminError> {
        administers(who)?;
        self.inner.auth.ews.add(new, now).await
    }

    /// Removes an EWS user; its token is refused from then on.
    ///
    /// # Errors
    /// [`AdminError`]
    pub async fn remove_ews_user(&self, who: &Principal, name: &str) -> Result<(), AdminError> {
        administers(who)?;
        self.inner.auth.ews.remove(name).await
    }

    /// Accounts by name.
    ///
    /// # Errors
    /// [`AdminError`]
    pub async fn accounts(&self, who: &Principal) -> Result<Vec<Account>, AdminError> {
        administers(who)?;
        self.inner.auth.list().await
    }

    /// Makes an account.
    ///
    /// # Errors
    /// [`AdminError`]; the rules of names and passwords are in the message.
    pub async fn add_account(
        &self,
        who: &Principal,
        name: &str,
        password: &str,
        role: Role,
        now: Timestamp,
    ) -> Result<(), AdminError> {
        administers(who)?;
        self.inner.auth.add(name, password, role, now).await
    }

    /// Removes an account and its sessions. [`ADMIN`] stays.
    ///
    /// # Errors
    /// [`AdminError`]
    pub async fn remove_account(&self, who: &Principal, name: &str) -> Result<(), AdminError> {
        administers(who)?;
        self.inner.auth.remove(name).await
    }

    /// Changes what an account may do; its sessions go on with it. [`ADMIN`]
    /// keeps its role, so that somebody can always administer.
    ///
    /// # Errors
    /// [`AdminError`]
    pub async fn set_role(
        &self,
        who: &Principal,
        name: &str,
        role: Role,
    ) -> Result<(), AdminError> {
        administers(who)?;
        self.inner.auth.set_role(name, role).await
    }

    /// Changes a password (an account may change its own) and ends the
    /// account's sessions.
    ///
    /// # Errors
    /// [`AdminError`]
    pub async fn set_password(
        &self,
        who: &Principal,
        name: &str,
        password: &str,
    ) -> Result<(), AdminError> {
        let own = who.role().is_some() && who.name() == name;
        if !own {
            administers(who)?;
        }
        self.inner.auth.set_password(name, password).await
    }

    /// Keys by name.
    ///
    /// # Errors
    /// [`AdminError`]
    pub async fn keys(&self, who: &Principal) -> Result<Vec<KeyInfo>, AdminError> {
        administers(who)?;
        self.inner.auth.keys.list().await
    }

    /// Makes a key for a sensor. The key in the answer cannot be had again.
    ///
    /// # Errors
    /// [`AdminError`]
    pub async fn add_key(
        &self,
        who: &Principal,
        name: SensorId,
        scopes: &[Scope],
        domain: Domain,
        now: Timestamp,
    ) -> Result<NewKey, AdminError> {
        administers(who)?;
        self.inner.auth.keys.add(name, scopes, domain, None, now).await
    }

    /// Makes a key like [`Self::add_key`], for bouncers that are told so of
    /// networks.
    ///
    /// # Errors
    /// [`AdminError`]
    pub async fn add_bouncer_key(
        &self,
        who: &Principal,
        name: SensorId,
        scopes: &[Scope],
        (domain, ranges): (Domain, Ranges),
        now: Timestamp,
    ) -> Result<NewKey, AdminError> {
        administers(who)?;
        self.inner.auth.keys.add(name, scopes, domain, Some(ranges), now).await
    }

    /// Removes a key; it is refused from then on.
    ///
    /// # Errors
    /// [`AdminError`]
    pub async fn remove_key(&self, who: &Principal, id: &str) -> Result<(), AdminError> {
        administers(who)?;
        self.inner.auth.keys.remove(id).await
    }

    /// Saved queries, by name: one's own and the shared ones. A key, and the
    /// local operator, see the shared ones; a key of the community domain none.
    ///
    /// # Errors
    /// [`AdminError`]
    pub async fn saved_queries(&self, who: &Principal) -> Result<Vec<SavedQuery>, AdminError> {
        saved_query::list(&self.inner.state, who).await
    }

    /// Saves a query for the account of `who`: a new one, or (with an id) the
    /// one of its own that has this id.
    ///
    /// # Errors
    /// [`AdminError::Exists`] where the account has another of this name; the
    /// rules of name, text, options and number are in the message.
    pub async fn save_query(
        &self,
        who: &Principal,
        id: Option<&str>,
        new: &NewSavedQuery,
        now: Timestamp,
    ) -> Result<SavedQuery, AdminError> {
        saved_query::save(&self.inner.state, who, id, new, now).await
    }

    /// Removes a saved query: one's own, or any for who may administer.
    ///
    /// # Errors
    /// [`AdminError`]
    pub async fn remove_saved_query(&self, who: &Principal, id: &str) -> Result<(), AdminError> {
        saved_query::remove(&self.inner.state, who, id).await
    }
}

/// Refuses who may not administer.
fn administers(who: &Principal) -> Result<(), AdminError> {
    if who.may(Permission::Administer) { Ok(()) } else { Err(AdminError::Forbidden) }
}
