//! What a request is answered: the order of a real server's own checks, then
//! the pages of the site.

use std::borrow::Cow;

use super::condition::{self, Verdict};
use super::daemon::{About, Answer, Brand, Note, Way};
use super::login::Attempt;
use super::path::{self, PathError};
use super::request::{Framing, Head, HeadError};
use super::site::{self, Page, Site};
use super::template::Asked;

/// Methods that Apache knows (RFC 9110, 4918, 3253).
const KNOWN_METHODS: [&[u8]; 26] = [
    b"GET",
    b"HEAD",
    b"POST",
    b"PUT",
    b"DELETE",
    b"CONNECT",
    b"OPTIONS",
    b"TRACE",
    b"PATCH",
    b"PROPFIND",
    b"PROPPATCH",
    b"MKCOL",
    b"COPY",
    b"MOVE",
    b"LOCK",
    b"UNLOCK",
    b"VERSION-CONTROL",
    b"CHECKOUT",
    b"UNCHECKOUT",
    b"CHECKIN",
    b"UPDATE",
    b"LABEL",
    b"REPORT",
    b"MKWORKSPACE",
    b"MKACTIVITY",
    b"MERGE",
];
/// Longest host name that is shown again.
const MAX_HOST_BYTES: usize = 255;
/// What Debian's Apache calls itself where nobody has given it a name.
const UNNAMED: &str = "127.0.1.1";

/// A request that is to be answered.
pub(super) struct Request<'a> {
    pub(super) head: &'a Head,
    /// Bytes of the body, with those that were not kept.
    pub(super) body_bytes: u64,
    pub(super) malformed: bool,
    pub(super) attempt: Option<&'a Attempt>,
    /// The port that the client connected to, and whether by TLS.
    pub(super) port: u16,
    pub(super) tls: bool,
}

/// A written answer.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) keep_alive: bool,
    pub(super) bytes: Vec<u8>,
}

/// How a request's connection is, beside what it says itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line<'a> {
    pub(super) keep_alive: bool,
    pub(super) left: u32,
    pub(super) date: &'a str,
}

/// What a check says: go on, or answer so.
enum Refusal {
    /// An error page; whether the connection ends.
    Error(u16, End),
    /// The same with one more field.
    WithField(u16, End, &'static str),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Stays,
    Closes,
    /// Closes without a word about it.
    Silent,
}

impl Site {
    /// The answer to a request.
    pub(super) fn reply(&self, request: &Request<'_>, line: Line<'_>) -> Reply {
        let head = request.head;
        let mut way = Way {
            minor: head.minor,
            simple: head.simple,
            keep_alive: line.keep_alive && head.keep_alive && !head.simple,
            says_keep_alive: head.says_keep_alive,
            left: line.left,
            head_only: head.method == b"HEAD",
            date: line.date,
        };
        let refused = match self.daemon.brand {
            Brand::Nginx => refused_by_nginx(request),
            Brand::Apache => refused_by_apache(request),
            Brand::Lighttpd => refused_by_lighttpd(request),
        };
        match refused {
            Some(refusal) => self.refuse(request, refusal, way),
            None => match self.find(request) {
                Ok(page)
                    if head.method == b"OPTIONS"
                        && (page.file.is_some() || self.daemon.brand == Brand::Lighttpd) =>
                {
                    self.options(Some(page), way)
                }
                Err(_) if head.method == b"OPTIONS" && self.daemon.brand != Brand::Nginx => {
                    if head.target == b"*" {
                        self.all_options(way)
                    } else {
                        self.options(None, way)
                    }
                }
                Ok(page) => self.serve(page, request, way),
                Err(Found::Refused(refusal)) => self.refuse(request, refusal, way),
                Err(Found::Directory(path)) => self.redirect(request, &path, &mut way),
            },
        }
    }

    /// The answer to bytes that are no request.
    pub(super) fn reply_to_garbage(&self, why: HeadError, date: &str) -> Reply {
        let (status, note) = self.daemon.refusal(why);
        self.last_word(status, note, date)
    }

    /// The answer to a plain request where TLS is spoken.
    pub(super) fn reply_to_plain(&self, date: &str) -> Reply {
        self.last_word(400, Note::PlainOnTls, date)
    }

