//! Settings of hpfeeds: our broker, and the brokers elsewhere that we listen to.

use std::net::SocketAddr;
use std::path::PathBuf;

use palisade_event::{Domain, SensorId};
use serde::{Deserialize, Serialize};

use super::rights::Pattern;

/// Most idents of our broker.
const MAX_IDENTS: usize = 10_000;
/// Most channels or patterns of one ident or subscription.
const MAX_CHANNELS: usize = 256;
/// Longest ident, channel or broker's name, in bytes: its length is one byte.
const MAX_NAME_BYTES: usize = 255;

/// Settings of hpfeeds (`[api.hpfeeds]`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Addresses of our broker; the port is usually 10000. Default: none.
    pub listeners: Vec<Listener>,
    /// What our broker calls itself. Default: `palisade`.
    pub name: String,
    /// Who may speak with our broker.
    pub idents: Vec<Ident>,
    /// Open connections to our broker. Default: 256.
    pub connections: usize,
    /// Open connections of one address. Default: 16.
    pub connections_per_address: usize,
    /// Brokers elsewhere whose channels become events here.
    pub subscriptions: Vec<Subscription>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listeners: Vec::new(),
            name: "palisade".to_owned(),
            idents: Vec::new(),
            connections: 256,
            connections_per_address: 16,
            subscriptions: Vec::new(),
        }
    }
}

/// An address of our broker (`[[api.hpfeeds.listeners]]`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// Address and port; port 0 lets the system choose.
    pub address: SocketAddr,
    /// Whether it speaks TLS, with the certificate of `[api.tls]`. Default: true.
    #[serde(default = "yes")]
    pub tls: bool,
}

fn yes() -> bool {
    true
}

/// Who may speak with our broker (`[[api.hpfeeds.idents]]`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ident {
    /// The name it signs in with.
    pub ident: String,
    /// File with its secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_file: Option<PathBuf>,
    /// The same in an environment variable of this name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_env: Option<String>,
    /// Channels it may publish to; `name*` is all that begin with name.
    #[serde(default)]
    pub publish: Vec<String>,
    /// Channels it may subscribe to, in the same form.
    #[serde(default)]
    pub subscribe: Vec<String>,
    /// Whose events it publishes, and which it may see. Default: private, which
    /// sees both.
    #[serde(default)]
    pub domain: Domain,
    /// The sensor of what it publishes. Default: the ident, with what a name may
    /// not contain replaced by `-`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sensor: Option<SensorId>,
}

/// A broker elsewhere (`[[api.hpfeeds.subscriptions]]`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subscription {
    /// The sensor of what comes from it.
    pub name: SensorId,
    /// Its host and port.
    pub address: String,
    /// Whether it speaks TLS. Default: true.
    #[serde(default = "yes")]
    pub tls: bool,
    /// SHA-256 of its certificate, where no authority is to be asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pin: Option<String>,
    /// PEM file of the authorities to trust. Default: the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// The name to sign in with.
    pub ident: String,
    /// File with the secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_file: Option<PathBuf>,
    /// The same in an environment variable of this name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_env: Option<String>,
    /// The channels to subscribe to.
    pub channels: Vec<String>,
    /// The domain of the events. Default: private.
    #[serde(default)]
    pub domain: Domain,
}

impl Ident {
    /// The sensor of what it publishes.
    pub(super) fn sensor(&self) -> Option<SensorId> {
        if let Some(sensor) = &self.sensor {
            return Some(sensor.clone());
        }
        let plain = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
        SensorId::new(&self.ident.chars().map(plain).take(64).collect::<String>()).ok()
    }
}

/// Whether a name can be in a frame.
fn is_name(text: &str) -> bool {
    !text.is_empty() && text.len() <= MAX_NAME_BYTES && !text.contains(char::is_control)
}

