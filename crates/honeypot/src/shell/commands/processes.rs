//! Processes and who is logged in.

use std::fmt::Write as _;

use super::list::date;
use super::system::up_line;
use super::{Options, Run};
use crate::persona::Process;
use crate::shell::vfs::{cpu_seconds, processes};
use crate::shell::{Act, Shell};

pub(super) fn find(name: &str) -> Option<Run> {
    Some(match name {
        "ps" => ps,
        "pstree" => pstree,
        "top" | "htop" => top,
        "kill" => kill,
        "killall" | "pkill" | "killall5" => killall,
        "pgrep" | "pidof" => pgrep,
        "fuser" | "lsof" => |_, _| 1,
        "w" => w,
        "who" | "users" => who,
        "last" | "lastb" => last,
        "lastlog" => lastlog,
        "renice" | "chrt" | "taskset" | "watch" => |_, _| 0,
        _ => return None,
    })
}

fn all(shell: &mut Shell, own: &str, size: (u32, u32)) -> Vec<Process> {
    let now = shell.files.now;
    let machine = &shell.world.machine;
    let mut all = processes(machine, &shell.files.seat, now);
    let seat = &shell.files.seat;
    let parent = seat.pid;
    let (user, tty) = (seat.user.clone(), seat.tty.clone().unwrap_or_else(|| "?".to_owned()));
    let started = machine.uptime(now);
    let pid = shell.next_pid();
    all.push(Process {
        pid,
        parent,
        user,
        vsz: size.0,
        rss: size.1,
        tty,
        state: if shell.gnu() { "R+" } else { "R" }.to_owned(),
        started,
        busy: 0,
        command: own.to_owned(),
    });
    all.sort_by_key(|process| process.pid);
    all
}

fn ps(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    let line =
        words.iter().map(|w| String::from_utf8_lossy(w).into_owned()).collect::<Vec<_>>().join(" ");
    let own = if line.is_empty() { "ps".to_owned() } else { format!("ps {line}") };
    let gnu = shell.gnu();
    let list = all(shell, &own, if gnu { (11_084, 4_480) } else { (1_236, 404) });
    let now = shell.files.now;
    let machine = &shell.world.machine;
    let (up, booted, total) = (machine.uptime(now), machine.booted(now), machine.memory_kib);
    let mut text = String::new();
    if !gnu {
        text.push_str("  PID USER       VSZ STAT COMMAND\n");
        for p in &list {
            let state = match p.state.as_str() {
                "I<" => "SW< ",
                _ if p.vsz == 0 => "SW  ",
                "R" => "R   ",
                _ => "S   ",
            };
            let _ = writeln!(text, "{:5} {:<8} {:5} {state} {}", p.pid, p.user, p.vsz, p.command);
        }
        shell.put(text.as_bytes());
        return 0;
    }
    let cpu = |p: &Process| {
        let seconds = cpu_seconds(p, up);
        format!("{}:{:02}", seconds / 60, seconds % 60)
    };
    let long_cpu = |p: &Process| {
        let seconds = cpu_seconds(p, up);
        format!("{:02}:{:02}:{:02}", seconds / 3_600, seconds % 3_600 / 60, seconds % 60)
    };
    let started = |p: &Process| {
        let at = booted + p.started;
        if now - at < 86_400 {
            date(at, "%H:%M")
        } else if date(at, "%Y") == date(now, "%Y") {
            date(at, "%b%d")
        } else {
            date(at, "%Y")
        }
    };
    let name = |user: &str| {
        if user.len() > 8 { format!("{}+", user.get(..7).unwrap_or(user)) } else { user.to_owned() }
    };
    let flat = line.trim_start_matches('-');
    if words.first().is_some_and(|w| w.starts_with(b"-"))
        && flat.contains('e')
        && flat.contains('f')
    {
        text.push_str("UID          PID    PPID  C STIME TTY          TIME CMD\n");
        for p in &list {
            let _ = writeln!(
                text,
                "{:<8} {:7} {:7}  0 {:>5} {:<8} {} {}",
                name(&p.user),
                p.pid,
                p.parent,
                started(p),
                p.tty,
                long_cpu(p),
                p.command
            );
        }
    } else if flat.contains('u') && !flat.starts_with("eo") {
        text.push_str(
            "USER         PID %CPU %MEM    VSZ   RSS TTY      STAT START   TIME COMMAND\n",
        );
        for p in &list {
            let tenths = u64::from(p.rss) * 1_000 / total.max(1);
            let _ = writeln!(
                text,
                "{:<8} {:7}  0.0 {:2}.{} {:6} {:5} {:<8} {:<4} {:>5} {:>6} {}",
                name(&p.user),
                p.pid,
                tenths / 10,
                tenths % 10,
                p.vsz,
                p.rss,
                p.tty,
                p.state,
                started(p),
                cpu(p),
                p.command
            );
        }
    } else if flat.contains('x') {
        text.push_str("    PID TTY      STAT   TIME COMMAND\n");
        for p in &list {
            let _ = writeln!(
                text,
                "{:7} {:<8} {:<4} {:>6} {}",
                p.pid,
                p.tty,
                p.state,
                cpu(p),
                p.command
            );
        }
    } else {
        text.push_str("    PID TTY          TIME CMD\n");
        let every = flat.contains('e') || flat.contains('A');
        let mine = shell.files.seat.tty.clone().unwrap_or_default();
        for p in list.iter().filter(|p| every || p.tty == mine) {
            let first = p.command.split(' ').next().unwrap_or("").trim_start_matches('-');
            let base = first.rsplit('/').next().unwrap_or(first).trim_matches(['[', ']', ':']);
            let _ = writeln!(text, "{:7} {:<8} {} {base}", p.pid, p.tty, long_cpu(p));
        }
    }
    shell.put(text.as_bytes());
    0
}

