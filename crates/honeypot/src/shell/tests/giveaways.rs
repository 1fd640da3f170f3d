//! What other honeypots are known by must not be seen here: each measured
//! giveaway has its test.

use super::*;

#[test]
fn dd_counts_what_it_copies() {
    let shown = bash("dd bs=52 count=1 if=/bin/echo of=/tmp/x");
    assert!(shown.starts_with("1+0 records in\n1+0 records out\n52 bytes copied, 0."), "{shown}");
    assert_eq!(bash("dd bs=52 count=1 if=/bin/echo of=/tmp/x 2>/dev/null; wc -c < /tmp/x"), "52\n");
    assert!(!shown.contains("transferred"));
    assert_eq!(ash("dd bs=52 count=1 if=/bin/ls of=/tmp/x"), "1+0 records in\n1+0 records out\n");
    assert!(
        bash("dd if=/nofile").contains("dd: failed to open '/nofile': No such file or directory")
    );
}

#[test]
fn a_programs_head_has_the_architecture() {
    for shell in [&mut device(), &mut server()] {
        let elf = shell.world.machine.elf;
        for line in [
            "dd bs=52 count=1 if=/bin/echo 2>/dev/null || cat /bin/echo",
            "head -c 52 /bin/ls",
            "/bin/busybox cat /bin/busybox",
        ] {
            let output = shell.run(line.as_bytes(), NOW).output;
            assert!(output.starts_with(b"\x7fELF"), "{line}: {}", output.escape_ascii());
            let machine = u16::from(output[18 + usize::from(elf.big_endian)]);
            assert_eq!(machine, elf.machine, "{line}");
        }
        let read = shell.run(b"while read i; do echo $i; done < /bin/echo | head -c 4", NOW).output;
        assert_eq!(read, b"\x7fELF");
    }
}

#[test]
fn no_program_says_that_it_cannot_run() {
    for mut shell in [device(), server()] {
        for line in [
            "df",
            "df -h",
            "od -c /etc/hostname",
            "free -m",
            "ps aux",
            "ps",
            "w",
            "uptime",
            "ifconfig",
            "id",
        ] {
            let shown = typed(&mut shell, &[line]);
            assert!(!shown.contains("Exec format") && !shown.is_empty(), "{line}: {shown}");
        }
    }
}

#[test]
fn which_prints_one_line() {
    assert_eq!(bash("which ls"), "/usr/bin/ls\n");
    assert_eq!(ash("which ls"), "/bin/ls\n");
    assert_eq!(bash("ls -lh $(which ls) | wc -l"), "1\n");
}

#[test]
fn ls_has_a_total_and_dates_as_gnu_has_them() {
    let shown = bash("ls -la /etc");
    assert!(shown.starts_with("total "), "{shown}");
    let line = shown.lines().find(|line| line.ends_with(" passwd")).unwrap();
    let month = line.split_whitespace().nth(5).unwrap();
    assert!(month.len() == 3 && month.chars().next().unwrap().is_ascii_uppercase(), "{line}");
    assert!(!shown.contains("2024-"), "{shown}");
    assert!(ash("ls -la /tmp").starts_with("total "));
}

#[test]
fn arithmetic_and_scripting_languages_work() {
    assert_eq!(bash("echo $((7*6))"), "42\n");
    assert_eq!(ash("echo $((7*6))"), "42\n");
    assert_eq!(bash("python3 -c 'print(7*6)'"), "42\n");
    assert_eq!(bash("python3 -c \"import os; os.system('echo hi')\""), "hi\n");
    assert_eq!(bash("perl -e 'print \"a\\n\"'"), "a\n");
    assert_eq!(
        bash("python -c 'print(1)'"),
        "-bash: python: command not found\n",
        "Debian 12 has none"
    );
}

#[test]
fn memory_and_processes_are_plausible_and_steady() {
    let (mut shell, later) = (server(), NOW.plus_millis(7_000));
    let used = |text: &str| -> i64 {
        text.lines()
            .find(|l| l.starts_with("Mem:"))
            .unwrap()
            .split_whitespace()
            .nth(2)
            .unwrap()
            .parse()
            .unwrap()
    };
    let first = used(&text(&shell.run(b"free -m", NOW).output));
    let second = used(&text(&shell.run(b"free -m", later).output));
    assert!((first - second).abs() < 5, "{first} {second}");
    let total = shell.world.machine.memory_kib;
    let shown = bash("ps aux");
    let resident: u64 = shown
        .lines()
        .skip(1)
        .map(|l| l.split_whitespace().nth(5).unwrap().parse::<u64>().unwrap())
        .sum();
    assert!(resident < total && resident > 20_000, "{resident} of {total}");
    let init: u64 =
        shown.lines().nth(1).unwrap().split_whitespace().nth(5).unwrap().parse().unwrap();
    assert!(init < 20_000, "{init}");
}

