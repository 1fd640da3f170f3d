//! What the terminal of one session shows and what is typed there, on its way
//! into `session.recorded` events. Not what it means: the other events tell.
//!
//! Nothing is allocated before a shell shows something, so a client that never
//! gets that far costs nothing. Bounded as a whole and between two parts.

use std::time::Duration;

use palisade_event::Timestamp;
use palisade_event::asciicast::Encoder;
use tokio::time::Instant;

/// Most bytes of one part; an event takes up to 64 KiB of text.
pub(crate) const MAX_PART_BYTES: usize = 48 * 1024;
/// Most bytes of a recording; then a line says that it was cut.
pub(crate) const MAX_RECORDING_BYTES: usize = 1024 * 1024;
/// What is new is told after this time, so that a session can be watched while
/// it lasts.
pub(crate) const PART_EVERY: Duration = Duration::from_secs(30);
/// After so many parts new ones are only told when they are full, and at the end.
pub(crate) const MAX_TIMED_PARTS: u32 = 128;

/// One session's recording.
#[derive(Debug)]
pub(crate) struct Tape {
    begun: Instant,
    started: Timestamp,
    size: (u16, u16),
    encoder: Encoder,
    // Parts that are full and not told yet.
    full: Vec<String>,
    bytes: usize,
    next: u32,
    due: Option<Instant>,
    cut: bool,
}

/// One part, to be told.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) lines: String,
    pub(crate) number: u32,
    pub(crate) started: Timestamp,
    pub(crate) size: (u16, u16),
    pub(crate) last: bool,
    pub(crate) cut: bool,
}

impl Tape {
    /// A recording that begins now, which is `started` on the clock; `size` is
    /// the terminal's.
    pub(crate) fn new(now: Instant, started: Timestamp, size: (u16, u16)) -> Self {
        Self {
            begun: now,
            started,
            size,
            encoder: Encoder::default(),
            full: Vec::new(),
            bytes: 0,
            next: 0,
            due: None,
            cut: false,
        }
    }

    /// What the terminal is sent.
    pub(crate) fn output(&mut self, now: Instant, bytes: &[u8]) {
        self.record(now, bytes, Encoder::output);
    }

    /// What is typed.
    pub(crate) fn input(&mut self, now: Instant, bytes: &[u8]) {
        self.record(now, bytes, Encoder::input);
    }

    /// A command that the terminal does not show.
    pub(crate) fn marker(&mut self, now: Instant, label: &[u8]) {
        self.record(now, label, Encoder::marker);
    }

    /// The terminal's new size.
    pub(crate) fn resize(&mut self, now: Instant, size: (u16, u16)) {
        if !self.cut {
            self.encoder.resize(self.at(now), size);
            self.settle(now);
        }
    }

    /// When the next part must be told; `None` where nothing is new.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// The next part that is to be told now, if any: a full one, one whose time
    /// has come, or with `last` whatever there is.
    pub(crate) fn part(&mut self, now: Instant, last: bool) -> Option<Part> {
        let lines = if self.full.is_empty() {
            let timed = self.due.is_some_and(|due| due <= now);
            if !last && !timed {
                return None;
            }
            self.due = None;
            let lines = self.encoder.take(last);
            self.bytes += lines.len();
            lines
        } else {
            self.full.remove(0)
        };
        let last = last && self.full.is_empty() && self.encoder.is_empty();
        // The end is told even where it brings nothing new.
        if lines.is_empty() && !last {
            return None;
        }
        let number = self.next;
        self.next += 1;
        let (started, size, cut) = (self.started, self.size, self.cut);
        Some(Part { lines, number, started, size, last, cut })
    }

    fn at(&self, now: Instant) -> u64 {
        u64::try_from(now.duration_since(self.begun).as_millis()).unwrap_or(u64::MAX)
    }

    fn record(&mut self, now: Instant, bytes: &[u8], write: impl Fn(&mut Encoder, u64, &[u8])) {
        let at = self.at(now);
        // In pieces, so that no part becomes larger than it may.
        for piece in bytes.chunks(4 * 1024) {
            if self.cut {
                return;
            }
            write(&mut self.encoder, at, piece);
            self.settle(now);
        }
    }

    /// Puts a full part aside, and cuts what is too long.
    fn settle(&mut self, now: Instant) {
        if self.bytes + self.encoder.len() > MAX_RECORDING_BYTES {
            self.encoder.marker(self.at(now), b"the recording was cut here");
            self.cut = true;
        }
        if self.cut || self.encoder.len() > MAX_PART_BYTES / 2 {
            let lines = self.encoder.take(self.cut);
            self.bytes += lines.len();
            for lines in split(&lines) {
                self.full.push(lines.to_owned());
            }
        }
        if self.due.is_none() && self.next < MAX_TIMED_PARTS {
            self.due = Some(now + PART_EVERY);
        }
    }

