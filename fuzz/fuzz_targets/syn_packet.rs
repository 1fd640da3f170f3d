//! The first packet of a connection, and files of signatures.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use palisade_honeypot::fingerprint::signature::File;
use palisade_honeypot::fingerprint::{Signatures, Syn, matcher};

static OWN: LazyLock<Signatures> = LazyLock::new(Signatures::own);

fuzz_target!(|bytes: &[u8]| {
    if let Some(syn) = Syn::parse(bytes) {
        assert!(syn.options.len() <= 40);
        let found = OWN.identify(&syn);
        assert!(found.raw.is_ascii() && found.raw.split(':').count() == 8);
        // What is written reads back, and fits what it was written from.
        let text = format!("[tcp:request]\nlabel = s:unix:This:one\nsig = {syn}");
        let file = File::parse(&text);
        // Without a believable distance there is no initial TTL to read.
        if syn.distance().is_some() && syn.ttl != 0 {
            assert!(file.mistakes.is_empty(), "{text}");
            assert!(matcher::find(&[file], &syn).is_some(), "{text}");
        }
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        assert!(File::parse(text).mistakes.len() <= 20);
    }
});
