//! Who may connect how often at the same time: a global bound and one per
//! address. An IPv6 client owns at least a /64, so that is what counts as one
//! address there.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The permits of all services of one zone.
#[derive(Debug)]
pub(crate) struct Permits {
    global: Arc<Semaphore>,
    per_address: usize,
    // The map never holds more entries than global permits.
    held: Mutex<HashMap<IpAddr, usize>>,
}

/// One connection's place in the global bound; given back on drop.
#[derive(Debug)]
pub(crate) struct GlobalPermit(
    #[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit,
);

/// One connection's place in the bound of its address; given back on drop.
#[derive(Debug)]
pub(crate) struct AddressPermit {
    permits: Arc<Permits>,
    key: IpAddr,
}

impl Permits {
    pub(crate) fn new(global: usize, per_address: usize) -> Arc<Self> {
        let global = Arc::new(Semaphore::new(global.min(Semaphore::MAX_PERMITS)));
        Arc::new(Self { global, per_address, held: Mutex::default() })
    }

    /// A place in the global bound, or `None` at once where all are taken.
    pub(crate) fn global(&self) -> Option<GlobalPermit> {
        Arc::clone(&self.global).try_acquire_owned().ok().map(GlobalPermit)
    }

    /// A place for `address`, or `None` at once where it has too many.
    pub(crate) fn address(self: &Arc<Self>, address: IpAddr) -> Option<AddressPermit> {
        let key = network(address);
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let count = held.entry(key).or_default();
        if *count >= self.per_address {
            return None;
        }
        *count += 1;
        Some(AddressPermit { permits: Arc::clone(self), key })
    }
}

impl Drop for AddressPermit {
    fn drop(&mut self) {
        let mut held = self.permits.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut count) = held.entry(self.key) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

/// What counts as one address: IPv4 itself, the /64 of IPv6.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(six) => Ipv6Addr::from_bits(six.to_bits() & !u128::from(u64::MAX)).into(),
        four => four,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_ipv6_network_is_one_address() {
        let permits = Permits::new(10, 1);
        let first = permits.address("2001:db8::1".parse().unwrap()).unwrap();
        assert!(permits.address("2001:db8::ffff:2".parse().unwrap()).is_none());
        assert!(permits.address("2001:db8:0:1::1".parse().unwrap()).is_some());
        drop(first);
        assert!(permits.address("2001:db8::ffff:2".parse().unwrap()).is_some());
        assert!(permits.held.lock().unwrap().is_empty());
    }

    #[test]
    fn a_mapped_address_is_the_ipv4_address() {
        let permits = Permits::new(10, 1);
        let _held = permits.address("::ffff:192.0.2.1".parse().unwrap()).unwrap();
        assert!(permits.address("192.0.2.1".parse().unwrap()).is_none());
        assert!(permits.address("192.0.2.2".parse().unwrap()).is_some());
    }

    #[test]
    fn the_global_bound_holds() {
        let permits = Permits::new(1, 1);
        let held = permits.global().unwrap();
        assert!(permits.global().is_none());
        drop(held);
        assert!(permits.global().is_some());
    }
}
