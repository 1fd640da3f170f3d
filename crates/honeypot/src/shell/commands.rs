//! The commands of the device, as answers. None does anything but change the
//! session's own files.

use std::time::Duration;

use super::device::{self, APPLETS};
use super::{MAX_DEPTH, MAX_OUTPUT_BYTES, MAX_PAUSE_SECS, SHELL_AFTER, Shell};
use crate::Persona;

/// What a command printed and how it ended.
#[derive(Debug, Default)]
pub(super) struct Ran {
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: Vec<u8>,
    pub(super) status: u8,
    pub(super) pause: Duration,
    pub(super) leave: bool,
}

impl Ran {
    pub(super) fn failed(message: String) -> Self {
        Self { stderr: message.into_bytes(), status: 1, ..Self::default() }
    }

    fn printed(text: impl Into<Vec<u8>>) -> Self {
        Self { stdout: text.into(), ..Self::default() }
    }

    fn status(status: u8) -> Self {
        Self { status, ..Self::default() }
    }

    fn says(name: &[u8], message: &str, status: u8) -> Self {
        let stderr = [name, message.as_bytes()].concat();
        Self { stderr, status, ..Self::default() }
    }
}

impl Shell {
    /// Runs a command by name: a builtin, an applet, or a file.
    pub(super) fn call(
        &mut self,
        persona: &Persona,
        name: &[u8],
        arguments: &[Vec<u8>],
        input: Option<Vec<u8>>,
    ) -> Ran {
        let plain = String::from_utf8_lossy(name);
        if plain.contains('/') {
            let path = self.files.absolute(&self.cwd, name);
            return match (self.files.executable(&path), path.rsplit('/').next()) {
                // Made by the session: it "runs" and says nothing.
                (Some(true), _) => Ran::status(0),
                (Some(false), _) => {
                    Ran::says(&[b"-sh: ", name].concat(), ": Permission denied\n", 126)
                }
                (None, Some(base)) if self.files.read(persona, &path).is_ok() => {
                    self.applet(persona, base, arguments, input).unwrap_or_else(|| Ran::status(0))
                }
                _ if self.files.is_directory(&path) => {
                    Ran::says(&[b"-sh: ", name].concat(), ": Permission denied\n", 126)
                }
                _ => Ran::says(&[b"-sh: ", name].concat(), ": not found\n", 127),
            };
        }
        if is_assignment(name) {
            return Ran::status(0);
        }
        self.builtin(persona, &plain, arguments)
            .or_else(|| self.applet(persona, &plain, arguments, input))
            .unwrap_or_else(|| Ran::says(&[b"-sh: ", name].concat(), ": not found\n", 127))
    }

    fn builtin(&mut self, persona: &Persona, name: &str, arguments: &[Vec<u8>]) -> Option<Ran> {
        Some(match name {
            "cd" => self.cd(arguments),
            "exit" | "logout" => Ran { leave: true, ..Ran::default() },
            "export" | "unset" | "set" | "umask" | "alias" | "ulimit" | "trap" | "wait" | ":"
            | "history" | "readonly" | "local" | "{" | "}" => Ran::status(0),
            "help" => Ran::printed(
                "Built-in commands:\n------------------\n\
                 \t. : [ [[ alias bg break cd chdir continue echo eval exec exit\n\
                 \texport false fg hash help history jobs kill let local pwd read\n\
                 \treadonly return set shift test times trap true type ulimit\n\
                 \tumask unalias unset wait\n\n",
            ),
            "[" | "[[" | "test" => Ran::status(1),
            "eval" | "exec" => {
                let (first, rest) = arguments.split_first()?;
                self.nested(|shell| shell.call(persona, first, rest, None))
            }
            "type" | "which" => return None,
            _ => return None,
        })
    }

    fn cd(&mut self, arguments: &[Vec<u8>]) -> Ran {
        let target = arguments.first().map_or(&b"~"[..], Vec::as_slice);
        let path = self.files.absolute(&self.cwd, target);
        if !self.files.is_directory(&path) {
            let why = ": No such file or directory\n";
            return Ran::says(&[b"-sh: cd: can't cd to ", target].concat(), why, 1);
        }
        self.cwd = path;
        Ran::status(0)
    }

