//! HoneyPotR's report API, what its users' dashboards ask: `/v1/analytics…`.
//!
//! Request → who asks → [`span`] → the hub's aggregations, or a page of sessions
//! → [`rows`] or [`map`] → JSON whose numbers are text, or a PNG. Every refusal
//! is `{"error": …}`, as its clients expect.

mod kept;
mod map;
mod rows;
mod span;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::Instant;

use axum::Router;
use axum::extract::{Query as UriQuery, Request, State};
use axum::http::request::Parts;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use http::{HeaderValue, StatusCode, Uri, header};
use palisade_event::Domain;
use palisade_hub::alerts::End;
use palisade_hub::{MAX_PAGE_SESSIONS, Principal, QueryError};
use palisade_store::query::{Aggregation, Cursor, Field, Filter, MAX_TOP, Query};
use palisade_store::{Aggregated, Domains, Key};
use serde::Serialize;
use serde_json::{Value, json};

use self::span::Span;
use super::access::{self, Denied};
use super::peba::access::CHALLENGE;
use crate::auth;
use crate::router::App;

/// World maps that are remembered for a minute.
pub(crate) type Maps = kept::Kept<(Span, bool), bytes::Bytes>;

/// Where everything of the dialect is.
const ROOT: &str = "/v1/analytics";
/// Longest `Host` that links are made of, in bytes.
const MAX_HOST_BYTES: usize = 255;
/// Most places of a map.
const MAX_PLACES: usize = 10_000;

/// The routes of the dialect.
pub(crate) fn routes(app: &App) -> Router<App> {
    Router::new()
        .route(ROOT, get(links))
        .route("/v1/analytics/", get(links))
        .route("/v1/analytics/ports", get(ports))
        .route("/v1/analytics/ports/", get(ports))
        .route("/v1/analytics/ports/{port}", get(port))
        .route("/v1/analytics/ipaddresses", get(addresses))
        .route("/v1/analytics/ipaddresses/", get(addresses))
        .route("/v1/analytics/ipaddresses/{address}", get(address))
        .route("/v1/analytics/worldmap", get(worldmap))
        .route("/v1/analytics/{*rest}", any(nothing))
        .layer(middleware::from_fn_with_state(app.clone(), cors))
}

/// A refusal in the dialect's form.
struct Refusal(StatusCode, String);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = answer(self.0, &json!({"error": self.1}));
        if self.0 == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static(CHALLENGE);
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

impl From<QueryError> for Refusal {
    fn from(error: QueryError) -> Self {
        match error {
            QueryError::Forbidden => {
                Self(StatusCode::FORBIDDEN, "this credential may not read this".to_owned())
            }
            error => {
                tracing::error!(%error, "a report cannot be made");
                let text = "the hub cannot answer now; its log says why";
                Self(StatusCode::SERVICE_UNAVAILABLE, text.to_owned())
            }
        }
    }
}

fn bad(text: impl Into<String>) -> Refusal {
    Refusal(StatusCode::BAD_REQUEST, text.into())
}

async fn nothing() -> Refusal {
    Refusal(StatusCode::NOT_FOUND, format!("there is nothing here; {ROOT} lists what there is"))
}

fn answer(status: StatusCode, value: &impl Serialize) -> Response {
    // Plain data always serializes.
    let text = serde_json::to_vec(value).unwrap_or_default();
    let json = HeaderValue::from_static("application/json");
    (status, [(header::CONTENT_TYPE, json)], text).into_response()
}

/// Who asks, and for which time.
struct Asked {
    who: Principal,
    span: Span,
    base: String,
    uri: Uri,
}

impl Asked {
    async fn of(app: &App, request: Request) -> Result<Self, Response> {
        let (mut parts, _) = request.into_parts();
        let who = asker(app, &mut parts).await?;
        let span = Span::of(&parts.uri).map_err(|text| bad(text).into_response())?;
        Ok(Self { who, span, base: base(app, &parts), uri: parts.uri })
    }

    /// Attacks in the time of the question, of sessions at ports.
    fn query(&self, more: Vec<Filter>) -> Query {
        let mut all = vec![Filter::Exists(Field::Session), Filter::Exists(Field::Port)];
        all.push(Domains::Both.filter());
        all.extend(more);
        Query { range: self.span.range(auth::now()), filter: Filter::And(all) }
    }

