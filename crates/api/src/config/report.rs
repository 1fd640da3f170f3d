//! Settings of HoneyPotR's report API.

use serde::{Deserialize, Serialize};

use super::is_origin;

/// Settings of HoneyPotR's report API (`/v1/analytics`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReportConfig {
    /// What who shows no credential is answered. Default: nothing.
    pub open: Openness,
    /// A site whose pages may ask, such as `http://localhost:8000`. Default: none.
    pub site: Option<String>,
}

/// What strangers may see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Openness {
    /// Nothing.
    #[default]
    No,
    /// What is shared with the honeypot community.
    Community,
    /// Everything, as HoneyPotR does; for networks where all may see it.
    All,
}

impl ReportConfig {
    pub(super) fn collect_mistakes(&self, mistakes: &mut Vec<String>) {
        if let Some(site) = &self.site
            && !is_origin(site)
        {
            mistakes.push(
                "report.site: expected the address of a site without a path, such as \
                 http://localhost:8000"
                    .to_owned(),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_with_a_path_is_a_mistake() {
        let config = ReportConfig { site: Some("http://a.example/x".into()), ..Default::default() };
        let mut mistakes = Vec::new();
        config.collect_mistakes(&mut mistakes);
        assert_eq!(mistakes.len(), 1, "{mistakes:?}");
        mistakes.clear();
        ReportConfig { site: Some("http://localhost:8000".into()), ..Default::default() }
            .collect_mistakes(&mut mistakes);
        assert!(mistakes.is_empty());
    }
}
