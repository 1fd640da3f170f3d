//! What audits found over all machines: which checks fail where, what is new, and
//! what an operator does not want to be counted for a while.

use std::collections::{BTreeMap, HashMap};

use palisade_event::Timestamp;
use palisade_store::state::{Finding, Suppression};
use serde_json::Value;

use super::read::SEVERITIES;
use super::{Hosts, readable};
use crate::auth::{Permission, Principal};
use crate::error::{AdminError, QueryError, StateError};

/// Most suppressions at once.
const MAX_SUPPRESSIONS: u32 = 10_000;
/// Longest reason, check or machine of one, in characters.
const MAX_REASON_CHARS: usize = 500;
const MAX_NAME_CHARS: usize = 128;
/// Longest time that a suppression lasts: two years.
const MAX_SUPPRESSED_MILLIS: i64 = 2 * 366 * 24 * 60 * 60 * 1000;
/// What is new was opened in the last 24 hours.
const NEW_MILLIS: i64 = 24 * 60 * 60 * 1000;
/// Most findings of an answer.
const MAX_LISTED: usize = 10_000;

/// Which findings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FindingsQuestion {
    /// Of one machine.
    pub host: Option<String>,
    /// Of one check.
    pub check: Option<String>,
    /// Those opened in the last 24 hours alone.
    pub new: bool,
    /// Also those closed in so many days before now.
    pub closed_days: u32,
}

/// A check that fails on a machine, or did.
#[derive(Clone, Debug, PartialEq)]
pub struct FindingInfo {
    /// The machine.
    pub host: String,
    /// The check.
    pub check: String,
    /// What it is called.
    pub title: String,
    /// How bad it is: low, medium, high or critical.
    pub severity: String,
    /// What it belongs to.
    pub area: String,
    /// Evidence, why, fix and reference, a JSON object.
    pub detail: Value,
    /// Since when it fails, or failed last.
    pub opened_at: Timestamp,
    /// Since when it passes.
    pub closed_at: Option<Timestamp>,
    /// Why it was closed.
    pub reason: Option<String>,
    /// Whether it was opened in the last 24 hours.
    pub is_new: bool,
    /// Why it is not counted now, and until when.
    pub suppressed: Option<SuppressionInfo>,
}

/// A check over all machines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FindingCounts {
    /// What it is called.
    pub title: String,
    /// How bad it is.
    pub severity: String,
    /// What it belongs to.
    pub area: String,
    /// Machines where it fails, without those where it is not counted.
    pub hosts: u32,
    /// Those of them where it is new.
    pub new: u32,
    /// Machines where it fails and is not counted.
    pub suppressed: u32,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Findings {
    /// Mean score of the machines that were audited.
    pub score: Option<f64>,
    /// How many were.
    pub audited: u32,
    /// Open findings that are counted, by severity.
    pub by_severity: BTreeMap<String, u32>,
    /// Open findings by check.
    pub by_check: BTreeMap<String, FindingCounts>,
    /// The findings, the worst first, then the newest.
    pub findings: Vec<FindingInfo>,
    /// Findings that are not among them, as there are too many.
    pub left_out: u64,
}

/// A suppression that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSuppression {
    /// The check.
    pub check: String,
    /// The machine; all of them where none is named.
    pub host: Option<String>,
    /// Why.
    pub reason: String,
    /// Until when.
    pub until: Timestamp,
}

/// What is not counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SuppressionInfo {
    /// Names it.
    pub id: String,
    /// The check.
    pub check: String,
    /// The machine; all of them where none is named.
    pub host: Option<String>,
    /// Why.
    pub reason: String,
    /// Who said so.
    pub made_by: String,
    /// When.
    pub created_at: Timestamp,
    /// Until when.
    pub until: Timestamp,
}

impl From<Suppression> for SuppressionInfo {
    fn from(stored: Suppression) -> Self {
        Self {
            id: stored.id,
            check: stored.check,
            host: stored.host,
            reason: stored.reason,
            made_by: stored.made_by,
            created_at: stored.created_at,
            until: stored.until,
        }
    }
}

