//! Commands that show the machine: all from the same facts.

use std::fmt::Write as _;

use super::disks::{df, fdisk, lsblk, mount};
use super::hardware::{dmesg, dmidecode, lscpu, lsmod, lspci};
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
