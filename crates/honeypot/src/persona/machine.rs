//! The facts of one made-up machine. Every command and every file under /proc
//! answers from these, so that they agree with each other. Numbers that move
//! (memory, load, traffic) are functions of the time: two calls at one moment
//! say the same, and nothing is stored.

use std::net::Ipv4Addr;

use super::manifest::{CpuModel, Manifest};
use super::parts::{device_disks, server_disks, system_users, user};
use super::{Draw, Persona};

/// What its commands look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum System {
    /// GNU programs and bash, Debian's files.
    Debian,
    /// As Debian, with Ubuntu's prompts.
    Ubuntu,
    /// BusyBox.
    BusyBox,
}

/// How program files begin.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ElfKind {
    pub(crate) wide: bool,
    pub(crate) big_endian: bool,
    pub(crate) machine: u16,
}

/// A mounted file system.
#[derive(Clone, Debug)]
pub(crate) struct Disk {
    pub(crate) device: String,
    pub(crate) mount: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) options: String,
    /// Size and use in KiB; no size: not shown by `df`.
    pub(crate) size_kib: u64,
    pub(crate) used_kib: u64,
}

/// A user with a line in /etc/passwd and, from 1000 on, a home.
#[derive(Clone, Debug)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) home: String,
    pub(crate) shell: String,
}

/// A process.
#[derive(Clone, Debug)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    pub(crate) parent: u32,
    pub(crate) user: String,
    pub(crate) vsz: u32,
    pub(crate) rss: u32,
    pub(crate) tty: String,
    pub(crate) state: String,
    /// Seconds after the machine's start.
    pub(crate) started: i64,
    /// Seconds of processor time a day.
    pub(crate) busy: u32,
    pub(crate) command: String,
}

/// Memory at a moment, in KiB.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    pub(crate) total: u64,
    pub(crate) free: u64,
    pub(crate) available: u64,
    pub(crate) buffers: u64,
    pub(crate) cached: u64,
    pub(crate) shared: u64,
    pub(crate) swap_total: u64,
    pub(crate) swap_free: u64,
}

impl Memory {
    /// What programs use.
    pub(crate) fn used(self) -> u64 {
        self.total.saturating_sub(self.free + self.buffers + self.cached)
    }
}

/// One machine. Times are seconds since 1970.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    pub(crate) system: System,
    pub(crate) pretty: String,
    pub(crate) hostname: String,
    pub(crate) domain: String,
    pub(crate) kernel: String,
    pub(crate) build: String,
    pub(crate) arch: &'static str,
    pub(crate) elf: ElfKind,
    pub(crate) cores: u32,
    pub(crate) cpu: CpuModel,
    pub(crate) bogomips: u32,
    pub(crate) memory_kib: u64,
    pub(crate) swap_kib: u64,
    pub(crate) disks: Vec<Disk>,
    pub(crate) interface: &'static str,
    pub(crate) mac: String,
    pub(crate) address: Ipv4Addr,
    pub(crate) prefix: u8,
    pub(crate) gateway: Ipv4Addr,
    pub(crate) installed: i64,
    pub(crate) users: Vec<User>,
    pub(crate) processes: Vec<Process>,
    /// BusyBox's version and build date.
    pub(crate) busybox: (String, String),
    pub(crate) product: String,
    pub(crate) prompt: String,
    pub(crate) uuid: String,
    pub(crate) machine_id: String,
    pub(crate) seed: u64,
    /// Seconds between two starts, and when one of them was.
    restarts: (i64, i64),
}

