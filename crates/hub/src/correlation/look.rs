//! What of a record counts: read and matched, without any state.

use palisade_event::{
    AttributeValue, Decision, DecisionTarget, Domain, Event, EventId, EventKind, Timestamp, wire,
};
use palisade_rules::{Hit, Matcher, Sighting};

use crate::DEMO_SENSOR;
use crate::decisions::{BY, HUB, ORIGIN};

/// An event that came so long after it happened is not counted: what it was
/// part of is over. 15 minutes.
const LATE_MILLIS: i64 = 15 * 60 * 1000;
/// Events come in the order of their receipt but for so much. 5 minutes.
pub(super) const DISORDER_MILLIS: i64 = 5 * 60 * 1000;

/// What a record is to correlation.
#[derive(Debug)]
pub(super) enum Looked {
    /// Nothing.
    Nothing,
    /// Something that scenarios count.
    Seen(Box<Seen>),
    /// A decision of somebody else; and what scenarios count of it.
    Decided(Box<Decision>, Box<Seen>),
    /// Decisions about a target were lifted.
    Lifted(DecisionTarget, Timestamp),
    /// It would count but for this.
    LeftOut(&'static str),
}

/// An event, as far as it is counted.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) id: EventId,
    pub(super) received: Timestamp,
    pub(super) hit: Option<Hit>,
    /// The login name, where the allowlist has any.
    pub(super) user: Option<Box<[u8]>>,
}

/// Looks at a record of the spool.
pub(super) fn look(record: &[u8], matcher: &Matcher, needs_user: bool) -> Looked {
    let is_about = |kind| {
        matcher.wants(kind) || matches!(kind, EventKind::DecisionMade | EventKind::DecisionLifted)
    };
    if wire::kind_of(record).is_some_and(|kind| !is_about(kind)) {
        return Looked::Nothing;
    }
    let Ok(event) = wire::decode_event(record) else { return Looked::LeftOut("undecodable") };
    // What strangers share does not act on our hosts, nor what was played.
    let is_ours = event.domain == Domain::Private;
    if !is_ours || event.sensor.as_str() == DEMO_SENSOR || text(&event, ORIGIN) == Some(HUB) {
        return Looked::Nothing;
    }
    let received = event.received_at.unwrap_or(event.observed_at);
    let is_late = event.observed_at < received.plus_millis(-LATE_MILLIS);
    let by_hand = text(&event, BY).is_some();
    match event.kind {
        EventKind::DecisionLifted => match text(&event, "value").map(str::parse) {
            Some(Ok(target)) if by_hand => Looked::Lifted(target, event.observed_at.min(received)),
            _ => Looked::Nothing,
        },
        EventKind::DecisionMade => {
            let Some(mut decision) = Decision::from_event(&event) else { return Looked::Nothing };
            if decision.simulated || decision.target.check().is_err() {
                return Looked::Nothing;
            }
            decision.from = decision.from.min(received);
            let counts = decision.is_ban() && !by_hand && !is_late;
            let hit = counts.then(|| matched(&event, received, matcher)).flatten();
            let seen = Seen { id: event.id, received, hit, user: None };
            Looked::Decided(Box::new(decision), Box::new(seen))
        }
        _ => {
            let Some(hit) = matched(&event, received, matcher) else { return Looked::Nothing };
            if is_late {
                return Looked::LeftOut("late");
            }
            let user = Sighting::from(&event).user.filter(|_| needs_user).map(Into::into);
            Looked::Seen(Box::new(Seen { id: event.id, received, hit: Some(hit), user }))
        }
    }
}

/// By the hub's clock: those of many machines cannot be compared.
fn matched(event: &Event, received: Timestamp, matcher: &Matcher) -> Option<Hit> {
    matcher.look(&Sighting { at: received, ..Sighting::from(event) })
}

fn text<'e>(event: &'e Event, name: &str) -> Option<&'e str> {
    match event.attributes.get(name)? {
        AttributeValue::Text(text) => text.as_utf8().filter(|text| !text.is_empty()),
        _ => None,
    }
}
