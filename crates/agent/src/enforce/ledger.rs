//! What should be in force on this machine. Pure: no clock, no kernel.

use std::collections::{BTreeSet, HashMap};

use ipnet::IpNet;
use palisade_event::{DecisionTarget, Timestamp};

/// Who is kept out, and until when.
#[derive(Debug)]
pub(super) struct Ledger {
    held: HashMap<DecisionTarget, Timestamp>,
    /// The same by their ends, the first first.
    by_end: BTreeSet<(Timestamp, DecisionTarget)>,
    most: usize,
}

/// What the ledger did with an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// It is in force from now on, or longer.
    New,
    /// What is in force lasts as long.
    Known,
    /// There are too many; this one was given up, whose end comes first.
    Instead(DecisionTarget),
}

impl Ledger {
    /// An empty one that holds at most so many.
    pub(super) fn new(most: usize) -> Self {
        Self { held: HashMap::new(), by_end: BTreeSet::new(), most: most.max(1) }
    }

    /// Keeps somebody out until then.
    pub(super) fn ban(&mut self, target: DecisionTarget, until: Timestamp) -> Taken {
        match self.held.get(&target) {
            Some(known) if *known >= until => return Taken::Known,
            Some(known) => {
                self.by_end.remove(&(*known, target));
            }
            None => {}
        }
        self.held.insert(target, until);
        self.by_end.insert((until, target));
        if self.held.len() > self.most
            && let Some((_, first)) = self.by_end.pop_first()
        {
            self.held.remove(&first);
            return Taken::Instead(first);
        }
        Taken::New
    }

    /// Lets somebody in again; whether they were kept out.
    pub(super) fn lift(&mut self, target: &DecisionTarget) -> bool {
        match self.held.remove(target) {
            Some(until) => self.by_end.remove(&(until, *target)),
            None => false,
        }
    }

    /// Takes out what is over.
    pub(super) fn expire(&mut self, now: Timestamp) -> Vec<DecisionTarget> {
        let mut over = Vec::new();
        while let Some((until, target)) = self.by_end.first().copied()
            && until <= now
        {
            self.by_end.pop_first();
            self.held.remove(&target);
            over.push(target);
        }
        over
    }

    /// When the next one is over.
    pub(super) fn next_end(&self) -> Option<Timestamp> {
        self.by_end.first().map(|(until, _)| *until)
    }

    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    /// Until when somebody is to be kept out.
    pub(super) fn until(&self, target: &DecisionTarget) -> Option<Timestamp> {
        self.held.get(target).copied()
    }

    /// The networks.
    pub(super) fn nets(&self) -> impl Iterator<Item = DecisionTarget> + '_ {
        self.held.keys().filter(|target| matches!(target, DecisionTarget::Range(_))).copied()
    }

    /// Networks that lie within another one: they are left to that one, because
    /// sets of networks take no overlaps. When it is over they are there again.
    pub(super) fn hidden(&self) -> Vec<DecisionTarget> {
        let net = |target| match target {
            DecisionTarget::Range(net) => Some(net),
            DecisionTarget::Ip(_) => None,
        };
        let mut nets: Vec<IpNet> = self.nets().filter_map(net).collect();
        // Families and networks in order, the larger before what lies within it.
        nets.sort_unstable();
        let mut kept: Option<IpNet> = None;
        let mut hidden = Vec::new();
        for net in nets {
            match kept {
                Some(larger) if larger.contains(&net) => hidden.push(DecisionTarget::Range(net)),
                _ => kept = Some(net),
            }
        }
        hidden
    }

    /// All, as the firewall is to have them.
    pub(super) fn wanted(&self) -> HashMap<DecisionTarget, Timestamp> {
        let mut wanted = self.held.clone();
        for net in self.hidden() {
            wanted.remove(&net);
        }
        wanted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(text: &str) -> DecisionTarget {
        text.parse().unwrap()
    }

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_millis(secs * 1000)
    }

    #[test]
    fn the_longer_ban_holds_in_whatever_order_they_come() {
        let mut ledger = Ledger::new(10);
        assert_eq!(ledger.ban(target("192.0.2.1"), at(100)), Taken::New);
        assert_eq!(ledger.ban(target("192.0.2.1"), at(50)), Taken::Known);
        assert_eq!(ledger.ban(target("192.0.2.1"), at(100)), Taken::Known);
        assert_eq!(ledger.ban(target("192.0.2.1"), at(200)), Taken::New);
        assert_eq!(ledger.expire(at(199)), []);
        assert_eq!(ledger.next_end(), Some(at(200)));
        assert_eq!(ledger.expire(at(200)), [target("192.0.2.1")]);
        assert_eq!((ledger.len(), ledger.next_end()), (0, None));
    }

    #[test]
    fn who_is_let_in_is_gone_from_everything() {
        let mut ledger = Ledger::new(10);
        ledger.ban(target("192.0.2.1"), at(100));
        assert!(ledger.lift(&target("192.0.2.1")));
        assert!(!ledger.lift(&target("192.0.2.1")));
        assert_eq!(ledger.next_end(), None);
    }

    #[test]
    fn of_too_many_the_one_that_ends_first_goes() {
        let mut ledger = Ledger::new(2);
        ledger.ban(target("192.0.2.1"), at(300));
        ledger.ban(target("192.0.2.2"), at(100));
        assert_eq!(ledger.ban(target("192.0.2.3"), at(200)), Taken::Instead(target("192.0.2.2")));
        assert_eq!(ledger.ban(target("192.0.2.4"), at(1)), Taken::Instead(target("192.0.2.4")));
        assert_eq!(ledger.len(), 2);
    }

    #[test]
    fn a_network_within_another_one_comes_back_when_that_is_over() {
        let mut ledger = Ledger::new(100);
        for (net, until) in [
            ("198.51.0.0/16", 100),
            ("198.51.100.0/24", 200),
            ("198.51.100.128/25", 300),
            ("198.52.0.0/16", 100),
            ("2001:db8::/32", 100),
            ("2001:db8:1::/48", 100),
            ("198.51.100.7", 50),
        ] {
            ledger.ban(target(net), at(until));
        }
        let shown = |ledger: &Ledger| {
            let mut all: Vec<String> = ledger.wanted().keys().map(ToString::to_string).collect();
            all.sort();
            all
        };
        assert_eq!(
            shown(&ledger),
            ["198.51.0.0/16", "198.51.100.7", "198.52.0.0/16", "2001:db8::/32"]
        );
        ledger.expire(at(100));
        assert_eq!(shown(&ledger), ["198.51.100.0/24"]);
        ledger.expire(at(200));
        assert_eq!(shown(&ledger), ["198.51.100.128/25"]);
    }
}
