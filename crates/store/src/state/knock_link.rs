//! Links that let somebody in once.

use palisade_event::Timestamp;

use super::sql::{Row, sql};
use super::{State, StateError};

/// A link; its secret is not in it, only the hash is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnockLink {
    /// Its public part.
    pub id: String,
    /// SHA-256 of the secret part, in hex.
    pub hash: String,
    /// Who made it.
    pub made_by: String,
    /// The account that made it, where it was one: gone with it.
    pub account: Option<String>,
    /// What it is for.
    pub note: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Until when it can be used.
    pub expires_at: Timestamp,
    /// How long who uses it is spared, in seconds.
    pub allow_secs: u64,
    /// When it was used, and from where.
    pub spent: Option<(Timestamp, String)>,
}

impl State {
    /// Adds a link.
    ///
    /// # Errors
    /// [`StateError::Full`] where there are `most` that can be used already.
    pub async fn add_knock_link(&self, link: &KnockLink, most: u32) -> Result<(), StateError> {
        let live =
            sql("SELECT COUNT(*) AS n FROM knock_link WHERE spent_at IS NULL AND expires_at > $1")
                .bind(link.created_at.as_millis())
                .row(&self.db)
                .await?
                .map_or(Ok(0), |row| row.get::<i64>("n"))?;
        if live >= i64::from(most) {
            return Err(StateError::Full);
        }
        sql("INSERT INTO knock_link
             (id, hash, made_by, account, note, created_at, expires_at, allow_secs)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)")
        .bind(&link.id)
        .bind(&link.hash)
        .bind(&link.made_by)
        .bind(&link.account)
        .bind(&link.note)
        .bind(link.created_at.as_millis())
        .bind(link.expires_at.as_millis())
        .bind(i64::try_from(link.allow_secs).unwrap_or(i64::MAX))
        .execute(&self.db)
        .await
        .map(drop)
    }

    /// A link by its public part.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn knock_link(&self, id: &str) -> Result<Option<KnockLink>, StateError> {
        sql("SELECT * FROM knock_link WHERE id = $1")
            .bind(id)
            .row(&self.db)
            .await?
            .map(|row| link(&row))
            .transpose()
    }

    /// Links that can still be used, the last made first; `most` at most.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn knock_links(
        &self,
        now: Timestamp,
        most: u32,
    ) -> Result<Vec<KnockLink>, StateError> {
        let rows = sql("SELECT * FROM knock_link WHERE spent_at IS NULL AND expires_at > $1
             ORDER BY created_at DESC, id LIMIT $2")
        .bind(now.as_millis())
        .bind(i64::from(most))
        .rows(&self.db)
        .await?;
        rows.iter().map(link).collect()
    }

    /// Takes a link that can still be used away; `false` where there is none.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn remove_knock_link(&self, id: &str) -> Result<bool, StateError> {
        let gone = sql("DELETE FROM knock_link WHERE id = $1 AND spent_at IS NULL")
            .bind(id)
            .execute(&self.db)
            .await?;
        Ok(gone == 1)
    }

    /// Spends a link; `true` for exactly one caller, whichever hub it asks, and
    /// only before its end.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn spend_knock_link(
        &self,
        id: &str,
        by: &str,
        now: Timestamp,
    ) -> Result<bool, StateError> {
        let spent = sql("UPDATE knock_link SET spent_at = $2, spent_by = $3
             WHERE id = $1 AND spent_at IS NULL AND expires_at > $2")
        .bind(id)
        .bind(now.as_millis())
        .bind(by)
        .execute(&self.db)
        .await?;
        Ok(spent == 1)
    }

    /// Forgets links that ended before.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn forget_knock_links(&self, before: Timestamp) -> Result<u64, StateError> {
        sql("DELETE FROM knock_link WHERE expires_at < $1")
            .bind(before.as_millis())
            .execute(&self.db)
            .await
    }
}

fn link(row: &Row) -> Result<KnockLink, StateError> {
    let spent_at: Option<i64> = row.get("spent_at")?;
    let spent_by: Option<String> = row.get("spent_by")?;
    Ok(KnockLink {
        id: row.get("id")?,
        hash: row.get("hash")?,
        made_by: row.get("made_by")?,
        account: row.get("account")?,
        note: row.get("note")?,
        created_at: Timestamp::from_millis(row.get("created_at")?),
        expires_at: Timestamp::from_millis(row.get("expires_at")?),
        allow_secs: row.count("allow_secs")?,
        spent: spent_at.map(Timestamp::from_millis).zip(spent_by),
    })
}
