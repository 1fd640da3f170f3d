//! An action of a jail: its commands as argument vectors.
//!
//! fail2ban gives an action's text to a shell. Here no shell is used: a command
//! is divided into words once, and tags are replaced within words, so that what
//! an attacker wrote stays one argument. What needs a shell (pipes, loops,
//! redirection) is named and not taken over.

use super::definition::{Definition, Take};
use super::files::Files;
use super::problem::{Place, Problem};
use super::tags::{Values, next_tag, options_of, short, substitute};

const ACTION_OPTIONS: &[&str] = &[
    "actionstart",
    "actionstart_on_demand",
    "actionstop",
    "actionflush",
    "actionreload",
    "actioncheck",
    "actionrepair",
    "actionrepair_on_unban",
    "actionban",
    "actionprolong",
    "actionreban",
    "actionunban",
    "norestored",
];
/// Tags that only a ban knows; they stay in the templates.
const LATE_TAGS: &[&str] = &["matches", "ipmatches", "ipjailmatches", "timeout", "bantime"];
/// Beginnings of the names of fail2ban's own firewall actions.
const FIREWALLS: &[&str] = &[
    "iptables",
    "nftables",
    "firewallcmd",
    "ufw",
    "pf",
    "ipfw",
    "bsd-ipfw",
    "ipfilter",
    "route",
    "shorewall",
    "npf",
    "osx-afctl",
    "osx-ipfw",
    "apf",
    "symbiosis-blacklist-allports",
];
/// Words of one command, and commands of one step, at most.
const MAX_WORDS: usize = 256;

/// When a command is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Before the first ban.
    Start,
    /// When the jail ends.
    Stop,
    /// Before each ban: does it still work?
    Check,
    /// For each ban.
    Ban,
    /// When a ban ends.
    Unban,
    /// When all bans end at once.
    Flush,
    /// When a ban gets longer.
    Prolong,
    /// When a ban is set anew.
    Reban,
    /// After a check failed.
    Repair,
    /// When the settings were read anew.
    Reload,
}

impl Step {
    const ALL: [(Self, &'static str); 10] = [
        (Self::Start, "actionstart"),
        (Self::Stop, "actionstop"),
        (Self::Check, "actioncheck"),
        (Self::Ban, "actionban"),
        (Self::Unban, "actionunban"),
        (Self::Flush, "actionflush"),
        (Self::Prolong, "actionprolong"),
        (Self::Reban, "actionreban"),
        (Self::Repair, "actionrepair"),
        (Self::Reload, "actionreload"),
    ];

    /// The option's name in the action's file.
    #[must_use]
    pub fn option(self) -> &'static str {
        Self::ALL.iter().find(|(step, _)| *step == self).map_or("", |(_, name)| name)
    }
}

/// The address family a command is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    Inet4,
    /// IPv6.
    Inet6,
}

/// A command: words with tags such as `<ip>` and `<F-USER>` in them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// The words; the first is the program.
    pub words: Vec<String>,
}

impl Command {
    /// The argument vector with tags replaced; tags without a value stay as
    /// they are.
    #[must_use]
    pub fn argv(&self, value: &dyn Fn(&str) -> Option<String>) -> Vec<String> {
        self.words.iter().map(|word| fill(word, value)).collect()
    }
}

fn fill(word: &str, value: &dyn Fn(&str) -> Option<String>) -> String {
    let mut out = String::new();
    let mut done = 0;
    while let Some((start, end, tag)) = next_tag(word, done) {
        out.push_str(word.get(done..start).unwrap_or_default());
        match value(tag) {
            Some(text) => out.push_str(&text),
            None => out.push_str(word.get(start..end).unwrap_or_default()),
        }
        done = end;
    }
    out.push_str(word.get(done..).unwrap_or_default());
    out
}

/// How much of an action is taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takeover {
    /// It is a firewall: bans of our own do the same.
    Firewall,
    /// All its commands are argument vectors.
    Commands,
    /// Some or all of it is not; `problems` say what.
    Partly,
}

