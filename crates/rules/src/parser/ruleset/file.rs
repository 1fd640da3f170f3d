//! A parser as it stands in a TOML file: names and texts, not yet checked.

use std::collections::BTreeMap;

use palisade_event::{EventKind, Outcome};
use serde::Deserialize;

/// One file of `ruleset/parsers`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ParserFile {
    /// Its name in settings and on the command line.
    pub(super) name: String,
    /// One sentence: whose log this is and what is read of it.
    pub(super) about: String,
    /// The type of service, as events have it.
    #[serde(default)]
    pub(super) category: Option<String>,
    /// What lines begin with.
    #[serde(default = "syslog")]
    pub(super) heads: Vec<HeadName>,
    /// The names that the program has in syslog; `postfix/*` is all that begin so.
    #[serde(default)]
    pub(super) programs: Vec<String>,
    /// What messages say. The first that fits counts.
    #[serde(default)]
    pub(super) patterns: Vec<PatternFile>,
    /// Where things stand in lines that are JSON objects.
    #[serde(default)]
    pub(super) json: Option<JsonFile>,
    /// Which requests to a web server become events.
    #[serde(default)]
    pub(super) keep: Option<KeepFile>,
    /// Requests with a meaning of their own, such as logins.
    #[serde(default)]
    pub(super) requests: Vec<RequestFile>,
}

fn syslog() -> Vec<HeadName> {
    vec![HeadName::Syslog]
}

/// What lines begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum HeadName {
    /// Time, host, program and process id.
    Syslog,
    /// A time of any known form, then the message.
    Time,
    /// The line is the message; a group `time` has the time.
    None,
    /// The common or combined log format of web servers.
    Access,
    /// The line is a JSON object.
    Json,
}

/// One message.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PatternFile {
    /// A regular expression over bytes whose named groups are what is known.
    #[serde(rename = "match")]
    pub(super) expression: String,
    /// What happened. Missing where the line is known and says nothing.
    #[serde(default)]
    pub(super) kind: Option<EventKind>,
    /// How the login ended.
    #[serde(default)]
    pub(super) outcome: Option<Outcome>,
    /// A reason, where the line has none to capture.
    #[serde(default)]
    pub(super) reason: Option<String>,
    /// A text that each such line contains; found in the expression by itself
    /// where possible.
    #[serde(default)]
    pub(super) needs: Option<String>,
    /// Only messages of this program.
    #[serde(default)]
    pub(super) program: Option<String>,
    /// The expression may match anywhere, and the last place counts: nothing
    /// that a client writes follows it.
    #[serde(default)]
    pub(super) last: bool,
    /// The line is known and says nothing.
    #[serde(default)]
    pub(super) ignore: bool,
    /// Attributes that all such lines have.
    #[serde(default)]
    pub(super) attributes: BTreeMap<String, String>,
}

/// Where things stand in a JSON object: paths such as `request.client_ip`; the
/// first of several that is there counts, and of a list its first element.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct JsonFile {
    /// Fields that must have these texts; other objects are irrelevant.
    #[serde(default)]
    pub(super) require: BTreeMap<String, String>,
    /// By what they are: `time`, `source`, `user`, `message`, … or an attribute.
    pub(super) fields: BTreeMap<String, Paths>,
    /// What happened, where no message says it.
    #[serde(default)]
    pub(super) kind: Option<EventKind>,
}

/// One path or several.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Paths {
    /// One.
    One(String),
    /// The first that is there counts.
    Several(Vec<String>),
}

/// Which requests become events. What scenarios look at is not limited by it.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct KeepFile {
    /// Statuses: `404`, `4xx`.
    pub(super) status: Vec<String>,
    /// Texts in the target, in any case.
    pub(super) requests: Vec<String>,
    /// Texts in what the client calls itself, in any case.
    pub(super) clients: Vec<String>,
    /// Also the texts of `ruleset/suspicious.toml`.
    pub(super) suspicious: bool,
}

/// A request with a meaning of its own.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RequestFile {
    /// The method; any where missing.
    #[serde(default)]
    pub(super) method: Option<String>,
    /// The path without the query; `*` at its beginning or end is any text.
    pub(super) path: String,
    /// The statuses; any where missing.
    #[serde(default)]
    pub(super) status: Vec<u16>,
    /// What happened.
    pub(super) kind: EventKind,
    /// How the login ended.
    #[serde(default)]
    pub(super) outcome: Option<Outcome>,
    /// Why, in few words.
    #[serde(default)]
    pub(super) reason: Option<String>,
}

/// Texts of requests that no visitor sends: `ruleset/suspicious.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SuspiciousFile {
    /// Texts in the target.
    pub(super) requests: Vec<String>,
    /// Texts in what the client calls itself.
    pub(super) clients: Vec<String>,
}
