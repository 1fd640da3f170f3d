#!/bin/sh
# Compares this reader of fail2ban's filters with fail2ban: by hand, not in CI.
#
#   scripts/compare-fail2ban.sh                  replay the samples of Debian's package
#   scripts/compare-fail2ban.sh LOG FILTER…      and the programs on a log of yours
#   PACKAGE=FILE.deb scripts/compare-fail2ban.sh  the samples of another version
#
# The package is taken apart in a temporary folder; nothing is installed.
set -eu
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if [ -n "${PACKAGE:-}" ]; then
    dpkg -x "$PACKAGE" "$work/deb"
    package=$work/deb/usr/lib/python3/dist-packages/fail2ban
    cp -r "$work/deb/etc/fail2ban" "$work/config"
elif [ -d /usr/lib/python3/dist-packages/fail2ban/tests/files/logs ] && [ -d /etc/fail2ban/filter.d ]; then
    package=/usr/lib/python3/dist-packages/fail2ban
    cp -r /etc/fail2ban "$work/config"
else
    (cd "$work" && apt-get download -q fail2ban >/dev/null && dpkg -x fail2ban_*.deb deb)
    package=$work/deb/usr/lib/python3/dist-packages/fail2ban
    cp -r "$work/deb/etc/fail2ban" "$work/config"
fi
mkdir -p "$work/fail2ban/tests"
cp -r "$package/tests/config" "$work/fail2ban/tests/"
# The package's test filters include the common one by a path of its build.
sed -i 's#\(\.\./\)\{7\}#../../../../#' "$work"/fail2ban/tests/config/filter.d/zzz-*.conf
logs=$package/tests/files/logs
run="cargo run -q -p palisade-rules --example fail2ban_samples --"
$run "$work/config" "$logs"
$run "$work/fail2ban/tests/config" "$logs" zzz-generic-example zzz-sshd-obsolete-multiline
[ $# -ge 2 ] || exit 0
command -v fail2ban-regex >/dev/null || { echo "fail2ban-regex is not installed" >&2; exit 1; }
log=$1
shift
for filter in "$@"; do
    for form in '<ip> <time>' '<F-USER>'; do
        fail2ban-regex --usedns no --out "$form" "$log" "$filter" >"$work/theirs" || true
        cargo run -q -p palisade -- fail2ban-regex --usedns no --out "$form" "$log" "$filter" >"$work/ours" || true
        # Whole seconds are 1.0 there.
        sed -i 's/\.0$//' "$work/theirs" "$work/ours"
        same=$(wc -l <"$work/theirs")
        if cmp -s "$work/theirs" "$work/ours"; then
            echo "$filter, $form: all $same failures agree"
        else
            echo "$filter, $form: $(diff "$work/theirs" "$work/ours" | grep -c '^[<>]') lines of $same differ"
        fi
    done
done
