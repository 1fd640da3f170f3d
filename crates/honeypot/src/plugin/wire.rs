//! What a script talks to: a stranger's connection, a transcript, or nobody
//! (for datagrams).

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use super::dialog::Dialog;
use crate::tls::{self, Tls};
use crate::{Closed, Session, Stream};

/// The other end.
#[derive(Debug)]
pub(crate) enum Wire {
    /// A connection; what TLS can be begun with.
    Socket(Box<Stream>, Option<Tls>),
    /// A transcript.
    Dialog(Rc<RefCell<Dialog>>),
    /// A datagram: nothing is read, the answer is returned.
    Nobody,
}

impl Wire {
    /// Waits for bytes; `limit` as [`Stream::set_step`].
    pub(crate) async fn read(
        &mut self,
        buffer: &mut Vec<u8>,
        room: usize,
    ) -> Result<usize, Closed> {
        match self {
            Self::Socket(stream, _) => stream.read(buffer, room).await,
            Self::Dialog(dialog) => dialog.borrow_mut().read(buffer, room),
            Self::Nobody => Err(Closed::ClientClosed),
        }
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) -> Result<(), Closed> {
        match self {
            Self::Socket(stream, _) => stream.write(bytes).await,
            Self::Dialog(dialog) => dialog.borrow_mut().write(bytes),
            Self::Nobody => Ok(()),
        }
    }

    /// The deadline of the reads that follow.
    pub(crate) fn set_step(&mut self, limit: Option<Duration>) {
        if let Self::Socket(stream, _) = self {
            stream.set_step(limit);
        }
    }

    pub(crate) async fn pause(&mut self, time: Duration) -> Result<(), Closed> {
        match self {
            Self::Socket(stream, _) => stream.pause(time).await,
            Self::Dialog(_) | Self::Nobody => Ok(()),
        }
    }

    pub(crate) fn is_tls(&self) -> bool {
        match self {
            Self::Socket(stream, _) => stream.is_tls(),
            Self::Dialog(dialog) => dialog.borrow().tls,
            Self::Nobody => false,
        }
    }

    /// Begins TLS; `early` was read already and is of the client's handshake.
    /// `Ok(Err(why))`: it could not be begun.
    pub(crate) async fn start_tls(
        &mut self,
        session: &mut Session,
        early: Vec<u8>,
    ) -> Result<Result<(), &'static str>, Closed> {
        match self {
            Self::Socket(stream, Some(tls)) if !stream.is_tls() => {
                stream.unread(early);
                let greeting = Box::pin(stream.start_tls(tls)).await?;
                let plain = matches!(greeting, crate::stream::Greeting::Plain);
                if !tls::told(greeting, session).await? {
                    return Ok(Err("handshake"));
                }
                Ok(if plain { Err("plain") } else { Ok(()) })
            }
            Self::Socket(stream, _) if stream.is_tls() => Ok(Err("twice")),
            Self::Socket(..) | Self::Nobody => Ok(Err("no certificate")),
            Self::Dialog(dialog) => {
                dialog.borrow_mut().tls = true;
                Ok(Ok(()))
            }
        }
    }
}
