//! Queries that people keep for later. What they may be like is decided by the
//! hub; here they only have an owner, a name of their own, and a bound.

use palisade_event::Timestamp;

use super::sql::{Purpose, Row, sql};
use super::{State, StateError};

/// A query that somebody keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedQuery {
    /// Names it for good.
    pub id: String,
    /// Whose it is; goes with the account.
    pub account: String,
    /// What its owner calls it; an account has a name once.
    pub name: String,
    /// The query text.
    pub query: String,
    /// How its answer is shown: a JSON object.
    pub options: String,
    /// Whether others see it too.
    pub shared: Sharing,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// Who sees a saved query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// Its owner.
    Private,
    /// Everybody who may read.
    Shared,
}

impl State {
    /// Adds a saved query, where its account has fewer than `max` of them.
    ///
    /// # Errors
    /// [`StateError::NotFound`] where there is no such account,
    /// [`StateError::Exists`] where it has that name already,
    /// [`StateError::Full`] where it has `max`.
    pub async fn add_saved_query(&self, saved: &SavedQuery, max: u32) -> Result<(), StateError> {
        let mut transaction = self.db.begin(Purpose::Write).await?;
        // Also keeps others of the account waiting, so that the count holds.
        let account = sql("UPDATE account SET name = name WHERE name = $1")
            .bind(&saved.account)
            .execute(&mut transaction)
            .await?;
        if account == 0 {
            return Err(StateError::NotFound);
        }
        let count = sql("SELECT COUNT(*) AS count FROM saved_query WHERE account = $1")
            .bind(&saved.account)
            .row(&mut transaction)
            .await?
            .map_or(Ok(0), |row| row.count("count"))?;
        if count >= u64::from(max) {
            return Err(StateError::Full);
        }
        sql("INSERT INTO saved_query
             (id, account, name, query, options, shared, created_at, updated_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)")
        .bind(&saved.id)
        .bind(&saved.account)
        .bind(&saved.name)
        .bind(&saved.query)
        .bind(&saved.options)
        .bind(i64::from(saved.shared == Sharing::Shared))
        .bind(saved.created_at.as_millis())
        .bind(saved.updated_at.as_millis())
        .execute(&mut transaction)
        .await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Changes name, text, options and sharing of the saved query with this id
    /// and account. Returns whether it was there.
    ///
    /// # Errors
    /// [`StateError::Exists`] where the account has another of that name.
    pub async fn change_saved_query(&self, saved: &SavedQuery) -> Result<bool, StateError> {
        let done = sql("UPDATE saved_query
             SET name = $3, query = $4, options = $5, shared = $6, updated_at = $7
             WHERE id = $1 AND account = $2")
        .bind(&saved.id)
        .bind(&saved.account)
        .bind(&saved.name)
        .bind(&saved.query)
        .bind(&saved.options)
        .bind(i64::from(saved.shared == Sharing::Shared))
        .bind(saved.updated_at.as_millis())
        .execute(&self.db)
        .await?;
        Ok(done > 0)
    }

    /// A saved query by id.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn saved_query(&self, id: &str) -> Result<Option<SavedQuery>, StateError> {
        sql("SELECT * FROM saved_query WHERE id = $1")
            .bind(id)
            .row(&self.db)
            .await?
            .map(|row| saved_query(&row))
            .transpose()
    }

    /// Saved queries of an account (where one is given) and those that are
    /// shared, by name.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn saved_queries(
        &self,
        account: Option<&str>,
        limit: u32,
    ) -> Result<Vec<SavedQuery>, StateError> {
        sql("SELECT * FROM saved_query WHERE account = $1 OR shared = 1
             ORDER BY name, account LIMIT $2")
        .bind(account)
        .bind(i64::from(limit))
        .rows(&self.db)
        .await?
        .iter()
        .map(saved_query)
        .collect()
    }

    /// Removes a saved query. Returns whether it was there.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn remove_saved_query(&self, id: &str) -> Result<bool, StateError> {
        let done = sql("DELETE FROM saved_query WHERE id = $1").bind(id).execute(&self.db).await?;
        Ok(done > 0)
    }
}

fn saved_query(row: &Row) -> Result<SavedQuery, StateError> {
    Ok(SavedQuery {
        id: row.get("id")?,
        account: row.get("account")?,
        name: row.get("name")?,
        query: row.get("query")?,
        options: row.get("options")?,
        shared: match row.get::<i64>("shared")? {
            0 => Sharing::Private,
            _ => Sharing::Shared,
        },
        created_at: Timestamp::from_millis(row.get("created_at")?),
        updated_at: Timestamp::from_millis(row.get("updated_at")?),
    })
}
