//! A filter or action file with its `[Definition]` and `[Init]`, and the
//! options a jail gives it in brackets.

use super::config::{Config, GetError};
use super::files::Files;
use super::problem::{Place, Problem};
use super::tags::{Values, substitute};

/// A definition being put together.
#[derive(Clone, Debug)]
pub(crate) struct Definition {
    pub(crate) config: Config,
    /// Options in brackets, then those of `[Init]`.
    pub(crate) init: Values,
    /// What has precedence over the file while `%(…)s` are put in.
    over: Values,
    options: Values,
}

impl Definition {
    /// Reads `FOLDER/NAME.conf` and what belongs to it.
    ///
    /// # Errors
    /// When no such file exists.
    pub(crate) fn read(
        files: &Files,
        folder: &str,
        name: &str,
        init: Values,
    ) -> Result<Self, Problem> {
        let path = format!("{folder}/{name}");
        let config = Config::read(files, &path).ok_or_else(|| {
            let place = Place { file: format!("{path}.conf").into(), line: 0 };
            Problem::new(place, "is not there")
        })?;
        Ok(Self::new(config, init))
    }

    pub(crate) fn new(config: Config, init: Values) -> Self {
        Self { config, init, over: Values::default(), options: Values::default() }
    }

    /// The place of an option for a message.
    pub(crate) fn place(&self, option: &str) -> Place {
        self.config
            .place("Definition", option)
            .or_else(|| self.config.place("Init", option))
            .unwrap_or_else(|| Place {
                file: self.config.files.last().map_or("", String::as_str).into(),
                line: 0,
            })
    }

    fn problem(&self, option: &str, error: &GetError) -> Problem {
        match error {
            GetError::Interpolation { place, reason } if !place.file.is_empty() => {
                Problem::new(place.clone(), format!("{option}: {reason}"))
            }
            error => Problem::new(self.place(option), format!("{option}: {error}")),
        }
    }

    /// Takes the options called `names` out of the file; `jail` are options of
    /// the jail, which win. With `All`, every option of `[Definition]` is
    /// taken.
    pub(crate) fn take(
        &mut self,
        names: &[&str],
        jail: &Values,
        take: Take,
    ) -> Result<(), Problem> {
        let mut over = jail.clone();
        over.extend_from(&self.init);
        self.options = Values::default();
        if !self.config.has_section("Definition") {
            let place = self.place("");
            return Err(Problem::new(place, "has no section [Definition]"));
        }
        for name in names {
            if over.contains(name) {
                continue;
            }
            match self.config.get("Definition", name, &over) {
                Ok(value) => self.options.set(name, value),
                Err(GetError::NoOption(_)) => {}
                Err(error) => return Err(self.problem(name, &error)),
            }
        }
        let none = Values::default();
        for name in self.config.own_options("Init") {
            let value = match self.config.get("Init", &name, &none) {
                Ok(value) => value,
                Err(error) => return Err(self.problem(&name, &error)),
            };
            if !name.starts_with("known/") {
                self.init.set(&format!("known/{name}"), value.clone());
            }
            if !self.init.contains(&name) {
                self.init.set(&name, value);
            }
        }
        if take == Take::All {
            for name in self.config.own_options("Definition") {
                if self.options.contains(&name) {
                    continue;
                }
                match self.config.get("Definition", &name, &none) {
                    Ok(value) => self.options.set(&name, value),
                    Err(error) => return Err(self.problem(&name, &error)),
                }
            }
        }
        self.over = over;
        Ok(())
    }

    /// All options with `<…>` put in; `ignore` names tags that stay.
    pub(crate) fn combined(&self, ignore: &[&str]) -> Result<Values, Problem> {
        let mut values = self.options.clone();
        values.extend_from(&self.init);
        let mut ignore: Vec<String> = ignore.iter().map(|&name| name.to_owned()).collect();
        for (name, _) in values.iter() {
            if let Some((name, _)) = name.split_once('?') {
                ignore.push(name.to_owned());
            }
        }
        let mut broken = None;
        let result = substitute(&mut values, &ignore, &mut |name| match self.config.get_anywhere(
            "Definition",
            name,
            &self.over,
        ) {
            Ok(value) => Some(value),
            Err(error @ GetError::Interpolation { .. }) => {
                broken.get_or_insert_with(|| self.problem(name, &error));
                None
            }
            Err(_) => None,
        });
        result.map_err(|reason| Problem::new(self.place(""), reason))?;
        match broken {
            Some(problem) => Err(problem),
            None => Ok(values),
        }
    }
}

/// Which options are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Take {
    /// The named ones.
    Named,
    /// Every option of `[Definition]`.
    All,
}
