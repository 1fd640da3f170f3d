//! Commands that read, make, move and remove files.

use super::{Options, Run};
use crate::shell::Shell;
use crate::shell::vfs::{Errno, FileKind};

/// Most files that one recursive command visits.
const MAX_VISITS: usize = 4_096;

pub(super) fn find(name: &str) -> Option<Run> {
    Some(match name {
        "cat" => cat,
        "tac" => tac,
        "tee" => tee,
        "cp" => cp,
        "mv" => mv,
        "rm" => rm,
        "unlink" => rm,
        "rmdir" => rmdir,
        "mkdir" => mkdir,
        "touch" => touch,
        "chmod" => chmod,
        "chown" | "chgrp" => chown,
        "chattr" => chattr,
        "lsattr" => lsattr,
        "ln" => ln,
        "mktemp" | "tempfile" => mktemp,
        "truncate" => truncate,
        "install" => install,
        "shred" => shred,
        "mkfifo" => {
            |shell, words| each(shell, words, "mkfifo", |shell, path| shell.files.make_pipe(path))
        }
        "mknod" => mknod,
        "readlink" => readlink,
        "realpath" => realpath,
        "basename" => basename,
        "dirname" => dirname,
        "sync" | "fsync" | "fstrim" => |_, _| 0,
        "split" | "csplit" => |shell, _| {
            shell.read_all();
            0
        },
        _ => return None,
    })
}

fn cat(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    let options = Options::new(words, "");
    let (all, status) = shell.inputs("cat", &options.rest);
    let mut number = 0;
    for (_, bytes) in all {
        if !options.any("nbA") {
            shell.put(&bytes);
            continue;
        }
        for line in super::lines(&bytes) {
            if !options.has('b') || line != b"\n" {
                number += 1;
                if options.any("nb") {
                    shell.put(format!("{number:6}\t").as_bytes());
                }
            }
            if options.has('A') {
                let shown = String::from_utf8_lossy(super::chomp(line)).replace('\t', "^I");
                shell.say(&format!("{shown}$"));
            } else {
                shell.put(line);
            }
        }
    }
    status
}

fn tac(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    let (all, status) = shell.inputs("tac", &Options::new(words, "").rest);
    for (_, bytes) in all {
        let lines: Vec<&[u8]> = super::lines(&bytes).collect();
        let text: Vec<u8> = lines.into_iter().rev().flatten().copied().collect();
        shell.put(&text);
    }
    status
}

fn tee(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    let options = Options::new(words, "");
    let bytes = shell.read_all();
    let mut status = 0;
    for file in &options.rest {
        if !shell.write_file("tee", file, &bytes, options.has('a')) {
            status = 1;
        }
    }
    shell.put(&bytes);
    status
}

/// Does `work` with the path of each argument; prints what failed.
fn each(
    shell: &mut Shell,
    words: &[Vec<u8>],
    name: &str,
    mut work: impl FnMut(&mut Shell, &str) -> Result<(), Errno>,
) -> u8 {
    let mut status = 0;
    for file in Options::new(words, "m").rest {
        let path = shell.path(&file);
        if let Err(why) = work(shell, &path) {
            status = shell.fails(name, &format!("{file}: {}", why.text()));
        }
        if !shell.budget.take(1) {
            break;
        }
    }
    status
}

fn cp(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    let options = Options::new(words, "tS");
    let mut files = options.rest.clone();
    let target = options.value('t').map(str::to_owned).or_else(|| files.pop());
    let (Some(target), false) = (target, files.is_empty()) else {
        return missing(shell, "cp", "missing file operand");
    };
    let into = shell.files.is_directory(&shell.path(&target));
    let mut status = 0;
    for file in files {
        let base = file.trim_end_matches('/').rsplit('/').next().unwrap_or(&file).to_owned();
        let goal =
            if into { format!("{}/{base}", target.trim_end_matches('/')) } else { target.clone() };
        let (from, to) = (shell.path(&file), shell.path(&goal));
        match shell.files.stat(&from, true) {
            Err(why) => {
                let text = if shell.gnu() {
                    format!("cannot stat '{file}': {}", why.text())
                } else {
                    format!("can't stat '{file}': {}", why.text())
                };
                status = shell.fails("cp", &text);
            }
            Ok(stat) if stat.is_directory() => {
                if options.any("raR") {
                    let mut left = MAX_VISITS;
                    copy_tree(shell, &from, &to, &mut left);
                } else {
                    let text = if shell.gnu() {
                        format!("-r not specified; omitting directory '{file}'")
                    } else {
                        format!("omitting directory '{file}'")
                    };
                    status = shell.fails("cp", &text);
                }
            }
            Ok(_) => {
                if let Err(why) = shell.files.copy(&from, &to) {
                    let text = if shell.gnu() {
                        format!("cannot create regular file '{goal}': {}", why.text())
                    } else {
                        format!("can't create '{goal}': {}", why.text())
                    };
                    status = shell.fails("cp", &text);
                }
            }
        }
        if !shell.budget.take(2) {
            break;
        }
    }
    status
}

