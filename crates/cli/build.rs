//! Makes the program smaller in memory where the system it is built on allows.
//!
//! A position-independent program has an address to mend for each pointer in its
//! constants, here some hundred thousand. In the usual form (24 bytes each) all of them
//! are read at each start and stay resident; packed (DT_RELR, a bit each) they
//! cost next to nothing. glibc knows that form since 2.36; an older one refuses
//! such a program, so it is asked for its version.

use std::env;
use std::process::Command;

/// The first glibc that starts programs with packed relocations.
const GLIBC: (u32, u32) = (2, 36);

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let target = |name: &str| env::var(format!("CARGO_CFG_TARGET_{name}")).unwrap_or_default();
    let native = env::var("HOST").ok() == env::var("TARGET").ok();
    let linux = target("OS") == "linux" && target("ENV") == "gnu";
    if native && linux && glibc().is_some_and(|version| version >= GLIBC) {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

/// What getconf(1) says, such as `glibc 2.36`.
fn glibc() -> Option<(u32, u32)> {
    let said = Command::new("getconf").arg("GNU_LIBC_VERSION").output().ok()?;
    let text = String::from_utf8(said.stdout).ok()?;
    let (major, minor) = text.trim().strip_prefix("glibc ")?.split_once('.')?;
    Some((major.parse().ok()?, minor.split('.').next()?.parse().ok()?))
}
