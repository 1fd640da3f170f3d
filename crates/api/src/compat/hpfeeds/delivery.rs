//! Payloads on their way to the hub: read, captured bytes kept, then the events
//! made durable. One for the broker's publishers and the brokers we listen to.

use bytes::Bytes;
use palisade_event::SensorId;
use palisade_hub::{IngestError, Principal};

use super::payload::{Arrived, Taken};
use crate::auth;
use crate::compat::name_payload;
use crate::router::App;

/// Payloads above so many bytes are read on a blocking thread.
const INLINE_BYTES: usize = 64 * 1024;

/// A payload as it came.
#[derive(Clone, Debug)]
pub(super) struct Payload {
    /// Who published it.
    pub(super) ident: Bytes,
    pub(super) channel: Bytes,
    pub(super) data: Bytes,
}

/// What payloads are, until the hub has it.
pub(super) struct Delivery(Taken);

impl Delivery {
    /// Reads payloads of a publisher.
    ///
    /// # Errors
    /// One sentence, where they cannot be read at all.
    pub(super) async fn read(
        app: &App,
        who: &Principal,
        payloads: &[Payload],
    ) -> Result<Self, String> {
        let sensor = SensorId::new(who.name()).map_err(|error| error.to_string())?;
        let analyzers = std::sync::Arc::clone(&app.analyzers);
        let arrived = Arrived { at: auth::now(), sensor, analyzers };
        let bytes: usize = payloads.iter().map(|payload| payload.data.len()).sum();
        if bytes <= INLINE_BYTES {
            return Ok(Self(read(&arrived, payloads)));
        }
        let payloads = payloads.to_vec();
        let taken = tokio::task::spawn_blocking(move || read(&arrived, &payloads)).await;
        taken.map(Self).map_err(|error| error.to_string())
    }

    /// Has the hub keep all of it; durable on return.
    ///
    /// # Errors
    /// Some may have been kept; the same again is right.
    pub(super) async fn hand_over(
        &mut self,
        app: &App,
        who: &Principal,
        from: Option<std::net::IpAddr>,
    ) -> Result<(), IngestError> {
        let Taken { events, captured, unfit } = &mut self.0;
        if !captured.is_empty() {
            let payloads = captured.iter().map(|(_, payload)| payload.clone()).collect();
            let kept = app.hub.keep_payloads(who, payloads, auth::now()).await?;
            for ((place, _), kept) in captured.drain(..).zip(kept) {
                if let Some(event) = events.get_mut(place) {
                    name_payload(event, kept);
                }
            }
        }
        app.hub.accept_events(who, from, events.clone(), unfit.clone()).await?;
        Ok(())
    }
}

fn read(arrived: &Arrived, payloads: &[Payload]) -> Taken {
    let mut taken = Taken::default();
    for Payload { ident, channel, data } in payloads {
        taken.add(arrived, ident, channel, data);
    }
    taken
}
