//! What can go wrong, by what the caller does next.

/// The hub cannot start; the operator must act. One sentence that says what
/// to change.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct OpenError(pub String);

/// Nothing of the batch was taken.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// The principal may not deliver events.
    #[error("this credential may not deliver events")]
    Forbidden,
    /// More than is taken at once: smaller parts.
    #[error("{0}")]
    TooLarge(String),
    /// The spool is full or the disk is: try again after so many seconds.
    #[error("the hub cannot take events now: {reason}")]
    Busy {
        /// Why.
        reason: String,
        /// Seconds after which to try again.
        retry_after_secs: u32,
    },
}

/// A question cannot be answered.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The principal may not read this.
    #[error("this credential may not read this")]
    Forbidden,
    /// The engine cannot do this; another wording may help.
    #[error("the store cannot answer this: {0}")]
    Unsupported(String),
    /// The state database cannot be asked now: try again later.
    #[error("{0}")]
    Unavailable(String),
    /// Reading failed; the operator must act.
    #[error("{0}")]
    Failed(String),
}

/// Accounts, keys or sessions cannot be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The principal may not do this.
    #[error("this needs the role or scope 'admin'")]
    Forbidden,
    /// The principal may not do this; the sentence says who may.
    #[error("{0}")]
    Denied(&'static str),
    /// There is no such account, key or session.
    #[error("there is no {0}")]
    NotFound(String),
    /// The name is taken.
    #[error("there is already {0}")]
    Exists(String),
    /// What was given breaks a rule; the sentence says which.
    #[error("{0}")]
    Invalid(String),
    /// The state database cannot be asked now: try again later.
    #[error("{0}")]
    Unavailable(String),
    /// The state database failed; the operator must act.
    #[error("{0}")]
    Failed(String),
}

/// No session was begun.
#[derive(Debug, thiserror::Error)]
pub enum SignInError {
    /// Name or password is wrong, or the account is disabled; deliberately
    /// not told apart.
    #[error("user name or password is wrong")]
    Wrong,
    /// Too many attempts from this address or for this account.
    #[error("too many attempts; try again in {retry_after_secs} s")]
    Throttled {
        /// Seconds after which to try again.
        retry_after_secs: u32,
    },
    /// The state database cannot be asked now: try again later.
    #[error("{0}")]
    Unavailable(String),
    /// The state database failed; the operator must act.
    #[error("{0}")]
    Failed(String),
}

/// A credential cannot be looked up.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The state database cannot be asked now: try again later.
    #[error("{0}")]
    Unavailable(String),
    /// The state database failed; the operator must act.
    #[error("{0}")]
    Failed(String),
}

impl From<palisade_store::state::StateError> for StateError {
    fn from(error: palisade_store::state::StateError) -> Self {
        match error {
            palisade_store::state::StateError::Unavailable(_) => {
                Self::Unavailable(error.to_string())
            }
            _ => Self::Failed(error.to_string()),
        }
    }
}

impl From<StateError> for SignInError {
    fn from(error: StateError) -> Self {
        match error {
            StateError::Unavailable(reason) => Self::Unavailable(reason),
            StateError::Failed(reason) => Self::Failed(reason),
        }
    }
}

impl From<StateError> for AdminError {
    fn from(error: StateError) -> Self {
        match error {
            StateError::Unavailable(reason) => Self::Unavailable(reason),
            StateError::Failed(reason) => Self::Failed(reason),
        }
    }
}

impl From<StateError> for QueryError {
    fn from(error: StateError) -> Self {
        match error {
            StateError::Unavailable(reason) => Self::Unavailable(reason),
            StateError::Failed(reason) => Self::Failed(reason),
        }
    }
}

impl From<palisade_store::state::StateError> for QueryError {
    fn from(error: palisade_store::state::StateError) -> Self {
        StateError::from(error).into()
    }
}

impl From<palisade_store::QueryError> for QueryError {
    fn from(error: palisade_store::QueryError) -> Self {
        match error {
            palisade_store::QueryError::Unsupported(what) => Self::Unsupported(what),
            other => Self::Failed(other.to_string()),
        }
    }
}
