//! What comes of decisions on this machine, as the hub is told it: how far the
//! feed is carried out, what fails, what is not obeyed, and what bans drop.
//!
//! The enforcer and the detection write here, the uplink reads.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use palisade_event::{
    DecisionTarget, DroppedPackets, EffectReceipt, EffectReport, Failing, HostName,
    MAX_EFFECT_TARGETS, MAX_REFUSALS, MAX_REFUSED_TARGETS, Refused, Timestamp, report_text,
};
use tokio::sync::Notify;

use super::Method;
use crate::metrics::Metrics;

/// Most targets whose packets wait to be told; others come when they move again.
const MAX_MOVED: usize = 50_000;
/// What reasons beyond the bound are counted as.
const OTHER_REASONS: &str = "other reasons";

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Effect {
    state: Mutex<State>,
    /// Something has changed that the hub should hear of soon.
    pub(crate) changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    cursor: Option<u64>,
    directions: Option<u64>,
    failing: Option<Failing>,
    refused: BTreeMap<Box<str>, Refusals>,
    /// Packets of each ban in the firewall that has dropped some.
    counted: HashMap<DecisionTarget, u64>,
    dropped_packets: u64,
    /// Those of which the hub has not heard.
    moved: HashMap<DecisionTarget, u64>,
}

#[derive(Debug, Default)]
struct Refusals {
    count: u64,
    targets: VecDeque<DecisionTarget>,
}

impl Effect {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How far the feed is carried out, and by which directions.
    pub(crate) fn heard(&self, cursor: Option<u64>, directions: Option<u64>) {
        let mut state = self.state();
        let is_news = (state.cursor, state.directions) != (cursor, directions);
        (state.cursor, state.directions) = (cursor, directions);
        drop(state);
        if is_news {
            self.changed.notify_one();
        }
    }

    /// An order is not obeyed, or not any more.
    pub(crate) fn refuse(&self, target: DecisionTarget, reason: &str) {
        let mut state = self.state();
        let reason = report_text(reason);
        let is_room = state.refused.len() < MAX_REFUSALS - 1;
        let reason = match is_room || state.refused.contains_key(&reason) {
            true => reason,
            false => OTHER_REASONS.into(),
        };
        let refusals = state.refused.entry(reason).or_default();
        refusals.count += 1;
        refusals.targets.retain(|known| *known != target);
        refusals.targets.push_back(target);
        if refusals.targets.len() > MAX_REFUSED_TARGETS {
            refusals.targets.pop_front();
        }
        drop(state);
        self.changed.notify_one();
    }

    /// Somebody is banned here after all.
    pub(crate) fn obey(&self, target: &DecisionTarget) {
        for refusals in self.state().refused.values_mut() {
            refusals.targets.retain(|known| known != target);
        }
    }

    /// The firewall cannot be changed.
    pub(super) fn fails(&self, reason: &str) {
        let error = report_text(reason);
        let mut state = self.state();
        let since = state.failing.as_ref().map(|failing| failing.since);
        let is_news = since.is_none();
        let since = since.unwrap_or_else(|| Timestamp::from(SystemTime::now()));
        state.failing = Some(Failing { error, since });
        drop(state);
        if is_news {
            self.changed.notify_one();
        }
    }

    /// It can be changed.
    pub(super) fn works(&self) {
        if self.state().failing.take().is_some() {
            self.changed.notify_one();
        }
    }

    /// Takes what the firewall has counted of all bans that are in it. A ban that
    /// is made anew is counted from nothing.
    pub(super) fn count(&self, there: impl Iterator<Item = (DecisionTarget, u64)>) {
        let mut state = self.state();
        let before = std::mem::take(&mut state.counted);
        for (target, packets) in there.filter(|(_, packets)| *packets > 0) {
            let known = before.get(&target).copied().unwrap_or(0);
            state.counted.insert(target, packets);
            if packets == known {
                continue;
            }
            state.dropped_packets += packets.checked_sub(known).unwrap_or(packets);
            if state.moved.len() < MAX_MOVED || state.moved.contains_key(&target) {
                state.moved.insert(target, packets);
            }
        }
    }

