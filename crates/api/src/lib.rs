//! Every wire dialect, thin: a request is checked, handed to the hub, and the
//! answer written down. What anything means is decided in the hub.
//!
//! Bytes pass: accept loop (permit, PROXY header, TLS) → HTTP → client address
//! → security headers → time limit → credential → handler → hub.

mod auth;
mod body;
mod client;
mod config;
mod docs;
mod error;
mod headers;
mod limits;
mod metrics;
mod native;
mod router;
mod serve;
mod tls;
mod ui;

pub use axum::Router;
pub use config::{Config, Dialect, Limits, Listener, TlsConfig};
pub use docs::openapi_json;
pub use error::Problem;
pub use router::local_router;
pub use serve::{Address, BindError, Server};
pub use tls::{CertificateSource, Tls, TlsError};
pub use ui::page_is_built_in;
