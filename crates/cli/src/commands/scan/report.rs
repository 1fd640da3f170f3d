//! The report of a scan: a table, JSON, or a page.

use std::cmp::Reverse;
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::IpAddr;
use std::sync::Arc;

use palisade_event::{DecisionTarget, Timestamp, Untrusted};
use palisade_rules::scenario::{Rule, ScenarioSet};
use palisade_rules::{Alert, Group, Matcher, Scenario, Verdict, alert_reason};
use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use super::pieces::Pieces;
use super::ranked;
use super::tally::{Attacker, Tally};
use super::users::KEPT_USERS;
use crate::out;

/// Bytes of a report that are written at once.
const WRITTEN_BYTES: usize = 64 * 1024;
/// Login names shown in a row of the table.
const SHOWN_USERS: usize = 3;

/// A file that was read.
pub(super) struct FileRead {
    pub(super) path: String,
    pub(super) parser: String,
    pub(super) bytes: u64,
    pub(super) lines: u64,
}

/// An alert and what became of it, without what can be made again.
pub(super) struct Judged {
    pub(super) alert: Alert,
    pub(super) verdict: Verdict,
    /// The login name, where it was one that a success made.
    pub(super) user: Option<Box<[u8]>>,
}

/// What one attacker is shown with, beside what the sums say.
struct Row {
    /// Its place among the sums.
    place: usize,
    /// The scenarios that it set off.
    scenarios: ScenarioSet,
    /// Seconds of the longest ban.
    ban_secs: Option<u64>,
}

/// The report.
pub(super) struct Report {
    /// For the scenarios.
    matcher: Arc<Matcher>,
    files: Vec<FileRead>,
    tally: Tally,
    rows: Vec<Row>,
    judged: Pieces<Judged>,
    problems: Vec<String>,
    /// Files of folders that are no logs.
    skipped: Vec<String>,
}

impl Report {
    pub(super) fn new(
        matcher: Arc<Matcher>,
        files: Vec<FileRead>,
        tally: Tally,
        judged: Pieces<Judged>,
        (problems, skipped): (Vec<String>, Vec<String>),
    ) -> Self {
        let all = tally.attackers().len();
        let mut rows: Vec<Row> = (0..all)
            .map(|place| Row { place, scenarios: ScenarioSet::default(), ban_secs: None })
            .collect();
        for Judged { alert, verdict, .. } in judged.iter() {
            let place = palisade_rules::alert_address(alert).and_then(|of| tally.place_of(of));
            let Some(row) = place.and_then(|place| rows.get_mut(place)) else { continue };
            row.scenarios.insert(alert.scenario);
            if let Verdict::Decided(decision) = verdict
                && !decision.simulated
            {
                row.ban_secs = Some(row.ban_secs.unwrap_or(0).max(decision.duration_secs));
            }
        }
        rows.retain(|row| {
            let what = tally.attackers().get(row.place);
            row.scenarios != ScenarioSet::default() || what.is_some_and(Attacker::is_suspect)
        });
        let weighed = |row: &Row| {
            let what = tally.attackers().get(row.place);
            let weight =
                what.map(|what| (what.failed(), what.failed() + what.probes() + what.requests()));
            (Reverse(weight), what.map(Attacker::address))
        };
        rows.sort_by_cached_key(weighed);
        Self { matcher, files, tally, rows, judged, problems, skipped }
    }

    /// Attackers, the worst first.
    fn attackers(&self) -> impl Iterator<Item = (&Row, &Attacker)> {
        let known = |row: &Row| self.tally.attackers().get(row.place);
        self.rows.iter().filter_map(move |row| Some((row, known(row)?)))
    }

    /// Logins that succeeded after many had failed.
    fn break_ins(&self) -> impl Iterator<Item = &Judged> {
        self.judged.iter().filter(|one| {
            let scenario = self.scenario(one.alert.scenario);
            scenario.is_some_and(|scenario| matches!(scenario.rule, Rule::Sequence { .. }))
        })
    }

    fn scenario(&self, place: usize) -> Option<&Scenario> {
        self.matcher.scenarios().get(place)
    }

    /// Whether something could not be read.
    pub(super) fn has_problems(&self) -> bool {
        !self.problems.is_empty()
    }

    fn banned(&self) -> usize {
        self.rows.iter().filter(|row| row.ban_secs.is_some()).count()
    }

    fn failed(&self) -> u64 {
        self.attackers().map(|(_, what)| what.failed()).sum()
    }

    fn span(&self) -> String {
        match (self.tally.first, self.tally.last) {
            (Some(first), Some(last)) => format!("{first} to {last}"),
            _ => "nothing was seen".to_owned(),
        }
    }

