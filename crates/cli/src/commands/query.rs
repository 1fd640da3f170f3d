//! `palisade query TEXT`: events, a count, or the most frequent values.

use std::process::ExitCode;

use anyhow::Context as _;
use http::Method;
use serde_json::{Value, json};

use super::list;
use crate::args::{OutputFormat, QueryArgs};
use crate::out::{self, shown};
use crate::reach::Reach;
use crate::settings::Settings;

/// Most events the API gives in one page.
const PAGE_EVENTS: u32 = 1_000;
/// Events of the first page; the next ones are as large as fits.
const FIRST_PAGE_EVENTS: u32 = 50;
/// Bytes that a page should have.
const PAGE_BYTES: usize = 4 * 1024 * 1024;
/// Columns of the table of events.
const HEADER: [&str; 7] = ["observed", "kind", "source", "country", "port", "sensor", "what"];
/// Times that a page may fail and is asked for again, shorter.
const PAGE_TRIES: u32 = 3;

/// Asks and prints.
///
/// # Errors
/// The hub cannot be reached, or the query is malformed.
pub(crate) async fn ask(settings: &Settings, args: &QueryArgs) -> anyhow::Result<ExitCode> {
    let hub = Reach::find(settings, &args.reach).await?;
    hub.settle().await;
    let answered = match args.count || args.top.is_some() {
        true => print_aggregate(&hub, args).await,
        false => print_pages(&hub, args).await,
    };
    hub.close().await;
    answered?;
    Ok(ExitCode::SUCCESS)
}

async fn print_aggregate(hub: &Reach, args: &QueryArgs) -> anyhow::Result<()> {
    let fields: Vec<String> = args
        .top
        .iter()
        .flat_map(|names| names.split(','))
        .map(|name| name.trim().to_owned())
        .collect();
    let aggregation = match args.count {
        true => json!({"type": "count"}),
        false => json!({"type": "top", "fields": fields, "k": args.limit}),
    };
    let body = json!({"q": args.query, "aggregations": {"answer": aggregation}});
    let answer = hub.call(Method::POST, "/api/v1/aggregate", Some(&body)).await?;
    let result = answer.pointer("/results/answer").cloned().unwrap_or_default();
    match (args.count, args.format.format) {
        (true, _) => {
            let count = result.get("count").and_then(Value::as_u64).unwrap_or_default();
            out::line(&count.to_string());
        }
        (false, OutputFormat::Json) => out::json(&result),
        (false, OutputFormat::Table) => print_top(&fields, &result),
    }
    Ok(())
}

/// Asks for events page by page and prints each before the next is asked for,
/// so that a limit of any size costs no memory.
async fn print_pages(hub: &Reach, args: &QueryArgs) -> anyhow::Result<()> {
    let (mut left, mut most, mut tries) = (args.limit, FIRST_PAGE_EVENTS, 0);
    let mut cursor: Option<String> = None;
    let mut printed = false;
    while left > 0 {
        let limit = left.min(most);
        let mut path = format!("/api/v1/events?limit={limit}&q={}", encoded(&args.query));
        if let Some(cursor) = &cursor {
            path.push_str(&format!("&cursor={}", encoded(cursor)));
        }
        let text = match hub.text(&path).await {
            Ok(text) => text,
            // Of long events fewer fit into an answer.
            Err(error) if !error.is_final() && limit > 1 && tries < PAGE_TRIES => {
                tries += 1;
                most = limit.div_ceil(8);
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let page: Value =
            serde_json::from_slice(&text).context("the hub sent something else than events")?;
        let events = list(&page, "events");
        match args.format.format {
            // One object a line, so that output of any length can be piped on.
            OutputFormat::Json => events.iter().for_each(|event| out::line(&event.to_string())),
            OutputFormat::Table if !printed => {
                out::table(&HEADER, rows(events), "no event matches");
            }
            OutputFormat::Table => out::more_rows(rows(events)),
        }
        printed = true;
        left = left.saturating_sub(u32::try_from(events.len()).unwrap_or(u32::MAX));
        (most, tries) = (next_page(limit, events.len(), text.len()), 0);
        match page.get("next").and_then(Value::as_str) {
            Some(next) => cursor = Some(next.to_owned()),
            None => break,
        }
    }
    Ok(())
}

/// So many events that the next page has about [`PAGE_BYTES`].
fn next_page(limit: u32, events: usize, bytes: usize) -> u32 {
    let each = (bytes / events.max(1)).max(1);
    let fit = u32::try_from(PAGE_BYTES / each).unwrap_or(PAGE_EVENTS);
    fit.min(limit.saturating_mul(4)).clamp(1, PAGE_EVENTS)
}

fn rows(events: &[Value]) -> Vec<Vec<String>> {
    let row = |event: &Value| {
        let user = event.pointer("/credentials/username");
        let password = event.pointer("/credentials/password");
        let what = match (event.get("request"), user) {
            (Some(request), _) => shown(Some(request)),
            (None, None) => String::new(),
            (None, user) if password.is_none() => shown(user),
            (None, user) => format!("{} / {}", shown(user), shown(password)),
        };
        vec![
            shown(event.get("observed_at")),
            shown(event.get("kind")),
            shown(event.pointer("/source/address")),
            shown(event.pointer("/source_geo/country")),
            shown(event.pointer("/target/port")),
            shown(event.get("sensor")),
            shorten(&what),
        ]
    };
    events.iter().map(row).collect()
}

fn print_top(fields: &[String], value: &Value) {
    let rows = list(value, "buckets")
        .iter()
        .map(|bucket| {
            let mut row = vec![shown(bucket.get("count"))];
            row.extend(list(bucket, "key").iter().map(|key| shown(Some(key))));
            row
        })
        .collect();
    let mut header = vec!["count"];
    header.extend(fields.iter().map(String::as_str));
    out::table(&header, rows, "no event matches");
}

fn shorten(text: &str) -> String {
    match text.char_indices().nth(100) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// Percent-encodes everything but unreserved characters (RFC 3986, 2.3).
pub(super) fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 3);
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(byte as char);
            }
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn pages_grow_for_short_events_and_shrink_for_long_ones() {
        use super::{PAGE_EVENTS, next_page};
        assert_eq!(next_page(50, 50, 50 * 400), 200);
        assert_eq!(next_page(800, 800, 800 * 400), PAGE_EVENTS);
        assert_eq!(next_page(800, 800, 800 * 100_000), 41);
        assert_eq!(next_page(1, 1, 5_000_000), 1);
        assert_eq!(next_page(50, 0, 100), 200);
    }

    #[test]
    fn a_query_survives_the_address() {
        assert_eq!(super::encoded("a&b=ü #"), "a%26b%3D%C3%BC%20%23");
    }
}
