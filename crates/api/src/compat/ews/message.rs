//! One message on its way in: windows of it are read, alerts become events,
//! and memory stays bounded however long it is.
//!
//! Bytes → [`Message::window`] → [`Message::parse`] → [`Collected`]. Free of
//! HTTP and of the hub, so that it can be fuzzed.

use std::sync::Arc;

use palisade_event::SensorId;
use palisade_hub::Unfit;

use super::alert::{self, Converted};
use super::analyzers::Analyzers;
use super::xml::{Item, Malformed, Reader};

/// Bytes that are collected before the first look; most messages are smaller.
pub(crate) const WINDOW_BYTES: usize = 256 * 1024;
/// Largest alert, in bytes: base64 of 10 MiB, the most that T-Pot sends, and
/// room for the rest.
pub(crate) const MAX_ALERT_BYTES: usize = 16 * 1024 * 1024;
/// Most alerts of one message.
pub(crate) const MAX_ALERTS: usize = 10_000;
/// Most bytes of alerts, without what they captured, that are held at once.
pub(crate) const MAX_HELD_BYTES: usize = 32 * 1024 * 1024;
/// Longest part of a refused alert that is kept, in bytes.
const MAX_UNFIT_BYTES: usize = 64 * 1024;
/// What an event holds beside its texts, in bytes, give or take.
const EVENT_BYTES: usize = 512;
/// How the end of an alert begins.
const ALERT_END: &[u8] = b"</Alert";

/// What a message has said so far.
#[derive(Debug, Default)]
pub(crate) struct Collected {
    /// Who sends it, where it has said so: user and token.
    pub(crate) credentials: Option<(String, String)>,
    /// Its alerts, understood.
    pub(crate) alerts: Vec<Converted>,
    /// Its alerts, not understood.
    pub(crate) unfit: Vec<Unfit>,
    held: usize,
}

/// A message is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It cannot be understood.
    Malformed(Malformed),
    /// It holds too much.
    TooLarge(&'static str),
}

/// A message that is being read.
pub(crate) struct Message {
    /// What is not read yet.
    pub(crate) window: Vec<u8>,
    /// What was read.
    pub(crate) collected: Collected,
    reader: Reader,
    analyzers: Arc<Analyzers>,
    placeholder: SensorId,
    /// The window is looked at when it has so many bytes.
    look_at: usize,
    /// An alert that is too large is being left out.
    leaving_out: bool,
}

impl Message {
    /// Nothing was read yet. `placeholder` stands in events until it is known
    /// whose they are.
    pub(crate) fn new(analyzers: Arc<Analyzers>, placeholder: SensorId) -> Self {
        Self {
            window: Vec::new(),
            collected: Collected::default(),
            reader: Reader::default(),
            analyzers,
            placeholder,
            look_at: WINDOW_BYTES,
            leaving_out: false,
        }
    }

    /// Whether it is time for [`Self::parse`].
    pub(crate) fn is_due(&self) -> bool {
        self.window.len() >= self.look_at
    }

    /// Reads what is complete in the window. With `last` nothing follows.
    ///
    /// # Errors
    /// [`Refused`]
    pub(crate) fn parse(&mut self, last: bool) -> Result<(), Refused> {
        if self.leaving_out && !self.leave_out() {
            return if last { Err(Refused::Malformed(Malformed::Cut)) } else { Ok(()) };
        }
        let (collected, analyzers) = (&mut self.collected, &*self.analyzers);
        let mut full = None;
        let done = self.reader.read(&self.window, last, |item| {
            if full.is_none() {
                full = collected.take(item, analyzers, &self.placeholder).err();
            }
        });
        let done = done.map_err(Refused::Malformed)?;
        if let Some(why) = full {
            return Err(Refused::TooLarge(why));
        }
        self.window.drain(..done);
        if self.window.len() > MAX_ALERT_BYTES {
            self.collected.refuse(&self.window, "it is larger than 16 MiB")?;
            self.leaving_out = true;
            self.leave_out();
        }
        // Looking again pays only where much has come since.
        self.look_at = (2 * self.window.len()).clamp(WINDOW_BYTES, MAX_ALERT_BYTES + 1);
        Ok(())
    }

