//! Python's flags: `(?i)` at the start holds for all, `(?i:…)` for a group.

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Flags {
    pub(super) ignore_case: bool,
    pub(super) multi_line: bool,
    pub(super) dot_all: bool,
    pub(super) verbose: bool,
}

impl Flags {
    pub(super) fn prefix(self) -> String {
        let mut letters = String::new();
        if self.ignore_case {
            letters.push('i');
        }
        if self.dot_all {
            letters.push('s');
        }
        if letters.is_empty() { letters } else { format!("(?{letters})") }
    }

    pub(super) fn set(&mut self, letter: char, on: bool) -> Result<(), String> {
        match letter {
            'i' => self.ignore_case = on,
            'm' => self.multi_line = on,
            's' => self.dot_all = on,
            'x' => self.verbose = on,
            // Text is Unicode either way; ASCII-only classes would only
            // differ for other digits and letters.
            'u' | 'a' => {}
            other => return Err(format!("flag {other} is not supported")),
        }
        Ok(())
    }
}

/// Takes `(?iu)` out: at the start it is for all, elsewhere older Pythons read
/// it so too; right behind an opening parenthesis fail2ban makes it local.
pub(super) fn leading_flags(source: &str) -> Result<(String, Flags), String> {
    let mut text: String = source.to_owned();
    let mut flags = Flags::default();
    let mut from = 0;
    while let Some(start) = text.get(from..).and_then(|rest| rest.find("(?")).map(|at| at + from) {
        let body = text.get(start + 2..).unwrap_or_default();
        let end = body.find(|c: char| !c.is_ascii_lowercase()).unwrap_or(body.len());
        let letters = body.get(..end).unwrap_or_default().to_owned();
        let escaped = trailing_backslashes(text.get(..start).unwrap_or_default()) % 2 == 1;
        if escaped || letters.is_empty() || body.as_bytes().get(end) != Some(&b')') {
            from = start + 2;
            continue;
        }
        let before = text.get(..start).unwrap_or_default();
        let open = before.strip_suffix("(?:").or_else(|| before.strip_suffix('('));
        match open.filter(|open| trailing_backslashes(open).is_multiple_of(2)) {
            Some(open) => {
                let local = format!("{open}(?{letters}:");
                from = local.len();
                text = local + body.get(end + 1..).unwrap_or_default();
            }
            None => {
                for letter in letters.chars() {
                    flags.set(letter, true)?;
                }
                text = before.to_owned() + body.get(end + 1..).unwrap_or_default();
                from = start;
            }
        }
    }
    Ok((text, flags))
}

fn trailing_backslashes(text: &str) -> usize {
    text.bytes().rev().take_while(|b| *b == b'\\').count()
}
