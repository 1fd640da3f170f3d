//! `palisade sensors list`.

use std::process::ExitCode;

use http::Method;

use super::list;
use crate::args::{OutputFormat, SensorsCommand};
use crate::out::{self, shown};
use crate::reach::Reach;
use crate::settings::Settings;

/// Runs the command.
///
/// # Errors
/// The hub cannot be reached or refuses.
pub(crate) async fn run(settings: &Settings, command: SensorsCommand) -> anyhow::Result<ExitCode> {
    let SensorsCommand::List { reach, format } = command;
    let hub = Reach::find(settings, &reach).await?;
    let answer = hub.call(Method::GET, "/api/v1/sensors", None).await;
    hub.close().await;
    let answer = answer?;
    if format.format == OutputFormat::Json {
        out::json(&answer);
        return Ok(ExitCode::SUCCESS);
    }
    let columns = ["sensor", "domain", "last_seen", "last_address", "events_24h", "events_total"];
    let rows = list(&answer, "sensors")
        .iter()
        .map(|sensor| columns.iter().map(|name| shown(sensor.get(name))).collect())
        .collect();
    out::table(
        &columns,
        rows,
        "no sensor has delivered an event yet; add a key with `palisade key add NAME --scope ingest`",
    );
    Ok(ExitCode::SUCCESS)
}
