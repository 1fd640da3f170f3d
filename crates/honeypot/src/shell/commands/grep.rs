//! `grep`, `egrep`, `fgrep`.

use regex::bytes::Regex;

use super::{Options, chomp, lines, regex};
use crate::shell::Shell;

pub(super) fn egrep(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    search(shell, words, true, false)
}

pub(super) fn fgrep(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    search(shell, words, false, true)
}

pub(super) fn grep(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    search(shell, words, false, false)
}

fn search(shell: &mut Shell, words: &[Vec<u8>], extended: bool, fixed: bool) -> u8 {
    let options = Options::new(words, "efmABC");
    let mut files = options.rest.clone();
    let mut patterns: Vec<String> = options.values('e').map(str::to_owned).collect();
    if patterns.is_empty() {
        if files.is_empty() {
            shell.err(b"Usage: grep [OPTION]... PATTERNS [FILE]...\nTry 'grep --help' for more information.\n");
            return 2;
        }
        patterns.push(files.remove(0));
    }
    let fixed = fixed || options.has('F');
    let extended = extended || options.any("EP");
    let regexes: Option<Vec<Regex>> = patterns
        .iter()
        .flat_map(|pattern| pattern.split('\n'))
        .map(|pattern| {
            let text = if fixed { regex::escape(pattern) } else { pattern.to_owned() };
            let text = if options.has('w') { format!(r"\b{text}\b") } else { text };
            let text = if options.has('x') { format!("^{text}$") } else { text };
            regex(text.as_bytes(), options.has('i'), extended || fixed || options.has('w'))
        })
        .collect();
    let Some(regexes) = regexes else {
        shell.fails("grep", "Unmatched [, [^, [:, [., or [=");
        return 2;
    };
    if options.any("rR") {
        let starts = if files.is_empty() { vec![".".to_owned()] } else { files.clone() };
        files.clear();
        for start in starts {
            let path = shell.path(&start);
            let inside = super::files::below(shell, &path);
            files.extend(inside.into_iter().filter(|p| {
                shell.files.stat(p, false).is_ok_and(|s| {
                    s.kind == crate::shell::vfs::FileKind::File && s.size < 512 * 1024
                })
            }));
        }
        if files.is_empty() {
            return 1;
        }
    }
    let quiet = options.has('s');
    if quiet {
        files.retain(|file| shell.files.exists(&shell.path(file)));
        if files.is_empty() && !options.rest.is_empty() && options.rest.len() > 1 {
            return 2;
        }
    }
    let (inputs, failed) = shell.inputs("grep", &files);
    let named = (inputs.len() > 1 || options.has('H')) && !options.has('h');
    let most = options.number('m').and_then(|m| usize::try_from(m).ok()).unwrap_or(usize::MAX);
    let context = |letter: char| {
        options
            .number(letter)
            .or_else(|| options.number('C'))
            .and_then(|n| usize::try_from(n).ok())
            .unwrap_or(0)
    };
    let (before, after) = (context('B'), context('A'));
    let mut found_any = false;
    for (name, bytes) in inputs {
        if !shell.budget.work(bytes.len().saturating_mul(regexes.len())) {
            break;
        }
        let all: Vec<&[u8]> = lines(&bytes).collect();
        let hits: Vec<usize> = all
            .iter()
            .enumerate()
            .filter(|(_, line)| regexes.iter().any(|r| r.is_match(chomp(line))) != options.has('v'))
            .map(|(index, _)| index)
            .take(most)
            .collect();
        found_any |= !hits.is_empty();
        let lead = if named { format!("{name}:") } else { String::new() };
        if options.has('q') {
            continue;
        }
        if options.has('c') {
            shell.say(&format!("{lead}{}", hits.len()));
            continue;
        }
        if options.has('l') {
            if !hits.is_empty() {
                shell.say(&name);
            }
            continue;
        }
        if !hits.is_empty() && bytes.contains(&0) && !options.has('a') && !options.has('o') {
            let text = if shell.gnu() {
                format!("grep: {name}: binary file matches")
            } else {
                format!("Binary file {name} matches")
            };
            shell.say(&text);
            continue;
        }
        let mut next = 0;
        for hit in hits {
            if options.has('o') {
                let line = chomp(all.get(hit).copied().unwrap_or_default()).to_vec();
                for regex in &regexes {
                    for part in regex.find_iter(&line).filter(|m| !m.is_empty()) {
                        shell.put(&[lead.as_bytes(), part.as_bytes(), b"\n"].concat());
                    }
                }
                continue;
            }
            for index in hit.saturating_sub(before).max(next)
                ..=hit.saturating_add(after).min(all.len().saturating_sub(1))
            {
                let line = chomp(all.get(index).copied().unwrap_or_default());
                let number =
                    if options.has('n') { format!("{}:", index + 1) } else { String::new() };
                shell.put(&[lead.as_bytes(), number.as_bytes(), line, b"\n"].concat());
                next = index + 1;
            }
        }
    }
    if failed != 0 { 2 } else { u8::from(!found_any) }
}
