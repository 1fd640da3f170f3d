//! Filters: `head`, `tail`, `wc`, `sort`, `cut`, `tr` and their like.

use super::columns::{cut, paste, tr};
use super::{Options, Run, chomp, lines, regex};
use crate::shell::Shell;

/// Most lines that `seq` and `yes` make.
const MAX_LINES: i64 = 20_000;

pub(super) fn find(name: &str) -> Option<Run> {
    Some(match name {
        "head" => |shell, words| ends(shell, words, "head"),
        "tail" => |shell, words| ends(shell, words, "tail"),
        "wc" => wc,
        "sort" => sort,
        "uniq" => uniq,
        "cut" => cut,
        "tr" => tr,
        "rev" => rev,
        "nl" => nl,
        "seq" => seq,
        "yes" => yes,
        "expr" => expr,
        "paste" => paste,
        "column" | "fold" | "fmt" | "expand" | "unexpand" | "more" | "less" | "pr" | "iconv" => {
            plain
        }
        "strings" => strings,
        "diff" | "cmp" => diff,
        "comm" | "join" => plain,
        "bc" | "dc" => bc,
        "factor" => |_, _| 0,
        "shuf" => plain,
        _ => return None,
    })
}

fn plain(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    let (all, status) = shell.inputs("cat", &Options::new(words, "tswcfn").rest);
    for (_, bytes) in all {
        shell.put(&bytes);
    }
    status
}

fn ends(shell: &mut Shell, words: &[Vec<u8>], name: &str) -> u8 {
    let options = Options::new(words, "nc");
    let number = |text: &str| super::dd::bytes_of(text.trim_start_matches(['-', '+']));
    let lines_text = options.value('n').or_else(|| options.value('0')).unwrap_or("10").to_owned();
    let count = usize::try_from(number(&lines_text).unwrap_or(10)).unwrap_or(usize::MAX);
    let bytes_wanted = options.value('c').map(str::to_owned);
    // Only the beginning is read where no more is asked for.
    let (all, status) = match (&bytes_wanted, name) {
        (Some(text), "head") if !options.rest.is_empty() && !text.starts_with('-') => {
            let most = usize::try_from(number(text).unwrap_or(0)).unwrap_or(usize::MAX);
            let (mut all, mut status) = (Vec::new(), 0);
            for file in &options.rest {
                match shell.files.read(&shell.path(file), 0, most) {
                    Ok(bytes) => all.push((file.clone(), bytes)),
                    Err(why) => status = shell.cannot_open(name, file, why),
                }
            }
            (all, status)
        }
        _ => shell.inputs(name, &options.rest),
    };
    let heads = all.len() > 1 && !options.has('q');
    for (index, (file, bytes)) in all.iter().enumerate() {
        if heads {
            let gap = if index > 0 { "\n" } else { "" };
            shell.put(format!("{gap}==> {file} <==\n").as_bytes());
        }
        if let Some(text) = &bytes_wanted {
            let most = usize::try_from(number(text).unwrap_or(0)).unwrap_or(usize::MAX);
            let part = match (name, text.starts_with('-') || text.starts_with('+')) {
                ("head", false) => bytes.get(..most).unwrap_or(bytes),
                ("head", true) => bytes.get(..bytes.len().saturating_sub(most)).unwrap_or_default(),
                (_, true) if text.starts_with('+') => {
                    bytes.get(most.saturating_sub(1)..).unwrap_or_default()
                }
                _ => bytes.get(bytes.len().saturating_sub(most)..).unwrap_or_default(),
            };
            shell.put(part);
            continue;
        }
        let all: Vec<&[u8]> = lines(bytes).collect();
        let kept = match name {
            "head" if lines_text.starts_with('-') => all.get(..all.len().saturating_sub(count)),
            "head" => all.get(..count.min(all.len())),
            _ if lines_text.starts_with('+') => all.get(count.saturating_sub(1).min(all.len())..),
            _ => all.get(all.len().saturating_sub(count)..),
        };
        shell.put(&kept.unwrap_or_default().concat());
    }
    status
}

fn wc(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    let options = Options::new(words, "");
    let mut files = options.rest.clone();
    let piped = files.is_empty();
    if piped {
        files.push(String::new());
    }
    let (mut totals, mut status) = ([0usize; 3], 0);
    let count = files.len();
    let show = |shell: &mut Shell, counts: [usize; 3], name: &str| {
        let wanted: Vec<usize> = "lwc"
            .chars()
            .zip(counts)
            .filter(|(letter, _)| {
                !options.any("lwcm") || options.has(*letter) || (*letter == 'c' && options.has('m'))
            })
            .map(|(_, count)| count)
            .collect();
        let text = if wanted.len() == 1 {
            wanted.first().map(usize::to_string).unwrap_or_default()
        } else if shell.gnu() && !piped {
            wanted
                .iter()
                .map(|count| format!("{count:>4}"))
                .collect::<Vec<_>>()
                .join(" ")
                .trim_start()
                .to_owned()
        } else if shell.gnu() {
            wanted.iter().map(|count| format!("{count:>7}")).collect::<Vec<_>>().join(" ")
        } else {
            wanted.iter().map(|count| format!("{count:>9}")).collect::<Vec<_>>().join(" ")
        };
        let name = if name.is_empty() { String::new() } else { format!(" {name}") };
        shell.say(&format!("{text}{name}"));
    };
    for name in files {
        let (mut counts, mut in_word) = ([0usize; 3], false);
        let [lines, words, bytes] = &mut counts;
        let counted = shell.pieces("wc", &name, &mut |piece| {
            *bytes += piece.len();
            for byte in piece {
                *lines += usize::from(*byte == b'\n');
                let space = byte.is_ascii_whitespace();
                *words += usize::from(!space && !in_word);
                in_word = !space;
            }
        });
        if let Err(failed) = counted {
            status = failed;
            continue;
        }
        totals.iter_mut().zip(counts).for_each(|(total, count)| *total += count);
        show(shell, counts, &name);
    }
    if count > 1 {
        show(shell, totals, "total");
    }
    status
}

