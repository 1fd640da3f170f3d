//! Every metric that a dashboard of ours asks for is there.

use crate::common;

use std::collections::BTreeSet;

use common::{now, start};
use palisade_event::{AttributeValue, Event, EventId, EventKind, SensorId};
use serde_json::Value;

/// Names of metrics in a query.
fn named(expression: &str) -> BTreeSet<String> {
    let words = expression.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'));
    words
        .filter(|word| word.starts_with("palisade_") || word.starts_with("node_"))
        .map(str::to_owned)
        .collect()
}

fn expressions(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(object) => {
            for (name, value) in object {
                match value {
                    Value::String(text) if name == "expr" || name == "definition" => {
                        found.push(text.clone());
                    }
                    other => expressions(other, found),
                }
            }
        }
        Value::Array(list) => list.iter().for_each(|value| expressions(value, found)),
        _ => {}
    }
}

#[tokio::test]
async fn every_metric_of_a_dashboard_is_one_that_the_hub_has() {
    let doors = start(|_| {}).await;
    let at = now();
    let id = EventId::new(at, 5);
    let mut sample = Event::new(id, EventKind::HostSampled, at, SensorId::new("x").unwrap());
    for name in [
        "cpu_pct",
        "load1",
        "load5",
        "load15",
        "mem_total",
        "mem_available",
        "swap_total",
        "swap_used",
        "uptime_secs",
        "disk_total",
        "disk_used",
        "disk_worst_pct",
        "net_recv",
        "net_sent",
        "disk_read",
        "disk_written",
        "processes",
        "tcp_established",
    ] {
        sample = sample.with(name, AttributeValue::Real(7.0));
    }
    let id = EventId::new(at, 6);
    let audit = Event::new(id, EventKind::AuditCompleted, at, SensorId::new("x").unwrap())
        .with("score", 50_i64);
    doors.deliver(&[sample, audit, common::attempt(1, b"root")]).await;
    doors.hub.look_at_hosts(now()).await.unwrap();
    let metrics = doors.get("/metrics", &doors.read).await.text();
    assert!(metrics.ends_with("# EOF\n"));
    let there: BTreeSet<&str> = metrics
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split(['{', ' ']).next())
        .collect();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../packaging/grafana");
    let mut files = 0;
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let board: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert!(board["uid"].is_string() && board["panels"].is_array());
        let mut asked = Vec::new();
        expressions(&board, &mut asked);
        assert!(asked.len() >= 5, "{}", path.display());
        for expression in asked {
            let names = named(&expression);
            assert!(!names.is_empty(), "{expression}");
            for name in names {
                assert!(there.contains(name.as_str()), "{}: {name}", path.display());
            }
        }
        files += 1;
    }
    assert_eq!(files, 3);
    doors.stop().await;
}
