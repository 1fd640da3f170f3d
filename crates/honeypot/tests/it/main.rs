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

mod attacks;
mod clients;
mod descriptors;
mod fingerprints;
mod generic;
mod hostile;
mod http;
mod limits;
mod plugins;
mod recording;
mod ssh;
mod support;
mod telnet;
mod tls;
mod web;
