//! The pipeline: lines and events into the spool, acknowledgements back.
//!
//! One task. It takes what is queued, at most [`MAX_BATCH_EVENTS`], parses,
//! appends all of it as one unit, and only then tells the sources how far they
//! are. A spool that cannot be written stops it, and so the sources: nothing
//! is dropped here.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, SystemTime};

use palisade_event::wire::encode_event;
use palisade_event::{
    AttributeValue, DecisionFeed, Event, EventId, HostName, SensorId, Timestamp, Untrusted,
};
use palisade_rules::{LogFormat, MAX_REPEATED_EVENTS, Message, Observation, Parsed};
use palisade_spool::{AppendError, Spool};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::cursor::FileKey;
use crate::detect::{Noticed, Stage};
use crate::fail2ban::{Asked, Spare};
use crate::intake::Intake;
use crate::loss::Losses;
use crate::metrics::Metrics;
use crate::outage::Outage;
use crate::source::{Inlet, Line, Place, Source, Taken};
use crate::uplink::FeedPosition;

/// Most events of one append.
const MAX_BATCH_EVENTS: usize = 512;
/// Most bytes of one append, and so of what waits here for the spool.
const MAX_BATCH_BYTES: usize = 1024 * 1024;
/// Most lines that are looked at for one append, with or without events.
const MAX_BATCH_LINES: usize = 65_536;
/// Lines and events after which other tasks get their turn: on one core a flood of lines must
/// not hold up those who ask the page.
const TURN: usize = 2_048;
/// How long the end of the agent waits for what is still queued.
pub(crate) const DRAIN_DEADLINE: Duration = Duration::from_secs(10);

/// The pipeline, before it runs.
pub(crate) struct Pipeline {
    pub(crate) sensor: SensorId,
    pub(crate) host: Option<HostName>,
    pub(crate) spool: Spool,
    pub(crate) losses: LossReport,
    /// Detection, where it is switched on, and what it found out at its start.
    pub(crate) stage: Option<Stage>,
    pub(crate) found: Vec<Event>,
    /// Answers of the commands that say whom fail2ban's jails ignore.
    pub(crate) spare: Spare,
    pub(crate) outage: Outage,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) cancel: CancellationToken,
}

/// When a loss is told: not while the hub is away, because the report could be
/// dropped as well, but with the first delivery after it.
pub(crate) struct LossReport {
    pub(crate) account: Losses,
    /// Signalled with every delivery.
    pub(crate) delivered: Arc<Notify>,
    /// What the spool had dropped when it was last looked at, and what had been
    /// delivered then.
    seen: Option<(u64, u64)>,
    /// Whether the account could not be written and that was told.
    failing: bool,
}

impl LossReport {
    pub(crate) fn new(account: Losses, delivered: Arc<Notify>) -> Self {
        Self { account, delivered, seen: None, failing: false }
    }

    /// Lets the account write its file on a blocking thread, and waits for it:
    /// one after the other, as the pipeline goes.
    async fn blocking<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Losses) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let mut account = self.account.clone();
        let done = tokio::task::spawn_blocking(move || {
            let done = work(&mut account);
            (account, done)
        });
        let (account, done) = done.await.map_err(io::Error::other)?;
        self.account = account;
        done
    }
}

/// What is collected for one append.
#[derive(Default)]
struct Batch {
    records: Vec<Vec<u8>>,
    bytes: usize,
    lines: usize,
    /// How many of the records came by the intake.
    taken_in: u64,
    /// What detection looks at, once it is durable.
    noticed: Vec<Noticed>,
    /// Failures of which a command says whether they are ignored.
    asked: Vec<Asked>,
    /// What the hub has decided.
    page: Option<DecisionFeed>,
    /// Who wants to be told when this is in the spool.
    reached: Vec<oneshot::Sender<()>>,
    /// By source: how far it is with this batch.
    progress: BTreeMap<usize, Progress>,
}

/// How far a source is with a batch.
struct Progress {
    source: Arc<Source>,
    /// The end of the last line of each file.
    files: BTreeMap<FileKey, u64>,
    /// The newest cursor of the journal.
    journal: Option<String>,
}

impl Batch {
    fn is_full(&self) -> bool {
        self.records.len() >= MAX_BATCH_EVENTS
            || self.bytes >= MAX_BATCH_BYTES
            || self.lines >= MAX_BATCH_LINES
    }

    fn push(&mut self, event: &Event) {
        let record = encode_event(event);
        self.bytes += record.len();
        self.records.push(record);
    }
}

