#!/bin/sh
# Our honeypots beside Cowrie and OpenCanary under the same load, one after the
# other: logins a second, processor time of each, memory of held connections.
#
# Installs both from PyPI into target/honeypots (Cowrie: BSD-3-Clause, OpenCanary:
# BSD-3-Clause); nothing of them becomes part of Palisade. Needs root, since
# neither runs as root and the script becomes nobody for them. Heralding 1.0.7 is
# not here: it does not start on Python 3.10 and later.
# usage: scripts/compare-honeypots.sh [LOGINS [HELD]]
set -eu
cd "$(dirname "$0")/.."
logins=${1:-2000}
held=${2:-1000}
bench=$PWD/target/release/palisade-bench
[ -x "$bench" ] || { echo "build first: cargo build --release -p palisade -p palisade-bench" >&2; exit 1; }
[ "$(id -u)" = 0 ] || { echo "this needs root, to become nobody" >&2; exit 1; }

# Where nobody can read them.
home=$(mktemp -d /tmp/palisade-honeypots.XXXXXX)
chmod 755 "$home"
pid=""
end() {
    [ -z "$pid" ] || kill "$pid" 2>/dev/null || true
    rm -rf "$home"
}
trap end EXIT INT TERM
nobody="setpriv --reuid 65534 --regid 65534 --clear-groups env -i HOME=$home PATH=$home/cowrie/bin:/usr/bin:/bin"
install() {
    /usr/bin/python3 -m venv "$home/$1"
    "$home/$1/bin/pip" install -q "$1"
}
# Waits until somebody listens.
listens() {
    for _ in $(seq 120); do
        ss -ltn | grep -q ":$1 " && return 0
        sleep 0.5
    done
    echo "nobody listens on port $1" >&2
    return 1
}

echo "== Palisade"
"$bench" honeypot --logins "$logins" --held "$held"

echo "== Cowrie"
install cowrie
mkdir "$home/c" && chown 65534:65534 "$home/c" && cd "$home/c"
$nobody cowrie init >/dev/null
printf '\n[telnet]\nenabled = true\nlisten_endpoints = tcp:2223:interface=127.0.0.1\n[ssh]\nlisten_endpoints = tcp:2222:interface=127.0.0.1\n' > etc/cowrie.cfg
# Nobody is let in; a wrong password is what is measured.
printf 'nobody-has-this-name:x:neither\n' > etc/userdb.txt
$nobody cowrie start >/dev/null 2>&1
listens 2222
listens 2223
pid=$(cat var/run/cowrie.pid)
"$bench" honeypot --target ssh=127.0.0.1:2222 --target telnet=127.0.0.1:2223 --pid "$pid" --logins "$logins" --held "$held"
kill "$pid"
pid=""

echo "== OpenCanary"
install opencanary
mkdir "$home/o" && chown 65534:65534 "$home/o" && cd "$home/o"
cat > opencanary.conf <<'CONF'
{
  "device.node_id": "bench", "device.listen_addr": "127.0.0.1",
  "ssh.enabled": true, "ssh.port": 2322, "ssh.version": "SSH-2.0-OpenSSH_5.1p1 Debian-4",
  "telnet.enabled": true, "telnet.port": 2324, "telnet.banner": "",
  "http.enabled": true, "http.port": 2380, "http.banner": "Apache/2.2.22 (Ubuntu)", "http.skin": "basicLogin",
  "logger": {"class": "PyLogger", "kwargs": {"handlers": {"file": {"class": "logging.FileHandler", "filename": "log"}}}}
}
CONF
$nobody "$home/opencanary/bin/twistd" -noy "$home/opencanary/bin/opencanary.tac" > out 2>&1 &
pid=$!
listens 2322
listens 2380
"$bench" honeypot --target ssh=127.0.0.1:2322 --target telnet=127.0.0.1:2324 --target http=127.0.0.1:2380 --pid "$pid" --logins "$logins" --held "$held"
