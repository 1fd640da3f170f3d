//! Settings of the state database.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize, Serializer};
use sqlx::postgres::{PgConnectOptions, PgSslMode};

/// What PostgreSQL's address may say after the `?`.
const PARAMETERS: [&str; 5] = ["host", "sslmode", "sslrootcert", "sslcert", "sslkey"];

/// Settings of the state database: accounts, sessions, keys, sensors, saved
/// queries, quarantine. Without `postgres` it is a SQLite file in the data
/// directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StateConfig {
    /// A PostgreSQL database instead of the file, such as
    /// `postgres://palisade@db.example/palisade?sslmode=verify-full`; hubs that
    /// name the same one share accounts, keys, sensors and quarantine. The
    /// database must be there, empty or made by this program. TLS with a
    /// verified certificate is the default except to this machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub postgres: Option<PostgresUrl>,
    /// A file that holds the password of its user. Default: no password, or
    /// what `PGPASSWORD` or `~/.pgpass` say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// Connections to PostgreSQL at most. Default: 8.
    pub connections: u32,
    /// Seconds until a connection to PostgreSQL must stand. Default: 5.
    pub connect_timeout_secs: u32,
    /// Seconds until PostgreSQL must have answered. Default: 10.
    pub answer_timeout_secs: u32,
    /// Seconds that a starting hub waits for PostgreSQL before it gives up.
    /// Default: 60.
    pub start_wait_secs: u32,
    /// Seconds that keys and sessions checked before stay good while the
    /// database does not answer. Default: one hour.
    pub outage_secs: u32,
}

impl Default for StateConfig {
    fn default() -> Self {
        Self {
            postgres: None,
            password_file: None,
            connections: 8,
            connect_timeout_secs: 5,
            answer_timeout_secs: 10,
            start_wait_secs: 60,
            outage_secs: 60 * 60,
        }
    }
}

impl StateConfig {
    /// Checks what the types do not. Whether the database answers is checked
    /// when it is opened.
    ///
    /// # Errors
    /// Every mistake, one sentence each, none of them with a secret.
    pub fn validate(&self) -> Result<(), Vec<String>> {
        let mut mistakes = Vec::new();
        let mut between = |name: &str, value: u32, least: u32, most: u32| {
            if !(least..=most).contains(&value) {
                mistakes.push(format!("{name}: expected {least} to {most}, found {value}"));
            }
        };
        between("connections", self.connections, 2, 1000);
        between("connect_timeout_secs", self.connect_timeout_secs, 1, 300);
        between("answer_timeout_secs", self.answer_timeout_secs, 1, 300);
        between("start_wait_secs", self.start_wait_secs, 0, 3600);
        between("outage_secs", self.outage_secs, 0, 24 * 60 * 60);
        match &self.postgres {
            Some(url) => {
                mistakes.extend(url.mistake().map(|mistake| format!("postgres: {mistake}")))
            }
            None if self.password_file.is_some() => {
                mistakes.push("password_file: makes no sense without postgres".into());
            }
            None => {}
        }
        if mistakes.is_empty() { Ok(()) } else { Err(mistakes) }
    }

    /// How long one statement may take, including the way to a connection.
    pub(super) fn deadline(&self) -> Duration {
        self.connect_timeout() + self.answer_timeout()
    }

    pub(super) fn connect_timeout(&self) -> Duration {
        Duration::from_secs(self.connect_timeout_secs.into())
    }

    pub(super) fn answer_timeout(&self) -> Duration {
        Duration::from_secs(self.answer_timeout_secs.into())
    }
}

/// Address of a PostgreSQL database, `postgres://USER@HOST[:PORT]/DATABASE`,
/// with `sslmode`, `sslrootcert`, `sslcert`, `sslkey` and `host` (a directory
/// with a socket) after a `?`. Prints a password that somebody has put into it
/// as `***`.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct PostgresUrl(String);

impl PostgresUrl {
    /// An address; [`StateConfig::validate`] says whether it is one.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Where the password is in the text.
    fn password(&self) -> Option<std::ops::Range<usize>> {
        let start = self.0.find("://")? + 3;
        let rest = self.0.get(start..)?;
        let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
        // An address with two '@' or a raw '/' in its password is masked whole.
        let user = match authority.rfind('@') {
            Some(at) => authority.get(..at)?,
            None => rest.get(..rest.rfind('@')?)?,
        };
        let colon = user.find(':')?;
        Some(start + colon + 1..start + user.len())
    }

