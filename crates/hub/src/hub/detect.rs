//! The façade's part for detection: scenarios, what they have found, switches,
//! explanations. What they mean is in [`crate::detection`].

use palisade_event::{SensorId, Timestamp};
use palisade_rules::{ExplainedLine, LogFormat, Shown, Switches};
use palisade_store::query::Query;
use tokio::sync::watch;

use super::Hub;
use crate::auth::Principal;
use crate::detection::{DetectionSetup, ScenarioList};
use crate::error::{AdminError, QueryError};

impl Hub {
    /// Says which scenarios are in use here. Before this there are none.
    pub fn set_up_detection(&self, setup: DetectionSetup) {
        let correlate = &self.inner.correlate;
        let tell = correlate.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        if let Some(tell) = tell {
            // An error means that the hub is ending.
            let _ = tell.send(setup.hub.clone());
        }
        self.inner.detection.set_up(setup);
    }

    /// Scenarios whose simulation was switched, for the detector of this process.
    #[must_use]
    pub fn switches(&self) -> watch::Receiver<Switches> {
        self.inner.detection.switches()
    }

    /// The scenarios with their alerts among the events that a query finds.
    /// Needs the right to see private events.
    ///
    /// # Errors
    /// [`QueryError`]
    pub async fn scenarios(
        &self,
        who: &Principal,
        query: Query,
    ) -> Result<ScenarioList, QueryError> {
        let now = Timestamp::from(std::time::SystemTime::now());
        let followers = self.inner.decisions.followers(now);
        self.inner.detection.list(&self.inner.queries, who, query, &followers).await
    }

    /// Turns simulation of a scenario on or off, for good. Gives the detectors
    /// that follow: that of this process, and agents that are there. Needs
    /// [`crate::Permission::Administer`].
    ///
    /// # Errors
    /// [`AdminError`]
    pub async fn simulate(
        &self,
        who: &Principal,
        scenario: &str,
        simulated: bool,
        now: Timestamp,
    ) -> Result<Vec<SensorId>, AdminError> {
        let here = self.inner.detection.simulate(who, scenario, simulated, now).await?;
        self.inner.decisions.direct(now).await;
        let mut followers = self.inner.decisions.followers(now);
        followers.retain(|follower| here.as_ref() != Some(follower));
        Ok(here.into_iter().chain(followers).collect())
    }

    /// Each step from lines of a log to decisions; at most
    /// [`crate::MAX_EXPLAINED_LINES`], counted together. Needs the right to see
    /// private events.
    ///
    /// # Errors
    /// [`QueryError`]
    pub async fn explain(
        &self,
        who: &Principal,
        lines: Vec<Vec<u8>>,
        how: (Option<LogFormat>, Shown),
        now: Timestamp,
    ) -> Result<Vec<ExplainedLine>, QueryError> {
        self.inner.detection.explain(who, lines, how, now).await
    }
}
