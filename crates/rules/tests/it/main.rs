//! What the crate promises, tried from outside: one program, so that one link is
//! enough. `cargo xtask test` runs each module by itself.

mod fixtures;
mod ruleset;
mod scenarios;
mod support;
