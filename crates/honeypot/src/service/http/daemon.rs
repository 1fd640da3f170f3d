//! Whose answers a site gives: the head's fields in the order and spelling of
//! a real web server, its error pages, its sayings about methods, lengths and
//! connections. Compared in the tests with recorded answers of nginx 1.22.1
//! and Apache 2.4.71.

use std::io::Write as _;

use super::request::HeadError;

/// Which program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Brand {
    Nginx,
    Apache,
    Lighttpd,
}

/// A web server of one version.
#[derive(Clone, Debug)]
pub(super) struct Daemon {
    pub(super) brand: Brand,
    /// The `Server` field, and how error pages are signed.
    pub(super) server: String,
}

/// An answer before it is written down.
#[derive(Clone, Debug, Default)]
pub(super) struct Answer<'a> {
    pub(super) status: u16,
    pub(super) content_type: Option<&'a [u8]>,
    pub(super) body: &'a [u8],
    /// `Last-Modified` and `ETag`, of a file.
    pub(super) file: Option<(&'a str, &'a str)>,
    /// Fields of a program's own, in their order.
    pub(super) fields: &'a [u8],
    pub(super) range: Option<&'a str>,
    pub(super) location: Option<&'a [u8]>,
    /// Compressed; the length is then unknown to nginx.
    pub(super) gzip: bool,
    /// Whether the server would compress it for somebody.
    pub(super) compressible: bool,
    /// Made by a program: the length is unknown to nginx.
    pub(super) generated: bool,
}

/// How an answer goes out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Way<'a> {
    pub(super) minor: u8,
    /// No head at all: HTTP/0.9.
    pub(super) simple: bool,
    pub(super) keep_alive: bool,
    pub(super) says_keep_alive: bool,
    /// Requests that the connection may still have.
    pub(super) left: u32,
    pub(super) head_only: bool,
    pub(super) date: &'a str,
}

impl Daemon {
    /// Requests of one connection.
    pub(super) fn requests(&self) -> u32 {
        if self.brand == Brand::Nginx { 1_000 } else { 100 }
    }

    /// Seconds that a connection stays open between requests.
    pub(super) fn keep_alive_secs(&self) -> u64 {
        match self.brand {
            Brand::Nginx => 75,
            Brand::Apache | Brand::Lighttpd => 5,
        }
    }

    /// Longest body that is taken; 0: any.
    pub(super) fn max_body_bytes(&self) -> u64 {
        match self.brand {
            Brand::Nginx => 1024 * 1024,
            Brand::Apache => 0,
            Brand::Lighttpd => super::request::MAX_BODY_BYTES as u64,
        }
    }

    /// Whether empty lines before a request are waited out.
    pub(super) fn skips_blank_lines(&self) -> bool {
        self.brand != Brand::Lighttpd
    }

    /// Whether nothing is said before a line is complete.
    pub(super) fn reads_lines(&self) -> bool {
        self.brand == Brand::Apache
    }

    /// What is answered to bytes that are no request.
    pub(super) fn refusal(&self, why: HeadError) -> (u16, Note) {
        match (self.brand, why) {
            (Brand::Nginx, HeadError::TargetTooLong) => (414, Note::None),
            (Brand::Nginx, HeadError::TooLong) => (400, Note::HeadTooLarge),
            (Brand::Nginx, HeadError::Version) => (505, Note::None),
            (Brand::Nginx, HeadError::Coding) => (501, Note::None),
            (Brand::Apache, HeadError::TargetTooLong) => (414, Note::None),
            (Brand::Apache, HeadError::TooLong) => (400, Note::HeadTooLarge),
            _ => (400, Note::None),
        }
    }

