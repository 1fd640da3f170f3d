//! Commands that show the machine: all from the same facts.

use std::fmt::Write as _;

use super::list::{date, human};
use super::{Options, Run};
use crate::System;
use crate::shell::Shell;

pub(super) fn find(name: &str) -> Option<Run> {
    Some(match name {
        "uname" => uname,
        "arch" => |shell, _| {
            shell.say(shell.world.machine.arch);
            0
        },
        "hostname" => hostname,
        "hostnamectl" => hostnamectl,
        "uptime" => uptime,
        "free" => free,
        "vmstat" => vmstat,
        "df" => df,
        "mount" => mount,
        "umount" => |_, _| 0,
        "lsblk" => lsblk,
        "fdisk" | "parted" | "blkid" => fdisk,
        "nproc" => |shell, _| {
            shell.say(&shell.world.machine.cores.to_string());
            0
        },
        "lscpu" => lscpu,
        "lspci" => lspci,
        "lsusb" => |shell, _| {
            shell.say("Bus 001 Device 001: ID 1d6b:0001 Linux Foundation 1.1 root hub");
            0
        },
        "lsmod" => lsmod,
        "dmesg" => dmesg,
        "date" => date_command,
        "cal" => |_, _| 0,
        "sleep" | "usleep" => sleep,
        "env" | "printenv" => env,
        "lsb_release" => lsb_release,
        "getconf" => getconf,
        "sysctl" => sysctl,
        "dmidecode" => dmidecode,
        "tty" => |shell, _| {
            let tty = shell.files.seat.tty.clone();
            shell.say(&tty.map_or_else(|| "not a tty".to_owned(), |tty| format!("/dev/{tty}")));
            0
        },
        "stty" => |shell, words| {
            if words.iter().any(|w| w == b"size") {
                shell.say("24 80");
            } else if words.is_empty() {
                shell.say("speed 38400 baud; line = 0;\n-brkint -imaxbel");
            }
            0
        },
        "clear" | "reset" | "tput" => |shell, _| {
            if shell.to_terminal() {
                shell.put(b"\x1b[H\x1b[2J");
            }
            0
        },
        "locale" => |shell, _| {
            shell.put(b"LANG=en_US.UTF-8\nLC_CTYPE=\"en_US.UTF-8\"\nLC_ALL=\n");
            0
        },
        "timedatectl" => |shell, _| {
            let now = shell.files.now;
            shell.say(&format!("               Local time: {}\n                Time zone: Etc/UTC (UTC, +0000)\nSystem clock synchronized: yes\n              NTP service: active", date(now, "%a %Y-%m-%d %H:%M:%S UTC")));
            0
        },
        "nvidia-smi" => |shell, _| shell.fails("nvidia-smi", "command not found"),
        _ => return None,
    })
}

fn uname(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    let machine = &shell.world.machine;
    let options = Options::new(words, "");
    let all = options.has('a') || options.long("all").is_some();
    let gnu = machine.system != System::BusyBox;
    let fields: [(char, &str); 6] = [
        ('s', "Linux"),
        ('n', &machine.hostname),
        ('r', &machine.kernel),
        ('v', &machine.build),
        ('m', machine.arch),
        ('o', "GNU/Linux"),
    ];
    let mut shown: Vec<&str> = fields
        .iter()
        .filter(|(letter, _)| all || options.has(*letter) || words.is_empty() && *letter == 's')
        .map(|(_, text)| *text)
        .collect();
    if options.any("pi") && !all {
        shown.push(if gnu { "unknown" } else { machine.arch });
    }
    let text = shown.join(" ");
    shell.say(&text);
    0
}

fn hostname(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    let options = Options::new(words, "F");
    let machine = &shell.world.machine;
    let text = if options.any("Ii") {
        machine.address.to_string()
    } else if options.has('f') && !machine.domain.is_empty() {
        format!("{}.{}", machine.hostname, machine.domain)
    } else if options.rest.is_empty() {
        machine.hostname.clone()
    } else {
        return 0;
    };
    shell.say(&text);
    0
}

