//! Which plug-ins serve, and where: what the operator writes, and how it becomes
//! services like any other. A plug-in that is wrong takes nobody with it.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Config, ServiceConfig, ServiceKind};
use crate::plugin::{self, Manifest, PluginName, Source};

/// Most plug-ins of one installation.
pub const MAX_PLUGINS: usize = 256;

/// One plug-in that serves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PluginConfig {
    /// Its name: a shipped plug-in, or one of the folder `plugins`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<PluginName>,
    /// Its folder, where it lies elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// Whether it serves. Default: yes.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// The address it listens on. Default 127.0.0.1.
    #[serde(default = "loopback")]
    pub address: IpAddr,
    /// TCP ports in the place of those that it asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<OneOrMore>,
    /// The same for ports where TLS is spoken from the first byte.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_port: Option<OneOrMore>,
    /// The same for UDP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub udp_port: Option<OneOrMore>,
    /// Its certificate (PEM, with its chain). Default: one that the machine has
    /// made for itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<PathBuf>,
    /// The key of `certificate` (PEM).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
    /// What keeps it from serving; found out at the start, not set.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
}

/// A port, or a list of ports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum OneOrMore {
    /// One port.
    One(u16),
    /// Some ports.
    More(Vec<u16>),
}

impl OneOrMore {
    fn list(&self) -> &[u16] {
        match self {
            Self::One(port) => std::slice::from_ref(port),
            Self::More(ports) => ports,
        }
    }
}

fn yes() -> bool {
    true
}

fn loopback() -> IpAddr {
    Ipv4Addr::LOCALHOST.into()
}

impl PluginConfig {
    /// A plug-in with default settings.
    #[must_use]
    pub fn new(name: Option<PluginName>, path: Option<PathBuf>) -> Self {
        Self {
            name,
            path,
            enabled: true,
            address: loopback(),
            port: None,
            tls_port: None,
            udp_port: None,
            certificate: None,
            key: None,
            problems: Vec::new(),
        }
    }

    /// Reads its files.
    ///
    /// # Errors
    /// A sentence that says what is missing or wrong.
    pub fn source(&self) -> Result<Source, String> {
        match (&self.path, &self.name) {
            (Some(path), _) => Source::read(path),
            (None, Some(name)) => Source::shipped(name.as_str())
                .ok_or_else(|| format!("there is no plug-in '{name}'")),
            (None, None) => Err("a plug-in has a name or a path".to_owned()),
        }
    }

    /// What it is called in messages.
    fn called(&self) -> String {
        match (&self.name, &self.path) {
            (Some(name), _) => name.to_string(),
            (None, Some(path)) => {
                path.file_name().unwrap_or_default().to_string_lossy().into_owned()
            }
            (None, None) => "?".to_owned(),
        }
    }

    pub(super) fn check(&self, wrong: &mut dyn FnMut(String)) {
        if self.name.is_none() && self.path.is_none() {
            wrong("a plug-in has a name or a path".to_owned());
        }
        if self.certificate.is_some() != self.key.is_some() {
            wrong("certificate and key belong together".to_owned());
        }
    }
}

impl Config {
    /// Makes services of the plug-ins: reads and loads each, and adds what it
    /// listens on. Those in the folder `plugins` that are not named serve, too.
    /// What is wrong with one is noted with it ([`PluginConfig::problems`]) and
    /// returned; the others go on.
    pub fn add_plugins(&mut self) -> Vec<String> {
        let mut said = Vec::new();
        if let Some(folder) = self.plugins.clone() {
            self.find_in(&folder, &mut said);
        }
        if self.plugin.len() > MAX_PLUGINS {
            said.push(format!("more than {MAX_PLUGINS} plug-ins; the rest does not serve"));
            self.plugin.truncate(MAX_PLUGINS);
        }
        let mut names = HashSet::new();
        let mut plugins = std::mem::take(&mut self.plugin);
        for plugin in plugins.iter_mut().filter(|plugin| plugin.enabled) {
            let mut wrong = |plugin: &mut PluginConfig, why: String| {
                said.push(format!("plug-in {}: {why}", plugin.called()));
                plugin.problems.push(why);
            };
            let loaded = plugin.source().and_then(|source| plugin::check(&source));
            let manifest = match loaded {
                Ok(manifest) => manifest,
                Err(why) => {
                    wrong(plugin, why);
                    continue;
                }
            };
            if plugin.name.as_ref().is_some_and(|name| *name != manifest.name) {
                let why = format!("the plug-in at its path is called {}", manifest.name);
                wrong(plugin, why);
                continue;
            }
            if !names.insert(manifest.name.clone()) {
                wrong(plugin, "it is named twice".to_owned());
                plugin.enabled = false;
                continue;
            }
            plugin.name = Some(manifest.name.clone());
            for service in services(plugin, &manifest) {
                let udp = service.kind == ServiceKind::Udp;
                let taken = service.listen.addresses().find(|address| self.has(udp, address));
                match taken {
                    Some(address) => {
                        wrong(plugin, format!("{address} is taken by another service"));
                    }
                    None => self.services.push(service),
                }
            }
        }
        self.plugin = plugins;
        said
    }

