//! The connection protocol of a server (RFC 4254), without a socket: channels,
//! their windows, and what a client asks of them. Not what happens then; the
//! service knows. Nothing is ever connected to or listened on.

use std::collections::VecDeque;

use super::message::*;
use super::transport::{End, Transport};
use super::wire::{Put as _, Reader};

/// Most sessions of a connection, as `MaxSessions`.
const MAX_SESSIONS: usize = 10;
/// Most channels of a connection.
const MAX_CHANNELS: usize = 32;
/// What a client may send ahead, as OpenSSH has it.
const WINDOW_BYTES: u32 = 64 * 32 * 1024;
/// Longest data message, as OpenSSH has it.
const PACKET_BYTES: u32 = 32 * 1024;
/// Shortest data message that is sent: who wants them shorter would have a
/// message for each byte.
const MIN_PACKET_BYTES: u32 = 256;
/// Most bytes that wait for a client to read them.
pub(super) const MAX_PENDING_BYTES: usize = 2 * 1024 * 1024;
/// Longest text of a request that is kept.
const MAX_TEXT_BYTES: usize = 32 * 1024;

/// `SSH_OPEN_CONNECT_FAILED`.
const CONNECT_FAILED: u32 = 2;

/// What a client asks, once the protocol's part is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// A terminal for a session.
    Terminal {
        /// The session.
        channel: u32,
        /// `TERM`.
        term: Vec<u8>,
        /// Its width in characters.
        columns: u32,
        /// Its height.
        rows: u32,
    },
    /// A variable for a session.
    Variable {
        /// Its name.
        name: Vec<u8>,
        /// Its value.
        value: Vec<u8>,
    },
    /// A shell.
    Shell(u32),
    /// A command.
    Command(u32, Vec<u8>),
    /// File transfer by SFTP.
    Sftp(u32),
    /// Data on a channel.
    Data(u32, Vec<u8>),
    /// A client has made room for more output.
    Room(u32),
    /// No more data comes on a channel.
    EndOfData(u32),
    /// The terminal has another size: columns and rows.
    Resized(u32, u32, u32),
    /// A signal for what runs.
    Signal(u32, Vec<u8>),
    /// A channel is gone.
    Closed(u32),
    /// A connection to elsewhere; answer with [`Channels::connect`] or
    /// [`Channels::refuse`].
    Connect(Tunnel),
    /// A port to listen on, or one to listen on no more.
    Listen {
        /// The address.
        host: Vec<u8>,
        /// The port; 0 for any.
        port: u32,
    },
}

/// A connection that a client wants to have made for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tunnel {
    /// Where to, a name, an address or a path.
    pub host: Vec<u8>,
    /// The port; `None` for a path.
    pub port: Option<u32>,
    theirs: Theirs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Theirs {
    number: u32,
    window: u32,
    packet: u32,
}

#[derive(Debug)]
struct Channel {
    theirs: Theirs,
    session: bool,
    // A program runs, or ran: there is only one in a session.
    started: bool,
    room: u32,
    used: u32,
    pending: VecDeque<Output>,
    pending_bytes: usize,
    ending: Option<Exit>,
    eof_sent: bool,
    closed: bool,
}

/// Output that waits, and how much of it is sent.
#[derive(Debug)]
struct Output {
    kind: Kind,
    bytes: Vec<u8>,
    sent: usize,
}

/// Which of a program's outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Output,
    Errors,
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    Status(u32),
    /// There was none.
    None,
}

/// The channels of one connection.
#[derive(Debug, Default)]
pub(super) struct Channels {
    slots: Vec<Option<Box<Channel>>>,
    no_more_sessions: bool,
}