impl Machine {
    /// A server after `manifest`.
    pub(crate) fn server(
        manifest: &Manifest,
        system: System,
        seed: u64,
        hostname: Option<&str>,
    ) -> Self {
        let mut draw = Draw(seed ^ 0x5e72_7665);
        let pattern = manifest.hostnames.get(draw.index(manifest.hostnames.len()));
        let mut made_up = String::new();
        for letter in pattern.map_or("srv#", String::as_str).chars() {
            match letter {
                '#' => made_up.push_str(&draw.below(10).to_string()),
                other => made_up.push(other),
            }
        }
        let domain = manifest.domains.get(draw.index(manifest.domains.len()));
        let kernel = manifest.kernels.get(draw.index(manifest.kernels.len())).cloned();
        let (kernel, build) = kernel.unwrap_or_default();
        let cpu = manifest.cpus.get(draw.index(manifest.cpus.len())).cloned().unwrap_or_default();
        let cores = manifest.cores.get(draw.index(manifest.cores.len())).copied().unwrap_or(1);
        let mib = manifest.memory_mib.get(draw.index(manifest.memory_mib.len())).copied();
        let mib = u64::from(mib.unwrap_or(1_024));
        // The kernel keeps some for itself.
        let memory_kib = mib * 1_024 - mib * 19 - u64::from(draw.below(4_096));
        let gib = manifest.disk_gib.get(draw.index(manifest.disk_gib.len())).copied();
        let disk_kib = u64::from(gib.unwrap_or(20)) * 1_024 * 1_024 * 98 / 100 - 127_000;
        let maker = manifest.makers.get(draw.index(manifest.makers.len()));
        let mac = format!(
            "{}:{:02x}:{:02x}:{:02x}",
            maker.map_or("52:54:00", String::as_str),
            draw.below(256),
            draw.below(256),
            draw.below(256)
        );
        let (second, third) = (draw.byte(), draw.byte());
        let address = match draw.below(3) {
            0 => Ipv4Addr::new(10, second, third, 4 + draw.byte() % 240),
            1 => Ipv4Addr::new(172, 16 + second % 16, third, 4 + draw.byte() % 240),
            _ => Ipv4Addr::new(192, 168, third, 4 + draw.byte() % 240),
        };
        let [a, b, c, _] = address.octets();
        // Between spring 2024 and summer 2025: after the release, some time ago.
        let installed = 1_711_000_000 + i64::from(draw.below(40_000_000));
        let period = 86_400 * i64::from(21 + draw.below(70)) + i64::from(draw.below(86_400));
        let disk = if draw.below(2) == 0 { "/dev/sda1" } else { "/dev/vda1" };
        let mut machine = Self {
            system,
            pretty: manifest.pretty.clone(),
            hostname: hostname.map_or(made_up, str::to_owned),
            domain: domain.cloned().unwrap_or_default(),
            kernel,
            build,
            arch: "x86_64",
            elf: ElfKind { wide: true, big_endian: false, machine: 62 },
            cores,
            bogomips: cpu.mhz * 200 / 100 * 100 + draw.below(200),
            cpu,
            memory_kib,
            swap_kib: if draw.below(2) == 0 { 0 } else { 999_420 + 4 * u64::from(draw.below(9)) },
            disks: Vec::new(),
            interface: if draw.below(2) == 0 { "eth0" } else { "ens3" },
            mac,
            address,
            prefix: 24,
            gateway: Ipv4Addr::new(a, b, c, 1),
            installed,
            users: Vec::new(),
            processes: Vec::new(),
            busybox: ("1.35.0".to_owned(), "Debian 1:1.35.0-4+b3".to_owned()),
            product: String::new(),
            prompt: "\\u@\\h:\\w\\$ ".to_owned(),
            uuid: draw.uuid(),
            machine_id: draw.uuid().replace('-', ""),
            seed,
            restarts: (period, installed + 3_600),
        };
        let used = disk_kib * u64::from(11 + draw.below(38)) / 100 + u64::from(draw.below(99_999));
        machine.disks = server_disks(disk, disk_kib, used, memory_kib);
        machine.users = system_users();
        machine.people(manifest, &mut draw);
        machine.processes = machine.start(manifest, &mut draw);
        machine
    }

