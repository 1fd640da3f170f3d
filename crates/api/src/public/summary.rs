//! `GET /api/v1/public/summary`: the numbers of the public page. Computed once
//! a second at most, however many visitors ask; tops and timeline of the day
//! every ten seconds.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderValue, header};
use palisade_event::Timestamp;
use palisade_hub::Principal;
use palisade_store::query::{Aggregation, Field, Filter, Interval, Query, TimeRange};
use palisade_store::{Aggregated, Bucket, Key};
use serde::Serialize;
use tokio::sync::Mutex;
use utoipa::ToSchema;

use super::view::{self, Attack};
use super::{Public, enter};
use crate::auth;
use crate::client::Client;
use crate::error::{Problem, ProblemBody};
use crate::router::App;

/// How long an answer is given again.
const FRESH: Duration = Duration::from_secs(1);
/// How long what belongs to the whole day is.
const DAY_FRESH: Duration = Duration::from_secs(10);
/// Countries that are shown, on the map too.
const COUNTRIES: usize = 250;
/// Categories that are told apart.
const CATEGORIES: usize = 8;
/// The newest attacks that are shown.
const RECENT: usize = 30;
/// Width of a bar of the timeline.
const BAR_MILLIS: i64 = 30 * 60 * 1000;
const MINUTE_MILLIS: i64 = 60 * 1000;
const HOUR_MILLIS: i64 = 60 * MINUTE_MILLIS;
const DAY_MILLIS: i64 = 24 * HOUR_MILLIS;

/// What the public page shows.
#[derive(Serialize, ToSchema)]
pub(crate) struct PublicSummary {
    /// The operator's title of the page.
    title: String,
    /// The operator's own site.
    #[schema(required)]
    link: Option<String>,
    /// When this was counted.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// Attacks until then.
    totals: Totals,
    /// Attacks of the last 24 hours by country of the source, most first.
    countries: Vec<CountryCount>,
    /// The same by type of service, most first.
    categories: Vec<CategoryCount>,
    /// The same over time, in bars of half an hour.
    timeline: Vec<Bar>,
    /// The newest attacks, newest first.
    recent: Vec<Attack>,
    /// About where this hub is, in whole degrees, if its operator shows that.
    #[schema(required)]
    home: Option<Place>,
    /// Whether events of the demonstration are mixed in.
    demo: bool,
}

/// Attacks in the time before now.
#[derive(Clone, Copy, Serialize, ToSchema)]
pub(crate) struct Totals {
    /// Of the last minute.
    minute: u64,
    /// Of the last hour.
    hour: u64,
    /// Of the last 24 hours.
    day: u64,
}

/// Attacks of a country.
#[derive(Clone, Serialize, ToSchema)]
pub(crate) struct CountryCount {
    /// Two letters (ISO 3166-1), or `PIR` for private addresses.
    country: String,
    /// Attacks.
    count: u64,
}

/// Attacks of a type of service.
#[derive(Clone, Serialize, ToSchema)]
pub(crate) struct CategoryCount {
    /// The type.
    category: String,
    /// Attacks.
    count: u64,
}

/// Attacks of half an hour.
#[derive(Clone, Serialize, ToSchema)]
pub(crate) struct Bar {
    /// When it began.
    #[schema(value_type = String)]
    at: String,
    /// Attacks.
    count: u64,
    /// By type of service, most first; the rest has none of those named here.
    categories: Vec<CategoryCount>,
}

/// A place on the map.
#[derive(Clone, Copy, Serialize, ToSchema)]
pub(crate) struct Place {
    /// Whole degrees north.
    lat: i16,
    /// Whole degrees east.
    lon: i16,
}

/// What belongs to the whole day.
struct Day {
    total: u64,
    countries: Vec<CountryCount>,
    categories: Vec<CategoryCount>,
    timeline: Vec<Bar>,
}

/// The last answer.
#[derive(Default)]
pub(crate) struct Cache {
    // Held while the store counts: who comes meanwhile wants the same.
    last: Mutex<Last>,
}

#[derive(Default)]
struct Last {
    body: Option<(Instant, Bytes)>,
    day: Option<(Instant, Arc<Day>)>,
}

/// The public page's numbers
///
/// Of community events alone; no credential. 404 unless `[api.public]` is
/// enabled.
#[utoipa::path(
    get, path = "/api/v1/public/summary", tag = "public", operation_id = "publicSummary",
    security(()),
    responses(
        (status = 200, body = PublicSummary, description = "Counted at most a second ago"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json", description = "There is no public page"),
        (status = 429, body = ProblemBody, content_type = "application/problem+json", description = "Too many requests from this address"),
    ),
)]
pub(crate) async fn show(
    State(app): State<App>,
    Extension(client): Extension<Client>,
) -> Result<Response, Problem> {
    let who = enter(&app, client)?;
    let Public { answer, .. } = &app.public;
    let mut last = answer.last.lock().await;
    let body = match &last.body {
        Some((at, body)) if at.elapsed() < FRESH => body.clone(),
        _ => {
            let summary = count(&app, &who, &mut last).await?;
            let body: Bytes = serde_json::to_vec(&summary).map_err(Problem::internal)?.into();
            last.body = Some((Instant::now(), body.clone()));
            body
        }
    };
    drop(last);
    let mut response = body.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=1"));
    Ok(response)
}

