//! Python's `re` syntax in the words of the crates `regex` and `fancy-regex`.
//!
//! An expression is read once and written twice: exactly, and relaxed, where
//! look-around is left out, a back-reference is any text and a condition is an
//! alternative. Whatever the exact form finds, the relaxed form finds too. Where
//! nothing had to be relaxed, both are the same and the linear-time engine runs
//! it; else the relaxed form tells cheaply which lines are worth the exact one.
//!
//! Groups lose their names here and keep their numbers; names are in
//! [`Translation::names`].

mod character;
mod flags;

use character::{literal, single_class};
use flags::{Flags, leading_flags};

/// Nesting of groups; Python's own limit is about 100.
const MAX_DEPTH: u32 = 100;

/// What `^` and `$` mean for the text that is searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Anchors {
    /// One line that ends in its only line break: `$` matches before it.
    Line,
    /// Several lines, `re.MULTILINE`: both match at every line.
    Lines,
    /// Several lines without `re.MULTILINE`: `$` matches at the last break.
    Buffer,
    /// A line without its break.
    Bare,
}

/// An expression in both forms.
#[derive(Clone, Debug)]
pub(crate) struct Translation {
    /// For `fancy-regex`.
    pub(crate) exact: String,
    /// For `regex`.
    pub(crate) relaxed: String,
    /// Like `relaxed`, but it may match anywhere: without `^`, `$` and `\b`.
    pub(crate) loose: String,
    /// Whether `relaxed` says the same as `exact`, apart from `equal`.
    pub(crate) linear: bool,
    /// Group numbers of the relaxed form that must hold the same text: what is
    /// left of back-references to a group that holds one character.
    pub(crate) equal: Vec<(usize, usize)>,
    /// Names of groups with their numbers in the exact form.
    pub(crate) names: Vec<(String, usize)>,
    /// For each group of the exact form its number in the relaxed one.
    pub(crate) relaxed_groups: Vec<usize>,
}

/// Reads a Python expression.
///
/// # Errors
/// What Python, or this crate, does not accept in it.
pub(crate) fn translate(source: &str, anchors: Anchors) -> Result<Translation, String> {
    let (source, flags) = leading_flags(source)?;
    let mut reader = Reader {
        chars: source.chars().collect(),
        at: 0,
        anchors,
        flags,
        names: Vec::new(),
        groups: 0,
        relaxed_groups: vec![0],
        relaxed_count: 0,
        bodies: Vec::new(),
        equal: Vec::new(),
        linear: true,
    };
    let mut out = reader.alternatives(0)?;
    if reader.at < reader.chars.len() {
        return Err(format!("unbalanced parenthesis at position {}", reader.at));
    }
    let prefix = flags.prefix();
    out.exact.insert_str(0, &prefix);
    out.relaxed.insert_str(0, &prefix);
    out.loose.insert_str(0, &prefix);
    Ok(Translation {
        exact: out.exact,
        relaxed: out.relaxed,
        loose: out.loose,
        linear: reader.linear,
        equal: reader.equal,
        names: reader.names,
        relaxed_groups: reader.relaxed_groups,
    })
}

/// The forms of a piece.
#[derive(Clone, Debug, Default)]
struct Out {
    exact: String,
    relaxed: String,
    loose: String,
}

impl Out {
    fn same(text: impl Into<String>) -> Self {
        let exact = text.into();
        Self { relaxed: exact.clone(), loose: exact.clone(), exact }
    }

    /// A piece that says something about its place only.
    fn place(exact: impl Into<String>, relaxed: impl Into<String>) -> Self {
        Self { exact: exact.into(), relaxed: relaxed.into(), loose: "(?:)".into() }
    }

    fn relaxed(exact: impl Into<String>, relaxed: impl Into<String>) -> Self {
        let relaxed = relaxed.into();
        Self { exact: exact.into(), loose: relaxed.clone(), relaxed }
    }

    fn push(&mut self, other: &Self) {
        self.exact.push_str(&other.exact);
        self.relaxed.push_str(&other.relaxed);
        self.loose.push_str(&other.loose);
    }

    fn wrap(&mut self, exact: &str, relaxed: &str, close: &str) {
        self.exact = format!("{exact}{}{close}", self.exact);
        self.relaxed = format!("{relaxed}{}{close}", self.relaxed);
        self.loose = format!("{relaxed}{}{close}", self.loose);
    }
}

/// What an atom is, as far as a quantifier behind it cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Atom,
    /// `^`, `$`, `\A`, `\Z`: Python repeats none of them.
    Anchor,
}

