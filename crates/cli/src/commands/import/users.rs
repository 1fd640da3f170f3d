//! `palisade import peba-users`: the EWS users of a PEBA backend, with the
//! hashes of their tokens, as JSON lines or CSV.
//!
//! A line is a user itself or what a dump of PEBA's user index wraps it in
//! (`{"_source": {…}}`). Whoever is there already stays as it is.

use std::io::{BufRead as _, BufReader, Read};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use http::Method;
use palisade_event::table::csv;
use serde_json::{Map, Value, json};

use super::super::list;
use crate::args::ReachArgs;
use crate::out;
use crate::reach::Reach;
use crate::settings::Settings;

/// Longest line, in bytes.
const MAX_LINE_BYTES: u64 = 64 * 1024;
/// Most users of one file.
const MAX_USERS: usize = 100_000;

/// Names that a field has in exports, in lower case without underscores.
const NAMES: &[&str] = &["name", "peername", "username", "user"];
const TOKENS: &[&str] = &["token", "tokenhash", "hash", "password"];
const EMAILS: &[&str] = &["email", "mail"];
const READ_ONLY: &[&str] = &["getonly", "readonly"];
const COMMUNITY: &[&str] = &["community", "communityonly"];

/// Imports.
///
/// # Errors
/// The file cannot be read or the hub cannot be reached. A row that is wrong is
/// named and left out; the exit code is then 1.
pub(crate) async fn run(
    settings: &Settings,
    file: &Path,
    reach: &ReachArgs,
) -> anyhow::Result<ExitCode> {
    let from: Box<dyn Read> = if file.as_os_str() == "-" {
        Box::new(std::io::stdin())
    } else {
        let open = std::fs::File::open(file);
        Box::new(open.with_context(|| format!("cannot read {}", file.display()))?)
    };
    let rows = read(from).with_context(|| file.display().to_string())?;
    let hub = Reach::find(settings, reach).await?;
    let done = add_all(&hub, rows).await;
    hub.close().await;
    let (added, there, bad) = done?;
    out::line(&format!("{added} users added, {there} were there, {bad} rows bad"));
    Ok(if bad == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A row: its line, and the body that adds the user or what is wrong.
type Parsed = (usize, Result<Value, String>);

async fn add_all(hub: &Reach, rows: Vec<Parsed>) -> anyhow::Result<(u32, u32, u32)> {
    let present = hub.call(Method::GET, "/api/v1/ews-users", None).await?;
    let mut present: std::collections::HashSet<String> = list(&present, "ews_users")
        .iter()
        .filter_map(|user| user.get("name").and_then(Value::as_str).map(str::to_owned))
        .collect();
    let (mut added, mut there, mut bad) = (0, 0, 0);
    for (line, row) in rows {
        let outcome = match row {
            Ok(body) => {
                let name = body.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
                if !present.insert(name) {
                    there += 1;
                    continue;
                }
                let answer = hub.call(Method::POST, "/api/v1/ews-users", Some(&body)).await;
                answer.map(drop).map_err(|error| format!("{error:#}"))
            }
            Err(reason) => Err(reason),
        };
        match outcome {
            Ok(()) => added += 1,
            Err(reason) => {
                bad += 1;
                out::line(&format!("line {line}: {reason}"));
            }
        }
    }
    Ok((added, there, bad))
}

/// Reads all rows.
fn read(from: impl Read) -> anyhow::Result<Vec<Parsed>> {
    let mut from = BufReader::new(from);
    let mut header: Option<Vec<String>> = None;
    let mut rows: Vec<Parsed> = Vec::new();
    for number in 1.. {
        let mut line = Vec::new();
        from.by_ref().take(MAX_LINE_BYTES + 1).read_until(b'\n', &mut line)?;
        if line.is_empty() {
            break;
        }
        if line.len() as u64 > MAX_LINE_BYTES {
            bail!(
                "line {number} is longer than {MAX_LINE_BYTES} bytes; one user a line is expected"
            );
        }
        if number == 1 && line.starts_with(b"\xef\xbb\xbf") {
            line.drain(..3);
        }
        let text = line.trim_ascii();
        if text.is_empty() {
            continue;
        }
        if rows.len() >= MAX_USERS {
            bail!("more than {MAX_USERS} users");
        }
        if text.starts_with(b"{") {
            rows.push((number, json_row(text).and_then(|fields| user(&fields))));
            continue;
        }
        let cells = csv::cells(text).map_err(|error| anyhow::anyhow!("line {number}: {error}"))?;
        match &header {
            None => {
                let named = cells.iter().any(|cell| NAMES.contains(&plain(cell).as_str()));
                let token = cells.iter().any(|cell| TOKENS.contains(&plain(cell).as_str()));
                if !named || !token {
                    bail!(
                        "line {number} is neither a JSON object nor a CSV header; a header names \
                         the columns, such as name,token,email,getOnly,community"
                    );
                }
                header = Some(cells);
            }
            Some(header) if header.len() != cells.len() => {
                let reason = format!("{} cells where the header has {}", cells.len(), header.len());
                rows.push((number, Err(reason)));
            }
            Some(header) => {
                let fields: Map<String, Value> = header
                    .iter()
                    .zip(cells)
                    .map(|(name, cell)| (name.clone(), Value::String(cell)))
                    .collect();
                rows.push((number, user(&fields)));
            }
        }
    }
    Ok(rows)
}

fn json_row(text: &[u8]) -> Result<Map<String, Value>, String> {
    let row: Value = serde_json::from_slice(text).map_err(|error| format!("no JSON: {error}"))?;
    match row {
        Value::Object(mut fields) => match fields.remove("_source") {
            Some(Value::Object(inner)) => Ok(inner),
            _ => Ok(fields),
        },
        _ => Err("no JSON object".into()),
    }
}

fn plain(name: &str) -> String {
    name.trim().chars().filter(|c| *c != '_').flat_map(char::to_lowercase).collect()
}

/// The body that adds a user.
fn user(fields: &Map<String, Value>) -> Result<Value, String> {
    let find = |names: &[&str]| {
        fields.iter().find(|(name, _)| names.contains(&plain(name).as_str())).map(|(_, v)| v)
    };
    let text = |names: &[&str]| match find(names) {
        Some(Value::String(text)) => Some(text.trim()).filter(|text| !text.is_empty()),
        _ => None,
    };
    let name = text(NAMES).ok_or("it has no name (name, peerName or username)")?;
    let hash = text(TOKENS).ok_or("it has no token hash (token)")?;
    let hex = hash.bytes().all(|digit| digit.is_ascii_hexdigit());
    let kind = match hash.len() {
        128 if hex => "token_sha512",
        32 if hex => "token_md5",
        _ => {
            return Err("its token is neither a SHA-512 (128 hex digits) nor an MD5 (32); add it \
                        with `palisade user add NAME --ews --token-stdin`"
                .into());
        }
    };
    let mut body = json!({
        "name": name,
        kind: hash,
        "read_only": flag(find(READ_ONLY)).ok_or("its getOnly is neither true nor false")?,
        "community_only": flag(find(COMMUNITY)).ok_or("its community is neither true nor false")?,
    });
    if let (Some(email), Some(fields)) = (text(EMAILS), body.as_object_mut()) {
        fields.insert("email".to_owned(), json!(email));
    }
    Ok(body)
}

/// A switch; false where there is none.
fn flag(value: Option<&Value>) -> Option<bool> {
    match value {
        None | Some(Value::Null) => Some(false),
        Some(Value::Bool(set)) => Some(*set),
        Some(Value::Number(number)) => match number.as_u64() {
            Some(0) => Some(false),
            Some(1) => Some(true),
            _ => None,
        },
        Some(Value::String(text)) => match text.trim().to_ascii_lowercase().as_str() {
            "" | "0" | "false" | "no" | "n" => Some(false),
            "1" | "true" | "yes" | "y" => Some(true),
            _ => None,
        },
        Some(Value::Array(_) | Value::Object(_)) => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panic")]

    use super::*;

    const MD5: &str = "900150983cd24fb0d6963f7d28e17f72";

    fn sha512() -> String {
        "ab".repeat(64)
    }

    #[test]
    fn lines_of_a_dump_and_plain_ones_are_the_same() {
        let long = sha512();
        let text = format!(
            "{{\"_index\":\"users\",\"_source\":{{\"peerName\":\"tpot-1\",\"token\":\"{long}\",\
             \"getOnly\":false,\"community\":\"True\",\"email\":\"a@example.org\"}}}}\n\n\
             {{\"name\":\"tpot-2\",\"token\":\"{MD5}\",\"getOnly\":1}}\n"
        );
        let rows = read(text.as_bytes()).unwrap();
        let bodies: Vec<Value> = rows.into_iter().map(|(_, row)| row.unwrap()).collect();
        assert_eq!(
            bodies[0],
            json!({"name": "tpot-1", "token_sha512": long, "read_only": false,
                   "community_only": true, "email": "a@example.org"})
        );
        assert_eq!(
            bodies[1],
            json!({"name": "tpot-2", "token_md5": MD5, "read_only": true, "community_only": false})
        );
    }

    #[test]
    fn a_table_names_its_columns_and_a_bad_row_costs_no_other() {
        let text = format!(
            "\u{feff}email,username,token_hash,get_only,community\r\n\
             \"a@example.org\",one,{MD5},no,no\r\n,two,{MD5}\r\n,three,plain,no,no\r\n,four,{MD5},x,\r\n"
        );
        let rows = read(text.as_bytes()).unwrap();
        assert_eq!(rows[0].1.as_ref().unwrap()["email"], "a@example.org");
        let wrong: Vec<String> = rows[1..]
            .iter()
            .map(|(line, row)| format!("{line}: {}", row.clone().unwrap_err()))
            .collect();
        assert_eq!(wrong[0], "3: 3 cells where the header has 5");
        assert!(wrong[1].starts_with("4: its token is neither"), "{wrong:?}");
        assert_eq!(wrong[2], "5: its getOnly is neither true nor false");
    }

    #[test]
    fn other_files_are_refused_with_what_is_expected() {
        let error = read(&b"hello\n"[..]).unwrap_err().to_string();
        assert!(error.contains("CSV header"), "{error}");
        let long = vec![b'x'; 70_000];
        assert!(read(&long[..]).unwrap_err().to_string().contains("longer than"));
    }
}
