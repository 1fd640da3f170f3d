//! What senders of EWS messages are answered. They take 200 with the status
//! code OK for "it is safe with you", and anything else for "keep it".

use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderValue, StatusCode, header};

/// What a message, or a question in a message, came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// All of it is durable.
    Taken,
    /// It cannot be understood; the text is a setting.
    Default(String),
    /// User or token are wrong, or the user may not do this.
    Forbidden,
    /// It, or a part of it, is larger than is taken.
    TooLarge(&'static str),
    /// It did not come in time.
    TooSlow,
    /// Nothing of it was taken; it may be sent again after so many seconds.
    Busy(u32),
    /// Something other than POST.
    NotPost,
}

impl Answer {
    pub(crate) fn into_response(self) -> Response {
        let result = |code: &str, text: &str| {
            format!("<Result><StatusCode>{code}</StatusCode><Text>{text}</Text></Result>")
        };
        let (xml, html) = ("text/xml", "text/html; charset=utf-8");
        let (status, kind, text) = match &self {
            Self::Taken => (StatusCode::OK, xml, result("OK", "")),
            Self::Default(text) => (StatusCode::OK, html, text.clone()),
            Self::Forbidden => {
                let text = result("FORBIDDEN", "User or token are wrong, or may not do this.");
                (StatusCode::FORBIDDEN, xml, text)
            }
            Self::TooLarge(what) => (StatusCode::PAYLOAD_TOO_LARGE, xml, result("TOO LARGE", what)),
            Self::TooSlow => {
                let text = result("TIMEOUT", "The message did not come in time.");
                (StatusCode::REQUEST_TIMEOUT, xml, text)
            }
            Self::Busy(_) => {
                let text = result("BUSY", "Nothing was taken. Keep it and send it again.");
                (StatusCode::SERVICE_UNAVAILABLE, xml, text)
            }
            Self::NotPost => {
                let text = "POST is required for this action.".to_owned();
                (StatusCode::INTERNAL_SERVER_ERROR, html, text)
            }
        };
        let mut response = (status, Body::from(text)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        if let Self::Busy(secs) = self {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(secs));
        }
        response
    }
}
