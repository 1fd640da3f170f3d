//! `POST /api/v1/logs/{parser}`: lines of a log as they are.

use axum::extract::{Request, State};
use jiff::tz::{Offset, TimeZone};
use palisade_event::SensorId;
use palisade_hub::{LineSource, LinesReceipt, LogFormat, Permission};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{Parameters, Segment, ingest, schema};
use crate::auth::Caller;
use crate::client::Client;
use crate::error::{Problem, ProblemBody};
use crate::router::App;

/// What is known of the lines.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct About {
    /// Zone of times that are written without one: `UTC` or an offset such as
    /// `+01:00`. Default: UTC.
    #[param(example = "+01:00")]
    zone: Option<String>,
    /// The sensor, for the local operator; that of a key is the key's.
    sensor: Option<String>,
}

/// What became of lines.
#[derive(Serialize, ToSchema)]
pub(crate) struct LogReceipt {
    /// Lines that were read, empty ones not counted.
    lines: u64,
    /// Events that were new.
    accepted: u32,
    /// Events that were here already.
    duplicate: u32,
    /// Lines that were understood and say nothing new.
    irrelevant: u64,
    /// Lines that could not be understood, by their number from 0, and events
    /// that could not be taken; kept in quarantine, not to be sent again.
    #[schema(value_type = Vec<schema::Quarantined>)]
    quarantined: Vec<palisade_event::wire::Quarantined>,
}

impl From<LinesReceipt> for LogReceipt {
    fn from(receipt: LinesReceipt) -> Self {
        let LinesReceipt { lines, accepted, duplicate, irrelevant, quarantined } = receipt;
        Self { lines, accepted, duplicate, irrelevant, quarantined }
    }
}

/// Deliver lines of a log
///
/// One line a line, as the program writes them: of honeypots (`cowrie`,
/// `dionaea`, `suricata`, `honeytrap`, `opencanary`, `endlessh`), of servers
/// (`sshd`, `nginx`, `postfix`, and more), or of many programs (`syslog`).
/// The answer comes after every event is on disk. Lines may be sent again; an
/// event's id comes from its line, so it counts once.
#[utoipa::path(
    post, path = "/api/v1/logs/{parser}", tag = "events", operation_id = "deliverLogLines",
    security(("key" = [])),
    params(
        ("parser" = String, Path, description = "The format", example = "cowrie"),
        About,
        ("Content-Encoding" = Option<String>, Header, description = "zstd or identity"),
    ),
    request_body(content = String, content_type = "application/x-ndjson", description = "At most 4 MiB as sent, 16 MiB unpacked and 20,000 lines"),
    responses(
        (status = 200, body = LogReceipt, description = "All of it is durable"),
        (status = 401, body = ProblemBody, content_type = "application/problem+json", description = "No valid key"),
        (status = 403, body = ProblemBody, content_type = "application/problem+json", description = "The key lacks the scope ingest"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json", description = "No such format"),
        (status = 413, body = ProblemBody, content_type = "application/problem+json", description = "Too large; send fewer lines"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "Nothing was taken; send it again later",
            headers(("Retry-After" = u32, description = "Seconds to wait"))),
    ),
)]
pub(crate) async fn accept(
    State(app): State<App>,
    caller: Caller,
    Segment(parser): Segment,
    Parameters(about): Parameters<About>,
    request: Request,
) -> Result<axum::Json<LogReceipt>, Problem> {
    caller.require(Permission::Ingest)?;
    let format: LogFormat = parser
        .parse()
        .map_err(|error: palisade_hub::UnknownFormat| Problem::not_found(error.to_string()))?;
    let sensor = about.sensor.as_deref().unwrap_or("local");
    let sensor =
        SensorId::new(sensor).map_err(|error| Problem::unprocessable(error.to_string()))?;
    let zone = zone(about.zone.as_deref())?;
    let from = request.extensions().get::<Client>().map(|client| client.address);
    let body = ingest::unpacked(&app, request).await?;
    let source = LineSource { format, sensor, zone };
    let receipt = app.hub.accept_lines(&caller.who, from, &source, body).await?;
    Ok(axum::Json(receipt.into()))
}

/// Reads a zone.
fn zone(text: Option<&str>) -> Result<TimeZone, Problem> {
    let wrong = || Problem::unprocessable("zone: expected UTC or an offset such as +01:00.");
    let Some(text) = text.filter(|text| *text != "UTC") else { return Ok(TimeZone::UTC) };
    // A plus in an address that was not encoded is a space.
    let text = text.replacen(' ', "+", 1);
    let (sign, rest) = match text.split_at_checked(1) {
        Some(("+", rest)) => (1, rest),
        Some(("-", rest)) => (-1, rest),
        _ => return Err(wrong()),
    };
    let number = |text: &str| match text.len() {
        2 if text.bytes().all(|b| b.is_ascii_digit()) => text.parse::<i32>().ok(),
        _ => None,
    };
    let (hours, minutes) = rest.split_once(':').ok_or_else(wrong)?;
    let (hours, minutes) = number(hours).zip(number(minutes)).ok_or_else(wrong)?;
    if hours > 15 || minutes > 59 {
        return Err(wrong());
    }
    let offset = Offset::from_seconds(sign * (hours * 3600 + minutes * 60)).map_err(|_| wrong())?;
    Ok(TimeZone::fixed(offset))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_is_utc_or_an_offset() {
        let seconds =
            |text| zone(text).ok().map(|z| z.to_offset(jiff::Timestamp::UNIX_EPOCH).seconds());
        assert_eq!(seconds(None), Some(0));
        assert_eq!(seconds(Some("+01:30")), Some(5400));
        assert_eq!(seconds(Some(" 01:30")), Some(5400));
        assert_eq!(seconds(Some("-05:00")), Some(-18_000));
        for bad in ["", "CET", "+1", "+99:00", "+01:60", "01:00", "+é1:00"] {
            assert_eq!(seconds(Some(bad)), None, "{bad}");
        }
    }
}
