//! Any text as a transcript of a plug-in: no panic, and what a pattern without a
//! star describes is itself.
#![no_main]

use libfuzzer_sys::fuzz_target;
use palisade_honeypot::plugin::transcript::{Transcript, What};

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(transcript) = Transcript::parse(text) else { return };
    let mut sent = Vec::new();
    for step in &transcript.steps {
        match &step.what {
            What::Send(bytes) => sent.extend_from_slice(bytes),
            What::Expect(pattern) => {
                let _ = pattern.matches(&sent);
                let _ = pattern.to_string();
            }
            What::Told(_, fields) => {
                for (_, pattern) in fields {
                    let _ = pattern.matches(&sent);
                }
            }
            What::Close | What::Timeout | What::Closed => {}
        }
    }
});
