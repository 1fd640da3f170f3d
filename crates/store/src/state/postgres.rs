//! The state database in PostgreSQL: how to get in, and what to tell the
//! operator where that fails.

use std::sync::Arc;
use std::time::Duration;

use sqlx::migrate::Migrate as _;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection as _, PgConnection};
use tokio::time::timeout;

use super::StateOpenError;
use super::config::{PostgresUrl, StateConfig, read_password};
use super::outage::{Outage, WhileAway};
use super::sql::{Db, Pool};

/// Oldest version that is supported, as `server_version_num` has it.
const OLDEST_VERSION: i32 = 13_00_00;
/// A connection that was idle for so long is asked whether it still stands.
const TRUSTED_IDLE: Duration = Duration::from_secs(1);
/// A connection that is not used for so long is given back.
const IDLE_TIMEOUT: Duration = Duration::from_secs(5 * 60);
/// A connection is replaced after so long, so that hubs follow a moved server.
const MAX_LIFETIME: Duration = Duration::from_secs(30 * 60);

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("migrations/postgres");

/// What a server said of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerFacts {
    /// Its version, such as `15.18`.
    pub version: String,
    /// Whether it syncs to disk: without, "durable" is an empty word.
    pub syncs: bool,
}

/// Connects and brings the tables up to date. Hubs that start at once wait for
/// each other (an advisory lock). The server lists who is connected by name.
pub(super) async fn open(
    url: &PostgresUrl,
    config: &StateConfig,
    name: &str,
) -> Result<Db, StateOpenError> {
    let options = options(url, config)?.application_name(name);
    let explain = |error: &sqlx::Error| explain(error, &options);
    let mut connection = connect(&options, config).await?;
    facts(&mut connection, &options).await?;
    let migrated = timeout(Duration::from_secs(u64::from(config.start_wait_secs).max(60)), async {
        // `run` does the same, but cannot be awaited in a spawned task.
        MIGRATIONS.run_direct(None, &mut connection, false).await
    })
    .await
    .map_err(|_| {
        StateOpenError::Unreachable("another hub has been changing the tables for too long".into())
    })?;
    migrated.map_err(|error| match error {
        sqlx::migrate::MigrateError::Execute(error)
        | sqlx::migrate::MigrateError::ExecuteMigration(error, _) => explain(&error),
        other => refused(&options, &super::migration_failure(other)),
    })?;
    // Ends the session properly; what it was for is done either way.
    let _ = connection.close().await;
    let answer_millis = config.answer_timeout().as_millis();
    let pool = PgPoolOptions::new()
        .max_connections(config.connections)
        .acquire_timeout(config.connect_timeout())
        .idle_timeout(IDLE_TIMEOUT)
        .max_lifetime(MAX_LIFETIME)
        .test_before_acquire(false)
        .before_acquire(|connection, meta| {
            Box::pin(async move {
                if meta.idle_for >= TRUSTED_IDLE {
                    connection.ping().await?;
                }
                Ok(true)
            })
        })
        .after_connect(move |connection, _| {
            Box::pin(async move {
                // What is written shall be durable on return, whatever the
                // default of the database is.
                sqlx::query(
                    "SELECT set_config('statement_timeout', $1, false),
                            set_config('idle_in_transaction_session_timeout', $1, false),
                            set_config('synchronous_commit',
                                CASE current_setting('synchronous_commit')
                                WHEN 'off' THEN 'on'
                                ELSE current_setting('synchronous_commit') END, false)",
                )
                .bind(answer_millis.to_string())
                .execute(connection)
                .await?;
                Ok(())
            })
        })
        .connect_lazy_with(options.clone());
    let outage = Arc::new(Outage::new(WhileAway::Wait));
    Ok(Db { pool: Pool::Postgres(pool), outage, deadline: config.deadline() })
}

/// Connects, changes nothing, and says what the server is.
pub(super) async fn examine(
    url: &PostgresUrl,
    config: &StateConfig,
) -> Result<ServerFacts, StateOpenError> {
    let options = options(url, config)?;
    let mut connection = connect(&options, config).await?;
    let facts = facts(&mut connection, &options).await?;
    let may_create: bool = sqlx::query_scalar(
        "SELECT COALESCE(has_schema_privilege(current_schema(), 'CREATE'), false)",
    )
    .fetch_one(&mut connection)
    .await
    .map_err(|error| explain(&error, &options))?;
    if !may_create {
        let user = options.get_username();
        let advice = format!("make '{user}' the owner of the database, or GRANT CREATE ON SCHEMA");
        return Err(refused(&options, &format!("the user '{user}' may not make tables; {advice}")));
    }
    let newest = MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or(0);
    // No table yet: nothing was applied.
    let applied = connection.list_applied_migrations("_sqlx_migrations").await.unwrap_or_default();
    if applied.iter().any(|migration| migration.version > newest) {
        return Err(refused(&options, super::NEWER));
    }
    let _ = connection.close().await;
    Ok(facts)
}

