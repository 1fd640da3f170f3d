//! Several logs as one history: what is to be counted is counted in the order of
//! its times, whichever log it is in.
//!
//! Each log keeps its own order; of all the heads the oldest comes next. A log
//! that begins later is opened when its time has come, so that a year of rotated
//! logs costs no more than one of them. The answer does not depend on the number
//! of threads: chunks may be looked at in any order and are counted in this one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use palisade_event::Timestamp;
use palisade_rules::{Detector, Hit};

use super::input::Source;
use super::pieces::Pieces;
use super::report::Judged;
use super::tally::Tally;
use super::work::{Answer, Counts, Lane, NamedHit, Read, Reading, Workers};

/// Most logs that are read side by side. Where more are of the same time, those
/// that begin last wait until others have ended.
const MAX_OPEN: usize = 128;
/// Hits that are gathered from several logs before they are counted.
const GATHERED: usize = 1024;

/// What a scan gave.
#[derive(Default)]
pub(super) struct Scanned {
    pub(super) tally: Tally,
    pub(super) judged: Pieces<Judged>,
    /// What was read of each log, in the order in which they were given.
    pub(super) logs: Vec<LogRead>,
}

/// What was read of a log.
#[derive(Default)]
pub(super) struct LogRead {
    pub(super) lines: u64,
    pub(super) bytes: u64,
    packed: u64,
    /// Why it could not be read to its end.
    pub(super) error: Option<anyhow::Error>,
}

/// A log that is being read.
struct Stream {
    lane: Arc<Lane>,
    /// Chunks that were asked for and have not come.
    asked: u64,
    /// Chunks that came, by their place.
    waiting: BTreeMap<u64, Counts>,
    /// The place of the next chunk.
    next: u64,
    /// The chunk after which there is nothing.
    end: Option<u64>,
    current: Counts,
    /// How many of its hits were taken.
    taken: usize,
    /// The newest time of this log up to the next hit: a line that is out of
    /// order stays where it is.
    at: Timestamp,
}

impl Stream {
    fn new(lane: Arc<Lane>) -> Self {
        Self {
            lane,
            asked: 0,
            waiting: BTreeMap::new(),
            next: 0,
            end: None,
            current: Counts::default(),
            taken: 0,
            at: Timestamp::from_millis(i64::MIN),
        }
    }

    /// Goes on to the next chunk that has something where this one is used up, whose
    /// memory is `spare` then.
    fn advance(&mut self, spare: &mut Spare) {
        while self.taken >= self.current.hits.len() {
            let Some(counts) = self.waiting.remove(&self.next) else { return };
            self.next += 1;
            spare.give(std::mem::replace(&mut self.current, counts).hits);
            self.taken = 0;
        }
        self.look();
    }

    /// Notes the time of the next hit.
    fn look(&mut self) {
        if let Some(hit) = self.current.hits.get(self.taken) {
            self.at = self.at.max(hit.at);
        }
    }

    fn has_hit(&self) -> bool {
        self.taken < self.current.hits.len()
    }

    fn has_ended(&self) -> bool {
        !self.has_hit() && self.end.is_some_and(|end| self.next >= end)
    }

    /// Chunks that came or will come.
    fn ahead(&self) -> u64 {
        self.asked + self.waiting.len() as u64 + u64::from(self.has_hit())
    }
}

/// Memory of chunks that are counted, for those to come.
#[derive(Default)]
struct Spare(Vec<Vec<Hit>>);

impl Spare {
    /// What more chunks than this leave is not kept.
    const MOST: usize = 8;

    fn give(&mut self, mut hits: Vec<Hit>) {
        hits.clear();
        if hits.capacity() > 0 && self.0.len() < Self::MOST {
            self.0.push(hits);
        }
    }

    fn take(&mut self) -> Vec<Hit> {
        self.0.pop().unwrap_or_default()
    }
}

/// What was taken from several logs, to be counted together.
#[derive(Default)]
struct Gathered {
    hits: Vec<Hit>,
    users: Vec<NamedHit>,
}

