//! One connection to the broker, from the nonce to the end.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::BytesMut;
use palisade_hub::IngestError;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, WriteHalf};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::broker::{Broker, Rights};
use super::codec::{self, Frame, MAX_FRAME_BYTES, NONCE_BYTES};
use super::count;
use super::delivery::{Delivery, Payload};
use super::subscriber::{Queue, Subscriber};

/// Longest frame of who has not signed in, in bytes.
const MAX_STRANGER_FRAME_BYTES: usize = 5 + 256 + 20;
/// Payloads that are made durable at once.
const BATCH_PAYLOADS: usize = 512;
/// Bytes of payloads after which they are made durable.
const BATCH_BYTES: usize = 1024 * 1024;
/// Bytes that are read at once.
const READ_BYTES: usize = 64 * 1024;
/// Frames that are written at once.
const WRITE_FRAMES: usize = 64;
/// A client that takes no byte for so long is gone.
const SEND_STALL: Duration = Duration::from_secs(60);
/// How long an error frame may take.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// Longest wait until the hub is asked again.
const LONGEST_HOLD: Duration = Duration::from_secs(5);

/// Why a connection ends.
enum End {
    /// The client left, or the broker stops.
    Quiet,
    /// The client did what it may not; it is told.
    Refused(String),
    Io(io::Error),
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<codec::FrameError> for End {
    fn from(error: codec::FrameError) -> Self {
        Self::Refused(error.to_string())
    }
}

/// Serves one connection to its end.
pub(crate) async fn serve<S>(
    stream: S,
    peer: IpAddr,
    broker: Arc<Broker>,
    cancel: CancellationToken,
) where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let metrics = &broker.app.metrics.hpfeeds;
    metrics.open.fetch_add(1, Ordering::Relaxed);
    let (reading, writing) = tokio::io::split(stream);
    let mut session =
        Session { broker: Arc::clone(&broker), peer, reading, buffer: BytesMut::new(), cancel };
    let (end, writing) = session.run(writing).await;
    if let End::Refused(reason) = &end {
        count(&metrics.refused);
        tracing::debug!(%peer, %reason, "hpfeeds connection refused");
        if let Some(mut writing) = writing {
            let last = async {
                writing.write_all(&codec::error(reason)).await?;
                writing.shutdown().await?;
                // What is not read would reset the connection, and the words
                // would be lost on their way.
                let mut rest = vec![0; READ_BYTES];
                while session.reading.read(&mut rest).await? > 0 {}
                Ok::<_, io::Error>(())
            };
            let _ = timeout(LAST_WORDS, last).await;
        }
    } else if let End::Io(error) = &end {
        tracing::debug!(%peer, %error, "hpfeeds connection ended");
    }
    metrics.open.fetch_sub(1, Ordering::Relaxed);
}

struct Session<R> {
    broker: Arc<Broker>,
    peer: IpAddr,
    reading: R,
    buffer: BytesMut,
    cancel: CancellationToken,
}

