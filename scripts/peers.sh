#!/bin/sh
# The same events in other databases, with the same questions: SQLite (Python's),
# DuckDB and chdb (from PyPI, in a temporary virtual environment) and Debian's
# ClickHouse, each where it installs. Times are medians in milliseconds.
#   sh scripts/peers.sh [EVENTS]        default 2,000,000; 20 million take half an hour and 15 GB
set -eu
cd "$(dirname "$0")/.."
events=${1:-2000000}
bench=${PALISADE_BENCH:-./target/release/palisade-bench}
work=$(mktemp -d "${TMPDIR:-/tmp}/palisade-peers.XXXXXX")
trap 'rm -rf "$work"' EXIT
if ! command -v python3 >/dev/null 2>&1; then
    echo "peers: python3 is missing; nothing to compare with"
    exit 0
fi
"$bench" rows --events "$events" --out "$work/rows"
python=python3
if python3 -m venv "$work/venv" >/dev/null 2>&1; then
    python=$work/venv/bin/python
    for package in duckdb chdb; do
        "$work/venv/bin/pip" install -q --disable-pip-version-check "$package" >/dev/null 2>&1 ||
            echo "peers: $package does not install here and is left out"
    done
fi
run() {
    name=$1
    shift
    if "$@" "$work/rows" "$work/$name" >"$work/$name.json" 2>"$work/$name.err"; then
        echo "peers: $name done"
    else
        echo "peers: $name failed or is not installed: $(tail -n 1 "$work/$name.err")"
    fi
    rm -rf "${work:?}/$name"
}
run sqlite "$python" bench/peers/sqlite.py
run duckdb "$python" bench/peers/duck.py
run chdb "$python" bench/peers/chdb_engine.py
if command -v clickhouse-server >/dev/null 2>&1; then
    run clickhouse "$python" bench/peers/clickhouse_server.py
else
    echo "peers: clickhouse-server is missing (Debian package of that name) and is left out"
fi
echo
echo "## Other databases with $events events of 30 days"
python3 bench/peers/table.py "$work"/*.json
