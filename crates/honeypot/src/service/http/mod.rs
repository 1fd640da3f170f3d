//! A web server: the pages of a [site](site), with the answers of a real
//! daemon. Records every request whole, and every login in it; lets nobody in.

pub mod client;
mod condition;
mod daemon;
pub mod exploit;
pub mod login;
mod path;
mod reply;
pub mod request;
pub(crate) mod site;
mod template;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use palisade_event::{Credentials, Event, EventKind, Fingerprints, Outcome, Untrusted};

use self::exploit::{Found, Rules};
use self::login::Attempt;
use self::reply::{Line, Request};
use self::request::{Chunks, Framing, Head, HeadError, MAX_BODY_BYTES, MAX_HEAD_BYTES};
use self::site::Site;
use super::guess;
use crate::shell::World;
use crate::tls::client_hello::ClientHello;
use crate::{Closed, HttpConfig, Persona, Session, Stream};

/// Most bytes of one read.
const READ_BYTES: usize = 16 * 1024;
/// Most bytes of something that is no request that are recorded.
const MAX_GARBAGE_BYTES: usize = 4 * 1024;
/// How long the body of a request is waited for that is refused anyway.
const REFUSED_BODY_WAIT: Duration = Duration::from_secs(1);
/// The site of services that name none: the device's login page.
const DEFAULT_SITE: &str = "router";

/// The HTTP service.
#[derive(Debug)]
pub(crate) struct Http {
    config: HttpConfig,
    site: Site,
    rules: Arc<Rules>,
}

/// A request's body, as far as it was read.
#[derive(Debug, Default)]
struct Body {
    bytes: Vec<u8>,
    /// Bytes that came, with those that were not kept.
    total: u64,
    /// There was more, or it did not come.
    truncated: bool,
    /// What is wrong with its framing, or why it ended early.
    ended: Option<Closed>,
    malformed: bool,
    /// All of it came.
    complete: bool,
}

impl Http {
    /// The service with its site.
    ///
    /// # Errors
    /// A sentence about what is wrong with the site.
    pub(crate) fn new(
        config: HttpConfig,
        persona: &Persona,
        world: &World,
        rules: Arc<Rules>,
    ) -> Result<Self, String> {
        let site = Site::open(config.site.as_deref().unwrap_or(DEFAULT_SITE), persona, world)?;
        Ok(Self { config, site, rules })
    }

    /// Credentials that the site gives away, by their names.
    pub(crate) fn secrets(&self) -> &BTreeMap<String, String> {
        &self.site.secrets
    }

