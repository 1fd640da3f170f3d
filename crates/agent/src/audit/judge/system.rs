//! Checks of mounts, packages, units, modules, ports and the kernel's command line.

use super::super::probe::{Protocol, Want};
use super::{Facts, Judged, Verdict, compare, none_of, several};
use crate::inventory::mounts;
use crate::inventory::root::Unseen;
use crate::inventory::units::{self, State};

impl Facts<'_> {
    /// A file system of its own, or one of its options.
    pub(super) fn mount(&self, path: &str, option: Option<&str>) -> Judged {
        let mount = mounts::at(self.mounts()?, path);
        Ok(match (mount, option) {
            (Some(mount), None) => {
                Verdict::Pass(format!("{path} is {} of {}", mount.kind, mount.device))
            }
            (None, None) => Verdict::Fail(format!("{path} is no file system of its own")),
            (Some(mount), Some(option)) if mount.has(option) => {
                Verdict::Pass(format!("{path} is mounted with {option}"))
            }
            (Some(mount), Some(option)) => Verdict::Fail(format!(
                "{path} is mounted without {option} ({})",
                mount.options.join(",")
            )),
            (None, Some(_)) => {
                Verdict::NotApplicable(format!("{path} is no file system of its own"))
            }
        })
    }

    /// Whether one of the packages is installed.
    pub(super) fn package(&self, names: &[String], installed: bool) -> Judged {
        let packages = self.packages()?;
        let found = names.iter().filter_map(|name| packages.get(name));
        let found: Vec<String> = found.map(|p| format!("{} {}", p.name, p.version)).collect();
        if found.is_empty() && packages.left_out > 0 {
            return Err(Unseen::Other("there are more packages than are read".to_owned()));
        }
        let seen = match found.is_empty() {
            true => format!("{} is not installed", names.join(" or ")),
            false => format!("{} is installed", several(&found)),
        };
        Ok(if found.is_empty() == installed { Verdict::Fail(seen) } else { Verdict::Pass(seen) })
    }

    /// Whether one of the units is started at boot.
    pub(super) fn unit(&self, names: &[String], enabled: bool) -> Judged {
        let (mut on, mut off) = (Vec::new(), Vec::new());
        for name in names {
            match units::state(self.root, name)? {
                State::Enabled => on.push(format!("{name} is enabled")),
                State::Disabled => off.push(format!("{name} is disabled")),
                State::Masked => off.push(format!("{name} is masked")),
                State::Absent => {}
            }
        }
        Ok(match (enabled, on.is_empty()) {
            (true, false) => Verdict::Pass(several(&on)),
            (true, true) if off.is_empty() => {
                Verdict::Fail(format!("there is no unit {}", names.join(" or ")))
            }
            (true, true) => Verdict::Fail(several(&off)),
            (false, true) if off.is_empty() => {
                Verdict::Pass(format!("there is no unit {}", names.join(" or ")))
            }
            (false, true) => Verdict::Pass(several(&off)),
            (false, false) => Verdict::Fail(several(&on)),
        })
    }

    /// Modules that are not there, or that nothing can load.
    pub(super) fn module_off(&self, names: &[String]) -> Judged {
        let plain = |name: &str| name.replace('-', "_");
        if self.root.is_running() {
            let loaded = self.root.read("/proc/modules")?;
            let mut loaded = loaded.lines().filter_map(|line| line.split(' ').next());
            if let Some(name) =
                loaded.find(|own| names.iter().any(|name| plain(name) == plain(own)))
            {
                return Ok(Verdict::Fail(format!("{name} is loaded")));
            }
        }
        let mut rules = String::new();
        for folder in
            ["/etc/modprobe.d", "/run/modprobe.d", "/usr/lib/modprobe.d", "/lib/modprobe.d"]
        {
            let (paths, _) = self.root.glob(&format!("{folder}/*.conf"));
            for path in paths {
                rules += &self.root.read(&path).unwrap_or_default();
                rules.push('\n');
            }
        }
        let lists = self.module_lists();
        let mut open = Vec::new();
        for name in names {
            let blocked = rules.lines().any(|line| {
                let mut words = line.split_whitespace();
                words.next() == Some("install")
                    && words.next().is_some_and(|own| plain(own) == plain(name))
                    && words.next().is_some_and(|what| {
                        matches!(what.rsplit('/').next(), Some("true" | "false"))
                    })
            });
            if blocked {
                continue;
            }
            // The kernel may be that of the machine around a container.
            if lists.is_empty() {
                return Err(Unseen::Other(
                    "no kernel and no modules are installed here".to_owned(),
                ));
            }
            if self.has_module(name, &lists) {
                open.push(format!("{name} can be loaded"));
            }
        }
        Ok(none_of(&open, "it is not there or cannot be loaded"))
    }

    /// The lists that depmod makes of the modules of each kernel.
    fn module_lists(&self) -> Vec<String> {
        let folders = ["/lib/modules", "/usr/lib/modules"];
        folders.iter().flat_map(|f| self.root.glob(&format!("{f}/*/modules.dep")).0).collect()
    }

    /// Whether a kernel that is installed comes with a module.
    fn has_module(&self, name: &str, lists: &[String]) -> bool {
        let name = name.replace('-', "_");
        lists.iter().any(|list| {
            self.root.read(list).unwrap_or_default().lines().any(|line| {
                let file = line.split(':').next().unwrap_or_default();
                let file = file.rsplit('/').next().unwrap_or_default();
                file.split('.').next().is_some_and(|own| own.replace('-', "_") == name)
            })
        })
    }

    /// Nothing listens where somebody elsewhere can connect.
    pub(super) fn ports_closed(&self, protocol: Protocol, ports: &[u16]) -> Judged {
        let name = match protocol {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        };
        let open = self.sockets()?.list.iter().filter(|socket| {
            socket.protocol == name && ports.contains(&socket.port) && socket.is_open()
        });
        let mut open: Vec<String> =
            open.map(|socket| format!("{name} port {} is open", socket.port)).collect();
        open.dedup();
        Ok(none_of(&open, "nothing listens there for others"))
    }

    /// A parameter of the kernel's command line: of the running one, else as the
    /// boot loader's settings ask for it.
    pub(super) fn boot(&self, parameter: &str, want: &Want) -> Judged {
        let line = match self.root.read_value("/proc/cmdline") {
            Ok(line) => line,
            Err(Unseen::NotRunning) => {
                let text = self.root.read("/etc/default/grub").map_err(|_| Unseen::NotRunning)?;
                let lines = text.lines().filter_map(|line| line.trim().split_once('='));
                let of_kernel = lines.filter(|(key, _)| {
                    matches!(*key, "GRUB_CMDLINE_LINUX" | "GRUB_CMDLINE_LINUX_DEFAULT")
                });
                of_kernel
                    .map(|(_, value)| value.trim_matches(['"', '\'']))
                    .collect::<Vec<_>>()
                    .join(" ")
            }
            Err(reason) => return Err(reason),
        };
        let mut words = line.split_whitespace().rev();
        let value = words.find_map(|word| {
            let (key, value) = word.split_once('=').unwrap_or((word, "yes"));
            (key == parameter).then(|| value.to_owned())
        });
        compare(
            &format!("the boot parameter {parameter}"),
            value.as_deref().unwrap_or("unset"),
            want,
        )
    }
}
