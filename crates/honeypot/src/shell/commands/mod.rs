//! The commands, as answers. None does anything but print and change the
//! overlay. A command is a function of the shell and its arguments that
//! returns the exit status; what it prints is charged to the budget.

mod admin;
mod archive;
mod awk;
mod builtins;
mod bytes;
mod columns;
mod dd;
mod digest;
mod disks;
mod download;
mod fetch;
mod files;
mod find;
mod grep;
mod hardware;
mod list;
mod modes;
mod net;
mod paths;
mod printf;
mod processes;
mod script;
mod sed;
mod system;
mod text;
mod users;

use regex::bytes::{Regex, RegexBuilder};

use super::vfs::{Errno, FileKind};
use super::{Flavor, Flow, Shell};
use crate::System;

/// A command.
pub(super) type Run = fn(&mut Shell, &[Vec<u8>]) -> u8;

/// Bytes of a file that are read at a time.
const PIECE_BYTES: usize = 64 * 1024;
/// Most arguments that one call of `xargs` hands on.
const MAX_XARGS: usize = 2_048;

/// A program of the machine by name.
pub(super) fn find(name: &str) -> Option<Run> {
    files::find(name)
        .or_else(|| list::find(name))
        .or_else(|| text::find(name))
        .or_else(|| bytes::find(name))
        .or_else(|| digest::find(name))
        .or_else(|| archive::find(name))
        .or_else(|| system::find(name))
        .or_else(|| processes::find(name))
        .or_else(|| users::find(name))
        .or_else(|| net::find(name))
        .or_else(|| fetch::find(name))
        .or_else(|| admin::find(name))
        .or_else(|| script::find(name))
        .or_else(|| builtins::program(name))
        .or(match name {
            "grep" | "egrep" | "fgrep" | "rgrep" | "zgrep" => Some(match name {
                "egrep" => grep::egrep,
                "fgrep" => grep::fgrep,
                _ => grep::grep,
            }),
            "sed" => Some(sed::sed),
            "awk" | "gawk" | "mawk" | "nawk" => Some(awk::awk),
            "dd" => Some(dd::dd),
            _ => None,
        })
}

pub(super) use self::builtins::builtin;

/// All names of commands that have an answer, for the table in the docs.
#[cfg(test)]
pub(super) fn answered<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    names.filter(|name| find(name).is_some()).collect()
}

/// Arguments, taken apart as `getopt` does.
#[derive(Debug, Default)]
pub(super) struct Options {
    /// Letters with their values.
    flags: Vec<(char, String)>,
    /// `--name` with `=value`.
    long: Vec<(String, String)>,
    pub(super) rest: Vec<String>,
}

impl Options {
    /// Letters of `valued` take a value; a digit is a letter with itself as
    /// the value (`head -5`).
    pub(super) fn new(arguments: &[Vec<u8>], valued: &str) -> Self {
        let mut options = Self::default();
        let mut words = arguments.iter().map(|word| String::from_utf8_lossy(word).into_owned());
        while let Some(word) = words.next() {
            if word == "--" {
                options.rest.extend(words.by_ref());
            } else if let Some(name) = word.strip_prefix("--") {
                let (name, value) = name.split_once('=').unwrap_or((name, ""));
                options.long.push((name.to_owned(), value.to_owned()));
            } else if let Some(letters) =
                word.strip_prefix('-').filter(|letters| !letters.is_empty())
            {
                if letters.bytes().all(|b| b.is_ascii_digit()) {
                    options.flags.push(('0', letters.to_owned()));
                    continue;
                }
                let mut rest = letters.chars();
                while let Some(letter) = rest.next() {
                    if valued.contains(letter) {
                        let attached = rest.as_str().to_owned();
                        let value = if attached.is_empty() {
                            words.next().unwrap_or_default()
                        } else {
                            attached
                        };
                        options.flags.push((letter, value));
                        break;
                    }
                    options.flags.push((letter, String::new()));
                }
            } else {
                options.rest.push(word);
            }
        }
        options
    }

