//! A second way to read, beside the reader: for whoever looks at records as
//! they become durable and frees nothing.
//!
//! Committed records are there too, as long as their segment is
//! ([`crate::Spool::keep`]); what is gone is stepped over, which the numbers
//! show. Damage is counted by whoever comes to it first.

use std::io;
use std::sync::Arc;

use tokio::task::JoinHandle;

use crate::Handle;
use crate::error::ReadError;
use crate::reader::{ForWhom, Load, Loaded, Open};

/// See the module. Cancel-safe: a call that is dropped has consumed nothing.
#[derive(Debug)]
pub struct Tail {
    handle: Arc<Handle>,
    /// Number of the next record.
    next: u64,
    open: Option<Open>,
    /// A load that an abandoned call may have left.
    loading: Option<JoinHandle<Loaded>>,
}

impl Tail {
    pub(crate) fn new(handle: Arc<Handle>, from: u64) -> Self {
        Self { handle, next: from, open: None, loading: None }
    }

    /// The number of the next record, where none is missing.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.next
    }

    /// The next records with their numbers: whole appends until one of the bounds
    /// is reached; waits until there is at least one.
    ///
    /// # Errors
    /// [`ReadError::Io`] where a segment cannot be read; the next call tries
    /// again. [`ReadError::Closed`] once nobody can append any more and all
    /// records were handed out.
    pub async fn next(
        &mut self,
        max_records: usize,
        max_bytes: usize,
    ) -> Result<Vec<(u64, Vec<u8>)>, ReadError> {
        loop {
            let (durable, ended) = {
                let state = self.handle.shared.state();
                (state.next, state.closed || state.orphaned)
            };
            if self.loading.is_none() && self.next >= durable {
                if let Some(open) = &mut self.open {
                    open.scanner.release();
                }
                if ended {
                    return Err(ReadError::Closed);
                }
                self.handle.shared.grown.notified().await;
                continue;
            }
            let loading = self.loading.get_or_insert_with(|| {
                let load = Load {
                    shared: self.handle.shared.clone(),
                    from: self.next,
                    max_records: max_records.max(1),
                    max_bytes,
                    for_whom: ForWhom::Tail,
                };
                let open = self.open.take();
                tokio::task::spawn_blocking(move || load.run(open))
            });
            let loaded = loading.await;
            self.loading = None;
            let loaded = loaded.map_err(|error| self.error(io::Error::other(error)))?;
            self.open = loaded.open;
            self.next = self.next.max(loaded.ahead);
            if !loaded.records.is_empty() {
                return Ok(loaded.records);
            }
            if let Some(error) = loaded.error {
                return Err(self.error(error));
            }
        }
    }

    fn error(&self, source: io::Error) -> ReadError {
        ReadError::Io { path: self.handle.shared.dir.clone(), source }
    }
}