fn hostnamectl(shell: &mut Shell, _: &[Vec<u8>]) -> u8 {
    let m = &shell.world.machine;
    let text = format!(
        " Static hostname: {}\n       Icon name: computer-vm\n         Chassis: vm\n      Machine ID: {}\n  Virtualization: kvm\nOperating System: {}\n          Kernel: Linux {}\n    Architecture: x86-64",
        m.hostname, m.machine_id, m.pretty, m.kernel
    );
    shell.say(&text);
    0
}

/// `up 3 days,  2:41`, as `uptime`, `w` and `top` have it.
pub(super) fn up_text(shell: &Shell) -> String {
    let up = shell.world.machine.uptime(shell.files.now);
    let (days, hours, minutes) = (up / 86_400, up % 86_400 / 3_600, up % 3_600 / 60);
    let mut text = match days {
        0 => String::new(),
        1 => "1 day, ".to_owned(),
        _ => format!("{days} days, "),
    };
    let _ = if hours > 0 {
        write!(text, "{hours:2}:{minutes:02}")
    } else {
        write!(text, "{minutes} min")
    };
    text
}

/// The first line of `uptime`, `w` and `top`.
pub(super) fn up_line(shell: &Shell) -> String {
    let now = shell.files.now;
    let [one, five, fifteen] = shell.world.machine.load(now);
    let clock = date(now, "%H:%M:%S");
    let users = if shell.gnu() { ",  1 user" } else { "" };
    format!(
        " {clock} up {}{users},  load average: {one:.2}, {five:.2}, {fifteen:.2}",
        up_text(shell)
    )
}

fn uptime(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    let options = Options::new(words, "");
    let machine = &shell.world.machine;
    let now = shell.files.now;
    let text = if options.has('p') {
        let up = machine.uptime(now);
        format!(
            "up {} days, {} hours, {} minutes",
            up / 86_400,
            up % 86_400 / 3_600,
            up % 3_600 / 60
        )
    } else if options.has('s') {
        date(machine.booted(now), "%Y-%m-%d %H:%M:%S")
    } else {
        up_line(shell)
    };
    shell.say(&text);
    0
}

fn free(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    let options = Options::new(words, "sc");
    let memory = shell.world.machine.memory(shell.files.now);
    let show = |kib: u64| {
        if options.has('h') {
            let text = human(kib * 1024);
            if text.ends_with(|c: char| c.is_ascii_digit()) {
                format!("{text}B")
            } else {
                format!("{text}i")
            }
        } else if options.has('g') {
            (kib / 1024 / 1024).to_string()
        } else if options.has('m') {
            (kib / 1024).to_string()
        } else if options.has('b') {
            (kib * 1024).to_string()
        } else {
            kib.to_string()
        }
    };
    let mut text = String::new();
    if shell.gnu() {
        let _ = writeln!(
            text,
            "               total        used        free      shared  buff/cache   available"
        );
        // As procps counts: used is what is not available to others.
        let used = memory.total - memory.available;
        let columns = [
            memory.total,
            used,
            memory.free,
            memory.shared,
            memory.buffers + memory.cached,
            memory.available,
        ];
        let _ = write!(text, "{:<8}", "Mem:");
        columns.iter().for_each(|kib| {
            let _ = write!(text, "{:>12}", show(*kib));
        });
        let swap = [memory.swap_total, memory.swap_total - memory.swap_free, memory.swap_free];
        let _ = write!(text, "\n{:<8}", "Swap:");
        swap.iter().for_each(|kib| {
            let _ = write!(text, "{:>12}", show(*kib));
        });
        text.push('\n');
    } else {
        let used = memory.total - memory.free;
        let held = used - memory.buffers - memory.cached;
        let _ = writeln!(
            text,
            "             total         used         free       shared      buffers"
        );
        let _ = writeln!(
            text,
            "Mem:  {:>12} {:>12} {:>12} {:>12} {:>12}",
            show(memory.total),
            show(used),
            show(memory.free),
            0,
            show(memory.buffers)
        );
        let _ = writeln!(text, "-/+ buffers: {:>18} {:>12}", show(held), show(memory.total - held));
        let _ = writeln!(text, "Swap: {:>12} {:>12} {:>12}", 0, 0, 0);
    }
    shell.put(text.as_bytes());
    0
}

