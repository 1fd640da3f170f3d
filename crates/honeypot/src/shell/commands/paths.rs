//! Names and links, temporary and odd files.

use super::Options;
use super::files::{cp, missing, mkdir, rm};
use crate::shell::Shell;
use crate::shell::vfs::FileKind;

pub(super) fn mktemp(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
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

pub(super) fn truncate(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
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

pub(super) fn install(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
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

pub(super) fn shred(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    let options = Options::new(words, "ns");
    if options.has('u') || options.long("remove").is_some() {
        let names: Vec<Vec<u8>> = options.rest.iter().map(|n| n.clone().into_bytes()).collect();
        return rm(shell, &names);
    }
    0
}

pub(super) fn mknod(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    let rest = Options::new(words, "m").rest;
    let Some(name) = rest.first() else { return missing(shell, "mknod", "missing operand") };
    let path = shell.path(name);
    match shell.files.make_pipe(&path) {
        Ok(()) => 0,
        Err(why) => shell.fails("mknod", &format!("{name}: {}", why.text())),
    }
}

pub(super) fn readlink(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
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

pub(super) fn realpath(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    let mut status = 0;
    for file in Options::new(words, "").rest {
        match shell.files.canonical(&shell.path(&file)) {
            Ok(found) => shell.say(&found),
            Err(why) => status = shell.fails("realpath", &format!("{file}: {}", why.text())),
        }
    }
    status
}

pub(super) fn basename(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    let rest = Options::new(words, "s").rest;
    let name = rest.first().map_or("", String::as_str).trim_end_matches('/');
    let base = name.rsplit('/').next().unwrap_or(name);
    let base =
        rest.get(1).and_then(|end| base.strip_suffix(end.as_str())).unwrap_or(base).to_owned();
    shell.say(&base);
    0
}

pub(super) fn dirname(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
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