fn options(url: &PostgresUrl, config: &StateConfig) -> Result<PgConnectOptions, StateOpenError> {
    let password = match &config.password_file {
        Some(file) => Some(read_password(file).map_err(StateOpenError::Refused)?),
        None => None,
    };
    url.options(password.as_deref()).map_err(|mistake| {
        StateOpenError::Refused(format!("the address of PostgreSQL is wrong: {mistake}"))
    })
}

async fn connect(
    options: &PgConnectOptions,
    config: &StateConfig,
) -> Result<PgConnection, StateOpenError> {
    match timeout(config.connect_timeout(), PgConnection::connect_with(options)).await {
        Ok(connected) => connected.map_err(|error| explain(&error, options)),
        Err(_) => Err(StateOpenError::Unreachable(format!(
            "cannot reach PostgreSQL at {}: no answer within {} s",
            place(options),
            config.connect_timeout_secs
        ))),
    }
}

async fn facts(
    connection: &mut PgConnection,
    options: &PgConnectOptions,
) -> Result<ServerFacts, StateOpenError> {
    let (number, version, encoding, fsync, standby): (i32, String, String, String, bool) =
        sqlx::query_as(
            "SELECT current_setting('server_version_num')::int, current_setting('server_version'),
                    current_setting('server_encoding'), current_setting('fsync'),
                    pg_is_in_recovery()",
        )
        .fetch_one(connection)
        .await
        .map_err(|error| explain(&error, options))?;
    check_server(number, &version, &encoding).map_err(|reason| refused(options, &reason))?;
    if standby {
        return Err(StateOpenError::Unreachable(format!(
            "PostgreSQL at {} is a read-only standby; name the primary",
            place(options)
        )));
    }
    let version = version.split(' ').next().unwrap_or_default().to_owned();
    Ok(ServerFacts { version, syncs: fsync == "on" })
}

fn check_server(number: i32, version: &str, encoding: &str) -> Result<(), String> {
    if number < OLDEST_VERSION {
        let oldest = OLDEST_VERSION / 10_000;
        return Err(format!("it is version {version}; version {oldest} or newer is needed"));
    }
    if encoding != "UTF8" {
        return Err(format!("the database is encoded in {encoding}; make one in UTF8"));
    }
    Ok(())
}

/// `host:port/database` of an address.
fn place(options: &PgConnectOptions) -> String {
    let host = match options.get_socket() {
        Some(socket) => socket.display().to_string(),
        None => options.get_host().to_owned(),
    };
    format!("{host}:{}/{}", options.get_port(), options.get_database().unwrap_or_default())
}

fn refused(options: &PgConnectOptions, reason: &str) -> StateOpenError {
    StateOpenError::Refused(format!("cannot use PostgreSQL at {}: {reason}", place(options)))
}

fn unreachable(options: &PgConnectOptions, cause: &str) -> StateOpenError {
    let at = place(options);
    StateOpenError::Unreachable(format!("cannot reach PostgreSQL at {at}: {cause}"))
}

/// One sentence that says what to change.
fn explain(error: &sqlx::Error, options: &PgConnectOptions) -> StateOpenError {
    let at = place(options);
    let user = options.get_username();
    let tls = |said: String| {
        refused(
            options,
            &format!("TLS fails ({said}); check sslmode and sslrootcert in the address"),
        )
    };
    let database = match error {
        sqlx::Error::Database(database) => database,
        sqlx::Error::Tls(error) => return tls(error.to_string()),
        sqlx::Error::Io(error) => {
            // What is wrong with the certificate comes as a failed read.
            let inside = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
            return match inside {
                Some(inside) => tls(inside.to_string()),
                None => unreachable(options, &error.to_string()),
            };
        }
        other => return unreachable(options, &other.to_string()),
    };
    let (code, said) = (database.code().unwrap_or_default(), database.message());
    match &*code {
        "28P01" => {
            refused(options, &format!("wrong password for the user '{user}'; check password_file"))
        }
        "28000" => refused(options, &format!("it does not let the user '{user}' in ({said})")),
        "3D000" => {
            let name = options.get_database().unwrap_or_default();
            refused(
                options,
                &format!(
                    "there is no database '{name}'; make it with createdb --owner {user} {name}"
                ),
            )
        }
        "42501" => refused(
            options,
            &format!("the user '{user}' lacks a right ({said}); make it the owner of the database"),
        ),
        code if code.starts_with("53") || code.starts_with("57P") || code.starts_with("08") => {
            StateOpenError::Unreachable(format!("PostgreSQL at {at} takes nobody now: {said}"))
        }
        code => refused(options, &format!("{said} (SQLSTATE {code})")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_server_and_a_foreign_encoding_are_refused() {
        assert_eq!(check_server(130_000, "13.0", "UTF8"), Ok(()));
        assert_eq!(check_server(180_001, "18.1", "UTF8"), Ok(()));
        let old = check_server(120_022, "12.22 (Debian 12.22-1)", "UTF8").unwrap_err();
        assert!(old.contains("12.22") && old.contains("version 13 or newer"), "{old}");
        let latin = check_server(150_000, "15.0", "LATIN1").unwrap_err();
        assert!(latin.contains("LATIN1") && latin.contains("UTF8"), "{latin}");
    }
}
