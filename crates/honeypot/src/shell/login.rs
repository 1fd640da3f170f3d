//! The beginning and the end of a shell: who sits there, the first prompt, and
//! what of the files tells of what was done.

use std::net::IpAddr;
use std::sync::Arc;

use palisade_event::Timestamp;

use super::act::{Act, fingerprint, sha256};
use super::ast::{Script, Shape};
use super::budget::Budget;
use super::io::Input;
use super::state::Variable;
use super::vfs::{Files, Seat, Visitors};
use super::{Flavor, Level, Reading, Shell, World};
use crate::persona::{Draw, System, hash};

/// Most keys and start-up lines that one session remembers.
const MAX_SEEN: usize = 512;
/// Most bytes of a line that an act carries.
const MAX_LINE_BYTES: usize = 4_096;

/// The service an attacker came through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// Telnet.
    Telnet,
    /// SSH.
    Ssh,
}

/// Who sits at the shell.
#[derive(Clone, Debug)]
pub struct Who {
    /// The login name.
    pub user: String,
    /// Where the client is.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
    /// How it came.
    pub door: Door,
    /// Whether there is a terminal.
    pub tty: bool,
}

impl Shell {
    /// A login shell of `who`, over the files that this address left.
    #[must_use]
    pub fn new(world: &Arc<World>, visitors: &Visitors, who: &Who, now: Timestamp) -> Self {
        let seconds = now.as_millis().div_euclid(1_000);
        let machine = &world.machine;
        let busybox = machine.system == System::BusyBox;
        let known = machine.users.iter().find(|user| user.name == who.user);
        // A device has one user, whatever it is called; a server gets the new one.
        let (user, uid, home) = match known {
            Some(user) => (user.name.clone(), user.uid, user.home.clone()),
            None if busybox => ("root".to_owned(), 0, "/root".to_owned()),
            None => {
                let name: String =
                    who.user.chars().filter(char::is_ascii_graphic).take(32).collect();
                let home = format!("/home/{}", name.replace('/', "_"));
                let count = u32::try_from(machine.users.len()).unwrap_or(0);
                (name, 1_000 + count % 40, home)
            }
        };
        let mut draw = Draw(machine.seed ^ hash(&seconds.to_le_bytes()));
        let up = machine.uptime(seconds).unsigned_abs();
        let most = if busybox { 31_000 } else { 3_900_000 };
        let pid = u32::try_from((700 + up / if busybox { 61 } else { 23 }) % most).unwrap_or(700)
            + 2
            + draw.below(17);
        let shell = if busybox { "-sh" } else { "-bash" };
        let tty = who.tty.then(|| "pts/0".to_owned());
        let daemon = (who.door == Door::Ssh && !busybox).then(|| {
            let shown = tty.as_ref().map_or_else(|| "notty".to_owned(), Clone::clone);
            (pid - 2, format!("sshd: {user}@{shown}"))
        });
        let seat = Seat {
            pid,
            directory: format!("/proc/{pid}"),
            program: if busybox { "/bin/busybox" } else { "/usr/bin/bash" }.to_owned(),
            shell: shell.to_owned(),
            daemon,
            user: user.clone(),
            uid,
            home: home.clone(),
            address: who.address.to_canonical().to_string(),
            port: who.port,
            tty,
            since: seconds,
        };
        let overlay = visitors.overlay(who.address, seconds);
        let files = Files::new(Arc::clone(world), overlay, Arc::new(seat), seconds, uid);
        let flavor = if busybox { Flavor::Ash } else { Flavor::Bash };
        let label = if who.tty { shell } else { shell.trim_start_matches('-') };
        let mut made = Self {
            world: Arc::clone(world),
            files,
            flavor,
            level: Level { label: label.as_bytes().to_vec(), script: false },
            outer: Vec::new(),
            variables: std::collections::BTreeMap::new(),
            variable_bytes: 0,
            functions: std::collections::HashMap::new(),
            locals: Vec::new(),
            parameters: Vec::new(),
            cwd: home.clone(),
            status: 0,
            line: 1,
            fds: Self::standard_fds(who.tty),
            buffers: vec![Vec::new(), Vec::new()],
            stdin: Input::default(),
            replaced: Vec::new(),
            tty: who.tty,
            budget: Budget::new(),
            acts: Vec::new(),
            history: Vec::new(),
            pending: Vec::new(),
            reading: None,
            jobs: 0,
            last_background: 0,
            pids: 3 + draw.below(9),
            seed: draw.mixed(),
            fetcher: None,
            fetches: Default::default(),
            keys_seen: Vec::new(),
            startup_seen: Vec::new(),
            dropped: Vec::new(),
        };
        if known.is_none() && !busybox {
            made.move_in(&user, uid, &home);
        }
        if !made.files.is_directory(&home) {
            made.cwd = "/".to_owned();
        }
        made.set_environment(who, &user, &home);
        made
    }

