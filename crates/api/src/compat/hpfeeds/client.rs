//! The client: listens to a broker elsewhere and turns what comes into events.
//! Connects again, later each time, for as long as the process lives.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::BytesMut;
use palisade_hub::{IngestError, Principal, read_secret};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::codec::{self, Frame, MAX_FRAME_BYTES};
use super::config::Subscription;
use super::count;
use super::delivery::{Delivery, Payload};
use crate::dial::{Dialer, Duplex};
use crate::router::App;

/// First wait after a connection failed or broke; doubles up to the longest.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// Longest wait.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// Longest wait for the broker's first frame.
const GREETING_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection that lasted so long counts as a good one.
const GOOD_AFTER: Duration = Duration::from_secs(30);
/// Payloads that are made durable at once.
const BATCH_PAYLOADS: usize = 512;
/// Longest wait until the hub is asked again.
const LONGEST_HOLD: Duration = Duration::from_secs(5);
/// Longest error message of a broker that is logged, in bytes.
const MAX_ERROR_BYTES: usize = 300;

/// Listens to one broker until `cancel`.
pub(crate) async fn subscribe(
    app: App,
    config: Subscription,
    dialer: Dialer,
    cancel: CancellationToken,
) {
    let metrics = &app.metrics;
    let mut wait = FIRST_WAIT;
    let mut said: Option<String> = None;
    loop {
        let begun = tokio::time::Instant::now();
        let ended = tokio::select! {
            ended = listen(&app, &config, &dialer) => ended,
            () = cancel.cancelled() => return,
        };
        let Err(reason) = ended;
        count(&metrics.hpfeeds.reconnects);
        if begun.elapsed() >= GOOD_AFTER {
            wait = FIRST_WAIT;
            said = None;
        }
        // Once a reason: a broker that is away for a day is one line.
        if said.as_ref() != Some(&reason) {
            tracing::warn!(broker = %config.name, %reason, "an hpfeeds broker cannot be listened to; trying again");
            said = Some(reason);
        }
        let jitter = wait.mul_f64(0.5 + rand::random::<f64>() / 2.0);
        tokio::select! {
            () = sleep(jitter) => {}
            () = cancel.cancelled() => return,
        }
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

/// Connects and signs in: a stream on which frames can be sent, and what was
/// read beyond the greeting.
pub(crate) async fn sign_in(
    dialer: &Dialer,
    ident: &[u8],
    secret: &[u8],
) -> Result<(Box<dyn Duplex>, BytesMut), String> {
    let mut stream = dialer.connect().await.map_err(|error| error.to_string())?;
    let mut buffer = BytesMut::new();
    let greeting = timeout(GREETING_TIMEOUT, next(&mut stream, &mut buffer)).await;
    let nonce = match greeting.map_err(|_| "it says nothing".to_owned())?? {
        Frame::Info { nonce, .. } => nonce,
        _ => return Err("its first frame is no greeting".to_owned()),
    };
    let answer = codec::auth(ident, &codec::digest(&nonce, secret));
    stream.write_all(&answer).await.map_err(|error| error.to_string())?;
    Ok((stream, buffer))
}

/// The next frame.
pub(crate) async fn next(
    stream: &mut Box<dyn Duplex>,
    buffer: &mut BytesMut,
) -> Result<Frame, String> {
    loop {
        match codec::decode(buffer, MAX_FRAME_BYTES) {
            Ok(Some(Frame::Error(message))) => {
                let message = message.get(..MAX_ERROR_BYTES).unwrap_or(&message);
                return Err(format!("it says: {}", message.escape_ascii()));
            }
            Ok(Some(frame)) => return Ok(frame),
            Ok(None) => {}
            Err(error) => return Err(error.to_string()),
        }
        match stream.read_buf(buffer).await {
            Ok(0) => return Err("it closed the connection".to_owned()),
            Ok(_) => {}
            Err(error) => return Err(error.to_string()),
        }
    }
}

/// Listens until the connection ends; says why.
async fn listen(
    app: &App,
    config: &Subscription,
    dialer: &Dialer,
) -> Result<std::convert::Infallible, String> {
    let (file, variable) = (config.secret_file.clone(), config.secret_env.clone());
    let secret =
        tokio::task::spawn_blocking(move || read_secret(file.as_deref(), variable.as_deref()));
    let secret = secret.await.map_err(|error| error.to_string())??;
    let (mut stream, mut buffer) =
        sign_in(dialer, config.ident.as_bytes(), secret.as_bytes()).await?;
    for channel in &config.channels {
        let frame = codec::subscribe(config.ident.as_bytes(), channel.as_bytes());
        stream.write_all(&frame).await.map_err(|error| error.to_string())?;
    }
    stream.flush().await.map_err(|error| error.to_string())?;
    tracing::info!(broker = %config.name, "listening to an hpfeeds broker");
    let who = Principal::publisher(config.name.clone(), config.domain);
    loop {
        let mut frames = vec![next(&mut stream, &mut buffer).await?];
        // What else has come already; an error is met again by the next read.
        while frames.len() < BATCH_PAYLOADS {
            match codec::decode(&mut buffer, MAX_FRAME_BYTES) {
                Ok(Some(Frame::Error(message))) => {
                    let message = message.get(..MAX_ERROR_BYTES).unwrap_or(&message);
                    keep(app, &who, frames).await?;
                    return Err(format!("it says: {}", message.escape_ascii()));
                }
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) | Err(_) => break,
            }
        }
        keep(app, &who, frames).await?;
    }
}

/// Makes payloads durable; while the hub cannot take them, waits.
async fn keep(app: &App, who: &Principal, frames: Vec<Frame>) -> Result<(), String> {
    let metrics = &app.metrics.hpfeeds;
    let mut payloads = Vec::with_capacity(frames.len());
    for frame in frames {
        if let Frame::Publish { ident, channel, payload } = frame {
            metrics.received.fetch_add(1, Ordering::Relaxed);
            payloads.push(Payload { ident, channel, data: payload });
        }
    }
    let mut delivery = Delivery::read(app, who, &payloads).await?;
    drop(payloads);
    loop {
        match delivery.hand_over(app, who, None).await {
            Ok(()) => return Ok(()),
            Err(IngestError::Busy { retry_after_secs, .. }) => {
                count(&metrics.held_back);
                sleep(Duration::from_secs(retry_after_secs.into()).min(LONGEST_HOLD)).await;
            }
            Err(error) => return Err(error.to_string()),
        }
    }
}
