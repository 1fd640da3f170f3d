//! `palisade doctor`: looks at this machine and says what works, what does not
//! and what to do about it.

use std::net::TcpListener;
use std::path::Path;
use std::process::ExitCode;

use palisade_agent::SourceConfig;
use palisade_store::state::State;
use serde_json::json;

use crate::args::{FormatArgs, OutputFormat};
use crate::out;
use crate::settings::{Settings, detect_sources};

/// Free space below which the disk is called nearly full.
const LOW_DISK_BYTES: u64 = 1024 * 1024 * 1024;
/// Open files that a busy hub needs.
const WANTED_FILES: u64 = 4_096;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Health {
    Good,
    Note,
    Bad,
}

struct Finding {
    what: &'static str,
    health: Health,
    says: String,
}

/// Examines and prints; exits with 1 where something is bad.
pub(crate) async fn examine(settings: &Settings, format: FormatArgs) -> ExitCode {
    let data = settings.data_dir();
    let running = tokio::net::UnixStream::connect(data.join("palisade.sock")).await.is_ok();
    let mut findings = vec![hub_state(running, &data), data_dir(&data), disk(&data), open_files()];
    findings.push(state(settings).await);
    if !running {
        findings.extend(ports(settings));
    }
    findings.extend(logs(settings));
    findings.push(confinement(settings).await);
    findings.push(page());
    let bad = findings.iter().any(|finding| finding.health == Health::Bad);
    let word = |health| match health {
        Health::Good => "ok",
        Health::Note => "note",
        Health::Bad => "bad",
    };
    match format.format {
        OutputFormat::Json => {
            let rows: Vec<_> = findings
                .iter()
                .map(|f| json!({"what": f.what, "state": word(f.health), "says": f.says}))
                .collect();
            out::json(&json!({"findings": rows}));
        }
        OutputFormat::Table => {
            let rows = findings
                .iter()
                .map(|f| vec![word(f.health).to_owned(), f.what.to_owned(), f.says.clone()])
                .collect();
            out::table(&["state", "what", "finding"], rows, "");
        }
    }
    if bad { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn hub_state(running: bool, data: &Path) -> Finding {
    let says = match running {
        true => format!("a hub runs on {}", data.display()),
        false => format!("no hub runs on {}; `palisade up` starts one", data.display()),
    };
    Finding { what: "hub", health: if running { Health::Good } else { Health::Note }, says }
}

/// Where accounts, keys and sensors are kept.
async fn state(settings: &Settings) -> Finding {
    let what = "state database";
    let Some(url) = &settings.hub.state.postgres else {
        let says = "SQLite, in the data directory".to_owned();
        return Finding { what, health: Health::Good, says };
    };
    match State::examine(&settings.hub.state).await {
        Err(error) => Finding { what, health: Health::Bad, says: error.to_string() },
        Ok(Some(facts)) if !facts.syncs => Finding {
            what,
            health: Health::Note,
            says: format!(
                "PostgreSQL {} at {url} has fsync off: a power cut may cost accounts and keys",
                facts.version
            ),
        },
        Ok(facts) => {
            let version = facts.map(|facts| facts.version).unwrap_or_default();
            let says = format!("PostgreSQL {version} at {url}");
            Finding { what, health: Health::Good, says }
        }
    }
}

/// The nearest folder on the way to `path` that exists.
fn existing(path: &Path) -> &Path {
    path.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("."))
}

fn data_dir(data: &Path) -> Finding {
    let folder = existing(data);
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let writable = rustix::fs::access(folder, rustix::fs::Access::WRITE_OK).is_ok();
    let (health, says) = match writable {
        true => (Health::Good, format!("{} can be written", data.display())),
        false => (
            Health::Bad,
            format!(
                "{} cannot be written; choose another with --data or run as its owner",
                data.display()
            ),
        ),
    };
    Finding { what: "data directory", health, says }
}

fn disk(data: &Path) -> Finding {
    let folder = existing(data);
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    match rustix::fs::statvfs(folder) {
        Ok(disk) => {
            let free = disk.f_bavail.saturating_mul(disk.f_frsize);
            let health = if free < LOW_DISK_BYTES { Health::Bad } else { Health::Good };
            let advice = if free < LOW_DISK_BYTES { "; make room, events need it" } else { "" };
            Finding { what: "disk", health, says: format!("{} MiB free{advice}", free >> 20) }
        }
        Err(error) => Finding {
            what: "disk",
            health: Health::Bad,
            says: format!("cannot be examined: {error}"),
        },
    }
}

fn open_files() -> Finding {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let (health, says) = match limit {
        Some(files) if files < WANTED_FILES => (
            Health::Note,
            format!(
                "at most {files}; raise it with LimitNOFILE=65536 in the unit, or ulimit -n 65536"
            ),
        ),
        Some(files) => (Health::Good, format!("up to {files}")),
        None => (Health::Good, "unlimited".to_owned()),
    };
    Finding { what: "open files", health, says }
}

fn ports(settings: &Settings) -> Vec<Finding> {
    let pages = settings.api.listeners.iter();
    let pages = pages
        .map(|listener| ("page and API", listener.address.to_string(), vec![listener.address]));
    let honeypots = settings.honeypot.services.iter().map(|service| {
        ("honeypot", service.listen.to_string(), service.listen.addresses().collect())
    });
    pages
        .chain(honeypots)
        .map(|(what, named, addresses)| {
            let taken = addresses
                .iter()
                .find_map(|address| TcpListener::bind(address).err().map(|error| (address, error)));
            match taken {
                None => Finding { what, health: Health::Good, says: format!("{named} is free") },
                Some((address, error)) => Finding {
                    what,
                    health: Health::Bad,
                    says: format!(
                        "{address} cannot be used: {error}; choose another in the settings"
                    ),
                },
            }
        })
        .collect()
}

fn logs(settings: &Settings) -> Vec<Finding> {
    let sources = match settings.agent.sources.is_empty() {
        true => detect_sources(),
        false => settings.agent.sources.clone(),
    };
    if sources.is_empty() {
        return vec![Finding {
            what: "logs",
            health: Health::Note,
            says: "no log of sshd was found; name one in [[agent.sources]]".to_owned(),
        }];
    }
    sources
        .iter()
        .map(|source| {
            let SourceConfig::File(file) = source else {
                return Finding { what: "logs", health: Health::Good, says: source.to_string() };
            };
            let (health, says) = match std::fs::File::open(&file.path) {
                Ok(_) => (Health::Good, format!("{source} can be read")),
                Err(error) => (
                    Health::Bad,
                    format!("{source} cannot be read: {error}; run as a user of its group (adm on Debian)"),
                ),
            };
            Finding { what: "logs", health, says }
        })
        .collect()
}

/// What this kernel offers to lock honeypots in, tried out.
async fn confinement(settings: &Settings) -> Finding {
    let what = "confinement of honeypots";
    if settings.honeypot.process == palisade_honeypot::Process::Same {
        let says = "switched off by [honeypot] process = \"same\"".to_owned();
        return Finding { what, health: Health::Note, says };
    }
    let (confinement, worked) = match crate::zone::attempts::all(&settings.honeypot.user).await {
        Ok(tried) => tried,
        Err(error) => {
            let says = format!("not possible here: {error:#}");
            return Finding { what, health: Health::Bad, says };
        }
    };
    if !worked.is_empty() {
        let says = format!("these work in spite of it: {}", worked.join(", "));
        return Finding { what, health: Health::Bad, says };
    }
    let landlock = match confinement.landlock {
        0 => "no landlock".to_owned(),
        version => format!("landlock version {version}"),
    };
    let tried = crate::zone::attempts::Attempt::ALL.len();
    let mut says = format!(
        "{landlock} and a filter of system calls, as user {}; {tried} things an intruder would try are refused",
        confinement.uid
    );
    let health = match confinement.missing.is_empty() {
        true => Health::Good,
        false => Health::Note,
    };
    for missing in &confinement.missing {
        says.push_str("; ");
        says.push_str(missing);
    }
    Finding { what, health, says }
}

fn page() -> Finding {
    match palisade_api::page_is_built_in() {
        true => Finding { what: "page", health: Health::Good, says: "built in".to_owned() },
        false => Finding {
            what: "page",
            health: Health::Note,
            says: "not built in; `make ui` and a new build add it".to_owned(),
        },
    }
}
