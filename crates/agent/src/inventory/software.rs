//! What runs and what is installed: schedules, modules, containers, packages,
//! updates, failed units, sockets.

use std::collections::BTreeMap;

use serde_json::json;

use super::accounts::Accounts;
use super::packages::Packages;
use super::root::{Root, Unseen};
use super::section::Section;
use super::sockets;
use super::tool::Tool;
use super::units;
use super::updates;

/// Most lines of crontabs, timers, modules and containers.
const MAX_SCHEDULES: usize = 2_000;
const MAX_MODULES: usize = 2_000;
const MAX_CONTAINERS: usize = 1_000;
/// Most processes that are looked at to find containers.
const MAX_PROCESSES: usize = 20_000;
const MAX_UNITS: usize = 500;

/// The section `sockets`: what listens, and whose it is.
pub(crate) fn sockets(root: &Root) -> Section {
    let mut section = Section::default();
    let mut found = match sockets::read(root) {
        Ok(found) => found,
        Err(reason) => return Section::hidden("listening sockets", &reason),
    };
    if let Some(reason) = sockets::name_processes(root, &mut found) {
        section.could_not("processes of sockets", &reason);
    }
    section.left_out = found.left_out;
    let accounts = Accounts::read(root).unwrap_or_default();
    // Every question of a client to a name server opens one of these for a moment.
    let range = root.read_value("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let mut range = range.split_whitespace().map(|word| word.parse::<u16>().ok());
    let (first, last) =
        (range.next().flatten().unwrap_or(32_768), range.next().flatten().unwrap_or(60_999));
    let lasts = |socket: &sockets::Socket| {
        socket.protocol != "udp" || !(first..=last).contains(&socket.port)
    };
    for socket in found.list.into_iter().filter(lasts) {
        let (pid, process) = socket.process.unzip();
        let user = accounts.user(socket.uid).map_or_else(|| socket.uid.to_string(), str::to_owned);
        let key = format!(
            "{} {}",
            socket.protocol,
            std::net::SocketAddr::new(socket.address, socket.port)
        );
        if section.entries.iter().any(|entry| entry.key == key) {
            // Several processes share one place.
            continue;
        }
        let value = json!({
            "proto": socket.protocol,
            "address": socket.address,
            "port": socket.port,
            "process": process,
            "pid": pid,
            "user": user,
        });
        section.add(key, value);
    }
    section
}

/// The section `schedules`: what cron and systemd's timers start.
pub(crate) fn schedules(root: &Root) -> Section {
    let mut section = Section::default();
    let mut tables = vec![("/etc/crontab".to_owned(), true)];
    for (pattern, with_user) in [
        ("/etc/cron.d/*", true),
        ("/var/spool/cron/crontabs/*", false),
        ("/var/spool/cron/*", false),
    ] {
        let (paths, hidden) = root.glob(pattern);
        if let Some(reason) = hidden {
            section.could_not("crontabs", &reason);
        }
        tables.extend(paths.into_iter().map(|path| (path, with_user)));
    }
    for (file, with_user) in tables {
        let text = match root.read(&file) {
            Ok(text) => text,
            Err(Unseen::Missing) => continue,
            Err(_) if root.meta(&file).is_ok_and(|meta| meta.is_dir()) => continue,
            Err(reason) => {
                section.could_not(&file, &reason);
                continue;
            }
        };
        let owner = file.rsplit('/').next().unwrap_or_default();
        for line in text.lines() {
            let Some(job) = Job::parse(line, with_user) else { continue };
            let user = job.user.unwrap_or(owner);
            let value = json!({
                "kind": "cron", "file": file, "user": user, "when": job.when, "what": job.what,
            });
            section.add_up_to(
                MAX_SCHEDULES,
                format!("{file}: {} {user} {}", job.when, job.what),
                value,
            );
        }
    }
    for period in ["hourly", "daily", "weekly", "monthly"] {
        for path in root.glob(&format!("/etc/cron.{period}/*")).0 {
            let value = json!({
                "kind": "cron", "file": path, "user": "root", "when": period, "what": path,
            });
            section.add_up_to(MAX_SCHEDULES, path.clone(), value);
        }
    }
    let mut timers = BTreeMap::new();
    for top in units::FOLDERS {
        for path in root.glob(&format!("{top}/*.wants/*.timer")).0 {
            let name = path.rsplit('/').next().unwrap_or_default().to_owned();
            timers.entry(name).or_insert(path);
        }
    }
    for (name, path) in timers {
        let text = root.read(&path).unwrap_or_default();
        let when = text.lines().map(str::trim).filter(|line| line.starts_with("On"));
        let what = text.lines().find_map(|line| line.trim().strip_prefix("Unit="));
        let what = what.map_or_else(|| name.replace(".timer", ".service"), str::to_owned);
        let value = json!({
            "kind": "timer",
            "file": path,
            "user": "root",
            "when": when.collect::<Vec<_>>().join(" "),
            "what": what,
        });
        section.add_up_to(MAX_SCHEDULES, name, value);
    }
    section
}

/// A line of a crontab.
#[derive(Debug, PartialEq, Eq)]
struct Job<'a> {
    when: String,
    user: Option<&'a str>,
    what: String,
}