impl Pipeline {
    /// Runs until both queues are closed and empty; after cancellation at most
    /// [`DRAIN_DEADLINE`] longer.
    pub(crate) async fn run(
        mut self,
        mut items: Inlet,
        mut events: Intake,
        mut pages: mpsc::Receiver<DecisionFeed>,
    ) {
        let cancel = self.cancel.clone();
        let deadline = async {
            cancel.cancelled().await;
            tokio::time::sleep(DRAIN_DEADLINE).await;
        };
        let work = async {
            self.report_losses().await;
            let found: Vec<Vec<u8>> = self.found.drain(..).map(|e| encode_event(&e)).collect();
            if !found.is_empty() && self.append(found).await.is_err() {
                return;
            }
            while let Some(mut batch) = self.collect(&mut items, &mut events, &mut pages).await {
                let taken_in = batch.taken_in;
                let reached = std::mem::take(&mut batch.reached);
                if self.store(batch).await.is_err() {
                    return;
                }
                events.confirm(taken_in);
                for done in reached {
                    // Who has given up waiting tells it again.
                    let _ = done.send(());
                }
            }
            self.save_detection(true).await;
        };
        tokio::select! {
            () = work => {}
            () = deadline => {
                tracing::error!("what was still queued at the end could not be stored in time; log lines are read again at the next start");
            }
        }
    }

    /// How far the hub's feed of decisions is carried out.
    pub(crate) fn feed_position(&self) -> FeedPosition {
        FeedPosition {
            after: self.stage.as_ref().and_then(Stage::feed_cursor),
            snapshot: None,
            directions: self.stage.as_ref().and_then(Stage::directions),
        }
    }

    /// Waits for something, then takes what else is there.
    async fn collect(
        &mut self,
        items: &mut Inlet,
        events: &mut Intake,
        pages: &mut mpsc::Receiver<DecisionFeed>,
    ) -> Option<Batch> {
        let mut batch = Batch::default();
        let (mut more_items, mut more_events, mut more_pages) = (true, true, true);
        let delivered = Arc::clone(&self.losses.delivered);
        let unreported = self.losses.account.is_unreported(self.spool.stats().dropped_records);
        while batch.records.is_empty() && batch.lines == 0 && batch.reached.is_empty() {
            tokio::select! {
                page = pages.recv(), if more_pages => match page {
                    Some(page) => {
                        batch.page = Some(page);
                        return Some(batch);
                    }
                    None => more_pages = false,
                },
                item = items.recv(), if more_items => match item {
                    Some(item) => self.take(item, &mut batch),
                    None => more_items = false,
                },
                event = events.recv(), if more_events => match event {
                    Some(event) => self.take_in(&event, &mut batch),
                    None => more_events = false,
                },
                () = delivered.notified(), if unreported && (more_items || more_events) => {
                    return Some(batch);
                }
                else => return None,
            }
        }
        let mut turn = 0;
        while !batch.is_full() {
            let mut any = false;
            if let Ok(event) = events.try_recv() {
                any = true;
                self.take_in(&event, &mut batch);
            }
            if let Some(item) = items.try_recv() {
                any = true;
                self.take(item, &mut batch);
            }
            if !any {
                break;
            }
            turn += 1;
            if turn % TURN == 0 {
                tokio::task::yield_now().await;
            }
        }
        Some(batch)
    }

    fn take(&self, item: Taken, batch: &mut Batch) {
        match item {
            Taken::Event(event) => self.push(&event, batch),
            Taken::Line(source, line) => self.line(&source, line, batch),
            Taken::Reached(done) => batch.reached.push(done),
        }
    }

    fn take_in(&self, event: &Event, batch: &mut Batch) {
        batch.taken_in += 1;
        self.push(event, batch);
    }

    fn push(&self, event: &Event, batch: &mut Batch) {
        batch.noticed.extend(self.stage.as_ref().and_then(|stage| stage.notice(event)));
        batch.push(event);
    }

    fn line(&self, source: &Arc<Source>, line: Line, batch: &mut Batch) {
        batch.lines += 1;
        match parse(source, &line) {
            Parsed::Irrelevant => self.metrics.lines_irrelevant.one(),
            Parsed::Unparsed => {
                self.metrics.lines_unparsed.one();
                tracing::debug!(
                    source = %source.name,
                    line = %palisade_event::Untrusted::from(line.bytes.as_slice()),
                    "a line was not understood"
                );
            }
            Parsed::Observation(observation) => {
                self.observed((source, &line), 0, *observation, batch)
            }
            Parsed::Several(observations) => {
                for (part, observation) in (0..).zip(observations) {
                    self.observed((source, &line), part, observation, batch);
                }
            }
        }
        let progress =
            || Progress { source: Arc::clone(source), files: BTreeMap::new(), journal: None };
        match line.place {
            Place::File { key, end, .. } => {
                let entry = batch.progress.entry(source.number).or_insert_with(progress);
                entry.files.insert(key, end);
            }
            Place::Journal { cursor, .. } => {
                let entry = batch.progress.entry(source.number).or_insert_with(progress);
                entry.journal = Some(cursor);
            }
            // Nobody asks for these again.
            Place::Network { .. } | Place::Stream { .. } => {}
        }
    }

