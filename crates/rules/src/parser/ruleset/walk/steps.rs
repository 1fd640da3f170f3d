//! From an expression to steps, and what of them is worked out in advance.

use regex_syntax::hir::{Class, Hir, HirKind, Look, Repetition};

use super::{Next, Run, Set, Step, Walk};

/// Most steps of one expression.
const MAX_STEPS: usize = 1024;
/// Most copies of what is to be there several times.
const MAX_COPIES: u32 = 8;

/// Steps as they are made.
#[derive(Default)]
pub(super) struct Steps {
    pub(super) steps: Vec<Step>,
    pub(super) slots: usize,
}

impl Steps {
    pub(super) fn push(&mut self, step: Step) -> Option<()> {
        (self.steps.len() < MAX_STEPS).then(|| self.steps.push(step))
    }

    pub(super) fn add(&mut self, hir: &Hir) -> Option<()> {
        match hir.kind() {
            HirKind::Empty => Some(()),
            HirKind::Literal(literal) => self.push(Step::Literal(literal.0.clone())),
            HirKind::Class(_) => match class(hir)? {
                Some(set) => self.push(Step::One(set)),
                None => self.push(Step::One(Box::new([true; 256]))),
            },
            HirKind::Look(Look::Start) => self.push(Step::Start),
            HirKind::Look(Look::End) => self.push(Step::End),
            HirKind::Look(_) => None,
            HirKind::Capture(capture) => {
                let slot = usize::try_from(capture.index).ok()? * 2;
                self.slots = self.slots.max(slot + 2);
                self.push(Step::Save(slot))?;
                self.add(&capture.sub)?;
                self.push(Step::Save(slot + 1))
            }
            HirKind::Concat(parts) => parts.iter().try_for_each(|part| self.add(part)),
            HirKind::Alternation(branches) => self.one_of(branches),
            HirKind::Repetition(repetition) => self.repeated(repetition),
        }
    }

    fn one_of(&mut self, branches: &[Hir]) -> Option<()> {
        let (last, others) = branches.split_last()?;
        let mut ends = Vec::new();
        for branch in others {
            let split = self.split()?;
            self.add(branch)?;
            ends.push(self.steps.len());
            self.push(Step::Jump(0))?;
            self.ways(split, split + 1, self.steps.len());
        }
        self.add(last)?;
        let here = self.steps.len();
        for end in ends {
            *self.steps.get_mut(end)? = Step::Jump(here);
        }
        Some(())
    }

    fn repeated(&mut self, repetition: &Repetition) -> Option<()> {
        let Repetition { min, max, greedy, sub } = repetition;
        if let Some(set) = class(sub) {
            let max = match max {
                Some(max) => usize::try_from(*max).ok()?,
                None => usize::MAX,
            };
            let (min, greedy) = (usize::try_from(*min).ok()?, *greedy);
            return self.push(Step::Run(Run { set, min, max, greedy, next: Next::Any }));
        }
        if *min > MAX_COPIES || max.is_some_and(|max| max > MAX_COPIES) {
            return None;
        }
        for _ in 0..*min {
            self.add(sub)?;
        }
        match max {
            None => {
                // What is empty could go round for ever.
                sub.properties().minimum_len().filter(|least| *least > 0)?;
                let split = self.split()?;
                self.add(sub)?;
                self.push(Step::Jump(split))?;
                self.options(&[split], *greedy);
            }
            Some(max) => {
                let mut splits = Vec::new();
                for _ in *min..*max {
                    splits.push(self.split()?);
                    self.add(sub)?;
                }
                self.options(&splits, *greedy);
            }
        }
        Some(())
    }

    fn split(&mut self) -> Option<usize> {
        self.push(Step::Split { first: 0, second: 0, begins: None })?;
        Some(self.steps.len() - 1)
    }

    /// What follows these splits may be there or not.
    fn options(&mut self, splits: &[usize], greedy: bool) {
        let here = self.steps.len();
        for split in splits {
            match greedy {
                true => self.ways(*split, split + 1, here),
                false => self.ways(*split, here, split + 1),
            }
        }
    }

