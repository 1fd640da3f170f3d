//! Settings of the targets that events are forwarded to. Where a field belongs
//! to some kinds of target alone, another kind that has it is a mistake.

use std::net::IpAddr;
use std::path::PathBuf;

use palisade_event::{SensorId, Timestamp};
use palisade_store::query::Query;
use serde::{Deserialize, Serialize};

/// Most targets.
const MAX_TARGETS: usize = 16;
/// Smallest queue of a target, in bytes.
pub(super) const MIN_BYTES: u64 = 4 * 1024 * 1024;
/// Longest secret file, in bytes.
const MAX_SECRET_BYTES: u64 = 4096;
/// Where DShield takes reports.
const DSHIELD_URL: &str = "https://www.dshield.org/submitapi/";

/// What is spoken with a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OutboundKind {
    /// Another Palisade hub, by its native door.
    Palisade,
    /// A PEBA or EWS backend: XML messages.
    Ews,
    /// An hpfeeds broker.
    Hpfeeds,
    /// DShield (SANS ISC): reports of connections.
    Dshield,
    /// A webhook on decisions; settings have it as such.
    #[serde(skip_deserializing)]
    Webhook,
    /// The same in the form of Slack.
    #[serde(skip_deserializing)]
    Slack,
}

impl OutboundKind {
    /// Its name in settings and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Palisade => "palisade",
            Self::Ews => "ews",
            Self::Hpfeeds => "hpfeeds",
            Self::Dshield => "dshield",
            Self::Webhook => "webhook",
            Self::Slack => "slack",
        }
    }
}

/// One target (`[[hub.outbound]]`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutboundConfig {
    /// Its name; its queue is the folder of that name.
    pub name: SensorId,
    /// What is spoken with it.
    pub kind: OutboundKind,
    /// Which events it gets, in the query language; without times. `domain:community`
    /// keeps private events here.
    pub query: String,
    /// Bytes on disk that wait for it at most; beyond them the oldest go, and
    /// are counted. Default: 1 GiB.
    #[serde(default = "max_bytes")]
    pub max_bytes: u64,
    /// Sensors whose events it does not get, as they came from there. Default:
    /// the sensor that has the target's name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub except_sensors: Vec<SensorId>,
    /// Its address: `https://HOST[:PORT]`, for ews with the path of the door
    /// (default `/ews-0.1/alert/postSimpleMessage`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// hpfeeds: host and port of the broker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// hpfeeds: whether it speaks TLS. Default: true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<bool>,
    /// SHA-256 of its certificate, where no authority is to be asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pin: Option<String>,
    /// PEM file of the authorities to trust. Default: the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// palisade: file with an API key of the other hub, scope ingest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    /// ews: the user's name. hpfeeds: the ident. dshield: the user id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// File with the token (ews), secret (hpfeeds) or API key (dshield).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_file: Option<PathBuf>,
    /// The same in an environment variable of this name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_env: Option<String>,
    /// hpfeeds: the channel of all events. Default: one a kind, such as
    /// `palisade.auth.attempted`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// ews, dshield: the address that was attacked where an event does not say;
    /// without it such events are left out, and counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_ip: Option<IpAddr>,
    /// The webhook that this is the queue of.
    #[serde(skip)]
    pub webhook: Option<Box<super::webhook::DecisionWebhook>>,
}

fn max_bytes() -> u64 {
    1024 * 1024 * 1024
}

impl OutboundConfig {
    /// Mistakes that can be seen without connecting, one sentence each.
    fn mistakes(&self) -> Vec<String> {
        let mut mistakes = Vec::new();
        let place = format!("outbound '{}'", self.name);
        if self.max_bytes < MIN_BYTES {
            mistakes.push(format!(
                "{place}: max_bytes: expected at least {MIN_BYTES}, found {}",
                self.max_bytes
            ));
        }
        match self.filter() {
            Ok(query) if query.range != Query::ALL.range => mistakes.push(format!(
                "{place}: query: leave times out; events are forwarded as they come"
            )),
            Ok(_) => {}
            Err(reason) => mistakes.push(format!("{place}: query: {reason}")),
        }
        use OutboundKind::{Dshield, Ews, Hpfeeds, Palisade};
        let fields: [(&str, bool, &[OutboundKind], &[OutboundKind]); 9] = [
            ("url", self.url.is_some(), &[Palisade, Ews, Dshield], &[Palisade, Ews]),
            ("address", self.address.is_some(), &[Hpfeeds], &[Hpfeeds]),
            ("tls", self.tls.is_some(), &[Hpfeeds], &[]),
            ("pin", self.pin.is_some(), &[Palisade, Ews, Hpfeeds], &[]),
            ("key_file", self.key_file.is_some(), &[Palisade], &[Palisade]),
            ("user", self.user.is_some(), &[Ews, Hpfeeds, Dshield], &[Ews, Hpfeeds, Dshield]),
            (
                "secret_file or secret_env",
                self.has_secret(),
                &[Ews, Hpfeeds, Dshield],
                &[Ews, Hpfeeds, Dshield],
            ),
            ("channel", self.channel.is_some(), &[Hpfeeds], &[]),
            ("external_ip", self.external_ip.is_some(), &[Ews, Dshield], &[]),
        ];
        let kind = self.kind;
        for (field, is_set, allowed, needed) in fields {
            if is_set && !allowed.contains(&kind) {
                mistakes.push(format!("{place}: {field} is not for kind '{}'", kind.as_str()));
            }
            if !is_set && needed.contains(&kind) {
                mistakes.push(format!("{place}: {field} is missing for kind '{}'", kind.as_str()));
            }
        }
        if self.secret_file.is_some() && self.secret_env.is_some() {
            mistakes.push(format!("{place}: give secret_file or secret_env, not both"));
        }
        mistakes
    }

