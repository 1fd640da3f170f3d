//! What the operator may set for the zone. Not how it is merged from files and
//! flags; the binary does that.

mod fetch;
mod generic;
mod http;
mod listen;
mod plugin;
mod scans;
mod ssh;

use std::collections::HashSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

pub use self::fetch::FetchConfig;
pub use self::generic::{TcpConfig, UdpConfig};
pub use self::http::HttpConfig;
pub use self::listen::{Listen, MAX_SOCKETS};
pub(crate) use self::plugin::services as plugin_services;
pub use self::plugin::{MAX_PLUGINS, OneOrMore, PluginConfig};
pub use self::scans::{CaptureConfig, ScansConfig};
pub use self::ssh::{SshAccept, SshConfig, SshKeys, SshTunnels, WEAK_LOGINS};
use crate::fingerprint::DEBIAN_SIGNATURES;
use crate::plugin::PluginName;

/// The honeypots of one installation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// What listens where. Default: SSH on 127.0.0.1:2222, telnet on
    /// 127.0.0.1:2323 and HTTP on 127.0.0.1:8081.
    pub services: Vec<ServiceConfig>,
    /// What strangers may use up.
    pub limits: Limits,
    /// Whom the zone pretends to be.
    pub persona: PersonaConfig,
    /// Signatures of systems in p0f's form, asked after our own; the default
    /// is where Debian has them, and read where it is there. Empty: none.
    pub p0f_signatures: PathBuf,
    /// Where certificates are kept that the made-up machines have. The binary
    /// sets it to a folder of its data; without one they are made anew at each
    /// start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_keys: Option<PathBuf>,
    /// A folder with further signatures of known attacks in requests
    /// (`*.toml`), read at the start. Default: the shipped ones alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exploits: Option<PathBuf>,
    /// Whether files that shells ask for are really fetched.
    pub fetch: FetchConfig,
    /// When many ports of one source are a scan.
    pub scans: ScansConfig,
    /// Whether first packets are looked at that never become a connection.
    pub capture: CaptureConfig,
    /// A folder with plug-ins (`NAME/init.luau`), which all serve. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plugins: Option<PathBuf>,
    /// Plug-ins that serve, or where those of the folder listen.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub plugin: Vec<PluginConfig>,
    /// Whether the honeypots have a confined process of their own. Default `own`.
    pub process: Process,
    /// Who that process runs as where it was started by root: a name of
    /// `/etc/passwd` or a number. Default `nobody`.
    pub user: String,
}

/// Where honeypots run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Process {
    /// In a process of their own, without rights and without files.
    #[default]
    Own,
    /// In the process of the agent and the hub, unconfined: to look for faults.
    Same,
}

impl Default for Config {
    fn default() -> Self {
        let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Self {
            services: vec![
                ServiceConfig::new(ServiceKind::Ssh, local(2222)),
                ServiceConfig::new(ServiceKind::Telnet, local(2323)),
                ServiceConfig::new(ServiceKind::Http, local(8081)),
            ],
            limits: Limits::default(),
            persona: PersonaConfig::default(),
            p0f_signatures: DEBIAN_SIGNATURES.into(),
            process: Process::default(),
            user: "nobody".to_owned(),
            tls_keys: None,
            exploits: None,
            fetch: FetchConfig::default(),
            scans: ScansConfig::default(),
            capture: CaptureConfig::default(),
            plugins: None,
            plugin: Vec::new(),
        }
    }
}

/// The protocol a service speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ServiceKind {
    /// A server's secure shell (RFC 4251).
    Ssh,
    /// A device's login and shell (RFC 854).
    Telnet,
    /// Web pages of a device or server (RFC 9112).
    Http,
    /// A port without a protocol of its own.
    Tcp,
    /// Datagrams, recorded.
    Udp,
    /// All ports that a firewall redirects to one.
    #[serde(rename = "catch-all")]
    CatchAll,
    /// What a plug-in speaks.
    Plugin,
}

impl ServiceKind {
    /// Its name in the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ssh => "ssh",
            Self::Telnet => "telnet",
            Self::Http => "http",
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::CatchAll => "catch-all",
            Self::Plugin => "plugin",
        }
    }

    /// The category its events carry, in the words honeypot networks use.
    #[must_use]
    pub fn category(self) -> &'static str {
        match self {
            Self::Ssh => "SSH/console(palisade)",
            Self::Telnet => "Telnet(palisade)",
            Self::Http => "Webpage",
            Self::Tcp | Self::Udp | Self::CatchAll | Self::Plugin => "Network(palisade)",
        }
    }
}

