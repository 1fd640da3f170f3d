//! What a bouncer tells of its work, each 15 minutes: CrowdSec's
//! `usage-metrics` of 1.6.3 and later. Only the last is kept.

use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use palisade_event::Timestamp;
use palisade_hub::BouncerUsage;
use serde::Deserialize;

use super::{Refusal, agent, bouncer};
use crate::auth;
use crate::router::App;

/// Longest message, in bytes.
const MAX_USAGE_BYTES: usize = 1024 * 1024;

/// What a bouncer tells of itself.
#[derive(Deserialize)]
struct Usage {
    remediation_components: Vec<Component>,
}

/// A bouncer, as it describes itself.
#[derive(Deserialize)]
struct Component {
    #[serde(rename = "type")]
    kind: String,
    version: String,
    #[serde(default)]
    os: Option<System>,
    #[serde(default)]
    utc_startup_timestamp: Option<f64>,
    #[serde(default)]
    metrics: Option<Vec<Window>>,
}

/// What it runs on.
#[derive(Deserialize)]
struct System {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    version: Option<String>,
}

/// What it counted in a while.
#[derive(Deserialize)]
struct Window {
    #[serde(default)]
    meta: Option<Meta>,
    #[serde(default)]
    items: Option<Vec<Item>>,
}

/// Which while.
#[derive(Deserialize)]
struct Meta {
    #[serde(default)]
    window_size_seconds: Option<f64>,
}

/// One number; there may be one for each origin and IP version.
#[derive(Deserialize)]
struct Item {
    name: String,
    value: f64,
    #[serde(default)]
    unit: Option<String>,
}

/// Takes a bouncer's numbers.
pub(super) async fn take(State(app): State<App>, request: Request) -> Result<Response, Refusal> {
    let (parts, body) = request.into_parts();
    let who = bouncer(&app, &parts).await?;
    let body = axum::body::to_bytes(body, MAX_USAGE_BYTES).await.map_err(|_| {
        Refusal(StatusCode::PAYLOAD_TOO_LARGE, format!("more than {MAX_USAGE_BYTES} bytes"))
    })?;
    let usage = read(&body)?;
    let from = auth::client(&parts).address;
    app.hub.bouncer_usage(&who, from, agent(&parts.headers), usage, auth::now()).await?;
    Ok(StatusCode::CREATED.into_response())
}

/// Reads a message; texts are cut where they are kept.
pub(super) fn read(bytes: &[u8]) -> Result<BouncerUsage, Refusal> {
    let value: serde_json::Value = serde_json::from_slice(bytes)
        .map_err(|_| Refusal(StatusCode::BAD_REQUEST, "the body is no JSON".to_owned()))?;
    let wrong = |text: &str| Refusal(StatusCode::UNPROCESSABLE_ENTITY, text.to_owned());
    let usage: Usage = serde_json::from_value(value)
        .map_err(|_| wrong("remediation_components is missing or malformed"))?;
    let mut components = usage.remediation_components.into_iter();
    let (Some(component), None) = (components.next(), components.next()) else {
        return Err(wrong("exactly one remediation component is expected"));
    };
    let windows = component.metrics.unwrap_or_default();
    let sum = |name: &str, unit: Option<&str>| {
        let items = windows.iter().flat_map(|window| window.items.iter().flatten());
        let fits = |item: &&Item| {
            item.name == name && unit.is_none_or(|unit| item.unit.as_deref() == Some(unit))
        };
        items.filter(fits).filter_map(|item| whole(item.value)).reduce(u64::saturating_add)
    };
    let window = windows.iter().filter_map(|window| window.meta.as_ref()?.window_size_seconds);
    let os = component.os.map(|os| {
        let words = [os.name, os.version].into_iter().flatten().collect::<Vec<_>>();
        words.join(" ").trim().to_owned()
    });
    Ok(BouncerUsage {
        kind: component.kind,
        version: component.version,
        os,
        started_at: component
            .utc_startup_timestamp
            .and_then(whole)
            .and_then(|secs| i64::try_from(secs).ok())
            .map(|secs| Timestamp::from_millis(secs.saturating_mul(1000))),
        window_secs: window.filter_map(whole).reduce(u64::saturating_add),
        dropped_packets: sum("dropped", Some("packet")),
        dropped_bytes: sum("dropped", Some("byte")),
        active_decisions: sum("active_decisions", None),
        told_at: None,
    })
}

/// A number that counts something, up to what JSON's numbers tell apart.
fn whole(value: f64) -> Option<u64> {
    const LARGEST: f64 = 9_007_199_254_740_992.0;
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is between 0 and 2^53"
    )]
    (0.0..=LARGEST).contains(&value).then_some(value as u64)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_are_summed_by_unit_and_nonsense_is_left_out() {
        let told = json!({"remediation_components": [{
            "type": "crowdsec-firewall-bouncer", "version": "v0.0.31",
            "os": {"name": "debian", "family": "", "version": "12"},
            "utc_startup_timestamp": 1_795_000_000_u64, "feature_flags": [],
            "metrics": [{"meta": {"window_size_seconds": 900}, "items": [
                {"name": "dropped", "value": 5, "unit": "packet", "labels": {"ip_type": "ipv4"}},
                {"name": "dropped", "value": 7, "unit": "packet", "labels": {"ip_type": "ipv6"}},
                {"name": "dropped", "value": 400, "unit": "byte"},
                {"name": "dropped", "value": -3, "unit": "packet"},
                {"name": "dropped", "value": 1e300, "unit": "byte"},
                {"name": "active_decisions", "value": 15_000, "unit": "ip"},
            ]}]
        }]});
        let Ok(usage) = read(told.to_string().as_bytes()) else { panic!() };
        assert_eq!((usage.dropped_packets, usage.dropped_bytes), (Some(12), Some(400)));
        assert_eq!((usage.active_decisions, usage.window_secs), (Some(15_000), Some(900)));
        assert_eq!(usage.os.as_deref(), Some("debian 12"));
        assert_eq!(usage.started_at, Some(Timestamp::from_millis(1_795_000_000_000)));
        let bare =
            json!({"remediation_components": [{"type": "x", "version": "", "metrics": null}]});
        let Ok(usage) = read(bare.to_string().as_bytes()) else { panic!() };
        assert_eq!((usage.dropped_packets, usage.os), (None, None), "unknown, not none");
    }
}
