//! A jail at work: its filter turns lines into events, its numbers are a
//! scenario, and from there on all goes the way of every other log.
//!
//! The event of a failure is a `line.matched` of the category `Log/jail(NAME)`;
//! the scenario `fail2ban.NAME` counts those by fail2ban's arithmetic. Whoever
//! `ignoreip` names makes no event at all, as in fail2ban.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};

use palisade_event::{
    AttributeValue, Category, Credentials, DecisionType, Endpoint, EventKind, HostName, Outcome,
    ScenarioName, Timestamp, Untrusted,
};

use super::counting::BanTime;
use super::date::Now;
use super::failure::Failure;
use super::filter::{Filter, FilterOptions, Found};
use super::host::FailureId;
use super::ignore::Ignore;
use super::jail::Jail;
use super::problem::Problem;
use crate::Observation;
use crate::parser::Parsed;
use crate::policy::FOREVER_SECS;
use crate::scenario::{GroupBy, Rule, Scenario, SightingFilter, Span};

/// Longest part of a line that is kept, in bytes.
const MAX_KEPT_BYTES: usize = 4096;
/// Longest `findtime`, in seconds: ten years.
const MAX_FIND_SECS: f64 = FOREVER_SECS as f64;

/// What names and files of `ignoreip` stand for now.
#[derive(Debug, Default)]
struct Resolved {
    names: HashMap<String, Vec<IpAddr>>,
    /// `None` until the files were read.
    listed: Option<Ignore>,
}

/// A jail whose filter is compiled.
pub struct RunningJail {
    name: ScenarioName,
    category: Category,
    description: Box<str>,
    filter: Filter,
    /// Which sightings are its failures.
    counted: SightingFilter,
    max_retry: u32,
    find_secs: f64,
    ban_time: BanTime,
    ignore: Ignore,
    ignore_command: Option<Vec<String>>,
    resolved: RwLock<Resolved>,
}

impl RunningJail {
    /// Makes a jail ready to run.
    ///
    /// # Errors
    /// All that keeps it from running, each with file and line.
    pub fn new(jail: &Jail, now: &Now) -> Result<Self, Vec<Problem>> {
        let wrong = |reason: String| vec![Problem::new(jail.place.clone(), reason)];
        if !jail.errors.is_empty() {
            return Err(jail.errors.clone());
        }
        let Some(definition) = &jail.filter else {
            return Err(wrong("has no filter".to_owned()));
        };
        let names = (
            ScenarioName::new(&format!("fail2ban.{}", jail.name)),
            Category::new(&format!("Log/jail({})", jail.name)),
        );
        let (Ok(name), Ok(category)) = names else {
            return Err(wrong(format!(
                "the name of the jail '{}' must be 1 to 54 letters, digits, '.', '_' or '-'",
                jail.name.escape_debug()
            )));
        };
        let counted = SightingFilter::parse(&format!(
            "kind:{} service:\"{}\"",
            EventKind::LineMatched,
            jail.name
        ));
        let counted = counted.map_err(|error| wrong(error.message))?;
        let options = FilterOptions { use_dns: jail.use_dns, ..FilterOptions::default() };
        let mut filter = Filter::new(definition, options, now)?;
        if let Some(minutes) = jail.log_offset {
            filter.set_offset(minutes);
        }
        Ok(Self {
            name,
            category,
            description: format!("failures of the fail2ban jail {}", jail.name).into(),
            filter,
            counted,
            max_retry: jail.max_retry,
            find_secs: jail.find_secs.clamp(1.0, MAX_FIND_SECS),
            ban_time: jail.ban_time.clone(),
            ignore: jail.ignore.clone(),
            ignore_command: jail.ignore_command.clone(),
            resolved: RwLock::default(),
        })
    }

    /// The name of its scenario: `fail2ban.` and the jail's.
    #[must_use]
    pub fn name(&self) -> &str {
        self.name.as_str()
    }

