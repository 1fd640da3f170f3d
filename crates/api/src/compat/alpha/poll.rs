//! AlphaClients elsewhere: asked for the attempts of a day, all at once, each with
//! a time-out of its own. One that is dead costs the others nothing.
//!
//! They speak HTTP without TLS and have no secrets; what they answer is a number.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio_util::task::AbortOnDropHandle;

use crate::dial::Dialer;

/// Longest answer that is read, in bytes: a number.
const MAX_ANSWER_BYTES: usize = 1024;

/// An AlphaClient.
pub(crate) struct Client {
    dialer: Dialer,
    authority: HeaderValue,
    path: String,
}

impl Client {
    /// One at an address such as `http://10.0.0.7:5000`.
    ///
    /// # Errors
    /// One sentence.
    pub(crate) fn new(url: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "'{}' is no address of an AlphaClient; write http://HOST:PORT",
                url.escape_debug()
            )
        };
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'));
        let (Some("http"), Some(authority), None) = (uri.scheme_str(), authority, uri.query())
        else {
            return Err(wrong());
        };
        let port = authority.port_u16().unwrap_or(80);
        Ok(Self {
            dialer: Dialer::new(&format!("{}:{port}", authority.host()), None)?,
            authority: HeaderValue::from_str(authority.as_str()).map_err(|_| wrong())?,
            path: uri.path().to_owned(),
        })
    }

    /// The attempts of a day.
    ///
    /// # Errors
    /// A sentence for the log.
    pub(crate) async fn count(&self, date: &str, patience: Duration) -> Result<u64, String> {
        tokio::time::timeout(patience, self.ask(date))
            .await
            .map_err(|_| format!("no answer within {} s", patience.as_secs()))?
    }

    async fn ask(&self, date: &str) -> Result<u64, String> {
        let stream = self.dialer.connect().await.map_err(|error| error.to_string())?;
        let failed = |error: hyper::Error| error.to_string();
        let (mut sender, driver) = http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
        let _driver = AbortOnDropHandle::new(tokio::spawn(async move {
            if let Err(error) = driver.await {
                tracing::debug!(%error, "a connection to an AlphaClient ended");
            }
        }));
        let request = Request::builder()
            .uri(format!("{}?date={date}", self.path))
            .header(header::HOST, self.authority.clone())
            .body(Empty::<Bytes>::new())
            .map_err(|error| error.to_string())?;
        let answer = sender.send_request(request).await.map_err(failed)?;
        if answer.status() != StatusCode::OK {
            return Err(format!("it answered {}", answer.status()));
        }
        let body = Limited::new(answer.into_body(), MAX_ANSWER_BYTES).collect().await;
        let body = body.map_err(|error| error.to_string())?.to_bytes();
        serde_json::from_slice(&body).map_err(|_| "it did not answer with a number".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_plain_http_with_a_host() {
        assert!(Client::new("http://10.0.0.7:5000").is_ok());
        assert!(Client::new("http://alpha.example/count/").is_ok());
        for bad in [
            "",
            "10.0.0.7",
            "https://a:1",
            "http://",
            "http://u@a:1",
            "http://a:1/?x=1",
            "http://a:0",
        ] {
            assert!(Client::new(bad).is_err(), "{bad}");
        }
    }
}
