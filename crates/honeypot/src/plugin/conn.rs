//! `conn`: the connection that a script serves, and what is shared by all that
//! belongs to one visit.

use std::cell::{Cell, RefCell};
use std::ops::{Deref, DerefMut};
use std::rc::Rc;
use std::time::Duration;

use mlua::{Lua, LuaString, MultiValue, Table, UserData, UserDataFields, Value, Variadic};
use palisade_event::Endpoint;

use super::fault::Fault;
use super::vm::Inside;
use super::wire::Wire;
use crate::{Closed, Session, Stream};

/// Most bytes of one read of a script.
pub(crate) const MAX_READ_BYTES: usize = 64 * 1024;
/// Most bytes that [`peek`] waits for.
pub(crate) const MAX_PEEK_BYTES: usize = 4 * 1024;
/// Longest line where the script names no other length.
pub(crate) const DEFAULT_LINE_BYTES: usize = 1_024;
/// Longest pause of a script, in seconds.
pub(crate) const MAX_SLEEP_SECS: f64 = 30.0;
/// Most events of one visit.
pub(crate) const MAX_EVENTS: u32 = 1_000;
/// Bytes that are asked of the socket at a time.
const CHUNK_BYTES: usize = 4_096;
/// Reads that say `closed` before the script is stopped: it does not look.
const MAX_CLOSED_READS: u32 = 8;

/// Why a script is not asked any further.
#[derive(Debug)]
pub(crate) enum Ended {
    /// As a connection ends.
    Closed(Closed),
    /// It has broken a limit.
    Fault(Fault),
}

/// What belongs to one visit; its script and its driver share it.
#[derive(Debug)]
pub(crate) struct Visit {
    /// Taken out while something waits. In a box: what waits holds no second room
    /// for them.
    parts: RefCell<Option<Box<Parts>>>,
    ended: RefCell<Option<Ended>>,
    events: Cell<u32>,
    timeout: Cell<Option<Duration>>,
    closed_reads: Cell<u32>,
    table: RefCell<Option<Table>>,
}

/// The session and its connection.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) session: Session,
    pub(crate) wire: Wire,
    /// Read and not yet given to the script.
    pub(crate) buffer: Vec<u8>,
}

impl Parts {
    /// The session, and the stream where there is one.
    pub(crate) fn into_session(self) -> (Session, Option<Box<Stream>>) {
        match self.wire {
            Wire::Socket(stream, _) => (self.session, Some(stream)),
            Wire::Dialog(_) | Wire::Nobody => (self.session, None),
        }
    }
}

/// The parts, taken out; they go back when this is dropped.
pub(crate) struct Taken {
    visit: Rc<Visit>,
    parts: Option<Box<Parts>>,
}

impl Taken {
    /// Gives the parts back before [`Visit::stop`]: what is stopped there keeps all
    /// that it holds until its coroutine is collected, which is too late to tell
    /// the end of the session.
    pub(crate) fn give_back(&mut self) {
        if let Some(parts) = self.parts.take() {
            *self.visit.parts.borrow_mut() = Some(parts);
        }
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.give_back();
    }
}

impl Deref for Taken {
    type Target = Parts;
    fn deref(&self) -> &Parts {
        match &self.parts {
            Some(parts) => parts,
            None => unreachable!("they are there until it is dropped"),
        }
    }
}

impl DerefMut for Taken {
    fn deref_mut(&mut self) -> &mut Parts {
        match &mut self.parts {
            Some(parts) => parts,
            None => unreachable!("they are there until it is dropped"),
        }
    }
}

impl Visit {
    pub(crate) fn new(session: Session, wire: Wire) -> Rc<Self> {
        Rc::new(Self {
            parts: RefCell::new(Some(Box::new(Parts { session, wire, buffer: Vec::new() }))),
            ended: RefCell::new(None),
            events: Cell::new(0),
            timeout: Cell::new(None),
            closed_reads: Cell::new(0),
            table: RefCell::new(None),
        })
    }

    /// The parts for one call.
    ///
    /// # Errors
    /// Another call of the same connection waits, in another coroutine.
    pub(crate) fn take(self: &Rc<Self>) -> mlua::Result<Taken> {
        let parts = self.parts.borrow_mut().take();
        match parts {
            Some(parts) => Ok(Taken { visit: Rc::clone(self), parts: Some(parts) }),
            None => Err(mlua::Error::runtime(
                "this connection is waiting already, in another coroutine",
            )),
        }
    }

