//! Every wire dialect, thin: a request is checked, handed to the hub, and the
//! answer written down. What anything means is decided in the hub.
//!
//! Bytes pass: accept loop (permit, PROXY header, TLS) → HTTP → client address
//! → security headers → time limit → credential → handler → hub.

mod announce;
mod auth;
mod body;
mod client;
mod compat;
mod config;
mod dial;
mod docs;
mod error;
mod headers;
mod limits;
mod metrics;
mod native;
pub mod outbound;
mod public;
mod router;
mod serve;
mod tls;
mod ui;

pub use axum::Router;
pub use compat::hpfeeds::{HpfeedsConfig, HpfeedsIdent, HpfeedsListener, HpfeedsSubscription};
pub use config::{
    AlphaConfig, Config, Dialect, EwsConfig, GlimpseConfig, Limits, Listener, Openness,
    PublicConfig, ReportConfig, TlsConfig,
};
pub use dial::Dialer;
pub use docs::openapi_json;
pub use error::Problem;
pub use native::tells::{HoneypotTell, TellReport};
pub use router::local_router;
pub use serve::{Address, BindError, ClientTls, Server};
pub use tls::{CertificateSource, Tls, TlsError};
pub use ui::page_is_built_in;

/// Decoders of outside bytes, for the fuzz targets alone.
#[doc(hidden)]
pub mod fuzzing {
    use crate::body::{self, Encoding};

    /// What a delivery's body holds, unpacked within the bounds of the API.
    #[must_use]
    pub fn unpack(body: &[u8], packed: bool) -> Option<bytes::Bytes> {
        let encoding = if packed { Encoding::Zstd } else { Encoding::Identity };
        let body = bytes::Bytes::copy_from_slice(body);
        body::decode(body, encoding, palisade_event::wire::MAX_BATCH_BYTES).ok()
    }

    /// Frames of hpfeeds, and what a payload becomes.
    pub fn hpfeeds_frames(bytes: &[u8]) {
        crate::compat::hpfeeds::codec::frames_of(bytes);
        crate::compat::hpfeeds::fuzz_payload(bytes);
    }

    /// Whether what a bouncer asks can be understood.
    #[must_use]
    pub fn lapi_query(query: &str) -> bool {
        crate::compat::lapi::read_query(query)
    }

    /// Whether any part of a body in Glimpse's dialect can be read.
    #[must_use]
    pub fn glimpse_body(body: &[u8]) -> bool {
        crate::compat::glimpse::read_body(body)
    }

    /// Whether a question of a report can be understood.
    #[must_use]
    pub fn report_question(uri: &str) -> bool {
        crate::compat::report::read_question(uri)
    }

    /// Whether what a bouncer tells of its work can be read.
    #[must_use]
    pub fn lapi_usage(body: &[u8]) -> bool {
        crate::compat::lapi::read_usage(body)
    }

    /// Events of an EWS message that comes in windows; `None` where it is none.
    #[must_use]
    pub fn ews_message(windows: &[&[u8]]) -> Option<Vec<palisade_event::Event>> {
        use crate::compat::ews::{analyzers::Analyzers, message::Message};
        let sensor = palisade_event::SensorId::new("fuzz").ok()?;
        let analyzers = Analyzers::load(None).ok()?;
        let mut message = Message::new(std::sync::Arc::new(analyzers), sensor.clone());
        for (number, window) in windows.iter().enumerate() {
            message.window.extend_from_slice(window);
            message.parse(number + 1 == windows.len()).ok()?;
        }
        let mut alerts = message.collected.alerts;
        alerts.iter_mut().for_each(|alert| alert.identify(&sensor));
        Some(alerts.into_iter().map(|alert| alert.event).collect())
    }

    /// Bytes of the PROXY header that a connection begins with, if it does.
    #[must_use]
    pub fn proxy_header(bytes: &[u8]) -> Option<usize> {
        match crate::serve::proxy::decode(bytes) {
            crate::serve::proxy::Decoded::Header { length, .. } => Some(length),
            _ => None,
        }
    }
}
