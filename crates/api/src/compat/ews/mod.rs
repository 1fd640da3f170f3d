//! EWS, what honeypots of T-Pot post: `POST /ews-0.1/alert/postSimpleMessage`
//! with an XML message of up to a hundred alerts, user and token inside.
//!
//! Body → [`unpack`] → [`message`] ([`xml`], [`alert`]) → credentials →
//! payload store → [`palisade_hub::Hub::accept_events`] (fsync) → [`answer`].
//! OK is said only after every alert, every payload, and every refused alert
//! (in quarantine) is durable.

pub(crate) mod alert;
pub(crate) mod alone;
pub(crate) mod analyzers;
pub(crate) mod answer;
pub(crate) mod message;
pub(crate) mod text;
pub(crate) mod time;
pub(crate) mod unpack;
pub(crate) mod xml;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::any;
use http::Method;
use http_body_util::BodyExt as _;
use palisade_event::SensorId;
use palisade_hub::{IngestError, NewPayload, Permission, Principal};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout, timeout_at};

use crate::auth;
use crate::client::Client;
use crate::router::App;
use answer::Answer;
use message::{Message, Refused};
use unpack::Unpack;

/// Largest message, in bytes after unpacking.
const MAX_MESSAGE_BYTES: u64 = 256 * 1024 * 1024;
/// Messages above the first window that are read at once; others wait.
pub(crate) const LARGE_MESSAGES: usize = 4;
/// How long a large message waits for its turn.
const TURN_WAIT: Duration = Duration::from_secs(20);
/// Longest time for a whole message; senders give up after a minute of silence.
const MESSAGE_TIME: Duration = Duration::from_secs(300);
/// Windows above this size are read on a blocking thread.
const INLINE_BYTES: usize = message::WINDOW_BYTES;
/// Seconds after which to send again where too many large messages come.
const TURN_RETRY_SECS: u32 = 10;
/// Seconds after which to send again where the state database is away.
const STATE_RETRY_SECS: u32 = 5;

pub(crate) fn routes() -> Router<App> {
    Router::new().route("/ews-0.1/alert/postSimpleMessage", any(post_simple_message))
}

async fn post_simple_message(State(app): State<App>, request: Request) -> Response {
    if request.method() != Method::POST {
        return Answer::NotPost.into_response();
    }
    let answer = Box::pin(take(&app, request)).await.unwrap_or_else(|refusal| refusal);
    app.metrics.ews_answered(&answer);
    answer.into_response()
}

/// A message on its way from the socket to the hub.
struct Delivery<'a> {
    app: &'a App,
    client: Client,
    message: Message,
    who: Option<Principal>,
    /// Held by a message that is larger than one window.
    large: Option<OwnedSemaphorePermit>,
}

/// Reads a whole message and has it kept.
async fn take(app: &App, request: Request) -> Result<Answer, Answer> {
    let nope = || Answer::Default(app.config.ews.default_response.clone());
    let client = auth::client_of(&request);
    let mut unpack = Unpack::of(request.headers()).ok_or_else(nope)?;
    let placeholder = SensorId::new("ews").map_err(|_| nope())?;
    let message = Message::new(Arc::clone(&app.analyzers), placeholder);
    let mut delivery = Delivery { app, client, message, who: None, large: None };

    let silence = Duration::from_secs(app.config.limits.body_secs);
    let until = Instant::now() + MESSAGE_TIME;
    let mut body = request.into_body();
    let mut unpacked = 0u64;
    loop {
        let frame = timeout_at(until, timeout(silence, body.frame())).await;
        let frame = frame.map_err(|_| Answer::TooSlow)?.map_err(|_| Answer::TooSlow)?;
        let Some(frame) = frame else { break };
        let Ok(data) = frame.map_err(|_| nope())?.into_data() else { continue };
        let mut rest = &data[..];
        while !rest.is_empty() {
            let before = delivery.message.window.len();
            let taken = unpack.step(rest, &mut delivery.message.window).map_err(|_| nope())?;
            unpacked += (delivery.message.window.len() - before) as u64;
            if unpacked > MAX_MESSAGE_BYTES {
                return Err(Answer::TooLarge("More than 256 MiB; send smaller messages."));
            }
            if delivery.message.is_due() {
                delivery.read(Last::No).await?;
            }
            rest = rest.get(taken..).unwrap_or_default();
        }
    }
    unpack.end(&mut delivery.message.window).map_err(|_| nope())?;
    delivery.read(Last::Yes).await?;
    delivery.hand_over().await
}

/// Whether a window is the last of its message.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Last {
    No,
    Yes,
}

