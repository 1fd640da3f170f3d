//! How busy the machine is: one look at the kernel's counters.

use palisade_event::{AttributeValue, Event};

use super::interfaces;
use super::mounts::{self, Mount};
use super::root::Root;
use super::sockets;

/// Bytes of a gigabyte, as Glimpse counts.
const GIGABYTE: f64 = 1024.0 * 1024.0 * 1024.0;

/// Ticks of all processors since the start: busy ones and all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ticks {
    busy: u64,
    all: u64,
}

/// Use of a mounted file system.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct DiskUse {
    pub(crate) mount: String,
    /// Per cent of what users may use.
    pub(crate) used_pct: f64,
    /// Per cent of files that may still be made; absent where they have no bound.
    pub(crate) inodes_pct: Option<f64>,
    pub(crate) total: u64,
    pub(crate) used: u64,
    pub(crate) free: u64,
    pub(crate) inodes_total: u64,
    pub(crate) inodes_used: u64,
}

/// One look. What could not be read is absent, never 0.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sample {
    pub(crate) cpu_pct: Option<f64>,
    pub(crate) cpus: Option<u64>,
    pub(crate) cpu_mhz: Option<u64>,
    pub(crate) load1: Option<f64>,
    pub(crate) load5: Option<f64>,
    pub(crate) load15: Option<f64>,
    pub(crate) tasks: Option<u64>,
    pub(crate) mem_total: Option<u64>,
    pub(crate) mem_used: Option<u64>,
    pub(crate) mem_available: Option<u64>,
    pub(crate) swap_total: Option<u64>,
    pub(crate) swap_used: Option<u64>,
    pub(crate) disk_total: Option<u64>,
    pub(crate) disk_used: Option<u64>,
    pub(crate) disks: Vec<DiskUse>,
    pub(crate) disk_read: Option<u64>,
    pub(crate) disk_written: Option<u64>,
    pub(crate) net_recv: Option<u64>,
    pub(crate) net_sent: Option<u64>,
    pub(crate) uptime_secs: Option<u64>,
    pub(crate) boot_time_secs: Option<u64>,
    pub(crate) tcp_established: Option<u64>,
    /// By how much the clock was set since the last look.
    pub(crate) clock_step_ms: i64,
}

/// Takes samples; the use of the processors is that since the last one.
#[derive(Debug, Default)]
pub(crate) struct Sampler {
    last: Option<Ticks>,
}

impl Sampler {
    /// Looks. Blocks for as long as local file systems take to answer.
    pub(crate) fn look(&mut self, root: &Root) -> Sample {
        let mut sample = Sample::default();
        self.processors(root, &mut sample);
        memory(root, &mut sample);
        if let Ok(text) = root.read_value("/proc/loadavg") {
            let mut words = text.split(' ');
            let mut load = || words.next().and_then(|word| real(word, 100_000.0));
            (sample.load1, sample.load5, sample.load15) = (load(), load(), load());
            let tasks = words.next().and_then(|word| word.split('/').nth(1));
            sample.tasks = tasks.and_then(|word| word.parse().ok());
        }
        if let Ok(text) = root.read_value("/proc/uptime") {
            let seconds = text.split(' ').next().and_then(|word| real(word, 1e11));
            sample.uptime_secs = seconds.map(|seconds| seconds as u64);
        }
        sample.cpu_mhz = megahertz(root);
        disks(root, &mut sample);
        if let Some((received, sent)) = interfaces::totals(root) {
            (sample.net_recv, sample.net_sent) = (Some(received), Some(sent));
        }
        if let Some((read, written)) = disk_bytes(root) {
            (sample.disk_read, sample.disk_written) = (Some(read), Some(written));
        }
        sample.tcp_established = sockets::established(root);
        sample
    }

    fn processors(&mut self, root: &Root, sample: &mut Sample) {
        let Ok(text) = root.read("/proc/stat") else { return };
        let mut processors = 0u64;
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("cpu ") {
                let now = ticks(rest);
                if let (Some(now), Some(last)) = (now, self.last) {
                    let all = now.all.saturating_sub(last.all);
                    let busy = now.busy.saturating_sub(last.busy).min(all);
                    // A counter that went back tells nothing.
                    sample.cpu_pct =
                        (all > 0).then(|| (busy as f64 * 1000.0 / all as f64).round() / 10.0);
                }
                self.last = now.or(self.last);
            } else if line.starts_with("cpu") {
                processors += 1;
            } else if let Some(seconds) = line.strip_prefix("btime ") {
                sample.boot_time_secs = seconds.trim().parse().ok();
            }
        }
        sample.cpus = (processors > 0).then_some(processors);
    }
}

impl Sample {
    /// The fullest file system.
    pub(crate) fn fullest(&self) -> Option<&DiskUse> {
        self.disks.iter().max_by(|one, other| one.used_pct.total_cmp(&other.used_pct))
    }

