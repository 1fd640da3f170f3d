//! Settings of the EWS dialect: what honeypot networks post and ask in.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::is_origin;
use crate::compat::ews::analyzers::Analyzers;

/// Longest default response, in bytes.
const MAX_DEFAULT_RESPONSE_BYTES: usize = 1024;
/// Most alerts of one list.
const MAX_ALERTS: u32 = 10_000;
/// Longest time that the list of addresses looks back: 30 days.
const MAX_MINUTES: u32 = 30 * 24 * 60;

/// Settings of the EWS dialect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EwsConfig {
    /// What a message is answered that cannot be understood; its sender keeps
    /// it and sends it again. Default: `Nope`.
    pub default_response: String,
    /// The site that shows what is asked here, such as `https://map.example`:
    /// its pages may ask, and who asks a listener of this dialect alone for `/`
    /// is sent there. Default: none.
    pub site: Option<String>,
    /// Whether private alerts are for everybody, as a PEBA backend has them.
    /// Default: false.
    pub public_private_data: bool,
    /// Most alerts of one list. Default: 1000.
    pub max_alerts: u32,
    /// Minutes that the list of addresses looks back. Default: 120.
    pub retrieve_ips_minutes: u32,
    /// A table of analyzer ids and honeypots that is asked before the built-in
    /// one. Default: none.
    pub analyzers: Option<PathBuf>,
}

impl Default for EwsConfig {
    fn default() -> Self {
        Self {
            default_response: "Nope".to_owned(),
            site: None,
            public_private_data: false,
            max_alerts: 1_000,
            retrieve_ips_minutes: 120,
            analyzers: None,
        }
    }
}

impl EwsConfig {
    pub(super) fn collect_mistakes(&self, mistakes: &mut Vec<String>) {
        if self.default_response.len() > MAX_DEFAULT_RESPONSE_BYTES {
            mistakes.push(format!(
                "ews.default_response: expected at most {MAX_DEFAULT_RESPONSE_BYTES} bytes"
            ));
        }
        if let Err(mistake) = Analyzers::load(self.analyzers.as_deref()) {
            mistakes.push(mistake);
        }
        if let Some(site) = &self.site
            && !is_origin(site)
        {
            mistakes.push(
                "ews.site: expected the address of a site without a path, such as \
                 https://map.example"
                    .to_owned(),
            );
        }
        if !(1..=MAX_ALERTS).contains(&self.max_alerts) {
            mistakes.push(format!(
                "ews.max_alerts: expected 1 to {MAX_ALERTS}, found {}",
                self.max_alerts
            ));
        }
        if !(1..=MAX_MINUTES).contains(&self.retrieve_ips_minutes) {
            mistakes.push(format!(
                "ews.retrieve_ips_minutes: expected 1 to {MAX_MINUTES}, found {}",
                self.retrieve_ips_minutes
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_are_said_with_what_would_be_right() {
        let mistakes = |config: &EwsConfig| {
            let mut mistakes = Vec::new();
            config.collect_mistakes(&mut mistakes);
            mistakes
        };
        assert_eq!(mistakes(&EwsConfig::default()), Vec::<String>::new());
        let wrong = EwsConfig {
            site: Some("map.example/x".into()),
            max_alerts: 0,
            retrieve_ips_minutes: 100_000,
            ..EwsConfig::default()
        };
        let said = mistakes(&wrong).join(" ");
        assert!(said.contains("https://map.example") && said.contains("1 to 10000"), "{said}");
        assert!(said.contains("found 100000"), "{said}");
        for (site, good) in [
            ("https://map.example", true),
            ("http://localhost:5173", true),
            ("https://map.example/", false),
            ("*", false),
            ("ftp://map.example", false),
        ] {
            assert_eq!(is_origin(site), good, "{site}");
        }
    }
}
