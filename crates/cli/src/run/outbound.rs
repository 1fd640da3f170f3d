//! Outbound forwarding: gives each target of the settings its transport. The way
//! to another Palisade hub is the agent's: same door, same receipts.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use palisade_agent::{HttpUplink, HubConfig, SendError as UplinkError, Uplink as _};
use palisade_api::outbound::{Dshield, Ews, Hpfeeds, Slack, Webhook};
use palisade_event::{Event, wire};
use palisade_hub::{Hub, OutboundConfig, OutboundKind, SendError, Sent, Transport};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Most events of one delivery to another hub.
const MOST_EVENTS: usize = 1000;

/// Running forwarders.
pub(crate) struct Forwarding(JoinSet<()>);

impl Forwarding {
    /// Waits for all of them; they end when the token is cancelled.
    pub(crate) async fn join(mut self) {
        while self.0.join_next().await.is_some() {}
    }
}

/// Starts to forward to every target until `cancel`.
///
/// # Errors
/// The settings or files of a target cannot be used.
pub(crate) fn start(hub: &Hub, cancel: &CancellationToken) -> anyhow::Result<Forwarding> {
    let mut tasks = JoinSet::new();
    for forwarder in hub.forwarders() {
        let config = forwarder.config().clone();
        let wrong = |error: String| {
            let section = if config.webhook.is_some() { "webhooks" } else { "outbound" };
            anyhow::anyhow!(error).context(format!("[[hub.{section}]] '{}'", config.name))
        };
        let cancel = cancel.clone();
        match config.kind {
            OutboundKind::Palisade => {
                let way = OtherHub::new(&config)
                    .with_context(|| format!("[[hub.outbound]] '{}'", config.name))?;
                tasks.spawn(forwarder.run(way, cancel));
            }
            OutboundKind::Ews => {
                let way = Ews::new(&config, &client_tls).map_err(wrong)?;
                tasks.spawn(forwarder.run(way, cancel));
            }
            OutboundKind::Hpfeeds => {
                let way = Hpfeeds::new(&config, &client_tls).map_err(wrong)?;
                tasks.spawn(forwarder.run(way, cancel));
            }
            OutboundKind::Dshield => {
                let way = Dshield::new(&config, &client_tls).map_err(wrong)?;
                tasks.spawn(forwarder.run(way, cancel));
            }
            OutboundKind::Webhook => {
                let way = Webhook::new(hub.clone(), &config, &client_tls).map_err(wrong)?;
                tasks.spawn(forwarder.run(way, cancel));
            }
            OutboundKind::Slack => {
                let way = Slack::new(hub.clone(), &config, &client_tls).map_err(wrong)?;
                tasks.spawn(forwarder.run(way, cancel));
            }
        }
    }
    Ok(Forwarding(tasks))
}

/// TLS settings for connections to the outside.
pub(crate) fn client_tls(
    pin: Option<&str>,
    authorities: Option<&Path>,
) -> Result<Arc<rustls::ClientConfig>, String> {
    palisade_agent::client_tls(pin, authorities).map(Arc::new)
}

/// Another Palisade hub, by its native door.
struct OtherHub(HttpUplink);

impl OtherHub {
    fn new(config: &OutboundConfig) -> anyhow::Result<Self> {
        let hub = HubConfig {
            url: config.url().to_owned(),
            key_file: config.key_file.clone().unwrap_or_default(),
            pin: config.pin.clone(),
            ca_file: config.ca_file.clone(),
        };
        Ok(Self(HttpUplink::new(&hub)?))
    }
}

impl Transport for OtherHub {
    fn most_events(&self) -> usize {
        MOST_EVENTS
    }

    async fn send(&mut self, events: &[Event]) -> Result<Sent, SendError> {
        let records: Vec<Vec<u8>> = events.iter().map(wire::encode_event).collect();
        match self.0.send(&records).await {
            // What it put into quarantine it has too.
            Ok(_) => Ok(Sent { taken: events.len(), left_out: 0 }),
            Err(UplinkError::Unauthorised(reason)) => Err(SendError::Unauthorised(reason)),
            Err(error @ UplinkError::Refused { retry_after }) => {
                Err(SendError::Later { reason: error.to_string(), retry_after })
            }
            Err(error @ UplinkError::Unreachable(_)) => Err(SendError::later(error.to_string())),
            Err(error @ (UplinkError::TooLarge | UplinkError::Malformed(_))) => {
                Err(SendError::Refused(error.to_string()))
            }
        }
    }
}