fn copy_tree(shell: &mut Shell, from: &str, to: &str, left: &mut usize) {
    // What cannot be made shows when it is looked for.
    let _ = shell.files.make_directory(to, 0o755);
    for name in shell.files.list(from).unwrap_or_default() {
        if *left == 0 || !shell.budget.take(2) || to.starts_with(&format!("{from}/")) {
            return;
        }
        *left -= 1;
        let (inner, goal) = (format!("{from}/{name}"), format!("{to}/{name}"));
        if shell.files.stat(&inner, false).is_ok_and(|s| s.is_directory()) {
            if inner.len() < 512 {
                copy_tree(shell, &inner, &goal, left);
            }
        } else {
            let _ = shell.files.copy(&inner, &goal);
        }
    }
}

fn missing(shell: &mut Shell, name: &str, what: &str) -> u8 {
    if shell.gnu() {
        shell.fails(name, &format!("{what}\nTry '{name} --help' for more information."))
    } else {
        let (version, built) = shell.world.machine.busybox.clone();
        shell.err(
            format!(
                "BusyBox v{version} ({built}) multi-call binary.\n\nUsage: {name} [OPTIONS] ...\n\n"
            )
            .as_bytes(),
        );
        1
    }
}

fn mv(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    let options = Options::new(words, "tS");
    let mut files = options.rest.clone();
    let target = options.value('t').map(str::to_owned).or_else(|| files.pop());
    let (Some(target), false) = (target, files.is_empty()) else {
        return missing(shell, "mv", "missing file operand");
    };
    let into = shell.files.is_directory(&shell.path(&target));
    let mut status = 0;
    for file in files {
        let base = file.trim_end_matches('/').rsplit('/').next().unwrap_or(&file).to_owned();
        let goal =
            if into { format!("{}/{base}", target.trim_end_matches('/')) } else { target.clone() };
        let (from, to) = (shell.path(&file), shell.path(&goal));
        let text = match shell.files.rename(&from, &to) {
            Ok(()) => continue,
            Err(why) if shell.files.stat(&from, false).is_err() => {
                if shell.gnu() {
                    format!("cannot stat '{file}': {}", why.text())
                } else {
                    format!("can't rename '{file}': {}", why.text())
                }
            }
            Err(why) if shell.gnu() => format!("cannot move '{file}' to '{goal}': {}", why.text()),
            Err(why) => format!("can't rename '{file}': {}", why.text()),
        };
        status = shell.fails("mv", &text);
        if !shell.budget.take(2) {
            break;
        }
    }
    status
}

fn rm(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    let options = Options::new(words, "");
    let force = options.has('f') || options.long("force").is_some();
    let deep = options.any("rR") || options.long("recursive").is_some();
    if options.rest.is_empty() && !force {
        return missing(shell, "rm", "missing operand");
    }
    let mut status = 0;
    for file in &options.rest {
        let path = shell.path(file);
        if file == "/" && deep && options.long("no-preserve-root").is_none() && shell.gnu() {
            shell.err(b"rm: it is dangerous to operate recursively on '/'\nrm: use --no-preserve-root to override this failsafe\n");
            status = 1;
            continue;
        }
        let directory = shell.files.stat(&path, false).is_ok_and(|s| s.is_directory());
        let done = if directory && deep {
            shell.files.remove_tree(&path)
        } else {
            shell.files.remove(&path, false)
        };
        match done {
            Ok(()) => {}
            Err(Errno::NoEntry) if force => {}
            Err(why) => {
                let text = if shell.gnu() {
                    format!("cannot remove '{file}': {}", why.text())
                } else if directory && !deep {
                    format!("'{file}' is a directory")
                } else {
                    format!("can't remove '{file}': {}", why.text())
                };
                status = shell.fails("rm", &text);
            }
        }
        if !shell.budget.take(2) {
            break;
        }
    }
    status
}

fn rmdir(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    let mut status = 0;
    for file in Options::new(words, "").rest {
        let path = shell.path(&file);
        if let Err(why) = shell.files.remove(&path, true) {
            let text = if shell.gnu() {
                format!("failed to remove '{file}': {}", why.text())
            } else {
                format!("'{file}': {}", why.text())
            };
            status = shell.fails("rmdir", &text);
        }
    }
    status
}

