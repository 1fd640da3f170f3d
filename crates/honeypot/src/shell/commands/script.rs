//! `python -c`, `perl -e` and their like: prints, sums and calls of the shell,
//! which is what one-liners of attackers are made of. Anything else ends
//! silently.

use super::{Options, Run};
use crate::shell::{Shell, escape};

/// Most statements of one program.
const MAX_STATEMENTS: usize = 200;

pub(super) fn find(name: &str) -> Option<Run> {
    Some(match name {
        "python" | "python2" | "python3" | "python3.11" | "python3.10" => python,
        "perl" | "perl5.36.0" => perl,
        "php" | "ruby" | "node" | "lua" => perl,
        "gcc" | "cc" | "g++" | "make" => |shell, _| {
            shell.err(b"gcc: fatal error: no input files\ncompilation terminated.\n");
            1
        },
        "git" | "docker" | "go" => |_, _| 1,
        _ => return None,
    })
}

fn python(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    let options = Options::new(words, "cm");
    if options.any("V") || options.long("version").is_some() {
        let version = if shell.files.exists("/usr/bin/python3.10") { "3.10.12" } else { "3.11.2" };
        shell.say(&format!("Python {version}"));
        return 0;
    }
    let text = match (options.value('c'), options.rest.first()) {
        (Some(text), _) => text.to_owned(),
        (None, Some(file)) => match shell.slurp(file) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(why) => {
                shell.err(
                    format!(
                        "python3: can't open file '{}': [Errno 2] {}\n",
                        shell.path(file),
                        why.text()
                    )
                    .as_bytes(),
                );
                return 2;
            }
        },
        (None, None) => String::from_utf8_lossy(&shell.read_all()).into_owned(),
    };
    program(shell, &text)
}

fn perl(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    let options = Options::new(words, "eErI");
    if options.has('v') {
        shell.say("\nThis is perl 5, version 36, subversion 0 (v5.36.0) built for x86_64-linux-gnu-thread-multi");
        return 0;
    }
    let code = options.value('e').or_else(|| options.value('E')).or_else(|| options.value('r'));
    let text = match (code, options.rest.first()) {
        (Some(text), _) => text.to_owned(),
        (None, Some(file)) => match shell.slurp(file) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(why) => {
                shell
                    .err(format!("Can't open perl script \"{file}\": {}\n", why.text()).as_bytes());
                return 2;
            }
        },
        (None, None) => String::from_utf8_lossy(&shell.read_all()).into_owned(),
    };
    program(shell, &text)
}

/// Statements at semicolons and line ends outside of quotes.
fn statements(text: &str) -> Vec<String> {
    let (mut all, mut current, mut quote, mut escaped) = (Vec::new(), String::new(), None, false);
    for letter in text.chars() {
        match (quote, letter) {
            (Some(_), _) if escaped => {
                escaped = false;
                current.push(letter);
                continue;
            }
            (Some(_), '\\') => escaped = true,
            (Some(open), close) if open == close => quote = None,
            (None, '"' | '\'') => quote = Some(letter),
            (None, ';' | '\n') => {
                all.push(std::mem::take(&mut current));
                continue;
            }
            _ => {}
        }
        current.push(letter);
    }
    all.push(current);
    all.truncate(MAX_STATEMENTS);
    all
}

/// The literal at the start of a text, quotes resolved.
fn literal(text: &str) -> Option<String> {
    let text = text.trim_start().trim_start_matches(['b', 'u', 'r']);
    let quote = text.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let mut out = String::new();
    let mut letters = text.chars().skip(1);
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => out.extend(['\\', letters.next()?]),
            end if end == quote => {
                return Some(
                    String::from_utf8_lossy(&escape::unescape(out.as_bytes(), false).0)
                        .into_owned(),
                );
            }
            other => out.push(other),
        }
    }
    None
}

fn program(shell: &mut Shell, text: &str) -> u8 {
    for statement in statements(text) {
        let statement = statement.trim();
        if !shell.budget.take(1) {
            return 1;
        }
        let after =
            |name: &str| statement.find(name).and_then(|at| statement.get(at + name.len()..));
        let call = [
            "os.system",
            "os.popen",
            "subprocess.call",
            "subprocess.run",
            "subprocess.check_output",
            "pty.spawn",
            "exec",
            "system",
            "shell_exec",
            "passthru",
        ]
        .iter()
        .find_map(|name| after(name));
        if let Some(command) =
            call.and_then(|rest| literal(rest.trim_start_matches([' ', '(', '['])))
        {
            if command == "/bin/bash" || command == "/bin/sh" || command == "bash" {
                continue;
            }
            if shell.deeper(|shell| shell.run_text(command.as_bytes())).is_err() {
                return shell.status;
            }
            continue;
        }
        let Some(rest) = ["print", "sys.stdout.write", "echo", "say", "puts"]
            .iter()
            .find_map(|name| statement.strip_prefix(name).or_else(|| after(&format!(" {name}"))))
        else {
            continue;
        };
        let rest = rest.trim();
        let python = rest.starts_with('(');
        let inner = rest.strip_prefix('(').and_then(|r| r.strip_suffix(')')).unwrap_or(rest).trim();
        let newline = python || statement.starts_with("say") || statement.starts_with("puts");
        let shown = match literal(inner) {
            Some(text) => Some(text),
            None => {
                let sum = !inner.is_empty()
                    && inner.bytes().all(|b| b.is_ascii_digit() || b"+-*/%() <>".contains(&b));
                let value = sum
                    .then(|| shell.calculate(inner.replace("//", "/").as_bytes()).ok())
                    .flatten();
                value.map(|value| value.to_string())
            }
        };
        if let Some(shown) = shown {
            shell.put(shown.as_bytes());
            if newline {
                shell.put(b"\n");
            }
        }
    }
    0
}
