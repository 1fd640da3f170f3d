//! Aggregations as SQL. All statements of one question see the same commits.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use palisade_event::Timestamp;

use super::cell::{self, Cell};
use super::filter::{self, exists};
use super::http::{Answer, Setting};
use super::server::Server;
use super::snapshot::Snapshot;
use super::{AskError, ask_error};
use crate::query::{Aggregation, Buckets, Field, Interval, MAX_GROUPS, Query};
use crate::{Aggregated, Bucket, Key, QueryError};

/// Most different groups of an answer while it is counted.
pub(super) const MAX_COUNTED: u64 = 4_000_000;
/// Most different values that are counted exactly.
const MAX_DISTINCT: u64 = 1_000_000;

/// A question that is being answered.
struct Question<'a> {
    server: &'a Server,
    /// The table and the condition on its rows.
    from: String,
    range: crate::query::TimeRange,
    _snapshot: Arc<Snapshot>,
}

pub(super) fn aggregate(
    server: &Server,
    query: &Query,
    aggregation: &Aggregation,
) -> Result<Aggregated, AskError> {
    aggregation.validate()?;
    let snapshot = Snapshot::take(server)?;
    let from = format!(
        "FROM {} WHERE {} AND {}",
        server.table("events"),
        snapshot.condition(server),
        filter::query(query)
    );
    let question = Question { server, from, range: query.range, _snapshot: snapshot };
    let sub = match aggregation {
        Aggregation::Count => {
            let sql = format!("SELECT toUInt64(count()) {} FORMAT RowBinary", question.from);
            return Ok(Aggregated::Count { count: server.one(&sql, |row| row.u64())? });
        }
        Aggregation::Distinct(field) => return question.distinct(*field),
        Aggregation::Histogram(_, sub) | Aggregation::Top(_, _, sub) => sub.as_deref(),
    };
    let buckets = match (aggregation, sub) {
        (Aggregation::Histogram(interval, _), _)
        | (_, Some(Aggregation::Histogram(interval, _))) => question.span(*interval)?,
        _ => None,
    };
    let (groups, other) = question.groups(aggregation, buckets)?;
    let subs = match sub {
        None => Vec::new(),
        Some(sub) => question.nested(aggregation, &groups, sub, buckets)?,
    };
    let mut subs = subs.into_iter();
    let bucket = |group: Group| Bucket {
        key: group.keys,
        count: group.count,
        sub: subs.next().map(Box::new),
    };
    Ok(Aggregated::Buckets { buckets: groups.into_iter().map(bucket).collect(), other })
}

/// What is grouped by: fields, or buckets of time.
#[derive(Clone, Copy)]
enum Dimension {
    Field(Field),
    Time(Buckets),
}

impl Dimension {
    /// What selects it.
    fn select(self) -> String {
        match self {
            Self::Field(field) => cell::select(field),
            Self::Time(buckets) => format!("toInt64({})", bucket_number(buckets)),
        }
    }

    fn exists(self) -> Option<String> {
        match self {
            Self::Field(field) => Some(exists(field)).filter(|sql| sql != "1"),
            Self::Time(_) => None,
        }
    }

    fn read(self, row: &mut Answer) -> std::io::Result<Cell> {
        match self {
            Self::Field(field) => Cell::read(field, row),
            Self::Time(_) => Ok(Cell::Number(row.i64()?)),
        }
    }

    fn order(self, alias: &str) -> String {
        match self {
            Self::Field(field) => cell::order(field, alias),
            Self::Time(_) => alias.to_owned(),
        }
    }

    fn key(self, value: &Cell) -> Key {
        match (self, value) {
            (Self::Field(field), value) => value.key(field),
            (Self::Time(buckets), Cell::Number(number)) => {
                Key::Text(Timestamp::from_millis(buckets.start(*number)).to_string())
            }
            (Self::Time(_), _) => Key::Integer(0),
        }
    }
}

/// The place of an event's bucket, as `Buckets::number` counts it.
fn bucket_number(buckets: Buckets) -> String {
    let Interval::Month = buckets.width else {
        let Interval::Millis(width) = buckets.width else { return "0".to_owned() };
        return format!("intDiv(observed_at - ({}), {width})", buckets.start(0));
    };
    // The same calculation as in `query::aggregation`, from 0001-01-01 on, where
    // every division is of positive numbers.
    let day = "(intDiv(observed_at + 62135596800000, 86400000) + 306)";
    let era = format!("intDiv({day}, 146097)");
    let of_era = format!("({day} % 146097)");
    let year = format!(
        "intDiv({of_era} - intDiv({of_era}, 1460) + intDiv({of_era}, 36524) \
         - intDiv({of_era}, 146096), 365)"
    );
    let of_year = format!("({of_era} - (365 * {year} + intDiv({year}, 4) - intDiv({year}, 100)))");
    let month = format!("intDiv(5 * {of_year} + 2, 153)");
    let since_1970 = buckets.number(0);
    format!("({era} * 400 + {year}) * 12 + {month} + 2 - 23640 + ({since_1970})")
}

