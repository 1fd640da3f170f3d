//! Networks that lie in each other, cut into pieces that do not: sets of
//! intervals take no overlaps, and joining a long ban of an address with a
//! short one of its network would ban the network for too long.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use palisade_event::{DecisionTarget, Timestamp};
use palisade_hub::Banned;

/// Addresses from the first to the last, banned until then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) first: IpAddr,
    pub(super) last: IpAddr,
    pub(super) until: Timestamp,
}

type Span = (u128, u128, Timestamp);

/// The pieces of IPv4 and of IPv6, each in order.
pub(super) fn pieces<'b>(bans: impl Iterator<Item = &'b Banned>) -> (Vec<Piece>, Vec<Piece>) {
    let (mut four, mut six) = (Vec::new(), Vec::new());
    for ban in bans {
        let (first, last) = match ban.target {
            DecisionTarget::Ip(address) => (address, address),
            DecisionTarget::Range(range) => (range.network(), range.broadcast()),
        };
        match (first, last) {
            (IpAddr::V4(first), IpAddr::V4(last)) => {
                four.push((first.to_bits().into(), last.to_bits().into(), ban.until));
            }
            (IpAddr::V6(first), IpAddr::V6(last)) => {
                six.push((first.to_bits(), last.to_bits(), ban.until));
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => {}
        }
    }
    let four_of = |bits: u128| IpAddr::V4(Ipv4Addr::from_bits(u32::try_from(bits).unwrap_or(0)));
    let six_of = |bits: u128| IpAddr::V6(Ipv6Addr::from_bits(bits));
    let named = |spans: Vec<Span>, name: &dyn Fn(u128) -> IpAddr| {
        let piece = |(first, last, until)| Piece { first: name(first), last: name(last), until };
        cut(spans).into_iter().map(piece).collect()
    };
    (named(four, &four_of), named(six, &six_of))
}

/// Networks either lie in each other or have nothing in common.
fn cut(mut spans: Vec<Span>) -> Vec<Span> {
    // Who holds others comes before them.
    spans.sort_unstable_by_key(|(first, last, _)| (*first, std::cmp::Reverse(*last)));
    let mut out: Vec<Span> = Vec::with_capacity(spans.len());
    // Networks around the place where we are: last address, longest ban so far.
    let mut around: Vec<(u128, Timestamp)> = Vec::new();
    // The first address that is in no piece yet.
    let mut next = 0;
    let mut emit = |first: u128, last: u128, until: Timestamp| {
        if first > last {
            return;
        }
        if let Some(before) = out.last_mut()
            && before.2 == until
            && before.1.checked_add(1) == Some(first)
        {
            before.1 = last;
            return;
        }
        out.push((first, last, until));
    };
    for (first, last, until) in spans {
        while let Some((end, longest)) = around.last().copied().filter(|(end, _)| *end < first) {
            emit(next, end, longest);
            next = end + 1;
            around.pop();
        }
        let outer = around.last().copied();
        if let Some((_, longest)) = outer
            && next < first
        {
            emit(next, first - 1, longest);
        }
        next = first;
        around.push((last, outer.map_or(until, |(_, longest)| longest.max(until))));
    }
    while let Some((end, longest)) = around.pop() {
        emit(next, end, longest);
        let Some(after) = end.checked_add(1) else { break };
        next = next.max(after);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::tests::ban;
    use super::*;

    fn shown(bans: &[(&str, i64)]) -> Vec<String> {
        let bans: Vec<Banned> =
            bans.iter().zip(1..).map(|((target, secs), id)| ban(id, target, *secs, "")).collect();
        let (four, six) = pieces(bans.iter());
        let from = bans[0].from.as_millis();
        let show = |piece: &Piece| {
            format!("{}-{} {}", piece.first, piece.last, (piece.until.as_millis() - from) / 1000)
        };
        four.iter().chain(&six).map(show).collect()
    }

    #[test]
    fn a_long_ban_inside_of_a_short_one_makes_neither_longer() {
        assert_eq!(
            shown(&[("192.0.2.7", 240), ("192.0.2.0/24", 60), ("192.0.3.1", 5)]),
            [
                "192.0.2.0-192.0.2.6 60",
                "192.0.2.7-192.0.2.7 240",
                "192.0.2.8-192.0.2.255 60",
                "192.0.3.1-192.0.3.1 5"
            ]
        );
    }

    #[test]
    fn what_lasts_shorter_inside_of_something_longer_is_no_piece() {
        assert_eq!(
            shown(&[("192.0.2.0/24", 60), ("192.0.2.0/25", 30), ("192.0.2.255", 60)]),
            ["192.0.2.0-192.0.2.255 60"]
        );
        assert_eq!(
            shown(&[("2001:db8::/32", 9), ("2001:db8:1::/48", 20), ("2001:db8:1::1", 30)]),
            [
                "2001:db8::-2001:db8:0:ffff:ffff:ffff:ffff:ffff 9",
                "2001:db8:1::-2001:db8:1:: 20",
                "2001:db8:1::1-2001:db8:1::1 30",
                "2001:db8:1::2-2001:db8:1:ffff:ffff:ffff:ffff:ffff 20",
                "2001:db8:2::-2001:db8:ffff:ffff:ffff:ffff:ffff:ffff 9",
            ]
        );
    }

    #[test]
    fn the_last_address_is_no_overflow() {
        let all = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
        let bans = [("ffff:ffff::/32", 9), (all, 20)];
        assert_eq!(shown(&bans)[1], format!("{all}-{all} 20"));
        assert_eq!(shown(&bans).len(), 2);
    }

    proptest::proptest! {
        #[test]
        fn every_address_is_banned_for_exactly_as_long_as_its_longest_ban(
            bans in proptest::collection::vec((0_u8..=255, 24_u8..=32, 1_i64..4), 1..20)
        ) {
            let texts: Vec<String> =
                bans.iter().map(|(host, length, _)| format!("192.0.2.{host}/{length}")).collect();
            let made: Vec<Banned> = texts
                .iter()
                .zip(&bans)
                .zip(1..)
                .map(|((text, (_, _, secs)), id)| ban(id, text, *secs, ""))
                .collect();
            let (four, _) = pieces(made.iter());
            for pair in four.windows(2) {
                proptest::prop_assert!(pair[0].last < pair[1].first);
            }
            for host in 0..=255_u8 {
                let address = IpAddr::from([192, 0, 2, host]);
                let longest = made
                    .iter()
                    .filter(|ban| ban.target.contains(address))
                    .map(|ban| ban.until)
                    .max();
                let piece = four.iter().find(|piece| piece.first <= address && address <= piece.last);
                proptest::prop_assert_eq!(piece.map(|piece| piece.until), longest);
            }
        }
    }
}
