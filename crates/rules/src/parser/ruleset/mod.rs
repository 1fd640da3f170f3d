//! Declared parsers: what the lines of a program mean, written in TOML.
//!
//! A file describes one program ([`file`]): its names in syslog or how its own
//! log begins, and the messages that matter as expressions with named groups.
//! All of it is checked when it is read, also that no text of a client can
//! stand for its address ([`guard`]). Lines of a log go by the name of their
//! program to one parser; there a single pass looks for texts that its messages
//! have, and expressions are tried on those lines alone.
//!
//! `docs/PARSERS.md` tells how to write one. The shipped ones are in
//! `ruleset/parsers`, each with sample lines that are its test.

mod access;
mod field;
mod file;
mod found;
mod guard;
mod json;
mod parser;
mod pattern;
mod requests;
mod shipped;
mod sieve;
mod walk;

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

use palisade_event::Timestamp;

use super::clock::SyslogClock;
use super::time::LineClock;
use super::{LineContext, Observation};
use crate::Sighting;
pub(super) use found::Found;
pub use parser::Parser;
pub(super) use parser::Read;
pub use shipped::SHIPPED_PARSERS;

/// Longest file of a parser, in bytes.
pub const MAX_PARSER_BYTES: usize = 256 * 1024;
/// Most parsers.
pub const MAX_PARSERS: usize = 512;

/// A mistake in the file of a parser.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {mistake}")]
pub struct RulesetError {
    /// The file.
    pub file: String,
    /// One sentence: what is wrong, and what would be right.
    pub mistake: String,
}

/// Parsers by name and by program.
pub struct Ruleset {
    parsers: BTreeMap<Box<str>, Slot>,
    /// Made for the first line of a syslog.
    programs: OnceLock<Programs>,
}

/// The place of a parser.
enum Slot {
    /// Read and checked.
    Ready(Arc<Parser>),
    /// A shipped one, read when it is first asked for: its text.
    Shipped(&'static str, OnceLock<Option<Arc<Parser>>>),
}

impl Slot {
    /// `None` for a shipped one that cannot be read, which a test rules out.
    fn get(&self) -> Option<&Arc<Parser>> {
        match self {
            Self::Ready(parser) => Some(parser),
            Self::Shipped(text, parser) => {
                parser.get_or_init(|| parse(text).ok().map(Arc::new)).as_ref()
            }
        }
    }
}

/// Parsers by the programs whose messages they read.
#[derive(Default)]
struct Programs {
    named: HashMap<Box<[u8]>, Arc<Parser>, foldhash::fast::FixedState>,
    /// The parser of messages that any program may write (those of PAM).
    any: Option<Arc<Parser>>,
}

static CURRENT: OnceLock<Ruleset> = OnceLock::new();

/// The ruleset is in use already, so another one comes too late.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the parsers are in use already")]
pub struct InUse;

impl Ruleset {
    /// The shipped parsers and those of `files` (a name for messages, and the
    /// text), of which one with the name of another replaces it.
    ///
    /// # Errors
    /// Every mistake.
    pub fn with<'f>(
        files: impl IntoIterator<Item = (&'f str, &'f str)>,
    ) -> Result<Self, Vec<RulesetError>> {
        // A test checks the shipped ones. Most processes need few of them.
        let shipped = SHIPPED_PARSERS.iter().map(|(file, text, _)| {
            (shipped::name(file).into(), Slot::Shipped(text, OnceLock::new()))
        });
        Self::of(shipped.collect(), files)
    }

    /// The parsers of `files` alone.
    ///
    /// # Errors
    /// Every mistake.
    pub fn only<'f>(
        files: impl IntoIterator<Item = (&'f str, &'f str)>,
    ) -> Result<Self, Vec<RulesetError>> {
        Self::of(BTreeMap::new(), files)
    }

    fn of<'f>(
        mut parsers: BTreeMap<Box<str>, Slot>,
        files: impl IntoIterator<Item = (&'f str, &'f str)>,
    ) -> Result<Self, Vec<RulesetError>> {
        let mut mistakes = Vec::new();
        for (file, text) in files {
            // What is wrong is told now, not when a line needs it.
            let parsed = parse(text).and_then(|parser| parser.check().map(|()| parser));
            let mistake = match parsed {
                Ok(parser) if is_taken(parser.name()) => format!(
                    "name: '{}' is the name of a format that is built in; choose another one",
                    parser.name()
                ),
                Ok(_) if parsers.len() >= MAX_PARSERS => format!("more than {MAX_PARSERS} parsers"),
                Ok(parser) => {
                    parsers.insert(parser.name().into(), Slot::Ready(Arc::new(parser)));
                    continue;
                }
                Err(mistake) => mistake,
            };
            mistakes.push(RulesetError { file: file.to_owned(), mistake });
        }
        match mistakes.is_empty() {
            true => Ok(Self { parsers, programs: OnceLock::new() }),
            false => Err(mistakes),
        }
    }

    /// The parsers that are used: what was installed, else the shipped ones.
    #[must_use]
    pub fn current() -> &'static Self {
        CURRENT.get_or_init(|| match Self::with([]) {
            Ok(ruleset) => ruleset,
            // Files of users alone have mistakes that are told.
            Err(_) => Self { parsers: BTreeMap::new(), programs: OnceLock::new() },
        })
    }

    /// Uses this one from now on. To be called once, before any log is read.
    ///
    /// # Errors
    /// [`InUse`]: parsers were looked up before.
    pub fn install(self) -> Result<(), InUse> {
        CURRENT.set(self).map_err(|_| InUse)
    }

    /// A parser by its name.
    #[must_use]
    pub fn parser(&self, name: &str) -> Option<&Arc<Parser>> {
        self.parsers.get(name)?.get()
    }

    /// All of them, by name.
    pub fn parsers(&self) -> impl Iterator<Item = &Arc<Parser>> {
        self.parsers.values().filter_map(Slot::get)
    }

    fn programs(&self) -> &Programs {
        self.programs.get_or_init(|| {
            let mut programs = Programs::default();
            for parser in self.parsers() {
                for program in parser.programs() {
                    if program == ANY_PROGRAM {
                        programs.any = Some(Arc::clone(parser));
                    } else {
                        let key = program.strip_suffix('*').unwrap_or(program);
                        programs.named.insert(key.as_bytes().into(), Arc::clone(parser));
                    }
                }
            }
            programs
        })
    }

    /// The parser of a program's messages: by the whole name, or by its
    /// beginning up to the first `/` or `(`.
    pub(super) fn of_program(&self, program: &[u8]) -> Option<&Parser> {
        let named = &self.programs().named;
        if let Some(parser) = named.get(program) {
            return Some(parser);
        }
        let mark = memchr::memchr2(b'/', b'(', program)?;
        named.get(program.get(..=mark)?).map(Arc::as_ref)
    }

    /// The parser of what any program may write.
    pub(super) fn of_any(&self) -> Option<&Parser> {
        self.programs().any.as_deref()
    }
}

