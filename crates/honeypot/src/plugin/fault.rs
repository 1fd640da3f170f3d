//! What went wrong in a script, in one sentence with the place.

use std::fmt;

/// Longest sentence about a fault, in characters.
const MAX_CHARS: usize = 300;

/// A fault of a script. Its text may hold what an attacker has sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What happened.
    pub what: String,
    /// The file, as `ftp/init.luau`.
    pub file: Option<String>,
    /// The line in that file, from 1.
    pub line: Option<u32>,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.file, self.line) {
            (Some(file), Some(line)) => write!(f, "{file}, line {line}: {}", self.what),
            (Some(file), None) => write!(f, "{file}: {}", self.what),
            _ => f.write_str(&self.what),
        }
    }
}

impl Fault {
    /// A fault without a place.
    pub(crate) fn of(what: impl Into<String>) -> Self {
        Self { what: cut(&what.into()), file: None, line: None }
    }

    /// The fault that an error of the VM of `plugin` tells of.
    pub(crate) fn of_error(plugin: &str, error: &mlua::Error) -> Self {
        let (mut error, mut trace) = (error, String::new());
        loop {
            match error {
                mlua::Error::CallbackError { traceback, cause } => {
                    trace.push_str(traceback);
                    trace.push('\n');
                    error = cause;
                }
                mlua::Error::WithContext { cause, .. } => error = cause,
                _ => break,
            }
        }
        let text = match error {
            mlua::Error::MemoryError(_) => "it used more memory than it may".to_owned(),
            mlua::Error::RuntimeError(text) | mlua::Error::SyntaxError { message: text, .. } => {
                text.clone()
            }
            mlua::Error::BadArgument { to, pos, cause, .. } => {
                let function = to.as_deref().unwrap_or("a function");
                format!("argument {pos} of {function}: {cause}")
            }
            other => other.to_string(),
        };
        // What an error says first; a traceback may follow.
        let first = text.split("\nstack traceback:").next().unwrap_or_default();
        let (place, what) = match split_place(plugin, first) {
            Some((file, line, rest)) => (Some((file, line)), rest),
            None => (None, first),
        };
        let place =
            place.or_else(|| find_place(plugin, &trace)).or_else(|| find_place(plugin, &text));
        let mut what = cut(what);
        if what.contains("attempt to yield across") {
            what.push_str(
                " (functions that wait may not be called in a comparator, a callback, a metamethod or a coroutine of your own)",
            );
        }
        let (file, line) = place.unzip();
        Self { what, file, line }
    }
}

/// Splits `ftp/init.luau:12: what` into its parts.
fn split_place<'a>(plugin: &str, text: &'a str) -> Option<(String, u32, &'a str)> {
    let rest = text.strip_prefix(plugin)?.strip_prefix('/')?;
    let (file, rest) = rest.split_once(':')?;
    let (line, what) = rest.split_once(':')?;
    Some((format!("{plugin}/{file}"), line.parse().ok()?, what.trim_start()))
}

/// The first place of the plug-in's own files in a traceback.
fn find_place(plugin: &str, trace: &str) -> Option<(String, u32)> {
    trace.lines().find_map(|line| {
        let start = line.find(&format!("{plugin}/"))?;
        let rest = line.get(start + plugin.len() + 1..)?;
        let (file, rest) = rest.split_once(':')?;
        if !file.ends_with(".luau") {
            return None;
        }
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        Some((format!("{plugin}/{file}"), digits.parse().ok()?))
    })
}

/// One line, not too long, without control characters.
fn cut(text: &str) -> String {
    let line = text.trim().lines().next().unwrap_or_default();
    let mut short: String = line
        .chars()
        .take(MAX_CHARS)
        .map(|letter| if letter.is_control() { '\u{fffd}' } else { letter })
        .collect();
    if line.chars().count() > MAX_CHARS {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Fault {
        Fault::of_error("ftp", &mlua::Error::RuntimeError(text.to_owned()))
    }

    #[test]
    fn the_place_is_found_at_the_beginning_or_in_the_traceback() {
        let fault = of("ftp/init.luau:12: attempt to index nil\nstack traceback:\n[C] in ?");
        assert_eq!(fault.to_string(), "ftp/init.luau, line 12: attempt to index nil");
        let cause = mlua::Error::RuntimeError("no".into()).into();
        let traceback = "[C] in read\nftp/codec.luau:7 function x".to_owned();
        let error = mlua::Error::CallbackError { traceback, cause };
        assert_eq!(Fault::of_error("ftp", &error).to_string(), "ftp/codec.luau, line 7: no");
        assert_eq!(of("x\x1b[2J").to_string(), "x\u{fffd}[2J");
        assert_eq!(of(&"a".repeat(1_000)).what.chars().count(), MAX_CHARS + 1);
    }
}
