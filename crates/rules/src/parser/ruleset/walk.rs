//! Expressions as steps that are walked through a message, with a memory of where
//! to turn back: what the expressions of parsers need, and for those that know
//! their texts and classes many times as fast as a search for all groups at once.
//!
//! Says exactly what the regular expression says, or nothing: for expressions of
//! other forms there is no walk, and one that turns back too often is given up,
//! so that no message costs more than its length allows. Then the regular
//! expression decides, in linear time.

mod steps;

use regex_syntax::hir::Hir;

use self::steps::Steps;

/// What a walk may cost, beside what the length of the message allows.
const BASE_COST: usize = 8192;
/// What a walk may cost for each byte of the message.
const COST_A_BYTE: usize = 8;
/// What a step costs; to pass over four bytes costs one.
const STEP_COST: usize = 4;
/// Stands for a group that has no place.
const NOWHERE: usize = usize::MAX;

/// Bytes of a class.
type Set = Box<[bool; 256]>;

/// An expression, as steps.
#[derive(Debug)]
pub(super) struct Walk {
    steps: Vec<Step>,
    /// Two for each group: where it begins and ends.
    slots: usize,
    /// Matches at the beginning alone.
    is_anchored: bool,
}

#[derive(Debug)]
enum Step {
    /// This text.
    Literal(Box<[u8]>),
    /// One byte of a class.
    One(Set),
    /// Bytes of a class.
    Run(Run),
    /// Here a group begins or ends.
    Save(usize),
    /// What follows, and where that leads nowhere, elsewhere; straight to there
    /// where the next byte begins nothing of what follows.
    Split {
        first: usize,
        second: usize,
        begins: Option<Set>,
    },
    Jump(usize),
    Start,
    End,
    Match,
}

/// `[class]{min,max}`.
#[derive(Debug)]
struct Run {
    /// All bytes, if `None`.
    set: Option<Set>,
    min: usize,
    max: usize,
    greedy: bool,
    /// What can follow.
    next: Next,
}

/// Where a run can end, by what follows it.
#[derive(Debug)]
enum Next {
    /// Anywhere.
    Any,
    /// Where it can go on no longer: nothing of it begins what follows.
    Farthest,
    /// Before this text.
    Literal(Box<[u8]>),
    /// Before one of these bytes, or at the end of the message.
    Set(Set),
}

/// Where to turn back to.
#[derive(Clone, Copy, Debug)]
enum Back {
    /// Another way.
    Way { step: usize, at: usize },
    /// What a group was before.
    Slot { slot: usize, was: usize },
    /// A run may end elsewhere between these places.
    Run { step: usize, low: usize, high: usize },
}

/// Buffers of walks, used again.
#[derive(Debug, Default)]
pub(super) struct Places {
    slots: Vec<usize>,
    back: Vec<Back>,
}

impl Places {
    /// Where a group is, after a walk or [`Self::set`].
    pub(super) fn get(&self, group: usize) -> Option<(usize, usize)> {
        let (start, end) = (*self.slots.get(group * 2)?, *self.slots.get(group * 2 + 1)?);
        (start != NOWHERE && end != NOWHERE).then_some((start, end))
    }

    /// Takes over what another search found.
    pub(super) fn set(&mut self, groups: impl Iterator<Item = Option<(usize, usize)>>) {
        self.slots.clear();
        for group in groups {
            let (start, end) = group.unwrap_or((NOWHERE, NOWHERE));
            self.slots.extend([start, end]);
        }
    }
}

impl Walk {
    /// The steps of an expression; `None` for one of another form.
    pub(super) fn new(hir: &Hir) -> Option<Self> {
        let mut steps = Steps::default();
        steps.add(hir)?;
        steps.push(Step::Match)?;
        let mut walk = Self {
            is_anchored: matches!(steps.steps.first(), Some(Step::Start)),
            slots: steps.slots,
            steps: steps.steps,
        };
        walk.look_ahead();
        Some(walk)
    }

    /// Whether a message matches; `None` where that would take too long.
    pub(super) fn matches(&self, text: &[u8], places: &mut Places) -> Option<bool> {
        let mut cost = 0;
        let starts = if self.is_anchored { 0 } else { text.len() };
        for start in 0..=starts {
            if self.matches_at(text, start, places, &mut cost)? {
                return Some(true);
            }
        }
        Some(false)
    }

