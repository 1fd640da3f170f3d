//! Writes events, each once: gathered, inserted under a batch number that no
//! reader looks at, then published.
//!
//! A batch is never sent twice. Whatever fails before it is published, it is
//! given up (`aborted`, and its rows are removed later), and the caller sends its
//! events again, in a new batch. So a lost connection leaves nothing in doubt but
//! the publication itself, and that can be asked for.
//!
//! Two hubs may write the same event at the same moment, each before the other's
//! is published. Both look for their ids again once their rows are in and before
//! they publish; at least the later one finds the other's row, and writes into
//! `doubles` which of both does not count.

use std::collections::HashSet;
use std::hash::BuildHasher as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use palisade_event::{Event, Timestamp};

use super::http::Fault;
use super::lock;
use super::lookup::{self, Key};
use super::row::{self, OTHER_COLUMNS};
use super::server::Server;
use super::snapshot::{Snapshot, batch};
use crate::query::Field;

/// Events that are gathered before they are sent.
const MAX_BUFFERED: usize = 100_000;
/// Bytes of them.
const MAX_BUFFERED_BYTES: usize = 32 * 1024 * 1024;
/// Attempts to find a number that no other hub has taken.
const MAX_CLAIMS: u32 = 100;
/// Batches that a dead process may have left open; more means a damaged table.
const MAX_LEFT_OPEN: u32 = 100_000;

/// Why events were not stored.
#[derive(Debug)]
pub(super) enum WriteError {
    Fault(Fault),
    /// The file with the writer's number cannot be used, or another hub uses it.
    Writer(String),
}

impl From<Fault> for WriteError {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// The writer's state.
pub(super) struct Writing {
    path: PathBuf,
    writer: Option<Writer>,
    /// Appended and not committed.
    pending: HashSet<Key>,
    /// Of these, what was not sent yet.
    rows: Vec<u8>,
    odd: Vec<u8>,
    buffered: usize,
    /// Whether rows of the open batch may be in the tables.
    sent: bool,
    /// Batches that were given up, and not yet written down as such.
    given_up: Vec<u64>,
    /// Whether the open batch was published without an answer.
    in_doubt: bool,
}

/// This hub among the writers.
struct Writer {
    number: u32,
    /// The batch that is being written.
    seq: u32,
    published: u32,
    /// Batches that may have rows, as the table knows.
    opened: u32,
}

impl Writing {
    pub(super) fn new(dir: &Path) -> Self {
        Self {
            path: dir.join("clickhouse-writer"),
            writer: None,
            pending: HashSet::new(),
            rows: Vec::new(),
            odd: Vec::new(),
            buffered: 0,
            sent: false,
            given_up: Vec::new(),
            in_doubt: false,
        }
    }

    /// Whether it was appended since the last commit.
    pub(super) fn is_pending(&self, key: &Key) -> bool {
        self.pending.contains(key)
    }

    /// Takes events that are not there yet; says which were new.
    pub(super) fn append(
        &mut self,
        server: &Server,
        events: &[Arc<Event>],
    ) -> Result<Vec<bool>, WriteError> {
        let (number, seq) = self.open_batch(server)?;
        let key = |event: &Arc<Event>| Key::new(event.observed_at, event.id);
        let unknown: Vec<Key> =
            events.iter().map(key).filter(|key| !self.pending.contains(key)).collect();
        let known = visible(server, &unknown)?;
        let mut flags = Vec::with_capacity(events.len());
        for event in events {
            let key = key(event);
            let new = !known.contains(&key) && self.pending.insert(key);
            flags.push(new);
            if !new {
                continue;
            }
            row::encode(event, batch(number, seq), &mut self.rows);
            if lookup::is_odd(event.observed_at, event.id) {
                self.odd.extend_from_slice(&event.observed_at.as_millis().to_le_bytes());
                self.odd.extend_from_slice(&event.id.as_u128().to_be_bytes());
                self.odd.extend_from_slice(&batch(number, seq).to_le_bytes());
            }
            self.buffered += 1;
            if self.buffered >= MAX_BUFFERED || self.rows.len() >= MAX_BUFFERED_BYTES {
                self.flush(server)?;
            }
        }
        Ok(flags)
    }

    /// Publishes what was appended.
    pub(super) fn commit(&mut self, server: &Server) -> Result<(), WriteError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        self.flush(server)?;
        let (number, seq) = self.open_batch(server)?;
        self.settle_doubles(server, number, seq)?;
        self.give_up(server)?;
        self.in_doubt = true;
        if let Err(fault) = publish(server, number, seq, seq + 1) {
            match fault {
                Fault::Unreachable(_) => self.in_doubt = false,
                Fault::Lost(_) | Fault::Refused(..) => {
                    let published = progress(server, number)?.is_some_and(|(p, _)| p >= seq);
                    if published {
                        self.published();
                        return Ok(());
                    }
                }
            }
            return Err(fault.into());
        }
        self.published();
        Ok(())
    }

