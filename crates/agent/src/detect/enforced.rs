//! Between decisions and the enforcer: what of them is a ban, and who is never
//! banned whatever anybody orders.

use std::sync::Arc;

use ipnet::IpNet;
use palisade_event::{Decision, DecisionTarget, Timestamp};
use palisade_rules::{Allowlist, Policy, Spared, Suspect};

use crate::enforce::{EnforceConfig, Method, Orders};

/// Hands decisions to the enforcer once they are durable.
pub(crate) struct Enforced {
    orders: Arc<Orders>,
    is_dry_run: bool,
    widest: (u8, u8),
    /// The host of our hub, which is never banned.
    hub: Option<String>,
    /// Decided and not yet durable.
    waiting: Vec<(DecisionTarget, Timestamp)>,
}

impl Enforced {
    pub(crate) fn new(config: &EnforceConfig, hub: Option<String>, orders: Arc<Orders>) -> Self {
        Self {
            orders,
            is_dry_run: config.method == Method::DryRun,
            widest: (config.widest_v4, config.widest_v6),
            hub,
            waiting: Vec::new(),
        }
    }

    pub(super) fn hub(&self) -> Option<String> {
        self.hub.clone()
    }

    /// What becomes of decisions, in a word for the log.
    pub(super) fn mode(&self, decision: &Decision) -> &'static str {
        match (decision.simulated, decision.is_ban(), self.is_dry_run) {
            (true, ..) => "simulated",
            (false, false, _) => "no ban",
            (false, true, true) => "dry-run",
            (false, true, false) => "enforced",
        }
    }

    /// Orders what is in force already.
    pub(super) fn begin(&self, policy: &Policy, now: Timestamp) {
        for (target, until) in policy.banned(now) {
            self.orders.ban(target, until);
        }
    }

    /// Keeps a decision until it is durable.
    pub(super) fn decided(&mut self, decision: &Decision) {
        if decision.is_ban() && !decision.simulated && !self.is_too_wide(&decision.target) {
            self.waiting.push((decision.target, decision.until()));
        }
    }

    /// All decisions are durable.
    pub(super) fn release(&mut self) {
        for (target, until) in self.waiting.drain(..) {
            self.orders.ban(target, until);
        }
    }

    /// Lets in whom the allowlist spares now; who that is, and by which entry.
    pub(super) fn spare(
        &self,
        policy: &mut Policy,
        allowlist: &Allowlist,
        now: Timestamp,
    ) -> Vec<(DecisionTarget, String)> {
        let spared: Vec<(DecisionTarget, String)> = policy
            .banned(now)
            .filter_map(|(target, _)| Some((target, spares(allowlist, target, now)?)))
            .collect();
        for (target, entry) in &spared {
            tracing::warn!(%target, entry, "somebody who is banned is allowed now, and is let in");
            policy.lift(target, now);
            self.orders.lift(*target);
        }
        spared
    }

    /// Orders something at once.
    pub(super) fn ban(&self, target: DecisionTarget, until: Timestamp) {
        self.orders.ban(target, until);
    }

    /// Lets somebody in at once.
    pub(super) fn lift(&self, target: DecisionTarget) {
        self.orders.lift(target);
    }

    pub(super) fn is_too_wide(&self, target: &DecisionTarget) -> bool {
        match target {
            DecisionTarget::Ip(_) => false,
            DecisionTarget::Range(IpNet::V4(net)) => net.prefix_len() < self.widest.0,
            DecisionTarget::Range(IpNet::V6(net)) => net.prefix_len() < self.widest.1,
        }
    }
}

/// The entry of an allowlist that spares a target.
pub(super) fn spares(
    allowlist: &Allowlist,
    target: DecisionTarget,
    now: Timestamp,
) -> Option<String> {
    let suspect = Suspect { target: Some(target), ..Suspect::default() };
    match allowlist.check(&suspect, now) {
        Spared::By(entry) => Some(entry),
        // What is in force was decided when that was known.
        Spared::No | Spared::Unknown(_) => None,
    }
}