    fn last_word(&self, status: u16, note: Note, date: &str) -> Reply {
        let about = About { note, host: UNNAMED.into(), port: 80, ..About::default() };
        let body = self.daemon.error_page(status, &about);
        let way = Way {
            minor: 0,
            simple: false,
            keep_alive: false,
            says_keep_alive: false,
            left: 0,
            head_only: false,
            date,
        };
        let content_type = Some(self.daemon.error_type());
        let answer = Answer { status, content_type, body: &body, ..Answer::default() };
        Reply { status, keep_alive: false, bytes: self.daemon.write(&answer, way) }
    }

    fn refuse(&self, request: &Request<'_>, refusal: Refusal, mut way: Way<'_>) -> Reply {
        let (status, end, field) = match refusal {
            Refusal::Error(status, end) => (status, end, ""),
            Refusal::WithField(status, end, field) => (status, end, field),
        };
        let keep_alive = way.keep_alive && end == End::Stays;
        if end != End::Silent {
            way.keep_alive = keep_alive;
        }
        let mut reply = self.error(status, request, field.as_bytes(), way);
        reply.keep_alive = keep_alive;
        reply
    }

    /// An error page of the server's own.
    fn error(&self, status: u16, request: &Request<'_>, fields: &[u8], way: Way<'_>) -> Reply {
        let body = self.daemon.error_page(status, &about(request, ""));
        let compressed = self.daemon.brand == Brand::Nginx
            && matches!(status, 403 | 404)
            && request.head.accepts_gzip
            && way.minor == 1;
        let body = if compressed { site::gzip(&body) } else { body };
        let range = format!("bytes */{}", request.body_bytes);
        let of_range =
            (status == 416 && self.daemon.brand == Brand::Nginx).then_some(range.as_str());
        let answer = Answer {
            status,
            content_type: Some(self.daemon.error_type()),
            body: &body,
            fields,
            range: of_range,
            gzip: compressed,
            ..Answer::default()
        };
        Reply { status, keep_alive: way.keep_alive, bytes: self.daemon.write(&answer, way) }
    }

    /// What may be done with everything: nothing is said about it.
    fn all_options(&self, way: Way<'_>) -> Reply {
        let answer = Answer { status: 200, ..Answer::default() };
        Reply { status: 200, keep_alive: way.keep_alive, bytes: self.daemon.write(&answer, way) }
    }

    /// What may be done with a file, or with one that is not there.
    fn options(&self, page: Option<&Page>, way: Way<'_>) -> Reply {
        let field = format!("Allow: {}\r\n", self.daemon.allow());
        let content_type = page.and_then(|page| page.content_type.as_deref());
        let content_type = content_type.filter(|_| self.daemon.brand == Brand::Apache);
        let answer =
            Answer { status: 200, content_type, fields: field.as_bytes(), ..Answer::default() };
        Reply { status: 200, keep_alive: way.keep_alive, bytes: self.daemon.write(&answer, way) }
    }

    fn redirect(&self, request: &Request<'_>, path: &[u8], way: &mut Way<'_>) -> Reply {
        let (scheme, usual) = if request.tls { ("https", 443) } else { ("http", 80) };
        let (host, told) = host(request.head);
        // nginx names the port it listens on, Apache the one that was asked for.
        let port = match self.daemon.brand {
            Brand::Nginx => Some(request.port),
            Brand::Apache | Brand::Lighttpd => told,
        };
        let port = port.filter(|port| *port != usual).map(|port| format!(":{port}"));
        let path = String::from_utf8_lossy(path);
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '-' | '_' | '~');
        let path: String = path.chars().filter(|c| plain(*c)).collect();
        let location = format!("{scheme}://{host}{}{path}/", port.unwrap_or_default());
        let body = self.daemon.error_page(301, &about(request, &location));
        let answer = Answer {
            status: 301,
            content_type: Some(self.daemon.error_type()),
            body: &body,
            location: Some(location.as_bytes()),
            ..Answer::default()
        };
        Reply { status: 301, keep_alive: way.keep_alive, bytes: self.daemon.write(&answer, *way) }
    }

