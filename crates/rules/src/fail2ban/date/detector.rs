//! Finds the time in a line: several templates, the last successful one first,
//! the often successful ones early.
//!
//! A time found further right than before may be one inside a message (which an
//! attacker may write): the search goes on, and the leftmost wins.

use super::super::pattern::Groups;
use super::Now;
use super::template::Template;

/// A template not used for so long gives its place to others, in seconds.
const UNUSED_SECS: f64 = 300.0;
/// Templates one filter may have.
const MAX_TEMPLATES: usize = 128;
const NEVER: usize = usize::MAX;

/// The forms fail2ban tries where a filter names none, in its order.
const DEFAULTS: &[&str] = &[
    // 2005-01-23T21:59:59.981746+02:00, 2005/01/23 21:59:59, 2006.12.21 06:43:20
    r"%ExY(?P<_sep>[-/.])%m(?P=_sep)%d(?:T|  ?)%H:%M:%S(?:[.,]%f)?(?:\s*%z)?",
    // Sun Jan 23 21:59:59.011 2005, Jan 23 21:59:59
    r"(?:%a )?%b %d %k:%M:%S(?:\.%f)?(?: %ExY)?",
    // Sun Jan 23 2005 21:59:59.011
    r"(?:%a )?%b %d %ExY %k:%M:%S(?:\.%f)?",
    // 23/01/2005 21:59:59, 23-01-05 21:59:59
    r"%d(?P<_sep>[-/])%m(?P=_sep)(?:%ExY|%Exy) %k:%M:%S",
    // 31/Oct/2006:09:22:55 -0000, 26-Jul-2007 15:20:52.252
    r"%d(?P<_sep>[-/])%b(?P=_sep)%ExY[ :]?%H:%M:%S(?:\.%f)?(?: %z)?",
    // 05/20/2008:01:57:39
    r"%m/%d/%ExY:%H:%M:%S",
    // 01-27-2012 16:22:44.252
    r"%m-%d-%ExY %k:%M:%S(?:\.%f)?",
    "EPOCH",
    // 21:59:59
    "{^LN-BEG}%H:%M:%S",
    // <09/16/08@05:03:30>
    "^<%m/%d/%Exy@%H:%M:%S>",
    // 130322 11:46:11
    "%Exy%Exm%Exd  ?%H:%M:%S",
    // Jan 23, 2005 9:59:59 PM
    "%b %d, %ExY %I:%M:%S %p",
    // Apr-27-13 02:33:06
    "^%b-%d-%Exy %k:%M:%S",
    // 20050123T215959
    r"%ExY%Exm%Exd(?:T|  ?)%ExH%ExM%ExS(?:[.,]%f)?(?:\s*%z)?",
    // PDT Apr 16 21:05:29
    r"(?:%Z )?(?:%a )?%b %d %k:%M:%S(?:\.%f)?(?: %ExY)?",
    // +00:00 Jan 23 21:59:59.011 2005
    r"(?:%z )?(?:%a )?%b %d %k:%M:%S(?:\.%f)?(?: %ExY)?",
    "TAI64N",
];

#[derive(Clone, Debug)]
struct Entry {
    template: Template,
    /// Matches, whether used or not.
    matches: u64,
    hits: u64,
    last_used: f64,
    /// Where the last match began, in bytes.
    distance: usize,
}

impl Entry {
    fn weight(&self) -> f64 {
        self.hits as f64 * self.template.weight / self.distance.max(1) as f64
    }
}

/// The end of a match and what stood around it.
#[derive(Clone, Debug, Default)]
struct Edge {
    at: usize,
    before: Option<String>,
    after: Option<String>,
}

/// Templates of one filter with what was learnt from its lines.
#[derive(Clone, Debug, Default)]
pub(crate) struct Detector {
    entries: Vec<Entry>,
    /// Minutes east of UTC of times without a zone; `None` is the local zone.
    pub(crate) default_offset: Option<i32>,
    last: Option<usize>,
    start: Edge,
    end: Edge,
    first_unused: usize,
}

/// A time in a line.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Detected {
    /// The bytes to cut out: group 1 of the template.
    pub(crate) cut: std::ops::Range<usize>,
    /// Seconds since 1970; `None` where the text names no moment.
    pub(crate) at: Option<f64>,
}

