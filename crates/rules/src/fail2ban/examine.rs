//! What a filter makes of a log, told as `fail2ban-regex` tells it.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::net::IpAddr;

use super::date::Now;
use super::failure::{Failure, Value};
use super::filter::{Filter, FilterOptions, Found, RawNames, Tries};
use super::filter_file::FilterDefinition;
use super::host::{FailureId, UseDns, option_name};
use super::problem::Problem;
use super::tags::next_tag;

/// Lines shown of each kind unless all are asked for.
const SHOWN_LINES: usize = 20;
/// Addresses shown for one expression.
const SHOWN_HOSTS: usize = 10_000;

/// Which lines are shown at the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Show {
    /// None.
    None,
    /// All, if there are fewer than 20; else how to see them.
    #[default]
    Few,
    /// All.
    All,
}

/// How much is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Detail {
    /// Expressions and times with hits.
    #[default]
    Hits,
    /// All of them, with the addresses found.
    Everything,
}

/// How a log is examined.
#[derive(Clone, Debug, Default)]
pub struct ExamineOptions {
    /// Which expressions are tried.
    pub tries: Tries,
    /// What names in place of addresses are.
    pub use_dns: UseDns,
    /// How much is told.
    pub detail: Detail,
    /// Matched lines.
    pub matched: Show,
    /// Missed lines.
    pub missed: Show,
    /// Ignored lines.
    pub ignored: Show,
    /// Print this of each failure instead of a report: `id`, `ip`, `msg`,
    /// `row`, the name of a tag, or a text with `<tags>`.
    pub out: Option<String>,
}

/// Lines of one kind.
#[derive(Debug, Default)]
struct Kind {
    count: u64,
    lines: VecDeque<String>,
    /// More were there than are kept.
    full: bool,
}

impl Kind {
    fn add(&mut self, line: String, show: Show) {
        self.count += 1;
        match show {
            Show::None => {}
            Show::Few if self.lines.len() > SHOWN_LINES => self.full = true,
            Show::Few | Show::All => self.lines.push_back(line),
        }
    }
}

struct Hit {
    host: String,
    at: Option<f64>,
    several: &'static str,
}

/// A filter at work on a log, with what is to be told.
pub struct Examiner {
    filter: Filter,
    definition: FilterDefinition,
    options: ExamineOptions,
    hits: Vec<(u64, Vec<Hit>)>,
    ignore_hits: Vec<u64>,
    tested: u64,
    matched: Kind,
    missed: Kind,
    ignored: Kind,
    resolve: Option<fn(&str) -> Option<IpAddr>>,
}

impl std::fmt::Debug for Examiner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Examiner").field("filter", &self.definition.name).finish_non_exhaustive()
    }
}

impl Examiner {
    /// Compiles the filter.
    ///
    /// # Errors
    /// What cannot be compiled.
    pub fn new(
        definition: FilterDefinition,
        options: ExamineOptions,
        now: &Now,
    ) -> Result<Self, Vec<Problem>> {
        let tries = if options.out.is_some() { Tries::First } else { options.tries };
        let raw_names =
            if options.use_dns == UseDns::Raw { RawNames::Keep } else { RawNames::Resolve };
        let filter = Filter::new(
            &definition,
            FilterOptions { tries, use_dns: options.use_dns, raw_names },
            now,
        )?;
        let hits = definition.failregex.iter().map(|_| (0, Vec::new())).collect();
        let ignore_hits = vec![0; definition.ignoreregex.len()];
        Ok(Self {
            filter,
            definition,
            options,
            hits,
            ignore_hits,
            tested: 0,
            matched: Kind::default(),
            missed: Kind::default(),
            ignored: Kind::default(),
            resolve: None,
        })
    }

    /// Asks `resolve` for the address of each name; without an address it is no
    /// match. Without this call names count as they are.
    pub fn resolve_with(&mut self, resolve: fn(&str) -> Option<IpAddr>) {
        self.resolve = Some(resolve);
    }

    /// Times without a zone are this many minutes east of UTC.
    pub fn set_offset(&mut self, minutes: i32) {
        self.filter.set_offset(minutes);
    }