    fn summary(&self) -> String {
        format!(
            "{} lines of {} files, {} not understood; {}\n{} addresses with {} failed logins, {} would have been banned, {} break-ins",
            self.tally.lines,
            self.files.len(),
            self.tally.unparsed,
            self.span(),
            self.rows.len(),
            self.failed(),
            self.banned(),
            self.break_ins().count()
        )
    }

    fn scenarios(&self) -> Vec<(String, u64)> {
        let places = ranked(self.judged.iter().map(|one| one.alert.scenario));
        let mut named: Vec<(String, u64)> =
            places.into_iter().map(|(place, count)| (self.name(place).to_owned(), count)).collect();
        named.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        named
    }

    /// The name of a scenario.
    fn name(&self, place: usize) -> &str {
        self.scenario(place).map_or("", |scenario| scenario.name.as_str())
    }

    /// The names of the scenarios that an attacker set off.
    fn names_of(&self, row: &Row) -> Vec<&str> {
        (0..self.matcher.scenarios().len())
            .filter(|place| row.scenarios.has(*place))
            .map(|place| self.name(place))
            .collect()
    }

    /// As columns for people.
    pub(super) fn print(&self, top: usize) {
        out::line(&self.summary());
        if !self.skipped.is_empty() {
            let count = self.skipped.len();
            out::line(&format!("{count} files of the folders are no logs that are known"));
        }
        out::line("");
        let rows = self.attackers().take(top).map(|(row, what)| {
            vec![
                what.address().to_string(),
                what.failed().to_string(),
                what.probes().to_string(),
                what.requests().to_string(),
                users(&self.tally, what, SHOWN_USERS),
                what.first.to_string(),
                what.last.to_string(),
                row.ban_secs.map_or_else(|| "-".to_owned(), span),
                self.names_of(row).join(", "),
            ]
        });
        let header = [
            "address",
            "failed",
            "probes",
            "requests",
            "users",
            "first seen",
            "last seen",
            "ban",
            "scenarios",
        ];
        out::table(&header, rows.collect(), "no attackers");
        if self.rows.len() > top {
            let more = self.rows.len() - top;
            out::line(&format!("… and {more} more; --top or --format json shows them"));
        }
        let rows = self.break_ins().map(|one| {
            let address = palisade_rules::alert_address(&one.alert);
            vec![
                one.alert.at.to_string(),
                address.map_or_else(|| "-".to_owned(), |address| address.to_string()),
                one.user.as_deref().map_or_else(|| "-".to_owned(), shown),
                one.alert.count.to_string(),
            ]
        });
        let rows: Vec<Vec<String>> = rows.collect();
        if !rows.is_empty() {
            out::line("\nBREAK-INS: a login succeeded after many had failed");
            out::table(&["at", "address", "user", "failures before"], rows, "");
        }
        let rows = self.scenarios().into_iter().map(|(name, count)| vec![name, count.to_string()]);
        let rows: Vec<Vec<String>> = rows.collect();
        if !rows.is_empty() {
            out::line("");
            out::table(&["scenario", "alerts"], rows, "");
        }
    }

