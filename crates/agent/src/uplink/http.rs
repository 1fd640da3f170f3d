//! The hub over HTTP/1.1: one connection that is kept, TLS unless the hub is
//! on this machine, batches compressed with zstd.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, DATE, HOST, HeaderMap, HeaderValue, RETRY_AFTER,
    USER_AGENT,
};
use http::{Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use jiff::fmt::rfc2822::DateTimePrinter;
use palisade_event::wire::{Receipt, encode_batch};
use rustls_pki_types::ServerName;
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;

use super::{SendError, Uplink, tls};
use crate::config::HubConfig;

/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest wait for the TLS handshake.
const TLS_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest wait for an answer, from the first byte of the request on.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest answer that is read, in bytes: a page of 1,000 events for
/// `palisade query` is the longest one.
const MAX_ANSWER_BYTES: usize = 64 * 1024 * 1024;
/// Longest key file, in bytes.
const MAX_KEY_BYTES: u64 = 4096;
/// Most of an error's text that is passed on, in characters.
const MAX_DETAIL_CHARS: usize = 300;
/// zstd level: more costs time and saves little on JSON.
const ZSTD_LEVEL: i32 = 1;

/// Where the hub is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    tls: bool,
    host: String,
    port: u16,
    /// `HOST[:PORT]` as in the address.
    authority: String,
    /// Path before `/api`, without a slash at its end.
    base: String,
}

impl Target {
    /// The name or address of the machine.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// Reads the address of a hub.
    ///
    /// # Errors
    /// One sentence that says what was expected.
    pub(crate) fn parse(url: &str) -> Result<Self, String> {
        let wrong = |rule: &str| format!("hub.url '{}' {rule}", url.escape_debug());
        let uri: Uri = url.parse().map_err(|_| wrong("is no address; write https://HOST:8443"))?;
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(wrong("must begin with https://")),
        };
        let authority = uri.authority().ok_or_else(|| wrong("has no host"))?;
        if authority.as_str().contains('@') {
            return Err(wrong("must not contain a user; the key belongs into hub.key_file"));
        }
        if uri.query().is_some() {
            return Err(wrong("must not contain a query"));
        }
        let host = authority.host();
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if host.is_empty() {
            return Err(wrong("has no host"));
        }
        let address: Option<IpAddr> = host.parse().ok();
        if !tls && host != "localhost" && !address.is_some_and(|address| address.is_loopback()) {
            return Err(wrong("must be https://; http:// is for loopback addresses alone"));
        }
        Ok(Self {
            tls,
            host: host.to_owned(),
            port: authority.port_u16().unwrap_or(if tls { 443 } else { 80 }),
            authority: authority.to_string(),
            base: uri.path().trim_end_matches('/').to_owned(),
        })
    }
}

/// The uplink cannot be set up, or a request failed.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The settings are wrong.
    #[error("{0}")]
    Config(String),
    /// The key file cannot be used.
    #[error("cannot use the key file {}: {reason}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// TLS cannot be set up.
    #[error("TLS: {0}")]
    Tls(String),
    /// No connection.
    #[error("cannot connect to {authority}: {reason}")]
    Connect {
        /// Where to.
        authority: String,
        /// Why not.
        reason: String,
    },
    /// The connection broke, or the answer did not come in time.
    #[error("{authority} did not answer: {reason}")]
    Answer {
        /// Who.
        authority: String,
        /// What happened.
        reason: String,
    },
}

/// A connection and the task that drives it.
struct Connection {
    sender: SendRequest<Full<Bytes>>,
    _driver: AbortOnDropHandle<()>,
}

/// Delivers to a hub over HTTP.
pub struct HttpUplink {
    target: Target,
    tls: Option<TlsConnector>,
    key_file: PathBuf,
    connection: Mutex<Option<Connection>>,
}

impl std::fmt::Debug for HttpUplink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpUplink").field("target", &self.target).finish_non_exhaustive()
    }
}

