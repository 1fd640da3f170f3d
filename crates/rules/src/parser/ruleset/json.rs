//! Lines that are JSON objects: the wanted fields, found while the object is
//! read once, and nothing else kept. Texts without escapes are borrowed.

use std::fmt;
use std::ops::Range;

use palisade_event::{EventKind, Timestamp};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::field::Field;
use super::file::{JsonFile, Paths};
use super::found::{Extra, Found};
use crate::parser::MAX_JSON_LINE_BYTES;
use crate::parser::time::{self, LineClock};

/// Most paths of one parser.
const MAX_PATHS: usize = 48;
/// Deepest path.
const MAX_PATH_DEPTH: usize = 8;

/// Where fields are in the objects of a log.
#[derive(Debug)]
pub(super) struct Json {
    root: Node,
    /// By slot: what it is for.
    fields: Vec<(Field, Vec<usize>)>,
    required: Vec<(usize, Box<[u8]>)>,
    message: Vec<usize>,
    time: Vec<usize>,
    source: Vec<usize>,
    slots: usize,
    /// What happened, where no message says it.
    pub(super) kind: Option<EventKind>,
}

/// One level of all wanted paths.
#[derive(Debug, Default)]
struct Node {
    slot: Option<usize>,
    below: Vec<(Box<str>, Node)>,
}

/// A value that was found.
#[derive(Clone, Debug)]
enum Value<'a> {
    Text(&'a str),
    /// A text that had escapes, in the buffer of texts.
    Copied(Range<usize>),
    Integer(i64),
    Real(f64),
}

/// The values of a line, by slot.
pub(super) struct Values<'a> {
    slots: Vec<Option<Value<'a>>>,
}

impl Json {
    /// Checks and compiles. The mistake is a sentence.
    pub(super) fn new(file: JsonFile) -> Result<Self, String> {
        let mut json = Self {
            root: Node::default(),
            fields: Vec::new(),
            required: Vec::new(),
            message: Vec::new(),
            time: Vec::new(),
            source: Vec::new(),
            slots: 0,
            kind: file.kind,
        };
        for (path, text) in file.require {
            let slot = json.slot(&path)?;
            json.required.push((slot, text.into_bytes().into_boxed_slice()));
        }
        for (name, paths) in file.fields {
            let paths = match paths {
                Paths::One(path) => vec![path],
                Paths::Several(paths) => paths,
            };
            let slots =
                paths.iter().map(|path| json.slot(path)).collect::<Result<Vec<usize>, String>>()?;
            match Field::named(&name)? {
                Field::Message => json.message = slots,
                Field::Time => json.time = slots,
                Field::Source => json.source = slots,
                field => json.fields.push((field, slots)),
            }
        }
        if json.time.is_empty() {
            return Err("json.fields has no 'time'".to_owned());
        }
        Ok(json)
    }

    fn slot(&mut self, path: &str) -> Result<usize, String> {
        let depth = path.split('.').count();
        if path.is_empty() || depth > MAX_PATH_DEPTH || path.split('.').any(str::is_empty) {
            return Err(format!(
                "json: '{}' is no path; write names with dots between, at most {MAX_PATH_DEPTH}",
                path.escape_default()
            ));
        }
        let mut node = &mut self.root;
        for name in path.split('.') {
            let place = match node.below.iter().position(|(known, _)| **known == *name) {
                Some(place) => place,
                None => {
                    node.below.push((name.into(), Node::default()));
                    node.below.len() - 1
                }
            };
            match node.below.get_mut(place) {
                Some((_, below)) => node = below,
                None => return Err("json: a path was lost".to_owned()),
            }
        }
        if let Some(slot) = node.slot {
            return Ok(slot);
        }
        if self.slots >= MAX_PATHS {
            return Err(format!("json: more than {MAX_PATHS} paths"));
        }
        node.slot = Some(self.slots);
        self.slots += 1;
        Ok(self.slots - 1)
    }

    /// Whether patterns look at a message of these objects.
    pub(super) fn has_message(&self) -> bool {
        !self.message.is_empty()
    }

