//! Bans as sets of ipset with rules of iptables, for machines without nftables.

use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Read};

use ipnet::IpNet;
use palisade_event::{DecisionTarget, Timestamp};

use super::nftables::secs_until;
use super::run::{list_by, run, words};
use super::{Change, Held, Take};

/// The longest timeout of ipset, in seconds.
const MAX_TIMEOUT_SECS: u64 = 2_147_483;
/// Chains in which our rule comes first.
const CHAINS: [&str; 2] = ["INPUT", "FORWARD"];

/// The enforcer.
#[derive(Debug)]
pub(super) struct Ipset {
    /// What the names of our sets begin with.
    pub(super) name: String,
    /// Most elements of a set.
    pub(super) most: usize,
}

impl Ipset {
    fn sets(&self) -> [(String, &'static str, &'static str); 2] {
        [
            (format!("{}4", self.name), "inet", "iptables"),
            (format!("{}6", self.name), "inet6", "ip6tables"),
        ]
    }

    fn set_of(&self, target: &DecisionTarget) -> String {
        let is_v4 = match target {
            DecisionTarget::Ip(address) => address.is_ipv4(),
            DecisionTarget::Range(net) => matches!(net, IpNet::V4(_)),
        };
        format!("{}{}", self.name, if is_v4 { 4 } else { 6 })
    }

    async fn restore(&self, text: &str) -> Result<(), String> {
        run(&words(&["ipset", "-exist", "restore"]), text.as_bytes()).await.map(drop)
    }

    pub(super) async fn prepare(&self) -> Result<(), String> {
        for (set, family, iptables) in self.sets() {
            let most = self.most.max(65_536);
            self.restore(&format!(
                "create {set} hash:net family {family} timeout 0 maxelem {most} counters\n"
            ))
            .await?;
            for chain in CHAINS {
                let rule = |verb: &str| {
                    let mut line = vec![iptables, "-w", "5", verb, chain];
                    line.extend(["-m", "set", "--match-set", set.as_str(), "src", "-j", "DROP"]);
                    words(&line)
                };
                if run(&rule("-C"), b"").await.is_err() {
                    run(&rule("-I"), b"").await?;
                }
            }
        }
        Ok(())
    }

    pub(super) async fn is_whole(&self) -> bool {
        for (set, _, iptables) in self.sets() {
            for chain in CHAINS {
                let line = [
                    iptables,
                    "-w",
                    "5",
                    "-C",
                    chain,
                    "-m",
                    "set",
                    "--match-set",
                    &set,
                    "src",
                    "-j",
                    "DROP",
                ];
                if run(&words(&line), b"").await.is_err() {
                    return false;
                }
            }
        }
        true
    }

    pub(super) async fn apply(&self, changes: &[Change], now: Timestamp) -> Result<(), String> {
        let mut text = String::new();
        for change in changes {
            let set = self.set_of(&change.target);
            // Writing to memory does not fail.
            let _ = match change.until {
                Some(until) => {
                    let secs = secs_until(until, now).min(MAX_TIMEOUT_SECS);
                    writeln!(text, "add {set} {} timeout {secs}", change.target)
                }
                None => writeln!(text, "del {set} {}", change.target),
            };
        }
        if text.is_empty() { Ok(()) } else { self.restore(&text).await }
    }

    /// Gives who is in the sets.
    pub(super) async fn list(&self, now: Timestamp, take: Take<'_>) -> Result<(), String> {
        for (set, ..) in self.sets() {
            let parse = move |output: &mut dyn Read, give: Take<'_>| {
                parse(BufReader::new(output), now, give).map_err(|error| error.to_string())
            };
            list_by(&words(&["ipset", "save", &set]), parse, take).await?;
        }
        Ok(())
    }

    pub(super) async fn flush(&self) -> Result<(), String> {
        let mut failed = None;
        for (set, _, iptables) in self.sets() {
            for chain in CHAINS {
                let line = [
                    iptables,
                    "-w",
                    "5",
                    "-D",
                    chain,
                    "-m",
                    "set",
                    "--match-set",
                    &set,
                    "src",
                    "-j",
                    "DROP",
                ];
                // Where it is not there it need not go.
                let _ = run(&words(&line), b"").await;
            }
            if run(&words(&["ipset", "list", "-n", &set]), b"").await.is_ok()
                && let Err(reason) = run(&words(&["ipset", "destroy", &set]), b"").await
            {
                failed = Some(reason);
            }
        }
        failed.map_or(Ok(()), Err)
    }
}

/// `add palisade4 192.0.2.1 timeout 99 packets 0 bytes 0`
fn parse(text: impl BufRead, now: Timestamp, give: Take<'_>) -> io::Result<()> {
    for line in text.lines() {
        let line = line?;
        let mut words = line.split_ascii_whitespace();
        if words.next() != Some("add") {
            continue;
        }
        let Some(target) = words.nth(1).and_then(|text| text.parse().ok()) else { continue };
        let mut held = Held { until: None, dropped: 0 };
        while let Some(name) = words.next() {
            let value = words.next().and_then(|text| text.parse::<i64>().ok());
            match (name, value) {
                ("timeout", Some(secs @ 1..)) => held.until = Some(now.plus_millis(secs * 1000)),
                ("packets", Some(packets)) => held.dropped = u64::try_from(packets).unwrap_or(0),
                _ => {}
            }
        }
        give(target, held);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn what_ipset_saves_is_read_back() {
        let text = "create palisade4 hash:net family inet timeout 0\nadd palisade4 192.0.2.1 timeout 99 packets 3 bytes 180\nadd palisade4 198.51.100.0/24 timeout 0\nadd palisade4 garbage\n";
        let mut all = HashMap::new();
        let now = Timestamp::from_millis(0);
        parse(text.as_bytes(), now, &mut |target, held| {
            all.insert(target, held);
        })
        .unwrap();
        assert_eq!(all.len(), 2);
        let held = &all[&"192.0.2.1".parse().unwrap()];
        assert_eq!((held.until, held.dropped), (Some(Timestamp::from_millis(99_000)), 3));
        assert_eq!(all[&"198.51.100.0/24".parse().unwrap()].until, None);
    }
}