    /// The event's numbers.
    pub(crate) fn describe(&self, mut event: Event) -> Event {
        let reals = [
            ("cpu_pct", self.cpu_pct),
            ("load1", self.load1),
            ("load5", self.load5),
            ("load15", self.load15),
            ("disk_worst_pct", self.fullest().map(|disk| disk.used_pct)),
        ];
        for (name, value) in reals {
            if let Some(value) = value {
                event = event.with(name, AttributeValue::Real(value));
            }
        }
        let integers = [
            ("cpus", self.cpus),
            ("cpu_mhz", self.cpu_mhz),
            ("tasks", self.tasks),
            ("mem_total", self.mem_total),
            ("mem_used", self.mem_used),
            ("mem_available", self.mem_available),
            ("swap_total", self.swap_total),
            ("swap_used", self.swap_used),
            ("disk_total", self.disk_total),
            ("disk_used", self.disk_used),
            ("disk_read", self.disk_read),
            ("disk_written", self.disk_written),
            ("net_recv", self.net_recv),
            ("net_sent", self.net_sent),
            ("uptime_secs", self.uptime_secs),
            ("tcp_established", self.tcp_established),
        ];
        for (name, value) in integers {
            if let Some(value) = value {
                event = event.with(name, value);
            }
        }
        match self.fullest() {
            Some(disk) => event.with("disk_worst", disk.mount.as_str()),
            None => event,
        }
    }
}

/// A number of bytes as Glimpse writes it.
pub(crate) fn gigabytes(bytes: u64) -> String {
    format!("{:.2}GB", bytes as f64 / GIGABYTE)
}

/// A number that is none where it is absurd.
fn real(word: &str, most: f64) -> Option<f64> {
    word.parse::<f64>().ok().filter(|number| number.is_finite() && (0.0..=most).contains(number))
}

fn ticks(line: &str) -> Option<Ticks> {
    let mut numbers = line.split_whitespace().map(|word| word.parse::<u64>().ok());
    let mut next = || numbers.next().flatten();
    let (user, nice, system, idle) = (next()?, next()?, next()?, next()?);
    // Guests are counted as users already.
    let (wait, irq, soft, stolen) =
        (next().unwrap_or(0), next().unwrap_or(0), next().unwrap_or(0), next().unwrap_or(0));
    let sum = |parts: &[u64]| parts.iter().fold(0u64, |sum, part| sum.saturating_add(*part));
    let busy = sum(&[user, nice, system, irq, soft, stolen]);
    Some(Ticks { busy, all: sum(&[busy, idle, wait]) })
}

fn memory(root: &Root, sample: &mut Sample) {
    let Ok(text) = root.read("/proc/meminfo") else { return };
    let bytes = |name: &str| {
        let mut lines = text.lines().filter_map(|line| line.split_once(':'));
        let value = lines.find(|(own, _)| *own == name)?.1;
        value.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
    };
    sample.mem_total = bytes("MemTotal").filter(|total| *total > 0);
    // Kernels before 3.14 do not say what is available.
    sample.mem_available = bytes("MemAvailable")
        .or_else(|| Some(bytes("MemFree")?.saturating_add(bytes("Cached").unwrap_or(0))));
    sample.mem_used = sample
        .mem_total
        .zip(sample.mem_available)
        .map(|(total, available)| total.saturating_sub(available));
    sample.swap_total = bytes("SwapTotal");
    sample.swap_used =
        sample.swap_total.zip(bytes("SwapFree")).map(|(total, free)| total.saturating_sub(free));
}

