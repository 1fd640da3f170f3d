//! Bans as sets of nftables, in a table of our own: `nft -f -` takes a batch as
//! one transaction. Addresses are in sets with timeouts, networks in sets of
//! intervals; each element counts what it has dropped.

use std::fmt::{self, Write as _};
use std::io::{BufReader, Read};
use std::net::IpAddr;

use ipnet::IpNet;
use palisade_event::{DecisionTarget, Timestamp};
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::run::{list_by, run, words};
use super::{Change, Held, Take};

/// Most elements of one transaction.
const MAX_BATCH: usize = 2_000;
/// The sets: name, type, flags, and which packets they are about.
const SETS: [(&str, &str, &str, &str); 4] = [
    ("ban4", "ipv4_addr", "timeout", "ip"),
    ("ban6", "ipv6_addr", "timeout", "ip6"),
    ("net4", "ipv4_addr", "interval, timeout", "ip"),
    ("net6", "ipv6_addr", "interval, timeout", "ip6"),
];
/// What is looked at: packets for this machine, and those that pass through it
/// (containers, routers), before other rules.
const CHAINS: [&str; 2] = ["input", "forward"];

/// The enforcer.
#[derive(Debug)]
pub(super) struct Nftables {
    /// The name of our table in the family inet.
    pub(super) table: String,
    /// The program.
    pub(super) command: String,
}

fn set_of(target: &DecisionTarget) -> &'static str {
    match target {
        DecisionTarget::Ip(IpAddr::V4(_)) => "ban4",
        DecisionTarget::Ip(IpAddr::V6(_)) => "ban6",
        DecisionTarget::Range(IpNet::V4(_)) => "net4",
        DecisionTarget::Range(IpNet::V6(_)) => "net6",
    }
}

impl Nftables {
    async fn script(&self, text: &str) -> Result<(), String> {
        run(&words(&[&self.command, "-f", "-"]), text.as_bytes()).await.map(drop)
    }

    /// Makes table, sets and rules where they are missing; empties nothing.
    pub(super) async fn prepare(&self) -> Result<(), String> {
        let text = preparation(&self.table);
        if self.script(&text).await.is_ok() {
            return Ok(());
        }
        // One that an older version made another way.
        let table = &self.table;
        let anew = format!("add table inet {table}\ndelete table inet {table}\n{text}");
        self.script(&anew).await
    }

    /// Orders changes, as few transactions as go: without rights over the whole
    /// machine the kernel takes only so many bytes at once.
    pub(super) async fn apply(&self, changes: &[Change], now: Timestamp) -> Result<(), String> {
        let mut waiting: Vec<&[Change]> = changes.chunks(MAX_BATCH).collect();
        waiting.reverse();
        while let Some(part) = waiting.pop() {
            match self.script(&batch(&self.table, part, now)).await {
                Ok(()) => {}
                Err(reason) if part.len() > 1 && reason.contains("Message too long") => {
                    let (first, second) = part.split_at(part.len() / 2);
                    waiting.extend([second, first]);
                }
                Err(reason) => return Err(reason),
            }
        }
        Ok(())
    }

    /// Gives who is in the kernel's sets.
    pub(super) async fn list(&self, now: Timestamp, take: Take<'_>) -> Result<(), String> {
        for (set, ..) in SETS {
            let argv = words(&[&self.command, "-j", "list", "set", "inet", &self.table, set]);
            let parse = move |output: &mut dyn Read, give: Take<'_>| {
                parse(BufReader::new(output), now, give).map_err(|error| error.to_string())
            };
            list_by(&argv, parse, take).await?;
        }
        Ok(())
    }

    /// Whether all of our rules are there. Of all that nft can list, only a
    /// terse ruleset leaves the elements of sets in the kernel.
    pub(super) async fn is_whole(&self) -> bool {
        let argv = words(&[&self.command, "-t", "list", "ruleset", "inet"]);
        match run(&argv, b"").await {
            Ok(text) => has_all_rules(&String::from_utf8_lossy(&text), &self.table),
            Err(_) => false,
        }
    }

    /// Takes our table out.
    pub(super) async fn flush(&self) -> Result<(), String> {
        let table = &self.table;
        self.script(&format!("add table inet {table}\ndelete table inet {table}\n")).await
    }
}

