//! Keys of programs: agents, scripts, dashboards.

use std::time::{Duration, Instant};

use palisade_event::{Domain, SensorId, Timestamp};
use palisade_store::state::{self, ApiKey, Ranges, Scope, State};

use super::principal::{Identity, Principal};
use super::remembered::Remembered;
use super::secret;
use crate::error::{AdminError, StateError};
use crate::{KeyInfo, NewKey};

/// The last use is written down at most this often: once a minute.
const TOUCH_MILLIS: i64 = 60 * 1000;
/// A key that was looked up is not looked up again for so long. A key that is
/// removed on another hub is refused here after so long.
const FRESH: Duration = Duration::from_secs(2);

/// The door for programs.
pub(crate) struct Keys {
    state: State,
    remembered: Remembered<ApiKey>,
}

impl Keys {
    pub(crate) fn new(state: State, outage: Duration) -> Self {
        Self { state, remembered: Remembered::new(FRESH, outage) }
    }

    pub(crate) async fn check(
        &self,
        key: &str,
        now: Timestamp,
    ) -> Result<Option<Principal>, StateError> {
        let Some((id, secret)) = secret::read_key(key) else { return Ok(None) };
        let found = match self.remembered.fresh(id, Instant::now()) {
            Some(found) => Some(found),
            None => self.remembered.look_up(id, self.state.api_key(id)).await?,
        };
        let Some(mut found) = found else { return Ok(None) };
        if !secret::matches(secret, &found.secret_hash) {
            return Ok(None);
        }
        let unused = found
            .last_used_at
            .is_none_or(|last| now.as_millis() - last.as_millis() >= TOUCH_MILLIS);
        if unused {
            let question = self.remembered.question();
            // A full disk must not shut out who would be told to wait.
            match self.state.touch_api_key(id, now).await {
                Ok(()) => {
                    found.last_used_at = Some(now);
                    self.remembered.keep(question, id, found.clone(), Instant::now());
                }
                Err(error) => {
                    tracing::debug!(%error, "the last use of a key was not written down");
                }
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
                ranges: key.ranges,
            })
            .collect())
    }

    pub(crate) async fn add(
        &self,
        name: SensorId,
        scopes: &[Scope],
        domain: Domain,
        ranges: Option<Ranges>,
        now: Timestamp,
    ) -> Result<NewKey, AdminError> {
        let mut scopes = scopes.to_vec();
        scopes.sort_unstable();
        scopes.dedup();
        if scopes.is_empty() {
            let rule = "a key needs at least one scope: ingest, read, decisions, bouncer or admin";
            return Err(AdminError::Invalid(rule.into()));
        }
        if ranges.is_some() && !scopes.contains(&Scope::Bouncer) {
            let rule = "ranges are for keys with the scope bouncer alone";
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
            ranges,
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
        let removed = self.state.remove_api_key(id).await;
        self.remembered.forget(id);
        if removed? {
            return Ok(());
        }
        Err(AdminError::NotFound(format!("key '{}'", id.escape_debug())))
    }
}