    /// The page of a request, or what is said in its place.
    fn find(&self, request: &Request<'_>) -> Result<&Page, Found> {
        let head = request.head;
        let brand = self.daemon.brand;
        let not_found = || match &self.fallback {
            Some(page) => Ok(page),
            None => Err(Found::Refused(Refusal::Error(404, End::Stays))),
        };
        let path = match path::resolve(&head.target) {
            Ok(path) => path,
            Err(PathError::Zero) if brand == Brand::Apache => return not_found(),
            Err(_) if brand == Brand::Lighttpd => return not_found(),
            Err(_) => return Err(Found::Refused(Refusal::Error(400, End::Closes))),
        };
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        if brand == Brand::Apache && name.starts_with(b".ht") {
            return Err(Found::Refused(Refusal::Error(403, End::Stays)));
        }
        let Some(page) = self.page(&path) else {
            if brand != Brand::Lighttpd {
                if self.is_directory(&path) {
                    return Err(Found::Directory(path));
                }
                if path.strip_suffix(b"/").is_some_and(|path| self.is_directory(path)) {
                    return Err(Found::Refused(Refusal::Error(403, End::Stays)));
                }
            }
            return not_found();
        };
        let reads = matches!(head.method.as_slice(), b"GET" | b"HEAD");
        if page.file.is_some() && !reads {
            match (brand, head.method.as_slice()) {
                (Brand::Nginx, _) => {
                    return Err(Found::Refused(Refusal::Error(405, End::Stays)));
                }
                (Brand::Apache | Brand::Lighttpd, _) => {}
            }
        }
        Ok(page)
    }

    /// A page as an answer.
    fn serve(&self, page: &Page, request: &Request<'_>, way: Way<'_>) -> Reply {
        let head = request.head;
        let basic = request.attempt.is_some_and(Attempt::is_basic);
        if let Some(realm) = page.realm.as_deref().filter(|_| {
            // A device's page says so only to those who try.
            self.daemon.brand != Brand::Lighttpd || basic
        }) {
            let field = format!("WWW-Authenticate: Basic realm=\"{realm}\"\r\n");
            return self.error(401, request, field.as_bytes(), way);
        }
        let method = head.method.as_slice();
        if !page.methods.is_empty() && !page.methods.iter().any(|known| known.as_bytes() == method)
        {
            let field = format!("Allow: {}\r\n", page.methods.join(", "));
            let body = page.failed.as_ref().and_then(|text| text.fixed()).unwrap_or_default();
            let answer = Answer {
                status: 405,
                content_type: Some(b"text/plain;charset=UTF-8"),
                body,
                fields: field.as_bytes(),
                generated: true,
                ..Answer::default()
            };
            let bytes = self.daemon.write(&answer, way);
            return Reply { status: 405, keep_alive: way.keep_alive, bytes };
        }
        match &page.file {
            Some(file) => self.file(page, file, request, way),
            None => self.program(page, request, way),
        }
    }

    /// A page that a program makes.
    fn program(&self, page: &Page, request: &Request<'_>, way: Way<'_>) -> Reply {
        let (host, _) = host(request.head);
        let path = request.head.target.split(|byte| *byte == b'?').next().unwrap_or_default();
        let tried = request.attempt.and_then(|attempt| attempt.login.username.as_deref());
        let asked = Asked { username: tried.unwrap_or_default(), host: host.as_bytes(), path };
        let failed =
            page.failed.as_ref().filter(|_| request.attempt.is_some() && page.methods.is_empty());
        let body = filled(failed.unwrap_or(&page.body), asked);
        let fields = filled(&page.fields, asked);
        let location = page.location.as_ref().map(|location| filled(location, asked));
        let html = page.content_type.as_deref().is_some_and(|kind| kind.starts_with(b"text/"));
        let lighttpd = self.daemon.brand == Brand::Lighttpd;
        let compressed =
            html && !lighttpd && request.head.accepts_gzip && way.minor == 1 && !body.is_empty();
        let body = if compressed { Cow::Owned(site::gzip(&body)) } else { body };
        let answer = Answer {
            status: page.status,
            content_type: page.content_type.as_deref(),
            body: &body,
            fields: &fields,
            location: location.as_deref(),
            gzip: compressed,
            compressible: html && !body.is_empty(),
            generated: !lighttpd,
            ..Answer::default()
        };
        Reply {
            status: page.status,
            keep_alive: way.keep_alive,
            bytes: self.daemon.write(&answer, way),
        }
    }