/// Whether a listing of all tables has our rules in our table.
fn has_all_rules(ruleset: &str, table: &str) -> bool {
    let begin = format!("table inet {table} {{");
    let Some((_, rest)) = ruleset.split_once(&begin) else { return false };
    let ours = rest.split("\n}").next().unwrap_or_default();
    SETS.iter().all(|(set, ..)| ours.matches(&format!("@{set} drop")).count() >= CHAINS.len())
}

fn preparation(table: &str) -> String {
    let mut text = format!("add table inet {table}\n");
    for (set, of, flags, _) in SETS {
        // Writing to memory does not fail.
        let _ =
            writeln!(text, "add set inet {table} {set} {{ type {of}; flags {flags}; counter; }}");
    }
    for chain in CHAINS {
        let _ = writeln!(
            text,
            "add chain inet {table} {chain} {{ type filter hook {chain} priority -10; policy accept; }}\nflush chain inet {table} {chain}"
        );
        for (set, _, _, packets) in SETS {
            let _ = writeln!(text, "add rule inet {table} {chain} {packets} saddr @{set} drop");
        }
    }
    text
}

/// One transaction. `add` of what is there changes nothing, so that after it
/// `delete` never fails, whatever the kernel has let expire meanwhile.
fn batch(table: &str, changes: &[Change], now: Timestamp) -> String {
    let mut text = String::new();
    for (set, ..) in SETS {
        let of_set = || changes.iter().filter(move |change| set_of(&change.target) == set);
        let replaced: Vec<String> =
            of_set().filter(|change| change.replaces).map(|c| c.target.to_string()).collect();
        if !replaced.is_empty() {
            let all = replaced.join(", ");
            let _ = writeln!(text, "add element inet {table} {set} {{ {all} }}");
            let _ = writeln!(text, "delete element inet {table} {set} {{ {all} }}");
        }
        let added: Vec<String> = of_set()
            .filter_map(|change| Some((change.target, change.until?)))
            .map(|(target, until)| format!("{target} timeout {}s", secs_until(until, now)))
            .collect();
        if !added.is_empty() {
            let _ = writeln!(text, "add element inet {table} {set} {{ {} }}", added.join(", "));
        }
    }
    text
}

/// Seconds from now, at least one.
pub(super) fn secs_until(until: Timestamp, now: Timestamp) -> u64 {
    let millis = until.as_millis().saturating_sub(now.as_millis()).max(1);
    u64::try_from(millis).unwrap_or(1).div_ceil(1000)
}

/// Where in the output of `nft -j list set` we are: `{"nftables": [{"set":
/// {"elem": [ELEMENT, …]}}]}`. Elements are taken as they come, because a set
/// may have a hundred thousand.
#[derive(Clone, Copy)]
enum Place {
    Output,
    Objects,
    Object,
    Set,
    Elements,
}

