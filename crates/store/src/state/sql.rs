//! One way to speak to both databases, so that each statement is written once.
//!
//! Statements keep to SQL that SQLite and PostgreSQL understand alike, values
//! to text, 64-bit integers and bytes. Failures are sorted here by what the
//! caller does next.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use sqlx::{AssertSqlSafe, Postgres, Row as _, Sqlite, SqlitePool};
use sqlx::{PgPool, Transaction};

use super::StateError;
use super::outage::Outage;

/// A value that is bound to a statement.
#[derive(Debug)]
pub(super) enum Value<'a> {
    Text(Option<Cow<'a, str>>),
    Integer(Option<i64>),
    Bytes(Cow<'a, [u8]>),
}

macro_rules! values {
    ($($type:ty => |$value:ident| $made:expr;)*) => {
        $(impl<'a> From<$type> for Value<'a> {
            fn from($value: $type) -> Self {
                $made
            }
        })*
    };
}

values! {
    &'a str => |text| Self::Text(Some(Cow::Borrowed(text)));
    &'a String => |text| Self::Text(Some(Cow::Borrowed(text)));
    String => |text| Self::Text(Some(Cow::Owned(text)));
    Option<&'a str> => |text| Self::Text(text.map(Cow::Borrowed));
    &'a Option<String> => |text| Self::Text(text.as_deref().map(Cow::Borrowed));
    Option<String> => |text| Self::Text(text.map(Cow::Owned));
    i64 => |number| Self::Integer(Some(number));
    Option<i64> => |number| Self::Integer(number);
    &'a [u8] => |bytes| Self::Bytes(Cow::Borrowed(bytes));
    Vec<u8> => |bytes| Self::Bytes(Cow::Owned(bytes));
}

/// A statement with its values.
#[derive(Debug)]
pub(super) struct Statement<'a> {
    text: Cow<'static, str>,
    values: Vec<Value<'a>>,
}

/// A statement; `$1`, `$2`, … stand for the values that are bound.
pub(super) fn sql<'a>(text: &'static str) -> Statement<'a> {
    Statement { text: Cow::Borrowed(text), values: Vec::new() }
}

/// A statement whose text is put together from names in this crate, never from
/// what somebody has sent.
pub(super) fn sql_text<'a>(text: String) -> Statement<'a> {
    Statement { text: Cow::Owned(text), values: Vec::new() }
}

/// A statement on many rows: `head` ends with `VALUES`, `tail` follows the rows.
pub(super) fn sql_rows<'a>(
    head: impl Into<String>,
    rows: Vec<Vec<Value<'a>>>,
    tail: &'static str,
) -> Statement<'a> {
    let mut text = head.into();
    let mut number = 0;
    for (index, row) in rows.iter().enumerate() {
        text.push_str(if index == 0 { " (" } else { ", (" });
        for column in 0..row.len() {
            number += 1;
            text.push_str(if column == 0 { "$" } else { ", $" });
            text.push_str(&number.to_string());
        }
        text.push(')');
    }
    text.push(' ');
    text.push_str(tail);
    Statement { text: Cow::Owned(text), values: rows.into_iter().flatten().collect() }
}

impl<'a> Statement<'a> {
    /// The next value.
    pub(super) fn bind(mut self, value: impl Into<Value<'a>>) -> Self {
        self.values.push(value.into());
        self
    }

    /// More text, from this crate too.
    pub(super) fn push(&mut self, text: &'static str) {
        self.text.to_mut().push_str(text);
    }

    /// The place of the next value, and the value.
    pub(super) fn push_bind(&mut self, value: impl Into<Value<'a>>) {
        self.values.push(value.into());
        let place = format!("${}", self.values.len());
        self.text.to_mut().push_str(&place);
    }