    pub(super) fn has(&self, letter: char) -> bool {
        self.flags.iter().any(|(flag, _)| *flag == letter)
    }

    pub(super) fn any(&self, letters: &str) -> bool {
        letters.chars().any(|letter| self.has(letter))
    }

    pub(super) fn value(&self, letter: char) -> Option<&str> {
        self.flags.iter().rev().find(|(flag, _)| *flag == letter).map(|(_, value)| value.as_str())
    }

    pub(super) fn values(&self, letter: char) -> impl Iterator<Item = &str> {
        self.flags.iter().filter(move |(flag, _)| *flag == letter).map(|(_, value)| value.as_str())
    }

    pub(super) fn long(&self, name: &str) -> Option<&str> {
        self.long.iter().find(|(long, _)| long == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn number(&self, letter: char) -> Option<i64> {
        self.value(letter)?.parse().ok()
    }
}

impl Shell {
    /// Whether programs are GNU's, not BusyBox's.
    pub(super) fn gnu(&self) -> bool {
        self.world.machine.system != System::BusyBox
    }

    /// Prints a line.
    pub(super) fn say(&mut self, line: &str) {
        let text = [line.as_bytes(), b"\n"].concat();
        self.put(&text);
    }

    /// A mistake of `name`: prints it and is its status.
    pub(super) fn fails(&mut self, name: &str, message: &str) -> u8 {
        self.err(format!("{name}: {message}\n").as_bytes());
        1
    }

    /// A file that could not be opened for reading.
    pub(super) fn cannot_open(&mut self, name: &str, file: &str, why: Errno) -> u8 {
        let text = match (self.gnu(), name) {
            (true, "head" | "tail") => format!("cannot open '{file}' for reading: {}", why.text()),
            (true, "sort") => format!("cannot read: {file}: {}", why.text()),
            (true, _) => format!("{file}: {}", why.text()),
            (false, "head" | "tail" | "grep" | "wc" | "md5sum") => {
                format!("{file}: {}", why.text())
            }
            (false, _) => format!("can't open '{file}': {}", why.text()),
        };
        self.fails(name, &text)
    }

    /// What a filter reads: each of its files, or standard input. The status
    /// says whether all could be read.
    pub(super) fn inputs(&mut self, name: &str, names: &[String]) -> (Vec<(String, Vec<u8>)>, u8) {
        if names.is_empty() {
            return (vec![(String::new(), self.read_all())], 0);
        }
        let (mut all, mut status) = (Vec::new(), 0);
        for file in names {
            match self.slurp(file) {
                Ok(bytes) => all.push((file.clone(), bytes)),
                Err(why) => status = self.cannot_read(name, file, why),
            }
            if self.budget.is_spent() {
                break;
            }
        }
        (all, status)
    }

    /// A file that a filter could not read.
    fn cannot_read(&mut self, name: &str, file: &str, why: Errno) -> u8 {
        if why != Errno::IsDirectory {
            return self.cannot_open(name, file, why);
        }
        let text = if self.gnu() {
            format!("{file}: Is a directory")
        } else {
            "read error: Is a directory".to_owned()
        };
        self.fails(name, &text)
    }

    /// A file piece by piece, or standard input as `-` or no name: all of it, of
    /// whatever size, without holding it. Where it cannot be read, that is said
    /// and the status is the error; so it is where a line is used up before.
    pub(super) fn pieces(
        &mut self,
        name: &str,
        file: &str,
        take: &mut dyn FnMut(&[u8]),
    ) -> Result<(), u8> {
        if matches!(file, "" | "-" | "/dev/stdin") {
            let all = self.take_input();
            self.budget.work(all.bytes.len() / 2);
            take(all.bytes.get(all.at..).unwrap_or_default());
            return Ok(());
        }
        let path = self.path(file);
        let size = match self.files.stat(&path, true) {
            // What is made as it is read has no size.
            Ok(stat) if stat.kind == FileKind::File => stat.size,
            _ => 0,
        };
        if size == 0 {
            let bytes = self.slurp(file).map_err(|why| self.cannot_read(name, file, why))?;
            take(&bytes);
            return Ok(());
        }
        let mut at = 0;
        while at < size {
            let piece = self.files.read(&path, at, PIECE_BYTES);
            let piece = piece.map_err(|why| self.cannot_read(name, file, why))?;
            if piece.is_empty() {
                break;
            }
            take(&piece);
            at += piece.len() as u64;
            if !self.budget.work(piece.len() / 4) {
                return Err(1);
            }
        }
        Ok(())
    }

    /// A file, or standard input as `-`.
    pub(super) fn slurp(&mut self, file: &str) -> Result<Vec<u8>, Errno> {
        if matches!(file, "-" | "/dev/stdin") {
            return Ok(self.read_all());
        }
        let path = self.path(file);
        let most = if path.starts_with("/dev/") { 1024 * 1024 } else { usize::MAX };
        let bytes = self.files.read(&path, 0, most)?;
        self.budget.work(bytes.len() / 2);
        Ok(bytes)
    }

    /// Writes a file for a command; a mistake is printed.
    pub(super) fn write_file(
        &mut self,
        name: &str,
        file: &str,
        bytes: &[u8],
        append: bool,
    ) -> bool {
        let path = self.path(file);
        match self.files.write(&path, bytes, append) {
            Ok(()) => true,
            Err(why) => {
                let text = if self.gnu() {
                    format!("{file}: {}", why.text())
                } else {
                    format!("can't open '{file}': {}", why.text())
                };
                self.fails(name, &text);
                false
            }
        }
    }
}

/// Lines with their ends.
pub(super) fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split_inclusive(|byte| *byte == b'\n')
}

/// A line without its end.
pub(super) fn chomp(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\n").unwrap_or(line)
}

/// POSIX's regular expressions (basic, or extended) as a regex of ours, whose
/// work is linear in the text and whose size is bounded.
pub(super) fn regex(pattern: &[u8], fold: bool, extended: bool) -> Option<Regex> {
    let pattern = String::from_utf8_lossy(pattern);
    let mut out = String::with_capacity(pattern.len() + 8);
    let mut letters = pattern.chars().peekable();
    let mut start = true;
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => match letters.next() {
                Some(next @ ('(' | ')' | '{' | '}' | '|' | '+' | '?')) => {
                    if extended {
                        out.push('\\');
                    }
                    out.push(next);
                }
                Some('<' | '>') => out.push_str("\\b"),
                Some(next @ ('w' | 'W' | 's' | 'S' | 'b' | 'd' | 'n' | 't')) => {
                    out.extend(['\\', next])
                }
                Some(next) if next.is_ascii_alphanumeric() => out.push(next),
                Some(next) => out.extend(['\\', next]),
                None => out.push_str("\\\\"),
            },
            '[' => {
                out.push('[');
                if letters.peek() == Some(&'^') {
                    letters.next();
                    out.push('^');
                }
                if letters.peek() == Some(&']') {
                    letters.next();
                    out.push_str("\\]");
                }
                while let Some(inside) = letters.next() {
                    match inside {
                        ']' => {
                            out.push(']');
                            break;
                        }
                        '[' if letters.peek() == Some(&':') => {
                            out.push('[');
                            for letter in letters.by_ref() {
                                out.push(letter);
                                if letter == ']' {
                                    break;
                                }
                            }
                        }
                        '[' | '\\' | '&' | '~' => out.extend(['\\', inside]),
                        other => out.push(other),
                    }
                }
            }
            '*' if start => out.push_str("\\*"),
            '(' | ')' | '{' | '}' | '|' | '+' | '?' if !extended => out.extend(['\\', letter]),
            '{' if extended && !letters.peek().is_some_and(char::is_ascii_digit) => {
                out.push_str("\\{")
            }
            other => out.push(other),
        }
        start = start && letter == '^' || letter == '(' || letter == '|';
    }
    RegexBuilder::new(&out)
        .case_insensitive(fold)
        .unicode(false)
        .size_limit(256 * 1024)
        .dfa_size_limit(512 * 1024)
        .nest_limit(40)
        .build()
        .ok()
}

