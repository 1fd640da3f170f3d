//! One declared parser, ready: from a line or a message to what was found.

use palisade_event::{Category, EventKind, Timestamp};

use super::access::{self, LastTime};
use super::file::{HeadName, ParserFile};
use super::found::{Extra, Found};
use super::json::Json;
use super::pattern::{Buffers, Pattern};
use super::requests::Requests;
use super::sieve::Sieve;
use crate::Sighting;
use crate::parser::syslog::{self, number};
use crate::parser::time::{self, LineClock};

/// Most patterns of one parser: one bit each.
const MAX_PATTERNS: usize = 64;
/// Most names of programs of one parser.
const MAX_PROGRAMS: usize = 64;
/// Longest name of a parser.
const MAX_NAME_BYTES: usize = 32;

/// A parser that a file describes.
#[derive(Debug)]
pub struct Parser {
    name: Box<str>,
    about: Box<str>,
    category: Option<Category>,
    heads: Vec<HeadName>,
    programs: Vec<Box<str>>,
    patterns: Vec<Pattern>,
    sieve: Sieve,
    json: Option<Json>,
    requests: Requests,
    /// Its own log has requests, line by line, and nothing else.
    is_access: bool,
}

/// What is kept between the lines of a log.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    buffers: Buffers,
    last_time: LastTime,
    texts: String,
}

/// What became of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::parser) enum Read {
    /// Something was found, and handed over.
    Found,
    /// Understood, or of another program, and nothing new.
    Irrelevant,
    /// Not what lines of this log look like.
    Unparsed,
}

/// Who takes what is found.
pub(super) type Take<'t> = &'t mut dyn FnMut(&Parser, &Found<'_>);

/// A message and what is known beside it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Message<'a> {
    pub(super) program: &'a [u8],
    pub(super) text: &'a [u8],
    pub(super) host: Option<&'a [u8]>,
    pub(super) pid: Option<u32>,
}

/// When a message is from.
#[derive(Clone, Copy)]
enum When {
    At(Timestamp),
    Written(time::Written),
    /// A group of the pattern says.
    Inside,
}