impl<'a> Job<'a> {
    fn parse(line: &'a str, with_user: bool) -> Option<Self> {
        let line = line.trim();
        let first = line.split_whitespace().next()?;
        // Settings of the environment are no jobs.
        if first.starts_with('#') || first.contains('=') {
            return None;
        }
        let fields = if first.starts_with('@') { 1 } else { 5 };
        let words: Vec<&str> = line.split_whitespace().collect();
        let (when, rest) = words.split_at_checked(fields)?;
        let (user, what) = match with_user {
            true => rest.split_first().map(|(user, what)| (Some(*user), what))?,
            false => (None, rest),
        };
        (!what.is_empty()).then(|| Self { when: when.join(" "), user, what: what.join(" ") })
    }
}

/// The section `modules` of the kernel.
pub(crate) fn modules(root: &Root) -> Section {
    let mut section = Section::default();
    let text = match root.read("/proc/modules") {
        Ok(text) => text,
        // A kernel without modules.
        Err(Unseen::Missing) => return section,
        Err(reason) => return Section::hidden("kernel modules", &reason),
    };
    for line in text.lines() {
        let mut words = line.split(' ');
        let (Some(name), Some(size)) = (words.next(), words.next()) else { continue };
        let (_count, by) = (words.next(), words.next().unwrap_or("-"));
        let value = json!({
            "name": name,
            "size": size.parse::<u64>().ok(),
            "used_by": by.trim_end_matches(',').replace('-', ""),
        });
        section.add_up_to(MAX_MODULES, name, value);
    }
    section.entries.sort_by(|one, other| one.key.cmp(&other.key));
    section
}