    /// The `Allow` field of a file.
    pub(super) fn allow(&self) -> &'static str {
        match self.brand {
            Brand::Apache => "GET,POST,OPTIONS,HEAD",
            Brand::Nginx | Brand::Lighttpd => "OPTIONS, GET, HEAD, POST",
        }
    }

    /// The server's own page for a status.
    pub(super) fn error_page(&self, status: u16, about: &About<'_>) -> Vec<u8> {
        let title = format!("{status} {}", self.reason(status));
        let page = match self.brand {
            Brand::Nginx => {
                let (head, more) = match about.note {
                    Note::HeadTooLarge => (
                        "400 Request Header Or Cookie Too Large",
                        "<center>Request Header Or Cookie Too Large</center>\r\n",
                    ),
                    Note::PlainOnTls => (
                        "400 The plain HTTP request was sent to HTTPS port",
                        "<center>The plain HTTP request was sent to HTTPS port</center>\r\n",
                    ),
                    Note::None => (title.as_str(), ""),
                };
                let mut page = format!(
                    "<html>\r\n<head><title>{head}</title></head>\r\n<body>\r\n<center><h1>{title}</h1></center>\r\n{more}<hr><center>{}</center>\r\n</body>\r\n</html>\r\n",
                    self.server
                );
                if about.padded && status >= 400 {
                    let line =
                        "<!-- a padding to disable MSIE and Chrome friendly error page -->\r\n";
                    page.push_str(&line.repeat(6));
                }
                page
            }
            Brand::Apache => {
                let reason = self.reason(status);
                let told = apache_told(status, about);
                let port = about.port;
                format!(
                    "{}<html><head>\n<title>{title}</title>\n</head><body>\n<h1>{reason}</h1>\n{told}<hr>\n<address>{} Server at {} Port {port}</address>\n</body></html>\n",
                    self.doctype(),
                    self.server,
                    about.host,
                )
            }
            Brand::Lighttpd => {
                let title = format!("{status} - {}", self.reason(status));
                format!(
                    "<?xml version=\"1.0\" encoding=\"iso-8859-1\"?>\n<!DOCTYPE html>\n\
                     <html lang=\"en\">\n <head>\n  <title>{title}</title>\n </head>\n <body>\n  \
                     <h1>{title}</h1>\n </body>\n</html>\n"
                )
            }
        };
        page.into_bytes()
    }

    /// Apache changed it in its last years.
    fn doctype(&self) -> &'static str {
        let patch = self.server.strip_prefix("Apache/2.4.").unwrap_or_default();
        let patch: String = patch.chars().take_while(char::is_ascii_digit).collect();
        if patch.parse::<u32>().is_ok_and(|patch| patch < 64) {
            "<!DOCTYPE HTML PUBLIC \"-//IETF//DTD HTML 2.0//EN\">\n"
        } else {
            "<!DOCTYPE HTML PUBLIC \"-//W3C//DTD HTML 4.01//EN\" \"http://www.w3.org/TR/html4/strict.dtd\">\n"
        }
    }

    /// The type of error pages.
    pub(super) fn error_type(&self) -> &'static [u8] {
        match self.brand {
            Brand::Apache => b"text/html; charset=iso-8859-1",
            Brand::Nginx | Brand::Lighttpd => b"text/html",
        }
    }

    /// Writes an answer down.
    pub(super) fn write(&self, answer: &Answer<'_>, way: Way<'_>) -> Vec<u8> {
        let mut out = Vec::with_capacity(512 + answer.body.len());
        if way.simple {
            out.extend_from_slice(answer.body);
            return out;
        }
        // Both answer 1.0 with 1.1; the small one does not.
        let minor = if self.brand == Brand::Lighttpd { way.minor } else { 1 };
        let _ = write!(out, "HTTP/1.{minor} {} {}\r\n", answer.status, self.reason(answer.status));
        match self.brand {
            Brand::Nginx => self.nginx(&mut out, answer, way),
            Brand::Apache => self.apache(&mut out, answer, way),
            Brand::Lighttpd => self.lighttpd(&mut out, answer, way),
        }
        out.extend_from_slice(b"\r\n");
        if way.head_only {
            return out;
        }
        let chunked = match self.brand {
            Brand::Nginx => Self::chunked(answer, way),
            Brand::Apache => answer.status == 416,
            Brand::Lighttpd => false,
        };
        if chunked {
            let _ = write!(out, "{:x}\r\n", answer.body.len());
            out.extend_from_slice(answer.body);
            out.extend_from_slice(b"\r\n0\r\n\r\n");
        } else {
            out.extend_from_slice(answer.body);
        }
        out
    }

    /// Whether nginx sends chunks, as it does where it knows no length.
    fn chunked(answer: &Answer<'_>, way: Way<'_>) -> bool {
        (answer.gzip || answer.generated) && way.minor == 1 && !way.head_only
    }

    fn nginx(&self, out: &mut Vec<u8>, answer: &Answer<'_>, way: Way<'_>) {
        let Answer { content_type, file, fields, range, location, .. } = answer;
        let _ = write!(out, "Server: {}\r\nDate: {}\r\n", self.server, way.date);
        field(out, "Content-Type", content_type.filter(|_| answer.status != 304));
        if answer.status != 304 && !answer.gzip && !answer.generated {
            let _ = write!(out, "Content-Length: {}\r\n", answer.body.len());
        }
        if let Some((modified, _)) = file {
            let _ = write!(out, "Last-Modified: {modified}\r\n");
        }
        field(out, "Location", *location);
        if Self::chunked(answer, way) {
            out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
        }
        let connection = if way.keep_alive { "keep-alive" } else { "close" };
        let _ = write!(out, "Connection: {connection}\r\n");
        if let Some((_, tag)) = file {
            let weak = if answer.gzip { "W/" } else { "" };
            let _ = write!(out, "ETag: {weak}{tag}\r\n");
        }
        out.extend_from_slice(fields);
        field(out, "Content-Range", range.map(str::as_bytes));
        if file.is_some() && answer.status == 200 && !answer.gzip {
            out.extend_from_slice(b"Accept-Ranges: bytes\r\n");
        }
        if answer.gzip {
            out.extend_from_slice(b"Content-Encoding: gzip\r\n");
        }
    }

    fn apache(&self, out: &mut Vec<u8>, answer: &Answer<'_>, way: Way<'_>) {
        let Answer { content_type, file, fields, range, location, .. } = answer;
        let _ = write!(out, "Date: {}\r\nServer: {}\r\n", way.date, self.server);
        out.extend_from_slice(fields);
        if let Some((modified, tag)) = file {
            let tag = tag.trim_end_matches('"');
            let end = if answer.gzip { "-gzip\"" } else { "\"" };
            let _ = write!(out, "Last-Modified: {modified}\r\nETag: {tag}{end}\r\n");
            out.extend_from_slice(b"Accept-Ranges: bytes\r\n");
        }
        field(out, "Location", *location);
        let early = !answer.gzip && !answer.generated;
        let length = |out: &mut Vec<u8>| {
            // A head of an error page has none.
            let known =
                !(way.head_only && file.is_none() && !answer.generated && answer.status >= 400);
            if answer.status == 416 {
                out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
            } else if answer.status != 304 && known {
                let _ = write!(out, "Content-Length: {}\r\n", answer.body.len());
            }
        };
        if early {
            length(out);
        }
        if answer.compressible && answer.status != 304 && answer.status != 412 {
            out.extend_from_slice(b"Vary: Accept-Encoding\r\n");
        }
        if answer.gzip {
            out.extend_from_slice(b"Content-Encoding: gzip\r\n");
        }
        if !early {
            length(out);
        }
        if !way.keep_alive {
            out.extend_from_slice(b"Connection: close\r\n");
        } else if way.says_keep_alive || way.minor == 0 {
            let _ = write!(out, "Keep-Alive: timeout=5, max={}\r\n", way.left.saturating_add(1));
            out.extend_from_slice(b"Connection: Keep-Alive\r\n");
        }
        field(out, "Content-Range", range.map(str::as_bytes));
        field(out, "Content-Type", content_type.filter(|_| answer.status != 304));
    }

    fn lighttpd(&self, out: &mut Vec<u8>, answer: &Answer<'_>, way: Way<'_>) {
        let Answer { content_type, file, fields, range, location, .. } = answer;
        out.extend_from_slice(fields);
        field(out, "Location", *location);
        field(out, "Content-Range", range.map(str::as_bytes));
        field(out, "Content-Type", content_type.filter(|_| answer.status != 304));
        if let Some((modified, tag)) = file {
            out.extend_from_slice(b"Accept-Ranges: bytes\r\n");
            let _ = write!(out, "ETag: {tag}\r\nLast-Modified: {modified}\r\n");
        }
        if answer.status != 304 {
            let _ = write!(out, "Content-Length: {}\r\n", answer.body.len());
        }
        match (way.keep_alive, way.minor) {
            (false, _) => out.extend_from_slice(b"Connection: close\r\n"),
            (true, 0) => out.extend_from_slice(b"Connection: keep-alive\r\n"),
            (true, _) => {}
        }
        let _ = write!(out, "Date: {}\r\nServer: {}\r\n", way.date, self.server);
    }

    /// The words behind a status.
    pub(super) fn reason(&self, status: u16) -> &'static str {
        match (self.brand, status) {
            (_, 200) => "OK",
            (_, 206) => "Partial Content",
            (_, 301) => "Moved Permanently",
            (Brand::Nginx, 302) => "Moved Temporarily",
            (_, 302) => "Found",
            (_, 304) => "Not Modified",
            (_, 400) => "Bad Request",
            (Brand::Nginx, 401) => "Authorization Required",
            (_, 401) => "Unauthorized",
            (_, 403) => "Forbidden",
            (_, 404) => "Not Found",
            (Brand::Nginx, 405) => "Not Allowed",
            (_, 405) => "Method Not Allowed",
            (_, 408) => "Request Timeout",
            (_, 412) => "Precondition Failed",
            (_, 413) => "Request Entity Too Large",
            (Brand::Nginx, 414) => "Request-URI Too Large",
            (_, 414) => "Request-URI Too Long",
            (_, 416) => "Requested Range Not Satisfiable",
            (_, 417) => "Expectation Failed",
            (_, 501) => "Not Implemented",
            (_, 503) => "Service Unavailable",
            (_, 505) => "HTTP Version Not Supported",
            _ => "Internal Server Error",
        }
    }
}

