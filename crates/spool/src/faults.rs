//! Failures of the disk on demand, for the tests of what follows them. In the
//! product there are none and the type is empty.

use std::io;

/// A step that can be made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Create,
    Write,
    Sync,
    Truncate,
    Checkpoint,
}

/// The failures that are planned.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults {
    #[cfg(test)]
    planned: std::sync::Arc<std::sync::Mutex<Vec<Operation>>>,
}

impl Faults {
    /// The error planned for this operation, if any.
    #[cfg_attr(not(test), allow(clippy::unused_self, clippy::unnecessary_wraps, reason = "tests"))]
    pub(crate) fn check(&self, operation: Operation) -> io::Result<()> {
        #[cfg(test)]
        {
            let mut planned = self.planned.lock().unwrap();
            if let Some(at) = planned.iter().position(|planned| *planned == operation) {
                planned.remove(at);
                return Err(io::Error::from(io::ErrorKind::StorageFull));
            }
        }
        let _ = operation;
        Ok(())
    }

    /// Lets the next such operation fail, once for each call.
    #[cfg(test)]
    pub(crate) fn plan(&self, operation: Operation) {
        self.planned.lock().unwrap().push(operation);
    }

    /// Whether every planned failure has happened.
    #[cfg(test)]
    pub(crate) fn all_happened(&self) -> bool {
        self.planned.lock().unwrap().is_empty()
    }
}