impl Channels {
    /// Takes a message after the login.
    pub(super) fn take(
        &mut self,
        message: &[u8],
        transport: &mut Transport,
    ) -> Result<Option<Asked>, End> {
        let incomplete = || End::Fault("incomplete message".to_owned());
        let (kind, body) = message.split_first().ok_or_else(incomplete)?;
        let mut reader = Reader::new(body);
        match *kind {
            GLOBAL_REQUEST => global(&mut reader, transport, self).ok_or_else(incomplete),
            CHANNEL_OPEN => self.open(&mut reader, transport),
            CHANNEL_WINDOW_ADJUST..=CHANNEL_REQUEST => {
                let number = reader.u32().ok_or_else(incomplete)?;
                let Some(channel) = self.get(number) else {
                    return Err(transport
                        .disconnect(&format!("packet referred to nonexistent channel {number}")));
                };
                match *kind {
                    CHANNEL_WINDOW_ADJUST => {
                        let more = reader.u32().ok_or_else(incomplete)?;
                        channel.theirs.window = channel.theirs.window.saturating_add(more);
                        self.flush(number, transport);
                        Ok(Some(Asked::Room(number)))
                    }
                    CHANNEL_DATA => {
                        let data = reader.string().ok_or_else(incomplete)?;
                        self.data(number, data, transport)
                    }
                    CHANNEL_EOF => Ok(Some(Asked::EndOfData(number))),
                    CHANNEL_CLOSE => {
                        self.close(number, transport);
                        if let Some(slot) = self.slots.get_mut(number as usize) {
                            *slot = None;
                        }
                        Ok(Some(Asked::Closed(number)))
                    }
                    CHANNEL_REQUEST => {
                        self.request(number, &mut reader, transport).ok_or_else(incomplete)
                    }
                    // Nothing of ours takes a client's errors.
                    _ => Ok(None),
                }
            }
            // Answers to requests of ours; there are none.
            REQUEST_SUCCESS | REQUEST_FAILURE | CHANNEL_SUCCESS | CHANNEL_FAILURE => Ok(None),
            // A login that is done is not begun again.
            USERAUTH_REQUEST..=USERAUTH_INFO_RESPONSE | EXT_INFO => Ok(None),
            _ => {
                transport.unimplemented();
                Ok(None)
            }
        }
    }

    fn get(&mut self, number: u32) -> Option<&mut Channel> {
        self.slots.get_mut(number as usize)?.as_deref_mut()
    }

