//! Who may ask in the dialects that knew no credentials.

use std::time::Instant;

use axum::http::request::Parts;
use http::StatusCode;
use palisade_hub::{Permission, Principal};

use super::peba::access;
use crate::auth;
use crate::config::Openness;
use crate::router::App;

/// Somebody may not ask; each dialect says it in its own form.
pub(super) struct Denied {
    pub(super) status: StatusCode,
    pub(super) text: String,
    pub(super) retry_after_secs: Option<u32>,
}

impl Denied {
    fn new(status: StatusCode, text: &str) -> Self {
        Self { status, text: text.to_owned(), retry_after_secs: None }
    }
}

/// The principal: the credential of the request, or what strangers may see.
///
/// # Errors
/// [`Denied`]
pub(super) async fn asker(
    app: &App,
    parts: &mut Parts,
    open: Openness,
) -> Result<Principal, Denied> {
    let client = auth::client(parts);
    let known = access::known(app, parts).await.map_err(|answer| {
        Denied::new(answer.status(), "The hub cannot check credentials now; its log says why.")
    })?;
    match known {
        Some(who) if who.may(Permission::Read) => Ok(who),
        Some(_) => Err(Denied::new(StatusCode::FORBIDDEN, "This credential may not read this.")),
        None => match open {
            Openness::All => Ok(Principal::local(None)),
            Openness::Community => Ok(Principal::public()),
            Openness::No => Err(match app.unauthenticated.take(client.address, Instant::now()) {
                Ok(()) => Denied::new(
                    StatusCode::UNAUTHORIZED,
                    "This needs a credential: an API key with the scope 'read', the name and \
                     token of an EWS user, or a session.",
                ),
                Err(secs) => Denied {
                    retry_after_secs: Some(secs),
                    ..Denied::new(
                        StatusCode::TOO_MANY_REQUESTS,
                        &format!("Too many requests; try again in {secs} seconds."),
                    )
                },
            }),
        },
    }
}
