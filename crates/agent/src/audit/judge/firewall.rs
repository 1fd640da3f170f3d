//! Checks of the packet filter: of its rules where the machine runs, else of what
//! sets them at boot.

use super::super::probe::FirewallRule;
use super::{Facts, Judged, Verdict};
use crate::inventory::root::Unseen;
use crate::inventory::tool::Tool;
use crate::inventory::units::{self, State};

/// Tables of programs that only ban: they let everybody else in.
const BANNING: [&str; 4] = ["palisade", "f2b-", "crowdsec", "sshguard"];

/// What the rules say about packets that come in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Incoming {
    filters: bool,
    refuses: bool,
}

impl Facts<'_> {
    /// A rule about the packet filter.
    pub(super) fn firewall(&self, rule: FirewallRule) -> Judged {
        if !self.root.is_running() {
            return self.firewall_at_boot(rule);
        }
        let nft = self.root.ask(Tool::Nft);
        let old = self.root.ask(Tool::Iptables);
        let mut incoming = nft.as_deref().map(nftables).unwrap_or_default();
        if let Ok(text) = &old {
            let other = iptables(text);
            incoming.filters |= other.filters;
            incoming.refuses |= other.refuses;
        }
        let (holds, good, bad) = match rule {
            FirewallRule::Filters => (
                incoming.filters,
                "packets that come in are filtered",
                "no rule looks at packets that come in",
            ),
            FirewallRule::Refuses => (
                incoming.refuses,
                "what no rule lets in is refused",
                "what no rule refuses is let in",
            ),
        };
        match (holds, nft) {
            (true, _) => Ok(Verdict::Pass(good.to_owned())),
            // Without nft nothing is known of the new form's rules.
            (false, Err(reason)) if old.is_err() => match self.has_filter_tools() {
                true => Err(reason),
                false => Ok(Verdict::Fail("no packet filter is installed".to_owned())),
            },
            (false, _) => Ok(Verdict::Fail(bad.to_owned())),
        }
    }

    fn has_filter_tools(&self) -> bool {
        let programs = ["nft", "iptables", "iptables-legacy", "ufw", "firewall-cmd"];
        programs.iter().any(|name| {
            ["/usr/sbin", "/sbin", "/usr/bin"]
                .iter()
                .any(|f| self.root.exists(&format!("{f}/{name}")))
        })
    }

    fn firewall_at_boot(&self, rule: FirewallRule) -> Judged {
        let ufw = self.root.read("/etc/ufw/ufw.conf").unwrap_or_default();
        let ufw = ufw.lines().any(|line| line.trim().eq_ignore_ascii_case("ENABLED=yes"));
        let mut starter = ufw.then_some("ufw");
        for (name, unit) in [
            ("firewalld", "firewalld.service"),
            ("nftables", "nftables.service"),
            ("netfilter-persistent", "netfilter-persistent.service"),
            ("iptables", "iptables.service"),
        ] {
            if units::state(self.root, unit)? == State::Enabled {
                starter = starter.or(Some(name));
            }
        }
        match (starter, rule) {
            (None, _) => {
                Ok(Verdict::Fail("nothing sets rules of a packet filter at boot".to_owned()))
            }
            (Some(name), FirewallRule::Filters) => {
                Ok(Verdict::Pass(format!("{name} is started at boot")))
            }
            (Some("ufw"), FirewallRule::Refuses) => {
                let text = self.root.read("/etc/default/ufw")?;
                let refuses = text.lines().any(|line| {
                    let line = line.trim().replace(['"', '\''], "");
                    matches!(
                        line.as_str(),
                        "DEFAULT_INPUT_POLICY=DROP" | "DEFAULT_INPUT_POLICY=REJECT"
                    )
                });
                Ok(match refuses {
                    true => Verdict::Pass("ufw refuses by default".to_owned()),
                    false => Verdict::Fail("ufw lets in by default".to_owned()),
                })
            }
            (Some("nftables"), FirewallRule::Refuses) => {
                let text = self.root.read("/etc/nftables.conf");
                let text = text.or_else(|_| self.root.read("/etc/sysconfig/nftables.conf"))?;
                match nftables(&text).refuses {
                    true => Ok(Verdict::Pass("nftables refuses by default".to_owned())),
                    // Its file may include others.
                    false if text.contains("include") => Err(Unseen::NotRunning),
                    false => Ok(Verdict::Fail("nftables lets in by default".to_owned())),
                }
            }
            (Some(name), FirewallRule::Refuses) => Err(Unseen::Other(format!(
                "what {name} refuses is seen on the running system alone"
            ))),
        }
    }
}