    /// Throws away the window up to the end of an alert; whether it was there.
    fn leave_out(&mut self) -> bool {
        let end = memchr::memmem::find(&self.window, ALERT_END).and_then(|at| {
            let rest = self.window.get(at..)?;
            memchr::memchr(b'>', rest).map(|length| at + length + 1)
        });
        match end {
            Some(end) => {
                self.window.drain(..end);
                self.leaving_out = false;
            }
            None => {
                let keep = self.window.len().saturating_sub(ALERT_END.len() + 64);
                self.window.drain(..keep);
                self.look_at = WINDOW_BYTES;
            }
        }
        end.is_some()
    }
}

impl From<&'static str> for Refused {
    fn from(why: &'static str) -> Self {
        Self::TooLarge(why)
    }
}

impl Collected {
    fn take(
        &mut self,
        item: Item<'_, '_>,
        analyzers: &Analyzers,
        sensor: &SensorId,
    ) -> Result<(), &'static str> {
        match item {
            Item::Authentication { username, token } => {
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                self.credentials.get_or_insert_with(|| (text(username), text(token)));
                Ok(())
            }
            Item::Broken(raw, why) => self.refuse(raw, why),
            Item::Alert(alert) => match alert::convert(alert, analyzers, sensor) {
                Ok(converted) => {
                    let captured = converted.captured.as_ref();
                    let captured = captured.map_or(0, |captured| captured.bytes.len());
                    self.hold(alert.raw.len().saturating_sub(captured))?;
                    self.alerts.push(converted);
                    Ok(())
                }
                Err(why) => self.refuse(alert.raw, &why),
            },
        }
    }

    fn refuse(&mut self, raw: &[u8], why: &str) -> Result<(), &'static str> {
        let record = raw.get(..MAX_UNFIT_BYTES).unwrap_or(raw).to_vec();
        self.hold(record.len())?;
        self.unfit.push(Unfit { record, reason: format!("EWS alert: {why}") });
        Ok(())
    }

    fn hold(&mut self, bytes: usize) -> Result<(), &'static str> {
        self.held += bytes + EVENT_BYTES;
        if self.held > MAX_HELD_BYTES {
            return Err("More than 32 MiB of alerts; send smaller messages.");
        }
        if self.alerts.len() + self.unfit.len() >= MAX_ALERTS {
            return Err("More than 10000 alerts; send smaller messages.");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panic")]

    use serde_json::json;

    use super::*;

    fn read(parts: &[&[u8]]) -> Result<Collected, Refused> {
        let analyzers = Arc::new(Analyzers::load(None).unwrap());
        let mut message = Message::new(analyzers, SensorId::new("tpot-1").unwrap());
        for part in parts {
            message.window.extend_from_slice(part);
            if message.is_due() {
                message.parse(false)?;
            }
        }
        message.parse(true)?;
        Ok(message.collected)
    }

    fn alert(fields: &str) -> String {
        format!(
            "<Alert><Analyzer id='cowrie'/><CreateTime tz='+0000'>2026-11-20 20:07:14</CreateTime>\
             <Source port='1'>198.51.100.7</Source><Target port='22'>203.0.113.5</Target>{fields}</Alert>"
        )
    }

    fn message(inner: &str) -> String {
        format!(
            "<EWS-SimpleMessage version='3.0'><Authentication><username>u</username>\
                 <token>t</token></Authentication>{inner}</EWS-SimpleMessage>"
        )
    }

    fn ids(xml: &str) -> Vec<String> {
        let sensor = SensorId::new("tpot-1").unwrap();
        let mut collected = read(&[xml.as_bytes()]).unwrap();
        collected.alerts.iter_mut().for_each(|alert| alert.identify(&sensor));
        collected.alerts.iter().map(|alert| alert.event.id.to_string()).collect()
    }

    #[test]
    fn the_fixtures_become_what_is_written_beside_them() {
        let folder =
            std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/ews"));
        let mut cases = 0;
        for case in std::fs::read_dir(folder).unwrap() {
            let case = case.unwrap().path();
            let Ok(xml) = std::fs::read(case.join("message.xml")) else { continue };
            let mut collected = read(&[&xml]).unwrap();
            let sensor = SensorId::new("tpot-1").unwrap();
            collected.alerts.iter_mut().for_each(|alert| alert.identify(&sensor));
            let events: Vec<_> = collected.alerts.iter().map(|alert| &alert.event).collect();
            let captured: Vec<_> = collected
                .alerts
                .iter()
                .map(|alert| {
                    alert.captured.as_ref().map(|c| json!({"bytes": c.bytes.len(), "http": c.http}))
                })
                .collect();
            let refused: Vec<_> = collected.unfit.iter().map(|unfit| &unfit.reason).collect();
            let found = json!({"events": events, "captured": captured, "refused": refused});
            let found = serde_json::to_string_pretty(&found).unwrap() + "\n";
            let path = case.join("expected.json");
            if std::env::var_os("UPDATE_GOLDEN").is_some() {
                std::fs::write(&path, &found).unwrap();
            }
            let expected = std::fs::read_to_string(&path).unwrap_or_default();
            assert_eq!(found, expected, "{}", case.display());
            cases += 1;
        }
        assert!(cases >= 15, "{cases}");
    }

    #[test]
    fn a_resend_in_another_layout_is_the_same_and_a_second_connection_is_not() {
        let data = "<AdditionalData meaning='sessionid' type='string'>a</AdditionalData>";
        let first = ids(&message(&alert(data)));
        let pretty = message(&format!("\n  {}\n", alert(data).replace("><", ">\n    <")));
        assert_eq!(ids(&pretty.replace('\'', "\"")), first);
        let others = [
            alert(&data.replace(">a<", ">b<")),
            alert(data).replace("port='1'", "port='2'"),
            alert(data).replace("07:14", "07:15"),
            alert(""),
        ];
        for other in others {
            assert_ne!(ids(&message(&other)), first, "{other}");
        }
    }

    #[test]
    fn a_long_message_is_read_in_windows_and_reads_the_same() {
        let alerts: String =
            (0..3000).map(|n| alert(&format!("<Request type='request'>{n}</Request>"))).collect();
        let xml = message(&alerts);
        let parts: Vec<&[u8]> = xml.as_bytes().chunks(7_001).collect();
        let collected = read(&parts).unwrap();
        assert_eq!((collected.alerts.len(), collected.unfit.len()), (3000, 0));
        assert_eq!(collected.alerts[2999].event.request.as_ref().unwrap().as_bytes(), b"2999");
    }

    #[test]
    fn an_alert_that_is_too_large_is_left_out_and_the_next_one_is_taken() {
        let large =
            alert(&format!("<Request type='raw'>{}</Request>", "QUJD".repeat(5 * 1024 * 1024)));
        let xml = message(&format!("{}{large}{}", alert(""), alert("<X>1</X>")));
        let parts: Vec<&[u8]> = xml.as_bytes().chunks(64 * 1024).collect();
        let collected = read(&parts).unwrap();
        assert_eq!(collected.alerts.len(), 2);
        assert_eq!(collected.unfit.len(), 1);
        assert!(collected.unfit[0].reason.contains("larger than 16 MiB"));
        assert!(collected.unfit[0].record.len() <= MAX_UNFIT_BYTES);
    }

    #[test]
    fn too_many_alerts_are_refused_whole() {
        let xml = message(&"<Alert/>".repeat(MAX_ALERTS + 1));
        assert!(matches!(read(&[xml.as_bytes()]), Err(Refused::TooLarge(_))));
        let fat = alert(&format!("<X>{}</X>", "x".repeat(60_000)));
        let xml = message(&fat.repeat(600));
        let parts: Vec<&[u8]> = xml.as_bytes().chunks(64 * 1024).collect();
        assert!(matches!(read(&parts), Err(Refused::TooLarge(_))));
    }

    #[test]
    fn a_message_that_is_cut_or_lies_is_refused_whole() {
        let xml = message(&alert(""));
        for cut in 0..xml.len() - 1 {
            assert!(matches!(read(&[&xml.as_bytes()[..cut]]), Err(Refused::Malformed(_))), "{cut}");
        }
    }
}
