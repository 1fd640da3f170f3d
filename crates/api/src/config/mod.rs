//! Settings of the doors to the hub: where to listen, whom to believe, how
//! much to take. Not how they are read from a file; the binary does that.

mod alpha;
mod ews;
mod glimpse;
mod report;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

pub use alpha::AlphaConfig;
pub use ews::EwsConfig;
pub(crate) use glimpse::GLIMPSE_SENSOR;
pub use glimpse::GlimpseConfig;
pub use report::{Openness, ReportConfig};

use crate::compat::hpfeeds::HpfeedsConfig;

/// Settings of the API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where to listen. Default: 127.0.0.1:8443 with TLS.
    pub listeners: Vec<Listener>,
    /// Path below which everything is served, such as `/palisade`, where a
    /// reverse proxy hands on only a part of its own tree. Default: empty.
    pub base_path: String,
    /// Reverse proxies whose word about the client's address
    /// (`X-Forwarded-For`, `Forwarded`, PROXY protocol) and scheme is taken.
    /// Default: none.
    pub trusted_proxies: Vec<IpNet>,
    /// The address people type, such as `https://palisade.example`. Turns on
    /// `Strict-Transport-Security`. Default: unknown.
    pub public_url: Option<String>,
    /// Whether a client on this machine may read `/metrics` without a
    /// credential. A reverse proxy on this machine must then be one of
    /// `trusted_proxies`, or everyone behind it is on this machine. Default: false.
    pub metrics_open: bool,
    /// The page for anybody. Default: there is none.
    pub public: PublicConfig,
    /// Certificate of the TLS listeners. Default: one of our own making.
    pub tls: TlsConfig,
    /// The EWS dialect.
    pub ews: EwsConfig,
    /// Glimpse's Data API.
    pub glimpse: GlimpseConfig,
    /// Alpha's counts of SSH logins.
    pub alpha: AlphaConfig,
    /// HoneyPotR's report API.
    pub report: ReportConfig,
    /// Bounds.
    pub limits: Limits,
    /// hpfeeds: our broker, and brokers elsewhere.
    pub hpfeeds: HpfeedsConfig,
}

/// The page that anybody sees without signing in: community events alone, and
/// of them only country, place in whole degrees, type and time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PublicConfig {
    /// Whether there is one: at `/public`, and at `/` for who is not signed in.
    /// Default: false.
    pub enabled: bool,
    /// Its title. Default: Live attacks.
    pub title: String,
    /// Your own site, which it links to. Default: none.
    pub link: Option<String>,
    /// Whether its map marks where this hub is (`hub.home`, in whole degrees).
    /// Default: false.
    pub show_home: bool,
}

/// One address to listen on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// Address and port; port 0 lets the system choose.
    pub address: SocketAddr,
    /// Whether it speaks TLS. Default: true.
    #[serde(default = "yes")]
    pub tls: bool,
    /// Whether every connection begins with a PROXY protocol header (version
    /// 1 or 2); taken from trusted proxies alone, others are cut off.
    /// Default: false.
    #[serde(default)]
    pub proxy_protocol: bool,
    /// What is spoken there. Default: the native dialect, which has the others
    /// beside it.
    #[serde(default = "native")]
    pub dialects: Vec<Dialect>,
}

/// A wire dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// Palisade's own API and its page, and beside it all others that HTTP carries.
    Native,
    /// What honeypots of T-Pot post and ask.
    Ews,
    /// HoneyPotR's report API.
    Report,
    /// Glimpse's Data API and the pages of its users.
    Glimpse,
    /// Alpha's counts of SSH logins.
    Alpha,
}

/// The certificate of the TLS listeners.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsConfig {
    /// PEM file with the certificate and the chain above it. Default: a
    /// certificate of our own making in the data directory.
    pub certificate: Option<PathBuf>,
    /// PEM file with its private key.
    pub key: Option<PathBuf>,
    /// More names and addresses for the certificate of our own making, beside
    /// localhost, the loopback addresses and this machine's name.
    pub names: Vec<String>,
}