    /// A user that the machine did not have gets a line and a home.
    fn move_in(&mut self, user: &str, uid: u32, home: &str) {
        let mut root = self.files.clone();
        root.uid = 0;
        if root.exists(home) {
            return;
        }
        // What does not fit is not there; the login goes on.
        let _ = root.write(
            "/etc/passwd",
            format!("{user}:x:{uid}:{uid}:,,,:{home}:/bin/bash\n").as_bytes(),
            true,
        );
        let _ = root.write("/etc/group", format!("{user}:x:{uid}:\n").as_bytes(), true);
        let _ = root.make_directory(home, 0o755);
        let _ = root.set_owner(home, Some(uid), Some(uid));
        let mut over = root.overlay();
        for path in ["/etc/passwd", "/etc/group"] {
            over.capture(path);
        }
        over.take_captured();
    }

    fn set_environment(&mut self, who: &Who, user: &str, home: &str) {
        let busybox = self.flavor == Flavor::Ash;
        let path = match (busybox, user == "root") {
            (true, _) => "/sbin:/usr/sbin:/bin:/usr/bin",
            (_, true) => "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            _ => "/usr/local/bin:/usr/bin:/bin:/usr/local/games:/usr/games",
        };
        let shell = if busybox { "/bin/sh" } else { "/bin/bash" };
        let mut all: Vec<(&str, String)> = vec![
            ("USER", user.to_owned()),
            ("LOGNAME", user.to_owned()),
            ("HOME", home.to_owned()),
            ("PATH", path.to_owned()),
            ("SHELL", shell.to_owned()),
        ];
        if who.tty {
            all.push(("TERM", if busybox { "vt102" } else { "xterm-256color" }.to_owned()));
        }
        if !busybox {
            all.push(("LANG", "en_US.UTF-8".to_owned()));
            all.push(("MAIL", format!("/var/mail/{user}")));
            all.push(("SHLVL", "1".to_owned()));
        }
        if who.door == Door::Ssh {
            let (local, address) = (self.world.machine.address, who.address.to_canonical());
            all.push(("SSH_CLIENT", format!("{address} {} 22", who.port)));
            all.push(("SSH_CONNECTION", format!("{address} {} {local} 22", who.port)));
            if who.tty {
                all.push(("SSH_TTY", "/dev/pts/0".to_owned()));
            }
        }
        for (name, value) in all {
            self.export(name.as_bytes(), Some(value.into_bytes()));
        }
        self.assign(b"IFS", b" \t\n".to_vec());
        self.assign(b"PS1", self.world.machine.prompt.clone().into_bytes());
        self.assign(b"PS2", b"> ".to_vec());
    }

    /// What an interactive shell says at its start.
    #[must_use]
    pub fn banner(&self) -> String {
        let machine = &self.world.machine;
        if machine.system != System::BusyBox {
            return String::new();
        }
        let (version, built) = &machine.busybox;
        format!(
            "BusyBox v{version} ({built}) built-in shell (ash)\n\
             Enter 'help' for a list of built-in commands.\n\n"
        )
    }