    fn has_secret(&self) -> bool {
        self.secret_file.is_some() || self.secret_env.is_some()
    }

    /// Which events it gets.
    ///
    /// # Errors
    /// What is wrong with the query.
    pub(super) fn filter(&self) -> Result<Query, String> {
        // No time is in it, so neither is this one.
        let now = Timestamp::from_millis(0);
        Query::parse(&self.query, now).map_err(|error| error.to_string())
    }

    /// Where to send to; DShield has one place.
    #[must_use]
    pub fn url(&self) -> &str {
        self.url.as_deref().unwrap_or(DSHIELD_URL)
    }

    /// The secret, read now so that a new one needs no restart.
    ///
    /// # Errors
    /// The file or variable cannot be read; the sentence names it, never its content.
    pub fn secret(&self) -> Result<String, String> {
        read_secret(self.secret_file.as_deref(), self.secret_env.as_deref())
    }
}

/// Reads a secret from a file or an environment variable: one line.
///
/// # Errors
/// One sentence that names the place, never the content.
pub fn read_secret(
    file: Option<&std::path::Path>,
    variable: Option<&str>,
) -> Result<String, String> {
    let (place, text) = match (file, variable) {
        (Some(path), _) => {
            let place = format!("the secret file {}", path.display());
            let failed = |error: std::io::Error| format!("cannot read {place}: {error}");
            if std::fs::metadata(path).map_err(failed)?.len() > MAX_SECRET_BYTES {
                return Err(format!("{place} is too long for a secret"));
            }
            (place.clone(), std::fs::read_to_string(path).map_err(failed)?)
        }
        (None, Some(name)) => {
            let place = format!("the environment variable {name}");
            let text = std::env::var(name).map_err(|error| format!("{place}: {error}"))?;
            (place, text)
        }
        (None, None) => return Err("no secret is configured".to_owned()),
    };
    let secret = text.trim_end_matches(['\r', '\n']);
    if secret.is_empty() || secret.contains(['\r', '\n', '\0']) {
        return Err(format!("{place} must hold the secret in one line"));
    }
    Ok(secret.to_owned())
}

/// Mistakes of all targets.
pub(crate) fn mistakes(targets: &[OutboundConfig]) -> Vec<String> {
    let mut mistakes = Vec::new();
    if targets.len() > MAX_TARGETS {
        mistakes.push(format!("outbound: at most {MAX_TARGETS} targets, found {}", targets.len()));
    }
    for (index, target) in targets.iter().enumerate() {
        mistakes.extend(target.mistakes());
        if targets.iter().take(index).any(|other| other.name == target.name) {
            mistakes.push(format!("outbound '{}' is there twice", target.name));
        }
    }
    mistakes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(json: &str) -> OutboundConfig {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_target_of_each_kind_is_in_order() {
        for json in [
            r#"{"name":"hq","kind":"palisade","query":"domain:community","url":"https://hq:8443","key_file":"/k","pin":"ab"}"#,
            r#"{"name":"peba","kind":"ews","query":"","url":"https://peba","user":"u","secret_file":"/t","external_ip":"203.0.113.5"}"#,
            r#"{"name":"hp","kind":"hpfeeds","query":"","address":"hp:10000","tls":false,"user":"u","secret_env":"X","channel":"c"}"#,
            r#"{"name":"isc","kind":"dshield","query":"","user":"123","secret_file":"/t"}"#,
        ] {
            assert_eq!(mistakes(&[target(json)]), Vec::<String>::new(), "{json}");
        }
        assert_eq!(target(r#"{"name":"i","kind":"dshield","query":""}"#).url(), DSHIELD_URL);
    }

    #[test]
    fn what_belongs_to_another_kind_or_is_missing_is_named() {
        let wrong = target(
            r#"{"name":"hq","kind":"palisade","query":"since:1h","max_bytes":1,"address":"x","user":"u"}"#,
        );
        let found = mistakes(&[wrong.clone(), wrong]);
        assert_eq!(found.len(), 13, "{found:#?}");
        for word in [
            "max_bytes",
            "times",
            "url is missing",
            "key_file is missing",
            "address is not",
            "twice",
        ] {
            assert!(found.iter().any(|mistake| mistake.contains(word)), "{word}: {found:#?}");
        }
        let wrong = target(
            r#"{"name":"a","kind":"dshield","query":"colour:red","user":"1","secret_env":"X"}"#,
        );
        assert!(mistakes(&[wrong])[0].contains("colour"));
        assert!(
            serde_json::from_str::<OutboundConfig>(
                r#"{"name":"a","kind":"ews","query":"","pass":1}"#
            )
            .is_err()
        );
    }

    #[test]
    fn a_secret_is_one_line_and_never_part_of_the_complaint() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        for (text, good) in [("hunter2\n", true), ("", false), ("hunter2\nmore", false)] {
            std::fs::write(&path, text).unwrap();
            let read = read_secret(Some(&path), None);
            assert_eq!(read.is_ok(), good, "{text:?}");
            assert!(read.err().is_none_or(|error| !error.contains("hunter2")));
        }
        assert!(read_secret(None, Some("PALISADE_NO_SUCH_SECRET")).is_err());
        assert!(read_secret(None, None).is_err());
    }
}
