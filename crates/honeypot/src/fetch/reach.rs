//! Whom the fetcher may connect to, and how often. Asked with the very address
//! that is then connected to, after names were looked up and again at every
//! redirect.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use ipnet::IpNet;

use crate::FetchConfig;
use crate::shell::fetch::is_private;

/// Most hosts whose connections are counted at a time; beyond, nobody new is
/// connected to.
const MAX_HOSTS: usize = 4_096;
/// The time in which connections to one host are counted.
const WINDOW: Duration = Duration::from_secs(60);

/// Whom the fetcher may connect to.
#[derive(Clone, Debug, Default)]
pub struct Reach {
    allow: Vec<IpNet>,
    deny: Vec<IpNet>,
    /// This machine's.
    own: Vec<IpAddr>,
    /// The hub's.
    hub: Vec<IpAddr>,
}

impl Reach {
    /// The rules of a configuration on a machine with the addresses `own`,
    /// whose hub has the addresses `hub`.
    #[must_use]
    pub fn new(config: &FetchConfig, own: &[IpAddr], hub: &[IpAddr]) -> Self {
        let canonical = |all: &[IpAddr]| all.iter().map(IpAddr::to_canonical).collect();
        Self {
            allow: config.allow.clone(),
            deny: config.deny.clone(),
            own: canonical(own),
            hub: canonical(hub),
        }
    }

    /// Whether `address` may be connected to: it is public and none of ours, or
    /// the operator allows it by name. The hub never may, nor what is denied.
    #[must_use]
    pub fn permits(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let within = |networks: &[IpNet]| networks.iter().any(|net| net.contains(&address));
        if self.hub.contains(&address) || within(&self.deny) {
            return false;
        }
        within(&self.allow) || !(is_private(address) || self.own.contains(&address))
    }
}

/// How often which host was connected to lately.
#[derive(Debug)]
pub struct Rates {
    most: u32,
    hosts: HashMap<IpAddr, (Instant, u32)>,
}

impl Rates {
    /// Nobody yet; `most` connections to one host in a minute.
    #[must_use]
    pub fn new(most: u32) -> Self {
        Self { most, hosts: HashMap::new() }
    }

    /// Counts a connection; whether it may be made.
    pub fn take(&mut self, address: IpAddr, now: Instant) -> bool {
        let host = network(address);
        if self.hosts.len() >= MAX_HOSTS && !self.hosts.contains_key(&host) {
            self.hosts.retain(|_, (since, _)| now.duration_since(*since) < WINDOW);
            if self.hosts.len() >= MAX_HOSTS {
                return false;
            }
        }
        let (since, count) = self.hosts.entry(host).or_insert((now, 0));
        if now.duration_since(*since) >= WINDOW {
            (*since, *count) = (now, 0);
        }
        let room = *count < self.most;
        *count = count.saturating_add(u32::from(room));
        room
    }
}

/// What counts as one host: an IPv4 address or an IPv6 /64.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(six) => IpAddr::V6(Ipv6Addr::from_bits(six.to_bits() >> 64 << 64)),
        four => four,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn nobody_but_the_public_is_reached_in_whatever_form_an_address_has() {
        let config = FetchConfig::default();
        let reach = Reach::new(&config, &[ip("203.0.114.9")], &[ip("8.8.4.4")]);
        for address in [
            "127.0.0.1",
            "::1",
            "::ffff:127.0.0.1",
            "10.1.2.3",
            "::ffff:10.1.2.3",
            "::10.1.2.3",
            "192.168.0.1",
            "172.31.0.1",
            "169.254.169.254",
            "fe80::1",
            "fc00::1",
            "224.0.0.1",
            "ff02::1",
            "0.0.0.0",
            "::",
            "255.255.255.255",
            "100.64.0.1",
            "198.18.0.1",
            "64:ff9b::a01:203",
            "2002:a01:203::1",
            // Ours, and the hub.
            "203.0.114.9",
            "::ffff:203.0.114.9",
            "8.8.4.4",
            "::ffff:8.8.4.4",
        ] {
            assert!(!reach.permits(ip(address)), "{address}");
        }
        for address in ["8.8.8.8", "::ffff:8.8.8.8", "2606:4700::1111", "203.0.114.8"] {
            assert!(reach.permits(ip(address)), "{address}");
        }
    }

    #[test]
    fn what_the_operator_names_is_reached_but_never_the_hub() {
        let config = FetchConfig {
            allow: vec!["127.0.0.0/8".parse().unwrap(), "8.8.4.4/32".parse().unwrap()],
            deny: vec!["1.1.1.0/24".parse().unwrap(), "127.0.0.9/32".parse().unwrap()],
            ..FetchConfig::default()
        };
        let reach = Reach::new(&config, &[ip("127.0.0.1")], &[ip("8.8.4.4")]);
        assert!(reach.permits(ip("127.0.0.1")) && reach.permits(ip("::ffff:127.0.0.1")));
        assert!(!reach.permits(ip("10.0.0.1")));
        assert!(!reach.permits(ip("127.0.0.9")) && !reach.permits(ip("1.1.1.1")));
        assert!(!reach.permits(ip("8.8.4.4")));
    }

    #[test]
    fn a_host_is_connected_to_so_often_a_minute_and_no_more_hosts_than_there_is_room_for() {
        let (mut rates, now) = (Rates::new(2), Instant::now());
        assert!(rates.take(ip("192.0.2.1"), now) && rates.take(ip("::ffff:192.0.2.1"), now));
        assert!(!rates.take(ip("192.0.2.1"), now) && rates.take(ip("192.0.2.2"), now));
        assert!(rates.take(ip("2001:db8::1"), now) && rates.take(ip("2001:db8::2"), now));
        assert!(!rates.take(ip("2001:db8::3"), now), "one /64 is one host");
        assert!(rates.take(ip("192.0.2.1"), now + WINDOW));
        let (mut rates, hosts) = (Rates::new(1), MAX_HOSTS as u32);
        for n in 0..hosts {
            assert!(rates.take(IpAddr::V4(n.into()), now));
        }
        assert!(!rates.take(ip("192.0.2.1"), now));
        assert!(rates.take(ip("192.0.2.1"), now + WINDOW));
    }
}
