//! A stream whose first bytes have been read already, to find out what it is.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// Bytes of an unwanted body that are read and thrown away after the answer,
/// so that the client sees the answer and not a reset (RFC 9112, 9.6).
const LINGER_BYTES: usize = 1024 * 1024;
/// Longest wait for the client to close its side, in milliseconds.
const LINGER_MS: u64 = 500;

/// Gives `prefix` first, then what `inner` gives. When shut down, it drains a
/// bounded rest of what the client still sends.
#[derive(Debug)]
pub(super) struct Prefixed<S> {
    prefix: BytesMut,
    inner: S,
    lingers: bool,
    closing: Option<Closing>,
}

#[derive(Debug)]
struct Closing {
    drained: usize,
    deadline: Pin<Box<Sleep>>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Prefixed<S> {
    pub(super) fn new(inner: S) -> Self {
        Self { prefix: BytesMut::new(), inner, lingers: true, closing: None }
    }

    /// Does not drain when shut down, as a stream below already does.
    pub(super) fn at_once(mut self) -> Self {
        self.lingers = false;
        self
    }

    /// What has been read ahead.
    pub(super) fn ahead(&self) -> &[u8] {
        &self.prefix
    }

    /// Forgets `count` bytes of what has been read ahead.
    pub(super) fn consume(&mut self, count: usize) {
        self.prefix.advance(count.min(self.prefix.len()));
    }

    /// Reads ahead until there are `count` bytes or the stream ends; tells
    /// whether there are. May read more than asked, at most `2 * count`.
    pub(super) async fn read_ahead(&mut self, count: usize) -> io::Result<bool> {
        while self.prefix.len() < count {
            let mut step = (&mut self.inner).take(count as u64);
            if step.read_buf(&mut self.prefix).await? == 0 {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Prefixed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.prefix.is_empty() {
            let count = self.prefix.len().min(out.remaining());
            out.put_slice(&self.prefix.split_to(count));
            if self.prefix.is_empty() {
                self.prefix = BytesMut::new();
            }
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.inner).poll_read(cx, out)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Prefixed<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.closing.is_none() {
            ready!(Pin::new(&mut this.inner).poll_shutdown(cx))?;
        }
        if !this.lingers {
            return Poll::Ready(Ok(()));
        }
        let closing = this.closing.get_or_insert_with(|| Closing {
            drained: 0,
            deadline: Box::pin(tokio::time::sleep_until(
                Instant::now() + std::time::Duration::from_millis(LINGER_MS),
            )),
        });
        let mut scratch = [0u8; 4096];
        while closing.drained < LINGER_BYTES {
            let mut out = ReadBuf::new(&mut scratch);
            match Pin::new(&mut this.inner).poll_read(cx, &mut out) {
                Poll::Ready(Ok(())) if !out.filled().is_empty() => {
                    closing.drained += out.filled().len();
                }
                Poll::Ready(_) => return Poll::Ready(Ok(())),
                Poll::Pending => {
                    return closing.deadline.as_mut().poll(cx).map(Ok);
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, data)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    #[tokio::test]
    async fn what_was_read_ahead_is_read_again() {
        let (mut client, server) = tokio::io::duplex(64);
        client.write_all(b"hello world").await.unwrap();
        drop(client);
        let mut stream = Prefixed::new(server);
        assert!(stream.read_ahead(5).await.unwrap());
        assert!(stream.ahead().starts_with(b"hello"));
        stream.consume(1);
        assert!(!stream.read_ahead(50).await.unwrap());
        let mut rest = String::new();
        stream.read_to_string(&mut rest).await.unwrap();
        assert_eq!(rest, "ello world");
    }

    #[tokio::test]
    async fn a_client_that_keeps_its_side_open_is_left_after_the_deadline() {
        let (_client, server) = tokio::io::duplex(64);
        Prefixed::new(server).shutdown().await.unwrap();
    }
}
