//! `awk`: patterns, print, printf, conditions, loops, variables, fields and
//! the functions that one-liners use. Bounded by the line's budget.

mod functions;
mod parse;
mod run;

use std::collections::BTreeMap;

use super::Options;
use crate::shell::Shell;

/// Runs an awk program over files or standard input.
pub(super) fn awk(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    let options = Options::new(words, "Fvf");
    let mut files = options.rest.clone();
    let program = match options.value('f') {
        Some(file) => match shell.slurp(file) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(why) => return shell.cannot_open("awk", file, why),
        },
        None if files.is_empty() => {
            shell.err(b"Usage: awk [-F value] [-v var=value] [--] 'program text' [file ...]\n");
            return 2;
        }
        None => files.remove(0),
    };
    let Some(rules) = parse::parse(&program) else {
        let shown: String = program.chars().take(40).collect();
        shell.err(format!("awk: line 1: syntax error at or near {shown}\n").as_bytes());
        return 2;
    };
    let mut variables = BTreeMap::new();
    for setting in options.values('v') {
        if let Some((name, value)) = setting.split_once('=') {
            variables.insert(name.to_owned(), value.to_owned());
        }
    }
    let separator =
        options.value('F').map_or_else(|| " ".to_owned(), |text| text.replace("\\t", "\t"));
    variables.insert("FS".to_owned(), separator);
    files.retain(|file| match file.split_once('=') {
        Some((name, value)) if !file.contains('/') => {
            variables.insert(name.to_owned(), value.to_owned());
            false
        }
        _ => true,
    });
    run::run(shell, &rules, variables, &files)
}