    /// The scenario that counts its failures.
    #[must_use]
    pub fn scenario(&self) -> Scenario {
        let secs = |secs: f64| Span::secs(secs.round().clamp(1.0, MAX_FIND_SECS) as u32);
        Scenario {
            name: self.name.clone(),
            description: self.description.clone(),
            filter: self.counted.clone(),
            rule: Rule::Rate {
                count: self.max_retry,
                within: secs(self.find_secs),
                weighs_known: self.ban_time.increment.is_some(),
            },
            group_by: GroupBy::Address,
            blackhole: None,
            decision: DecisionType::new("ban").ok(),
            ban: Some(secs(self.ban_time.of(0, 0.0).unwrap_or(MAX_FIND_SECS))),
            ban_time: Some(self.ban_time.clone()),
            simulation: false,
            runs: crate::scenario::Runs::Agent,
            file: Some("fail2ban's configuration".into()),
        }
    }

    /// Names of `ignoreip` whose addresses must be told with [`Self::set_resolved`].
    #[must_use]
    pub fn ignored_names(&self) -> &[String] {
        &self.ignore.names
    }

    /// Files of `ignoreip` whose texts must be told with [`Self::set_resolved`].
    #[must_use]
    pub fn ignored_files(&self) -> &[String] {
        &self.ignore.files
    }

    /// Tells what names and files of `ignoreip` stand for now. A name that is
    /// missing is not known, and then nobody is banned; so it is with files where
    /// `listed` is `None`.
    pub fn set_resolved(&self, names: HashMap<String, Vec<IpAddr>>, listed: Option<&str>) {
        let listed = listed.map(|text| {
            let words: Vec<&str> =
                text.lines().map(|line| line.split('#').next().unwrap_or_default()).collect();
            Ignore { files: Vec::new(), ..Ignore::new(&words.join("\n"), false) }
        });
        let mut known = self.resolved.write().unwrap_or_else(PoisonError::into_inner);
        *known = Resolved { names, listed };
    }

    /// The command that decides whether an address is ignored: it is if the
    /// command ends with 0.
    #[must_use]
    pub fn ignore_command(&self, address: IpAddr) -> Option<Vec<String>> {
        let words = self.ignore_command.as_ref()?;
        let address = address.to_string();
        Some(words.iter().map(|word| word.replace("<ip>", &address)).collect())
    }

    fn ignores(&self, address: IpAddr) -> bool {
        let known = self.resolved.read().unwrap_or_else(PoisonError::into_inner);
        let resolve = |name: &str| known.names.get(name).cloned();
        let listed = || match (&known.listed, self.ignore.files.is_empty()) {
            (_, true) => false,
            (Some(listed), false) => listed.covers(address, &[], &|_| Some(Vec::new())),
            (None, false) => true,
        };
        // The machine's own addresses are spared anyway.
        self.ignore.covers(address, &[], &resolve) || listed()
    }

    /// What a line of a file says.
    pub(crate) fn line(&self, state: &mut Option<Box<Filter>>, line: &[u8], now: &Now) -> Parsed {
        let text = String::from_utf8_lossy(line.trim_ascii_end());
        if text.is_empty() {
            return Parsed::Irrelevant;
        }
        let filter = state.get_or_insert_with(|| Box::new(self.filter.clone()));
        let found = filter.line(&text, now).found;
        self.observed(found, &text, None, now)
    }

    /// What an entry of the journal or a message by network says. As fail2ban
    /// has it, the filter sees host, program and process before the text.
    pub(crate) fn message(
        &self,
        state: &mut Option<Box<Filter>>,
        message: &crate::Message<'_>,
        now: &Now,
    ) -> Parsed {
        let part = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut text = message.host.map(|host| part(host) + " ").unwrap_or_default();
        if !message.program.is_empty() {
            text.push_str(&part(message.program));
            if let Some(pid) = message.pid {
                text.push_str(&format!("[{pid}]"));
            }
            text.push_str(": ");
        }
        text.push_str(&String::from_utf8_lossy(message.text.trim_ascii_end()));
        let filter = state.get_or_insert_with(|| Box::new(self.filter.clone()));
        let at = message.at.as_millis() as f64 / 1000.0;
        let found = filter.journal(&text, at, now).found;
        let host = message.host.and_then(|host| std::str::from_utf8(host).ok());
        self.observed(found, &text, host.and_then(|host| HostName::new(host).ok()), now)
    }