    /// As an object for programs. Written as it is made: a report may have
    /// millions of attackers.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn write_json(&self, out: impl std::io::Write) -> std::io::Result<()> {
        let mut out = std::io::BufWriter::with_capacity(WRITTEN_BYTES, out);
        serde_json::to_writer(&mut out, self)?;
        out.write_all(b"\n")?;
        out.flush()
    }

    /// As a page that needs nothing else.
    pub(super) fn html(&self) -> String {
        let mut page = String::from(PAGE_HEAD);
        for line in self.summary().lines() {
            let _ = write!(page, "<p>{}</p>", escaped(line));
        }
        let cells = |row: &[String]| {
            row.iter().fold(String::new(), |mut cells, cell| {
                let _ = write!(cells, "<td>{}</td>", escaped(cell));
                cells
            })
        };
        if self.break_ins().next().is_some() {
            page.push_str("<h2>Break-ins</h2><p>A login succeeded after many had failed.</p><table><tr><th>At<th>Address<th>User<th>Failures before</tr>");
            for one in self.break_ins() {
                let address = palisade_rules::alert_address(&one.alert);
                let row = [
                    one.alert.at.to_string(),
                    address.map_or_else(String::new, |address| address.to_string()),
                    one.user.as_deref().map_or_else(String::new, shown),
                    one.alert.count.to_string(),
                ];
                let _ = write!(page, "<tr class=bad>{}</tr>", cells(&row));
            }
            page.push_str("</table>");
        }
        page.push_str("<h2>Attackers</h2><table><tr><th>Address<th>Failed logins<th>Probes<th>Requests<th>Users tried<th>First seen<th>Last seen<th>Would be banned for<th>Scenarios</tr>");
        for (row, what) in self.attackers() {
            let text = [
                what.address().to_string(),
                what.failed().to_string(),
                what.probes().to_string(),
                what.requests().to_string(),
                users(&self.tally, what, KEPT_USERS),
                what.first.to_string(),
                what.last.to_string(),
                row.ban_secs.map_or_else(String::new, span),
                self.names_of(row).join(", "),
            ];
            let _ = write!(page, "<tr>{}</tr>", cells(&text));
        }
        page.push_str("</table><h2>Networks</h2>");
        let networks = self.judged.iter().filter_map(|one| match &one.verdict {
            Verdict::Decided(decision) => match decision.target {
                DecisionTarget::Range(net) => Some(net.to_string()),
                DecisionTarget::Ip(_) => None,
            },
            _ => None,
        });
        let networks = ranked(networks);
        if networks.is_empty() {
            page.push_str("<p>No network as a whole would have been banned.</p>");
        }
        for (net, count) in networks {
            let _ = write!(page, "<p>{} ({count})</p>", escaped(&net));
        }
        page.push_str("<h2>Scenarios</h2><table><tr><th>Scenario<th>Alerts</tr>");
        for (name, count) in self.scenarios() {
            let _ = write!(page, "<tr>{}</tr>", cells(&[name, count.to_string()]));
        }
        page.push_str("</table><h2>Files</h2><table><tr><th>File<th>Parser<th>Lines<th>Bytes</tr>");
        for file in &self.files {
            let row = [
                Untrusted::from(file.path.as_str()).to_string(),
                file.parser.clone(),
                file.lines.to_string(),
                file.bytes.to_string(),
            ];
            let _ = write!(page, "<tr>{}</tr>", cells(&row));
        }
        page.push_str("</table>");
        for problem in &self.problems {
            let _ = write!(page, "<p class=bad>{}</p>", escaped(problem));
        }
        page.push_str("</html>");
        page
    }
}

/// A list that is written as it is gone through.
struct Listed<F>(F);

impl<F, I> Serialize for Listed<F>
where
    F: Fn() -> I,
    I: Iterator,
    I::Item: Serialize,
{
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq((self.0)())
    }
}

#[derive(Serialize)]
struct AttackerJson<'a> {
    address: IpAddr,
    attempts: u64,
    accepted: u64,
    probes: u64,
    requests: u64,
    users_tried: u64,
    users: Vec<Name<'a>>,
    first_seen: Timestamp,
    last_seen: Timestamp,
    scenarios: Vec<&'a str>,
    banned: bool,
    ban_secs: Option<u64>,
}

#[derive(Serialize)]
struct AlertJson<'a> {
    at: Timestamp,
    scenario: &'a str,
    group: Shown<&'a Group>,
    count: u32,
    reason: String,
    verdict: Shown<&'a Verdict>,
}

/// Text that is written as it is made.
struct Shown<T>(T);

impl<T: std::fmt::Display> Serialize for Shown<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// A login name as [`Untrusted`] is written.
struct Name<'a>(&'a [u8]);

impl Serialize for Name<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(self.0) {
            Ok(text) => serializer.serialize_str(text),
            Err(_) => Untrusted::from(self.0).serialize(serializer),
        }
    }
}

#[derive(Serialize)]
struct DecisionJson<'a> {
    at: Timestamp,
    #[serde(rename = "type")]
    kind: &'a str,
    scope: &'static str,
    value: DecisionTarget,
    duration_secs: u64,
    until: Timestamp,
    scenario: &'a str,
    reason: &'a str,
    simulated: bool,
}

