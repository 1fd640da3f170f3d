//! All numbers of a machine agree with each other.

use super::*;

fn number(text: &str) -> u64 {
    text.chars().filter(char::is_ascii_digit).collect::<String>().parse().unwrap()
}

#[test]
fn cores_and_processor_agree() {
    for seed in 0..20 {
        let mut shell =
            Shell::new(&world(seed, true), &Visitors::default(), &who(true, Door::Ssh), NOW);
        let shown = typed(
            &mut shell,
            &[
                "nproc; grep -c ^processor /proc/cpuinfo; grep name /proc/cpuinfo | wc -l; getconf _NPROCESSORS_ONLN",
            ],
        );
        let counts: Vec<&str> = shown.lines().collect();
        assert!(counts.iter().all(|count| *count == counts[0]), "{shown}");
        let model = typed(
            &mut shell,
            &[
                "lscpu | grep 'Model name' | cut -d: -f2 | sed 's/^ *//'; grep -m1 'model name' /proc/cpuinfo | cut -d: -f2 | sed 's/^ *//'",
            ],
        );
        let lines: Vec<&str> = model.lines().collect();
        assert_eq!(lines[0], lines[1]);
    }
}

#[test]
fn memory_agrees() {
    for (mut shell, seed) in (0..20)
        .map(|s| (Shell::new(&world(s, true), &Visitors::default(), &who(true, Door::Ssh), NOW), s))
    {
        let total = number(&typed(&mut shell, &["free | awk '/Mem:/ {print $2}'"]));
        assert_eq!(total, number(&typed(&mut shell, &["grep MemTotal /proc/meminfo"])), "{seed}");
        let shown = typed(&mut shell, &["free"]);
        let parts: Vec<u64> =
            shown.lines().nth(1).unwrap().split_whitespace().skip(1).map(number).collect();
        assert!(parts[1] + parts[2] <= total && parts[5] <= total && parts[2] > 0, "{shown}");
        assert_eq!(
            parts[2],
            number(&typed(&mut shell, &["awk '/MemFree/ {print $2}' /proc/meminfo"]))
        );
        let mib = number(&typed(&mut shell, &["free -m | grep Mem | awk '{print $2}'"]));
        assert_eq!(mib, total / 1024);
    }
    let mut shell = device();
    let total = number(&typed(&mut shell, &["free | grep Mem | awk '{print $2}'"]));
    assert_eq!(total, number(&typed(&mut shell, &["grep MemTotal /proc/meminfo"])));
}

#[test]
fn uptime_boot_time_and_processes_agree() {
    let mut shell = server();
    let up = number(typed(&mut shell, &["cut -d. -f1 /proc/uptime"]).trim());
    let booted = number(&typed(&mut shell, &["awk '/btime/ {print $2}' /proc/stat"]));
    assert_eq!(booted + up, number(&typed(&mut shell, &["date +%s"])));
    let days = up / 86_400;
    let shown = typed(&mut shell, &["uptime"]);
    assert!(shown.contains(&format!("up {days} day")), "{shown} {days}");
    let kernel = typed(&mut shell, &["uname -r"]);
    assert!(
        typed(&mut shell, &["cat /proc/version /proc/cmdline; ls /boot"])
            .matches(kernel.trim())
            .count()
            >= 4
    );
}

#[test]
fn addresses_disks_and_names_agree() {
    let mut shell = server();
    let address = typed(&mut shell, &["hostname -I"]).trim().to_owned();
    for line in ["ip a", "ifconfig", "ip route", "netstat -tn"] {
        assert!(typed(&mut shell, &[line]).contains(&address), "{line}");
    }
    let mac =
        typed(&mut shell, &["ip link | grep ether | awk '{print $2}' | tail -1"]).trim().to_owned();
    assert!(typed(&mut shell, &["ifconfig"]).contains(&mac), "{mac}");
    let root = typed(&mut shell, &["df / | tail -1 | awk '{print $1}'"]).trim().to_owned();
    assert!(typed(&mut shell, &["cat /proc/mounts; mount"]).matches(&root).count() == 2);
    assert!(typed(&mut shell, &["lsblk; ls /dev"]).contains(root.trim_start_matches("/dev/")));
    let host = typed(&mut shell, &["hostname"]);
    assert_eq!(host, typed(&mut shell, &["cat /etc/hostname; "]));
    assert_eq!(host, typed(&mut shell, &["uname -n"]));
    let pid = typed(&mut shell, &["echo $$"]).trim().to_owned();
    assert!(
        typed(&mut shell, &["ps aux"])
            .lines()
            .any(|l| l.contains("-bash") && l.split_whitespace().nth(1) == Some(&pid))
    );
    assert_eq!(
        typed(&mut shell, &["cat /proc/$$/comm; readlink /proc/self/exe; readlink /proc/1/exe"]),
        "bash\n/usr/bin/bash\n/usr/lib/systemd/systemd\n"
    );
}

