//! `palisade plugin new|test|check|list`: for those who write plug-ins. Nothing
//! listens and nothing is stored.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use palisade_honeypot::plugin::{self, Manifest, PluginName, Source};
use serde_json::json;

use crate::args::{FormatArgs, OutputFormat};
use crate::out;
use crate::settings::Settings;

/// The files that a new plug-in begins with; `NAME` stands for its name.
const TEMPLATE: [(&str, &str); 3] = [
    ("init.luau", include_str!("template/init.luau")),
    ("README.md", include_str!("template/README.md")),
    ("transcripts/first.txt", include_str!("template/first.txt")),
];

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum PluginCommand {
    /// Write a working plug-in to start from, with a transcript
    New(NewArgs),
    /// Play the transcripts of a plug-in: what is sent, expected and told
    Test(TestArgs),
    /// Load a plug-in and say what it declares, or what is wrong with it
    Check(FolderArgs),
    /// List the plug-ins that are shipped or in the configured folder
    List(FormatArgs),
}

#[derive(Clone, Debug, Args)]
pub(crate) struct NewArgs {
    /// Its name, which is that of its folder
    pub(crate) name: String,
    /// Where the folder is made
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub(crate) within: PathBuf,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct TestArgs {
    /// Folders of plug-ins
    #[arg(required = true, value_name = "DIR")]
    pub(crate) folders: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) format: FormatArgs,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct FolderArgs {
    /// The folder of the plug-in
    #[arg(value_name = "DIR")]
    pub(crate) folder: PathBuf,
    #[command(flatten)]
    pub(crate) format: FormatArgs,
}

/// Runs the command; exits with 1 where a plug-in is wrong.
///
/// # Errors
/// Files that cannot be read or written.
pub(crate) fn run(settings: &Settings, command: &PluginCommand) -> anyhow::Result<ExitCode> {
    match command {
        PluginCommand::New(args) => new(args),
        PluginCommand::Test(args) => Ok(test(args)),
        PluginCommand::Check(args) => check(args),
        PluginCommand::List(args) => list(settings, args),
    }
}

fn new(args: &NewArgs) -> anyhow::Result<ExitCode> {
    let name = PluginName::new(&args.name).map_err(anyhow::Error::msg)?;
    let folder = args.within.join(name.as_str());
    if folder.exists() {
        bail!("{} is there already", folder.display());
    }
    for (file, text) in TEMPLATE {
        let path = folder.join(file);
        let within = path.parent().unwrap_or(&folder);
        std::fs::create_dir_all(within)
            .and_then(|()| std::fs::write(&path, text.replace("NAME", name.as_str())))
            .with_context(|| format!("cannot write {}", path.display()))?;
        out::line(&format!("wrote {}", path.display()));
    }
    out::line(&format!("now try: palisade plugin test {}", folder.display()));
    Ok(ExitCode::SUCCESS)
}

/// A folder that is meant, also where it is written as `.`.
fn meant(folder: &Path) -> PathBuf {
    folder.canonicalize().unwrap_or_else(|_| folder.to_owned())
}

fn test(args: &TestArgs) -> ExitCode {
    let mut good = true;
    let mut report = Vec::new();
    for folder in &args.folders {
        let played = plugin::test(&meant(folder));
        let shown = folder.display().to_string();
        match played {
            Ok(played) => {
                if played.is_empty() {
                    report.push((shown.clone(), "loaded".to_owned(), Ok(())));
                }
                for (file, ended) in played {
                    report.push((shown.clone(), file, ended));
                }
            }
            Err(why) => report.push((shown, "init.luau".to_owned(), Err(why))),
        }
    }
    for (folder, file, ended) in &report {
        good &= ended.is_ok();
        if args.format.format == OutputFormat::Table {
            match ended {
                Ok(()) => out::line(&format!("ok      {folder}: {file}")),
                Err(why) => {
                    let why = palisade_event::Untrusted::from(why.as_str());
                    out::line(&format!("failed  {folder}: {file}: {why}"));
                }
            }
        }
    }
    if args.format.format == OutputFormat::Json {
        let played = report.iter().map(|(folder, file, ended)| {
            let why = ended.as_ref().err();
            json!({ "plugin": folder, "transcript": file, "ok": ended.is_ok(), "why": why })
        });
        out::json(&json!({ "played": played.collect::<Vec<_>>() }));
    }
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn check(args: &FolderArgs) -> anyhow::Result<ExitCode> {
    let source = Source::read(&meant(&args.folder)).map_err(anyhow::Error::msg)?;
    let manifest = plugin::check(&source).map_err(anyhow::Error::msg)?;
    match args.format.format {
        OutputFormat::Json => out::json(&json!(manifest)),
        OutputFormat::Table => {
            out::line(&format!("{}: {}", manifest.name, manifest.about));
            out::line(&format!("ports     {}", ports(&manifest)));
            out::line(&format!("category  {}", manifest.category));
            let columns: Vec<String> = manifest
                .columns
                .iter()
                .map(|column| format!("{} {}", column.name, column.kind.as_str()))
                .collect();
            out::line(&format!("columns   {}", columns.join(", ")));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What a plug-in listens on where the operator names nothing else.
fn ports(manifest: &Manifest) -> String {
    let list = |name: &str, ports: &[u16]| {
        let ports: Vec<String> = ports.iter().map(|port| format!("{name} {port}")).collect();
        ports
    };
    let all = [("tcp", &manifest.tcp), ("tls", &manifest.tls), ("udp", &manifest.udp)];
    let all: Vec<String> = all.iter().flat_map(|(name, ports)| list(name, ports)).collect();
    all.join(", ")
}

fn list(settings: &Settings, args: &FormatArgs) -> anyhow::Result<ExitCode> {
    let mut rows = Vec::new();
    for source in Source::all_shipped() {
        rows.push((source.name.to_string(), "shipped".to_owned(), plugin::check(&source)));
    }
    if let Some(folder) = plugin_folder(settings) {
        for (path, source) in plugin::read_all(folder).map_err(anyhow::Error::msg)? {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let manifest = source.and_then(|source| plugin::check(&source));
            rows.push((name, folder.display().to_string(), manifest));
        }
    }
    match args.format {
        OutputFormat::Json => {
            let rows = rows.iter().map(|(name, origin, manifest)| match manifest {
                Ok(manifest) => json!({ "name": name, "origin": origin, "manifest": manifest }),
                Err(why) => json!({ "name": name, "origin": origin, "wrong": why }),
            });
            out::json(&json!({ "plugins": rows.collect::<Vec<_>>() }));
        }
        OutputFormat::Table => {
            let rows = rows.into_iter().map(|(name, origin, manifest)| match manifest {
                Ok(manifest) => vec![name, origin, ports(&manifest), manifest.about],
                Err(why) => vec![name, origin, "-".to_owned(), why],
            });
            out::table(&["name", "from", "ports", "about"], rows.collect(), "no plug-ins");
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn plugin_folder(settings: &Settings) -> Option<&Path> {
    settings.honeypot.plugins.as_deref()
}