    /// Reads a line. `None` where it is no JSON object, or too long.
    pub(super) fn read<'a>(&self, line: &'a [u8], texts: &mut String) -> Option<Values<'a>> {
        if line.len() > MAX_JSON_LINE_BYTES {
            return None;
        }
        texts.clear();
        let mut values = Values { slots: vec![None; self.slots] };
        let mut reader = serde_json::Deserializer::from_slice(line);
        let walk = Walk { node: &self.root, values: &mut values, texts, is_root: true };
        walk.deserialize(&mut reader).ok()?;
        reader.end().ok()?;
        Some(values)
    }

    /// Whether it is one of the objects that are meant.
    pub(super) fn is_meant(&self, values: &Values<'_>, texts: &str) -> bool {
        self.required.iter().all(|(slot, text)| values.text(*slot, texts) == Some(text))
    }

    /// The time.
    pub(super) fn time(
        &self,
        values: &Values<'_>,
        texts: &str,
        clock: &mut LineClock,
    ) -> Option<Timestamp> {
        self.time.iter().find_map(|slot| match values.get(*slot)? {
            Value::Integer(seconds) => Some(of_seconds(*seconds as f64)),
            Value::Real(seconds) => Some(of_seconds(*seconds)),
            _ => clock.of(time::exact(values.text(*slot, texts)?)?),
        })
    }

    /// What patterns look at.
    pub(super) fn message<'a>(&self, values: &Values<'a>, texts: &'a str) -> Option<&'a [u8]> {
        self.message.iter().find_map(|slot| values.text(*slot, texts))
    }

    /// Fills in what the object says.
    pub(super) fn fill<'a>(&'a self, values: &Values<'a>, texts: &'a str, found: &mut Found<'a>) {
        for (field, slots) in &self.fields {
            let Some(slot) = slots.iter().find(|slot| values.get(**slot).is_some()) else {
                continue;
            };
            match (values.get(*slot), field) {
                (Some(Value::Integer(value)), Field::Status) => {
                    found.sighting.status = u16::try_from(*value).ok();
                }
                (Some(Value::Integer(value)), Field::Port) => {
                    found.port = u16::try_from(*value).ok().filter(|port| *port > 0);
                }
                (Some(Value::Integer(value)), Field::TargetPort) => {
                    found.sighting.target_port = u16::try_from(*value).ok();
                }
                (Some(Value::Integer(value)), Field::Attribute(name)) => {
                    found.note(name, Extra::Integer(*value));
                }
                _ => {
                    if let Some(text) = values.text(*slot, texts) {
                        found.put(field, text);
                    }
                }
            }
        }
        let texts_of = |slot: &usize| values.text(*slot, texts).filter(|text| !text.is_empty());
        if let Some(source) = self.source.iter().find_map(texts_of) {
            found.source(source);
        }
    }
}

/// Seconds since 1970, or milliseconds where the number is too large for a date
/// before the year 5138.
fn of_seconds(value: f64) -> Timestamp {
    let millis = if value.abs() < 1e11 { value * 1000.0 } else { value };
    Timestamp::from_millis(millis as i64)
}

impl<'a> Values<'a> {
    fn get(&self, slot: usize) -> Option<&Value<'a>> {
        self.slots.get(slot)?.as_ref()
    }

    fn text(&self, slot: usize, texts: &'a str) -> Option<&'a [u8]> {
        match self.get(slot)? {
            Value::Text(text) => Some(text.as_bytes()),
            Value::Copied(range) => texts.get(range.clone()).map(str::as_bytes),
            Value::Integer(_) | Value::Real(_) => None,
        }
    }
}

/// Goes through a value along the wanted paths.
struct Walk<'n, 'v, 'a, 't> {
    node: &'n Node,
    values: &'v mut Values<'a>,
    texts: &'t mut String,
    is_root: bool,
}

impl<'a> Walk<'_, '_, 'a, '_> {
    /// The first value of a path counts.
    fn put(self, value: Value<'a>) {
        if let Some(place) = self.node.slot.and_then(|slot| self.values.slots.get_mut(slot))
            && place.is_none()
        {
            *place = Some(value);
        }
    }
}

impl<'a> DeserializeSeed<'a> for Walk<'_, '_, 'a, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(self, reader: D) -> Result<(), D::Error> {
        match self.is_root {
            true => reader.deserialize_map(self),
            false => reader.deserialize_any(self),
        }
    }
}

impl<'a> Visitor<'a> for Walk<'_, '_, 'a, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<M: MapAccess<'a>>(self, mut map: M) -> Result<(), M::Error> {
        while let Some(found) = map.next_key_seed(Key(self.node))? {
            match found {
                Some(node) => map.next_value_seed(Walk {
                    node,
                    values: &mut *self.values,
                    texts: &mut *self.texts,
                    is_root: false,
                })?,
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }

    fn visit_seq<S: SeqAccess<'a>>(self, mut list: S) -> Result<(), S::Error> {
        let first =
            Walk { node: self.node, values: self.values, texts: self.texts, is_root: false };
        if list.next_element_seed(first)?.is_some() {
            while list.next_element::<IgnoredAny>()?.is_some() {}
        }
        Ok(())
    }

