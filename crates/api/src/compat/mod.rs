//! Dialects of others, each thin: what their clients send becomes events, what
//! they ask for is answered as they expect it.

mod access;
pub(crate) mod alpha;
pub(crate) mod ews;
pub(crate) mod glimpse;
pub(crate) mod hpfeeds;
pub(crate) mod lapi;
pub(crate) mod peba;
pub(crate) mod report;

use palisade_event::{Event, MAX_ATTRIBUTES, PayloadHash};

/// Names in an event what it captured, or says why that is not kept.
fn name_payload(event: &mut Event, kept: Result<PayloadHash, &'static str>) {
    match kept {
        Ok(hash) => event.payload = Some(hash),
        Err(why) if event.attributes.len() < MAX_ATTRIBUTES => {
            event.attributes.insert("payload_dropped".into(), why.into());
        }
        Err(_) => {}
    }
}