impl HttpUplink {
    /// Sets the uplink up; connects with the first request.
    ///
    /// # Errors
    /// [`HttpError`] where settings, key file or certificates cannot be used.
    pub fn new(config: &HubConfig) -> Result<Self, HttpError> {
        let target = Target::parse(&config.url).map_err(HttpError::Config)?;
        let pin =
            config.pin.as_deref().map(tls::parse_pin).transpose().map_err(HttpError::Config)?;
        let tls = match target.tls {
            true => {
                let client = tls::client(pin, config.ca_file.as_deref())?;
                Some(TlsConnector::from(Arc::new(client)))
            }
            false => None,
        };
        read_key(&config.key_file)?;
        Ok(Self { target, tls, key_file: config.key_file.clone(), connection: Mutex::new(None) })
    }

    /// Sends one request of the hub's API and reads the whole answer. Its path
    /// is that of the API (`/api/v1/…`); host, base path and key are added.
    ///
    /// # Errors
    /// [`HttpError`] where there is no answer. Whatever status the hub answers
    /// with is `Ok`.
    pub async fn request(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<(StatusCode, Bytes), HttpError> {
        let (status, _, body) = self.exchange(request).await?;
        Ok((status, body))
    }

    /// One request and its answer, on the kept connection or a new one.
    pub(super) async fn exchange(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<(StatusCode, HeaderMap, Bytes), HttpError> {
        let request = self.address(request)?;
        // One at a time: the lock is the queue for the one connection.
        let mut kept = self.connection.lock().await;
        // One that the hub has closed meanwhile says so when asked.
        let usable = match &mut *kept {
            Some(connection) => connection.sender.ready().await.is_ok(),
            None => false,
        };
        let mut connection = match kept.take() {
            Some(connection) if usable => connection,
            _ => self.connect().await?,
        };
        let answer = async {
            let answer = connection.sender.send_request(request).await?;
            let (head, body) = answer.into_parts();
            let body = Limited::new(body, MAX_ANSWER_BYTES).collect().await;
            Ok::<_, hyper::Error>((head, body.map(http_body_util::Collected::to_bytes)))
        };
        let failed =
            |reason: String| HttpError::Answer { authority: self.target.authority.clone(), reason };
        let (head, body) = match timeout(ANSWER_TIMEOUT, answer).await {
            Ok(Ok((head, Ok(body)))) => (head, body),
            Ok(Ok((_, Err(error)))) => return Err(failed(error.to_string())),
            Ok(Err(error)) => return Err(failed(chain(&error))),
            Err(_) => return Err(failed(format!("nothing for {} s", ANSWER_TIMEOUT.as_secs()))),
        };
        *kept = Some(connection);
        Ok((head.status, head.headers, body))
    }

    /// Adds what every request needs.
    fn address(&self, request: Request<Full<Bytes>>) -> Result<Request<Full<Bytes>>, HttpError> {
        let wrong = |error: http::Error| HttpError::Config(error.to_string());
        let (mut head, body) = request.into_parts();
        let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
        head.uri = format!("{}{path}", self.target.base)
            .parse()
            .map_err(|error: http::uri::InvalidUri| wrong(error.into()))?;
        let host =
            HeaderValue::from_str(&self.target.authority).map_err(|error| wrong(error.into()))?;
        head.headers.insert(HOST, host);
        head.headers.insert(AUTHORIZATION, read_key(&self.key_file)?);
        let agent = HeaderValue::from_static(concat!("palisade/", env!("CARGO_PKG_VERSION")));
        head.headers.insert(USER_AGENT, agent);
        // By it the hub sees that this clock is off.
        let now = DateTimePrinter::new().timestamp_to_rfc9110_string(&jiff::Timestamp::now());
        if let Some(now) = now.ok().and_then(|now| HeaderValue::from_str(&now).ok()) {
            head.headers.insert(DATE, now);
        }
        Ok(Request::from_parts(head, body))
    }

    async fn connect(&self) -> Result<Connection, HttpError> {
        let failed = |reason: String| HttpError::Connect {
            authority: self.target.authority.clone(),
            reason,
        };
        let address = (self.target.host.as_str(), self.target.port);
        let tcp = timeout(CONNECT_TIMEOUT, TcpStream::connect(address))
            .await
            .map_err(|_| failed("no connection within 10 s".to_owned()))?
            .map_err(|error| failed(error.to_string()))?;
        // Batches are written as a whole; waiting for more only delays them.
        tcp.set_nodelay(true).map_err(|error| failed(error.to_string()))?;
        let shake = |error: hyper::Error| failed(chain(&error));
        match &self.tls {
            None => {
                let (sender, driver) = http1::handshake(TokioIo::new(tcp)).await.map_err(shake)?;
                Ok(Connection { sender, _driver: drive(driver) })
            }
            Some(tls) => {
                let name = ServerName::try_from(self.target.host.clone())
                    .map_err(|_| failed("its name cannot be in a certificate".to_owned()))?;
                let stream = timeout(TLS_TIMEOUT, tls.connect(name, tcp))
                    .await
                    .map_err(|_| failed("no TLS handshake within 10 s".to_owned()))?
                    .map_err(|error| failed(error.to_string()))?;
                let (sender, driver) =
                    http1::handshake(TokioIo::new(stream)).await.map_err(shake)?;
                Ok(Connection { sender, _driver: drive(driver) })
            }
        }
    }
}

/// Drives a connection for as long as its handle lives.
fn drive(
    driver: impl Future<Output = Result<(), hyper::Error>> + Send + 'static,
) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(async move {
        if let Err(error) = driver.await {
            tracing::debug!(error = %error, "the connection to the hub ended");
        }
    }))
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

/// The key as a header. Read for every request, so that a new key needs no
/// restart; the file is one short line.
fn read_key(path: &Path) -> Result<HeaderValue, HttpError> {
    let wrong = |reason: String| HttpError::Key { path: path.to_owned(), reason };
    let metadata = std::fs::metadata(path).map_err(|error| wrong(error.to_string()))?;
    if metadata.len() > MAX_KEY_BYTES {
        return Err(wrong("it is too long for a key".to_owned()));
    }
    let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    let key = text.trim();
    if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(wrong("it must contain the key and nothing else".to_owned()));
    }
    let mut value = HeaderValue::from_str(&format!("Bearer {key}"))
        .map_err(|_| wrong("it must contain the key and nothing else".to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}

impl Uplink for HttpUplink {
    async fn send(&self, records: &[Vec<u8>]) -> Result<Receipt, SendError> {
        let body = encode_batch(records);
        let unreachable = |reason: String| SendError::Unreachable(reason);
        let body = tokio::task::spawn_blocking(move || zstd::bulk::compress(&body, ZSTD_LEVEL))
            .await
            .map_err(|error| unreachable(error.to_string()))?
            .map_err(|error| unreachable(error.to_string()))?;
        let request = Request::builder()
            .method(Method::POST)
            .uri("/api/v1/events")
            .header(CONTENT_TYPE, "application/json")
            .header(CONTENT_ENCODING, "zstd")
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| unreachable(error.to_string()))?;
        let (status, headers, body) = match self.exchange(request).await {
            Ok(answer) => answer,
            Err(error @ HttpError::Key { .. }) => {
                return Err(SendError::Unauthorised(error.to_string()));
            }
            Err(error) => return Err(unreachable(error.to_string())),
        };
        understand(status, &headers, &body, records.len())
    }
}

/// What the hub's answer means for the forwarder.
fn understand(
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
    sent: usize,
) -> Result<Receipt, SendError> {
    match status {
        StatusCode::OK => {
            let receipt: Receipt = serde_json::from_slice(body).map_err(|error| {
                SendError::Unreachable(format!("its answer is no receipt: {error}; check hub.url"))
            })?;
            let covered = u64::from(receipt.accepted)
                + u64::from(receipt.duplicate)
                + receipt.quarantined.len() as u64;
            // A receipt for something else must not free the spool.
            if covered != sent as u64 {
                return Err(SendError::Unreachable(format!(
                    "its receipt is for {covered} of {sent} events"
                )));
            }
            Ok(receipt)
        }
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            Err(SendError::Unauthorised(detail(status, body)))
        }
        StatusCode::PAYLOAD_TOO_LARGE => Err(SendError::TooLarge),
        StatusCode::BAD_REQUEST
        | StatusCode::UNSUPPORTED_MEDIA_TYPE
        | StatusCode::UNPROCESSABLE_ENTITY => Err(SendError::Malformed(detail(status, body))),
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            let seconds = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
            let seconds = seconds.and_then(|text| text.trim().parse().ok());
            Err(SendError::Refused { retry_after: seconds.map(Duration::from_secs) })
        }
        status if status.is_server_error() => Err(SendError::Refused { retry_after: None }),
        status => {
            let said = detail(status, body);
            Err(SendError::Unreachable(format!("it answered {said}; check hub.url")))
        }
    }
}

