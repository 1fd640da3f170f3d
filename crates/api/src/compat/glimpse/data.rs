//! The Data API: what Glimpse's script pushes, and what others ask.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use palisade_hub::{Clear, MAX_HOST_LOGS, Permission, Principal};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::{Refusal, done, numbered};
use crate::body;
use crate::client::Client;
use crate::router::App;
use crate::{auth, config};

/// Longest key that is looked at, in bytes.
const MAX_KEY_BYTES: usize = 256;
/// Entries of a log beyond the number that is asked for, as there.
const MORE_LOGS: u64 = 10;

/// `GET /test`
pub(super) async fn test() -> Response {
    done()
}

/// Who asks, and what: the object of the body without its key.
struct Asked {
    who: Principal,
    client: Client,
    body: Map<String, Value>,
}

impl Asked {
    async fn of(app: &App, request: Request) -> Result<Self, Refusal> {
        let client = auth::client_of(&request);
        let limits = &app.config.limits;
        let deadline = Duration::from_secs(limits.body_secs);
        let body = body::read(request.into_body(), limits.body_bytes, deadline).await?;
        let mut body = object(&body).ok_or(Refusal::Error)?;
        let Some(Value::String(key)) = body.remove("API_KEY") else { return Err(Refusal::Error) };
        let who = who(app, &key).await?;
        let who = who.ok_or_else(|| {
            // It counts like any wrong credential of this address.
            match app.unauthenticated.take(client.address, Instant::now()) {
                Ok(()) => Refusal::Auth,
                Err(_) => Refusal::TooMany,
            }
        })?;
        Ok(Self { who, client, body })
    }
}

/// The principal of a key: the one of the settings, or a key of the scope
/// `glimpse`.
async fn who(app: &App, key: &str) -> Result<Option<Principal>, Refusal> {
    if key.is_empty() || key.len() > MAX_KEY_BYTES {
        return Ok(None);
    }
    if let Some(known) = &app.config.glimpse.key
        // Of digests, so that not even the length of the right one can be told.
        && bool::from(digest(known).ct_eq(&digest(key)))
    {
        return Ok(Principal::glimpse(config::GLIMPSE_SENSOR));
    }
    let found = app.hub.key(key, auth::now()).await.map_err(|error| {
        tracing::error!(%error, "a key of a Glimpse client cannot be checked");
        Refusal::Busy
    })?;
    Ok(found.filter(|who| who.may(Permission::Glimpse)))
}

fn digest(key: &str) -> [u8; 32] {
    Sha256::digest(key).into()
}

fn object(body: &[u8]) -> Option<Map<String, Value>> {
    match serde_json::from_slice(body).ok()? {
        Value::Object(object) => Some(object),
        _ => None,
    }
}

/// An address, which is what the dialect knows machines by.
pub(super) fn address(value: Option<&Value>) -> Result<IpAddr, Refusal> {
    let text = value.and_then(Value::as_str).map(str::trim);
    let address = text.and_then(|text| text.parse::<IpAddr>().ok());
    // What nobody else could reach is no machine's address.
    address
        .filter(|address| !address.is_unspecified() && !address.is_multicast())
        .ok_or(Refusal::Error)
}

/// `POST /push_servers_info`
pub(super) async fn push_info(
    State(app): State<App>,
    request: Request,
) -> Result<Response, Refusal> {
    let mut asked = Asked::of(&app, request).await?;
    let address = address(asked.body.get("IP"))?;
    let Some(Value::Object(data)) = asked.body.remove("data") else { return Err(Refusal::Error) };
    let from = Some(asked.client.address);
    app.hub.glimpse_info(&asked.who, from, address, data, auth::now()).await?;
    Ok(done())
}

/// `POST /push_servers_logs`
pub(super) async fn push_log(
    State(app): State<App>,
    request: Request,
) -> Result<Response, Refusal> {
    let mut asked = Asked::of(&app, request).await?;
    let (address, log) = entry(&mut asked.body)?;
    let from = Some(asked.client.address);
    app.hub.glimpse_log(&asked.who, from, address, log, auth::now()).await?;
    Ok(done())
}

/// The entry of a log, in either of its two forms: `IP` beside `log`, or inside
/// `logs`, with `Timestamp` written large.
fn entry(body: &mut Map<String, Value>) -> Result<(IpAddr, Map<String, Value>), Refusal> {
    if let Some(Value::Object(log)) = body.remove("log") {
        return Ok((address(body.get("IP"))?, log));
    }
    let Some(Value::Object(mut log)) = body.remove("logs") else { return Err(Refusal::Error) };
    let inside = log.remove("IP");
    let address = address(inside.as_ref().or_else(|| body.get("IP")))?;
    if let Some(at) = log.remove("Timestamp") {
        log.entry("timestamp").or_insert(at);
    }
    Ok((address, log))
}

/// `GET /get_servers_info`
pub(super) async fn get_info(
    State(app): State<App>,
    request: Request,
) -> Result<Response, Refusal> {
    let asked = Asked::of(&app, request).await?;
    let Some(Value::Object(wanted)) = asked.body.get("request") else { return Err(Refusal::Error) };
    if wanted.get("list_servers").is_some_and(is_true) {
        return Ok(axum::Json(list(&app, &asked.who).await?).into_response());
    }
    let Some(wanted) = wanted.get("info") else { return Err(Refusal::Unknown) };
    Ok(axum::Json(info(&app, &asked.who, Some(wanted)).await?).into_response())
}