    /// How many different values of a field each value of another has.
    async fn distinct(&self, app: &App, of: Field, each: Field) -> Result<Counted, Refusal> {
        let sub = Aggregation::Distinct(each);
        let top = Aggregation::Top(vec![of], MAX_TOP, Some(Box::new(sub)));
        let answer = app.hub.aggregate(&self.who, self.query(Vec::new()), top).await?;
        let Aggregated::Buckets { buckets, .. } = answer else { return Ok(Counted::new()) };
        let counted = buckets.into_iter().filter_map(|bucket| {
            let count = match bucket.sub.as_deref() {
                Some(Aggregated::Distinct { count, .. }) => *count,
                _ => return None,
            };
            let key = match bucket.key.into_iter().next()? {
                Key::Integer(number) => number.to_string(),
                Key::Text(text) => text,
            };
            Some((key, count))
        });
        Ok(counted.collect())
    }

    /// A page of sessions with their rows; each with the port it went to.
    async fn sessions(&self, app: &App, more: Vec<Filter>) -> Result<Page, Refusal> {
        let (limit, after) = page_of(&self.uri)?;
        let query = self.query(more);
        let report = app.hub.reported_sessions(&self.who, query, limit, after).await?;
        let source = |session: &palisade_hub::ReportedSession| {
            session.events.iter().find_map(|event| event.source).map(|end| end.address)
        };
        let mut connections: HashMap<Option<IpAddr>, usize> = HashMap::new();
        for session in &report.sessions {
            *connections.entry(source(session)).or_default() += 1;
        }
        let shown = report.sessions.iter().map(|session| {
            let port = session.events.iter().find_map(|event| event.target?.port);
            let count = connections.get(&source(session)).copied().unwrap_or(1);
            (port.unwrap_or_default(), rows::session(session, count))
        });
        Ok(Page {
            sessions: shown.collect(),
            truncated: report.truncated,
            next: report.next.map(|cursor| cursor.to_string()),
        })
    }
}

type Counted = HashMap<String, u64>;

struct Page {
    sessions: Vec<(u16, Value)>,
    truncated: bool,
    next: Option<String>,
}

impl Page {
    /// Says in an answer what it does not hold.
    fn finish(self, mut answer: Value) -> Value {
        let Some(object) = answer.as_object_mut() else { return answer };
        object.extend(self.next.map(|next| ("next".to_owned(), next.into())));
        object.extend(self.truncated.then(|| ("truncated".to_owned(), true.into())));
        answer
    }
}

/// How many sessions, from where on: `limit` and `cursor`, which the dialect did
/// not have; it sent all.
fn page_of(uri: &Uri) -> Result<(usize, Option<Cursor>), Refusal> {
    let UriQuery(pairs) = UriQuery::<Vec<(String, String)>>::try_from_uri(uri)
        .map_err(|_| bad("the parameters cannot be read"))?;
    let value = |name: &str| pairs.iter().find(|(known, _)| known == name).map(|(_, value)| value);
    let limit = match value("limit") {
        None => MAX_PAGE_SESSIONS,
        Some(text) => text
            .parse()
            .ok()
            .filter(|limit| (1..=MAX_PAGE_SESSIONS).contains(limit))
            .ok_or_else(|| bad(format!("limit must be from 1 to {MAX_PAGE_SESSIONS}")))?,
    };
    let after = value("cursor").map(|text| text.parse()).transpose();
    Ok((limit, after.map_err(|_| bad("cursor must be 'next' of the page before"))?))
}

impl From<Denied> for Refusal {
    fn from(denied: Denied) -> Self {
        Self(denied.status, denied.text)
    }
}

/// Who asks, or the answer to whoever may not.
async fn asker(app: &App, parts: &mut Parts) -> Result<Principal, Response> {
    access::asker(app, parts, app.config.report.open).await.map_err(|denied| {
        let retry_after = denied.retry_after_secs;
        let mut response = Refusal::from(denied).into_response();
        if let Some(secs) = retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, secs.into());
        }
        response
    })
}

