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

mod bound;
mod common;
mod damage;
mod frozen;
mod full_disk;
mod hostile_segment;
mod kill;
mod model;
mod queue;
mod tail;
