//! The shell that Telnet and SSH share: a lexer, a parser and an evaluator of
//! shell scripts over made-up files, with answers in the place of programs.
//! Nothing runs, no file of the host is touched, no connection is made; one
//! persona, seed and time always give the same output. Pure and bounded, so
//! that any bytes can be thrown at it.
//!
//! Data goes one way: line → [`Shell::run`] → [`Reply`] (output, how long it
//! takes, [`Act`]s) → the service, which shows the one and records the other.

mod act;
mod arithmetic;
mod ast;
mod braces;
mod budget;
mod call;
mod commands;
pub mod editor;
mod escape;
mod eval;
mod expand;
pub mod fetch;
mod io;
mod lexer;
mod login;
mod parameter;
mod parser;
mod pattern;
mod redirects;
mod state;
mod test;
pub mod vfs;
mod world;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use palisade_event::Timestamp;

pub use self::act::{Act, fingerprint, sha256};
use self::budget::Budget;
pub use self::budget::{MAX_OUTPUT_BYTES, MAX_PAUSE_MS, MAX_STEPS};
use self::fetch::Fetch;
use self::io::{Input, Target};
use self::lexer::{MAX_SCRIPT_BYTES, SyntaxError};
pub use self::login::{Door, Who};
use self::state::Variable;
use self::vfs::Files;
pub use self::world::World;

/// Most shells started inside each other by hand.
const MAX_LEVELS: usize = 16;
/// Most lines that `history` remembers.
const MAX_HISTORY: usize = 500;
/// How long a line seems to take that used up its budget, in milliseconds.
const SPENT_MS: u64 = 4_000;
/// Most acts of one line.
const MAX_ACTS: usize = 256;

/// Which shell it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flavor {
    Bash,
    Dash,
    Ash,
}

/// Why a script is left early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    Break(u32),
    Continue(u32),
    Return,
    Exit,
    /// A mistake that ends the line, such as `1/0`.
    Abort,
    /// The budget is used up.
    Stop,
}

/// How a shell names itself and whether it reads a script.
#[derive(Clone, Debug)]
pub(crate) struct Level {
    pub(crate) label: Vec<u8>,
    pub(crate) script: bool,
}

/// A command at the terminal that reads lines before it goes on.
#[derive(Debug)]
struct Reading {
    line: Vec<u8>,
    bytes: Vec<u8>,
    lines_left: Option<u32>,
    hidden: bool,
    prompts: Vec<&'static str>,
}

/// A shell with its files. See the module's first lines.
#[derive(Debug)]
pub struct Shell {
    world: Arc<World>,
    files: Files,
    flavor: Flavor,
    level: Level,
    /// Shells that were left for the present one.
    outer: Vec<(Flavor, Level)>,
    variables: BTreeMap<Vec<u8>, Variable>,
    variable_bytes: usize,
    functions: HashMap<Vec<u8>, Arc<ast::Command>>,
    locals: Vec<Vec<(Vec<u8>, Option<Variable>)>>,
    parameters: Vec<Vec<u8>>,
    cwd: String,
    status: u8,
    line: u32,
    fds: Vec<Target>,
    buffers: Vec<Vec<u8>>,
    stdin: Input,
    replaced: Vec<Option<Input>>,
    tty: bool,
    budget: Budget,
    acts: Vec<Act>,
    history: Vec<Vec<u8>>,
    pending: Vec<u8>,
    reading: Option<Reading>,
    jobs: u32,
    last_background: u32,
    pids: u32,
    seed: u64,
    fetcher: Option<Arc<dyn Fetch>>,
    /// Files that the line has really fetched, and how long that took.
    fetches: (u32, Duration),
    keys_seen: Vec<Vec<u8>>,
    startup_seen: Vec<(String, Vec<u8>)>,
    dropped: Vec<palisade_event::PayloadHash>,
}

/// What a line brought about.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// What is printed, lines ending in LF; at a terminal with the errors.
    pub output: Vec<u8>,
    /// What goes to standard error where there is no terminal.
    pub errors: Vec<u8>,
    /// How long the line takes.
    pub pause: Duration,
    /// Whether the shell is left.
    pub ended: bool,
    /// The exit status.
    pub status: u8,
    /// What was done.
    pub acts: Vec<Act>,
}

impl Shell {
    /// The machine that it seems to run on.
    pub(crate) fn world(&self) -> &World {
        &self.world
    }

    /// Has files fetched from elsewhere by `fetcher`. Then [`Self::run`] may
    /// block and must be called where that is allowed.
    pub fn set_fetcher(&mut self, fetcher: Arc<dyn Fetch>) {
        self.fetcher = Some(fetcher);
    }

    /// The files it sees, for SFTP and SCP of the same attacker.
    #[must_use]
    pub fn files(&self) -> &Files {
        &self.files
    }