fn pstree(shell: &mut Shell, _: &[Vec<u8>]) -> u8 {
    shell.put("systemd─┬─agetty\n        ├─cron\n        ├─dbus-daemon\n        ├─nginx───nginx\n        ├─rsyslogd───3*[{rsyslogd}]\n        ├─sshd───sshd───bash───pstree\n        ├─systemd-journal\n        ├─systemd-logind\n        ├─systemd-network\n        └─systemd-udevd\n".as_bytes());
    0
}

fn top(shell: &mut Shell, _: &[Vec<u8>]) -> u8 {
    let list = all(shell, "top", (10_540, 3_612));
    let now = shell.files.now;
    let gnu = shell.gnu();
    let machine = &shell.world.machine;
    let (memory, up) = (machine.memory(now), machine.uptime(now));
    let mut text = String::new();
    if gnu {
        let mib = |kib: u64| format!("{}.{}", kib / 1024, kib % 1024 * 10 / 1024);
        let sleeping = list.len() - 1;
        let _ = write!(
            text,
            "top -{}\nTasks: {:3} total,   1 running, {sleeping:3} sleeping,   0 stopped,   0 zombie\n%Cpu(s):  0.3 us,  0.3 sy,  0.0 ni, 99.3 id,  0.0 wa,  0.0 hi,  0.0 si,  0.0 st\nMiB Mem : {:>8} total, {:>8} free, {:>8} used, {:>8} buff/cache\nMiB Swap: {:>8} total, {:>8} free, {:>8} used. {:>8} avail Mem\n\n    PID USER      PR  NI    VIRT    RES    SHR S  %CPU  %MEM     TIME+ COMMAND\n",
            up_line(shell),
            list.len(),
            mib(memory.total),
            mib(memory.free),
            mib(memory.total - memory.available),
            mib(memory.buffers + memory.cached),
            mib(memory.swap_total),
            mib(memory.swap_free),
            mib(memory.swap_total - memory.swap_free),
            mib(memory.available)
        );
        for p in list.iter().filter(|p| p.vsz > 0).take(20) {
            let seconds = cpu_seconds(p, up);
            let tenths = u64::from(p.rss) * 1_000 / memory.total.max(1);
            let first = p.command.split(' ').next().unwrap_or("").trim_start_matches('-');
            let base = first.rsplit('/').next().unwrap_or(first).trim_end_matches(':');
            let _ = writeln!(
                text,
                "{:7} {:<8}  20   0 {:7} {:6} {:6} {}   0.0 {:3}.{} {:3}:{:02}.{:02} {base}",
                p.pid,
                p.user,
                p.vsz,
                p.rss,
                p.rss / 2,
                if base == "top" { 'R' } else { 'S' },
                tenths / 10,
                tenths % 10,
                seconds / 60,
                seconds % 60,
                p.pid % 100
            );
        }
    } else {
        let [one, five, fifteen] = machine.load(now);
        let _ = write!(
            text,
            "Mem: {}K used, {}K free, 0K shrd, {}K buff, {}K cached\nCPU:   2% usr   3% sys   0% nic  94% idle   0% io   0% irq   0% sirq\nLoad average: {one:.2} {five:.2} {fifteen:.2} 1/{} {}\n  PID  PPID USER     STAT   VSZ %VSZ %CPU COMMAND\n",
            memory.total - memory.free,
            memory.free,
            memory.buffers,
            memory.cached,
            list.len() + 24,
            shell.files.seat.pid + 3
        );
        for p in &list {
            let _ = writeln!(
                text,
                "{:5} {:5} {:<8} {:<4} {:5} {:4}% {:3}% {}",
                p.pid,
                p.parent,
                p.user,
                if p.command == "top" { "R" } else { "S" },
                p.vsz,
                u64::from(p.vsz) * 100 / memory.total.max(1),
                u32::from(p.busy > 1_000) * 2,
                p.command
            );
        }
    }
    shell.put(text.as_bytes());
    0
}

