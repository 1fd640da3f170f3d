//! CrowdSec's local API, as its bouncers use it: they poll for decisions with
//! a key of the scope `bouncer`, and carry them out.
//!
//! Not its API for log processors: sensors deliver events here. Errors are in
//! CrowdSec's form, `{"message": …}`, as its clients log that.

mod form;
mod params;
mod usage;

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use hyper::body::Frame;
use palisade_event::{DecisionTarget, Domain, Timestamp};
use palisade_hub::{Cover, DecisionRecord, Permission, Principal, QueryError, Ranges};
use serde::Serialize;

use crate::auth;
use crate::router::App;
use form::{Listing, Sent};
use params::{BadAddress, Params};

/// Longest key that is looked at, in bytes.
const MAX_KEY_BYTES: usize = 256;

/// The routes of the dialect.
pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/health", get(health).fallback(wrong_method))
        .route("/v1/decisions/stream", get(stream).fallback(wrong_method))
        .route("/v1/decisions", get(live).fallback(wrong_method))
        .route("/v1/usage-metrics", post(usage::take).fallback(wrong_method))
        .route("/v1/{*rest}", any(StatusCode::NOT_FOUND))
}

async fn wrong_method() -> StatusCode {
    StatusCode::METHOD_NOT_ALLOWED
}

async fn health() -> Response {
    json(StatusCode::OK, &serde_json::json!({"status": "up"}))
}

/// A refusal in CrowdSec's form.
struct Refusal(StatusCode, String);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        json(self.0, &serde_json::json!({"message": self.1}))
    }
}

impl From<BadAddress> for Refusal {
    fn from(BadAddress(text): BadAddress) -> Self {
        Self(StatusCode::INTERNAL_SERVER_ERROR, text)
    }
}

impl From<QueryError> for Refusal {
    fn from(error: QueryError) -> Self {
        match error {
            QueryError::Forbidden => forbidden(),
            error => {
                tracing::error!(%error, "a bouncer cannot be answered");
                let text = "the hub cannot answer now; its log says why";
                Self(StatusCode::SERVICE_UNAVAILABLE, text.to_owned())
            }
        }
    }
}

fn forbidden() -> Refusal {
    Refusal(StatusCode::FORBIDDEN, "access forbidden".to_owned())
}