impl Hosts {
    /// What was found.
    pub(crate) async fn findings(
        &self,
        who: &Principal,
        question: &FindingsQuestion,
        now: Timestamp,
    ) -> Result<Findings, QueryError> {
        readable(who)?;
        let closed_millis = i64::from(question.closed_days) * NEW_MILLIS;
        // Without days, what is closed now at the earliest: nothing.
        let closed_since = match closed_millis {
            0 => now.plus_millis(NEW_MILLIS),
            millis => now.plus_millis(-millis),
        };
        let host = question.host.as_deref();
        let stored = self.state.findings(host, closed_since).await.map_err(StateError::from)?;
        let suppressions = self.state.suppressions(now).await.map_err(StateError::from)?;
        let hosts = self.state.hosts().await.map_err(StateError::from)?;
        let scores = hosts.iter().filter(|one| host.is_none_or(|host| one.id == host));
        let scores: Vec<i64> = scores.filter_map(|host| host.score).collect();
        let mut found = collect(stored, &suppressions, question, now);
        found.audited = u32::try_from(scores.len()).unwrap_or(u32::MAX);
        let sum = scores.iter().sum::<i64>() as f64;
        found.score = (!scores.is_empty()).then(|| sum / scores.len() as f64);
        Ok(found)
    }

    /// What is not counted now.
    pub(crate) async fn suppressions(
        &self,
        who: &Principal,
        now: Timestamp,
    ) -> Result<Vec<SuppressionInfo>, QueryError> {
        readable(who)?;
        let stored = self.state.suppressions(now).await.map_err(StateError::from)?;
        Ok(stored.into_iter().map(SuppressionInfo::from).collect())
    }

    /// Does not count a check for a while.
    pub(crate) async fn suppress(
        &self,
        who: &Principal,
        new: NewSuppression,
        now: Timestamp,
    ) -> Result<SuppressionInfo, AdminError> {
        operates(who)?;
        checked(&new, now).map_err(AdminError::Invalid)?;
        if let Some(host) = &new.host
            && self.state.host(host).await?.is_none()
        {
            return Err(AdminError::NotFound(format!("host '{}'", host.escape_debug())));
        }
        let stored = Suppression {
            id: format!("{:016x}", rand::random::<u64>()),
            check: new.check,
            host: new.host,
            reason: new.reason.trim().to_owned(),
            made_by: who.name().to_owned(),
            created_at: now,
            until: new.until,
        };
        match self.state.add_suppression(&stored, MAX_SUPPRESSIONS).await {
            Ok(()) => Ok(stored.into()),
            Err(palisade_store::state::StateError::Full) => Err(AdminError::Invalid(format!(
                "there are {MAX_SUPPRESSIONS} suppressions already; remove some first"
            ))),
            Err(error) => Err(error.into()),
        }
    }

    /// Counts it again.
    pub(crate) async fn count_again(&self, who: &Principal, id: &str) -> Result<(), AdminError> {
        operates(who)?;
        if self.state.remove_suppression(id).await? {
            return Ok(());
        }
        let id: String = id.chars().take(64).flat_map(char::escape_debug).collect();
        Err(AdminError::NotFound(format!("suppression '{id}'")))
    }
}

fn operates(who: &Principal) -> Result<(), AdminError> {
    let may = who.may(Permission::Operate) && readable(who).is_ok();
    if may { Ok(()) } else { Err(AdminError::Denied("this needs the role operator or admin")) }
}

fn checked(new: &NewSuppression, now: Timestamp) -> Result<(), String> {
    let plain = |text: &str, most: usize| {
        let chars = text.trim().chars().count();
        (1..=most).contains(&chars) && !text.chars().any(char::is_control)
    };
    if !plain(&new.check, MAX_NAME_CHARS) {
        return Err("name the check by its id, such as ssh-root-login".to_owned());
    }
    if !plain(&new.reason, MAX_REASON_CHARS) {
        return Err(format!("say in 1 to {MAX_REASON_CHARS} characters why it is not counted"));
    }
    if new.until <= now || new.until > now.plus_millis(MAX_SUPPRESSED_MILLIS) {
        return Err("the end must be after now and at most two years from now".to_owned());
    }
    Ok(())
}