impl<R: AsyncRead + Unpin> Session<R> {
    /// Runs to the end; gives the way out back where nobody else has it, so that
    /// the client can be told why.
    async fn run<S>(&mut self, mut writing: WriteHalf<S>) -> (End, Option<WriteHalf<S>>)
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        let rights = match self.sign_in(&mut writing).await {
            Ok(rights) => rights,
            Err(end) => return (end, Some(writing)),
        };
        let metrics = &self.broker.app.metrics.hpfeeds;
        count(&metrics.signed_in);
        let broker = Arc::clone(&self.broker);
        let (number, subscriber, queue) = broker.subscribers.add(rights.who.clone());
        let too_slow = subscriber.too_slow.clone();
        let stop = CancellationToken::new();
        let writer = AbortOnDropHandle::new(tokio::spawn(write(writing, queue, stop.clone())));
        let end = tokio::select! {
            end = self.listen(&rights, &subscriber) => end,
            () = too_slow.cancelled() => End::Refused("too slow".to_owned()),
        };
        broker.subscribers.remove(number);
        drop(subscriber);
        stop.cancel();
        // What is being written is finished first, so that an error frame does
        // not land within another.
        let writing = timeout(LAST_WORDS, writer).await.ok().and_then(Result::ok).flatten();
        (end, writing)
    }

    async fn sign_in<W: AsyncWrite + Unpin>(
        &mut self,
        writing: &mut W,
    ) -> Result<Arc<Rights>, End> {
        let secs = self.broker.app.config.limits.handshake_secs;
        let cancel = self.cancel.clone();
        let work = async {
            if self.broker.is_barred(self.peer) {
                return Err(End::Refused("too many wrong secrets; try again later".to_owned()));
            }
            let nonce: [u8; NONCE_BYTES] = rand::random();
            writing.write_all(&codec::info(&self.broker.name, nonce)).await?;
            writing.flush().await?;
            let frame = loop {
                if let Some(frame) = codec::decode(&mut self.buffer, MAX_STRANGER_FRAME_BYTES)? {
                    break frame;
                }
                if self.reading.read_buf(&mut self.buffer).await? == 0 {
                    return Err(End::Quiet);
                }
            };
            let Frame::Auth { ident, digest } = frame else {
                return Err(End::Refused("sign in first".to_owned()));
            };
            self.broker.sign_in(self.peer, &ident, &nonce, &digest).ok_or_else(|| {
                End::Refused(format!("authentication failed for {}", ident.escape_ascii()))
            })
        };
        tokio::select! {
            done = timeout(Duration::from_secs(secs), work) => match done {
                Ok(done) => done,
                Err(_) => Err(End::Refused(format!("not signed in within {secs} s"))),
            },
            () = cancel.cancelled() => Err(End::Quiet),
        }
    }

    /// Reads what the client has to say until it leaves.
    async fn listen(&mut self, rights: &Rights, subscriber: &Subscriber) -> End {
        let mut batch: Vec<Payload> = Vec::new();
        let mut bytes = 0;
        loop {
            let frame = match codec::decode(&mut self.buffer, MAX_FRAME_BYTES) {
                Ok(frame) => frame,
                Err(error) => {
                    // What was well-formed before it counts.
                    self.publish(rights, &mut batch).await;
                    return error.into();
                }
            };
            let Some(frame) = frame else {
                if !self.publish(rights, &mut batch).await {
                    return End::Quiet;
                }
                bytes = 0;
                self.buffer.reserve(READ_BYTES);
                let read = tokio::select! {
                    biased;
                    () = self.cancel.cancelled() => return End::Quiet,
                    read = self.reading.read_buf(&mut self.buffer) => read,
                };
                match read {
                    Ok(0) => return End::Quiet,
                    Ok(_) => continue,
                    Err(error) => return error.into(),
                }
            };
            let allowed = match frame {
                Frame::Publish { ident, channel, payload } => {
                    rights.may_publish(&ident, &channel).map(|()| {
                        bytes += payload.len();
                        batch.push(Payload { ident, channel, data: payload });
                    })
                }
                Frame::Subscribe { ident, channel } => rights
                    .may_subscribe(&ident, &channel)
                    .and_then(|pattern| match subscriber.subscribe(pattern) {
                        true => Ok(()),
                        false => Err("too many subscriptions".to_owned()),
                    }),
                Frame::Unsubscribe { ident, channel } => rights
                    .may_subscribe(&ident, &channel)
                    .map(|pattern| subscriber.unsubscribe(&pattern)),
                Frame::Error(_) | Frame::Info { .. } | Frame::Auth { .. } => {
                    Err("unexpected frame".to_owned())
                }
            };
            if let Err(reason) = allowed {
                self.publish(rights, &mut batch).await;
                return End::Refused(reason);
            }
            if batch.len() >= BATCH_PAYLOADS || bytes >= BATCH_BYTES {
                if !self.publish(rights, &mut batch).await {
                    return End::Quiet;
                }
                bytes = 0;
            }
        }
    }

    /// Makes payloads durable as events, then hands them on. While the hub
    /// cannot take them, waits, and so reads nothing. `false` where the broker
    /// stops first.
    async fn publish(&self, rights: &Rights, batch: &mut Vec<Payload>) -> bool {
        if batch.is_empty() {
            return true;
        }
        let payloads = std::mem::take(batch);
        let (app, metrics) = (&self.broker.app, &self.broker.app.metrics.hpfeeds);
        let mut delivery = match Delivery::read(app, &rights.who, &payloads).await {
            Ok(delivery) => delivery,
            Err(reason) => {
                tracing::error!(%reason, "payloads of hpfeeds cannot be read");
                return false;
            }
        };
        loop {
            let wait = match delivery.hand_over(app, &rights.who, Some(self.peer)).await {
                Ok(()) => break,
                Err(IngestError::Busy { reason, retry_after_secs }) => {
                    count(&metrics.held_back);
                    tracing::debug!(%reason, "an hpfeeds publisher is held back");
                    Duration::from_secs(retry_after_secs.into()).min(LONGEST_HOLD)
                }
                Err(error) => {
                    tracing::error!(%error, "payloads of hpfeeds are not taken");
                    return false;
                }
            };
            tokio::select! {
                () = sleep(wait) => {}
                () = self.cancel.cancelled() => return false,
            }
        }
        metrics.published.fetch_add(payloads.len() as u64, Ordering::Relaxed);
        for Payload { channel, data, .. } in payloads {
            if self.broker.subscribers.is_wanted(&channel) {
                let frame = codec::publish(&rights.ident, &channel, &data);
                self.broker.subscribers.relay(&channel, rights.domain, &frame, metrics);
            }
        }
        true
    }
}

/// Writes what is queued until told to stop; gives the stream back.
async fn write<W: AsyncWrite + Unpin>(
    mut writing: W,
    mut queue: Queue,
    stop: CancellationToken,
) -> Option<W> {
    loop {
        let frames = tokio::select! {
            biased;
            () = stop.cancelled() => return Some(writing),
            frames = queue.next(WRITE_FRAMES) => frames?,
        };
        for frame in frames {
            let length = frame.len();
            let written = async {
                writing.write_all(&frame).await?;
                writing.flush().await
            };
            match timeout(SEND_STALL, written).await {
                Ok(Ok(())) => queue.written(length),
                Ok(Err(_)) | Err(_) => return None,
            }
            if stop.is_cancelled() {
                return Some(writing);
            }
        }
    }
}
