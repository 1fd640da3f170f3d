//! Any bytes as an EWS message, cut into windows: read within its bounds, the
//! same wherever it is cut, and whatever is an event keeps the limits.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((cut, message)) = data.split_first() else { return };
    let whole = palisade_api::fuzzing::ews_message(&[message]);
    let at = message.len() * usize::from(*cut) / 256;
    let (head, tail) = message.split_at(at);
    let parts = palisade_api::fuzzing::ews_message(&[head, tail]);
    assert_eq!(whole, parts);
    for event in whole.into_iter().flatten() {
        event.validate().expect("an event keeps the limits");
        let json = palisade_event::wire::encode_event(&event);
        assert_eq!(palisade_event::wire::decode_event(&json).ok(), Some(event));
    }
});
