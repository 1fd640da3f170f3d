//! Options of telnet as telnet(1) answers them (RFC 854, RFC 857, RFC 858): a server
//! may echo and need not say go ahead, anything else is refused. Some servers say
//! nothing more until they are answered.

const IAC: u8 = 255;
const DONT: u8 = 254;
const DO: u8 = 253;
const WONT: u8 = 252;
const WILL: u8 = 251;
const SB: u8 = 250;
const SE: u8 = 240;
const ECHO: u8 = 1;
const NO_GO_AHEAD: u8 = 3;

#[derive(Clone, Copy, Default)]
enum State {
    #[default]
    Text,
    Command,
    Option(u8),
    Sub,
    SubCommand,
}

/// What has been agreed on.
#[derive(Default)]
pub(super) struct Options {
    state: State,
    echo: bool,
    no_go_ahead: bool,
}

impl Options {
    /// Takes what came: adds its text to `text`, and what is to be answered to `answers`.
    pub(super) fn take(&mut self, bytes: &[u8], text: &mut Vec<u8>, answers: &mut Vec<u8>) {
        for byte in bytes {
            self.state = match (self.state, *byte) {
                (State::Text, IAC) => State::Command,
                (State::Text, byte) => {
                    text.push(byte);
                    State::Text
                }
                (State::Command, verb @ WILL..=DONT) => State::Option(verb),
                (State::Command, SB) => State::Sub,
                (State::Command, IAC) => {
                    text.push(IAC);
                    State::Text
                }
                (State::Command, _) => State::Text,
                (State::Option(verb), option) => {
                    if let Some(answer) = self.answer(verb, option) {
                        answers.extend_from_slice(&[IAC, answer, option]);
                    }
                    State::Text
                }
                (State::Sub, IAC) => State::SubCommand,
                (State::Sub, _) => State::Sub,
                (State::SubCommand, SE) => State::Text,
                (State::SubCommand, _) => State::Sub,
            };
        }
    }

    /// Nothing where nothing changes, so that no two sides answer each other for ever.
    fn answer(&mut self, verb: u8, option: u8) -> Option<u8> {
        let agreed = match option {
            ECHO => &mut self.echo,
            NO_GO_AHEAD => &mut self.no_go_ahead,
            _ => return (verb == WILL).then_some(DONT).or((verb == DO).then_some(WONT)),
        };
        match verb {
            WILL => (!std::mem::replace(agreed, true)).then_some(DO),
            WONT => std::mem::replace(agreed, false).then_some(DONT),
            DO => Some(WONT),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_answered_once_and_text_is_what_is_left() {
        let mut options = Options::default();
        let (mut text, mut answers) = (Vec::new(), Vec::new());
        let came = [
            &[IAC, WILL, ECHO, IAC, WILL, NO_GO_AHEAD, IAC, WILL, 0, IAC, DO, 31][..],
            b"Username: ",
            &[IAC, WILL, ECHO, IAC, SB, 24, 1, IAC, IAC, IAC, SE, IAC, IAC],
            b"x",
            &[IAC, WONT, ECHO, IAC, WONT, ECHO],
        ]
        .concat();
        // However it comes in pieces.
        for byte in came {
            options.take(&[byte], &mut text, &mut answers);
        }
        assert_eq!(text, b"Username: \xffx");
        let wanted: [&[u8]; 5] = [
            &[IAC, DO, ECHO],
            &[IAC, DO, NO_GO_AHEAD],
            &[IAC, DONT, 0],
            &[IAC, WONT, 31],
            &[IAC, DONT, ECHO],
        ];
        assert_eq!(answers, wanted.concat());
    }
}
