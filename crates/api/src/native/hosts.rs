//! `/api/v1/hosts`: the machines that tell of themselves, what they are, how they
//! are and were, and `/api/v1/changes`: what changed on them.

use std::collections::BTreeMap;

use axum::extract::State;
use palisade_event::{AttributeValue, Event, EventId, SensorId, Timestamp, Untrusted};
use palisade_hub::{
    HostAlertInfo, HostChanges, HostInfo, HostInventory, HostSample, HostSectionInfo, Permission,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

use super::events::{bounded, cursor};
use super::{Parameters, Segment};
use crate::auth::{self, Caller};
use crate::error::{Problem, ProblemBody};
use crate::router::App;

/// Points of a chart where the request does not say, and most.
const DEFAULT_POINTS: usize = 240;
const MAX_POINTS: usize = 1_000;
/// Time of a chart where the request does not say, and most, in hours.
const DEFAULT_HOURS: u32 = 24;
const MAX_HOURS: u32 = 90 * 24;
const HOUR_MILLIS: i64 = 60 * 60 * 1000;
/// Changes of a page where the request does not say, and most.
const DEFAULT_CHANGES: usize = 100;
const MAX_CHANGES: usize = 500;

/// A machine.
#[derive(Serialize, ToSchema)]
pub(crate) struct Host {
    /// What it is known by: the sensor that its credential names; below a credential
    /// that machines share, `~` and its address.
    #[schema(example = "web-1")]
    id: String,
    /// The sensor that its credential names.
    #[schema(value_type = String)]
    sensor: SensorId,
    /// How it tells of itself.
    #[schema(value_type = HostSource)]
    source: palisade_hub::HostSource,
    /// What it calls itself.
    #[schema(required)]
    name: Option<String>,
    /// What it called itself before.
    #[schema(required)]
    former_name: Option<String>,
    /// When it changed its name.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    renamed_at: Option<Timestamp>,
    /// Whether another machine calls itself the same.
    name_shared: bool,
    /// Its address, where it is known by that.
    #[schema(value_type = Option<String>, required)]
    address: Option<std::net::IpAddr>,
    /// Its operating system in a few words.
    #[schema(required)]
    os: Option<String>,
    /// The worst that is wrong with it now.
    #[schema(value_type = HostState)]
    state: &'static str,
    /// How much is wrong with it now.
    alerts: usize,
    /// Score of its last audit, 0 to 100.
    #[schema(required)]
    score: Option<i64>,
    /// When that was.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    audited_at: Option<Timestamp>,
    /// Its newest numbers, such as `cpu_pct`, `load1`, `mem_used`, `mem_total`; a
    /// number that could not be read is not there.
    #[schema(value_type = Option<Object>, required)]
    sample: Option<Value>,
    /// When the hub took them.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    sample_at: Option<Timestamp>,
    /// Attacks on it since midnight UTC.
    attacks_today: u64,
    /// When it was first heard.
    #[schema(value_type = String, format = DateTime)]
    first_seen: Timestamp,
    /// When it was last heard.
    #[schema(value_type = String, format = DateTime)]
    last_seen: Timestamp,
    /// Since when it is silent.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    silent_since: Option<Timestamp>,
}

/// How a machine tells of itself.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[allow(dead_code, reason = "read by the derive macro alone")]
pub(crate) enum HostSource {
    /// By an agent.
    Agent,
    /// By Glimpse's script.
    Glimpse,
    /// By an AlphaClient that is asked.
    Alpha,
}

/// The worst that is wrong with a machine.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[allow(dead_code, reason = "read by the derive macro alone")]
pub(crate) enum HostState {
    /// Nothing.
    Ok,
    /// Something to look at.
    Warning,
    /// Something to act on.
    Alert,
    /// It is not heard any more.
    Silent,
}

impl From<HostInfo> for Host {
    fn from(host: HostInfo) -> Self {
        let (former_name, renamed_at) = host.former_name.unzip();
        Self {
            id: host.id,
            sensor: host.sensor,
            source: host.source,
            name: host.name,
            former_name,
            renamed_at,
            name_shared: host.name_shared,
            address: host.address,
            os: host.os,
            state: host.state,
            alerts: host.alerts,
            score: host.score,
            audited_at: host.audited_at,
            sample: host.sample,
            sample_at: host.sample_at,
            attacks_today: host.attacks_today,
            first_seen: host.first_seen,
            last_seen: host.last_seen,
            silent_since: host.silent_since,
        }
    }
}

/// All machines.
#[derive(Serialize, ToSchema)]
pub(crate) struct HostList {
    /// By name, then by id.
    hosts: Vec<Host>,
}

/// A machine with all that is known of it.
#[derive(Serialize, ToSchema)]
pub(crate) struct HostShown {
    /// The machine.
    host: Host,
    /// What is wrong with it now.
    alerts: Vec<HostAlert>,
    /// Counts of its last audit: `passed`, `failed`, `not_judged`, `not_applicable`.
    #[schema(value_type = Option<Object>, required)]
    audit: Option<Value>,
    /// Its inventory by section: `system`, `disks`, `interfaces`, `devices`,
    /// `sockets`, `sessions`, `accounts`, `packages` and more.
    sections: BTreeMap<String, HostSection>,
}

/// Something that is wrong with a machine now.
#[derive(Serialize, ToSchema)]
pub(crate) struct HostAlert {
    /// Names it on the machine.
    alert: String,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    since: Timestamp,
    /// `rule`, `subject`, `level` (warning or alert), `value`, `threshold`, `unit`, `message`.
    #[schema(value_type = Object)]
    detail: Value,
}

/// A section of an inventory.
#[derive(Serialize, ToSchema)]
pub(crate) struct HostSection {
    /// When the hub took it.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// Entries that there are.
    entries: u64,
    /// Entries that are not in `data`, as there are too many.
    left_out: u64,
    /// Whether parts of it have not come yet.
    incomplete: bool,
    /// What could not be seen, and why.
    unseen: Vec<String>,
    /// An object, or a list of entries, as the machine says it: text of others.
    #[schema(value_type = Value)]
    data: Box<RawValue>,
}

impl From<HostAlertInfo> for HostAlert {
    fn from(alert: HostAlertInfo) -> Self {
        Self { alert: alert.alert, since: alert.since, detail: alert.detail }
    }
}

impl From<HostSectionInfo> for HostSection {
    fn from(section: HostSectionInfo) -> Self {
        Self {
            at: section.at,
            entries: section.entries,
            left_out: section.left_out,
            incomplete: section.incomplete,
            unseen: section.unseen,
            data: section.data,
        }
    }
}

impl From<HostInventory> for HostShown {
    fn from(shown: HostInventory) -> Self {
        let sections = shown.sections.into_iter();
        Self {
            host: shown.host.into(),
            alerts: shown.alerts.into_iter().map(Into::into).collect(),
            audit: shown.audit,
            sections: sections.map(|(name, section)| (name, section.into())).collect(),
        }
    }
}

/// Which numbers.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct SampleParameters {
    /// Hours until now, 1 to 2160, default 24. Not beside `from` and `to`.
    #[param(minimum = 1, maximum = 2160)]
    hours: Option<u32>,
    /// From then, default a day before `to`.
    #[param(value_type = Option<String>, format = DateTime)]
    from: Option<Timestamp>,
    /// Before then, default now. At most 2160 hours after `from`.
    #[param(value_type = Option<String>, format = DateTime)]
    to: Option<Timestamp>,
    /// Intervals at most, 1 to 1000, default 240.
    #[param(minimum = 1, maximum = 1000)]
    points: Option<usize>,
}

