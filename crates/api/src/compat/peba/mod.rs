//! The PEBA query API, what readers of a honeypot network ask: `/alert/…`.
//!
//! Request → [`access`] (who, whose alerts) → [`params`] → [`question`] → the
//! hub's alerts → one of the writers (`counts`, `series`, `sources`, `tops`,
//! `newest`) → [`memo`]. Parameters that are missing or make no sense are
//! answered 200 with the default response of the settings, as its clients expect.

pub(super) mod access;
mod countries;
mod counts;
mod json;
pub(crate) mod memo;
mod newest;
mod params;
mod question;
mod series;
mod show;
mod sources;
#[cfg(test)]
mod tests;
mod tops;
mod xml;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{MethodRouter, get, post};
use http::{HeaderValue, Method, StatusCode, header};
use palisade_hub::{Principal, QueryError};
use palisade_store::Domains;

use self::params::Params;
use self::question::{Answer, Endpoint, Question};
use crate::auth;
use crate::error::Problem;
use crate::router::App;

/// Answers that are remembered for a moment.
pub(crate) type Answers = memo::Memo<(Question, Domains), Answer>;

/// Seconds that browsers remember which site may ask.
const CORS_MAX_AGE: &str = "600";

/// The routes of the dialect. `/` and `/heartbeat` are beside them, as other
/// dialects have them too.
pub(crate) fn routes(app: &App) -> Router<App> {
    use Endpoint as E;
    let cors = middleware::from_fn_with_state(app.clone(), cors);
    let alert = Router::new()
        .route("/alert/heartbeat", get(crate::native::probes::heartbeat))
        .route("/alert/retrieveAlertsCount", public(E::RetrieveAlertsCount))
        .route("/alert/retrieveAlertsCountWithType", public(E::RetrieveAlertsCountWithType))
        .route("/alert/retrieveAlertStats", public(E::RetrieveAlertStats))
        .route("/alert/retrieveAlertsJson", public(E::RetrieveAlertsJson))
        .route("/alert/datasetAlertsPerMonth", public(E::DatasetAlertsPerMonth))
        .route("/alert/datasetAlertTypesPerMonth", public(E::DatasetAlertTypesPerMonth))
        .route("/alert/topCountriesAttacks", public(E::TopCountriesAttacks))
        .route("/alert/retrieveLatLonAttacks", public(E::RetrieveLatLonAttacks))
        .route("/alert/TpotStats", public(E::TpotStats))
        .route("/alert/getStats", public(E::GetStats))
        .route("/alert/tops", public(E::Tops))
        .route("/alert/retrieveIPs", private(E::RetrieveIps))
        .route("/alert/retrieveIPs15m", private(E::RetrieveIps15m))
        .route("/alert/retrieveAlertsCyber", private(E::RetrieveAlertsCyber))
        .route("/alert/querySingleIP", private(E::QuerySingleIp))
        .layer(cors);
    alert
        .route("/ews-0.1/alert/retrieveIPs", private(E::RetrieveIps))
        .route("/ews-0.1/alert/retrieveIPs15m", private(E::RetrieveIps15m))
}

fn public(endpoint: Endpoint) -> MethodRouter<App> {
    get(move |State(app): State<App>, request: Request| async move {
        let (mut parts, _) = request.into_parts();
        let params = Params::of(&parts.uri);
        // What is known of honeypots is the community's alone.
        let domains = match endpoint {
            Endpoint::TpotStats | Endpoint::GetStats => Domains::Community,
            _ => params.domains(),
        };
        match access::reader(&app, &mut parts, domains).await {
            Ok(who) => answer(&app, endpoint, &params, who, domains).await,
            Err(refusal) => refusal,
        }
    })
    .options(preflight)
}

fn private(endpoint: Endpoint) -> MethodRouter<App> {
    post(move |State(app): State<App>, request: Request| async move {
        let (parts, body) = request.into_parts();
        let params = Params::of(&parts.uri);
        match Box::pin(access::insider(&app, parts, body)).await {
            Ok(who) => answer(&app, endpoint, &params, who, params.domains()).await,
            Err(refusal) => refusal,
        }
    })
    .options(preflight)
}

/// What a browser asks before it asks; [`cors`] says the rest.
async fn preflight() -> StatusCode {
    StatusCode::NO_CONTENT
}

async fn answer(
    app: &App,
    endpoint: Endpoint,
    params: &Params,
    who: Principal,
    domains: Domains,
) -> Response {
    let now = auth::now();
    let Some(question) = endpoint.question(params, &app.config.ews, now) else {
        return default_response(app);
    };
    let key = (question.clone(), domains);
    let asked = app.clone();
    let make = move || {
        let (app, who, question) = (asked.clone(), who.clone(), question.clone());
        async move {
            let home = app.hub.status().home;
            let ask = move |alerts: &palisade_hub::alerts::Alerts<'_>| {
                question.answer(alerts, home, auth::now())
            };
            app.hub.alerts(&who, domains, ask).await
        }
    };
    let answered: Result<Answer, QueryError> = app.answers.get(&key, &app.shutdown, make).await;
    match answered {
        Ok(answer) => ([(header::CONTENT_TYPE, answer.media_type)], answer.body).into_response(),
        Err(error) => Problem::from(error).into_response(),
    }
}

/// What is answered where a question makes no sense.
fn default_response(app: &App) -> Response {
    let text = app.config.ews.default_response.clone();
    ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], text).into_response()
}

/// `/`, where the page is not served.
pub(crate) async fn front(State(app): State<App>) -> Response {
    match &app.config.ews.site {
        Some(site) => Redirect::temporary(site).into_response(),
        None => default_response(&app),
    }
}

/// Lets the pages of the configured site ask.
async fn cors(State(app): State<App>, request: Request, next: Next) -> Response {
    let origin = app.config.ews.site.as_deref().and_then(|site| site.parse::<HeaderValue>().ok());
    let Some(origin) = origin else { return next.run(request).await };
    let is_preflight = request.method() == Method::OPTIONS;
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
    if is_preflight {
        let allowed = [
            (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, OPTIONS"),
            (header::ACCESS_CONTROL_ALLOW_HEADERS, "Authorization, Content-Type"),
            (header::ACCESS_CONTROL_MAX_AGE, CORS_MAX_AGE),
        ];
        for (name, value) in allowed {
            headers.insert(name, HeaderValue::from_static(value));
        }
    }
    response
}
