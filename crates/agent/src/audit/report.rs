//! What an audit found: verdicts, counts, the score, what to do first.

use std::time::Duration;

use palisade_event::Timestamp;

use super::catalogue::{Check, Severity};
use super::judge::Facts;

/// What became of a check, and what was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is as it should be.
    Pass(String),
    /// It is not.
    Fail(String),
    /// It cannot be said, and why.
    NotJudged(String),
    /// It has no meaning on this machine, and why.
    NotApplicable(String),
}

impl Verdict {
    /// Its name in events and reports.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Pass(_) => "pass",
            Self::Fail(_) => "fail",
            Self::NotJudged(_) => "not-judged",
            Self::NotApplicable(_) => "not-applicable",
        }
    }

    /// What was seen, or why not. May have text from files of the machine in it.
    #[must_use]
    pub fn evidence(&self) -> &str {
        match self {
            Self::Pass(text)
            | Self::Fail(text)
            | Self::NotJudged(text)
            | Self::NotApplicable(text) => text,
        }
    }
}

/// A check and what became of it.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The check.
    pub check: Check,
    /// What became of it.
    pub verdict: Verdict,
}

/// What an audit found.
#[derive(Clone, Debug)]
pub struct Report {
    /// Where the files are: `/` for this machine.
    pub root: String,
    /// The machine's own name, as its files say.
    pub host: String,
    /// Its system, as it names itself.
    pub system: String,
    /// Whether it is the running machine.
    pub running: bool,
    /// Whether root looked.
    pub as_root: bool,
    /// When.
    pub at: Timestamp,
    /// How long it took.
    pub took: Duration,
    /// Every check, by area and id.
    pub findings: Vec<Finding>,
}

impl Report {
    pub(super) fn new(
        facts: &Facts<'_>,
        findings: Vec<Finding>,
        at: Timestamp,
        took: Duration,
    ) -> Self {
        Self {
            root: facts.root().path().display().to_string(),
            host: facts.host_name(),
            system: facts.system_name(),
            running: facts.root().is_running(),
            as_root: rustix::process::geteuid().is_root(),
            at,
            took,
            findings,
        }
    }

    fn count(&self, is: impl Fn(&Verdict) -> bool) -> usize {
        self.findings.iter().filter(|finding| is(&finding.verdict)).count()
    }

    /// How many checks pass.
    #[must_use]
    pub fn passed(&self) -> usize {
        self.count(|verdict| matches!(verdict, Verdict::Pass(_)))
    }

    /// How many checks fail.
    #[must_use]
    pub fn failed(&self) -> usize {
        self.count(|verdict| matches!(verdict, Verdict::Fail(_)))
    }

    /// How many checks could not be judged.
    #[must_use]
    pub fn not_judged(&self) -> usize {
        self.count(|verdict| matches!(verdict, Verdict::NotJudged(_)))
    }

    /// How many checks do not apply.
    #[must_use]
    pub fn not_applicable(&self) -> usize {
        self.count(|verdict| matches!(verdict, Verdict::NotApplicable(_)))
    }

    /// 0 to 100: the weight of the checks that pass among those that pass or fail,
    /// rounded down, so that 100 says that none fails. What could not be judged does
    /// not count; where nothing could be, there is no score.
    #[must_use]
    pub fn score(&self) -> Option<u32> {
        let weight = |wanted: fn(&Verdict) -> bool| {
            let of = self.findings.iter().filter(|finding| wanted(&finding.verdict));
            of.map(|finding| finding.check.severity.weight()).sum::<u32>()
        };
        let passed = weight(|verdict| matches!(verdict, Verdict::Pass(_)));
        let failed = weight(|verdict| matches!(verdict, Verdict::Fail(_)));
        (passed * 100).checked_div(passed + failed)
    }

    /// The failed checks, the worst first, then by area and id.
    #[must_use]
    pub fn failures(&self) -> Vec<&Finding> {
        let failed = |finding: &&Finding| matches!(finding.verdict, Verdict::Fail(_));
        let mut failures: Vec<&Finding> = self.findings.iter().filter(failed).collect();
        failures.sort_by_key(|finding| std::cmp::Reverse(finding.check.severity));
        failures
    }

    /// The worst severity of a failed check.
    #[must_use]
    pub fn worst(&self) -> Option<Severity> {
        self.failures().first().map(|finding| finding.check.severity)
    }
}