impl SampleParameters {
    /// The time that is asked for.
    fn range(&self, now: Timestamp) -> Result<(Timestamp, Timestamp), Problem> {
        let hours = self.hours.unwrap_or(DEFAULT_HOURS);
        if !(1..=MAX_HOURS).contains(&hours) {
            return Err(Problem::bad_request(format!("hours: expected 1 to {MAX_HOURS}.")));
        }
        if self.hours.is_some() && (self.from.is_some() || self.to.is_some()) {
            return Err(Problem::bad_request("hours: not beside from and to."));
        }
        let to = self.to.unwrap_or_else(|| now.plus_millis(1));
        let from = self.from.unwrap_or_else(|| to.plus_millis(-i64::from(hours) * HOUR_MILLIS));
        let span = to.as_millis().saturating_sub(from.as_millis());
        if !(1..=i64::from(MAX_HOURS) * HOUR_MILLIS).contains(&span) {
            let text = format!("from, to: expected from before to, at most {MAX_HOURS} hours.");
            return Err(Problem::bad_request(text));
        }
        Ok((from, to))
    }
}

/// The numbers of a machine over time.
#[derive(Serialize, ToSchema)]
pub(crate) struct SampleList {
    /// Samples of that time.
    total: u64,
    /// Whether not all of them were read: a few of each interval stand for it.
    picked: bool,
    /// Intervals in which there were some, the oldest first.
    points: Vec<Sample>,
}

