//! The public page's data: what anybody may see of the community's events,
//! without a credential, where `[api.public]` turns it on.
//!
//! `view` decides what of an event is shown, `summary` answers the numbers,
//! `stream` the live events. All of it asks as [`Principal::public`], who sees
//! community events alone.

pub(crate) mod stream;
pub(crate) mod summary;
pub(crate) mod view;

use std::sync::Arc;
use std::time::Instant;

use palisade_hub::Principal;
use tokio::sync::Semaphore;

use crate::client::Client;
use crate::config::Config;
use crate::error::Problem;
use crate::limits::{ConnectionLimit, RateLimit};
use crate::router::App;

/// Requests that one address may make at once.
const BURST: u32 = 60;
/// Requests that it regains a second.
const PER_SEC: f64 = 10.0;
/// Live streams of one address.
const MAX_PUBLIC_STREAMS: usize = 8;
/// Visitors have this part of all live streams, so that people who have signed
/// in always find one.
const SHARE_OF_STREAMS: usize = 2;

/// What the public routes share.
pub(crate) struct Public {
    rate: RateLimit,
    per_address: Arc<ConnectionLimit>,
    streams: Arc<Semaphore>,
    answer: summary::Cache,
}

impl Public {
    pub(crate) fn new(config: &Config) -> Self {
        let streams = config.limits.streams.div_ceil(SHARE_OF_STREAMS);
        Self {
            rate: RateLimit::new(BURST, PER_SEC),
            per_address: ConnectionLimit::new(MAX_PUBLIC_STREAMS),
            streams: Arc::new(Semaphore::new(streams)),
            answer: summary::Cache::default(),
        }
    }
}

/// Lets a visitor in.
///
/// # Errors
/// 404 where there is no public page, 429 where the address asks too often.
fn enter(app: &App, client: Client) -> Result<Principal, Problem> {
    if !app.config.public.enabled {
        return Err(Problem::not_found("This hub has no public page."));
    }
    app.public.rate.take(client.address, Instant::now()).map_err(Problem::too_many)?;
    Ok(Principal::public())
}
