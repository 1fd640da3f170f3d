//! The real binary as a child process, and what the kernel says of it.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

/// The binary built beside this one.
pub(crate) fn binary() -> anyhow::Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name("palisade");
    if !path.exists() {
        bail!("{} is missing; run `cargo build --release --package palisade`", path.display());
    }
    Ok(path)
}

/// Starts `palisade up` with the settings of [`settings`] in `home` and waits for nothing.
pub(crate) fn start(home: &Path) -> anyhow::Result<Child> {
    let log = std::fs::File::options().create(true).append(true).open(home.join("log"))?;
    let child = Command::new(binary()?)
        .args(["up", "--config", "palisade.toml"])
        .current_dir(home)
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()?;
    Ok(child)
}

/// A running `palisade`.
pub(crate) struct Process {
    child: Child,
    /// Time from start to the line `ready`.
    pub(crate) started_in: Duration,
    /// The plain-text listener.
    pub(crate) url: String,
    /// The listener with TLS, where the settings have one.
    pub(crate) https: Option<Https>,
}

/// A listener with TLS.
#[derive(Clone)]
pub(crate) struct Https {
    pub(crate) url: String,
    /// Fingerprint of its certificate.
    pub(crate) pin: String,
}

impl Process {
    /// Starts `palisade up` with the settings of [`settings`] in `home`.
    pub(crate) fn up(home: &Path) -> anyhow::Result<Self> {
        let begin = Instant::now();
        let mut child = start(home)?;
        let out = child.stdout.take().context("no output")?;
        let (mut url, mut https, mut pin) = (String::new(), None, None);
        for line in BufReader::new(out).lines() {
            let line = line?;
            if let Some(address) = line.split("on http://").nth(1) {
                url = format!("http://{}", address.trim_end_matches('/'));
            }
            if let Some(address) = line.split("on https://").nth(1) {
                https = Some(format!("https://{}", address.trim_end_matches('/')));
            }
            if line.contains("certificate SHA-256") {
                pin = line.rsplit(' ').next().map(str::to_owned);
            }
            if line == "ready" {
                let https = https.zip(pin).map(|(url, pin)| Https { url, pin });
                return Ok(Self { child, started_in: begin.elapsed(), url, https });
            }
        }
        bail!("palisade ended at its start; see {}", home.join("log").display())
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// SIGTERM, and waits for the end in order.
    pub(crate) fn end(mut self) -> anyhow::Result<()> {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        self.child.wait()?;
        Ok(())
    }

    /// kill -9.
    pub(crate) fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Writes settings for a run on free loopback ports.
pub(crate) fn settings(home: &Path, data: &Path) -> anyhow::Result<()> {
    let text = format!(
        "data = \"{}\"\nsensor = \"bench\"\n\n[log]\nfilter = \"warn\"\n\n\
         [agent.inventory]\nenabled = false\n[agent.audit]\nenabled = false\n[agent.integrity]\nenabled = false\n\n\
         [[api.listeners]]\naddress = \"127.0.0.1:0\"\ntls = false\n\n\
         [[agent.sources]]\ntype = \"file\"\npath = \"{}/auth.log\"\nparser = \"sshd\"\nfrom = \"start\"\n\n\
         [[honeypot.services]]\ntype = \"telnet\"\nlisten = \"127.0.0.1:0\"\n\n\
         [[honeypot.services]]\ntype = \"http\"\nlisten = \"127.0.0.1:0\"\n",
        data.display(),
        home.display()
    );
    std::fs::write(home.join("palisade.toml"), text)?;
    Ok(())
}

/// Makes an API key with a scope for the data in `home/data` and writes it to
/// `home/key-SCOPE`.
pub(crate) fn key(home: &Path, name: &str, scope: &str) -> anyhow::Result<PathBuf> {
    key_in(home, &home.join("data"), name, scope)
}

/// The same for data elsewhere.
pub(crate) fn key_in(home: &Path, data: &Path, name: &str, scope: &str) -> anyhow::Result<PathBuf> {
    let output = Command::new(binary()?)
        .args(["key", "add", name, "--scope", scope, "--data"])
        .arg(data)
        .current_dir(home)
        .output()?;
    if !output.status.success() {
        bail!("no key: {}", String::from_utf8_lossy(&output.stderr));
    }
    let path = home.join(format!("key-{scope}"));
    std::fs::write(&path, output.stdout)?;
    Ok(path)
}

/// CPU seconds used, resident bytes now, and the part of them that is not
/// backed by files.
pub(crate) fn usage(pid: u32) -> anyhow::Result<(f64, u64, u64)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let ticks: f64 = [11, 12].iter().filter_map(|i| fields.get(*i)?.parse::<f64>().ok()).sum();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kib = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).unwrap_or(0)
    };
    // The kernel counts in ticks of 1/100 s on all platforms Palisade runs on.
    Ok((ticks / 100.0, kib("VmRSS:") * 1024, kib("RssAnon:") * 1024))
}

/// CPU seconds that the calling thread has used.
pub(crate) fn thread_cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = text.split(' ').next().and_then(|first| first.parse::<f64>().ok());
    nanos.unwrap_or(0.0) / 1e9
}

/// Forgets the most memory that this process ever had resident.
pub(crate) fn reset_peak() -> anyhow::Result<()> {
    Ok(std::fs::write("/proc/self/clear_refs", "5")?)
}

/// The most memory that this process had resident since [`reset_peak`], in bytes.
pub(crate) fn peak_bytes() -> anyhow::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).context("no VmHWM")?;
    let kib = line.split_whitespace().nth(1).context("no figure")?.parse::<u64>()?;
    Ok(kib * 1024)
}

/// Empties the kernel's page cache; needs root.
pub(crate) fn drop_caches() -> std::io::Result<()> {
    rustix::fs::sync();
    std::fs::write("/proc/sys/vm/drop_caches", "3")
}
