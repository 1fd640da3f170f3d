//! A stranger's connection with its limits: every wait ends at the idle
//! deadline, the session deadline, the caller's own deadline or the end of the
//! zone, and every byte is charged to a budget. Services have no other way to
//! the socket.

use std::future::poll_fn;
use std::io::{self, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::ServerConnection;
use tokio::io::{AsyncRead as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::Limits;
use crate::tls::client_hello::{ClientHello, NoHello};
use crate::tls::{HANDSHAKE_SECS, MAX_HANDSHAKE_BYTES, MAX_WAITING_BYTES, Tls};

/// Most bytes of one read; a buffer of this size is on the stack only while
/// the socket is read, so that a waiting session holds none.
const READ_BYTES: usize = 4_096;
/// How long a session that we end waits for the client to close, so that the
/// last answer is not lost to a reset.
const LINGER: Duration = Duration::from_secs(1);

/// Why a session is over.
#[derive(Debug)]
pub enum Closed {
    /// The service had said all it had to say.
    Completed,
    /// The client closed its side.
    ClientClosed,
    /// Nothing came, or nothing could be written, for too long.
    Idle,
    /// The session lasted too long.
    Deadline,
    /// The client sent too much or had too much sent.
    ByteBudget,
    /// The zone ends.
    Shutdown,
    /// The script of a plug-in has failed.
    Failed,
    /// The socket failed, or there is nobody left to tell.
    Error(io::Error),
}

impl Closed {
    /// The reason as `session.closed` carries it.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::ClientClosed => "client-closed",
            Self::Idle => "idle",
            Self::Deadline => "deadline",
            Self::ByteBudget => "byte-budget",
            Self::Shutdown => "shutdown",
            Self::Failed => "plugin-failed",
            Self::Error(_) => "error",
        }
    }
}

impl From<io::Error> for Closed {
    fn from(error: io::Error) -> Self {
        use io::ErrorKind::{BrokenPipe, ConnectionReset, NotConnected};
        match error.kind() {
            BrokenPipe | ConnectionReset | NotConnected => Self::ClientClosed,
            _ => Self::Error(error),
        }
    }
}

/// A stranger's connection. See the module's first lines.
#[derive(Debug)]
pub struct Stream {
    socket: TcpStream,
    // Bytes read before the session began, behind a PROXY header.
    early: Vec<u8>,
    idle: Duration,
    deadline: Instant,
    step: Option<Instant>,
    wake: Option<Instant>,
    in_left: u64,
    out_left: u64,
    traffic: Traffic,
    end: CancellationToken,
    tls: Option<Box<ServerConnection>>,
    misplaced: bool,
}

/// What came of a client's first bytes where TLS is spoken.
#[derive(Debug)]
pub(crate) enum Greeting {
    /// A handshake, done; what the client had offered.
    Tls(Box<ClientHello>),
    /// A handshake that failed, and why.
    Failed(Option<Box<ClientHello>>, String),
    /// Something else; it is read next.
    Plain,
}

/// Bytes that went each way.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Traffic {
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
}

/// What a wait is for.
#[derive(Clone, Copy)]
enum Ready {
    Read,
    Write,
}

impl Stream {
    pub(crate) fn new(
        socket: TcpStream,
        early: Vec<u8>,
        limits: &Limits,
        end: CancellationToken,
    ) -> Self {
        Self {
            socket,
            early,
            idle: limits.idle(),
            deadline: Instant::now() + limits.session(),
            step: None,
            wake: None,
            in_left: limits.bytes_in,
            out_left: limits.bytes_out,
            traffic: Traffic::default(),
            end,
            tls: None,
            misplaced: false,
        }
    }

    /// Whether the client speaks without TLS where TLS is wanted.
    #[must_use]
    pub fn is_misplaced(&self) -> bool {
        self.misplaced
    }

    /// Whether what is said is encrypted.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Takes bytes back that were read; they are read again next. Only for
    /// those of this stream, before TLS.
    pub(crate) fn unread(&mut self, mut bytes: Vec<u8>) {
        self.traffic.bytes_in = self.traffic.bytes_in.saturating_sub(bytes.len() as u64);
        self.in_left = self.in_left.saturating_add(bytes.len() as u64);
        bytes.append(&mut self.early);
        self.early = bytes;
    }

