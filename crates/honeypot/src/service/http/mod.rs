//! A device's web server: a login page that lets nobody in. Records every
//! request whole, and every login in it.

pub mod client;
pub mod login;
mod page;
pub mod request;

use std::time::Duration;

use palisade_event::{Credentials, Event, EventKind, Fingerprints, Outcome, Untrusted};

use self::login::Login;
use self::page::{Answer, Page};
use self::request::{Chunks, Framing, Head, HeadError, MAX_BODY_BYTES, MAX_HEAD_BYTES};
use super::guess;
use crate::{Closed, HttpConfig, Session, Stream};

/// Most bytes of one read.
const READ_BYTES: usize = 16 * 1024;
/// Most bytes of something that is no request that are recorded.
const MAX_GARBAGE_BYTES: usize = 4 * 1024;

/// The HTTP service.
#[derive(Debug)]
pub(crate) struct Http {
    config: HttpConfig,
}

/// A request's body, as far as it was read.
#[derive(Debug, Default)]
struct Body {
    bytes: Vec<u8>,
    /// There was more, or it did not come.
    truncated: bool,
    /// What is wrong with its framing, or why it ended early.
    ended: Option<Closed>,
    malformed: bool,
}

impl Http {
    pub(crate) fn new(config: HttpConfig) -> Self {
        Self { config }
    }

    pub(crate) async fn serve(
        &self,
        session: &mut Session,
        stream: &mut Stream,
    ) -> Result<(), Closed> {
        // Holds the request being read and what was sent ahead of the next;
        // empty, and without memory, between requests.
        let mut buffer = Vec::new();
        for count in 1..=self.config.requests {
            stream.set_step(None);
            let end = match self.head(stream, &mut buffer).await {
                Ok(end) => end,
                Err(Broken::Not(why)) => return self.garbage(session, stream, &buffer, why).await,
                Err(Broken::Closed(why)) => {
                    if !buffer.is_empty() {
                        self.record_garbage(session, &buffer, "incomplete").await?;
                    }
                    return Err(why);
                }
            };
            let head = match request::parse(buffer.get(..end).unwrap_or_default()) {
                Ok(head) => Box::new(head),
                Err(why) => return self.garbage(session, stream, &buffer, why).await,
            };
            buffer.drain(..end);
            let body = self.body(stream, &head, &mut buffer).await;
            let last = count == self.config.requests;
            if !self.answer(session, stream, head, body, last).await? {
                return Ok(());
            }
            if buffer.is_empty() {
                buffer = Vec::new();
            }
        }
        Ok(())
    }

    /// Reads until a head is complete; returns where it ends.
    async fn head(&self, stream: &mut Stream, buffer: &mut Vec<u8>) -> Result<usize, Broken> {
        let mut seen = 0;
        loop {
            if !buffer.is_empty() {
                if let Some(end) = request::find_end(buffer, seen).map_err(Broken::Not)? {
                    return Ok(end);
                }
                if seen == 0 {
                    stream.set_step(Some(Duration::from_secs(self.config.request_secs)));
                }
            }
            seen = buffer.len();
            let room = READ_BYTES.min((MAX_HEAD_BYTES + 1).saturating_sub(seen));
            stream.read(buffer, room).await.map_err(Broken::Closed)?;
        }
    }

    /// Reads a body out of `buffer` and the stream. Never fails: a body that
    /// did not come whole is recorded as far as it came.
    async fn body(&self, stream: &mut Stream, head: &Head, buffer: &mut Vec<u8>) -> Body {
        let mut body = Body::default();
        if head.framing == Framing::Length(0) {
            return body;
        }
        stream.set_step(Some(Duration::from_secs(self.config.request_secs)));
        if head.expects_continue && buffer.is_empty() {
            let sent = stream.write(b"HTTP/1.1 100 Continue\r\n\r\n").await;
            body.ended = sent.err();
        }
        let mut chunks = Chunks::default();
        loop {
            match head.framing {
                Framing::Length(length) => {
                    let length = usize::try_from(length).unwrap_or(usize::MAX);
                    let wanted = length.min(MAX_BODY_BYTES) - body.bytes.len();
                    body.bytes.extend(buffer.drain(..wanted.min(buffer.len())));
                    body.truncated = body.bytes.len() < length;
                }
                Framing::Chunked => {
                    match chunks.push(buffer, &mut body.bytes) {
                        Ok(taken) => drop(buffer.drain(..taken)),
                        Err(request::ChunkError) => body.malformed = true,
                    }
                    body.truncated = !chunks.done();
                }
            }
            let full = body.bytes.len() >= MAX_BODY_BYTES;
            if !body.truncated || full || body.malformed || body.ended.is_some() {
                return body;
            }
            body.ended = stream.read(buffer, READ_BYTES).await.err();
        }
    }

