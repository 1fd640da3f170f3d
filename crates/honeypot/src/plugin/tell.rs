//! What scripts tell: each call is one event of the visit that runs, in order,
//! within the limits of events. A full channel makes the script wait, and so
//! the attacker.

use std::rc::Rc;
use std::time::Instant;

use mlua::{Lua, LuaString, MultiValue, Table, Value};
use palisade_event::{
    AttributeValue, Credentials, Event, EventKind, Fingerprints, MAX_TEXT_BYTES, Outcome, Untrusted,
};

use super::columns::{self, Row};
use super::conn::{Ended, MAX_EVENTS, Taken, Visit};
use super::fault::Fault;
use super::stats::PluginStats;
use super::vm::Inside;
use crate::service::record;
use crate::shell::{Act, sha256};

/// Longest name, password or banner that is kept, in bytes.
const MAX_NAME_BYTES: usize = 4 * 1024;
/// Longest row as text.
const MAX_ROW_TEXT_BYTES: usize = 4 * 1024;
/// Longest headers of a request.
const MAX_HEADERS_BYTES: usize = 16 * 1024;
/// Largest captured file.
pub(crate) const MAX_ARTIFACT_BYTES: usize = 5 * 1024 * 1024;
/// Most words of an option such as `method`.
const MAX_WORD_BYTES: usize = 64;

/// The first bytes of a text, and whether there are more.
fn first(text: &LuaString, most: usize) -> (Untrusted, bool) {
    let bytes = text.as_bytes();
    let kept = bytes.get(..most).unwrap_or(&bytes);
    (Untrusted::new(kept.to_vec()), kept.len() < bytes.len())
}

fn option(table: Option<&Table>, key: &str) -> mlua::Result<Option<LuaString>> {
    match table {
        Some(table) => table.raw_get(key),
        None => Ok(None),
    }
}

/// A short plain word, such as the name of a method.
fn word(table: Option<&Table>, key: &str) -> mlua::Result<Option<Untrusted>> {
    Ok(option(table, key)?.map(|text| first(&text, MAX_WORD_BYTES).0))
}

/// Begins an event of the visit that runs.
async fn begin(visit: &Rc<Visit>, kind: EventKind) -> mlua::Result<(Taken, Event)> {
    if !visit.may_tell() {
        let fault = Fault::of(format!("it has told more than {MAX_EVENTS} events in one session"));
        return visit.stop(Ended::Fault(fault)).await;
    }
    let mut parts = visit.take()?;
    let event = parts.session.event(kind);
    Ok((parts, event))
}

async fn emit(visit: &Rc<Visit>, mut parts: Taken, event: Event) -> mlua::Result<()> {
    let told = parts.session.emit(event).await;
    parts.give_back();
    match told {
        Ok(()) => Ok(()),
        Err(why) => visit.stop(Ended::Closed(why)).await,
    }
}

/// A row as `verb=USER argument=root`, so that it is found by its words.
fn as_text(row: &Row) -> Untrusted {
    let mut text = Vec::new();
    for (name, value) in row {
        if !text.is_empty() {
            text.push(b' ');
        }
        text.extend_from_slice(name.as_bytes());
        text.push(b'=');
        match value {
            AttributeValue::Text(value) => text.extend_from_slice(value.as_bytes()),
            other => text.extend_from_slice(other.to_string().as_bytes()),
        }
        if text.len() > MAX_ROW_TEXT_BYTES {
            break;
        }
    }
    text.truncate(MAX_ROW_TEXT_BYTES);
    Untrusted::new(text)
}

/// `record{…}`.
pub(crate) async fn record(
    lua: Lua,
    inside: Rc<Inside>,
    visit: Rc<Visit>,
    row: Value,
) -> mlua::Result<MultiValue> {
    let declared = inside.manifest.get().map(|manifest| manifest.columns.as_slice());
    let row = match columns::check(declared.unwrap_or_default(), &row) {
        Ok(row) => row,
        Err((why, sentence)) => {
            inside.stats.refuse(why, &sentence);
            let sentence = Value::String(lua.create_string(sentence)?);
            return Ok(MultiValue::from_iter([Value::Boolean(false), sentence]));
        }
    };
    let (parts, event) = begin(&visit, EventKind::PluginRecorded).await?;
    let mut event = event.with("plugin", inside.name.as_str());
    event.request = Some(as_text(&row));
    for (name, value) in row {
        event.attributes.insert(name.into(), value);
    }
    emit(&visit, parts, event).await?;
    PluginStats::count(&inside.stats.rows);
    Ok(MultiValue::from_iter([Value::Boolean(true)]))
}

/// `credentials{username=, password=, outcome=, method=}`.
pub(crate) async fn credentials(visit: Rc<Visit>, told: Table) -> mlua::Result<()> {
    let outcome = match option(Some(&told), "outcome")? {
        None => Outcome::Failed,
        Some(text) if *text.as_bytes() == *b"failed" => Outcome::Failed,
        Some(text) if *text.as_bytes() == *b"accepted" => Outcome::Accepted,
        Some(_) => {
            let why = "credentials: outcome is \"failed\" or \"accepted\"";
            return Err(mlua::Error::runtime(why));
        }
    };
    let name = option(Some(&told), "username")?.map(|text| first(&text, MAX_NAME_BYTES));
    let password = option(Some(&told), "password")?.map(|text| first(&text, MAX_NAME_BYTES));
    let cut = [&name, &password].into_iter().flatten().any(|(_, cut)| *cut);
    let method = word(Some(&told), "method")?;
    let (parts, mut event) = begin(&visit, EventKind::AuthAttempted).await?;
    event.credentials = Some(Credentials {
        username: name.map(|(text, _)| text),
        password: password.map(|(text, _)| text),
        outcome: Some(outcome),
    });
    if let Some(method) = method {
        event = event.with("method", method);
    }
    if cut {
        event = event.with("truncated", true);
    }
    emit(&visit, parts, event).await
}