struct Reader {
    chars: Vec<char>,
    at: usize,
    anchors: Anchors,
    flags: Flags,
    names: Vec<(String, usize)>,
    groups: usize,
    relaxed_groups: Vec<usize>,
    relaxed_count: usize,
    /// For groups that hold exactly one character: that class.
    bodies: Vec<(usize, String)>,
    equal: Vec<(usize, usize)>,
    linear: bool,
}

impl Reader {
    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn looking_at(&self, text: &str) -> bool {
        text.chars().enumerate().all(|(i, c)| self.chars.get(self.at + i) == Some(&c))
    }

    fn eat(&mut self, text: &str) -> bool {
        let found = self.looking_at(text);
        if found {
            self.at += text.chars().count();
        }
        found
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += 1;
        Some(c)
    }

    fn until(&mut self, end: char) -> Result<String, String> {
        let rest = self.chars.get(self.at..).unwrap_or_default();
        let length = rest
            .iter()
            .position(|c| *c == end)
            .ok_or_else(|| format!("missing {end} at position {}", self.at))?;
        let text = rest.iter().take(length).collect();
        self.at += length + 1;
        Ok(text)
    }

    fn alternatives(&mut self, depth: u32) -> Result<Out, String> {
        if depth > MAX_DEPTH {
            return Err("too many nested groups".into());
        }
        let mut out = self.sequence(depth)?;
        while self.eat("|") {
            let next = self.sequence(depth)?;
            out.push(&Out::same("|"));
            out.push(&next);
        }
        Ok(out)
    }

    fn sequence(&mut self, depth: u32) -> Result<Out, String> {
        let mut out = Out::default();
        while let Some(c) = self.peek() {
            if c == '|' || c == ')' {
                break;
            }
            if self.flags.verbose {
                if c.is_whitespace() {
                    self.at += 1;
                    continue;
                }
                if c == '#' {
                    while self.next().is_some_and(|c| c != '\n') {}
                    continue;
                }
            }
            // Boundaries of a time: ways to say "not within a word" that the
            // linear engine knows.
            if self.anchors == Anchors::Bare
                && ["(?=^|\\b|\\W)", "(?=\\b|\\W|$)"].iter().any(|text| self.eat(text))
            {
                let exact = "(?:(?<!\\w)|(?!\\w))";
                out.push(&Out::place(exact, "(?:\\b{start-half}|\\b{end-half})"));
                continue;
            }
            let (atom, kind) = self.atom(depth)?;
            let atom = self.quantified(atom, kind)?;
            out.push(&atom);
        }
        Ok(out)
    }

    fn atom(&mut self, depth: u32) -> Result<(Out, Kind), String> {
        let Some(c) = self.next() else { return Err("unexpected end".into()) };
        let out = match c {
            '.' => Out::same("."),
            '^' => {
                let lines = self.anchors == Anchors::Lines || self.flags.multi_line;
                let text = if lines { "(?m:^)" } else { "\\A" };
                return Ok((Out::place(text, text), Kind::Anchor));
            }
            '$' => return Ok((self.dollar(), Kind::Anchor)),
            '(' => self.group(depth)?,
            '[' => Out::same(self.class()?),
            '\\' => return self.escape(),
            '*' | '+' | '?' => {
                return Err(format!("nothing to repeat at position {}", self.at - 1));
            }
            c => Out::same(literal(c)),
        };
        Ok((out, Kind::Atom))
    }

    fn dollar(&mut self) -> Out {
        if self.flags.multi_line {
            return Out::place("(?m:$)", "(?m:$)");
        }
        match self.anchors {
            Anchors::Line | Anchors::Lines => Out::place("(?m:$)", "(?m:$)"),
            Anchors::Bare => Out::place("\\z", "\\z"),
            Anchors::Buffer => {
                self.linear = false;
                Out::place("(?=\\n?\\z)", "(?m:$)")
            }
        }
    }

    /// Reads the quantifier behind an atom, if there is one.
    fn quantified(&mut self, mut atom: Out, kind: Kind) -> Result<Out, String> {
        let mut repeated = false;
        loop {
            let start = self.at;
            let quantifier = match self.peek() {
                Some(c @ ('*' | '+' | '?')) => {
                    self.at += 1;
                    c.to_string()
                }
                Some('{') => match self.braces()? {
                    Some(text) => text,
                    None => {
                        self.at = start;
                        return Ok(atom);
                    }
                },
                _ => return Ok(atom),
            };
            if repeated || kind == Kind::Anchor {
                return Err(format!("nothing to repeat at position {start}"));
            }
            repeated = true;
            let lazy = self.eat("?");
            let possessive = !lazy && self.eat("+");
            if possessive {
                self.linear = false;
                atom.exact.push_str(&quantifier);
                atom.exact.push('+');
                atom.relaxed.push_str(&quantifier);
                atom.loose.push_str(&quantifier);
            } else {
                atom.push(&Out::same(quantifier));
                if lazy {
                    atom.push(&Out::same("?"));
                }
            }
        }
    }

