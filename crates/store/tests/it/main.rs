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

mod alerts;
mod blob_s3;
mod clickhouse;
mod common;
mod conformance;
mod decisions;
mod disk_full;
mod embedded;
mod life;
mod postgres;
mod ready;
mod state;
mod state_postgres;
mod upkeep;