    /// Makes the events of one thing that a line says. Their ids come from the
    /// line and, where the same text may stand in a log twice, from its place, so
    /// that reading it again makes the same events.
    fn observed(
        &self,
        (source, line): (&Source, &Line),
        part: u32,
        mut seen: Observation,
        batch: &mut Batch,
    ) {
        let place = match &line.place {
            // Not how often the file was truncated: lines that are still there
            // afterwards are the same events.
            Place::File { key, start, .. } => {
                let mut place = key.inode.to_be_bytes().to_vec();
                place.extend(start.to_be_bytes());
                place
            }
            Place::Journal { cursor, .. } => cursor.as_bytes().to_vec(),
            // It comes once, and the same text may come again.
            Place::Network { .. } => rand::random::<[u8; 16]>().to_vec(),
            Place::Stream { start } => start.to_be_bytes().to_vec(),
        };
        let at = seen.observed_at;
        match &line.place {
            Place::Journal { pid, .. } => {
                seen.host = self.host.clone().or(seen.host);
                if let Some(pid) = pid {
                    seen.attributes.insert("pid".into(), AttributeValue::Integer(i64::from(*pid)));
                }
            }
            // Of another machine: what it says, else who it is.
            Place::Network { sender, .. } => {
                let sender = sender.to_canonical().to_string();
                seen.host = seen.host.or_else(|| HostName::new(&sender).ok());
                let sender = AttributeValue::from(Untrusted::from(sender));
                seen.attributes.insert("syslog_sender".into(), sender);
            }
            Place::File { .. } | Place::Stream { .. } => {
                seen.host = self.host.clone().or(seen.host);
            }
        }
        if line.truncated {
            // The address stands at the end, which is missing.
            seen.source = None;
            seen.attributes.insert("truncated".into(), AttributeValue::Flag(true));
        }
        let asked = match &source.parser {
            LogFormat::Jail(jail) => seen.source.map(|source| (jail.jail(), source.address)),
            _ => None,
        };
        let asked = asked.filter(|(jail, address)| jail.ignore_command(*address).is_some());
        let times = seen.repeat.clamp(1, MAX_REPEATED_EVENTS);
        if seen.repeat > 1 {
            let repeated = AttributeValue::Integer(i64::from(seen.repeat));
            seen.attributes.insert("repeated".into(), repeated);
        }
        for time in 0..times {
            let id = match source.parser.has_unique_lines() {
                true => source.parser.event_id(&line.bytes, &seen, (part, time, 0)),
                false => EventId::derived(
                    at,
                    &[source.name.as_bytes(), &place, &line.bytes, &time.to_be_bytes()],
                ),
            };
            let before = (batch.records.len(), batch.noticed.len());
            self.push(&seen.clone().into_event(id, self.sensor.clone()), batch);
            batch.asked.extend(asked.map(|(jail, address)| Asked {
                jail: Arc::clone(jail),
                address,
                record: before.0,
                noticed: (batch.noticed.len() > before.1).then_some(before.1),
            }));
        }
    }

    /// Puts a batch into the spool, then what detection makes of it, and
    /// acknowledges it.
    async fn store(&mut self, mut batch: Batch) -> Result<(), Closed> {
        self.leave_out_ignored(&mut batch).await;
        let Batch { records, noticed, progress, page, .. } = batch;
        if !records.is_empty() {
            self.append(records).await?;
        }
        if let Some(stage) = self.stage.as_mut().filter(|_| !noticed.is_empty()) {
            let found: Vec<Vec<u8>> = stage.count(noticed).iter().map(encode_event).collect();
            if !found.is_empty() {
                self.append(found).await?;
            }
        }
        if let Some(stage) = &mut self.stage {
            stage.look_around();
            stage.release();
            if let Some(page) = &page {
                stage.hear(page).await;
            }
        }
        self.save_detection(false).await;
        for Progress { source, files, journal } in progress.into_values() {
            if !files.is_empty() {
                let offsets: Vec<(FileKey, u64)> = files.into_iter().collect();
                source.tracker.acknowledge(&offsets);
            }
            if let Some(cursor) = journal {
                source.tracker.acknowledge_journal(cursor);
            }
        }
        self.report_losses().await;
        Ok(())
    }