/// The numbers of an interval.
#[derive(Serialize, ToSchema)]
pub(crate) struct Sample {
    /// The middle of the samples that it was made of.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// How many were read for it.
    samples: u32,
    /// Their means, by name.
    values: BTreeMap<String, f64>,
}

impl From<HostSample> for Sample {
    fn from(sample: HostSample) -> Self {
        Self { at: sample.at, samples: sample.samples, values: sample.values }
    }
}

/// Which changes.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ChangeParameters {
    /// Of one machine.
    host: Option<String>,
    /// Changes of the page, 1 to 500, default 100.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<usize>,
    /// `next` of the page before.
    cursor: Option<String>,
}

/// A page of changes.
#[derive(Serialize, ToSchema)]
pub(crate) struct ChangePage {
    /// The changes, the newest first.
    changes: Vec<Change>,
    /// Give this as `cursor` to get the next page; null on the last.
    #[schema(required)]
    next: Option<String>,
}

/// Something that changed on a machine.
#[derive(Serialize, ToSchema)]
pub(crate) struct Change {
    /// Id of its event.
    #[schema(value_type = String)]
    id: EventId,
    /// When it was noticed.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// The machine.
    host: String,
    /// What it called itself then.
    #[schema(required)]
    name: Option<String>,
    /// `host.changed`, `file.changed`, `finding.opened`, `finding.closed`,
    /// `host.alerted` or `host.recovered`.
    kind: &'static str,
    /// What the event says: `section`, `action`, `item`, `before`, `after` of an
    /// inventory; `path`, `change`, hashes of a file; `check`, `title`, `severity`
    /// of a finding; `rule`, `message` of an alert.
    #[schema(value_type = Object)]
    detail: BTreeMap<Box<str>, Detail>,
}

/// A value of a change.
#[derive(Serialize)]
#[serde(untagged)]
enum Detail {
    Text(Untrusted),
    Other(AttributeValue),
}

impl Change {
    fn of(host: String, event: Event) -> Self {
        let detail = event.attributes.into_iter().map(|(name, value)| {
            let value = match value {
                AttributeValue::Text(text) => Detail::Text(text),
                other => Detail::Other(other),
            };
            (name, value)
        });
        Self {
            id: event.id,
            at: event.observed_at,
            host,
            name: event.host.map(|name| name.to_string()),
            kind: event.kind.as_str(),
            detail: detail.collect(),
        }
    }
}

/// Machines
///
/// All that tell of themselves, by an agent or by Glimpse's script.
#[utoipa::path(
    get, path = "/api/v1/hosts", tag = "hosts", operation_id = "listHosts",
    security(("session" = []), ("key" = [])),
    responses(
        (status = 200, body = HostList, description = "The machines"),
        (status = 401, body = ProblemBody, content_type = "application/problem+json", description = "Not signed in"),
        (status = 403, body = ProblemBody, content_type = "application/problem+json", description = "Not allowed"),
    ),
)]
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
) -> Result<axum::Json<HostList>, Problem> {
    caller.require(Permission::Read)?;
    let hosts = app.hub.hosts(&caller.who, auth::now()).await?;
    Ok(axum::Json(HostList { hosts: hosts.into_iter().map(Host::from).collect() }))
}

/// One machine
///
/// What is wrong with it now, and its inventory.
#[utoipa::path(
    get, path = "/api/v1/hosts/{id}", tag = "hosts", operation_id = "getHost",
    security(("session" = []), ("key" = [])),
    params(("id" = String, Path, description = "Its id")),
    responses(
        (status = 200, body = HostShown, description = "The machine"),
        (status = 401, body = ProblemBody, content_type = "application/problem+json", description = "Not signed in"),
        (status = 403, body = ProblemBody, content_type = "application/problem+json", description = "Not allowed"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json", description = "There is none"),
    ),
)]
pub(crate) async fn one(
    State(app): State<App>,
    caller: Caller,
    Segment(id): Segment,
) -> Result<axum::Json<HostShown>, Problem> {
    caller.require(Permission::Read)?;
    let found = app.hub.host(&caller.who, &id, auth::now()).await?;
    Ok(axum::Json(found.ok_or_else(missing)?.into()))
}

