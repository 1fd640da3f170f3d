//! Files for firewalls: `nft -f` and `ipset restore`. Both replace what the
//! last file brought at once: no packet passes between.

use std::io::Write as _;
use std::net::IpAddr;

use palisade_event::Timestamp;
use palisade_hub::Banned;

use super::pieces::{Piece, pieces};

/// Longest time of an element of ipset, in seconds: its timer has no more.
const MAX_IPSET_SECS: u64 = 2_147_483;
/// Elements that a set of ipset may have; all hub's bans fit in. A set keeps
/// this number for life.
const MAX_IPSET_ELEMENTS: u32 = 262_144;
/// Elements of one line.
const ELEMENTS: usize = 500;

/// Seconds that are left, at least one.
fn left(until: Timestamp, now: Timestamp) -> u64 {
    let millis = until.as_millis().saturating_sub(now.as_millis());
    u64::try_from(millis).unwrap_or(0).div_ceil(1000).max(1)
}

/// One transaction: the table `inet palisade_blocklist`, made where it is not
/// there, with its sets filled anew. Other chains in it stay.
pub(super) fn nft<'b>(out: &mut Vec<u8>, bans: impl Iterator<Item = &'b Banned>, now: Timestamp) {
    out.extend(
        b"#!/usr/sbin/nft -f
add table inet palisade_blocklist
add set inet palisade_blocklist banned4 { type ipv4_addr; flags interval, timeout; }
add set inet palisade_blocklist banned6 { type ipv6_addr; flags interval, timeout; }
add chain inet palisade_blocklist prerouting { type filter hook prerouting priority -150; policy accept; }
flush chain inet palisade_blocklist prerouting
add rule inet palisade_blocklist prerouting ip saddr @banned4 counter drop
add rule inet palisade_blocklist prerouting ip6 saddr @banned6 counter drop
flush set inet palisade_blocklist banned4
flush set inet palisade_blocklist banned6
",
    );
    let (four, six) = pieces(bans);
    for (set, pieces) in [("banned4", four), ("banned6", six)] {
        for some in pieces.chunks(ELEMENTS) {
            // Writing to memory cannot fail.
            let _ = write!(out, "add element inet palisade_blocklist {set} {{ ");
            for (place, Piece { first, last, until }) in some.iter().enumerate() {
                out.extend(if place == 0 { &b""[..] } else { b", " });
                let _ = match first == last {
                    true => write!(out, "{first}"),
                    false => write!(out, "{first}-{last}"),
                };
                let _ = write!(out, " timeout {}s", left(*until, now));
            }
            out.extend(b" }\n");
        }
    }
}

/// Fills sets beside `palisade-list4` and `palisade-list6` and swaps them.
pub(super) fn ipset<'b>(out: &mut Vec<u8>, bans: impl Iterator<Item = &'b Banned>, now: Timestamp) {
    let sets = [("palisade-list4", "inet"), ("palisade-list6", "inet6")];
    for (set, family) in sets {
        for name in [set.to_owned(), format!("{set}-new")] {
            let _ = writeln!(
                out,
                "create {name} hash:net family {family} hashsize 4096 maxelem \
                 {MAX_IPSET_ELEMENTS} timeout 0 -exist"
            );
        }
        let _ = writeln!(out, "flush {set}-new");
    }
    for ban in bans {
        let set = match ban.target.bounds().0.to_ipv4_mapped().map(IpAddr::V4) {
            Some(_) => "palisade-list4",
            None => "palisade-list6",
        };
        let secs = left(ban.until, now).min(MAX_IPSET_SECS);
        let _ = writeln!(out, "add {set}-new {} timeout {secs} -exist", ban.target);
    }
    for (set, _) in sets {
        let _ = writeln!(out, "swap {set}-new {set}\ndestroy {set}-new");
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{ban, frame};
    use super::super::*;

    fn text(format: Format, bans: &[Banned]) -> String {
        String::from_utf8(format.write(bans.iter(), &frame())).unwrap()
    }

    #[test]
    fn nft_gets_elements_with_the_time_that_is_left() {
        let bans = [
            ban(1, "192.0.2.0/24", 60, ""),
            ban(2, "192.0.2.255", 90, ""),
            ban(3, "2001:db8::1", 60, ""),
        ];
        let text = text(Format::Nft, &bans);
        assert!(
            text.contains(
                "banned4 { 192.0.2.0-192.0.2.254 timeout 60s, 192.0.2.255 timeout 90s }\n"
            )
        );
        assert!(text.ends_with("banned6 { 2001:db8::1 timeout 60s }\n"), "{text}");
    }

    #[test]
    fn ipset_takes_networks_in_each_other_and_no_more_than_its_timer() {
        let bans = [
            ban(1, "192.0.2.0/24", 60, ""),
            ban(2, "192.0.2.255", 40_000_000, ""),
            ban(3, "2001:db8::1", 60, ""),
        ];
        let text = text(Format::Ipset, &bans);
        for line in [
            "add palisade-list4-new 192.0.2.0/24 timeout 60 -exist\n",
            "add palisade-list4-new 192.0.2.255 timeout 2147483 -exist\n",
            "add palisade-list6-new 2001:db8::1 timeout 60 -exist\n",
            "swap palisade-list6-new palisade-list6\ndestroy palisade-list6-new\n",
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
    }
}
