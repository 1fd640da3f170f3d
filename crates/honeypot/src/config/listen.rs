//! Where a service listens: addresses, each with a port or a range of ports,
//! as one text or a list of them.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Most sockets of one installation that listen: each takes a file descriptor
/// and some 2 kB. A catch-all has all ports for one.
pub const MAX_SOCKETS: usize = 4_096;

/// Where a service listens: `"127.0.0.1:80"`, `"0.0.0.0:8000-8100"`, or a list
/// of such. `[::]:80` takes IPv4 as well; port 0 takes a free one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Listen(Vec<Ports>);

/// An address with a range of ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Ports {
    address: SocketAddr,
    last: u16,
}

impl Listen {
    /// Every address and port that is meant.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.0.iter().flat_map(|Ports { address, last }| {
            (address.port()..=*last).map(|port| SocketAddr::new(address.ip(), port))
        })
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.iter().map(|ports| usize::from(ports.last - ports.address.port()) + 1).sum()
    }
}

impl From<SocketAddr> for Listen {
    fn from(address: SocketAddr) -> Self {
        Self(vec![Ports { address, last: address.port() }])
    }
}

impl FromStr for Ports {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = |what: &str| format!("'{}' {what}", text.escape_default());
        let no_address = || bad("is no address with a port, such as \"0.0.0.0:8000-8100\"");
        let (address, last) = match text.rsplit_once(':') {
            Some((ip, ports)) => match ports.split_once('-') {
                Some((first, last)) => (format!("{ip}:{first}"), Some(last)),
                None => (text.to_owned(), None),
            },
            None => return Err(no_address()),
        };
        let address: SocketAddr = address.parse().map_err(|_| no_address())?;
        let Some(last) = last else {
            return Ok(Self { address, last: address.port() });
        };
        let last: u16 = last.parse().map_err(|_| no_address())?;
        if address.port() == 0 || last < address.port() {
            return Err(bad("is no range of ports"));
        }
        Ok(Self { address, last })
    }
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(Self(vec![text.parse()?]))
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)?;
        if self.last == self.address.port() { Ok(()) } else { write!(f, "-{}", self.last) }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, ports) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            ports.fmt(f)?;
        }
        Ok(())
    }
}

impl Serialize for Listen {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.as_slice() {
            [one] => serializer.collect_str(one),
            more => serializer.collect_seq(more.iter().map(ToString::to_string)),
        }
    }
}

impl<'de> Deserialize<'de> for Listen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Texts;
        impl<'de> Visitor<'de> for Texts {
            type Value = Listen;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an address with a port or a range of ports, or a list of them")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Listen, E> {
                text.parse().map_err(E::custom)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Listen, A::Error> {
                let mut all = Vec::new();
                while let Some(text) = list.next_element::<String>()? {
                    all.push(text.parse().map_err(de::Error::custom)?);
                    if all.len() > MAX_SOCKETS {
                        return Err(de::Error::custom("too many addresses"));
                    }
                }
                if all.is_empty() {
                    return Err(de::Error::custom("an empty list listens nowhere"));
                }
                Ok(Listen(all))
            }
        }
        deserializer.deserialize_any(Texts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Table {
        listen: Listen,
    }

    #[test]
    fn addresses_ranges_and_lists_are_read_and_written_alike() {
        for (text, count) in [
            ("listen = \"127.0.0.1:80\"\n", 1),
            ("listen = \"0.0.0.0:8000-8100\"\n", 101),
            ("listen = [\"[::]:8000-8001\", \"127.0.0.1:0\"]\n", 3),
        ] {
            let table: Table = toml::from_str(text).unwrap();
            assert_eq!(table.listen.count(), count);
            assert_eq!(table.listen.addresses().count(), count);
            assert_eq!(toml::to_string(&table).unwrap(), text);
        }
        let listen: Listen = "[::1]:1-3".parse().unwrap();
        let ports: Vec<String> = listen.addresses().map(|address| address.to_string()).collect();
        assert_eq!(ports, ["[::1]:1", "[::1]:2", "[::1]:3"]);
    }

    #[test]
    fn what_is_no_range_is_refused() {
        for text in [
            "",
            "80",
            "a:80",
            "::1:80-90",
            "0.0.0.0:90-80",
            "0.0.0.0:0-9",
            "0.0.0.0:1-70000",
            "0.0.0.0:1-",
        ] {
            assert!(text.parse::<Listen>().is_err(), "{text}");
        }
        assert!(toml::from_str::<Table>("listen = []").is_err());
        assert!(toml::from_str::<Table>("listen = 80").is_err());
    }
}