    /// A file, whole, in parts or not at all.
    fn file(&self, page: &Page, file: &site::File, request: &Request<'_>, way: Way<'_>) -> Reply {
        let head = request.head;
        let bytes = page.body.fixed().unwrap_or_default();
        let zipped = file
            .gzip
            .as_deref()
            .filter(|_| head.accepts_gzip && way.minor == 1 && head.range.is_none());
        let dates = (file.modified.as_str(), file.tag.as_str());
        let verdict =
            condition::decide(self.daemon.brand, head, dates, bytes.len(), zipped.is_some());
        let mut answer = Answer {
            status: 200,
            content_type: page.content_type.as_deref(),
            body: zipped.unwrap_or(bytes),
            file: Some(dates),
            fields: page.fields.fixed().unwrap_or_default(),
            gzip: zipped.is_some(),
            compressible: file.gzip.is_some(),
            ..Answer::default()
        };
        let (range, body, kind);
        match verdict {
            Verdict::Whole => {}
            Verdict::NotModified => {
                answer = Answer { status: 304, body: b"", gzip: false, ..answer };
            }
            Verdict::Failed if self.daemon.brand == Brand::Nginx => {
                return self.refuse(request, Refusal::Error(412, End::Silent), way);
            }
            Verdict::Failed => answer = Answer { status: 412, body: b"", ..answer },
            Verdict::OutOfRange => {
                let sized = Request { body_bytes: bytes.len() as u64, ..*request };
                return self.error(416, &sized, b"", way);
            }
            Verdict::Parts(parts) => match parts.as_slice() {
                [(first, last)] => {
                    range = format!("bytes {first}-{last}/{}", bytes.len());
                    let body = bytes.get(*first..=*last).unwrap_or_default();
                    answer = Answer { status: 206, body, range: Some(&range), ..answer };
                }
                parts => {
                    (body, kind) = self.parts(bytes, page.content_type.as_deref(), parts);
                    let content_type = Some(kind.as_bytes());
                    answer = Answer { status: 206, body: &body, content_type, ..answer };
                }
            },
        }
        Reply {
            status: answer.status,
            keep_alive: way.keep_alive,
            bytes: self.daemon.write(&answer, way),
        }
    }

    /// Several parts of a file, and the type of that.
    fn parts(
        &self,
        bytes: &[u8],
        kind: Option<&[u8]>,
        parts: &[(usize, usize)],
    ) -> (Vec<u8>, String) {
        let drawn: u64 = rand::random();
        let (boundary, names) = match self.daemon.brand {
            Brand::Nginx => {
                (format!("{:020}", drawn % 1_000_000), ["Content-Type", "Content-Range"])
            }
            Brand::Apache | Brand::Lighttpd => {
                (format!("{drawn:016x}"), ["Content-type", "Content-range"])
            }
        };
        let [type_name, range_name] = names;
        let mut body = Vec::new();
        for (first, last) in parts {
            body.extend_from_slice(format!("\r\n--{boundary}\r\n").as_bytes());
            if let Some(kind) = kind {
                body.extend_from_slice(format!("{type_name}: ").as_bytes());
                body.extend_from_slice(kind);
                body.extend_from_slice(b"\r\n");
            }
            let range = format!("{range_name}: bytes {first}-{last}/{}\r\n\r\n", bytes.len());
            body.extend_from_slice(range.as_bytes());
            body.extend_from_slice(bytes.get(*first..=*last).unwrap_or_default());
        }
        body.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
        (body, format!("multipart/byteranges; boundary={boundary}"))
    }
}

/// What is said in the place of a page.
enum Found {
    Refused(Refusal),
    Directory(Vec<u8>),
}

fn filled<'a>(template: &'a super::template::Template, asked: Asked<'_>) -> Cow<'a, [u8]> {
    if let Some(text) = template.fixed() {
        return Cow::Borrowed(text);
    }
    let mut out = Vec::new();
    template.fill(&mut out, asked);
    Cow::Owned(out)
}

fn too_long(request: &Request<'_>, most: u64) -> bool {
    let announced = match request.head.framing {
        Framing::Length(length) => length,
        Framing::Chunked => 0,
    };
    most > 0 && announced.max(request.body_bytes) > most
}

fn refused_by_nginx(request: &Request<'_>) -> Option<Refusal> {
    let head = request.head;
    let closes = |status| Some(Refusal::Error(status, End::Closes));
    let odd = |byte: &u8| !(byte.is_ascii_uppercase() || *byte == b'_' || *byte == b'-');
    if head.method.iter().any(odd) || !starts_as_target(&head.target) {
        return closes(400);
    }
    if !head.simple && head.minor == 1 && head.hosts == 0 || !host_is_plain(head) || head.hosts > 1
    {
        return closes(400);
    }
    if head.ambiguous {
        return closes(400);
    }
    if matches!(head.method.as_slice(), b"TRACE" | b"CONNECT") {
        return closes(405);
    }
    if too_long(request, 1024 * 1024) {
        return closes(413);
    }
    None
}