/// An action of a jail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action {
    /// Its name in the jail.
    pub name: String,
    /// The file it comes from, without the ending.
    pub file: String,
    /// Its parameters, those of the jail included.
    pub parameters: Vec<(String, String)>,
    /// Its commands.
    pub commands: Vec<(Step, Family, Vec<Command>)>,
    /// How much of it is taken over.
    pub takeover: Takeover,
    /// What is not, and why.
    pub problems: Vec<Problem>,
}

impl Action {
    /// Reads an action as a jail names it: `name[option=…]`.
    ///
    /// # Errors
    /// When its file is missing or its substitutions fail.
    pub(crate) fn read(
        files: &Files,
        call: &str,
        jail: &str,
        jail_options: &Values,
        place: &Place,
    ) -> Result<Self, Problem> {
        let (file, options) = options_of(call)
            .map_err(|reason| Problem::new(place.clone(), format!("action: {reason}")))?;
        if file.ends_with(".py") {
            let reason = format!("action {file} is a Python program: not run here");
            return Err(Problem::new(place.clone(), reason));
        }
        let mut init: Values = options.into_iter().collect();
        if !init.contains("name") {
            init.set("name", jail);
        }
        let name = match init.get("actname") {
            Some(name) => name.to_owned(),
            None => match init.get("name") {
                Some(own) if own != jail => {
                    let rest = own.strip_prefix(jail).map(str::to_owned);
                    format!("{file}{}", rest.unwrap_or_else(|| format!("-{own}")))
                }
                _ => file.clone(),
            },
        };
        init.set("actname", name.as_str());
        let mut definition =
            Definition::read(files, "action.d", &file, init).map_err(|mut problem| {
                problem.reason = format!("action {file}: {}", problem.reason);
                problem
            })?;
        definition.take(ACTION_OPTIONS, jail_options, Take::Named)?;
        let values = definition.combined(LATE_TAGS)?;
        let mut action = Self {
            name,
            parameters: definition
                .init
                .iter()
                .filter(|(name, _)| !name.starts_with("known/"))
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            takeover: Takeover::Commands,
            commands: Vec::new(),
            problems: definition.config.problems.clone(),
            file,
        };
        let firewall = FIREWALLS.iter().any(|prefix| action.file.starts_with(prefix));
        for (step, option) in Step::ALL {
            for (family, condition) in [(Family::Inet4, "inet4"), (Family::Inet6, "inet6")] {
                let Some(text) = conditional(&values, option, condition) else { continue };
                if text.trim().is_empty() {
                    continue;
                }
                match commands(&text) {
                    Ok(list) => action.commands.push((step, family, list)),
                    Err(_) if firewall => {}
                    Err(_) if family == Family::Inet6 => {}
                    Err(reason) => {
                        let place = definition.place(option);
                        let reason = format!("action {}: {option}: {reason}", action.file);
                        action.problems.push(Problem::new(place, reason));
                        action.takeover = Takeover::Partly;
                    }
                }
            }
        }
        if firewall {
            action.takeover = Takeover::Firewall;
        }
        Ok(action)
    }

    /// The commands of a step for an address family.
    #[must_use]
    pub fn commands_of(&self, step: Step, family: Family) -> &[Command] {
        self.commands
            .iter()
            .find(|(own, of, _)| *own == step && *of == family)
            .map_or(&[], |(_, _, list)| list.as_slice())
    }
}

/// An option's text for one address family: `option?family=inet6` where there is
/// one, and so for all tags in it.
fn conditional(values: &Values, option: &str, family: &str) -> Option<String> {
    let suffix = format!("?family={family}");
    let text = values.get(&format!("{option}{suffix}")).or_else(|| values.get(option))?;
    let mut chosen = Values::default();
    for (name, value) in values.iter() {
        if !name.contains('?') && !ACTION_OPTIONS.contains(&name) {
            let own = values.get(&format!("{name}{suffix}")).unwrap_or(value);
            chosen.set(name, own);
        }
    }
    chosen.set(option, text);
    let late: Vec<String> = LATE_TAGS.iter().map(|&tag| tag.to_owned()).collect();
    substitute(&mut chosen, &late, &mut |_| None).ok()?;
    chosen.get(option).map(str::to_owned)
}

