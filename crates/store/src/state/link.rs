//! Links to block lists that were handed out, and the secret that signs them:
//! one for all hubs on this database.

use palisade_event::Timestamp;

use super::sql::{Purpose, Row, sql};
use super::{State, StateError};

/// The setting with the secret.
const SECRET: &str = "blocklist-link-secret";

/// A link to a block list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlocklistLink {
    /// Names it for good.
    pub id: String,
    /// The format that it gives.
    pub format: String,
    /// Which bans, in the query language.
    pub query: String,
    /// Who has it, in the words of who made it.
    pub note: Option<String>,
    /// The account or key that made it.
    pub by: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it stops working.
    pub expires_at: Timestamp,
}

impl State {
    /// The secret that signs links; `fresh` becomes it where there is none yet.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn link_secret(&self, fresh: &str) -> Result<String, StateError> {
        // Of hubs that start at once the first one's holds.
        sql("INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING")
            .bind(SECRET)
            .bind(fresh)
            .execute(&self.db)
            .await?;
        self.meta(SECRET).await?.ok_or(StateError::Unreadable("secret of links"))
    }

    /// Adds a link, where there are fewer than `max`. Those that have ended go.
    ///
    /// # Errors
    /// [`StateError::Full`] where there are `max` of them.
    pub async fn add_link(&self, link: &BlocklistLink, max: u32) -> Result<(), StateError> {
        let mut tx = self.db.begin(Purpose::Write).await?;
        sql("DELETE FROM blocklist_link WHERE expires_at <= $1")
            .bind(link.created_at.as_millis())
            .execute(&mut tx)
            .await?;
        let count = sql("SELECT COUNT(*) AS count FROM blocklist_link")
            .row(&mut tx)
            .await?
            .map_or(Ok(0), |row| row.count("count"))?;
        if count >= u64::from(max) {
            return Err(StateError::Full);
        }
        sql("INSERT INTO blocklist_link
             (id, format, query, note, created_by, created_at, expires_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7)")
        .bind(&link.id)
        .bind(&link.format)
        .bind(&link.query)
        .bind(&link.note)
        .bind(&link.by)
        .bind(link.created_at.as_millis())
        .bind(link.expires_at.as_millis())
        .execute(&mut tx)
        .await?;
        tx.commit().await
    }

    /// A link that works at `now`.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn link(
        &self,
        id: &str,
        now: Timestamp,
    ) -> Result<Option<BlocklistLink>, StateError> {
        sql("SELECT * FROM blocklist_link WHERE id = $1 AND expires_at > $2")
            .bind(id)
            .bind(now.as_millis())
            .row(&self.db)
            .await?
            .map(|row| link(&row))
            .transpose()
    }

    /// Links that work at `now`, the newest first.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn links(&self, now: Timestamp) -> Result<Vec<BlocklistLink>, StateError> {
        sql("SELECT * FROM blocklist_link WHERE expires_at > $1
             ORDER BY created_at DESC, id")
        .bind(now.as_millis())
        .rows(&self.db)
        .await?
        .iter()
        .map(link)
        .collect()
    }

    /// Removes a link. Returns whether it was there.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn remove_link(&self, id: &str) -> Result<bool, StateError> {
        let done =
            sql("DELETE FROM blocklist_link WHERE id = $1").bind(id).execute(&self.db).await?;
        Ok(done > 0)
    }
}

fn link(row: &Row) -> Result<BlocklistLink, StateError> {
    Ok(BlocklistLink {
        id: row.get("id")?,
        format: row.get("format")?,
        query: row.get("query")?,
        note: row.get("note")?,
        by: row.get("created_by")?,
        created_at: Timestamp::from_millis(row.get("created_at")?),
        expires_at: Timestamp::from_millis(row.get("expires_at")?),
    })
}
