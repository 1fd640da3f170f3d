//! A port without a protocol: says a banner where one is set, records what
//! comes first and which protocol that is, says it back where that is wanted.

use std::time::Duration;

use palisade_event::EventKind;

use super::guess;
use crate::tls::client_hello::ClientHello;
use crate::{Closed, Session, Stream, TcpConfig};

/// Most bytes of one read.
const READ_BYTES: usize = 4_096;
/// How long more is waited for once the first bytes are there, before they
/// are recorded.
const QUIET: Duration = Duration::from_secs(2);

/// The service.
#[derive(Debug)]
pub(crate) struct Tcp {
    config: TcpConfig,
}

impl Tcp {
    pub(crate) fn new(config: TcpConfig) -> Self {
        Self { config }
    }

    pub(crate) async fn serve(
        &self,
        session: &mut Session,
        stream: &mut Stream,
    ) -> Result<(), Closed> {
        if let Some(banner) = &self.config.banner {
            stream.write(banner.as_bytes()).await?;
        }
        let (mut bytes, ended) = self.first_bytes(stream).await;
        if !bytes.is_empty() {
            let truncated = bytes.len() > self.config.bytes;
            bytes.truncate(self.config.bytes);
            record(session, &bytes, truncated).await?;
        }
        drop(bytes);
        if let Some(why) = ended {
            return Err(why);
        }
        let mut more = Vec::new();
        loop {
            more.clear();
            stream.read(&mut more, READ_BYTES).await?;
            if self.config.echo {
                stream.write(&more).await?;
            }
        }
    }

    /// What comes until it is enough, or nothing more does.
    async fn first_bytes(&self, stream: &mut Stream) -> (Vec<u8>, Option<Closed>) {
        let mut bytes = Vec::new();
        // One more than is kept tells that there is more.
        while bytes.len() <= self.config.bytes {
            let seen = bytes.len();
            match stream.read(&mut bytes, READ_BYTES.min(self.config.bytes + 1 - seen)).await {
                Ok(_) if self.config.echo => {
                    let new = bytes.get(seen..).unwrap_or_default();
                    if let Err(why) = stream.write(new).await {
                        return (bytes, Some(why));
                    }
                }
                Ok(_) => {}
                Err(Closed::Idle) if seen > 0 => break,
                Err(why) => return (bytes, Some(why)),
            }
            if seen == 0 {
                stream.set_step(Some(QUIET));
            }
        }
        stream.set_step(None);
        (bytes, None)
    }
}

/// Records bytes of a client as they are, with the protocol they begin in.
pub(super) async fn record(
    session: &mut Session,
    bytes: &[u8],
    truncated: bool,
) -> Result<(), Closed> {
    let mut event = session.event(EventKind::DataReceived);
    if let Ok(Some(hello)) = ClientHello::parse(bytes) {
        event = crate::tls::record(event, &hello);
    }
    if let Some(protocol) = guess::protocol(bytes) {
        event = event.with("protocol", protocol);
    }
    if let Some(scanner) = guess::scanner(bytes) {
        event = event.with("scanner", scanner);
    }
    if truncated {
        event = event.with("truncated", true);
    }
    event.request = Some(bytes.into());
    session.emit(event).await
}