/// What of the stored findings is asked for, with what is not counted.
fn collect(
    stored: Vec<Finding>,
    suppressions: &[Suppression],
    question: &FindingsQuestion,
    now: Timestamp,
) -> Findings {
    let mut by_check: HashMap<&str, Vec<&Suppression>> = HashMap::new();
    for one in suppressions {
        by_check.entry(&one.check).or_default().push(one);
    }
    let mut found = Findings::default();
    for finding in stored {
        if question.check.as_ref().is_some_and(|check| *check != finding.check) {
            continue;
        }
        let is_new = finding.opened_at >= now.plus_millis(-NEW_MILLIS);
        if question.new && !is_new {
            continue;
        }
        let of_check = by_check.get(finding.check.as_str()).into_iter().flatten();
        let suppressed = of_check
            .filter(|one| one.host.as_ref().is_none_or(|host| *host == finding.host))
            .max_by_key(|one| one.until);
        if finding.closed_at.is_none() {
            let counts = found.by_check.entry(finding.check.clone()).or_default();
            if suppressed.is_some() {
                counts.suppressed += 1;
            } else {
                counts.hosts += 1;
                counts.new += u32::from(is_new);
                *found.by_severity.entry(finding.severity.clone()).or_default() += 1;
            }
            counts.title.clone_from(&finding.title);
            counts.severity.clone_from(&finding.severity);
            counts.area.clone_from(&finding.area);
        }
        found.findings.push(FindingInfo {
            detail: serde_json::from_str(&finding.detail).unwrap_or(Value::Null),
            is_new,
            suppressed: suppressed.map(|one| (*one).clone().into()),
            host: finding.host,
            check: finding.check,
            title: finding.title,
            severity: finding.severity,
            area: finding.area,
            opened_at: finding.opened_at,
            closed_at: finding.closed_at,
            reason: finding.reason,
        });
    }
    let rank = |severity: &str| SEVERITIES.iter().position(|known| *known == severity);
    found.findings.sort_by(|a, b| {
        (b.closed_at.is_none(), rank(&b.severity), b.opened_at, &a.check, &a.host).cmp(&(
            a.closed_at.is_none(),
            rank(&a.severity),
            a.opened_at,
            &b.check,
            &b.host,
        ))
    });
    found.left_out = found.findings.len().saturating_sub(MAX_LISTED) as u64;
    found.findings.truncate(MAX_LISTED);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_790_000_000_000;

    fn at(hours: i64) -> Timestamp {
        Timestamp::from_millis(NOW + hours * 3_600_000)
    }

    fn finding(host: &str, check: &str, severity: &str, opened: i64) -> Finding {
        Finding {
            host: host.into(),
            check: check.into(),
            title: check.to_uppercase(),
            severity: severity.into(),
            area: "ssh".into(),
            detail: "{}".into(),
            opened_at: at(opened),
            closed_at: None,
            reason: None,
        }
    }

    fn suppression(check: &str, host: Option<&str>) -> Suppression {
        Suppression {
            id: "1".into(),
            check: check.into(),
            host: host.map(Into::into),
            reason: "known".into(),
            made_by: "anna".into(),
            created_at: at(0),
            until: at(9),
        }
    }

    #[test]
    fn checks_are_counted_over_machines_without_what_is_suppressed() {
        let stored = vec![
            finding("a", "x", "low", -99),
            finding("b", "x", "low", -1),
            finding("a", "y", "critical", -99),
            Finding { closed_at: Some(at(-2)), ..finding("b", "y", "critical", -99) },
        ];
        let question = FindingsQuestion::default();
        let found = collect(stored.clone(), &[suppression("x", Some("a"))], &question, at(0));
        let x = &found.by_check["x"];
        assert_eq!((x.hosts, x.new, x.suppressed, x.title.as_str()), (1, 1, 1, "X"));
        assert_eq!(found.by_check["y"].hosts, 1);
        assert_eq!(found.by_severity, BTreeMap::from([("critical".into(), 1), ("low".into(), 1)]));
        let order: Vec<(&str, &str)> =
            found.findings.iter().map(|one| (one.host.as_str(), one.check.as_str())).collect();
        assert_eq!(order, [("a", "y"), ("b", "x"), ("a", "x"), ("b", "y")]);
        assert!(found.findings[2].suppressed.is_some() && found.findings[1].suppressed.is_none());
        let all = collect(stored.clone(), &[suppression("x", None)], &question, at(0));
        assert_eq!((all.by_check["x"].hosts, all.by_check["x"].suppressed), (0, 2));
        let new = FindingsQuestion { new: true, ..question };
        assert_eq!(collect(stored, &[], &new, at(0)).findings.len(), 1);
    }

    #[test]
    fn a_suppression_has_a_reason_and_an_end() {
        let new = |check: &str, reason: &str, until| NewSuppression {
            check: check.into(),
            host: None,
            reason: reason.into(),
            until,
        };
        assert_eq!(checked(&new("x", "we know", at(1)), at(0)), Ok(()));
        for bad in [
            new("", "r", at(1)),
            new("x", "  ", at(1)),
            new("x", "a\nb", at(1)),
            new("x", "r", at(0)),
            new("x", "r", at(24 * 800)),
        ] {
            assert!(checked(&bad, at(0)).is_err(), "{bad:?}");
        }
    }
}
