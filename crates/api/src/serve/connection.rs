//! One connection, from the first byte to the last: PROXY header, TLS, then
//! HTTP/1.1 or HTTP/2. Every wait has a deadline.

use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::Shared;
use super::prefixed::Prefixed;
use super::proxy::{self, Decoded};
use crate::client::Peer;
use crate::config::Listener;

/// What a client of HTTP/2 sends first (RFC 9113, 3.4).
const H2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// First byte of a TLS handshake record (RFC 8446, 5.1).
const TLS_HANDSHAKE: u8 = 0x16;
/// Most bytes that are buffered of one HTTP/1.1 request header.
const MAX_HEADER_BYTES: usize = 32 * 1024;
/// Most header lines of one request.
const MAX_HEADERS: usize = 64;
/// Requests at a time on one HTTP/2 connection.
const H2_STREAMS: u32 = 64;
/// Bytes of one request body that HTTP/2 clients may send ahead.
const H2_STREAM_WINDOW_BYTES: u32 = 256 * 1024;
/// The same for one connection.
const H2_CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
/// A silent HTTP/2 client is asked after so many seconds whether it is there.
const H2_PING_SECS: u64 = 20;
/// A client that takes no byte for so long is gone.
const SEND_STALL: Duration = Duration::from_secs(60);

/// The answer to HTTP where TLS is spoken.
const SPEAKS_HTTPS: &[u8] = b"HTTP/1.1 400 Bad Request\r\n\
    Content-Type: text/plain; charset=utf-8\r\nConnection: close\r\nContent-Length: 81\r\n\r\n\
    This port speaks HTTPS. Use the same address with https:// in place of http://.\r\n";

/// One listener's settings and what it serves.
pub(super) struct Door {
    pub(super) settings: Listener,
    pub(super) router: axum::Router,
}

/// Serves one TCP connection to its end.
pub(super) async fn serve_tcp(
    stream: TcpStream,
    peer: IpAddr,
    door: &Door,
    shared: &Shared,
    cancel: CancellationToken,
) {
    let ended = tokio::select! {
        ended = run(stream, peer.to_canonical(), door, shared, cancel) => ended,
        () = shared.abort.cancelled() => Ok(()),
    };
    shared.app.metrics.connections.fetch_add(1, Ordering::Relaxed);
    if let Err(reason) = ended {
        shared.app.metrics.connections_broken.fetch_add(1, Ordering::Relaxed);
        tracing::debug!(%peer, %reason, "connection ended");
    }
}

async fn run(
    stream: TcpStream,
    peer: IpAddr,
    door: &Door,
    shared: &Shared,
    cancel: CancellationToken,
) -> io::Result<()> {
    let config = &shared.app.config;
    let trusted = config.trusts(peer);
    let _direct = match trusted {
        true => None,
        false => Some(shared.per_address.take(peer).ok_or_else(too_many)?),
    };
    // Answers are small and awaited; do not hold them back.
    stream.set_nodelay(true)?;
    socket2::SockRef::from(&stream).set_tcp_user_timeout(Some(SEND_STALL))?;
    let handshake = Duration::from_secs(config.limits.handshake_secs);
    let mut stream = Prefixed::new(stream);

    let mut address = peer;
    let mut _behind = None;
    if door.settings.proxy_protocol {
        if !trusted {
            return Err(invalid("PROXY header from an address that is not in trusted_proxies"));
        }
        if let Some(source) = within(handshake, read_proxy_header(&mut stream)).await? {
            address = source.to_canonical();
            if !config.trusts(address) {
                _behind = Some(shared.per_address.take(address).ok_or_else(too_many)?);
            }
        }
    }
    let Some(tls) = shared.tls.as_ref().filter(|_| door.settings.tls) else {
        let peer = Peer { address, tls: false };
        return http(stream, &door.router, Some(peer), shared, cancel).await;
    };
    if !within(handshake, stream.read_ahead(1)).await? {
        return Ok(());
    }
    if stream.ahead().first() != Some(&TLS_HANDSHAKE) {
        within(handshake, stream.write_all(SPEAKS_HTTPS)).await?;
        return within(handshake, stream.shutdown()).await;
    }
    let stream = within(handshake, TlsAcceptor::from(tls.server()).accept(stream)).await?;
    let peer = Peer { address, tls: true };
    http(Prefixed::new(stream).at_once(), &door.router, Some(peer), shared, cancel).await
}

