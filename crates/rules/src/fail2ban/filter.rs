//! A compiled filter: lines in, failures out.
//!
//! A line's time is cut out of it; `prefregex` takes the part to look at;
//! `failregex` and `ignoreregex` decide. Lines of a session and lines looked at
//! together are kept in here, so lines must come in their order.

mod failregex;
mod view;

use std::sync::Arc;

use super::date::{Detector, Now};
use super::failure::{Failure, SplitLine, Value};
use super::filter_file::FilterDefinition;
use super::host::{FailureId, UseDns};
use super::pattern::Search;
use super::problem::{Place, Problem};
use super::python_regex::Anchors;
use super::session::Sessions;
use super::sieve::{Cut, Sieve};
use failregex::Expression;
use view::{Split, View, joined};

/// Longest line that is looked at, in bytes; the rest is cut off and counted.
pub const MAX_LINE_BYTES: usize = 64 * 1024;
/// Most lines a filter may look at together.
const MAX_LINES: usize = 1000;
/// Most expressions of one kind in a filter.
const MAX_EXPRESSIONS: usize = 1000;
/// A line without a time takes that of the line before, if not older than this
/// many seconds.
const LAST_TIME_SECS: f64 = 60.0;

/// Which expressions are tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tries {
    /// The first that matches decides, as in a running jail.
    #[default]
    First,
    /// All, as fail2ban's tests do: several may match one line.
    All,
}

/// How a filter is run.
#[derive(Clone, Copy, Debug, Default)]
pub struct FilterOptions {
    /// Which expressions are tried.
    pub tries: Tries,
    /// What names in place of addresses are; the filter file's `usedns` wins.
    pub use_dns: UseDns,
    /// Take names as they are.
    pub raw_names: RawNames,
}

/// Whether names of hosts are results of their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RawNames {
    /// They are, as they stand.
    Keep,
    /// They are yet to be resolved.
    #[default]
    Resolve,
}

/// What was counted while lines were looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FilterCounts {
    /// Lines looked at.
    pub lines: u64,
    /// Lines that were cut at [`MAX_LINE_BYTES`].
    pub cut: u64,
    /// Searches that took too many steps and were given up.
    pub gave_up: u64,
    /// Lines that `prefregex` took; with [`Tries::First`] only those that an
    /// expression may match.
    pub prefiltered: u64,
}

/// A match of one expression.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// The number of the failregex, from 0.
    pub expression: usize,
    /// Who failed; `None` while a session does not say.
    pub id: Option<FailureId>,
    /// Seconds since 1970; `None` where the line has no time.
    pub at: Option<f64>,
    /// All else that is known.
    pub failure: Failure,
}

/// What a line came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Matches of failregexes.
    pub found: Vec<Found>,
    /// The ignoreregexes that matched.
    pub ignored: Vec<usize>,
}

/// A filter with its state.
#[derive(Clone, Debug)]
pub struct Filter {
    pref: Option<Expression>,
    fail: Vec<Expression>,
    ignore: Vec<Expression>,
    max_lines: usize,
    detector: Option<Detector>,
    tries: Tries,
    raw_names: bool,
    buffer: Vec<Arc<SplitLine>>,
    last_time_text: String,
    last_at: Option<f64>,
    sessions: Sessions,
    counts: FilterCounts,
    scratch: String,
    /// Where only the first match is asked for.
    sieve: Sieve,
}

