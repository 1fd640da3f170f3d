//! What the fuzz targets of two dialects ask, with questions and bodies that are
//! nearly right: they are read within their bounds or refused, without a panic.

use palisade_api::fuzzing::{glimpse_body, report_question};
use proptest::prelude::*;

/// Some pieces in any order, of a dialect and of none.
fn pieces(words: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        6 => proptest::sample::select(words).prop_map(|word| word.as_bytes().to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 0..6),
        1 => any::<i64>().prop_map(|number| number.to_string().into_bytes()),
    ];
    proptest::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

const QUESTIONS: &[&str] = &[
    "/v1/analytics/",
    "ports",
    "ipaddresses",
    "worldmap",
    "/",
    "?",
    "&",
    "=",
    "minutes",
    "hours",
    "days",
    "weeks",
    "limit",
    "cursor",
    "1",
    "0",
    "-",
    "9999999999999999999",
    "%3A",
    "%",
    "%zz",
    "192.0.2.1",
    "2001:db8::1",
    "-01KA7Z3N5XJ8QK2T0000000000",
    "1790000000000",
    "#",
];
const BODIES: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "\"",
    "\"data\"",
    "\"ID\"",
    "\"API_KEY\"",
    "null",
    "true",
    "1e999",
    "\\u0000",
    "\\ud800",
    "\"1\"",
    "key=",
    "&data=",
    "%7B",
    "%22",
    "+",
    "\"CPU_Usage\"",
    "\"log\"",
    "100%",
    "1.5",
    "-",
    "\n",
    "=",
];

proptest! {
    #[test]
    fn any_question_of_a_report_is_read_or_refused(uri in pieces(QUESTIONS)) {
        if let Ok(uri) = std::str::from_utf8(&uri) {
            let _ = report_question(uri);
        }
    }

    #[test]
    fn any_body_of_glimpse_is_read_or_refused(body in pieces(BODIES)) {
        let _ = glimpse_body(&body);
    }
}

#[test]
fn questions_and_bodies_that_are_right_are_read() {
    assert!(report_question("/v1/analytics/ipaddresses/192.0.2.1?days=2"));
    assert!(!report_question("/v1/analytics/ipaddresses/192.0.2.1?days=0"));
}