/// Python's idea of something that is there.
fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(is) => *is,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(object) => !object.is_empty(),
    }
}

/// All addresses that `who` may see.
pub(super) async fn list(app: &App, who: &Principal) -> Result<Map<String, Value>, Refusal> {
    let servers = app.hub.glimpse_servers(who).await?;
    Ok(numbered(servers.into_iter().map(|address| json!(address))))
}

/// What the machine of an address says of itself.
pub(super) async fn info(
    app: &App,
    who: &Principal,
    wanted: Option<&Value>,
) -> Result<Map<String, Value>, Refusal> {
    let address = address(wanted)?;
    let mut data = app.hub.glimpse_server(who, address).await?.ok_or(Refusal::Error)?;
    data.insert("IP".to_owned(), json!(address));
    Ok(data)
}

/// `GET /get_servers_logs`
pub(super) async fn get_logs(
    State(app): State<App>,
    request: Request,
) -> Result<Response, Refusal> {
    let asked = Asked::of(&app, request).await?;
    let address = address(asked.body.get("IP"))?;
    let Some(Value::Object(wanted)) = asked.body.get("get_logs") else {
        return Err(Refusal::Error);
    };
    let most = start(wanted.get("start")).ok_or(Refusal::Error)?;
    let logs = app.hub.glimpse_logs(&asked.who, address, most, auth::now()).await?;
    let logs = logs.ok_or(Refusal::Empty)?;
    let rows = logs
        .into_iter()
        .map(|entry| json!({"_id": entry.id.to_string(), "IP": address, "log": entry.log}));
    Ok(axum::Json(numbered(rows)).into_response())
}

/// How many entries are asked for: a whole number, as a number or as text.
fn start(value: Option<&Value>) -> Option<usize> {
    let start = match value? {
        Value::Number(number) => number.as_u64()?,
        Value::String(text) => {
            let text = text.trim();
            let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse().ok().filter(|_: &u64| is_plain)?
        }
        _ => return None,
    };
    let most = start.saturating_add(MORE_LOGS);
    Some(usize::try_from(most).unwrap_or(usize::MAX).min(MAX_HOST_LOGS))
}

/// `POST /clearit`
pub(super) async fn clear(State(app): State<App>, request: Request) -> Result<Response, Refusal> {
    let asked = Asked::of(&app, request).await?;
    let Some(Value::Object(wanted)) = asked.body.get("request") else { return Err(Refusal::Error) };
    clear_of(&app, &asked.who, wanted.get("clear")).await
}

pub(super) async fn clear_of(
    app: &App,
    who: &Principal,
    wanted: Option<&Value>,
) -> Result<Response, Refusal> {
    let what = match wanted.and_then(Value::as_str) {
        Some("logs") => Clear::Logs,
        Some("servers") => Clear::Servers,
        _ => Clear::Address(address(wanted)?),
    };
    app.hub.glimpse_clear(who, what, auth::now()).await?;
    Ok(done())
}

/// See [`super::read_body`].
pub(super) fn read(body: &[u8]) -> bool {
    let Some(mut body) = object(body) else { return false };
    let wanted = body.get("get_logs").and_then(|wanted| start(wanted.get("start")));
    let is_address = address(body.get("IP")).is_ok();
    entry(&mut body).is_ok() | wanted.is_some() | is_address
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_is_a_whole_number_that_is_not_negative() {
        for (value, most) in [
            (json!(0), Some(10)),
            (json!("5"), Some(15)),
            (json!(" 7 "), Some(17)),
            (json!(1_000_000_000_u64), Some(MAX_HOST_LOGS)),
            (json!(-1), None),
            (json!("-1"), None),
            (json!("x"), None),
            (json!(""), None),
            (json!(1.5), None),
            (json!("99999999999999999999999999"), None),
            (json!(null), None),
            (json!([1]), None),
        ] {
            assert_eq!(start(Some(&value)), most, "{value}");
        }
        assert_eq!(start(None), None);
    }

    #[test]
    fn an_address_is_one_of_a_machine() {
        for good in ["192.0.2.1", " 10.0.0.1 ", "2001:db8::1", "127.0.0.1"] {
            assert!(address(Some(&json!(good))).is_ok(), "{good}");
        }
        for bad in ["", "web-1", "256.1.1.1", "1.2.3", "0.0.0.0", "::", "224.0.0.1", "192.0.2.1/24"]
        {
            assert!(address(Some(&json!(bad))).is_err(), "{bad}");
        }
        assert!(address(Some(&json!(7))).is_err() && address(None).is_err());
    }

    #[test]
    fn an_entry_comes_in_two_forms() {
        let mut script =
            object(br#"{"IP":"192.0.2.1","log":{"timestamp":"t","msg":"m"}}"#).unwrap();
        let mut readme =
            object(br#"{"logs":{"IP":"192.0.2.1","Timestamp":"t","msg":"m"}}"#).unwrap();
        assert_eq!(entry(&mut script).unwrap(), entry(&mut readme).unwrap());
        let mut neither = object(br#"{"IP":"192.0.2.1","log":"m"}"#).unwrap();
        assert!(entry(&mut neither).is_err());
    }
}