impl Filter {
    /// Compiles a filter.
    ///
    /// # Errors
    /// Every expression that cannot be compiled, and why; fail2ban would refuse
    /// the jail for the first of them.
    pub fn new(
        definition: &FilterDefinition,
        options: FilterOptions,
        now: &Now,
    ) -> Result<Self, Vec<Problem>> {
        let place = definition.place.clone();
        let place =
            place.unwrap_or_else(|| Place { file: definition.name.as_str().into(), line: 0 });
        let mut problems = Vec::new();
        let use_dns = match definition.usedns.as_deref() {
            None => options.use_dns,
            Some(text) => UseDns::parse(text).unwrap_or(UseDns::No),
        };
        let max_lines =
            match definition.maxlines.as_deref().map(|text| text.trim().parse::<usize>()) {
                None => 1,
                Some(Ok(lines @ 1..=MAX_LINES)) => lines,
                Some(_) => {
                    problems.push(Problem::new(
                        place.clone(),
                        format!("maxlines is not 1 to {MAX_LINES}"),
                    ));
                    1
                }
            };
        let single = max_lines == 1;
        let outer = if single { Anchors::Line } else { Anchors::Buffer };
        let inner = if single { Anchors::Line } else { Anchors::Lines };
        let mut compile = |kind: &str, number: usize, source: &str, anchors| {
            Expression::new(source, use_dns, anchors)
                .map_err(|reason| {
                    let reason = format!("{kind} {}: {reason}: {source}", number + 1);
                    problems.push(Problem::new(place.clone(), reason));
                })
                .ok()
        };
        let pref =
            definition.prefregex.as_deref().and_then(|text| compile("prefregex", 0, text, outer));
        let fail: Vec<Expression> = definition
            .failregex
            .iter()
            .take(MAX_EXPRESSIONS)
            .enumerate()
            .filter_map(|(number, text)| compile("failregex", number, text, inner))
            .collect();
        let ignore: Vec<Expression> = definition
            .ignoreregex
            .iter()
            .take(MAX_EXPRESSIONS)
            .enumerate()
            .filter_map(|(number, text)| compile("ignoreregex", number, text, outer))
            .collect();
        let pref_identifies = pref.as_ref().is_some_and(Expression::identifies);
        for (number, expression) in fail.iter().enumerate() {
            if !pref_identifies && !expression.identifies() {
                let reason = format!("failregex {}: no group says who failed", number + 1);
                problems.push(Problem::new(place.clone(), reason));
            }
        }
        let detector = match definition.datepattern.as_deref() {
            Some(patterns) => Detector::new(patterns, now),
            None => Detector::defaults(now),
        };
        let detector =
            detector.map_err(|reason| problems.push(Problem::new(place.clone(), reason))).ok();
        if !problems.is_empty() {
            return Err(problems);
        }
        let cut = if pref.is_some() { Cut::ByPrefregex } else { Cut::No };
        let sieve = if single && options.tries == Tries::First {
            Sieve::new(fail.iter().map(|expression| &expression.pattern), cut)
        } else {
            Sieve::default()
        };
        Ok(Self {
            sieve,
            pref,
            fail,
            ignore,
            max_lines,
            detector,
            tries: options.tries,
            raw_names: use_dns == UseDns::Raw || options.raw_names == RawNames::Keep,
            buffer: Vec::new(),
            last_time_text: String::new(),
            last_at: None,
            sessions: Sessions::default(),
            counts: FilterCounts::default(),
            scratch: String::new(),
        })
    }

    /// Treats times without a zone as this many minutes east of UTC.
    pub fn set_offset(&mut self, minutes: i32) {
        if let Some(detector) = &mut self.detector {
            detector.default_offset = Some(minutes);
        }
    }

    /// What was counted so far.
    #[must_use]
    pub fn counts(&self) -> FilterCounts {
        self.counts
    }

    /// The forms of times with their hits, in the order they are tried.
    pub fn date_hits(&self) -> impl Iterator<Item = (&str, u64)> {
        self.detector.iter().flat_map(Detector::hits)
    }

    /// The failregexes with their tags expanded.
    pub fn expressions(&self) -> impl Iterator<Item = &str> {
        self.fail.iter().map(|expression| expression.source.as_str())
    }

    /// The prefregex with its tags expanded.
    #[must_use]
    pub fn prefregex(&self) -> Option<&str> {
        self.pref.as_ref().map(|expression| expression.source.as_str())
    }

    /// How many expressions need the engine that backtracks.
    #[must_use]
    pub fn backtracking(&self) -> usize {
        self.pref
            .iter()
            .chain(&self.fail)
            .chain(&self.ignore)
            .filter(|e| e.pattern.backtracks())
            .count()
    }

    /// Lines looked at together.
    #[must_use]
    pub fn max_lines(&self) -> usize {
        self.max_lines
    }

    /// The lines kept for the next ones, oldest first.
    #[must_use]
    pub fn buffer(&self) -> &[Arc<SplitLine>] {
        &self.buffer
    }

    /// Looks at a line of a file, without its line break.
    pub fn line(&mut self, line: &str, now: &Now) -> Outcome {
        let line = self.bounded(line);
        let detected = self.detector.as_mut().and_then(|detector| detector.detect(line, now));
        let mut at = None;
        let mut cut = 0..0;
        let mut borrowed = false;
        match detected {
            Some(found) if !found.cut.is_empty() => {
                at = found.at;
                cut = found.cut;
                if at.is_some() {
                    self.last_at = at;
                    self.last_time_text.clear();
                    self.last_time_text.push_str(line.get(cut.clone()).unwrap_or_default());
                }
            }
            // The template allows for lines without a time.
            Some(found) => match self.recent(now) {
                Some(last) => {
                    at = Some(last);
                    borrowed = true;
                }
                None => {
                    at = Some(now.epoch);
                    cut = found.cut;
                }
            },
            None => {}
        }
        if at.is_none()
            && let Some(last) = self.recent(now)
        {
            at = Some(last);
            borrowed = true;
        }
        if borrowed {
            let time = std::mem::take(&mut self.last_time_text);
            let outcome = self.find(Split { before: "", time: &time, after: line }, at, now);
            self.last_time_text = time;
            return outcome;
        }
        self.find(Split::cut(line, cut), at, now)
    }

