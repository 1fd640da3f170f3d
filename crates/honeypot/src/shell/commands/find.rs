//! `find`.

use crate::shell::Shell;
use crate::shell::vfs::FileKind;

pub(super) fn find_files(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    let words: Vec<String> =
        words.iter().map(|w| String::from_utf8_lossy(w).into_owned()).collect();
    let cut = words
        .iter()
        .position(|w| w.starts_with('-') || w == "(" || w == "!")
        .unwrap_or(words.len());
    let (starts, tests) = words.split_at(cut);
    let starts = if starts.is_empty() { vec![".".to_owned()] } else { starts.to_vec() };
    let after =
        |name: &str| tests.iter().position(|t| t == name).and_then(|at| tests.get(at + 1)).cloned();
    let depth = after("-maxdepth").and_then(|d| d.parse::<usize>().ok()).unwrap_or(usize::MAX);
    let kinds = after("-type");
    let patterns: Vec<String> = tests
        .iter()
        .zip(tests.iter().skip(1))
        .filter(|(test, _)| matches!(test.as_str(), "-name" | "-iname"))
        .map(|(_, pattern)| pattern.clone())
        .collect();
    let perm = after("-perm");
    let writable = tests.iter().any(|t| t == "-writable");
    let exec = tests.iter().position(|t| t == "-exec" || t == "-execdir");
    let delete = tests.iter().any(|t| t == "-delete");
    let mut status = 0;
    for start in starts {
        let base = shell.path(&start);
        if !shell.files.exists(&base) {
            let text = if shell.gnu() {
                format!("'{start}': No such file or directory")
            } else {
                format!("{start}: No such file or directory")
            };
            status = shell.fails("find", &text);
            continue;
        }
        for path in super::files::below(shell, &base) {
            let rest = path.strip_prefix(base.as_str()).unwrap_or_default();
            if rest.matches('/').count() > depth {
                continue;
            }
            let shown = format!(
                "{}{rest}",
                if rest.is_empty() { start.as_str() } else { start.trim_end_matches('/') }
            );
            let Ok(stat) = shell.files.stat(&path, false) else { continue };
            let name = path.rsplit('/').next().unwrap_or(&path);
            let kind_fits = kinds.as_deref().is_none_or(|kind| match kind {
                "d" => stat.is_directory(),
                "f" => stat.kind == FileKind::File,
                "l" => matches!(stat.kind, FileKind::Link(_)),
                _ => false,
            });
            let name_fits = patterns.is_empty()
                || patterns
                    .iter()
                    .any(|p| crate::shell::pattern::matches(p.as_bytes(), name.as_bytes()));
            let perm_fits = perm.as_deref().is_none_or(|perm| {
                let digits = perm.trim_start_matches(['-', '/', '+']);
                let bits = u32::from_str_radix(digits, 8).unwrap_or(0o4000);
                if perm.starts_with('-') { stat.mode & bits == bits } else { stat.mode & bits != 0 }
            });
            if !(kind_fits && name_fits && perm_fits) || writable && stat.mode & 0o222 == 0 {
                continue;
            }
            if delete {
                // As `rm` would say; a directory that is not empty stays.
                let _ = shell.files.remove(&path, stat.is_directory());
            } else if let Some(at) = exec {
                let command = tests.get(at + 1..).unwrap_or_default();
                let end =
                    command.iter().position(|w| w == ";" || w == "+").unwrap_or(command.len());
                let fields = command.get(..end).unwrap_or_default();
                let fields = fields.iter().map(|w| w.replace("{}", &shown).into_bytes()).collect();
                if shell.deeper(|shell| shell.invoke(fields)).is_err() {
                    return 1;
                }
            } else {
                let end: &[u8] = if tests.iter().any(|t| t == "-print0") { b"\0" } else { b"\n" };
                shell.put(&[shown.as_bytes(), end].concat());
            }
            if shell.budget.is_spent() {
                return 1;
            }
        }
    }
    status
}
