//! Decoders of HTTP/1.x requests (RFC 9112): where a head ends, what it says,
//! how its body is framed, chunks. Pure and bounded; the library `httparse`
//! does the head's grammar.

/// Longest request head, in bytes.
pub const MAX_HEAD_BYTES: usize = 32 * 1024;
/// Most bytes of a body that are read and recorded.
pub const MAX_BODY_BYTES: usize = 64 * 1024;
/// Most header fields.
const MAX_FIELDS: usize = 100;
/// Longest line of a head that servers take, in bytes.
const MAX_LINE_BYTES: usize = 8 * 1024;
/// Longest line with a chunk's size, and longest trailer.
const MAX_CHUNK_LINE_BYTES: usize = 1_024;

/// A request's head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The method, as sent.
    pub method: Vec<u8>,
    /// The target, as sent.
    pub target: Vec<u8>,
    /// 0 or 1, the minor version.
    pub minor: u8,
    /// HTTP/0.9: a line and nothing else, answered by a body and nothing else.
    pub simple: bool,
    /// The header fields as sent, without the request line and the empty line.
    pub raw: Vec<u8>,
    /// `User-Agent`.
    pub user_agent: Option<Vec<u8>>,
    /// `Accept-Language`.
    pub accept_language: Option<Vec<u8>>,
    /// `Host`.
    pub host: Option<Vec<u8>>,
    /// `Authorization`.
    pub authorization: Option<Vec<u8>>,
    /// Whether `Content-Type` is a form.
    pub form: bool,
    /// Whether a compressed answer is welcome.
    pub accepts_gzip: bool,
    /// `Range`.
    pub range: Option<Vec<u8>>,
    /// `If-None-Match`, `If-Modified-Since`, `If-Match`, `If-Unmodified-Since`
    /// and `If-Range`.
    pub conditions: Option<Box<Conditions>>,
    /// How many `Host` fields there are.
    pub hosts: u8,
    /// Both a length and chunks: an attempt at request smuggling.
    pub ambiguous: bool,
    /// The names of the fields in their order and spelling, joined by commas.
    pub names: Vec<u8>,
    /// What the client says about the connection, where it does.
    pub says_keep_alive: bool,
    /// An expectation that is not `100-continue`.
    pub expectation: Option<Vec<u8>>,
    /// Whether the client waits for `100 Continue`.
    pub expects_continue: bool,
    /// Whether the connection stays open as far as the client says.
    pub keep_alive: bool,
    /// How the body is framed.
    pub framing: Framing,
}

/// Conditions of a request (RFC 9110, section 13).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    /// `If-None-Match`.
    pub none_match: Option<Vec<u8>>,
    /// `If-Modified-Since`.
    pub modified_since: Option<Vec<u8>>,
    /// `If-Match`.
    pub matches: Option<Vec<u8>>,
    /// `If-Unmodified-Since`.
    pub unmodified_since: Option<Vec<u8>>,
    /// `If-Range`.
    pub range: Option<Vec<u8>>,
}

/// How a body is framed (RFC 9112, section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// So many bytes.
    Length(u64),
    /// Chunks.
    Chunked,
}

/// The bytes are no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// Not HTTP at all, or malformed.
    #[error("malformed")]
    Malformed,
    /// Longer than [`MAX_HEAD_BYTES`], or a line longer than 8 KiB.
    #[error("head-too-long")]
    TooLong,
    /// The first line alone is longer than 8 KiB.
    #[error("target-too-long")]
    TargetTooLong,
    /// HTTP/2.0 and above, in the form of version 1.
    #[error("unknown-version")]
    Version,
    /// A transfer coding that nobody has.
    #[error("unknown-coding")]
    Coding,
    /// Lengths that contradict each other or are no numbers.
    #[error("bad-length")]
    Length,
}

