//! What `wget` and its like do: the address is taken apart and noted. Nothing
//! is connected to from here. Where the operator has switched fetching on,
//! somebody else (a [`Fetch`]) fetches into quarantine and answers with bytes,
//! which are then a file of the overlay; nothing is ever run.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::time::Duration;

use super::{Act, Shell};
use crate::persona::hash;

/// Longest address that is noted, in bytes.
pub const MAX_URL_BYTES: usize = 2_048;
/// Most bytes that a fetched file may have.
pub const MAX_FETCH_BYTES: usize = 2 * 1024 * 1024;
/// Longest time a fetch may take.
pub const FETCH_TIMEOUT: Duration = Duration::from_secs(20);

/// An address, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// `http`, `https`, `ftp` or `tftp`.
    pub scheme: String,
    /// A name or an address.
    pub host: String,
    /// The port.
    pub port: u16,
    /// From the first `/`.
    pub path: String,
}

impl Url {
    /// Takes an address apart as `wget` does: without a scheme it is HTTP.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.get(..MAX_URL_BYTES).unwrap_or(text);
        let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
        let scheme = scheme.to_ascii_lowercase();
        let port = match scheme.as_str() {
            "http" => 80,
            "https" => 443,
            "ftp" => 21,
            "tftp" => 69,
            _ => return None,
        };
        let cut = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(cut);
        let authority = authority.rsplit('@').next().unwrap_or(authority);
        let (host, port) = match authority.strip_prefix('[') {
            Some(six) => {
                let (host, after) = six.split_once(']')?;
                (host, after.strip_prefix(':').map_or(Some(port), |p| p.parse().ok())?)
            }
            None => match authority.rsplit_once(':') {
                Some((host, port)) => (host, port.parse().ok()?),
                None => (authority, port),
            },
        };
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':');
        if host.is_empty() || !host.bytes().all(plain) {
            return None;
        }
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Some(Self { scheme, host: host.to_owned(), port, path })
    }

    /// The name a file gets that is fetched from there.
    #[must_use]
    pub fn file_name(&self) -> &str {
        let path = self.path.split(['?', '#']).next().unwrap_or_default();
        match path.rsplit('/').next() {
            Some(name) if !name.is_empty() => name,
            _ => "index.html",
        }
    }

    /// The host as an address, where it is one.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        self.host.parse().ok().or_else(|| {
            // One number, as some bots write it.
            self.host.parse::<u32>().ok().map(|bits| IpAddr::V4(Ipv4Addr::from_bits(bits)))
        })
    }
}

/// Whether an address is not of the public network: nothing is ever fetched
/// from there, also when a name leads to it.
#[must_use]
pub fn is_private(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let [a, b, c, _] = address.octets();
            address.is_private()
                || address.is_loopback()
                || address.is_link_local()
                || address.is_broadcast()
                || address.is_documentation()
                || address.is_multicast()
                || a == 0
                || a >= 240
                || (a == 100 && (64..128).contains(&b))
                || (a == 198 && (18..20).contains(&b))
                || (a == 192 && b == 0 && c == 0)
        }
        IpAddr::V6(address) => {
            let first = address.segments().first().copied().unwrap_or(0);
            address.is_loopback()
                || address.is_unspecified()
                || address.is_multicast()
                || first & 0xfe00 == 0xfc00
                || first & 0xffc0 == 0xfe80
                || first == 0x2001 && address.segments().get(1) == Some(&0x0db8)
                || first == 0x0064
                || first == 0x2002
        }
    }
}

fn is_documentation(address: IpAddr) -> bool {
    matches!(address, IpAddr::V4(address) if address.is_documentation())
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The program that asks.
    pub tool: String,
    /// From where.
    pub url: Url,
}

/// How it went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nobody listens there.
    Refused,
    /// No answer.
    TimedOut,
    /// The name is not known.
    Unresolved,
    /// No way to there.
    Unreachable,
    /// The server has no such file.
    NotFound,
    /// The file; at most [`MAX_FETCH_BYTES`].
    Fetched {
        /// Its bytes.
        bytes: Vec<u8>,
        /// Its media type.
        kind: Option<String>,
    },
}

impl Outcome {
    /// Its name in events.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::TimedOut => "timeout",
            Self::Unresolved => "unresolved",
            Self::Unreachable => "unreachable",
            Self::NotFound => "not-found",
            Self::Fetched { .. } => "fetched",
        }
    }
}

