//! What `wget` and its like do: the address is taken apart and noted. Nothing
//! is connected to from here. Where the operator has switched fetching on,
//! somebody else (a [`Fetch`]) fetches into quarantine and answers with bytes,
//! which are then a file of the overlay; nothing is ever run.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::{Act, Shell, sha256};
use crate::persona::hash;

/// Longest address that is noted, in bytes.
pub const MAX_URL_BYTES: usize = 2_048;
/// Longest name of a client that is passed on, in bytes.
pub const MAX_AGENT_BYTES: usize = 256;
/// Most files that one line has really fetched; further ones get no answer.
const MAX_FETCHES: u32 = 8;
/// Longest time that the fetches of one line take together, apart from the
/// last of them.
const MAX_FETCHING: Duration = Duration::from_secs(60);

/// An address, taken apart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Url {
    /// `http`, `https`, `ftp` or `tftp`.
    pub scheme: String,
    /// A name and a password, where the address has them.
    pub login: Option<(String, String)>,
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
        let (login, authority) = match authority.rsplit_once('@') {
            Some((login, authority)) => {
                let (user, password) = login.split_once(':').unwrap_or((login, ""));
                (Some((user.to_owned(), password.to_owned())), authority)
            }
            None => (None, authority),
        };
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
        Some(Self { scheme, login, host: host.to_owned(), port, path })
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
            // Loopback, unspecified, and the old form of IPv4 in IPv6.
            address.to_bits() >> 32 == 0
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// The program that asks.
    pub tool: String,
    /// What it says that it is, over HTTP.
    pub agent: String,
    /// Whether the server has to show a certificate that is valid.
    pub verify: bool,
    /// Whether redirects are followed.
    pub follow: bool,
    /// From where.
    pub url: Url,
}

impl Request {
    /// A request as `tool` makes it if it is told nothing else.
    #[must_use]
    pub fn new(tool: &str, url: Url) -> Self {
        let agent = match tool {
            "curl" => "curl/7.88.1",
            _ => "Wget/1.21.3",
        };
        Self { tool: tool.to_owned(), agent: agent.to_owned(), verify: true, follow: true, url }
    }

    /// Whether every part is as long as it may be, and of a known protocol.
    #[must_use]
    pub fn is_within_limits(&self) -> bool {
        let Self { tool, agent, url, .. } = self;
        let login = url.login.as_ref().map_or(0, |(user, password)| user.len() + password.len());
        matches!(url.scheme.as_str(), "http" | "https" | "ftp" | "tftp")
            && tool.len() <= MAX_AGENT_BYTES
            && agent.len() <= MAX_AGENT_BYTES
            && url.host.len() + url.path.len() + login <= MAX_URL_BYTES + 1
    }
}

/// Why nobody was asked for a file, though the operator has fetching on. The
/// attacker sees a server that does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Withheld {
    /// The address is not public, or is ours or the hub's.
    NotPublic,
    /// The server was asked too often lately.
    TooOften,
    /// Too many files wait.
    QueueFull,
    /// Nobody fetches just now.
    Away,
}

/// How it went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
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
    /// The server answers with another status of HTTP than 200 or 404.
    Status(u16),
    /// The server does not let such a user in.
    LoginRefused,
    /// The certificate of the server is not valid.
    BadCertificate,
    /// The answer has no end, breaks off or is none.
    Broken,
    /// One redirect too many.
    TooManyRedirects,
    /// The file is larger than the operator wants.
    TooLarge,
    /// Nobody was asked.
    Withheld(Withheld),
    /// The file.
    Fetched {
        /// Its bytes; no more than the operator wants.
        bytes: Vec<u8>,
        /// Its media type.
        kind: Option<String>,
        /// Milliseconds from the first packet to the last byte.
        millis: u64,
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
            Self::Status(_) => "status",
            Self::LoginRefused => "login-refused",
            Self::BadCertificate => "bad-certificate",
            Self::Broken => "broken",
            Self::TooManyRedirects => "too-many-redirects",
            Self::TooLarge => "too-large",
            Self::Withheld(Withheld::NotPublic) => "withheld-not-public",
            Self::Withheld(Withheld::TooOften) => "withheld-too-often",
            Self::Withheld(Withheld::QueueFull) => "withheld-queue-full",
            Self::Withheld(Withheld::Away) => "withheld-away",
            Self::Fetched { .. } => "fetched",
        }
    }
}

