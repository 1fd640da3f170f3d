#!/bin/sh
# Says in one sentence what is missing to build Palisade, and how to get it.
missing() {
    echo "palisade: $1" >&2
    exit 1
}
command -v cargo >/dev/null 2>&1 ||
    missing "Rust is missing; install it from https://rustup.rs or your distribution (1.95 or newer)."
version=$(rustc --version 2>/dev/null | sed -n 's/^rustc \([0-9]*\)\.\([0-9]*\).*/\1 \2/p')
set -- $version
if [ "${1:-0}" -lt 1 ] || { [ "${1:-0}" -eq 1 ] && [ "${2:-0}" -lt 95 ]; }; then
    missing "Rust 1.95 or newer is needed and $(rustc --version 2>/dev/null | cut -d' ' -f2) is installed; run 'rustup update stable'."
fi
command -v node >/dev/null 2>&1 && command -v npm >/dev/null 2>&1 ||
    missing "Node.js with npm is missing (the web page is built with it); install it from your distribution (20.19 or newer), or run 'cargo run --release -- up' for a Palisade without the page."
node -e 'const [a,b]=process.versions.node.split(".").map(Number); process.exit(a>20||(a===20&&b>=19)?0:1)' ||
    missing "Node.js 20.19 or newer is needed and $(node --version) is installed; update it from your distribution or https://nodejs.org."
command -v cc >/dev/null 2>&1 || command -v gcc >/dev/null 2>&1 || command -v clang >/dev/null 2>&1 ||
    missing "a C compiler is missing (SQLite and zstd are compiled with it); on Debian run 'apt-get install gcc libc6-dev'."
command -v c++ >/dev/null 2>&1 || command -v g++ >/dev/null 2>&1 || command -v clang++ >/dev/null 2>&1 ||
    missing "a C++ compiler is missing (Luau, which plug-ins are written in, is compiled with it); on Debian run 'apt-get install g++'."
