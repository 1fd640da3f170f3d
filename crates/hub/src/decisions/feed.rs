//! The change feed as agents ask for it: what came after a cursor, or what is
//! in force; with a wait while there is nothing new.

use std::sync::Arc;
use std::time::Duration;

use palisade_event::{Domain, MAX_FEED_CHANGES, Timestamp};
use palisade_store::state::{Heard, StateError, made_change};
use tokio::time::Instant;

use super::Decisions;
use super::directions::Written as Directed;
use super::ring::Written;
use crate::auth::{Permission, Principal};
use crate::error::QueryError;

/// Bytes of the changes of one page.
const MAX_PAGE_BYTES: usize = 4 * 1024 * 1024;
/// While changes come one after the other, those of so long share a page.
const TOGETHER: Duration = Duration::from_millis(40);

/// What somebody asks the feed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FeedQuestion {
    /// `cursor` of the page before; without it all that is in force is told.
    pub after: Option<u64>,
    /// `snapshot` of the page before.
    pub snapshot: Option<u64>,
    /// The directions that the asker has, or that it has none; without it the
    /// asker knows nothing of directions and is told none.
    pub directions: Option<Option<u64>>,
}

/// One page of the feed: what [`palisade_event::DecisionFeed`] reads.
#[derive(Clone, Debug, Default)]
pub struct FeedPage {
    /// What to ask after next.
    pub cursor: u64,
    /// Whether it is part of all that is in force.
    pub reset: bool,
    /// See [`palisade_event::DecisionFeed::snapshot`].
    pub snapshot: Option<u64>,
    changes: Vec<Written>,
    directions: Option<Arc<Directed>>,
}

impl FeedPage {
    /// How many changes it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Its JSON. Each change was written once, for all who hear of it.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let bytes: usize = self.changes.iter().map(|change| change.text.len() + 1).sum();
        let directed = self.directions.as_ref().map_or(0, |directions| directions.text.len());
        let mut text = Vec::with_capacity(bytes + directed + 128);
        text.extend(format!("{{\"cursor\":{},\"reset\":{}", self.cursor, self.reset).bytes());
        if let Some(snapshot) = self.snapshot {
            text.extend(format!(",\"snapshot\":{snapshot}").bytes());
        }
        if let Some(directions) = &self.directions {
            text.extend(b",\"directions\":");
            text.extend(&directions.text);
        }
        text.extend(b",\"changes\":[");
        for (index, change) in self.changes.iter().enumerate() {
            if index > 0 {
                text.push(b',');
            }
            text.extend(&*change.text);
        }
        text.extend(b"]}");
        text
    }
}

/// As many as fit into a page, and whether that were all.
fn fitting(mut changes: Vec<Written>) -> (Vec<Written>, bool) {
    let mut bytes = 0;
    let fit = changes.iter().take_while(|change| {
        bytes += change.text.len();
        bytes <= MAX_PAGE_BYTES
    });
    let fit = fit.count().max(1);
    let all = fit >= changes.len();
    changes.truncate(fit);
    (changes, all)
}

