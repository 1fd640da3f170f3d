//! What the crate promises, tried from outside: one program, so that one link is
//! enough. `cargo xtask test` runs each module by itself.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    reason = "tests: a failure is a panic that says where"
)]

mod access;
mod alerts;
mod clickhouse;
mod common;
mod correlation;
mod cve;
mod decisions;
mod decisions_postgres;
mod directions;
mod disk_full;
#[path = "../../../store/tests/it/common/engine.rs"]
#[allow(dead_code, unreachable_pub, unused_macros, clippy::missing_docs_in_private_items)]
mod engine;
mod ews_users;
mod hosts;
mod ingest;
mod outbound;
mod payloads;
#[path = "../../../store/tests/it/postgres/mod.rs"]
mod postgres;
#[path = "../../../store/tests/it/common/replicas.rs"]
#[allow(dead_code, unreachable_pub, clippy::missing_docs_in_private_items)]
mod replicas;
mod sessions;
mod state;
