//! `POST /api/v1/aggregate`: several questions about the same events at once.

use std::collections::BTreeMap;
use std::time::Instant;

use axum::extract::State;
use palisade_hub::Permission;
use palisade_store::Aggregated;
use palisade_store::query::{self, Field, Interval, TimeRange};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{events, fields, schema};
use crate::auth::{self, Caller};
use crate::body::Json;
use crate::error::{Problem, ProblemBody};
use crate::router::App;

/// Most aggregations of one request.
const MAX_AGGREGATIONS: usize = 32;
/// Most groups of a top list.
const MAX_K: usize = 1000;
/// Deepest nesting.
const MAX_DEPTH: u32 = 2;
/// Most intervals of a histogram whose range is known.
const MAX_INTERVALS: i64 = 10_000;
/// `auto` makes at most so many intervals: what a chart can show.
const AUTO_INTERVALS: i64 = 120;
/// What `auto` chooses from.
const STEPS_MS: &[i64] = &[
    1_000,
    5_000,
    10_000,
    30_000,
    MINUTE_MS,
    5 * MINUTE_MS,
    10 * MINUTE_MS,
    30 * MINUTE_MS,
    HOUR_MS,
    3 * HOUR_MS,
    6 * HOUR_MS,
    12 * HOUR_MS,
    DAY_MS,
    7 * DAY_MS,
    30 * DAY_MS,
];
const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const DAY_MS: i64 = 24 * HOUR_MS;

/// What is asked over the matching events.
#[derive(serde::Deserialize, serde::Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Aggregation {
    /// How many events.
    Count {},
    /// How many different values of a field.
    Distinct {
        /// A field of `GET /api/v1/fields`.
        #[schema(example = "ip")]
        field: String,
    },
    /// How many events in each interval, zero-filled over the range.
    Histogram {
        /// A number and `s`, `m`, `h` or `d`, aligned to UTC; or `auto`.
        #[schema(example = "1h")]
        interval: String,
        /// Computed in each interval as well; nesting ends at depth two.
        #[serde(default)]
        #[schema(no_recursion, nullable = false)]
        sub: Option<Box<Aggregation>>,
    },
    /// The most frequent values of one or two fields.
    Top {
        /// One or two fields of `GET /api/v1/fields`.
        #[schema(example = json!(["user", "password"]), min_items = 1, max_items = 2)]
        fields: Vec<String>,
        /// How many groups, 1 to 1000.
        #[serde(default = "default_k")]
        #[schema(default = 10, minimum = 1, maximum = 1000)]
        k: usize,
        /// Computed in each group as well; nesting ends at depth two.
        #[serde(default)]
        #[schema(no_recursion, nullable = false)]
        sub: Option<Box<Aggregation>>,
    },
}

/// Groups of a top list where the request does not say.
fn default_k() -> usize {
    10
}

/// Questions about the events that match one query.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AggregateRequest {
    /// Query text; empty means every event.
    #[serde(default)]
    #[schema(required = false, example = "since:24h")]
    q: String,
    /// At most 32, by a name of your choice.
    #[schema(example = json!({"countries": {"type": "top", "fields": ["country"], "k": 10}}))]
    aggregations: BTreeMap<String, Aggregation>,
}

/// The answers, by the names of the request.
#[derive(Serialize, ToSchema)]
pub(crate) struct AggregateResponse {
    /// One answer a question.
    #[schema(value_type = BTreeMap<String, schema::Aggregated>)]
    results: BTreeMap<String, Aggregated>,
    /// Milliseconds it took to answer.
    took_ms: u64,
}

/// Count and group events
#[utoipa::path(
    post, path = "/api/v1/aggregate", tag = "events", operation_id = "aggregateEvents",
    security(("session" = []), ("key" = [])),
    request_body = AggregateRequest,
    responses(
        (status = 200, body = AggregateResponse, description = "The answers"),
        (status = 401, body = ProblemBody, content_type = "application/problem+json", description = "Not signed in"),
        (status = 403, body = ProblemBody, content_type = "application/problem+json", description = "Not allowed"),
        (status = 422, body = ProblemBody, content_type = "application/problem+json", description = "The query or an aggregation cannot be understood"),
    ),
)]
pub(crate) async fn run(
    State(app): State<App>,
    caller: Caller,
    Json(asked): Json<AggregateRequest>,
) -> Result<axum::Json<AggregateResponse>, Problem> {
    caller.require(Permission::Read)?;
    let started = Instant::now();
    if asked.aggregations.len() > MAX_AGGREGATIONS {
        let detail = format!("aggregations: at most {MAX_AGGREGATIONS} of them.");
        return Err(Problem::unprocessable(detail));
    }
    let query = events::parse(&asked.q)?;
    let now_ms = auth::now().as_millis();
    let mut questions = Vec::new();
    for (name, aggregation) in asked.aggregations {
        let question = aggregation.resolve(query.range, now_ms, 1).map_err(|reason| {
            Problem::unprocessable(format!("Aggregation '{}': {reason}.", name.escape_debug()))
        })?;
        questions.push((name, question));
    }
    let mut results = BTreeMap::new();
    for (name, question) in questions {
        let answer = app.hub.aggregate(&caller.who, query.clone(), question).await?;
        results.insert(name, answer);
    }
    let took_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(axum::Json(AggregateResponse { results, took_ms }))
}