impl fmt::Display for ServiceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One listening service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceConfig {
    /// The protocol.
    #[serde(rename = "type")]
    pub kind: ServiceKind,
    /// Address and port, a range of ports, or a list of them.
    pub listen: Listen,
    /// Whether TLS is spoken. Default: no.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tls: bool,
    /// The certificate (PEM, with its chain) and its key. Default: one that
    /// the machine has made for itself, made at the first start and kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<PathBuf>,
    /// The key of `certificate` (PEM).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
    /// Whether a proxy in front tells the client's address. Default `off`.
    #[serde(default)]
    pub proxy_protocol: ProxyMode,
    /// The proxies that are believed, as addresses or networks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trusted_proxies: Vec<TrustedProxy>,
    /// Whether clients are kept busy and never answered. Default: no.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tarpit: bool,
    /// Seconds between two bytes of a tarpit. Default 10.
    #[serde(default = "tarpit_secs", skip_serializing_if = "is_tarpit_secs")]
    pub tarpit_secs: u64,
    /// Settings of `type = "ssh"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssh: Option<SshConfig>,
    /// Settings of `type = "telnet"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub telnet: Option<TelnetConfig>,
    /// Settings of `type = "http"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpConfig>,
    /// Settings of `type = "tcp"` and of what a catch-all hands to nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp: Option<TcpConfig>,
    /// Settings of `type = "udp"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub udp: Option<UdpConfig>,
    /// Which plug-in serves, of those that are named or in the folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plugin: Option<PluginName>,
}

fn tarpit_secs() -> u64 {
    10
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_tarpit_secs(secs: &u64) -> bool {
    *secs == tarpit_secs()
}

impl ServiceConfig {
    /// A service with default settings.
    #[must_use]
    pub fn new(kind: ServiceKind, listen: SocketAddr) -> Self {
        Self {
            kind,
            listen: listen.into(),
            tls: false,
            certificate: None,
            key: None,
            proxy_protocol: ProxyMode::Off,
            trusted_proxies: Vec::new(),
            tarpit: false,
            tarpit_secs: tarpit_secs(),
            ssh: None,
            telnet: None,
            http: None,
            tcp: None,
            udp: None,
            plugin: None,
        }
    }
}

/// Whether connections start with a PROXY protocol header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProxyMode {
    /// They do not; such a header is the attacker's own.
    #[default]
    Off,
    /// They must, and come from a trusted proxy; others are turned away.
    Required,
}

/// An address or a network whose PROXY headers are believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TrustedProxy(IpNet);

impl TrustedProxy {
    /// Whether `address` is meant.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }
}

impl FromStr for TrustedProxy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let single = || text.parse::<IpAddr>().map(|ip| IpNet::from(ip.to_canonical()));
        text.parse::<IpNet>()
            .or_else(|_| single())
            .map(Self)
            .map_err(|_| format!("'{}' is neither an address nor a network", text.escape_default()))
    }
}

impl TryFrom<String> for TrustedProxy {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<TrustedProxy> for String {
    fn from(proxy: TrustedProxy) -> Self {
        proxy.0.to_string()
    }
}

/// Which logins the telnet service lets in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Accept {
    /// None by policy.
    Never,
    /// Any.
    Always,
    /// The `n`-th try of a connection and all after it.
    After(u32),
}

/// Settings of the telnet service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TelnetConfig {
    /// Which logins are let in: `"never"`, `"always"` or `{ after = 3 }`.
    /// Default: `never`, so that nobody gets in to a random one.
    pub accept: Accept,
    /// Whether well-known factory passwords are let in, whatever `accept`
    /// says. Default: yes.
    pub weak_credentials: bool,
    /// Failed logins of one connection before it is cut off. Default 3, as a
    /// device does.
    pub attempts: u32,
    /// Milliseconds before a failed login is answered. Default 3,000.
    pub fail_delay_ms: u64,
}

impl Default for TelnetConfig {
    fn default() -> Self {
        Self { accept: Accept::Never, weak_credentials: true, attempts: 3, fail_delay_ms: 3_000 }
    }
}

