//! The tables, and how they come to be: numbered migrations, each of
//! statements that may run twice, so that two hubs may start at once.

use super::config::ClickHouseConfig;
use super::row::{Kind, kind};
use super::sql::name;
use crate::query::Field;

/// The number of the schema that this build writes and reads.
pub(super) const SCHEMA: u32 = 2;
/// The table that says which version the others have.
const MIGRATIONS: &str = "migrations";
/// Milliseconds from 0001-01-01 to 1970-01-01: partitions are days since then,
/// as whole division of negative numbers goes the wrong way.
pub(super) const EPOCH_MILLIS: i64 = 62_135_596_800_000;
/// Days from 0001-01-01 to 1970-01-01.
pub(super) const EPOCH_DAYS: i64 = EPOCH_MILLIS / 86_400_000;

/// What a server's version can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// The common part of all versions since 18.16.
    Old,
    /// Since 21.11: codecs, small dictionaries, fsync, skip indexes.
    Current,
}

impl Dialect {
    /// By `SELECT version()`.
    pub(super) fn of(version: &str) -> Option<Self> {
        let mut numbers = version.split('.').map(|part| part.parse::<u32>().ok());
        let (major, minor) = (numbers.next()??, numbers.next()??);
        match (major, minor) {
            (..18, _) | (18, ..16) => None,
            version if version >= (21, 11) => Some(Self::Current),
            _ => Some(Self::Old),
        }
    }
}

/// One table of ours.
struct Table {
    name: &'static str,
    columns: String,
    /// Sorting key, and the column whose largest value stays where one does.
    order: &'static str,
    newest: Option<&'static str>,
    partition: Option<&'static str>,
    /// What decides on the shard: the same value always goes to the same one.
    shard: &'static str,
}

/// One statement of a migration.
pub(super) struct Statement {
    pub(super) sql: String,
    /// The table and the column that it adds, which may be there: 18.16 has no
    /// `ADD COLUMN IF NOT EXISTS`.
    pub(super) adds: Option<(&'static str, &'static str)>,
}

/// The statements that lead from version `from` (0: nothing is there) to
/// [`SCHEMA`], for a server of the cluster. `on` is `ON CLUSTER …` or nothing.
pub(super) fn statements(
    config: &ClickHouseConfig,
    dialect: Dialect,
    on: &str,
    from: u64,
) -> Vec<Statement> {
    let mut all = Vec::new();
    if from < 1 {
        let create = |sql| Statement { sql, adds: None };
        all.extend(creation(config, dialect, on).into_iter().map(create));
    }
    if from < 2 {
        // Also after a creation: an older version may have made the tables and ended there.
        all.extend(column(config, dialect, on, Field::Analyzer, Field::Host));
    }
    all
}

/// Adds the column of a field behind that of another one. The distributed table
/// comes last: what it names must be there.
fn column(
    config: &ClickHouseConfig,
    dialect: Dialect,
    on: &str,
    field: Field,
    behind: Field,
) -> Vec<Statement> {
    let database = name(&config.database);
    let tables = match config.cluster {
        Some(_) => &["events_local", "events"][..],
        None => &["events"],
    };
    let column = definition(dialect, field.name(), kind(field));
    let behind = behind.name();
    let unless = match dialect {
        Dialect::Old => "",
        Dialect::Current => " IF NOT EXISTS",
    };
    let add = |table: &&'static str| Statement {
        sql: format!(
            "ALTER TABLE {database}.`{table}`{on} ADD COLUMN{unless} {column} AFTER `{behind}`"
        ),
        adds: Some((table, field.name())),
    };
    tables.iter().map(add).collect()
}

fn creation(config: &ClickHouseConfig, dialect: Dialect, on: &str) -> Vec<String> {
    let database = name(&config.database);
    let mut all = vec![format!("CREATE DATABASE IF NOT EXISTS {database}{on}")];
    for table in tables(dialect) {
        let local = match config.cluster {
            Some(_) => format!("{}_local", table.name),
            None => table.name.to_owned(),
        };
        let partition =
            table.partition.map_or_else(String::new, |by| format!(" PARTITION BY {by}"));
        let settings = match dialect {
            Dialect::Old => "",
            Dialect::Current => ", fsync_after_insert = 1, fsync_part_directory = 1",
        };
        all.push(format!(
            "CREATE TABLE IF NOT EXISTS {database}.`{local}`{on} ({}) ENGINE = {}{partition} \
             ORDER BY {} SETTINGS index_granularity = 8192{settings}",
            table.columns,
            engine(config, &table, &local),
            table.order
        ));
        if let Some(cluster) = &config.cluster {
            all.push(format!(
                "CREATE TABLE IF NOT EXISTS {database}.`{}`{on} AS {database}.`{local}` \
                 ENGINE = Distributed({}, {database}, `{local}`, {})",
                table.name,
                name(cluster),
                table.shard
            ));
        }
    }
    all
}

fn engine(config: &ClickHouseConfig, table: &Table, local: &str) -> String {
    let kind = if table.newest.is_some() { "ReplacingMergeTree" } else { "MergeTree" };
    // Each server says for itself which version its tables have.
    if !config.replicated || table.name == MIGRATIONS {
        return format!("{kind}({})", table.newest.unwrap_or_default());
    }
    let newest = table.newest.map_or_else(String::new, |column| format!(", {column}"));
    let path = format!("/palisade/{}/{{shard}}/{local}", config.database);
    format!("Replicated{kind}('{path}', '{{replica}}'{newest})")
}

