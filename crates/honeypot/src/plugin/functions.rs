//! All host functions: one table that registers each and documents it. The
//! reference in docs/PLUGINS.md is written from it.

use std::fmt::Write as _;
use std::pin::Pin;
use std::rc::Rc;

use mlua::{Lua, LuaString, Table, UserDataMethods, Value, Variadic};
use palisade_event::EventKind;

use super::conn::{self, Conn, Visit};
use super::vm::Inside;
use super::{tell, tools};

/// What a script can use.
#[derive(Clone, Copy, Debug)]
pub struct HostFunction {
    /// The heading it stands below.
    pub group: &'static str,
    /// How it is written.
    pub form: &'static str,
    /// What it does.
    pub meaning: &'static str,
    install: Option<Install>,
}

/// Puts a function into a table.
type Install = fn(&Lua, &Rc<Inside>, &Table) -> mlua::Result<()>;

const CONN: &str = "The connection";
const TELL: &str = "What is told";
const FACTS: &str = "The made-up machine";
const RANDOM: &str = "Chance that stays the same";
const BYTES: &str = "Bytes";
const REST: &str = "Other";

/// A method or field of `conn`; [`add_methods`] registers it.
const fn of_conn(form: &'static str, meaning: &'static str) -> HostFunction {
    HostFunction { group: CONN, form, meaning, install: None }
}

const fn function(
    group: &'static str,
    form: &'static str,
    meaning: &'static str,
    install: Install,
) -> HostFunction {
    HostFunction { group, form, meaning, install: Some(install) }
}

/// Registers a function of the host that does not wait.
macro_rules! plain {
    ($name:literal, |$lua:ident, $inside:ident, $args:tt : $type:ty| $body:expr) => {
        |lua, inside, table| {
            let shared = Rc::clone(inside);
            let function = lua.create_function(move |$lua, $args: $type| {
                let $inside = &shared;
                let _ = $inside;
                $body
            })?;
            table.raw_set($name, function)
        }
    };
}

/// Registers a function of the host that may wait; it belongs to the visit
/// whose script runs.
macro_rules! telling {
    ($name:literal, |$lua:ident, $inside:ident, $visit:ident, $args:tt : $type:ty| $body:expr) => {
        |lua, inside, table| {
            let shared = Rc::clone(inside);
            let function = lua.create_async_function(move |$lua, $args: $type| {
                let $inside = Rc::clone(&shared);
                call($inside.visit(&$lua), |$visit| async move {
                    let _ = (&$lua, &$inside);
                    $body.await
                })
            })?;
            table.raw_set($name, function)
        }
    };
}

