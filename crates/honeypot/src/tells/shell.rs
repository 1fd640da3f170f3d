//! Types into a persona's shell what detectors, bots and people type, and
//! compares the answers with a real machine's.

use std::sync::Arc;

use palisade_event::Timestamp;

use super::{Finding, Subject, Tell, excerpt, known_name};
use crate::System;
use crate::shell::vfs::Visitors;
use crate::shell::{Act, Door, Reply, Shell, Who, World};

/// Memory in use may move so much within seconds, in KiB.
const MAX_MEMORY_STEP_KIB: i64 = 100 * 1024;
/// More than any init uses, in KiB.
const MAX_INIT_KIB: u64 = 200 * 1024;
/// Longest believable time since the start: ten years, in seconds.
const MAX_UPTIME_SECS: i64 = 10 * 366 * 86_400;

/// A machine whose shell is tried.
struct Lab<'a> {
    world: &'a Arc<World>,
    now: Timestamp,
}

impl Lab<'_> {
    fn is_device(&self) -> bool {
        self.world.system() == System::BusyBox
    }

    /// A new visitor's shell.
    fn shell(&self) -> Shell {
        let (door, tty) = (if self.is_device() { Door::Telnet } else { Door::Ssh }, true);
        let address = std::net::IpAddr::from([198, 51, 100, 7]);
        let who = Who { user: "root".to_owned(), address, port: 40_022, door, tty };
        Shell::new(self.world, &Visitors::default(), &who, self.now)
    }

    fn reply(&self, line: &str) -> Reply {
        self.shell().run(line.as_bytes(), self.now)
    }

    fn bytes(&self, line: &str) -> Vec<u8> {
        self.reply(line).output
    }

    fn text(&self, line: &str) -> String {
        String::from_utf8_lossy(&self.bytes(line)).into_owned()
    }

    /// The first number in what a line prints.
    fn number(&self, line: &str) -> Option<i64> {
        let text = self.text(line);
        text.split(|letter: char| !letter.is_ascii_digit()).find_map(|word| word.parse().ok())
    }
}

