//! What the hub orders, and what of it this machine obeys: its own allowlist
//! beats any order, and no order cuts it off from its network or its hub.

use std::collections::{HashMap, HashSet};

use palisade_event::{
    Change, Decision, DecisionChange, DecisionFeed, DecisionTarget, Lift, Timestamp,
};
use palisade_rules::{Allowlist, Policy, Spared, Suspect};

use super::enforced::{Enforced, spares};

/// Most decisions about whom it is not known yet whether they are spared.
const MAX_UNSURE: usize = 10_000;

/// How far the feed of decisions was carried out.
pub(super) struct Heard {
    /// Behind the last page; `None` where everything that is in force is to come.
    cursor: Option<u64>,
    /// Whom the pages of all that is in force have named so far.
    named: Option<HashSet<DecisionTarget>>,
    /// Decisions that wait until a name of the allowlist is resolved.
    unsure: HashMap<DecisionTarget, DecisionChange>,
}

/// What became of a page.
#[derive(Default)]
pub(super) struct Outcome {
    /// Orders that are not obeyed, and why.
    pub(super) refused: Vec<(DecisionTarget, String)>,
    /// Those that are, to be written down.
    pub(super) obeyed: Vec<DecisionChange>,
}

impl Heard {
    pub(super) fn new(cursor: Option<u64>) -> Self {
        Self { cursor, named: None, unsure: HashMap::new() }
    }

    /// What to ask after at a start. None within the pages of all that is in
    /// force: those come again from their beginning.
    pub(super) fn cursor(&self) -> Option<u64> {
        self.cursor.filter(|_| self.named.is_none())
    }

    /// Carries a page out.
    pub(super) fn take(
        &mut self,
        page: &DecisionFeed,
        policy: &mut Policy,
        allowlist: &Allowlist,
        enforced: &Enforced,
        now: Timestamp,
    ) -> Outcome {
        if page.reset && self.named.is_none() {
            self.named = Some(HashSet::new());
        }
        let mut outcome = Outcome::default();
        for whole in &page.changes {
            match &whole.change {
                Change::Made(made) => {
                    let decision = &made.decision;
                    if let Some(named) = &mut self.named {
                        named.insert(decision.target);
                    }
                    match obey(decision, policy, allowlist, enforced, now) {
                        Ok(()) => outcome.obeyed.push(whole.clone()),
                        Err(refusal) => {
                            tracing::warn!(
                                target = %decision.target,
                                scenario = decision.scenario.as_str(),
                                reason = refusal.reason,
                                "an order of the hub is not obeyed"
                            );
                            if refusal.is_unsure && self.unsure.len() < MAX_UNSURE {
                                self.unsure.insert(decision.target, whole.clone());
                            }
                            outcome.refused.push((decision.target, refusal.reason));
                        }
                    }
                }
                Change::Lifted(Lift { target, at, .. }) => {
                    self.unsure.remove(target);
                    outcome.obeyed.push(whole.clone());
                    // One that is not remembered may be in the firewall still.
                    if policy.lift(target, *at) || policy.bans(target) == 0 {
                        tracing::info!(%target, "the hub lets somebody in again");
                        enforced.lift(*target);
                    }
                }
                Change::Unknown {} => {
                    tracing::warn!("the hub tells of something that only a later version knows");
                }
            }
        }
        self.cursor = Some(page.cursor);
        if page.reset && page.snapshot.is_none() {
            // What we heard of once and is in force no more was lifted meanwhile.
            let named = self.named.take().unwrap_or_default();
            let gone: Vec<DecisionTarget> =
                policy.heard_of(now).filter(|target| !named.contains(target)).collect();
            for target in gone {
                policy.lift(&target, now);
                enforced.lift(target);
            }
        }
        outcome
    }

    /// Looks again at decisions that waited for a name of the allowlist. Gives
    /// those that are carried out now.
    pub(super) fn look_again(
        &mut self,
        policy: &mut Policy,
        allowlist: &Allowlist,
        enforced: &Enforced,
        now: Timestamp,
    ) -> Vec<DecisionChange> {
        let mut obeyed = Vec::new();
        self.unsure.retain(|_, whole| {
            let Change::Made(made) = &whole.change else { return false };
            match obey(&made.decision, policy, allowlist, enforced, now) {
                Ok(()) => {
                    obeyed.push(whole.clone());
                    false
                }
                Err(refusal) => refusal.is_unsure,
            }
        });
        obeyed
    }
}

