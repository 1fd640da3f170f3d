//! Alpha's dialect: SSH logins that were tried, a machine and a day. `/sshcount/…`
//! as its server answers it, `/?date=` and `/sshcount/{host}?date=` as its clients do.
//!
//! Counted by the hub from the events of its agents ([`palisade_hub`]); AlphaClients
//! that the settings name are asked beside ([`poll`]). Refusals are
//! `{"detail": …}`, as its server's framework has them.

pub(crate) mod poll;

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, Query, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::future::join_all;
use http::{StatusCode, header};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use palisade_event::Timestamp;
use palisade_hub::{Principal, QueryError};
use serde_json::json;

use self::poll::Client;
use super::access::{self, Denied};
use crate::auth;
use crate::router::App;

/// The routes of the dialect.
pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/sshcount/all/{date}", get(all))
        .route("/sshcount/{host}/{date}", get(one))
        .route("/sshcount/{host}", get(as_host))
        .route("/sshcount/{host}/", get(as_host))
}

/// A refusal in the dialect's form.
struct Refusal(StatusCode, String, Option<u32>);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = (self.0, axum::Json(json!({"detail": self.1}))).into_response();
        if let Some(secs) = self.2 {
            response.headers_mut().insert(header::RETRY_AFTER, secs.into());
        }
        response
    }
}

impl From<QueryError> for Refusal {
    fn from(error: QueryError) -> Self {
        match error {
            QueryError::Forbidden => {
                Self(StatusCode::FORBIDDEN, "This credential may not read this.".to_owned(), None)
            }
            error => {
                tracing::error!(%error, "SSH logins cannot be counted");
                let text = "The hub cannot answer now; its log says why.".to_owned();
                Self(StatusCode::SERVICE_UNAVAILABLE, text, Some(5))
            }
        }
    }
}

impl From<Denied> for Refusal {
    fn from(denied: Denied) -> Self {
        Self(denied.status, denied.text, denied.retry_after_secs)
    }
}

/// Days are written `2026-11-20`.
fn date(text: &str) -> Option<Date> {
    let shape = text.bytes().enumerate().all(|(place, byte)| match place {
        4 | 7 => byte == b'-',
        _ => byte.is_ascii_digit(),
    });
    text.parse().ok().filter(|_| shape && text.len() == 10)
}

fn known_date(text: &str) -> Result<Date, Refusal> {
    date(text).ok_or_else(|| {
        let text = "The date must be a day, written like 2026-11-20.".to_owned();
        Refusal(StatusCode::UNPROCESSABLE_ENTITY, text, None)
    })
}

/// A day in a zone, which may be longer or shorter than 24 hours.
fn range(zone: &TimeZone, date: Date) -> Option<(Timestamp, Timestamp)> {
    let begin = |date: Date| date.to_zoned(zone.clone()).ok();
    let millis = |at: jiff::Zoned| Timestamp::from_millis(at.timestamp().as_millisecond());
    Some((millis(begin(date)?), millis(begin(date.tomorrow().ok()?)?)))
}

/// Attempts of a day by machine: of all that deliver, also those without any.
async fn counts(app: &App, who: &Principal, date: Date) -> Result<BTreeMap<String, u64>, Refusal> {
    let zone = TimeZone::get(&app.config.alpha.zone).unwrap_or(TimeZone::UTC);
    let Some(day) = range(&zone, date) else { return Ok(BTreeMap::new()) };
    let now = auth::now();
    let mut counts = app.hub.ssh_attempts(who, day, now).await?;
    for sensor in app.hub.sensors(who, now).await? {
        counts.entry(sensor.sensor.to_string()).or_insert(0);
    }
    Ok(counts)
}

/// `GET /sshcount/{host}/{date}`
async fn one(
    State(app): State<App>,
    Path((host, date)): Path<(String, String)>,
    request: Request,
) -> Result<Response, Refusal> {
    let who = asker(&app, request).await?;
    let day = known_date(&date)?;
    let asked = app.config.alpha.clients.get(&host);
    let count = match asked.and_then(|url| Client::new(url).ok()) {
        Some(client) => ask(&app, &host, &client, &date).await,
        None => Some(of_host(&app, &who, &host, day).await?),
    };
    let body = json!({"ssh_login_attempt": count, "date": date, "host": host});
    Ok(axum::Json(body).into_response())
}

/// The attempts of a machine, by its sensor or by the name that it alone has.
async fn of_host(app: &App, who: &Principal, host: &str, day: Date) -> Result<u64, Refusal> {
    let counts = counts(app, who, day).await?;
    if let Some(count) = counts.get(host) {
        return Ok(*count);
    }
    let named = app.hub.hosts(who, auth::now()).await?;
    let mut named = named.iter().filter(|one| one.name.as_deref() == Some(host));
    match (named.next(), named.next()) {
        (Some(one), None) => Ok(counts.get(one.sensor.as_str()).copied().unwrap_or(0)),
        (Some(_), Some(_)) => {
            let text = "More than one host has this name; ask by the name of its sensor.";
            Err(Refusal(StatusCode::NOT_FOUND, text.to_owned(), None))
        }
        (None, _) => Err(Refusal(StatusCode::NOT_FOUND, "There is no such host.".to_owned(), None)),
    }
}

