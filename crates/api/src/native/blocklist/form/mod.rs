//! The formats of block lists. Pure: bans in, bytes out. What is free text in
//! a ban (its reason) is cleaned here, for the sake of what reads the file.

mod firewall;
mod misp;
mod pieces;
mod stix;
mod table;
mod uuid;

use std::io::Write as _;

use palisade_event::{DecisionOrigin, Timestamp};
use palisade_hub::Banned;
use serde::Deserialize;
use utoipa::ToSchema;

pub(super) use misp::{event_uuid, manifest};

/// In what form a block list is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, ToSchema)]
#[schema(as = BlocklistFormat)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    /// One address or network a line.
    Txt,
    /// A table with a header line.
    Csv,
    /// JSON.
    Json,
    /// A file for `nft -f`.
    Nft,
    /// A file for `ipset restore`.
    Ipset,
    /// A file that nginx includes.
    Nginx,
    /// A URL table of pfSense or OPNsense.
    Pfsense,
    /// A STIX 2.1 bundle.
    Stix,
    /// An event of a MISP feed.
    Misp,
}

/// What a file says beside the bans.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame<'a> {
    /// The query that the bans match.
    pub(super) query: &'a str,
    /// What names this state of the list.
    pub(super) tag: &'a str,
    /// Since when the list is as it is.
    pub(super) changed_at: Timestamp,
    /// The instant that time spans count from.
    pub(super) now: Timestamp,
}

impl Format {
    /// All of them.
    pub(crate) const ALL: [Self; 9] = [
        Self::Txt,
        Self::Csv,
        Self::Json,
        Self::Nft,
        Self::Ipset,
        Self::Nginx,
        Self::Pfsense,
        Self::Stix,
        Self::Misp,
    ];

    /// Its name, as in the path.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Txt => "txt",
            Self::Csv => "csv",
            Self::Json => "json",
            Self::Nft => "nft",
            Self::Ipset => "ipset",
            Self::Nginx => "nginx",
            Self::Pfsense => "pfsense",
            Self::Stix => "stix",
            Self::Misp => "misp",
        }
    }

    /// Where it is; for MISP the address of the feed, to which MISP adds names.
    pub(super) fn path(self) -> String {
        match self {
            Self::Misp => "/api/v1/blocklist/misp".to_owned(),
            other => format!("/api/v1/blocklist.{}", other.as_str()),
        }
    }

    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Txt | Self::Nft | Self::Ipset | Self::Nginx | Self::Pfsense => {
                "text/plain; charset=utf-8"
            }
            Self::Csv => "text/csv; charset=utf-8",
            Self::Json | Self::Misp => "application/json",
            Self::Stix => "application/stix+json;version=2.1",
        }
    }

    /// Whether the file has time spans, which are shorter a moment later.
    pub(super) fn counts_down(self) -> bool {
        matches!(self, Self::Nft | Self::Ipset)
    }

    /// Writes the file.
    pub(super) fn write<'b>(
        self,
        bans: impl Iterator<Item = &'b Banned>,
        frame: &Frame<'_>,
    ) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Txt | Self::Pfsense => lines(&mut out, bans, "", "\n"),
            Self::Nginx => lines(&mut out, bans, "deny ", ";\n"),
            Self::Csv => table::csv(&mut out, bans),
            Self::Json => table::json(&mut out, bans),
            Self::Nft => firewall::nft(&mut out, bans, frame.now),
            Self::Ipset => firewall::ipset(&mut out, bans, frame.now),
            Self::Stix => stix::bundle(&mut out, bans, frame),
            Self::Misp => misp::event(&mut out, bans, frame),
        }
        out
    }
}

fn lines<'b>(out: &mut Vec<u8>, bans: impl Iterator<Item = &'b Banned>, before: &str, after: &str) {
    for ban in bans {
        // Writing to memory cannot fail.
        let _ = write!(out, "{before}{}{after}", ban.target);
    }
}