    fn published(&mut self) {
        if let Some(writer) = &mut self.writer {
            writer.published = writer.seq;
            writer.opened = writer.opened.max(writer.seq + 1);
            writer.seq += 1;
        }
        self.clear();
    }

    fn clear(&mut self) {
        self.pending.clear();
        self.rows.clear();
        self.odd.clear();
        self.rows.shrink_to(MAX_BUFFERED_BYTES);
        (self.buffered, self.sent, self.in_doubt) = (0, false, false);
    }

    /// Forgets what was appended since the last commit, after a failure.
    pub(super) fn roll_back(&mut self) {
        let in_doubt = self.in_doubt;
        if let Some(writer) = &mut self.writer
            && (self.sent || in_doubt)
        {
            if in_doubt {
                // Whether it was published is asked for before the next batch.
                let number = writer.number;
                self.writer = None;
                tracing::warn!(writer = number, "it is not known whether a commit went through");
            } else {
                self.given_up.push(batch(writer.number, writer.seq));
                writer.seq += 1;
            }
        }
        self.clear();
    }

    /// Sends what was gathered.
    fn flush(&mut self, server: &Server) -> Result<(), WriteError> {
        if self.buffered == 0 {
            return Ok(());
        }
        self.sent = true;
        if !self.odd.is_empty() {
            server.insert("odd", "observed_at, id, batch", &self.odd)?;
        }
        server.insert("events", &columns(), &self.rows)?;
        self.rows.clear();
        self.odd.clear();
        self.buffered = 0;
        Ok(())
    }

    /// Which batch is open; registers this hub first, where it has not yet.
    fn open_batch(&mut self, server: &Server) -> Result<(u32, u32), WriteError> {
        if self.writer.is_none() {
            let writer = self.register(server)?;
            self.writer = Some(writer);
        }
        let Some(writer) = &mut self.writer else {
            return Err(WriteError::Writer("no writer".to_owned()));
        };
        // The table knows of a batch before there are rows of it, so that a later
        // process never takes its number again.
        if writer.seq > writer.opened {
            publish(server, writer.number, writer.published, writer.seq)?;
            writer.opened = writer.seq;
        }
        Ok((writer.number, writer.seq))
    }