/// `GET /sshcount/all/{date}`
async fn all(
    State(app): State<App>,
    Path(date): Path<String>,
    request: Request,
) -> Result<Response, Refusal> {
    let who = asker(&app, request).await?;
    let day = known_date(&date)?;
    let clients = app.config.alpha.clients.iter();
    let asked = clients.filter_map(|(name, url)| Some((name, Client::new(url).ok()?)));
    let asked = asked.map(|(name, client)| {
        let (app, date) = (&app, &date);
        async move { (name.clone(), ask(app, name, &client, date).await) }
    });
    let (counted, asked) = tokio::join!(counts(&app, &who, day), join_all(asked));
    let mut counts: BTreeMap<String, Option<u64>> =
        counted?.into_iter().map(|(host, count)| (host, Some(count))).collect();
    counts.extend(asked);
    let body = json!({"date": date, "all_ssh_login_attempts": counts});
    Ok(axum::Json(body).into_response())
}

/// `GET /?date=`: what all machines of this hub together would answer as one
/// AlphaClient.
pub(crate) async fn as_client(app: &App, request: Request) -> Response {
    let asked = async {
        let day = asked_day(&request)?;
        let who = asker(app, request).await?;
        Ok::<u64, Refusal>(counts(app, &who, day).await?.values().sum())
    };
    bare(asked.await)
}

/// `GET /sshcount/{host}?date=`: what the AlphaClient of that machine would answer,
/// so that an AlphaServer can ask the hub in its place.
async fn as_host(State(app): State<App>, Path(host): Path<String>, request: Request) -> Response {
    if host == "all" {
        return as_client(&app, request).await;
    }
    let asked = async {
        let day = asked_day(&request)?;
        let who = asker(&app, request).await?;
        of_host(&app, &who, &host, day).await
    };
    bare(asked.await)
}

fn bare(count: Result<u64, Refusal>) -> Response {
    match count {
        Ok(count) => axum::Json(count).into_response(),
        Err(refusal) => refusal.into_response(),
    }
}

fn asked_day(request: &Request) -> Result<Date, Refusal> {
    let Query(pairs) =
        Query::<Vec<(String, String)>>::try_from_uri(request.uri()).map_err(|_| no_date())?;
    let named = pairs.iter().find(|(name, _)| name == "date");
    named.and_then(|(_, text)| date(text)).ok_or_else(no_date)
}

fn no_date() -> Refusal {
    let text = "Say which day: ?date=2026-11-20.".to_owned();
    Refusal(StatusCode::BAD_REQUEST, text, None)
}

/// `/` of a door for this dialect alone.
pub(crate) async fn front(State(app): State<App>, request: Request) -> Response {
    as_client(&app, request).await
}

/// Whether a question for `/` is one of this dialect.
pub(crate) fn is_asked(request: &Request) -> bool {
    let names = request.uri().query().unwrap_or_default().split('&');
    request.uri().path() == "/" && names.into_iter().any(|pair| pair.starts_with("date="))
}

async fn asker(app: &App, request: Request) -> Result<Principal, Denied> {
    let (mut parts, _) = request.into_parts();
    access::asker(app, &mut parts, app.config.alpha.open).await
}

/// What an AlphaClient answers; `None` where it does not.
async fn ask(app: &App, name: &str, client: &Client, date: &str) -> Option<u64> {
    let patience = Duration::from_secs(app.config.alpha.client_secs.into());
    match client.count(date, patience).await {
        Ok(count) => {
            app.hub.alpha_heard(name, auth::now());
            Some(count)
        }
        Err(reason) => {
            tracing::warn!(client = name, %reason, "an AlphaClient does not answer");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_written_in_one_way() {
        assert!(date("2026-11-20").is_some());
        for bad in ["", "2026-11-31", "2026-1-2", "20261120", "2026-11-20T00:00", "+026-11-20", "ü"]
        {
            assert_eq!(date(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_day_is_as_long_as_its_zone_makes_it() {
        let hours = |zone: &str, day: &str| {
            let zone = TimeZone::get(zone).unwrap();
            let (from, to) = range(&zone, date(day).unwrap()).unwrap();
            (to.as_millis() - from.as_millis()) / 3_600_000
        };
        assert_eq!(hours("UTC", "2026-03-29"), 24);
        assert_eq!(hours("Europe/Berlin", "2026-03-29"), 23);
        assert_eq!(hours("Europe/Berlin", "2026-10-25"), 25);
        assert!(range(&TimeZone::UTC, date("9999-12-31").unwrap()).is_none());
    }
}
