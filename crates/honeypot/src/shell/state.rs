//! What a shell remembers: variables, functions, where it is; and what a
//! subshell gives back.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::ast::Command;
use super::{Flavor, Shell};

/// Most variables; further ones are not kept.
const MAX_VARIABLES: usize = 1_024;
/// Most bytes of all variables together.
const MAX_VARIABLE_BYTES: usize = 2 * 1024 * 1024;
/// Most functions.
const MAX_FUNCTIONS: usize = 256;

/// A variable: a list, whose first item is its plain value.
#[derive(Clone, Debug, Default)]
pub(super) struct Variable {
    pub(super) items: Arc<Vec<Vec<u8>>>,
    pub(super) exported: bool,
}

/// What a subshell may change and must not.
pub(super) struct Saved {
    variables: BTreeMap<Vec<u8>, Variable>,
    functions: HashMap<Vec<u8>, Arc<Command>>,
    parameters: Vec<Vec<u8>>,
    cwd: String,
    io: super::io::SavedIo,
}

impl Shell {
    pub(super) fn enter_subshell(&self) -> Saved {
        Saved {
            variables: self.variables.clone(),
            functions: self.functions.clone(),
            parameters: self.parameters.clone(),
            cwd: self.cwd.clone(),
            io: self.save_io(),
        }
    }

    pub(super) fn leave_subshell(&mut self, saved: Saved) {
        self.variables = saved.variables;
        self.functions = saved.functions;
        self.parameters = saved.parameters;
        self.cwd = saved.cwd;
        self.replaced.push(None);
        self.restore_io(saved.io);
    }

    /// The value of a variable or special parameter.
    pub(super) fn variable(&self, name: &[u8]) -> Option<Vec<u8>> {
        let text = |number: usize| Some(number.to_string().into_bytes());
        match name {
            b"?" => return text(usize::from(self.status)),
            b"$" => return text(self.files.seat.pid as usize),
            b"!" => {
                return (self.last_background > 0)
                    .then(|| self.last_background.to_string().into_bytes());
            }
            b"#" => return text(self.parameters.len()),
            b"0" => return Some(self.level.label.clone()),
            b"-" => {
                return Some(if self.interactive() { b"himBHs".to_vec() } else { b"hB".to_vec() });
            }
            b"@" | b"*" => return Some(self.parameters.join(&b' ')),
            b"PWD" => return Some(self.cwd.clone().into_bytes()),
            b"RANDOM" if self.flavor != Flavor::Dash => {
                let mut draw = crate::persona::Draw(self.seed ^ self.budget_steps());
                return Some(draw.below(32_768).to_string().into_bytes());
            }
            b"SECONDS" => {
                return text(usize::try_from(self.files.now - self.files.seat.since).unwrap_or(0));
            }
            b"LINENO" => return text(self.line as usize),
            b"UID" | b"EUID" if self.flavor == Flavor::Bash => {
                return Some(self.files.uid.to_string().into_bytes());
            }
            b"HOSTNAME" if self.flavor != Flavor::Dash => {
                return Some(self.world.machine.hostname.clone().into_bytes());
            }
            b"BASH" if self.flavor == Flavor::Bash => return Some(b"/bin/bash".to_vec()),
            b"BASH_VERSION" if self.flavor == Flavor::Bash => {
                return Some(b"5.2.15(1)-release".to_vec());
            }
            b"MACHTYPE" if self.flavor == Flavor::Bash => {
                return Some(b"x86_64-pc-linux-gnu".to_vec());
            }
            b"OSTYPE" if self.flavor == Flavor::Bash => return Some(b"linux-gnu".to_vec()),
            _ => {}
        }
        if name.first().is_some_and(u8::is_ascii_digit) {
            let index: usize = std::str::from_utf8(name).ok()?.parse().ok()?;
            return self.parameters.get(index.checked_sub(1)?).cloned();
        }
        self.variables.get(name)?.items.first().cloned()
    }

    pub(super) fn array(&self, name: &[u8]) -> Vec<Vec<u8>> {
        match self.variables.get(name) {
            Some(variable) => variable.items.to_vec(),
            None => self.variable(name).into_iter().collect(),
        }
    }

    pub(super) fn assign(&mut self, name: &[u8], value: Vec<u8>) {
        self.assign_array(name, vec![value]);
    }

    pub(super) fn assign_array(&mut self, name: &[u8], items: Vec<Vec<u8>>) {
        let size = |items: &[Vec<u8>]| items.iter().map(|item| item.len() + 24).sum::<usize>();
        let before = self.variables.get(name).map_or(0, |variable| size(&variable.items));
        let after = self.variable_bytes.saturating_sub(before) + size(&items);
        if after > MAX_VARIABLE_BYTES || before == 0 && self.variables.len() >= MAX_VARIABLES {
            self.budget.spend();
            return;
        }
        self.variable_bytes = after;
        let variable = self.variables.entry(name.to_vec()).or_default();
        variable.items = Arc::new(items);
    }

    /// Sets a variable that commands see.
    pub(super) fn export(&mut self, name: &[u8], value: Option<Vec<u8>>) {
        if let Some(value) = value {
            self.assign(name, value);
        }
        if let Some(variable) = self.variables.get_mut(name) {
            variable.exported = true;
        }
    }

    pub(super) fn define(&mut self, name: &[u8], body: &Arc<Command>) {
        if self.functions.len() < MAX_FUNCTIONS {
            self.functions.insert(name.to_vec(), Arc::clone(body));
        }
    }

    /// A path from the present directory.
    pub(super) fn path(&self, name: &str) -> String {
        if name.starts_with('/') {
            return name.to_owned();
        }
        format!("{}/{name}", self.cwd.trim_end_matches('/'))
    }

    /// What the shell calls itself in messages.
    pub(super) fn prefix(&self) -> String {
        let label = String::from_utf8_lossy(&self.level.label);
        match (self.flavor, self.level.script) {
            (Flavor::Bash, true) => format!("{label}: line {}", self.line),
            (Flavor::Dash, _) => format!("{label}: {}", self.line),
            (Flavor::Ash, true) if label.contains('/') || label.contains('.') => {
                format!("{label}: line {}", self.line)
            }
            _ => label.into_owned(),
        }
    }

    /// A message of the shell itself.
    pub(super) fn complain(&mut self, message: &[u8]) {
        let text = [self.prefix().as_bytes(), b": ", message, b"\n"].concat();
        self.err(&text);
    }
}
