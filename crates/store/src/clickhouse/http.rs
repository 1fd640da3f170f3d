//! ClickHouse's HTTP interface: one request and its answer, with time limits,
//! and another server where one does not answer. Blocks.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ureq::tls::{RootCerts, TlsConfig, TlsProvider};

use super::config::ClickHouseConfig;
use super::rows::Rows;
use crate::OpenError;

/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long one request may take in all; the server gives up before.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(90);
/// How long a question may take that costs the server nothing.
const QUICK_TIMEOUT: Duration = Duration::from_secs(10);
/// Servers close silent connections after 3 s; one is not used again past this.
const IDLE_CONNECTION: Duration = Duration::from_secs(2);
/// What of an error's text is kept, in bytes.
const MAX_ERROR_BYTES: u64 = 64 * 1024;
/// The error of a replica that lacks what a quorum of others has; another one has it.
const REPLICA_IS_BEHIND: u32 = 289;
/// Characters of it that are shown.
const SHOWN_ERROR_CHARS: usize = 400;

/// Why there is no answer, by what may have happened at the server.
#[derive(Clone, Debug)]
pub(super) enum Fault {
    /// No server was reached: nothing was done.
    Unreachable(String),
    /// The connection was lost or the answer did not come in time: it may have been done.
    Lost(String),
    /// The server says no: its error code and words.
    Refused(u32, String),
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unreachable(reason) | Self::Lost(reason) | Self::Refused(_, reason) => {
                f.write_str(reason)
            }
        }
    }
}

