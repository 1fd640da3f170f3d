//! Any bytes as the answers of the servers that attackers name (FTP, TFTP, DNS),
//! and as messages between the honeypots and the fetcher: no panic, no more
//! stored than may be, and the same whether bytes come at once or in pieces.
#![no_main]

use libfuzzer_sys::fuzz_target;
use palisade_honeypot::fetch::wire::{Answer, PIECE_BYTES, Wish};
use palisade_honeypot::fetch::{ftp, names, tftp};

fuzz_target!(|bytes: &[u8]| {
    let Some((&cut, bytes)) = bytes.split_first() else { return };
    let (first, second) = bytes.split_at(usize::from(cut).min(bytes.len()));

    let all = |parts: &[&[u8]]| {
        let (mut reader, mut replies) = (ftp::Replies::default(), Vec::new());
        for part in parts {
            reader.push(part);
            loop {
                match reader.next_reply() {
                    Ok(Some(reply)) => {
                        assert!((100..600).contains(&reply.code));
                        assert!(reply.text.len() <= ftp::MAX_LINE_BYTES);
                        assert_ne!(ftp::data_port(&reply), Some(0));
                        replies.push(reply);
                    }
                    Ok(None) => break,
                    Err(_) => return None,
                }
            }
        }
        Some(replies)
    };
    if let (Some(whole), Some(parts)) = (all(&[bytes]), all(&[first, second])) {
        assert_eq!(whole, parts);
    }

    let mut transfer = tftp::Transfer::new(1_000);
    for datagram in bytes.chunks(usize::from(cut).max(1)) {
        let _ = transfer.take(datagram);
    }
    assert!(transfer.into_bytes().len() <= 1_000);

    if let Some(names::Answer::Addresses(addresses)) = names::answer(0, "a", bytes) {
        assert!(addresses.len() <= names::MAX_ADDRESSES);
    }

    if let Ok(wish) = Wish::decode(bytes) {
        assert!(wish.request.is_within_limits());
        if let Some(message) = wish.encode() {
            assert_eq!(Wish::decode(&message), Ok(wish));
        }
    }
    if let Ok(Answer::Data { bytes, .. }) = Answer::decode(bytes) {
        assert!(bytes.len() <= PIECE_BYTES);
    }
});