    /// Records a request and answers it; whether the connection goes on.
    async fn answer(
        &self,
        session: &mut Session,
        stream: &mut Stream,
        head: Box<Head>,
        body: Body,
        last: bool,
    ) -> Result<bool, Closed> {
        let attempt = Attempt::find(&head, &body.bytes);
        let page = choose(session, &head, &body, attempt.as_ref());
        let keep_alive = head.keep_alive && !last && !body.truncated && page.status != 400;
        let (minor, head_only) = (head.minor, head.method == b"HEAD");
        let Body { bytes, truncated, ended, .. } = body;
        let event = requested(session, *head, bytes, truncated, page.status);
        session.emit(event).await?;
        let failed = attempt.is_some();
        if let Some(attempt) = attempt {
            let event = attempted(session, attempt);
            session.emit(event).await?;
        }
        if let Some(why) = ended {
            return Err(why);
        }
        stream.set_step(None);
        if failed {
            stream.pause(Duration::from_millis(self.config.fail_delay_ms)).await?;
        }
        let answer = Answer { minor, keep_alive, head_only, date: http_date() };
        stream.write(&page.render(session.persona(), answer)).await?;
        Ok(keep_alive)
    }

    /// Records what is no request, answers as a web server does, and ends.
    async fn garbage(
        &self,
        session: &mut Session,
        stream: &mut Stream,
        bytes: &[u8],
        why: HeadError,
    ) -> Result<(), Closed> {
        self.record_garbage(session, bytes, &why.to_string()).await?;
        let answer = Answer { minor: 0, keep_alive: false, head_only: false, date: http_date() };
        stream.write(&Page::error(400).render(session.persona(), answer)).await
    }

    async fn record_garbage(
        &self,
        session: &mut Session,
        bytes: &[u8],
        why: &str,
    ) -> Result<(), Closed> {
        let mut event = session.event(EventKind::DataReceived).with("reason", why);
        if let Some(protocol) = guess::protocol(bytes) {
            event = event.with("protocol", protocol);
        }
        let kept = bytes.get(..MAX_GARBAGE_BYTES);
        if kept.is_some() {
            event = event.with("truncated", true);
        }
        event.request = Some(kept.unwrap_or(bytes).into());
        session.emit(event).await
    }
}

/// Why there is no head.
enum Broken {
    Not(HeadError),
    Closed(Closed),
}

/// A login in a request.
struct Attempt {
    login: Login,
    method: &'static str,
}

impl Attempt {
    fn find(head: &Head, body: &[u8]) -> Option<Self> {
        let authorization = head.authorization.as_deref();
        if let Some(login) = authorization.and_then(login::in_authorization) {
            return Some(Self { login, method: "http-basic" });
        }
        let query = head.target.splitn(2, |b| *b == b'?').nth(1).unwrap_or_default();
        // Clients that forget the type send a form all the same.
        let form = if head.form || !body.starts_with(b"{") { body } else { &[] };
        let login = login::in_form(form).or_else(|| login::in_form(query))?;
        Some(Self { login, method: "http-form" })
    }
}

/// The page that a request gets.
fn choose(session: &Session, head: &Head, body: &Body, attempt: Option<&Attempt>) -> Page {
    let path = head.target.split(|b| *b == b'?').next().unwrap_or_default();
    let login_path = matches!(path, b"/" | b"/index.html" | b"/index.htm" | b"/index.cgi")
        || path.starts_with(b"/login");
    let persona = session.persona();
    if body.malformed || (head.minor == 1 && head.host.is_none()) {
        return Page::error(400);
    }
    if matches!(head.framing, Framing::Length(length) if length > MAX_BODY_BYTES as u64) {
        return Page::error(413);
    }
    match head.method.as_slice() {
        b"OPTIONS" => Page::options(),
        b"GET" | b"HEAD" | b"POST" => match attempt {
            Some(Attempt { method: "http-basic", .. }) => Page::unauthorized(persona),
            _ if login_path => Page::login(persona, attempt.is_some()),
            _ => Page::error(404),
        },
        _ => Page::error(501),
    }
}

fn requested(
    session: &mut Session,
    head: Head,
    body: Vec<u8>,
    truncated: bool,
    status: u16,
) -> Event {
    let mut event = session.event(EventKind::HttpRequested);
    event.request = Some(Untrusted::new([head.method, head.target].join(&b' ')));
    if let Some(language) = head.accept_language.as_deref().and_then(client::language) {
        event = event.with("language", language.as_str());
    }
    if let Some(agent) = head.user_agent {
        if let Some(program) = client::program(&agent) {
            event = event.with("http_client", program);
        }
        let user_agent = Some(Untrusted::new(agent));
        event.fingerprints = Some(Box::new(Fingerprints { user_agent, ..Fingerprints::default() }));
    }
    let version = if head.minor == 0 { "HTTP/1.0" } else { "HTTP/1.1" };
    event = event
        .with("headers", Untrusted::new(head.raw))
        .with("version", version)
        .with("status", i64::from(status));
    if let Some(host) = head.host {
        event = event.with("host", Untrusted::new(host));
    }
    if !body.is_empty() {
        event = event.with("body", Untrusted::new(body));
    }
    if truncated {
        event = event.with("truncated", true);
    }
    event
}

fn attempted(session: &mut Session, attempt: Attempt) -> Event {
    let mut event = session.event(EventKind::AuthAttempted).with("method", attempt.method);
    event.credentials = Some(Credentials {
        username: attempt.login.username.map(Untrusted::new),
        password: attempt.login.password.map(Untrusted::new),
        outcome: Some(Outcome::Failed),
    });
    event
}

/// Now, as HTTP writes it.
fn http_date() -> String {
    jiff::Timestamp::now().strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}
