#!/bin/sh
# Installs the real clients that the tests drive, where they are missing:
# telnet, curl, nmap, OpenSSH, logger, rsyslogd, journald, nftables, ipset, ufw, faketime, p0f, nginx, clients of Redis, memcached, MQTT and SIP, CrowdSec's bouncers, and Chromium for the page;
# for plug-ins mariadb, ldapsearch, smbclient, adb, mbpoll, vncsnapshot, xfreerdp with a display (Xvfb) and PyMongo (a client that is missing skips its test). Also servers that the
# tests start themselves: PostgreSQL, ClickHouse, ZooKeeper; and hpfeeds of PyPI,
# client and broker, into target/hpfeeds; stix2 and pymisp, which read block lists, into target/feeds. With PALISADE_TEST_CHDB=1 also
# chdb, a current ClickHouse (555 MB), into target/chdb; with PALISADE_TEST_S3=1
# moto, an S3 server, into target/moto.
set -eu
want=""
need() { command -v "$1" >/dev/null 2>&1 || want="$want $2"; }
need telnet telnet
need curl curl
need nmap nmap
need hydra hydra
need nc netcat-openbsd
need pgrep procps
need ssh openssh-client
need sshd openssh-server
need chromium chromium
need openssl openssl
need logger bsdutils
# Its daemon is in no PATH of users.
[ -x /usr/lib/systemd/systemd-journald ] || want="$want systemd"
[ -x /usr/sbin/rsyslogd ] || want="$want rsyslog"
need setpriv util-linux
need ip iproute2
need nft nftables
need iptables iptables
need ipset ipset
need nginx nginx
need ufw ufw
need faketime faketime
need redis-cli redis-tools
need mosquitto_pub mosquitto-clients
need memcstat libmemcached-tools
need sipsak sipsak
# In no PATH of users; the tests compare with it.
[ -x /usr/sbin/p0f ] || need p0f p0f
need crowdsec-firewall-bouncer crowdsec-firewall-bouncer
need crowdsec-custom-bouncer crowdsec-custom-bouncer
need mariadb mariadb-client-core
need ldapsearch ldap-utils
need smbclient smbclient
need adb adb
need mbpoll mbpoll
need vncsnapshot vncsnapshot
need xfreerdp freerdp2-x11
need Xvfb xvfb
need xauth xauth
/usr/bin/python3 -c 'import pymongo' >/dev/null 2>&1 || want="$want python3-pymongo"
need clickhouse-server clickhouse-server
need clickhouse-client clickhouse-client
[ -x /usr/sbin/clickhouse-server ] && want=$(echo "$want" | sed 's/ clickhouse-server//')
need python3 python3
python3 -c 'import ensurepip' >/dev/null 2>&1 || want="$want python3-venv"
# Its programs are in no PATH. A cluster that Debian makes is left alone.
[ -f /usr/share/java/zookeeper.jar ] || want="$want zookeeper"
ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || want="$want postgresql"
[ -x /usr/sbin/sshd ] && want=$(echo "$want" | sed 's/ openssh-server//')
if [ "${PALISADE_TEST_CHDB:-}" = 1 ] && ! [ -x target/chdb/bin/python ]; then
    echo "palisade: installing chdb into target/chdb"
    python3 -m venv target/chdb
    target/chdb/bin/pip install -q chdb
fi
if [ "${PALISADE_TEST_S3:-}" = 1 ] && ! [ -x target/moto/bin/moto_server ]; then
    echo "palisade: installing moto into target/moto"
    python3 -m venv target/moto
    target/moto/bin/pip install -q 'moto[server,s3]'
fi
hpfeeds() {
    [ -x target/hpfeeds/bin/hpfeeds-broker ] && return
    echo "palisade: installing hpfeeds into target/hpfeeds"
    python3 -m venv target/hpfeeds
    target/hpfeeds/bin/pip install -q 'hpfeeds[broker]==3.1.0'
}
feeds() {
    [ -x target/feeds/bin/python ] && return
    echo "palisade: installing stix2 and pymisp into target/feeds"
    python3 -m venv target/feeds
    target/feeds/bin/pip install -q 'stix2==3.0.2' 'stix2-patterns==2.1.2' 'pymisp==2.5.34.4'
}
[ -z "$want" ] && { hpfeeds; feeds; exit 0; }
if ! command -v apt-get >/dev/null 2>&1; then
    echo "palisade: install these for the tests:$want" >&2
    exit 1
fi
sudo=""
[ "$(id -u)" -eq 0 ] || sudo="sudo"
echo "palisade: installing for the tests:$want"
# shellcheck disable=SC2086
{
    $sudo apt-get update -q >/dev/null
    # Their services stay off: invoke-rc.d starts nothing in runlevel 1.
    $sudo env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 SYSTEMD_OFFLINE=1 apt-get install -y -q --no-install-recommends $want >/dev/null
}
hpfeeds
feeds
