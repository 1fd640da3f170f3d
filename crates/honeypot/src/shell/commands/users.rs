//! Users, passwords and cron: what attackers change to stay.

use super::{Options, Run};
use crate::System;
use crate::shell::{Act, Shell};

/// Longest password that is noted.
const MAX_PASSWORD_BYTES: usize = 1_024;

pub(super) fn find(name: &str) -> Option<Run> {
    Some(match name {
        "id" => id,
        "whoami" => |shell, _| {
            let name = name_of(shell);
            shell.say(&name);
            0
        },
        "logname" => |shell, _| {
            let name = shell.files.seat.user.clone();
            shell.say(&name);
            0
        },
        "groups" => |shell, _| {
            let name = name_of(shell);
            shell.say(&name);
            0
        },
        "passwd" => passwd,
        "chpasswd" | "chgpasswd" => chpasswd,
        "useradd" | "adduser" => useradd,
        "usermod" | "chage" | "chsh" | "chfn" | "gpasswd" => usermod,
        "userdel" | "deluser" => userdel,
        "groupadd" | "addgroup" | "groupdel" | "delgroup" | "groupmod" => |_, _| 0,
        "su" | "login" => su,
        "sudo" | "doas" => sudo,
        "getent" => getent,
        "crontab" => crontab,
        "at" | "batch" => |shell, _| {
            shell.read_all();
            0
        },
        "visudo" | "vipw" => |_, _| 0,
        _ => return None,
    })
}

fn name_of(shell: &Shell) -> String {
    if shell.files.uid == 0 { "root".to_owned() } else { shell.files.seat.user.clone() }
}

fn id(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    let options = Options::new(words, "");
    let (name, uid) = match options.rest.first() {
        Some(name) => match shell.world.machine.users.iter().find(|user| user.name == *name) {
            Some(user) => (name.clone(), user.uid),
            None if *name == shell.files.seat.user => (name.clone(), shell.files.seat.uid),
            None if in_passwd(shell, name) => (name.clone(), uid_of(shell, name)),
            None => {
                let text = if shell.gnu() {
                    format!("'{name}': no such user")
                } else {
                    format!("unknown user {name}")
                };
                return shell.fails("id", &text);
            }
        },
        None => (name_of(shell), shell.files.uid),
    };
    let text = match (options.any("ug"), options.has('n')) {
        (true, true) => name,
        (true, false) => uid.to_string(),
        _ if shell.gnu() => format!("uid={uid}({name}) gid={uid}({name}) groups={uid}({name})"),
        _ => format!("uid={uid}({name}) gid={uid}({name})"),
    };
    shell.say(&text);
    0
}

fn change(shell: &mut Shell, user: &str, password: &[u8]) {
    let password = password.get(..MAX_PASSWORD_BYTES).unwrap_or(password).to_vec();
    let mut over = shell.files.overlay();
    if over.passwords.len() < 64 || over.passwords.contains_key(user) {
        over.passwords.insert(user.to_owned(), password.clone());
    }
    drop(over);
    // The line in /etc/shadow is new, too.
    let hash = crate::persona::hash(&password);
    let text = shell.files.read("/etc/shadow", 0, 64 * 1024).unwrap_or_default();
    let text = String::from_utf8_lossy(&text).into_owned();
    let day = shell.files.now / 86_400;
    let lines: String = text
        .lines()
        .map(|line| match line.split_once(':') {
            Some((name, _)) if name == user => {
                format!("{user}:$6${hash:016x}${:022x}:{day}:0:99999:7:::\n", hash.rotate_left(7))
            }
            _ => format!("{line}\n"),
        })
        .collect();
    let root = std::mem::replace(&mut shell.files.uid, 0);
    // Where /etc cannot be written the password is noted all the same.
    let _ = shell.files.write("/etc/shadow", lines.as_bytes(), false);
    shell.files.uid = root;
    shell.files.overlay().forget("/etc/shadow");
    shell.act(Act::PasswordChanged { user: user.to_owned(), password });
}

