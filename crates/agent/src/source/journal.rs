//! The journal source: `journalctl --follow` as a child process, started by
//! argument list, one JSON object a line.
//!
//! Entries are selected by the journal's trusted fields `_COMM` and
//! `_SYSTEMD_UNIT`: the program or the unit that wrote them, not what it claims
//! to be. Within these the name that a program gives itself chooses the parser:
//! `postfix/smtpd` is the program `smtpd`. A child that ends is started again,
//! from the last acknowledged cursor.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use palisade_event::Timestamp;
use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio_util::codec::{FramedRead, LinesCodec, LinesCodecError};

use super::{Ended, Health, Outlet, Place, Source, Stop};
use crate::backoff::Backoff;
use crate::config::{JournalSource, StartFrom};

/// Longest JSON object of one entry: a message of 64 KiB as an
/// array of numbers, and the fields that are asked for.
const MAX_ENTRY_BYTES: usize = 512 * 1024;
/// Longest cursor that is believed, in bytes.
const MAX_CURSOR_BYTES: usize = 1024;
/// Most of a child's complaint that is kept.
const MAX_COMPLAINT_BYTES: u64 = 1024;
/// A child that has lived this long works.
const SETTLED: Duration = Duration::from_secs(2);
/// Fields that are asked for.
const FIELDS: &str =
    "--output-fields=MESSAGE,SYSLOG_IDENTIFIER,_COMM,_HOSTNAME,_PID,_SOURCE_REALTIME_TIMESTAMP";

/// One journal source, as a task.
pub(crate) struct JournalTask {
    source: Arc<Source>,
    config: JournalSource,
    outlet: Outlet,
    health: Health,
    /// The last entry handed over.
    cursor: Option<String>,
}

/// An entry as `journalctl -o json` writes it.
#[derive(Deserialize)]
struct Entry {
    #[serde(rename = "__CURSOR")]
    cursor: String,
    #[serde(rename = "__REALTIME_TIMESTAMP")]
    received: String,
    #[serde(rename = "_SOURCE_REALTIME_TIMESTAMP")]
    sent: Option<Text>,
    #[serde(rename = "_HOSTNAME")]
    host: Option<Text>,
    #[serde(rename = "SYSLOG_IDENTIFIER")]
    identifier: Option<Text>,
    #[serde(rename = "_COMM")]
    command: Option<Text>,
    #[serde(rename = "_PID")]
    pid: Option<Text>,
    #[serde(rename = "MESSAGE")]
    message: Option<Text>,
}

/// A field: text, or bytes where it is no UTF-8 or not printable; a field that
/// occurs several times is a list of those.
#[derive(Deserialize)]
#[serde(untagged)]
enum Text {
    Plain(String),
    Bytes(Vec<u8>),
    Several(Vec<Text>),
}

impl Text {
    fn into_bytes(self) -> Vec<u8> {
        match self {
            Self::Plain(text) => text.into_bytes(),
            Self::Bytes(bytes) => bytes,
            Self::Several(texts) => {
                texts.into_iter().next().map(Self::into_bytes).unwrap_or_default()
            }
        }
    }

    fn into_string(self) -> Option<String> {
        String::from_utf8(self.into_bytes()).ok()
    }
}

impl JournalTask {
    pub(crate) fn new(
        source: &Arc<Source>,
        config: &JournalSource,
        outlet: Outlet,
        cursor: Option<String>,
    ) -> Self {
        let source = Arc::clone(source);
        let name = source.name.trim_start_matches("the ").to_owned();
        Self { source, config: config.clone(), outlet, health: Health::new(name), cursor }
    }

    /// Follows the journal until the agent ends.
    pub(crate) async fn run(mut self) {
        let mut backoff = Backoff::default();
        let cancel = self.outlet.cancel().clone();
        loop {
            let reason = match self.follow(&mut backoff).await {
                Stop::Ended => return,
                Stop::Failed(reason) => reason,
            };
            let remedy = "check that journalctl runs here and that the agent may read the journal, such as: usermod -aG systemd-journal palisade";
            if self.health.failed(&self.outlet, &reason, remedy).await.is_err() {
                return;
            }
            tokio::select! {
                biased;
                () = cancel.cancelled() => return,
                () = tokio::time::sleep(backoff.next()) => {}
            }
        }
    }

    fn arguments(&self) -> Vec<String> {
        let mut arguments: Vec<String> =
            ["--output=json", FIELDS, "--all", "--no-pager", "--quiet", "--follow"]
                .map(String::from)
                .to_vec();
        match (&self.cursor, self.config.from) {
            (Some(cursor), _) => {
                arguments.push("--no-tail".into());
                arguments.push(format!("--after-cursor={cursor}"));
            }
            (None, StartFrom::Start) => arguments.push("--no-tail".into()),
            (None, StartFrom::End) => arguments.push("--lines=0".into()),
        }
        let programs = self.config.programs();
        arguments.extend(programs.iter().map(|name| format!("_COMM={name}")));
        if !programs.is_empty() && !self.config.units.is_empty() {
            // The one or the other.
            arguments.push("+".to_owned());
        }
        arguments.extend(self.config.units.iter().map(|name| match name.contains('.') {
            true => format!("_SYSTEMD_UNIT={name}"),
            false => format!("_SYSTEMD_UNIT={name}.service"),
        }));
        arguments.extend(self.config.matches.iter().cloned());
        arguments
    }

