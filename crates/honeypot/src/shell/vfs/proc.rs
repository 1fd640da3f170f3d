//! /proc: made when it is read, from the machine's facts and the time.

use std::fmt::Write as _;

use crate::persona::{Draw, Machine, Process, System, hash};

/// Where the attacker sits: the processes of the login and its shell.
#[derive(Clone, Debug)]
pub(crate) struct Seat {
    /// Process id of the login's shell.
    pub(crate) pid: u32,
    /// `/proc/PID` of it.
    pub(crate) directory: String,
    /// The program of the shell.
    pub(crate) program: String,
    /// Its command line, such as `-bash`.
    pub(crate) shell: String,
    /// Process id and command of the daemon that serves the login.
    pub(crate) daemon: Option<(u32, String)>,
    pub(crate) user: String,
    pub(crate) uid: u32,
    pub(crate) home: String,
    /// Where the client is, as `w` shows it.
    pub(crate) address: String,
    pub(crate) port: u16,
    /// `pts/0`, or none.
    pub(crate) tty: Option<String>,
    pub(crate) since: i64,
}

/// All processes, with those of the login.
pub(crate) fn processes(machine: &Machine, seat: &Seat, now: i64) -> Vec<Process> {
    let mut all = machine.processes.clone();
    let started = seat.since - machine.booted(now);
    let tty = seat.tty.clone().unwrap_or_else(|| "?".to_owned());
    let busybox = machine.system == System::BusyBox;
    let mut parent = 1;
    if let Some((pid, command)) = &seat.daemon {
        all.push(Process {
            pid: *pid,
            parent: 1,
            user: "root".to_owned(),
            vsz: 17_924,
            rss: 10_988,
            tty: "?".to_owned(),
            state: "Ss".to_owned(),
            started,
            busy: 0,
            command: command.clone(),
        });
        parent = *pid;
    }
    all.push(Process {
        pid: seat.pid,
        parent,
        user: seat.user.clone(),
        vsz: if busybox { 1_244 } else { 8_196 },
        rss: if busybox { 424 } else { 4_864 },
        tty,
        state: if busybox { "S" } else { "Ss" }.to_owned(),
        started,
        busy: 0,
        command: seat.shell.clone(),
    });
    all
}

/// Processor seconds a process has used.
pub(crate) fn cpu_seconds(process: &Process, up: i64) -> i64 {
    (up - process.started).max(0) * i64::from(process.busy) / 86_400
}