    fn applet(
        &mut self,
        persona: &Persona,
        name: &str,
        arguments: &[Vec<u8>],
        input: Option<Vec<u8>>,
    ) -> Option<Ran> {
        let first = arguments.first().map_or(&b""[..], Vec::as_slice);
        Some(match name {
            "busybox" => self.busybox(persona, arguments, input),
            "sh" | "ash" => self.sh(persona, arguments, input),
            "echo" => Ran::printed(super::echo::echo(arguments)),
            "cat" => self.cat(persona, arguments, input),
            "head" | "tail" => self.ends(persona, name, arguments, input),
            "grep" => self.grep(persona, arguments, input),
            "wc" => self.wc(persona, arguments, input),
            "dd" => self.dd(persona, arguments, input),
            "ls" => self.ls(persona, arguments),
            "rm" => self.each(
                arguments,
                |shell, path, flags| match shell.files.remove(persona, path) {
                    Err(_) if flags.contains(&b'f') => Ok(()),
                    done => done,
                },
                "rm: can't remove",
            ),
            "mkdir" => self.each(
                arguments,
                |shell, path, flags| match shell.files.make_directory(persona, path) {
                    Err("File exists") if flags.contains(&b'p') => Ok(()),
                    done => done,
                },
                "mkdir: can't create directory",
            ),
            "touch" => {
                self.each(arguments, |shell, path, _| shell.files.write(path, &[], true), "touch:")
            }
            "chmod" => {
                let files = arguments.get(1..).unwrap_or_default();
                self.each(
                    files,
                    |shell, path, _| {
                        if !shell.files.exists(persona, path) {
                            return Err(super::files::NO_SUCH_FILE);
                        }
                        shell.files.make_executable(path);
                        Ok(())
                    },
                    "chmod:",
                )
            }
            "cp" | "mv" => self.copy(persona, name, arguments),
            "pwd" => Ran::printed(format!("{}\n", self.cwd)),
            "whoami" => Ran::printed("root\n"),
            "id" => Ran::printed("uid=0(root) gid=0(root)\n"),
            "hostname" => Ran::printed(format!("{}\n", persona.hostname)),
            "nproc" => Ran::printed("1\n"),
            "uname" => uname(persona, arguments),
            "ps" => Ran::printed(processes(persona)),
            "free" => free(persona, first == b"-m"),
            "df" => Ran::printed(
                "Filesystem           1K-blocks      Used Available Use% Mounted on\n\
                 /dev/root                 7168      6204       964  87% /\n\
                 tmpfs                       64         0        64   0% /dev\n\
                 tmpfs                    15360        48     15312   0% /tmp\n",
            ),
            "mount" if arguments.is_empty() => {
                let lines = device::MOUNTS.lines().filter_map(|line| {
                    let mut words = line.split(' ');
                    let (from, to) = (words.next()?, words.next()?);
                    Some(format!("{from} on {to} type {} ({})\n", words.next()?, words.next()?))
                });
                Ran::printed(lines.collect::<String>())
            }
            "ifconfig" => Ran::printed(format!(
                "br0       Link encap:Ethernet  HWaddr {}\n          \
                 inet addr:192.168.1.1  Bcast:192.168.1.255  Mask:255.255.255.0\n          \
                 UP BROADCAST RUNNING MULTICAST  MTU:1500  Metric:1\n\n",
                persona.mac
            )),
            "sleep" => {
                let text = String::from_utf8_lossy(first);
                let secs = text.parse::<u64>().unwrap_or(0).min(MAX_PAUSE_SECS);
                Ran { pause: Duration::from_secs(secs), ..Ran::default() }
            }
            "true" | "sync" | "kill" | "killall" | "mount" | "reboot" => Ran::status(0),
            "false" => Ran::status(1),
            _ => return None,
        })
    }

