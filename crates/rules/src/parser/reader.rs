//! Lines of one format to sightings, one after the other: what `scan` and
//! [`Explainer`](crate::Explainer) read logs with. What is kept of a log goes
//! through [`LogReader`](crate::LogReader) instead.

use super::{Glance, LineContext, LineState, LogFormat, Sight, sight_sshd};
use crate::Sighting;

/// The formats that lines can be told by: all but the one that takes any line.
pub fn formats() -> impl Iterator<Item = LogFormat> {
    LogFormat::all().filter(|format| *format != LogFormat::Lines)
}

/// Reads lines of one format, one after the other.
#[derive(Debug)]
pub struct LineReader {
    format: LogFormat,
    state: LineState,
    /// Lines of sshd go the short way.
    is_sshd: bool,
}

impl LineReader {
    /// A reader that has seen no line.
    #[must_use]
    pub fn new(format: LogFormat, cx: LineContext) -> Self {
        Self { is_sshd: format == LogFormat::Sshd, state: LineState::new(cx), format }
    }

    /// Hands what a line says to `see`. Gives whether the line was understood.
    #[inline]
    pub fn look(&mut self, line: &[u8], mut see: impl FnMut(&Sighting<'_>)) -> bool {
        if self.is_sshd {
            return sight_sshd(line, &mut self.state.syslog, &mut see) != Sight::Unparsed;
        }
        self.format.glance(line, &mut self.state, &mut see) != Glance::Unparsed
    }
}