struct Walk<'t> {
    place: Place,
    take: &'t mut dyn FnMut(Wrapped),
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        match self.place {
            Place::Output | Place::Object | Place::Set => deserializer.deserialize_map(self),
            Place::Objects | Place::Elements => deserializer.deserialize_seq(self),
        }
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("what nft lists")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let (name, place) = match self.place {
            Place::Output => ("nftables", Place::Objects),
            Place::Object => ("set", Place::Set),
            _ => ("elem", Place::Elements),
        };
        while let Some(key) = map.next_key::<String>()? {
            if key == name {
                map.next_value_seed(Walk { place, take: &mut *self.take })?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        if let Place::Elements = self.place {
            while let Some(element) = seq.next_element()? {
                (self.take)(element);
            }
            return Ok(());
        }
        while seq.next_element_seed(Walk { place: Place::Object, take: &mut *self.take })?.is_some()
        {
        }
        Ok(())
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Wrapped {
    Elem {
        elem: Elem,
    },
    /// One without a timeout and counter.
    Bare(Value),
}

#[derive(Deserialize)]
struct Elem {
    val: Value,
    #[serde(default)]
    expires: Option<u64>,
    #[serde(default)]
    counter: Option<Packets>,
}

#[derive(Deserialize)]
struct Packets {
    packets: u64,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Value {
    One(String),
    Prefix {
        prefix: Prefix,
    },
    /// What none of ours is.
    Other(IgnoredAny),
}

#[derive(Deserialize)]
struct Prefix {
    addr: IpAddr,
    len: u8,
}

fn parse(text: impl Read, now: Timestamp, give: Take<'_>) -> Result<(), serde_json::Error> {
    let mut take = |element| {
        let (value, expires, dropped) = match element {
            Wrapped::Elem { elem } => {
                (elem.val, elem.expires, elem.counter.map_or(0, |counter| counter.packets))
            }
            Wrapped::Bare(value) => (value, None, 0),
        };
        let target = match value {
            Value::One(text) => text.parse().ok(),
            Value::Prefix { prefix } => {
                IpNet::new(prefix.addr, prefix.len).ok().map(DecisionTarget::Range)
            }
            Value::Other(_) => None,
        };
        let millis =
            |secs: u64| i64::try_from(secs).unwrap_or(i64::MAX / 1000).saturating_mul(1000);
        let until = expires.map(|secs| now.plus_millis(millis(secs)));
        if let Some(target) = target {
            give(target, Held { until, dropped });
        }
    };
    let mut reader = serde_json::Deserializer::from_reader(text);
    Walk { place: Place::Output, take: &mut take }.deserialize(&mut reader)?;
    reader.end()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn change(target: &str, until_secs: Option<i64>, replaces: bool) -> Change {
        Change {
            target: target.parse().unwrap(),
            until: until_secs.map(|secs| Timestamp::from_millis(secs * 1000)),
            replaces,
        }
    }

    #[test]
    fn a_batch_is_one_script_in_the_order_delete_then_add() {
        let changes = [
            change("192.0.2.1", Some(110), false),
            change("192.0.2.2", Some(120), true),
            change("2001:db8::1", None, true),
            change("198.51.100.0/24", Some(101), false),
        ];
        let now = Timestamp::from_millis(100_500);
        assert_eq!(
            batch("p", &changes, now),
            "add element inet p ban4 { 192.0.2.2 }\n\
             delete element inet p ban4 { 192.0.2.2 }\n\
             add element inet p ban4 { 192.0.2.1 timeout 10s, 192.0.2.2 timeout 20s }\n\
             add element inet p ban6 { 2001:db8::1 }\n\
             delete element inet p ban6 { 2001:db8::1 }\n\
             add element inet p net4 { 198.51.100.0/24 timeout 1s }\n"
        );
        assert_eq!(batch("p", &[], now), "");
    }

    #[test]
    fn rules_are_looked_for_in_our_table_alone() {
        let rules = "\t\tip saddr @ban4 drop\n\t\tip6 saddr @ban6 drop\n\t\tip saddr @net4 drop\n\t\tip6 saddr @net6 drop\n";
        let table = |name: &str, chains: usize| {
            format!("table inet {name} {{\n\tchain input {{\n{}\t}}\n}}\n", rules.repeat(chains))
        };
        assert!(has_all_rules(&(table("other", 0) + &table("p", 2)), "p"));
        assert!(!has_all_rules(&(table("p", 1) + &table("other", 2)), "p"));
        assert!(!has_all_rules(&table("palisade", 2), "p"));
        assert!(!has_all_rules("", "p"));
    }

    #[test]
    fn what_nft_lists_is_read_back_also_what_others_put_there() {
        let text = br#"{"nftables": [{"metainfo": {"version": "1.0.6"}}, {"set": {"name": "ban4", "elem": [
            {"elem": {"val": "192.0.2.1", "timeout": 100, "expires": 99, "counter": {"packets": 7, "bytes": 420}}},
            "192.0.2.9",
            {"elem": {"val": {"prefix": {"addr": "198.51.100.0", "len": 24}}, "expires": 9}},
            {"range": ["10.0.0.1", "10.0.0.9"]}
        ]}}]}"#;
        let mut all = HashMap::new();
        let now = Timestamp::from_millis(1000);
        parse(&text[..], now, &mut |target, held| {
            all.insert(target, held);
        })
        .unwrap();
        assert_eq!(all.len(), 3);
        let held = &all[&"192.0.2.1".parse().unwrap()];
        assert_eq!((held.until, held.dropped), (Some(Timestamp::from_millis(100_000)), 7));
        assert_eq!(all[&"192.0.2.9".parse().unwrap()].until, None);
        assert!(all.contains_key(&"198.51.100.0/24".parse().unwrap()));
        for wrong in ["[]", "{}x", r#"{"nftables": 1}"#, r#"{"nftables": [{"set": {"elem": ["192"#]
        {
            assert!(parse(wrong.as_bytes(), now, &mut |_, _| {}).is_err(), "{wrong}");
        }
    }
}