fn passwd(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    let options = Options::new(words, "nxwi");
    let user = options.rest.first().cloned().unwrap_or_else(|| name_of(shell));
    if options.any("dlu") {
        shell.say("passwd: password expiry information changed.");
        return 0;
    }
    let known = shell.world.machine.users.iter().any(|u| u.name == user)
        || user == shell.files.seat.user
        || in_passwd(shell, &user);
    if !known {
        let text = if shell.gnu() {
            format!("user '{user}' does not exist")
        } else {
            format!("unknown user {user}")
        };
        return shell.fails("passwd", &text);
    }
    let busybox = !shell.gnu();
    let terminal = shell.stdin.terminal || shell.hides_input();
    let lines: Vec<Vec<u8>> = std::iter::from_fn(|| shell.read_line())
        .map(|line| super::chomp(&line).to_vec())
        .filter(|line| !line.is_empty())
        .take(4)
        .collect();
    if busybox {
        shell.say(&format!("Changing password for {user}"));
    }
    // The terminal has shown the questions; into a pipe they come now.
    let asked = !terminal && !shell.tty;
    if asked || !shell.stdin.terminal && lines.len() > 2 {
        shell.err(b"New password: Retype new password: ");
    }
    // `old\nnew\nnew` as well as `new\nnew`.
    match lines.as_slice() {
        [.., one, two] if one == two => {
            let password = one.clone();
            change(shell, &user, &password);
            let text = if busybox {
                format!("Password for {user} changed by root")
            } else {
                "passwd: password updated successfully".to_owned()
            };
            if busybox {
                shell.say(&text)
            } else {
                shell.err(format!("{text}\n").as_bytes())
            }
            0
        }
        [_, _, ..] if busybox => shell.fails("passwd", "passwords don't match"),
        [_, _, ..] => {
            shell.err(b"Sorry, passwords do not match.\npasswd: Authentication token manipulation error\npasswd: password unchanged\n");
            10
        }
        _ => {
            shell.err(b"Password change has been aborted.\npasswd: Authentication token manipulation error\npasswd: password unchanged\n");
            10
        }
    }
}

fn uid_of(shell: &Shell, user: &str) -> u32 {
    let text = shell.files.read("/etc/passwd", 0, 64 * 1024).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let line = text.lines().find(|line| line.split(':').next() == Some(user));
    line.and_then(|line| line.split(':').nth(2)?.parse().ok()).unwrap_or(0)
}

fn in_passwd(shell: &Shell, user: &str) -> bool {
    let text = shell.files.read("/etc/passwd", 0, 64 * 1024).unwrap_or_default();
    String::from_utf8_lossy(&text).lines().any(|line| line.split(':').next() == Some(user))
}

fn chpasswd(shell: &mut Shell, _: &[Vec<u8>]) -> u8 {
    let mut status = 0;
    let mut number = 0;
    while let Some(line) = shell.read_line() {
        number += 1;
        let text = super::chomp(&line);
        let Some(cut) = text.iter().position(|b| *b == b':') else {
            if !text.is_empty() {
                shell.err(format!("chpasswd: line {number}: missing new password\n").as_bytes());
                status = 1;
            }
            continue;
        };
        let user = String::from_utf8_lossy(text.get(..cut).unwrap_or_default()).trim().to_owned();
        let known = in_passwd(shell, &user) || user == shell.files.seat.user;
        if !known {
            shell
                .err(format!("chpasswd: line {number}: user '{user}' does not exist\n").as_bytes());
            status = 1;
            continue;
        }
        let password = text.get(cut + 1..).unwrap_or_default().to_vec();
        change(shell, &user, &password);
        if !shell.gnu() {
            shell.say(&format!("Password for '{user}' changed"));
        }
        if !shell.budget.take(20) {
            break;
        }
    }
    status
}

fn useradd(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    let options = Options::new(words, "usgGdcpekfK");
    let Some(user) = options.rest.last().cloned() else {
        shell.err(b"Usage: useradd [options] LOGIN\n");
        return 2;
    };
    if in_passwd(shell, &user) {
        shell.err(format!("useradd: user '{user}' already exists\n").as_bytes());
        return 9;
    }
    if shell.files.uid != 0 {
        shell.err(
            b"useradd: Permission denied.\nuseradd: cannot lock /etc/passwd; try again later.\n",
        );
        return 1;
    }
    let uid: u32 = options.value('u').and_then(|u| u.parse().ok()).unwrap_or(1_002);
    let home = options.value('d').map_or_else(|| format!("/home/{user}"), str::to_owned);
    let login = options.value('s').unwrap_or("/bin/sh").to_owned();
    let line = format!("{user}:x:{uid}:{uid}::{home}:{login}\n");
    // A full overlay shows in what is listed later.
    let _ = shell.files.write("/etc/passwd", line.as_bytes(), true);
    let _ = shell.files.write(
        "/etc/shadow",
        format!("{user}:!:{}:0:99999:7:::\n", shell.files.now / 86_400).as_bytes(),
        true,
    );
    if options.has('m') {
        let _ = shell.files.make_directory(&home, 0o755);
    }
    for path in ["/etc/passwd", "/etc/shadow"] {
        shell.files.overlay().forget(path);
    }
    shell.act(Act::UserAdded { user: user.clone() });
    if let Some(hash) = options.value('p') {
        let hash = hash.as_bytes().to_vec();
        shell.act(Act::PasswordChanged { user, password: hash });
    }
    0
}