    fn visit_borrowed_str<E>(self, text: &'a str) -> Result<(), E> {
        self.put(Value::Text(text));
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        if self.node.slot.is_some() {
            let start = self.texts.len();
            self.texts.push_str(text);
            let end = self.texts.len();
            self.put(Value::Copied(start..end));
        }
        Ok(())
    }

    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        self.put(Value::Integer(value));
        Ok(())
    }

    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        self.put(Value::Integer(i64::try_from(value).unwrap_or(i64::MAX)));
        Ok(())
    }

    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        self.put(Value::Real(value));
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

/// A key of an object: whether a wanted path goes on with it.
struct Key<'n>(&'n Node);

impl<'n, 'a> DeserializeSeed<'a> for Key<'n> {
    type Value = Option<&'n Node>;

    fn deserialize<D: Deserializer<'a>>(self, reader: D) -> Result<Self::Value, D::Error> {
        reader.deserialize_str(self)
    }
}

impl<'n> Visitor<'_> for Key<'n> {
    type Value = Option<&'n Node>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok(self.0.below.iter().find(|(known, _)| **known == *key).map(|(_, node)| node))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Json {
        Json::new(toml::from_str(text).unwrap()).unwrap()
    }

    fn found(json: &Json, line: &str) -> Option<String> {
        let mut texts = String::new();
        let values = json.read(line.as_bytes(), &mut texts)?;
        if !json.is_meant(&values, &texts) {
            return Some("other".to_owned());
        }
        let mut found = Found::new(EventKind::RequestAnswered, Timestamp::from_millis(0), "x");
        json.fill(&values, &texts, &mut found);
        let text =
            |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or(b"-")).into_owned();
        Some(format!(
            "{:?} {} {:?} {}",
            found.address(),
            text(found.sighting.user),
            found.sighting.status,
            text(found.sighting.client)
        ))
    }

    const FIELDS: &str = r#"
        require = { msg = "handled request" }
        [fields]
        time = "ts"
        source = ["request.client_ip", "request.remote_ip"]
        user = "user"
        status = "status"
        client = "request.headers.User-Agent"
    "#;

    #[test]
    fn wanted_paths_are_found_and_lists_mean_their_first() {
        let json = json(FIELDS);
        let line = r#"{"msg":"handled request","ts":1.5,"request":{"remote_ip":"192.0.2.1","client_ip":"192.0.2.2","headers":{"X":[[{}]],"User-Agent":["a\"b","c"]}},"user":"u","status":404}"#;
        assert_eq!(found(&json, line).unwrap(), "Some(192.0.2.2) u Some(404) a\"b");
        assert_eq!(found(&json, r#"{"msg":"other"}"#).unwrap(), "other");
        for bad in ["", "[]", "1", "{", r#"{"msg":"handled request"} x"#] {
            assert_eq!(found(&json, bad), None, "{bad}");
        }
        // What is not wanted is skipped, however deep; what is wanted is not followed.
        for (key, seen) in [("a", Some("other".to_owned())), ("request", None)] {
            let deep = format!("{}1{}", format!("{{\"{key}\":").repeat(1000), "}".repeat(1000));
            let _ = found(&json, &deep);
            let deep = format!("{{\"{key}\":{}1{}}}", "[".repeat(1000), "]".repeat(1000));
            assert_eq!(found(&json, &deep), seen, "{key}");
        }
    }

    #[test]
    fn the_first_of_a_key_written_twice_counts() {
        let json = json(FIELDS);
        let line = r#"{"msg":"handled request","request":{"client_ip":"192.0.2.2"},"request":{"client_ip":"192.0.2.9"},"user":"a","user":"b"}"#;
        assert_eq!(found(&json, line).unwrap(), "Some(192.0.2.2) a None -");
    }

    #[test]
    fn paths_are_checked() {
        let wrong = |text: &str| Json::new(toml::from_str(text).unwrap()).unwrap_err();
        assert!(wrong("[fields]\nuser = \"u\"").contains("no 'time'"));
        assert!(wrong("[fields]\ntime = \"a..b\"").contains("is no path"));
        assert!(wrong("[fields]\ntime = \"t\"\n\"A b\" = \"x\"").contains("can be no attribute"));
    }
}