fn number_of(text: &[u8]) -> f64 {
    let text = String::from_utf8_lossy(text);
    let text = text.trim_start();
    let end = text
        .char_indices()
        .find(|(i, c)| !(c.is_ascii_digit() || *c == '.' || *i == 0 && *c == '-'));
    text.get(..end.map_or(text.len(), |(i, _)| i)).and_then(|t| t.parse().ok()).unwrap_or(0.0)
}

fn sort(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    let options = Options::new(words, "ktoST");
    let (all, status) = shell.inputs("sort", &options.rest);
    let bytes: Vec<u8> = all
        .into_iter()
        .flat_map(|(_, mut bytes)| {
            if bytes.last().is_some_and(|b| *b != b'\n') {
                bytes.push(b'\n');
            }
            bytes
        })
        .collect();
    if !shell.budget.work(bytes.len() * 2) {
        return 1;
    }
    let field = options
        .value('k')
        .and_then(|k| k.split(['.', ',', 'n', 'r']).next()?.parse::<usize>().ok());
    let keys = options.value('k').unwrap_or("").to_owned();
    let separator = options.value('t').and_then(|t| t.bytes().next());
    let key = |line: &[u8]| -> Vec<u8> {
        let line = chomp(line);
        let Some(field) = field.filter(|f| *f > 0) else { return line.to_vec() };
        let mut fields: Box<dyn Iterator<Item = &[u8]>> = match separator {
            Some(s) => Box::new(line.split(move |b| *b == s)),
            None => Box::new(line.split(u8::is_ascii_whitespace).filter(|f| !f.is_empty())),
        };
        fields.nth(field - 1).unwrap_or_default().to_vec()
    };
    let numeric = options.any("ngh") || keys.contains('n');
    let mut keyed: Vec<(Vec<u8>, &[u8])> = lines(&bytes).map(|line| (key(line), line)).collect();
    if numeric {
        keyed
            .sort_by(|a, b| number_of(&a.0).total_cmp(&number_of(&b.0)).then_with(|| a.1.cmp(b.1)));
    } else {
        keyed.sort();
    }
    if options.has('r') || keys.contains('r') {
        keyed.reverse();
    }
    if options.has('u') {
        keyed.dedup_by(|a, b| a.0 == b.0);
    }
    let text: Vec<u8> = keyed.into_iter().flat_map(|(_, line)| line.iter().copied()).collect();
    match options.value('o') {
        Some(file) => u8::from(!shell.write_file("sort", file, &text, false)),
        None => {
            shell.put(&text);
            status
        }
    }
}

fn uniq(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    let options = Options::new(words, "fsw");
    let (all, status) = shell.inputs("uniq", options.rest.get(..1).unwrap_or_default());
    for (_, bytes) in all {
        let mut groups: Vec<(usize, &[u8])> = Vec::new();
        for line in lines(&bytes) {
            match groups.last_mut() {
                Some((count, last)) if chomp(last) == chomp(line) => *count += 1,
                _ => groups.push((1, line)),
            }
        }
        let mut text = Vec::new();
        for (count, line) in groups {
            if options.has('d') && count < 2 || options.has('u') && count > 1 {
                continue;
            }
            if options.has('c') {
                text.extend_from_slice(format!("{count:7} ").as_bytes());
            }
            text.extend_from_slice(chomp(line));
            text.push(b'\n');
        }
        shell.put(&text);
    }
    status
}

fn rev(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    let (all, status) = shell.inputs("rev", &Options::new(words, "").rest);
    for (_, bytes) in all {
        for line in lines(&bytes) {
            let mut turned: Vec<u8> = chomp(line).iter().rev().copied().collect();
            turned.push(b'\n');
            shell.put(&turned);
        }
    }
    status
}

fn nl(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    let (all, status) = shell.inputs("nl", &Options::new(words, "bws").rest);
    let mut number = 0;
    for (_, bytes) in all {
        for line in lines(&bytes) {
            number += 1;
            shell.put(format!("{number:6}\t").as_bytes());
            shell.put(line);
        }
    }
    status
}