/// Forget a machine
///
/// With its inventory, alerts and findings; its events stay. It is there again as
/// soon as it is heard.
#[utoipa::path(
    delete, path = "/api/v1/hosts/{id}", tag = "hosts", operation_id = "forgetHost",
    security(("session" = []), ("key" = [])),
    params(("id" = String, Path, description = "Its id")),
    responses(
        (status = 204, description = "It is forgotten"),
        (status = 401, body = ProblemBody, content_type = "application/problem+json", description = "Not signed in"),
        (status = 403, body = ProblemBody, content_type = "application/problem+json", description = "Not allowed"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json", description = "There is none"),
    ),
)]
pub(crate) async fn forget(
    State(app): State<App>,
    caller: Caller,
    Segment(id): Segment,
) -> Result<http::StatusCode, Problem> {
    app.hub.forget_host(&caller.who, &id).await?;
    Ok(http::StatusCode::NO_CONTENT)
}

/// The numbers of a machine over time
///
/// Means over intervals, for charts.
#[utoipa::path(
    get, path = "/api/v1/hosts/{id}/samples", tag = "hosts", operation_id = "getHostSamples",
    security(("session" = []), ("key" = [])),
    params(("id" = String, Path, description = "Its id"), SampleParameters),
    responses(
        (status = 200, body = SampleList, description = "The numbers"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "A parameter does not fit"),
        (status = 401, body = ProblemBody, content_type = "application/problem+json", description = "Not signed in"),
        (status = 403, body = ProblemBody, content_type = "application/problem+json", description = "Not allowed"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json", description = "There is no such machine"),
    ),
)]
pub(crate) async fn samples(
    State(app): State<App>,
    caller: Caller,
    Segment(id): Segment,
    Parameters(asked): Parameters<SampleParameters>,
) -> Result<axum::Json<SampleList>, Problem> {
    caller.require(Permission::Read)?;
    let points = bounded(asked.points, DEFAULT_POINTS, MAX_POINTS)?;
    let range = asked.range(auth::now())?;
    let points = u32::try_from(points).unwrap_or(u32::MAX);
    let found = app.hub.host_samples(&caller.who, &id, range, points).await?;
    let found = found.ok_or_else(missing)?;
    Ok(axum::Json(SampleList {
        total: found.total,
        picked: found.picked,
        points: found.points.into_iter().map(Sample::from).collect(),
    }))
}

/// What changed on machines
///
/// Inventory, files, findings and alerts, the newest first.
#[utoipa::path(
    get, path = "/api/v1/changes", tag = "hosts", operation_id = "listChanges",
    security(("session" = []), ("key" = [])),
    params(ChangeParameters),
    responses(
        (status = 200, body = ChangePage, description = "A page"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "A parameter does not fit"),
        (status = 401, body = ProblemBody, content_type = "application/problem+json", description = "Not signed in"),
        (status = 403, body = ProblemBody, content_type = "application/problem+json", description = "Not allowed"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json", description = "There is no such machine"),
    ),
)]
pub(crate) async fn changes(
    State(app): State<App>,
    caller: Caller,
    Parameters(asked): Parameters<ChangeParameters>,
) -> Result<axum::Json<ChangePage>, Problem> {
    caller.require(Permission::Read)?;
    let limit = bounded(asked.limit, DEFAULT_CHANGES, MAX_CHANGES)?;
    let after = asked.cursor.as_deref().map(cursor).transpose()?;
    let found = app.hub.host_changes(&caller.who, asked.host.as_deref(), limit, after).await?;
    let HostChanges { changes, next } = found.ok_or_else(missing)?;
    Ok(axum::Json(ChangePage {
        changes: changes.into_iter().map(|(host, event)| Change::of(host, event)).collect(),
        next: next.map(|cursor| cursor.to_string()),
    }))
}

fn missing() -> Problem {
    Problem::not_found("There is no host with this id.")
}
