//! `dd`: attacks read a program's head with it and write their files.

use super::Shell;
use crate::shell::vfs::{MAX_READ_BYTES, MAX_STORED_BYTES};

/// Copies blocks; prints what GNU's or BusyBox's `dd` prints.
pub(super) fn dd(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    let value = |name: &str| {
        words.iter().rev().find_map(|word| {
            let text = String::from_utf8_lossy(word);
            text.strip_prefix(name)?.strip_prefix('=').map(str::to_owned)
        })
    };
    if let Some(wrong) = words.iter().find(|word| !word.contains(&b'=')) {
        let shown = String::from_utf8_lossy(wrong).into_owned();
        return if shell.gnu() {
            shell.fails(
                "dd",
                &format!("unrecognized operand '{shown}'\nTry 'dd --help' for more information."),
            )
        } else {
            shell.fails("dd", &format!("invalid argument '{shown}'"))
        };
    }
    let size = |name: &str| value(name).and_then(|text| bytes_of(&text));
    let block = size("bs").or_else(|| size("ibs")).unwrap_or(512).clamp(1, 1 << 30);
    let count = size("count");
    let (skip, seek) = (size("skip").unwrap_or(0), size("seek").unwrap_or(0));
    let from = skip.saturating_mul(block);
    let most = count.map_or(u64::MAX, |count| count.saturating_mul(block));
    let held = usize::try_from(most).unwrap_or(usize::MAX).min(MAX_STORED_BYTES);
    let input = value("if");
    let mut endless = false;
    let data = match &input {
        Some(name) => {
            let path = shell.path(name);
            endless = matches!(path.as_str(), "/dev/zero" | "/dev/urandom" | "/dev/random");
            match shell.files.read(&path, from, held) {
                Ok(data) => data,
                Err(why) => {
                    return if shell.gnu() {
                        shell.fails("dd", &format!("failed to open '{name}': {}", why.text()))
                    } else {
                        shell.fails("dd", &format!("can't open '{name}': {}", why.text()))
                    };
                }
            }
        }
        None => {
            let mut data = shell.read_all();
            data.truncate(held);
            data
        }
    };
    // A device gives as much as is asked for, which need not be kept.
    let total = if endless && count.is_some() { most.min(1 << 34) } else { data.len() as u64 };
    shell.budget.work(data.len());
    match value("of") {
        None => shell.put(&data),
        Some(name) if name == "/dev/null" => {}
        Some(name) => {
            let notrunc = value("conv").is_some_and(|conv| conv.contains("notrunc"));
            let path = shell.path(&name);
            let done = if seek > 0 || notrunc {
                shell.files.write_at(&path, seek.saturating_mul(block), &data)
            } else if endless && total > MAX_READ_BYTES as u64 {
                shell.files.write_zeros(&path, total)
            } else {
                shell.files.write(&path, &data, false)
            };
            if let Err(why) = done {
                return if shell.gnu() {
                    shell.fails("dd", &format!("failed to open '{name}': {}", why.text()))
                } else {
                    shell.fails("dd", &format!("can't open '{name}': {}", why.text()))
                };
            }
        }
    }
    let (whole, part) = (total / block, u64::from(!total.is_multiple_of(block)));
    let mut text = format!("{whole}+{part} records in\n{whole}+{part} records out\n");
    let quiet = value("status").is_some_and(|status| status == "none");
    let micros = 90 + total / 900;
    if shell.gnu() {
        #[expect(clippy::cast_precision_loss, reason = "shown with one digit")]
        let (seconds, size) = (micros as f64 / 1e6, total as f64);
        let rate = size / seconds;
        let rate = match rate {
            rate if rate >= 1e9 => format!("{:.1} GB/s", rate / 1e9),
            rate if rate >= 1e6 => format!("{:.1} MB/s", rate / 1e6),
            rate => format!("{:.0} kB/s", rate / 1e3),
        };
        let human = match size {
            size if size >= 1e9 => {
                format!(" ({:.1} GB, {:.1} GiB)", size / 1e9, size / 1_073_741_824.0)
            }
            size if size >= 1e6 => {
                format!(" ({:.1} MB, {:.1} MiB)", size / 1e6, size / 1_048_576.0)
            }
            size if size >= 1e3 => format!(" ({:.1} kB, {:.1} KiB)", size / 1e3, size / 1024.0),
            _ => String::new(),
        };
        let unit = if total == 1 { "byte" } else { "bytes" };
        text.push_str(&format!("{total} {unit}{human} copied, {seconds:.6} s, {rate}\n"));
    }
    shell.budget.sleep(micros / 1_000);
    if !quiet {
        shell.err(text.as_bytes());
    }
    0
}

/// `10`, `4k`, `1M`, `2x512`.
pub(super) fn bytes_of(text: &str) -> Option<u64> {
    if let Some((left, right)) = text.split_once('x') {
        return bytes_of(left)?.checked_mul(bytes_of(right)?);
    }
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match text.get(digits.len()..)? {
        "" | "c" => 1,
        "w" => 2,
        "b" => 512,
        "k" | "K" | "KiB" => 1024,
        "kB" | "KB" => 1_000,
        "M" | "MiB" | "m" => 1024 * 1024,
        "MB" => 1_000_000,
        "G" | "GiB" | "g" => 1024 * 1024 * 1024,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(factor)
}
