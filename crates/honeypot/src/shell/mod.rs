//! A device's shell, after BusyBox `ash`: enough of it that an automated
//! attack goes on to its next step. Nothing runs: commands are answers made
//! here, files live in the session's memory. Pure and bounded, so that any
//! line can be thrown at it.

mod commands;
mod device;
mod echo;
mod files;
mod words;

use std::time::Duration;

use self::commands::Ran;
use self::files::Files;
use self::words::{Command, Parser, RedirectTo, Then};
use crate::Persona;

/// Most bytes one line prints; the rest is cut, as a slow line would.
const MAX_OUTPUT_BYTES: usize = 64 * 1024;
/// Most commands that one line runs, with those of the scripts it starts: a
/// script that starts itself twice must not keep the processor busy.
const MAX_COMMANDS: usize = 256;
/// Longest wait a line can ask for (`sleep`), in seconds.
const MAX_PAUSE_SECS: u64 = 10;
/// How far the shell's process id is behind that of the first service.
const SHELL_AFTER: u32 = 414;
/// Most shells inside each other.
const MAX_DEPTH: u32 = 16;

/// A shell and its files.
#[derive(Debug)]
pub struct Shell {
    files: Files,
    cwd: String,
    status: u8,
    depth: u32,
    commands_left: usize,
}

/// What a line brought about.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// What is printed, lines ending in LF.
    pub output: Vec<u8>,
    /// How long the line takes.
    pub pause: Duration,
    /// Whether the shell is left.
    pub ended: bool,
}

impl Default for Shell {
    fn default() -> Self {
        Self::new()
    }
}

impl Shell {
    /// A fresh shell in root's home.
    #[must_use]
    pub fn new() -> Self {
        Self {
            files: Files::default(),
            cwd: "/root".to_owned(),
            status: 0,
            depth: 1,
            commands_left: MAX_COMMANDS,
        }
    }

    /// What an interactive shell says at its start.
    #[must_use]
    pub fn banner(persona: &Persona) -> String {
        let (version, built) = (persona.busybox, &persona.built);
        format!(
            "BusyBox v{version} ({built}) built-in shell (ash)\n\
             Enter 'help' for a list of built-in commands.\n\n"
        )
    }

    /// The prompt; it shows the directory.
    #[must_use]
    pub fn prompt(&self) -> Vec<u8> {
        let shown = match self.cwd.strip_prefix("/root") {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => format!("~{rest}"),
            _ => self.cwd.clone(),
        };
        format!("{shown} # ").into_bytes()
    }

    /// Runs a line. Any bytes will do.
    pub fn run(&mut self, persona: &Persona, line: &[u8]) -> Reply {
        self.commands_left = MAX_COMMANDS;
        let mut reply = self.script(persona, line);
        if reply.ended {
            self.depth = self.depth.saturating_sub(1);
            reply.ended = self.depth == 0;
        }
        reply
    }

    /// Runs a line or a script; its `ended` says that it was left early.
    fn script(&mut self, persona: &Persona, line: &[u8]) -> Reply {
        let mut reply = Reply::default();
        let mut parser = Parser::new(line);
        let mut last = Then::Always;
        let mut piped: Option<Vec<u8>> = None;
        let mut compound = 0usize;
        while self.commands_left > 0 {
            self.commands_left -= 1;
            let Some(command) = parser.next(|name| self.variable(persona, name)) else { break };
            let then = command.then;
            // Loops and conditions are read over as a whole; their bodies do nothing.
            if compound_step(&mut compound, &command) {
                last = then;
                continue;
            }
            let skipped = match last {
                Then::And => self.status != 0,
                Then::Or => self.status == 0,
                Then::Always | Then::Pipe => false,
            };
            if !skipped {
                let input = piped.take().filter(|_| last == Then::Pipe);
                let mut ran = self.one(persona, &command, input);
                self.status = ran.status;
                reply.output.append(&mut ran.stderr);
                reply.pause = (reply.pause + ran.pause).min(Duration::from_secs(MAX_PAUSE_SECS));
                if then == Then::Pipe {
                    piped = Some(ran.stdout);
                } else {
                    reply.output.append(&mut ran.stdout);
                }
                reply.output.truncate(MAX_OUTPUT_BYTES);
                if ran.leave {
                    reply.ended = true;
                    break;
                }
                last = then;
            } else if then != Then::Pipe {
                // A skipped pipeline is skipped as a whole.
                last = then;
            }
        }
        reply
    }