    fn busybox(&mut self, persona: &Persona, arguments: &[Vec<u8>], input: Option<Vec<u8>>) -> Ran {
        let Some((name, rest)) = arguments.split_first() else {
            let (version, built) = (persona.busybox, &persona.built);
            return Ran::printed(format!(
                "BusyBox v{version} ({built}) multi-call binary.\n\n\
                 Usage: busybox [function [arguments]...]\n   or: busybox --list\n\n\
                 Currently defined functions:\n\t{}\n",
                APPLETS.join(", ")
            ));
        };
        let plain = String::from_utf8_lossy(name);
        if plain == "--list" {
            return Ran::printed(APPLETS.join("\n") + "\n");
        }
        if plain != "busybox" && !APPLETS.contains(&&*plain) {
            return Ran::says(name, ": applet not found\n", 127);
        }
        self.nested(|shell| shell.applet(persona, &plain, rest, input).unwrap_or_default())
    }

    fn sh(&mut self, persona: &Persona, arguments: &[Vec<u8>], input: Option<Vec<u8>>) -> Ran {
        let script = match (arguments, input) {
            ([flag, script, ..], _) if flag == b"-c" => script.clone(),
            ([file, ..], _) => {
                let path = self.files.absolute(&self.cwd, file);
                match self.files.read(persona, &path) {
                    Ok(script) => script,
                    Err(why) => {
                        return Ran::says(
                            &[b"sh: can't open '", file.as_slice()].concat(),
                            &format!("': {why}\n"),
                            2,
                        );
                    }
                }
            }
            ([], Some(script)) => script,
            ([], None) => {
                self.depth = (self.depth + 1).min(MAX_DEPTH);
                return Ran::printed(format!("\n\n{}", Self::banner(persona)));
            }
        };
        self.nested(|shell| {
            let reply = shell.script(persona, &script);
            Ran { stdout: reply.output, status: shell.status, pause: reply.pause, ..Ran::default() }
        })
    }

    /// Runs `work` one level deeper; a chain that is too deep ends there.
    /// Whoever leaves inside only leaves the inner level.
    fn nested(&mut self, work: impl FnOnce(&mut Self) -> Ran) -> Ran {
        if self.depth >= MAX_DEPTH {
            return Ran::status(1);
        }
        let before = self.depth;
        self.depth += 1;
        let ran = work(self);
        self.depth = before;
        ran
    }

    /// The input of a filter: its files, or what is piped in.
    fn input(
        &self,
        persona: &Persona,
        name: &str,
        files: &[Vec<u8>],
        input: Option<Vec<u8>>,
    ) -> (Vec<u8>, Ran) {
        let mut ran = Ran::default();
        if files.is_empty() {
            return (input.unwrap_or_default(), ran);
        }
        let mut text = Vec::new();
        for file in files {
            let path = self.files.absolute(&self.cwd, file);
            match self.files.read(persona, &path) {
                Ok(mut data) => text.append(&mut data),
                Err("Is a directory") => {
                    ran.stderr.extend_from_slice(
                        format!("{name}: read error: Is a directory\n").as_bytes(),
                    );
                    ran.status = 1;
                }
                Err(why) => {
                    ran.stderr.extend_from_slice(format!("{name}: can't open '").as_bytes());
                    ran.stderr.extend_from_slice(file);
                    ran.stderr.extend_from_slice(format!("': {why}\n").as_bytes());
                    ran.status = 1;
                }
            }
            text.truncate(MAX_OUTPUT_BYTES);
        }
        (text, ran)
    }

    fn cat(&self, persona: &Persona, arguments: &[Vec<u8>], input: Option<Vec<u8>>) -> Ran {
        let (text, mut ran) = self.input(persona, "cat", arguments, input);
        ran.stdout = text;
        ran
    }