fn vmstat(shell: &mut Shell, _: &[Vec<u8>]) -> u8 {
    let m = shell.world.machine.memory(shell.files.now);
    let text = format!(
        "procs -----------memory---------- ---swap-- -----io---- -system-- ------cpu-----\n r  b   swpd   free   buff  cache   si   so    bi    bo   in   cs us sy id wa st\n 0  0 {:6} {:6} {:6} {:6}    0    0     3    11   41   72  0  0 99  0  0",
        m.swap_total - m.swap_free,
        m.free,
        m.buffers,
        m.cached
    );
    shell.say(&text);
    0
}

fn df(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    let options = Options::new(words, "txB");
    let machine = &shell.world.machine;
    let gnu = shell.gnu();
    // The longest mount point a path lies under.
    let wanted: Option<Vec<&str>> = (!options.rest.is_empty()).then(|| {
        let over = |path: &String| {
            let path = shell.files.canonical(&shell.path(path)).unwrap_or_default();
            machine
                .disks
                .iter()
                .filter(|disk| disk.size_kib > 0)
                .map(|disk| disk.mount)
                .filter(|mount| {
                    *mount == "/" || path == *mount || path.starts_with(&format!("{mount}/"))
                })
                .max_by_key(|mount| mount.len())
                .unwrap_or("/")
        };
        options.rest.iter().map(over).collect()
    });
    let added = shell.files.overlay().held() as u64 / 1024;
    let mut rows = Vec::new();
    for disk in machine.disks.iter().filter(|disk| disk.size_kib > 0) {
        if wanted.as_ref().is_some_and(|wanted| !wanted.contains(&disk.mount)) {
            continue;
        }
        let used = disk.used_kib + if disk.mount == "/" && gnu { added } else { 0 };
        // ext4 keeps a twentieth for root.
        let kept = if disk.kind == "ext4" { disk.size_kib / 20 } else { 0 };
        let free = disk.size_kib.saturating_sub(used + kept);
        let percent = (used * 100).div_ceil((used + free).max(1));
        let show = |kib: u64| {
            if options.has('h') {
                if kib == 0 { "0".to_owned() } else { human(kib * 1024) }
            } else if options.has('m') {
                kib.div_ceil(1024).to_string()
            } else {
                kib.to_string()
            }
        };
        let kind = options.has('T').then(|| disk.kind.to_owned());
        rows.push((
            disk.device.clone(),
            kind,
            show(disk.size_kib),
            show(used),
            show(free),
            format!("{percent}%"),
            disk.mount,
        ));
    }
    if options.has('i') {
        let mut text = "Filesystem      Inodes  IUsed   IFree IUse% Mounted on\n".to_owned();
        for disk in machine.disks.iter().filter(|disk| disk.size_kib > 0) {
            let inodes = disk.size_kib / 16;
            let used = disk.used_kib / 40 + 5;
            let _ = writeln!(
                text,
                "{:<14} {inodes:>7} {used:>6} {:>7} {:>4}% {}",
                disk.device,
                inodes - used.min(inodes),
                used * 100 / inodes.max(1),
                disk.mount
            );
        }
        shell.put(text.as_bytes());
        return 0;
    }
    let head = match (gnu, options.has('h'), options.has('m')) {
        (true, true, _) => ("Size", "Used", "Avail"),
        (true, _, true) => ("1M-blocks", "Used", "Available"),
        (true, ..) => ("1K-blocks", "Used", "Available"),
        (false, true, _) => ("Size", "Used", "Available"),
        (false, _, true) => ("1M-blocks", "Used", "Available"),
        (false, ..) => ("1K-blocks", "Used", "Available"),
    };
    let mut text = String::new();
    if gnu {
        let width = |items: Vec<usize>| items.into_iter().max().unwrap_or(0);
        let name = width(rows.iter().map(|row| row.0.len()).chain([14]).collect());
        let size = width(rows.iter().map(|row| row.2.len()).chain([head.0.len(), 5]).collect());
        let used = width(rows.iter().map(|row| row.3.len()).chain([head.1.len(), 5]).collect());
        let free = width(rows.iter().map(|row| row.4.len()).chain([head.2.len()]).collect());
        let kind =
            |kind: &Option<String>| kind.as_ref().map_or(String::new(), |k| format!(" {k:<8}"));
        let type_head = if options.has('T') { " Type    " } else { "" };
        let _ = writeln!(
            text,
            "{:<name$}{type_head} {:>size$} {:>used$} {:>free$} Use% Mounted on",
            "Filesystem", head.0, head.1, head.2
        );
        for (device, k, s, u, f, p, mount) in rows {
            let _ = writeln!(
                text,
                "{device:<name$}{} {s:>size$} {u:>used$} {f:>free$} {p:>4} {mount}",
                kind(&k)
            );
        }
    } else {
        let _ = writeln!(
            text,
            "{:<20} {:>9} {:>9} {:>9} Use% Mounted on",
            "Filesystem", head.0, head.1, head.2
        );
        for (device, _, s, u, f, p, mount) in rows {
            let _ = writeln!(text, "{device:<20} {s:>9} {u:>9} {f:>9} {p:>4} {mount}");
        }
    }
    shell.put(text.as_bytes());
    0
}

