//! How a management command reaches a hub: through the Unix socket of the one
//! that runs on this data directory, over HTTPS with a key, or, where none
//! runs, by opening the files in this process. Always the same HTTP API.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use http::{Method, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use palisade_event::wire::Receipt;
use serde_json::Value;
use tower::ServiceExt as _;

use crate::args::ReachArgs;
use crate::settings::Settings;

/// The request of all three ways.
type Request = http::Request<Full<Bytes>>;

/// Longest wait for an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// Longest answer that is read, in bytes.
const MAX_TEXT_BYTES: usize = 64 * 1024 * 1024;
/// How long events of a spool are waited for while none of them is stored.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Pause between two looks at a spool.
const SETTLE_PAUSE: Duration = Duration::from_millis(20);
/// Tries of a delivery, up to half a minute apart.
const DELIVERY_TRIES: u32 = 10;

/// An answer did not come.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TextError {
    /// The hub refuses; it will again.
    #[error("{0}")]
    Refused(String),
    /// It may come when asked again, or when asked for less.
    #[error("{0}")]
    Failed(String),
}

impl TextError {
    /// Whether asking again is of no use.
    pub(crate) fn is_final(&self) -> bool {
        matches!(self, Self::Refused(_))
    }
}

/// What the hub says of an error.
fn said(status: StatusCode, answer: &[u8]) -> String {
    let value: Value = serde_json::from_slice(answer).unwrap_or_default();
    let said = value.get("detail").or_else(|| value.get("title"));
    said.and_then(Value::as_str).unwrap_or(status.as_str()).to_owned()
}

/// Reads a body, bounded.
async fn collect<B>(body: B) -> anyhow::Result<Bytes>
where
    B: hyper::body::Body,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let whole = Limited::new(body, MAX_TEXT_BYTES).collect().await;
    Ok(whole.map_err(|error| anyhow::anyhow!(error))?.to_bytes())
}

/// A way to a hub.
pub(crate) enum Reach {
    /// The hub that runs on this data directory.
    Socket(PathBuf),
    /// A hub elsewhere.
    Remote(Box<palisade_agent::HttpUplink>),
    /// The files of a stopped hub, opened here.
    Files { hub: palisade_hub::Hub, router: Box<palisade_api::Router> },
}

impl Reach {
    /// Finds the way that the arguments and the data directory allow.
    ///
    /// # Errors
    /// No hub can be reached and the files cannot be opened.
    pub(crate) async fn find(settings: &Settings, args: &ReachArgs) -> anyhow::Result<Self> {
        if let (Some(url), Some(key_file)) = (&args.hub, &args.key_file) {
            let hub = palisade_agent::HubConfig {
                url: url.clone(),
                key_file: key_file.clone(),
                pin: args.pin.clone(),
                ..Default::default()
            };
            let uplink = palisade_agent::HttpUplink::new(&hub)?;
            return Ok(Self::Remote(Box::new(uplink)));
        }
        let socket = settings.data_dir().join("palisade.sock");
        if tokio::net::UnixStream::connect(&socket).await.is_ok() {
            return Ok(Self::Socket(socket));
        }
        let mut config = settings.hub.clone();
        // Whoever waits for an answer is told at once that a server is away.
        config.state.start_wait_secs = 0;
        let hub = palisade_hub::Hub::open(&settings.data_dir(), &config).await?;
        let router = palisade_api::local_router(&hub, &settings.api);
        Ok(Self::Files { hub, router: Box::new(router) })
    }

