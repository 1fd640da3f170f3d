//! The files a machine has before anybody came: built once from its manifest,
//! shared by all sessions, never changed.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::node::{Content, Kind, Node};
use crate::persona::{Draw, ElfKind, Machine, Manifest, System, hash};

/// The machine's own files, by path.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    nodes: HashMap<Box<str>, Node>,
}

/// Devices every machine has: path, block, major, minor, mode.
const DEVICES: [(&str, bool, u32, u32, u32); 12] = [
    ("/dev/null", false, 1, 3, 0o666),
    ("/dev/zero", false, 1, 5, 0o666),
    ("/dev/full", false, 1, 7, 0o666),
    ("/dev/random", false, 1, 8, 0o666),
    ("/dev/urandom", false, 1, 9, 0o666),
    ("/dev/tty", false, 5, 0, 0o666),
    ("/dev/console", false, 5, 1, 0o600),
    ("/dev/ptmx", false, 5, 2, 0o666),
    ("/dev/mem", false, 1, 1, 0o640),
    ("/dev/kmsg", false, 1, 11, 0o644),
    ("/dev/pts/0", false, 136, 0, 0o620),
    ("/dev/pts/ptmx", false, 5, 2, 0o000),
];
/// Files of /proc that are made when they are read.
pub(super) const LIVE: [&str; 28] = [
    "cpuinfo",
    "meminfo",
    "mounts",
    "version",
    "uptime",
    "loadavg",
    "stat",
    "cmdline",
    "filesystems",
    "partitions",
    "devices",
    "modules",
    "swaps",
    "interrupts",
    "net/dev",
    "net/tcp",
    "net/route",
    "net/arp",
    "diskstats",
    "sys/kernel/hostname",
    "sys/kernel/osrelease",
    "sys/kernel/random/uuid",
    "sys/kernel/random/boot_id",
    "sys/kernel/pid_max",
    "sys/net/ipv4/ip_forward",
    "sys/kernel/ostype",
    "sys/vm/nr_hugepages",
    "sys/vm/drop_caches",
];
/// Files of a process's directory that are made when they are read.
pub(super) const OF_PROCESS: [&str; 8] =
    ["cgroup", "cmdline", "comm", "status", "stat", "environ", "maps", "mounts"];

impl Tree {
    /// The files of `machine` after `manifest`.
    pub(crate) fn new(machine: &Machine, manifest: &Manifest) -> Self {
        let mut tree = Self::default();
        tree.nodes.insert(
            "/".into(),
            Node::new(Kind::Directory(BTreeSet::new()), 0o755, machine.installed),
        );
        let mut draw = Draw(machine.seed ^ 0x7472_6565);
        for path in &manifest.directories {
            tree.directory(path, machine.installed);
        }
        for (path, target) in &manifest.links {
            let (path, target) = (machine.fill(path), machine.fill(target));
            tree.put(&path, Node::new(Kind::Link(target.into()), 0o777, machine.installed));
        }
        tree.programs(machine, manifest);
        for (path, block, major, minor, mode) in DEVICES {
            let at = machine.installed + 60;
            tree.put(path, Node::new(Kind::Device(block, major, minor), mode, at));
        }
        if machine.system == System::BusyBox {
            for (minor, name) in (0u32..).zip(["mtd0", "mtd1", "mtd2", "mtd3"]) {
                let node = Node::new(Kind::Device(false, 90, minor * 2), 0o660, machine.installed);
                tree.put(&format!("/dev/{name}"), node);
            }
            for (name, minor) in [("ttyS0", 64), ("watchdog", 130)] {
                let node = Node::new(Kind::Device(false, 4, minor), 0o660, machine.installed);
                tree.put(&format!("/dev/{name}"), node);
            }
        } else {
            tree.server(machine, &mut draw);
        }
        for name in LIVE {
            let node = Node::new(Kind::File(Content::Live), 0o444, machine.installed);
            tree.put(&format!("/proc/{name}"), node);
        }
        let own = Node::new(Kind::Link("self".into()), 0o777, machine.installed);
        tree.put("/proc/self", own);
        for process in &machine.processes {
            tree.process(process.pid, &process.command, machine);
        }
        for file in &manifest.files {
            let path = machine.fill(&file.path);
            let text = machine.fill(&file.text).into_bytes();
            let content = if file.noise > 0 {
                Content::Noise { salt: hash(path.as_bytes()) ^ machine.seed, size: file.noise }
            } else {
                Content::Bytes(Arc::new(text))
            };
            let mode = u32::from_str_radix(&file.mode, 8).unwrap_or(0o644);
            let age = i64::from(draw.below(900));
            let at = machine.installed + if path.starts_with("/etc") { age } else { 120 };
            let mut node = Node::new(Kind::File(content), mode, at);
            if let Some(owner) = machine.users.iter().find(|user| user.name == file.owner) {
                (node.uid, node.gid) = (owner.uid, owner.gid);
            }
            tree.put(&path, node);
        }
        for (path, mode) in [
            ("/tmp", 0o1777),
            ("/var/tmp", 0o1777),
            ("/dev/shm", 0o1777),
            ("/root", 0o700),
            ("/proc", 0o555),
            ("/sys", 0o555),
            ("/root/.ssh", 0o700),
        ] {
            if let Some(node) = tree.nodes.get_mut(path) {
                node.mode = mode;
            }
        }
        tree
    }