fn mount(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    if !Options::new(words, "to").rest.is_empty() || words.iter().any(|w| w == b"-o") {
        return 0;
    }
    let text = shell.world.machine.disks.iter().fold(String::new(), |mut text, disk| {
        let _ = writeln!(
            text,
            "{} on {} type {} ({})",
            disk.device, disk.mount, disk.kind, disk.options
        );
        text
    });
    shell.put(text.as_bytes());
    0
}

fn disk_name(shell: &Shell) -> (String, u64, u64) {
    let machine = &shell.world.machine;
    let root = machine.disks.first().map_or("", |disk| disk.device.as_str());
    let whole = root.trim_start_matches("/dev/").trim_end_matches('1').to_owned();
    let size = machine
        .disks
        .first()
        .map_or(0, |disk| ((disk.size_kib + 127_000) * 100 / 98).next_multiple_of(1_048_576));
    (whole, size, size - 131_072)
}

fn lsblk(shell: &mut Shell, _: &[Vec<u8>]) -> u8 {
    let (name, size, part) = disk_name(shell);
    let text = format!(
        "NAME   MAJ:MIN RM  SIZE RO TYPE MOUNTPOINTS\n{name:<6}   8:0    0 {:>4}  0 disk \n└─{name}1   8:1    0 {:>4}  0 part /",
        human(size * 1024),
        human(part * 1024)
    );
    shell.say(&text);
    0
}

fn fdisk(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    if !words.iter().any(|w| w == b"-l") {
        return 0;
    }
    let (name, size, _) = disk_name(shell);
    let text = format!(
        "Disk /dev/{name}: {} GiB, {} bytes, {} sectors\nDisk model: QEMU HARDDISK   \nUnits: sectors of 1 * 512 = 512 bytes\nSector size (logical/physical): 512 bytes / 512 bytes\n\nDevice     Boot  Start      End  Sectors Size Id Type\n/dev/{name}1  *    262144 {:>8} {:>8}      83 Linux",
        size / 1_048_576,
        size * 1024,
        size * 2,
        size * 2 - 1,
        size * 2 - 262_144
    );
    shell.say(&text);
    0
}

fn lscpu(shell: &mut Shell, _: &[Vec<u8>]) -> u8 {
    let m = &shell.world.machine;
    let cpus = if m.cores == 1 { "0".to_owned() } else { format!("0-{}", m.cores - 1) };
    let mut text = format!(
        "Architecture:            {}\n  CPU op-mode(s):        32-bit, 64-bit\n  Address sizes:         40 bits physical, 48 bits virtual\n  Byte Order:            Little Endian\nCPU(s):                  {}\n  On-line CPU(s) list:   {cpus}\nVendor ID:               {}\n  Model name:            {}\n    CPU family:          {}\n    Model:               {}\n    Thread(s) per core:  1\n    Core(s) per socket:  {}\n    Socket(s):           1\n    Stepping:            {}\n    BogoMIPS:            {}.{:02}\n",
        m.arch,
        m.cores,
        m.cpu.vendor,
        m.cpu.name,
        m.cpu.family,
        m.cpu.model,
        m.cores,
        m.cpu.stepping,
        m.bogomips / 100,
        m.bogomips % 100
    );
    let _ = write!(
        text,
        "    Flags:               {}\nVirtualization features: \n  Hypervisor vendor:     KVM\n  Virtualization type:   full\nCaches (sum of all):     \n  L3:                    {} MiB (1 instance)\nNUMA:                    \n  NUMA node(s):          1\n  NUMA node0 CPU(s):     {cpus}\n",
        m.cpu.flags,
        m.cpu.cache_kb.max(16_384) / 1_024
    );
    shell.put(text.as_bytes());
    0
}

