//! `GET /api/v1/public/stream`: attacks as they come, as anybody may see them,
//! at most as many a second as the eye can follow.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::response::sse::{Event as Message, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use http::HeaderValue;
use palisade_hub::{Live, LiveItem};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::{enter, view};
use crate::client::Client;
use crate::error::{Problem, ProblemBody};
use crate::limits::ConnectionPermit;
use crate::router::App;

/// Attacks that one visitor is sent a second; the rest is only counted.
const MAX_PER_SEC: u32 = 30;
/// Proxies cut connections that are silent for longer, most after 60 seconds.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Seconds after which a client may try again where there are too many.
const RETRY_SECS: u32 = 30;
/// A visitor connects anew after so long, so that forgotten pages do not hold
/// their place for ever.
const LONGEST: Duration = Duration::from_secs(60 * 60);

/// An open stream; what it holds is given back when the visitor leaves.
struct Visit {
    app: App,
    live: Live,
    ends: Instant,
    second: Instant,
    sent: u32,
    _permits: [OwnedSemaphorePermit; 2],
    _place: ConnectionPermit,
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.app.metrics.streams.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The public page's live attacks
///
/// Messages `attack`, at most 30 a second; no credential. A comment every 15
/// seconds. Ends after an hour, and when the hub stops. 404 unless
/// `[api.public]` is enabled.
#[utoipa::path(
    get, path = "/api/v1/public/stream", tag = "public", operation_id = "publicStream",
    security(()),
    responses(
        (status = 200, body = view::Attack, content_type = "text/event-stream", description = "Until the client leaves"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json", description = "There is no public page"),
        (status = 429, body = ProblemBody, content_type = "application/problem+json", description = "Too many requests or streams from this address"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "Too many streams",
            headers(("Retry-After" = u32, description = "Seconds to wait"))),
    ),
)]
pub(crate) async fn open(
    State(app): State<App>,
    Extension(client): Extension<Client>,
) -> Result<Response, Problem> {
    let who = enter(&app, client)?;
    let place = app.public.per_address.take(client.address);
    let place = place.ok_or_else(|| Problem::too_many(RETRY_SECS))?;
    let full = |_| {
        let detail = "There are too many visitors with a live stream. The numbers still work.";
        Problem::unavailable(detail, RETRY_SECS)
    };
    let visitor = Arc::clone(&app.public.streams).try_acquire_owned().map_err(full)?;
    let any = Arc::clone(&app.streams).try_acquire_owned().map_err(full)?;
    let live = app.hub.live(&who)?;
    app.metrics.streams.fetch_add(1, Ordering::Relaxed);
    let now = Instant::now();
    let visit = Visit {
        app,
        live,
        ends: now + LONGEST,
        second: now,
        sent: 0,
        _permits: [visitor, any],
        _place: place,
    };
    let messages = stream::unfold(visit, |mut visit| async move {
        let message = visit.next().await?;
        Some((Ok::<_, Infallible>(message), visit))
    });
    let keep_alive = KeepAlive::new().interval(HEARTBEAT).text("");
    let mut response = Sse::new(messages).keep_alive(keep_alive).into_response();
    // nginx would hold small messages back.
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

impl Visit {
    async fn next(&mut self) -> Option<Message> {
        loop {
            let item = tokio::select! {
                biased;
                () = self.app.shutdown.cancelled() => return None,
                () = tokio::time::sleep_until(self.ends) => return None,
                item = self.live.next() => item?,
            };
            // How much was left out would tell of private events too.
            let LiveItem::Event(event) = item else { continue };
            if !self.may_send() {
                continue;
            }
            let Some(attack) = view::attack(&event) else { continue };
            self.sent += 1;
            let Ok(message) = Message::default().event("attack").json_data(attack) else {
                continue;
            };
            return Some(message);
        }
    }

    fn may_send(&mut self) -> bool {
        let now = Instant::now();
        if now.duration_since(self.second) >= Duration::from_secs(1) {
            (self.second, self.sent) = (now, 0);
        }
        self.sent < MAX_PER_SEC
    }
}
