//! The agent's audits: soon after its start and each day, and of what reads a file
//! that changed, within a minute. Only what is new is told one by one; how it stands
//! is told each time.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use palisade_event::{Event, EventKind, HostName, SensorId, Timestamp, Untrusted};
use serde::{Deserialize, Serialize};

use tokio::time::{Instant, sleep_until};

use super::changes::{Watched, judge_again};
use super::config::AuditConfig;
use super::{Catalogue, Finding, Machine, Report, Verdict, audit};
use crate::durable;
use crate::inventory::collector::Teller;
use crate::source::{Ended, Outlet};

/// The first audit waits until the machine and the agent have started.
const FIRST_AFTER: Duration = Duration::from_secs(20);
/// How often it is looked whether a file changed that the audit reads.
const LOOK_EVERY: Duration = Duration::from_secs(20);

/// What failed at the last audit: check and since when.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Open {
    since: BTreeMap<String, Timestamp>,
}

/// The last audit, and what it read.
struct Last {
    report: Report,
    watched: Watched,
}

/// The task of the audits.
pub(crate) struct Audits {
    teller: Teller,
    outlet: Outlet,
    config: AuditConfig,
    file: PathBuf,
}

impl Audits {
    pub(crate) fn new(
        config: &AuditConfig,
        who: (SensorId, Option<HostName>),
        folder: &Path,
        outlet: Outlet,
    ) -> Self {
        let teller = Teller { sensor: who.0, host: who.1 };
        Self { teller, outlet, config: config.clone(), file: folder.join("findings.json") }
    }

    /// Runs until the agent ends.
    pub(crate) async fn run(self) {
        let cancel = self.outlet.cancel().clone();
        tokio::select! {
            biased;
            () = cancel.cancelled() => {}
            ended = self.audit() => if ended.is_err() {
                tracing::debug!("the audits have ended");
            },
        }
    }

    async fn audit(&self) -> Result<(), Ended> {
        let every = Duration::from_secs(self.config.every_hours.saturating_mul(3600));
        let mut next = Instant::now() + FIRST_AFTER;
        let mut last: Option<Last> = None;
        loop {
            let look = last.is_some().then(|| Instant::now() + LOOK_EVERY);
            let at = look.map_or(next, |look| look.min(next));
            sleep_until(at).await;
            if at == next {
                next = Instant::now() + every;
                last = self.whole().await?;
            } else if let Some(before) = last.take() {
                last = self.again(before).await?;
            }
        }
    }

    /// Judges everything.
    async fn whole(&self) -> Result<Option<Last>, Ended> {
        let (teller, config, file) = (self.teller.clone(), self.config.clone(), self.file.clone());
        let audited = tokio::task::spawn_blocking(move || {
            let now = Timestamp::from(SystemTime::now());
            let catalogue = Catalogue::shipped()?.without(&config.disable);
            let machine = Machine::here();
            let watched = Watched::new(&catalogue, &machine.0);
            let report = audit(&machine, &catalogue, now, |_, _| {});
            let (open, events) = compare(&before(&file), &report, &teller, now);
            Ok::<_, String>((Last { report, watched }, open, events))
        });
        match audited.await {
            Ok(Ok((last, open, events))) => self.tell(open, events).await.map(|()| Some(last)),
            Ok(Err(mistake)) => {
                tracing::error!(mistake, "the machine cannot be audited");
                Ok(None)
            }
            Err(error) => {
                tracing::error!(%error, "the audit failed");
                Ok(None)
            }
        }
    }

    /// Judges what reads a file that changed; tells only if a verdict is another.
    async fn again(&self, mut last: Last) -> Result<Option<Last>, Ended> {
        let (teller, file) = (self.teller.clone(), self.file.clone());
        let judged = tokio::task::spawn_blocking(move || {
            let machine = Machine::here();
            let changed = last.watched.look(&machine.0);
            if changed.is_empty() {
                return (last, None);
            }
            let (now, begun) = (Timestamp::from(SystemTime::now()), Instant::now());
            let (judged, other) = judge_again(&machine.0, &mut last.report.findings, &changed, now);
            if !other {
                return (last, None);
            }
            tracing::info!(checks = judged, "files that the audit reads have changed");
            (last.report.at, last.report.took) = (now, begun.elapsed());
            let told = compare(&before(&file), &last.report, &teller, now);
            (last, Some(told))
        });
        match judged.await {
            Ok((last, Some((open, events)))) => self.tell(open, events).await.map(|()| Some(last)),
            Ok((last, None)) => Ok(Some(last)),
            Err(error) => {
                tracing::error!(%error, "the audit failed");
                Ok(None)
            }
        }
    }

    /// Hands events over and writes down what is open.
    async fn tell(&self, open: Open, events: Vec<Event>) -> Result<(), Ended> {
        for event in events {
            self.outlet.event(event).await?;
        }
        // What is not in the spool yet would be told by nobody after a crash.
        self.outlet.reached().await?;
        let file = self.file.clone();
        let written = tokio::task::spawn_blocking(move || durable::write(&file, &open)).await;
        if let Ok(Err(error)) = written {
            tracing::warn!(%error, "what failed at this audit cannot be written down; it is told again");
        }
        Ok(())
    }
}

/// What failed at the audit before.
fn before(file: &Path) -> Open {
    durable::read::<Open>(file)
        .unwrap_or_else(|error| {
            tracing::warn!(%error, "what failed at the last audit cannot be read; all findings are told anew");
            None
        })
        .unwrap_or_default()
}

