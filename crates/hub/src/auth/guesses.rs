//! How many tokens one address may have tried: a bucket that fills up slowly.
//!
//! Unlike [`super::throttle`] nothing gets worse with time, as behind one
//! address there may be a hundred sensors with the right token beside one with
//! a wrong one. Only what costs a hash is counted, which is what is neither
//! known to be right nor known to be wrong.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Guesses that an address has at once.
const BURST: f64 = 30.0;
/// Guesses that it regains a second.
const PER_SEC: f64 = 1.0;
/// Addresses that are remembered; when there are more, those that have
/// recovered are forgotten, then all.
const MAX_ADDRESSES: usize = 16_384;

/// Guesses of late, by address.
#[derive(Debug, Default)]
pub(super) struct Guesses {
    left: Mutex<HashMap<Option<IpAddr>, (f64, Instant)>>,
}

impl Guesses {
    /// Takes one. Returns whether there was one.
    pub(super) fn take(&self, from: Option<IpAddr>, now: Instant) -> bool {
        let refilled = |&(left, at): &(f64, Instant)| {
            (left + now.saturating_duration_since(at).as_secs_f64() * PER_SEC).min(BURST)
        };
        let mut all = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MAX_ADDRESSES {
            all.retain(|_, bucket| refilled(bucket) < BURST);
            if all.len() >= MAX_ADDRESSES {
                all.clear();
            }
        }
        let bucket = all.entry(from.map(unit)).or_insert((BURST, now));
        let left = refilled(bucket);
        *bucket = (if left >= 1.0 { left - 1.0 } else { left }, now);
        left >= 1.0
    }

    /// Gives one back: it was right.
    pub(super) fn give_back(&self, from: Option<IpAddr>) {
        let mut all = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((left, _)) = all.get_mut(&from.map(unit)) {
            *left = (*left + 1.0).min(BURST);
        }
    }
}

/// An IPv4 address, or an IPv6 network of 64 bits: what one client has.
fn unit(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn guesses_run_out_and_come_back() {
        let (guesses, now) = (Guesses::default(), Instant::now());
        let from: Option<IpAddr> = "192.0.2.1".parse().ok();
        let taken = (0..100).filter(|_| guesses.take(from, now)).count();
        assert_eq!(taken, BURST as usize);
        assert!(guesses.take("192.0.2.2".parse().ok(), now));
        assert!(guesses.take(from, now + Duration::from_secs(1)));
        assert!(!guesses.take(from, now + Duration::from_secs(1)));
        guesses.give_back(from);
        assert!(guesses.take(from, now + Duration::from_secs(1)));
    }

    #[test]
    fn memory_is_bounded() {
        let (guesses, now) = (Guesses::default(), Instant::now());
        for n in 0..2 * MAX_ADDRESSES as u32 {
            guesses.take(Some(IpAddr::from(n.to_be_bytes())), now);
        }
        assert!(guesses.left.lock().unwrap().len() <= MAX_ADDRESSES);
    }
}