impl Detector {
    /// The default templates.
    ///
    /// # Errors
    /// Never, unless a default template is wrong.
    pub(crate) fn defaults(now: &Now) -> Result<Self, String> {
        let mut detector = Self::default();
        detector.add_defaults(now, Only::All)?;
        Ok(detector)
    }

    /// The templates of a `datepattern`, a line each.
    ///
    /// # Errors
    /// The first line that is wrong, and why.
    pub(crate) fn new(patterns: &str, now: &Now) -> Result<Self, String> {
        let mut detector = Self::default();
        for pattern in patterns.split('\n').map(str::trim).filter(|line| !line.is_empty()) {
            detector
                .add(pattern, now)
                .map_err(|reason| format!("datepattern {pattern}: {reason}"))?;
        }
        if detector.entries.is_empty() {
            detector.add_defaults(now, Only::All)?;
        }
        Ok(detector)
    }

    fn add(&mut self, pattern: &str, now: &Now) -> Result<(), String> {
        let key = if pattern.contains('%') { pattern.to_owned() } else { pattern.to_uppercase() };
        match key.as_str() {
            "{^LN-BEG}" => self.add_defaults(now, Only::LineBegin),
            "{DEFAULT}" => self.add_defaults(now, Only::All),
            "{NONE}" => self.push(Template::new("{UNB}^", now)?, Duplicate::Refuse),
            key if key.contains("{DATE}") => self.add_defaults(now, Only::Within(pattern)),
            _ => self.push(Template::new(pattern, now)?, Duplicate::Refuse),
        }
    }

    fn add_defaults(&mut self, now: &Now, only: Only<'_>) -> Result<(), String> {
        let duplicate =
            if self.entries.is_empty() { Duplicate::Refuse } else { Duplicate::LeaveOut };
        let plain: Vec<Template> =
            DEFAULTS.iter().map(|pattern| Template::new(pattern, now)).collect::<Result<_, _>>()?;
        if let Only::Within(outer) = only {
            for template in &plain {
                self.push(template.within(outer, now)?, duplicate)?;
            }
            return Ok(());
        }
        let mut all = Vec::new();
        for template in &plain {
            if !template.name.starts_with("{^LN-BEG}") && !template.name.starts_with('^') {
                let mut begin = template.at_line_begin(now)?;
                begin.weight = 100.0;
                all.push(begin);
            }
        }
        all.extend(plain);
        for template in all {
            if only == Only::All || template.bounds.line_begin {
                self.push(template, duplicate)?;
            }
        }
        Ok(())
    }

    fn push(&mut self, template: Template, duplicate: Duplicate) -> Result<(), String> {
        if self.entries.iter().any(|entry| entry.template.name == template.name) {
            return match duplicate {
                Duplicate::LeaveOut => Ok(()),
                Duplicate::Refuse => Err(format!("is there twice: {}", template.name)),
            };
        }
        if self.entries.len() >= MAX_TEMPLATES {
            return Err("too many date patterns".into());
        }
        let last_used = f64::NEG_INFINITY;
        self.entries.push(Entry { template, matches: 0, hits: 0, last_used, distance: usize::MAX });
        Ok(())
    }

    /// Templates with their hits, in the order they are tried.
    pub(crate) fn hits(&self) -> impl Iterator<Item = (&str, u64)> {
        self.entries.iter().map(|entry| (entry.template.name.as_str(), entry.hits))
    }

    /// Finds the time in a line (without its line break).
    pub(crate) fn detect(&mut self, line: &str, now: &Now) -> Option<Detected> {
        let (index, groups) = self.find(line)?;
        let whole = groups.span(0)?;
        let cut = groups.span(1).unwrap_or(line.len()..line.len());
        let entry = self.entries.get_mut(index)?;
        entry.hits += 1;
        entry.last_used = now.epoch;
        entry.distance = whole.start;
        let at = entry.template.moment(line, &groups, now, self.default_offset);
        if self.first_unused == index {
            self.first_unused += 1;
        }
        remember(&mut self.start, line, whole.start);
        remember(&mut self.end, line, whole.end);
        let index = if index > 0 && Some(index) != self.last { self.reorder(index) } else { index };
        self.last = Some(index);
        Some(Detected { cut, at })
    }

