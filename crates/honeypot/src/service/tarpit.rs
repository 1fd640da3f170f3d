//! A service that keeps its clients busy: bytes that are right so far and never
//! complete, one every some seconds. Few are held at a time, so that a tarpit
//! costs the attacker and not us.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::tcp;
use crate::{Closed, ServiceKind, Session, Stream};

/// Most bytes of a client that are recorded.
const MAX_RECORDED_BYTES: usize = 4_096;

/// The service.
#[derive(Debug)]
pub(crate) struct Tarpit {
    kind: ServiceKind,
    /// Between two bytes.
    every: Duration,
    /// How long a client is held.
    longest: Duration,
    /// Those of all services together.
    places: Arc<Semaphore>,
}

impl Tarpit {
    pub(crate) fn new(
        kind: ServiceKind,
        every: Duration,
        longest: Duration,
        places: Arc<Semaphore>,
    ) -> Self {
        Self { kind, every, longest, places }
    }

    pub(crate) async fn serve(
        &self,
        session: &mut Session,
        stream: &mut Stream,
    ) -> Result<(), Closed> {
        let Ok(_place) = self.places.try_acquire() else {
            session.note("tarpit", "full");
            return Ok(());
        };
        session.note("tarpit", "held");
        stream.extend(self.longest);
        let mut drip = Drip::new(self.kind);
        let mut bytes = Vec::new();
        let mut recorded = false;
        loop {
            stream.set_step(Some(self.every));
            let ended = loop {
                let room = MAX_RECORDED_BYTES.saturating_sub(bytes.len()).max(1);
                match stream.read(&mut bytes, room).await {
                    Ok(_) => bytes.truncate(MAX_RECORDED_BYTES),
                    Err(Closed::Idle) => break None,
                    Err(why) => break Some(why),
                }
            };
            if !recorded && !bytes.is_empty() {
                tcp::record(session, &bytes, bytes.len() == MAX_RECORDED_BYTES).await?;
                recorded = true;
                bytes = Vec::new();
            }
            // What comes later is not kept.
            bytes.clear();
            if let Some(why) = ended {
                return Err(why);
            }
            stream.set_step(None);
            stream.write(&[drip.next()]).await?;
        }
    }
}

/// Bytes without an end.
struct Drip {
    start: &'static [u8],
    /// Letters of a line before it ends; lines never begin with `SSH-`.
    line: usize,
    at: usize,
}

impl Drip {
    fn new(kind: ServiceKind) -> Self {
        let (start, line): (&'static [u8], usize) = match kind {
            // Lines before the version, as RFC 4253, section 4.2, allows.
            ServiceKind::Ssh => (b"", 30),
            ServiceKind::Http => (b"HTTP/1.1 200 OK\r\n", 30),
            _ => (b"", usize::MAX),
        };
        Self { start, line, at: 0 }
    }

    fn next(&mut self) -> u8 {
        if let Some((first, rest)) = self.start.split_first() {
            self.start = rest;
            return *first;
        }
        let letter = b'a' + rand::random::<u8>() % 26;
        let at = self.at;
        self.at += 1;
        match self.line.checked_sub(at) {
            Some(0) => b'\r',
            None => {
                self.at = 0;
                b'\n'
            }
            // A header's name ends somewhere.
            Some(left) if left == self.line - 3 && self.line != usize::MAX => b':',
            Some(_) => letter,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_protocol_gets_to_its_end() {
        let drip = |kind| {
            let mut drip = Drip::new(kind);
            let bytes: Vec<u8> = (0..2_000).map(|_| drip.next()).collect();
            String::from_utf8(bytes).unwrap()
        };
        let ssh = drip(ServiceKind::Ssh);
        assert!(ssh.contains("\r\n") && ssh.lines().all(|line| !line.starts_with("SSH-")));
        let http = drip(ServiceKind::Http);
        assert!(http.starts_with("HTTP/1.1 200 OK\r\n") && !http.contains("\r\n\r\n"), "{http}");
        assert!(
            http.lines().skip(1).filter(|line| line.len() > 4).all(|line| line.contains(':')),
            "{http}"
        );
        assert!(!drip(ServiceKind::Tcp).contains('\n'));
    }
}
