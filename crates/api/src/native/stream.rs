//! `GET /api/v1/stream`: events as they come, as server-sent events.
//!
//! Ingest never waits for a browser: a client that is too slow is told
//! `resync` and asks for what it missed by a search.

use std::convert::Infallible;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event as Message, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use http::HeaderValue;
use palisade_event::{Event, Timestamp};
use palisade_hub::{Live, LiveItem, Permission};
use palisade_store::query::Query;
use serde::Deserialize;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Interval};
use utoipa::IntoParams;

use super::{Parameters, events, schema};
use crate::auth::{self, Caller, Credential};
use crate::error::{Problem, ProblemBody};
use crate::router::App;

/// Proxies cut connections that are silent for longer, most after 60 seconds.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Seconds after which a client may try again where there are too many.
const RETRY_SECS: u32 = 10;
/// How often it is asked whether the credential is still valid: a key may be
/// removed, a session ended elsewhere.
const RECHECK: Duration = Duration::from_secs(60);

/// What to listen for.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct StreamParameters {
    /// Query text; empty matches everything. Times in it are ignored.
    #[serde(default)]
    #[param(required = false, example = "country:CN")]
    q: String,
}

/// An open stream; what it holds is given back when the client leaves.
struct Subscription {
    app: App,
    live: Live,
    query: Query,
    credential: Credential,
    ends: Option<Instant>,
    recheck: Interval,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.app.metrics.streams.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Live events
///
/// Messages `event` (data: the event, id: its id) and `resync` (data: `{}`),
/// sent where the client was too slow: load again what is shown. A comment
/// every 15 seconds. Ends with the session, and when the hub stops.
#[utoipa::path(
    get, path = "/api/v1/stream", tag = "events", operation_id = "streamEvents",
    security(("session" = []), ("key" = [])),
    params(StreamParameters),
    responses(
        (status = 200, body = schema::Event, content_type = "text/event-stream", description = "Until the client leaves"),
        (status = 401, body = ProblemBody, content_type = "application/problem+json", description = "Not signed in"),
        (status = 422, body = ProblemBody, content_type = "application/problem+json", description = "The query cannot be understood; `at` says where"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "Too many streams",
            headers(("Retry-After" = u32, description = "Seconds to wait"))),
    ),
)]
pub(crate) async fn open(
    State(app): State<App>,
    caller: Caller,
    Parameters(asked): Parameters<StreamParameters>,
) -> Result<Response, Problem> {
    caller.require(Permission::Read)?;
    let mut query = events::parse(&asked.q)?;
    query.range = palisade_store::query::TimeRange::default();
    let permit = std::sync::Arc::clone(&app.streams).try_acquire_owned().map_err(|_| {
        Problem::unavailable("There are too many live streams. Try again later.", RETRY_SECS)
    })?;
    let live = app.hub.live(&caller.who)?;
    app.metrics.streams.fetch_add(1, Ordering::Relaxed);
    let ends = caller.expires_at.map(|at| Instant::now() + until(at, auth::now()));
    let recheck = tokio::time::interval_at(Instant::now() + RECHECK, RECHECK);
    let credential = caller.credential;
    let subscription =
        Subscription { app, live, query, credential, ends, recheck, _permit: permit };
    let messages = stream::unfold(subscription, |mut subscription| async move {
        let message = subscription.next().await?;
        Some((Ok::<_, Infallible>(message), subscription))
    });
    let keep_alive = KeepAlive::new().interval(HEARTBEAT).text("");
    let mut response = Sse::new(messages).keep_alive(keep_alive).into_response();
    // nginx would hold small messages back.
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

/// How long it is until then.
fn until(at: Timestamp, now: Timestamp) -> Duration {
    let millis = at.as_millis().saturating_sub(now.as_millis());
    Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}

async fn end_of(ends: Option<Instant>) {
    match ends {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

impl Subscription {
    async fn next(&mut self) -> Option<Message> {
        loop {
            let item = tokio::select! {
                biased;
                () = self.app.shutdown.cancelled() => return None,
                () = end_of(self.ends) => return None,
                _ = self.recheck.tick() => match self.credential.is_valid(&self.app).await {
                    true => continue,
                    false => return None,
                },
                item = self.live.next() => item?,
            };
            match item {
                LiveItem::Event(event) if self.query.matches(&event) => {
                    return Some(written(&event));
                }
                LiveItem::Event(_) => {}
                LiveItem::Lagged(_) => return Some(Message::default().event("resync").data("{}")),
            }
        }
    }
}

fn written(event: &Event) -> Message {
    let json = palisade_event::wire::encode_event(event);
    // JSON text has no line breaks, so it is one line of data.
    Message::default().event("event").id(event.id.to_string()).data(String::from_utf8_lossy(&json))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_lasts_as_long_as_the_session() {
        let now = Timestamp::from_millis(1_000);
        assert_eq!(until(Timestamp::from_millis(3_500), now), Duration::from_millis(2_500));
        assert_eq!(until(Timestamp::from_millis(0), now), Duration::ZERO);
    }
}
