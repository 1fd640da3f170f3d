//! `palisade knock`: at the closed ports of a machine, to be let in; and links
//! that let somebody in once.

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use http::Method;
use palisade_agent::{KnockSecret, knock_step};
use palisade_rules::scenario::Span;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::list;
use super::user::path_segment;
use crate::args::{FormatArgs, OutputFormat, ReachArgs};
use crate::out::{self, shown};
use crate::reach::Reach;
use crate::settings::Settings;

/// How long a SYN has to arrive before the next: less than the second after
/// which the system would send it once more.
const PAUSE: Duration = Duration::from_millis(200);

#[derive(Clone, Debug, Args)]
#[command(args_conflicts_with_subcommands = true, arg_required_else_help = true)]
pub(crate) struct KnockArgs {
    /// The machine: a name or an address
    host: Option<String>,
    /// The ports of its [agent.knock] sequence, in their order
    #[arg(long, value_delimiter = ',', value_name = "PORT,PORT,…", conflicts_with = "secret_file")]
    ports: Vec<u16>,
    /// The file with the secret that it shares with us: other ports each 30 s
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<KnockCommand>,
}

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum KnockCommand {
    /// Make a link to the hub that lets in whoever uses it, once
    Link {
        /// How long it can be used: up to 7d
        #[arg(long = "for", default_value = "1h", value_name = "SPAN")]
        usable: Span,
        /// How long who uses it is spared: up to 30d
        #[arg(long, default_value = "8h", value_name = "SPAN")]
        allow: Span,
        /// What it is for
        #[arg(long, value_name = "TEXT")]
        note: Option<String>,
        #[command(flatten)]
        reach: ReachArgs,
        #[command(flatten)]
        format: FormatArgs,
    },
    /// List the links that can still be used
    Links {
        #[command(flatten)]
        reach: ReachArgs,
        #[command(flatten)]
        format: FormatArgs,
    },
    /// Revoke a link
    Revoke {
        /// Its id, as `palisade knock links` shows it
        id: String,
        #[command(flatten)]
        reach: ReachArgs,
    },
    /// Make a secret for [agent.knock] secret_file, in a new file
    Secret {
        /// The file
        file: PathBuf,
    },
}

/// Runs the command.
///
/// # Errors
/// The machine or the hub cannot be reached, or a file cannot be used.
pub(crate) async fn run(settings: &Settings, args: KnockArgs) -> anyhow::Result<ExitCode> {
    match args.command {
        Some(KnockCommand::Link { usable, allow, note, reach, format }) => {
            let body = json!({
                "usable_secs": usable.as_secs(), "allow_secs": allow.as_secs(), "note": note,
            });
            let hub = Reach::find(settings, &reach).await?;
            let answer = hub.call(Method::POST, "/api/v1/knock-links", Some(&body)).await;
            hub.close().await;
            let answer = answer?;
            if format.format == OutputFormat::Json {
                out::json(&answer);
                return Ok(ExitCode::SUCCESS);
            }
            match answer.get("url").and_then(Value::as_str) {
                Some(url) => out::line(url),
                None => {
                    out::line(&shown(answer.get("path")));
                    out::line("(behind the address of the hub; api.public_url says it)");
                }
            }
            out::line(&format!("works once, until {}", shown(answer.get("expires_at"))));
        }
        Some(KnockCommand::Links { reach, format }) => {
            let hub = Reach::find(settings, &reach).await?;
            let answer = hub.call(Method::GET, "/api/v1/knock-links", None).await;
            hub.close().await;
            let answer = answer?;
            if format.format == OutputFormat::Json {
                out::json(&answer);
                return Ok(ExitCode::SUCCESS);
            }
            let columns = ["id", "expires_at", "allow_secs", "by", "note"];
            let rows = list(&answer, "links")
                .iter()
                .map(|link| columns.iter().map(|name| shown(link.get(name))).collect())
                .collect();
            out::table(&columns, rows, "no links; make one with `palisade knock link`");
        }
        Some(KnockCommand::Revoke { id, reach }) => {
            let path = format!("/api/v1/knock-links/{}", path_segment(&id)?);
            let hub = Reach::find(settings, &reach).await?;
            let answer = hub.call(Method::DELETE, &path, None).await;
            hub.close().await;
            answer?;
            out::line(&format!("revoked {id}"));
        }
        Some(KnockCommand::Secret { file }) => secret(&file)?,
        None => {
            let host = args.host.context("name the machine to knock at")?;
            let ports = match args.secret_file {
                Some(file) => {
                    let secret = KnockSecret::read(&file).map_err(anyhow::Error::msg)?;
                    secret.ports(knock_step(SystemTime::now().into()))
                }
                None if args.ports.is_empty() => bail!("give --ports or --secret-file"),
                None => args.ports,
            };
            let first = ports.first().copied().unwrap_or_default();
            let address = knock(&host, first, &ports).await?;
            out::line(&format!("knocked at {address}; who knocked right is let in within seconds"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Sends a SYN to each port. Whether that was right nobody says.
async fn knock(host: &str, first: u16, ports: &[u16]) -> anyhow::Result<IpAddr> {
    let mut found = tokio::net::lookup_host((host, first))
        .await
        .with_context(|| format!("cannot find {}", host.escape_debug()))?;
    let address = found.next().context("it has no address")?.ip();
    for port in ports {
        // Refused, timed out, even accepted: the SYN is what counts.
        let connect = TcpStream::connect(SocketAddr::new(address, *port));
        drop(tokio::time::timeout(PAUSE, connect).await);
        tokio::time::sleep(PAUSE / 4).await;
    }
    Ok(address)
}

fn secret(file: &Path) -> anyhow::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    let made = options.write(true).create_new(true).mode(0o600).open(file);
    made.and_then(|mut made| writeln!(made, "{}", KnockSecret::generate()))
        .with_context(|| format!("cannot make {}", file.display()))?;
    out::line(&format!("written: {}; copy it to the machine, and to nobody else", file.display()));
    Ok(())
}
