//! What all agents are directed to, as it is kept: whom the hub spares, where
//! operators are signed in from, and settings with switches. A number goes with
//! it, which grows whenever it has become something else, whoever changed it.

use palisade_event::{DecisionTarget, Timestamp};

use super::allow::{self, AllowEntry};
use super::sql::{Purpose, Tx, sql};
use super::{State, StateError};

/// The setting with the last number, and what it stands for.
const NUMBER: &str = "directions";

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredDirections {
    /// Its number; 0 where there has never been anything.
    pub version: u64,
    /// What was there when the number was given, as [`State::number_directions`]
    /// was told.
    pub mark: String,
    /// Entries of the allowlist that are in force.
    pub allow: Vec<AllowEntry>,
    /// Where operators are signed in from.
    pub operators: Vec<DecisionTarget>,
    /// Settings below the prefix, by name.
    pub switches: Vec<(String, String)>,
}

impl State {
    /// What there is now. `prefix` has no `%` and no `_`.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn directions(
        &self,
        prefix: &str,
        now: Timestamp,
    ) -> Result<StoredDirections, StateError> {
        let mut tx = self.db.begin(Purpose::Snapshot).await?;
        read(&mut tx, prefix, now).await
    }

    /// Gives it a new number where `mark` of what is there is not what the last
    /// number stands for; gives what is there, with its number.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn number_directions(
        &self,
        prefix: &str,
        now: Timestamp,
        mark: impl Fn(&StoredDirections) -> String,
    ) -> Result<StoredDirections, StateError> {
        let mut tx = self.db.begin(Purpose::Write).await?;
        // Others wait for the end of this, so that no older state gets a later number.
        sql("INSERT INTO meta (name, value) VALUES ($1, '')
             ON CONFLICT (name) DO UPDATE SET value = meta.value")
        .bind(NUMBER)
        .execute(&mut tx)
        .await?;
        let mut stored = read(&mut tx, prefix, now).await?;
        let mark = mark(&stored);
        if mark != stored.mark {
            let at = u64::try_from(now.as_millis()).unwrap_or(0);
            stored.version = stored.version.saturating_add(1).max(at);
            stored.mark = mark;
            sql("UPDATE meta SET value = $2 WHERE name = $1")
                .bind(NUMBER)
                .bind(format!("{} {}", stored.version, stored.mark))
                .execute(&mut tx)
                .await?;
        }
        tx.commit().await?;
        Ok(stored)
    }
}

async fn read(tx: &mut Tx, prefix: &str, now: Timestamp) -> Result<StoredDirections, StateError> {
    let number = sql("SELECT value FROM meta WHERE name = $1").bind(NUMBER).row(&mut *tx).await?;
    let number = number.map(|row| row.get::<String>("value")).transpose()?.unwrap_or_default();
    let (version, mark) = number.split_once(' ').unwrap_or(("0", ""));
    let allow = allow::entries(&mut *tx, now).await?;
    let operators = allow::operators(tx, now).await?;
    let switches = sql("SELECT name, value FROM meta WHERE name LIKE $1 ORDER BY name")
        .bind(format!("{prefix}%"))
        .rows(tx)
        .await?;
    let switches = switches.iter().map(|row| Ok((row.get("name")?, row.get("value")?)));
    Ok(StoredDirections {
        version: version.parse().unwrap_or(0),
        mark: mark.to_owned(),
        allow,
        operators,
        switches: switches.collect::<Result<_, StateError>>()?,
    })
}
