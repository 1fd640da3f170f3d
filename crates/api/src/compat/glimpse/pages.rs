//! The pages of Glimpse's users: small ones without scripts on a door of this
//! dialect alone; where our own page is, it takes their place. Behind a session, and
//! changes only from a page of ours.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use axum::extract::{Request, State};
use axum::response::{Html, IntoResponse, Redirect, Response};
use http::{HeaderMap, Method, StatusCode, header};
use palisade_hub::{AdminError, HostInfo, Permission, Principal, Role, SignInError};
use serde_json::Value;

use super::{Refusal, data};
use crate::auth;
use crate::body;
use crate::error::Problem;
use crate::native::session;
use crate::router::App;

/// Longest field of a form, in bytes.
const MAX_FIELD_BYTES: usize = 1024;
/// Machines of the small page.
const MAX_SHOWN: usize = 1_000;

/// The account that is signed in.
async fn account(app: &App, headers: &HeaderMap) -> Result<Option<Principal>, Problem> {
    let Some(token) = auth::session_token(headers) else { return Ok(None) };
    let session = app.hub.session(token, auth::now()).await?;
    Ok(session.map(|session| session.principal))
}

/// Whether a change comes from a page of ours, or from no browser: cookies go along
/// with what other sites make browsers send.
fn is_ours(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let site = text("sec-fetch-site").is_none_or(|site| matches!(site, "same-origin" | "none"));
    let host = text("host");
    let origin = text("origin").is_none_or(|origin| {
        origin.split_once("://").map(|(_, host)| host).is_some_and(|origin| Some(origin) == host)
    });
    site && origin
}

fn to(app: &App, path: &str) -> Response {
    Redirect::to(&format!("{}{path}", app.config.base_path)).into_response()
}

/// `/`, on a door of this dialect alone.
pub(super) async fn front(State(app): State<App>, headers: HeaderMap) -> Result<Response, Problem> {
    let path = if account(&app, &headers).await?.is_some() { "/home" } else { "/login" };
    Ok(to(&app, path))
}

/// `/home`, beside our own page.
pub(super) async fn to_page(
    State(app): State<App>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let path = if account(&app, &headers).await?.is_some() { "/" } else { "/login" };
    Ok(to(&app, path))
}

/// `GET /login`, on a door of this dialect alone.
pub(super) async fn login(State(app): State<App>) -> Response {
    page(StatusCode::OK, "Sign in", &sign_in_form(&app, ""))
}

/// `POST /login`: a form with `username` and `password`.
pub(super) async fn sign_in(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let client = auth::client(&parts);
    app.sign_in.take(client.address, Instant::now()).map_err(Problem::too_many)?;
    if !is_ours(&parts.headers) {
        return Err(Problem::forbidden("Sign in on the page of this server."));
    }
    let form = form(&app, body).await?;
    let (name, password) = (field(&form, "username"), field(&form, "password"));
    let agent = parts.headers.get(header::USER_AGENT).map(http::HeaderValue::as_bytes);
    let from = Some(client.address);
    match app.hub.sign_in(name, password, from, agent, auth::now()).await {
        Ok(begun) => {
            let cookie = session::cookie_of(&app, client, &begun)?;
            Ok(([(header::SET_COOKIE, cookie)], to(&app, "/home")).into_response())
        }
        Err(SignInError::Wrong) => {
            let form = sign_in_form(&app, "User name or password is wrong.");
            Ok(page(StatusCode::UNAUTHORIZED, "Sign in", &form))
        }
        Err(SignInError::Throttled { retry_after_secs }) => {
            Err(Problem::too_many(retry_after_secs))
        }
        Err(SignInError::Unavailable(reason)) => Err(Problem::state_unavailable(reason)),
        Err(SignInError::Failed(reason)) => Err(Problem::internal(reason)),
    }
}