fn lspci(shell: &mut Shell, _: &[Vec<u8>]) -> u8 {
    shell.put(b"00:00.0 Host bridge: Intel Corporation 440FX - 82441FX PMC [Natoma] (rev 02)\n00:01.0 ISA bridge: Intel Corporation 82371SB PIIX3 ISA [Natoma/Triton II]\n00:01.1 IDE interface: Intel Corporation 82371SB PIIX3 IDE [Natoma/Triton II]\n00:02.0 VGA compatible controller: Device 1234:1111 (rev 02)\n00:03.0 Ethernet controller: Red Hat, Inc. Virtio network device\n00:05.0 SCSI storage controller: Red Hat, Inc. Virtio SCSI\n");
    0
}

fn lsmod(shell: &mut Shell, _: &[Vec<u8>]) -> u8 {
    let modules = shell.files.read("/proc/modules", 0, 64 * 1024).unwrap_or_default();
    let mut text = "Module                  Size  Used by\n".to_owned();
    for line in String::from_utf8_lossy(&modules).lines() {
        let mut words = line.split(' ');
        let (name, size, count) =
            (words.next().unwrap_or(""), words.next().unwrap_or(""), words.next().unwrap_or(""));
        let by = words.next().unwrap_or("-").trim_matches([',', '-']);
        let _ = writeln!(text, "{}", format!("{name:<19} {size:>8}  {count} {by}").trim_end());
    }
    shell.put(text.as_bytes());
    0
}

fn dmesg(shell: &mut Shell, _: &[Vec<u8>]) -> u8 {
    let m = &shell.world.machine;
    let version = shell.files.read("/proc/version", 0, 4_096).unwrap_or_default();
    let line = String::from_utf8_lossy(&version).trim_end().to_owned();
    let text = format!(
        "[    0.000000] {line}\n[    0.000000] Command line: {}\n[    0.004211] Memory: {}K/{}K available\n[    0.031190] smpboot: Allowing {} CPUs, 0 hotplug CPUs\n[    0.318722] Mount-cache hash table entries: 2048\n[    1.204417] {}: mounted filesystem\n[    2.871903] {} link up",
        String::from_utf8_lossy(&shell.files.read("/proc/cmdline", 0, 4_096).unwrap_or_default())
            .trim_end(),
        m.memory_kib - 21_000.min(m.memory_kib / 9),
        m.memory_kib,
        m.cores,
        m.disks.first().map_or("", |d| d.device.as_str()),
        m.interface
    );
    shell.say(&text);
    0
}

fn date_command(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    let options = Options::new(words, "dsrI");
    let now = shell.files.now;
    let format = options.rest.iter().find_map(|word| word.strip_prefix('+'));
    let text = match format {
        Some(format) => {
            let known = "YmdHMSsjyaAbBeTDFRuwZzpIlkcxXhnt%N";
            // What the formatter does not know stays as it is.
            let safe: bool = format
                .split('%')
                .skip(1)
                .all(|part| part.chars().next().is_none_or(|c| known.contains(c)));
            let format = format
                .replace("%N", "482113907")
                .replace("%Z", "UTC")
                .replace("%n", "\n")
                .replace("%t", "\t");
            if safe { date(now, &format) } else { format }
        }
        None if options.has('I') => date(now, "%Y-%m-%d"),
        None if options.has('R') => date(now, "%a, %d %b %Y %H:%M:%S +0000"),
        None if shell.gnu() => date(now, "%a %b %e %H:%M:%S UTC %Y"),
        None => date(now, "%a %b %e %H:%M:%S UTC %Y"),
    };
    shell.say(&text);
    0
}

