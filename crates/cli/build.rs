//! Makes the program smaller in memory where the system it is built on allows.
//!
//! A position-independent program has an address to mend for each pointer in its
//! constants, here some hundred thousand. In the usual form (24 bytes each) all of them
//! are read at each start and stay resident; packed (DT_RELR, a bit each) they
//! cost next to nothing. glibc knows that form since 2.36; an older one refuses
//! such a program, so it is asked for its version.
//!
//! The functions that processes at rest use stand together ([`ORDER`]): the kernel maps
//! code in pieces of 64 KiB, and scattered over forty megabytes each of them costs
//! a piece of its own. A linker that cannot do that leaves them where they are.

use std::env;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// The names of functions as the linker knows them, one a line: what a process at
/// rest uses first. `scripts/order-functions.sh` makes it; names that are not there
/// any more do no harm.
const ORDER: &str = "functions.order";

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
    println!("cargo::rerun-if-changed={ORDER}");
    let optimised = env::var("OPT_LEVEL").is_ok_and(|level| level != "0");
    if optimised
        && linux
        && let Some(arguments) = order_arguments()
    {
        for argument in arguments {
            println!("cargo::rustc-link-arg-bins={argument}");
        }
    }
}

/// What tells the linker of [`ORDER`], where it takes it: LLD does, which is the
/// default on x86-64, others do not know the option.
fn order_arguments() -> Option<[String; 2]> {
    let order = Path::new(&env::var_os("CARGO_MANIFEST_DIR")?).join(ORDER);
    let arguments = [
        format!("-Wl,--symbol-ordering-file={}", order.to_str()?),
        "-Wl,--no-warn-symbol-ordering".to_owned(),
    ];
    let mut compile = Command::new(env::var_os("RUSTC")?);
    compile.args(["--crate-name", "probe", "--target", &env::var("TARGET").ok()?, "-o"]);
    compile.arg(Path::new(&env::var_os("OUT_DIR")?).join("probe"));
    if let Some(linker) = env::var_os("RUSTC_LINKER") {
        compile.arg("-C").arg(format!("linker={}", linker.to_str()?));
    }
    let flags = env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    compile.args(flags.split('\x1f').filter(|flag| !flag.is_empty()));
    compile.args(
        arguments.iter().flat_map(|argument| ["-C".to_owned(), format!("link-arg={argument}")]),
    );
    let mut child = compile
        .arg("-")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    child.stdin.take()?.write_all(b"fn main() {}").ok()?;
    child.wait().ok()?.success().then_some(arguments)
}

/// What getconf(1) says, such as `glibc 2.36`.
fn glibc() -> Option<(u32, u32)> {
    let said = Command::new("getconf").arg("GNU_LIBC_VERSION").output().ok()?;
    let text = String::from_utf8(said.stdout).ok()?;
    let (major, minor) = text.trim().strip_prefix("glibc ")?.split_once('.')?;
    Some((major.parse().ok()?, minor.split('.').next()?.parse().ok()?))
}
