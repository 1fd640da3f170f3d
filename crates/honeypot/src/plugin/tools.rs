//! Helpers of scripts: bytes, hashes, stable chance, time, JSON.

use std::rc::Rc;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use des::cipher::{BlockCipherEncrypt as _, KeyInit as _};
use hmac::{Hmac, Mac as _};
use md5::Md5;
use mlua::{Lua, LuaString, MultiValue, Table, Value};
use sha1::Sha1;
use sha2::Sha256;

use super::vm::Inside;

/// Most bytes that a helper makes at a time.
const MAX_MADE_BYTES: usize = 64 * 1024;
/// Deepest JSON.
const MAX_DEPTH: usize = 32;
/// Most values of one JSON text.
const MAX_VALUES: usize = 20_000;
/// What the clock shows in transcripts: 2023-11-14 22:13:20 UTC.
const REHEARSED_TIME: f64 = 1_700_000_000.0;
/// Longest form of a date.
const MAX_FORMAT_BYTES: usize = 200;

/// `bytes.hex(text)`.
pub(crate) fn hex(lua: &Lua, text: &LuaString) -> mlua::Result<LuaString> {
    let text = text.as_bytes();
    let digits = text.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    let digits: Vec<u8> = digits.map(|d| if d < 10 { b'0' + d } else { b'a' + d - 10 }).collect();
    lua.create_string(digits)
}

/// `bytes.unhex(text)`.
pub(crate) fn unhex(lua: &Lua, text: &LuaString) -> mlua::Result<Option<LuaString>> {
    let text = text.as_bytes();
    let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|d| u8::try_from(d).ok());
    if !text.len().is_multiple_of(2) {
        return Ok(None);
    }
    let pairs = text.chunks_exact(2).map(|pair| match pair {
        [high, low] => Some(digit(high)? << 4 | digit(low)?),
        _ => None,
    });
    pairs.collect::<Option<Vec<u8>>>().map(|bytes| lua.create_string(bytes)).transpose()
}

/// `bytes.base64(text)`.
pub(crate) fn base64(lua: &Lua, text: &LuaString) -> mlua::Result<LuaString> {
    lua.create_string(STANDARD.encode(text.as_bytes()))
}

/// `bytes.unbase64(text)`.
pub(crate) fn unbase64(lua: &Lua, text: &LuaString) -> mlua::Result<Option<LuaString>> {
    STANDARD.decode(text.as_bytes()).ok().map(|bytes| lua.create_string(bytes)).transpose()
}

/// `bytes.crc32(text)`.
pub(crate) fn crc32(text: &LuaString) -> f64 {
    crc32fast::hash(&text.as_bytes()).into()
}

/// A digest as bytes.
pub(crate) fn digest<D: sha2::digest::Digest>(
    lua: &Lua,
    text: &LuaString,
) -> mlua::Result<LuaString> {
    lua.create_string(D::digest(text.as_bytes()).as_slice())
}

pub(crate) fn md5(lua: &Lua, text: &LuaString) -> mlua::Result<LuaString> {
    digest::<Md5>(lua, text)
}

pub(crate) fn sha1(lua: &Lua, text: &LuaString) -> mlua::Result<LuaString> {
    digest::<Sha1>(lua, text)
}

pub(crate) fn sha256(lua: &Lua, text: &LuaString) -> mlua::Result<LuaString> {
    digest::<Sha256>(lua, text)
}

/// `bytes.hmac_sha256(key, text)`.
pub(crate) fn hmac_sha256(lua: &Lua, key: &LuaString, text: &LuaString) -> mlua::Result<LuaString> {
    let mac = Hmac::<Sha256>::new_from_slice(&key.as_bytes()).map_err(mlua::Error::runtime)?;
    lua.create_string(mac.chain_update(text.as_bytes()).finalize().into_bytes().as_slice())
}

/// `bytes.xor(a, b)`.
pub(crate) fn xor(lua: &Lua, a: &LuaString, b: &LuaString) -> mlua::Result<LuaString> {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len() != b.len() {
        return Err(mlua::Error::runtime("xor takes two texts of the same length"));
    }
    lua.create_string(a.iter().zip(b.iter()).map(|(a, b)| a ^ b).collect::<Vec<u8>>())
}

/// `bytes.mirror(text)`.
pub(crate) fn mirror(lua: &Lua, text: &LuaString) -> mlua::Result<LuaString> {
    lua.create_string(text.as_bytes().iter().map(|b| b.reverse_bits()).collect::<Vec<u8>>())
}

