//! `sed`: the part of it that scripts use (s, d, p, q, a, i, c, y, =, addresses).

use regex::bytes::Regex;

use super::{Options, chomp, lines, regex};
use crate::shell::Shell;

/// Most commands of one script.
const MAX_COMMANDS: usize = 128;
/// Longest pattern space, in bytes.
const MAX_LINE_BYTES: usize = 256 * 1024;

enum Address {
    Line(usize),
    Last,
    Match(Regex),
}

struct Rule {
    from: Option<Address>,
    to: Option<Address>,
    negate: bool,
    inside: bool,
    action: Action,
}

enum Action {
    Substitute { pattern: Regex, with: Vec<u8>, all: bool, print: bool, nth: usize },
    Delete,
    Print,
    Quit,
    Number,
    Append(Vec<u8>),
    Insert(Vec<u8>),
    Change(Vec<u8>),
    Translate(Vec<u8>, Vec<u8>),
    Nothing,
}

pub(super) fn sed(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    let in_place = words.iter().any(|w| w.starts_with(b"-i") || w.starts_with(b"--in-place"));
    // `-i` has its suffix attached, or none.
    let words: Vec<Vec<u8>> = words
        .iter()
        .filter(|w| !(w.starts_with(b"-i") || w.starts_with(b"--in-place")))
        .cloned()
        .collect();
    let options = Options::new(&words, "ef");
    let mut files = options.rest.clone();
    let mut script: Vec<String> = options.values('e').map(str::to_owned).collect();
    if script.is_empty() {
        if files.is_empty() {
            shell.err(b"Usage: sed [OPTION]... {script-only-if-no-other-script} [input-file]...\n");
            return 1;
        }
        script.push(files.remove(0));
    }
    let extended = options.any("rE");
    let text = script.join("\n");
    let Some(mut rules) = parse(&text, extended) else {
        let shown: String = text.chars().take(1).collect();
        return shell.fails(
            "sed",
            &format!("-e expression #1, char {}: unknown command: `{shown}'", text.len().min(9)),
        );
    };
    let quiet = options.has('n');
    if in_place {
        let mut status = 0;
        for file in files {
            match shell.slurp(&file) {
                Ok(bytes) => {
                    let out = apply(shell, &mut rules, &bytes, quiet);
                    shell.write_file("sed", &file, &out, false);
                }
                Err(why) => {
                    status = shell.fails("sed", &format!("can't read {file}: {}", why.text()));
                }
            }
        }
        return status;
    }
    let (all, status) = shell.inputs("sed", &files);
    let bytes: Vec<u8> = all.into_iter().flat_map(|(_, bytes)| bytes).collect();
    let out = apply(shell, &mut rules, &bytes, quiet);
    shell.put(&out);
    status
}

struct Script<'a> {
    rest: &'a str,
    extended: bool,
}

impl<'a> Script<'a> {
    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn bump(&mut self) -> Option<char> {
        let letter = self.peek()?;
        self.rest = self.rest.get(letter.len_utf8()..)?;
        Some(letter)
    }

    fn blanks(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t']);
    }

    /// The text up to `end`; an escaped `end` is part of it.
    fn until(&mut self, end: char) -> Option<String> {
        let mut text = String::new();
        loop {
            match self.bump()? {
                '\\' => match self.bump()? {
                    letter if letter == end => text.push(letter),
                    letter => text.extend(['\\', letter]),
                },
                letter if letter == end => return Some(text),
                letter => text.push(letter),
            }
        }
    }

    fn address(&mut self) -> Option<Option<Address>> {
        match self.peek() {
            Some('$') => {
                self.bump();
                Some(Some(Address::Last))
            }
            Some(digit) if digit.is_ascii_digit() => {
                let length = self.rest.len()
                    - self.rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
                let number = self.rest.get(..length)?.parse().ok()?;
                self.rest = self.rest.get(length..)?;
                Some(Some(Address::Line(number)))
            }
            Some('/') => {
                self.bump();
                let text = self.until('/')?;
                Some(Some(Address::Match(regex(text.as_bytes(), false, self.extended)?)))
            }
            Some('\\') => {
                self.bump();
                let end = self.bump()?;
                let text = self.until(end)?;
                Some(Some(Address::Match(regex(text.as_bytes(), false, self.extended)?)))
            }
            _ => Some(None),
        }
    }

    fn line(&mut self) -> Vec<u8> {
        let text =
            self.rest.strip_prefix('\\').unwrap_or(self.rest).trim_start_matches([' ', '\t', '\n']);
        let end = text.find('\n').unwrap_or(text.len());
        let line = text.get(..end).unwrap_or_default().as_bytes().to_vec();
        self.rest = text.get(end..).unwrap_or_default();
        [line, b"\n".to_vec()].concat()
    }
}

