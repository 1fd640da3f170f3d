//! The diagnostic log: to standard error, lines for people or JSON. Events are
//! not logged here; they have their own way.

use tracing_subscriber::EnvFilter;

use crate::args::LogFormat;
use crate::settings::Log;

/// Sets the log up for the life of the process.
///
/// # Errors
/// The filter is malformed.
pub(crate) fn start(log: &Log) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&log.filter).map_err(|error| {
        anyhow::anyhow!(
            "the log filter '{}' is malformed ({error}); use a level such as info, or palisade_hub=debug",
            log.filter.escape_default()
        )
    })?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match log.format {
        LogFormat::Text => {
            builder.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).init()
        }
        LogFormat::Json => builder.json().init(),
    }
    Ok(())
}
