//! What should be in force on this machine, and what is in its firewall, in one
//! table: 100,000 bans are held on the smallest machines. Pure: no clock, no
//! kernel.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};

use ipnet::IpNet;
use palisade_event::{CompactTarget, CompactTime, DecisionTarget, Timestamp};

use super::{Change, Held};

/// In place of a time: not wanted, or not there.
const NONE: CompactTime = CompactTime::MAX;
/// The end of what has none, in milliseconds since 1970: the year 9999.
const NEVER_MS: i64 = 253_402_207_200_000;
/// An end that differs by less, in milliseconds, is the same.
const TOLERANCE: u64 = 3_000;
/// Ends that are over or changed and still in line, beside as many as are held.
const STALE_ENDS: usize = 1_024;

/// About one target.
#[derive(Clone, Copy, Debug)]
struct Entry {
    /// Until when it is to be kept out.
    wanted: CompactTime,
    /// Until when the firewall keeps it out, as far as we know.
    there: CompactTime,
    /// The listing in which it was seen last.
    round: u8,
}

/// Who is to be kept out, until when, and who is.
#[derive(Debug)]
pub(super) struct Ledger {
    entries: HashMap<CompactTarget, Entry>,
    /// How many are wanted.
    held: usize,
    /// The ends, the first first. One that is not its entry's end is stale.
    ends: BinaryHeap<Reverse<(CompactTime, CompactTarget)>>,
    most: usize,
    round: u8,
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
        Self {
            entries: HashMap::new(),
            held: 0,
            ends: BinaryHeap::new(),
            most: most.max(1),
            round: 0,
        }
    }

    fn entry(&mut self, target: CompactTarget) -> &mut Entry {
        let round = self.round;
        self.entries.entry(target).or_insert(Entry { wanted: NONE, there: NONE, round })
    }

    /// Forgets a target that is neither wanted nor there.
    fn tidy(&mut self, target: CompactTarget) {
        if self.entries.get(&target).is_some_and(|e| e.wanted == NONE && e.there == NONE) {
            self.entries.remove(&target);
        }
    }

    /// Keeps somebody out until then.
    pub(super) fn ban(&mut self, target: DecisionTarget, until: Timestamp) -> Taken {
        let (target, until) = (CompactTarget::from(target), until.into());
        let entry = self.entry(target);
        let is_new = entry.wanted == NONE;
        if !is_new && entry.wanted >= until {
            return Taken::Known;
        }
        entry.wanted = until;
        self.held += usize::from(is_new);
        self.ends.push(Reverse((until, target)));
        if self.held > self.most
            && let Some((_, first)) = self.first_end()
        {
            self.let_in(first);
            return Taken::Instead(first.into());
        }
        if self.ends.len() > 2 * self.held + STALE_ENDS {
            self.line_up();
        }
        Taken::New
    }

    /// Lets somebody in again; whether they were kept out.
    pub(super) fn lift(&mut self, target: &DecisionTarget) -> bool {
        self.let_in((*target).into())
    }

    fn let_in(&mut self, target: CompactTarget) -> bool {
        let Some(entry) = self.entries.get_mut(&target).filter(|entry| entry.wanted != NONE) else {
            return false;
        };
        entry.wanted = NONE;
        self.held -= 1;
        self.tidy(target);
        true
    }

    /// The first end that is still one.
    fn first_end(&mut self) -> Option<(CompactTime, CompactTarget)> {
        while let Some(Reverse((until, target))) = self.ends.peek().copied() {
            if self.entries.get(&target).is_some_and(|entry| entry.wanted == until) {
                return Some((until, target));
            }
            self.ends.pop();
        }
        None
    }

    /// Takes out what is over.
    pub(super) fn expire(&mut self, now: Timestamp) -> Vec<DecisionTarget> {
        let mut over = Vec::new();
        while let Some((until, target)) = self.first_end()
            && until <= now.into()
        {
            self.let_in(target);
            over.push(target.into());
        }
        over
    }

    /// The clock was set by so many milliseconds: what is in force lasts as long
    /// as before. The kernel goes by a clock that nobody sets.
    pub(super) fn shift(&mut self, millis: i64) {
        for entry in self.entries.values_mut() {
            for time in [&mut entry.wanted, &mut entry.there] {
                if *time != NONE && *time != Timestamp::from_millis(NEVER_MS).into() {
                    *time = Timestamp::from(*time).plus_millis(millis).into();
                }
            }
        }
        self.line_up();
    }

    /// Makes the line of ends anew, without stale ones.
    fn line_up(&mut self) {
        let wanted = self.entries.iter().filter(|(_, entry)| entry.wanted != NONE);
        self.ends = wanted.map(|(target, entry)| Reverse((entry.wanted, *target))).collect();
    }

    /// When the next one is over.
    pub(super) fn next_end(&mut self) -> Option<Timestamp> {
        self.first_end().map(|(until, _)| until.into())
    }

    /// How many are to be kept out.
    pub(super) fn len(&self) -> usize {
        self.held
    }

    /// The networks, wanted or there.
    pub(super) fn nets(&self) -> impl Iterator<Item = DecisionTarget> + '_ {
        self.entries.keys().filter(|target| target.is_net()).map(|target| (*target).into())
    }

    /// Networks that lie within another one: they are left to that one, because
    /// sets of networks take no overlaps. When it is over they are there again.
    pub(super) fn hidden(&self) -> HashSet<DecisionTarget> {
        let net = |(target, entry): (&CompactTarget, &Entry)| match (*target).into() {
            DecisionTarget::Range(net) if entry.wanted != NONE => Some(net),
            _ => None,
        };
        let mut nets: Vec<IpNet> = self.entries.iter().filter_map(net).collect();
        // Families and networks in order, the larger before what lies within it.
        nets.sort_unstable();
        let mut kept: Option<IpNet> = None;
        let mut hidden = HashSet::new();
        for net in nets {
            match kept {
                Some(larger) if larger.contains(&net) => {
                    hidden.insert(DecisionTarget::Range(net));
                }
                _ => kept = Some(net),
            }
        }
        hidden
    }

    /// What is to be ordered about a target.
    pub(super) fn change(
        &self,
        target: DecisionTarget,
        hidden: &HashSet<DecisionTarget>,
    ) -> Option<Change> {
        let entry = self.entries.get(&target.into())?;
        let wanted = if hidden.contains(&target) { NONE } else { entry.wanted };
        let until = (wanted != NONE).then(|| wanted.into());
        (wanted != entry.there).then(|| Change { target, until, replaces: entry.there != NONE })
    }

    /// What is to be ordered about all.
    pub(super) fn changes(&self) -> Vec<Change> {
        let hidden = self.hidden();
        self.entries.keys().filter_map(|target| self.change((*target).into(), &hidden)).collect()
    }

    /// Notes what the firewall does about a target from now on.
    pub(super) fn done(&mut self, target: DecisionTarget, until: Option<Timestamp>) {
        let (round, target) = (self.round, target.into());
        let entry = self.entry(target);
        entry.there = until.map_or(NONE, CompactTime::from);
        entry.round = round;
        self.tidy(target);
    }

    /// Begins to compare with what the firewall lists.
    pub(super) fn begin_listing(&mut self) {
        self.round = self.round.wrapping_add(1);
    }

    /// The firewall has this. What ends when it should counts as just that.
    pub(super) fn listed(&mut self, target: DecisionTarget, held: &Held) {
        let round = self.round;
        let until = held.until.unwrap_or(Timestamp::from_millis(NEVER_MS));
        let entry = self.entry(target.into());
        entry.round = round;
        let wanted = Timestamp::from(entry.wanted).as_millis();
        let is_same = entry.wanted != NONE && until.as_millis().abs_diff(wanted) <= TOLERANCE;
        entry.there = if is_same { entry.wanted } else { until.into() };
    }

    /// All that the firewall has was listed. Gives how many of those who are to
    /// be kept out are gone from it.
    pub(super) fn end_listing(&mut self) -> u64 {
        let (round, mut lost) = (self.round, 0);
        self.entries.retain(|_, entry| {
            if entry.there != NONE && entry.round != round {
                entry.there = NONE;
                lost += u64::from(entry.wanted != NONE);
            }
            entry.wanted != NONE || entry.there != NONE
        });
        if self.entries.capacity() > 4 * self.entries.len() + STALE_ENDS {
            self.entries.shrink_to(2 * self.entries.len());
            self.ends.shrink_to(2 * self.held);
        }
        lost
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
            let mut all: Vec<String> =
                ledger.changes().iter().map(|change| change.target.to_string()).collect();
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

    /// What the firewall has, for tests.
    fn held(until_secs: Option<i64>) -> Held {
        Held { until: until_secs.map(at), dropped: 0 }
    }

    fn shown(ledger: &Ledger) -> Vec<String> {
        let change = |c: &Change| match c.until {
            Some(until) => {
                format!("{} until {}, {}", c.target, until.as_millis() / 1000, c.replaces)
            }
            None => format!("{} out", c.target),
        };
        let mut all: Vec<String> = ledger.changes().iter().map(change).collect();
        all.sort();
        all
    }

    #[test]
    fn only_the_difference_to_what_is_there_is_ordered() {
        let mut ledger = Ledger::new(100);
        for (number, until) in [(1, 100), (2, 100), (3, 100)] {
            ledger.ban(target(&format!("192.0.2.{number}")), at(until));
        }
        ledger.done(target("192.0.2.1"), Some(at(100)));
        ledger.done(target("192.0.2.2"), Some(at(100)));
        assert_eq!(shown(&ledger), ["192.0.2.3 until 100, false"]);
        // One is there as it should be but for rounding, one ends too early, one is
        // gone, and two nobody ordered, one of them without an end.
        ledger.begin_listing();
        ledger.listed(target("192.0.2.1"), &held(Some(98)));
        ledger.listed(target("192.0.2.3"), &held(Some(50)));
        ledger.listed(target("192.0.2.8"), &held(Some(100)));
        ledger.listed(target("192.0.2.9"), &held(None));
        assert_eq!(ledger.end_listing(), 1);
        assert_eq!(
            shown(&ledger),
            [
                "192.0.2.2 until 100, false",
                "192.0.2.3 until 100, true",
                "192.0.2.8 out",
                "192.0.2.9 out"
            ]
        );
        for change in ledger.changes() {
            ledger.done(change.target, change.until);
        }
        assert_eq!(shown(&ledger), [""; 0]);
        assert!(ledger.lift(&target("192.0.2.1")));
        assert_eq!(shown(&ledger), ["192.0.2.1 out"]);
        assert_eq!((ledger.len(), ledger.entries.len()), (2, 3));
        // Gone from the firewall by itself: nothing is left of it.
        ledger.begin_listing();
        assert_eq!(ledger.end_listing(), 2);
        assert_eq!((ledger.len(), ledger.entries.len()), (2, 2));
    }

    #[test]
    fn ends_that_change_again_and_again_do_not_pile_up() {
        let mut ledger = Ledger::new(10);
        for secs in 0..100_000 {
            assert_eq!(ledger.ban(target("192.0.2.1"), at(secs)), Taken::New);
        }
        assert!(ledger.ends.len() <= 2 + STALE_ENDS, "{}", ledger.ends.len());
        assert_eq!(ledger.next_end(), Some(at(99_999)));
        assert_eq!((ledger.expire(at(99_998)).len(), ledger.expire(at(99_999)).len()), (0, 1));
    }

    #[test]
    fn a_ban_lasts_as_long_though_the_clock_is_set() {
        let mut ledger = Ledger::new(10);
        ledger.ban(target("192.0.2.1"), at(1_000));
        ledger.ban(target("192.0.2.2"), at(2_000));
        ledger.done(target("192.0.2.1"), Some(at(1_000)));
        ledger.shift(86_400_000);
        assert_eq!(shown(&ledger), ["192.0.2.2 until 88400, false"], "nothing for the first");
        assert_eq!(ledger.expire(at(87_399)), []);
        assert_eq!(ledger.expire(at(87_400)), [target("192.0.2.1")]);
        ledger.shift(-86_400_000);
        assert_eq!(ledger.next_end(), Some(at(2_000)));
    }

    #[test]
    fn an_entry_is_small() {
        assert_eq!(size_of::<(CompactTarget, Entry)>(), 30);
        assert_eq!(size_of::<(CompactTime, CompactTarget)>(), 23);
    }
}