/// Divides the text of an action into commands and words.
///
/// # Errors
/// What in it needs a shell.
fn commands(text: &str) -> Result<Vec<Command>, String> {
    let mut list = Vec::new();
    for line in text.replace("\\\n", " ").split('\n') {
        let words = words(line)?;
        let Some(program) = words.first() else { continue };
        if ["if", "for", "while", "case", "{", "!", "cd", "export", "."].contains(&program.as_str())
        {
            return Err(format!("needs a shell ({program}): {}", short(line)));
        }
        if program.contains('=') {
            return Err(format!("needs a shell (sets a variable): {}", short(line)));
        }
        list.push(Command { words });
    }
    Ok(list)
}

pub(super) fn words(line: &str) -> Result<Vec<String>, String> {
    let shell = |what: &str| Err(format!("needs a shell ({what}): {}", short(line)));
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut at = 0;
    let mut quote: Option<char> = None;
    while let Some(c) = line.get(at..).and_then(|rest| rest.chars().next()) {
        if c == '<'
            && let Some((start, end, tag)) = next_tag(line, at)
            && start == at
            && tag.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '/'))
        {
            word.get_or_insert_default().push_str(line.get(start..end).unwrap_or_default());
            at = end;
            continue;
        }
        at += c.len_utf8();
        match (quote, c) {
            (Some('\''), '\'') | (Some('"'), '"') => quote = None,
            (Some('"'), '$' | '`') => return shell(&c.to_string()),
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None | Some('"'), '\\') => {
                let Some(next) = line.get(at..).and_then(|rest| rest.chars().next()) else {
                    return shell("\\");
                };
                at += next.len_utf8();
                if quote.is_some() && !matches!(next, '"' | '\\' | '$' | '`') {
                    word.get_or_insert_default().push('\\');
                }
                word.get_or_insert_default().push(next);
            }
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (None, '#') if word.is_none() => break,
            (None, '|' | '&' | ';' | '<' | '>' | '(' | ')' | '$' | '`' | '*' | '?' | '~') => {
                return shell(&c.to_string());
            }
            (_, c) => word.get_or_insert_default().push(c),
        }
        if words.len() > MAX_WORDS {
            return Err("too many words".into());
        }
    }
    if quote.is_some() {
        return shell("text in quotes over several lines");
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests: a failure is a panic")]
mod tests {
    use super::*;

    fn files() -> Files {
        let mut files = Files::new();
        let text = "[Definition]\nactionban = notify --to '<dest>' \"<F-USER> from <ip>\" <blocktype>\nactionunban = a | b\n[Init]\ndest = root@localhost\nblocktype = four\n[Init?family=inet6]\nblocktype = six\n";
        files.insert("action.d/notify.conf", text).unwrap();
        files
    }

    fn read(call: &str) -> Result<Action, Problem> {
        let place = Place { file: "jail.conf".into(), line: 7 };
        Action::read(&files(), call, "sshd", &Values::default(), &place)
    }

    #[test]
    fn commands_are_words_and_tags_stay_one_argument() {
        let action = read("notify[dest=\"me; rm -rf /\"]").unwrap();
        let [command] = action.commands_of(Step::Ban, Family::Inet4) else { panic!("{action:?}") };
        let argv = command.argv(&|tag| match tag {
            "ip" => Some("192.0.2.1".into()),
            "F-USER" => Some("$(reboot) '\"".into()),
            _ => None,
        });
        assert_eq!(
            argv,
            ["notify", "--to", "me; rm -rf /", "$(reboot) '\" from 192.0.2.1", "four"]
        );
        let [six] = action.commands_of(Step::Ban, Family::Inet6) else { panic!("{action:?}") };
        assert_eq!(six.words.last().unwrap(), "six");
    }

    #[test]
    fn what_needs_a_shell_is_named() {
        let action = read("notify").unwrap();
        assert_eq!(action.takeover, Takeover::Partly);
        let [problem] = action.problems.as_slice() else { panic!("{action:?}") };
        assert_eq!(problem.place.to_string(), "action.d/notify.conf:3");
        assert!(problem.reason.contains("needs a shell (|)"), "{problem}");
    }

    #[test]
    fn a_missing_action_and_python_actions_are_errors() {
        assert!(read("nothing").is_err());
        assert!(read("smtp.py[host=x]").unwrap_err().reason.contains("Python"));
    }
}