/// The section `containers`: those that have processes, by their control groups.
pub(crate) fn containers(root: &Root) -> Section {
    let mut section = Section::default();
    let processes = match root.list("/proc") {
        Ok((processes, _)) => processes,
        Err(reason) => return Section::hidden("containers", &reason),
    };
    let mut found: BTreeMap<(String, &'static str), u64> = BTreeMap::new();
    let pids = processes.iter().filter(|(name, _)| name.bytes().all(|byte| byte.is_ascii_digit()));
    for (pid, _) in pids.take(MAX_PROCESSES) {
        let Ok(text) = root.read(&format!("/proc/{pid}/cgroup")) else { continue };
        if let Some(container) = text.lines().find_map(container) {
            *found.entry(container).or_default() += 1;
        }
    }
    for ((id, runtime), processes) in found {
        let value = json!({ "id": id, "runtime": runtime, "name": id, "pids": processes });
        section.add_up_to(MAX_CONTAINERS, format!("{runtime} {id}"), value);
    }
    section
}

/// The container of a control group, and what runs it.
fn container(group: &str) -> Option<(String, &'static str)> {
    let path = group.splitn(3, ':').nth(2)?;
    path.split('/').rev().find_map(|part| {
        for (prefix, runtime) in [
            ("docker-", "docker"),
            ("libpod-", "podman"),
            ("cri-containerd-", "containerd"),
            ("crio-", "cri-o"),
            ("lxc.payload.", "lxc"),
            ("machine-", "systemd-nspawn"),
        ] {
            if let Some(rest) = part.strip_prefix(prefix) {
                let id = rest.trim_end_matches(".scope").trim_end_matches(".service");
                // "libpod-conmon-…" is the watcher, not the container.
                return (!id.is_empty() && !id.starts_with("conmon-"))
                    .then(|| (id.chars().take(64).collect(), runtime));
            }
        }
        let is_id = part.len() == 64 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
        (is_id && path.contains("/docker/")).then(|| (part.to_owned(), "docker"))
    })
}

/// The sections `packages` and `updates`.
pub(crate) fn packages(root: &Root) -> (Section, Section) {
    let packages = match Packages::read(root) {
        Ok(packages) => packages,
        Err(reason) => {
            return (
                Section::hidden("packages", &reason),
                Section::hidden("updates", &Unseen::Other("packages are not known".to_owned())),
            );
        }
    };
    let mut section = Section { left_out: packages.left_out, ..Section::default() };
    for package in &packages.list {
        let value = json!({
            "name": package.name,
            "version": package.version,
            "arch": package.arch,
            "source": package.source,
        });
        section.add(format!("{}:{}", package.name, package.arch), value);
    }
    let pending = match updates::pending(root, &packages) {
        Err(reason) => Section::hidden("updates", &reason),
        Ok(found) => {
            let mut section = Section { left_out: found.left_out, ..Section::default() };
            for update in found.list {
                let value = json!({
                    "name": update.name,
                    "installed": update.installed,
                    "available": update.available,
                    "security": update.security,
                });
                section.add(update.name, value);
            }
            section
        }
    };
    (section, pending)
}

/// The section `units`: those that have failed.
pub(crate) fn failed_units(root: &Root) -> Section {
    let mut section = Section::default();
    if !root.exists("/run/systemd/system") {
        return Section::hidden("units", &Unseen::Other("systemd does not run here".to_owned()));
    }
    let text = match root.ask(Tool::FailedUnits) {
        Ok(text) => text,
        Err(reason) => return Section::hidden("units", &reason),
    };
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let (Some(name), _, Some(state)) = (words.next(), words.next(), words.next()) else {
            continue;
        };
        section.add_up_to(MAX_UNITS, name, json!({ "name": name, "state": state }));
    }
    section
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_crontabs_are_jobs_comments_and_settings_are_not() {
        let job = Job::parse("17 *\t* * *  root cd / && run-parts /etc/cron.hourly", true).unwrap();
        assert_eq!((job.when.as_str(), job.user), ("17 * * * *", Some("root")));
        assert_eq!(job.what, "cd / && run-parts /etc/cron.hourly");
        let job = Job::parse("@reboot /opt/x", false).unwrap();
        assert_eq!((job.when.as_str(), job.user, job.what.as_str()), ("@reboot", None, "/opt/x"));
        for none in ["", "# 1 2 3 4 5 root x", "PATH=/bin", "1 2 3", "1 2 3 4 5 root"] {
            assert_eq!(Job::parse(none, true), None, "{none}");
        }
    }

    #[test]
    fn containers_are_known_by_their_control_group() {
        let id = "a".repeat(64);
        let known = |path: &str| container(&format!("0::{path}"));
        assert_eq!(
            known(&format!("/system.slice/docker-{id}.scope")),
            Some((id.clone(), "docker"))
        );
        assert_eq!(known(&format!("/docker/{id}")), Some((id.clone(), "docker")));
        assert_eq!(known("/lxc.payload.web/init.scope"), Some(("web".into(), "lxc")));
        assert_eq!(known(&format!("/machine.slice/libpod-conmon-{id}.scope")), None);
        assert_eq!(known("/system.slice/ssh.service"), None);
        assert_eq!(container("nonsense"), None);
    }
}