fn usermod(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    let options = Options::new(words, "usgGdcpaLlEMmI");
    let Some(user) = options.rest.last().cloned() else { return 2 };
    if !in_passwd(shell, &user) && user != "sudo" {
        shell.err(format!("usermod: user '{user}' does not exist\n").as_bytes());
        return 6;
    }
    0
}

fn userdel(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    let options = Options::new(words, "");
    let Some(user) = options.rest.last().cloned() else { return 2 };
    if !in_passwd(shell, &user) {
        shell.err(format!("userdel: user '{user}' does not exist\n").as_bytes());
        return 6;
    }
    let text = shell.files.read("/etc/passwd", 0, 64 * 1024).unwrap_or_default();
    let kept: String = String::from_utf8_lossy(&text)
        .lines()
        .filter(|line| line.split(':').next() != Some(user.as_str()))
        .map(|line| format!("{line}\n"))
        .collect();
    u8::from(!shell.write_file("userdel", "/etc/passwd", kept.as_bytes(), false))
}

fn su(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    let options = Options::new(words, "cs");
    if let Some(command) = options.value('c').map(str::to_owned) {
        // A stop shows in the budget.
        let _ = shell.run_text(command.as_bytes());
        return shell.status;
    }
    if shell.files.uid == 0 { 0 } else { shell.fails("su", "Authentication failure") }
}

fn sudo(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    if shell.world.machine.system == System::BusyBox {
        return 127;
    }
    if words.iter().any(|w| w == b"-l") {
        let (user, host) = (shell.files.seat.user.clone(), shell.world.machine.hostname.clone());
        shell.say(&format!(
            "User {user} may run the following commands on {host}:\n    (ALL : ALL) ALL"
        ));
    } else if words.iter().any(|w| w == b"-i" || w == b"-s" || w == b"su") {
        shell.files.uid = 0;
    } else if words.is_empty() {
        shell.err(b"usage: sudo -h | -K | -k | -V\nusage: sudo -v [-ABkNnS] [-g group] [-h host] [-p prompt] [-u user]\n");
        return 1;
    }
    0
}

fn getent(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    let (base, key) = (words.first(), words.get(1));
    let Some(base) = base else { return 1 };
    let path = format!("/etc/{}", String::from_utf8_lossy(base));
    let text = shell.files.read(&path, 0, 64 * 1024).unwrap_or_default();
    let mut status = 2;
    for line in super::lines(&text) {
        let first = line.split(|b| *b == b':' || b.is_ascii_whitespace()).next();
        if key.is_none_or(|key| first == Some(key.as_slice())) {
            shell.put(line);
            status = 0;
        }
    }
    status
}

fn crontab(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    let options = Options::new(words, "u");
    let user = options.value('u').map_or_else(|| name_of(shell), str::to_owned);
    let path = format!("/var/spool/cron/crontabs/{}", user.replace('/', "_"));
    let root = std::mem::replace(&mut shell.files.uid, 0);
    let status = if options.has('l') {
        match shell.files.read(&path, 0, 256 * 1024) {
            Ok(text) => {
                shell.put(&text);
                0
            }
            Err(_) if shell.gnu() => {
                shell.err(format!("no crontab for {user}\n").as_bytes());
                1
            }
            Err(_) => {
                shell.fails("crontab", &format!("can't open '{user}': No such file or directory"))
            }
        }
    } else if options.has('r') {
        match shell.files.remove(&path, false) {
            Ok(()) => 0,
            Err(_) => {
                shell.err(format!("no crontab for {user}\n").as_bytes());
                1
            }
        }
    } else if options.has('e') {
        0
    } else {
        let file = options.rest.first().map_or("-", String::as_str).to_owned();
        match shell.slurp(&file) {
            Ok(text) => {
                if !shell.files.is_directory("/var/spool/cron/crontabs") {
                    for directory in ["/var/spool/cron", "/var/spool/cron/crontabs"] {
                        // The second fails with the first, and the write with both.
                        let _ = shell.files.make_directory(directory, 0o755);
                    }
                }
                let done = shell.files.write(&path, &text, false);
                u8::from(done.is_err())
            }
            Err(why) => {
                shell.err(format!("{file}: {}\n", why.text()).as_bytes());
                1
            }
        }
    };
    shell.files.uid = root;
    status
}
