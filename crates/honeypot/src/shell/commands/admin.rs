//! Services, packages and power: what an administrator's commands say.

use super::list::date;
use super::{Options, Run};
use crate::shell::Shell;

pub(super) fn find(name: &str) -> Option<Run> {
    Some(match name {
        "systemctl" => systemctl,
        "service" | "invoke-rc.d" => service,
        "journalctl" | "logread" => |_, _| 0,
        "apt" | "apt-get" | "aptitude" => apt,
        "dpkg" | "dpkg-query" => dpkg,
        "snap" | "pip" | "pip3" | "npm" => |shell, _| shell.fails("pip", "network is unreachable"),
        "insmod" | "modprobe" | "rmmod" | "depmod" => {
            |shell, words| {
                let name = Options::new(words, "").rest.first().cloned().unwrap_or_default();
                let kernel = shell.world.machine.kernel.clone();
                shell.err(format!("modprobe: FATAL: Module {name} not found in directory /lib/modules/{kernel}\n").as_bytes());
                1
            }
        }
        "reboot" | "halt" | "poweroff" | "shutdown" | "init" | "telinit" => |_, _| 0,
        "update-rc.d" | "logger" | "run-parts" | "ldconfig" | "setenforce" | "swapon"
        | "swapoff" | "mkswap" | "wall" | "mesg" | "hwclock" | "logrotate"
        | "start-stop-daemon" | "devmem" | "watchdog" | "telnetd" | "httpd" | "crond"
        | "syslogd" | "klogd" | "nginx" | "rsyslogd" | "sshd" | "cron" | "nologin" => |_, _| 0,
        "nano" | "vi" | "vim" | "vim.tiny" | "view" => |_, _| 0,
        "screen" | "tmux" | "script" | "byobu" => |_, _| 0,
        "man" => |shell, words| {
            let name =
                words.first().map(|w| String::from_utf8_lossy(w).into_owned()).unwrap_or_default();
            shell.err(format!("No manual entry for {name}\n").as_bytes());
            16
        },
        "openssl" => |shell, words| {
            if words.first().is_some_and(|w| w == b"version") {
                shell.say("OpenSSL 3.0.13 30 Jan 2024 (Library: OpenSSL 3.0.13 30 Jan 2024)");
            } else {
                shell.read_all();
            }
            0
        },
        "ldd" => |shell, words| {
            if words.iter().any(|w| w == b"--version") {
                shell.say("ldd (Debian GLIBC 2.36-9+deb12u4) 2.36");
            } else {
                shell.say("\tlinux-vdso.so.1 (0x00007ffd4a3f2000)\n\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f1c2a800000)\n\t/lib64/ld-linux-x86-64.so.2 (0x00007f1c2aa2f000)");
            }
            0
        },
        "chroot" | "unshare" | "nsenter" | "flock" => |_, _| 0,
        _ => return None,
    })
}

const UNITS: [(&str, &str); 6] = [
    ("cron.service", "Regular background program processing daemon"),
    ("dbus.service", "D-Bus System Message Bus"),
    ("nginx.service", "A high performance web server and a reverse proxy server"),
    ("rsyslog.service", "System Logging Service"),
    ("ssh.service", "OpenBSD Secure Shell server"),
    ("systemd-logind.service", "User Login Management"),
];

fn systemctl(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    let rest = Options::new(words, "tp").rest;
    let verb = rest.first().map_or("list-units", String::as_str).to_owned();
    let unit = rest.get(1).cloned().unwrap_or_default();
    let full = if unit.contains('.') { unit.clone() } else { format!("{unit}.service") };
    let full = if full == "sshd.service" { "ssh.service".to_owned() } else { full };
    let known = UNITS.iter().find(|(name, _)| *name == full);
    let own = shell.files.exists(&format!("/etc/systemd/system/{full}"));
    match verb.as_str() {
        "daemon-reload" | "daemon-reexec" | "reset-failed" => 0,
        "list-units" => {
            shell.say("  UNIT                     LOAD   ACTIVE SUB     DESCRIPTION");
            for (name, about) in UNITS {
                shell.say(&format!("  {name:<24} loaded active running {about}"));
            }
            0
        }
        "is-active" | "is-enabled" => {
            let (yes, no) =
                if verb == "is-active" { ("active", "inactive") } else { ("enabled", "disabled") };
            let there = known.is_some() || own;
            shell.say(if there { yes } else { no });
            if there { 0 } else { 3 }
        }
        "status" => match known {
            Some((name, about)) => {
                let machine = &shell.world.machine;
                let booted = machine.booted(shell.files.now) + 8;
                let stem = name.trim_end_matches(".service").trim_start_matches("systemd-");
                let pid = machine
                    .processes
                    .iter()
                    .find(|p| p.command.contains(stem))
                    .map_or(1, |p| p.pid);
                let text = format!(
                    "● {name} - {about}\n     Loaded: loaded (/lib/systemd/system/{name}; enabled; preset: enabled)\n     Active: active (running) since {}; {} days ago\n   Main PID: {pid} ({stem})\n",
                    date(booted, "%a %Y-%m-%d %H:%M:%S UTC"),
                    machine.uptime(shell.files.now) / 86_400
                );
                shell.put(text.as_bytes());
                0
            }
            None => {
                shell.err(format!("Unit {full} could not be found.\n").as_bytes());
                4
            }
        },
        "enable" if own => {
            shell.err(format!("Created symlink /etc/systemd/system/multi-user.target.wants/{full} → /etc/systemd/system/{full}.\n").as_bytes());
            0
        }
        "start" | "restart" | "reload" | "stop" | "enable" | "disable" | "mask" | "unmask" => {
            if known.is_some() || own {
                return 0;
            }
            let text = match verb.as_str() {
                "enable" | "disable" => {
                    format!("Failed to {verb} unit: Unit file {full} does not exist.\n")
                }
                _ => format!("Failed to {verb} {full}: Unit {full} not found.\n"),
            };
            shell.err(text.as_bytes());
            if verb == "enable" || verb == "disable" { 1 } else { 5 }
        }
        _ => {
            shell.err(format!("Unknown command verb {verb}.\n").as_bytes());
            1
        }
    }
}

