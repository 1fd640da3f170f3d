//! One INI file, read as Python's `configparser` reads it.
//!
//! Names of options are lower-cased, an indented line continues the value
//! before it, `#` and `;` at the start of a line and ` ;` behind text begin a
//! comment. What Python refuses (a line that is no option, a repeated section
//! or option) is reported and read as far as possible: the later one wins.

use std::sync::Arc;

use super::problem::{Place, Problem};

/// Options a section may have; more are reported and left out.
const MAX_OPTIONS: usize = 4096;
/// Sections a file may have; more are reported and left out.
const MAX_SECTIONS: usize = 4096;

/// A value and where it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Value {
    pub(crate) text: Arc<str>,
    pub(crate) place: Place,
}

/// Options of a section in the order they were written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Section {
    options: Vec<(Arc<str>, Value)>,
}

impl Section {
    pub(crate) fn get(&self, name: &str) -> Option<&Value> {
        self.options.iter().find(|(own, _)| **own == *name).map(|(_, value)| value)
    }

    pub(crate) fn set(&mut self, name: &str, value: Value) {
        match self.options.iter_mut().find(|(own, _)| **own == *name) {
            Some((_, old)) => *old = value,
            None => self.options.push((name.into(), value)),
        }
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.options.iter().map(|(name, _)| &**name)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.options.iter().map(|(name, value)| (&**name, value))
    }
}

/// A file's sections in order; `DEFAULT` apart.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ini {
    pub(crate) defaults: Section,
    pub(crate) sections: Vec<(String, Section)>,
    pub(crate) problems: Vec<Problem>,
}

impl Ini {
    pub(crate) fn section(&self, name: &str) -> Option<&Section> {
        self.sections.iter().find(|(own, _)| own == name).map(|(_, section)| section)
    }
}

/// What a line is added to.
struct Open {
    name: String,
    lines: Vec<String>,
    line: u32,
}

/// Reads a file. Never fails: what cannot be read is in `problems`.
pub(crate) fn read(file: &str, text: &str) -> Ini {
    let file: Arc<str> = file.into();
    let mut reader = Reader { ini: Ini::default(), current: None, open: None, file, indent: 0 };
    for (number, line) in text.lines().enumerate() {
        let number = u32::try_from(number + 1).unwrap_or(u32::MAX);
        reader.line(number, line);
    }
    reader.close();
    reader.ini
}

struct Reader {
    ini: Ini,
    /// The section being read: `None` before the first header.
    current: Option<String>,
    open: Option<Open>,
    file: Arc<str>,
    /// Columns before the text of the line that began the open value.
    indent: usize,
}

impl Reader {
    fn problem(&mut self, line: u32, reason: impl Into<String>) {
        let place = Place { file: Arc::clone(&self.file), line };
        self.ini.problems.push(Problem::new(place, reason));
    }

    fn line(&mut self, number: u32, line: &str) {
        let (content, commented) = without_comment(line);
        let value = content.trim();
        if value.is_empty() {
            if !commented && let Some(open) = &mut self.open {
                open.lines.push(String::new());
            }
            return;
        }
        let indent = line.chars().take_while(|c| c.is_whitespace()).count();
        if indent > self.indent
            && let Some(open) = &mut self.open
        {
            open.lines.push(value.to_owned());
            return;
        }
        self.indent = indent;
        if let Some(header) = value.strip_prefix('[')
            && let Some(end) = header.rfind(']')
            && end > 0
        {
            let name = header.get(..end).unwrap_or_default().to_owned();
            self.header(number, name);
            return;
        }
        self.option(number, value);
    }

    fn header(&mut self, number: u32, name: String) {
        self.close();
        if name != "DEFAULT" && self.ini.section(&name).is_some() {
            self.problem(
                number,
                format!("section [{name}] is written twice: fail2ban refuses the file"),
            );
        } else if self.ini.sections.len() >= MAX_SECTIONS {
            self.problem(number, "too many sections in one file");
        } else if name != "DEFAULT" {
            self.ini.sections.push((name.clone(), Section::default()));
        }
        self.current = Some(name);
    }

