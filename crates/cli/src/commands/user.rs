//! `palisade user add|password|list|remove`.

use std::io::Read as _;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use http::Method;
use serde_json::json;

use super::list;
use crate::args::{OutputFormat, Role, UserCommand};
use crate::out::{self, shown};
use crate::reach::Reach;
use crate::settings::Settings;

/// Longest password that is read, in bytes.
const MAX_PASSWORD_BYTES: u64 = 1024;

/// Runs the command.
///
/// # Errors
/// The hub cannot be reached or refuses.
pub(crate) async fn run(settings: &Settings, command: UserCommand) -> anyhow::Result<ExitCode> {
    match command {
        UserCommand::Add { name, role, reach, .. } => {
            let role = match role {
                Role::Viewer => "viewer",
                Role::Operator => "operator",
                Role::Admin => "admin",
            };
            let body = json!({"username": name, "password": read_password()?, "role": role});
            let hub = Reach::find(settings, &reach).await?;
            let answer = hub.call(Method::POST, "/api/v1/users", Some(&body)).await;
            hub.close().await;
            answer?;
            out::line(&format!("added {role} {name}"));
        }
        UserCommand::Password { name, reach, .. } => {
            let body = json!({"password": read_password()?});
            let hub = Reach::find(settings, &reach).await?;
            let path = format!("/api/v1/users/{}/password", path_segment(&name)?);
            let answer = hub.call(Method::POST, &path, Some(&body)).await;
            hub.close().await;
            answer?;
            out::line(&format!("changed the password of {name} and ended its sessions"));
        }
        UserCommand::List { reach, format } => {
            let hub = Reach::find(settings, &reach).await?;
            let answer = hub.call(Method::GET, "/api/v1/users", None).await;
            hub.close().await;
            let answer = answer?;
            if format.format == OutputFormat::Json {
                out::json(&answer);
                return Ok(ExitCode::SUCCESS);
            }
            let columns = ["username", "role", "created_at"];
            let rows = list(&answer, "users")
                .iter()
                .map(|user| columns.iter().map(|column| shown(user.get(column))).collect())
                .collect();
            out::table(&columns, rows, "no accounts yet");
        }
        UserCommand::Remove { name, reach } => {
            let hub = Reach::find(settings, &reach).await?;
            let path = format!("/api/v1/users/{}", path_segment(&name)?);
            let answer = hub.call(Method::DELETE, &path, None).await;
            hub.close().await;
            answer?;
            out::line(&format!("removed {name}"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A name that can stand in a path as it is; names of accounts and keys can.
pub(super) fn path_segment(name: &str) -> anyhow::Result<&str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if name.is_empty() || !name.chars().all(plain) || name.chars().all(|c| c == '.') {
        bail!("'{}' is no name; names have letters, digits, '.', '_' and '-'", name.escape_debug());
    }
    Ok(name)
}

/// The password: standard input up to its end, one final newline dropped.
fn read_password() -> anyhow::Result<String> {
    let mut text = String::new();
    std::io::stdin()
        .take(MAX_PASSWORD_BYTES + 1)
        .read_to_string(&mut text)
        .context("cannot read the password from standard input as UTF-8 text")?;
    let password = text.strip_suffix('\n').unwrap_or(&text);
    let password = password.strip_suffix('\r').unwrap_or(password);
    if password.is_empty() {
        bail!("standard input holds no password; pipe it in: printf %s PASSWORD | palisade user …");
    }
    if password.len() as u64 > MAX_PASSWORD_BYTES {
        bail!("the password is longer than {MAX_PASSWORD_BYTES} bytes");
    }
    Ok(password.to_owned())
}