/// Bounds on what clients may take of the machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Open connections of all listeners together. Default: 1024.
    pub connections: usize,
    /// Open connections of one address; trusted proxies are exempt, the
    /// addresses behind them are not. Default: 128.
    pub connections_per_address: usize,
    /// Live streams of all clients together. Default: 256.
    pub streams: usize,
    /// Bytes of an ingest body as it is sent. Default: 4 MiB.
    pub ingest_bytes: usize,
    /// Bytes of any other body. Default: 64 KiB.
    pub body_bytes: usize,
    /// Seconds to finish a TLS handshake or a PROXY header. Default: 10.
    pub handshake_secs: u64,
    /// Seconds to send the header of a request. Default: 10.
    pub header_secs: u64,
    /// Seconds to send a body. Default: 20.
    pub body_secs: u64,
    /// Seconds until an answer must have begun. Default: 30.
    pub request_secs: u64,
    /// Seconds that open requests get to end when the server stops. Default: 5.
    pub shutdown_secs: u64,
    /// Sign-in attempts that one address may make at once; one more every six
    /// seconds. Default: 10.
    pub sign_in_burst: u32,
    /// Requests without a valid credential that one address may make at once;
    /// one more every second. Default: 60.
    pub unauthenticated_burst: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listeners: vec![Listener::default()],
            base_path: String::new(),
            trusted_proxies: Vec::new(),
            public_url: None,
            metrics_open: false,
            public: PublicConfig::default(),
            tls: TlsConfig::default(),
            ews: EwsConfig::default(),
            glimpse: GlimpseConfig::default(),
            alpha: AlphaConfig::default(),
            report: ReportConfig::default(),
            limits: Limits::default(),
            hpfeeds: HpfeedsConfig::default(),
        }
    }
}

impl Default for PublicConfig {
    fn default() -> Self {
        Self { enabled: false, title: "Live attacks".to_owned(), link: None, show_home: false }
    }
}

impl Default for Listener {
    fn default() -> Self {
        Self {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 8443)),
            tls: true,
            proxy_protocol: false,
            dialects: native(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1024,
            connections_per_address: 128,
            streams: 256,
            ingest_bytes: 4 * 1024 * 1024,
            body_bytes: 64 * 1024,
            handshake_secs: 10,
            header_secs: 10,
            body_secs: 20,
            request_secs: 30,
            shutdown_secs: 5,
            sign_in_burst: 10,
            unauthenticated_burst: 60,
        }
    }
}

fn yes() -> bool {
    true
}

fn native() -> Vec<Dialect> {
    vec![Dialect::Native]
}

impl Config {
    /// Checks what the types do not.
    ///
    /// # Errors
    /// Every mistake, one sentence each.
    pub fn validate(&self) -> Result<(), Vec<String>> {
        let mut mistakes = Vec::new();
        if self.listeners.is_empty() {
            mistakes.push("listeners: give at least one address to listen on".to_owned());
        }
        for (index, listener) in self.listeners.iter().enumerate() {
            let address = listener.address;
            let twice = self.listeners.iter().take(index).any(|l| l.address == address);
            if twice && address.port() != 0 {
                mistakes.push(format!("listeners: {address} is listed twice"));
            }
            if listener.dialects.is_empty() {
                mistakes.push(format!("listeners: {address} has no dialect; remove it or add one"));
            }
            if listener.proxy_protocol && self.trusted_proxies.is_empty() {
                mistakes.push(format!(
                    "listeners: {address} has proxy_protocol, but trusted_proxies is empty, so \
                     every connection would be cut off"
                ));
            }
            if !listener.tls && !listener.address.ip().is_loopback() && !self.behind_proxy() {
                mistakes.push(format!(
                    "listeners: {address} would take passwords without TLS from the network; set \
                     tls = true, listen on loopback, or name the reverse proxy in trusted_proxies"
                ));
            }
        }
        if let Err(rule) = check_base_path(&self.base_path) {
            mistakes.push(format!("base_path: {rule}"));
        }
        if let Some(url) = &self.public_url
            && !is_web_address(url)
        {
            mistakes
                .push("public_url: expected an address such as https://palisade.example".into());
        }
        let title = &self.public.title;
        if !(1..=MAX_TITLE_CHARS).contains(&title.chars().count())
            || title.chars().any(char::is_control)
        {
            mistakes.push(format!(
                "public.title: expected 1 to {MAX_TITLE_CHARS} characters, none a control character"
            ));
        }
        if let Some(link) = &self.public.link
            && !is_web_address(link)
        {
            mistakes.push("public.link: expected an address such as https://example.org".into());
        }
        if self.tls.certificate.is_some() != self.tls.key.is_some() {
            mistakes.push("tls: certificate and key belong together; give both or none".into());
        }
        self.ews.collect_mistakes(&mut mistakes);
        self.glimpse.collect_mistakes(&mut mistakes);
        self.alpha.collect_mistakes(&mut mistakes);
        self.report.collect_mistakes(&mut mistakes);
        self.limits.collect_mistakes(&mut mistakes);
        mistakes.extend(self.hpfeeds.mistakes());
        if mistakes.is_empty() { Ok(()) } else { Err(mistakes) }
    }

    /// Puts the first listener on another address, as `--listen` asks for.
    pub fn set_main_address(&mut self, address: SocketAddr) {
        match self.listeners.first_mut() {
            Some(listener) => listener.address = address,
            None => self.listeners.push(Listener { address, ..Listener::default() }),
        }
    }

