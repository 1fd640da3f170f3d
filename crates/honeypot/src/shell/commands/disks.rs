//! Disks and what is mounted.

use std::fmt::Write as _;

use super::Options;
use super::list::human;
use crate::shell::Shell;

pub(super) fn df(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
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

pub(super) fn mount(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
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

pub(super) fn lsblk(shell: &mut Shell, _: &[Vec<u8>]) -> u8 {
    let (name, size, part) = disk_name(shell);
    let text = format!(
        "NAME   MAJ:MIN RM  SIZE RO TYPE MOUNTPOINTS\n{name:<6}   8:0    0 {:>4}  0 disk \n└─{name}1   8:1    0 {:>4}  0 part /",
        human(size * 1024),
        human(part * 1024)
    );
    shell.say(&text);
    0
}

pub(super) fn fdisk(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
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
