//! The way from the agent to the hub inside one process: the same forwarder,
//! the same receipts, no socket between.

use std::time::Duration;

use palisade_agent::{FeedPosition, Follow, FollowError, SendError, Uplink};
use palisade_event::wire::Receipt;
use palisade_event::{DecisionFeed, EffectReceipt, EffectReport, Timestamp};
use palisade_hub::{FeedQuestion, Hub, IngestError, Principal};

/// How long a question waits while there is nothing new.
const WAIT: Duration = Duration::from_secs(30);

/// Delivers to the hub of this process, and hears of its decisions.
#[derive(Clone)]
pub(crate) struct LocalUplink {
    hub: Hub,
    who: Principal,
}

impl LocalUplink {
    /// Delivers as `who`.
    pub(crate) fn new(hub: Hub, who: Principal) -> Self {
        Self { hub, who }
    }
}

impl Uplink for LocalUplink {
    async fn send(&self, records: &[Vec<u8>]) -> Result<Receipt, SendError> {
        let records: Vec<&[u8]> = records.iter().map(Vec::as_slice).collect();
        self.hub.accept(&self.who, None, &records).await.map_err(|error| match error {
            IngestError::Forbidden => SendError::Unauthorised(error.to_string()),
            IngestError::TooLarge(_) => SendError::TooLarge,
            IngestError::Busy { retry_after_secs, .. } => SendError::Refused {
                retry_after: Some(Duration::from_secs(u64::from(retry_after_secs))),
            },
        })
    }
}

impl Follow for LocalUplink {
    async fn page(&self, position: FeedPosition) -> Result<DecisionFeed, FollowError> {
        let FeedPosition { after, snapshot, directions } = position;
        let asked = FeedQuestion { after, snapshot, directions: Some(directions) };
        let page = self.hub.follow_decisions(&self.who, asked, WAIT).await;
        let page = page.map_err(|error| FollowError::Unreachable(error.to_string()))?;
        // The same checks as for one that came by network.
        Ok(DecisionFeed::decode(&page.encode())?)
    }

    async fn report(&self, report: &EffectReport) -> Result<EffectReceipt, FollowError> {
        let now = Timestamp::from(std::time::SystemTime::now());
        let taken = self.hub.take_effect(&self.who, report.clone(), now);
        taken.map_err(|error| FollowError::Unreachable(error.to_string()))
    }
}
