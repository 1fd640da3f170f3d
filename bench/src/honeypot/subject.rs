//! The honeypot that is measured: ours as a sensor whose hub does not answer,
//! or another one that runs already.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context as _, ensure};

use super::{Args, plugin};
use crate::process;

/// A hub that nobody runs: what is sent there waits in the spool.
const NO_HUB: &str = "https://127.0.0.1:9";

/// A protocol of a honeypot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Protocol {
    Ssh,
    Telnet,
    Http,
    Ftp,
    Plugin,
}

impl Protocol {
    const ALL: [(&'static str, Self); 5] = [
        ("ssh", Self::Ssh),
        ("telnet", Self::Telnet),
        ("http", Self::Http),
        ("ftp", Self::Ftp),
        ("plugin", Self::Plugin),
    ];

    pub(super) fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, one)| *one == self).map_or("", |(name, _)| name)
    }
}

pub(super) type Targets = BTreeMap<Protocol, SocketAddr>;

/// A honeypot that is measured.
pub(super) struct Subject {
    pub(super) targets: Targets,
    /// The process that talks to strangers.
    pub(super) zone: Option<u32>,
    /// The one above it, which takes its events; ours alone has one.
    pub(super) agent: Option<u32>,
    /// Ours, with its home; ended with it.
    ours: Option<(Ours, tempfile::TempDir)>,
}

struct Ours(std::process::Child);

impl Drop for Ours {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.0);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.0.wait();
    }
}

/// Plug-ins of ours.
#[derive(Clone, Copy)]
pub(super) struct Plugins {
    /// Of the measured kind.
    pub(super) count: usize,
    /// Whether the shipped one for FTP is there.
    pub(super) ftp: bool,
}

/// CPU seconds that both processes have used.
#[derive(Clone, Copy, Default)]
pub(super) struct Cpu {
    pub(super) zone: f64,
    pub(super) agent: f64,
}

impl Subject {
    /// Ours, freshly started, or the one that is named. `accept` is whom it lets in.
    pub(super) fn open(args: &Args, accept: &str) -> anyhow::Result<Self> {
        if args.target.is_empty() {
            return Self::ours(accept, args.held, Plugins { count: 1, ftp: true });
        }
        let mut targets = Targets::new();
        for text in &args.target {
            let (name, address) =
                text.split_once('=').context("a target is PROTOCOL=ADDRESS:PORT")?;
            let known = Protocol::ALL.iter().find(|(known, _)| *known == name);
            let (_, protocol) = known.context("protocols are ssh, telnet, http, ftp and plugin")?;
            targets.insert(*protocol, address.parse()?);
        }
        Ok(Self { targets, zone: args.pid, agent: None, ours: None })
    }

    /// The folder of ours.
    pub(super) fn home(&self) -> Option<&Path> {
        self.ours.as_ref().map(|(_, home)| home.path())
    }