    fn ends(
        &self,
        persona: &Persona,
        name: &str,
        arguments: &[Vec<u8>],
        input: Option<Vec<u8>>,
    ) -> Ran {
        let (flags, files) = flags(arguments, b"n");
        let count = flags.iter().find_map(|(flag, value)| {
            let digits = if *flag == b'n' { value.clone() } else { vec![*flag] };
            String::from_utf8(digits).ok()?.parse::<usize>().ok()
        });
        let (text, mut ran) = self.input(persona, name, &files, input);
        let lines: Vec<&[u8]> = text.split_inclusive(|b| *b == b'\n').collect();
        let count = count.unwrap_or(10).min(lines.len());
        let kept =
            if name == "head" { lines.get(..count) } else { lines.get(lines.len() - count..) };
        ran.stdout = kept.unwrap_or_default().concat();
        ran
    }

    fn grep(&self, persona: &Persona, arguments: &[Vec<u8>], input: Option<Vec<u8>>) -> Ran {
        let (flags, mut files) = flags(arguments, b"");
        let has = |wanted| flags.iter().any(|(flag, _)| *flag == wanted);
        if files.is_empty() {
            return Ran::status(1);
        }
        let fold = |text: &[u8]| if has(b'i') { text.to_ascii_lowercase() } else { text.to_vec() };
        let pattern = fold(&files.remove(0));
        let (text, mut ran) = self.input(persona, "grep", &files, input);
        let matches = |line: &&[u8]| {
            let line = fold(line);
            let found = pattern.is_empty() || line.windows(pattern.len()).any(|w| w == pattern);
            found != has(b'v')
        };
        let found: Vec<&[u8]> = text.split_inclusive(|b| *b == b'\n').filter(matches).collect();
        ran.status = u8::from(found.is_empty());
        if has(b'c') {
            ran.stdout = format!("{}\n", found.len()).into_bytes();
        } else if !has(b'q') {
            ran.stdout = found.concat();
        }
        ran
    }