/// Every host function, in the order of the reference.
pub const ALL: &[HostFunction] = &[
    of_conn(
        "conn:read(max)",
        "Waits for at least one byte and returns at most `max` (1 to 65536). When there is nothing: `nil, why`, with `why` being `\"closed\"` (the client has left) or `\"timeout\"`.",
    ),
    of_conn(
        "conn:read_exact(n)",
        "Waits for exactly `n` bytes (1 to 65536). When fewer come: `nil, why, partial`.",
    ),
    of_conn(
        "conn:read_line(max)",
        "Waits for a line and returns it without its `\\n` or `\\r\\n`. `max` is 1024 where it is left out, and at most 65536. Of a longer line: its first `max` bytes and `\"long\"`; the rest comes with the next read. When no whole line comes: `nil, why, partial`.",
    ),
    of_conn(
        "conn:read_until(mark, max)",
        "Waits for `mark` (1 to 64 bytes) and returns all up to and with it. When it is not among the first `max` bytes: `nil, \"long\", those bytes`. When no more comes: `nil, why, partial`.",
    ),
    of_conn(
        "conn:peek(n)",
        "Waits until `n` bytes (1 to 4096) are there and returns them; the next read returns them again. When fewer come: `nil, why, partial`.",
    ),
    of_conn(
        "conn:write(text, …)",
        "Sends all of it. A client that has left ends the session here.",
    ),
    of_conn(
        "conn:sleep(seconds)",
        "Waits, as a slow server does: 0 to 30 seconds. In transcripts no time passes.",
    ),
    of_conn(
        "conn:timeout(seconds)",
        "From now on each read waits at most so long and then returns `nil, \"timeout\"`. `nil` or nothing: until the idle limit of the honeypots, which ends the session.",
    ),
    of_conn(
        "conn:starttls()",
        "Begins TLS: `true`, or `false, why` where there is no certificate (`certificate = true` in the table) or the client speaks no TLS. A handshake that fails ends the session. What the client offers is recorded.",
    ),
    of_conn("conn:close()", "Ends the session now, as returning from `serve` does."),
    of_conn(
        "conn.peer, conn.server",
        "The client's end and ours: `{address = \"192.0.2.1\", port = 40000}`.",
    ),
    of_conn("conn.tls", "Whether TLS is spoken."),
    of_conn(
        "conn.session",
        "A table of this connection, with its `id`; put into it what you like.",
    ),
    function(
        TELL,
        "record{column = value, …}",
        "A row of the declared columns: `plugin.recorded`. A column left out is NULL. Returns `true`, or `false, why` where the row is refused, which is counted.",
        telling!("record", |lua, inside, visit, row: Value| tell::record(lua, inside, visit, row)),
    ),
    function(
        TELL,
        "credentials{username =, password =, outcome =, method =}",
        "Somebody tried to log in: `auth.attempted`. `outcome` is `\"failed\"` (also where it is left out) or `\"accepted\"`.",
        telling!("credentials", |lua, inside, visit, told: Table| tell::credentials(visit, told)),
    ),
    function(
        TELL,
        "command(text)",
        "A command was entered: `command.entered`.",
        telling!("command", |lua, inside, visit, text: LuaString| tell::text(
            visit,
            EventKind::CommandEntered,
            text
        )),
    ),
    function(
        TELL,
        "request(text, {cve =, user_agent =, protocol =})",
        "Something was asked of the service: `request.received`. The table may be left out.",
        telling!("request", |lua, inside, visit, (text, more): (LuaString, Option<Table>)| {
            tell::request(visit, EventKind::RequestReceived, text, more)
        }),
    ),
    function(
        TELL,
        "http(text, {status =, user_agent =, headers =, body =, cve =})",
        "A request over HTTP, as `GET /path`: `http.requested`. The table may be left out.",
        telling!("http", |lua, inside, visit, (text, more): (LuaString, Option<Table>)| {
            tell::request(visit, EventKind::HttpRequested, text, more)
        }),
    ),
    function(
        TELL,
        "client(text)",
        "What software the client says it is: `client.identified`.",
        telling!("client", |lua, inside, visit, text: LuaString| tell::client(visit, text)),
    ),
    function(
        TELL,
        "data(bytes)",
        "Bytes that are not of the protocol: `data.received`.",
        telling!("data", |lua, inside, visit, text: LuaString| tell::text(
            visit,
            EventKind::DataReceived,
            text
        )),
    ),
    function(
        TELL,
        "download(url, tool)",
        "The client asked for a file from elsewhere: `download.attempted`. Nothing is fetched.",
        telling!("download", |lua, inside, visit, (url, tool): (LuaString, Option<LuaString>)| {
            tell::download(visit, url, tool)
        }),
    ),
    function(
        TELL,
        "artifact(bytes, name)",
        "The client sent a file, which is kept: `payload.captured`. At most 5 MiB.",
        telling!(
            "artifact",
            |lua, inside, visit, (bytes, name): (LuaString, Option<LuaString>)| {
                tell::artifact(visit, bytes, name)
            }
        ),
    ),
    function(
        TELL,
        "log(text)",
        "A line for the operator in Palisade's log, at most one a second and 200 bytes long.",
        plain!("log", |_lua, inside, text: LuaString| {
            tell::log(inside, &text);
            Ok(())
        }),
    ),
    function(
        FACTS,
        "persona",
        "A table: `hostname`, `domain`, `system` (`\"debian12\"` or `\"ubuntu2204\"`), `pretty` (its long name), `kernel`, `arch`, `mac`, `address`, `installed` (seconds since 1970), `users` (a list of names), and `device` with `hostname`, `product`, `model`, `firmware` of the small device that telnet shows. One installation has one machine for ever, and all its services agree.",
        |lua, inside, table| table.raw_set("persona", tools::persona(lua, inside)?),
    ),
    function(
        RANDOM,
        "random.int(name, low, high)",
        "A whole number from `low` to `high`. Drawn from the installation, the plug-in and `name`: the same for ever, and another one elsewhere.",
        plain!("int", |_lua, inside, (name, low, high): (LuaString, f64, f64)| {
            tools::stable_int(inside, &name, low, high)
        }),
    ),
    function(
        RANDOM,
        "random.pick(name, list)",
        "One entry of a list, drawn in the same way.",
        plain!("pick", |_lua, inside, (name, list): (LuaString, Table)| tools::stable_pick(
            inside, &name, &list
        )),
    ),
    function(
        RANDOM,
        "random.hex(name, digits)",
        "Hexadecimal digits, drawn in the same way; at most 65536.",
        plain!("hex", |lua, inside, (name, n): (LuaString, f64)| tools::stable_hex(
            lua, inside, &name, n
        )),
    ),
    function(
        RANDOM,
        "random.bytes(name, n)",
        "Bytes, drawn in the same way; at most 65536.",
        plain!("bytes", |lua, inside, (name, n): (LuaString, f64)| tools::stable_bytes(
            lua, inside, &name, n
        )),
    ),
    function(
        RANDOM,
        "random.fresh(n)",
        "New random bytes at each call, for challenges and salts; at most 65536. In transcripts they are 00 01 02 and so on.",
        plain!("fresh", |lua, inside, n: f64| tools::fresh(lua, inside, n)),
    ),
    function(
        BYTES,
        "bytes.hex(text), bytes.unhex(text)",
        "Hexadecimal digits of bytes, and back; `nil` where it is not that.",
        |lua, inside, table| {
            let hex: Install = plain!("hex", |lua, inside, text: LuaString| tools::hex(lua, &text));
            hex(lua, inside, table)?;
            let unhex: Install =
                plain!("unhex", |lua, inside, text: LuaString| tools::unhex(lua, &text));
            unhex(lua, inside, table)
        },
    ),
    function(
        BYTES,
        "bytes.base64(text), bytes.unbase64(text)",
        "Base64 of bytes, and back; `nil` where it is not that.",
        |lua, inside, table| {
            let base64: Install =
                plain!("base64", |lua, inside, text: LuaString| tools::base64(lua, &text));
            base64(lua, inside, table)?;
            let back: Install =
                plain!("unbase64", |lua, inside, text: LuaString| tools::unbase64(lua, &text));
            back(lua, inside, table)
        },
    ),
    function(
        BYTES,
        "bytes.crc32(text)",
        "The CRC-32 as a number.",
        plain!("crc32", |_lua, inside, text: LuaString| Ok(tools::crc32(&text))),
    ),
    function(
        BYTES,
        "bytes.md5(text)",
        "The digest, 16 bytes.",
        plain!("md5", |lua, inside, text: LuaString| tools::md5(lua, &text)),
    ),
    function(
        BYTES,
        "bytes.sha1(text)",
        "The digest, 20 bytes.",
        plain!("sha1", |lua, inside, text: LuaString| tools::sha1(lua, &text)),
    ),
    function(
        BYTES,
        "bytes.sha256(text)",
        "The digest, 32 bytes.",
        plain!("sha256", |lua, inside, text: LuaString| tools::sha256(lua, &text)),
    ),
    function(
        BYTES,
        "bytes.hmac_sha256(key, text)",
        "The keyed digest, 32 bytes.",
        plain!("hmac_sha256", |lua, inside, (key, text): (LuaString, LuaString)| {
            tools::hmac_sha256(lua, &key, &text)
        }),
    ),
    function(
        BYTES,
        "bytes.des(key, blocks)",
        "Blocks of 8 bytes encrypted with DES (ECB), as VNC's passwords are.",
        plain!("des", |lua, inside, (key, blocks): (LuaString, LuaString)| {
            tools::des(lua, &key, &blocks)
        }),
    ),
    function(
        BYTES,
        "bytes.mirror(text)",
        "Each byte with its bits in the other order, as VNC's keys are.",
        plain!("mirror", |lua, inside, text: LuaString| tools::mirror(lua, &text)),
    ),
    function(
        BYTES,
        "bytes.xor(a, b)",
        "Two texts of one length, bit by bit.",
        plain!("xor", |lua, inside, (a, b): (LuaString, LuaString)| tools::xor(lua, &a, &b)),
    ),
    function(
        REST,
        "json.encode(value)",
        "The JSON text of a value. A table with `[1]` is a list.",
        plain!("encode", |lua, inside, value: Value| tools::encode(lua, &value)),
    ),
    function(
        REST,
        "json.decode(text)",
        "The value of a JSON text, or `nil, why`. Its `null` is `nil`.",
        plain!("decode", |lua, inside, text: LuaString| tools::decode(lua, &text)),
    ),
    function(
        REST,
        "clock()",
        "Seconds since 1970. In transcripts 1700000000.",
        plain!("clock", |_lua, inside, _: ()| Ok(tools::clock(inside))),
    ),
    function(
        REST,
        "date(format, seconds)",
        "A date in UTC, in the form of strftime: `date(\"%a, %d %b %Y %H:%M:%S +0000\")`. Without `seconds`: now.",
        plain!("date", |_lua, inside, (format, seconds): (String, Option<f64>)| {
            tools::date(inside, &format, seconds)
        }),
    ),
    HostFunction {
        group: REST,
        form: "require(\"./name\")",
        meaning: "What `name.luau` of the same folder returns; it runs once.",
        install: None,
    },
];