    /// Adds those of a folder. A name of the folder goes before a shipped one.
    fn find_in(&mut self, folder: &Path, said: &mut Vec<String>) {
        let found = match plugin::read_all(folder) {
            Ok(found) => found,
            Err(why) => return said.push(format!("plug-ins: {why}")),
        };
        for (path, _) in found {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let meant =
                |plugin: &&mut PluginConfig| plugin.path.is_none() && plugin.called() == name;
            match self.plugin.iter_mut().find(meant) {
                Some(plugin) => plugin.path = Some(path),
                None => self.plugin.push(PluginConfig::new(None, Some(path))),
            }
        }
    }

    /// Whether a service listens there.
    pub(crate) fn has(&self, udp: bool, address: &SocketAddr) -> bool {
        address.port() != 0
            && self.services.iter().any(|service| {
                (service.kind == ServiceKind::Udp) == udp
                    && service.listen.addresses().any(|taken| taken == *address)
            })
    }

    /// Notes what kept a service of a plug-in from listening.
    pub fn note_plugin_problem(&mut self, service: usize, why: &str) {
        let name = self.services.get(service).and_then(|service| service.plugin.clone());
        let plugin = self.plugin.iter_mut().find(|plugin| name.is_some() && plugin.name == name);
        if let Some(plugin) = plugin {
            plugin.problems.push(why.to_owned());
        }
    }
}

/// What a plug-in listens on, a service for each port.
pub(crate) fn services(plugin: &PluginConfig, manifest: &Manifest) -> Vec<ServiceConfig> {
    let service = |kind, port, tls| ServiceConfig {
        plugin: Some(manifest.name.clone()),
        tls,
        certificate: plugin.certificate.clone().filter(|_| tls || manifest.certificate),
        key: plugin.key.clone().filter(|_| tls || manifest.certificate),
        ..ServiceConfig::new(kind, SocketAddr::new(plugin.address, port))
    };
    let ports = |set: &Option<OneOrMore>, wanted: &[u16]| match set {
        Some(ports) => ports.list().to_vec(),
        None => wanted.to_vec(),
    };
    let mut all = Vec::new();
    // One that asks for no port of a kind does not speak that kind.
    if !(manifest.tcp.is_empty() && manifest.tls.is_empty()) {
        for port in ports(&plugin.port, &manifest.tcp) {
            all.push(service(ServiceKind::Plugin, port, false));
        }
        for port in ports(&plugin.tls_port, &manifest.tls) {
            all.push(service(ServiceKind::Plugin, port, true));
        }
    }
    if manifest.udp.is_empty() {
        return all;
    }
    for port in ports(&plugin.udp_port, &manifest.udp) {
        let udp = service(ServiceKind::Udp, port, false);
        all.push(ServiceConfig { certificate: None, key: None, ..udp });
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn a_shipped_plug_in_becomes_services() {
        let mut config = config(
            "services = []\n[[plugin]]\nname = \"ftp\"\naddress = \"0.0.0.0\"\nport = [2121, 0]",
        );
        assert_eq!(config.validate(), Ok(()));
        assert_eq!(config.add_plugins(), Vec::<String>::new());
        let listens: Vec<String> =
            config.services.iter().map(|service| service.listen.to_string()).collect();
        assert_eq!(listens, ["0.0.0.0:2121", "0.0.0.0:0"]);
        assert!(config.services.iter().all(|service| service.kind == ServiceKind::Plugin));
        assert_eq!(config.validate(), Ok(()));
    }

    #[test]
    fn what_is_wrong_with_one_is_said_and_the_others_serve() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let plugin = folder.path().join(name);
            std::fs::create_dir(&plugin).unwrap();
            std::fs::write(plugin.join("init.luau"), text).unwrap();
        };
        let good = |name: &str, port: u16| {
            format!(
                "return {{ api = 1, name = '{name}', about = 'x', ports = {{ tcp = {{ {port} }} }}, serve = function(conn) end }}"
            )
        };
        write("broken", "return {");
        write("good", &good("good", 7_001));
        write("taken", &good("taken", 2_222));
        write("off", &good("off", 7_003));
        write("ftp", &good("ftp", 7_004));
        let mut config = config(&format!(
            "plugins = {:?}\n[[plugin]]\nname = \"off\"\nenabled = false\n[[plugin]]\nname = \"none\"\n[[plugin]]\nname = \"ftp\"",
            folder.path()
        ));
        let said = config.add_plugins();
        assert_eq!(said.len(), 3, "{said:#?}");
        assert!(said.iter().any(|why| why.starts_with("plug-in broken: broken/init.luau, line 1")));
        assert!(said.contains(&"plug-in none: there is no plug-in 'none'".to_owned()));
        let taken = "plug-in taken: 127.0.0.1:2222 is taken by another service".to_owned();
        assert!(said.contains(&taken), "{said:#?}");
        let serving = config.services.iter().filter_map(|service| service.plugin.as_ref());
        let mut serving: Vec<&str> = serving.map(PluginName::as_str).collect();
        serving.sort_unstable();
        assert_eq!(serving, ["ftp", "good"], "the folder's ftp goes before the shipped one");
        let ftp =
            config.services.iter().find(|s| s.plugin.as_ref().is_some_and(|n| n.as_str() == "ftp"));
        assert_eq!(ftp.unwrap().listen.to_string(), "127.0.0.1:7004");
    }
}
