//! `GET /api/v1/plugins`: plug-ins of honeypots as their sensors report them, and
//! `…/{name}/rows`: what they have recorded, in the columns that they declare.

use std::collections::BTreeMap;

use axum::extract::State;
use palisade_event::{
    AnalyzerName, AttributeValue, Event, EventId, SensorId, SessionId, Timestamp, Untrusted,
};
use palisade_hub::{MAX_PAGE_ROWS, Permission};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::events::{bounded, cursor};
use super::{Parameters, Segment, schema};
use crate::auth::{self, Caller};
use crate::error::{Problem, ProblemBody};
use crate::router::App;

/// Rows of a page where the request does not say.
const DEFAULT_PAGE_ROWS: usize = 50;

/// Plug-ins of all sensors.
#[derive(Serialize, ToSchema)]
pub(crate) struct PluginList {
    /// By sensor and name.
    plugins: Vec<PluginStatus>,
}

/// A plug-in of a sensor, as it was reported last.
#[derive(Serialize, ToSchema)]
pub(crate) struct PluginStatus {
    /// Its name.
    #[schema(example = "ftp")]
    name: String,
    /// The sensor that has it.
    #[schema(value_type = String)]
    sensor: SensorId,
    /// What it shows.
    #[schema(value_type = Option<schema::Untrusted>, required)]
    about: Option<Untrusted>,
    /// `shipped` or `folder`.
    #[schema(example = "shipped")]
    origin: String,
    /// `serving` or `failed`.
    #[schema(example = "serving")]
    state: String,
    /// What keeps it, or its last change, from serving; null where nothing does.
    #[schema(value_type = Option<schema::Untrusted>, required)]
    reason: Option<Untrusted>,
    /// What it listens on.
    #[schema(example = json!(["tcp 127.0.0.1:21"]))]
    ports: Vec<String>,
    /// The category of its events.
    #[schema(required)]
    category: Option<String>,
    /// The columns of its rows.
    columns: Vec<PluginColumn>,
    /// Sessions since the honeypots were started.
    sessions: i64,
    /// Datagrams since then.
    datagrams: i64,
    /// Rows recorded since then.
    rows: i64,
    /// Rows refused since then.
    refused: i64,
    /// Why, by reason.
    refused_by: Vec<RefusedRows>,
    /// Failures of its script since then.
    faults: i64,
    /// The last of them, in one sentence.
    #[schema(value_type = Option<schema::Untrusted>, required)]
    last_fault: Option<Untrusted>,
    /// When that was.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    last_fault_at: Option<Timestamp>,
    /// How often its code was loaded: once, and once for each change.
    loads: i64,
    /// When it was reported.
    #[schema(value_type = String, format = DateTime)]
    reported_at: Timestamp,
}

/// A column of a plug-in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct PluginColumn {
    /// Its name.
    name: String,
    /// TEXT, INTEGER, REAL, BLOB or BOOL.
    #[serde(rename = "type")]
    kind: String,
}

/// Rows that were refused for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct RefusedRows {
    /// no-table, unknown-column, wrong-type, too-long or no-columns.
    reason: String,
    /// How many.
    rows: u64,
    /// What was said of the last, in one sentence.
    last: String,
}

/// A page of rows.
#[derive(Serialize, ToSchema)]
pub(crate) struct PluginRowPage {
    /// The columns, as declared now.
    columns: Vec<PluginColumn>,
    /// The rows, newest first. An older row may have columns that are not declared any more.
    rows: Vec<PluginRow>,
    /// Give this as `cursor` to get the next page; null where this is the last.
    #[schema(required)]
    next: Option<String>,
}

/// A row of a plug-in.
#[derive(Serialize, ToSchema)]
pub(crate) struct PluginRow {
    /// The id of its event.
    #[schema(value_type = String)]
    id: EventId,
    /// When it was recorded.
    #[schema(value_type = String, format = DateTime)]
    observed_at: Timestamp,
    /// The sensor that did.
    #[schema(value_type = String)]
    sensor: SensorId,
    /// The session it belongs to; null for datagrams.
    #[schema(value_type = Option<String>, required)]
    session: Option<SessionId>,
    /// Whom it is about.
    #[schema(value_type = Option<schema::Endpoint>, required)]
    source: Option<palisade_event::Endpoint>,
    /// Where that one went.
    #[schema(value_type = Option<schema::Endpoint>, required)]
    target: Option<palisade_event::Endpoint>,
    /// Values by column; a column that is NULL is left out.
    #[schema(value_type = BTreeMap<String, schema::AttributeValue>)]
    values: BTreeMap<Box<str>, AttributeValue>,
}

/// Which rows.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct RowParameters {
    /// Those of one sensor; without it, of all.
    sensor: Option<String>,
    /// Rows of the page, 1 to 1000, default 50.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// `next` of the page before.
    cursor: Option<String>,
}

/// A text of a report.
fn text<'a>(event: &'a Event, name: &str) -> Option<&'a Untrusted> {
    match event.attributes.get(name) {
        Some(AttributeValue::Text(text)) => Some(text),
        _ => None,
    }
}