/// What strangers may use up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Open connections of all services. Default 4,096.
    pub connections: usize,
    /// Open connections of one IPv4 address or IPv6 /64. Default 64.
    pub connections_per_address: usize,
    /// Seconds a session may last. Default 900.
    pub session_secs: u64,
    /// Seconds a session may be silent. Default 120.
    pub idle_secs: u64,
    /// Bytes a session may send us. Default 8 MiB.
    pub bytes_in: u64,
    /// Bytes we send in a session. Default 8 MiB.
    pub bytes_out: u64,
    /// Seconds that open sessions have to hand over their events when the zone
    /// ends. Default 10.
    pub shutdown_secs: u64,
    /// Connections that tarpits of all services hold. Default 256.
    pub tarpits: usize,
    /// Seconds that a tarpit holds somebody. Default 14,400.
    pub tarpit_secs: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 4_096,
            connections_per_address: 64,
            session_secs: 900,
            idle_secs: 120,
            bytes_in: 8 * 1024 * 1024,
            bytes_out: 8 * 1024 * 1024,
            shutdown_secs: 10,
            tarpits: 256,
            tarpit_secs: 14_400,
        }
    }
}

impl Limits {
    pub(crate) fn idle(&self) -> Duration {
        Duration::from_secs(self.idle_secs)
    }

    pub(crate) fn session(&self) -> Duration {
        Duration::from_secs(self.session_secs)
    }
}

/// Whom the zone pretends to be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PersonaConfig {
    /// The host name that services show. Default: made up from the seed.
    pub hostname: Option<String>,
    /// The number all made-up facts come from, so that no two installations
    /// look alike and one always looks the same. The binary draws it once and
    /// keeps it; without it the sensor's name takes its place.
    pub seed: Option<u64>,
    /// The prompt of the device's shell, with `\\u`, `\\h`, `\\w` and `\\W` for
    /// user, host and directory. Default: drawn.
    pub prompt: Option<String>,
    /// The server that shells of servers show: `debian12` or `ubuntu2204`.
    /// Default: drawn.
    pub server: Option<String>,
    /// A folder with manifests (`debian12.toml`, `busybox.toml`) in the place
    /// of the shipped ones and, below `root/`, files that machines have.
    /// Read once, at the start.
    pub folder: Option<PathBuf>,
    /// Whether the device is a router or an access point, behind which a server
    /// can be. Default: where services of the device and of the server share an
    /// address, since no other two machines do.
    pub gateway: Option<bool>,
}

/// The longest deadline that may be set: a day.
const MAX_SECS: u64 = 86_400;
/// The longest delay of an answer: half a minute.
const MAX_DELAY_MS: u64 = 30_000;
/// Longest host name of a persona, as Linux has it.
const MAX_HOSTNAME_BYTES: usize = 64;

impl Config {
    /// Checks what the types do not.
    ///
    /// # Errors
    /// A sentence for every mistake, with the key it is about.
    pub fn validate(&self) -> Result<(), Vec<String>> {
        let mut mistakes = Vec::new();
        let (mut taken, mut sockets) = (HashSet::new(), 0usize);
        let udp = |service: &ServiceConfig| service.kind == ServiceKind::Udp;
        for (index, service) in self.services.iter().enumerate() {
            let mut wrong = |text: String| mistakes.push(format!("services[{index}]: {text}"));
            service.check(&mut wrong);
            sockets = sockets.saturating_add(service.listen.count());
            let twice = |address: &SocketAddr| {
                address.port() != 0 && !taken.insert((udp(service), *address))
            };
            if let Some(address) = service.listen.addresses().take(MAX_SOCKETS).find(twice) {
                wrong(format!("{address} is used twice"));
            }
        }
        if sockets > MAX_SOCKETS {
            mistakes.push(format!("services: more than {MAX_SOCKETS} ports in all; type = \"catch-all\" takes them for one"));
        }
        for (index, plugin) in self.plugin.iter().enumerate() {
            plugin.check(&mut |text| mistakes.push(format!("plugin[{index}]: {text}")));
        }
        self.limits.check(&mut |text| mistakes.push(format!("limits: {text}")));
        self.fetch.check(&mut |text| mistakes.push(format!("fetch: {text}")));
        self.scans.check(&mut |text| mistakes.push(format!("scans: {text}")));
        self.capture.check(&mut |text| mistakes.push(format!("capture: {text}")));
        if let Some(name) = &self.persona.hostname {
            let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
            if name.is_empty() || name.len() > MAX_HOSTNAME_BYTES || !name.bytes().all(plain) {
                let rule = "use 1 to 64 letters, digits, '-', '_' or '.'";
                mistakes.push(format!("persona: hostname '{}': {rule}", name.escape_default()));
            }
        }
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        if self.user.is_empty() || !self.user.bytes().all(plain) {
            let user = self.user.escape_default();
            mistakes.push(format!("user '{user}': name a user of this machine, or its number"));
        }
        if mistakes.is_empty() { Ok(()) } else { Err(mistakes) }
    }
}