fn refused_by_apache(request: &Request<'_>) -> Option<Refusal> {
    let head = request.head;
    let closes = |status| Some(Refusal::Error(status, End::Closes));
    let star = head.target == b"*" && head.method == b"OPTIONS";
    if !head.simple && head.minor == 1 && head.hosts == 0 || !host_is_plain(head) || head.hosts > 1
    {
        return closes(400);
    }
    if !starts_as_target(&head.target) && !star || head.method == b"CONNECT" {
        return closes(400);
    }
    if request.malformed {
        return closes(400);
    }
    if !KNOWN_METHODS.contains(&head.method.as_slice()) {
        return Some(Refusal::WithField(501, End::Closes, "Allow: GET,POST,OPTIONS,HEAD\r\n"));
    }
    if head.expectation.is_some() {
        return Some(Refusal::Error(417, End::Silent));
    }
    match head.method.as_slice() {
        b"TRACE" => Some(Refusal::WithField(405, End::Stays, "Allow: \r\n")),
        b"GET" | b"HEAD" | b"POST" | b"OPTIONS" => None,
        _ => Some(Refusal::WithField(405, End::Stays, "Allow: GET,POST,OPTIONS,HEAD\r\n")),
    }
}

fn refused_by_lighttpd(request: &Request<'_>) -> Option<Refusal> {
    let head = request.head;
    if request.malformed || (head.minor == 1 && head.hosts == 0) {
        return Some(Refusal::Error(400, End::Closes));
    }
    if too_long(request, super::request::MAX_BODY_BYTES as u64) {
        return Some(Refusal::Error(413, End::Closes));
    }
    match head.method.as_slice() {
        b"GET" | b"HEAD" | b"POST" | b"OPTIONS" => None,
        _ => Some(Refusal::Error(501, End::Stays)),
    }
}

fn starts_as_target(target: &[u8]) -> bool {
    let scheme = |scheme: &[u8]| {
        target.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    };
    target.starts_with(b"/") || scheme(b"http://") || scheme(b"https://")
}

fn host_is_plain(head: &Head) -> bool {
    let odd = |byte: &u8| *byte <= b' ' || *byte == 127 || *byte == b'/' || *byte == 0;
    head.host.as_deref().is_none_or(|host| !host.iter().any(odd))
}

/// The host that was asked for, without what pages must not show, and its port.
fn host(head: &Head) -> (Cow<'_, str>, Option<u16>) {
    let Some(host) = head.host.as_deref().and_then(|host| std::str::from_utf8(host).ok()) else {
        return (Cow::Borrowed(UNNAMED), None);
    };
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !name.contains(':') || name.ends_with(']') => {
            (name, port.parse().ok())
        }
        _ => (host, None),
    };
    let plain =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']');
    if name.is_empty() || name.len() > MAX_HOST_BYTES || !name.chars().all(plain) {
        return (Cow::Borrowed(UNNAMED), port);
    }
    (Cow::Owned(name.to_ascii_lowercase()), port)
}

fn about<'a>(request: &'a Request<'_>, location: &'a str) -> About<'a> {
    let head = request.head;
    let usual = if request.tls { 443 } else { 80 };
    let agent = head.user_agent.as_deref().unwrap_or_default();
    let names = |part: &[u8]| agent.windows(part.len()).any(|window| window == part);
    let (host, port) = host(head);
    // Where the head itself is refused, nobody was asked for.
    let refused = head.minor == 1 && head.hosts != 1
        || !host_is_plain(head)
        || head.method == b"CONNECT"
        || !starts_as_target(&head.target);
    About {
        note: Note::None,
        padded: !head.simple && (names(b"Chrome/") || names(b"MSIE ")),
        host: if refused { UNNAMED.into() } else { host },
        port: port.unwrap_or(usual),
        method: std::str::from_utf8(&head.method).unwrap_or_default(),
        location,
        expectation: head
            .expectation
            .as_deref()
            .and_then(|e| std::str::from_utf8(e).ok())
            .unwrap_or_default(),
    }
}
