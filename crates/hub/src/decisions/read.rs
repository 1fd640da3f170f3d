//! From an event to what is noted, or why it is not accepted.

use palisade_event::{
    AttributeValue, Decision, DecisionOrigin, Domain, Event, EventKind, Lift, MAX_DURATION_SECS,
    MAX_NOTE_BYTES, MadeDecision,
};
use palisade_store::state::Noting;

/// The attribute with the operator's name. Ingest takes it away from whoever
/// is no operator.
pub(crate) const BY: &str = "by";
/// The attribute that says who found it, where that was the hub itself; taken
/// away like [`BY`].
pub(crate) const ORIGIN: &str = "origin";
/// What it says then; also the sensor of the hub's own events.
pub(crate) const HUB: &str = "hub";
/// The attribute with the operator's note.
pub(super) const NOTE: &str = "note";

/// Why a decision is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// For metrics.
    pub(super) class: &'static str,
    /// For the log.
    pub(super) text: &'static str,
}

/// What an event tells; `None` where it tells of no decision.
pub(crate) fn noting(event: &Event) -> Option<Result<Noting, Refusal>> {
    match event.kind {
        EventKind::DecisionMade => Some(made(event)),
        EventKind::DecisionLifted => Some(lifted(event)),
        _ => None,
    }
}

fn made(event: &Event) -> Result<Noting, Refusal> {
    let mut decision = Decision::from_event(event).ok_or(Refusal {
        class: "malformed",
        text: "its target, duration or scenario cannot be read",
    })?;
    // Whoever shares what a honeypot sees does not act on our hosts.
    if event.domain != Domain::Private {
        let text = "decisions of the community domain are not carried out";
        return Err(Refusal { class: "community", text });
    }
    decision.target.check().map_err(|text| Refusal { class: "target", text })?;
    decision.duration_secs = decision.duration_secs.min(MAX_DURATION_SECS);
    decision.reason = cut(&decision.reason);
    // A clock that is ahead must not make a ban longer.
    decision.from = event.received_at.map_or(decision.from, |at| decision.from.min(at));
    decision.check().map_err(|text| Refusal { class: "malformed", text })?;
    let origin = match text(event, BY) {
        Some(name) => DecisionOrigin::Operator { name: cut(name) },
        None if text(event, ORIGIN) == Some(HUB) => DecisionOrigin::Hub,
        None => DecisionOrigin::Sensor { name: event.sensor.clone(), host: event.host.clone() },
    };
    let note = text(event, NOTE).map(cut);
    Ok(Noting::Made(Box::new(MadeDecision { decision, origin, note })))
}

fn lifted(event: &Event) -> Result<Noting, Refusal> {
    let by = text(event, BY)
        .ok_or(Refusal { class: "lift", text: "only an operator lifts what was decided" })?;
    let target = text(event, "value").and_then(|text| text.parse().ok());
    let target = target.ok_or(Refusal { class: "malformed", text: "its target cannot be read" })?;
    let at = event.received_at.map_or(event.observed_at, |at| event.observed_at.min(at));
    let reason = text(event, "reason").map(cut);
    Ok(Noting::Lifted(event.id, Lift { target, by: cut(by), at, reason }))
}

fn text<'e>(event: &'e Event, name: &str) -> Option<&'e str> {
    match event.attributes.get(name)? {
        AttributeValue::Text(text) => text.as_utf8().filter(|text| !text.is_empty()),
        _ => None,
    }
}

/// At most [`MAX_NOTE_BYTES`] of it. A NUL cannot be kept by every database.
fn cut(text: &str) -> Box<str> {
    let mut bytes = 0;
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take_while(|c| {
            bytes += c.len_utf8();
            bytes <= MAX_NOTE_BYTES
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use palisade_event::{DecisionType, EventId, ScenarioName, SensorId, Timestamp};

    use super::*;

    fn event(target: &str) -> Event {
        let from = Timestamp::from_millis(1_795_201_634_000);
        let decision = Decision {
            id: EventId::new(from, 1),
            kind: DecisionType::new("ban").unwrap(),
            target: target.parse().unwrap(),
            from,
            duration_secs: 60,
            scenario: ScenarioName::new("ssh-bruteforce").unwrap(),
            reason: format!("x\0{}", "ä".repeat(600)).into(),
            alert: EventId::new(from, 2),
            evidence: Vec::new(),
            simulated: false,
        };
        decision.to_event(SensorId::new("web-1").unwrap())
    }

    fn class(event: &Event) -> &'static str {
        noting(event).unwrap().map_or_else(|why| why.class, |_| "taken")
    }

    #[test]
    fn a_decision_is_taken_with_its_sensor_and_its_texts_cut() {
        let mut event = event("192.0.2.1");
        event.received_at = Some(event.observed_at.plus_millis(-5_000));
        let Noting::Made(made) = noting(&event).unwrap().unwrap() else { panic!() };
        assert!(
            made.decision.reason.len() <= MAX_NOTE_BYTES && made.decision.reason.starts_with("x ä")
        );
        assert_eq!(made.decision.from, event.received_at.unwrap(), "a clock ahead gains nothing");
        assert!(
            matches!(&made.origin, DecisionOrigin::Sensor { name, .. } if name.as_str() == "web-1")
        );
        let Noting::Made(made) = noting(&event.clone().with(ORIGIN, HUB)).unwrap().unwrap() else {
            panic!()
        };
        assert_eq!(made.origin, DecisionOrigin::Hub);
        event = event.with(BY, "anna").with(NOTE, "by hand");
        let Noting::Made(made) = noting(&event).unwrap().unwrap() else { panic!() };
        assert_eq!(made.origin, DecisionOrigin::Operator { name: "anna".into() });
        assert_eq!(made.note.as_deref(), Some("by hand"));
    }

    #[test]
    fn what_must_not_be_banned_and_what_strangers_want_banned_is_not_taken() {
        for target in ["127.0.0.1", "::1", "10.0.0.0/8", "0.0.0.0/0", "2001:db8::/31"] {
            assert_eq!(class(&event(target)), "target", "{target}");
        }
        let mut community = event("192.0.2.1");
        community.domain = Domain::Community;
        assert_eq!(class(&community), "community");
        assert_eq!(class(&event("192.0.2.1").with("duration_secs", 0_u64)), "malformed");
        assert_eq!(class(&event("192.0.2.1").with("value", "x")), "malformed");
        let mut lift = event("192.0.2.1");
        lift.kind = EventKind::DecisionLifted;
        assert_eq!(class(&lift), "lift");
        assert_eq!(class(&lift.with(BY, "anna")), "taken");
    }
}