/// The applets of this BusyBox.
pub(super) fn applets(shell: &Shell) -> Vec<&'static str> {
    const SERVER: &str = "[ [[ acpid adjtimex ar arch arp arping ash awk basename bc blkdiscard blockdev brctl bunzip2 bzcat bzip2 cal cat chgrp chmod chown chroot chvt clear cmp cp cpio cttyhack cut date dc dd deallocvt depmod devmem df diff dirname dmesg dnsdomainname dos2unix du dumpkmap dumpleases echo egrep env expand expr factor fallocate false fatattr fgrep find fold free freeramdisk fsfreeze fstrim ftpget ftpput getopt getty grep groups gunzip gzip halt head hexdump hostid hostname httpd hwclock i2cdetect id ifconfig ifdown ifup init insmod ionice ip ipcalc kill killall klogd last less link linux32 linux64 ln loadfont loadkmap logger login logname logread losetup ls lsmod lsscsi lzcat lzma lzop md5sum mdev microcom mkdir mkdosfs mke2fs mkfifo mknod mkpasswd mkswap mktemp modinfo modprobe more mount mt mv nameif nc netstat nl nologin nproc nsenter nslookup nuke od openvt partprobe paste patch pidof ping ping6 pivot_root poweroff printf ps pwd rdate readlink realpath reboot renice reset resume rev rm rmdir rmmod route rpm rpm2cpio run-init run-parts sed seq setkeycodes setpriv setsid sh sha1sum sha256sum sha3sum sha512sum shred shuf sleep sort ssl_client start-stop-daemon stat strings stty svc svok swapoff swapon switch_root sync sysctl syslogd tac tail tar taskset tc tee telnet test tftp time timeout top touch tr traceroute traceroute6 true truncate tty tunctl ubirename udhcpc udhcpd uevent umount uname uncompress unexpand uniq unix2dos unlink unlzma unshare unxz unzip uptime usleep uudecode uuencode vconfig vi w watch watchdog wc wget which who whoami xargs xxd xz xzcat yes zcat";
    if shell.gnu() {
        return SERVER.split(' ').collect();
    }
    // A device's: from its manifest, as links in its folders.
    const DEVICE: &str = "[ [[ arp arping ash awk base64 basename brctl cat chgrp chmod chown chpasswd chroot clear cmp cp crond crontab cut date dd df diff dirname dmesg dnsd du echo egrep env expr false fgrep find free fsync ftpget ftpput fuser getty grep gunzip gzip halt head hexdump hostname httpd id ifconfig ifdown ifup init insmod ip kill killall klogd less ln logger login logread ls lsmod md5sum mdev mkdir mknod mktemp modprobe more mount mv nc netstat nice nohup nproc nslookup od passwd pgrep pidof ping pkill poweroff printf ps pwd readlink reboot renice reset rm rmdir rmmod route sed seq sh sha1sum sha256sum sleep sort start-stop-daemon stat strings stty su sync sysctl syslogd tail tar tee telnet telnetd test tftp time top touch tr traceroute true tty udhcpc udhcpd umount uname uniq unxz unzip uptime usleep vi watch wc wget which who whoami xargs yes zcat";
    DEVICE.split(' ').collect()
}