    /// The device that the web page and telnet show.
    pub(crate) fn device(persona: &Persona, manifest: &Manifest, prompt: Option<&str>) -> Self {
        let mut draw = Draw(persona.seed ^ 0x6465_7669);
        let flash = 1_024 * u64::from(*draw.one(&[6u32, 7, 10, 13, 14]));
        let memory_kib = u64::from(persona.memory_kib);
        let cpu = CpuModel {
            name: persona.cpu.model.to_owned(),
            mhz: persona.bogomips / 150,
            ..CpuModel::default()
        };
        let prompts = ["\\w # ", "\\w # ", "# ", "[\\u@\\h \\W]# ", "\\u@\\h:\\w# ", "/ # "];
        let third = *draw.one(&[0u8, 1, 1, 8, 10, 100]);
        let address = Ipv4Addr::new(192, 168, third, *draw.one(&[1u8, 64, 108, 168, 200]));
        let period = 86_400 * i64::from(9 + draw.below(60)) + i64::from(draw.below(86_400));
        let mut machine = Self {
            system: System::BusyBox,
            pretty: persona.product.to_owned(),
            hostname: persona.hostname.clone(),
            domain: String::new(),
            kernel: persona.kernel.to_owned(),
            build: persona.build(),
            arch: persona.cpu.machine,
            elf: ElfKind {
                wide: false,
                big_endian: persona.cpu.big_endian,
                machine: u16::from(persona.cpu.elf_machine),
            },
            cores: 1,
            cpu,
            bogomips: persona.bogomips,
            memory_kib,
            swap_kib: 0,
            disks: device_disks(flash, memory_kib, draw.below(900).into()),
            interface: if persona.product.contains("Rout") { "br0" } else { "eth0" },
            mac: persona.mac.clone(),
            address,
            prefix: 24,
            gateway: Ipv4Addr::new(192, 168, third, if address.octets()[3] == 1 { 254 } else { 1 }),
            installed: super::seconds(&persona.built),
            users: vec![
                user("root", 0, 0, "/root", "/bin/sh"),
                user("nobody", 65_534, 65_534, "/var", "/bin/false"),
            ],
            processes: Vec::new(),
            busybox: (persona.busybox.to_owned(), persona.built.clone()),
            product: persona.model.clone(),
            prompt: prompt.map_or_else(|| (*draw.one(&prompts)).to_owned(), str::to_owned),
            uuid: draw.uuid(),
            machine_id: String::new(),
            seed: persona.seed,
            restarts: (period, 1_700_000_000 + i64::from(draw.below(4_000_000))),
        };
        machine.processes = machine.start(manifest, &mut draw);
        machine
    }

    fn people(&mut self, manifest: &Manifest, draw: &mut Draw) {
        let mut names = manifest.users.clone();
        for uid in 1_000..1_001 + draw.below(2) {
            if names.is_empty() {
                return;
            }
            let name = names.swap_remove(draw.index(names.len()));
            let home = format!("/home/{name}");
            self.users.push(user(&name, uid, uid, &home, "/bin/bash"));
        }
    }

    fn start(&self, manifest: &Manifest, draw: &mut Draw) -> Vec<Process> {
        let mut all = Vec::new();
        let process = |pid, parent, user: &str, size: (u32, u32), command: String| Process {
            pid,
            parent,
            user: user.to_owned(),
            vsz: size.0,
            rss: size.1,
            tty: "?".to_owned(),
            state: "S".to_owned(),
            started: i64::from(pid / 90),
            busy: 0,
            command,
        };
        let mut entries = manifest.processes.iter();
        if let Some(init) = entries.next() {
            let mut first = process(1, 0, "root", init.size, init.command.clone());
            first.state = if self.system == System::BusyBox { "S" } else { "Ss" }.to_owned();
            first.busy = init.busy;
            all.push(first);
        }
        let mut pid = 2;
        for name in manifest.threads.split_whitespace() {
            let parent = if pid == 2 { 0 } else { 2 };
            let mut thread = process(pid, parent, "root", (0, 0), format!("[{name}]"));
            let idle = name.contains(":0H") || name.ends_with("_wq") || name == "kblockd";
            thread.state = if idle { "I<" } else { "S" }.to_owned();
            all.push(thread);
            pid += 1 + draw.below(3) / 2;
        }
        pid = pid.max(if self.system == System::BusyBox { 180 } else { 230 }) + draw.below(60);
        for entry in entries {
            let command = self.fill(&entry.command);
            let name = self.fill(&entry.user);
            let mut one = process(pid, 1, &name, entry.size, command);
            one.started = 3 + i64::from(pid / 60);
            one.busy = entry.busy;
            one.tty = entry.tty.clone().unwrap_or_else(|| "?".to_owned());
            one.state = entry.state.clone().unwrap_or_else(|| {
                if self.system == System::BusyBox { "S" } else { "Ss" }.to_owned()
            });
            all.push(one);
            pid += 1 + draw.below(24);
        }
        all
    }