    fn option(&mut self, number: u32, value: &str) {
        self.close();
        if self.current.is_none() {
            self.problem(number, "text before the first section");
            return;
        }
        let Some(delimiter) = value.find(['=', ':']).filter(|at| *at > 0) else {
            self.problem(number, "neither an option nor a section");
            return;
        };
        let (name, rest) = value.split_at(delimiter);
        let name = name.trim_end().to_lowercase();
        let text = rest.get(1..).unwrap_or_default().trim();
        self.open = Some(Open { name, lines: vec![text.to_owned()], line: number });
    }

    /// Ends the open value.
    fn close(&mut self) {
        let (Some(open), Some(current)) = (self.open.take(), self.current.clone()) else { return };
        let place = Place { file: Arc::clone(&self.file), line: open.line };
        let text = open.lines.join("\n");
        let value = Value { text: text.trim_end().into(), place: place.clone() };
        let section = if current == "DEFAULT" {
            &mut self.ini.defaults
        } else {
            match self.ini.sections.iter_mut().find(|(name, _)| *name == current) {
                Some((_, section)) => section,
                None => return,
            }
        };
        if section.get(&open.name).is_some() {
            let reason =
                format!("option {} is written twice: fail2ban refuses the file", open.name);
            section.set(&open.name, value);
            self.ini.problems.push(Problem::new(place, reason));
        } else if section.options.len() < MAX_OPTIONS {
            section.set(&open.name, value);
        } else {
            self.ini.problems.push(Problem::new(place, "too many options in one section"));
        }
    }
}

/// The line without its comment, and whether it had one.
fn without_comment(line: &str) -> (&str, bool) {
    if line.trim_start().starts_with(['#', ';']) {
        return ("", true);
    }
    let mut from = 0;
    while let Some(at) = line.get(from..).and_then(|rest| rest.find(';')).map(|at| at + from) {
        let before = line.get(..at).unwrap_or_default();
        if before.is_empty() || before.ends_with(char::is_whitespace) {
            return (before, true);
        }
        from = at + 1;
    }
    (line, false)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests: a failure is a panic")]
mod tests {
    use super::*;

    fn text(ini: &Ini, section: &str, option: &str) -> Option<String> {
        let section = if section == "DEFAULT" { &ini.defaults } else { ini.section(section)? };
        section.get(option).map(|value| value.text.to_string())
    }

    #[test]
    fn indented_lines_continue_a_value_and_comments_between_them_are_left_out() {
        let ini = read(
            "a.conf",
            "[Definition]\nFailRegex = one\n   two ; said\n# no\n   # no\n\n   three;x\n\nnext: 1\n",
        );
        assert_eq!(text(&ini, "Definition", "failregex").unwrap(), "one\ntwo\n\nthree;x");
        assert_eq!(text(&ini, "Definition", "next").unwrap(), "1");
        assert!(ini.problems.is_empty());
    }

    #[test]
    fn what_python_refuses_is_reported_with_its_line() {
        let ini = read("a.conf", "x = 1\n[A]\nb = 1\nb = 2\njunk\n[A]\nc = 3\n");
        let lines: Vec<u32> = ini.problems.iter().map(|problem| problem.place.line).collect();
        assert_eq!(lines, [1, 4, 5, 6]);
        assert_eq!(text(&ini, "A", "b").unwrap(), "2");
        assert_eq!(text(&ini, "A", "c").unwrap(), "3");
    }

    #[test]
    fn defaults_are_a_section_of_their_own() {
        let ini = read("a.conf", "[DEFAULT]\nbantime = 10m\n[sshd]\nenabled = true\n");
        assert_eq!(text(&ini, "DEFAULT", "bantime").unwrap(), "10m");
        assert_eq!(text(&ini, "sshd", "bantime"), None);
    }
}
