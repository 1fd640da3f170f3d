//! Files over HTTP and HTTPS, by hyper. A redirect is a new address: looked up
//! and checked like the first.

use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::header::{
    ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, HOST, HeaderValue, LOCATION, USER_AGENT,
};
use hyper::{Request as HttpRequest, Response, StatusCode};
use hyper_util::rt::TokioIo;
use palisade_honeypot::fetch::wire::MAX_KIND_BYTES;
use palisade_honeypot::shell::fetch::{MAX_URL_BYTES, Outcome, Request, Url};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::task::AbortOnDropHandle;

use super::net::Getter;
use super::{File, Got};

/// Most bytes of the head of an answer.
const MAX_HEAD_BYTES: usize = 64 * 1024;
/// Most lines of it.
const MAX_HEADERS: usize = 100;

/// Gets a file.
pub(super) async fn get(getter: &Getter, request: &Request) -> Got {
    let mut url = request.url.clone();
    let mut redirects = getter.config.redirects;
    loop {
        let place = getter.place(&url).await?;
        let stream = getter.connect(place).await?;
        let (response, _connection) = if url.scheme == "https" {
            let stream = getter.secure(stream, &url.host, request.verify).await?;
            ask(stream, request, &url).await?
        } else {
            ask(stream, request, &url).await?
        };
        let status = response.status();
        if status.is_success() {
            return body(response, getter.config.max_bytes).await;
        }
        if status == StatusCode::NOT_FOUND {
            return Err(Outcome::NotFound);
        }
        let there = response.headers().get(LOCATION).and_then(|location| location.to_str().ok());
        let next = there.filter(|_| status.is_redirection() && request.follow);
        let Some(next) = next.and_then(|there| redirect(&url, there)) else {
            return Err(Outcome::Status(status.as_u16()));
        };
        redirects = redirects.checked_sub(1).ok_or(Outcome::TooManyRedirects)?;
        url = next;
    }
}

/// Asks for one address over a connection; that lives as long as the handle.
async fn ask(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: &Request,
    url: &Url,
) -> Result<(Response<Incoming>, AbortOnDropHandle<()>), Outcome> {
    let asked = HttpRequest::get(target(&url.path))
        .header(HOST, host(url))
        .header(
            USER_AGENT,
            HeaderValue::from_str(&request.agent).unwrap_or(HeaderValue::from_static("Wget")),
        )
        .header(ACCEPT, "*/*")
        .header(ACCEPT_ENCODING, "identity")
        .body(Empty::<Bytes>::new())
        .map_err(|_| Outcome::Broken)?;
    let mut builder = hyper::client::conn::http1::Builder::new();
    builder.max_buf_size(MAX_HEAD_BYTES).max_headers(MAX_HEADERS);
    let (mut sender, connection) =
        builder.handshake(TokioIo::new(stream)).await.map_err(|_| Outcome::Broken)?;
    let connection = AbortOnDropHandle::new(tokio::spawn(async move {
        // What breaks it is told to who reads the answer.
        let _ = connection.await;
    }));
    let response = sender.send_request(asked).await.map_err(|_| Outcome::Broken)?;
    Ok((response, connection))
}

/// Reads the body of an answer up to `most` bytes.
async fn body(response: Response<Incoming>, most: usize) -> Got {
    let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.and_then(|kind| kind.split(';').next()).map(str::trim);
    let graphic = |kind: &&str| !kind.is_empty() && kind.bytes().all(|b| b.is_ascii_graphic());
    let kind = kind.filter(|kind| kind.len() <= MAX_KIND_BYTES).filter(graphic);
    let kind = kind.map(str::to_owned);
    let mut body = response.into_body();
    if body.size_hint().lower() > most as u64 {
        return Err(Outcome::TooLarge);
    }
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Outcome::Broken)?;
        let Some(data) = frame.data_ref() else { continue };
        if bytes.len() + data.len() > most {
            return Err(Outcome::TooLarge);
        }
        bytes.extend_from_slice(data);
    }
    Ok(File { bytes, kind })
}

/// Path and query in a form that is sent: what may not stand there is written
/// as wget writes it.
fn target(path: &str) -> String {
    let path = path.split('#').next().unwrap_or_default();
    let mut target = String::with_capacity(path.len());
    for byte in path.bytes() {
        let plain = byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte);
        match plain {
            true => target.push(char::from(byte)),
            false => target.push_str(&format!("%{byte:02X}")),
        }
    }
    target
}

fn host(url: &Url) -> String {
    let host = match url.host.contains(':') {
        true => format!("[{}]", url.host),
        false => url.host.clone(),
    };
    match (url.scheme.as_str(), url.port) {
        ("http", 80) | ("https", 443) => host,
        (_, port) => format!("{host}:{port}"),
    }
}

/// Where a `Location` leads to from `url`; `None` where that is no HTTP.
fn redirect(url: &Url, there: &str) -> Option<Url> {
    if there.len() > MAX_URL_BYTES {
        return None;
    }
    let base = format!("{}://{}", url.scheme, host(url));
    let scheme_ends = there.find("://").filter(|end| {
        there.get(..*end).is_some_and(|name| name.bytes().all(|b| b.is_ascii_alphabetic()))
    });
    let whole = if scheme_ends.is_some() {
        there.to_owned()
    } else if there.starts_with("//") {
        format!("{}:{there}", url.scheme)
    } else if there.starts_with('/') {
        format!("{base}{there}")
    } else {
        let path = url.path.split(['?', '#']).next().unwrap_or_default();
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        format!("{base}{folder}/{there}")
    };
    Url::parse(&whole).filter(|url| url.scheme.starts_with("http"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_sent_in_one_line() {
        assert_eq!(target("/a b\r\nX: y?é#z"), "/a%20b%0D%0AX:%20y?%C3%A9");
        let url = Url::parse("http://[2001:db8::1]:8080/x").unwrap();
        assert_eq!(host(&url), "[2001:db8::1]:8080");
    }

    #[test]
    fn redirects_lead_where_browsers_go() {
        let url = Url::parse("http://evil.test:8080/a/b?c").unwrap();
        let to = |there: &str| {
            redirect(&url, there).map(|url| format!("{}://{}{}", url.scheme, host(&url), url.path))
        };
        assert_eq!(to("/x").unwrap(), "http://evil.test:8080/x");
        assert_eq!(to("x").unwrap(), "http://evil.test:8080/a/x");
        assert_eq!(to("//other.test/x").unwrap(), "http://other.test/x");
        assert_eq!(to("https://other.test").unwrap(), "https://other.test/");
        assert_eq!(to("ftp://other.test/x"), None);
        assert_eq!(to("file:///etc/passwd"), None);
        assert_eq!(to(&"x".repeat(9_000)), None);
    }
}