fn number(event: &Event, name: &str) -> i64 {
    match event.attributes.get(name) {
        Some(AttributeValue::Integer(number)) => *number,
        _ => 0,
    }
}

fn word(event: &Event, name: &str) -> String {
    text(event, name).map(|text| text.to_lossy().into_owned()).unwrap_or_default()
}

/// A list that is written as JSON; none where a sensor wrote something else.
fn listed<T: serde::de::DeserializeOwned>(event: &Event, name: &str) -> Vec<T> {
    text(event, name)
        .and_then(|text| serde_json::from_slice(text.as_bytes()).ok())
        .unwrap_or_default()
}

impl From<&Event> for PluginStatus {
    fn from(event: &Event) -> Self {
        let ports = word(event, "ports");
        Self {
            name: event.analyzer.as_ref().map(|name| name.as_str().to_owned()).unwrap_or_default(),
            sensor: event.sensor.clone(),
            about: text(event, "about").cloned(),
            origin: word(event, "origin"),
            state: word(event, "state"),
            reason: text(event, "reason").cloned(),
            ports: ports.split(", ").filter(|port| !port.is_empty()).map(str::to_owned).collect(),
            category: event.category.as_ref().map(|category| category.as_str().to_owned()),
            columns: listed(event, "columns"),
            sessions: number(event, "sessions"),
            datagrams: number(event, "datagrams"),
            rows: number(event, "rows"),
            refused: number(event, "refused"),
            refused_by: listed(event, "refused_by"),
            faults: number(event, "faults"),
            last_fault: text(event, "last_fault").cloned(),
            last_fault_at: match number(event, "last_fault_at") {
                0 => None,
                millis => Some(Timestamp::from_millis(millis)),
            },
            loads: number(event, "loads"),
            reported_at: event.observed_at,
        }
    }
}

/// Plug-ins of honeypots
///
/// Each plug-in of each sensor as it was reported last: where it comes from, what it listens on,
/// its columns, what it has done and what went wrong. Those that were not reported for 30 days
/// are left out.
#[utoipa::path(
    get, path = "/api/v1/plugins", tag = "hub", operation_id = "listPlugins",
    security(("session" = []), ("key" = [])),
    responses(
        (status = 200, body = PluginList, description = "The plug-ins"),
        (status = 401, body = ProblemBody, content_type = "application/problem+json", description = "Not signed in"),
        (status = 403, body = ProblemBody, content_type = "application/problem+json", description = "Not allowed"),
    ),
)]
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
) -> Result<axum::Json<PluginList>, Problem> {
    caller.require(Permission::Read)?;
    let reports = app.hub.plugin_reports(&caller.who, auth::now()).await?;
    Ok(axum::Json(PluginList { plugins: reports.iter().map(PluginStatus::from).collect() }))
}

/// Rows of a plug-in
///
/// What it has recorded, in the columns that it declares, the newest first.
#[utoipa::path(
    get, path = "/api/v1/plugins/{name}/rows", tag = "hub", operation_id = "listPluginRows",
    security(("session" = []), ("key" = [])),
    params(("name" = String, Path, description = "The plug-in"), RowParameters),
    responses(
        (status = 200, body = PluginRowPage, description = "A page"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "A parameter does not fit"),
        (status = 401, body = ProblemBody, content_type = "application/problem+json", description = "Not signed in"),
        (status = 403, body = ProblemBody, content_type = "application/problem+json", description = "Not allowed"),
    ),
)]
pub(crate) async fn rows(
    State(app): State<App>,
    caller: Caller,
    Segment(name): Segment,
    Parameters(asked): Parameters<RowParameters>,
) -> Result<axum::Json<PluginRowPage>, Problem> {
    caller.require(Permission::Read)?;
    let bad = |error: &dyn std::fmt::Display| Problem::bad_request(error.to_string());
    let name = AnalyzerName::new(&name).map_err(|error| bad(&error))?;
    let sensor = asked.sensor.as_deref().map(SensorId::new).transpose();
    let sensor = sensor.map_err(|error| bad(&error))?;
    let limit = bounded(asked.limit, DEFAULT_PAGE_ROWS, MAX_PAGE_ROWS)?;
    let after = asked.cursor.as_deref().map(cursor).transpose()?;
    let page = app.hub.plugin_rows(&caller.who, &name, sensor.as_ref(), limit, after).await?;
    let mut columns: Vec<PluginColumn> = Vec::new();
    for report in app.hub.plugin_reports(&caller.who, auth::now()).await? {
        let meant = report.analyzer.as_ref() == Some(&name)
            && sensor.as_ref().is_none_or(|sensor| *sensor == report.sensor);
        if meant {
            for column in listed::<PluginColumn>(&report, "columns") {
                if !columns.contains(&column) {
                    columns.push(column);
                }
            }
        }
    }
    let rows = page.rows.into_iter().map(row).collect();
    Ok(axum::Json(PluginRowPage { columns, rows, next: page.next.map(|next| next.to_string()) }))
}

fn row(event: Event) -> PluginRow {
    let mut values = event.attributes;
    values.remove("plugin");
    PluginRow {
        id: event.id,
        observed_at: event.observed_at,
        sensor: event.sensor,
        session: event.session,
        source: event.source,
        target: event.target,
        values,
    }
}
