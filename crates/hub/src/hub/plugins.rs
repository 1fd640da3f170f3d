//! What the hub says of plug-ins.

use palisade_event::{AnalyzerName, Event, SensorId, Timestamp};
use palisade_store::query::Cursor;

use super::Hub;
use crate::auth::Principal;
use crate::error::QueryError;
use crate::plugins::PluginRows;

impl Hub {
    /// The newest report (`plugin.reported`) of each plug-in of each sensor that
    /// `who` may see, by sensor and name; of the 30 days before `now`.
    ///
    /// # Errors
    /// [`QueryError`]
    pub async fn plugin_reports(
        &self,
        who: &Principal,
        now: Timestamp,
    ) -> Result<Vec<Event>, QueryError> {
        self.inner.queries.plugin_reports(who, now).await
    }

    /// A page of rows (`plugin.recorded`) of a plug-in, of one sensor or of all;
    /// at most [`crate::MAX_PAGE_ROWS`].
    ///
    /// # Errors
    /// [`QueryError`]
    pub async fn plugin_rows(
        &self,
        who: &Principal,
        plugin: &AnalyzerName,
        sensor: Option<&SensorId>,
        limit: usize,
        after: Option<Cursor>,
    ) -> Result<PluginRows, QueryError> {
        self.inner.queries.plugin_rows(who, plugin, sensor, limit, after).await
    }
}