    /// Sends one request and reads the answer as JSON (`null` where empty).
    ///
    /// # Errors
    /// The hub's own words where it refuses.
    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<Value> {
        let bytes = body.map(|value| value.to_string().into_bytes()).unwrap_or_default();
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "localhost")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(bytes)))
            .context("the request cannot be built")?;
        let (status, answer) = tokio::time::timeout(ANSWER_TIMEOUT, self.send(request))
            .await
            .context("the hub did not answer within 60 s; look at its log")??;
        let value: Value = if answer.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(&answer)
                .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&answer).into_owned()))
        };
        if status.is_success() {
            return Ok(value);
        }
        bail!("{}", said(status, &answer))
    }

    /// Reads an answer as it is, at most [`MAX_TEXT_BYTES`] of it.
    ///
    /// # Errors
    /// [`TextError`]
    pub(crate) async fn text(&self, path: &str) -> Result<Bytes, TextError> {
        let request = http::Request::builder()
            .uri(path)
            .header(header::HOST, "localhost")
            .body(Full::new(Bytes::new()))
            .map_err(|error| TextError::Refused(error.to_string()))?;
        let answer = tokio::time::timeout(ANSWER_TIMEOUT, self.send(request)).await;
        let failed = |error: anyhow::Error| TextError::Failed(format!("{error:#}"));
        let (status, text) = answer.map_err(|error| failed(error.into()))?.map_err(failed)?;
        if status.is_success() {
            return Ok(text);
        }
        let said = said(status, &text);
        let again = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
        Err(if again { TextError::Failed(said) } else { TextError::Refused(said) })
    }

    /// Delivers a batch of events (JSON of the wire form) and waits until they
    /// are durable; while the hub is full or away, tries again.
    ///
    /// # Errors
    /// The hub refuses, or cannot be reached for long.
    pub(crate) async fn deliver(&self, path: &str, batch: &[u8]) -> anyhow::Result<Receipt> {
        self.deliver_as(path, "application/json", batch).await
    }

    /// The same with a body and a receipt of another form.
    ///
    /// # Errors
    /// See [`Self::deliver`].
    pub(crate) async fn deliver_as<T: serde::de::DeserializeOwned>(
        &self,
        path: &str,
        content_type: &'static str,
        batch: &[u8],
    ) -> anyhow::Result<T> {
        let packed = Bytes::from(zstd::encode_all(batch, 1).context("cannot pack a batch")?);
        let mut tries = 0;
        loop {
            let request = http::Request::builder()
                .method(Method::POST)
                .uri(path)
                .header(header::HOST, "localhost")
                .header(header::CONTENT_TYPE, content_type)
                .header(header::CONTENT_ENCODING, "zstd")
                .body(Full::new(packed.clone()))
                .context("the request cannot be built")?;
            let why = match tokio::time::timeout(ANSWER_TIMEOUT, self.send(request)).await {
                Ok(Ok((status, answer))) if status.is_success() => {
                    return serde_json::from_slice(&answer).context("the hub sent no receipt");
                }
                Ok(Ok((status, answer))) => {
                    let said = said(status, &answer);
                    if !status.is_server_error() && status != StatusCode::TOO_MANY_REQUESTS {
                        bail!("{said}");
                    }
                    said
                }
                Ok(Err(error)) => format!("{error:#}"),
                Err(_) => "no answer within 60 s".to_owned(),
            };
            tries += 1;
            if tries >= DELIVERY_TRIES {
                bail!("{why}");
            }
            tokio::time::sleep(Duration::from_secs(1 << tries.min(5))).await;
        }
    }

    async fn send(&self, request: Request) -> anyhow::Result<(StatusCode, Bytes)> {
        match self {
            Self::Socket(path) => {
                let stream = tokio::net::UnixStream::connect(path)
                    .await
                    .with_context(|| format!("cannot reach the hub at {}", path.display()))?;
                let (mut sender, connection) =
                    hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
                let driver = tokio::spawn(connection);
                let answer = sender.send_request(request).await?;
                let status = answer.status();
                let bytes = collect(answer.into_body()).await?;
                driver.abort();
                Ok((status, bytes))
            }
            Self::Remote(uplink) => Ok(uplink.request(request).await?),
            Self::Files { router, .. } => {
                let answer = router.as_ref().clone().oneshot(request).await?;
                let status = answer.status();
                Ok((status, collect(answer.into_body()).await?))
            }
        }
    }

    /// Waits until what was acknowledged can be found: a hub that was stopped
    /// may have had events in its spool, which opening its files stores.
    pub(crate) async fn settle(&self) {
        let Self::Files { hub, .. } = self else { return };
        let mut last = (u64::MAX, Instant::now());
        loop {
            let pending = hub.status().spool.pending_records;
            if pending < last.0 {
                last = (pending, Instant::now());
            }
            if pending == 0 || last.1.elapsed() > SETTLE_TIMEOUT {
                return;
            }
            tokio::time::sleep(SETTLE_PAUSE).await;
        }
    }

    /// Ends what was opened; with files, after everything is on disk.
    pub(crate) async fn close(self) {
        if let Self::Files { hub, router } = self {
            drop(router);
            hub.close().await;
        }
    }
}