/// Puts them into the globals.
pub(crate) fn install(lua: &Lua, inside: &Rc<Inside>) -> mlua::Result<()> {
    let globals = lua.globals();
    for function in ALL {
        let Some(install) = function.install else { continue };
        match function.form.split_once('.').map(|(library, _)| library) {
            // A library, and not an ellipsis.
            Some(library) if library.bytes().all(|b| b.is_ascii_lowercase()) => {
                let table = match globals.raw_get::<Option<Table>>(library)? {
                    Some(table) => table,
                    None => {
                        let table = lua.create_table()?;
                        globals.raw_set(library, &table)?;
                        table
                    }
                };
                install(lua, inside, &table)?;
            }
            _ => install(lua, inside, &globals)?,
        }
    }
    Ok(())
}

/// A call of a script that may wait.
type Call<T> = Pin<Box<dyn Future<Output = mlua::Result<T>>>>;

/// A call that belongs to `visit`. In a box of its size: mlua holds room for a
/// future twice, and each open session waits in one of them.
fn call<T: 'static, F>(
    visit: mlua::Result<Rc<Visit>>,
    begin: impl FnOnce(Rc<Visit>) -> F,
) -> Call<T>
where
    F: Future<Output = mlua::Result<T>> + 'static,
{
    match visit {
        Ok(visit) => Box::pin(begin(visit)),
        Err(error) => Box::pin(std::future::ready(Err(error))),
    }
}

