//! `<HOST>`, `<ADDR>`, `<F-USER>…</F-USER>` and their kind in expressions, and
//! the identity that a failure has.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use super::tags::next_tag;

const IP4: &str = r"(?:::f{4,6}:)?(?P<ip4>(?:\d{1,3}\.){3}\d{1,3})";
/// The last colon of an address that ends in one was matched by the part
/// before; fail2ban says so with a look-behind that is always true.
const IP6: &str = r"(?P<ip6>(?:[0-9a-fA-F]{1,4}::?|::){1,7}(?:[0-9a-fA-F]{1,4}|:))";
const DNS: &str = r"(?P<dns>[\w\-.^_]*\w)";
const CIDR: &str = r"(?P<cidr>\d+)";

/// What a jail does with names in place of addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UseDns {
    /// Resolve them.
    Yes,
    /// Resolve them and say so.
    #[default]
    Warn,
    /// Do not match them.
    No,
    /// Take them as they are.
    Raw,
}

impl UseDns {
    /// Reads `yes`, `warn`, `no`, `raw`; `None` for anything else (fail2ban
    /// then takes `no`).
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text.to_lowercase().as_str() {
            "yes" => Some(Self::Yes),
            "warn" => Some(Self::Warn),
            "no" => Some(Self::No),
            "raw" => Some(Self::Raw),
            _ => None,
        }
    }
}

/// Puts expressions in place of the tags of a failregex.
pub(crate) fn expand_tags(source: &str, use_dns: UseDns) -> String {
    let addr = || format!(r"\[?(?:{IP4}|{IP6})\]?");
    let mut out = String::with_capacity(source.len() * 2);
    let mut open: Vec<&str> = Vec::new();
    let mut skips = 0;
    let mut done = 0;
    let mut from = 0;
    while let Some((start, end, tag)) = next_tag(source, from) {
        let name = tag.trim_matches('/');
        if name.is_empty() || !name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-')) {
            from = start + 1;
            continue;
        }
        out.push_str(source.get(done..start).unwrap_or_default());
        (done, from) = (end, end);
        match tag {
            "HOST" if use_dns != UseDns::No => out.push_str(&format!("(?:{}|{DNS})", addr())),
            "HOST" | "ADDR" | "F-ADDR/" => out.push_str(&addr()),
            "IP4" | "F-IP4/" => out.push_str(IP4),
            "IP6" | "F-IP6/" => out.push_str(IP6),
            "DNS" | "F-DNS/" => out.push_str(DNS),
            "CIDR" | "F-CIDR/" => out.push_str(CIDR),
            "SUBNET" | "F-SUBNET/" => {
                out.push_str(&format!(r"\[?(?:{IP4}|{IP6})(?:/{CIDR})?\]?"));
            }
            "F-ID/" => out.push_str(r"(?P<fid>\S+)"),
            "F-PORT/" => out.push_str(r"(?P<fport>\w+)"),
            "SKIPLINES" => {
                out.push_str(&format!(r"\n(?P<skiplines{skips}>(?:(?:.*\n)*?))"));
                skips += 1;
            }
            tag => match custom(tag) {
                Some((Side::Open, name)) => {
                    open.push(name);
                    out.push_str(&format!("(?P<{}>", option_name(name)));
                }
                Some((Side::Close, name)) if open.contains(&name) => out.push(')'),
                _ => out.push_str(source.get(start..end).unwrap_or_default()),
            },
        }
    }
    out.push_str(source.get(done..).unwrap_or_default());
    out
}

enum Side {
    Open,
    Close,
}

/// `F-USER` or `/F-USER`.
fn custom(tag: &str) -> Option<(Side, &str)> {
    let (side, rest) = match tag.strip_prefix('/') {
        Some(rest) => (Side::Close, rest),
        None => (Side::Open, tag),
    };
    let name = rest.strip_prefix("F-").filter(|name| !name.is_empty())?;
    let valid = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || matches!(c, '_' | '-');
    name.chars().all(valid).then_some((side, name))
}

/// The name a tag's text has in the failure.
pub(crate) fn option_name(tag: &str) -> String {
    match tag.to_lowercase().as_str() {
        "id" => "fid".into(),
        "port" => "fport".into(),
        name => name.into(),
    }
}

/// Who failed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FailureId {
    /// An address or network.
    Net(IpNet),
    /// A name that is yet to be resolved.
    Name(String),
    /// Any text: the filter says what identifies (`<F-ID>`), or names are taken
    /// as they are, or it looks like an address and is none.
    Text(String),
}

impl FailureId {
    /// The address of one host.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        match self {
            Self::Net(net) if net.prefix_len() == net.max_prefix_len() => Some(net.addr()),
            _ => None,
        }
    }

    /// Reads an address with an optional number of leading bits; an IPv4
    /// address written as IPv6 is IPv4.
    pub(crate) fn from_address(text: &str, bits: Option<&str>) -> Self {
        let Ok(address) = text.parse::<IpAddr>() else { return Self::Text(text.to_owned()) };
        match bits {
            Some(bits) => match bits.parse().map(|bits| IpNet::new(address, bits)) {
                Ok(Ok(net)) => Self::Net(net.trunc()),
                _ => Self::Text(text.to_owned()),
            },
            None => Self::Net(address.to_canonical().into()),
        }
    }

    /// Reads what may be an address, a network or any other text.
    pub(crate) fn from_text(text: &str) -> Self {
        let inner = text
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .filter(|inner| !inner.is_empty())
            .unwrap_or(text);
        let found = match inner.split_once('/') {
            Some((address, bits)) => Self::from_address(address, Some(bits)),
            None => Self::from_address(inner, None),
        };
        match found {
            Self::Net(net) => Self::Net(net),
            _ => Self::Text(text.to_owned()),
        }
    }
}

impl fmt::Display for FailureId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Net(net) if net.prefix_len() == net.max_prefix_len() => net.addr().fmt(f),
            Self::Net(net) => net.fmt(f),
            Self::Name(text) | Self::Text(text) => text.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_become_groups() {
        assert_eq!(
            expand_tags("<F-USER>a</F-USER> <x> </F-NO> <F-ID/>", UseDns::Yes),
            r"(?P<user>a) <x> </F-NO> (?P<fid>\S+)"
        );
        assert_eq!(expand_tags("<F-ID>.*</F-ID><CIDR>", UseDns::Yes), r"(?P<fid>.*)(?P<cidr>\d+)");
        assert!(expand_tags("<HOST>", UseDns::Warn).contains("dns"));
        assert!(!expand_tags("<HOST>", UseDns::No).contains("dns"));
        assert_eq!(expand_tags("(?P<email><\\S+@\\S+>)", UseDns::Yes), "(?P<email><\\S+@\\S+>)");
    }

    #[test]
    fn addresses_are_read_by_value() {
        for (text, shown) in [
            ("192.0.2.1", "192.0.2.1"),
            ("2001:DB8::1", "2001:db8::1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("192.0.2.7/24", "192.0.2.0/24"),
            ("999.1.1.1", "999.1.1.1"),
            ("user one", "user one"),
        ] {
            assert_eq!(FailureId::from_text(text).to_string(), shown);
        }
    }
}
