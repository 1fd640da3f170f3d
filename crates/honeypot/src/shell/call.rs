//! From fields to something that answers: functions, builtins that steer the
//! shell, other builtins, programs by name or path, files of the attacker's.

use super::act::{Act, sha256};
use super::commands;
use super::vfs::{Errno, FileKind};
use super::{Flavor, Flow, Level, MAX_LEVELS, Shell};

impl Shell {
    /// Runs a command by its fields.
    pub(super) fn invoke(&mut self, fields: Vec<Vec<u8>>) -> Result<(), Flow> {
        self.step()?;
        let Some((name, arguments)) = fields.split_first() else { return Ok(()) };
        self.charge(arguments.iter().map(Vec::len).sum::<usize>() / 4)?;
        if !name.contains(&b'/') {
            if let Some(body) = self.functions.get(name).cloned() {
                return self.call_function(&body, arguments.to_vec());
            }
            if let Some(done) = self.steering(name, arguments) {
                return done;
            }
            let plain = String::from_utf8_lossy(name).into_owned();
            if let Some(run) = commands::builtin(&plain, self.flavor) {
                self.status = run(self, arguments);
                return Ok(());
            }
        }
        self.deeper(|shell| shell.start(name, arguments))
    }

    /// Builtins that change how the script goes on.
    fn steering(&mut self, name: &[u8], arguments: &[Vec<u8>]) -> Option<Result<(), Flow>> {
        let number = |index: usize| {
            arguments
                .get(index)
                .and_then(|text| std::str::from_utf8(text).ok()?.parse::<i64>().ok())
        };
        let levels = || u32::try_from(number(0).unwrap_or(1).max(1)).unwrap_or(1);
        Some(match name {
            b"break" => Err(Flow::Break(levels())),
            b"continue" => Err(Flow::Continue(levels())),
            b"return" => {
                if let Some(value) = number(0) {
                    self.status = u8::try_from(value & 255).unwrap_or(0);
                }
                Err(Flow::Return)
            }
            b"exit" | b"logout" => {
                if let Some(value) = number(0) {
                    self.status = u8::try_from(value & 255).unwrap_or(0);
                }
                Err(Flow::Exit)
            }
            b"eval" => self.run_text(&arguments.join(&b' ')),
            b"." | b"source" => self.source(arguments),
            b"exec" | b"command" | b"builtin" | b"nohup" | b"setsid" | b"time" | b"nice"
            | b"ionice" | b"stdbuf" => {
                let skip = arguments
                    .iter()
                    .take_while(|word| {
                        word.starts_with(b"-") || word.iter().all(u8::is_ascii_digit)
                    })
                    .count();
                if name == b"command" && arguments.first().is_some_and(|a| a == b"-v" || a == b"-V")
                {
                    return None;
                }
                let rest = arguments.get(skip..).unwrap_or_default().to_vec();
                if rest.is_empty() {
                    if name != b"exec" {
                        self.status = 0;
                    }
                    return Some(Ok(()));
                }
                if name == b"nohup" && self.to_terminal() {
                    self.err(b"nohup: ignoring input and appending output to 'nohup.out'\n");
                }
                let outcome = self.deeper(|shell| shell.invoke(rest));
                if name == b"exec" && outcome.is_ok() { Err(Flow::Exit) } else { outcome }
            }
            b"timeout" => {
                let skip = arguments.iter().take_while(|word| word.starts_with(b"-")).count() + 1;
                let rest = arguments.get(skip..).unwrap_or_default().to_vec();
                if rest.is_empty() {
                    self.err(
                        b"timeout: missing operand\nTry 'timeout --help' for more information.\n",
                    );
                    self.status = 125;
                    return Some(Ok(()));
                }
                self.deeper(|shell| shell.invoke(rest))
            }
            b"sudo" | b"doas" => {
                let skip = arguments.iter().take_while(|word| word.starts_with(b"-")).count();
                let rest = arguments.get(skip..).unwrap_or_default().to_vec();
                if rest.is_empty() || self.flavor == Flavor::Ash {
                    return None;
                }
                let uid = std::mem::replace(&mut self.files.uid, 0);
                let outcome = self.deeper(|shell| shell.invoke(rest));
                self.files.uid = uid;
                outcome
            }
            b"env"
                if arguments
                    .iter()
                    .any(|word| !word.starts_with(b"-") && !word.contains(&b'=')) =>
            {
                let skip = arguments
                    .iter()
                    .take_while(|word| word.starts_with(b"-") || word.contains(&b'='))
                    .count();
                let (settings, rest) = arguments.split_at(skip);
                let saved = self.enter_subshell();
                for setting in settings {
                    let mut parts = setting.splitn(2, |b| *b == b'=');
                    if let (Some(name), Some(value)) = (parts.next(), parts.next()) {
                        self.export(name, Some(value.to_vec()));
                    }
                }
                let rest = rest.to_vec();
                let outcome = self.deeper(|shell| shell.invoke(rest));
                self.leave_subshell(saved);
                outcome
            }
            b"xargs" => commands::xargs(self, arguments),
            b"local" => {
                self.local(arguments);
                Ok(())
            }
            _ => return None,
        })
    }