/// What is open now, and what is to be told. What could not be judged stays as it
/// was.
fn compare(before: &Open, report: &Report, teller: &Teller, now: Timestamp) -> (Open, Vec<Event>) {
    let mut open = Open::default();
    let mut events = Vec::new();
    let mut seen = BTreeSet::new();
    for finding in &report.findings {
        let id = &finding.check.id;
        seen.insert(id.as_str());
        let since = before.since.get(id).copied();
        match (&finding.verdict, since) {
            (Verdict::Fail(_), None) => {
                open.since.insert(id.clone(), now);
                events.push(opened(finding, teller, now));
            }
            (Verdict::Fail(_) | Verdict::NotJudged(_), Some(since)) => {
                open.since.insert(id.clone(), since);
            }
            (Verdict::Pass(_), Some(_)) => {
                events.push(closed(id, Some(finding), "passes", teller, now))
            }
            (Verdict::NotApplicable(_), Some(_)) => {
                events.push(closed(id, Some(finding), "not_applicable", teller, now));
            }
            (_, None) => {}
        }
    }
    // Checks that are no part of the catalogue any more.
    for id in before.since.keys().filter(|id| !seen.contains(id.as_str())) {
        events.push(closed(id, None, "removed", teller, now));
    }
    let failed: Vec<&str> = report.failures().iter().map(|f| f.check.id.as_str()).collect();
    let unjudged: BTreeMap<&str, &str> = report
        .findings
        .iter()
        .filter(|finding| matches!(finding.verdict, Verdict::NotJudged(_)))
        .map(|finding| (finding.check.id.as_str(), finding.verdict.evidence()))
        .collect();
    let mut event = teller
        .event(EventKind::AuditCompleted, now)
        .with("passed", report.passed() as u64)
        .with("failed", report.failed() as u64)
        .with("not_judged", report.not_judged() as u64)
        .with("not_applicable", report.not_applicable() as u64)
        .with("catalogue", Catalogue::VERSION)
        .with("failed_checks", json(&failed))
        .with("unjudged", json(&unjudged))
        .with("duration_ms", u64::try_from(report.took.as_millis()).unwrap_or(u64::MAX));
    if let Some(score) = report.score() {
        event = event.with("score", i64::from(score));
    }
    events.push(event);
    (open, events)
}

fn opened(finding: &Finding, teller: &Teller, now: Timestamp) -> Event {
    let check = &finding.check;
    let event = teller
        .event(EventKind::FindingOpened, now)
        .with("check", check.id.as_str())
        .with("title", check.title.as_str())
        .with("severity", check.severity.as_str())
        .with("area", check.area)
        .with("evidence", Untrusted::from(finding.verdict.evidence()))
        .with("why", check.why.as_str())
        .with("fix", check.fix.as_str())
        .with("since", now.as_millis());
    match check.references.is_empty() {
        true => event,
        false => event.with("reference", check.references.join("; ").as_str()),
    }
}

fn closed(
    id: &str,
    finding: Option<&Finding>,
    reason: &str,
    teller: &Teller,
    now: Timestamp,
) -> Event {
    let event =
        teller.event(EventKind::FindingClosed, now).with("check", id).with("reason", reason);
    match finding {
        None => event,
        Some(Finding { check, .. }) => event
            .with("title", check.title.as_str())
            .with("severity", check.severity.as_str())
            .with("area", check.area),
    }
}

fn json(value: &impl Serialize) -> Untrusted {
    Untrusted::from(serde_json::to_string(value).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn report(verdicts: &[Verdict]) -> Report {
        let catalogue = Catalogue::shipped().unwrap();
        let findings = catalogue
            .checks()
            .iter()
            .zip(verdicts)
            .map(|(check, verdict)| Finding { check: check.clone(), verdict: verdict.clone() });
        Report {
            root: "/".into(),
            host: "web-1".into(),
            system: "Debian".into(),
            running: true,
            as_root: true,
            at: NOW,
            took: Duration::from_millis(5),
            findings: findings.collect(),
        }
    }

    fn kinds(events: &[Event]) -> Vec<EventKind> {
        for event in events {
            event.validate().unwrap();
        }
        events.iter().map(|event| event.kind).collect()
    }

    #[test]
    fn only_what_is_new_is_told_and_what_cannot_be_judged_closes_nothing() {
        use EventKind::{AuditCompleted, FindingClosed, FindingOpened};
        let teller = Teller { sensor: SensorId::new("web-1").unwrap(), host: None };
        let (fail, pass) = (Verdict::Fail("x".into()), Verdict::Pass("y".into()));
        let hidden = Verdict::NotJudged("z".into());
        let next =
            |before: &Open, verdicts: &[Verdict]| compare(before, &report(verdicts), &teller, NOW);
        let (open, events) = next(&Open::default(), &[fail.clone(), fail.clone(), pass.clone()]);
        assert_eq!(kinds(&events), [FindingOpened, FindingOpened, AuditCompleted]);
        let (same, events) = next(&open, &[fail.clone(), hidden, pass.clone()]);
        assert_eq!((kinds(&events), &same), (vec![AuditCompleted], &open));
        let (none, events) = next(&open, std::slice::from_ref(&pass));
        assert_eq!(kinds(&events), [FindingClosed, FindingClosed, AuditCompleted]);
        assert_eq!(none, Open::default());
        assert_eq!(report(&[fail, pass.clone(), pass]).score().unwrap(), {
            let catalogue = Catalogue::shipped().unwrap();
            let weights: Vec<u32> =
                catalogue.checks()[..3].iter().map(|check| check.severity.weight()).collect();
            (weights[1] + weights[2]) * 100 / weights.iter().sum::<u32>()
        });
        assert_eq!(report(&[]).score(), None);
    }
}
