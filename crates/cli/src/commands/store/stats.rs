//! `palisade store stats`: what is there, by day, domain and kind.

use std::process::ExitCode;

use http::Method;
use palisade_store::life::{DaySurvey, survey};
use serde_json::{Value, json};

use super::store_dir;
use crate::args::{FormatArgs, OutputFormat, ReachArgs};
use crate::commands::list;
use crate::out::{self, shown};
use crate::reach::Reach;
use crate::settings::Settings;

/// Kinds that are listed; there are fewer.
const KINDS: u32 = 100;

pub(super) async fn run(
    settings: &Settings,
    reach: &ReachArgs,
    format: FormatArgs,
) -> anyhow::Result<ExitCode> {
    let local = reach.hub.is_none() && settings.hub.store.clickhouse.is_none();
    let days = if local { survey(&store_dir(settings))? } else { Vec::new() };
    let hub = Reach::find(settings, reach).await?;
    hub.settle().await;
    let asked = ask(&hub).await;
    hub.close().await;
    let (events, by_domain, by_kind, oldest, newest) = asked?;
    let in_use = || days.iter().filter(|day| day.in_use);
    let sum = |figure: fn(&DaySurvey) -> u64| in_use().map(figure).sum::<u64>();
    let bytes = sum(|day| day.bytes);
    let each = (events > 0 && local).then(|| bytes as f64 / events as f64);
    let aside: Vec<&DaySurvey> = days.iter().filter(|day| !day.in_use).collect();
    if format.format == OutputFormat::Json {
        let store = local.then(|| {
            json!({
                "days": in_use().count(),
                "bytes": bytes,
                "bytes_per_event": each,
                "segments": sum(|day| day.segments),
                "ready_files": sum(|day| day.ready),
                "put_aside": aside,
                "by_day": in_use().collect::<Vec<_>>(),
            })
        });
        out::json(&json!({
            "events": events,
            "oldest": oldest,
            "newest": newest,
            "by_domain": by_domain,
            "by_kind": by_kind,
            "store": store,
        }));
        return Ok(ExitCode::SUCCESS);
    }
    let mut rows = vec![
        vec!["events".to_owned(), events.to_string()],
        vec!["oldest".to_owned(), shown(Some(&oldest))],
        vec!["newest".to_owned(), shown(Some(&newest))],
    ];
    if local {
        rows.push(vec!["days".to_owned(), in_use().count().to_string()]);
        rows.push(vec!["bytes".to_owned(), bytes.to_string()]);
        let each = each.map_or("-".to_owned(), |each| format!("{each:.1}"));
        rows.push(vec!["bytes an event".to_owned(), each]);
        rows.push(vec!["segments".to_owned(), sum(|day| day.segments).to_string()]);
        rows.push(vec!["ready files".to_owned(), sum(|day| day.ready).to_string()]);
        for day in aside {
            rows.push(vec!["put aside".to_owned(), day.folder.escape_debug().to_string()]);
        }
    }
    for (name, buckets) in [("domain", &by_domain), ("kind", &by_kind)] {
        for bucket in buckets.as_array().map(Vec::as_slice).unwrap_or_default() {
            rows.push(vec![
                format!("{name} {}", shown(bucket.get("value"))),
                shown(bucket.get("events")),
            ]);
        }
    }
    out::table(&["what", "how much"], rows, "");
    Ok(ExitCode::SUCCESS)
}

type Asked = (u64, Value, Value, Value, Value);

async fn ask(hub: &Reach) -> anyhow::Result<Asked> {
    let top = |field: &str| json!({"type": "top", "fields": [field], "k": KINDS});
    let body = json!({"q": "", "aggregations": {
        "events": {"type": "count"}, "domain": top("domain"), "kind": top("kind"),
    }});
    let answer = hub.call(Method::POST, "/api/v1/aggregate", Some(&body)).await?;
    let events = answer.pointer("/results/events/count").and_then(Value::as_u64);
    let buckets = |name: &str| {
        let result = answer.pointer(&format!("/results/{name}")).cloned().unwrap_or_default();
        let bucket = |bucket: &Value| json!({"value": list(bucket, "key").first(), "events": bucket.get("count")});
        Value::Array(list(&result, "buckets").iter().map(bucket).collect())
    };
    let newest = hub.call(Method::GET, "/api/v1/events?limit=1", None).await?;
    let newest = newest.pointer("/events/0/observed_at").cloned().unwrap_or_default();
    let oldest = oldest(hub).await?;
    Ok((events.unwrap_or_default(), buckets("domain"), buckets("kind"), oldest, newest))
}

/// The time of the oldest event, by a histogram of months, days, minutes…
async fn oldest(hub: &Reach) -> anyhow::Result<Value> {
    let mut query = String::new();
    let mut found = Value::Null;
    for interval in ["1mo", "1d", "1m", "1s"] {
        let body = json!({"q": query, "aggregations": {
            "at": {"type": "histogram", "interval": interval},
        }});
        // A span of too many buckets: the coarser answer stands.
        let Ok(answer) = hub.call(Method::POST, "/api/v1/aggregate", Some(&body)).await else {
            break;
        };
        let result = answer.pointer("/results/at").cloned().unwrap_or_default();
        let buckets = list(&result, "buckets");
        let is_full = |bucket: &&Value| bucket.get("count").and_then(Value::as_u64) > Some(0);
        let start = |bucket: &Value| list(bucket, "key").first().cloned();
        let Some(at) = buckets.iter().position(|bucket| is_full(&bucket)) else { break };
        let Some(Value::String(from)) = buckets.get(at).and_then(start) else { break };
        query = format!("since:{from}");
        if let Some(Value::String(to)) = buckets.get(at + 1).and_then(start) {
            query.push_str(&format!(" until:{to}"));
        }
        found = Value::String(from);
    }
    // Among the events of that second, the last page has the oldest.
    let path = format!("/api/v1/events?limit=1000&q={}", super::super::query::encoded(&query));
    let page = hub.call(Method::GET, &path, None).await?;
    if page.get("next").is_none_or(Value::is_null)
        && let Some(last) = list(&page, "events").last().and_then(|event| event.get("observed_at"))
    {
        found = last.clone();
    }
    Ok(found)
}