    /// Gives the session so long from now on.
    pub(crate) fn extend(&mut self, time: Duration) {
        self.deadline = Instant::now() + time;
    }

    /// Begins TLS: reads the client's first message, then shakes hands.
    ///
    /// # Errors
    /// [`Closed`]: the session must end.
    pub(crate) async fn start_tls(&mut self, tls: &Tls) -> Result<Greeting, Closed> {
        self.set_step(Some(Duration::from_secs(HANDSHAKE_SECS)));
        let mut bytes = Vec::new();
        let hello = loop {
            match ClientHello::parse(&bytes) {
                Ok(Some(hello)) => break Some(Box::new(hello)),
                Err(NoHello) if bytes.first() == Some(&0x16) => break None,
                Err(NoHello) => {
                    self.unread(bytes);
                    self.misplaced = true;
                    self.set_step(None);
                    return Ok(Greeting::Plain);
                }
                Ok(None) => match self.read(&mut bytes, READ_BYTES).await {
                    Ok(_) => {}
                    Err(why) if bytes.is_empty() => return Err(why),
                    Err(why) => return Ok(Greeting::Failed(None, why.reason().to_owned())),
                },
            }
        };
        let connection = ServerConnection::new(tls.config(hello.as_deref()));
        let mut connection = match connection {
            Ok(connection) => Box::new(connection),
            Err(error) => return Ok(Greeting::Failed(hello, error.to_string())),
        };
        connection.set_buffer_limit(Some(MAX_WAITING_BYTES));
        self.tls = Some(connection);
        if let Err(error) = self.decrypt(&bytes) {
            return self.failed(hello, &error).await;
        }
        drop(bytes);
        let begun = self.traffic.bytes_in;
        while self.tls.as_ref().is_some_and(|tls| tls.is_handshaking()) {
            // What the client has offered is told, also where it leaves now.
            if let Err(why) = self.flush().await {
                return Ok(Greeting::Failed(hello, why.reason().to_owned()));
            }
            if self.traffic.bytes_in - begun > MAX_HANDSHAKE_BYTES {
                return Ok(Greeting::Failed(hello, "handshake too long".to_owned()));
            }
            if !self.tls.as_ref().is_some_and(|tls| tls.is_handshaking()) {
                break;
            }
            let mut stack = Vec::new();
            if let Err(why) = self.read_raw(&mut stack, READ_BYTES).await {
                return Ok(Greeting::Failed(hello, why.reason().to_owned()));
            }
            if let Err(error) = self.decrypt(&stack) {
                return self.failed(hello, &error).await;
            }
        }
        if let Err(why) = self.flush().await {
            return Ok(Greeting::Failed(hello, why.reason().to_owned()));
        }
        self.set_step(None);
        match hello {
            Some(hello) => Ok(Greeting::Tls(hello)),
            None => Ok(Greeting::Failed(None, "no ClientHello".to_owned())),
        }
    }

    /// A handshake went wrong: the alert is sent.
    async fn failed(
        &mut self,
        hello: Option<Box<ClientHello>>,
        error: &rustls::Error,
    ) -> Result<Greeting, Closed> {
        // The client may be gone already.
        let _ = self.flush().await;
        Ok(Greeting::Failed(hello, error.to_string()))
    }

    /// Gives bytes from the socket to TLS.
    fn decrypt(&mut self, mut bytes: &[u8]) -> Result<(), rustls::Error> {
        let Some(tls) = &mut self.tls else { return Ok(()) };
        while !bytes.is_empty() {
            let taken = tls.read_tls(&mut bytes);
            tls.process_new_packets()?;
            if matches!(taken, Ok(0) | Err(_)) {
                break;
            }
        }
        Ok(())
    }

