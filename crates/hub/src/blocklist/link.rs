//! Links to block lists for whoever can send no key: signed, with an end, and
//! revocable.
//!
//! The signature is HMAC-SHA256 over path, query, end and id, with a secret
//! that all hubs on one state database have. It is kept nowhere: who made a
//! link sees it once.

use hmac::{Hmac, KeyInit as _, Mac as _};
use palisade_event::{MAX_DURATION_SECS, MAX_NOTE_BYTES, Timestamp};
use palisade_store::query::Query;
use palisade_store::state::{BlocklistLink, StateError};
use sha2::Sha256;

use super::{BlocklistPass, Blocklists};
use crate::auth::{Permission, Principal};
use crate::error::AdminError;

/// Most links that work at once.
pub const MAX_LINKS: u32 = 1_000;
/// Length of the secret.
const SECRET_BYTES: usize = 32;
/// Longest id, in bytes.
const MAX_ID_BYTES: usize = 32;

/// A link to be made.
#[derive(Clone, Debug)]
pub struct NewLink {
    /// The path that it leads to; part of what is signed.
    pub path: String,
    /// The format there, for listings.
    pub format: String,
    /// Which bans, in the query language; empty for all.
    pub query: String,
    /// Who has it.
    pub note: Option<String>,
    /// For how long it works, in seconds.
    pub duration_secs: u64,
}

/// A link as it comes with a request.
#[derive(Clone, Copy, Debug)]
pub struct SignedLink<'a> {
    /// The path that was asked for.
    pub path: &'a str,
    /// The query that was asked for.
    pub query: &'a str,
    /// The link's id.
    pub id: &'a str,
    /// When it ends, in seconds since 1970.
    pub expires: i64,
    /// Its signature, in hex.
    pub signature: &'a str,
}

impl Blocklists {
    async fn mac(&self, link: &SignedLink<'_>) -> Result<Hmac<Sha256>, StateError> {
        let secret = self.secret.get_or_try_init(|| async {
            let fresh = hex(&rand::random::<[u8; SECRET_BYTES]>());
            let secret = self.state.link_secret(&fresh).await?;
            Ok::<_, StateError>(secret.into_bytes().into_boxed_slice())
        });
        let mac = Hmac::<Sha256>::new_from_slice(secret.await?);
        let mut mac = mac.map_err(|_| StateError::Unreadable("secret of links"))?;
        // The length keeps what is signed from being cut in another place.
        let SignedLink { path, query, id, expires, .. } = link;
        mac.update(format!("{path}\n{}\n{query}\n{expires}\n{id}", query.len()).as_bytes());
        Ok(mac)
    }

    /// Whether a link is ours, works at `now` and was not revoked.
    pub(crate) async fn open(
        &self,
        link: &SignedLink<'_>,
        now: Timestamp,
    ) -> Result<Option<BlocklistPass>, StateError> {
        let Some(signature) = unhex(link.signature) else { return Ok(None) };
        if link.expires.saturating_mul(1000) <= now.as_millis() || link.id.len() > MAX_ID_BYTES {
            return Ok(None);
        }
        // In constant time.
        if self.mac(link).await?.verify_slice(&signature).is_err() {
            return Ok(None);
        }
        Ok(self.state.link(link.id, now).await?.map(|_| BlocklistPass(())))
    }

    /// A new link and its signature.
    pub(crate) async fn add_link(
        &self,
        who: &Principal,
        new: NewLink,
        now: Timestamp,
    ) -> Result<(BlocklistLink, String), AdminError> {
        operates(who)?;
        if new.duration_secs == 0 || new.duration_secs > MAX_DURATION_SECS {
            return Err(AdminError::Invalid("a link works from 1 second to 10 years".to_owned()));
        }
        Query::parse(&new.query, now).map_err(|error| AdminError::Invalid(error.to_string()))?;
        let note = new.note.map(|note| note.trim().to_owned()).filter(|note| !note.is_empty());
        if note
            .as_ref()
            .is_some_and(|note| note.len() > MAX_NOTE_BYTES || note.chars().any(char::is_control))
        {
            return Err(AdminError::Invalid(format!(
                "a note has at most {MAX_NOTE_BYTES} bytes and no control characters"
            )));
        }
        let secs = i64::try_from(new.duration_secs).unwrap_or(i64::MAX);
        let expires = now.as_millis().div_euclid(1000).saturating_add(secs);
        let link = BlocklistLink {
            id: format!("{:016x}", rand::random::<u64>()),
            format: new.format,
            query: new.query,
            note,
            by: who.name().to_owned(),
            created_at: now,
            expires_at: Timestamp::from_millis(expires.saturating_mul(1000)),
        };
        let signed = SignedLink {
            path: &new.path,
            query: &link.query,
            id: &link.id,
            expires,
            signature: "",
        };
        let signature = hex(&self.mac(&signed).await?.finalize().into_bytes());
        match self.state.add_link(&link, MAX_LINKS).await {
            Err(StateError::Full) => Err(AdminError::Invalid(format!(
                "at most {MAX_LINKS} links work at once; revoke one first"
            ))),
            other => Ok(other.map(|()| (link, signature))?),
        }
    }

    pub(crate) async fn links(
        &self,
        who: &Principal,
        now: Timestamp,
    ) -> Result<Vec<BlocklistLink>, AdminError> {
        operates(who)?;
        Ok(self.state.links(now).await?)
    }

    pub(crate) async fn remove_link(&self, who: &Principal, id: &str) -> Result<(), AdminError> {
        operates(who)?;
        if self.state.remove_link(id).await? {
            return Ok(());
        }
        Err(AdminError::NotFound("link with this id".to_owned()))
    }
}

fn operates(who: &Principal) -> Result<(), AdminError> {
    if who.may(Permission::Operate) {
        return Ok(());
    }
    Err(AdminError::Denied(
        "this needs the role operator or admin, or a key with the scope 'admin'",
    ))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// 32 bytes from 64 hex digits.
fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 {
        return None;
    }
    for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        let digits = std::str::from_utf8(digits).ok()?;
        *byte = digits
            .bytes()
            .all(|digit| digit.is_ascii_hexdigit())
            .then(|| u8::from_str_radix(digits, 16).ok())??;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_sixty_four_hex_digits() {
        let bytes: [u8; 32] = std::array::from_fn(|place| place as u8 * 7);
        assert_eq!(unhex(&hex(&bytes)), Some(bytes));
        for bad in ["", "00", &"0".repeat(65), &"+f".repeat(32), &"é".repeat(32)] {
            assert_eq!(unhex(bad), None, "{bad}");
        }
    }
}
