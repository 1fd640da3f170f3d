//! The parameters of a bouncer's request. Unknown ones, and those without a
//! value, are passed over, as CrowdSec does.

use axum::extract::Query;
use http::Uri;
use palisade_event::{DecisionOrigin, DecisionTarget};
use palisade_hub::DecisionRecord;

/// Most parameters that are looked at.
const MAX_PARAMETERS: usize = 32;
/// Longest value, in bytes.
const MAX_VALUE_BYTES: usize = 4_096;
/// Most words of one list.
const MAX_WORDS: usize = 100;

/// What a bouncer asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Params {
    /// Everything, as if it had never asked.
    pub(super) startup: bool,
    /// An address or a network.
    pub(super) target: Option<DecisionTarget>,
    /// Decisions around the target; else those within it.
    pub(super) contains: bool,
    scopes: Vec<String>,
    origins: Vec<String>,
    containing: Vec<String>,
    not_containing: Vec<String>,
    kind: Option<String>,
    value: Option<String>,
}

/// An address that is none; the text for the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BadAddress(pub(super) String);

impl Params {
    /// Reads what follows the question mark.
    pub(super) fn of(uri: &Uri) -> Result<Self, BadAddress> {
        let pairs = Query::<Vec<(String, String)>>::try_from_uri(uri);
        let mut pairs = pairs.map(|Query(pairs)| pairs).unwrap_or_default();
        pairs.truncate(MAX_PARAMETERS);
        let text = |name: &str| {
            let found = pairs.iter().find(|(known, _)| known == name);
            found.map(|(_, value)| value.trim()).filter(|value| !value.is_empty())
        };
        let words = |name: &str| -> Vec<String> {
            let fits = text(name).filter(|value| value.len() <= MAX_VALUE_BYTES);
            let words = fits.unwrap_or_default().split(',').map(|word| word.trim().to_lowercase());
            words.filter(|word| !word.is_empty()).take(MAX_WORDS).collect()
        };
        let target = match text("ip").or_else(|| text("range")) {
            Some(text) => Some(text.parse::<DecisionTarget>().map_err(|_| {
                let shown: String = text.chars().take(64).flat_map(char::escape_default).collect();
                BadAddress(format!(
                    "unable to convert '{shown}' to int: invalid address: invalid ip address / range"
                ))
            })?),
            None => None,
        };
        let mut scopes = words("scopes");
        scopes.extend(text("scope").map(str::to_lowercase));
        Ok(Self {
            startup: text("startup") == Some("true"),
            target,
            contains: text("contains") != Some("false"),
            scopes,
            origins: words("origins"),
            containing: words("scenarios_containing"),
            not_containing: words("scenarios_not_containing"),
            kind: text("type").map(str::to_lowercase),
            value: text("value").map(str::to_owned),
        })
    }

    /// Whether a decision is asked for.
    pub(super) fn wants(&self, record: &DecisionRecord) -> bool {
        let decision = &record.made.decision;
        let any = |words: &[String], text: &str| {
            words.is_empty() || words.iter().any(|word| word == text)
        };
        let scenario = decision.scenario.as_str().to_lowercase();
        let names = |words: &[String]| words.iter().any(|word| scenario.contains(word.as_str()));
        any(&self.scopes, decision.target.scope())
            && any(&self.origins, &origin(&record.made.origin).to_lowercase())
            && (self.containing.is_empty() || names(&self.containing))
            && !names(&self.not_containing)
            && self.kind.as_ref().is_none_or(|kind| kind == decision.kind.as_str())
            && self.value.as_ref().is_none_or(|value| *value == decision.target.to_string())
    }
}

/// Who made it, in CrowdSec's words: its filters know no others.
pub(super) fn origin(origin: &DecisionOrigin) -> &'static str {
    match origin {
        DecisionOrigin::Sensor { .. } | DecisionOrigin::Hub => "crowdsec",
        DecisionOrigin::Operator { .. } => "cscli",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(query: &str) -> Result<Params, BadAddress> {
        Params::of(&format!("/v1/decisions?{query}").parse().unwrap())
    }

    #[test]
    fn what_is_not_known_or_empty_is_passed_over() {
        let bare = of("").unwrap();
        assert!(!bare.startup && bare.contains && bare.target.is_none());
        assert_eq!(of("x=1&scope=&ip=&startup=maybe").unwrap(), bare);
        assert!(of("startup=true").unwrap().startup);
        let asked = of("ip=::ffff:192.0.2.1&contains=false&scopes=ip%2CRange").unwrap();
        assert_eq!(asked.target.unwrap().to_string(), "192.0.2.1");
        assert_eq!((asked.contains, asked.scopes.len()), (false, 2));
    }

    #[test]
    fn an_address_that_is_none_is_told_in_crowdsecs_words() {
        let said = of("ip=garbage").unwrap_err().0;
        assert_eq!(
            said,
            "unable to convert 'garbage' to int: invalid address: invalid ip address / range"
        );
        assert!(of(&format!("range={}", "9".repeat(9_000))).unwrap_err().0.len() < 500);
    }

    #[test]
    fn lists_are_bounded() {
        let many = of(&format!("origins={}", "a,".repeat(1_500))).unwrap();
        assert_eq!(many.origins.len(), MAX_WORDS);
        let long = of(&format!("origins={}", "a".repeat(MAX_VALUE_BYTES + 1))).unwrap();
        assert!(long.origins.is_empty());
    }
}