impl Aggregation {
    /// Checks names and bounds.
    fn resolve(
        self,
        range: TimeRange,
        now_ms: i64,
        depth: u32,
    ) -> Result<query::Aggregation, String> {
        if depth > MAX_DEPTH {
            return Err(format!("nested deeper than {MAX_DEPTH}"));
        }
        let nested = |sub: Option<Box<Self>>| {
            sub.map(|sub| sub.resolve(range, now_ms, depth + 1).map(Box::new)).transpose()
        };
        Ok(match self {
            Self::Count {} => query::Aggregation::Count,
            Self::Distinct { field } => query::Aggregation::Distinct(named(&field)?),
            Self::Histogram { interval, sub } => {
                let interval = width(&interval, range, now_ms)?;
                query::Aggregation::Histogram(interval, nested(sub)?)
            }
            Self::Top { fields, k, sub } => {
                if !(1..=2).contains(&fields.len()) {
                    return Err("fields: expected one or two".to_owned());
                }
                if !(1..=MAX_K).contains(&k) {
                    return Err(format!("k: expected 1 to {MAX_K}"));
                }
                let fields = fields.iter().map(|field| named(field)).collect::<Result<_, _>>()?;
                query::Aggregation::Top(fields, k, nested(sub)?)
            }
        })
    }
}

fn named(name: &str) -> Result<Field, String> {
    fields::find(name).ok_or_else(|| {
        let shown: String = name.chars().take(64).flat_map(char::escape_debug).collect();
        format!("unknown field '{shown}'; GET /api/v1/fields lists them")
    })
}

/// The width that `5m`, `1d` or `auto` means for a range.
fn width(text: &str, range: TimeRange, now_ms: i64) -> Result<Interval, String> {
    let span = range.from.map(|from| {
        let to = range.to.map_or(now_ms, |to| to.as_millis());
        to.saturating_sub(from.as_millis()).max(1)
    });
    if text == "auto" {
        let wanted = span.map_or(DAY_MS, |span| span / AUTO_INTERVALS);
        let step = STEPS_MS.iter().find(|step| **step >= wanted);
        return Ok(Interval { millis: step.or(STEPS_MS.last()).copied().unwrap_or(DAY_MS) });
    }
    let bad = || {
        let shown: String = text.chars().take(16).flat_map(char::escape_debug).collect();
        format!("interval: expected auto or a width such as 1m, 5m, 1h or 1d, found '{shown}'")
    };
    let unit = match text.chars().last() {
        Some('s') => 1_000,
        Some('m') => MINUTE_MS,
        Some('h') => HOUR_MS,
        Some('d') => DAY_MS,
        _ => return Err(bad()),
    };
    let number = text.get(..text.len() - 1).and_then(|digits| digits.parse::<i64>().ok());
    let millis = number.filter(|number| (1..=86_400).contains(number)).ok_or_else(bad)? * unit;
    if DAY_MS % millis != 0 && millis % DAY_MS != 0 {
        return Err("interval: expected a divisor or a multiple of a day".to_owned());
    }
    if span.is_some_and(|span| span / millis > MAX_INTERVALS) {
        return Err(format!(
            "interval: {text} makes more than {MAX_INTERVALS} intervals of this range; use a \
             wider one, or auto"
        ));
    }
    Ok(Interval { millis })
}

#[cfg(test)]
mod tests {
    use palisade_event::Timestamp;

    use super::*;

    fn range(span_ms: i64) -> TimeRange {
        TimeRange {
            from: Some(Timestamp::from_millis(0)),
            to: Some(Timestamp::from_millis(span_ms)),
        }
    }

    #[test]
    fn auto_makes_as_many_intervals_as_a_chart_can_show() {
        for (span, expected) in [
            (1, 1_000),
            (HOUR_MS, 30_000),
            (DAY_MS, 30 * MINUTE_MS),
            (7 * DAY_MS, 3 * HOUR_MS),
            (400 * DAY_MS, 7 * DAY_MS),
        ] {
            assert_eq!(width("auto", range(span), 0).unwrap().millis, expected, "{span}");
        }
        assert_eq!(width("auto", TimeRange::default(), 0).unwrap().millis, DAY_MS);
    }

    #[test]
    fn widths_that_do_not_divide_a_day_are_refused() {
        assert_eq!(width("5m", range(1), 0).unwrap().millis, 5 * MINUTE_MS);
        assert_eq!(width("2d", range(1), 0).unwrap().millis, 2 * DAY_MS);
        for bad in ["", "m", "7m", "0m", "-1m", "1w", "99999999999999999999d", "5é"] {
            assert!(width(bad, range(1), 0).is_err(), "{bad}");
        }
        assert!(width("1s", range(DAY_MS), 0).unwrap_err().contains("wider"));
    }

    #[test]
    fn aggregations_are_checked_with_the_mistake_named() {
        let resolve = |json: &str| {
            let aggregation: Aggregation = serde_json::from_str(json).unwrap();
            aggregation.resolve(range(DAY_MS), 0, 1)
        };
        assert_eq!(resolve(r#"{"type":"count"}"#), Ok(query::Aggregation::Count));
        let nested =
            r#"{"type":"top","fields":["country"],"sub":{"type":"histogram","interval":"1h"}}"#;
        assert!(resolve(nested).is_ok());
        let deep = nested.replace("\"1h\"", r#""1h","sub":{"type":"count"}"#);
        assert!(resolve(&deep).unwrap_err().contains("deeper"));
        let colour = r#"{"type":"distinct","field":"colour"}"#;
        assert!(resolve(colour).unwrap_err().contains("'colour'"));
        assert!(resolve(r#"{"type":"top","fields":[]}"#).unwrap_err().contains("one or two"));
        let wide = r#"{"type":"top","fields":["ip"],"k":1001}"#;
        assert!(resolve(wide).unwrap_err().contains("1 to 1000"));
        assert!(serde_json::from_str::<Aggregation>(r#"{"type":"median"}"#).is_err());
    }
}
