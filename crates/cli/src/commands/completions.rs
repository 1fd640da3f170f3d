//! `palisade completions SHELL`.

use clap::CommandFactory as _;

/// Prints the completion script.
pub(crate) fn print(shell: clap_complete::Shell) {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut crate::args::Cli::command(), "palisade", &mut script);
    crate::out::line(String::from_utf8_lossy(&script).trim_end());
}