    /// Whether what is typed next must not be shown (a password).
    #[must_use]
    pub fn hides_input(&self) -> bool {
        self.reading.as_ref().is_some_and(|reading| reading.hidden)
    }

    /// Runs a line that was typed. Any bytes will do.
    pub fn run(&mut self, line: &[u8], now: Timestamp) -> Reply {
        self.begin(now);
        let line = line.get(..MAX_SCRIPT_BYTES).unwrap_or(line);
        if let Some(mut reading) = self.reading.take() {
            let room = MAX_SCRIPT_BYTES.saturating_sub(reading.bytes.len() + 1);
            reading.bytes.extend_from_slice(line.get(..room).unwrap_or(line));
            reading.bytes.push(b'\n');
            if let Some(left) = &mut reading.lines_left {
                *left = left.saturating_sub(1);
            }
            if reading.lines_left == Some(0) || room == 0 {
                self.finish_reading(reading);
            } else {
                if reading.hidden {
                    self.put(b"\n");
                }
                self.reading = Some(reading);
            }
            return self.reply(Ok(()));
        }
        if !self.pending.is_empty() {
            self.pending.push(b'\n');
        }
        self.pending.extend_from_slice(line);
        if self.pending.len() > MAX_SCRIPT_BYTES {
            self.pending.clear();
            self.budget.spend();
            return self.reply(Ok(()));
        }
        let mut text = self.pending.clone();
        text.push(b'\n');
        let slashes = self.pending.iter().rev().take_while(|byte| **byte == b'\\').count();
        let parsed =
            if slashes % 2 == 1 { Err(SyntaxError::Incomplete) } else { parser::parse(&text) };
        let flow = match parsed {
            Err(SyntaxError::Incomplete) => Ok(()),
            parsed => {
                let text = std::mem::take(&mut self.pending);
                self.remember(&text);
                self.line = 1;
                match parsed {
                    Ok(script) => {
                        if let Some(reading) = self.wants_lines(&script, &text) {
                            self.reading = Some(reading);
                            Ok(())
                        } else {
                            self.stdin.terminal = self.tty;
                            self.run_script(&script)
                        }
                    }
                    Err(error) => {
                        self.syntax_error(&error, &text);
                        self.status = 2;
                        Ok(())
                    }
                }
            }
        };
        self.reply(flow)
    }

    /// Ends what is being typed (control-D): a command that reads lines goes
    /// on; an empty line leaves the shell.
    pub fn end_of_input(&mut self, now: Timestamp) -> Reply {
        self.begin(now);
        if let Some(reading) = self.reading.take() {
            self.finish_reading(reading);
            return self.reply(Ok(()));
        }
        if !self.pending.is_empty() {
            self.pending.clear();
            self.complain(b"syntax error: unexpected end of file");
            self.status = 2;
            return self.reply(Ok(()));
        }
        self.reply(Err(Flow::Exit))
    }

    /// What completes the last word of a line, as the tab key does: where one
    /// name fits, the rest of it.
    #[must_use]
    pub fn completion(&self, before: &[u8]) -> Vec<u8> {
        let text = String::from_utf8_lossy(before).into_owned();
        let word = text.rsplit([' ', ';', '|', '&', '>', '<']).next().unwrap_or_default();
        let (directory, start) = word.rsplit_once('/').map_or(("", word), |(d, s)| (d, s));
        let first = word.len() == text.trim_start().len() && !word.contains('/');
        let folders: Vec<String> = match (first, word.contains('/')) {
            (true, _) => {
                let path = self.variable(b"PATH").unwrap_or_default();
                String::from_utf8_lossy(&path).split(':').map(str::to_owned).collect()
            }
            (_, true) => vec![self.path(if directory.is_empty() { "/" } else { directory })],
            _ => vec![self.cwd.clone()],
        };
        let mut names: Vec<String> = folders
            .iter()
            .flat_map(|folder| {
                let names = self.files.list(folder).unwrap_or_default();
                names.into_iter().filter(|name| name.starts_with(start))
            })
            .take(512)
            .collect();
        names.sort();
        names.dedup();
        let [name] = names.as_slice() else { return Vec::new() };
        if start.is_empty() {
            return Vec::new();
        }
        let path = folders.first().map(|folder| format!("{folder}/{name}")).unwrap_or_default();
        let end = if !first && self.files.is_directory(&path) { "/" } else { " " };
        format!("{}{end}", name.strip_prefix(start).unwrap_or_default()).into_bytes()
    }

    /// Drops what was begun (control-C).
    pub fn interrupt(&mut self) {
        self.pending.clear();
        self.reading = None;
        self.status = 130;
    }

    /// Runs a command line with all its input, as SSH's `exec` does; the
    /// shell is left after it.
    pub fn exec(&mut self, command: &[u8], input: Vec<u8>, now: Timestamp) -> Reply {
        self.begin(now);
        self.level.script = true;
        self.swap_stdin(input);
        let flow = self.run_text(command);
        let mut reply = self.reply(flow);
        reply.ended = true;
        reply
    }

