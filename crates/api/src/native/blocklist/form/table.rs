//! Tables for people and programs: CSV and JSON.

use std::io::Write as _;

use palisade_event::Timestamp;
use palisade_hub::Banned;
use serde::Serialize;

use super::{one_line, origin};

/// CSV (RFC 4180) with a header.
pub(super) fn csv<'b>(out: &mut Vec<u8>, bans: impl Iterator<Item = &'b Banned>) {
    out.extend(b"target,scope,from,until,scenario,origin,country,reason,id\n");
    for ban in bans {
        let country = ban.country.map(|country| country.to_string()).unwrap_or_default();
        // Writing to memory cannot fail.
        let _ = writeln!(
            out,
            "{},{},{},{},{},{},{country},{},{}",
            ban.target,
            ban.target.scope(),
            ban.from,
            ban.until,
            cell(&ban.scenario),
            origin(ban),
            cell(&ban.reason),
            ban.id,
        );
    }
}

/// A text as a cell that no spreadsheet takes for a formula: those begin with
/// one of these, and an apostrophe before it makes it text.
fn cell(text: &str) -> String {
    let mut text = one_line(text);
    if text.trim_start().starts_with(['=', '+', '-', '@']) {
        text.insert(0, '\'');
    }
    if text.contains(['"', ',']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

/// A ban of the JSON form.
#[derive(Serialize)]
struct Row<'a> {
    target: String,
    scope: &'static str,
    from: Timestamp,
    until: Timestamp,
    scenario: &'a str,
    origin: &'static str,
    country: Option<palisade_event::CountryCode>,
    reason: String,
    id: String,
}

/// `{"bans": […]}`, a ban a line.
pub(super) fn json<'b>(out: &mut Vec<u8>, bans: impl Iterator<Item = &'b Banned>) {
    out.extend(b"{\"bans\":[");
    for (place, ban) in bans.enumerate() {
        out.extend(if place == 0 { &b"\n"[..] } else { b",\n" });
        let row = Row {
            target: ban.target.to_string(),
            scope: ban.target.scope(),
            from: ban.from,
            until: ban.until,
            scenario: &ban.scenario,
            origin: origin(ban),
            country: ban.country,
            reason: one_line(&ban.reason),
            id: ban.id.to_string(),
        };
        // Plain data always serializes.
        let _ = serde_json::to_writer(&mut *out, &row);
    }
    out.extend(b"\n]}\n");
}
