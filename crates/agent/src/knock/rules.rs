//! Knocking in the kernel: a table of nftables of our own whose sets are the
//! stages. Nothing listens, nothing is answered; the last set is read.
//!
//! Its chain comes before those that drop, so that who is banned can knock. A
//! SYN to a port that is not the next one begins from the start, so that whoever
//! scans all ports opens nothing.

use std::fmt::Write as _;
use std::net::IpAddr;

use serde::Deserialize;
use serde_json::Value;

/// Addresses in one stage; further ones have to wait.
const STAGE_SIZE: u32 = 1024;
/// How long it is known that somebody has knocked, until that is read.
const DONE_SECS: u32 = 120;
/// The families: how packets are told, the type of addresses.
const FAMILIES: [(&str, &str, &str); 2] = [("4", "ip", "ipv4_addr"), ("6", "ip6", "ipv6_addr")];

/// A sequence of ports that opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sequence {
    /// Names its sets: letters and digits.
    pub(super) tag: String,
    /// All different, at least two.
    pub(super) ports: Vec<u16>,
    /// How many addresses may have it at once: one, where it counts once.
    pub(super) most: u32,
}

/// Makes the table new, with nothing in it.
pub(super) fn begin(table: &str) -> String {
    format!("{}add table inet {table}\n", end(table))
}

/// Takes the table away, whether it is there or not.
pub(super) fn end(table: &str) -> String {
    format!("add table inet {table}\ndelete table inet {table}\n")
}

/// Lets these sequences open, and those no more. Who is half through one of
/// both times stays so.
pub(super) fn turn(table: &str, live: &[Sequence], gone: &[Sequence], stage_secs: u32) -> String {
    let mut text = format!(
        "add chain inet {table} knock {{ type filter hook input priority -20; policy accept; }}\n\
         flush chain inet {table} knock\n"
    );
    for sequence in gone {
        for (family, ..) in FAMILIES {
            let tag = format!("{}_{family}", sequence.tag);
            let _ =
                writeln!(text, "flush chain inet {table} q{tag}\ndelete chain inet {table} q{tag}");
            for stage in 1..sequence.ports.len() {
                let _ = writeln!(text, "delete set inet {table} k{tag}_{stage}");
            }
            let _ = writeln!(text, "delete set inet {table} d{tag}");
        }
    }
    let _ = writeln!(text, "add rule inet {table} knock meta l4proto != tcp return");
    let _ = writeln!(
        text,
        "add rule inet {table} knock tcp flags & (fin | syn | rst | ack) != syn return"
    );
    for sequence in live {
        for family in FAMILIES {
            one(&mut text, table, sequence, family, stage_secs);
        }
    }
    text
}

fn one(
    text: &mut String,
    table: &str,
    sequence: &Sequence,
    (family, saddr, of): (&str, &str, &str),
    stage_secs: u32,
) {
    let tag = format!("{}_{family}", sequence.tag);
    let last = sequence.ports.len().saturating_sub(1);
    let set = |stage: usize| format!("k{tag}_{stage}");
    // Writing to memory does not fail.
    for stage in 1..=last {
        let _ = writeln!(
            text,
            "add set inet {table} {} {{ type {of}; flags dynamic, timeout; size {STAGE_SIZE}; }}",
            set(stage)
        );
    }
    let _ = writeln!(
        text,
        "add set inet {table} d{tag} {{ type {of}; flags dynamic, timeout; size {}; }}\n\
         add chain inet {table} q{tag}\nflush chain inet {table} q{tag}",
        sequence.most
    );
    let rule = format!("add rule inet {table} q{tag}");
    // The last port first, so that no packet goes two stages.
    for (at, port) in sequence.ports.iter().enumerate().skip(1).rev() {
        let (from, to, secs) = match at == last {
            true => (set(at), format!("d{tag}"), DONE_SECS),
            false => (set(at), set(at + 1), stage_secs),
        };
        let _ = writeln!(
            text,
            "{rule} tcp dport {port} {saddr} saddr @{from} update @{to} {{ {saddr} saddr timeout {secs}s }} delete @{from} {{ {saddr} saddr }} return"
        );
    }
    // A SYN that is sent once more is no other one.
    for (at, port) in sequence.ports.iter().enumerate().take(last) {
        let _ = writeln!(text, "{rule} tcp dport {port} {saddr} saddr @{} return", set(at + 1));
    }
    for stage in 1..=last {
        let stage = set(stage);
        let _ = writeln!(text, "{rule} {saddr} saddr @{stage} delete @{stage} {{ {saddr} saddr }}");
    }
    if let Some(first) = sequence.ports.first() {
        let _ = writeln!(
            text,
            "{rule} tcp dport {first} update @{} {{ {saddr} saddr timeout {stage_secs}s }}",
            set(1)
        );
    }
    let proto = if family == "4" { "ipv4" } else { "ipv6" };
    let _ = writeln!(text, "add rule inet {table} knock meta nfproto {proto} jump q{tag}");
}

/// Forgets that somebody has knocked, as it was read.
pub(super) fn read_out(table: &str, tag: &str, address: IpAddr) -> String {
    let family = if address.is_ipv4() { "4" } else { "6" };
    // `delete` fails where the kernel has let it expire; `add` before it does not.
    format!(
        "add element inet {table} d{tag}_{family} {{ {address} timeout 10s }}\n\
         delete element inet {table} d{tag}_{family} {{ {address} }}\n"
    )
}

#[derive(Deserialize)]
struct Listing {
    nftables: Vec<Value>,
}

/// Who has knocked, by the tag of the sequence, of `nft -j list table`.
pub(super) fn done(text: &[u8]) -> Result<Vec<(String, IpAddr)>, serde_json::Error> {
    let listing: Listing = serde_json::from_slice(text)?;
    let mut all = Vec::new();
    for set in listing.nftables.iter().filter_map(|object| object.get("set")) {
        let name = set.get("name").and_then(Value::as_str).and_then(|name| name.strip_prefix('d'));
        let Some((tag, _)) = name.and_then(|name| name.rsplit_once('_')) else { continue };
        let elements = set.get("elem").and_then(Value::as_array).into_iter().flatten();
        for element in elements {
            let value = element.get("elem").and_then(|elem| elem.get("val")).unwrap_or(element);
            if let Some(address) = value.as_str().and_then(|text| text.parse().ok()) {
                all.push((tag.to_owned(), address));
            }
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_knocked_is_read_and_who_is_half_through_is_not() {
        let text = br#"{"nftables": [{"table": {"name": "t"}},
            {"set": {"name": "kf_4_1", "elem": [{"elem": {"val": "192.0.2.9", "expires": 3}}]}},
            {"set": {"name": "df_4", "elem": [{"elem": {"val": "192.0.2.1", "expires": 3}}, "192.0.2.2"]}},
            {"set": {"name": "ds59_6", "elem": [{"elem": {"val": "2001:db8::1"}}]}},
            {"set": {"name": "df_6"}}, {"rule": {}}]}"#;
        let one = |tag: &str, address: &str| (tag.to_owned(), address.parse().unwrap());
        assert_eq!(
            done(text).unwrap(),
            [one("f", "192.0.2.1"), one("f", "192.0.2.2"), one("s59", "2001:db8::1")]
        );
        assert!(done(b"[]").is_err());
    }
}