/// What an error page says beyond its status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Note {
    #[default]
    None,
    /// The head was too long.
    HeadTooLarge,
    /// No TLS where TLS is spoken.
    PlainOnTls,
}

/// What an error page is about.
#[derive(Clone, Debug, Default)]
pub(super) struct About<'a> {
    pub(super) note: Note,
    /// Whether the client hides short pages.
    pub(super) padded: bool,
    pub(super) host: std::borrow::Cow<'a, str>,
    pub(super) port: u16,
    pub(super) method: &'a str,
    pub(super) location: &'a str,
    pub(super) expectation: &'a str,
}

fn apache_told(status: u16, about: &About<'_>) -> String {
    let bad = "<p>Your browser sent a request that this server could not understand.<br />\n";
    match (status, about.note) {
        (301, _) => format!("<p>The document has moved <a href=\"{}\">here</a>.</p>\n", about.location),
        (400, Note::HeadTooLarge) => {
            format!("{bad}Size of a request header field exceeds server limit.</p>\n")
        }
        (400, Note::PlainOnTls) => format!(
            "{bad}Reason: You're speaking plain HTTP to an SSL-enabled server port.<br />\n Instead use the HTTPS scheme to access this URL, please.<br />\n</p>\n"
        ),
        (400, Note::None) => format!("{bad}</p>\n"),
        (401, _) => "<p>This server could not verify that you\nare authorized to access the document\nrequested.  Either you supplied the wrong\ncredentials (e.g., bad password), or your\nbrowser doesn't understand how to supply\nthe credentials required.</p>\n".to_owned(),
        (403, _) => "<p>You don't have permission to access this resource.</p>\n".to_owned(),
        (404, _) => "<p>The requested URL was not found on this server.</p>\n".to_owned(),
        (405, _) => format!("<p>The requested method {} is not allowed for this URL.</p>\n", about.method),
        (408, _) => "<p>Server timeout waiting for the HTTP request from the client.</p>\n".to_owned(),
        (414, _) => "<p>The requested URL's length exceeds the capacity\nlimit for this server.<br />\n</p>\n".to_owned(),
        (416, _) => "<p>None of the range-specifier values in the Range\nrequest-header field overlap the current extent\nof the selected resource.</p>\n".to_owned(),
        (417, _) => format!(
            "<p>The expectation given in the Expect request-header\nfield could not be met by this server.\nThe client sent<pre>\n    Expect: {}\n</pre>\n</p><p>Only the 100-continue expectation is supported.</p>\n",
            about.expectation
        ),
        (501, _) => format!("<p>{} not supported for current URL.<br />\n</p>\n", about.method),
        _ => "<p>The server encountered an internal error or\nmisconfiguration and was unable to complete\nyour request.</p>\n".to_owned(),
    }
}

/// A field, where it has a value.
fn field(out: &mut Vec<u8>, name: &str, value: Option<&[u8]>) {
    if let Some(value) = value {
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value);
        out.extend_from_slice(b"\r\n");
    }
}
