//! `palisade state move`: all accounts, keys, sensors and the rest from one
//! database into another, while no hub runs.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use palisade_store::state::{Moved, PostgresUrl, State, StateConfig, move_all};
use serde_json::json;

use crate::args::{FormatArgs, OutputFormat};
use crate::out;
use crate::settings::Settings;

/// What can be done with the state database.
#[derive(Debug, Subcommand)]
pub(crate) enum StateCommand {
    /// Copy all state into another, empty database; the old one stays as it is
    #[command(after_help = "\
Stop all hubs first. WHERE is postgres://USER@HOST/DATABASE, or the path of a SQLite file.
Afterwards name the new database in [hub.state]; docs/STATE.md has the steps.

Examples:
  palisade state move --to postgres://palisade@db.example/palisade --password-file pw
  palisade state move --config palisade.toml        to the PostgreSQL that the settings name
  palisade state move --from postgres://palisade@db.example/palisade --to state.db")]
    Move(MoveArgs),
}

#[derive(Debug, Args)]
pub(crate) struct MoveArgs {
    /// Where to [default: the PostgreSQL of the settings]
    #[arg(long, value_name = "WHERE")]
    to: Option<String>,
    /// Where from [default: what the settings name, else the file in the data directory]
    #[arg(long, value_name = "WHERE")]
    from: Option<String>,
    /// A file with the password for the PostgreSQL named here
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    #[command(flatten)]
    format: FormatArgs,
}

/// A place of state.
#[derive(Clone, Debug, PartialEq)]
struct Place {
    /// Where it is a file.
    file: PathBuf,
    config: StateConfig,
}

/// Runs the command.
///
/// # Errors
/// Nothing was moved; the sentence says why.
pub(crate) async fn run(settings: &Settings, command: StateCommand) -> anyhow::Result<ExitCode> {
    let StateCommand::Move(args) = command;
    let _stopped = palisade_hub::DataLock::take(&settings.data_dir())
        .context("moving state needs stopped hubs")?;
    let (from, to) = places(settings, &args)?;
    if from.config.postgres.is_none() && !from.file.exists() {
        bail!("there is no state in {}; name where it is with --from", from.file.display());
    }
    let source = State::open_to_move(&from.file, &from.config).await?;
    let target = State::open_to_move(&to.file, &to.config).await?;
    let moved = move_all(&source, &target).await;
    source.close().await;
    target.close().await;
    show(&from, &to, &moved?, args.format.format);
    Ok(ExitCode::SUCCESS)
}

/// From where and where to.
fn places(settings: &Settings, args: &MoveArgs) -> anyhow::Result<(Place, Place)> {
    let file = Place {
        file: settings.data_dir().join("hub").join("state.db"),
        config: StateConfig { postgres: None, ..settings.hub.state.clone() },
    };
    let configured = Place { config: settings.hub.state.clone(), ..file.clone() };
    let named = |place: &Option<String>| place.as_deref().map(|place| parse(place, args, &file));
    let to = match named(&args.to).transpose()? {
        Some(to) => to,
        None if configured.config.postgres.is_some() => configured.clone(),
        None => bail!("name where to with --to, or set postgres in [hub.state]"),
    };
    let same = |a: &Place, b: &Place| match (&a.config.postgres, &b.config.postgres) {
        (None, None) => a.file == b.file,
        (a, b) => a == b,
    };
    let from = match named(&args.from).transpose()? {
        Some(from) => from,
        None if same(&configured, &to) => file,
        None => configured,
    };
    if same(&from, &to) {
        bail!("from and to are the same database");
    }
    Ok((from, to))
}

fn parse(text: &str, args: &MoveArgs, file: &Place) -> anyhow::Result<Place> {
    if !text.contains("://") {
        return Ok(Place { file: PathBuf::from(text), ..file.clone() });
    }
    let config = StateConfig {
        postgres: Some(PostgresUrl::new(text)),
        password_file: args.password_file.clone().or(file.config.password_file.clone()),
        ..file.config.clone()
    };
    match config.validate() {
        Ok(()) => Ok(Place { config, ..file.clone() }),
        Err(mistakes) => bail!("{}", mistakes.join("; ")),
    }
}

fn name(place: &Place) -> String {
    match &place.config.postgres {
        Some(url) => url.to_string(),
        None => place.file.display().to_string(),
    }
}

fn show(from: &Place, to: &Place, moved: &[Moved], format: OutputFormat) {
    if format == OutputFormat::Json {
        out::json(&json!({"from": name(from), "to": name(to), "moved": moved}));
        return;
    }
    let rows =
        moved.iter().map(|moved| vec![moved.table.to_owned(), moved.rows.to_string()]).collect();
    out::table(&["table", "rows"], rows, "");
    match &to.config.postgres {
        Some(url) => out::line(&format!(
            "moved; now set postgres = \"{url}\" in [hub.state], then start the hubs"
        )),
        None => out::line(&format!("moved to {}", to.file.display())),
    }
}
