//! The telnet decoder, the login's line editor and the shell's behind it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use palisade_honeypot::service::telnet::{
    Decoder, Echo, Item, LineEditor, MAX_SUBNEGOTIATION_BYTES,
};
use palisade_honeypot::shell::editor::{Editor, Input, MAX_LINE_BYTES};

fuzz_target!(|bytes: &[u8]| {
    let (mut decoder, mut login, mut shell) =
        (Decoder::default(), LineEditor::default(), Editor::default());
    let mut echo = Vec::new();
    for byte in bytes {
        match decoder.push(*byte) {
            Some(Item::Data(byte) | Item::Stray(byte)) => {
                for input in
                    [login.push(byte, Echo::Cooked, &mut echo), shell.push(byte, &mut echo)]
                {
                    if let Some(Input::Line { bytes, .. }) = input {
                        assert!(bytes.len() <= MAX_LINE_BYTES);
                    }
                }
            }
            Some(Item::Subnegotiation(contents)) => {
                assert!(contents.len() <= MAX_SUBNEGOTIATION_BYTES);
            }
            Some(Item::AreYouThere | Item::Option { .. }) | None => {}
        }
    }
});
