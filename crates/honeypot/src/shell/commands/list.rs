//! Commands that show what is there: `ls`, `find`, `stat`, `du`, `which`.

use std::fmt::Write as _;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::find::find_files;
use super::{Options, Run};
use crate::shell::Shell;
use crate::shell::vfs::{FileKind, Stat};

/// Half a year, after which `ls -l` shows the year.
const HALF_YEAR_SECS: i64 = 15_778_476;

pub(super) fn find(name: &str) -> Option<Run> {
    Some(match name {
        "ls" | "dir" | "vdir" => ls,
        "find" => find_files,
        "stat" => stat,
        "file" => file,
        "du" => du,
        "tree" => tree,
        "which" => which,
        "whereis" => whereis,
        "locate" => |_, _| 1,
        _ => return None,
    })
}

/// A date by jiff's format.
pub(super) fn date(seconds: i64, format: &str) -> String {
    Timestamp::from_second(seconds).map_or_else(
        |_| String::new(),
        |stamp| stamp.to_zoned(TimeZone::UTC).strftime(format).to_string(),
    )
}

fn owner(shell: &Shell, id: u32, group: bool) -> String {
    let users = &shell.world.machine.users;
    let by = |user: &&crate::persona::User| if group { user.gid == id } else { user.uid == id };
    match users.iter().find(by) {
        Some(user) => user.name.clone(),
        None if group && id == 42 => "shadow".to_owned(),
        None if group && id == 5 => "tty".to_owned(),
        None if group && id == 6 => "disk".to_owned(),
        None if id == shell.files.uid => shell.files.seat.user.clone(),
        None => id.to_string(),
    }
}

/// `4.0K`, as `ls -h` and `df -h` round it.
pub(super) fn human(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["", "K", "M", "G", "T"];
    let (mut unit, mut size) = (0, bytes);
    let mut tenths = bytes.saturating_mul(10);
    while size >= 1024 && unit + 1 < UNITS.len() {
        unit += 1;
        size = size.div_ceil(1024);
        tenths = tenths.div_ceil(1024);
    }
    let name = UNITS.get(unit).copied().unwrap_or("");
    if unit > 0 && tenths < 100 {
        format!("{}.{}{name}", tenths / 10, tenths % 10)
    } else {
        format!("{size}{name}")
    }
}

struct Row {
    name: String,
    stat: Stat,
}

fn ls(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    let options = Options::new(words, "IwT");
    let mut names = options.rest.clone();
    if names.is_empty() {
        names.push(".".to_owned());
    }
    let long = options.any("lno") || options.long("format").is_some();
    let mut status = 0;
    let (mut files, mut directories) = (Vec::new(), Vec::new());
    for name in names {
        let path = shell.path(&name);
        match shell
            .files
            .stat(&path, !long || name.ends_with('/'))
            .or_else(|_| shell.files.stat(&path, false))
        {
            Ok(stat) => {
                let to_directory = matches!(stat.kind, FileKind::Link(_))
                    && !long
                    && shell.files.is_directory(&path);
                if (stat.is_directory() || to_directory) && !options.has('d') {
                    directories.push(name);
                } else {
                    files.push(Row { name, stat });
                }
            }
            Err(why) => {
                let text = if shell.gnu() {
                    format!("cannot access '{name}': {}", why.text())
                } else {
                    format!("{name}: {}", why.text())
                };
                shell.fails("ls", &text);
                status = if shell.gnu() { 2 } else { 1 };
            }
        }
    }
    let heads = files.len() + directories.len() > 1 || options.has('R');
    let mut printed = !files.is_empty();
    show(shell, files, &options, long, false);
    let mut left: Vec<String> = directories.into_iter().rev().collect();
    while let Some(name) = left.pop() {
        if !shell.budget.take(4) {
            break;
        }
        let path = shell.path(&name);
        let names = match shell.files.list(&path) {
            Ok(names) => names,
            Err(why) => {
                shell.fails("ls", &format!("cannot open directory '{name}': {}", why.text()));
                status = 2;
                continue;
            }
        };
        if heads {
            let gap = if printed { "\n" } else { "" };
            shell.put(format!("{gap}{name}:\n").as_bytes());
        }
        printed = true;
        let all = options.has('a');
        let mut rows = Vec::new();
        if all {
            for special in [".", ".."] {
                if let Ok(stat) = shell.files.stat(&format!("{path}/{special}"), true) {
                    rows.push(Row { name: special.to_owned(), stat });
                }
            }
        }
        for entry in names {
            if entry.starts_with('.') && !options.any("aA") {
                continue;
            }
            if let Ok(stat) = shell.files.stat(&format!("{path}/{entry}"), false) {
                if options.has('R') && stat.is_directory() && left.len() < 256 {
                    left.push(format!("{}/{entry}", name.trim_end_matches('/')));
                }
                rows.push(Row { name: entry, stat });
            }
        }
        show(shell, rows, &options, long, true);
    }
    status
}

