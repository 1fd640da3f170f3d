//! The façade's part for block lists and the links to them.

use palisade_event::Timestamp;
use palisade_store::query::Query;
use palisade_store::state::BlocklistLink;

use super::Hub;
use crate::auth::Principal;
use crate::blocklist::{Blocklist, BlocklistPass, Blocklists, NewLink, SignedLink};
use crate::error::{AdminError, QueryError, StateError};

impl Hub {
    /// Whether a credential may have block lists: [`crate::Permission::Read`],
    /// `Decisions` or `Bouncer`, and the private domain.
    ///
    /// # Errors
    /// [`QueryError::Forbidden`]
    pub fn blocklist_pass(&self, who: &Principal) -> Result<BlocklistPass, QueryError> {
        Blocklists::pass(who)
    }

    /// The same for a link; `None` where it is not ours, over or revoked.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn open_blocklist_link(
        &self,
        link: &SignedLink<'_>,
        now: Timestamp,
    ) -> Result<Option<BlocklistPass>, StateError> {
        Ok(self.inner.blocklists.open(link, now).await?)
    }

    /// The query of a link that works, whoever asks: nothing is opened by it.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn blocklist_link_query(
        &self,
        id: &str,
        now: Timestamp,
    ) -> Result<Option<String>, StateError> {
        Ok(self.inner.state.link(id, now).await?.map(|link| link.query))
    }

    /// Who is banned, as far as a query matches. Where many are, it may be some
    /// seconds behind.
    ///
    /// # Errors
    /// [`QueryError`]
    pub async fn blocklist(
        &self,
        _pass: BlocklistPass,
        query: &Query,
    ) -> Result<Blocklist, QueryError> {
        self.inner.blocklists.list(query).await
    }

    /// The number of the last change of what is in force; the end of a ban in
    /// its time is none.
    #[must_use]
    pub fn blocklist_version(&self) -> u64 {
        self.inner.blocklists.version()
    }

    /// Makes a link, and its signature: the only time it can be seen. Needs
    /// [`crate::Permission::Operate`].
    ///
    /// # Errors
    /// [`AdminError`]
    pub async fn add_blocklist_link(
        &self,
        who: &Principal,
        new: NewLink,
        now: Timestamp,
    ) -> Result<(BlocklistLink, String), AdminError> {
        self.inner.blocklists.add_link(who, new, now).await
    }

    /// Links that work, the newest first. Needs [`crate::Permission::Operate`].
    ///
    /// # Errors
    /// [`AdminError`]
    pub async fn blocklist_links(
        &self,
        who: &Principal,
        now: Timestamp,
    ) -> Result<Vec<BlocklistLink>, AdminError> {
        self.inner.blocklists.links(who, now).await
    }

    /// Revokes a link. Needs [`crate::Permission::Operate`].
    ///
    /// # Errors
    /// [`AdminError`]
    pub async fn remove_blocklist_link(&self, who: &Principal, id: &str) -> Result<(), AdminError> {
        self.inner.blocklists.remove_link(who, id).await
    }
}