    fn wc(&self, persona: &Persona, arguments: &[Vec<u8>], input: Option<Vec<u8>>) -> Ran {
        let (flags, files) = flags(arguments, b"");
        let (text, mut ran) = self.input(persona, "wc", &files, input);
        let lines = text.iter().filter(|b| **b == b'\n').count();
        let words = text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).count();
        ran.stdout = match flags.first() {
            Some((b'l', _)) => format!("{lines}\n"),
            Some((b'w', _)) => format!("{words}\n"),
            Some((b'c', _)) => format!("{}\n", text.len()),
            _ => format!("{lines:9} {words:9} {:9}\n", text.len()),
        }
        .into_bytes();
        ran
    }

    fn dd(&mut self, persona: &Persona, arguments: &[Vec<u8>], input: Option<Vec<u8>>) -> Ran {
        let value = |name: &[u8]| {
            arguments.iter().find_map(|argument| argument.strip_prefix(name)).map(<[u8]>::to_vec)
        };
        let number = |name: &[u8]| {
            value(name)
                .and_then(|text| String::from_utf8(text).ok())
                .and_then(|text| text.parse().ok())
        };
        let files: Vec<Vec<u8>> = value(b"if=").into_iter().collect();
        let (mut text, mut ran) = self.input(persona, "dd", &files, input);
        if ran.status != 0 {
            return ran;
        }
        let block: usize = number(b"bs=").unwrap_or(512).max(1);
        let most = number(b"count=").map_or(usize::MAX, |count: usize| count.saturating_mul(block));
        text.truncate(most);
        let (whole, part) = (text.len() / block, usize::from(!text.len().is_multiple_of(block)));
        ran.stderr =
            format!("{whole}+{part} records in\n{whole}+{part} records out\n").into_bytes();
        match value(b"of=") {
            Some(file) => {
                let path = self.files.absolute(&self.cwd, &file);
                if let Err(why) = self.files.write(&path, &text, false) {
                    return Ran::says(
                        &[b"dd: can't open '", file.as_slice()].concat(),
                        &format!("': {why}\n"),
                        1,
                    );
                }
            }
            None => ran.stdout = text,
        }
        ran
    }

    fn ls(&self, persona: &Persona, arguments: &[Vec<u8>]) -> Ran {
        let (flags, mut files) = flags(arguments, b"");
        let has = |wanted| flags.iter().any(|(flag, _)| *flag == wanted);
        if files.is_empty() {
            files.push(b".".to_vec());
        }
        let mut ran = Ran::default();
        for file in &files {
            let path = self.files.absolute(&self.cwd, file);
            let mut names = if self.files.is_directory(&path) {
                self.files.list(&path)
            } else if self.files.exists(persona, &path) {
                vec![String::from_utf8_lossy(file).into_owned()]
            } else {
                ran.stderr.extend_from_slice(b"ls: ");
                ran.stderr.extend_from_slice(file);
                ran.stderr.extend_from_slice(b": No such file or directory\n");
                ran.status = 1;
                continue;
            };
            names.retain(|name| has(b'a') || !name.starts_with('.'));
            if self.files.is_directory(&path) {
                if has(b'a') {
                    names.splice(0..0, [".".to_owned(), "..".to_owned()]);
                }
                if has(b'l') {
                    ran.stdout.extend_from_slice(b"total 0\n");
                }
            }
            for name in names {
                let full = self.files.absolute(&path, name.as_bytes());
                let line =
                    if has(b'l') { self.long(persona, &full, &name) } else { format!("{name}\n") };
                ran.stdout.extend_from_slice(line.as_bytes());
            }
        }
        ran
    }

    /// A line of `ls -l`. Dates are the firmware's.
    fn long(&self, persona: &Persona, path: &str, name: &str) -> String {
        let day = persona.built.get(..4).unwrap_or("2014");
        let size = self.files.read(persona, path).map_or(0, |data| data.len());
        let (mode, links) = match self.files.executable(path) {
            _ if self.files.is_directory(path) => ("drwxr-xr-x", 2),
            Some(false) => ("-rw-r--r--", 1),
            None if path.starts_with("/etc/") => ("-rw-r--r--", 1),
            None if path.starts_with("/proc/") => ("-r--r--r--", 1),
            Some(true) | None => ("-rwxr-xr-x", 1),
        };
        format!("{mode}    {links} root     root     {size:9} Jan  9  {day} {name}\n")
    }

    fn copy(&mut self, persona: &Persona, name: &str, arguments: &[Vec<u8>]) -> Ran {
        let (_, files) = flags(arguments, b"");
        let [from, to] = files.as_slice() else { return Ran::status(1) };
        let source = self.files.absolute(&self.cwd, from);
        let mut target = self.files.absolute(&self.cwd, to);
        if self.files.is_directory(&target) {
            let base = source.rsplit('/').next().unwrap_or_default();
            target = self.files.absolute(&target, base.as_bytes());
        }
        let stat = format!("{name}: can't stat '");
        let data = match self.files.read(persona, &source) {
            Ok(data) => data,
            Err(why) => {
                return Ran::says(&[stat.as_bytes(), from].concat(), &format!("': {why}\n"), 1);
            }
        };
        if source == target {
            return Ran::status(1);
        }
        // A copy of a program can be run like the program.
        let runs = self.files.executable(&source).unwrap_or(true);
        let written = self.files.write(&target, &data, false).and_then(|()| {
            if runs {
                self.files.make_executable(&target);
            }
            if name == "mv" { self.files.remove(persona, &source) } else { Ok(()) }
        });
        match written {
            Ok(()) => Ran::status(0),
            Err(why) => {
                let create = format!("{name}: can't create '");
                Ran::says(&[create.as_bytes(), to].concat(), &format!("': {why}\n"), 1)
            }
        }
    }

    /// Does `work` with the path of each argument that is no flag.
    fn each(
        &mut self,
        arguments: &[Vec<u8>],
        mut work: impl FnMut(&mut Self, &str, &[u8]) -> Result<(), &'static str>,
        complaint: &str,
    ) -> Ran {
        let mut ran = Ran::default();
        let (flags, files) = flags(arguments, b"");
        let flags: Vec<u8> = flags.into_iter().map(|(flag, _)| flag).collect();
        for file in files {
            let path = self.files.absolute(&self.cwd, &file);
            if let Err(why) = work(self, &path, &flags) {
                ran.stderr.extend_from_slice(format!("{complaint} '").as_bytes());
                ran.stderr.extend_from_slice(&file);
                ran.stderr.extend_from_slice(format!("': {why}\n").as_bytes());
                ran.status = 1;
            }
        }
        ran
    }
}

