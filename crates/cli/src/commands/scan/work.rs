//! The work on lines: from a chunk of a log to what is to be counted of it, on as
//! many threads as there are.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Scope, ScopedJoinHandle};

use palisade_agent::LogFormat;
use palisade_event::{EventKind, Outcome};
use palisade_rules::{Hit, LineContext, LineReader, Matcher};

use super::input::{Buffer, Chunks};
use super::tally::Tally;

/// Bytes of a log under attack for each hit, roughly.
const BYTES_A_HIT: usize = 192;

/// The place of a hit, and the login name that it has.
pub(super) type NamedHit = (usize, Box<[u8]>);

/// What is to be counted of a chunk, in the order of its lines.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) hits: Vec<Hit>,
    /// Successes, in their order.
    pub(super) users: Vec<NamedHit>,
    pub(super) lines: u64,
}

/// Parses and matches a chunk.
fn parse(
    chunk: &[u8],
    reader: &mut LineReader,
    matcher: &Matcher,
    tally: &mut Tally,
    counts: &mut Counts,
) {
    let mut from = 0;
    for end in memchr::memchr_iter(b'\n', chunk).chain(std::iter::once(chunk.len())) {
        let line = chunk.get(from..end).unwrap_or_default();
        from = end + 1;
        if line.is_empty() {
            continue;
        }
        counts.lines += 1;
        let understood = reader.look(line, |sighting| {
            let hit = matcher.look(sighting);
            tally.note(sighting, hit.is_some());
            if let Some(hit) = hit {
                if sighting.outcome == Some(Outcome::Accepted)
                    && sighting.kind == EventKind::AuthAttempted
                    && let Some(user) = sighting.user
                {
                    counts.users.push((counts.hits.len(), user.into()));
                }
                counts.hits.push(hit);
            }
        });
        tally.unparsed += u64::from(!understood);
    }
    tally.lines += counts.lines;
    tally.add();
}

/// A log that is being read: one thread at a time takes the next chunk of it.
pub(super) struct Lane {
    pub(super) source: usize,
    pub(super) format: LogFormat,
    pub(super) cx: LineContext,
    pub(super) reading: Mutex<Reading>,
}

/// Where a log is.
pub(super) struct Reading {
    pub(super) chunks: Chunks,
    /// How many chunks were taken.
    pub(super) taken: u64,
}

/// What became of a chunk.
pub(super) struct Answer {
    pub(super) source: usize,
    /// Its place among those of its log.
    pub(super) place: u64,
    pub(super) what: Read,
    /// Bytes of the file that are read.
    pub(super) packed: u64,
}

/// What was read.
pub(super) enum Read {
    Counts(Counts),
    /// The log has ended: bytes that were unpacked, lines that were too long.
    End(u64, u64),
    /// The log cannot be read further.
    Failed(std::io::Error),
}

/// The next chunk of a log is wanted; the memory is for its hits.
type Job = (Arc<Lane>, Vec<Hit>);

/// Takes the next chunk of a log and looks at it.
fn work(
    (lane, mut hits): Job,
    matcher: &Matcher,
    tally: &mut Tally,
    buffer: &mut Buffer,
) -> Answer {
    let mut reading = lane.reading.lock().unwrap_or_else(PoisonError::into_inner);
    let place = reading.taken;
    reading.taken += 1;
    let next = reading.chunks.next(std::mem::take(buffer));
    let packed = reading.chunks.packed_bytes();
    let what = match next {
        Ok(Some(chunk)) => {
            drop(reading);
            // The time of a line must not depend on which chunks a thread had
            // before.
            let mut reader = LineReader::new(lane.format.clone(), lane.cx.clone());
            hits.reserve(chunk.used().len() / BYTES_A_HIT);
            let mut counts = Counts { hits, ..Counts::default() };
            parse(chunk.used(), &mut reader, matcher, tally, &mut counts);
            *buffer = chunk;
            Read::Counts(counts)
        }
        Ok(None) => Read::End(reading.chunks.bytes, reading.chunks.too_long),
        Err(error) => Read::Failed(error),
    };
    Answer { source: lane.source, place, what, packed }
}

/// Those who do the work.
#[expect(clippy::large_enum_variant, reason = "there is one in a scan")]
pub(super) enum Workers<'scope> {
    /// The caller, when it waits for an answer.
    Caller { matcher: Arc<Matcher>, tally: Tally, buffer: Buffer, jobs: VecDeque<Job> },
    /// Threads.
    Threads {
        give: SyncSender<Job>,
        answers: Receiver<Answer>,
        threads: Vec<ScopedJoinHandle<'scope, Tally>>,
    },
}

impl<'scope> Workers<'scope> {
    /// One thread is the caller's. `most` jobs are given before their answers
    /// are taken.
    pub(super) fn start<'env>(
        scope: &'scope Scope<'scope, 'env>,
        matcher: &Arc<Matcher>,
        threads: usize,
        most: usize,
    ) -> Self {
        if threads <= 1 {
            return Self::Caller {
                matcher: Arc::clone(matcher),
                tally: Tally::default(),
                buffer: Buffer::default(),
                jobs: VecDeque::new(),
            };
        }
        let (give, jobs) = sync_channel::<Job>(most);
        let (answer, answers) = sync_channel::<Answer>(most);
        let jobs = Arc::new(Mutex::new(jobs));
        let thread = || {
            let (jobs, answer, matcher) = (Arc::clone(&jobs), answer.clone(), Arc::clone(matcher));
            scope.spawn(move || {
                let (mut tally, mut buffer) = (Tally::default(), Buffer::default());
                while let Some(job) = take(&jobs) {
                    if answer.send(work(job, &matcher, &mut tally, &mut buffer)).is_err() {
                        break;
                    }
                }
                tally
            })
        };
        let threads = (0..threads).map(|_| thread()).collect();
        Self::Threads { give, answers, threads }
    }

    /// Asks for the next chunk of a log, whose hits go to memory that is there.
    pub(super) fn ask(&mut self, lane: &Arc<Lane>, hits: Vec<Hit>) {
        let job = (Arc::clone(lane), hits);
        match self {
            Self::Caller { jobs, .. } => jobs.push_back(job),
            // Where nobody is left to do it, there will be no answer either.
            Self::Threads { give, .. } => drop(give.send(job)),
        }
    }

    /// Waits for an answer; `None` where nothing was asked, or a thread failed.
    pub(super) fn answer(&mut self) -> Option<Answer> {
        match self {
            Self::Caller { matcher, tally, buffer, jobs } => {
                let job = jobs.pop_front()?;
                Some(work(job, matcher, tally, buffer))
            }
            Self::Threads { answers, .. } => answers.recv().ok(),
        }
    }

    /// The sums of all; `None` where a thread failed.
    pub(super) fn end(self) -> Option<Tally> {
        match self {
            Self::Caller { tally, .. } => Some(tally),
            Self::Threads { give, answers, threads } => {
                drop((give, answers));
                let mut sum = Tally::default();
                for thread in threads {
                    sum.merge(thread.join().ok()?);
                }
                Some(sum)
            }
        }
    }
}

fn take<T>(jobs: &Mutex<Receiver<T>>) -> Option<T> {
    jobs.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}