impl Gathered {
    /// Takes the next hit of a log, and those after it up to and including a time.
    fn take(&mut self, stream: &mut Stream, until: Option<Timestamp>) {
        let room = GATHERED.saturating_sub(self.hits.len()).max(1);
        for turn in 0..room {
            let Some(hit) = stream.current.hits.get(stream.taken) else { return };
            if turn > 0 && until.is_some_and(|until| stream.at.max(hit.at) > until) {
                return stream.look();
            }
            stream.at = stream.at.max(hit.at);
            if let Ok(at) = stream.current.users.binary_search_by_key(&stream.taken, |(at, _)| *at)
                && let Some((_, user)) = stream.current.users.get_mut(at)
            {
                self.users.push((self.hits.len(), std::mem::take(user)));
            }
            self.hits.push(*hit);
            stream.taken += 1;
        }
        stream.look();
    }

    /// Counts what was taken.
    fn count(&mut self, detector: &mut Detector, judged: &mut Pieces<Judged>) {
        count(detector, &self.hits, (&self.users, 0), judged);
        self.hits.clear();
        self.users.clear();
    }
}

/// Counts hits, of which the first is the so-manieth of those that names belong
/// to, and decides at once about the alerts they make: a long log makes many.
fn count(
    detector: &mut Detector,
    hits: &[Hit],
    (users, first): (&[NamedHit], usize),
    judged: &mut Pieces<Judged>,
) {
    let mut alerts = Vec::new();
    detector.engine_mut().counter().count_all(hits, |place, alert| alerts.push((place, alert)));
    for (place, alert) in alerts {
        let user = users.binary_search_by_key(&(first + place), |(at, _)| *at).ok();
        let user = user.and_then(|at| users.get(at)).map(|(_, user)| user);
        detector.verdicts(alert, user.map(|user| &**user), |alert, verdict| {
            judged.push(Judged { alert, verdict, user: user.cloned() });
        });
    }
}

/// Reads logs, which are sorted by when they begin. `progress` hears which is
/// read, and how many bytes of all files were.
pub(super) fn scan(
    mut sources: Vec<Source>,
    detector: &mut Detector,
    threads: usize,
    progress: &mut dyn FnMut(&str, u64),
) -> Scanned {
    let mut scanned = Scanned::default();
    scanned.logs.resize_with(sources.len(), LogRead::default);
    let most = if threads > 1 { threads * 2 } else { 1 };
    let matcher = detector.engine().matcher();
    let tally = std::thread::scope(|scope| {
        let mut workers = Workers::start(scope, &matcher, threads, most);
        let mut streams: Vec<Stream> = Vec::new();
        let (mut gathered, mut spare) = (Gathered::default(), Spare::default());
        let (mut begun, mut in_work, mut done) = (0, 0, 0);
        loop {
            streams.retain(|stream| !stream.has_ended());
            while let Some(source) = sources.get_mut(begun)
                && streams.len() < MAX_OPEN
                && (begins(&streams, source.first_at))
            {
                match source.chunks() {
                    Ok(chunks) => {
                        progress(&source.name, done);
                        let reading = Mutex::new(Reading { chunks, taken: 0 });
                        let (format, cx) = (source.format.clone(), source.cx.clone());
                        streams.push(Stream::new(Arc::new(Lane {
                            source: begun,
                            format,
                            cx,
                            reading,
                        })));
                    }
                    Err(error) => {
                        if let Some(log) = scanned.logs.get_mut(begun) {
                            log.error = Some(error);
                        }
                    }
                }
                begun += 1;
            }
            if streams.is_empty() {
                break;
            }
            // Whose next hit is the oldest, once that is known of all.
            if streams.iter().all(Stream::has_hit) {
                let next = sources.get(begun);
                if let ([stream], None) = (streams.as_mut_slice(), next) {
                    // The last one needs no comparing.
                    gathered.count(detector, &mut scanned.judged);
                    let Counts { hits, users, .. } = &stream.current;
                    let hits = hits.get(stream.taken..).unwrap_or_default();
                    count(detector, hits, (users, stream.taken), &mut scanned.judged);
                    stream.taken = stream.current.hits.len();
                    stream.advance(&mut spare);
                    continue;
                }
                step(&mut streams, next, &mut gathered, &mut spare);
                if gathered.hits.len() >= GATHERED {
                    gathered.count(detector, &mut scanned.judged);
                }
                continue;
            }
            // Those who have nothing are asked first, then those who have least.
            let each = (most as u64 / streams.len() as u64).max(1);
            while in_work < most {
                let wanted = streams.iter_mut().filter(|stream| stream.end.is_none());
                let wanted = wanted.filter(|stream| stream.ahead() < each || stream.ahead() == 0);
                let Some(stream) = wanted.min_by_key(|stream| stream.ahead()) else { break };
                workers.ask(&stream.lane, spare.take());
                stream.asked += 1;
                in_work += 1;
            }
            let Some(answer) = workers.answer() else { break };
            in_work -= 1;
            let packed = receive(answer, &mut streams, &mut scanned.logs, &mut spare);
            done += packed;
            let name = streams.first().and_then(|stream| sources.get(stream.lane.source));
            progress(name.map_or("", |source| source.name.as_str()), done);
        }
        gathered.count(detector, &mut scanned.judged);
        workers.end()
    });
    // A line that is out of order may have made an alert that is.
    if !scanned.judged.iter().is_sorted_by_key(|one| one.alert.at) {
        let mut judged: Vec<Judged> = std::mem::take(&mut scanned.judged).into_iter().collect();
        judged.sort_by_key(|one| one.alert.at);
        judged.into_iter().for_each(|one| scanned.judged.push(one));
    }
    match tally {
        Some(tally) => scanned.tally = tally,
        None => {
            if let Some(log) = scanned.logs.first_mut() {
                log.error = Some(anyhow::anyhow!("a thread failed"));
            }
        }
    }
    let too_long: u64 = scanned.logs.iter().map(|log| log.lines).sum::<u64>() - scanned.tally.lines;
    scanned.tally.lines += too_long;
    scanned.tally.unparsed += too_long;
    scanned
}

