//! What the crate promises, tried from outside: one program, so that one link is
//! enough. `cargo xtask test` runs each module by itself.

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