#[test]
fn every_listed_program_is_there_and_answers() {
    for (shell, least) in [(device(), 110), (server(), 230)] {
        let names: std::collections::BTreeSet<String> = ["/bin", "/sbin", "/usr/bin", "/usr/sbin"]
            .iter()
            .flat_map(|directory| shell.files.list(directory).unwrap_or_default())
            .collect();
        let answered = commands::answered(names.iter().map(String::as_str));
        assert!(answered.len() >= least, "{} of {}", answered.len(), names.len());
        for name in [
            "ls", "cat", "wget", "ps", "uname", "chmod", "grep", "sed", "awk", "dd", "passwd",
            "crontab", "tftp", "nc",
        ] {
            assert!(names.contains(name) || name == "tftp", "{name}");
        }
    }
    let mut shell = device();
    for applet in commands::applets(&shell) {
        let path = ["/bin", "/sbin", "/usr/bin", "/usr/sbin"]
            .iter()
            .any(|d| shell.files.exists(&format!("{d}/{applet}")));
        assert!(path, "{applet} has no file");
    }
    assert!(!typed(&mut shell, &["busybox ls /"]).contains("not found"));
}

#[test]
fn answers_are_the_same_each_time() {
    for line in [
        "uname -a",
        "free -m",
        "ps",
        "cat /proc/cpuinfo",
        "cat /etc/passwd",
        "id",
        "df",
        "ifconfig",
    ] {
        assert_eq!(ash(line), ash(line), "{line}");
        assert_eq!(bash(line), bash(line), "{line}");
    }
}

#[test]
fn the_files_can_be_used_as_sftp_does() {
    let shell = server();
    let files = shell.files();
    files.write_at("/root/up", 0, b"hello ").unwrap();
    files.write_at("/root/up", 6, b"world").unwrap();
    files.write_at("/root/up", 0, b"J").unwrap();
    assert_eq!(files.read("/root/up", 1, 100).unwrap(), b"ello world");
    files.rename("/root/up", "/tmp/moved").unwrap();
    files.make_directory("/tmp/d", 0o750).unwrap();
    files.set_mode("/tmp/moved", 0o600).unwrap();
    assert_eq!(files.stat("/tmp/moved", true).unwrap().permissions(), "-rw-------");
    assert_eq!(files.list("/tmp").unwrap(), ["d", "moved"]);
    files.make_link("/tmp/l", "moved").unwrap();
    assert_eq!(files.read("/tmp/l", 0, 5).unwrap(), b"Jello");
    assert_eq!(files.remove("/tmp/d", false), Err(vfs::Errno::IsDirectory));
    files.remove("/tmp/d", true).unwrap();
    assert_eq!(files.read("/tmp/none", 0, 1), Err(vfs::Errno::NoEntry));
    assert_eq!(files.write_at("/tmp/hole", u64::MAX, b"x"), Err(vfs::Errno::NoSpace));
}

#[test]
fn the_size_and_the_sums_of_a_large_file_are_those_of_all_of_it() {
    use sha2::{Digest as _, Sha256};
    // As much as the fetcher hands on at most.
    let file: Vec<u8> = (0..5 * 1024 * 1024u32).map(|at| (at % 251) as u8).collect();
    let sum = Sha256::digest(&file).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let length = file.len().to_string();
    for mut shell in [device(), server()] {
        shell.files().write("/tmp/f", &file, false).unwrap();
        let mut shown = |line: &str| typed(&mut shell, &[line]).trim().to_owned();
        assert_eq!(shown("sha256sum /tmp/f"), format!("{sum}  /tmp/f"));
        assert_eq!(shown("cat /tmp/f | sha256sum"), format!("{sum}  -"));
        assert_eq!(shown("sha256sum < /tmp/f"), format!("{sum}  -"));
        assert_eq!(shown("wc -c /tmp/f"), format!("{length} /tmp/f"));
        assert_eq!(shown("wc -c < /tmp/f"), length);
        assert_eq!(shown("cat /tmp/f | wc -c"), length);
        assert_eq!(shown("ls -l /tmp/f | awk '{print $5}'"), length);
        assert_eq!(shown("dd if=/tmp/f bs=1k 2>/dev/null | wc -c"), length);
        assert_eq!(shown("mv /tmp/f /tmp/g; sha256sum /tmp/g"), format!("{sum}  /tmp/g"));
    }
    // Programs of the machine are large, too.
    let program = ["wc -c < /usr/bin/python3.11", "stat -c %s /usr/bin/python3.11"].map(bash);
    assert_eq!(program[0], program[1]);
    assert_eq!(bash("printf 123456789 | cksum"), "930766865 9\n");
    assert_eq!(bash("printf abc | sum"), "16556     1\n");
}
