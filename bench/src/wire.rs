//! What an event costs in wire forms: the JSON in use, and MessagePack as the
//! compact form that could take its place between agent and hub.

use std::time::Instant;

use palisade_event::{Event, Timestamp, wire};

use crate::generate::Attacks;
use crate::table::print;

const EVENTS: u64 = 100_000;
const BATCH: usize = 500;

pub(crate) fn run() -> anyhow::Result<()> {
    let now = Timestamp::from(std::time::SystemTime::now());
    let events: Vec<Event> = Attacks::new(1, EVENTS, now, 1)?.events(0..EVENTS).collect();
    let mut rows = Vec::new();

    let begin = Instant::now();
    let json: Vec<Vec<u8>> = events.iter().map(wire::encode_event).collect();
    let encode = begin.elapsed();
    let begin = Instant::now();
    for text in &json {
        wire::decode_event(text)?;
    }
    rows.push(row("JSON", &json, encode, begin.elapsed())?);

    let begin = Instant::now();
    let packed = events.iter().map(rmp_serde::to_vec_named).collect::<Result<Vec<_>, _>>()?;
    let encode = begin.elapsed();
    let begin = Instant::now();
    for bytes in &packed {
        rmp_serde::from_slice::<Event>(bytes)?.validate()?;
    }
    rows.push(row("MessagePack", &packed, encode, begin.elapsed())?);
    print(
        "Wire forms, batches of 500",
        &["form", "B/event", "B/event zstd 1", "encode us", "decode us", "zstd us", "unzstd us"],
        &rows,
    );
    Ok(())
}

fn row(
    name: &str,
    records: &[Vec<u8>],
    encode: std::time::Duration,
    decode: std::time::Duration,
) -> anyhow::Result<Vec<String>> {
    let plain: usize = records.iter().map(Vec::len).sum();
    let batches: Vec<Vec<u8>> = records.chunks(BATCH).map(|chunk| chunk.concat()).collect();
    let begin = Instant::now();
    let small = batches
        .iter()
        .map(|batch| zstd::bulk::compress(batch, 1))
        .collect::<Result<Vec<_>, _>>()?;
    let squeeze = begin.elapsed();
    let begin = Instant::now();
    for batch in &small {
        zstd::bulk::decompress(batch, 16 << 20)?;
    }
    let expand = begin.elapsed();
    let each = |time: std::time::Duration| {
        format!("{:.2}", time.as_secs_f64() * 1e6 / records.len() as f64)
    };
    Ok(vec![
        name.to_owned(),
        format!("{:.0}", plain as f64 / records.len() as f64),
        format!("{:.0}", small.iter().map(Vec::len).sum::<usize>() as f64 / records.len() as f64),
        each(encode),
        each(decode),
        each(squeeze),
        each(expand),
    ])
}
