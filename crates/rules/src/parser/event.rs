//! Events of Palisade itself, one JSON object a line: of its honeypots, its own
//! decisions, whatever `palisade export` or `palisade query --format json` wrote.

use palisade_event::Event;

use super::json::MAX_JSON_LINE_BYTES;
use super::{Observation, Parsed};

/// Parses a line.
pub(crate) fn parse(line: &[u8]) -> Parsed {
    let line = line.trim_ascii();
    if line.is_empty() {
        return Parsed::Irrelevant;
    }
    if line.len() > MAX_JSON_LINE_BYTES {
        return Parsed::Unparsed;
    }
    let Ok(event) = serde_json::from_slice::<Event>(line) else { return Parsed::Unparsed };
    if event.validate().is_err() {
        return Parsed::Unparsed;
    }
    Parsed::Observation(Box::new(Observation {
        host: event.host,
        source: event.source,
        target: event.target,
        credentials: event.credentials,
        client: event.client,
        request: event.request,
        session: event.session,
        attributes: event.attributes,
        category: event.category,
        analyzer: event.analyzer,
        fingerprints: event.fingerprints,
        payload: event.payload,
        payload_name: event.payload_name,
        cve: event.cve,
        ..Observation::new(event.kind, event.observed_at)
    }))
}