fn service(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    let rest = Options::new(words, "").rest;
    let [unit, verb, ..] = rest.as_slice() else {
        shell.err(b"Usage: service < option > | --status-all | [ service_name [ command | --full-restart ] ]\n");
        return 1;
    };
    let words = [verb.clone().into_bytes(), unit.clone().into_bytes()];
    systemctl(shell, &words)
}

fn apt(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    let rest = Options::new(words, "ot").rest;
    let verb = rest.first().map_or("", String::as_str).to_owned();
    if shell.files.uid != 0 && verb != "list" {
        shell.err(b"E: Could not open lock file /var/lib/dpkg/lock-frontend - open (13: Permission denied)\nE: Unable to acquire the dpkg frontend lock (/var/lib/dpkg/lock-frontend), are you root?\n");
        return 100;
    }
    match verb.as_str() {
        "update" => {
            shell.budget.sleep(4_000);
            shell.put(b"Ign:1 http://deb.debian.org/debian bookworm InRelease\nErr:1 http://deb.debian.org/debian bookworm InRelease\n  Temporary failure resolving 'deb.debian.org'\nReading package lists... Done\nBuilding dependency tree... Done\nReading state information... Done\nAll packages are up to date.\nW: Failed to fetch http://deb.debian.org/debian/dists/bookworm/InRelease  Temporary failure resolving 'deb.debian.org'\nW: Some index files failed to download. They have been ignored, or old ones used instead.\n");
            0
        }
        "install" | "reinstall" => {
            shell.put(b"Reading package lists... Done\nBuilding dependency tree... Done\nReading state information... Done\n");
            let mut status = 0;
            for name in rest.iter().skip(1) {
                if shell.find_program(name).is_some() {
                    shell.say(&format!("{name} is already the newest version."));
                } else {
                    shell.err(format!("E: Unable to locate package {name}\n").as_bytes());
                    status = 100;
                }
            }
            status
        }
        "remove" | "purge" | "autoremove" | "upgrade" | "dist-upgrade" | "full-upgrade"
        | "clean" => {
            shell.put(b"Reading package lists... Done\nBuilding dependency tree... Done\nReading state information... Done\n0 upgraded, 0 newly installed, 0 to remove and 0 not upgraded.\n");
            0
        }
        _ => {
            shell.say("apt 2.6.1 (amd64)\nUsage: apt [options] command");
            0
        }
    }
}

fn dpkg(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    if words.iter().any(|w| w == b"--print-architecture") {
        shell.say("amd64");
    } else if words.iter().any(|w| w == b"-l" || w == b"--list") {
        shell.put(b"Desired=Unknown/Install/Remove/Purge/Hold\n| Status=Not/Inst/Conf-files/Unpacked/halF-conf/Half-inst/trig-aWait/Trig-pend\n|/ Err?=(none)/Reinst-required (Status,Err: uppercase=bad)\n||/ Name           Version             Architecture Description\n+++-==============-===================-============-=================================\nii  bash           5.2.15-2+b2         amd64        GNU Bourne Again SHell\nii  coreutils      9.1-1               amd64        GNU core utilities\nii  nginx          1.22.1-9            amd64        small, powerful, scalable web/proxy server\nii  openssh-server 1:9.2p1-2+deb12u3   amd64        secure shell (SSH) server\n");
    }
    0
}
