//! Reports what the spool had to drop, exactly once for each loss.
//!
//! The spool counts for ever what it dropped; this remembers how much of that
//! has been reported. The report is written down before it is appended, with
//! its id, so that after a crash between the two the same event is made again.

use std::io;
use std::path::{Path, PathBuf};

use palisade_event::{Event, EventId, EventKind, SensorId, Timestamp, Untrusted};
use serde::{Deserialize, Serialize};

use crate::durable;

/// What is remembered on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Reported {
    records: u64,
    bytes: u64,
    /// A report that may not be in the spool yet.
    #[serde(default)]
    pending: Option<Pending>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Pending {
    id: EventId,
    at: Timestamp,
    records: u64,
    bytes: u64,
}

/// The account of losses. A clone is for the time of one write alone: there is
/// one file.
#[derive(Clone, Debug)]
pub(crate) struct Losses {
    path: PathBuf,
    reported: Reported,
}

impl Losses {
    /// Reads the account below `folder`. Blocks.
    pub(crate) fn open(folder: &Path) -> Self {
        let path = folder.join("losses.json");
        let reported = durable::read(&path).unwrap_or_else(|error| {
            tracing::error!(path = %path.display(), %error, "the account of losses cannot be read; they are reported again");
            None
        });
        Self { path, reported: reported.unwrap_or_default() }
    }

    /// Whether a report is due, given how many records the spool has ever dropped.
    pub(crate) fn is_unreported(&self, records: u64) -> bool {
        self.reported.pending.is_some() || records > self.reported.records
    }

    /// The report that is due, given what the spool has ever dropped. It is
    /// written down before it is returned; call [`Self::done`] once the spool
    /// has it. Blocks where there is one.
    ///
    /// # Errors
    /// The account cannot be written; nothing is reported yet.
    pub(crate) fn due(
        &mut self,
        records: u64,
        bytes: u64,
        now: Timestamp,
        sensor: &SensorId,
    ) -> io::Result<Option<Event>> {
        let pending = match self.reported.pending {
            Some(pending) => pending,
            None if records > self.reported.records => {
                let pending =
                    Pending { id: EventId::new(now, rand::random()), at: now, records, bytes };
                let reported = Reported { pending: Some(pending), ..self.reported };
                durable::write(&self.path, &reported)?;
                self.reported = reported;
                pending
            }
            None => return Ok(None),
        };
        let event = Event::new(pending.id, EventKind::LossRecorded, pending.at, sensor.clone())
            .with("records", pending.records.saturating_sub(self.reported.records))
            .with("bytes", pending.bytes.saturating_sub(self.reported.bytes))
            .with("total_records", pending.records)
            .with("reason", Untrusted::from("the spool reached its bound"));
        Ok(Some(event))
    }

    /// The report is in the spool. Blocks.
    ///
    /// # Errors
    /// The account cannot be written; the same report is due again.
    pub(crate) fn done(&mut self) -> io::Result<()> {
        let Some(Pending { records, bytes, .. }) = self.reported.pending else { return Ok(()) };
        let reported = Reported { records, bytes, pending: None };
        durable::write(&self.path, &reported)?;
        self.reported = reported;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use palisade_event::AttributeValue;

    use super::*;

    fn due(losses: &mut Losses, records: u64) -> Option<Event> {
        let sensor = SensorId::new("a").unwrap();
        losses.due(records, records * 10, Timestamp::from_millis(7), &sensor).unwrap()
    }

    #[test]
    fn each_loss_is_reported_once_also_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let mut losses = Losses::open(folder.path());
        assert_eq!(due(&mut losses, 0), None);
        let report = due(&mut losses, 5).unwrap();
        assert_eq!(report.attributes.get("records"), Some(&AttributeValue::Integer(5)));
        losses.done().unwrap();
        assert_eq!(due(&mut losses, 5), None);
        let mut losses = Losses::open(folder.path());
        assert_eq!(due(&mut losses, 5), None);
        let report = due(&mut losses, 8).unwrap();
        assert_eq!(report.attributes.get("records"), Some(&AttributeValue::Integer(3)));
    }

    #[test]
    fn a_crash_before_the_report_is_safe_makes_the_same_report_again() {
        let folder = tempfile::tempdir().unwrap();
        let first = due(&mut Losses::open(folder.path()), 5).unwrap();
        let mut losses = Losses::open(folder.path());
        assert_eq!(due(&mut losses, 9), Some(first));
        losses.done().unwrap();
        let rest = due(&mut losses, 9).unwrap();
        assert_eq!(rest.attributes.get("records"), Some(&AttributeValue::Integer(4)));
    }
}
