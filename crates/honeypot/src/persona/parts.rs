//! The users and the mounted file systems of machines.

use super::machine::{Disk, User};

pub(super) fn user(name: &str, uid: u32, gid: u32, home: &str, shell: &str) -> User {
    User { name: name.to_owned(), uid, gid, home: home.to_owned(), shell: shell.to_owned() }
}

pub(super) fn system_users() -> Vec<User> {
    const NOLOGIN: &str = "/usr/sbin/nologin";
    let all: [(&str, u32, u32, &str, &str); 21] = [
        ("root", 0, 0, "/root", "/bin/bash"),
        ("daemon", 1, 1, "/usr/sbin", NOLOGIN),
        ("bin", 2, 2, "/bin", NOLOGIN),
        ("sys", 3, 3, "/dev", NOLOGIN),
        ("sync", 4, 65_534, "/bin", "/bin/sync"),
        ("games", 5, 60, "/usr/games", NOLOGIN),
        ("man", 6, 12, "/var/cache/man", NOLOGIN),
        ("lp", 7, 7, "/var/spool/lpd", NOLOGIN),
        ("mail", 8, 8, "/var/mail", NOLOGIN),
        ("news", 9, 9, "/var/spool/news", NOLOGIN),
        ("uucp", 10, 10, "/var/spool/uucp", NOLOGIN),
        ("proxy", 13, 13, "/bin", NOLOGIN),
        ("www-data", 33, 33, "/var/www", NOLOGIN),
        ("backup", 34, 34, "/var/backups", NOLOGIN),
        ("list", 38, 38, "/var/list", NOLOGIN),
        ("irc", 39, 39, "/run/ircd", NOLOGIN),
        ("_apt", 42, 65_534, "/nonexistent", NOLOGIN),
        ("nobody", 65_534, 65_534, "/nonexistent", NOLOGIN),
        ("systemd-network", 998, 998, "/", NOLOGIN),
        ("messagebus", 100, 107, "/nonexistent", NOLOGIN),
        ("sshd", 101, 65_534, "/run/sshd", NOLOGIN),
    ];
    all.into_iter().map(|(name, uid, gid, home, shell)| user(name, uid, gid, home, shell)).collect()
}

pub(super) fn disk(
    device: &str,
    mount: &'static str,
    kind: &'static str,
    options: &str,
    size: u64,
    used: u64,
) -> Disk {
    let (device, options) = (device.to_owned(), options.to_owned());
    Disk { device, mount, kind, options, size_kib: size, used_kib: used }
}

pub(super) fn server_disks(root: &str, size: u64, used: u64, memory: u64) -> Vec<Disk> {
    let half = memory / 2;
    vec![
        disk(root, "/", "ext4", "rw,relatime,errors=remount-ro", size, used),
        disk("sysfs", "/sys", "sysfs", "rw,nosuid,nodev,noexec,relatime", 0, 0),
        disk("proc", "/proc", "proc", "rw,nosuid,nodev,noexec,relatime", 0, 0),
        disk(
            "udev",
            "/dev",
            "devtmpfs",
            &format!(
                "rw,nosuid,relatime,size={}k,nr_inodes={},mode=755,inode64",
                half - 9_000,
                half / 4
            ),
            half - 9_000,
            0,
        ),
        disk(
            "devpts",
            "/dev/pts",
            "devpts",
            "rw,nosuid,noexec,relatime,gid=5,mode=620,ptmxmode=000",
            0,
            0,
        ),
        disk(
            "tmpfs",
            "/run",
            "tmpfs",
            &format!("rw,nosuid,nodev,noexec,relatime,size={}k,mode=755,inode64", memory / 10),
            memory / 10,
            620,
        ),
        disk("tmpfs", "/dev/shm", "tmpfs", "rw,nosuid,nodev,inode64", half, 0),
        disk(
            "tmpfs",
            "/run/lock",
            "tmpfs",
            "rw,nosuid,nodev,noexec,relatime,size=5120k,inode64",
            5_120,
            0,
        ),
        disk(
            "cgroup2",
            "/sys/fs/cgroup",
            "cgroup2",
            "rw,nosuid,nodev,noexec,relatime,nsdelegate",
            0,
            0,
        ),
        disk(
            "tmpfs",
            "/run/user/0",
            "tmpfs",
            &format!("rw,nosuid,nodev,relatime,size={}k,mode=700,inode64", memory / 10),
            memory / 10,
            0,
        ),
    ]
}

pub(super) fn device_disks(flash: u64, memory: u64, free: u64) -> Vec<Disk> {
    vec![
        disk("rootfs", "/", "rootfs", "rw", 0, 0),
        disk("/dev/root", "/", "jffs2", "rw,relatime", flash, flash - 100 - free),
        disk("proc", "/proc", "proc", "rw,relatime", 0, 0),
        disk("sysfs", "/sys", "sysfs", "rw,relatime", 0, 0),
        disk("tmpfs", "/dev", "tmpfs", "rw,relatime,size=64k,mode=755", 64, 0),
        disk("devpts", "/dev/pts", "devpts", "rw,relatime,mode=600,ptmxmode=000", 0, 0),
        disk("tmpfs", "/tmp", "tmpfs", "rw,relatime", memory / 2, 48),
        disk("tmpfs", "/var", "tmpfs", "rw,relatime", memory / 2, 76),
        disk("/dev/mtdblock3", "/mnt/mtd", "jffs2", "rw,relatime", 1_024, 388),
    ]
}
