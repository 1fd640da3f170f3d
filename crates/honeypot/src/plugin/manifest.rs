//! What a plug-in says of itself: the table that its `init.luau` returns,
//! without the functions in it.

use mlua::{Function, Table, Value};
use palisade_event::Category;
use serde::{Deserialize, Serialize};

use super::columns::{self, Column};
use super::source::PluginName;

/// The version of the host functions.
pub const API: i64 = 1;
/// Most ports of a plug-in.
pub const MAX_PORTS: usize = 64;
/// Longest line about a plug-in.
const MAX_ABOUT_BYTES: usize = 200;

/// What a plug-in declares.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Its name.
    pub name: PluginName,
    /// What it shows, in one line.
    pub about: String,
    /// TCP ports that it wants where the operator names none.
    pub tcp: Vec<u16>,
    /// The same where TLS is spoken from the first byte.
    pub tls: Vec<u16>,
    /// UDP ports that it wants.
    pub udp: Vec<u16>,
    /// The category of its events.
    pub category: Category,
    /// Whether it begins TLS in a connection.
    pub certificate: bool,
    /// The columns of its rows.
    pub columns: Vec<Column>,
}

/// The functions of a plug-in, which belong to one VM.
#[derive(Clone, Debug)]
pub(crate) struct Functions {
    pub(crate) serve: Option<Function>,
    pub(crate) datagram: Option<Function>,
}

/// The keys that the table may have.
const KEYS: &[&str] =
    &["api", "name", "about", "ports", "category", "certificate", "columns", "serve", "datagram"];

/// Reads what `init.luau` of the plug-in `name` has returned.
///
/// # Errors
/// A sentence about the first thing that is wrong.
pub(crate) fn parse(name: &PluginName, returned: Value) -> Result<(Manifest, Functions), String> {
    let Value::Table(table) = returned else {
        let kind = returned.type_name();
        return Err(format!("init.luau returns a {kind}; it has to return a table"));
    };
    for pair in table.pairs::<Value, Value>() {
        let Ok((key, _)) = pair else { continue };
        let key = match &key {
            Value::String(key) => key.to_string_lossy(),
            other => format!("a {}", other.type_name()),
        };
        if !KEYS.contains(&key.as_str()) {
            let key: String = key.chars().take(60).collect();
            let known = KEYS.join(", ");
            return Err(format!("'{}' means nothing; known are {known}", key.escape_default()));
        }
    }
    match get(&table, "api")? {
        Value::Integer(1) => {}
        Value::Number(1.0) => {}
        _ => return Err(format!("api = {API} is missing, the version it was written for")),
    }
    let declared = text(&table, "name")?.ok_or("name is missing")?;
    if declared != name.as_str() {
        return Err(format!(
            "name = \"{}\", and the folder is '{name}'; they have to be the same",
            declared.chars().take(60).collect::<String>().escape_default()
        ));
    }
    let about = text(&table, "about")?.ok_or("about is missing, a line that says what it shows")?;
    if about.is_empty() || about.len() > MAX_ABOUT_BYTES || about.chars().any(char::is_control) {
        return Err(format!("about is one line of at most {MAX_ABOUT_BYTES} bytes"));
    }
    let category = text(&table, "category")?.unwrap_or_else(|| format!("{name}(palisade)"));
    let category = Category::new(&category).map_err(|error| format!("category: {error}"))?;
    let certificate = match get(&table, "certificate")? {
        Value::Nil => false,
        Value::Boolean(flag) => flag,
        other => return Err(format!("certificate is a {}, not true", other.type_name())),
    };
    let (tcp, tls, udp) = ports(&get(&table, "ports")?)?;
    let columns = columns::parse(get(&table, "columns")?)?;
    let functions =
        Functions { serve: function(&table, "serve")?, datagram: function(&table, "datagram")? };
    if functions.serve.is_none() && !(tcp.is_empty() && tls.is_empty()) {
        return Err("there are TCP ports and no function serve(conn)".to_owned());
    }
    if functions.datagram.is_none() && !udp.is_empty() {
        return Err("there are UDP ports and no function datagram(packet)".to_owned());
    }
    if functions.serve.is_none() && functions.datagram.is_none() {
        return Err("there is neither a function serve(conn) nor datagram(packet)".to_owned());
    }
    let name = name.clone();
    let manifest = Manifest { name, about, tcp, tls, udp, category, certificate, columns };
    Ok((manifest, functions))
}

fn get(table: &Table, key: &str) -> Result<Value, String> {
    table.raw_get::<Value>(key).map_err(|error| error.to_string())
}