    /// Adds a file of the operator's.
    pub(crate) fn add(&mut self, path: &str, bytes: Vec<u8>, mode: u32, modified: i64) {
        let content = Content::Bytes(Arc::new(bytes));
        self.put(path, Node::new(Kind::File(content), mode, modified));
    }

    pub(crate) fn get(&self, path: &str) -> Option<&Node> {
        self.nodes.get(path)
    }

    fn server(&mut self, machine: &Machine, draw: &mut Draw) {
        let text = |lines: Vec<String>| Content::Bytes(Arc::new(lines.concat().into_bytes()));
        let passwd = machine.users.iter().map(|user| {
            let note =
                if user.uid >= 1_000 && user.uid < 60_000 { ",,," } else { user.name.as_str() };
            format!(
                "{}:x:{}:{}:{note}:{}:{}\n",
                user.name, user.uid, user.gid, user.home, user.shell
            )
        });
        let passwd = text(passwd.collect());
        let day = machine.installed / 86_400;
        let shadow = machine.users.iter().map(|user| {
            let hash = if user.uid == 0 || (1_000..60_000).contains(&user.uid) {
                format!("$y$j9T${}${}", letters(draw, 22), letters(draw, 43))
            } else {
                "*".to_owned()
            };
            format!("{}:{hash}:{day}:0:99999:7:::\n", user.name)
        });
        let shadow = text(shadow.collect());
        let group = machine.users.iter().map(|user| format!("{}:x:{}:\n", user.name, user.gid));
        let group =
            text(group.chain(["sudo:x:27:\n".to_owned(), "shadow:x:42:\n".to_owned()]).collect());
        let at = machine.installed + 300;
        self.put("/etc/passwd", Node::new(Kind::File(passwd), 0o644, at));
        let mut shadow = Node::new(Kind::File(shadow), 0o640, at);
        shadow.gid = 42;
        self.put("/etc/shadow", shadow);
        self.put("/etc/group", Node::new(Kind::File(group), 0o644, at));
        for user in machine.users.iter().filter(|user| (1_000..60_000).contains(&user.uid)) {
            let at = at + i64::from(draw.below(3_000_000));
            self.directory(&user.home, at);
            let copies = [(".bashrc", 3_526), (".profile", 807), (".bash_logout", 220)];
            for (name, size) in copies {
                let content = Content::Noise { salt: draw.0, size };
                self.put(
                    &format!("{}/{name}", user.home),
                    Node::new(Kind::File(content), 0o644, at),
                );
            }
            for (path, node) in &mut self.nodes {
                if path.starts_with(&user.home) {
                    (node.uid, node.gid) = (user.uid, user.gid);
                }
            }
            if let Some(home) = self.nodes.get_mut(user.home.as_str()) {
                home.mode = 0o700;
            }
        }
        let root = machine.disks.first().map_or("", |disk| disk.device.as_str());
        let whole = root.trim_end_matches('1');
        for (path, minor) in [(whole, 0), (root, 1)] {
            let mut node = Node::new(Kind::Device(true, 8, minor), 0o660, at);
            node.gid = 6;
            self.put(path, node);
        }
        for number in 0..4 {
            let path = format!("/dev/tty{number}");
            self.put(&path, Node::new(Kind::Device(false, 4, number), 0o620, at));
        }
    }