    /// `{m}`, `{m,}`, `{,n}`, `{m,n}`; `None` where it is a literal brace.
    fn braces(&mut self) -> Result<Option<String>, String> {
        self.at += 1;
        if self.peek() == Some('}') {
            return Ok(None);
        }
        let low = self.digits();
        let (high, comma) =
            if self.eat(",") { (self.digits(), true) } else { (low.clone(), false) };
        if !self.eat("}") {
            return Ok(None);
        }
        let low_value: u32 = if low.is_empty() { 0 } else { parse(&low)? };
        Ok(Some(match (comma, high.is_empty()) {
            (false, _) => format!("{{{low_value}}}"),
            (true, true) => format!("{{{low_value},}}"),
            (true, false) => {
                let high: u32 = parse(&high)?;
                if high < low_value {
                    return Err("min repeat greater than max repeat".into());
                }
                format!("{{{low_value},{high}}}")
            }
        }))
    }

    fn digits(&mut self) -> String {
        let mut out = String::new();
        while let Some(c) = self.peek().filter(char::is_ascii_digit) {
            out.push(c);
            self.at += 1;
        }
        out
    }

    fn group(&mut self, depth: u32) -> Result<Out, String> {
        if !self.eat("?") {
            return self.capture(None, depth);
        }
        if self.eat("P<") {
            let name = self.until('>')?;
            let valid = name.chars().all(|c| c.is_alphanumeric() || c == '_')
                && !name.starts_with(|c: char| c.is_numeric())
                && !name.is_empty();
            if !valid {
                return Err(format!("bad character in group name '{name}'"));
            }
            if self.names.iter().any(|(own, _)| *own == name) {
                return Err(format!("redefinition of group name '{name}'"));
            }
            return self.capture(Some(name), depth);
        }
        if self.eat("P=") {
            let name = self.until(')')?;
            let number = self.number(&name)?;
            return Ok(self.back_reference(number));
        }
        if self.eat("#") {
            self.until(')')?;
            return Ok(Out::same("(?:)"));
        }
        for (open, look) in [("=", "(?="), ("!", "(?!"), ("<=", "(?<="), ("<!", "(?<!")] {
            if self.eat(open) {
                self.linear = false;
                let groups = self.relaxed_count;
                let mut out = self.closed(depth)?;
                // Groups in there are not in the relaxed form.
                self.relaxed_count = groups;
                out.exact = format!("{look}{})", out.exact);
                out.relaxed = "(?:)".into();
                out.loose = "(?:)".into();
                return Ok(out);
            }
        }
        if self.eat(">") {
            self.linear = false;
            let mut out = self.closed(depth)?;
            out.wrap("(?>", "(?:", ")");
            return Ok(out);
        }
        if self.eat("(") {
            return self.condition(depth);
        }
        self.flagged(depth)
    }

    /// `(?:`, `(?i:`, `(?i-s:`.
    fn flagged(&mut self, depth: u32) -> Result<Out, String> {
        let before = self.flags;
        let mut on = true;
        let mut letters = String::new();
        loop {
            match self.next() {
                Some(':') => break,
                Some('-') if on => {
                    on = false;
                    letters.push('-');
                }
                Some(letter) => {
                    self.flags.set(letter, on)?;
                    if matches!(letter, 'i' | 's') {
                        letters.push(letter);
                    }
                }
                None => return Err("missing )".into()),
            }
        }
        let mut out = self.closed(depth)?;
        self.flags = before;
        let letters = letters.trim_end_matches('-');
        out.wrap(&format!("(?{letters}:"), &format!("(?{letters}:"), ")");
        Ok(out)
    }

    /// The rest of a group up to its parenthesis.
    fn closed(&mut self, depth: u32) -> Result<Out, String> {
        let out = self.alternatives(depth + 1)?;
        if self.eat(")") { Ok(out) } else { Err("missing ), unterminated subpattern".into()) }
    }

    fn capture(&mut self, name: Option<String>, depth: u32) -> Result<Out, String> {
        self.groups += 1;
        self.relaxed_count += 1;
        let number = self.groups;
        self.relaxed_groups.push(self.relaxed_count);
        if let Some(name) = name {
            self.names.push((name, number));
        }
        let start = self.at;
        let mut out = self.closed(depth)?;
        let body: String = self.chars.get(start..self.at - 1).unwrap_or_default().iter().collect();
        if single_class(&body) {
            self.bodies.push((number, out.relaxed.clone()));
        }
        out.wrap("(", "(", ")");
        Ok(out)
    }

