//! Makes a frozen specimen of the store's format: reads events (JSON, one a
//! line) from standard input, stores them in three commits in `DIR/store` and
//! writes them as they are sent, oldest first, to `DIR/store.ndjson`.
//!
//! `cargo run -p palisade-store --example freeze DIR < EVENTS`

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a tool that fails by panic")]

use std::io::{BufRead as _, Write as _};
use std::path::PathBuf;
use std::sync::Arc;

use palisade_event::{Event, wire};
use palisade_store::{Config, FORMAT, Store};

fn main() {
    let dir = PathBuf::from(std::env::args().nth(1).unwrap());
    let line = |line: std::io::Result<String>| {
        Arc::new(wire::decode_event(line.unwrap().as_bytes()).unwrap())
    };
    let mut events: Vec<Arc<Event>> = std::io::stdin().lock().lines().map(line).collect();
    let store = Store::open(&dir.join("store"), &Config::default()).unwrap();
    for part in events.chunks(events.len().div_ceil(3)) {
        assert!(store.append(part).unwrap().iter().all(|new| *new));
        store.commit().unwrap();
    }
    events.sort_by_key(|event| (event.observed_at, event.id));
    let mut file = std::fs::File::create(dir.join("store.ndjson")).unwrap();
    for event in &events {
        file.write_all(&wire::encode_event(event)).unwrap();
        file.write_all(b"\n").unwrap();
    }
    eprintln!("format {FORMAT}, {} events, {:?}", events.len(), store.stats());
}