fn parse(text: &str, extended: bool) -> Option<Vec<Rule>> {
    let mut script = Script { rest: text, extended };
    let mut rules = Vec::new();
    loop {
        script.rest = script.rest.trim_start_matches([' ', '\t', '\n', ';', '}']);
        if script.rest.is_empty() {
            return Some(rules);
        }
        if rules.len() >= MAX_COMMANDS {
            return None;
        }
        let from = script.address()?;
        script.blanks();
        let mut to = None;
        if script.peek() == Some(',') {
            script.bump();
            script.blanks();
            to = script.address()?;
        }
        script.blanks();
        let mut negate = false;
        if script.peek() == Some('!') {
            script.bump();
            script.blanks();
            negate = true;
        }
        let action = match script.bump()? {
            's' => {
                let end = script.bump()?;
                let (pattern, with) = (script.until(end)?, script.until(end)?);
                let flags: String =
                    script.rest.chars().take_while(|c| c.is_ascii_alphanumeric()).collect();
                script.rest = script.rest.get(flags.len()..)?;
                let fold = flags.contains(['i', 'I']);
                Action::Substitute {
                    pattern: regex(pattern.as_bytes(), fold, extended)?,
                    with: with.into_bytes(),
                    all: flags.contains('g'),
                    print: flags.contains('p'),
                    nth: flags.chars().find_map(|c| c.to_digit(10)).unwrap_or(1) as usize,
                }
            }
            'y' => {
                let end = script.bump()?;
                Action::Translate(script.until(end)?.into_bytes(), script.until(end)?.into_bytes())
            }
            'd' | 'D' => Action::Delete,
            'p' => Action::Print,
            'q' | 'Q' => Action::Quit,
            '=' => Action::Number,
            'a' => Action::Append(script.line()),
            'i' => Action::Insert(script.line()),
            'c' => Action::Change(script.line()),
            'n' | 'N' | 'h' | 'H' | 'g' | 'G' | 'x' | 'l' | '{' => Action::Nothing,
            '#' | ':' | 'b' | 't' | 'w' | 'r' => {
                script.line();
                Action::Nothing
            }
            _ => return None,
        };
        rules.push(Rule { from, to, negate, inside: false, action });
    }
}

fn hits(address: &Address, number: usize, last: bool, line: &[u8]) -> bool {
    match address {
        Address::Line(wanted) => *wanted == number,
        Address::Last => last,
        Address::Match(regex) => regex.is_match(line),
    }
}

fn applies(rule: &mut Rule, number: usize, last: bool, line: &[u8]) -> bool {
    let hit = match (&rule.from, &rule.to) {
        (None, _) => true,
        (Some(from), None) => hits(from, number, last, line),
        (Some(from), Some(to)) => {
            if rule.inside {
                if hits(to, number, last, line) || matches!(to, Address::Line(at) if *at <= number)
                {
                    rule.inside = false;
                }
                true
            } else if hits(from, number, last, line) {
                rule.inside = !matches!(to, Address::Line(at) if *at <= number);
                true
            } else {
                false
            }
        }
    };
    hit != rule.negate
}

fn apply(shell: &mut Shell, rules: &mut [Rule], bytes: &[u8], quiet: bool) -> Vec<u8> {
    let mut out = Vec::new();
    let all: Vec<&[u8]> = lines(bytes).collect();
    let count = all.len();
    'lines: for (index, whole) in all.into_iter().enumerate() {
        if !shell.budget.work(whole.len().saturating_mul(rules.len() + 1))
            || out.len() > 1024 * 1024
        {
            break;
        }
        let end: &[u8] = if whole.ends_with(b"\n") { b"\n" } else { b"" };
        let mut line = chomp(whole).to_vec();
        let (mut after, mut quit) = (Vec::new(), false);
        for rule in rules.iter_mut() {
            if !applies(rule, index + 1, index + 1 == count, &line) {
                continue;
            }
            match &rule.action {
                Action::Delete => {
                    out.extend(after);
                    continue 'lines;
                }
                Action::Print => out.extend([line.as_slice(), b"\n"].concat()),
                Action::Quit => {
                    quit = true;
                    break;
                }
                Action::Number => out.extend(format!("{}\n", index + 1).into_bytes()),
                Action::Append(text) => after.extend_from_slice(text),
                Action::Insert(text) => out.extend_from_slice(text),
                Action::Change(text) => {
                    out.extend_from_slice(text);
                    continue 'lines;
                }
                Action::Translate(from, to) => {
                    for byte in &mut line {
                        if let Some(at) = from.iter().position(|b| b == byte) {
                            *byte = to.get(at).copied().unwrap_or(*byte);
                        }
                    }
                }
                Action::Substitute { pattern, with, all, print, nth } => {
                    if let Some(new) = substitute(&line, pattern, with, *all, *nth) {
                        line = new;
                        if *print {
                            out.extend([line.as_slice(), b"\n"].concat());
                        }
                    }
                }
                Action::Nothing => {}
            }
        }
        if !quiet {
            out.extend_from_slice(&line);
            out.extend_from_slice(if after.is_empty() { end } else { b"\n" });
        }
        out.extend(after);
        if quit {
            break;
        }
    }
    out
}

fn substitute(line: &[u8], pattern: &Regex, with: &[u8], all: bool, nth: usize) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut at = 0;
    let mut changed = false;
    for (index, found) in pattern.captures_iter(line).enumerate() {
        let Some(whole) = found.get(0) else { break };
        if index + 1 < nth {
            continue;
        }
        changed = true;
        out.extend_from_slice(line.get(at..whole.start()).unwrap_or_default());
        let mut bytes = with.iter();
        while let Some(byte) = bytes.next() {
            match byte {
                b'&' => out.extend_from_slice(whole.as_bytes()),
                b'\\' => match bytes.next() {
                    Some(digit @ b'0'..=b'9') => {
                        let group = found.get(usize::from(digit - b'0'));
                        out.extend_from_slice(group.map_or(&b""[..], |g| g.as_bytes()));
                    }
                    Some(b'n') => out.push(b'\n'),
                    Some(b't') => out.push(b'\t'),
                    Some(other) => out.push(*other),
                    None => {}
                },
                other => out.push(*other),
            }
        }
        at = whole.end();
        if !all || out.len() > MAX_LINE_BYTES {
            break;
        }
    }
    out.extend_from_slice(line.get(at..).unwrap_or_default());
    changed.then_some(out)
}