/// Where the head at the start of `bytes` ends, looking again only at bytes
/// from `seen` on. `None`: more are needed.
///
/// # Errors
/// [`HeadError`] as soon as the bytes cannot be a request.
pub fn find_end(bytes: &[u8], seen: usize) -> Result<Option<usize>, HeadError> {
    // Empty lines before a request are skipped (RFC 9112, section 2.2).
    let start = blank(bytes);
    let rest = bytes.get(start..).unwrap_or_default();
    match rest.first() {
        Some(first) if !first.is_ascii_alphabetic() => return Err(HeadError::Malformed),
        _ => {}
    }
    let fresh_line = bytes.get(seen..).is_some_and(|fresh| fresh.contains(&b'\n'));
    let first_line = if fresh_line { rest.iter().position(|b| *b == b'\n') } else { None };
    if let Some(line) = first_line.and_then(|end| rest.get(..end)) {
        if is_simple(line.trim_ascii_end()) {
            return Ok(Some(start + line.len() + 1));
        }
        let version = line.rsplit(|b| *b == b' ').next().unwrap_or_default().trim_ascii_end();
        if !version.starts_with(b"HTTP/1.") {
            let newer =
                matches!(version, [b'H', b'T', b'T', b'P', b'/', b'2'..=b'9', b'.', b'0'..=b'9']);
            let whole =
                newer && line.split(|b| *b == b' ').nth(1).is_some_and(|t| t.starts_with(b"/"));
            return Err(if whole { HeadError::Version } else { HeadError::Malformed });
        }
    }
    let from = seen.saturating_sub(3).max(start);
    let fresh = bytes.get(from..).unwrap_or_default();
    let end = fresh.iter().enumerate().find_map(|(at, byte)| {
        let after = fresh.get(at + 1..)?;
        let blank = *byte == b'\n' && (after.starts_with(b"\n") || after.starts_with(b"\r\n"));
        blank.then(|| from + at + 1 + if after.starts_with(b"\n") { 1 } else { 2 })
    });
    match end {
        Some(end) if end <= MAX_HEAD_BYTES => Ok(Some(end)),
        None if bytes.len() < MAX_HEAD_BYTES => Ok(None),
        _ if !rest.get(..MAX_LINE_BYTES).is_some_and(|line| line.contains(&b'\n')) => {
            Err(HeadError::TargetTooLong)
        }
        _ => Err(HeadError::TooLong),
    }
}

/// How many bytes of empty lines `bytes` begin with.
#[must_use]
pub fn blank(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|b| matches!(b, b'\r' | b'\n')).count()
}

/// Whether a first line is a request of HTTP/0.9: `GET /path`.
fn is_simple(line: &[u8]) -> bool {
    line.strip_prefix(b"GET ").is_some_and(|target| {
        target.starts_with(b"/") && !target.iter().any(|b| b.is_ascii_whitespace() || *b == 0)
    })
}