    /// What the hub is told next.
    pub(crate) fn report(
        &self,
        metrics: &Metrics,
        method: Method,
        host: Option<&HostName>,
    ) -> EffectReport {
        let state = self.state();
        let refused = state.refused.iter().map(|(reason, refusals)| Refused {
            reason: reason.clone(),
            count: refusals.count,
            targets: refusals.targets.iter().copied().collect(),
        });
        let dropped = state.moved.iter().take(MAX_EFFECT_TARGETS);
        EffectReport {
            host: host.cloned(),
            method: method.name().into(),
            cursor: state.cursor,
            directions: state.directions,
            held: metrics.enforce_held.get(),
            left_out: metrics.orders_dropped.get(),
            failures: metrics.enforce_failures.get(),
            failing: state.failing.clone(),
            refused: refused.collect(),
            dropped_packets: state.dropped_packets,
            dropped: dropped
                .map(|(target, packets)| DroppedPackets { target: *target, packets: *packets })
                .collect(),
        }
    }

    /// The hub has a report; whether there is more to tell at once.
    pub(crate) fn told(&self, report: &EffectReport, receipt: EffectReceipt) -> bool {
        let mut state = self.state();
        for told in &report.dropped {
            if state.moved.get(&told.target) == Some(&told.packets) {
                state.moved.remove(&told.target);
            }
        }
        if receipt.all {
            let State { counted, moved, .. } = &mut *state;
            let told: std::collections::HashSet<DecisionTarget> =
                report.dropped.iter().map(|told| told.target).collect();
            let others = counted.iter().filter(|(target, _)| !told.contains(target));
            for (target, packets) in others.take(MAX_MOVED) {
                moved.entry(*target).or_insert(*packets);
            }
        }
        let was_full = report.dropped.len() >= MAX_EFFECT_TARGETS;
        (was_full || receipt.all) && !state.moved.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(n: u32) -> DecisionTarget {
        DecisionTarget::Ip(std::net::Ipv4Addr::from(0xc633_6400 + n).into())
    }

    fn report(effect: &Effect) -> EffectReport {
        let report = effect.report(&Metrics::default(), Method::Nftables, None);
        assert_eq!(EffectReport::decode(&report.encode()).unwrap().method, report.method);
        report
    }

    #[test]
    fn packets_are_told_once_and_all_of_them_to_a_hub_that_has_forgotten() {
        let effect = Effect::default();
        effect.count([(target(1), 5), (target(2), 0), (target(3), 7)].into_iter());
        let first = report(&effect);
        assert_eq!((first.dropped.len(), first.dropped_packets), (2, 12));
        effect.count([(target(1), 6), (target(3), 7)].into_iter());
        assert!(!effect.told(&first, EffectReceipt::default()));
        let second = report(&effect);
        assert_eq!(second.dropped, [DroppedPackets { target: target(1), packets: 6 }]);
        assert_eq!(second.dropped_packets, 13);
        assert!(effect.told(&second, EffectReceipt { all: true }), "there is more");
        let third = report(&effect);
        assert_eq!(third.dropped, [DroppedPackets { target: target(3), packets: 7 }]);
        // A ban that was made anew begins with nothing.
        effect.count([(target(1), 2)].into_iter());
        assert_eq!(report(&effect).dropped_packets, 15);
    }

    #[test]
    fn reports_are_bounded() {
        let effect = Effect::default();
        effect.count((1..=1_500).map(|n| (target(n), 1)));
        for n in 0..100 {
            effect.refuse(target(n), "allowed by the office");
            effect.refuse(target(n), &format!("allowed by {n}\n"));
        }
        let first = report(&effect);
        assert_eq!((first.dropped.len(), first.refused.len()), (MAX_EFFECT_TARGETS, MAX_REFUSALS));
        assert!(effect.told(&first, EffectReceipt::default()), "the rest follows at once");
        assert_eq!(report(&effect).dropped.len(), 500);
        let office = first.refused.iter().find(|one| &*one.reason == "allowed by the office");
        let office = office.unwrap();
        assert_eq!((office.count, office.targets.len()), (100, MAX_REFUSED_TARGETS));
        assert_eq!(office.targets.last(), Some(&target(99)));
        effect.obey(&target(99));
        let after = report(&effect);
        assert!(after.refused.iter().all(|one| !one.targets.contains(&target(99))));
    }

    #[test]
    fn a_failure_has_its_first_time_and_its_last_words() {
        let effect = Effect::default();
        effect.fails("nft: not found");
        let since = report(&effect).failing.unwrap().since;
        effect.fails("nft: permission\ndenied");
        let failing = report(&effect).failing.unwrap();
        assert_eq!((failing.since, &*failing.error), (since, "nft: permission denied"));
        effect.works();
        assert_eq!(report(&effect).failing, None);
    }
}
