//! A connection that is ready for use: the version is known and the tables are
//! there.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::config::ClickHouseConfig;
use super::http::{Answer, Fault, Http, Setting};
use super::schema::{Dialect, SCHEMA, Statement, statements};
use super::snapshot::Snapshot;
use super::sql::name;

/// How long the server works on one question, in seconds.
pub(super) const MAX_EXECUTION_SECS: u32 = 60;
/// Memory that the server may use for one question.
pub(super) const MAX_QUERY_MEMORY_BYTES: u64 = 4 * 1024 * 1024 * 1024;
/// Longest statement of ours, in bytes: a thousand listed texts of a top.
const MAX_SQL_BYTES: u64 = 64 * 1024 * 1024;
/// Seconds that a Distributed table waits for all shards when it stores.
const DISTRIBUTED_SECS: u32 = 60;
/// Milliseconds that a replica waits for others to have a batch as well. Where they
/// do not come in time, the batch is given up and written anew.
const QUORUM_MILLIS: u32 = 10_000;

/// The error of a replica while an insert of someone else waits for its quorum.
const QUORUM_IS_BUSY: u32 = 286;
/// How long to wait for one's turn before asking again.
const TURN_PAUSE: Duration = Duration::from_millis(20);

/// Why a connection cannot be used.
#[derive(Debug)]
pub(super) enum NotReady {
    Fault(Fault),
    /// The operator must act.
    Refused(String),
}

impl From<Fault> for NotReady {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// A server (or cluster) with our tables.
pub(super) struct Server {
    pub(super) http: Arc<Http>,
    pub(super) config: ClickHouseConfig,
    pub(super) dialect: Dialect,
    reading: Vec<Setting>,
    writing: Vec<Setting>,
    /// What was seen last.
    pub(super) snapshot: Mutex<Option<Arc<Snapshot>>>,
}

impl Server {
    /// Asks for the version and brings the tables up to date.
    pub(super) fn connect(http: Arc<Http>, config: &ClickHouseConfig) -> Result<Self, NotReady> {
        let version = match http.ask_quick("SELECT version() FORMAT RowBinary", &[])?.text() {
            Ok(version) => version,
            Err(error) => {
                let reason = format!("the answer to SELECT version() is not ClickHouse's: {error}");
                return Err(NotReady::Refused(reason));
            }
        };
        let Some(dialect) = Dialect::of(&version) else {
            let shown = version.escape_debug();
            let reason = format!("ClickHouse {shown} is too old; 18.16 or newer is needed");
            return Err(NotReady::Refused(reason));
        };
        let mut server = Self {
            http,
            config: config.clone(),
            dialect,
            reading: Vec::new(),
            writing: Vec::new(),
            snapshot: Mutex::default(),
        };
        server.settings()?;
        server.migrate()?;
        tracing::info!(version, database = config.database, "connected to ClickHouse");
        Ok(server)
    }

    fn settings(&mut self) -> Result<(), NotReady> {
        let own = |name, value: u64| (name, value.to_string());
        let mut reading = vec![
            own("max_execution_time", MAX_EXECUTION_SECS.into()),
            own("max_memory_usage", MAX_QUERY_MEMORY_BYTES),
            own("max_query_size", MAX_SQL_BYTES),
            own("max_ast_elements", 5_000_000),
            own("max_expanded_ast_elements", 5_000_000),
            // The answer is sent when it is complete, so that an error has its own status.
            own("wait_end_of_query", 1),
        ];
        let mut writing = vec![own("insert_distributed_sync", 1)];
        writing.push(own("insert_distributed_timeout", DISTRIBUTED_SECS.into()));
        if self.dialect == Dialect::Current {
            // An acknowledgement means stored, whatever the server's default.
            writing.push(own("async_insert", 0));
            writing.push(own("max_partitions_per_insert_block", 0));
        }
        if self.config.replicated {
            let sql = format!(
                "SELECT toUInt64(max(replica_num)) FROM system.clusters WHERE cluster = '{}' \
                 FORMAT RowBinary",
                self.config.cluster.as_deref().unwrap_or_default()
            );
            let replicas = match self.http.ask(&sql, &[])?.u64() {
                Ok(replicas) => replicas,
                Err(error) => return Err(NotReady::Fault(Fault::Lost(error.to_string()))),
            };
            // What one hub wrote the other must see, whichever replica it asks.
            if replicas > 1 {
                writing.push(own("insert_quorum", replicas / 2 + 1));
                writing.push(own("insert_quorum_timeout", QUORUM_MILLIS.into()));
                reading.push(own("select_sequential_consistency", 1));
                if self.dialect == Dialect::Current {
                    writing.push(own("insert_quorum_parallel", 0));
                }
            }
        }
        (self.reading, self.writing) = (reading, writing);
        Ok(())
    }