fn show(shell: &mut Shell, mut rows: Vec<Row>, options: &Options, long: bool, directory: bool) {
    if options.has('t') {
        rows.sort_by_key(|row| std::cmp::Reverse(row.stat.modified));
    } else if options.has('S') {
        rows.sort_by_key(|row| std::cmp::Reverse(row.stat.size));
    }
    if options.has('r') {
        rows.reverse();
    }
    if !shell.budget.take(u32::try_from(rows.len() / 2).unwrap_or(u32::MAX)) {
        return;
    }
    let mut text = String::new();
    if !long {
        let terminal = shell.to_terminal() && !options.has('1') && shell.gnu();
        let shown: Vec<String> = rows
            .iter()
            .map(|row| {
                let mark = if options.any("Fp") && row.stat.is_directory() { "/" } else { "" };
                let number =
                    if options.has('i') { format!("{} ", row.stat.inode) } else { String::new() };
                format!("{number}{}{mark}", row.name)
            })
            .collect();
        let wide = shell.to_terminal() && !options.has('1');
        text = if terminal || wide {
            columns(&shown, if terminal { 80 } else { 79 })
        } else {
            shown.concat_lines()
        };
        shell.put(text.as_bytes());
        return;
    }
    if directory {
        let blocks: u64 = rows.iter().map(|row| blocks(&row.stat)).sum();
        let shown = if options.has('h') { human(blocks * 1024) } else { blocks.to_string() };
        let _ = writeln!(text, "total {shown}");
    }
    let sizes: Vec<String> = rows
        .iter()
        .map(|row| match row.stat.kind {
            FileKind::Device(_, major, minor) => format!("{major}, {minor:3}"),
            _ if options.has('h') => human(row.stat.size),
            _ => row.stat.size.to_string(),
        })
        .collect();
    let name = |id: u32, group: bool| {
        if options.has('n') { id.to_string() } else { owner(shell, id, group) }
    };
    let owners: Vec<(String, String)> =
        rows.iter().map(|r| (name(r.stat.uid, false), name(r.stat.gid, true))).collect();
    let width = |items: &mut dyn Iterator<Item = usize>| items.max().unwrap_or(0);
    let (links, user, group, size) = if shell.gnu() {
        (
            width(&mut rows.iter().map(|row| row.stat.links.to_string().len())),
            width(&mut owners.iter().map(|(user, _)| user.len())),
            width(&mut owners.iter().map(|(_, group)| group.len())),
            width(&mut sizes.iter().map(String::len)),
        )
    } else {
        (5, 8, 8, 9)
    };
    for ((row, shown), (by, of)) in rows.iter().zip(&sizes).zip(&owners) {
        let stat = &row.stat;
        let recent = (0..HALF_YEAR_SECS).contains(&(shell.files.now - stat.modified));
        let when = if options.long("full-time").is_some() {
            date(stat.modified, "%Y-%m-%d %H:%M:%S.000000000 +0000")
        } else {
            date(stat.modified, if recent { "%b %e %H:%M" } else { "%b %e  %Y" })
        };
        if options.has('i') {
            let _ = write!(text, "{} ", stat.inode);
        }
        let of = if options.has('o') { String::new() } else { format!("{of:<group$} ") };
        let _ = write!(
            text,
            "{} {:>links$} {by:<user$} {of}{shown:>size$} {when} {}",
            stat.permissions(),
            stat.links,
            row.name
        );
        if let FileKind::Link(target) = &stat.kind {
            let _ = write!(text, " -> {target}");
        } else if options.any("Fp") && stat.is_directory() {
            text.push('/');
        }
        text.push('\n');
    }
    shell.put(text.as_bytes());
}