    fn ways(&mut self, split: usize, one: usize, other: usize) {
        if let Some(Step::Split { first, second, .. }) = self.steps.get_mut(split) {
            (*first, *second) = (one, other);
        }
    }
}

/// The bytes of a class or of a text of one byte, `Some(None)` for all; `None`
/// for what is neither.
fn class(hir: &Hir) -> Option<Option<Set>> {
    let mut set: Set = Box::new([false; 256]);
    match hir.kind() {
        HirKind::Literal(literal) => match &*literal.0 {
            [byte] => *set.get_mut(usize::from(*byte))? = true,
            _ => return None,
        },
        HirKind::Class(class) => {
            let bytes = match class {
                Class::Bytes(bytes) => bytes.clone(),
                Class::Unicode(chars) => chars.to_byte_class()?,
            };
            for range in bytes.ranges() {
                for byte in range.start()..=range.end() {
                    *set.get_mut(usize::from(byte))? = true;
                }
            }
        }
        _ => return None,
    }
    Some((!set.iter().all(|is_in| *is_in)).then_some(set))
}

impl Walk {
    /// Notes at runs and splits what can follow.
    pub(super) fn look_ahead(&mut self) {
        for index in 0..self.steps.len() {
            match self.steps.get(index) {
                Some(Step::Run(run)) => {
                    let next = self.next(run, index + 1);
                    if let Some(Step::Run(run)) = self.steps.get_mut(index) {
                        run.next = next;
                    }
                }
                Some(Step::Split { first, .. }) => {
                    let mut set = Box::new([false; 256]);
                    let sure = self.begins(*first, &mut set, &mut 0) == Some(false);
                    if let Some(Step::Split { begins, .. }) = self.steps.get_mut(index) {
                        *begins = sure.then_some(set);
                    }
                }
                _ => {}
            }
        }
    }

    fn next(&self, run: &Run, mut after: usize) -> Next {
        let mut set = Box::new([false; 256]);
        if self.begins(after, &mut set, &mut 0).is_none() {
            return Next::Any;
        }
        let in_run = |byte: usize| run.set.as_ref().is_none_or(|set| set.get(byte) == Some(&true));
        if !set.iter().enumerate().any(|(byte, begins)| *begins && in_run(byte)) {
            return Next::Farthest;
        }
        while let Some(Step::Save(_)) = self.steps.get(after) {
            after += 1;
        }
        match self.steps.get(after) {
            Some(Step::Literal(literal)) => Next::Literal(literal.clone()),
            _ => Next::Set(set),
        }
    }

    /// Adds the bytes that a step and those after it can begin with; whether the
    /// message can end there instead. `None` where anything can follow.
    fn begins(&self, step: usize, set: &mut Set, seen: &mut usize) -> Option<bool> {
        *seen += 1;
        if *seen > MAX_STEPS {
            return None;
        }
        match self.steps.get(step)? {
            Step::Literal(literal) => {
                *set.get_mut(usize::from(*literal.first()?))? = true;
                Some(false)
            }
            Step::One(one) => {
                add(set, Some(one));
                Some(false)
            }
            Step::Run(run) => {
                add(set, run.set.as_ref());
                if run.min > 0 { Some(false) } else { self.begins(step + 1, set, seen) }
            }
            Step::Save(_) => self.begins(step + 1, set, seen),
            Step::Split { first, second, .. } => {
                let one = self.begins(*first, set, seen)?;
                Some(self.begins(*second, set, seen)? || one)
            }
            Step::Jump(to) => self.begins(*to, set, seen),
            Step::End => Some(true),
            Step::Start | Step::Match => None,
        }
    }
}

fn add(set: &mut Set, other: Option<&Set>) {
    for (byte, place) in set.iter_mut().enumerate() {
        *place |= other.is_none_or(|other| other.get(byte) == Some(&true));
    }
}
