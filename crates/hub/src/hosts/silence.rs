//! Machines that were heard regularly and are not any more: the one alert that
//! they cannot raise themselves.

use palisade_event::{Endpoint, Event, EventId, EventKind, HostName, Timestamp, wire};
use palisade_store::state::{Host, HostSource};

use super::Hosts;
use super::read::{GLIMPSE, SILENT, VIA};
use crate::auth::Principal;
use crate::error::StateError;
use crate::ingest::Ingest;

/// A machine may be silent for so many times its usual pause.
const PAUSES: i64 = 4;
/// Longest silence that is usual: a day.
const MAX_PAUSE_MILLIS: i64 = 24 * 60 * 60 * 1000;

impl Hosts {
    /// Raises an alert about each machine that is silent for longer than
    /// `allowed_millis` and than usual, and ends it for those heard again. Every
    /// hub that looks makes the same events, so they count once.
    pub(crate) async fn watch(
        &self,
        ingest: &Ingest,
        allowed_millis: i64,
        now: Timestamp,
    ) -> Result<(), StateError> {
        for host in self.state.silent_hosts(now.plus_millis(-allowed_millis)).await? {
            let Some(event) = silent(&host, allowed_millis, now) else { continue };
            if self.tell(ingest, &event, now).await {
                let since = Some(host.last_seen);
                self.state.set_silent(&host, since).await?;
            }
        }
        for host in self.state.heard_hosts().await? {
            if let Some(event) = heard(&host)
                && self.tell(ingest, &event, now).await
            {
                self.state.set_silent(&host, None).await?;
            }
        }
        Ok(())
    }

    /// Puts an event about a machine among the others; the machine itself has
    /// delivered nothing.
    async fn tell(&self, ingest: &Ingest, event: &Event, now: Timestamp) -> bool {
        let record = wire::encode_event(event);
        match ingest.restore(&Principal::local(None), &[&record], now).await {
            Ok(_) => true,
            Err(error) => {
                tracing::warn!(%error, "the silence of a host is not told yet");
                false
            }
        }
    }
}

fn silent(host: &Host, allowed_millis: i64, now: Timestamp) -> Option<Event> {
    let usual = host.sample_gap.unwrap_or(0).saturating_mul(PAUSES).clamp(0, MAX_PAUSE_MILLIS);
    let limit = allowed_millis.max(usual);
    let at = host.last_seen.plus_millis(limit);
    if at > now {
        return None;
    }
    let secs = limit / 1000;
    Some(
        about(host, EventKind::HostAlerted, at)?
            .with("level", "alert")
            .with("since", host.last_seen.as_millis())
            .with("value", limit)
            .with("threshold", limit)
            .with("unit", "ms")
            .with("message", format!("nothing was heard for {secs} seconds").as_str()),
    )
}

fn heard(host: &Host) -> Option<Event> {
    let since = host.silent_since?;
    let secs = (host.last_seen.as_millis() - since.as_millis()).max(0) / 1000;
    Some(
        about(host, EventKind::HostRecovered, host.last_seen)?
            .with("since", since.as_millis())
            .with("message", format!("heard again after {secs} seconds").as_str()),
    )
}

fn about(host: &Host, kind: EventKind, at: Timestamp) -> Option<Event> {
    if host.source == HostSource::Alpha {
        return None;
    }
    let id = EventId::derived(at, &[b"host", kind.as_str().as_bytes(), host.id.as_bytes()]);
    let mut event =
        Event::new(id, kind, at, host.sensor.clone()).with("rule", SILENT).with("alert", SILENT);
    event.host = host.name.as_deref().and_then(|name| HostName::new(name).ok());
    if let (HostSource::Glimpse, Some(address)) = (host.source, host.address) {
        event.target = Some(Endpoint::address(address));
        event = event.with(VIA, GLIMPSE);
    }
    Some(event)
}