/// The text of a file under /proc.
pub(super) fn read(machine: &Machine, seat: &Seat, path: &str, now: i64) -> Vec<u8> {
    let name = path.strip_prefix("/proc/").unwrap_or_default();
    let (first, rest) = name.split_once('/').unwrap_or((name, ""));
    if let Ok(pid) = first.parse::<u32>() {
        return of_process(machine, seat, pid, rest, now);
    }
    match name {
        "cpuinfo" => cpuinfo(machine),
        "meminfo" => meminfo(machine, now),
        "mounts" => mounts(machine),
        "version" => version(machine),
        "uptime" => {
            let up = machine.uptime(now);
            let part = hash(&now.to_le_bytes()) % 100;
            format!("{up}.{part:02} {}.{:02}\n", up * i64::from(machine.cores) * 97 / 100, part / 2)
        }
        "loadavg" => {
            let [one, five, fifteen] = machine.load(now);
            let count = machine.processes.len() + 24;
            format!("{one:.2} {five:.2} {fifteen:.2} 1/{count} {}\n", seat.pid + 11)
        }
        "stat" => stat(machine, now),
        "cmdline" if machine.system == System::BusyBox => {
            "console=ttyS0,115200 root=/dev/mtdblock2 rootfstype=jffs2 mem=".to_owned()
                + &format!("{}M\n", machine.memory_kib.next_power_of_two() / 1_024)
        }
        "cmdline" => {
            format!("BOOT_IMAGE=/boot/vmlinuz-{} root=UUID={} ro quiet\n", machine.kernel, machine.uuid)
        }
        "filesystems" if machine.system == System::BusyBox => {
            "nodev\tsysfs\nnodev\trootfs\nnodev\tproc\nnodev\ttmpfs\nnodev\tdevpts\n\tsquashfs\nnodev\tjffs2\n".to_owned()
        }
        "filesystems" => "nodev\tsysfs\nnodev\ttmpfs\nnodev\tproc\nnodev\tcgroup2\nnodev\tdevtmpfs\nnodev\tdevpts\n\text3\n\text2\n\text4\n".to_owned(),
        "partitions" => partitions(machine),
        "devices" => "Character devices:\n  1 mem\n  4 tty\n  5 /dev/tty\n  5 /dev/console\n  5 /dev/ptmx\n136 pts\n\nBlock devices:\n  8 sd\n".to_owned(),
        "modules" => modules(machine),
        "swaps" => {
            let mut text = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n".to_owned();
            if machine.swap_kib > 0 {
                let memory = machine.memory(now);
                let used = memory.swap_total - memory.swap_free;
                let _ = writeln!(text, "/swapfile                               file\t\t{}\t\t{used}\t\t-2", machine.swap_kib);
            }
            text
        }
        "interrupts" => {
            let up = machine.uptime(now);
            format!("           CPU0       \n  0:  {:>9}   IO-APIC   2-edge      timer\n  8:          0   IO-APIC   8-edge      rtc0\n", up * 11)
        }
        "net/dev" => net_dev(machine, now),
        "net/tcp" => "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   0: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 14812 1 0000000000000000 100 0 0 10 0\n".to_owned(),
        "net/route" => {
            let gateway = u32::from(machine.gateway).swap_bytes();
            let network = (u32::from(machine.address) & 0xffff_ff00).swap_bytes();
            let name = machine.interface;
            format!("Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n{name}\t00000000\t{gateway:08X}\t0003\t0\t0\t0\t00000000\t0\t0\t0\n{name}\t{network:08X}\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n")
        }
        "net/arp" => {
            let mut draw = Draw(machine.seed ^ 9);
            format!("IP address       HW type     Flags       HW address            Mask     Device\n{:<16} 0x1         0x2         00:1c:73:{:02x}:{:02x}:{:02x}     *        {}\n", machine.gateway.to_string(), draw.below(256), draw.below(256), draw.below(256), machine.interface)
        }
        "diskstats" => "   8       0 sda 48211 9812 2918422 21034 98122 71204 4817226 88123 0 61204 109157\n".to_owned(),
        "sys/kernel/hostname" => format!("{}\n", machine.hostname),
        "sys/kernel/osrelease" => format!("{}\n", machine.kernel),
        "sys/kernel/ostype" => "Linux\n".to_owned(),
        "sys/kernel/random/boot_id" => {
            let boot = machine.booted(now).unsigned_abs();
            format!("{}\n", Draw(machine.seed ^ boot).uuid())
        }
        "sys/kernel/random/uuid" => format!("{}\n", Draw(machine.seed ^ now.unsigned_abs()).uuid()),
        "sys/kernel/pid_max" => if machine.system == System::BusyBox { "32768\n" } else { "4194304\n" }.to_owned(),
        "sys/net/ipv4/ip_forward" => if machine.system == System::BusyBox { "1\n" } else { "0\n" }.to_owned(),
        "sys/vm/nr_hugepages" => "0\n".to_owned(),
        _ => String::new(),
    }
    .into_bytes()
}

fn of_process(machine: &Machine, seat: &Seat, pid: u32, name: &str, now: i64) -> Vec<u8> {
    let all = processes(machine, seat, now);
    let Some(process) = all.iter().find(|process| process.pid == pid) else { return Vec::new() };
    let thread = process.command.starts_with('[');
    let first = process.command.split_whitespace().next().unwrap_or_default();
    let base = first.rsplit('/').next().unwrap_or(first);
    let comm: String = base.trim_matches(['[', ']', ':', '-']).chars().take(15).collect();
    match name {
        "cmdline" if thread => Vec::new(),
        "cmdline" => {
            let mut text = process.command.replace(' ', "\0").into_bytes();
            text.push(0);
            text
        }
        "comm" => format!("{comm}\n").into_bytes(),
        "environ" if pid == seat.pid => {
            format!("USER={0}\0HOME={1}\0SHELL={2}\0TERM=linux\0", seat.user, seat.home, seat.program).into_bytes()
        }
        "status" => {
            let uid = if process.user == "root" { 0 } else { seat.uid };
            let state = if process.state.starts_with('I') { "I (idle)" } else { "S (sleeping)" };
            let mut text = format!(
                "Name:\t{comm}\nUmask:\t0022\nState:\t{state}\nTgid:\t{pid}\nNgid:\t0\nPid:\t{pid}\nPPid:\t{}\nTracerPid:\t0\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\nGid:\t{uid}\t{uid}\t{uid}\t{uid}\nFDSize:\t64\n",
                process.parent
            );
            if !thread {
                let _ = write!(text, "VmPeak:\t{:8} kB\nVmSize:\t{:8} kB\nVmRSS:\t{:8} kB\n", process.vsz, process.vsz, process.rss);
            }
            text.push_str("Threads:\t1\n");
            text.into_bytes()
        }
        "stat" => format!(
            "{pid} ({comm}) S {} {pid} {pid} 0 -1 4194560 1204 0 0 0 {} 2 0 0 20 0 1 0 {} {} {} 18446744073709551615\n",
            process.parent,
            cpu_seconds(process, machine.uptime(now)) * 100,
            process.started * 100,
            u64::from(process.vsz) * 1_024,
            process.rss / 4
        )
        .into_bytes(),
        "mounts" => mounts(machine).into_bytes(),
        "cgroup" if machine.system != System::BusyBox && pid == 1 => b"0::/init.scope\n".to_vec(),
        "cgroup" if machine.system != System::BusyBox => {
            b"0::/user.slice/user-0.slice/session-c1.scope\n".to_vec()
        }
        _ => Vec::new(),
    }
}