    /// The prompt for the next line.
    #[must_use]
    pub fn prompt(&self) -> Vec<u8> {
        if let Some(reading) = &self.reading {
            let done = reading.bytes.iter().filter(|b| **b == b'\n').count();
            return reading.prompts.get(done).copied().unwrap_or("").as_bytes().to_vec();
        }
        let name: &[u8] = if self.pending.is_empty() { b"PS1" } else { b"PS2" };
        let Some(Variable { items, .. }) = self.variables.get(name) else {
            return if self.flavor == Flavor::Bash {
                b"bash-5.2# ".to_vec()
            } else {
                b"# ".to_vec()
            };
        };
        if self.flavor == Flavor::Dash && name == b"PS1" {
            return if self.files.uid == 0 { b"# ".to_vec() } else { b"$ ".to_vec() };
        }
        let text = items.first().map_or(&b""[..], Vec::as_slice);
        self.fill_prompt(text)
    }

    fn fill_prompt(&self, text: &[u8]) -> Vec<u8> {
        let home = self.variables.get(&b"HOME"[..]).and_then(|v| v.items.first().cloned());
        let home = String::from_utf8_lossy(&home.unwrap_or_default()).into_owned();
        let shown = match self.cwd.strip_prefix(home.as_str()) {
            Some(rest) if home.len() > 1 && (rest.is_empty() || rest.starts_with('/')) => {
                format!("~{rest}")
            }
            _ => self.cwd.clone(),
        };
        let host = &self.world.machine.hostname;
        let mut out = Vec::new();
        let mut bytes = text.iter();
        while let Some(byte) = bytes.next() {
            if *byte != b'\\' {
                out.push(*byte);
                continue;
            }
            match bytes.next() {
                Some(b'u') => out.extend_from_slice(self.files.seat.user.as_bytes()),
                Some(b'h') => {
                    out.extend_from_slice(host.split('.').next().unwrap_or(host).as_bytes())
                }
                Some(b'H') => out.extend_from_slice(host.as_bytes()),
                Some(b'w') => out.extend_from_slice(shown.as_bytes()),
                Some(b'W') => {
                    let last =
                        if shown == "/" { "/" } else { shown.rsplit('/').next().unwrap_or("") };
                    out.extend_from_slice(last.as_bytes());
                }
                Some(b'$') => out.push(if self.files.uid == 0 { b'#' } else { b'$' }),
                Some(b'n') => out.push(b'\n'),
                Some(b'e') => out.push(27),
                Some(b'[' | b']') => {}
                Some(other) => out.extend([b'\\', *other]),
                None => out.push(b'\\'),
            }
        }
        out
    }

    /// Whether a line typed at a terminal waits for more lines: `cat > file`.
    pub(super) fn wants_lines(&self, script: &Script, text: &[u8]) -> Option<Reading> {
        let ([item], true) = (script.as_slice(), self.tty) else { return None };
        let first = item.chain.first.stages.first()?;
        let reads = |to: &super::ast::RedirectTo| {
            use super::ast::RedirectTo;
            matches!(to, RedirectTo::Read(_) | RedirectTo::Here(_) | RedirectTo::HereString(_))
        };
        if first.redirects.iter().any(|redirect| reads(&redirect.to)) {
            return None;
        }
        let Shape::Simple { words, .. } = &first.shape else { return None };
        let names: Vec<&[u8]> = words.iter().map(|word| word.plain().unwrap_or(b"?")).collect();
        let (name, rest) = names.split_first()?;
        let (folder, name) = match name.iter().rposition(|b| *b == b'/') {
            Some(at) => name.split_at(at + 1),
            None => (&b""[..], *name),
        };
        if !folder.is_empty() && !folder.ends_with(b"bin/") {
            return None;
        }
        let (name, rest) = match (name, rest) {
            (b"busybox", [applet, rest @ ..]) => (*applet, rest),
            _ => (name, rest),
        };
        let plain = rest.iter().all(|word| word.starts_with(b"-"));
        let (lines, hidden, prompts): (Option<u32>, bool, Vec<&'static str>) = match name {
            b"cat" | b"tac" | b"base64" | b"md5sum" | b"sha256sum" | b"wc" | b"sort" | b"uniq"
                if plain =>
            {
                (None, false, Vec::new())
            }
            b"tee" | b"chpasswd" | b"xargs" => (None, false, Vec::new()),
            b"crontab" if rest == [&b"-"[..]] => (None, false, Vec::new()),
            b"read" => (Some(1), false, Vec::new()),
            b"passwd" if plain => {
                let prompts = if self.flavor == Flavor::Ash {
                    vec!["New password: ", "Retype password: "]
                } else {
                    vec!["New password: ", "Retype new password: "]
                };
                (Some(2), true, prompts)
            }
            _ => return None,
        };
        let bytes = Vec::new();
        Some(Reading { line: text.to_vec(), bytes, lines_left: lines, hidden, prompts })
    }

