//! What goes to standard output: answers of commands and the lines `up` prints
//! at its start. Diagnostics go to the log, errors to standard error.

use std::io::{self, Write};

use comfy_table::{ContentArrangement, Table, presets};

/// Prints one line. A closed pipe (`palisade query | head`) ends the process
/// quietly, as it would end `cat`.
pub(crate) fn line(text: &str) {
    let mut out = io::stdout().lock();
    if writeln!(out, "{text}").and_then(|()| out.flush()).is_err() {
        std::process::exit(0);
    }
}

/// Prints a value as indented JSON.
pub(crate) fn json(value: &serde_json::Value) {
    line(&serde_json::to_string_pretty(value).unwrap_or_default());
}

/// Prints rows under a header; says `empty` where there are none.
pub(crate) fn table(header: &[&str], rows: Vec<Vec<String>>, empty: &str) {
    if rows.is_empty() {
        line(empty);
        return;
    }
    let mut table = plain();
    table.set_header(header.iter().map(|name| name.to_uppercase()));
    print(table, rows);
}

/// Prints rows that go on where a table ended.
pub(crate) fn more_rows(rows: Vec<Vec<String>>) {
    if !rows.is_empty() {
        print(plain(), rows);
    }
}

fn plain() -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Disabled);
    table
}

fn print(mut table: Table, rows: Vec<Vec<String>>) {
    for row in rows {
        table.add_row(row);
    }
    for text in table.lines() {
        line(text.trim_end());
    }
}

/// Text of someone else's making, for a terminal: control characters escaped.
pub(crate) fn shown(value: Option<&serde_json::Value>) -> String {
    use palisade_event::Untrusted;
    match value {
        None | Some(serde_json::Value::Null) => "-".to_owned(),
        Some(serde_json::Value::String(text)) => Untrusted::from(text.as_str()).to_string(),
        Some(other) => match serde_json::from_value::<Untrusted>(other.clone()) {
            Ok(text) => text.to_string(),
            Err(_) => other.to_string(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_is_escaped_for_the_terminal() {
        let text = serde_json::json!("\u{1b}]0;owned\u{7}");
        assert_eq!(shown(Some(&text)), r"\u{1b}]0;owned\u{7}");
        let bytes = serde_json::json!({"base64": "//4="});
        assert_eq!(shown(Some(&bytes)), r"\xff\xfe");
    }
}
