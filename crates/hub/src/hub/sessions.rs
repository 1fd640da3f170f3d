//! The façade's part for the sessions of attackers.

use palisade_event::{SensorId, SessionId};
use palisade_store::query::{Cursor, Query};

use super::Hub;
use crate::auth::Principal;
use crate::error::QueryError;
use crate::sessions::{AttackSessionEvents, AttackSessionPage, Recording, SessionReport};

impl Hub {
    /// A page of the sessions of which an event matches, as far as `who` may see
    /// them: the one with the newest matching event first.
    ///
    /// # Errors
    /// [`QueryError`]
    pub async fn attack_sessions(
        &self,
        who: &Principal,
        query: Query,
        limit: usize,
        after: Option<Cursor>,
    ) -> Result<AttackSessionPage, QueryError> {
        self.inner.queries.sessions(who, query, limit, after).await
    }

    /// Sessions of which an event matches, each with its events; see
    /// [`Self::attack_sessions`].
    ///
    /// # Errors
    /// [`QueryError`]
    pub async fn reported_sessions(
        &self,
        who: &Principal,
        query: Query,
        limit: usize,
        after: Option<Cursor>,
    ) -> Result<SessionReport, QueryError> {
        self.inner.queries.reported_sessions(who, query, limit, after).await
    }

    /// One session with its events, where `who` may see it; of the sensor that
    /// saw it last where none is named.
    ///
    /// # Errors
    /// [`QueryError`]
    pub async fn attack_session(
        &self,
        who: &Principal,
        id: &SessionId,
        sensor: Option<&SensorId>,
        limit: usize,
        after: Option<Cursor>,
    ) -> Result<Option<AttackSessionEvents>, QueryError> {
        self.inner.queries.session(who, id, sensor, limit, after).await
    }

    /// The recording of a session's terminal, where there is one.
    ///
    /// # Errors
    /// [`QueryError`]
    pub async fn recording(
        &self,
        who: &Principal,
        id: &SessionId,
        sensor: Option<&SensorId>,
    ) -> Result<Option<Recording>, QueryError> {
        self.inner.queries.recording(who, id, sensor).await
    }
}