    fn local(&mut self, arguments: &[Vec<u8>]) {
        self.status = 0;
        for word in arguments.iter().filter(|word| !word.starts_with(b"-")) {
            let mut parts = word.splitn(2, |b| *b == b'=');
            let name = parts.next().unwrap_or_default().to_vec();
            let before = self.variables.get(&name).cloned();
            if let Some(scope) = self.locals.last_mut() {
                scope.push((name.clone(), before));
            }
            self.assign(&name, parts.next().unwrap_or_default().to_vec());
        }
    }

    fn source(&mut self, arguments: &[Vec<u8>]) -> Result<(), Flow> {
        let Some(file) = arguments.first() else {
            self.complain(b".: filename argument required");
            self.status = 2;
            return Ok(());
        };
        let name = String::from_utf8_lossy(file).into_owned();
        match self.files.read(&self.path(&name), 0, super::MAX_SCRIPT_BYTES) {
            Ok(text) => match self.run_text(&text) {
                Err(Flow::Return) => Ok(()),
                other => other,
            },
            Err(why) => {
                let message = match self.flavor {
                    Flavor::Bash => format!("{name}: {}", why.text()),
                    Flavor::Dash => format!(".: cannot open {name}: No such file"),
                    Flavor::Ash => format!(".: can't open '{name}': {}", why.text()),
                };
                self.complain(message.as_bytes());
                self.status = if self.flavor == Flavor::Bash { 1 } else { 2 };
                Ok(())
            }
        }
    }

    /// The path of a program by name.
    pub(super) fn find_program(&self, name: &str) -> Option<String> {
        let path = self.variable(b"PATH").unwrap_or_default();
        let path = String::from_utf8_lossy(&path).into_owned();
        path.split(':').take(32).map(|directory| format!("{directory}/{name}")).find(|file| {
            self.files
                .stat(file, true)
                .is_ok_and(|stat| stat.kind == FileKind::File && stat.mode & 0o111 != 0)
        })
    }

    fn start(&mut self, name: &[u8], arguments: &[Vec<u8>]) -> Result<(), Flow> {
        let plain = String::from_utf8_lossy(name).into_owned();
        if plain.contains('/') {
            return self.start_path(&plain, arguments);
        }
        match self.find_program(&plain) {
            Some(path) => self.start_path_as(&path, &plain, arguments),
            None => {
                let text = match self.flavor {
                    Flavor::Bash => format!("{plain}: command not found"),
                    Flavor::Dash | Flavor::Ash => format!("{plain}: not found"),
                };
                self.complain(text.as_bytes());
                self.status = 127;
                Ok(())
            }
        }
    }

    fn start_path(&mut self, name: &str, arguments: &[Vec<u8>]) -> Result<(), Flow> {
        let path = self.path(name);
        let (message, status) = match self.files.stat(&path, true) {
            Ok(stat) if stat.is_directory() => (
                if self.flavor == Flavor::Bash { "Is a directory" } else { "Permission denied" },
                126,
            ),
            Ok(stat) if stat.mode & 0o111 == 0 => ("Permission denied", 126),
            Ok(_) => return self.start_path_as(&path, name, arguments),
            Err(Errno::NoEntry) if self.flavor != Flavor::Bash => ("not found", 127),
            Err(why) => (why.text(), if why == Errno::NoEntry { 127 } else { 126 }),
        };
        self.complain(format!("{name}: {message}").as_bytes());
        self.status = status;
        Ok(())
    }

