//! Any bytes as what the process of the honeypots tells its parent, and the
//! other way round: no panic, no frame without bytes taken, and what is
//! understood is written again so that it is understood as the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use palisade_honeypot::zone_stream::{FromZone, MAX_FRAME_BYTES, ToZone, is_of_a_honeypot};

fuzz_target!(|bytes: &[u8]| {
    let mut rest = bytes;
    while let Ok(Some((frame, length))) = FromZone::decode(rest) {
        assert!(length > 4 && length <= MAX_FRAME_BYTES + 4);
        if let FromZone::Event { event: Ok(event), .. } = &frame {
            assert!(is_of_a_honeypot(event.kind) && event.validate().is_ok());
            assert!(event.received_at.is_none() && event.source_geo.is_none());
        }
        // Text is made UTF-8 and cut; what was refused is not kept.
        let lossy =
            matches!(frame, FromZone::Event { event: Err(_), .. } | FromZone::Failed(_));
        let written = frame.encode();
        if !lossy && written.len() < MAX_FRAME_BYTES - 16 {
            assert_eq!(FromZone::decode(&written), Ok(Some((frame, written.len()))));
        }
        rest = &rest[length..];
    }
    let mut rest = bytes;
    while let Ok(Some((frame, length))) = ToZone::decode(rest) {
        assert_eq!(frame.encode(), rest[..length]);
        rest = &rest[length..];
    }
});
