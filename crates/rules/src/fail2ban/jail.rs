//! Jails: a filter, where its lines come from, when it bans, and with what.

use super::action::{Action, words};
use super::config::{Config, GetError};
use super::counting::{BanTime, BansOf, Increment};
use super::date::{Now, offset_minutes};
use super::definition::{Definition, Take};
use super::expression::{Names, formula, seconds};
use super::files::Files;
use super::filter::{Filter, FilterOptions};
use super::filter_file::{Backend, FILTER_OPTIONS, FilterDefinition, set_log_type};
use super::host::UseDns;
use super::ignore::Ignore;
use super::problem::{Place, Problem};
use super::tags::{Values, options_of, words_with_options};

/// Options of a jail that fail2ban itself reads.
const JAIL_OPTIONS: &[&str] = &[
    "enabled",
    "backend",
    "maxretry",
    "maxmatches",
    "findtime",
    "bantime",
    "bantime.increment",
    "bantime.factor",
    "bantime.formula",
    "bantime.multipliers",
    "bantime.maxtime",
    "bantime.rndtime",
    "bantime.overalljails",
    "ignorecommand",
    "ignoreself",
    "ignoreip",
    "ignorecache",
    "filter",
    "logtimezone",
    "logencoding",
    "logpath",
    "action",
];
/// The version that `%(fail2ban_version)s` gives to configuration files.
const VERSION: &str = "1.1.0";

/// Where in a file reading begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// At its beginning (what is older than `findtime` does not count).
    Head,
    /// At its end.
    Tail,
}

/// A file or glob to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogPath {
    /// The path or glob.
    pub path: String,
    /// Where reading begins.
    pub from: From,
}

/// A jail, all substitutions made.
#[derive(Clone, Debug)]
pub struct Jail {
    /// Its name.
    pub name: String,
    /// Whether it is to run.
    pub enabled: bool,
    /// Where its section begins.
    pub place: Place,
    /// `auto`, `systemd`, `polling`, ….
    pub backend: String,
    /// Files it reads; none with the journal.
    pub logs: Vec<LogPath>,
    /// Its filter; `None` where that cannot be read.
    pub filter: Option<FilterDefinition>,
    /// Failures that make a ban.
    pub max_retry: u32,
    /// Seconds they must be in.
    pub find_secs: f64,
    /// How long a ban is.
    pub ban_time: BanTime,
    /// Addresses that are never banned.
    pub ignore: Ignore,
    /// A command that decides so, as words with `<ip>` in them.
    pub ignore_command: Option<Vec<String>>,
    /// Minutes east of UTC of times without a zone.
    pub log_offset: Option<i32>,
    /// What names in place of addresses are.
    pub use_dns: UseDns,
    /// What it does.
    pub actions: Vec<Action>,
    /// What fail2ban would refuse the jail for.
    pub errors: Vec<Problem>,
    /// What is taken over in part, or not, or has no meaning here.
    pub problems: Vec<Problem>,
}

/// Reads `jail.conf` and what belongs to it: all jails, whether enabled or not.
/// The second list is what is wrong with the files as such.
///
/// # Errors
/// When there is no `jail.conf` or `jail.local`.
pub fn jails(files: &Files) -> Result<(Vec<Jail>, Vec<Problem>), Problem> {
    let Some(mut config) = Config::read(files, "jail") else {
        return Err(Problem::new(Place { file: "jail.conf".into(), line: 0 }, "is not there"));
    };
    config.set_default("fail2ban_version", VERSION);
    config.set_default("fail2ban_confpath", "/etc/fail2ban");
    let names: Vec<String> =
        config.sections().filter(|name| *name != "INCLUDES").map(str::to_owned).collect();
    let jails = names.iter().map(|name| Reader::new(files, &config, name).read()).collect();
    Ok((jails, std::mem::take(&mut config.problems)))
}

impl Jail {
    /// Compiles the filter and adds what cannot be compiled to the errors.
    pub fn try_filter(&mut self, now: &Now) {
        let Some(definition) = &self.filter else { return };
        let options = FilterOptions { use_dns: self.use_dns, ..FilterOptions::default() };
        if let Err(problems) = Filter::new(definition, options, now) {
            self.errors.extend(problems);
        }
    }
}

struct Reader<'a> {
    files: &'a Files,
    config: Config,
    jail: Jail,
}