fn dimensions(aggregation: &Aggregation, buckets: Option<Buckets>) -> Vec<Dimension> {
    match aggregation {
        Aggregation::Count => Vec::new(),
        Aggregation::Distinct(field) => vec![Dimension::Field(*field)],
        Aggregation::Histogram(..) => buckets.into_iter().map(Dimension::Time).collect(),
        Aggregation::Top(fields, ..) => fields.iter().copied().map(Dimension::Field).collect(),
    }
}

/// One group of an answer.
struct Group {
    values: Vec<Cell>,
    keys: Vec<Key>,
    count: u64,
}

/// `name` for the first, `name1`… for those that follow.
fn aliases(name: &str, dimensions: &[Dimension]) -> Vec<String> {
    (0..dimensions.len()).map(|number| format!("{name}{number}")).collect()
}

fn selected(dimensions: &[Dimension], aliases: &[String]) -> String {
    let mut sql = String::new();
    for (dimension, alias) in dimensions.iter().zip(aliases) {
        let _ = write!(sql, "{} AS {alias}, ", dimension.select());
    }
    sql
}

fn conditions(dimensions: &[Dimension]) -> String {
    let mut sql = String::new();
    for condition in dimensions.iter().filter_map(|dimension| dimension.exists()) {
        let _ = write!(sql, " AND {condition}");
    }
    sql
}

fn orders(dimensions: &[Dimension], aliases: &[String]) -> String {
    let each = dimensions.iter().zip(aliases).map(|(dimension, alias)| dimension.order(alias));
    each.collect::<Vec<_>>().join(", ")
}

fn read_all(dimensions: &[Dimension], row: &mut Answer) -> std::io::Result<Vec<Cell>> {
    dimensions.iter().map(|dimension| dimension.read(row)).collect()
}

fn groups_limit() -> Vec<Setting> {
    vec![
        ("max_rows_to_group_by", MAX_COUNTED.to_string()),
        ("group_by_overflow_mode", "throw".to_owned()),
    ]
}