    fn programs(&mut self, machine: &Machine, manifest: &Manifest) {
        for (directory, names) in &manifest.programs {
            for name in names.split_whitespace() {
                let path = format!("{directory}/{name}");
                if self.nodes.contains_key(path.as_str()) {
                    continue;
                }
                let mut draw = Draw(hash(name.as_bytes()) ^ machine.seed);
                let at = machine.installed - 86_400 * i64::from(90 + draw.below(500));
                let busybox = machine.system == System::BusyBox;
                if busybox && name != "busybox" && name != "lighttpd" {
                    let target = if directory == "/bin" { "busybox" } else { "../bin/busybox" };
                    let target =
                        if directory.starts_with("/usr") { "../../bin/busybox" } else { target };
                    self.put(&path, Node::new(Kind::Link(target.into()), 0o777, machine.installed));
                    continue;
                }
                let size = match name {
                    "busybox" if busybox => 342_000 + u64::from(draw.below(140_000)),
                    "bash" | "busybox" => 700_000 + u64::from(draw.below(600_000)),
                    "python3.11" | "python3.10" | "perl" => {
                        3_800_000 + u64::from(draw.below(2_900_000))
                    }
                    _ => 18_000 + u64::from(draw.below(9) * draw.below(28_000)),
                };
                let setuid = [
                    "su", "sudo", "passwd", "mount", "umount", "chsh", "chfn", "newgrp", "gpasswd",
                ];
                let mode = if setuid.contains(&name) && !busybox { 0o4755 } else { 0o755 };
                let content = Content::Program { name: name.into(), size };
                let at = if busybox { machine.installed } else { at };
                self.put(&path, Node::new(Kind::File(content), mode, at));
            }
        }
    }

    fn process(&mut self, pid: u32, command: &str, machine: &Machine) {
        let directory = format!("/proc/{pid}");
        self.directory(&directory, machine.installed);
        for name in OF_PROCESS {
            let node = Node::new(Kind::File(Content::Live), 0o444, machine.installed);
            self.put(&format!("{directory}/{name}"), node);
        }
        let program = command.split_whitespace().next().unwrap_or("").trim_end_matches(':');
        let exe = match program {
            "/sbin/init" => "/usr/lib/systemd/systemd".to_owned(),
            "sshd" => "/usr/sbin/sshd".to_owned(),
            "nginx" => "/usr/sbin/nginx".to_owned(),
            _ if command.starts_with('[') => return,
            _ if machine.system == System::BusyBox
                && !program.contains("lighttpd")
                && !program.contains("app") =>
            {
                "/bin/busybox".to_owned()
            }
            _ => program.replace("/sbin/agetty", "/usr/sbin/agetty").replacen(
                "/lib/",
                "/usr/lib/",
                1,
            ),
        };
        let link = |target: &str| Node::new(Kind::Link(target.into()), 0o777, machine.installed);
        self.put(&format!("{directory}/exe"), link(&exe));
        self.put(&format!("{directory}/cwd"), link("/"));
        self.put(&format!("{directory}/root"), link("/"));
    }

    fn directory(&mut self, path: &str, at: i64) {
        if !self.nodes.contains_key(path) {
            self.put(path, Node::new(Kind::Directory(BTreeSet::new()), 0o755, at));
        }
    }

    /// Puts a node and the directories above it.
    fn put(&mut self, path: &str, node: Node) {
        // Through links that merge directories, such as /bin.
        let mut path = path.to_owned();
        for (from, to) in [("/bin/", "/usr/bin/"), ("/sbin/", "/usr/sbin/"), ("/lib/", "/usr/lib/")]
        {
            let merged = matches!(
                self.nodes.get(from.trim_end_matches('/')).map(|n| &n.kind),
                Some(Kind::Link(_))
            );
            if merged && path.starts_with(from) {
                path = path.replacen(from, to, 1);
            }
        }
        let Some((parent, name)) = path.rsplit_once('/') else { return };
        let parent = if parent.is_empty() { "/" } else { parent };
        if !self.nodes.contains_key(parent) {
            let directory = Node::new(Kind::Directory(BTreeSet::new()), 0o755, node.modified);
            self.put(parent, directory);
        }
        if let Some(Node { kind: Kind::Directory(names), .. }) = self.nodes.get_mut(parent) {
            names.insert(name.into());
        }
        self.nodes.insert(path.into(), node);
    }
}

