//! One POST over HTTP/1.1, on a connection that is kept.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use palisade_hub::{OutboundConfig, SendError};
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use crate::dial::Dialer;
use crate::serve::ClientTls;

/// Longest wait for an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest answer that is read, in bytes.
const MAX_ANSWER_BYTES: usize = 256 * 1024;

/// A web server that is posted to.
pub(super) struct Post {
    dialer: Dialer,
    authority: HeaderValue,
    path: String,
    connection: Option<(SendRequest<Full<Bytes>>, AbortOnDropHandle<()>)>,
}

impl Post {
    /// A server by its address; `default_path` where the address has none.
    ///
    /// # Errors
    /// One sentence that says what is wrong with the address.
    pub(super) fn new(
        config: &OutboundConfig,
        default_path: &str,
        tls: &ClientTls,
    ) -> Result<Self, String> {
        let url = config.url();
        let wrong = |rule: &str| format!("url '{}' {rule}", url.escape_debug());
        let uri: Uri = url.parse().map_err(|_| wrong("is no address; write https://HOST/PATH"))?;
        let speaks_tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(wrong("must begin with https://")),
        };
        let authority = uri.authority().ok_or_else(|| wrong("has no host"))?;
        if authority.as_str().contains('@') {
            return Err(wrong("must not contain a user"));
        }
        let local = |host: &str| {
            let host = host.trim_start_matches('[').trim_end_matches(']');
            host == "localhost" || host.parse().is_ok_and(|a: std::net::IpAddr| a.is_loopback())
        };
        let anywhere = config.webhook.as_ref().is_some_and(|hook| hook.allow_http);
        if !speaks_tls && !anywhere && !local(authority.host()) {
            return Err(wrong("must be https://; http:// is for loopback addresses alone"));
        }
        let port = authority.port_u16().unwrap_or(if speaks_tls { 443 } else { 80 });
        let tls = match speaks_tls {
            true => Some(tls(config.pin.as_deref(), config.ca_file.as_deref())?),
            false => None,
        };
        let path = match uri.path_and_query().map_or("/", |path| path.as_str()) {
            "/" => default_path.to_owned(),
            path => path.to_owned(),
        };
        Ok(Self {
            dialer: Dialer::new(&format!("{}:{port}", authority.host()), tls)?,
            authority: HeaderValue::from_str(authority.as_str())
                .map_err(|_| wrong("has no host"))?,
            path,
            connection: None,
        })
    }

    /// Sends a body and reads the answer.
    ///
    /// # Errors
    /// [`SendError::Later`] where there is no answer.
    pub(super) async fn send(
        &mut self,
        content_type: &'static str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<(StatusCode, Bytes), SendError> {
        let (head, body) = self.exchange(content_type, headers, body).await?;
        Ok((head.status, body.map_err(SendError::later)?))
    }

    /// Sends a body and reads the head of the answer; of its body only so much
    /// that the connection can be kept. Redirects are not followed.
    ///
    /// # Errors
    /// [`SendError::Later`] where there is no answer.
    pub(super) async fn tell(
        &mut self,
        content_type: &'static str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<(StatusCode, HeaderMap), SendError> {
        let (head, _) = self.exchange(content_type, headers, body).await?;
        Ok((head.status, head.headers))
    }

    async fn exchange(
        &mut self,
        content_type: &'static str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<(http::response::Parts, Result<Bytes, String>), SendError> {
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(self.path.as_str())
            .body(Full::new(body))
            .map_err(|error| SendError::later(error.to_string()))?;
        let target = request.headers_mut();
        *target = headers;
        target.insert(HOST, self.authority.clone());
        target.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        let agent = HeaderValue::from_static(concat!("palisade/", env!("CARGO_PKG_VERSION")));
        target.insert(USER_AGENT, agent);
        let work = async {
            let (mut sender, driver) = self.connected().await?;
            let failed = |error: hyper::Error| SendError::later(error.to_string());
            let answer = sender.send_request(request).await.map_err(failed)?;
            let (head, body) = answer.into_parts();
            let body = Limited::new(body, MAX_ANSWER_BYTES).collect().await;
            let body = body.map(|body| body.to_bytes()).map_err(|error| error.to_string());
            if body.is_ok() {
                self.connection = Some((sender, driver));
            }
            Ok((head, body))
        };
        timeout(ANSWER_TIMEOUT, work)
            .await
            .map_err(|_| SendError::later("no answer within 60 s"))?
    }

    /// The kept connection if it still works, else a new one.
    async fn connected(
        &mut self,
    ) -> Result<(SendRequest<Full<Bytes>>, AbortOnDropHandle<()>), SendError> {
        if let Some((mut sender, driver)) = self.connection.take()
            && sender.ready().await.is_ok()
        {
            return Ok((sender, driver));
        }
        let stream = self.dialer.connect().await;
        let stream = stream.map_err(|error| SendError::later(error.to_string()))?;
        let (sender, driver) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| SendError::later(error.to_string()))?;
        let driver = tokio::spawn(async move {
            if let Err(error) = driver.await {
                tracing::debug!(%error, "a connection to a target ended");
            }
        });
        Ok((sender, AbortOnDropHandle::new(driver)))
    }
}
