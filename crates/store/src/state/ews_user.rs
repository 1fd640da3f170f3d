//! Users of the EWS dialect: who may deliver or ask with a name and a token.

use palisade_event::{Domain, SensorId, Timestamp};

use super::sql::{Row, sql};
use super::{State, StateError, parsed, parsed_domain};

/// A user of the EWS dialect; its token is not in it, only the hash is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EwsUser {
    /// What it sends; also the sensor that it stands for.
    pub name: SensorId,
    /// Argon2id in the PHC string format, or `sha512:` or `md5:` and hex
    /// digits where it was imported and not seen since.
    pub token_hash: String,
    /// Domain of the events that it delivers.
    pub domain: Domain,
    /// Whom to write to.
    pub email: Option<String>,
    /// Whether it may not deliver.
    pub read_only: bool,
    /// Whether it sees community events alone.
    pub community_only: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last used.
    pub last_used_at: Option<Timestamp>,
}

impl State {
    /// Adds a user.
    ///
    /// # Errors
    /// [`StateError::Exists`] where the name is taken.
    pub async fn add_ews_user(&self, user: &EwsUser) -> Result<(), StateError> {
        sql("INSERT INTO ews_user
             (name, token_hash, domain, email, read_only, community_only, created_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7)")
        .bind(user.name.as_str())
        .bind(&user.token_hash)
        .bind(user.domain.as_str())
        .bind(&user.email)
        .bind(i64::from(user.read_only))
        .bind(i64::from(user.community_only))
        .bind(user.created_at.as_millis())
        .execute(&self.db)
        .await?;
        Ok(())
    }

    /// A user by name.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn ews_user(&self, name: &str) -> Result<Option<EwsUser>, StateError> {
        sql("SELECT * FROM ews_user WHERE name = $1")
            .bind(name)
            .row(&self.db)
            .await?
            .map(|row| ews_user(&row))
            .transpose()
    }

    /// Users by name.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn ews_users(&self) -> Result<Vec<EwsUser>, StateError> {
        sql("SELECT * FROM ews_user ORDER BY name")
            .rows(&self.db)
            .await?
            .iter()
            .map(ews_user)
            .collect()
    }

    /// Replaces a hash by a better one of the same token. Returns whether the
    /// old one was still there.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn rehash_ews_user(
        &self,
        name: &str,
        old: &str,
        new: &str,
    ) -> Result<bool, StateError> {
        let done = sql("UPDATE ews_user SET token_hash = $3 WHERE name = $1 AND token_hash = $2")
            .bind(name)
            .bind(old)
            .bind(new)
            .execute(&self.db)
            .await?;
        Ok(done > 0)
    }

    /// Notes that a user was there.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn touch_ews_user(&self, name: &str, at: Timestamp) -> Result<(), StateError> {
        sql("UPDATE ews_user SET last_used_at = $2 WHERE name = $1")
            .bind(name)
            .bind(at.as_millis())
            .execute(&self.db)
            .await?;
        Ok(())
    }

    /// Removes a user. Returns whether it was there.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn remove_ews_user(&self, name: &str) -> Result<bool, StateError> {
        let done = sql("DELETE FROM ews_user WHERE name = $1").bind(name).execute(&self.db).await?;
        Ok(done > 0)
    }
}

fn ews_user(row: &Row) -> Result<EwsUser, StateError> {
    let last_used_at: Option<i64> = row.get("last_used_at")?;
    Ok(EwsUser {
        name: parsed(&row.get::<String>("name")?, "EWS user name")?,
        token_hash: row.get("token_hash")?,
        domain: parsed_domain(&row.get::<String>("domain")?)?,
        email: row.get("email")?,
        read_only: row.get::<i64>("read_only")? != 0,
        community_only: row.get::<i64>("community_only")? != 0,
        created_at: Timestamp::from_millis(row.get("created_at")?),
        last_used_at: last_used_at.map(Timestamp::from_millis),
    })
}
