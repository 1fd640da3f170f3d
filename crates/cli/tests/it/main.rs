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

mod audit;
mod bad_input;
mod bans;
mod blocklists;
mod bouncers;
mod command_line;
mod databases_and_devices;
mod documents;
mod end_to_end;
#[path = "../../../store/tests/it/common/engine.rs"]
#[allow(dead_code, unreachable_pub, clippy::missing_docs_in_private_items)]
mod engine;
mod ews;
mod fail2ban;
mod fetch;
mod fleet;
mod hpfeeds;
mod logs;
mod machine;
mod mail_and_cache;
mod observed;
mod odd_hosts;
mod old_clients;
mod outbound;
mod packets;
mod peba;
mod plugins;
#[path = "../../../store/tests/it/postgres/mod.rs"]
mod postgres;
mod report;
mod scan;
mod scans;
mod sessions;
mod state;
mod store_life;
mod store_move;
mod support;
mod webhooks;
mod zone;
