//! The change feed of decisions, as the agent follows it: a long poll with a
//! cursor. What a page means for the firewall is decided by who gets it.
//!
//! ```text
//! hub ─► page (bounded, checked) ─► queue ─► enforcement, which keeps the cursor
//! ```

use std::future::Future;
use std::time::SystemTime;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, DATE};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::Full;
use jiff::fmt::rfc2822;
use palisade_event::{
    DIRECTIONS_HEADER, DecisionFeed, EffectReceipt, EffectReport, FeedError, Timestamp,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{HttpError, HttpUplink};
use crate::backoff::{Backoff, LONGEST};

/// Clocks that differ by less are the same, in milliseconds.
const SAME_CLOCK_MS: u64 = 5_000;
/// How long the hub may hold a question while there is nothing new.
const WAIT_SECS: u64 = 30;

/// Where an agent stands in the feed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FeedPosition {
    /// `cursor` of the page before; `None` asks for all that is in force.
    pub after: Option<u64>,
    /// `snapshot` of the page before.
    pub snapshot: Option<u64>,
    /// The directions that the agent has.
    pub directions: Option<u64>,
}

impl FeedPosition {
    /// Where to go on after a page, for those who go by no directions.
    #[must_use]
    pub fn after(page: &DecisionFeed) -> Self {
        Self::default().next(page)
    }

    /// Where to go on after a page.
    #[must_use]
    pub fn next(self, page: &DecisionFeed) -> Self {
        let directed = page.directions.as_ref().map(|directions| directions.version);
        Self {
            after: Some(page.cursor),
            snapshot: page.snapshot,
            directions: directed.or(self.directions),
        }
    }
}

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// The key may not hear of decisions: the operator must act.
    #[error(
        "the hub does not let this key hear of decisions ({0}); make one with `palisade key add NAME --scope ingest` on the hub"
    )]
    Unauthorised(StatusCode),
    /// The hub is older, or what answers is no hub.
    #[error("the hub has no feed of decisions ({0}); check hub.url and its version")]
    Missing(StatusCode),
    /// Busy, stopping, or not reachable: again, later.
    #[error("no decisions from the hub: {0}")]
    Unreachable(String),
    /// Its page breaks a rule, so nothing of it is used.
    #[error("the hub's decisions are not carried out: {0}")]
    Unfit(#[from] FeedError),
}

/// A hub that can be asked for changes.
pub trait Follow: Send + Sync + 'static {
    /// The page after a position. Waits up to half a minute while there is
    /// nothing new, then gives an empty page.
    ///
    /// # Errors
    /// [`FollowError`]
    fn page(
        &self,
        position: FeedPosition,
    ) -> impl Future<Output = Result<DecisionFeed, FollowError>> + Send;

    /// Tells what is carried out here.
    ///
    /// # Errors
    /// [`FollowError`]: the hub does not know it.
    fn report(
        &self,
        report: &EffectReport,
    ) -> impl Future<Output = Result<EffectReceipt, FollowError>> + Send;
}

/// A connection of its own is needed: one that waits holds up everything else.
impl Follow for HttpUplink {
    async fn page(&self, position: FeedPosition) -> Result<DecisionFeed, FollowError> {
        let mut path = format!("/api/v1/decisions/feed?wait={WAIT_SECS}");
        if let Some(after) = position.after {
            path.push_str(&format!("&after={after}"));
        }
        if let Some(snapshot) = position.snapshot {
            path.push_str(&format!("&snapshot={snapshot}"));
        }
        let unreachable = |reason: String| FollowError::Unreachable(reason);
        let request = Request::builder()
            .uri(path)
            // A hub that does not know of it looks at no such header.
            .header(
                DIRECTIONS_HEADER,
                match position.directions {
                    Some(version) => version.to_string(),
                    None => "none".to_owned(),
                },
            )
            .body(Full::new(Bytes::new()))
            .map_err(|error| unreachable(error.to_string()))?;
        let (headers, body) = fetched(self.exchange(request).await)?;
        let mut page = DecisionFeed::decode(&body)?;
        let ahead = ahead_of(&headers, Timestamp::from(SystemTime::now()));
        if ahead != 0 {
            page.shift(ahead);
        }
        Ok(page)
    }

    async fn report(&self, report: &EffectReport) -> Result<EffectReceipt, FollowError> {
        let unreachable = |reason: String| FollowError::Unreachable(reason);
        let request = Request::builder()
            .method(Method::POST)
            .uri("/api/v1/decisions/effect")
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(report.encode())))
            .map_err(|error| unreachable(error.to_string()))?;
        let (_, body) = fetched(self.exchange(request).await)?;
        serde_json::from_slice(&body).map_err(|error| unreachable(error.to_string()))
    }
}

type Fetched = (StatusCode, HeaderMap, Bytes);

fn fetched(answer: Result<Fetched, HttpError>) -> Result<(HeaderMap, Bytes), FollowError> {
    let (status, headers, body) =
        answer.map_err(|error| FollowError::Unreachable(error.to_string()))?;
    match status {
        StatusCode::OK => Ok((headers, body)),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(FollowError::Unauthorised(status)),
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => Err(FollowError::Missing(status)),
        status => Err(FollowError::Unreachable(status.to_string())),
    }
}

/// By how many milliseconds the clock of this machine is ahead of the hub's; 0
/// where they agree. What is to last an hour lasts an hour here too.
fn ahead_of(headers: &HeaderMap, now: Timestamp) -> i64 {
    let date = headers.get(DATE).and_then(|date| date.to_str().ok());
    let Some(date) = date.and_then(|date| rfc2822::parse(date).ok()) else { return 0 };
    let ahead = now.as_millis().saturating_sub(date.timestamp().as_millisecond());
    // The header has whole seconds, and an answer takes its time.
    if ahead.unsigned_abs() < SAME_CLOCK_MS { 0 } else { ahead }
}

