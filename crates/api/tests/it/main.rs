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

mod alpha;
mod announce;
mod any_bytes;
mod blocklist;
mod common;
mod decisions;
mod detection;
mod doors;
mod ews;
mod glimpse;
mod grafana;
mod hosts;
mod hpfeeds;
mod knock;
mod lapi;
mod native;
mod openapi;
mod peba;
mod public;
mod report;
