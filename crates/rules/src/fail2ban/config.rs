//! Several INI files as one configuration: layering, includes, interpolation.
//!
//! `NAME.conf`, then `NAME.d/*.conf`, then `NAME.local`, then `NAME.d/*.local`;
//! each with the files its `[INCLUDES]` names before and after it, and each
//! included file with the `.local` beside it. A later file replaces single
//! options; what it replaced stays readable as `%(known/option)s`.

use std::collections::BTreeMap;

use super::files::{Files, include_path, normalise};
use super::ini::{self, Ini, Section, Value};
use super::problem::{Place, Problem};
use super::tags::Values;

/// Interpolations inside interpolations; Python's limit.
const MAX_DEPTH: u32 = 10;
/// Longest value that may come out of interpolation, in bytes.
const MAX_VALUE_BYTES: usize = 256 * 1024;
/// Files one configuration may include, counted with repetition.
const MAX_FILES: usize = 256;

/// A value that cannot be given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum GetError {
    #[error("no section [{0}]")]
    NoSection(String),
    #[error("no option {0}")]
    NoOption(String),
    #[error("{place}: {reason}")]
    Interpolation { place: Place, reason: String },
}

/// Files laid over one another.
#[derive(Clone, Debug, Default)]
pub(crate) struct Config {
    defaults: Section,
    sections: Vec<(String, Section)>,
    /// What was replaced, by section.
    known: BTreeMap<String, Section>,
    /// The files that were read, in order.
    pub(crate) files: Vec<String>,
    /// What Python or fail2ban would complain about.
    pub(crate) problems: Vec<Problem>,
}

impl Config {
    /// Reads `NAME.conf` and what belongs to it; `None` where no file exists.
    pub(crate) fn read(files: &Files, name: &str) -> Option<Self> {
        let name = normalise(name);
        let folder = format!("{name}.d");
        let mut list = vec![format!("{name}.conf")];
        list.extend(files.in_folder(&folder, ".conf").map(str::to_owned));
        list.push(format!("{name}.local"));
        list.extend(files.in_folder(&folder, ".local").map(str::to_owned));
        list.retain(|path| files.get(path).is_some());
        Self::read_all(files, list)
    }

    /// Reads one named file and what it includes.
    pub(crate) fn read_file(files: &Files, path: &str) -> Option<Self> {
        let path = normalise(path);
        files.get(&path)?;
        Self::read_all(files, vec![path])
    }

    fn read_all(files: &Files, list: Vec<String>) -> Option<Self> {
        if list.is_empty() {
            return None;
        }
        let mut config = Self::default();
        let mut parsed: BTreeMap<String, Ini> = BTreeMap::new();
        let mut order = Vec::new();
        config.includes(files, &with_local(files, list), &[], &mut parsed, &mut order);
        if order.len() > MAX_FILES {
            let place = Place { file: order.first()?.as_str().into(), line: 0 };
            config.problems.push(Problem::new(place, "too many included files"));
            order.truncate(MAX_FILES);
        }
        for path in &order {
            if let Some(ini) = parsed.get(path) {
                if !config.files.contains(path) {
                    config.problems.extend(ini.problems.iter().cloned());
                }
                config.merge(ini);
            }
            config.files.push(path.clone());
        }
        Some(config)
    }

    /// Adds `list` with its includes to `order`.
    fn includes(
        &mut self,
        files: &Files,
        list: &[String],
        seen: &[String],
        parsed: &mut BTreeMap<String, Ini>,
        order: &mut Vec<String>,
    ) {
        for path in list {
            if order.len() > MAX_FILES {
                return;
            }
            let Some(text) = files.get(path) else { continue };
            let ini = parsed.entry(path.clone()).or_insert_with(|| ini::read(path, text)).clone();
            let mut inner = seen.to_vec();
            inner.push(path.clone());
            let mut around = [Vec::new(), Vec::new()];
            for (slot, option) in around.iter_mut().zip(["before", "after"]) {
                let Some(value) = ini.section("INCLUDES").and_then(|own| own.get(option)) else {
                    continue;
                };
                for name in value.text.split('\n').filter(|name| !name.is_empty()) {
                    let full = include_path(path, name);
                    if seen.contains(&full) || full == *path {
                        continue;
                    }
                    // `after = x.local` is often not there, on purpose.
                    if files.get(&full).is_none() && !full.ends_with(".local") {
                        let reason = format!("includes {full}, which is not there");
                        self.problems.push(Problem::new(value.place.clone(), reason));
                    }
                    slot.push(full);
                }
            }
            let [before, after] = around;
            for name in before {
                self.includes(files, &with_local(files, vec![name]), &inner, parsed, order);
            }
            order.push(path.clone());
            for name in after {
                self.includes(files, &with_local(files, vec![name]), &inner, parsed, order);
            }
        }
    }