    /// The parts for good, after the script has ended.
    pub(crate) fn finish(&self) -> Option<Parts> {
        self.table.take();
        self.parts.borrow_mut().take().map(|parts| *parts)
    }

    /// Whether a call of the script waits.
    pub(crate) fn waits(&self) -> bool {
        self.parts.borrow().is_none()
    }

    /// Why the script must not go on.
    pub(crate) fn take_ended(&self) -> Option<Ended> {
        self.ended.borrow_mut().take()
    }

    /// Whether the client had left when the script still asked.
    pub(crate) fn client_left(&self) -> bool {
        self.closed_reads.get() > 0
    }

    /// Stops the script here: it is never resumed, whatever it would catch.
    pub(crate) async fn stop<T>(&self, why: Ended) -> mlua::Result<T> {
        self.ended.borrow_mut().get_or_insert(why);
        std::future::pending().await
    }

    /// Counts an event; false: there were too many.
    pub(crate) fn may_tell(&self) -> bool {
        let told = self.events.get();
        self.events.set(told.saturating_add(1));
        told < MAX_EVENTS
    }
}

/// The connection as scripts have it.
#[derive(Clone, Debug)]
pub(crate) struct Conn(pub(crate) Rc<Visit>, pub(crate) Rc<Inside>);

impl UserData for Conn {
    fn add_fields<F: UserDataFields<Self>>(fields: &mut F) {
        fields
            .add_field_method_get("peer", |lua, conn| endpoint(lua, conn.0.take()?.session.peer()));
        fields.add_field_method_get("server", |lua, conn| {
            endpoint(lua, conn.0.take()?.session.local())
        });
        fields.add_field_method_get("tls", |_, conn| Ok(conn.0.take()?.wire.is_tls()));
        fields.add_field_method_get("session", |lua, conn| {
            if let Some(table) = &*conn.0.table.borrow() {
                return Ok(table.clone());
            }
            let table = lua.create_table()?;
            table.raw_set("id", conn.0.take()?.session.id().as_str())?;
            *conn.0.table.borrow_mut() = Some(table.clone());
            Ok(table)
        });
    }

    fn add_methods<M: mlua::UserDataMethods<Self>>(methods: &mut M) {
        super::functions::add_methods(methods);
    }
}

/// `{address = …, port = …}`.
pub(crate) fn endpoint(lua: &Lua, end: Endpoint) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    table.raw_set("address", end.address.to_string())?;
    table.raw_set("port", end.port)?;
    Ok(table)
}

/// What a read brought.
enum Read {
    /// Enough bytes are in the buffer.
    Enough,
    /// No more will come for now; why.
    Short(&'static str),
}

/// Reads until `enough` says how many bytes of the buffer are wanted, or until
/// `most` are there.
async fn read_until(
    visit: &Rc<Visit>,
    parts: &mut Taken,
    most: usize,
    mut enough: impl FnMut(&[u8]) -> bool,
) -> mlua::Result<Read> {
    if enough(&parts.buffer) || parts.buffer.len() >= most {
        return Ok(Read::Enough);
    }
    let limit = visit.timeout.get();
    parts.wire.set_step(limit);
    let came = fill(parts, most, enough).await;
    // What is said next has the time of the session.
    parts.wire.set_step(None);
    match came {
        Ok(()) => Ok(Read::Enough),
        Err(Closed::Idle) if limit.is_some() => Ok(Read::Short("timeout")),
        Err(Closed::ClientClosed) => {
            let before = visit.closed_reads.get();
            visit.closed_reads.set(before + 1);
            if before >= MAX_CLOSED_READS {
                parts.give_back();
                return visit.stop(Ended::Closed(Closed::ClientClosed)).await;
            }
            Ok(Read::Short("closed"))
        }
        Err(why) => {
            parts.give_back();
            visit.stop(Ended::Closed(why)).await
        }
    }
}

/// Reads until `enough` or `most`.
async fn fill(
    parts: &mut Parts,
    most: usize,
    mut enough: impl FnMut(&[u8]) -> bool,
) -> Result<(), Closed> {
    loop {
        if parts.buffer.is_empty() {
            // A session that waits holds no room.
            parts.buffer = Vec::new();
        }
        let room = (most - parts.buffer.len()).clamp(1, CHUNK_BYTES);
        parts.wire.read(&mut parts.buffer, room).await?;
        if enough(&parts.buffer) || parts.buffer.len() >= most {
            return Ok(());
        }
    }
}

fn count(lua_count: f64, most: usize, what: &str) -> mlua::Result<usize> {
    let wrong = || mlua::Error::runtime(format!("{what} is a whole number from 1 to {most}"));
    if lua_count.fract() != 0.0 || !(1.0..=most as f64).contains(&lua_count) {
        return Err(wrong());
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is whole and in range"
    )]
    Ok(lua_count as usize)
}