/// `/logout`
pub(super) async fn sign_out(
    State(app): State<App>,
    request: Request,
) -> Result<Response, Problem> {
    let client = auth::client_of(&request);
    if let Some(token) = auth::session_token(request.headers())
        && is_ours(request.headers())
    {
        app.hub.sign_out(token).await?;
    }
    let gone = session::cookie(&app, client, "", 0)?;
    Ok(([(header::SET_COOKIE, gone)], to(&app, "/login")).into_response())
}

/// `/home`, on a door of this dialect alone: the machines.
pub(super) async fn home(State(app): State<App>, headers: HeaderMap) -> Result<Response, Problem> {
    let Some(who) = account(&app, &headers).await? else { return Ok(to(&app, "/login")) };
    let hosts = app.hub.hosts(&who, auth::now()).await?;
    let mut text = format!(
        "<p>{} machines. <a href=\"{base}/register\">Add a user</a> \
         <a href=\"{base}/removeuser\">Remove a user</a> <a href=\"{base}/logout\">Sign out</a></p>\
         <table><tr><th>Name<th>Address<th>System<th>State<th>CPU %<th>Load<th>Last heard</tr>",
        hosts.len(),
        base = app.config.base_path,
    );
    for host in hosts.iter().take(MAX_SHOWN) {
        row(&mut text, host);
    }
    text.push_str("</table>");
    Ok(page(StatusCode::OK, "Machines", &text))
}

fn row(text: &mut String, host: &HostInfo) {
    let number = |name: &str| {
        let sample = host.sample.as_ref().and_then(|sample| sample.get(name));
        sample.and_then(Value::as_f64).map_or("–".to_owned(), |number| format!("{number:.1}"))
    };
    let address = host.address.map(|address| address.to_string());
    let cells = [
        host.name.clone().unwrap_or_else(|| host.id.clone()),
        address.unwrap_or_default(),
        host.os.clone().unwrap_or_default(),
        host.state.to_owned(),
        number("cpu_pct"),
        number("load1"),
        host.last_seen.to_string(),
    ];
    text.push_str("<tr>");
    for cell in cells {
        // Writing to a text cannot fail.
        let _ = write!(text, "<td>{}</td>", escaped(&cell));
    }
    text.push_str("</tr>");
}

/// `GET /register`
pub(super) async fn register(
    State(app): State<App>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    match admin(&app, &headers).await? {
        Ok(_) => Ok(page(StatusCode::OK, "Add a user", &register_form(&app, ""))),
        Err(refusal) => Ok(refusal),
    }
}

/// `POST /register`: a form with `username`, `password` and `access` (1 to 5).
pub(super) async fn add_account(
    State(app): State<App>,
    request: Request,
) -> Result<Response, Problem> {
    let (who, form) = match changing(&app, request).await? {
        Ok(asked) => asked,
        Err(refusal) => return Ok(refusal),
    };
    let added = match role(field(&form, "access")) {
        Some(role) => {
            let (name, password) = (field(&form, "username"), field(&form, "password"));
            app.hub.add_account(&who, name, password, role, auth::now()).await
        }
        None => Err(AdminError::Invalid("the access level is a number from 1 to 5".to_owned())),
    };
    Ok(match added {
        Ok(()) => {
            page(StatusCode::CREATED, "Add a user", &register_form(&app, "The user was added."))
        }
        Err(error) => {
            let (status, text) = told(error)?;
            page(status, "Add a user", &register_form(&app, &text))
        }
    })
}

/// What an access level may do: 5 is an administrator, 3 and 4 act on machines, 1
/// and 2 look.
fn role(access: &str) -> Option<Role> {
    match access.trim() {
        "5" => Some(Role::Admin),
        "3" | "4" => Some(Role::Operator),
        "1" | "2" => Some(Role::Viewer),
        _ => None,
    }
}

/// `GET /removeuser`
pub(super) async fn remove(
    State(app): State<App>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    match admin(&app, &headers).await? {
        Ok(_) => Ok(page(StatusCode::OK, "Remove a user", &remove_form(&app, ""))),
        Err(refusal) => Ok(refusal),
    }
}

