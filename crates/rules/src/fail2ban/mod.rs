//! fail2ban's configuration, read as it is.
//!
//! The caller hands over the texts of a configuration folder ([`Files`]); this
//! module lays them over one another, makes the substitutions, compiles filters
//! and runs them over lines. It opens nothing, resolves nothing, starts nothing
//! and asks no clock.
//!
//! ```text
//! Files ─► config (layers, %(…)s) ─► definition (<…>) ─► FilterDefinition ─► Filter ─► Found
//! ```

mod action;
mod config;
mod counting;
mod date;
mod definition;
mod examine;
mod expression;
mod failure;
mod files;
mod filter;
mod filter_file;
mod host;
mod ignore;
mod ini;
mod jail;
mod pattern;
mod probe;
mod problem;
mod python_regex;
mod running;
mod session;
mod sieve;
mod tags;

pub use action::{Action, Command, Family, Step, Takeover};
pub use counting::{BanTime, BansOf, Failures, Increment, weight_of_known};
pub use date::{Now, offset_minutes};
pub use examine::{Detail, ExamineOptions, Examiner, Show};
pub use expression::seconds;
pub use failure::{Failure, SplitLine, Value};
pub use files::{Files, MAX_FILE_BYTES};
pub use filter::{
    Filter, FilterCounts, FilterOptions, Found, MAX_LINE_BYTES, Outcome, RawNames, Tries,
};
pub use filter_file::{Backend, FilterDefinition};
pub use host::{FailureId, UseDns};
pub use ignore::Ignore;
pub use jail::{From, Jail, LogPath, jails};
pub use probe::{MAX_REQUEST_BYTES, Prober};
pub use problem::{Place, Problem};
pub use running::{JailLines, RunningJail};
