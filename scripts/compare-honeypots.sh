#!/bin/sh
# Our honeypots beside Cowrie, OpenCanary and Heralding, one after the other with
# the same client and settings as alike as they have them: logins and requests a
# second with the processor time of each, memory at rest and of idle connections.
# Ends with one table of all.
#
# usage: scripts/compare-honeypots.sh [LOGINS [HELD [PEER...]]]
#        peers are palisade, cowrie, opencanary, heralding; all of them if none is named
#
# The others are installed from PyPI into a temporary folder, with pip as it is set
# up here (Cowrie and OpenCanary: BSD-3-Clause, Heralding: GPL-3.0); they are only
# run, nothing of them becomes part of Palisade. Needs root, since they do not run
# as root and the script becomes nobody for them. Heralding 1.0.7 does not start on
# Python 3.10 and later: it gets a root of Debian 11, made by debootstrap from
# MIRROR, by default http://deb.debian.org/debian.
set -eu
cd "$(dirname "$0")/.."
logins=${1:-2000}
held=${2:-10000}
[ $# -lt 2 ] || shift
[ $# -lt 1 ] || shift
peers=${*:-palisade cowrie opencanary heralding}
mirror=${MIRROR:-http://deb.debian.org/debian}
bench=$PWD/target/release/palisade-bench
[ -x "$bench" ] || { echo "build first: cargo build --release -p palisade -p palisade-bench" >&2; exit 1; }
[ "$(id -u)" = 0 ] || { echo "this needs root, to become nobody" >&2; exit 1; }
# Thousands of connections, for the others too.
ulimit -n "$(ulimit -H -n)"

# Where nobody can read them.
home=$(mktemp -d /tmp/palisade-honeypots.XXXXXX)
chmod 755 "$home"
record=$home/record
: > "$record"
pid=""
client=""
stop() {
    [ -n "$pid" ] || return 0
    kill "$pid" 2>/dev/null || true
    for _ in $(seq 40); do
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.25
    done
    kill -9 "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
    pid=""
}
end() {
    if [ -n "$client" ]; then
        # With the honeypots of ours that it has started.
        kill $(ps -o pid= --ppid "$client") "$client" 2>/dev/null || true
    fi
    stop
    cd /
    rm -rf --one-file-system "$home"
}
trap end EXIT
trap 'exit 130' INT TERM

nobody="setpriv --reuid 65534 --regid 65534 --clear-groups env -i HOME=$home LC_ALL=C.UTF-8"
# Installs a package of PyPI into an environment of its own.
install() {
    /usr/bin/python3 -m venv "$home/$1" && "$home/$1/bin/pip" install -qq "$1" || return 1
    echo "$("$home/$1/bin/pip" list --format=freeze 2>/dev/null | grep -i "^$1="), $(/usr/bin/python3 -V)"
}
# Waits until somebody listens on all of some ports.
listens() {
    for port; do
        tries=0
        until ss -ltnH "sport = :$port" | grep -q .; do
            tries=$((tries + 1))
            [ $tries -lt 240 ] || { echo "nobody listens on port $port" >&2; return 1; }
            sleep 0.5
        done
    done
}

start_cowrie() {
    cd "$home/c"
    $nobody PATH="$home/cowrie/bin:/usr/bin:/bin" cowrie start > out 2>&1 || { cat out; return 1; }
    listens 2222 2223
    pid=$(cat var/run/cowrie.pid)
}
install_cowrie() {
    install cowrie || return 1
    mkdir "$home/c" && chown 65534:65534 "$home/c" && cd "$home/c"
    $nobody PATH="$home/cowrie/bin:/usr/bin:/bin" cowrie init >/dev/null || return 1
    printf '\n[telnet]\nenabled = true\nlisten_endpoints = tcp:2223:interface=127.0.0.1\n[ssh]\nlisten_endpoints = tcp:2222:interface=127.0.0.1\n' > etc/cowrie.cfg
    # Nobody is let in; a wrong password is what is measured.
    printf 'nobody-has-this-name:x:neither\n' > etc/userdb.txt
}

start_opencanary() {
    cd "$home/o"
    $nobody PATH="/usr/bin:/bin" "$home/opencanary/bin/twistd" -noy "$home/opencanary/bin/opencanary.tac" > out 2>&1 &
    pid=$!
    listens 2321 2322 2324 2380 || { tail -20 out; return 1; }
}
install_opencanary() {
    install opencanary || return 1
    mkdir "$home/o" && chown 65534:65534 "$home/o"
    # Its telnet takes 64 connections where nothing else is said.
    cat > "$home/o/opencanary.conf" <<CONF
{
  "device.node_id": "bench", "device.listen_addr": "127.0.0.1",
  "ssh.enabled": true, "ssh.port": 2322, "ssh.version": "SSH-2.0-OpenSSH_5.1p1 Debian-4", "ssh.key_path": "$home/o",
  "telnet.enabled": true, "telnet.port": 2324, "telnet.banner": "", "telnet.max_connections": 20000,
  "http.enabled": true, "http.port": 2380, "http.banner": "Apache/2.2.22 (Ubuntu)", "http.skin": "basicLogin",
  "ftp.enabled": true, "ftp.port": 2321, "ftp.banner": "FTP server ready",
  "logger": {"class": "PyLogger", "kwargs": {"handlers": {"file": {"class": "logging.FileHandler", "filename": "log"}}}}
}
CONF
}

start_heralding() {
    # Its SSH does not share a port with connections that are not quite over.
    for _ in $(seq 130); do
        ss -tanH "sport = :2422" | grep -q . || break
        sleep 1
    done
    chroot --userspec=65534:65534 --groups= "$home/root" /usr/bin/env -i HOME=/h PATH=/usr/bin:/bin LC_ALL=C.UTF-8 \
        sh -c 'cd /h && exec /heralding/bin/heralding -c heralding.yml -l log' > "$home/out" 2>&1 &
    pid=$!
    listens 2421 2422 2424 2480 || { tail -20 "$home/out"; return 1; }
}
install_heralding() {
    command -v debootstrap >/dev/null || { echo "debootstrap is missing"; return 1; }
    root=$home/root
    # psycopg2 has no wheel for it and would want a compiler.
    debootstrap --variant=minbase --include=python3-venv,python3-psycopg2,ca-certificates bullseye "$root" "$mirror" > "$home/debootstrap" 2>&1 \
        || { tail -5 "$home/debootstrap"; return 1; }
    # pip as it is here.
    for file in /etc/resolv.conf /etc/hosts /etc/pip.conf /etc/ssl/certs/ca-certificates.crt "${HOME:-/root}/.config/pip/pip.conf"; do
        [ ! -e "$file" ] || { mkdir -p "$root$(dirname "$file")" && cp -L "$file" "$root$file"; } || return 1
    done
    chroot "$root" python3 -m venv --system-site-packages /heralding || return 1
    # Its setup.py knows nothing newer.
    chroot "$root" /heralding/bin/pip install -qq 'setuptools<58' wheel || return 1
    chroot "$root" /heralding/bin/pip install -qq --no-build-isolation heralding==1.0.7 || return 1
    echo "heralding==1.0.7, $(chroot "$root" python3 -V)"
    mkdir "$root/h" && chown 65534:65534 "$root/h"
    cat > "$root/h/heralding.yml" <<'CONF'
public_ip_as_destination_ip: false
bind_host: 127.0.0.1
activity_logging:
  file:
    enabled: true
    session_csv_log_file: "log_session.csv"
    session_json_log_file: "log_session.json"
    authentication_log_file: "log_auth.csv"
  syslog: {enabled: false}
  hpfeeds: {enabled: false}
  curiosum: {enabled: false}
hash_cracker: {enabled: false}
capabilities:
  ssh: {enabled: true, port: 2422, timeout: 30, protocol_specific_data: {banner: "SSH-2.0-OpenSSH_6.6.1p1 Ubuntu-2ubuntu2.8"}}
  telnet: {enabled: true, port: 2424, timeout: 30, protocol_specific_data: {max_attempts: 3}}
  http: {enabled: true, port: 2480, timeout: 30, protocol_specific_data: {banner: ""}}
  ftp: {enabled: true, port: 2421, timeout: 30, protocol_specific_data: {max_attempts: 3, banner: "Microsoft FTP Server", syst_type: "Windows-NT"}}
CONF
}

# Runs the client, in the background, so that a signal ends it too. Where it fails
# the rest goes on.
measure() {
    cd "$home"
    "$bench" honeypot --record "$record" --idle --logins "$logins" --held "$held" "$@" &
    client=$!
    wait "$client" || echo "the client failed"
    client=""
}
# Another one: what it is called, how it starts, the page to ask for, and where it
# listens. It is started anew for each: memory that was used once stays, and so do
# sessions that nobody ends.
another() {
    name=$1 start=start_$2 install=install_$2 page=$3
    shift 3
    echo "== $name, load $(cut -d ' ' -f 1-3 /proc/loadavg)"
    "$install" || { echo "$name cannot be installed"; return 0; }
    for target; do
        for part in rates held; do
            "$start" || { echo "$name does not start"; stop; return 0; }
            measure --peer "$name" --part $part --path "$page" --target "$target" --pid "$pid"
            stop
        done
    done
}
another_cowrie() { another Cowrie cowrie / ssh=127.0.0.1:2222 telnet=127.0.0.1:2223; }
another_opencanary() { another OpenCanary opencanary /index.html ssh=127.0.0.1:2322 telnet=127.0.0.1:2324 http=127.0.0.1:2380 ftp=127.0.0.1:2321; }
another_heralding() { another Heralding heralding / ssh=127.0.0.1:2422 telnet=127.0.0.1:2424 http=127.0.0.1:2480 ftp=127.0.0.1:2421; }
another_palisade() {
    echo "== Palisade, load $(cut -d ' ' -f 1-3 /proc/loadavg)"
    measure --part rates
    measure --part held
}

for peer in $peers; do
    case $peer in
        palisade | cowrie | opencanary | heralding) "another_$peer" ;;
        *) echo "no peer is called $peer" >&2; exit 2 ;;
    esac
done

echo
echo "$(date -u +%Y-%m-%d), $(nproc) cores of $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1), $logins logins a row, load at the end $(cut -d ' ' -f 1-3 /proc/loadavg)"
echo "logins: a second, processor time each (of ours also the agent's); held: memory of the process, kB of it each"
awk -F '\t' '
    !($1 in seen) { seen[$1]; peers[++columns] = $1 }
    !($2 in known) { known[$2]; rows[++lines] = $2 }
    # The first of those at rest.
    !(($2, $1) in value) { value[$2, $1] = $3 }
    END {
        line = "| row |"; rule = "|---|"
        for (c = 1; c <= columns; c++) { line = line " " peers[c] " |"; rule = rule "---|" }
        print line; print rule
        for (r = 1; r <= lines; r++) {
            line = "| " rows[r] " |"
            for (c = 1; c <= columns; c++) line = line " " ((rows[r], peers[c]) in value ? value[rows[r], peers[c]] : "–") " |"
            print line
        }
    }' "$record"