/// A flag and its value, empty where it has none.
type Flag = (u8, Vec<u8>);

/// Splits arguments into flags and the rest. Flags in `valued` take a value.
fn flags(arguments: &[Vec<u8>], valued: &[u8]) -> (Vec<Flag>, Vec<Vec<u8>>) {
    let (mut flags, mut rest) = (Vec::new(), Vec::new());
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        match argument.as_slice() {
            [b'-', letters @ ..] if !letters.is_empty() => {
                for letter in letters {
                    let value = if valued.contains(letter) { arguments.next() } else { None };
                    flags.push((*letter, value.cloned().unwrap_or_default()));
                }
            }
            _ => rest.push(argument.clone()),
        }
    }
    (flags, rest)
}

fn is_assignment(word: &[u8]) -> bool {
    let name = word.split(|b| *b == b'=').next().unwrap_or_default();
    name.len() < word.len()
        && name.first().is_some_and(|b| b.is_ascii_alphabetic() || *b == b'_')
        && name.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'_')
}

fn uname(persona: &Persona, arguments: &[Vec<u8>]) -> Ran {
    let letters = arguments.concat();
    if letters.contains(&b'a') {
        return Ran::printed(persona.uname() + "\n");
    }
    let build = persona.build();
    let fields = [
        (b's', "Linux"),
        (b'n', persona.hostname.as_str()),
        (b'r', persona.kernel),
        (b'v', build.as_str()),
        (b'm', persona.cpu.machine),
    ];
    let wanted: Vec<&str> = fields
        .iter()
        .filter(|(letter, _)| letters.contains(letter) || (letters.is_empty() && *letter == b's'))
        .map(|(_, text)| *text)
        .collect();
    Ran::printed(wanted.join(" ") + "\n")
}

fn free(persona: &Persona, mebibytes: bool) -> Ran {
    let unit = if mebibytes { 1_024 } else { 1 };
    let (total, used) = (persona.memory_kib / unit, persona.used_kib / unit);
    let free = total - used;
    let (buffers, cached) = (1_120 / unit, 6_212 / unit);
    let held = used.saturating_sub(buffers + cached);
    Ran::printed(format!(
        "             total         used         free       shared      buffers\n\
         Mem:  {total:12} {used:12} {free:12} {:12} {buffers:12}\n\
         -/+ buffers: {held:18} {:12}\nSwap: {:12} {:12} {:12}\n",
        0,
        total - held,
        0,
        0,
        0
    ))
}

/// Kernel threads first, then the services in the order they start.
fn processes(persona: &Persona) -> String {
    let first = persona.first_pid;
    let running: [(u32, u32, &str, &str); 11] = [
        (1, 1236, "S   ", "init"),
        (2, 0, "SW  ", "[kthreadd]"),
        (3, 0, "SW  ", "[ksoftirqd/0]"),
        (5, 0, "SW< ", "[kworker/0:0H]"),
        (74, 0, "SW< ", "[kblockd]"),
        (131, 0, "SWN ", "[jffs2_gcd_mtd3]"),
        (first, 1240, "S   ", "/sbin/syslogd -n"),
        (first + 13, 1232, "S   ", "telnetd"),
        (first + 57, 3804, "S   ", "/usr/sbin/lighttpd -f /etc/lighttpd.conf"),
        (first + SHELL_AFTER, 1244, "S   ", "-sh"),
        (first + SHELL_AFTER + 33, 1236, "R   ", "ps"),
    ];
    let line = |(pid, size, state, command): &(u32, u32, &str, &str)| {
        format!("{pid:5} root  {size:8} {state} {command}\n")
    };
    "  PID USER       VSZ STAT COMMAND\n".to_owned() + &running.iter().map(line).collect::<String>()
}
