//! The client of a transcript: says its lines when the script waits for them,
//! and compares what the script has said and told until then. No time passes.

use std::collections::VecDeque;

use palisade_event::{AttributeValue, Event, EventKind};
use tokio::sync::mpsc;

use super::transcript::{Pattern, Step, What};
use crate::Closed;

/// Most bytes that a script may say between two lines of a transcript.
const MAX_SAID_BYTES: usize = 8 * 1024 * 1024;
/// Longest text of a difference that is shown.
const MAX_SHOWN: usize = 300;

/// One run of a transcript.
#[derive(Debug)]
pub(crate) struct Dialog {
    steps: VecDeque<Step>,
    said: Vec<u8>,
    sent: VecDeque<u8>,
    told: mpsc::Receiver<Event>,
    /// Whether TLS was begun.
    pub(crate) tls: bool,
    /// The first difference.
    wrong: Option<String>,
    left: bool,
}

impl Dialog {
    pub(crate) fn new(steps: Vec<Step>, told: mpsc::Receiver<Event>, tls: bool) -> Self {
        Self {
            steps: steps.into(),
            said: Vec::new(),
            sent: VecDeque::new(),
            told,
            tls,
            wrong: None,
            left: false,
        }
    }

    /// What differed, if something has.
    pub(crate) fn wrong(&mut self) -> Option<String> {
        self.wrong.take()
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), Closed> {
        if self.left {
            return Err(Closed::ClientClosed);
        }
        if self.said.len() + bytes.len() > MAX_SAID_BYTES {
            return Err(Closed::ByteBudget);
        }
        self.said.extend_from_slice(bytes);
        Ok(())
    }

    /// The script waits for bytes: all that it has said is compared first.
    pub(crate) fn read(&mut self, buffer: &mut Vec<u8>, room: usize) -> Result<usize, Closed> {
        if self.sent.is_empty() {
            self.go_on()?;
        }
        let count = room.min(self.sent.len());
        buffer.extend(self.sent.drain(..count));
        Ok(count)
    }

    /// Goes on to the next thing that the client does.
    fn go_on(&mut self) -> Result<(), Closed> {
        if self.left {
            return Err(Closed::ClientClosed);
        }
        self.compare();
        if self.wrong.is_some() {
            return Err(Closed::Shutdown);
        }
        let Some(Step { line, what }) = self.steps.pop_front() else {
            self.left = true;
            return Err(Closed::ClientClosed);
        };
        match what {
            What::Send(bytes) => {
                self.sent.extend(bytes);
                if self.sent.is_empty() { self.go_on() } else { Ok(()) }
            }
            What::Close => {
                self.left = true;
                Err(Closed::ClientClosed)
            }
            What::Timeout => Err(Closed::Idle),
            What::Closed => {
                self.wrong = Some(format!(
                    "line {line}: the service waits for the client and has not ended the session"
                ));
                Err(Closed::Shutdown)
            }
            // compare() has taken these.
            What::Expect(_) | What::Told(..) => Err(Closed::Shutdown),
        }
    }

    /// Compares what was said and told with the lines that expect something.
    fn compare(&mut self) {
        let mut expected: Option<(usize, Pattern)> = None;
        while let Some(step) = self.steps.front() {
            match &step.what {
                What::Expect(more) => {
                    let (_, all) = expected.get_or_insert_with(|| (step.line, Pattern::default()));
                    all.append(more);
                }
                What::Told(kind, fields) => {
                    let (line, kind, fields) = (step.line, *kind, fields.clone());
                    if !self.was_told(kind.as_str(), &fields) {
                        let fields: Vec<String> = fields
                            .iter()
                            .map(|(name, value)| format!(" {name}=\"{value}\""))
                            .collect();
                        let why = format!("line {line}: not told: {kind}{}", fields.concat());
                        self.wrong.get_or_insert(why);
                    }
                }
                _ => break,
            }
            self.steps.pop_front();
        }
        let said = std::mem::take(&mut self.said);
        let difference = match expected {
            Some((line, all)) if !all.matches(&said) => {
                Some(format!("line {line}: expected {}, got {}", shown(&all), shown_bytes(&said)))
            }
            None if !said.is_empty() => {
                let line = self.steps.front().map_or_else(
                    || "at the end".to_owned(),
                    |step| format!("before line {}", step.line),
                );
                Some(format!(
                    "{line}: the service said {}, which is not expected",
                    shown_bytes(&said)
                ))
            }
            _ => None,
        };
        if let Some(difference) = difference {
            self.wrong = Some(difference);
        }
    }

