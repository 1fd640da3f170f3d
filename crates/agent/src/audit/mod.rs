//! The audit: are the security settings of a machine as they should be?
//!
//! ```text
//! ruleset/audit/*.toml ─► catalogue ─► judge ─► report ─► `palisade audit`, events
//! files of the machine ─► inventory::Root ─┘
//! ```
//! It only reads. What cannot be seen is not judged, never passed.

mod catalogue;
mod changes;
mod config;
mod judge;
mod probe;
mod report;
mod task;

#[cfg(test)]
mod fixture;

use std::io;
use std::path::Path;
use std::time::Instant;

use palisade_event::Timestamp;

pub use catalogue::{Catalogue, Check, Severity, System};
pub use config::AuditConfig;
pub use report::{Finding, Report, Verdict};
pub(crate) use task::Audits;

use crate::inventory::root::Root;
use judge::Facts;

/// What is audited.
#[derive(Debug)]
pub struct Machine(Root);

impl Machine {
    /// This machine.
    #[must_use]
    pub fn here() -> Self {
        Self(Root::here())
    }

    /// A folder with the files of another machine. Nothing of it is executed.
    ///
    /// # Errors
    /// It cannot be opened, or this kernel is older than Linux 5.6.
    pub fn folder(path: &Path) -> io::Result<Self> {
        Root::folder(path).map(Self)
    }
}

/// Judges each check of the catalogue. Takes seconds where the local disks have
/// millions of files; `progress` hears how many checks are done and which one is
/// next.
#[must_use]
pub fn audit(
    machine: &Machine,
    catalogue: &Catalogue,
    now: Timestamp,
    mut progress: impl FnMut(usize, &Check),
) -> Report {
    let begun = Instant::now();
    let facts = Facts::new(&machine.0, now);
    let mut findings = Vec::new();
    for (done, check) in catalogue.checks().iter().enumerate() {
        progress(done, check);
        findings.push(Finding { check: check.clone(), verdict: facts.verdict(check) });
    }
    Report::new(&facts, findings, now, begun.elapsed())
}