/// `bytes.des(key, blocks)`.
pub(crate) fn des(lua: &Lua, key: &LuaString, blocks: &LuaString) -> mlua::Result<LuaString> {
    let cipher = des::Des::new_from_slice(&key.as_bytes())
        .map_err(|_| mlua::Error::runtime("the key of des has 8 bytes"))?;
    let mut bytes = blocks.as_bytes().to_vec();
    if !bytes.len().is_multiple_of(8) || bytes.len() > MAX_MADE_BYTES {
        return Err(mlua::Error::runtime("des takes whole blocks of 8 bytes"));
    }
    for block in bytes.chunks_exact_mut(8) {
        if let Ok(block) = block.try_into() {
            cipher.encrypt_block(block);
        }
    }
    lua.create_string(bytes)
}

fn made(n: f64) -> mlua::Result<usize> {
    if n.fract() != 0.0 || !(0.0..=MAX_MADE_BYTES as f64).contains(&n) {
        let why = format!("the length is a whole number from 0 to {MAX_MADE_BYTES}");
        return Err(mlua::Error::runtime(why));
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is whole and in range"
    )]
    Ok(n as usize)
}

/// `random.bytes(name, n)`.
pub(crate) fn stable_bytes(
    lua: &Lua,
    inside: &Inside,
    name: &LuaString,
    n: f64,
) -> mlua::Result<LuaString> {
    let mut draw = inside.facts.draw(inside.name.as_str(), &name.as_bytes());
    lua.create_string((0..made(n)?).map(|_| draw.byte()).collect::<Vec<u8>>())
}

/// `random.hex(name, digits)`.
pub(crate) fn stable_hex(
    lua: &Lua,
    inside: &Inside,
    name: &LuaString,
    digits: f64,
) -> mlua::Result<LuaString> {
    let mut draw = inside.facts.draw(inside.name.as_str(), &name.as_bytes());
    let digits = (0..made(digits)?).map(|_| *draw.one(b"0123456789abcdef"));
    lua.create_string(digits.collect::<Vec<u8>>())
}

/// `random.int(name, low, high)`.
pub(crate) fn stable_int(
    inside: &Inside,
    name: &LuaString,
    low: f64,
    high: f64,
) -> mlua::Result<f64> {
    let span = high - low + 1.0;
    if low.fract() != 0.0 || high.fract() != 0.0 || !(1.0..=4_294_967_295.0).contains(&span) {
        let why = "low and high are whole numbers, low not above high, at most 2^32 apart";
        return Err(mlua::Error::runtime(why));
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is whole and in range"
    )]
    let span = span as u32;
    let mut draw = inside.facts.draw(inside.name.as_str(), &name.as_bytes());
    Ok(low + f64::from(draw.below(span)))
}

/// `random.pick(name, list)`.
pub(crate) fn stable_pick(inside: &Inside, name: &LuaString, list: &Table) -> mlua::Result<Value> {
    let length = list.raw_len();
    if length == 0 {
        return Err(mlua::Error::runtime("the list of pick is empty"));
    }
    let mut draw = inside.facts.draw(inside.name.as_str(), &name.as_bytes());
    list.raw_get(draw.index(length) + 1)
}

/// `random.fresh(n)`.
pub(crate) fn fresh(lua: &Lua, inside: &Inside, n: f64) -> mlua::Result<LuaString> {
    let length = made(n)?;
    let bytes: Vec<u8> = if inside.rehearsed {
        // Transcripts have to fit each time.
        (0..=u8::MAX).cycle().take(length).collect()
    } else {
        (0..length).map(|_| rand::random::<u8>()).collect()
    };
    lua.create_string(bytes)
}

