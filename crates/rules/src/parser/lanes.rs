//! Sixteen bytes of a line at once, as a number of which the first byte is the
//! lowest: looks that take the same time wherever in them something stands.
//!
//! The lengths of addresses, ports and process ids differ from line to line. A
//! loop over their bytes ends where the processor did not expect it, which costs
//! more than all that is done here.

use std::net::Ipv4Addr;

use wide::u8x16;

/// Bytes that are looked at together.
pub(super) const LANES: usize = 16;

/// The first bytes of a text; `None` where it is shorter.
#[inline]
pub(super) fn first(text: &[u8]) -> Option<u128> {
    text.first_chunk::<LANES>().map(|bytes| u128::from_le_bytes(*bytes))
}

/// The last bytes of a text; `None` where it is shorter.
#[inline]
pub(super) fn last(text: &[u8]) -> Option<u128> {
    text.last_chunk::<LANES>().map(|bytes| u128::from_le_bytes(*bytes))
}

#[inline]
fn bytes(lanes: u128) -> u8x16 {
    u8x16::new(lanes.to_le_bytes())
}

/// A bit for each byte that is this one.
#[inline]
fn is(lanes: u128, byte: u8) -> u32 {
    bytes(lanes).simd_eq(u8x16::splat(byte)).to_bitmask()
}

/// A bit for each byte that is a decimal digit.
#[inline]
fn is_digit(lanes: u128) -> u32 {
    let number = bytes(lanes) - u8x16::splat(b'0');
    // What is not above nine is its own minimum with it.
    number.min(u8x16::splat(9)).simd_eq(number).to_bitmask()
}

/// A bit above those of all bytes.
const END: u32 = 1 << LANES;

/// How many bytes come before the first one that is this; 16 where none is.
#[inline]
pub(super) fn before(lanes: u128, byte: u8) -> u32 {
    (is(lanes, byte) | END).trailing_zeros()
}

/// How many bytes come after the last one that is this; 16 where none is.
#[inline]
pub(super) fn after(lanes: u128, byte: u8) -> u32 {
    // The bit below those of all bytes stands for none.
    (is(lanes, byte) << 16 | 1 << 15).leading_zeros()
}

/// The place of the first byte of a text that is one of three, where it is one of
/// the first 16.
#[inline]
pub(super) fn first_of(lanes: u128, [a, b, c]: [u8; 3]) -> Option<usize> {
    let found = is(lanes, a) | is(lanes, b) | is(lanes, c);
    (found != 0).then(|| found.trailing_zeros() as usize)
}

/// The number of a port at the beginning, of one to five digits, and how many.
#[inline]
pub(super) fn port_first(lanes: u128) -> Option<(u16, usize)> {
    let digits = (!is_digit(lanes)).trailing_zeros();
    let five = (lanes as u64).checked_shl(8 * 5u32.checked_sub(digits)?)?;
    port(five, digits)
}

/// The number of a port at the end, of one to five digits, and how many.
#[inline]
pub(super) fn port_last(lanes: u128) -> Option<(u16, usize)> {
    let digits = (!is_digit(lanes) << 16 | 1 << 15).leading_zeros();
    port((lanes >> (8 * (LANES - 5))) as u64, digits)
}

/// The last so many of five digits as a number.
#[inline]
fn port(five: u64, digits: u32) -> Option<(u16, usize)> {
    if !(1..=5).contains(&digits) {
        return None;
    }
    let five = five >> (8 * (5 - digits)) << (8 * (5 - digits));
    let digit = |place: u32| (five >> (8 * place)) as u32 & 15;
    let number = digit(0) * 10_000 + digit(1) * 1000 + digit(2) * 100 + digit(3) * 10 + digit(4);
    Some((u16::try_from(number).ok()?, digits as usize))
}

/// The address that the first bytes are, so many and up to 15, in dotted decimal
/// without leading zeros.
#[inline]
pub(super) fn ipv4(lanes: u128, length: u32) -> Option<Ipv4Addr> {
    let all = END.checked_shr(16u32.checked_sub(length)?)? - 1;
    let dots = is(lanes, b'.') & all;
    let (later, last) = (dots & dots.wrapping_sub(1), dots.checked_ilog2()?);
    let third = 1 << last;
    // Three dots, and digits.
    if later & later.wrapping_sub(1) != third || (dots | is_digit(lanes)) & all != all {
        return None;
    }
    let (first, second) = (dots.trailing_zeros(), later.trailing_zeros());
    // Two numbers with their dots have eight bytes at most.
    let (near, far) = (lanes as u64, (lanes >> (8 * (second + 1))) as u64);
    let (x, dx) = octet(near, first);
    let (y, dy) = octet(near.wrapping_shr(8 * (first + 1)), second - first - 1);
    let (z, dz) = octet(far, last - second - 1);
    let (w, dw) = octet(far.wrapping_shr(8 * (last - second)), length - last - 1);
    let is_right = dx & dy & dz & dw;
    is_right.then(|| Ipv4Addr::new(x, y, z, w))
}