impl<'a> Reader<'a> {
    fn new(files: &'a Files, config: &Config, name: &str) -> Self {
        let place = config
            .own_options(name)
            .iter()
            .filter_map(|option| config.place(name, option))
            .find(|place| !place.file.is_empty())
            .unwrap_or_else(|| Place { file: "jail.conf".into(), line: 0 });
        let jail = Jail {
            name: name.to_owned(),
            enabled: false,
            place,
            backend: String::new(),
            logs: Vec::new(),
            filter: None,
            max_retry: 3,
            find_secs: 600.0,
            ban_time: BanTime { secs: 600.0, increment: None },
            ignore: Ignore::default(),
            ignore_command: None,
            log_offset: None,
            use_dns: UseDns::Warn,
            actions: Vec::new(),
            errors: Vec::new(),
            problems: Vec::new(),
        };
        Self { files, config: config.clone(), jail }
    }

    fn place(&self, option: &str) -> Place {
        self.config.place(&self.jail.name, option).unwrap_or_else(|| self.jail.place.clone())
    }

    fn error(&mut self, option: &str, reason: impl Into<String>) {
        let problem = Problem::new(self.place(option), reason);
        self.jail.errors.push(problem);
    }

    fn note(&mut self, option: &str, reason: impl Into<String>) {
        let problem = Problem::new(self.place(option), reason);
        self.jail.problems.push(problem);
    }

    fn options(&mut self, names: &[&str]) -> Values {
        let mut values = Values::default();
        for name in names {
            match self.config.get(&self.jail.name, name, &Values::default()) {
                Ok(value) => values.set(name, value),
                Err(GetError::NoOption(_) | GetError::NoSection(_)) => {}
                Err(GetError::Interpolation { place, reason }) => {
                    let problem = Problem::new(place, format!("{name}: {reason}"));
                    self.jail.errors.push(problem);
                }
            }
        }
        values
    }

    fn read(mut self) -> Jail {
        let first = self.options(&["enabled", "backend", "filter"]);
        self.jail.enabled = first.get("enabled").is_some_and(truth);
        self.jail.backend = first.get("backend").unwrap_or("auto").to_owned();
        let mut definition = self.filter(&first);
        let mut names = JAIL_OPTIONS.to_vec();
        names.extend(FILTER_OPTIONS);
        let all = self.options(&names);
        if let Some((name, own)) = &mut definition {
            self.finish_filter(name.clone(), own, &all);
        }
        self.numbers(&all);
        self.increment(&all);
        self.sources(&all);
        self.ignores(&all);
        self.actions(&all);
        self.jail
    }

    /// The filter's definition; its options become `known/…` of the jail.
    fn filter(&mut self, first: &Values) -> Option<(String, Definition)> {
        let call = first.get("filter").unwrap_or_default().to_owned();
        if call.is_empty() {
            self.error("filter", "names no filter");
            return None;
        }
        let (name, options) = match options_of(&call) {
            Ok(parts) => parts,
            Err(reason) => {
                self.error("filter", format!("filter: {reason}"));
                return None;
            }
        };
        let init: Values = options.into_iter().collect();
        let read = Definition::read(self.files, "filter.d", &name, init).and_then(|mut own| {
            set_log_type(&mut own, self.backend());
            own.take(FILTER_OPTIONS, first, Take::All)?;
            let known = own.combined(&[])?;
            Ok((own, known))
        });
        match read {
            Ok((own, known)) => {
                let jail = self.jail.name.clone();
                for (name, value) in known.iter().filter(|(name, _)| !name.starts_with("known/")) {
                    self.config.set(&jail, &format!("known/{name}"), value);
                }
                Some((name, own))
            }
            Err(problem) => {
                let reason = format!("filter {name}: {}", problem.reason);
                self.jail.errors.push(Problem::new(problem.place, reason));
                None
            }
        }
    }

    fn backend(&self) -> Backend {
        if self.jail.backend.starts_with("systemd") { Backend::Journal } else { Backend::File }
    }

    fn finish_filter(&mut self, name: String, own: &mut Definition, all: &Values) {
        let built = own
            .take(FILTER_OPTIONS, all, Take::Named)
            .and_then(|()| FilterDefinition::from_definition(&name, own));
        match built {
            Ok(mut filter) => {
                for option in FILTER_OPTIONS {
                    if let Some(value) = all.get(option) {
                        filter.set(option, value);
                    }
                }
                self.jail.problems.append(&mut filter.problems);
                if let Some(use_dns) = filter.usedns.as_deref().map(UseDns::parse) {
                    self.jail.use_dns = use_dns.unwrap_or(UseDns::No);
                }
                if filter.failregex.is_empty() {
                    self.note(
                        "filter",
                        format!("filter {name} has no failregex: it finds nothing"),
                    );
                }
                self.jail.filter = Some(filter);
            }
            Err(problem) => self.jail.errors.push(problem),
        }
    }

    fn seconds(&mut self, all: &Values, option: &str) -> Option<f64> {
        let text = all.get(option).filter(|text| !text.is_empty())?;
        match seconds(text) {
            Ok(value) => Some(value),
            Err(reason) => {
                self.error(option, format!("{option}: {reason}"));
                None
            }
        }
    }

