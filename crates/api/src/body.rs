//! Reads request bodies: bounded in bytes and time, decompressed as they come.

use std::time::Duration;

use axum::body::{Body, HttpBody as _};
use axum::extract::{FromRequest, Request};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt as _;
use serde::de::DeserializeOwned;

use crate::error::Problem;
use crate::router::App;

/// Largest zstd window a body may ask for, as a power of two: 8 MiB, what
/// RFC 8878 recommends decoders to support.
pub(crate) const MAX_ZSTD_WINDOW_LOG: u32 = 23;
/// Bytes that are decompressed at a time.
const DECODE_STEP_BYTES: usize = 64 * 1024;

/// Reads a body of at most `limit` bytes within `deadline`.
///
/// # Errors
/// 413 as soon as the announced or counted length passes `limit`, 408 where
/// the client is too slow, 400 where it breaks off.
pub(crate) async fn read(body: Body, limit: usize, deadline: Duration) -> Result<Bytes, Problem> {
    if body.size_hint().lower() > limit as u64 {
        return Err(Problem::too_large("body", limit));
    }
    let counted = async {
        let mut body = body;
        let mut whole = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| Problem::bad_request("The body broke off."))?;
            let Ok(data) = frame.into_data() else { continue };
            if whole.len() + data.len() > limit {
                return Err(Problem::too_large("body", limit));
            }
            whole.extend_from_slice(&data);
        }
        Ok(whole.freeze())
    };
    tokio::time::timeout(deadline, counted).await.unwrap_or_else(|_| {
        let detail = format!("The body did not arrive within {} seconds.", deadline.as_secs());
        Err(Problem::new(StatusCode::REQUEST_TIMEOUT, detail))
    })
}

/// How a body is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// As it is.
    Identity,
    /// Zstandard (RFC 8878).
    Zstd,
}

impl Encoding {
    /// Reads `Content-Encoding`.
    ///
    /// # Errors
    /// 415 for anything but `zstd` and `identity`.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        match headers.get(header::CONTENT_ENCODING).map(|value| value.as_bytes()) {
            None => Ok(Self::Identity),
            Some(value) if value.eq_ignore_ascii_case(b"identity") => Ok(Self::Identity),
            Some(value) if value.eq_ignore_ascii_case(b"zstd") => Ok(Self::Zstd),
            Some(_) => Err(Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "Content-Encoding must be zstd or identity.",
            )),
        }
    }
}

/// Unpacks a body to at most `limit` bytes. Blocks: call it on a blocking
/// thread.
///
/// # Errors
/// 413 as soon as more than `limit` bytes came out, 400 where it is no zstd.
pub(crate) fn decode(packed: Bytes, encoding: Encoding, limit: usize) -> Result<Bytes, Problem> {
    if encoding == Encoding::Identity {
        return Ok(packed);
    }
    let broken = |_| {
        Problem::bad_request("The body is not zstd as Content-Encoding says, or it is cut short.")
    };
    let mut reader = zstd::stream::read::Decoder::with_buffer(&packed[..]).map_err(broken)?;
    reader.window_log_max(MAX_ZSTD_WINDOW_LOG).map_err(broken)?;
    let mut plain = BytesMut::new();
    let mut step = vec![0u8; DECODE_STEP_BYTES];
    loop {
        let count = std::io::Read::read(&mut reader, &mut step).map_err(broken)?;
        if count == 0 {
            return Ok(plain.freeze());
        }
        if plain.len() + count > limit {
            return Err(Problem::too_large("unpacked body", limit));
        }
        plain.extend_from_slice(step.get(..count).unwrap_or_default());
    }
}

/// Refuses anything but JSON.
///
/// # Errors
/// 415.
pub(crate) fn require_json(headers: &HeaderMap) -> Result<(), Problem> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = kind.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    Err(Problem::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "The body must be JSON, with Content-Type: application/json.",
    ))
}

/// A JSON body, small and typed.
pub(crate) struct Json<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<App> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        require_json(request.headers())?;
        let limits = &app.config.limits;
        let deadline = Duration::from_secs(limits.body_secs);
        let body = read(request.into_body(), limits.body_bytes, deadline).await?;
        parse(&body).map(Self)
    }
}

/// Parses a JSON body.
///
/// # Errors
/// 400 where it is no JSON, 422 where it is other JSON than expected.
fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    let error = match serde_json::from_slice(body) {
        Ok(value) => return Ok(value),
        Err(error) => error,
    };
    match serde_json::from_slice::<serde::de::IgnoredAny>(body) {
        Ok(_) => Err(Problem::unprocessable(format!("The body does not fit: {error}."))),
        Err(error) => Err(Problem::bad_request(format!("The body is no JSON: {error}."))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test]
    async fn a_body_over_the_limit_is_refused_while_it_comes() {
        let endless = futures_util::stream::repeat_with(|| {
            Ok::<_, std::io::Error>(Bytes::from_static(&[b'x'; 1024]))
        });
        let problem = read(Body::from_stream(endless), 4096, SECOND).await.unwrap_err();
        assert_eq!(problem.status(), 413);
        assert_eq!(read(Body::from(vec![0; 4096]), 4096, SECOND).await.unwrap().len(), 4096);
        assert_eq!(read(Body::from(vec![0; 4097]), 4096, SECOND).await.unwrap_err().status(), 413);
    }

    #[tokio::test]
    async fn a_body_that_never_ends_is_given_up() {
        let silent = Body::from_stream(futures_util::stream::pending::<std::io::Result<Bytes>>());
        assert_eq!(read(silent, 10, Duration::from_millis(5)).await.unwrap_err().status(), 408);
    }

    #[test]
    fn a_zip_bomb_stops_at_the_limit() {
        let bomb: Bytes = zstd::encode_all(&vec![0u8; 64 * 1024 * 1024][..], 3).unwrap().into();
        assert!(bomb.len() < 64 * 1024, "{}", bomb.len());
        let problem = decode(bomb, Encoding::Zstd, 1024 * 1024).unwrap_err();
        assert_eq!(problem.status(), 413);
    }

    #[test]
    fn a_frame_that_wants_a_huge_window_is_refused() {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
        encoder.window_log(27).unwrap();
        std::io::Write::write_all(&mut encoder, b"{}").unwrap();
        let frame: Bytes = encoder.finish().unwrap().into();
        assert_eq!(decode(frame, Encoding::Zstd, 1024).unwrap_err().status(), 400);
    }

    #[test]
    fn torn_and_foreign_bytes_are_no_zstd() {
        let whole = zstd::encode_all(&b"{\"a\":1}"[..], 3).unwrap();
        let torn = Bytes::copy_from_slice(&whole[..whole.len() - 2]);
        assert_eq!(decode(torn, Encoding::Zstd, 1024).unwrap_err().status(), 400);
        let foreign = Bytes::from_static(b"hello");
        assert_eq!(decode(foreign, Encoding::Zstd, 1024).unwrap_err().status(), 400);
    }

    #[test]
    fn json_of_the_wrong_shape_differs_from_no_json() {
        assert_eq!(parse::<Vec<u8>>(b"{").unwrap_err().status(), 400);
        assert_eq!(parse::<Vec<u8>>(b"{}").unwrap_err().status(), 422);
        assert_eq!(parse::<Vec<u8>>(b"[1]").unwrap(), [1]);
    }
}