/// Somebody outside the zone who fetches files into quarantine: within bounds
/// of size and time, never from an address that [`is_private`] after the name
/// was looked up, and never to run them.
pub trait Fetch: Send + Sync + std::fmt::Debug {
    /// Fetches a file.
    fn fetch(&self, request: Request) -> Pin<Box<dyn Future<Output = Outcome> + Send + '_>>;

    /// Whether it is worth asking for a file of `address`.
    fn permits(&self, address: IpAddr) -> bool;
}

impl Shell {
    /// Notes that something was asked for.
    pub(super) fn note_fetch(&mut self, tool: &str, url: &str, outcome: &'static str) {
        let url = url.get(..MAX_URL_BYTES).unwrap_or(url).to_owned();
        let got = None;
        self.act(Act::FetchAttempted { tool: tool.to_owned(), url, outcome, got, status: None });
    }

    /// Asks for a file as `tool` does by itself, and notes it.
    pub(super) fn fetch(&mut self, tool: &str, url: &Url, shown: &str) -> Outcome {
        self.request(Request::new(tool, url.clone()), shown)
    }

    /// Asks for a file, and notes it. A file that came is captured at once:
    /// what is piped into a shell never gets a name.
    pub(super) fn request(&mut self, request: Request, shown: &str) -> Outcome {
        let (tool, name) = (request.tool.clone(), request.url.file_name().to_owned());
        let (outcome, really) = self.outcome(request);
        if !really {
            self.budget.sleep(match &outcome {
                Outcome::Refused | Outcome::Unreachable => 90,
                Outcome::Unresolved => 400,
                _ => 30_000,
            });
        }
        let url = shown.get(..MAX_URL_BYTES).unwrap_or(shown).to_owned();
        let status = match &outcome {
            Outcome::Status(status) => Some(*status),
            _ => None,
        };
        let got = match &outcome {
            Outcome::Fetched { bytes, .. } => Some((bytes.len() as u64, sha256(bytes))),
            _ => None,
        };
        let outcome_name = outcome.name();
        self.act(Act::FetchAttempted { tool, url, outcome: outcome_name, got, status });
        if let (Outcome::Fetched { bytes, .. }, Some((_, hash))) = (&outcome, got)
            && self.is_new_drop(hash)
        {
            let path = self.path(&name);
            self.act(Act::FileDropped { path, bytes: Arc::new(bytes.clone()), hash });
        }
        outcome
    }

    /// How it goes, and whether somebody was really asked.
    fn outcome(&mut self, request: Request) -> (Outcome, bool) {
        let url = &request.url;
        let address = url.address();
        let fetcher = self.fetcher.clone();
        let fetcher = fetcher.filter(|fetcher| address.is_none_or(|to| fetcher.permits(to)));
        let handle = tokio::runtime::Handle::try_current();
        let named_here = url.host.eq_ignore_ascii_case("localhost");
        if let (Some(fetcher), Ok(handle), false) = (fetcher, handle, named_here) {
            if self.fetches.0 >= MAX_FETCHES || self.fetches.1 >= MAX_FETCHING {
                return (Outcome::Withheld(Withheld::TooOften), false);
            }
            let since = Instant::now();
            let outcome = handle.block_on(fetcher.fetch(request));
            self.fetches.0 += 1;
            self.fetches.1 += since.elapsed();
            let shown_to_wait = matches!(outcome, Outcome::Withheld(why) if why != Withheld::Away);
            return (outcome, !shown_to_wait);
        }
        if named_here || address.is_some_and(|address| address.is_loopback()) {
            return (Outcome::Refused, false);
        }
        // Addresses of documentation go nowhere, as public ones do from here.
        let public = |address| !is_private(address) || is_documentation(address);
        if address.is_some_and(|address| !public(address)) {
            return (Outcome::Unreachable, false);
        }
        let outcome = match address {
            None => Outcome::Unresolved,
            // The same for one host, so that a second try says the same.
            Some(_) if hash(url.host.as_bytes()).is_multiple_of(4) => Outcome::TimedOut,
            Some(_) => Outcome::Refused,
        };
        (outcome, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_apart() {
        let url = Url::parse("http://u:p@192.0.2.1:8080/a/b.sh?x=1").unwrap();
        assert_eq!((url.host.as_str(), url.port, url.file_name()), ("192.0.2.1", 8080, "b.sh"));
        assert_eq!(url.login, Some(("u".to_owned(), "p".to_owned())));
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