/// The first `length` bytes of the buffer, as Luau has them.
fn give(lua: &Lua, parts: &mut Parts, length: usize) -> mlua::Result<Value> {
    let length = length.min(parts.buffer.len());
    let text = lua.create_string(parts.buffer.get(..length).unwrap_or_default())?;
    parts.buffer.drain(..length);
    Ok(Value::String(text))
}

/// `nil, why, what came so far`.
fn short(lua: &Lua, parts: &mut Parts, why: &str) -> mlua::Result<MultiValue> {
    let all = parts.buffer.len();
    let partial = if all > 0 { give(lua, parts, all)? } else { Value::Nil };
    Ok(MultiValue::from_iter([Value::Nil, Value::String(lua.create_string(why)?), partial]))
}

fn one(value: Value) -> MultiValue {
    MultiValue::from_iter([value])
}

/// `conn:read(max)`.
pub(crate) async fn read(lua: Lua, visit: Rc<Visit>, max: f64) -> mlua::Result<MultiValue> {
    let max = count(max, MAX_READ_BYTES, "max")?;
    let mut parts = visit.take()?;
    match read_until(&visit, &mut parts, max, |buffer| !buffer.is_empty()).await? {
        Read::Enough => Ok(one(give(&lua, &mut parts, max)?)),
        Read::Short(why) => short(&lua, &mut parts, why),
    }
}

/// `conn:read_exact(n)`.
pub(crate) async fn read_exact(lua: Lua, visit: Rc<Visit>, n: f64) -> mlua::Result<MultiValue> {
    let n = count(n, MAX_READ_BYTES, "n")?;
    let mut parts = visit.take()?;
    match read_until(&visit, &mut parts, n, |buffer| buffer.len() >= n).await? {
        Read::Enough => Ok(one(give(&lua, &mut parts, n)?)),
        Read::Short(why) => short(&lua, &mut parts, why),
    }
}

/// `conn:peek(n)`.
pub(crate) async fn peek(lua: Lua, visit: Rc<Visit>, n: f64) -> mlua::Result<MultiValue> {
    let n = count(n, MAX_PEEK_BYTES, "n")?;
    let mut parts = visit.take()?;
    let came = read_until(&visit, &mut parts, n, |buffer| buffer.len() >= n).await?;
    let seen = lua.create_string(parts.buffer.get(..n).unwrap_or(&parts.buffer))?;
    let seen = Value::String(seen);
    Ok(match came {
        Read::Enough => one(seen),
        Read::Short(why) => {
            MultiValue::from_iter([Value::Nil, Value::String(lua.create_string(why)?), seen])
        }
    })
}

/// Where `mark` is in `buffer`, from `from` on.
fn find(buffer: &[u8], mark: &[u8], from: usize) -> Option<usize> {
    let at = buffer.get(from..)?.windows(mark.len()).position(|part| part == mark)?;
    Some(from + at)
}

/// `conn:read_until(mark, max)`.
pub(crate) async fn read_to_mark(
    lua: Lua,
    visit: Rc<Visit>,
    mark: LuaString,
    max: f64,
) -> mlua::Result<MultiValue> {
    let max = count(max, MAX_READ_BYTES, "max")?;
    let mark = mark.as_bytes().to_vec();
    if mark.is_empty() || mark.len() > 64 {
        return Err(mlua::Error::runtime("mark has 1 to 64 bytes"));
    }
    let mut parts = visit.take()?;
    let (mut at, mut seen) = (None, 0);
    let came = read_until(&visit, &mut parts, max, |buffer| {
        at = find(buffer, &mark, seen);
        seen = buffer.len().saturating_sub(mark.len() - 1);
        at.is_some()
    })
    .await?;
    match (came, at.map(|at| at + mark.len()).filter(|end| *end <= max)) {
        (_, Some(end)) => Ok(one(give(&lua, &mut parts, end)?)),
        (Read::Enough, None) => {
            let partial = give(&lua, &mut parts, max)?;
            let why = Value::String(lua.create_string("long")?);
            Ok(MultiValue::from_iter([Value::Nil, why, partial]))
        }
        (Read::Short(why), None) => short(&lua, &mut parts, why),
    }
}