fn megahertz(root: &Root) -> Option<u64> {
    let khz = root.read_value("/sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq").ok();
    if let Some(khz) = khz.and_then(|text| text.parse::<u64>().ok()) {
        return Some(khz / 1000);
    }
    let text = root.read("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("cpu MHz"))?;
    real(line.split_once(':')?.1.trim(), 1e6).map(|mhz| mhz as u64)
}

/// Whether a mount is a disk that fills up: not packed images, which are always full,
/// and not what another machine has to answer for.
pub(crate) fn fills_up(mount: &Mount) -> bool {
    mounts::is_local_disk(mount) && !matches!(mount.kind.as_str(), "tmpfs" | "overlay" | "rootfs")
        || mount.path == "/"
}

fn disks(root: &Root, sample: &mut Sample) {
    if !root.is_running() {
        return;
    }
    let mounts = mounts::read_own(root).unwrap_or_default();
    let mut devices = Vec::new();
    for mount in mounts.iter().filter(|mount| fills_up(mount)).take(256) {
        // A device that is mounted several times is one disk.
        if mount.path != "/" && devices.contains(&mount.device.as_str()) {
            continue;
        }
        devices.push(&mount.device);
        let Some(disk) = disk_use(&mount.path) else { continue };
        if mount.path == "/" {
            (sample.disk_total, sample.disk_used) = (Some(disk.total), Some(disk.used));
        }
        sample.disks.retain(|known| known.mount != disk.mount);
        sample.disks.push(disk);
    }
}

/// The use of the file system at a path.
pub(crate) fn disk_use(path: &str) -> Option<DiskUse> {
    let stat = rustix::fs::statvfs(path).ok()?;
    let block = stat.f_frsize.max(1);
    let bytes = |blocks: u64| blocks.saturating_mul(block);
    let used = stat.f_blocks.saturating_sub(stat.f_bfree);
    let reachable = used.saturating_add(stat.f_bavail);
    if reachable == 0 {
        return None;
    }
    let share = |part: u64, whole: u64| (part as f64 * 1000.0 / whole as f64).round() / 10.0;
    let inodes_used = stat.f_files.saturating_sub(stat.f_ffree);
    Some(DiskUse {
        mount: path.to_owned(),
        used_pct: share(used, reachable),
        inodes_pct: (stat.f_files > 0).then(|| share(inodes_used, stat.f_files)),
        total: bytes(stat.f_blocks),
        used: bytes(used),
        free: bytes(stat.f_bavail),
        inodes_total: stat.f_files,
        inodes_used,
    })
}

/// Bytes read from and written to whole disks since the start.
fn disk_bytes(root: &Root) -> Option<(u64, u64)> {
    let text = root.read("/proc/diskstats").ok()?;
    let (mut read, mut written) = (0u64, 0u64);
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let &[_, _, name, _, _, sectors_read, _, _, _, sectors_written, ..] = words.as_slice()
        else {
            continue;
        };
        // Parts of a disk, and what lies upon disks, would be counted twice.
        if name.starts_with("loop")
            || name.starts_with("ram")
            || name.starts_with("dm-")
            || name.starts_with("md")
            || !root.exists(&format!("/sys/block/{name}"))
        {
            continue;
        }
        let bytes = |word: &str| word.parse::<u64>().unwrap_or(0).saturating_mul(512);
        read = read.saturating_add(bytes(sectors_read));
        written = written.saturating_add(bytes(sectors_written));
    }
    Some((read, written))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::inventory::root::Pretended;

    fn machine(files: &[(&str, &str)]) -> (tempfile::TempDir, Root) {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let root = Root::pretend(folder.path(), true, BTreeMap::new(), Pretended::new()).unwrap();
        (folder, root)
    }

    #[test]
    fn the_use_of_processors_is_that_between_two_looks() {
        let (folder, root) = machine(&[(
            "proc/stat",
            "cpu  100 0 100 800 0 0 0 0 0 0\ncpu0 1\ncpu1 1\nbtime 1700000000\n",
        )]);
        let mut sampler = Sampler::default();
        let first = sampler.look(&root);
        assert_eq!(
            (first.cpu_pct, first.cpus, first.boot_time_secs),
            (None, Some(2), Some(1_700_000_000))
        );
        std::fs::write(folder.path().join("proc/stat"), "cpu  150 0 125 925 0 0 0 0 0 0\n")
            .unwrap();
        assert_eq!(sampler.look(&root).cpu_pct, Some(37.5));
        // Back to the past: the counters of a machine that was moved.
        std::fs::write(folder.path().join("proc/stat"), "cpu  1 0 1 1 0 0 0 0 0 0\n").unwrap();
        assert_eq!(sampler.look(&root).cpu_pct, None);
    }

    #[test]
    fn what_cannot_be_read_is_absent_and_what_is_absurd_too() {
        let (_folder, root) = machine(&[
            ("proc/stat", "cpu nonsense\n"),
            ("proc/loadavg", "nan inf -1 1/77 5\n"),
            (
                "proc/meminfo",
                "MemTotal: 99999999999999999999 kB\nMemAvailable: 1 kB\nSwapTotal: 18446744073709551615 kB\n",
            ),
            ("proc/uptime", "-5 0\n"),
        ]);
        let sample = Sampler::default().look(&root);
        assert_eq!((sample.load1, sample.load5, sample.load15), (None, None, None));
        assert_eq!(sample.tasks, Some(77));
        assert_eq!((sample.mem_total, sample.mem_used, sample.swap_total), (None, None, None));
        assert_eq!((sample.uptime_secs, sample.cpu_pct, sample.net_recv), (None, None, None));
    }

    #[test]
    fn this_machine_can_be_looked_at() {
        let mut sampler = Sampler::default();
        let root = Root::here();
        sampler.look(&root);
        let sample = sampler.look(&root);
        assert!(sample.mem_total > sample.mem_used && sample.uptime_secs > Some(0));
        assert!(sample.disk_total.is_some() && sample.fullest().is_some());
        assert_eq!(gigabytes(1_610_612_736), "1.50GB");
    }
}
