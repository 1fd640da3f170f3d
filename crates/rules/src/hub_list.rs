//! Whom the hub spares, on this machine too. Many entries are looked through
//! fast, as pages of the hub's decisions are: they are sorted by their first
//! address, and each knows the last address of all before it.

use std::net::Ipv6Addr;

use palisade_event::{DecisionTarget, Timestamp};

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubAllowed {
    /// Whom it spares.
    pub target: DecisionTarget,
    /// Why, for people.
    pub reason: Box<str>,
    /// When it ends; without one it does not.
    pub until: Option<Timestamp>,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(crate) struct HubList(Vec<Row>);

#[derive(Clone, Debug)]
struct Row {
    low: Ipv6Addr,
    high: Ipv6Addr,
    /// The last address of this entry and of all before it.
    reach: Ipv6Addr,
    entry: HubAllowed,
}

impl HubList {
    pub(crate) fn new(entries: Vec<HubAllowed>) -> Self {
        let mut rows: Vec<Row> = entries
            .into_iter()
            .map(|entry| {
                let (low, high) = entry.target.bounds();
                Row { low, high, reach: high, entry }
            })
            .collect();
        rows.sort_by_key(|row| (row.low, row.high));
        let mut reach = Ipv6Addr::UNSPECIFIED;
        for row in &mut rows {
            reach = reach.max(row.high);
            row.reach = reach;
        }
        Self(rows)
    }

    /// Moves all ends by so many milliseconds: the clock was set.
    pub(crate) fn shift(&mut self, millis: i64) {
        for row in &mut self.0 {
            row.entry.until = row.entry.until.map(|until| until.plus_millis(millis));
        }
    }

    /// An entry that spares some of the target.
    pub(crate) fn spares(&self, target: &DecisionTarget, now: Timestamp) -> Option<&HubAllowed> {
        let (from, to) = target.bounds();
        let behind = self.0.partition_point(|row| row.low <= to);
        let before = self.0.get(..behind)?.iter().rev();
        before
            .take_while(|row| row.reach >= from)
            .find(|row| row.high >= from && row.entry.until.is_none_or(|until| now < until))
            .map(|row| &row.entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(entries: &[(&str, Option<i64>)]) -> HubList {
        let entry = |(target, until): &(&str, Option<i64>)| HubAllowed {
            target: target.parse().unwrap(),
            reason: "".into(),
            until: until.map(Timestamp::from_millis),
        };
        HubList::new(entries.iter().map(entry).collect())
    }

    #[test]
    fn who_overlaps_an_entry_in_force_is_spared_and_nobody_else() {
        let list = list(&[
            ("198.51.0.0/16", Some(10)),
            ("198.51.100.0/24", None),
            ("192.0.2.7", None),
            ("203.0.113.0/24", None),
            ("2001:db8::/32", None),
        ]);
        let spared = |target: &str, now| {
            let target = target.parse().unwrap();
            list.spares(&target, Timestamp::from_millis(now)).map(|e| e.target.to_string())
        };
        assert_eq!(spared("198.51.7.1", 9).as_deref(), Some("198.51.0.0/16"));
        assert_eq!(spared("198.51.7.1", 10), None, "its end is observed");
        assert_eq!(spared("198.51.100.9", 10).as_deref(), Some("198.51.100.0/24"));
        assert_eq!(spared("192.0.0.0/16", 10).as_deref(), Some("192.0.2.7"), "also by a network");
        assert_eq!(spared("2001:db8::1", 10).as_deref(), Some("2001:db8::/32"));
        for free in ["198.52.0.1", "192.0.2.8", "203.0.114.0", "::1", "1.1.1.1"] {
            assert_eq!(spared(free, 0), None, "{free}");
        }
        assert_eq!(
            HubList::default().spares(&"192.0.2.1".parse().unwrap(), Timestamp::from_millis(0)),
            None
        );
    }

    #[test]
    fn the_answer_is_that_of_looking_at_all() {
        // Nested, equal and apart, by a small generator.
        let mut seed = 7u32;
        let mut next = |below: u32| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 8) % below
        };
        let targets: Vec<String> =
            (0..300).map(|_| format!("10.0.{}.{}/{}", next(4), next(256), 22 + next(11))).collect();
        let entries: Vec<(&str, Option<i64>)> =
            targets.iter().take(150).map(|t| (t.as_str(), None)).collect();
        let list = list(&entries);
        for target in &targets {
            let target: DecisionTarget = target.parse().unwrap();
            let all = entries
                .iter()
                .any(|(entry, _)| entry.parse::<DecisionTarget>().unwrap().overlaps(&target));
            let found = list.spares(&target, Timestamp::from_millis(0));
            assert_eq!(found.is_some(), all, "{target}");
            assert!(found.is_none_or(|entry| entry.target.overlaps(&target)));
        }
    }
}