/// `POST /removeuser`: a form with `username`.
pub(super) async fn remove_account(
    State(app): State<App>,
    request: Request,
) -> Result<Response, Problem> {
    let (who, form) = match changing(&app, request).await? {
        Ok(asked) => asked,
        Err(refusal) => return Ok(refusal),
    };
    Ok(match app.hub.remove_account(&who, field(&form, "username")).await {
        Ok(()) => {
            page(StatusCode::OK, "Remove a user", &remove_form(&app, "The user was removed."))
        }
        Err(error) => {
            let (status, text) = told(error)?;
            page(status, "Remove a user", &remove_form(&app, &text))
        }
    })
}

/// `GET /get_server_list`
pub(super) async fn server_list(
    State(app): State<App>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let who = account(&app, &headers).await?.ok_or(Refusal::Auth)?;
    Ok(axum::Json(data::list(&app, &who).await?).into_response())
}

/// `POST /get_server_info`
pub(super) async fn server_info(
    State(app): State<App>,
    request: Request,
) -> Result<Response, Refusal> {
    let (who, asked) = asked(&app, request).await?;
    Ok(axum::Json(data::info(&app, &who, asked.get("info")).await?).into_response())
}

/// `POST /clear`
pub(super) async fn clear(State(app): State<App>, request: Request) -> Result<Response, Refusal> {
    let (who, asked) = asked(&app, request).await?;
    if !who.may(Permission::Operate) {
        return Err(Refusal::Auth);
    }
    data::clear_of(&app, &who, asked.get("clear")).await
}

/// Who asks by a session, and what. Only JSON: no other site can make a browser
/// send that.
async fn asked(app: &App, request: Request) -> Result<(Principal, Value), Refusal> {
    let (parts, body) = request.into_parts();
    let who = account(app, &parts.headers).await?.ok_or(Refusal::Auth)?;
    if !is_ours(&parts.headers) || body::require_json(&parts.headers).is_err() {
        return Err(Refusal::Error);
    }
    let limits = &app.config.limits;
    let body = body::read(body, limits.body_bytes, Duration::from_secs(limits.body_secs)).await?;
    let asked: Value = serde_json::from_slice(&body).map_err(|_| Refusal::Error)?;
    Ok((who, asked))
}

/// The administrator who is signed in, or the answer to anybody else.
async fn admin(app: &App, headers: &HeaderMap) -> Result<Result<Principal, Response>, Problem> {
    Ok(match account(app, headers).await? {
        None => Err(to(app, "/login")),
        Some(who) if who.may(Permission::Administer) => Ok(who),
        Some(_) => {
            let text = "<p>This needs access level 5, an administrator.</p>";
            Err(page(StatusCode::FORBIDDEN, "Not allowed", text))
        }
    })
}

/// The same with the form that says what is to be changed.
async fn changing(
    app: &App,
    request: Request,
) -> Result<Result<(Principal, Form), Response>, Problem> {
    let (parts, body) = request.into_parts();
    if !is_ours(&parts.headers) {
        return Err(Problem::forbidden("Changes are made on the page of this server."));
    }
    Ok(match admin(app, &parts.headers).await? {
        Ok(who) => Ok((who, form(app, body).await?)),
        Err(refusal) => Err(refusal),
    })
}

/// What somebody is told who may not do something, or did it wrongly.
fn told(error: AdminError) -> Result<(StatusCode, String), Problem> {
    match error {
        AdminError::Invalid(text) => Ok((StatusCode::BAD_REQUEST, sentence(&text))),
        AdminError::Exists(_) => Ok((StatusCode::CONFLICT, sentence(&error.to_string()))),
        AdminError::NotFound(_) => Ok((StatusCode::NOT_FOUND, sentence(&error.to_string()))),
        error => Err(error.into()),
    }
}

fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", letters.as_str())
}

type Form = Vec<(String, String)>;