/// `clock()`.
pub(crate) fn clock(inside: &Inside) -> f64 {
    if inside.rehearsed {
        return REHEARSED_TIME;
    }
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

/// `date(format, seconds)`.
pub(crate) fn date(inside: &Inside, format: &str, seconds: Option<f64>) -> mlua::Result<String> {
    if format.len() > MAX_FORMAT_BYTES {
        return Err(mlua::Error::runtime("the form of a date has at most 200 bytes"));
    }
    let seconds = seconds.unwrap_or_else(|| clock(inside)).floor();
    if !(-62_000_000_000.0..=250_000_000_000.0).contains(&seconds) {
        return Err(mlua::Error::runtime("seconds are those since 1970, of years 1 to 9999"));
    }
    #[expect(clippy::cast_possible_truncation, reason = "it is whole and in range")]
    let stamp = jiff::Timestamp::from_second(seconds as i64).map_err(mlua::Error::runtime)?;
    let zoned = stamp.to_zoned(jiff::tz::TimeZone::UTC);
    jiff::fmt::strtime::format(format, &zoned)
        .map_err(|error| mlua::Error::runtime(format!("the form of the date: {error}")))
}

/// `json.decode(text)`.
pub(crate) fn decode(lua: &Lua, text: &LuaString) -> mlua::Result<MultiValue> {
    let fail = |why: &str| {
        let why = Value::String(lua.create_string(why)?);
        Ok(MultiValue::from_iter([Value::Nil, why]))
    };
    let parsed: serde_json::Value = match serde_json::from_slice(&text.as_bytes()) {
        Ok(parsed) => parsed,
        Err(error) => return fail(&error.to_string()),
    };
    match to_lua(lua, &parsed, 0, &mut 0)? {
        Some(value) => Ok(MultiValue::from_iter([value])),
        None => fail("too deep or too many values"),
    }
}

fn to_lua(
    lua: &Lua,
    value: &serde_json::Value,
    depth: usize,
    count: &mut usize,
) -> mlua::Result<Option<Value>> {
    *count += 1;
    if depth > MAX_DEPTH || *count > MAX_VALUES {
        return Ok(None);
    }
    Ok(Some(match value {
        serde_json::Value::Null => Value::Nil,
        serde_json::Value::Bool(flag) => Value::Boolean(*flag),
        serde_json::Value::Number(number) => Value::Number(number.as_f64().unwrap_or(f64::NAN)),
        serde_json::Value::String(text) => Value::String(lua.create_string(text)?),
        serde_json::Value::Array(list) => {
            let table = lua.create_table_with_capacity(list.len(), 0)?;
            for (place, entry) in list.iter().enumerate() {
                let Some(entry) = to_lua(lua, entry, depth + 1, count)? else { return Ok(None) };
                table.raw_set(place + 1, entry)?;
            }
            Value::Table(table)
        }
        serde_json::Value::Object(map) => {
            let table = lua.create_table_with_capacity(0, map.len())?;
            for (key, entry) in map {
                let Some(entry) = to_lua(lua, entry, depth + 1, count)? else { return Ok(None) };
                table.raw_set(key.as_str(), entry)?;
            }
            Value::Table(table)
        }
    }))
}

/// `json.encode(value)`.
pub(crate) fn encode(lua: &Lua, value: &Value) -> mlua::Result<LuaString> {
    let json = of_lua(value, 0, &mut 0)?;
    lua.create_string(json.to_string())
}

fn of_lua(value: &Value, depth: usize, count: &mut usize) -> mlua::Result<serde_json::Value> {
    *count += 1;
    if depth > MAX_DEPTH || *count > MAX_VALUES {
        return Err(mlua::Error::runtime("json.encode: too deep or too many values"));
    }
    Ok(match value {
        Value::Nil => serde_json::Value::Null,
        Value::Boolean(flag) => (*flag).into(),
        Value::Integer(number) => (*number).into(),
        #[expect(clippy::cast_possible_truncation, reason = "it is whole and in range")]
        Value::Number(n) if n.fract() == 0.0 && n.abs() < 9e15 => (*n as i64).into(),
        Value::Number(number) => (*number).into(),
        Value::String(text) => text.to_string_lossy().into(),
        Value::Table(table) if table.raw_len() > 0 => {
            let entries = table.sequence_values::<Value>();
            let list = entries.map(|entry| of_lua(&entry?, depth + 1, count));
            serde_json::Value::Array(list.collect::<mlua::Result<_>>()?)
        }
        Value::Table(table) => {
            let mut map = serde_json::Map::new();
            for pair in table.pairs::<Value, Value>() {
                let (key, entry) = pair?;
                let Value::String(key) = key else {
                    let why = "json.encode: a table has either names or numbers from 1";
                    return Err(mlua::Error::runtime(why));
                };
                map.insert(key.to_string_lossy(), of_lua(&entry, depth + 1, count)?);
            }
            map.into()
        }
        other => {
            let why = format!("json.encode: a {} has no form in JSON", other.type_name());
            return Err(mlua::Error::runtime(why));
        }
    })
}

/// `persona`.
pub(crate) fn persona(lua: &Lua, inside: &Rc<Inside>) -> mlua::Result<Table> {
    let facts = &inside.facts;
    let table = lua.create_table()?;
    for (name, value) in [
        ("hostname", facts.hostname.as_str()),
        ("domain", &facts.domain),
        ("system", facts.system),
        ("pretty", &facts.pretty),
        ("kernel", &facts.kernel),
        ("arch", facts.arch),
        ("mac", &facts.mac),
        ("address", &facts.address),
    ] {
        table.raw_set(name, value)?;
    }
    table.raw_set("installed", facts.installed as f64)?;
    table.raw_set("users", lua.create_sequence_from(facts.users.iter().map(String::as_str))?)?;
    let device = lua.create_table()?;
    for (name, value) in &facts.device {
        device.raw_set(*name, value.as_str())?;
    }
    table.raw_set("device", device)?;
    Ok(table)
}
