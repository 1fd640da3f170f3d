//! The façade's part for machines that tell of themselves.

use std::collections::BTreeMap;
use std::net::IpAddr;

use palisade_event::{Event, EventKind, SensorId, Timestamp};
use palisade_store::query::{Cursor, Field, Filter, Query, TimeRange};
use palisade_store::state::{HostSource, HostUpdate};
use serde_json::{Map, Value};

use super::Hub;
use crate::auth::{Identity, Permission, Principal};
use crate::error::{AdminError, QueryError, StateError};
use crate::hosts::{
    Clear, DayRange, Findings, FindingsQuestion, HostInfo, HostInventory, HostLog, HostSamples,
    NewSuppression, PushError, SuppressionInfo, read, readable,
};

/// What counts as a change.
const CHANGES: [EventKind; 6] = [
    EventKind::HostChanged,
    EventKind::FileChanged,
    EventKind::FindingOpened,
    EventKind::FindingClosed,
    EventKind::HostAlerted,
    EventKind::HostRecovered,
];

/// What changed on machines.
#[derive(Clone, Debug, Default)]
pub struct HostChanges {
    /// Events with the machines that they are about, the newest first.
    pub changes: Vec<(String, Event)>,
    /// Give this to get the next page; `None` where this was the last.
    pub next: Option<Cursor>,
}

impl Hub {
    /// Machines that tell of themselves, by name. Needs to read private events.
    ///
    /// # Errors
    /// [`QueryError`]
    pub async fn hosts(
        &self,
        who: &Principal,
        now: Timestamp,
    ) -> Result<Vec<HostInfo>, QueryError> {
        self.inner.hosts.list(who, &self.inner.queries, now).await
    }

    /// One of them with its inventory.
    ///
    /// # Errors
    /// [`QueryError`]
    pub async fn host(
        &self,
        who: &Principal,
        id: &str,
        now: Timestamp,
    ) -> Result<Option<HostInventory>, QueryError> {
        self.inner.hosts.one(who, &self.inner.queries, id, now).await
    }

    /// Forgets a machine; its events stay. Needs [`Permission::Operate`].
    ///
    /// # Errors
    /// [`AdminError`]
    pub async fn forget_host(&self, who: &Principal, id: &str) -> Result<(), AdminError> {
        if !who.may(Permission::Operate) || readable(who).is_err() {
            return Err(AdminError::Denied("this needs the role operator or admin"));
        }
        if self.inner.hosts.forget(id).await? {
            return Ok(());
        }
        let id: String = id.chars().take(64).flat_map(char::escape_debug).collect();
        Err(AdminError::NotFound(format!("host '{id}'")))
    }

    /// The numbers of a machine between two instants, in at most so many
    /// intervals; `None` where there is no such machine.
    ///
    /// # Errors
    /// [`QueryError`]
    pub async fn host_samples(
        &self,
        who: &Principal,
        id: &str,
        range: (Timestamp, Timestamp),
        points: u32,
    ) -> Result<Option<HostSamples>, QueryError> {
        self.inner.hosts.samples(who, &self.inner.queries, id, range, points).await
    }

    /// What changed on machines, or on one of them; `None` where there is no such
    /// machine.
    ///
    /// # Errors
    /// [`QueryError`]
    pub async fn host_changes(
        &self,
        who: &Principal,
        host: Option<&str>,
        limit: usize,
        after: Option<Cursor>,
    ) -> Result<Option<HostChanges>, QueryError> {
        readable(who)?;
        let kinds = CHANGES.iter().map(|kind| kind.as_str().to_owned()).collect();
        let mut all = vec![Filter::In(Field::Kind, kinds)];
        if let Some(host) = host {
            let Some(of_host) = self.inner.hosts.events_of(host).await? else { return Ok(None) };
            all.push(of_host);
        }
        let query = Query { range: TimeRange::default(), filter: Filter::And(all) };
        let page = self.inner.queries.search(who, query, limit, after).await?;
        let changes = page.events.into_iter().map(|event| (read::identity(&event).0, event));
        Ok(Some(HostChanges { changes: changes.collect(), next: page.next }))
    }

    /// What audits found on all machines, or on one.
    ///
    /// # Errors
    /// [`QueryError`]
    pub async fn findings(
        &self,
        who: &Principal,
        question: &FindingsQuestion,
        now: Timestamp,
    ) -> Result<Findings, QueryError> {
        self.inner.hosts.findings(who, question, now).await
    }

    /// What is not counted now.
    ///
    /// # Errors
    /// [`QueryError`]
    pub async fn suppressions(
        &self,
        who: &Principal,
        now: Timestamp,
    ) -> Result<Vec<SuppressionInfo>, QueryError> {
        self.inner.hosts.suppressions(who, now).await
    }

