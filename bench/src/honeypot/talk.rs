//! A conversation in lines of text, and requests to a web server: what is read
//! until, each wait with a deadline.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use super::telnet::Options;
use super::tries::{STEP, step};

/// Own addresses clients come from, so that bounds of one address do not matter.
const ADDRESSES: usize = 200;
/// Most of what is read before what is waited for.
const MAX_TEXT: usize = 1024 * 1024;

/// One of our addresses.
pub(super) fn address(from: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, 1, 1, (1 + from % ADDRESSES) as u8)
}

/// Connects from one of our addresses. Its deadline is that of the whole visit: a
/// system repeats what a full queue has dropped, after 1, 3, 7 and 15 seconds.
pub(super) async fn dial(target: SocketAddr, from: usize) -> anyhow::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(IpAddr::V4(address(from)), 0)).context("an address of its own")?;
    let stream = socket.connect(target).await.context("connecting")?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// A conversation in text.
pub(super) struct Talk {
    pub(super) stream: TcpStream,
    came: Vec<u8>,
    text: Vec<u8>,
    options: Option<Options>,
    /// Answers about options; they go behind what is said next, or before waiting.
    answers: Vec<u8>,
    /// How long it is waited for each text.
    pub(super) patience: Duration,
}

impl Talk {
    /// One without options, where bytes are text.
    pub(super) fn plain(stream: TcpStream) -> Self {
        let (came, text, answers) = (Vec::new(), Vec::new(), Vec::new());
        Self { stream, came, text, options: None, answers, patience: STEP }
    }

    pub(super) fn telnet(stream: TcpStream) -> Self {
        Self { options: Some(Options::default()), ..Self::plain(stream) }
    }

    /// Says something, and after it what is still to be answered: OpenCanary takes
    /// back an option that is agreed to before it asks for itself, and what crosses
    /// on the way then leaves it waiting for ever.
    pub(super) async fn say(&mut self, text: &str) -> anyhow::Result<()> {
        self.answers.splice(..0, text.bytes());
        self.flush().await
    }

    async fn flush(&mut self) -> anyhow::Result<()> {
        self.stream.write_all(&self.answers).await?;
        self.answers.clear();
        Ok(())
    }

    /// Reads until one of some texts has come, and forgets it.
    ///
    /// # Errors
    /// It hung up, said too much, or nothing of the kind in time; `what` is in the reason.
    pub(super) async fn until(
        &mut self,
        what: &'static str,
        texts: &[&[u8]],
    ) -> anyhow::Result<()> {
        let found = |text: &[u8]| {
            texts.iter().any(|wanted| text.windows(wanted.len()).any(|part| part == *wanted))
        };
        step(what, self.patience, self.read(found)).await
    }

    /// Reads until what came ends with something, and forgets it.
    ///
    /// # Errors
    /// As [`Self::until`].
    pub(super) async fn until_end(&mut self, what: &'static str, end: &[u8]) -> anyhow::Result<()> {
        step(what, self.patience, self.read(|text| text.ends_with(end))).await
    }

    async fn read(&mut self, found: impl Fn(&[u8]) -> bool) -> anyhow::Result<()> {
        while !found(&self.text) {
            if !self.answers.is_empty() {
                self.flush().await?;
            }
            let into = if self.options.is_some() { &mut self.came } else { &mut self.text };
            ensure!(into.len() < MAX_TEXT, "it says too much");
            ensure!(self.stream.read_buf(into).await? > 0, "it hung up");
            if let Some(options) = &mut self.options {
                options.take(&self.came, &mut self.text, &mut self.answers);
                self.came.clear();
                ensure!(self.text.len() < MAX_TEXT, "it says too much");
            }
        }
        self.text.clear();
        Ok(())
    }
}

/// One request and its answer; whether more of them may follow on the connection.
///
/// # Errors
/// It hung up, did not answer in time, or answered with an error of its own.
pub(super) async fn request(
    stream: &mut TcpStream,
    read: &mut Vec<u8>,
    path: &str,
) -> anyhow::Result<bool> {
    let text = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
    stream.write_all(text.as_bytes()).await?;
    step("an answer", STEP, async {
        let mut answer = None;
        loop {
            if answer.is_none() {
                answer = Answer::of(read)?;
            }
            if let Some(Answer { length: Some(length), keeps }) = answer
                && read.len() >= length
            {
                read.drain(..length);
                return Ok(keeps);
            }
            ensure!(read.len() < MAX_TEXT, "it says too much");
            if stream.read_buf(read).await? == 0 {
                // The end of the connection is the end of an answer without a length.
                ensure!(matches!(answer, Some(Answer { length: None, .. })), "it hung up");
                return Ok(false);
            }
        }
    })
    .await
}

/// What the head of an answer says of it.
struct Answer {
    /// Bytes of it all; up to the end of the connection where it is not said.
    length: Option<usize>,
    keeps: bool,
}

impl Answer {
    /// `None` until the head is there.
    fn of(read: &[u8]) -> anyhow::Result<Option<Self>> {
        let Some(head) = read.windows(4).position(|part| part == b"\r\n\r\n") else {
            return Ok(None);
        };
        let text = String::from_utf8_lossy(read.get(..head).unwrap_or_default());
        let mut lines = text.lines();
        let first = lines.next().unwrap_or_default();
        let (version, rest) = first.split_once(' ').context("not an answer of HTTP")?;
        let status = rest.split(' ').next().unwrap_or_default();
        ensure!(!status.starts_with('5'), "status {status}");
        let (mut length, mut keeps) = (None, version == "HTTP/1.1");
        for line in lines {
            let Some((name, value)) = line.split_once(':') else { continue };
            let value = value.trim();
            if name.eq_ignore_ascii_case("content-length") {
                length = Some(value.parse::<usize>().context("a length that is none")?);
            } else if name.eq_ignore_ascii_case("connection") {
                keeps = !value.eq_ignore_ascii_case("close");
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                bail!("an answer in chunks");
            }
        }
        let length = length.map(|length| (head + 4).saturating_add(length));
        Ok(Some(Self { length, keeps: keeps && length.is_some() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_ends_where_its_head_says() {
        let of = |text: &str| Answer::of(text.as_bytes());
        assert!(of("HTTP/1.1 200 OK\r\nContent-Le").unwrap().is_none());
        let kept = of("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhe").unwrap().unwrap();
        assert_eq!((kept.length, kept.keeps), (Some(43), true));
        let last = of("HTTP/1.1 401 No\r\nContent-Length: 0\r\nConnection: Close\r\n\r\n");
        assert!(!last.unwrap().unwrap().keeps);
        let old = of("HTTP/1.0 401 Unauthorized\r\nContent-type: text/html\r\n\r\n");
        let old = old.unwrap().unwrap();
        assert_eq!((old.length, old.keeps), (None, false));
        for wrong in [
            "HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "SSH-2.0-x\r\n\r\n",
        ] {
            assert!(of(wrong).is_err(), "{wrong}");
        }
    }
}
