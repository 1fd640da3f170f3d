//! Bytes that no honest client sends: nothing panics, every session ends.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "test code outside of test functions"
)]

use crate::support;

use palisade_honeypot::TelnetConfig;
use proptest::prelude::*;
use proptest::test_runner::{Config as Runs, TestRunner};
use support::{PATIENCE, Zone, config, connect, reason};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Random bytes behind a beginning that gets them deeper into the service.
fn hostile(beginnings: &'static [&'static [u8]]) -> impl Strategy<Value = Vec<u8>> {
    let tail = proptest::collection::vec(any::<u8>(), 0..2_000);
    (proptest::sample::select(beginnings), tail)
        .prop_map(|(beginning, tail)| [beginning, tail.as_slice()].concat())
}

/// Sends `bytes` to both services; both sessions must end and nothing panic.
fn survives(cases: u32, telnet: bool, beginnings: &'static [&'static [u8]]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut config = config();
    config.limits.idle_secs = 5;
    let attempts = TelnetConfig { fail_delay_ms: 0, ..TelnetConfig::default() };
    config.services[0].telnet = Some(attempts);
    let mut zone = runtime.block_on(Zone::start(&config));
    let address = if telnet { zone.telnet } else { zone.http };
    let shared = tokio::sync::Mutex::new(&mut zone);
    TestRunner::new(Runs { cases, failure_persistence: None, ..Runs::default() })
        .run(&hostile(beginnings), |bytes| {
            runtime.block_on(async {
                let client = connect(address).await;
                let (mut reader, mut writer) = client.into_split();
                let sending = async {
                    // The service may have hung up before all is sent.
                    let _ = writer.write_all(&bytes).await;
                    let _ = writer.shutdown().await;
                };
                let mut answers = Vec::new();
                let reading = async { drop(reader.read_to_end(&mut answers).await) };
                let both = async { tokio::join!(sending, reading) };
                tokio::time::timeout(PATIENCE, both).await.expect("ends");
                let events = shared.lock().await.session().await;
                for event in &events {
                    prop_assert_eq!(event.validate(), Ok(()));
                }
                let why = reason(&events);
                prop_assert!(why == "client-closed" || why == "completed", "{}", why);
                Ok(())
            })
        })
        .unwrap();
    assert!(zone.stats.accepted.get() >= u64::from(cases));
    assert_eq!(zone.stats.panics.get(), 0);
    assert_eq!(runtime.block_on(zone.end()).len(), 0);
}

#[test]
fn telnet_survives_any_bytes() {
    survives(
        500,
        true,
        &[
            b"",
            b"\xff\xfa\x18",
            b"\xff",
            b"root\r\nroot\r\n",
            b"root\nroot\necho -e '\\x4",
            b"\x16\x03\x01",
        ],
    );
}

#[test]
fn http_survives_any_bytes() {
    survives(
        500,
        false,
        &[
            b"",
            b"GET ",
            b"GET / HTTP/1.1\r\n",
            b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 500\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1f4\r\n",
            b"POST /login HTTP/1.0\r\nContent-Length: 900\r\n\r\npassword=",
            b"\r\n\r",
        ],
    );
}