    pub(super) fn finish_reading(&mut self, reading: Reading) {
        self.swap_stdin(reading.bytes);
        if reading.hidden {
            self.put(b"\n");
        }
        // Mistakes were found when the line was typed.
        let _ = self.run_text(&reading.line);
    }

    /// Tells what the files show: dropped files, keys, start-up lines.
    pub(super) fn settle(&mut self) {
        let (captured, touched) = {
            let mut over = self.files.overlay();
            (over.take_captured(), over.touched())
        };
        for path in touched.iter().chain(captured.iter().map(|capture| &capture.path)) {
            let key = path.contains("/.ssh/authorized_keys");
            if key || starts_by_itself(path) {
                self.look_at(path, key);
            }
        }
        for capture in captured {
            let hash = sha256(&capture.bytes);
            if self.is_new_drop(hash) {
                self.act(Act::FileDropped { path: capture.path, bytes: capture.bytes, hash });
            }
        }
    }

    /// Whether a file was not told yet; from now on it was.
    pub(super) fn is_new_drop(&mut self, hash: palisade_event::PayloadHash) -> bool {
        let new = !self.dropped.contains(&hash) && self.dropped.len() < MAX_SEEN;
        if new {
            self.dropped.push(hash);
        }
        new
    }

    fn look_at(&mut self, path: &str, key: bool) {
        let text = self.files.read(path, 0, 64 * 1024).unwrap_or_default();
        for line in text.split(|b| *b == b'\n') {
            let line = line.trim_ascii();
            let line = line.get(..MAX_LINE_BYTES).unwrap_or(line);
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            if key
                && !self.keys_seen.iter().any(|seen| seen == line)
                && self.keys_seen.len() < MAX_SEEN
            {
                self.keys_seen.push(line.to_vec());
                let (path, key) = (path.to_owned(), line.to_vec());
                self.act(Act::KeyPlanted { path, fingerprint: fingerprint(&key), key });
            } else if !key {
                let seen = (path.to_owned(), line.to_vec());
                let old = self.world.tree.get(path).is_some() && self.was_there(path, line);
                if !old && !self.startup_seen.contains(&seen) && self.startup_seen.len() < MAX_SEEN
                {
                    self.startup_seen.push(seen);
                    self.act(Act::StartupChanged { path: path.to_owned(), line: line.to_vec() });
                }
            }
        }
    }

    fn was_there(&self, path: &str, line: &[u8]) -> bool {
        use super::vfs::{Content, Kind};
        match self.world.tree.get(path).map(|node| &node.kind) {
            Some(Kind::File(Content::Bytes(bytes))) => {
                bytes.split(|b| *b == b'\n').any(|old| old.trim_ascii() == line)
            }
            _ => false,
        }
    }

    /// The password that this attacker has set for a user.
    #[must_use]
    pub fn changed_password(
        visitors: &Visitors,
        address: IpAddr,
        user: &str,
        now: Timestamp,
    ) -> Option<Vec<u8>> {
        let overlay = visitors.overlay(address, now.as_millis().div_euclid(1_000));
        let over = overlay.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        over.passwords.get(user).cloned()
    }
}

/// Whether what a file holds is started by itself.
fn starts_by_itself(path: &str) -> bool {
    [
        "/etc/cron",
        "/var/spool/cron/",
        "/etc/systemd/system/",
        "/lib/systemd/system/",
        "/usr/lib/systemd/system/",
        "/etc/init.d/",
        "/etc/rc",
    ]
    .iter()
    .any(|start| path.starts_with(start))
        || matches!(path, "/etc/ld.so.preload" | "/etc/inittab" | "/etc/profile" | "/etc/rc.local")
        || path.ends_with("/.bashrc")
        || path.ends_with("/.profile")
        || path.ends_with("/.bash_profile")
}
