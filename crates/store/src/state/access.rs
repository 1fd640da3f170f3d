//! Accounts, sessions and keys: who may come in.

use std::net::IpAddr;

use palisade_event::{Domain, SensorId, Timestamp};
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use super::{Account, Role, Scope, State, StateError, parsed, parsed_domain};

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
        sqlx::query(
            "INSERT INTO account (name, password_hash, role, created_at, disabled)
             VALUES ($1, $2, $3, $4, $5)",
        )
        .bind(&account.name)
        .bind(password_hash)
        .bind(account.role.as_str())
        .bind(account.created_at.as_millis())
        .bind(i64::from(account.disabled))
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// An account and its password hash.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn account(&self, name: &str) -> Result<Option<(Account, String)>, StateError> {
        sqlx::query(
            "SELECT name, role, created_at, disabled, password_hash FROM account WHERE name = $1",
        )
        .bind(name)
        .fetch_optional(&self.pool)
        .await?
        .map(|row| Ok((account(&row)?, row.try_get("password_hash")?)))
        .transpose()
    }

    /// Accounts by name.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn accounts(&self) -> Result<Vec<Account>, StateError> {
        sqlx::query("SELECT name, role, created_at, disabled FROM account ORDER BY name")
            .fetch_all(&self.pool)
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
        let done = sqlx::query("DELETE FROM account WHERE name = $1")
            .bind(name)
            .execute(&self.pool)
            .await?;
        Ok(done.rows_affected() > 0)
    }

    /// Changes a password hash and ends the account's sessions, in one
    /// transaction. Returns whether the account was there.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn set_password_hash(&self, name: &str, hash: &str) -> Result<bool, StateError> {
        let mut transaction = self.pool.begin().await?;
        let done = sqlx::query("UPDATE account SET password_hash = $2 WHERE name = $1")
            .bind(name)
            .bind(hash)
            .execute(&mut *transaction)
            .await?;
        sqlx::query("DELETE FROM session WHERE account = $1")
            .bind(name)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(done.rows_affected() > 0)
    }

    /// Adds a session.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn add_session(&self, session: &Session) -> Result<(), StateError> {
        sqlx::query(
            "INSERT INTO session
             (token_hash, account, created_at, last_seen, expires_at, address, user_agent)
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(&session.token_hash)
        .bind(&session.account)
        .bind(session.created_at.as_millis())
        .bind(session.last_seen.as_millis())
        .bind(session.expires_at.as_millis())
        .bind(session.address.map(|address| address.to_string()))
        .bind(&session.user_agent)
        .execute(&self.pool)
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
        sqlx::query(
            "SELECT s.token_hash, s.account, s.created_at AS session_created_at, s.last_seen,
                    s.expires_at, s.address, s.user_agent, a.name, a.role, a.created_at, a.disabled
             FROM session s JOIN account a ON a.name = s.account WHERE s.token_hash = $1",
        )
        .bind(token_hash)
        .fetch_optional(&self.pool)
        .await?
        .map(|row| Ok((session(&row)?, account(&row)?)))
        .transpose()
    }

    /// Sessions, newest first.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn sessions(&self) -> Result<Vec<Session>, StateError> {
        sqlx::query(
            "SELECT token_hash, account, created_at AS session_created_at, last_seen, expires_at,
                    address, user_agent
             FROM session ORDER BY created_at DESC, token_hash",
        )
        .fetch_all(&self.pool)
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
        sqlx::query("UPDATE session SET last_seen = $2 WHERE token_hash = $1 AND last_seen < $2")
            .bind(token_hash)
            .bind(at.as_millis())
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Removes a session. Returns whether it was there.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn remove_session(&self, token_hash: &str) -> Result<bool, StateError> {
        let done = sqlx::query("DELETE FROM session WHERE token_hash = $1")
            .bind(token_hash)
            .execute(&self.pool)
            .await?;
        Ok(done.rows_affected() > 0)
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
        let done = sqlx::query("DELETE FROM session WHERE expires_at <= $1 OR last_seen <= $2")
            .bind(now.as_millis())
            .bind(idle_since.as_millis())
            .execute(&self.pool)
            .await?;
        Ok(done.rows_affected())
    }

    /// Adds a key.
    ///
    /// # Errors
    /// [`StateError::Exists`] where the name or id is taken.
    pub async fn add_api_key(&self, key: &ApiKey) -> Result<(), StateError> {
        let scopes: Vec<&str> = key.scopes.iter().map(|scope| scope.as_str()).collect();
        sqlx::query(
            "INSERT INTO api_key (id, name, secret_hash, scopes, domain, created_at)
             VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(&key.id)
        .bind(key.name.as_str())
        .bind(&key.secret_hash)
        .bind(scopes.join(","))
        .bind(key.domain.as_str())
        .bind(key.created_at.as_millis())
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// A key by its public part.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn api_key(&self, id: &str) -> Result<Option<ApiKey>, StateError> {
        sqlx::query("SELECT * FROM api_key WHERE id = $1")
            .bind(id)
            .fetch_optional(&self.pool)
            .await?
            .map(|row| api_key(&row))
            .transpose()
    }

    /// Keys by name.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn api_keys(&self) -> Result<Vec<ApiKey>, StateError> {
        sqlx::query("SELECT * FROM api_key ORDER BY name")
            .fetch_all(&self.pool)
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
        sqlx::query("UPDATE api_key SET last_used_at = $2 WHERE id = $1")
            .bind(id)
            .bind(at.as_millis())
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Removes a key. Returns whether it was there.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn remove_api_key(&self, id: &str) -> Result<bool, StateError> {
        let done =
            sqlx::query("DELETE FROM api_key WHERE id = $1").bind(id).execute(&self.pool).await?;
        Ok(done.rows_affected() > 0)
    }
}