    fn open(
        &mut self,
        reader: &mut Reader<'_>,
        transport: &mut Transport,
    ) -> Result<Option<Asked>, End> {
        let head = |reader: &mut Reader<'_>| {
            let kind = reader.string()?.to_vec();
            let theirs =
                Theirs { number: reader.u32()?, window: reader.u32()?, packet: reader.u32()? };
            Some((kind, theirs))
        };
        let incomplete = || End::Fault("incomplete message".to_owned());
        let (kind, theirs) = head(reader).ok_or_else(incomplete)?;
        match kind.as_slice() {
            b"session" => {
                if self.no_more_sessions {
                    return Err(transport.disconnect(
                        "Possible attack: attempt to open a session after additional sessions disabled",
                    ));
                }
                let sessions = self.slots.iter().flatten().filter(|slot| slot.session).count();
                if sessions >= MAX_SESSIONS {
                    refuse(theirs.number, "open failed", transport);
                } else {
                    // The window opens when something runs.
                    self.add(theirs, true, transport);
                }
                Ok(None)
            }
            b"direct-tcpip" => {
                let host = cut(reader.string().ok_or_else(incomplete)?);
                let port = reader.u32().ok_or_else(incomplete)?;
                Ok(Some(Asked::Connect(Tunnel { host, port: Some(port), theirs })))
            }
            b"direct-streamlocal@openssh.com" => {
                let host = cut(reader.string().ok_or_else(incomplete)?);
                Ok(Some(Asked::Connect(Tunnel { host, port: None, theirs })))
            }
            _ => {
                refuse(theirs.number, "open failed", transport);
                Ok(None)
            }
        }
    }

    /// Pretends that a connection was made; its number.
    pub(super) fn connect(&mut self, tunnel: &Tunnel, transport: &mut Transport) -> Option<u32> {
        self.add(tunnel.theirs, false, transport)
    }

    /// Says why no connection was made.
    pub(super) fn refuse(tunnel: &Tunnel, why: &str, transport: &mut Transport) {
        refuse(tunnel.theirs.number, why, transport);
    }

    fn add(&mut self, theirs: Theirs, session: bool, transport: &mut Transport) -> Option<u32> {
        let free = self.slots.iter().position(Option::is_none).unwrap_or(self.slots.len());
        let number = u32::try_from(free).ok()?;
        if free >= MAX_CHANNELS {
            refuse(theirs.number, "open failed", transport);
            return None;
        }
        let room = if session { 0 } else { WINDOW_BYTES };
        let channel = Box::new(Channel {
            theirs,
            session,
            started: false,
            room,
            used: 0,
            pending: VecDeque::new(),
            pending_bytes: 0,
            ending: None,
            eof_sent: false,
            closed: false,
        });
        match self.slots.get_mut(free) {
            Some(slot) => *slot = Some(channel),
            None => self.slots.push(Some(channel)),
        }
        let mut message = vec![CHANNEL_OPEN_CONFIRMATION];
        for value in [theirs.number, number, room, PACKET_BYTES] {
            message.put_u32(value);
        }
        transport.send(&message);
        Some(number)
    }

    fn data(
        &mut self,
        number: u32,
        data: &[u8],
        transport: &mut Transport,
    ) -> Result<Option<Asked>, End> {
        let Some(channel) = self.get(number) else { return Ok(None) };
        let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
        if length > channel.room || length > PACKET_BYTES {
            let text =
                format!("channel {number}: rcvd too much data {length}, win {}", channel.room);
            return Err(transport.disconnect(&text));
        }
        channel.room -= length;
        channel.used += length;
        if channel.used >= PACKET_BYTES * 3 {
            let mut message = vec![CHANNEL_WINDOW_ADJUST];
            message.put_u32(channel.theirs.number);
            message.put_u32(channel.used);
            channel.room += std::mem::take(&mut channel.used);
            transport.send(&message);
        }
        let wanted = channel.ending.is_none() && !channel.closed;
        Ok(wanted.then(|| Asked::Data(number, data.to_vec())))
    }

    fn request(
        &mut self,
        number: u32,
        reader: &mut Reader<'_>,
        transport: &mut Transport,
    ) -> Option<Option<Asked>> {
        let kind = reader.string()?;
        let wants_reply = reader.bool()?;
        let channel = self.get(number)?;
        let theirs = channel.theirs.number;
        let fresh = channel.session && !channel.started;
        let (good, asked) = match kind {
            b"pty-req" if fresh => {
                let term = cut(reader.string()?);
                let (columns, rows) = (reader.u32()?, reader.u32()?);
                (true, Some(Asked::Terminal { channel: number, term, columns, rows }))
            }
            b"env" if fresh => {
                let (name, value) = (cut(reader.string()?), cut(reader.string()?));
                // Debian's AcceptEnv.
                let good = name == b"LANG" || name.starts_with(b"LC_");
                (good, Some(Asked::Variable { name, value }))
            }
            b"shell" if fresh => (true, Some(Asked::Shell(number))),
            b"exec" if fresh => (true, Some(Asked::Command(number, cut(reader.string()?)))),
            b"subsystem" if fresh => {
                let good = reader.string()? == b"sftp";
                (good, good.then_some(Asked::Sftp(number)))
            }
            b"auth-agent-req@openssh.com" if fresh => (true, None),
            b"window-change" if channel.session => {
                (true, Some(Asked::Resized(number, reader.u32()?, reader.u32()?)))
            }
            b"signal" if channel.session => {
                (true, Some(Asked::Signal(number, cut(reader.string()?))))
            }
            _ => (false, None),
        };
        if matches!(asked, Some(Asked::Shell(_) | Asked::Command(..) | Asked::Sftp(_))) {
            channel.started = true;
            channel.room = WINDOW_BYTES;
            let mut message = vec![CHANNEL_WINDOW_ADJUST];
            message.put_u32(theirs);
            message.put_u32(WINDOW_BYTES);
            transport.send(&message);
        }
        if wants_reply {
            let mut message = vec![if good { CHANNEL_SUCCESS } else { CHANNEL_FAILURE }];
            message.put_u32(theirs);
            transport.send(&message);
        }
        Some(asked)
    }

    /// Sends output of a channel, as far as the client takes it; the rest
    /// waits, and what is too much is lost.
    pub(super) fn write(
        &mut self,
        number: u32,
        kind: Kind,
        bytes: Vec<u8>,
        transport: &mut Transport,
    ) {
        let Some(channel) = self.get(number) else { return };
        let fits = channel.pending_bytes + bytes.len() <= MAX_PENDING_BYTES;
        if bytes.is_empty() || channel.closed || channel.ending.is_some() || !fits {
            return;
        }
        channel.pending_bytes += bytes.len();
        channel.pending.push_back(Output { kind, bytes, sent: 0 });
        self.flush(number, transport);
    }

    /// How many bytes wait for the client to read them.
    pub(super) fn waiting(&mut self, number: u32) -> usize {
        self.get(number).map_or(0, |channel| channel.pending_bytes)
    }

    /// Ends a channel once its output is sent.
    pub(super) fn end(&mut self, number: u32, exit: Exit, transport: &mut Transport) {
        let Some(channel) = self.get(number) else { return };
        channel.ending.get_or_insert(exit);
        self.flush(number, transport);
    }

    fn flush(&mut self, number: u32, transport: &mut Transport) {
        let Some(channel) = self.get(number) else { return };
        let packet = channel.theirs.packet.clamp(MIN_PACKET_BYTES, PACKET_BYTES);
        while channel.theirs.window > 0
            && let Some(Output { kind, bytes, sent }) = channel.pending.front_mut()
        {
            let most = usize::try_from(channel.theirs.window.min(packet)).unwrap_or(usize::MAX);
            let rest = bytes.get(*sent..).unwrap_or_default();
            let part = rest.get(..most).unwrap_or(rest);
            let mut message = Vec::with_capacity(part.len() + 16);
            match kind {
                Kind::Output => message.push(CHANNEL_DATA),
                Kind::Errors => message.push(CHANNEL_EXTENDED_DATA),
            }
            message.put_u32(channel.theirs.number);
            if *kind == Kind::Errors {
                message.put_u32(1);
            }
            message.put_string(part);
            transport.send(&message);
            let length = part.len();
            channel.pending_bytes -= length;
            channel.theirs.window -= u32::try_from(length).unwrap_or(channel.theirs.window);
            *sent += length;
            if *sent >= bytes.len() {
                channel.pending.pop_front();
            }
        }
        if channel.pending.is_empty() {
            channel.pending = VecDeque::new();
            if let Some(exit) = channel.ending {
                self.finish(number, exit, transport);
            }
        }
    }

    /// End of data, exit status, close: in OpenSSH's order.
    fn finish(&mut self, number: u32, exit: Exit, transport: &mut Transport) {
        let Some(channel) = self.get(number) else { return };
        if channel.closed {
            return;
        }
        let theirs = channel.theirs.number;
        if !std::mem::replace(&mut channel.eof_sent, true) {
            let mut message = vec![CHANNEL_EOF];
            message.put_u32(theirs);
            transport.send(&message);
        }
        if let Exit::Status(status) = exit {
            let mut message = vec![CHANNEL_REQUEST];
            message.put_u32(theirs);
            message.put_string(b"exit-status");
            message.put_u8(0);
            message.put_u32(status);
            transport.send(&message);
        }
        self.close(number, transport);
    }

    fn close(&mut self, number: u32, transport: &mut Transport) {
        let Some(channel) = self.get(number) else { return };
        if !std::mem::replace(&mut channel.closed, true) {
            let mut message = vec![CHANNEL_CLOSE];
            message.put_u32(channel.theirs.number);
            transport.send(&message);
        }
    }
}

