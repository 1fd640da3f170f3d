//! The shape of an explanation, for the OpenAPI document. What is sent are the
//! types of the rules; a test holds their keys equal to the ones here.

#![allow(dead_code, reason = "these types are read by the derive macro alone")]

use utoipa::ToSchema;

use super::schema::{Kind, Outcome, Untrusted};

/// What became of a line.
#[derive(ToSchema)]
pub(crate) struct ExplainedLine {
    /// The line.
    line: Untrusted,
    /// The parser that understood it.
    #[schema(required)]
    parser: Option<String>,
    /// Whether one did.
    understood: bool,
    /// The parsers that were asked, where the line said nothing that is counted.
    #[schema(nullable = false)]
    tried: Option<Vec<String>>,
    /// What the line says.
    sightings: Vec<ExplainedSighting>,
}

/// What became of one thing that a line says.
#[derive(ToSchema)]
pub(crate) struct ExplainedSighting {
    /// What was seen.
    sighting: SightingFields,
    /// What the scenarios made of it.
    scenarios: Vec<ExplainedScenario>,
    /// The alerts that it led to.
    alerts: Vec<ExplainedAlert>,
}

/// The fields of a sighting that are known, by their names in filters.
#[derive(ToSchema)]
pub(crate) struct SightingFields {
    /// What happened.
    kind: Kind,
    /// When, by the clock of who saw it.
    #[schema(format = DateTime)]
    at: String,
    /// The program that was attacked.
    #[schema(nullable = false)]
    service: Option<String>,
    /// The machine where it was seen.
    #[schema(nullable = false)]
    host: Option<Untrusted>,
    /// The address it came from.
    #[schema(nullable = false)]
    ip: Option<String>,
    /// The port it was aimed at.
    #[schema(nullable = false)]
    port: Option<u16>,
    /// The login name.
    #[schema(nullable = false)]
    user: Option<Untrusted>,
    /// How a login ended.
    #[schema(nullable = false)]
    outcome: Option<Outcome>,
    /// The path with the query, or what else was sent.
    #[schema(nullable = false)]
    request: Option<Untrusted>,
    /// The path without its query.
    #[schema(nullable = false)]
    path: Option<Untrusted>,
    /// The method of an HTTP request.
    #[schema(nullable = false)]
    method: Option<Untrusted>,
    /// The status with which an HTTP server answered.
    #[schema(nullable = false)]
    status: Option<u16>,
    /// What the client calls itself.
    #[schema(nullable = false)]
    client: Option<Untrusted>,
    /// The reason that the program gives.
    #[schema(nullable = false)]
    reason: Option<Untrusted>,
    /// The autonomous system of the source.
    #[schema(nullable = false)]
    asn: Option<u32>,
    /// How many times it happened, where that is more than once.
    #[schema(nullable = false)]
    repeat: Option<u32>,
}

/// What one scenario made of a sighting.
#[derive(ToSchema)]
pub(crate) struct ExplainedScenario {
    /// Its name.
    scenario: String,
    /// Whether its filter matches.
    matched: bool,
    /// The first condition that is not met.
    #[schema(nullable = false)]
    unmet: Option<String>,
    /// Why it was not counted though it matches.
    #[schema(nullable = false)]
    note: Option<String>,
    /// So many now.
    #[schema(nullable = false)]
    count: Option<u32>,
    /// So many make an alert.
    #[schema(nullable = false)]
    of: Option<u32>,
    /// `true` where it made an alert.
    #[schema(nullable = false)]
    alert: Option<bool>,
}

/// An alert and what became of it.
#[derive(ToSchema)]
pub(crate) struct ExplainedAlert {
    /// The scenario that made it.
    scenario: String,
    /// Whom it is about.
    group: String,
    /// What was seen, in words of our own.
    reason: String,
    /// What became of it, in a few words.
    verdict: String,
    /// What was decided.
    #[schema(nullable = false)]
    decision: Option<ExplainedDecision>,
}

/// A decision as it would be made.
#[derive(ToSchema)]
pub(crate) struct ExplainedDecision {
    /// What is done.
    #[schema(rename = "type", example = "ban")]
    kind: String,
    /// To whom.
    #[schema(example = "198.51.100.7")]
    value: String,
    /// For how long.
    duration_secs: u64,
    /// Until when.
    #[schema(format = DateTime)]
    until: String,
    /// Whether it is recorded and never carried out.
    simulated: bool,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use palisade_hub as hub;
    use serde_json::Value;

    #[test]
    fn an_explanation_has_the_keys_of_the_document_and_no_others() {
        let text = || Some(palisade_event::Untrusted::from("x"));
        let at = palisade_event::Timestamp::from_millis(0);
        // Every field by name: a new one does not compile until it is here.
        let sighting = hub::SightingFields {
            kind: palisade_event::EventKind::AuthAttempted,
            at,
            service: Some("x".to_owned()),
            host: text(),
            ip: "192.0.2.1".parse().ok(),
            port: Some(1),
            user: text(),
            outcome: Some(palisade_event::Outcome::Failed),
            request: text(),
            path: text(),
            method: text(),
            status: Some(1),
            client: text(),
            reason: text(),
            asn: Some(1),
            repeat: Some(2),
        };
        let scenario = hub::ExplainedScenario {
            scenario: "x".to_owned(),
            matched: true,
            unmet: Some("x".to_owned()),
            note: Some("x"),
            count: Some(1),
            of: Some(1),
            alert: Some(true),
        };
        let decision = hub::ExplainedDecision {
            kind: "ban".to_owned(),
            value: "x".to_owned(),
            duration_secs: 1,
            until: at,
            simulated: true,
        };
        let alert = hub::ExplainedAlert {
            scenario: "x".to_owned(),
            group: "x".to_owned(),
            reason: "x".to_owned(),
            verdict: "x".to_owned(),
            decision: Some(decision),
        };
        let sighting =
            hub::ExplainedSighting { sighting, scenarios: vec![scenario], alerts: vec![alert] };
        let line = hub::ExplainedLine {
            line: "x".into(),
            parser: Some("x".to_owned()),
            understood: true,
            tried: vec!["x".to_owned()],
            sightings: vec![sighting],
        };
        let document: Value = serde_json::from_str(&crate::docs::openapi_json()).unwrap();
        let line = serde_json::to_value(line).unwrap();
        let sighting = &line["sightings"][0];
        for (value, name) in [
            (&line, "ExplainedLine"),
            (sighting, "ExplainedSighting"),
            (&sighting["sighting"], "SightingFields"),
            (&sighting["scenarios"][0], "ExplainedScenario"),
            (&sighting["alerts"][0], "ExplainedAlert"),
            (&sighting["alerts"][0]["decision"], "ExplainedDecision"),
        ] {
            let properties = &document["components"]["schemas"][name]["properties"];
            let keys: BTreeSet<_> = value.as_object().unwrap().keys().collect();
            assert_eq!(keys, properties.as_object().unwrap().keys().collect(), "{name}");
        }
    }
}