    fn numbers(&mut self, all: &Values) {
        if let Some(text) = all.get("maxretry") {
            match text.trim().parse::<u32>() {
                Ok(value @ 1..) => self.jail.max_retry = value,
                _ => self.error("maxretry", format!("maxretry: {text} is no number from 1")),
            }
        }
        if let Some(value) = self.seconds(all, "findtime") {
            self.jail.find_secs = value;
        }
        if let Some(value) = self.seconds(all, "bantime") {
            self.jail.ban_time.secs = value;
        }
        if let Some(zone) = all.get("logtimezone").filter(|zone| !zone.is_empty()) {
            match offset_minutes(zone) {
                Some(minutes) => self.jail.log_offset = Some(minutes),
                None => self.error("logtimezone", format!("logtimezone: {zone} is not known")),
            }
        }
        let encoding = all.get("logencoding").unwrap_or("auto").to_lowercase();
        if !["auto", "utf-8", "utf8", "ascii", "us-ascii"].contains(&encoding.as_str()) {
            let reason = format!("logencoding {encoding}: lines are read as UTF-8");
            self.note("logencoding", reason);
        }
    }

    fn increment(&mut self, all: &Values) {
        if !all.get("bantime.increment").is_some_and(truth) {
            return;
        }
        let mut increment = Increment {
            factor: 1.0,
            multipliers: Vec::new(),
            formula: None,
            max_secs: self.seconds(all, "bantime.maxtime"),
            random_secs: self.seconds(all, "bantime.rndtime"),
            counts: if all.get("bantime.overalljails").is_some_and(truth) {
                BansOf::AllJails
            } else {
                BansOf::ThisJail
            },
        };
        if let Some(text) = all.get("bantime.factor").filter(|text| !text.is_empty()) {
            match formula(text, &Names::default()) {
                Ok(value) => increment.factor = value,
                Err(reason) => self.error("bantime.factor", format!("bantime.factor: {reason}")),
            }
        }
        if let Some(text) = all.get("bantime.multipliers") {
            let list: Result<Vec<f64>, _> = text.split_whitespace().map(str::parse).collect();
            match list {
                Ok(list) => increment.multipliers = list,
                Err(_) => {
                    self.error("bantime.multipliers", "bantime.multipliers: not only numbers")
                }
            }
        }
        if let Some(text) = all.get("bantime.formula").filter(|text| !text.is_empty()) {
            let sample = Names { time: 600.0, count: 2.0, factor: 1.0 };
            match formula(text, &sample) {
                Ok(_) => increment.formula = Some(text.to_owned()),
                Err(reason) => {
                    let reason =
                        format!("bantime.formula is not taken over, doubling is used: {reason}");
                    self.note("bantime.formula", reason);
                }
            }
        }
        self.jail.ban_time.increment = Some(increment);
    }

    fn sources(&mut self, all: &Values) {
        let known = ["auto", "pyinotify", "polling", "gamin", "systemd"];
        let backend = self.jail.backend.clone();
        let name = backend.split('[').next().unwrap_or_default();
        if !known.contains(&name) {
            self.error("backend", format!("backend {backend} is not known"));
        }
        if self.backend() == Backend::Journal {
            if backend != "systemd" {
                self.note(
                    "backend",
                    format!("options of {backend}: the journal is read as a whole"),
                );
            }
            return;
        }
        for line in all.get("logpath").unwrap_or_default().split('\n').filter(|l| !l.is_empty()) {
            let (path, from) = match line.rsplit_once(' ') {
                Some((path, "tail")) => (path, From::Tail),
                Some((path, _)) => (path, From::Head),
                None => (line, From::Head),
            };
            self.jail.logs.push(LogPath { path: path.to_owned(), from });
        }
        if self.jail.logs.is_empty() {
            self.error("logpath", "has no logpath and does not read the journal");
        }
    }

    fn ignores(&mut self, all: &Values) {
        let own = all.get("ignoreself").is_none_or(truth);
        self.jail.ignore = Ignore::new(all.get("ignoreip").unwrap_or_default(), own);
        if let Some(command) = all.get("ignorecommand").filter(|text| !text.is_empty()) {
            match words(command) {
                Ok(words) if !words.is_empty() => self.jail.ignore_command = Some(words),
                // Left out it would ban whom it spares.
                Ok(_) => self.error("ignorecommand", "ignorecommand: is no command"),
                Err(reason) => self.error("ignorecommand", format!("ignorecommand: {reason}")),
            }
        }
    }

