//! Settings of the hub. Not how they are read from a file; the binary does that.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::outbound::{self, DecisionWebhook, OutboundConfig};

/// Smallest bound of the hub's spool: one whole batch must fit, twice.
const MIN_SPOOL_BYTES: u64 = 64 * 1024 * 1024;
/// Smallest segment of the hub's spool.
const MIN_SEGMENT_BYTES: u64 = 1024 * 1024;
/// Smallest bound of the event store: some days of a quiet site.
const MIN_STORE_BYTES: u64 = 64 * 1024 * 1024;
/// Smallest bound of the quarantine.
const MIN_QUARANTINE_BYTES: u64 = 1024 * 1024;
/// Most webhooks.
const MAX_WEBHOOKS: usize = 16;
/// Longest address of a webhook, in bytes.
const MAX_URL_BYTES: usize = 2048;

/// Settings of the hub.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The queue between ingest and store.
    pub spool: SpoolConfig,
    /// The database of accounts, sessions, keys, sensors and quarantine.
    pub state: palisade_store::state::StateConfig,
    /// The event store.
    pub store: palisade_store::Config,
    /// Geolocation databases.
    pub geo: GeoConfig,
    /// What could not be understood.
    pub quarantine: QuarantineConfig,
    /// Who is told of what.
    pub notify: NotifyConfig,
    /// Machines that tell of themselves.
    pub hosts: HostsConfig,
    /// What honeypots captured.
    pub payloads: palisade_store::blob::PayloadConfig,
    /// Where this installation is, for the map. Default: unknown.
    pub home: Option<Home>,
    /// Where events are forwarded to. Default: nowhere.
    pub outbound: Vec<OutboundConfig>,
    /// Who is told of decisions. Default: nobody.
    pub webhooks: Vec<DecisionWebhook>,
}

/// Settings of the queue between ingest and store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SpoolConfig {
    /// Bytes on disk that wait for the store at most; above, ingest refuses
    /// until the store has caught up. Default: 1 GiB.
    pub max_bytes: u64,
    /// Bytes of one segment file. Default: 16 MiB.
    pub segment_bytes: u64,
}

/// Geolocation databases in the MaxMind DB format, read into memory at start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GeoConfig {
    /// A city or country database: GeoLite2 and DB-IP (nested records), or a
    /// flat one with `country_code`. Default: none; countries then come from
    /// the registries' delegation tables that are built in.
    pub city: Option<PathBuf>,
    /// A database of autonomous systems. Default: none.
    pub asn: Option<PathBuf>,
}

/// Machines that tell of themselves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HostsConfig {
    /// Seconds after which a machine that is not heard is silent, at least four
    /// times its usual pause; 0 for never. Default: 90.
    pub silent_secs: u32,
}

impl Default for HostsConfig {
    fn default() -> Self {
        Self { silent_secs: 90 }
    }
}

/// Bounds of the quarantine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QuarantineConfig {
    /// Bytes of records that are kept; the oldest go first, and are counted.
    /// Default: 64 MiB.
    pub max_bytes: u64,
}

/// Who is told of what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NotifyConfig {
    /// Seconds until an announcement is tried again; they double up to a
    /// quarter of an hour, and it is given up after 7 days. Default: 5.
    pub retry_secs: u32,
    /// Told of each vulnerability that is aimed at for the first time. Default: none.
    pub webhooks: Vec<Webhook>,
}

/// A receiver of announcements over HTTP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// Names it in the log and the outbox: 1 to 32 of a-z, 0-9 and -.
    pub name: String,
    /// Where to send announcements to, such as `https://chat.example/hook`.
    pub url: String,
    /// A file with the secret that announcements are signed with
    /// (HMAC-SHA-256). Default: not signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_file: Option<PathBuf>,
    /// What is sent. Default: json.
    #[serde(default)]
    pub kind: WebhookKind,
}