    /// Looks for an event among those told since the last one that was found.
    fn was_told(&mut self, kind: &str, fields: &[(String, Pattern)]) -> bool {
        while let Ok(event) = self.told.try_recv() {
            let fits = |(name, value): &(String, Pattern)| {
                field(&event, name).is_some_and(|bytes| value.matches(&bytes))
            };
            if event.kind.as_str() == kind && fields.iter().all(fits) {
                return true;
            }
        }
        false
    }

    /// The script has ended: compares the rest.
    pub(crate) fn end(&mut self) {
        if self.wrong.is_some() {
            return;
        }
        self.compare();
        if self.wrong.is_some() {
            return;
        }
        if matches!(self.steps.front(), Some(Step { what: What::Closed | What::Close, .. })) {
            self.steps.pop_front();
            self.compare();
        }
        if let (None, Some(step)) = (&self.wrong, self.steps.front()) {
            self.wrong =
                Some(format!("line {}: the service has ended the session before", step.line));
        }
    }

    /// Whether the transcript expects the script to fail from here on.
    pub(crate) fn expects_fault(&self) -> bool {
        self.steps.iter().any(|step| matches!(step.what, What::Told(EventKind::PluginFailed, _)))
    }

    /// The next datagram of the client, once what was said before is compared.
    pub(crate) fn next_datagram(&mut self) -> Option<Vec<u8>> {
        self.compare();
        while self.wrong.is_none() {
            match self.steps.pop_front()?.what {
                What::Send(bytes) => return Some(bytes),
                What::Close | What::Timeout | What::Closed => self.compare(),
                What::Expect(_) | What::Told(..) => {}
            }
        }
        None
    }
}

/// The value of a field of an event, as transcripts name them.
fn field(event: &Event, name: &str) -> Option<Vec<u8>> {
    let tried = event.credentials.as_ref();
    let bytes = |text: &palisade_event::Untrusted| text.as_bytes().to_vec();
    // A column may have one of these names.
    if let Some(value) = event.attributes.get(name) {
        return Some(match value {
            AttributeValue::Text(text) => bytes(text),
            other => other.to_string().into_bytes(),
        });
    }
    match name {
        "text" => {
            let file = event.attributes.get("contents");
            let file = file.and_then(|value| match value {
                AttributeValue::Text(text) => Some(text),
                _ => None,
            });
            event.request.as_ref().or(event.client.as_ref()).or(file).map(bytes)
        }
        "username" => tried?.username.as_ref().map(bytes),
        "password" => tried?.password.as_ref().map(bytes),
        "outcome" => Some(tried?.outcome?.as_str().into()),
        "name" => event.payload_name.as_ref().map(bytes),
        "cve" => event.cve.as_ref().map(|cve| cve.as_bytes().to_vec()),
        "user_agent" => event.fingerprints.as_ref()?.user_agent.as_ref().map(bytes),
        _ => None,
    }
}

fn shown(pattern: &Pattern) -> String {
    quoted(&pattern.to_string())
}

fn shown_bytes(bytes: &[u8]) -> String {
    quoted(&bytes.escape_ascii().to_string())
}

fn quoted(text: &str) -> String {
    let cut: String = text.chars().take(MAX_SHOWN).collect();
    let more = if cut.len() < text.len() { "…" } else { "" };
    format!("\"{cut}{more}\"")
}