impl Question<'_> {
    fn distinct(&self, field: Field) -> Result<Aggregated, AskError> {
        let (value, has) = (cell::select(field), exists(field));
        let sql = format!(
            "SELECT toUInt64(count()) FROM (SELECT {value} AS v {} AND {has} GROUP BY v) \
             FORMAT RowBinary",
            self.from
        );
        let enough = [
            ("max_rows_to_group_by", (MAX_DISTINCT + 1).to_string()),
            ("group_by_overflow_mode", "break".to_owned()),
        ];
        let count = self.server.rows_with(&sql, &enough, |row| row.u64())?;
        let count = count.first().copied().unwrap_or(0);
        if count <= MAX_DISTINCT {
            return Ok(Aggregated::Distinct { count, exact: true });
        }
        let sql = format!(
            "SELECT toUInt64(uniqCombined({value})) {} AND {has} FORMAT RowBinary",
            self.from
        );
        let count = self.server.one(&sql, |row| row.u64())?;
        Ok(Aggregated::Distinct { count, exact: false })
    }

    /// The buckets of a histogram: over the range, or over the data where it is open.
    fn span(&self, interval: Interval) -> Result<Option<Buckets>, AskError> {
        let mut low = self.range.from.map(Timestamp::as_millis);
        let mut high = self.range.to.map(|to| to.as_millis() - 1);
        if low.is_none() || high.is_none() {
            let sql = format!(
                "SELECT toUInt64(count()), toInt64(min(observed_at)), toInt64(max(observed_at)) {} \
                 FORMAT RowBinary",
                self.from
            );
            let found = self.server.one(&sql, |row| Ok((row.u64()?, row.i64()?, row.i64()?)))?;
            let found = Some(found).filter(|found| found.0 > 0);
            low = low.or(found.map(|found| found.1));
            high = high.or(found.map(|found| found.2));
        }
        match (low, high) {
            (Some(low), Some(high)) if low <= high => Ok(Some(interval.buckets(low, high)?)),
            _ => Ok(None),
        }
    }

    /// The groups of an answer in their order, and how many events were cut off.
    fn groups(
        &self,
        aggregation: &Aggregation,
        buckets: Option<Buckets>,
    ) -> Result<(Vec<Group>, u64), AskError> {
        let by = dimensions(aggregation, buckets);
        if by.is_empty() {
            return Ok((Vec::new(), 0));
        }
        let names = aliases("k", &by);
        let list = names.join(", ");
        let inner = format!(
            "SELECT {}count() AS c {}{} GROUP BY {list}",
            selected(&by, &names),
            self.from,
            conditions(&by)
        );
        let read = |row: &mut Answer| {
            let values = read_all(&by, row)?;
            Ok((values, row.u64()?))
        };
        let group = |(values, count): (Vec<Cell>, u64)| {
            let keys = by.iter().zip(&values).map(|(by, value)| by.key(value)).collect();
            Group { values, keys, count }
        };
        let Aggregation::Top(_, k, _) = aggregation else {
            let sql = format!("{inner} FORMAT RowBinary");
            let found = self.server.rows_with(&sql, &groups_limit(), read)?;
            let counts: HashMap<Vec<Cell>, u64> = found.into_iter().collect();
            let numbers = 0..buckets.map_or(0, |buckets| buckets.count);
            let groups = numbers.map(|number| {
                let values = vec![Cell::Number(number)];
                let count = counts.get(&values).copied().unwrap_or(0);
                group((values, count))
            });
            return Ok((groups.collect(), 0));
        };
        let sql = format!(
            "SELECT {list}, toUInt64(c) FROM ({inner}) ORDER BY c DESC, {} LIMIT {k} \
             FORMAT RowBinary",
            orders(&by, &names)
        );
        let found = self.server.rows_with(&sql, &groups_limit(), read)?;
        let mut other = 0;
        if found.len() >= *k {
            let sql = format!(
                "SELECT toUInt64(count()) {}{} FORMAT RowBinary",
                self.from,
                conditions(&by)
            );
            let total = self.server.one(&sql, |row| row.u64())?;
            other = total.saturating_sub(found.iter().map(|(_, count)| count).sum());
        }
        Ok((found.into_iter().map(group).collect(), other))
    }

    /// The nested answer of each group.
    fn nested(
        &self,
        outer: &Aggregation,
        groups: &[Group],
        sub: &Aggregation,
        buckets: Option<Buckets>,
    ) -> Result<Vec<Aggregated>, AskError> {
        let each = match sub {
            Aggregation::Count => {
                let count = |group: &Group| Aggregated::Count { count: group.count };
                return Ok(groups.iter().map(count).collect());
            }
            Aggregation::Histogram(..) => {
                usize::try_from(buckets.map_or(0, |buckets| buckets.count)).unwrap_or(usize::MAX)
            }
            Aggregation::Top(_, k, _) => *k,
            Aggregation::Distinct(_) => 1,
        };
        if groups.len().saturating_mul(each) > MAX_GROUPS {
            let reason =
                format!("the answer would have more than {MAX_GROUPS} groups; ask for fewer");
            return Err(QueryError::Unsupported(reason).into());
        }
        if groups.is_empty() {
            return Ok(Vec::new());
        }
        let inside = Inside::new(self, outer, groups, sub, buckets);
        match sub {
            Aggregation::Count => Ok(Vec::new()),
            Aggregation::Distinct(field) => inside.distinct(*field),
            Aggregation::Histogram(..) => inside.histograms(),
            Aggregation::Top(_, k, _) => inside.tops(*k),
        }
    }
}

/// How often each combination of inner values occurs.
type Counts = Vec<(Vec<Cell>, u64)>;

/// A nested aggregation over the listed groups.
struct Inside<'a> {
    server: &'a Server,
    groups: &'a [Group],
    outer: Vec<Dimension>,
    inner: Vec<Dimension>,
    buckets: Option<Buckets>,
    /// Selects both, from the events of the listed groups that have the inner fields.
    outer_names: Vec<String>,
    inner_names: Vec<String>,
    from: String,
}

impl<'a> Inside<'a> {
    fn new(
        question: &'a Question<'a>,
        outer: &Aggregation,
        groups: &'a [Group],
        sub: &Aggregation,
        buckets: Option<Buckets>,
    ) -> Self {
        let (outer, inner) = (dimensions(outer, buckets), dimensions(sub, buckets));
        let mut from = format!("{}{}{}", question.from, conditions(&outer), conditions(&inner));
        if outer.iter().all(|dimension| matches!(dimension, Dimension::Field(_))) {
            let selects: Vec<String> = outer.iter().map(|by| by.select()).collect();
            let listed = groups.iter().map(|group| {
                let literals: Vec<String> = group.values.iter().map(Cell::literal).collect();
                if literals.len() > 1 {
                    format!("({})", literals.join(", "))
                } else {
                    literals.join(", ")
                }
            });
            let listed: Vec<String> = listed.collect();
            let columns = selects.join(", ");
            let columns = if selects.len() > 1 { format!("({columns})") } else { columns };
            let _ = write!(from, " AND {columns} IN ({})", listed.join(", "));
        }
        let (outer_names, inner_names) = (aliases("k", &outer), aliases("s", &inner));
        Self {
            server: question.server,
            groups,
            outer,
            inner,
            buckets,
            outer_names,
            inner_names,
            from,
        }
    }