    fn actions(&mut self, all: &Values) {
        let text = all.get("action").unwrap_or_default();
        let place = self.place("action");
        for call in words_with_options(text) {
            match Action::read(self.files, call, &self.jail.name, all, &place) {
                Ok(mut action) => {
                    self.jail.problems.append(&mut action.problems);
                    self.jail.actions.push(action);
                }
                Err(problem) if problem.reason.contains("Python program") => {
                    self.jail.problems.push(problem);
                }
                Err(problem) => self.jail.errors.push(problem),
            }
        }
        if self.jail.actions.is_empty() {
            self.note("action", "has no action: it counts and bans nobody");
        }
    }
}

/// Python's idea of a yes, as fail2ban has it.
fn truth(text: &str) -> bool {
    matches!(text.to_lowercase().as_str(), "1" | "on" | "true" | "yes")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests: a failure is a panic")]
mod tests {
    use super::*;

    fn files(jail: &str) -> Files {
        let mut files = Files::new();
        files.insert("jail.conf", "[DEFAULT]\nbantime = 10m\nfindtime = 10m\nmaxretry = 5\nenabled = false\nbackend = auto\nmode = normal\nfilter = %(__name__)s[mode=%(mode)s]\nignoreip = 127.0.0.1/8, ::1\nport = 0:65535\nbanaction = notify\naction = %(banaction)s[port=\"%(port)s\"]\n[sshd]\nport = ssh\nlogpath = /var/log/auth.log\n").unwrap();
        files
            .insert(
                "filter.d/sshd.conf",
                "[Definition]\nfailregex = ^<mode> <HOST>$\nmode = none\n",
            )
            .unwrap();
        files
            .insert("action.d/notify.conf", "[Definition]\nactionban = say <port> <ip> <name>\n")
            .unwrap();
        files.insert("jail.local", jail).unwrap();
        files
    }

    fn sshd(jail: &str) -> Jail {
        let (jails, problems) = jails(&files(jail)).unwrap();
        assert!(problems.is_empty(), "{problems:?}");
        jails.into_iter().find(|jail| jail.name == "sshd").unwrap()
    }

    #[test]
    fn a_jail_has_its_defaults_and_its_own_settings() {
        let jail = sshd("[sshd]\nenabled = true\nmode = hard\nbantime = 1w\nmaxretry = 3\n");
        assert!(jail.errors.is_empty() && jail.problems.is_empty(), "{jail:?}");
        assert!(jail.enabled);
        assert_eq!((jail.max_retry, jail.find_secs, jail.ban_time.secs), (3, 600.0, 604_800.0));
        assert_eq!(jail.filter.unwrap().failregex, ["^hard <HOST>$"]);
        assert_eq!(jail.logs, [LogPath { path: "/var/log/auth.log".into(), from: From::Head }]);
        let command = jail.actions[0].commands[0].2[0].words.clone();
        assert_eq!(command, ["say", "ssh", "<ip>", "sshd"]);
    }

    #[test]
    fn a_jail_may_add_to_what_its_filter_has() {
        let jail = sshd("[sshd]\nfailregex = %(known/failregex)s\n   ^more <HOST>\nmaxlines = 3\n");
        let filter = jail.filter.unwrap();
        assert_eq!(filter.failregex, ["^normal <HOST>$", "^more <HOST>"]);
        assert_eq!(filter.maxlines.as_deref(), Some("3"));
    }

    #[test]
    fn mistakes_name_their_file_and_line() {
        let jail = sshd(
            "[sshd]\nbantime = soon\nfindtime = %(nothing)s\nlogtimezone = XX\naction = gone\n",
        );
        let shown: Vec<String> = jail.errors.iter().map(ToString::to_string).collect();
        let lines: Vec<&str> = shown.iter().filter_map(|text| text.split(": ").next()).collect();
        assert_eq!(
            lines,
            ["jail.local:3", "jail.local:2", "jail.local:4", "action.d/gone.conf"],
            "{shown:?}"
        );
    }

    #[test]
    fn growing_bans_are_read() {
        let jail = sshd(
            "[sshd]\nbantime.increment = true\nbantime.factor = 2.0 / 4\nbantime.maxtime = 1d\nbantime.formula = ban.Time * 3\n",
        );
        let increment = jail.ban_time.increment.clone().unwrap();
        assert_eq!((increment.factor, increment.max_secs), (0.5, Some(86_400.0)));
        assert_eq!(jail.ban_time.of(2, 0.0), Some(1800.0));
    }

    #[test]
    fn the_journal_needs_no_files() {
        let jail = sshd("[sshd]\nbackend = systemd\nlogpath =\n");
        assert!(jail.errors.is_empty(), "{:?}", jail.errors);
        assert_eq!(jail.filter.unwrap().logtype, "journal");
    }
}