fn mkdir(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    let options = Options::new(words, "m");
    let parents = options.has('p') || options.long("parents").is_some();
    let mode = options.value('m').and_then(|m| u32::from_str_radix(m, 8).ok()).unwrap_or(0o755);
    if options.rest.is_empty() {
        return missing(shell, "mkdir", "missing operand");
    }
    let mut status = 0;
    for file in options.rest {
        let path = shell.path(&file);
        let mut done = Ok(());
        if parents {
            let mut so_far = String::new();
            for part in path.split('/').filter(|p| !p.is_empty()).take(64) {
                so_far = format!("{so_far}/{part}");
                if !shell.files.is_directory(&so_far) {
                    done = shell.files.make_directory(&so_far, mode);
                    if done.is_err() {
                        break;
                    }
                }
            }
        } else {
            done = shell.files.make_directory(&path, mode);
        }
        if let Err(why) = done {
            let text = if shell.gnu() {
                format!("cannot create directory '{file}': {}", why.text())
            } else {
                format!("can't create directory '{file}': {}", why.text())
            };
            status = shell.fails("mkdir", &text);
        }
        if !shell.budget.take(2) {
            break;
        }
    }
    status
}

fn touch(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    let options = Options::new(words, "rtd");
    let like = options.value('r').map(str::to_owned);
    let date =
        like.and_then(|file| shell.files.stat(&shell.path(&file), true).ok()).map(|s| s.modified);
    let mut status = 0;
    for file in options.rest {
        let path = shell.path(&file);
        let done = if shell.files.exists(&path) {
            let now = shell.files.now;
            shell.files.set_modified(&path, date.unwrap_or(now))
        } else if options.flags.iter().any(|(flag, _)| *flag == 'c') {
            Ok(())
        } else {
            shell.files.write(&path, &[], true)
        };
        if let Err(why) = done {
            let text = if shell.gnu() {
                format!("cannot touch '{file}': {}", why.text())
            } else {
                format!("{file}: {}", why.text())
            };
            status = shell.fails("touch", &text);
        }
        if !shell.budget.take(1) {
            break;
        }
    }
    status
}

/// Paths at and below one, for recursive commands.
pub(super) fn below(shell: &mut Shell, path: &str) -> Vec<String> {
    let mut all = vec![path.to_owned()];
    let mut at = 0;
    while let Some(next) = all.get(at).cloned() {
        at += 1;
        if all.len() > MAX_VISITS || !shell.budget.take(1) {
            break;
        }
        if shell.files.stat(&next, false).is_ok_and(|s| s.is_directory()) {
            let names = shell.files.list(&next).unwrap_or_default();
            all.extend(
                names.into_iter().map(|name| format!("{}/{name}", next.trim_end_matches('/'))),
            );
        }
    }
    all
}

fn chmod(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    // Modes may begin with a dash, so that options are told by their letters.
    let (flags, rest): (Vec<&Vec<u8>>, Vec<&Vec<u8>>) = words.iter().partition(|w| {
        w.starts_with(b"-") && w.len() > 1 && w.iter().skip(1).all(|b| b"-Rfvc".contains(b))
    });
    let deep = flags.iter().any(|flag| flag.contains(&b'R'));
    let mut rest = rest.into_iter().map(|word| String::from_utf8_lossy(word).into_owned());
    let Some(mode) = rest.next() else { return missing(shell, "chmod", "missing operand") };
    let mut status = 0;
    let files: Vec<String> = rest.collect();
    if files.is_empty() {
        return missing(shell, "chmod", &format!("missing operand after '{mode}'"));
    }
    for file in files {
        let path = shell.path(&file);
        let paths = if deep { below(shell, &path) } else { vec![path] };
        for path in paths {
            let done = shell.files.stat(&path, true).and_then(|stat| {
                let new = mode_of(&mode, stat.mode, stat.is_directory()).ok_or(Errno::Invalid)?;
                if new & 0o111 != 0 && stat.mode & 0o111 == 0 {
                    shell.files.capture(&path);
                }
                shell.files.set_mode(&path, new)
            });
            if let Err(why) = done {
                let text = match why {
                    Errno::Invalid => format!("invalid mode: '{mode}'"),
                    _ if shell.gnu() => format!("cannot access '{file}': {}", why.text()),
                    _ => format!("{file}: {}", why.text()),
                };
                status = shell.fails("chmod", &text);
                break;
            }
            if !shell.budget.take(1) {
                return status;
            }
        }
    }
    status
}

