//! Addresses, networks and names that are never banned.

use std::net::IpAddr;

use ipnet::IpNet;

use super::host::FailureId;

/// `ignoreip` and `ignoreself` of a jail.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ignore {
    /// Addresses and networks.
    pub nets: Vec<IpNet>,
    /// Names; their addresses are the caller's to know.
    pub names: Vec<String>,
    /// Files with more of them (`file:PATH`).
    pub files: Vec<String>,
    /// Whether the machine's own addresses are ignored too.
    pub own_addresses: bool,
}

impl Ignore {
    /// Reads the list, divided by spaces, commas or new lines.
    pub(crate) fn new(text: &str, own_addresses: bool) -> Self {
        let mut out = Self { own_addresses, ..Self::default() };
        for word in text.split([' ', ',', '\n']).map(str::trim).filter(|word| !word.is_empty()) {
            if let Some(file) = word.strip_prefix("file:") {
                out.files.push(file.trim_start_matches("//").to_owned());
                continue;
            }
            match net(word) {
                Some(net) => out.nets.push(net),
                None => out.names.push(word.to_owned()),
            }
        }
        out
    }

    /// Whether an address is in the list. `own` are the machine's addresses,
    /// `resolved` says what addresses a name has; `None` means it is not known,
    /// and then the address is treated as ignored: unknown is no reason to ban.
    pub fn covers(
        &self,
        address: IpAddr,
        own: &[IpAddr],
        resolved: &dyn Fn(&str) -> Option<Vec<IpAddr>>,
    ) -> bool {
        let address = address.to_canonical();
        (self.own_addresses && own.contains(&address))
            || self.nets.iter().any(|net| net.contains(&address))
            || self.names.iter().any(|name| {
                resolved(name).is_none_or(|found| found.iter().any(|a| a.to_canonical() == address))
            })
    }
}

/// `192.0.2.1`, `192.0.2.0/24`, `192.0.2.0/255.255.255.0`, `[2001:db8::1]`.
fn net(word: &str) -> Option<IpNet> {
    if let FailureId::Net(net) = FailureId::from_text(word) {
        return Some(net.trunc());
    }
    let (address, mask) = word.split_once('/')?;
    let mask: IpAddr = mask.parse().ok()?;
    let address: IpAddr = address.parse().ok()?;
    let bits = ipnet::ip_mask_to_prefix(mask).ok()?;
    IpNet::new(address, bits).ok().map(|net| net.trunc())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests: a failure is a panic")]
mod tests {
    use super::*;

    #[test]
    fn networks_masks_names_and_own_addresses_are_ignored() {
        let ignore = Ignore::new(
            "127.0.0.1/8 ::1, 192.0.2.0/255.255.255.0\nhome.example file:/etc/list 203.0.113.7",
            true,
        );
        assert_eq!(ignore.files, ["/etc/list"]);
        let own = ["198.51.100.1".parse().unwrap()];
        let names = |name: &str| match name {
            "home.example" => Some(vec!["198.51.100.77".parse().unwrap()]),
            _ => None,
        };
        for (address, expected) in [
            ("127.1.2.3", true),
            ("::1", true),
            ("::ffff:127.0.0.1", true),
            ("192.0.2.200", true),
            ("203.0.113.7", true),
            ("203.0.113.8", false),
            ("198.51.100.1", true),
            ("198.51.100.77", true),
            ("2001:db8::1", false),
        ] {
            let covered = ignore.covers(address.parse().unwrap(), &own, &names);
            assert_eq!(covered, expected, "{address}");
        }
    }

    #[test]
    fn a_name_that_cannot_be_resolved_stops_bans() {
        let ignore = Ignore::new("home.example", false);
        assert!(ignore.covers("192.0.2.1".parse().unwrap(), &[], &|_| None));
    }
}