async fn form(app: &App, body: axum::body::Body) -> Result<Form, Problem> {
    let limits = &app.config.limits;
    let body = body::read(body, limits.body_bytes, Duration::from_secs(limits.body_secs)).await?;
    // Read like the parameters of an address, which is the same form.
    let mut request = Request::new(axum::body::Body::from(body));
    *request.method_mut() = Method::POST;
    request.headers_mut().insert(
        header::CONTENT_TYPE,
        http::HeaderValue::from_static("application/x-www-form-urlencoded"),
    );
    let form =
        <axum::Form<Form> as axum::extract::FromRequest<()>>::from_request(request, &()).await;
    form.map(|axum::Form(form)| form).map_err(|_| Problem::bad_request("The form cannot be read."))
}

fn field<'a>(form: &'a Form, name: &str) -> &'a str {
    let found = form.iter().find(|(known, value)| known == name && value.len() <= MAX_FIELD_BYTES);
    found.map_or("", |(_, value)| value.as_str())
}

fn sign_in_form(app: &App, message: &str) -> String {
    form_of(app, "/login", message, "Sign in", &[("username", "text"), ("password", "password")])
}

fn register_form(app: &App, message: &str) -> String {
    let fields = [("username", "text"), ("password", "password"), ("access", "number")];
    form_of(app, "/register", message, "Add", &fields)
}

fn remove_form(app: &App, message: &str) -> String {
    form_of(app, "/removeuser", message, "Remove", &[("username", "text")])
}

fn form_of(
    app: &App,
    action: &str,
    message: &str,
    button: &str,
    fields: &[(&str, &str)],
) -> String {
    let mut text = String::new();
    if !message.is_empty() {
        let _ = write!(text, "<p role=\"alert\">{}</p>", escaped(message));
    }
    let _ = write!(text, "<form method=\"post\" action=\"{}{action}\">", app.config.base_path);
    for (name, kind) in fields {
        let range = if *kind == "number" { " min=\"1\" max=\"5\" value=\"1\"" } else { "" };
        let _ = write!(
            text,
            "<p><label>{name} <input name=\"{name}\" type=\"{kind}\"{range} required></label></p>"
        );
    }
    let _ = write!(text, "<p><button>{button}</button></p></form>");
    text
}

/// A page; `inside` is HTML of ours.
fn page(status: StatusCode, title: &str, inside: &str) -> Response {
    let text = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>{title} – Palisade</title><main><h1>{title}</h1>{inside}</main></html>\n"
    );
    (status, [(header::CACHE_CONTROL, "no-store")], Html(text)).into_response()
}

/// Text for HTML.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // Could turn the direction of what follows.
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => out.push('\u{fffd}'),
            letter if letter.is_control() => out.push('\u{fffd}'),
            letter => out.push(letter),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_roles() {
        let roles = ["1", "2", "3", "4", "5"].map(|level| role(level).unwrap().as_str());
        assert_eq!(roles, ["viewer", "viewer", "operator", "operator", "admin"]);
        for bad in ["", "0", "6", "admin", "-1"] {
            assert_eq!(role(bad), None, "{bad}");
        }
    }

    #[test]
    fn text_of_machines_is_text() {
        assert_eq!(escaped("<b a='1'>\u{202e}&\0"), "&lt;b a=&#39;1&#39;&gt;\u{fffd}&amp;\u{fffd}");
    }

    #[test]
    fn another_site_is_known_by_what_the_browser_says() {
        let of = |pairs: &[(&'static str, &str)]| {
            let pairs = pairs
                .iter()
                .map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap()));
            is_ours(&pairs.collect())
        };
        assert!(of(&[("host", "a:8443")]));
        assert!(of(&[("host", "a:8443"), ("origin", "https://a:8443")]));
        assert!(!of(&[("host", "a:8443"), ("origin", "https://b:8443")]));
        assert!(!of(&[("host", "a"), ("origin", "null")]));
        assert!(!of(&[("host", "a"), ("sec-fetch-site", "cross-site")]));
    }
}
