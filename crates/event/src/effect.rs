//! What an agent tells of what it carries out: how, how far, what it could not
//! and what it would not do, and what came of it. Its newest report is all that
//! counts; data flows from agents to the hub.

use serde::{Deserialize, Serialize};

use crate::{DecisionTarget, HostName, Timestamp};

/// Longest report, in bytes.
pub const MAX_EFFECT_BYTES: usize = 512 * 1024;
/// Most targets whose dropped packets are in one report.
pub const MAX_EFFECT_TARGETS: usize = 1_000;
/// Most reasons for which orders are refused.
pub const MAX_REFUSALS: usize = 8;
/// The last targets of each reason.
pub const MAX_REFUSED_TARGETS: usize = 20;
/// Longest text of a report, in bytes.
const MAX_TEXT_BYTES: usize = 500;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EffectReport {
    /// The machine, as the agent names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<HostName>,
    /// How bans are enforced, such as `nftables` or `dry-run`.
    pub method: Box<str>,
    /// How far the change feed is carried out; none before its first page.
    #[serde(default)]
    pub cursor: Option<u64>,
    /// The directions that it goes by.
    #[serde(default)]
    pub directions: Option<u64>,
    /// Bans in force.
    #[serde(default)]
    pub held: u64,
    /// Bans that were left out because there are too many.
    #[serde(default)]
    pub left_out: u64,
    /// How often the firewall could not be changed since the agent started.
    #[serde(default)]
    pub failures: u64,
    /// Why it cannot be changed now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing: Option<Failing>,
    /// Orders that are not obeyed here, since the agent started.
    #[serde(default)]
    pub refused: Vec<Refused>,
    /// Packets that bans have dropped since the agent started.
    #[serde(default)]
    pub dropped_packets: u64,
    /// Packets that the ban of a target has dropped, where that is another
    /// number than the last report had.
    #[serde(default)]
    pub dropped: Vec<DroppedPackets>,
}

/// Bans are not enforced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failing {
    /// What the firewall's program said.
    pub error: Box<str>,
    /// Since when.
    pub since: Timestamp,
}

/// Orders that are not obeyed, for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// Why.
    pub reason: Box<str>,
    /// How many.
    pub count: u64,
    /// About whom, the last ones.
    pub targets: Vec<DecisionTarget>,
}

/// Packets of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DroppedPackets {
    /// The banned target.
    pub target: DecisionTarget,
    /// Packets that its ban has dropped.
    pub packets: u64,
}

/// What the hub answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EffectReceipt {
    /// The hub knew nothing of this agent: the next report says all.
    #[serde(default)]
    pub all: bool,
}

/// A report cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum EffectError {
    /// Longer than [`MAX_EFFECT_BYTES`].
    #[error("the report has {0} bytes; at most {MAX_EFFECT_BYTES} are read")]
    TooLong(usize),
    /// Not the JSON of a report.
    #[error("the report cannot be read: {0}")]
    Malformed(#[from] serde_json::Error),
    /// It breaks a limit.
    #[error("the report breaks a limit: {0}")]
    Unfit(&'static str),
}

impl EffectReport {
    /// Reads a report, and checks every limit.
    ///
    /// # Errors
    /// [`EffectError`]
    pub fn decode(body: &[u8]) -> Result<Self, EffectError> {
        if body.len() > MAX_EFFECT_BYTES {
            return Err(EffectError::TooLong(body.len()));
        }
        let report: Self = serde_json::from_slice(body)?;
        report.check().map_err(EffectError::Unfit)?;
        Ok(report)
    }

    /// Writes a report.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        // Writing to memory can only fail for map keys that are no strings; there are none.
        serde_json::to_vec(self).unwrap_or_default()
    }

    fn check(&self) -> Result<(), &'static str> {
        let method = |c: char| c.is_ascii_lowercase() || c == '-';
        if self.method.is_empty() || self.method.len() > 32 || !self.method.chars().all(method) {
            return Err("the method is a word of small letters");
        }
        let too_long =
            |text: &str| text.len() > MAX_TEXT_BYTES || text.chars().any(char::is_control);
        if self.failing.as_ref().is_some_and(|failing| too_long(&failing.error))
            || self.refused.iter().any(|refused| too_long(&refused.reason))
        {
            return Err("a text has at most 500 bytes and no control characters");
        }
        if self.refused.len() > MAX_REFUSALS
            || self.refused.iter().any(|refused| refused.targets.len() > MAX_REFUSED_TARGETS)
        {
            return Err("at most 8 reasons with 20 targets each");
        }
        if self.dropped.len() > MAX_EFFECT_TARGETS {
            return Err("at most 1000 targets with dropped packets");
        }
        Ok(())
    }
}

/// A text of another program as a report takes it: one line, not too long.
#[must_use]
pub fn report_text(text: &str) -> Box<str> {
    let mut bytes = 0;
    text.trim()
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take_while(|c| {
            bytes += c.len_utf8();
            bytes <= MAX_TEXT_BYTES
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> EffectReport {
        EffectReport { method: "nftables".into(), ..EffectReport::default() }
    }

    #[test]
    fn a_report_survives_the_way_and_one_that_breaks_a_limit_does_not() {
        let target: DecisionTarget = "192.0.2.1".parse().unwrap();
        let since = Timestamp::from_millis(1_795_201_634_000);
        let full = EffectReport {
            failing: Some(Failing { error: report_text("nft:\n\u{1b}[31mno\u{0}"), since }),
            refused: vec![Refused { reason: "allowed".into(), count: 1, targets: vec![target] }],
            dropped: vec![DroppedPackets { target, packets: 7 }],
            ..report()
        };
        assert_eq!(EffectReport::decode(&full.encode()).unwrap(), full);
        assert!(EffectReport::decode(br#"{"method":"nftables","later":1}"#).is_ok());
        let one = Refused { reason: "x".into(), count: 1, targets: vec![target; 21] };
        for bad in [
            EffectReport { method: "".into(), ..report() },
            EffectReport { method: "<b>".into(), ..report() },
            EffectReport { refused: vec![one.clone()], ..report() },
            EffectReport { refused: vec![Refused { targets: vec![], ..one }; 9], ..report() },
            EffectReport { dropped: vec![DroppedPackets { target, packets: 1 }; 1001], ..report() },
            EffectReport { failing: Some(Failing { error: "a\u{1b}".into(), since }), ..report() },
        ] {
            assert!(EffectReport::decode(&bad.encode()).is_err(), "{bad:?}");
        }
        let long = vec![b' '; MAX_EFFECT_BYTES + 1];
        assert!(matches!(EffectReport::decode(&long), Err(EffectError::TooLong(_))));
    }
}