    /// Does not count a check for a while. Needs [`Permission::Operate`].
    ///
    /// # Errors
    /// [`AdminError`]
    pub async fn suppress(
        &self,
        who: &Principal,
        new: NewSuppression,
        now: Timestamp,
    ) -> Result<SuppressionInfo, AdminError> {
        self.inner.hosts.suppress(who, new, now).await
    }

    /// Counts it again. Needs [`Permission::Operate`].
    ///
    /// # Errors
    /// [`AdminError`]
    pub async fn count_again(&self, who: &Principal, id: &str) -> Result<(), AdminError> {
        self.inner.hosts.count_again(who, id).await
    }

    /// Writes down now what is new about machines, and looks for silent ones, as
    /// the hub does by itself.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn look_at_hosts(&self, now: Timestamp) -> Result<(), StateError> {
        let inner = &self.inner;
        inner.hosts.flush().await?;
        inner.hosts.watch_clocks(&inner.ingest, now).await?;
        if inner.silent_millis == 0 {
            return Ok(());
        }
        inner.hosts.watch(&inner.ingest, inner.silent_millis, now).await
    }

    /// Notes what time an agent says it is: a clock that is off by more than a minute
    /// becomes an alert about its machine.
    pub fn note_clock(&self, who: &Principal, theirs: Timestamp, now: Timestamp) {
        if let Identity::Key { sensor, .. } = who.identity() {
            self.inner.hosts.clocks.note(sensor, theirs, now);
        }
    }

    /// Takes what a machine says of itself in Glimpse's dialect. Needs
    /// [`Permission::Glimpse`].
    ///
    /// # Errors
    /// [`PushError`]: nothing was taken.
    pub async fn glimpse_info(
        &self,
        who: &Principal,
        from: Option<IpAddr>,
        address: IpAddr,
        data: Map<String, Value>,
        now: Timestamp,
    ) -> Result<(), PushError> {
        let inner = &self.inner;
        inner.hosts.glimpse_info(&inner.ingest, who, from, (address, data), now).await
    }

    /// Takes an entry of a machine's log in Glimpse's dialect. Needs
    /// [`Permission::Glimpse`].
    ///
    /// # Errors
    /// [`PushError`]: nothing was taken.
    pub async fn glimpse_log(
        &self,
        who: &Principal,
        from: Option<IpAddr>,
        address: IpAddr,
        log: Map<String, Value>,
        now: Timestamp,
    ) -> Result<(), PushError> {
        let inner = &self.inner;
        inner.hosts.glimpse_log(&inner.ingest, who, from, (address, log), now).await
    }

    /// The addresses of the machines that `who` may see: those that were told of
    /// with the same key, or all for a person.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn glimpse_servers(&self, who: &Principal) -> Result<Vec<IpAddr>, StateError> {
        let servers = self.inner.hosts.servers(who).await?;
        Ok(servers.into_iter().filter_map(|host| host.address).collect())
    }

    /// What the machine of an address says of itself.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn glimpse_server(
        &self,
        who: &Principal,
        address: IpAddr,
    ) -> Result<Option<Map<String, Value>>, StateError> {
        self.inner.hosts.server_info(who, address).await
    }

    /// The first entries of the log of an address' machine; `None` where there is no
    /// such machine.
    ///
    /// # Errors
    /// [`QueryError`]
    pub async fn glimpse_logs(
        &self,
        who: &Principal,
        address: IpAddr,
        most: usize,
        now: Timestamp,
    ) -> Result<Option<Vec<HostLog>>, QueryError> {
        let inner = &self.inner;
        inner.hosts.server_logs(&inner.queries, who, address, most, now).await
    }

    /// Clears logs or forgets machines that were told of in Glimpse's dialect;
    /// whether there was anything. Needs [`Permission::Glimpse`] or
    /// [`Permission::Operate`].
    ///
    /// # Errors
    /// [`QueryError`]
    pub async fn glimpse_clear(
        &self,
        who: &Principal,
        what: Clear,
        now: Timestamp,
    ) -> Result<bool, QueryError> {
        self.inner.hosts.clear(who, what, now).await
    }

    /// SSH logins that were tried on a day, by sensor, without those that had begun
    /// before.
    ///
    /// # Errors
    /// [`QueryError`]
    pub async fn ssh_attempts(
        &self,
        who: &Principal,
        day: DayRange,
        now: Timestamp,
    ) -> Result<BTreeMap<String, u64>, QueryError> {
        let inner = &self.inner;
        inner.hosts.attempts.on(who, &inner.queries, day, now).await
    }

    /// An AlphaClient that the settings name has answered.
    pub fn alpha_heard(&self, name: &str, now: Timestamp) {
        let Ok(sensor) = SensorId::new("alpha") else { return };
        let id = format!("{sensor}{}{name}", read::BELOW);
        let mut update = HostUpdate::new(id, sensor, HostSource::Alpha);
        (update.name, update.seen) = (Some(name.to_owned()), Some(now));
        self.inner.hosts.add(update);
    }
}