/// /proc/mounts.
pub(crate) fn mounts(machine: &Machine) -> String {
    machine.disks.iter().fold(String::new(), |mut text, disk| {
        let _ = writeln!(text, "{} {} {} {} 0 0", disk.device, disk.mount, disk.kind, disk.options);
        text
    })
}

fn version(machine: &Machine) -> String {
    let by = match machine.system {
        System::Debian => {
            "(debian-kernel@lists.debian.org) (gcc-12 (Debian 12.2.0-14) 12.2.0, GNU ld (GNU Binutils for Debian) 2.40)"
        }
        System::Ubuntu => {
            "(buildd@lcy02-amd64-059) (gcc (Ubuntu 11.4.0-1ubuntu1~22.04) 11.4.0, GNU ld (GNU Binutils for Ubuntu) 2.38)"
        }
        System::BusyBox => "(root@build) (gcc version 4.8.3 (Buildroot 2014.11))",
    };
    format!("Linux version {} {by} {}\n", machine.kernel, machine.build)
}

fn cpuinfo(machine: &Machine) -> String {
    let (cpu, bogomips) = (&machine.cpu, machine.bogomips);
    let (whole, part) = (bogomips / 100, bogomips % 100);
    match machine.arch {
        "x86_64" => (0..machine.cores).fold(String::new(), |mut text, core| {
            let mhz = f64::from(cpu.mhz) + f64::from(u32::try_from(machine.seed % 999).unwrap_or(0)) / 1000.0;
            let _ = write!(
                text,
                "processor\t: {core}\nvendor_id\t: {}\ncpu family\t: {}\nmodel\t\t: {}\nmodel name\t: {}\nstepping\t: {}\nmicrocode\t: 0x1\ncpu MHz\t\t: {mhz:.3}\ncache size\t: {} KB\nphysical id\t: 0\nsiblings\t: {}\ncore id\t\t: {core}\ncpu cores\t: {}\napicid\t\t: {core}\ninitial apicid\t: {core}\nfpu\t\t: yes\nfpu_exception\t: yes\ncpuid level\t: 13\nwp\t\t: yes\nflags\t\t: {}\nbugs\t\t: spectre_v1 spectre_v2 spec_store_bypass\nbogomips\t: {whole}.{part:02}\nclflush size\t: 64\ncache_alignment\t: 64\naddress sizes\t: 40 bits physical, 48 bits virtual\npower management:\n\n",
                cpu.vendor, cpu.family, cpu.model, cpu.name, cpu.stepping, cpu.cache_kb, machine.cores, machine.cores, cpu.flags
            );
            text
        }),
        "mips" => format!(
            "system type\t\t: {}\nmachine\t\t\t: {}\nprocessor\t\t: 0\ncpu model\t\t: {}\nBogoMIPS\t\t: {whole}.{part:02}\nwait instruction\t: yes\nmicrosecond timers\t: yes\ntlb_entries\t\t: 32\nextra interrupt vector\t: yes\nASEs implemented\t: mips16 dsp\n\n",
            machine.pretty, machine.product, cpu.name
        ),
        _ => format!(
            "processor\t: 0\nmodel name\t: {}\nBogoMIPS\t: {whole}.{part:02}\nFeatures\t: swp half thumb fastmult edsp\n\nHardware\t: {}\nRevision\t: 0000\nSerial\t\t: 0000000000000000\n",
            cpu.name, machine.product
        ),
    }
}

