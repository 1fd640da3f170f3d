//! Links that let somebody in once: made by an operator, used by whoever has
//! them, from where they are.

use std::net::IpAddr;

use palisade_event::{DecisionTarget, Endpoint, Event, EventId, EventKind, Timestamp, Untrusted};
use palisade_store::state::{KnockLink, StateError};

use super::operate::{Desk, NewAllowEntry, operates, sensor, text};
use crate::auth::{Identity, Principal, secret};
use crate::error::AdminError;

/// Links that can be used at once.
const MAX_LINKS: u32 = 1_000;
/// How long a link can be used at most: 7 days.
pub const MAX_LINK_SECS: u64 = 7 * 24 * 60 * 60;
/// How long who uses it is spared at most: 30 days.
pub const MAX_SPARED_SECS: u64 = 30 * 24 * 60 * 60;

/// A link to be made.
#[derive(Clone, Debug)]
pub struct NewKnockLink {
    /// How long it can be used, in seconds.
    pub usable_secs: u64,
    /// How long who uses it is spared, in seconds.
    pub allow_secs: u64,
    /// What it is for.
    pub note: Option<String>,
}

/// A link that was just made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MadeKnockLink {
    /// What follows `/knock/` in its address; it cannot be had again.
    pub token: String,
    /// Until when it can be used.
    pub expires_at: Timestamp,
}

/// A link that can still be used, without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenKnockLink {
    /// Names it; of no use to get in.
    pub id: String,
    /// Who made it.
    pub by: String,
    /// What it is for.
    pub note: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Until when it can be used.
    pub expires_at: Timestamp,
    /// How long who uses it is spared, in seconds.
    pub allow_secs: u64,
}

/// Somebody used a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LetIn {
    /// Who.
    pub address: IpAddr,
    /// Until when they are spared.
    pub until: Timestamp,
    /// How many targets were banned and are not any more.
    pub lifted: u64,
}

impl Desk<'_> {
    /// See [`crate::Hub::add_knock_link`].
    pub(crate) async fn add_knock_link(
        &self,
        who: &Principal,
        new: NewKnockLink,
        now: Timestamp,
    ) -> Result<MadeKnockLink, AdminError> {
        operates(who)?;
        if !(1..=MAX_LINK_SECS).contains(&new.usable_secs) {
            return Err(AdminError::Invalid("a link can be used for 1 second to 7 days".into()));
        }
        if !(1..=MAX_SPARED_SECS).contains(&new.allow_secs) {
            let rule = "who uses a link is spared for 1 second to 30 days";
            return Err(AdminError::Invalid(rule.into()));
        }
        let (id, secret) = (secret::key_id(), secret::secret());
        let millis = i64::try_from(new.usable_secs).unwrap_or(i64::MAX).saturating_mul(1000);
        let link = KnockLink {
            id: id.clone(),
            hash: secret::digest(&secret),
            made_by: who.name().to_owned(),
            account: match who.identity() {
                Identity::Account { name, .. } => Some(name.clone()),
                _ => None,
            },
            note: text(new.note, "note")?,
            created_at: now,
            expires_at: now.plus_millis(millis),
            allow_secs: new.allow_secs,
            spent: None,
        };
        match self.state.add_knock_link(&link, MAX_LINKS).await {
            Err(StateError::Full) => {
                let rule = format!("{MAX_LINKS} links can be used already; wait until some end");
                return Err(AdminError::Invalid(rule));
            }
            other => other?,
        }
        tracing::info!(by = %who.name().escape_debug(), id, "a link to be let in was made");
        Ok(MadeKnockLink { token: format!("{id}_{secret}"), expires_at: link.expires_at })
    }

    /// See [`crate::Hub::knock_links`].
    pub(crate) async fn knock_links(
        &self,
        who: &Principal,
        now: Timestamp,
    ) -> Result<Vec<OpenKnockLink>, AdminError> {
        operates(who)?;
        let links = self.state.knock_links(now, MAX_LINKS).await?;
        let open = |link: KnockLink| OpenKnockLink {
            id: link.id,
            by: link.made_by,
            note: link.note,
            created_at: link.created_at,
            expires_at: link.expires_at,
            allow_secs: link.allow_secs,
        };
        Ok(links.into_iter().map(open).collect())
    }

    /// See [`crate::Hub::remove_knock_link`].
    pub(crate) async fn remove_knock_link(
        &self,
        who: &Principal,
        id: &str,
    ) -> Result<(), AdminError> {
        operates(who)?;
        if !self.state.remove_knock_link(id).await? {
            return Err(AdminError::NotFound("link with this id that can be used".to_owned()));
        }
        tracing::info!(by = %who.name().escape_debug(), id, "a link to be let in was revoked");
        Ok(())
    }

    /// See [`crate::Hub::knock`].
    pub(crate) async fn knock(
        &self,
        token: &str,
        from: IpAddr,
        now: Timestamp,
    ) -> Result<LetIn, AdminError> {
        let refused = || AdminError::NotFound("link that can still be used".to_owned());
        let (id, given) = token.split_once('_').ok_or_else(refused)?;
        if !secret::is_plausible(token) {
            return Err(refused());
        }
        let link = self.state.knock_link(id).await?.ok_or_else(refused)?;
        if !secret::matches(given, &link.hash) {
            return Err(refused());
        }
        // Who is no operator any more lets nobody in.
        if let Some(name) = &link.account {
            let account = self.state.account(name).await?.map(|(account, _)| account);
            let may = account.is_some_and(|account| {
                !account.disabled && account.role >= palisade_store::state::Role::Operator
            });
            if !may {
                return Err(refused());
            }
        }
        let from = from.to_canonical();
        // From here on it is spent, whatever comes.
        if !self.state.spend_knock_link(id, &from.to_string(), now).await? {
            tracing::warn!(id, %from, "a link that is spent or over was used once more");
            return Err(refused());
        }
        let until = now
            .plus_millis(i64::try_from(link.allow_secs).unwrap_or(i64::MAX).saturating_mul(1000));
        let entry = NewAllowEntry {
            target: DecisionTarget::Ip(from),
            reason: Some("has used a link".to_owned()),
            duration_secs: Some(link.allow_secs),
        };
        let lifted = match self.lasting(&entry.target, until, now).await? {
            true => 0,
            false => self.allow_as(&link.made_by, entry, now).await?.1,
        };
        tracing::warn!(id, %from, by = %link.made_by.escape_debug(), "somebody is let in by a link");
        let event_id = EventId::new(now, rand::random());
        let mut event = Event::new(event_id, EventKind::KnockAccepted, now, sensor()?)
            .with("method", "link")
            .with("until", Untrusted::from(until.to_string()))
            .with("by", Untrusted::from(link.made_by.as_str()));
        event.source = Some(Endpoint::address(from));
        self.take(event).await?;
        Ok(LetIn { address: from, until, lifted })
    }

    /// Whether somebody is spared for longer already: a link must not make that shorter.
    async fn lasting(
        &self,
        target: &DecisionTarget,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<bool, AdminError> {
        let entries = self.state.allow_entries(now).await?;
        let same = entries.iter().filter(|entry| entry.target == *target);
        Ok(same.into_iter().any(|entry| entry.until.is_none_or(|end| end >= until)))
    }
}
