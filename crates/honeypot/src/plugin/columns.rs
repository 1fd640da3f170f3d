//! The columns that a plug-in declares, and the check of every row against them.

use std::collections::BTreeMap;
use std::fmt;

use mlua::Value;
use palisade_event::{AttributeValue, Untrusted};
use serde::{Deserialize, Serialize};

/// Most columns of a plug-in.
pub const MAX_COLUMNS: usize = 32;
/// Longest name of a column.
pub const MAX_COLUMN_NAME_BYTES: usize = 48;
/// Longest text or blob in a row, in bytes.
pub const MAX_VALUE_BYTES: usize = 16 * 1024;
/// Most bytes of texts and blobs in one row.
pub const MAX_ROW_BYTES: usize = 64 * 1024;
/// Largest whole number: those above are not told apart by Luau.
const MAX_INTEGER: f64 = 9_007_199_254_740_992.0;
/// Attributes that every row has beside its columns.
const RESERVED: &[&str] = &["plugin"];

/// What a column holds. A missing value is NULL in every one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum ColumnType {
    /// Text as it came, UTF-8 or not.
    Text,
    /// A whole number.
    Integer,
    /// A finite number.
    Real,
    /// Bytes.
    Blob,
    /// Yes or no.
    Bool,
}

impl ColumnType {
    fn parse(text: &str) -> Option<Self> {
        Some(match text.to_ascii_uppercase().as_str() {
            "TEXT" => Self::Text,
            "INTEGER" => Self::Integer,
            "REAL" => Self::Real,
            "BLOB" => Self::Blob,
            "BOOL" => Self::Bool,
            _ => return None,
        })
    }

    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Text => "TEXT",
            Self::Integer => "INTEGER",
            Self::Real => "REAL",
            Self::Blob => "BLOB",
            Self::Bool => "BOOL",
        }
    }
}

/// A declared column.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    /// Its name: `[a-z][a-z0-9_]*`.
    pub name: String,
    /// What it holds.
    #[serde(rename = "type")]
    pub kind: ColumnType,
}

/// Why a row was refused, in kinds that are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RefusedRow {
    /// It is no table with names.
    NoTable,
    /// It has a column that was not declared.
    UnknownColumn,
    /// A value is not of its column's type.
    WrongType,
    /// A value or the whole row is too long.
    TooLong,
    /// The plug-in has declared no columns.
    NoColumns,
}

impl RefusedRow {
    /// Its name in counters.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoTable => "no-table",
            Self::UnknownColumn => "unknown-column",
            Self::WrongType => "wrong-type",
            Self::TooLong => "too-long",
            Self::NoColumns => "no-columns",
        }
    }
}

impl fmt::Display for RefusedRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A checked row: values by column, without those that are NULL.
pub(crate) type Row = BTreeMap<String, AttributeValue>;

/// Reads the `columns` of a plug-in.
///
/// # Errors
/// A sentence about the first that is wrong.
pub(crate) fn parse(value: Value) -> Result<Vec<Column>, String> {
    let list = match value {
        Value::Nil => return Ok(Vec::new()),
        Value::Table(list) => list,
        other => return Err(format!("columns is a {}, not a table", other.type_name())),
    };
    let form = "columns is a list such as { {\"user\", \"TEXT\"}, {\"tries\", \"INTEGER\"} }";
    let mut columns: Vec<Column> = Vec::new();
    for entry in list.sequence_values::<Value>() {
        let Ok(Value::Table(entry)) = entry else { return Err(form.to_owned()) };
        let part = |place: i64, name: &str| {
            let by_name = || entry.raw_get::<Option<String>>(name);
            match entry.raw_get::<Option<String>>(place) {
                Ok(Some(text)) => Some(text),
                _ => by_name().ok().flatten(),
            }
        };
        let (Some(name), Some(kind)) = (part(1, "name"), part(2, "type")) else {
            return Err(form.to_owned());
        };
        let shown: String = name.chars().take(60).collect::<String>().escape_default().collect();
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        if !name.bytes().next().is_some_and(|b| b.is_ascii_lowercase())
            || name.len() > MAX_COLUMN_NAME_BYTES
            || !name.bytes().all(plain)
        {
            return Err(format!(
                "column '{shown}': names are a letter, then letters, digits and '_', all small, at most {MAX_COLUMN_NAME_BYTES}"
            ));
        }
        if RESERVED.contains(&name.as_str()) {
            return Err(format!("column '{shown}': this name is taken by Palisade"));
        }
        if columns.iter().any(|column| column.name == name) {
            return Err(format!("column '{shown}' is declared twice"));
        }
        let Some(kind) = ColumnType::parse(&kind) else {
            return Err(format!("column '{shown}': types are TEXT, INTEGER, REAL, BLOB and BOOL"));
        };
        if columns.len() == MAX_COLUMNS {
            return Err(format!("more than {MAX_COLUMNS} columns"));
        }
        columns.push(Column { name, kind });
    }
    Ok(columns)
}