/// Registers the methods of `conn`.
pub(crate) fn add_methods<M: UserDataMethods<Conn>>(methods: &mut M) {
    methods.add_async_method("read", |lua, conn, max: f64| {
        call(conn.own(&lua), |visit| conn::read(lua, visit, max))
    });
    methods.add_async_method("read_exact", |lua, conn, n: f64| {
        call(conn.own(&lua), |visit| conn::read_exact(lua, visit, n))
    });
    methods.add_async_method("read_line", |lua, conn, max: Option<f64>| {
        call(conn.own(&lua), |visit| conn::read_line(lua, visit, max))
    });
    methods.add_async_method("read_until", |lua, conn, (mark, max): (LuaString, f64)| {
        call(conn.own(&lua), |visit| conn::read_to_mark(lua, visit, mark, max))
    });
    methods.add_async_method("peek", |lua, conn, n: f64| {
        call(conn.own(&lua), |visit| conn::peek(lua, visit, n))
    });
    methods.add_async_method("write", |lua, conn, texts: Variadic<LuaString>| {
        call(conn.own(&lua), |visit| conn::write(visit, texts))
    });
    methods.add_async_method("sleep", |lua, conn, seconds: f64| {
        call(conn.own(&lua), |visit| conn::sleep(visit, seconds))
    });
    methods
        .add_method("timeout", |_, conn, seconds: Option<f64>| conn::set_timeout(&conn.0, seconds));
    methods.add_async_method("starttls", |lua, conn, ()| {
        call(conn.own(&lua), |visit| conn::start_tls(lua, visit))
    });
    methods.add_async_method("close", |lua, conn, ()| call(conn.own(&lua), conn::close));
}

/// The reference in the form of Markdown, a table for each group.
#[must_use]
pub fn reference() -> String {
    let mut text = String::new();
    let mut group = "";
    for function in ALL {
        if function.group != group {
            group = function.group;
            let _ = write!(text, "\n### {group}\n\n| write | what it does |\n|---|---|\n");
        }
        let form = function.form.replace('|', "\\|");
        let meaning = function.meaning.replace('|', "\\|");
        let _ = writeln!(text, "| `{form}` | {meaning} |");
    }
    text
}