    /// Runs it; how many rows it changed.
    pub(super) async fn execute<'t>(self, on: impl Into<Target<'t>>) -> Result<u64, StateError> {
        self.check()?;
        let on = on.into();
        let db = on.db();
        match on {
            Target::Db(Db { pool: Pool::Sqlite(pool), .. }) => {
                db.guarded(self.sqlite().execute(pool)).await.map(|done| done.rows_affected())
            }
            Target::Db(Db { pool: Pool::Postgres(pool), .. }) => {
                db.guarded(self.postgres().execute(pool)).await.map(|done| done.rows_affected())
            }
            Target::Tx(Tx { on: Begun::Sqlite(tx), .. }) => {
                db.guarded(self.sqlite().execute(&mut **tx)).await.map(|done| done.rows_affected())
            }
            Target::Tx(Tx { on: Begun::Postgres(tx), .. }) => {
                let done = db.guarded(self.postgres().execute(&mut **tx)).await;
                done.map(|done| done.rows_affected())
            }
        }
    }

    /// Runs it; the rows of its answer.
    pub(super) async fn rows<'t>(self, on: impl Into<Target<'t>>) -> Result<Vec<Row>, StateError> {
        self.check()?;
        let on = on.into();
        let db = on.db();
        match on {
            Target::Db(Db { pool: Pool::Sqlite(pool), .. }) => {
                db.guarded(self.sqlite().fetch_all(pool)).await.map(sqlite_rows)
            }
            Target::Db(Db { pool: Pool::Postgres(pool), .. }) => {
                db.guarded(self.postgres().fetch_all(pool)).await.map(postgres_rows)
            }
            Target::Tx(Tx { on: Begun::Sqlite(tx), .. }) => {
                db.guarded(self.sqlite().fetch_all(&mut **tx)).await.map(sqlite_rows)
            }
            Target::Tx(Tx { on: Begun::Postgres(tx), .. }) => {
                db.guarded(self.postgres().fetch_all(&mut **tx)).await.map(postgres_rows)
            }
        }
    }

    /// Runs it; the first row of its answer.
    pub(super) async fn row<'t>(
        self,
        on: impl Into<Target<'t>>,
    ) -> Result<Option<Row>, StateError> {
        Ok(self.rows(on).await?.into_iter().next())
    }

    /// SQLite takes NUL in a text, PostgreSQL does not: refused on both.
    fn check(&self) -> Result<(), StateError> {
        let nul =
            |value: &Value<'_>| matches!(value, Value::Text(Some(text)) if text.contains('\0'));
        if self.values.iter().any(nul) { Err(StateError::Nul) } else { Ok(()) }
    }
}

/// Texts of many rows differ by their number, so they are not kept prepared.
macro_rules! bound {
    ($statement:ident) => {{
        let keep = matches!($statement.text, Cow::Borrowed(_));
        let mut query = sqlx::query(AssertSqlSafe($statement.text)).persistent(keep);
        for value in $statement.values {
            query = match value {
                Value::Text(text) => query.bind(text.map(Cow::into_owned)),
                Value::Integer(number) => query.bind(number),
                Value::Bytes(bytes) => query.bind(bytes.into_owned()),
            };
        }
        query
    }};
}

impl Statement<'_> {
    fn sqlite(self) -> sqlx::query::Query<'static, Sqlite, sqlx::sqlite::SqliteArguments> {
        bound!(self)
    }

    fn postgres(self) -> sqlx::query::Query<'static, Postgres, sqlx::postgres::PgArguments> {
        bound!(self)
    }
}

/// A row of an answer.
pub(super) enum Row {
    Sqlite(sqlx::sqlite::SqliteRow),
    Postgres(sqlx::postgres::PgRow),
}

fn sqlite_rows(rows: Vec<sqlx::sqlite::SqliteRow>) -> Vec<Row> {
    rows.into_iter().map(Row::Sqlite).collect()
}

fn postgres_rows(rows: Vec<sqlx::postgres::PgRow>) -> Vec<Row> {
    rows.into_iter().map(Row::Postgres).collect()
}

impl Row {
    /// A column by name.
    pub(super) fn get<T>(&self, column: &str) -> Result<T, StateError>
    where
        T: for<'r> sqlx::Decode<'r, Sqlite> + sqlx::Type<Sqlite>,
        T: for<'r> sqlx::Decode<'r, Postgres> + sqlx::Type<Postgres>,
    {
        match self {
            Self::Sqlite(row) => row.try_get(column),
            Self::Postgres(row) => row.try_get(column),
        }
        .map_err(StateError::Failed)
    }

    /// A count, which is never negative.
    pub(super) fn count(&self, column: &str) -> Result<u64, StateError> {
        Ok(u64::try_from(self.get::<i64>(column)?).unwrap_or(0))
    }
}

/// The connections to one database.
#[derive(Clone, Debug)]
pub(super) struct Db {
    pub(super) pool: Pool,
    pub(super) outage: Arc<Outage>,
    /// Longest wait for one statement, including for a connection.
    pub(super) deadline: Duration,
}

#[derive(Clone, Debug)]
pub(super) enum Pool {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

/// A transaction; undone where it is dropped without commit.
pub(super) struct Tx {
    on: Begun,
    db: Db,
}

enum Begun {
    Sqlite(Transaction<'static, Sqlite>),
    Postgres(Transaction<'static, Postgres>),
}

/// What a transaction is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Writes; sees what others have committed before each statement.
    Write,
    /// Reads one and the same state from beginning to end.
    Snapshot,
}

/// Where a statement runs.
pub(super) enum Target<'t> {
    Db(&'t Db),
    Tx(&'t mut Tx),
}

impl<'t> From<&'t Db> for Target<'t> {
    fn from(db: &'t Db) -> Self {
        Self::Db(db)
    }
}

impl<'t> From<&'t mut Tx> for Target<'t> {
    fn from(tx: &'t mut Tx) -> Self {
        Self::Tx(tx)
    }
}

impl Target<'_> {
    fn db(&self) -> Db {
        match self {
            Self::Db(db) => (*db).clone(),
            Self::Tx(tx) => tx.db.clone(),
        }
    }
}

