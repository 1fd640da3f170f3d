//! The façade's part for decisions: what people do about them, what agents and
//! bouncers are told of them.

use std::net::IpAddr;
use std::time::Duration;

use palisade_event::{DecisionTarget, EffectReceipt, EffectReport, Event, Timestamp};
use palisade_store::state::{
    AllowEntry, Bouncer, BouncerUsage, Cover, DecisionCounts, DecisionQuery, DecisionRecord,
};

use super::Hub;
use crate::auth::Principal;
use crate::decisions::{
    Ban, Desk, FeedPage, FeedQuestion, HostEffect, LetIn, MadeKnockLink, NewAllowEntry,
    NewKnockLink, OpenKnockLink, Pull, TargetEffect, Told,
};
use crate::error::{AdminError, QueryError, StateError};
use crate::outbound::{News, news};

/// What comes of decisions on the hosts.
#[derive(Clone, Debug)]
pub struct DecisionEffect {
    /// Each agent, and what it does about the target that is asked about, where
    /// that is banned.
    pub hosts: Vec<(HostEffect, Option<TargetEffect>)>,
    /// The last number that a decision was given.
    pub head: u64,
    /// The directions that hold now.
    pub directions: u64,
    /// Whether the target is banned.
    pub is_active: bool,
    /// Packets of the target that were dropped on all hosts.
    pub packets: u64,
}

