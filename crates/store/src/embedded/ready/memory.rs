//! Answers of segments that are too small for a file: counted when they are
//! first asked for, then remembered as long as the segment is there, in the same
//! form as in a file. A segment never changes, so nothing has to be forgotten;
//! all together are bounded by bytes, past which events are counted as before.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tantivy::directory::OwnedBytes;

use super::super::lock;
use super::super::segment::Segment;
use super::build::{self, Home};
use super::file::File;
use super::{Ask, Desk, Parts};

/// What a segment remembers.
#[derive(Default)]
pub(super) struct Memory {
    answers: Vec<Arc<File>>,
    claims: Vec<Claim>,
}

/// Bytes that all segments of a store take together.
#[derive(Debug, Default)]
pub(super) struct Budget(AtomicU64);

/// Bytes that are taken until this is dropped.
pub(super) struct Claim {
    budget: Arc<Budget>,
    bytes: u64,
}

impl Claim {
    pub(super) fn new(budget: &Arc<Budget>, bytes: u64) -> Self {
        budget.0.fetch_add(bytes, Ordering::Relaxed);
        Self { budget: Arc::clone(budget), bytes }
    }
}

impl Budget {
    pub(super) fn taken(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.budget.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Desk {
    /// Whether answers of a segment are remembered rather than kept in a file.
    pub(super) fn remembers(&self, segment: &Segment) -> bool {
        let small = self.options.min_remembered..self.options.min_events;
        small.contains(&segment.docs()) && self.memory.taken() < self.options.memory_bytes
    }
}

impl Parts {
    /// The answer to a question on a small segment, its own; counted where it
    /// was not asked before. `None` where it cannot be counted.
    pub(super) fn remembered(
        &self,
        ask: &Ask,
        segment: &Segment,
        desk: &Desk,
    ) -> Option<Arc<File>> {
        if self.is_cut {
            return None;
        }
        // Held while counting: whoever comes meanwhile wants the same.
        let mut memory = lock(&self.memory);
        let known = memory.answers.iter().find(|file| file.knows(&ask.text, &ask.fields));
        if let Some(known) = known {
            return Some(Arc::clone(known));
        }
        let draft = build::count(std::slice::from_ref(ask), segment, Home::Memory).ok()?;
        let bytes = draft.bytes().ok()?;
        let size = bytes.len() as u64;
        let file = Arc::new(File::decode(OwnedBytes::new(bytes), None)?);
        memory.claims.push(Claim::new(&desk.memory, size));
        memory.answers.push(Arc::clone(&file));
        Some(file)
    }
}
