//! Saved queries: who may see, keep, change and remove them, and what they may
//! be like. The text is checked when it is saved, so that a saved query runs.

use palisade_event::{Domain, Timestamp};
use palisade_store::query::Query;
use palisade_store::state::{self, Sharing, State};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::auth::{Identity, Permission, Principal};
use crate::error::AdminError;

/// Saved queries of one account at most.
const MAX_SAVED: u32 = 100;
/// Saved queries of one listing at most.
const MAX_LISTED: u32 = 1000;
/// Longest name, in characters.
const MAX_NAME_CHARS: usize = 100;
/// Longest options, as JSON in bytes.
const MAX_OPTIONS_BYTES: usize = 4096;

/// A query to save.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewSavedQuery {
    /// What its owner calls it: 1 to 100 characters.
    pub name: String,
    /// The query text, as in docs/QUERY.md.
    pub query: String,
    /// How the page shows the answer (columns, range, …): at most 4 KiB of JSON.
    #[serde(default)]
    pub options: Map<String, Value>,
    /// Whether everybody who may read sees it.
    #[serde(default)]
    pub shared: bool,
}

/// A saved query.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SavedQuery {
    /// Names it for good, also in links.
    pub id: String,
    /// Whose it is.
    pub account: String,
    /// What its owner calls it.
    pub name: String,
    /// The query text.
    pub query: String,
    /// How the page shows the answer.
    pub options: Map<String, Value>,
    /// Whether everybody who may read sees it.
    pub shared: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// Those that the principal sees, by name.
pub(crate) async fn list(state: &State, who: &Principal) -> Result<Vec<SavedQuery>, AdminError> {
    if !who.may(Permission::Read) {
        return Err(AdminError::Denied("seeing saved queries needs the scope 'read'"));
    }
    // A query tells what its author looks for, so it is as private as events.
    if !who.sees(Domain::Private) {
        return Ok(Vec::new());
    }
    let saved = state.saved_queries(account(who), MAX_LISTED).await?;
    Ok(saved.into_iter().map(SavedQuery::from).collect())
}

/// Makes one, or changes the one with this id.
pub(crate) async fn save(
    state: &State,
    who: &Principal,
    id: Option<&str>,
    new: &NewSavedQuery,
    now: Timestamp,
) -> Result<SavedQuery, AdminError> {
    let Some(account) = account(who) else {
        return Err(AdminError::Denied("saving a query needs an account; sign in"));
    };
    let options = check(new, now)?;
    let mut saved = state::SavedQuery {
        id: id.map_or_else(|| format!("{:016x}", rand::random::<u64>()), str::to_owned),
        account: account.to_owned(),
        name: new.name.trim().to_owned(),
        query: new.query.clone(),
        options,
        shared: if new.shared { Sharing::Shared } else { Sharing::Private },
        created_at: now,
        updated_at: now,
    };
    if id.is_some() {
        let old = state.saved_query(&saved.id).await?;
        let Some(old) = old.filter(|old| old.account == account) else { return Err(missing()) };
        saved.created_at = old.created_at;
        if !state.change_saved_query(&saved).await.map_err(|error| refused(error, new))? {
            return Err(missing());
        }
    } else {
        state.add_saved_query(&saved, MAX_SAVED).await.map_err(|error| refused(error, new))?;
    }
    Ok(saved.into())
}

/// Removes one.
pub(crate) async fn remove(state: &State, who: &Principal, id: &str) -> Result<(), AdminError> {
    let Some(saved) = state.saved_query(id).await? else { return Err(missing()) };
    let own = account(who).is_some_and(|account| account == saved.account);
    if !own && !who.may(Permission::Administer) {
        // Who cannot see it does not learn that it is there.
        return Err(match saved.shared {
            Sharing::Shared if who.may(Permission::Read) => {
                AdminError::Denied("only its owner or an admin removes a saved query")
            }
            _ => missing(),
        });
    }
    if state.remove_saved_query(id).await? { Ok(()) } else { Err(missing()) }
}

fn account(who: &Principal) -> Option<&str> {
    match who.identity() {
        Identity::Account { name, .. } => Some(name),
        _ => None,
    }
}

fn missing() -> AdminError {
    AdminError::NotFound("such saved query".into())
}

fn refused(error: state::StateError, new: &NewSavedQuery) -> AdminError {
    match error {
        state::StateError::Exists => {
            AdminError::Exists(format!("a saved query named '{}'", new.name.trim()))
        }
        state::StateError::Full => AdminError::Invalid(format!(
            "an account has at most {MAX_SAVED} saved queries; remove one first"
        )),
        // Only while the account is being removed.
        state::StateError::NotFound => AdminError::NotFound("such account".into()),
        other => other.into(),
    }
}

/// Checks the rules; the options as text.
fn check(new: &NewSavedQuery, now: Timestamp) -> Result<String, AdminError> {
    let name = new.name.trim();
    if !(1..=MAX_NAME_CHARS).contains(&name.chars().count()) || name.chars().any(char::is_control) {
        return Err(AdminError::Invalid(format!(
            "the name of a saved query has 1 to {MAX_NAME_CHARS} characters, none of them a \
             control character"
        )));
    }
    if new.query.contains('\0') {
        return Err(AdminError::Invalid("a query text may not contain a NUL character".into()));
    }
    Query::parse(&new.query, now).map_err(|error| {
        AdminError::Invalid(format!("the query cannot be understood: {}", error.message))
    })?;
    let options = serde_json::to_string(&new.options)
        .map_err(|error| AdminError::Invalid(format!("the options are no JSON: {error}")))?;
    if options.len() > MAX_OPTIONS_BYTES {
        return Err(AdminError::Invalid(format!(
            "the options of a saved query have at most {MAX_OPTIONS_BYTES} bytes of JSON"
        )));
    }
    Ok(options)
}

impl From<state::SavedQuery> for SavedQuery {
    fn from(saved: state::SavedQuery) -> Self {
        Self {
            id: saved.id,
            account: saved.account,
            name: saved.name,
            query: saved.query,
            // What was written here was an object.
            options: serde_json::from_str(&saved.options).unwrap_or_default(),
            shared: saved.shared == Sharing::Shared,
            created_at: saved.created_at,
            updated_at: saved.updated_at,
        }
    }
}
