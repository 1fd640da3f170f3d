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

mod delivery;
mod detection;
mod directions;
mod enforcement;
mod fail2ban;
mod file_source;
mod flood;
mod full_disk;
mod glob_source;
mod http_uplink;
mod journal_source;
mod journald;
mod knock;
mod rotation;
mod support;
mod syslog_source;
