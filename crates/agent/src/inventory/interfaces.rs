//! Network interfaces: state, addresses, bytes.

use std::collections::BTreeMap;

use nix::ifaddrs::getifaddrs;
use nix::sys::socket::SockaddrStorage;
use serde_json::json;

use super::root::Root;
use super::section::Section;

/// Most interfaces that are kept; hosts of containers have many.
const MAX_INTERFACES: usize = 512;
/// Most addresses of all interfaces.
const MAX_ADDRESSES: usize = 4_096;

/// The section `interfaces`.
pub(crate) fn collect(root: &Root) -> Section {
    let mut section = Section::default();
    let (names, left_out) = match root.list("/sys/class/net") {
        Ok(list) => list,
        Err(reason) => return Section::hidden("network interfaces", &reason),
    };
    section.left_out = left_out;
    let mut by_name: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, address) in addresses() {
        by_name.entry(name).or_default().push(address);
    }
    for (name, _) in names {
        let read = |file: &str| root.read_value(&format!("/sys/class/net/{name}/{file}")).ok();
        let number = |file: &str| read(file).and_then(|text| text.parse::<u64>().ok());
        let addresses = by_name.remove(&name).unwrap_or_default();
        let value = json!({
            "name": name,
            "mac": read("address"),
            "state": read("operstate"),
            "mtu": number("mtu"),
            "speed": number("speed"),
            "addresses": addresses,
            "recv": number("statistics/rx_bytes"),
            "sent": number("statistics/tx_bytes"),
        });
        section.add_up_to(MAX_INTERFACES, name, value);
    }
    section
}

/// Interface and address with the bits of its network, of all interfaces.
pub(crate) fn addresses() -> Vec<(String, String)> {
    let Ok(all) = getifaddrs() else { return Vec::new() };
    let ip = |address: &SockaddrStorage| {
        let v4 = address.as_sockaddr_in().map(|own| std::net::IpAddr::V4(own.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|own| own.ip().into()))
    };
    let named = all.filter_map(|one| {
        let address = ip(one.address.as_ref()?)?;
        let bits = one.netmask.as_ref().and_then(ip).map(|mask| match mask {
            std::net::IpAddr::V4(mask) => u32::from(mask).count_ones(),
            std::net::IpAddr::V6(mask) => u128::from(mask).count_ones(),
        });
        let text = bits.map_or_else(|| address.to_string(), |bits| format!("{address}/{bits}"));
        Some((one.interface_name, text))
    });
    named.take(MAX_ADDRESSES).collect()
}

/// Bytes that came and went on all interfaces but loopback.
pub(crate) fn totals(root: &Root) -> Option<(u64, u64)> {
    let text = root.read("/proc/net/dev").ok()?;
    let (mut received, mut sent) = (0u64, 0u64);
    for line in text.lines() {
        let Some((name, numbers)) = line.split_once(':') else { continue };
        // What passes through a bridge is counted at its ends.
        let name = name.trim();
        if name == "lo" || ["veth", "docker", "br-", "virbr"].iter().any(|p| name.starts_with(p)) {
            continue;
        }
        let mut numbers = numbers.split_whitespace().map(|text| text.parse::<u64>().unwrap_or(0));
        received = received.saturating_add(numbers.next().unwrap_or(0));
        sent = sent.saturating_add(numbers.nth(7).unwrap_or(0));
    }
    Some((received, sent))
}