    pub(crate) async fn serve(
        &self,
        session: &mut Session,
        stream: &mut Stream,
    ) -> Result<(), Closed> {
        // Holds the request being read and what was sent ahead of the next;
        // empty, and without memory, between requests.
        let mut buffer = Vec::new();
        let daemon = &self.site.daemon;
        let between = Duration::from_secs(daemon.keep_alive_secs());
        let requests = self.config.requests.unwrap_or_else(|| daemon.requests());
        for count in 1..=requests {
            stream.set_step((count > 1 && buffer.is_empty()).then_some(between));
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
            if !self.answer(session, stream, head, body, requests - count).await? {
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
                if !self.site.daemon.skips_blank_lines() && request::blank(buffer) >= 4 {
                    return Err(Broken::Not(HeadError::Malformed));
                }
                match request::find_end(buffer, seen) {
                    Ok(Some(end)) => return Ok(end),
                    // Some wait for a whole line before they complain.
                    Err(HeadError::Malformed)
                        if self.site.daemon.reads_lines()
                            && buffer.len() < MAX_GARBAGE_BYTES
                            && !buffer.contains(&b'\n') => {}
                    Ok(None) => {}
                    Err(why) => return Err(Broken::Not(why)),
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
            body.complete = true;
            return body;
        }
        stream.set_step(Some(Duration::from_secs(self.config.request_secs)));
        if head.expects_continue && buffer.is_empty() {
            let sent = stream.write(b"HTTP/1.1 100 Continue\r\n\r\n").await;
            body.ended = sent.err();
        }
        let most = self.site.daemon.max_body_bytes();
        let (mut chunks, mut waited) = (Chunks::default(), false);
        loop {
            let complete = match head.framing {
                Framing::Length(length) => {
                    let wanted = usize::try_from(length - body.total).unwrap_or(usize::MAX);
                    let taken = wanted.min(buffer.len());
                    let room = MAX_BODY_BYTES - body.bytes.len();
                    body.bytes.extend(buffer.iter().take(taken.min(room)));
                    drop(buffer.drain(..taken));
                    body.total += taken as u64;
                    body.total >= length
                }
                Framing::Chunked => {
                    match chunks.push(buffer, &mut body.bytes) {
                        Ok(taken) => drop(buffer.drain(..taken)),
                        Err(request::ChunkError) => body.malformed = true,
                    }
                    body.total = chunks.total();
                    chunks.done()
                }
            };
            body.complete = complete;
            let kept = body.bytes.len() as u64;
            body.truncated = !complete || kept < body.total;
            let announced = match head.framing {
                Framing::Length(length) => length,
                Framing::Chunked => body.total,
            };
            // What no server of its kind takes is not waited for beyond what is recorded.
            let too_long = most > 0 && announced > most;
            if too_long && !waited {
                // It is refused at once; what is on its way is recorded all the same.
                stream.set_step(Some(REFUSED_BODY_WAIT));
                waited = true;
            }
            let too_long = too_long && kept >= MAX_BODY_BYTES as u64;
            if complete || too_long || body.malformed || body.ended.is_some() {
                return body;
            }
            body.ended = match stream.read(buffer, READ_BYTES).await {
                Err(Closed::Idle) if waited => return body,
                read => read.err(),
            };
        }
    }

    /// Records a request and answers it; whether the connection goes on.
    /// `left` requests may follow.
    async fn answer(
        &self,
        session: &mut Session,
        stream: &mut Stream,
        head: Box<Head>,
        body: Body,
        left: u32,
    ) -> Result<bool, Closed> {
        let attempts = Attempt::find(&head, &body.bytes);
        let reply = http_date_now(|date| {
            let request = Request {
                head: &head,
                body_bytes: body.total,
                malformed: body.malformed,
                attempt: attempts.first(),
                port: session.local().port.unwrap_or(80),
                tls: stream.is_tls(),
            };
            let keep_alive = left > 0 && body.complete && !body.malformed;
            let line = Line { keep_alive, left, date };
            if stream.is_misplaced() {
                self.site.reply_to_plain(date)
            } else {
                self.site.reply(&request, line)
            }
        });
        let Body { bytes, truncated, ended, .. } = body;
        let found = self.rules.find(&head, &bytes);
        let event = named(requested(session, *head, bytes, truncated, reply.status), &found);
        session.emit(event).await?;
        for (tool, url) in found.droppers {
            let event = session.event(EventKind::DownloadAttempted);
            let mut event = event.with("tool", tool).with("outcome", "not-fetched");
            event.request = Some(Untrusted::new(url));
            session.emit(event).await?;
        }
        let failed = !attempts.is_empty();
        for attempt in attempts {
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
        stream.write(&reply.bytes).await?;
        Ok(reply.keep_alive)
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
        let reply = http_date_now(|date| self.site.reply_to_garbage(why, date));
        stream.write(&reply.bytes).await
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
        if let Ok(Some(hello)) = ClientHello::parse(bytes) {
            event = crate::tls::record(event, &hello);
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
    let ja4 = session.ja4().map(Into::into);
    if head.user_agent.is_some() || ja4.is_some() {
        if let Some(program) = head.user_agent.as_deref().and_then(client::program) {
            event = event.with("http_client", program);
        }
        let user_agent = head.user_agent.map(Untrusted::new);
        let prints = Fingerprints { user_agent, ja4, ..Fingerprints::default() };
        event.fingerprints = Some(Box::new(prints));
    }
    let version = match head.minor {
        0 if head.simple => "HTTP/0.9",
        0 => "HTTP/1.0",
        _ => "HTTP/1.1",
    };
    event = event
        .with("headers", Untrusted::new(head.raw))
        .with("header_order", header_order(&head.names).as_str())
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

/// Says which known attack a request is.
fn named(mut event: Event, found: &Found<'_>) -> Event {
    let Some(first) = found.rules.first() else { return event };
    event.cve = found.rules.iter().find_map(|rule| rule.cve.as_deref()).map(Into::into);
    let ids: Vec<&str> = found.rules.iter().map(|rule| rule.id.as_str()).collect();
    event.with("signature", ids.join(",").as_str()).with("technique", first.technique.as_str())
}

/// What programs differ in: which fields they send, in which order and
/// spelling. The first 12 digits of the SHA-256 of their names.
fn header_order(names: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, names);
    digest.as_ref().iter().take(6).map(|byte| format!("{byte:02x}")).collect()
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

/// Seconds since 1970 as HTTP writes them (RFC 9110, section 5.6.7).
fn http_date(seconds: i64) -> String {
    let at = jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// Now, as HTTP writes it; made once a second.
fn http_date_now<T>(with: impl FnOnce(&str) -> T) -> T {
    thread_local! {
        static LAST: RefCell<(i64, String)> = const { RefCell::new((0, String::new())) };
    }
    let now = jiff::Timestamp::now().as_second();
    LAST.with_borrow_mut(|(at, text)| {
        if *at != now {
            (*at, *text) = (now, http_date(now));
        }
        with(text)
    })
}
