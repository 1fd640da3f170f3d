//! Links that let somebody in once: an operator makes one (`/api/v1/knock-links`),
//! whoever has it opens `/knock/TOKEN` and presses the button. Opening alone spends
//! nothing, as previews of messages open links too.

use std::time::Instant;

use axum::extract::{Extension, State};
use axum::response::{Html, IntoResponse as _, Response};
use http::{HeaderValue, StatusCode, header};
use palisade_event::Timestamp;
use palisade_hub::{AdminError, NewKnockLink};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Segment;
use crate::auth::{self, Caller};
use crate::body::Json;
use crate::client::Client;
use crate::error::{Problem, ProblemBody};
use crate::router::App;

/// How long a link can be used where the request does not say: an hour.
const DEFAULT_USABLE_SECS: u64 = 60 * 60;
/// How long who uses it is spared: 8 hours.
const DEFAULT_ALLOW_SECS: u64 = 8 * 60 * 60;

/// A link to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewLink {
    /// How long it can be used, in seconds: up to 7 days, 1 hour where it is not said.
    usable_secs: Option<u64>,
    /// How long who uses it is spared, in seconds: up to 30 days, 8 hours where it is not said.
    allow_secs: Option<u64>,
    /// What it is for.
    note: Option<String>,
}

/// A link that was just made.
#[derive(Serialize, ToSchema)]
#[schema(as = KnockLink)]
pub(crate) struct CreatedLink {
    /// Its path; it cannot be had again.
    #[schema(example = "/knock/4f0c2a9be1d35a77_…")]
    path: String,
    /// The whole address, where the settings say how the hub is reached.
    #[schema(required)]
    url: Option<String>,
    /// Until when it can be used.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
}

/// A link that can still be used.
#[derive(Serialize, ToSchema)]
#[schema(as = OpenKnockLink)]
pub(crate) struct OpenLink {
    /// Names it; of no use to get in.
    #[schema(example = "4f0c2a9be1d35a77")]
    id: String,
    /// Who made it.
    by: String,
    /// What it is for.
    #[schema(required)]
    note: Option<String>,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// Until when it can be used.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
    /// How long who uses it is spared, in seconds.
    allow_secs: u64,
}

/// Links that can still be used.
#[derive(Serialize, ToSchema)]
#[schema(as = KnockLinkList)]
pub(crate) struct LinkList {
    /// The last made first, without their secrets.
    links: Vec<OpenLink>,
}

/// List links that let somebody in
///
/// Those that can still be used. Needs the role operator.
#[utoipa::path(
    get, path = "/api/v1/knock-links", tag = "decisions", operation_id = "listKnockLinks",
    security(("session" = []), ("key" = [])),
    responses(
        (status = 200, body = LinkList, description = "The links"),
        (status = 403, body = ProblemBody, content_type = "application/problem+json", description = "Not allowed"),
    ),
)]
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
) -> Result<axum::Json<LinkList>, Problem> {
    let links = app.hub.knock_links(&caller.who, auth::now()).await?;
    let open = |link: palisade_hub::OpenKnockLink| OpenLink {
        id: link.id,
        by: link.by,
        note: link.note,
        created_at: link.created_at,
        expires_at: link.expires_at,
        allow_secs: link.allow_secs,
    };
    Ok(axum::Json(LinkList { links: links.into_iter().map(open).collect() }))
}

