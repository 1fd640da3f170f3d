//! Builtins of the shell that do not steer it, and the programs of the same
//! names.

use super::printf::{integer, printf};
use super::{Options, Run, bash};
use crate::shell::vfs::{FileKind, absolute};
use crate::shell::{Flavor, Shell, escape, test};

/// A builtin of this flavour.
pub(in crate::shell) fn builtin(name: &str, flavor: Flavor) -> Option<Run> {
    Some(match name {
        ":" | "true" => |_, _| 0,
        "false" => |_, _| 1,
        "cd" | "chdir" => cd,
        "pwd" => pwd,
        "echo" => echo,
        "printf" => printf,
        "read" => read,
        "export" | "readonly" => export,
        "declare" | "typeset" if bash(flavor) => export,
        "unset" => unset,
        "set" => set,
        "shift" => shift,
        "test" => test::single,
        "[" => bracket,
        "type" => type_of,
        "command" => command,
        "history" if flavor != Flavor::Dash => history,
        "umask" => |shell, words| {
            if words.is_empty() {
                shell.say("0022");
            }
            0
        },
        "ulimit" => ulimit,
        "let" if flavor != Flavor::Dash => |shell, words| {
            let value = shell.calculate(&words.join(&b' ')).unwrap_or(0);
            u8::from(value == 0)
        },
        "help" if flavor != Flavor::Dash => help,
        "alias" => |shell, words| {
            if words.is_empty() && shell.gnu() && shell.flavor == Flavor::Bash {
                shell.say("alias ls='ls --color=auto'");
            }
            0
        },
        "enable" | "shopt" | "bind" | "disown" | "complete" | "compgen" if bash(flavor) => enable,
        "unalias" | "trap" | "wait" | "hash" | "times" | "jobs" | "bg" | "fg" | "getopts" => {
            |_, _| 0
        }
        "pushd" | "popd" if bash(flavor) => cd,
        _ => return None,
    })
}

/// Programs whose names are builtins, too.
pub(super) fn program(name: &str) -> Option<Run> {
    match name {
        "true" => Some(|_, _| 0),
        "false" => Some(|_, _| 1),
        "echo" => Some(echo),
        "printf" => Some(printf),
        "pwd" => Some(pwd),
        "test" => Some(test::single),
        "[" | "[[" => Some(bracket),
        _ => None,
    }
}

fn enable(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    if words.is_empty() {
        for name in [
            ". : [ alias bg bind break builtin caller cd command compgen complete compopt continue declare dirs disown echo enable eval exec exit export false fc fg getopts hash help history jobs kill let local logout mapfile popd printf pushd pwd read readarray readonly return set shift shopt source suspend test times trap true type typeset ulimit umask unalias unset wait",
        ] {
            for name in name.split(' ') {
                shell.say(&format!("enable {name}"));
            }
        }
    }
    0
}

fn cd(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    let target = match words.iter().find(|word| !matches!(word.as_slice(), b"-P" | b"-L" | b"--")) {
        None => shell.variable(b"HOME").unwrap_or_else(|| b"/".to_vec()),
        Some(word) if word == b"-" => {
            let old = shell.variable(b"OLDPWD").unwrap_or_else(|| shell.cwd.clone().into_bytes());
            shell.say(&String::from_utf8_lossy(&old));
            old
        }
        Some(word) => word.clone(),
    };
    let shown = String::from_utf8_lossy(&target).into_owned();
    if shown.is_empty() {
        return 0;
    }
    let path = absolute(&shell.cwd, &shown);
    let why = match shell.files.stat(&path, true) {
        Ok(stat) if stat.is_directory() => {
            let old = std::mem::replace(&mut shell.cwd, path);
            shell.assign(b"OLDPWD", old.into_bytes());
            return 0;
        }
        Ok(_) => "Not a directory",
        Err(why) => why.text(),
    };
    let message = match shell.flavor {
        Flavor::Bash => format!("cd: {shown}: {why}"),
        Flavor::Dash => format!("cd: can't cd to {shown}"),
        Flavor::Ash => format!("cd: can't cd to {shown}: {why}"),
    };
    shell.complain(message.as_bytes());
    if shell.flavor == Flavor::Bash { 1 } else { 2 }
}

fn pwd(shell: &mut Shell, _: &[Vec<u8>]) -> u8 {
    shell.say(&shell.cwd.clone());
    0
}