    fn merge(&mut self, ini: &Ini) {
        for (name, value) in ini.defaults.iter() {
            self.defaults.set(name, value.clone());
        }
        for (full, section) in &ini.sections {
            // `[Init?family=inet6]`: the options of [Init] for one condition.
            let (name, condition) = match full.split_once('?') {
                Some((name, condition)) if !condition.is_empty() => (name, Some(condition)),
                _ => (full.as_str(), None),
            };
            let added = section.iter().map(|(option, value)| match condition {
                Some(condition) => (format!("{option}?{condition}"), value.clone()),
                None => (option.to_owned(), value.clone()),
            });
            match self.sections.iter_mut().find(|(own, _)| own == name) {
                Some((_, own)) => {
                    let known = self.known.entry(name.to_owned()).or_default();
                    for (option, value) in added {
                        if let Some(old) = own.get(&option) {
                            known.set(&option, old.clone());
                        }
                        own.set(&option, value);
                    }
                }
                None => {
                    let mut own = Section::default();
                    added.for_each(|(option, value)| own.set(&option, value));
                    self.sections.push((name.to_owned(), own));
                }
            }
        }
    }

    fn section(&self, name: &str) -> Option<&Section> {
        self.sections.iter().find(|(own, _)| own == name).map(|(_, section)| section)
    }

    /// The sections in the order they were first written.
    pub(crate) fn sections(&self) -> impl Iterator<Item = &str> {
        self.sections.iter().map(|(name, _)| name.as_str())
    }

    pub(crate) fn has_section(&self, name: &str) -> bool {
        self.section(name).is_some()
    }

    /// Whether a section itself (not `[DEFAULT]`) has an option.
    pub(crate) fn has_own(&self, section: &str, option: &str) -> bool {
        self.section(section).is_some_and(|own| own.get(option).is_some())
    }

    /// The options of a section itself.
    pub(crate) fn own_options(&self, section: &str) -> Vec<String> {
        self.section(section)
            .map(|own| own.names().map(str::to_owned).collect())
            .unwrap_or_default()
    }

    /// Where an option was last written.
    pub(crate) fn place(&self, section: &str, option: &str) -> Option<Place> {
        self.section(section)
            .and_then(|own| own.get(option))
            .or_else(|| self.defaults.get(option))
            .map(|value| value.place.clone())
    }

    /// Gives every section an option, as if written in `[DEFAULT]`.
    pub(crate) fn set_default(&mut self, option: &str, text: &str) {
        let place = Place { file: "".into(), line: 0 };
        self.defaults.set(option, Value { text: text.into(), place });
    }

    /// Adds an option to a section, as if written there.
    pub(crate) fn set(&mut self, section: &str, option: &str, text: &str) {
        let place = Place { file: "".into(), line: 0 };
        let value = Value { text: text.into(), place };
        if let Some((_, own)) = self.sections.iter_mut().find(|(own, _)| own == section) {
            own.set(option, value);
        }
    }

    /// The value of an option with all `%(…)s` put in. `over` has precedence
    /// over the files.
    pub(crate) fn get(
        &self,
        section: &str,
        option: &str,
        over: &Values,
    ) -> Result<String, GetError> {
        if section != "DEFAULT" && !self.has_section(section) {
            return Err(GetError::NoSection(section.to_owned()));
        }
        self.value(section, section, option, over)
    }