impl Config {
    /// Mistakes, one sentence each.
    pub(crate) fn mistakes(&self) -> Vec<String> {
        let mut mistakes = Vec::new();
        let mut wrong = |text: String| mistakes.push(format!("hpfeeds.{text}"));
        if !is_name(&self.name) {
            wrong("name: expected 1 to 255 bytes without control characters".to_owned());
        }
        for (index, listener) in self.listeners.iter().enumerate() {
            let address = listener.address;
            let twice = self.listeners.iter().take(index).any(|other| other.address == address);
            if twice && address.port() != 0 {
                wrong(format!("listeners: {address} is listed twice"));
            }
        }
        if !self.listeners.is_empty() && self.idents.is_empty() {
            wrong("idents: nobody could sign in; add an ident or remove the listeners".to_owned());
        }
        if self.idents.len() > MAX_IDENTS {
            wrong(format!("idents: at most {MAX_IDENTS}"));
        }
        if self.connections == 0 || self.connections_per_address == 0 {
            wrong("connections: 0 would refuse everybody".to_owned());
        }
        for (index, ident) in self.idents.iter().enumerate() {
            let place = format!("idents '{}'", ident.ident.escape_debug());
            if !is_name(&ident.ident) {
                wrong(format!("{place}: expected 1 to 255 bytes without control characters"));
            }
            if self.idents.iter().take(index).any(|other| other.ident == ident.ident) {
                wrong(format!("{place}: is there twice"));
            }
            if ident.secret_file.is_some() == ident.secret_env.is_some() {
                wrong(format!("{place}: give secret_file or secret_env, one of them"));
            }
            if ident.sensor().is_none() {
                wrong(format!("{place}: set sensor; the ident can be no sensor's name"));
            }
            for text in ident.publish.iter().chain(&ident.subscribe) {
                if Pattern::new(text).is_none() || !is_name(text) {
                    wrong(format!(
                        "{place}: '{}' is no channel; use a name, or its beginning with * at the end",
                        text.escape_debug()
                    ));
                }
            }
            if ident.publish.len().max(ident.subscribe.len()) > MAX_CHANNELS {
                wrong(format!("{place}: at most {MAX_CHANNELS} channels each way"));
            }
        }
        for (index, one) in self.subscriptions.iter().enumerate() {
            let place = format!("subscriptions '{}'", one.name);
            if self.subscriptions.iter().take(index).any(|other| other.name == one.name) {
                wrong(format!("{place}: is there twice"));
            }
            if crate::dial::Place::parse(&one.address).is_none() {
                wrong(format!(
                    "{place}: address: expected HOST:PORT, such as hpfeeds.example:10000"
                ));
            }
            if !is_name(&one.ident) {
                wrong(format!("{place}: ident: expected 1 to 255 bytes"));
            }
            if one.secret_file.is_some() == one.secret_env.is_some() {
                wrong(format!("{place}: give secret_file or secret_env, one of them"));
            }
            if one.channels.is_empty() || one.channels.len() > MAX_CHANNELS {
                wrong(format!("{place}: channels: expected 1 to {MAX_CHANNELS}"));
            }
            if !one.channels.iter().all(|channel| is_name(channel)) {
                wrong(format!("{place}: channels: a name has 1 to 255 bytes"));
            }
            if !one.tls && (one.pin.is_some() || one.ca_file.is_some()) {
                wrong(format!("{place}: pin and ca_file are for tls = true"));
            }
        }
        mistakes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_are_listed_at_once() {
        let config: Config = serde_json::from_str(
            r#"{
            "listeners": [{"address": "127.0.0.1:10000"}, {"address": "127.0.0.1:10000", "tls": false}],
            "idents": [
                {"ident": "a b", "secret_env": "X", "publish": ["x*", "y"], "subscribe": ["*"]},
                {"ident": "a b", "publish": ["x*y"]}
            ],
            "subscriptions": [{"name": "s", "address": "nowhere", "tls": false, "pin": "a", "ident": "", "channels": []}]
        }"#,
        )
        .unwrap();
        let mistakes = config.mistakes();
        assert_eq!(mistakes.len(), 9, "{mistakes:#?}");
        assert_eq!(config.idents[0].sensor().unwrap().as_str(), "a-b");
        assert_eq!(Config::default().mistakes(), Vec::<String>::new());
    }
}
