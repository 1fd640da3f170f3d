//! Permissions, owners, attributes.

use super::Options;
use super::files::{below, missing};
use crate::shell::Shell;
use crate::shell::vfs::Errno;

pub(super) fn chmod(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
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

pub(super) fn chown(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
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

pub(super) fn chattr(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
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

pub(super) fn lsattr(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
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