    fn matches_at(
        &self,
        text: &[u8],
        start: usize,
        places: &mut Places,
        cost: &mut usize,
    ) -> Option<bool> {
        let most = BASE_COST + text.len() * COST_A_BYTE;
        let Places { slots, back } = places;
        slots.clear();
        slots.resize(self.slots, NOWHERE);
        back.clear();
        let (mut step, mut at) = (0, start);
        loop {
            *cost += STEP_COST;
            if *cost > most {
                return None;
            }
            let rest = text.get(at..).unwrap_or_default();
            let goes_on = match self.steps.get(step)? {
                Step::Literal(literal) => {
                    at += literal.len();
                    rest.starts_with(literal)
                }
                Step::One(set) => {
                    at += 1;
                    rest.first().is_some_and(|byte| has(set, *byte))
                }
                Step::Run(run) => match run.span(rest, cost) {
                    None => false,
                    Some(length) => {
                        let (low, high) = (at + run.min, at + length);
                        match run.end(text, low, high, cost) {
                            None => false,
                            Some(end) => {
                                if let Some((low, high)) = run.others(low, high, end) {
                                    back.push(Back::Run { step, low, high });
                                }
                                at = end;
                                true
                            }
                        }
                    }
                },
                Step::Save(slot) => {
                    if let Some(place) = slots.get_mut(*slot) {
                        // Nobody turns back where there is no other way.
                        if !back.is_empty() {
                            back.push(Back::Slot { slot: *slot, was: *place });
                        }
                        *place = at;
                    }
                    true
                }
                Step::Split { first, second, begins } => {
                    let never = begins
                        .as_ref()
                        .is_some_and(|set| !rest.first().is_some_and(|byte| has(set, *byte)));
                    if never {
                        step = *second;
                    } else {
                        back.push(Back::Way { step: *second, at });
                        step = *first;
                    }
                    continue;
                }
                Step::Jump(to) => {
                    step = *to;
                    continue;
                }
                Step::Start => at == 0,
                Step::End => rest.is_empty(),
                Step::Match => return Some(true),
            };
            if goes_on {
                step += 1;
                continue;
            }
            match self.turn_back(text, slots, back, cost) {
                Some(there) => (step, at) = there,
                None => return Some(false),
            }
        }
    }

    /// Where to go on instead; `None` where there is no other way.
    fn turn_back(
        &self,
        text: &[u8],
        slots: &mut [usize],
        back: &mut Vec<Back>,
        cost: &mut usize,
    ) -> Option<(usize, usize)> {
        loop {
            match back.pop()? {
                Back::Way { step, at } => return Some((step, at)),
                Back::Slot { slot, was } => {
                    if let Some(place) = slots.get_mut(slot) {
                        *place = was;
                    }
                }
                Back::Run { step, low, high } => {
                    let Some(Step::Run(run)) = self.steps.get(step) else { continue };
                    let Some(end) = run.end(text, low, high, cost) else { continue };
                    if let Some((low, high)) = run.others(low, high, end) {
                        back.push(Back::Run { step, low, high });
                    }
                    return Some((step + 1, end));
                }
            }
        }
    }
}

impl Run {
    /// How far it can go; `None` where that is not far enough.
    #[inline]
    fn span(&self, rest: &[u8], cost: &mut usize) -> Option<usize> {
        let most = rest.len().min(self.max);
        let length = match &self.set {
            None => most,
            Some(set) => {
                let length = rest.iter().take(most).take_while(|byte| has(set, **byte)).count();
                *cost += length / 4;
                length
            }
        };
        (length >= self.min).then_some(length)
    }

    /// The place between two where it ends first, as the expression prefers it.
    #[inline]
    fn end(&self, text: &[u8], low: usize, high: usize, cost: &mut usize) -> Option<usize> {
        let end = match (&self.next, self.greedy) {
            (Next::Farthest, _) => return Some(high),
            (Next::Any, true) => return Some(high),
            (Next::Any, false) => return Some(low),
            (Next::Literal(literal), true) => last(text, low, high, literal),
            (Next::Literal(literal), false) => first(text, low, high, literal),
            (Next::Set(set), greedy) => {
                let can = |at: &usize| text.get(*at).is_none_or(|byte| has(set, *byte));
                match greedy {
                    true => (low..=high).rev().find(can),
                    false => (low..=high).find(can),
                }
            }
        };
        *cost += match (end, self.greedy) {
            (None, _) => high - low,
            (Some(end), true) => high - end,
            (Some(end), false) => end - low,
        } / 4;
        end
    }

    /// Between which places it may end otherwise.
    #[inline]
    fn others(&self, low: usize, high: usize, end: usize) -> Option<(usize, usize)> {
        match (&self.next, self.greedy) {
            (Next::Farthest, _) => None,
            (_, true) => (end > low).then(|| (low, end - 1)),
            (_, false) => (end < high).then(|| (end + 1, high)),
        }
    }
}

/// The last place between two at which a text stands.
fn last(text: &[u8], low: usize, mut high: usize, literal: &[u8]) -> Option<usize> {
    let byte = *literal.first()?;
    loop {
        let part = text.get(low..text.len().min(high + 1))?;
        let at = low + memchr::memrchr(byte, part)?;
        if text.get(at..)?.starts_with(literal) {
            return Some(at);
        }
        high = at.checked_sub(1).filter(|high| *high >= low)?;
    }
}