/// What a webhook takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WebhookKind {
    /// All that is known, as JSON.
    #[default]
    Json,
    /// `{"text": …}`, as Slack, Mattermost and Rocket.Chat take it.
    Slack,
}

/// A place on the map.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Home {
    /// Degrees north, -90 to 90.
    pub lat: f64,
    /// Degrees east, -180 to 180.
    pub lon: f64,
}

impl Default for SpoolConfig {
    fn default() -> Self {
        Self { max_bytes: 1024 * 1024 * 1024, segment_bytes: 16 * 1024 * 1024 }
    }
}

impl Default for NotifyConfig {
    fn default() -> Self {
        Self { retry_secs: 5, webhooks: Vec::new() }
    }
}

impl Default for QuarantineConfig {
    fn default() -> Self {
        Self { max_bytes: 64 * 1024 * 1024 }
    }
}

impl Config {
    /// Checks what the types do not. That database files can be read is
    /// checked when the hub is opened.
    ///
    /// # Errors
    /// Every mistake, one sentence each.
    pub fn validate(&self) -> Result<(), Vec<String>> {
        let mut mistakes = Vec::new();
        let state = self.state.validate().err().unwrap_or_default();
        mistakes.extend(state.into_iter().map(|mistake| format!("state.{mistake}")));
        let payloads = self.payloads.validate().err().unwrap_or_default();
        mistakes.extend(payloads.into_iter().map(|mistake| format!("payloads.{mistake}")));
        let mut at_least = |name: &str, value: u64, least: u64| {
            if value < least {
                mistakes.push(format!("{name}: expected at least {least} bytes, found {value}"));
            }
        };
        at_least("spool.max_bytes", self.spool.max_bytes, MIN_SPOOL_BYTES);
        at_least("spool.segment_bytes", self.spool.segment_bytes, MIN_SEGMENT_BYTES);
        at_least("quarantine.max_bytes", self.quarantine.max_bytes, MIN_QUARANTINE_BYTES);
        if self.spool.segment_bytes > self.spool.max_bytes / 4 {
            mistakes.push("spool.segment_bytes: expected at most a quarter of max_bytes".into());
        }
        if !(1..=36_500).contains(&self.store.retention_days) {
            mistakes.push(format!(
                "store.retention_days: expected 1 to 36500, found {}",
                self.store.retention_days
            ));
        }
        if let Some(bytes) = self.store.max_bytes
            && bytes < MIN_STORE_BYTES
        {
            mistakes.push(format!(
                "store.max_bytes: expected at least {MIN_STORE_BYTES} bytes, found {bytes}"
            ));
        }
        for (number, rule) in self.store.keep.iter().enumerate() {
            if rule.domain.is_none() && rule.kind.is_none() {
                mistakes.push(format!("store.keep[{number}]: expected domain, kind or both"));
            }
            if !(1..=self.store.retention_days).contains(&rule.days) {
                mistakes.push(format!(
                    "store.keep[{number}].days: expected 1 to store.retention_days ({}), found {}",
                    self.store.retention_days, rule.days
                ));
            }
        }
        self.notify.collect_mistakes(&mut mistakes);
        if let Some(home) = self.home {
            if !(-90.0..=90.0).contains(&home.lat) {
                mistakes.push(format!("home.lat: expected -90 to 90, found {}", home.lat));
            }
            if !(-180.0..=180.0).contains(&home.lon) {
                mistakes.push(format!("home.lon: expected -180 to 180, found {}", home.lon));
            }
        }
        mistakes.extend(outbound::mistakes(&self.outbound));
        mistakes.extend(outbound::hook_mistakes(&self.webhooks, &self.outbound));
        if mistakes.is_empty() { Ok(()) } else { Err(mistakes) }
    }
}