fn kill(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    if words.iter().any(|w| w == b"-l") {
        shell.say(" 1) SIGHUP\t 2) SIGINT\t 3) SIGQUIT\t 4) SIGILL\t 5) SIGTRAP\n 6) SIGABRT\t 7) SIGBUS\t 8) SIGFPE\t 9) SIGKILL\t10) SIGUSR1");
        return 0;
    }
    let list = all(shell, "kill", (0, 0));
    let mut status = 0;
    for word in words.iter().filter(|w| !w.starts_with(b"-")) {
        let text = String::from_utf8_lossy(word).into_owned();
        match text.parse::<u32>() {
            Ok(pid)
                if list.iter().any(|p| p.pid == pid) || pid == shell.last_background && pid > 0 =>
            {
                shell.act(Act::ProcessKilled { target: text });
            }
            Ok(_) => {
                if shell.gnu() {
                    shell.complain(format!("kill: ({text}) - No such process").as_bytes());
                } else {
                    shell.complain(format!("can't kill pid {text}: No such process").as_bytes());
                }
                status = 1;
            }
            Err(_) => {
                shell.complain(
                    format!("kill: {text}: arguments must be process or job IDs").as_bytes(),
                );
                status = 1;
            }
        }
    }
    status
}

fn killall(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    let options = Options::new(words, "su");
    let list = all(shell, "killall", (0, 0));
    let mut status = 0;
    for name in &options.rest {
        shell.act(Act::ProcessKilled { target: name.clone() });
        let running = list
            .iter()
            .any(|p| p.command.split([' ', '/', ':', '-', '[', ']']).any(|word| word == name));
        if !running {
            status = 1;
            // pkill says nothing.
            if !options.has('q') && !options.has('f') {
                shell.err(format!("{name}: no process found\n").as_bytes());
            }
        }
    }
    status
}

fn pgrep(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    let options = Options::new(words, "u");
    let list = all(shell, "pgrep", (0, 0));
    let Some(name) = options.rest.first() else { return 1 };
    let found: Vec<String> = list
        .iter()
        .filter(|p| p.command.split([' ', '/', ':', '-', '[', ']']).any(|word| word == name))
        .map(|p| p.pid.to_string())
        .collect();
    if found.is_empty() {
        return 1;
    }
    shell.say(&found.join(if options.has('l') { "\n" } else { " " }));
    0
}

fn w(shell: &mut Shell, _: &[Vec<u8>]) -> u8 {
    let seat = shell.files.seat.clone();
    let login = date(seat.since, "%H:%M");
    let mut text = format!(
        "{}\nUSER     TTY      FROM             LOGIN@   IDLE   JCPU   PCPU WHAT\n",
        up_line(shell)
    );
    if let Some(tty) = &seat.tty {
        let _ = writeln!(
            text,
            "{:<8} {tty:<8} {:<16} {login}    1.00s  0.02s  0.00s w",
            seat.user, seat.address
        );
    }
    shell.put(text.as_bytes());
    0
}

fn who(shell: &mut Shell, _: &[Vec<u8>]) -> u8 {
    let seat = shell.files.seat.clone();
    if let Some(tty) = &seat.tty {
        let when = date(seat.since, "%Y-%m-%d %H:%M");
        shell.say(&format!("{:<8} {tty:<12} {when} ({})", seat.user, seat.address));
    }
    0
}

fn last(shell: &mut Shell, _: &[Vec<u8>]) -> u8 {
    let seat = shell.files.seat.clone();
    let machine = &shell.world.machine;
    let booted = machine.booted(shell.files.now);
    let tty = seat.tty.clone().unwrap_or_else(|| "pts/0".to_owned());
    let text = format!(
        "{:<8} {tty:<12} {:<16} {}   still logged in\nreboot   system boot  {:<16} {}   still running\n\nwtmp begins {}",
        seat.user,
        seat.address,
        date(seat.since, "%a %b %e %H:%M"),
        machine.kernel.chars().take(16).collect::<String>(),
        date(booted, "%a %b %e %H:%M"),
        date(booted - 86_400 * 3, "%a %b %e %H:%M:%S %Y")
    );
    shell.say(&text);
    0
}

fn lastlog(shell: &mut Shell, _: &[Vec<u8>]) -> u8 {
    let seat = shell.files.seat.clone();
    let mut text =
        "Username         Port     From                                       Latest\n".to_owned();
    for user in &shell.world.machine.users {
        if user.name == seat.user {
            let _ = writeln!(
                text,
                "{:<16} {:<8} {:<42} {}",
                user.name,
                seat.tty.clone().unwrap_or_default(),
                seat.address,
                date(seat.since, "%a %b %e %H:%M:%S +0000 %Y")
            );
        } else {
            let _ = writeln!(
                text,
                "{:<16}                                                     **Never logged in**",
                user.name
            );
        }
    }
    shell.put(text.as_bytes());
    0
}