/// What `busybox` says without an applet.
pub(super) fn busybox_banner(shell: &mut Shell) -> u8 {
    let (version, built) = shell.world.machine.busybox.clone();
    let mut list = String::new();
    let mut width = 0;
    for name in applets(shell) {
        if width == 0 || width + name.len() + 2 > 76 {
            list.push_str(if list.is_empty() { "\t" } else { ",\n\t" });
            width = 8;
        } else {
            list.push_str(", ");
        }
        list.push_str(name);
        width += name.len() + 2;
    }
    let text = format!(
        "BusyBox v{version} ({built}) multi-call binary.\n\
         BusyBox is copyrighted by many authors between 1998-2015.\n\
         Licensed under GPLv2. See source distribution for detailed\n\
         copyright notices.\n\n\
         Usage: busybox [function [arguments]...]\n   or: busybox --list[-full]\n   \
         or: busybox --install [-s] [DIR]\n   or: function [arguments]...\n\n\
         \tBusyBox is a multi-call binary that combines many common Unix\n\
         \tutilities into a single executable.\n\n\
         Currently defined functions:\n{list}\n\n"
    );
    shell.put(text.as_bytes());
    0
}

/// `xargs`: hands what it reads to another command.
pub(super) fn xargs(shell: &mut Shell, arguments: &[Vec<u8>]) -> Result<(), Flow> {
    let (mut each, mut replace, mut zero) = (MAX_XARGS, None, false);
    let mut words = arguments;
    while let Some((flag, rest)) = words.split_first() {
        let text = String::from_utf8_lossy(flag).into_owned();
        if !text.starts_with('-') {
            break;
        }
        let value = |length: usize, rest: &[Vec<u8>]| match text.get(length..) {
            Some(attached) if !attached.is_empty() => (attached.to_owned(), 0),
            _ => {
                (rest.first().map_or(String::new(), |w| String::from_utf8_lossy(w).into_owned()), 1)
            }
        };
        let mut skip = 0;
        match text.get(1..2) {
            Some("n" | "L") => {
                let (number, used) = value(2, rest);
                (each, skip) = (number.parse().unwrap_or(1), used);
            }
            Some("I" | "i") => {
                let (name, used) = value(2, rest);
                (replace, skip, each) = (Some(name), used, 1);
            }
            Some("P" | "s" | "d" | "E") => skip = value(2, rest).1,
            Some("0") => zero = true,
            _ => {}
        }
        words = rest.get(skip..).unwrap_or_default();
    }
    let input = shell.read_all();
    let items: Vec<Vec<u8>> = if zero {
        input.split(|b| *b == 0).filter(|w| !w.is_empty()).map(<[u8]>::to_vec).collect()
    } else if replace.is_some() {
        lines(&input)
            .map(|line| chomp(line).trim_ascii().to_vec())
            .filter(|w| !w.is_empty())
            .collect()
    } else {
        input.split(u8::is_ascii_whitespace).filter(|w| !w.is_empty()).map(<[u8]>::to_vec).collect()
    };
    let command = if words.is_empty() { vec![b"echo".to_vec()] } else { words.to_vec() };
    shell.status = 0;
    if items.is_empty() {
        let quiet =
            arguments.iter().any(|w| w == b"-r" || w == b"--no-run-if-empty") || replace.is_some();
        return if quiet { Ok(()) } else { shell.deeper(|shell| shell.invoke(command)) };
    }
    let mut worst = 0;
    for chunk in items.chunks(each.clamp(1, MAX_XARGS)) {
        shell.step()?;
        let fields = match &replace {
            Some(mark) if !mark.is_empty() => {
                let item = chunk
                    .first()
                    .map(|i| String::from_utf8_lossy(i).into_owned())
                    .unwrap_or_default();
                command
                    .iter()
                    .map(|word| {
                        String::from_utf8_lossy(word).replace(mark.as_str(), &item).into_bytes()
                    })
                    .collect()
            }
            _ => command.iter().chain(chunk).cloned().collect(),
        };
        shell.deeper(|shell| shell.invoke(fields))?;
        if shell.status != 0 {
            worst = if shell.status == 127 { 127 } else { 123 };
        }
    }
    shell.status = worst;
    Ok(())
}

/// Whether bash's own builtins are there.
fn bash(flavor: Flavor) -> bool {
    flavor == Flavor::Bash
}