fn tables(dialect: Dialect) -> [Table; 7] {
    let table = |name, columns: &str, order, shard| Table {
        name,
        columns: columns.to_owned(),
        order,
        newest: None,
        partition: None,
        shard,
    };
    let by_day = Some("intDiv(observed_at + 62135596800000, 86400000)");
    [
        Table {
            columns: event_columns(dialect),
            partition: by_day,
            ..table("events", "", "(observed_at, id)", "sipHash64(id)")
        },
        // Events whose id was not made from their time: they are looked for here too.
        Table {
            partition: by_day,
            ..table(
                "odd",
                "observed_at Int64, id FixedString(16), batch UInt64",
                "id",
                "sipHash64(id)",
            )
        },
        table("writers", "number UInt32, nonce FixedString(16)", "number", "number"),
        Table {
            newest: Some("seq"),
            ..table("published", "writer UInt32, seq UInt32, opened UInt32", "writer", "writer")
        },
        table("aborted", "batch UInt64, cleared UInt8, at DateTime", "batch", "batch"),
        table(
            "doubles",
            "id FixedString(16), observed_at Int64, loser UInt64, winner UInt64, at DateTime",
            "id",
            "sipHash64(id)",
        ),
        table(MIGRATIONS, "version UInt32", "version", "version"),
    ]
}

fn event_columns(dialect: Dialect) -> String {
    let fields = Field::ALL.iter().map(|field| (field.name(), kind(*field)));
    let others = [("target_place", Kind::Name), ("rest", Kind::Text), ("words", Kind::Text)];
    let all = fields.chain(others).map(|(name, kind)| definition(dialect, name, kind));
    let mut columns: Vec<String> = all.collect();
    match dialect {
        Dialect::Old => columns.push("has UInt64, batch UInt64".to_owned()),
        Dialect::Current => {
            columns.push("has UInt64 CODEC(ZSTD(1)), batch UInt64 CODEC(ZSTD(1))".to_owned());
            for field in [Field::Ip, Field::Session] {
                let name = field.name();
                columns.push(format!(
                    "INDEX `by_{name}` `{name}` TYPE bloom_filter(0.01) GRANULARITY 1"
                ));
            }
        }
    }
    columns.join(", ")
}

/// One column as a table has it.
fn definition(dialect: Dialect, name: &str, kind: Kind) -> String {
    let (plain, small) = match kind {
        Kind::Name => ("String", "LowCardinality(String)"),
        Kind::Text => ("String", "String"),
        Kind::Bytes16 => ("FixedString(16)", "FixedString(16)"),
        Kind::U16 => ("UInt16", "UInt16"),
        Kind::U32 => ("UInt32", "UInt32"),
        Kind::I64 => ("Int64", "Int64"),
    };
    match dialect {
        Dialect::Old => format!("`{name}` {plain}"),
        Dialect::Current if kind == Kind::I64 => format!("`{name}` {small} CODEC(Delta, ZSTD(1))"),
        Dialect::Current => format!("`{name}` {small} CODEC(ZSTD(1))"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(cluster: Option<&str>, replicated: bool) -> ClickHouseConfig {
        ClickHouseConfig {
            urls: vec!["http://127.0.0.1:8123".into()],
            database: "p".into(),
            user: "default".into(),
            password_file: None,
            cluster: cluster.map(str::to_owned),
            replicated,
        }
    }

    #[test]
    fn versions_are_told_apart() {
        assert_eq!(Dialect::of("18.16.1"), Some(Dialect::Old));
        assert_eq!(Dialect::of("21.8.3.44"), Some(Dialect::Old));
        assert_eq!(Dialect::of("26.9.2.1"), Some(Dialect::Current));
        assert_eq!(Dialect::of("18.14.1"), None);
        assert_eq!(Dialect::of("1.1.54388"), None);
        assert_eq!(Dialect::of("rubbish"), None);
    }

    #[test]
    fn a_cluster_has_local_tables_behind_distributed_ones() {
        let text = |all: Vec<Statement>| -> String {
            all.into_iter().map(|statement| statement.sql + "\n").collect()
        };
        let all = text(statements(&config(Some("c"), false), Dialect::Old, "", 0));
        assert!(all.contains("`p`.`events_local`"), "{all}");
        assert!(all.contains("Distributed(`c`, `p`, `events_local`, sipHash64(id))"), "{all}");
        assert!(!all.contains("LowCardinality"), "{all}");
        let replicated = config(Some("c"), true);
        let all = text(statements(&replicated, Dialect::Current, " ON CLUSTER `c`", 0));
        assert!(
            all.contains("ReplicatedReplacingMergeTree('/palisade/p/{shard}/published_local', '{replica}', seq)"),
            "{all}"
        );
        assert!(all.contains("ON CLUSTER `c`"), "{all}");
    }

    #[test]
    fn a_newer_version_adds_its_columns_to_the_tables_with_data_first() {
        let of = |config: &ClickHouseConfig, from| {
            let all = statements(config, Dialect::Old, "", from);
            all.into_iter().map(|statement| statement.sql).collect::<Vec<_>>()
        };
        let add = |table: &str| {
            format!("ALTER TABLE `p`.`{table}` ADD COLUMN `analyzer` String AFTER `host`")
        };
        assert_eq!(of(&config(None, false), 1), [add("events")]);
        assert_eq!(of(&config(Some("c"), false), 1), [add("events_local"), add("events")]);
        assert!(of(&config(None, false), u64::from(SCHEMA)).is_empty());
    }
}