/// What the rules of nftables do, in the form that `nft list ruleset` prints.
fn nftables(text: &str) -> Incoming {
    let mut found = Incoming::default();
    let (mut bans_only, mut inside, mut rules) = (false, false, false);
    for line in text.lines().map(str::trim) {
        if line.starts_with("table ") {
            let name = line.split_whitespace().nth(2).unwrap_or_default();
            bans_only = BANNING.iter().any(|banning| name.starts_with(banning));
        } else if line.starts_with("chain ") {
            (inside, rules) = (false, false);
        } else if line.contains("hook input") && line.starts_with("type filter") {
            inside = !bans_only;
            if inside && line.contains("policy drop") {
                found = Incoming { filters: true, refuses: true };
            }
        } else if line == "}" {
            inside = false;
        } else if inside && !line.is_empty() && !line.starts_with('#') {
            rules = true;
            // A rule without a condition: all that is left is refused.
            let words: Vec<&str> = line.split_whitespace().collect();
            let bare = match words.as_slice() {
                ["counter", "packets", _, "bytes", _, rest @ ..] | ["counter", rest @ ..] => rest,
                all => all,
            };
            found.refuses |= matches!(bare.first(), Some(&"drop" | &"reject"));
        }
        found.filters |= inside && rules;
    }
    found
}

/// What the rules of the old iptables do, as `iptables-save` prints them.
fn iptables(text: &str) -> Incoming {
    let mut found = Incoming::default();
    for line in text.lines() {
        if line.starts_with(":INPUT DROP") || line.starts_with(":INPUT REJECT") {
            found = Incoming { filters: true, refuses: true };
        }
        if let Some(rule) = line.strip_prefix("-A INPUT ") {
            found.filters = true;
            found.refuses |= rule == "-j DROP" || rule.starts_with("-j REJECT");
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_filter_refuse_or_only_ban() {
        let table = |name: &str, policy: &str, rule: &str| {
            nftables(&format!(
                "table inet {name} {{\n\tchain input {{\n\t\ttype filter hook input priority filter; policy {policy};\n\t\t{rule}\n\t}}\n}}\n"
            ))
        };
        let (no, filters) = (Incoming::default(), Incoming { filters: true, refuses: false });
        let both = Incoming { filters: true, refuses: true };
        assert_eq!(table("filter", "drop", "iif lo accept"), both);
        assert_eq!(table("filter", "accept", "tcp dport 22 accept"), filters);
        assert_eq!(table("filter", "accept", ""), no);
        assert_eq!(table("filter", "accept", "reject with icmpx admin-prohibited"), both);
        assert_eq!(table("filter", "accept", "counter packets 12 bytes 720 drop"), both);
        assert_eq!(table("palisade", "accept", "ip saddr @banned drop"), no);
        assert_eq!(
            nftables(
                "table ip nat {\n chain input {\n type nat hook input priority 100;\n x\n }\n}"
            ),
            no
        );
        assert_eq!(
            iptables(":INPUT ACCEPT [0:0]\n-A INPUT -i lo -j ACCEPT\n-A INPUT -j DROP\n"),
            both
        );
        assert_eq!(iptables(":INPUT ACCEPT [0:0]\n"), no);
    }
}