/// Checks a row.
///
/// # Errors
/// Why it is refused, and a sentence.
pub(crate) fn check(columns: &[Column], row: &Value) -> Result<Row, (RefusedRow, String)> {
    let Value::Table(row) = row else {
        let why = format!("a row is a table, not a {}", row.type_name());
        return Err((RefusedRow::NoTable, why));
    };
    if columns.is_empty() {
        return Err((RefusedRow::NoColumns, "the plug-in declares no columns".to_owned()));
    }
    let (mut checked, mut bytes) = (Row::new(), 0);
    // No metamethods are called: they could run for long.
    for pair in row.pairs::<Value, Value>() {
        let Ok((key, value)) = pair else { continue };
        let name = match &key {
            Value::String(name) => name.to_string_lossy(),
            other => {
                let why = format!("a row has names, and this one has a {}", other.type_name());
                return Err((RefusedRow::NoTable, why));
            }
        };
        let Some(column) = columns.iter().find(|column| column.name == name) else {
            let name: String = name.chars().take(60).collect();
            let why = format!("there is no column '{}'", name.escape_default());
            return Err((RefusedRow::UnknownColumn, why));
        };
        let Some(value) = convert(column, &value)? else { continue };
        if let AttributeValue::Text(text) = &value {
            bytes += text.len();
        }
        if bytes > MAX_ROW_BYTES {
            let why = format!("the row has more than {MAX_ROW_BYTES} bytes");
            return Err((RefusedRow::TooLong, why));
        }
        checked.insert(name, value);
    }
    Ok(checked)
}

fn convert(column: &Column, value: &Value) -> Result<Option<AttributeValue>, (RefusedRow, String)> {
    let wrong = |got: &str| {
        let (name, kind) = (&column.name, column.kind.as_str());
        (RefusedRow::WrongType, format!("column '{name}' is {kind}, and the value is {got}"))
    };
    let long = |length: usize| {
        let why =
            format!("column '{}': {length} bytes are more than {MAX_VALUE_BYTES}", column.name);
        (RefusedRow::TooLong, why)
    };
    Ok(Some(match (column.kind, value) {
        (_, Value::Nil) => return Ok(None),
        (ColumnType::Text | ColumnType::Blob, Value::String(text)) => {
            let bytes = text.as_bytes();
            if bytes.len() > MAX_VALUE_BYTES {
                return Err(long(bytes.len()));
            }
            AttributeValue::Text(Untrusted::new(bytes.to_vec()))
        }
        (ColumnType::Blob, Value::Buffer(buffer)) => {
            if buffer.len() > MAX_VALUE_BYTES {
                return Err(long(buffer.len()));
            }
            AttributeValue::Text(Untrusted::new(buffer.to_vec()))
        }
        (ColumnType::Bool, Value::Boolean(flag)) => AttributeValue::Flag(*flag),
        (ColumnType::Integer, Value::Integer(number))
            if (-MAX_INTEGER..=MAX_INTEGER).contains(&(*number as f64)) =>
        {
            AttributeValue::Integer(*number)
        }
        (ColumnType::Integer, Value::Integer(_)) => {
            return Err(wrong("not a whole number below 2^53"));
        }
        (ColumnType::Real, Value::Integer(number)) => AttributeValue::Real(*number as f64),
        (ColumnType::Real, Value::Number(number)) if number.is_finite() => {
            AttributeValue::Real(*number)
        }
        (ColumnType::Integer, Value::Number(number)) => {
            if number.fract() != 0.0 || number.abs() > MAX_INTEGER {
                return Err(wrong("not a whole number below 2^53"));
            }
            #[expect(clippy::cast_possible_truncation, reason = "it is whole and in range")]
            AttributeValue::Integer(*number as i64)
        }
        (ColumnType::Real, Value::Number(_)) => return Err(wrong("not a finite number")),
        (_, other) => return Err(wrong(&format!("a {}", other.type_name()))),
    }))
}