    /// Ours with so many plug-ins, which hold `held` connections and some more.
    pub(super) fn ours(accept: &str, held: usize, plugins: Plugins) -> anyhow::Result<Self> {
        let home = tempfile::tempdir_in(".")?;
        let mut plugin = plugin::write(home.path(), plugins.count)?;
        // What is printed does not tell plug-ins apart, so its port is known before.
        let ftp = plugins.ftp.then(free).transpose()?;
        if let Some(ftp) = ftp {
            let _ = writeln!(plugin, "[[honeypot.plugin]]\nname = \"ftp\"\nport = {}", ftp.port());
        }
        let connections = held + 4_000;
        // Who is let in is held, and lighttpd, which is the router's, hangs up after
        // five seconds without a request; nginx after 75.
        let site = if accept == "always" { "nginx" } else { "router" };
        let text = format!(
            r#"
data = "{}/data"
sensor = "bench"
[log]
filter = "warn"
[honeypot.limits]
connections = {connections}
connections_per_address = {connections}
[honeypot.persona]
prompt = "\\w # "
[[honeypot.services]]
type = "ssh"
listen = "127.0.0.1:0"
ssh = {{ accept = "{accept}", fail_delay_ms = 0, fail_jitter_ms = 0 }}
[[honeypot.services]]
type = "telnet"
listen = "127.0.0.1:0"
telnet = {{ accept = "{accept}", weak_credentials = false, fail_delay_ms = 0 }}
[[honeypot.services]]
type = "http"
listen = "127.0.0.1:0"
http = {{ requests = 1000, site = "{site}" }}
{plugin}
"#,
            home.path().display()
        );
        std::fs::write(home.path().join("palisade.toml"), text)?;
        std::fs::write(home.path().join("key"), "bench\n")?;
        let log = std::fs::File::create(home.path().join("log"))?;
        let mut child = std::process::Command::new(process::binary()?)
            .args(["sensor", "--config", "palisade.toml", "--hub", NO_HUB, "--key-file", "key"])
            .args(["--pin", &"0".repeat(64)])
            .current_dir(home.path())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()?;
        let out = child.stdout.take().context("no output")?;
        let ours = Ours(child);
        let mut targets = Targets::new();
        let mut ready = false;
        for line in BufReader::new(out).lines() {
            let line = line?;
            if line == "ready" {
                ready = true;
                break;
            }
            for (name, protocol) in Protocol::ALL {
                if let Some(address) = line.strip_prefix(&format!("honeypot {name} on ")) {
                    // Of many plug-ins any is as good as another; runs of ports are not asked.
                    if let Ok(address) = address.parse() {
                        let is_ftp = Some(address) == ftp;
                        targets.insert(if is_ftp { Protocol::Ftp } else { protocol }, address);
                    }
                }
            }
        }
        let log = std::fs::read_to_string(home.path().join("log")).unwrap_or_default();
        let wanted = 3 + usize::from(plugins.count > 0) + usize::from(plugins.ftp);
        ensure!(ready && targets.len() >= wanted, "palisade did not start its honeypots: {log}");
        let zone = child_of(ours.0.id()).context("the honeypots have no process of their own")?;
        let agent = Some(ours.0.id());
        Ok(Self { targets, zone: Some(zone), agent, ours: Some((ours, home)) })
    }

    pub(super) fn cpu(&self) -> anyhow::Result<Cpu> {
        let of = |pid: Option<u32>| pid.map_or(Ok(0.0), |pid| process::usage(pid).map(|all| all.0));
        Ok(Cpu { zone: of(self.zone)?, agent: of(self.agent)? })
    }
}

/// A port of loopback that nobody has now.
fn free() -> anyhow::Result<SocketAddr> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// The first process that another has started: that of the honeypots.
fn child_of(parent: u32) -> Option<u32> {
    let processes = std::fs::read_dir("/proc").ok()?;
    processes.filter_map(Result::ok).find_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let stat = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat"));
        let stat = stat.ok()?;
        let fields = stat.rsplit(") ").next()?;
        (fields.split(' ').nth(1)?.parse() == Ok(parent)).then_some(pid)
    })
}

/// Memory of a process, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Memory {
    pub(super) resident: u64,
    /// Pages that several processes share count in parts; unknown without the
    /// right to look.
    pub(super) proportional: Option<u64>,
    /// Of the resident ones those that no file backs.
    pub(super) anonymous: u64,
    /// And those of files, most of them the program's own.
    pub(super) file: u64,
}

impl Memory {
    pub(super) fn of(pid: u32) -> anyhow::Result<Self> {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let kib = |text: &str, name: &str| -> Option<u64> {
            let line = text.lines().find(|line| line.starts_with(name))?;
            line.split_whitespace().nth(1)?.parse::<u64>().ok()
        };
        let bytes = |name: &str| kib(&status, name).unwrap_or(0) * 1024;
        let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"));
        let proportional = rollup.ok().and_then(|text| kib(&text, "Pss:")).map(|kib| kib * 1024);
        let file = bytes("RssFile:") + bytes("RssShmem:");
        Ok(Self { resident: bytes("VmRSS:"), proportional, anonymous: bytes("RssAnon:"), file })
    }
}