    fn start_path_as(&mut self, path: &str, name: &str, arguments: &[Vec<u8>]) -> Result<(), Flow> {
        if let Some(program) = self.files.program(path) {
            let base = name.rsplit('/').next().unwrap_or(name).to_owned();
            // One file with all applets: the name decides.
            if program == "busybox" {
                return self.busybox(&base, arguments);
            }
            let wanted = if self.files.exists(&format!("/usr/bin/{base}")) && path.ends_with(&base)
            {
                base
            } else {
                program
            };
            return self.program(&wanted, arguments);
        }
        self.files.capture(path);
        let bytes = self.files.read(path, 0, super::MAX_SCRIPT_BYTES).unwrap_or_default();
        let hash = sha256(&bytes);
        let real = self.files.canonical(path).unwrap_or_else(|_| path.to_owned());
        if self.world.tree.get(&real).is_none() || !bytes.is_empty() {
            let arguments = arguments.join(&b' ');
            let arguments = arguments.get(..1_024).unwrap_or(&arguments).to_vec();
            self.act(Act::FileExecuted { path: real, hash, arguments });
        }
        if bytes.starts_with(b"\x7fELF") {
            let elf = self.world.machine.elf;
            let machine = match (bytes.get(5), bytes.get(18..20)) {
                (Some(2), Some([high, low])) => u16::from_be_bytes([*high, *low]),
                (_, Some([low, high])) => u16::from_le_bytes([*low, *high]),
                _ => elf.machine,
            };
            // A 32-bit program runs on a 64-bit PC.
            let fits = machine == elf.machine || (machine == 3 && elf.machine == 62);
            let same_order = (bytes.get(5) == Some(&2)) == elf.big_endian;
            if fits && same_order {
                self.status = 0;
                return Ok(());
            }
            let message = match self.flavor {
                Flavor::Bash => format!("{name}: cannot execute binary file: Exec format error"),
                Flavor::Dash => format!("{name}: Exec format error"),
                Flavor::Ash => format!("{name}: line 1: syntax error: unexpected \"(\""),
            };
            self.complain(message.as_bytes());
            self.status = if self.flavor == Flavor::Bash { 126 } else { 2 };
            return Ok(());
        }
        let interpreter = bytes.strip_prefix(b"#!").map(|rest| {
            let line = rest.split(|b| *b == b'\n').next().unwrap_or_default();
            String::from_utf8_lossy(line).trim().to_owned()
        });
        let flavor = match interpreter.as_deref() {
            Some(text) => {
                let mut words = text.split_whitespace();
                let mut program = words.next().unwrap_or_default();
                if program.ends_with("/env") {
                    program = words.next().unwrap_or_default();
                }
                let base = program.rsplit('/').next().unwrap_or(program).to_owned();
                if self.find_program(&base).is_none() {
                    let shown = text.split_whitespace().next().unwrap_or_default();
                    let message = match self.flavor {
                        Flavor::Bash => {
                            format!("{name}: {shown}: bad interpreter: No such file or directory")
                        }
                        Flavor::Dash | Flavor::Ash => format!("{name}: not found"),
                    };
                    self.complain(message.as_bytes());
                    self.status = 127;
                    return Ok(());
                }
                match self.shell_named(&base) {
                    Some(flavor) => flavor,
                    None => {
                        let mut all = vec![name.as_bytes().to_vec()];
                        all.extend_from_slice(arguments);
                        return self.program(&base, &all);
                    }
                }
            }
            None => self.flavor,
        };
        if bytes.iter().take(64).any(|b| *b == 0) {
            let message = format!("{name}: cannot execute binary file: Exec format error");
            self.complain(message.as_bytes());
            self.status = 126;
            return Ok(());
        }
        self.run_child(flavor, name.as_bytes().to_vec(), &bytes, arguments.to_vec())
    }

    fn shell_named(&self, base: &str) -> Option<Flavor> {
        match (base, self.world.machine.system) {
            ("sh" | "ash" | "bash" | "dash", crate::System::BusyBox) => Some(Flavor::Ash),
            ("bash" | "rbash", _) => Some(Flavor::Bash),
            ("sh" | "dash", _) => Some(Flavor::Dash),
            ("ash", _) => Some(Flavor::Ash),
            _ => None,
        }
    }

