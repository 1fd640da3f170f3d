//! Network ends: address, port, transport.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

/// The transport protocol of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// Transmission Control Protocol (RFC 9293).
    Tcp,
    /// User Datagram Protocol (RFC 768).
    Udp,
    /// Internet Control Message Protocol (RFC 792, RFC 4443).
    Icmp,
}

impl Transport {
    /// Its lower-case name, as in the wire form.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Icmp => "icmp",
        }
    }
}

/// One end of a connection. What a log line or dialect does not say is `None`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Endpoint {
    /// The address; IPv4 is never written as mapped IPv6.
    pub address: IpAddr,
    /// The port, 1 to 65535.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The transport protocol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transport: Option<Transport>,
}

impl Endpoint {
    /// An address of which nothing more is known.
    #[must_use]
    pub fn address(address: IpAddr) -> Self {
        Self { address: address.to_canonical(), port: None, transport: None }
    }

    /// A TCP end.
    #[must_use]
    pub fn tcp(end: SocketAddr) -> Self {
        Self {
            address: end.ip().to_canonical(),
            port: (end.port() != 0).then_some(end.port()),
            transport: Some(Transport::Tcp),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mapped_addresses_are_stored_as_ipv4() {
        let end = Endpoint::tcp("[::ffff:192.0.2.7]:23".parse().unwrap());
        assert_eq!(
            serde_json::to_string(&end).unwrap(),
            r#"{"address":"192.0.2.7","port":23,"transport":"tcp"}"#
        );
    }
}
