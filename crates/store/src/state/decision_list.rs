//! Pages of decisions for people: which ones are asked for, and how many there are.

use palisade_event::{DecisionTarget, Timestamp};

use super::decision::{DecisionRecord, hex_bounds, record};
use super::sql::{Statement, sql, sql_text};
use super::{State, StateError};

/// Which decisions are asked for.
#[derive(Clone, Debug, Default)]
pub struct DecisionQuery {
    /// In force or not; all without it.
    pub which: Option<Which>,
    /// With this text in the target, scenario, reason, note, sensor, operator or
    /// host, whatever the case.
    pub find: Option<String>,
    /// With this id.
    pub id: Option<String>,
    /// About this address, or somebody in this network, or a network around it.
    pub target: Option<DecisionTarget>,
    /// Of this scenario.
    pub scenario: Option<String>,
    /// Of this sensor or operator.
    pub origin: Option<String>,
    /// After this one, in the order of the list.
    pub after: Option<(Timestamp, String)>,
}

/// Decisions by what became of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// In force at this time.
    Active(Timestamp),
    /// Not in force at this time: all of the following.
    Past(Timestamp),
    /// Over or lifted at this time.
    Ended(Timestamp),
    /// Recorded alone.
    Simulated,
    /// About somebody whom the allowlist spares.
    Withheld,
}

/// How many decisions there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DecisionCounts {
    /// In force.
    pub active: u64,
    /// Over or lifted.
    pub ended: u64,
    /// Recorded alone.
    pub simulated: u64,
    /// About somebody whom the allowlist spares.
    pub withheld: u64,
}

impl State {
    /// A page of decisions, the last noted first.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn decisions(
        &self,
        query: &DecisionQuery,
        limit: u32,
    ) -> Result<Vec<DecisionRecord>, StateError> {
        let mut statement = sql_text("SELECT * FROM decision WHERE noted_at >= 0".to_owned());
        narrow(&mut statement, query.which);
        if let Some(text) = &query.find {
            statement.push(
                " AND LOWER(target || ' ' || scenario || ' ' || reason || ' ' || COALESCE(note, '')
                  || ' ' || COALESCE(origin_name, '') || ' ' || COALESCE(host, '')) LIKE ",
            );
            statement.push_bind(format!("%{}%", literal(&text.to_lowercase())));
            statement.push(" ESCAPE '!'");
        }
        if let Some(id) = &query.id {
            statement.push(" AND id = ");
            statement.push_bind(id);
        }
        if let Some(target) = &query.target {
            let (low, high) = hex_bounds(target);
            statement.push(" AND low <= ");
            statement.push_bind(high);
            statement.push(" AND high >= ");
            statement.push_bind(low);
        }
        if let Some(scenario) = &query.scenario {
            statement.push(" AND scenario = ");
            statement.push_bind(scenario);
        }
        if let Some(origin) = &query.origin {
            statement.push(" AND origin_name = ");
            statement.push_bind(origin);
        }
        if let Some((at, id)) = &query.after {
            statement.push(" AND (noted_at, id) < (");
            statement.push_bind(at.as_millis());
            statement.push(", ");
            statement.push_bind(id);
            statement.push(")");
        }
        statement.push(" ORDER BY noted_at DESC, id DESC LIMIT ");
        statement.push_bind(i64::from(limit));
        statement.rows(&self.db).await?.iter().map(record).collect()
    }

    /// How many decisions there are of each sort.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn decision_counts(&self, now: Timestamp) -> Result<DecisionCounts, StateError> {
        let row =
            sql("SELECT COUNT(CASE WHEN seq IS NOT NULL AND ended_at > $1 THEN 1 END) AS active,
                COUNT(CASE WHEN simulated = 0 AND withheld IS NULL
                    AND (seq IS NULL OR ended_at <= $1) THEN 1 END) AS ended,
                COUNT(CASE WHEN simulated <> 0 THEN 1 END) AS simulated,
                COUNT(CASE WHEN simulated = 0 AND withheld IS NOT NULL THEN 1 END) AS withheld
             FROM decision")
            .bind(now.as_millis())
            .row(&self.db)
            .await?;
        row.map_or(Ok(DecisionCounts::default()), |row| {
            Ok(DecisionCounts {
                active: row.count("active")?,
                ended: row.count("ended")?,
                simulated: row.count("simulated")?,
                withheld: row.count("withheld")?,
            })
        })
    }
}

fn narrow(statement: &mut Statement<'_>, which: Option<Which>) {
    match which {
        None => {}
        Some(Which::Active(at)) => {
            statement.push(" AND seq IS NOT NULL AND ended_at > ");
            statement.push_bind(at.as_millis());
        }
        Some(Which::Past(at)) => {
            statement.push(" AND (seq IS NULL OR ended_at <= ");
            statement.push_bind(at.as_millis());
            statement.push(")");
        }
        Some(Which::Ended(at)) => {
            statement
                .push(" AND simulated = 0 AND withheld IS NULL AND (seq IS NULL OR ended_at <= ");
            statement.push_bind(at.as_millis());
            statement.push(")");
        }
        Some(Which::Simulated) => statement.push(" AND simulated <> 0"),
        Some(Which::Withheld) => statement.push(" AND simulated = 0 AND withheld IS NOT NULL"),
    }
}

/// Text for LIKE that stands for itself.
fn literal(text: &str) -> String {
    let mut literal = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '%' | '_' | '!') {
            literal.push('!');
        }
        literal.push(c);
    }
    literal
}