fn echo(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    let is_flag = |word: &&Vec<u8>| {
        word.len() > 1 && word.starts_with(b"-") && word.iter().skip(1).all(|b| b"neE".contains(b))
    };
    // dash knows `-n` alone and always takes escapes.
    let dash = shell.flavor == Flavor::Dash;
    let count = if dash {
        usize::from(words.first().is_some_and(|word| word == b"-n"))
    } else {
        words.iter().take_while(is_flag).count()
    };
    let (flags, words) = words.split_at(count);
    let has = |wanted: u8| flags.iter().any(|flag| flag.contains(&wanted));
    let text = words.join(&b' ');
    let (mut out, stopped) =
        if has(b'e') || dash { escape::unescape(&text, true) } else { (text, false) };
    if !has(b'n') && !stopped {
        out.push(b'\n');
    }
    shell.put(&out);
    0
}

fn read(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    let options = Options::new(words, "pntdu");
    if let Some(prompt) = options.value('p') {
        shell.err(prompt.to_owned().as_bytes());
    }
    let Some(line) = shell.read_line() else {
        for name in &options.rest {
            shell.assign(name.as_bytes(), Vec::new());
        }
        return 1;
    };
    let complete = line.ends_with(b"\n");
    let line = super::chomp(&line);
    let text = if options.has('r') {
        line.to_vec()
    } else {
        line.iter().copied().filter(|b| *b != b'\\').collect()
    };
    let text: Vec<u8> = text.into_iter().filter(|b| *b != 0).collect();
    let names = if options.rest.is_empty() { vec!["REPLY".to_owned()] } else { options.rest };
    let separators = shell.variable(b"IFS").unwrap_or_else(|| b" \t\n".to_vec());
    let mut rest = text.as_slice();
    let trim = |mut rest: &[u8]| -> usize {
        let before = rest.len();
        while let [first, after @ ..] = rest {
            if !(separators.contains(first) && first.is_ascii_whitespace()) {
                break;
            }
            rest = after;
        }
        before - rest.len()
    };
    for (index, name) in names.iter().enumerate() {
        rest = rest.get(trim(rest)..).unwrap_or_default();
        let end = if index + 1 == names.len() {
            rest.len()
        } else {
            rest.iter().position(|b| separators.contains(b)).unwrap_or(rest.len())
        };
        let (value, after) = rest.split_at(end);
        let value = if index + 1 == names.len() { value.trim_ascii_end() } else { value };
        shell.assign(name.as_bytes(), value.to_vec());
        rest = after.get(1..).unwrap_or_default();
    }
    u8::from(!complete)
}

fn export(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    let names: Vec<&Vec<u8>> = words.iter().filter(|word| !word.starts_with(b"-")).collect();
    if names.is_empty() {
        let all: Vec<(Vec<u8>, Vec<u8>)> = shell
            .variables
            .iter()
            .filter(|(_, v)| v.exported)
            .map(|(name, v)| (name.clone(), v.items.first().cloned().unwrap_or_default()))
            .collect();
        for (name, value) in all {
            let lead: &[u8] =
                if shell.flavor == Flavor::Bash { b"declare -x " } else { b"export " };
            let (open, close): (&[u8], &[u8]) =
                if shell.flavor == Flavor::Bash { (b"=\"", b"\"\n") } else { (b"='", b"'\n") };
            shell.put(&[lead, &name, open, &value, close].concat());
        }
        return 0;
    }
    for word in names {
        let mut parts = word.splitn(2, |b| *b == b'=');
        let name = parts.next().unwrap_or_default();
        shell.export(name, parts.next().map(<[u8]>::to_vec));
    }
    0
}

fn unset(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    for word in words {
        shell.variables.remove(word);
        shell.functions.remove(word);
    }
    0
}

fn set(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    if words.is_empty() {
        let all: Vec<Vec<u8>> = shell
            .variables
            .iter()
            .map(|(name, v)| {
                let value = v.items.first().cloned().unwrap_or_default();
                let plain =
                    value.iter().all(|b| b.is_ascii_alphanumeric() || b"/:._-@,".contains(b));
                let quote: &[u8] = if plain && shell.flavor == Flavor::Bash { b"" } else { b"'" };
                [name.as_slice(), b"=", quote, &value, quote, b"\n"].concat()
            })
            .collect();
        shell.put(&all.concat());
        return 0;
    }
    if let Some(at) = words.iter().position(|word| word == b"--") {
        shell.parameters = words.get(at + 1..).unwrap_or_default().to_vec();
    } else if !words.iter().any(|word| word.starts_with(b"-") || word.starts_with(b"+")) {
        shell.parameters = words.to_vec();
    }
    0
}