impl Hub {
    fn desk(&self) -> Desk<'_> {
        let inner = &self.inner;
        Desk { state: &inner.state, ingest: &inner.ingest, decisions: &inner.decisions }
    }

    /// A page of decisions, the last noted first. Needs
    /// [`crate::Permission::Read`] and the private domain.
    ///
    /// # Errors
    /// [`AdminError`]
    pub async fn decisions(
        &self,
        who: &Principal,
        query: &DecisionQuery,
        limit: u32,
    ) -> Result<Vec<DecisionRecord>, AdminError> {
        self.desk().list(who, query, limit).await
    }

    /// Bans somebody on all machines, by hand. Needs [`crate::Permission::Operate`].
    ///
    /// # Errors
    /// [`AdminError`]; the rules of targets, lengths and texts are in the message.
    pub async fn ban(
        &self,
        who: &Principal,
        ban: Ban,
        now: Timestamp,
    ) -> Result<DecisionRecord, AdminError> {
        self.desk().ban(who, ban, now).await
    }

    /// Ends all decisions about a target on all machines, also those that are
    /// on their way; how many were in force. Needs [`crate::Permission::Operate`].
    ///
    /// # Errors
    /// [`AdminError`]
    pub async fn lift(
        &self,
        who: &Principal,
        target: DecisionTarget,
        reason: Option<String>,
        now: Timestamp,
    ) -> Result<u64, AdminError> {
        self.desk().lift(who, target, reason, now).await
    }

    /// The hub's allowlist, by target. Needs [`crate::Permission::Read`] and the
    /// private domain.
    ///
    /// # Errors
    /// [`AdminError`]
    pub async fn allowlist(
        &self,
        who: &Principal,
        now: Timestamp,
    ) -> Result<Vec<AllowEntry>, AdminError> {
        self.desk().allowlist(who, now).await
    }

    /// Spares somebody from now on, and ends what is in force about them: the
    /// entry, and how many targets were freed. Needs [`crate::Permission::Operate`].
    ///
    /// # Errors
    /// [`AdminError`]
    pub async fn allow(
        &self,
        who: &Principal,
        new: NewAllowEntry,
        now: Timestamp,
    ) -> Result<(AllowEntry, u64), AdminError> {
        self.desk().allow(who, new, now).await
    }

    /// Removes an entry of the allowlist; what it has ended stays over. Needs
    /// [`crate::Permission::Operate`].
    ///
    /// # Errors
    /// [`AdminError`]
    pub async fn disallow(
        &self,
        who: &Principal,
        target: &DecisionTarget,
    ) -> Result<(), AdminError> {
        self.desk().disallow(who, target, Timestamp::from(std::time::SystemTime::now())).await
    }

    /// Makes a link that lets in whoever uses it, once. Needs
    /// [`crate::Permission::Operate`].
    ///
    /// # Errors
    /// [`AdminError`]
    pub async fn add_knock_link(
        &self,
        who: &Principal,
        new: NewKnockLink,
        now: Timestamp,
    ) -> Result<MadeKnockLink, AdminError> {
        self.desk().add_knock_link(who, new, now).await
    }

    /// Such links that can still be used, the last made first. Needs
    /// [`crate::Permission::Operate`].
    ///
    /// # Errors
    /// [`AdminError`]
    pub async fn knock_links(
        &self,
        who: &Principal,
        now: Timestamp,
    ) -> Result<Vec<OpenKnockLink>, AdminError> {
        self.desk().knock_links(who, now).await
    }

    /// Revokes such a link, at once on all hubs. Needs [`crate::Permission::Operate`].
    ///
    /// # Errors
    /// [`AdminError::NotFound`] where none that can be used has the id.
    pub async fn remove_knock_link(&self, who: &Principal, id: &str) -> Result<(), AdminError> {
        self.desk().remove_knock_link(who, id).await
    }

    /// Uses such a link from an address: it is spared for a while, and bans of it
    /// end. Whoever has the link needs nothing else.
    ///
    /// # Errors
    /// [`AdminError::NotFound`] where it is none, is over or spent: all alike.
    pub async fn knock(
        &self,
        token: &str,
        from: IpAddr,
        now: Timestamp,
    ) -> Result<LetIn, AdminError> {
        self.desk().knock(token, from, now).await
    }

    /// What has changed after a cursor, waiting up to `wait` while nothing has;
    /// without a cursor, or with one that the hub does not know, what is in
    /// force. `snapshot` is for the pages after the first of those. Needs
    /// [`crate::Permission::Decisions`] and the private domain.
    ///
    /// # Errors
    /// [`QueryError`]
    pub async fn decision_feed(
        &self,
        who: &Principal,
        after: Option<u64>,
        snapshot: Option<u64>,
        wait: Duration,
    ) -> Result<FeedPage, QueryError> {
        let asked = FeedQuestion { after, snapshot, directions: None };
        self.inner.decisions.feed(who, asked, wait).await
    }

    /// The same for those who also know of directions: whom the hub spares, and
    /// which scenarios it has switched. A page has them where the asker has others.
    ///
    /// # Errors
    /// [`QueryError`]
    pub async fn follow_decisions(
        &self,
        who: &Principal,
        asked: FeedQuestion,
        wait: Duration,
    ) -> Result<FeedPage, QueryError> {
        self.inner.decisions.feed(who, asked, wait).await
    }

    /// An agent tells what it carries out. Needs [`crate::Permission::Decisions`]
    /// and the private domain.
    ///
    /// # Errors
    /// [`QueryError`]
    pub fn take_effect(
        &self,
        who: &Principal,
        report: EffectReport,
        now: Timestamp,
    ) -> Result<EffectReceipt, QueryError> {
        self.inner.decisions.take_effect(who, report, now)
    }

    /// What agents have told of what they carry out, by name; of a target also
    /// what they do about it. Needs [`crate::Permission::Read`] and the private
    /// domain.
    ///
    /// # Errors
    /// [`AdminError`]
    pub async fn decision_effect(
        &self,
        who: &Principal,
        target: Option<&DecisionTarget>,
        now: Timestamp,
    ) -> Result<DecisionEffect, AdminError> {
        crate::decisions::reads(who)?;
        let active = match target {
            Some(target) => self.inner.state.active_about(&[target.to_string()], now).await?,
            None => Vec::new(),
        };
        // All of them act alike on a host; the last one must have been heard.
        let last = active.iter().filter_map(|record| record.seq).max();
        let (hosts, head, directions) = self.inner.decisions.effects(target, now);
        let of = |host: HostEffect| {
            let about = target.zip(last).map(|(target, seq)| host.about(target, seq));
            (host, about)
        };
        let packets = target.map(|target| self.inner.decisions.packets(&[*target]));
        Ok(DecisionEffect {
            hosts: hosts.into_iter().map(of).collect(),
            head,
            directions,
            is_active: last.is_some(),
            packets: packets.and_then(|all| all.first().copied()).unwrap_or(0),
        })
    }

    /// Packets that bans of targets have dropped on all hosts, as far as agents
    /// have told.
    #[must_use]
    pub fn dropped_packets(&self, targets: &[DecisionTarget]) -> Vec<u64> {
        self.inner.decisions.packets(targets)
    }

    /// How many decisions there are of each sort. Needs
    /// [`crate::Permission::Read`] and the private domain.
    ///
    /// # Errors
    /// [`AdminError`]
    pub async fn decision_counts(
        &self,
        who: &Principal,
        now: Timestamp,
    ) -> Result<DecisionCounts, AdminError> {
        crate::decisions::reads(who)?;
        Ok(self.inner.state.decision_counts(now).await?)
    }

    /// What there is to tell a webhook of an event.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn decision_news(&self, event: &Event) -> Result<News, StateError> {
        Ok(news(&self.inner.state, event).await?)
    }

    /// What a CrowdSec bouncer has not heard yet; at its start all that is in
    /// force. Needs [`crate::Permission::Bouncer`].
    ///
    /// # Errors
    /// [`QueryError`]
    pub async fn bouncer_pull(
        &self,
        who: &Principal,
        from: IpAddr,
        agent: &str,
        startup: bool,
        now: Timestamp,
    ) -> Result<Pull, QueryError> {
        self.inner.decisions.pull(who, from, agent, startup, now).await
    }

    /// Bouncers by name, the first 10,000. Needs [`crate::Permission::Read`] and
    /// the private domain.
    ///
    /// # Errors
    /// [`AdminError`]
    pub async fn bouncers(&self, who: &Principal) -> Result<Vec<Bouncer>, AdminError> {
        self.inner.decisions.bouncers(who).await
    }

    /// Keeps what a bouncer tells of itself, instead of what it told before.
    /// Needs [`crate::Permission::Bouncer`].
    ///
    /// # Errors
    /// [`QueryError`]
    pub async fn bouncer_usage(
        &self,
        who: &Principal,
        from: IpAddr,
        agent: &str,
        usage: BouncerUsage,
        now: Timestamp,
    ) -> Result<(), QueryError> {
        self.inner.decisions.usage(who, from, agent, usage, now).await
    }

    /// A bouncer has been sent what it had not heard.
    ///
    /// # Errors
    /// [`QueryError`]: it is told the same once more.
    pub async fn bouncer_told(&self, told: &Told) -> Result<(), QueryError> {
        self.inner.decisions.told(told).await
    }

    /// Networks that are banned now. Needs [`crate::Permission::Bouncer`].
    ///
    /// # Errors
    /// [`QueryError`]
    pub async fn bouncer_networks(
        &self,
        who: &Principal,
        now: Timestamp,
    ) -> Result<Vec<DecisionRecord>, QueryError> {
        self.inner.decisions.networks(who, now).await
    }

    /// Decisions in force about a target, or all. Needs
    /// [`crate::Permission::Bouncer`].
    ///
    /// # Errors
    /// [`QueryError`]
    pub async fn bouncer_asks(
        &self,
        who: &Principal,
        target: Option<&DecisionTarget>,
        cover: Cover,
        now: Timestamp,
    ) -> Result<Vec<DecisionRecord>, QueryError> {
        self.inner.decisions.about(who, target, cover, now).await
    }
}