fn letters(draw: &mut Draw, count: usize) -> String {
    const ALL: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    (0..count).map(|_| char::from(*draw.one(ALL))).collect()
}

/// Up to `most` bytes of a program from `from`: an ELF header of the machine
/// (System V ABI), program headers, then noise with the names of libraries.
pub(super) fn program(elf: ElfKind, name: &str, size: u64, from: u64, most: usize) -> Vec<u8> {
    let head = header(elf, size, hash(name.as_bytes()));
    window(&head, hash(name.as_bytes()), size, from, most)
}

/// Up to `most` bytes of noise from `from`, behind `head`.
pub(super) fn window(head: &[u8], salt: u64, size: u64, from: u64, most: usize) -> Vec<u8> {
    let end = size.min(from.saturating_add(most as u64));
    let mut bytes = Vec::with_capacity(usize::try_from(end.saturating_sub(from)).unwrap_or(0));
    let mut at = from;
    while at < end {
        if let Some(byte) = usize::try_from(at).ok().and_then(|at| head.get(at)) {
            bytes.push(*byte);
            at += 1;
            continue;
        }
        let word = Draw(salt ^ (at / 8)).mixed().to_le_bytes();
        let skip = usize::try_from(at % 8).unwrap_or(0);
        for byte in word.iter().skip(skip) {
            if at < end {
                bytes.push(*byte);
                at += 1;
            }
        }
    }
    bytes
}

fn header(elf: ElfKind, size: u64, salt: u64) -> Vec<u8> {
    let big = elf.big_endian;
    let half = |value: u16| if big { value.to_be_bytes() } else { value.to_le_bytes() };
    let word = |value: u32| if big { value.to_be_bytes() } else { value.to_le_bytes() };
    let long = |value: u64| if big { value.to_be_bytes() } else { value.to_le_bytes() };
    let mut bytes =
        vec![0x7f, b'E', b'L', b'F', if elf.wide { 2 } else { 1 }, if big { 2 } else { 1 }, 1];
    bytes.resize(16, 0);
    // Debian's programs are position independent, a device's are not.
    bytes.extend(half(if elf.wide { 3 } else { 2 }));
    bytes.extend(half(elf.machine));
    bytes.extend(word(1));
    let sections = size.saturating_sub(1_984) & !7;
    if elf.wide {
        bytes.extend(long(0x2000 + (salt & 0x7ff0)));
        bytes.extend(long(64));
        bytes.extend(long(sections));
        bytes.extend(word(0));
        for value in [64, 56, 13, 64, 31, 30] {
            bytes.extend(half(value));
        }
        // PHDR, INTERP.
        for (kind, flags, at, length) in [(6u32, 4u32, 64u64, 728u64), (3, 4, 792, 28)] {
            bytes.extend(word(kind));
            bytes.extend(word(flags));
            for value in [at, at, at, length, length, 8] {
                bytes.extend(long(value));
            }
        }
        bytes.resize(792, 0);
        bytes.extend_from_slice(b"/lib64/ld-linux-x86-64.so.2\0");
        bytes.resize(1_024, 0);
        bytes.extend_from_slice(b"libc.so.6\0__libc_start_main\0GLIBC_2.34\0GLIBC_2.2.5\0");
    } else {
        let entry = if elf.machine == 8 { 0x0040_0000 } else { 0x8000 };
        let flags = if elf.machine == 8 { 0x7000_1007 } else { 0x0500_0002 };
        let sections = u32::try_from(sections).unwrap_or(0);
        for value in
            [entry + 0x150 + (u32::try_from(salt & 0xff0).unwrap_or(0)), 52, sections, flags]
        {
            bytes.extend(word(value));
        }
        for value in [52, 32, 3, 40, 24, 23] {
            bytes.extend(half(value));
        }
        for (kind, at, length, access) in [(3u32, 0x114u32, 20u32, 4u32), (1, 0, sections, 5)] {
            for value in [kind, at, entry + at, entry + at, length, length, access, 4] {
                bytes.extend(word(value));
            }
        }
        bytes.resize(0x114, 0);
        bytes.extend_from_slice(b"/lib/ld-uClibc.so.0\0");
    }
    bytes
}
