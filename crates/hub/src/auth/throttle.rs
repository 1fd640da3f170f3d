//! How often someone may try to sign in: after a few wrong passwords an
//! address, and an account, must wait, longer after each further one.
//!
//! An attempt counts as failed from its beginning until it has succeeded, so
//! that many at once do not slip through. An account's wait stays short: it
//! slows guessing from many addresses without shutting its owner out.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};

use palisade_event::Timestamp;

/// Addresses and accounts that are remembered; the one that has been quiet
/// longest is forgotten first.
const MAX_REMEMBERED: usize = 4096;
/// Wrong passwords before the first wait.
const FREE_FAILURES: u32 = 5;
/// Longest wait of an address, in seconds.
const MAX_ADDRESS_WAIT_SECS: i64 = 15 * 60;
/// Longest wait of an account, in seconds.
const MAX_ACCOUNT_WAIT_SECS: i64 = 30;
/// Failures older than this are forgotten, in milliseconds.
const FORGET_AFTER_MILLIS: i64 = 60 * 60 * 1000;

/// What failures are counted by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Subject {
    /// An IPv4 address, or an IPv6 network of 64 bits: what one client has.
    Address(IpAddr),
    Account(String),
}

#[derive(Clone, Copy, Debug)]
struct Failures {
    count: u32,
    last: Timestamp,
}

/// Failed attempts of late.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    failures: HashMap<Subject, Failures>,
}

impl Throttle {
    /// Begins an attempt; it counts as failed until [`Self::succeeded`].
    ///
    /// # Errors
    /// Seconds to wait, where it is too early.
    pub(crate) fn begin(
        &mut self,
        account: &str,
        from: Option<IpAddr>,
        now: Timestamp,
    ) -> Result<(), u32> {
        let wait = subjects(account, from)
            .map(|(subject, longest)| self.wait_secs(&subject, longest, now))
            .max()
            .unwrap_or(0);
        if wait > 0 {
            return Err(u32::try_from(wait).unwrap_or(u32::MAX));
        }
        for (subject, _) in subjects(account, from) {
            self.make_room(&subject);
            let failures = self.failures.entry(subject).or_insert(Failures { count: 0, last: now });
            if now.as_millis() - failures.last.as_millis() > FORGET_AFTER_MILLIS {
                failures.count = 0;
            }
            failures.count = failures.count.saturating_add(1);
            failures.last = now;
        }
        Ok(())
    }

    /// The attempt was right; what failed before is forgiven.
    pub(crate) fn succeeded(&mut self, account: &str, from: Option<IpAddr>) {
        for (subject, _) in subjects(account, from) {
            self.failures.remove(&subject);
        }
    }

    fn wait_secs(&self, subject: &Subject, longest: i64, now: Timestamp) -> i64 {
        let Some(failures) = self.failures.get(subject) else { return 0 };
        let since = now.as_millis() - failures.last.as_millis();
        if failures.count < FREE_FAILURES || since > FORGET_AFTER_MILLIS {
            return 0;
        }
        let doublings = (failures.count - FREE_FAILURES).min(20);
        let wait = (1i64 << doublings).min(longest);
        // A clock that was set back must not make the wait longer.
        (wait * 1000 - since.max(0) + 999).div_euclid(1000).clamp(0, wait)
    }

    fn make_room(&mut self, subject: &Subject) {
        if self.failures.len() < MAX_REMEMBERED || self.failures.contains_key(subject) {
            return;
        }
        let quietest = self.failures.iter().min_by_key(|(_, failures)| failures.last);
        if let Some(quietest) = quietest.map(|(subject, _)| subject.clone()) {
            self.failures.remove(&quietest);
        }
    }
}

fn subjects(account: &str, from: Option<IpAddr>) -> impl Iterator<Item = (Subject, i64)> {
    let address = from.map(|address| match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
    });
    let account = (Subject::Account(account.to_owned()), MAX_ACCOUNT_WAIT_SECS);
    address
        .map(|address| (Subject::Address(address), MAX_ADDRESS_WAIT_SECS))
        .into_iter()
        .chain([account])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_millis(secs * 1000)
    }

    fn address(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn waits_double_and_end() {
        let mut throttle = Throttle::default();
        let from = address("192.0.2.1");
        for number in 0..FREE_FAILURES {
            // A new account each time: the address alone is counted.
            assert_eq!(throttle.begin(&format!("a{number}"), from, at(0)), Ok(()));
        }
        assert_eq!(throttle.begin("x", from, at(0)), Err(1));
        assert_eq!(throttle.begin("x", from, at(1)), Ok(()));
        assert_eq!(throttle.begin("y", from, at(1)), Err(2));
        assert_eq!(throttle.begin("y", from, at(3)), Ok(()));
        assert_eq!(throttle.begin("z", from, at(4)), Err(3));
        assert_eq!(throttle.begin("z", address("192.0.2.2"), at(4)), Ok(()));
    }

    #[test]
    fn an_account_under_attack_waits_at_most_half_a_minute() {
        let mut throttle = Throttle::default();
        let mut now = 0;
        for number in 0..40u8 {
            let from = Some(IpAddr::from([198, 51, 100, number]));
            match throttle.begin("admin", from, at(now)) {
                Ok(()) => {}
                Err(wait) => {
                    assert!(i64::from(wait) <= MAX_ACCOUNT_WAIT_SECS, "{wait}");
                    now += i64::from(wait);
                    assert_eq!(throttle.begin("admin", from, at(now)), Ok(()));
                }
            }
        }
        assert!(now > 100, "{now}");
    }

    #[test]
    fn success_forgives_and_networks_count_as_one() {
        let mut throttle = Throttle::default();
        for number in 0..FREE_FAILURES {
            let from = address(&format!("2001:db8::{number}"));
            assert_eq!(throttle.begin("anna", from, at(0)), Ok(()));
        }
        assert!(throttle.begin("bert", address("2001:db8::ffff"), at(0)).is_err());
        throttle.succeeded("anna", address("2001:db8::1"));
        assert_eq!(throttle.begin("anna", address("2001:db8::ffff"), at(0)), Ok(()));
    }

    #[test]
    fn memory_is_bounded() {
        let mut throttle = Throttle::default();
        for number in 0..2 * MAX_REMEMBERED as u32 {
            let from = Some(IpAddr::from(number.to_be_bytes()));
            throttle.begin("admin", from, at(i64::from(number) * 40)).unwrap();
        }
        assert!(throttle.failures.len() <= MAX_REMEMBERED);
    }
}
