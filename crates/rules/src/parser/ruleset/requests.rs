//! What a request to a web server means, and whether it becomes an event.
//!
//! A busy server answers thousands of requests a second, and nearly all of them
//! are nobody's business. Scenarios look at each; an event becomes what failed,
//! and what no visitor sends.

use std::sync::OnceLock;

use aho_corasick::{AhoCorasick, AhoCorasickBuilder};
use palisade_event::{EventKind, Outcome};

use super::file::{KeepFile, RequestFile, SuspiciousFile};
use crate::Sighting;

/// Most texts of one parser that are looked for in requests.
const MAX_TEXTS: usize = 2048;
/// How much of a target or a client's name is looked at, in bytes.
const MAX_SEARCHED_BYTES: usize = 4096;

/// The shipped texts of requests that no visitor sends.
const SUSPICIOUS: &str = include_str!("../../../../../ruleset/suspicious.toml");

/// What requests mean and which are kept.
#[derive(Debug, Default)]
pub(super) struct Requests {
    rules: Vec<Rule>,
    /// By status / 100 and by status.
    classes: [bool; 10],
    statuses: Vec<u16>,
    kept: Kept,
    searches: OnceLock<Searches>,
}

/// Texts of requests that are kept.
#[derive(Debug, Default)]
struct Kept {
    targets: Vec<String>,
    clients: Vec<String>,
    /// Also the shipped ones.
    suspicious: bool,
}

/// Searches for them, made for the first request that may become an event: a
/// look at a log needs none.
#[derive(Debug, Default)]
struct Searches {
    targets: Option<AhoCorasick>,
    clients: Option<AhoCorasick>,
}

impl Kept {
    fn searches(&self) -> Result<Searches, String> {
        let (mut targets, mut clients) = (self.targets.clone(), self.clients.clone());
        if self.suspicious {
            let shipped: SuspiciousFile =
                toml::from_str(SUSPICIOUS).map_err(|error| format!("suspicious.toml: {error}"))?;
            targets.extend(shipped.requests);
            clients.extend(shipped.clients);
        }
        Ok(Searches { targets: searcher(&targets)?, clients: searcher(&clients)? })
    }
}

/// A request with a meaning of its own.
#[derive(Debug)]
struct Rule {
    method: Option<Box<[u8]>>,
    path: Path,
    statuses: Vec<u16>,
    kind: EventKind,
    outcome: Option<Outcome>,
    reason: Option<Box<str>>,
}

/// A path, whole or in part.
#[derive(Debug)]
enum Path {
    Is(Box<[u8]>),
    Begins(Box<[u8]>),
    Ends(Box<[u8]>),
    Contains(Box<[u8]>),
}

impl Path {
    fn new(text: &str) -> Result<Self, String> {
        let bytes = |text: &str| text.as_bytes().to_vec().into_boxed_slice();
        let (text, ends) = text.strip_prefix('*').map_or((text, false), |text| (text, true));
        let (text, begins) = text.strip_suffix('*').map_or((text, false), |text| (text, true));
        if text.is_empty() || text.contains('*') {
            return Err("has no path, or one with a '*' inside".to_owned());
        }
        Ok(match (begins, ends) {
            (false, false) => Self::Is(bytes(text)),
            (true, false) => Self::Begins(bytes(text)),
            (false, true) => Self::Ends(bytes(text)),
            (true, true) => Self::Contains(bytes(text)),
        })
    }

    fn is(&self, path: &[u8]) -> bool {
        match self {
            Self::Is(text) => path == &**text,
            Self::Begins(text) => path.starts_with(text),
            Self::Ends(text) => path.ends_with(text),
            Self::Contains(text) => memchr::memmem::find(path, text).is_some(),
        }
    }
}

impl Requests {
    /// Checks and compiles. The mistake is a sentence.
    pub(super) fn new(keep: KeepFile, rules: Vec<RequestFile>) -> Result<Self, String> {
        let mut requests = Self::default();
        for (index, rule) in rules.into_iter().enumerate() {
            let path = Path::new(&rule.path)
                .map_err(|mistake| format!("request {} {mistake}", index + 1))?;
            requests.rules.push(Rule {
                method: rule.method.map(|name| name.into_bytes().into_boxed_slice()),
                path,
                statuses: rule.status,
                kind: rule.kind,
                outcome: rule.outcome,
                reason: rule.reason.map(String::into_boxed_str),
            });
        }
        for text in &keep.status {
            let wrong = || {
                format!("keep.status: '{}' is no status; write 404 or 4xx", text.escape_default())
            };
            match text.strip_suffix("xx") {
                Some(class) => {
                    let class: usize = class.parse().map_err(|_| wrong())?;
                    *requests.classes.get_mut(class).ok_or_else(wrong)? = true;
                }
                None => requests.statuses.push(text.parse().map_err(|_| wrong())?),
            }
        }
        requests.kept =
            Kept { targets: keep.requests, clients: keep.clients, suspicious: keep.suspicious };
        Ok(requests)
    }

    /// Makes the searches that would be made when they are needed.
    pub(super) fn check(&self) -> Result<(), String> {
        let searches = self.kept.searches()?;
        let _ = self.searches.set(searches);
        Ok(())
    }

    fn searches(&self) -> &Searches {
        // A check has told what is wrong.
        self.searches.get_or_init(|| self.kept.searches().unwrap_or_default())
    }