/// The column as a table of a plug-in may have it, for tests.
#[cfg(test)]
fn column(name: &str, kind: ColumnType) -> Column {
    Column { name: name.to_owned(), kind }
}

#[cfg(test)]
mod tests {
    use mlua::Lua;

    use super::*;

    fn declared(text: &str) -> Result<Vec<Column>, String> {
        parse(Lua::new().load(text).eval().unwrap())
    }

    #[test]
    fn columns_are_read_and_mistakes_in_them_named() {
        let columns = declared("{ {'user', 'TEXT'}, {name='n', type='integer'} }").unwrap();
        assert_eq!(columns, [column("user", ColumnType::Text), column("n", ColumnType::Integer)]);
        assert_eq!(declared("nil").unwrap(), []);
        for (text, why) in [
            ("1", "not a table"),
            ("{1}", "columns is a list such as"),
            ("{{'a'}}", "columns is a list such as"),
            ("{{'A b', 'TEXT'}}", "names are a letter"),
            ("{{'a', 'JSON'}}", "types are TEXT"),
            ("{{'a', 'TEXT'}, {'a', 'TEXT'}}", "declared twice"),
            ("{{'plugin', 'TEXT'}}", "taken by Palisade"),
        ] {
            let said = declared(text).unwrap_err();
            assert!(said.contains(why), "{text}: {said}");
        }
        let many: String = (0..33).map(|n| format!("{{'c{n}', 'TEXT'}},")).collect();
        assert!(declared(&format!("{{{many}}}")).unwrap_err().contains("more than 32"));
    }

    #[test]
    fn a_row_has_declared_columns_of_the_right_type_or_the_reason_is_said() {
        let columns = [
            column("t", ColumnType::Text),
            column("i", ColumnType::Integer),
            column("r", ColumnType::Real),
            column("b", ColumnType::Blob),
            column("f", ColumnType::Bool),
        ];
        let lua = Lua::new();
        let row = |text: &str| check(&columns, &lua.load(text).eval().unwrap());
        let good = "{t='a\\xff', i=3, r=0.5, b=buffer.fromstring('\\0'), f=true}";
        let good = row(good).unwrap();
        assert_eq!(good.get("i"), Some(&AttributeValue::Integer(3)));
        assert_eq!(good.get("b"), Some(&AttributeValue::Text(Untrusted::new(vec![0]))));
        assert_eq!(good.get("t"), Some(&AttributeValue::Text(Untrusted::new(b"a\xff".to_vec()))));
        assert_eq!(row("{}").unwrap(), Row::new());
        for (text, reason) in [
            ("'x'", RefusedRow::NoTable),
            ("{'x'}", RefusedRow::NoTable),
            ("{x=1}", RefusedRow::UnknownColumn),
            ("{t=1}", RefusedRow::WrongType),
            ("{i='1'}", RefusedRow::WrongType),
            ("{i=1.5}", RefusedRow::WrongType),
            ("{i=2^60}", RefusedRow::WrongType),
            ("{r=0/0}", RefusedRow::WrongType),
            ("{b={}}", RefusedRow::WrongType),
            ("{f=0}", RefusedRow::WrongType),
            ("{t=string.rep('a', 16385)}", RefusedRow::TooLong),
        ] {
            let (why, sentence) = row(text).unwrap_err();
            assert_eq!(why, reason, "{text}: {sentence}");
        }
        assert_eq!(
            check(&[], &lua.load("{a=1}").eval().unwrap()).unwrap_err().0,
            RefusedRow::NoColumns
        );
    }
}
