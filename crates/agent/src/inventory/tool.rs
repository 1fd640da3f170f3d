//! The few programs of the machine that are asked where no file says it. They
//! are a closed list, only read, and run with a fixed path, without our
//! environment, for a bounded time.

use std::io::Read as _;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use super::root::Unseen;

/// Longest time that a program may take.
const DEADLINE: Duration = Duration::from_secs(10);
/// Most bytes of its answer.
const MAX_OUTPUT_BYTES: u64 = 4 * 1024 * 1024;
/// Where programs are looked for.
const SEARCH_PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// A program that only reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tool {
    /// What OpenSSH's server makes of its settings.
    Sshd,
    /// The rules of nftables, also those that iptables' new form has made.
    Nft,
    /// The rules of the old form of iptables.
    Iptables,
    /// Units of systemd that have failed.
    FailedUnits,
    /// Packages of RPM, where their database is not in a form that we read.
    Rpm,
}

impl Tool {
    /// Program and arguments.
    fn command(self) -> &'static [&'static str] {
        match self {
            Self::Sshd => &["sshd", "-T"],
            Self::Nft => &["nft", "list", "ruleset"],
            Self::Iptables => &["iptables-legacy-save"],
            Self::FailedUnits => &[
                "systemctl",
                "list-units",
                "--state=failed",
                "--all",
                "--plain",
                "--no-legend",
                "--no-pager",
            ],
            Self::Rpm => {
                &["rpm", "-qa", "--qf", "%{NAME}\\t%{EPOCH}:%{VERSION}-%{RELEASE}\\t%{ARCH}\\n"]
            }
        }
    }

    /// As it would be typed.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Sshd => "sshd -T",
            Self::Nft => "nft list ruleset",
            Self::Iptables => "iptables-legacy-save",
            Self::FailedUnits => "systemctl list-units",
            Self::Rpm => "rpm -qa",
        }
    }
}

/// How programs are asked.
#[derive(Debug)]
pub(crate) enum Tools {
    /// They are run.
    Run,
    /// The system is not running.
    Nothing,
    /// What they would say, by [`Tool::name`].
    #[cfg(test)]
    Given(std::collections::BTreeMap<String, String>),
}

impl Tools {
    /// What a program says.
    pub(crate) fn ask(&self, tool: Tool) -> Result<String, Unseen> {
        match self {
            Self::Run => run(tool),
            Self::Nothing => Err(Unseen::NotRunning),
            #[cfg(test)]
            Self::Given(outputs) => {
                let given = outputs.get(tool.name()).cloned();
                given.ok_or_else(|| Unseen::Other(format!("{} is not installed", tool.name())))
            }
        }
    }
}

fn run(tool: Tool) -> Result<String, Unseen> {
    let failed = |why: &dyn std::fmt::Display| {
        Unseen::Other(format!("`{}` could not be asked: {why}", tool.name()))
    };
    let Some((program, arguments)) = tool.command().split_first() else {
        return Err(Unseen::Missing);
    };
    let mut command = Command::new(program);
    command.args(arguments).env_clear().env("PATH", SEARCH_PATH).env("LC_ALL", "C");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).current_dir("/");
    let mut child = command.spawn().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Unseen::Other(format!("{program} is not installed")),
        _ => failed(&error),
    })?;
    let (Some(out), Some(err)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(failed(&"it has no output"));
    };
    let (said, heard) = mpsc::sync_channel(1);
    // Ends with the program, which is killed where it does not end by itself.
    std::thread::spawn(move || {
        let (mut text, mut complaint) = (Vec::new(), Vec::new());
        let read = out.take(MAX_OUTPUT_BYTES).read_to_end(&mut text);
        let _ = err.take(4096).read_to_end(&mut complaint);
        let _ = said.send(read.map(|_| (text, complaint)));
    });
    let answer = heard.recv_timeout(DEADLINE);
    if answer.is_err() {
        let _ = child.kill();
    }
    let status = child.wait().map_err(|error| failed(&error))?;
    let (text, complaint) = answer
        .map_err(|_| failed(&"it did not answer within 10 s"))?
        .map_err(|error| failed(&error))?;
    if !status.success() {
        let complaint = String::from_utf8_lossy(&complaint);
        let first = complaint.lines().find(|line| !line.trim().is_empty());
        return Err(failed(&first.unwrap_or("it failed").chars().take(200).collect::<String>()));
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}