#[test]
fn passwords_are_read_from_pipes() {
    let mut shell = server();
    let reply = shell.run(b"echo -e \"old\\nn3w\\nn3w\" | passwd | bash", NOW);
    assert!(
        text(&reply.output).contains("passwd: password updated successfully"),
        "{}",
        text(&reply.output)
    );
    assert_eq!(
        reply.acts,
        [Act::PasswordChanged { user: "root".to_owned(), password: b"n3w".to_vec() }]
    );
    let reply = shell.run(b"echo \"root:xyz\" | chpasswd | bash", NOW);
    assert_eq!((text(&reply.output).as_str(), reply.status), ("", 0));
    assert_eq!(
        reply.acts,
        [Act::PasswordChanged { user: "root".to_owned(), password: b"xyz".to_vec() }]
    );
    assert!(!shell.hides_input(), "nobody is asked at the terminal");
    let mut typed_in = server();
    typed_in.run(b"passwd", NOW);
    assert!(typed_in.hides_input() && typed_in.prompt() == b"New password: ");
    typed_in.run(b"s3", NOW);
    assert_eq!(typed_in.prompt(), b"Retype new password: ");
    let reply = typed_in.run(b"s3", NOW);
    assert_eq!(
        reply.acts,
        [Act::PasswordChanged { user: "root".to_owned(), password: b"s3".to_vec() }]
    );
}

#[test]
fn nothing_has_a_name_that_honeypots_are_known_by() {
    for seed in 0..60 {
        for server in [false, true] {
            let mut shell =
                Shell::new(&world(seed, server), &Visitors::default(), &who(true, Door::Ssh), NOW);
            let shown = typed(
                &mut shell,
                &[
                    "ls /home; cat /etc/passwd /etc/hostname; ps aux; ps; cat /proc/version; uname -a; ls -la /",
                ],
            );
            for known in [
                "phil", "richard", "svr04", "nas3", "cowrie", "kippo", "honey", "palisade",
                "Jun22", "Jun23",
            ] {
                assert!(!shown.contains(known), "{known} with seed {seed}: {shown}");
            }
        }
    }
}

#[test]
fn hardly_two_servers_are_alike() {
    let all: Vec<String> = (0..40)
        .map(|seed| {
            let mut shell = Shell::new(&world(seed, true), &Visitors::default(), &who(true, Door::Ssh), NOW);
            typed(&mut shell, &["hostname; cat /sys/class/net/x; ip a; cat /etc/machine-id; df; uptime -s; ps aux"])
        })
        .collect();
    for (index, shown) in all.iter().enumerate() {
        assert!(all.iter().skip(index + 1).all(|other| other != shown));
    }
    let prompts: std::collections::BTreeSet<Vec<u8>> = (0..40)
        .map(|seed| {
            Shell::new(&world(seed, true), &Visitors::default(), &who(true, Door::Ssh), NOW)
                .prompt()
        })
        .collect();
    assert!(prompts.len() > 25, "{}", prompts.len());
}

#[test]
fn system_directories_cannot_be_written() {
    for (line, why) in [
        ("echo x > /proc/x", "No such file or directory"),
        ("echo x > /sys/x", "Permission denied"),
        ("echo x > /dev/pts/x", "Permission denied"),
        ("mkdir /proc/x", "No such file or directory"),
        ("touch /sys/x", "Permission denied"),
        ("echo x > /proc/cpuinfo", "Permission denied"),
        ("cp /bin/ls /proc/ls", "No such file or directory"),
    ] {
        let shown = bash(line);
        assert!(shown.contains(why), "{line}: {shown}");
    }
    assert_eq!(
        bash("rm -rf /proc/1; ls /proc/1 | head -1"),
        "rm: cannot remove '/proc/1': Operation not permitted\ncgroup\n"
    );
}

#[test]
fn a_writable_directory_is_found_by_its_token() {
    let token = r"echo -e '\x6b\x61\x6d\x69/dev' > /dev/.nippon; cat /dev/.nippon; rm /dev/.nippon; cat /dev/.nippon";
    assert_eq!(ash(token), "kami/dev\ncat: can't open '/dev/.nippon': No such file or directory\n");
    assert!(ash("/bin/busybox cat /proc/mounts").contains(" /tmp tmpfs rw,"));
    assert_eq!(ash("cd /tmp || cd /var/run || cd /mnt || cd /root || cd /; pwd"), "/tmp\n");
}

#[test]
fn a_fetch_from_here_is_refused_and_is_no_name_that_is_not_known() {
    let shown = bash("wget http://127.0.0.1/x");
    assert!(shown.contains("failed: Connection refused.") && !shown.contains("resolve"), "{shown}");
    assert!(bash("curl http://127.0.0.1/").starts_with("curl: (7) Failed to connect"));
    assert!(ash("wget http://127.0.0.1/x").contains("Connection refused"));
}

#[test]
fn nothing_is_written_to_the_terminal_that_was_not_asked_for() {
    for mut shell in [device(), server()] {
        for line in ["", "echo a", "uname", "ls", "cd /tmp", "free"] {
            let output = shell.run(line.as_bytes(), NOW).output;
            assert!(!output.contains(&0x1b), "{line}");
        }
    }
}