    fn observed(&self, found: Vec<Found>, line: &str, host: Option<HostName>, now: &Now) -> Parsed {
        let mut all: Vec<Observation> = found
            .into_iter()
            .filter(|found| !found.failure.is_context())
            .filter_map(|found| self.observation(found, line, now))
            .collect();
        if let Some(host) = host {
            all.iter_mut().for_each(|seen| seen.host = Some(host.clone()));
        }
        match (all.pop(), all.is_empty()) {
            (None, _) => Parsed::Irrelevant,
            (Some(one), true) => Parsed::Observation(Box::new(one)),
            (Some(last), false) => {
                all.push(last);
                Parsed::Several(all)
            }
        }
    }

    fn observation(&self, found: Found, line: &str, now: &Now) -> Option<Observation> {
        let at = found.at.unwrap_or(now.epoch);
        // What is older does not count, as in fail2ban.
        if at < now.epoch - self.find_secs {
            return None;
        }
        let id = found.id.as_ref()?;
        let address = id.address().map(|address| address.to_canonical());
        if address.is_some_and(|address| self.ignores(address)) {
            return None;
        }
        let kept = line.get(..line.floor_char_boundary(MAX_KEPT_BYTES)).unwrap_or_default();
        let mut seen = Observation {
            source: address.map(Endpoint::address),
            category: Some(self.category.clone()),
            request: Some(Untrusted::from(kept)),
            credentials: user(&found.failure).map(|user| Credentials {
                username: Some(Untrusted::from(user)),
                outcome: Some(Outcome::Failed),
                ..Credentials::default()
            }),
            ..Observation::new(
                EventKind::LineMatched,
                Timestamp::from_millis((at * 1000.0).round() as i64),
            )
        };
        seen.note("jail", AttributeValue::from(self.jail()));
        if address.is_none() {
            // Nothing is counted by address then: nobody is banned for a name.
            let name = match id {
                FailureId::Name(_) => "source_name",
                FailureId::Net(_) | FailureId::Text(_) => "failure_id",
            };
            seen.note(name, AttributeValue::from(Untrusted::from(id.to_string())));
        }
        Some(seen)
    }

    fn jail(&self) -> &str {
        self.name.as_str().strip_prefix("fail2ban.").unwrap_or_default()
    }
}

/// The login name of a failure.
fn user(failure: &Failure) -> Option<&str> {
    let named = failure.get("user").or_else(|| failure.get("alt_user"));
    named.or_else(|| failure.users().next()).filter(|user| !user.is_empty())
}

impl fmt::Debug for RunningJail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RunningJail").field(&self.name()).finish()
    }
}

/// A jail as what reads a log; the same one has the same name.
#[derive(Clone, Debug)]
pub struct JailLines(pub(crate) Arc<RunningJail>);

impl From<Arc<RunningJail>> for JailLines {
    fn from(jail: Arc<RunningJail>) -> Self {
        Self(jail)
    }
}

impl JailLines {
    /// The jail.
    #[must_use]
    pub fn jail(&self) -> &Arc<RunningJail> {
        &self.0
    }
}

impl PartialEq for JailLines {
    fn eq(&self, other: &Self) -> bool {
        self.0.name == other.0.name
    }
}

impl Eq for JailLines {}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests: a failure is a panic")]
mod tests {
    use jiff::tz::TimeZone;

    use super::super::files::Files;
    use super::super::jail::jails;
    use super::*;
    use crate::{Detector, Engine, EngineOptions, LineContext, LineState, LogFormat, Sighting};

    const NOW: i64 = 1_795_000_000;

    fn jail(own: &str) -> Arc<RunningJail> {
        let mut files = Files::new();
        let text = format!(
            "[app]\nenabled = true\nbackend = auto\nfilter = app\nlogpath = /var/log/app.log\nlogtimezone = UTC\n{own}\n"
        );
        files.insert("jail.conf", text).unwrap();
        let filter = "[Definition]\nprefregex = ^\\s*app: <F-CONTENT>.+</F-CONTENT>$\nfailregex = ^login of <F-USER>\\S+</F-USER> failed from <HOST>$\n  ^<F-NOFAIL>hello</F-NOFAIL> from <HOST>$\n";
        files.insert("filter.d/app.conf", filter).unwrap();
        let (all, problems) = jails(&files).unwrap();
        assert!(problems.is_empty() && all[0].errors.is_empty(), "{all:?}");
        let now = Now { epoch: NOW as f64, zone: TimeZone::UTC };
        Arc::new(RunningJail::new(&all[0], &now).unwrap())
    }

