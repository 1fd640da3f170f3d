//! What the crate promises, tried from outside: one program, so that one link is
//! enough. `cargo xtask test` runs each module by itself.

mod announce;
mod blocklist;
mod common;
mod decisions;
mod detection;
mod doors;
mod ews;
mod hpfeeds;
mod knock;
mod lapi;
mod native;
mod openapi;
mod peba;
mod public;