    /// Looks at a line. Gives what is to be printed at once, with
    /// [`ExamineOptions::out`].
    pub fn line(&mut self, line: &str, now: &Now) -> Vec<String> {
        let line = line.trim_end_matches(['\r', '\n']);
        if line.is_empty() || line.starts_with('#') {
            return Vec::new();
        }
        let before = self.filter.buffer().to_vec();
        let mut outcome = self.filter.line(line, now);
        if let Some(resolve) = self.resolve {
            outcome.found.retain_mut(|found| match &found.id {
                Some(FailureId::Name(name)) => {
                    let address = resolve(name);
                    found.id = address.map(|address| FailureId::Net(address.to_canonical().into()));
                    address.is_some()
                }
                _ => true,
            });
        }
        if let Some(form) = &self.options.out {
            let failures = outcome.found.iter().filter(|found| !found.failure.is_context());
            return failures.flat_map(|found| printed(form, found)).collect();
        }
        let mut failures = 0;
        let mut context = false;
        for found in &outcome.found {
            let several = if failures > 1 { " (multiple regex matched)" } else { "" };
            if let Some((count, list)) = self.hits.get_mut(found.expression) {
                *count += 1;
                if list.len() < SHOWN_HOSTS {
                    let host = found.id.as_ref().map_or("None".to_owned(), ToString::to_string);
                    list.push(Hit { host, at: found.at, several });
                }
            }
            if found.failure.is_context() {
                context = true;
            } else {
                failures += 1;
            }
        }
        for number in &outcome.ignored {
            if let Some(count) = self.ignore_hits.get_mut(*number) {
                *count += 1;
            }
        }
        self.used_up(&before);
        self.tested += 1;
        if context || !outcome.ignored.is_empty() {
            self.ignored.add(line.to_owned(), self.options.ignored);
        } else if failures > 0 {
            let show = if self.options.matched == Show::All { Show::All } else { Show::None };
            self.matched.add(line.to_owned(), show);
        } else {
            self.missed.add(line.to_owned(), self.options.missed);
        }
        Vec::new()
    }

    /// Lines looked at together with this one and now gone were matched too.
    fn used_up(&mut self, before: &[std::sync::Arc<super::SplitLine>]) {
        if self.filter.max_lines() <= 1 {
            return;
        }
        let full = usize::from(before.len() >= self.filter.max_lines());
        let now: Vec<_> = self.filter.buffer().to_vec();
        for line in before.iter().skip(full).filter(|line| !now.contains(line)) {
            let whole = line.whole();
            if let Some(at) = self.missed.lines.iter().position(|own| *own == whole) {
                self.missed.lines.remove(at);
            }
            self.missed.count = self.missed.count.saturating_sub(1);
            let show = if self.options.matched == Show::All { Show::All } else { Show::None };
            self.matched.add(whole, show);
        }
    }

    /// Lines looked at, ignored, matched, missed.
    #[must_use]
    pub fn counts(&self) -> [u64; 4] {
        [self.tested, self.ignored.count, self.matched.count, self.missed.count]
    }

    /// The report.
    #[must_use]
    pub fn report(&self, now: &Now) -> String {
        let mut out = String::from("\nResults\n=======\n");
        let everything = self.options.detail == Detail::Everything;
        if let Some(pref) = self.filter.prefregex() {
            let _ = writeln!(out, "\nPrefregex: {} total", self.filter.counts().prefiltered);
            list(&mut out, None, &[pref.to_owned()]);
        }
        let mut rows = Vec::new();
        let mut total = 0;
        for (number, ((count, hits), text)) in
            self.hits.iter().zip(&self.definition.failregex).enumerate()
        {
            total += count;
            if *count == 0 && !everything {
                continue;
            }
            rows.push(format!("{:2}) [{count}] {text}", number + 1));
            if everything {
                for hit in hits {
                    rows.push(format!(
                        "    {}  {}{}",
                        hit.host,
                        shown_time(hit.at, now),
                        hit.several
                    ));
                }
            }
        }
        const HEADER: &str = " #) [# of hits] regular expression";
        let _ = writeln!(out, "\nFailregex: {total} total");
        list(&mut out, Some(HEADER), &rows);
        let rows: Vec<String> = self
            .ignore_hits
            .iter()
            .zip(&self.definition.ignoreregex)
            .enumerate()
            .filter(|(_, (count, _))| **count > 0 || everything)
            .map(|(number, (count, text))| format!("{:2}) [{count}] {text}", number + 1))
            .collect();
        let _ = writeln!(out, "\nIgnoreregex: {} total", self.ignore_hits.iter().sum::<u64>());
        list(&mut out, Some(HEADER), &rows);
        out.push_str("\nDate template hits:\n");
        let rows: Vec<String> = self
            .filter
            .date_hits()
            .filter(|(_, hits)| *hits > 0 || everything)
            .map(|(name, hits)| format!("[{hits}] {name}"))
            .collect();
        list(&mut out, Some("[# of hits] date format"), &rows);
        let [tested, ignored, matched, missed] = self.counts();
        let _ = writeln!(
            out,
            "\nLines: {tested} lines, {ignored} ignored, {matched} matched, {missed} missed"
        );
        let counts = self.filter.counts();
        if counts.gave_up > 0 {
            let _ = writeln!(out, "Searches given up for taking too long: {}", counts.gave_up);
        }
        if counts.cut > 0 {
            let _ = writeln!(out, "Lines cut for their length: {}", counts.cut);
        }
        out.push('\n');
        if self.options.matched == Show::All {
            lines(&mut out, "Matched", &self.matched, Show::All);
        }
        lines(&mut out, "Ignored", &self.ignored, self.options.ignored);
        lines(&mut out, "Missed", &self.missed, self.options.missed);
        out
    }
}