/// Who made it, without names: a list may be for strangers.
fn origin(ban: &Banned) -> &'static str {
    match &*ban.origin {
        DecisionOrigin::Sensor { .. } => "sensor",
        DecisionOrigin::Operator { .. } => "operator",
        DecisionOrigin::Hub => "hub",
    }
}

/// A text on one line.
fn one_line(text: &str) -> String {
    // Also the separators that some readers take for ends of lines.
    let breaks = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
    text.chars().map(|c| if breaks(c) { ' ' } else { c }).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;

    use palisade_event::{EventId, HostName, SensorId};

    use super::*;

    pub(in super::super) fn ban(id: u128, target: &str, secs: i64, reason: &str) -> Banned {
        let from = Timestamp::from_millis(1_795_201_634_000);
        Banned {
            id: EventId::new(from, id),
            target: target.parse().unwrap(),
            from,
            until: from.plus_millis(secs * 1000),
            scenario: "ssh-bruteforce".into(),
            reason: reason.into(),
            origin: Arc::new(DecisionOrigin::Sensor {
                name: SensorId::new("secret-name").unwrap(),
                host: HostName::new("secret-host").ok(),
            }),
            country: palisade_event::CountryCode::new("CN").ok(),
        }
    }

    pub(in super::super) fn frame() -> Frame<'static> {
        let now = Timestamp::from_millis(1_795_201_634_500);
        Frame { query: "country:CN", tag: "abc", changed_at: now, now }
    }

    const HOSTILE: &str =
        "=cmd|'/C calc'!A0\r\nadd element \"x\", 'y'; } deny all;\u{2028}\u{1b}[2J<&>]\\";

    fn hostile() -> Vec<Banned> {
        vec![
            ban(1, "192.0.2.1", 60, HOSTILE),
            ban(2, "198.51.100.0/24", 120, "-1+1"),
            ban(3, "2001:db8::/48", 60, ""),
        ]
    }

    #[test]
    fn plain_files_have_targets_and_nothing_else() {
        let text =
            |format: Format| String::from_utf8(format.write(hostile().iter(), &frame())).unwrap();
        let plain = "192.0.2.1\n198.51.100.0/24\n2001:db8::/48\n";
        assert_eq!(text(Format::Txt), plain);
        assert_eq!(text(Format::Pfsense), plain);
        assert_eq!(
            text(Format::Nginx),
            "deny 192.0.2.1;\ndeny 198.51.100.0/24;\ndeny 2001:db8::/48;\n"
        );
        for format in [Format::Txt, Format::Nginx] {
            assert!(format.write([].iter(), &frame()).is_empty());
        }
    }

    #[test]
    fn no_format_tells_names_or_breaks_on_a_reason() {
        for format in Format::ALL {
            let text = String::from_utf8(format.write(hostile().iter(), &frame())).unwrap();
            assert!(!text.contains("secret-"), "{format:?}");
            assert!(!text.contains(['\r', '\u{1b}', '\u{2028}']), "{format:?}: {text}");
            if matches!(format, Format::Json | Format::Stix | Format::Misp) {
                serde_json::from_str::<serde_json::Value>(&text).unwrap();
            }
            assert_eq!(format.write(hostile().iter(), &frame()), text.as_bytes(), "{format:?}");
        }
    }

    #[test]
    fn a_cell_is_no_formula_and_stays_one_cell() {
        let text = String::from_utf8(Format::Csv.write(hostile().iter(), &frame())).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 4, "{text}");
        assert_eq!(lines[0], "target,scope,from,until,scenario,origin,country,reason,id");
        let reason = "\"'=cmd|'/C calc'!A0  add element \"\"x\"\", 'y'; } deny all;  [2J<&>]\\\"";
        assert!(lines[1].contains(reason), "{}", lines[1]);
        assert!(lines[1].starts_with("192.0.2.1,ip,2026-"), "{}", lines[1]);
        assert!(lines[2].contains(",'-1+1,"), "{}", lines[2]);
    }
}
