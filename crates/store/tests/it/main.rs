//! What the crate promises, tried from outside: one program, so that one link is
//! enough. `cargo xtask test` runs each module by itself.

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
