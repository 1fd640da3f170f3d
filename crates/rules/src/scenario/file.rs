//! Reads a scenario's TOML file and says where it is wrong.

use palisade_event::query::ParseError;
use palisade_event::{DecisionType, ScenarioName};
use serde::Deserialize;

use super::{
    DistinctValue, GroupBy, MAX_DISTINCT_COUNT, MAX_WINDOW_COUNT, Rule, Runs, Scenario,
    SightingFilter, Span,
};

/// Longest scenario file, in bytes.
pub(super) const MAX_SCENARIO_BYTES: usize = 64 * 1024;
/// Largest capacity of a leaky bucket, and count of a window without a span.
const MAX_COUNT: u32 = 1_000_000;

/// The file is no scenario; one sentence, with the place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ScenarioError(String);

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: ScenarioName,
    description: String,
    kind: Kind,
    filter: String,
    #[serde(default)]
    group_by: Group,
    network_v4: Option<u8>,
    network_v6: Option<u8>,
    capacity: Option<u32>,
    leak: Option<Span>,
    count: Option<u32>,
    within: Option<Span>,
    distinct: Option<DistinctValue>,
    then: Option<String>,
    blackhole: Option<Span>,
    decision: Option<String>,
    ban: Option<Span>,
    #[serde(default)]
    simulation: bool,
    #[serde(default)]
    runs: Runs,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    LeakyBucket,
    SlidingWindow,
    Distinct,
    Rate,
    Trigger,
    Sequence,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Group {
    #[default]
    Address,
    Network,
    User,
    Asn,
}

/// Reads one scenario. `place` is the file's name, for errors.
///
/// # Errors
/// [`ScenarioError`]: what was wrong, where, and what would be right.
pub fn parse_scenario(text: &str, place: &str) -> Result<Scenario, ScenarioError> {
    if text.len() > MAX_SCENARIO_BYTES {
        return Err(ScenarioError(format!(
            "{place}: a scenario has at most {MAX_SCENARIO_BYTES} bytes"
        )));
    }
    let file: File = toml::from_str(text)
        .map_err(|error| ScenarioError(format!("{place}: {}", error.to_string().trim_end())))?;
    let name = file.name.clone();
    let wrong = |message: String| ScenarioError(format!("{place}: scenario {name}: {message}"));
    let filter = filter("filter", &file.filter).map_err(&wrong)?;
    let rule = file.rule().map_err(&wrong)?;
    let group_by = file.group().map_err(&wrong)?;
    let by_address = matches!(group_by, GroupBy::Address | GroupBy::Network(..));
    let decision = match file.decision.as_deref() {
        None if by_address => Some("ban"),
        None | Some("none") => None,
        Some(_) if !by_address => {
            return Err(wrong(
                "decision must be \"none\" where group_by is user or asn: a decision is about an \
                 address or a network"
                    .to_owned(),
            ));
        }
        Some(word) => Some(word),
    };
    let decision =
        decision.map(DecisionType::new).transpose().map_err(|error| wrong(error.to_string()))?;
    Ok(Scenario {
        description: file.description.into(),
        filter,
        rule,
        group_by,
        blackhole: file.blackhole,
        decision,
        ban: file.ban,
        ban_time: None,
        simulation: file.simulation,
        runs: file.runs,
        file: Some(place.into()),
        name: file.name,
    })
}

/// Compiles a filter; a mistake is shown under the text.
fn filter(key: &str, text: &str) -> Result<SightingFilter, String> {
    SightingFilter::parse(text).map_err(|ParseError { at, message }| {
        let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        format!(
            "{key}: {message} (at character {at})\n  {line}\n  {:at$}^",
            "",
            at = at.min(line.chars().count())
        )
    })
}

impl File {
    fn rule(&self) -> Result<Rule, String> {
        let (allowed, rule): (&[&str], Rule) = match self.kind {
            Kind::LeakyBucket => {
                let capacity = between("capacity", self.capacity, 1, MAX_COUNT)?;
                let leak = self.leak.ok_or("leak is missing, such as leak = \"10s\"")?;
                (&["capacity", "leak"], Rule::LeakyBucket { capacity, leak })
            }
            Kind::SlidingWindow => {
                let most = if self.within.is_some() { MAX_WINDOW_COUNT } else { MAX_COUNT };
                let count = between("count", self.count, 1, most)?;
                (&["count", "within"], Rule::SlidingWindow { count, within: self.within })
            }
            Kind::Distinct => {
                let count = between("count", self.count, 2, MAX_DISTINCT_COUNT)?;
                let within = self.within.ok_or("within is missing, such as within = \"10m\"")?;
                let of = self
                    .distinct
                    .ok_or("distinct is missing: \"user\", \"path\", \"port\", \"address\", \"host\" or \"sensor\"")?;
                (&["count", "within", "distinct"], Rule::Distinct { of, count, within })
            }
            Kind::Rate => {
                let count = between("count", self.count, 1, MAX_COUNT)?;
                let within = self.within.ok_or("within is missing, such as within = \"10m\"")?;
                (&["count", "within"], Rule::Rate { count, within, weighs_known: false })
            }
            Kind::Trigger => (&[], Rule::Trigger),
            Kind::Sequence => {
                let count = between("count", self.count, 1, MAX_WINDOW_COUNT)?;
                let within = self.within.ok_or("within is missing, such as within = \"1h\"")?;
                let then = self
                    .then
                    .as_deref()
                    .ok_or("then is missing: the filter of what comes after")?;
                let then = Box::new(filter("then", then)?);
                (&["count", "within", "then"], Rule::Sequence { count, then, within })
            }
        };
        let given = [
            ("capacity", self.capacity.is_some()),
            ("leak", self.leak.is_some()),
            ("count", self.count.is_some()),
            ("within", self.within.is_some()),
            ("distinct", self.distinct.is_some()),
            ("then", self.then.is_some()),
        ];
        for (key, is_given) in given {
            if is_given && !allowed.contains(&key) {
                return Err(format!("{key} means nothing for kind = \"{}\"", rule.name()));
            }
        }
        Ok(rule)
    }

