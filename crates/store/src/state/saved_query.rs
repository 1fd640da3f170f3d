//! Queries that people keep for later. What they may be like is decided by the
//! hub; here they only have an owner, a name of their own, and a bound.

use palisade_event::Timestamp;
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

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
        let mut transaction = self.pool.begin().await?;
        // Also keeps others of the account waiting, so that the count holds.
        let account = sqlx::query("UPDATE account SET name = name WHERE name = $1")
            .bind(&saved.account)
            .execute(&mut *transaction)
            .await?;
        if account.rows_affected() == 0 {
            return Err(StateError::NotFound);
        }
        let count: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM saved_query WHERE account = $1")
            .bind(&saved.account)
            .fetch_one(&mut *transaction)
            .await?;
        if count >= i64::from(max) {
            return Err(StateError::Full);
        }
        sqlx::query(
            "INSERT INTO saved_query
             (id, account, name, query, options, shared, created_at, updated_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        )
        .bind(&saved.id)
        .bind(&saved.account)
        .bind(&saved.name)
        .bind(&saved.query)
        .bind(&saved.options)
        .bind(i64::from(saved.shared == Sharing::Shared))
        .bind(saved.created_at.as_millis())
        .bind(saved.updated_at.as_millis())
        .execute(&mut *transaction)
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
        let done = sqlx::query(
            "UPDATE saved_query
             SET name = $3, query = $4, options = $5, shared = $6, updated_at = $7
             WHERE id = $1 AND account = $2",
        )
        .bind(&saved.id)
        .bind(&saved.account)
        .bind(&saved.name)
        .bind(&saved.query)
        .bind(&saved.options)
        .bind(i64::from(saved.shared == Sharing::Shared))
        .bind(saved.updated_at.as_millis())
        .execute(&self.pool)
        .await?;
        Ok(done.rows_affected() > 0)
    }

    /// A saved query by id.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn saved_query(&self, id: &str) -> Result<Option<SavedQuery>, StateError> {
        sqlx::query("SELECT * FROM saved_query WHERE id = $1")
            .bind(id)
            .fetch_optional(&self.pool)
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
        sqlx::query(
            "SELECT * FROM saved_query WHERE account = $1 OR shared = 1
             ORDER BY name, account LIMIT $2",
        )
        .bind(account)
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
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
        let done = sqlx::query("DELETE FROM saved_query WHERE id = $1")
            .bind(id)
            .execute(&self.pool)
            .await?;
        Ok(done.rows_affected() > 0)
    }
}

fn saved_query(row: &SqliteRow) -> Result<SavedQuery, StateError> {
    Ok(SavedQuery {
        id: row.try_get("id")?,
        account: row.try_get("account")?,
        name: row.try_get("name")?,
        query: row.try_get("query")?,
        options: row.try_get("options")?,
        shared: match row.try_get::<i64, _>("shared")? {
            0 => Sharing::Private,
            _ => Sharing::Shared,
        },
        created_at: Timestamp::from_millis(row.try_get("created_at")?),
        updated_at: Timestamp::from_millis(row.try_get("updated_at")?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{Account, Role};

    fn saved(account: &str, id: &str, name: &str) -> SavedQuery {
        SavedQuery {
            id: id.into(),
            account: account.into(),
            name: name.into(),
            query: "country:CN".into(),
            options: r#"{"columns":["ip"]}"#.into(),
            shared: Sharing::Private,
            created_at: Timestamp::from_millis(1),
            updated_at: Timestamp::from_millis(2),
        }
    }

    async fn state() -> (tempfile::TempDir, State) {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(&dir.path().join("state.db")).await.unwrap();
        for name in ["anna", "bert"] {
            let created_at = Timestamp::from_millis(1);
            let account =
                Account { name: name.into(), role: Role::Viewer, created_at, disabled: false };
            state.add_account(&account, "$hash").await.unwrap();
        }
        (dir, state)
    }

    #[tokio::test]
    async fn one_sees_ones_own_queries_and_the_shared_ones() {
        let (_dir, state) = state().await;
        let own = saved("anna", "1", "b");
        let shared = SavedQuery { shared: Sharing::Shared, ..saved("bert", "2", "a") };
        let hidden = saved("bert", "3", "c");
        for query in [&own, &shared, &hidden] {
            state.add_saved_query(query, 10).await.unwrap();
        }
        let of = async |who| state.saved_queries(who, 10).await.unwrap();
        assert_eq!(of(Some("anna")).await, [shared.clone(), own.clone()]);
        assert_eq!(of(None).await, std::slice::from_ref(&shared));
        assert_eq!(state.saved_query("1").await.unwrap(), Some(own));
        assert!(state.remove_account("bert").await.unwrap());
        assert_eq!(of(None).await, [], "they go with their account");
        assert!(state.remove_saved_query("1").await.unwrap());
        assert!(!state.remove_saved_query("1").await.unwrap());
    }

    #[tokio::test]
    async fn a_name_is_there_once_an_account_and_their_number_is_bounded() {
        let (_dir, state) = state().await;
        state.add_saved_query(&saved("anna", "1", "a"), 2).await.unwrap();
        let again = state.add_saved_query(&saved("anna", "2", "a"), 2).await;
        assert!(matches!(again, Err(StateError::Exists)), "{again:?}");
        state.add_saved_query(&saved("bert", "2", "a"), 2).await.unwrap();
        state.add_saved_query(&saved("anna", "3", "b"), 2).await.unwrap();
        let third = state.add_saved_query(&saved("anna", "4", "c"), 2).await;
        assert!(matches!(third, Err(StateError::Full)), "{third:?}");
        let nobody = state.add_saved_query(&saved("carl", "5", "a"), 2).await;
        assert!(matches!(nobody, Err(StateError::NotFound)), "{nobody:?}");
    }

    #[tokio::test]
    async fn only_its_owner_changes_a_query_and_not_when_it_was_made() {
        let (_dir, state) = state().await;
        state.add_saved_query(&saved("anna", "1", "a"), 9).await.unwrap();
        state.add_saved_query(&saved("anna", "2", "b"), 9).await.unwrap();
        let changed = SavedQuery {
            query: "country:DE".into(),
            created_at: Timestamp::from_millis(7),
            updated_at: Timestamp::from_millis(8),
            ..saved("anna", "1", "c")
        };
        assert!(state.change_saved_query(&changed).await.unwrap());
        let expected = SavedQuery { created_at: Timestamp::from_millis(1), ..changed.clone() };
        assert_eq!(state.saved_query("1").await.unwrap(), Some(expected));
        let of_bert = SavedQuery { account: "bert".into(), ..changed.clone() };
        assert!(!state.change_saved_query(&of_bert).await.unwrap());
        let taken = state.change_saved_query(&SavedQuery { name: "b".into(), ..changed }).await;
        assert!(matches!(taken, Err(StateError::Exists)), "{taken:?}");
    }
}
