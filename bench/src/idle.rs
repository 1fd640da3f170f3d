//! An idle `palisade up`: memory, CPU, and time from start to the first answer,
//! with an empty and with a full store.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::process::{self, Process};
use crate::table::print;

/// Bytes of all files below a folder.
pub(crate) fn folder_bytes(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    entries
        .filter_map(Result::ok)
        .map(|entry| match entry.metadata() {
            Ok(meta) if meta.is_dir() => folder_bytes(&entry.path()),
            Ok(meta) => meta.len(),
            Err(_) => 0,
        })
        .sum()
}

pub(crate) async fn run(events: u64) -> anyhow::Result<()> {
    let mut rows = Vec::new();
    for events in [0, events] {
        let home = tempfile::tempdir_in(".")?;
        process::settings(home.path(), &home.path().join("data"))?;
        let key_file = process::key(home.path(), "bench", "read")?;
        if events > 0 {
            let data = home.path().join("data");
            tokio::task::block_in_place(|| crate::store::filled(&data, events))?;
        }
        let begin = Instant::now();
        let palisade = Process::up(home.path())?;
        let count = first_answer(&palisade.url, &key_file).await?;
        let answered = begin.elapsed();
        anyhow::ensure!(count == events, "{count} events instead of {events}");
        tokio::time::sleep(Duration::from_secs(10)).await;
        let (cpu_before, ..) = process::usage(palisade.pid())?;
        tokio::time::sleep(Duration::from_secs(20)).await;
        let (cpu, rss, anon) = process::usage(palisade.pid())?;
        let mib = |bytes: u64| format!("{:.1}", bytes as f64 / 1048576.0);
        rows.push(vec![
            events.to_string(),
            format!("{:.0}", palisade.started_in.as_secs_f64() * 1e3),
            format!("{:.0}", answered.as_secs_f64() * 1e3),
            mib(rss),
            mib(anon),
            format!("{:.2}", (cpu - cpu_before) / 20.0 * 100.0),
        ]);
        palisade.kill()?;
    }
    print(
        "Idle `palisade up` (hub, page, agent, two honeypots)",
        &["events stored", "ready ms", "first answer ms", "RSS MiB", "of it anonymous", "CPU %"],
        &rows,
    );
    Ok(())
}

/// Counts all events through the API.
async fn first_answer(url: &str, key_file: &Path) -> anyhow::Result<u64> {
    let hub = palisade_agent::HubConfig {
        url: url.to_owned(),
        key_file: key_file.to_owned(),
        ..Default::default()
    };
    let uplink = palisade_agent::HttpUplink::new(&hub)?;
    let body = r#"{"q":"","aggregations":{"n":{"type":"count"}}}"#;
    let request = http::Request::post("/api/v1/aggregate")
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(http_body_util::Full::new(bytes::Bytes::from_static(body.as_bytes())))?;
    let (status, answer) = uplink.request(request).await?;
    anyhow::ensure!(status.is_success(), "{status}: {}", String::from_utf8_lossy(&answer));
    let answer: serde_json::Value = serde_json::from_slice(&answer)?;
    answer.pointer("/results/n/count").and_then(serde_json::Value::as_u64).context("no count")
}