    /// Takes out of a batch what the commands of jails say is ignored.
    async fn leave_out_ignored(&mut self, batch: &mut Batch) {
        let asked = std::mem::take(&mut batch.asked);
        if asked.is_empty() {
            return;
        }
        let ignored = self.spare.ignored(&asked).await;
        let records: HashSet<usize> = ignored.iter().map(|asked| asked.record).collect();
        let noticed: HashSet<usize> = ignored.iter().filter_map(|asked| asked.noticed).collect();
        self.metrics.lines_irrelevant.add(records.len() as u64);
        let mut at = 0..;
        batch.records.retain(|_| at.next().is_none_or(|at| !records.contains(&at)));
        let mut at = 0..;
        batch.noticed.retain(|_| at.next().is_none_or(|at| !noticed.contains(&at)));
    }

    /// Writes the state of detection where it is time. This task alone appends,
    /// so all records of the spool have been counted.
    async fn save_detection(&mut self, is_last: bool) {
        let position = self.spool.next().0;
        if let Some(stage) = &mut self.stage {
            stage.save(position, is_last).await;
        }
    }

    /// Appends; where that fails waits and tries again, for as long as it takes.
    async fn append(&mut self, records: Vec<Vec<u8>>) -> Result<(), Closed> {
        let mut backoff = Backoff::default();
        // The halves of a batch that is too large for the spool come last first.
        let mut waiting = vec![records];
        while let Some(mut records) = waiting.pop() {
            let count = records.len() as u64;
            match self.spool.append(records.clone()).await {
                Ok(_) => {
                    backoff.reset();
                    self.outage.ends();
                    self.metrics.events.add(count);
                }
                Err(AppendError::TooLarge { bytes, max_bytes }) => {
                    if records.len() > 1 {
                        let rest = records.split_off(records.len() / 2);
                        waiting.push(rest);
                        waiting.push(records);
                    } else {
                        self.metrics.events_unspoolable.one();
                        tracing::error!(
                            bytes,
                            max_bytes,
                            "an event is larger than the spool can take and is lost"
                        );
                    }
                }
                Err(AppendError::Closed) => return Err(Closed),
                Err(error) => {
                    let wait = backoff.next();
                    self.metrics.spool_retries.one();
                    self.outage.begins(&error);
                    waiting.push(records);
                    tokio::time::sleep(wait).await;
                }
            }
        }
        Ok(())
    }

    /// Tells what the spool dropped, once deliveries go on after it.
    async fn report_losses(&mut self) {
        let stats = self.spool.stats();
        self.metrics.spool_pending.set(stats.pending_records);
        self.metrics.spool_bytes.set(stats.bytes);
        self.metrics.spool_dropped.set(stats.dropped_records);
        let dropped = stats.dropped_records;
        if !self.losses.account.is_unreported(dropped) {
            return;
        }
        let forwarded = self.metrics.forwarded.get();
        match self.losses.seen {
            Some((seen, then)) if seen == dropped && forwarded > then => {}
            Some((seen, _)) if seen == dropped => return,
            _ => {
                tracing::error!(
                    records = dropped,
                    bytes = stats.dropped_bytes,
                    "the spool reached its bound and drops its oldest events; is the hub reachable? [agent.spool] max_bytes sets the bound"
                );
                self.losses.seen = Some((dropped, forwarded));
                return;
            }
        }
        let now = Timestamp::from(SystemTime::now());
        let sensor = self.sensor.clone();
        let due = self
            .losses
            .blocking(move |account| account.due(dropped, stats.dropped_bytes, now, &sensor))
            .await;
        let stored = match due {
            Ok(None) => return,
            Ok(Some(mut event)) => {
                event.host.clone_from(&self.host);
                match self.append(vec![encode_event(&event)]).await {
                    Ok(()) => self.losses.blocking(Losses::done).await,
                    Err(Closed) => return,
                }
            }
            Err(error) => Err(error),
        };
        match stored {
            Ok(()) => self.losses.failing = false,
            Err(error) if !self.losses.failing => {
                self.losses.failing = true;
                tracing::error!(%error, "the account of losses cannot be written; the loss is reported later");
            }
            Err(_) => {}
        }
    }
}

/// What a line says, by the parser of its source.
fn parse(source: &Source, line: &Line) -> Parsed {
    let mut state = source.state.lock().unwrap_or_else(PoisonError::into_inner);
    state.set_now(Timestamp::from(SystemTime::now()));
    match &line.place {
        Place::File { .. } | Place::Stream { .. } => source.parser.parse(&line.bytes, &mut state),
        Place::Journal { at, host, program, pid, .. } => {
            let message = Message {
                program: program.as_deref().unwrap_or_default().as_bytes(),
                text: &line.bytes,
                at: *at,
                host: host.as_deref().map(str::as_bytes),
                pid: *pid,
            };
            source.parser.parse_message(&message, &mut state)
        }
        Place::Network { at, .. } => {
            let message = palisade_rules::received(&line.bytes, &mut state, *at);
            source.parser.parse_message(&message, &mut state)
        }
    }
}

/// The spool was closed.
#[derive(Debug)]
struct Closed;