/// The first place between two at which a text stands.
fn first(text: &[u8], mut low: usize, high: usize, literal: &[u8]) -> Option<usize> {
    let byte = *literal.first()?;
    loop {
        let part = text.get(low..text.len().min(high + 1))?;
        let at = low + memchr::memchr(byte, part)?;
        if text.get(at..)?.starts_with(literal) {
            return Some(at);
        }
        low = at + 1;
    }
}

#[inline]
fn has(set: &[bool; 256], byte: u8) -> bool {
    set.get(usize::from(byte)).copied().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use regex::bytes::{Regex, RegexBuilder};

    use super::*;

    type Groups = Option<Vec<Option<(usize, usize)>>>;

    fn both(expression: &str) -> (Option<Walk>, Regex) {
        let hir = regex_syntax::ParserBuilder::new()
            .unicode(false)
            .utf8(false)
            .dot_matches_new_line(true)
            .build()
            .parse(expression)
            .unwrap();
        let mut builder = RegexBuilder::new(expression);
        let regex = builder.unicode(false).dot_matches_new_line(true).build().unwrap();
        (Walk::new(&hir), regex)
    }

    /// Groups without that of the whole match, by both ways; the first gives
    /// nothing where the walk gives up.
    fn groups(walk: &Walk, regex: &Regex, text: &[u8]) -> (Option<Groups>, Groups) {
        let mut places = Places::default();
        let count = regex.captures_len();
        let walked = walk
            .matches(text, &mut places)
            .map(|is_match| is_match.then(|| (1..count).map(|group| places.get(group)).collect()));
        let searched = regex.captures(text).map(|found| {
            let place = |group| found.get(group).map(|part| (part.start(), part.end()));
            (1..count).map(place).collect()
        });
        (walked, searched)
    }

    /// Forms as parsers have them, over few letters.
    const FORMS: &[&str] = &[
        r"^a(.*)b$",
        r"^a(.*?)b(.*)$",
        r"^(a+)(?:, b(.*))?$",
        r"^(?:(a)|b)*c(.*)$",
        r"^(a|ab)(c|bcd)?(d*)$",
        r"^(?:ab)+?(.*?)(?:b|cd)$",
        r"(a[^b]*)b(.{2,3})c",
        r"^(?:\[a\] )?(?:(b) )?(.*?)(?: c(?:, (a.*))?)?$",
        r"b(.*?)b|c(.*)a",
        r"^.*(?:a(b*)c)",
        r"^([ab]{1,2})([a-c]{0,2}?)(c*)$",
        r"^(?:a(?:b|(c))?){2}(.*)$",
        r"^(.*) (.*?) (a*)(.*)b$",
        r"^(?:(a)?b?)?(.*)c$",
        r"^(a*?)(a*)(?:b(c+)|a)$",
        r"^a??(b|,)*?(c?)$",
        r"(?:^|b)(a+)(?:c|$)",
        r"^(?i:AB)(.*)[^c]$",
        r"",
    ];

    #[test]
    fn what_it_cannot_say_it_leaves_to_the_expression() {
        for form in FORMS {
            assert!(both(form).0.is_some(), "{form}");
        }
        for form in [r"\ba", r"(?m)^a", r"(?:a?)*", r"(?:ab){9}"] {
            assert!(both(form).0.is_none(), "{form}");
        }
    }

    #[test]
    fn a_message_that_is_made_to_be_slow_is_given_up() {
        let (walk, regex) = both(r"^(.*)a(.*)a(.*)a(.*)a(.*)b$");
        let text = b"a".repeat(20_000);
        let (walked, searched) = groups(&walk.unwrap(), &regex, &text);
        assert_eq!((walked, searched), (None, None));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 4096, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn it_says_what_the_regular_expression_says(
            form in 0..FORMS.len(), text in r"[abcd, \[\]]{0,14}",
        ) {
            let (walk, regex) = both(FORMS[form]);
            let (walked, searched) = groups(&walk.unwrap(), &regex, text.as_bytes());
            prop_assert_eq!(walked, Some(searched), "{} on '{}'", FORMS[form], text);
        }

        #[test]
        fn so_do_expressions_of_any_form(
            form in r"\^?(a|b|[ab]|\.|\(a\|bc?\)|\((a|\.|b\*|c\+|[ac]\*\?)\)|\(\?:b(c|\(a\))?\)|,){1,6}(\*|\+|\?|\*\?|\+\?|\?\?)?(b|,|\(\.\*\)|c\{1,2\})?\$?",
            text in r"[abc,]{0,10}",
        ) {
            let (walk, regex) = both(&form);
            if let Some(walk) = walk {
                let (walked, searched) = groups(&walk, &regex, text.as_bytes());
                prop_assert_eq!(walked, Some(searched), "{} on '{}'", form, text);
            }
        }
    }
}