/// Takes a page over that was carried out before a restart, as far as nobody
/// spares its targets now. A name that is not resolved yet was, then.
pub(super) fn again(
    page: &DecisionFeed,
    policy: &mut Policy,
    allowlist: &Allowlist,
    now: Timestamp,
) {
    for DecisionChange { change, .. } in &page.changes {
        match change {
            Change::Made(made) if made.decision.is_ban() && made.decision.until() > now => {
                if spares(allowlist, made.decision.target, now).is_none() {
                    policy.hear(&made.decision);
                }
            }
            Change::Lifted(Lift { target, at, .. }) => {
                policy.lift(target, *at);
            }
            Change::Made(_) | Change::Unknown {} => {}
        }
    }
}

/// Why an order is not obeyed.
struct Refusal {
    reason: String,
    /// It may be obeyed when a name of the allowlist is resolved.
    is_unsure: bool,
}

fn refusal(reason: String) -> Refusal {
    Refusal { reason, is_unsure: false }
}

/// Takes a decision over, or says why not.
fn obey(
    decision: &Decision,
    policy: &mut Policy,
    allowlist: &Allowlist,
    enforced: &Enforced,
    now: Timestamp,
) -> Result<(), Refusal> {
    if !decision.is_ban() || decision.simulated || decision.until() <= now {
        return Ok(());
    }
    if enforced.is_too_wide(&decision.target) {
        let reason = "the network is wider than [agent.enforce] widest_v4 or widest_v6";
        return Err(refusal(reason.to_owned()));
    }
    let suspect = Suspect { target: Some(decision.target), ..Suspect::default() };
    match allowlist.check(&suspect, now) {
        Spared::By(entry) => return Err(refusal(format!("allowed by {entry}"))),
        Spared::Unknown(name) => {
            let reason = format!("the allowed name {name} has not been resolved");
            return Err(Refusal { reason, is_unsure: true });
        }
        Spared::No => {}
    }
    if policy.hear(decision) {
        enforced.ban(decision.target, decision.until());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use palisade_event::{DecisionOrigin, DecisionType, EventId, MadeDecision, ScenarioName};
    use palisade_rules::{Allowed, PolicyConfig};

    use super::*;
    use crate::enforce::{EnforceConfig, Orders};
    use crate::metrics::Metrics;

    const NOW: i64 = 1_795_000_000_000;

    struct Agent {
        heard: Heard,
        policy: Policy,
        allowlist: Allowlist,
        enforced: Enforced,
        orders: Arc<Orders>,
    }

    impl Agent {
        fn new() -> Self {
            let orders = Orders::new(Arc::new(Metrics::default()));
            let mut allowlist =
                Allowlist::new(vec![Allowed::new("192.0.2.0/24".parse().unwrap(), "ours")]);
            allowlist.set_system(vec![("203.0.113.1/32".parse().unwrap(), "the hub".into())]);
            Self {
                heard: Heard::new(None),
                policy: Policy::new(PolicyConfig::default()),
                allowlist,
                enforced: Enforced::new(&EnforceConfig::default(), None, Arc::clone(&orders)),
                orders,
            }
        }

        fn take(&mut self, cursor: u64, reset: bool, changes: Vec<Change>) -> u64 {
            let numbered = |(n, change)| DecisionChange { seq: cursor - 50 + n, change };
            let changes = (0..).zip(changes).map(numbered).collect();
            let page = DecisionFeed { cursor, changes, reset, ..DecisionFeed::default() };
            let now = Timestamp::from_millis(NOW);
            let Self { heard, policy, allowlist, enforced, .. } = self;
            heard.take(&page, policy, allowlist, enforced, now).refused.len() as u64
        }

        /// Orders since the last time, as text.
        fn orders(&self) -> Vec<String> {
            let mut all = Vec::new();
            for (target, order) in self.orders.take() {
                all.extend(order.lift.then(|| format!("lift {target}")));
                let secs = order.ban.map(|until| (until.as_millis() - NOW) / 1000);
                all.extend(secs.map(|secs| format!("ban {target} {secs}")));
            }
            all.sort();
            all
        }
    }

    fn made(target: &str, secs: u64) -> Change {
        let from = Timestamp::from_millis(NOW - 1000);
        Change::Made(Box::new(MadeDecision {
            decision: Decision {
                id: EventId::derived(from, &[target.as_bytes()]),
                kind: DecisionType::new("ban").unwrap(),
                target: target.parse().unwrap(),
                from,
                duration_secs: secs,
                scenario: ScenarioName::new("manual").unwrap(),
                reason: "by hand".into(),
                alert: EventId::from_u128(1),
                evidence: Vec::new(),
                simulated: false,
            },
            origin: DecisionOrigin::Hub,
            note: None,
        }))
    }

    fn lifted(target: &str, at: i64) -> Change {
        let at = Timestamp::from_millis(at);
        let target = target.parse().unwrap();
        Change::Lifted(Lift { target, by: "anna".into(), at, reason: None })
    }

    #[test]
    fn orders_are_carried_out_once_and_lifted() {
        let mut agent = Agent::new();
        assert_eq!(agent.take(100, false, vec![made("198.51.100.7", 61)]), 0);
        assert_eq!(agent.orders(), ["ban 198.51.100.7 60"]);
        assert_eq!(agent.take(101, false, vec![made("198.51.100.7", 61)]), 0);
        assert_eq!(agent.orders(), [""; 0], "the same again is nothing new");
        agent.take(102, false, vec![lifted("198.51.100.7", NOW - 2000)]);
        assert_eq!(agent.orders(), [""; 0], "the ban is newer than that");
        agent.take(103, false, vec![lifted("198.51.100.7", NOW)]);
        assert_eq!(agent.orders(), ["lift 198.51.100.7"]);
        assert_eq!(agent.heard.cursor(), Some(103));
        let again =
            vec![made("198.51.100.7", 3601), lifted("198.51.100.7", NOW), made("198.51.100.7", 31)];
        agent.take(104, false, again);
        assert_eq!(agent.orders(), ["ban 198.51.100.7 30", "lift 198.51.100.7"], "not an hour");
        agent.take(105, false, vec![lifted("198.51.100.99", NOW)]);
        assert_eq!(agent.orders(), ["lift 198.51.100.99"], "in the firewall it may be");
    }

    #[test]
    fn no_order_cuts_the_machine_off() {
        let mut agent = Agent::new();
        let hostile = [
            "0.0.0.0/0",
            "128.0.0.0/1",
            "198.0.0.0/8",
            "::/0",
            "2001::/16",
            "127.0.0.1",
            "::1",
            "192.0.2.9",
            "192.0.0.0/16",
            "203.0.113.1",
            "203.0.113.0/24",
            "0.0.0.0",
            "224.0.0.1",
            "169.254.169.254",
            "fe80::1",
        ];
        let changes: Vec<Change> = hostile.iter().map(|target| made(target, 60)).collect();
        assert_eq!(agent.take(100, false, changes), hostile.len() as u64);
        assert_eq!(agent.orders(), [""; 0]);
        let mut simulated = made("198.51.100.7", 60);
        if let Change::Made(made) = &mut simulated {
            made.decision.simulated = true;
        }
        let over = made("198.51.100.8", 1);
        assert_eq!(agent.take(101, false, vec![simulated, over]), 0);
        assert_eq!(agent.orders(), [""; 0]);
    }

    #[test]
    fn what_a_reset_does_not_name_is_over_unless_it_was_decided_here() {
        let mut agent = Agent::new();
        agent.take(100, false, vec![made("198.51.100.7", 61), made("198.51.100.8", 61)]);
        let Change::Made(own) = made("198.51.100.9", 61) else { panic!() };
        agent.policy.restore(&own.decision);
        agent.orders();
        agent.take(900, true, vec![made("198.51.100.8", 61)]);
        assert_eq!(agent.orders(), ["lift 198.51.100.7"]);
    }

    #[test]
    fn an_order_waits_until_the_names_of_the_allowlist_are_known() {
        let mut agent = Agent::new();
        agent.allowlist = Allowlist::new(vec![Allowed::new("office.example".parse().unwrap(), "")]);
        let bans = ["198.51.100.7", "198.51.100.8", "198.51.100.9"];
        assert_eq!(agent.take(60, false, bans.map(|ban| made(ban, 60)).to_vec()), 3);
        let lift = Lift {
            target: "198.51.100.9".parse().unwrap(),
            by: "admin".into(),
            at: Timestamp::from_millis(NOW),
            reason: None,
        };
        agent.take(61, false, vec![Change::Lifted(lift)]);
        agent.orders();
        let look = |agent: &mut Agent| {
            let Agent { heard, policy, allowlist, enforced, .. } = agent;
            heard.look_again(policy, allowlist, enforced, Timestamp::from_millis(NOW)).len()
        };
        assert_eq!(look(&mut agent), 0);
        agent.allowlist.resolve("office.example", &["198.51.100.8".parse().unwrap()]);
        assert_eq!(look(&mut agent), 1);
        assert_eq!(agent.orders(), ["ban 198.51.100.7 59"]);
        assert_eq!(look(&mut agent), 0, "once");
    }
}