    /// Whether a part is full.
    pub(crate) fn is_full(&self) -> bool {
        !self.full.is_empty()
    }
}

/// Lines in parts of at most [`MAX_PART_BYTES`].
fn split(lines: &str) -> impl Iterator<Item = &str> {
    let mut rest = lines;
    std::iter::from_fn(move || {
        let mut end = 0;
        for line in rest.split_inclusive('\n') {
            if end > 0 && end + line.len() > MAX_PART_BYTES {
                break;
            }
            end += line.len();
        }
        let (part, more) = rest.split_at_checked(end)?;
        rest = more;
        (!part.is_empty()).then_some(part)
    })
}

#[cfg(test)]
mod tests {
    use palisade_event::asciicast::{Code, parse_line, to_bytes};

    use super::*;

    /// A recording and the time, which passes as it is told to.
    struct Run {
        tape: Tape,
        now: Instant,
    }

    impl Run {
        fn new() -> Self {
            let now = Instant::now();
            Self { tape: Tape::new(now, "2026-11-20T10:00:00Z".parse().unwrap(), (80, 24)), now }
        }
        fn pass(&mut self, secs: u64) {
            self.now += Duration::from_secs(secs);
        }
        fn output(&mut self, bytes: &[u8]) {
            self.tape.output(self.now, bytes);
        }
        fn part(&mut self) -> Option<Part> {
            self.tape.part(self.now, false)
        }
        /// Parts to the end.
        fn end(&mut self) -> Vec<Part> {
            let mut all: Vec<Part> = Vec::new();
            while !all.last().is_some_and(|part| part.last) {
                all.push(self.tape.part(self.now, true).unwrap());
            }
            all
        }
    }

    #[test]
    fn a_part_is_told_when_its_time_has_come_and_at_the_end() {
        let mut run = Run::new();
        assert_eq!((run.tape.due(), run.part()), (None, None));
        run.output(b"~ # ");
        let due = run.tape.due().unwrap();
        assert_eq!(run.part(), None);
        run.pass(10);
        run.tape.input(run.now, b"l");
        assert_eq!(run.tape.due(), Some(due), "from the first thing that is new");
        run.pass(20);
        let told = run.part().unwrap();
        assert_eq!(told.lines, "[0.000,\"o\",\"~ # \"]\n[10.000,\"i\",\"l\"]\n");
        assert_eq!((told.number, told.last, run.tape.due()), (0, false, None));
        assert_eq!(run.part(), None);
        let rest = run.end();
        assert_eq!((rest.len(), rest[0].number, rest[0].lines.as_str()), (1, 1, ""));
    }

    #[test]
    fn parts_are_bounded_and_come_in_order() {
        let mut run = Run::new();
        // All control characters: six bytes of JSON each.
        run.output(&[1; 100_000]);
        assert!(run.tape.is_full());
        let all = run.end();
        assert!(all.len() > 12 && all.iter().all(|part| part.lines.len() <= MAX_PART_BYTES));
        assert!(all.iter().enumerate().all(|(n, part)| part.number as usize == n));
        let text = all.iter().flat_map(|part| part.lines.lines()).map(|l| parse_line(l).unwrap());
        let bytes: Vec<u8> = text.flat_map(|line| to_bytes(&line.text)).collect();
        assert_eq!(bytes, [1; 100_000]);
    }

    #[test]
    fn a_recording_is_cut_at_its_bound() {
        let mut run = Run::new();
        for _ in 0..100 {
            run.output(&[b'a'; 65_536]);
            run.pass(1);
        }
        run.tape.resize(run.now, (100, 30));
        let all = run.end();
        let bytes: usize = all.iter().map(|part| part.lines.len()).sum();
        assert!((MAX_RECORDING_BYTES..MAX_RECORDING_BYTES + 2 * MAX_PART_BYTES).contains(&bytes));
        let last = parse_line(all.last().unwrap().lines.lines().last().unwrap()).unwrap();
        assert_eq!((last.code, last.text.as_str()), (Code::Marker, "the recording was cut here"));
        assert!(all.iter().all(|part| part.cut), "whoever reads any part knows");
    }

    #[test]
    fn after_many_parts_time_alone_makes_none() {
        let mut run = Run::new();
        for _ in 0..MAX_TIMED_PARTS + 10 {
            run.output(b"x");
            run.pass(PART_EVERY.as_secs());
            run.part();
        }
        assert_eq!((run.tape.next, run.tape.due()), (MAX_TIMED_PARTS, None));
        assert_eq!(run.end().len(), 1);
    }
}