/// The number of one to three digits, up to 255 and without a zero in front, that
/// the first bytes are, and whether it is one.
#[inline]
fn octet(text: u64, digits: u32) -> (u8, bool) {
    // The last digit becomes the highest of four bytes.
    let shifted = (text as u32).wrapping_shl(32u32.wrapping_sub(8 * digits));
    let number = (shifted >> 8 & 15) * 100 + (shifted >> 16 & 15) * 10 + (shifted >> 24 & 15);
    let begins = digits == 1 || text & 15 != 0;
    (number as u8, digits.wrapping_sub(1) < 3 && begins && number <= 255)
}

/// The address that the last bytes are, so many and up to 15.
#[inline]
pub(super) fn ipv4_last(lanes: u128, length: u32) -> Option<Ipv4Addr> {
    ipv4(lanes.checked_shr(8 * (LANES as u32).checked_sub(length)?)?, length)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::parser::peer;

    /// A text with other bytes after it.
    fn begins(text: &[u8], filling: &[u8]) -> u128 {
        let bytes: Vec<u8> = text.iter().chain(filling.iter().cycle()).take(16).copied().collect();
        first(&bytes).unwrap()
    }

    /// A text with other bytes before it.
    fn ends(text: &[u8], filling: &[u8]) -> u128 {
        let bytes: Vec<u8> = filling.iter().cycle().take(16).chain(text).copied().collect();
        last(&bytes).unwrap()
    }

    #[test]
    fn addresses_of_every_length_are_read_and_others_are_not() {
        for text in [
            "1.2.3.4",
            "0.0.0.0",
            "255.255.255.255",
            "10.20.30.40",
            "192.0.2.255",
            "9.99.199.249",
            "01.2.3.4",
            "1.2.3.00",
            "256.1.1.1",
            "1.1.1.300",
            "1.2.3",
            "1.2.3.4.5",
            "1..2.3",
            ".1.2.3",
            "1.2.3.",
            "1.2.3.x",
            "1234.1.1.1",
            "1.2.3.\u{b4}",
            "",
            "...",
            "1.2.3.4444",
        ] {
            let lanes = begins(text.as_bytes(), b" 1.");
            assert_eq!(ipv4(lanes, text.len() as u32), peer::ipv4(text.as_bytes()), "{text}");
            let lanes = ends(text.as_bytes(), b"1. ");
            assert_eq!(ipv4_last(lanes, text.len() as u32), peer::ipv4(text.as_bytes()), "{text}");
        }
        assert_eq!(ipv4(begins(b"1.2.3.4", b"5"), 16), None);
        assert_eq!(ipv4(begins(b"1.2.3.4", b"5"), 17), None);
        assert_eq!(ipv4_last(0, 17), None);
    }

    #[test]
    fn ports_have_one_to_five_digits() {
        for (text, port) in [
            ("0", Some(0)),
            ("7", Some(7)),
            ("22", Some(22)),
            ("00022", Some(22)),
            ("65535", Some(65535)),
            ("65536", None),
            ("99999", None),
            ("123456", None),
            ("", None),
        ] {
            let expected = port.map(|port| (port, text.len()));
            assert_eq!(port_first(begins(text.as_bytes(), b": ")), expected, "{text}");
            assert_eq!(port_last(ends(text.as_bytes(), b" :")), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_found_is_what_a_loop_finds(
            bytes in proptest::collection::vec(prop_oneof![any::<u8>(), 0x2eu8..0x3b, Just(b' ')], 16),
            text in r"[0-9.]{0,15}|[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}",
        ) {
            let lanes = first(&bytes).unwrap();
            let bit = |is: &dyn Fn(&u8) -> bool| {
                bytes.iter().rev().fold(0, |all, byte| all << 1 | u32::from(is(byte)))
            };
            for byte in [bytes[7], bytes[15], b' ', b'.', 0, 0xff] {
                prop_assert_eq!(is(lanes, byte), bit(&|b| *b == byte));
            }
            prop_assert_eq!(is_digit(lanes), bit(&u8::is_ascii_digit));
            let place = |byte| bytes.iter().position(|b| *b == byte);
            prop_assert_eq!(before(lanes, b' ') as usize, place(b' ').unwrap_or(16));
            let back = bytes.iter().rev().position(|b| *b == b' ');
            prop_assert_eq!(after(lanes, b' ') as usize, back.unwrap_or(16));
            let any = bytes.iter().position(|b| matches!(b, b'0' | b':' | b' '));
            prop_assert_eq!(first_of(lanes, *b"0: "), any);
            let digits = bytes.iter().take_while(|b| b.is_ascii_digit()).count();
            let number = std::str::from_utf8(&bytes[..digits]).unwrap().parse::<u16>().ok();
            let expected = number.filter(|_| digits <= 5).map(|number| (number, digits));
            prop_assert_eq!(port_first(lanes), expected);
            let lanes = begins(text.as_bytes(), &bytes);
            prop_assert_eq!(ipv4(lanes, text.len() as u32), peer::ipv4(text.as_bytes()));
            let lanes = ends(text.as_bytes(), &bytes);
            prop_assert_eq!(ipv4_last(lanes, text.len() as u32), peer::ipv4(text.as_bytes()));
        }
    }
}