impl Delivery<'_> {
    /// Reads what is complete, checks who sends it as soon as that is known,
    /// and lets go of captured bytes.
    async fn read(&mut self, last: Last) -> Result<(), Answer> {
        if last == Last::No && self.large.is_none() {
            let turn = Arc::clone(&self.app.large_messages).acquire_owned();
            let turn = timeout(TURN_WAIT, turn).await.map_err(|_| Answer::Busy(TURN_RETRY_SECS))?;
            self.large = Some(turn.map_err(|_| Answer::Busy(TURN_RETRY_SECS))?);
        }
        self.parse(last).await?;
        if self.who.is_none() {
            match &self.message.collected.credentials {
                Some((name, token)) => {
                    self.who = Some(authenticate(self.app, name, token, self.client).await?);
                }
                // A stranger's large message is not read any further.
                None => return Err(Answer::Forbidden),
            }
        }
        self.keep_payloads().await
    }

    async fn parse(&mut self, last: Last) -> Result<(), Answer> {
        let last = last == Last::Yes;
        let read = if self.message.window.len() <= INLINE_BYTES {
            self.message.parse(last)
        } else {
            let placeholder = SensorId::new("ews").map_err(|_| Answer::Forbidden)?;
            let empty = Message::new(Arc::clone(&self.app.analyzers), placeholder);
            let mut message = std::mem::replace(&mut self.message, empty);
            let parsed = tokio::task::spawn_blocking(move || {
                let read = message.parse(last);
                (message, read)
            });
            let (message, read) = parsed.await.map_err(|error| {
                tracing::error!(%error, "a message could not be read");
                Answer::Busy(TURN_RETRY_SECS)
            })?;
            self.message = message;
            read
        };
        read.map_err(|why| match why {
            Refused::Malformed(why) => {
                tracing::debug!(reason = %why, "an EWS message cannot be understood");
                Answer::Default(self.app.config.ews.default_response.clone())
            }
            Refused::TooLarge(why) => Answer::TooLarge(why),
        })
    }

    /// Puts what alerts captured into the payload store.
    async fn keep_payloads(&mut self) -> Result<(), Answer> {
        let Some(who) = &self.who else { return Ok(()) };
        let alerts = &mut self.message.collected.alerts;
        let mut places = Vec::new();
        let mut payloads = Vec::new();
        for (place, alert) in alerts.iter_mut().enumerate() {
            if let Some(captured) = alert.captured.take() {
                places.push(place);
                payloads.push(NewPayload {
                    bytes: captured.bytes,
                    http: captured.http,
                    source: alert.event.source,
                });
            }
        }
        if payloads.is_empty() {
            return Ok(());
        }
        let kept = self.app.hub.keep_payloads(who, payloads, auth::now()).await;
        for (place, kept) in places.into_iter().zip(kept.map_err(refusal)?) {
            if let Some(alert) = alerts.get_mut(place) {
                super::name_payload(&mut alert.event, kept);
            }
        }
        Ok(())
    }

    /// Gives the hub all alerts; OK when they are durable.
    async fn hand_over(self) -> Result<Answer, Answer> {
        let Some(who) = self.who else { return Err(Answer::Forbidden) };
        if !who.may(Permission::Ingest) {
            return Err(Answer::Forbidden);
        }
        let sensor = SensorId::new(who.name()).map_err(|_| Answer::Forbidden)?;
        let collected = self.message.collected;
        let mut events = Vec::with_capacity(collected.alerts.len());
        for mut alert in collected.alerts {
            alert.identify(&sensor);
            events.push(alert.event);
        }
        let from = Some(self.client.address);
        let receipt = self.app.hub.accept_events(&who, from, events, collected.unfit).await;
        self.app.metrics.ews_alerts(&receipt.map_err(refusal)?);
        Ok(Answer::Taken)
    }
}

/// Checks user and token of a message or a question.
///
/// # Errors
/// What to answer where they are not right.
pub(crate) async fn authenticate(
    app: &App,
    name: &str,
    token: &str,
    client: Client,
) -> Result<Principal, Answer> {
    let found = app.hub.ews_user(name, token, Some(client.address), auth::now()).await;
    match found {
        Ok(who) => who.ok_or(Answer::Forbidden),
        Err(error) => {
            tracing::warn!(%error, "an EWS user cannot be looked up");
            Err(Answer::Busy(STATE_RETRY_SECS))
        }
    }
}

fn refusal(error: IngestError) -> Answer {
    match error {
        IngestError::Forbidden => Answer::Forbidden,
        IngestError::TooLarge(_) => Answer::TooLarge("Too much; send smaller messages."),
        IngestError::Busy { reason, retry_after_secs } => {
            tracing::warn!(%reason, "an EWS message was not taken");
            Answer::Busy(retry_after_secs)
        }
    }
}
