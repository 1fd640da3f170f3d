//! What one line may use up: steps, bytes, nesting, time. Whatever is typed, a
//! line ends; it then looks as if the system had run out of something.

/// Most steps of one line: commands, turns of loops, fields, and work on text
/// at a step for every [`STEP_BYTES`].
pub const MAX_STEPS: u32 = 60_000;
/// Bytes of text worked on that count as a step.
pub(super) const STEP_BYTES: usize = 128;
/// Most bytes one line prints; the rest is cut, as a slow line would.
pub const MAX_OUTPUT_BYTES: usize = 256 * 1024;
/// Most bytes in all pipes of a line and in what its commands gave: as much as
/// a file may have.
pub(super) const MAX_PIPE_BYTES: usize = super::vfs::MAX_STORED_BYTES;
/// Most evaluations inside each other.
pub(super) const MAX_DEPTH: u32 = 40;
/// Longest wait that one line asks for, in milliseconds.
pub const MAX_PAUSE_MS: u64 = 10_000;

/// What is left of it.
#[derive(Debug)]
pub(super) struct Budget {
    steps: u32,
    pub(super) depth: u32,
    /// Milliseconds that the line has taken, as the attacker's clock sees it.
    pub(super) virtual_ms: u64,
    spent: bool,
}

impl Budget {
    pub(super) fn new() -> Self {
        Self { steps: MAX_STEPS, depth: 0, virtual_ms: 0, spent: false }
    }

    /// Takes `count` steps; whether they were there.
    pub(super) fn take(&mut self, count: u32) -> bool {
        match self.steps.checked_sub(count) {
            Some(left) if !self.spent => {
                self.steps = left;
                true
            }
            _ => {
                self.spent = true;
                false
            }
        }
    }

    /// Takes the steps for work on `bytes` of text.
    pub(super) fn work(&mut self, bytes: usize) -> bool {
        self.take(u32::try_from(bytes / STEP_BYTES).unwrap_or(u32::MAX))
    }

    /// Ends the line at its next step.
    pub(super) fn spend(&mut self) {
        self.spent = true;
    }

    /// Whether something ran out.
    pub(super) fn is_spent(&self) -> bool {
        self.spent
    }

    /// Steps that are left.
    pub(super) fn left(&self) -> u64 {
        self.steps.into()
    }

    /// Lets time pass; the wait the attacker really gets is bounded.
    pub(super) fn sleep(&mut self, millis: u64) {
        self.virtual_ms = self.virtual_ms.saturating_add(millis.min(86_400_000));
    }

    /// How long the line takes, in milliseconds.
    pub(super) fn pause_ms(&self) -> u64 {
        self.virtual_ms.min(MAX_PAUSE_MS)
    }
}