    /// Starts a child and reads it until it ends.
    async fn follow(&mut self, backoff: &mut Backoff) -> Stop {
        let child = Command::new(&self.config.command)
            .args(self.arguments())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn();
        let mut child = match child {
            Ok(child) => child,
            Err(error) => {
                let command = self.config.command.display();
                return Stop::Failed(format!("cannot run {command}: {error}"));
            }
        };
        let stop = match self.read(&mut child, backoff).await {
            Ok(()) => Stop::Failed(complaint(&mut child).await),
            Err(stop) => stop,
        };
        // Ends the child where it still runs, and reaps it.
        let _ = child.kill().await;
        stop
    }

    async fn read(&mut self, child: &mut Child, backoff: &mut Backoff) -> Result<(), Stop> {
        let Some(output) = child.stdout.take() else {
            return Err(Stop::Failed("the command has no output".into()));
        };
        let codec = LinesCodec::new_with_max_length(MAX_ENTRY_BYTES);
        let mut entries = FramedRead::new(BufReader::new(output), codec);
        let cancel = self.outlet.cancel().clone();
        let settled = tokio::time::sleep(SETTLED);
        tokio::pin!(settled);
        let mut waiting = self.health.is_failing();
        loop {
            let next = tokio::select! {
                biased;
                () = cancel.cancelled() => return Err(Stop::Ended),
                next = entries.next() => next,
                () = &mut settled, if waiting => {
                    waiting = false;
                    self.works(backoff).await?;
                    continue;
                }
            };
            let text = match next {
                None => return Ok(()),
                Some(Ok(text)) => text,
                Some(Err(LinesCodecError::MaxLineLengthExceeded)) => {
                    tracing::warn!(
                        bytes = MAX_ENTRY_BYTES,
                        "a journal entry is too long and is left out"
                    );
                    continue;
                }
                Some(Err(LinesCodecError::Io(error))) => {
                    return Err(Stop::Failed(error.to_string()));
                }
            };
            self.works(backoff).await?;
            waiting = false;
            self.entry(&text).await?;
        }
    }

    async fn works(&mut self, backoff: &mut Backoff) -> Result<(), Ended> {
        backoff.reset();
        self.health.works(&self.outlet).await
    }

    async fn entry(&mut self, text: &str) -> Result<(), Ended> {
        let entry: Entry = match serde_json::from_str(text) {
            Ok(entry) => entry,
            Err(error) => {
                tracing::warn!(%error, "a journal entry cannot be understood and is left out");
                return Ok(());
            }
        };
        let micros = entry.sent.and_then(Text::into_string).unwrap_or(entry.received);
        let Ok(micros) = micros.parse::<i64>() else { return Ok(()) };
        if entry.cursor.is_empty() || entry.cursor.len() > MAX_CURSOR_BYTES {
            return Ok(());
        }
        let mut bytes = entry.message.map(Text::into_bytes).unwrap_or_default();
        let most = self.source.max_line_bytes();
        let truncated = bytes.len() > most;
        bytes.truncate(most);
        let host = entry.host.and_then(Text::into_string);
        let place = Place::Journal {
            cursor: entry.cursor.clone(),
            at: Timestamp::from_millis(micros.div_euclid(1000)),
            host,
            program: entry.identifier.or(entry.command).and_then(Text::into_string),
            pid: entry.pid.and_then(Text::into_string).and_then(|pid| pid.parse().ok()),
        };
        // An empty message says nothing, and its cursor counts like any other.
        let ignored = self.config.ignore.iter().any(|start| bytes.starts_with(start.as_bytes()));
        let bytes = if ignored { Vec::new() } else { bytes };
        self.outlet.line(&self.source, bytes, truncated, place).await?;
        self.cursor = Some(entry.cursor);
        Ok(())
    }
}

/// What a child that ended had to say.
async fn complaint(child: &mut Child) -> String {
    let mut text = Vec::new();
    if let Some(errors) = child.stderr.take() {
        let read = errors.take(MAX_COMPLAINT_BYTES).read_to_end(&mut text).await;
        if read.is_err() {
            text.clear();
        }
    }
    let status = match child.try_wait() {
        Ok(Some(status)) => status.to_string(),
        _ => "its output was closed".to_owned(),
    };
    let text = String::from_utf8_lossy(&text);
    match text.trim() {
        "" => format!("journalctl ended: {status}"),
        text => format!("journalctl ended: {status}: {text}"),
    }
}