impl Db {
    /// Begins a transaction.
    pub(super) async fn begin(&self, purpose: Purpose) -> Result<Tx, StateError> {
        let on = match &self.pool {
            Pool::Sqlite(pool) => {
                // A reader that turns into a writer may be told that it comes
                // too late; who begins as a writer waits for its turn.
                let begin = match purpose {
                    Purpose::Write => "BEGIN IMMEDIATE",
                    Purpose::Snapshot => "BEGIN DEFERRED",
                };
                Begun::Sqlite(self.guarded(pool.begin_with(begin)).await?)
            }
            Pool::Postgres(pool) => {
                let begin = match purpose {
                    Purpose::Write => "BEGIN ISOLATION LEVEL READ COMMITTED",
                    Purpose::Snapshot => "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY",
                };
                Begun::Postgres(self.guarded(pool.begin_with(begin)).await?)
            }
        };
        Ok(Tx { on, db: self.clone() })
    }

    /// Runs work on the database under its deadline, unless the database is
    /// known to be away, and notes how that went.
    pub(super) fn guarded<T>(
        &self,
        work: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> impl Future<Output = Result<T, StateError>> {
        // On the heap, or the futures of all who ask would be large.
        let work = Box::pin(work);
        self.guard(work)
    }

    async fn guard<T>(
        &self,
        work: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, StateError> {
        self.outage.enter().map_err(StateError::Unavailable)?;
        let Ok(outcome) = tokio::time::timeout(self.deadline, work).await else {
            let reason = format!("no answer within {} s", self.deadline.as_secs());
            self.outage.lost(&reason);
            return Err(StateError::Unavailable(reason));
        };
        outcome.inspect(|_| self.outage.works()).map_err(|error| {
            let kind = kind(&error);
            match kind {
                Kind::Lost => self.outage.lost(&error.to_string()),
                // Answers all the same.
                Kind::Busy | Kind::Exists | Kind::Missing | Kind::Other => self.outage.works(),
                Kind::Closed => {}
            }
            match kind {
                Kind::Lost | Kind::Busy => StateError::Unavailable(error.to_string()),
                Kind::Exists => StateError::Exists,
                Kind::Missing => StateError::NotFound,
                Kind::Closed | Kind::Other => StateError::Failed(error),
            }
        })
    }

    /// Ends all connections.
    pub(super) async fn close(&self) {
        match &self.pool {
            Pool::Sqlite(pool) => pool.close().await,
            Pool::Postgres(pool) => pool.close().await,
        }
    }
}

impl Tx {
    /// Makes durable what was written.
    pub(super) async fn commit(self) -> Result<(), StateError> {
        match self.on {
            Begun::Sqlite(tx) => self.db.guarded(tx.commit()).await,
            Begun::Postgres(tx) => self.db.guarded(tx.commit()).await,
        }
    }
}

/// What a failure means to who asked.
enum Kind {
    /// A value that may be there once is there.
    Exists,
    /// What is referred to is not there.
    Missing,
    /// The database answers, but cannot do this now.
    Busy,
    /// The database does not answer.
    Lost,
    /// This process has ended its connections.
    Closed,
    /// It will fail again.
    Other,
}

fn kind(error: &sqlx::Error) -> Kind {
    let database = match error {
        sqlx::Error::Database(database) => database,
        sqlx::Error::PoolClosed => return Kind::Closed,
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::BeginFailed
        | sqlx::Error::WorkerCrashed => return Kind::Lost,
        _ => return Kind::Other,
    };
    if database.is_unique_violation() {
        return Kind::Exists;
    }
    if database.is_foreign_key_violation() {
        return Kind::Missing;
    }
    let code = database.code().unwrap_or_default();
    if database.try_downcast_ref::<sqlx::postgres::PgDatabaseError>().is_some() {
        return match &*code {
            // A read-only standby, where the server has changed its part.
            "25006" => Kind::Lost,
            // Deadlock or serialization; no room; asked to stop; cancelled by the timeout.
            code if code.starts_with("40") || code.starts_with("53") => Kind::Busy,
            "57014" | "55P03" => Kind::Busy,
            // Connection, sign-in, shutdown, start.
            code if ["08", "28", "3D", "57P"].iter().any(|class| code.starts_with(class)) => {
                Kind::Lost
            }
            _ => Kind::Other,
        };
    }
    // Extended result codes; the low byte is the primary one: locked or busy,
    // read-only, I/O, full, cannot be opened (sqlite.org/rescode.html).
    match code.parse::<i64>().map(|code| code & 0xff) {
        Ok(5 | 6) => Kind::Busy,
        Ok(8 | 10 | 13 | 14) => Kind::Lost,
        _ => Kind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_numbered_through() {
        let rows = vec![vec![1.into(), "a".into()], vec![2.into(), "b".into()]];
        let statement = sql_rows("INSERT INTO t (a, b) VALUES", rows, "ON CONFLICT DO NOTHING");
        assert_eq!(
            statement.text,
            "INSERT INTO t (a, b) VALUES ($1, $2), ($3, $4) ON CONFLICT DO NOTHING"
        );
        assert_eq!(statement.values.len(), 4);
    }
}