    fn behind_proxy(&self) -> bool {
        !self.trusted_proxies.is_empty()
    }

    /// Whether this peer's word about who it speaks for is taken.
    #[must_use]
    pub fn trusts(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.trusted_proxies.iter().any(|net| net.contains(&peer))
    }
}

/// Longest title of the public page.
const MAX_TITLE_CHARS: usize = 80;

/// Whether a text is an origin as browsers send it: scheme, host, perhaps a port.
fn is_origin(text: &str) -> bool {
    text.parse::<http::Uri>().is_ok_and(|uri| {
        matches!(uri.scheme_str(), Some("https" | "http"))
            && uri.host().is_some()
            && uri.path() == "/"
            && uri.query().is_none()
            && !text.ends_with('/')
    })
}

fn is_web_address(url: &str) -> bool {
    url.parse::<http::Uri>()
        .is_ok_and(|uri| matches!(uri.scheme_str(), Some("https" | "http")) && uri.host().is_some())
}

/// A base path is empty, or begins with a slash, ends without and is plain.
fn check_base_path(path: &str) -> Result<(), &'static str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '-' | '_' | '.' | '~');
    if path.is_empty() {
        Ok(())
    } else if !path.starts_with('/') || path.ends_with('/') {
        Err("begin it with '/' and end it without, such as /palisade")
    } else if !path.chars().all(plain) || path.contains("//") || path.contains("/.") {
        Err("use letters, digits, '-', '_', '.', '~' and single slashes")
    } else {
        Ok(())
    }
}

impl Limits {
    fn collect_mistakes(&self, mistakes: &mut Vec<String>) {
        let seconds = [
            ("handshake_secs", self.handshake_secs),
            ("header_secs", self.header_secs),
            ("body_secs", self.body_secs),
            ("request_secs", self.request_secs),
        ];
        for (name, value) in seconds {
            if value == 0 || value > 3600 {
                mistakes.push(format!("limits.{name}: expected 1 to 3600 seconds, found {value}"));
            }
        }
        if self.shutdown_secs > 3600 {
            mistakes.push("limits.shutdown_secs: expected at most 3600 seconds".into());
        }
        let counts = [
            ("connections", self.connections),
            ("connections_per_address", self.connections_per_address),
            ("streams", self.streams),
            ("ingest_bytes", self.ingest_bytes),
            ("body_bytes", self.body_bytes),
            ("sign_in_burst", self.sign_in_burst as usize),
            ("unauthenticated_burst", self.unauthenticated_burst as usize),
        ];
        for (name, value) in counts {
            if value == 0 {
                mistakes.push(format!("limits.{name}: 0 would refuse everything"));
            }
        }
        if self.ingest_bytes > palisade_event::wire::MAX_BATCH_BYTES {
            let most = palisade_event::wire::MAX_BATCH_BYTES;
            mistakes.push(format!("limits.ingest_bytes: a batch has at most {most} bytes"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_tls_on_loopback_and_valid() {
        let config = Config::default();
        assert_eq!(config.validate(), Ok(()));
        assert_eq!(config.listeners[0].address.to_string(), "127.0.0.1:8443");
        assert!(config.listeners[0].tls);
    }

    #[test]
    fn all_mistakes_are_listed_at_once() {
        let config = Config {
            listeners: vec![Listener {
                address: "0.0.0.0:80".parse().unwrap(),
                tls: false,
                proxy_protocol: true,
                dialects: vec![],
            }],
            base_path: "palisade/".into(),
            public_url: Some("palisade".into()),
            public: PublicConfig {
                title: String::new(),
                link: Some("javascript:alert(1)".into()),
                ..PublicConfig::default()
            },
            tls: TlsConfig { key: Some("k".into()), ..TlsConfig::default() },
            limits: Limits { connections: 0, header_secs: 0, ..Limits::default() },
            ..Config::default()
        };
        let mistakes = config.validate().unwrap_err();
        assert_eq!(mistakes.len(), 10, "{mistakes:#?}");
    }

    #[test]
    fn base_paths_that_could_leave_the_tree_are_refused() {
        for good in ["", "/a", "/a/b-c"] {
            assert_eq!(check_base_path(good), Ok(()), "{good}");
        }
        for bad in ["a", "/", "/a/", "/a//b", "/../a", "/a\"b", "/ä"] {
            assert!(check_base_path(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn mapped_addresses_are_trusted_like_the_plain_ones() {
        let config =
            Config { trusted_proxies: vec!["10.0.0.0/8".parse().unwrap()], ..Config::default() };
        assert!(config.trusts("::ffff:10.1.2.3".parse().unwrap()));
        assert!(!config.trusts("192.0.2.1".parse().unwrap()));
    }
}
