//! Mounted file systems: of the kernel where it runs, else as `fstab` asks for them.

use super::root::{Root, Unseen};

/// Most mounts that are read.
pub(crate) const MAX_MOUNTS: usize = 4_096;

/// A mounted file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mount {
    pub(crate) device: String,
    /// Where it is mounted.
    pub(crate) path: String,
    pub(crate) kind: String,
    pub(crate) options: Vec<String>,
}

impl Mount {
    pub(crate) fn has(&self, option: &str) -> bool {
        self.options.iter().any(|own| own == option)
    }
}

/// What is mounted on the machine, in the order of mounting: of one path the last one
/// counts.
///
/// # Errors
/// Neither the kernel's list nor `fstab` can be read, or `fstab` says nothing. A
/// service may have mounts of its own, so the list of the first process is asked for;
/// others than root may not read it.
pub(crate) fn read(root: &Root) -> Result<Vec<Mount>, Unseen> {
    if root.is_running() {
        return match root.read("/proc/1/mountinfo") {
            Ok(text) => Ok(parse(&text)),
            Err(Unseen::Missing) => read_own(root),
            Err(_) => Err(Unseen::Denied("what is mounted on the whole machine".to_owned())),
        };
    }
    let text = root.read("/etc/fstab").map_err(|_| Unseen::NotRunning)?;
    let mounts: Vec<Mount> = text.lines().filter_map(fstab).take(MAX_MOUNTS).collect();
    if mounts.is_empty() {
        return Err(Unseen::Other("fstab has no entries".to_owned()));
    }
    Ok(mounts)
}

/// What this process sees mounted: enough to know how full the disks are.
///
/// # Errors
/// The kernel's list cannot be read.
pub(crate) fn read_own(root: &Root) -> Result<Vec<Mount>, Unseen> {
    root.read("/proc/self/mountinfo").map(|text| parse(&text))
}

fn parse(text: &str) -> Vec<Mount> {
    text.lines().filter_map(mountinfo).take(MAX_MOUNTS).collect()
}

/// The one at a path, as the kernel sees it: the last one mounted there.
pub(crate) fn at<'a>(mounts: &'a [Mount], path: &str) -> Option<&'a Mount> {
    mounts.iter().rev().find(|mount| mount.path == path)
}

/// Whether files of it are on a disk of this machine, so that a walk may go in.
pub(crate) fn is_local_disk(mount: &Mount) -> bool {
    matches!(
        mount.kind.as_str(),
        "ext2"
            | "ext3"
            | "ext4"
            | "xfs"
            | "btrfs"
            | "f2fs"
            | "jfs"
            | "reiserfs"
            | "zfs"
            | "bcachefs"
            | "overlay"
            | "vfat"
            | "exfat"
            | "ntfs3"
            | "ubifs"
            | "tmpfs"
            | "rootfs"
    )
}

/// A line of mountinfo (proc(5)): options, any number of marks, a dash, the file
/// system.
fn mountinfo(line: &str) -> Option<Mount> {
    let (own, system) = line.split_once(" - ")?;
    let mut own = own.split(' ').skip(4);
    let (path, options) = (own.next()?, own.next()?);
    let mut system = system.split(' ');
    let (kind, device, of_system) = (system.next()?, system.next()?, system.next().unwrap_or(""));
    let mut options: Vec<String> = options.split(',').map(str::to_owned).collect();
    for option in of_system.split(',').filter(|option| !option.is_empty()) {
        if !options.iter().any(|own| own == option) {
            options.push(option.to_owned());
        }
    }
    Some(Mount { device: plain(device), path: plain(path), kind: kind.to_owned(), options })
}

fn fstab(line: &str) -> Option<Mount> {
    let line = line.trim();
    if line.starts_with('#') {
        return None;
    }
    let mut fields = line.split_whitespace();
    let (device, path, kind) = (fields.next()?, fields.next()?, fields.next()?);
    let options = fields.next().unwrap_or("defaults").split(',').map(str::to_owned).collect();
    path.starts_with('/').then(|| Mount {
        device: plain(device),
        path: plain(path),
        kind: kind.to_owned(),
        options,
    })
}

/// Spaces and the like stand as `\040` in both files.
fn plain(text: &str) -> String {
    let mut parts = text.split('\\');
    let mut plain = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        match part.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(code) => {
                plain.push(code);
                plain.extend(part.bytes().skip(3));
            }
            None => {
                plain.push(b'\\');
                plain.extend(part.bytes());
            }
        }
    }
    String::from_utf8_lossy(&plain).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_kernel_and_of_fstab_are_read() {
        let line = r"36 35 98:0 /mnt1 /mnt/a\040b rw,noatime shared:1 master:2 - ext3 /dev/root rw,errors=continue";
        let mount = mountinfo(line).unwrap();
        assert_eq!((mount.path.as_str(), mount.kind.as_str()), ("/mnt/a b", "ext3"));
        assert!(mount.has("noatime") && mount.has("errors=continue") && !mount.has("nodev"));
        assert_eq!(mountinfo("36 35 98:0"), None);
        let mount = fstab("UUID=1 /tmp tmpfs nodev,nosuid 0 0").unwrap();
        assert!(mount.has("nosuid"));
        assert_eq!(fstab("# /tmp"), None);
        assert_eq!(fstab("/dev/sda2 none swap sw 0 0"), None);
        assert_eq!(plain(r"a\9b\"), r"a\9b\");
    }
}