/// Serves one connection of the local socket to its end.
pub(super) async fn serve_unix(
    stream: UnixStream,
    router: axum::Router,
    shared: &Shared,
    cancel: CancellationToken,
) {
    let served = http(Prefixed::new(stream), &router, None, shared, cancel);
    let ended = tokio::select! {
        ended = served => ended,
        () = shared.abort.cancelled() => Ok(()),
    };
    if let Err(reason) = ended {
        tracing::debug!(%reason, "local connection ended");
    }
}

async fn read_proxy_header<S>(stream: &mut Prefixed<S>) -> io::Result<Option<IpAddr>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        match proxy::decode(stream.ahead()) {
            Decoded::Incomplete(wanted) => {
                if !stream.read_ahead(wanted).await? {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
            Decoded::Header { source, length } => {
                stream.consume(length);
                return Ok(source.map(|source| source.ip()));
            }
            Decoded::Malformed(reason) => return Err(invalid(reason)),
        }
    }
}

/// Speaks HTTP/1.1 or HTTP/2, whichever the client's first bytes are.
async fn http<S>(
    mut stream: Prefixed<S>,
    router: &axum::Router,
    peer: Option<Peer>,
    shared: &Shared,
    cancel: CancellationToken,
) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let header = Duration::from_secs(shared.app.config.limits.header_secs);
    // On shutdown a connection without a request is simply closed.
    let is_h2 = tokio::select! {
        is_h2 = within(header, begins_with_preface(&mut stream)) => is_h2?,
        () = cancel.cancelled() => return Ok(()),
    };
    let router = router.clone();
    let service = tower::service_fn(move |mut request: http::Request<Incoming>| {
        if let Some(peer) = peer {
            request.extensions_mut().insert(peer);
        }
        router.clone().oneshot(request.map(axum::body::Body::new))
    });
    let service = hyper_util::service::TowerToHyperService::new(service);
    let io = TokioIo::new(stream);
    let served = if is_h2 {
        let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_concurrent_streams(H2_STREAMS)
            .initial_stream_window_size(H2_STREAM_WINDOW_BYTES)
            .initial_connection_window_size(H2_CONNECTION_WINDOW_BYTES)
            .max_header_list_size(MAX_HEADER_BYTES as u32)
            .keep_alive_interval(Duration::from_secs(H2_PING_SECS))
            .serve_connection(io, service);
        let mut connection = std::pin::pin!(connection);
        tokio::select! {
            served = connection.as_mut() => served,
            () = cancel.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        }
    } else {
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(header)
            .max_headers(MAX_HEADERS)
            .max_buf_size(MAX_HEADER_BYTES)
            .serve_connection(io, service);
        let mut connection = std::pin::pin!(connection);
        tokio::select! {
            served = connection.as_mut() => served,
            () = cancel.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        }
    };
    served.map_err(io::Error::other)
}

/// Reads until the first bytes are known to be HTTP/2's preface or not.
async fn begins_with_preface<S>(stream: &mut Prefixed<S>) -> io::Result<bool>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        let known = stream.ahead().len().min(H2_PREFACE.len());
        if stream.ahead().get(..known) != H2_PREFACE.get(..known) {
            return Ok(false);
        }
        if known == H2_PREFACE.len() {
            return Ok(true);
        }
        if !stream.read_ahead(known + 1).await? {
            return Ok(false);
        }
    }
}

async fn within<T>(deadline: Duration, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(deadline, work)
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

fn too_many() -> io::Error {
    io::Error::other("too many connections of this address")
}

fn invalid(reason: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_to_plain_http_has_the_length_it_says() {
        let text = std::str::from_utf8(SPEAKS_HTTPS).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}", body.len())), "{}", body.len());
    }
}
