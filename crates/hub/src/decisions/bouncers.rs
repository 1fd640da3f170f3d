//! Bouncers as people see them: who asks, when it last did, and what it says
//! of its work.

use std::net::IpAddr;

use palisade_event::Timestamp;
use palisade_store::state::{Bouncer, BouncerUsage};

use super::operate::reads;
use super::pull::{bounces, id, short};
use super::{Decisions, MAX_BOUNCERS};
use crate::auth::Principal;
use crate::error::{AdminError, QueryError};

impl Decisions {
    /// See [`crate::Hub::bouncers`].
    pub(crate) async fn bouncers(&self, who: &Principal) -> Result<Vec<Bouncer>, AdminError> {
        reads(who)?;
        Ok(self.state.bouncers(MAX_BOUNCERS).await?)
    }

    /// See [`crate::Hub::bouncer_usage`].
    pub(crate) async fn usage(
        &self,
        who: &Principal,
        from: IpAddr,
        agent: &str,
        usage: BouncerUsage,
        now: Timestamp,
    ) -> Result<(), QueryError> {
        bounces(who)?;
        let usage = BouncerUsage {
            kind: short(&usage.kind),
            version: short(&usage.version),
            os: usage.os.as_deref().map(short).filter(|os| !os.is_empty()),
            told_at: Some(now),
            ..usage
        };
        self.metrics.bouncer_usage(who.name(), &usage);
        let bouncer = Bouncer {
            id: id(who, from),
            name: who.name().to_owned(),
            address: from.to_string(),
            agent: short(agent),
            // Where it has never asked, it is told everything when it does.
            last_seq: 0,
            last_pull: Timestamp::from_millis(0),
            usage: Some(usage),
        };
        Ok(self.state.set_bouncer_usage(&bouncer).await?)
    }
}
