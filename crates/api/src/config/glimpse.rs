//! Settings of Glimpse's dialect.

use serde::{Deserialize, Serialize};

/// The sensor that machines with the key of the settings belong to.
pub(crate) const GLIMPSE_SENSOR: &str = "glimpse";
/// The key that Glimpse comes with: everybody knows it.
const DEFAULT_KEY: &str = "glimpse";
/// Longest key, in bytes.
const MAX_KEY_BYTES: usize = 256;

/// Settings of Glimpse's Data API.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GlimpseConfig {
    /// The key that all scripts share, as in Glimpse. Keys made by
    /// `palisade key add NAME --scope glimpse` are taken beside it. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

impl GlimpseConfig {
    pub(super) fn collect_mistakes(&self, mistakes: &mut Vec<String>) {
        let fits = |key: &String| (1..=MAX_KEY_BYTES).contains(&key.len());
        if !self.key.as_ref().is_none_or(fits) {
            mistakes.push(format!("glimpse.key: expected 1 to {MAX_KEY_BYTES} bytes"));
        }
    }

    /// What the operator should know at the start.
    #[must_use]
    pub fn warning(&self) -> Option<&'static str> {
        (self.key.as_deref() == Some(DEFAULT_KEY)).then_some(
            "api.glimpse.key is 'glimpse', which everybody knows: whoever reaches the API may tell \
             of machines and read what was told; set another key, here and in the scripts",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_that_everybody_knows_is_warned_of() {
        let config = |key: Option<&str>| GlimpseConfig { key: key.map(Into::into) };
        assert!(config(Some("glimpse")).warning().is_some());
        assert!(config(Some("another")).warning().is_none());
        assert!(config(None).warning().is_none());
        let mut mistakes = Vec::new();
        config(Some("")).collect_mistakes(&mut mistakes);
        assert_eq!(mistakes.len(), 1);
    }
}
