//! What one address may take: connections at a time and requests over time.
//!
//! Both tables are bounded: connections by the global permit, requests by
//! [`MAX_TRACKED_ADDRESSES`].

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Most addresses a [`RateLimit`] keeps. When full, those that have recovered
/// go first; then the table is cleared: it forgets, it never grows.
const MAX_TRACKED_ADDRESSES: usize = 16_384;

/// The unit that is limited: an IPv4 address, or the /64 of an IPv6 address,
/// as that is what one customer has.
fn unit(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) >> 64 << 64).into()),
    }
}

/// Nothing panics while these locks are held, so a poisoned one is as good.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A token bucket an address (RFC 2697's idea, with one rate).
#[derive(Debug)]
pub(crate) struct RateLimit {
    burst: f64,
    per_sec: f64,
    buckets: Mutex<HashMap<IpAddr, Bucket>>,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

impl RateLimit {
    /// `burst` at once, then `per_sec` a second.
    pub(crate) fn new(burst: u32, per_sec: f64) -> Self {
        Self { burst: f64::from(burst), per_sec, buckets: Mutex::new(HashMap::new()) }
    }

    /// Takes one token.
    ///
    /// # Errors
    /// The seconds to wait where there is none, at least 1.
    pub(crate) fn take(&self, address: IpAddr, now: Instant) -> Result<(), u32> {
        let mut buckets = lock(&self.buckets);
        if buckets.len() >= MAX_TRACKED_ADDRESSES {
            buckets.retain(|_, bucket| self.refilled(bucket, now) < self.burst);
            if buckets.len() >= MAX_TRACKED_ADDRESSES {
                buckets.clear();
                buckets.shrink_to_fit();
            }
        }
        let full = Bucket { tokens: self.burst, at: now };
        let bucket = buckets.entry(unit(address)).or_insert(full);
        let tokens = self.refilled(bucket, now);
        *bucket = Bucket { tokens, at: now };
        if tokens >= 1.0 {
            bucket.tokens -= 1.0;
            return Ok(());
        }
        Err(((1.0 - tokens) / self.per_sec).ceil().clamp(1.0, 3600.0) as u32)
    }

    /// Whether there is no token left; takes none.
    pub(crate) fn is_empty(&self, address: IpAddr, now: Instant) -> bool {
        let buckets = lock(&self.buckets);
        buckets.get(&unit(address)).is_some_and(|bucket| self.refilled(bucket, now) < 1.0)
    }

    fn refilled(&self, bucket: &Bucket, now: Instant) -> f64 {
        let secs = now.saturating_duration_since(bucket.at).as_secs_f64();
        (bucket.tokens + secs * self.per_sec).min(self.burst)
    }
}

/// Open connections by address.
#[derive(Debug)]
pub(crate) struct ConnectionLimit {
    most: usize,
    open: Mutex<HashMap<IpAddr, usize>>,
}

/// One open connection; gives its place back when dropped.
#[derive(Debug)]
pub(crate) struct ConnectionPermit {
    limit: Arc<ConnectionLimit>,
    unit: IpAddr,
}

impl ConnectionLimit {
    /// At most `most` connections an address.
    pub(crate) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, open: Mutex::new(HashMap::new()) })
    }

    /// A place for one more connection of `address`, if there is one.
    pub(crate) fn take(self: &Arc<Self>, address: IpAddr) -> Option<ConnectionPermit> {
        let unit = unit(address);
        let mut open = lock(&self.open);
        let count = open.entry(unit).or_insert(0);
        if *count >= self.most {
            return None;
        }
        *count += 1;
        Some(ConnectionPermit { limit: Arc::clone(self), unit })
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let mut open = lock(&self.limit.open);
        if let Some(count) = open.get_mut(&self.unit) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.unit);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    #[test]
    fn a_burst_is_taken_and_then_one_token_an_interval() {
        let limit = RateLimit::new(2, 0.5);
        let start = Instant::now();
        assert_eq!(limit.take(A, start), Ok(()));
        assert_eq!(limit.take(A, start), Ok(()));
        assert_eq!(limit.take(A, start), Err(2));
        assert_eq!(limit.take(A, start + Duration::from_secs(1)), Err(1));
        assert_eq!(limit.take(A, start + Duration::from_secs(2)), Ok(()));
        assert_eq!(limit.take("192.0.2.2".parse().unwrap(), start), Ok(()));
    }

    #[test]
    fn a_network_of_ipv6_addresses_shares_one_bucket() {
        let limit = RateLimit::new(1, 1.0);
        let now = Instant::now();
        assert_eq!(limit.take("2001:db8::1".parse().unwrap(), now), Ok(()));
        assert!(limit.take("2001:db8::2".parse().unwrap(), now).is_err());
        assert_eq!(limit.take("2001:db8:0:1::1".parse().unwrap(), now), Ok(()));
    }

    #[test]
    fn the_table_of_addresses_is_bounded() {
        let limit = RateLimit::new(1, 1.0);
        let now = Instant::now();
        for n in 0..u32::try_from(MAX_TRACKED_ADDRESSES).unwrap() + 10 {
            let _ = limit.take(IpAddr::V4(n.into()), now);
        }
        assert!(limit.buckets.lock().unwrap().len() <= MAX_TRACKED_ADDRESSES);
    }

    #[test]
    fn a_closed_connection_gives_its_place_back() {
        let limit = ConnectionLimit::new(1);
        let first = limit.take(A).unwrap();
        assert!(limit.take(A).is_none());
        drop(first);
        assert!(limit.take(A).is_some());
        assert!(limit.open.lock().unwrap().is_empty());
    }
}