    /// Looks at an entry of the journal, whose time is a field of its own.
    pub fn journal(&mut self, message: &str, at: f64, now: &Now) -> Outcome {
        let message = self.bounded(message);
        self.last_at = Some(at);
        self.last_time_text.clear();
        self.find(Split { before: "", time: "", after: message }, Some(at), now)
    }

    fn bounded<'l>(&mut self, line: &'l str) -> &'l str {
        self.counts.lines += 1;
        if line.len() <= MAX_LINE_BYTES {
            return line;
        }
        self.counts.cut += 1;
        line.get(..line.floor_char_boundary(MAX_LINE_BYTES)).unwrap_or_default()
    }

    fn recent(&self, now: &Now) -> Option<f64> {
        self.last_at.filter(|last| *last > now.epoch - LAST_TIME_SECS)
    }

    fn find(&mut self, split: Split<'_>, at: Option<f64>, now: &Now) -> Outcome {
        let mut text = std::mem::take(&mut self.scratch);
        text.clear();
        let mut view = if self.max_lines > 1 {
            self.buffer.push(Arc::new(split.owned()));
            let over = self.buffer.len().saturating_sub(self.max_lines);
            self.buffer.drain(..over);
            joined(&self.buffer, &mut text);
            View { original: self.buffer.clone(), split: None, text }
        } else {
            text.push_str(split.before);
            text.push_str(split.after);
            text.push('\n');
            View { original: Vec::new(), split: Some(split), text }
        };
        let outcome = self.run(&mut view, at, now);
        self.scratch = view.text;
        outcome
    }

    fn run(&mut self, view: &mut View<'_>, at: Option<f64>, now: &Now) -> Outcome {
        let mut out = Outcome::default();
        if !self.ignore.is_empty()
            && self.ignore.len() + 2 < self.fail.len()
            && self.ignored(&view.text, &mut out)
        {
            return out;
        }
        let mut pre = Failure::default();
        if !self.sieve.may_match(&view.text) {
            return out;
        }
        if let Some(pref) = &self.pref {
            let found = match pref.pattern.search(&view.text, 0) {
                Search::Found(found) => found,
                Search::Nothing => return out,
                Search::GaveUp => {
                    self.counts.gave_up += 1;
                    return out;
                }
            };
            self.counts.prefiltered += 1;
            pre = pref.groups(&found, &view.text);
            if let Some(Value::Text(content)) = pre.groups.remove("content")
                && !content.is_empty()
            {
                view.text.clear();
                view.text.push_str(&content);
                view.text.push('\n');
                if self.max_lines > 1 {
                    let line = SplitLine { after: content, ..SplitLine::default() };
                    self.buffer = vec![Arc::new(line)];
                }
            }
        }
        let all = self.tries == Tries::All;
        let candidates = self.sieve.candidates(&view.text);
        for number in 0..self.fail.len() {
            if candidates.as_ref().is_some_and(|set| !set.matched(number)) {
                continue;
            }
            let Some(expression) = self.fail.get(number) else { break };
            let found = match expression.pattern.search(&view.text, 0) {
                Search::Found(found) => found,
                Search::Nothing => continue,
                Search::GaveUp => {
                    self.counts.gave_up += 1;
                    continue;
                }
            };
            let failure = expression.groups(&found, &view.text);
            let (matched, rest) = view.lines(&found, &expression.skips);
            if !self.ignore.is_empty() {
                let mut joined_text = String::new();
                if self.max_lines > 1 {
                    joined(&matched, &mut joined_text);
                }
                let text = if self.max_lines > 1 { &joined_text } else { &view.text };
                if self.ignored(text, &mut out) {
                    if !all || self.max_lines > 1 {
                        self.set_buffer(view, rest);
                    }
                    if all { continue } else { break }
                }
            }
            if !all || self.max_lines > 1 {
                self.set_buffer(view, rest);
            }
            let merged = Failure { groups: with(&pre, failure.groups), ..Failure::default() };
            match self.result(number, merged, &matched, at, now) {
                Step::Found(found) => out.found.push(found),
                Step::Stop => return out,
                Step::Nobody => continue,
            }
            if !all {
                break;
            }
        }
        out
    }

    /// What remains in the buffer is looked at next.
    fn set_buffer(&mut self, view: &mut View<'_>, rest: Vec<Arc<SplitLine>>) {
        if self.max_lines > 1 {
            self.buffer = rest;
            view.text.clear();
            joined(&self.buffer, &mut view.text);
        }
    }

    fn ignored(&mut self, text: &str, out: &mut Outcome) -> bool {
        let mut hit = false;
        for (number, expression) in self.ignore.iter().enumerate() {
            match expression.pattern.search(text, 0) {
                Search::Found(_) => {
                    hit = true;
                    out.ignored.push(number);
                    if self.tries == Tries::First {
                        break;
                    }
                }
                Search::Nothing => {}
                Search::GaveUp => self.counts.gave_up += 1,
            }
        }
        hit
    }

    /// Merges a match with its session and says who failed.
    fn result(
        &mut self,
        expression: usize,
        mut failure: Failure,
        matched: &[Arc<SplitLine>],
        at: Option<f64>,
        now: &Now,
    ) -> Step {
        let all = self.tries == Tries::All;
        let session = failure.get("mlfid").map(str::to_owned);
        let mut goes_on = false;
        match &session {
            Some(id) => {
                let merged = self.sessions.merge(id, failure, matched, now.epoch);
                failure = merged.failure;
                goes_on = merged.goes_on;
            }
            None => failure.add_matches(matched),
        }
        let context = failure.is_context();
        let id = self.identity(&mut failure);
        // Neither who nor which session: an expression that is wrong.
        if id.is_none() && session.is_none() {
            return Step::Nobody;
        }
        if id.is_none() && (all || !context) {
            failure.pending = true;
        }
        if let Some(session) = &session {
            if goes_on {
                self.sessions.keep(session, failure.clone(), now.epoch);
            } else {
                self.sessions.forget(session);
            }
        }
        if !all && (context || id.is_none()) {
            return Step::Stop;
        }
        Step::Found(Found { expression, id, at, failure })
    }

    fn identity(&self, failure: &mut Failure) -> Option<FailureId> {
        let fid = match failure.groups.get("fid") {
            Some(Value::Text(text)) => Some(text.clone()),
            Some(Value::Tuple(parts)) => {
                let parts: Vec<&str> = parts.iter().map(|p| p.as_deref().unwrap_or("")).collect();
                return Some(FailureId::Text(parts.join(" ")));
            }
            Some(Value::Unset) | None => None,
        };
        let bits = failure.get("cidr").filter(|bits| !bits.is_empty());
        let address = failure.get("ip4").or_else(|| failure.get("ip6"));
        let host = address.map(|text| FailureId::from_address(text, bits));
        let name = failure.get("dns").map(str::to_owned);
        match (host, name, fid) {
            (Some(host), _, None) => Some(host),
            (Some(host), _, Some(fid)) => {
                let own = failure.get("ip4").or_else(|| failure.get("ip6"));
                if own == Some(fid.as_str()) {
                    return Some(host);
                }
                failure.groups.insert("ip".into(), Value::Text(host.to_string()));
                Some(self.text_id(&fid))
            }
            (None, Some(name), fid) if self.raw_names => match fid.filter(|fid| *fid != name) {
                None => Some(FailureId::Text(name)),
                Some(fid) => {
                    failure.groups.insert("ip".into(), Value::Text(name));
                    Some(FailureId::Text(fid))
                }
            },
            (None, Some(name), _) => match FailureId::from_text(&name) {
                FailureId::Net(net) if net.prefix_len() == net.max_prefix_len() => {
                    Some(FailureId::Net(net))
                }
                _ => Some(FailureId::Name(name)),
            },
            (None, None, Some(fid)) => Some(self.text_id(&fid)),
            (None, None, None) => None,
        }
    }

    fn text_id(&self, text: &str) -> FailureId {
        if self.raw_names { FailureId::Text(text.to_owned()) } else { FailureId::from_text(text) }
    }
}

enum Step {
    Found(Found),
    Stop,
    Nobody,
}

/// The groups of prefregex with those of failregex over them. One that took no
/// part in the match of failregex hides nothing, as since fail2ban 1.1.1.
fn with(
    pre: &Failure,
    groups: std::collections::BTreeMap<Arc<str>, Value>,
) -> std::collections::BTreeMap<Arc<str>, Value> {
    if pre.groups.is_empty() {
        return groups;
    }
    let mut all = pre.groups.clone();
    for (name, value) in groups {
        if !matches!(value, Value::Unset) || !all.contains_key(&name) {
            all.insert(name, value);
        }
    }
    all
}