/// `conn:read_line(max)`.
pub(crate) async fn read_line(
    lua: Lua,
    visit: Rc<Visit>,
    max: Option<f64>,
) -> mlua::Result<MultiValue> {
    let max = count(max.unwrap_or(DEFAULT_LINE_BYTES as f64), MAX_READ_BYTES, "max")?;
    let mut parts = visit.take()?;
    let (mut at, mut seen) = (None, 0);
    // The end of the longest line takes two bytes more.
    let came = read_until(&visit, &mut parts, max + 2, |buffer| {
        at = find(buffer, b"\n", seen);
        seen = buffer.len();
        at.is_some()
    })
    .await?;
    let line = at.map(|end| {
        let return_before = end > 0 && parts.buffer.get(end - 1) == Some(&b'\r');
        (end - usize::from(return_before), end + 1)
    });
    match (came, line) {
        (_, Some((length, with_end))) if length <= max => {
            let line = lua.create_string(parts.buffer.get(..length).unwrap_or_default())?;
            parts.buffer.drain(..with_end);
            Ok(one(Value::String(line)))
        }
        (Read::Short(why), _) => short(&lua, &mut parts, why),
        (Read::Enough, _) => {
            let first = give(&lua, &mut parts, max)?;
            Ok(MultiValue::from_iter([first, Value::String(lua.create_string("long")?)]))
        }
    }
}

/// `conn:write(text, …)`.
pub(crate) async fn write(visit: Rc<Visit>, texts: Variadic<LuaString>) -> mlua::Result<()> {
    let mut parts = visit.take()?;
    for text in texts {
        // No copy: the text is held while it is sent.
        let bytes = text.as_bytes();
        if let Err(why) = parts.wire.write(&bytes).await {
            parts.give_back();
            return visit.stop(Ended::Closed(why)).await;
        }
    }
    Ok(())
}

/// `conn:sleep(seconds)`.
pub(crate) async fn sleep(visit: Rc<Visit>, seconds: f64) -> mlua::Result<()> {
    let time = seconds_of(seconds, MAX_SLEEP_SECS)?;
    let mut parts = visit.take()?;
    match parts.wire.pause(time).await {
        Ok(()) => Ok(()),
        Err(why) => {
            parts.give_back();
            visit.stop(Ended::Closed(why)).await
        }
    }
}

/// `conn:timeout(seconds)`.
pub(crate) fn set_timeout(visit: &Rc<Visit>, seconds: Option<f64>) -> mlua::Result<()> {
    let limit = seconds.map(|seconds| seconds_of(seconds, 86_400.0)).transpose()?;
    visit.timeout.set(limit);
    if limit.is_none() {
        visit.take()?.wire.set_step(None);
    }
    Ok(())
}

fn seconds_of(seconds: f64, most: f64) -> mlua::Result<Duration> {
    if !(0.0..=most).contains(&seconds) {
        return Err(mlua::Error::runtime(format!("seconds is a number from 0 to {most}")));
    }
    Ok(Duration::from_secs_f64(seconds))
}

/// `conn:starttls()`.
pub(crate) async fn start_tls(lua: Lua, visit: Rc<Visit>) -> mlua::Result<MultiValue> {
    let mut parts = visit.take()?;
    parts.wire.set_step(None);
    let Parts { session, wire, buffer } = &mut *parts;
    let came = wire.start_tls(session, std::mem::take(buffer)).await;
    parts.give_back();
    match came {
        Ok(Ok(())) => Ok(one(Value::Boolean(true))),
        // Nothing that is said after a handshake that failed can be understood.
        Ok(Err("handshake")) => visit.stop(Ended::Closed(Closed::Completed)).await,
        Ok(Err(why)) => {
            let why = Value::String(lua.create_string(why)?);
            Ok(MultiValue::from_iter([Value::Boolean(false), why]))
        }
        Err(why) => visit.stop(Ended::Closed(why)).await,
    }
}

/// `conn:close()`.
pub(crate) async fn close(visit: Rc<Visit>) -> mlua::Result<()> {
    visit.stop(Ended::Closed(Closed::Completed)).await
}

impl Conn {
    /// Its visit, for a call that may wait.
    ///
    /// # Errors
    /// The script of another visit calls, or another coroutine.
    pub(crate) fn own(&self, lua: &Lua) -> mlua::Result<Rc<Visit>> {
        let visit = self.1.visit(lua)?;
        if Rc::ptr_eq(&visit, &self.0) {
            return Ok(visit);
        }
        Err(mlua::Error::runtime("this is the connection of another client"))
    }
}
