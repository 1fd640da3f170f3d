//! Accounts, sessions and keys: who may come in.

use std::net::IpAddr;

use palisade_event::{Domain, SensorId, Timestamp};

use super::sql::{Purpose, Row, sql};
use super::{Account, Ranges, Role, Scope, State, StateError, parsed, parsed_domain};

/// A session; its token is not in it, only the hash is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// SHA-256 of the token, in hex.
    pub token_hash: String,
    /// Whose it is.
    pub account: String,
    /// When it began.
    pub created_at: Timestamp,
    /// When it was last used.
    pub last_seen: Timestamp,
    /// The last instant at which it can be valid.
    pub expires_at: Timestamp,
    /// Where it began.
    pub address: Option<IpAddr>,
    /// The browser's own words, already escaped.
    pub user_agent: Option<String>,
}

/// A key; its secret is not in it, only the hash is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// Its public part.
    pub id: String,
    /// The sensor that it stands for.
    pub name: SensorId,
    /// SHA-256 of the secret part, in hex.
    pub secret_hash: String,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// Domain of the events that it delivers.
    pub domain: Domain,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last used.
    pub last_used_at: Option<Timestamp>,
    /// What bouncers with it do with networks; by what they call themselves
    /// where nobody has said so.
    pub ranges: Option<Ranges>,
}

impl State {
    /// Adds an account with its password hash (PHC string format).
    ///
    /// # Errors
    /// [`StateError::Exists`] where the name is taken.
    pub async fn add_account(
        &self,
        account: &Account,
        password_hash: &str,
    ) -> Result<(), StateError> {
        sql("INSERT INTO account (name, password_hash, role, created_at, disabled)
             VALUES ($1, $2, $3, $4, $5)")
        .bind(&account.name)
        .bind(password_hash)
        .bind(account.role.as_str())
        .bind(account.created_at.as_millis())
        .bind(i64::from(account.disabled))
        .execute(&self.db)
        .await?;
        Ok(())
    }

    /// An account and its password hash.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn account(&self, name: &str) -> Result<Option<(Account, String)>, StateError> {
        sql("SELECT name, role, created_at, disabled, password_hash FROM account WHERE name = $1")
            .bind(name)
            .row(&self.db)
            .await?
            .map(|row| Ok((account(&row)?, row.get("password_hash")?)))
            .transpose()
    }

