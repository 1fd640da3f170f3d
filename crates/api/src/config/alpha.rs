//! Settings of Alpha's dialect: SSH logins a machine and a day.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Openness;
use crate::compat::alpha::poll::Client;

/// Most clients that are asked.
const MAX_CLIENTS: usize = 256;
/// Longest name of one, in bytes.
const MAX_NAME_BYTES: usize = 64;

/// Settings of Alpha's dialect (`/sshcount/…`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AlphaConfig {
    /// What who shows no credential is answered; `community` is nothing, as logins
    /// of machines are private. Default: nothing.
    pub open: Openness,
    /// Where days begin: a zone such as `Europe/Berlin`. Default: UTC.
    pub zone: String,
    /// AlphaClients elsewhere that are asked too, by name: `DEF = "http://10.0.0.7:5000"`.
    /// Default: none.
    pub clients: BTreeMap<String, String>,
    /// Seconds that one of them may take to answer, 1 to 60. Default: 5.
    pub client_secs: u32,
}

impl Default for AlphaConfig {
    fn default() -> Self {
        Self {
            open: Openness::No,
            zone: "UTC".to_owned(),
            clients: BTreeMap::new(),
            client_secs: 5,
        }
    }
}

impl AlphaConfig {
    pub(super) fn collect_mistakes(&self, mistakes: &mut Vec<String>) {
        if jiff::tz::TimeZone::get(&self.zone).is_err() {
            mistakes.push(format!(
                "alpha.zone: there is no zone '{}'; write one such as Europe/Berlin",
                self.zone.escape_debug()
            ));
        }
        if !(1..=60).contains(&self.client_secs) {
            mistakes.push("alpha.client_secs: expected 1 to 60 seconds".to_owned());
        }
        if self.clients.len() > MAX_CLIENTS {
            mistakes.push(format!("alpha.clients: expected at most {MAX_CLIENTS}"));
        }
        for (name, url) in &self.clients {
            let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
            if name.is_empty() || name.len() > MAX_NAME_BYTES || !name.bytes().all(plain) {
                mistakes.push(format!(
                    "alpha.clients: '{}' is no name; use 1 to {MAX_NAME_BYTES} letters, digits, \
                     '.', '_' or '-'",
                    name.escape_debug()
                ));
            }
            if let Err(mistake) = Client::new(url) {
                mistakes.push(format!("alpha.clients.{name}: {mistake}"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_are_said_with_what_would_be_right() {
        let mut mistakes = Vec::new();
        AlphaConfig::default().collect_mistakes(&mut mistakes);
        assert_eq!(mistakes, Vec::<String>::new());
        let clients = [("A", "http://10.0.0.7:5000"), ("a/b", "http://x:1"), ("c", "https://x")];
        let clients = clients.map(|(name, url)| (name.to_owned(), url.to_owned()));
        let config = AlphaConfig {
            zone: "Mars/Base".into(),
            client_secs: 0,
            clients: clients.into(),
            ..AlphaConfig::default()
        };
        config.collect_mistakes(&mut mistakes);
        assert_eq!(mistakes.len(), 4, "{mistakes:#?}");
    }
}
