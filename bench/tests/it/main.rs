//! The program itself. That there is a test of it also makes `cargo test` build
//! it, for the tests of the page mount its slow disk.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test may fail")]

mod slowdisk;
