//! How a management command reaches a hub: through the Unix socket of the one
//! that runs on this data directory, over HTTPS with a key, or, where none
//! runs, by opening the files in this process. Always the same HTTP API.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use http::{Method, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tower::ServiceExt as _;

use crate::args::ReachArgs;
use crate::settings::Settings;

/// The request of all three ways.
type Request = http::Request<Full<Bytes>>;

/// Longest wait for an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

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
        let hub = palisade_hub::Hub::open(&settings.data_dir(), &settings.hub).await?;
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
        let said = value.get("detail").or_else(|| value.get("title"));
        bail!("{}", said.and_then(Value::as_str).unwrap_or(status.as_str()))
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
                let bytes = answer.into_body().collect().await?.to_bytes();
                driver.abort();
                Ok((status, bytes))
            }
            Self::Remote(uplink) => Ok(uplink.request(request).await?),
            Self::Files { router, .. } => {
                let answer = router.as_ref().clone().oneshot(request).await?;
                let status = answer.status();
                let bytes = answer.into_body().collect().await?.to_bytes();
                Ok((status, bytes))
            }
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
