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

mod config;
mod date;
mod definition;
mod failure;
mod files;
mod filter;
mod filter_file;
mod host;
mod ini;
mod pattern;
mod probe;
mod problem;
mod python_regex;
mod session;
mod tags;

pub use date::{Now, offset_minutes};
pub use failure::{Failure, SplitLine, Value};
pub use files::{Files, MAX_FILE_BYTES};
pub use filter::{
    Filter, FilterCounts, FilterOptions, Found, MAX_LINE_BYTES, Outcome, RawNames, Tries,
};
pub use filter_file::{Backend, FilterDefinition};
pub use host::{FailureId, UseDns};
pub use probe::{MAX_REQUEST_BYTES, Prober};
pub use problem::{Place, Problem};