    fn number(&self, name: &str) -> Result<usize, String> {
        if let Ok(number) = name.parse::<usize>() {
            return if (1..=self.groups).contains(&number) {
                Ok(number)
            } else {
                Err(format!("invalid group reference {number}"))
            };
        }
        self.names
            .iter()
            .find(|(own, _)| own == name)
            .map(|(_, number)| *number)
            .ok_or_else(|| format!("unknown group name '{name}'"))
    }

    fn back_reference(&mut self, number: usize) -> Out {
        let exact = format!("(?:\\{number})");
        let body = self.bodies.iter().find(|(own, _)| *own == number).map(|(_, body)| body.clone());
        let of = self.relaxed_groups.get(number).copied();
        let (Some(body), Some(of)) = (body, of) else {
            self.linear = false;
            return Out::relaxed(exact, "(?s:.*)");
        };
        self.relaxed_count += 1;
        self.equal.push((of, self.relaxed_count));
        Out::relaxed(exact, format!("({body})"))
    }

    /// `(?(name)yes|no)`.
    fn condition(&mut self, depth: u32) -> Result<Out, String> {
        let name = self.until(')')?;
        let number = self.number(&name)?;
        self.linear = false;
        let mut yes = self.sequence(depth + 1)?;
        let no = if self.eat("|") { self.sequence(depth + 1)? } else { Out::default() };
        if !self.eat(")") {
            return Err("conditional backref with more than two branches".into());
        }
        yes.exact = format!("(?({number}){}|{})", yes.exact, no.exact);
        yes.relaxed = format!("(?:{}|{})", yes.relaxed, no.relaxed);
        yes.loose = format!("(?:{}|{})", yes.loose, no.loose);
        Ok(yes)
    }
}

fn parse(digits: &str) -> Result<u32, String> {
    digits.parse().map_err(|_| "repeat count too large".to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests: a failure is a panic")]
mod tests {
    use super::*;

    fn both(source: &str) -> (String, String, bool) {
        let t = translate(source, Anchors::Line).unwrap();
        (t.exact, t.relaxed, t.linear)
    }

    #[test]
    fn pythons_literals_stay_literal() {
        for (python, rust) in [
            (r"[[\w-]", r"[\[\w\-]"),
            (r"[]a&&b--c]", r"[\]a\&\&b"),
            (r"a{b}{,3}", r"a\{b\}{0,3}"),
            (r"\<\>\/\Z", r"<>/\z"),
            (r"\x41\0", r"A\x{0}"),
        ] {
            let out = translate(python, Anchors::Line);
            if python == r"[]a&&b--c]" {
                assert!(out.is_err(), "Python has no range from b to -");
                continue;
            }
            assert_eq!(out.unwrap().exact, rust, "{python}");
        }
    }

    #[test]
    fn look_around_is_left_out_of_the_relaxed_form() {
        assert_eq!(both("^a(?!b)c$"), (r"\Aa(?!b)c(?m:$)".into(), r"\Aa(?:)c(?m:$)".into(), false));
        assert_eq!(
            both("(?P<x>a)?(?(x)b|c)(?P=x)"),
            (r"(a)?(?(1)b|c)(?:\1)".into(), r"(a)?(?:b|c)(?s:.*)".into(), false)
        );
    }

    #[test]
    fn a_back_reference_to_one_character_stays_linear() {
        let t = translate(r"(?P<s>[-/.])x(?P=s)(y)", Anchors::Bare).unwrap();
        assert!(t.linear);
        assert_eq!(t.relaxed, r"([\-/.])x([\-/.])(y)");
        assert_eq!(t.equal, [(1, 2)]);
        assert_eq!(t.relaxed_groups, [0, 1, 3]);
    }

    #[test]
    fn flags_are_global_at_the_start_and_local_in_a_group() {
        assert_eq!(both("(?iu)a").0, "(?i)a");
        assert_eq!(both("x(?:(?i)expn|vrfy)").0, "x(?i:expn|vrfy)");
        assert_eq!(both("x((?i)y)").0, "x(?i:y)");
    }

    #[test]
    fn what_python_refuses_is_refused() {
        for source in
            ["(a", "a)", "*a", "a**", "[a", r"\q", "(?P<1>a)", "(?P<a>b)(?P<a>c)", "[z-a]"]
        {
            assert!(translate(source, Anchors::Line).is_err(), "{source}");
        }
    }
}
