//! Commands that read, make, move and remove files.

use super::modes::{chattr, chmod, chown, lsattr};
use super::paths::{
    basename, dirname, install, mknod, mktemp, readlink, realpath, shred, truncate,
};
use super::{Options, Run};
use crate::shell::Shell;
use crate::shell::vfs::Errno;

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

pub(super) fn cp(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
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

pub(super) fn missing(shell: &mut Shell, name: &str, what: &str) -> u8 {
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

pub(super) fn rm(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
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

pub(super) fn mkdir(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
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