/// `command(text)` and `data(bytes)`: an event with a request alone.
pub(crate) async fn text(visit: Rc<Visit>, kind: EventKind, text: LuaString) -> mlua::Result<()> {
    let (text, cut) = first(&text, MAX_TEXT_BYTES);
    let (parts, mut event) = begin(&visit, kind).await?;
    event.request = Some(text);
    if cut {
        event = event.with("truncated", true);
    }
    emit(&visit, parts, event).await
}

/// `request(text, options)` and `http(text, options)`.
pub(crate) async fn request(
    visit: Rc<Visit>,
    kind: EventKind,
    text: LuaString,
    options: Option<Table>,
) -> mlua::Result<()> {
    let options = options.as_ref();
    let (text, cut) = first(&text, MAX_TEXT_BYTES);
    let agent = option(options, "user_agent")?.map(|text| first(&text, MAX_NAME_BYTES).0);
    let cve = option(options, "cve")?.map(|cve| cve.to_string_lossy());
    if cve.as_ref().is_some_and(|cve| cve.len() > 32 || !cve.is_ascii()) {
        return Err(mlua::Error::runtime("cve has at most 32 ASCII characters"));
    }
    let headers = option(options, "headers")?.map(|text| first(&text, MAX_HEADERS_BYTES).0);
    let body = option(options, "body")?.map(|text| first(&text, MAX_TEXT_BYTES).0);
    let protocol = word(options, "protocol")?;
    let status: Option<i64> = match options {
        Some(options) => options.raw_get("status")?,
        None => None,
    };
    let (parts, mut event) = begin(&visit, kind).await?;
    event.request = Some(text);
    event.cve = cve.map(Into::into);
    let ja4 = parts.session.ja4().map(Into::into);
    if agent.is_some() || ja4.is_some() {
        let prints = Fingerprints { user_agent: agent, ja4, ..Fingerprints::default() };
        event.fingerprints = Some(Box::new(prints));
    }
    for (name, value) in [("headers", headers), ("body", body), ("protocol", protocol)] {
        if let Some(value) = value {
            event = event.with(name, value);
        }
    }
    if let Some(status) = status {
        event = event.with("status", status);
    }
    if cut {
        event = event.with("truncated", true);
    }
    emit(&visit, parts, event).await
}

/// `client(text)`.
pub(crate) async fn client(visit: Rc<Visit>, text: LuaString) -> mlua::Result<()> {
    let (text, _) = first(&text, MAX_NAME_BYTES);
    let (parts, mut event) = begin(&visit, EventKind::ClientIdentified).await?;
    event.client = Some(text);
    emit(&visit, parts, event).await
}

/// `download(url, tool)`.
pub(crate) async fn download(
    visit: Rc<Visit>,
    url: LuaString,
    tool: Option<LuaString>,
) -> mlua::Result<()> {
    let (url, _) = first(&url, MAX_TEXT_BYTES);
    let (parts, event) = begin(&visit, EventKind::DownloadAttempted).await?;
    let tool = tool.map(|tool| first(&tool, MAX_WORD_BYTES).0);
    let mut event = event.with("outcome", "not-fetched");
    if let Some(tool) = tool {
        event = event.with("tool", tool);
    }
    event.request = Some(url);
    emit(&visit, parts, event).await
}

/// `artifact(bytes, name)`.
pub(crate) async fn artifact(
    visit: Rc<Visit>,
    bytes: LuaString,
    name: Option<LuaString>,
) -> mlua::Result<()> {
    let name = name.map(|name| first(&name, MAX_NAME_BYTES).0.to_lossy().into_owned());
    let length = bytes.as_bytes().len();
    if length > MAX_ARTIFACT_BYTES {
        let why = format!("artifact: {length} bytes are more than {MAX_ARTIFACT_BYTES}");
        return Err(mlua::Error::runtime(why));
    }
    // Counts as the events it may become.
    let pieces = length.div_ceil(MAX_TEXT_BYTES).max(1);
    for _ in 1..pieces {
        visit.may_tell();
    }
    let (mut parts, _) = begin(&visit, EventKind::PayloadCaptured).await?;
    let bytes = bytes.as_bytes().to_vec();
    let hash = sha256(&bytes);
    let path = name.unwrap_or_else(|| "artifact".to_owned());
    let act = Act::FileDropped { path, bytes: std::sync::Arc::new(bytes), hash };
    let told = Box::pin(record::acts(&mut parts.session, vec![act])).await;
    parts.give_back();
    match told {
        Ok(()) => Ok(()),
        Err(why) => visit.stop(Ended::Closed(why)).await,
    }
}

/// `log(text)`.
pub(crate) fn log(inside: &Inside, text: &LuaString) {
    if inside.stats.may_log(Instant::now()) {
        let (text, _) = first(text, 200);
        tracing::info!(plugin = %inside.name, %text, "a plug-in says");
    }
}