/// Somebody outside the zone who fetches files into quarantine: within
/// [`MAX_FETCH_BYTES`] and [`FETCH_TIMEOUT`], never from an address that
/// [`is_private`] after the name was looked up, and never to run them.
pub trait Fetch: Send + Sync + std::fmt::Debug {
    /// Fetches a file.
    fn fetch(&self, request: Request) -> Pin<Box<dyn Future<Output = Outcome> + Send + '_>>;
}

impl Shell {
    /// Notes that something was asked for.
    pub(super) fn note_fetch(&mut self, tool: &str, url: &str, outcome: &'static str) {
        let url = url.get(..MAX_URL_BYTES).unwrap_or(url).to_owned();
        self.act(Act::FetchAttempted { tool: tool.to_owned(), url, outcome });
    }

    /// Asks for a file, and notes it.
    pub(super) fn fetch(&mut self, tool: &str, url: &Url, shown: &str) -> Outcome {
        let outcome = self.outcome(tool, url);
        self.budget.sleep(match &outcome {
            Outcome::Refused | Outcome::Unreachable => 90,
            Outcome::Unresolved => 400,
            Outcome::TimedOut => 30_000,
            Outcome::NotFound => 300,
            Outcome::Fetched { bytes, .. } => 200 + bytes.len() as u64 / 400,
        });
        self.note_fetch(tool, shown, outcome.name());
        outcome
    }

    fn outcome(&mut self, tool: &str, url: &Url) -> Outcome {
        let address = url.address();
        if url.host == "localhost" || address.is_some_and(|address| address.is_loopback()) {
            return Outcome::Refused;
        }
        // Addresses of documentation go nowhere, as public ones do from here.
        let public = |address| !is_private(address) || is_documentation(address);
        if address.is_some_and(|address| !public(address)) {
            return Outcome::Unreachable;
        }
        let handle = tokio::runtime::Handle::try_current();
        if let (Some(fetcher), Ok(handle)) = (self.fetcher.clone(), handle)
            && !address.is_some_and(is_private)
        {
            let request = Request { tool: tool.to_owned(), url: url.clone() };
            let outcome = handle.block_on(async {
                tokio::time::timeout(FETCH_TIMEOUT, fetcher.fetch(request)).await
            });
            return match outcome {
                Ok(Outcome::Fetched { mut bytes, kind }) => {
                    bytes.truncate(MAX_FETCH_BYTES);
                    Outcome::Fetched { bytes, kind }
                }
                Ok(other) => other,
                Err(_) => Outcome::TimedOut,
            };
        }
        match address {
            None => Outcome::Unresolved,
            // The same for one host, so that a second try says the same.
            Some(_) if hash(url.host.as_bytes()).is_multiple_of(4) => Outcome::TimedOut,
            Some(_) => Outcome::Refused,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_apart() {
        let url = Url::parse("http://u:p@192.0.2.1:8080/a/b.sh?x=1").unwrap();
        assert_eq!((url.host.as_str(), url.port, url.file_name()), ("192.0.2.1", 8080, "b.sh"));
        assert_eq!(Url::parse("evil.test").unwrap().file_name(), "index.html");
        assert_eq!(Url::parse("https://[2001:db8::1]/x").unwrap().port, 443);
        assert_eq!(
            Url::parse("http://3221225985/x").unwrap().address(),
            Some("192.0.2.1".parse().unwrap())
        );
        for wrong in ["", "gopher://x", "http://", "http://a b", "http://x:99999/"] {
            assert_eq!(Url::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_is_not_public_is_private() {
        for text in [
            "10.0.0.1",
            "127.0.0.1",
            "169.254.169.254",
            "192.168.1.1",
            "172.16.0.1",
            "0.0.0.0",
            "100.64.1.1",
            "::1",
            "fe80::1",
            "fd00::1",
            "::ffff:10.0.0.1",
            "224.0.0.1",
            "255.255.255.255",
        ] {
            assert!(is_private(text.parse().unwrap()), "{text}");
        }
        for text in ["8.8.8.8", "1.1.1.1", "2606:4700::1"] {
            assert!(!is_private(text.parse().unwrap()), "{text}");
        }
    }
}
