//! The life of the files: counted, checked, repaired, copied, brought to a
//! newer format. Works on the folder of a store, not through the engine; what
//! writes needs a store that nobody has open.

mod check;
mod copy;
mod repair;
mod replace;
mod salvage;
mod survey;
mod upgrade;

use std::fmt;

pub use check::{Checked, check};
pub use copy::{Copied, copy};
pub use repair::{RepairedDay, repair};
pub use survey::{DaySurvey, survey};
pub(super) use upgrade::prepare;

use palisade_event::Day;

/// What is wrong with a store.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    /// The folder of the day; `None` where it is not one day's.
    pub folder: Option<String>,
    /// One sentence.
    pub what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.folder {
            Some(folder) => write!(f, "{folder}: {}", self.what),
            None => f.write_str(&self.what),
        }
    }
}

/// How far a long piece of work is.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// The day that is worked on.
    pub day: Day,
    /// Events done, of all days.
    pub events: u64,
    /// Events of all days.
    pub of: u64,
}
