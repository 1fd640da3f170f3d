#!/bin/sh
# Fuzzes every decoder for FUZZ_SECONDS (60) each. libFuzzer needs sanitizer
# flags that a stable compiler only takes with RUSTC_BOOTSTRAP.
set -eu
cd "$(dirname "$0")/../fuzz"
command -v cargo-fuzz >/dev/null 2>&1 || {
    echo "palisade: cargo-fuzz is missing; run 'cargo install cargo-fuzz'." >&2
    exit 1
}
# SQLite's objects come into the program twice, which is no fault of a decoder.
export ASAN_OPTIONS="${ASAN_OPTIONS:-detect_odr_violation=0}"
for target in ${FUZZ_TARGETS:-$(sed -n 's/^name = "\(.*\)"/\1/p' Cargo.toml | grep -v palisade-fuzz)}; do
    echo "== $target"
    # What ten minutes and more of fuzzing have found to be different, packed.
    if [ -e "corpus/$target.tar.zst" ] && command -v zstd >/dev/null 2>&1; then
        mkdir -p "corpus/$target"
        zstd -dc "corpus/$target.tar.zst" | tar xf - -C "corpus/$target"
    fi
    RUSTC_BOOTSTRAP=1 cargo fuzz run --fuzz-dir . "$target" -- -max_total_time="${FUZZ_SECONDS:-60}" -rss_limit_mb=1024
done
