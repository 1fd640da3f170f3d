//! Measures what the state database costs: start of a hub, signing in, looking
//! up sessions and keys. On SQLite, and on the PostgreSQL whose address is the
//! argument (an empty database).
//!
//! `cargo run --release -p palisade-hub --example state_latency -- postgres://…`

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a program for developers")]

use std::time::{Duration, Instant, SystemTime};

use palisade_event::{Domain, SensorId, Timestamp};
use palisade_hub::{Config, Hub, Principal, Role, Scope};
use palisade_store::state::{PostgresUrl, State};

const ROUNDS: usize = 2_000;
const SIGN_INS: usize = 20;

fn now() -> Timestamp {
    SystemTime::now().into()
}

/// Median and 99th percentile, in microseconds.
fn show(what: &str, mut took: Vec<Duration>) {
    took.sort_unstable();
    let at = |part: usize| took.get(took.len() * part / 100).map_or(0, Duration::as_micros);
    println!("  {what:<44} p50 {:>7} µs   p99 {:>7} µs", at(50), at(99));
}

async fn timed<F: Future>(rounds: usize, mut work: impl FnMut(usize) -> F) -> Vec<Duration> {
    let mut took = Vec::with_capacity(rounds);
    for round in 0..rounds {
        let began = Instant::now();
        work(round).await;
        took.push(began.elapsed());
    }
    took
}

async fn measure(name: &str, config: &Config) {
    let dir = tempfile::tempdir().unwrap();
    println!("{name}");
    let began = Instant::now();
    let hub = Hub::open(dir.path(), config).await.unwrap();
    println!("  first start, tables made: {:?}", began.elapsed());
    let local = Principal::local(None);
    hub.add_account(&local, "anna", "correct horse", Role::Admin, now()).await.unwrap();
    let sensor = SensorId::new("web-1").unwrap();
    let key = hub.add_key(&local, sensor, &[Scope::Ingest], Domain::Private, now()).await.unwrap();
    hub.close().await;
    drop(hub);
    let began = Instant::now();
    let hub = Hub::open(dir.path(), config).await.unwrap();
    println!("  start: {:?}", began.elapsed());

    let token = hub.sign_in("anna", "correct horse", None, None, now()).await.unwrap().token;
    let took = timed(SIGN_INS, |_| async {
        hub.sign_in("anna", "correct horse", None, None, now()).await.unwrap()
    });
    show("sign-in (argon2id and a durable session)", took.await);
    let took = timed(ROUNDS, |_| async { hub.session(&token, now()).await.unwrap().unwrap() });
    show("session check", took.await);
    let took = timed(ROUNDS, |_| async { hub.key(&key.key, now()).await.unwrap().unwrap() });
    show("key check, looked up in the last 2 s", took.await);
    let state = State::open(&dir.path().join("hub/state.db"), &config.state).await.unwrap();
    let took = timed(ROUNDS, |_| async { state.api_key(&key.id).await.unwrap().unwrap() });
    show("key lookup", took.await);
    let took = timed(ROUNDS / 4, |round| {
        let state = &state;
        async move { state.set_meta("x", &round.to_string()).await.unwrap() }
    });
    show("a small write, durable", took.await);
    state.close().await;
    hub.close().await;
}

#[tokio::main]
async fn main() {
    measure("SQLite", &Config::default()).await;
    if let Some(url) = std::env::args().nth(1) {
        let mut config = Config::default();
        config.state.postgres = Some(PostgresUrl::new(url));
        measure("PostgreSQL", &config).await;
    }
}
