//! Times in log lines: the forms fail2ban knows, how it finds them, and what
//! moment they name.

mod detector;
mod field;
mod moment;
mod template;
mod zone;

pub(crate) use detector::Detector;
pub use zone::offset_minutes;

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// The time a line is read at, for what a line does not say.
#[derive(Clone, Debug)]
pub struct Now {
    /// Seconds since 1970 in UTC.
    pub epoch: f64,
    /// The zone of times that name none.
    pub zone: TimeZone,
}

impl Now {
    fn local(&self) -> jiff::civil::DateTime {
        let time = Timestamp::from_second(self.epoch as i64).unwrap_or(Timestamp::UNIX_EPOCH);
        self.zone.to_datetime(time)
    }
}