    /// Brings the tables of every server up to date. A replica that is away is
    /// not waited for where others have them already.
    fn migrate(&self) -> Result<(), NotReady> {
        let (urls, on) = self.schema_servers()?;
        let (mut away, mut had) = (None, false);
        for url in &urls {
            match self.migrate_at(url, &on) {
                Ok(is_current) => had |= is_current,
                Err(NotReady::Fault(fault @ Fault::Unreachable(_))) if self.config.replicated => {
                    away = Some(fault);
                }
                Err(other) => return Err(other),
            }
        }
        away.filter(|_| !had).map_or(Ok(()), |fault| Err(fault.into()))
    }

    /// Runs at one server what leads from its version to ours; whether it had ours.
    fn migrate_at(&self, url: &str, on: &str) -> Result<bool, NotReady> {
        let table = self.local_table("migrations");
        let exists = format!(
            "SELECT toUInt64(count()) FROM system.tables WHERE database = '{}' AND name = '{}' \
             FORMAT RowBinary",
            self.config.database,
            if self.config.cluster.is_some() { "migrations_local" } else { "migrations" }
        );
        let latest = format!("SELECT toUInt64(max(version)) FROM {table} FORMAT RowBinary");
        let version = match self.number_at(url, &exists)? {
            0 => 0,
            _ => self.number_at(url, &latest)?,
        };
        if version > u64::from(SCHEMA) {
            let reason = format!(
                "the tables in ClickHouse's database '{}' have version {version} and this \
                 version of palisade reads version {SCHEMA}; use a newer palisade",
                self.config.database
            );
            return Err(NotReady::Refused(reason));
        }
        if version == u64::from(SCHEMA) {
            return Ok(true);
        }
        for statement in statements(&self.config, self.dialect, on, version) {
            self.apply(url, &statement)?;
        }
        let applied = format!("INSERT INTO {table} (version) VALUES ({SCHEMA})");
        self.http.ask_at(url, &applied, &[])?;
        Ok(false)
    }

    /// Runs one statement of a migration.
    fn apply(&self, url: &str, statement: &Statement) -> Result<(), NotReady> {
        let is_there = || match statement.adds {
            None => Ok(false),
            Some((table, column)) => {
                let sql = format!(
                    "SELECT toUInt64(count()) FROM system.columns WHERE database = '{}' \
                     AND table = '{table}' AND name = '{column}' FORMAT RowBinary",
                    self.config.database
                );
                self.number_at(url, &sql).map(|found| found > 0)
            }
        };
        if is_there()? {
            return Ok(());
        }
        let lost = |error: io::Error| Fault::Lost(error.to_string());
        let ran = self.http.ask_at(url, &statement.sql, &[]);
        match ran.and_then(|mut answer| answer.more().map_err(lost)) {
            Ok(_) => Ok(()),
            // Another hub added it just now.
            Err(_) if is_there()? => Ok(()),
            Err(fault) => Err(fault.into()),
        }
    }

    /// The one number that a server answers.
    fn number_at(&self, url: &str, sql: &str) -> Result<u64, Fault> {
        let mut answer = self.http.ask_at(url, sql, &[])?;
        answer.u64().map_err(|error| Fault::Lost(error.to_string()))
    }

    /// Where the tables are made: at every server of the cluster, or at one for
    /// all where not every server is among the settings (that needs a Keeper).
    fn schema_servers(&self) -> Result<(Vec<String>, String), NotReady> {
        let Some(cluster) = &self.config.cluster else {
            return Ok((self.http.reached().into_iter().collect(), String::new()));
        };
        let sql = format!(
            "SELECT toUInt64(count()) FROM system.clusters WHERE cluster = '{cluster}' \
             FORMAT RowBinary"
        );
        let mut answer = self.http.ask(&sql, &[])?;
        let hosts = answer.u64().map_err(|error| Fault::Lost(error.to_string()))?;
        if hosts == 0 {
            let reason =
                format!("ClickHouse knows no cluster '{cluster}'; name one of its remote_servers");
            return Err(NotReady::Refused(reason));
        }
        let urls = self.http.servers();
        if urls.len() as u64 >= hosts {
            return Ok((urls.to_vec(), String::new()));
        }
        Ok((self.http.reached().into_iter().collect(), format!(" ON CLUSTER {}", name(cluster))))
    }