/// A mode in octal or by letters.
pub(super) fn mode_of(text: &str, before: u32, directory: bool) -> Option<u32> {
    if text.bytes().all(|b| b.is_ascii_digit()) && !text.is_empty() {
        return u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o7777);
    }
    let mut mode = before;
    for clause in text.split(',') {
        let cut = clause.find(['+', '-', '='])?;
        let (who, rest) = clause.split_at(cut);
        let mut mask = 0;
        for letter in who.chars() {
            mask |= match letter {
                'u' => 0o700,
                'g' => 0o070,
                'o' => 0o007,
                'a' => 0o777,
                _ => return None,
            };
        }
        if mask == 0 {
            mask = 0o777;
        }
        let mut operator = '+';
        let mut bits = 0;
        for letter in rest.chars() {
            match letter {
                '+' | '-' | '=' => operator = letter,
                'r' => bits |= 0o444,
                'w' => bits |= 0o222,
                'x' => bits |= 0o111,
                'X' if directory || before & 0o111 != 0 => bits |= 0o111,
                'X' => {}
                's' => bits |= 0o6000,
                't' => bits |= 0o1000,
                _ => return None,
            }
        }
        let special = bits & 0o7000;
        bits &= mask;
        match operator {
            '+' => mode |= bits | special,
            '-' => mode &= !(bits | special),
            _ => mode = (mode & !mask) | bits,
        }
    }
    Some(mode)
}

fn chown(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    let options = Options::new(words, "");
    let mut rest = options.rest.iter();
    let Some(owner) = rest.next() else { return missing(shell, "chown", "missing operand") };
    let mut parts = owner.split([':', '.']);
    let id = |name: Option<&str>| {
        let name = name.filter(|name| !name.is_empty())?;
        name.parse().ok().or_else(|| {
            shell.world.machine.users.iter().find(|user| user.name == name).map(|user| user.uid)
        })
    };
    let (uid, gid) = (id(parts.next()), id(parts.next()));
    if uid.is_none() && gid.is_none() {
        return shell.fails("chown", &format!("invalid user: '{owner}'"));
    }
    let mut status = 0;
    for file in rest {
        let path = shell.path(file);
        let paths = if options.has('R') { below(shell, &path) } else { vec![path] };
        for path in paths {
            if let Err(why) = shell.files.set_owner(&path, uid, gid) {
                status = shell.fails("chown", &format!("cannot access '{file}': {}", why.text()));
                break;
            }
        }
    }
    status
}

fn chattr(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    let (changes, files): (Vec<&Vec<u8>>, Vec<&Vec<u8>>) = words.iter().partition(|word| {
        word.starts_with(b"-") || word.starts_with(b"+") || word.starts_with(b"=")
    });
    let mut status = 0;
    for file in files {
        let shown = String::from_utf8_lossy(file).into_owned();
        let path = shell.path(&shown);
        if let Err(why) = shell.files.stat(&path, true) {
            status = shell.fails("chattr", &format!("{} while trying to stat {shown}", why.text()));
            continue;
        }
        for change in &changes {
            if change.contains(&b'i') || change.contains(&b'a') && change.starts_with(b"-") {
                let done = shell.files.set_immutable(&path, change.starts_with(b"+"));
                if let Err(why) = done {
                    status = shell
                        .fails("chattr", &format!("{} while setting flags on {shown}", why.text()));
                }
            }
        }
    }
    status
}

fn lsattr(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    let mut files = Options::new(words, "").rest;
    if files.is_empty() {
        files = shell.files.list(&shell.cwd.clone()).unwrap_or_default();
    }
    for file in files {
        let path = shell.path(&file);
        match shell.files.stat(&path, true) {
            Ok(stat) => {
                let flag = if stat.immutable { 'i' } else { '-' };
                shell.say(&format!("----{flag}---------e------- {file}"));
            }
            Err(why) => {
                shell.fails("lsattr", &format!("{} while trying to stat {file}", why.text()));
            }
        }
    }
    0
}

fn ln(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    let options = Options::new(words, "t");
    let (Some(target), name) = (options.rest.first().cloned(), options.rest.get(1).cloned()) else {
        return missing(shell, "ln", "missing file operand");
    };
    let base = target.rsplit('/').next().unwrap_or(&target).to_owned();
    let mut name = name.unwrap_or_else(|| base.clone());
    if shell.files.is_directory(&shell.path(&name)) && !options.has('n') {
        name = format!("{}/{base}", name.trim_end_matches('/'));
    }
    let path = shell.path(&name);
    if options.has('f') {
        // What is not there need not go.
        let _ = shell.files.remove(&path, false);
    }
    let done = if options.has('s') {
        shell.files.make_link(&path, &target)
    } else {
        shell.files.copy(&shell.path(&target), &path)
    };
    match done {
        Ok(()) => 0,
        Err(why) => {
            let kind = if options.has('s') { "symbolic" } else { "hard" };
            shell.fails("ln", &format!("failed to create {kind} link '{name}': {}", why.text()))
        }
    }
}