impl Serialize for Report {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let attackers = || {
            self.attackers().map(|(row, what)| AttackerJson {
                address: what.address(),
                attempts: what.failed(),
                accepted: what.accepted(),
                probes: what.probes(),
                requests: what.requests(),
                users_tried: self.tally.count_users(what),
                users: self.tally.users(what).into_iter().map(Name).collect(),
                first_seen: what.first,
                last_seen: what.last,
                scenarios: self.names_of(row),
                banned: row.ban_secs.is_some(),
                ban_secs: row.ban_secs,
            })
        };
        let break_ins = || {
            self.break_ins().map(|one| {
                json!({
                    "at": one.alert.at,
                    "address": palisade_rules::alert_address(&one.alert),
                    "user": one.user.as_deref().map(Untrusted::from),
                    "failures": one.alert.count,
                    "scenario": self.name(one.alert.scenario),
                })
            })
        };
        let alerts = || {
            self.judged.iter().map(|Judged { alert, verdict, .. }| AlertJson {
                at: alert.at,
                scenario: self.name(alert.scenario),
                group: Shown(&alert.group),
                count: alert.count,
                reason: (self.scenario(alert.scenario))
                    .map_or_else(String::new, |scenario| alert_reason(scenario, alert)),
                verdict: Shown(verdict),
            })
        };
        let decisions = || {
            self.judged.iter().filter_map(|one| match &one.verdict {
                Verdict::Decided(decision) => Some(DecisionJson {
                    at: decision.from,
                    kind: decision.kind.as_str(),
                    scope: decision.target.scope(),
                    value: decision.target,
                    duration_secs: decision.duration_secs,
                    until: decision.until(),
                    scenario: decision.scenario.as_str(),
                    reason: &decision.reason,
                    simulated: decision.simulated,
                }),
                _ => None,
            })
        };
        let files = || {
            self.files.iter().map(|file| {
                json!({
                    "path": file.path, "parser": file.parser,
                    "bytes": file.bytes, "lines": file.lines,
                })
            })
        };
        let scenarios: serde_json::Map<String, Value> =
            self.scenarios().into_iter().map(|(name, count)| (name, count.into())).collect();
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("files", &Listed(files))?;
        map.serialize_entry("lines", &self.tally.lines)?;
        map.serialize_entry("unparsed", &self.tally.unparsed)?;
        map.serialize_entry("sightings", &self.tally.sightings)?;
        map.serialize_entry("addresses_left_out", &self.tally.left_out)?;
        map.serialize_entry("from", &self.tally.first)?;
        map.serialize_entry("to", &self.tally.last)?;
        map.serialize_entry("attackers", &Listed(attackers))?;
        map.serialize_entry("break_ins", &Listed(break_ins))?;
        map.serialize_entry("alerts", &Listed(alerts))?;
        map.serialize_entry("decisions", &Listed(decisions))?;
        map.serialize_entry("scenarios", &scenarios)?;
        map.serialize_entry("problems", &self.problems)?;
        map.serialize_entry("skipped", &self.skipped)?;
        map.end()
    }
}

/// How many login names, and some of them.
fn users(tally: &Tally, what: &Attacker, most: usize) -> String {
    let count = tally.count_users(what);
    if count == 0 {
        return "-".to_owned();
    }
    let names: Vec<String> = tally.users(what).into_iter().take(most).map(shown).collect();
    let more = if count > names.len() as u64 { ", …" } else { "" };
    format!("{count}: {}{more}", names.join(", "))
}

/// Text of an attacker, escaped for a terminal.
fn shown(bytes: &[u8]) -> String {
    Untrusted::from(bytes).to_string()
}

/// Seconds in the largest unit that fits.
fn span(secs: u64) -> String {
    match secs {
        0..120 => format!("{secs} s"),
        120..7200 => format!("{} min", secs / 60),
        7200..172_800 => format!("{:.1} h", secs as f64 / 3600.0),
        _ => format!("{:.1} d", secs as f64 / 86_400.0),
    }
}

/// Text as HTML shows it, and nothing else.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

const PAGE_HEAD: &str = "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content=\"width=device-width\"><meta http-equiv=Content-Security-Policy content=\"default-src 'none'; style-src 'unsafe-inline'\"><title>Palisade scan</title><style>body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:80rem;padding:0 1rem;color:#1d2430;background:#fff}table{border-collapse:collapse;width:100%;display:block;overflow-x:auto}th,td{text-align:left;padding:.25rem .75rem .25rem 0;border-bottom:1px solid #d8dde5;vertical-align:top;font-variant-numeric:tabular-nums}.bad{color:#a3142b;font-weight:600}@media(prefers-color-scheme:dark){body{color:#e4e8ef;background:#12161d}th,td{border-color:#2c3442}.bad{color:#ff8095}}</style><h1>Palisade scan</h1>";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_attackers_is_no_markup() {
        assert_eq!(escaped("<script>&\"'"), "&lt;script&gt;&amp;&quot;&#39;");
        assert_eq!(shown(b"\x1b[31m"), r"\u{1b}[31m");
    }

    #[test]
    fn spans_are_short() {
        assert_eq!(span(90), "90 s");
        assert_eq!(span(3600), "60 min");
        assert_eq!(span(14_400), "4.0 h");
        assert_eq!(span(604_800), "7.0 d");
    }
}
