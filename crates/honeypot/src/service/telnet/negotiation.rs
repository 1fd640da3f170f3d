//! Telnet commands in the byte stream (RFC 854, 855) and what a BusyBox
//! `telnetd` makes of them: it announces its options at once, takes the window
//! size (RFC 1073), and answers nobody's options. A server that does answer is
//! no such device, and clients that try passwords then send other bytes.

use palisade_event::Untrusted;

use crate::Session;

/// Most bytes of a subnegotiation that are kept; the rest is read and dropped.
pub const MAX_SUBNEGOTIATION_BYTES: usize = 256;
/// Most questions of a session that are answered, so that a client cannot make
/// us talk without end.
const MAX_ANSWERS: u32 = 64;

const IAC: u8 = 255;
const DONT: u8 = 254;
const DO: u8 = 253;
const WILL: u8 = 251;
const SB: u8 = 250;
/// End of file, the lowest command (RFC 1184).
const FIRST_COMMAND: u8 = 236;
const SE: u8 = 240;
/// Are you there.
const AYT: u8 = 246;

const ECHO: u8 = 1;
const SUPPRESS_GO_AHEAD: u8 = 3;
const TERMINAL_TYPE: u8 = 24;
const WINDOW_SIZE: u8 = 31;

/// What BusyBox opens with since 1.14: client, (do not) echo and tell your
/// window; I echo and send no go-aheads.
pub(super) const OPENING: &[u8] =
    &[IAC, DO, ECHO, IAC, DO, WINDOW_SIZE, IAC, WILL, ECHO, IAC, WILL, SUPPRESS_GO_AHEAD];
/// What BusyBox 1.35 sends to who asks whether it is there: it means IAC NOP,
/// and doubles the IAC as if a program had printed it.
const HERE: &[u8] = &[IAC, IAC, 241];

/// One thing in the byte stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A byte that was typed.
    Data(u8),
    /// A byte 255 that was typed without doubling it, and the byte after it,
    /// which is no command.
    Stray(u8),
    /// The client asks whether somebody is there.
    AreYouThere,
    /// WILL, WONT, DO or DONT with an option.
    Option {
        /// One of the four verbs.
        verb: u8,
        /// The option's number.
        option: u8,
    },
    /// The contents of a subnegotiation, at most [`MAX_SUBNEGOTIATION_BYTES`].
    Subnegotiation(Vec<u8>),
}

/// Takes the byte stream apart.
#[derive(Debug, Default)]
pub struct Decoder {
    state: State,
    sub: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Default)]
enum State {
    #[default]
    Data,
    Command,
    Option(u8),
    Sub,
    SubCommand,
}

impl Decoder {
    /// Takes the next byte.
    pub fn push(&mut self, byte: u8) -> Option<Item> {
        let (state, item) = match (self.state, byte) {
            (State::Data, IAC) => (State::Command, None),
            (State::Data, _) => (State::Data, Some(Item::Data(byte))),
            (State::Command, IAC) => (State::Data, Some(Item::Data(IAC))),
            (State::Command, WILL..=DONT) => (State::Option(byte), None),
            (State::Command, SB) => (State::Sub, None),
            (State::Command, AYT) => (State::Data, Some(Item::AreYouThere)),
            (State::Command, 0..FIRST_COMMAND) => (State::Data, Some(Item::Stray(byte))),
            (State::Command, _) => (State::Data, None),
            (State::Option(verb), option) => (State::Data, Some(Item::Option { verb, option })),
            (State::Sub, IAC) => (State::SubCommand, None),
            (State::SubCommand, SE) => {
                (State::Data, Some(Item::Subnegotiation(std::mem::take(&mut self.sub))))
            }
            (State::Sub, _) | (State::SubCommand, IAC) => {
                if self.sub.len() < MAX_SUBNEGOTIATION_BYTES {
                    self.sub.push(byte);
                }
                (State::Sub, None)
            }
            // Anything else in a subnegotiation is a mistake; it goes on.
            (State::SubCommand, _) => (State::Sub, None),
        };
        self.state = state;
        item
    }
}

/// Our side of the negotiation.
#[derive(Debug, Default)]
pub(super) struct Negotiation {
    answers: u32,
}

impl Negotiation {
    /// Answers an item into `out` as the real one does, and notes what it tells
    /// of the client.
    pub(super) fn take(&mut self, item: &Item, out: &mut Vec<u8>, session: &mut Session) {
        match item {
            Item::AreYouThere if self.answers < MAX_ANSWERS => {
                self.answers += 1;
                out.extend_from_slice(HERE);
            }
            Item::AreYouThere | Item::Option { .. } | Item::Data(_) | Item::Stray(_) => {}
            Item::Subnegotiation(contents) => match contents.as_slice() {
                [WINDOW_SIZE, w1, w0, h1, h0] => {
                    let size = |high, low| u32::from(u16::from_be_bytes([high, low]));
                    session.set_size(size(*w1, *w0), size(*h1, *h0));
                }
                // Nobody asked for it; some tell all the same.
                [TERMINAL_TYPE, 0, name @ ..] => {
                    session.note("terminal_type", Untrusted::from(name));
                }
                _ => {}
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(bytes: &[u8]) -> Vec<Item> {
        let mut decoder = Decoder::default();
        bytes.iter().filter_map(|byte| decoder.push(*byte)).collect()
    }

    #[test]
    fn commands_are_taken_out_of_the_data() {
        let bytes =
            [b'a', IAC, WILL, 31, b'b', IAC, IAC, IAC, 241, IAC, 244, IAC, AYT, b'c', IAC, b'd'];
        let option = Item::Option { verb: WILL, option: 31 };
        let data = |byte| Item::Data(byte);
        assert_eq!(
            items(&bytes),
            [
                data(b'a'),
                option,
                data(b'b'),
                data(255),
                Item::AreYouThere,
                data(b'c'),
                Item::Stray(b'd')
            ]
        );
    }

    #[test]
    fn a_subnegotiation_is_unescaped() {
        let bytes = [IAC, SB, 31, 0, 80, IAC, IAC, 24, IAC, SE];
        assert_eq!(items(&bytes), [Item::Subnegotiation(vec![31, 0, 80, 255, 24])]);
    }

    #[test]
    fn a_subnegotiation_without_end_is_bounded() {
        let mut decoder = Decoder::default();
        for byte in [IAC, SB].into_iter().chain(std::iter::repeat_n(b'x', 100_000)) {
            assert_eq!(decoder.push(byte), None);
        }
        assert_eq!(decoder.sub.len(), MAX_SUBNEGOTIATION_BYTES);
    }
}
