//! Keys of programs: agents, scripts, dashboards.

use palisade_event::{Domain, SensorId, Timestamp};
use palisade_store::state::{self, ApiKey, Scope, State};

use super::principal::{Identity, Principal};
use super::secret;
use crate::error::{AdminError, StateError};
use crate::{KeyInfo, NewKey};

/// The last use is written down at most this often: once a minute.
const TOUCH_MILLIS: i64 = 60 * 1000;

/// The door for programs.
pub(crate) struct Keys {
    state: State,
}

impl Keys {
    pub(crate) fn new(state: State) -> Self {
        Self { state }
    }

    pub(crate) async fn check(
        &self,
        key: &str,
        now: Timestamp,
    ) -> Result<Option<Principal>, StateError> {
        let Some((id, secret)) = secret::read_key(key) else { return Ok(None) };
        let failed = |error: state::StateError| StateError(error.to_string());
        let Some(found) = self.state.api_key(id).await.map_err(failed)? else { return Ok(None) };
        if !secret::matches(secret, &found.secret_hash) {
            return Ok(None);
        }
        let unused = found
            .last_used_at
            .is_none_or(|last| now.as_millis() - last.as_millis() >= TOUCH_MILLIS);
        if unused {
            // A full disk must not shut out who would be told to wait.
            if let Err(error) = self.state.touch_api_key(id, now).await {
                tracing::debug!(%error, "the last use of a key was not written down");
            }
        }
        Ok(Some(Principal(Identity::Key {
            id: found.id,
            sensor: found.name,
            scopes: found.scopes,
            domain: found.domain,
        })))
    }

    pub(crate) async fn list(&self) -> Result<Vec<KeyInfo>, AdminError> {
        let keys = self.state.api_keys().await?;
        Ok(keys
            .into_iter()
            .map(|key| KeyInfo {
                id: key.id,
                name: key.name,
                scopes: key.scopes,
                domain: key.domain,
                created_at: key.created_at,
                last_used_at: key.last_used_at,
            })
            .collect())
    }

    pub(crate) async fn add(
        &self,
        name: SensorId,
        scopes: &[Scope],
        domain: Domain,
        now: Timestamp,
    ) -> Result<NewKey, AdminError> {
        let mut scopes = scopes.to_vec();
        scopes.sort_unstable();
        scopes.dedup();
        if scopes.is_empty() {
            let rule = "a key needs at least one scope: ingest, read or admin";
            return Err(AdminError::Invalid(rule.into()));
        }
        let (id, secret) = (secret::key_id(), secret::secret());
        let key = ApiKey {
            id: id.clone(),
            name: name.clone(),
            secret_hash: secret::digest(&secret),
            scopes,
            domain,
            created_at: now,
            last_used_at: None,
        };
        match self.state.add_api_key(&key).await {
            Err(state::StateError::Exists) => {
                return Err(AdminError::Exists(format!("a key named '{name}'")));
            }
            other => other?,
        }
        Ok(NewKey { key: secret::write_key(&id, &secret), id, name })
    }

    pub(crate) async fn remove(&self, id: &str) -> Result<(), AdminError> {
        if self.state.remove_api_key(id).await? {
            return Ok(());
        }
        Err(AdminError::NotFound(format!("key '{}'", id.escape_debug())))
    }
}
