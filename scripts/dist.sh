#!/bin/sh
# One archive with the binary, the systemd units and the documents.
set -eu
cd "$(dirname "$0")/.."
# The C++ library that Luau needs goes into the binary: servers may not have it, or
# have an older one. Cargo does not see that this setting has changed.
export CXXSTDLIB="static:-bundle=stdc++"
cargo clean --locked --release --package mlua-sys 2>/dev/null || true
cargo build --locked --release --package palisade
if ldd target/release/palisade | grep -q 'libstdc++'; then
    echo "palisade: the binary still needs libstdc++.so.6" >&2
    exit 1
fi
version=$(./target/release/palisade --version | cut -d' ' -f2)
name="palisade-$version-$(uname -m)-linux"
rm -rf "dist/$name"
mkdir -p "dist/$name"
cp target/release/palisade README.md ARCHITECTURE.md CHANGELOG.md SECURITY.md LICENSE-MIT LICENSE-APACHE "dist/$name/"
cp -r packaging "dist/$name/"
./target/release/palisade completions bash >"dist/$name/palisade.bash"
tar -C dist -czf "dist/$name.tar.gz" "$name"
(cd dist && sha256sum "$name.tar.gz" >"$name.tar.gz.sha256")
echo "dist/$name.tar.gz"