    /// Gives a request the meaning it has.
    #[inline]
    pub(super) fn mean<'a>(&'a self, seen: &mut Sighting<'a>) {
        let status = seen.status.unwrap_or_default();
        let target = seen.request.unwrap_or_default();
        let end = match self.rules.is_empty() {
            true => None,
            false => memchr::memchr2(b'?', b'#', target),
        };
        let path = target.get(..end.unwrap_or(target.len())).unwrap_or(target);
        let rule = self.rules.iter().find(|rule| {
            rule.method.as_deref().is_none_or(|method| Some(method) == seen.method)
                && (rule.statuses.is_empty() || rule.statuses.contains(&status))
                && rule.path.is(path)
        });
        if let Some(rule) = rule {
            seen.kind = rule.kind;
            seen.outcome = rule.outcome;
            seen.reason = rule.reason.as_deref().map(str::as_bytes).or(seen.reason);
        } else if status == 401 && seen.user.is_some() {
            // Without a name it is the question, not a wrong answer.
            seen.kind = EventKind::AuthAttempted;
            seen.outcome = Some(Outcome::Failed);
        }
    }

    /// Whether it becomes an event.
    pub(super) fn keeps(&self, seen: &Sighting<'_>) -> bool {
        if seen.kind != EventKind::RequestAnswered {
            return true;
        }
        let status = seen.status.unwrap_or_default();
        let class = self.classes.get(usize::from(status / 100));
        class == Some(&true)
            || self.statuses.contains(&status)
            || contains(self.searches().targets.as_ref(), seen.request)
            || contains(self.searches().clients.as_ref(), seen.client)
    }
}

fn contains(searcher: Option<&AhoCorasick>, text: Option<&[u8]>) -> bool {
    let (Some(searcher), Some(text)) = (searcher, text) else { return false };
    searcher.is_match(text.get(..MAX_SEARCHED_BYTES).unwrap_or(text))
}

fn searcher(texts: &[String]) -> Result<Option<AhoCorasick>, String> {
    if texts.is_empty() {
        return Ok(None);
    }
    if texts.len() > MAX_TEXTS || texts.iter().any(String::is_empty) {
        return Err(format!("keep: at most {MAX_TEXTS} texts are possible, and none is empty"));
    }
    let built = AhoCorasickBuilder::new().ascii_case_insensitive(true).build(texts);
    built.map(Some).map_err(|error| format!("keep: {error}"))
}

#[cfg(test)]
mod tests {
    use palisade_event::Timestamp;

    use super::*;

    fn requests(keep: &str, rules: &str) -> Result<Requests, String> {
        #[derive(serde::Deserialize)]
        struct Rules {
            #[serde(default)]
            requests: Vec<RequestFile>,
        }
        let rules: Rules = toml::from_str(rules).unwrap();
        let requests = Requests::new(toml::from_str(keep).unwrap(), rules.requests)?;
        requests.check()?;
        Ok(requests)
    }

    fn seen<'a>(target: &'a str, status: u16, client: &'a str) -> Sighting<'a> {
        Sighting {
            request: Some(target.as_bytes()),
            method: Some(b"GET"),
            status: Some(status),
            client: Some(client.as_bytes()),
            ..Sighting::new(EventKind::RequestAnswered, Timestamp::from_millis(0), "x")
        }
    }

    #[test]
    fn what_failed_and_what_no_visitor_sends_is_kept() {
        let keep = "status = ['404', '5xx']\nsuspicious = true\nrequests = ['/only-here']";
        let requests = requests(keep, "").unwrap();
        for (target, status, client, kept) in [
            ("/", 200, "Mozilla/5.0", false),
            ("/", 403, "Mozilla/5.0", false),
            ("/", 404, "Mozilla/5.0", true),
            ("/", 503, "Mozilla/5.0", true),
            ("/a/../../etc/passwd", 200, "Mozilla/5.0", true),
            ("/.ENV", 200, "Mozilla/5.0", true),
            ("/", 200, "SQLMap/1.7", true),
            ("/only-here", 301, "Mozilla/5.0", true),
        ] {
            assert_eq!(
                requests.keeps(&seen(target, status, client)),
                kept,
                "{target} {status} {client}"
            );
        }
    }

    #[test]
    fn a_request_may_mean_a_login() {
        let rules = "[[requests]]\nmethod = 'GET'\npath = '*/login'\nstatus = [200]\nkind = 'auth.attempted'\noutcome = 'failed'";
        let requests = requests("", rules).unwrap();
        let mut login = seen("/a/login?x=/b", 200, "-");
        requests.mean(&mut login);
        assert_eq!((login.kind, login.outcome), (EventKind::AuthAttempted, Some(Outcome::Failed)));
        let mut other = seen("/a/login/b", 200, "-");
        requests.mean(&mut other);
        assert_eq!(other.kind, EventKind::RequestAnswered);
        let mut basic = Sighting { user: Some(b"bob"), ..seen("/", 401, "-") };
        requests.mean(&mut basic);
        assert_eq!((basic.kind, basic.outcome), (EventKind::AuthAttempted, Some(Outcome::Failed)));
    }

    #[test]
    fn mistakes_are_named() {
        assert!(requests("status = ['teapot']", "").unwrap_err().contains("write 404 or 4xx"));
        assert!(requests("requests = ['']", "").unwrap_err().contains("none is empty"));
        let rule = "[[requests]]\npath = 'a*b'\nkind = 'auth.attempted'";
        assert!(requests("", rule).unwrap_err().contains("request 1"));
    }
}