    /// Like `get`, but `option` may be `section/option`, `known/option` or
    /// `default/option`.
    pub(crate) fn get_anywhere(
        &self,
        section: &str,
        option: &str,
        over: &Values,
    ) -> Result<String, GetError> {
        if let Some((named, rest)) = option.split_once('/')
            && !named.is_empty()
            && !rest.is_empty()
            && named.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-'))
            && !rest.contains([' ', '\n', '>'])
        {
            let none = Values::default();
            match named.to_lowercase().as_str() {
                "known" => {
                    if self.known.get(section).is_some_and(|known| known.get(rest).is_some()) {
                        return self.known_value(section, rest);
                    }
                    if let Ok(value) = self.get(section, rest, &none) {
                        return Ok(value);
                    }
                }
                "default" => {
                    if let Ok(value) = self.get("DEFAULT", rest, &none) {
                        return Ok(value);
                    }
                }
                _ => match self.get(named, rest, &none) {
                    Err(GetError::NoSection(_) | GetError::NoOption(_)) => {}
                    other => return other,
                },
            }
        }
        self.get(section, option, over)
    }

    fn known_value(&self, section: &str, option: &str) -> Result<String, GetError> {
        let value = self
            .known
            .get(section)
            .and_then(|known| known.get(&option.to_lowercase()))
            .ok_or_else(|| GetError::NoOption(option.to_owned()))?;
        let mut out = String::new();
        let scope = Scope { config: self, section, over: &Values::default(), place: &value.place };
        scope.expand(&value.text, 0, &mut out)?;
        Ok(out)
    }

    fn value(
        &self,
        section: &str,
        scope: &str,
        option: &str,
        over: &Values,
    ) -> Result<String, GetError> {
        let option = option.to_lowercase();
        let (text, place) = match over.get(&option) {
            Some(text) => (text.to_owned(), Place { file: "".into(), line: 0 }),
            None => {
                let value = self
                    .section(section)
                    .and_then(|own| own.get(&option))
                    .or_else(|| self.defaults.get(&option))
                    .ok_or_else(|| GetError::NoOption(option.clone()))?;
                (value.text.to_string(), value.place.clone())
            }
        };
        let mut out = String::new();
        Scope { config: self, section: scope, over, place: &place }.expand(&text, 0, &mut out)?;
        Ok(out)
    }
}

/// What `%(name)s` may refer to while one value is expanded.
struct Scope<'a> {
    config: &'a Config,
    section: &'a str,
    over: &'a Values,
    place: &'a Place,
}

impl Scope<'_> {
    fn fail(&self, reason: String) -> GetError {
        GetError::Interpolation { place: self.place.clone(), reason }
    }

    fn expand(&self, text: &str, depth: u32, out: &mut String) -> Result<(), GetError> {
        if depth > MAX_DEPTH {
            return Err(self.fail("%(…)s refer to one another without end".into()));
        }
        let mut rest = text;
        while let Some(at) = rest.find('%') {
            let (before, from) = rest.split_at(at);
            out.push_str(before);
            if let Some(after) = from.strip_prefix("%%") {
                out.push('%');
                rest = after;
                continue;
            }
            let name = from.strip_prefix("%(").and_then(|body| body.split_once(')'));
            let Some((name, after)) = name else {
                return Err(self.fail("'%' must be followed by '%' or '(': write %%".into()));
            };
            let Some(after) = after.strip_prefix('s').filter(|_| !name.is_empty()) else {
                return Err(self.fail(format!("%({name}) must end in ')s'")));
            };
            let value = self
                .lookup(&name.to_lowercase())
                .ok_or_else(|| self.fail(format!("%({name})s is not defined")))?;
            if value.contains('%') {
                self.expand(&value, depth + 1, out)?;
            } else {
                out.push_str(&value);
            }
            if out.len() > MAX_VALUE_BYTES {
                return Err(self.fail(format!("grows beyond {MAX_VALUE_BYTES} bytes")));
            }
            rest = after;
        }
        out.push_str(rest);
        Ok(())
    }

    fn lookup(&self, name: &str) -> Option<String> {
        let config = self.config;
        if let Some(value) = self.over.get(name) {
            return Some(value.to_owned());
        }
        let own = config.section(self.section).and_then(|own| own.get(name));
        if let Some(value) = own.or_else(|| config.defaults.get(name)) {
            return Some(value.text.to_string());
        }
        if name == "__name__" {
            return Some(self.section.to_owned());
        }
        let (named, option) = name.split_once('/')?;
        let value = match named {
            "default" => None,
            "known" => config.known.get(self.section).and_then(|known| known.get(option)),
            _ => {
                let (_, section) =
                    config.sections.iter().find(|(own, _)| own == named).or_else(|| {
                        config.sections.iter().find(|(own, _)| own.to_lowercase() == named)
                    })?;
                section.get(option)
            }
        };
        value.or_else(|| config.defaults.get(option)).map(|value| value.text.to_string())
    }
}