    fn try_one(&mut self, index: usize, line: &str, from: usize) -> Option<Groups> {
        let entry = self.entries.get_mut(index)?;
        let found = entry.template.search(line, from);
        entry.matches += u64::from(found.is_some());
        found
    }

    fn find(&mut self, line: &str) -> Option<(usize, Groups)> {
        let mut best: Option<(usize, usize, Groups)> = None;
        let mut tried = NEVER;
        if let Some(last) = self.last {
            let anchored = self.entries.get(last)?.template.bounds.anchored();
            let found = if anchored {
                tried = last;
                self.try_one(last, line, 0)
            } else if let Some(part) = self.same_edges(line) {
                self.try_one(last, part, self.start.at)
            } else {
                tried = last;
                self.try_one(last, line, 0)
            };
            if let Some(groups) = found {
                let whole = groups.span(0)?;
                let same = whole.start == self.start.at && whole.end == self.end.at;
                if self.entries.len() == 1 || anchored || same {
                    return Some((last, groups));
                }
                best = Some((whole.start, last, groups));
            }
        }
        for index in 0..self.entries.len() {
            if index == tried {
                continue;
            }
            let Some(groups) = self.try_one(index, line, 0) else { continue };
            let entry = self.entries.get(index)?;
            let distance = groups.span(0)?.start;
            let next_matches = self.entries.get(index + 1).map(|next| next.matches);
            if next_matches.is_none()
                || entry.template.bounds.anchored()
                || (distance == 0 && entry.hits > 0 && next_matches == Some(0))
            {
                return Some((index, groups));
            }
            // Further right than ever: perhaps a date inside the message.
            let usual = if self.last.is_some() { self.start.at } else { 1 };
            if distance > entry.distance || distance > usual {
                if best.as_ref().is_none_or(|(other, _, _)| distance < *other) {
                    best = Some((distance, index, groups));
                }
                continue;
            }
            return Some((index, groups));
        }
        best.map(|(_, index, groups)| (index, groups))
    }