/// A setting of one request.
pub(super) type Setting = (&'static str, String);
/// An answer that is being read.
pub(super) type Answer = Rows<Box<dyn Read + Send + Sync>>;

/// The servers, and how to sign in.
pub(super) struct Http {
    agent: ureq::Agent,
    urls: Vec<String>,
    user: String,
    password: Option<String>,
    /// The server that answered last.
    current: AtomicUsize,
}

impl Http {
    pub(super) fn new(config: &ClickHouseConfig) -> Result<Self, OpenError> {
        let password = match &config.password_file {
            None => None,
            Some(path) => {
                let text = std::fs::read_to_string(path).map_err(|error| OpenError {
                    path: path.clone(),
                    reason: format!("the password file of ClickHouse cannot be read: {error}"),
                })?;
                Some(text.trim_end_matches(['\r', '\n']).to_owned())
            }
        };
        let tls = TlsConfig::builder()
            .provider(TlsProvider::Rustls)
            .root_certs(RootCerts::PlatformVerifier)
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .build();
        let agent = ureq::Agent::config_builder()
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .max_idle_age(IDLE_CONNECTION)
            .http_status_as_error(false)
            .proxy(None)
            .tls_config(tls)
            .build()
            .into();
        let urls = config.urls.iter().map(|url| url.trim_end_matches('/').to_owned()).collect();
        Ok(Self { agent, urls, user: config.user.clone(), password, current: AtomicUsize::new(0) })
    }

    pub(super) fn servers(&self) -> &[String] {
        &self.urls
    }

    /// The server that answered last.
    pub(super) fn reached(&self) -> Option<String> {
        let place = self.current.load(Ordering::Relaxed) % self.urls.len().max(1);
        self.urls.get(place).cloned()
    }

    /// Asks, and begins to read the answer (RowBinary). Goes on to the next
    /// server where one does not answer.
    pub(super) fn ask(&self, sql: &str, settings: &[Setting]) -> Result<Answer, Fault> {
        self.ask_within(REQUEST_TIMEOUT, sql, settings)
    }

    /// Asks something that takes no time; whether a server is there shows soon.
    pub(super) fn ask_quick(&self, sql: &str, settings: &[Setting]) -> Result<Answer, Fault> {
        self.ask_within(QUICK_TIMEOUT, sql, settings)
    }

    fn ask_within(
        &self,
        limit: Duration,
        sql: &str,
        settings: &[Setting],
    ) -> Result<Answer, Fault> {
        let first = self.current.load(Ordering::Relaxed);
        let mut fault = Fault::Unreachable("no server is configured".to_owned());
        for step in 0..self.urls.len() {
            let place = (first + step) % self.urls.len();
            let Some(url) = self.urls.get(place) else { continue };
            match self.post(limit, url, None, sql.as_bytes(), settings) {
                Ok(answer) => {
                    self.current.store(place, Ordering::Relaxed);
                    return Ok(answer);
                }
                Err(refused @ Fault::Refused(code, _)) if code != REPLICA_IS_BEHIND => {
                    return Err(refused);
                }
                // What a server said is worth more than that another one is silent.
                Err(_) if matches!(fault, Fault::Refused(..)) => {}
                Err(other) => fault = other,
            }
        }
        Err(fault)
    }

    /// Asks one server.
    pub(super) fn ask_at(
        &self,
        url: &str,
        sql: &str,
        settings: &[Setting],
    ) -> Result<Answer, Fault> {
        self.post(REQUEST_TIMEOUT, url, None, sql.as_bytes(), settings)
    }

    /// Does something (`sql`, and what it takes as `body`), once: only where no
    /// server was reached another is tried.
    pub(super) fn tell(&self, sql: &str, body: &[u8], settings: &[Setting]) -> Result<(), Fault> {
        let first = self.current.load(Ordering::Relaxed);
        let mut fault = Fault::Unreachable("no server is configured".to_owned());
        for step in 0..self.urls.len() {
            let place = (first + step) % self.urls.len();
            let Some(url) = self.urls.get(place) else { continue };
            match self.post(REQUEST_TIMEOUT, url, Some(sql), body, settings) {
                Ok(mut answer) => {
                    self.current.store(place, Ordering::Relaxed);
                    return answer.more().map(drop).map_err(|error| lost(url, &error));
                }
                Err(Fault::Unreachable(reason)) => fault = Fault::Unreachable(reason),
                Err(other) => {
                    // The next attempt begins at another server.
                    if matches!(other, Fault::Lost(_)) {
                        self.current.store(place + 1, Ordering::Relaxed);
                    }
                    return Err(other);
                }
            }
        }
        Err(fault)
    }

    fn post(
        &self,
        limit: Duration,
        url: &str,
        sql: Option<&str>,
        body: &[u8],
        settings: &[Setting],
    ) -> Result<Answer, Fault> {
        let request = self.agent.post(format!("{url}/"));
        let request = request.config().timeout_global(Some(limit)).build();
        let mut request = request.header("X-ClickHouse-User", &self.user);
        if let Some(password) = &self.password {
            request = request.header("X-ClickHouse-Key", password);
        }
        if let Some(sql) = sql {
            request = request.query("query", sql);
        }
        for (name, value) in settings {
            request = request.query(*name, value);
        }
        let response = request.send(body).map_err(|error| {
            let reason = format!("ClickHouse at {url} does not answer: {error}");
            match error {
                ureq::Error::ConnectionFailed
                | ureq::Error::HostNotFound
                | ureq::Error::Tls(_)
                | ureq::Error::Rustls(_)
                | ureq::Error::Timeout(ureq::Timeout::Connect | ureq::Timeout::Resolve) => {
                    Fault::Unreachable(reason)
                }
                ureq::Error::Io(io) if io.kind() == std::io::ErrorKind::ConnectionRefused => {
                    Fault::Unreachable(reason)
                }
                _ => Fault::Lost(reason),
            }
        })?;
        if response.status().is_success() {
            let body: Box<dyn Read + Send + Sync> = Box::new(response.into_body().into_reader());
            return Ok(Rows::new(body));
        }
        let status = response.status().as_u16();
        let mut text = Vec::new();
        let reader = response.into_body().into_reader();
        reader.take(MAX_ERROR_BYTES).read_to_end(&mut text).map_err(|error| lost(url, &error))?;
        Err(self.refusal(url, status, &String::from_utf8_lossy(&text)))
    }

    fn refusal(&self, url: &str, status: u16, text: &str) -> Fault {
        let code = text
            .strip_prefix("Code: ")
            .and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next())
            .and_then(|digits| digits.parse().ok())
            .unwrap_or(0);
        // Unknown user, wrong password, password required, authentication failed.
        if matches!(code, 192..=194 | 516) {
            let reason = format!(
                "ClickHouse at {url} refuses the user '{}'; check user and password_file",
                self.user
            );
            return Fault::Refused(code, reason);
        }
        let words = text.trim();
        let words = words.split_once("e.displayText() = ").map_or(words, |(_, words)| words);
        let words = words.split(", Stack trace").next().unwrap_or(words);
        let words: String =
            words.chars().take(SHOWN_ERROR_CHARS).flat_map(char::escape_debug).collect();
        Fault::Refused(code, format!("ClickHouse at {url} says ({status}): {words}"))
    }
}

fn lost(url: &str, error: &std::io::Error) -> Fault {
    Fault::Lost(format!("the answer of ClickHouse at {url} broke off: {error}"))
}