    fn group(&self) -> Result<GroupBy, String> {
        let group = match self.group_by {
            Group::Address => GroupBy::Address,
            Group::Network => {
                let (v4, v6) = (self.network_v4.unwrap_or(24), self.network_v6.unwrap_or(48));
                if !(8..=32).contains(&v4) || !(16..=128).contains(&v6) {
                    return Err("network_v4 must be 8 to 32 and network_v6 16 to 128".to_owned());
                }
                return Ok(GroupBy::Network(v4, v6));
            }
            Group::User => GroupBy::User,
            Group::Asn => GroupBy::Asn,
        };
        if self.network_v4.is_some() || self.network_v6.is_some() {
            return Err("network_v4 and network_v6 belong to group_by = \"network\"".to_owned());
        }
        Ok(group)
    }
}

fn between(key: &str, value: Option<u32>, least: u32, most: u32) -> Result<u32, String> {
    let value =
        value.ok_or_else(|| format!("{key} is missing: a number from {least} to {most}"))?;
    if (least..=most).contains(&value) {
        return Ok(value);
    }
    Err(format!("{key} = {value} is out of range: {least} to {most}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
name = "x"
description = "d"
kind = "leaky-bucket"
filter = "kind:auth.attempted"
capacity = 5
leak = "10s"
"#;

    fn error(text: &str) -> String {
        parse_scenario(text, "x.toml").unwrap_err().to_string()
    }

    #[test]
    fn a_good_scenario_bans_addresses_unless_it_says_otherwise() {
        let scenario = parse_scenario(GOOD, "x.toml").unwrap();
        assert_eq!(scenario.group_by, GroupBy::Address);
        assert_eq!(scenario.decision.unwrap().as_str(), "ban");
        assert!(!scenario.simulation);
        let text = format!("{GOOD}group_by = \"network\"\nnetwork_v4 = 16\ndecision = \"captcha\"");
        let scenario = parse_scenario(&text, "x.toml").unwrap();
        assert_eq!(scenario.group_by, GroupBy::Network(16, 48));
        assert_eq!(scenario.decision.unwrap().as_str(), "captcha");
        let text = format!("{GOOD}group_by = \"user\"");
        assert!(parse_scenario(&text, "x.toml").unwrap().decision.is_none());
    }

    #[test]
    fn mistakes_name_file_scenario_and_what_would_be_right() {
        let text = error(&GOOD.replace("auth.attempted", "auth.attempted statsu:404"));
        assert!(text.contains("x.toml: scenario x: filter:"), "{text}");
        assert!(text.contains("did you mean 'status'?"), "{text}");
        let lines: Vec<&str> = text.lines().collect();
        let pointed = lines[1].chars().nth(lines[2].find('^').unwrap()).unwrap();
        assert_eq!(pointed, 's', "the mark is under the misspelt field\n{text}");
        assert!(error(&GOOD.replace("capacity = 5", "capacity = 0")).contains("1 to 1000000"));
        assert!(error(&GOOD.replace("capacity = 5", "")).contains("capacity is missing"));
        assert!(error(&format!("{GOOD}within = \"1h\"")).contains("within means nothing"));
        assert!(error(&GOOD.replace("10s", "10x")).contains("'10x' is no span of time"));
        assert!(error(&GOOD.replace("leaky-bucket", "bucket")).contains("leaky-bucket"));
        assert!(error(&format!("{GOOD}colour = 1")).contains("colour"));
        assert!(error(&format!("{GOOD}group_by = \"asn\"\ndecision = \"ban\"")).contains("none"));
        assert!(error(&format!("{GOOD}network_v4 = 8")).contains("group_by"));
        assert!(error(&"x".repeat(MAX_SCENARIO_BYTES + 1)).contains("at most"));
        let window = GOOD
            .replace("leaky-bucket", "sliding-window")
            .replace("capacity = 5\nleak = \"10s\"", "count = 1000\nwithin = \"1h\"");
        assert!(error(&window).contains("1 to 256"), "{}", error(&window));
    }
}
