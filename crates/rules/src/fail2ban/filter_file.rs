//! A filter as its file, its jail and the options in brackets define it.

use super::config::Config;
use super::definition::{Definition, Take};
use super::files::Files;
use super::problem::{Place, Problem};
use super::tags::{Values, options_of};

/// Options of a filter that fail2ban knows; all others are only there to be
/// put into these.
pub(crate) const FILTER_OPTIONS: &[&str] =
    &["usedns", "prefregex", "ignoreregex", "failregex", "maxlines", "datepattern", "journalmatch"];

/// Where the lines come from, which decides whether they carry a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Backend {
    /// Files: each line carries its time.
    #[default]
    File,
    /// The journal: the time is a field of its own.
    Journal,
}

/// What a filter consists of, all substitutions made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FilterDefinition {
    /// The name of the file without its ending.
    pub name: String,
    /// Cuts the part to look at out of a line; lines that do not match are
    /// none of this filter's.
    pub prefregex: Option<String>,
    /// Expressions of a failure, in order.
    pub failregex: Vec<String>,
    /// Expressions of lines that are no failure.
    pub ignoreregex: Vec<String>,
    /// Lines looked at together; 1 unless set.
    pub maxlines: Option<String>,
    /// Forms of the time, a line each.
    pub datepattern: Option<String>,
    /// `yes`, `warn`, `no` or `raw`.
    pub usedns: Option<String>,
    /// Matches of the journal: each a list of `FIELD=value` and `+`.
    pub journalmatch: Vec<Vec<String>>,
    /// `file`, `journal`, `short` or `rfc5424`.
    pub logtype: String,
    /// What Python or fail2ban would complain about.
    pub problems: Vec<Problem>,
    /// Where the expressions are written.
    pub place: Option<Place>,
}

impl FilterDefinition {
    /// Reads `filter.d/NAME.conf` and what belongs to it. `call` is the name
    /// with options in brackets, as a jail or a user writes it.
    ///
    /// # Errors
    /// When the file is missing or its substitutions fail.
    pub fn read(files: &Files, call: &str, backend: Backend) -> Result<Self, Problem> {
        let (name, options) = options_of(call).map_err(|reason| {
            Problem::new(Place { file: "".into(), line: 0 }, format!("filter: {reason}"))
        })?;
        Self::read_with(files, &name, &options, backend)
    }

    /// Like [`Self::read`], with the options taken apart already.
    ///
    /// # Errors
    /// When the file is missing or its substitutions fail.
    pub fn read_with(
        files: &Files,
        name: &str,
        options: &[(String, String)],
        backend: Backend,
    ) -> Result<Self, Problem> {
        let init: Values =
            options.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let definition = Definition::read(files, "filter.d", name, init)?;
        Self::build(name, definition, backend, &Values::default())
    }

    /// Reads a filter file that is not in `filter.d`; `options` are those in
    /// brackets, or empty.
    ///
    /// # Errors
    /// When the file is missing or its substitutions fail.
    pub fn read_file(
        files: &Files,
        path: &str,
        options: &str,
        backend: Backend,
    ) -> Result<Self, Problem> {
        let place = Place { file: path.into(), line: 0 };
        let (_, options) = options_of(&format!("x{options}"))
            .map_err(|reason| Problem::new(place.clone(), reason))?;
        let config =
            Config::read_file(files, path).ok_or_else(|| Problem::new(place, "is not there"))?;
        let definition = Definition::new(config, options.into_iter().collect());
        Self::build(path, definition, backend, &Values::default())
    }

    fn build(
        name: &str,
        mut definition: Definition,
        backend: Backend,
        jail: &Values,
    ) -> Result<Self, Problem> {
        set_log_type(&mut definition, backend);
        definition.take(FILTER_OPTIONS, jail, Take::Named)?;
        Self::from_definition(name, &definition)
    }

    /// From a definition whose options were taken.
    pub(crate) fn from_definition(name: &str, definition: &Definition) -> Result<Self, Problem> {
        let values = definition.combined(&[])?;
        let mut filter = Self {
            name: name.to_owned(),
            logtype: values.get("logtype").unwrap_or("file").to_owned(),
            problems: definition.config.problems.clone(),
            place: Some(definition.place("failregex")),
            ..Self::default()
        };
        for (option, value) in values.iter() {
            filter.set(option, value);
        }
        Ok(filter)
    }

    /// Sets an option as a jail or a filter file writes it; others than
    /// [`FILTER_OPTIONS`] are left out.
    pub(crate) fn set(&mut self, option: &str, value: &str) {
        let lines = || value.split('\n').filter(|line| !line.is_empty()).map(str::to_owned);
        match option {
            "failregex" => self.failregex = lines().collect(),
            "ignoreregex" => self.ignoreregex = lines().collect(),
            "prefregex" => self.prefregex = Some(value.to_owned()).filter(|v| !v.is_empty()),
            "datepattern" => self.datepattern = Some(value.to_owned()),
            "maxlines" => self.maxlines = Some(value.to_owned()),
            "usedns" => self.usedns = Some(value.to_owned()),
            "journalmatch" => {
                self.journalmatch =
                    lines().map(|line| line.split_whitespace().map(unquoted).collect()).collect();
            }
            _ => {}
        }
    }
}

/// `FIELD="a"` as a shell would read it; spaces within quotes are rare enough
/// to be left out.
fn unquoted(word: &str) -> String {
    word.chars().filter(|c| !matches!(c, '"' | '\'')).collect()
}

/// Unless the user chose one, the log type follows from where lines come from.
pub(crate) fn set_log_type(definition: &mut Definition, backend: Backend) {
    let chosen = definition.init.get("logtype").is_some_and(|value| !value.is_empty());
    if !chosen && !definition.config.has_own("Definition", "logtype") {
        let value = match backend {
            Backend::File => "file",
            Backend::Journal => "journal",
        };
        definition.init.set("logtype", value);
    }
}
