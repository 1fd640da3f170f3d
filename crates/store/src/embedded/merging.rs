//! Which segments of a day are merged while events arrive.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tantivy::index::SegmentMeta;
use tantivy::indexer::{LogMergePolicy, MergeCandidate, MergePolicy};

/// Segments of about one size that are merged together.
const MERGED_SEGMENTS: usize = 5;
/// The same while indexing is the bottleneck: fewer and larger merges, so that
/// they take less of the processors.
const MERGED_SEGMENTS_BUSY: usize = 12;
/// Events of a segment that is not merged any more while indexing is the
/// bottleneck; sealing does that when the day is over.
const MAX_MERGED_BUSY: usize = 250_000;

/// Whether indexing is the bottleneck.
pub(super) type Busy = Arc<AtomicBool>;

/// Merges segments of about one size; less eagerly while busy.
#[derive(Debug)]
pub(super) struct ByLoad {
    quiet: LogMergePolicy,
    hurried: LogMergePolicy,
    busy: Busy,
}

impl ByLoad {
    pub(super) fn new(busy: &Busy) -> Self {
        let policy = |segments: usize| {
            let mut policy = LogMergePolicy::default();
            policy.set_min_num_segments(segments);
            policy
        };
        let mut hurried = policy(MERGED_SEGMENTS_BUSY);
        hurried.set_max_docs_before_merge(MAX_MERGED_BUSY);
        Self { quiet: policy(MERGED_SEGMENTS), hurried, busy: Arc::clone(busy) }
    }
}

impl MergePolicy for ByLoad {
    fn compute_merge_candidates(&self, segments: &[SegmentMeta]) -> Vec<MergeCandidate> {
        if self.busy.load(Ordering::Relaxed) {
            self.hurried.compute_merge_candidates(segments)
        } else {
            self.quiet.compute_merge_candidates(segments)
        }
    }
}