fn sleep(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    let text = words.first().map(|w| String::from_utf8_lossy(w).into_owned()).unwrap_or_default();
    let (digits, factor) = match text.strip_suffix(['s', 'm', 'h', 'd']) {
        Some(digits) => (
            digits,
            match text.chars().last() {
                Some('m') => 60.0,
                Some('h') => 3_600.0,
                Some('d') => 86_400.0,
                _ => 1.0,
            },
        ),
        None => (text.as_str(), 1.0),
    };
    match digits.parse::<f64>() {
        Ok(seconds) if seconds.is_finite() && seconds >= 0.0 => {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded")]
            let millis = (seconds * factor * 1_000.0).min(86_400_000.0) as u64;
            shell.budget.sleep(millis);
            shell.files.now += i64::try_from(millis / 1_000).unwrap_or(0);
            0
        }
        _ if text.is_empty() => shell.fails("sleep", "missing operand"),
        _ => shell.fails("sleep", &format!("invalid time interval '{text}'")),
    }
}

fn env(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    if let Some(name) = words.first().filter(|w| !w.starts_with(b"-")) {
        return match shell.variable(name) {
            Some(value) => {
                shell.put(&[value.as_slice(), b"\n"].concat());
                0
            }
            None => 1,
        };
    }
    let mut text = Vec::new();
    for (name, variable) in &shell.variables {
        if variable.exported {
            text.extend(
                [
                    name.as_slice(),
                    b"=",
                    variable.items.first().map_or(&b""[..], Vec::as_slice),
                    b"\n",
                ]
                .concat(),
            );
        }
    }
    text.extend_from_slice(format!("PWD={}\n_=/usr/bin/env\n", shell.cwd).as_bytes());
    shell.put(&text);
    0
}

fn lsb_release(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    let (id, release, code) = match shell.world.machine.system {
        System::Ubuntu => ("Ubuntu", "22.04", "jammy"),
        _ => ("Debian", "12", "bookworm"),
    };
    let pretty = shell.world.machine.pretty.clone();
    let options = Options::new(words, "");
    let all = options.has('a');
    let short = options.has('s');
    shell.err(b"No LSB modules are available.\n");
    for (letter, name, value) in [
        ('i', "Distributor ID", id),
        ('d', "Description", pretty.as_str()),
        ('r', "Release", release),
        ('c', "Codename", code),
    ] {
        if all || options.has(letter) {
            shell.say(&if short { value.to_owned() } else { format!("{name}:\t{value}") });
        }
    }
    0
}

fn getconf(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    let cores = shell.world.machine.cores.to_string();
    let text = match words.first().map(Vec::as_slice) {
        Some(b"LONG_BIT") => "64",
        Some(b"_NPROCESSORS_ONLN" | b"_NPROCESSORS_CONF") => &cores,
        Some(b"PAGESIZE" | b"PAGE_SIZE") => "4096",
        Some(b"CLK_TCK") => "100",
        _ => return 1,
    };
    shell.say(text);
    0
}

fn sysctl(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    let options = Options::new(words, "p");
    let mut status = 0;
    for word in &options.rest {
        if let Some((name, value)) = word.split_once('=') {
            shell.say(&format!("{} = {}", name.trim(), value.trim()));
            continue;
        }
        let path = format!("/proc/sys/{}", word.replace('.', "/"));
        match shell.files.read(&path, 0, 4_096) {
            Ok(bytes) => {
                let value = String::from_utf8_lossy(&bytes).trim_end().to_owned();
                shell.say(&if options.has('n') { value } else { format!("{word} = {value}") });
            }
            Err(_) => {
                shell.err(
                    format!("sysctl: cannot stat {path}: No such file or directory\n").as_bytes(),
                );
                status = 1;
            }
        }
    }
    status
}

fn dmidecode(shell: &mut Shell, _: &[Vec<u8>]) -> u8 {
    let m = &shell.world.machine;
    let text = format!(
        "# dmidecode 3.4\nGetting SMBIOS data from sysfs.\nSMBIOS 2.8 present.\n\nHandle 0x0100, DMI type 1, 27 bytes\nSystem Information\n\tManufacturer: QEMU\n\tProduct Name: Standard PC (i440FX + PIIX, 1996)\n\tUUID: {}\n",
        m.uuid
    );
    shell.say(&text);
    0
}