impl NotifyConfig {
    fn collect_mistakes(&self, mistakes: &mut Vec<String>) {
        if !(1..=900).contains(&self.retry_secs) {
            let found = self.retry_secs;
            mistakes.push(format!("notify.retry_secs: expected 1 to 900 seconds, found {found}"));
        }
        if self.webhooks.len() > MAX_WEBHOOKS {
            mistakes.push(format!("notify.webhooks: at most {MAX_WEBHOOKS} of them"));
        }
        for (number, hook) in self.webhooks.iter().enumerate() {
            let mut wrong = |what: &str| {
                mistakes.push(format!("notify.webhooks[{number}].{what}"));
            };
            let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
            if !(1..=32).contains(&hook.name.len()) || !hook.name.bytes().all(plain) {
                wrong("name: expected 1 to 32 of a-z, 0-9 and -");
            }
            if self.webhooks.iter().take(number).any(|other| other.name == hook.name) {
                wrong("name: another webhook has it already");
            }
            if !is_safe_url(&hook.url) {
                wrong(
                    "url: expected https://HOST/PATH without a user; http:// is for this machine \
                     and private addresses alone",
                );
            }
        }
    }
}

/// What is announced is not for everybody on the way.
fn is_safe_url(url: &str) -> bool {
    let (tls, rest) = match (url.strip_prefix("https://"), url.strip_prefix("http://")) {
        (Some(rest), _) => (true, rest),
        (None, Some(rest)) => (false, rest),
        (None, None) => return false,
    };
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let plain = !url.chars().any(|c| c.is_whitespace() || c.is_control() || c == '#');
    if authority.is_empty() || authority.contains('@') || !plain || url.len() > MAX_URL_BYTES {
        return false;
    }
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    let near = |address: std::net::IpAddr| match address {
        std::net::IpAddr::V4(v4) => v4.is_loopback() || v4.is_private(),
        std::net::IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local(),
    };
    !host.is_empty() && (tls || host == "localhost" || host.parse().is_ok_and(near))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_valid() {
        assert_eq!(Config::default().validate(), Ok(()));
    }

    #[test]
    fn all_mistakes_are_listed_at_once() {
        let mut config = Config::default();
        config.spool.max_bytes = 1;
        config.quarantine.max_bytes = 0;
        config.store.retention_days = 0;
        config.home = Some(Home { lat: 91.0, lon: f64::NAN });
        let mistakes = config.validate().unwrap_err();
        assert_eq!(mistakes.len(), 6, "{mistakes:#?}");
    }

    #[test]
    fn a_rule_of_the_store_names_events_and_a_life_within_the_retention() {
        let store = |json: &str| {
            let text = format!("{{\"store\":{json}}}");
            serde_json::from_str::<Config>(&text).unwrap().validate().err().unwrap_or_default()
        };
        let good = r#"{"keep":[{"kind":"connection.opened","days":7},
            {"domain":"community","kind":"auth.attempted","days":400}]}"#;
        assert_eq!(store(good), Vec::<String>::new());
        let bad = r#"{"max_bytes":5,"retention_days":30,"keep":[{"days":31},{"domain":"private","days":0}]}"#;
        assert_eq!(store(bad).len(), 4, "{:#?}", store(bad));
    }

    #[test]
    fn a_webhook_is_reached_safely() {
        for good in [
            "https://chat.example/hook?a=b",
            "http://127.0.0.1:8065/x",
            "http://[::1]/",
            "http://10.1.2.3/",
            "http://localhost:80",
        ] {
            assert!(is_safe_url(good), "{good}");
        }
        for bad in [
            "",
            "chat.example",
            "http://chat.example/",
            "https://",
            "https://a@b/",
            "https://a b/",
            "ftp://127.0.0.1/",
            "http://127.0.0.1.example/",
        ] {
            assert!(!is_safe_url(bad), "{bad}");
        }
    }

    #[test]
    fn an_unknown_setting_is_refused() {
        let text = r#"{"spool":{"max_byte":1}}"#;
        assert!(serde_json::from_str::<Config>(text).is_err());
    }
}