    /// Runs one command with its redirections.
    fn one(&mut self, persona: &Persona, command: &Command, mut input: Option<Vec<u8>>) -> Ran {
        let mut out: Option<(String, bool)> = None;
        let (mut merge, mut drop_errors) = (false, false);
        for redirect in &command.redirects {
            let path = self.files.absolute(&self.cwd, &redirect.target);
            match (redirect.to, redirect.fd) {
                (RedirectTo::Read, _) => match self.files.read(persona, &path) {
                    Ok(data) => input = Some(data),
                    Err(why) => {
                        return Ran::failed(format!(
                            "-sh: can't open {}: {why}\n",
                            redirect.shown()
                        ));
                    }
                },
                (RedirectTo::Descriptor, 2) => merge = true,
                (RedirectTo::Descriptor, _) => {}
                (RedirectTo::Write | RedirectTo::Append, 2) => drop_errors = true,
                (to @ (RedirectTo::Write | RedirectTo::Append), _) => {
                    let append = to == RedirectTo::Append;
                    // The file comes to be before the command runs.
                    if let Err(why) = self.files.write(&path, &[], append) {
                        let shown = redirect.shown();
                        return Ran::failed(format!("-sh: can't create {shown}: {why}\n"));
                    }
                    out = Some((path, true));
                }
            }
        }
        let mut ran = match command.words.split_first() {
            Some((name, arguments)) => self.call(persona, name, arguments, input),
            None => Ran::default(),
        };
        if merge {
            ran.stdout.append(&mut ran.stderr);
        }
        if drop_errors {
            ran.stderr.clear();
        }
        if let Some((path, append)) = out {
            let data = std::mem::take(&mut ran.stdout);
            if let Err(why) = self.files.write(&path, &data, append) {
                ran.stderr.extend_from_slice(format!("-sh: write error: {why}\n").as_bytes());
                ran.status = 1;
            }
        }
        ran
    }

    fn variable(&self, persona: &Persona, name: &[u8]) -> Vec<u8> {
        match name {
            b"?" => self.status.to_string().into_bytes(),
            b"HOME" => b"/root".to_vec(),
            b"PATH" => b"/sbin:/usr/sbin:/bin:/usr/bin".to_vec(),
            b"USER" | b"LOGNAME" => b"root".to_vec(),
            b"SHELL" | b"0" => b"/bin/sh".to_vec(),
            b"PWD" => self.cwd.clone().into_bytes(),
            b"HOSTNAME" => persona.hostname.clone().into_bytes(),
            b"$" => (persona.first_pid + SHELL_AFTER).to_string().into_bytes(),
            _ => Vec::new(),
        }
    }
}

/// Tracks `while … done` and its like; whether `command` is part of one.
fn compound_step(depth: &mut usize, command: &Command) -> bool {
    let first = command.words.first().map_or(&b""[..], Vec::as_slice);
    match first {
        b"while" | b"until" | b"for" | b"if" | b"case" => {
            *depth += 1;
            true
        }
        b"done" | b"fi" | b"esac" if *depth > 0 => {
            *depth -= 1;
            true
        }
        b"do" | b"then" | b"else" if *depth > 0 => {
            // `do if …` opens another one.
            if matches!(
                command.words.get(1).map(Vec::as_slice),
                Some(b"while" | b"until" | b"for" | b"if" | b"case")
            ) {
                *depth += 1;
            }
            true
        }
        _ => *depth > 0,
    }
}

#[cfg(test)]
mod tests {
    use palisade_event::SensorId;
    use proptest::prelude::*;

    use super::*;
    use crate::PersonaConfig;

    fn persona() -> Persona {
        let config = PersonaConfig { hostname: Some("cam".to_owned()), seed: Some(1) };
        Persona::new(&config, &SensorId::new("a").unwrap())
    }

    /// What the lines print, one after the other in one shell.
    fn printed(lines: &[&str]) -> String {
        let (persona, mut shell) = (persona(), Shell::new());
        let mut output = Vec::new();
        for line in lines {
            output.append(&mut shell.run(&persona, line.as_bytes()).output);
        }
        String::from_utf8_lossy(&output).into_owned()
    }

    #[test]
    fn a_line_after_the_last_exit_ends_too() {
        let (mut shell, persona) = (Shell::new(), persona());
        assert!(shell.run(&persona, b"exit").ended);
        assert!(shell.run(&persona, b"exit").ended);
    }

    #[test]
    fn the_liveness_token_is_answered() {
        assert_eq!(printed(&["/bin/busybox ECCHI"]), "ECCHI: applet not found\n");
        assert_eq!(printed(&["busybox MIRAI; echo $?"]), "MIRAI: applet not found\n127\n");
        assert_eq!(printed(&["enable"]), "-sh: enable: not found\n");
        assert_eq!(printed(&["/bin/nothing"]), "-sh: /bin/nothing: not found\n");
    }

    #[test]
    fn a_writable_directory_is_found_by_its_token() {
        let token =
            r"echo -e '\x6b\x61\x6d\x69/dev' > /dev/.nippon; cat /dev/.nippon; rm /dev/.nippon";
        assert_eq!(
            printed(&[token, "cat /dev/.nippon"]),
            "kami/dev\ncat: can't open '/dev/.nippon': No such file or directory\n"
        );
        assert!(printed(&["/bin/busybox cat /proc/mounts"]).contains(" /tmp tmpfs rw,"));
        let refused = "-sh: can't create /proc/x: Permission denied\n";
        assert_eq!(printed(&["echo a > /proc/x"]), refused);
    }

