//! Tells the hub what comes of decisions here: at times, and soon after
//! something has changed. Nothing waits for it, and a report that does not
//! arrive is made up for by the next one.

use std::sync::Arc;
use std::time::Duration;

use palisade_event::HostName;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::{Follow, FollowError};
use crate::enforce::Method;
use crate::metrics::Metrics;

/// Time between two reports while nothing changes.
const PERIOD: Duration = Duration::from_secs(15);
/// Least time between two reports.
const SOON: Duration = Duration::from_secs(2);
/// How long a hub that takes none is left alone.
const LATER: Duration = Duration::from_secs(300);

/// Reports until it is to stop.
pub(crate) async fn report_effect(
    hub: &impl Follow,
    metrics: Arc<Metrics>,
    (method, host): (Method, Option<HostName>),
    stop: CancellationToken,
) {
    let effect = &metrics.effect;
    let mut told = false;
    let mut next = Instant::now() + SOON;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep_until(next) => {}
        }
        let report = effect.report(&metrics, method, host.as_ref());
        let answer = tokio::select! {
            () = stop.cancelled() => return,
            answer = hub.report(&report) => answer,
        };
        let done = Instant::now();
        let is_more = match answer {
            Ok(receipt) => {
                told = false;
                effect.told(&report, receipt)
            }
            Err(FollowError::Unreachable(reason)) => {
                tracing::debug!(reason, "the hub does not hear what is carried out here");
                false
            }
            Err(error) => {
                if !std::mem::replace(&mut told, true) {
                    tracing::warn!(%error, "the hub does not want to hear what is carried out here");
                }
                next = done + LATER;
                continue;
            }
        };
        next = done + SOON;
        if is_more {
            continue;
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = effect.changed.notified() => {}
            () = sleep_until(done + PERIOD) => {}
        }
    }
}
