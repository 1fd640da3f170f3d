//! What an attacker's terminal was sent, made harmless for the terminal of whoever
//! looks at it. A closed list is let through: text, line ends and tabs, colours
//! and other looks, moves of the cursor, erasing and shifting what is on the
//! screen. All else is left out: titles, the clipboard (OSC 52), links and other
//! strings to the terminal (OSC, DCS, APC, PM, SOS), questions that the terminal
//! would answer into the operator's shell, modes (mouse, alternate screen,
//! bracketed paste), character sets, resets, erasing what was scrolled away, C1
//! control characters, bells. `ui/src/pages/sessions/screen.ts` follows the same list;
//! `fixtures/terminal/vectors.json` holds both to it.

use crate::asciicast;
use crate::untrusted::is_plain;

/// Longest parameters of a sequence, in characters; a longer one is left out.
const MAX_PARAMETERS: usize = 64;
/// Most parameters of a sequence of looks.
const MAX_COUNT: usize = 16;
/// Largest parameter; more is as good as this.
const MAX_VALUE: u32 = 999;
/// Longest string to the terminal that is passed over, in characters: one
/// without end must not hide all that follows.
const MAX_STRING: usize = 4 * 1024;

/// Ends of control sequences that are let through: insert, cursor up, down,
/// right, left, lines down and up, column, place, tab, erase in display and line,
/// insert and delete lines, delete, scroll up and down, erase characters, tab
/// back, column, right, row, down, place, looks, save and restore the cursor.
const FINALS: &str = "@ABCDEFGHIJKLMPSTXZ`adefmsu";

/// The state between two pieces of output. A sequence may come in pieces.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    state: State,
}

#[derive(Clone, Debug, Default)]
enum State {
    #[default]
    Text,
    /// After ESC.
    Escape,
    /// After ESC and an intermediate character: one more ends it.
    EscapeEnd,
    /// In a control sequence: its parameters; `None` where it is left out.
    Control(Option<String>),
    /// In a string to the terminal: characters so far, and whether the last was ESC.
    Passed(usize, bool),
}

impl Filter {
    /// Appends what is harmless of `text` to `out`; whole sequences only.
    pub fn push(&mut self, text: &str, out: &mut String) {
        for c in text.chars() {
            self.take(c, out);
        }
    }

    fn take(&mut self, c: char, out: &mut String) {
        self.state = match std::mem::take(&mut self.state) {
            State::Passed(length, _) if length >= MAX_STRING => {
                self.take(c, out);
                return;
            }
            State::Passed(_, true) => match c {
                '\\' => State::Text,
                _ => escape(c, out),
            },
            State::Passed(length, false) => match c {
                '\u{7}' | '\u{18}' | '\u{1a}' | '\u{9c}' => State::Text,
                '\u{1b}' => State::Passed(length + 1, true),
                _ => State::Passed(length + 1, false),
            },
            // Wherever it stands, it begins anew; these two give up.
            _ if c == '\u{1b}' => State::Escape,
            _ if matches!(c, '\u{18}' | '\u{1a}') => State::Text,
            State::Text => {
                Self::text(c, out);
                State::Text
            }
            // Inside of sequences control characters act as ever.
            state @ (State::Escape | State::EscapeEnd | State::Control(_)) if c < ' ' => {
                Self::text(c, out);
                state
            }
            State::Escape => escape(c, out),
            State::EscapeEnd => State::Text,
            State::Control(parameters) => match c {
                '0'..='?' => State::Control(parameters.filter(|p| p.len() < MAX_PARAMETERS).map(
                    |mut parameters| {
                        parameters.push(c);
                        parameters
                    },
                )),
                ' '..='/' => State::Control(None),
                '@'..='~' => {
                    if let Some(parameters) = parameters {
                        control(&parameters, c, out);
                    }
                    State::Text
                }
                _ => State::Text,
            },
        };
    }

    fn text(c: char, out: &mut String) {
        match c {
            '\u{8}' | '\t' | '\n' | '\r' => out.push(c),
            '\0'..' ' | '\u{7f}'..='\u{9f}' => {}
            '\\' => out.push(c),
            c if is_plain(c) && !asciicast::is_raw(c) => out.push(c),
            _ => out.push(char::REPLACEMENT_CHARACTER),
        }
    }
}

/// Takes the character after ESC.
fn escape(c: char, out: &mut String) -> State {
    match c {
        '[' => State::Control(Some(String::new())),
        ']' | 'P' | 'X' | '^' | '_' => State::Passed(0, false),
        // Save and restore the cursor; a line down, to its beginning, up.
        '7' | '8' | 'D' | 'E' | 'M' => {
            out.extend(['\u{1b}', c]);
            State::Text
        }
        ' '..='/' => State::EscapeEnd,
        _ => State::Text,
    }
}