    #[test]
    fn separators_follow_the_status() {
        assert_eq!(printed(&["true && echo a || echo b"]), "a\n");
        assert_eq!(printed(&["false && echo a || echo b; echo c"]), "b\nc\n");
        let cd = "cd /tmp || cd /var/run || cd /mnt; pwd";
        assert_eq!(printed(&[cd]), "/tmp\n");
        assert_eq!(
            printed(&["cd /nowhere || cd /mnt && pwd"]),
            "-sh: cd: can't cd to /nowhere: No such file or directory\n/mnt\n"
        );
        assert_eq!(printed(&["echo 'a;b' \"c && d\""]), "a;b c && d\n");
    }

    #[test]
    fn a_file_is_dropped_in_pieces() {
        let lines = [
            "cd /tmp",
            r">.f",
            r"echo -ne '\x7f\x45\x4c' >> .f",
            r"echo -ne '\x46' >>.f",
            "chmod 777 .f; cat .f; ./.f x; ls -a",
        ];
        let output = printed(&lines);
        assert!(output.starts_with("\u{7f}ELF") && output.contains(".f\n"), "{output:?}");
    }

    #[test]
    fn the_architecture_is_read_from_an_elf_header() {
        let probe = "dd bs=52 count=1 if=/bin/echo || cat /bin/echo || while read i; do echo $i; done < /bin/echo";
        let (persona, mut shell) = (persona(), Shell::new());
        let output = shell.run(&persona, probe.as_bytes()).output;
        let at = output.windows(4).position(|w| w == b"\x7fELF").unwrap();
        let order = usize::from(persona.cpu.big_endian);
        assert_eq!(output[at + 18 + order], persona.cpu.elf_machine);
        assert!(!output.windows(2).any(|w| w == b"$i"));
    }

    #[test]
    fn recon_is_answered_the_same_each_time() {
        for line in ["uname -a", "free -m", "ps", "cat /proc/cpuinfo", "cat /etc/passwd", "id"] {
            assert_eq!(printed(&[line]), printed(&[line]), "{line}");
            assert!(!printed(&[line]).contains("not found"), "{line}");
        }
        assert_eq!(printed(&["cat /proc/cpuinfo | grep -i bogomips | wc -l"]), "1\n");
        assert_eq!(printed(&["whoami"]), "root\n");
    }

    #[test]
    fn everything_that_is_listed_is_there() {
        let persona = persona();
        let mut left = vec!["/".to_owned()];
        while let Some(path) = left.pop() {
            let Some(names) = device::entries(&path) else {
                assert!(device::file(&persona, &path).is_some(), "{path}");
                continue;
            };
            let parent = path.trim_end_matches('/');
            left.extend(names.iter().map(|name| format!("{parent}/{name}")));
        }
        for applet in device::APPLETS {
            assert!(!printed(&[applet]).contains("not found"), "{applet}");
        }
        assert!(printed(&["ls -la /tmp"]).starts_with("total 0\ndrwxr-xr-x    2 root"));
    }

    #[test]
    fn a_shell_in_a_shell_is_left_first() {
        let (persona, mut shell) = (persona(), Shell::new());
        assert!(!shell.run(&persona, b"sh").ended);
        assert!(!shell.run(&persona, b"exit").ended);
        assert!(shell.run(&persona, b"exit").ended);
    }

    #[test]
    fn a_script_that_starts_itself_ends() {
        let bomb = "cd /tmp; echo 'sh b;sh b;sh b;sh b;echo x' > b; sh b; sh b";
        assert!(printed(&[bomb]).len() <= MAX_COMMANDS * 2);
        assert_eq!(printed(&["sh -c 'echo a; exit; echo b'; echo c"]), "a\nc\n");
    }

    proptest! {
        #[test]
        fn any_line_is_survived_and_bounded(
            lines in proptest::collection::vec(
                proptest::collection::vec(any::<u8>(), 0..300), 1..4),
            words in proptest::collection::vec(
                proptest::sample::select(vec![
                    "cat", "echo", "-e", "\\x4", ">", ">>", "<", "a", "|", "||", "&&", ";", "/",
                    "..", "cd", "cp", "dd", "bs=99999999", "if=/bin/ls", "count=9", "'", "\"", "$",
                    "${", "(", ")", "head", "-n", "99", "wc", "grep", "sh", "-c", "ls", "mkdir",
                    "while", "done", "2>&1", "busybox", "sleep", "rm", "-rf", "mv", "chmod",
                ]), 0..40),
        ) {
            let (persona, mut shell) = (persona(), Shell::new());
            for line in lines.iter().map(Vec::as_slice).chain([words.join(" ").as_bytes()]) {
                let reply = shell.run(&persona, line);
                prop_assert!(reply.output.len() <= MAX_OUTPUT_BYTES);
                prop_assert!(reply.pause.as_secs() <= MAX_PAUSE_SECS);
            }
        }
    }
}