    /// What is left to be told when the session ends: files that were dropped
    /// and not yet captured.
    pub fn finish(&mut self) -> Vec<Act> {
        self.acts.clear();
        let touched = self.files.overlay().touched();
        for path in touched {
            self.files.overlay().capture(&path);
        }
        self.settle();
        std::mem::take(&mut self.acts)
    }

    fn begin(&mut self, now: Timestamp) {
        self.files.now = now.as_millis().div_euclid(1_000);
        self.seed ^= now.as_millis().unsigned_abs().rotate_left(17);
        self.budget = Budget::new();
        self.fds = Self::standard_fds(self.tty);
        self.buffers = vec![Vec::new(), Vec::new()];
        self.stdin = Input { terminal: self.tty, ..Input::default() };
        self.replaced.clear();
        self.locals.clear();
        self.acts.clear();
        self.fetches = Default::default();
    }

    fn reply(&mut self, flow: Result<(), Flow>) -> Reply {
        let mut ended = matches!(flow, Err(Flow::Exit));
        if ended && let Some((flavor, level)) = self.outer.pop() {
            (self.flavor, self.level, ended) = (flavor, level, false);
        }
        if self.budget.is_spent() {
            // It looks like a line that hung until something ended it; and
            // who wears us out waits.
            self.status = 137;
            self.budget.sleep(SPENT_MS);
        }
        self.settle();
        let mut buffers = std::mem::take(&mut self.buffers).into_iter();
        let mut output = buffers.next().unwrap_or_default();
        output.truncate(MAX_OUTPUT_BYTES);
        Reply {
            output,
            errors: buffers.next().unwrap_or_default(),
            pause: Duration::from_millis(self.budget.pause_ms()),
            ended,
            status: self.status,
            acts: std::mem::take(&mut self.acts),
        }
    }

    fn remember(&mut self, text: &[u8]) {
        if !text.iter().all(u8::is_ascii_whitespace) && !text.starts_with(b" ") {
            if self.history.len() >= MAX_HISTORY {
                self.history.remove(0);
            }
            let kept = text.get(..4_096).unwrap_or(text);
            self.history.push(kept.to_vec());
        }
    }

    /// Whether it waits for lines at a terminal and is no script.
    fn interactive(&self) -> bool {
        self.tty && !self.level.script
    }

    fn next_pid(&mut self) -> u32 {
        self.pids += 1 + u32::try_from(self.seed % 3).unwrap_or(0);
        self.files.seat.pid + self.pids
    }

    fn budget_steps(&self) -> u64 {
        self.budget.left()
            ^ u64::from(self.pids)
            ^ u64::from(self.line)
            ^ self.variables.len() as u64
            ^ (self.budget.virtual_ms << 8)
            ^ self.buffers.iter().map(Vec::len).sum::<usize>() as u64
    }

    fn act(&mut self, act: Act) {
        if self.acts.len() < MAX_ACTS {
            self.acts.push(act);
        }
    }

    fn syntax_error(&mut self, error: &SyntaxError, text: &[u8]) {
        let bash = self.flavor == Flavor::Bash;
        match error {
            SyntaxError::Unexpected(what, line) => {
                self.line = *line;
                let what = String::from_utf8_lossy(what).into_owned();
                if bash {
                    self.complain(
                        format!("syntax error near unexpected token `{what}'").as_bytes(),
                    );
                    if self.level.script {
                        let shown =
                            text.split(|b| *b == b'\n').nth((*line as usize).saturating_sub(1));
                        let shown = String::from_utf8_lossy(shown.unwrap_or_default()).into_owned();
                        self.complain(format!("`{shown}'").as_bytes());
                    }
                } else if self.flavor == Flavor::Dash {
                    self.complain(format!("Syntax error: \"{what}\" unexpected").as_bytes());
                } else {
                    self.complain(format!("syntax error: unexpected \"{what}\"").as_bytes());
                }
            }
            SyntaxError::Incomplete => {
                let message: &[u8] = match self.flavor {
                    Flavor::Bash => b"syntax error: unexpected end of file",
                    Flavor::Dash => b"Syntax error: end of file unexpected",
                    Flavor::Ash => b"syntax error: unterminated quoted string",
                };
                self.complain(message);
            }
            SyntaxError::TooDeep => {
                self.complain(b"fork: Resource temporarily unavailable");
                self.budget.spend();
            }
            SyntaxError::BadSubstitution(what) => {
                let mut message = what.clone();
                if bash {
                    message.extend_from_slice(b": bad substitution");
                } else {
                    message = b"Bad substitution".to_vec();
                }
                self.complain(&message);
            }
        }
    }
}

#[cfg(test)]
mod tests;
