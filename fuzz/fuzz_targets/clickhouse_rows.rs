//! ClickHouse's answer to a question for events: bytes from another machine.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = palisade_store::clickhouse_rows(bytes);
});