    /// A text with the facts in the place of `@name@`.
    pub(crate) fn fill(&self, text: &str) -> String {
        if !text.contains('@') {
            return text.to_owned();
        }
        let person = self.users.iter().find(|user| user.uid == 1_000);
        let person = person.map_or("root", |user| user.name.as_str());
        let [a, b, c, _] = self.address.octets();
        let facts: [(&str, String); 18] = [
            ("@hostname@", self.hostname.clone()),
            ("@domain@", self.domain.clone()),
            ("@kernel@", self.kernel.clone()),
            ("@build@", self.build.clone()),
            ("@arch@", self.arch.to_owned()),
            ("@pretty@", self.pretty.clone()),
            ("@user@", person.to_owned()),
            ("@mac@", self.mac.clone()),
            ("@address@", self.address.to_string()),
            ("@network@", format!("{a}.{b}.{c}.0/{}", self.prefix)),
            ("@gateway@", self.gateway.to_string()),
            ("@interface@", self.interface.to_owned()),
            ("@uuid@", self.uuid.clone()),
            ("@machine_id@", self.machine_id.clone()),
            ("@disk@", self.disks.first().map_or("", |disk| disk.device.as_str()).to_owned()),
            ("@busybox@", self.busybox.0.clone()),
            ("@built@", self.busybox.1.clone()),
            ("@product@", self.product.clone()),
        ];
        facts.iter().fold(text.to_owned(), |text, (name, value)| text.replace(name, value))
    }

    /// When it was last started.
    pub(crate) fn booted(&self, now: i64) -> i64 {
        let (period, first) = self.restarts;
        now - (now - first).rem_euclid(period.max(1))
    }

    /// Seconds since then.
    pub(crate) fn uptime(&self, now: i64) -> i64 {
        now - self.booted(now)
    }

    /// A number from 0 to 1 that moves slowly with the time.
    fn drift(&self, now: i64, salt: u64, period: i64) -> f64 {
        let at = |step: i64| {
            let mut draw = Draw(self.seed ^ salt ^ step.unsigned_abs());
            f64::from(draw.below(10_000)) / 10_000.0
        };
        let (step, part) = (now.div_euclid(period), now.rem_euclid(period));
        #[expect(clippy::cast_precision_loss, reason = "seconds of a period")]
        let part = part as f64 / period as f64;
        at(step).mul_add(1.0 - part, at(step + 1) * part)
    }

    /// Memory now.
    pub(crate) fn memory(&self, now: i64) -> Memory {
        let total = self.memory_kib;
        let resident: u64 = self.processes.iter().map(|process| u64::from(process.rss)).sum();
        let share = |part: f64| {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                clippy::cast_precision_loss,
                reason = "a share of the memory"
            )]
            let kib = (total as f64 * part) as u64;
            kib
        };
        // Shared pages count once, the kernel's own on top.
        let used = (resident * 7 / 10 + share(0.06) + share(0.012 * self.drift(now, 1, 1_800)))
            .min(total * 7 / 10);
        let buffers = share(0.012) + share(0.001 * self.drift(now, 2, 7_200));
        let cached =
            share(0.19).min(total - used - buffers) + share(0.006 * self.drift(now, 3, 3_600));
        let free = total.saturating_sub(used + buffers + cached);
        Memory {
            total,
            free,
            available: free + (buffers + cached) * 9 / 10,
            buffers,
            cached,
            shared: share(0.004),
            swap_total: self.swap_kib,
            swap_free: self.swap_kib - self.swap_kib / 97,
        }
    }

    /// Load of 1, 5 and 15 minutes.
    pub(crate) fn load(&self, now: i64) -> [f64; 3] {
        let small = if self.system == System::BusyBox { 0.3 } else { 0.12 };
        [60, 300, 900].map(|period| self.drift(now, 4, period * 4) * small)
    }

    /// Bytes received and sent since the start.
    pub(crate) fn traffic(&self, now: i64) -> (u64, u64) {
        let up = self.uptime(now).unsigned_abs();
        let mut draw = Draw(self.seed ^ 7);
        let (rx, tx) = (900 + u64::from(draw.below(4_000)), 400 + u64::from(draw.below(2_500)));
        (up * rx + 81_734, up * tx + 39_871)
    }
}