/// Revoke a link that lets somebody in
///
/// At once, on all hubs. Who has used it stays spared. Needs the role operator.
#[utoipa::path(
    delete, path = "/api/v1/knock-links/{id}", tag = "decisions", operation_id = "removeKnockLink",
    security(("session" = []), ("key" = [])),
    params(("id" = String, Path, description = "The link's id")),
    responses(
        (status = 204, description = "It works no more"),
        (status = 403, body = ProblemBody, content_type = "application/problem+json", description = "Not allowed"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json", description = "None that can be used has this id"),
    ),
)]
pub(crate) async fn remove(
    State(app): State<App>,
    caller: Caller,
    Segment(id): Segment,
) -> Result<StatusCode, Problem> {
    app.hub.remove_knock_link(&caller.who, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Make a link that lets somebody in
///
/// Once: whoever opens it and presses its button is spared from where they are for a while, and
/// bans of their address are lifted. Needs the role operator.
#[utoipa::path(
    post, path = "/api/v1/knock-links", tag = "decisions", operation_id = "addKnockLink",
    security(("session" = []), ("key" = [])),
    request_body = NewLink,
    responses(
        (status = 201, body = CreatedLink, description = "The link, this once"),
        (status = 403, body = ProblemBody, content_type = "application/problem+json", description = "Not allowed"),
        (status = 422, body = ProblemBody, content_type = "application/problem+json", description = "A value breaks a rule; the detail says which"),
    ),
)]
pub(crate) async fn add(
    State(app): State<App>,
    caller: Caller,
    Json(asked): Json<NewLink>,
) -> Result<Response, Problem> {
    let new = NewKnockLink {
        usable_secs: asked.usable_secs.unwrap_or(DEFAULT_USABLE_SECS),
        allow_secs: asked.allow_secs.unwrap_or(DEFAULT_ALLOW_SECS),
        note: asked.note,
    };
    let made = app.hub.add_knock_link(&caller.who, new, auth::now()).await?;
    let path = format!("{}/knock/{}", app.config.base_path, made.token);
    let url = app.config.public_url.as_ref().map(|public| {
        let public = public.to_string();
        format!("{}/knock/{}", public.trim_end_matches('/'), made.token)
    });
    let body = CreatedLink { path, url, expires_at: made.expires_at };
    Ok((StatusCode::CREATED, axum::Json(body)).into_response())
}

/// The page of a link. It says the same of all links, and spends none.
pub(crate) async fn page() -> Response {
    html(
        StatusCode::OK,
        "<h1>Let me in</h1><p>This link works once. It lets in the address from which you open \
         it, for a while.</p><form method=\"post\"><button>Let me in</button></form>",
    )
}

/// Uses a link.
pub(crate) async fn enter(
    State(app): State<App>,
    Extension(client): Extension<Client>,
    Segment(token): Segment,
) -> Response {
    // As many as wrong credentials of this address.
    if let Err(secs) = app.unauthenticated.take(client.address, Instant::now()) {
        let mut response =
            html(StatusCode::TOO_MANY_REQUESTS, "<p>Too often. Try again later.</p>");
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(secs));
        return response;
    }
    match app.hub.knock(&token, client.address, auth::now()).await {
        Ok(let_in) => {
            let (address, until) = (let_in.address, let_in.until);
            let text = format!("<h1>You are let in</h1><p>{address}, until {until}.</p>");
            html(StatusCode::OK, &text)
        }
        Err(AdminError::NotFound(_)) => html(
            StatusCode::NOT_FOUND,
            "<p>This link does not work: it was used, its time is over, or it was never one. Ask \
             for another.</p>",
        ),
        Err(error) => {
            tracing::error!(%error, "somebody with a link cannot be let in");
            html(
                StatusCode::SERVICE_UNAVAILABLE,
                "<p>This does not work now. Ask for another link.</p>",
            )
        }
    }
}

fn html(status: StatusCode, body: &str) -> Response {
    let page = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><meta name=\"robots\" content=\"noindex\">\
         <title>Palisade</title><body>{body}</body></html>"
    );
    let mut response = (status, Html(page)).into_response();
    let no_store = HeaderValue::from_static("no-store");
    response.headers_mut().insert(header::CACHE_CONTROL, no_store);
    response
}

/// A path as it is logged: without the secret of a link.
pub(crate) fn logged(path: &str) -> String {
    match path.split_once("/knock/") {
        Some((before, _)) => format!("{before}/knock/…"),
        None => path.to_owned(),
    }
}
