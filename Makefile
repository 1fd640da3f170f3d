# Palisade. `make run` and `make test` are all a newcomer needs.
SHELL := /bin/sh
CARGO ?= cargo
NPM ?= npm
CONFIG ?= packaging/demo.toml

.PHONY: run test check lint lint-ui bench bench-100m torture dist ui fuzz require packages

run: require ui ## build everything and start on embedded defaults, with demo data
	$(CARGO) build --locked --release --package palisade
	exec ./target/release/palisade up --config $(CONFIG)

test: require packages lint lint-ui ## all tests, with real clients and a real browser
	$(CARGO) xtask test --browser

check: lint lint-ui ## what must be green before a change lands; needs no root
	$(CARGO) xtask test

# Always the whole workspace: another selection has other features of libraries, and builds them anew.
lint: ui
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	$(CARGO) xtask layers

lint-ui: ui
	$(NPM) --prefix ui run check
	cd ui && npx openapi-typescript ../docs/openapi.json -o src/lib/api/types.ts --check

bench: ## print the tables of speed and memory, other databases beside them
	$(CARGO) build --locked --release --package palisade --package palisade-bench
	./target/release/palisade-bench all
	sh scripts/peers.sh

bench-100m: ## the store with a hundred million events: half an hour, 15 GB, figures in the end
	$(CARGO) build --locked --release --package palisade --package palisade-bench
	./target/release/palisade-bench store --events 100000000

torture: ## kill -9 at 200 random moments under load, 50 power cuts (needs /dev/fuse), then count
	$(CARGO) build --locked --release --package palisade --package palisade-bench
	./target/release/palisade-bench kill9 --rounds 200
	./target/release/palisade-bench powercut --rounds 50

fuzz: ## a minute of fuzzing for each decoder (needs cargo-fuzz and clang)
	sh scripts/fuzz.sh

dist: require ui ## one archive with the binary, units and documents
	sh scripts/dist.sh

ui: ui/dist/index.html

ui/dist/index.html: ui/package-lock.json $(shell find ui/src ui/public ui/scripts ui/index.html ui/vite.config.ts -type f 2>/dev/null)
	$(NPM) --prefix ui ci --no-audit --no-fund
	$(NPM) --prefix ui run build

require:
	@sh scripts/require.sh

packages:
	@sh scripts/test-packages.sh
