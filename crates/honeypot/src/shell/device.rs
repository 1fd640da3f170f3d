//! What is on the device: its directories and the files that attacks read.

use crate::Persona;

/// The applets of this BusyBox. Those that load files are missing: a loader
/// then sends its file through the shell, where it is recorded.
pub(super) const APPLETS: &[&str] = &[
    "ash", "cat", "chmod", "cp", "dd", "df", "echo", "false", "free", "grep", "head", "hostname",
    "id", "ifconfig", "kill", "killall", "ls", "mkdir", "mount", "mv", "nproc", "ps", "pwd",
    "reboot", "rm", "sh", "sleep", "sync", "tail", "touch", "true", "uname", "wc", "whoami",
];

/// The names in a directory, or `None` where there is no such directory.
pub(super) fn entries(path: &str) -> Option<&'static [&'static str]> {
    Some(match path {
        "/" => &[
            "bin", "dev", "etc", "home", "lib", "mnt", "proc", "root", "sbin", "sys", "tmp", "usr",
            "var",
        ],
        "/bin" => &[
            "ash", "busybox", "cat", "chmod", "cp", "dd", "df", "echo", "false", "grep",
            "hostname", "kill", "ls", "mkdir", "mount", "mv", "ps", "pwd", "rm", "sh", "sleep",
            "sync", "touch", "true", "uname",
        ],
        "/dev" => &[
            "console", "mtd0", "mtd1", "null", "ptmx", "pts", "random", "shm", "tty", "ttyS0",
            "urandom", "zero",
        ],
        "/etc" => {
            &["fstab", "group", "hostname", "init.d", "inittab", "passwd", "profile", "resolv.conf"]
        }
        "/etc/init.d" => &["S01config", "S40network", "rcS"],
        "/lib" => &["ld-uClibc.so.0", "libc.so.0", "libpthread.so.0"],
        "/mnt" => &["mtd"],
        "/proc" => &["1", "cpuinfo", "loadavg", "meminfo", "mounts", "self", "version"],
        "/sbin" => &["ifconfig", "init", "reboot"],
        "/usr" => &["bin", "sbin"],
        "/usr/bin" => &["free", "head", "id", "killall", "nproc", "tail", "wc", "whoami"],
        "/usr/sbin" => &["telnetd"],
        "/var" => &["lock", "log", "run", "tmp"],
        "/var/log" => &["messages"],
        "/var/run" => &["telnetd.pid"],
        "/dev/pts" => &["0", "ptmx"],
        "/dev/shm" | "/home" | "/mnt/mtd" | "/root" | "/sys" | "/tmp" | "/var/lock"
        | "/var/tmp" | "/proc/1" | "/proc/self" => &[],
        _ => return None,
    })
}

/// The contents of a file of the device.
pub(super) fn file(persona: &Persona, path: &str) -> Option<Vec<u8>> {
    let (directory, name) = path.rsplit_once('/')?;
    if matches!(directory, "/bin" | "/sbin" | "/usr/bin" | "/usr/sbin" | "/lib") {
        return entries(directory)?.contains(&name).then(|| elf(persona));
    }
    Some(match path {
        "/proc/mounts" | "/etc/mtab" => MOUNTS.as_bytes().to_vec(),
        "/proc/cpuinfo" => cpuinfo(persona),
        "/proc/meminfo" => meminfo(persona),
        "/proc/version" => format!(
            "Linux version {} (root@build) (gcc version 4.8.3 (Buildroot 2014.11)) {}\n",
            persona.kernel,
            persona.build()
        )
        .into_bytes(),
        "/proc/loadavg" => b"0.08 0.11 0.09 1/61 845\n".to_vec(),
        "/etc/passwd" => PASSWD.to_vec(),
        "/etc/group" => b"root:x:0:\nnogroup:x:65534:\n".to_vec(),
        "/etc/hostname" => format!("{}\n", persona.hostname).into_bytes(),
        "/etc/resolv.conf" => b"nameserver 192.168.1.1\n".to_vec(),
        "/etc/inittab" => {
            b"::sysinit:/etc/init.d/rcS\n::respawn:/sbin/getty -L ttyS0 115200 vt100\n".to_vec()
        }
        "/var/run/telnetd.pid" => b"411\n".to_vec(),
        "/var/log/messages" | "/etc/fstab" | "/etc/profile" => Vec::new(),
        // Devices give nothing: they are not there to be read.
        _ if matches!(directory, "/dev" | "/dev/pts") && entries(directory)?.contains(&name) => {
            Vec::new()
        }
        _ if directory == "/etc/init.d" && entries(directory)?.contains(&name) => {
            b"#!/bin/sh\n".to_vec()
        }
        _ => return None,
    })
}

