//! Block lists that were written, kept for whoever asks next: each is written
//! once a change and query. Plain and packed alike, as most who poll take gzip.

use std::collections::HashMap;
use std::io::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use palisade_event::Timestamp;
use palisade_hub::{Blocklist, BlocklistPass};
use palisade_store::query::Query;
use sha2::{Digest as _, Sha256};
use tokio::sync::{OnceCell, Semaphore};

use super::form::{Format, Frame};
use crate::auth;
use crate::error::Problem;
use crate::router::App;

/// Bytes of answers that are kept; the longest unused go first. The last one is
/// kept however large it is, so that it is not written for each who asks.
const MAX_KEPT_BYTES: usize = 64 * 1024 * 1024;
/// Answers that are kept.
const MAX_KEPT: usize = 256;
/// What took longer to write than this is not written again at once.
const CHEAP: Duration = Duration::from_millis(50);
/// What is dear is written again after so many times as long.
const REST: u32 = 10;
/// Time spans in an answer, and times ago in a query, may be so much behind.
const MOVES_AFTER: Duration = Duration::from_secs(20);
/// Nobody has asked for so long: the answer goes when another one is written.
const IDLE: Duration = Duration::from_secs(10 * 60);
/// Answers above [`super::LARGE_BYTES`] that are sent at once.
const MAX_SENDING: usize = 16;

/// A block list as it is sent.
pub(super) struct Answer {
    /// Names what it says; what only time has changed has the same.
    pub(super) tag: String,
    /// Since when it says that, as far as this hub knows.
    pub(super) changed_at: Timestamp,
    pub(super) body: Bytes,
    packed: OnceCell<Bytes>,
    version: u64,
    /// When the first of its bans is over.
    ends: Timestamp,
    /// Whether it is another one a moment later.
    moves: bool,
    made: Instant,
    cost: Duration,
}

/// See the module.
pub(crate) struct Answers {
    kept: Mutex<HashMap<(Format, String), Kept>>,
    /// One is written at a time.
    writing: Semaphore,
    pub(super) sending: Arc<Semaphore>,
}

struct Kept {
    answer: Arc<Answer>,
    asked: Instant,
}

impl Default for Answers {
    fn default() -> Self {
        Self {
            kept: Mutex::default(),
            writing: Semaphore::new(1),
            sending: Arc::new(Semaphore::new(MAX_SENDING)),
        }
    }
}

impl Answer {
    fn is_fresh(&self, version: u64, now: Timestamp) -> bool {
        let age = self.made.elapsed();
        let same = self.version == version && now < self.ends;
        (same && !(self.moves && age > MOVES_AFTER))
            || (self.cost > CHEAP && age < self.cost * REST)
    }

    /// Packed with gzip, once.
    pub(super) async fn packed(&self) -> Result<Bytes, Problem> {
        let pack = || async {
            let body = self.body.clone();
            let packed = tokio::task::spawn_blocking(move || {
                let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
                packer.write_all(&body)?;
                packer.finish()
            });
            let packed = packed.await.map_err(Problem::internal)?;
            packed.map(Bytes::from).map_err(Problem::internal)
        };
        self.packed.get_or_try_init(pack).await.cloned()
    }

    fn bytes(&self) -> usize {
        self.body.len() + self.packed.get().map_or(0, Bytes::len)
    }
}

impl Answers {
    /// The block list of a query in a format.
    pub(super) async fn get(
        &self,
        app: &App,
        pass: BlocklistPass,
        format: Format,
        text: &str,
    ) -> Result<Arc<Answer>, Problem> {
        let key = (format, text.to_owned());
        if let Some(fresh) = self.fresh(app, &key) {
            return Ok(fresh);
        }
        let now = auth::now();
        let query = Query::parse(text, now)?;
        let later = Query::parse(text, now.plus_millis(1))?;
        let _turn = self.writing.acquire().await.map_err(Problem::internal)?;
        if let Some(fresh) = self.fresh(app, &key) {
            return Ok(fresh);
        }
        let began = Instant::now();
        let list = app.hub.blocklist(pass, &query).await?;
        let before = self.kept().get(&key).map(|kept| Arc::clone(&kept.answer));
        let (asked, moves) = (key.1.clone(), format.counts_down() || query != later);
        let written = tokio::task::spawn_blocking(move || {
            write(&list, format, &asked, moves, before.as_deref(), began)
        });
        let answer = Arc::new(written.await.map_err(Problem::internal)?);
        self.keep(key, Arc::clone(&answer));
        Ok(answer)
    }

    fn fresh(&self, app: &App, key: &(Format, String)) -> Option<Arc<Answer>> {
        let mut kept = self.kept();
        let found = kept.get_mut(key)?;
        let fresh = found.answer.is_fresh(app.hub.blocklist_version(), auth::now());
        fresh.then(|| {
            found.asked = Instant::now();
            Arc::clone(&found.answer)
        })
    }

    fn keep(&self, key: (Format, String), answer: Arc<Answer>) {
        let mut kept = self.kept();
        kept.insert(key.clone(), Kept { answer, asked: Instant::now() });
        kept.retain(|_, one| one.asked.elapsed() < IDLE);
        loop {
            let bytes: usize = kept.values().map(|one| one.answer.bytes()).sum();
            if bytes <= MAX_KEPT_BYTES && kept.len() <= MAX_KEPT {
                return;
            }
            let others = kept.iter().filter(|(other, _)| **other != key);
            let Some((oldest, _)) = others.min_by_key(|(_, one)| one.asked) else { return };
            let oldest = oldest.clone();
            kept.remove(&oldest);
        }
    }

    fn kept(&self) -> MutexGuard<'_, HashMap<(Format, String), Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Blocks.
fn write(
    list: &Blocklist,
    format: Format,
    query: &str,
    moves: bool,
    before: Option<&Answer>,
    began: Instant,
) -> Answer {
    let now = auth::now();
    let mut hash = Sha256::new();
    hash.update(format.as_str());
    let mut ends = Timestamp::from_millis(i64::MAX);
    for ban in list.bans(now) {
        hash.update(ban.id.to_string());
        hash.update(ban.until.as_millis().to_le_bytes());
        ends = ends.min(ban.until);
    }
    let tag: String = hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    let same = before.filter(|before| before.tag == tag);
    let changed_at = same.map_or(now, |before| before.changed_at);
    let (body, packed) = match same {
        Some(before) if !format.counts_down() => {
            (before.body.clone(), before.packed.get().cloned())
        }
        _ => {
            let frame = Frame { query, tag: &tag, changed_at, now };
            (format.write(list.bans(now), &frame).into(), None)
        }
    };
    Answer {
        changed_at,
        body,
        packed: OnceCell::new_with(packed),
        version: list.version(),
        ends,
        moves,
        made: Instant::now(),
        cost: began.elapsed(),
        tag,
    }
}
