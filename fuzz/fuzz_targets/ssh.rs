//! The SSH transport: the version line, packets, key exchange, and the lists of a KEXINIT.
#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use palisade_honeypot::service::ssh::hostkey::HostKeys;
use palisade_honeypot::service::ssh::kex::Offer;
use palisade_honeypot::service::ssh::transport::{Incoming, Server, Transport};

static SERVER: LazyLock<Arc<Server>> = LazyLock::new(|| {
    let keys = HostKeys::load_or_make(None).expect("keys can be made");
    Arc::new(Server::of_profile("debian12", keys).expect("a profile"))
});

fuzz_target!(|bytes: &[u8]| {
    if let Some(offer) = Offer::parse(bytes) {
        assert_eq!(offer.hassh().len(), 32);
    }
    let mut transport = Transport::new(Arc::clone(&SERVER));
    for piece in bytes.chunks(61) {
        transport.inbox().extend_from_slice(piece);
        loop {
            match transport.poll() {
                Ok(Some(Incoming::Version(line))) => assert!(line.starts_with(b"SSH-")),
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(_) => return,
            }
        }
        assert!(transport.inbox().len() < 40_000);
        assert!(transport.take_output().len() < 200_000);
    }
});