pub(super) const MOUNTS: &str = "rootfs / rootfs rw 0 0\n\
    /dev/root / jffs2 rw,relatime 0 0\n\
    proc /proc proc rw,relatime 0 0\n\
    sysfs /sys sysfs rw,relatime 0 0\n\
    tmpfs /dev tmpfs rw,relatime,size=64k,mode=755 0 0\n\
    devpts /dev/pts devpts rw,relatime,mode=600,ptmxmode=000 0 0\n\
    tmpfs /tmp tmpfs rw,relatime 0 0\n\
    tmpfs /var tmpfs rw,relatime 0 0\n\
    /dev/mtdblock3 /mnt/mtd jffs2 rw,relatime 0 0\n";

const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/sh\n\
    nobody:x:65534:65534:nobody:/var:/bin/false\n";

fn cpuinfo(persona: &Persona) -> Vec<u8> {
    let (model, whole, part) = (persona.cpu.model, persona.bogomips / 100, persona.bogomips % 100);
    if persona.cpu.machine == "mips" {
        format!(
            "system type\t\t: {}\nmachine\t\t\t: {}\nprocessor\t\t: 0\ncpu model\t\t: {model}\n\
             BogoMIPS\t\t: {whole}.{part:02}\nwait instruction\t: yes\n\n",
            persona.product, persona.model
        )
    } else {
        format!(
            "processor\t: 0\nmodel name\t: {model}\nBogoMIPS\t: {whole}.{part:02}\n\
             Features\t: swp half thumb fastmult edsp\n\nHardware\t: {}\nRevision\t: 0000\n\
             Serial\t\t: 0000000000000000\n",
            persona.model
        )
    }
    .into_bytes()
}

fn meminfo(persona: &Persona) -> Vec<u8> {
    let (total, free) = (persona.memory_kib, persona.memory_kib - persona.used_kib);
    format!(
        "MemTotal:       {total:8} kB\nMemFree:        {free:8} kB\nBuffers:            1120 kB\n\
             Cached:             6212 kB\n"
    )
    .into_bytes()
}

/// The beginning of a program of this processor (System V ABI): what loaders
/// read to choose their file.
fn elf(persona: &Persona) -> Vec<u8> {
    let cpu = persona.cpu;
    let half = |value: u16| if cpu.big_endian { value.to_be_bytes() } else { value.to_le_bytes() };
    let word = |value: u32| if cpu.big_endian { value.to_be_bytes() } else { value.to_le_bytes() };
    let mut bytes = vec![0x7f, b'E', b'L', b'F', 1, if cpu.big_endian { 2 } else { 1 }, 1];
    bytes.resize(16, 0);
    bytes.extend(half(2));
    bytes.extend(half(u16::from(cpu.elf_machine)));
    // Version, entry point, program headers, section headers, flags.
    let flags = if cpu.elf_machine == 8 { 0x7000_1007 } else { 0x0500_0002 };
    for value in [1, 0x8000 + (persona.memory_kib & 0xff0), 52, 0x4_1000, flags] {
        bytes.extend(word(value));
    }
    for value in [52, 32, 3, 40, 24, 23] {
        bytes.extend(half(value));
    }
    bytes
}
