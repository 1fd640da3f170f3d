//! What this machine must not cut off: its own addresses, its gateways, its
//! resolvers, and who is logged in by SSH.
//!
//! Read from `/proc`, `/etc/resolv.conf` and the record of logins. What cannot
//! be read is left out and told; the other parts count all the same.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use ipnet::IpNet;

/// Largest file that is read, in bytes.
const MAX_BYTES: u64 = 4 * 1024 * 1024;
/// Bytes of a record of utmp(5) on 64-bit Linux.
const UTMP_RECORD: usize = 384;
/// `USER_PROCESS` of utmp(5).
const USER_PROCESS: i32 = 7;

/// Networks, each with what it is; and what could not be found out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SystemNetworks {
    /// The networks.
    pub networks: Vec<(IpNet, Box<str>)>,
    /// What could not be read, one sentence each.
    pub problems: Vec<String>,
}

/// Looks at this machine. Blocks.
#[must_use]
pub fn system_networks() -> SystemNetworks {
    let mut found = SystemNetworks::default();
    let mut add = |addresses: Vec<IpAddr>, what: &str| {
        for address in addresses {
            let net = IpNet::from(address.to_canonical());
            if !address.is_unspecified() && !found.networks.iter().any(|(known, _)| *known == net) {
                found.networks.push((net, what.into()));
            }
        }
    };
    let mut problems = Vec::new();
    let mut text = |path: &str, needed: bool| match read(Path::new(path)) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) => {
            if needed {
                problems.push(format!("cannot read {path}: {error}"));
            }
            String::new()
        }
    };
    add(own_v4(&text("/proc/net/fib_trie", true)), "own address");
    add(own_v6(&text("/proc/net/if_inet6", false)), "own address");
    add(gateways_v4(&text("/proc/net/route", true)), "gateway");
    add(gateways_v6(&text("/proc/net/ipv6_route", false)), "gateway");
    add(resolvers(&text("/etc/resolv.conf", false)), "DNS resolver");
    add(resolvers(&text("/run/systemd/resolve/resolv.conf", false)), "DNS resolver");
    for name in ["SSH_CONNECTION", "SSH_CLIENT"] {
        let value = std::env::var(name).unwrap_or_default();
        let first = value.split(' ').next().and_then(|text| text.parse().ok());
        add(first.into_iter().collect(), "SSH client that started this");
    }
    if let Ok(bytes) = read(Path::new("/run/utmp")) {
        add(logged_in(&bytes), palisade_rules::LOGGED_IN);
    }
    found.problems = problems;
    found
}

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(MAX_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Leaves of the kernel's table that are marked `host LOCAL`.
fn own_v4(trie: &str) -> Vec<IpAddr> {
    let mut last = None;
    let mut found = Vec::new();
    for line in trie.lines() {
        let line = line.trim();
        if let Some(leaf) = line.strip_prefix("|-- ") {
            last = leaf.parse::<Ipv4Addr>().ok();
        } else if line.starts_with("/32 host LOCAL")
            && let Some(address) = last
            && !address.is_loopback()
        {
            found.push(IpAddr::V4(address));
        }
    }
    found
}

fn own_v6(interfaces: &str) -> Vec<IpAddr> {
    let address = |line: &str| {
        let digits = line.split_whitespace().next()?;
        let bits = u128::from_str_radix(digits, 16).ok()?;
        (digits.len() == 32).then(|| IpAddr::V6(Ipv6Addr::from_bits(bits)))
    };
    interfaces.lines().filter_map(address).filter(|address| !address.is_loopback()).collect()
}

/// Third column, in the byte order of the machine.
fn gateways_v4(routes: &str) -> Vec<IpAddr> {
    let gateway = |line: &str| {
        let bits = u32::from_str_radix(line.split_whitespace().nth(2)?, 16).ok()?;
        Some(IpAddr::V4(Ipv4Addr::from(bits.to_ne_bytes())))
    };
    routes.lines().skip(1).filter_map(gateway).filter(|address| !address.is_unspecified()).collect()
}

fn gateways_v6(routes: &str) -> Vec<IpAddr> {
    let gateway = |line: &str| {
        let bits = u128::from_str_radix(line.split_whitespace().nth(4)?, 16).ok()?;
        Some(IpAddr::V6(Ipv6Addr::from_bits(bits)))
    };
    routes.lines().filter_map(gateway).filter(|address| !address.is_unspecified()).collect()
}

fn resolvers(conf: &str) -> Vec<IpAddr> {
    let server = |line: &str| {
        let mut words = line.split_whitespace();
        if words.next()? != "nameserver" {
            return None;
        }
        let text = words.next()?;
        text.split('%').next()?.parse::<IpAddr>().ok()
    };
    conf.lines().filter_map(server).filter(|address| !address.is_loopback()).collect()
}

/// Addresses of sessions in a utmp file.
fn logged_in(utmp: &[u8]) -> Vec<IpAddr> {
    let address = |record: &[u8]| {
        let kind = i32::from_ne_bytes(record.get(..4)?.try_into().ok()?);
        if kind & 0xffff != USER_PROCESS {
            return None;
        }
        let bytes: [u8; 16] = record.get(348..364)?.try_into().ok()?;
        let (first, rest) = bytes.split_at_checked(4)?;
        // An IPv4 address is in the first word alone.
        if rest.iter().all(|byte| *byte == 0) {
            let first: [u8; 4] = first.try_into().ok()?;
            return Some(IpAddr::V4(Ipv4Addr::from(first)));
        }
        Some(IpAddr::V6(Ipv6Addr::from(bytes)))
    };
    utmp.chunks_exact(UTMP_RECORD)
        .filter_map(address)
        .filter(|address| !address.is_unspecified() && !address.is_loopback())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(addresses: Vec<IpAddr>) -> Vec<String> {
        addresses.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn own_addresses_are_the_local_leaves() {
        let trie = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n     |-- 192.0.2.10\n        /32 host LOCAL\n     |-- 192.0.2.255\n        /32 link BROADCAST\n     |-- 127.0.0.1\n        /32 host LOCAL\n";
        assert_eq!(shown(own_v4(trie)), ["192.0.2.10"]);
        let inet6 = "20010db8000000000000000000000010 02 40 00 80 eth0\n00000000000000000000000000000001 01 80 10 80 lo\njunk\n";
        assert_eq!(shown(own_v6(inet6)), ["2001:db8::10"]);
    }

    #[test]
    fn gateways_and_resolvers_are_read() {
        let bits = u32::from_ne_bytes([192, 0, 2, 1]);
        let routes = format!(
            "Iface\tDestination\tGateway\neth0\t00000000\t{bits:08X}\t0003\neth0\t000200C0\t00000000\t0001\n"
        );
        assert_eq!(shown(gateways_v4(&routes)), ["192.0.2.1"]);
        let routes = "00000000000000000000000000000000 00 00000000000000000000000000000000 00 fe800000000000000000000000000001 00000400\n";
        assert_eq!(shown(gateways_v6(routes)), ["fe80::1"]);
        let conf = "# nameserver 9.9.9.9\nsearch example\nnameserver 192.0.2.53\nnameserver fe80::1%eth0\nnameserver 127.0.0.53\n";
        assert_eq!(shown(resolvers(conf)), ["192.0.2.53", "fe80::1"]);
    }

    #[test]
    fn sessions_have_the_address_they_come_from() {
        let mut record = vec![0u8; UTMP_RECORD];
        record[..4].copy_from_slice(&USER_PROCESS.to_ne_bytes());
        record[348..352].copy_from_slice(&[203, 0, 113, 9]);
        let mut boot = vec![0u8; UTMP_RECORD];
        boot[..4].copy_from_slice(&2i32.to_ne_bytes());
        boot[348..352].copy_from_slice(&[203, 0, 113, 8]);
        assert_eq!(shown(logged_in(&[record, boot, vec![1; 7]].concat())), ["203.0.113.9"]);
    }

    #[test]
    fn looking_at_this_machine_finds_no_loopback() {
        let found = system_networks();
        assert!(found.networks.iter().all(|(net, _)| !net.addr().is_loopback()), "{found:?}");
    }
}
