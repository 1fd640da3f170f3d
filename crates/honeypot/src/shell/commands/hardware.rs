//! Processors, buses, the kernel's messages.

use std::fmt::Write as _;

use crate::shell::Shell;

pub(super) fn lscpu(shell: &mut Shell, _: &[Vec<u8>]) -> u8 {
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

pub(super) fn lspci(shell: &mut Shell, _: &[Vec<u8>]) -> u8 {
    shell.put(b"00:00.0 Host bridge: Intel Corporation 440FX - 82441FX PMC [Natoma] (rev 02)\n00:01.0 ISA bridge: Intel Corporation 82371SB PIIX3 ISA [Natoma/Triton II]\n00:01.1 IDE interface: Intel Corporation 82371SB PIIX3 IDE [Natoma/Triton II]\n00:02.0 VGA compatible controller: Device 1234:1111 (rev 02)\n00:03.0 Ethernet controller: Red Hat, Inc. Virtio network device\n00:05.0 SCSI storage controller: Red Hat, Inc. Virtio SCSI\n");
    0
}

pub(super) fn lsmod(shell: &mut Shell, _: &[Vec<u8>]) -> u8 {
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

pub(super) fn dmesg(shell: &mut Shell, _: &[Vec<u8>]) -> u8 {
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

pub(super) fn dmidecode(shell: &mut Shell, _: &[Vec<u8>]) -> u8 {
    let m = &shell.world.machine;
    let text = format!(
        "# dmidecode 3.4\nGetting SMBIOS data from sysfs.\nSMBIOS 2.8 present.\n\nHandle 0x0100, DMI type 1, 27 bytes\nSystem Information\n\tManufacturer: QEMU\n\tProduct Name: Standard PC (i440FX + PIIX, 1996)\n\tUUID: {}\n",
        m.uuid
    );
    shell.say(&text);
    0
}
