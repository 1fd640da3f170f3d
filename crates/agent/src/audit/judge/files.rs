//! Checks of files: what they say, and who may do what with them.

use super::super::probe::{Missing, Probe, Style, Wins, expression};
use super::{Facts, Judged, Verdict, compare, none_of, several};
use crate::inventory::root::Unseen;

/// Most lines of one file that are looked at.
const MAX_LINES: usize = 200_000;

/// The value of a line that sets `key`.
fn value_of(line: &str, key: &str, style: Style) -> Option<String> {
    let rest = match line.get(..key.len()) {
        Some(own) if own.eq_ignore_ascii_case(key) => line.get(key.len()..)?,
        _ => return None,
    };
    let value = match (style, rest.trim_start().strip_prefix('=')) {
        (Style::Equals | Style::Flag, Some(value)) => value.trim(),
        (Style::Flag, None) if rest.trim().is_empty() => "yes",
        (Style::Words, None) if rest.starts_with([' ', '\t']) => rest.trim(),
        _ => return None,
    };
    // A comment behind it, where a space comes before.
    let end = value.find(" #").or_else(|| value.find("\t#")).unwrap_or(value.len());
    Some(value.get(..end)?.trim().trim_matches(['"', '\'']).to_owned())
}

impl Facts<'_> {
    /// The files of patterns with their text; fails where one may not be read.
    fn texts(&self, patterns: &[String]) -> Result<Vec<(String, String)>, Unseen> {
        let mut texts = Vec::new();
        for pattern in patterns {
            let (paths, hidden) = self.root.glob(pattern);
            if let Some(reason) = hidden {
                return Err(reason);
            }
            for path in paths {
                match self.root.read(&path) {
                    Ok(text) => texts.push((path, text)),
                    // A link to nothing, or a folder of that name.
                    Err(Unseen::Missing) => {}
                    Err(Unseen::Other(_)) if self.root.meta(&path).is_ok_and(|m| m.is_dir()) => {}
                    Err(reason) => return Err(reason),
                }
            }
        }
        Ok(texts)
    }

    /// A key with a value in files.
    pub(super) fn setting(&self, probe: &Probe) -> Judged {
        let Probe::Setting { files, key, section, style, wins, default, want } = probe else {
            return Err(Unseen::Missing);
        };
        let texts = self.texts(files)?;
        let mut found: Option<(String, String)> = None;
        for (path, text) in &texts {
            let mut inside = section.is_none();
            for line in text.lines().take(MAX_LINES) {
                let line = line.trim();
                if line.starts_with(['#', ';']) {
                    continue;
                }
                if let (Some(section), Some(head)) = (section, line.strip_prefix('[')) {
                    inside = head.trim_end_matches(']').eq_ignore_ascii_case(section);
                    continue;
                }
                let Some(value) = value_of(line, key, *style).filter(|_| inside) else { continue };
                if *wins == Wins::Last || found.is_none() {
                    found = Some((value, path.clone()));
                }
            }
        }
        match (found, default) {
            (Some((value, path)), _) => compare(&format!("{key} in {path}"), &value, want),
            (None, Some(default)) => compare(&format!("{key} (default)"), default, want),
            (None, None) if texts.is_empty() => {
                Ok(Verdict::Fail(format!("{key} is not set: there is no {}", files.join(" or "))))
            }
            (None, None) => Ok(Verdict::Fail(format!("{key} is not set"))),
        }
    }

    /// A line that an expression finds.
    pub(super) fn line(&self, probe: &Probe) -> Judged {
        let Probe::Line { files, pattern, present, comments, missing, every } = probe else {
            return Err(Unseen::Missing);
        };
        let expression = expression(pattern).map_err(Unseen::Other)?;
        let texts = self.texts(files)?;
        if texts.is_empty() {
            let none = format!("there is no {}", files.join(" or "));
            return Ok(absent(*missing, none));
        }
        let (mut with, mut without) = (Vec::new(), Vec::new());
        for (path, text) in &texts {
            let counts = |line: &&str| *comments || !line.trim_start().starts_with('#');
            let mut lines = text.lines().take(MAX_LINES).filter(counts);
            match lines.find(|line| expression.is_match(line.as_bytes())) {
                Some(line) => {
                    let line: String = line.trim().chars().take(120).collect();
                    with.push(format!("{path}: {line}"));
                }
                None => without.push(path.clone()),
            }
        }
        Ok(match (present, every) {
            (true, true) if !without.is_empty() => {
                Verdict::Fail(format!("no such line in {}", several(&without)))
            }
            (true, false) if with.is_empty() => {
                Verdict::Fail(format!("no such line in {}", several(&without)))
            }
            (true, _) => Verdict::Pass(several(&with)),
            (false, _) => none_of(&with, "no such line"),
        })
    }

    /// Rights and owner of files.
    pub(super) fn file(&self, probe: &Probe) -> Judged {
        let Probe::File { paths, mode, owner, group, missing } = probe else {
            return Err(Unseen::Missing);
        };
        let most = mode.as_deref().and_then(|mode| u32::from_str_radix(mode, 8).ok());
        let (mut bad, mut good) = (Vec::new(), Vec::new());
        for pattern in paths {
            let (found, hidden) = self.root.glob(pattern);
            if let Some(reason) = hidden {
                return Err(reason);
            }
            for path in found {
                let meta = match self.root.meta(&path) {
                    Ok(meta) => meta,
                    Err(Unseen::Missing) => continue,
                    Err(reason) => return Err(reason),
                };
                let (user, of) = (self.user_name(meta.uid), self.group_name(meta.gid));
                let more = most.map_or(0, |most| meta.mode & !most);
                let foreign = !owner.is_empty() && !owner.contains(&user)
                    || !group.is_empty() && !group.contains(&of);
                let seen = format!("{path} is {:04o} {user}:{of}", meta.mode);
                if more != 0 || foreign { bad.push(seen) } else { good.push(seen) }
            }
        }
        if bad.is_empty() && good.is_empty() {
            return Ok(absent(*missing, format!("there is no {}", paths.join(" or "))));
        }
        Ok(none_of(&bad, &several(&good)))
    }

    /// The name of a user, or the number where there is none.
    pub(super) fn user_name(&self, uid: u32) -> String {
        let known = self.accounts().ok().and_then(|accounts| accounts.user(uid));
        match known {
            Some(name) => name.to_owned(),
            None if uid == 0 => "root".to_owned(),
            None => uid.to_string(),
        }
    }

    /// The name of a group, or the number where there is none.
    pub(super) fn group_name(&self, gid: u32) -> String {
        let known = self.accounts().ok().and_then(|accounts| accounts.group(gid));
        match known {
            Some(name) => name.to_owned(),
            None if gid == 0 => "root".to_owned(),
            None => gid.to_string(),
        }
    }

    /// Whether one of the paths is there.
    pub(super) fn exists(&self, paths: &[String], there: bool) -> Verdict {
        let (mut found, mut reason) = (Vec::new(), None);
        for pattern in paths {
            let (paths, hidden) = self.root.glob(pattern);
            found.extend(paths);
            reason = reason.or(hidden);
        }
        match (found.is_empty(), reason) {
            (true, Some(reason)) => Verdict::NotJudged(reason.to_string()),
            (empty, _) => {
                let seen = match empty {
                    true => format!("there is no {}", paths.join(" or ")),
                    false => format!("{} is there", several(&found)),
                };
                if empty == there { Verdict::Fail(seen) } else { Verdict::Pass(seen) }
            }
        }
    }
}

fn absent(missing: Missing, seen: String) -> Verdict {
    match missing {
        Missing::NotApplicable => Verdict::NotApplicable(seen),
        Missing::Pass => Verdict::Pass(seen),
        Missing::Fail => Verdict::Fail(seen),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_sets_a_key_in_the_form_of_its_file() {
        let value = |line, style| value_of(line, "Key", style);
        assert_eq!(value("Key = a b # c", Style::Equals).as_deref(), Some("a b"));
        assert_eq!(value("key=\"a\"", Style::Equals).as_deref(), Some("a"));
        assert_eq!(value("Keys = a", Style::Equals), None);
        assert_eq!(value("Key\t 90", Style::Words).as_deref(), Some("90"));
        assert_eq!(value("KeyX 90", Style::Words), None);
        assert_eq!(value("Key", Style::Flag).as_deref(), Some("yes"));
        assert_eq!(value("Key", Style::Equals), None);
        assert_eq!(value("Ke\u{e4}", Style::Equals), None);
    }
}