async fn count(app: &App, who: &Principal, last: &mut Last) -> Result<PublicSummary, Problem> {
    let now = auth::now();
    let total = async |millis| match ask(app, who, now, millis, Aggregation::Count).await? {
        Aggregated::Count { count } => Ok::<u64, Problem>(count),
        Aggregated::Distinct { .. } | Aggregated::Buckets { .. } => Ok(0),
    };
    let (minute, hour) = (total(MINUTE_MILLIS).await?, total(HOUR_MILLIS).await?);
    let day = match &last.day {
        // While there are few, the day must not have fewer than the hour.
        Some((at, day)) if at.elapsed() < DAY_FRESH && day.total >= hour => Arc::clone(day),
        _ => {
            let day = Arc::new(count_day(app, who, now).await?);
            last.day = Some((Instant::now(), Arc::clone(&day)));
            day
        }
    };
    let page = app.hub.search(who, query(now, DAY_MILLIS), RECENT, None).await?;
    let public = &app.config.public;
    let status = app.hub.status();
    let home = status.home.filter(|_| public.show_home).and_then(|home| {
        Some(Place { lat: view::degrees(home.lat, 90.0)?, lon: view::degrees(home.lon, 180.0)? })
    });
    Ok(PublicSummary {
        title: public.title.clone(),
        link: public.link.clone(),
        at: now,
        totals: Totals { minute, hour, day: day.total.max(hour) },
        countries: day.countries.clone(),
        categories: day.categories.clone(),
        timeline: day.timeline.clone(),
        recent: page.events.iter().filter_map(view::attack).collect(),
        home,
        demo: status.demo,
    })
}

async fn count_day(app: &App, who: &Principal, now: Timestamp) -> Result<Day, Problem> {
    let top = |field, k| Aggregation::Top(vec![field], k, None);
    let bars = Aggregation::Histogram(
        Interval::Millis(BAR_MILLIS),
        Some(Box::new(top(Field::Category, CATEGORIES))),
    );
    let countries = ask(app, who, now, DAY_MILLIS, top(Field::Country, COUNTRIES)).await?;
    let categories = ask(app, who, now, DAY_MILLIS, top(Field::Category, CATEGORIES)).await?;
    let timeline: Vec<Bar> = buckets(ask(app, who, now, DAY_MILLIS, bars).await?)
        .map(|bucket| Bar {
            at: text(&bucket.key),
            count: bucket.count,
            categories: named(bucket.sub.map_or(NONE, |sub| *sub)),
        })
        .collect();
    Ok(Day {
        total: timeline.iter().map(|bar| bar.count).sum(),
        countries: buckets(countries)
            .map(|bucket| CountryCount { country: text(&bucket.key), count: bucket.count })
            .collect(),
        categories: named(categories),
        timeline,
    })
}

const NONE: Aggregated = Aggregated::Count { count: 0 };

fn buckets(answer: Aggregated) -> impl Iterator<Item = Bucket> {
    match answer {
        Aggregated::Buckets { buckets, .. } => buckets,
        Aggregated::Count { .. } | Aggregated::Distinct { .. } => Vec::new(),
    }
    .into_iter()
}

/// Counts by category, as anybody may see them: those that are shown under the
/// same name are one.
fn named(answer: Aggregated) -> Vec<CategoryCount> {
    let mut named: Vec<CategoryCount> = Vec::new();
    for bucket in buckets(answer) {
        let category = view::plain(&text(&bucket.key));
        match named.iter_mut().find(|one| one.category == category) {
            Some(one) => one.count += bucket.count,
            None => named.push(CategoryCount { category, count: bucket.count }),
        }
    }
    named
}

fn text(key: &[Key]) -> String {
    match key.first() {
        Some(Key::Text(text)) => text.clone(),
        Some(Key::Integer(number)) => number.to_string(),
        None => String::new(),
    }
}

/// Attacks of the last so many milliseconds.
fn query(now: Timestamp, millis: i64) -> Query {
    let kinds = view::attack_kinds().map(|kind| kind.as_str().to_owned()).collect();
    // What a sensor's clock has ahead of ours has not happened yet.
    let range = TimeRange { from: Some(now.plus_millis(-millis)), to: Some(now.plus_millis(1)) };
    Query { range, filter: Filter::In(Field::Kind, kinds) }
}

async fn ask(
    app: &App,
    who: &Principal,
    now: Timestamp,
    millis: i64,
    aggregation: Aggregation,
) -> Result<Aggregated, Problem> {
    Ok(app.hub.aggregate(who, query(now, millis), aggregation).await?)
}