trait ConcatLines {
    fn concat_lines(&self) -> String;
}

impl ConcatLines for Vec<String> {
    fn concat_lines(&self) -> String {
        self.iter().fold(String::new(), |mut text, line| {
            text.push_str(line);
            text.push('\n');
            text
        })
    }
}

/// KiB that a file takes on disk.
fn blocks(stat: &Stat) -> u64 {
    match stat.kind {
        FileKind::File | FileKind::Directory => stat.size.div_ceil(4096) * 4,
        _ => 0,
    }
}

/// Names in columns, filled from top to bottom as `ls` does.
fn columns(names: &[String], width: usize) -> String {
    let count = names.len();
    let length = |name: &String| name.chars().count();
    for rows in 1..=count.max(1) {
        let widths: Vec<usize> = names
            .chunks(rows)
            .map(|column| column.iter().map(length).max().unwrap_or(0) + 2)
            .collect();
        if widths.iter().sum::<usize>().saturating_sub(2) >= width && rows < count {
            continue;
        }
        let mut text = String::new();
        for row in 0..rows {
            let mut line = String::new();
            for (column, width) in names.chunks(rows).zip(&widths) {
                if let Some(name) = column.get(row) {
                    let _ = write!(line, "{name:<width$}");
                }
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        return if count == 0 { String::new() } else { text };
    }
    String::new()
}

fn stat(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    let options = Options::new(words, "c");
    let mut status = 0;
    for name in &options.rest {
        let path = shell.path(name);
        let found = match shell.files.stat(&path, options.has('L')) {
            Ok(found) => found,
            Err(why) => {
                let text = if shell.gnu() {
                    format!("cannot statx '{name}': {}", why.text())
                } else {
                    format!("can't stat '{name}': {}", why.text())
                };
                status = shell.fails("stat", &text);
                continue;
            }
        };
        if let Some(format) = options.value('c').or_else(|| options.long("format")) {
            let text = format
                .replace("%s", &found.size.to_string())
                .replace("%a", &format!("{:o}", found.mode))
                .replace("%A", &found.permissions())
                .replace("%U", &owner(shell, found.uid, false))
                .replace("%G", &owner(shell, found.gid, true))
                .replace("%u", &found.uid.to_string())
                .replace("%n", name)
                .replace("%i", &found.inode.to_string())
                .replace("%Y", &found.modified.to_string())
                .replace("%y", &date(found.modified, "%Y-%m-%d %H:%M:%S.000000000 +0000"));
            shell.say(&text);
            continue;
        }
        let kind = match &found.kind {
            FileKind::Directory => "directory",
            FileKind::File if found.size == 0 => "regular empty file",
            FileKind::File => "regular file",
            FileKind::Link(_) => "symbolic link",
            FileKind::Device(true, ..) => "block special file",
            FileKind::Device(false, ..) => "character special file",
            FileKind::Pipe => "fifo",
        };
        let shown = match &found.kind {
            FileKind::Link(target) => format!("{name} -> {target}"),
            _ => name.clone(),
        };
        let when = date(found.modified, "%Y-%m-%d %H:%M:%S.000000000 +0000");
        let text = format!(
            "  File: {shown}\n  Size: {:<10}\tBlocks: {:<10} IO Block: 4096   {kind}\nDevice: 8,1\tInode: {:<11} Links: {}\nAccess: ({:04o}/{})  Uid: ({:5}/{:>8})   Gid: ({:5}/{:>8})\nAccess: {when}\nModify: {when}\nChange: {when}\n Birth: {when}",
            found.size,
            blocks(&found) * 2,
            found.inode,
            found.links,
            found.mode,
            found.permissions(),
            found.uid,
            owner(shell, found.uid, false),
            found.gid,
            owner(shell, found.gid, true)
        );
        shell.say(&text);
    }
    status
}

fn file(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    let elf = shell.world.machine.elf;
    for name in Options::new(words, "").rest {
        let path = shell.path(&name);
        let text = match shell.files.stat(&path, false) {
            Err(why) => format!("cannot open `{name}' ({})", why.text()),
            Ok(stat) => match stat.kind {
                FileKind::Directory => "directory".to_owned(),
                FileKind::Link(target) => format!("symbolic link to {target}"),
                FileKind::Device(_, major, minor) => format!("character special ({major}/{minor})"),
                FileKind::Pipe => "fifo (named pipe)".to_owned(),
                FileKind::File => {
                    let head = shell.files.read(&path, 0, 512).unwrap_or_default();
                    if head.is_empty() {
                        "empty".to_owned()
                    } else if head.starts_with(b"\x7fELF") {
                        let bits = if head.get(4) == Some(&2) { 64 } else { 32 };
                        let order = if head.get(5) == Some(&2) { "MSB" } else { "LSB" };
                        let machine = match (head.get(18), head.get(19)) {
                            (Some(62), _) => "x86-64",
                            (Some(3), _) => "Intel 80386",
                            (Some(40), _) | (_, Some(40)) => "ARM",
                            (Some(8), _) | (_, Some(8)) => "MIPS",
                            _ => "unknown",
                        };
                        let _ = elf;
                        format!(
                            "ELF {bits}-bit {order} executable, {machine}, version 1 (SYSV), dynamically linked, stripped"
                        )
                    } else if head.starts_with(b"#!") {
                        "POSIX shell script, ASCII text executable".to_owned()
                    } else if head.iter().all(u8::is_ascii) {
                        "ASCII text".to_owned()
                    } else {
                        "data".to_owned()
                    }
                }
            },
        };
        shell.say(&format!("{name}: {text}"));
    }
    0
}

fn du(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    let options = Options::new(words, "d");
    let mut names = options.rest.clone();
    if names.is_empty() {
        names.push(".".to_owned());
    }
    for name in names {
        let path = shell.path(&name);
        let mut total = 0;
        for inner in super::files::below(shell, &path) {
            total += shell.files.stat(&inner, false).map_or(0, |stat| blocks(&stat));
        }
        let shown = if options.has('h') { human(total * 1024) } else { total.to_string() };
        shell.say(&format!("{shown}\t{name}"));
    }
    0
}

fn tree(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    let name = Options::new(words, "L").rest.first().cloned().unwrap_or_else(|| ".".to_owned());
    let base = shell.path(&name);
    shell.say(&name);
    for path in super::files::below(shell, &base).into_iter().skip(1).take(200) {
        let rest = path.strip_prefix(base.as_str()).unwrap_or_default();
        let depth = rest.matches('/').count().saturating_sub(1);
        let last = rest.rsplit('/').next().unwrap_or(rest);
        shell.say(&format!("{}├── {last}", "│   ".repeat(depth)));
    }
    0
}

fn which(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    let mut status = 0;
    for name in Options::new(words, "").rest {
        let found = if name.contains('/') {
            shell
                .files
                .stat(&shell.path(&name), true)
                .is_ok_and(|s| s.mode & 0o111 != 0)
                .then(|| name.clone())
        } else {
            shell.find_program(&name)
        };
        match found {
            Some(path) => shell.say(&path),
            None => status = 1,
        }
    }
    status
}

fn whereis(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    for name in Options::new(words, "").rest {
        let found = shell.find_program(&name).map_or(String::new(), |path| format!(" {path}"));
        shell.say(&format!("{name}:{found}"));
    }
    0
}