fn json(status: StatusCode, value: &impl Serialize) -> Response {
    // Plain data always serializes.
    let text = serde_json::to_vec(value).unwrap_or_default();
    let mut response = (status, text).into_response();
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

/// Who asks: the key of a bouncer.
async fn bouncer(app: &App, parts: &Parts) -> Result<Principal, Refusal> {
    let key = parts.headers.get("x-api-key").and_then(|key| key.to_str().ok());
    let key = key.filter(|key| !key.is_empty() && key.len() <= MAX_KEY_BYTES);
    let who = match key {
        Some(key) => app.hub.key(key, auth::now()).await.map_err(|error| {
            tracing::error!(%error, "a bouncer's key cannot be checked");
            let text = "the hub cannot check keys now; its log says why";
            Refusal(StatusCode::SERVICE_UNAVAILABLE, text.to_owned())
        })?,
        None => None,
    };
    let client = auth::client(parts);
    let may = |who: &Principal| who.may(Permission::Bouncer) && who.sees(Domain::Private);
    who.filter(may).ok_or_else(|| {
        // It counts like any wrong credential of this address, for all other doors;
        // a bouncer understands no other answer than this one.
        let _ = app.unauthenticated.take(client.address, Instant::now());
        forbidden()
    })
}

fn agent(headers: &HeaderMap) -> &str {
    headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

#[derive(Serialize)]
struct Stream {
    deleted: Option<Vec<Sent>>,
    new: Option<Vec<Sent>>,
}

/// What is new and what is over since the last time.
async fn stream(State(app): State<App>, request: Request) -> Result<Response, Refusal> {
    let (parts, _) = request.into_parts();
    let who = bouncer(&app, &parts).await?;
    // A question whether there is an answer, not for the answer.
    if parts.method == Method::HEAD {
        return Ok(StatusCode::OK.into_response());
    }
    let asked = Params::of(&parts.uri)?;
    let (now, agent) = (auth::now(), agent(&parts.headers));
    let from = auth::client(&parts).address;
    let pull = app.hub.bouncer_pull(&who, from, agent, asked.startup, now).await?;
    let ranges = pull.ranges.unwrap_or_else(|| form::ranges_of(agent));
    let mut new = Listing::default();
    for record in pull.new.iter().filter(|record| asked.wants(record) && record.ended_at > now) {
        new.add(record, ranges, now, |_| false);
    }
    if new.withheld > 0 {
        tracing::warn!(
            bouncer = who.name(),
            networks = new.withheld,
            "networks are withheld from a bouncer"
        );
    }
    let deleted = ended(&app, &who, &pull.ended, &asked, ranges, now).await?;
    let text = serde_json::to_vec(&Stream { deleted, new: new.finish() }).unwrap_or_default();
    let (hub, told) = (app.hub.clone(), pull.told);
    let body = Confirmed {
        text: Some(text.into()),
        sent: Some(Box::pin(async move {
            if let Err(error) = hub.bouncer_told(&told).await {
                tracing::warn!(%error, "a bouncer will be told the same again");
            }
        })),
    };
    let mut response = Body::new(body).into_response();
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    Ok(response)
}

/// What is over. An address that was given because of one decision may still
/// be banned because of another one.
async fn ended(
    app: &App,
    who: &Principal,
    records: &[DecisionRecord],
    asked: &Params,
    ranges: Ranges,
    now: Timestamp,
) -> Result<Option<Vec<Sent>>, Refusal> {
    let mut deleted = Listing::default();
    let networks = match ranges {
        Ranges::Expand if !records.is_empty() => app.hub.bouncer_networks(who, now).await?,
        Ranges::Expand | Ranges::Withhold | Ranges::Pass => Vec::new(),
    };
    let given: Vec<DecisionTarget> = networks
        .iter()
        .map(|record| record.made.decision.target)
        .filter(|target| match target {
            DecisionTarget::Range(range) => form::addresses(range).is_some(),
            DecisionTarget::Ip(_) => false,
        })
        .collect();
    for record in records.iter().filter(|record| asked.wants(record)) {
        let target = record.made.decision.target;
        let within = match (target, ranges) {
            (DecisionTarget::Range(_), Ranges::Expand) => {
                app.hub.bouncer_asks(who, Some(&target), Cover::Inside, now).await?
            }
            _ => Vec::new(),
        };
        deleted.add(record, ranges, now, |address| {
            let one = DecisionTarget::Ip(address);
            given.iter().any(|other| other.contains(address))
                || within.iter().any(|other| other.made.decision.target == one)
        });
    }
    Ok(deleted.finish())
}

/// What is in force about somebody.
async fn live(State(app): State<App>, request: Request) -> Result<Response, Refusal> {
    let (parts, _) = request.into_parts();
    let who = bouncer(&app, &parts).await?;
    if parts.method == Method::HEAD {
        return Ok(StatusCode::OK.into_response());
    }
    let asked = Params::of(&parts.uri)?;
    let now = auth::now();
    let cover = if asked.contains { Cover::Around } else { Cover::Inside };
    let found = app.hub.bouncer_asks(&who, asked.target.as_ref(), cover, now).await?;
    let mut listed = Vec::new();
    for record in found.iter().filter(|record| asked.wants(record) && record.ended_at > now) {
        // Each by itself: here the same value may come twice.
        let mut one = Listing::default();
        one.add(record, Ranges::Pass, now, |_| false);
        listed.extend(one.finish().unwrap_or_default());
    }
    Ok(json(StatusCode::OK, &(!listed.is_empty()).then_some(listed)))
}

/// A body that says when it has been taken.
struct Confirmed {
    text: Option<Bytes>,
    sent: Option<BoxFuture<'static, ()>>,
}

impl hyper::body::Body for Confirmed {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if let Some(text) = self.text.take() {
            return Poll::Ready(Some(Ok(Frame::data(text))));
        }
        // Whoever sends asks for more once it has taken what there was.
        let Some(sent) = &mut self.sent else { return Poll::Ready(None) };
        match sent.as_mut().poll(context) {
            Poll::Ready(()) => {
                self.sent = None;
                Poll::Ready(None)
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

/// For fuzzing: any message about usage is read or refused.
#[must_use]
pub(crate) fn read_usage(bytes: &[u8]) -> bool {
    usage::read(bytes).is_ok()
}

/// For fuzzing: any query is read within its bounds.
#[must_use]
pub(crate) fn read_query(query: &str) -> bool {
    let Ok(uri) = format!("/v1/decisions?{query}").parse::<Uri>() else { return false };
    Params::of(&uri).is_ok()
}