    /// Takes up this hub's number, or gets one.
    fn register(&mut self, server: &Server) -> Result<Writer, WriteError> {
        let failed = |error: std::io::Error| {
            WriteError::Writer(format!("cannot use {}: {error}", self.path.display()))
        };
        let kept = match std::fs::read_to_string(&self.path) {
            Ok(text) => kept_number(&text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(failed(error)),
        };
        if let Some((number, nonce)) = kept
            && claims(server, number)? == [nonce]
            && let Some((published, opened)) = progress(server, number)?
        {
            // Whatever an earlier process left open will never be published.
            let left = (published + 1)..=opened.min(published.saturating_add(MAX_LEFT_OPEN));
            self.given_up = left.map(|seq| batch(number, seq)).collect();
            // Before anything is compared with what is stored: a publication that was
            // on its way may still arrive, and shows nothing then.
            self.give_up(server)?;
            return Ok(Writer { number, seq: opened + 1, published, opened });
        }
        let nonce = u128::from(random()) << 64 | u128::from(random());
        let sql = format!(
            "SELECT toUInt32(max(number)) FROM {} FORMAT RowBinary",
            server.table("writers")
        );
        let mut number = server.one(&sql, |row| row.u32())?.saturating_add(1);
        for _ in 0..MAX_CLAIMS {
            let mut row = number.to_le_bytes().to_vec();
            row.extend_from_slice(&nonce.to_be_bytes());
            server.insert("writers", "number, nonce", &row)?;
            // Of two that claim the same number at least one sees both and goes on.
            if claims(server, number)? == [nonce] {
                publish(server, number, 0, 0)?;
                keep_number(&self.path, number, nonce).map_err(failed)?;
                return Ok(Writer { number, seq: 1, published: 0, opened: 0 });
            }
            number = number.saturating_add(1 + (random() % 16) as u32);
        }
        Err(WriteError::Writer("every writer's number is taken; try again".to_owned()))
    }

    /// Looks for the open batch's ids in the batches of others.
    fn settle_doubles(&self, server: &Server, number: u32, seq: u32) -> Result<(), WriteError> {
        let sql = format!(
            "SELECT toUInt64(count()) FROM {} WHERE number != {number} FORMAT RowBinary",
            server.table("writers")
        );
        if server.one(&sql, |row| row.u64())? == 0 {
            return Ok(());
        }
        let mine = batch(number, seq);
        let keys: Vec<Key> = self.pending.iter().copied().collect();
        let mut rows = Vec::new();
        for (key, other) in lookup::stored(server, &keys)? {
            if other == mine || other >> 32 == mine >> 32 || !self.pending.contains(&key) {
                continue;
            }
            rows.extend_from_slice(&key.id.as_u128().to_be_bytes());
            rows.extend_from_slice(&key.day.start().as_millis().to_le_bytes());
            rows.extend_from_slice(&mine.max(other).to_le_bytes());
            rows.extend_from_slice(&mine.min(other).to_le_bytes());
            rows.extend_from_slice(&unix_secs().to_le_bytes());
        }
        if !rows.is_empty() {
            server.insert("doubles", "id, observed_at, loser, winner, at", &rows)?;
        }
        Ok(())
    }

    /// Writes down which batches were given up; before the next is published.
    fn give_up(&mut self, server: &Server) -> Result<(), WriteError> {
        if self.given_up.is_empty() {
            return Ok(());
        }
        let mut rows = Vec::new();
        for batch in &self.given_up {
            rows.extend_from_slice(&batch.to_le_bytes());
            rows.push(0);
            rows.extend_from_slice(&unix_secs().to_le_bytes());
        }
        server.insert("aborted", "batch, cleared, at", &rows)?;
        self.given_up.clear();
        // What was looked at before may show them still.
        *lock(&server.snapshot) = None;
        Ok(())
    }
}

/// Which of these events are stored and seen.
pub(super) fn visible(server: &Server, keys: &[Key]) -> Result<HashSet<Key>, Fault> {
    if keys.is_empty() {
        return Ok(HashSet::new());
    }
    let stored = lookup::stored(server, keys)?;
    if stored.is_empty() {
        return Ok(HashSet::new());
    }
    let snapshot = Snapshot::take(server)?;
    Ok(stored.into_iter().filter(|(_, batch)| snapshot.sees(*batch)).map(|(key, _)| key).collect())
}

fn columns() -> String {
    let fields = Field::ALL.iter().map(|field| field.name());
    let quoted: Vec<String> =
        fields.chain(OTHER_COLUMNS).map(|column| format!("`{column}`")).collect();
    quoted.join(", ")
}

fn publish(server: &Server, number: u32, seq: u32, opened: u32) -> Result<(), Fault> {
    let row: Vec<u8> = [number, seq, opened].iter().flat_map(|n| n.to_le_bytes()).collect();
    server.insert("published", "writer, seq, opened", &row)
}

/// The last published and the last opened batch of a writer.
fn progress(server: &Server, number: u32) -> Result<Option<(u32, u32)>, Fault> {
    let sql = format!(
        "SELECT max(seq), max(opened) FROM {} WHERE writer = {number} GROUP BY writer \
         FORMAT RowBinary",
        server.table("published")
    );
    Ok(server.rows(&sql, |row| Ok((row.u32()?, row.u32()?)))?.into_iter().next())
}

/// Who claims a number.
fn claims(server: &Server, number: u32) -> Result<Vec<u128>, Fault> {
    let sql = format!(
        "SELECT DISTINCT nonce FROM {} WHERE number = {number} FORMAT RowBinary",
        server.table("writers")
    );
    server.rows(&sql, |row| row.bytes16())
}

fn kept_number(text: &str) -> Option<(u32, u128)> {
    let (number, nonce) = text.trim().split_once(' ')?;
    Some((number.parse().ok()?, u128::from_str_radix(nonce, 16).ok()?))
}

fn keep_number(path: &Path, number: u32, nonce: u128) -> std::io::Result<()> {
    let next = path.with_extension("new");
    let mut file = std::fs::File::create(&next)?;
    writeln!(file, "{number} {nonce:032x}")?;
    file.sync_all()?;
    std::fs::rename(&next, path)?;
    path.parent().map_or(Ok(()), |dir| std::fs::File::open(dir)?.sync_all())
}

/// Random enough to tell hubs apart.
fn random() -> u64 {
    std::collections::hash_map::RandomState::new().hash_one(SystemTime::now())
}

fn unix_secs() -> u32 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    u32::try_from(since).unwrap_or(u32::MAX)
}

/// The time that `unix_secs` counts, for tests and retention.
pub(super) fn now() -> Timestamp {
    Timestamp::from(SystemTime::now())
}
