//! The way to the hub: over HTTP, or a function call inside one process.

mod effect;
mod feed;
mod http;
mod tls;

use std::future::Future;
use std::time::Duration;

use palisade_event::wire::Receipt;

pub(crate) use effect::report_effect;
pub use feed::{FeedPosition, Follow, FollowError, follow};
pub(crate) use http::Target;
pub use http::{HttpError, HttpUplink};
pub use tls::client_tls;
pub(crate) use tls::parse_pin;

/// Delivers records to a hub.
pub trait Uplink: Send + Sync + 'static {
    /// Sends one batch (the JSON text of one event a record) and waits for the
    /// receipt. `Ok` means that the hub has all of it on disk.
    ///
    /// # Errors
    /// [`SendError`] says what the forwarder does next. The hub may have taken
    /// the batch nevertheless; sending it again counts once.
    fn send(&self, records: &[Vec<u8>]) -> impl Future<Output = Result<Receipt, SendError>> + Send;
}

/// Why a batch was not confirmed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The hub is busy or full: the same batch again, later.
    #[error("the hub cannot take events now")]
    Refused {
        /// When the hub asks to be tried again.
        retry_after: Option<Duration>,
    },
    /// No answer, or none that can be understood: the same batch again, later.
    #[error("the hub cannot be reached: {0}")]
    Unreachable(String),
    /// The key is not accepted: the operator must act; all is kept.
    #[error(
        "the hub does not accept the API key: {0}; make one with `palisade key add NAME --scope ingest` on the hub and put it into the key file"
    )]
    Unauthorised(String),
    /// More than the hub takes at once: smaller batches.
    #[error("the batch is larger than the hub takes")]
    TooLarge,
    /// The hub cannot understand the batch: part of it may be the reason.
    #[error("the hub does not understand the batch: {0}")]
    Malformed(String),
}
