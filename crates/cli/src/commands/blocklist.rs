//! `palisade blocklist show|share|links|revoke`: who is banned as a list, and
//! links to it.

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Subcommand, ValueEnum};
use http::Method;
use palisade_rules::scenario::Span;
use serde_json::{Value, json};

use super::bans::escaped;
use super::list;
use super::user::path_segment;
use crate::args::{FormatArgs, OutputFormat, ReachArgs};
use crate::out::{self, shown};
use crate::reach::Reach;
use crate::settings::Settings;

/// In what form a list is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ListFormat {
    /// One address or network a line
    Txt,
    /// A table with a header line
    Csv,
    /// JSON
    Json,
    /// A file for `nft -f`
    Nft,
    /// A file for `ipset restore`
    Ipset,
    /// A file that nginx includes
    Nginx,
    /// A URL table of pfSense or OPNsense
    Pfsense,
    /// A STIX 2.1 bundle
    Stix,
    /// A MISP feed; show writes its event
    Misp,
}

impl ListFormat {
    fn as_str(self) -> &'static str {
        match self {
            Self::Txt => "txt",
            Self::Csv => "csv",
            Self::Json => "json",
            Self::Nft => "nft",
            Self::Ipset => "ipset",
            Self::Nginx => "nginx",
            Self::Pfsense => "pfsense",
            Self::Stix => "stix",
            Self::Misp => "misp",
        }
    }
}

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum BlocklistCommand {
    /// Write the list to standard output
    Show {
        /// In what form
        #[arg(value_enum)]
        form: ListFormat,
        /// Which bans, in the query language: country, ip, analyzer (the scenario), sensor, user
        #[arg(default_value = "", value_name = "QUERY", hide_default_value = true)]
        query: String,
        #[command(flatten)]
        reach: ReachArgs,
    },
    /// Make a signed link to the list; it is printed once and never again
    Share {
        /// In what form
        #[arg(value_enum)]
        form: ListFormat,
        /// Which bans, in the query language; all without
        #[arg(default_value = "", value_name = "QUERY", hide_default_value = true)]
        query: String,
        /// For how long it works: 12h, 90d
        #[arg(long = "for", default_value = "90d", value_name = "SPAN")]
        span: Span,
        /// Who has it
        #[arg(long, value_name = "TEXT")]
        note: Option<String>,
        #[command(flatten)]
        reach: ReachArgs,
        #[command(flatten)]
        format: FormatArgs,
    },
    /// List the links that work, without their signatures
    Links {
        #[command(flatten)]
        reach: ReachArgs,
        #[command(flatten)]
        format: FormatArgs,
    },
    /// Revoke a link
    Revoke {
        /// Its id, as `palisade blocklist links` shows it
        id: String,
        #[command(flatten)]
        reach: ReachArgs,
    },
}

/// Runs the command.
///
/// # Errors
/// The hub cannot be reached or refuses.
pub(crate) async fn run(
    settings: &Settings,
    command: BlocklistCommand,
) -> anyhow::Result<ExitCode> {
    match command {
        BlocklistCommand::Show { form, query, reach } => {
            let hub = Reach::find(settings, &reach).await?;
            let list = show(&hub, form, &query).await;
            hub.close().await;
            std::io::stdout().lock().write_all(&list?)?;
        }
        BlocklistCommand::Share { form, query, span, note, reach, format } => {
            let body = json!({
                "format": form.as_str(),
                "query": query,
                "note": note,
                "duration_secs": span.as_secs(),
            });
            let made = call(settings, &reach, Method::POST, "/api/v1/blocklist-links", Some(&body))
                .await?;
            if format.format == OutputFormat::Json {
                out::json(&made);
                return Ok(ExitCode::SUCCESS);
            }
            let text = |name: &str| made.get(name).and_then(Value::as_str);
            match text("url") {
                Some(url) => out::line(url),
                None => {
                    out::line(text("path").unwrap_or_default());
                    eprintln!(
                        "palisade: put the address of the hub before it; with api.public_url in \
                         the settings it is there"
                    );
                }
            }
        }
        BlocklistCommand::Links { reach, format } => {
            let answer =
                call(settings, &reach, Method::GET, "/api/v1/blocklist-links", None).await?;
            if format.format == OutputFormat::Json {
                out::json(&answer);
                return Ok(ExitCode::SUCCESS);
            }
            let columns = ["id", "format", "query", "expires_at", "by", "note"];
            let rows = list(&answer, "links")
                .iter()
                .map(|link| columns.iter().map(|name| shown(link.get(name))).collect())
                .collect();
            out::table(&columns, rows, "no links; make one with `palisade blocklist share txt`");
        }
        BlocklistCommand::Revoke { id, reach } => {
            let path = format!("/api/v1/blocklist-links/{}", path_segment(&id)?);
            call(settings, &reach, Method::DELETE, &path, None).await?;
            out::line(&format!("revoked {id}"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn show(hub: &Reach, form: ListFormat, query: &str) -> anyhow::Result<Vec<u8>> {
    let query = escaped(query);
    let path = match form {
        ListFormat::Misp => {
            let base = "/api/v1/blocklist/misp";
            let manifest = format!("{base}/manifest.json?q={query}");
            let manifest = hub.call(Method::GET, &manifest, None).await?;
            let event = manifest.as_object().and_then(|events| events.keys().next());
            format!("{base}/{}.json?q={query}", event.map_or("", String::as_str))
        }
        other => format!("/api/v1/blocklist.{}?q={query}", other.as_str()),
    };
    Ok(hub.text(&path).await?.to_vec())
}

/// One request.
async fn call(
    settings: &Settings,
    reach: &ReachArgs,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> anyhow::Result<Value> {
    let hub = Reach::find(settings, reach).await?;
    let answer = hub.call(method, path, body).await;
    hub.close().await;
    answer
}