fn seq(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    let numbers: Vec<i64> =
        words.iter().filter_map(|w| std::str::from_utf8(w).ok()?.parse().ok()).collect();
    let (from, step, to) = match numbers.as_slice() {
        [to] => (1, 1, *to),
        [from, to] => (*from, 1, *to),
        [from, step, to, ..] => (*from, *step, *to),
        [] => return shell.fails("seq", "missing operand"),
    };
    if step == 0 {
        return shell.fails("seq", "invalid Zero increment value: '0'");
    }
    let count = to.saturating_sub(from) / step;
    let mut text = String::new();
    for index in 0..=count.min(MAX_LINES) {
        if count < 0 {
            break;
        }
        text.push_str(&from.saturating_add(index.saturating_mul(step)).to_string());
        text.push('\n');
    }
    shell.put(text.as_bytes());
    0
}

fn yes(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    let line = if words.is_empty() { b"y".to_vec() } else { words.join(&b' ') };
    let line = [line.as_slice(), b"\n"].concat();
    // Into a pipe it ends when nobody reads any more; at a terminal never,
    // so that the line's budget ends it.
    let most = if shell.to_terminal() { usize::MAX } else { 64 * 1024 };
    let count = (most / line.len()).clamp(1, 300_000);
    for _ in 0..count {
        shell.put(&line);
        if shell.budget.is_spent() {
            break;
        }
    }
    0
}

fn expr(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    let text = |index: usize| {
        words.get(index).map(|w| String::from_utf8_lossy(w).into_owned()).unwrap_or_default()
    };
    match text(0).as_str() {
        "length" => {
            let length = text(1).len();
            shell.say(&length.to_string());
            return u8::from(length == 0);
        }
        "substr" => {
            let (from, length): (usize, usize) =
                (text(2).parse().unwrap_or(1), text(3).parse().unwrap_or(0));
            let part: String = text(1).chars().skip(from.saturating_sub(1)).take(length).collect();
            shell.say(&part);
            return u8::from(part.is_empty());
        }
        _ => {}
    }
    if words.len() == 3 && words.get(1).is_some_and(|w| w == b":") {
        let pattern = format!("^{}", text(2));
        let found = regex(pattern.as_bytes(), false, false);
        let value = text(0);
        let shown = found.and_then(|r| {
            let caps = r.captures(value.as_bytes())?;
            Some(match caps.get(1) {
                Some(group) => String::from_utf8_lossy(group.as_bytes()).into_owned(),
                None => caps.get(0)?.len().to_string(),
            })
        });
        let shown = shown.unwrap_or_else(|| "0".to_owned());
        shell.say(&shown);
        return u8::from(shown == "0");
    }
    let joined = words.join(&b' ');
    let joined = String::from_utf8_lossy(&joined).replace(" = ", " == ");
    let numeric =
        words.iter().all(|w| w.iter().all(|b| b.is_ascii_digit() || b"+-*/%()<>=!&|".contains(b)));
    if numeric && let Ok(value) = shell.calculate(joined.as_bytes()) {
        shell.say(&value.to_string());
        return u8::from(value == 0);
    }
    if let [one] = words {
        shell.say(&String::from_utf8_lossy(one));
        return u8::from(one.is_empty());
    }
    if let [left, operator, right] = words
        && matches!(operator.as_slice(), b"=" | b"!=")
    {
        let yes = (left == right) == (operator == b"=");
        shell.say(if yes { "1" } else { "0" });
        return u8::from(!yes);
    }
    shell.fails("expr", if shell.gnu() { "non-integer argument" } else { "non-numeric argument" });
    2
}

fn strings(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    let options = Options::new(words, "n");
    let least = options.number('n').and_then(|n| usize::try_from(n).ok()).unwrap_or(4);
    let (all, status) = shell.inputs("strings", &options.rest);
    for (_, bytes) in all {
        for run in bytes.split(|b| !(b.is_ascii_graphic() || *b == b' ' || *b == b'\t')) {
            if run.len() >= least {
                shell.put(&[run, b"\n"].concat());
            }
        }
    }
    status
}

fn diff(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    let options = Options::new(words, "");
    let (all, status) = shell.inputs("diff", &options.rest);
    let [(one, a), (two, b)] = all.as_slice() else { return if status == 0 { 0 } else { 2 } };
    if a == b {
        return 0;
    }
    if options.has('q') {
        shell.say(&format!("Files {one} and {two} differ"));
    } else {
        for line in
            lines(a).filter(|line| !lines(b).take(500).any(|other| other == *line)).take(500)
        {
            shell.put(&[b"< ", line].concat());
        }
        shell.say("---");
        for line in
            lines(b).filter(|line| !lines(a).take(500).any(|other| other == *line)).take(500)
        {
            shell.put(&[b"> ", line].concat());
        }
    }
    1
}

fn bc(shell: &mut Shell, _: &[Vec<u8>]) -> u8 {
    let input = shell.read_all();
    for line in input.split(|b| *b == b'\n' || *b == b';') {
        let line = line.trim_ascii();
        if line.is_empty() || line.starts_with(b"scale") {
            continue;
        }
        if let Ok(value) = shell.calculate(line) {
            shell.say(&value.to_string());
        }
    }
    0
}