/// The address that links begin with: the one that people type where it is
/// known, else the one that was asked.
fn base(app: &App, parts: &Parts) -> String {
    let below = app.config.base_path.as_str();
    if let Some(url) = &app.config.public_url {
        return format!("{}{below}{ROOT}", url.trim_end_matches('/'));
    }
    let host = parts.headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let host = host.or_else(|| parts.uri.authority().map(http::uri::Authority::as_str));
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '[' | ']');
    match host.filter(|host| host.len() <= MAX_HOST_BYTES && host.chars().all(plain)) {
        Some(host) => {
            let scheme = if auth::client(parts).secure { "https" } else { "http" };
            format!("{scheme}://{host}{below}{ROOT}")
        }
        None => format!("{below}{ROOT}"),
    }
}

/// What there is.
async fn links(State(app): State<App>, request: Request) -> Result<Response, Response> {
    let asked = Asked::of(&app, request).await?;
    let link = |name: &str| format!("rel: {name}, href: {}/{name}", asked.base);
    // The second has no space after its colon there either.
    let addresses = format!("rel: ipaddresses, href:{}/ipaddresses", asked.base);
    Ok(answer(StatusCode::OK, &json!({"links": [link("ports"), addresses]})))
}

/// Each port with its attacks: those that were attacked, and those where a
/// honeypot of this process listens.
async fn ports(State(app): State<App>, request: Request) -> Result<Response, Response> {
    let asked = Asked::of(&app, request).await?;
    let rows = async {
        let sessions = asked.distinct(&app, Field::Port, Field::Session).await?;
        let sources = asked.distinct(&app, Field::Port, Field::Ip).await?;
        let seen = sessions.keys().filter_map(|port| port.parse::<u16>().ok());
        let listening = app.honeypot_ports.get().into_iter().flatten().copied();
        let ports: BTreeSet<u16> = seen.chain(listening).collect();
        let row = |port: u16| {
            let port = port.to_string();
            let count = |of: &Counted| of.get(&port).copied().unwrap_or(0).to_string();
            json!({
                "port": port,
                "total_attacks": count(&sessions),
                "unique_ipaddresses": count(&sources),
                "timespan": asked.span.to_string(),
                "rel_link": format!("{}/ports/{port}?{}", asked.base, asked.span),
            })
        };
        Ok::<Vec<Value>, Refusal>(ports.into_iter().map(row).collect())
    };
    Ok(answer(StatusCode::OK, &rows.await.map_err(IntoResponse::into_response)?))
}

/// The last part of a path.
fn last(uri: &Uri) -> &str {
    uri.path().rsplit('/').next().unwrap_or_default()
}

/// The sessions of a port.
async fn port(State(app): State<App>, request: Request) -> Result<Response, Response> {
    let asked = Asked::of(&app, request).await?;
    let shown = async {
        let port: u16 = last(&asked.uri)
            .parse()
            .ok()
            .filter(|port| *port > 0)
            .ok_or_else(|| bad("invalid port given: a port is a number from 1 to 65535"))?;
        let at = Filter::In(Field::Port, vec![port.to_string()]);
        let mut page = asked.sessions(&app, vec![at]).await?;
        let items: Vec<Value> = page.sessions.drain(..).map(|(_, session)| session).collect();
        let body = json!({
            "port": port.to_string(),
            "timespan": asked.span.to_string(),
            "items": items,
        });
        Ok::<Value, Refusal>(page.finish(body))
    };
    Ok(answer(StatusCode::OK, &shown.await.map_err(IntoResponse::into_response)?))
}

/// The addresses that attacked, those with most events first, with their
/// sessions and ports.
async fn addresses(State(app): State<App>, request: Request) -> Result<Response, Response> {
    let asked = Asked::of(&app, request).await?;
    let rows = async {
        let ports = asked.distinct(&app, Field::Ip, Field::Port).await?;
        let sessions = asked.distinct(&app, Field::Ip, Field::Session).await?;
        let mut rows: Vec<(String, u64)> = sessions.into_iter().collect();
        rows.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        let row = |(address, count): (String, u64)| {
            let ports = ports.get(&address).copied().unwrap_or(0);
            json!({
                "ipaddress": address,
                "total_attacks": count.to_string(),
                "unique_ports": ports.to_string(),
                "timespan": asked.span.to_string(),
                "rel_link": format!("{}/ipaddresses/{address}?{}", asked.base, asked.span),
            })
        };
        Ok::<Vec<Value>, Refusal>(rows.into_iter().map(row).collect())
    };
    Ok(answer(StatusCode::OK, &rows.await.map_err(IntoResponse::into_response)?))
}