fn shift(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    let count = words.first().map_or(1, |word| usize::try_from(integer(word)).unwrap_or(0));
    if count > shell.parameters.len() {
        return 1;
    }
    shell.parameters.drain(..count);
    0
}

fn bracket(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    match words.split_last() {
        Some((last, rest)) if last == b"]" || last == b"]]" => test::single(shell, rest),
        _ => {
            shell.complain(b"[: missing `]'");
            2
        }
    }
}

fn type_of(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    let mut status = 0;
    for word in words.iter().filter(|word| !word.starts_with(b"-")) {
        let name = String::from_utf8_lossy(word).into_owned();
        if shell.functions.contains_key(word) {
            shell.say(&format!("{name} is a function"));
        } else if is_builtin(&name, shell.flavor) {
            shell.say(&format!("{name} is a shell builtin"));
        } else if let Some(path) = shell.find_program(&name) {
            shell.say(&format!("{name} is {path}"));
        } else {
            if shell.flavor == Flavor::Bash {
                shell.complain(format!("type: {name}: not found").as_bytes());
            } else {
                shell.say(&format!("{name}: not found"));
            }
            status = 1;
        }
    }
    status
}

fn is_builtin(name: &str, flavor: Flavor) -> bool {
    builtin(name, flavor).is_some()
        || ["break", "continue", "return", "exit", "eval", ".", "exec", "local"].contains(&name)
}

fn command(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    // Only `-v` and `-V` come here; the shell takes the others.
    let mut status = 127;
    for word in words.iter().filter(|word| !word.starts_with(b"-")) {
        let name = String::from_utf8_lossy(word).into_owned();
        if is_builtin(&name, shell.flavor) || shell.functions.contains_key(word) {
            shell.say(&name);
            status = 0;
        } else if name.contains('/') {
            let there =
                shell.files.stat(&shell.path(&name), true).is_ok_and(|s| s.kind == FileKind::File);
            if there {
                shell.say(&name);
                status = 0;
            }
        } else if let Some(path) = shell.find_program(&name) {
            shell.say(&path);
            status = 0;
        }
    }
    status
}

fn history(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    if words.first().is_some_and(|word| word.starts_with(b"-")) {
        if words.first().is_some_and(|word| word.contains(&b'c')) {
            shell.history.clear();
        }
        return 0;
    }
    let mut text = Vec::new();
    for (index, line) in shell.history.iter().enumerate() {
        text.extend_from_slice(format!("{:5}  ", index + 1).as_bytes());
        text.extend_from_slice(line);
        text.push(b'\n');
    }
    shell.put(&text);
    0
}

fn ulimit(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    let files = "1024";
    match words {
        [flag] if flag == b"-n" => shell.say(files),
        [flag] if flag == b"-u" => shell.say(&(shell.world.machine.memory_kib / 128).to_string()),
        [flag] if flag == b"-a" => shell.put(
            b"core file size              (blocks, -c) 0\ndata seg size               (kbytes, -d) unlimited\nopen files                          (-n) 1024\nstack size                  (kbytes, -s) 8192\ncpu time                   (seconds, -t) unlimited\nvirtual memory              (kbytes, -v) unlimited\n",
        ),
        [] => shell.say("unlimited"),
        _ => {}
    }
    0
}

fn help(shell: &mut Shell, _: &[Vec<u8>]) -> u8 {
    if shell.flavor == Flavor::Ash {
        shell.put(
            b"Built-in commands:\n------------------\n\
              \t. : [ [[ alias bg break cd chdir command continue echo eval exec\n\
              \texit export false fg getopts hash help history jobs kill let\n\
              \tlocal printf pwd read readonly return set shift source test times\n\
              \ttrap true type ulimit umask unalias unset wait\n\n",
        );
    } else {
        shell.put(
            b"GNU bash, version 5.2.15(1)-release (x86_64-pc-linux-gnu)\nThese shell commands are defined internally.  Type `help' to see this list.\nType `help name' to find out more about the function `name'.\nUse `info bash' to find out more about the shell in general.\nUse `man -k' or `info' to find out more about commands not in this list.\n\n",
        );
    }
    0
}