impl Decisions {
    /// See [`crate::Hub::decision_feed`].
    pub(crate) async fn feed(
        &self,
        who: &Principal,
        asked: FeedQuestion,
        wait: Duration,
    ) -> Result<FeedPage, QueryError> {
        if !who.may(Permission::Decisions) || !who.sees(Domain::Private) {
            return Err(QueryError::Forbidden);
        }
        let Some(mut cursor) = asked.after else {
            // The decisions in force now; what comes meanwhile follows.
            let page = self.all(0, self.told_so_far()).await?;
            return Ok(self.directed(page, asked).await);
        };
        if let Some(until) = asked.snapshot {
            let page = self.all(cursor, until).await?;
            return Ok(self.directed(page, asked).await);
        }
        let deadline = Instant::now() + wait;
        let mut news = self.head.subscribe();
        let mut directed = self.directing.subscribe();
        let mut busy = false;
        loop {
            news.mark_unchanged();
            directed.mark_unchanged();
            let now = Timestamp::from(std::time::SystemTime::now());
            let Some(page) = self.after(cursor, now).await? else {
                let page = self.all(0, self.told_so_far()).await?;
                return Ok(self.directed(page, asked).await);
            };
            // After the changes, so that what it says is not older than they are.
            let page = self.directed(page, asked).await;
            cursor = page.cursor;
            let over = Instant::now() >= deadline || self.closed.is_cancelled();
            if !page.is_empty() || page.directions.is_some() || over {
                return Ok(page);
            }
            tokio::select! {
                changed = news.changed() => {
                    if changed.is_err() {
                        return Ok(page);
                    }
                    // A page for each of many changes would cost more than they do.
                    if busy || self.is_busy() {
                        tokio::time::sleep(TOGETHER).await;
                    }
                    busy = true;
                }
                // Who has no use for it asks on.
                Ok(()) = directed.changed() => {}
                () = tokio::time::sleep_until(deadline) => {}
                () = self.closed.cancelled() => {}
            }
        }
    }

    /// The page with directions, where the asker has others.
    async fn directed(&self, mut page: FeedPage, asked: FeedQuestion) -> FeedPage {
        if let Some(known) = asked.directions {
            let now = Timestamp::from(std::time::SystemTime::now());
            page.directions = self.directing.news(known, now).await;
        }
        page
    }

    /// What came after a cursor; `None` where the hub cannot say what is missing.
    async fn after(&self, cursor: u64, now: Timestamp) -> Result<Option<FeedPage>, StateError> {
        let known = self.ring().after(cursor, MAX_FEED_CHANGES, now);
        let (changes, next) = match known {
            Some(found) => found,
            None => {
                let limit = u32::try_from(MAX_FEED_CHANGES).unwrap_or(u32::MAX);
                match self.state.changes_after(cursor, limit, now).await? {
                    Heard::Unknown => return Ok(None),
                    Heard::Changes(changes, head) => {
                        let full = changes.len() >= MAX_FEED_CHANGES;
                        let last = changes.last().map_or(cursor, |change| change.seq);
                        let changes = changes.iter().map(Written::new).collect();
                        (changes, if full { last } else { head })
                    }
                }
            }
        };
        if changes.is_empty() {
            return Ok(Some(FeedPage { cursor: next, ..FeedPage::default() }));
        }
        let (changes, all) = fitting(changes);
        let cursor = match changes.last() {
            Some(last) if !all => last.seq,
            _ => next,
        };
        Ok(Some(FeedPage { cursor, changes, ..FeedPage::default() }))
    }

    /// A page of what is in force, numbered above `after` and up to `until`.
    async fn all(&self, after: u64, until: u64) -> Result<FeedPage, StateError> {
        let now = Timestamp::from(std::time::SystemTime::now());
        let limit = u32::try_from(MAX_FEED_CHANGES).unwrap_or(u32::MAX);
        let found = self.state.decisions_between(after, until, limit, now).await?;
        let full = found.len() >= MAX_FEED_CHANGES;
        let changes: Vec<Written> =
            found.into_iter().filter_map(made_change).map(|change| Written::new(&change)).collect();
        if changes.is_empty() {
            return Ok(FeedPage { cursor: until, reset: true, ..FeedPage::default() });
        }
        let (changes, all) = fitting(changes);
        let last = changes.last().map_or(until, |last| last.seq);
        let more = full || !all;
        Ok(FeedPage {
            cursor: if more { last } else { until },
            reset: true,
            snapshot: more.then_some(until),
            changes,
            directions: None,
        })
    }

    /// The number of the last change that anybody was told.
    pub(crate) fn told_so_far(&self) -> u64 {
        *self.head.borrow()
    }

    /// Whether the last changes came one after the other.
    fn is_busy(&self) -> bool {
        self.ring().is_busy()
    }
}
