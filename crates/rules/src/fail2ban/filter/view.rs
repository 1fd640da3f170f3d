//! What expressions are searched in: one line, or the last ones together; and
//! which of these lines a match used up.

use std::ops::Range;
use std::sync::Arc;

use super::super::failure::SplitLine;
use super::super::pattern::Groups;

/// A line whose time is known, borrowed.
#[derive(Clone, Copy)]
pub(super) struct Split<'l> {
    pub(super) before: &'l str,
    pub(super) time: &'l str,
    pub(super) after: &'l str,
}

impl<'l> Split<'l> {
    pub(super) fn cut(line: &'l str, cut: Range<usize>) -> Self {
        Self {
            before: line.get(..cut.start).unwrap_or_default(),
            time: line.get(cut.clone()).unwrap_or_default(),
            after: line.get(cut.end..).unwrap_or(line),
        }
    }

    pub(super) fn owned(&self) -> SplitLine {
        SplitLine {
            before: self.before.to_owned(),
            time: self.time.to_owned(),
            after: self.after.to_owned(),
        }
    }
}

/// What is searched, and the lines it was made of.
pub(super) struct View<'l> {
    pub(super) original: Vec<Arc<SplitLine>>,
    pub(super) split: Option<Split<'l>>,
    pub(super) text: String,
}

impl View<'_> {
    /// The lines that a match covers, without skipped ones; and the others.
    pub(super) fn lines(
        &mut self,
        found: &Groups,
        skips: &[usize],
    ) -> (Vec<Arc<SplitLine>>, Vec<Arc<SplitLine>>) {
        if let Some(split) = self.split.take() {
            self.original = vec![Arc::new(split.owned())];
        }
        if self.original.len() <= 1 {
            return (self.original.clone(), Vec::new());
        }
        let whole = found.span(0).unwrap_or(0..0);
        let head = self.text.get(..self.text.len().min(whole.start + 1)).unwrap_or_default();
        let start = head.rfind('\n').map_or(0, |at| at + 1);
        let from = whole.end.saturating_sub(1);
        let tail = self.text.get(from..).unwrap_or_default();
        let end = tail.find('\n').map_or(self.text.len(), |at| from + at + 1);
        let count = |to: usize| self.text.bytes().take(to).filter(|b| *b == b'\n').count();
        let (first, last) = (count(start), count(end).min(self.original.len()));
        let first = first.min(last);
        let mut matched: Vec<_> = self.original.get(first..last).unwrap_or_default().to_vec();
        let mut rest: Vec<_> = self.original.get(..first).unwrap_or_default().to_vec();
        let mut from = 0;
        for skip in skips {
            let Some(text) = found.text(*skip, &self.text) else { continue };
            for line in text.lines() {
                let place = matched.iter().skip(from).position(|own| own.timeless() == line);
                if let Some(place) = place {
                    rest.push(matched.remove(from + place));
                    from += place;
                }
            }
        }
        rest.extend_from_slice(self.original.get(last..).unwrap_or_default());
        (matched, rest)
    }
}

/// All lines as one text, without their times.
pub(super) fn joined(lines: &[Arc<SplitLine>], out: &mut String) {
    for (number, line) in lines.iter().enumerate() {
        if number > 0 {
            out.push('\n');
        }
        out.push_str(&line.before);
        out.push_str(&line.after);
    }
    out.push('\n');
}