impl Config {
    /// The persona, with what follows from the services.
    pub(crate) fn persona(&self) -> PersonaConfig {
        let gateway = self.persona.gateway.or_else(|| Some(self.mixes_machines()));
        PersonaConfig { gateway, ..self.persona.clone() }
    }

    /// Whether one address has services of the device and of the server.
    pub(crate) fn mixes_machines(&self) -> bool {
        let of_machine = |service: &&ServiceConfig| {
            matches!(service.kind, ServiceKind::Ssh | ServiceKind::Telnet | ServiceKind::Http)
        };
        let shown = self.services.iter().filter(of_machine);
        let (devices, servers): (Vec<_>, Vec<_>) =
            shown.partition(|service| service.shows_device());
        let meets = |a: IpAddr, b: IpAddr| a == b || a.is_unspecified() || b.is_unspecified();
        let same = |a: &ServiceConfig, b: &ServiceConfig| {
            let mut addresses = a.listen.addresses().map(|address| address.ip());
            addresses.any(|a| b.listen.addresses().any(|b| meets(a, b.ip())))
        };
        devices.iter().any(|a| servers.iter().any(|b| same(a, b)))
    }
}

impl ServiceConfig {
    /// Whether it is the small device that is shown, and not the server.
    pub(crate) fn shows_device(&self) -> bool {
        let site = self.http.as_ref().and_then(|http| http.site.as_deref());
        match self.kind {
            ServiceKind::Telnet => true,
            ServiceKind::Http => site.is_none_or(|site| site == "router"),
            _ => false,
        }
    }

    fn check(&self, wrong: &mut dyn FnMut(String)) {
        let plugin = self.plugin.is_some();
        match (self.tls, self.certificate.is_some(), self.key.is_some()) {
            (false, true, _) | (false, _, true) if !plugin => {
                wrong("certificate and key have no effect without tls = true".to_owned());
            }
            (_, true, false) | (_, false, true) => {
                wrong("certificate and key belong together".to_owned());
            }
            _ => {}
        }
        match (self.proxy_protocol, self.trusted_proxies.is_empty()) {
            (ProxyMode::Required, true) => {
                wrong("proxy_protocol = \"required\" needs trusted_proxies".to_owned());
            }
            (ProxyMode::Off, false) => {
                wrong("trusted_proxies has no effect with proxy_protocol = \"off\"".to_owned());
            }
            _ => {}
        }
        if self.tarpit && (self.tarpit_secs == 0 || self.tarpit_secs > 600) {
            wrong("tarpit_secs must be 1 to 600".to_owned());
        }
        if self.kind == ServiceKind::Plugin && !plugin {
            wrong("type = \"plugin\" needs plugin = \"NAME\"".to_owned());
        }
        if plugin && !matches!(self.kind, ServiceKind::Plugin | ServiceKind::Udp) {
            wrong(format!("the key 'plugin' does not belong to type = \"{}\"", self.kind));
        }
        if self.tarpit
            && matches!(self.kind, ServiceKind::Udp | ServiceKind::CatchAll | ServiceKind::Plugin)
        {
            wrong(format!("type = \"{}\" has no tarpit", self.kind));
        }
        if self.kind == ServiceKind::Udp && (self.tls || self.proxy_protocol != ProxyMode::Off) {
            wrong("type = \"udp\" has neither TLS nor PROXY headers".to_owned());
        }
        if self.kind == ServiceKind::CatchAll && (self.tls || self.proxy_protocol != ProxyMode::Off)
        {
            wrong("type = \"catch-all\" has neither TLS nor PROXY headers of its own".to_owned());
        }
        if self.tcp.is_some() && !matches!(self.kind, ServiceKind::Tcp | ServiceKind::CatchAll) {
            wrong(format!("the table 'tcp' does not belong to type = \"{}\"", self.kind));
        }
        if self.udp.is_some() && self.kind != ServiceKind::Udp {
            wrong(format!("the table 'udp' does not belong to type = \"{}\"", self.kind));
        }
        if let Some(tcp) = &self.tcp {
            tcp.check(wrong);
        }
        if let Some(udp) = &self.udp {
            udp.check(wrong);
        }
        if self.ssh.is_some() && self.kind != ServiceKind::Ssh {
            wrong(format!("the table 'ssh' does not belong to type = \"{}\"", self.kind));
        }
        if let Some(ssh) = &self.ssh {
            ssh.check(wrong);
        }
        if self.telnet.is_some() && self.kind != ServiceKind::Telnet {
            wrong(format!("the table 'telnet' does not belong to type = \"{}\"", self.kind));
        }
        if self.http.is_some() && self.kind != ServiceKind::Http {
            wrong(format!("the table 'http' does not belong to type = \"{}\"", self.kind));
        }
        if let Some(telnet) = &self.telnet {
            if telnet.attempts == 0 {
                wrong("telnet.attempts must be at least 1".to_owned());
            }
            if telnet.accept == Accept::After(0) {
                wrong("telnet.accept = { after = 0 } means nothing; use \"always\"".to_owned());
            }
            if telnet.fail_delay_ms > MAX_DELAY_MS {
                wrong(format!("telnet.fail_delay_ms is more than {MAX_DELAY_MS}"));
            }
        }
        if let Some(http) = &self.http {
            http.check(wrong);
        }
    }
}

