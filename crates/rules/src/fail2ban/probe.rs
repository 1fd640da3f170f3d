//! Questions about single lines, one JSON object each: what does this filter
//! say to this line?
//!
//! ```text
//! {"filter": "sshd", "options": {"mode": "aggressive"}, "line": "…"}
//! {"match": true, "host": "192.0.2.1", "time_epoch": 1124013600, "attrs": {"user": "root", …}}
//! ```
//!
//! A filter with its options keeps its state from question to question:
//! sessions, lines looked at together, forms of the time. All expressions are
//! tried, as fail2ban's tests do. With the option `logtype=journal` the line is
//! a message of the journal and its time is now. Options called `test.…` are not
//! given to the filter; `test.prefix-line` is put before such a message.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value as Json, json};

use super::date::Now;
use super::failure::Value;
use super::files::Files;
use super::filter::{Filter, FilterOptions, Found, RawNames, Tries};
use super::filter_file::{Backend, FilterDefinition};
use super::tags::options_of;

/// Longest question, in bytes.
pub const MAX_REQUEST_BYTES: usize = 1024 * 1024;
/// Filters kept with their state; a question for one more is refused.
const MAX_FILTERS: usize = 4096;

#[derive(Deserialize)]
struct Request {
    filter: String,
    #[serde(default)]
    options: Option<Map<String, Json>>,
    line: String,
    /// Seconds since 1970, in place of the caller's clock.
    #[serde(default)]
    now: Option<f64>,
}

/// Filters by name and options, with their state.
#[derive(Debug)]
pub struct Prober {
    files: Files,
    filters: BTreeMap<(String, String), Result<Filter, String>>,
}

impl Prober {
    /// Answers for the filters of a configuration folder.
    #[must_use]
    pub fn new(files: Files) -> Self {
        Self { files, filters: BTreeMap::new() }
    }

    /// The answer to one question. What is wrong with a question or a filter is
    /// in the answer's `error`.
    pub fn answer(&mut self, question: &str, now: &Now) -> String {
        let answer = self.ask(question, now).unwrap_or_else(|error| {
            json!({"match": false, "host": null, "time_epoch": null, "attrs": {}, "error": error})
        });
        answer.to_string()
    }

    fn ask(&mut self, question: &str, now: &Now) -> Result<Json, String> {
        if question.len() > MAX_REQUEST_BYTES {
            return Err(format!("longer than {MAX_REQUEST_BYTES} bytes"));
        }
        let request: Request = serde_json::from_str(question).map_err(|error| error.to_string())?;
        let mut now = now.clone();
        if let Some(epoch) = request.now {
            now.epoch = epoch;
        }
        let options = request.options.unwrap_or_default();
        let test = |name: &str| options.get(name).map(plain);
        let prefix = test("test.prefix-line").unwrap_or_default();
        let (name, mut list) = options_of(&request.filter)?;
        for (name, value) in &options {
            if !name.starts_with("test.") {
                list.push((name.clone(), plain(value)));
            }
        }
        let journal = list.iter().any(|(name, value)| name == "logtype" && value == "journal");
        let key = (name.clone(), serde_json::to_string(&list).unwrap_or_default());
        if self.filters.len() >= MAX_FILTERS && !self.filters.contains_key(&key) {
            return Err("too many filters with different options".into());
        }
        let files = &self.files;
        let filter = self
            .filters
            .entry(key)
            .or_insert_with(|| compile(files, &name, &list, &now))
            .as_mut()
            .map_err(|error| error.clone())?;
        let line = request.line.trim_end_matches(['\r', '\n']);
        let outcome = if journal {
            filter.journal(&format!("{prefix}{line}"), now.epoch, &now)
        } else {
            filter.line(line, &now)
        };
        let found =
            outcome.found.iter().find(|found| found.id.is_some() && !found.failure.is_context());
        Ok(match found {
            Some(found) => json!({
                "match": true,
                "host": host(found),
                "time_epoch": found.at.map(number),
                "attrs": attributes(found),
            }),
            None => json!({"match": false, "host": null, "time_epoch": null, "attrs": {}}),
        })
    }
}

fn compile(
    files: &Files,
    name: &str,
    options: &[(String, String)],
    now: &Now,
) -> Result<Filter, String> {
    let definition = FilterDefinition::read_with(files, name, options, Backend::File)
        .map_err(|problem| problem.to_string())?;
    let options =
        FilterOptions { tries: Tries::All, raw_names: RawNames::Keep, ..FilterOptions::default() };
    Filter::new(&definition, options, now)
        .map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
}

fn plain(value: &Json) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn host(found: &Found) -> Json {
    match found.failure.get("host") {
        Some(host) => host.into(),
        None => found.id.as_ref().map(ToString::to_string).into(),
    }
}

/// Whole seconds as a whole number.
pub(super) fn number(seconds: f64) -> Json {
    if seconds.fract() == 0.0 && seconds.abs() < 9e15 {
        json!(seconds as i64)
    } else {
        json!(seconds)
    }
}

fn attributes(found: &Found) -> Map<String, Json> {
    let mut out = Map::new();
    for (name, value) in found.failure.groups() {
        match value {
            Value::Unset => {}
            Value::Text(text) => {
                out.insert(name.to_owned(), text.as_str().into());
            }
            Value::Tuple(parts) => {
                out.insert(name.to_owned(), json!(parts));
            }
        }
    }
    let users: Vec<&str> = found.failure.users().collect();
    if !users.is_empty() {
        out.insert("users".to_owned(), json!(users));
    }
    out.insert("attempts".to_owned(), json!(found.failure.matches().len()));
    out
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests: a failure is a panic")]
mod tests {
    use super::*;

    fn prober() -> Prober {
        let mut files = Files::new();
        files
            .insert(
                "filter.d/x.conf",
                "[Definition]\nfailregex = ^ fail<word> <F-USER>\\S+</F-USER> from <HOST>$\n[Init]\nword = ed\n",
            )
            .unwrap();
        Prober::new(files)
    }

    fn now() -> Now {
        Now { epoch: 1_124_013_600.0, zone: jiff::tz::TimeZone::UTC }
    }

    #[test]
    fn a_question_gets_host_time_and_attributes() {
        let mut prober = prober();
        let answer = prober.answer(
            r#"{"filter": "x", "line": "Aug 14 09:00:00 failed root from 192.0.2.1"}"#,
            &now(),
        );
        assert_eq!(
            answer,
            r#"{"attrs":{"attempts":1,"ip4":"192.0.2.1","user":"root"},"host":"192.0.2.1","match":true,"time_epoch":1124010000}"#
        );
    }

    #[test]
    fn options_and_the_journal_are_respected() {
        let mut prober = prober();
        let question = r#"{"filter": "x", "options": {"word": "ure", "logtype": "journal"}, "line": " failure root from 192.0.2.1"}"#;
        assert!(prober.answer(question, &now()).ends_with(r#""time_epoch":1124013600}"#));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let mut prober = prober();
        for (question, reason) in [
            ("{}", "missing field"),
            ("[", "EOF"),
            (r#"{"filter": "y", "line": ""}"#, "filter.d/y.conf: is not there"),
            (r#"{"filter": "x[word", "line": ""}"#, "option syntax"),
            (r#"{"filter": "x[word='(']", "line": ""}"#, "missing )"),
        ] {
            let answer: Json = serde_json::from_str(&prober.answer(question, &now())).unwrap();
            let error = answer["error"].as_str().unwrap();
            assert!(error.contains(reason), "{question}: {error}");
        }
    }
}
