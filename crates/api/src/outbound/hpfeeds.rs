//! To an hpfeeds broker. The protocol has no acknowledgement: events count as
//! taken once they are written and the broker has neither complained nor closed
//! for a moment, which is when it does so for what it does not allow.

use std::time::Duration;

use bytes::BytesMut;
use palisade_event::{Event, wire};
use palisade_hub::{OutboundConfig, SendError, Sent, Transport};
use tokio::io::AsyncWriteExt as _;
use tokio::time::timeout;

use crate::compat::hpfeeds::{CHANNEL_PREFIX, client, codec};
use crate::dial::{Dialer, Duplex};
use crate::serve::ClientTls;

/// How long the broker is listened to after a delivery.
const GRACE: Duration = Duration::from_millis(250);
/// Longest wait for the broker to read.
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);
/// Most events of one delivery.
const MOST_EVENTS: usize = 1000;

/// Publishes events on a broker.
pub struct Hpfeeds {
    config: OutboundConfig,
    dialer: Dialer,
    ident: Vec<u8>,
    connection: Option<(Box<dyn Duplex>, BytesMut)>,
}

impl Hpfeeds {
    /// A broker as the settings have it.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn new(config: &OutboundConfig, tls: &ClientTls) -> Result<Self, String> {
        let settings = match config.tls.unwrap_or(true) {
            true => Some(tls(config.pin.as_deref(), config.ca_file.as_deref())?),
            false => None,
        };
        let dialer = Dialer::new(config.address.as_deref().unwrap_or_default(), settings)?;
        let ident = config.user.clone().unwrap_or_default().into_bytes();
        Ok(Self { config: config.clone(), dialer, ident, connection: None })
    }

    async fn publish(&mut self, frames: &[u8]) -> Result<(), String> {
        let (mut stream, mut buffer) = match self.connection.take() {
            Some(connection) => connection,
            None => {
                let secret = self.config.secret()?;
                client::sign_in(&self.dialer, &self.ident, secret.as_bytes()).await?
            }
        };
        let written = async {
            stream.write_all(frames).await?;
            stream.flush().await
        };
        match timeout(WRITE_TIMEOUT, written).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(error.to_string()),
            Err(_) => return Err("it reads nothing".to_owned()),
        }
        match timeout(GRACE, client::next(&mut stream, &mut buffer)).await {
            Err(_) => {}
            Ok(Err(reason)) => return Err(reason),
            Ok(Ok(_)) => return Err("it sends what was not asked for".to_owned()),
        }
        self.connection = Some((stream, buffer));
        Ok(())
    }
}

impl Transport for Hpfeeds {
    fn most_events(&self) -> usize {
        MOST_EVENTS
    }

    async fn send(&mut self, events: &[Event]) -> Result<Sent, SendError> {
        let mut frames = Vec::new();
        let mut sent = Sent::default();
        for event in events {
            let by_kind = || format!("{CHANNEL_PREFIX}{}", event.kind);
            let channel = self.config.channel.clone().unwrap_or_else(by_kind);
            let payload = wire::encode_event(event);
            if codec::fits(&self.ident, channel.as_bytes(), &payload) {
                let frame = codec::publish(&self.ident, channel.as_bytes(), &payload);
                frames.extend_from_slice(&frame);
                sent.taken += 1;
            } else {
                sent.left_out += 1;
            }
        }
        self.publish(&frames).await.map_err(SendError::later)?;
        Ok(sent)
    }
}
