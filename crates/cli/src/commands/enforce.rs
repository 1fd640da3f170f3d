//! `palisade enforce list|flush`: what our rules in this machine's firewall hold.

use std::process::ExitCode;

use clap::Subcommand;
use palisade_agent::{flush_enforced, flush_knock, list_enforced};
use serde_json::json;

use crate::args::{FormatArgs, OutputFormat};
use crate::out;
use crate::settings::Settings;

/// What to do with our rules.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum EnforceCommand {
    /// List who is kept out by our rules, until when, and how many packets were dropped
    List {
        #[command(flatten)]
        format: FormatArgs,
    },
    /// Take all of our rules out of the firewall; a running agent puts them there again
    Flush,
}

/// Runs the command.
///
/// # Errors
/// The firewall cannot be asked or changed.
pub(crate) async fn run(settings: &Settings, command: EnforceCommand) -> anyhow::Result<ExitCode> {
    let (config, data) = (&settings.agent.enforce, settings.data_dir());
    let failed = |reason| anyhow::anyhow!("{reason}");
    match command {
        EnforceCommand::Flush => {
            flush_enforced(config, &data).await.map_err(failed)?;
            if let Some(knock) = &settings.agent.knock {
                flush_knock(knock).await.map_err(failed)?;
            }
            out::line("our rules are gone from the firewall");
        }
        EnforceCommand::List { format } => {
            let all = list_enforced(config, &data).await.map_err(failed)?;
            if format.format == OutputFormat::Json {
                let bans: Vec<_> = all
                    .iter()
                    .map(|ban| {
                        json!({
                            "target": ban.target.to_string(),
                            "until": ban.until.map(|until| until.to_string()),
                            "dropped_packets": ban.dropped_packets,
                        })
                    })
                    .collect();
                out::json(&json!({ "bans": bans }));
            } else {
                let rows = all
                    .iter()
                    .map(|ban| {
                        let until = ban.until.map_or("for ever".to_owned(), |u| u.to_string());
                        vec![ban.target.to_string(), until, ban.dropped_packets.to_string()]
                    })
                    .collect();
                out::table(&["target", "until", "dropped_packets"], rows, "nobody is kept out");
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
