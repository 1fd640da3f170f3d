//! The work of a scan: lines to sightings on all threads, counting on one.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use palisade_agent::LogFormat;
use palisade_event::{EventKind, Outcome};
use palisade_rules::{Alert, Detector, Hit, LineContext, LineReader, Matcher};

use super::input::{Chunks, Source};
use super::tally::Tally;

/// An alert, with the login name where it is one that a success made.
pub(super) struct Found {
    pub(super) alert: Alert,
    pub(super) user: Option<Box<[u8]>>,
}

/// What a scan of one log gave.
#[derive(Default)]
pub(super) struct Scanned {
    pub(super) tally: Tally,
    pub(super) found: Vec<Found>,
    pub(super) lines: u64,
    pub(super) bytes: u64,
    pub(super) packed_bytes: u64,
    /// Why the log could not be read to its end.
    pub(super) error: Option<anyhow::Error>,
}

/// What is to be counted of a chunk, in the order of its lines.
#[derive(Default)]
struct Counts {
    hits: Vec<Hit>,
    /// Login names of successes, by the place of their hit.
    users: Vec<(usize, Box<[u8]>)>,
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
        tally.lines += 1;
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
}

/// Counts what a chunk gave.
fn count(detector: &mut Detector, counts: &Counts, found: &mut Vec<Found>) {
    detector.engine_mut().counter().count_all(&counts.hits, |place, alert| {
        let user = counts.users.binary_search_by_key(&place, |(at, _)| *at).ok();
        let user = user.and_then(|at| counts.users.get(at)).map(|(_, user)| user.clone());
        found.push(Found { alert, user });
    });
}

/// Reads one log to its end. `progress` hears how many bytes of the file are read.
pub(super) fn scan(
    source: Source,
    detector: &mut Detector,
    threads: usize,
    progress: &mut dyn FnMut(u64),
) -> Scanned {
    let Source { format, cx, mut chunks, .. } = source;
    let mut scanned = match threads {
        1 => alone(&format, &cx, &mut chunks, detector, progress),
        threads => together(&format, &cx, &mut chunks, detector, threads, progress),
    };
    scanned.tally.lines += chunks.too_long;
    scanned.tally.unparsed += chunks.too_long;
    scanned.lines = scanned.tally.lines;
    scanned.bytes = chunks.bytes;
    scanned.packed_bytes = chunks.packed_bytes();
    scanned
}

fn alone(
    format: &LogFormat,
    cx: &LineContext,
    chunks: &mut Chunks,
    detector: &mut Detector,
    progress: &mut dyn FnMut(u64),
) -> Scanned {
    let mut scanned = Scanned::default();
    let matcher = detector.engine().matcher();
    let mut reader = LineReader::new(format.clone(), cx.clone());
    let mut counts = Counts::default();
    let mut buffer = Vec::new();
    loop {
        match chunks.next(buffer) {
            Ok(Some(chunk)) => {
                counts.hits.clear();
                counts.users.clear();
                parse(&chunk, &mut reader, &matcher, &mut scanned.tally, &mut counts);
                count(detector, &counts, &mut scanned.found);
                progress(chunks.packed_bytes());
                buffer = chunk;
            }
            Ok(None) => return scanned,
            Err(error) => {
                scanned.error = Some(error.into());
                return scanned;
            }
        }
    }
}

fn together(
    format: &LogFormat,
    cx: &LineContext,
    chunks: &mut Chunks,
    detector: &mut Detector,
    threads: usize,
    progress: &mut dyn FnMut(u64),
) -> Scanned {
    let mut scanned = Scanned::default();
    let matcher = detector.engine().matcher();
    let (give, work) = sync_channel::<(u64, u64, Vec<u8>)>(threads);
    let (answer, answers) = sync_channel::<(u64, u64, Vec<u8>, Counts)>(threads);
    // So many chunks are on their way at most: each needs a buffer, which comes
    // back once it was counted.
    let buffers = threads * 3;
    let (free, used) = sync_channel::<Vec<u8>>(buffers);
    for _ in 0..buffers {
        // There is room for all of them.
        let _ = free.try_send(Vec::new());
    }
    let work = Arc::new(Mutex::new(work));
    std::thread::scope(|scope| {
        let mut workers = Vec::new();
        for _ in 0..threads {
            let (work, answer) = (Arc::clone(&work), answer.clone());
            let (matcher, format, cx) = (Arc::clone(&matcher), format.clone(), cx.clone());
            workers.push(scope.spawn(move || {
                let mut tally = Tally::default();
                while let Some((place, packed, chunk)) = take(&work) {
                    // The time of a line must not depend on which chunks a
                    // thread had before.
                    let mut reader = LineReader::new(format.clone(), cx.clone());
                    let mut counts = Counts::default();
                    parse(&chunk, &mut reader, &matcher, &mut tally, &mut counts);
                    if answer.send((place, packed, chunk, counts)).is_err() {
                        break;
                    }
                }
                tally
            }));
        }
        drop(answer);
        let reading = scope.spawn(move || {
            let mut place = 0;
            loop {
                let Ok(buffer) = used.recv() else { return None };
                match chunks.next(buffer) {
                    Ok(Some(chunk)) => {
                        if give.send((place, chunks.packed_bytes(), chunk)).is_err() {
                            return None;
                        }
                        place += 1;
                    }
                    Ok(None) => return None,
                    Err(error) => return Some(error),
                }
            }
        });
        let mut waiting = BTreeMap::new();
        let mut next = 0;
        for (place, packed, chunk, counts) in answers {
            waiting.insert(place, (chunk, counts));
            while let Some((chunk, counts)) = waiting.remove(&next) {
                count(detector, &counts, &mut scanned.found);
                next += 1;
                // The reader may have ended.
                let _ = free.try_send(chunk);
            }
            progress(packed);
        }
        for worker in workers {
            match worker.join() {
                Ok(tally) => scanned.tally.merge(tally),
                Err(_) => scanned.error = Some(anyhow::anyhow!("a thread failed")),
            }
        }
        match reading.join() {
            Ok(None) => {}
            Ok(Some(error)) => scanned.error = Some(error.into()),
            Err(_) => scanned.error = Some(anyhow::anyhow!("the reading thread failed")),
        }
    });
    scanned
}

fn take<T>(work: &Mutex<Receiver<T>>) -> Option<T> {
    work.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}