    /// What is wrong with it, without its secrets.
    fn mistake(&self) -> Option<String> {
        const FORM: &str = "expected postgres://USER@HOST/DATABASE";
        let Some(rest) =
            self.0.strip_prefix("postgres://").or(self.0.strip_prefix("postgresql://"))
        else {
            return Some(FORM.into());
        };
        if self.password().is_some() {
            return Some("a password does not belong here; put it into password_file".into());
        }
        let (place, parameters) = rest.split_once('?').unwrap_or((rest, ""));
        for parameter in parameters.split('&').filter(|parameter| !parameter.is_empty()) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            if !PARAMETERS.contains(&name) {
                let known = PARAMETERS.join(", ");
                let name: String = name.chars().take(32).flat_map(char::escape_debug).collect();
                return Some(format!("unknown parameter '{name}'; expected one of {known}"));
            }
            if name == "host" && !value.starts_with('/') && !value.starts_with("%2") {
                return Some("host: expected a directory, such as /run/postgresql".into());
            }
        }
        let Some((user, place)) = place.split_once('@') else { return Some(FORM.into()) };
        let Some((host, database)) = place.split_once('/') else { return Some(FORM.into()) };
        if user.is_empty() || host.is_empty() || database.is_empty() || database.contains('/') {
            return Some(FORM.into());
        }
        self.0.parse::<PgConnectOptions>().err().map(|error| format!("{FORM}: {error}"))
    }

    /// How to connect, with this password.
    pub(super) fn options(&self, password: Option<&str>) -> Result<PgConnectOptions, String> {
        if let Some(mistake) = self.mistake() {
            return Err(mistake);
        }
        let mut options: PgConnectOptions =
            self.0.parse().map_err(|error: sqlx::Error| error.to_string())?;
        // The environment (PGPORT, PGOPTIONS) must not lead elsewhere.
        let place = self.0.split(['?']).next().unwrap_or_default();
        if !place.rsplit(['@', ']']).next().is_some_and(|host| host.contains(':')) {
            options = options.port(5432);
        }
        if !self.0.contains("sslmode=") {
            let mode = match is_here(&options) {
                true => PgSslMode::Prefer,
                false => PgSslMode::VerifyFull,
            };
            options = options.ssl_mode(mode);
        }
        if let Some(password) = password {
            options = options.password(password);
        }
        Ok(options.application_name("palisade"))
    }
}

/// Whether the way there stays on this machine.
fn is_here(options: &PgConnectOptions) -> bool {
    let host = options.get_host().trim_start_matches('[').trim_end_matches(']');
    options.get_socket().is_some()
        || host.starts_with('/')
        || host == "localhost"
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The password in a file, without the end of its line.
pub(super) fn read_password(file: &Path) -> Result<String, String> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| format!("cannot read the password file {}: {error}", file.display()))?;
    let password = text.trim_end_matches(['\n', '\r']);
    if password.is_empty() || password.contains(['\n', '\0']) {
        return Err(format!("the password file {} does not hold one line", file.display()));
    }
    Ok(password.to_owned())
}

impl fmt::Display for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(password) = self.password() else { return f.write_str(&self.0) };
        let head = self.0.get(..password.start).unwrap_or_default();
        let tail = self.0.get(password.end..).unwrap_or_default();
        write!(f, "{head}***{tail}")
    }
}

impl fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

impl Serialize for PostgresUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistake(url: &str) -> Option<String> {
        PostgresUrl::new(url).mistake()
    }

    #[test]
    fn an_address_names_user_host_and_database_and_nothing_unknown() {
        for good in [
            "postgres://palisade@db.example/palisade",
            "postgresql://palisade@db.example:5433/palisade?sslmode=verify-full",
            "postgres://palisade@[::1]/p?sslmode=disable",
            "postgres://palisade@localhost/p?host=/run/postgresql",
            "postgres://palisade@%2Frun%2Fpostgresql/p",
        ] {
            assert_eq!(mistake(good), None, "{good}");
        }
        for (bad, says) in [
            ("mysql://a@b/c", "expected postgres://"),
            ("postgres://db.example/palisade", "expected postgres://"),
            ("postgres://palisade@db.example", "expected postgres://"),
            ("postgres://palisade@db.example/", "expected postgres://"),
            ("postgres://palisade@db/p?sslmod=require", "unknown parameter 'sslmod'"),
            ("postgres://palisade@db/p?password=hunter2", "unknown parameter 'password'"),
            ("postgres://palisade@db/p?sslmode=maybe", "expected postgres://"),
            ("postgres://palisade:hunter2@db/p", "password_file"),
            ("postgres://palisade@db/p?host=other", "expected a directory"),
        ] {
            let said = mistake(bad).unwrap_or_default();
            assert!(said.contains(says) && !said.contains("hunter2"), "{bad}: {said}");
        }
    }

    #[test]
    fn a_password_in_the_address_is_never_printed() {
        for url in [
            "postgres://palisade:hunter2@db/p?sslmode=require",
            "postgres://palisade:hun/ter2@db/p",
            "postgres://palisade:hunter2@hunter2@db/p",
        ] {
            let config =
                StateConfig { postgres: Some(PostgresUrl::new(url)), ..Default::default() };
            let printed =
                format!("{config:?} {} {:?}", serde_json::json!(config), config.validate());
            assert!(printed.contains("***"), "{printed}");
            assert!(!printed.contains("ter2"), "{printed}");
        }
    }

    #[test]
    fn tls_is_verified_unless_the_way_stays_on_this_machine() {
        let mode = |url: &str| PostgresUrl::new(url).options(None).unwrap().get_ssl_mode();
        assert!(matches!(mode("postgres://u@db.example/p"), PgSslMode::VerifyFull));
        assert!(matches!(mode("postgres://u@192.0.2.1/p"), PgSslMode::VerifyFull));
        assert!(matches!(mode("postgres://u@db/p?sslmode=require"), PgSslMode::Require));
        for here in ["localhost", "127.0.0.1", "[::1]", "%2Frun%2Fpostgresql"] {
            assert!(matches!(mode(&format!("postgres://u@{here}/p")), PgSslMode::Prefer), "{here}");
        }
    }

    #[test]
    fn all_mistakes_are_listed_at_once() {
        let config = StateConfig {
            postgres: Some(PostgresUrl::new("x")),
            connections: 0,
            connect_timeout_secs: 0,
            answer_timeout_secs: 301,
            start_wait_secs: 3601,
            outage_secs: 86_401,
            password_file: None,
        };
        assert_eq!(config.validate().unwrap_err().len(), 6);
        assert_eq!(StateConfig::default().validate(), Ok(()));
        let alone = StateConfig { password_file: Some("/x".into()), ..Default::default() };
        assert_eq!(alone.validate().unwrap_err().len(), 1);
    }
}