/// Follows the feed from a position until it is to stop, or nobody takes pages
/// any more. The taker keeps the position of the last page that it has carried
/// out: a page comes again after a crash, and means the same then.
pub async fn follow(
    hub: &impl Follow,
    mut position: FeedPosition,
    pages: mpsc::Sender<DecisionFeed>,
    stop: CancellationToken,
) {
    let mut backoff = Backoff::default();
    let mut told = false;
    loop {
        let page = tokio::select! {
            page = hub.page(position) => page,
            () = stop.cancelled() => return,
        };
        let error = match page {
            Ok(page) => {
                if told {
                    tracing::info!("decisions come from the hub again");
                }
                (backoff, told) = (Backoff::default(), false);
                let next = position.next(&page);
                let news = page.reset || !page.changes.is_empty() || next != position;
                position = next;
                if !news {
                    continue;
                }
                tokio::select! {
                    sent = pages.send(page) => if sent.is_err() { return },
                    () = stop.cancelled() => return,
                }
                continue;
            }
            Err(error) => error,
        };
        // One line for an outage, however long it lasts.
        if !told {
            tracing::warn!(%error, "the agent goes on with what it has decided and heard");
            told = true;
        }
        let wait = match error {
            FollowError::Unreachable(_) => backoff.next(),
            FollowError::Unauthorised(_) | FollowError::Missing(_) | FollowError::Unfit(_) => {
                backoff.next().max(LONGEST / 2)
            }
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = stop.cancelled() => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Mutex;

    use palisade_event::{Change, DecisionChange, Directions, Lift};

    use super::*;

    #[test]
    fn a_hub_with_another_clock_is_understood() {
        let now = Timestamp::from_millis(784_111_777_900);
        let ahead = |date: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(DATE, date.parse().unwrap());
            ahead_of(&headers, now)
        };
        assert_eq!(ahead("Sun, 06 Nov 1994 08:49:37 GMT"), 0);
        assert_eq!(ahead("Sun, 06 Nov 1994 08:49:34 GMT"), 0);
        assert_eq!(ahead("Sun, 06 Nov 1994 07:49:37 GMT"), 3_600_900);
        assert_eq!(ahead("Mon, 07 Nov 1994 08:49:37 GMT"), -86_399_100);
        assert_eq!(ahead("yesterday"), 0);
        assert_eq!(ahead_of(&HeaderMap::new(), now), 0);
    }

    /// Gives what it has, and notes what it was asked.
    struct Script {
        answers: Mutex<VecDeque<Result<DecisionFeed, FollowError>>>,
        asked: Mutex<Vec<FeedPosition>>,
    }

    impl Follow for Script {
        async fn page(&self, position: FeedPosition) -> Result<DecisionFeed, FollowError> {
            self.asked.lock().unwrap().push(position);
            let answer = self.answers.lock().unwrap().pop_front();
            match answer {
                Some(answer) => answer,
                None => std::future::pending().await,
            }
        }

        async fn report(&self, _: &EffectReport) -> Result<EffectReceipt, FollowError> {
            std::future::pending().await
        }
    }

    fn page(cursor: u64, snapshot: Option<u64>) -> DecisionFeed {
        let lift = Lift {
            target: "192.0.2.1".parse().unwrap(),
            by: "anna".into(),
            at: Timestamp::from_millis(0),
            reason: None,
        };
        let changes = vec![DecisionChange { seq: cursor, change: Change::Lifted(lift) }];
        DecisionFeed { cursor, changes, reset: snapshot.is_some(), snapshot, directions: None }
    }

    #[tokio::test]
    async fn an_outage_is_waited_for_and_the_position_goes_on() {
        let empty = DecisionFeed { cursor: 12, ..DecisionFeed::default() };
        let answers = VecDeque::from([
            Ok(page(5, Some(9))),
            Ok(page(9, None)),
            Err(FollowError::Unreachable("away".into())),
            Ok(page(12, None)),
            Ok(empty.clone()),
            Ok(DecisionFeed {
                cursor: 13,
                directions: Some(Box::new(Directions { version: 4, ..Directions::default() })),
                ..DecisionFeed::default()
            }),
        ]);
        let script = Script { answers: Mutex::new(answers), asked: Mutex::default() };
        let (sender, mut pages) = mpsc::channel::<DecisionFeed>(8);
        let stop = CancellationToken::new();
        let took = async {
            let mut cursors = Vec::new();
            for _ in 0..4 {
                cursors.push(pages.recv().await.unwrap().cursor);
            }
            stop.cancel();
            cursors
        };
        let following = follow(&script, FeedPosition::default(), sender, stop.clone());
        let ((), cursors) = tokio::join!(following, took);
        assert_eq!(cursors, [5, 9, 12, 13], "a page without news is not handed on");
        let asked = script.asked.lock().unwrap();
        let at = |after, snapshot| FeedPosition { after, snapshot, directions: None };
        let expected = [
            at(None, None),
            at(Some(5), Some(9)),
            at(Some(9), None),
            at(Some(9), None),
            at(Some(12), None),
            at(Some(12), None),
        ];
        assert_eq!(asked.get(..6).unwrap(), expected);
        let directed = asked.get(6).is_none_or(|asked| asked.directions == Some(4));
        assert!(directed, "{asked:?}");
    }
}
