#!/bin/sh
# One archive with the binary, the systemd units and the documents.
set -eu
cd "$(dirname "$0")/.."
cargo build --locked --release --package palisade
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
