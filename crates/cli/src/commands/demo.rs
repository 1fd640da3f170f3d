//! `palisade demo`: replays recorded attacks into a hub through its normal door.

use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::bail;
use http::Method;
use palisade_event::wire;
use serde_json::Value;

use crate::args::DemoArgs;
use crate::demo::Replay;
use crate::out;
use crate::reach::Reach;
use crate::settings::Settings;

/// Most events put into one request when the rate asks for many.
const BATCH_EVENTS: u64 = 500;

/// Sends `count` events at `rate` a second and says what the hub took.
///
/// # Errors
/// The hub cannot be reached or refuses.
pub(crate) async fn replay(settings: &Settings, args: &DemoArgs) -> anyhow::Result<ExitCode> {
    if !(args.rate > 0.0 && args.rate <= 10_000.0) {
        bail!("--rate must be above 0 and at most 10000 events a second");
    }
    let hub = Reach::find(settings, &args.reach).await?;
    let sent = send(&hub, args).await;
    hub.close().await;
    let (accepted, duplicate) = sent?;
    out::line(&format!("the hub took {accepted} demo events ({duplicate} it had already)"));
    Ok(ExitCode::SUCCESS)
}

async fn send(hub: &Reach, args: &DemoArgs) -> anyhow::Result<(u64, u64)> {
    let mut replay = Replay::new()?;
    // At most ten requests a second; each carries what is due by then.
    let batch = ((args.rate / 10.0).ceil() as u64).clamp(1, BATCH_EVENTS);
    let mut ticks = tokio::time::interval(Duration::from_secs_f64(batch as f64 / args.rate));
    let (mut accepted, mut duplicate, mut left) = (0, 0, args.count);
    while left > 0 {
        ticks.tick().await;
        let now = SystemTime::now().into();
        let events: Vec<Vec<u8>> = (0..batch.min(left)).map(|_| replay.next(now)).collect();
        left -= events.len() as u64;
        let body: Value = serde_json::from_slice(&wire::encode_batch(&events))?;
        let receipt = hub.call(Method::POST, "/api/v1/events", Some(&body)).await?;
        let count = |name: &str| receipt.get(name).and_then(Value::as_u64).unwrap_or_default();
        accepted += count("accepted");
        duplicate += count("duplicate");
    }
    Ok((accepted, duplicate))
}
