//! Lines of logs, delivered as they are: read, then taken like any events.
//! Where a line has no zone, its time is UTC unless the sender says otherwise.

use std::net::IpAddr;

use palisade_event::wire::{self, Quarantined};
use palisade_event::{SensorId, Timestamp};
use palisade_rules::{LineContext, LogFormat, LogReader, ReadLine};
use serde::Serialize;

use crate::auth::{Permission, Principal};
use crate::error::IngestError;
use crate::ingest::{Ingest, Unread};

/// Most lines of one body.
pub const MAX_BODY_LINES: usize = 20_000;
/// Most events that the lines of one body become; some lines are several.
pub const MAX_BODY_EVENTS: usize = 40_000;

/// What is known of lines beside what they say.
#[derive(Clone, Debug)]
pub struct Source {
    /// Their format.
    pub format: LogFormat,
    /// The sensor of events that the local operator delivers.
    pub sensor: SensorId,
    /// The zone of times without one.
    pub zone: jiff::tz::TimeZone,
}

/// What the hub answers to lines, after everything in them is durable.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LinesReceipt {
    /// Lines that were read, empty ones not counted.
    pub lines: u64,
    /// Events that were new.
    pub accepted: u32,
    /// Events that were here already and were not counted again.
    pub duplicate: u32,
    /// Lines that were understood and say nothing new.
    pub irrelevant: u64,
    /// Lines that could not be understood, by their number from 0, and events
    /// that could not be taken; kept by the hub, not to be sent again.
    pub quarantined: Vec<Quarantined>,
}

/// What the lines of a body are.
#[derive(Default)]
struct Read {
    lines: u64,
    irrelevant: u64,
    records: Vec<Vec<u8>>,
    /// Which line each record is of.
    lines_of: Vec<u32>,
    /// Number and place in the body.
    unread: Vec<(u32, std::ops::Range<usize>)>,
}

pub(crate) async fn accept(
    ingest: &Ingest,
    who: &Principal,
    from: Option<IpAddr>,
    source: &Source,
    body: bytes::Bytes,
    now: Timestamp,
) -> Result<LinesReceipt, IngestError> {
    // Before the work.
    if !who.may(Permission::Ingest) {
        return Err(IngestError::Forbidden);
    }
    let (text, with) = (body.clone(), source.clone());
    let read = tokio::task::spawn_blocking(move || read(&text, with, now)).await;
    let read = read
        .map_err(|error| IngestError::Busy { reason: error.to_string(), retry_after_secs: 30 })??;
    let reason = format!("no line of the format {}", source.format);
    let unread: Vec<Unread<'_>> = read
        .unread
        .iter()
        .map(|(index, place)| Unread {
            index: *index,
            record: body.get(place.clone()).unwrap_or_default(),
            reason: reason.clone(),
        })
        .collect();
    let records: Vec<&[u8]> = read.records.iter().map(Vec::as_slice).collect();
    let mut receipt = ingest.accept_read(who, from, &records, &unread, now).await?;
    // The numbers of events are of no use to whoever sent lines.
    for refused in receipt.quarantined.iter_mut().skip(unread.len()) {
        let line = usize::try_from(refused.index).ok().and_then(|at| read.lines_of.get(at));
        refused.index = line.copied().unwrap_or(refused.index);
    }
    Ok(LinesReceipt {
        lines: read.lines,
        accepted: receipt.accepted,
        duplicate: receipt.duplicate,
        irrelevant: read.irrelevant,
        quarantined: receipt.quarantined,
    })
}

fn read(body: &[u8], source: Source, now: Timestamp) -> Result<Read, IngestError> {
    let cx = LineContext { now, zone: source.zone };
    let mut reader = LogReader::new(source.format, source.sensor, cx);
    let mut read = Read::default();
    let mut start = 0;
    for (number, line) in (0_u32..).zip(body.split(|byte| *byte == b'\n')) {
        let place = start..start + line.len();
        start += line.len() + 1;
        if line.trim_ascii().is_empty() {
            continue;
        }
        read.lines += 1;
        if read.lines > MAX_BODY_LINES as u64 {
            let rule = format!("more than {MAX_BODY_LINES} lines at once; send fewer");
            return Err(IngestError::TooLarge(rule));
        }
        match reader.read(line) {
            ReadLine::Irrelevant => read.irrelevant += 1,
            ReadLine::Unparsed => read.unread.push((number, place)),
            ReadLine::Events(events) => {
                if read.records.len() + events.len() > MAX_BODY_EVENTS {
                    let rule = format!(
                        "the lines are more than {MAX_BODY_EVENTS} events; send fewer at once"
                    );
                    return Err(IngestError::TooLarge(rule));
                }
                read.lines_of.extend(std::iter::repeat_n(number, events.len()));
                read.records.extend(events.iter().map(wire::encode_event));
            }
        }
    }
    Ok(read)
}

/// Reads one line of a log that came by itself, such as a payload of hpfeeds;
/// `None` where it is none of that format. No events where it says nothing new.
#[must_use]
pub fn read_log_line(
    format: LogFormat,
    line: &[u8],
    sensor: &SensorId,
    now: Timestamp,
) -> Option<Vec<palisade_event::Event>> {
    let cx = LineContext { now, zone: jiff::tz::TimeZone::UTC };
    match LogReader::new(format, sensor.clone(), cx).read(line) {
        ReadLine::Events(events) => Some(events),
        ReadLine::Irrelevant => Some(Vec::new()),
        ReadLine::Unparsed => None,
    }
}