fn account(row: &SqliteRow) -> Result<Account, StateError> {
    Ok(Account {
        name: row.try_get("name")?,
        role: parsed::<Role>(row.try_get("role")?, "role")?,
        created_at: Timestamp::from_millis(row.try_get("created_at")?),
        disabled: row.try_get::<i64, _>("disabled")? != 0,
    })
}

fn session(row: &SqliteRow) -> Result<Session, StateError> {
    let address: Option<&str> = row.try_get("address")?;
    Ok(Session {
        token_hash: row.try_get("token_hash")?,
        account: row.try_get("account")?,
        created_at: Timestamp::from_millis(row.try_get("session_created_at")?),
        last_seen: Timestamp::from_millis(row.try_get("last_seen")?),
        expires_at: Timestamp::from_millis(row.try_get("expires_at")?),
        address: address.map(|text| parsed(text, "address")).transpose()?,
        user_agent: row.try_get("user_agent")?,
    })
}

fn api_key(row: &SqliteRow) -> Result<ApiKey, StateError> {
    let scopes: &str = row.try_get("scopes")?;
    let last_used_at: Option<i64> = row.try_get("last_used_at")?;
    Ok(ApiKey {
        id: row.try_get("id")?,
        name: parsed(row.try_get("name")?, "sensor name")?,
        secret_hash: row.try_get("secret_hash")?,
        scopes: scopes
            .split(',')
            .filter(|scope| !scope.is_empty())
            .map(|scope| parsed(scope, "scope"))
            .collect::<Result<_, _>>()?,
        domain: parsed_domain(row.try_get("domain")?)?,
        created_at: Timestamp::from_millis(row.try_get("created_at")?),
        last_used_at: last_used_at.map(Timestamp::from_millis),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn state() -> (tempfile::TempDir, State) {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(&dir.path().join("state.db")).await.unwrap();
        (dir, state)
    }

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_millis(secs * 1000)
    }

    fn anna() -> Account {
        Account { name: "anna".into(), role: Role::Operator, created_at: at(1), disabled: false }
    }

    fn session_of(account: &str, hash: &str) -> Session {
        Session {
            token_hash: hash.into(),
            account: account.into(),
            created_at: at(10),
            last_seen: at(10),
            expires_at: at(100),
            address: Some("2001:db8::1".parse().unwrap()),
            user_agent: Some("Firefox".into()),
        }
    }

    #[tokio::test]
    async fn an_account_reads_back_as_written_and_exists_once() {
        let (_dir, state) = state().await;
        state.add_account(&anna(), "$hash").await.unwrap();
        assert_eq!(state.account("anna").await.unwrap(), Some((anna(), "$hash".into())));
        assert!(matches!(state.add_account(&anna(), "$x").await, Err(StateError::Exists)));
        assert_eq!(state.accounts().await.unwrap(), [anna()]);
        assert_eq!(state.account("Anna").await.unwrap(), None);
    }

    #[tokio::test]
    async fn sessions_end_with_their_account_and_with_a_new_password() {
        let (_dir, state) = state().await;
        state.add_account(&anna(), "$hash").await.unwrap();
        state.add_session(&session_of("anna", "aa")).await.unwrap();
        let (session, account) = state.session("aa").await.unwrap().unwrap();
        assert_eq!((session, account), (session_of("anna", "aa"), anna()));
        assert!(state.set_password_hash("anna", "$new").await.unwrap());
        assert_eq!(state.session("aa").await.unwrap(), None);
        state.add_session(&session_of("anna", "bb")).await.unwrap();
        assert!(state.remove_account("anna").await.unwrap());
        assert_eq!(state.sessions().await.unwrap(), []);
        assert!(!state.remove_account("anna").await.unwrap());
    }

    #[tokio::test]
    async fn a_session_needs_an_account() {
        let (_dir, state) = state().await;
        assert!(state.add_session(&session_of("nobody", "aa")).await.is_err());
    }

    #[tokio::test]
    async fn only_sessions_past_their_time_are_removed() {
        let (_dir, state) = state().await;
        state.add_account(&anna(), "$hash").await.unwrap();
        for (hash, last_seen, expires) in [("a", 50, 100), ("b", 5, 100), ("c", 50, 60)] {
            let mut session = session_of("anna", hash);
            (session.last_seen, session.expires_at) = (at(last_seen), at(expires));
            state.add_session(&session).await.unwrap();
        }
        assert_eq!(state.remove_expired_sessions(at(60), at(5)).await.unwrap(), 2);
        let left: Vec<_> = state.sessions().await.unwrap();
        assert_eq!(left.iter().map(|s| s.token_hash.as_str()).collect::<Vec<_>>(), ["a"]);
    }

    #[tokio::test]
    async fn a_key_reads_back_as_written() {
        let (_dir, state) = state().await;
        let mut key = ApiKey {
            id: "0a".into(),
            name: SensorId::new("web-1").unwrap(),
            secret_hash: "ff".into(),
            scopes: vec![Scope::Ingest, Scope::Read],
            domain: Domain::Community,
            created_at: at(3),
            last_used_at: None,
        };
        state.add_api_key(&key).await.unwrap();
        let same_name = ApiKey { id: "0b".into(), ..key.clone() };
        assert!(matches!(state.add_api_key(&same_name).await, Err(StateError::Exists)));
        state.touch_api_key("0a", at(9)).await.unwrap();
        key.last_used_at = Some(at(9));
        assert_eq!(state.api_key("0a").await.unwrap(), Some(key.clone()));
        assert_eq!(state.api_keys().await.unwrap(), [key]);
        assert!(state.remove_api_key("0a").await.unwrap());
        assert_eq!(state.api_key("0a").await.unwrap(), None);
    }
}