    /// A program of the machine.
    pub(super) fn program(&mut self, name: &str, arguments: &[Vec<u8>]) -> Result<(), Flow> {
        self.pids += 1;
        if let Some(flavor) = self.shell_named(name) {
            return self.child_shell(flavor, name, arguments);
        }
        if name == "busybox" {
            return self.busybox("busybox", arguments);
        }
        if let Some(done) = self.steering(name.as_bytes(), arguments) {
            return done;
        }
        // What has no answer ran and had nothing to say.
        self.status = match commands::find(name) {
            Some(run) => run(self, arguments),
            None => 0,
        };
        Ok(())
    }

    fn busybox(&mut self, base: &str, arguments: &[Vec<u8>]) -> Result<(), Flow> {
        let (applet, rest) = if base == "busybox" {
            match arguments.split_first() {
                None => {
                    self.status = commands::busybox_banner(self);
                    return Ok(());
                }
                Some((first, rest)) => (String::from_utf8_lossy(first).into_owned(), rest),
            }
        } else {
            (base.to_owned(), arguments)
        };
        if applet == "--list" || applet == "--help" {
            self.status = commands::busybox_banner(self);
            return Ok(());
        }
        let known =
            applet == "busybox" || commands::applets(self).iter().any(|name| *name == applet);
        if !known {
            self.err(format!("{applet}: applet not found\n").as_bytes());
            self.status = 127;
            return Ok(());
        }
        self.deeper(|shell| shell.program(&applet, rest))
    }

    /// `sh`, `sh -c …`, `sh file`, `… | sh`.
    fn child_shell(
        &mut self,
        flavor: Flavor,
        name: &str,
        arguments: &[Vec<u8>],
    ) -> Result<(), Flow> {
        let mut rest = arguments;
        let (mut command, mut from_input) = (false, false);
        while let Some((flag, after)) = rest.split_first() {
            if !flag.starts_with(b"-") || flag.len() < 2 {
                break;
            }
            command |= flag.contains(&b'c') && !flag.starts_with(b"--");
            from_input |= flag == b"-s";
            rest = after;
            if command {
                break;
            }
        }
        if command {
            let Some((text, after)) = rest.split_first() else {
                self.err(format!("{name}: -c: option requires an argument\n").as_bytes());
                self.status = 2;
                return Ok(());
            };
            let label = after.first().cloned().unwrap_or_else(|| name.as_bytes().to_vec());
            let parameters = after.get(1..).unwrap_or_default().to_vec();
            return self.run_child(flavor, label, &text.clone(), parameters);
        }
        if let (Some((file, after)), false) = (rest.split_first(), from_input) {
            let shown = String::from_utf8_lossy(file).into_owned();
            let path = self.path(&shown);
            return match self.files.read(&path, 0, super::MAX_SCRIPT_BYTES) {
                Ok(text) => {
                    self.files.capture(&path);
                    let own = self
                        .files
                        .canonical(&path)
                        .is_ok_and(|p| self.world.tree.get(&p).is_none());
                    if own {
                        let arguments = after.join(&b' ');
                        let hash = sha256(&text);
                        self.act(Act::FileExecuted { path, hash, arguments });
                    }
                    self.run_child(flavor, file.clone(), &text, after.to_vec())
                }
                Err(why) => {
                    let text = match flavor {
                        Flavor::Bash => format!("{name}: {shown}: {}\n", why.text()),
                        Flavor::Dash => format!("{name}: 0: cannot open {shown}: No such file\n"),
                        Flavor::Ash => format!("{name}: can't open '{shown}': {}\n", why.text()),
                    };
                    self.err(text.as_bytes());
                    self.status = if flavor == Flavor::Bash { 127 } else { 2 };
                    Ok(())
                }
            };
        }
        if !self.stdin.terminal {
            let text = self.read_all();
            return self.run_child(flavor, name.as_bytes().to_vec(), &text, rest.to_vec());
        }
        if self.outer.len() < MAX_LEVELS {
            let level = Level { label: name.as_bytes().to_vec(), script: false };
            let before = std::mem::replace(&mut self.level, level);
            self.outer.push((std::mem::replace(&mut self.flavor, flavor), before));
            if flavor == Flavor::Ash {
                let banner = format!("\n\n{}", self.banner());
                self.put(banner.as_bytes());
            }
        }
        self.status = 0;
        Ok(())
    }
}