/// Reads a complete head, as found by [`find_end`].
///
/// # Errors
/// [`HeadError`] where it is malformed.
pub fn parse(bytes: &[u8]) -> Result<Head, HeadError> {
    let mut lines = bytes.split(|b| *b == b'\n').skip_while(|line| line.trim_ascii().is_empty());
    let first = lines.next().unwrap_or_default();
    if first.len() > MAX_LINE_BYTES {
        return Err(HeadError::TargetTooLong);
    }
    if is_simple(first.trim_ascii_end()) {
        return Ok(simple(first.trim_ascii_end()));
    }
    if lines.any(|line| line.len() > MAX_LINE_BYTES) {
        return Err(HeadError::TooLong);
    }
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    match request.parse(bytes) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) | Err(_) => return Err(HeadError::Malformed),
    }
    let (Some(method), Some(target), Some(minor)) = (request.method, request.path, request.version)
    else {
        return Err(HeadError::Malformed);
    };
    let mut head = empty(method.as_bytes(), target.as_bytes(), minor);
    head.raw = raw_fields(bytes).to_vec();
    let mut length: Option<u64> = None;
    let mut chunked = false;
    for field in request.headers.iter() {
        let is = |name: &str| field.name.eq_ignore_ascii_case(name);
        let value = field.value;
        if !head.names.is_empty() {
            head.names.push(b',');
        }
        head.names.extend_from_slice(field.name.as_bytes());
        if is("user-agent") {
            head.user_agent = Some(value.to_vec());
        } else if is("accept-language") {
            head.accept_language = Some(value.to_vec());
        } else if is("host") {
            head.hosts = head.hosts.saturating_add(1);
            head.host = Some(value.to_vec());
        } else if is("accept-encoding") {
            head.accepts_gzip = has_word(value, b"gzip");
        } else if is("range") {
            head.range = Some(value.to_vec());
        } else if let Some(name) = field
            .name
            .get(3..)
            .filter(|_| field.name.get(..3).is_some_and(|start| start.eq_ignore_ascii_case("if-")))
        {
            head.conditions.get_or_insert_default().take(name, value);
        } else if is("authorization") {
            head.authorization = Some(value.to_vec());
        } else if is("content-type") {
            head.form = has_word(value, b"application/x-www-form-urlencoded");
        } else if is("expect") {
            head.expects_continue = has_word(value, b"100-continue");
            head.expectation = (!head.expects_continue).then(|| value.to_vec());
        } else if is("connection") {
            head.says_keep_alive = has_word(value, b"keep-alive");
            head.keep_alive =
                if minor == 1 { !has_word(value, b"close") } else { head.says_keep_alive };
        } else if is("transfer-encoding") {
            if !has_word(value, b"chunked") {
                return Err(HeadError::Coding);
            }
            chunked = true;
        } else if is("content-length") {
            let number = decimal(value).ok_or(HeadError::Length)?;
            if length.is_some_and(|before| before != number) {
                return Err(HeadError::Length);
            }
            length = Some(number);
        }
    }
    if chunked {
        // With a length as well it is an attempt at request smuggling: read
        // as chunks, and the connection is closed after it.
        head.keep_alive &= length.is_none();
        head.ambiguous = length.is_some();
        head.framing = Framing::Chunked;
    } else {
        head.framing = Framing::Length(length.unwrap_or(0));
    }
    Ok(head)
}

/// A head that says nothing beyond its first line.
fn empty(method: &[u8], target: &[u8], minor: u8) -> Head {
    Head {
        method: method.to_vec(),
        target: target.to_vec(),
        minor,
        simple: false,
        raw: Vec::new(),
        user_agent: None,
        accept_language: None,
        host: None,
        authorization: None,
        form: false,
        accepts_gzip: false,
        range: None,
        conditions: None,
        hosts: 0,
        ambiguous: false,
        names: Vec::new(),
        says_keep_alive: false,
        expectation: None,
        expects_continue: false,
        keep_alive: minor == 1,
        framing: Framing::Length(0),
    }
}

/// A request of HTTP/0.9.
fn simple(line: &[u8]) -> Head {
    let target = line.get(4..).unwrap_or_default();
    Head { simple: true, ..empty(b"GET", target, 0) }
}

impl Conditions {
    /// Takes the value of a field, by its name behind `If-`.
    fn take(&mut self, name: &str, value: &[u8]) {
        let place = if name.eq_ignore_ascii_case("none-match") {
            &mut self.none_match
        } else if name.eq_ignore_ascii_case("modified-since") {
            &mut self.modified_since
        } else if name.eq_ignore_ascii_case("match") {
            &mut self.matches
        } else if name.eq_ignore_ascii_case("unmodified-since") {
            &mut self.unmodified_since
        } else if name.eq_ignore_ascii_case("range") {
            &mut self.range
        } else {
            return;
        };
        *place = Some(value.to_vec());
    }
}

/// The bytes between the request line and the empty line.
fn raw_fields(bytes: &[u8]) -> &[u8] {
    let start = bytes.iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
    let rest = bytes.get(start..).unwrap_or_default();
    let line = rest.iter().position(|b| *b == b'\n').map_or(rest.len(), |at| at + 1);
    rest.get(line..).unwrap_or_default().trim_ascii_end()
}

/// Whether a comma- or semicolon-separated value has `word`.
fn has_word(value: &[u8], word: &[u8]) -> bool {
    value
        .split(|b| matches!(b, b',' | b';'))
        .any(|part| part.trim_ascii().eq_ignore_ascii_case(word))
}

/// Digits alone; no sign, no space.
fn decimal(value: &[u8]) -> Option<u64> {
    let digits = value.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(value).ok().filter(|_| digits)?.parse().ok()
}