fn text(table: &Table, key: &str) -> Result<Option<String>, String> {
    match get(table, key)? {
        Value::Nil => Ok(None),
        Value::String(text) => {
            let text = text.to_str().map_err(|_| format!("{key} is no UTF-8"))?;
            Ok(Some((*text).to_owned()))
        }
        other => Err(format!("{key} is a {}, not a text", other.type_name())),
    }
}

fn function(table: &Table, key: &str) -> Result<Option<Function>, String> {
    match get(table, key)? {
        Value::Nil => Ok(None),
        Value::Function(function) => Ok(Some(function)),
        other => Err(format!("{key} is a {}, not a function", other.type_name())),
    }
}

type Ports = (Vec<u16>, Vec<u16>, Vec<u16>);

fn ports(value: &Value) -> Result<Ports, String> {
    let form = "ports is a table such as { tcp = {21}, tls = {990}, udp = {} }";
    let table = match value {
        Value::Nil => return Ok(Ports::default()),
        Value::Table(table) => table,
        _ => return Err(form.to_owned()),
    };
    let mut all = Ports::default();
    for pair in table.pairs::<Value, Value>() {
        let Ok((Value::String(transport), Value::Table(numbers))) = pair else {
            return Err(form.to_owned());
        };
        let list = match &*transport.as_bytes() {
            b"tcp" => &mut all.0,
            b"tls" => &mut all.1,
            b"udp" => &mut all.2,
            _ => return Err(form.to_owned()),
        };
        for number in numbers.sequence_values::<Value>() {
            let port = match number {
                Ok(Value::Integer(number)) => u16::try_from(number).ok(),
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "it is whole and in range"
                )]
                Ok(Value::Number(n)) if n.fract() == 0.0 && (0.0..=65_535.0).contains(&n) => {
                    Some(n as u16)
                }
                _ => None,
            };
            let Some(port) = port.filter(|port| *port > 0) else {
                return Err("ports are whole numbers from 1 to 65535".to_owned());
            };
            if list.len() == MAX_PORTS {
                return Err(format!("more than {MAX_PORTS} ports"));
            }
            if !list.contains(&port) {
                list.push(port);
            }
        }
    }
    if let Some(twice) = all.0.iter().find(|port| all.1.contains(port)) {
        return Err(format!("port {twice} is among both tcp and tls"));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use mlua::Lua;

    use super::*;

    fn read(text: &str) -> Result<Manifest, String> {
        let lua = Lua::new();
        let name = PluginName::new("mine").unwrap();
        parse(&name, lua.load(text).eval().unwrap()).map(|(manifest, _)| manifest)
    }

    #[test]
    fn a_plug_in_says_who_it_is_and_what_it_wants() {
        let manifest = read(
            "{ api = 1, name = 'mine', about = 'a test', ports = { tcp = {21, 21}, udp = {5060} },
               serve = function() end, datagram = function() end, columns = {{'a', 'TEXT'}} }",
        )
        .unwrap();
        assert_eq!((manifest.tcp, manifest.udp), (vec![21], vec![5060]));
        assert_eq!(manifest.category.as_str(), "mine(palisade)");
        assert!(!manifest.certificate);
    }

    #[test]
    fn what_is_wrong_with_it_is_one_sentence() {
        let head = "api = 1, name = 'mine', about = 'x'";
        for (text, why) in [
            ("1".to_owned(), "has to return a table"),
            ("{}".to_owned(), "api = 1 is missing"),
            ("{api = 2}".to_owned(), "api = 1 is missing"),
            ("{api = 1, name = 'other'}".to_owned(), "the folder is 'mine'"),
            ("{api = 1, name = 'mine'}".to_owned(), "about is missing"),
            (format!("{{{head}}}"), "neither a function serve"),
            (format!("{{{head}, port = 1}}"), "'port' means nothing"),
            (format!("{{{head}, serve = 1}}"), "serve is a integer"),
            (format!("{{{head}, ports = {{tcp = {{21}}}}}}"), "no function serve"),
            (format!("{{{head}, ports = {{udp = {{21}}}}}}"), "no function datagram"),
            (format!("{{{head}, ports = {{tcp = {{0}}}}}}"), "from 1 to 65535"),
            (format!("{{{head}, ports = {{21}}}}"), "ports is a table such as"),
            (format!("{{{head}, ports = {{tcp = {{1}}, tls = {{1}}}}}}"), "among both"),
        ] {
            let said = read(&text).unwrap_err();
            assert!(said.contains(why), "{text}: {said}");
        }
    }
}
