//! What the device's web server answers: a login page and error pages, with
//! the headers of one consistent server.

use crate::Persona;

/// An answer before it is written down.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) status: u16,
    body: String,
    extra: Vec<(&'static str, String)>,
}

impl Page {
    /// The login page; `wrong` after a login that failed.
    pub(super) fn login(persona: &Persona, wrong: bool) -> Self {
        let Persona { product, model, firmware, token, .. } = persona;
        let message = if wrong {
            "<p class=\"err\">The user name or password is incorrect.</p>\n"
        } else {
            ""
        };
        let body = format!(
            "<!DOCTYPE html>\n<html>\n<head>\n<meta charset=\"utf-8\">\n<title>{product} {model}</title>\n\
             <style>body{{font:13px Arial,sans-serif;background:#e8ecf1}}form{{width:300px;\
             margin:90px auto;padding:22px;background:#fff;border:1px solid #b9c3d0}}\
             label{{display:block;margin:9px 0 3px}}input{{width:100%;box-sizing:border-box}}\
             .err{{color:#b00}}small{{color:#777}}</style>\n</head>\n<body>\n\
             <form method=\"post\" action=\"/login.cgi\">\n<h3>{product}</h3>\n{message}\
             <label>User name</label><input name=\"username\" maxlength=\"64\">\n\
             <label>Password</label><input name=\"password\" type=\"password\" maxlength=\"64\">\n\
             <input type=\"hidden\" name=\"tok\" value=\"{token}\">\n\
             <p><input type=\"submit\" value=\"Log in\"></p>\n\
             <small>{model} &nbsp; Firmware {firmware}</small>\n</form>\n</body>\n</html>\n"
        );
        Self { status: 200, body, extra: Vec::new() }
    }

    /// The error page of the server.
    pub(super) fn error(status: u16) -> Self {
        let title = format!("{status} - {}", reason(status));
        let body = format!(
            "<?xml version=\"1.0\" encoding=\"iso-8859-1\"?>\n<!DOCTYPE html>\n\
             <html lang=\"en\">\n <head>\n  <title>{title}</title>\n </head>\n <body>\n  \
             <h1>{title}</h1>\n </body>\n</html>\n"
        );
        Self { status, body, extra: Vec::new() }
    }

    /// The answer to a wrong `Authorization`.
    pub(super) fn unauthorized(persona: &Persona) -> Self {
        let realm = format!("Basic realm=\"{}\"", persona.model);
        let mut page = Self::error(401);
        page.extra.push(("WWW-Authenticate", realm));
        page
    }

    /// The answer to OPTIONS.
    pub(super) fn options() -> Self {
        let allow = ("Allow", "OPTIONS, GET, HEAD, POST".to_owned());
        Self { status: 200, body: String::new(), extra: vec![allow] }
    }

    /// The bytes to send.
    pub(super) fn render(&self, persona: &Persona, answer: Answer) -> Vec<u8> {
        let minor = answer.minor;
        let mut text = format!("HTTP/1.{minor} {} {}\r\n", self.status, reason(self.status));
        for (name, value) in &self.extra {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        if !self.body.is_empty() {
            text.push_str("Content-Type: text/html\r\n");
        }
        text.push_str(&format!("Content-Length: {}\r\n", self.body.len()));
        match (answer.keep_alive, minor) {
            (false, _) => text.push_str("Connection: close\r\n"),
            (true, 0) => text.push_str("Connection: keep-alive\r\n"),
            (true, _) => {}
        }
        text.push_str(&format!("Date: {}\r\nServer: {}\r\n\r\n", answer.date, persona.server));
        if !answer.head_only {
            text.push_str(&self.body);
        }
        text.into_bytes()
    }
}

/// How an answer is written down.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) minor: u8,
    pub(super) keep_alive: bool,
    pub(super) head_only: bool,
    /// RFC 9110, section 5.6.7.
    pub(super) date: String,
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        404 => "Not Found",
        408 => "Request Timeout",
        413 => "Request Entity Too Large",
        414 => "Request-URI Too Long",
        501 => "Not Implemented",
        _ => "Internal Server Error",
    }
}