fn list(out: &mut String, header: Option<&str>, rows: &[String]) {
    if rows.is_empty() {
        return;
    }
    if let Some(header) = header {
        let _ = writeln!(out, "|- {header}");
    }
    for row in rows {
        let _ = writeln!(out, "|  {row}");
    }
    out.push_str("`-\n");
}

fn lines(out: &mut String, name: &str, kind: &Kind, show: Show) {
    if kind.count == 0 || show == Show::None {
        return;
    }
    if show == Show::All || (kind.lines.len() < SHOWN_LINES && !kind.full) {
        let rows: Vec<String> = kind.lines.iter().map(|line| line.trim_end().to_owned()).collect();
        list(out, Some(&format!("{name} line(s):")), &rows);
    } else {
        let lower = name.to_lowercase();
        let _ = writeln!(
            out,
            "{name} line(s): too many to print.  Use --print-all-{lower} to print all {} lines",
            kind.count
        );
    }
}

fn shown_time(at: Option<f64>, now: &Now) -> String {
    at.and_then(|at| jiff::Timestamp::from_second(at as i64).ok()).map_or_else(
        || "-".to_owned(),
        |at| at.to_zoned(now.zone.clone()).strftime("%a %b %d %H:%M:%S %Y").to_string(),
    )
}

/// What `--out` prints of a failure.
fn printed(form: &str, found: &Found) -> Vec<String> {
    let id = || found.id.as_ref().map_or_else(|| "None".to_owned(), FailureId::to_string);
    let ip = || found.failure.get("ip").map_or_else(id, str::to_owned);
    let messages = || found.failure.matches().iter().map(|line| line.whole()).collect::<Vec<_>>();
    match form {
        "id" | "fid" => vec![id()],
        "ip" => vec![ip()],
        "msg" => messages(),
        "row" => vec![row(found, &id())],
        name if !name.contains('<') => {
            vec![found.failure.get(name).unwrap_or("None").to_owned()]
        }
        text => {
            let several = found.failure.matches().len() > 1 && text.contains("<msg>");
            let texts = if several { messages() } else { vec![messages().join("\n")] };
            texts.iter().map(|message| fill(text, found, &id(), &ip(), message)).collect()
        }
    }
}

fn fill(text: &str, found: &Found, id: &str, ip: &str, message: &str) -> String {
    let mut out = String::new();
    let mut done = 0;
    while let Some((start, end, tag)) = next_tag(text, done) {
        out.push_str(text.get(done..start).unwrap_or_default());
        let value = match tag {
            "fid" | "F-ID" => Some(id.to_owned()),
            "ip" => Some(ip.to_owned()),
            "msg" | "matches" => Some(message.to_owned()),
            "time" => found.at.map(|at| at.to_string()),
            "failures" => Some(found.failure.matches().len().to_string()),
            "br" => Some("\n".to_owned()),
            "sp" => Some(" ".to_owned()),
            tag => {
                // Tags of groups are empty where there is no such group.
                match tag.strip_prefix("F-").map(option_name) {
                    Some(name) => Some(group(&found.failure, &name).unwrap_or_default()),
                    None => group(&found.failure, tag),
                }
            }
        };
        match value {
            Some(value) => out.push_str(&value),
            None => out.push_str(text.get(start..end).unwrap_or_default()),
        }
        done = end;
    }
    out.push_str(text.get(done..).unwrap_or_default());
    out
}

fn group(failure: &Failure, name: &str) -> Option<String> {
    match failure.groups.get(name)? {
        Value::Unset => Some(String::new()),
        Value::Text(text) => Some(text.clone()),
        Value::Tuple(parts) => {
            Some(parts.iter().map(|p| p.as_deref().unwrap_or("")).collect::<Vec<_>>().join(" "))
        }
    }
}

