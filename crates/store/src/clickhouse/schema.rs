//! The tables, and how they come to be: numbered migrations, each of
//! statements that may run twice, so that two hubs may start at once.

use super::config::ClickHouseConfig;
use super::row::{Kind, kind};
use super::sql::name;
use crate::query::Field;

/// The number of the schema that this build writes and reads.
pub(super) const SCHEMA: u32 = 1;
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

/// The statements that lead to version 1, for a server of the cluster. `on` is
/// `ON CLUSTER …` or nothing.
pub(super) fn statements(config: &ClickHouseConfig, dialect: Dialect, on: &str) -> Vec<String> {
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
            engine(config, table.newest, &local),
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

fn engine(config: &ClickHouseConfig, newest: Option<&str>, local: &str) -> String {
    let kind = if newest.is_some() { "ReplacingMergeTree" } else { "MergeTree" };
    if !config.replicated {
        return format!("{kind}({})", newest.unwrap_or_default());
    }
    let newest = newest.map_or_else(String::new, |column| format!(", {column}"));
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
        table("migrations", "version UInt32", "version", "version"),
    ]
}

fn event_columns(dialect: Dialect) -> String {
    let mut columns: Vec<String> = Vec::new();
    let add = |columns: &mut Vec<String>, name: &str, kind: Kind| {
        let (plain, small) = match kind {
            Kind::Name => ("String", "LowCardinality(String)"),
            Kind::Text => ("String", "String"),
            Kind::Bytes16 => ("FixedString(16)", "FixedString(16)"),
            Kind::U16 => ("UInt16", "UInt16"),
            Kind::U32 => ("UInt32", "UInt32"),
            Kind::I64 => ("Int64", "Int64"),
        };
        columns.push(match dialect {
            Dialect::Old => format!("`{name}` {plain}"),
            Dialect::Current if kind == Kind::I64 => {
                format!("`{name}` {small} CODEC(Delta, ZSTD(1))")
            }
            Dialect::Current => format!("`{name}` {small} CODEC(ZSTD(1))"),
        });
    };
    for field in Field::ALL {
        add(&mut columns, field.name(), kind(*field));
    }
    add(&mut columns, "target_place", Kind::Name);
    add(&mut columns, "rest", Kind::Text);
    add(&mut columns, "words", Kind::Text);
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
        let all = statements(&config(Some("c"), false), Dialect::Old, "").join("\n");
        assert!(all.contains("`p`.`events_local`"), "{all}");
        assert!(all.contains("Distributed(`c`, `p`, `events_local`, sipHash64(id))"), "{all}");
        assert!(!all.contains("LowCardinality"), "{all}");
        let all = statements(&config(Some("c"), true), Dialect::Current, " ON CLUSTER `c`");
        let all = all.join("\n");
        assert!(
            all.contains("ReplicatedReplacingMergeTree('/palisade/p/{shard}/published_local', '{replica}', seq)"),
            "{all}"
        );
        assert!(all.contains("ON CLUSTER `c`"), "{all}");
    }
}