    /// The name of a table to read from and write to.
    pub(super) fn table(&self, table: &str) -> String {
        format!("{}.`{table}`", name(&self.config.database))
    }

    /// The name of the table that holds the data on each server.
    pub(super) fn local_table(&self, table: &str) -> String {
        match self.config.cluster {
            Some(_) => format!("{}.`{table}_local`", name(&self.config.database)),
            None => self.table(table),
        }
    }

    /// Asks with the limits of a question.
    pub(super) fn ask(&self, sql: &str, more: &[Setting]) -> Result<Answer, Fault> {
        let mut settings = self.reading.clone();
        settings.extend_from_slice(more);
        self.http.ask(sql, &settings)
    }

    /// All rows of an answer.
    pub(super) fn rows<T>(
        &self,
        sql: &str,
        read: impl FnMut(&mut Answer) -> io::Result<T>,
    ) -> Result<Vec<T>, Fault> {
        self.rows_with(sql, &[], read)
    }

    /// All rows of an answer to a question with further settings.
    pub(super) fn rows_with<T>(
        &self,
        sql: &str,
        settings: &[Setting],
        read: impl FnMut(&mut Answer) -> io::Result<T>,
    ) -> Result<Vec<T>, Fault> {
        read_rows(self.ask(sql, settings)?, read)
    }

    /// All rows of an answer to a question that costs the server nothing.
    pub(super) fn quick_rows<T>(
        &self,
        sql: &str,
        read: impl FnMut(&mut Answer) -> io::Result<T>,
    ) -> Result<Vec<T>, Fault> {
        read_rows(self.http.ask_quick(sql, &self.reading)?, read)
    }

    /// The one row of an answer.
    pub(super) fn one<T>(
        &self,
        sql: &str,
        read: impl FnMut(&mut Answer) -> io::Result<T>,
    ) -> Result<T, Fault> {
        let row = self.rows(sql, read)?.into_iter().next();
        row.ok_or_else(|| Fault::Lost("the answer of ClickHouse is empty".to_owned()))
    }

    /// Stores rows, once. Replicas take one insert into a table after the other
    /// and refuse who comes meanwhile; the same rows sent again are known to them.
    pub(super) fn insert(&self, table: &str, columns: &str, rows: &[u8]) -> Result<(), Fault> {
        let table = self.table(table);
        let sql = format!("INSERT INTO {table} ({columns}) FORMAT RowBinary");
        let turn = Instant::now() + Duration::from_millis(QUORUM_MILLIS.into());
        loop {
            match self.http.tell(&sql, rows, &self.writing) {
                Err(Fault::Refused(QUORUM_IS_BUSY, _)) if Instant::now() < turn => {
                    #[allow(clippy::disallowed_methods, reason = "every method of a store blocks")]
                    std::thread::sleep(TURN_PAUSE);
                }
                told => return told,
            }
        }
    }

    /// Runs a statement at every server of the settings, as local tables need it.
    /// Of replicas those that are away hear it from the others.
    pub(super) fn everywhere(&self, sql: &str, settings: &[Setting]) -> Result<(), Fault> {
        let one: Vec<String>;
        let urls = match self.config.cluster {
            Some(_) => self.http.servers(),
            None => {
                one = self.http.reached().into_iter().collect();
                &one
            }
        };
        let (mut away, mut done) = (None, false);
        for url in urls {
            match self.http.ask_at(url, sql, settings) {
                Ok(mut answer) => {
                    answer.more().map_err(|error| Fault::Lost(error.to_string()))?;
                    done = true;
                }
                Err(fault @ Fault::Unreachable(_)) if self.config.replicated => away = Some(fault),
                Err(other) => return Err(other),
            }
        }
        away.filter(|_| !done).map_or(Ok(()), Err)
    }
}

fn read_rows<T>(
    mut answer: Answer,
    mut read: impl FnMut(&mut Answer) -> io::Result<T>,
) -> Result<Vec<T>, Fault> {
    let broken =
        |error: io::Error| Fault::Lost(format!("the answer of ClickHouse cannot be read: {error}"));
    let mut rows = Vec::new();
    while answer.more().map_err(broken)? {
        rows.push(read(&mut answer).map_err(broken)?);
    }
    Ok(rows)
}