impl Limits {
    fn check(&self, wrong: &mut dyn FnMut(String)) {
        let counts = [
            ("connections", self.connections as u64),
            ("connections_per_address", self.connections_per_address as u64),
            ("bytes_in", self.bytes_in),
            ("bytes_out", self.bytes_out),
        ];
        for (name, _) in counts.into_iter().filter(|(_, value)| *value == 0) {
            wrong(format!("{name} must be at least 1"));
        }
        let times = [
            ("session_secs", self.session_secs),
            ("idle_secs", self.idle_secs),
            ("shutdown_secs", self.shutdown_secs),
            ("tarpit_secs", self.tarpit_secs),
        ];
        for (name, _) in times.into_iter().filter(|(_, v)| *v == 0 || *v > MAX_SECS) {
            wrong(format!("{name} must be 1 to {MAX_SECS}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid_and_on_loopback() {
        let config = Config::default();
        assert_eq!(config.validate(), Ok(()));
        let addresses = config.services.iter().flat_map(|service| service.listen.addresses());
        assert!(addresses.into_iter().all(|address| address.ip().is_loopback()));
        assert_eq!(toml::from_str::<Config>("").unwrap(), config);
    }

    #[test]
    fn a_written_configuration_reads_back() {
        let text = r#"
            [[services]]
            type = "telnet"
            listen = "[::]:23"
            proxy_protocol = "required"
            trusted_proxies = ["192.0.2.1", "2001:db8::/32"]
            telnet = { accept = { after = 2 }, weak_credentials = false }
            [limits]
            idle_secs = 5
        "#;
        let config: Config = toml::from_str(text).unwrap();
        assert_eq!(config.validate(), Ok(()));
        assert_eq!(config.services[0].telnet.as_ref().unwrap().accept, Accept::After(2));
        let proxies = &config.services[0].trusted_proxies;
        assert!(proxies[0].contains("::ffff:192.0.2.1".parse().unwrap()));
        assert!(!proxies[0].contains("192.0.2.2".parse().unwrap()));
        assert!(proxies[1].contains("2001:db8:7::1".parse().unwrap()));
        let written = toml::to_string(&config).unwrap();
        assert_eq!(toml::from_str::<Config>(&written).unwrap(), config);
    }

    #[test]
    fn unknown_keys_are_refused() {
        assert!(toml::from_str::<Config>("limit = {}").is_err());
        assert!(toml::from_str::<Config>("[limits]\nconnection = 1").is_err());
        let service = "[[services]]\ntype = \"telnet\"\nlisten = \"[::]:23\"\nport = 1";
        assert!(toml::from_str::<Config>(service).is_err());
    }

    #[test]
    fn all_mistakes_are_reported_at_once() {
        let text = r#"
            [[services]]
            type = "telnet"
            listen = "127.0.0.1:23"
            proxy_protocol = "required"
            http = {}
            telnet = { attempts = 0, accept = { after = 0 } }
            [[services]]
            type = "http"
            listen = "127.0.0.1:23"
            [limits]
            connections = 0
            idle_secs = 0
            [persona]
            hostname = "a b"
        "#;
        let config: Config = toml::from_str(text).unwrap();
        let mistakes = config.validate().unwrap_err();
        assert_eq!(mistakes.len(), 8, "{mistakes:#?}");
        assert!(mistakes[0].starts_with("services[0]: proxy_protocol"), "{mistakes:?}");
    }
}