/// The sessions of an address, by port.
async fn address(State(app): State<App>, request: Request) -> Result<Response, Response> {
    let asked = Asked::of(&app, request).await?;
    let shown = async {
        // IPv6 comes with its colons as they are or behind percent signs.
        let text = last(&asked.uri).replace("%3A", ":").replace("%3a", ":");
        let address: IpAddr = text.parse().map_err(|_| bad("invalid ipaddress given"))?;
        let address = address.to_canonical();
        let of = Filter::In(Field::Ip, vec![address.to_string()]);
        let mut page = asked.sessions(&app, vec![of]).await?;
        let mut by_port: BTreeMap<u16, Vec<Value>> = BTreeMap::new();
        for (port, session) in page.sessions.drain(..) {
            by_port.entry(port).or_default().push(session);
        }
        let ports: Vec<Value> =
            by_port.into_iter().map(|(port, of)| json!({port.to_string(): of})).collect();
        let body = json!({
            "ipaddress": address,
            "timespan": asked.span.to_string(),
            "ports": ports,
        });
        Ok::<Value, Refusal>(page.finish(body))
    };
    Ok(answer(StatusCode::OK, &shown.await.map_err(IntoResponse::into_response)?))
}

/// Where attacks came from, as a picture; at most a minute old.
async fn worldmap(State(app): State<App>, request: Request) -> Result<Response, Response> {
    let asked = Asked::of(&app, request).await?;
    let private = asked.who.sees(Domain::Private);
    let made = app.maps.get((asked.span, private), Instant::now(), picture(&app, &asked, private));
    let picture = made.await.map_err(IntoResponse::into_response)?;
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("image/png")),
        (header::CACHE_CONTROL, HeaderValue::from_static("private, max-age=60")),
    ];
    Ok((headers, picture).into_response())
}

async fn picture(app: &App, asked: &Asked, private: bool) -> Result<bytes::Bytes, Refusal> {
    let count = async |field| {
        let distinct = Aggregation::Distinct(field);
        match app.hub.aggregate(&asked.who, asked.query(Vec::new()), distinct).await? {
            Aggregated::Distinct { count, .. } => Ok(count),
            _ => Ok::<u64, Refusal>(0),
        }
    };
    let (addresses, sessions) = (count(Field::Ip).await?, count(Field::Session).await?);
    let (span, now) = (asked.span, auth::now());
    let range = span.range(now);
    let domains = if private { Domains::Both } else { Domains::Community };
    let draw = move |alerts: &palisade_hub::alerts::Alerts<'_>| {
        let from = range.from.unwrap_or(now);
        let places =
            alerts.places_between(from, range.to.unwrap_or(now), End::Source, MAX_PLACES)?;
        let minute: String = now.to_string().replace('T', " ").chars().take(16).collect();
        let words = map::Words {
            title: format!("Unique IP addresses in the last {}: {addresses}", span.words()),
            below: format!("{sessions} attacks from {} places, {minute} UTC", places.len()),
        };
        Ok::<_, palisade_store::QueryError>(map::draw(&places, &words))
    };
    let drawn = app.hub.alerts(&asked.who, domains, draw).await?;
    drawn.map(Into::into).map_err(|error| QueryError::Failed(error).into())
}

/// Lets the pages of the configured site ask.
async fn cors(State(app): State<App>, request: Request, next: Next) -> Response {
    let site = app.config.report.site.as_deref();
    let origin = site.and_then(|site| site.parse::<HeaderValue>().ok());
    let Some(origin) = origin else { return next.run(request).await };
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
    response
}

/// For fuzzing: any question is read within its bounds or refused.
#[must_use]
pub(crate) fn read_question(uri: &str) -> bool {
    let Ok(uri) = uri.parse::<Uri>() else { return false };
    Span::of(&uri).is_ok() && page_of(&uri).is_ok() && last(&uri).parse::<IpAddr>().is_ok()
}