/// Whether a log that begins at a time is to be read now.
fn begins(streams: &[Stream], at: Timestamp) -> bool {
    // What has no hit yet is at least as old as its last one.
    streams.iter().all(|stream| at <= stream.at) || streams.is_empty()
}

/// Takes what is next from the log whose next hit is the oldest.
fn step(streams: &mut [Stream], next: Option<&Source>, gathered: &mut Gathered, spare: &mut Spare) {
    let Some(first) = (0..streams.len()).min_by_key(|place| streams.get(*place).map(|s| s.at))
    else {
        return;
    };
    // Of two with the same time, the log that was opened first is taken first.
    let others = streams.iter().enumerate().filter(|(place, _)| *place != first);
    let until = others
        .map(|(place, stream)| match place < first {
            true => Timestamp::from_millis(stream.at.as_millis().saturating_sub(1)),
            false => stream.at,
        })
        .chain(next.map(|source| source.first_at))
        .min();
    if let Some(stream) = streams.get_mut(first) {
        gathered.take(stream, until);
        stream.advance(spare);
    }
}

/// Takes an answer in. Gives how many bytes of the file it adds.
fn receive(answer: Answer, streams: &mut [Stream], logs: &mut [LogRead], spare: &mut Spare) -> u64 {
    let Answer { source, place, what, packed } = answer;
    let stream = streams.iter_mut().find(|stream| stream.lane.source == source);
    let (Some(stream), Some(log)) = (stream, logs.get_mut(source)) else { return 0 };
    stream.asked -= 1;
    match what {
        Read::Counts(counts) => {
            log.lines += counts.lines;
            stream.waiting.insert(place, counts);
        }
        Read::End(bytes, too_long) => {
            if stream.end.is_none() {
                log.lines += too_long;
                log.bytes = bytes;
            }
            stream.end = Some(stream.end.map_or(place, |end| end.min(place)));
        }
        Read::Failed(error) => {
            log.error.get_or_insert(error.into());
            stream.end = Some(stream.end.map_or(place, |end| end.min(place)));
        }
    }
    stream.advance(spare);
    let more = packed.saturating_sub(log.packed);
    log.packed = log.packed.max(packed);
    more
}