/// The words of a problem document (RFC 9457), or the status alone. Whoever
/// answers may not be a hub: escaped and cut.
fn detail(status: StatusCode, body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Problem {
        detail: Option<String>,
        title: Option<String>,
    }
    let problem: Option<Problem> = serde_json::from_slice(body).ok();
    match problem.and_then(|problem| problem.detail.or(problem.title)) {
        Some(text) => {
            let text: String = text.chars().take(MAX_DETAIL_CHARS).collect();
            format!("{status}: {}", palisade_event::Untrusted::from(text))
        }
        None => status.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_hubs_are_checked() {
        let target = Target::parse("https://hub.example:8443/palisade/").unwrap();
        assert_eq!((target.port, target.base.as_str()), (8443, "/palisade"));
        assert_eq!(Target::parse("https://hub.example").unwrap().port, 443);
        assert_eq!(Target::parse("http://[::1]:8080").unwrap().host, "::1");
        for (url, word) in [
            ("http://hub.example", "loopback"),
            ("http://192.0.2.1:1", "loopback"),
            ("ftp://x", "https://"),
            ("hub.example:8443", "https://"),
            ("https://u:p@hub.example", "key_file"),
            ("https://hub.example/?a=b", "query"),
            ("", "no address"),
        ] {
            let mistake = Target::parse(url).unwrap_err();
            assert!(mistake.contains(word), "{url}: {mistake}");
        }
    }

    #[test]
    fn answers_decide_what_happens_next() {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, HeaderValue::from_static("7"));
        let say = |status: u16, body: &str| {
            let status = StatusCode::from_u16(status).unwrap();
            understand(status, &headers, body.as_bytes(), 2)
        };
        assert_eq!(say(200, r#"{"accepted":1,"duplicate":1}"#).unwrap().accepted, 1);
        assert!(matches!(
            say(200, r#"{"accepted":1,"duplicate":0}"#),
            Err(SendError::Unreachable(_))
        ));
        assert!(matches!(say(200, "<html>"), Err(SendError::Unreachable(_))));
        assert!(matches!(say(401, ""), Err(SendError::Unauthorised(_))));
        assert!(matches!(say(413, ""), Err(SendError::TooLarge)));
        assert!(matches!(say(422, ""), Err(SendError::Malformed(_))));
        let asked = Some(Duration::from_secs(7));
        assert_eq!(say(503, ""), Err(SendError::Refused { retry_after: asked }));
        assert_eq!(say(500, ""), Err(SendError::Refused { retry_after: None }));
        assert!(matches!(say(404, ""), Err(SendError::Unreachable(_))));
        let said = say(400, r#"{"title":"Bad Request","detail":"field \u001b[31m"}"#);
        let Err(SendError::Malformed(said)) = said else { panic!("{said:?}") };
        assert_eq!(said, r"400 Bad Request: field \u{1b}[31m");
    }

    #[test]
    fn a_key_file_has_a_key_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        assert!(read_key(&path).is_err());
        for (text, good) in [("pal_abc\n", true), ("", false), ("a b", false), ("a\nb", false)] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(read_key(&path).is_ok(), good, "{text:?}");
        }
        std::fs::write(&path, "pal_secret").unwrap();
        assert!(!format!("{:?}", read_key(&path).unwrap()).contains("secret"));
    }
}