    fn read(jail: &Arc<RunningJail>, line: &str) -> Option<Observation> {
        let now = Timestamp::from_millis(NOW * 1000);
        let mut state = LineState::new(LineContext { now, zone: TimeZone::UTC });
        match LogFormat::Jail(Arc::clone(jail).into()).parse(line.as_bytes(), &mut state) {
            Parsed::Observation(seen) => Some(*seen),
            Parsed::Irrelevant => None,
            other => panic!("{other:?}"),
        }
    }

    fn line(secs_ago: i64, text: &str) -> String {
        format!("{} app: {text}", NOW - secs_ago)
    }

    #[test]
    fn a_failure_is_an_event_of_the_jail_with_its_address_and_user() {
        let jail = jail("");
        let seen = read(&jail, &line(9, "login of root failed from 198.51.100.7")).unwrap();
        assert_eq!(seen.kind, EventKind::LineMatched);
        assert_eq!(seen.observed_at, Timestamp::from_millis((NOW - 9) * 1000));
        assert_eq!(seen.source.unwrap().address.to_string(), "198.51.100.7");
        assert_eq!(seen.credentials.as_ref().unwrap().username, Some(Untrusted::from("root")));
        assert_eq!(Sighting::from(&seen).service, "app");
        assert_eq!(read(&jail, &line(9, "hello from 198.51.100.7")), None, "context");
        assert_eq!(read(&jail, &line(9, "something else")), None);
        let old = line(601, "login of root failed from 198.51.100.7");
        assert_eq!(read(&jail, &old), None, "older than findtime");
        let named = read(&jail, &line(1, "login of root failed from host.example")).unwrap();
        assert_eq!(named.source, None, "a name is nobody's address");
    }

    #[test]
    fn who_is_ignored_makes_no_event_nor_who_may_be() {
        let jail = jail("ignoreip = 192.0.2.0/24 office.example file:/etc/list");
        let seen = |address: &str| {
            let text = line(1, &format!("login of root failed from {address}"));
            read(&jail, &text).is_some()
        };
        assert!(!seen("198.51.100.7"), "neither name nor file is known yet");
        let office =
            HashMap::from([("office.example".to_owned(), vec!["203.0.113.5".parse().unwrap()])]);
        jail.set_resolved(office, Some("# ours\n198.51.100.8\n203.0.113.64/26 # lab\n"));
        assert!(seen("198.51.100.7"));
        for ignored in ["192.0.2.9", "203.0.113.5", "198.51.100.8", "203.0.113.77"] {
            assert!(!seen(ignored), "{ignored}");
        }
    }

    #[test]
    fn a_jail_decides_as_its_settings_say() {
        let jail = jail(
            "maxretry = 3\nfindtime = 10m\nbantime = 1h\nbantime.increment = true\nbantime.maxtime = 3h",
        );
        let engine = Engine::new(vec![jail.scenario()], EngineOptions::default()).unwrap();
        let policy = crate::Policy::new(crate::PolicyConfig::default());
        let mut detector = Detector::new(engine, crate::Allowlist::new(Vec::new()), policy);
        let mut fail = |secs: i64| {
            let mut seen = read(&jail, &line(1, "login of root failed from 198.51.100.7")).unwrap();
            seen.observed_at = Timestamp::from_millis((NOW + secs) * 1000);
            let found = detector.see(&Sighting::from(&seen), None);
            found.into_iter().find_map(|finding| match finding.verdict {
                crate::Verdict::Decided(decision) => {
                    assert_eq!(decision.scenario.as_str(), "fail2ban.app");
                    Some(decision.duration_secs)
                }
                _ => None,
            })
        };
        assert_eq!([fail(0), fail(1), fail(2)], [None, None, Some(3600)]);
        // Banned before: each failure counts two, and the ban doubles, to a bound.
        assert_eq!([fail(4000), fail(4001)], [None, Some(7200)]);
        assert_eq!([fail(20_000)], [Some(10_800)]);
    }

    #[test]
    fn a_ban_for_ever_is_ten_years() {
        let scenario = jail("bantime = -1").scenario();
        assert_eq!(u64::from(scenario.ban.unwrap().as_secs()), FOREVER_SECS);
    }
}