impl Parser {
    /// Checks and compiles a file.
    ///
    /// # Errors
    /// What is wrong and what would be right, in one sentence.
    pub(super) fn new(file: ParserFile) -> Result<Self, String> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if file.name.is_empty() || file.name.len() > MAX_NAME_BYTES || !file.name.chars().all(plain)
        {
            return Err(format!(
                "name: '{}' can be no name; use 1 to {MAX_NAME_BYTES} of a-z, 0-9 and -",
                file.name.escape_default()
            ));
        }
        let category = match &file.category {
            Some(text) => Some(Category::new(text).map_err(|error| format!("category: {error}"))?),
            None => None,
        };
        let has = |head| file.heads.contains(&head);
        if file.heads.is_empty() {
            return Err("heads: name at least one of syslog, time, none, access, json".to_owned());
        }
        if has(HeadName::Syslog) && file.programs.is_empty() {
            return Err("programs is missing: the names of the program in syslog".to_owned());
        }
        if has(HeadName::Json) != file.json.is_some() {
            return Err("heads has 'json' and [json] is missing, or the other way round".to_owned());
        }
        if file.programs.len() > MAX_PROGRAMS || file.patterns.len() > MAX_PATTERNS {
            return Err(format!("more than {MAX_PROGRAMS} programs or {MAX_PATTERNS} patterns"));
        }
        let known = |name: &String| {
            let name = ["/", "("]
                .iter()
                .find_map(|mark| name.strip_suffix('*')?.strip_suffix(mark))
                .unwrap_or(name);
            name == "*"
                || (!name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic() && b != b'*'))
        };
        if let Some(wrong) = file.programs.iter().find(|name| !known(name)) {
            return Err(format!(
                "programs: '{}' is no program; write its name, or NAME/* or NAME(* for all that begin so",
                wrong.escape_default()
            ));
        }
        let json = file.json.map(Json::new).transpose()?;
        if let Some(json) = &json {
            match (json.has_message(), json.kind) {
                (true, _) if file.patterns.is_empty() => {
                    return Err(
                        "json.fields has a 'message', and no pattern looks at it".to_owned()
                    );
                }
                (false, None) => {
                    return Err(
                        "json has neither a 'message' among its fields nor a 'kind'".to_owned()
                    );
                }
                _ => {}
            }
        }
        let mut patterns = Vec::with_capacity(file.patterns.len());
        for (index, pattern) in file.patterns.into_iter().enumerate() {
            let shown: String = pattern.expression.chars().take(40).collect();
            let pattern = Pattern::new(pattern)
                .map_err(|mistake| format!("pattern {} ('{shown}…') {mistake}", index + 1))?;
            if has_only_inner_times(&file.heads) && pattern.kind.is_some() && pattern.time.is_none()
            {
                return Err(format!(
                    "pattern {} ('{shown}…') has no group 'time', and heads is 'none'",
                    index + 1
                ));
            }
            patterns.push(pattern);
        }
        let sieve = Sieve::new(&patterns);
        // The head of a syslog is no beginning of such a line.
        let is_access = has(HeadName::Access)
            && file.heads.iter().all(|head| matches!(head, HeadName::Access | HeadName::Syslog));
        let requests = Requests::new(file.keep.unwrap_or_default(), file.requests)?;
        Ok(Self {
            name: file.name.into_boxed_str(),
            about: file.about.into_boxed_str(),
            category,
            heads: file.heads,
            programs: file.programs.into_iter().map(String::into_boxed_str).collect(),
            patterns,
            sieve,
            json,
            requests,
            is_access,
        })
    }

    /// Compiles all that would be compiled when it is needed.
    ///
    /// # Errors
    /// What is wrong with an expression, in one sentence.
    pub(super) fn check(&self) -> Result<(), String> {
        for (index, pattern) in self.patterns.iter().enumerate() {
            pattern.check().map_err(|mistake| format!("pattern {} {mistake}", index + 1))?;
        }
        self.requests.check()
    }

    /// Its name in settings and on the command line.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// One sentence: whose log it reads, and what of it.
    #[must_use]
    pub fn about(&self) -> &str {
        &self.about
    }

    /// The names that the program has in syslog; `NAME/*` and `NAME(*` are all
    /// that begin so.
    pub fn programs(&self) -> impl Iterator<Item = &str> {
        self.programs.iter().map(|name| &**name)
    }

    /// The type of service, as events have it.
    pub(super) fn category(&self) -> Option<&Category> {
        self.category.as_ref()
    }

    /// Whether its lines are JSON objects, which cannot be read in part.
    pub(super) fn is_json(&self) -> bool {
        self.heads.contains(&HeadName::Json)
    }

    /// Whether what was found becomes an event.
    pub(super) fn keeps(&self, found: &Found<'_>) -> bool {
        self.requests.keeps(&found.sighting)
    }

    /// Reads a line of its log.
    pub(super) fn line(
        &self,
        line: &[u8],
        clock: &mut LineClock,
        scratch: &mut Scratch,
        take: Take<'_>,
    ) -> Read {
        let line = line.trim_ascii_end();
        if line.is_empty() {
            return Read::Irrelevant;
        }
        let mut understood = false;
        for head in &self.heads {
            match head {
                HeadName::Syslog => {
                    let Some(head) = syslog::split(line) else { continue };
                    understood = true;
                    if !self.is_of(head.tag) {
                        continue;
                    }
                    return self.head(&head, clock, scratch, take);
                }
                HeadName::Time => {
                    let Some((written, rest)) = time::leading(line) else { continue };
                    let text = rest.trim_ascii_start();
                    let message = Message { program: b"", text, host: None, pid: None };
                    let when = When::Written(written);
                    return self.look(message, when, clock, &mut scratch.buffers, take);
                }
                HeadName::None => {
                    let message = Message { program: b"", text: line, host: None, pid: None };
                    return self.look(message, When::Inside, clock, &mut scratch.buffers, take);
                }
                HeadName::Access => {
                    if self.access(line, None, clock, &mut scratch.last_time, &mut *take) {
                        return Read::Found;
                    }
                }
                HeadName::Json if line.first() == Some(&b'{') => {
                    return self.object(line, None, clock, scratch, take);
                }
                HeadName::Json => {}
            }
        }
        if understood { Read::Irrelevant } else { Read::Unparsed }
    }

    /// Reads a line of a syslog whose program is known to be this one's.
    pub(super) fn head(
        &self,
        head: &syslog::Line<'_>,
        clock: &mut LineClock,
        scratch: &mut Scratch,
        take: Take<'_>,
    ) -> Read {
        let message =
            Message { program: head.tag, text: head.message, host: Some(head.host), pid: head.pid };
        let when = When::Written(time::Written::Civil(head.time));
        self.received(message, when, clock, scratch, take)
    }

    /// Reads a message that came without a head, such as one of the journal.
    pub(super) fn message(
        &self,
        message: Message<'_>,
        at: Timestamp,
        clock: &mut LineClock,
        scratch: &mut Scratch,
        take: Take<'_>,
    ) -> Read {
        let message = Message { text: message.text.trim_ascii(), ..message };
        self.received(message, When::At(at), clock, scratch, take)
    }

    fn received(
        &self,
        message: Message<'_>,
        when: When,
        clock: &mut LineClock,
        scratch: &mut Scratch,
        take: Take<'_>,
    ) -> Read {
        let text = message.text;
        if self.is_json() && text.first() == Some(&b'{') {
            return self.object(text, Some(when), clock, scratch, take);
        }
        if self.heads.contains(&HeadName::Access)
            && self.access(text, message.host, clock, &mut scratch.last_time, &mut *take)
        {
            return Read::Found;
        }
        // Some programs write a time of their own into syslog as well.
        let text = match self.heads.contains(&HeadName::Time) {
            true => time::leading(text).map_or(text, |(_, rest)| rest.trim_ascii_start()),
            false => text,
        };
        let message = Message { text, ..message };
        self.look(message, when, clock, &mut scratch.buffers, take)
    }

    fn is_of(&self, program: &[u8]) -> bool {
        self.programs.iter().any(|name| is_program(name, program))
    }

    /// The first pattern that fits a message, in the order of the file.
    fn first(&self, message: &Message<'_>, buffers: &mut Buffers) -> Option<&Pattern> {
        let mut candidates = self.sieve.candidates(message.text);
        while candidates != 0 {
            let index = candidates.trailing_zeros() as usize;
            candidates &= candidates - 1;
            if let Some(pattern) = self.patterns.get(index)
                && pattern.is_of(message.program)
                && pattern.matches(message.text, buffers)
            {
                return Some(pattern);
            }
        }
        None
    }

    fn look(
        &self,
        message: Message<'_>,
        when: When,
        clock: &mut LineClock,
        buffers: &mut Buffers,
        take: Take<'_>,
    ) -> Read {
        let Some(pattern) = self.first(&message, buffers) else { return Read::Irrelevant };
        let Some(kind) = pattern.kind else { return Read::Irrelevant };
        let inside = pattern.time(message.text, buffers).and_then(time::exact);
        let at = match inside {
            Some(written) => clock.of(written),
            None => when.instant(clock),
        };
        let Some(at) = at else { return Read::Unparsed };
        let mut found = Found::new(kind, at, &self.name);
        found.sighting.host = message.host;
        found.pid = message.pid;
        pattern.fill(message.text, buffers, &mut found);
        self.mean(&mut found);
        take(self, &found);
        Read::Found
    }

    /// A line of the common or combined format; whether it is one.
    fn access(
        &self,
        line: &[u8],
        host: Option<&[u8]>,
        clock: &mut LineClock,
        last_time: &mut LastTime,
        take: Take<'_>,
    ) -> bool {
        let Some((at, request)) = access::parse(line, last_time, clock) else { return false };
        let mut found = Found::new(EventKind::RequestAnswered, at, &self.name);
        found.sighting = self.request(at, host, &request);
        found.source_name = request.source_name;
        if let Some(site) = request.site {
            found.note("site", Extra::Text(site));
        }
        if let Some(referer) = request.referer {
            found.note("referer", Extra::Text(referer));
        }
        if let Some(bytes) = number(request.bytes) {
            found.note("bytes_out", Extra::Integer(i64::from(bytes)));
        }
        take(self, &found);
        true
    }

    /// What scenarios see of a request.
    #[inline]
    fn request<'a>(
        &'a self,
        at: Timestamp,
        host: Option<&'a [u8]>,
        request: &access::Request<'a>,
    ) -> Sighting<'a> {
        let mut seen = Sighting {
            host,
            source: request.source,
            user: request.user,
            request: Some(request.target).filter(|target| !matches!(*target, b"" | b"-")),
            method: request.method,
            status: Some(request.status),
            client: request.agent,
            ..Sighting::new(EventKind::RequestAnswered, at, &self.name)
        };
        self.requests.mean(&mut seen);
        seen
    }

    /// Hands over what scenarios see of a line of its log.
    #[inline]
    pub(super) fn glance(
        &self,
        line: &[u8],
        clock: &mut LineClock,
        scratch: &mut Scratch,
        see: &mut dyn FnMut(&Sighting<'_>),
    ) -> Read {
        // Access logs have the most lines of all. A line with a digit in front is
        // none of syslog's, unless it is a date: then a dash follows the year.
        if self.is_access
            && line.first().is_some_and(u8::is_ascii_digit)
            && line.get(4) != Some(&b'-')
            && let Some((at, request)) =
                access::parse(line.trim_ascii_end(), &mut scratch.last_time, clock)
        {
            see(&self.request(at, None, &request));
            return Read::Found;
        }
        self.line(line, clock, scratch, &mut |_, found| see(&found.sighting))
    }

    /// A line that is a JSON object.
    fn object(
        &self,
        line: &[u8],
        received: Option<When>,
        clock: &mut LineClock,
        scratch: &mut Scratch,
        take: Take<'_>,
    ) -> Read {
        let Some(json) = &self.json else { return Read::Unparsed };
        let Some(values) = json.read(line, &mut scratch.texts) else { return Read::Unparsed };
        let texts: &str = &scratch.texts;
        if !json.is_meant(&values, texts) {
            return Read::Irrelevant;
        }
        let message = json.message(&values, texts);
        let message = message.map(|text| Message { program: b"", text, host: None, pid: None });
        let pattern = message.and_then(|message| self.first(&message, &mut scratch.buffers));
        let kind = match pattern {
            Some(pattern) => pattern.kind,
            None => json.kind,
        };
        let Some(kind) = kind else { return Read::Irrelevant };
        let at = json.time(&values, texts, clock);
        let Some(at) = at.or_else(|| received?.instant(clock)) else { return Read::Unparsed };
        let mut found = Found::new(kind, at, &self.name);
        json.fill(&values, texts, &mut found);
        if let (Some(pattern), Some(message)) = (pattern, message) {
            pattern.fill(message.text, &scratch.buffers, &mut found);
        }
        self.mean(&mut found);
        take(self, &found);
        Read::Found
    }

    fn mean<'a>(&'a self, found: &mut Found<'a>) {
        if found.sighting.kind == EventKind::RequestAnswered {
            self.requests.mean(&mut found.sighting);
        }
    }
}

impl When {
    fn instant(self, clock: &mut LineClock) -> Option<Timestamp> {
        match self {
            Self::At(at) => Some(at),
            Self::Written(written) => clock.of(written),
            Self::Inside => None,
        }
    }
}

/// Whether a name of a program, perhaps `NAME/*`, means this one.
pub(super) fn is_program(name: &str, program: &[u8]) -> bool {
    match name.strip_suffix('*') {
        Some(beginning) => program.starts_with(beginning.as_bytes()),
        None => program == name.as_bytes(),
    }
}

fn has_only_inner_times(heads: &[HeadName]) -> bool {
    heads.iter().all(|head| *head == HeadName::None)
}
