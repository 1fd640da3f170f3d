#!/bin/sh
# Writes crates/cli/functions.order: the functions that processes use while they
# wait, then while they work, then at their start. The linker puts them together in
# that order, so that a process at rest has little code in memory.
#
# Runs the release binary under callgrind (Debian's package valgrind) for ten
# minutes: a hub, an agent that delivers to it, a scan, and for the honeypots, which
# are a process that cannot be run under it, samples of perf (package linux-perf).
# To be run again before a release; build again after it.
# usage: scripts/order-functions.sh [SECONDS OF REST]
set -eu
cd "$(dirname "$0")/.."
rest=${1:-240}
program=$PWD/target/release/palisade
bench=$PWD/target/release/palisade-bench
order=$PWD/crates/cli/functions.order
[ -x "$program" ] && [ -x "$bench" ] || { echo "build first: cargo build --release -p palisade -p palisade-bench" >&2; exit 1; }
for tool in valgrind callgrind_control nm; do
    command -v "$tool" >/dev/null || { echo "$tool is missing: install the packages valgrind and binutils" >&2; exit 1; }
done

home=$(mktemp -d)
pids=""
end() {
    for pid in $pids; do kill "$pid" 2>/dev/null || true; done
    rm -rf "$home"
}
trap end EXIT INT TERM
cd "$home"
cat > hub.toml <<'TOML'
data = "hub"
sensor = "hub"
[[api.listeners]]
address = "127.0.0.1:0"
tls = false
[[api.listeners]]
address = "127.0.0.1:0"
tls = true
TOML
cat > agent.toml <<TOML
data = "agent"
sensor = "agent"
[[agent.sources]]
type = "file"
path = "$home/auth.log"
parser = "sshd"
from = "start"
TOML
: > auth.log
: > hub.out
"$program" key add order --scope ingest --data hub 2>/dev/null | grep -o 'pal_[0-9a-z_]*' > key

# The agent starts itself again where this is not set, and callgrind would stay behind.
export MIMALLOC_PURGE_DELAY=0
traced="valgrind --quiet --tool=callgrind --demangle=no"
$traced --callgrind-out-file="$home/hub.calls" "$program" hub --config hub.toml > hub.out 2> hub.err &
hub=$!
pids=$hub
until grep -q '^ready' hub.out; do kill -0 "$hub" || { cat hub.err >&2; exit 1; }; sleep 1; done
key="--key-file key"
pin=$(sed -n 's/^certificate SHA-256 //p' hub.out)
# One on the defaults, and one that reads a file and delivers over TLS.
$traced --callgrind-out-file="$home/agent.calls" "$program" agent --data plain $key \
    --hub "$(grep -o 'http://[0-9.:]*' hub.out)" > plain.out 2> plain.err &
plain=$!
$traced --callgrind-out-file="$home/agent-tls.calls" "$program" agent --config agent.toml $key \
    --hub "$(grep -o 'https://[0-9.:]*' hub.out)" --pin "$pin" > agent.out 2> agent.err &
agent=$!
pids="$pids $plain $agent"
for folder in plain agent; do
    until [ -e $folder/agent/integrity.ndjson ]; do
        kill -0 "$plain" "$agent" || { cat plain.err agent.err >&2; exit 1; }
        sleep 1
    done
done
sleep 60
# What was counted until now is written, and counted anew.
next() { callgrind_control --dump="$1" "$hub" "$plain" "$agent" > control 2>&1 || { cat control >&2; exit 1; }; }
next start
echo "at rest for $rest s"
sleep "$rest"
next rest
awk 'BEGIN {
    for (n = 0; n < 20000; n++)
        printf "Nov 28 %02d:%02d:%02d web-1 sshd[%d]: Failed password for invalid user u%d from 198.51.%d.%d port %d ssh2\n",
            n / 3600, n / 60 % 60, n % 60, 1000 + n, n % 300, n % 7, n % 251, 1024 + n
}' > auth.lines
cat auth.lines >> auth.log
sleep 60
next work
$traced --callgrind-out-file="$home/scan.calls" "$program" scan --format json auth.lines > scan.out 2>&1
for pid in $pids; do
    kill "$pid"
    wait "$pid" || true
done
pids=""
perf record --quiet --event cpu-clock --freq 9999 --output zone.perf -- \
    "$bench" honeypot --logins 3000 --held 500 > bench.out 2>&1
perf script --input zone.perf --no-demangle --fields comm,sym 2> perf.err |
    awk '/^palisade-zone/ { print $2 }' | sort | uniq -c | sort -rn | awk '{ print $2 }' > zone.names

# The names of functions in what callgrind writes; recursions have a number.
names() {
    grep -ohE '^c?fn=\([0-9]+\) .+' "$@" | sed -E "s/^c?fn=\([0-9]+\) //; s/'[0-9]+\$//"
}
nm "$program" | awk '$2 ~ /^[tTwW]$/ { print $3 }' | sort -u > known
{
    names agent.calls.2 agent-tls.calls.2
    names agent.calls.3 agent-tls.calls.3 scan.calls
    cat zone.names
    names hub.calls.2 hub.calls.3
    names agent.calls.1 agent-tls.calls.1 hub.calls.1
} | awk 'NR == FNR { known[$1] = 1; next } known[$1] && !seen[$1]++' known - > names
[ "$(wc -l < names)" -gt 3000 ] || { echo "only $(wc -l < names) functions were seen" >&2; exit 1; }
cp names "$order"
echo "$(wc -l < names) functions in $order"