impl fmt::Debug for Ruleset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.parsers.keys()).finish()
    }
}

/// Stands in `programs` for every program.
const ANY_PROGRAM: &str = "*";

fn is_taken(name: &str) -> bool {
    super::LogFormat::BUILT_IN.iter().any(|format| format.as_str() == name)
}

/// Reads the file of a parser.
fn parse(text: &str) -> Result<Parser, String> {
    if text.len() > MAX_PARSER_BYTES {
        return Err(format!("is larger than {MAX_PARSER_BYTES} bytes"));
    }
    let file = toml::from_str(text).map_err(|error| error.to_string().trim_end().to_owned())?;
    Parser::new(file)
}

/// What is kept between the lines of a log: the last minute, and buffers.
#[derive(Debug)]
pub struct LineState {
    pub(super) clock: LineClock,
    pub(super) syslog: SyslogClock,
    scratch: parser::Scratch,
    /// The filter of a jail with its sessions, once it has seen a line.
    pub(super) jail: Option<Box<crate::fail2ban::Filter>>,
}

impl LineState {
    /// For the lines of one log.
    #[must_use]
    pub fn new(cx: LineContext) -> Self {
        let syslog = SyslogClock::new(cx.clone());
        Self { clock: LineClock::new(cx), syslog, scratch: parser::Scratch::default(), jail: None }
    }

    /// Lines are read at this time from now on.
    pub fn set_now(&mut self, now: Timestamp) {
        self.clock.set_now(now);
        self.syslog.set_now(now);
    }
}

/// A message that came without the head of a line: of the journal, or by
/// network.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// The program that wrote it, as it calls itself.
    pub program: &'a [u8],
    /// What it says.
    pub text: &'a [u8],
    /// When it was written.
    pub at: Timestamp,
    /// The machine.
    pub host: Option<&'a [u8]>,
    /// The process.
    pub pid: Option<u32>,
}

/// Where a declared parser reads from.
#[derive(Clone, Copy)]
pub(super) enum Input<'a> {
    /// A line of its log.
    Line(&'a [u8]),
    /// A line of a syslog, taken apart.
    Head(&'a super::syslog::Line<'a>),
    /// A message without a head.
    Message(&'a Message<'a>),
}

/// Reads with a declared parser.
pub(super) fn read(
    parser: &Parser,
    input: Input<'_>,
    state: &mut LineState,
    take: &mut dyn FnMut(&Parser, &Found<'_>),
) -> Read {
    let LineState { clock, scratch, .. } = state;
    match input {
        Input::Line(line) => parser.line(line, clock, scratch, take),
        Input::Head(head) => parser.head(head, clock, scratch, take),
        Input::Message(message) => {
            let inner = parser::Message {
                program: message.program,
                text: message.text,
                host: message.host,
                pid: message.pid,
            };
            parser.message(inner, message.at, clock, scratch, take)
        }
    }
}

/// Hands over what scenarios see of a line of a parser's log.
pub(super) fn glance(
    parser: &Parser,
    line: &[u8],
    state: &mut LineState,
    see: &mut dyn FnMut(&Sighting<'_>),
) -> Read {
    parser.glance(line, &mut state.clock, &mut state.scratch, see)
}

impl Parser {
    /// Whether its lines are JSON objects.
    pub(super) fn reads_json(&self) -> bool {
        self.is_json()
    }

    /// The event of what was found, where it is to become one.
    pub(super) fn observation(&self, found: &Found<'_>) -> Option<Observation> {
        self.keeps(found).then(|| found.observe(self.category()))
    }
}
