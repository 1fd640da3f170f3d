//! Patterns of `*`, `?` and `\`, matched without backtracking over more than
//! one star.

/// One step of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Char(char),
    Any,
    Star,
}

/// A compiled pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(Vec<Step>);

/// What a pattern amounts to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shape {
    /// This text and no other.
    Literal(String),
    /// Every text that begins so.
    Prefix(String),
    /// Every text.
    Everything,
    /// A pattern that is none of these, in canonical form.
    Wild(String),
}

impl Pattern {
    /// Reads a pattern; a `\` at the end stands for itself.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let mut steps = Vec::new();
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            steps.push(match c {
                '*' if steps.last() == Some(&Step::Star) => continue,
                '*' => Step::Star,
                '?' => Step::Any,
                '\\' => Step::Char(chars.next().unwrap_or('\\')),
                c => Step::Char(c),
            });
        }
        Self(steps)
    }

    /// Whether all of `text` matches.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        let steps = &self.0;
        let mut rest = text.chars();
        let mut at = 0;
        // Where to go on when the text after the last star does not fit.
        let mut retry: Option<(usize, std::str::Chars<'_>)> = None;
        loop {
            let before = rest.clone();
            match (steps.get(at), rest.next()) {
                (Some(Step::Star), _) => {
                    rest = before;
                    at += 1;
                    retry = Some((at, rest.clone()));
                    continue;
                }
                (Some(Step::Any), Some(_)) => {
                    at += 1;
                    continue;
                }
                (Some(Step::Char(want)), Some(c)) if *want == c => {
                    at += 1;
                    continue;
                }
                (None, None) => return true,
                _ => {}
            }
            let Some((star, from)) = &mut retry else { return false };
            if from.next().is_none() {
                return false;
            }
            at = *star;
            rest = from.clone();
        }
    }

    /// The text that every match begins with.
    #[must_use]
    pub fn head(&self) -> String {
        let literal = |step: &Step| match step {
            Step::Char(c) => Some(*c),
            Step::Any | Step::Star => None,
        };
        self.0.iter().map_while(literal).collect()
    }

    /// The simplest condition that says the same.
    #[must_use]
    pub fn shape(&self) -> Shape {
        let head = self.head();
        let literals = head.chars().count();
        match self.0.get(literals..).unwrap_or_default() {
            [] => Shape::Literal(head),
            [Step::Star] if head.is_empty() => Shape::Everything,
            [Step::Star] => Shape::Prefix(head),
            _ => Shape::Wild(self.text()),
        }
    }

    /// Its canonical text.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        for step in &self.0 {
            match step {
                Step::Star => text.push('*'),
                Step::Any => text.push('?'),
                Step::Char(c) => {
                    if matches!(c, '*' | '?' | '\\') {
                        text.push('\\');
                    }
                    text.push(*c);
                }
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn naive(steps: &[Step], text: &[char]) -> bool {
        match (steps.split_first(), text.split_first()) {
            (None, None) => true,
            (Some((Step::Star, rest)), _) => {
                naive(rest, text) || (!text.is_empty() && naive(steps, &text[1..]))
            }
            (Some((Step::Any, rest)), Some((_, text))) => naive(rest, text),
            (Some((Step::Char(c), rest)), Some((d, text))) => c == d && naive(rest, text),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn matching_equals_the_definition(pattern in "[ab*?\\\\]{0,8}", text in "[abé*]{0,8}") {
            let pattern = Pattern::new(&pattern);
            let chars: Vec<char> = text.chars().collect();
            prop_assert_eq!(pattern.matches(&text), naive(&pattern.0, &chars));
            if let Shape::Wild(text) = pattern.shape() {
                prop_assert_eq!(Pattern::new(&text), pattern);
            }
        }
    }

    #[test]
    fn many_stars_take_no_exponential_time() {
        let pattern = Pattern::new(&"a*".repeat(200));
        assert!(!pattern.matches(&format!("{}b", "a".repeat(150))));
    }
}
