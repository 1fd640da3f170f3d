//! The telnet decoder, the line editor and the shell behind them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use palisade_event::SensorId;
use palisade_honeypot::service::telnet::{
    Decoder, Echo, Input, Item, LineEditor, MAX_LINE_BYTES, MAX_SUBNEGOTIATION_BYTES,
};
use palisade_honeypot::shell::Shell;
use palisade_honeypot::{Persona, PersonaConfig};

fuzz_target!(|bytes: &[u8]| {
    let Ok(sensor) = SensorId::new("fuzz") else { return };
    let persona = Persona::new(&PersonaConfig::default(), &sensor);
    let (mut decoder, mut editor, mut shell) =
        (Decoder::default(), LineEditor::default(), Shell::new());
    let mut echo = Vec::new();
    for byte in bytes {
        match decoder.push(*byte) {
            Some(Item::Data(byte) | Item::Stray(byte)) => {
                let input = editor.push(byte, Echo::Editing, &mut echo);
                if let Some(Input::Line { bytes, .. }) = input {
                    assert!(bytes.len() <= MAX_LINE_BYTES);
                    assert!(shell.run(&persona, &bytes).output.len() <= 64 * 1024);
                }
            }
            Some(Item::Subnegotiation(contents)) => {
                assert!(contents.len() <= MAX_SUBNEGOTIATION_BYTES);
            }
            Some(Item::Interrupt | Item::Option { .. }) | None => {}
        }
    }
});
