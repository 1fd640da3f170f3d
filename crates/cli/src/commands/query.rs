//! `palisade query TEXT`: events, a count, or the most frequent values.

use std::process::ExitCode;

use http::Method;
use serde_json::{Value, json};

use super::list;
use crate::args::{OutputFormat, QueryArgs};
use crate::out::{self, shown};
use crate::reach::Reach;
use crate::settings::Settings;

/// Most events the API gives in one page.
const PAGE_EVENTS: u32 = 1_000;

/// Asks and prints.
///
/// # Errors
/// The hub cannot be reached, or the query is malformed.
pub(crate) async fn ask(settings: &Settings, args: &QueryArgs) -> anyhow::Result<ExitCode> {
    let hub = Reach::find(settings, &args.reach).await?;
    hub.settle().await;
    let answer = answer(&hub, args).await;
    hub.close().await;
    match answer? {
        Answer::Count(value) => out::line(&value.to_string()),
        Answer::Top(fields, value) => match args.format.format {
            OutputFormat::Json => out::json(&value),
            OutputFormat::Table => print_top(&fields, &value),
        },
        Answer::Events(events) => match args.format.format {
            // One object a line, so that output of any length can be piped on.
            OutputFormat::Json => events.iter().for_each(|event| out::line(&event.to_string())),
            OutputFormat::Table => print_events(&events),
        },
    }
    Ok(ExitCode::SUCCESS)
}

enum Answer {
    Count(u64),
    Top(Vec<String>, Value),
    Events(Vec<Value>),
}

async fn answer(hub: &Reach, args: &QueryArgs) -> anyhow::Result<Answer> {
    if args.count || args.top.is_some() {
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
        return Ok(match args.count {
            true => Answer::Count(result.get("count").and_then(Value::as_u64).unwrap_or_default()),
            false => Answer::Top(fields, result),
        });
    }
    let mut events = Vec::new();
    let mut cursor: Option<String> = None;
    while (events.len() as u32) < args.limit {
        let limit = (args.limit - events.len() as u32).min(PAGE_EVENTS);
        let mut path = format!("/api/v1/events?limit={limit}&q={}", encoded(&args.query));
        if let Some(cursor) = &cursor {
            path.push_str(&format!("&cursor={}", encoded(cursor)));
        }
        let mut page = hub.call(Method::GET, &path, None).await?;
        if let Some(Value::Array(more)) = page.get_mut("events").map(Value::take) {
            events.extend(more);
        }
        match page.get("next").and_then(Value::as_str) {
            Some(next) => cursor = Some(next.to_owned()),
            None => break,
        }
    }
    Ok(Answer::Events(events))
}

fn print_events(events: &[Value]) {
    let rows = events
        .iter()
        .map(|event| {
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
        })
        .collect();
    let header = ["observed", "kind", "source", "country", "port", "sensor", "what"];
    out::table(&header, rows, "no event matches");
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
    fn a_query_survives_the_address() {
        assert_eq!(super::encoded("a&b=ü #"), "a%26b%3D%C3%BC%20%23");
    }
}