/// Each file with the `.local` beside it, where that exists and is not listed.
fn with_local(files: &Files, list: Vec<String>) -> Vec<String> {
    let mut out = Vec::new();
    for path in &list {
        out.push(path.clone());
        let stem = match path.rsplit_once('.') {
            Some((stem, extension)) if !extension.contains('/') => stem,
            _ => path,
        };
        let local = format!("{stem}.local");
        if !list.contains(&local) && files.get(&local).is_some() {
            out.push(local);
        }
    }
    out
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests: a failure is a panic")]
mod tests {
    use super::*;

    fn files(list: &[(&str, &str)]) -> Files {
        let mut files = Files::new();
        for (path, text) in list {
            files.insert(*path, *text).unwrap();
        }
        files
    }

    fn get(config: &Config, section: &str, option: &str) -> String {
        config.get(section, option, &Values::default()).unwrap()
    }

    #[test]
    fn later_files_replace_single_options_in_the_documented_order() {
        let files = files(&[
            ("jail.conf", "[sshd]\na = 1\nb = 1\nc = 1\nd = 1\n"),
            ("jail.d/z.conf", "[sshd]\nb = 2\nc = 2\nd = 2\n"),
            ("jail.d/a.conf", "[sshd]\nb = 3\n"),
            ("jail.local", "[sshd]\nc = 4\nd = 4\n"),
            ("jail.d/x.local", "[sshd]\nd = 5%(known/d)s\n"),
        ]);
        let config = Config::read(&files, "jail").unwrap();
        let all: Vec<String> =
            ["a", "b", "c", "d"].iter().map(|o| get(&config, "sshd", o)).collect();
        assert_eq!(all, ["1", "2", "4", "54"]);
    }

    #[test]
    fn includes_come_before_and_after_with_their_local() {
        let files = files(&[
            (
                "filter.d/x.conf",
                "[INCLUDES]\nbefore = common.conf\nafter = x-extra.local\n[Definition]\na = x\nb = %(a)s%%\n",
            ),
            (
                "filter.d/common.conf",
                "[DEFAULT]\na = c\nd = %(__name__)s\n[Definition]\na = common\n",
            ),
            ("filter.d/common.local", "[DEFAULT]\ne = local\n"),
        ]);
        let config = Config::read(&files, "filter.d/x").unwrap();
        assert_eq!(get(&config, "Definition", "b"), "x%");
        assert_eq!(get(&config, "Definition", "d"), "Definition");
        assert_eq!(get(&config, "Definition", "e"), "local");
        assert!(config.problems.is_empty(), "{:?}", config.problems);
    }

    #[test]
    fn includes_in_a_circle_end() {
        let files = files(&[
            ("a.conf", "[INCLUDES]\nbefore = b.conf\n[A]\nx = 1\n"),
            ("b.conf", "[INCLUDES]\nbefore = a.conf\nafter = missing.conf\n[A]\ny = 2\n"),
        ]);
        let config = Config::read(&files, "a").unwrap();
        assert_eq!(get(&config, "A", "y"), "2");
        assert_eq!(config.problems.len(), 1);
    }

    #[test]
    fn interpolation_errors_name_the_place() {
        let files = files(&[("a.conf", "[A]\nx = 5%\ny = %(nothing)s\nz = %(z)s\n")]);
        let config = Config::read(&files, "a").unwrap();
        for (option, line) in [("x", 2), ("y", 3), ("z", 4)] {
            match config.get("A", option, &Values::default()) {
                Err(GetError::Interpolation { place, .. }) => assert_eq!(place.line, line),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn options_of_other_sections_can_be_named() {
        let files = files(&[(
            "a.conf",
            "[DEFAULT]\nk = 1\n[lt_file]\np = file %(q)s\nq = Q\n[Definition]\nq = own\nx = %(lt_file/p)s %(default/k)s\n",
        )]);
        let config = Config::read(&files, "a").unwrap();
        assert_eq!(get(&config, "Definition", "x"), "file own 1");
        let found = config.get_anywhere("Definition", "lt_file/p", &Values::default()).unwrap();
        assert_eq!(found, "file Q");
    }
}