/// Writes a control sequence where it is in the list.
fn control(parameters: &str, last: char, out: &mut String) {
    let known = FINALS.contains(last);
    // Private ones (`?`, `<`, `=`, `>`) are modes and questions.
    let plain = parameters.chars().all(|c| c.is_ascii_digit() || matches!(c, ';' | ':'));
    let count = parameters.split([';', ':']).count();
    // Saved and restored, `s` and `u` take none; with some they are margins and keys.
    let bare = !matches!(last, 's' | 'u') || parameters.is_empty();
    // Only colours have parts, and a display's erasing knows 0 to 2.
    let parts = last == 'm' || !parameters.contains(':');
    let erased = last != 'J' || matches!(parameters, "" | "0" | "1" | "2");
    let most = match last {
        'm' => MAX_COUNT,
        'H' | 'f' => 2,
        // Five to `T` begin mouse tracking in some terminals.
        _ => 1,
    };
    if !(known && plain && bare && parts && erased) || count > most {
        return;
    }
    out.push_str("\u{1b}[");
    for piece in parameters.split_inclusive([';', ':']) {
        let digits = piece.trim_end_matches([';', ':']);
        if !digits.is_empty() {
            let value = digits.parse().unwrap_or(MAX_VALUE).min(MAX_VALUE);
            out.push_str(&value.to_string());
        }
        out.extend(piece.chars().last().filter(|c| matches!(c, ';' | ':')));
    }
    out.push(last);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn filtered(text: &str) -> String {
        let (mut filter, mut out) = (Filter::default(), String::new());
        filter.push(text, &mut out);
        out
    }

    /// Whether a terminal could be harmed: anything but text and the closed list.
    fn is_harmless(text: &str) -> bool {
        let mut rest = text.chars().peekable();
        while let Some(c) = rest.next() {
            if c == '\u{1b}' {
                match rest.next() {
                    Some('7' | '8' | 'D' | 'E' | 'M') => {}
                    Some('[') => {
                        let mut parameters = String::new();
                        while let Some(c) =
                            rest.next_if(|c| c.is_ascii_digit() || matches!(c, ';' | ':'))
                        {
                            parameters.push(c);
                        }
                        let Some(last) = rest.next().filter(|c| FINALS.contains(*c)) else {
                            return false;
                        };
                        if last == 'J' && parameters.contains('3') {
                            return false;
                        }
                    }
                    _ => return false,
                }
            } else if c.is_control() && !matches!(c, '\u{8}' | '\t' | '\n' | '\r') {
                return false;
            }
        }
        true
    }

    #[test]
    fn both_players_agree_on_the_shared_vectors() {
        let vectors: serde_json::Value =
            serde_json::from_str(include_str!("../../../fixtures/terminal/vectors.json")).unwrap();
        let vectors = vectors.as_array().unwrap();
        assert!(vectors.len() > 20);
        for vector in vectors {
            let (input, want) = (&vector["input"], &vector["filtered"]);
            let got = filtered(input.as_str().unwrap());
            assert_eq!(got, want.as_str().unwrap(), "{}", vector["name"]);
            assert!(is_harmless(&got), "{}", vector["name"]);
        }
    }

    #[test]
    fn a_string_without_end_does_not_hide_all_that_follows() {
        let long = format!("\u{1b}]0;{}the rest", "x".repeat(MAX_STRING));
        assert!(filtered(&long).ends_with("the rest"));
        assert_eq!(filtered(&format!("\u{1b}[{}mA", "1;".repeat(500))), "A");
    }

    #[test]
    fn large_numbers_are_cut() {
        assert_eq!(filtered("\u{1b}[99999999999999999999;3H"), "\u{1b}[999;3H");
        assert_eq!(filtered("\u{1b}[38:2::1:2:3m"), "\u{1b}[38:2::1:2:3m");
    }

    proptest! {
        #[test]
        fn whatever_comes_is_harmless(
            text in "([\u{1b}\u{9b}\u{9d}\u{90}\\[\\]P^_X0-9;:?<>=!$' a-zA-Z@`~\u{7}\u{8}\r\n\\\\\u{18}\u{1a}\u{9c}\u{202e}éß]|.){0,120}"
        ) {
            let whole = filtered(&text);
            prop_assert!(is_harmless(&whole), "{:?}", whole);
            // What is harmless stays as it is.
            prop_assert_eq!(&filtered(&whole), &whole);
            // And in any pieces it is the same.
            let (mut filter, mut pieces) = (Filter::default(), String::new());
            for c in text.chars() {
                filter.push(c.encode_utf8(&mut [0; 4]), &mut pieces);
            }
            prop_assert_eq!(pieces, whole);
        }
    }
}