type Check = fn(&Lab<'_>) -> Finding;

const COWRIE: &str = "Cowrie, measured";
const REPORT: &str = "report it: the shipped personas do not show it; a persona of your own may";

/// What is tried, in the order in which it is shown.
const CHECKS: [(Subject, Check); 22] = [
    (subject("shell-dd", "what dd counts and says", COWRIE, REPORT), dd),
    (
        subject(
            "shell-program-head",
            "the head of a program file, and whether its processor is uname's",
            "loaders of Mirai's kind read it before they send a file",
            REPORT,
        ),
        program_head,
    ),
    (
        subject(
            "shell-exec-format",
            "that df, od, free, ps, w, id answer, and none with \"Exec format error\"",
            COWRIE,
            REPORT,
        ),
        exec_format,
    ),
    (subject("shell-which", "that `which ls` is one line", COWRIE, REPORT), which),
    (
        subject(
            "shell-ls-total",
            "that `ls -la` has a total, and dates as ls writes them",
            COWRIE,
            REPORT,
        ),
        ls_total,
    ),
    (subject("shell-arithmetic", "what echo $((7*6)) prints", COWRIE, REPORT), arithmetic),
    (
        subject(
            "shell-languages",
            "that python -c and perl -e print, or are not there",
            COWRIE,
            REPORT,
        ),
        languages,
    ),
    (subject("shell-free", "that memory in use is the same seconds later", COWRIE, REPORT), free),
    (
        subject("shell-ps", "what ps says that init uses, and all together", COWRIE, REPORT),
        processes,
    ),
    (
        subject(
            "shell-ps-sshd",
            "whether sshd: is among the processes of a device",
            "zhtrap's list of strings",
            REPORT,
        ),
        process_names,
    ),
    (
        subject(
            "shell-chpasswd",
            "that chpasswd and passwd read a pipe and do not ask the terminal",
            COWRIE,
            REPORT,
        ),
        passwords,
    ),
    (
        subject(
            "shell-names",
            "names in /home, /etc/passwd, /etc/hostname",
            "zhtrap's list of strings: phil, richard, Jun22; Cowrie's svr04",
            "change the names in the persona's manifest (honeypot.persona.folder)",
        ),
        names,
    ),
    (
        subject(
            "shell-machine-known",
            "kernel and processor that are the same in all installations",
            "Cowrie's and Kippo's defaults: 3.2.0-4-amd64, Core 2 Duo E8200",
            "change them in the persona's manifest (honeypot.persona.folder)",
        ),
        known_machine,
    ),
    (
        subject(
            "shell-proc-write",
            "that nothing can be written below /proc and /sys",
            COWRIE,
            REPORT,
        ),
        proc_write,
    ),
    (
        subject(
            "shell-write-probe",
            "that a token is written, read and removed where bots try it",
            "bots of Mirai's kind: echo -e '\\x6b\\x61\\x6d\\x69' > /dev/.nippon",
            REPORT,
        ),
        write_probe,
    ),
    (
        subject(
            "shell-wget-local",
            "what wget says of 127.0.0.1",
            "Cowrie: a name that cannot be resolved",
            REPORT,
        ),
        wget_local,
    ),
    (
        subject(
            "shell-escapes",
            "escape sequences around what commands print",
            "Cowrie: ESC[4l before each answer",
            REPORT,
        ),
        escapes,
    ),
    (
        subject(
            "shell-unknown-command",
            "the words about a command that does not exist",
            "Cowrie leaves the dash of a login shell out; zhtrap asks for one",
            REPORT,
        ),
        unknown_command,
    ),
    (
        subject(
            "shell-agrees",
            "that hostname, uname, /proc/version and /etc/hostname say the same",
            "people, and scripts that compare them",
            REPORT,
        ),
        agrees,
    ),
    (
        subject(
            "shell-clock",
            "that the date is right and no file is from the future",
            "people who look at date and ls -l",
            "set the clock of this machine (NTP)",
        ),
        clock,
    ),
    (
        subject(
            "shell-uptime",
            "that /proc/uptime, /proc/stat and the clock agree",
            "people, and scripts that compare them",
            REPORT,
        ),
        uptime,
    ),
    (
        subject(
            "shell-release",
            "that the kernel is the distribution's",
            "Metasploit ssh_honeypot (EXTENDED_CHECKS)",
            "set honeypot.persona.server, or change both in the manifest",
        ),
        release,
    ),
];

const fn subject(
    id: &'static str,
    looks_at: &'static str,
    known_from: &'static str,
    advice: &'static str,
) -> Subject {
    Subject { id, looks_at, known_from, advice }
}

pub(super) fn try_on(world: &Arc<World>, place: &str, now: Timestamp, tells: &mut Vec<Tell>) {
    let lab = Lab { world, now };
    tells.extend(CHECKS.iter().map(|(subject, check)| subject.tell(place, check(&lab))));
}

fn dd(lab: &Lab<'_>) -> Finding {
    let said = lab.text("dd bs=52 count=1 if=/bin/ls of=/tmp/x");
    let kept = lab.number("dd bs=52 count=1 if=/bin/ls of=/tmp/x 2>/dev/null; wc -c < /tmp/x");
    let right = said.starts_with("1+0 records in\n1+0 records out\n") && kept == Some(52);
    Finding::of(!right || said.contains("transferred"), said)
}

fn program_head(lab: &Lab<'_>) -> Finding {
    let head = lab.bytes("head -c 52 /bin/ls");
    let arch = lab.text("uname -m").trim().to_owned();
    let busybox = lab.bytes("/bin/busybox cat /bin/ls | head -c 4");
    if !head.starts_with(b"\x7fELF") || busybox != b"\x7fELF" {
        return Finding::shown(excerpt(&head));
    }
    let (big, pair) = (head.get(5) == Some(&2), head.get(18..20));
    let Some(&[a, b]) = pair else { return Finding::shown("the head is cut off") };
    let machine = if big { u16::from_be_bytes([a, b]) } else { u16::from_le_bytes([a, b]) };
    // System V ABI, e_machine.
    let expected = match arch.as_str() {
        "x86_64" => 62,
        "aarch64" => 183,
        name if name.starts_with("arm") => 40,
        name if name.starts_with("mips") => 8,
        _ => return Finding::skipped(format!("{arch} is not known here")),
    };
    Finding::of(machine != expected, format!("ELF for machine {machine}, uname -m: {arch}"))
}

fn exec_format(lab: &Lab<'_>) -> Finding {
    let lines = ["df", "df -h", "od -c /etc/hostname", "free", "ps", "w", "uptime", "id"];
    for line in lines {
        let said = lab.text(line);
        if said.trim().is_empty() || said.contains("Exec format") {
            return Finding::shown(format!("{line}: {said}"));
        }
    }
    Finding::hidden(lines.join(", "))
}

fn which(lab: &Lab<'_>) -> Finding {
    let said = lab.text("which ls");
    Finding::of(said.lines().count() != 1 || !said.starts_with('/'), said)
}

fn ls_total(lab: &Lab<'_>) -> Finding {
    let said = lab.text("ls -la /etc");
    let iso = |word: &str| {
        let digits = word.bytes().filter(u8::is_ascii_digit).count();
        word.len() == 10 && digits == 8 && word.bytes().filter(|byte| *byte == b'-').count() == 2
    };
    let dated = said.split_whitespace().any(iso);
    Finding::of(
        !said.starts_with("total ") || dated,
        said.lines().take(2).collect::<Vec<_>>().join("\n"),
    )
}

fn arithmetic(lab: &Lab<'_>) -> Finding {
    let said = lab.text("echo $((7*6))");
    Finding::of(said != "42\n", said)
}

fn languages(lab: &Lab<'_>) -> Finding {
    for (line, answer) in [
        ("python3 -c 'print(7*6)'", "42"),
        ("python -c 'print(7*6)'", "42"),
        ("perl -e 'print 7*6'", "42"),
    ] {
        let said = lab.text(line);
        if said.trim() != answer && !said.contains("not found") {
            return Finding::shown(format!("{line}: {said}"));
        }
    }
    Finding::hidden("42, or not found")
}

/// Memory in use, in KiB.
fn used(lab: &Lab<'_>, later: i64) -> Option<i64> {
    let reply = lab.shell().run(b"free", lab.now.plus_millis(later));
    let text = String::from_utf8_lossy(&reply.output).into_owned();
    let line = text.lines().find(|line| line.trim_start().starts_with("Mem"))?;
    line.split_whitespace().nth(2)?.parse().ok()
}

fn free(lab: &Lab<'_>) -> Finding {
    match (used(lab, 0), used(lab, 7_000)) {
        (Some(first), Some(second)) => {
            let step = (first - second).abs();
            Finding::of(
                step > MAX_MEMORY_STEP_KIB || step * 5 > first,
                format!("{first} KiB, and {second} KiB 7 s later"),
            )
        }
        _ => Finding::shown(lab.text("free")),
    }
}

fn processes(lab: &Lab<'_>) -> Finding {
    if lab.is_device() {
        return Finding::skipped("BusyBox's ps does not say");
    }
    let said = lab.text("ps aux");
    let resident = |line: &str| line.split_whitespace().nth(5)?.parse::<u64>().ok();
    let all: Vec<u64> = said.lines().skip(1).filter_map(resident).collect();
    let (init, sum) = (all.first().copied().unwrap_or_default(), all.iter().sum::<u64>());
    let total = lab.world.machine.memory_kib;
    let wrong = all.is_empty() || init > MAX_INIT_KIB || init == 0 || sum > total;
    Finding::of(wrong, format!("init {init} KiB, {} processes {sum} KiB of {total}", all.len()))
}

fn process_names(lab: &Lab<'_>) -> Finding {
    if !lab.is_device() {
        return Finding::skipped("a server has sshd");
    }
    let said = lab.text("ps");
    Finding::of(said.contains("sshd:"), said.lines().next().unwrap_or_default())
}

fn passwords(lab: &Lab<'_>) -> Finding {
    for line in ["echo 'root:n3w' | chpasswd", "printf 'n3w\\nn3w\\n' | passwd root"] {
        let mut shell = lab.shell();
        let reply = shell.run(line.as_bytes(), lab.now);
        let changed = reply.acts.iter().any(|act| matches!(act, Act::PasswordChanged { .. }));
        if shell.hides_input() || !changed {
            return Finding::shown(format!("{line}: {}", String::from_utf8_lossy(&reply.output)));
        }
    }
    Finding::hidden("changed without a question")
}

fn names(lab: &Lab<'_>) -> Finding {
    let said = lab.text("ls /home; cut -d: -f1 /etc/passwd; cat /etc/hostname; ls -la / | tail -3");
    match known_name(&said) {
        Some(known) => Finding::shown(known),
        None => Finding::hidden(lab.text("ls /home; hostname")),
    }
}

fn known_machine(lab: &Lab<'_>) -> Finding {
    let said = lab.text("cat /proc/version; grep -i 'model' /proc/cpuinfo | head -2");
    let known = ["3.2.0-4-amd64", "2.6.26-2-686", "3.13.0-24-generic", "E8200"];
    Finding::of(known.iter().any(|name| said.contains(name)), said)
}

fn proc_write(lab: &Lab<'_>) -> Finding {
    for line in [
        "echo x > /proc/x; cat /proc/x",
        "mkdir /proc/x; cd /proc/x",
        "echo x > /sys/x; cat /sys/x",
    ] {
        let said = lab.text(line);
        if said.lines().count() < 2 || said.lines().any(|line| line == "x") {
            return Finding::shown(format!("{line}: {said}"));
        }
    }
    Finding::hidden(lab.text("echo x > /proc/x"))
}

fn write_probe(lab: &Lab<'_>) -> Finding {
    let token = "echo -e '\\x6b\\x61\\x6d\\x69' > /tmp/.nippon; cat /tmp/.nippon; rm /tmp/.nippon; cat /tmp/.nippon";
    let said = lab.text(token);
    let mut lines = said.lines();
    let (first, second) = (lines.next(), lines.next().unwrap_or_default());
    Finding::of(first != Some("kami") || !second.contains("No such file"), said)
}

fn wget_local(lab: &Lab<'_>) -> Finding {
    let said = lab.text("wget http://127.0.0.1/x");
    if said.contains("not found") {
        return Finding::skipped("no wget here");
    }
    let last = said.lines().last().unwrap_or_default().to_owned();
    Finding::of(!said.contains("refused") || said.contains("resolve"), last)
}

fn escapes(lab: &Lab<'_>) -> Finding {
    for line in ["", "echo a", "uname", "ls", "cd /tmp", "free"] {
        let said = lab.bytes(line);
        if said.contains(&0x1b) {
            return Finding::shown(format!("{line}: {}", said.escape_ascii()));
        }
    }
    Finding::hidden("none")
}

fn unknown_command(lab: &Lab<'_>) -> Finding {
    let said = lab.text("qwzxv");
    let right = match lab.is_device() {
        true => {
            said == "-sh: qwzxv: not found\n"
                || said == "sh: qwzxv: not found\n"
                || said == "-ash: qwzxv: not found\n"
        }
        false => {
            said.contains("qwzxv: command not found")
                && (said.starts_with("-bash: ") || said.contains("apt"))
        }
    };
    Finding::of(!right, said)
}

fn agrees(lab: &Lab<'_>) -> Finding {
    let (name, host) = (lab.text("uname -n"), lab.text("hostname"));
    let (release, version) = (lab.text("uname -r"), lab.text("cat /proc/version"));
    let file = lab.text("cat /etc/hostname");
    let file_right = file == name || file.contains("No such file");
    let right = name == host && file_right && version.contains(release.trim());
    Finding::of(!right, format!("{} {}", name.trim(), release.trim()))
}

fn clock(lab: &Lab<'_>) -> Finding {
    let now = lab.now.as_millis() / 1000;
    let said = lab.number("date +%s");
    let newest = lab.number("stat -c %Y /etc/passwd");
    let future = newest.is_some_and(|at| at > now + 2);
    let seen = lab.text("date");
    Finding::of(said.is_none_or(|at| (at - now).abs() > 2) || future, seen)
}

fn uptime(lab: &Lab<'_>) -> Finding {
    let now = lab.now.as_millis() / 1000;
    let up = lab.number("cat /proc/uptime");
    let started = lab.number("grep btime /proc/stat | cut -d' ' -f2");
    let (Some(up), Some(started)) = (up, started) else {
        return Finding::shown(lab.text("cat /proc/uptime; grep btime /proc/stat"));
    };
    let agree = (started + up - now).abs() <= 5;
    let seen = format!("up {up} s, started at {started}, now {now}");
    Finding::of(!agree || up <= 0 || up > MAX_UPTIME_SECS, seen)
}

fn release(lab: &Lab<'_>) -> Finding {
    if lab.is_device() {
        return Finding::skipped("devices do not say");
    }
    let (about, kernel) = (lab.text("cat /etc/os-release"), lab.text("uname -v; uname -r"));
    let name = about.lines().find_map(|line| line.strip_prefix("PRETTY_NAME=")).unwrap_or_default();
    let right = match lab.world.system() {
        System::Ubuntu => name.contains("Ubuntu") && kernel.contains("Ubuntu"),
        _ => name.contains("Debian") && kernel.contains("Debian"),
    };
    Finding::of(!right, format!("{name}, {kernel}"))
}