    /// Sends what TLS has encrypted.
    async fn flush(&mut self) -> Result<(), Closed> {
        loop {
            let Some(tls) = &mut self.tls else { return Ok(()) };
            if !tls.wants_write() {
                return Ok(());
            }
            if self.out_left == 0 {
                return Err(Closed::ByteBudget);
            }
            match tls.write_tls(&mut Out(&self.socket)) {
                Ok(count) => self.charge_out(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.check()?;
                    self.ready(Ready::Write, None).await?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// As [`Self::read`], out of what TLS has decrypted.
    async fn read_decrypted(&mut self, buffer: &mut Vec<u8>, room: usize) -> Result<usize, Closed> {
        let wake = self.wake.take();
        loop {
            self.check()?;
            let Some(tls) = &mut self.tls else { return Ok(0) };
            let before = buffer.len();
            match tls.reader().take(room as u64).read_to_end(buffer) {
                Ok(_) if buffer.len() == before => return Err(Closed::ClientClosed),
                // Nothing more for now, or not closed in order: what came counts.
                Ok(_) | Err(_) if buffer.len() > before => {
                    tokio::task::consume_budget().await;
                    return Ok(buffer.len() - before);
                }
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                    return Err(Closed::ClientClosed);
                }
                Ok(_) | Err(_) => {}
            }
            self.flush().await?;
            let mut stack = Vec::new();
            self.wake = wake;
            if self.read_raw(&mut stack, READ_BYTES).await? == 0 {
                return Ok(0);
            }
            if self.decrypt(&stack).is_err() {
                let _ = self.flush().await;
                return Err(Closed::ClientClosed);
            }
        }
    }

    pub(crate) fn traffic(&self) -> Traffic {
        self.traffic
    }

    /// Sets a deadline for the present step, such as one request; it counts as
    /// idleness. `None` takes it away.
    pub fn set_step(&mut self, limit: Option<Duration>) {
        self.step = limit.map(|limit| Instant::now() + limit);
    }

    /// Has the next read end at `at`, where nothing came before; it is no
    /// reason to end the session.
    pub fn wake_at(&mut self, at: Option<Instant>) {
        self.wake = at;
    }

    /// Waits for bytes and appends at most `room` of them to `buffer`; returns
    /// how many came, at least one unless `room` is zero or [`Self::wake_at`]
    /// said until when to wait.
    ///
    /// # Errors
    /// [`Closed`]: the session must end.
    pub async fn read(&mut self, buffer: &mut Vec<u8>, room: usize) -> Result<usize, Closed> {
        if self.in_left == 0 {
            return Err(Closed::ByteBudget);
        }
        let room = room.min(usize::try_from(self.in_left).unwrap_or(usize::MAX));
        if room == 0 {
            return Ok(0);
        }
        if self.tls.is_some() {
            // In a box: else every session that waits has the room for it.
            return Box::pin(self.read_decrypted(buffer, room)).await;
        }
        self.read_raw(buffer, room).await
    }

    /// Waits for bytes of the socket.
    async fn read_raw(&mut self, buffer: &mut Vec<u8>, room: usize) -> Result<usize, Closed> {
        let wake = self.wake.take();
        if self.in_left == 0 {
            return Err(Closed::ByteBudget);
        }
        let room = room.min(usize::try_from(self.in_left).unwrap_or(usize::MAX));
        if !self.early.is_empty() {
            let take = room.min(self.early.len());
            buffer.extend(self.early.drain(..take));
            self.early.shrink_to_fit();
            self.charge_in(take);
            return Ok(take);
        }
        loop {
            self.check()?;
            let socket = &mut self.socket;
            match poll_fn(|cx| Poll::Ready(read_some(socket, cx, buffer, room))).await {
                Poll::Ready(Ok(0)) => return Err(Closed::ClientClosed),
                Poll::Ready(Ok(count)) => {
                    self.charge_in(count);
                    return Ok(count);
                }
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Poll::Ready(Err(error)) => return Err(error.into()),
                Poll::Pending => {
                    if !self.ready(Ready::Read, wake).await? {
                        return Ok(0);
                    }
                }
            }
        }
    }

    /// Sends all of `bytes`.
    ///
    /// # Errors
    /// [`Closed`]: the session must end. Part of `bytes` may have been sent.
    pub async fn write(&mut self, mut bytes: &[u8]) -> Result<(), Closed> {
        while self.tls.is_some() && !bytes.is_empty() {
            let taken = match &mut self.tls {
                Some(tls) => tls.writer().write(bytes)?,
                None => 0,
            };
            bytes = bytes.get(taken..).unwrap_or_default();
            Box::pin(self.flush()).await?;
        }
        while !bytes.is_empty() {
            if self.out_left == 0 {
                return Err(Closed::ByteBudget);
            }
            let most = bytes.len().min(usize::try_from(self.out_left).unwrap_or(usize::MAX));
            let (now, _) = bytes.split_at(most);
            self.check()?;
            match self.socket.try_write(now) {
                Ok(count) => {
                    self.charge_out(count);
                    bytes = bytes.get(count..).unwrap_or_default();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.ready(Ready::Write, None).await?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Waits, as a slow device does. Holds no thread.
    ///
    /// # Errors
    /// [`Closed`]: the session must end.
    pub async fn pause(&mut self, time: Duration) -> Result<(), Closed> {
        if time.is_zero() {
            return Ok(());
        }
        let woken = Instant::now() + time;
        let (until, over) = if woken < self.deadline {
            (woken, Ok(()))
        } else {
            (self.deadline, Err(Closed::Deadline))
        };
        tokio::select! {
            biased;
            () = self.end.cancelled() => Err(Closed::Shutdown),
            () = tokio::time::sleep_until(until) => over,
        }
    }

    /// Waits for the socket, unless the zone ends or a deadline passes before;
    /// `false` where `wake` did. Polls by hand, and what can be known before is
    /// before the wait: every held session has the room for it.
    fn ready(
        &self,
        what: Ready,
        wake: Option<Instant>,
    ) -> impl Future<Output = Result<bool, Closed>> + Send {
        let (until, late) = self.until();
        let (until, late) = match wake {
            Some(wake) if wake < until => (wake, None),
            _ => (until, Some(late)),
        };
        async move {
            let mut late = late;
            let mut end = pin!(self.end.cancelled());
            let mut timer = pin!(tokio::time::sleep_until(until));
            poll_fn(|cx| {
                if end.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(Err(Closed::Shutdown));
                }
                let ready = match what {
                    Ready::Read => self.socket.poll_read_ready(cx),
                    Ready::Write => self.socket.poll_write_ready(cx),
                };
                if let Poll::Ready(ready) = ready {
                    return Poll::Ready(ready.map(|()| true).map_err(Closed::from));
                }
                timer.as_mut().poll(cx).map(|()| late.take().map_or(Ok(false), Err))
            })
            .await
        }
    }

    /// Whether the zone ends or a deadline has passed.
    fn check(&self) -> Result<(), Closed> {
        if self.end.is_cancelled() {
            return Err(Closed::Shutdown);
        }
        let now = Instant::now();
        if now >= self.deadline {
            return Err(Closed::Deadline);
        }
        if self.step.is_some_and(|step| now >= step) {
            return Err(Closed::Idle);
        }
        Ok(())
    }

    /// The next deadline of a wait that begins now, and what it means.
    fn until(&self) -> (Instant, Closed) {
        let idle = Instant::now() + self.idle;
        let idle = self.step.map_or(idle, |step| step.min(idle));
        if idle < self.deadline { (idle, Closed::Idle) } else { (self.deadline, Closed::Deadline) }
    }

    fn charge_in(&mut self, count: usize) {
        self.traffic.bytes_in += count as u64;
        self.in_left = self.in_left.saturating_sub(count as u64);
    }

    fn charge_out(&mut self, count: usize) {
        self.traffic.bytes_out += count as u64;
        self.out_left = self.out_left.saturating_sub(count as u64);
    }

    /// Ends our side and waits a moment for the client's, reading what it
    /// still sends.
    pub(crate) async fn linger(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
            let _ = self.flush().await;
        }
        let shut = socket2::SockRef::from(&self.socket).shutdown(Shutdown::Write);
        self.step = Some(Instant::now() + LINGER);
        let mut scrap = Vec::new();
        while shut.is_ok() && self.read(&mut scrap, READ_BYTES).await.is_ok() {
            scrap.clear();
        }
    }
}

/// The socket as something to write to that never waits.
struct Out<'a>(&'a TcpStream);

impl io::Write for Out<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One read through the stack into the heap, so that the heap holds what came
/// and not what could have come. Polls, and does not only try: after a read that
/// left room the runtime knows that there is no more, without asking the system.
fn read_some(
    socket: &mut TcpStream,
    cx: &mut Context<'_>,
    buffer: &mut Vec<u8>,
    room: usize,
) -> Poll<io::Result<usize>> {
    let mut stack = [MaybeUninit::uninit(); READ_BYTES];
    let mut came = ReadBuf::uninit(stack.get_mut(..room.min(READ_BYTES)).unwrap_or_default());
    std::task::ready!(Pin::new(socket).poll_read(cx, &mut came))?;
    buffer.extend_from_slice(came.filled());
    Poll::Ready(Ok(came.filled().len()))
}
