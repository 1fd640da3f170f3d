//! How far a long command is, for a person at a terminal: on standard error,
//! and nothing where that is no terminal.

use indicatif::{ProgressBar, ProgressStyle};

/// Whether progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Show {
    /// Where standard error is a terminal.
    AtTerminal,
    /// Never.
    Nothing,
}

impl From<&crate::args::QuietArgs> for Show {
    fn from(args: &crate::args::QuietArgs) -> Self {
        if args.quiet { Self::Nothing } else { Self::AtTerminal }
    }
}

/// A bar.
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// A bar to `total` of `unit`, or a counter where the total is unknown.
    pub(crate) fn new(show: Show, total: Option<u64>, unit: &str) -> Self {
        let bar = match show {
            Show::Nothing => ProgressBar::hidden(),
            Show::AtTerminal => total.map_or_else(ProgressBar::new_spinner, ProgressBar::new),
        };
        let counted =
            if unit == "bytes" { "{bytes}/{total_bytes}" } else { "{human_pos}/{human_len}" };
        let template = match total {
            Some(_) => format!("{{msg}} {{bar:30}} {counted} {unit}, {{per_sec}}, {{eta}} left"),
            None => format!("{{msg}} {{spinner}} {{human_pos}} {unit}, {{per_sec}}"),
        };
        // Our own templates are well formed; another style would do as well.
        if let Ok(style) = ProgressStyle::with_template(&template) {
            bar.set_style(style);
        }
        Self(bar)
    }

    /// Says what is worked on.
    pub(crate) fn on(&self, what: &str) {
        self.0.set_message(what.to_owned());
    }

    /// So much is done.
    pub(crate) fn at(&self, done: u64) {
        self.0.set_position(done);
    }

    /// A line on standard error, above the bar.
    pub(crate) fn complain(&self, line: &str) {
        self.0.suspend(|| eprintln!("{line}"));
    }

    /// Takes the bar away.
    pub(crate) fn end(&self) {
        self.0.finish_and_clear();
    }
}