    /// Accounts by name.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn accounts(&self) -> Result<Vec<Account>, StateError> {
        sql("SELECT name, role, created_at, disabled FROM account ORDER BY name")
            .rows(&self.db)
            .await?
            .iter()
            .map(account)
            .collect()
    }

    /// Removes an account and its sessions. Returns whether it was there.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn remove_account(&self, name: &str) -> Result<bool, StateError> {
        let done = sql("DELETE FROM account WHERE name = $1").bind(name).execute(&self.db).await?;
        Ok(done > 0)
    }

    /// Changes what an account may do. Returns whether it was there.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn set_account_role(&self, name: &str, role: Role) -> Result<bool, StateError> {
        let done = sql("UPDATE account SET role = $2 WHERE name = $1")
            .bind(name)
            .bind(role.as_str())
            .execute(&self.db)
            .await?;
        Ok(done > 0)
    }

    /// Changes a password hash and ends the account's sessions, in one
    /// transaction. Returns whether the account was there.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn set_password_hash(&self, name: &str, hash: &str) -> Result<bool, StateError> {
        let mut transaction = self.db.begin(Purpose::Write).await?;
        let done = sql("UPDATE account SET password_hash = $2 WHERE name = $1")
            .bind(name)
            .bind(hash)
            .execute(&mut transaction)
            .await?;
        sql("DELETE FROM session WHERE account = $1").bind(name).execute(&mut transaction).await?;
        transaction.commit().await?;
        Ok(done > 0)
    }

    /// Adds a session.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn add_session(&self, session: &Session) -> Result<(), StateError> {
        sql("INSERT INTO session
             (token_hash, account, created_at, last_seen, expires_at, address, user_agent)
             VALUES ($1, $2, $3, $4, $5, $6, $7)")
        .bind(&session.token_hash)
        .bind(&session.account)
        .bind(session.created_at.as_millis())
        .bind(session.last_seen.as_millis())
        .bind(session.expires_at.as_millis())
        .bind(session.address.map(|address| address.to_string()))
        .bind(&session.user_agent)
        .execute(&self.db)
        .await?;
        Ok(())
    }

    /// A session by the hash of its token, with its account.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn session(
        &self,
        token_hash: &str,
    ) -> Result<Option<(Session, Account)>, StateError> {
        sql("SELECT s.token_hash, s.account, s.created_at AS session_created_at, s.last_seen,
                    s.expires_at, s.address, s.user_agent, a.name, a.role, a.created_at, a.disabled
             FROM session s JOIN account a ON a.name = s.account WHERE s.token_hash = $1")
        .bind(token_hash)
        .row(&self.db)
        .await?
        .map(|row| Ok((session(&row)?, account(&row)?)))
        .transpose()
    }

    /// Sessions, newest first.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn sessions(&self) -> Result<Vec<Session>, StateError> {
        sql("SELECT token_hash, account, created_at AS session_created_at, last_seen, expires_at,
                    address, user_agent
             FROM session ORDER BY created_at DESC, token_hash")
        .rows(&self.db)
        .await?
        .iter()
        .map(session)
        .collect()
    }

    /// Notes that a session was used.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn touch_session(&self, token_hash: &str, at: Timestamp) -> Result<(), StateError> {
        sql("UPDATE session SET last_seen = $2 WHERE token_hash = $1 AND last_seen < $2")
            .bind(token_hash)
            .bind(at.as_millis())
            .execute(&self.db)
            .await?;
        Ok(())
    }

    /// Removes a session. Returns whether it was there.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn remove_session(&self, token_hash: &str) -> Result<bool, StateError> {
        let done = sql("DELETE FROM session WHERE token_hash = $1")
            .bind(token_hash)
            .execute(&self.db)
            .await?;
        Ok(done > 0)
    }

    /// Removes sessions that ended before `now` or were last used before
    /// `idle_since`. Returns how many.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn remove_expired_sessions(
        &self,
        now: Timestamp,
        idle_since: Timestamp,
    ) -> Result<u64, StateError> {
        let done = sql("DELETE FROM session WHERE expires_at <= $1 OR last_seen <= $2")
            .bind(now.as_millis())
            .bind(idle_since.as_millis())
            .execute(&self.db)
            .await?;
        Ok(done)
    }

    /// Adds a key.
    ///
    /// # Errors
    /// [`StateError::Exists`] where the name or id is taken.
    pub async fn add_api_key(&self, key: &ApiKey) -> Result<(), StateError> {
        let scopes: Vec<&str> = key.scopes.iter().map(|scope| scope.as_str()).collect();
        sql("INSERT INTO api_key (id, name, secret_hash, scopes, domain, created_at, ranges)
             VALUES ($1, $2, $3, $4, $5, $6, $7)")
        .bind(&key.id)
        .bind(key.name.as_str())
        .bind(&key.secret_hash)
        .bind(scopes.join(","))
        .bind(key.domain.as_str())
        .bind(key.created_at.as_millis())
        .bind(key.ranges.map(Ranges::as_str))
        .execute(&self.db)
        .await?;
        Ok(())
    }

    /// A key by its public part.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn api_key(&self, id: &str) -> Result<Option<ApiKey>, StateError> {
        sql("SELECT * FROM api_key WHERE id = $1")
            .bind(id)
            .row(&self.db)
            .await?
            .map(|row| api_key(&row))
            .transpose()
    }

    /// Keys by name.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn api_keys(&self) -> Result<Vec<ApiKey>, StateError> {
        sql("SELECT * FROM api_key ORDER BY name")
            .rows(&self.db)
            .await?
            .iter()
            .map(api_key)
            .collect()
    }

    /// Notes that a key was used.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn touch_api_key(&self, id: &str, at: Timestamp) -> Result<(), StateError> {
        sql("UPDATE api_key SET last_used_at = $2 WHERE id = $1")
            .bind(id)
            .bind(at.as_millis())
            .execute(&self.db)
            .await?;
        Ok(())
    }

    /// Removes a key. Returns whether it was there.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn remove_api_key(&self, id: &str) -> Result<bool, StateError> {
        let done = sql("DELETE FROM api_key WHERE id = $1").bind(id).execute(&self.db).await?;
        Ok(done > 0)
    }
}

fn account(row: &Row) -> Result<Account, StateError> {
    Ok(Account {
        name: row.get("name")?,
        role: parsed::<Role>(&row.get::<String>("role")?, "role")?,
        created_at: Timestamp::from_millis(row.get("created_at")?),
        disabled: row.get::<i64>("disabled")? != 0,
    })
}

fn session(row: &Row) -> Result<Session, StateError> {
    let address: Option<String> = row.get("address")?;
    Ok(Session {
        token_hash: row.get("token_hash")?,
        account: row.get("account")?,
        created_at: Timestamp::from_millis(row.get("session_created_at")?),
        last_seen: Timestamp::from_millis(row.get("last_seen")?),
        expires_at: Timestamp::from_millis(row.get("expires_at")?),
        address: address.map(|text| parsed(&text, "address")).transpose()?,
        user_agent: row.get("user_agent")?,
    })
}

fn api_key(row: &Row) -> Result<ApiKey, StateError> {
    let scopes: String = row.get("scopes")?;
    let last_used_at: Option<i64> = row.get("last_used_at")?;
    let ranges: Option<String> = row.get("ranges")?;
    Ok(ApiKey {
        id: row.get("id")?,
        name: parsed(&row.get::<String>("name")?, "sensor name")?,
        secret_hash: row.get("secret_hash")?,
        scopes: scopes
            .split(',')
            .filter(|scope| !scope.is_empty())
            .map(|scope| parsed(scope, "scope"))
            .collect::<Result<_, _>>()?,
        domain: parsed_domain(&row.get::<String>("domain")?)?,
        created_at: Timestamp::from_millis(row.get("created_at")?),
        last_used_at: last_used_at.map(Timestamp::from_millis),
        ranges: ranges.map(|text| parsed(&text, "use of ranges")).transpose()?,
    })
}