fn cut(text: &[u8]) -> Vec<u8> {
    text.get(..MAX_TEXT_BYTES).unwrap_or(text).to_vec()
}

fn refuse(theirs: u32, why: &str, transport: &mut Transport) {
    let mut message = vec![CHANNEL_OPEN_FAILURE];
    message.put_u32(theirs);
    message.put_u32(CONNECT_FAILED);
    message.put_string(why.as_bytes());
    message.put_string(b"");
    transport.send(&message);
}

/// Answers a request that is about no channel.
fn global(
    reader: &mut Reader<'_>,
    transport: &mut Transport,
    channels: &mut Channels,
) -> Option<Option<Asked>> {
    let kind = reader.string()?;
    let wants_reply = reader.bool()?;
    let mut answer = Some(Vec::new());
    let mut asked = None;
    match kind {
        b"tcpip-forward" => {
            let (host, port) = (cut(reader.string()?), reader.u32()?);
            if port == 0 {
                // A port above those that the kernel gives to connections.
                let chosen = 32_768 + u32::from(rand::random::<u16>() % 28_000);
                answer = Some(chosen.to_be_bytes().to_vec());
            }
            asked = Some(Asked::Listen { host, port });
        }
        b"cancel-tcpip-forward" | b"cancel-streamlocal-forward@openssh.com" => {}
        b"streamlocal-forward@openssh.com" => {
            asked = Some(Asked::Listen { host: cut(reader.string()?), port: 0 });
        }
        b"no-more-sessions@openssh.com" => channels.no_more_sessions = true,
        b"hostkeys-prove-00@openssh.com" => answer = transport.prove(reader),
        _ => answer = None,
    }
    if wants_reply {
        let mut message = vec![if answer.is_some() { REQUEST_SUCCESS } else { REQUEST_FAILURE }];
        message.extend_from_slice(&answer.unwrap_or_default());
        transport.send(&message);
    }
    Some(asked)
}
