//! The broker: who may sign in, and what all its connections share.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use palisade_event::Domain;
use palisade_hub::{Hub, Principal, read_secret};
use subtle::ConstantTimeEq as _;

use super::codec::{self, DIGEST_BYTES};
use super::config::Config;
use super::rights::Pattern;
use super::subscriber::Subscribers;
use crate::limits::RateLimit;
use crate::router::App;

/// Wrong secrets that one address may try at once.
const WRONG_BURST: u32 = 10;
/// Wrong secrets that an address regains a second.
const WRONG_PER_SEC: f64 = 1.0 / 6.0;

/// What a client may do once it is signed in.
pub(crate) struct Rights {
    pub(crate) ident: Box<[u8]>,
    secret: Box<[u8]>,
    publish: Vec<Pattern>,
    subscribe: Vec<Pattern>,
    pub(crate) who: Principal,
    pub(crate) domain: Domain,
}

impl Rights {
    /// Whether a frame names its sender, and a channel that it may publish to.
    pub(super) fn may_publish(&self, ident: &[u8], channel: &[u8]) -> Result<(), String> {
        self.is(ident)?;
        let allowed = self.publish.iter().any(|right| right.matches(channel));
        if allowed { Ok(()) } else { Err(forbidden("publish", channel)) }
    }

    /// The same for a channel or pattern to subscribe to.
    pub(super) fn may_subscribe(&self, ident: &[u8], channel: &[u8]) -> Result<Pattern, String> {
        self.is(ident)?;
        let wanted = Pattern::of(channel);
        let allowed = |wanted: &Pattern| self.subscribe.iter().any(|right| right.covers(wanted));
        wanted.filter(allowed).ok_or_else(|| forbidden("subscribe", channel))
    }

    fn is(&self, ident: &[u8]) -> Result<(), String> {
        match *ident == *self.ident {
            true => Ok(()),
            false => Err(format!("invalid ident in message: {}", ident.escape_ascii())),
        }
    }
}

fn forbidden(what: &str, channel: &[u8]) -> String {
    format!("not allowed to {what} here: channel {}", channel.escape_ascii())
}

/// Shared by all connections.
pub(crate) struct Broker {
    pub(crate) app: App,
    pub(crate) name: Box<[u8]>,
    idents: HashMap<Box<[u8]>, Arc<Rights>>,
    pub(crate) subscribers: Subscribers,
    wrong: RateLimit,
}

impl Broker {
    /// Reads the secrets. Blocks.
    ///
    /// # Errors
    /// A secret cannot be read; one sentence that names its place.
    pub(crate) fn new(app: &App, config: &Config) -> Result<Self, String> {
        let mut idents = HashMap::new();
        for ident in &config.idents {
            let secret = read_secret(ident.secret_file.as_deref(), ident.secret_env.as_deref())
                .map_err(|error| {
                    format!("hpfeeds ident '{}': {error}", ident.ident.escape_debug())
                })?;
            let sensor = ident.sensor().ok_or_else(|| "an ident has no sensor".to_owned())?;
            let patterns =
                |texts: &[String]| texts.iter().filter_map(|t| Pattern::new(t)).collect();
            let name: Box<[u8]> = ident.ident.as_bytes().into();
            let rights = Rights {
                ident: name.clone(),
                secret: secret.into_bytes().into(),
                publish: patterns(&ident.publish),
                subscribe: patterns(&ident.subscribe),
                who: Principal::publisher(sensor, ident.domain),
                domain: ident.domain,
            };
            idents.insert(name, Arc::new(rights));
        }
        Ok(Self {
            app: app.clone(),
            name: config.name.as_bytes().into(),
            idents,
            subscribers: Subscribers::default(),
            wrong: RateLimit::new(WRONG_BURST, WRONG_PER_SEC),
        })
    }

    pub(crate) fn hub(&self) -> &Hub {
        &self.app.hub
    }

    /// Who signs in, if the secret is right. Takes as long for an ident that
    /// does not exist.
    pub(crate) fn sign_in(
        &self,
        from: IpAddr,
        ident: &[u8],
        nonce: &[u8],
        digest: &[u8; DIGEST_BYTES],
    ) -> Option<Arc<Rights>> {
        let found = self.idents.get(ident);
        let secret = found.map_or(&b"nobody has this secret"[..], |rights| &rights.secret);
        let is_right: bool = codec::digest(nonce, secret).ct_eq(digest).into();
        if let (Some(rights), true) = (found, is_right) {
            return Some(Arc::clone(rights));
        }
        // Counted here, so that who has the right secret is never held up.
        let _ = self.wrong.take(from, std::time::Instant::now());
        None
    }

    /// Whether an address has tried too many wrong secrets.
    pub(crate) fn is_barred(&self, from: IpAddr) -> bool {
        self.wrong.is_empty(from, std::time::Instant::now())
    }
}