    /// The line up to where the last time ended, if the same characters stand
    /// around that place here.
    fn same_edges<'l>(&self, line: &'l str) -> Option<&'l str> {
        let same = |edge: &Edge, outer: Side| {
            let (Some(before), Some(after)) = around(line, edge.at) else { return false };
            let (here_outer, here_inner, outer_known, inner_known) = match outer {
                Side::Before => (before, after, &edge.before, &edge.after),
                Side::After => (after, before, &edge.after, &edge.before),
            };
            outer_known.as_deref() == Some(here_outer)
                || (inner_known.as_deref() == Some(here_inner)
                    && !here_inner.is_empty()
                    && !here_inner.chars().all(char::is_alphanumeric))
        };
        if same(&self.start, Side::Before) && same(&self.end, Side::After) {
            line.get(..self.end.at)
        } else {
            None
        }
    }

    /// Moves a template that hits often towards the front.
    fn reorder(&mut self, index: usize) -> usize {
        let Some(entry) = self.entries.get(index) else { return index };
        let (weight, since) = (entry.weight(), entry.last_used - UNUSED_SECS);
        let movable = |to: usize| {
            self.entries
                .get(to)
                .is_some_and(|other| weight > other.weight() || since > other.last_used)
        };
        let mut to = if self.first_unused < index { self.first_unused } else { index / 2 };
        if !movable(to) {
            if to == index - 1 {
                return index;
            }
            to = index - 1;
            if !movable(to) {
                return index;
            }
        }
        let entry = self.entries.remove(index);
        self.entries.insert(to, entry);
        while self.entries.get(self.first_unused).is_some_and(|entry| entry.hits > 0) {
            self.first_unused += 1;
        }
        to
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Only<'a> {
    All,
    LineBegin,
    Within(&'a str),
}

#[derive(Clone, Copy)]
enum Duplicate {
    Refuse,
    LeaveOut,
}

#[derive(Clone, Copy)]
enum Side {
    Before,
    After,
}

/// The characters before and after a byte of a line; empty at its ends, `None`
/// beyond it or within a character.
fn around(line: &str, at: usize) -> (Option<&str>, Option<&str>) {
    let (Some(head), Some(tail)) = (line.get(..at), line.get(at..)) else { return (None, None) };
    let before =
        head.chars().next_back().map_or("", |c| head.get(at - c.len_utf8()..).unwrap_or(""));
    let after = tail.chars().next().map_or("", |c| tail.get(..c.len_utf8()).unwrap_or(""));
    (Some(before), Some(after))
}

fn remember(edge: &mut Edge, line: &str, at: usize) {
    let (before, after) = around(line, at);
    edge.at = at;
    replace(&mut edge.before, before);
    replace(&mut edge.after, after);
}

fn replace(slot: &mut Option<String>, text: Option<&str>) {
    match (slot.as_mut(), text) {
        (Some(own), Some(text)) if own == text => {}
        (_, text) => *slot = text.map(str::to_owned),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests: a failure is a panic")]
mod tests {
    use super::*;

    fn now() -> Now {
        // 14 August 2005, 12:00 in central Europe.
        let zone = jiff::tz::TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        Now { epoch: 1_124_013_600.0, zone }
    }

    #[test]
    fn every_default_form_is_found_and_read() {
        for line in [
            "2005-01-23T21:59:59.981746+01:00 x",
            "2005-01-23 21:59:59 x",
            "2005/01/23 21:59:59",
            "2005.01.23 21:59:59",
            "Sun Jan 23 21:59:59.011 2005",
            "Sun Jan 23 2005 21:59:59.011",
            "Jan 23 21:59:59 host",
            "23/01/2005 21:59:59",
            "23-01-05 21:59:59",
            "[23/Jan/2005:21:59:59 +0100] x",
            "23-Jan-2005 21:59:59.252",
            "01/23/2005:21:59:59",
            "01-23-2005 21:59:59.252",
            "1106513999 x",
            "[1106513999.123] x",
            "msg=audit(1106513999.123:55)",
            "<01/23/05@21:59:59>",
            "050123 21:59:59",
            "Jan 23, 2005 9:59:59 PM",
            "Jan-23-05 21:59:59",
            "20050123T215959",
            "+01:00 Jan 23 21:59:59.011 2005",
            "@4000000041f4104f00000000",
        ] {
            let mut detector = Detector::defaults(&now()).unwrap();
            let found = detector.detect(line, &now()).unwrap_or_else(|| panic!("{line}"));
            assert_eq!(found.at.map(|at| at as i64), Some(1_106_513_999), "{line}");
        }
    }

    #[test]
    fn the_leftmost_time_wins_over_one_in_the_message() {
        let mut detector = Detector::defaults(&now()).unwrap();
        for _ in 0..3 {
            let line = "host 2005-01-23 21:59:59 said Jan 22 10:00:00";
            assert_eq!(detector.detect(line, &now()).unwrap().cut, 5..24);
        }
        let line = "host at Jan 22 10:00:00 2005-01-23 21:59:59";
        assert_eq!(detector.detect(line, &now()).unwrap().cut.start, 8);
    }

    #[test]
    fn a_pattern_of_the_filter_replaces_the_defaults() {
        let mut detector = Detector::new("^%Y%m%d\n  ^WARNING:()**", &now()).unwrap();
        assert_eq!(detector.detect("20050123 x", &now()).unwrap().cut, 0..8);
        assert_eq!(detector.detect("WARNING: x", &now()).unwrap().cut, 8..8);
        assert_eq!(detector.detect("Jan 23 21:59:59", &now()), None);
        assert!(Detector::new("%Q", &now()).is_err());
        assert!(Detector::new("%d\n%d", &now()).is_err());
    }

    #[test]
    fn templates_that_hit_move_to_the_front() {
        let mut detector = Detector::defaults(&now()).unwrap();
        for _ in 0..20 {
            detector.detect("x [23/Jan/2005:21:59:59 +0100] y", &now()).unwrap();
        }
        let (name, hits) = detector.hits().next().unwrap();
        assert!(name.starts_with("Day(?P<_sep>") && hits == 20, "{name} {hits}");
    }
}