fn row(found: &Found, id: &str) -> String {
    let mut groups: Vec<String> = found
        .failure
        .groups()
        .map(|(name, value)| match value {
            Value::Unset => format!("'{name}': None"),
            Value::Text(text) => format!("'{name}': {}", quoted(text)),
            Value::Tuple(parts) => format!("'{name}': {parts:?}"),
        })
        .collect();
    let users: Vec<String> = found.failure.users().map(quoted).collect();
    if !users.is_empty() {
        groups.push(format!("'users': {{{}}}", users.join(", ")));
    }
    let at = found.at.map_or_else(|| "None".to_owned(), |at| format!("{at:?}"));
    format!("[{},\t{at},\t{{{}}}],", quoted(id), groups.join(", "))
}

/// A text as Python shows it.
fn quoted(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut out = String::from(quote);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote => {
                out.push('\\');
                out.push(c);
            }
            c if c.is_control() => {
                let _ = write!(out, "\\x{:02x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push(quote);
    out
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests: a failure is a panic")]
mod tests {
    use super::*;

    fn now() -> Now {
        Now { epoch: 1_124_013_600.0, zone: jiff::tz::TimeZone::UTC }
    }

    fn examiner(options: ExamineOptions) -> Examiner {
        let definition = FilterDefinition {
            name: "x".into(),
            failregex: vec!["^ fail <F-USER>\\S+</F-USER> from <HOST>$".into()],
            ignoreregex: vec!["from 192\\.0\\.2\\.9$".into()],
            ..FilterDefinition::default()
        };
        Examiner::new(definition, options, &now()).unwrap()
    }

    const LOG: [&str; 5] = [
        "# a comment",
        "Aug 14 09:00:00 fail bob from 192.0.2.1",
        "Aug 14 09:00:01 fail eve from 192.0.2.9",
        "Aug 14 09:00:02 other",
        "",
    ];

    #[test]
    fn the_report_counts_lines_expressions_and_times() {
        let mut examiner = examiner(ExamineOptions { matched: Show::All, ..Default::default() });
        for line in LOG {
            assert!(examiner.line(line, &now()).is_empty());
        }
        let report = examiner.report(&now());
        for part in [
            "\nFailregex: 1 total\n|-  #) [# of hits] regular expression\n|   1) [1] ^ fail <F-USER>",
            "\nIgnoreregex: 1 total\n",
            "\nDate template hits:\n|- [# of hits] date format\n|  [3] {^LN-BEG}(?:DAY )?MON Day",
            "\nLines: 3 lines, 1 ignored, 1 matched, 1 missed\n",
            "|- Matched line(s):\n|  Aug 14 09:00:00 fail bob from 192.0.2.1\n`-\n",
            "|- Missed line(s):\n|  Aug 14 09:00:02 other\n`-\n",
        ] {
            assert!(report.contains(part), "{part}\n{report}");
        }
    }

    #[test]
    fn an_address_of_prefregex_counts_where_that_of_failregex_took_no_part() {
        let definition = FilterDefinition {
            name: "x".into(),
            prefregex: Some("^ auth(?:\\(<ADDR>\\))?: <F-CONTENT>.+</F-CONTENT>$".into()),
            failregex: vec!["^(?:sql\\(<ADDR>\\): )?mismatch$".into()],
            ..FilterDefinition::default()
        };
        let options = ExamineOptions { matched: Show::All, ..Default::default() };
        let mut examiner = Examiner::new(definition, options, &now()).unwrap();
        for line in [
            "Aug 14 09:00:00 auth(192.0.2.1): mismatch",
            "Aug 14 09:00:01 auth(192.0.2.1): sql(192.0.2.2): mismatch",
            "Aug 14 09:00:02 auth: mismatch",
        ] {
            examiner.line(line, &now());
        }
        let report = examiner.report(&now());
        assert!(report.contains("Lines: 3 lines, 0 ignored, 2 matched, 1 missed"), "{report}");
    }

    #[test]
    fn single_values_of_failures_can_be_printed() {
        for (form, expected) in [
            ("ip", "192.0.2.1"),
            ("user", "bob"),
            ("msg", "Aug 14 09:00:00 fail bob from 192.0.2.1"),
            ("<ip>/<F-USER>/<nothing>", "192.0.2.1/bob/<nothing>"),
            (
                "row",
                "['192.0.2.1',\t1124010000.0,\t{'dns': None, 'ip4': '192.0.2.1', 'ip6': None, 'user': 'bob'}],",
            ),
        ] {
            let options = ExamineOptions { out: Some(form.into()), ..Default::default() };
            let mut examiner = examiner(options);
            let out: Vec<String> =
                LOG.iter().flat_map(|line| examiner.line(line, &now())).collect();
            assert_eq!(out, [expected]);
        }
    }
}