fn mktemp(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    let options = Options::new(words, "pt");
    let template =
        options.rest.first().cloned().unwrap_or_else(|| "/tmp/tmp.XXXXXXXXXX".to_owned());
    let mut draw = crate::persona::Draw(shell.seed ^ shell.budget_steps());
    shell.pids += 1;
    let letters = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    let name: String = template
        .chars()
        .map(|c| if c == 'X' { char::from(*draw.one(letters)) } else { c })
        .collect();
    let path = shell.path(&name);
    let done = if options.has('d') {
        shell.files.make_directory(&path, 0o700)
    } else {
        shell.files.write(&path, &[], false).and_then(|()| shell.files.set_mode(&path, 0o600))
    };
    match done {
        Ok(()) => {
            shell.say(&name);
            0
        }
        Err(why) => shell.fails(
            "mktemp",
            &format!("failed to create file via template '{template}': {}", why.text()),
        ),
    }
}

fn truncate(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    let options = Options::new(words, "sr");
    let size = options.value('s').and_then(super::dd::bytes_of).unwrap_or(0);
    let mut status = 0;
    for file in options.rest {
        let path = shell.path(&file);
        let done = if size == 0 {
            shell.files.write(&path, &[], false)
        } else {
            shell.files.write_zeros(&path, size)
        };
        if let Err(why) = done {
            status = shell
                .fails("truncate", &format!("cannot open '{file}' for writing: {}", why.text()));
        }
    }
    status
}

fn install(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    let options = Options::new(words, "mogt");
    let mode = options.value('m').and_then(|m| u32::from_str_radix(m, 8).ok()).unwrap_or(0o755);
    if options.has('d') {
        let names: Vec<Vec<u8>> = options.rest.iter().map(|n| n.clone().into_bytes()).collect();
        return mkdir(shell, &[vec![b"-p".to_vec()], names].concat());
    }
    let names: Vec<Vec<u8>> = options.rest.iter().map(|n| n.clone().into_bytes()).collect();
    let status = cp(shell, &names);
    if status == 0
        && let Some(to) = options.rest.last()
    {
        let path = shell.path(to);
        // A directory keeps its own.
        let _ = shell.files.set_mode(&path, mode);
    }
    status
}

fn shred(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    let options = Options::new(words, "ns");
    if options.has('u') || options.long("remove").is_some() {
        let names: Vec<Vec<u8>> = options.rest.iter().map(|n| n.clone().into_bytes()).collect();
        return rm(shell, &names);
    }
    0
}

fn mknod(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    let rest = Options::new(words, "m").rest;
    let Some(name) = rest.first() else { return missing(shell, "mknod", "missing operand") };
    let path = shell.path(name);
    match shell.files.make_pipe(&path) {
        Ok(()) => 0,
        Err(why) => shell.fails("mknod", &format!("{name}: {}", why.text())),
    }
}

fn readlink(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    let options = Options::new(words, "");
    let mut status = 1;
    for file in &options.rest {
        let path = shell.path(file);
        if options.any("fem") {
            if let Ok(found) = shell.files.canonical(&path) {
                shell.say(&found);
                status = 0;
            }
        } else if let Ok(FileKind::Link(target)) = shell.files.stat(&path, false).map(|s| s.kind) {
            shell.say(&target);
            status = 0;
        }
    }
    status
}

fn realpath(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    let mut status = 0;
    for file in Options::new(words, "").rest {
        match shell.files.canonical(&shell.path(&file)) {
            Ok(found) => shell.say(&found),
            Err(why) => status = shell.fails("realpath", &format!("{file}: {}", why.text())),
        }
    }
    status
}

fn basename(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    let rest = Options::new(words, "s").rest;
    let name = rest.first().map_or("", String::as_str).trim_end_matches('/');
    let base = name.rsplit('/').next().unwrap_or(name);
    let base =
        rest.get(1).and_then(|end| base.strip_suffix(end.as_str())).unwrap_or(base).to_owned();
    shell.say(&base);
    0
}

fn dirname(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    for file in Options::new(words, "").rest {
        let shown = match file.trim_end_matches('/').rsplit_once('/') {
            Some(("", _)) => "/",
            Some((parent, _)) => parent,
            None => ".",
        };
        shell.say(shown);
    }
    0
}