/// Reads a chunked body (RFC 9112, section 7.1).
#[derive(Debug, Default)]
pub struct Chunks {
    state: ChunkState,
    line: Vec<u8>,
    trailer: usize,
    total: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum ChunkState {
    #[default]
    Size,
    Data(u64),
    DataEnd,
    Trailer,
    Done,
}

/// The chunks are malformed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed chunks")]
pub struct ChunkError;

impl Chunks {
    /// Whether the body is complete.
    #[must_use]
    pub fn done(&self) -> bool {
        self.state == ChunkState::Done
    }

    /// Bytes of the body so far, with those that were not kept.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Takes bytes and appends the body's to `body` up to [`MAX_BODY_BYTES`];
    /// what is beyond is counted only. Returns how many it took: all, unless
    /// the body ended.
    ///
    /// # Errors
    /// [`ChunkError`]; the connection cannot be used further.
    pub fn push(&mut self, bytes: &[u8], body: &mut Vec<u8>) -> Result<usize, ChunkError> {
        let mut rest = bytes;
        while let Some((byte, after)) = rest.split_first() {
            match self.state {
                ChunkState::Done => break,
                ChunkState::Data(left) => {
                    let room = MAX_BODY_BYTES.saturating_sub(body.len());
                    let most = usize::try_from(left).unwrap_or(usize::MAX);
                    let (data, after) = rest.split_at(most.min(rest.len()));
                    body.extend_from_slice(data.get(..room).unwrap_or(data));
                    self.total += data.len() as u64;
                    rest = after;
                    self.state = match left - data.len() as u64 {
                        0 => ChunkState::DataEnd,
                        left => ChunkState::Data(left),
                    };
                    continue;
                }
                ChunkState::DataEnd => match byte {
                    b'\r' => {}
                    b'\n' => self.state = ChunkState::Size,
                    _ => return Err(ChunkError),
                },
                ChunkState::Size if *byte == b'\n' => {
                    let size = chunk_size(&std::mem::take(&mut self.line)).ok_or(ChunkError)?;
                    self.state =
                        if size == 0 { ChunkState::Trailer } else { ChunkState::Data(size) };
                }
                ChunkState::Size => {
                    if self.line.len() >= MAX_CHUNK_LINE_BYTES {
                        return Err(ChunkError);
                    }
                    self.line.push(*byte);
                }
                ChunkState::Trailer => {
                    self.trailer += 1;
                    match byte {
                        b'\n' if self.line.is_empty() => self.state = ChunkState::Done,
                        b'\n' => self.line.clear(),
                        b'\r' => {}
                        _ if self.trailer > MAX_CHUNK_LINE_BYTES => return Err(ChunkError),
                        _ => self.line.push(*byte),
                    }
                }
            }
            rest = after;
        }
        Ok(bytes.len() - rest.len())
    }
}

/// The hexadecimal size before an extension.
fn chunk_size(line: &[u8]) -> Option<u64> {
    let digits = line.split(|b| *b == b';').next()?.trim_ascii();
    let plain =
        !digits.is_empty() && digits.len() <= 16 && digits.iter().all(u8::is_ascii_hexdigit);
    u64::from_str_radix(std::str::from_utf8(digits).ok().filter(|_| plain)?, 16).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn head(text: &str) -> Result<Head, HeadError> {
        let end = find_end(text.as_bytes(), 0)?.expect("a whole head");
        parse(&text.as_bytes()[..end])
    }

    #[test]
    fn a_head_is_found_however_it_is_cut() {
        let text = b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\nrest";
        for cut in 1..text.len() {
            let first = find_end(&text[..cut], 0).unwrap();
            let found = if first.is_some() { first } else { find_end(text, cut).unwrap() };
            assert_eq!(found, Some(text.len() - 4), "{cut}");
        }
        assert_eq!(find_end(b"GET / HTTP/1.0\n\n", 0), Ok(Some(16)));
    }

    #[test]
    fn what_is_not_http_is_refused_at_once() {
        for bytes in [
            &b"\x16\x03\x01\x02\x00"[..],
            b"SSH-2.0-Go\r\n",
            b"HEAD /\r\n",
            b"PRI * HTTP/2.0\r\n",
            b"\0",
            b"root\r\n",
        ] {
            assert_eq!(find_end(bytes, 0), Err(HeadError::Malformed), "{}", bytes.escape_ascii());
        }
        let long = [b"GET /".as_slice(), &[b'a'; MAX_HEAD_BYTES]].concat();
        assert_eq!(find_end(&long, 0), Err(HeadError::TargetTooLong));
        assert_eq!(find_end(b"GET / HTTP/2.0\r\n", 0), Err(HeadError::Version));
        let line = "a".repeat(MAX_LINE_BYTES);
        assert_eq!(head(&format!("GET /{line} HTTP/1.1\r\n\r\n")), Err(HeadError::TargetTooLong));
        assert_eq!(head(&format!("GET / HTTP/1.1\r\nX: {line}\r\n\r\n")), Err(HeadError::TooLong));
    }

    #[test]
    fn a_line_alone_is_a_request_of_the_first_version() {
        assert_eq!(find_end(b"GET /x?y\r\nrest", 0), Ok(Some(10)));
        let head = head("GET /x?y\r\n").unwrap();
        assert!(head.simple && !head.keep_alive);
        assert_eq!(head.target, b"/x?y");
    }

    #[test]
    fn what_a_head_says_is_read() {
        let head = head(
            "POST /login?x HTTP/1.1\r\nHost: h\r\nUser-Agent: \u{fc}\r\n\
            content-length: 5\r\nExpect: 100-Continue\r\nConnection: close\r\n\
            Content-Type: application/x-www-form-urlencoded; charset=UTF-8\r\n\r\n",
        )
        .unwrap();
        assert_eq!(
            (head.method.as_slice(), head.target.as_slice()),
            (&b"POST"[..], &b"/login?x"[..])
        );
        assert_eq!(head.framing, Framing::Length(5));
        assert!(head.form && head.expects_continue && !head.keep_alive);
        assert!(head.raw.starts_with(b"Host: h\r\n") && head.raw.ends_with(b"UTF-8"));
        assert_eq!(head.user_agent.as_deref(), Some("\u{fc}".as_bytes()));
    }

    #[test]
    fn contradicting_lengths_are_refused() {
        for fields in [
            "Content-Length: 1\r\nContent-Length: 2",
            "Content-Length: +1",
            "Content-Length: 1, 1",
            "Content-Length: 99999999999999999999",
        ] {
            let text = format!("POST / HTTP/1.1\r\n{fields}\r\n\r\n");
            assert_eq!(head(&text), Err(HeadError::Length), "{fields}");
        }
        let coding = head("POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n");
        assert_eq!(coding, Err(HeadError::Coding));
        let both =
            head("POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n");
        let both = both.unwrap();
        assert!(both.framing == Framing::Chunked && !both.keep_alive);
    }

    #[test]
    fn chunks_are_joined_however_they_are_cut() {
        let text = b"4;ext=1\r\nWiki\r\n5\r\npedia\r\n0\r\nTrailer: x\r\n\r\nGET";
        for size in 1..text.len() {
            let (mut chunks, mut body, mut taken) = (Chunks::default(), Vec::new(), 0);
            for part in text.chunks(size) {
                taken += chunks.push(part, &mut body).unwrap();
                if chunks.done() {
                    break;
                }
            }
            assert_eq!((body.as_slice(), taken), (&b"Wikipedia"[..], text.len() - 3), "{size}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived_and_bounded(
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
            sizes in proptest::collection::vec("[0-9a-f]{1,6}\r\n[ab]{0,40}\r\n?", 0..20),
        ) {
            let text = [b"GET / HTTP/1.1\r\n".as_slice(), &bytes, b"\r\n\r\n"].concat();
            for input in [&bytes, &text] {
                if let Ok(Some(end)) = find_end(input, 0) {
                    prop_assert!(end <= input.len());
                    let _ = parse(&input[..end]);
                }
            }
            let (mut chunks, mut body) = (Chunks::default(), Vec::new());
            let input = [sizes.concat().as_bytes(), &bytes].concat();
            if let Ok(taken) = chunks.push(&input, &mut body) {
                prop_assert!(taken <= input.len());
            }
            prop_assert!(body.len() <= MAX_BODY_BYTES);
        }
    }
}