fn meminfo(machine: &Machine, now: i64) -> String {
    let memory = machine.memory(now);
    let mut text = String::new();
    let mut line = |name: &str, kib: u64| {
        let _ = writeln!(text, "{:<15} {kib:8} kB", format!("{name}:"));
    };
    line("MemTotal", memory.total);
    line("MemFree", memory.free);
    if machine.system != System::BusyBox {
        line("MemAvailable", memory.available);
    }
    line("Buffers", memory.buffers);
    line("Cached", memory.cached);
    line("SwapCached", 0);
    line("Active", memory.cached / 2 + memory.used() / 3);
    line("Inactive", memory.cached / 2);
    line("SwapTotal", memory.swap_total);
    line("SwapFree", memory.swap_free);
    line("Dirty", 36);
    line("Writeback", 0);
    line("AnonPages", memory.used() / 2);
    line("Mapped", memory.cached / 3);
    line("Shmem", memory.shared);
    line("Slab", memory.total / 40);
    line("PageTables", memory.total / 600);
    line("CommitLimit", memory.total / 2 + memory.swap_total);
    line("Committed_AS", memory.used() * 3 / 2);
    text
}

fn stat(machine: &Machine, now: i64) -> String {
    let up = machine.uptime(now);
    let mut text = String::new();
    let mut line = |name: &str, share: i64| {
        let (user, system) = (up * share / 2, up * share / 5);
        let idle = up * share * 97;
        let _ = writeln!(text, "{name} {user} 12 {system} {idle} {} 0 {} 0 0 0", up / 9, up / 40);
    };
    line("cpu ", i64::from(machine.cores));
    for core in 0..machine.cores {
        line(&format!("cpu{core}"), 1);
    }
    let _ = write!(
        text,
        "intr {} 0 9 0 0\nctxt {}\nbtime {}\nprocesses {}\nprocs_running 1\nprocs_blocked 0\n",
        up * 61,
        up * 113,
        machine.booted(now),
        1_200 + up / 17
    );
    text
}

fn partitions(machine: &Machine) -> String {
    let mut text = "major minor  #blocks  name\n\n".to_owned();
    if machine.system == System::BusyBox {
        for (minor, kib) in [(0, 256), (1, 1_536), (2, 7_168), (3, 1_024)] {
            let _ = writeln!(text, "  31        {minor}       {kib:5} mtdblock{minor}");
        }
    } else if let Some(root) = machine.disks.first() {
        let whole = root.device.trim_start_matches("/dev/").trim_end_matches('1');
        let size = whole_disk_kib(machine);
        let _ = writeln!(
            text,
            "   8        0 {size:10} {whole}\n   8        1 {:10} {whole}1",
            size - 131_072
        );
    }
    text
}

/// The size of the disk with the root file system.
pub(crate) fn whole_disk_kib(machine: &Machine) -> u64 {
    let root = machine.disks.first().map_or(0, |disk| disk.size_kib);
    // The file system's own part is not in the size that df shows.
    ((root + 127_000) * 100 / 98).next_multiple_of(1_048_576)
}

fn modules(machine: &Machine) -> String {
    let names: &[(&str, u32, &str)] = if machine.system == System::BusyBox {
        &[("nf_conntrack", 48_112, "-"), ("usbcore", 121_200, "-")]
    } else {
        &[
            ("nf_tables", 303_104, "-"),
            ("virtio_net", 73_728, "-"),
            ("net_failover", 24_576, "virtio_net,"),
            ("failover", 16_384, "net_failover,"),
            ("virtio_balloon", 28_672, "-"),
            ("sg", 40_960, "-"),
            ("ext4", 983_040, "-"),
            ("jbd2", 167_936, "ext4,"),
            ("crc16", 16_384, "ext4,"),
            ("sd_mod", 65_536, "-"),
            ("virtio_scsi", 24_576, "-"),
        ]
    };
    names.iter().fold(String::new(), |mut text, (name, size, by)| {
        let _ =
            writeln!(text, "{name} {size} {} {by} Live 0x0000000000000000", u32::from(*by != "-"));
        text
    })
}

fn net_dev(machine: &Machine, now: i64) -> String {
    let (rx, tx) = machine.traffic(now);
    let mut text = "Inter-|   Receive                                                |  Transmit\n face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n".to_owned();
    for (name, rx, tx) in [("lo", tx / 90, tx / 90), (machine.interface, rx, tx)] {
        let _ = writeln!(
            text,
            "{name:>6}: {rx:7} {:7}    0    0    0     0          0         0 {tx:8} {:7}    0    0    0     0       0          0",
            rx / 290,
            tx / 310
        );
    }
    text
}