    /// Runs `SELECT <outer>, <what> … GROUP BY <outer>`.
    fn totals(&self, what: &str) -> Result<HashMap<Vec<Cell>, u64>, AskError> {
        let sql = format!(
            "SELECT {}toUInt64({what}) AS c {} GROUP BY {} FORMAT RowBinary",
            selected(&self.outer, &self.outer_names),
            self.from,
            self.outer_names.join(", ")
        );
        let read = |row: &mut Answer| Ok((read_all(&self.outer, row)?, row.u64()?));
        Ok(self.server.rows_with(&sql, &groups_limit(), read)?.into_iter().collect())
    }

    /// Counts of the combinations of outer and inner values, per outer group.
    fn counted(&self, end: &str) -> Result<HashMap<Vec<Cell>, Counts>, AskError> {
        let names: Vec<String> =
            self.outer_names.iter().chain(&self.inner_names).cloned().collect();
        let list = names.join(", ");
        let sql = format!(
            "SELECT {list}, toUInt64(c) FROM (SELECT {}{}count() AS c {} GROUP BY {list}){end} \
             FORMAT RowBinary",
            selected(&self.outer, &self.outer_names),
            selected(&self.inner, &self.inner_names),
            self.from
        );
        let read = |row: &mut Answer| {
            Ok((read_all(&self.outer, row)?, read_all(&self.inner, row)?, row.u64()?))
        };
        let mut found: HashMap<Vec<Cell>, Counts> = HashMap::new();
        for (outer, inner, count) in self.server.rows_with(&sql, &groups_limit(), read)? {
            found.entry(outer).or_default().push((inner, count));
        }
        Ok(found)
    }

    fn distinct(&self, field: Field) -> Result<Vec<Aggregated>, AskError> {
        let counts = self.totals(&format!("uniqExact({})", cell::select(field)))?;
        let answer = |group: &Group| Aggregated::Distinct {
            count: counts.get(&group.values).copied().unwrap_or(0),
            exact: true,
        };
        Ok(self.groups.iter().map(answer).collect())
    }

    fn histograms(&self) -> Result<Vec<Aggregated>, AskError> {
        let Some(buckets) = self.buckets else {
            let empty = |_: &Group| Aggregated::Buckets { buckets: Vec::new(), other: 0 };
            return Ok(self.groups.iter().map(empty).collect());
        };
        let found = self.counted("")?;
        let answer = |group: &Group| {
            let counts: HashMap<&Cell, u64> = found
                .get(&group.values)
                .into_iter()
                .flatten()
                .filter_map(|(inner, count)| Some((inner.first()?, *count)))
                .collect();
            let bucket = |number: i64| {
                let number = Cell::Number(number);
                Bucket {
                    key: vec![Dimension::Time(buckets).key(&number)],
                    count: counts.get(&number).copied().unwrap_or(0),
                    sub: None,
                }
            };
            Aggregated::Buckets { buckets: (0..buckets.count).map(bucket).collect(), other: 0 }
        };
        Ok(self.groups.iter().map(answer).collect())
    }

    fn tops(&self, k: usize) -> Result<Vec<Aggregated>, AskError> {
        let outer = self.outer_names.join(", ");
        let end = format!(
            " ORDER BY {outer}, c DESC, {} LIMIT {k} BY {outer}",
            orders(&self.inner, &self.inner_names)
        );
        let found = self.counted(&end)?;
        let totals = self.totals("count()")?;
        let answer = |group: &Group| {
            let listed = found.get(&group.values).map(Vec::as_slice).unwrap_or_default();
            let total = totals.get(&group.values).copied().unwrap_or(0);
            let bucket = |(inner, count): &(Vec<Cell>, u64)| Bucket {
                key: self.inner.iter().zip(inner).map(|(by, value)| by.key(value)).collect(),
                count: *count,
                sub: None,
            };
            let sum: u64 = listed.iter().map(|(_, count)| count).sum();
            Aggregated::Buckets {
                buckets: listed.iter().map(bucket).collect(),
                other: total.saturating_sub(sum),
            }
        };
        Ok(self.groups.iter().map(answer).collect())
    }
}

impl From<super::http::Fault> for AskError {
    fn from(fault: super::http::Fault) -> Self {
        Self(ask_error(&fault))
    }
}
